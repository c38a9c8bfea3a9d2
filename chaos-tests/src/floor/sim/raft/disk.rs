//! The disk under a node's log: what is written becomes durable some time later, and a kill takes the rest.
//!
//! Two faults of the server are planted here, because here they need nothing in the server's code:
//!
//! * *ACK before sync*: the disk says "durable" at once ([`Syncing::Lying`]), which is what a server that does not wait would make of it.
//! * *`apply` without R2 (c)*: each Grant's `held` becomes what the machine will hold when it applies the entry, so that the check always
//!   passes. What a log holds before an entry decides what the machine is then, so this can be done when the entry is appended.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leasehold::state::{State, wire};
use leasehold::storage::memory::{MemoryLog, Syncing};
use leasehold::storage::{Body, Done, Entry, Extent, Log, LogId, Vote};
use tokio::sync::Notify;

use crate::floor::sim::Mutant;
use crate::floor::sim::dice::Dice;
use crate::floor::sim::mutants::rewrite;

/// A disk. It outlives the node on it.
#[derive(Debug)]
pub struct Disk {
    log: MemoryLog,
    /// While a node starts, everything is synced at once: it reads its disk on a thread that simulated time does not know.
    starting: AtomicBool,
    wake: Notify,
    slow_ms: AtomicU64,
    dice: Dice,
    unchecked: Option<Arc<Unchecked>>,
}

impl Disk {
    /// An empty disk. `unchecked` plants the second fault.
    pub fn new(syncing: Syncing, dice: Dice, unchecked: Option<Arc<Unchecked>>) -> Disk {
        let slow_ms = AtomicU64::new(0);
        Disk {
            log: MemoryLog::new(syncing),
            starting: AtomicBool::new(true),
            wake: Notify::new(),
            slow_ms,
            dice,
            unchecked,
        }
    }

    /// Syncs what is written, over and over. Ends when it is dropped: then nothing becomes durable any more.
    pub async fn keep_syncing(self: Arc<Disk>) {
        loop {
            self.wake.notified().await;
            let slow = self.slow_ms.load(SeqCst);
            let takes = match slow {
                0 if self.dice.chance(20) => self.dice.between(10, 60),
                0 => self.dice.between(1, 4),
                _ => self.dice.between(slow / 2, slow),
            };
            tokio::time::sleep(Duration::from_millis(takes)).await;
            self.log.sync();
        }
    }

    /// A sync takes up to so long from now on; 0 is a healthy disk.
    pub fn slow(&self, millis: u64) {
        self.slow_ms.store(millis, SeqCst);
    }

    /// A node begins to read it.
    pub fn starting(&self, starting: bool) {
        self.starting.store(starting, SeqCst);
    }

    /// The node dies: it writes nothing more.
    pub fn fail(&self) {
        self.log.fail();
    }

    /// What was not synced is gone.
    pub fn forget(&self) {
        self.log.crash();
    }

    fn written(&self) {
        if self.starting.load(SeqCst) {
            self.log.sync();
        } else {
            self.wake.notify_one();
        }
    }
}

impl Log for Disk {
    fn extent(&self) -> Extent {
        self.log.extent()
    }

    fn read(&self, from: u64, to: u64, max_bytes: u64) -> io::Result<Vec<Entry>> {
        self.log.read(from, to, max_bytes)
    }

    fn append(&self, entries: Vec<Entry>, done: Done) -> io::Result<()> {
        let entries = match &self.unchecked {
            Some(unchecked) => unchecked.rewrite(self.log.extent().last, entries),
            None => entries,
        };
        self.log.append(entries, done)?;
        self.written();
        Ok(())
    }

    fn save_vote(&self, vote: Vote, done: Done) -> io::Result<()> {
        self.log.save_vote(vote, done)?;
        self.written();
        Ok(())
    }

    fn save_committed(&self, committed: LogId) -> io::Result<()> {
        self.log.save_committed(committed)
    }

    fn truncate(&self, index: u64) -> io::Result<()> {
        self.log.truncate(index)?;
        self.written();
        Ok(())
    }

    fn purge(&self, upto: LogId) -> io::Result<()> {
        self.log.purge(upto)?;
        self.written();
        Ok(())
    }

    fn appended_bytes(&self) -> u64 {
        self.log.appended_bytes()
    }

    fn size(&self) -> u64 {
        self.log.size()
    }

    fn purge_point(&self, keep: u64) -> Option<u64> {
        self.log.purge_point(keep)
    }
}

/// Takes R2 (c) out of every entry. One for all nodes of a run: the id of an entry names everything before it, and so the machine there.
#[derive(Debug, Default)]
pub struct Unchecked {
    machines: Mutex<HashMap<Option<LogId>, State>>,
}

impl Unchecked {
    fn rewrite(&self, mut last: Option<LogId>, entries: Vec<Entry>) -> Vec<Entry> {
        let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        machines.entry(None).or_default();
        let mut rewritten = Vec::with_capacity(entries.len());
        for mut entry in entries {
            if let Some(mut machine) = machines.get(&last).cloned() {
                if let Body::Batch(bytes) = &entry.body
                    && let Ok(batch) = wire::decode_batch(bytes)
                {
                    let batch = rewrite(Mutant::ApplyWithoutR2c, &machine, entry.id.index, batch);
                    machine.apply(entry.id.index, &batch);
                    entry.body = Body::Batch(wire::encode_batch(&batch));
                }
                machines.insert(Some(entry.id), machine);
            }
            last = Some(entry.id);
            rewritten.push(entry);
        }
        rewritten
    }
}
