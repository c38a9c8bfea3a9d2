//! `cluster-ctl circuits`: where new clients come from, added up over the nodes that answer.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::each::{Cluster, Node};
use crate::Output;
use crate::client::{Client, Failure};
use crate::output::table;

/// What is counted, as the nodes name it.
const COUNTS: [&str; 4] = ["discovers", "first-leases", "hold-limit", "new-client-limit"];
/// As many as a node knows.
const ALL: u32 = 1_024;

/// Which circuits.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// At most so many, those with the most DISCOVERs; the rest is added up
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    limit: usize,
}

/// A circuit, and what all nodes have counted of it.
struct Row {
    place: Value,
    counts: [u64; 4],
}

/// Runs it.
pub fn run(client: &Client, options: Options, output: Output) -> Result<(), Failure> {
    let cluster = Cluster::find(client)?;
    let (mut rows, mut others, mut silent) = (BTreeMap::new(), [0; 4], Vec::new());
    for (node, reply) in cluster.ask(client, "cluster-circuit-list", &json!({ "limit": ALL })) {
        let Some(reply) = reply.filter(|reply| reply.result == 0) else {
            silent.push(node);
            continue;
        };
        add(&mut others, counts(&reply.arguments["others"]));
        for circuit in reply.arguments["circuits"].as_array().into_iter().flatten() {
            let place = place(circuit, node);
            // Relays may be more than one on the way from a circuit.
            let mut key = place.clone();
            if key["circuit-id"].is_string() || key["remote-id"].is_string() {
                key["relay"].take();
            }
            let row = rows.entry(key.to_string()).or_insert(Row { place, counts: [0; 4] });
            add(&mut row.counts, counts(circuit));
        }
    }
    let mut rows: Vec<Row> = rows.into_values().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.counts[..2].to_vec()));
    for row in rows.split_off(options.limit.min(rows.len())) {
        add(&mut others, row.counts);
    }
    match output {
        Output::Json => {
            let silent: Vec<u64> = silent.iter().map(|node| node.id).collect();
            let shown = rows.iter().map(|row| with(row.place.clone(), row.counts));
            let circuits: Vec<Value> = shown.collect();
            let others = with(json!({}), others);
            say_line!("{}", json!({ "circuits": circuits, "others": others, "not-asked": silent }));
        }
        Output::Table => {
            let silent: Vec<String> = silent.iter().map(|node| node.title()).collect();
            if !silent.is_empty() {
                say_line!("No word from node {}: what it counted is not in.\n", silent.join(", "));
            }
            say!("{}", text(&rows, others));
        }
    }
    Ok(())
}

fn text(rows: &[Row], others: [u64; 4]) -> String {
    if rows.is_empty() && others == [0; 4] {
        return "No client has asked for an address yet.\n".to_owned();
    }
    let cells = |names: [String; 4], counts: [u64; 4]| -> [String; 8] {
        let [circuit, remote, relay, interface] = names;
        let [discovers, first, hold, new] = counts.map(|count| count.to_string());
        [circuit, remote, relay, interface, discovers, first, hold, new]
    };
    let name = |place: &Value, key: &str| place[key].as_str().unwrap_or_default().to_owned();
    let mut lines: Vec<[String; 8]> = rows
        .iter()
        .map(|Row { place, counts }| {
            let mut interface = name(place, "interface");
            if let Some(node) = place["node"].as_u64() {
                interface = format!("{interface} of node {node}");
            }
            let [circuit, remote, relay] =
                ["circuit-id", "remote-id", "relay"].map(|key| name(place, key));
            cells([circuit, remote, relay, interface], *counts)
        })
        .collect();
    if others != [0; 4] {
        let names = ["(others)", "", "", ""].map(str::to_owned);
        lines.push(cells(names, others));
    }
    let head = [
        "CIRCUIT",
        "REMOTE",
        "RELAY",
        "INTERFACE",
        "DISCOVERS",
        "FIRST LEASES",
        "HOLD LIMIT",
        "NEW-CLIENT LIMIT",
    ];
    table(head, &lines)
}

/// What names the circuit. Interfaces of two nodes are two, whatever they are called.
fn place(circuit: &Value, node: &Node) -> Value {
    let mut place = json!({});
    for key in ["circuit-id", "remote-id", "relay", "interface"] {
        if circuit[key].is_string() {
            place[key] = circuit[key].clone();
        }
    }
    if place["interface"].is_string() {
        place["node"] = node.id.into();
    }
    place
}

fn counts(value: &Value) -> [u64; 4] {
    COUNTS.map(|name| value[name].as_u64().unwrap_or(0))
}

fn add(sum: &mut [u64; 4], more: [u64; 4]) {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

fn with(mut place: Value, counts: [u64; 4]) -> Value {
    COUNTS.iter().zip(counts).for_each(|(name, count)| place[*name] = count.into());
    place
}
