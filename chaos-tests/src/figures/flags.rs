//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measures three nodes beside Kea alone, Kea hot-standby and a stateless responder, all loaded in the same way in network namespaces,
/// and prints each figure with its goal and its ratios. Takes root, and `perfdhcp`. Build the programs first:
/// `cargo build --release --workspace`.
#[derive(Debug, Clone, Parser)]
#[command(name = "figures", disable_version_flag = true)]
pub struct Flags {
    /// Only these parts, with commas between them. Without it: all of them
    #[arg(long, value_delimiter = ',', value_name = "PART")]
    pub only: Vec<Part>,
    /// How often each figure is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub rounds: u32,
    /// Length of one run of the load, in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=120))]
    pub seconds: u32,
    /// The highest rate that is tried
    #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u32).range(1000..=200_000))]
    pub most: u32,
    /// How long the overload lasts, in seconds
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=120))]
    pub overload_seconds: u32,
    /// Leases of the part `million`
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(20_000..=2_000_000))]
    pub leases: u32,
    /// A root file system with Kea 3.0, as in the environment variable KEA3_ROOT. Without either: the installed Kea
    #[arg(long, value_name = "DIR")]
    pub kea_root: Option<PathBuf>,
    /// Nothing but our own nodes
    #[arg(long)]
    pub without_kea: bool,
    /// `dhcp-socket-type` of all servers; relays need no raw sockets
    #[arg(long, value_enum, default_value_t = Sockets::Udp)]
    pub sockets: Sockets,
    /// How to print the result; progress goes to standard error
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// A part of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The clean rate and the CPU an exchange takes
    Rate,
    /// REQUEST→ACK, beside the disk and the link
    Latency,
    /// Five times the clean rate, and the recovery
    Overload,
    /// A follower beside the leader
    Follower,
    /// DISCOVER only, renewals only
    Kinds,
    /// A million leases
    Million,
    /// 5 ms more for each fdatasync
    SlowDisk,
}

/// `dhcp-socket-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sockets {
    Udp,
    Raw,
}

impl Sockets {
    /// The keyword.
    pub fn word(self) -> &'static str {
        match self {
            Sockets::Udp => "udp",
            Sockets::Raw => "raw",
        }
    }
}

/// For whom the result is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

impl Flags {
    /// Where Kea 3.0 is.
    pub fn kea_root(&self) -> Option<PathBuf> {
        self.kea_root.clone().or_else(|| std::env::var_os("KEA3_ROOT").map(PathBuf::from))
    }

    /// Whether a part is wanted.
    pub fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

/// What this process was started for.
#[derive(Debug, PartialEq, Eq)]
pub enum Purpose {
    /// By a test runner, which starts whatever it finds: nothing.
    Nothing,
    /// By ourselves, to be the stateless server.
    Respond,
    Measure,
}

/// The first word of a process that is to be the stateless server.
pub const RESPOND: &str = "stateless-responder";

/// Reads it from the words after the program's name. Only `cargo bench` adds `--bench`.
pub fn purpose(words: &[OsString]) -> Purpose {
    if words.first().is_some_and(|word| word == RESPOND) {
        Purpose::Respond
    } else if words.iter().any(|word| word == "--bench") {
        Purpose::Measure
    } else {
        Purpose::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_measured_unless_cargo_bench_asks() {
        let of = |words: &[&str]| purpose(&words.iter().map(OsString::from).collect::<Vec<_>>());
        for words in [&[][..], &["--list", "--format", "terse"], &["--test"], &["--only", "rate"]] {
            assert_eq!(of(words), Purpose::Nothing, "{words:?}");
        }
        assert_eq!(of(&["--only", "rate", "--bench"]), Purpose::Measure);
        assert_eq!(of(&[RESPOND]), Purpose::Respond);
    }

    #[test]
    fn parts_are_chosen_and_mistakes_are_told() {
        let parse = |words: &[&str]| Flags::try_parse_from([&["figures"], words].concat());
        let flags = parse(&["--only", "rate,slow-disk", "--bench", "-o", "json"]).expect("flags");
        assert!(
            flags.wants(Part::Rate) && flags.wants(Part::SlowDisk) && !flags.wants(Part::Latency)
        );
        assert_eq!((flags.rounds, flags.seconds, flags.output), (3, 5, Output::Json));
        assert!(parse(&[]).expect("flags").wants(Part::Million));
        for wrong in [&["--only", "speed"], &["--rounds", "0"], &["--seconds", "1000"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
