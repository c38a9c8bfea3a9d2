//! The load generator of Kea, and the figures in what it prints.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};

use crate::floor::netns::topology::Namespace;
use crate::shell;

/// What perfdhcp counted for one half of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Half {
    pub sent: u64,
    pub received: u64,
    /// Sent and not answered within its drop time.
    pub drops: u64,
    /// Milliseconds.
    pub avg_delay_ms: f64,
    pub max_delay_ms: f64,
}

/// A run.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Load {
    pub discover_offer: Half,
    pub request_ack: Half,
}

impl Load {
    /// Drops of both halves in a thousand of what was sent.
    pub fn drops_per_mille(&self) -> f64 {
        let sent = self.discover_offer.sent + self.request_ack.sent;
        let drops = self.discover_offer.drops + self.request_ack.drops;
        if sent == 0 { 1000.0 } else { drops as f64 * 1000.0 / sent as f64 }
    }
}

/// Sends `rate` four-packet exchanges a second for `secs` seconds to `server`, each by another client. Runs with the same `crowd` are by the
/// same clients.
///
/// # Errors
/// When perfdhcp does not end or prints something else.
pub fn run(
    namespace: &Namespace,
    server: Ipv4Addr,
    rate: u32,
    secs: u32,
    crowd: u8,
) -> Result<Load> {
    // It numbers its clients from a base address upwards and begins again after so many.
    let clients = rate.saturating_mul(secs).saturating_mul(2);
    let mut command = namespace.command("perfdhcp");
    command.args([
        "-4".to_owned(),
        format!("-r{rate}"),
        format!("-p{secs}"),
        format!("-R{clients}"),
        "-b".to_owned(),
        format!("mac=00:0c:{crowd:02x}:00:00:00"),
        // Waits for the last answers before it counts, in microseconds.
        "-W1000000".to_owned(),
        server.to_string(),
    ]);
    // Its exit status is 3 when anything was dropped: that is for the caller to judge.
    let outcome = shell::run_any(&mut command, u64::from(secs) * 1000 + 30_000)?;
    parse(&outcome.stdout)
        .with_context(|| format!("perfdhcp printed\n{}{}", outcome.stdout, outcome.stderr))
}

/// Reads the report that perfdhcp prints at its end.
pub fn parse(text: &str) -> Option<Load> {
    let half = |title: &str| -> Option<Half> {
        let section = text.split_once(&format!("***Statistics for: {title}***"))?.1;
        let section = section.split("***Statistics for").next()?;
        let value = |key: &str| -> Option<&str> {
            section.lines().find_map(|line| line.trim().strip_prefix(key)?.trim().strip_prefix(':'))
        };
        let count = |key: &str| value(key)?.trim().parse::<u64>().ok();
        let delay = |key: &str| {
            value(key).and_then(|text| text.trim().trim_end_matches("ms").trim().parse().ok())
        };
        Some(Half {
            sent: count("sent packets")?,
            received: count("received packets")?,
            drops: count("drops")?,
            // Absent when nothing was received.
            avg_delay_ms: delay("avg delay").unwrap_or(0.0),
            max_delay_ms: delay("max delay").unwrap_or(0.0),
        })
    };
    Some(Load { discover_offer: half("DISCOVER-OFFER")?, request_ack: half("REQUEST-ACK")? })
}
