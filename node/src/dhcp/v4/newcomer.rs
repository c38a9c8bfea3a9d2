//! Clients that nobody knows, and where packets come from: what A1 counts and limits.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::{Exchange, Packet, RelayFacts};
use crate::config::Subnet;
use crate::state::{Client, Lease};

/// Where a packet came from, as far as the relay tells, or else we.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Sub-options 1 and 2 of option 82.
    Circuit {
        /// 1; empty when absent.
        circuit_id: Box<[u8]>,
        /// 2; empty when absent.
        remote_id: Box<[u8]>,
        /// The relay that the first of such packets came by.
        relay: Ipv4Addr,
    },
    /// A relay that says no more.
    Relay(Ipv4Addr),
    /// An interface of this node.
    Interface(Arc<str>),
}

impl Place {
    /// The place behind the number that [`super::Reading::circuit`] gives. What a direct client writes into 82 is
    /// no place (A5).
    pub fn of(packet: &Packet) -> Place {
        let relay = packet.message.giaddr();
        if relay.is_unspecified() {
            return Place::Interface(Arc::clone(&packet.arrival.interface));
        }
        let facts = packet.message.relay_info().map(|info| RelayFacts::of(&info));
        match facts.and_then(|facts| facts.circuit) {
            Some(circuit) => Place::Circuit {
                circuit_id: circuit.circuit_id,
                remote_id: circuit.remote_id,
                relay,
            },
            None => Place::Relay(relay),
        }
    }
}

/// Whether nobody knows the client in the network of `subnet`: it has no lease, none that ended and is kept for it, no
/// reservation, and no node has answered it a moment ago, as far as this one knows.
pub fn is_newcomer(ex: &Exchange<'_>, subnet: &Subnet, client: &Client) -> bool {
    let key = client.key();
    ex.cx.holds.get(&key, ex.now).is_none()
        && ex.cx.memory.noted(&key).is_none()
        && ex.view.lease_of(client, subnet.network).is_none()
        && ex.view.last_lease_of(client, subnet.network).is_none()
        && ex.reservation(subnet).is_none()
}

/// Whether a grant would be the first lease in the network of `subnet` for a client that has `held` there. What was
/// only offered is none.
pub fn is_first_lease(
    ex: &Exchange<'_>,
    subnet: &Subnet,
    client: &Client,
    held: Option<&Lease>,
) -> bool {
    held.is_none_or(|lease| lease.offered)
        && ex.view.last_lease_of(client, subnet.network).is_none_or(|lease| lease.offered)
}
