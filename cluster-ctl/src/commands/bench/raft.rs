//! `cluster-ctl bench raft`: how many commands a second the replicated log of this cluster takes, and how long each.
//!
//! A node sends them itself (`cluster-log-measure`), so HTTP is not in the figures; they change nothing. Each second
//! of load is a request of its own: when this program ends, the load does, too.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::latency::{HEADS, Latency, time};
use super::{interrupted, some_time};
use crate::Output;
use crate::client::{Client, Failure};
use crate::output::table;

/// The p99 up to which a load is well served, microseconds.
const QUICK: u64 = 50_000;
/// Which part of the commands has to be committed, percent.
const ENOUGH: u64 = 99;
/// How often a client renews a lease of an hour, seconds.
const RENEWS: u64 = 1800;

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Loads to try, comma-separated
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',', default_values_t = [Load::Small, Load::Medium])]
    load: Vec<Load>,
    /// How long each lasts: a number and s or m; whole seconds
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = some_time)]
    duration: Duration,
    /// The large load may be tried: clients of a cluster in service would feel it
    #[arg(long)]
    yes: bool,
}

/// Commands a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Load {
    /// 100 commands a second
    Small,
    /// 1000 commands a second
    Medium,
    /// 5000 commands a second; needs --yes
    Large,
}

impl Load {
    fn rate(self) -> u64 {
        match self {
            Load::Small => 100,
            Load::Medium => 1000,
            Load::Large => 5000,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Load::Small => "small",
            Load::Medium => "medium",
            Load::Large => "large",
        }
    }
}

/// What became of one load.
#[derive(Debug)]
struct Tried {
    load: Load,
    seconds: u64,
    latency: Latency,
    failed: u64,
    left_out: u64,
}

impl Tried {
    fn new(load: Load) -> Tried {
        Tried { load, seconds: 0, latency: Latency::new(), failed: 0, left_out: 0 }
    }

    /// Adds what a node told of one second.
    fn add(&mut self, told: &Value) {
        self.seconds += 1;
        self.failed += told["failed"].as_u64().unwrap_or(0);
        self.left_out += told["left-out"].as_u64().unwrap_or(0);
        for micros in told["micros"].as_array().into_iter().flatten().filter_map(Value::as_u64) {
            self.latency.record(micros.saturating_mul(1000));
        }
    }

    fn passes(&self) -> bool {
        let committed = self.latency.count() * 100;
        let enough = self.seconds > 0 && committed >= self.load.rate() * self.seconds * ENOUGH;
        enough && self.latency.quantile(0.99).is_some_and(|p99| p99 <= QUICK)
    }

    fn row(&self) -> [String; 11] {
        let [p50, p90, p99, p999, max] = self.latency.cells();
        [
            self.load.name().to_owned(),
            format!("{}/s", self.load.rate()),
            format!("{}/s", self.latency.count() / self.seconds.max(1)),
            self.failed.to_string(),
            self.left_out.to_string(),
            p50,
            p90,
            p99,
            p999,
            max,
            if self.passes() { "pass" } else { "FAIL" }.to_owned(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "load": self.load.name(), "rate": self.load.rate(), "seconds": self.seconds, "passes": self.passes(),
            "committed": self.latency.count(), "failed": self.failed, "left-out": self.left_out,
            "micros": self.latency.json(),
        })
    }
}

/// Runs it. A load that is not served well makes the exit status 1.
pub fn run(client: &Client, options: &Options, output: Output) -> Result<(), Failure> {
    if options.load.contains(&Load::Large) && !options.yes {
        return Err(Failure::Usage(format!(
            "the large load is {} commands a second for {} s; clients of a cluster in service would feel it. Nothing \
             was done; say --yes to do it",
            Load::Large.rate(),
            seconds(options.duration)
        )));
    }
    let stop = interrupted()?;
    let (mut through, mut all) = (Value::Null, Vec::new());
    for load in &options.load {
        let mut tried = Tried::new(*load);
        for _ in 0..seconds(options.duration) {
            if stop.load(Relaxed) {
                break;
            }
            let reply = client.ask("cluster-log-measure", json!({ "rate": load.rate() }))?;
            through = reply.success()?.arguments;
            tried.add(&through);
        }
        all.extend(Some(tried).filter(|tried| tried.seconds > 0));
    }
    match output {
        Output::Json => say_line!("{}", whole(&through, &all)),
        Output::Table => say!("{}", text(&through, &all)),
    }
    // Said already.
    if all.iter().all(Tried::passes) { Ok(()) } else { Err(Failure::Refused(String::new())) }
}

fn seconds(duration: Duration) -> u64 {
    duration.as_secs().max(1)
}

fn text(through: &Value, all: &[Tried]) -> String {
    let name = through["name"].as_str().unwrap_or("?");
    let leads = through["leader"] == through["node"];
    let role = if leads { "which leads" } else { "which follows" };
    let [p50, p90, p99, p999, max] = HEADS;
    let head =
        ["LOAD", "ASKED", "COMMITTED", "FAILED", "LEFT OUT", p50, p90, p99, p999, max, "VERDICT"];
    let rows: Vec<_> = all.iter().map(Tried::row).collect();
    let best = all.iter().filter(|tried| tried.passes()).max_by_key(|tried| tried.load.rate());
    let verdict = match best {
        Some(best) => format!(
            "{} commands a second are well served: each lease that is given, renewed or released is one, so that is \
             enough for {} clients with leases of an hour.",
            best.load.rate(),
            best.load.rate() * RENEWS
        ),
        None => format!(
            "No load is well served: {ENOUGH} of 100 commands have to be committed, and 99 of 100 of those within {}. \
             Look at the disks of the nodes with cluster-ctl bench disk, and at the round trip between them.",
            time(QUICK)
        ),
    };
    format!(
        "Commands that change nothing, through node {} ({name}), {role}. {}.\n\n{}\n{verdict}\n",
        through["node"],
        match through["voters"].as_u64() {
            Some(1) => "It is the only one that votes".to_owned(),
            voters => format!("{} nodes vote", voters.unwrap_or(0)),
        },
        table(head, &rows)
    )
}

fn whole(through: &Value, all: &[Tried]) -> Value {
    json!({
        "node": through["node"], "name": through["name"], "leader": through["leader"], "voters": through["voters"],
        "passes": all.iter().all(Tried::passes),
        "loads": all.iter().map(Tried::json).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(load: Load, micros: u64, lost: u64) -> Tried {
        let mut tried = Tried::new(load);
        for _ in 0..2 {
            let count = (load.rate() - lost) as usize;
            let told = json!({ "micros": vec![micros; count], "failed": lost, "left-out": 0 });
            tried.add(&told);
        }
        tried
    }

    #[test]
    fn a_load_passes_when_nearly_all_is_committed_soon() {
        assert!(tried(Load::Medium, 3_000, 0).passes());
        assert!(tried(Load::Medium, 3_000, 10).passes());
        assert!(!tried(Load::Medium, 3_000, 11).passes());
        assert!(tried(Load::Small, 49_000, 0).passes());
        assert!(!tried(Load::Small, 51_000, 0).passes());
        assert!(!Tried::new(Load::Small).passes());
    }

    #[test]
    fn the_report_says_what_the_cluster_is_enough_for() {
        let through = json!({ "node": 2, "name": "rack-b", "leader": 1, "voters": 3 });
        let all = [tried(Load::Small, 2_000, 0), tried(Load::Medium, 3_000, 20)];
        let expected = "\
Commands that change nothing, through node 2 (rack-b), which follows. 3 nodes vote.

LOAD    ASKED   COMMITTED  FAILED  LEFT OUT  P50      P90      P99      P99.9    MAX      VERDICT
small   100/s   100/s      0       0         2.00 ms  2.00 ms  2.00 ms  2.00 ms  2.00 ms  pass
medium  1000/s  980/s      40      0         3.00 ms  3.00 ms  3.00 ms  3.00 ms  3.00 ms  FAIL

100 commands a second are well served: each lease that is given, renewed or released is one, so that is enough for \
180000 clients with leases of an hour.
";
        assert_eq!(text(&through, &all), expected);
        assert_eq!(whole(&through, &all)["passes"], false);
        let none = text(&through, &all[1..]);
        assert!(none.contains("No load is well served"), "{none}");
    }
}
