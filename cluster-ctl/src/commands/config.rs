//! `cluster-ctl config`.
//!
//! Files go to the node as text: it has the parser of Kea's dialect, and names mistakes with the
//! lines of the file.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::Output;
use crate::client::{Client, Failure};
use crate::dialect;

/// What to do with the configuration.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Print it, ready to be edited and set again
    Get {
        /// Answer from what the node has, also without a leader
        #[arg(long)]
        local: bool,
    },
    /// Check a Kea configuration file and make it the cluster's
    Set {
        /// The file; - for standard input
        file: PathBuf,
    },
    /// Check a Kea configuration file without changing anything
    Test {
        /// The file; - for standard input
        file: PathBuf,
    },
}

/// Runs it.
pub fn run(client: &Client, command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Get { local } => get(client, local, output),
        Command::Set { file } => send(client, "config-set", &file, output),
        Command::Test { file } => send(client, "config-test", &file, output),
    }
}

fn get(client: &Client, local: bool, output: Output) -> Result<(), Failure> {
    let arguments = if local { json!({ "consistency": "local" }) } else { Value::Null };
    let mut arguments = client.ask("config-get", arguments)?.success()?.arguments;
    if output == Output::Json {
        say_line!("{arguments}");
        return Ok(());
    }
    let document = json!({ "Dhcp4": arguments["Dhcp4"].take() });
    match serde_json::to_string_pretty(&document) {
        Ok(text) => say_line!("{text}"),
        Err(error) => return Err(Failure::Refused(error.to_string())),
    }
    Ok(())
}

fn send(client: &Client, command: &str, file: &Path, output: Output) -> Result<(), Failure> {
    let (text, pasted) = dialect::read(file).map_err(Failure::Usage)?;
    let reply = client.ask(command, json!({ "document": text }))?;
    if reply.result != 0 {
        let name = file.display();
        let hint = if pasted { "\nLines count with the included files pasted." } else { "" };
        return Err(Failure::Refused(format!(
            "{name}:\n{}{hint}",
            named(&reply.text, &name.to_string())
        )));
    }
    if output == Output::Json {
        say_line!("{}", json!({ "text": reply.text, "arguments": reply.arguments }));
        return Ok(());
    }
    let warnings = reply.arguments["warnings"].as_array().into_iter().flatten();
    for warning in warnings.filter_map(Value::as_str) {
        eprintln!("warning: {}", named(warning, &file.display().to_string()));
    }
    match reply.arguments["hash"].as_str() {
        Some(hash) => say_line!("The configuration is in force, hash {hash}."),
        None => say_line!("The configuration is good. Nothing was changed."),
    }
    Ok(())
}

/// The node calls the text it got "document"; the operator knows it by the name of the file.
fn named(text: &str, file: &str) -> String {
    text.replace("(document:", &format!("({file}:")).replace("document:", &format!("{file}:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_name_the_file() {
        assert_eq!(named("bad keyword (document:2:3)", "kea.conf"), "bad keyword (kea.conf:2:3)");
        assert_eq!(named("document:1:1: strange", "kea.conf"), "kea.conf:1:1: strange");
    }
}
