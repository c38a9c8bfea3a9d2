//! `cluster-ctl`: the operator's command line for a Leasehold cluster.
//!
//! It speaks the control API of any node, over HTTP; writes reach the leader through whichever node
//! is asked. Exit status: 0 done; 1 the cluster said no, or has no leader; 2 wrong usage, or no node
//! answered. With `-o json` a failure is JSON on standard output too: `{"error": "…", "kind": "refused"}`, or
//! `usage`, or `unreachable`.

/// Prints to standard output. Whoever reads it may stop (`| head`): that ends the program quietly.
macro_rules! say {
    ($($words:tt)*) => { $crate::output::say(format_args!($($words)*)) };
}

/// [`say!`] and a line's end.
macro_rules! say_line {
    ($($words:tt)*) => { $crate::output::say(format_args!("{}\n", format_args!($($words)*))) };
}

mod access;
mod client;
mod commands;
mod dialect;
mod export;
mod import;
mod output;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use client::{Client, Failure};

/// Look after a Leasehold cluster through any of its nodes.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Args {
    /// Control address of a node, http://ADDR:8000 or https://ADDR:8443. May be repeated: the first that answers is
    /// asked. Default: $LEASEHOLD_NODE (comma-separated), else http://127.0.0.1:8000
    #[arg(long = "node", value_name = "URL", global = true)]
    nodes: Vec<String>,
    #[command(flatten)]
    access: access::Options,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, global = true)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    #[default]
    Table,
    /// For scripts
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Nodes, leader, term, applied index, lag, readiness. Works on any node, with or without a
    /// leader; exit status 1 when there is none
    Status,
    /// Who leads
    #[command(subcommand)]
    Leader(commands::leader::Command),
    /// Members of the cluster, and the tokens with which new ones join
    #[command(subcommand)]
    Node(commands::node::Command),
    /// How the cluster is to be led
    #[command(subcommand)]
    Policy(commands::policy::Command),
    /// Changing the program of all nodes, one after the other
    #[command(subcommand)]
    Upgrade(commands::upgrade::Command),
    /// Leases
    #[command(subcommand)]
    Lease(commands::lease::Command),
    /// Certificates for nodes and operators, for those who have no authority of their own
    #[command(subcommand)]
    Pki(commands::pki::Command),
    /// The cluster's configuration
    #[command(subcommand)]
    Config(commands::config::Command),
    /// Backups of the whole cluster: save one, look into it, make a new cluster from it
    #[command(subcommand)]
    Snapshot(commands::snapshot::Command),
    /// Whether all nodes have the same replicated state; exit status 1 when they differ
    HashCheck,
    /// After a majority was lost for good; and what a restored cluster holds back
    #[command(subcommand)]
    Recover(commands::recover::Command),
    /// One line for each node; exit status 0 when all are well, 1 when one is not, 2 when none answers
    Health,
    /// The status again and again, until Ctrl-C
    Watch(commands::watch::Options),
    /// What is the matter, as each node sees it, and what to do
    Alarms(commands::alarms::Options),
    /// Where new clients come from, and who had to wait
    Circuits(commands::circuits::Options),
    /// What helps to find out what went wrong
    #[command(subcommand)]
    Debug(commands::debug::Command),
    /// Whether a cluster, its disks and its log are fast enough
    #[command(subcommand)]
    Bench(commands::bench::Command),
    /// Configuration and leases of another server, into the cluster
    #[command(subcommand)]
    Import(commands::import::Command),
    /// Configuration and leases of the cluster, for another server
    #[command(subcommand)]
    Export(commands::export::Command),
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return mistaken(&error),
    };
    let nodes = match args.nodes.is_empty() {
        false => args.nodes,
        true => std::env::var("LEASEHOLD_NODE").map(split).unwrap_or_default(),
    };
    let output = args.output;
    let client = || Client::new(nodes, args.access);
    match run(args.command, client, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = failure.to_string();
            match output {
                _ if text.is_empty() => {}
                Output::Table => eprintln!("cluster-ctl: {text}"),
                Output::Json => {
                    say_line!("{}", serde_json::json!({ "error": text, "kind": failure.kind() }));
                }
            }
            match failure {
                Failure::Refused(_) => ExitCode::from(1),
                Failure::Usage(_) | Failure::Unreachable(_) => ExitCode::from(2),
            }
        }
    }
}

/// A mistake in the command line, or a wish for help: in the words of clap, or as JSON if that is asked for.
fn mistaken(error: &clap::Error) -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let asks = words.iter().any(|word| word == "-ojson" || word == "--output=json")
        || words
            .windows(2)
            .any(|two| matches!(two[0].as_str(), "-o" | "--output") && two[1] == "json");
    if !asks || !error.use_stderr() {
        error.exit();
    }
    let text = error.to_string();
    let text = text.trim_start_matches("error: ").trim_end();
    say_line!("{}", serde_json::json!({ "error": text, "kind": "usage" }));
    ExitCode::from(2)
}

/// Runs `command`. What works on files alone makes no `client`: it needs neither a node nor a password, and whatever
/// is wrong with the options for those does not matter to it.
fn run(
    command: Command,
    client: impl FnOnce() -> Result<Client, Failure>,
    output: Output,
) -> Result<(), Failure> {
    match command {
        Command::Pki(command) => commands::pki::run(command, output),
        Command::Bench(command) => commands::bench::run(client, command, output),
        Command::Snapshot(command) => commands::snapshot::run(client, command, output),
        Command::Recover(command) => commands::recover::run(client, command, output),
        Command::Status => commands::status::run(&client()?, output),
        Command::Leader(command) => commands::leader::run(&client()?, command, output),
        Command::Node(command) => commands::node::run(&client()?, command, output),
        Command::Upgrade(command) => commands::upgrade::run(&client()?, command, output),
        Command::Policy(command) => commands::policy::run(&client()?, command, output),
        Command::Lease(command) => commands::lease::run(&client()?, command, output),
        Command::Config(command) => commands::config::run(&client()?, command, output),
        Command::Import(command) => commands::import::run(&client()?, command, output),
        Command::Export(command) => commands::export::run(&client()?, command, output),
        Command::Health => commands::health::run(&client()?, output),
        Command::Watch(options) => commands::watch::run(&client()?, &options, output),
        Command::Alarms(options) => commands::alarms::run(&client()?, options, output),
        Command::Circuits(options) => commands::circuits::run(&client()?, options, output),
        Command::Debug(command) => commands::debug::run(&client()?, command, output),
        Command::HashCheck => commands::hash_check::run(&client()?, output),
    }
}

fn split(list: String) -> Vec<String> {
    list.split(',').map(str::trim).filter(|node| !node.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn global_options_may_follow_the_command() {
        let args = Args::parse_from([
            "cluster-ctl",
            "status",
            "-o",
            "json",
            "--node",
            "http://192.0.2.1:8000",
        ]);
        assert_eq!((args.output, args.nodes.len()), (Output::Json, 1));
    }
}
