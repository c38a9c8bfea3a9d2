//! `cluster-ctl bench disk`: how long a disk takes to make an append durable, as the log of a node does it: bytes at
//! the end of a growing file, then fdatasync. Every ACK waits for that on a majority of the nodes.
//!
//! Its file is removed at the end, also after Ctrl-C.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use leasehold::clock::Stopwatch;
use serde_json::{Value, json};

use super::latency::{HEADS, Latency, time};
use super::{interrupted, some_time};
use crate::Output;
use crate::client::Failure;
use crate::output::table;

/// What is appended: one command, a few, a full batch, and larger entries.
const SIZES: [usize; 5] = [150, 1 << 10, 4 << 10, 16 << 10, 64 << 10];
/// The log begins a new file after so many bytes, and so do we.
const SEGMENT: u64 = 16 << 20;
/// Room that has to be free: below it a node takes its disk for full.
const ROOM: u64 = 256 << 20;
/// p99 of an append below this is good, microseconds: nobody notices such an ACK.
const GOOD: u64 = 10_000;
/// From here on clients notice, microseconds.
const SLOW: u64 = 100_000;
/// What the file systems of memory call themselves (statfs(2)).
const TMPFS: i64 = 0x0102_1994;
const RAMFS: i64 = 0x8584_58f6;

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// A directory on the disk: best the data directory of a node, or where it will be
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// How long to append pieces of each of five sizes: a number and ms, s, m or h
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = some_time)]
    duration: Duration,
}

/// What was measured.
#[derive(Debug)]
struct Measured {
    sizes: Vec<(usize, Latency, Duration)>,
    memory: bool,
    interrupted: bool,
}

/// Runs it. A disk that will not do makes the exit status 1.
pub fn run(options: &Options, output: Output) -> Result<(), Failure> {
    let dir = &options.dir;
    let memory = looked_at(dir)?;
    let stop = interrupted()?;
    let failed = |error: io::Error| {
        Failure::Usage(format!("--dir {}: nothing can be written there: {error}", dir.display()))
    };
    let mut file =
        tempfile::Builder::new().prefix("leasehold-bench-").tempfile_in(dir).map_err(failed)?;
    let mut sizes = Vec::new();
    for size in SIZES {
        let (latency, took) =
            append(file.as_file_mut(), size, options.duration, &stop).map_err(failed)?;
        sizes.push((size, latency, took));
    }
    file.close().map_err(failed)?;
    let measured = Measured { sizes, memory, interrupted: stop.load(Relaxed) };
    match output {
        Output::Json => say_line!("{}", measured.json(dir)),
        Output::Table => say!("{}", measured.text(dir)),
    }
    match measured.verdict() {
        // Said already.
        Verdict::Poor | Verdict::Memory | Verdict::Unknown => Err(Failure::Refused(String::new())),
        Verdict::Good | Verdict::Usable => Ok(()),
    }
}

/// Whether the directory is in memory; an error when it is none, or has too little room.
fn looked_at(dir: &Path) -> Result<bool, Failure> {
    let usage = |text: String| Failure::Usage(format!("--dir {}: {text}", dir.display()));
    let about = std::fs::metadata(dir).map_err(|error| usage(error.to_string()))?;
    if !about.is_dir() {
        return Err(usage("that is not a directory".to_owned()));
    }
    let system = rustix::fs::statfs(dir).map_err(|error| usage(error.to_string()))?;
    let (blocks, size) = (system.f_bavail, u64::try_from(system.f_bsize).unwrap_or(0));
    let free = blocks.saturating_mul(size);
    if free < ROOM {
        return Err(usage(format!(
            "{} MiB are free there, and {} are needed, as a node needs them",
            free >> 20,
            ROOM >> 20
        )));
    }
    Ok(matches!(system.f_type as i64, TMPFS | RAMFS))
}

/// Appends pieces until the time is over.
fn append(
    file: &mut File,
    size: usize,
    lasts: Duration,
    stop: &AtomicBool,
) -> io::Result<(Latency, Duration)> {
    let piece = vec![0xa5; size];
    let mut latency = Latency::new();
    let mut written = 0;
    empty(file)?;
    let all = Stopwatch::start();
    while all.elapsed() < lasts && !stop.load(Relaxed) {
        if written + size as u64 > SEGMENT {
            empty(file)?;
            written = 0;
        }
        let one = Stopwatch::start();
        file.write_all(&piece)?;
        file.sync_data()?;
        latency.record(u64::try_from(one.elapsed().as_nanos()).unwrap_or(u64::MAX));
        written += size as u64;
    }
    Ok((latency, all.elapsed()))
}

fn empty(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.sync_all()
}

/// What is to be thought of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    Usable,
    Poor,
    /// It is none.
    Memory,
    /// Nothing was measured.
    Unknown,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Verdict::Good => "good",
            Verdict::Usable => "usable",
            Verdict::Poor => "poor",
            Verdict::Memory => "memory",
            Verdict::Unknown => "unknown",
        }
    }
}

impl Measured {
    /// The slowest p99 of what entries are in practice: up to 16 KiB.
    fn worst(&self) -> Option<u64> {
        let usual = self.sizes.iter().filter(|(size, ..)| *size <= 16 << 10);
        usual.filter_map(|(_, latency, _)| latency.quantile(0.99)).max()
    }

    fn verdict(&self) -> Verdict {
        match self.worst() {
            _ if self.memory => Verdict::Memory,
            None => Verdict::Unknown,
            Some(p99) if p99 < GOOD => Verdict::Good,
            Some(p99) if p99 < SLOW => Verdict::Usable,
            Some(_) => Verdict::Poor,
        }
    }

    fn told(&self) -> String {
        let p99 = time(self.worst().unwrap_or(0));
        match self.verdict() {
            Verdict::Good => format!(
                "Good: 99 of 100 appends of up to 16 KiB take {p99} at most, below 10 ms. Every ACK waits for one on a \
                 majority of the nodes, and nobody will notice."
            ),
            Verdict::Usable => format!(
                "Usable: 99 of 100 appends of up to 16 KiB take {p99} at most; good is below 10 ms. Every ACK waits for \
                 one on a majority of the nodes: clients are served, and wait that much longer."
            ),
            Verdict::Poor => format!(
                "Poor: one append in 100 takes {p99} or longer, and from half a second on a node raises the alarm disk-slow. \
                 Clients would wait and ask twice. Take an SSD, best one with power-loss protection."
            ),
            Verdict::Memory => "This is memory and no disk: what is acknowledged would be gone with the power. Name a \
                                directory on the disk that the data directory will be on."
                .to_owned(),
            Verdict::Unknown => "Nothing was measured.".to_owned(),
        }
    }

    fn text(&self, dir: &Path) -> String {
        let row = |(size, latency, took): &(usize, Latency, Duration)| {
            let [p50, p90, p99, p999, max] = latency.cells();
            let rate = latency.count() as f64 / took.as_secs_f64().max(0.001);
            [bytes(*size), format!("{rate:.0}/s"), p50, p90, p99, p999, max]
        };
        let rows: Vec<_> = self.sizes.iter().map(row).collect();
        let [p50, p90, p99, p999, max] = HEADS;
        let table = table(["APPEND", "SYNCED", p50, p90, p99, p999, max], &rows);
        let cut = if self.interrupted { "Interrupted with Ctrl-C.\n" } else { "" };
        format!("{}, append and fdatasync\n\n{table}\n{cut}{}\n", dir.display(), self.told())
    }

    fn json(&self, dir: &Path) -> Value {
        let size = |(size, latency, took): &(usize, Latency, Duration)| {
            let seconds = took.as_secs_f64();
            json!({ "bytes": size, "seconds": seconds, "micros": latency.json() })
        };
        json!({
            "dir": dir.display().to_string(),
            "verdict": self.verdict().name(),
            "text": self.told(),
            "interrupted": self.interrupted,
            "appends": self.sizes.iter().map(size).collect::<Vec<_>>(),
        })
    }
}

fn bytes(size: usize) -> String {
    if size < 1 << 10 { format!("{size} B") } else { format!("{} KiB", size >> 10) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(micros: u64, memory: bool) -> Measured {
        let one = |size| {
            let mut latency = Latency::new();
            // Large pieces may take longer.
            let slower = if size > 16 << 10 { 100 } else { 1 };
            (0..1000).for_each(|_| latency.record(micros * slower * 1000));
            (size, latency, Duration::from_secs(2))
        };
        Measured { sizes: SIZES.into_iter().map(one).collect(), memory, interrupted: false }
    }

    #[test]
    fn the_verdict_is_that_of_the_slowest_usual_append() {
        for (micros, verdict, says) in [
            (900, Verdict::Good, "Good: 99 of 100 appends of up to 16 KiB take 0.90 ms"),
            (9_990, Verdict::Good, "below 10 ms"),
            (12_000, Verdict::Usable, "Usable: 99 of 100 appends of up to 16 KiB take 12.0 ms"),
            (150_000, Verdict::Poor, "takes 150 ms or longer"),
        ] {
            let measured = measured(micros, false);
            assert_eq!(measured.verdict(), verdict, "{micros}");
            assert!(measured.told().contains(says), "{}", measured.told());
        }
        assert_eq!(measured(5, true).verdict(), Verdict::Memory);
        let nothing = Measured { sizes: Vec::new(), memory: false, interrupted: true };
        assert_eq!(nothing.verdict(), Verdict::Unknown);
    }

    #[test]
    fn the_report_has_a_row_for_each_size() {
        let text = measured(900, false).text(Path::new("/var/lib/leasehold"));
        let expected = "\
/var/lib/leasehold, append and fdatasync

APPEND  SYNCED  P50      P90      P99      P99.9    MAX
150 B   500/s   0.90 ms  0.90 ms  0.90 ms  0.90 ms  0.90 ms
1 KiB   500/s   0.90 ms  0.90 ms  0.90 ms  0.90 ms  0.90 ms
4 KiB   500/s   0.90 ms  0.90 ms  0.90 ms  0.90 ms  0.90 ms
16 KiB  500/s   0.90 ms  0.90 ms  0.90 ms  0.90 ms  0.90 ms
64 KiB  500/s   90.0 ms  90.0 ms  90.0 ms  90.0 ms  90.0 ms

Good: 99 of 100 appends of up to 16 KiB take 0.90 ms at most, below 10 ms. Every ACK waits for one on a majority of the \
nodes, and nobody will notice.
";
        assert_eq!(text, expected);
    }
}
