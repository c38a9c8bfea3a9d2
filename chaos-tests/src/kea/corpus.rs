//! The corpus: configurations, and under each the exchanges that are tried with it. It says nothing about what must come back.
//!
//! ```text
//! === members of a shared network        a configuration
//! only 3.0                               not for the other version
//! {                                      the `Dhcp4` map, to the line `}`
//!   "subnet4": [ … ]
//! }
//!
//! [phones get the phones' pool]          an exchange
//! client 60='phone' relay=10.2.0.1       words for all its packets
//! discover                               a packet (words.rs)
//! request 55=1,3,66
//! sleep 1200                             milliseconds
//! ```
//!
//! Each exchange is a client of its own unless it says `hw=` or `as=NAME`. The server is 10.1.0.1/24 on eth0 and 10.9.0.1/24 on eth1; every
//! configuration gets `interfaces-config` for both unless it has its own, and the sentinel's subnet.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::Version;
use super::words::{self, Verb, Word};

/// A configuration and what is tried with it.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Name of the file, without its ending.
    pub topic: String,
    pub name: String,
    /// Line in the file, from 1.
    pub line: usize,
    pub only: Option<Version>,
    /// The `Dhcp4` map.
    pub dhcp4: Value,
    pub exchanges: Vec<Exchange>,
}

/// Packets of one client.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub name: String,
    pub line: usize,
    pub only: Option<Version>,
    /// Words for all packets.
    pub client: Vec<Word>,
    pub steps: Vec<Step>,
}

/// One line of an exchange.
#[derive(Debug, Clone)]
pub enum Step {
    Packet {
        verb: Verb,
        words: Vec<Word>,
        text: String,
    },
    /// Milliseconds.
    Sleep(u64),
}

/// Reads the file `topic`.
///
/// # Errors
/// At the first line that is not understood; the message has its number.
pub fn parse(topic: &str, text: &str) -> Result<Vec<Setting>> {
    let mut settings: Vec<Setting> = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let number = at + 1;
        let place = || format!("{topic}, line {number}: {line}");
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("=== ") {
            settings.push(Setting {
                topic: topic.to_owned(),
                name: name.trim().to_owned(),
                line: number,
                only: None,
                dhcp4: Value::Null,
                exchanges: Vec::new(),
            });
            continue;
        }
        let setting = settings.last_mut().with_context(place)?;
        if line.starts_with('{') {
            let mut json = line.to_owned();
            while !json.ends_with("\n}") {
                let (_, more) = lines.next().context("the map does not end").with_context(place)?;
                json.push('\n');
                json.push_str(more);
            }
            setting.dhcp4 = serde_json::from_str(&json).with_context(place)?;
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            ensure!(!setting.dhcp4.is_null(), "{}: before a configuration", place());
            ensure!(
                setting.exchanges.iter().all(|other| other.name != name),
                "{}: the name is taken",
                place()
            );
            setting.exchanges.push(Exchange {
                name: name.to_owned(),
                line: number,
                only: None,
                client: Vec::new(),
                steps: Vec::new(),
            });
            continue;
        }
        statement(line, setting).with_context(place)?;
    }
    for setting in &settings {
        ensure!(!setting.exchanges.is_empty(), "{topic}: nothing is tried with {}", setting.name);
        for exchange in &setting.exchanges {
            ensure!(!exchange.steps.is_empty(), "{topic}: [{}] sends nothing", exchange.name);
        }
    }
    Ok(settings)
}

fn statement(line: &str, setting: &mut Setting) -> Result<()> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let exchange = setting.exchanges.last_mut();
    match (verb, exchange) {
        ("only", exchange) => {
            let version = Version::parse(rest.trim()).context("the versions are 2.2 and 3.0")?;
            match exchange {
                Some(exchange) => exchange.only = Some(version),
                None => setting.only = Some(version),
            }
        }
        (_, None) => bail!("before any exchange"),
        ("client", Some(exchange)) => exchange.client = words::parse(rest)?,
        ("sleep", Some(exchange)) => exchange.steps.push(Step::Sleep(rest.trim().parse()?)),
        (_, Some(exchange)) => {
            let verb =
                Verb::parse(verb).with_context(|| format!("the verb `{verb}` is unknown"))?;
            let words = words::parse(rest)?;
            exchange.steps.push(Step::Packet { verb, words, text: line.to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_named_with_its_line() {
        for (text, line) in [
            ("=== a\n{\n}\n[x]\nshout\n", "line 5"),
            ("discover\n", "line 1"),
            ("=== a\n[x]\ndiscover\n", "line 2"),
            ("=== a\n{\n  \"x\": \n}\n", "line 2"),
        ] {
            let error = parse("t", text).expect_err(text);
            assert!(format!("{error:#}").contains(line), "{error:#}");
        }
    }

    #[test]
    fn an_exchange_is_words_for_all_packets_and_packets() {
        let text = "=== a\n{\n}\n[x]\nonly 3.0\nclient as=bob\ndiscover 55=1,3\nsleep 5\nrequest\n";
        let settings = parse("t", text).expect("a corpus");
        let exchange = &settings[0].exchanges[0];
        assert_eq!((exchange.steps.len(), exchange.only), (3, Some(Version::V3)));
        assert_eq!(exchange.client, [Word::Named("bob".to_owned())]);
    }
}
