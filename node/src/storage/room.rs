//! A full disk: the log waits for room and goes on, and nothing that was acknowledged is lost.
//!
//! `raft-log` ends its thread at the first error, and what it had in memory then is on disk in part, or
//! not at all. So what was written since the last fdatasync is kept here too. When there is room, the files
//! are cut where they were last durable, the log is opened from them, and the rest is written once more
//! and synced. Whoever waits for that is answered then; until then the disk is just very slow.
//!
//! That is sound also where fdatasync itself finds no room: nothing rests on pages that it may have
//! dropped, because they are all written again. It would not be after any other error, which is final.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use raft_log::RaftLog;
use raft_log::api::raft_log_writer::RaftLogWriter;

use super::codec::{LogTypes, Payload};
use super::disk::{Shared, sync, syncs_of};
use super::files::sync_dir;
use super::log::{Entry, LogId, Vote};
use super::repair::{begin, segments};
use super::watch::{is_full, room_at};

/// How often a full disk is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Room that must be there beside twice what waits: a segment's beginning, directories, the file system's
/// own.
const MARGIN: u64 = 4 << 20;
/// A file of so many bytes is written to see whether there is room, quotas included.
const PROBE: usize = 64 << 10;

/// One write of the log.
#[derive(Debug, Clone)]
pub(super) enum Op {
    /// Append an entry.
    Append(Entry),
    /// Record a vote.
    Vote(Vote),
    /// Note what is committed.
    Commit(LogId),
    /// Drop the entries at an index and above.
    Truncate(u64),
    /// Drop the entries up to here.
    Purge(LogId),
}

impl Op {
    /// Writes it to the log's buffer, unless it says nothing new. Answers where the log then ends. The
    /// same log does the same with it each time.
    pub(super) fn write(&self, log: &mut RaftLog<LogTypes>) -> io::Result<Option<u64>> {
        let state = log.log_state();
        let written = match self {
            Op::Append(Entry { id, body }) => log.append([(*id, Payload(body.clone()))])?,
            Op::Vote(vote) => log.save_vote(*vote)?,
            // After a snapshot came in, the commit can be ahead of the log for a moment; and
            // what is known already need not be said again.
            Op::Commit(id) if state.committed() >= Some(id) || state.last() < Some(id) => {
                return Ok(None);
            }
            Op::Commit(id) => log.commit(*id)?,
            Op::Truncate(index) => {
                let next = state.last().map_or(0, |last| last.index + 1);
                let first = state.purged().map_or(0, |purged| purged.index + 1);
                if *index >= next {
                    return Ok(None);
                }
                log.truncate((*index).max(first))?
            }
            Op::Purge(upto) => log.purge(*upto)?,
        };
        Ok(Some(written.offset + written.size))
    }

    fn bytes(&self) -> u64 {
        match self {
            Op::Append(entry) => entry.body.len() as u64 + 80,
            _ => 80,
        }
    }
}

impl Shared {
    /// Flushes; while the disk is full it waits for room and then writes everything again.
    ///
    /// # Errors
    /// A fault of the disk, or the log was closed while it waited.
    pub(super) fn flush_when_there_is_room(&self, sync: bool) -> io::Result<()> {
        if !self.queue.lock().full {
            match self.flush(sync) {
                Err(error) if is_full(&error) => {
                    self.queue.lock().full = true;
                    self.watch.set_full(true);
                }
                result => return result,
            }
        }
        loop {
            let need = {
                let mut queue = self.queue.lock();
                if !queue.stop {
                    self.wake.wait_for(&mut queue, LOOK);
                }
                if queue.stop {
                    return Err(io::Error::other("the log is closed, and its disk is full"));
                }
                MARGIN + 2 * queue.unsynced.iter().map(|(_, op)| op.bytes()).sum::<u64>()
            };
            if !has_room(&self.dir, need) {
                continue;
            }
            match self.reopen() {
                Ok(()) => {
                    tracing::info!(path = %self.dir.display(), "there is room again: the log is written, and nothing was lost");
                    self.watch.set_full(false);
                    self.queue.lock().full = false;
                    self.room.notify_all();
                    return Ok(());
                }
                Err(error) if is_full(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens the log where it was last durable and writes again what followed.
    fn reopen(&self) -> io::Result<()> {
        let mut slot = self.log.write();
        // Nobody writes while the log is full, so this is all.
        let (durable, unsynced) = {
            let queue = self.queue.lock();
            (queue.durable, queue.unsynced.clone())
        };
        if let Some(old) = slot.take() {
            let mut before = self.synced_before.lock();
            let (count, micros) = syncs_of(&old);
            *before = (before.0 + count, before.1 + micros);
            // Ends its thread. What that still writes is cut off.
        }
        cut(&self.dir, durable).map_err(final_word)?;
        let log = slot.insert(RaftLog::open(self.config.clone()).map_err(final_word)?);
        for (_, op) in &unsynced {
            op.write(log)?;
        }
        sync(log)?;
        let mut queue = self.queue.lock();
        queue.unsynced.clear();
        queue.durable = log.stat().open_chunk.global_end;
        Ok(())
    }
}

/// Cutting and opening need no room; if they fail all the same there is no log to wait with.
fn final_word(error: io::Error) -> io::Error {
    io::Error::other(format!("the log cannot be opened anew after the disk was full: {error}"))
}

/// Whether so many bytes can be written there.
fn has_room(dir: &Path, need: u64) -> bool {
    if room_at(dir).is_ok_and(|(free, _)| free < need) {
        return false;
    }
    let probe = dir.join("room.tmp");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&probe)
        .and_then(|mut file| file.write_all(&[0; PROBE]).and_then(|()| file.sync_data()));
    // It may not be there.
    let _ = fs::remove_file(&probe);
    written.is_ok()
}

/// Cuts the log in `dir` off at `end`, which counts from its very beginning.
fn cut(dir: &Path, end: u64) -> io::Result<()> {
    let mut removed = false;
    for path in segments(dir).map_err(io::Error::other)? {
        let Some(begin) = begin(&path) else { continue };
        let file = OpenOptions::new().write(true).open(&path)?;
        let length = file.metadata()?.len();
        if begin >= end && begin > 0 {
            fs::remove_file(&path)?;
            removed = true;
        } else if begin + length > end {
            file.set_len(end - begin)?;
            file.sync_all()?;
        }
    }
    if removed { sync_dir(dir) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::super::log::{Body, Log};
    use super::super::{DiskLog, LogSettings};
    use super::*;

    fn entry(term: u64, index: u64) -> Entry {
        let body = Body::Batch(Bytes::from(vec![index as u8; 60]));
        Entry { id: LogId { term, node: 1, index }, body }
    }

    fn all(dir: &Path) -> (super::super::Extent, Vec<Entry>) {
        let settings = LogSettings { cache_bytes: 4096, segment_bytes: 1024 };
        let log = DiskLog::open(dir, settings, Arc::new(|_, _| ())).unwrap();
        (log.extent(), log.read(0, u64::MAX, u64::MAX).unwrap())
    }

    /// Cuts a log at every place where it may have been durable, in the middle of segments and between
    /// them, and writes the rest again: the log is as it was.
    #[test]
    fn what_followed_the_durable_end_is_written_again() {
        let made = tempfile::tempdir().unwrap();
        let config = |dir: &Path| {
            let mut config = raft_log::Config::new(dir.display());
            config.wal.chunk_max_size = Some(1024);
            Arc::new(config)
        };
        let mut ops: Vec<Op> = (0..20).map(|index| Op::Append(entry(1, index))).collect();
        ops.push(Op::Vote(Vote { term: 2, node: 2, committed: false }));
        ops.push(Op::Truncate(15));
        ops.push(Op::Commit(entry(1, 9).id));
        ops.push(Op::Commit(entry(1, 9).id));
        ops.extend((15..40).map(|index| Op::Append(entry(2, index))));
        let mut log = RaftLog::<LogTypes>::open(config(made.path())).unwrap();
        let mut ends = vec![log.stat().open_chunk.global_end];
        for op in &ops {
            let end = op.write(&mut log).unwrap();
            ends.push(end.unwrap_or(*ends.last().unwrap()));
        }
        sync(&mut log).unwrap();
        drop(log);
        let whole = all(made.path());
        assert_eq!(whole.1.len(), 40);
        for (at, end) in ends.iter().enumerate() {
            let copy = tempfile::tempdir().unwrap();
            for path in segments(made.path()).unwrap() {
                fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
            }
            cut(copy.path(), *end).unwrap();
            let mut log = RaftLog::<LogTypes>::open(config(copy.path())).unwrap();
            assert_eq!(log.stat().open_chunk.global_end, *end);
            for op in &ops[at..] {
                op.write(&mut log).unwrap();
            }
            sync(&mut log).unwrap();
            drop(log);
            assert_eq!(all(copy.path()), whole, "durable up to {at} writes");
        }
    }

    #[test]
    fn room_is_seen_by_writing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(has_room(dir.path(), 1));
        assert!(!has_room(dir.path(), u64::MAX));
        assert!(!has_room(&dir.path().join("not-there"), 1));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
