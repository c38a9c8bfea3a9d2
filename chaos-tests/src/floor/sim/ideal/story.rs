//! What happens in a run: rounds of faults, each followed by healing and the judgement of the ledger.

use leasehold::propose::Answer;
use leasehold::state::{Command, SetConfig};

use super::world::World;
use crate::floor::sim::dice::Dice;
use crate::floor::sim::faults::Fault;
use crate::floor::sim::noticed::Noticed;
use crate::floor::sim::place::{NODES, configuration, peers};
use crate::floor::sim::{Plan, Report, judge};

/// How long a healed cluster may take until it serves again, in milliseconds.
const RETURN_MS: u64 = 15_000;
/// After so long nothing that was sent is on its way any more, in milliseconds.
const SETTLE_MS: u64 = 5_000;

/// Runs `plan` with `seed`.
pub fn run(seed: u64, plan: Plan) -> Report {
    let mut story = Story {
        world: World::new(seed, plan),
        dice: Dice::new(seed, 4),
        back_at: vec![None; NODES as usize + 1],
        heal_at: None,
    };
    (1..=NODES).for_each(|node| story.world.start(node));
    story.configure();
    story.heal();
    story.world.crowd.quiet(false);
    for _ in 0..plan.rounds {
        story.faults();
        story.heal();
        story.serve();
        story.judge();
        if !story.world.noticed.breaches.is_empty() {
            break;
        }
    }
    let simulated_ms = story.world.now();
    let World { noticed, crowd, .. } = story.world;
    let Noticed { breaches, story, faults, .. } = noticed;
    Report { seed, breaches, story, faults, history: crowd.into_history(), simulated_ms }
}

struct Story {
    world: World,
    dice: Dice,
    /// When a node that is down, or stopped, comes back.
    back_at: Vec<Option<u64>>,
    heal_at: Option<u64>,
}

impl Story {
    fn configure(&mut self) {
        let document = configuration(&self.world.plan).to_string();
        for _ in 0..20 {
            self.world.submit(1, Command::SetConfig(SetConfig::json(document.clone())));
            self.within(3_000, |world| !world.answers.is_empty());
            let answer = std::mem::take(&mut self.world.answers).pop();
            if let Some(Answer::Committed(committed)) = answer {
                return self.world.tell(format!("configured: {:?}", committed.outcome));
            }
        }
        self.world.breach("service", "the cluster takes no configuration".to_owned());
    }

    fn now(&self) -> u64 {
        self.world.now()
    }

    fn faults(&mut self) {
        let end = self.now() + self.world.plan.faults_ms;
        let pause = self.world.plan.pause_ms;
        let mut next = self.now() + self.dice.between(pause.0, pause.1);
        while self.now() < end {
            self.world.pass(50);
            for node in 1..=NODES {
                if self.back_at[node as usize].is_some_and(|at| at <= self.now()) {
                    self.back_at[node as usize] = None;
                    self.world.start(node);
                    self.world.go_on(node);
                }
            }
            if self.heal_at.is_some_and(|at| at <= self.now()) {
                self.heal_at = None;
                self.world.wires.heal();
                (1..=NODES).for_each(|node| self.world.slow_disk(node, 0));
                self.world.tell("wires and disks are well".to_owned());
            }
            if next <= self.now() {
                self.fault();
                next = self.now() + self.dice.between(pause.0, pause.1);
            }
        }
    }

    /// One fault. Its end is on the list.
    fn fault(&mut self) {
        let any = self.dice.between(1, NODES);
        let leader = self.world.leader().unwrap_or(any);
        let victim = if self.dice.chance(500) { leader } else { any };
        let lasts = self.now() + self.dice.between(400, 7_000);
        let plan = &self.world.plan;
        let Some(fault) = plan.faults.draw(&self.dice, plan.power_cuts_per_mille) else { return };
        self.world.noticed.faults.push((self.world.now(), fault));
        match fault {
            Fault::PowerCut => self.power_cut(),
            Fault::Kill | Fault::Shutdown => {
                self.world.kill(victim);
                self.back_at[victim as usize] = Some(self.now() + self.dice.between(100, 6_000));
            }
            Fault::Isolate => {
                let how = self.dice.between(0, 2);
                let ways = ["both ways", "what it says", "what it hears"];
                self.world.tell(format!("isolate {victim}, {}", ways[how as usize]));
                for peer in peers(victim) {
                    if how != 2 {
                        self.world.wires.cut(victim, peer);
                    }
                    if how != 1 {
                        self.world.wires.cut(peer, victim);
                    }
                }
                self.heal_at = Some(lasts);
            }
            Fault::Cut => {
                let peer = peers(victim).nth(self.dice.between(0, NODES - 2) as usize).unwrap_or(1);
                self.world.tell(format!("cut {victim} to {peer}"));
                self.world.wires.cut(victim, peer);
                if self.dice.chance(600) {
                    self.world.wires.cut(peer, victim);
                }
                self.heal_at = Some(lasts);
            }
            Fault::Storm => {
                let (loss, slow) = (self.dice.between(20, 250), self.dice.between(0, 60));
                self.world.tell(format!("storm: {loss} of 1000 lost, {slow} ms late"));
                self.world.wires.storm(loss, slow);
                self.heal_at = Some(lasts);
            }
            Fault::Depose => self.world.depose(),
            Fault::Freeze => {
                self.world.stop(victim);
                self.back_at[victim as usize] = Some(self.now() + self.dice.between(100, 9_000));
            }
            Fault::SlowDisk => {
                let slow = self.dice.between(40, 500);
                self.world.tell(format!("the disk of {victim} takes {slow} ms"));
                self.world.slow_disk(victim, slow);
                self.heal_at = Some(lasts);
            }
            Fault::Snapshot => self.world.checkpoint(victim),
            Fault::WallClock => {
                let by = self.dice.between(0, 20 * 365 * 86_400_000) as i64 - 10 * 365 * 86_400_000;
                self.world.set_wall_clock(victim, by);
            }
        }
    }

    /// The power goes everywhere.
    fn power_cut(&mut self) {
        for node in 1..=NODES {
            self.world.kill(node);
            self.world.slow_disk(node, 0);
            self.back_at[node as usize] = Some(self.now() + self.dice.between(50, 2_500));
        }
    }

    /// Everything is well again, and the cluster returns.
    fn heal(&mut self) {
        self.world.tell("heal".to_owned());
        self.world.wires.heal();
        self.heal_at = None;
        for node in 1..=NODES {
            self.world.slow_disk(node, 0);
            self.back_at[node as usize] = None;
            self.world.start(node);
            self.world.go_on(node);
        }
        let began = self.now();
        if self.within(RETURN_MS, World::is_whole) {
            let took = self.now() - began;
            self.world.tell(format!("all nodes answer after {took} ms"));
        } else {
            let who: Vec<_> = self
                .world
                .running()
                .map(|(node, it)| (node, it.applied, it.is_ready(), it.leader))
                .collect();
            self.world
                .breach("service", format!("not ready {RETURN_MS} ms after healing: {who:?}"));
        }
    }

    /// Clients get answers again.
    fn serve(&mut self) {
        let wanted = self.world.crowd.acks() + 5;
        if !self.within(RETURN_MS, |world| world.crowd.acks() >= wanted) {
            self.world.breach("service", format!("no ACKs within {RETURN_MS} ms after healing"));
        }
    }

    fn within(&mut self, millis: u64, holds: impl Fn(&World) -> bool) -> bool {
        let end = self.now() + millis;
        while self.now() < end {
            if holds(&self.world) {
                return true;
            }
            self.world.pass(20);
        }
        false
    }

    /// Compares what clients were promised with what the nodes have.
    fn judge(&mut self) {
        self.world.crowd.quiet(true);
        self.world.pass(SETTLE_MS);
        let level = |world: &World| world.running().all(|(_, node)| node.applied == world.agreed());
        if !self.within(RETURN_MS, level) {
            let who: Vec<_> = self.world.running().map(|(node, it)| (node, it.applied)).collect();
            let what = format!("the nodes do not come to one index: {who:?}");
            return self.world.breach("agreement", what);
        }
        let now = self.now();
        let (mut broken, history) = (Vec::new(), self.world.crowd.history());
        let leader = self.world.leader().and_then(|leader| self.world.node(leader));
        let clock = leader.map(|leader| leader.cluster(now));
        for (node, it) in self.world.running() {
            let cluster = clock.unwrap_or(it.state.now());
            judge::node(history, node, &it.state, now, cluster, &mut |promise, what| {
                broken.push((promise, what))
            });
        }
        judge::ledger(history, &mut |promise, what| broken.push((promise, what)));
        let told = format!("judged: {} ACKs, {} NAKs", history.acks(), history.naks());
        for (promise, what) in broken {
            self.world.breach(promise, what);
        }
        self.world.tell(told);
        self.world.crowd.quiet(false);
    }
}
