//! Leases as text: Kea's objects, and lists of them.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::config::Config;
use crate::packet::v4::{RelayInfo, codes};
use crate::state::{Lease, LeaseState, Meta};
use crate::types::{ClientId, Lifetime, UpperHex};

/// A lease as Kea prints it; members in alphabetical order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lease4<'a> {
    /// Absent when the client sent none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Unix seconds; expiry is this plus `valid_lft`.
    pub cltt: i64,
    /// Whether there is a forward DNS record.
    pub fqdn_fwd: bool,
    /// Whether there is a reverse DNS record.
    pub fqdn_rev: bool,
    /// Lower case; empty for none.
    pub hostname: &'a str,
    /// Empty when unknown.
    pub hw_address: String,
    /// The key.
    pub ip_address: Ipv4Addr,
    /// Absent when it is 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub pool_id: u32,
    /// Kea's number.
    pub state: u8,
    /// The subnet it was granted in.
    pub subnet_id: u32,
    /// Absent for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_context: Option<Value>,
    /// Seconds; 4294967295 for ever.
    pub valid_lft: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Prints leases as they are at one applied index.
#[derive(Debug, Clone, Copy)]
pub struct Printer<'a> {
    meta: &'a Meta,
    /// The configuration, unless none of its pools has an id: most have none, and nobody looks.
    pools: Option<&'a Config>,
}

impl<'a> Printer<'a> {
    /// Prints many leases of `meta`.
    pub fn new(meta: &'a Meta) -> Printer<'a> {
        let has_ids = |config: &&Config| {
            config.subnets.iter().any(|subnet| subnet.pools.iter().any(|pool| pool.id != 0))
        };
        Printer { meta, pools: meta.config().map(|config| &**config).filter(has_ids) }
    }

    /// Prints one lease of `meta`: without looking whether any pool has an id.
    pub fn one(meta: &'a Meta) -> Printer<'a> {
        Printer { meta, pools: meta.config().map(|config| &**config) }
    }

    /// The object of a lease.
    pub fn lease<'l>(&self, lease: &'l Lease) -> Lease4<'l> {
        let meta = self.meta;
        // A client's release ended it before its time: expiry is always cltt + valid-lft.
        let cut = lease.state == LeaseState::Released && lease.valid == Lifetime::from_secs(0);
        let valid = if cut { Lifetime::between(lease.cltt, lease.expires) } else { lease.valid };
        Lease4 {
            client_id: lease.client_id.as_ref().map(ClientId::to_string),
            // An imported lease can have begun before the cluster was formed, where its clock has no
            // moment; its end is exact.
            cltt: if cut || valid.is_infinite() {
                meta.wall_seconds(lease.cltt)
            } else {
                meta.wall_seconds(lease.expires) - i64::from(valid.as_secs())
            },
            fqdn_fwd: lease.fqdn_fwd,
            fqdn_rev: lease.fqdn_rev,
            hostname: &lease.hostname,
            hw_address: lease.hw.to_string(),
            ip_address: lease.address,
            pool_id: self.pool_of(lease),
            state: lease.state.number(),
            subnet_id: lease.subnet.0,
            user_context: shown_context(lease),
            valid_lft: valid.as_secs(),
        }
    }

    /// Appends the object of a lease as JSON.
    pub fn json(&self, lease: &Lease, out: &mut String) {
        // Strings and numbers only: it cannot fail.
        out.push_str(&serde_json::to_string(&self.lease(lease)).unwrap_or_default());
    }

    fn pool_of(&self, lease: &Lease) -> u32 {
        let subnet = self.pools.and_then(|config| config.subnet(lease.subnet));
        subnet.and_then(|subnet| subnet.pool_of(lease.address)).map_or(0, |pool| pool.id)
    }
}

/// `user-context`, with what `store-extended-info` keeps as Kea shows it:
/// `ISC.relay-agent-info`.
fn shown_context(lease: &Lease) -> Option<Value> {
    let own = lease.user_context().and_then(|text| serde_json::from_str(text).ok());
    let Some(info) = lease.relay_info() else { return own };
    let mut shown = Map::new();
    let parts = RelayInfo::new(info);
    // Names in alphabetical order, as Kea has them.
    for (name, code) in
        [("relay-id", codes::relay::RELAY_ID), ("remote-id", codes::relay::REMOTE_ID)]
    {
        let part = parts.sub_options().find(|(own, value)| *own == code && !value.is_empty());
        if let Some((_, value)) = part {
            shown.insert(name.into(), UpperHex(value).to_string().into());
        }
    }
    shown.insert("sub-options".into(), format!("0x{}", UpperHex(info)).into());
    let mut context = match own {
        Some(Value::Object(context)) => context,
        _ => Map::new(),
    };
    // Anything but a map was written by somebody who means something else.
    if let Value::Object(isc) = context.entry("ISC").or_insert_with(|| Value::Object(Map::new())) {
        isc.insert("relay-agent-info".into(), shown.into());
    }
    context.sort_keys();
    Some(Value::Object(context))
}

/// `"leases": […]` as text, one lease at a time so that a large table is never held twice, and how
/// many there are.
pub fn print_leases<'a>(
    leases: impl Iterator<Item = &'a Arc<Lease>>,
    meta: &Meta,
) -> (usize, String) {
    let printer = Printer::new(meta);
    let mut out = String::from("\"leases\": [");
    let mut count = 0;
    for lease in leases {
        out.push_str(if count == 0 { " " } else { ", " });
        printer.json(lease, &mut out);
        count += 1;
    }
    out.push_str(" ]");
    (count, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Rare, testing};

    #[test]
    fn extended_info_is_shown_inside_the_user_context() {
        let shown = |context: Option<&str>, info: Option<&[u8]>| {
            let mut lease = testing::lease("192.0.2.1", 1);
            lease.rare = Rare::new(context.map(Into::into), 0, info.map(Into::into));
            shown_context(&lease).map(|context| context.to_string())
        };
        let info: &[u8] = &[1, 1, 9, 2, 2, 0xab, 0xcd, 12, 1, 7];
        let rai = r#"{"relay-id":"07","remote-id":"ABCD","sub-options":"0x0101090202ABCD0C0107"}"#;
        assert_eq!(shown(None, None), None);
        assert_eq!(shown(Some(r#"{"a":1}"#), None).as_deref(), Some(r#"{"a":1}"#));
        let merged = format!(r#"{{"ISC":{{"relay-agent-info":{rai}}}}}"#);
        assert_eq!(shown(None, Some(info)), Some(merged));
        let merged = format!(r#"{{"ISC":{{"x":2,"relay-agent-info":{rai}}},"a":1}}"#);
        assert_eq!(shown(Some(r#"{"a":1,"ISC":{"x":2}}"#), Some(info)), Some(merged));
        let short = r#"{"ISC":{"relay-agent-info":{"sub-options":"0x010109"}}}"#;
        assert_eq!(shown(None, Some(&[1, 1, 9])).as_deref(), Some(short));
    }
}
