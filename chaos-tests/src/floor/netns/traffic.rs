//! Faults of the network: nftables rules on a bridge, and links that carry little.
//!
//! A rule on the bridge sees every frame between two ports, also what raw sockets send. Random loss is a rule, too, so that no queueing
//! discipline is needed.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::topology::Switch;
use crate::shell;

/// Makes the table that rules go into.
///
/// # Errors
/// When `nft` fails.
pub fn prepare(switch: &Switch) -> Result<()> {
    nft(switch, &["add", "table", "bridge", "chaos"])?;
    nft(
        switch,
        &[
            "add",
            "chain",
            "bridge",
            "chaos",
            "cuts",
            "{ type filter hook forward priority 0 ; policy accept ; }",
        ],
    )?;
    Ok(())
}

/// A rule that drops frames.
#[derive(Debug, Clone)]
pub struct Rule {
    handle: u64,
}

/// Drops what matches: an nftables expression, as in `iifname "n1" oifname "n2"`.
///
/// # Errors
/// When `nft` fails.
pub fn drop_frames(switch: &Switch, matching: &str) -> Result<Rule> {
    let printed = nft(
        switch,
        &[
            "--echo", "--handle", "add", "rule", "bridge", "chaos", "cuts", matching, "counter",
            "drop",
        ],
    )?;
    let handle = printed.rsplit("# handle ").next().and_then(|text| text.split_whitespace().next());
    let handle = handle
        .and_then(|text| text.parse().ok())
        .with_context(|| format!("no handle in: {printed}"))?;
    Ok(Rule { handle })
}

/// Drops what `from` sends to `to`, by port names.
///
/// # Errors
/// When `nft` fails.
pub fn cut_one_way(switch: &Switch, from: &str, to: &str) -> Result<Rule> {
    drop_frames(switch, &format!("iifname \"{from}\" oifname \"{to}\""))
}

/// Drops everything that goes in or out at `port`.
///
/// # Errors
/// When `nft` fails.
pub fn cut_port(switch: &Switch, port: &str) -> Result<[Rule; 2]> {
    Ok([
        drop_frames(switch, &format!("iifname \"{port}\""))?,
        drop_frames(switch, &format!("oifname \"{port}\""))?,
    ])
}

/// Lets no more than so many kilobits a second go out at `port`; what waits longer than 400 ms is lost (tbf).
///
/// # Errors
/// When `tc` fails.
pub fn narrow(switch: &Switch, port: &str, kbit: u64) -> Result<()> {
    let rate = format!("{kbit}kbit");
    let words = ["qdisc", "replace", "dev", port, "root", "tbf", "rate", &rate];
    let mut command: Command = switch.namespace.command("tc");
    shell::run(command.args(words).args(["burst", "3000", "latency", "400ms"])).map(drop)
}

/// Ends that, if it was so.
pub fn widen(switch: &Switch, port: &str) {
    let mut command: Command = switch.namespace.command("tc");
    // An error when it was not.
    let _ = shell::run(command.args(["qdisc", "del", "dev", port, "root"]));
}

/// Loses `per_mille` of a thousand frames.
///
/// # Errors
/// When `nft` fails.
pub fn lose(switch: &Switch, per_mille: u32) -> Result<Rule> {
    drop_frames(switch, &format!("numgen random mod 1000 < {per_mille}"))
}

/// Takes a rule away.
///
/// # Errors
/// When `nft` fails.
pub fn remove(switch: &Switch, rule: &Rule) -> Result<()> {
    nft(switch, &["delete", "rule", "bridge", "chaos", "cuts", "handle", &rule.handle.to_string()])
        .map(|_| ())
}

/// Takes every rule away.
///
/// # Errors
/// When `nft` fails.
pub fn heal(switch: &Switch) -> Result<()> {
    nft(switch, &["flush", "chain", "bridge", "chaos", "cuts"]).map(|_| ())
}

/// How many frames a rule has dropped.
///
/// # Errors
/// When `nft` fails or the rule is gone.
pub fn dropped(switch: &Switch, rule: &Rule) -> Result<u64> {
    let printed = nft(switch, &["--json", "--handle", "list", "chain", "bridge", "chaos", "cuts"])?;
    let parsed: Value = serde_json::from_str(&printed)?;
    let rules = parsed["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
    rules
        .iter()
        .map(|item| &item["rule"])
        .find(|found| found["handle"] == rule.handle)
        .and_then(|found| {
            found["expr"].as_array()?.iter().find_map(|part| part["counter"]["packets"].as_u64())
        })
        .context("the rule is gone")
}

/// The expression for a DHCP message of type `kind` from a client, whose option 53 begins `offset` bytes after the cookie.
///
/// nftables cannot search, but each client always writes its options in one order.
pub fn client_message(port: &str, kind: u8, offset: u16) -> String {
    // Bits from the start of the UDP header: 8 bytes of it, 240 of BOOTP and the cookie.
    let bits = (8 + 240 + u32::from(offset)) * 8;
    let mut text = format!("iifname \"{port}\" meta l4proto udp udp dport 67");
    let _ = write!(text, " @th,{bits},24 0x3501{kind:02x}");
    text
}

fn nft(switch: &Switch, args: &[&str]) -> Result<String> {
    let mut command: Command = switch.namespace.command("nft");
    shell::run(command.args(args))
}
