//! One line for each reason in ten seconds: for what packets, strangers and peers can cause as often as
//! they like. What is left out is counted, and told by the next line; the metrics count all of it.

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use crate::clock::{Clock, SystemClock};

/// Between two lines for the same reason, milliseconds.
const PAUSE: u64 = 10_000;
/// Reasons that one place tells apart in that time; beyond them nothing is written. So the lines of a place
/// are bounded, whoever makes up reasons.
const SLOTS: usize = 16;

/// The turns of one place in the program. Made by [`seldom`].
#[derive(Debug)]
pub struct Limiter(Mutex<Turns>);

#[derive(Debug)]
struct Turns {
    slots: [Slot; SLOTS],
    /// Lines left out that no slot counts.
    others: u64,
}

/// A reason.
#[derive(Debug, Clone, Copy)]
struct Slot {
    reason: u64,
    /// When the last line was written, milliseconds; `None` for an empty slot.
    told: Option<u64>,
    left_out: u64,
}

impl Limiter {
    /// Nothing has been told yet.
    #[allow(clippy::new_without_default)] // a default cannot be made in a constant
    pub const fn new() -> Limiter {
        let empty = Slot { reason: 0, told: None, left_out: 0 };
        Limiter(Mutex::new(Turns { slots: [empty; SLOTS], others: 0 }))
    }

    /// Whether to write a line: then with the number of those left out before, if there were any.
    pub fn admit(&self, reason: &str) -> Option<Option<u64>> {
        self.admit_at(reason, SystemClock.boottime())
    }

    fn admit_at(&self, reason: &str, now: u64) -> Option<Option<u64>> {
        let reason = xxh3_64(reason.as_bytes());
        let mut turns = self.0.lock();
        let Turns { slots, others } = &mut *turns;
        let own = slots.iter().position(|slot| slot.told.is_some() && slot.reason == reason);
        // Of the others that which was told longest ago.
        let slot = match own {
            Some(at) => slots.get_mut(at),
            None => slots.iter_mut().min_by_key(|slot| slot.told),
        }?;
        let is_due = slot.told.is_none_or(|told| now.saturating_sub(told) >= PAUSE);
        if !is_due {
            *(if own.is_some() { &mut slot.left_out } else { others }) += 1;
            return None;
        }
        if own.is_none() {
            *others += slot.left_out;
        }
        let left_out = if own.is_some() { slot.left_out } else { std::mem::take(others) };
        *slot = Slot { reason, told: Some(now), left_out: 0 };
        Some(Some(left_out).filter(|count| *count > 0))
    }
}

/// Writes a log line, at most one in ten seconds for the reason given: `seldom!(warn, reason, field, "text")`.
macro_rules! seldom {
    ($level:ident, $reason:expr, $($line:tt)+) => {{
        static LIMITER: $crate::observe::quiet::Limiter = $crate::observe::quiet::Limiter::new();
        if let Some(suppressed) = LIMITER.admit($reason) {
            tracing::$level!(suppressed, $($line)+);
        }
    }};
}

pub(crate) use seldom;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_line_in_ten_seconds_and_says_how_much_was_left_out() {
        let limiter = Limiter::new();
        assert_eq!(limiter.admit_at("a", 5), Some(None));
        for at in 0..700 {
            assert_eq!(limiter.admit_at("a", 5 + at), None);
        }
        assert_eq!(limiter.admit_at("b", 6), Some(None), "another reason has its own turn");
        assert_eq!(limiter.admit_at("a", 10_004), None);
        assert_eq!(limiter.admit_at("a", 10_005), Some(Some(701)));
        assert_eq!(limiter.admit_at("a", 30_000), Some(None));
    }

    #[test]
    fn whoever_makes_up_reasons_gets_no_more_lines() {
        let limiter = Limiter::new();
        let told = (0..10_000).filter(|at| limiter.admit_at(&format!("reason {at}"), 5).is_some());
        assert_eq!(told.count(), SLOTS);
    }

    #[test]
    fn it_can_be_written_like_any_line() {
        for _ in 0..3 {
            seldom!(info, "test", reason = "test", "a line");
        }
    }
}
