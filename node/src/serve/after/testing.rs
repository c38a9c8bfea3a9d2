//! A packet and a machine for the tests.

use super::happening::Query;
use crate::dhcp::v4::{Arrival, Packet};
use crate::packet::v4::Message;
use crate::state::{Meta, State};
use crate::types::ClusterTime;

/// A REQUEST of 02:00:00:00:00:01 with a circuit id, through eth0.
pub fn query() -> Query {
    let mut bytes = vec![0; 240];
    bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
    bytes[7] = 7;
    bytes[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    bytes[236..].copy_from_slice(&[99, 130, 83, 99]);
    bytes.extend([53, 1, 3, 82, 3, 1, 1, 0xaa, 255]);
    let arrival = Arrival {
        interface: "eth0".into(),
        address: Some([192, 0, 2, 1].into()),
        prefix_len: 24,
        broadcast: true,
        source: "0.0.0.0:68".parse().unwrap(),
        destination: [255; 4].into(),
        frame_source: None,
        mtu: 1500,
        at: ClusterTime::ZERO,
    };
    let message = Message::from_vec(bytes).unwrap();
    Query { packet: Packet { message, arrival, seen: 0 }, interface: 3 }
}

/// An empty machine's.
pub fn meta() -> Meta {
    State::default().view().meta().clone()
}
