//! What a run consists of, and what it notices.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use anyhow::{Context, Result};
use leasehold::raft::local::Hub;
use leasehold::storage::memory::Syncing;
use parking_lot::Mutex;
use tempfile::TempDir;

use super::clock::SimClock;
use super::crowd::Crowd;
use super::dice::Dice;
use super::disk::{Disk, Unchecked};
use super::node::{NODES, Node};
use super::wires::Wires;
use super::{Breach, Mutant, Plan};

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
    pub crowd: Arc<Crowd>,
    disks: Vec<Arc<Disk>>,
    dirs: Vec<TempDir>,
    nodes: Mutex<Vec<Option<Arc<Node>>>>,
    drawn: AtomicU64,
    noticed: Mutex<Noticed>,
}

#[derive(Debug, Default)]
struct Noticed {
    breaches: Vec<Breach>,
    story: Vec<String>,
    /// By index: the hash of the machine, and the node that had it first.
    digests: BTreeMap<u64, (u64, u64)>,
}

impl World {
    /// A world in which nothing has happened. Inside a runtime whose time is paused.
    ///
    /// # Errors
    /// When there is no room for the nodes' directories.
    pub fn new(seed: u64, plan: Plan) -> Result<Arc<World>> {
        let unchecked =
            (plan.mutant == Some(Mutant::ApplyWithoutR2c)).then(Arc::<Unchecked>::default);
        let syncing = if plan.mutant == Some(Mutant::AckBeforeSync) {
            Syncing::Lying
        } else {
            Syncing::OnDemand
        };
        let disk =
            |node| Arc::new(Disk::new(syncing, Dice::new(seed, 10 + node), unchecked.clone()));
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
        let world = Arc::new(World {
            seed,
            clock: SimClock::start(),
            wires,
            hub,
            crowd: Arc::new(Crowd::new(plan.clients, seed, Dice::new(seed, 2))),
            disks: (1..=NODES).map(disk).collect(),
            dirs,
            nodes: Mutex::new(vec![None; NODES as usize + 1]),
            drawn: AtomicU64::new(0),
            noticed: Mutex::default(),
            plan,
        });
        world.crowd.enter(&world);
        Ok(world)
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
        let at = self.clock.ms();
        self.noticed.lock().story.push(format!("{at:>8} ms {what}"));
    }

    /// A promise was broken.
    pub fn breach(&self, promise: &'static str, what: String) {
        let at = self.clock.ms();
        self.tell(format!("BREACH {promise}: {what}"));
        self.noticed.lock().breaches.push(Breach { promise, what, at });
    }

    /// Machines at one index are equal, whenever and wherever.
    pub fn compare(&self, node: u64, index: u64, digest: u64) {
        let mut noticed = self.noticed.lock();
        let (first, by) = *noticed.digests.entry(index).or_insert((digest, node));
        drop(noticed);
        if first != digest {
            self.breach("agreement", format!("nodes {by} and {node} differ at index {index}"));
        }
    }

    /// Every breach and the story so far.
    pub fn noticed(&self) -> (Vec<Breach>, Vec<String>) {
        let noticed = self.noticed.lock();
        (noticed.breaches.clone(), noticed.story.clone())
    }

    /// Whether anything was broken.
    pub fn is_broken(&self) -> bool {
        !self.noticed.lock().breaches.is_empty()
    }
}
