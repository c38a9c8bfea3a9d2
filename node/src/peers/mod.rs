//! Between nodes beside Raft (rules C1a, C2a, R16, R17): who hears what, who was answered, who is
//! there. Best effort; nothing depends on it for safety.
//!
//! | File | |
//! |---|---|
//! | `aged.rs`, `heard.rs`, `notes.rs` | the tables, pure; the engine's worker owns them |
//! | `liveness.rs` | the leader's judgement of nodes, pure |
//! | `gaps.rs` | filling gaps of the lease history from a peer |
//! | `exchange.rs`, `service.rs`, `wire.rs` | one gRPC stream to each peer |
//!
//! Tasks: one for each peer that keeps the stream open, one that watches who has fallen silent. Both
//! may be stopped anywhere.

pub mod aged;
mod exchange;
pub mod gaps;
pub mod heard;
pub mod liveness;
pub mod notes;
mod service;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use leasehold_proto::cluster as pb;
use leasehold_proto::cluster::notes_server::NotesServer;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

pub use service::NotesService;

use crate::clock::Clock;
use crate::observe::quiet::seldom;
use crate::raft::Raft;
use crate::state::ConfigVersion;
use crate::types::NodeId;
use notes::Note;

/// Silence after which a peer is suspected locally (R16): it shortens C4's wait and nothing else.
pub const SUSPECT_AFTER: Duration = Duration::from_millis(500);

/// A look around that comes so late means that this node itself was stopped or starved.
const LATE: Duration = Duration::from_millis(300);

/// What happens between this node and its peers.
#[derive(Debug)]
pub enum Event {
    /// A peer told something.
    Note(NodeId, Note),
    /// The stream to a peer works from now on.
    Connected(NodeId),
    /// A peer has been silent for [`SUSPECT_AFTER`], or speaks again.
    Suspected(NodeId, bool),
    /// A peer says that it answers nobody, for whatever reason, or that it answers again.
    Disabled(NodeId, bool),
}

/// Takes the events. Must not block.
pub type Sink = Arc<dyn Fn(Event) + Send + Sync>;

/// What this node knows of a peer from its notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerView {
    /// The highest index it has applied.
    pub applied: u64,
    /// When it was last heard, monotonic.
    pub heard_at: Option<Duration>,
    /// The way there and back, smoothed.
    pub round_trip: Option<Duration>,
    /// The shortest of late: how far it is, whoever is busy.
    pub way: Option<Duration>,
    /// Whether it is silent.
    pub suspected: bool,
    /// What it says of its configuration.
    pub active: Active,
    /// Whether it says that it answers nobody, on an operator's word.
    pub disabled: bool,
    /// How far its wall clock is ahead of this node's, milliseconds: for people.
    pub clock: Option<i64>,
    /// What it says of its disk.
    pub disk: PeerDisk,
}

/// The disk under a peer's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerDisk {
    /// What half of its syncs took at most in the last minute; `None` when it does not say.
    pub sync: Option<Duration>,
    /// Whether it stands still.
    pub stalled: bool,
    /// Whether it is filling up, or full.
    pub low: bool,
    /// Whether the peer answers nobody for it.
    pub out: bool,
}

/// The configuration that a node's sockets follow, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Active {
    /// Which.
    pub version: ConfigVersion,
    /// How many things stand in its way.
    pub problems: u32,
}

/// What the tasks and the service share.
struct Shared {
    raft: Raft,
    clock: Arc<dyn Clock>,
    sink: Sink,
    views: Mutex<BTreeMap<NodeId, PeerView>>,
    active: Mutex<Active>,
    disabled: AtomicBool,
    dropped: AtomicU64,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("views", &self.views).finish_non_exhaustive()
    }
}

impl Shared {
    fn applied(&self) -> u64 {
        self.raft.applied().applied.map_or(0, |id| id.index)
    }

    /// Never 0, which asks for no echo.
    fn now_micros(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_micros()).unwrap_or(u64::MAX).max(1)
    }

    /// What every note says of this node, beside what it was made for.
    fn signed(&self, note: pb::Note) -> pb::Note {
        let Active { version, problems } = *self.active.lock();
        let disk = self.raft.disk().map(|disk| disk.facts()).unwrap_or_default();
        pb::Note {
            applied_index: self.applied(),
            active_config: version.0,
            config_problems: problems,
            disabled: self.disabled.load(Relaxed),
            wall: self.clock.wall(),
            sync_micros: u64::try_from(disk.typical.as_micros()).unwrap_or(u64::MAX),
            disk_stalled: disk.stalled_for().is_some(),
            disk_low: disk.is_low(),
            disk_out: self.raft.disk().is_some_and(|disk| disk.is_out()),
            ..note
        }
    }

    fn heard_from(&self, node: NodeId, note: &pb::Note) {
        let now = self.clock.monotonic();
        let mut views = self.views.lock();
        let view = views.entry(node).or_default();
        let (version, problems) = (ConfigVersion(note.active_config), note.config_problems);
        view.active = Active { version, problems };
        let answered = !(view.disabled || view.disk.out);
        view.disk = PeerDisk {
            sync: (note.sync_micros > 0).then(|| Duration::from_micros(note.sync_micros)),
            stalled: note.disk_stalled,
            low: note.disk_low,
            out: note.disk_out,
        };
        let applied = note.applied_index;
        view.heard_at = Some(now);
        if note.wall != 0 {
            let way = view.round_trip.unwrap_or_default().as_millis() / 2;
            let then = note.wall.saturating_add(i64::try_from(way).unwrap_or(0));
            view.clock = Some(then.saturating_sub(self.clock.wall()));
        }
        view.applied = view.applied.max(applied);
        // Told under the lock, so that two changes arrive in their order.
        if std::mem::take(&mut view.suspected) {
            seldom!(info, &node.to_string(), %node, "a peer is heard again");
            (self.sink)(Event::Suspected(node, false));
        }
        if view.disabled != note.disabled {
            view.disabled = note.disabled;
            let disabled = note.disabled;
            seldom!(
                info,
                &format!("{node} {disabled}"),
                %node,
                disabled,
                "the DHCP service of a peer was switched"
            );
        }
        // Whatever its reason: nobody waits for a peer that answers nobody.
        let answers = !(view.disabled || view.disk.out);
        if answers != answered {
            (self.sink)(Event::Disabled(node, !answers));
        }
    }

    fn echoed(&self, node: NodeId, ping: u64) {
        let took = Duration::from_micros(self.now_micros().saturating_sub(ping));
        let mut views = self.views.lock();
        let view = views.entry(node).or_default();
        view.round_trip = Some(view.round_trip.map_or(took, |old| (old * 7 + took) / 8));
        view.way = Some(view.way.map_or(took, |least| least_lately(least, took)));
    }

    fn connected(&self, node: NodeId) {
        (self.sink)(Event::Connected(node));
    }

    fn deliver(&self, node: NodeId, note: Note) {
        let says_nothing = note.is_empty() && note.config == Default::default();
        if !says_nothing {
            (self.sink)(Event::Note(node, note));
        }
    }

    /// Tells who has fallen silent since the last look.
    fn look_for_silent(&self) {
        let now = self.clock.monotonic();
        for (node, view) in self.views.lock().iter_mut() {
            let silent = view.heard_at.is_some_and(|at| now.saturating_sub(at) > SUSPECT_AFTER);
            if silent && !view.suspected {
                view.suspected = true;
                seldom!(warn, &node.to_string(), %node, "a peer is silent");
                (self.sink)(Event::Suspected(*node, true));
            }
        }
    }

    /// The way of a batch (R27): to the leader, or on the leader to the fastest majority.
    fn batch_round_trip(&self) -> Duration {
        let views = self.views.lock();
        match self.raft.leader() {
            Some(leader) if leader != self.raft.id() => {
                views.get(&leader).and_then(|view| view.way).unwrap_or_default()
            }
            _ => fastest_majority(views.values().map(|view| view.way)),
        }
    }
}

/// The shortest round trip of the last ten seconds or so, which forgets by a 64th each ping. What
/// is longer waited for a processor, and more entries in flight would only make it wait longer.
fn least_lately(least: Duration, took: Duration) -> Duration {
    if took < least { took } else { least + (took - least) / 64 }
}

/// The round trip after which a majority of these peers and this node have answered.
fn fastest_majority(peers: impl Iterator<Item = Option<Duration>>) -> Duration {
    let mut trips: Vec<Duration> = peers.map(|trip| trip.unwrap_or(Duration::MAX)).collect();
    trips.sort_unstable();
    let others_needed = trips.len().div_ceil(2);
    let last =
        others_needed.checked_sub(1).and_then(|at| trips.get(at)).copied().unwrap_or_default();
    // Nobody to wait for, or nobody measured yet.
    if last == Duration::MAX { Duration::ZERO } else { last }
}

/// The handle. Dropping it ends the tasks.
pub struct Peers {
    shared: Arc<Shared>,
    queues: Arc<Mutex<BTreeMap<NodeId, mpsc::Sender<Note>>>>,
    round_trip: watch::Receiver<Duration>,
    watcher: JoinHandle<()>,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.watcher.abort();
        // The peers' tasks end with their queues.
        self.queues.lock().clear();
    }
}

impl Peers {
    /// Starts talking to every member, on the current runtime.
    pub fn start(raft: Raft, clock: Arc<dyn Clock>, sink: Sink) -> Peers {
        let shared = Arc::new(Shared {
            raft,
            clock,
            sink,
            views: Mutex::default(),
            active: Mutex::default(),
            disabled: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
        });
        let queues: Arc<Mutex<BTreeMap<NodeId, mpsc::Sender<Note>>>> = Arc::default();
        let (trips, round_trip) = watch::channel(Duration::ZERO);
        let watcher = tokio::spawn(watch_peers(Arc::clone(&shared), Arc::clone(&queues), trips));
        Peers { shared, queues, round_trip, watcher }
    }

    /// The gRPC service to add to the peer port.
    pub fn service(&self) -> NotesServer<NotesService> {
        NotesService::server(self.shared.raft.guard(), Arc::clone(&self.shared))
    }

    /// Tells one peer, or all. What does not fit into a peer's queue is dropped and counted.
    pub fn tell(&self, whom: Option<NodeId>, note: &Note) {
        let queues = self.queues.lock();
        for (_, queue) in queues.iter().filter(|(node, _)| whom.is_none_or(|one| one == **node)) {
            if queue.try_send(note.clone()).is_err() {
                self.shared.dropped.fetch_add(1, Relaxed);
            }
        }
    }

    /// What the peers are told of this node's configuration from now on.
    pub fn set_active(&self, active: Active) {
        *self.shared.active.lock() = active;
    }

    /// Tells the peers whether this node answers nobody, at once and with every note from now on: they
    /// do not wait for it then.
    pub fn set_disabled(&self, disabled: bool) {
        self.shared.disabled.store(disabled, Relaxed);
        self.tell(None, &Note::default());
    }

    /// Tells the peers at once what every note says: the state of this node's disk among it.
    pub fn say(&self) {
        self.tell(None, &Note::default());
    }

    /// What is known of each peer.
    pub fn views(&self) -> BTreeMap<NodeId, PeerView> {
        self.shared.views.lock().clone()
    }

    /// The round trip that a batch makes (R27).
    pub fn round_trip(&self) -> watch::Receiver<Duration> {
        self.round_trip.clone()
    }

    /// Notes dropped because a peer's queue was full.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }
}

/// Follows the membership, and looks who has fallen silent.
async fn watch_peers(
    shared: Arc<Shared>,
    queues: Arc<Mutex<BTreeMap<NodeId, mpsc::Sender<Note>>>>,
    trips: watch::Sender<Duration>,
) {
    let mut membership = shared.raft.membership();
    let mut tick = interval(exchange::PING_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let me = shared.raft.id();
    let mut looked = shared.clock.monotonic();
    let mut awake = looked;
    loop {
        let members: Vec<NodeId> = {
            let stored = membership.borrow_and_update();
            stored.nodes().map(|(node, _)| NodeId(*node)).filter(|node| *node != me).collect()
        };
        {
            let mut queues = queues.lock();
            queues.retain(|node, _| members.contains(node));
            shared.views.lock().retain(|node, _| members.contains(node));
            for node in members {
                queues.entry(node).or_insert_with(|| {
                    let (queue, waiting) = mpsc::channel(exchange::QUEUE);
                    tokio::spawn(exchange::exchange(Arc::clone(&shared), node, waiting));
                    queue
                });
            }
        }
        loop {
            tokio::select! {
                changed = membership.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    break;
                }
                _ = tick.tick() => {
                    // A node that has been asleep hears nobody at first: that says nothing about them.
                    let now = shared.clock.monotonic();
                    if now.saturating_sub(looked) > LATE {
                        awake = now;
                    }
                    looked = now;
                    if now.saturating_sub(awake) > SUSPECT_AFTER {
                        shared.look_for_silent();
                    }
                    let trip = shared.batch_round_trip();
                    trips.send_if_modified(|old| std::mem::replace(old, trip) != trip);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r27_a_way_is_as_long_as_it_was_when_nobody_was_busy_and_a_longer_one_is_learnt() {
        let ms = Duration::from_millis;
        let after = |pings: u32, took| (0..pings).fold(ms(1), |least, _| least_lately(least, took));
        assert_eq!(least_lately(ms(8), ms(1)), ms(1));
        assert!(after(10, ms(6)) < ms(2), "a second of work");
        assert!(after(300, ms(6)) > ms(5), "half a minute: it is farther");
    }

    #[test]
    fn r27_a_leader_waits_for_the_fastest_majority() {
        let ms = Duration::from_millis;
        let majority =
            |trips: &[Option<u64>]| fastest_majority(trips.iter().map(|trip| trip.map(ms)));
        assert_eq!(majority(&[]), ms(0));
        assert_eq!(majority(&[Some(9)]), ms(9));
        assert_eq!(majority(&[Some(9), Some(3)]), ms(3));
        assert_eq!(majority(&[Some(9), None]), ms(9));
        assert_eq!(majority(&[None, None]), ms(0));
        assert_eq!(majority(&[Some(1), Some(2), Some(3), Some(4)]), ms(2));
    }
}
