//! What a script is told, as Kea's run_script hook tells it (Kea manual, "Run Script Support"): the
//! name of the hook point as its one argument, the rest as environment variables. Pure.
//!
//! Names and values were compared with Kea 2.2 by hand. Two differ: the hardware addresses of a
//! frame are empty where the kernel took the datagram out of it, and no name ends in a dot.
//!
//! Names and texts from clients are bytes; here they are what they are everywhere: sanitised names,
//! hexadecimal identifiers.

use super::happening::{Happening, Query, What};
use crate::dhcp::v4::Ports;
use crate::packet::v4::codes;
use crate::state::{Lease, LeaseState, Meta};
use crate::types::{ColonHex, UpperHex};

/// One call of the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The argument.
    pub point: &'static str,
    /// The environment.
    pub variables: Vec<(String, String)>,
}

/// The calls that a happening leads to, in order. `lease` is the lease as it is after a grant; none
/// if something came in between.
pub fn calls(happening: &Happening, lease: Option<&Lease>, meta: &Meta) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut call = |point, fill: &dyn Fn(&mut Variables)| {
        let mut variables = Variables(Vec::new());
        fill(&mut variables);
        calls.push(Call { point, variables: variables.0 });
    };
    match &happening.what {
        What::Granted { query, before, .. } => {
            let Some(lease) = lease else { return Vec::new() };
            if before.same.is_some() {
                call("lease4_renew", &|variables| {
                    variables.query(query);
                    variables.subnet(happening, lease);
                    variables.put("PKT4_CLIENT_ID", client_id(query));
                    let hw = query.packet.message.hw_addr();
                    variables.put("PKT4_HWADDR", hw);
                    variables.put("PKT4_HWADDR_TYPE", hw.htype());
                    variables.lease("LEASE4", lease, meta);
                });
            }
            call("leases4_committed", &|variables| {
                variables.query(query);
                variables.put("LEASES4_SIZE", 1);
                variables.lease("LEASES4_AT0", lease, meta);
                let deleted = before.retired.as_deref();
                variables.put("DELETED_LEASES4_SIZE", i32::from(deleted.is_some()));
                if let Some(deleted) = deleted {
                    variables.lease("DELETED_LEASES4_AT0", deleted, meta);
                }
            });
        }
        // Kea calls no hook for what its lease_cmds do.
        What::Deleted(_) | What::Named(_) => {}
        What::Released(query, lease) => call("lease4_release", &|variables| {
            variables.query(query);
            variables.lease("LEASE4", lease, meta);
        }),
        What::Declined(query, lease) => call("lease4_decline", &|variables| {
            variables.query(query);
            variables.lease("LEASE4", lease, meta);
        }),
        // The end of a probation: nobody's lease any more.
        What::Expired(lease, _) if lease.state == LeaseState::Declined => {
            call("lease4_recover", &|variables| variables.lease("LEASE4", lease, meta));
        }
        What::Expired(lease, removed) => call("lease4_expire", &|variables| {
            variables.lease("LEASE4", lease, meta);
            variables.put("REMOVE_LEASE", removed);
        }),
    }
    calls
}

struct Variables(Vec<(String, String)>);

impl Variables {
    fn put(&mut self, name: impl Into<String>, value: impl ToString) {
        self.0.push((name.into(), value.to_string()));
    }

    fn query(&mut self, Query { packet, interface }: &Query) {
        let (message, arrival) = (&packet.message, &packet.arrival);
        let kind = message
            .message_type()
            .map_or("BOOTREQUEST".to_owned(), |kind| format!("DHCP{}", kind.name()));
        self.put("QUERY4_TYPE", kind);
        self.put("QUERY4_TXID", message.xid());
        self.put("QUERY4_LOCAL_ADDR", arrival.destination);
        self.put("QUERY4_LOCAL_PORT", Ports::STANDARD.server);
        self.put("QUERY4_REMOTE_ADDR", arrival.source.ip());
        self.put("QUERY4_REMOTE_PORT", arrival.source.port());
        self.put("QUERY4_IFACE_INDEX", interface);
        self.put("QUERY4_IFACE_NAME", &arrival.interface);
        self.put("QUERY4_HOPS", message.hops());
        self.put("QUERY4_SECS", message.secs());
        self.put("QUERY4_FLAGS", message.flags());
        self.put("QUERY4_CIADDR", message.ciaddr());
        self.put("QUERY4_SIADDR", message.siaddr());
        self.put("QUERY4_YIADDR", message.yiaddr());
        self.put("QUERY4_GIADDR", message.giaddr());
        self.put("QUERY4_RELAYED", message.is_relayed());
        let hw = message.hw_addr();
        self.put("QUERY4_HWADDR", hw);
        self.put("QUERY4_HWADDR_TYPE", hw.htype());
        // The frame's destination is not kept.
        self.put("QUERY4_LOCAL_HWADDR", "");
        self.put("QUERY4_LOCAL_HWADDR_TYPE", "");
        let frame = arrival.frame_source.map(|mac| ColonHex(&mac).to_string());
        self.put("QUERY4_REMOTE_HWADDR_TYPE", frame.as_ref().map_or("", |_| "1"));
        self.put("QUERY4_REMOTE_HWADDR", frame.unwrap_or_default());
        let info = message.relay_info();
        let sub = |code: u8| {
            let info = info.as_ref()?;
            let found = info.sub_options().find(|(own, _)| *own == code)?;
            Some(hex(found.1))
        };
        self.put("QUERY4_OPTION_82", info.as_ref().map(|info| hex(info.raw())).unwrap_or_default());
        let ids = [codes::relay::CIRCUIT_ID, codes::relay::REMOTE_ID];
        for (at, code) in ids.into_iter().enumerate() {
            let name = format!("QUERY4_OPTION_82_SUB_OPTION_{}", at + 1);
            self.put(name, sub(code).unwrap_or_default());
        }
    }

    fn subnet(&mut self, happening: &Happening, lease: &Lease) {
        let subnet = happening.config.subnet(lease.subnet);
        let text = |part: Option<String>| part.unwrap_or_default();
        self.put("SUBNET4_ID", lease.subnet);
        self.put("SUBNET4_NAME", text(subnet.map(|subnet| subnet.prefix.to_string())));
        self.put("SUBNET4_PREFIX", text(subnet.map(|subnet| subnet.prefix.network().to_string())));
        self.put("SUBNET4_PREFIX_LEN", text(subnet.map(|subnet| subnet.prefix.len().to_string())));
    }

    fn lease(&mut self, prefix: &str, lease: &Lease, meta: &Meta) {
        let state = match lease.state {
            LeaseState::Assigned => "default",
            LeaseState::Declined => "declined",
            LeaseState::Reclaimed => "expired-reclaimed",
            LeaseState::Released => "released",
        };
        let id = lease.client_id.as_ref().map(ToString::to_string);
        self.put(format!("{prefix}_ADDRESS"), lease.address);
        self.put(format!("{prefix}_CLTT"), meta.wall_seconds(lease.cltt));
        self.put(format!("{prefix}_HOSTNAME"), &lease.hostname);
        self.put(format!("{prefix}_HWADDR"), lease.hw);
        self.put(format!("{prefix}_HWADDR_TYPE"), lease.hw.htype());
        self.put(format!("{prefix}_STATE"), state);
        self.put(format!("{prefix}_SUBNET_ID"), lease.subnet);
        self.put(format!("{prefix}_VALID_LIFETIME"), lease.valid.as_secs());
        self.put(format!("{prefix}_CLIENT_ID"), id.unwrap_or_default());
    }
}

fn client_id(query: &Query) -> String {
    let id = query.packet.message.option(codes::CLIENT_ID);
    id.map(|id| ColonHex(&id).to_string()).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    format!("0x{}", UpperHex(bytes))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::happening::Before;
    use super::super::testing::{meta, query};
    use super::*;
    use crate::state::testing::lease;

    fn happening(what: What) -> Happening {
        let text = r#"{"Dhcp4": {"subnet4": [{"id": 1, "subnet": "192.0.2.0/24"}]}}"#;
        Happening { what, config: Arc::new(crate::config::from_text(text).unwrap().config) }
    }

    fn value<'a>(call: &'a Call, name: &str) -> &'a str {
        let found = call.variables.iter().find(|(own, _)| own == name);
        &found.unwrap_or_else(|| panic!("{name} in {:?}", call.variables)).1
    }

    fn granted(before: Before) -> What {
        let lease = lease("192.0.2.10", 1);
        What::Granted {
            query: query(),
            index: 1,
            address: lease.address,
            generation: lease.generation,
            stamp: lease.cltt,
            before,
        }
    }

    #[test]
    fn a_new_lease_is_a_commit_and_a_renewal_is_both() {
        let lease = Arc::new(lease("192.0.2.10", 1));
        let points = |before| {
            let calls = calls(&happening(granted(before)), Some(&lease), &meta());
            calls.iter().map(|call| call.point).collect::<Vec<_>>()
        };
        assert_eq!(points(Before::default()), ["leases4_committed"]);
        let same = Before { same: Some(Arc::clone(&lease)), ..Before::default() };
        assert_eq!(points(same), ["lease4_renew", "leases4_committed"]);
    }

    #[test]
    fn a_grant_that_was_undone_meanwhile_is_not_told() {
        let calls = calls(&happening(granted(Before::default())), None, &meta());
        assert!(calls.is_empty());
    }

    #[test]
    fn variables_have_keas_names() {
        let own = lease("192.0.2.10", 1);
        let retired = Arc::new(lease("192.0.2.9", 1));
        let before = Before { retired: Some(retired), ..Before::default() };
        let calls = calls(&happening(granted(before)), Some(&own), &meta());
        let call = &calls[0];
        for (name, expected) in [
            ("QUERY4_TYPE", "DHCPREQUEST"),
            ("QUERY4_TXID", "7"),
            ("QUERY4_IFACE_NAME", "eth0"),
            ("QUERY4_IFACE_INDEX", "3"),
            ("QUERY4_RELAYED", "false"),
            ("QUERY4_HWADDR", "02:00:00:00:00:01"),
            ("QUERY4_HWADDR_TYPE", "1"),
            ("QUERY4_OPTION_82", "0x0101AA"),
            ("QUERY4_OPTION_82_SUB_OPTION_1", "0xAA"),
            ("QUERY4_OPTION_82_SUB_OPTION_2", ""),
            ("LEASES4_SIZE", "1"),
            ("LEASES4_AT0_ADDRESS", "192.0.2.10"),
            ("LEASES4_AT0_STATE", "default"),
            ("LEASES4_AT0_SUBNET_ID", "1"),
            ("DELETED_LEASES4_SIZE", "1"),
            ("DELETED_LEASES4_AT0_ADDRESS", "192.0.2.9"),
        ] {
            assert_eq!(value(call, name), expected, "{name}");
        }
    }

    #[test]
    fn an_end_is_expiry_and_the_end_of_a_probation_is_recovery() {
        let told = |lease: Lease, removed| {
            let what = What::Expired(Arc::new(lease), removed);
            calls(&happening(what), None, &meta()).remove(0)
        };
        let expired = told(lease("192.0.2.10", 1), false);
        assert_eq!((expired.point, value(&expired, "REMOVE_LEASE")), ("lease4_expire", "false"));
        let declined = Lease { state: LeaseState::Declined, ..lease("192.0.2.10", 1) };
        assert_eq!(told(declined, true).point, "lease4_recover");
    }
}
