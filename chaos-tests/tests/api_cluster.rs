//! The control API of three nodes: the same thing written on all of them at once, the leader killed in between; and Debian's own clients.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use chaos_tests::clock;
use chaos_tests::floor::netns::api::Answer;
use chaos_tests::floor::netns::cluster::{Cluster, Plan};
use chaos_tests::floor::netns::node::Node;
use chaos_tests::gate;
use chaos_tests::shell;
use serde_json::{Value, json};

/// Sends to every node at once what `arguments` makes for it, and gives the answers in the order of the nodes.
fn at_once(
    cluster: &Cluster,
    command: impl Fn(usize) -> (&'static str, Value) + Sync,
) -> Result<Vec<Answer>> {
    let start = Barrier::new(cluster.nodes.len());
    std::thread::scope(|scope| {
        let threads: Vec<_> = cluster
            .nodes
            .iter()
            .map(|node| {
                let (start, command) = (&start, &command);
                scope.spawn(move || {
                    let (name, arguments) = command(node.index);
                    start.wait();
                    node.command(name, Some(arguments))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread that sends")).collect()
    })
}

/// One of the answers is a success, all others are the refusal.
fn expect_one(what: &str, answers: &[Answer], refusal: i64, text: &str) -> Result<()> {
    let done = answers.iter().filter(|answer| answer.result == 0).count();
    ensure!(done == 1, "{what}: {done} of {} succeeded: {answers:#?}", answers.len());
    for answer in answers.iter().filter(|answer| answer.result != 0) {
        ensure!(
            answer.result == refusal && answer.text.contains(text),
            "{what}: refused with {answer:?}, not with {refusal} and {text:?}"
        );
    }
    Ok(())
}

/// What a command with these arguments answers on every node, now.
fn everywhere(cluster: &Cluster, name: &str, arguments: &Value) -> Result<Vec<Answer>> {
    cluster.nodes.iter().map(|node| node.command(name, Some(arguments.clone()))).collect()
}

#[test]
fn the_same_thing_written_on_three_nodes_at_once_is_written_once() -> Result<()> {
    let test = "the_same_thing_written_on_three_nodes_at_once_is_written_once";
    let Some(gate) = gate::enter_cluster(test, &[])? else { return Ok(()) };
    let cluster = Cluster::start(gate, &Plan::default())?;
    for round in 1..=8_u8 {
        let address = Ipv4Addr::new(10, 77, 16, round);
        let answers = at_once(&cluster, |node| {
            let mac = format!("02:00:00:00:{node:02x}:{round:02x}");
            ("lease4-add", json!({ "ip-address": address, "hw-address": mac }))
        })?;
        expect_one("lease4-add", &answers, 4, "IPv4 lease already exists.")?;
        let winner = answers.iter().position(|answer| answer.result == 0).context("a winner")?;
        for read in everywhere(&cluster, "lease4-get", &json!({ "ip-address": address }))? {
            let holder = format!("02:00:00:00:{winner:02x}:{round:02x}");
            ensure!(read.arguments["hw-address"] == holder, "{read:?} is not {holder}");
        }

        let id = 100 + i64::from(round);
        let prefix = format!("10.{id}.0.0/16");
        let answers = at_once(&cluster, |node| {
            let subnet = json!({ "id": id, "subnet": prefix, "valid-lifetime": 1000 + node });
            ("subnet4-add", json!({ "subnet4": [subnet] }))
        })?;
        expect_one("subnet4-add", &answers, 1, "already in use")?;
        let winner = answers.iter().position(|answer| answer.result == 0).context("a winner")?;
        for read in everywhere(&cluster, "subnet4-get", &json!({ "id": id }))? {
            let lifetime = &read.arguments["subnet4"][0]["valid-lifetime"];
            ensure!(*lifetime == json!(1000 + winner), "{read:?} is not of node {winner}");
        }

        let mac = format!("02:00:00:01:00:{round:02x}");
        let answers = at_once(&cluster, |node| {
            let name = format!("host-{node}");
            let host = json!({ "subnet-id": 1, "hw-address": mac, "hostname": name });
            ("reservation-add", json!({ "reservation": host, "operation-target": "memory" }))
        })?;
        expect_one("reservation-add", &answers, 1, "already been added")?;
        let winner = answers.iter().position(|answer| answer.result == 0).context("a winner")?;
        let wanted = json!({ "subnet-id": 1, "identifier-type": "hw-address", "identifier": mac });
        for read in everywhere(&cluster, "reservation-get", &wanted)? {
            let name = format!("host-{winner}");
            ensure!(read.arguments["hostname"] == name, "{read:?} is not of node {winner}");
        }
    }
    cluster.passed();
    Ok(())
}

/// Ranges of the pools of subnet 1, on node `index`.
fn pools(node: &Node) -> Result<Vec<String>> {
    let answer = node.command("subnet4-get", Some(json!({ "id": 1 })))?;
    let pools = answer.arguments["subnet4"][0]["pools"].as_array().context("pools")?;
    Ok(pools.iter().filter_map(|pool| pool["pool"].as_str()).map(str::to_owned).collect())
}

#[test]
fn changes_of_the_configuration_at_once_do_not_lose_each_other() -> Result<()> {
    let test = "changes_of_the_configuration_at_once_do_not_lose_each_other";
    let Some(gate) = gate::enter_cluster(test, &[])? else { return Ok(()) };
    let cluster = Cluster::start(gate, &Plan::default())?;
    let mut added = Vec::new();
    for round in 0..8 {
        // Each node adds a pool of its own.
        let pool = |node: usize| {
            let third = 100 + round * 3 + node;
            format!("10.77.{third}.1-10.77.{third}.9")
        };
        let answers = at_once(&cluster, |node| {
            let subnet =
                json!({ "id": 1, "subnet": "10.77.0.0/16", "pools": [{ "pool": pool(node) }] });
            ("subnet4-delta-add", json!({ "subnet4": [subnet] }))
        })?;
        for (node, answer) in answers.iter().enumerate() {
            ensure!(answer.result == 0, "subnet4-delta-add on node {}: {answer:?}", node + 1);
            added.push(pool(node));
        }
        for node in &cluster.nodes {
            let found = pools(node)?;
            let lost: Vec<&String> = added.iter().filter(|pool| !found.contains(pool)).collect();
            ensure!(lost.is_empty(), "round {round}: node {} lost {lost:?}", node.index + 1);
        }
    }
    for round in 0..6_u32 {
        // A whole new configuration on one node, a pool on the others. In whatever order: the new lifetime stays, and a pool that was added
        // after it stays, too.
        let lifetime = 5_000 + round;
        let pool = |node: usize| format!("10.77.{}.1-10.77.{}.9", 150 + node, 150 + node);
        let answers = at_once(&cluster, |node| {
            if node == (round % 3) as usize {
                let plan = Plan { valid_lifetime: lifetime, ..Plan::default() };
                return ("config-set", json!({ "Dhcp4": plan.dhcp4() }));
            }
            let subnet =
                json!({ "id": 1, "subnet": "10.77.0.0/16", "pools": [{ "pool": pool(node) }] });
            ("subnet4-delta-add", json!({ "subnet4": [subnet] }))
        })?;
        ensure!(answers.iter().all(|answer| answer.result == 0), "round {round}: {answers:#?}");
        let found: Vec<Vec<String>> = cluster.nodes.iter().map(pools).collect::<Result<_>>()?;
        ensure!(found.iter().all(|pools| *pools == found[0]), "round {round}: {found:?}");
        for node in &cluster.nodes {
            let config = node.command("config-get", None)?;
            let told = &config.arguments["Dhcp4"]["valid-lifetime"];
            ensure!(*told == json!(lifetime), "round {round}: node {} says {told}", node.index + 1);
        }
    }
    cluster.passed();
    Ok(())
}

/// What one writer was told about each thing it wrote.
type Told = Mutex<BTreeMap<String, (i64, String)>>;

/// Writers on each node.
const WRITERS: u32 = 6;

fn write_until(stop: &AtomicBool, node: &Node, writer: u32, told: &Told) {
    for number in (writer..4_000).step_by(WRITERS as usize) {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let [_, _, high, low] = number.to_be_bytes();
        let address = Ipv4Addr::new(10, 77, 32 + node.index as u8 * 16 + high, low);
        let mac = format!("02:00:01:{:02x}:{high:02x}:{low:02x}", node.index);
        let lease = json!({ "ip-address": address, "hw-address": mac });
        let (result, text) = match node.command("lease4-add", Some(lease)) {
            Ok(answer) => (answer.result, answer.text),
            Err(error) => (-1, format!("{error:#}")),
        };
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(address.to_string(), (result, text));
    }
}

#[test]
fn nothing_is_called_done_that_a_dying_leader_took_with_it() -> Result<()> {
    let test = "nothing_is_called_done_that_a_dying_leader_took_with_it";
    let Some(gate) = gate::enter_cluster(test, &[])? else { return Ok(()) };
    let mut cluster = Cluster::start(gate, &Plan::default())?;
    let (told, stop) = (Told::default(), AtomicBool::new(false));
    let leader = cluster.leader()?;
    let (before, rest) = cluster.nodes.split_at_mut(leader);
    let (dying, after) = rest.split_first_mut().context("the leader")?;
    let killed = std::thread::scope(|scope| {
        for node in before.iter().chain(after.iter()) {
            let (told, stop) = (&told, &stop);
            for writer in 0..WRITERS {
                scope.spawn(move || write_until(stop, node, writer, told));
            }
        }
        clock::sleep_ms(1_000);
        let killed = dying.kill();
        // The others elect one of them and go on.
        clock::sleep_ms(3_000);
        stop.store(true, Ordering::Relaxed);
        killed
    });
    killed?;
    let told = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    let alive: Vec<usize> = (0..cluster.nodes.len()).filter(|index| *index != leader).collect();
    cluster.leader_among(&alive)?;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for index in alive {
        let answer = cluster.nodes[index].command("lease4-get-all", None)?;
        let there: Vec<&str> = answer.arguments["leases"]
            .as_array()
            .context("leases")?
            .iter()
            .filter_map(|lease| lease["ip-address"].as_str())
            .collect();
        for (address, (result, text)) in &told {
            let is_there = there.contains(&address.as_str());
            let kind = if *result == 0 {
                ensure!(is_there, "node {}: {address} was added and is gone", index + 1);
                "done"
            } else if text.starts_with("Nothing was changed") {
                ensure!(!is_there, "node {}: {address}: {text}, and it is there", index + 1);
                "nothing changed"
            } else {
                ensure!(
                    text.contains("outcome is unknown"),
                    "{address} was answered with {result} {text}"
                );
                "unknown"
            };
            *counts.entry(kind).or_default() += 1;
        }
    }
    println!("a leader killed among {} writes: {counts:?} as two nodes see them", told.len());
    ensure!(counts.get("done").is_some_and(|count| *count > 100), "too few writes: {counts:?}");
    cluster.passed();
    Ok(())
}

/// Runs `program` beside node `index` with `input` as its standard input.
fn run_with_input(
    cluster: &Cluster,
    index: usize,
    args: &[&str],
    input: &str,
) -> Result<shell::Outcome> {
    let file = cluster.dir().join("input");
    std::fs::write(&file, input)?;
    let mut command: Command = cluster.nodes[index].namespace.command("sh");
    command.args(["-c", "exec \"$@\" < \"$0\""]).arg(&file).args(args);
    shell::run_any(&mut command, 20_000)
}

/// Debian's python3-kea-connector, used as kea-shell uses it.
const CONNECTOR: &str = r#"
import sys
sys.path.append('/usr/lib/python3/dist-packages/kea')
from kea_conn import CARequest
from kea_connector3 import send_to_control_agent
command, service, args = sys.argv[1:]
request = CARequest()
request.http_host, request.http_port = '127.0.0.1', 8000
request.command, request.service, request.args = command, [service], args
request.timeout = 10
request.generate_body()
request.generate_headers()
response = send_to_control_agent(request)
print(response.status, response.body)
"#;

#[test]
fn debians_own_clients_are_at_home() -> Result<()> {
    let test = "debians_own_clients_are_at_home";
    let Some(gate) = gate::enter_cluster(test, &["kea-shell"])? else { return Ok(()) };
    let cluster = Cluster::start(gate, &Plan { nodes: 1, ..Plan::default() })?;
    let shell = |service: &[&str], command: &str, arguments: &str| -> Result<Value> {
        let mut args = vec!["kea-shell", "--host", "127.0.0.1", "--port", "8000"];
        args.extend_from_slice(service);
        args.push(command);
        let outcome = run_with_input(&cluster, 0, &args, arguments)?;
        ensure!(outcome.code == Some(0), "{args:?}: {outcome:?}");
        serde_json::from_str(&outcome.stdout).with_context(|| format!("{args:?}: {outcome:?}"))
    };
    let dhcp4 = ["--service", "dhcp4"];
    let lease = "\"ip-address\": \"10.77.16.5\", \"hw-address\": \"02:00:00:00:00:05\"";
    let added = shell(&dhcp4, "lease4-add", lease)?;
    ensure!(added[0]["text"] == "Lease for address 10.77.16.5, subnet-id 1 added.", "{added}");
    let again = shell(&[], "lease4-add", lease)?;
    ensure!(again[0]["result"] == 4, "{again}");
    let got = shell(&dhcp4, "lease4-get", "\"ip-address\": \"10.77.16.5\"")?;
    ensure!(got[0]["arguments"]["hw-address"] == "02:00:00:00:00:05", "{got}");
    // Without a command it asks for the list.
    let outcome = run_with_input(&cluster, 0, &["kea-shell", "--port", "8000"], "")?;
    let list: Value =
        serde_json::from_str(&outcome.stdout).with_context(|| format!("{outcome:?}"))?;
    let names = list[0]["arguments"].as_array().context("a list of commands")?;
    ensure!(names.contains(&json!("lease4-get")), "{list}");
    let unknown = shell(&["--service", "dhcp6"], "lease6-get-all", "")?;
    ensure!(unknown[0]["result"] == 1, "{unknown}");
    let both = shell(&["--service", "dhcp4", "--service", "dhcp4"], "version-get", "")?;
    ensure!(both.as_array().is_some_and(|list| list.len() == 2), "{both}");

    let script = cluster.dir().join("connector.py");
    std::fs::write(&script, CONNECTOR)?;
    let script = script.display().to_string();
    for (command, arguments, result) in [
        ("lease4-get", "\"ip-address\": \"10.77.16.5\"", 0),
        ("lease4-get", "\"ip-address\": \"10.77.16.6\"", 3),
        ("config-get", "", 0),
        ("nope", "", 2),
    ] {
        let args = ["/usr/bin/python3", &script, command, "dhcp4", arguments];
        let outcome = run_with_input(&cluster, 0, &args, "")?;
        let (status, body) =
            outcome.stdout.split_once(' ').with_context(|| format!("{outcome:?}"))?;
        let body: Value = serde_json::from_str(body).with_context(|| format!("{outcome:?}"))?;
        ensure!(status == "200" && body[0]["result"] == result, "{command}: {outcome:?}");
    }
    cluster.passed();
    Ok(())
}
