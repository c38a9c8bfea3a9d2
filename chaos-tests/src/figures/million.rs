//! A million leases: memory, pace, what a snapshot costs clients, and the time to come back.

use std::fmt::Write as _;
use std::ops::Range;

use anyhow::{Context, Result, ensure};

use super::book::{Book, Figure, Subject};
use super::flags::Flags;
use super::rate::{self, Kind};
use super::subject::Running;
use super::{latency, say};
use crate::floor::netns::cluster::Cluster;
use crate::stop::Stop;
use crate::{clock, gate, shell};

/// How long the import, a restart and a snapshot may take, in milliseconds.
const LIMIT_MS: u64 = 1_200_000;

/// What the pace with all of them is held against.
const FEW: u32 = 10_000;
/// The second byte of the addresses: in the pool, and far from where an allocator that begins at its start gives any.
const SECOND: u8 = 192;

/// Leases for `cluster-ctl import`, as a file of Kea's, by number: 0 has the address 10.`second`.0.0.
///
/// # Errors
/// Never in practice: it writes to memory.
pub fn kea_leases(second: u8, numbers: Range<u32>) -> Result<String> {
    let expire = clock::wall_ms() / 1000 + 86_400;
    let mut text = String::from(
        "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context\n",
    );
    for number in numbers {
        let [_, a, b, c] = number.to_be_bytes();
        writeln!(
            text,
            "10.{}.{b}.{c},02:00:00:{a:02x}:{b:02x}:{c:02x},01:02:00:00:{a:02x}:{b:02x}:{c:02x},86400,{expire},1,0,0,\
             host-{number}.example.org,0,",
            second + a
        )?;
    }
    Ok(text)
}

/// Measures the cluster.
///
/// # Errors
/// When a step fails.
pub fn measure(running: &mut Running, flags: &Flags, stop: &Stop, book: &mut Book) -> Result<()> {
    let leases = flags.leases;
    if leases != 1_000_000 {
        book.note(format!("\"1 M leases\" were {leases} in this run."));
    }
    running.settle()?;
    let empty = resident(running.cluster()?)?;
    say("  the pace with 10 000 leases");
    import(running.cluster()?, 0..FEW)?;
    let few = pace(running, flags, stop, book)?;
    running.settle()?;
    let held = known_leases(running.cluster()?)?;
    say(&format!("  {leases} leases"));
    let before = resident(running.cluster()?)?;
    import(running.cluster()?, FEW..leases)?;
    running.settle()?;
    let (after, all) = (resident(running.cluster()?)?, known_leases(running.cluster()?)?);
    // From the empty node on, so that room which the first ones left is not counted as given.
    for (index, (empty, after)) in empty.iter().zip(&after).enumerate() {
        let bytes = (after.saturating_sub(*empty) * 1024) as f64 / all.max(1) as f64;
        say(&format!(
            "    node {}: {} MiB empty, {} MiB with {held} leases, {} MiB with {all}: {bytes:.0} bytes each",
            index + 1,
            empty / 1024,
            before[index] / 1024,
            after / 1024
        ));
        book.enter(Figure::LeaseBytes, Subject::Leader, bytes);
    }
    let [_, quiet] = latency::request_ack(running, flags.seconds)?;
    let during = during_snapshots(running, flags.seconds)?;
    book.enter(Figure::SnapshotP99, Subject::Leader, (during - quiet).max(0.0));
    say("  the pace with all of them");
    let many = pace(running, flags, stop, book)?;
    if few > 0.0 {
        book.enter(Figure::MillionPace, Subject::Leader, many / few);
    }
    stop.check()?;
    let cluster = running.cluster()?;
    let index = cluster.follower()?;
    cluster.nodes[index].stop()?;
    let began = clock::now_ms();
    cluster.nodes[index].start()?;
    cluster.nodes[index].wait_ready(LIMIT_MS)?;
    let took = (clock::now_ms() - began) as f64 / 1000.0;
    say(&format!("  a follower is ready {took:.1} s after its start"));
    book.enter(Figure::Restart, Subject::Leader, took);
    Ok(())
}

/// The p99 while every node writes a snapshot.
fn during_snapshots(running: &mut Running, secs: u32) -> Result<f64> {
    say("    while every node writes a snapshot");
    let cluster = running.cluster()?;
    for node in &cluster.nodes {
        let answer = node.command("kea-lfc-start", None)?;
        ensure!(answer.result == 0, "kea-lfc-start: {}", answer.text);
    }
    latency::request_ack(running, secs).map(|[_, p99]| p99)
}

fn pace(running: &mut Running, flags: &Flags, stop: &Stop, book: &mut Book) -> Result<f64> {
    let known = book.median(Figure::CleanRate, Subject::Leader);
    let load =
        |running: &mut Running, rate| rate::load(running, rate, flags.seconds, Kind::Exchanges);
    let best = rate::search(running, flags, known, stop, book, load)?;
    Ok(best.map_or(0.0, |run| run.pace()))
}

fn import(cluster: &mut Cluster, numbers: Range<u32>) -> Result<()> {
    let file = cluster.dir().join("leases.csv");
    std::fs::write(&file, kea_leases(SECOND, numbers.clone())?)?;
    let began = clock::now_ms();
    let program = gate::binary("cluster-ctl", "CLUSTER_CTL_BIN")?;
    let mut import = cluster.nodes[0].namespace.command(program);
    import.args(["--node", "http://127.0.0.1:8000", "import", "kea", "--leases"]).arg(&file);
    let imported = shell::run_any(&mut import, LIMIT_MS)?;
    let said = format!("{}{}", imported.stdout, imported.stderr);
    ensure!(imported.code == Some(0), "the import ended with {:?}\n{said}", imported.code);
    std::fs::remove_file(&file)?;
    say(&format!("    {} leases imported in {} ms", numbers.len(), clock::now_ms() - began));
    Ok(())
}

fn known_leases(cluster: &mut Cluster) -> Result<u64> {
    let status = cluster.nodes[0].command("cluster-status", None)?;
    status.arguments["leases"].as_u64().context("no leases in cluster-status")
}

fn resident(cluster: &mut Cluster) -> Result<Vec<u64>> {
    cluster.nodes.iter_mut().map(|node| node.process()?.resident_kib()).collect()
}
