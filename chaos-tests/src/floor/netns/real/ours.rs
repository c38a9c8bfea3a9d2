//! Three nodes of ours: each with a disk of its own behind a loop device, and an emulated network between them.

use anyhow::{Context, Result, bail};
use leasehold::clock::WALL_OFFSET_FILE;

use super::{Servers, storm};
use crate::floor::netns::cluster::{self, Cluster, Direction, Plan as ClusterPlan};
use crate::floor::netns::loop_disk::{LoopDisk, Lost};
use crate::floor::netns::sys::Signal;
use crate::floor::netns::topology::Namespace;
use crate::floor::netns::{api, traffic};
use crate::floor::sim::Plan;
use crate::floor::sim::dice::Dice;
use crate::floor::sim::faults::Fault;
use crate::floor::sim::place::configuration;
use crate::floor::stage::Lacking;
use crate::gate::Gate;
use crate::oracle::{Breach, Held};

/// What is not there.
const LACKS: &[Lacking] = &[(
    Fault::SlowDisk,
    "the disk is an image that stands still or does not: see the fault stall, and the tests of the disk with faults",
)];

/// MiB of a node's disk.
const DISK_MIB: u64 = 192;
/// So much of it may a node use at most with so few leases, in MiB.
const USED_MIB: u64 = 96;
/// So much memory may a node have, in MiB.
const RESIDENT_MIB: u64 = 300;
/// How far a wall clock may be wrong, in milliseconds: 20 years.
const WRONG_MS: i64 = 20 * 365 * 86_400_000;

/// The cluster.
#[derive(Debug)]
pub struct Ours {
    // Unmounted before the files go.
    disks: Vec<LoopDisk>,
    cluster: Cluster,
    dice: Dice,
    /// Whether a node should run.
    up: Vec<bool>,
    frozen: Vec<bool>,
    /// Whether its disk stands still.
    stalled: Vec<bool>,
    wrong_ms: Vec<i64>,
}

impl Ours {
    /// Starts a cluster that reads the configuration of `plan`, and waits until it serves.
    ///
    /// # Errors
    /// When it does not come to serve.
    pub fn start(gate: Gate, seed: u64, plan: &Plan) -> Result<Ours> {
        let plan = ClusterPlan {
            more: configuration(plan)["Dhcp4"].clone(),
            emulated_peers: true,
            ..ClusterPlan::default()
        };
        let mut cluster = Cluster::build(gate, &plan)?;
        let (mut disks, files) = (Vec::new(), cluster.dir().to_path_buf());
        for node in &mut cluster.nodes {
            let data = node.dir().join("data");
            disks.push(LoopDisk::mount_for_cuts(&files, &data, DISK_MIB)?);
            let wall = node.dir().join("wall");
            std::fs::write(&wall, "0")?;
            node.set_environment(WALL_OFFSET_FILE, &wall);
            // A signal of the terminal ends the run after its round; it must not end a node before.
            node.set_wrapper(&["setsid"]);
            node.start()?;
        }
        cluster.wait_ready()?;
        let count = cluster.nodes.len();
        Ok(Ours {
            disks,
            cluster,
            dice: Dice::new(seed, 6),
            up: vec![true; count],
            frozen: vec![false; count],
            stalled: vec![false; count],
            wrong_ms: vec![0; count],
        })
    }

    /// Those that run and do not stand still.
    fn awake(&self) -> impl Iterator<Item = usize> {
        (0..self.up.len()).filter(move |index| self.up[*index] && !self.frozen[*index])
    }

    fn metric(&self, index: usize, name: &str) -> Option<u64> {
        let (_, page) = api::get(&self.cluster.nodes[index].namespace, "/metrics").ok()?;
        api::metric(&page, name).map(|value| value as u64)
    }

    fn used_mib(&self, index: usize) -> Result<u64> {
        Ok(DISK_MIB.saturating_sub(self.disks[index].free()? >> 20))
    }

    /// The disk of a node goes on, if it stands still.
    fn thaw(&mut self, at: usize) -> Result<()> {
        if std::mem::take(&mut self.stalled[at]) {
            self.disks[at].thaw()?;
        }
        Ok(())
    }
}

fn index(server: u64) -> usize {
    usize::try_from(server.saturating_sub(1)).unwrap_or(usize::MAX)
}

impl Servers for Ours {
    fn count(&self) -> u64 {
        self.cluster.nodes.len() as u64
    }

    fn lacks(&self) -> &[Lacking] {
        LACKS
    }

    fn relay(&self) -> &Namespace {
        self.cluster.relay()
    }

    fn must_keep(&self) -> bool {
        true
    }

    fn is_whole(&mut self) -> Result<(), String> {
        for (node, number) in self.cluster.nodes.iter_mut().zip(1..) {
            if !node.runs() {
                return Err(format!("node {number} does not run"));
            }
            node.readiness().map_err(|why| format!("node {number}: {why}"))?;
        }
        self.leader().map(drop).ok_or_else(|| "nobody leads".to_owned())
    }

    fn leader(&mut self) -> Option<u64> {
        self.awake().find(|index| self.cluster.nodes[*index].leads()).map(|index| index as u64 + 1)
    }

    fn term(&mut self) -> Option<u64> {
        let leader = self.leader()?;
        self.metric(index(leader), "leasehold_raft_term")
    }

    fn leases(&mut self, server: u64) -> Result<Vec<Held>> {
        self.cluster.leases(index(server))
    }

    fn agree(&mut self) -> Result<(), String> {
        let applied: Vec<Option<u64>> = (0..self.up.len())
            .map(|index| self.metric(index, "leasehold_raft_applied_index"))
            .collect();
        if applied.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(format!("the nodes do not come to one index: {applied:?}"));
        }
        let leader = self.leader().ok_or("nobody leads")?;
        let asked = self.cluster.nodes[index(leader)].command("cluster-hash-check", None);
        let answer = asked.map_err(|error| format!("{error:#}"))?;
        // 3: there is nothing to compare yet.
        match answer.result {
            0 | 3 => Ok(()),
            _ => Err(format!("{}: {}", answer.text, answer.arguments)),
        }
    }

    fn overgrown(&mut self) -> Vec<Breach> {
        let mut breaches = Vec::new();
        for index in 0..self.up.len() {
            let number = index + 1;
            let resident = self.cluster.nodes[index].process().and_then(|it| it.resident_kib());
            match resident.map(|kib| kib >> 10) {
                Ok(mib) if mib > RESIDENT_MIB => {
                    breaches.push(Breach(format!("node {number} has {mib} MiB of memory")));
                }
                Ok(_) => {}
                Err(error) => breaches.push(Breach(format!("memory of {number}: {error:#}"))),
            }
            match self.used_mib(index) {
                Ok(mib) if mib > USED_MIB => {
                    breaches.push(Breach(format!("node {number} uses {mib} MiB of its disk")));
                }
                Ok(_) => {}
                Err(error) => breaches.push(Breach(format!("disk of {number}: {error:#}"))),
            }
        }
        breaches
    }

    fn facts(&mut self, server: u64) -> Vec<(String, String)> {
        let at = index(server);
        let mut facts = Vec::new();
        for name in ["is_leader", "term", "applied_index", "snapshot_index"] {
            let value = self.metric(at, &format!("leasehold_raft_{name}"));
            let shown = value.map_or("no answer".to_owned(), |value| value.to_string());
            facts.push((name.replace('_', " "), shown));
        }
        let resident = self.cluster.nodes[at].process().and_then(|it| it.resident_kib());
        if let (Ok(kib), Ok(mib)) = (resident, self.used_mib(at)) {
            facts.push(("memory".to_owned(), format!("{} MiB", kib >> 10)));
            facts.push(("disk".to_owned(), format!("{mib} MiB")));
        }
        let tail = self.cluster.nodes[at].process().map(|process| process.tail());
        facts.push(("log".to_owned(), tail.unwrap_or_default()));
        facts
    }

    fn bring_back(&mut self, server: u64) -> Result<()> {
        let at = index(server);
        if std::mem::take(&mut self.frozen[at]) {
            self.cluster.resume(at)?;
        }
        // Also one that did not end when it should have.
        let was_up = std::mem::replace(&mut self.up[at], true);
        let node = &mut self.cluster.nodes[at];
        if node.runs() {
            return Ok(());
        }
        let tail = node.process().map(|process| process.tail()).unwrap_or_default();
        node.start()?;
        if was_up {
            bail!("it had ended by itself; it said\n{tail}");
        }
        Ok(())
    }

    fn kill(&mut self, server: u64) -> Result<()> {
        let at = index(server);
        (self.up[at], self.frozen[at]) = (false, false);
        // A process does not end as long as it waits for a disk that stands still.
        self.cluster.nodes[at].process()?.signal(Signal::Kill)?;
        self.thaw(at)?;
        self.cluster.kill(at)
    }

    fn shut_down(&mut self, server: u64) -> Result<()> {
        let at = index(server);
        if std::mem::take(&mut self.frozen[at]) {
            self.cluster.resume(at)?;
        }
        // As for a kill.
        self.thaw(at)?;
        self.up[at] = false;
        if self.cluster.nodes[at].runs() {
            self.cluster.nodes[at].stop()?;
        }
        Ok(())
    }

    fn freeze(&mut self, server: u64) -> Result<()> {
        let at = index(server);
        if self.up[at] {
            self.frozen[at] = true;
            self.cluster.pause(at)?;
        }
        Ok(())
    }

    fn cut(&mut self, from: u64, to: u64) -> Result<()> {
        self.cluster.cut(index(from), index(to), Direction::FromFirst)
    }

    fn storm(&mut self, lost_per_mille: u64, late_ms: u64) -> Result<()> {
        let emulator = self.cluster.emulator.as_ref().context("no emulated network")?;
        emulator.set_all(storm(lost_per_mille, late_ms)?);
        Ok(())
    }

    fn cut_clients(&mut self, server: u64) -> Result<()> {
        self.cluster.cut_clients(index(server))
    }

    fn narrow(&mut self, server: u64, kbit: u64) -> Result<()> {
        traffic::narrow(&self.cluster.rack, &cluster::port(index(server)), kbit)
    }

    fn slow_disk(&mut self, _: u64, _: u64) -> Result<()> {
        Ok(())
    }

    fn stall_disk(&mut self, server: u64) -> Result<()> {
        let at = index(server);
        // One that stands still already would be refused.
        if !self.stalled[at] {
            self.disks[at].freeze()?;
            self.stalled[at] = true;
        }
        Ok(())
    }

    fn fill_disk(&mut self, server: u64) -> Result<()> {
        let at = index(server);
        // While it stands still we would wait, too, and nobody would let it go on.
        self.thaw(at)?;
        self.disks[at].fill(0)
    }

    fn heal_wires(&mut self) -> Result<()> {
        for node in 0..self.up.len() {
            traffic::widen(&self.cluster.rack, &cluster::port(node));
        }
        self.cluster.heal()
    }

    fn heal_disks(&mut self) -> Result<()> {
        for at in 0..self.disks.len() {
            self.thaw(at)?;
            // Also of one that was not filled since: a power cut brings the file back whose end was not synced.
            self.disks[at].make_room()?;
        }
        Ok(())
    }

    fn depose(&mut self) -> Result<()> {
        if let Some(leader) = self.leader() {
            // Refused when nobody else can.
            let _ = self.cluster.nodes[index(leader)].command("cluster-leader-transfer", None);
        }
        Ok(())
    }

    fn checkpoint(&mut self, server: u64) -> Result<()> {
        let at = index(server);
        if self.up[at] && !self.frozen[at] {
            // Refused while one is under way.
            let _ = self.cluster.nodes[at].command("kea-lfc-start", None);
        }
        Ok(())
    }

    fn set_wall_clock(&mut self, server: u64, by_ms: i64) -> Result<()> {
        let at = index(server);
        self.wrong_ms[at] = self.wrong_ms[at].saturating_add(by_ms).clamp(-WRONG_MS, WRONG_MS);
        // Renamed, so that nobody reads half of it.
        let place = self.cluster.nodes[at].dir().join("wall");
        let new = place.with_extension("new");
        std::fs::write(&new, self.wrong_ms[at].to_string())?;
        Ok(std::fs::rename(new, place)?)
    }

    fn set_clocks_right(&mut self) -> Result<()> {
        for (server, wrong_ms) in (1..).zip(self.wrong_ms.clone()) {
            self.set_wall_clock(server, -wrong_ms)?;
        }
        Ok(())
    }

    /// Everything stands still at once, and what the devices have then is what there is afterwards.
    fn cut_power(&mut self) -> Result<()> {
        self.heal_disks()?;
        for server in 1..=self.count() {
            self.freeze(server)?;
        }
        for at in 0..self.up.len() {
            let lost = if self.dice.chance(500) { Lost::Unsynced } else { Lost::Some };
            let image = self.cluster.dir().join(format!("cut-{at}.img"));
            self.disks[at].image_now(&image, lost)?;
            (self.up[at], self.frozen[at]) = (false, false);
            self.cluster.kill(at)?;
            self.disks[at].restart_from(&image)?;
        }
        Ok(())
    }

    fn passed(self) {
        let Ours { disks, cluster, .. } = self;
        drop(disks);
        cluster.passed();
    }
}
