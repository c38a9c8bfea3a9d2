//! Nodes join, are replaced, removed and moved, under load, with no exchange failed; and a lone server becomes three.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use chaos_tests::clock;
use chaos_tests::floor::netns::{Cluster, Plan};
use chaos_tests::gate::{self, Gate};
use chaos_tests::operate::{self, Scene};
use serde_json::Value;

/// How long a new node may take to join, catch up and get its vote, in milliseconds.
const VOTES_MS: u64 = 30_000;

/// Replaces the line of a node's settings that begins with `key`; more lines may stand in its place.
fn set(cluster: &Cluster, index: usize, key: &str, line: &str) -> Result<()> {
    let file = cluster.nodes[index].settings_file();
    let text = std::fs::read_to_string(&file)?;
    let lines: Vec<&str> = text
        .lines()
        .map(|old| if old.starts_with(&format!("{key} =")) { line } else { old })
        .collect();
    ensure!(lines.contains(&line) || line.contains('\n'), "no {key} in {}", file.display());
    Ok(std::fs::write(&file, lines.join("\n"))?)
}

fn peer(index: usize) -> String {
    format!("10.99.0.{}:7701", index + 1)
}

fn token_file(cluster: &Cluster, index: usize) -> PathBuf {
    cluster.nodes[index].dir().join("join-token")
}

/// A cluster of the first `founders` of `all` nodes; the others are there and do not run.
fn found(gate: Gate, plan: &Plan, founders: usize) -> Result<Cluster> {
    let mut cluster = Cluster::build(gate, plan)?;
    let list: Vec<String> = (0..founders).map(|index| format!("\"{}\"", peer(index))).collect();
    for index in 0..founders {
        set(&cluster, index, "initial", &format!("initial = [{}]", list.join(", ")))?;
        cluster.nodes[index].start()?;
    }
    cluster.wait_ready()?;
    Ok(cluster)
}

/// A scene of `founders` nodes that run and some more that do not.
fn scene(test: &str, founders: usize, all: usize) -> Result<Option<Scene>> {
    let Some(gate) = gate::enter_cluster(test, &[])? else { return Ok(None) };
    let cluster = found(gate, &Plan { nodes: all, ..operate::plan() }, founders)?;
    Ok(Some(Scene::of(cluster, test.to_owned())?))
}

fn ctl(cluster: &Cluster, index: usize, args: &[&str]) -> Result<String> {
    let done = cluster.ctl(index, args)?;
    let said = format!("{}{}", done.stdout, done.stderr);
    ensure!(done.code == Some(0), "cluster-ctl {}: {said}", args.join(" "));
    Ok(done.stdout)
}

/// The members as node `asked` sees them.
fn members(cluster: &Cluster, asked: usize) -> Result<Vec<Value>> {
    let list: Value = serde_json::from_str(&ctl(cluster, asked, &["-o", "json", "node", "list"])?)?;
    list["nodes"].as_array().cloned().context("no nodes")
}

fn ids(members: &[Value]) -> Vec<u64> {
    members.iter().filter_map(|node| node["id"].as_u64()).collect()
}

/// Has node `asked` make a token, and the settings of node `index` say that it joins with it.
fn invite(cluster: &Cluster, asked: usize, index: usize) -> Result<()> {
    let made: Value = serde_json::from_str(&ctl(cluster, asked, &["-o", "json", "node", "add"])?)?;
    let secret = made["secret"].as_str().context("no secret")?;
    let file = token_file(cluster, index);
    std::fs::write(&file, format!("{secret}\n"))?;
    let join = format!("join = [\"{}\"]\ntoken-file = \"{}\"", peer(asked), file.display());
    set(cluster, index, "initial", &join)
}

/// Node `index` joins as member `id`, gets its vote by itself, and is up.
fn join(cluster: &mut Cluster, asked: usize, index: usize, id: u64) -> Result<()> {
    let began = clock::now_ms();
    invite(cluster, asked, index)?;
    cluster.nodes[index].start()?;
    cluster.nodes[index].wait_ready(VOTES_MS)?;
    let what = format!("node {} to vote as member {id} and be up", index + 1);
    clock::wait_for_every(100, &what, VOTES_MS, || {
        let members = members(cluster, asked).ok()?;
        let new = members.into_iter().find(|node| node["id"] == id)?;
        (new["votes"] == true && new["liveness"] == "up").then_some(())
    })?;
    println!(
        "member {id}: votes and is up {} ms after its token was made",
        clock::now_ms() - began
    );
    Ok(())
}

/// Member `id` is gone from the list of node `asked`.
fn wait_gone(cluster: &Cluster, asked: usize, id: u64) -> Result<()> {
    clock::wait_for_every(100, &format!("member {id} to be off the list"), 15_000, || {
        (!ids(&members(cluster, asked).ok()?).contains(&id)).then_some(())
    })
}

#[test]
fn r15_a_dead_node_is_replaced_and_its_wiped_disk_is_refused_as_itself() -> Result<()> {
    let test = "r15_a_dead_node_is_replaced_and_its_wiped_disk_is_refused_as_itself";
    let Some(mut scene) = scene(test, 3, 4)? else { return Ok(()) };
    let asked = scene.cluster.leader_among(&[0, 1, 2])?;
    let dead = (asked + 1) % 3;
    let id = dead as u64 + 1;
    scene.cluster.nodes[dead].stop()?;
    // Its disk is new, its settings are not.
    scene.cluster.nodes[dead].wipe()?;
    scene.cluster.nodes[dead].start()?;
    let status = scene.cluster.nodes[dead].process()?.wait(10_000)?;
    let log = std::fs::read_to_string(scene.cluster.nodes[dead].log_file())?;
    ensure!(status.code() == Some(1) && log.contains("cluster-ctl node remove"), "{status}: {log}");

    let refused = scene.ctl(asked, &["node", "remove", &id.to_string()]);
    ensure!(
        refused.is_err_and(|why| format!("{why:#}").contains("--yes")),
        "removed without --yes"
    );
    let said = scene.ctl(asked, &["node", "remove", &id.to_string(), "--yes"])?;
    ensure!(said.contains("2 nodes vote; none of them may fail"), "{said}");
    wait_gone(&scene.cluster, asked, id)?;
    // A new machine in its place, and then the old one as a new member.
    join(&mut scene.cluster, asked, 3, 4)?;
    scene.cluster.nodes[dead].wipe()?;
    join(&mut scene.cluster, asked, dead, 5)?;
    let warned = scene.ctl(asked, &["status"])?;
    ensure!(warned.contains("4 voters survive no more failures than 3 would: 1"), "{warned}");
    scene.finish()
}

#[test]
fn three_nodes_grow_to_five_and_shrink_to_three_others_and_no_exchange_fails() -> Result<()> {
    let test = "three_nodes_grow_to_five_and_shrink_to_three_others_and_no_exchange_fails";
    let Some(mut scene) = scene(test, 3, 5)? else { return Ok(()) };
    join(&mut scene.cluster, 0, 3, 4)?;
    join(&mut scene.cluster, 1, 4, 5)?;
    for index in 0..2 {
        let name = scene.cluster.nodes[index].settings_name();
        scene.ctl(4, &["node", "drain", &name])?;
        clock::sleep_ms(10_500);
        scene.ctl(4, &["node", "remove", &name, "--yes"])?;
        let status = scene.cluster.nodes[index].process()?.wait(12_000)?;
        let log = std::fs::read_to_string(scene.cluster.nodes[index].log_file())?;
        ensure!(
            status.code() == Some(1) && log.contains("was removed from its cluster"),
            "{status}: {log}"
        );
        wait_gone(&scene.cluster, 4, index as u64 + 1)?;
    }
    ensure!(ids(&members(&scene.cluster, 4)?) == [3, 4, 5]);
    // It does not come back as itself.
    scene.cluster.nodes[0].start()?;
    let status = scene.cluster.nodes[0].process()?.wait(10_000)?;
    let log = std::fs::read_to_string(scene.cluster.nodes[0].log_file())?;
    ensure!(
        status.code() == Some(1) && log.contains("does not come back as itself"),
        "{status}: {log}"
    );
    scene.finish()
}

#[test]
fn all_nodes_move_to_new_addresses_in_turn_and_no_exchange_fails() -> Result<()> {
    let test = "all_nodes_move_to_new_addresses_in_turn_and_no_exchange_fails";
    let Some(mut scene) = scene(test, 3, 3)? else { return Ok(()) };
    for index in 0..3 {
        scene.cluster.nodes[index].stop()?;
        let (old, new) = (format!("10.99.0.{}", index + 1), format!("10.99.0.{}", index + 101));
        let namespace = &scene.cluster.nodes[index].namespace;
        // The first address of a network takes the others with it.
        namespace.ip(&["addr", "del", &format!("{old}/24"), "dev", "eth1"])?;
        namespace.ip(&["addr", "add", &format!("{new}/24"), "dev", "eth1"])?;
        set(&scene.cluster, index, "listen", &format!("listen = \"{new}:7701\""))?;
        // The control API listens too.
        set_control(&scene.cluster, index)?;
        set(&scene.cluster, index, "advertise", &format!("advertise = \"{new}:7701\""))?;
        let began = clock::now_ms();
        scene.cluster.nodes[index].start()?;
        scene.cluster.nodes[index].wait_ready(VOTES_MS)?;
        let ready = clock::now_ms() - began;
        let asked = (index + 1) % 3;
        clock::wait_for_every(100, "the membership to name the new address", 15_000, || {
            let members = members(&scene.cluster, asked).ok()?;
            let moved = members.into_iter().find(|node| node["id"] == index as u64 + 1)?;
            (moved["address"] == format!("{new}:7701") && moved["liveness"] == "up").then_some(())
        })?;
        let up = clock::now_ms() - began;
        println!(
            "node {}: ready {ready} ms, known at its new address and up {up} ms after its start",
            index + 1
        );
    }
    scene.finish()
}

/// [`set`] has changed every `listen`; the second is the control API's.
fn set_control(cluster: &Cluster, index: usize) -> Result<()> {
    let file = cluster.nodes[index].settings_file();
    let text = std::fs::read_to_string(&file)?;
    let (before, control) = text.split_once("[control]").context("no [control]")?;
    let lines: Vec<&str> = control
        .lines()
        .map(|old| if old.starts_with("listen =") { "listen = [\"0.0.0.0:8000\"]" } else { old })
        .collect();
    Ok(std::fs::write(&file, format!("{before}[control]{}", lines.join("\n")))?)
}

#[test]
fn r26_a_lone_server_started_as_kea_becomes_a_cluster_of_three() -> Result<()> {
    let test = "r26_a_lone_server_started_as_kea_becomes_a_cluster_of_three";
    let Some(gate) = gate::enter_cluster(test, &[])? else { return Ok(()) };
    let mut cluster = Cluster::build(gate, &Plan::default())?;
    cluster.nodes[0].start_alone()?;
    cluster.nodes[0].wait_ready(VOTES_MS)?;
    cluster.nodes[0].stop()?;
    // Its settings give it a peer port; the data directory is the same.
    set(&cluster, 0, "initial", &format!("initial = [\"{}\"]", peer(0)))?;
    cluster.nodes[0].start()?;
    cluster.nodes[0].wait_ready(VOTES_MS)?;
    clock::wait_for_every(100, "its address in the membership", 10_000, || {
        (members(&cluster, 0).ok()?.first()?["address"] == peer(0)).then_some(())
    })?;
    join(&mut cluster, 0, 1, 2)?;
    join(&mut cluster, 0, 2, 3)?;
    cluster.nodes[0].kill()?;
    let left = cluster.leader_among(&[1, 2])?;
    let version = cluster.nodes[left].command("config-hash-get", None)?;
    ensure!(version.result == 0, "{version:?}");
    cluster.passed();
    Ok(())
}
