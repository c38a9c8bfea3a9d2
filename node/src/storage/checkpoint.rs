//! The checkpoint on sled: the whole machine at one index, for a fast start (rules R19, R21).
//!
//! It is never the only copy: the log is purged only up to what a snapshot file holds, so the
//! checkpoint may be deleted at any time. That is also what happens to one that does not open, or
//! is less than whole.
//!
//! Records are the machine's own, key to value. Each write is one atomic batch of what changed and
//! the header, then sled's `flush()`, which does not reach the platters on Linux (sled issue 1452),
//! then fdatasync on sled's file: [`Checkpoint::make_durable`] is the only way to sync sled.

use std::fs::{self, File, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use leasehold_proto::raft as proto;
use prost::Message;
use xxhash_rust::xxh3::Xxh3;

use super::files::sync_dir;
use super::log::Base;

/// Sorts before every record, which begin with `R`.
const HEADER: &[u8] = b"H";
const VERSION: u8 = 1;

/// Changes to carry into the checkpoint.
#[derive(Debug, Default)]
pub struct Changes {
    /// Records to write.
    pub put: Vec<(Vec<u8>, Vec<u8>)>,
    /// Records to remove.
    pub remove: Vec<Vec<u8>>,
    /// How many records there are then in all.
    pub total: u64,
    /// The machine's own hash at that point.
    pub state_hash: u64,
    /// Whether everything before is to be forgotten: `put` is the whole machine.
    pub whole: bool,
}

/// A checkpoint as it was read.
#[derive(Debug, PartialEq)]
pub struct Loaded {
    /// Where it stands.
    pub base: Base,
    /// The records in the order of their keys.
    pub records: Vec<(Vec<u8>, Vec<u8>)>,
    /// The machine's own hash at that point; whoever rebuilds the machine compares.
    pub state_hash: u64,
}

/// The checkpoint store.
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    cache_bytes: u64,
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
    /// Opens the checkpoint in `dir` and reads it. One that does not open, or is less than whole,
    /// is deleted and made anew, empty. One that this process is still closing is waited for.
    ///
    /// # Errors
    /// When not even an empty one can be made.
    pub fn open(dir: &Path, cache_bytes: u64) -> io::Result<(Checkpoint, Option<Loaded>)> {
        wait_until_closed(dir)?;
        let first = guarded(|| {
            let checkpoint = Checkpoint::open_as_is(dir, cache_bytes)?;
            let loaded = checkpoint.load()?;
            Ok((checkpoint, loaded))
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
        let db = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .flush_every_ms(None)
            .open()
            .map_err(broken)?;
        sync_dir(dir)?;
        if let Some(parent) = dir.parent() {
            sync_dir(parent)?;
        }
        Ok(Checkpoint { dir: dir.to_path_buf(), cache_bytes, db })
    }

    fn load(&self) -> io::Result<Option<Loaded>> {
        let Some(header) = self.db.get(HEADER).map_err(broken)? else {
            if self.db.is_empty() {
                return Ok(None);
            }
            return Err(broken("records without a header"));
        };
        let header = Header::decode(&header)?;
        let mut records = Vec::new();
        for item in self.db.scan_prefix(b"R") {
            let (key, value) = item.map_err(broken)?;
            let (hash, value) =
                value.split_at_checked(8).ok_or_else(|| broken("a short record"))?;
            if hash != record_hash(&key[1..], value) {
                return Err(broken("a record does not match its checksum"));
            }
            records.push((key[1..].to_vec(), value.to_vec()));
        }
        if records.len() as u64 != header.total {
            return Err(broken(format!("{} records instead of {}", records.len(), header.total)));
        }
        Ok(Some(Loaded { base: header.base, records, state_hash: header.state_hash }))
    }

    /// Writes what changed and where the machine stands then, durably. Blocks for as long as that
    /// takes. After an error the checkpoint is what it was before, or must be rewritten whole.
    ///
    /// # Errors
    /// sled's and the system's.
    pub fn write(&mut self, base: &Base, changes: Changes) -> io::Result<()> {
        guarded(|| {
            let mut batch = sled::Batch::default();
            if changes.whole {
                for key in self.db.iter().keys() {
                    batch.remove(key.map_err(broken)?);
                }
            }
            for key in &changes.remove {
                batch.remove(with_prefix(key));
            }
            for (key, value) in &changes.put {
                let mut stored = Vec::with_capacity(8 + value.len());
                stored.extend_from_slice(&record_hash(key, value));
                stored.extend_from_slice(value);
                batch.insert(with_prefix(key), stored);
            }
            let header =
                Header { base: base.clone(), total: changes.total, state_hash: changes.state_hash };
            batch.insert(HEADER, header.encode());
            self.db.apply_batch(batch).map_err(broken)?;
            self.make_durable()
        })
    }

    /// Gives up after an error.
    pub fn close(self) -> Remains {
        let Checkpoint { dir, cache_bytes, db } = self;
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
    stored.push(b'R');
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
    total: u64,
    state_hash: u64,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.total.to_le_bytes());
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
        let (fixed, meta) = content.split_at_checked(17).ok_or_else(|| broken("a short header"))?;
        if fixed[0] != VERSION {
            return Err(broken("another version"));
        }
        let number = |range: std::ops::Range<usize>| -> io::Result<u64> {
            Ok(u64::from_le_bytes(fixed[range].try_into().map_err(broken)?))
        };
        let meta = proto::SnapshotMeta::decode(meta).map_err(broken)?;
        Ok(Header {
            total: number(1..9)?,
            state_hash: number(9..17)?,
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

    fn changes(put: &[(&str, &str)], remove: &[&str], total: u64) -> Changes {
        Changes {
            put: put.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.as_bytes().to_vec())).collect(),
            remove: remove.iter().map(|k| k.as_bytes().to_vec()).collect(),
            total,
            state_hash: 42,
            whole: false,
        }
    }

    fn text(loaded: &Loaded) -> Vec<(String, String)> {
        let string = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).unwrap();
        loaded.records.iter().map(|(k, v)| (string(k), string(v))).collect()
    }

    #[test]
    fn r19_changes_and_position_come_back_together() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("checkpoint");
        let (mut checkpoint, none) = Checkpoint::open(&place, CACHE).unwrap();
        assert!(none.is_none());
        checkpoint.write(&base(4), changes(&[("a", "1"), ("b", "2")], &[], 2)).unwrap();
        checkpoint.write(&base(7), changes(&[("b", "3"), ("c", "4")], &["a"], 2)).unwrap();
        drop(checkpoint);
        let (_, loaded) = Checkpoint::open(&place, CACHE).unwrap();
        let loaded = loaded.unwrap();
        assert_eq!(loaded.base, base(7));
        assert_eq!(loaded.state_hash, 42);
        assert_eq!(text(&loaded), [("b".into(), "3".into()), ("c".into(), "4".into())]);
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
        let (mut checkpoint, _) = Checkpoint::open(&place, CACHE).unwrap();
        checkpoint.write(&base(4), changes(&[("a", "1")], &[], 1)).unwrap();
        drop(checkpoint);
        let db = place.join("db");
        // As a thread of sled's does that has not put its file away yet.
        let held = File::open(&db).unwrap();
        held.lock().unwrap();
        let opening = std::thread::spawn(move || Checkpoint::open(&place, CACHE).unwrap().1);
        while !opening.is_finished() && !is_waited_for(&db) {
            std::thread::yield_now();
        }
        drop(held);
        assert_eq!(opening.join().unwrap().unwrap().base, base(4));
    }

    #[test]
    fn r19_less_than_the_whole_machine_is_discarded() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("checkpoint");
        let (mut checkpoint, _) = Checkpoint::open(&place, CACHE).unwrap();
        checkpoint.write(&base(4), changes(&[("a", "1")], &[], 2)).unwrap();
        drop(checkpoint);
        let (mut checkpoint, loaded) = Checkpoint::open(&place, CACHE).unwrap();
        assert!(loaded.is_none());
        checkpoint.write(&base(5), changes(&[("a", "1")], &[], 1)).unwrap();
        drop(checkpoint);
        assert!(Checkpoint::open(&place, CACHE).unwrap().1.is_some());
    }

    #[test]
    fn r19_a_corrupt_checkpoint_is_deleted_and_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("checkpoint");
        for damage in [&b"garbage"[..], &[]] {
            let (mut checkpoint, _) = Checkpoint::open(&place, CACHE).unwrap();
            checkpoint.write(&base(4), changes(&[("a", "1")], &[], 1)).unwrap();
            drop(checkpoint);
            fs::write(place.join("db"), damage).unwrap();
            fs::write(place.join("conf"), damage).unwrap();
            let (mut checkpoint, loaded) = Checkpoint::open(&place, CACHE).unwrap();
            assert!(loaded.is_none());
            checkpoint.write(&base(5), changes(&[("a", "1")], &[], 1)).unwrap();
        }
    }

    #[test]
    fn a_reset_checkpoint_is_empty_and_a_whole_one_replaces_all() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("checkpoint");
        let (mut checkpoint, _) = Checkpoint::open(&place, CACHE).unwrap();
        checkpoint.write(&base(4), changes(&[("a", "1"), ("b", "2")], &[], 2)).unwrap();
        let whole = Changes { whole: true, ..changes(&[("c", "3")], &[], 1) };
        checkpoint.write(&base(5), whole).unwrap();
        assert_eq!(text(&checkpoint.load().unwrap().unwrap()), [("c".into(), "3".into())]);
        let checkpoint = checkpoint.close().begin_anew().unwrap();
        assert!(checkpoint.load().unwrap().is_none());
    }
}
