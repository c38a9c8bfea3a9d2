//! Feature levels: what every node of a running cluster understands (R24).
//!
//! A level is held in the state, so that all nodes change their behaviour at the same entry. To add
//! a command, or to change what `apply` does with one that exists:
//!
//! 1. add a row to [`LEVELS`], and say in it what the level brings;
//! 2. give a new command a new number in `command.proto`; numbers are never used again;
//! 3. in `apply`, keep the old behaviour below the new level: recorded logs are replayed in CI and
//!    must come to their recorded digests;
//! 4. name the row in [`super::Command::level`]: below it the command is turned away before it leaves
//!    the node (`propose`), and once more before the log (`raft`);
//! 5. the operator raises the level, once every member runs a program that knows it; the leader of a new
//!    cluster does so before anything is in it (`serve/levels.rs`).
//!
//! What the parser of configurations accepts, and what it makes of it, is part of `apply`. A document
//! names the level it was validated with; the machine refuses one above its own level, and a node
//! whose parser refuses a document that the machine accepted must stop ([`super::prepare`]). So a
//! keyword that a level brings is refused by whoever proposes while the machine is below that level.

use std::sync::OnceLock;

/// What each level brought, from level 1.
pub const LEVELS: &[&str] = &["the commands of the first release", "tokens, nodes let in, policy"];

/// The level that every cluster begins with: a machine before its first entry must be the same
/// whichever program makes it.
pub const FIRST: u32 = 1;

/// The highest level that this program understands.
pub const CURRENT: u32 = LEVELS.len() as u32;

/// The highest level that this process goes by: [`CURRENT`], unless it pretends.
pub fn known() -> u32 {
    PRETENDED.get().copied().unwrap_or(CURRENT)
}

/// Has this process be an older program, as far as feature levels go: for tests of upgrades. What it
/// tells, proposes and can read ends at `level`. The first word counts.
pub fn pretend(level: u32) {
    let _ = PRETENDED.set(level.clamp(FIRST, CURRENT));
}

static PRETENDED: OnceLock<u32> = OnceLock::new();
