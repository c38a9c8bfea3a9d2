//! The boundary of the Raft log: what a log must promise, in words of our own.
//!
//! Two implementations stand behind it: [`super::DiskLog`] on files, and [`super::memory`], a log
//! that can forget what was not synced, for tests. A seeded simulation puts its disk here.
//!
//! The promises, which `raft::log_store` rests on:
//!
//! 1. **One order.** Votes, entries, truncations and purges reach the disk in the order of the
//!    calls. A vote can never overtake an entry.
//! 2. **Readable on return.** What a call wrote, the next read sees, synced or not.
//! 3. **Done means durable.** A [`Done`] is called once, with `Ok` only after an fdatasync that
//!    covers the write and everything before it. Dropping it unanswered means the process died.
//! 4. **No gaps.** Entries are consecutive; the first one follows what was purged.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use leasehold_proto::raft as proto;

use super::watch::DiskWatch;

/// The position of an entry: the leader that appended it, then the index. The order is Raft's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// The leader's term.
    pub term: u64,
    /// The leader.
    pub node: u64,
    /// The place in the log; the first entry has 0.
    pub index: u64,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "T{}-N{}-{}", self.term, self.node, self.index)
    }
}

impl From<LogId> for proto::LogId {
    fn from(id: LogId) -> proto::LogId {
        proto::LogId { term: id.term, node: id.node, index: id.index }
    }
}

impl From<proto::LogId> for LogId {
    fn from(id: proto::LogId) -> LogId {
        LogId { term: id.term, node: id.node, index: id.index }
    }
}

/// Where a copy of the machine stands: what snapshots and checkpoints begin with.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Base {
    /// The last entry that was applied.
    pub applied: Option<LogId>,
    /// The membership at that entry.
    pub membership: proto::StoredMembership,
}

/// Whom this node follows or has voted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vote {
    /// The term.
    pub term: u64,
    /// The candidate or leader.
    pub node: u64,
    /// Whether a quorum granted it.
    pub committed: bool,
}

/// What an entry carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Nothing: a new leader's first entry.
    Blank,
    /// An encoded batch of commands.
    Batch(Bytes),
    /// An encoded membership.
    Membership(Bytes),
}

impl Body {
    /// Bytes carried.
    pub fn len(&self) -> usize {
        match self {
            Body::Blank => 0,
            Body::Batch(bytes) | Body::Membership(bytes) => bytes.len(),
        }
    }

    /// Whether it carries nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One log entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub id: LogId,
    /// What.
    pub body: Body,
}

/// Where the log begins and ends. The entries at hand are those in `(purged, last]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    /// The last vote.
    pub vote: Option<Vote>,
    /// The last entry that was dropped because a snapshot holds it.
    pub purged: Option<LogId>,
    /// The last entry; equal to `purged` when there is none at hand.
    pub last: Option<LogId>,
    /// What was known to be committed, some time ago.
    pub committed: Option<LogId>,
}

/// Told once when a write is durable, or has failed.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send + 'static>;

/// A Raft log. See the promises above.
pub trait Log: fmt::Debug + Send + Sync + 'static {
    /// Where it begins and ends.
    fn extent(&self) -> Extent;

    /// The entries at hand with `from <= index < to`, in order, at most `max_bytes` of them but at
    /// least one if there is one.
    ///
    /// # Errors
    /// When the disk cannot be read.
    fn read(&self, from: u64, to: u64, max_bytes: u64) -> io::Result<Vec<Entry>>;

    /// Appends `entries`, which must follow the last one.
    ///
    /// # Errors
    /// When they do not follow, or the log has failed. `done` is dropped then.
    fn append(&self, entries: Vec<Entry>, done: Done) -> io::Result<()>;

    /// Records a vote.
    ///
    /// # Errors
    /// When it is lower than the one at hand, or the log has failed. `done` is dropped then.
    fn save_vote(&self, vote: Vote, done: Done) -> io::Result<()>;

    /// Notes what is committed. Nobody waits for it, and a crash may lose it.
    ///
    /// # Errors
    /// When the log has failed.
    fn save_committed(&self, committed: LogId) -> io::Result<()>;

    /// Drops the entries at `index` and above.
    ///
    /// # Errors
    /// When that would drop committed entries, or the log has failed.
    fn truncate(&self, index: u64) -> io::Result<()>;

    /// Drops the entries up to and including `upto`, which may lie beyond the last.
    ///
    /// # Errors
    /// When the log has failed.
    fn purge(&self, upto: LogId) -> io::Result<()>;

    /// Bytes appended since the log was opened.
    fn appended_bytes(&self) -> u64;

    /// Bytes on disk.
    fn size(&self) -> u64;

    /// The highest index that may be purged so that at least `keep` bytes remain.
    fn purge_point(&self, keep: u64) -> Option<u64>;

    /// What is known of the disk, if it is one. While it is full, writes wait.
    fn watch(&self) -> Option<&Arc<DiskWatch>> {
        None
    }
}

/// Moves a log up to `base`, the position of a checkpoint or snapshot that is already on disk
/// (rule R19): entries that contradict it and a log that ends below it make way. What lies above
/// it and agrees stays.
///
/// # Errors
/// When the log cannot be written.
pub fn move_up(log: &dyn Log, base: LogId) -> io::Result<()> {
    let extent = log.extent();
    if extent.purged >= Some(base) {
        return Ok(());
    }
    let next = base.index + 1;
    let at_base = log.read(base.index, next, u64::MAX)?.first().map(|entry| entry.id);
    if at_base == Some(base) {
        return Ok(());
    }
    // Either there is no entry at that place, or another leader's that was never committed.
    // Whatever follows it was not either.
    if at_base.is_some() {
        log.truncate(base.index)?;
    }
    let (sent, received) = std::sync::mpsc::sync_channel(1);
    log.purge(base)?;
    // An empty append carries the purge to the disk before anything rests on it.
    log.append(Vec::new(), Box::new(move |result| drop(sent.send(result))))?;
    received.recv().map_err(|_| io::Error::other("the log's writer is gone"))?
}
