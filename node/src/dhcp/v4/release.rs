//! RELEASE (M12; RFC 2131 §4.3.4): the client gives its address back. Never answered.

use super::turn::Question;
use super::{Exchange, give_up};
use crate::config::Subnet;
use crate::dhcp::decision::{Decision, Reason};
use crate::state::Command;

/// A RELEASE that this node heard.
pub fn release(ex: &Exchange<'_>, subnet: Option<&Subnet>, question: &Question<'_>) -> Decision {
    let Some(address) = ex.reading.ciaddr else { return Decision::Drop(Reason::NoAddress) };
    // A3: whoever gives an address back must be sending from it.
    if ex.reading.relay.is_none() && *ex.packet.arrival.source.ip() != address {
        return Decision::Drop(Reason::ForgedRelease);
    }
    let match_id =
        give_up::subnet_of(ex, subnet, address).is_none_or(|subnet| subnet.values.match_client_id);
    give_up::propose(ex, question, ex.reading.client(match_id), address, Command::Release)
}
