//! openraft's state machine over [`State`]: decode, apply, publish, answer. Adapter only; the
//! rules are in [`crate::state`].

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::OptionalSend;
use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio_stream::{Stream, StreamExt};

use super::hashes::Hashes;
use super::lease_clock::LeaseClock;
use super::readings::{Readings, is_large};
use super::typ::{
    Answer, EncodedBatch, EntryResponder, LogId, Membership, Payload, Snapshot, SnapshotMeta,
    StoredMembership, TypeConfig,
};
use super::{image, wire};
use crate::clock::Clock;
use crate::history::History;
use crate::state::{
    Batch, Command, Event, Frozen, Outcome, Prepared, Readers, State, feature, wire as state_wire,
};
use crate::storage::{self, Base, Draft, SnapshotFile, Snapshots};
use crate::types::ClusterTime;

/// How long a checkpoint or a snapshot waits for the history.
const SETTLE: Duration = Duration::from_secs(5);
/// How long a snapshot that found no room waits before it is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// How far this node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The last applied entry.
    pub applied: Option<crate::storage::LogId>,
    /// The last stamp.
    pub stamp: ClusterTime,
}

/// What the machine shares with the rest of `raft`.
pub(super) struct Shared {
    /// This node.
    pub node: u64,
    /// The machine. The lock is held for one batch at most (R22).
    pub state: Arc<RwLock<State>>,
    /// Where it stands. Changed only under the write lock of `state`, so that whoever holds the
    /// read lock sees both at the same index.
    pub base: Mutex<(Option<LogId>, StoredMembership)>,
    /// Snapshot files.
    pub snapshots: Snapshots,
    /// Published after each entry.
    pub progress: watch::Sender<Progress>,
    /// Published when it changes, and at the start.
    pub membership: watch::Sender<Arc<StoredMembership>>,
    /// The lease clock.
    pub lease_clock: Mutex<LeaseClock>,
    /// Where boot time comes from.
    pub clock: Arc<dyn Clock>,
    /// Documents that are read already.
    pub readings: Arc<Readings>,
    /// Digests of the machine, to be compared with those of others.
    pub hashes: Hashes,
    /// How far apart in cluster time they are.
    pub hash_every: Duration,
    /// What happened, if it is kept.
    pub history: Option<Arc<History>>,
    /// Room for the events of one entry.
    pub events: Mutex<Vec<Event>>,
}

/// An entry decoded: whatever could differ between nodes has been done before the lock, and stops
/// the node.
#[derive(Debug)]
pub(super) enum Work {
    Blank,
    Membership(Membership),
    Batch(Batch),
}

impl Work {
    /// # Errors
    /// When this program cannot read the entry.
    pub fn decode(id: &LogId, payload: Payload) -> io::Result<Work> {
        Ok(match payload {
            Payload::Blank => Work::Blank,
            Payload::Membership(membership) => Work::Membership(membership),
            Payload::Normal(EncodedBatch(bytes)) => {
                Work::Batch(state_wire::decode_batch(&bytes).map_err(|error| {
                    let position = wire::log_id_to_storage(id);
                    let text = format!("entry {position} does not decode: {error}");
                    io::Error::new(io::ErrorKind::InvalidData, text)
                })?)
            }
        })
    }

    /// Whether applying it may take long: it puts a large document into force.
    fn is_long(&self) -> bool {
        let large = |command: &Command| match command {
            Command::SetConfig(set) => is_large(&set.document),
            Command::EditConfig(_) => true,
            _ => false,
        };
        matches!(self, Work::Batch(batch) if batch.commands.iter().any(large))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Shared {
    /// A view of the machine together with its position.
    pub fn freeze(&self) -> (Frozen, SnapshotMeta) {
        let state = self.state.read();
        let (last_log_id, last_membership) = self.base.lock().clone();
        (state.freeze(), SnapshotMeta { last_log_id, last_membership })
    }

    /// Applies one entry. Blocks while a large document is read that nobody has read ahead.
    ///
    /// # Errors
    /// When this program cannot follow the entry (R24): the node must stop.
    pub fn apply(&self, id: LogId, work: Work) -> io::Result<Answer> {
        let position = wire::log_id_to_storage(&id);
        let mut events = self.events.lock();
        let wall;
        let (answer, membership) = match work {
            Work::Blank => {
                let state = self.state.write();
                self.base.lock().0 = Some(id);
                wall = state.view().meta().wall_offset();
                (Answer { stamp: state.now(), outcomes: Vec::new() }, None)
            }
            Work::Membership(membership) => {
                let stored = StoredMembership::new(Some(id), membership);
                let state = self.state.write();
                *self.base.lock() = (Some(id), stored.clone());
                wall = state.view().meta().wall_offset();
                (Answer { stamp: state.now(), outcomes: Vec::new() }, Some(stored))
            }
            Work::Batch(batch) => {
                let prepared = match batch.sets_config() {
                    true => self.prepare(&batch)?,
                    false => Prepared::default(),
                };
                let answer = {
                    let mut state = self.state.write();
                    let before = state.now();
                    let outcomes = match self.history {
                        Some(_) => {
                            state.apply_telling(position.index, &batch, prepared, &mut events)
                        }
                        None => state.apply_prepared(position.index, &batch, prepared),
                    };
                    wall = state.view().meta().wall_offset();
                    self.base.lock().0 = Some(id);
                    self.mark(position.index, before, &state);
                    is_followed(state.view().meta().feature_level())?;
                    Answer { stamp: state.now(), outcomes }
                };
                let own = position.node == self.node;
                self.lease_clock.lock().observe(answer.stamp, self.clock.boottime(), own);
                self.read_ahead(&batch, &answer.outcomes);
                (answer, None)
            }
        };
        if let Some(history) = &self.history {
            history.record(position.index, answer.stamp, wall, &mut events);
        }
        drop(events);
        if let Some(membership) = membership {
            self.membership.send_replace(Arc::new(membership));
        }
        self.progress.send_replace(Progress { applied: Some(position), stamp: answer.stamp });
        Ok(answer)
    }

    /// Lets the history catch up before something durable passes `base`: what a crash takes of it is
    /// told again by the replay of what follows (R23). Waits a few seconds at most; a disk that is too
    /// slow for that costs history, which is told at the next start.
    pub fn settle_history(&self, base: &Base) {
        if let (Some(history), Some(applied)) = (&self.history, base.applied)
            && !history.settle(applied.index, SETTLE)
        {
            tracing::warn!(
                index = applied.index,
                "the lease history is behind what is about to be written; a crash now would leave a gap in it"
            );
        }
    }

    fn write_snapshot(&self) -> io::Result<SnapshotFile> {
        let (frozen, meta) = self.freeze();
        let base: Base = wire::meta_to_base(&meta);
        self.settle_history(&base);
        self.snapshots.write(&base, |out| image::write(&frozen, out))
    }

    fn prepare(&self, batch: &Batch) -> io::Result<Prepared> {
        // Nobody else changes the machine, so what is prepared for it now fits afterwards.
        let meta = self.state.read().view().meta().clone();
        let boot = self.clock.boottime();
        let readings = &self.readings;
        let readers = Readers {
            read: &mut |text| readings.read(text, boot),
            edit: &mut |on, config, edit| readings.edit(on, config, edit),
        };
        meta.prepare_with(batch, readers)
            .map_err(|unreadable| io::Error::new(io::ErrorKind::InvalidData, unreadable))
    }

    /// Begins to read documents whose last piece has come, and lets go of those in force.
    fn read_ahead(&self, batch: &Batch, outcomes: &[Outcome]) {
        for (command, outcome) in batch.commands.iter().zip(outcomes) {
            match (command, outcome) {
                (_, Outcome::ConfigEdited { version, .. }) => self.readings.forget_edits(*version),
                (Command::ConfigChunk(chunk), Outcome::ConfigChunk { missing: 0 }) => {
                    let text = self.state.read().view().meta().drafts().whole(&chunk.document);
                    if let Some(text) = text {
                        Readings::begin(&self.readings, text, self.clock.boottime());
                    }
                }
                (Command::SetConfig(set), Outcome::ConfigSet(version)) => {
                    self.readings.forget_edits(*version);
                    self.readings.forget(&set.document);
                }
                _ => {}
            }
        }
    }

    /// Puts another machine in place of this one.
    fn replace(&self, new: State, meta: &SnapshotMeta) {
        let stamp = new.now();
        {
            let mut state = self.state.write();
            *state = new;
            *self.base.lock() = (meta.last_log_id, meta.last_membership.clone());
            self.hashes.clear();
        }
        self.lease_clock.lock().observe(stamp, self.clock.boottime(), false);
        if let (Some(history), Some(id)) = (&self.history, &meta.last_log_id) {
            history.pass_over(id.index);
        }
        self.membership.send_replace(Arc::new(meta.last_membership.clone()));
        let applied = meta.last_log_id.as_ref().map(wire::log_id_to_storage);
        self.progress.send_replace(Progress { applied, stamp });
    }
}

/// # Errors
/// When the cluster has just reached a feature level that this program does not know (R24): what it
/// would do from now on may differ from what the others do.
pub(super) fn is_followed(level: u32) -> io::Result<()> {
    let known = feature::known();
    if level <= known {
        return Ok(());
    }
    let text = format!(
        "the cluster is at feature level {level} now, and this program knows {known} at most: start a newer one"
    );
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}

/// The state machine that openraft drives.
#[derive(Debug, Clone)]
pub struct Machine {
    shared: Arc<Shared>,
}

/// A snapshot on its way: out of a file of ours, or in from a peer.
#[derive(Debug)]
pub enum SnapshotData {
    /// A complete one.
    File(SnapshotFile),
    /// One that was received and not yet looked at.
    Received(Draft),
}

impl Machine {
    pub(super) fn new(shared: Arc<Shared>) -> Machine {
        Machine { shared }
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Machine;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok(self.shared.base.lock().clone())
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let (id, work) = (entry.log_id, Work::decode(&entry.log_id, entry.payload)?);
            let answer = if work.is_long() {
                let shared = self.shared.clone();
                spawn_blocking(move || shared.apply(id, work)).await.map_err(io::Error::other)??
            } else {
                self.shared.apply(id, work)?
            };
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        data: SnapshotData,
    ) -> Result<(), io::Error> {
        let (shared, meta) = (self.shared.clone(), meta.clone());
        spawn_blocking(move || {
            let base = wire::meta_to_base(&meta);
            let draft = match data {
                SnapshotData::Received(draft) => draft,
                // Of a node in the same process, as in the simulation.
                SnapshotData::File(file) => {
                    let mut draft = shared.snapshots.receive()?;
                    io::copy(&mut File::open(&file.path)?, draft.file()?)?;
                    draft
                }
            };
            // The file is in place before the machine is: a crash between them starts from it.
            let file = shared.snapshots.adopt(draft, &base)?;
            let state = image::read(&mut file.body()?)?;
            shared.replace(state, &meta);
            tracing::info!(
                index = base.applied.map(|id| id.index),
                "took over a snapshot of the leader"
            );
            Ok(())
        })
        .await
        .map_err(io::Error::other)?
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let snapshots = self.shared.snapshots.clone();
        let newest = spawn_blocking(move || snapshots.list()).await.map_err(io::Error::other)??;
        newest.into_iter().next().map(to_snapshot).transpose()
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let file = loop {
            let shared = self.shared.clone();
            let built = spawn_blocking(move || shared.write_snapshot());
            match built.await.map_err(io::Error::other)? {
                Ok(file) => break file,
                // An error would stop Raft. The old file is as it was, and nobody waits for a new one.
                Err(error) if storage::is_full(&error) => {
                    tracing::warn!(%error, "no snapshot is written: the disk is full");
                    let shared = self.shared.clone();
                    let old = spawn_blocking(move || shared.snapshots.list());
                    match old.await.map_err(io::Error::other)??.into_iter().next() {
                        Some(old) => return to_snapshot(old),
                        None => tokio::time::sleep(AGAIN).await,
                    }
                }
                Err(error) => return Err(error),
            }
        };
        tracing::info!(
            index = file.base.applied.map(|id| id.index),
            bytes = file.bytes,
            "wrote a snapshot"
        );
        to_snapshot(file)
    }
}

fn to_snapshot(file: SnapshotFile) -> io::Result<Snapshot> {
    Ok(Snapshot {
        meta: wire::meta_from_base(file.base.clone())?,
        snapshot: SnapshotData::File(file),
    })
}
