//! The worker and ping checks (M4). [`super::Pings`] keeps the books.
//!
//! An answer makes this node avoid the address for a while and go on to the next candidate at once,
//! and has the whole cluster put the address into probation ([`Command::InUse`]): the other nodes need
//! not find out each for itself, and the operator sees what Kea would show, a declined lease. It is
//! bounded as DECLINEs are (M11), and it can end no lease (R5): a host that answers every echo request
//! costs a tenth of the pool through its circuit, and beyond that the time of a few pings.

use std::net::Ipv4Addr;

use super::{
    Action, Command, Decision, Now, Offered, Origin, PATIENCE, Reason, State, Submission, Tried,
    Waiting, Worker, count,
};
use crate::dhcp::decision::Check;
use crate::serve::pings::{Due, Start};
use crate::state::InUse;

impl Worker {
    /// A fresh address is to be offered.
    pub(super) fn check(
        &mut self,
        check: Check,
        then: Decision,
        waiting: Waiting,
        state: &State,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        match self.pings.admit(&check, now.mono) {
            Start::Busy => return count(&self.counters.ping_repeats),
            // What would come of it could not be said (C12).
            Start::Ping if !self.majority => return count(&self.counters.no_majority),
            Start::Ping => {
                count(&self.counters.ping_checks);
                // Nobody else is offered it meanwhile (M3).
                let Offered { client, subnet, address, circuit, .. } = check.offer.clone();
                self.holds.put(client, address, subnet, circuit, now.cluster);
                self.pings.begin(check, waiting, now.mono);
                return out.push(Action::Ping(address));
            }
            Start::Full => {
                count(&self.counters.ping_full);
                if check.must {
                    return self.counters.reason(Reason::Held);
                }
            }
            Start::Passed => {}
        }
        match then {
            Decision::Reply(reply) => self.reply(reply, &waiting, None, now, out),
            Decision::Commit(command, pending) => {
                self.commit(command, pending, waiting, state, now, out)
            }
            _ => self.counters.reason(Reason::StrangeOutcome),
        }
    }

    /// Somebody answers at the address.
    pub(super) fn ponged(
        &mut self,
        address: Ipv4Addr,
        state: &State,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        let Some(checking) = self.pings.answered(address) else { return };
        count(&self.counters.ping_answered);
        self.memory.is_used(address, now.mono);
        let Offered { client, subnet, circuit, .. } = checking.check.offer;
        self.holds.remove(&client);
        let origin =
            Origin { node: self.me, incarnation: self.incarnation, sequence: self.sequence };
        self.sequence += 1;
        // Best effort: without it this node avoids the address all the same.
        out.push(Action::Submit(Submission {
            ticket: self.commits.ticket(),
            command: Command::InUse(InUse { origin, subnet, address, circuit }),
            deadline: now.mono + PATIENCE,
            here_only: false,
        }));
        self.decide(checking.waiting, AFTER_CHECK, state, now, out);
    }

    /// An echo request could not be sent. An address that must be checked is not given then (R28); any
    /// other is as if nobody had answered, as in Kea.
    pub(super) fn unpinged(&mut self, address: Ipv4Addr) {
        if let Some(checking) = self.pings.take_if_must(address) {
            self.holds.remove(&checking.check.offer.client);
            self.counters.reason(Reason::Held);
        }
    }

    /// Sends what is to be sent again, and ends checks that nobody answered.
    pub(super) fn pings_due(&mut self, state: &State, now: Now, out: &mut Vec<Action>) {
        while let Some(due) = self.pings.take_due(now.mono) {
            match due {
                Due::Again(address) => out.push(Action::Ping(address)),
                Due::Passed(checking) => {
                    self.decide(checking.waiting, AFTER_CHECK, state, now, out);
                }
            }
        }
    }
}

/// The peers have been asked already, and a newcomer was let in.
const AFTER_CHECK: Tried = Tried { asked: true, fresh: false, again: false, judged: true };
