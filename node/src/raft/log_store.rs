//! openraft's log over [`crate::storage::Log`]. Adapter only.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::time::Duration;

use openraft::OptionalSend;
use openraft::storage::{RaftLogReader, RaftLogStorage};
use tokio::sync::oneshot;

use super::typ::{Entry, IoFlushed, LogId, LogState, TypeConfig, Vote};
use super::wire;
use crate::storage::Log;

/// The most that replication takes from the log at once. With the protobuf around it, it stays
/// well below the 16 MiB that a message may have.
const READ_LIMIT: u64 = 4 << 20;

/// How often a full disk is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// A log, shared by openraft's core and its replication tasks.
#[derive(Debug, Clone)]
pub struct LogStore {
    log: Arc<dyn Log>,
}

impl LogStore {
    /// openraft's view of `log`.
    pub fn new(log: Arc<dyn Log>) -> LogStore {
        LogStore { log }
    }

    fn is_full(&self) -> bool {
        self.log.watch().is_some_and(|disk| disk.is_full())
    }

    /// Waits until the disk has room. openraft's core waits with it, so that the others soon miss this
    /// node and do without it: it promises nothing that it could not keep. The log itself would wait as
    /// well, but on a thread of the runtime.
    async fn room(&self) {
        while self.is_full() {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn read(&self, from: u64, to: u64, max_bytes: u64) -> io::Result<Vec<Entry>> {
        let entries = self.log.read(from, to, max_bytes)?;
        entries.into_iter().map(|entry| Ok(wire::entry_from_storage(entry)?)).collect()
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        self.read(from, to, u64::MAX)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(start, end, READ_LIMIT)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.log.extent().vote.map(wire::vote_from_storage))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState, io::Error> {
        let extent = self.log.extent();
        Ok(LogState {
            last_purged_log_id: extent.purged.map(wire::log_id_from_storage),
            last_log_id: extent.last.map(wire::log_id_from_storage),
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.room().await;
        let (sent, received) = oneshot::channel();
        let done = Box::new(move |result| drop(sent.send(result)));
        self.log.save_vote(wire::vote_to_storage(vote), done)?;
        received.await.map_err(|_| io::Error::other("the log was closed"))?
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        match committed {
            // Nobody waits for it, and it is said again with the next one.
            Some(id) if !self.is_full() => self.log.save_committed(wire::log_id_to_storage(&id)),
            _ => Ok(()),
        }
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.log.extent().committed.map(wire::log_id_from_storage))
    }

    async fn append<I>(&mut self, entries: I, callback: IoFlushed) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(wire::entry_to_storage).collect();
        self.room().await;
        self.log.append(entries, Box::new(move |result| callback.io_completed(result)))
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.room().await;
        self.log.truncate(last.map_or(0, |last| last.index + 1))
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.room().await;
        self.log.purge(wire::log_id_to_storage(&upto))
    }
}
