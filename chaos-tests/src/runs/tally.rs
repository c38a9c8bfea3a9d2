//! The sum of many runs.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use crate::floor::sim::Report;
use crate::oracle::{Event, What};

/// What runs showed together.
#[derive(Debug, Default)]
pub struct Tally {
    /// Runs.
    pub runs: u64,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// ACKs that clients accepted.
    pub acks: u64,
    /// NAKs that clients got.
    pub naks: u64,
    /// By kind of fault: how often it came, and the longest time from it to the next ACK for anybody, in milliseconds, with its seed.
    pub faults: BTreeMap<&'static str, (u64, u64, u64)>,
    /// Seeds with broken promises, and the first of those.
    pub broken: BTreeMap<u64, &'static str>,
}

impl Tally {
    /// Adds a run.
    pub fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.simulated_ms += report.simulated_ms;
        self.acks += report.history.acks() as u64;
        self.naks += report.history.naks() as u64;
        let acks: Vec<u64> = report
            .history
            .events()
            .iter()
            .filter(|event| is_ack(event))
            .map(|event| event.at)
            .collect();
        for (at, fault) in &report.faults {
            let next = acks.partition_point(|ack| ack < at);
            let gap = acks.get(next).map_or(0, |next| next - at);
            let (count, longest, seed) = self.faults.entry(fault.name()).or_default();
            *count += 1;
            if gap > *longest {
                (*longest, *seed) = (gap, report.seed);
            }
        }
        if let Some(breach) = report.breaches.first() {
            self.broken.insert(report.seed, breach.promise);
        }
    }

    /// Simulated hours.
    pub fn hours(&self) -> f64 {
        self.simulated_ms as f64 / 3_600_000.0
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let faults = self.faults.iter().map(|(name, (count, longest, seed))| {
            (
                (*name).to_owned(),
                json!({ "count": count, "longest-to-ack-ms": longest, "seed": seed }),
            )
        });
        let broken =
            self.broken.iter().map(|(seed, promise)| json!({ "seed": seed, "promise": promise }));
        json!({
            "runs": self.runs,
            "simulated-hours": self.hours(),
            "acks": self.acks,
            "naks": self.naks,
            "faults": faults.collect::<serde_json::Map<_, _>>(),
            "broken": broken.collect::<Vec<_>>(),
        })
    }
}

fn is_ack(event: &Event) -> bool {
    matches!(event.what, What::Acked { accepted: true, .. })
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} runs, {:.1} simulated hours, {} ACKs, {} NAKs",
            self.runs,
            self.hours(),
            self.acks,
            self.naks
        )?;
        writeln!(f)?;
        writeln!(
            f,
            "{:<12} {:>10} {:>26} {:>10}",
            "fault", "times", "longest to the next ACK", "seed"
        )?;
        for (name, (count, longest, seed)) in &self.faults {
            writeln!(f, "{name:<12} {count:>10} {:>24.1} s {seed:>10}", *longest as f64 / 1000.0)?;
        }
        writeln!(f)?;
        match self.broken.len() {
            0 => writeln!(f, "Every promise was kept."),
            many => writeln!(f, "PROMISES WERE BROKEN with {many} seeds: {}", first(&self.broken)),
        }
    }
}

fn first(broken: &BTreeMap<u64, &'static str>) -> String {
    let shown: Vec<String> =
        broken.iter().take(10).map(|(seed, promise)| format!("{seed} ({promise})")).collect();
    shown.join(", ") + if broken.len() > 10 { ", …" } else { "" }
}
