//! Nodes that come and go as an operator has them do it: `cluster-ctl node` with tokens, and the settings of new nodes.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::clock;
use crate::floor::netns::cluster::{Cluster, Plan};
use crate::floor::netns::node::peer_address;
use crate::gate::Gate;

/// How long a new node may take to join, catch up and get its vote, in milliseconds.
pub const VOTES_MS: u64 = 30_000;

/// Where peers reach node `index`.
pub fn peer(index: usize) -> String {
    format!("{}:7701", peer_address(index))
}

/// Replaces the line of a node's settings that begins with `key`; more lines may stand in its place.
///
/// # Errors
/// When there is none.
pub fn set(cluster: &Cluster, index: usize, key: &str, line: &str) -> Result<()> {
    let file = cluster.nodes[index].settings_file();
    let text = std::fs::read_to_string(&file)?;
    let is_it = |old: &&str| old.starts_with(&format!("{key} ="));
    ensure!(text.lines().any(|old| is_it(&old)), "no {key} in {}", file.display());
    let lines: Vec<&str> = text.lines().map(|old| if is_it(&old) { line } else { old }).collect();
    Ok(std::fs::write(&file, lines.join("\n"))?)
}

/// Builds all nodes of `plan` and has the first `founders` of them form a cluster; the others are there and do not run.
///
/// # Errors
/// When it does not come about.
pub fn found(gate: Gate, plan: &Plan, founders: usize) -> Result<Cluster> {
    let mut cluster = Cluster::build(gate, plan)?;
    form(&mut cluster, founders)?;
    Ok(cluster)
}

/// Has the first `founders` nodes form a cluster.
///
/// # Errors
/// When it does not come about.
pub fn form(cluster: &mut Cluster, founders: usize) -> Result<()> {
    let list: Vec<String> = (0..founders).map(|index| format!("\"{}\"", peer(index))).collect();
    for index in 0..founders {
        set(cluster, index, "initial", &format!("initial = [{}]", list.join(", ")))?;
        cluster.nodes[index].start()?;
    }
    cluster.wait_ready()
}

/// Runs `cluster-ctl` beside node `index` and gives what it printed.
///
/// # Errors
/// When it ends with another status than 0; the message has what it said.
pub fn ctl(cluster: &Cluster, index: usize, args: &[&str]) -> Result<String> {
    let done = cluster.ctl(index, args)?;
    let said = format!("{}{}", done.stdout, done.stderr);
    ensure!(done.code == Some(0), "cluster-ctl {}: {said}", args.join(" "));
    Ok(done.stdout)
}

/// The members as node `asked` sees them.
///
/// # Errors
/// When it does not answer.
pub fn members(cluster: &Cluster, asked: usize) -> Result<Vec<Value>> {
    let list: Value = serde_json::from_str(&ctl(cluster, asked, &["-o", "json", "node", "list"])?)?;
    list["nodes"].as_array().cloned().context("no nodes")
}

/// Member `id` as node `asked` sees it.
///
/// # Errors
/// When it does not answer or knows none.
pub fn member(cluster: &Cluster, asked: usize, id: u64) -> Result<Value> {
    let mut members = members(cluster, asked)?.into_iter();
    members.find(|node| node["id"] == id).with_context(|| format!("no member {id}"))
}

/// Their numbers.
pub fn ids(members: &[Value]) -> Vec<u64> {
    members.iter().filter_map(|node| node["id"].as_u64()).collect()
}

/// Has node `asked` make a token (`wishes`: options of `node add`), and the settings of node `index` say that it joins with it through
/// that node.
///
/// # Errors
/// When no token is made.
pub fn invite(cluster: &Cluster, asked: usize, index: usize, wishes: &[&str]) -> Result<()> {
    let args = [&["-o", "json", "node", "add"][..], wishes].concat();
    let made: Value = serde_json::from_str(&ctl(cluster, asked, &args)?)?;
    join_with(cluster, asked, index, made["secret"].as_str().context("no secret")?)
}

/// Has the settings of node `index` say that it joins through node `asked` with the token `secret`.
///
/// # Errors
/// When they cannot be written.
pub fn join_with(cluster: &Cluster, asked: usize, index: usize, secret: &str) -> Result<()> {
    let file: PathBuf = cluster.nodes[index].dir().join("join-token");
    std::fs::write(&file, format!("{secret}\n"))?;
    let join = format!("join = [\"{}\"]\ntoken-file = \"{}\"", peer(asked), file.display());
    let settings = cluster.nodes[index].settings_file();
    let text = std::fs::read_to_string(&settings)?;
    // It may have been invited before.
    let stays = |line: &str| {
        !["initial =", "join =", "token-file ="].iter().any(|key| line.starts_with(key))
    };
    let lines = text.lines().filter(|line| stays(line)).map(|line| match line {
        "[cluster]" => format!("[cluster]\n{join}\n"),
        _ => format!("{line}\n"),
    });
    Ok(std::fs::write(&settings, lines.collect::<String>())?)
}

/// Waits until node `asked` says of member `id` what `is_so` looks for.
///
/// # Errors
/// When it does not within `limit_ms`.
pub fn wait_member(
    cluster: &Cluster,
    asked: usize,
    id: u64,
    what: &str,
    limit_ms: u64,
    is_so: impl Fn(&Value) -> bool,
) -> Result<()> {
    clock::wait_for_every(100, &format!("member {id} {what}"), limit_ms, || {
        member(cluster, asked, id).ok().filter(&is_so).map(|_| ())
    })
}

/// Whether a member votes and is judged to be up.
pub fn votes_and_is_up(member: &Value) -> bool {
    member["votes"] == true && member["liveness"] == "up"
}

/// Node `index` joins as member `id`, gets its vote by itself, and is up.
///
/// # Errors
/// When it does not.
pub fn join(cluster: &mut Cluster, asked: usize, index: usize, id: u64) -> Result<()> {
    let began = clock::now_ms();
    invite(cluster, asked, index, &[])?;
    cluster.nodes[index].start()?;
    cluster.nodes[index].wait_ready(VOTES_MS)?;
    wait_member(cluster, asked, id, "to vote and be up", VOTES_MS, votes_and_is_up)?;
    let took = clock::now_ms() - began;
    println!("member {id}: votes and is up {took} ms after its token was made");
    Ok(())
}

/// Waits until member `id` is gone from the list of node `asked`.
///
/// # Errors
/// When it stays.
pub fn wait_gone(cluster: &Cluster, asked: usize, id: u64) -> Result<()> {
    clock::wait_for_every(100, &format!("member {id} to be off the list"), 15_000, || {
        (!ids(&members(cluster, asked).ok()?).contains(&id)).then_some(())
    })
}

/// Node `index`, which was just started, ends with status 1, having said `why`.
///
/// # Errors
/// When it does not.
pub fn wait_ends_saying(cluster: &mut Cluster, index: usize, why: &[&str]) -> Result<()> {
    let status = cluster.nodes[index].process()?.wait(12_000)?;
    let log = std::fs::read_to_string(cluster.nodes[index].log_file())?;
    ensure!(status.code() == Some(1), "node {} ended with {status}: {log}", index + 1);
    for part in why {
        ensure!(log.contains(part), "node {} does not say {part:?}: {log}", index + 1);
    }
    Ok(())
}
