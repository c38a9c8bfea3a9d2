//! The load generator of Kea, and the figures in what it prints.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result};

use crate::floor::netns::process::Process;
use crate::floor::netns::sys::Signal;
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
    run_with(namespace, server, &Offer { rate, secs, crowd, clients, more: &[] })
        .map(|(load, _)| load)
}

/// What is sent to a server.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// Exchanges begun in a second.
    pub rate: u32,
    pub secs: u32,
    /// Runs with the same crowd are by the same clients.
    pub crowd: u8,
    /// How many clients there are; they come in turn.
    pub clients: u32,
    /// More options of perfdhcp's: `-i` sends DISCOVERs only, `-xt` tells when each message was sent and answered.
    pub more: &'a [&'a str],
}

/// As [`run`], for any offer; also gives all that perfdhcp printed.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    namespace: &Namespace,
    server: Ipv4Addr,
    offer: &Offer<'_>,
) -> Result<(Load, String)> {
    let Offer { rate, secs, crowd, clients, more } = *offer;
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
    ]);
    command.args(more).arg(server.to_string());
    // Its exit status is 3 when anything was dropped: that is for the caller to judge.
    let outcome = shell::run_any(&mut command, u64::from(secs) * 1000 + 30_000)?;
    let load = parse(&outcome.stdout)
        .with_context(|| format!("perfdhcp printed\n{}{}", outcome.stdout, outcome.stderr))?;
    Ok((load, outcome.stdout))
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
    // With DISCOVERs only there is no second half.
    let request_ack = match text.contains("***Statistics for: REQUEST-ACK***") {
        true => half("REQUEST-ACK")?,
        false => Half::default(),
    };
    Some(Load { discover_offer: half("DISCOVER-OFFER")?, request_ack })
}

/// A run without an end of its own, of clients that come again and again.
#[derive(Debug)]
pub struct Running {
    process: Process,
}

impl Running {
    /// Begins to send `rate` exchanges a second to `server`, by `clients` clients; what it prints goes to the new file `log`.
    ///
    /// # Errors
    /// When perfdhcp cannot be started.
    pub fn start(
        namespace: &Namespace,
        server: Ipv4Addr,
        rate: u32,
        clients: u32,
        log: &Path,
    ) -> Result<Running> {
        let mut command = namespace.command("perfdhcp");
        command.args(["-4", "-xt", "-b", "mac=00:0c:01:00:00:00"]);
        command.args([format!("-r{rate}"), format!("-R{clients}"), server.to_string()]);
        Ok(Running { process: Process::start(&mut command, log)? })
    }

    /// Ends it. What was under way then counts as dropped.
    ///
    /// # Errors
    /// When it does not print its report within two minutes.
    pub fn end(mut self) -> Result<(Load, Timed)> {
        self.process.signal(Signal::Interrupt)?;
        self.process.wait(120_000)?;
        let text = self.process.log();
        let read = parse(&text).zip(Timed::parse(&text));
        read.with_context(|| format!("perfdhcp printed\n{}", self.process.tail()))
    }
}

/// When each answered message was sent, in milliseconds since perfdhcp began, and after how many more it was answered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Timed {
    pub discover_offer: Vec<(f64, f64)>,
    pub request_ack: Vec<(f64, f64)>,
}

impl Timed {
    /// Reads what perfdhcp prints with `-xt`.
    pub fn parse(text: &str) -> Option<Timed> {
        let half = |title: &str| -> Option<Vec<(f64, f64)>> {
            let section = text.split_once(&format!("***Timestamps for packets: {title}***"))?.1;
            let section = section.split("***").next()?;
            let lines = section.lines().filter_map(|line| line.strip_prefix("sent / received:"));
            lines
                .map(|line| {
                    let (sent, received) = line.split_once('/')?;
                    let (sent, received) = (millis(sent)?, millis(received)?);
                    Some((sent, received - sent))
                })
                .collect()
        };
        Some(Timed { discover_offer: half("DISCOVER-OFFER")?, request_ack: half("REQUEST-ACK")? })
    }
}

/// Hours, minutes and seconds without anything between them, as `000102.123456`.
fn millis(text: &str) -> Option<f64> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), "0"));
    let whole: u64 = whole.parse().ok()?;
    let secs = whole / 10_000 * 3600 + whole / 100 % 100 * 60 + whole % 100;
    let fraction: f64 = format!("0.{fraction}").parse().ok()?;
    Some((secs as f64 + fraction) * 1000.0)
}

/// The median, the 99th of a hundred, and the longest of the answers to what was sent from `from` up to `to`, in milliseconds.
pub fn percentiles(timed: &[(f64, f64)], from: f64, to: f64) -> Option<[f64; 3]> {
    let within = timed.iter().filter(|(sent, _)| (from..to).contains(sent));
    let mut took: Vec<f64> = within.map(|(_, took)| *took).collect();
    took.sort_by(f64::total_cmp);
    let at = |share: f64| took.get((took.len() as f64 * share) as usize).copied();
    Some([at(0.5)?, at(0.99)?, *took.last()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_answers_are_read() {
        let text = "x\n***Timestamps for packets: DISCOVER-OFFER***\n\
                    sent / received: 000000.010000 / 000000.011500\n\
                    sent / received: 000102.500000 / 000102.502000\n\n\
                    ***Statistics for: REQUEST-ACK***\nsent packets: 1\n\
                    ***Timestamps for packets: REQUEST-ACK***\nsent / received: 000001 / 000001.000250\n";
        let timed = Timed::parse(text).expect("times");
        let [median, _, longest] = percentiles(&timed.discover_offer, 0.0, 1e9).expect("some");
        assert!((median - 2.0).abs() < 1e-6 && (longest - 2.0).abs() < 1e-6, "{timed:?}");
        let [only, ..] = percentiles(&timed.discover_offer, 0.0, 62_500.0).expect("one");
        assert!((only - 1.5).abs() < 1e-6, "{timed:?}");
        assert!((timed.request_ack[0].1 - 0.25).abs() < 1e-6, "{timed:?}");
        assert_eq!(percentiles(&timed.discover_offer, 0.0, 1.0), None);
        assert_eq!(Timed::parse("nothing"), None);
    }
}
