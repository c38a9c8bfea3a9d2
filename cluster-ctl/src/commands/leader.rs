//! `cluster-ctl leader`.

use serde_json::{Value, json};

use crate::Output;
use crate::client::{Client, Failure, Reply};

/// What to do about the leader.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Who leads, as the node that is asked sees it; exit status 1 when it hears nobody
    Show,
    /// Hand leadership over; service goes on meanwhile
    Transfer {
        /// Id or name of the new leader; the cluster chooses if it is not given
        node: Option<String>,
    },
}

/// Runs it.
pub fn run(client: &Client, command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Show => show(client, output),
        Command::Transfer { node } => {
            let arguments = node.map_or(json!({}), |node| json!({ "node": node }));
            let reply = client.ask("cluster-leader-transfer", arguments)?.success()?;
            done(&reply, output);
            Ok(())
        }
    }
}

fn show(client: &Client, output: Output) -> Result<(), Failure> {
    let reply = client.ask("cluster-status", Value::Null)?.success()?;
    let status = &reply.arguments;
    let leader = &status["leader"];
    let name = status["nodes"]
        .as_array()
        .and_then(|nodes| nodes.iter().find(|node| node["id"] == *leader))
        .map(|node| node["name"].clone());
    let shown = json!({ "leader": leader, "name": name, "term": status["term"], "answered-by": reply.node });
    match output {
        Output::Json => say_line!("{shown}"),
        Output::Table if leader.is_null() => {}
        Output::Table => {
            let name = shown["name"].as_str().unwrap_or_default();
            say_line!("Node {leader} ({name}) leads, term {}.", status["term"]);
        }
    }
    match (leader, output) {
        (Value::Null, Output::Table) => {
            Err(Failure::Refused(format!("node {} hears no leader", status["node"])))
        }
        // Said already.
        (Value::Null, Output::Json) => Err(Failure::Refused(String::new())),
        _ => Ok(()),
    }
}

/// Prints what a change came to.
pub fn done(reply: &Reply, output: Output) {
    match output {
        Output::Table => say_line!("{}", reply.text),
        Output::Json => {
            say_line!("{}", json!({ "text": reply.text, "arguments": reply.arguments }))
        }
    }
}
