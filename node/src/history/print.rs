//! An event as JSON: for `/v1/events` and for the log of leases.

use serde_json::{Map, Value};

use super::codec::{About, Record, wall_millis};

impl Record {
    /// The event, its members in the order of their names. Times are Unix seconds.
    pub fn json(&self) -> Value {
        let mut out = Map::new();
        let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
        put("kind", self.kind.name().into());
        put("position", self.position.to_string().into());
        put("time", wall_millis(self.at, self.wall).div_euclid(1000).into());
        put("cluster-millis", self.at.as_millis().into());
        match &self.about {
            About::Config(version) => _ = put("version", version.0.into()),
            About::Lease(holding) => {
                put("ip-address", holding.address.to_string().into());
                put("subnet-id", holding.subnet.0.into());
                put("hw-address", holding.hw.to_string().into());
                if let Some(id) = &holding.client_id {
                    put("client-id", id.to_string().into());
                }
                put("hostname", (*holding.hostname).into());
                put("generation", holding.generation.0.into());
                put("state", holding.state.number().into());
                put("valid-lft", holding.valid.as_secs().into());
                if let Some(expires) = self.wall_millis(holding.expires) {
                    put("expire", expires.div_euclid(1000).into());
                }
            }
        }
        out.sort_keys();
        Value::Object(out)
    }
}
