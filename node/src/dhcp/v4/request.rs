//! REQUEST: which state the client is in, and what each state gets (section 7.2 of the contract;
//! RFC 2131 §4.3.2). The big table is [`policy`].

use std::net::Ipv4Addr;

use super::discover::Claim;
use super::names::{Manner, Names};
use super::packet::{Arrival, Reading};
use super::pending::Pending;
use super::scope::Scope;
use super::{Exchange, discover, lifetime, newcomer, ping, respond};
use crate::config::Subnet;
use crate::dhcp::decision::{Decision, Reason};
use crate::state::{
    Availability, Client, Command, Grant, GrantItem, Lease, Why, cached_lifetime, reserved_address,
    reserved_for_other,
};
use crate::types::Lifetime;

/// What a client's state and address come to (the rows of the table).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The address is this client's lease, or its last one and still free.
    Own,
    /// Nobody's, and allowed here.
    Free,
    /// Leased or reserved for another, in a pool that is not for this client's classes, or the client's
    /// reservation calls it elsewhere.
    Another,
    /// Not of this network, or in no pool of it.
    Outside,
    /// No subnet serves the client.
    NoSubnet,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Propose the binding.
    Grant,
    /// Refuse, from fresh knowledge.
    Nak,
    /// Say nothing.
    Silent,
}

/// The state of the client (RFC 2131 §4.3.2, table 4), by the fields it filled in.
pub fn why(reading: &Reading, arrival: &Arrival) -> Why {
    if reading.bootp {
        // It asks for whatever is its own, and is never refused (M14).
        return Why::Unnamed;
    }
    match (reading.ciaddr, reading.server_id, reading.requested) {
        // With 54 it is mixed; that 54 is ours has been asked before.
        (Some(_), Some(_), _) => Why::Renewing,
        (Some(_), None, _) if reading.is_unicast(arrival) => Why::Renewing,
        (Some(_), None, _) => Why::Rebinding,
        (None, Some(_), Some(_)) => Why::Selecting,
        (None, None, Some(_)) => Why::InitReboot,
        // The RFC would refuse; Kea picks an address.
        (None, _, None) => Why::Unnamed,
    }
}

/// The big table. `known`: the committed state has a lease of this client here.
pub fn policy(why: Why, standing: Standing, known: bool, authoritative: bool) -> Act {
    let nak_if = |condition: bool| if condition { Act::Nak } else { Act::Silent };
    match (standing, why) {
        (Standing::Own, _) => Act::Grant,
        (Standing::Free, Why::InitReboot) => nak_if(known || authoritative),
        (Standing::Free, _) => Act::Grant,
        (Standing::Another, Why::Selecting | Why::Renewing) => Act::Nak,
        (Standing::Another, _) => nak_if(known || authoritative),
        (Standing::Outside, Why::InitReboot) => nak_if(known || authoritative),
        (Standing::Outside, Why::Renewing) => nak_if(known),
        (Standing::Outside, Why::Rebinding) => nak_if(authoritative),
        (Standing::Outside, _) => Act::Silent,
        (Standing::NoSubnet, Why::Selecting | Why::Renewing) => Act::Nak,
        (Standing::NoSubnet, Why::InitReboot) => nak_if(authoritative),
        (Standing::NoSubnet, _) => Act::Silent,
    }
}

/// Whether a lease was granted since the packet came, as far as this node can tell. By cluster time alone it cannot: its estimate runs
/// on while nobody leads, and stamps then begin where they had ended (R12). So what was applied here since the packet was taken up counts,
/// too; an index from before a restore (R28) says nothing.
fn is_since(ex: &Exchange<'_>, lease: &Lease) -> bool {
    let (seen, applied) = (ex.packet.seen, ex.view.applied());
    let is_news = (seen.saturating_add(1)..=applied).contains(&lease.generation.index());
    is_news || lease.granted > ex.packet.arrival.at
}

/// A REQUEST that this node answers.
pub fn request<'a>(ex: &Exchange<'a>, subnet: Option<&'a Subnet>) -> Decision {
    let why = why(ex.reading, &ex.packet.arrival);
    let Some(subnet) = subnet else { return without_subnet(ex, why) };
    let client = ex.client(subnet);
    let held = ex.view.lease_of(&client, subnet.network).map(|lease| &**lease);
    let want = match why {
        Why::Selecting | Why::InitReboot => ex.reading.requested,
        Why::Renewing | Why::Rebinding => ex.reading.ciaddr,
        Why::Unnamed | Why::Offering => None,
    };
    let Some(want) = want else { return unnamed(ex, subnet, &client, held) };
    // A packet that waited, for a commit or a barrier, and whose client was given another address
    // meanwhile: deciding it on the newer view would retire what the client has now (R2).
    if held.is_some_and(|lease| lease.address != want && is_since(ex, lease)) {
        return Decision::Drop(Reason::Overtaken);
    }
    let last = ex.view.last_lease_of(&client, subnet.network).map(|lease| &**lease);
    let (standing, member) = standing(ex, subnet, &client, last, want, why);
    let known = held.or(last);
    match policy(why, standing, known.is_some(), subnet.values.authoritative) {
        Act::Grant => {
            if standing == Standing::Free {
                ex.note_newcomer(subnet, &client);
            }
            bind(ex, member, held, want, why)
        }
        Act::Nak => refuse(ex, Some(&ex.scope(subnet, ex.classes, None)), known),
        Act::Silent => Decision::Drop(match standing {
            Standing::Outside => Reason::NotInPool,
            _ => Reason::UnknownClient,
        }),
    }
}

/// How the address stands to the client, and the subnet of the network that would grant it. In the
/// order of Kea: an address that somebody else has or that is reserved is refused wherever it lies.
fn standing<'a>(
    ex: &Exchange<'a>,
    subnet: &'a Subnet,
    client: &Client,
    last: Option<&Lease>,
    want: Ipv4Addr,
    why: Why,
) -> (Standing, &'a Subnet) {
    let availability = ex.view.availability(want, client, ex.now);
    let is_held = ex.view.is_held(want, ex.now);
    let mut all = ex.config.members(subnet.network);
    // Somebody answers at an address that may be his (R28).
    if is_held && !why.claims() && ex.cx.memory.is_in_use(want) {
        return (Standing::Another, subnet);
    }
    if matches!(availability, Availability::Taken(_))
        || all.any(|member| reserved_for_other(ex.config, member, want, client))
        || is_called_elsewhere(ex, subnet, client, want)
    {
        return (Standing::Another, subnet);
    }
    let mut members = ex.members(subnet);
    let Some(member) = members.find(|member| discover::is_open(ex, member, want, client)) else {
        // It may be given out here, but not to this client: then it is told so, as in Kea.
        let barred = ex.config.members(subnet.network).any(|m| m.pool_of(want).is_some());
        return (if barred { Standing::Another } else { Standing::Outside }, subnet);
    };
    let is_last = last.is_some_and(|last| last.address == want);
    // R28: a client that says so of a held address has a lease of it that we do not know.
    let own = availability == Availability::Own || is_last || is_held && why.claims();
    (if own { Standing::Own } else { Standing::Free }, member)
}

/// Whether the client has a reservation for another address which it could have: Kea then sends it
/// back to DISCOVER, where the reserved address will be offered.
fn is_called_elsewhere<'a>(
    ex: &Exchange<'a>,
    subnet: &'a Subnet,
    client: &Client,
    want: Ipv4Addr,
) -> bool {
    let reserved = reserved_address(ex.config, ex.members(subnet), client);
    let Some((reserved, _)) = reserved else { return false };
    // A lease of it, whosever, is why the client was offered another; or somebody that answers there.
    reserved != want && ex.view.is_free(reserved, ex.now) && !ex.cx.memory.is_in_use(reserved)
}

/// No address named: the client gets what a DISCOVER would have offered.
fn unnamed<'a>(
    ex: &Exchange<'a>,
    subnet: &'a Subnet,
    client: &Client,
    held: Option<&'a Lease>,
) -> Decision {
    match discover::choose(ex, subnet, client) {
        Ok(choice) => {
            if choice.claim == Claim::New {
                ex.note_newcomer(subnet, client);
            }
            bind(ex, choice.subnet, held, choice.address, Why::Unnamed)
        }
        Err(reason) => Decision::Drop(reason),
    }
}

fn bind<'a>(
    ex: &Exchange<'a>,
    subnet: &'a Subnet,
    held: Option<&'a Lease>,
    want: Ipv4Addr,
    why: Why,
) -> Decision {
    let lifetime = lifetime::of(ex, subnet);
    let wish = Wish { subnet, want, why, lifetime, held };
    // What the client named it knows: then no identity needs to be looked up.
    if let Some(identity) = ex.reading.chosen_server() {
        return propose(ex, wish, identity);
    }
    let classes = ex.settled(subnet, Some(want));
    grant(ex, &ex.scope(subnet, &classes, Some(want)), wish)
}

/// What a Grant will ask for.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Where.
    pub subnet: &'a Subnet,
    /// Which address.
    pub want: Ipv4Addr,
    /// The state of the client.
    pub why: Why,
    /// For how long.
    pub lifetime: Lifetime,
    /// What the client has in the network.
    pub held: Option<&'a Lease>,
}

/// The Grant of an address, under the identity that the scope of the address gives.
pub fn grant(ex: &Exchange<'_>, scope: &Scope<'_>, wish: Wish<'_>) -> Decision {
    match respond::identity(ex, Some(scope), None) {
        Some(identity) => propose(ex, wish, identity),
        None => Decision::Drop(Reason::NowhereToReply),
    }
}

/// The time that is left of the client's lease, if that would be all that it gets for asking now
/// (M8).
pub fn cached(ex: &Exchange<'_>, subnet: &Subnet, address: Ipv4Addr) -> Option<Lifetime> {
    let lease = ex.view.lease(address).filter(|_| subnet.values.cache_threshold > 0.0)?;
    let lifetime = lifetime::of(ex, subnet);
    let wish = Wish { subnet, want: address, why: Why::Selecting, lifetime, held: Some(lease) };
    cached_lifetime(lease, &command(ex, wish, lease.identity), subnet, ex.now)
}

fn propose(ex: &Exchange<'_>, wish: Wish<'_>, identity: Ipv4Addr) -> Decision {
    let mut grant = command(ex, wish, identity);
    let check = Some(wish.want).filter(|_| !wish.why.claims());
    let check = check.and_then(|want| ping::check(ex, wish.subnet, &grant.client, want));
    let check = check.filter(|check| check.must);
    let is_first = wish.why != Why::Offering
        && newcomer::is_first_lease(ex, wish.subnet, &grant.client, wish.held);
    // It goes out behind the check only.
    grant.checked = check.is_some();
    let pending = Pending {
        packet: ex.packet.clone(),
        reading: ex.reading.clone(),
        classes: ex.classes.clone(),
        client: grant.client.key(),
        subnet: wish.subnet.id,
        want: wish.want,
        why: wish.why,
        again: ex.cx.again,
        first_on: is_first.then(|| ex.reading.circuit(&ex.packet.arrival)),
    };
    let commit = Decision::Commit(Command::Grant(grant), Box::new(pending));
    match check {
        Some(check) => Decision::Check(check, Box::new(commit)),
        None => commit,
    }
}

fn command(ex: &Exchange<'_>, wish: Wish<'_>, identity: Ipv4Addr) -> Grant {
    let Wish { subnet, want, why, lifetime, held } = wish;
    let client = ex.client(subnet);
    let manner = Manner::of(ex.classes, ex.config);
    let names = Names::at(&ex.packet.message, ex.reservation(subnet), subnet, Some(want), manner);
    Grant {
        origin: ex.cx.origin,
        not_after: ex.packet.arrival.at.plus(super::PATIENCE),
        config: ex.view.config_version(),
        client,
        items: vec![GrantItem {
            subnet: subnet.id,
            want,
            why,
            held: held.map(|lease| (lease.address, lease.generation)),
            lifetime,
        }],
        hostname: names.lease,
        fqdn_fwd: names.forward,
        fqdn_rev: names.reverse,
        identity,
        relay_info: relay_info(ex, subnet),
        checked: false,
    }
}

/// A REQUEST of the class REJECT: refused whatever it asks for.
pub fn reject<'a>(ex: &Exchange<'a>, subnet: Option<&'a Subnet>, client: &Client) -> Decision {
    // A BOOTP client knows no refusal, and a relay that no subnet knows gets nothing at all (A4).
    if ex.reading.bootp || (subnet.is_none() && ex.reading.relay.is_some()) {
        return Decision::Drop(Reason::RejectClass);
    }
    let scope = subnet.map(|subnet| ex.scope(subnet, ex.classes, None));
    let known = subnet.and_then(|subnet| ex.view.lease_of(client, subnet.network));
    refuse(ex, scope.as_ref(), known.map(|lease| &**lease))
}

/// Option 82 as a relay wrote it, where leases keep it (`store-extended-info`): what is kept is
/// believed later, so a client's own is not (A5). One that is too long is echoed, but not kept (A6).
fn relay_info(ex: &Exchange<'_>, subnet: &Subnet) -> Option<Box<[u8]>> {
    ex.reading.relay?;
    let info = ex.packet.message.relay_info().filter(|_| subnet.values.store_extended_info)?;
    (1..=Grant::MOST_RELAY_INFO).contains(&info.raw().len()).then(|| info.raw().into())
}

/// A NAK: sent at once from fresh knowledge, else after a read barrier (C11).
fn refuse(ex: &Exchange<'_>, scope: Option<&Scope<'_>>, known: Option<&Lease>) -> Decision {
    match respond::nak(ex, scope, known.map(|lease| lease.identity)) {
        Ok(nak) if ex.cx.fresh => Decision::Reply(nak),
        Ok(nak) => Decision::Refuse(nak),
        Err(reason) => Decision::Drop(reason),
    }
}

fn without_subnet(ex: &Exchange<'_>, why: Why) -> Decision {
    // A4: a relay that no subnet knows gets nothing at all.
    let act = policy(why, Standing::NoSubnet, false, ex.config.authoritative);
    if ex.reading.relay.is_some() || act != Act::Nak {
        return Decision::Drop(Reason::NoSubnet);
    }
    refuse(ex, None, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Section 7.2, written out: rows by standing, columns by state; in each cell what an unknown
    /// client, a known one, and either of them under an authoritative server get.
    #[test]
    fn the_table_of_requests_is_the_one_of_the_contract() {
        const STATES: [Why; 5] =
            [Why::Selecting, Why::InitReboot, Why::Renewing, Why::Rebinding, Why::Unnamed];
        const TABLE: [(Standing, [&str; 5]); 5] = [
            //                     SELECTING INIT-REBOOT RENEWING REBINDING unnamed
            (Standing::Own, ["GGG", "GGG", "GGG", "GGG", "GGG"]),
            (Standing::Free, ["GGG", "-NN", "GGG", "GGG", "GGG"]),
            (Standing::Another, ["NNN", "-NN", "NNN", "-NN", "-NN"]),
            (Standing::Outside, ["---", "-NN", "-NK", "--N", "---"]),
            (Standing::NoSubnet, ["NNN", "--N", "NNN", "---", "---"]),
        ];
        for (standing, row) in TABLE {
            for (why, cell) in STATES.into_iter().zip(row) {
                let cases = [(false, false), (true, false), (false, true), (true, true)];
                let expected: Vec<char> = cell.chars().chain(cell.chars().last()).collect();
                for ((known, authoritative), expected) in cases.into_iter().zip(expected) {
                    let expected = match expected {
                        'G' => Act::Grant,
                        'N' => Act::Nak,
                        // Only for a known client, authoritative or not.
                        'K' if known => Act::Nak,
                        _ => Act::Silent,
                    };
                    let act = policy(why, standing, known, authoritative);
                    assert_eq!(
                        act, expected,
                        "{standing:?} {why:?} known={known} authoritative={authoritative}"
                    );
                }
            }
        }
    }
}
