//! Three nodes of ours: each with a [disk](super::disk) of its own, and an emulated network between them.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use leasehold::clock::WALL_OFFSET_FILE;
use leasehold::storage::DISK_FAILED;

use super::disk::Disk;
use super::{Servers, storm};
use crate::floor::netns::cluster::{self, Cluster, Direction, Plan as ClusterPlan};
use crate::floor::netns::faulty_disk;
use crate::floor::netns::loop_disk::Lost;
use crate::floor::netns::node::API_PORT;
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

/// What is not there without FUSE.
const LACKS: &[Lacking] = &[
    (Fault::SlowDisk, "/dev/fuse cannot be opened"),
    (Fault::BrokenDisk, "/dev/fuse cannot be opened"),
];

/// So much of its disk may a node use at most with so few leases, in MiB.
const USED_MIB: u64 = 96;
/// So much memory may a node have, in MiB.
const RESIDENT_MIB: u64 = 300;
/// How long a node may take to end when a sync of its log has failed, in milliseconds.
const END_MS: u64 = 5_000;
/// With which exit status a node ends because of its disk: when its log is not written, and when something else is not that must be.
const DISK_ENDS: [i32; 2] = [DISK_FAILED as i32, 3];
/// How far a wall clock may be wrong, in milliseconds: 20 years.
const WRONG_MS: i64 = 20 * 365 * 86_400_000;

/// The cluster.
#[derive(Debug)]
pub struct Ours {
    // Dropped in this order: nodes whose disks go before them say so in the end, and that is what the reader of a failure finds. The files
    // stay then.
    cluster: Cluster,
    disks: Vec<Disk>,
    dice: Dice,
    /// Whether a node should run.
    up: Vec<bool>,
    frozen: Vec<bool>,
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
        if let Some(why) = faulty_disk::missing() {
            eprintln!("disks are neither slow nor broken: {why}");
        }
        let cluster = Cluster::build(gate, &plan)?;
        let count = cluster.nodes.len();
        let mut ours = Ours {
            cluster,
            disks: Vec::new(),
            dice: Dice::new(seed, 6),
            up: vec![true; count],
            frozen: vec![false; count],
            wrong_ms: vec![0; count],
        };
        let files = ours.cluster.dir().to_path_buf();
        for (node, number) in ours.cluster.nodes.iter_mut().zip(1..) {
            let seed = seed.wrapping_add(number);
            ours.disks.push(Disk::mount(&files, node.dir(), seed)?);
            let wall = node.dir().join("wall");
            std::fs::write(&wall, "0")?;
            node.set_environment(WALL_OFFSET_FILE, &wall);
            // A signal of the terminal ends the run after its round; it must not end a node before.
            node.set_wrapper(&["setsid"]);
            node.start()?;
        }
        ours.cluster.wait_ready()?;
        Ok(ours)
    }

    /// Those that run and do not stand still.
    fn awake(&self) -> impl Iterator<Item = usize> {
        (0..self.up.len()).filter(move |index| self.up[*index] && !self.frozen[*index])
    }

    fn metric(&self, index: usize, name: &str) -> Option<u64> {
        let (_, page) = api::get(&self.cluster.nodes[index].namespace, "/metrics").ok()?;
        api::metric(&page, name).map(|value| value as u64)
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
        if self.disks.iter().all(Disk::has_all_faults) { &[] } else { LACKS }
    }

    fn relay(&self) -> &Namespace {
        self.cluster.relay()
    }

    fn apis(&self) -> Result<Vec<SocketAddr>, &'static str> {
        Ok(self.cluster.nodes.iter().map(|node| (node.address, API_PORT).into()).collect())
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
            match self.disks[index].used_mib() {
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
        if let (Ok(kib), Ok(mib)) = (resident, self.disks[at].used_mib()) {
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
        let (node, disk) = (&mut self.cluster.nodes[at], &mut self.disks[at]);
        // In this order: of one that has ended nothing fails any more.
        let mut runs = node.runs();
        let failures = disk.failures();
        if runs && failures > 0 {
            // It is about to end, but not while it waits for a disk that stands still. When it was not its log that was synced, it goes on.
            disk.thaw()?;
            runs = node.process()?.wait(END_MS).is_err();
        }
        if runs {
            // Also one that did not end when it should have.
            self.up[at] = true;
            disk.excuse(failures);
            return Ok(());
        }
        if failures > 0 && disk.is_broken() {
            // It has said itself that it must not be started now.
            return Ok(());
        }
        let was_up = std::mem::replace(&mut self.up[at], true);
        let (status, tail) = (node.process()?.exit_status(), node.process()?.tail());
        let code = status.and_then(|status| status.code());
        let for_its_disk = failures > 0 && code.is_some_and(|code| DISK_ENDS.contains(&code));
        if failures > 0 {
            disk.mount_anew()?;
        }
        node.start()?;
        if was_up && !for_its_disk {
            bail!("it had ended by itself ({status:?}); it said\n{tail}");
        }
        Ok(())
    }

    fn kill(&mut self, server: u64) -> Result<()> {
        let at = index(server);
        (self.up[at], self.frozen[at]) = (false, false);
        // In this order: a process does not end as long as it waits for a disk that stands still, and would go on when that does.
        self.cluster.nodes[at].process()?.signal(Signal::Kill)?;
        self.disks[at].thaw()?;
        self.cluster.kill(at)
    }

    fn shut_down(&mut self, server: u64) -> Result<()> {
        let at = index(server);
        if std::mem::take(&mut self.frozen[at]) {
            self.cluster.resume(at)?;
        }
        // As for a kill.
        self.disks[at].thaw()?;
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

    fn slow_disk(&mut self, server: u64, millis: u64) -> Result<()> {
        self.disks[index(server)].slow(millis)
    }

    fn break_disk(&mut self, server: u64) -> Result<()> {
        self.disks[index(server)].fail()
    }

    fn stall_disk(&mut self, server: u64) -> Result<()> {
        self.disks[index(server)].stall()
    }

    fn fill_disk(&mut self, server: u64) -> Result<()> {
        self.disks[index(server)].fill()
    }

    fn heal_wires(&mut self) -> Result<()> {
        for node in 0..self.up.len() {
            traffic::widen(&self.cluster.rack, &cluster::port(node));
        }
        self.cluster.heal()
    }

    fn heal_disks(&mut self) -> Result<()> {
        self.disks.iter_mut().try_for_each(Disk::heal)
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
        let Ours { mut cluster, disks, .. } = self;
        for node in 0..disks.len() {
            // One that does not end does so with the cluster.
            let _ = cluster.kill(node);
        }
        // Unmounted before the files go.
        drop(disks);
        cluster.passed();
    }
}
