//! DISCOVER: which address to offer (M1–M3; RFC 2131 §4.3.1), from applied state and local holds.
//! No command, no wait: an offer is a guess that the commit of the REQUEST will judge. With
//! `offer-lifetime` the offer itself is committed first.

use std::net::Ipv4Addr;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::request::{self, Wish};
use super::{Exchange, decline, lifetime, ping, respond, v6only};
use crate::alloc::{self, Ask, Share};
use crate::config::Subnet;
use crate::dhcp::decision::{Decision, Failure, Offered, Reason, Search};
use crate::packet::v4::MessageType;
use crate::state::{
    Availability, Client, Lease, Why, reserved_address, reserved_for, reserved_for_other,
};
use crate::types::{ClientKey, ClusterTime};

/// A DISCOVER that this node answers.
pub fn discover<'a>(ex: &Exchange<'a>, subnet: Option<&'a Subnet>, client: &Client) -> Decision {
    let Some(subnet) = subnet else { return Decision::Drop(Reason::NoSubnet) };
    if decline::is_penitent(ex, client) {
        return Decision::Drop(Reason::DeclineLimit);
    }
    let Choice { subnet: member, address, claim } = match choose(ex, subnet, client) {
        Ok(choice) => choice,
        Err(Reason::PoolExhausted) => {
            let answer = respond::auto_configure(ex, subnet);
            return answer.unwrap_or(Decision::Drop(Reason::PoolExhausted));
        }
        Err(reason) => return Decision::Drop(reason),
    };
    if claim == Claim::New {
        ex.note_newcomer(subnet, client);
    }
    let classes = ex.settled(member, Some(address));
    let scope = ex.scope(member, &classes, Some(address));
    // Who is told to do without IPv4 will not take the address (RFC 8925).
    let is_wanted = !v6only::applies(&ex.packet.message, &scope);
    let checked = |decision| match decision {
        Decision::Reply(_) | Decision::Commit(..) if is_wanted => {
            match ping::check(ex, member, &ex.client(member), address) {
                Some(check) => Decision::Check(check, Box::new(decision)),
                None => decision,
            }
        }
        decision => decision,
    };
    if let Some(lifetime) = lifetime::of_offer(ex, member).filter(|_| is_wanted) {
        // What the client holds it is offered as it stands: a DISCOVER changes no lease (R6).
        let held = ex.view.lease_of(client, subnet.network).map(|lease| &**lease);
        if held.is_none_or(|lease| lease.offered || !lease.blocks_at(ex.now)) {
            let ask = Wish { subnet: member, want: address, why: Why::Offering, lifetime, held };
            return checked(request::grant(ex, &scope, ask));
        }
    }
    // Nobody else is offered what is this client's own.
    let needs_hold = claim == Claim::New && is_wanted;
    let offered = needs_hold.then(|| Offered {
        client: ex.client(member).key(),
        subnet: member.id,
        address,
        circuit: ex.reading.circuit(&ex.packet.arrival),
        until: ClusterTime::NEVER,
    });
    let cached = || request::cached(ex, member, address);
    let lifetime = match claim {
        Claim::Own => cached().unwrap_or_else(|| lifetime::of(ex, member)),
        Claim::New => lifetime::of(ex, member),
    };
    checked(respond::offer(ex, &scope, address, lifetime, offered))
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
    if let Some((address, subnet)) = reserved_address(ex.config, ex.members(subnet), client)
        && !ex.cx.memory.is_in_use(address)
    {
        if !matches!(ex.view.availability(address, client, ex.now), Availability::Taken(_)) {
            return Ok(Choice { subnet, address, claim: Claim::Own });
        }
        if ex.reading.message == MessageType::Discover {
            ex.search.set(Search { conflict: Some(subnet.id), ..ex.search.get() });
        }
    }
    if let Some(lease) = ex.view.lease_of(client, network)
        && let Some(subnet) = ex.members(subnet).find(|member| member.id == lease.subnet)
        && is_allowed(ex, subnet, lease.address, client)
        && (is_surely_own(ex, lease) || !ex.cx.memory.is_in_use(lease.address))
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
    choice.or_else(|| pick(ex, subnet, client, &key)).ok_or_else(|| {
        let mut pools = ex.members(subnet).flat_map(|member| &member.pools);
        let failure = Failure {
            subnet: subnet.id,
            shared: ex.config.network_of(subnet).name.is_some(),
            no_pools: !pools.any(|pool| ex.admits(pool)),
        };
        ex.search.set(Search { failed: Some(failure), ..ex.search.get() });
        Reason::PoolExhausted
    })
}

/// Whether nobody but the client that has the lease can answer at its address: it is not over, and not
/// one that the old cluster may have ended after the copy that this one was made from (R28).
fn is_surely_own(ex: &Exchange<'_>, lease: &Lease) -> bool {
    lease.blocks_at(ex.now) && !ex.view.is_held(lease.address, ex.now)
}

/// The member subnet in which the address may be offered to the client, free and not promised to
/// another.
fn offerable<'a>(
    ex: &Exchange<'a>,
    subnet: &'a Subnet,
    client: &Client,
    key: &ClientKey,
    address: Ipv4Addr,
) -> Option<&'a Subnet> {
    let member = ex.members(subnet).find(|member| is_allowed(ex, member, address, client))?;
    let free = !matches!(ex.view.availability(address, client, ex.now), Availability::Taken(_));
    (free && !is_promised(ex, address, key)).then_some(member)
}

/// Whether another client was offered the address a moment ago, here or by another node, or somebody
/// answers at it (M4).
fn is_promised(ex: &Exchange<'_>, address: Ipv4Addr, key: &ClientKey) -> bool {
    ex.cx.holds.is_held_by_other(address, key, ex.now)
        || ex.cx.memory.noted_for_another(address, key)
        || ex.cx.memory.is_in_use(address)
}

/// Whether the subnet may give the address to this client, as far as the configuration goes: it is in
/// a pool that the client may use, or reserved for it.
pub fn is_open(ex: &Exchange<'_>, member: &Subnet, address: Ipv4Addr, client: &Client) -> bool {
    member.prefix.contains(address)
        && (member.pool_of(address).is_some_and(|pool| ex.admits(pool))
            || reserved_for(ex.config, member, address, client))
}

fn is_allowed(ex: &Exchange<'_>, member: &Subnet, address: Ipv4Addr, client: &Client) -> bool {
    is_open(ex, member, address, client) && !reserved_for_other(ex.config, member, address, client)
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
    let moment = ex.packet.arrival.at.as_millis() ^ ex.cx.origin.sequence;
    let seed = xxh3_64_with_seed(key.bytes(), moment);
    let mut cursors = ex.cx.cursors.borrow_mut();
    let promised = |address| is_promised(ex, address, key);
    ex.members(subnet).find_map(|subnet| {
        let Exchange { view, config, now, .. } = *ex;
        let ask = Ask { view, config, subnet, client, now, share: &share, seed };
        match alloc::choose(&ask, &mut cursors, |pool| ex.admits(pool), promised) {
            alloc::Choice::Candidate(address) => {
                Some(Choice { subnet, address, claim: Claim::New })
            }
            alloc::Choice::Exhausted => None,
        }
    })
}
