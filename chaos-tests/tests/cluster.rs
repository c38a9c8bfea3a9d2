//! Many clients behind a relay that sends each packet to all three nodes.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use chaos_tests::client::fleet::{Fleet, Verb};
use chaos_tests::client::machine::Patience;
use chaos_tests::clock;
use chaos_tests::floor::netns::cluster::{Cluster, Plan};
use chaos_tests::floor::netns::node::Node;
use chaos_tests::gate;
use chaos_tests::oracle::history::Count;
use chaos_tests::oracle::{
    ClientId, Held, What, agreement, durable_ack, expect_none, no_phantom, service_gap, stale_nak,
    unique_address,
};
use serde_json::json;

fn clients(numbers: std::ops::Range<u32>) -> Vec<ClientId> {
    numbers.map(ClientId).collect()
}

/// Waits until the tables of all nodes are the same and hold `count` leases, and gives it.
fn agreed_table(cluster: &Cluster, count: usize) -> Result<Vec<Held>> {
    let mut last = String::new();
    clock::wait_for("all nodes to tell the same leases", 10_000, || {
        let tables: Vec<Vec<(Ipv4Addr, Option<ClientId>)>> = (0..cluster.nodes.len())
            .map(|index| {
                let mut table: Vec<_> = cluster
                    .leases(index)
                    .unwrap_or_default()
                    .iter()
                    .map(|held| (held.address, held.client))
                    .collect();
                table.sort_unstable();
                table
            })
            .collect();
        last = format!("{:?}", tables.iter().map(Vec::len).collect::<Vec<_>>());
        (tables.iter().all(|table| *table == tables[0]) && tables[0].len() == count).then_some(())
    })
    .with_context(|| format!("{count} leases expected, the nodes have {last}"))?;
    cluster.leases(0)
}

#[test]
fn a_client_heard_by_all_nodes_gets_one_lease_and_agreeing_answers() -> Result<()> {
    let test = "a_client_heard_by_all_nodes_gets_one_lease_and_agreeing_answers";
    let Some(gate) = gate::enter(test, &[])? else { return Ok(()) };
    let cluster = Cluster::start(gate, &Plan::default())?;
    let fleet = cluster.fleet(Patience::default())?;
    let (all, nodes) = (clients(0..20), cluster.addresses());
    for client in &all {
        fleet.join(*client, &nodes);
    }
    fleet.wait_bound(&all, 15_000)?;
    agreed_table(&cluster, all.len())?;
    for (verb, what) in
        [(Verb::Renew, "renewed"), (Verb::Rebind, "rebound"), (Verb::Reboot, "rebooted")]
    {
        let before = fleet.history().acks();
        for client in &all {
            fleet.tell(*client, verb);
        }
        fleet
            .wait_acks(before + all.len() - 1, 15_000)
            .with_context(|| format!("clients that {what}"))?;
    }
    let table = agreed_table(&cluster, all.len())?;
    let history = fleet.history();
    expect_none("OFFERs agree", &agreement::check_offers(&history))?;
    expect_none("ACKs agree", &agreement::check_acks(&history))?;
    expect_none("one address, one client", &unique_address::check(&fleet.promises()))?;
    expect_none("nothing nobody asked for", &no_phantom::check(&history, &table))?;
    ensure!(history.naks() == 0, "{} NAKs", history.naks());
    ensure!(history.promises(Count::FromAnswer).len() == all.len(), "somebody changed his address");
    for client in &all {
        fleet.tell(*client, Verb::Release);
    }
    agreed_table(&cluster, 0)?;
    cluster.passed();
    Ok(())
}

#[test]
fn three_hundred_clients_at_once_get_three_hundred_addresses() -> Result<()> {
    let Some(gate) = gate::enter("three_hundred_clients_at_once_get_three_hundred_addresses", &[])?
    else {
        return Ok(());
    };
    let cluster = Cluster::start(gate, &Plan::default())?;
    let fleet = cluster.fleet(Patience::default())?;
    let (all, nodes) = (clients(0..300), cluster.addresses());
    for client in &all {
        fleet.join(*client, &nodes);
    }
    fleet.wait_bound(&all, 30_000)?;
    println!("300 at once: {:?}", service_gap::joining(&fleet.history()));
    let table = agreed_table(&cluster, all.len())?;
    let history = fleet.stop();
    let promises = history.promises(Count::FromAnswer);
    expect_none("one address, one client", &unique_address::check(&promises))?;
    expect_none("ACKs agree", &agreement::check_acks(&history))?;
    let tolerance = durable_ack::Tolerance { early: 2_500, late: Some(10_000) };
    let asked = history.promises(Count::FromAsked);
    expect_none(
        "what was acknowledged is there",
        &durable_ack::check(&asked, &table, clock::now_ms(), tolerance),
    )?;
    cluster.passed();
    Ok(())
}

#[test]
fn every_acknowledged_lease_survives_kill_9_of_all_nodes() -> Result<()> {
    let Some(gate) = gate::enter("every_acknowledged_lease_survives_kill_9_of_all_nodes", &[])?
    else {
        return Ok(());
    };
    let mut cluster = Cluster::start(gate, &Plan::default())?;
    let fleet = cluster.fleet(Patience::default())?;
    let nodes = cluster.addresses();
    for client in clients(0..200) {
        fleet.join(client, &nodes);
        clock::sleep_ms(5);
        if client.0 == 150 {
            // In the middle of it, so that some are between OFFER and ACK.
            for node in 0..cluster.nodes.len() {
                cluster.kill(node)?;
            }
        }
    }
    let killed = clock::now_ms();
    let history = fleet.stop();
    ensure!(history.acks() >= 100, "only {} ACKs before the kill", history.acks());
    clock::sleep_ms(2_000);
    cluster.restore()?;
    let outage = clock::now_ms() - killed;
    println!("{} acknowledged; all nodes ready again after {outage} ms", history.acks());
    // Expiry: not before the client counts it, and no later than the outage and one repeat explain (R12).
    let tolerance = durable_ack::Tolerance { early: 2_500, late: Some(outage + 10_000) };
    let promises = history.promises(Count::FromAsked);
    for index in 0..cluster.nodes.len() {
        let table = cluster.leases(index)?;
        expect_none(
            &format!("what was acknowledged is there on node {}", index + 1),
            &durable_ack::check(&promises, &table, clock::now_ms(), tolerance),
        )?;
        expect_none("nothing nobody asked for", &no_phantom::check(&history, &table))?;
    }
    // The old clients keep their addresses and new ones get others.
    let fleet = cluster.fleet(Patience::default())?;
    let newcomers = clients(1_000..1_050);
    for client in &newcomers {
        fleet.join(*client, &nodes);
    }
    fleet.wait_bound(&newcomers, 20_000)?;
    let mut both = promises;
    both.extend(fleet.promises());
    expect_none("one address, one client, across the restart", &unique_address::check(&both))?;
    cluster.passed();
    Ok(())
}

/// A new client every 20 ms for `millis`, numbered from `first`. Gives the clients.
fn join_steadily(fleet: &Fleet, first: u32, millis: u64, nodes: &[Ipv4Addr]) -> Vec<ClientId> {
    let began = clock::now_ms();
    let mut joined = Vec::new();
    loop {
        let due = began + joined.len() as u64 * 20;
        let now = clock::now_ms();
        if now >= began + millis {
            return joined;
        }
        if now < due {
            clock::sleep_ms(due - now);
        }
        let client = ClientId(first + joined.len() as u32);
        fleet.join(client, nodes);
        joined.push(client);
    }
}

#[test]
fn the_death_of_the_leader_stops_acks_for_less_than_one_and_a_half_seconds() -> Result<()> {
    let test = "the_death_of_the_leader_stops_acks_for_less_than_one_and_a_half_seconds";
    let Some(gate) = gate::enter_cluster(test, &[])? else { return Ok(()) };
    let mut cluster = Cluster::start(gate, &Plan::default())?;
    let nodes = cluster.addresses();
    let fleet = cluster.fleet(Patience::default())?;
    let mut gaps = Vec::new();
    for run in 0..5 {
        let leader = cluster.leader()?;
        let first = 10_000 * (run + 1);
        let mut all = join_steadily(&fleet, first, 1_500, &nodes);
        cluster.kill(leader)?;
        let killed = clock::now_ms();
        all.extend(join_steadily(&fleet, first + 5_000, 4_500, &nodes));
        let end = clock::now_ms();
        fleet.wait_bound(&all, 20_000)?;
        let history = fleet.history();
        let gap = service_gap::longest(&history, killed - 1_000, end);
        gaps.push(gap);
        println!("run {}: node {} led; longest time without an ACK {gap} ms", run + 1, leader + 1);
        cluster.restore()?;
    }
    let joining = service_gap::joining(&fleet.history());
    println!(
        "gaps {gaps:?} ms; of {} clients {} had to repeat ({:.1} %), worst wait {} ms",
        joining.clients,
        joining.repeated,
        joining.repeated as f64 * 100.0 / joining.clients.max(1) as f64,
        joining.worst_wait
    );
    let history = fleet.stop();
    expect_none(
        "one address, one client",
        &unique_address::check(&history.promises(Count::FromAnswer)),
    )?;
    expect_none("no stale NAK", &stale_nak::check(&history))?;
    let promises = history.promises(Count::FromAsked);
    let tolerance = durable_ack::Tolerance { early: 2_500, late: None };
    for index in 0..cluster.nodes.len() {
        let table = cluster.leases(index)?;
        expect_none(
            "what was acknowledged is there",
            &durable_ack::check(&promises, &table, clock::now_ms(), tolerance),
        )?;
    }
    ensure!(gaps.iter().all(|gap| *gap < 1_500), "{gaps:?} ms without an ACK");
    cluster.passed();
    Ok(())
}

fn every_address_of_a_small_pool_is_given(test: &str, size: u8) -> Result<()> {
    let Some(gate) = gate::enter(test, &[])? else { return Ok(()) };
    let plan = Plan { pools: vec![format!("10.77.16.1 - 10.77.16.{size}")], ..Plan::default() };
    let cluster = Cluster::start(gate, &plan)?;
    let fleet = cluster.fleet(Patience::default())?;
    let all = clients(0..u32::from(size));
    // One node hears them; two thirds of the addresses are in the shares of the others.
    let node = [cluster.nodes[cluster.nodes.len() - 1].address];
    for client in &all {
        fleet.join(*client, &node);
    }
    fleet.wait_bound(&all, 30_000)?;
    let given: BTreeSet<Ipv4Addr> =
        fleet.promises().iter().map(|promise| promise.address).collect();
    ensure!(given.len() == usize::from(size), "{given:?} is not the whole pool");
    expect_none("one address, one client", &unique_address::check(&fleet.promises()))?;
    cluster.passed();
    Ok(())
}

#[test]
fn r18_a_pool_of_one_is_given_by_one_node() -> Result<()> {
    every_address_of_a_small_pool_is_given("r18_a_pool_of_one_is_given_by_one_node", 1)
}

#[test]
fn r18_a_pool_of_three_is_given_by_one_node() -> Result<()> {
    every_address_of_a_small_pool_is_given("r18_a_pool_of_three_is_given_by_one_node", 3)
}

#[test]
fn r18_a_pool_of_six_is_given_by_one_node() -> Result<()> {
    every_address_of_a_small_pool_is_given("r18_a_pool_of_six_is_given_by_one_node", 6)
}

#[test]
fn a_write_to_any_node_is_seen_by_all() -> Result<()> {
    let Some(gate) = gate::enter_cluster("a_write_to_any_node_is_seen_by_all", &[])? else {
        return Ok(());
    };
    let cluster = Cluster::start(gate, &Plan::default())?;
    for index in 0..cluster.nodes.len() {
        let mac = ClientId(index as u32).mac().map(|byte| format!("{byte:02x}")).join(":");
        let lease = json!({ "ip-address": format!("10.77.16.{}", 10 + index), "hw-address": mac });
        let answer = cluster.nodes[index].command("lease4-add", Some(lease))?;
        ensure!(answer.result == 0, "lease4-add on node {}: {}", index + 1, answer.text);
    }
    agreed_table(&cluster, cluster.nodes.len())?;
    let fleet = cluster.fleet(Patience::default())?;
    for index in 0..cluster.nodes.len() {
        let lifetime = 5_000 + index as u32;
        let dhcp4 = Plan { valid_lifetime: lifetime, ..Plan::default() }.dhcp4();
        let answer = cluster.nodes[index].command("config-set", Some(json!({ "Dhcp4": dhcp4 })))?;
        ensure!(answer.result == 0, "config-set on node {}: {}", index + 1, answer.text);
        clock::wait_for("all nodes to run the new configuration", 5_000, || {
            let runs_it = |node: &Node| {
                let got = node.command("config-get", None);
                got.is_ok_and(|got| got.arguments["Dhcp4"]["valid-lifetime"] == json!(lifetime))
            };
            cluster.nodes.iter().all(runs_it).then_some(())
        })?;
        let client = ClientId(index as u32 + 100);
        fleet.join(client, &cluster.addresses());
        fleet.wait_bound(&[client], 15_000)?;
        let history = fleet.history();
        let told = history.events().iter().rev().find_map(|event| match event.what {
            What::Acked { lifetime_secs, .. } if event.client == client => Some(lifetime_secs),
            _ => None,
        });
        ensure!(
            told == Some(lifetime),
            "a client was told {told:?} s after the change to {lifetime} s"
        );
    }
    drop(fleet);
    cluster.passed();
    Ok(())
}

#[test]
fn c1a_a_relay_that_knows_one_node_only_is_served_without_delay() -> Result<()> {
    let Some(gate) =
        gate::enter("c1a_a_relay_that_knows_one_node_only_is_served_without_delay", &[])?
    else {
        return Ok(());
    };
    let cluster = Cluster::start(gate, &Plan::default())?;
    let fleet = cluster.fleet(Patience::default())?;
    let node = [cluster.nodes[0].address];
    // Whoever owns a client's bucket, nobody but this node hears it.
    let all = clients(0..30);
    for client in &all {
        fleet.join(*client, &node);
        clock::sleep_ms(50);
    }
    fleet.wait_bound(&all, 15_000)?;
    let joining = service_gap::joining(&fleet.history());
    println!("a relay that knows one node: {joining:?}");
    ensure!(joining.repeated == 0, "{} clients had to ask twice", joining.repeated);
    cluster.passed();
    Ok(())
}
