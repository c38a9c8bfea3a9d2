//! What is on disk: identity, log, snapshots, checkpoint.
//!
//! | Path in the data directory | Written by | Lost when |
//! |---|---|---|
//! | `identity` | [`IdentityFile`], whole and durable | never |
//! | `log/` | [`DiskLog`], one fdatasync a group | a torn tail that was never acknowledged (R20) |
//! | `snapshots/` | [`Snapshots`], whole and durable, two kept | never, once it has its name |
//! | `checkpoint/` | [`Checkpoint`], on sled | at any time; it is rebuilt |
//! | `history/` | [`crate::history`] | at any time; the gap is told |
//!
//! Nothing here knows what a lease is, nor openraft: records are bytes, and the log has words of
//! its own ([`Log`]), so that a simulation can put another disk under it ([`memory`]).

mod checkpoint;
mod codec;
mod disk;
mod files;
mod identity;
mod log;
pub mod memory;
mod repair;
mod room;
mod snapshots;
#[cfg(test)]
mod tests;
mod watch;

use std::io;
use std::path::Path;

pub use checkpoint::{After, Change, Checkpoint, Loaded, Record, Remains};
pub use disk::{DISK_FAILED, DiskLog, LogSettings, OnFault, OpenError, exit_on_fault};
pub use files::{Draft, FramedReader, FramedWriter, remove_drafts, sync_dir};
pub use identity::{Identity, IdentityFile, RosterNode, Seat, draw, mark_removed, marked_removed};
pub use log::{Base, Body, Done, Entry, Extent, Log, LogId, Vote, move_up};
pub use repair::{REJOIN, RepairError, Verdict, judge};
pub use snapshots::{SnapshotFile, Snapshots};
pub use watch::{By, DiskFacts, DiskWatch, Room, SLOW, STALL, is_full};

/// sled's cache (rule R21), bytes.
pub const CHECKPOINT_CACHE: u64 = 16 << 20;

/// Makes the data directory if it is not there, and clears what an earlier process left half done.
///
/// # Errors
/// The system's.
pub fn prepare(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    files::remove_drafts(dir)?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        files::sync_dir(parent)?;
    }
    Ok(())
}
