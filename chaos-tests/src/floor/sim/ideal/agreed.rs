//! The agreed log: what every node will apply, in this order and no other.
//!
//! It stands for Raft without being Raft: there are terms and leaders, a leader has a tail that is not agreed yet, and whoever comes
//! after him may or may not have some of it. What was agreed is never taken back.

use bytes::Bytes;
use leasehold::types::ClusterTime;

/// An entry.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Who stamped it.
    pub leader: u64,
    /// The batch; `None` for the first entry of a term.
    pub batch: Option<Bytes>,
}

/// The log. Entries are counted from 1.
#[derive(Debug, Default)]
pub struct Agreed {
    entries: Vec<Entry>,
    /// The newest term: who leads in it, and in which of its lives.
    pub term: u64,
    pub leader: Option<(u64, u64)>,
    /// Who was the last to bring an entry of his own term to agreement, and that term.
    pub began: Option<(u64, u64)>,
    /// What he had stamped besides, as long as nobody else's entries took its place: his own log has it, and others may have a part.
    pub orphans: Vec<Entry>,
    stamp: ClusterTime,
}

impl Agreed {
    /// The index of the last entry.
    pub fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The entry at `index`.
    pub fn get(&self, index: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(index.checked_sub(1)?).ok()?)
    }

    /// Whether the stamp of the next entry is before that of the last (R10), in words.
    pub fn falls(&mut self, next: Option<ClusterTime>) -> Option<String> {
        let last = self.stamp;
        self.stamp = next.unwrap_or(last).max(last);
        let next = next.filter(|next| *next < last)?;
        let index = self.last() + 1;
        Some(format!(
            "entry {index} is stamped {} ms, and the one before {} ms",
            next.as_millis(),
            last.as_millis()
        ))
    }

    /// Agrees on one more; its index.
    pub fn push(&mut self, entry: Entry) -> u64 {
        self.entries.push(entry);
        self.last()
    }

    /// Loses the last entries: what must never happen.
    pub fn forget(&mut self, count: u64) {
        let kept = self.last().saturating_sub(count);
        self.entries.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
    }

    /// A term begins.
    pub fn crown(&mut self, node: u64, life: u64) -> u64 {
        self.term += 1;
        self.leader = Some((node, life));
        self.term
    }

    /// Whether this is the leader of the newest term.
    pub fn is_newest(&self, node: u64, life: u64, term: u64) -> bool {
        self.term == term && self.leader == Some((node, life))
    }
}
