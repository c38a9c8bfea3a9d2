//! The log on disk: `raft-log` behind one writer thread.
//!
//! Calls append to `raft-log`'s buffer under a lock, so that they are ordered and readable at
//! once. The writer thread takes everybody who waits, asks for one fdatasync and answers them all;
//! whoever comes meanwhile is in the next group (one flush covers everything that queued while the
//! last was running).
//!
//! An error of the disk is final: fdatasync may have dropped the very pages that it failed to
//! write, so trying again proves nothing. Everybody who waits is told, every later call fails, and
//! the fault handler ends the process.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use raft_log::api::raft_log_writer::RaftLogWriter;
use raft_log::{Config, RaftLog};

use super::codec::{LogTypes, Payload};
use super::log::{Done, Entry, Extent, Log, LogId, Vote};
use super::repair::{RepairError, last_segment_entries, repair};

/// Sizes of the log (rule R21).
#[derive(Debug, Clone, Copy)]
pub struct LogSettings {
    /// Entries kept in memory, bytes.
    pub cache_bytes: usize,
    /// A segment's size, bytes. The cache cannot shrink below one segment, because the open one is
    /// served from memory.
    pub segment_bytes: usize,
}

impl Default for LogSettings {
    fn default() -> Self {
        LogSettings { cache_bytes: 32 << 20, segment_bytes: 16 << 20 }
    }
}

/// Called once when the disk fails: it must end the process. The text says what failed.
pub type OnFault = Arc<dyn Fn(&str, &io::Error) + Send + Sync>;

/// The fault handler of a server: logs and ends the process with status 74 (EX_IOERR), so that its
/// supervisor starts it again and R20 judges what is on disk.
pub fn exit_on_fault() -> OnFault {
    Arc::new(|what, error| {
        tracing::error!(%error, "{what}: the disk failed, this node stops");
        std::process::exit(74)
    })
}

/// Why a log did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Damage, or the disk failed while looking for it.
    #[error(transparent)]
    Repair(#[from] RepairError),
    /// `raft-log` refused.
    #[error(
        "the log does not open: {0}. If the disk is well, the log is damaged: remove this node from the cluster \
         (cluster-ctl), empty its data directory and let it join as a new node"
    )]
    Open(io::Error),
}

/// The log on disk.
pub struct DiskLog {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

struct Shared {
    dir: PathBuf,
    log: RwLock<RaftLog<LogTypes>>,
    queue: Mutex<Queue>,
    wake: Condvar,
    appended: AtomicU64,
    on_fault: OnFault,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Done>,
    /// Something nobody waits for was written.
    idle_write: bool,
    failed: bool,
    stop: bool,
}

impl fmt::Debug for DiskLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskLog").field("extent", &self.extent()).finish_non_exhaustive()
    }
}

impl DiskLog {
    /// Opens the log in `dir`, which is made if it is not there, after cutting a torn tail (R20).
    ///
    /// # Errors
    /// [`OpenError`] says how to go on.
    pub fn open(
        dir: &Path,
        settings: LogSettings,
        on_fault: OnFault,
    ) -> Result<DiskLog, OpenError> {
        std::fs::create_dir_all(dir).map_err(OpenError::Open)?;
        let cut = repair(dir)?;
        if cut > 0 {
            tracing::info!(bytes = cut, "the end of the log was never acknowledged and is gone");
        }
        let mut config = Config::new(dir.display());
        config.log_cache_capacity = Some(settings.cache_bytes);
        config.log_cache_max_items = Some(usize::MAX);
        config.wal.chunk_max_size = Some(settings.segment_bytes);
        config.wal.chunk_max_records = Some(usize::MAX);
        // Read at start only; the default of 64 MiB would stay in the process's footprint.
        config.wal.read_buffer_size = Some(1 << 20);
        config.wal.truncate_incomplete_record = Some(false);
        // Grouping happens in our writer thread; waiting for more would only add latency.
        config.wal.flush_batch_wait = Some(Duration::ZERO);
        let log = RaftLog::open(Arc::new(config)).map_err(OpenError::Open)?;
        let shared = Arc::new(Shared {
            dir: dir.to_path_buf(),
            log: RwLock::new(log),
            queue: Mutex::new(Queue::default()),
            wake: Condvar::new(),
            appended: AtomicU64::new(0),
            on_fault,
        });
        shared.whole().map_err(OpenError::Open)?;
        let writer = std::thread::Builder::new()
            .name("log-writer".into())
            .spawn({
                let shared = shared.clone();
                move || shared.write()
            })
            .map_err(OpenError::Open)?;
        Ok(DiskLog { shared, writer: Some(writer) })
    }

    /// Entries in memory: bytes held and the limit (R21).
    pub fn cache(&self) -> (u64, u64) {
        let stat = self.shared.log.read().stat();
        (stat.payload_cache_size, stat.payload_cache_capacity)
    }

    /// Groups synced, and microseconds spent in fdatasync, since the start.
    pub fn syncs(&self) -> (u64, u64) {
        let metrics = self.shared.log.read().stat().flush_metrics;
        (metrics.sync_batch_count, metrics.sync_us)
    }
}

impl Drop for DiskLog {
    fn drop(&mut self) {
        self.shared.queue.lock().stop = true;
        self.shared.wake.notify_one();
        if let Some(writer) = self.writer.take() {
            // It panics only if a completion does; then there is nobody left to tell.
            let _ = writer.join();
        }
    }
}

impl Shared {
    /// Appends under the lock and queues `done` before letting go of it, so that the group that
    /// takes `done` surely holds its bytes.
    fn put(
        &self,
        write: impl FnOnce(&mut RaftLog<LogTypes>) -> io::Result<()>,
        done: Option<Done>,
    ) -> io::Result<()> {
        let mut log = self.log.write();
        if self.queue.lock().failed {
            return Err(io::Error::other("the log's disk has failed"));
        }
        write(&mut log)?;
        let mut queue = self.queue.lock();
        match done {
            Some(done) => {
                queue.waiting.push(done);
                self.wake.notify_one();
            }
            None => queue.idle_write = true,
        }
        Ok(())
    }

    fn write(&self) {
        loop {
            let group = {
                let mut queue = self.queue.lock();
                while queue.waiting.is_empty() && !queue.stop {
                    let timed_out =
                        self.wake.wait_for(&mut queue, Duration::from_millis(500)).timed_out();
                    if timed_out && queue.idle_write {
                        break;
                    }
                }
                if queue.waiting.is_empty() && queue.stop {
                    return;
                }
                queue.idle_write = false;
                std::mem::take(&mut queue.waiting)
            };
            let sync = !group.is_empty();
            let result = self.flush(sync);
            if let Err(error) = &result {
                self.queue.lock().failed = true;
                (self.on_fault)("writing the log", error);
            }
            for done in group {
                done(copy(&result));
            }
        }
    }

    /// Whether the entries at hand are those that the log says it has: a lost first segment takes
    /// its entries along without a trace.
    fn whole(&self) -> io::Result<()> {
        let (first, end) = {
            let log = self.log.read();
            let state = log.log_state();
            let next = |id: Option<&LogId>| id.map_or(0, |id| id.index + 1);
            (next(state.purged()), next(state.last()))
        };
        let lost = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        match self.read(0, u64::MAX, 0)?.first() {
            Some(found) if found.id.index != first => lost("its first entries are missing"),
            None if first != end => lost("its entries are missing"),
            _ => Ok(()),
        }
    }

    fn read(&self, from: u64, to: u64, max_bytes: u64) -> io::Result<Vec<Entry>> {
        let read = {
            let log = self.log.read();
            collect(log.read(from, to), max_bytes)
        };
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.read_through(from, to, max_bytes)
            }
            read => read,
        }
    }

    /// Reads although `raft-log` has dropped entries of the open segment from memory, which it then
    /// cannot find (0.4.6): what it may drop it judges by the order of log ids, and after a
    /// truncation a new leader may append entries of a *lower* term than those that were cut.
    fn read_through(&self, from: u64, to: u64, max_bytes: u64) -> io::Result<Vec<Entry>> {
        // Nobody writes meanwhile, and everything written is in the file.
        let mut log = self.log.write();
        log.flush(false, None)?;
        log.wait_worker_idle()?;
        let mut found = last_segment_entries(&self.dir, from..to)?;
        let first = log.log_state().purged().map_or(0, |purged| purged.index + 1);
        let items = (from.max(first)..).zip(log.read(from, to)).map(|(index, item)| match item {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                found.remove(&index).map(|(id, body)| (id, Payload(body))).ok_or(error)
            }
            item => item,
        });
        collect(items, max_bytes)
    }

    fn flush(&self, sync: bool) -> io::Result<()> {
        if !sync {
            return self.log.write().flush(false, None);
        }
        let (sent, received) = std::sync::mpsc::sync_channel(1);
        self.log.write().flush(true, Some(sent))?;
        received.recv().map_err(|_| io::Error::other("the log's flush thread has ended"))?
    }
}

/// The first of `items` that have `max_bytes` together.
fn collect(
    items: impl Iterator<Item = io::Result<(LogId, Payload)>>,
    max_bytes: u64,
) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut bytes = 0;
    for item in items {
        let (id, Payload(body)) = item?;
        bytes += body.len() as u64;
        if bytes > max_bytes && !entries.is_empty() {
            break;
        }
        entries.push(Entry { id, body });
    }
    Ok(entries)
}

fn copy(result: &io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    }
}

impl Log for DiskLog {
    fn extent(&self) -> Extent {
        let log = self.shared.log.read();
        let state = log.log_state();
        Extent {
            vote: state.vote().copied(),
            purged: state.purged().copied(),
            last: state.last().copied(),
            committed: state.committed().copied(),
        }
    }

    fn read(&self, from: u64, to: u64, max_bytes: u64) -> io::Result<Vec<Entry>> {
        if from >= to {
            return Ok(Vec::new());
        }
        self.shared.read(from, to, max_bytes)
    }

    fn append(&self, entries: Vec<Entry>, done: Done) -> io::Result<()> {
        let bytes: usize = entries.iter().map(|entry| entry.body.len() + 80).sum();
        self.shared.put(
            |log| {
                log.append(entries.into_iter().map(|entry| (entry.id, Payload(entry.body))))?;
                Ok(())
            },
            Some(done),
        )?;
        self.shared.appended.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(())
    }

    fn save_vote(&self, vote: Vote, done: Done) -> io::Result<()> {
        self.shared.put(|log| log.save_vote(vote).map(drop), Some(done))
    }

    fn save_committed(&self, committed: LogId) -> io::Result<()> {
        self.shared.put(
            |log| {
                let state = log.log_state();
                // After a snapshot came in, the commit can be ahead of the log for a moment; and
                // what is known already need not be said again.
                if state.committed() >= Some(&committed) || state.last() < Some(&committed) {
                    return Ok(());
                }
                log.commit(committed).map(drop)
            },
            None,
        )
    }

    fn truncate(&self, index: u64) -> io::Result<()> {
        self.shared.put(
            |log| {
                let state = log.log_state();
                let next = state.last().map_or(0, |last| last.index + 1);
                let first = state.purged().map_or(0, |purged| purged.index + 1);
                if index >= next {
                    return Ok(());
                }
                log.truncate(index.max(first)).map(drop)
            },
            None,
        )
    }

    fn purge(&self, upto: LogId) -> io::Result<()> {
        self.shared.put(|log| log.purge(upto).map(drop), None)
    }

    fn appended_bytes(&self) -> u64 {
        self.shared.appended.load(Ordering::Relaxed)
    }

    fn size(&self) -> u64 {
        self.shared.log.read().on_disk_size()
    }

    fn purge_point(&self, keep: u64) -> Option<u64> {
        let stat = self.shared.log.read().stat();
        let mut behind = stat.open_chunk.size;
        for segment in stat.closed_chunks.iter().rev() {
            if behind >= keep {
                return segment.log_state.last().map(|last| last.index);
            }
            behind += segment.size;
        }
        None
    }
}
