//! Changes of a part of the configuration: what `subnet4-add`, `reservation-del` and their kin do
//! to it (R25).
//!
//! An [`Edit`] is small and travels in the log as it is. What it comes to depends on the
//! configuration in force alone, so that every node finds the same: a new configuration, or a
//! [`NoEdit`] in Kea's words. Pure.
//!
//! An edit changes the elements of the document ([`apply`], by verb); then the whole is checked and
//! built as a document is, so that no edit makes a configuration that `config-set` would refuse, and
//! the document of the result says what the result is.

mod classes;
mod delta;
mod host_places;
mod networks;
#[cfg(test)]
mod reservation_tests;
mod reservations;
mod subnets;
#[cfg(test)]
mod tests;
mod tree;

pub(super) use tree::{name_of, place_of};

use std::sync::Arc;

use host_places::HostPlaces;

use super::json::{Element, Map, Value};
use super::mistake::Report;
use super::reader::{self, Dialect};
use super::{Config, typed};
use crate::options::Definitions;
use crate::types::{Prefix, SubnetId};

/// A change of a part of the configuration, as it travels in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What is done.
    pub verb: Verb,
    /// The arguments of the command, as compact JSON. At most [`Edit::MOST`] bytes.
    pub arguments: Box<str>,
}

impl Edit {
    /// The longest arguments, bytes. Whoever has more to say uses `config-set`.
    pub const MOST: usize = 256 << 10;
}

impl Verb {
    /// Every verb and its command.
    pub const ALL: [(Verb, &str); 15] = [
        (Verb::SubnetAdd, "subnet4-add"),
        (Verb::SubnetUpdate, "subnet4-update"),
        (Verb::SubnetDel, "subnet4-del"),
        (Verb::SubnetDeltaAdd, "subnet4-delta-add"),
        (Verb::SubnetDeltaDel, "subnet4-delta-del"),
        (Verb::NetworkAdd, "network4-add"),
        (Verb::NetworkDel, "network4-del"),
        (Verb::NetworkSubnetAdd, "network4-subnet-add"),
        (Verb::NetworkSubnetDel, "network4-subnet-del"),
        (Verb::ClassAdd, "class-add"),
        (Verb::ClassUpdate, "class-update"),
        (Verb::ClassDel, "class-del"),
        (Verb::ReservationAdd, "reservation-add"),
        (Verb::ReservationUpdate, "reservation-update"),
        (Verb::ReservationDel, "reservation-del"),
    ];

    /// The Kea command of that name.
    pub fn name(self) -> &'static str {
        Verb::ALL.iter().find(|(verb, _)| *verb == self).map_or("", |(_, name)| name)
    }

    /// The verb of this number.
    pub fn from_number(number: u8) -> Option<Verb> {
        Verb::ALL.iter().find(|(verb, _)| *verb as u8 == number).map(|(verb, _)| *verb)
    }
}

/// What an [`Edit`] does; each is the Kea command of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Verb {
    /// `subnet4-add`.
    SubnetAdd = 1,
    /// `subnet4-update`.
    SubnetUpdate = 2,
    /// `subnet4-del`.
    SubnetDel = 3,
    /// `subnet4-delta-add`.
    SubnetDeltaAdd = 4,
    /// `subnet4-delta-del`.
    SubnetDeltaDel = 5,
    /// `network4-add`.
    NetworkAdd = 6,
    /// `network4-del`.
    NetworkDel = 7,
    /// `network4-subnet-add`.
    NetworkSubnetAdd = 8,
    /// `network4-subnet-del`.
    NetworkSubnetDel = 9,
    /// `class-add`.
    ClassAdd = 10,
    /// `class-update`.
    ClassUpdate = 11,
    /// `class-del`.
    ClassDel = 12,
    /// `reservation-add`.
    ReservationAdd = 13,
    /// `reservation-update`.
    ReservationUpdate = 14,
    /// `reservation-del`.
    ReservationDel = 15,
}

/// Why an [`Edit`] changes nothing: the text is the reply's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoEdit {
    /// Which of Kea's results it is.
    pub kind: NoEditKind,
    /// In Kea's words.
    pub text: String,
}

/// Kea's results of an edit that changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoEditKind {
    /// Result 1: the arguments are wrong, or the configuration that would come of it.
    Error,
    /// Result 3: what is to be changed is not there.
    Empty,
    /// Result 4: against what there is.
    Conflict,
}

impl NoEdit {
    /// The longest text, bytes.
    const MOST: usize = 16 << 10;

    fn new(kind: NoEditKind, text: impl Into<String>) -> NoEdit {
        let mut text = text.into();
        text.truncate(text.floor_char_boundary(NoEdit::MOST));
        NoEdit { kind, text }
    }

    /// Result 1.
    pub fn error(text: impl Into<String>) -> NoEdit {
        NoEdit::new(NoEditKind::Error, text)
    }

    /// Result 3.
    pub fn empty(text: impl Into<String>) -> NoEdit {
        NoEdit::new(NoEditKind::Empty, text)
    }

    /// Result 4.
    pub fn conflict(text: impl Into<String>) -> NoEdit {
        NoEdit::new(NoEditKind::Conflict, text)
    }
}

/// A configuration that edits made of another.
#[derive(Debug, Clone)]
pub struct Edited {
    /// The configuration.
    pub config: Config,
    /// What each edit was about, in their order.
    pub changes: Vec<Changed>,
}

/// What an edit was about, as far as its reply says it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changed {
    /// The subnet: as it is now, or as it was if it is gone.
    pub subnet: Option<(SubnetId, Prefix)>,
    /// The name of the network or class; empty for none.
    pub name: String,
}

impl Config {
    /// The configuration that `edits` make of this one, in order. Costs what reading the document
    /// costs, whatever their number, unless all are about reservations: then the rest is not looked at.
    ///
    /// Edits that were made one by one come to the same when they are made at once; that is how a
    /// version of the history is found again. What only the typed configuration knows (the users of
    /// a class, [`classes::judge`]) is asked about an edit that is made alone.
    ///
    /// # Errors
    /// When one of them changes nothing, or makes no configuration. This one is as it was.
    pub fn edited(&self, edits: &[Edit]) -> Result<Edited, NoEdit> {
        if edits.iter().all(|edit| reservations::is_ours(edit.verb)) {
            return self.with_hosts_edited(edits);
        }
        self.rebuilt(edits)
    }

    fn with_hosts_edited(&self, edits: &[Edit]) -> Result<Edited, NoEdit> {
        let mut edited = Edited { config: self.clone(), changes: Vec::with_capacity(edits.len()) };
        for edit in edits {
            let mut report = Report::new("configuration in force");
            let (config, changed) = match reservations::made(&edited.config, edit, &mut report) {
                Ok(made) => made,
                Err(Stop::No(no)) => return Err(no),
                Err(Stop::Mistakes) => return Err(mistakes(report, "")),
            };
            edited.config = config;
            edited.changes.push(changed);
        }
        Ok(edited)
    }

    /// [`Config::edited`] by way of the whole document.
    fn rebuilt(&self, edits: &[Edit]) -> Result<Edited, NoEdit> {
        let mut report = Report::new("configuration in force");
        let text = self.document();
        let mut changes = Vec::with_capacity(edits.len());
        let made = self.elements(edits, &mut changes, &mut report);
        let mut config = None;
        if let Ok(root) = made {
            let length = edits.iter().fold(text.len(), |sum, edit| sum + edit.arguments.len());
            config = typed(root, length, Dialect::Wire, &mut report);
        } else if let Err(Stop::No(no)) = made {
            return Err(no);
        }
        let Some(config) = config else { return Err(mistakes(report, text)) };
        if let ([edit], [changed]) = (edits, changes.as_slice()) {
            classes::judge(edit, changed, self, &config)?;
        }
        Ok(Edited { config, changes })
    }

    /// The elements of the document with `edits` made in them; `changes` gets what they were about.
    fn elements(
        &self,
        edits: &[Edit],
        changes: &mut Vec<Changed>,
        report: &mut Report,
    ) -> Result<Element, Stop> {
        let mut root = read(self.document(), report)?;
        let mut hosts = HostPlaces::default();
        for edit in edits {
            let alone = edits.len() == 1;
            changes.push(self.apply(edit, alone, &mut root, &mut hosts, report)?);
        }
        hosts.settle(dhcp4_of(&mut root)?);
        Ok(root)
    }

    /// Makes one edit in the elements of the document. What it leaves is in the spelling of a
    /// document that was read, so that the next edit finds what it would find there. `alone`: this
    /// configuration is the one that it is made in.
    fn apply(
        &self,
        edit: &Edit,
        alone: bool,
        root: &mut Element,
        hosts: &mut HostPlaces,
        report: &mut Report,
    ) -> Result<Changed, Stop> {
        let arguments = arguments(edit, report)?;
        if alone {
            classes::no_user(edit, &arguments, self)?;
        }
        let dhcp4 = dhcp4_of(root)?;
        let around = matches!(edit.verb, Verb::SubnetAdd | Verb::ClassAdd);
        if !around && !reservations::is_ours(edit.verb) {
            hosts.settle(dhcp4);
        }
        let definitions = &self.definitions;
        let mut scene = Scene { verb: edit.verb, dhcp4, definitions, hosts, report };
        match edit.verb {
            Verb::SubnetAdd => subnets::add(&mut scene, arguments),
            Verb::SubnetUpdate => subnets::update(&mut scene, arguments),
            Verb::SubnetDel => subnets::del(&mut scene, &arguments),
            Verb::SubnetDeltaAdd => delta::add(&mut scene, arguments),
            Verb::SubnetDeltaDel => delta::del(&mut scene, arguments),
            Verb::NetworkAdd => networks::add(&mut scene, arguments),
            Verb::NetworkDel => networks::del(&mut scene, &arguments),
            Verb::NetworkSubnetAdd => networks::subnet_add(&mut scene, &arguments),
            Verb::NetworkSubnetDel => networks::subnet_del(&mut scene, &arguments),
            Verb::ClassAdd => classes::add(&mut scene, arguments),
            Verb::ClassUpdate => classes::update(&mut scene, arguments),
            Verb::ClassDel => classes::del(&mut scene, &arguments),
            Verb::ReservationAdd | Verb::ReservationUpdate | Verb::ReservationDel => {
                reservations::in_tree(&mut scene, arguments)
            }
        }
    }
}

fn dhcp4_of(root: &mut Element) -> Result<&mut Map, NoEdit> {
    let dhcp4 = root.map_mut().and_then(|root| root.get_mut("Dhcp4")?.map_mut());
    dhcp4.ok_or_else(|| NoEdit::error("there is no configuration"))
}

fn read(text: &str, report: &mut Report) -> Result<Element, Stop> {
    let none = &mut |_: &str| Err(String::new());
    reader::read(text, Dialect::Wire, none, report).ok_or(Stop::Mistakes)
}

/// What an edit works on.
struct Scene<'a> {
    verb: Verb,
    /// The map `Dhcp4` of the document.
    dhcp4: &'a mut Map,
    /// The options that the configuration knows. No edit changes them.
    definitions: &'a Definitions,
    hosts: &'a mut HostPlaces,
    report: &'a mut Report,
}

/// Why an edit ends.
enum Stop {
    /// It changes nothing.
    No(NoEdit),
    /// Its arguments are wrong; the report says why.
    Mistakes,
}

impl From<NoEdit> for Stop {
    fn from(no: NoEdit) -> Stop {
        Stop::No(no)
    }
}

/// The arguments as elements that know where they stand.
fn arguments(edit: &Edit, report: &mut Report) -> Result<Map, Stop> {
    let name = edit.verb.name();
    if edit.arguments.len() > Edit::MOST {
        let text = format!(
            "the arguments of '{name}' have {} bytes, of at most {}: use config-set",
            edit.arguments.len(),
            Edit::MOST
        );
        return Err(NoEdit::error(text).into());
    }
    let text: Arc<str> = (&*edit.arguments).into();
    let source = report.add_source("<wire>", Arc::clone(&text));
    match reader::read_beside(&text, source, report) {
        Some(Element { value: Value::Map(map), .. }) => Ok(map),
        Some(_) => Err(NoEdit::error("Command arguments are not a map.").into()),
        None => Err(Stop::Mistakes),
    }
}

fn mistakes(report: Report, text: &str) -> NoEdit {
    match report.finish(text) {
        Err(mistakes) => NoEdit::error(mistakes.to_string()),
        Ok(_) => NoEdit::error("the configuration cannot be changed so"),
    }
}
