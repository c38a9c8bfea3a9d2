//! Three nodes over the network inside the process, on logs that forget what was not synced: the
//! seam that the seeded simulation uses.

use std::sync::atomic::{AtomicBool, Ordering};

use super::super::local::{Fate, Hub};
use super::*;
use crate::clock::ManualClock;
use crate::storage::Seat;
use crate::storage::memory::{MemoryLog, Syncing};

struct World {
    hub: Hub,
    dirs: Vec<tempfile::TempDir>,
    logs: Vec<Arc<MemoryLog>>,
    clock: ManualClock,
    rafts: Vec<(Raft, Arc<RwLock<State>>)>,
    stop: Arc<AtomicBool>,
}

impl World {
    async fn new(syncing: Syncing) -> World {
        let logs: Vec<Arc<MemoryLog>> = (0..3).map(|_| Arc::new(MemoryLog::new(syncing))).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let mut world = World {
            hub: Hub::default(),
            dirs: (0..3).map(|_| tempfile::tempdir().unwrap()).collect(),
            logs,
            clock: ManualClock::default(),
            rafts: Vec::new(),
            stop,
        };
        world.start().await;
        world
    }

    async fn start(&mut self) {
        let roster: Vec<RosterNode> = (1..=3)
            .map(|n| RosterNode {
                node: NodeId(n),
                instance: n + 100,
                address: format!("sim:{n}"),
                tls_name: String::new(),
            })
            .collect();
        self.rafts.clear();
        for at in 0..3 {
            let node = roster[at].node;
            let seat = Seat {
                cluster: 5,
                node,
                roster: roster.clone(),
                provisional: false,
                started: false,
            };
            let state = Arc::new(RwLock::new(State::new()));
            let start = Start {
                dir: self.dirs[at].path().to_path_buf(),
                identity: Identity { instance: roster[at].instance, seat: Some(seat) },
                identity_file: None,
                log: self.logs[at].clone(),
                state: state.clone(),
                clock: Arc::new(self.clock.clone()),
                timers: Timers::default(),
                keeping: Keeping::default(),
                tls: None,
            };
            let me = Me { cluster: 5, node: node.0, instance: roster[at].instance };
            // A vote or the first entry waits for a sync, so the disks must be at work already.
            let syncer = self.sync_all_the_time();
            let network = self.hub.network(node.0);
            let raft = Raft::start_with(start, network, Channels::new(me, None)).await.unwrap();
            syncer.abort();
            self.hub.attach(&raft);
            self.rafts.push((raft, state));
        }
    }

    fn sync_all_the_time(&self) -> JoinHandle<()> {
        self.sync_all_but(None)
    }

    /// The disk at `stalled` stands still.
    fn sync_all_but(&self, stalled: Option<usize>) -> JoinHandle<()> {
        let (logs, stop) = (self.logs.clone(), self.stop.clone());
        tokio::spawn(async move {
            loop {
                if !stop.load(Ordering::SeqCst) {
                    let works = logs.iter().enumerate().filter(|(at, _)| Some(*at) != stalled);
                    works.for_each(|(_, log)| {
                        log.sync();
                    });
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    }

    /// The power goes everywhere at once.
    async fn power_cut(&mut self) {
        for (raft, _) in &self.rafts {
            self.hub.detach(raft.id().0);
            raft.crash().await;
        }
        self.logs.iter().for_each(|log| log.crash());
    }

    async fn leader(&self) -> usize {
        eventually("a leader", || self.rafts.iter().position(|(raft, _)| raft.is_stamping())).await
    }

    async fn propose(&self, value: i64) -> Option<Applied> {
        let leader = self.leader().await;
        let change = Command::SetWallOffset(WallOffset(value));
        self.rafts[leader].0.propose(vec![change]).await.ok()
    }

    fn values(&self) -> Vec<i64> {
        let value = |state: &RwLock<State>| state.read().view().meta().wall_offset().0;
        self.rafts.iter().map(|(_, state)| value(state)).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_power_cut_everywhere() {
    let mut world = World::new(Syncing::OnDemand).await;
    let syncer = world.sync_all_the_time();
    let mut acknowledged = 0;
    for round in 0..3 {
        for value in round * 10 + 1..round * 10 + 6 {
            if world.propose(value).await.is_some() {
                acknowledged = value;
            }
        }
        // More is on its way, and the disks do no more.
        world.stop.store(true, Ordering::SeqCst);
        let late = world.propose(-1);
        let _ = tokio::time::timeout(Duration::from_millis(50), late).await;
        world.power_cut().await;
        world.stop.store(false, Ordering::SeqCst);
        world.start().await;
        let at = world.leader().await;
        let index = world.rafts[at].0.read_barrier().await.unwrap();
        for (raft, _) in &world.rafts {
            raft.applied_at_least(index).await;
        }
        assert_eq!(world.values(), [acknowledged; 3], "round {round}");
    }
    assert!(acknowledged > 20);
    syncer.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_answers_before_the_sync_is_caught() {
    let mut world = World::new(Syncing::Lying).await;
    let syncer = world.sync_all_the_time();
    world.propose(1).await.unwrap();
    world.stop.store(true, Ordering::SeqCst);
    world.propose(2).await.unwrap();
    world.power_cut().await;
    world.stop.store(false, Ordering::SeqCst);
    world.start().await;
    world.rafts[world.leader().await].0.read_barrier().await.unwrap();
    assert!(
        world.values().iter().all(|value| *value < 2),
        "the mutant must lose what it acknowledged"
    );
    syncer.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_acknowledges_nothing_and_another_takes_over() {
    let world = World::new(Syncing::Immediate).await;
    world.propose(1).await.unwrap();
    let old = world.rafts.iter().position(|(raft, _)| raft.is_stamping()).unwrap();
    let cut = world.rafts[old].0.id().0;
    // It can be heard but hears nothing: the harder of the two directions.
    world.hub.set_weather(Arc::new(move |_, to| {
        if to == cut { Fate::Lost } else { Fate::Arrives(Duration::from_millis(1)) }
    }));
    let lost = world.rafts[old].0.propose(vec![Command::SetWallOffset(WallOffset(9))]);
    assert!(!matches!(tokio::time::timeout(Duration::from_millis(300), lost).await, Ok(Ok(_))));
    let new = eventually("another leader", || {
        (0..3).find(|at| *at != old && world.rafts[*at].0.is_stamping())
    })
    .await;
    let change = Command::SetWallOffset(WallOffset(2));
    let applied = world.rafts[new].0.propose(vec![change]).await.unwrap();
    world.hub.set_weather(Arc::new(|_, _| Fate::Arrives(Duration::ZERO)));
    for (raft, _) in &world.rafts {
        raft.applied_at_least(applied.index).await;
    }
    assert_eq!(world.values(), [2; 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_leader_does_not_believe_that_it_still_leads() {
    let mut world = World::new(Syncing::Immediate).await;
    world.propose(1).await.unwrap();
    let old = world.leader().await;
    world.power_cut().await;
    // Nobody can be reached, so nobody can be elected.
    world.hub.set_weather(Arc::new(|_, _| Fate::Lost));
    world.start().await;
    let raft = &world.rafts[old].0;
    for _ in 0..20 {
        assert!(!raft.is_stamping());
        assert!(matches!(raft.propose(vec![Command::Tick]).await, Err(ProposeError::NotLeader(_))));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The lesson of etcd's issue 15247 (hazards §3): a leader that was stuck in its disk woke up and ended
/// everybody's leases by what it had known before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r13_a_leader_that_wakes_up_from_a_stall_does_nothing_by_what_it_knew() {
    let world = World::new(Syncing::OnDemand).await;
    let syncer = world.sync_all_the_time();
    world.propose(1).await.unwrap();
    let old = world.leader().await;
    syncer.abort();
    let syncer = world.sync_all_but(Some(old));
    let set = |value| vec![Command::SetWallOffset(WallOffset(value))];
    // Commits rest on the other two disks.
    world.rafts[old].0.propose(set(2)).await.unwrap();
    assert!(world.rafts[old].0.disk().unwrap().facts().waiting > Duration::ZERO);
    let to = world.rafts[(old + 1) % 3].0.id();
    // It cannot note who leads now, so it does not hear whether that came about.
    let _ = world.rafts[old].0.transfer_leader(Some(to)).await;
    let new = eventually("another leader", || {
        (0..3).find(|at| *at != old && world.rafts[*at].0.is_stamping())
    })
    .await;
    // It still believes that it leads, and acts on that.
    let raft = world.rafts[old].0.clone();
    let stale = tokio::spawn(async move { raft.propose(set(-1)).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let applied = world.rafts[new].0.propose(set(3)).await.unwrap();
    assert_eq!(world.values()[new], 3);
    syncer.abort();
    let syncer = world.sync_all_the_time();
    assert!(stale.await.unwrap().is_err(), "nothing of an ended term is committed");
    world.rafts[old].0.applied_at_least(applied.index).await;
    world.rafts[world.leader().await].0.read_barrier().await.unwrap();
    for (raft, _) in &world.rafts {
        raft.applied_at_least(applied.index).await;
    }
    assert_eq!(world.values(), [3; 3]);
    syncer.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_disk_stands_still_holds_nobody_up_and_is_seen_to_lag() {
    let world = World::new(Syncing::OnDemand).await;
    let syncer = world.sync_all_the_time();
    world.propose(1).await.unwrap();
    let leader = world.leader().await;
    let stalled = (leader + 1) % 3;
    syncer.abort();
    let syncer = world.sync_all_but(Some(stalled));
    for value in 2..40 {
        let change = vec![Command::SetWallOffset(WallOffset(value))];
        let proposing = world.rafts[leader].0.propose(change);
        tokio::time::timeout(Duration::from_secs(2), proposing).await.unwrap().unwrap();
    }
    let node = world.rafts[stalled].0.id();
    let lag = |status: Status| status.members.iter().find(|it| it.node == node).unwrap().lag;
    eventually("the lag", || lag(world.rafts[leader].0.status()).filter(|lag| *lag >= 30)).await;
    assert!(world.rafts[leader].0.is_stamping());
    syncer.abort();
    let syncer = world.sync_all_the_time();
    eventually("no lag", || lag(world.rafts[leader].0.status()).filter(|lag| *lag == 0)).await;
    syncer.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_is_full_is_replaced_and_comes_back_without_a_restart() {
    let world = World::new(Syncing::Immediate).await;
    world.propose(1).await.unwrap();
    let full = world.leader().await;
    world.logs[full].fill(true);
    let lost = world.rafts[full].0.propose(vec![Command::SetWallOffset(WallOffset(2))]);
    assert!(tokio::time::timeout(Duration::from_millis(300), lost).await.is_err(), "it waits");
    let new = eventually("another leader", || {
        (0..3).find(|at| *at != full && world.rafts[*at].0.is_stamping())
    })
    .await;
    let change = vec![Command::SetWallOffset(WallOffset(3))];
    let applied = world.rafts[new].0.propose(change).await.unwrap();
    assert!(world.rafts[full].0.applied().applied.is_none_or(|id| id.index < applied.index));
    world.logs[full].fill(false);
    world.rafts[full].0.applied_at_least(applied.index).await;
    eventually("all to have the new leader's", || (world.values() == [3; 3]).then_some(())).await;
}
