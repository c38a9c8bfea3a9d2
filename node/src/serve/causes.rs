//! Which of Kea's causes a packet without an answer is counted under.
//!
//! Kea calls a packet dropped that it did not deal with. One that it dealt with and that gets no
//! answer, such as a RELEASE or a DISCOVER for which there is no address, is not a drop, here as there
//! (watched on Kea 3.0).

use super::Counters;
use crate::dhcp::decision::Reason;
use crate::observe::statistics::{Counted, Stat};

/// The cause of a drop; `None` where silence is the answer.
fn cause(reason: Reason) -> Option<Stat> {
    use Reason as R;
    Some(match reason {
        R::Short
        | R::BadCookie
        | R::BadHlen
        | R::Malformed
        | R::LongClientId
        | R::BadServerId
        | R::BadRequestedAddress => Stat::ParseFailed,
        R::NotRequest
        | R::BadType
        | R::NoIdentity
        | R::Bootp
        | R::ServerMessage
        | R::LeaseQuery
        | R::RelayLoop
        | R::BadGiaddr
        | R::Vpn
        | R::DiscoverWithServer
        | R::NoAddress
        | R::ForgedRelease => Stat::RfcViolation,
        R::OwnAddress | R::OtherServer | R::MixedRequest => Stat::NotForUs,
        R::HoldLimit | R::NewClientLimit | R::InformLimit | R::ProbationLimit | R::DeclineLimit => {
            Stat::LimitExceeded
        }
        R::DropClass | R::RejectClass => Stat::AdminFiltered,
        R::NotReady | R::ServiceDisabled => Stat::ServiceDisabled,
        R::Late
        | R::NowhereToReply
        | R::Overtaken
        | R::ChangedTwice
        | R::TakenSilent
        | R::StrangeOutcome => Stat::ProcessingFailed,
        R::NoSubnet | R::PoolExhausted | R::UnknownClient | R::NotInPool | R::Held => return None,
    })
}

/// What the worker counts as an event and Kea as a drop.
const DROPS: &[(&str, Stat)] = &[
    ("queue_full", Stat::QueueFull),
    ("queue_late", Stat::QueueFull),
    ("waiting_full", Stat::QueueFull),
    ("shadowed", Stat::NotForUs),
    ("absorbed", Stat::Duplicate),
    ("ping_repeats", Stat::Duplicate),
    ("unanswered", Stat::ProcessingFailed),
    ("no_barrier", Stat::ProcessingFailed),
    ("panics", Stat::ProcessingFailed),
    ("no_majority", Stat::ServiceDisabled),
];

/// What the sockets count and Kea as a drop. These packets never reach the worker.
const SOCKET_DROPS: &[(&str, Stat)] = &[
    ("truncated", Stat::ParseFailed),
    ("bad_frame", Stat::ParseFailed),
    ("bad_checksum", Stat::ParseFailed),
    ("sink_panics", Stat::ProcessingFailed),
];

/// Packets that the worker dropped on their way for a reason that is not the engine's.
pub fn dropped_on_the_way(counters: &Counters) -> impl Iterator<Item = (&'static str, u64)> {
    let named = counters.named().into_iter();
    named.filter(|(name, _)| DROPS.iter().any(|(drop, _)| drop == name))
}

/// What a node has counted for Kea's statistics. `sockets` are the counters of the sockets by name.
pub fn counted(counters: &Counters, sockets: impl Iterator<Item = (&'static str, u64)>) -> Counted {
    let mut counted = Counted::default();
    counters.tally.add_to(&mut counted);
    let mut dropped = |cause: Stat, count: u64| {
        counted.add(cause, count);
        counted.add(Stat::Dropped, count);
    };
    for (reason, count) in counters.reasons() {
        if let Some(cause) = cause(reason) {
            dropped(cause, count);
        }
    }
    let cause_of = |drops: &[(&str, Stat)], name: &str| {
        drops.iter().find(|(one, _)| *one == name).map(|(_, cause)| *cause)
    };
    for (name, count) in counters.named() {
        if let Some(cause) = cause_of(DROPS, name) {
            dropped(cause, count);
        }
    }
    let mut received = 0;
    for (name, count) in sockets {
        let cause = cause_of(SOCKET_DROPS, name);
        if let Some(cause) = cause {
            dropped(cause, count);
        }
        // One on which the sink panicked has been received before.
        received += if name == "received" || cause == Some(Stat::ParseFailed) { count } else { 0 };
    }
    counted.add(Stat::Received, received);
    counted
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    /// Events that happen to packets which go on, or to something else.
    const NO_DROPS: &[&str] = &[
        "received",
        "asked",
        "repeated",
        "proposed",
        "unknown",
        "unsent",
        "spared",
        "kept",
        "abandoned",
        "omitted_options",
        "client_id_moved",
        "ping_checks",
        "ping_answered",
        "ping_full",
        "scripts",
        "scripts_failed",
        "scripts_lost",
        "name_changes",
        "name_changes_lost",
        "happenings_lost",
        "send_failed",
    ];

    #[test]
    fn every_event_is_a_drop_or_is_none() {
        for (name, _) in Counters::default().named() {
            let drop = DROPS.iter().any(|(one, _)| *one == name);
            assert!(drop != NO_DROPS.contains(&name), "{name} is in both lists or in none");
        }
        let counters = Counters::default();
        let names: Vec<_> = counters.named().iter().map(|(name, _)| *name).collect();
        assert!(DROPS.iter().all(|(name, _)| names.contains(name)));
    }

    /// Every drop is counted once and under one cause.
    #[test]
    fn the_causes_add_up() {
        let counters = Counters::default();
        let mut drops = 0;
        for reason in Reason::ALL {
            counters.reason(*reason);
            drops += u64::from(cause(*reason).is_some());
        }
        counters.queue_full.fetch_add(2, Relaxed);
        counters.absorbed.fetch_add(3, Relaxed);
        counters.scripts.fetch_add(5, Relaxed);
        let sockets = [("received", 100), ("sent", 7), ("bad_checksum", 4), ("not_for_us", 9)];
        let counted = counted(&counters, sockets.into_iter());
        let value = |stat: Stat| counted.global[stat as usize];
        assert_eq!(value(Stat::Dropped), drops + 2 + 3 + 4);
        assert_eq!(Stat::CAUSES.map(value).iter().sum::<u64>(), value(Stat::Dropped));
        assert!(Stat::CAUSES.map(value).iter().all(|count| *count > 0));
        assert_eq!(value(Stat::Received), 104);
    }
}
