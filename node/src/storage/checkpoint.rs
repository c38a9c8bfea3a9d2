//! The checkpoint on sled: the whole machine at one index, for a fast start (rules R19, R21).
//!
//! It is never the only copy: the log is purged only up to what a snapshot file holds, so the
//! checkpoint may be deleted at any time. That is also what happens to one that does not open, or
//! is less than whole.
//!
//! Records are the machine's own, key to value. Each write is one atomic batch of what changed and
//! the header, then sled's `flush()`, which does not reach the platters on Linux (sled issue 1452),
//! then fdatasync on sled's file: [`Checkpoint::make_durable`] is the only way to sync sled.
//!
//! One batch of very many records would take gigabytes of memory. A write of more than [`AT_ONCE`] takes
//! the header away, durably, and goes in several batches, of which the last one brings the new header: a
//! crash in between leaves a checkpoint without a header, which is less than whole. Nor are all records
//! ever read into memory.

use std::fs::{self, File, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use leasehold_proto::raft as proto;
use prost::Message;
use xxhash_rust::xxh3::Xxh3;

use super::files::sync_dir;
use super::log::Base;

/// Sorts before every record.
const HEADER: &[u8] = b"H";
/// What the key of every record begins with.
const RECORD: u8 = b'R';
const VERSION: u8 = 2;

/// The most records in one batch. sled keeps a copy of a page for each of them until the batch is done, some
/// 5 KB.
const AT_ONCE: usize = 4_096;

/// A change of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Write it: key and value.
    Put(Vec<u8>, Vec<u8>),
    /// Remove it: its key.
    Remove(Vec<u8>),
}

/// What the checkpoint is to be after a write.
#[derive(Debug, Clone, Copy)]
pub struct After {
    /// The machine's own hash at that point.
    pub state_hash: u64,
    /// Whether everything before is to be forgotten: the changes are the whole machine.
    pub whole: bool,
}

/// A checkpoint to be read.
#[derive(Debug)]
pub struct Loaded<'a> {
    /// Where it stands.
    pub base: Base,
    /// The machine's own hash at that point; whoever rebuilds the machine compares.
    pub state_hash: u64,
    db: &'a sled::Db,
}

/// A record as it was read.
#[derive(Debug)]
pub struct Record {
    key: sled::IVec,
    stored: sled::IVec,
}

impl Record {
    /// Whether it is what was written is looked at here.
    fn of(stored: sled::Result<(sled::IVec, sled::IVec)>) -> io::Result<Record> {
        let (key, stored) = stored.map_err(broken)?;
        let record = Record { key, stored };
        let Some((hash, value)) = record.stored.split_at_checked(8) else {
            return Err(broken("a short record"));
        };
        if hash != record_hash(record.key(), value) {
            return Err(broken("a record does not match its checksum"));
        }
        Ok(record)
    }

    /// Its key.
    pub fn key(&self) -> &[u8] {
        &self.key[1..]
    }

    /// Its value.
    pub fn value(&self) -> &[u8] {
        &self.stored[8..]
    }
}

impl Loaded<'_> {
    /// The records whose keys begin with `kind`, in the order of their keys.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn of_kind(&self, kind: u8) -> io::Result<Scan> {
        Scan::start(self.db.clone(), [RECORD, kind])
    }

    /// All others, in the order of their keys.
    pub fn but_kind(&self, kind: u8) -> impl Iterator<Item = io::Result<Record>> {
        let before = self.db.range([RECORD].as_slice()..[RECORD, kind].as_slice());
        let behind = self.db.range([RECORD, kind + 1].as_slice()..);
        before.chain(behind).map(Record::of)
    }
}

/// Records, read ahead on a thread of their own.
///
/// For each of them sled makes and frees pages many times its size. The C library's allocator has memory of its
/// own for each thread; were this the one that makes leases of the records, what sled frees would lie between the
/// leases, and stay.
#[derive(Debug)]
pub struct Scan {
    batch: std::vec::IntoIter<io::Result<Record>>,
    batches: Option<Receiver<Vec<io::Result<Record>>>>,
    thread: Option<JoinHandle<()>>,
}

impl Scan {
    /// Records in a batch, and batches ahead: usually less than a megabyte.
    const BATCH: usize = 64;
    const AHEAD: usize = 4;

    fn start(db: sled::Db, prefix: [u8; 2]) -> io::Result<Scan> {
        let (batches, receiver) = sync_channel(Scan::AHEAD);
        let thread = on_a_thread(move || {
            let mut records = db.scan_prefix(prefix).map(Record::of);
            loop {
                let batch: Vec<_> = records.by_ref().take(Scan::BATCH).collect();
                // Nobody waits for it any more if it cannot be sent.
                if batch.is_empty() || batches.send(batch).is_err() {
                    return;
                }
            }
        })?;
        Ok(Scan { batch: Vec::new().into_iter(), batches: Some(receiver), thread: Some(thread) })
    }

    /// Waits until the thread has ended, and with it its handle of sled; whether it ended well.
    fn end(&mut self) -> io::Result<()> {
        self.batches = None;
        let ended = self.thread.take().map_or(Ok(()), JoinHandle::join);
        ended.map_err(|_| broken("sled panicked"))
    }
}

impl Iterator for Scan {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<io::Result<Record>> {
        if self.batch.as_slice().is_empty() {
            match self.batches.as_ref()?.recv() {
                Ok(batch) => self.batch = batch.into_iter(),
                Err(_) => return self.end().err().map(Err),
            }
        }
        self.batch.next()
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        // Who did not read to the end has found something worse.
        let _ = self.end();
    }
}

fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name("checkpoint-read".into()).spawn(work)
}

/// The checkpoint store.
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    cache_bytes: u64,
    at_once: usize,
    db: sled::Db,
}

fn broken(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("the checkpoint: {error}"))
}

/// sled can panic on a file that it does not understand.
fn guarded<T>(work: impl FnOnce() -> Result<T, io::Error>) -> io::Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(_) => Err(broken("sled panicked")),
    }
}

/// Waits until nobody holds the checkpoint in `dir`.
///
/// sled locks its file, and gives up at once when it is locked. A thread of sled's pool may hold it
/// a moment longer than the last handle lives, because it reports what it has written before it
/// lets go of what it wrote with. Such a checkpoint is well, and must not pass for one that does not
/// open. Other processes keep away from the data directory by a lock of its own.
fn wait_until_closed(dir: &Path) -> io::Result<()> {
    // What is wrong with a file that does not open, sled will say.
    let Ok(file) = File::options().read(true).write(true).open(dir.join("db")) else {
        return Ok(());
    };
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        tracing::info!(path = %dir.display(), "waiting for the checkpoint to be closed");
        file.lock()?;
    }
    Ok(())
}

impl Checkpoint {
    /// Opens the checkpoint in `dir` and has it read by `read`. One that does not open, is less than
    /// whole, or that `read` finds damaged, is deleted and made anew, empty. One that this process is
    /// still closing is waited for.
    ///
    /// # Errors
    /// When not even an empty one can be made.
    pub fn open<T>(
        dir: &Path,
        cache_bytes: u64,
        read: impl FnOnce(Loaded<'_>) -> io::Result<T>,
    ) -> io::Result<(Checkpoint, Option<T>)> {
        wait_until_closed(dir)?;
        let first = guarded(|| {
            let checkpoint = Checkpoint::open_as_is(dir, cache_bytes)?;
            let read = checkpoint.load()?.map(read).transpose()?;
            Ok((checkpoint, read))
        });
        match first {
            Ok(found) => Ok(found),
            Err(error) => {
                tracing::warn!(path = %dir.display(), %error, "the checkpoint is not usable and is made anew");
                fs::remove_dir_all(dir)?;
                Ok((guarded(|| Checkpoint::open_as_is(dir, cache_bytes))?, None))
            }
        }
    }

    fn open_as_is(dir: &Path, cache_bytes: u64) -> io::Result<Checkpoint> {
        let config = sled::Config::new().path(dir).cache_capacity(cache_bytes).flush_every_ms(None);
        // For the reason that a scan has.
        let opened = on_a_thread(move || config.open())?.join();
        let db = opened.map_err(|_| broken("sled panicked"))?.map_err(broken)?;
        sync_dir(dir)?;
        if let Some(parent) = dir.parent() {
            sync_dir(parent)?;
        }
        Ok(Checkpoint { dir: dir.to_path_buf(), cache_bytes, at_once: AT_ONCE, db })
    }

    fn load(&self) -> io::Result<Option<Loaded<'_>>> {
        let Some(header) = self.db.get(HEADER).map_err(broken)? else {
            if self.db.is_empty() {
                return Ok(None);
            }
            return Err(broken("records without a header"));
        };
        let Header { base, state_hash } = Header::decode(&header)?;
        Ok(Some(Loaded { base, state_hash, db: &self.db }))
    }

    /// Writes what changed and where the machine stands then, durably. Blocks for as long as that
    /// takes. After an error the checkpoint is what it was before, or must be rewritten whole.
    ///
    /// # Errors
    /// sled's and the system's.
    pub fn write(
        &mut self,
        base: &Base,
        after: After,
        changes: impl Iterator<Item = Change>,
    ) -> io::Result<()> {
        guarded(|| {
            let mut step =
                Step { checkpoint: self, batch: sled::Batch::default(), size: 0, first: true };
            if after.whole {
                for key in self.db.iter().keys() {
                    step.put(key.map_err(broken)?, None)?;
                }
            }
            for change in changes {
                match change {
                    Change::Remove(key) => step.put(with_prefix(&key).into(), None)?,
                    Change::Put(key, value) => {
                        let mut stored = Vec::with_capacity(8 + value.len());
                        stored.extend_from_slice(&record_hash(&key, &value));
                        stored.extend_from_slice(&value);
                        step.put(with_prefix(&key).into(), Some(stored.into()))?;
                    }
                }
            }
            let header = Header { base: base.clone(), state_hash: after.state_hash };
            step.batch.insert(HEADER, header.encode());
            step.apply()?;
            self.make_durable()
        })
    }

    /// Gives up after an error.
    pub fn close(self) -> Remains {
        let Checkpoint { dir, cache_bytes, db, .. } = self;
        // sled holds its files until the last handle is gone.
        drop(db);
        Remains { dir, cache_bytes }
    }

    /// The only way to sync sled.
    fn make_durable(&self) -> io::Result<()> {
        self.db.flush().map_err(broken)?;
        File::open(self.dir.join("db"))?.sync_data()
    }

    /// Bytes on disk.
    pub fn size(&self) -> u64 {
        self.db.size_on_disk().unwrap_or(0)
    }
}

/// What is written at once.
struct Step<'a> {
    checkpoint: &'a Checkpoint,
    batch: sled::Batch,
    size: usize,
    first: bool,
}

impl Step<'_> {
    fn put(&mut self, key: sled::IVec, value: Option<sled::IVec>) -> io::Result<()> {
        if self.size >= self.checkpoint.at_once {
            if std::mem::take(&mut self.first) {
                self.checkpoint.db.remove(HEADER).map_err(broken)?;
                self.checkpoint.make_durable()?;
            }
            self.apply()?;
            // What sled has not written yet it keeps in memory.
            self.checkpoint.db.flush().map_err(broken)?;
        }
        self.size += 1;
        match value {
            Some(value) => self.batch.insert(key, value),
            None => self.batch.remove(key),
        }
        Ok(())
    }

    fn apply(&mut self) -> io::Result<()> {
        self.size = 0;
        self.checkpoint.db.apply_batch(std::mem::take(&mut self.batch)).map_err(broken)
    }
}

/// A checkpoint that could not be written.
#[derive(Debug)]
pub struct Remains {
    dir: PathBuf,
    cache_bytes: u64,
}

impl Remains {
    /// Throws everything away and makes an empty one.
    ///
    /// # Errors
    /// When not even that can be made; it may be tried again.
    pub fn begin_anew(self) -> Result<Checkpoint, (io::Error, Remains)> {
        let empty = match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => guarded(|| Checkpoint::open_as_is(&self.dir, self.cache_bytes)),
        };
        empty.map_err(|error| (error, self))
    }
}

fn with_prefix(key: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(1 + key.len());
    stored.push(RECORD);
    stored.extend_from_slice(key);
    stored
}

fn record_hash(key: &[u8], value: &[u8]) -> [u8; 8] {
    let mut hash = Xxh3::new();
    hash.update(&(key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(value);
    hash.digest().to_le_bytes()
}

struct Header {
    base: Base,
    state_hash: u64,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.state_hash.to_le_bytes());
        let meta = proto::SnapshotMeta {
            last_log_id: self.base.applied.map(Into::into),
            membership: Some(self.base.membership.clone()),
        };
        bytes.extend_from_slice(&meta.encode_to_vec());
        let hash = record_hash(HEADER, &bytes);
        bytes.extend_from_slice(&hash);
        bytes
    }

    fn decode(bytes: &[u8]) -> io::Result<Header> {
        let end = bytes.len().checked_sub(8).ok_or_else(|| broken("a short header"))?;
        let (content, hash) = bytes.split_at(end);
        if hash != record_hash(HEADER, content) {
            return Err(broken("the header does not match its checksum"));
        }
        let (fixed, meta) = content.split_at_checked(9).ok_or_else(|| broken("a short header"))?;
        if fixed[0] != VERSION {
            return Err(broken("another version"));
        }
        let meta = proto::SnapshotMeta::decode(meta).map_err(broken)?;
        Ok(Header {
            state_hash: u64::from_le_bytes(fixed[1..].try_into().map_err(broken)?),
            base: Base {
                applied: meta.last_log_id.map(Into::into),
                membership: meta.membership.unwrap_or_default(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::super::log::LogId;
    use super::*;

    const CACHE: u64 = 16 << 20;

    fn base(index: u64) -> Base {
        Base {
            applied: Some(LogId { term: 1, node: 1, index }),
            membership: proto::StoredMembership::default(),
        }
    }

    const AFTER: After = After { state_hash: 42, whole: false };

    type Found = (Base, u64, Vec<(String, String)>);

    fn open(place: &Path) -> (Checkpoint, Option<Found>) {
        Checkpoint::open(place, CACHE, found).unwrap()
    }

    fn found(loaded: Loaded<'_>) -> io::Result<Found> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let records = loaded.of_kind(b'b')?.chain(loaded.but_kind(b'b'));
        let mut records = records
            .map(|record| record.map(|it| (text(it.key()), text(it.value()))))
            .collect::<io::Result<Vec<_>>>()?;
        records.sort();
        Ok((loaded.base, loaded.state_hash, records))
    }

    fn records(found: &[(&str, &str)]) -> Vec<(String, String)> {
        found.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    fn changes(put: &[(&str, &str)], remove: &[&str]) -> impl Iterator<Item = Change> {
        let put = put.iter().map(|(key, value)| Change::Put((*key).into(), (*value).into()));
        let remove = remove.iter().map(|key| Change::Remove((*key).into()));
        put.chain(remove).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn r19_changes_and_position_come_back_together() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("checkpoint");
        let (mut checkpoint, none) = open(&place);
        assert!(none.is_none());
        checkpoint.write(&base(4), AFTER, changes(&[("a", "1"), ("b", "2")], &[])).unwrap();
        checkpoint.write(&base(7), AFTER, changes(&[("b", "3"), ("c", "4")], &["a"])).unwrap();
        drop(checkpoint);
        let (base_read, hash, read) = open(&place).1.unwrap();
        assert_eq!((base_read, hash), (base(7), 42));
        assert_eq!(read, records(&[("b", "3"), ("c", "4")]));
    }

    /// Whether somebody waits for the lock of the file `path`, or the system does not tell.
    fn is_waited_for(path: &Path) -> bool {
        let inode = format!(":{} ", fs::metadata(path).unwrap().ino());
        fs::read_to_string("/proc/locks").map_or(true, |locks| {
            locks.lines().any(|line| line.contains("->") && line.contains(&inode))
        })
    }

    #[test]
    fn r19_one_that_is_still_being_closed_is_waited_for_and_not_thrown_away() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("checkpoint");
        let (mut checkpoint, _) = open(&place);
        checkpoint.write(&base(4), AFTER, changes(&[("a", "1")], &[])).unwrap();
        drop(checkpoint);
        let db = place.join("db");
        // As a thread of sled's does that has not put its file away yet.
        let held = File::open(&db).unwrap();
        held.lock().unwrap();
        let opening = std::thread::spawn(move || open(&place).1);
        while !opening.is_finished() && !is_waited_for(&db) {
            std::thread::yield_now();
        }
        drop(held);
        assert_eq!(opening.join().unwrap().unwrap().0, base(4));
    }

    #[test]
    fn r19_a_checkpoint_whose_reader_finds_it_damaged_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("checkpoint");
        let (mut checkpoint, _) = open(&place);
        checkpoint.write(&base(4), AFTER, changes(&[("a", "1")], &[])).unwrap();
        drop(checkpoint);
        let damaged = |_: Loaded<'_>| -> io::Result<()> { Err(io::Error::other("damaged")) };
        assert!(Checkpoint::open(&place, CACHE, damaged).unwrap().1.is_none());
        let (mut checkpoint, loaded) = open(&place);
        assert!(loaded.is_none());
        checkpoint.write(&base(5), AFTER, changes(&[("a", "1")], &[])).unwrap();
        assert!(checkpoint.load().unwrap().is_some());
    }

    /// In several batches, of which a crash may leave some.
    #[test]
    fn r19_a_large_change_is_whole_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("checkpoint");
        let (mut checkpoint, _) = open(&place);
        checkpoint.write(&base(4), AFTER, changes(&[("a", "1"), ("b", "2")], &[])).unwrap();
        checkpoint.at_once = 2;
        let put = [("a", "2"), ("b1", "3"), ("b2", "4"), ("c", "5")];
        checkpoint.write(&base(5), AFTER, changes(&put, &["b"])).unwrap();
        drop(checkpoint);
        let (mut checkpoint, read) = open(&place);
        let (base_read, _, read) = read.unwrap();
        assert_eq!((base_read, read), (base(5), records(&put)));

        // Half-way there is nothing to start from.
        checkpoint.at_once = 2;
        let dies = changes(&put, &[]).chain(std::iter::once_with(|| panic!("the power goes")));
        assert!(checkpoint.write(&base(6), AFTER, dies).is_err());
        drop(checkpoint);
        let (mut checkpoint, read) = open(&place);
        assert!(read.is_none(), "{read:?}");

        // One batch is atomic.
        checkpoint.write(&base(6), AFTER, changes(&put, &[])).unwrap();
        let dies = changes(&put, &[]).chain(std::iter::once_with(|| panic!("the power goes")));
        assert!(checkpoint.write(&base(7), AFTER, dies).is_err());
        drop(checkpoint);
        assert_eq!(open(&place).1.unwrap().0, base(6));
    }

    #[test]
    fn r19_a_corrupt_checkpoint_is_deleted_and_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("checkpoint");
        for damage in [&b"garbage"[..], &[]] {
            let (mut checkpoint, _) = open(&place);
            checkpoint.write(&base(4), AFTER, changes(&[("a", "1")], &[])).unwrap();
            drop(checkpoint);
            fs::write(place.join("db"), damage).unwrap();
            fs::write(place.join("conf"), damage).unwrap();
            let (mut checkpoint, loaded) = open(&place);
            assert!(loaded.is_none());
            checkpoint.write(&base(5), AFTER, changes(&[("a", "1")], &[])).unwrap();
        }
    }

    #[test]
    fn a_reset_checkpoint_is_empty_and_a_whole_one_replaces_all() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("checkpoint");
        let (mut checkpoint, _) = open(&place);
        checkpoint.write(&base(4), AFTER, changes(&[("a", "1"), ("b", "2")], &[])).unwrap();
        let whole = After { whole: true, ..AFTER };
        checkpoint.write(&base(5), whole, changes(&[("c", "3")], &[])).unwrap();
        let (_, _, read) = found(checkpoint.load().unwrap().unwrap()).unwrap();
        assert_eq!(read, records(&[("c", "3")]));
        let checkpoint = checkpoint.close().begin_anew().unwrap();
        assert!(checkpoint.load().unwrap().is_none());
    }
}
