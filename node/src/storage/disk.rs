//! The log on disk: `raft-log`, which has a thread that writes and syncs.
//!
//! Calls append to `raft-log`'s buffer under a lock, so that they are ordered and readable at
//! once. If nothing is on its way to the disk, the caller asks for an fdatasync for everybody who
//! waits, and `raft-log`'s thread answers them all when it is done; whoever comes meanwhile is in the
//! next group, which that thread begins then (one flush covers everything that queued while the last
//! was running). A thread of our own would be two more that wake for each entry; it is there for what
//! goes wrong, and for what nobody waits for.
//!
//! An error of the disk is final: fdatasync may have dropped the very pages that it failed to
//! write, so trying again proves nothing. Everybody who waits is told, every later call fails, and
//! the fault handler ends the process.
//!
//! A full disk is no such error ([`super::room`]): whoever waits goes on waiting, and when there is room
//! the log is opened anew where it was last durable, and what had been written since is written again.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use raft_log::api::raft_log_writer::RaftLogWriter;
use raft_log::{Config, RaftLog};

use super::codec::{LogTypes, Payload, Told};
use super::log::{Done, Entry, Extent, Log, LogId, Vote};
use super::repair::{REJOIN, RepairError, last_segment_entries, repair};
use super::room::Op;
use super::watch::{By, DiskWatch, is_full};

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

/// The exit status of a server whose disk has failed (EX_IOERR). Nobody must start it again at once: what
/// an fdatasync has failed to write can read back from memory as if it were on disk, until the power goes.
pub const DISK_FAILED: u8 = 74;

/// The fault handler of a server: says what failed and what to do, and ends the process with
/// [`DISK_FAILED`].
pub fn exit_on_fault() -> OnFault {
    Arc::new(|what, error| {
        let text = format!(
            "{what} failed: {error}. The disk has failed, and this node stops with exit status {DISK_FAILED}; it must \
             not be started again before the disk was looked at (the kernel's log, smartctl), because what could not be \
             written may still read back from memory: unmount the file system or reboot first. The other nodes hold \
             every acknowledged lease. If the log turns out to be damaged, or the disk is replaced: remove this node \
             from the cluster (cluster-ctl), empty its data directory and let it join as a new node"
        );
        tracing::error!("{text}");
        std::process::exit(i32::from(DISK_FAILED))
    })
}

/// Why a log did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Damage, or the disk failed while looking for it.
    #[error(transparent)]
    Repair(#[from] RepairError),
    /// There is no room for it on the disk.
    #[error("the log does not open: the disk is full ({0}); make room")]
    Full(io::Error),
    /// `raft-log` refused.
    #[error(
        "the log in {path} does not open: {source}. If the disk is well, the log is damaged. {REJOIN}"
    )]
    Open {
        /// Its directory.
        path: PathBuf,
        /// The library's word.
        source: io::Error,
    },
}

impl OpenError {
    fn of(dir: &Path, source: io::Error) -> OpenError {
        match is_full(&source) {
            true => OpenError::Full(source),
            false => OpenError::Open { path: dir.to_path_buf(), source },
        }
    }

    /// Whether there is no room on the disk: then opening may be tried again.
    pub fn is_full(&self) -> bool {
        match self {
            OpenError::Full(_) => true,
            OpenError::Repair(RepairError::Io { source, .. }) => is_full(source),
            OpenError::Repair(RepairError::Damaged { .. }) | OpenError::Open { .. } => false,
        }
    }
}

/// The log on disk.
pub struct DiskLog {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) config: Arc<Config>,
    pub(super) watch: Arc<DiskWatch>,
    /// `None` only while it is opened anew, under the lock, and after that has failed for good.
    pub(super) log: RwLock<Option<RaftLog<LogTypes>>>,
    pub(super) queue: Mutex<Queue>,
    pub(super) wake: Condvar,
    /// Told when a log that was full takes writes again, or has failed.
    pub(super) room: Condvar,
    /// Groups synced and microseconds that took, before the log was opened anew.
    pub(super) synced_before: Mutex<(u64, u64)>,
    appended: AtomicU64,
    on_fault: OnFault,
}

#[derive(Default)]
pub(super) struct Queue {
    waiting: Vec<Done>,
    /// Something is on its way to the disk; who comes meanwhile is in the next group.
    flushing: bool,
    /// A flush came to nothing. Our thread finds out why, and nobody else flushes until then.
    troubled: bool,
    /// Something nobody waits for was written.
    idle_write: bool,
    failed: bool,
    pub(super) stop: bool,
    /// The log takes no writes for want of room.
    pub(super) full: bool,
    /// What is not known to be durable, in order, with the end of the log behind it; without one it could
    /// not even be written, for want of room.
    pub(super) unsynced: Vec<(Option<u64>, Op)>,
    /// The end of what is durable.
    pub(super) durable: u64,
}

impl Queue {
    /// The end of what is written and not known to be durable: what a flush that begins now covers.
    fn written(&self) -> Option<u64> {
        self.unsynced.iter().rev().find_map(|(end, _)| *end)
    }

    /// What ends at `end` or before is durable.
    fn synced(&mut self, end: Option<u64>) {
        let Some(end) = end else { return };
        let is_covered = |it: &(Option<u64>, Op)| it.0.is_some_and(|it| it <= end);
        let covered = self.unsynced.iter().take_while(|it| is_covered(it)).count();
        self.unsynced.drain(..covered);
        self.durable = self.durable.max(end);
    }

    /// Whether a group may be sent to the disk.
    fn can_launch(&self) -> bool {
        let held_up = self.flushing || self.troubled || self.full || self.failed;
        !held_up && !self.waiting.is_empty()
    }

    /// Whether our own thread has something to do. Never while a group is on its way: what that makes
    /// durable must not be cut off and written anew.
    fn is_ours(&self, waited: bool) -> bool {
        let is_due = self.troubled || self.full || self.stop || (waited && self.idle_write);
        let is_left = self.failed && !self.waiting.is_empty();
        !self.flushing && (is_due || is_left || self.can_launch())
    }
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
        DiskLog::open_watched(dir, settings, on_fault, DiskWatch::new(dir, None))
    }

    /// As [`DiskLog::open`]; `watch` is told how the disk does.
    ///
    /// # Errors
    /// [`OpenError`] says how to go on.
    pub fn open_watched(
        dir: &Path,
        settings: LogSettings,
        on_fault: OnFault,
        watch: Arc<DiskWatch>,
    ) -> Result<DiskLog, OpenError> {
        let failed = |source| OpenError::of(dir, source);
        std::fs::create_dir_all(dir).map_err(failed)?;
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
        // Grouping happens here: one group at a time is on its way; waiting for more would only add latency.
        config.wal.flush_batch_wait = Some(Duration::ZERO);
        // The next group is handed over by the thread that frees its share of this only afterwards.
        config.wal.flush_queue_max_bytes = Some(usize::MAX / 2);
        let config = Arc::new(config);
        let mut log = RaftLog::open(config.clone()).map_err(failed)?;
        // What opening has written must be durable before anything is said to follow it.
        sync(&mut log).map_err(failed)?;
        let durable = log.stat().open_chunk.global_end;
        let shared = Arc::new(Shared {
            dir: dir.to_path_buf(),
            config,
            watch,
            log: RwLock::new(Some(log)),
            queue: Mutex::new(Queue { durable, ..Queue::default() }),
            wake: Condvar::new(),
            room: Condvar::new(),
            synced_before: Mutex::default(),
            appended: AtomicU64::new(0),
            on_fault,
        });
        shared.whole().map_err(failed)?;
        let writer = std::thread::Builder::new()
            .name("log-writer".into())
            .spawn({
                let shared = shared.clone();
                move || shared.write()
            })
            .map_err(failed)?;
        Ok(DiskLog { shared, writer: Some(writer) })
    }

    /// Entries in memory: bytes held and the limit (R21).
    pub fn cache(&self) -> (u64, u64) {
        let cache = |log: &RaftLog<LogTypes>| {
            let stat = log.stat();
            (stat.payload_cache_size, stat.payload_cache_capacity)
        };
        self.shared.with(cache).unwrap_or_default()
    }

    /// Groups synced, and microseconds spent in fdatasync, since the start.
    pub fn syncs(&self) -> (u64, u64) {
        let (count, micros) = *self.shared.synced_before.lock();
        let now = self.shared.with(syncs_of).unwrap_or_default();
        (count + now.0, micros + now.1)
    }
}

impl Drop for DiskLog {
    fn drop(&mut self) {
        self.shared.queue.lock().stop = true;
        self.shared.wake.notify_one();
        self.shared.room.notify_all();
        if let Some(writer) = self.writer.take() {
            // It panics only if a completion does; then there is nobody left to tell.
            let _ = writer.join();
        }
        // Here, since `raft-log` waits for its thread, and that may hold us for a moment longer.
        let log = self.shared.log.write().take();
        drop(log);
    }
}

impl Shared {
    pub(super) fn with<T>(&self, read: impl FnOnce(&RaftLog<LogTypes>) -> T) -> Option<T> {
        self.log.read().as_ref().map(read)
    }

    /// Writes under the lock and queues `done` before letting go of it, so that the group that
    /// takes `done` surely holds its bytes. Waits while the disk is full.
    fn put(self: &Arc<Shared>, ops: Vec<Op>, done: Option<Done>) -> io::Result<()> {
        let mut rest = ops.into_iter();
        loop {
            let mut slot = self.log.write();
            {
                let mut queue = self.queue.lock();
                if queue.full && !queue.failed && !queue.stop {
                    drop(slot);
                    self.room.wait(&mut queue);
                    continue;
                }
                if queue.failed || queue.full {
                    return Err(io::Error::other("the log's disk has failed"));
                }
            }
            let Some(log) = slot.as_mut() else { return Err(closed()) };
            self.watch.begins(By::Caller);
            let (written, error) = write_all(log, &mut rest);
            self.watch.ends(By::Caller);
            let mut queue = self.queue.lock();
            queue.unsynced.extend(written);
            match error {
                None => {
                    match done {
                        Some(done) => {
                            queue.waiting.push(done);
                            self.launch(log, queue);
                        }
                        None => queue.idle_write = true,
                    }
                    return Ok(());
                }
                Some(error) if is_full(&error) => {
                    // What was to be written is among `unsynced`, and is written again when there is room.
                    queue.full = true;
                    self.watch.set_full(true);
                    self.wake.notify_one();
                }
                Some(error) => {
                    if error.raw_os_error().is_some() {
                        queue.failed = true;
                        drop(queue);
                        (self.on_fault)(&self.what(), &error);
                    }
                    return Err(error);
                }
            }
        }
    }

    fn what(&self) -> String {
        format!("writing the log in {}", self.dir.display())
    }

    /// Sends what is written to the disk for all who wait, unless something is on its way already: then
    /// [`Shared::flushed`] comes back to it. No thread of ours is between: `raft-log`'s syncs, and
    /// answers.
    fn launch(self: &Arc<Shared>, log: &mut RaftLog<LogTypes>, mut queue: MutexGuard<'_, Queue>) {
        if !queue.can_launch() {
            return;
        }
        queue.flushing = true;
        queue.idle_write = false;
        let group = std::mem::take(&mut queue.waiting);
        let end = queue.written();
        drop(queue);
        self.watch.begins(By::Writer);
        let shared = Arc::clone(self);
        let told = Told::new(move |result| shared.flushed(group, end, &result));
        // If it cannot be handed over, `told` is dropped, and says so.
        let _ = log.flush(true, Some(told));
    }

    /// A group has come to the disk, or not. Called by `raft-log`'s thread, which must not wait for the
    /// log: whoever has that may be waiting for this thread.
    fn flushed(self: &Arc<Shared>, group: Vec<Done>, end: Option<u64>, result: &io::Result<()>) {
        self.watch.ends(By::Writer);
        let is_awaited = {
            let mut queue = self.queue.lock();
            queue.flushing = false;
            if result.is_err() {
                // They are told when it is known why; if room is missing, when there is some.
                queue.troubled = true;
                let later = std::mem::replace(&mut queue.waiting, group);
                queue.waiting.extend(later);
                self.wake.notify_one();
                return;
            }
            queue.synced(end);
            queue.stop || queue.full
        };
        for done in group {
            done(Ok(()));
        }
        let launched = self.log.try_write().is_some_and(|mut slot| {
            slot.as_mut().is_some_and(|log| {
                self.launch(log, self.queue.lock());
                true
            })
        });
        // Whoever holds the log may have found something on its way.
        if is_awaited || (!launched && self.queue.lock().can_launch()) {
            self.wake.notify_one();
        }
    }

    /// Our thread: what nobody waits for, groups that were left behind, and all that goes wrong.
    fn write(&self) {
        loop {
            let group = {
                let mut queue = self.queue.lock();
                let mut timed_out = false;
                while !queue.is_ours(timed_out) {
                    timed_out =
                        self.wake.wait_for(&mut queue, Duration::from_millis(500)).timed_out();
                }
                if queue.stop && (queue.waiting.is_empty() || queue.full) {
                    return;
                }
                queue.flushing = true;
                queue.idle_write = false;
                std::mem::take(&mut queue.waiting)
            };
            let result = self.flush_when_there_is_room(!group.is_empty());
            {
                let mut queue = self.queue.lock();
                queue.flushing = false;
                queue.troubled = false;
                if result.is_err() {
                    if queue.stop && queue.full {
                        // It could not be written, and nobody was told that it was.
                        return;
                    }
                    queue.failed = true;
                    self.room.notify_all();
                }
            }
            if let Err(error) = &result {
                (self.on_fault)(&self.what(), error);
            }
            for done in group {
                done(copy(&result));
            }
        }
    }

    /// Whether the entries at hand are those that the log says it has: a lost first segment takes
    /// its entries along without a trace.
    fn whole(&self) -> io::Result<()> {
        let ends = self.with(|log| {
            let state = log.log_state();
            let next = |id: Option<&LogId>| id.map_or(0, |id| id.index + 1);
            (next(state.purged()), next(state.last()))
        });
        let (first, end) = ends.ok_or_else(closed)?;
        let lost = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        match self.read(0, u64::MAX, 0)?.first() {
            Some(found) if found.id.index != first => lost("its first entries are missing"),
            None if first != end => lost("its entries are missing"),
            _ => Ok(()),
        }
    }

    fn read(&self, from: u64, to: u64, max_bytes: u64) -> io::Result<Vec<Entry>> {
        let read = self.with(|log| collect(log.read(from, to), max_bytes));
        match read.ok_or_else(closed)? {
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
        let mut slot = self.log.write();
        let log = slot.as_mut().ok_or_else(closed)?;
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

    /// Hands everything over to the file; with `sync` it is durable then.
    pub(super) fn flush(&self, sync: bool) -> io::Result<()> {
        self.watch.begins(By::Writer);
        let result = self.flush_timed(sync);
        self.watch.ends(By::Writer);
        result
    }

    fn flush_timed(&self, sync: bool) -> io::Result<()> {
        let (told, received) = told();
        let end = {
            let mut slot = self.log.write();
            let log = slot.as_mut().ok_or_else(closed)?;
            let flushed = match sync {
                true => log.flush(true, Some(told)),
                false => log.flush(false, None),
            };
            flushed.map_err(|error| cause(log, error))?;
            self.queue.lock().written()
        };
        if !sync {
            return Ok(());
        }
        let gone = || Err(io::Error::other("the log's flush thread has ended"));
        if let Err(error) = received.recv().unwrap_or_else(|_| gone()) {
            let slot = self.log.read();
            return Err(slot.as_ref().map_or_else(closed, |log| cause(log, error)));
        }
        self.queue.lock().synced(end);
        Ok(())
    }
}

/// Writes what it can; gives what was written, with the end of the log behind each, and why not more.
/// What stopped for want of room is among it, without an end: `raft-log` has it in memory.
fn write_all(
    log: &mut RaftLog<LogTypes>,
    ops: &mut impl Iterator<Item = Op>,
) -> (Vec<(Option<u64>, Op)>, Option<io::Error>) {
    let mut written = Vec::with_capacity(ops.size_hint().0);
    for op in ops {
        match op.write(log) {
            Ok(None) => {}
            Ok(Some(end)) => written.push((Some(end), op)),
            Err(error) => {
                let error = cause(log, error);
                if is_full(&error) {
                    written.push((None, op));
                }
                return (written, Some(error));
            }
        }
    }
    (written, None)
}

/// Why `raft-log` did not do it: after an error its thread is gone, and then it says no more than that.
fn cause(log: &RaftLog<LogTypes>, error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::Other {
        return error;
    }
    log.wait_worker_idle().err().unwrap_or(error)
}

/// For a thread that waits.
fn told() -> (Told, Receiver<io::Result<()>>) {
    let (sent, received) = std::sync::mpsc::sync_channel(1);
    // Nobody may be waiting any more.
    (Told::new(move |result| drop(sent.send(result))), received)
}

/// Makes everything durable.
pub(super) fn sync(log: &mut RaftLog<LogTypes>) -> io::Result<()> {
    let (told, received) = told();
    log.flush(true, Some(told)).map_err(|error| cause(log, error))?;
    let gone = || Err(io::Error::other("the log's flush thread has ended"));
    received.recv().unwrap_or_else(|_| gone()).map_err(|error| cause(log, error))
}

pub(super) fn syncs_of(log: &RaftLog<LogTypes>) -> (u64, u64) {
    let metrics = log.stat().flush_metrics;
    (metrics.sync_batch_count, metrics.sync_us)
}

fn closed() -> io::Error {
    io::Error::other("the log is closed: its disk has failed")
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
        let extent = |log: &RaftLog<LogTypes>| {
            let state = log.log_state();
            Extent {
                vote: state.vote().copied(),
                purged: state.purged().copied(),
                last: state.last().copied(),
                committed: state.committed().copied(),
            }
        };
        self.shared.with(extent).unwrap_or_default()
    }

    fn read(&self, from: u64, to: u64, max_bytes: u64) -> io::Result<Vec<Entry>> {
        if from >= to {
            return Ok(Vec::new());
        }
        self.shared.read(from, to, max_bytes)
    }

    fn append(&self, entries: Vec<Entry>, done: Done) -> io::Result<()> {
        let bytes: usize = entries.iter().map(|entry| entry.body.len() + 80).sum();
        self.shared.put(entries.into_iter().map(Op::Append).collect(), Some(done))?;
        self.shared.appended.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(())
    }

    fn save_vote(&self, vote: Vote, done: Done) -> io::Result<()> {
        self.shared.put(vec![Op::Vote(vote)], Some(done))
    }

    fn save_committed(&self, committed: LogId) -> io::Result<()> {
        self.shared.put(vec![Op::Commit(committed)], None)
    }

    fn truncate(&self, index: u64) -> io::Result<()> {
        self.shared.put(vec![Op::Truncate(index)], None)
    }

    fn purge(&self, upto: LogId) -> io::Result<()> {
        self.shared.put(vec![Op::Purge(upto)], None)
    }

    fn appended_bytes(&self) -> u64 {
        self.shared.appended.load(Ordering::Relaxed)
    }

    fn size(&self) -> u64 {
        self.shared.with(RaftLog::on_disk_size).unwrap_or(0)
    }

    fn purge_point(&self, keep: u64) -> Option<u64> {
        let stat = self.shared.with(RaftLog::stat)?;
        let mut behind = stat.open_chunk.size;
        for segment in stat.closed_chunks.iter().rev() {
            if behind >= keep {
                return segment.log_state.last().map(|last| last.index);
            }
            behind += segment.size;
        }
        None
    }

    fn watch(&self) -> Option<&Arc<DiskWatch>> {
        Some(&self.shared.watch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It is in memory only, so nobody may be told that it is durable, and it must not be forgotten
    /// when the log is written again.
    #[test]
    fn a_flush_does_not_cover_what_could_not_be_written() {
        let op = |index| Op::Truncate(index);
        let unsynced = vec![(Some(100), op(1)), (Some(200), op(2)), (None, op(3))];
        let mut queue = Queue { durable: 50, full: true, unsynced, ..Queue::default() };
        assert_eq!(queue.written(), Some(200));
        queue.synced(queue.written());
        assert_eq!((queue.durable, queue.unsynced.len()), (200, 1));
        assert!(matches!(queue.unsynced[0], (None, Op::Truncate(3))));
        queue.synced(queue.written());
        assert_eq!((queue.durable, queue.unsynced.len()), (200, 1), "nothing was written since");
    }
}
