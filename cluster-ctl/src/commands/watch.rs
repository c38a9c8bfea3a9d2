//! `cluster-ctl watch`: the status again and again. A terminal is drawn anew; a file or a pipe gets a line
//! each time.

use std::io::IsTerminal;
use std::time::Duration;

use leasehold::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use super::status::{look, nodes, report};
use crate::Output;
use crate::client::{Client, Failure};
use crate::output::utc;

/// How to watch.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Seconds between two looks
    #[arg(long, default_value_t = 2.0)]
    interval: f64,
    /// Stop after so many looks; without it, with Ctrl-C
    #[arg(long)]
    count: Option<u64>,
}

/// Clears the screen.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Runs it. A cluster that does not answer is shown so, and asked again.
pub fn run(client: &Client, options: &Options, output: Output) -> Result<(), Failure> {
    if !options.interval.is_finite() || !(0.1..=3600.0).contains(&options.interval) {
        return Err(Failure::Usage("--interval is a number of seconds from 0.1 to 3600".into()));
    }
    let pause = Duration::from_secs_f64(options.interval);
    let draws = std::io::stdout().is_terminal();
    let mut last: Option<(i64, u64)> = None;
    let mut looks = 0;
    loop {
        let now = SystemClock.wall();
        let seen = look(client);
        looks += 1;
        let ends = options.count.is_some_and(|count| looks >= count);
        let committed = seen.as_ref().ok().and_then(|(status, _)| committed(status));
        let rate = committed.zip(last).and_then(|(index, last)| rate((now, index), last));
        last = committed.map(|index| (now, index)).or(last);
        let time = utc(now.div_euclid(1000));
        match (&seen, output) {
            (Ok((status, _)), Output::Json) => {
                let mut line = status.clone();
                line["time"] = now.div_euclid(1000).into();
                line["entries-per-second"] = json!(rate);
                say_line!("{line}");
            }
            (Err(failure), Output::Json) => {
                let time = now.div_euclid(1000);
                say_line!("{}", json!({ "time": time, "error": failure.to_string() }));
            }
            (Ok((status, reply)), Output::Table) if draws => {
                let rate = rate.map_or(String::new(), |rate| format!(", {rate:.0} entries/s"));
                say!("{CLEAR}{time}{rate}\n\n{}", report(status, reply));
            }
            (Ok((status, _)), Output::Table) => say_line!("{time}  {}", line(status, rate)),
            (Err(failure), Output::Table) => {
                let clear = if draws { CLEAR } else { "" };
                say_line!("{clear}{time}  {failure}");
            }
        }
        if ends {
            return seen.map(drop);
        }
        std::thread::sleep(pause);
    }
}

/// The highest entry that any node knows to be committed.
fn committed(status: &Value) -> Option<u64> {
    let own = nodes(status).filter_map(|node| node["applied-index"].as_u64());
    own.chain(status["committed-index"].as_u64()).max()
}

/// Entries in a second between two looks.
fn rate(now: (i64, u64), before: (i64, u64)) -> Option<f64> {
    let seconds = (now.0 - before.0) as f64 / 1000.0;
    (seconds > 0.0).then(|| now.1.saturating_sub(before.1) as f64 / seconds)
}

/// The status in one line.
fn line(status: &Value, rate: Option<f64>) -> String {
    let all = nodes(status).count();
    let ready = nodes(status).filter(|node| node["ready"] == true).count();
    let alarms: u64 = nodes(status).filter_map(|node| node["alarms"].as_u64()).sum();
    let lag = nodes(status).filter_map(|node| node["lag"].as_u64()).max();
    let leader = status["leader"].as_u64().map_or("none".to_owned(), |leader| leader.to_string());
    let number = |value: Option<u64>| value.map_or("?".to_owned(), |number| number.to_string());
    format!(
        "leader {leader}, term {}, ready {ready}/{all}, committed {}, lag {}, leases {}, alarms {alarms}{}",
        number(status["term"].as_u64()),
        number(committed(status)),
        number(lag),
        number(status["leases"].as_u64()),
        rate.map_or(String::new(), |rate| format!(", {rate:.0} entries/s")),
    )
}
