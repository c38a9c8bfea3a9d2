//! What is left when a cluster is lost: a backup, or one node of three. A new cluster is made from it under load, and the ledger of the
//! clients goes on over both: no address twice, no acknowledged lease lost (R28).
//!
//! While nobody serves, exchanges fail; none may that began afterwards. Clients answer pings at the addresses that they have, as
//! hosts do: an address that the new cluster does not know may be somebody's, and new clients come all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use chaos_tests::clock;
use chaos_tests::floor::netns::Plan;
use chaos_tests::floor::netns::cluster::Direction;
use chaos_tests::floor::netns::node::peer_address;
use chaos_tests::gate;
use chaos_tests::operate::{self, Ending, Scene};
use chaos_tests::oracle::history::Count;
use chaos_tests::oracle::{ClientId, History, What, exchanges};
use serde_json::Value;

/// Those who were there before all others ([`operate`]).
const RESIDENTS: u32 = 90;
/// Those who come after the backup.
const LATE: std::ops::Range<u32> = 2_000..2_030;
/// From T1 to T2 a client asks one server, which may be gone; then everybody.
const EVERYBODY_RENEWS_MS: u64 = 10_500;

/// The pool is small: what a new client is offered is often somebody's.
fn plan() -> Plan {
    Plan { pools: vec!["10.77.16.0 - 10.77.17.255".to_owned()], ..operate::plan() }
}

/// A cluster of three under load, with clients that answer pings; what is returned counts the answers.
fn begin(test: &str) -> Result<Option<(Scene, Arc<AtomicU64>)>> {
    let Some(gate) = gate::enter_cluster(test, &[])? else { return Ok(None) };
    let scene = Scene::begin_with(gate, &plan())?;
    let pings = scene.load.answer_pings(&scene.cluster)?;
    clock::sleep_ms(1_500);
    Ok(Some((scene, pings)))
}

/// Runs `cluster-ctl` where it must end with status `code`; gives all it said.
fn ends_with(scene: &Scene, code: i32, args: &[&str]) -> Result<String> {
    let done = scene.cluster.ctl(0, args)?;
    let said = format!("{}{}", done.stdout, done.stderr);
    ensure!(done.code == Some(code), "cluster-ctl {}: {:?} {said}", args.join(" "), done.code);
    Ok(said)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn expect_none_failed(scene: &Scene) -> Result<()> {
    let seen = exchanges::check(&scene.load.history(), clock::now_ms());
    ensure!(seen.failed.is_empty(), "{:?} failed", seen.failed);
    Ok(())
}

/// How long a node may take to begin, or to join and get its vote, in milliseconds.
const VOTES_MS: u64 = 30_000;

fn peer(index: usize) -> String {
    format!("{}:7701", peer_address(index))
}

/// Node `first`, which was made the only member of a new cluster, serves alone; then all others join it, empty. When it was ready.
fn rise(scene: &mut Scene, first: usize) -> Result<u64> {
    let began = clock::now_ms();
    scene.cluster.nodes[first].start()?;
    scene.cluster.nodes[first].wait_ready(VOTES_MS)?;
    let ready = clock::now_ms();
    println!("the first node is ready {} ms after its start", ready - began);
    let others = (0..3).filter(|index| *index != first);
    for (index, with) in others.zip([&["node", "add"][..], &["node", "token", "create"]]) {
        let made = scene.ctl(first, &[&["-o", "json"], with].concat())?;
        join(scene, first, index, &serde_json::from_str::<Value>(&made)?)?;
    }
    clock::wait_for_every(100, "three nodes to vote and be up", VOTES_MS, || {
        let list = scene.ctl(first, &["-o", "json", "node", "list"]).ok()?;
        let list: Value = serde_json::from_str(&list).ok()?;
        let up = |node: &&Value| node["votes"] == true && node["liveness"] == "up";
        (list["nodes"].as_array()?.iter().filter(up).count() == 3).then_some(())
    })?;
    println!("three nodes vote {} ms later", clock::now_ms() - ready);
    Ok(ready)
}

/// Node `index`, which is empty, starts and joins node `first` with a token that was `made`.
fn join(scene: &mut Scene, first: usize, index: usize, made: &Value) -> Result<()> {
    let node = &mut scene.cluster.nodes[index];
    let (settings, token) = (node.settings_file(), node.dir().join("join-token"));
    std::fs::write(&token, made["secret"].as_str().context("no secret")?)?;
    let join = format!("join = [\"{}\"]\ntoken-file = \"{}\"", peer(first), token.display());
    let old = std::fs::read_to_string(&settings)?;
    let lines = old.lines().map(|line| match line.starts_with("initial =") {
        true => join.as_str(),
        false => line,
    });
    std::fs::write(&settings, lines.collect::<Vec<_>>().join("\n"))?;
    node.start()?;
    node.wait_ready(VOTES_MS)
}

/// Lets everybody who has an address renew it, and ends the story. `refused`: whom the new cluster may refuse what.
fn end(scene: Scene, ready: u64, refused: &Listed) -> Result<Ending> {
    clock::sleep_ms((ready + EVERYBODY_RENEWS_MS).saturating_sub(clock::now_ms()));
    scene.end(|client, address| refused.to_another(client, address))
}

/// All addresses that a client ever had.
fn addresses(history: &History, client: u32) -> BTreeSet<Ipv4Addr> {
    let events = history.events().iter().filter(|event| event.client == ClientId(client));
    let acked = events.filter_map(|event| match event.what {
        What::Acked { address, accepted: true, .. } => Some(address),
        _ => None,
    });
    acked.collect()
}

/// Whose the addresses were when a backup was taken. One that was given back since, and granted to another client, stays with its
/// first holder as far as the new cluster knows: the other is refused it, and gets a new one.
#[derive(Debug, Default)]
struct Listed(BTreeMap<Ipv4Addr, BTreeSet<ClientId>>);

impl Listed {
    /// A backup that was taken between two moments.
    fn at(history: &History, from: u64, to: u64) -> Listed {
        let mut listed = Listed::default();
        for promise in history.promises(Count::FromAnswer) {
            if promise.from <= to && promise.until >= from {
                listed.0.entry(promise.address).or_default().insert(promise.client);
            }
        }
        listed
    }

    fn to_another(&self, client: ClientId, address: Ipv4Addr) -> bool {
        self.0.get(&address).is_some_and(|holders| !holders.contains(&client))
    }
}

/// Those who were refused an address that the backup lists for another client.
fn refused(history: &History, listed: &Listed) -> BTreeSet<ClientId> {
    let events = history.events().iter();
    let refused = events.filter_map(|event| match event.what {
        What::Refused { address, .. } if listed.to_another(event.client, address) => {
            Some(event.client)
        }
        _ => None,
    });
    refused.collect()
}

/// All residents had one address from the first moment to the last, those whom the new cluster was told of and those whom it was not.
fn everybody_kept_his_address(history: &History, listed: &Listed) -> Result<()> {
    let mut own = 0;
    for client in (0..RESIDENTS).chain(LATE) {
        let had = addresses(history, client);
        let refused = had.iter().any(|address| listed.to_another(ClientId(client), *address));
        ensure!(had.len() == 1 || refused, "client {client} had {had:?}");
        own += usize::from(had.len() == 1 && LATE.contains(&client));
    }
    println!("{own} of {} clients unknown to the new cluster kept their addresses", LATE.len());
    ensure!(own >= LATE.len() / 2);
    Ok(())
}

/// A copy of the backup in which a bit is another, and one without its end, are refused, and it is said why.
fn damaged_copies_are_refused(scene: &Scene, file: &Path) -> Result<()> {
    let bytes = std::fs::read(file)?;
    let (bad, dir) = (scene.cluster.dir().join("bad.lhb"), scene.cluster.dir().join("nothing"));
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 4;
    for (bytes, why) in [(&flipped[..], "checksum"), (&bytes[..bytes.len() - 7], "cut off")] {
        std::fs::write(&bad, bytes)?;
        let said = ends_with(scene, 1, &["snapshot", "verify", &text(&bad)])?;
        ensure!(said.contains(why) && said.contains("bad.lhb"), "{said}");
        let args = ["snapshot", "restore", &text(&bad), "--data-dir", &text(&dir)];
        let args = [&args[..], &["--advertise", "10.99.0.1:7701"]].concat();
        let said = ends_with(scene, 1, &args)?;
        ensure!(said.contains(why) && !dir.exists(), "{said}");
    }
    Ok(())
}

#[test]
fn r28_a_cluster_that_lost_every_disk_comes_back_from_a_backup_and_no_address_is_given_twice()
-> Result<()> {
    let test =
        "r28_a_cluster_that_lost_every_disk_comes_back_from_a_backup_and_no_address_is_given_twice";
    let Some((mut scene, pings)) = begin(test)? else { return Ok(()) };
    let asked = scene.cluster.follower()?;
    let file = scene.cluster.dir().join("today.lhb");
    let saving = clock::now_ms();
    scene.ctl(asked, &["snapshot", "save", &text(&file)])?;
    let saved = clock::now_ms();
    let listed = Listed::at(&scene.load.history(), saving, saved);
    println!("saved in {} ms", saved - saving);
    ensure!(std::fs::metadata(&file)?.permissions().mode() & 0o7777 == 0o600);
    let of_it: Value = serde_json::from_str(
        &scene.ctl(asked, &["-o", "json", "snapshot", "inspect", &text(&file)])?,
    )?;
    ensure!(of_it["leases"].as_u64() >= Some(RESIDENTS.into()), "{of_it}");
    let said = scene.ctl(asked, &["snapshot", "verify", &text(&file)])?;
    ensure!(said.contains("is whole"), "{said}");
    let late: Vec<ClientId> = LATE.map(ClientId).collect();
    scene.load.move_in(&late)?;
    damaged_copies_are_refused(&scene, &file)?;
    clock::sleep_ms(2_000);
    expect_none_failed(&scene)?;

    let lost = clock::now_ms();
    for node in &mut scene.cluster.nodes {
        node.kill()?;
    }
    for node in &mut scene.cluster.nodes {
        node.wipe()?;
    }
    let (data, address) = (text(&scene.cluster.nodes[0].dir().join("data")), peer(0));
    let args = ["-o", "json", "snapshot", "restore", &text(&file), "--data-dir", &data];
    let args = [&args[..], &["--advertise", &address]].concat();
    let made: Value = serde_json::from_str(&scene.ctl(0, &args)?)?;
    ensure!(made["cluster"] != of_it["cluster"] && made["node"] == 4, "{made}");
    ensure!(made["hold-seconds"] == 42, "40 s and the least grace: {made}");
    println!("restored {} ms after the end of the old cluster", clock::now_ms() - lost);
    let ready = rise(&mut scene, 0)?;
    let said = scene.ctl(1, &["status"])?;
    ensure!(said.contains("this cluster was made from a backup"), "{said}");
    let held: Value = serde_json::from_str(&scene.ctl(1, &["-o", "json", "recover", "status"])?)?;
    ensure!(held["holding"] == true && held["cluster"] == of_it["cluster"], "{held}");

    let ending = end(scene, ready, &listed)?;
    println!("{} pings at held addresses were answered", pings.load(Ordering::Relaxed));
    everybody_kept_his_address(&ending.history, &listed)?;
    let excused = refused(&ending.history, &listed);
    ending.expect_none_failed(|failed| failed.began > ready && !excused.contains(&failed.client))
}

#[test]
fn r28_one_node_of_three_becomes_a_new_cluster_and_no_acknowledged_lease_is_lost() -> Result<()> {
    let test = "r28_one_node_of_three_becomes_a_new_cluster_and_no_acknowledged_lease_is_lost";
    let Some((mut scene, pings)) = begin(test)? else { return Ok(()) };
    let leader = scene.cluster.leader()?;
    let (gone, left) = ((leader + 1) % 3, (leader + 2) % 3);
    let dir = scene.cluster.nodes[left].dir().to_owned();
    let (data, made) = (text(&dir.join("data")), text(&dir.join("made")));
    expect_none_failed(&scene)?;
    // For its last moments the others go on without it: what they acknowledge then it does not know.
    let cutting = clock::now_ms();
    for index in [leader, gone] {
        scene.cluster.cut(left, index, Direction::Both)?;
    }
    let listed = Listed::at(&scene.load.history(), cutting, clock::now_ms());
    let late: Vec<ClientId> = LATE.map(ClientId).collect();
    scene.load.move_in(&late)?;
    clock::sleep_ms(500);

    let lost = clock::now_ms();
    for index in [leader, gone] {
        scene.cluster.nodes[index].kill()?;
    }
    for index in [leader, gone] {
        scene.cluster.nodes[index].wipe()?;
    }
    scene.cluster.heal()?;
    let said = ends_with(&scene, 2, &["recover", "inspect", "--data-dir", &data])?;
    ensure!(said.contains("is in use: stop the node first"), "{said}");
    let stopping = clock::now_ms();
    scene.cluster.nodes[left].stop()?;
    println!("the survivor ended {} ms after SIGTERM", clock::now_ms() - stopping);
    let report = scene.ctl(0, &["-o", "json", "recover", "inspect", "--data-dir", &data])?;
    let file = scene.cluster.dir().join("report.json");
    std::fs::write(&file, &report)?;
    let report: Value = serde_json::from_str(&report)?;
    ensure!(
        report["node"] == left as u64 + 1 && report["voters"].as_array().map(Vec::len) == Some(3)
    );
    let plan = scene.ctl(0, &["recover", "plan", "--report", &text(&file)])?;
    ensure!(plan.contains("What may be lost") && plan.contains(&data), "{plan}");
    ensure!(plan == scene.ctl(0, &["recover", "plan", "--data-dir", &data])?, "{plan}");

    let address = peer(left);
    let apply = ["recover", "apply", "--data-dir", &data, "--into", &made, "--advertise"];
    let apply = [&apply[..], &[&address]].concat();
    let said = ends_with(&scene, 2, &apply)?;
    ensure!(said.contains("nothing was done. With --yes") && !Path::new(&made).exists(), "{said}");
    let applying = clock::now_ms();
    scene.ctl(0, &[&apply[..], &["--yes"]].concat())?;
    println!(
        "applied in {} ms, {} ms after the loss",
        clock::now_ms() - applying,
        clock::now_ms() - lost
    );
    let again = scene.ctl(0, &["-o", "json", "recover", "inspect", "--data-dir", &data])?;
    ensure!(serde_json::from_str::<Value>(&again)? == report, "the old directory is as it was");
    std::fs::rename(&data, dir.join("data-of-the-old-cluster"))?;
    std::fs::rename(&made, &data)?;
    let ready = rise(&mut scene, left)?;
    let said = scene.ctl(leader, &["recover", "status"])?;
    ensure!(said.contains("what a lost majority left"), "{said}");

    let ending = end(scene, ready, &listed)?;
    println!("{} pings at held addresses were answered", pings.load(Ordering::Relaxed));
    everybody_kept_his_address(&ending.history, &listed)?;
    let excused = refused(&ending.history, &listed);
    ending.expect_none_failed(|failed| failed.began > ready && !excused.contains(&failed.client))
}
