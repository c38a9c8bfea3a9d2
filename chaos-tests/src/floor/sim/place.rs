//! Who is where: the same in both worlds.

use std::net::{Ipv4Addr, SocketAddrV4};

use leasehold::net;
use serde_json::{Value, json};

use super::{Mutant, Plan};

/// How many nodes there are, numbered from 1.
pub const NODES: u64 = 3;
/// The relay that every client stands behind.
pub const RELAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 10);

/// Where node `node` listens.
pub fn address(node: u64) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, u8::try_from(node).unwrap_or(u8::MAX))
}

/// The other nodes.
pub fn peers(node: u64) -> impl Iterator<Item = u64> {
    (1..=NODES).filter(move |other| *other != node)
}

/// The interface of a node.
pub fn interface(node: u64) -> net::InterfaceState {
    net::InterfaceState {
        index: 1,
        name: "eth0".to_owned(),
        mac: None,
        mtu: 1500,
        kind: 1,
        up: true,
        running: true,
        multicast: true,
        broadcasts: true,
        loopback: false,
        addresses: vec![net::InterfaceAddress {
            address: address(node),
            prefix_len: 16,
            broadcast: None,
        }],
    }
}

/// A datagram from `source` as node `node` reads it.
pub fn datagram(node: u64, bytes: Vec<u8>, source: SocketAddrV4) -> net::Received {
    let arrival = net::Arrival {
        interface: "eth0".into(),
        index: 1,
        mtu: 1500,
        interface_address: address(node),
        source,
        destination: address(node),
        source_mac: None,
        broadcast: false,
    };
    net::Received { bytes, arrival, came: leasehold::clock::instant() }
}

/// How long an address is nobody's after a DECLINE, in seconds.
pub const PROBATION: u32 = 5;

/// The configuration of a run. With two of the mutants it is not what the run holds the server to.
pub fn configuration(plan: &Plan) -> Value {
    let Plan { pool, lifetime, mutant, .. } = plan;
    let probation = if *mutant == Some(Mutant::HoldIgnored) { 0 } else { PROBATION };
    let mut all = json!({ "Dhcp4": {
        "interfaces-config": { "interfaces": ["eth0"] },
        "valid-lifetime": lifetime,
        "renew-timer": lifetime * 2 / 5,
        "rebind-timer": lifetime * 3 / 4,
        "decline-probation-period": probation,
        "expired-leases-processing": {
            "reclaim-timer-wait-time": 1, "flush-reclaimed-timer-wait-time": 5, "hold-reclaimed-time": 8,
        },
        "subnet4": [{
            "id": 1, "subnet": "10.77.0.0/16",
            "pools": [{ "pool": format!("10.77.16.1 - 10.77.16.{pool}") }],
        }],
    }});
    if *mutant == Some(Mutant::ExpiryWithoutGrace) {
        all["Dhcp4"]["subnet4"][0]["user-context"] = json!({ "leasehold": { "grace": 0 } });
    }
    all
}
