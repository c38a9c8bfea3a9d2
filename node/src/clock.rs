//! The only reader of clocks. Everybody else takes time as an argument, or a [`Clock`].

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Where time comes from.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// CLOCK_BOOTTIME in milliseconds: never set, and it counts while the machine is suspended.
    fn boottime(&self) -> u64;
    /// Time since some fixed moment, monotonic: for deadlines and pauses within this process.
    fn monotonic(&self) -> Duration;
    /// Milliseconds since 1970. It may jump; nothing is decided by it (R12, R13).
    fn wall(&self) -> i64;
}

/// The clocks of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn boottime(&self) -> u64 {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        seconds * 1000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000
    }

    fn monotonic(&self) -> Duration {
        let time = clock_gettime(ClockId::Monotonic);
        let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanos)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the only reader of clocks")]
    fn wall(&self) -> i64 {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => millis(after),
            Err(before) => -millis(before.duration()),
        };
        wall.saturating_add(wrong_by())
    }
}

/// Names a file with the milliseconds by which the wall clock shall be wrong: so tests have the clock of
/// one process jump and drift while it runs. Nothing is decided by the wall clock (R12, R13), so whoever
/// can set the environment of a server gains no more by this than by setting the machine's clock.
pub const WALL_OFFSET_FILE: &str = "LEASEHOLD_WALL_OFFSET_FILE";

fn wrong_by() -> i64 {
    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let file = FILE.get_or_init(|| std::env::var_os(WALL_OFFSET_FILE).map(PathBuf::from));
    let Some(file) = file else { return 0 };
    std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// How long ago the kernel stamped something with its time of day. What was stamped before the clock was
/// set, or so long ago that nobody would have waited, was stamped just now.
pub fn since_stamp(stamp: Duration) -> Duration {
    const MOST: Duration = Duration::from_secs(10);
    let time = clock_gettime(ClockId::Realtime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let now = Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0));
    now.checked_sub(stamp).filter(|ago| *ago <= MOST).unwrap_or_default()
}

/// The monotonic moment as libraries want it.
#[expect(clippy::disallowed_methods, reason = "this is the only reader of clocks")]
pub fn instant() -> Instant {
    Instant::now()
}

/// Measures how long something takes.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Stopwatch {
        Stopwatch(instant())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A clock that stands until it is moved: for tests and the seeded simulation.
#[derive(Debug, Clone, Default)]
pub struct ManualClock {
    boottime: Arc<AtomicU64>,
    wall: Arc<AtomicI64>,
}

impl ManualClock {
    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.boottime.fetch_add(millis, Ordering::SeqCst);
        self.wall.fetch_add(i64::try_from(millis).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Sets the wall clock, as an operator does.
    pub fn set_wall(&self, millis: i64) {
        self.wall.store(millis, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn boottime(&self) -> u64 {
        self.boottime.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.boottime())
    }

    fn wall(&self) -> i64 {
        self.wall.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_of_this_machine_run() {
        let clock = SystemClock;
        assert!(clock.boottime() > 0);
        assert!(clock.monotonic() > Duration::ZERO);
        assert!(clock.wall() > 1_700_000_000_000);
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::default();
        clock.advance(Duration::from_millis(5));
        clock.set_wall(-3);
        clock.advance(Duration::from_millis(1));
        assert_eq!((clock.boottime(), clock.wall()), (6, -2));
    }
}
