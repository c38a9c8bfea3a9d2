//! What waits for the worker.

use std::sync::Arc;

use divan::Bencher;
use leasehold::clock::{SystemClock, instant};
use leasehold::net::{Arrival, Received};
use leasehold::packet::v4::MessageType;
use leasehold::serve::Inbox;

use crate::support::{OWN, RELAY, query};

/// More than any queue has room for.
const FLOOD: usize = 20_000;

/// A packet that comes into a queue that is full, so that the oldest is dropped: the cost before the first decision (A2).
#[divan::bench]
fn packet_dropped(bencher: Bencher<'_, '_>) {
    let datagram = Received {
        bytes: query(MessageType::Discover, 7).encode(),
        arrival: Arrival {
            interface: "eth0".into(),
            index: 1,
            mtu: 1500,
            interface_address: OWN,
            source: std::net::SocketAddrV4::new(RELAY, 67),
            destination: OWN,
            source_mac: None,
            broadcast: false,
        },
        came: instant(),
    };
    let inbox = Inbox::new(Arc::new(SystemClock));
    (0..FLOOD).for_each(|_| inbox.packet(datagram.clone()));
    assert!(inbox.counts().1 > 0, "the queue has no end");
    bencher.with_inputs(|| datagram.clone()).bench_values(|datagram| inbox.packet(datagram));
}
