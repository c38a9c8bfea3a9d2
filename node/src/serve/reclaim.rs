//! When the leader sweeps expired leases: Kea's `expired-leases-processing` (Kea manual, "Lease
//! Reclamation"). The sweep itself is a command, so that expiry is decided by a committed entry
//! (R13). Pure; `leader.rs` asks it while this node leads.

use std::time::Duration;

use crate::config::ExpiredLeases;
use crate::state::{Command, Reclaim};
use crate::types::ClusterTime;

/// The most leases of one sweep when the configuration sets no limit: an entry stays small.
const CHUNK: u32 = 1_000;
/// A sweep that was proposed and not heard of is tried again after so long.
const PATIENCE: Duration = Duration::from_secs(2);

/// The sweeper of a leader. A new one for each term.
#[derive(Debug, Default)]
pub struct Sweeper {
    /// When the last sweep ended, monotonic.
    ended: Option<Duration>,
    /// When the sweep under way was proposed.
    under_way: Option<Duration>,
    /// Leases left to the current round of sweeps; `None` between rounds.
    left: Option<u32>,
}

impl Sweeper {
    /// The next sweep, if it is time: some lease is due at `cluster` (`next_due`), the wait since
    /// the last sweep is over, and none is under way.
    pub fn next(
        &mut self,
        settings: &ExpiredLeases,
        next_due: Option<ClusterTime>,
        now: Duration,
        cluster: ClusterTime,
    ) -> Option<Command> {
        if settings.reclaim_timer_wait_time == 0 || next_due.is_none_or(|due| due > cluster) {
            self.left = None;
            return None;
        }
        if self.under_way.is_some_and(|since| now.saturating_sub(since) < PATIENCE) {
            return None;
        }
        let wait = Duration::from_secs(u64::from(settings.reclaim_timer_wait_time));
        let left = match self.left {
            Some(left) => left,
            None if self.ended.is_some_and(|ended| now.saturating_sub(ended) < wait) => {
                return None;
            }
            None if settings.max_reclaim_leases == 0 => u32::MAX,
            None => settings.max_reclaim_leases,
        };
        self.left = Some(left);
        self.under_way = Some(now);
        let limit = left.clamp(1, CHUNK);
        Some(Command::Reclaim(Reclaim { limit, remove: settings.hold_reclaimed_time == 0 }))
    }

    /// A sweep was committed.
    pub fn swept(&mut self, count: u32, more: bool, now: Duration) {
        self.under_way = None;
        self.ended = Some(now);
        self.left = match self.left {
            // An endless round stays endless.
            Some(u32::MAX) if more => Some(u32::MAX),
            Some(left) if more && left > count => Some(left - count),
            _ => None,
        };
    }

    /// The sweep has no outcome; the next look proposes another.
    pub fn failed(&mut self) {
        self.under_way = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(max: u32, hold: u32) -> ExpiredLeases {
        ExpiredLeases {
            reclaim_timer_wait_time: 10,
            flush_reclaimed_timer_wait_time: 25,
            hold_reclaimed_time: hold,
            max_reclaim_leases: max,
            max_reclaim_time: 250,
            unwarned_reclaim_cycles: 5,
        }
    }

    fn s(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn sweep(sweeper: &mut Sweeper, settings: &ExpiredLeases, secs: u64) -> Option<(u32, bool)> {
        let due = Some(ClusterTime::from_millis(5));
        match sweeper.next(settings, due, s(secs), ClusterTime::from_millis(5)) {
            Some(Command::Reclaim(reclaim)) => Some((reclaim.limit, reclaim.remove)),
            None => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nothing_due_means_no_sweep() {
        let mut sweeper = Sweeper::default();
        let at = ClusterTime::from_millis(99);
        assert_eq!(sweeper.next(&settings(100, 1), None, s(0), at), None);
        assert_eq!(
            sweeper.next(&settings(100, 1), Some(ClusterTime::from_millis(100)), s(0), at),
            None
        );
    }

    #[test]
    fn a_round_takes_at_most_the_configured_number_and_then_waits() {
        let (mut sweeper, settings) = (Sweeper::default(), settings(1_500, 1));
        assert_eq!(sweep(&mut sweeper, &settings, 0), Some((1_000, false)));
        assert_eq!(sweep(&mut sweeper, &settings, 0), None, "one at a time");
        sweeper.swept(1_000, true, s(0));
        assert_eq!(sweep(&mut sweeper, &settings, 0), Some((500, false)));
        sweeper.swept(500, true, s(1));
        assert_eq!(sweep(&mut sweeper, &settings, 10), None);
        assert_eq!(sweep(&mut sweeper, &settings, 11), Some((1_000, false)));
    }

    #[test]
    fn without_a_limit_a_round_goes_on_to_the_end() {
        let (mut sweeper, settings) = (Sweeper::default(), settings(0, 0));
        for _ in 0..50 {
            assert_eq!(sweep(&mut sweeper, &settings, 0), Some((1_000, true)));
            sweeper.swept(1_000, true, s(0));
        }
        assert!(sweep(&mut sweeper, &settings, 0).is_some());
        sweeper.swept(3, false, s(0));
        assert_eq!(sweep(&mut sweeper, &settings, 9), None);
    }

    #[test]
    fn a_sweep_without_an_outcome_is_tried_again() {
        let (mut sweeper, settings) = (Sweeper::default(), settings(100, 1));
        assert!(sweep(&mut sweeper, &settings, 0).is_some());
        assert!(sweep(&mut sweeper, &settings, 1).is_none());
        assert!(sweep(&mut sweeper, &settings, 2).is_some());
        sweeper.failed();
        assert!(sweep(&mut sweeper, &settings, 2).is_some());
    }

    #[test]
    fn a_timer_of_zero_stops_reclaiming() {
        let mut sweeper = Sweeper::default();
        let settings = ExpiredLeases { reclaim_timer_wait_time: 0, ..settings(100, 1) };
        assert_eq!(sweep(&mut sweeper, &settings, 0), None);
    }
}
