//! Two servers are asked in step, so that leases that show what is left of them have the same age.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How long one waits for the other. Only a test that fails anyway takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// How far both are; none: it does not walk, or no more.
#[derive(Debug, Default)]
pub struct Pace {
    steps: Mutex<[Option<u64>; 2]>,
    moved: Condvar,
}

impl Pace {
    /// Both start to walk; false: only the first.
    pub fn start(&self, both: bool) -> [Walker<'_>; 2] {
        *self.steps.lock().unwrap_or_else(PoisonError::into_inner) = [Some(0), both.then_some(0)];
        [Walker { pace: self, side: 0 }, Walker { pace: self, side: 1 }]
    }
}

/// One of the two. Dropping it lets the other go on alone.
#[derive(Debug)]
pub struct Walker<'a> {
    pace: &'a Pace,
    side: usize,
}

impl Walker<'_> {
    /// Takes a step and waits until the other has taken as many.
    pub fn step(&self) {
        let mut steps = self.pace.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = steps[self.side].map(|own| own + 1) else { return };
        steps[self.side] = Some(own);
        self.pace.moved.notify_all();
        let behind =
            |steps: &mut [Option<u64>; 2]| steps[1 - self.side].is_some_and(|other| other < own);
        let _ = self.pace.moved.wait_timeout_while(steps, LIMIT, behind);
    }
}

impl Drop for Walker<'_> {
    fn drop(&mut self) {
        self.pace.steps.lock().unwrap_or_else(PoisonError::into_inner)[self.side] = None;
        self.pace.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Pace;

    #[test]
    fn neither_is_more_than_a_step_ahead_and_one_goes_on_when_the_other_stops() {
        let pace = Pace::default();
        let [one, other] = pace.start(true);
        let taken = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for step in 1..=5 {
                    taken.store(step, Ordering::SeqCst);
                    other.step();
                }
                drop(other);
            });
            for step in 1..=9 {
                one.step();
                let other = taken.load(Ordering::SeqCst);
                assert!(other >= step.min(5), "{other} steps after {step}");
            }
        });
    }
}
