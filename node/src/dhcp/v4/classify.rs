//! Which classes a packet belongs to (Kea manual, "Client Classification"), in the order in which it is
//! put into them: among classes the first that sets a value wins.
//!
//! [`Classifier::at_first`] needs the packet alone. [`Classifier::knowing`] comes when it is known whether
//! there is a reservation, and [`Classifier::additional`] when there is an address.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::LazyLock;

use super::packet::{Packet, Reading};
use super::printable::printable;
use crate::config::{Class, ClassRule, Config};
use crate::expression::{self, Field, Text};
use crate::options::{DHCP4, Type};
use crate::packet::v4::codes;
use crate::types::{ClassName, ClassSet};

/// Packets of this class are not served.
pub const DROP: &str = "DROP";
/// Packets of this class are refused: no address, and a NAK for a REQUEST.
pub const REJECT: &str = "REJECT";

/// What precedes the value of a template class.
const SPAWNED: &str = "SPAWN_";

static ALL: LazyLock<ClassName> = LazyLock::new(|| "ALL".into());
static BOOTP: LazyLock<ClassName> = LazyLock::new(|| "BOOTP".into());
static KNOWN: LazyLock<ClassName> = LazyLock::new(|| "KNOWN".into());
static UNKNOWN: LazyLock<ClassName> = LazyLock::new(|| "UNKNOWN".into());
static STASHED: LazyLock<ClassName> = LazyLock::new(|| "STASH_AGENT_OPTIONS".into());

/// What expressions may ask of one packet.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The packet.
    pub packet: &'a Packet,
    /// What was read out of it: a client id and an option 82 that stand for those of the packet.
    pub reading: &'a Reading,
    /// The configuration: how options are printed.
    pub config: &'a Config,
    /// The classes so far.
    pub classes: &'a ClassSet,
    /// Whether option 82 counts only as a relay's word (A5).
    pub only_believed: bool,
}

impl expression::Facts for Facts<'_> {
    fn option(&self, code: u8) -> Option<Cow<'_, [u8]>> {
        match (code, &self.reading.client_id) {
            (codes::CLIENT_ID, Some(id)) => Some(id.bytes().into()),
            (codes::RELAY_AGENT_INFO, _)
                if self.only_believed && !self.reading.is_relay_believed() =>
            {
                None
            }
            (codes::RELAY_AGENT_INFO, _) if self.reading.stash.is_some() => {
                self.reading.stash.as_deref().map(Cow::Borrowed)
            }
            _ => {
                // A text must not be empty (RFC 2132 §2): an empty one is as absent, as in Kea.
                let definition = || self.config.definitions.by_code(DHCP4, code.into());
                let is_text = || definition().is_some_and(|own| own.kind == Type::String);
                let payload = self.packet.message.option(code)?;
                (!payload.is_empty() || !is_text()).then_some(payload)
            }
        }
    }

    fn option_text(&self, code: u8) -> Option<Cow<'_, [u8]>> {
        let payload = self.option(code)?;
        let definition = self.config.definitions.by_code(DHCP4, code.into());
        Some(printable(definition, code, payload))
    }

    fn sub_option_text<'b>(&'b self, path: &[u8], payload: Cow<'b, [u8]>) -> Cow<'b, [u8]> {
        let definitions = &self.config.definitions;
        let mut space = Some(DHCP4);
        let mut definition = None;
        for code in path {
            definition = space.and_then(|space| definitions.by_code(space, (*code).into()));
            space = definition.and_then(|definition| definition.encapsulates.as_deref());
        }
        printable(definition, path.last().copied().unwrap_or_default(), payload)
    }

    fn field(&self, field: Field) -> Cow<'_, [u8]> {
        let message = &self.packet.message;
        let arrival = &self.packet.arrival;
        let word = |number: u32| Cow::Owned(number.to_be_bytes().to_vec());
        match field {
            Field::Iface => arrival.interface.as_bytes().into(),
            Field::Src => word((*arrival.source.ip()).into()),
            Field::Dst => word(arrival.destination.into()),
            Field::Len => word(message.bytes().len() as u32),
            Field::Mac => message.chaddr().into(),
            Field::Hlen => word(message.hlen().into()),
            Field::Htype => word(message.htype().into()),
            Field::Ciaddr => word(message.ciaddr().into()),
            Field::Giaddr => word(message.giaddr().into()),
            Field::Yiaddr => word(message.yiaddr().into()),
            Field::Siaddr => word(message.siaddr().into()),
            Field::MsgType => word(message.message_type().map_or(0, |kind| kind.code().into())),
            Field::Transid => word(message.xid()),
        }
    }

    fn is_member(&self, class: &str) -> bool {
        self.classes.contains(class)
    }
}

/// Everything but the classes.
#[derive(Debug, Clone, Copy)]
pub struct Classifier<'a> {
    /// The packet.
    pub packet: &'a Packet,
    /// What was read out of it.
    pub reading: &'a Reading,
    /// The configuration.
    pub config: &'a Config,
}

impl Classifier<'_> {
    /// The built-in classes, and those configured ones whose test does not ask for reservations.
    pub fn at_first(&self) -> ClassSet {
        let mut classes = ClassSet::default();
        if !self.config.names_classes() {
            return classes;
        }
        if self.reading.bootp {
            classes.insert(BOOTP.clone());
        }
        classes.insert(ALL.clone());
        if self.reading.stash.is_some() {
            classes.insert(STASHED.clone());
        }
        if let Some(vendor) = self.packet.message.text(codes::VENDOR_CLASS) {
            classes.insert(format!("VENDOR_CLASS_{}", String::from_utf8_lossy(&vendor)).into());
        }
        self.evaluate(&mut classes, false);
        classes
    }

    /// The classes of a reservation, which may make tests come out otherwise: those that were
    /// assigned by a test are tested once more.
    pub fn with_reserved(&self, classes: &mut ClassSet, reserved: &[ClassName]) {
        let tested = |name: &str| self.config.classes.get(name).is_some_and(|c| c.rule.is_some());
        classes.retain(|name| !tested(name) && !name.starts_with(SPAWNED));
        self.add(classes, reserved);
        self.evaluate(classes, false);
    }

    /// Tests what does not ask for reservations once more, on top of the classes so far.
    pub fn retest(&self, classes: &mut ClassSet) {
        self.evaluate(classes, false);
    }

    /// Adds classes that need no test.
    pub fn add(&self, classes: &mut ClassSet, names: &[ClassName]) {
        for name in names {
            classes.insert(name.clone());
        }
    }

    /// KNOWN or UNKNOWN, and the classes whose tests ask for them.
    pub fn knowing(&self, classes: &mut ClassSet, known: bool) {
        if !self.config.names_classes() {
            return;
        }
        classes.insert(if known { KNOWN.clone() } else { UNKNOWN.clone() });
        self.evaluate(classes, true);
    }

    /// The classes of an `evaluate-additional-classes` list. One without a test is joined as it is.
    pub fn additional(&self, classes: &mut ClassSet, names: &[ClassName]) {
        for name in names {
            match self.config.classes.get(name) {
                Some(class) if class.rule.is_some() => self.test(class, classes),
                Some(_) => drop(classes.insert(name.clone())),
                None => {}
            }
        }
    }

    /// The value of an expression that tells who the client is; empty if it has none. What a client
    /// says of its circuit is no identity (A5).
    pub fn identity(&self, text: &Text, classes: &ClassSet) -> Vec<u8> {
        let facts = Facts { only_believed: true, ..self.facts(classes) };
        text.evaluate(&facts).map_or_else(|_| Vec::new(), Into::into)
    }

    fn facts<'b>(&'b self, classes: &'b ClassSet) -> Facts<'b> {
        let Classifier { packet, reading, config } = *self;
        Facts { packet, reading, config, classes, only_believed: false }
    }

    fn evaluate(&self, classes: &mut ClassSet, after_hosts: bool) {
        for class in self.config.classes.iter() {
            if !class.additional_only && class.after_hosts == after_hosts {
                self.test(class, classes);
            }
        }
    }

    /// Puts the packet into the class if its test says so. An expression without a value does not.
    fn test(&self, class: &Class, classes: &mut ClassSet) {
        match &class.rule {
            Some(ClassRule::Test(test)) if test.evaluate(&self.facts(classes)) == Ok(true) => {
                classes.insert(class.name.clone());
            }
            Some(ClassRule::Template(text)) => {
                let value =
                    text.evaluate(&self.facts(classes)).map_or_else(|_| Vec::new(), Into::into);
                if !value.is_empty() {
                    classes.insert(spawned(&class.name, &value).into());
                    classes.insert(class.name.clone());
                }
            }
            Some(ClassRule::Test(_)) | None => {}
        }
    }
}

/// The class that a template spawns for a value: what is not printable is written `%XX`.
fn spawned(name: &str, value: &[u8]) -> String {
    let mut spawned = format!("{SPAWNED}{name}_");
    for byte in value {
        if matches!(byte, b' '..=b'~') {
            spawned.push(char::from(*byte));
        } else {
            let _ = write!(spawned, "%{byte:02X}");
        }
    }
    spawned
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
