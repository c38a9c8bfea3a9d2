//! The story's verbs in this world, and a whole run of it.

use leasehold::propose::Answer;
use leasehold::state::{Command, SetConfig};

use super::world::World;
use crate::floor::sim::dice::Dice;
use crate::floor::sim::faults::Fault;
use crate::floor::sim::noticed::Noticed;
use crate::floor::sim::place::{NODES, configuration};
use crate::floor::sim::{Plan, RETURN_MS, Report, SETTLE_MS, judge};
use crate::floor::stage::{Lacking, Stage};
use crate::story;

/// What this world does not have.
pub const LACKS: &[Lacking] = &[
    (Fault::Flap, "elections are not in this world"),
    (Fault::Stall, "a slow disk stands for it in this world"),
    (Fault::FullDisk, "the log is not on a disk in this world"),
    (Fault::BrokenDisk, "the log is not on a disk in this world"),
    (Fault::Narrow, "wires have no width in this world"),
    (Fault::NoClients, "clients choose anew in this world which nodes hear them"),
];

/// Runs `plan` with `seed`.
pub fn run(seed: u64, plan: Plan) -> Report {
    let mut world = World::new(seed, plan);
    (1..=NODES).for_each(|node| world.start(node));
    story::play(&mut world, Dice::new(seed, 4), || false);
    let simulated_ms = world.now();
    let World { noticed, crowd, .. } = world;
    let Noticed { breaches, story, faults, quiet, .. } = noticed;
    Report { seed, breaches, story, faults, quiet, history: crowd.into_history(), simulated_ms }
}

impl Stage for World {
    fn plan(&self) -> Plan {
        self.plan
    }

    fn nodes(&self) -> u64 {
        NODES
    }

    fn lacks(&self) -> &[Lacking] {
        LACKS
    }

    fn return_ms(&self) -> u64 {
        RETURN_MS
    }

    fn now(&self) -> u64 {
        self.schedule.now()
    }

    fn pass(&mut self, millis: u64) {
        World::pass(self, millis);
    }

    fn tell(&mut self, what: String) {
        World::tell(self, what);
    }

    fn breach(&mut self, promise: &'static str, what: String) {
        World::breach(self, promise, what);
    }

    fn note(&mut self, fault: Fault) {
        let now = self.schedule.now();
        self.noticed.faults.push((now, fault));
    }

    fn is_broken(&self) -> bool {
        !self.noticed.breaches.is_empty()
    }

    fn configure(&mut self) -> bool {
        let document = configuration(&self.plan).to_string();
        for _ in 0..20 {
            // Named: a repeat that comes late is none of its own.
            let set = SetConfig { id: u64::MAX, ..SetConfig::json(document.clone()) };
            self.submit(1, Command::SetConfig(set));
            let told = |world: &mut World| match world.answers.is_empty() {
                true => Err(String::new()),
                false => Ok(()),
            };
            // None at all is as good as an unknown one.
            let _ = story::wait(self, 3_000, told);
            if let Some(Answer::Committed(committed)) = std::mem::take(&mut self.answers).pop() {
                World::tell(self, format!("configured: {:?}", committed.outcome));
                return true;
            }
        }
        false
    }

    fn leader(&mut self) -> Option<u64> {
        World::leader(self)
    }

    fn term(&mut self) -> Option<u64> {
        Some(self.log.term)
    }

    fn is_whole(&mut self) -> Result<(), String> {
        let is_ready = self.running().count() as u64 == NODES
            && self.running().all(|(_, node)| node.is_ready())
            && World::leader(self).is_some();
        let describe =
            |(node, it): (u64, &super::node::Node)| (node, it.applied, it.is_ready(), it.leader);
        match is_ready {
            true => Ok(()),
            false => Err(format!("{:?}", self.running().map(describe).collect::<Vec<_>>())),
        }
    }

    fn quiet(&mut self, quiet: bool) {
        self.noticed.quiet(self.schedule.now(), quiet);
        self.crowd.quiet(quiet);
        self.writers.quiet(quiet);
    }

    fn acks(&self) -> usize {
        self.crowd.acks()
    }

    fn judge(&mut self) {
        World::pass(self, SETTLE_MS);
        let level = |world: &mut World| {
            let applied: Vec<_> = world.running().map(|(node, it)| (node, it.applied)).collect();
            match applied.iter().all(|(_, applied)| *applied == world.agreed()) {
                true => Ok(()),
                false => Err(format!("the nodes do not come to one index: {applied:?}")),
            }
        };
        if let Err(why) = story::wait(self, RETURN_MS, level) {
            return World::breach(self, "agreement", why);
        }
        let now = self.schedule.now();
        let (mut broken, history) = (Vec::new(), self.crowd.history());
        let mut note = |promise, what| broken.push((promise, what));
        let leader = World::leader(self).and_then(|leader| self.node(leader));
        let clock = leader.map(|leader| leader.cluster(now));
        for (node, it) in self.running() {
            let cluster = clock.unwrap_or(it.state.now());
            judge::node(history, node, &it.state, now, cluster, &mut note);
        }
        for breach in self.writers.check() {
            note("configuration", breach.0);
        }
        if let Err(what) = self.writers.answers_cover_truth() {
            note("floor", what);
        }
        let may_refuse = |promise: &_, refusal| self.writers.may_refuse(promise, refusal);
        judge::ledger(history, may_refuse, &mut note);
        let told = format!("judged: {} ACKs, {} NAKs", history.acks(), history.naks());
        for (promise, what) in broken {
            World::breach(self, promise, what);
        }
        World::tell(self, told);
    }

    fn bring_back(&mut self, node: u64) {
        self.start(node);
        self.go_on(node);
    }

    fn kill(&mut self, node: u64) {
        World::kill(self, node);
    }

    fn shut_down(&mut self, node: u64) {
        World::shut_down(self, node);
    }

    fn freeze(&mut self, node: u64) {
        self.stop(node);
    }

    fn cut(&mut self, from: u64, to: u64) {
        self.wires.cut(from, to);
    }

    fn storm(&mut self, lost_per_mille: u64, late_ms: u64) {
        self.wires.storm(lost_per_mille, late_ms);
    }

    fn cut_clients(&mut self, _: u64) {}

    fn narrow(&mut self, _: u64, _: u64) {}

    fn slow_disk(&mut self, node: u64, millis: u64) {
        World::slow_disk(self, node, millis);
    }

    fn break_disk(&mut self, _: u64) {}

    fn stall_disk(&mut self, _: u64) {}

    fn fill_disk(&mut self, _: u64) {}

    fn heal_wires(&mut self) {
        self.wires.heal();
    }

    fn heal_disks(&mut self) {
        (1..=NODES).for_each(|node| World::slow_disk(self, node, 0));
    }

    fn depose(&mut self) {
        World::depose(self);
    }

    fn checkpoint(&mut self, node: u64) {
        World::checkpoint(self, node);
    }

    fn set_wall_clock(&mut self, node: u64, by_ms: i64) {
        World::set_wall_clock(self, node, by_ms);
    }

    fn cut_power(&mut self) {
        for node in 1..=NODES {
            World::kill(self, node);
            self.reboot(node);
        }
    }
}
