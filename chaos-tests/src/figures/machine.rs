//! What the header of the table says of the machine and the programs.

use std::path::Path;
use std::process::Command;

use super::flags::Flags;
use super::table::Header;
use crate::kea::server::Kind;
use crate::kea::service;
use crate::{gate, shell};

/// The header of a suite that begins now.
pub fn header(flags: &Flags, kea: Option<&Kind>) -> Header {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let kernel = read("/proc/sys/kernel/osrelease");
    let load: Vec<String> = read("/proc/loadavg").split(' ').take(3).map(str::to_owned).collect();
    let program = gate::binary("leasehold", "LEASEHOLD_BIN").unwrap_or_default();
    Header {
        machine: format!("{processor}, Linux {}", kernel.trim()),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        load: load.join(" "),
        leasehold: said(Command::new(&program).arg("--version")),
        commit: commit(),
        kea: kea.map(service::version),
        sockets: flags.sockets.word().to_owned(),
        seconds: flags.seconds,
        rounds: flags.rounds,
        when: said(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])),
    }
}

/// The commit of the source tree; the programs are those that were built, which may be older.
fn commit() -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    said(Command::new("git").arg("-C").arg(source).args([
        "describe",
        "--always",
        "--dirty",
        "--abbrev=10",
    ]))
}

/// The first line that a command prints.
fn said(command: &mut Command) -> String {
    let printed = shell::run(command).unwrap_or_default();
    printed.lines().next().unwrap_or("unknown").trim().to_owned()
}
