//! Virtual time: what happens next, and when. What is due at the same moment happens in the order in which it was planned.

use std::collections::BTreeMap;

/// The future of a run.
#[derive(Debug)]
pub struct Schedule<T> {
    now: u64,
    planned: u64,
    due: BTreeMap<(u64, u64), T>,
}

impl<T> Default for Schedule<T> {
    fn default() -> Schedule<T> {
        Schedule { now: 0, planned: 0, due: BTreeMap::new() }
    }
}

impl<T> Schedule<T> {
    /// Milliseconds of the run.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// `what` happens so many milliseconds from now.
    pub fn after(&mut self, millis: u64, what: T) {
        self.planned += 1;
        self.due.insert((self.now.saturating_add(millis), self.planned), what);
    }

    /// What happens next, if that is before `end`: time has come to it. None: it has come to `end`.
    pub fn next(&mut self, end: u64) -> Option<T> {
        match self.due.first_entry() {
            Some(first) if first.key().0 < end => {
                self.now = first.key().0;
                Some(first.remove())
            }
            _ => {
                self.now = self.now.max(end);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_happen_in_order_and_time_stands_at_the_end() {
        let mut schedule = Schedule::default();
        for (at, what) in [(20, "c"), (10, "a"), (10, "b"), (30, "d")] {
            schedule.after(at, what);
        }
        let until = |schedule: &mut Schedule<&'static str>, end| {
            let all: String = std::iter::from_fn(|| schedule.next(end)).collect();
            (all, schedule.now())
        };
        assert_eq!(until(&mut schedule, 20), ("ab".to_owned(), 20));
        schedule.after(0, "now");
        assert_eq!(until(&mut schedule, 30), ("cnow".to_owned(), 30));
        assert_eq!(until(&mut schedule, 100), ("d".to_owned(), 100));
    }
}
