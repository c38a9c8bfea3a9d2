//! The way into a test that needs root, network namespaces or a tool: [`enter`].
//!
//! A test that cannot run here prints why and returns. Under `LEASEHOLD_REQUIRE_ROOT_TESTS=1`, which CI sets, that is a failure.
//! Tests that got in hold one lock, so they run one after the other even under plain `cargo test`: they measure time and
//! share two cores.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::floor::netns::{cleanup, sys};
use crate::shell;

/// Where the lock is.
const LOCK_FILE: &str = "/tmp/leasehold-chaos.lock";

/// What is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Our binaries.
    Leasehold,
    /// `SUBJECT=kea`: one Kea server in place of a cluster, to see what of a test is about us.
    Kea,
}

/// The subject that the environment asks for.
pub fn subject() -> Subject {
    match std::env::var("SUBJECT").as_deref() {
        Ok("kea") => Subject::Kea,
        _ => Subject::Leasehold,
    }
}

/// Held while a test runs: as long as there is a copy of it.
#[derive(Debug, Clone)]
pub struct Gate {
    /// Name of the test, for directories and messages.
    pub test: String,
    _lock: Arc<File>,
}

/// Enters test `test`, which needs root, namespaces, `nft` and the programs `tools`.
///
/// None: it was skipped, and said why.
///
/// # Errors
/// When the lock cannot be taken.
///
/// # Panics
/// When it would be skipped although `LEASEHOLD_REQUIRE_ROOT_TESTS=1`.
pub fn enter(test: &str, tools: &[&str]) -> Result<Option<Gate>> {
    if let Some(reason) = missing(tools) {
        skip(test, &reason);
        return Ok(None);
    }
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(LOCK_FILE)
        .context(LOCK_FILE)?;
    // A test that was killed keeps the lock as long as it waits for a disk that it left standing still.
    cleanup::sweep_mounts();
    lock.lock().context(LOCK_FILE)?;
    cleanup::sweep();
    Ok(Some(Gate { test: test.to_owned(), _lock: Arc::new(lock) }))
}

/// As [`enter`], for a test that means nothing without a cluster of our own.
///
/// # Errors
/// As [`enter`].
pub fn enter_cluster(test: &str, tools: &[&str]) -> Result<Option<Gate>> {
    if subject() == Subject::Kea {
        println!("SKIPPED {test}: SUBJECT=kea has no cluster");
        return Ok(None);
    }
    enter(test, tools)
}

fn missing(tools: &[&str]) -> Option<String> {
    if !sys::is_root() {
        return Some("it needs root, for network namespaces".to_owned());
    }
    for tool in ["ip", "nft"].iter().chain(tools) {
        if shell::find(tool).is_none() {
            return Some(format!("the program {tool} is not installed"));
        }
    }
    cleanup::namespaces_work()
        .err()
        .map(|error| format!("network namespaces do not work here: {error:#}"))
}

/// Says that a test does not run, and why.
///
/// # Panics
/// When `LEASEHOLD_REQUIRE_ROOT_TESTS=1` forbids it.
pub fn skip(test: &str, reason: &str) {
    println!("SKIPPED {test}: {reason}");
    assert!(
        std::env::var("LEASEHOLD_REQUIRE_ROOT_TESTS").as_deref() != Ok("1"),
        "{test} was skipped ({reason}), and LEASEHOLD_REQUIRE_ROOT_TESTS=1 forbids that"
    );
}

/// The binary `name`: the file in the environment variable `variable`, else the one beside the test executable.
///
/// # Errors
/// When it is not there; the message says how to build it.
pub fn binary(name: &str, variable: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        let path = PathBuf::from(path);
        anyhow::ensure!(path.is_file(), "{variable}={} is not a file", path.display());
        return Ok(path);
    }
    // target/debug/chaos, or a test in target/debug/deps → target/debug/leasehold
    let own = std::env::current_exe().context("the path of this program")?;
    let dirs = own.ancestors().skip(1).take(2);
    let beside = dirs.map(|dir| dir.join(name)).find(|path| path.is_file());
    match beside {
        Some(path) => Ok(path),
        None => anyhow::bail!(
            "the program {name} is not built: run `cargo build --workspace` (`cargo test --workspace` does it), or name it in {variable}"
        ),
    }
}
