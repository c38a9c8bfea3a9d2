//! Disks that stand still, fill up and break, under clients (F5, F23).

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chaos_tests::client::fleet::Fleet;
use chaos_tests::client::machine::Patience;
use chaos_tests::clock;
use chaos_tests::floor::netns::cluster::{Cluster, Plan};
use chaos_tests::floor::netns::loop_disk::{LoopDisk, TOOLS};
use chaos_tests::gate::{self, Gate};
use chaos_tests::oracle::history::Count;
use chaos_tests::oracle::{
    ClientId, History, agreement, durable_ack, expect_none, no_phantom, service_gap, stale_nak,
    unique_address,
};
use leasehold::storage::{
    Body, DISK_FAILED, DiskLog, DiskWatch, Entry, Log, LogId, LogSettings, Vote,
};

/// MiB of a node's disk.
const SIZE: u64 = 96;

/// A cluster whose nodes have disks of their own.
fn start(gate: Gate) -> Result<(Cluster, Vec<LoopDisk>)> {
    let mut cluster = Cluster::build(gate, &Plan::default())?;
    let mut disks = Vec::new();
    for node in &cluster.nodes {
        disks.push(LoopDisk::mount(cluster.dir(), &node.dir().join("data"), SIZE)?);
    }
    for node in &mut cluster.nodes {
        node.start()?;
    }
    cluster.wait_ready()?;
    Ok((cluster, disks))
}

/// Clients that join one after the other, a new one every 20 ms.
struct Crowd<'a> {
    fleet: &'a Fleet,
    nodes: Vec<Ipv4Addr>,
    all: Vec<ClientId>,
}

impl Crowd<'_> {
    /// Lets clients join until `done` says so, which is asked every 100 ms, or the time is over. Gives how long that took.
    fn join_until(&mut self, limit_ms: u64, mut done: impl FnMut() -> bool) -> u64 {
        let began = clock::now_ms();
        let mut asked = began;
        for number in 0.. {
            let now = clock::now_ms();
            if now >= asked + 100 {
                asked = now;
                if done() {
                    break;
                }
            }
            if now >= began + limit_ms {
                break;
            }
            let client = ClientId(self.all.len() as u32);
            self.fleet.join(client, &self.nodes);
            self.all.push(client);
            clock::sleep_ms((began + 20 * (number + 1)).saturating_sub(clock::now_ms()));
        }
        clock::now_ms() - began
    }

    fn join_for(&mut self, millis: u64) {
        self.join_until(millis, || false);
    }
}

/// Everything that clients were promised holds, on each of `nodes`.
fn check(cluster: &Cluster, history: &History, nodes: &[usize]) -> Result<()> {
    expect_none(
        "one address, one client",
        &unique_address::check(&history.promises(Count::FromAnswer)),
    )?;
    expect_none("ACKs agree", &agreement::check_acks(history))?;
    expect_none("no stale NAK", &stale_nak::check(history))?;
    ensure!(history.naks() == 0, "{} NAKs", history.naks());
    let promises = history.promises(Count::FromAsked);
    let tolerance = durable_ack::Tolerance { early: 2_500, late: None };
    for index in nodes {
        let last = std::cell::RefCell::new(Vec::new());
        let whole = clock::wait_for("a node to have everything", 10_000, || {
            let table = cluster.leases(*index).ok()?;
            let breaches = durable_ack::check(&promises, &table, clock::now_ms(), tolerance);
            let none = breaches.is_empty();
            last.replace(breaches);
            none.then_some(table)
        });
        expect_none(
            &format!("what was acknowledged is there on node {}", index + 1),
            &last.borrow(),
        )?;
        expect_none("nothing nobody asked for", &no_phantom::check(history, &whole?))?;
    }
    Ok(())
}

fn said(cluster: &mut Cluster, node: usize, what: &str) -> Result<bool> {
    Ok(cluster.nodes[node].process()?.log().contains(what))
}

#[test]
fn f5_a_leader_whose_disk_stands_still_has_another_lead_and_nobody_notices() -> Result<()> {
    let test = "f5_a_leader_whose_disk_stands_still_has_another_lead_and_nobody_notices";
    let Some(gate) = gate::enter_cluster(test, &TOOLS)? else { return Ok(()) };
    let (mut cluster, disks) = start(gate)?;
    let fleet = cluster.fleet(Patience::default())?;
    let mut crowd = Crowd { fleet: &fleet, nodes: cluster.addresses(), all: Vec::new() };
    crowd.join_for(1_000);
    let leader = cluster.leader()?;
    let others: Vec<usize> = (0..cluster.nodes.len()).filter(|index| *index != leader).collect();
    disks[leader].freeze()?;
    let frozen = clock::now_ms();
    let another = || others.iter().any(|index| cluster.nodes[*index].leads());
    let took = crowd.join_until(8_000, another);
    ensure!(took < 8_000, "no other node leads");
    crowd.join_for(2_500);
    let thawed = clock::now_ms();
    disks[leader].thaw()?;
    crowd.join_for(1_500);
    let end = clock::now_ms();
    fleet.wait_bound(&crowd.all, 12_000)?;
    let gap = service_gap::longest(&fleet.history(), frozen - 500, end);
    let joining = service_gap::joining(&fleet.history());
    println!(
        "a leader's disk stands still for {} ms: another leads after {took} ms, longest time without an ACK {gap} ms, {joining:?}",
        thawed - frozen
    );
    ensure!(took >= 1_900, "handed over after {took} ms already");
    ensure!(
        said(&mut cluster, leader, "the disk stands still: a write to the log")?,
        "no stall is told of"
    );
    ensure!(
        said(&mut cluster, leader, "the disk stands still: leadership is handed over")?,
        "it was not handed over"
    );
    // It finds that another leads, and goes on as a follower that has everything.
    cluster.nodes[leader].wait_ready(10_000)?;
    ensure!(!cluster.nodes[leader].leads(), "the old leader leads again");
    check(&cluster, &fleet.stop(), &[0, 1, 2])?;
    ensure!(gap < 1_500, "{gap} ms without an ACK");
    drop(disks);
    cluster.passed();
    Ok(())
}

#[test]
fn f5_a_follower_whose_disk_stands_still_holds_nobody_up() -> Result<()> {
    let test = "f5_a_follower_whose_disk_stands_still_holds_nobody_up";
    let Some(gate) = gate::enter_cluster(test, &TOOLS)? else { return Ok(()) };
    let (mut cluster, disks) = start(gate)?;
    let fleet = cluster.fleet(Patience::default())?;
    let mut crowd = Crowd { fleet: &fleet, nodes: cluster.addresses(), all: Vec::new() };
    crowd.join_for(1_000);
    let leader = cluster.leader()?;
    let follower = cluster.follower()?;
    disks[follower].freeze()?;
    let frozen = clock::now_ms();
    crowd.join_for(4_000);
    disks[follower].thaw()?;
    crowd.join_for(1_000);
    let end = clock::now_ms();
    fleet.wait_bound(&crowd.all, 12_000)?;
    let gap = service_gap::longest(&fleet.history(), frozen - 500, end);
    println!(
        "a follower's disk stands still for 4 s: longest time without an ACK {gap} ms, {:?}",
        service_gap::joining(&fleet.history())
    );
    ensure!(cluster.nodes[leader].leads(), "somebody else leads");
    check(&cluster, &fleet.stop(), &[0, 1, 2])?;
    ensure!(gap < 1_000, "{gap} ms without an ACK");
    drop(disks);
    cluster.passed();
    Ok(())
}

#[test]
fn f23_a_node_whose_disk_fills_gives_way_and_comes_back_by_itself() -> Result<()> {
    let test = "f23_a_node_whose_disk_fills_gives_way_and_comes_back_by_itself";
    let Some(gate) = gate::enter_cluster(test, &TOOLS)? else { return Ok(()) };
    let (mut cluster, disks) = start(gate)?;
    let fleet = cluster.fleet(Patience::default())?;
    let mut crowd = Crowd { fleet: &fleet, nodes: cluster.addresses(), all: Vec::new() };
    crowd.join_for(1_000);
    // Down to less than its reserve, a twentieth: leadership goes, and nothing else happens.
    let node = cluster.leader()?;
    let others: Vec<usize> = (0..cluster.nodes.len()).filter(|index| *index != node).collect();
    disks[node].fill(3 << 20)?;
    let low = clock::now_ms();
    let another = || others.iter().any(|index| cluster.nodes[*index].leads());
    let took = crowd.join_until(5_000, another);
    crowd.join_for(500);
    let filled = clock::now_ms();
    let gap_low = service_gap::longest(&fleet.history(), low - 500, filled);
    ensure!(took < 5_000, "no other node leads");
    ensure!(cluster.nodes[node].readiness().is_ok(), "it still serves");
    // Now the log cannot be written: the node says so and takes no part.
    let pid = cluster.nodes[node].process()?.pid();
    disks[node].fill(0)?;
    let full = clock::now_ms();
    let mut reason = String::new();
    let refused = crowd.join_until(5_000, || match cluster.nodes[node].readiness() {
        Err(why) => {
            reason = why;
            reason.contains("is full")
        }
        Ok(()) => false,
    });
    ensure!(reason.starts_with("503") && reason.contains("is full"), "it says {reason}");
    crowd.join_for(2_000);
    let emptied = clock::now_ms();
    let gap_full = service_gap::longest(&fleet.history(), full - 500, emptied);
    disks[node].make_room()?;
    let back = crowd.join_until(10_000, || cluster.nodes[node].readiness().is_ok());
    crowd.join_for(500);
    let end = clock::now_ms();
    let gap_back = service_gap::longest(&fleet.history(), emptied - 500, end);
    fleet.wait_bound(&crowd.all, 12_000)?;
    println!(
        "a leader's disk fills: another leads after {took} ms (gap {gap_low} ms); full: not ready after {refused} ms (gap {gap_full} ms); \
         room again: ready after {back} ms (gap {gap_back} ms); {:?}",
        service_gap::joining(&fleet.history())
    );
    ensure!(back < 10_000, "it did not come back: {:?}", cluster.nodes[node].readiness());
    ensure!(
        cluster.nodes[node].process()?.pid() == pid && cluster.nodes[node].runs(),
        "it was started anew"
    );
    for what in [
        "the disk is filling up: leadership is handed over",
        "the disk is full: the log cannot be written",
        "nothing was lost",
    ] {
        ensure!(said(&mut cluster, node, what)?, "its log does not say: {what}");
    }
    check(&cluster, &fleet.stop(), &[0, 1, 2])?;
    ensure!(
        [gap_low, gap_full, gap_back].iter().all(|gap| *gap < 1_500),
        "too long without an ACK"
    );
    // What it acknowledged from then on is on its disk.
    cluster.kill(node)?;
    cluster.restore()?;
    drop(disks);
    cluster.passed();
    Ok(())
}

#[test]
fn f23_a_leader_whose_disk_is_full_from_one_moment_to_the_next_is_replaced() -> Result<()> {
    let test = "f23_a_leader_whose_disk_is_full_from_one_moment_to_the_next_is_replaced";
    let Some(gate) = gate::enter_cluster(test, &TOOLS)? else { return Ok(()) };
    let (mut cluster, disks) = start(gate)?;
    let fleet = cluster.fleet(Patience::default())?;
    let mut crowd = Crowd { fleet: &fleet, nodes: cluster.addresses(), all: Vec::new() };
    crowd.join_for(1_000);
    let node = cluster.leader()?;
    let others: Vec<usize> = (0..cluster.nodes.len()).filter(|index| *index != node).collect();
    disks[node].fill(0)?;
    let full = clock::now_ms();
    let another = || others.iter().any(|index| cluster.nodes[*index].leads());
    let took = crowd.join_until(8_000, another);
    ensure!(took < 8_000, "no other node leads");
    crowd.join_for(2_000);
    let end = clock::now_ms();
    let gap = service_gap::longest(&fleet.history(), full - 500, end);
    disks[node].make_room()?;
    let back = crowd.join_until(10_000, || cluster.nodes[node].readiness().is_ok());
    fleet.wait_bound(&crowd.all, 12_000)?;
    println!(
        "a leader's disk is full at once: another leads after {took} ms, longest time without an ACK {gap} ms; room again: ready after {back} ms; {:?}",
        service_gap::joining(&fleet.history())
    );
    ensure!(back < 10_000, "it did not come back: {:?}", cluster.nodes[node].readiness());
    check(&cluster, &fleet.stop(), &[0, 1, 2])?;
    ensure!(gap < 2_500, "{gap} ms without an ACK");
    drop(disks);
    cluster.passed();
    Ok(())
}

#[test]
fn f23_a_leader_whose_disk_fails_ends_and_says_what_to_do() -> Result<()> {
    let test = "f23_a_leader_whose_disk_fails_ends_and_says_what_to_do";
    let Some(gate) = gate::enter_cluster(test, &TOOLS)? else { return Ok(()) };
    let (mut cluster, disks) = start(gate)?;
    let fleet = cluster.fleet(Patience::default())?;
    let mut crowd = Crowd { fleet: &fleet, nodes: cluster.addresses(), all: Vec::new() };
    crowd.join_for(1_000);
    let leader = cluster.leader()?;
    disks[leader].fail()?;
    let failed = clock::now_ms();
    let ended = crowd.join_until(15_000, || !cluster.nodes[leader].runs());
    crowd.join_for(2_500);
    let end = clock::now_ms();
    fleet.wait_bound(&crowd.all, 12_000)?;
    let gap = service_gap::longest(&fleet.history(), failed - 500, end);
    let status = cluster.nodes[leader].process()?.exit_status();
    println!(
        "a leader's disk fails: it ends after {ended} ms with {status:?}, longest time without an ACK {gap} ms, {:?}",
        service_gap::joining(&fleet.history())
    );
    let code = status.and_then(|status| status.code());
    ensure!(code == Some(i32::from(DISK_FAILED)), "it ended with {status:?}");
    let data = cluster.nodes[leader].dir().join("data/log").display().to_string();
    for what in [data.as_str(), "Input/output error", "must not be started again"] {
        ensure!(said(&mut cluster, leader, what)?, "its log does not say: {what}");
    }
    let others: Vec<usize> = (0..cluster.nodes.len()).filter(|index| *index != leader).collect();
    check(&cluster, &fleet.stop(), &others)?;
    ensure!(gap < 2_500, "{gap} ms without an ACK");
    drop(disks);
    cluster.passed();
    Ok(())
}

fn entry(index: u64) -> Entry {
    let body = Body::Batch(vec![index as u8; 10_000].into());
    Entry { id: LogId { term: 1, node: 1, index }, body }
}

fn open(dir: &Path) -> Result<DiskLog> {
    let on_fault = Arc::new(|what: &str, error: &io::Error| panic!("{what}: {error}"));
    let settings = LogSettings { cache_bytes: 1 << 20, segment_bytes: 1 << 20 };
    Ok(DiskLog::open_watched(dir, settings, on_fault, DiskWatch::new(dir, None))?)
}

/// The log alone: whoever waits is answered when there is room, and everything is there then, in whatever place the disk became full.
#[test]
fn f23_a_log_on_a_full_disk_waits_for_room_and_loses_nothing() -> Result<()> {
    let test = "f23_a_log_on_a_full_disk_waits_for_room_and_loses_nothing";
    let Some(gate) = gate::enter_cluster(test, &TOOLS)? else { return Ok(()) };
    let mut work = chaos_tests::floor::netns::cleanup::WorkDir::create(&gate.test)?;
    let at = work.path().join("n1/data");
    let disk = LoopDisk::mount(work.path(), &at, 32)?;
    let dir = at.join("log");
    let mut next = 0;
    for round in 0..3u64 {
        let log = Arc::new(open(&dir)?);
        disk.fill(round * 400_000)?;
        let (sent, received) = mpsc::channel();
        // Appending may wait itself, where a segment begins.
        let writer = std::thread::spawn({
            let (log, first) = (log.clone(), next);
            move || -> io::Result<()> {
                for index in first..first + 300 {
                    let sent = sent.clone();
                    log.append(
                        vec![entry(index)],
                        Box::new(move |result| drop(sent.send((index, result)))),
                    )?;
                }
                let vote = Vote { term: 2 + round, node: 2, committed: false };
                log.save_vote(vote, Box::new(move |result| drop(sent.send((u64::MAX, result)))))
            }
        });
        let watch = log.watch().context("a disk without a watch")?;
        clock::wait_for("the disk to be full", 10_000, || watch.is_full().then_some(()))?;
        clock::sleep_ms(300);
        let answered: Vec<u64> = received.try_iter().map(|(index, _)| index).collect();
        ensure!(answered.len() < 300, "everything was written");
        let before = log.read(0, u64::MAX, u64::MAX)?.len();
        println!("round {round}: {} of 300 durable, {before} readable", answered.len());
        disk.make_room()?;
        writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        for index in (next..next + 300).chain([u64::MAX]).skip(answered.len()) {
            let (told, result) = received.recv_timeout(Duration::from_secs(10))?;
            result?;
            ensure!(told == index, "{told} was answered instead of {index}");
        }
        ensure!(!watch.is_full());
        next += 300;
        let (extent, entries) = (log.extent(), log.read(0, u64::MAX, u64::MAX)?);
        ensure!(
            entries.len() as u64 == next
                && entries.iter().zip(0..).all(|(found, at)| *found == entry(at))
        );
        drop(log);
        let log = open(&dir)?;
        ensure!(
            log.extent() == extent && log.read(0, u64::MAX, u64::MAX)? == entries,
            "reopened, it is another"
        );
    }
    drop(disk);
    work.passed();
    Ok(())
}
