//! Distributions of times: an HDR histogram from 1 µs to a minute, exact to three digits.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// The longest time that is told apart, microseconds; longer ones count as this.
const MOST: u64 = 60_000_000;
/// The quantiles of a report, with their names in JSON.
const QUANTILES: [(f64, &str); 4] = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9")];

/// A distribution of times.
#[derive(Debug, Clone)]
pub struct Latency(Histogram<u64>);

impl Latency {
    /// An empty one.
    pub fn new() -> Latency {
        Latency(Histogram::new_with_bounds(1, MOST, 3).expect("bounds that a histogram may have"))
    }

    /// Counts a time.
    pub fn record(&mut self, nanos: u64) {
        self.0.saturating_record((nanos / 1000).clamp(1, MOST));
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Microseconds that a part of them did not exceed; `None` when there are none.
    pub fn quantile(&self, part: f64) -> Option<u64> {
        (self.count() > 0).then(|| self.0.value_at_quantile(part))
    }

    /// The longest, microseconds.
    pub fn max(&self) -> Option<u64> {
        (self.count() > 0).then(|| self.0.max())
    }

    /// p50, p90, p99, p99.9 and the longest, for a table.
    pub fn cells(&self) -> [String; 5] {
        let [p50, p90, p99, p999] = QUANTILES.map(|(part, _)| shown(self.quantile(part)));
        [p50, p90, p99, p999, shown(self.max())]
    }

    /// The same for a script, in microseconds.
    pub fn json(&self) -> Value {
        let mut value = json!({ "count": self.count() });
        for (part, name) in QUANTILES {
            value[name] = self.quantile(part).into();
        }
        value["max"] = self.max().into();
        value
    }
}

/// Heads of [`Latency::cells`].
pub const HEADS: [&str; 5] = ["P50", "P90", "P99", "P99.9", "MAX"];

fn shown(micros: Option<u64>) -> String {
    micros.map_or("-".to_owned(), time)
}

/// Microseconds in three digits or so.
pub fn time(micros: u64) -> String {
    let millis = micros as f64 / 1000.0;
    match micros {
        0..10_000 => format!("{millis:.2} ms"),
        10_000..100_000 => format!("{millis:.1} ms"),
        100_000..10_000_000 => format!("{millis:.0} ms"),
        _ => format!("{:.1} s", millis / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_counted() {
        let mut latency = Latency::new();
        assert_eq!(latency.cells(), ["-"; 5].map(str::to_owned));
        for micros in 1..=1000 {
            latency.record(micros * 1000);
        }
        assert_eq!(latency.cells(), ["0.50 ms", "0.90 ms", "0.99 ms", "1.00 ms", "1.00 ms"]);
        assert_eq!(latency.json()["p99.9"], 999);
        // Longer than can be told apart, and shorter.
        latency.record(u64::MAX);
        latency.record(0);
        assert_eq!((latency.count(), latency.quantile(0.0)), (1002, Some(1)));
        assert_eq!(latency.cells()[4], "60.0 s");
    }

    #[test]
    fn times_have_as_many_digits_as_matter() {
        let shown = [12, 9_990, 12_340, 1_234_000, 12_340_000].map(time);
        assert_eq!(shown, ["0.01 ms", "9.99 ms", "12.3 ms", "1234 ms", "12.3 s"]);
    }
}
