//! The clock of one node: off by something, and a little too fast or too slow.

use std::time::Duration;

/// What a node's hardware shows. Copies show the same.
#[derive(Debug, Clone, Copy)]
pub struct Hardware {
    /// Boot time at the beginning of the run, in milliseconds.
    pub boot_ms: i64,
    /// How much too fast it is, in millionths.
    pub fast_ppm: i64,
    /// The wall clock at the beginning of the run, in milliseconds since 1970.
    pub wall_ms: i64,
}

impl Hardware {
    /// Boot time at moment `now` of the run.
    pub fn boot(&self, now: u64) -> u64 {
        let drift = i128::from(now) * i128::from(self.fast_ppm) / 1_000_000;
        u64::try_from(i128::from(self.boot_ms) + i128::from(now) + drift).unwrap_or(0)
    }

    /// Boot time as deadlines have it.
    pub fn mono(&self, now: u64) -> Duration {
        Duration::from_millis(self.boot(now))
    }

    /// Milliseconds since 1970.
    pub fn wall(&self, now: u64) -> i64 {
        self.wall_ms.saturating_add(i64::try_from(now).unwrap_or(i64::MAX))
    }
}
