//! `cluster-ctl policy`.

use serde_json::{Value, json};

use crate::Output;
use crate::client::{Client, Failure};

/// What to do with the policy.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show it
    Get,
    /// Change it
    Set {
        /// Racks in which the leader should be, the most wanted first, separated by commas; empty for any.
        /// Leadership moves there by itself, once a minute at most
        #[arg(long, value_name = "RACKS")]
        leader_racks: String,
    },
}

/// Runs it.
pub fn run(client: &Client, command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Get => {
            let reply = client.ask("cluster-policy-get", Value::Null)?.success()?;
            match output {
                Output::Json => say_line!("{}", reply.arguments),
                Output::Table => {
                    let racks = reply.arguments["leader-racks"].as_array().into_iter().flatten();
                    let racks: Vec<&str> = racks.filter_map(Value::as_str).collect();
                    let shown = if racks.is_empty() { "any".to_owned() } else { racks.join(", ") };
                    say_line!("leader racks: {shown}");
                }
            }
        }
        Command::Set { leader_racks } => {
            let racks: Vec<&str> =
                leader_racks.split(',').map(str::trim).filter(|rack| !rack.is_empty()).collect();
            let reply =
                client.ask("cluster-policy-set", json!({ "leader-racks": racks }))?.success()?;
            match output {
                Output::Json => say_line!("{}", json!({ "text": reply.text })),
                Output::Table => say_line!("{}", reply.text),
            }
        }
    }
    Ok(())
}
