//! Wall clocks that jump and drift on any node change nothing for clients (F6, R10–R13).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use chaos_tests::client::fleet::{Fleet, Verb};
use chaos_tests::client::machine::Patience;
use chaos_tests::clock;
use chaos_tests::floor::netns::api;
use chaos_tests::floor::netns::cluster::{Cluster, Plan};
use chaos_tests::gate;
use chaos_tests::oracle::history::Count;
use chaos_tests::oracle::{
    ClientId, What, agreement, expect_none, service_gap, stale_nak, unique_address,
};
use leasehold::clock::WALL_OFFSET_FILE;

const HOUR: i64 = 3_600_000;
const YEAR: i64 = 8_766 * HOUR;

/// Sets how wrong the wall clock of node `index` is, in milliseconds.
fn set_wall(cluster: &Cluster, index: usize, millis: i64) -> Result<()> {
    // Renamed, so that nobody reads half of it.
    let (new, place) = (file(cluster, index).with_extension("new"), file(cluster, index));
    std::fs::write(&new, millis.to_string())?;
    Ok(std::fs::rename(new, place)?)
}

fn file(cluster: &Cluster, index: usize) -> PathBuf {
    cluster.nodes[index].dir().join("wall")
}

/// How far the wall clock of node `index` is ahead of what the cluster shows to people, in seconds.
fn skew(cluster: &Cluster, index: usize) -> Option<f64> {
    let (_, page) = api::get(&cluster.nodes[index].namespace, "/metrics").ok()?;
    api::metric(&page, "leasehold_raft_wall_clock_skew_seconds")
}

/// A new client every 20 ms; every tenth that there is renews.
fn clients_come(fleet: &Fleet, all: &mut Vec<ClientId>, millis: u64, nodes: &[Ipv4Addr]) {
    let began = clock::now_ms();
    while clock::now_ms() < began + millis {
        let client = ClientId(all.len() as u32);
        fleet.join(client, nodes);
        all.push(client);
        if let Some(older) = all.len().checked_sub(60).filter(|older| older % 10 == 0) {
            fleet.tell(all[older], Verb::Renew);
        }
        clock::sleep_ms(20);
    }
}

#[test]
fn f6_wall_clocks_that_jump_by_hours_and_years_change_nothing_for_clients() -> Result<()> {
    let test = "f6_wall_clocks_that_jump_by_hours_and_years_change_nothing_for_clients";
    let Some(gate) = gate::enter_cluster(test, &[])? else { return Ok(()) };
    let plan = Plan::default();
    let mut cluster = Cluster::build(gate, &plan)?;
    for index in 0..cluster.nodes.len() {
        // Apart from the beginning on.
        set_wall(&cluster, index, [0, -5 * HOUR, 26 * HOUR][index % 3])?;
        let file = file(&cluster, index);
        cluster.nodes[index].set_environment(WALL_OFFSET_FILE, &file);
        cluster.nodes[index].start()?;
    }
    cluster.wait_ready()?;
    let nodes = cluster.addresses();
    let fleet = cluster.fleet(Patience::default())?;
    let mut all = Vec::new();
    clients_come(&fleet, &mut all, 1_500, &nodes);
    let leader = cluster.leader()?;
    let [second, third] = [(leader + 1) % 3, (leader + 2) % 3];
    // More than every lease lasts.
    set_wall(&cluster, leader, 40 * HOUR)?;
    set_wall(&cluster, second, -10 * YEAR)?;
    clients_come(&fleet, &mut all, 1_500, &nodes);
    set_wall(&cluster, third, 10 * YEAR)?;
    clients_come(&fleet, &mut all, 500, &nodes);
    // While another comes to lead.
    cluster.kill(leader)?;
    set_wall(&cluster, second, 3 * HOUR)?;
    let killed = clock::now_ms();
    clients_come(&fleet, &mut all, 500, &nodes);
    set_wall(&cluster, second, -3 * HOUR)?;
    clients_come(&fleet, &mut all, 1_500, &nodes);
    let gap = service_gap::longest(&fleet.history(), killed - 500, clock::now_ms());
    set_wall(&cluster, leader, -YEAR)?;
    cluster.restore()?;
    // A clock that runs a tenth too fast, and one that stands still.
    let began = clock::now_ms();
    while clock::now_ms() < began + 1_500 {
        let passed = i64::try_from(clock::now_ms() - began)?;
        set_wall(&cluster, third, 10 * YEAR + passed / 10)?;
        set_wall(&cluster, second, -3 * HOUR - passed)?;
        clients_come(&fleet, &mut all, 100, &nodes);
    }
    fleet.wait_bound(&all, 12_000)?;
    let now_leads = cluster.leader()?;
    // What people see follows the leader's clock, and the others differ from it (R12).
    for index in 0..cluster.nodes.len() {
        set_wall(&cluster, index, if index == now_leads { 7 * HOUR } else { 0 })?;
    }
    clock::wait_for("what people see to follow the leader's clock", 12_000, || {
        let skews: Option<Vec<f64>> = (0..3).map(|index| skew(&cluster, index)).collect();
        let right = |index: usize, skew: f64| {
            let expected = if index == now_leads { 0.0 } else { -7.0 * 3600.0 };
            (skew - expected).abs() < 2.0
        };
        skews?.into_iter().enumerate().all(|(index, skew)| right(index, skew)).then_some(())
    })?;
    let history = fleet.stop();
    let joining = service_gap::joining(&history);
    println!(
        "{} clients while clocks jump: {joining:?}, {gap} ms without an ACK when the leader died",
        all.len()
    );
    let promises = history.promises(Count::FromAnswer);
    expect_none("one address, one client", &unique_address::check(&promises))?;
    expect_none("ACKs agree", &agreement::check_acks(&history))?;
    expect_none("no stale NAK", &stale_nak::check(&history))?;
    ensure!(history.naks() == 0, "{} NAKs", history.naks());
    for event in history.events() {
        if let What::Acked { lifetime_secs, .. } = event.what {
            // A lease that was given a moment ago is granted what is left of it (M8): by cluster time, some seconds.
            let left = plan.valid_lifetime - 60..=plan.valid_lifetime;
            ensure!(left.contains(&lifetime_secs), "a client was told {lifetime_secs} s");
        }
    }
    // Nothing has ended.
    let promised: BTreeSet<_> = promises.iter().map(|it| (it.address, Some(it.client))).collect();
    for index in 0..cluster.nodes.len() {
        let mut missing = promised.len();
        clock::wait_for("a node to have every lease", 5_000, || {
            let held: BTreeSet<_> =
                cluster.leases(index).ok()?.iter().map(|it| (it.address, it.client)).collect();
            missing = promised.difference(&held).count();
            (missing == 0).then_some(())
        })
        .map_err(|error| {
            error.context(format!("{missing} leases are not on node {}", index + 1))
        })?;
    }
    ensure!(gap < 1_500, "{gap} ms without an ACK");
    cluster.passed();
    Ok(())
}
