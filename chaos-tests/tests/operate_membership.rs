//! Nodes join, are replaced, removed and moved, under load, with no exchange failed; and a lone server becomes three.

use anyhow::{Context, Result, ensure};
use chaos_tests::client::machine::Patience;
use chaos_tests::clock;
use chaos_tests::floor::netns::certificates::Authority;
use chaos_tests::floor::netns::cluster::{Cluster, Plan};
use chaos_tests::gate;
use chaos_tests::membership::{
    VOTES_MS, ctl, form, found, ids, invite, join, join_with, member, members, peer, set,
    votes_and_is_up, wait_ends_saying, wait_gone, wait_member,
};
use chaos_tests::operate::{self, Scene};
use chaos_tests::oracle::history::Count;
use chaos_tests::oracle::{ClientId, durable_ack, expect_none};

/// A scene of `founders` nodes that run and some more that do not.
fn scene(test: &str, founders: usize, all: usize) -> Result<Option<Scene>> {
    let Some(gate) = gate::enter_cluster(test, &[])? else { return Ok(None) };
    let cluster = found(gate, &Plan { nodes: all, ..operate::plan() }, founders)?;
    Ok(Some(Scene::of(cluster, test.to_owned())?))
}

#[test]
fn r15_a_dead_leader_is_replaced_and_its_wiped_disk_is_refused_as_itself() -> Result<()> {
    let test = "r15_a_dead_leader_is_replaced_and_its_wiped_disk_is_refused_as_itself";
    let Some(mut scene) = scene(test, 3, 4)? else { return Ok(()) };
    let dead = scene.cluster.leader()?;
    let id = dead as u64 + 1;
    scene.cluster.nodes[dead].kill()?;
    let asked = scene.cluster.leader_among(&[(dead + 1) % 3, (dead + 2) % 3])?;
    // Its disk is new, its settings are not.
    scene.cluster.nodes[dead].wipe()?;
    scene.cluster.nodes[dead].start()?;
    wait_ends_saying(&mut scene.cluster, dead, &["cluster-ctl node remove"])?;

    let refused = scene.cluster.ctl(asked, &["node", "remove", &id.to_string()])?;
    ensure!(refused.code == Some(2) && refused.stderr.contains("--yes"), "{refused:?}");
    let said = scene.ctl(asked, &["node", "remove", &id.to_string(), "--yes"])?;
    ensure!(said.contains("2 nodes vote; none of them may fail"), "{said}");
    wait_gone(&scene.cluster, asked, id)?;
    let warned = scene.ctl(asked, &["status"])?;
    ensure!(warned.contains("2 voters survive no more failures than 1 would: 0"), "{warned}");
    // A new machine in its place, and then the old one as a new member.
    join(&mut scene.cluster, asked, 3, 4)?;
    scene.cluster.nodes[dead].wipe()?;
    join(&mut scene.cluster, asked, dead, 5)?;
    let warned = scene.ctl(asked, &["status"])?;
    ensure!(warned.contains("4 voters survive no more failures than 3 would: 1"), "{warned}");
    scene.finish()
}

#[test]
fn copies_receive_everything_answer_queries_and_vote_only_when_told() -> Result<()> {
    let test = "copies_receive_everything_answer_queries_and_vote_only_when_told";
    let Some(mut scene) = scene(test, 3, 5)? else { return Ok(()) };
    // One is a copy by its token, one by its settings.
    invite(&scene.cluster, 0, 3, &["--learner"])?;
    invite(&scene.cluster, 1, 4, &[])?;
    let join = format!("learner = true\njoin = [\"{}\"]", peer(1));
    set(&scene.cluster, 4, "join", &join)?;
    let is_copy = |node: &serde_json::Value| node["votes"] == false && node["copy"] == true;
    for index in [3, 4] {
        scene.cluster.nodes[index].start()?;
        scene.cluster.nodes[index].wait_ready(VOTES_MS)?;
        let is_there = |node: &serde_json::Value| is_copy(node) && node["liveness"] == "up";
        wait_member(&scene.cluster, 0, index as u64 + 1, "to be a copy", VOTES_MS, is_there)?;
        // As recent as any: who is bound now is among its leases.
        let bound = scene.load.history().promises(Count::FromAnswer);
        let now = clock::now_ms();
        let bound = bound.iter().filter(|it| it.client.0 < 90 && it.until > now);
        let held = scene.cluster.leases(index)?;
        for promise in bound {
            let kept = held.iter().any(|lease| lease.client == Some(promise.client));
            ensure!(kept, "node {} has no lease of {:?}", index + 1, promise.client);
        }
    }
    let refused = scene.ctl_refused(3, &["leader", "transfer", "node-d"])?;
    ensure!(refused.contains("node 4 has no vote and cannot lead"), "{refused}");
    // Each leader gives votes to those who wait for one after 2 s.
    let leader = scene.cluster.leader()?;
    scene
        .ctl(3, &["leader", "transfer", &scene.cluster.nodes[(leader + 1) % 3].settings_name()])?;
    clock::sleep_ms(5_000);
    for id in [4, 5] {
        let seen = member(&scene.cluster, 3, id)?;
        ensure!(is_copy(&seen), "{seen}");
    }
    let said = scene.ctl(4, &["node", "promote", "node-d"])?;
    ensure!(said.contains("Node 4 votes. Now 4 nodes vote; 1 of them may fail"), "{said}");
    wait_member(&scene.cluster, 4, 4, "to vote", VOTES_MS, votes_and_is_up)?;
    ensure!(is_copy(&member(&scene.cluster, 3, 5)?));
    scene.finish()
}

#[test]
fn leadership_goes_to_the_preferred_rack_by_itself_and_no_exchange_fails() -> Result<()> {
    let test = "leadership_goes_to_the_preferred_rack_by_itself_and_no_exchange_fails";
    let Some(mut scene) = scene(test, 3, 3)? else { return Ok(()) };
    let lead = |scene: &Scene, index: usize| {
        scene.ctl(1, &["leader", "transfer", &scene.cluster.nodes[index].settings_name()])
    };
    if scene.cluster.leader()? == 2 {
        lead(&scene, 0)?;
    }
    let first = scene.cluster.leader_among(&[0, 1])?;
    let said = scene.ctl(2, &["policy", "set", "--leader-racks", "c"])?;
    ensure!(said.contains("The leader should be in rack c"), "{said}");
    let wait_moved = |scene: &Scene| {
        let (began, wanted) = (clock::now_ms(), &scene.cluster.nodes[2]);
        clock::wait_for("leadership in rack c", 60_000, || wanted.leads().then_some(()))?;
        println!("leadership is in rack c after {} ms", clock::now_ms() - began);
        anyhow::Ok(())
    };
    wait_moved(&scene)?;
    // Who has just handed over for the policy does not do so again for a minute; the other would.
    lead(&scene, 1 - first)?;
    let status = scene.cluster.nodes[2].stop()?;
    ensure!(status.success(), "it ended with {status}");
    scene.cluster.restore()?;
    ensure!(scene.cluster.leader()? == 1 - first, "leadership moved before node 3 had settled");
    wait_moved(&scene)?;
    scene.finish()
}

#[test]
fn a_removal_that_loses_the_majority_is_refused_with_numbers_unless_forced() -> Result<()> {
    let test = "a_removal_that_loses_the_majority_is_refused_with_numbers_unless_forced";
    let Some(gate) = gate::enter_cluster(test, &[])? else { return Ok(()) };
    let mut cluster = Cluster::build(gate, &operate::plan())?;
    // Two sites.
    set(&cluster, 1, "rack", "rack = \"a\"")?;
    set(&cluster, 2, "rack", "rack = \"b\"")?;
    form(&mut cluster, 3)?;
    let warning = "rack \"a\" has 2 of the 3 votes: losing it loses the majority; a voter in a third rack is needed";
    clock::wait_for_every(100, "a warning of two sites", 10_000, || {
        ctl(&cluster, 0, &["status"]).is_ok_and(|said| said.contains(warning)).then_some(())
    })?;
    let fleet = cluster.fleet(Patience { automatic: true, ..Patience::default() })?;
    let everybody = cluster.addresses();
    let joins = |number: u32| {
        fleet.join(ClientId(number), &everybody);
        fleet.wait_bound(&[ClientId(number)], 15_000)
    };
    (0..10).try_for_each(joins)?;
    for id in [1, 2, 3] {
        wait_member(&cluster, 0, id, "to be up", 15_000, votes_and_is_up)?;
    }
    // The site with one vote is lost.
    if cluster.leader()? == 2 {
        ctl(&cluster, 0, &["leader", "transfer", "node-a"])?;
    }
    cluster.nodes[2].kill()?;
    let leader = cluster.leader_among(&[0, 1])?;
    let other = 1 - leader;
    wait_member(&cluster, leader, 3, "to be down", 15_000, |node| node["liveness"] == "down")?;
    // Whoever answered a second ago is still counted on.
    clock::sleep_ms(1_000);
    let id = (other + 1).to_string();
    let remove = ["node", "remove", &id, "--yes", "--force"];
    let refused = cluster.ctl(leader, &remove[..4])?;
    let numbers = format!(
        "2 would vote (node {}, 3), 2 of them must agree, and only 1 can: node 3 does not answer",
        leader + 1
    );
    ensure!(refused.code == Some(1) && refused.stderr.contains(&numbers), "{refused:?}");
    joins(10).context("after the refusal")?;
    let asked = cluster.ctl(leader, &["node", "remove", &id, "--force"])?;
    let told = "no client is answered until a majority is there again";
    ensure!(asked.code == Some(2) && asked.stderr.contains(told), "{asked:?}");
    let forced = cluster.ctl(leader, &remove)?;
    println!("forced: {forced:?}");
    ensure!(forced.stderr.contains("node 3 does not answer"), "{forced:?}");
    // The site is there again, and its vote is needed now.
    cluster.nodes[2].start()?;
    cluster.nodes[2].wait_ready(VOTES_MS)?;
    wait_member(&cluster, 2, other as u64 + 1, "to have lost its vote", 15_000, |node| {
        node["votes"] == false
    })?;
    ctl(&cluster, 2, &remove[..4])?;
    wait_ends_saying(&mut cluster, other, &["was removed from its cluster"])?;
    wait_gone(&cluster, 2, other as u64 + 1)?;
    joins(11).context("with those who are left")?;
    let asked = fleet.stop().promises(Count::FromAsked);
    let tolerance = durable_ack::Tolerance { early: 2_500, late: None };
    for index in [leader, 2] {
        let (now, table) = (clock::now_ms(), cluster.leases(index)?);
        expect_none(
            "what was acknowledged is there",
            &durable_ack::check(&asked, &table, now, tolerance),
        )?;
    }
    cluster.passed();
    Ok(())
}

#[test]
fn a_node_joins_over_mtls_and_one_with_a_foreign_certificate_is_refused() -> Result<()> {
    let test = "a_node_joins_over_mtls_and_one_with_a_foreign_certificate_is_refused";
    let Some(gate) = gate::enter_cluster(test, &[])? else { return Ok(()) };
    let mut cluster = Cluster::build(gate, &Plan { nodes: 5, ..operate::plan() })?;
    let ours = Authority::create(&cluster.dir().join("pki"))?;
    let theirs = Authority::create(&cluster.dir().join("theirs"))?;
    (0..4).try_for_each(|index| ours.equip(&cluster, index))?;
    form(&mut cluster, 3)?;
    let mut scene = Scene::of(cluster, test.to_owned())?;
    join(&mut scene.cluster, 1, 3, 4)?;

    // Our token, and a certificate of another cluster: it says so before it calls anybody.
    theirs.equip(&scene.cluster, 4)?;
    invite(&scene.cluster, 0, 4, &[])?;
    scene.cluster.nodes[4].start()?;
    let (our_id, their_id) = (ours.cluster_id()?, theirs.cluster_id()?);
    let why = [our_id.as_str(), &their_id, "cluster-ctl pki issue"];
    wait_ends_saying(&mut scene.cluster, 4, &why)?;
    // A token that fits its certificate leads it to nodes that have nothing to do with it. Both ends say so.
    join_with(&scene.cluster, 0, 4, &format!("leasehold-join-{their_id}-{:032x}", 1))?;
    scene.cluster.nodes[4].start()?;
    for (index, why) in
        [(4, "signed by nobody whom trust-anchor names"), (0, "refuses our certificate")]
    {
        let process = scene.cluster.nodes[index].process()?;
        clock::wait_for(why, 15_000, || process.log().contains(why).then_some(()))?;
    }
    scene.cluster.nodes[4].kill()?;
    ensure!(ids(&members(&scene.cluster, 0)?) == [1, 2, 3, 4]);
    // With a certificate of ours it is welcome.
    ours.equip(&scene.cluster, 4)?;
    join(&mut scene.cluster, 2, 4, 5)?;
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
        wait_ends_saying(&mut scene.cluster, index, &["was removed from its cluster"])?;
        wait_gone(&scene.cluster, 4, index as u64 + 1)?;
    }
    ensure!(ids(&members(&scene.cluster, 4)?) == [3, 4, 5]);
    // It does not come back as itself.
    scene.cluster.nodes[0].start()?;
    wait_ends_saying(&mut scene.cluster, 0, &["does not come back as itself"])?;
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
