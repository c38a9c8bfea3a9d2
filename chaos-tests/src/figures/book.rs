//! What was measured, by figure and server.

use std::collections::BTreeMap;

use super::sample::Sample;

/// Who is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Three nodes; the load goes to the leader.
    Leader,
    /// Three nodes; the load goes to a follower.
    Follower,
    /// One Kea with its lease file.
    KeaAlone,
    /// Two Keas, hot-standby; the load goes to the primary.
    KeaPair,
    /// What no server can beat: it answers and remembers nothing.
    Stateless,
}

impl Subject {
    /// In the order of a round.
    pub const ALL: [Subject; 5] = [
        Subject::Leader,
        Subject::KeaAlone,
        Subject::KeaPair,
        Subject::Follower,
        Subject::Stateless,
    ];

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Subject::Leader => "leader",
            Subject::Follower => "follower",
            Subject::KeaAlone => "Kea alone",
            Subject::KeaPair => "Kea hot-standby",
            Subject::Stateless => "stateless",
        }
    }

    /// For programs.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Leader => "leader",
            Subject::Follower => "follower",
            Subject::KeaAlone => "kea-alone",
            Subject::KeaPair => "kea-hot-standby",
            Subject::Stateless => "stateless",
        }
    }

    /// Whether it is Kea, which may not be installed.
    pub fn is_kea(self) -> bool {
        matches!(self, Subject::KeaAlone | Subject::KeaPair)
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    CleanRate,
    CpuAt3000,
    CpuAtBest,
    AckMedian,
    AckP99,
    /// One fdatasync and one round trip, beside the latencies.
    DiskAndLink,
    OverloadOffered,
    OverloadAnswers,
    OverloadShare,
    Recovery,
    DiscoverRate,
    DiscoverCpu,
    RenewRate,
    RenewCpu,
    LeaseBytes,
    MillionPace,
    SnapshotP99,
    Restart,
    SlowDiskRate,
}

impl Figure {
    /// In the order of the table.
    pub const ALL: [Figure; 19] = [
        Figure::CleanRate,
        Figure::CpuAt3000,
        Figure::CpuAtBest,
        Figure::AckMedian,
        Figure::AckP99,
        Figure::DiskAndLink,
        Figure::DiscoverRate,
        Figure::DiscoverCpu,
        Figure::RenewRate,
        Figure::RenewCpu,
        Figure::OverloadOffered,
        Figure::OverloadAnswers,
        Figure::OverloadShare,
        Figure::Recovery,
        Figure::LeaseBytes,
        Figure::MillionPace,
        Figure::SnapshotP99,
        Figure::Restart,
        Figure::SlowDiskRate,
    ];

    /// For people, with its unit.
    pub fn title(self) -> &'static str {
        match self {
            Figure::CleanRate => "clean exchanges/s",
            Figure::CpuAt3000 => "CPU at 3 000/s, µs an exchange",
            Figure::CpuAtBest => "CPU at the clean rate, µs an exchange",
            Figure::AckMedian => "REQUEST→ACK at 2 000/s, p50 ms",
            Figure::AckP99 => "REQUEST→ACK at 2 000/s, p99 ms",
            Figure::DiskAndLink => "one fdatasync + one round trip, ms",
            Figure::DiscoverRate => "DISCOVER only, clean/s",
            Figure::DiscoverCpu => "DISCOVER only, CPU µs each",
            Figure::RenewRate => "renewals only, clean/s",
            Figure::RenewCpu => "renewals only, CPU µs each",
            Figure::OverloadOffered => "overload: DISCOVERs offered/s",
            Figure::OverloadAnswers => "overload: exchanges completed/s",
            Figure::OverloadShare => "overload: exchanges, share of the clean rate",
            Figure::Recovery => "overload: recovery, s",
            Figure::LeaseBytes => "1 M leases: bytes a lease a node",
            Figure::MillionPace => "1 M leases: pace, share of that at 10 k",
            Figure::SnapshotP99 => "1 M leases: p99 that a snapshot adds, ms",
            Figure::Restart => "1 M leases: restart to ready, s",
            Figure::SlowDiskRate => "fdatasync +5 ms on all nodes: clean exchanges/s",
        }
    }

    /// For programs.
    pub fn name(self) -> &'static str {
        match self {
            Figure::CleanRate => "clean-rate",
            Figure::CpuAt3000 => "cpu-at-3000",
            Figure::CpuAtBest => "cpu-at-clean-rate",
            Figure::AckMedian => "ack-p50",
            Figure::AckP99 => "ack-p99",
            Figure::DiskAndLink => "disk-and-link",
            Figure::DiscoverRate => "discover-rate",
            Figure::DiscoverCpu => "discover-cpu",
            Figure::RenewRate => "renew-rate",
            Figure::RenewCpu => "renew-cpu",
            Figure::OverloadOffered => "overload-offered",
            Figure::OverloadAnswers => "overload-answers",
            Figure::OverloadShare => "overload-share",
            Figure::Recovery => "overload-recovery",
            Figure::LeaseBytes => "million-bytes",
            Figure::MillionPace => "million-pace",
            Figure::SnapshotP99 => "million-snapshot-p99",
            Figure::Restart => "million-restart",
            Figure::SlowDiskRate => "slow-disk-rate",
        }
    }
}

/// All values.
#[derive(Debug, Clone, Default)]
pub struct Book {
    values: BTreeMap<(Figure, Subject), Sample>,
    notes: Vec<String>,
}

impl Book {
    /// Enters a value.
    pub fn enter(&mut self, figure: Figure, subject: Subject, value: f64) {
        self.values.entry((figure, subject)).or_default().push(value);
    }

    /// Enters the shares of the clean rate, of all rounds, once those are over.
    pub fn enter_shares(&mut self) {
        for subject in Subject::ALL {
            let best = self.median(Figure::CleanRate, subject).filter(|best| *best > 0.0);
            let completed = self.sample(Figure::OverloadAnswers, subject);
            if let (Some(best), Some(completed)) = (best, completed) {
                let shares = completed.shares(best);
                self.values.insert((Figure::OverloadShare, subject), shares);
            }
        }
    }

    /// Enters what a reader of the table must know; once.
    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// What was noted.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The values of a figure of a server.
    pub fn sample(&self, figure: Figure, subject: Subject) -> Option<&Sample> {
        self.values.get(&(figure, subject)).filter(|sample| !sample.is_empty())
    }

    /// Their median.
    pub fn median(&self, figure: Figure, subject: Subject) -> Option<f64> {
        self.sample(figure, subject)?.median()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_of_the_overload_is_held_against_the_same_clean_rate() {
        let mut book = Book::default();
        for (clean, completed) in [(8_000.0, 5_400.0), (6_000.0, 6_300.0), (7_000.0, 5_600.0)] {
            book.enter(Figure::CleanRate, Subject::Leader, clean);
            book.enter(Figure::OverloadAnswers, Subject::Leader, completed);
        }
        book.enter_shares();
        let shares = book.sample(Figure::OverloadShare, Subject::Leader).unwrap();
        assert_eq!((shares.median(), shares.max()), (Some(0.8), Some(0.9)));
        assert!(book.sample(Figure::OverloadShare, Subject::KeaAlone).is_none());
    }
}
