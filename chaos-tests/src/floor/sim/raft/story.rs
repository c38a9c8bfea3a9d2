//! What happens in a run: rounds of faults, each followed by healing and the judgement of the ledger.

use std::sync::Arc;
use std::time::Duration;

use leasehold::propose::Answer;
use leasehold::state::{Command, SetConfig};
use tokio::time::sleep;

use super::node::Node;
use super::world::World;
use crate::floor::sim::dice::Dice;
use crate::floor::sim::faults::Fault;
use crate::floor::sim::noticed::Noticed;
use crate::floor::sim::place::{NODES, configuration, peers};
use crate::floor::sim::{Plan, Report, judge};

/// How long a healed cluster may take until it serves again, in milliseconds.
const RETURN_MS: u64 = 15_000;
/// After so long nothing that was sent is on its way any more.
const SETTLE: Duration = Duration::from_millis(5_000);

/// Runs `plan` with `seed`. Inside a runtime whose time is paused.
///
/// # Errors
/// When the run cannot begin.
pub async fn run(seed: u64, plan: Plan) -> anyhow::Result<Report> {
    let world = World::new(seed, plan)?;
    for node in 1..=NODES {
        world.start(node).await;
    }
    let mut story = Story {
        dice: world.dice(3),
        world: world.clone(),
        back_at: vec![None; NODES as usize + 1],
        heal_at: None,
    };
    story.configure().await;
    story.heal().await;
    world.crowd.lock().quiet(false);
    let living = tokio::spawn(world.clone().live());
    for _ in 0..world.plan.rounds {
        story.faults().await;
        story.heal().await;
        story.serve().await;
        story.judge().await;
        if world.is_broken() {
            break;
        }
    }
    living.abort();
    world.power_cut().await;
    let Noticed { breaches, story, faults, .. } = world.take_noticed();
    let history = world.crowd.lock().history().clone();
    Ok(Report { seed, breaches, story, faults, history, simulated_ms: world.clock.ms() })
}

struct Story {
    world: Arc<World>,
    dice: Dice,
    /// When a node that is down comes back.
    back_at: Vec<Option<u64>>,
    heal_at: Option<u64>,
}

impl Story {
    async fn configure(&self) {
        let document = configuration(&self.world.plan);
        for _ in 0..20 {
            let Some(node) = self.world.node(1) else { break };
            let set = Command::SetConfig(SetConfig::json(document.to_string()));
            if let Answer::Committed(committed) =
                node.proposer().submit(set, Duration::from_secs(2)).await
            {
                return self.world.tell(format!("configured: {:?}", committed.outcome));
            }
        }
        self.world.breach("service", "the cluster takes no configuration".to_owned());
    }

    fn now(&self) -> u64 {
        self.world.clock.ms()
    }

    async fn faults(&mut self) {
        let end = self.now() + self.world.plan.faults_ms;
        let pause = self.world.plan.pause_ms;
        let mut next = self.now() + self.dice.between(pause.0, pause.1);
        while self.now() < end {
            sleep(Duration::from_millis(50)).await;
            for node in 1..=NODES {
                if self.back_at[node as usize].is_some_and(|at| at <= self.now()) {
                    self.back_at[node as usize] = None;
                    self.world.start(node).await;
                }
            }
            if self.heal_at.is_some_and(|at| at <= self.now()) {
                self.heal_at = None;
                self.world.wires.heal();
                (1..=NODES).for_each(|node| self.world.disk(node).slow(0));
                self.world.tell("wires and disks are well".to_owned());
            }
            if next <= self.now() {
                self.fault().await;
                next = self.now() + self.dice.between(pause.0, pause.1);
            }
        }
    }

    /// One fault. Its end is on the list.
    async fn fault(&mut self) {
        let world = self.world.clone();
        let any = self.dice.between(1, NODES);
        let leader = world.leader().map_or(any, |leader| leader.raft().id().0);
        let victim = if self.dice.chance(500) { leader } else { any };
        let lasts = self.now() + self.dice.between(400, 7_000);
        let known = world.plan.faults.without(Fault::Freeze).without(Fault::WallClock);
        let Some(fault) = known.draw(&self.dice, world.plan.power_cuts_per_mille) else { return };
        world.fault(fault);
        match fault {
            Fault::PowerCut => self.power_cut().await,
            Fault::Kill => self.down(victim, false).await,
            Fault::Shutdown => self.down(victim, true).await,
            Fault::Isolate => {
                let how = self.dice.between(0, 2);
                world.tell(format!(
                    "isolate {victim}, {}",
                    ["both ways", "what it says", "what it hears"][how as usize]
                ));
                for peer in peers(victim) {
                    if how != 2 {
                        world.wires.cut(victim, peer);
                    }
                    if how != 1 {
                        world.wires.cut(peer, victim);
                    }
                }
                self.heal_at = Some(lasts);
            }
            Fault::Cut => {
                let peer = peers(victim).nth(self.dice.between(0, NODES - 2) as usize).unwrap_or(1);
                world.tell(format!("cut {victim} to {peer}"));
                world.wires.cut(victim, peer);
                if self.dice.chance(600) {
                    world.wires.cut(peer, victim);
                }
                self.heal_at = Some(lasts);
            }
            Fault::Storm => {
                let (loss, slow) = (self.dice.between(20, 250), self.dice.between(0, 60));
                world.tell(format!("storm: {loss} of 1000 lost, {slow} ms late"));
                world.wires.storm(loss, slow);
                self.heal_at = Some(lasts);
            }
            Fault::Depose => {
                if let Some(node) = world.leader() {
                    let result = node.raft().transfer_leader(None).await;
                    world.tell(format!("leadership goes over: {result:?}"));
                }
            }
            Fault::SlowDisk => {
                let slow = self.dice.between(40, 500);
                world.tell(format!("the disk of {victim} takes {slow} ms"));
                world.disk(victim).slow(slow);
                self.heal_at = Some(lasts);
            }
            Fault::Snapshot | Fault::Freeze | Fault::WallClock => {
                if let Some(node) = world.node(victim) {
                    world.tell(format!("snapshot at {victim}"));
                    let _ = node.raft().snapshot().await;
                }
            }
        }
    }

    /// The power goes everywhere, sometimes while the disks are slow, so that much is not synced.
    async fn power_cut(&mut self) {
        let world = self.world.clone();
        if self.dice.chance(600) {
            let slow = self.dice.between(50, 900);
            (1..=NODES).for_each(|node| world.disk(node).slow(slow));
            sleep(Duration::from_millis(self.dice.between(200, 1_500))).await;
        }
        world.power_cut().await;
        for node in 1..=NODES {
            world.disk(node).slow(0);
            self.back_at[node as usize] = Some(self.now() + self.dice.between(50, 2_500));
        }
    }

    async fn down(&mut self, node: u64, orderly: bool) {
        self.world.end(node, orderly).await;
        self.back_at[node as usize] = Some(self.now() + self.dice.between(100, 6_000));
    }

    /// Everything is well again, and the cluster returns.
    async fn heal(&mut self) {
        self.world.tell("heal".to_owned());
        self.world.wires.heal();
        self.heal_at = None;
        for node in 1..=NODES {
            self.world.disk(node).slow(0);
            self.back_at[node as usize] = None;
            self.world.start(node).await;
        }
        let ready = |world: &World| {
            let running = world.running();
            world.leader().is_some()
                && running.len() as u64 == NODES
                && running.iter().all(|node| node.is_ready())
        };
        let began = self.now();
        if self.within(RETURN_MS, ready).await {
            self.world.tell(format!("all nodes answer after {} ms", self.now() - began));
        } else {
            let states: Vec<_> = self.world.running().iter().map(describe).collect();
            self.world
                .breach("service", format!("not ready {RETURN_MS} ms after healing: {states:#?}"));
        }
    }

    /// Clients get answers again.
    async fn serve(&self) {
        let before = self.world.crowd.lock().acks();
        if !self.within(RETURN_MS, |world| world.crowd.lock().acks() >= before + 5).await {
            self.world.breach("service", format!("no ACKs within {RETURN_MS} ms after healing"));
        }
    }

    async fn within(&self, millis: u64, holds: impl Fn(&World) -> bool) -> bool {
        let end = self.now() + millis;
        while self.now() < end {
            if holds(&self.world) {
                return true;
            }
            sleep(Duration::from_millis(20)).await;
        }
        false
    }

    /// Compares what clients were promised with what the nodes have.
    async fn judge(&self) {
        let world = &self.world;
        world.crowd.lock().quiet(true);
        sleep(SETTLE).await;
        let level = |world: &World| {
            let applied: Vec<u64> =
                world.running().iter().map(|node| node.state().read().applied()).collect();
            applied.len() as u64 == NODES && applied.windows(2).all(|pair| pair[0] == pair[1])
        };
        if !self.within(RETURN_MS, level).await {
            let states: Vec<_> = world.running().iter().map(describe).collect();
            return world
                .breach("agreement", format!("the nodes do not come to one index: {states:#?}"));
        }
        let now = self.now();
        let history = world.crowd.lock().history().clone();
        let mut note = |promise, what| world.breach(promise, what);
        let clock = world.leader().map(|leader| leader.raft().now());
        for node in world.running() {
            let me = node.raft().id();
            let state = node.state().read();
            world.compare(me.0, state.applied(), state.digest());
            judge::node(&history, me.0, &state, now, clock.unwrap_or(state.now()), &mut note);
        }
        judge::ledger(&history, &mut note);
        world.tell(format!("judged: {} ACKs, {} NAKs", history.acks(), history.naks()));
        world.crowd.lock().quiet(false);
    }
}

fn describe(node: &Arc<Node>) -> String {
    let status = node.raft().status();
    format!(
        "{} {:?} leader {:?} term {} applied {:?} committed {:?} last {:?} machine {} ready {}",
        status.id,
        status.role,
        status.leader,
        status.term,
        status.applied,
        status.committed,
        status.last_log,
        node.state().read().applied(),
        node.is_ready()
    )
}
