//! What an operator does to a cluster on purpose, under load, with no exchange failed: handing over leadership, draining, restarting.

use anyhow::{Result, ensure};
use chaos_tests::clock;
use chaos_tests::gate;
use chaos_tests::operate::Scene;

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
