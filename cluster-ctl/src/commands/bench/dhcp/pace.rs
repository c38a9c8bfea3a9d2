//! When steps begin: so many a second whatever the servers do (open loop), or as the answers come (closed loop).

use std::fmt;

use super::crowd::Nanos;

const SECOND: u128 = 1_000_000_000;
/// What we could not begin for so long is not made up for: it would come as a burst.
const BACKLOG: Nanos = 100_000_000;
/// The most steps a second that can be asked for.
const FASTEST: u64 = 1_000_000;

/// What the command line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// Steps a second.
    Fixed(u64),
    /// As fast as the servers answer.
    Max,
}

impl Rate {
    /// Reads `2000`, or `max`.
    pub fn parse(text: &str) -> Result<Rate, String> {
        match text.parse() {
            _ if text == "max" => Ok(Rate::Max),
            Ok(rate) if (1..=FASTEST).contains(&rate) => Ok(Rate::Fixed(rate)),
            _ => Err(format!("a number from 1 to {FASTEST}, or max")),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rate::Fixed(rate) => write!(f, "{rate}"),
            Rate::Max => f.write_str("max"),
        }
    }
}

/// Counts what has begun.
#[derive(Debug)]
pub struct Pace {
    rate: Rate,
    window: usize,
    start: Nanos,
    /// Begun, or given up.
    begun: u64,
}

impl Pace {
    /// From `start` on; in a closed loop with so many steps in flight.
    pub fn new(rate: Rate, window: usize, start: Nanos) -> Pace {
        Pace { rate, window, start, begun: 0 }
    }

    /// How many steps are to begin now, and how many should have so long ago that they are left out. Whoever asks
    /// begins them.
    pub fn due(&mut self, now: Nanos, in_flight: usize) -> (u64, u64) {
        let Rate::Fixed(rate) = self.rate else {
            return (self.window.saturating_sub(in_flight) as u64, 0);
        };
        let since = u128::from(now.saturating_sub(self.start));
        let total = u64::try_from(since * u128::from(rate) / SECOND).unwrap_or(u64::MAX);
        let missing = total.saturating_sub(self.begun);
        let most = (u128::from(rate) * u128::from(BACKLOG) / SECOND) as u64 + 1;
        self.begun += missing;
        (missing.min(most), missing.saturating_sub(most))
    }

    /// When the next step is due; `None` when that depends on answers alone.
    pub fn next(&self) -> Option<Nanos> {
        let Rate::Fixed(rate) = self.rate else { return None };
        let after = (u128::from(self.begun) + 1) * SECOND;
        let after = after.div_ceil(u128::from(rate));
        Some(self.start.saturating_add(u64::try_from(after).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_loop_begins_what_is_due_whatever_is_in_flight() {
        let mut pace = Pace::new(Rate::Fixed(1000), 1, 5);
        assert_eq!(pace.due(5, 0), (0, 0));
        assert_eq!(pace.next(), Some(1_000_005));
        assert_eq!(pace.due(1_000_004, 0), (0, 0));
        assert_eq!(pace.due(1_000_005, 900), (1, 0));
        assert_eq!(pace.due(3_000_005, 900), (2, 0));
        assert_eq!(pace.next(), Some(4_000_005));
        // After a second in which we did nothing, 100 ms of it are made up for.
        assert_eq!(pace.due(1_003_000_005, 900), (101, 899));
        assert_eq!(pace.next(), Some(1_004_000_005));
    }

    #[test]
    fn what_is_due_next_is_due_when_its_time_has_come() {
        for rate in [1, 3, 7, 999, 1_000_000] {
            let mut pace = Pace::new(Rate::Fixed(rate), 1, 0);
            for _ in 0..50 {
                let next = pace.next().expect("an open loop");
                assert_eq!(pace.due(next - 1, 0), (0, 0), "{rate}");
                assert_eq!(pace.due(next, 0), (1, 0), "{rate}");
            }
        }
    }

    #[test]
    fn a_closed_loop_keeps_its_window_full() {
        let mut pace = Pace::new(Rate::Max, 8, 0);
        assert_eq!(pace.due(0, 0), (8, 0));
        assert_eq!(pace.due(9, 5), (3, 0));
        assert_eq!(pace.due(9, 9), (0, 0));
        assert_eq!(pace.next(), None);
    }

    #[test]
    fn a_rate_is_a_number_or_max() {
        assert_eq!(
            (Rate::parse("max"), Rate::parse("2000")),
            (Ok(Rate::Max), Ok(Rate::Fixed(2000)))
        );
        for text in ["0", "-1", "1e3", "1000001", "MAX", ""] {
            assert!(Rate::parse(text).is_err(), "{text}");
        }
    }
}
