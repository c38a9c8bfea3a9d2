//! A network inside one process, for the seeded simulation and tests: links can be cut in one
//! direction, slowed and made lossy. Nothing here is used by a running server.
//!
//! A message crosses a [`Link`] on the way there and its answer the reverse link on the way back;
//! either can lose it. A lost answer leaves the request done, which is the case worth testing. After
//! a loss the connection is gone, as with TCP, and the next message needs a handshake first, which
//! takes both directions.
//!
//! [`super::Raft::read_barrier`] on a follower goes over gRPC; here, ask the leader.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::OptionalSend;
use openraft::errors::ReplicationClosed;
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use parking_lot::Mutex;

use super::machine::SnapshotData;
use super::typ::{
    AppendRequest, AppendResponse, Core, Member, RpcError, Snapshot, SnapshotResponse,
    StreamingError, TransferRequest, TransferResponse, TypeConfig, Unreachable, Vote, VoteRequest,
    VoteResponse,
};

/// What happens to the next message on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It arrives after so long.
    Arrives(Duration),
    /// It is lost.
    Lost,
}

/// Decides about each message from one node to another: the simulation's seed speaks here.
pub type Weather = Arc<dyn Fn(u64, u64) -> Fate + Send + Sync>;

/// The nodes of one process and the links between them. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    nodes: Arc<Mutex<BTreeMap<u64, Core>>>,
    weather: Arc<Mutex<Weather>>,
    grants_pre_votes: Arc<AtomicBool>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

impl Default for Hub {
    fn default() -> Hub {
        let fair: Weather = Arc::new(|_, _| Fate::Arrives(Duration::ZERO));
        Hub {
            nodes: Arc::default(),
            weather: Arc::new(Mutex::new(fair)),
            grants_pre_votes: Arc::default(),
        }
    }
}

impl Hub {
    /// Lets messages reach a node. It must be called again after each start.
    pub fn attach(&self, raft: &super::Raft) {
        self.nodes.lock().insert(raft.id().0, raft.core().clone());
    }

    /// Takes a node off the network, as when it dies.
    pub fn detach(&self, node: u64) {
        self.nodes.lock().remove(&node);
    }

    /// Changes what happens to messages from now on.
    pub fn set_weather(&self, weather: Weather) {
        *self.weather.lock() = weather;
    }

    /// From now on every pre-vote counts as granted and nobody is asked: what openraft makes of a network that does not carry them. A
    /// test that cannot catch this proves nothing.
    pub fn grant_pre_votes(&self) {
        self.grants_pre_votes.store(true, Ordering::Relaxed);
    }

    /// The network as `from` sees it.
    pub fn network(&self, from: u64) -> LocalNetwork {
        LocalNetwork { hub: self.clone(), from }
    }

    async fn cross(&self, from: u64, to: u64) -> Result<(), Unreachable> {
        let weather = self.weather.lock().clone();
        match weather(from, to) {
            Fate::Arrives(after) => {
                if !after.is_zero() {
                    tokio::time::sleep(after).await;
                }
                Ok(())
            }
            Fate::Lost => Err(Unreachable::from_string("the message is lost")),
        }
    }

    fn core(&self, node: u64) -> Result<Core, Unreachable> {
        let core = self.nodes.lock().get(&node).cloned();
        core.ok_or_else(|| Unreachable::from_string("nobody is there"))
    }
}

/// The network as one node sees it.
#[derive(Debug, Clone)]
pub struct LocalNetwork {
    hub: Hub,
    from: u64,
}

impl RaftNetworkFactory<TypeConfig> for LocalNetwork {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _node: &Member) -> Link {
        Link { hub: self.hub.clone(), from: self.from, to: target, connected: false }
    }
}

/// The way from one node to another.
#[derive(Debug)]
pub struct Link {
    hub: Hub,
    from: u64,
    to: u64,
    connected: bool,
}

impl Link {
    async fn call<T, E: std::error::Error + 'static, F>(
        &mut self,
        work: impl FnOnce(Core) -> F,
    ) -> Result<T, Unreachable>
    where
        F: Future<Output = Result<T, E>>,
    {
        if !std::mem::replace(&mut self.connected, false) {
            self.hub.cross(self.from, self.to).await?;
            self.hub.cross(self.to, self.from).await?;
        }
        self.hub.cross(self.from, self.to).await?;
        let answer =
            work(self.hub.core(self.to)?).await.map_err(|error| Unreachable::new(&error))?;
        self.hub.cross(self.to, self.from).await?;
        self.connected = true;
        Ok(answer)
    }
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendRequest,
        option: RPCOption,
    ) -> Result<AppendResponse, RpcError> {
        let call = self.call(|core| async move { core.append_entries(request).await });
        match tokio::time::timeout(option.hard_ttl(), call).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Unreachable::from_string("no answer in time").into()),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest,
        _option: RPCOption,
    ) -> Result<VoteResponse, RpcError> {
        Ok(self.call(|core| async move { core.vote(request).await }).await?)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest,
        _option: RPCOption,
    ) -> Result<VoteResponse, RpcError> {
        if self.hub.grants_pre_votes.load(Ordering::Relaxed) {
            return Ok(VoteResponse::new(request.vote, None, true));
        }
        Ok(self.call(|core| async move { core.pre_vote(request).await }).await?)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse, StreamingError> {
        let call =
            self.call(|core| async move { core.install_full_snapshot(vote, snapshot).await });
        Ok(call.await?)
    }

    async fn transfer_leader(
        &mut self,
        request: TransferRequest,
        _option: RPCOption,
    ) -> Result<TransferResponse, RpcError> {
        Ok(self.call(|core| async move { core.handle_transfer_leader(request).await }).await?)
    }
}
