//! Load: 2 000 exchanges a second for 10 s, against the leader and against a follower. Takes about 30 s.

use anyhow::{Context, Result, ensure};
use chaos_tests::figures::million::kea_leases;
use chaos_tests::floor::netns::cluster::{Cluster, Plan};
use chaos_tests::membership::{found, invite, votes_and_is_up, wait_member};
use chaos_tests::{clock, gate, perfdhcp, shell};
use serde_json::json;

#[test]
fn two_thousand_exchanges_a_second_with_the_leader_drop_less_than_one_in_a_thousand() -> Result<()>
{
    exchange("two_thousand_exchanges_a_second_with_the_leader", "leader", Cluster::leader)
}

#[test]
fn two_thousand_exchanges_a_second_with_a_follower_drop_less_than_one_in_a_thousand() -> Result<()>
{
    exchange("two_thousand_exchanges_a_second_with_a_follower", "follower", Cluster::follower)
}

/// A cluster of its own for each: a relay that moves from one node to another finds that the cluster
/// remembers for a while who hears it (C1a), and perfdhcp, unlike a client, never asks again.
fn exchange(test: &str, role: &str, choose: fn(&mut Cluster) -> Result<usize>) -> Result<()> {
    // At this rate an unoptimised server uses more than two cores.
    if std::env::var_os("LEASEHOLD_BIN").is_none() {
        gate::skip(test, "LEASEHOLD_BIN does not name an optimised build, as .ci/run makes one");
        return Ok(());
    }
    let Some(gate) = gate::enter(test, &["perfdhcp"])? else { return Ok(()) };
    let plan = Plan {
        pools: vec!["10.77.16.0 - 10.77.255.254".to_owned()],
        local_to_relay: None,
        ..Plan::default()
    };
    let mut cluster = Cluster::start(gate, &plan)?;
    let index = choose(&mut cluster)?;
    // Other work on the machine shows here.
    let load_average = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load average before: {}", load_average.trim());
    let before = cpu(&mut cluster)?;
    let load = perfdhcp::run(cluster.relay(), cluster.nodes[index].address, 2_000, 10, 1)?;
    let used = cpu(&mut cluster)? - before;
    println!(
        "perfdhcp against the {role}: {load:#?}\n{:.3} in a thousand dropped; {} µs of CPU per exchange over {} nodes",
        load.drops_per_mille(),
        used / load.request_ack.received.max(1),
        cluster.nodes.len()
    );
    ensure!(
        load.request_ack.received > 15_000,
        "only {} exchanges were made",
        load.request_ack.received
    );
    let dropped = load.drops_per_mille();
    ensure!(dropped < 1.0, "{dropped:.3} in a thousand were dropped");
    cluster.passed();
    Ok(())
}

/// CPU time of all nodes so far, in microseconds.
fn cpu(cluster: &mut Cluster) -> Result<u64> {
    cluster.nodes.iter_mut().map(|node| node.cpu_micros()).sum()
}

#[test]
#[ignore = "figures for a release note: takes two minutes and asserts little"]
fn figures_of_a_cluster_with_100_000_leases() -> Result<()> {
    let Some(gate) = gate::enter("figures_of_a_cluster_with_100_000_leases", &["perfdhcp"])? else {
        return Ok(());
    };
    // One subnet that is large enough; the relay and the nodes are in it.
    let subnet = json!([{ "id": 1, "subnet": "10.0.0.0/8", "pools": [{ "pool": "10.128.0.0 - 10.135.255.255" }] }]);
    let plan = Plan { more: json!({ "subnet4": subnet }), local_to_relay: None, ..Plan::default() };
    let mut cluster = Cluster::start(gate, &plan)?;
    let index = cluster.leader()?;
    let (mut leases, mut crowd) = (0, 0);
    while leases < 100_000 {
        crowd += 1;
        perfdhcp::run(cluster.relay(), cluster.nodes[index].address, 1_800, 20, crowd)?;
        let now = cluster.leases(index)?.len();
        println!("{now} leases");
        ensure!(now > leases, "no progress at {now} leases");
        leases = now;
    }
    for node in &mut cluster.nodes {
        println!(
            "node {}: {} KiB resident with {leases} leases",
            node.index + 1,
            node.process()?.resident_kib()?
        );
    }
    for index in 0..cluster.nodes.len() {
        cluster.nodes[index].kill()?;
        let began = clock::now_ms();
        cluster.nodes[index].start()?;
        cluster.nodes[index].wait_ready(60_000)?;
        println!("node {}: ready {} ms after its start", index + 1, clock::now_ms() - began);
        ensure!(cluster.leases(index)?.len() >= leases, "node {} lost leases", index + 1);
    }
    cluster.passed();
    Ok(())
}

/// How long a node takes to join a cluster of many leases under load, and what clients notice of it. `LEASEHOLD_FIGURES_RATE`:
/// exchanges a second.
#[test]
#[ignore = "figures for a release note: takes minutes and gigabytes, and asserts little"]
fn figures_of_a_catch_up() -> Result<()> {
    const LEASES: u32 = 1_000_000;
    const QUIET_MS: u64 = 20_000;
    let test = "figures_of_a_catch_up";
    if std::env::var_os("LEASEHOLD_BIN").is_none() {
        gate::skip(test, "LEASEHOLD_BIN does not name an optimised build");
        return Ok(());
    }
    let Some(gate) = gate::enter_cluster(test, &["perfdhcp"])? else { return Ok(()) };
    let rate = std::env::var("LEASEHOLD_FIGURES_RATE").ok().and_then(|rate| rate.parse().ok());
    let rate = rate.unwrap_or(2_000);
    let subnet = json!([{ "id": 1, "subnet": "10.0.0.0/8", "pools": [{ "pool": "10.128.0.0 - 10.159.255.255" }] }]);
    let plan = Plan {
        nodes: 4,
        more: json!({ "subnet4": subnet }),
        local_to_relay: None,
        ..Plan::default()
    };
    let mut cluster = found(gate, &plan, 3)?;
    let file = cluster.dir().join("leases.csv");
    std::fs::write(&file, kea_leases(128, 0..LEASES)?)?;
    let began = clock::now_ms();
    let mut import =
        cluster.nodes[0].namespace.command(gate::binary("cluster-ctl", "CLUSTER_CTL_BIN")?);
    import.args(["--node", "http://127.0.0.1:8000", "import", "kea", "--leases"]).arg(&file);
    let imported = shell::run_any(&mut import, 1_200_000)?;
    ensure!(imported.code == Some(0), "{imported:?}");
    println!("{LEASES} leases imported in {} ms", clock::now_ms() - began);

    let leader = cluster.leader()?;
    let address = cluster.nodes[leader].address;
    let log = cluster.dir().join("perfdhcp");
    let load = perfdhcp::Running::start(cluster.relay(), address, rate, 20_000, &log)?;
    let began = clock::now_ms();
    // Its clients are new to the cluster, and old after the first round.
    clock::sleep_ms(20_000_000 / u64::from(rate) + 2_000);
    let before = clock::now_ms() - began;
    clock::sleep_ms(QUIET_MS);
    invite(&cluster, leader, 3, &[])?;
    let starts = clock::now_ms() - began;
    cluster.nodes[3].start()?;
    wait_member(&cluster, leader, 4, "to vote and be up", 600_000, votes_and_is_up)?;
    let votes = clock::now_ms() - began;
    cluster.nodes[3].wait_ready(60_000)?;
    let ready = clock::now_ms() - began;
    clock::sleep_ms(QUIET_MS);
    let after = clock::now_ms() - began;
    let (load, timed) = load.end()?;
    println!(
        "at {rate} exchanges/s the new node votes {} ms and is ready {} ms after its start",
        votes - starts,
        ready - starts
    );
    println!("of all {load:#?}\n{:.3} in a thousand were not answered", load.drops_per_mille());
    for (half, timed) in [("OFFER", &timed.discover_offer), ("ACK", &timed.request_ack)] {
        for (phase, from, to) in
            [("before", before, starts), ("while", starts, votes), ("after", votes, after)]
        {
            let [median, p99, longest] = perfdhcp::percentiles(timed, from as f64, to as f64)
                .with_context(|| format!("nothing was answered {phase}"))?;
            println!(
                "{half} {phase}: p50 {median:.2} ms, p99 {p99:.2} ms, longest {longest:.1} ms"
            );
        }
    }
    for node in &mut cluster.nodes {
        let kib = node.process()?.resident_kib()?;
        println!("node {}: {} MiB resident", node.index + 1, kib / 1024);
    }
    ensure!(cluster.leader()? == leader, "leadership has moved");
    let count = cluster.nodes[3].command("cluster-status", None)?.arguments["leases"].as_u64();
    ensure!(count >= Some(u64::from(LEASES)), "the new node has {count:?} leases");
    cluster.passed();
    Ok(())
}

#[test]
fn the_report_of_perfdhcp_is_read() {
    let report = include_str!("data/perfdhcp.txt");
    let load = perfdhcp::parse(report).expect("a report");
    assert_eq!(
        (load.discover_offer.sent, load.discover_offer.received, load.discover_offer.drops),
        (400, 399, 1)
    );
    assert_eq!((load.request_ack.sent, load.request_ack.drops), (399, 0));
    assert!((load.drops_per_mille() - 1.2515).abs() < 0.001);
    assert!(perfdhcp::parse("nothing").is_none());
}
