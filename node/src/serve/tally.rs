//! What the worker counts for Kea's statistics beside reasons and replies: packets by type, replies
//! that went out, and what became of searches for an address.
//!
//! Atomics, and for subnets a table behind a lock that only failures and reuses touch. Readers hold it
//! for a copy that costs nothing, so the worker waits for nobody.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::config::Config;
use crate::dhcp::decision::{Failure, ReplyKind, Search};
use crate::observe::statistics::{BySubnet, Counted, Stat};
use crate::packet::v4::MessageType;
use crate::types::SubnetId;

/// Counters of one node; only ever added to.
#[derive(Debug)]
pub struct Tally {
    counts: [AtomicU64; Stat::COUNTED],
    subnets: Mutex<BySubnet>,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally { counts: std::array::from_fn(|_| AtomicU64::new(0)), subnets: Mutex::default() }
    }
}

impl Tally {
    /// A packet that could be read has this type, or none.
    pub fn received(&self, message: Option<MessageType>) {
        self.count(match message {
            Some(MessageType::Discover) => Stat::DiscoverReceived,
            Some(MessageType::Request) => Stat::RequestReceived,
            Some(MessageType::Release) => Stat::ReleaseReceived,
            Some(MessageType::Decline) => Stat::DeclineReceived,
            Some(MessageType::Inform) => Stat::InformReceived,
            Some(MessageType::Offer) => Stat::OfferReceived,
            Some(MessageType::Ack) => Stat::AckReceived,
            Some(MessageType::Nak) => Stat::NakReceived,
            Some(MessageType::LeaseQuery) => Stat::LeaseQueryReceived,
            _ => Stat::UnknownReceived,
        });
    }

    /// A reply has been taken by the socket.
    pub fn sent(&self, kind: ReplyKind) {
        self.count(Stat::Sent);
        self.count(match kind {
            ReplyKind::Offer => Stat::OfferSent,
            ReplyKind::Ack | ReplyKind::InformAck => Stat::AckSent,
            ReplyKind::Nak => Stat::NakSent,
        });
    }

    /// An address has been looked for. Kea counts every failure as one of a class, since every packet
    /// is in ALL.
    pub fn searched(&self, search: Search) {
        if let Some(Failure { subnet, shared, no_pools }) = search.failed {
            let tried = if no_pools { Stat::AllocationFailNoPools } else { Stat::AllocationFail };
            let network =
                if shared { Stat::AllocationFailSharedNetwork } else { Stat::AllocationFailSubnet };
            self.count_in(subnet, &[tried, network, Stat::AllocationFailClasses]);
        }
        if let Some(subnet) = search.conflict {
            self.count_in(subnet, &[Stat::ReservationConflicts]);
        }
    }

    /// A request was answered from the lease as it was (M8).
    pub fn reused(&self, subnet: SubnetId) {
        self.count_in(subnet, &[Stat::LeaseReuses]);
    }

    /// Forgets subnets that are gone; what they counted stays in the sums.
    pub fn retain(&self, config: &Config) {
        let mut subnets = self.subnets.lock();
        let gone = |subnet: &&SubnetId| config.subnet(**subnet).is_none();
        let gone: Vec<SubnetId> = subnets.keys().filter(gone).copied().collect();
        for subnet in gone {
            subnets.remove(&subnet);
        }
    }

    /// Adds everything.
    pub fn add_to(&self, counted: &mut Counted) {
        for (stat, count) in Stat::ALL.iter().zip(&self.counts) {
            counted.add(*stat, count.load(Relaxed));
        }
        counted.subnets.clone_from(&self.subnets.lock());
    }

    fn count(&self, stat: Stat) {
        if let Some(counter) = self.counts.get(stat as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    fn count_in(&self, subnet: SubnetId, stats: &[Stat]) {
        stats.iter().for_each(|stat| self.count(*stat));
        let mut subnets = self.subnets.lock();
        let row = subnets.entry(subnet).or_default();
        for (stat, value) in Stat::PER_SUBNET.iter().zip(row) {
            *value += u64::from(stats.contains(stat));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(tally: &Tally) -> Counted {
        let mut counted = Counted::default();
        tally.add_to(&mut counted);
        counted
    }

    #[test]
    fn failures_are_counted_in_exclusive_pairs_and_for_their_subnet() {
        let tally = Tally::default();
        for (subnet, shared, no_pools) in [(1, false, false), (1, false, true), (2, true, false)] {
            let failure = Failure { subnet: SubnetId(subnet), shared, no_pools };
            tally.searched(Search { failed: Some(failure), ..Search::default() });
        }
        tally.searched(Search { conflict: Some(SubnetId(2)), ..Search::default() });
        tally.reused(SubnetId(3));
        let counted = counted(&tally);
        let global = Stat::PER_SUBNET.map(|stat| counted.global[stat as usize]);
        assert_eq!(global, [2, 1, 1, 2, 3, 1, 1]);
        assert_eq!(counted.subnets[&SubnetId(1)], [1, 1, 0, 2, 2, 0, 0]);
        assert_eq!(counted.subnets[&SubnetId(2)], [1, 0, 1, 0, 1, 1, 0]);
        assert_eq!(counted.subnets[&SubnetId(3)], [0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn each_type_of_packet_and_reply_has_its_counter() {
        let tally = Tally::default();
        MessageType::ALL.iter().for_each(|message| tally.received(Some(*message)));
        tally.received(None);
        for kind in [ReplyKind::Offer, ReplyKind::Ack, ReplyKind::InformAck, ReplyKind::Nak] {
            tally.sent(kind);
        }
        let counted = counted(&tally);
        let known = Stat::DiscoverReceived as usize..=Stat::LeaseQueryReceived as usize;
        assert!(counted.global[known].iter().all(|count| *count == 1));
        let others = MessageType::ALL.len() as u64 - 9 + 1;
        assert_eq!(counted.global[Stat::UnknownReceived as usize], others);
        assert_eq!(counted.global[Stat::Sent as usize..][..4], [4, 1, 2, 1]);
    }
}
