//! REQUEST: which state the client is in, and what each state gets (section 7.2 of the contract;
//! RFC 2131 §4.3.2). The big table is [`policy`].

use std::net::Ipv4Addr;

use super::names::Names;
use super::packet::{Arrival, Reading};
use super::pending::Pending;
use super::scope::Scope;
use super::{Exchange, discover, respond};
use crate::config::Subnet;
use crate::dhcp::decision::{Decision, Reason};
use crate::state::{
    Availability, Client, Command, Grant, GrantItem, Lease, Why, grantable, reserved_for_other,
};

/// What a client's state and address come to (the rows of the table).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The address is this client's lease, or its last one and still free.
    Own,
    /// Nobody's, and allowed here.
    Free,
    /// Leased or reserved for another, or the client's reservation calls it elsewhere.
    Another,
    /// Not of this network, or in no pool of it.
    Outside,
    /// Not of the network that the relay selected by name (sub-option 5).
    WrongLink,
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
        // Kea refuses what does not fit the link that a relay selected.
        (Standing::WrongLink, Why::Selecting) => Act::Nak,
        (Standing::WrongLink, _) => policy(why, Standing::Outside, known, authoritative),
        (Standing::Outside, Why::InitReboot) => nak_if(known || authoritative),
        (Standing::Outside, Why::Renewing) => nak_if(known),
        (Standing::Outside, Why::Rebinding) => nak_if(authoritative),
        (Standing::Outside, _) => Act::Silent,
        (Standing::NoSubnet, Why::Selecting | Why::Renewing) => Act::Nak,
        (Standing::NoSubnet, Why::InitReboot) => nak_if(authoritative),
        (Standing::NoSubnet, _) => Act::Silent,
    }
}

/// A REQUEST that this node answers.
pub fn request(ex: &Exchange<'_>, subnet: Option<&Subnet>) -> Decision {
    let why = why(ex.reading, &ex.packet.arrival);
    let Some(subnet) = subnet else { return without_subnet(ex, why) };
    let client = ex.client(subnet);
    let held = ex.view.lease_of(&client, subnet.network).map(|lease| &**lease);
    let want = match why {
        Why::Selecting | Why::InitReboot => ex.reading.requested,
        Why::Renewing | Why::Rebinding => ex.reading.ciaddr,
        Why::Unnamed => None,
    };
    let Some(want) = want else { return unnamed(ex, subnet, &client, held) };
    // A packet that waited, for a commit or a barrier, and whose client was given another address
    // meanwhile: deciding it on the newer view would retire what the client has now (R2).
    if held.is_some_and(|lease| lease.address != want && lease.granted > ex.packet.arrival.at) {
        return Decision::Drop(Reason::Overtaken);
    }
    let last = ex.view.last_lease_of(&client, subnet.network).map(|lease| &**lease);
    let (standing, member) = standing(ex, subnet, &client, last, want);
    let known = held.or(last);
    match policy(why, standing, known.is_some(), subnet.values.authoritative) {
        Act::Grant => grant(ex, member, client, held, want, why),
        Act::Nak => {
            let scope = ex.scope(subnet, None);
            refuse(ex, Some(&scope), known)
        }
        Act::Silent => Decision::Drop(match standing {
            Standing::Outside | Standing::WrongLink => Reason::NotInPool,
            _ => Reason::UnknownClient,
        }),
    }
}

/// How the address stands to the client, and the subnet of the network that would grant it.
fn standing<'a>(
    ex: &Exchange<'a>,
    subnet: &'a Subnet,
    client: &Client,
    last: Option<&Lease>,
    want: Ipv4Addr,
) -> (Standing, &'a Subnet) {
    let network = subnet.network;
    let Some(member) = ex.config.members(network).find(|member| grantable(member, want, client))
    else {
        let selected = ex.reading.relay.and(ex.reading.relay_facts.link_selection).is_some();
        let on_link = ex.config.members(network).any(|member| member.prefix.contains(want));
        return (
            if selected && !on_link { Standing::WrongLink } else { Standing::Outside },
            subnet,
        );
    };
    if reserved_for_other(member, want, client) || is_called_elsewhere(ex, subnet, client, want) {
        return (Standing::Another, member);
    }
    let standing = match ex.view.availability(want, client, ex.now) {
        Availability::Own => Standing::Own,
        Availability::Taken(_) => Standing::Another,
        Availability::Free => match last {
            Some(last) if last.address == want => Standing::Own,
            _ => Standing::Free,
        },
    };
    (standing, member)
}

/// Whether the client has a reservation for another address which it could have: Kea then sends it
/// back to DISCOVER, where the reserved address will be offered.
fn is_called_elsewhere(
    ex: &Exchange<'_>,
    subnet: &Subnet,
    client: &Client,
    want: Ipv4Addr,
) -> bool {
    let Some((reserved, _)) = discover::reserved_address(ex, subnet) else { return false };
    reserved != want
        && !matches!(ex.view.availability(reserved, client, ex.now), Availability::Taken(_))
}

/// No address named: the client gets what a DISCOVER would have offered.
fn unnamed(ex: &Exchange<'_>, subnet: &Subnet, client: &Client, held: Option<&Lease>) -> Decision {
    match discover::choose(ex, subnet, client) {
        Ok(choice) => {
            grant(ex, choice.subnet, ex.client(choice.subnet), held, choice.address, Why::Unnamed)
        }
        Err(reason) => Decision::Drop(reason),
    }
}

fn grant(
    ex: &Exchange<'_>,
    subnet: &Subnet,
    client: Client,
    held: Option<&Lease>,
    want: Ipv4Addr,
    why: Why,
) -> Decision {
    // What the client named it knows: then nothing needs to be looked up.
    let looked_up = || respond::identity(ex, Some(&ex.scope(subnet, Some(want))), None);
    let Some(identity) = ex.reading.server_id.or_else(looked_up) else {
        return Decision::Drop(Reason::NowhereToReply);
    };
    let key = client.key();
    let names = Names::of(&ex.packet.message, ex.reservation(subnet).map(|own| &**own));
    let grant = Grant {
        origin: ex.cx.origin,
        not_after: ex.packet.arrival.at.plus(super::PATIENCE),
        config: ex.view.config_version(),
        client,
        items: vec![GrantItem {
            subnet: subnet.id,
            want,
            why,
            held: held.map(|lease| (lease.address, lease.generation)),
            lifetime: respond::lifetime(&subnet.values, ex.packet.message.lease_time()),
        }],
        hostname: names.lease,
        identity,
    };
    let pending = Pending {
        packet: ex.packet.clone(),
        reading: ex.reading.clone(),
        client: key,
        subnet: subnet.id,
        want,
        why,
        again: ex.cx.again,
    };
    Decision::Commit(Command::Grant(grant), Box::new(pending))
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
        const TABLE: [(Standing, [&str; 5]); 6] = [
            //                     SELECTING INIT-REBOOT RENEWING REBINDING unnamed
            (Standing::Own, ["GGG", "GGG", "GGG", "GGG", "GGG"]),
            (Standing::Free, ["GGG", "-NN", "GGG", "GGG", "GGG"]),
            (Standing::Another, ["NNN", "-NN", "NNN", "-NN", "-NN"]),
            (Standing::Outside, ["---", "-NN", "-NK", "--N", "---"]),
            (Standing::WrongLink, ["NNN", "-NN", "-NK", "--N", "---"]),
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
