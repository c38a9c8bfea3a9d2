//! One node: the real Raft, state, engine worker, proposer and leader duties, on simulated wires, disk and time. What a socket and a
//! peer stream do in the server, the simulation does by value.

use std::net::SocketAddrV4;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use anyhow::{Context, Result};
use leasehold::VERSION;
use leasehold::clock::Clock;
use leasehold::dhcp::v4::Ports;
use leasehold::peers::SUSPECT_AFTER;
use leasehold::peers::notes::Note;
use leasehold::propose::{Proposer, Signals, boot, follow_leader};
use leasehold::raft::{Channels, Keeping, Me, Raft, Start, Timers};
use leasehold::serve::duties::{Duties, is_majority};
use leasehold::serve::link::Links;
use leasehold::serve::{Action, After, Event, Inbox, Now, Received, Worker};
use leasehold::state::{NodeInfo, State};
use leasehold::storage::{Identity, RosterNode, Seat};
use leasehold::types::NodeId;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{sleep, timeout};

use super::clock::SimClock;
use super::forward::ToLeader;
use super::world::World;
use crate::floor::sim::dice::Dice;
use crate::floor::sim::place::{NODES, address, datagram, interface, peers};

/// The cluster's number.
const CLUSTER: u64 = 77;
/// How often a node pings its peers and looks at what it heard.
const PING: Duration = Duration::from_millis(100);
/// How long a read barrier may take.
pub(super) const BARRIER: Duration = Duration::from_secs(1);

/// A running node. A restarted one is another.
pub struct Node {
    me: u64,
    world: Arc<World>,
    clock: SimClock,
    dice: Dice,
    raft: Raft,
    state: Arc<RwLock<State>>,
    proposer: Proposer,
    worker: Mutex<Worker>,
    /// When each peer was last heard, monotonic.
    heard: Mutex<Vec<Option<Duration>>>,
    dead: AtomicBool,
    tasks: Mutex<Vec<AbortHandle>>,
    _info: watch::Sender<NodeInfo>,
    _round_trip: watch::Sender<Duration>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("me", &self.me).finish_non_exhaustive()
    }
}

impl Node {
    /// Starts node `me` on its disk. It is reachable when this returns.
    ///
    /// # Errors
    /// When Raft refuses to start: a breach of its own, since nothing was lost that a node may not lose.
    pub async fn start(world: &Arc<World>, me: u64, dir: &Path) -> Result<Arc<Node>> {
        let dice = world.dice(1_000 + me);
        let clock =
            world.clock.of_node(dice.between(1_000, 9_000_000), dice.between(0, 2_000) as i64);
        let shared: Arc<dyn Clock> = Arc::new(clock);
        let disk = world.disk(me);
        disk.starting(true);
        let roster: Vec<RosterNode> = (1..=NODES)
            .map(|node| RosterNode {
                node: NodeId(node),
                instance: 100 + node,
                address: format!("127.0.0.1:{node}"),
                tls_name: String::new(),
            })
            .collect();
        let seat =
            Seat { cluster: CLUSTER, node: NodeId(me), roster, provisional: false, started: false };
        let state = Arc::new(RwLock::new(State::new()));
        // A range of one: openraft would draw the timeout from a generator that cannot be seeded.
        let election = dice.between(200, 400);
        let start = Start {
            dir: dir.to_path_buf(),
            identity: Identity { instance: 100 + me, seat: Some(seat) },
            identity_file: None,
            log: disk.clone(),
            state: state.clone(),
            clock: shared.clone(),
            timers: Timers {
                heartbeat: Duration::from_millis(50),
                election_min: Duration::from_millis(election),
                election_max: Duration::from_millis(election + 1),
            },
            // Small, so that a node that was away for seconds is behind the log's beginning.
            keeping: Keeping {
                snapshot_bytes: 24 << 10,
                snapshot_seconds: 20,
                keep_bytes: 4 << 10,
                history: None,
                ..Keeping::default()
            },
            tls: None,
        };
        world.wires.off(me, false);
        let channels = Channels::new(Me { cluster: CLUSTER, node: me, instance: 100 + me }, None);
        let raft = Raft::start_with(start, world.hub.network(me), channels)
            .await
            .context("starting Raft")?;
        disk.starting(false);
        let syncing = tokio::spawn(disk.clone().keep_syncing());
        world.hub.attach(&raft);

        let (round_trip, round_trip_seen) = watch::channel(Duration::ZERO);
        let signals = Signals { route: follow_leader(&raft), round_trip: round_trip_seen };
        let itself: Arc<OnceLock<Weak<Node>>> = Arc::default();
        let sink = {
            let itself = itself.clone();
            Arc::new(move |answers| {
                if let Some(node) = itself.get().and_then(Weak::upgrade) {
                    node.event(Event::Answers(answers));
                }
            })
        };
        let transport = ToLeader::new(world.clone(), me, raft.clone());
        let (proposer, proposing) = Proposer::start(transport, signals, sink, shared.clone());
        let info = NodeInfo {
            node: NodeId(me),
            name: format!("n{me}"),
            rack: format!("r{me}"),
            peer_address: format!("127.0.0.1:{me}"),
            control: Vec::new(),
            identities: vec![address(me)],
            version: VERSION.to_owned(),
            level: leasehold::state::feature::known(),
        };
        let (info, info_seen) = watch::channel(info);
        let worker = Worker::new(NodeId(me), dice.draw(), Ports::STANDARD, Arc::default());
        let node = Arc::new(Node {
            me,
            world: world.clone(),
            clock,
            dice,
            raft,
            state,
            proposer,
            worker: Mutex::new(worker),
            heard: Mutex::new(vec![None; NODES as usize + 1]),
            dead: AtomicBool::new(false),
            tasks: Mutex::default(),
            _info: info,
            _round_trip: round_trip,
        });
        let _ = itself.set(Arc::downgrade(&node));
        node.event(Event::Listening(vec![address(me)], Links::of(&[interface(me)])));
        let (after, following) = After::new(node.raft.clone(), node.state.clone(), Arc::default());
        let duties = Duties {
            raft: node.raft.clone(),
            state: node.state.clone(),
            clock: shared.clone(),
            proposer: node.proposer.clone(),
            peers: None,
            inbox: Arc::new(Inbox::new(shared)),
            after,
        };
        node.own(tokio::spawn(following.run()));
        node.own(syncing);
        node.own(proposing);
        node.own(tokio::spawn(duties.clone().lead()));
        node.own(tokio::spawn(duties.introduce(info_seen)));
        node.own(tokio::spawn(node.clone().catch_up()));
        node.own(tokio::spawn(node.clone().turn()));
        node.own(tokio::spawn(node.clone().ping()));
        node.own(tokio::spawn(node.clone().watch_raft()));
        Ok(node)
    }

    fn own<T>(&self, task: JoinHandle<T>) {
        self.tasks.lock().push(task.abort_handle());
    }

    /// From this moment nothing is said and nothing written. [`Node::kill`] sweeps up.
    pub fn cut_power(&self) {
        self.dead.store(true, SeqCst);
        self.world.wires.off(self.me, true);
        self.world.hub.detach(self.me);
        self.world.disk(self.me).fail();
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
    }

    /// Dies as by a power cut: nothing more is said, and what was not synced is gone.
    pub async fn kill(&self) {
        self.cut_power();
        let disk = self.world.disk(self.me);
        let mut crashing = std::pin::pin!(self.raft.crash());
        if timeout(Duration::from_millis(20), &mut crashing).await.is_err() {
            // It waits for a disk that is off.
            disk.forget();
            disk.fail();
            if timeout(Duration::from_secs(5), crashing).await.is_err() {
                self.world.breach("stop", format!("node {} does not stop", self.me));
            }
        }
        disk.forget();
    }

    /// Stops in good order: the machine is written once more.
    pub async fn stop(&self) {
        self.dead.store(true, SeqCst);
        self.world.hub.detach(self.me);
        if timeout(Duration::from_secs(5), self.raft.shutdown()).await.is_err() {
            self.world.breach("stop", format!("node {} does not shut down", self.me));
        }
        self.kill().await;
    }

    /// Whether it was killed or stopped.
    pub fn is_dead(&self) -> bool {
        self.dead.load(SeqCst)
    }

    /// Its Raft.
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// Its applied state.
    pub fn state(&self) -> &Arc<RwLock<State>> {
        &self.state
    }

    /// Its way into the log.
    pub fn proposer(&self) -> &Proposer {
        &self.proposer
    }

    /// Whether it answers clients.
    pub fn is_ready(&self) -> bool {
        let state = self.state.read();
        self.worker.lock().is_ready(&state)
    }

    /// A datagram arrives.
    pub fn packet(self: &Arc<Self>, bytes: Vec<u8>, source: SocketAddrV4) {
        let received =
            Received { datagram: datagram(self.me, bytes, source), at: boot(&self.clock) };
        self.step(|worker, state, now, out| worker.packet(received, false, state, now, out));
    }

    /// Something else happens to the worker.
    pub fn event(self: &Arc<Self>, event: Event) {
        self.step(|worker, state, now, out| worker.event(event, state, now, out));
    }

    /// A peer is heard.
    pub fn hear(&self, peer: u64) {
        if let Some(heard) = self.heard.lock().get_mut(peer as usize) {
            *heard = Some(self.clock.monotonic());
        }
    }

    fn step(self: &Arc<Self>, work: impl FnOnce(&mut Worker, &State, Now, &mut Vec<Action>)) {
        if self.is_dead() {
            return;
        }
        let mut out = Vec::new();
        {
            let state = self.state.read();
            let mut worker = self.worker.lock();
            let now = Now { mono: boot(&self.clock), cluster: self.raft.now() };
            work(&mut worker, &state, now, &mut out);
            worker.tick(&state, now, &mut out);
        }
        let mut submissions = Vec::new();
        for action in out {
            match action {
                Action::Send(_, reply, _) => self.world.reply(self.me, reply.payload().to_vec()),
                Action::Submit(submission) => submissions.push(submission),
                Action::Barrier(number) => {
                    let node = self.clone();
                    tokio::spawn(async move {
                        let passed = matches!(timeout(BARRIER, node.barrier()).await, Ok(Some(_)));
                        node.event(Event::Barrier(number, passed));
                    });
                }
                Action::Tell(whom, note) => self.tell(whom, &note),
                // Nothing beyond the log is simulated.
                Action::Happened(_) | Action::Ping(_) => {}
            }
        }
        if !submissions.is_empty() {
            let refused = self.proposer.submit_packets(submissions);
            if !refused.is_empty() {
                self.event(Event::Answers(refused));
            }
        }
    }

    fn tell(&self, whom: Option<NodeId>, note: &Note) {
        for peer in peers(self.me).filter(|peer| whom.is_none_or(|whom| whom.0 == *peer)) {
            // Best effort, and nothing may rest on it.
            if self.dice.chance(self.world.plan.notes_lost_per_mille) {
                continue;
            }
            let Some(delay) = self.world.wires.cross(self.me, peer) else { continue };
            let (world, me, note) = (self.world.clone(), self.me, note.clone());
            tokio::spawn(async move {
                sleep(delay).await;
                if let Some(node) = world.node(peer) {
                    node.event(Event::Note(NodeId(me), note));
                }
            });
        }
    }

    /// Shows what was acknowledged before the call, anywhere in the cluster; the index.
    pub async fn barrier(&self) -> Option<u64> {
        let leader = self.raft.leader()?.0;
        let wires = &self.world.wires;
        if leader != self.me {
            sleep(wires.cross(self.me, leader)?).await;
        }
        let there = self.world.node(leader)?;
        let index = there.raft.leader_read_index().await.ok()?;
        if leader != self.me {
            if there.is_dead() {
                return None;
            }
            sleep(wires.cross(leader, self.me)?).await;
        }
        self.raft.applied_at_least(index).await;
        Some(index)
    }

    /// C15.
    async fn catch_up(self: Arc<Self>) {
        loop {
            if let Ok(Some(index)) = timeout(BARRIER, self.barrier()).await {
                // As in `serve::duties`: entries without commands do not count.
                let index = index.min(self.state.read().applied());
                return self.event(Event::ServeFrom(index));
            }
            sleep(PING).await;
        }
    }

    /// The worker's clock, and its view of applied entries. Nodes at one index must be equal, and this node tells what it is.
    async fn turn(self: Arc<Self>) {
        let mut progress = self.raft.progress();
        loop {
            let due = self.worker.lock().next_deadline().saturating_sub(boot(&self.clock));
            tokio::select! {
                biased;
                changed = progress.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let (index, digest) = {
                        let state = self.state.read();
                        (state.applied(), state.digest())
                    };
                    self.world.compare(self.me, index, digest);
                    self.event(Event::Applied);
                }
                () = sleep(due.max(Duration::from_millis(1))) => self.step(|_, _, _, _| {}),
            }
        }
    }

    /// What the streams between nodes do: pings, suspicion, and whether there is a majority (C12).
    async fn ping(self: Arc<Self>) {
        let mut suspected = vec![true; NODES as usize + 1];
        let mut majority = None;
        loop {
            for peer in peers(self.me) {
                let Some(delay) = self.world.wires.cross(self.me, peer) else { continue };
                let (world, me) = (self.world.clone(), self.me);
                tokio::spawn(async move {
                    sleep(delay).await;
                    if let Some(node) = world.node(peer) {
                        node.hear(me);
                    }
                });
            }
            let heard = self.heard.lock().clone();
            let heard_ago = |peer: u64| {
                let at = heard.get(peer as usize).copied().flatten();
                at.map(|at| self.clock.monotonic().saturating_sub(at))
            };
            for peer in peers(self.me) {
                let silent = heard_ago(peer).is_none_or(|ago| ago >= SUSPECT_AFTER);
                if suspected.get(peer as usize) != Some(&silent) {
                    suspected[peer as usize] = silent;
                    self.event(if silent {
                        Event::PeerSuspected(NodeId(peer), true)
                    } else {
                        Event::PeerConnected(NodeId(peer))
                    });
                }
            }
            let status = self.raft.status();
            let there = match status.leader {
                Some(leader) if leader.0 == self.me => is_majority(status.quorum_heard_ago),
                Some(leader) => is_majority(heard_ago(leader.0)),
                None => false,
            };
            if majority != Some(there) {
                majority = Some(there);
                self.event(Event::Majority(there));
            }
            sleep(PING).await;
        }
    }

    /// Raft never stops by itself.
    async fn watch_raft(self: Arc<Self>) {
        let reason = self.raft.stopped().await;
        if !self.is_dead() {
            self.world.breach("raft", format!("Raft of node {} has stopped: {reason}", self.me));
        }
    }
}
