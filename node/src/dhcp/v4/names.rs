//! Names of clients: options 12 and 81, and the reserved host name. A name from the wire is bytes
//! until it has passed the sanitiser (P9); what does not survive it is no name.
//!
//! No DNS updates are made, and option 81 says so (RFC 4702 §4; Kea with `enable-updates` off).

use crate::config::Reservation;
use crate::packet::v4::{Message, codes};

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
}

impl Names {
    /// The names of a client. A reserved name wins; option 81 wins over option 12.
    pub fn of(message: &Message, reservation: Option<&Reservation>) -> Names {
        let reserved = reservation.map(|own| own.hostname.as_str()).filter(|name| !name.is_empty());
        let reserved = reserved.map(str::to_ascii_lowercase);
        if let Some(asked) = message.option(codes::FQDN).and_then(|bytes| Fqdn::read(&bytes)) {
            let Some(name) = reserved.or(asked.name) else { return Names::default() };
            let fqdn = Some(answer(asked.flags, &name));
            return Names { lease: name, host_name: None, fqdn };
        }
        let sent = || message.text(codes::HOST_NAME).and_then(|text| sanitise(&text));
        let Some(name) = reserved.or_else(sent) else { return Names::default() };
        Names { host_name: Some(name.clone().into_bytes()), lease: name, fqdn: None }
    }
}

/// Option 81 as a client sends it.
struct Fqdn {
    flags: u8,
    name: Option<String>,
}

impl Fqdn {
    fn read(bytes: &[u8]) -> Option<Fqdn> {
        let [flags, _, _, name @ ..] = bytes else { return None };
        // N and S together contradict each other (RFC 4702 §2.1).
        if flags & (FLAG_N | FLAG_S) == FLAG_N | FLAG_S {
            return None;
        }
        let text = if flags & FLAG_E == 0 { Some(name.to_vec()) } else { from_wire(name) };
        Some(Fqdn { flags: *flags, name: text.and_then(|text| sanitise(&text)) })
    }
}

/// The reply's option 81: nobody updates DNS, in the encoding of the client.
fn answer(asked: u8, name: &str) -> Vec<u8> {
    let overridden = if asked & FLAG_S != 0 { FLAG_O } else { 0 };
    let mut bytes = vec![FLAG_N | overridden | (asked & FLAG_E), RCODE, RCODE];
    if asked & FLAG_E == 0 {
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

/// DNS labels, possibly without the final zero (RFC 4702 §2.3.1); no compression.
fn from_wire(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    while let [len, rest @ ..] = bytes {
        let len = usize::from(*len);
        if len == 0 {
            return rest.is_empty().then_some(name);
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
    Some(name)
}

/// Kea's default `hostname-char-set`, `[^A-Za-z0-9.-]`, with an empty replacement: other
/// characters vanish. Lower case, no final dot. `None` when no valid name is left.
pub fn sanitise(text: &[u8]) -> Option<String> {
    let kept =
        text.iter().filter(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    let name: String = kept.map(|byte| char::from(byte.to_ascii_lowercase())).collect();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let labels_fit = name.split('.').all(|label| (1..=MAX_LABEL).contains(&label.len()));
    // Two bytes go to the first length and the root label.
    (labels_fit && name.len() <= MAX_NAME - 2).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(sanitise(text).as_deref(), name, "{text:?}");
        }
    }

    #[test]
    fn option_81_is_read_in_both_encodings() {
        let name = |bytes: &[u8]| Fqdn::read(bytes).and_then(|fqdn| fqdn.name);
        assert_eq!(name(b"\x00\0\0host.example"), Some("host.example".into()));
        assert_eq!(name(b"\x04\0\0\x04host\x07example\0"), Some("host.example".into()));
        assert_eq!(name(b"\x04\0\0\x04host"), Some("host".into()), "partial");
        assert_eq!(name(b"\x04\0\0\xc0\x03"), None, "a pointer");
        assert_eq!(name(b"\x04\0\0\x09host"), None, "runs past the end");
        assert_eq!(name(b"\x04\0\0\x03a.b"), None, "a dot inside a label");
        assert!(Fqdn::read(b"\x00\0").is_none());
        assert!(Fqdn::read(b"\x09\0\0host").is_none(), "N and S");
    }

    #[test]
    fn option_81_is_answered_with_no_update_as_kea_does_without_ddns() {
        assert_eq!(answer(FLAG_S, "a.b"), b"\x0a\xff\xffa.b.", "S asked: N and O");
        assert_eq!(answer(0, "a.b"), b"\x08\xff\xffa.b.", "N");
        assert_eq!(answer(FLAG_S | FLAG_E, "a.b"), b"\x0e\xff\xff\x01a\x01b\0");
        assert_eq!(answer(FLAG_N, "a.b"), b"\x08\xff\xffa.b.");
    }
}
