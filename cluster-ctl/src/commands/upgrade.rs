//! `cluster-ctl upgrade`.

use serde_json::{Value, json};

use super::leader::done;
use crate::Output;
use crate::client::{Client, Failure, Reply};
use crate::output::{table, utc};

/// What to do about an upgrade.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// The feature level in force, the program of each node, and whether the level can be raised
    Status,
    /// Raise the feature level, once all nodes run the new program. Afterwards no node can go back to an
    /// older program
    Finalize {
        /// Yes, no older program will be started any more
        #[arg(long)]
        yes: bool,
    },
}

/// Runs it.
pub fn run(client: &Client, command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Status => {
            let reply = client.ask("cluster-upgrade-status", Value::Null)?.success()?;
            match output {
                Output::Table => say!("{}", report(&reply)),
                Output::Json => say_line!("{}", reply.arguments),
            }
            Ok(())
        }
        Command::Finalize { yes: false } => Err(Failure::Usage(
            "once the feature level is raised, no older program can be started on any node, and there is no way back: \
             look at cluster-ctl upgrade status, and say --yes"
                .into(),
        )),
        Command::Finalize { yes: true } => {
            done(&client.ask("cluster-upgrade-finalize", json!({}))?.success()?, output);
            Ok(())
        }
    }
}

fn report(reply: &Reply) -> String {
    let status = &reply.arguments;
    let mut out = format!("{}\n", reply.text);
    if let Some(since) = status["mixed-since"].as_i64() {
        out.push_str(&format!("Nodes run different programs since {}.\n", utc(since)));
    }
    let text = |node: &Value, name: &str| node[name].as_str().unwrap_or_default().to_owned();
    let row = |node: &Value| {
        let level = node["level"].as_u64().map_or("?".to_owned(), |level| level.to_string());
        [
            node["id"].to_string(),
            text(node, "name"),
            text(node, "liveness"),
            text(node, "version"),
            level,
        ]
    };
    let rows: Vec<_> = status["nodes"].as_array().into_iter().flatten().map(row).collect();
    out.push('\n');
    out.push_str(&table(["NODE", "NAME", "LIVENESS", "VERSION", "KNOWS LEVEL"], &rows));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_way_upgrade_is_shown_with_who_is_in_the_way() {
        let arguments = json!({"level": 1, "highest": 2, "can-finalize": false, "in-the-way": [2], "mixed": true,
            "mixed-since": 1_795_470_060, "nodes": [
                {"id": 1, "name": "rack-a", "version": "0.2.0", "level": 2, "liveness": "up"},
                {"id": 2, "name": "rack-b", "version": "0.1.0", "level": 1, "liveness": "up"},
                {"id": 3, "name": "3", "version": "", "level": null, "liveness": "down"}]});
        let text = "Feature level 1 is in force.".to_owned();
        let reply = Reply { result: 0, text, arguments, node: String::new() };
        assert_eq!(
            report(&reply),
            "Feature level 1 is in force.\n\
             Nodes run different programs since 2026-11-23 21:41:00Z.\n\n\
             NODE  NAME    LIVENESS  VERSION  KNOWS LEVEL\n\
             1     rack-a  up        0.2.0    2\n\
             2     rack-b  up        0.1.0    1\n\
             3     3       down               ?\n"
        );
    }
}
