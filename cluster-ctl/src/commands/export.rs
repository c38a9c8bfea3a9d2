//! `cluster-ctl export`: the way out.

use std::path::PathBuf;
use std::time::Duration;

use leasehold::config;
use serde_json::{Value, json};

use crate::Output;
use crate::client::{Client, Failure};
use crate::export::files::Whole;
use crate::export::kea::{self, Exported, Version};
use crate::import::lease::{Lease, Place};
use crate::import::memfile::{Columns, write_header, write_row};

/// For whom.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// A configuration file and a lease file as a Kea DHCPv4 server takes them.
    ///
    /// Both are of one moment each. Leases that clients get afterwards are not in the file: stop the service of
    /// all nodes first (dhcp-disable) when the Kea is to take over.
    Kea(Kea),
}

/// For a Kea server.
#[derive(Debug, clap::Args)]
pub struct Kea {
    /// Where the configuration goes
    #[arg(long, value_name = "FILE", required_unless_present = "leases")]
    config: Option<PathBuf>,
    /// Where the leases go, as Kea's memfile keeps them
    #[arg(long, value_name = "CSV")]
    leases: Option<PathBuf>,
    /// Which Kea is to take them
    #[arg(long, value_enum, default_value = "3.0")]
    kea: Version,
    /// Answer from what the node has, also without a leader
    #[arg(long)]
    local: bool,
}

/// A node gives up on an answer after so long.
const PATIENCE: Duration = Duration::from_secs(600);

/// Runs it.
pub fn run(client: &Client, command: Command, output: Output) -> Result<(), Failure> {
    let Command::Kea(Kea { config, leases, kea, local }) = command;
    let (mut notes, mut said) = (Vec::new(), json!({}));
    let mut lease_file = None;
    // Both are ready before either is put in its place.
    let config = match config {
        Some(path) => {
            let mut file = Whole::create(&path)?;
            let exported = configuration(client, kea, local)?;
            let text = serde_json::to_string_pretty(&exported.document)
                .map_err(|error| Failure::Refused(error.to_string()))?;
            file.write(|out| writeln!(out, "{text}"))?;
            lease_file = kea::lease_file(&exported.document).map(str::to_owned);
            notes = exported.notes;
            Some((path, file))
        }
        None => None,
    };
    let leases = match leases {
        Some(path) => {
            let mut file = Whole::create(&path)?;
            let count = write_leases(client, kea, local, &mut file)?;
            Some((path, file, count))
        }
        None => None,
    };
    let mut lines = Vec::new();
    if let Some((path, file)) = config {
        file.finish()?;
        said["config"] = path.display().to_string().into();
        lines.push(format!("The configuration is in {}.", path.display()));
    }
    if let Some((path, file, count)) = leases {
        file.finish()?;
        said["leases"] = path.display().to_string().into();
        said["lease-count"] = count.into();
        lines.push(format!("{count} leases are in {}.", path.display()));
        match &lease_file {
            Some(name) if *name != path.display().to_string() => {
                lines.push(format!("With this configuration Kea looks for them in {name}."));
            }
            Some(_) => {}
            None => lines.push(format!(
                "Kea looks for them in {DEFAULT} unless lease-database says another name."
            )),
        }
    }
    said["lease-file"] = lease_file.into();
    said["left-out"] = notes.iter().map(String::as_str).collect::<Value>();
    match output {
        Output::Json => say_line!("{said}"),
        Output::Table => {
            lines.iter().for_each(|line| say_line!("{line}"));
            if !notes.is_empty() {
                say_line!("\nNot as it was:");
            }
            notes.iter().for_each(|note| say_line!("  {note}"));
        }
    }
    Ok(())
}

/// Where Debian's Kea has its leases.
const DEFAULT: &str = "/var/lib/kea/kea-leases4.csv";

fn configuration(client: &Client, version: Version, local: bool) -> Result<Exported, Failure> {
    let arguments = if local { json!({ "consistency": "local" }) } else { json!({}) };
    let reply = client.ask("config-history-get", arguments)?.success()?;
    let text = reply.arguments["document"].as_str().unwrap_or_default();
    let mut none = |name: &str| Err(format!("{name}: it is pasted already"));
    let parsed = config::parse(text, "the configuration", &mut none);
    let parsed = parsed.map_err(|bad| Failure::Refused(bad.to_string()))?;
    Ok(kea::export(parsed.config.document_json(), version))
}

/// Writes every lease, and says how many.
fn write_leases(
    client: &Client,
    version: Version,
    local: bool,
    file: &mut Whole,
) -> Result<u64, Failure> {
    let columns = match version {
        Version::Kea2 => Columns::Kea2,
        Version::Kea3 => Columns::Kea3,
    };
    file.write(|out| write_header(columns, out))?;
    let consistency = if local { "local" } else { "linearizable" };
    let path = format!("/v1/leases?format=ndjson&consistency={consistency}");
    let mut count = 0;
    client.lines(&path, PATIENCE, &mut |line| {
        let bad = |why: &dyn std::fmt::Display| {
            Failure::Unreachable(format!("a lease of the cluster: {why}"))
        };
        let value: Value = serde_json::from_str(line).map_err(|error| bad(&error))?;
        let lease = Lease::from_json(&value, Place::default()).map_err(|why| bad(&why))?;
        file.write(|out| write_row(&lease, columns, out))?;
        count += 1;
        Ok(())
    })?;
    Ok(count)
}
