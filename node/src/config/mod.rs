//! Kea's configuration: text → elements with positions → checked by the tables of keywords →
//! inheritance resolved → typed, immutable [`Config`]; and back to JSON.
//!
//! Three ways in, one result: [`parse`] for files in Kea's dialect, [`from_text`] and [`from_json`]
//! for the control channel and the log, which speak plain JSON. Each finds every mistake at once, with position
//! and path, and gives the same configuration for the same document on every node. Nothing outside is touched:
//! includes come through a closure, and interfaces are looked up by whoever activates the result. Pure.

mod check;
mod global;
mod hooks;
mod json;
mod lookup;
mod mistake;
mod model;
mod option_data;
mod print;
mod reader;
mod reservations;
mod resolve;
mod schema;
#[cfg(test)]
mod tests;
mod v4;

use std::collections::HashSet;
use std::sync::Arc;

use sha2::{Digest, Sha256};

pub use mistake::{Mistake, Mistakes};
pub use model::*;

use check::Checker;
use json::{Element, Value};
use mistake::{Path, Report};
use reader::Dialect;

/// A configuration, and what its author should know about it.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The configuration.
    pub config: Config,
    /// Keywords that mean nothing here, subnets without ids, and the like.
    pub warnings: Vec<Mistake>,
}

/// Reads a file of Kea's dialect: `text` is its content, `source_name` its name in messages.
///
/// `loader` gives the content of an included file, or why it cannot; Kea takes relative names from the
/// working directory of the process.
pub fn parse(
    text: &str,
    source_name: &str,
    loader: &mut dyn FnMut(&str) -> Result<String, String>,
) -> Result<Parsed, Mistakes> {
    read(text, source_name, Dialect::File, loader)
}

/// Reads a document in plain JSON, such as the arguments of `config-set`: `{"Dhcp4": {…}}`.
/// Deterministic: every node that reads the same text has the same configuration.
pub fn from_text(text: &str) -> Result<Parsed, Mistakes> {
    read(text, "<wire>", Dialect::Wire, &mut |_| {
        Err("there are no includes in plain JSON".to_owned())
    })
}

/// [`from_text`] for a document that is parsed already; positions count in its compact form.
pub fn from_json(document: &serde_json::Value) -> Result<Parsed, Mistakes> {
    from_text(&document.to_string())
}

fn read(
    text: &str,
    source_name: &str,
    dialect: Dialect,
    loader: &mut dyn FnMut(&str) -> Result<String, String>,
) -> Result<Parsed, Mistakes> {
    let mut report = Report::new(source_name);
    let config = reader::read(text, dialect, loader, &mut report)
        .and_then(|root| typed(root, dialect, &mut report));
    let warnings = report.finish()?;
    Ok(Parsed { config: config.expect("without a mistake there is a configuration"), warnings })
}

fn typed(mut root: Element, dialect: Dialect, report: &mut Report) -> Option<Config> {
    let path = Path::Key(&Path::Root, "Dhcp4");
    check_top(&root, dialect, report);
    if let Value::Map(map) = &mut root.value {
        for member in map.members.iter_mut().filter(|member| member.key == "Dhcp4") {
            if let Value::Map(dhcp4) = &mut member.value.value {
                v4::freeze_ids(dhcp4, &path, report);
            }
        }
    }
    let element = root.map()?.get("Dhcp4")?;
    let dhcp4 = element.map()?;
    Checker { report, dialect, noted: HashSet::new() }.map(&schema::DHCP4, element, dhcp4, &path);
    // Keyword look-ups are cheap because maps are small; maps full of unknown keywords are not.
    if report.is_full() {
        return None;
    }
    let config = v4::build(element, dhcp4, report);
    if report.has_errors() {
        return None;
    }
    Some(Config { document: Arc::new(root.into_json()), ..config })
}

/// The document is a map with the one member `Dhcp4`, which is a map.
fn check_top(root: &Element, dialect: Dialect, report: &mut Report) {
    let wire = dialect == Dialect::Wire;
    let Some(map) = root.map() else {
        let text = if wire {
            "Missing mandatory 'Dhcp4' parameter.".to_owned()
        } else {
            format!("syntax error, unexpected {}, expecting {{", root.kind())
        };
        return report.error(root.at, &Path::Root, text);
    };
    for member in map.members.iter().filter(|member| member.key != "Dhcp4") {
        let text = if wire {
            format!("Unsupported '{}' parameter.", member.key)
        } else {
            format!("got unexpected keyword \"{}\" in toplevel map.", member.key)
        };
        report.error(member.at, &Path::Root, text);
    }
    match map.get("Dhcp4") {
        None => report.error(root.at, &Path::Root, "Missing mandatory 'Dhcp4' parameter."),
        Some(dhcp4) if dhcp4.map().is_none() => {
            report.error(dhcp4.at, &Path::Root, "'Dhcp4' parameter expected to be a map.");
        }
        Some(_) => {}
    }
}

impl Config {
    /// What the operator wrote, as plain JSON: `{"Dhcp4": {…}}` with comments gone, includes pasted and
    /// subnet ids filled in. [`from_json`] of it gives this configuration.
    pub fn document(&self) -> &serde_json::Value {
        &self.document
    }

    /// The `Dhcp4` map of `config-get`: defaults filled in, inherited values repeated in subnets,
    /// keys in order.
    pub fn to_json(&self) -> serde_json::Value {
        let root = Element::from_json(&self.document);
        match root.map().and_then(|map| map.get("Dhcp4")).and_then(Element::map) {
            Some(dhcp4) => print::dhcp4(dhcp4),
            None => serde_json::Value::Null,
        }
    }

    /// Kea's `config-hash-get`: SHA-256 in upper-case hexadecimal over the compact text of `config-get`.
    pub fn hash(&self) -> &str {
        self.hash.get_or_init(|| {
            let text = format!("{{\"Dhcp4\":{}}}", self.to_json());
            Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02X}")).collect()
        })
    }
}
