//! The sum of many runs.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use crate::floor::sim::Report;
use crate::oracle::{History, What};

/// Where the buckets of service gaps end, in milliseconds; each is twice as long as the one before. One more has all that is longer.
pub const GAPS_UP_TO_MS: [u64; 8] = [125, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000];
const BUCKETS: usize = GAPS_UP_TO_MS.len() + 1;
/// The longest bar of the text, in characters.
const BAR: u64 = 40;

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
    /// How long it was from each ACK to the next one.
    pub gaps: Gaps,
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
        let acks = ack_times(&report.history);
        self.gaps.add(&acks, report.simulated_ms, &report.quiet);
        // The ledger of a long run has forgotten its beginning: how long it was to the next ACK then is not known.
        let known_from = match report.history.acks() > acks.len() {
            true => acks.first().copied().unwrap_or(u64::MAX),
            false => 0,
        };
        for (at, fault) in &report.faults {
            let next = acks.partition_point(|ack| ack < at);
            // Nobody got one any more.
            let end = acks.get(next).copied().unwrap_or(report.simulated_ms);
            let gap = waited(*at, end, &report.quiet);
            let (count, longest, seed) = self.faults.entry(fault.name()).or_default();
            *count += 1;
            if *at >= known_from && gap > *longest {
                (*longest, *seed) = (gap, report.seed);
            }
        }
        if let Some(breach) = report.breaches.first() {
            self.broken.insert(report.seed, breach.promise);
        }
    }

    /// Hours of all runs, simulated ones among them.
    pub fn hours(&self) -> f64 {
        self.simulated_ms as f64 / 3_600_000.0
    }

    /// Whether the promises were kept; if not, with which seeds.
    pub fn verdict(&self) -> String {
        match self.broken.len() {
            0 => "Every promise was kept.".to_owned(),
            many => format!("PROMISES WERE BROKEN with {many} seeds: {}", first(&self.broken)),
        }
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
            "service-gaps": self.gaps.json(),
            "broken": broken.collect::<Vec<_>>(),
        })
    }
}

/// How long clients waited for the next ACK for anybody, over all runs: how many of those gaps lasted up to how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gaps {
    times: [u64; BUCKETS],
}

impl Gaps {
    /// Adds the gaps of a run that ended at `end` and had ACKs at these times, in order, all in milliseconds of the run. The time before
    /// the first ACK is none, as the cluster is only beginning then; a run without any ACK is one gap. Where clients were quiet nobody waited.
    fn add(&mut self, acks: &[u64], end: u64, quiet: &[(u64, u64)]) {
        let nexts = acks.iter().skip(1).chain([&end]);
        acks.iter().zip(nexts).for_each(|(ack, next)| self.count(waited(*ack, *next, quiet)));
        // A run of no length did not begin.
        if acks.is_empty() && end > 0 {
            self.count(waited(0, end, quiet));
        }
    }

    fn count(&mut self, gap: u64) {
        let bucket = GAPS_UP_TO_MS.partition_point(|up_to| *up_to < gap);
        if let Some(times) = self.times.get_mut(bucket) {
            *times += 1;
        }
    }

    /// Up to how many milliseconds, and how many gaps lasted so long but longer than those before; none: all that are longer still.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        GAPS_UP_TO_MS.into_iter().map(Some).chain([None]).zip(self.times)
    }

    /// How many are in the fullest bucket.
    pub fn most(&self) -> u64 {
        self.times.iter().copied().max().unwrap_or(0)
    }

    fn json(&self) -> Vec<Value> {
        self.buckets().map(|(end, times)| json!({ "up-to-ms": end, "times": times })).collect()
    }
}

/// How much of the time from `from` to `to` clients were not quiet, in milliseconds.
fn waited(from: u64, to: u64, quiet: &[(u64, u64)]) -> u64 {
    let shared = |(begin, end): &(u64, u64)| (*end).min(to).saturating_sub((*begin).max(from));
    to.saturating_sub(from).saturating_sub(quiet.iter().map(shared).sum())
}

impl fmt::Display for Gaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<12} {:>10}", "service gap", "times")?;
        for (end, times) in self.buckets() {
            // Rounded up: what came once is seen.
            let marks = times.saturating_mul(BAR).div_ceil(self.most().max(1));
            let bar = "█".repeat(usize::try_from(marks).unwrap_or(0));
            let line = format!("{:<12} {times:>10}  {bar}", up_to(end));
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// The name of the bucket that ends there, in milliseconds: `≤ 250 ms`, `≤ 4 s`, `longer`.
pub fn up_to(end: Option<u64>) -> String {
    match end {
        None => "longer".to_owned(),
        Some(ms) if ms.is_multiple_of(1_000) => format!("≤ {} s", ms / 1_000),
        Some(ms) => format!("≤ {ms} ms"),
    }
}

/// When clients accepted an ACK, in milliseconds of the run.
pub fn ack_times(history: &History) -> Vec<u64> {
    let acks = history
        .events()
        .iter()
        .filter(|event| matches!(event.what, What::Acked { accepted: true, .. }));
    acks.map(|event| event.at).collect()
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} runs, {:.1} hours, {} ACKs, {} NAKs",
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
        writeln!(f, "{}", self.gaps)?;
        writeln!(f, "{}", self.verdict())
    }
}

fn first(broken: &BTreeMap<u64, &'static str>) -> String {
    let shown: Vec<String> =
        broken.iter().take(10).map(|(seed, promise)| format!("{seed} ({promise})")).collect();
    shown.join(", ") + if broken.len() > 10 { ", …" } else { "" }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::floor::sim::Breach;
    use crate::floor::sim::faults::Fault;
    use crate::oracle::{ClientId, Event};

    fn report(seed: u64, acks: &[(u64, bool)], simulated_ms: u64) -> Report {
        let address = Ipv4Addr::new(192, 0, 2, 1);
        let event = |(at, accepted): &(u64, bool)| Event {
            at: *at,
            client: ClientId(1),
            node: None,
            what: What::Acked {
                xid: 1,
                address,
                lifetime_secs: 30,
                asked_at: *at,
                accepted: *accepted,
            },
        };
        Report {
            seed,
            breaches: Vec::new(),
            story: Vec::new(),
            faults: Vec::new(),
            quiet: Vec::new(),
            history: History::new(acks.iter().map(event).collect()),
            simulated_ms,
        }
    }

    fn gaps(tally: &Tally) -> Vec<u64> {
        tally.gaps.buckets().map(|(_, times)| times).collect()
    }

    #[test]
    fn a_gap_is_in_the_bucket_that_it_just_fits_into() {
        let mut gaps = Gaps::default();
        for gap in [0, 125, 126, 250, 1_000, 1_001, 16_000, 16_001, u64::MAX] {
            gaps.count(gap);
        }
        let times: Vec<u64> = gaps.buckets().map(|(_, times)| times).collect();
        assert_eq!(times, [2, 2, 0, 1, 1, 0, 0, 1, 2]);
        let ends: Vec<_> = gaps.buckets().map(|(end, _)| end).collect();
        assert_eq!((ends.first(), ends.last()), (Some(&Some(125)), Some(&None)));
    }

    #[test]
    fn the_end_of_a_run_ends_a_gap_and_a_second_answer_ends_none() {
        let mut tally = Tally::default();
        let acks = [(5_000, true), (5_100, true), (5_200, false), (5_400, true)];
        tally.add(&report(1, &acks, 8_000));
        assert_eq!(gaps(&tally), [1, 0, 1, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn nobody_waits_while_clients_are_quiet() {
        let mut tally = Tally::default();
        let faults = vec![(1_900, Fault::Kill)];
        let quiet = vec![(1_000, 1_100), (2_000, 9_000), (9_900, u64::MAX)];
        let run = report(1, &[(1_000, true), (9_100, true)], 10_000);
        tally.add(&Report { faults, quiet, ..run });
        // 1 000 ms and 800 ms.
        assert_eq!(gaps(&tally), [0, 0, 0, 2, 0, 0, 0, 0, 0]);
        assert_eq!(tally.faults.get("kill"), Some(&(1, 200, 1)));
    }

    #[test]
    fn a_run_without_acks_is_one_gap_and_one_that_did_not_begin_is_none() {
        let mut tally = Tally::default();
        tally.add(&report(1, &[], 0));
        assert_eq!(tally.gaps, Gaps::default());
        tally.add(&report(2, &[], 60_000));
        assert_eq!(gaps(&tally), [0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn bars_are_as_long_as_there_are_many_and_one_is_seen() {
        let gaps = Gaps { times: [1_000, 500, 0, 0, 0, 0, 0, 0, 1] };
        let shown = gaps.to_string();
        let bars: Vec<usize> =
            shown.lines().skip(1).map(|line| line.matches('█').count()).collect();
        assert_eq!(bars, [40, 20, 0, 0, 0, 0, 0, 0, 1], "{shown}");
        assert_eq!(shown.lines().last(), Some("longer                1  █"));
        let without = Gaps::default().to_string();
        assert!(!without.contains('█') && without.lines().count() == 10, "{without}");
    }

    #[test]
    fn what_the_ledger_has_forgotten_makes_no_long_wait() {
        let mut long = report(7, &[(1_000, true), (9_000, true), (9_500, true)], 10_000);
        long.history.forget(5_000);
        let mut tally = Tally::default();
        tally.add(&Report { faults: vec![(1_500, Fault::Kill), (9_100, Fault::Kill)], ..long });
        assert_eq!((tally.acks, tally.faults.get("kill")), (3, Some(&(2, 400, 7))));
    }

    #[test]
    fn the_sum_has_gaps_faults_and_broken_seeds() {
        let mut tally = Tally::default();
        let kill = (1_500, Fault::Kill);
        tally.add(&Report { faults: vec![kill, kill], ..report(7, &[(1_000, true)], 4_000) });
        let breach = Breach { promise: "unique", what: "two".to_owned(), at: 3 };
        tally.add(&Report { breaches: vec![breach], ..report(8, &[(0, true)], 200) });
        assert_eq!(tally.faults.get("kill"), Some(&(2, 2_500, 7)));
        let printed = tally.json();
        assert_eq!(printed["service-gaps"][1], json!({ "up-to-ms": 250, "times": 1 }));
        assert_eq!(printed["service-gaps"][5], json!({ "up-to-ms": 4_000, "times": 1 }));
        assert_eq!(printed["service-gaps"][8], json!({ "up-to-ms": null, "times": 0 }));
        let shown = tally.to_string();
        assert!(shown.contains("≤ 250 ms"), "{shown}");
        assert!(shown.contains("PROMISES WERE BROKEN with 1 seeds: 8 (unique)"), "{shown}");
    }
}
