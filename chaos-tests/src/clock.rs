//! The only reader of clocks in the tests.
//!
//! The ledger counts milliseconds since this process first asked; the wall clock appears only where an
//! answer of the server is in seconds since 1970.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

/// Milliseconds since the first call in this process: the time of every ledger.
pub fn now_ms() -> u64 {
    now_us() / 1000
}

/// The same in microseconds, for what is measured.
#[expect(clippy::disallowed_methods, reason = "the one place where tests read the monotonic clock")]
pub fn now_us() -> u64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let origin = *ORIGIN.get_or_init(Instant::now);
    u64::try_from(origin.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the one place where tests read the wall clock")]
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A moment of the wall clock on the ledger's clock; zero for what lies before the process began.
pub fn ledger_ms(wall: u64) -> u64 {
    let (ledger, now) = (now_ms(), wall_ms());
    if wall >= now { ledger.saturating_add(wall - now) } else { ledger.saturating_sub(now - wall) }
}

/// Sleeps.
pub fn sleep_ms(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

/// Asks `probe` until it has a value, at most for `limit_ms`.
///
/// # Errors
/// When the time is over; the message names `what` was waited for.
pub fn wait_for<T>(what: &str, limit_ms: u64, probe: impl FnMut() -> Option<T>) -> Result<T> {
    wait_for_every(20, what, limit_ms, probe)
}

/// As [`wait_for`], with `step_ms` between two questions.
///
/// # Errors
/// As [`wait_for`].
pub fn wait_for_every<T>(
    step_ms: u64,
    what: &str,
    limit_ms: u64,
    mut probe: impl FnMut() -> Option<T>,
) -> Result<T> {
    let deadline = now_ms().saturating_add(limit_ms);
    loop {
        if let Some(value) = probe() {
            return Ok(value);
        }
        if now_ms() >= deadline {
            bail!("waited {limit_ms} ms in vain for {what}");
        }
        sleep_ms(step_ms);
    }
}
