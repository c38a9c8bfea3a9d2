//! `cluster-ctl lease`.

use serde_json::{Value, json};

use crate::Output;
use crate::client::{Client, Failure};
use crate::output::{table, utc};

/// Leases a request to the node.
const PAGE: usize = 1000;

/// What to do with leases.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// All leases, ascending by address
    List {
        /// Only those of this subnet id
        #[arg(long)]
        subnet: Option<u32>,
        /// Answer from what the node has, also without a leader
        #[arg(long)]
        local: bool,
    },
    /// The lease of one address
    Get {
        /// The address
        address: std::net::Ipv4Addr,
        /// Answer from what the node has, also without a leader
        #[arg(long)]
        local: bool,
    },
    /// Delete a lease. Its client is not told: the address may go to another while it is in use
    Delete {
        /// The address
        address: std::net::Ipv4Addr,
    },
}

/// Runs it.
pub fn run(client: &Client, command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::List { subnet, local } => list(client, subnet, local, output),
        Command::Get { address, local } => {
            let arguments = reading(json!({ "ip-address": address.to_string() }), local);
            let lease = client.ask("lease4-get", arguments)?.success()?.arguments;
            show(&[lease], output);
            Ok(())
        }
        Command::Delete { address } => {
            let reply = client
                .ask("lease4-del", json!({ "ip-address": address.to_string() }))?
                .success()?;
            match output {
                Output::Table => say_line!("{}", reply.text),
                Output::Json => say_line!("{}", json!({ "text": reply.text })),
            }
            Ok(())
        }
    }
}

fn reading(mut arguments: Value, local: bool) -> Value {
    if local {
        arguments["consistency"] = "local".into();
    }
    arguments
}

fn list(client: &Client, subnet: Option<u32>, local: bool, output: Output) -> Result<(), Failure> {
    let mut leases: Vec<Value> = Vec::new();
    if let Some(subnet) = subnet {
        let arguments = reading(json!({ "subnets": [subnet] }), local);
        leases = take(client.ask("lease4-get-all", arguments)?.success_or_empty()?.arguments);
    } else {
        loop {
            let last = leases.last().and_then(|lease| lease["ip-address"].as_str());
            let from = last.unwrap_or("start").to_owned();
            let arguments = reading(json!({ "from": from, "limit": PAGE }), local);
            let page =
                take(client.ask("lease4-get-page", arguments)?.success_or_empty()?.arguments);
            let more = page.len() == PAGE;
            leases.extend(page);
            if !more {
                break;
            }
        }
    }
    show(&leases, output);
    if output == Output::Table {
        say_line!("{} lease(s)", leases.len());
    }
    Ok(())
}

fn take(mut arguments: Value) -> Vec<Value> {
    match arguments["leases"].take() {
        Value::Array(leases) => leases,
        _ => Vec::new(),
    }
}

fn show(leases: &[Value], output: Output) {
    match output {
        Output::Json => say_line!("{}", Value::from(leases)),
        Output::Table => {
            let rows: Vec<_> = leases.iter().map(row).collect();
            say!(
                "{}",
                table(
                    [
                        "ADDRESS",
                        "HW-ADDRESS",
                        "CLIENT-ID",
                        "SUBNET",
                        "STATE",
                        "EXPIRES",
                        "HOSTNAME"
                    ],
                    &rows
                )
            );
        }
    }
}

fn row(lease: &Value) -> [String; 7] {
    let text = |name: &str| lease[name].as_str().unwrap_or_default().to_owned();
    let number = |name: &str| lease[name].as_i64().unwrap_or_default();
    let expires = match number("valid-lft") {
        4_294_967_295 => "never".to_owned(),
        lifetime => utc(number("cltt").saturating_add(lifetime)),
    };
    let state = match number("state") {
        0 => "assigned".to_owned(),
        1 => "declined".to_owned(),
        2 => "expired".to_owned(),
        3 => "released".to_owned(),
        other => other.to_string(),
    };
    let subnet = number("subnet-id").to_string();
    [
        text("ip-address"),
        text("hw-address"),
        text("client-id"),
        subnet,
        state,
        expires,
        text("hostname"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_without_end_never_expires() {
        let lease = json!({"ip-address": "192.0.2.1", "cltt": 0, "valid-lft": 4_294_967_295u32, "state": 0});
        assert_eq!(row(&lease)[5], "never");
        assert_eq!(
            row(&json!({"cltt": 1, "valid-lft": 9, "state": 3}))[4..6],
            ["released", "1970-01-01 00:00:10Z"]
        );
    }
}
