//! After a power cut every acknowledged lease is still there, with real files on real file systems (F4, F21).
//!
//! `kill -9` loses nothing that was written: the page cache outlives the process. So each node has a disk of its own, and what a cut leaves
//! is its image as the device had it, without the pages that nobody synced ([`chaos_tests::floor::netns::loop_disk`]). The node goes on
//! from that.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use chaos_tests::client::fleet::{Fleet, Verb};
use chaos_tests::client::machine::Patience;
use chaos_tests::clock;
use chaos_tests::floor::netns::cleanup::WorkDir;
use chaos_tests::floor::netns::cluster::{Cluster, Plan};
use chaos_tests::floor::netns::loop_disk::{LoopDisk, Lost, POWER_TOOLS};
use chaos_tests::gate::{self, Gate};
use chaos_tests::oracle::history::Count;
use chaos_tests::oracle::{
    ClientId, History, agreement, durable_ack, expect_none, no_phantom, stale_nak, unique_address,
};

/// MiB of a node's disk.
const SIZE: u64 = 128;

/// How long a node may take to come back, and clients to be served, in milliseconds. Nothing is measured here.
const BACK_MS: u64 = 60_000;

/// How long the tables may take to show what is so, in milliseconds. While all nodes are off, cluster time stands still, and the offset
/// that makes times of day of it is put right some seconds after their return (R12).
const SHOWN_MS: u64 = 20_000;

/// Tables count whole seconds. The end may be later by all outages so far (R12), and by a renewal that was committed and not answered.
const TOLERANCE: durable_ack::Tolerance = durable_ack::Tolerance { early: 2_500, late: None };

/// A cluster whose nodes can lose power.
///
/// Dropped in this order: the servers before the disks that they are on.
struct Site {
    cluster: Cluster,
    disks: Vec<LoopDisk>,
}

impl Site {
    fn start(gate: Gate) -> Result<Site> {
        let cluster = Cluster::build(gate, &Plan::default())?;
        let mut site = Site { cluster, disks: Vec::new() };
        for node in &site.cluster.nodes {
            let at = node.dir().join("data");
            site.disks.push(LoopDisk::mount_for_cuts(site.cluster.dir(), &at, SIZE)?);
        }
        for node in &mut site.cluster.nodes {
            node.start()?;
        }
        for node in &mut site.cluster.nodes {
            node.wait_ready(BACK_MS)?;
        }
        Ok(site)
    }

    /// Where the image of node `node` is put that a power cut leaves. The last one is kept with the other files when a test fails.
    fn image(&self, node: usize) -> PathBuf {
        self.cluster.dir().join(format!("n{}.cut", node + 1))
    }

    /// Takes the power from `nodes`, at the same moment. Gives on how many disks a sync was under way then ([`LoopDisk::image_now`]).
    fn cut(&mut self, nodes: &[usize], lost: Lost) -> Result<usize> {
        // From here on nobody hears of anything that they do, so it does not matter that the images are taken one after the other.
        for node in nodes {
            self.cluster.pause(*node)?;
        }
        let mut under_way = 0;
        for node in nodes {
            let image = self.image(*node);
            let partly = self.disks[*node].image_now(&image, lost);
            under_way += usize::from(partly.with_context(|| format!("node {}", node + 1))?);
        }
        for node in nodes {
            self.cluster.kill(*node)?;
        }
        Ok(under_way)
    }

    /// Gives `node` power again: it starts with what its disk had.
    fn power_up(&mut self, node: usize) -> Result<()> {
        let image = self.image(node);
        self.disks[node]
            .restart_from(&image)
            .with_context(|| format!("the disk of node {}", node + 1))?;
        self.cluster.start_node(node)
    }

    /// No client hears any node, until the floor is healed.
    fn part_from_clients(&mut self) -> Result<()> {
        for node in 0..self.cluster.nodes.len() {
            self.cluster.cut_clients(node)?;
        }
        Ok(())
    }

    /// The story ends: everything that clients saw in it holds on all nodes, which agree.
    fn end(mut self, history: &History) -> Result<()> {
        println!("{} ACKs, {} NAKs", history.acks(), history.naks());
        expect_none(
            "one address, one client",
            &unique_address::check(&history.promises(Count::FromAnswer)),
        )?;
        expect_none("no stale NAK", &stale_nak::check(history))?;
        expect_none("ACKs agree", &agreement::check_acks(history))?;
        for node in 0..self.cluster.nodes.len() {
            expect_kept(&self.cluster, history, node)?;
        }
        expect_agreed(&self.cluster)?;
        for node in 0..self.cluster.nodes.len() {
            self.cluster.kill(node)?;
        }
        drop(self.disks);
        self.cluster.passed();
        Ok(())
    }
}

/// Every lease that was acknowledged in `history` is in the table of `node`, and nothing that nobody asked for. The clients must be still,
/// or unheard.
fn expect_kept(cluster: &Cluster, history: &History, node: usize) -> Result<()> {
    let promises = history.promises(Count::FromAsked);
    let mut breaches = Vec::new();
    let what = format!("node {} to have every acknowledged lease", node + 1);
    let whole = clock::wait_for_every(200, &what, SHOWN_MS, || {
        let table = cluster.leases(node).ok()?;
        breaches = durable_ack::check(&promises, &table, clock::now_ms(), TOLERANCE);
        breaches.is_empty().then_some(table)
    });
    let promise = format!("what was acknowledged is there on node {}", node + 1);
    expect_none(&promise, &breaches)?;
    expect_none("nothing nobody asked for", &no_phantom::check(history, &whole?))
}

/// All nodes tell the same leases.
fn expect_agreed(cluster: &Cluster) -> Result<()> {
    clock::wait_for_every(200, "all nodes to tell the same leases", SHOWN_MS, || {
        let mut tables = Vec::new();
        for node in &cluster.nodes {
            let table = node.leases().ok()?;
            tables.push(
                table.iter().map(|held| (held.address, held.client)).collect::<BTreeSet<_>>(),
            );
        }
        tables.iter().all(|table| *table == tables[0]).then_some(())
    })
}

/// Clients that join, and those that were there before renew, rebind and reboot. Nobody gives an address back.
struct Crowd<'a> {
    fleet: &'a Fleet,
    nodes: Vec<Ipv4Addr>,
    all: Vec<ClientId>,
}

impl<'a> Crowd<'a> {
    fn new(fleet: &'a Fleet, nodes: Vec<Ipv4Addr>) -> Crowd<'a> {
        Crowd { fleet, nodes, all: Vec::new() }
    }

    /// One joins, and one of the others asks for his address again.
    fn step(&mut self) {
        let number = self.all.len();
        let client = ClientId(number as u32);
        self.fleet.join(client, &self.nodes);
        self.all.push(client);
        let verb = match number % 4 {
            0 => Verb::Rebind,
            1 => Verb::Reboot,
            _ => Verb::Renew,
        };
        // Here and there among all that there are: a large prime leaves another rest each time.
        self.fleet.tell_idle(self.all[number * 2_654_435_761 % (number + 1)], verb);
    }

    /// A step every 20 ms for so long.
    fn press(&mut self, millis: u64) {
        let end = clock::now_ms() + millis;
        while clock::now_ms() < end {
            self.step();
            clock::sleep_ms(20);
        }
    }

    /// [`Crowd::press`], and waits until `more` ACKs have come since it began.
    fn press_for_acks(&mut self, millis: u64, more: usize) -> Result<()> {
        let before = self.fleet.history().acks();
        self.press(millis);
        self.fleet.wait_acks(before + more, BACK_MS)
    }

    /// Many steps at once, and a moment later, so that many an exchange is half done.
    fn burst(&mut self, later_ms: u64) {
        for _ in 0..40 {
            self.step();
        }
        clock::sleep_ms(later_ms);
    }
}

/// How many clients had an address that was promised to them.
fn served(history: &History) -> usize {
    let promises = history.promises(Count::FromAsked);
    promises.iter().map(|promise| promise.client).collect::<BTreeSet<_>>().len()
}

#[test]
fn f4_every_acknowledged_lease_survives_a_power_cut_of_all_nodes() -> Result<()> {
    let test = "f4_every_acknowledged_lease_survives_a_power_cut_of_all_nodes";
    let Some(gate) = gate::enter_cluster(test, &POWER_TOOLS)? else { return Ok(()) };
    let mut site = Site::start(gate)?;
    let fleet = site.cluster.fleet(Patience::default())?;
    let mut crowd = Crowd::new(&fleet, site.cluster.addresses());
    // In which order they return, what is lost, and how long after a burst of clients.
    let rounds = [
        ([0, 1, 2], Lost::Unsynced, 5),
        ([2, 0, 1], Lost::Some, 12),
        ([1, 2, 0], Lost::Unsynced, 25),
        ([2, 1, 0], Lost::Some, 3),
        ([0, 2, 1], Lost::Unsynced, 60),
    ];
    for (round, (order, lost, later_ms)) in rounds.into_iter().enumerate() {
        crowd.press_for_acks(2_000, 50)?;
        crowd.burst(later_ms);
        let under_way = site.cut(&[0, 1, 2], lost)?;
        // The switches are the last to come back. So no client can make good by asking again what a node has lost.
        site.part_from_clients()?;
        let dark = clock::now_ms();
        let before = fleet.history();
        for node in order {
            site.power_up(node)?;
            clock::sleep_ms(1_000);
        }
        for node in &mut site.cluster.nodes {
            node.wait_ready(BACK_MS)?;
        }
        let outage = clock::now_ms() - dark;
        println!(
            "cut {}, {lost:?} (a sync under way on {under_way} disks): {} of {} clients had an address; all nodes ready after {outage} ms",
            round + 1,
            served(&before),
            crowd.all.len()
        );
        for node in order {
            expect_kept(&site.cluster, &before, node)
                .with_context(|| format!("after cut {}, {lost:?}", round + 1))?;
        }
        site.cluster.heal()?;
        fleet.wait_bound(&crowd.all, BACK_MS)?;
    }
    site.end(&fleet.stop())
}

#[test]
fn f4_a_leader_that_lost_power_comes_back_as_a_follower_that_agrees() -> Result<()> {
    let test = "f4_a_leader_that_lost_power_comes_back_as_a_follower_that_agrees";
    let Some(gate) = gate::enter_cluster(test, &POWER_TOOLS)? else { return Ok(()) };
    let mut site = Site::start(gate)?;
    let fleet = site.cluster.fleet(Patience::default())?;
    let mut crowd = Crowd::new(&fleet, site.cluster.addresses());
    for (lost, later_ms) in [(Lost::Unsynced, 5), (Lost::Some, 15)] {
        crowd.press_for_acks(2_000, 50)?;
        let old = site.cluster.leader()?;
        crowd.burst(later_ms);
        let under_way = site.cut(&[old], lost)?;
        let others: Vec<usize> =
            (0..site.cluster.nodes.len()).filter(|node| *node != old).collect();
        let new = clock::wait_for("another node to lead", BACK_MS, || {
            others.iter().copied().find(|node| site.cluster.nodes[*node].leads())
        })?;
        // The other two serve on, and the log goes on without it.
        crowd.press_for_acks(3_000, 50)?;
        site.power_up(old)?;
        site.cluster.nodes[old].wait_ready(BACK_MS)?;
        ensure!(!site.cluster.nodes[old].leads(), "it leads again");
        println!(
            "the leader, node {}, loses power, {lost:?} (a sync under way on {under_way} disks); node {} leads, and it follows",
            old + 1,
            new + 1
        );
        crowd.press(1_000);
        fleet.wait_bound(&crowd.all, BACK_MS)?;
    }
    site.end(&fleet.stop())
}

/// Bytes that are not synced: at the end of a file that was, and in a file of their own.
const BEHIND: usize = 200_000;
const BESIDE: usize = 4 << 20;

/// The disk alone, without which the others prove nothing: it loses what was not synced, and only that.
#[test]
fn f21_a_disk_that_loses_power_has_what_was_synced() -> Result<()> {
    let test = "f21_a_disk_that_loses_power_has_what_was_synced";
    let Some(gate) = gate::enter_cluster(test, &POWER_TOOLS)? else { return Ok(()) };
    let mut work = WorkDir::create(&gate.test)?;
    let at = work.path().join("n1/data");
    let image = work.path().join("n1.cut");
    let mut disk = LoopDisk::mount_for_cuts(work.path(), &at, 32)?;
    let (kept, loose) = (at.join("kept"), at.join("loose"));
    for (round, lost) in [Lost::Unsynced, Lost::Some, Lost::Unsynced].into_iter().enumerate() {
        let synced = vec![10 + round as u8; 300_000];
        let mut file = File::create(&kept)?;
        file.write_all(&synced)?;
        file.sync_all()?;
        File::open(&at)?.sync_all()?;
        // Behind it, and in a file of its own.
        file.write_all(&vec![2_u8; BEHIND])?;
        fs::write(&loose, vec![3_u8; BESIDE])?;
        drop(file);
        let under_way = disk.image_now(&image, lost)?;
        ensure!(fs::read(&loose)?.len() == BESIDE, "the disk itself has lost something");
        disk.restart_from(&image)?;
        let found = fs::read(&kept)?;
        let more = found.strip_prefix(synced.as_slice()).context("what was synced is not there")?;
        let loosely = fs::read(&loose).unwrap_or_default();
        println!(
            "{lost:?} (a sync under way: {under_way}): of what was not synced, {} of {BEHIND} and {} of {BESIDE} bytes are there",
            more.len(),
            loosely.len()
        );
        if lost == Lost::Unsynced {
            ensure!(more.is_empty() && loosely.is_empty(), "the copy has what the device had not");
        }
        fs::remove_file(&kept)?;
        if loose.exists() {
            fs::remove_file(&loose)?;
        }
    }
    drop(disk);
    work.passed();
    Ok(())
}
