//! What the worker counts. Plain atomics in arrays keyed by the engine's own enums; `observe` names
//! them for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::circuits::Circuits;
use super::latency::Latencies;
use super::tally::Tally;
use crate::dhcp::decision::{Reason, ReplyKind};

/// Makes a struct of counters that stand for themselves, and the list of them.
macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// Counters of one worker; shared, and only ever added to.
        #[derive(Debug)]
        pub struct Counters {
            reasons: Vec<AtomicU64>,
            replies: [AtomicU64; KINDS.len()],
            /// What only Kea's statistics tell.
            pub tally: Tally,
            /// How long replies took.
            pub latencies: Latencies,
            /// Where new clients come from. Readers hold it for a copy of its 1 024 rows, the worker for one.
            pub circuits: Mutex<Circuits>,
            $($(#[$doc])* pub $field: AtomicU64,)*
        }

        impl Default for Counters {
            fn default() -> Counters {
                Counters {
                    reasons: Reason::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
                    replies: KINDS.map(|_| AtomicU64::new(0)),
                    tally: Tally::default(),
                    latencies: Latencies::default(),
                    circuits: Mutex::default(),
                    $($field: AtomicU64::new(0),)*
                }
            }
        }

        impl Counters {
            /// The counters that are neither reasons nor replies, by name.
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field.load(Relaxed)),)*]
            }
        }
    };
}

/// Kinds of replies, in the order of their counters.
const KINDS: [ReplyKind; 4] =
    [ReplyKind::Offer, ReplyKind::Ack, ReplyKind::InformAck, ReplyKind::Nak];

counters! {
    /// Datagrams read from the queue.
    received,
    /// Datagrams dropped because the queue was full.
    queue_full,
    /// Datagrams dropped unread after 2 s in the queue.
    queue_late,
    /// Packets left to another node (C2).
    shadowed,
    /// Packets that waited for the peers' notes on an unreported link (R17).
    asked,
    /// Repeats absorbed while the first was being committed (M7).
    absorbed,
    /// Repeats answered from a kept grant (M7).
    repeated,
    /// Commands handed to the proposer.
    proposed,
    /// Commands that came back without an outcome (C12).
    unknown,
    /// Commands that were refused or found no leader (C12).
    unsent,
    /// Requests whose command came back without an outcome: silence (C12).
    unanswered,
    /// Releases and declines whose effect another node brought about first (C10).
    spared,
    /// Releases and declines kept for the return of the majority (C12).
    kept,
    /// Releases and declines given up after 10 minutes, or for want of room.
    abandoned,
    /// OFFERs not sent because there is no majority (C12).
    no_majority,
    /// Refusals that found no read barrier; silence (C11).
    no_barrier,
    /// Packets dropped because too many waited for notes, a barrier or an entry.
    waiting_full,
    /// Options left out for want of room (W3).
    omitted_options,
    /// Changes of the hardware address behind a client id, beyond three in an hour: cloned machines
    /// fight for one lease (I3).
    client_id_moved,
    /// Ping checks begun (M4).
    ping_checks,
    /// Addresses that answered an echo request, and were not offered.
    ping_answered,
    /// DISCOVERs ignored during the check that an earlier one began.
    ping_repeats,
    /// Addresses offered unchecked because too many checks were under way.
    ping_full,
    /// Scripts begun (run_script).
    scripts,
    /// Scripts that could not be begun, ended with an error, or took too long.
    scripts_failed,
    /// Scripts not run because too many waited.
    scripts_lost,
    /// Name change requests sent (dhcp-ddns).
    name_changes,
    /// Name change requests that could not be sent.
    name_changes_lost,
    /// Changes of leases that neither script nor DNS heard of because too many waited.
    happenings_lost,
    /// Panics of the worker caught (A10).
    panics,
    /// Replies the sockets did not take.
    send_failed,
}

impl Counters {
    /// Counts a packet that gets no answer.
    pub fn reason(&self, reason: Reason) {
        if let Some(counter) =
            Reason::ALL.iter().position(|r| *r == reason).and_then(|at| self.reasons.get(at))
        {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Counts a reply.
    pub fn reply(&self, kind: ReplyKind) {
        if let Some(counter) =
            KINDS.iter().position(|k| *k == kind).and_then(|at| self.replies.get(at))
        {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Every reason with its count.
    pub fn reasons(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.iter().copied().zip(self.reasons.iter().map(|counter| counter.load(Relaxed)))
    }

    /// Every kind of reply with its count.
    pub fn replies(&self) -> impl Iterator<Item = (ReplyKind, u64)> + '_ {
        KINDS.into_iter().zip(self.replies.iter().map(|counter| counter.load(Relaxed)))
    }
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_and_each_reply_has_its_own_counter() {
        let counters = Counters::default();
        for reason in Reason::ALL {
            counters.reason(*reason);
        }
        counters.reply(ReplyKind::Nak);
        assert!(counters.reasons().all(|(_, count)| count == 1));
        let replies: Vec<_> = counters.replies().filter(|(_, count)| *count > 0).collect();
        assert_eq!(replies, [(ReplyKind::Nak, 1)]);
    }
}
