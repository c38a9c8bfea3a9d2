//! RELEASEs and DECLINEs on their way (rules R5, C10, C12). A client sends them once, so this node
//! may not lose them: the second and third in order wait 200 and 400 ms for the first to have its
//! effect, and one that found no majority is kept for 10 minutes. Pure.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::after::Query;
use super::commits::Ticket;
use crate::state::{Command, GiveUp, Lease, LeaseState, View};

/// How long one is kept for the return of the majority.
pub const KEEP: Duration = Duration::from_secs(600);
/// The most that are delayed, and the most that are kept.
pub const MOST: usize = 16_384;
/// How often kept ones are tried again, and how many at a time.
pub const RETRY_EVERY: Duration = Duration::from_secs(1);
/// How many kept ones are tried at a time.
pub const RETRY: usize = 128;

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// A Release or a Decline.
    pub command: Command,
    /// When its packet came, monotonic.
    pub received: Duration,
    /// Its packet and the lease as it was, where somebody wants to know.
    pub told: Option<Box<(Query, Arc<Lease>)>>,
}

/// The tables.
#[derive(Debug, Default)]
pub struct GiveUps {
    /// By the moment they are due; of equal moments in order of arrival.
    delayed: VecDeque<(Duration, Entry)>,
    flying: HashMap<Ticket, Entry>,
    kept: VecDeque<Entry>,
    tried: Duration,
    abandoned: u64,
}

impl GiveUps {
    /// Waits until `due`.
    pub fn delay(&mut self, entry: Entry, due: Duration) {
        if self.delayed.len() >= MOST {
            self.delayed.pop_front();
            self.abandoned += 1;
        }
        let at = self.delayed.partition_point(|(other, _)| *other <= due);
        self.delayed.insert(at, (due, entry));
    }

    /// Those that are due, at most one batch at a time.
    pub fn take_due(&mut self, now: Duration) -> Option<Entry> {
        let due = self.delayed.front().is_some_and(|(due, _)| *due <= now);
        if due { self.delayed.pop_front().map(|(_, entry)| entry) } else { None }
    }

    /// When the next delayed one is due.
    pub fn next_due(&self) -> Option<Duration> {
        self.delayed.front().map(|(due, _)| *due)
    }

    /// It was proposed under this ticket.
    pub fn fly(&mut self, ticket: Ticket, entry: Entry) {
        self.flying.insert(ticket, entry);
    }

    /// The answer of a ticket is here. Returns the entry, unless the ticket is somebody else's.
    pub fn landed(&mut self, ticket: Ticket) -> Option<Entry> {
        self.flying.remove(&ticket)
    }

    /// It found no majority: it is kept, in the order of arrival.
    pub fn keep(&mut self, entry: Entry) {
        if self.kept.len() >= MOST {
            self.kept.pop_front();
            self.abandoned += 1;
        }
        let at = self.kept.partition_point(|other| other.received <= entry.received);
        self.kept.insert(at, entry);
    }

    /// Kept ones to try again now; those over 10 minutes old are given up.
    pub fn retry(&mut self, now: Duration) -> Vec<Entry> {
        while self.kept.front().is_some_and(|entry| now.saturating_sub(entry.received) > KEEP) {
            self.kept.pop_front();
            self.abandoned += 1;
        }
        if self.kept.is_empty() || now.saturating_sub(self.tried) < RETRY_EVERY {
            return Vec::new();
        }
        self.tried = now;
        let count = self.kept.len().min(RETRY);
        self.kept.drain(..count).collect()
    }

    /// Those whose commands are on their way.
    pub fn flying(&self) -> usize {
        self.flying.len()
    }

    /// How many are kept.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// How many were given up since the last call.
    pub fn take_abandoned(&mut self) -> u64 {
        std::mem::take(&mut self.abandoned)
    }
}

/// Whether the view shows that the command has taken effect or can have none: the lease that it
/// means is no longer held. A command that names no generation was decided before this node had
/// applied the grant; only a lease that shows the effect counts.
pub fn has_taken_effect(command: &Command, view: View<'_>) -> bool {
    let (Command::Release(give) | Command::Decline(give)) = command else { return false };
    let GiveUp { client, address, generation, .. } = give;
    match (view.lease(*address), generation) {
        (Some(lease), Some(generation)) => {
            lease.generation != *generation || !lease.held_by(client)
        }
        (Some(lease), None) => matches!(lease.state, LeaseState::Released | LeaseState::Declined),
        (None, Some(_)) => true,
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Client, Origin};
    use crate::types::{ClusterTime, HwAddr, NodeId};

    fn entry(n: u64, secs: u64) -> Entry {
        let give_up = GiveUp {
            origin: Origin { node: NodeId(1), incarnation: 1, sequence: n },
            client: Client {
                id: None,
                hw: HwAddr::ethernet([2, 0, 0, 0, 0, 1]),
                match_id: true,
                claims: None,
            },
            address: [192, 0, 2, 1].into(),
            generation: None,
            arrived: ClusterTime::ZERO,
            circuit: 0,
            relayed: false,
        };
        Entry { command: Command::Release(give_up), received: s(secs), told: None }
    }

    fn s(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn c10_delayed_ones_come_out_when_they_are_due() {
        let mut give_ups = GiveUps::default();
        give_ups.delay(entry(1, 0), Duration::from_millis(400));
        give_ups.delay(entry(2, 0), Duration::from_millis(200));
        assert_eq!(give_ups.next_due(), Some(Duration::from_millis(200)));
        assert_eq!(give_ups.take_due(Duration::from_millis(199)), None);
        assert_eq!(give_ups.take_due(Duration::from_millis(400)), Some(entry(2, 0)));
        assert_eq!(give_ups.take_due(Duration::from_millis(400)), Some(entry(1, 0)));
    }

    #[test]
    fn c12_kept_ones_are_tried_every_second_for_10_minutes() {
        let mut give_ups = GiveUps::default();
        give_ups.keep(entry(2, 20));
        give_ups.keep(entry(1, 10));
        assert_eq!(give_ups.retry(s(21)), [entry(1, 10), entry(2, 20)]);
        give_ups.keep(entry(1, 10));
        give_ups.keep(entry(2, 20));
        assert!(give_ups.retry(s(21)).is_empty());
        assert_eq!(give_ups.retry(s(611)), [entry(2, 20)]);
        assert_eq!(give_ups.take_abandoned(), 1);
        assert_eq!(give_ups.kept(), 0);
    }

    #[test]
    fn the_oldest_goes_when_too_many_are_kept() {
        let mut give_ups = GiveUps::default();
        for n in 0..=MOST as u64 {
            give_ups.keep(entry(n, n));
        }
        assert_eq!((give_ups.kept(), give_ups.take_abandoned()), (MOST, 1));
    }
}
