//! The disk under a node's log: what is written becomes durable some time later, and a kill takes the rest.
//!
//! Four faults of the server are planted here, because here they need nothing in the server's code:
//!
//! * *ACK before sync*: the disk says "durable" at once ([`Syncing::Lying`]), which is what a server that does not wait would make of it.
//! * *vote not synced*: the same for votes alone, which become durable with the next entries.
//! * *tail not truncated*: what the log has at an index stays, whatever comes for that index later.
//! * *`apply` without R2 (c)*: each Grant's `held` becomes what the machine will hold when it applies the entry, so that the check always
//!   passes. What a log holds before an entry decides what the machine is then, so this can be done when the entry is appended.
//!
//! A disk outlives its node, and so it can tell what a node that forgot something does: it remembers what was said of votes ([`Ballot`]).

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    me: u64,
    log: MemoryLog,
    /// While a node starts, everything is synced at once: it reads its disk on a thread that simulated time does not know.
    starting: AtomicBool,
    wake: Notify,
    slow_ms: AtomicU64,
    dice: Dice,
    mutant: Option<Mutant>,
    unchecked: Option<Arc<Unchecked>>,
    ballot: Arc<Mutex<Ballot>>,
}

/// What a disk has seen of its node's votes.
#[derive(Debug, Default)]
pub struct Ballot {
    /// The highest that the node was told to be durable, in whatever life.
    told: Option<Vote>,
    /// The last candidacy of its own.
    pub stood: Option<Vote>,
    /// A vote that is below one that was durable, and that one.
    pub relapse: Option<(Vote, Vote)>,
}

impl Ballot {
    fn asked(&mut self, me: u64, vote: Vote) {
        if vote.node == me && !vote.committed {
            self.stood = Some(vote);
        }
        if let Some(told) = self.told.filter(|told| vote < *told) {
            self.relapse.get_or_insert((vote, told));
        }
    }
}

impl Disk {
    /// The empty disk of node `me`, with that fault. `unchecked` is the one without R2 (c).
    pub fn new(
        me: u64,
        mutant: Option<Mutant>,
        dice: Dice,
        unchecked: Option<Arc<Unchecked>>,
    ) -> Disk {
        let syncing = match mutant {
            Some(Mutant::AckBeforeSync) => Syncing::Lying,
            _ => Syncing::OnDemand,
        };
        Disk {
            me,
            log: MemoryLog::new(syncing),
            starting: AtomicBool::new(true),
            wake: Notify::new(),
            slow_ms: AtomicU64::new(0),
            dice,
            mutant,
            unchecked,
            ballot: Arc::default(),
        }
    }

    /// What was seen of votes since it was last asked.
    pub fn take_ballot(&self) -> Ballot {
        let mut ballot = lock(&self.ballot);
        let told = ballot.told;
        std::mem::replace(&mut *ballot, Ballot { told, ..Ballot::default() })
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
        let last = self.log.extent().last;
        let mut entries = match &self.unchecked {
            Some(unchecked) => unchecked.rewrite(last, entries),
            None => entries,
        };
        if self.mutant == Some(Mutant::TailNotTruncated) {
            entries.retain(|entry| last.is_none_or(|last| entry.id.index > last.index));
        }
        self.log.append(entries, done)?;
        self.written();
        Ok(())
    }

    fn save_vote(&self, vote: Vote, done: Done) -> io::Result<()> {
        lock(&self.ballot).asked(self.me, vote);
        let ballot = self.ballot.clone();
        let done: Done = Box::new(move |result| {
            if result.is_ok() {
                let told = &mut lock(&ballot).told;
                *told = (*told).max(Some(vote));
            }
            done(result);
        });
        if self.mutant == Some(Mutant::VoteNotSynced) {
            self.log.save_vote(vote, Box::new(|_| {}))?;
            done(Ok(()));
            return Ok(());
        }
        self.log.save_vote(vote, done)?;
        self.written();
        Ok(())
    }

    fn save_committed(&self, committed: LogId) -> io::Result<()> {
        self.log.save_committed(committed)
    }

    fn truncate(&self, index: u64) -> io::Result<()> {
        if self.mutant == Some(Mutant::TailNotTruncated) {
            return Ok(());
        }
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

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes R2 (c) out of every entry. One for all nodes of a run: the id of an entry names everything before it, and so the machine there.
#[derive(Debug, Default)]
pub struct Unchecked {
    machines: Mutex<HashMap<Option<LogId>, State>>,
}

impl Unchecked {
    fn rewrite(&self, mut last: Option<LogId>, entries: Vec<Entry>) -> Vec<Entry> {
        let mut machines = lock(&self.machines);
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
