//! How a cluster comes into being, and back.

use anyhow::{Context, Result, ensure};
use chaos_tests::client::machine::Patience;
use chaos_tests::clock;
use chaos_tests::floor::netns::cluster::{Cluster, Plan, READY_MS};
use chaos_tests::floor::netns::sys::Signal;
use chaos_tests::gate;
use chaos_tests::oracle::{ClientId, What, durable_ack, expect_none};
use serde_json::{Value, json};

/// One client gets an address through `nodes`.
fn serves(cluster: &Cluster, client: u32, nodes: &[usize]) -> Result<()> {
    let fleet = cluster.fleet(Patience::default())?;
    let addresses: Vec<_> = nodes.iter().map(|index| cluster.nodes[*index].address).collect();
    fleet.join(ClientId(client), &addresses);
    fleet.wait_bound(&[ClientId(client)], 15_000)
}

/// No client gets an address or a refusal from anybody in `millis`.
fn is_silent(cluster: &Cluster, client: u32, millis: u64) -> Result<()> {
    let fleet = cluster.fleet(Patience::default())?;
    fleet.join(ClientId(client), &cluster.addresses());
    clock::sleep_ms(millis);
    let history = fleet.stop();
    let answer = history
        .events()
        .iter()
        .find(|event| matches!(event.what, What::Acked { .. } | What::Refused { .. }));
    ensure!(answer.is_none(), "without a majority somebody answered: {answer:?}");
    Ok(())
}

/// `cluster-ctl status` of every node names all nodes, and one leader.
fn everybody_knows_everybody(cluster: &Cluster) -> Result<()> {
    for index in 0..cluster.nodes.len() {
        let outcome = cluster.ctl(index, &["-o", "json", "status"])?;
        ensure!(outcome.code == Some(0), "cluster-ctl status on node {}: {outcome:?}", index + 1);
        let status: Value = serde_json::from_str(&outcome.stdout)
            .with_context(|| format!("cluster-ctl -o json printed {}", outcome.stdout))?;
        let text = status.to_string();
        for other in 0..cluster.nodes.len() {
            let name = format!("node-{}", char::from(b'a' + other as u8));
            ensure!(text.contains(&name), "node {} does not know {name}: {text}", index + 1);
        }
    }
    Ok(())
}

fn start_in_order(cluster: &mut Cluster, order: [usize; 3], pause_ms: u64) -> Result<()> {
    for index in order {
        cluster.start_node(index)?;
        clock::sleep_ms(pause_ms);
    }
    cluster
        .wait_ready()
        .with_context(|| format!("started in the order {order:?}, {pause_ms} ms apart"))
}

fn kill_all(cluster: &mut Cluster) -> Result<()> {
    (0..cluster.nodes.len()).try_for_each(|index| cluster.kill(index))
}

fn wipe_all(cluster: &mut Cluster) -> Result<()> {
    cluster.nodes.iter_mut().try_for_each(|node| node.wipe())
}

#[test]
fn r14_three_nodes_form_one_cluster_in_any_order_of_start() -> Result<()> {
    let Some(gate) =
        gate::enter_cluster("r14_three_nodes_form_one_cluster_in_any_order_of_start", &[])?
    else {
        return Ok(());
    };
    let mut cluster = Cluster::build(gate, &Plan::default())?;
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for (number, order) in orders.into_iter().enumerate() {
        let began = clock::now_ms();
        start_in_order(&mut cluster, order, 300)?;
        println!("order {order:?}: ready {} ms after the first start", clock::now_ms() - began);
        everybody_knows_everybody(&cluster)?;
        serves(&cluster, number as u32, &[0, 1, 2])?;
        kill_all(&mut cluster)?;
        wipe_all(&mut cluster)?;
    }
    cluster.passed();
    Ok(())
}

#[test]
fn r15_kill_9_in_the_midst_of_formation_is_survived() -> Result<()> {
    let Some(gate) = gate::enter_cluster("r15_kill_9_in_the_midst_of_formation_is_survived", &[])?
    else {
        return Ok(());
    };
    let mut cluster = Cluster::build(gate, &Plan::default())?;
    for (number, pause) in [20, 60, 120, 200, 350, 600].into_iter().enumerate() {
        for index in 0..3 {
            cluster.start_node(index)?;
        }
        clock::sleep_ms(pause);
        // Once the one that draws the cluster id, once another, once all.
        let victims: &[usize] = [&[0][..], &[2], &[0, 1, 2]][number % 3];
        for index in victims {
            cluster.kill(*index)?;
        }
        cluster
            .restore()
            .with_context(|| format!("{victims:?} killed {pause} ms after the start"))?;
        serves(&cluster, number as u32, &[0, 1, 2])?;
        kill_all(&mut cluster)?;
        wipe_all(&mut cluster)?;
    }
    cluster.passed();
    Ok(())
}

#[test]
fn a_cluster_returns_after_any_or_all_of_its_nodes_are_killed() -> Result<()> {
    let Some(gate) =
        gate::enter_cluster("a_cluster_returns_after_any_or_all_of_its_nodes_are_killed", &[])?
    else {
        return Ok(());
    };
    let mut cluster = Cluster::start(gate, &Plan::default())?;
    let fleet = cluster.fleet(Patience::default())?;
    let early: Vec<ClientId> = (0..10).map(ClientId).collect();
    for client in &early {
        fleet.join(*client, &cluster.addresses());
    }
    fleet.wait_bound(&early, 15_000)?;
    let history = fleet.stop();
    for index in 0..3 {
        cluster.kill(index)?;
        let left: Vec<usize> = (0..3).filter(|other| *other != index).collect();
        serves(&cluster, 100 + index as u32, &left)
            .with_context(|| format!("node {} is dead", index + 1))?;
        cluster.restore()?;
    }
    // One of three is no majority: it says so and answers nobody.
    cluster.kill(0)?;
    cluster.kill(2)?;
    is_silent(&cluster, 200, 4_000)?;
    ensure!(
        cluster.nodes[1].readiness().is_err(),
        "a node without a majority says that it is ready"
    );
    cluster.restore()?;
    kill_all(&mut cluster)?;
    start_in_order(&mut cluster, [2, 0, 1], 200)?;
    serves(&cluster, 300, &[0, 1, 2])?;
    let promises = history.promises(chaos_tests::oracle::history::Count::FromAsked);
    let tolerance = durable_ack::Tolerance { early: 2_500, late: None };
    for index in 0..3 {
        let table = cluster.leases(index)?;
        expect_none(
            "what was acknowledged is there",
            &durable_ack::check(&promises, &table, clock::now_ms(), tolerance),
        )?;
    }
    for index in 0..3 {
        let status = cluster.nodes[index].stop()?;
        ensure!(status.code() == Some(0), "node {} ended with {status} after SIGTERM", index + 1);
    }
    cluster.passed();
    Ok(())
}

/// A node with an empty disk and an old address: it must end, or at least never become ready.
fn ensure_refused(cluster: &mut Cluster, index: usize) -> Result<()> {
    cluster.start_node(index)?;
    let deadline = clock::now_ms() + 5_000;
    while clock::now_ms() < deadline && cluster.nodes[index].runs() {
        ensure!(
            cluster.nodes[index].readiness().is_err(),
            "the wiped node {} became ready",
            index + 1
        );
        clock::sleep_ms(50);
    }
    let process = cluster.nodes[index].process()?;
    let log = process.log();
    match process.exit_status() {
        Some(status) => {
            ensure!(status.code() != Some(0), "the wiped node ended as if all were well");
            ensure!(log.contains("join"), "it does not say how to join:\n{log}");
        }
        None => println!("the wiped node {} waits; it said:\n{}", index + 1, process.tail()),
    }
    Ok(())
}

#[test]
fn r15_a_wiped_node_is_refused() -> Result<()> {
    let Some(gate) = gate::enter_cluster("r15_a_wiped_node_is_refused", &[])? else {
        return Ok(());
    };
    let mut cluster = Cluster::start(gate, &Plan::default())?;
    serves(&cluster, 1, &[0, 1, 2])?;
    let leader = cluster.leader()?;
    let (other, wiped) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.kill(wiped)?;
    cluster.nodes[wiped].wipe()?;
    ensure_refused(&mut cluster, wiped)?;
    serves(&cluster, 2, &[leader, other]).context("beside a wiped node")?;
    // With another one down, the wiped one must not make a majority: it would not know what was acknowledged.
    cluster.kill(leader)?;
    cluster.kill(wiped)?;
    cluster.nodes[wiped].wipe()?;
    ensure_refused(&mut cluster, wiped)?;
    is_silent(&cluster, 3, 4_000)?;
    cluster.start_node(leader)?;
    for index in [leader, other] {
        cluster.nodes[index].wait_ready(30_000)?;
    }
    serves(&cluster, 4, &[leader, other])?;
    let leases = cluster.leases(other)?;
    for client in [1, 2, 4] {
        ensure!(
            leases.iter().any(|held| held.client == Some(ClientId(client))),
            "the lease of client {client} is lost"
        );
    }
    cluster.passed();
    Ok(())
}

#[test]
fn a_single_node_is_a_cluster_of_one() -> Result<()> {
    let Some(gate) = gate::enter("a_single_node_is_a_cluster_of_one", &[])? else { return Ok(()) };
    let mut cluster = Cluster::start(gate, &Plan { nodes: 1, ..Plan::default() })?;
    serves(&cluster, 1, &[0])?;
    cluster.kill(0)?;
    cluster.restore()?;
    let leases = cluster.leases(0)?;
    ensure!(
        leases.iter().any(|held| held.client == Some(ClientId(1))),
        "the lease did not survive kill -9: {leases:?}"
    );
    serves(&cluster, 2, &[0])?;
    let status = cluster.nodes[0].stop()?;
    ensure!(status.code() == Some(0), "it ended with {status} after SIGTERM");
    cluster.passed();
    Ok(())
}

#[test]
fn r26_a_kea_file_alone_runs_a_server_and_is_read_again_on_sighup() -> Result<()> {
    let Some(gate) =
        gate::enter("r26_a_kea_file_alone_runs_a_server_and_is_read_again_on_sighup", &[])?
    else {
        return Ok(());
    };
    let mut cluster = Cluster::build(gate, &Plan { nodes: 1, ..Plan::default() })?;
    cluster.nodes[0].start_alone()?;
    cluster.nodes[0].wait_ready(READY_MS)?;
    serves(&cluster, 1, &[0])?;
    cluster.kill(0)?;
    // The file wins at each start …
    cluster.nodes[0].write_config(&Plan { valid_lifetime: 7_000, ..Plan::default() }.dhcp4())?;
    cluster.nodes[0].start_alone()?;
    cluster.nodes[0].wait_ready(READY_MS)?;
    let leases = cluster.leases(0)?;
    ensure!(
        leases.iter().any(|held| held.client == Some(ClientId(1))),
        "the lease did not survive kill -9: {leases:?}"
    );
    wait_lifetime(&cluster, 7_000)?;
    // … and at SIGHUP.
    cluster.nodes[0].write_config(&Plan { valid_lifetime: 8_000, ..Plan::default() }.dhcp4())?;
    cluster.nodes[0].process()?.signal(Signal::Hangup)?;
    wait_lifetime(&cluster, 8_000)?;
    serves(&cluster, 2, &[0])?;
    // A file with a mistake changes nothing.
    std::fs::write(cluster.nodes[0].dir().join("dhcp4.json"), "{ \"Dhcp4\": { \"bogus\": 1 ")?;
    cluster.nodes[0].process()?.signal(Signal::Hangup)?;
    clock::sleep_ms(1_000);
    wait_lifetime(&cluster, 8_000)?;
    serves(&cluster, 3, &[0])?;
    cluster.passed();
    Ok(())
}

fn wait_lifetime(cluster: &Cluster, secs: u32) -> Result<()> {
    clock::wait_for(&format!("a configuration with a lifetime of {secs} s"), 10_000, || {
        let got = cluster.nodes[0].command("config-get", None).ok()?;
        (got.arguments["Dhcp4"]["valid-lifetime"] == json!(secs)).then_some(())
    })
}
