//! `cluster-ctl config`.
//!
//! Files go to the node as text, comments and all: it has the parser of Kea's dialect, and names
//! mistakes with the lines of the file.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::history;
use crate::Output;
use crate::client::{Client, Failure, Reply};
use crate::dialect::{self, Source};

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
        #[command(flatten)]
        change: Change,
    },
    /// Check a Kea configuration file without changing anything
    Test {
        /// The file; - for standard input
        file: PathBuf,
    },
    /// The versions that are kept: when, who, why
    History {
        /// Answer from what the node has, also without a leader
        #[arg(long)]
        local: bool,
    },
    /// One version as it was given, comments and all
    Show {
        /// Its number; the one in force if it is not given
        version: Option<u64>,
        /// Answer from what the node has, also without a leader
        #[arg(long)]
        local: bool,
    },
    /// What changed between two versions, as diff -u prints it; exit status 0 also if they differ
    Diff {
        /// The older one
        from: u64,
        /// The newer one; the one in force if it is not given
        to: Option<u64>,
        /// Compare the files as given, comments and layout too
        #[arg(long, conflicts_with = "meaning")]
        source: bool,
        /// Compare what they say: comments gone, one value a line
        #[arg(long)]
        meaning: bool,
        /// Answer from what the node has, also without a leader
        #[arg(long)]
        local: bool,
    },
    /// Make an earlier version the cluster's again, as a new version
    Rollback {
        /// Its number
        version: u64,
        #[command(flatten)]
        change: Change,
    },
}

/// What a change says of itself.
#[derive(Debug, clap::Args)]
pub struct Change {
    /// What it is for, for the history
    #[arg(short = 'm', long)]
    comment: Option<String>,
    /// Change nothing if another version than this is in force
    #[arg(long, value_name = "VERSION")]
    expected: Option<u64>,
    /// Who makes it. Default: user@host
    #[arg(long)]
    author: Option<String>,
}

impl Change {
    /// One with this comment, of whoever runs the program.
    pub fn of(comment: String) -> Change {
        Change { comment: Some(comment), expected: None, author: None }
    }

    /// Adds it to the arguments of a command.
    pub fn add_to(self, arguments: &mut Value) {
        arguments["author"] = self.author.unwrap_or_else(whoami).into();
        if let Some(comment) = self.comment {
            arguments["comment"] = comment.into();
        }
        if let Some(expected) = self.expected {
            arguments["expected-version"] = expected.into();
        }
    }
}

/// The user and the machine as far as they are known. A claim, not a proof.
fn whoami() -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = variable("SUDO_USER").or_else(|| variable("USER")).or_else(user_of_process);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut author = format!("{}@{}", user.as_deref().unwrap_or("somebody"), host.trim());
    author.truncate(author.floor_char_boundary(MAX_AUTHOR));
    author
}

/// The name of the user that this process runs as; the number if it has none.
fn user_of_process() -> Option<String> {
    let uid = std::fs::metadata("/proc/self").ok()?.uid().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    Some(name.unwrap_or(uid))
}

/// A node takes a little more.
const MAX_AUTHOR: usize = 120;

/// Runs it.
pub fn run(client: &Client, command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Get { local } => get(client, local, output),
        Command::Set { file, change } => {
            let source = dialect::read(&file).map_err(Failure::Usage)?;
            let mut arguments = json!({ "document": source.text });
            change.add_to(&mut arguments);
            send(client, "config-set", &file, &source, arguments, output)
        }
        Command::Test { file } => {
            let source = dialect::read(&file).map_err(Failure::Usage)?;
            let arguments = json!({ "document": source.text });
            send(client, "config-test", &file, &source, arguments, output)
        }
        Command::History { local } => history::list(client, local, output),
        Command::Show { version, local } => history::show(client, version, local, output),
        Command::Diff { from, to, source, meaning, local } => {
            let of = match (source, meaning) {
                (true, _) => Some("source"),
                (_, true) => Some("document"),
                _ => None,
            };
            history::diff(client, (from, to), of, local, output)
        }
        Command::Rollback { version, change } => {
            let mut arguments = json!({ "version": version });
            change.add_to(&mut arguments);
            history::rollback(client, arguments, output)
        }
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

fn send(
    client: &Client,
    command: &str,
    file: &Path,
    source: &Source,
    arguments: Value,
    output: Output,
) -> Result<(), Failure> {
    let reply = submit(client, command, file, source, arguments)?;
    if output == Output::Json {
        say_line!("{}", json!({ "text": reply.text, "arguments": reply.arguments }));
        return Ok(());
    }
    let warnings = reply.arguments["warnings"].as_array().into_iter().flatten();
    for warning in warnings.filter_map(Value::as_str) {
        eprintln!("warning: {warning}");
    }
    match (reply.arguments["version"].as_u64(), reply.arguments["hash"].as_str()) {
        (Some(version), Some(hash)) => {
            say_line!("The configuration is in force as version {version}, hash {hash}.");
        }
        _ => say_line!("The configuration is good. Nothing was changed."),
    }
    Ok(())
}

/// Sends a configuration with `config-test` or `config-set`; places in the answer are those of the files.
///
/// # Errors
/// When it is not taken: every mistake with its place.
pub fn submit(
    client: &Client,
    command: &str,
    file: &Path,
    source: &Source,
    arguments: Value,
) -> Result<Reply, Failure> {
    let mut reply = client.ask_large(command, arguments, source.text.len())?;
    reply.text = source.translate(&reply.text);
    if let Some(warnings) = reply.arguments["warnings"].as_array_mut() {
        for warning in warnings {
            *warning = source.translate(warning.as_str().unwrap_or_default()).into();
        }
    }
    if reply.result == CONFLICT {
        return Err(Failure::Refused(reply.text));
    }
    if reply.result != 0 {
        return Err(Failure::Refused(format!("{}:\n{}", file.display(), reply.text)));
    }
    Ok(reply)
}

/// Kea's result code for what contradicts the state of things.
const CONFLICT: i64 = 4;
