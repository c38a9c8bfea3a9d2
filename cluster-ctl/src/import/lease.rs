//! A lease between two servers, and its form in the control API.

use std::fmt;
use std::net::Ipv4Addr;

use leasehold::types::{ClientId, HwAddr};
use serde_json::{Value, json};

/// A lifetime without end.
pub const FOREVER: u32 = u32::MAX;

/// How far clocks of two machines may be apart before an end that is past may not be. An end within
/// it is left to the cluster to find.
pub const SKEW: i64 = 600;

/// Kea's states of a DHCPv4 lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A client has it, or had it until its end.
    Assigned,
    /// Somebody uses the address without a lease.
    Declined,
    /// It ended, and the server has cleaned up after it.
    Reclaimed,
    /// Its client gave it back.
    Released,
}

impl State {
    /// From Kea's number.
    pub fn from_number(number: u64) -> Option<State> {
        match number {
            0 => Some(State::Assigned),
            1 => Some(State::Declined),
            2 => Some(State::Reclaimed),
            3 => Some(State::Released),
            _ => None,
        }
    }

    /// Kea's number.
    pub fn number(self) -> u8 {
        match self {
            State::Assigned => 0,
            State::Declined => 1,
            State::Reclaimed => 2,
            State::Released => 3,
        }
    }
}

/// Where something was read: a source by its number, and a line, 0 where there are none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub source: u16,
    pub line: u32,
}

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub address: Ipv4Addr,
    /// 0: the one that holds the address.
    pub subnet: u32,
    /// Empty when unknown.
    pub hw: HwAddr,
    pub client_id: Option<ClientId>,
    /// The last time that its client was answered, Unix seconds.
    pub cltt: i64,
    /// Seconds; [`FOREVER`] has no end.
    pub valid: u32,
    pub state: State,
    /// Lower case.
    pub hostname: Box<str>,
    pub fqdn_fwd: bool,
    pub fqdn_rev: bool,
    /// `user-context`, JSON.
    pub context: Option<Box<str>>,
    /// Kea 3's number of the pool; 0 for none. Only for the way back.
    pub pool: u32,
    pub place: Place,
}

impl Lease {
    /// When it ends, Unix seconds; `i64::MAX` for never.
    pub fn ends(&self) -> i64 {
        if self.valid == FOREVER { i64::MAX } else { self.cltt.saturating_add(self.valid.into()) }
    }

    /// Whether somebody may be using the address by it.
    pub fn holds(&self) -> bool {
        matches!(self.state, State::Assigned | State::Declined)
    }

    /// Whether it ended, so that nobody is owed anything at the Unix second `now`.
    pub fn is_over(&self, now: i64) -> bool {
        !self.holds() || self.ends().saturating_add(SKEW) < now
    }

    /// The arguments of a command that writes it.
    pub fn arguments(&self) -> Value {
        let mut map = json!({
            "ip-address": self.address.to_string(),
            "hw-address": self.hw.to_string(),
            "valid-lft": self.valid,
            "state": self.state.number(),
        });
        if self.subnet != 0 {
            map["subnet-id"] = self.subnet.into();
        }
        if self.valid != FOREVER {
            map["expire"] = self.ends().into();
        }
        if let Some(id) = &self.client_id {
            map["client-id"] = id.to_string().into();
        }
        if !self.hostname.is_empty() {
            map["hostname"] = (*self.hostname).into();
            map["fqdn-fwd"] = self.fqdn_fwd.into();
            map["fqdn-rev"] = self.fqdn_rev.into();
        }
        if let Some(context) = &self.context {
            // Checked when it was read.
            map["user-context"] = serde_json::from_str(context).unwrap_or_default();
        }
        map
    }

    /// From the object that `lease4-get` and its like answer with.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(value: &Value, place: Place) -> Result<Lease, String> {
        let text = |name: &str| value[name].as_str().unwrap_or_default();
        let number = |name: &str| value[name].as_u64().unwrap_or_default();
        let small = |name: &str| {
            u32::try_from(number(name)).map_err(|_| format!("{name} {} is too large", value[name]))
        };
        let address = text("ip-address");
        let address = address.parse().map_err(|_| format!("'{address}' is no IPv4 address"))?;
        let hw = text("hw-address");
        let client_id = value["client-id"].as_str().map(client_id).transpose()?.flatten();
        let state = State::from_number(number("state"))
            .ok_or_else(|| format!("there is no state {}", value["state"]))?;
        let context = &value["user-context"];
        Ok(Lease {
            address,
            subnet: small("subnet-id")?,
            hw: hw.parse().map_err(|bad| format!("hw-address '{hw}': {bad}"))?,
            client_id,
            cltt: value["cltt"].as_i64().unwrap_or_default(),
            valid: small("valid-lft")?,
            state,
            hostname: unmangled(text("hostname")).to_lowercase().into(),
            fqdn_fwd: value["fqdn-fwd"].as_bool().unwrap_or_default(),
            fqdn_rev: value["fqdn-rev"].as_bool().unwrap_or_default(),
            context: context.is_object().then(|| context.to_string().into()),
            pool: small("pool-id")?,
            place,
        })
    }
}

/// A client identifier in hexadecimal. Kea has `00` for a client that has none.
pub fn client_id(text: &str) -> Result<Option<ClientId>, String> {
    match text {
        "" | "00" => Ok(None),
        text => text.parse().map(Some).map_err(|bad| format!("client-id '{text}': {bad}")),
    }
}

/// Kea answers with a `\u00XX` for each byte of a text in UTF-8 (kea-api §1.8).
fn unmangled(text: &str) -> String {
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    match bytes.map(String::from_utf8) {
        Some(Ok(whole)) => whole,
        _ => text.to_owned(),
    }
}

/// Who has it, for messages.
impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.state == State::Declined {
            return f.write_str("declined");
        }
        match (&self.client_id, self.hw.bytes().is_empty()) {
            (Some(id), true) => write!(f, "client {id}"),
            (Some(id), false) => write!(f, "client {id} at {}", self.hw),
            (None, false) => write!(f, "client at {}", self.hw),
            (None, true) => f.write_str("a client without a name"),
        }
    }
}

#[cfg(test)]
pub mod testing {
    use super::*;

    /// A lease of an hour from second 10 000 on.
    pub fn lease(address: &str, hw: u8) -> Lease {
        Lease {
            address: address.parse().unwrap(),
            subnet: 1,
            hw: HwAddr::ethernet([2, 0, 0, 0, 0, hw]),
            client_id: None,
            cltt: 10_000,
            valid: 3600,
            state: State::Assigned,
            hostname: "".into(),
            fqdn_fwd: false,
            fqdn_rev: false,
            context: None,
            pool: 0,
            place: Place::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::lease;
    use super::*;

    #[test]
    fn what_is_sent_is_what_comes_back() {
        let mut lease = lease("192.0.2.1", 1);
        lease.client_id = Some("01:02".parse().unwrap());
        lease.hostname = "desk.example.org".into();
        lease.fqdn_fwd = true;
        lease.context = Some(r#"{"a":"x,y"}"#.into());
        let mut sent = lease.arguments();
        assert_eq!(sent["expire"], 13_600);
        // An answer has the beginning, not the end.
        sent["cltt"] = 10_000.into();
        assert_eq!(Lease::from_json(&sent, Place::default()), Ok(lease.clone()));
        lease.valid = FOREVER;
        assert_eq!(lease.arguments().get("expire"), None);
        assert_eq!(lease.ends(), i64::MAX);
    }

    #[test]
    fn texts_of_kea_are_put_together_again() {
        assert_eq!(unmangled("desk\u{c3}\u{a9}"), "desk\u{e9}");
        assert_eq!(unmangled("caf\u{e9}"), "caf\u{e9}");
        assert_eq!(unmangled("\u{3b1}"), "\u{3b1}");
    }

    #[test]
    fn what_is_no_lease_is_said() {
        let bad = |value: Value| Lease::from_json(&value, Place::default()).unwrap_err();
        assert_eq!(bad(json!({})), "'' is no IPv4 address");
        let base = json!({"ip-address": "192.0.2.1", "hw-address": "", "state": 0});
        let with = |name: &str, value: Value| {
            let mut all = base.clone();
            all[name] = value;
            bad(all)
        };
        assert!(with("state", json!(9)).contains("no state 9"));
        assert!(with("hw-address", json!("zz")).contains("hw-address 'zz'"));
        assert!(with("client-id", json!("1")).contains("client-id '1'"));
        assert!(with("valid-lft", json!(1u64 << 40)).contains("valid-lft"));
    }
}
