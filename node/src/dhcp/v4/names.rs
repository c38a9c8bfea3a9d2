//! Names of clients: options 12 and 81, the reserved host name, and names made for those who have
//! none (Kea manual, "Name Generation for DDNS Updates"). A name from the wire is bytes until it has
//! passed the sanitiser (P9); what does not survive it is no name.
//!
//! Reply and lease come from one function, so they cannot say different things. Whether DNS is to be
//! updated is decided here too (RFC 4702 §4); who sends the update is not.

use std::net::Ipv4Addr;

use crate::config::{Config, Naming, ReplaceClientName, Reservation, Subnet};
use crate::packet::v4::{Message, codes};
use crate::types::ClassSet;

/// RFC 1035 §2.3.4.
const MAX_LABEL: usize = 63;
const MAX_NAME: usize = 255;

/// Flags of option 81 (RFC 4702 §2.1).
const FLAG_S: u8 = 1;
const FLAG_O: u8 = 2;
const FLAG_E: u8 = 4;
const FLAG_N: u8 = 8;
/// What a server writes into both RCODE fields (RFC 4702 §2.2).
const RCODE: u8 = 255;

/// What a client is called, and how to tell it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// The name to remember with the lease, lower case; empty for none.
    pub lease: String,
    /// Option 12 of the reply.
    pub host_name: Option<Vec<u8>>,
    /// Option 81 of the reply.
    pub fqdn: Option<Vec<u8>>,
    /// The server makes the forward record of the name.
    pub forward: bool,
    /// The server makes the reverse record.
    pub reverse: bool,
}

/// What bends the rules for one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Manner {
    /// No DNS updates whatever is configured (class SKIP_DDNS).
    pub skip_ddns: bool,
    /// `lenient-option-parsing`: junk behind the name of option 81 is stepped over.
    pub lenient: bool,
}

impl Manner {
    /// By class and configuration.
    pub fn of(classes: &ClassSet, config: &Config) -> Manner {
        Manner {
            skip_ddns: classes.contains("SKIP_DDNS"),
            lenient: config.compatibility.lenient_option_parsing,
        }
    }
}

impl Names {
    /// [`Names::of`], by what is configured for the address: its pool, else its subnet.
    pub fn at(
        message: &Message,
        reservation: Option<&Reservation>,
        subnet: &Subnet,
        address: Option<Ipv4Addr>,
        manner: Manner,
    ) -> Names {
        let pool = address.and_then(|address| subnet.pool_of(address));
        let naming = pool.map_or(&subnet.values.naming, |pool| &pool.naming);
        Names::of(message, reservation, naming, address, manner)
    }

    /// The names of a client with this address. A reserved name wins; option 81 wins over option 12.
    pub fn of(
        message: &Message,
        reservation: Option<&Reservation>,
        naming: &Naming,
        address: Option<Ipv4Addr>,
        manner: Manner,
    ) -> Names {
        let updates = naming.send_updates && !manner.skip_ddns;
        let reserved = reservation.map(|own| &*own.hostname).filter(|name| !name.is_empty());
        let reserved = reserved.and_then(|name| qualify(&name.to_ascii_lowercase(), naming));
        let generated = || address.and_then(|address| generate(address, naming));
        if let Some(asked) =
            message.option(codes::FQDN).and_then(|bytes| Fqdn::read(&bytes, manner))
        {
            let own = || match &asked.name {
                _ if replaces_present(naming) => generated(),
                None => generated(),
                Some((text, whole)) => {
                    // Kea's names are in lower case before they are scrubbed; host names are not.
                    let name = sanitise(&text.to_ascii_lowercase(), naming)?;
                    if *whole { Some(name) } else { qualify(&name, naming) }
                }
            };
            let Some(name) = reserved.or_else(own) else { return Names::default() };
            let flags = asked.answer(naming, updates);
            let (forward, reverse) = (flags & FLAG_S != 0, updates && flags & FLAG_N == 0);
            let fqdn = Some(answer(flags, &name));
            return Names { lease: name, host_name: None, fqdn, forward, reverse };
        }
        let sent = message.text(codes::HOST_NAME).filter(|text| !text.is_empty());
        let own = || match &sent {
            Some(text) if replaces_present(naming) || **text == b"."[..] => generated(),
            Some(text) => {
                let name = sanitise(text, naming)?;
                if name.contains('.') { Some(name) } else { qualify(&name, naming) }
            }
            None if replaces_absent(naming) => generated(),
            None => None,
        };
        let taken = reserved.is_none() && !replaces_present(naming);
        let Some(name) = reserved.or_else(own) else { return Names::default() };
        let mut host_name = name.clone().into_bytes();
        // A whole name goes back with the final dot that it came with.
        let whole = |text: &[u8]| text.strip_suffix(b".").is_some_and(|text| text.contains(&b'.'));
        if taken && sent.as_deref().is_some_and(whole) {
            host_name.push(b'.');
        }
        let host_name = Some(host_name);
        Names { host_name, lease: name, fqdn: None, forward: updates, reverse: updates }
    }
}

fn replaces_present(naming: &Naming) -> bool {
    matches!(naming.replace_client_name, ReplaceClientName::Always | ReplaceClientName::WhenPresent)
}

fn replaces_absent(naming: &Naming) -> bool {
    matches!(
        naming.replace_client_name,
        ReplaceClientName::Always | ReplaceClientName::WhenNotPresent
    )
}

/// `ddns-generated-prefix`, the address with dashes, and the suffix.
fn generate(address: Ipv4Addr, naming: &Naming) -> Option<String> {
    let name = format!("{}-{}", naming.generated_prefix, address.to_string().replace('.', "-"));
    qualify(&name.to_ascii_lowercase(), naming)
}

/// The name with `ddns-qualifying-suffix`, unless it ends so already; `None` if that is no name.
fn qualify(name: &str, naming: &Naming) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let suffix = naming.qualifying_suffix.to_ascii_lowercase();
    let ends_so = name
        .strip_suffix(suffix.as_str())
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let name =
        if suffix.is_empty() || ends_so { name.to_owned() } else { format!("{name}.{suffix}") };
    fits(name.as_bytes()).then_some(name)
}

/// RFC 1035 §2.3.4: every label and the whole. Two bytes go to the first length and the root label.
fn fits(name: &[u8]) -> bool {
    let label_fits = |label: &[u8]| (1..=MAX_LABEL).contains(&label.len());
    name.len() <= MAX_NAME - 2 && name.split(|byte| *byte == b'.').all(label_fits)
}

/// Option 81 as a client sends it.
struct Fqdn {
    flags: u8,
    /// The name, and whether it is a whole one; `None` when it is empty.
    name: Option<(Vec<u8>, bool)>,
}

impl Fqdn {
    fn read(bytes: &[u8], manner: Manner) -> Option<Fqdn> {
        let [flags, _, _, name @ ..] = bytes else { return None };
        // N and S together contradict each other (RFC 4702 §2.1).
        if flags & (FLAG_N | FLAG_S) == FLAG_N | FLAG_S {
            return None;
        }
        let (text, whole) = if flags & FLAG_E == 0 {
            (name.to_vec(), name.ends_with(b"."))
        } else {
            from_wire(name, manner.lenient)?
        };
        let name = (!text.is_empty() && text != b".").then_some((text, whole));
        Some(Fqdn { flags: *flags, name })
    }

    /// The flags of the reply (RFC 4702 §4; Kea manual, "When Does the kea-dhcp4 Server Generate a
    /// DDNS Request?"): S, the server makes the forward record; N, it makes none at all; O, that is
    /// not what the client wanted; E as it came.
    fn answer(&self, naming: &Naming, updates: bool) -> u8 {
        let (asks, forbids) = (self.flags & FLAG_S != 0, self.flags & FLAG_N != 0);
        let forward = updates
            && match (asks, forbids) {
                (true, _) => true,
                (false, true) => naming.override_no_update,
                (false, false) => naming.override_client_update,
            };
        let none = if asks || forbids { !forward } else { !updates };
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        flag(forward, FLAG_S)
            | flag(none, FLAG_N)
            | flag(forward != asks, FLAG_O)
            | (self.flags & FLAG_E)
    }
}

/// The reply's option 81.
fn answer(flags: u8, name: &str) -> Vec<u8> {
    let mut bytes = vec![flags, RCODE, RCODE];
    if flags & FLAG_E == 0 {
        bytes.extend(name.as_bytes());
        bytes.push(b'.');
    } else {
        for label in name.split('.') {
            bytes.push(label.len() as u8);
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
    }
    bytes
}

/// DNS labels and whether the root closes them (it may be missing: RFC 4702 §2.3.1); no compression.
/// `lenient`: what follows the root is stepped over.
fn from_wire(mut bytes: &[u8], lenient: bool) -> Option<(Vec<u8>, bool)> {
    let mut name = Vec::new();
    while let [len, rest @ ..] = bytes {
        let len = usize::from(*len);
        if len == 0 {
            return (rest.is_empty() || lenient).then_some((name, true));
        }
        if len > MAX_LABEL {
            return None;
        }
        let (label, rest) = rest.split_at_checked(len)?;
        // A dot inside a label would become another name.
        if label.contains(&b'.') {
            return None;
        }
        if !name.is_empty() {
            name.push(b'.');
        }
        name.extend(label);
        bytes = rest;
    }
    Some((name, false))
}

/// `hostname-char-set` and `hostname-char-replacement`: what must not stand in a name goes or is
/// replaced, label by label. Lower case, no final dot. `None` when no valid name is left.
pub fn sanitise(text: &[u8], naming: &Naming) -> Option<String> {
    let scrubbed = match &naming.bad_characters {
        Some(bad) => bad.0.replace_all(text, regex::bytes::NoExpand(naming.replacement.as_bytes())),
        None => text.into(),
    };
    let name = scrubbed.strip_suffix(b".").unwrap_or(&scrubbed);
    // What an operator lets through must still be printable.
    let printable = name.iter().all(u8::is_ascii_graphic);
    let name = std::str::from_utf8(name).ok().filter(|_| printable && fits(name))?;
    Some(name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming() -> Naming {
        let config = crate::config::from_text(
            r#"{"Dhcp4": {"subnet4": [{"id": 1, "subnet": "192.0.2.0/24"}]}}"#,
        );
        let config = config.unwrap().config;
        (*config.subnets[0].values.naming).clone()
    }

    #[test]
    fn p9_what_is_unclean_vanishes_and_what_is_left_must_be_a_name() {
        for (text, name) in [
            (&b"Printer-1"[..], Some("printer-1")),
            (b"a.b.", Some("a.b")),
            (b"../;$(id)", None),
            (b"caf\xe9", Some("caf")),
            (b"a\0b", Some("ab")),
            (b"", None),
            (b".", None),
            (&[b'a'; 64], None),
            (&[b'a'; 63], Some(std::str::from_utf8(&[b'a'; 63]).unwrap())),
            (&[b'a'; 255], None),
        ] {
            assert_eq!(sanitise(text, &naming()).as_deref(), name, "{text:?}");
        }
    }

    #[test]
    fn p9_a_character_set_of_ones_own_replaces_and_no_set_leaves_names_alone() {
        let mut own = naming();
        own.replacement = "$0x".to_owned();
        assert_eq!(sanitise(b"a_b", &own).as_deref(), Some("a$0xb"), "no expansion");
        own.bad_characters = None;
        assert_eq!(sanitise(b"a_b", &own).as_deref(), Some("a_b"));
        assert_eq!(sanitise(b"a\nb", &own), None, "not printable");
        assert_eq!(sanitise(b"caf\xe9", &own), None);
    }

    #[test]
    fn option_81_is_read_in_both_encodings() {
        let name = |bytes: &[u8]| {
            let (text, whole) = Fqdn::read(bytes, Manner::default())?.name?;
            Some((String::from_utf8(text).unwrap(), whole))
        };
        let partial = |text: &str| Some((text.to_owned(), false));
        let whole = |text: &str| Some((text.to_owned(), true));
        assert_eq!(name(b"\x00\0\0host.example"), partial("host.example"));
        assert_eq!(name(b"\x00\0\0host.example."), whole("host.example."));
        assert_eq!(name(b"\x04\0\0\x04host\x07example\0"), whole("host.example"));
        assert_eq!(name(b"\x04\0\0\x04host"), partial("host"));
        assert_eq!(name(b"\x04\0\0\xc0\x03"), None, "a pointer");
        assert_eq!(name(b"\x04\0\0\x09host"), None, "runs past the end");
        assert_eq!(name(b"\x04\0\0\x03a.b"), None, "a dot inside a label");
        assert_eq!(name(b"\x04\0\0\x04host\0\0"), None, "junk behind the root");
        let lenient = Manner { lenient: true, ..Manner::default() };
        assert!(Fqdn::read(b"\x04\0\0\x04host\0\0", lenient).is_some());
        assert!(Fqdn::read(b"\x00\0", Manner::default()).is_none());
        assert!(Fqdn::read(b"\x09\0\0host", Manner::default()).is_none(), "N and S");
    }

    /// RFC 4702 §4 as Kea reads it, for each wish of a client: S N O of the reply.
    #[test]
    fn the_flags_of_option_81_follow_the_wish_and_the_overrides() {
        let answered = |asked: u8, updates, no_update, client_update| {
            let overrides = Naming {
                override_no_update: no_update,
                override_client_update: client_update,
                ..naming()
            };
            Fqdn { flags: asked, name: None }.answer(&overrides, updates)
        };
        for (asked, updates, no_update, client_update, flags) in [
            (FLAG_S, false, false, false, FLAG_N | FLAG_O),
            (0, false, false, false, FLAG_N),
            (FLAG_N, false, true, true, FLAG_N),
            (FLAG_S | FLAG_E, false, false, false, FLAG_N | FLAG_O | FLAG_E),
            (FLAG_S, true, false, false, FLAG_S),
            (0, true, false, false, 0),
            (0, true, false, true, FLAG_S | FLAG_O),
            (FLAG_N, true, false, false, FLAG_N),
            (FLAG_N, true, true, false, FLAG_S | FLAG_O),
        ] {
            let case = (asked, updates, no_update, client_update);
            assert_eq!(answered(asked, updates, no_update, client_update), flags, "{case:?}");
        }
    }

    #[test]
    fn option_81_goes_back_in_the_encoding_it_came_in() {
        assert_eq!(answer(FLAG_N, "a.b"), b"\x08\xff\xffa.b.");
        assert_eq!(answer(FLAG_S | FLAG_E, "a.b"), b"\x05\xff\xff\x01a\x01b\0");
    }

    #[test]
    fn a_suffix_is_added_once_and_only_behind_a_dot() {
        let own = Naming { qualifying_suffix: "Example.org".to_owned(), ..naming() };
        for (name, qualified) in [
            ("a", "a.example.org"),
            ("a.example.org", "a.example.org"),
            ("a.example.org.", "a.example.org"),
            ("example.org", "example.org"),
            ("myexample.org", "myexample.org.example.org"),
        ] {
            assert_eq!(qualify(name, &own).as_deref(), Some(qualified));
        }
        assert_eq!(qualify("a.", &naming()).as_deref(), Some("a"));
        let address = [192, 0, 2, 7].into();
        assert_eq!(generate(address, &own).as_deref(), Some("myhost-192-0-2-7.example.org"));
        let long = Naming { qualifying_suffix: "x".repeat(64), ..naming() };
        assert_eq!(qualify("a", &long), None, "a label too long");
        let long = Naming { qualifying_suffix: "x.".repeat(126), ..naming() };
        assert_eq!(qualify("abc", &long), None, "the whole too long");
    }
}
