//! The lease clock (rules R10–R13): what time it is in the cluster. Pure; this node's boot time
//! comes in as an argument.
//!
//! The clock is the last stamp plus the boot time that has passed here since. A follower anchors it
//! when it applies an entry. A leader keeps the anchor that it had when it took over: if it anchored
//! anew with each entry it applies, the time between stamping and applying would be lost each time,
//! and under load, with always an entry under way, the clock would stand still.

use crate::types::ClusterTime;

/// How far a follower's clock may run ahead of the stamps it applies before it believes them more
/// than itself. Entries arrive at varying delays; a crystal that is 100 ppm fast takes 15 minutes
/// to come this far.
const TOLERANCE_MILLIS: u64 = 100;

/// The lease clock of one node. Boot times are milliseconds of CLOCK_BOOTTIME.
#[derive(Debug, Clone)]
pub struct LeaseClock {
    anchor: ClusterTime,
    at: u64,
    /// The highest stamp applied here.
    observed: ClusterTime,
    /// The highest stamp drawn in `term`, or applied.
    issued: ClusterTime,
    term: u64,
}

impl LeaseClock {
    /// A clock that shows `stamp` at boot time `now`: after an outage of the whole cluster it goes
    /// on from there, and the outage does not count (R12).
    pub fn new(stamp: ClusterTime, now: u64) -> LeaseClock {
        LeaseClock { anchor: stamp, at: now, observed: stamp, issued: stamp, term: 0 }
    }

    /// Cluster time at boot time `now`, as far as this node can tell.
    pub fn now(&self, now: u64) -> ClusterTime {
        ClusterTime::from_millis(
            self.anchor.as_millis().saturating_add(now.saturating_sub(self.at)),
        )
    }

    /// An entry with `stamp` was applied at boot time `now`; `own` if this node stamped it.
    pub fn observe(&mut self, stamp: ClusterTime, now: u64, own: bool) {
        self.observed = self.observed.max(stamp);
        self.issued = self.issued.max(stamp);
        let shown = self.now(now).as_millis();
        let behind = stamp.as_millis() > shown;
        let ahead = !own && shown > stamp.as_millis().saturating_add(TOLERANCE_MILLIS);
        if behind || ahead {
            self.anchor = stamp;
            self.at = now;
        }
    }

    /// The stamp of the next entry in `term`. Only a leader that has applied an entry of that term may
    /// ask: then all earlier stamps have been observed, and this one is not below them (R10).
    ///
    /// What this node drew in an earlier term and nobody agreed to does not count. It may have led
    /// alone, and stamped on, while time stood still for the others (R12); if its clock jumped to there when
    /// it leads again, leases would end before the moment that their clients were told meanwhile.
    pub fn issue(&mut self, now: u64, term: u64) -> ClusterTime {
        if term > self.term {
            (self.term, self.issued) = (term, self.observed);
        }
        self.issued = self.issued.max(self.now(now));
        self.issued
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(millis: u64) -> ClusterTime {
        ClusterTime::from_millis(millis)
    }

    #[test]
    fn r11_it_advances_by_boot_time_alone() {
        let mut clock = LeaseClock::new(t(5_000), 70);
        assert_eq!(clock.now(70), t(5_000));
        assert_eq!(clock.issue(1_070, 1), t(6_000));
        assert_eq!(clock.now(1_071), t(6_001));
    }

    #[test]
    fn r12_an_outage_does_not_count() {
        let mut clock = LeaseClock::new(t(5_000), 10);
        clock.observe(t(9_000), 4_010, false);
        // Started anew hours later, from what was stored.
        let clock = LeaseClock::new(t(9_000), 90_000_000);
        assert_eq!(clock.now(90_000_500), t(9_500));
    }

    #[test]
    fn r10_stamps_never_fall() {
        let mut clock = LeaseClock::new(t(0), 0);
        assert_eq!(clock.issue(100, 1), t(100));
        clock.observe(t(900), 110, false);
        assert_eq!(clock.issue(110, 1), t(900));
        // Even if the boot time should come back lower, and in another term.
        assert_eq!(clock.issue(5, 2), t(900));
        assert_eq!(clock.issue(210, 2), t(1_000));
    }

    #[test]
    fn r12_what_was_stamped_alone_and_not_agreed_does_not_count() {
        let mut clock = LeaseClock::new(t(0), 0);
        let stamp = clock.issue(1_000, 1);
        clock.observe(stamp, 1_001, true);
        // It leads alone for a minute, while those who could agree are down.
        assert_eq!(clock.issue(61_000, 1), t(61_000));
        // They come back, and go on from what they had.
        clock.observe(t(1_500), 61_500, false);
        clock.observe(t(2_500), 62_500, false);
        assert_eq!(clock.issue(62_600, 3), t(2_600), "it leads again");
        assert_eq!(clock.issue(63_000, 3), t(3_000));
    }

    #[test]
    fn r11_a_leader_under_load_does_not_slow_the_clock() {
        let mut clock = LeaseClock::new(t(0), 0);
        // An entry is always under way: stamped now, applied 20 ms later, the next one stamped then.
        let mut stamp = clock.issue(0, 1);
        for round in 1..=100 {
            let now = round * 20;
            clock.observe(stamp, now, true);
            stamp = clock.issue(now, 1);
        }
        assert_eq!(stamp, t(2_000));
    }

    #[test]
    fn a_follower_follows_the_stamps_and_forgives_delays() {
        let mut clock = LeaseClock::new(t(0), 0);
        clock.observe(t(1_000), 500, false);
        assert_eq!(clock.now(500), t(1_000));
        clock.observe(t(1_050), 600, false);
        assert_eq!(clock.now(600), t(1_100), "50 ms late is a slow entry");
        clock.observe(t(1_200), 2_000, false);
        assert_eq!(clock.now(2_000), t(1_200), "far ahead is a fast clock");
    }
}
