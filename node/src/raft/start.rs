//! Starting Raft: settings, recovery, and the coordinator's last step of formation.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use openraft::SnapshotPolicy;
use openraft::network::{NetSnapshot, RaftNetworkFactory};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::checkpointer::Checkpointer;
use super::hashes::Hashes;
use super::machine::{Machine, Progress, Shared, SnapshotData};
use super::typ::{Core, Member};
use super::{
    Channels, Guard, Inner, Keeping, LeaseClock, LogStore, Me, PeerTls, Raft, RecoverError,
    Recovered, TypeConfig, recover, typ, upkeep, wire,
};
use crate::clock::Clock;
use crate::history::{self, History};
use crate::state::State;
use crate::storage::{Identity, IdentityFile, Log, REJOIN, RosterNode};

/// Timers of Raft. They are scaled together: a follower stands after `election_max` plus a random
/// time between the two, so service is back after about `2 × election_max` at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Between heartbeats; also the time limit of one.
    pub heartbeat: Duration,
    /// The shortest election timeout.
    pub election_min: Duration,
    /// The longest one, and the leader's lease.
    pub election_max: Duration,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers {
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(200),
            election_max: Duration::from_millis(400),
        }
    }
}

impl Timers {
    fn config(&self, cluster: u64) -> Result<typ::Config, StartError> {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let config = typ::Config {
            cluster_name: format!("{cluster:016x}"),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            enable_pre_vote: Some(true),
            // Lets a leader that reaches only a minority give way (openraft issue 2080).
            quorum_loss_probe_interval: Some(millis(self.election_max).saturating_mul(5) / 2),
            // A restarted leader stands again instead of taking its old place up.
            enable_leader_restore: Some(false),
            allow_log_reversion: Some(false),
            // Bytes decide, not entries (R21): see `upkeep.rs`.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX / 4,
            replication_lag_threshold: u64::MAX / 4,
            purge_batch_size: 1,
            max_payload_entries: 1024,
            backoff: "50ms 100ms 200ms ...500ms".to_string(),
            ..typ::Config::default()
        };
        config.validate().map_err(|error| StartError::Timers(error.to_string()))
    }
}

/// What a node starts Raft with.
#[derive(Debug)]
pub struct Start {
    /// The data directory.
    pub dir: PathBuf,
    /// Who the node is; its seat must be final.
    pub identity: Identity,
    /// The identity's file. Without one the node does not notice when its log was lost.
    pub identity_file: Option<Arc<IdentityFile>>,
    /// The log.
    pub log: Arc<dyn Log>,
    /// The machine; what is in it is replaced by what the disk holds.
    pub state: Arc<RwLock<State>>,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Raft's timers.
    pub timers: Timers,
    /// When snapshots are written.
    pub keeping: Keeping,
    /// Certificates; plain gRPC without.
    pub tls: Option<Arc<PeerTls>>,
}

/// Why Raft did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The node has no final seat.
    #[error("this node belongs to no cluster yet")]
    NoSeat,
    /// The log was there once and is empty now.
    #[error(
        "{}: the log of this node is empty, but it has voted in its cluster before: it was lost. {REJOIN}",
        .0.display()
    )]
    LogLost(PathBuf),
    /// The certificate is that of another cluster.
    #[error(
        "[peer].cert-file is for cluster {0:016x}, and this data directory belongs to cluster {1:016x}: have a \
         certificate made for that one"
    )]
    OtherCluster(u64, u64),
    /// Raft's timers do not fit together.
    #[error("the Raft timers do not fit together: {0}")]
    Timers(String),
    /// The data directory cannot be used.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// openraft refused.
    #[error("Raft did not start: {0}")]
    Fatal(String),
    /// The machine failed.
    #[error("Raft did not start: {0}")]
    Io(#[from] io::Error),
}

impl Raft {
    /// Starts over gRPC.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(start: Start) -> Result<Raft, StartError> {
        let me = me(&start.identity)?;
        let channels = Channels::new(me, start.tls.clone());
        Raft::start_with(start, channels.clone(), channels).await
    }

    /// Starts over any network, as in a simulation. `channels` still serves
    /// [`Raft::channel`].
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start_with<N>(
        start: Start,
        network: N,
        channels: Channels,
    ) -> Result<Raft, StartError>
    where
        N: RaftNetworkFactory<TypeConfig>,
        N::Network: NetSnapshot<TypeConfig, SnapshotData = SnapshotData>,
    {
        let Start { dir, identity, identity_file, log, state, clock, timers, keeping, tls } = start;
        let me = me(&identity)?;
        if let Some(tls) = tls.as_ref().filter(|tls| tls.me().cluster != me.cluster) {
            return Err(StartError::OtherCluster(tls.me().cluster, me.cluster));
        }
        let seat = identity.seat.clone().ok_or(StartError::NoSeat)?;
        let config = Arc::new(timers.config(me.cluster)?);
        // Judged on the log as it lies there: recovery moves an empty one up to the checkpoint. A member
        // that has begun has voted, or has heard who leads; without that it could vote twice in a term.
        if seat.started && log.extent().vote.is_none() {
            return Err(StartError::LogLost(dir.join("log")));
        }
        let (recovered, history) = tokio::task::spawn_blocking({
            let log = log.clone();
            move || {
                let recovered = recover(&dir, &*log)?;
                let base = recovered.base.applied.map(|id| id.index);
                let limits = keeping.history;
                Ok::<_, RecoverError>((
                    recovered,
                    limits.and_then(|it| open_history(&dir, me, it, base)),
                ))
            }
        })
        .await
        .map_err(io::Error::other)??;
        let empty = {
            let extent = log.extent();
            extent.last.is_none() && extent.vote.is_none()
        };

        let Recovered { state: machine, base, snapshots, checkpoint, from_checkpoint } = recovered;
        let written = from_checkpoint.then(|| (machine.freeze(), base.clone()));
        let stamp = machine.now();
        *state.write() = machine;
        let meta = wire::meta_from_base(base.clone()).map_err(io::Error::from)?;
        let membership = meta.last_membership;
        let (progress, progress_seen) = watch::channel(Progress { applied: base.applied, stamp });
        let (membership_sender, membership_seen) = watch::channel(Arc::new(membership.clone()));
        let shared = Arc::new(Shared {
            node: me.node,
            state,
            base: Mutex::new((meta.last_log_id, membership)),
            snapshots,
            progress,
            membership: membership_sender,
            lease_clock: Mutex::new(LeaseClock::new(stamp, clock.boottime())),
            clock,
            readings: Arc::default(),
            hashes: Hashes::default(),
            hash_every: keeping.hash_every,
            history,
            events: Mutex::default(),
        });
        let store = LogStore::new(log.clone());
        let core = Core::new(me.node, config, network, store, Machine::new(shared.clone()))
            .await
            .map_err(|fatal| StartError::Fatal(fatal.to_string()))?;

        let roster = Arc::new(seat.roster.clone());
        // A node that joined is not in its own roster: it never makes a membership of its own.
        if empty && seat.roster.first().is_some_and(|first| first.node == seat.node) {
            initialize(&core, &roster).await?;
        }
        let checkpointer = Checkpointer::start(shared.clone(), log.clone(), checkpoint, written)?;
        let book = channels.book();
        let raft = Raft {
            inner: Arc::new(Inner {
                core,
                me,
                roster: roster.clone(),
                identity: identity.clone(),
                channels,
                guard: Guard::new(
                    me,
                    roster,
                    membership_seen,
                    book,
                    shared.state.clone(),
                    tls.is_some(),
                ),
                tls,
                seats: Arc::default(),
                log,
                shared,
                progress: progress_seen,
                stamping: tokio::sync::Mutex::new(()),
                changing: tokio::sync::Mutex::new(()),
                not_let_in: AtomicU64::new(0),
                removed: watch::channel(None).0,
                checkpointer: Mutex::new(Some(checkpointer)),
                upkeep: Mutex::new(None),
            }),
        };
        let upkeep = tokio::spawn(upkeep::run(raft.clone(), keeping, identity_file, identity));
        *raft.inner.upkeep.lock() = Some(upkeep);
        Ok(raft)
    }
}

pub(super) fn me(identity: &Identity) -> Result<Me, StartError> {
    match &identity.seat {
        Some(seat) if !seat.provisional => {
            Ok(Me { cluster: seat.cluster, node: seat.node.0, instance: identity.instance })
        }
        _ => Err(StartError::NoSeat),
    }
}

/// The history serves people, not the promises: without it the node goes on.
fn open_history(
    dir: &Path,
    me: Me,
    limits: history::Limits,
    base: Option<u64>,
) -> Option<Arc<History>> {
    let opened = History::open(&dir.join("history"), me.cluster, limits, base);
    opened
        .inspect_err(|error| {
            tracing::error!(%error, "the lease history does not open: this node goes on without one");
        })
        .ok()
}

/// The coordinator's last step. A crash before it is made good by the next start.
async fn initialize(core: &Core, roster: &[RosterNode]) -> Result<(), StartError> {
    let members: BTreeMap<u64, Member> =
        roster.iter().map(|node| (node.node.0, Member::from(node))).collect();
    core.initialize(members).await.map_err(|error| StartError::Fatal(error.to_string()))
}
