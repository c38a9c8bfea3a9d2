//! `cluster-ctl leader`.

use serde_json::json;

use crate::Output;
use crate::client::{Client, Failure};

/// What to do about the leader.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Hand leadership over; service goes on meanwhile
    Transfer {
        /// Id or name of the new leader; the cluster chooses if it is not given
        node: Option<String>,
    },
}

/// Runs it.
pub fn run(client: &Client, command: Command, output: Output) -> Result<(), Failure> {
    let Command::Transfer { node } = command;
    let arguments = node.map_or(json!({}), |node| json!({ "node": node }));
    let reply = client.ask("cluster-leader-transfer", arguments)?.success()?;
    match output {
        Output::Table => say_line!("{}", reply.text),
        Output::Json => {
            say_line!("{}", json!({ "text": reply.text, "arguments": reply.arguments }))
        }
    }
    Ok(())
}
