//! Simulated time: tokio's paused clock, as this run and as each node sees it.

use std::time::Duration;

use leasehold::clock::Clock;
use tokio::time::Instant;

/// The clock of one node, or of the run. Copies show the same.
#[derive(Debug, Clone, Copy)]
pub struct SimClock {
    start: Instant,
    offset_ms: u64,
    wall_ms: i64,
}

impl SimClock {
    /// The clock of the run: zero now.
    #[expect(clippy::disallowed_methods, reason = "tokio's own clock, which the run has paused")]
    pub fn start() -> SimClock {
        SimClock { start: Instant::now(), offset_ms: 0, wall_ms: 1_700_000_000_000 }
    }

    /// The clock of a node that was switched on `offset_ms` before the run, its wall clock off by so much.
    pub fn of_node(self, offset_ms: u64, wall_off_ms: i64) -> SimClock {
        SimClock { offset_ms, wall_ms: self.wall_ms + wall_off_ms, ..self }
    }

    /// Milliseconds of the run.
    pub fn ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Clock for SimClock {
    fn boottime(&self) -> u64 {
        self.offset_ms + self.ms()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.boottime())
    }

    fn wall(&self) -> i64 {
        self.wall_ms + i64::try_from(self.ms()).unwrap_or(i64::MAX)
    }
}
