//! INFORM (M13; RFC 2131 §4.3.5): options for a client that has an address from elsewhere. No
//! lease is made, read or extended.

use super::{Exchange, respond};
use crate::config::Subnet;
use crate::dhcp::decision::{Decision, Reason};

/// An INFORM that this node answers.
pub fn inform<'a>(ex: &Exchange<'a>, subnet: Option<&'a Subnet>) -> Decision {
    let Some(selected) = subnet else { return Decision::Drop(Reason::NoSubnet) };
    let address = ex.reading.ciaddr.unwrap_or(*ex.packet.arrival.source.ip());
    let member = ex.members(selected).find(|member| member.prefix.contains(address));
    let subnet = member.unwrap_or(selected);
    // Without a lease no pool speaks, as in Kea.
    let classes = ex.settled(subnet, None);
    respond::inform(ex, &ex.scope(subnet, &classes, None))
}
