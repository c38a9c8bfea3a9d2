//! What a run consists of, and what it notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Context, Result};
use leasehold::raft::local::Hub;
use parking_lot::Mutex;
use tempfile::TempDir;

use super::clock::SimClock;
use super::disk::{Ballot, Disk, Unchecked};
use super::node::Node;
use super::writers::Writers;
use crate::floor::sim::crowd::{Crowd, Said};
use crate::floor::sim::dice::Dice;
use crate::floor::sim::faults::Fault;
use crate::floor::sim::noticed::Noticed;
use crate::floor::sim::place::{NODES, peers};
use crate::floor::sim::wires::Wires;
use crate::floor::sim::{Mutant, Plan};

/// How often clients look at the clock.
const TICK: Duration = Duration::from_millis(5);
/// Longer than what peers said may be on its way, in milliseconds: a node that is alone for so long has nobody to vote for it.
const UNHEARD: u64 = 1_000;

/// A run.
#[derive(Debug)]
pub struct World {
    /// The seed of everything.
    pub seed: u64,
    /// What kind of run it is.
    pub plan: Plan,
    /// Its clock.
    pub clock: SimClock,
    /// Its wires.
    pub wires: Wires,
    /// Raft's way over them.
    pub hub: Hub,
    /// Its clients.
    pub crowd: Mutex<Crowd>,
    /// Those who change the configuration.
    pub writers: Writers,
    disks: Vec<Arc<Disk>>,
    dirs: Vec<TempDir>,
    nodes: Mutex<Vec<Option<Arc<Node>>>>,
    /// Since when each node can speak with no other.
    alone_since: Mutex<Vec<Option<u64>>>,
    drawn: AtomicU64,
    noticed: Mutex<Noticed>,
}

impl World {
    /// A world in which nothing has happened. Inside a runtime whose time is paused.
    ///
    /// # Errors
    /// When there is no room for the nodes' directories.
    pub fn new(seed: u64, plan: Plan) -> Result<Arc<World>> {
        let unchecked =
            (plan.mutant == Some(Mutant::ApplyWithoutR2c)).then(Arc::<Unchecked>::default);
        let disk = |node| {
            let dice = Dice::new(seed, 10 + node);
            Arc::new(Disk::new(node, plan.mutant, dice, unchecked.clone()))
        };
        let memory = std::path::Path::new("/dev/shm");
        let dir =
            |_| if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let dirs = (0..NODES)
            .map(dir)
            .collect::<std::io::Result<_>>()
            .context("a directory for a node")?;
        let wires = Wires::new(Dice::new(seed, 1));
        let hub = Hub::default();
        let weather = wires.clone();
        hub.set_weather(Arc::new(move |from, to| weather.fate(from, to)));
        if plan.mutant == Some(Mutant::PreVoteAlways) {
            hub.grant_pre_votes();
        }
        Ok(Arc::new(World {
            seed,
            clock: SimClock::start(),
            wires,
            hub,
            crowd: Mutex::new(Crowd::new(plan.clients, NODES, seed, Dice::new(seed, 2))),
            writers: Writers::default(),
            disks: (1..=NODES).map(disk).collect(),
            dirs,
            nodes: Mutex::new(vec![None; NODES as usize + 1]),
            alone_since: Mutex::new(vec![None; NODES as usize + 1]),
            drawn: AtomicU64::new(0),
            noticed: Mutex::default(),
            plan,
        }))
    }

    /// A new stream of choices for a purpose.
    pub fn dice(&self, purpose: u64) -> Dice {
        Dice::new(self.seed, purpose * 100_000 + self.drawn.fetch_add(1, SeqCst))
    }

    /// The disk of a node.
    pub fn disk(&self, node: u64) -> &Arc<Disk> {
        &self.disks[node as usize - 1]
    }

    /// A node, if it runs.
    pub fn node(&self, node: u64) -> Option<Arc<Node>> {
        self.nodes.lock().get(node as usize)?.clone()
    }

    /// All nodes that run.
    pub fn running(&self) -> Vec<Arc<Node>> {
        self.nodes.lock().iter().flatten().cloned().collect()
    }

    /// Who leads and may stamp.
    pub fn leader(&self) -> Option<Arc<Node>> {
        self.running().into_iter().find(|node| node.raft().is_stamping())
    }

    /// Starts a node that does not run. A refusal is a breach: no disk loses what it may not lose.
    pub async fn start(self: &Arc<World>, node: u64) {
        if self.node(node).is_some() {
            return;
        }
        self.tell(format!("start {node}"));
        match Node::start(self, node, self.dirs[node as usize - 1].path()).await {
            Ok(running) => self.nodes.lock()[node as usize] = Some(running),
            Err(error) => self.breach("start", format!("node {node} does not start: {error:#}")),
        }
    }

    /// Kills a node, if it runs; `orderly`: stops it.
    pub async fn end(&self, node: u64, orderly: bool) {
        let Some(running) = self.nodes.lock()[node as usize].take() else { return };
        self.tell(format!("{} {node}", if orderly { "stop" } else { "kill" }));
        if orderly {
            running.stop().await;
        } else {
            running.kill().await;
        }
    }

    /// The power goes everywhere at once.
    pub async fn power_cut(&self) {
        self.tell("power cut".to_owned());
        let all: Vec<_> = self.nodes.lock().iter_mut().filter_map(Option::take).collect();
        // None of them syncs or says anything more.
        for node in &all {
            node.cut_power();
        }
        for node in &all {
            node.kill().await;
        }
    }

    /// What happened, for whoever reads a failure.
    pub fn tell(&self, what: String) {
        self.noticed.lock().tell(self.clock.ms(), what);
    }

    /// A promise was broken.
    pub fn breach(&self, promise: &'static str, what: String) {
        self.noticed.lock().breach(self.clock.ms(), promise, what);
    }

    /// Machines at one index are equal, whenever and wherever.
    pub fn compare(&self, node: u64, index: u64, digest: u64) {
        self.noticed.lock().compare(self.clock.ms(), node, index, digest);
    }

    /// Lets the clients live until it is dropped.
    pub async fn live(self: Arc<World>) {
        loop {
            let said = self.crowd.lock().tick(self.clock.ms());
            self.say(said);
            (1..=NODES).for_each(|node| self.watch_votes(node));
            tokio::time::sleep(TICK).await;
        }
    }

    /// What Raft promises of votes: none is forgotten, and nobody stands who has not asked whether he could be elected, so that terms climb
    /// only where somebody can be.
    fn watch_votes(&self, node: u64) {
        let now = self.clock.ms();
        let is_alone = !peers(node).any(|peer| self.wires.are_joined(node, peer));
        let since = {
            let since = &mut self.alone_since.lock()[node as usize];
            *since = is_alone.then(|| since.unwrap_or(now));
            *since
        };
        let Ballot { stood, relapse, .. } = self.disk(node).take_ballot();
        if let Some((vote, told)) = relapse {
            self.breach("votes", format!("node {node} votes {vote:?}, and had voted {told:?}"));
        }
        if let (Some(vote), Some(since)) = (stood, since.filter(|since| now - since > UNHEARD)) {
            let what =
                format!("node {node} stands in term {}, and is alone since {since} ms", vote.term);
            self.breach("terms", what);
        }
    }

    /// Node `node` says something to whomever it concerns.
    pub fn reply(self: &Arc<World>, node: u64, bytes: Vec<u8>) {
        for delay in self.wires.deliver(node) {
            let (world, bytes) = (self.clone(), bytes.clone());
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                let said = world.crowd.lock().hear(world.clock.ms(), node, &bytes);
                match said {
                    Some(said) => world.say(said),
                    None => {
                        world.breach("wire", format!("node {node} sent what no client can read"))
                    }
                }
            });
        }
    }

    fn say(self: &Arc<World>, said: Vec<Said>) {
        for Said { nodes, bytes, source } in said {
            for node in nodes {
                for delay in self.wires.deliver(node) {
                    let (world, bytes) = (self.clone(), bytes.clone());
                    tokio::spawn(async move {
                        tokio::time::sleep(delay).await;
                        if let Some(node) = world.node(node) {
                            node.packet(bytes, source);
                        }
                    });
                }
            }
        }
    }

    /// Clients do nothing of their own accord from now on, or go on.
    pub fn quiet(&self, quiet: bool) {
        self.noticed.lock().quiet(self.clock.ms(), quiet);
    }

    /// A fault is about to come.
    pub fn fault(&self, fault: Fault) {
        self.noticed.lock().faults.push((self.clock.ms(), fault));
    }

    /// Everything that was noticed so far; it is noticed no more.
    pub fn take_noticed(&self) -> Noticed {
        std::mem::take(&mut self.noticed.lock())
    }

    /// Whether anything was broken.
    pub fn is_broken(&self) -> bool {
        !self.noticed.lock().breaches.is_empty()
    }
}
