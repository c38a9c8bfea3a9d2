//! The story's verbs in this world, and a whole run of it. The story is not asynchronous: time passes while it waits, in a runtime whose
//! time is paused.

use std::sync::Arc;
use std::time::Duration;

use leasehold::propose::Answer;
use leasehold::state::{Command, SetConfig};
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

use super::node::Node;
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
    (Fault::Freeze, "all nodes share one runtime in this world"),
    (Fault::WallClock, "wall clocks stand still in this world"),
    (Fault::Stall, "a slow disk stands for it in this world"),
    (Fault::FullDisk, "the disk of this world has no end"),
    (Fault::BrokenDisk, "a node that is killed stands for one that ends itself in this world"),
    (Fault::Narrow, "wires have no width in this world"),
    (Fault::NoClients, "clients choose anew in this world which nodes hear them"),
];

/// Runs `plan` with `seed`.
///
/// # Errors
/// When the run cannot begin.
pub fn run(seed: u64, plan: Plan) -> anyhow::Result<Report> {
    // Nothing but time is switched on: a socket would be noticed.
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).max_blocking_threads(4).build()?;
    let world = runtime.block_on(async { World::new(seed, plan) })?;
    let mut run = Run { dice: world.dice(3), world, runtime };
    (1..=NODES).for_each(|node| run.runtime.block_on(run.world.start(node)));
    let living = run.runtime.spawn(run.world.clone().live());
    // Streams of their own: everything else is drawn as if they were not there.
    let writer = |number| run.world.clone().write(Dice::new(seed, 50 + number));
    let writing: Vec<_> =
        (1..=u64::from(plan.writers)).map(|number| run.runtime.spawn(writer(number))).collect();
    let dice = run.world.dice(3);
    story::play(&mut run, dice, || false);
    living.abort();
    writing.iter().for_each(|writer| writer.abort());
    run.runtime.block_on(run.world.power_cut());
    let simulated_ms = run.now();
    let Noticed { breaches, story, faults, quiet, .. } = run.world.take_noticed();
    let history = run.world.crowd.lock().history().clone();
    Ok(Report { seed, breaches, story, faults, quiet, history, simulated_ms })
}

struct Run {
    world: Arc<World>,
    dice: Dice,
    runtime: Runtime,
}

impl Run {
    /// Does something that looks at the clock, which is the runtime's.
    fn inside<T>(&self, work: impl FnOnce(&World) -> T) -> T {
        let _guard = self.runtime.enter();
        work(&self.world)
    }

    fn end(&mut self, node: u64, orderly: bool) {
        self.runtime.block_on(self.world.end(node, orderly));
    }

    fn all_disks(&self, slow: u64) {
        (1..=NODES).for_each(|node| self.world.disk(node).slow(slow));
    }
}

impl Stage for Run {
    fn plan(&self) -> Plan {
        self.world.plan
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
        self.inside(|world| world.clock.ms())
    }

    fn pass(&mut self, millis: u64) {
        // A timer is made inside the runtime, or there is no clock for it.
        self.runtime.block_on(async { sleep(Duration::from_millis(millis)).await });
    }

    fn tell(&mut self, what: String) {
        self.inside(|world| world.tell(what));
    }

    fn breach(&mut self, promise: &'static str, what: String) {
        self.inside(|world| world.breach(promise, what));
    }

    fn note(&mut self, fault: Fault) {
        self.inside(|world| world.fault(fault));
    }

    fn is_broken(&self) -> bool {
        self.world.is_broken()
    }

    fn configure(&mut self) -> bool {
        let document = configuration(&self.world.plan).to_string();
        for _ in 0..20 {
            let Some(node) = self.world.node(1) else { return false };
            let set = SetConfig { id: u64::MAX, ..SetConfig::json(document.clone()) };
            let submitted = node.proposer().submit(Command::SetConfig(set), Duration::from_secs(2));
            if let Answer::Committed(committed) = self.runtime.block_on(submitted) {
                self.tell(format!("configured: {:?}", committed.outcome));
                return true;
            }
        }
        false
    }

    fn leader(&mut self) -> Option<u64> {
        Some(self.world.leader()?.raft().id().0)
    }

    fn term(&mut self) -> Option<u64> {
        self.inside(|world| Some(world.leader()?.raft().status().term))
    }

    fn is_whole(&mut self) -> Result<(), String> {
        let running = self.world.running();
        let is_ready = self.world.leader().is_some()
            && running.len() as u64 == NODES
            && running.iter().all(|node| node.is_ready());
        if is_ready { Ok(()) } else { Err(self.inside(describe_all)) }
    }

    fn quiet(&mut self, quiet: bool) {
        self.inside(|world| world.quiet(quiet));
        self.world.crowd.lock().quiet(quiet);
        self.world.writers.quiet(quiet);
    }

    fn acks(&self) -> usize {
        self.world.crowd.lock().acks()
    }

    fn judge(&mut self) {
        self.pass(SETTLE_MS);
        let level = |run: &mut Run| {
            let machine = |node: &Arc<Node>| node.state().read().applied();
            let applied: Vec<u64> = run.world.running().iter().map(machine).collect();
            match applied.len() as u64 == NODES && applied.windows(2).all(|pair| pair[0] == pair[1])
            {
                true => Ok(()),
                false => Err(run.inside(describe_all)),
            }
        };
        if let Err(why) = story::wait(self, RETURN_MS, level) {
            let what = format!("the nodes do not come to one index: {why}");
            return self.breach("agreement", what);
        }
        self.inside(|world| {
            let (now, history) = (world.clock.ms(), world.crowd.lock().history().clone());
            let mut note = |promise, what| world.breach(promise, what);
            let clock = world.leader().map(|leader| leader.raft().now());
            for node in world.running() {
                let me = node.raft().id();
                let state = node.state().read();
                world.compare(me.0, state.applied(), state.digest());
                judge::node(&history, me.0, &state, now, clock.unwrap_or(state.now()), &mut note);
            }
            let book = world.writers.book.lock();
            for breach in book.check() {
                note("configuration", breach.0);
            }
            let may_refuse = |promise: &_, refusal| book.may_refuse(promise, refusal);
            judge::ledger(&history, may_refuse, &mut note);
            world.tell(format!("judged: {} ACKs, {} NAKs", history.acks(), history.naks()));
        });
    }

    fn bring_back(&mut self, node: u64) {
        self.runtime.block_on(self.world.start(node));
    }

    fn kill(&mut self, node: u64) {
        self.end(node, false);
    }

    fn shut_down(&mut self, node: u64) {
        self.end(node, true);
    }

    fn freeze(&mut self, _: u64) {}

    fn cut(&mut self, from: u64, to: u64) {
        self.world.wires.cut(from, to);
    }

    fn storm(&mut self, lost_per_mille: u64, late_ms: u64) {
        self.world.wires.storm(lost_per_mille, late_ms);
    }

    fn cut_clients(&mut self, _: u64) {}

    fn narrow(&mut self, _: u64, _: u64) {}

    fn slow_disk(&mut self, node: u64, millis: u64) {
        self.world.disk(node).slow(millis);
    }

    fn break_disk(&mut self, _: u64) {}

    fn stall_disk(&mut self, _: u64) {}

    fn fill_disk(&mut self, _: u64) {}

    fn heal_wires(&mut self) {
        self.world.wires.heal();
    }

    fn heal_disks(&mut self) {
        self.all_disks(0);
    }

    fn depose(&mut self) {
        if let Some(node) = self.world.leader() {
            let result = self.runtime.block_on(node.raft().transfer_leader(None));
            self.tell(format!("leadership goes over: {result:?}"));
        }
    }

    fn checkpoint(&mut self, node: u64) {
        if let Some(running) = self.world.node(node) {
            self.tell(format!("snapshot at {node}"));
            // It may be under way already.
            let _ = self.runtime.block_on(running.raft().snapshot());
        }
    }

    fn set_wall_clock(&mut self, _: u64, _: i64) {}

    /// Sometimes the disks are slow just then, so that much is not synced.
    fn cut_power(&mut self) {
        if self.dice.chance(600) {
            let slow = self.dice.between(50, 900);
            self.all_disks(slow);
            self.pass(self.dice.between(200, 1_500));
        }
        self.runtime.block_on(self.world.power_cut());
    }
}

fn describe_all(world: &World) -> String {
    let states: Vec<_> = world.running().iter().map(describe).collect();
    format!("{states:#?}")
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
