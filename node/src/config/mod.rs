//! Kea's configuration: text → elements with positions → checked by the tables of keywords →
//! inheritance resolved → typed, immutable [`Config`]; and back to JSON.
//!
//! Three ways in, one result: [`parse`] for files in Kea's dialect, [`from_text`] and [`from_json`]
//! for the control channel and the log, which speak plain JSON. Each finds every mistake at once, with position
//! and path, and gives the same configuration for the same document on every node. Nothing outside is touched:
//! includes come through a closure, and interfaces are looked up by whoever activates the result. Pure.

mod check;
mod classes;
pub mod edit;
mod global;
mod guards;
mod hooks;
mod host_index;
mod host_list;
mod hosts;
mod ids;
mod json;
#[cfg(test)]
mod keyword_tests;
mod lookup;
mod mistake;
mod model;
mod naming;
mod networks;
mod option_data;
mod option_def;
#[cfg(test)]
mod option_tests;
mod own;
mod parts;
mod paste;
mod placed;
mod pools;
mod print;
mod reader;
#[cfg(test)]
mod reference_tests;
#[cfg(test)]
mod reservation_tests;
mod reservations;
mod resolve;
#[cfg(test)]
mod scale_tests;
mod schema;
pub mod secrets;
mod shown_hosts;
mod small;
mod spelling;
mod subnet_list;
mod subnets;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod v4;

use std::sync::Arc;

use sha2::{Digest, Sha256};

pub use hosts::{Reservation, Reservations};
pub use mistake::{Mistake, Mistakes, text_of};
pub use model::*;
pub use paste::paste;
pub use secrets::HIDDEN;
pub use shown_hosts::{Host, HostCursor};
pub use small::{SmallBytes, SmallText};
pub use subnet_list::Subnets;

use crate::types::{SubnetId, UpperHex};
use check::Checker;
use json::{Element, Value};
use mistake::{Path, Report};
use placed::Placed;
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
        .and_then(|root| typed(root, text.len(), dialect, &mut report));
    let warnings = report.finish(text)?;
    Ok(Parsed { config: config.expect("without a mistake there is a configuration"), warnings })
}

/// `length` is about how many bytes the document will have.
fn typed(
    mut root: Element,
    length: usize,
    dialect: Dialect,
    report: &mut Report,
) -> Option<Config> {
    let path = Path::Key(&Path::Root, "Dhcp4");
    check_top(&root, dialect, report);
    if let Value::Map(map) = &mut root.value {
        for member in map.members.iter_mut().filter(|member| member.key == "Dhcp4") {
            if let Value::Map(dhcp4) = &mut member.value.value {
                ids::freeze(dhcp4, &path, report);
            }
        }
    }
    let element = root.map()?.get("Dhcp4")?;
    let dhcp4 = element.map()?;
    Checker { dialect, ..Checker::new(report) }.map(&schema::DHCP4, element, dhcp4, &path);
    // Keyword look-ups are cheap because maps are small; maps full of unknown keywords are not.
    if report.is_full() {
        return None;
    }
    if let Value::Map(map) = &mut root.value {
        for member in map.members.iter_mut().filter(|member| member.key == "Dhcp4") {
            if let Value::Map(dhcp4) = &mut member.value.value {
                spelling::modernise(dhcp4, &path, report);
            }
        }
    }
    let element = root.map()?.get("Dhcp4")?;
    let dhcp4 = element.map()?;
    let mut config = v4::build(element, dhcp4, report);
    if report.has_errors() {
        return None;
    }
    let Placed { text, mut spots } = placed::print(&root, length);
    // The element tree is large; it goes before the text is copied into its final place.
    drop(root);
    config.base = Unshown(String::from_utf8(text).expect("JSON is UTF-8").into());
    config.reservations.spot = spots.remove(&SubnetId(0)).unwrap_or_default();
    config.tally = *config.reservations.tally();
    for subnet in config.subnets.iter_mut() {
        subnet.reservations.spot = spots.remove(&subnet.id).unwrap_or_default();
        config.tally.add_all(subnet.reservations.tally());
    }
    config.names_classes = lookup::names_classes(&config);
    Some(config)
}

/// What was printed here. `serde_json` would change the last digit of some numbers.
fn read_back(text: &str) -> Element {
    let none = &mut |_: &str| Err("there are no includes in plain JSON".to_owned());
    let read = reader::read(text, Dialect::Wire, none, &mut Report::new(""));
    read.expect("what is printed here can be read")
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

/// How often the hash of a configuration with secrets is hashed again.
const SECRET_ROUNDS: u32 = 1 << 16;

impl Config {
    /// What the operator wrote, as compact plain JSON: `{"Dhcp4":{…}}` with comments gone, includes
    /// pasted, old spellings replaced and subnet ids filled in. [`from_text`] of it gives this
    /// configuration and this document. It has the secrets in it: not to be shown.
    ///
    /// The first to ask after a reservation has changed waits until it is put together.
    pub fn document(&self) -> &str {
        self.document.get_or_init(|| {
            let of_subnets = self.subnets.iter().map(|subnet| &subnet.reservations);
            let all = of_subnets.chain([&self.reservations]);
            let mut edited = all.filter(|reservations| reservations.is_edited()).peekable();
            match edited.peek() {
                None => Arc::clone(&self.base),
                Some(_) => placed::exchange(&self.base, edited),
            }
        })
    }

    /// About how many bytes [`Config::document`] has, without putting it together.
    pub fn document_len(&self) -> usize {
        self.document.get().unwrap_or(&self.base).len()
    }

    /// [`Config::document`] as a value, with its secrets. Large where the document is large.
    pub fn document_json(&self) -> serde_json::Value {
        read_back(self.document()).to_json()
    }

    /// The `Dhcp4` map of `config-get`: defaults filled in, inherited values repeated in subnets,
    /// keys in order, secrets hidden. Large where the document is large.
    pub fn to_json(&self) -> serde_json::Value {
        let mut json = self.to_json_with_secrets();
        secrets::hide(&mut json);
        json
    }

    /// [`Config::to_json`] **with its secrets**: for a file that a server starts from, never for a reply or
    /// a log.
    pub fn to_json_with_secrets(&self) -> serde_json::Value {
        let mut text = Vec::new();
        self.print(&mut |piece| text.extend_from_slice(piece));
        read_back(std::str::from_utf8(&text).expect("JSON is UTF-8")).to_json()
    }

    /// [`Config::to_json_with_secrets`] as compact text, piece by piece.
    pub fn print(&self, sink: &mut dyn FnMut(&[u8])) {
        let root = read_back(self.document());
        let dhcp4 = root.map().and_then(|root| root.get("Dhcp4")?.map());
        print::dhcp4(dhcp4.expect("the document has it"), &self.definitions, sink);
    }

    /// Kea's `config-hash-get`: SHA-256 in upper-case hexadecimal over the compact text of `config-get`.
    /// A configuration with secrets has a hash that takes some 50 ms: it changes with them, and who may see
    /// it must not find a weak password by trying.
    pub fn hash(&self) -> &str {
        self.hash.get_or_init(|| {
            let mut hasher = Sha256::new();
            hasher.update(b"{\"Dhcp4\":");
            self.print(&mut |piece| hasher.update(piece));
            hasher.update(b"}");
            let mut hash = hasher.finalize();
            if secrets::any(&read_back(self.document())) {
                for _ in 0..SECRET_ROUNDS {
                    hash = Sha256::digest(hash);
                }
            }
            UpperHex(&hash).to_string()
        })
    }
}
