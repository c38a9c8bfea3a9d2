//! A log in memory that forgets what was not synced, when it is told to: the disk of tests and of
//! the seeded simulation.
//!
//! It keeps two images, what a reader sees and what the platters hold. A write changes the first
//! at once; a sync carries it over to the second and answers those who wait. [`MemoryLog::crash`]
//! drops the difference, as a power cut does.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use imbl::OrdMap;
use parking_lot::Mutex;

use super::log::{Done, Entry, Extent, Log, LogId, Vote};
use super::watch::{By, DiskWatch};

/// When writes become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syncing {
    /// At once: a perfect disk.
    Immediate,
    /// When [`MemoryLog::sync`] is called; those who wait are answered then.
    OnDemand,
    /// When [`MemoryLog::sync`] is called, but everybody is told "durable" at once: a disk that
    /// lies, or a server that answers before the sync. A test that cannot catch this proves nothing.
    Lying,
}

/// A log in memory.
pub struct MemoryLog {
    inner: Mutex<Inner>,
    watch: Arc<DiskWatch>,
}

struct Inner {
    syncing: Syncing,
    seen: Image,
    durable: Image,
    waiting: Vec<Done>,
    appended: u64,
    fail: bool,
}

#[derive(Debug, Default, Clone)]
struct Image {
    extent: Extent,
    entries: OrdMap<u64, Entry>,
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLog").field("extent", &self.extent()).finish_non_exhaustive()
    }
}

impl Default for MemoryLog {
    fn default() -> Self {
        MemoryLog::new(Syncing::Immediate)
    }
}

impl MemoryLog {
    /// An empty log.
    pub fn new(syncing: Syncing) -> MemoryLog {
        MemoryLog {
            inner: Mutex::new(Inner {
                syncing,
                seen: Image::default(),
                durable: Image::default(),
                waiting: Vec::new(),
                appended: 0,
                fail: false,
            }),
            watch: DiskWatch::new(Path::new("/"), None),
        }
    }

    /// The disk fills, or has room again.
    pub fn fill(&self, full: bool) {
        self.watch.set_full(full);
    }

    /// Carries everything over to the platters and answers those who wait. Answers how many.
    pub fn sync(&self) -> usize {
        let waiting = {
            let mut inner = self.inner.lock();
            inner.durable = inner.seen.clone();
            self.watch.ends(By::Writer);
            std::mem::take(&mut inner.waiting)
        };
        // Outside the lock: a completion may call the log.
        let count = waiting.len();
        for done in waiting {
            done(Ok(()));
        }
        count
    }

    /// The power goes: what was not synced is gone, and nobody who waits will ever be answered.
    pub fn crash(&self) {
        let mut inner = self.inner.lock();
        inner.seen = inner.durable.clone();
        inner.waiting.clear();
        self.watch.ends(By::Writer);
        inner.fail = false;
    }

    /// From now on every write fails, as a dying disk does; [`MemoryLog::crash`] ends it.
    pub fn fail(&self) {
        self.inner.lock().fail = true;
    }

    /// How many wait for a sync.
    pub fn waiting(&self) -> usize {
        self.inner.lock().waiting.len()
    }

    fn put(
        &self,
        write: impl FnOnce(&mut Inner) -> io::Result<()>,
        done: Option<Done>,
    ) -> io::Result<()> {
        let answer = {
            let mut inner = self.inner.lock();
            if inner.fail {
                return Err(io::Error::other("the disk has failed"));
            }
            write(&mut inner)?;
            match inner.syncing {
                Syncing::Immediate => {
                    inner.durable = inner.seen.clone();
                    done
                }
                Syncing::Lying => done,
                Syncing::OnDemand => {
                    if inner.waiting.is_empty() && done.is_some() {
                        self.watch.begins(By::Writer);
                    }
                    inner.waiting.extend(done);
                    None
                }
            }
        };
        if let Some(done) = answer {
            done(Ok(()));
        }
        Ok(())
    }
}

fn refuse(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.to_string())
}

impl Log for MemoryLog {
    fn extent(&self) -> Extent {
        self.inner.lock().seen.extent
    }

    fn read(&self, from: u64, to: u64, max_bytes: u64) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        if from >= to {
            return Ok(entries);
        }
        let mut bytes = 0;
        for entry in self.inner.lock().seen.entries.range(from..to).map(|(_, entry)| entry) {
            bytes += entry.body.len() as u64;
            if bytes > max_bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }

    fn append(&self, entries: Vec<Entry>, done: Done) -> io::Result<()> {
        self.put(
            |inner| {
                for entry in entries {
                    if let Some(last) = inner.seen.extent.last
                        && (entry.id <= last || entry.id.index != last.index + 1)
                    {
                        return Err(refuse("the entry does not follow the last one"));
                    }
                    inner.appended += entry.body.len() as u64 + 80;
                    inner.seen.extent.last = Some(entry.id);
                    inner.seen.entries.insert(entry.id.index, entry);
                }
                Ok(())
            },
            Some(done),
        )
    }

    fn save_vote(&self, vote: Vote, done: Done) -> io::Result<()> {
        self.put(
            |inner| {
                if inner.seen.extent.vote > Some(vote) {
                    return Err(refuse("the vote is lower than the one at hand"));
                }
                inner.seen.extent.vote = Some(vote);
                Ok(())
            },
            Some(done),
        )
    }

    fn save_committed(&self, committed: LogId) -> io::Result<()> {
        self.put(
            |inner| {
                let extent = &mut inner.seen.extent;
                if extent.committed < Some(committed) && extent.last >= Some(committed) {
                    extent.committed = Some(committed);
                }
                Ok(())
            },
            None,
        )
    }

    fn truncate(&self, index: u64) -> io::Result<()> {
        self.put(
            |inner| {
                let extent = &mut inner.seen.extent;
                if extent.committed.is_some_and(|committed| committed.index >= index) {
                    return Err(refuse("a committed entry would be dropped"));
                }
                let keep = inner.seen.entries.range(..index);
                inner.seen.entries = keep.map(|(at, entry)| (*at, entry.clone())).collect();
                let last = inner.seen.entries.get_max().map(|(_, entry)| entry.id);
                extent.last = last.or(extent.purged);
                Ok(())
            },
            None,
        )
    }

    fn purge(&self, upto: LogId) -> io::Result<()> {
        self.put(
            |inner| {
                let extent = &mut inner.seen.extent;
                if extent.purged.is_some_and(|purged| purged.index >= upto.index) {
                    return Ok(());
                }
                let keep = inner.seen.entries.range(upto.index + 1..);
                inner.seen.entries = keep.map(|(at, entry)| (*at, entry.clone())).collect();
                extent.purged = Some(upto);
                extent.last = extent.last.max(Some(upto));
                Ok(())
            },
            None,
        )
    }

    fn appended_bytes(&self) -> u64 {
        self.inner.lock().appended
    }

    fn size(&self) -> u64 {
        self.inner.lock().seen.entries.values().map(|entry| entry.body.len() as u64 + 80).sum()
    }

    fn purge_point(&self, keep: u64) -> Option<u64> {
        let inner = self.inner.lock();
        let mut behind = 0;
        for (index, entry) in inner.seen.entries.iter().rev() {
            if behind >= keep {
                return Some(*index);
            }
            behind += entry.body.len() as u64 + 80;
        }
        None
    }

    fn watch(&self) -> Option<&Arc<DiskWatch>> {
        Some(&self.watch)
    }
}
