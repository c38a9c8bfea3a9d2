//! Every fdatasync of every node takes 5 ms longer: strace(1) injects the delay, and a filter keeps it from all other system calls. Threads
//! are delayed independently of each other, as by a disk with a slow flush.

use anyhow::Result;

use super::book::{Book, Figure, Subject};
use super::flags::Flags;
use super::rate::{self, Kind};
use super::say;
use super::subject::Running;
use crate::shell;
use crate::stop::Stop;

/// What a node is started through.
pub const WRAPPER: [&str; 10] = [
    "strace",
    // The tracer is the grandchild, so the process that is started is the node itself.
    "-D",
    "-f",
    "--seccomp-bpf",
    "-qq",
    "-o/dev/null",
    "-e",
    "trace=fdatasync,fsync",
    "-e",
    "inject=fdatasync,fsync:delay_exit=5000",
];

/// Why it cannot be measured here, if it cannot.
pub fn missing() -> Option<&'static str> {
    shell::find("strace").is_none().then_some("strace is not installed: no slow disk.")
}

/// Measures the cluster, whose nodes were started through [`WRAPPER`].
///
/// # Errors
/// When the load cannot be made or a node is gone.
pub fn measure(running: &mut Running, flags: &Flags, stop: &Stop, book: &mut Book) -> Result<()> {
    say("  the clean rate on slow disks");
    let load =
        |running: &mut Running, rate| rate::load(running, rate, flags.seconds, Kind::Exchanges);
    let best = rate::search(running, flags, None, stop, book, load)?;
    book.enter(Figure::SlowDiskRate, Subject::Leader, best.map_or(0.0, |run| run.pace()));
    Ok(())
}
