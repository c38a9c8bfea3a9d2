//! A rolling upgrade under load. The older program is this one, which pretends (`LEASEHOLD_PRETEND_LEVEL`).

use anyhow::{Result, ensure};
use chaos_tests::clock;
use chaos_tests::floor::netns::cluster::Cluster;
use chaos_tests::gate;
use chaos_tests::operate::{Scene, plan};
use serde_json::{Value, json};

/// Has a node run as an older program from its next start on, or as this one.
fn pretend(scene: &mut Scene, index: usize, older: bool) {
    scene.cluster.nodes[index].pretend_level(older.then_some(1));
}

/// Stops a node in the orderly way and starts it.
fn restart(scene: &mut Scene, index: usize) -> Result<()> {
    scene.cluster.nodes[index].stop()?;
    scene.cluster.restore()
}

fn status(scene: &Scene, asked: usize) -> Result<Value> {
    let answer = scene.cluster.nodes[asked].command("cluster-upgrade-status", None)?;
    ensure!(answer.result == 0, "{}", answer.text);
    Ok(answer.arguments)
}

#[test]
fn a_rolling_upgrade_can_be_taken_back_until_it_is_finalized_and_no_exchange_fails() -> Result<()> {
    let test = "a_rolling_upgrade_can_be_taken_back_until_it_is_finalized_and_no_exchange_fails";
    let Some(gate) = gate::enter_cluster(test, &[])? else { return Ok(()) };
    let mut cluster = Cluster::build(gate, &plan())?;
    for node in &mut cluster.nodes {
        node.pretend_level(Some(1));
        node.start()?;
    }
    cluster.wait_ready()?;
    let mut scene = Scene::of(cluster, test.to_owned())?;
    let old = status(&scene, 0)?;
    ensure!(old["level"] == 1 && old["highest"] == 1 && old["mixed"] == false, "{old}");

    // Two nodes run the new program, then one goes back.
    for index in [0, 1] {
        pretend(&mut scene, index, false);
        restart(&mut scene, index)?;
    }
    let said = clock::wait_for("both to have said so", 5_000, || {
        status(&scene, 2).ok().filter(|said| said["nodes"][1]["level"] == 2)
    })?;
    ensure!(said["mixed"] == true && said["mixed-since"].is_i64(), "{said}");
    ensure!(said["in-the-way"] == json!([3]), "{said}");
    let refused = scene.ctl_refused(2, &["upgrade", "finalize", "--yes"])?;
    ensure!(refused.contains("node-c") && refused.contains("knows 1 at most"), "{refused}");
    // What only the new one can read is not said to the others, whoever is asked.
    for index in [0, 2] {
        let refused = scene.ctl_refused(index, &["node", "token", "create"])?;
        ensure!(refused.contains("cluster-ctl upgrade finalize"), "{refused}");
    }
    pretend(&mut scene, 0, true);
    restart(&mut scene, 0)?;

    // Now all of them, and for good.
    for index in [0, 2] {
        pretend(&mut scene, index, false);
        restart(&mut scene, index)?;
    }
    clock::wait_for("all to have said so", 5_000, || {
        status(&scene, 0).ok().filter(|said| said["can-finalize"] == true)
    })?;
    scene.ctl(1, &["upgrade", "finalize", "--yes"])?;
    // The others apply it a moment later.
    let new = clock::wait_for("the level to be in force everywhere", 5_000, || {
        status(&scene, 2).ok().filter(|said| said["level"] == 2)
    })?;
    ensure!(new["mixed"] == false, "{new}");
    scene.ctl(0, &["node", "token", "create"])?;

    // An older program does not start any more, and says why.
    pretend(&mut scene, 0, true);
    scene.cluster.nodes[0].stop()?;
    scene.cluster.nodes[0].start()?;
    let ended = scene.cluster.nodes[0].process()?.wait(10_000)?;
    let tail = scene.cluster.nodes[0].process()?.tail();
    ensure!(!ended.success() && tail.contains("this program knows 1 at most"), "{ended}: {tail}");
    pretend(&mut scene, 0, false);
    scene.cluster.restore()?;
    scene.finish()
}

#[test]
fn a_new_cluster_begins_with_what_all_its_nodes_know() -> Result<()> {
    let test = "a_new_cluster_begins_with_what_all_its_nodes_know";
    let Some(gate) = gate::enter_cluster(test, &[])? else { return Ok(()) };
    let cluster = Cluster::start(gate, &plan())?;
    for node in &cluster.nodes {
        let said = node.command("cluster-upgrade-status", None)?.arguments;
        ensure!(said["level"] == 2 && said["can-finalize"] == false, "{said}");
    }
    cluster.passed();
    Ok(())
}
