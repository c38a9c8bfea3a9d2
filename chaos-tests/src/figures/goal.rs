//! The goals, and whether what was measured meets them. Pure.

use super::book::{Book, Figure, Subject};

/// The row of a goal.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub figure: Figure,
    /// Who is to meet it.
    pub subject: Subject,
    /// As it is printed.
    pub goal: &'static str,
    /// All of them, or it is only reported.
    pub bounds: &'static [Bound],
}

/// A limit of a median.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    AtLeast(f64, Of),
    AtMost(f64, Of),
}

/// What a limit is a multiple of.
#[derive(Debug, Clone, Copy)]
pub enum Of {
    /// The figure's own unit.
    One,
    /// The same figure of another server.
    Other(Subject),
    /// Another figure of the leader.
    Figure(Figure),
}

use Bound::{AtLeast, AtMost};
use Of::{One, Other};
use Subject::{Follower, KeaAlone, KeaPair, Leader};

/// Every goal, in the order of the table.
pub const ROWS: &[Row] = &[
    row(
        Figure::CleanRate,
        "≥ 3 × hot-standby, ≥ 1 × alone",
        &[AtLeast(3.0, Other(KeaPair)), AtLeast(1.0, Other(KeaAlone))],
    ),
    row(
        Figure::CpuAt3000,
        "≤ 0.4 × hot-standby, ≤ 1 × alone",
        &[AtMost(0.4, Other(KeaPair)), AtMost(1.0, Other(KeaAlone))],
    ),
    row(Figure::CpuAtBest, "reported", &[]),
    row(
        Figure::AckMedian,
        "≤ 2 × (fdatasync + round trip)",
        &[AtMost(2.0, Of::Figure(Figure::DiskAndLink))],
    ),
    row(Figure::AckP99, "≤ 10 ms", &[AtMost(10.0, One)]),
    row(Figure::DiskAndLink, "measured beside it", &[]),
    row(
        Figure::DiscoverRate,
        "≥ 3 × hot-standby, ≥ 1 × alone",
        &[AtLeast(3.0, Other(KeaPair)), AtLeast(1.0, Other(KeaAlone))],
    ),
    row(
        Figure::DiscoverCpu,
        "≤ 0.4 × hot-standby, ≤ 1 × alone",
        &[AtMost(0.4, Other(KeaPair)), AtMost(1.0, Other(KeaAlone))],
    ),
    row(
        Figure::RenewRate,
        "≥ 3 × hot-standby, ≥ 1 × alone",
        &[AtLeast(3.0, Other(KeaPair)), AtLeast(1.0, Other(KeaAlone))],
    ),
    row(
        Figure::RenewCpu,
        "≤ 0.4 × hot-standby, ≤ 1 × alone",
        &[AtMost(0.4, Other(KeaPair)), AtMost(1.0, Other(KeaAlone))],
    ),
    row(Figure::OverloadOffered, "5 × the clean rate", &[]),
    row(Figure::OverloadAnswers, "reported", &[]),
    row(Figure::OverloadShare, "≥ 0.8", &[AtLeast(0.8, One)]),
    row(Figure::Recovery, "≤ 2 s", &[AtMost(2.0, One)]),
    row(Figure::LeaseBytes, "≤ 400", &[AtMost(400.0, One)]),
    row(Figure::MillionPace, "≥ 0.9", &[AtLeast(0.9, One)]),
    row(Figure::SnapshotP99, "≤ 10 ms", &[AtMost(10.0, One)]),
    row(Figure::Restart, "≤ 10 s", &[AtMost(10.0, One)]),
    Row {
        subject: Follower,
        ..row(Figure::CleanRate, "≥ 0.8 × the leader", &[AtLeast(0.8, Other(Leader))])
    },
    row(Figure::SlowDiskRate, "≥ 5 000", &[AtLeast(5_000.0, One)]),
];

const fn row(figure: Figure, goal: &'static str, bounds: &'static [Bound]) -> Row {
    Row { figure, subject: Leader, goal, bounds }
}

impl Row {
    /// Whether the goal is met; none when there is none, or something that it needs was not measured.
    pub fn is_met(&self, book: &Book) -> Option<bool> {
        if self.bounds.is_empty() {
            return None;
        }
        let value = book.median(self.figure, self.subject)?;
        let met: Vec<bool> = self
            .bounds
            .iter()
            .map(|bound| {
                let (AtLeast(factor, of) | AtMost(factor, of)) = *bound;
                let limit = factor
                    * match of {
                        One => 1.0,
                        Other(subject) => book.median(self.figure, subject)?,
                        Of::Figure(figure) => book.median(figure, Leader)?,
                    };
                Some(if matches!(bound, AtLeast(..)) { value >= limit } else { value <= limit })
            })
            .collect::<Option<_>>()?;
        Some(met.into_iter().all(|is_met| is_met))
    }

    /// The median over that of another server.
    pub fn ratio(&self, book: &Book, to: Subject) -> Option<f64> {
        let (own, other) = (book.median(self.figure, self.subject)?, book.median(self.figure, to)?);
        (other > 0.0).then_some(own / other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(figure: Figure, subject: Subject) -> &'static Row {
        ROWS.iter().find(|row| (row.figure, row.subject) == (figure, subject)).expect("a row")
    }

    #[test]
    fn all_bounds_must_hold_and_what_is_not_measured_is_not_judged() {
        let row = find(Figure::CleanRate, Leader);
        let mut book = Book::default();
        assert_eq!(row.is_met(&book), None);
        book.enter(Figure::CleanRate, Leader, 9_000.0);
        book.enter(Figure::CleanRate, KeaAlone, 8_000.0);
        assert_eq!((row.is_met(&book), row.ratio(&book, KeaAlone)), (None, Some(1.125)));
        book.enter(Figure::CleanRate, KeaPair, 3_000.0);
        assert_eq!((row.is_met(&book), row.ratio(&book, KeaPair)), (Some(true), Some(3.0)));
        for _ in 0..2 {
            book.enter(Figure::CleanRate, KeaAlone, 10_000.0);
        }
        assert_eq!(row.is_met(&book), Some(false), "the median of Kea alone is 10 000");
        book.enter(Figure::CleanRate, Follower, 7_000.0);
        assert_eq!(find(Figure::CleanRate, Follower).is_met(&book), Some(false));
    }

    #[test]
    fn a_latency_is_held_against_the_disk_and_the_link_and_a_share_against_itself() {
        let mut book = Book::default();
        book.enter(Figure::AckMedian, Leader, 1.9);
        let row = find(Figure::AckMedian, Leader);
        assert_eq!(row.is_met(&book), None);
        book.enter(Figure::DiskAndLink, Leader, 1.0);
        assert_eq!(row.is_met(&book), Some(true));
        book.enter(Figure::OverloadShare, Leader, 0.79);
        assert_eq!(find(Figure::OverloadShare, Leader).is_met(&book), Some(false));
        assert_eq!(find(Figure::CpuAtBest, Leader).is_met(&book), None, "it is only reported");
    }
}
