//! What an operator does to a cluster on purpose, under load, with no exchange failed: handing over leadership, draining, restarting.

use anyhow::{Result, ensure};
use chaos_tests::clock;
use chaos_tests::floor::netns::{Cluster, Plan};
use chaos_tests::gate;
use chaos_tests::operate::Scene;
use chaos_tests::oracle::What;

/// Enters, or says why not.
macro_rules! scene {
    ($name:expr) => {
        match gate::enter_cluster($name, &[])? {
            Some(gate) => Scene::begin(gate)?,
            None => return Ok(()),
        }
    };
}

#[test]
fn leadership_goes_round_and_no_exchange_fails() -> Result<()> {
    let mut scene = scene!("leadership_goes_round_and_no_exchange_fails");
    for asked in [0, 1, 2, 0] {
        let leader = scene.cluster.leader()?;
        let to = scene.cluster.nodes[(leader + 1) % 3].settings_name();
        scene.ctl(asked, &["leader", "transfer", &to])?;
        clock::sleep_ms(1_000);
        ensure!(scene.cluster.leader()? != leader, "node {} still leads", leader + 1);
    }
    scene.finish()
}

#[test]
fn every_node_is_restarted_in_turn_and_no_exchange_fails() -> Result<()> {
    let mut scene = scene!("every_node_is_restarted_in_turn_and_no_exchange_fails");
    for index in 0..3 {
        let stopping = clock::now_ms();
        let status = scene.cluster.nodes[index].stop()?;
        let took = clock::now_ms() - stopping;
        println!("node {} ended {took} ms after SIGTERM", index + 1);
        ensure!(status.success(), "node {} ended with {status}", index + 1);
        ensure!(took <= 8_000, "R26: SIGTERM took {took} ms");
        scene.cluster.restore()?;
    }
    scene.finish()
}

/// What the ledger says of node `index` between two moments: how many OFFERs and ACKs it sent.
fn answers(scene: &Scene, index: usize, from: u64, to: u64) -> (usize, usize) {
    let (history, node) = (scene.load.history(), Some(scene.cluster.nodes[index].address));
    let of = |wanted: fn(&What) -> bool| {
        let by_it = history.events().iter().filter(|event| event.node == node);
        by_it.filter(|event| (from..to).contains(&event.at) && wanted(&event.what)).count()
    };
    (of(|what| matches!(what, What::Offered { .. })), of(|what| matches!(what, What::Acked { .. })))
}

#[test]
fn a_follower_is_drained_and_brought_back_and_no_exchange_fails() -> Result<()> {
    let mut scene = scene!("a_follower_is_drained_and_brought_back_and_no_exchange_fails");
    let (node, asked) = (scene.cluster.follower()?, scene.cluster.leader()?);
    let name = scene.cluster.nodes[node].settings_name();
    let said = scene.ctl(asked, &["node", "drain", &name])?;
    ensure!(said.contains("for 10 s it answers those who chose it"), "{said}");
    let drained = clock::now_ms();
    // A second one cannot be spared.
    let other = scene.cluster.nodes[3 - node - asked].settings_name();
    let said = scene.ctl_refused(asked, &["node", "drain", &other])?;
    ensure!(said.contains("is needed"), "{said}");
    clock::sleep_ms(10_000);
    let (offers, acks) = answers(&scene, node, drained + 500, drained + 9_000);
    println!("while it was drained it sent {offers} OFFERs and {acks} ACKs");
    ensure!(offers == 0, "it began {offers} exchanges");
    ensure!(acks > 0, "those who chose it were not answered");
    // Lease time passes with the entries; a few hundred milliseconds are enough under load.
    clock::sleep_ms(2_000);
    let silent = clock::now_ms();
    clock::sleep_ms(3_000);
    let after = answers(&scene, node, silent, clock::now_ms());
    ensure!(after == (0, 0), "after 10 s it still sent {after:?} OFFERs and ACKs");
    scene.ctl(node, &["node", "undrain", &name])?;
    let back = clock::now_ms();
    clock::wait_for("its first OFFER", 10_000, || {
        (answers(&scene, node, back, clock::now_ms()).0 > 0).then_some(())
    })?;
    scene.finish()
}

#[test]
fn the_leader_is_drained_and_stops_and_no_exchange_fails() -> Result<()> {
    let mut scene = scene!("the_leader_is_drained_and_stops_and_no_exchange_fails");
    let leader = scene.cluster.leader()?;
    let (asked, name) = ((leader + 1) % 3, scene.cluster.nodes[leader].settings_name());
    let drained = clock::now_ms();
    scene.ctl(asked, &["node", "drain", &name, "--stop"])?;
    let status = scene.cluster.nodes[leader].process()?.wait(20_000)?;
    let took = clock::now_ms() - drained;
    println!("it ended {took} ms after the command");
    ensure!(status.code() == Some(0), "it ended with {status}");
    ensure!(took >= 10_000, "it did not answer those who chose it for 10 s");
    ensure!(scene.cluster.leader()? != leader);
    // Its restart ends the drain.
    scene.cluster.restore()?;
    scene.wait_liveness(asked, leader, "up")?;
    scene.finish()
}

#[test]
fn a_node_brought_back_in_time_does_not_stop() -> Result<()> {
    let mut scene = scene!("a_node_brought_back_in_time_does_not_stop");
    let node = scene.cluster.follower()?;
    let name = scene.cluster.nodes[node].settings_name();
    scene.ctl(node, &["node", "drain", &name, "--stop"])?;
    clock::sleep_ms(1_000);
    scene.ctl(node, &["node", "undrain", &name])?;
    clock::sleep_ms(11_000);
    ensure!(scene.cluster.nodes[node].runs(), "it stopped");
    scene.finish()
}

#[test]
fn r26_a_leader_whose_peers_have_just_died_ends_within_eight_seconds() -> Result<()> {
    let test = "r26_a_leader_whose_peers_have_just_died_ends_within_eight_seconds";
    let Some(gate) = gate::enter_cluster(test, &[])? else { return Ok(()) };
    let mut cluster = Cluster::start(gate, &Plan::default())?;
    let leader = cluster.leader()?;
    for index in (0..3).filter(|index| *index != leader) {
        cluster.nodes[index].kill()?;
    }
    // It has not noticed yet: every step that asks the others runs into its limit.
    let stopping = clock::now_ms();
    let status = cluster.nodes[leader].stop()?;
    let took = clock::now_ms() - stopping;
    println!("{test}: {took} ms");
    ensure!(status.success() && took <= 8_000, "{status} after {took} ms");
    cluster.passed();
    Ok(())
}
