//! DECLINE (M9–M11; RFC 2131 §4.3.3): somebody else uses the address. Never answered.

use std::time::Duration;

use super::turn::Question;
use super::{Exchange, give_up};
use crate::config::Subnet;
use crate::dhcp::decision::{Decision, Reason};
use crate::state::{Client, Command};

/// So many declines of a client within an hour make it wait (M11).
const LIMIT: u32 = 5;
/// So long its DISCOVERs are then ignored.
const PENANCE: Duration = Duration::from_secs(600);

/// A DECLINE that this node heard.
pub fn decline(ex: &Exchange<'_>, subnet: Option<&Subnet>, question: &Question<'_>) -> Decision {
    let Some(address) = ex.reading.requested else { return Decision::Drop(Reason::NoAddress) };
    let match_id =
        give_up::subnet_of(ex, subnet, address).is_none_or(|subnet| subnet.values.match_client_id);
    give_up::propose(ex, question, ex.reading.client(match_id), address, Command::Decline)
}

/// M11: whether the client has declined so often that its DISCOVERs are ignored for a while. On a
/// link where something answers ARP for every address it would empty the pool in minutes.
pub fn is_penitent(ex: &Exchange<'_>, client: &Client) -> bool {
    let declines = ex.view.declines_of(&client.key(), ex.now);
    declines.count >= LIMIT && declines.last.is_some_and(|last| ex.now < last.plus(PENANCE))
}
