//! `cluster-ctl bench`: whether a cluster, its hardware and its disks are fast enough, measured from outside.
//!
//! Each of them is bounded in time and load, says beforehand what it would do where that can be felt by others,
//! and leaves nothing behind: no lease, no entry that changes anything, no file.

pub mod dhcp;
pub mod disk;
mod latency;
pub mod raft;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crate::Output;
use crate::client::{Client, Failure};

/// What to measure.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// DHCP servers, with the messages of many clients behind a relay agent. Any DHCPv4 server will do
    Dhcp(Box<dhcp::Options>),
    /// The replicated log of this cluster: how many commands a second, how long each takes, and what load of leases
    /// that is enough for. Nothing is changed
    Raft(raft::Options),
    /// A directory's disk, written as the log of a node writes it, and whether it will do
    Disk(disk::Options),
}

/// Runs it. Only the log is asked about through a node.
pub fn run(
    client: impl FnOnce() -> Result<Client, Failure>,
    command: Command,
    output: Output,
) -> Result<(), Failure> {
    match command {
        Command::Dhcp(options) => dhcp::run(*options, output),
        Command::Raft(options) => raft::run(&client()?, &options, output),
        Command::Disk(options) => disk::run(&options, output),
    }
}

/// Set by the first Ctrl-C or SIGTERM; the second ends the program.
fn interrupted() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    let act = move || {
        if set.swap(true, Relaxed) {
            std::process::exit(130);
        }
    };
    let failed = |error| Failure::Usage(format!("Ctrl-C cannot be caught: {error}"));
    leasehold::node::on_interrupt(act).map_err(failed)?;
    Ok(flag)
}

/// Reads a time: a number and `ms`, `s`, `m` or `h`; an hour at most.
fn time(text: &str) -> Result<Duration, String> {
    const HOUR: u64 = 3_600_000;
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => HOUR,
        _ => return Err("a number and ms, s, m or h, such as 30s".to_owned()),
    };
    let millis = number.parse().ok().and_then(|number: u64| number.checked_mul(unit));
    match millis {
        Some(millis) if millis <= HOUR => Ok(Duration::from_millis(millis)),
        _ => Err("at most 1h".to_owned()),
    }
}

/// [`time`], and more than none.
fn some_time(text: &str) -> Result<Duration, String> {
    match time(text)? {
        Duration::ZERO => Err("longer than that".to_owned()),
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_an_end() {
        let millis = |text| time(text).map(|time| time.as_millis());
        assert_eq!((millis("250ms"), millis("30s"), millis("0s")), (Ok(250), Ok(30_000), Ok(0)));
        assert_eq!((millis("2m"), millis("1h")), (Ok(120_000), Ok(3_600_000)));
        for text in ["", "30", "s", "-1s", "1d", "61m", "99999999999999999999s", "1.5s"] {
            assert!(time(text).is_err(), "{text}");
        }
        assert!(some_time("0ms").is_err() && some_time("1ms").is_ok());
    }
}
