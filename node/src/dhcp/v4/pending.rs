//! A packet that waits for the outcome of its command.

use std::cell::Cell;
use std::net::Ipv4Addr;

use super::context::Context;
use super::packet::{Packet, Reading};
use super::{Exchange, PATIENCE, request, respond};
use crate::dhcp::decision::{Decision, Reason};
use crate::state::{Granted, Outcome, View, Why};
use crate::types::{ClassSet, ClientKey, ClusterTime, SubnetId};

/// Everything needed to answer once the outcome is known. Plain data.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    pub(super) packet: Packet,
    pub(super) reading: Reading,
    /// Its classes before it had an address. They are not found anew: the answer must be the one
    /// that the command was made for.
    pub(super) classes: ClassSet,
    pub(super) client: ClientKey,
    pub(super) subnet: SubnetId,
    pub(super) want: Ipv4Addr,
    pub(super) why: Why,
    pub(super) again: bool,
    /// The circuit, when the client gets its first lease in the network (A1).
    pub(super) first_on: Option<u64>,
}

/// What a client asks for: equal for a packet and its repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    why: Why,
    subnet: SubnetId,
    server_id: Option<Ipv4Addr>,
    address: Option<Ipv4Addr>,
}

impl Pending {
    /// Whose packet it is.
    pub fn client(&self) -> &ClientKey {
        &self.client
    }

    /// The address asked for, or chosen.
    pub fn want(&self) -> Ipv4Addr {
        self.want
    }

    /// The state of the client.
    pub fn why(&self) -> Why {
        self.why
    }

    /// What stands for where it came from, when the client has had no lease there before: for the counters of
    /// circuits (A1).
    pub fn first_on(&self) -> Option<u64> {
        self.first_on
    }

    /// What it asks for, as far as repeats are told by it (M7): state, address and identity. The xid
    /// does not count: dhclient keeps one for life.
    pub fn asked(&self) -> Asked {
        let address = match self.why {
            Why::Unnamed => None,
            // The node chose; another wish may have led it elsewhere.
            Why::Offering => self.reading.requested,
            _ => Some(self.want),
        };
        let (why, subnet, server_id) = (self.why, self.subnet, self.reading.server_id);
        Asked { why, subnet, server_id, address }
    }

    /// The xid of the packet.
    pub fn xid(&self) -> u32 {
        self.packet.message.xid()
    }

    /// Whether both packets are of one client and ask for the same (M7).
    ///
    /// The caller commits one command for both. While it waits, the later `Pending` takes the
    /// place of the earlier, so that the one ACK has the newest xid; for 3 s after, a later one with the same
    /// xid is finished with the `Granted` of the earlier, unless the client's lease has changed since.
    pub fn repeats(&self, other: &Pending) -> bool {
        self.client == other.client && self.asked() == other.asked()
    }

    /// The decision once the outcome is known: a reply, [`Decision::Again`] (at most once for a
    /// packet), or silence. `cx` and `view` may be older than the outcome; they lend the
    /// configuration and nothing that is decided by.
    pub fn finish(
        self,
        outcome: &Outcome,
        cx: &Context<'_>,
        view: View<'_>,
        now: ClusterTime,
    ) -> Decision {
        if now.since(self.packet.arrival.at) > PATIENCE {
            return Decision::Drop(Reason::Late);
        }
        let Some(config) = view.config() else { return Decision::Drop(Reason::NotReady) };
        let (packet, reading, classes) = (&self.packet, &self.reading, &self.classes);
        let match_id =
            config.subnet(self.subnet).is_none_or(|subnet| subnet.values.match_client_id);
        let who = &reading.client(match_id);
        // No address is looked for here.
        let search = &Cell::default();
        let ex = Exchange { packet, reading, cx, view, config, now, who, classes, search };
        match outcome {
            Outcome::Granted(granted) => self.granted(&ex, granted),
            Outcome::Taken(_) => self.taken(&ex),
            Outcome::Changed if self.again => Decision::Drop(Reason::ChangedTwice),
            Outcome::Changed => Decision::Again,
            Outcome::Late => Decision::Drop(Reason::Late),
            Outcome::Held => Decision::Drop(Reason::Held),
            _ => Decision::Drop(Reason::StrangeOutcome),
        }
    }

    fn granted(&self, ex: &Exchange<'_>, granted: &Granted) -> Decision {
        if *granted.client() != self.client {
            return Decision::Drop(Reason::StrangeOutcome);
        }
        let Some(subnet) = ex.config.subnet(granted.subnet()) else {
            return Decision::Drop(Reason::NoSubnet);
        };
        let classes = ex.settled(subnet, Some(granted.address()));
        let scope = ex.scope(subnet, &classes, Some(granted.address()));
        match self.why {
            Why::Offering => respond::committed_offer(ex, &scope, granted),
            _ => respond::ack(ex, &scope, granted),
        }
    }

    /// The outcome is fresh knowledge of its own: no barrier is needed (C11).
    fn taken(&self, ex: &Exchange<'_>) -> Decision {
        let Some(subnet) = ex.config.subnet(self.subnet) else {
            return Decision::Drop(Reason::NoSubnet);
        };
        let client = ex.client(subnet);
        let held = ex.view.lease_of(&client, subnet.network);
        let last = ex.view.last_lease_of(&client, subnet.network);
        let known = held.or(last);
        let is_choice = matches!(self.why, Why::Unnamed | Why::Offering);
        match request::policy(
            self.why,
            request::Standing::Another,
            known.is_some(),
            subnet.values.authoritative,
        ) {
            // The node's own choice went to somebody else: choose again.
            _ if is_choice && !self.again => Decision::Again,
            request::Act::Nak if !is_choice => {
                let scope = ex.scope(subnet, &self.classes, None);
                match respond::nak(ex, Some(&scope), known.map(|lease| lease.identity)) {
                    Ok(nak) => Decision::Reply(nak),
                    Err(reason) => Decision::Drop(reason),
                }
            }
            _ => Decision::Drop(Reason::TakenSilent),
        }
    }
}

#[cfg(test)]
#[path = "pending_tests.rs"]
mod tests;
