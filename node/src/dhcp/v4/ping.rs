//! Whether an address is to be pinged before it is offered (M4), by the rules of Kea's ping_check hook
//! (Kea manual, "Ping Check"). Only whether: who pings is the caller.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::Exchange;
use crate::config::{PingCheck, Subnet};
use crate::dhcp::decision::{Check, Offered};
use crate::state::Client;
use crate::types::ClusterTime;

/// How a held address is checked where the configuration says nothing of ping checks (R28): twice, since
/// the first request may be lost while the address is resolved.
const HELD: PingCheck = PingCheck { enabled: true, requests: 2, reply_timeout: 150, cltt_secs: 0 };

/// The check that an offer of `address` needs. What the client holds, and what was its own a moment ago
/// (`ping-cltt-secs`), it is offered without: it would answer itself. Not so after a restore, where
/// another may have it by now, and who asks this has not claimed it (R28). An address that is reserved for
/// it is checked like any other, as in Kea: the reservation does not keep a stranger off the wire.
pub fn check(
    ex: &Exchange<'_>,
    subnet: &Subnet,
    client: &Client,
    address: Ipv4Addr,
) -> Option<Check> {
    let wanted = subnet.ping_check.or(ex.config.hooks.ping_check).filter(|it| it.enabled);
    if ex.view.is_held(address, ex.now) {
        return Some(of(ex, subnet, client, address, wanted.unwrap_or(HELD), true));
    }
    let wanted = wanted?;
    let own = ex.view.lease(address).filter(|lease| lease.names(client));
    let recent = Duration::from_secs(wanted.cltt_secs.into());
    if own.is_some_and(|it| it.blocks_at(ex.now) || ex.now.since(it.cltt) <= recent) {
        return None;
    }
    Some(of(ex, subnet, client, address, wanted, false))
}

fn of(
    ex: &Exchange<'_>,
    subnet: &Subnet,
    client: &Client,
    address: Ipv4Addr,
    wanted: PingCheck,
    must: bool,
) -> Check {
    let circuit = ex.reading.circuit(&ex.packet.arrival);
    Check {
        offer: Offered {
            client: client.key(),
            subnet: subnet.id,
            address,
            circuit,
            until: ClusterTime::NEVER,
        },
        requests: wanted.requests.max(1),
        timeout: Duration::from_millis(wanted.reply_timeout.into()),
        must,
    }
}
