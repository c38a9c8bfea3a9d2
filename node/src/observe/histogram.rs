//! Histograms with fixed bounds: one atomic addition for a measurement, no lock and no allocation.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Bounds of times that a client or an operator notices, microseconds.
pub const LATENCY: &[u64] = &[
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 2_000_000,
];
/// Bounds of the commands in one batch.
pub const BATCH: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128];

/// Counts measurements by size.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One more than there are bounds: the last is for what lies above them all.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// An empty one; `bounds` ascend, and a measurement equal to one lies below it.
    pub fn new(bounds: &'static [u64]) -> Histogram {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Counts one measurement.
    pub fn record(&self, value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Relaxed);
        }
        self.sum.fetch_add(value, Relaxed);
    }

    /// Counts a time, in microseconds.
    pub fn record_time(&self, time: Duration) {
        self.record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// What was counted so far.
    pub fn read(&self) -> Distribution {
        Distribution {
            bounds: self.bounds,
            counts: self.counts.iter().map(|count| count.load(Relaxed)).collect(),
            sum: self.sum.load(Relaxed),
        }
    }
}

/// What a [`Histogram`] has counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Distribution {
    /// Upper bounds, ascending.
    pub bounds: &'static [u64],
    /// Measurements up to each bound and above the one before; the last of them above all bounds.
    pub counts: Vec<u64>,
    /// All measurements added.
    pub sum: u64,
}

impl Distribution {
    /// How many measurements there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Bound and count of each bucket, in units of `1 / scale`; the last bound is infinite.
    pub fn buckets(&self, scale: f64) -> Vec<(f64, u64)> {
        let bounds = self.bounds.iter().map(|bound| *bound as f64 / scale);
        bounds.chain([f64::INFINITY]).zip(self.counts.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_lies_below_the_bound_that_it_equals() {
        let histogram = Histogram::new(BATCH);
        for value in [0, 1, 2, 3, 128, 129, 9_000] {
            histogram.record(value);
        }
        let read = histogram.read();
        assert_eq!(read.counts, [2, 1, 1, 0, 0, 0, 0, 1, 2]);
        assert_eq!((read.count(), read.sum), (7, 9_263));
        assert_eq!(read.buckets(1.0).last(), Some(&(f64::INFINITY, 2)));
    }

    #[test]
    fn bounds_ascend() {
        for bounds in [LATENCY, BATCH] {
            assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
