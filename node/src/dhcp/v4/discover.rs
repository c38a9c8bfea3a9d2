//! DISCOVER: which address to offer (M1–M3; RFC 2131 §4.3.1), from applied state and local holds.
//! No command, no wait: an offer is a guess that the commit of the REQUEST will judge.

use std::net::Ipv4Addr;

use super::{Exchange, decline, respond, v6only};
use crate::alloc::{self, Ask, Share};
use crate::config::Subnet;
use crate::dhcp::decision::{Decision, Offered, Reason};
use crate::state::{Availability, Client, grantable, reserved_for_other};
use crate::types::ClientKey;

/// A DISCOVER that this node answers.
pub fn discover(ex: &Exchange<'_>, subnet: Option<&Subnet>, client: &Client) -> Decision {
    let Some(subnet) = subnet else { return Decision::Drop(Reason::NoSubnet) };
    if decline::is_penitent(ex, client) {
        return Decision::Drop(Reason::DeclineLimit);
    }
    let Choice { subnet: member, address, claim } = match choose(ex, subnet, client) {
        Ok(choice) => choice,
        Err(reason) => return Decision::Drop(reason),
    };
    let scope = ex.scope(member, Some(address));
    // Nobody else is offered what is this client's own, and who is told to do without IPv4 will not
    // take the address (RFC 8925).
    let needs_hold = claim == Claim::New && !v6only::applies(&ex.packet.message, &scope);
    let offered = needs_hold.then(|| Offered {
        client: ex.client(member).key(),
        subnet: member.id,
        address,
        circuit: ex.reading.circuit(&ex.packet.arrival),
    });
    respond::offer(ex, &scope, address, offered)
}

/// An address for a client.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'a> {
    /// The member of the network that it lies in.
    pub subnet: &'a Subnet,
    /// The address.
    pub address: Ipv4Addr,
    /// Whether it is the client's already.
    pub claim: Claim,
}

/// What a client has to do with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Its lease, not over yet, or reserved for it.
    Own,
    /// Free, and could be offered to others as well.
    New,
}

/// The address for a client that gets to choose nothing, in the order of M2.
pub fn choose<'a>(
    ex: &Exchange<'a>,
    subnet: &'a Subnet,
    client: &Client,
) -> Result<Choice<'a>, Reason> {
    let network = subnet.network;
    let key = client.key();
    if let Some((address, subnet)) = reserved_address(ex, subnet)
        && !matches!(ex.view.availability(address, client, ex.now), Availability::Taken(_))
    {
        return Ok(Choice { subnet, address, claim: Claim::Own });
    }
    if let Some(lease) = ex.view.lease_of(client, network)
        && let Some(subnet) = ex.config.subnet(lease.subnet)
        && is_allowed(subnet, lease.address, client)
    {
        // A lease that is over is the client's only until somebody else takes it.
        let claim = if lease.blocks_at(ex.now) { Claim::Own } else { Claim::New };
        return Ok(Choice { subnet, address: lease.address, claim });
    }
    let offerable = |address| {
        let subnet = offerable(ex, subnet, client, &key, address)?;
        Some(Choice { subnet, address, claim: Claim::New })
    };
    let last = ex.view.last_lease_of(client, network).map(|lease| lease.address);
    let held = ex.cx.holds.get(&key, ex.now).map(|hold| hold.address);
    if let Some(choice) = [last, held].into_iter().flatten().find_map(offerable) {
        return Ok(choice);
    }
    if is_flooded(ex, subnet) {
        return Err(Reason::HoldLimit);
    }
    let wishes = [ex.cx.memory.noted(&key), ex.reading.requested];
    let choice = wishes.into_iter().flatten().find_map(offerable);
    choice.or_else(|| pick(ex, subnet, client, &key)).ok_or(Reason::PoolExhausted)
}

/// The address reserved for the client in the network, the selected subnet first.
pub fn reserved_address<'a>(
    ex: &Exchange<'a>,
    subnet: &'a Subnet,
) -> Option<(Ipv4Addr, &'a Subnet)> {
    let others = ex.config.members(subnet.network).filter(|member| member.id != subnet.id);
    std::iter::once(subnet).chain(others).find_map(|member| {
        let own = member.reservations.for_client(&ex.reading.hw, ex.reading.client_id.as_ref())?;
        Some((own.address?, member))
    })
}

/// The member subnet in which the address may be offered to the client, free and not promised to
/// another.
fn offerable<'a>(
    ex: &Exchange<'a>,
    subnet: &Subnet,
    client: &Client,
    key: &ClientKey,
    address: Ipv4Addr,
) -> Option<&'a Subnet> {
    let member =
        ex.config.members(subnet.network).find(|member| is_allowed(member, address, client))?;
    let free = !matches!(ex.view.availability(address, client, ex.now), Availability::Taken(_));
    let promised = ex.cx.holds.is_held_by_other(address, key, ex.now)
        || ex.cx.memory.noted_for_another(address, key);
    (free && !promised).then_some(member)
}

fn is_allowed(member: &Subnet, address: Ipv4Addr, client: &Client) -> bool {
    grantable(member, address, client) && !reserved_for_other(member, address, client)
}

/// A1: whether the circuit already holds a quarter of what is free for clients nobody knows. A
/// client with a lease, a reservation or a hold never gets here.
fn is_flooded(ex: &Exchange<'_>, subnet: &Subnet) -> bool {
    let circuit = ex.reading.circuit(&ex.packet.arrival);
    let members = || ex.config.members(subnet.network);
    let held: u64 =
        members().map(|member| u64::from(ex.cx.holds.held_on(member.id, circuit))).sum();
    held >= u64::from(ex.cx.hold_floor)
        && held >= members().map(|member| ex.view.free_in(member)).sum::<u64>() / 4
}

/// A free address from the pools of the network, the selected subnet first.
fn pick<'a>(
    ex: &Exchange<'a>,
    subnet: &'a Subnet,
    client: &Client,
    key: &ClientKey,
) -> Option<Choice<'a>> {
    let share = Share::of(ex.view, ex.cx.me);
    let mut cursors = ex.cx.cursors.borrow_mut();
    let promised = |address| {
        ex.cx.holds.is_held_by_other(address, key, ex.now)
            || ex.cx.memory.noted_for_another(address, key)
    };
    let others = ex.config.members(subnet.network).filter(|member| member.id != subnet.id);
    std::iter::once(subnet).chain(others).find_map(|subnet| {
        let ask = Ask { view: ex.view, subnet, client, now: ex.now, share: &share };
        match alloc::choose(&ask, &mut cursors, promised) {
            alloc::Choice::Candidate(address) => {
                Some(Choice { subnet, address, claim: Claim::New })
            }
            alloc::Choice::Exhausted => None,
        }
    })
}
