//! What a node does for its own log once a second (rule R21): it has a snapshot written after so
//! much log or so much time, purges the log behind it by bytes, notes in its identity that the
//! log has begun, lets go of documents that were read and never put into force, follows where the
//! membership says that nodes are, and makes the digests that nodes compare (`hashes.rs`).
//!
//! While the disk is filling up, history and checkpoint rest, the log keeps nothing beyond the newest
//! snapshot, and a new one is written only where there is room for it beside the old one: it is what lets
//! the log go.

use std::sync::Arc;
use std::time::Duration;

use super::{Raft, hashes};
use crate::history;
use crate::storage::{Identity, IdentityFile};

/// When snapshots are written and what is kept behind them.
#[derive(Debug, Clone, Copy)]
pub struct Keeping {
    /// Log bytes after which a snapshot is written.
    pub snapshot_bytes: u64,
    /// Seconds after which one is written, if anything changed.
    pub snapshot_seconds: u64,
    /// Log bytes kept for followers that lag.
    pub keep_bytes: u64,
    /// How much lease history is kept; `None` for none.
    pub history: Option<history::Limits>,
    /// How far apart in cluster time digests of the machine are taken; the same on all nodes.
    pub hash_every: Duration,
}

impl Default for Keeping {
    fn default() -> Keeping {
        Keeping {
            snapshot_bytes: 256 << 20,
            snapshot_seconds: 15 * 60,
            keep_bytes: 128 << 20,
            history: None,
            hash_every: hashes::EVERY,
        }
    }
}

/// How long a snapshot may take, in seconds, before another is asked for.
const SNAPSHOT_PATIENCE: u64 = 300;

/// While the disk is filling up, a snapshot is tried once in so many seconds.
const FILLING: u64 = 60;
/// Room that a snapshot leaves.
const SPARE: u64 = 32 << 20;

/// Runs until it is dropped; stopping it anywhere is safe, because openraft does each step whole.
pub(super) async fn run(
    raft: Raft,
    keeping: Keeping,
    file: Option<Arc<IdentityFile>>,
    mut identity: Identity,
) {
    let newest = raft.metrics().snapshot.map(|id| id.index);
    // What the log held before this start counts as not yet in a snapshot.
    let mut cadence = Cadence::new(newest, 0u64.wrapping_sub(raft.inner.log.size()));
    let mut members = raft.membership();
    let mut followed = members.borrow_and_update().clone();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let metrics = raft.metrics();
        let newest = metrics.snapshot.map(|id| id.index);
        let appended = raft.inner.log.appended_bytes();
        cadence.second(newest, appended);
        let applied = metrics.last_applied.map(|id| id.index);
        let low = raft.disk().map(|disk| disk.facts()).filter(|disk| disk.is_low());
        if let Some(history) = raft.history() {
            history.rest(low.is_some());
        }
        let due = match &low {
            None => cadence.is_due(&keeping, appended),
            Some(disk) => cadence.seconds >= FILLING && has_room(&raft, disk.room.free).await,
        };
        if due && cadence.asked.is_none() && applied > newest {
            cadence.ask(appended);
            if raft.inner.core.trigger().snapshot().await.is_err() {
                return;
            }
        }
        let now = members.borrow_and_update().clone();
        if now.log_id() != followed.log_id() {
            raft.inner.channels.book().follow(&followed, &now);
            followed = now;
        }
        raft.inner.shared.readings.sweep(raft.inner.shared.clock.boottime());
        let shared = raft.inner.shared.clone();
        // It fails only if it panics, and then there is nothing to compare.
        let _ = tokio::task::spawn_blocking(move || shared.hashes.digest()).await;
        let keep = if low.is_some() { 0 } else { keeping.keep_bytes };
        purge(&raft, keep, newest, metrics.purged.map(|id| id.index)).await;
        if let Some(file) = &file {
            started(&raft, file, &mut identity).await;
        }
    }
}

/// When the next snapshot is due. All bytes count from the start of the program, and may wrap.
#[derive(Debug)]
struct Cadence {
    /// The last entry in the newest snapshot.
    newest: Option<u64>,
    /// How much log had been appended when the newest snapshot was asked for. What came while it was
    /// being written belongs to the next.
    covered: u64,
    /// Seconds since the newest snapshot was there.
    seconds: u64,
    asked: Option<Asked>,
}

/// A snapshot that was asked for and is not there yet. One that failed is asked for again.
#[derive(Debug, Clone, Copy)]
struct Asked {
    seconds: u64,
    appended: u64,
}

impl Cadence {
    fn new(newest: Option<u64>, covered: u64) -> Cadence {
        Cadence { newest, covered, seconds: 0, asked: None }
    }

    /// A second has passed.
    fn second(&mut self, newest: Option<u64>, appended: u64) {
        self.seconds += 1;
        if let Some(asked) = &mut self.asked {
            asked.seconds += 1;
        }
        if newest != self.newest {
            self.newest = newest;
            self.seconds = 0;
            // One that was not asked for came from the leader.
            self.covered = self.asked.take().map_or(appended, |asked| asked.appended);
        }
        self.asked = self.asked.filter(|asked| asked.seconds < SNAPSHOT_PATIENCE);
    }

    fn is_due(&self, keeping: &Keeping, appended: u64) -> bool {
        appended.wrapping_sub(self.covered) >= keeping.snapshot_bytes
            || self.seconds >= keeping.snapshot_seconds
    }

    fn ask(&mut self, appended: u64) {
        self.asked = Some(Asked { seconds: 0, appended });
    }
}

/// Whether another snapshot has room beside the newest one.
async fn has_room(raft: &Raft, free: u64) -> bool {
    let snapshots = raft.inner.shared.snapshots.clone();
    let newest = tokio::task::spawn_blocking(move || snapshots.list()).await;
    let bytes = match newest {
        Ok(Ok(files)) => files.first().map_or(raft.inner.log.size(), |file| file.bytes),
        _ => return false,
    };
    free >= (2 * bytes).saturating_add(SPARE)
}

/// Purges what lies more than `keep` bytes behind, if a snapshot file holds it.
async fn purge(raft: &Raft, keep: u64, snapshot: Option<u64>, purged: Option<u64>) {
    let Some(snapshot) = snapshot else { return };
    let point = raft.inner.log.purge_point(keep).map(|point| point.min(snapshot));
    if let Some(point) = point.filter(|point| Some(*point) > purged)
        && raft.inner.core.trigger().purge_log(point).await.is_err()
    {
        tracing::debug!("the log is not purged: Raft has stopped");
    }
}

/// Notes that the log has begun, so that an empty one is a lost one from now on (R15).
async fn started(raft: &Raft, file: &Arc<IdentityFile>, identity: &mut Identity) {
    let Some(seat) = identity.seat.as_mut().filter(|seat| !seat.started) else { return };
    if raft.inner.log.extent().last.is_none() {
        return;
    }
    seat.started = true;
    let (file, identity) = (file.clone(), identity.clone());
    match tokio::task::spawn_blocking(move || file.write(&identity)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "noting in the identity that the log has begun"),
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEPING: Keeping = Keeping {
        snapshot_bytes: 1_000,
        snapshot_seconds: 60,
        keep_bytes: 0,
        history: None,
        hash_every: hashes::EVERY,
    };

    #[test]
    fn r21_what_is_appended_while_a_snapshot_is_written_counts_for_the_next() {
        let mut cadence = Cadence::new(None, 0);
        cadence.second(None, 1_000);
        assert!(cadence.is_due(&KEEPING, 1_000));
        cadence.ask(1_000);
        cadence.second(Some(10), 2_500);
        assert!(cadence.asked.is_none());
        assert!(cadence.is_due(&KEEPING, 2_500), "1 500 bytes are in no snapshot");
    }

    #[test]
    fn r21_a_snapshot_of_the_leader_covers_the_log_as_it_is() {
        let mut cadence = Cadence::new(None, 0);
        cadence.second(Some(10), 2_500);
        assert!(!cadence.is_due(&KEEPING, 2_500));
        assert!(cadence.is_due(&KEEPING, 3_500));
    }

    #[test]
    fn r21_a_snapshot_is_due_by_time_and_asked_for_again_when_it_does_not_come() {
        let mut cadence = Cadence::new(Some(1), 0);
        for _ in 0..KEEPING.snapshot_seconds {
            assert!(!cadence.is_due(&KEEPING, 1));
            cadence.second(Some(1), 1);
        }
        assert!(cadence.is_due(&KEEPING, 1));
        cadence.ask(1);
        for _ in 0..SNAPSHOT_PATIENCE {
            assert!(cadence.asked.is_some());
            cadence.second(Some(1), 1);
        }
        assert!(cadence.asked.is_none() && cadence.is_due(&KEEPING, 1));
    }

    #[test]
    fn what_the_log_held_before_the_start_is_in_no_snapshot() {
        let cadence = Cadence::new(None, 0u64.wrapping_sub(1_500));
        assert!(cadence.is_due(&KEEPING, 0));
    }
}
