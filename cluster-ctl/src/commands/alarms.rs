//! `cluster-ctl alarms`: what is the matter, as each node that answers sees it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::each::Cluster;
use crate::Output;
use crate::client::{Client, Failure};
use crate::output::{table, utc};

/// Which alarms.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Those, too, that were taken note of
    #[arg(long)]
    all: bool,
    /// Take note of the alarms with this id, on every node that answers: they are not listed and counted
    /// any more until they are over
    #[arg(long, value_name = "ID")]
    ack: Option<String>,
    /// Only of the one about this
    #[arg(long, value_name = "WHAT", requires = "ack")]
    about: Option<String>,
}

/// Runs it.
pub fn run(client: &Client, options: Options, output: Output) -> Result<(), Failure> {
    let cluster = Cluster::find(client)?;
    match options.ack {
        Some(id) => acknowledge(client, &cluster, &id, options.about, output),
        None => list(client, &cluster, options.all, output),
    }
}

fn list(client: &Client, cluster: &Cluster, all: bool, output: Output) -> Result<(), Failure> {
    let answers = cluster.ask(client, "cluster-alarm-list", &json!({ "all": all }));
    let (mut alarms, mut silent) = (Vec::new(), Vec::new());
    for (node, reply) in answers {
        match reply.filter(|reply| reply.result == 0) {
            Some(reply) => {
                let own = reply.arguments["alarms"].as_array().cloned().unwrap_or_default();
                alarms.extend(own.into_iter().map(|alarm| (node.title(), alarm)));
            }
            None => silent.push(node),
        }
    }
    // Worst first; of the same, the oldest.
    alarms.sort_by_key(|(_, alarm)| {
        (alarm["severity"] != "critical", alarm["since"].as_i64(), alarm["node"].as_u64())
    });
    if output == Output::Json {
        let alarms: Vec<&Value> = alarms.iter().map(|(_, alarm)| alarm).collect();
        let silent: Vec<u64> = silent.iter().map(|node| node.id).collect();
        say_line!("{}", json!({ "alarms": alarms, "not-asked": silent }));
        return Ok(());
    }
    let silent: Vec<String> = silent.iter().map(|node| node.title()).collect();
    if !silent.is_empty() {
        say_line!("No word from node {}: its alarms are not known.\n", silent.join(", "));
    }
    if alarms.is_empty() {
        say_line!("No alarm.");
        return Ok(());
    }
    let text = |alarm: &Value, name: &str| alarm[name].as_str().unwrap_or_default().to_owned();
    let rows: Vec<[String; 6]> = alarms
        .iter()
        .map(|(title, alarm)| {
            let known = if alarm["acknowledged"] == true { " (known)" } else { "" };
            [
                text(alarm, "severity"),
                title.clone(),
                alarm["since"].as_i64().map(utc).unwrap_or_default(),
                format!("{}{known}", text(alarm, "id")),
                text(alarm, "about"),
                text(alarm, "text"),
            ]
        })
        .collect();
    say!("{}", table(["SEVERITY", "SEEN BY", "SINCE", "ID", "ABOUT", "WHAT"], &rows));
    let remedies: BTreeMap<String, (String, String)> = alarms
        .iter()
        .map(|(_, alarm)| (text(alarm, "id"), (text(alarm, "remedy"), text(alarm, "link"))))
        .collect();
    say_line!("\nWhat to do:");
    for (id, (remedy, link)) in remedies {
        say_line!("  {id}: {remedy} ({link})");
    }
    Ok(())
}

fn acknowledge(
    client: &Client,
    cluster: &Cluster,
    id: &str,
    about: Option<String>,
    output: Output,
) -> Result<(), Failure> {
    let mut arguments = json!({ "id": id });
    if let Some(about) = about {
        arguments["about"] = about.into();
    }
    let mut done: Vec<(u64, u64)> = Vec::new();
    let mut refused = None;
    for (node, reply) in cluster.ask(client, "cluster-alarm-ack", &arguments) {
        match reply {
            Some(reply) if reply.result == 0 => {
                done.push((node.id, reply.arguments["count"].as_u64().unwrap_or(0)));
            }
            // No such alarm there.
            Some(reply) if reply.result == 3 => {}
            Some(reply) => {
                refused = refused.or(Some(format!("node {}: {}", node.title(), reply.text)))
            }
            None => {}
        }
    }
    if let Some(why) = refused {
        return Err(Failure::Refused(why));
    }
    if done.is_empty() {
        return Err(Failure::Refused(format!("no node that answers has the alarm {id} now")));
    }
    match output {
        Output::Json => {
            let nodes: Vec<Value> =
                done.iter().map(|(node, count)| json!({ "node": node, "count": count })).collect();
            say_line!("{}", json!({ "id": id, "nodes": nodes }));
        }
        Output::Table => {
            for (node, count) in done {
                say_line!("node {node}: {count} alarm(s) {id} taken note of, until they are over");
            }
        }
    }
    Ok(())
}
