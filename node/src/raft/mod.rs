//! Agreement: openraft embedded, and the handle that the rest of the program uses.
//!
//! | File | |
//! |---|---|
//! | `typ.rs` | openraft's types, once |
//! | `log_store.rs`, `machine.rs` | adapters: log and state machine |
//! | `network.rs`, `service.rs`, `guard.rs`, `wire.rs` | peers over gRPC |
//! | `port.rs`, `dial.rs`, `tls.rs`, `certificate.rs`, `stream.rs` | connections, and who may have one |
//! | `formation.rs`, `cluster_service.rs` | how a cluster begins; reads for followers |
//! | `join.rs`, `admit.rs` | how a node joins: its side, and the leader's |
//! | `membership.rs`, `quorum.rs`, `addresses.rs` | changes of the membership; when one is safe; nodes that were moved |
//! | `start.rs`, `status.rs` | settings and start; Raft at a glance |
//! | `lease_clock.rs` | cluster time |
//! | `local.rs` | a network inside one process, for simulations |
//! | `readings.rs` | configurations read before the entry that puts them into force |
//! | `recover.rs`, `checkpointer.rs`, `image.rs`, `upkeep.rs` | start, checkpoint, snapshots, purging |
//! | `hashes.rs` | whether all nodes have the same machine |
//! | `backup.rs`, `restore.rs`, `rescue.rs`, `found.rs` | backups, lost majorities, and new clusters made from what is there |
//!
//! Start: [`form`] or [`join()`] → [`Raft::start`] → [`Raft::serve`].
//!
//! Tasks: openraft's own; one that keeps the log in size (`upkeep.rs`), which may be stopped
//! anywhere; the gRPC server. Threads: the log's writer, the checkpoint's writer.
//!
//! A storage error is final: openraft stops, [`Raft::stopped`] says why, and the process must exit.
//!
//! Not done here: leader duties (`peers`, `serve`); batching and forwarding (`propose`).

mod addresses;
mod admit;
pub mod backup;
pub mod certificate;
mod checkpointer;
mod cluster_service;
mod commits;
mod dial;
mod formation;
mod found;
mod guard;
pub mod hashes;
mod image;
mod join;
mod lease_clock;
pub mod local;
mod log_store;
mod machine;
mod membership;
mod network;
mod port;
pub mod quorum;
mod readings;
mod recover;
pub mod rescue;
mod restore;
mod service;
mod start;
mod status;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
pub mod typ;
mod upkeep;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use leasehold_proto::cluster as proto;
use leasehold_proto::cluster::cluster_client::ClusterClient;
use leasehold_proto::cluster::cluster_server::ClusterServer;
use leasehold_proto::raft::raft_server::RaftServer;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::{ReadPolicy, ServerState};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;

pub use addresses::REMOVED;
pub use dial::connect;
pub use formation::{FormationError, Plan, form};
pub use found::{FoundError, Founded, Founding, found, highest_node};
pub use guard::Guard;
pub use join::{JoinError, JoinPlan, Token, join};
pub use lease_clock::LeaseClock;
pub use log_store::LogStore;
pub use machine::{Machine, Progress, SnapshotData};
pub use membership::{Change, ChangeError, Changed, Verb};
pub use network::{Channels, ENDS, MESSAGE_LIMIT, Me, PeerChannel, Purpose};
pub use port::Caller;
pub use recover::{RecoverError, Recovered, recover};
pub use restore::{Restore, RestoreError, Restored, open as open_backup, restore};
pub use start::{Start, StartError, Timers};
pub use status::{PeerStatus, Role, Status};
pub use tls::PeerTls;
pub use typ::TypeConfig;
pub use upkeep::Keeping;

use crate::config::Config;
use crate::config::edit::Edit;
use crate::history::{self, History};
use crate::state::document::Editing;
use crate::state::{Batch, Command, ConfigVersion, Document, Outcome, wire as state_wire};
use crate::storage::{DiskWatch, Identity, Log, RosterNode};
use crate::types::{ClusterTime, NodeId};
use checkpointer::{Checkpointer, Ending};
use machine::Shared;
use port::Seats;
use typ::{Core, Member, StoredMembership};

/// How long a new leader's first entry may take before a proposal is turned away.
const FIRST_ENTRY: Duration = Duration::from_secs(1);
/// How long [`Raft::stopped`] looks away after each look.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a linearizable read may take.
const READ_DEADLINE: Duration = Duration::from_secs(2);
/// How long calls under way may take to end when the server stops.
const SERVER_GRACE: Duration = Duration::from_millis(500);
/// The most bytes of a message that anybody may send.
pub const SMALL: usize = 64 << 10;
/// The most calls at once on a connection, and the most bytes of their headers. A node has a handful.
const STREAMS: u32 = 64;
const HEADERS: u32 = 16 << 10;
/// How long a hand-over may take.
const TRANSFER_DEADLINE: Duration = Duration::from_secs(2);

/// A proposal that was committed and applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The entry.
    pub index: u64,
    /// Its stamp.
    pub stamp: ClusterTime,
    /// One for each command, in order.
    pub outcomes: Vec<Outcome>,
}

/// Why a proposal has no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Certainly not proposed: this node does not lead. Perhaps that one does.
    #[error("this node does not lead")]
    NotLeader(Option<NodeId>),
    /// It may be committed, now or later, or never (R3).
    #[error("the outcome is unknown")]
    Unknown,
    /// Certainly not proposed: Raft has stopped.
    #[error("Raft has stopped")]
    Stopped,
    /// Certainly not proposed: more than [`Batch::MAX`] commands.
    #[error("too many commands for one entry")]
    TooMany,
}

/// No leader answered a linearizable read in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no leader could be reached; a majority of the nodes may be down or cut off")]
pub struct NoLeader;

/// Why leadership was not handed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// Only the leader hands over, and none is known, or it changes just now.
    #[error(
        "no leader is known that could hand over; a majority of the nodes may be down or cut off"
    )]
    NotLeader(Option<NodeId>),
    /// The leader refused.
    #[error("node {0}, which leads, did not hand over: {1}")]
    Refused(NodeId, String),
    /// There is nobody to hand over to, or the named node is no voter.
    #[error("there is no such voter to hand over to")]
    NoTarget,
    /// The other node did not take over in time.
    #[error("the other node did not take over in time")]
    TimedOut,
    /// Raft has stopped.
    #[error("Raft has stopped")]
    Stopped,
}

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Raft {
    inner: Arc<Inner>,
}

struct Inner {
    core: Core,
    me: Me,
    roster: Arc<Vec<RosterNode>>,
    identity: Identity,
    channels: Channels,
    guard: Guard,
    tls: Option<Arc<PeerTls>>,
    seats: Arc<Seats>,
    log: Arc<dyn Log>,
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
    /// Held while a stamp is drawn and its entry handed to openraft, so that the order of the log
    /// is the order of the stamps (R10).
    stamping: tokio::sync::Mutex<()>,
    /// Held while this node, which leads, changes the membership: one change at a time.
    changing: tokio::sync::Mutex<()>,
    /// Requests to join that were refused here.
    not_let_in: AtomicU64,
    /// Why this node is no member any more, once it has learnt that.
    removed: watch::Sender<Option<String>>,
    checkpointer: Mutex<Option<Checkpointer>>,
    upkeep: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Raft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raft").field("me", &self.inner.me).finish_non_exhaustive()
    }
}

impl Raft {
    /// Serves peers on `listener` until `stop` ends, and half a second longer for calls under way;
    /// kept streams are cut then. `more` are services beside Raft's; wrap each in [`Raft::guard`].
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub fn serve(
        &self,
        listener: &TcpListener,
        more: Routes,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<JoinHandle<Result<(), tonic::transport::Error>>> {
        let inner = &self.inner;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
        let service = service::RaftService::new(inner.core.clone(), inner.shared.snapshots.clone());
        let service = RaftServer::new(service)
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT);
        let initial = inner.roster.iter().map(|node| node.address.clone()).collect();
        let who: proto::Who = formation::who(&inner.identity, initial);
        let cluster = cluster_service::ClusterService::new(who, self.clone(), inner.guard.clone());
        let routes = more
            .add_service(InterceptedService::new(service, inner.guard.clone().of_raft()))
            .add_service(ClusterServer::new(cluster).max_decoding_message_size(SMALL));
        let (tls, seats) = (inner.tls.clone(), inner.seats.clone());
        let incoming = port::listen(listener, tls, self.lives(), seats);
        let (stopping, mut stopped) = watch::channel(false);
        let mut stopping_server = stopped.clone();
        let server = server()
            .http2_keepalive_interval(Some(Duration::from_millis(500)))
            .http2_keepalive_timeout(Some(Duration::from_millis(500)))
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming, async move {
                // Ends with an error when the sender goes, which means the same.
                let _ = stopping_server.wait_for(|stop| *stop).await;
            });
        Ok(tokio::spawn(async move {
            let watcher = async {
                stop.await;
                stopping.send_replace(true);
                std::future::pending::<()>().await;
            };
            let grace = async {
                if stopped.wait_for(|stop| *stop).await.is_err() {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(SERVER_GRACE).await;
            };
            tokio::select! {
                result = server => result,
                () = watcher => Ok(()),
                () = grace => Ok(()),
            }
        }))
    }

    /// Proposes `commands` as one entry, in order. Resolves when this node has applied it; may
    /// never resolve without a majority, so give it a time limit: then the outcome is unknown.
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub async fn propose(&self, mut commands: Vec<Command>) -> Result<Applied, ProposeError> {
        if commands.len() > Batch::MAX {
            return Err(ProposeError::TooMany);
        }
        self.first_entry().await?;
        let refused = self.refused(&mut commands).await;
        if refused.is_empty() {
            return self.propose_checked(commands).await;
        }
        // What was refused is answered as if `apply` had, at the place where this node is.
        let rest: Vec<Command> = commands
            .into_iter()
            .enumerate()
            .filter(|(at, _)| !refused.contains_key(at))
            .map(|(_, command)| command)
            .collect();
        let mut applied = if rest.is_empty() {
            let Progress { applied, stamp } = self.applied();
            let index = applied.map_or(0, |id| id.index);
            Applied { index, stamp, outcomes: Vec::new() }
        } else {
            self.propose_checked(rest).await?
        };
        for (at, outcome) in refused {
            let at = at.min(applied.outcomes.len());
            applied.outcomes.insert(at, outcome);
        }
        Ok(applied)
    }

    async fn propose_checked(&self, commands: Vec<Command>) -> Result<Applied, ProposeError> {
        let inner = &self.inner;
        let (responder, answer) = openraft::impls::OneshotResponder::new_pair();
        {
            let _order = inner.stamping.lock().await;
            // Looked at again under the lock: a stamp must not outlive the term it was drawn in.
            let leader = self.stamping_leader()?;
            let boot = inner.shared.clock.boottime();
            let stamp = inner.shared.lease_clock.lock().issue(boot, leader.term);
            let bytes = state_wire::encode_batch(&Batch { stamp, commands });
            let write = inner.core.write(typ::EncodedBatch(bytes));
            let write = write.with_leader(leader).responder(responder);
            write.await.map_err(|_| ProposeError::Stopped)?;
        }
        match answer.await {
            Ok(Ok(response)) => {
                let typ::Answer { stamp, outcomes } = response.data;
                Ok(Applied { index: response.log_id.index, stamp, outcomes })
            }
            Ok(Err(typ::ClientWriteError::ForwardToLeader(forward))) => {
                Err(ProposeError::NotLeader(forward.leader_id.map(NodeId)))
            }
            Ok(Err(_)) | Err(_) => Err(ProposeError::Unknown),
        }
    }

    /// The commands that the leader must not let into the log, by place, and what is answered instead: one
    /// that not every node may be able to read yet, and a document that its parser refuses would stop every node, at every start (R24). Reading
    /// them here is also what keeps the leader's `apply` from waiting for it.
    ///
    /// An edit that is good learns on top of which version it is: there no node may find otherwise.
    async fn refused(&self, commands: &mut [Command]) -> BTreeMap<usize, Outcome> {
        let mut refused = BTreeMap::new();
        let level = self.level();
        for (at, command) in commands.iter_mut().enumerate() {
            if command.level() > level {
                refused.insert(at, Outcome::NotYet(command.level()));
                continue;
            }
            let set = match command {
                Command::SetConfig(set) => set,
                Command::EditConfig(edit) => {
                    let (shared, tried) = (self.inner.shared.clone(), edit.clone());
                    let trying = tokio::task::spawn_blocking(move || shared.try_edit(&tried));
                    edit.checked = None;
                    match trying.await {
                        Ok(Some(Ok(version))) => edit.checked = Some(version),
                        Ok(Some(Err(no))) => _ = refused.insert(at, Outcome::ConfigNotEdited(no)),
                        Ok(None) => {}
                        Err(_) => {
                            let why = "making the change failed".to_owned();
                            refused.insert(at, Outcome::ConfigRefused(why));
                        }
                    }
                    continue;
                }
                _ => continue,
            };
            let (shared, set) = (self.inner.shared.clone(), set.clone());
            let why = if readings::is_large(&set.document) {
                let reading = tokio::task::spawn_blocking(move || shared.why_refused(&set));
                reading.await.unwrap_or_else(|_| Some("reading the document failed".into()))
            } else {
                shared.why_refused(&set)
            };
            refused.extend(why.map(|why| (at, Outcome::ConfigRefused(why))));
        }
        refused
    }

    /// Tells that `document` was read here, by whoever proposes it: then it is not read once more.
    /// Only what [`crate::state::document::parse`] gave for the text is right.
    pub fn has_read(&self, document: Document, config: Arc<Config>) {
        let shared = &self.inner.shared;
        shared.readings.put(document, config, shared.clock.boottime());
    }

    /// Tells what `edit` comes to on top of a version, as this node has found: then it is not made once
    /// more. Only what [`crate::state::document::edit`] gave for it is right.
    pub fn has_edited(&self, on: ConfigVersion, edit: &Edit, editing: Editing) {
        self.inner.shared.readings.put_edit(on, edit, editing);
    }

    /// Waits until this node, which leads, has applied an entry of its own term.
    async fn first_entry(&self) -> Result<(), ProposeError> {
        if self.stamping_leader().is_ok() {
            return Ok(());
        }
        let waiting = async {
            let mut progress = self.inner.progress.clone();
            loop {
                progress.borrow_and_update();
                self.leading()?;
                if self.stamping_leader().is_ok() {
                    return Ok(());
                }
                if progress.changed().await.is_err() {
                    return Err(ProposeError::Stopped);
                }
            }
        };
        match tokio::time::timeout(FIRST_ENTRY, waiting).await {
            Ok(result) => result,
            Err(_) => Err(ProposeError::NotLeader(None)),
        }
    }

    fn leading(&self) -> Result<typ::LeaderId, ProposeError> {
        // A leader that was restarted still finds its own committed vote, and `as_leader` believes
        // it; the server's state does not.
        let (state, leader) = {
            let metrics = self.inner.core.server_metrics();
            let metrics = metrics.borrow_watched();
            (metrics.state, metrics.current_leader)
        };
        if state != ServerState::Leader {
            return Err(ProposeError::NotLeader(leader.map(NodeId)));
        }
        match self.inner.core.as_leader() {
            Ok(leader) => Ok(*leader.leader_id()),
            Err(forward) => Err(ProposeError::NotLeader(forward.leader_id.map(NodeId))),
        }
    }

    /// The leader id of this node, if it leads and has applied an entry of its own term (R10, R13).
    fn stamping_leader(&self) -> Result<typ::LeaderId, ProposeError> {
        let leader = self.leading()?;
        let applied = self.inner.progress.borrow().applied;
        if applied.is_some_and(|id| id.term == leader.term && id.node == leader.node_id) {
            Ok(leader)
        } else {
            Err(ProposeError::NotLeader(Some(NodeId(leader.node_id))))
        }
    }

    /// Whether this node leads and may stamp.
    pub fn is_stamping(&self) -> bool {
        self.stamping_leader().is_ok()
    }

    /// The feature level in force (R24).
    pub fn level(&self) -> u32 {
        self.inner.shared.state.read().view().meta().feature_level()
    }

    /// Cluster time, as far as this node can tell.
    pub fn now(&self) -> ClusterTime {
        let shared = &self.inner.shared;
        shared.lease_clock.lock().now(shared.clock.boottime())
    }

    /// Waits until this node shows everything that was acknowledged before the call, anywhere in
    /// the cluster; returns the index it has applied at least.
    ///
    /// # Errors
    /// When no leader confirms within 2 s.
    pub async fn read_barrier(&self) -> Result<u64, NoLeader> {
        let reading = async {
            let mut pause = Duration::from_millis(10);
            loop {
                if let Some(index) = self.read_index().await {
                    self.applied_at_least(index).await;
                    return index;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(100));
            }
        };
        tokio::time::timeout(READ_DEADLINE, reading).await.map_err(|_| NoLeader)
    }

    async fn read_index(&self) -> Option<u64> {
        let leader = match self.leader_read_index().await {
            Ok(index) => return Some(index),
            Err(leader) => leader?,
        };
        if leader.0 == self.inner.me.node {
            return None;
        }
        use proto::read_index_response::Result as Wire;
        let channel = self.channel(leader, Purpose::Forward)?;
        let response =
            ClusterClient::new(channel).read_index(proto::ReadIndexRequest {}).await.ok()?;
        match response.into_inner().result? {
            Wire::Index(index) => Some(index),
            Wire::NotLeader(_) => None,
        }
    }

    /// The read index, if this node leads and a majority says so; else who leads perhaps.
    pub async fn leader_read_index(&self) -> Result<u64, Option<NodeId>> {
        if let Err(error) = self.leading() {
            return match error {
                ProposeError::NotLeader(leader) => Err(leader),
                _ => Err(None),
            };
        }
        match self.inner.core.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Ok(linearizer.read_log_id().log_id().index),
            Err(_) => Err(None),
        }
    }

    /// Waits until this node has applied the entry at `index`. Forever if it never does.
    pub async fn applied_at_least(&self, index: u64) {
        let mut progress = self.inner.progress.clone();
        let reached =
            progress.wait_for(|progress| progress.applied.is_some_and(|id| id.index >= index));
        if reached.await.is_err() {
            // The machine is gone; so is whoever asked, soon.
            std::future::pending::<()>().await;
        }
    }

    /// How far this node is.
    pub fn applied(&self) -> Progress {
        *self.inner.progress.borrow()
    }

    /// Told after each applied entry.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.inner.progress.clone()
    }

    /// Members, told when they change.
    pub fn membership(&self) -> watch::Receiver<Arc<StoredMembership>> {
        self.inner.shared.membership.subscribe()
    }

    /// This node.
    pub fn id(&self) -> NodeId {
        NodeId(self.inner.me.node)
    }

    /// Who leads, as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.metrics().current_leader.map(NodeId)
    }

    /// The kept channel to a member, whose calls name both ends; `None` if it is no member.
    pub fn channel(&self, node: NodeId, purpose: Purpose) -> Option<PeerChannel> {
        let member = self.member(node)?;
        self.inner.channels.get(node.0, &member, purpose).ok()
    }

    fn member(&self, node: NodeId) -> Option<Member> {
        if let Some(member) = self.inner.shared.membership.borrow().get_node(&node.0) {
            return Some(member.clone());
        }
        let known = self.inner.roster.iter().find(|known| known.node == node)?;
        Some(known.into())
    }

    /// Says whether a member lives at an address.
    fn lives(&self) -> port::Lives {
        let (membership, roster) = (self.membership(), self.inner.roster.clone());
        Arc::new(move |address| {
            let is_at = |known: &str| {
                known.parse().is_ok_and(|known: SocketAddr| known.ip().to_canonical() == address)
            };
            let membership = membership.borrow();
            let mut members = membership.nodes().map(|(_, member)| member.address.as_str());
            members.any(is_at) || roster.iter().any(|node| is_at(&node.address))
        })
    }

    /// The certificates of the peer port, if there are any.
    pub fn tls(&self) -> Option<&Arc<PeerTls>> {
        self.inner.tls.as_ref()
    }

    /// Connections to the peer port that were ended for want of room, or of proof in time.
    pub fn turned_away(&self) -> u64 {
        self.inner.seats.turned_away()
    }

    /// Stands before each service between nodes.
    pub fn guard(&self) -> Guard {
        self.inner.guard.clone()
    }

    /// openraft's own handle, for simulations and tests.
    pub fn core(&self) -> &Core {
        &self.inner.core
    }

    fn metrics(&self) -> typ::Metrics {
        // Cloned at once: the guard would hold up openraft's core.
        self.inner.core.metrics().borrow_watched().clone()
    }

    /// Has the leader, whoever it is, hand over to `to`, or to the voter that is nearest to the end
    /// of the log. Returns the new leader.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub async fn transfer_leader(&self, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        let leader = match self.hand_over(to).await {
            Err(TransferError::NotLeader(Some(leader))) if leader != self.id() => leader,
            result => return result,
        };
        if to == Some(leader) {
            return Ok(leader);
        }
        use proto::hand_over_response::Result as Wire;
        let channel =
            self.channel(leader, Purpose::Forward).ok_or(TransferError::NotLeader(None))?;
        let request = proto::HandOverRequest { to: to.map_or(0, |node| node.0) };
        let mut client = ClusterClient::new(channel);
        let asking = client.hand_over(request);
        match tokio::time::timeout(TRANSFER_DEADLINE * 2, asking).await {
            Ok(Ok(response)) => match response.into_inner().result {
                Some(Wire::Leader(leader)) => Ok(NodeId(leader)),
                Some(Wire::Refused(reason)) => Err(TransferError::Refused(leader, reason)),
                None => Err(TransferError::NotLeader(None)),
            },
            Ok(Err(_)) | Err(_) => Err(TransferError::TimedOut),
        }
    }

    /// [`Raft::transfer_leader`] for the node that leads.
    pub(in crate::raft) async fn hand_over(
        &self,
        to: Option<NodeId>,
    ) -> Result<NodeId, TransferError> {
        if let Err(error) = self.leading() {
            return Err(match error {
                ProposeError::NotLeader(leader) => TransferError::NotLeader(leader),
                _ => TransferError::Stopped,
            });
        }
        if to == Some(self.id()) {
            return Ok(self.id());
        }
        let status = self.status();
        let others = status.members.iter().filter(|m| m.voter && m.node != status.id);
        let target = match to {
            Some(node) => others.into_iter().find(|m| m.node == node),
            None => others.into_iter().max_by_key(|m| {
                (m.heard_ago.is_some(), m.matched, m.heard_ago.map(std::cmp::Reverse))
            }),
        };
        let target = target.ok_or(TransferError::NoTarget)?.node;
        let trigger = self.inner.core.trigger();
        trigger.transfer_leader(target.0).await.map_err(|_| TransferError::Stopped)?;
        let waiting = self.inner.core.wait(Some(TRANSFER_DEADLINE));
        match waiting.current_leader(target.0, "leadership is handed over").await {
            Ok(_) => Ok(target),
            Err(_) => Err(TransferError::TimedOut),
        }
    }

    /// Has a snapshot written now, as before a backup.
    ///
    /// # Errors
    /// When Raft has stopped.
    pub async fn snapshot(&self) -> Result<(), ProposeError> {
        self.inner.core.trigger().snapshot().await.map_err(|_| ProposeError::Stopped)
    }

    /// Resolves with the reason when Raft has stopped, for whatever reason: the process must exit.
    pub async fn stopped(&self) -> String {
        let mut metrics = self.inner.core.metrics();
        loop {
            if let Err(fatal) = metrics.borrow_watched().running_state.clone() {
                return fatal.to_string();
            }
            // They change several times with each entry, and each time a thread would wake for nothing.
            tokio::time::sleep(LOOK_AGAIN).await;
            if metrics.changed().await.is_err() {
                return "Raft has ended".to_string();
            }
        }
    }

    /// The disk under the log, if that is on one.
    pub fn disk(&self) -> Option<&Arc<DiskWatch>> {
        self.inner.log.watch()
    }

    /// Whether this node may stand for election; it may, unless it is told not to.
    pub fn may_stand(&self, may: bool) {
        self.inner.core.runtime_config().elect(may);
    }

    /// A backup of the machine as it stands, taken at `wall` (Unix milliseconds): in constant time.
    pub fn backup(&self, wall: i64) -> backup::Backup {
        let (frozen, meta) = self.inner.shared.freeze();
        backup::Backup::of(
            frozen,
            wire::meta_to_base(&meta),
            self.inner.me.cluster,
            self.id(),
            wall,
        )
    }

    /// What happened to leases, if it is kept.
    pub fn history(&self) -> Option<&Arc<History>> {
        self.inner.shared.history.as_ref()
    }

    /// Stops Raft and writes the checkpoint once more.
    pub async fn shutdown(&self) {
        self.end(Ending::Orderly).await;
    }

    /// Stops Raft as a crash does: nothing more is written. For tests and the simulation.
    pub async fn crash(&self) {
        self.end(Ending::Abrupt).await;
    }

    async fn end(&self, ending: Ending) {
        if let Some(upkeep) = self.inner.upkeep.lock().take() {
            upkeep.abort();
        }
        if let Err(error) = self.inner.core.shutdown().await {
            tracing::warn!(%error, "stopping Raft");
        }
        let checkpointer = self.inner.checkpointer.lock().take();
        let history = self.inner.shared.history.clone();
        let stopping = tokio::task::spawn_blocking(move || {
            // Nothing more is applied: what the history still has to write comes before the checkpoint, which
            // would wait for it, and for a full disk in vain.
            if let (Some(history), Ending::Orderly) = (&history, ending) {
                history.stop(history::Ending::Orderly);
            }
            if let Some(checkpointer) = checkpointer {
                checkpointer.stop(ending);
            }
            if let Some(history) = history {
                history.stop(history::Ending::Abrupt);
            }
        });
        if stopping.await.is_err() {
            tracing::error!("stopping the checkpoint thread");
        }
    }
}

/// A server that takes no more from a caller than any node sends.
fn server() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .max_concurrent_streams(STREAMS)
        .http2_max_header_list_size(HEADERS)
}
