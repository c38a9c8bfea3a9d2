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
    let mut seconds = 0;
    // What the log held before this start counts as not yet in a snapshot.
    let mut covered = 0u64.wrapping_sub(raft.inner.log.size());
    let mut snapshot = raft.metrics().snapshot.map(|id| id.index);
    // Seconds since a snapshot was asked for. One that failed is asked for again.
    let mut asked: Option<u64> = None;
    let mut members = raft.membership();
    let mut followed = members.borrow_and_update().clone();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        seconds += 1;
        asked = asked.map(|asked| asked + 1).filter(|asked| *asked < SNAPSHOT_PATIENCE);
        let metrics = raft.metrics();
        let newest = metrics.snapshot.map(|id| id.index);
        if newest != snapshot {
            snapshot = newest;
            asked = None;
            seconds = 0;
            covered = raft.inner.log.appended_bytes();
        }
        let applied = metrics.last_applied.map(|id| id.index);
        let grown = raft.inner.log.appended_bytes().wrapping_sub(covered);
        let low = raft.disk().map(|disk| disk.facts()).filter(|disk| disk.is_low());
        if let Some(history) = raft.history() {
            history.rest(low.is_some());
        }
        let due = grown >= keeping.snapshot_bytes || seconds >= keeping.snapshot_seconds;
        let due = match &low {
            None => due,
            Some(disk) => seconds >= FILLING && has_room(&raft, disk.room.free).await,
        };
        if due && asked.is_none() && applied > newest {
            asked = Some(0);
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
