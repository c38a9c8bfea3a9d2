//! RELEASE and DECLINE share their end: a command that is always proposed and never judged on a
//! local view, since they can arrive before this node has applied the lease they mean (R5). Each
//! is sent once, so every node that hears it acts, one after the other (C10).

use std::net::Ipv4Addr;

use super::Exchange;
use super::turn::{self, Question};
use crate::config::Subnet;
use crate::dhcp::decision::Decision;
use crate::state::{Client, Command, GiveUp};

/// The command about `address`, to be proposed when this node's rank says so.
pub fn propose(
    ex: &Exchange<'_>,
    question: &Question<'_>,
    client: Client,
    address: Ipv4Addr,
    command: fn(GiveUp) -> Command,
) -> Decision {
    let lease = ex.view.lease(address).filter(|lease| lease.held_by(&client));
    let give_up = GiveUp {
        origin: ex.cx.origin,
        generation: lease.map(|lease| lease.generation),
        client,
        address,
        arrived: ex.packet.arrival.at,
        circuit: ex.reading.circuit(&ex.packet.arrival),
        relayed: ex.reading.relay.is_some(),
    };
    Decision::Propose { command: command(give_up), after: turn::delay(question, ex.cx, ex.view) }
}

/// The subnet whose `match-client-id` counts for an address: that of its lease, else the one that
/// the packet selected.
pub fn subnet_of<'a>(
    ex: &Exchange<'a>,
    selected: Option<&'a Subnet>,
    address: Ipv4Addr,
) -> Option<&'a Subnet> {
    let leased = ex.view.lease(address).and_then(|lease| ex.config.subnet(lease.subnet));
    let member =
        || ex.config.members(selected?.network).find(|subnet| subnet.prefix.contains(address));
    leased.or_else(member).or(selected)
}
