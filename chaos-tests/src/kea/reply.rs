//! What is compared of a reply: every field and every option, as texts that people read.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::lab::Arrival;
use crate::client::raw::FIXED;
use crate::floor::netns::topology::mac_text;

/// What came of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It could not be made, since an earlier reply is missing.
    NotSent(String),
    Silence,
    Replies {
        /// The first one first.
        replies: Vec<Arrival>,
        /// The hardware address of the query's frame when it came from a client without address.
        sender: Option<[u8; 6]>,
        /// Whether the client had been given a lease before.
        again: bool,
    },
}

/// The fields of an outcome, by name: `reply`, `yiaddr`, `option 51`…
pub type Fields = BTreeMap<String, String>;

/// The fields of `outcome`.
pub fn fields(outcome: &Outcome) -> Fields {
    let mut fields = Fields::new();
    let mut put = |name: &str, text: String| {
        fields.insert(name.to_owned(), text);
    };
    match outcome {
        Outcome::NotSent(reason) => put("reply", format!("not asked: {reason}")),
        Outcome::Silence => put("reply", "none".to_owned()),
        Outcome::Replies { replies, sender, .. } => {
            if let Some(first) = replies.first() {
                of_reply(first, *sender, &mut put);
            }
            if replies.len() > 1 {
                put("replies", replies.len().to_string());
            }
        }
    }
    fields
}

fn of_reply(reply: &Arrival, sender: Option<[u8; 6]>, put: &mut impl FnMut(&str, String)) {
    let packet = &reply.payload;
    put("from", format!("{} on eth{}", reply.from, reply.interface));
    put("to", reply.to.to_string());
    if let Some(sender) = sender {
        put(
            "frame to",
            match reply.to_mac {
                [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => "all".to_owned(),
                mac if mac == sender => "the sender".to_owned(),
                mac => mac_text(mac),
            },
        );
    }
    if packet.len() < FIXED {
        put("reply", format!("{} bytes", packet.len()));
        return;
    }
    let options = options(packet.get(FIXED..).unwrap_or_default());
    put(
        "reply",
        match options.get(&53).map(Vec::as_slice) {
            None => "BOOTREPLY".to_owned(),
            Some([2]) => "OFFER".to_owned(),
            Some([5]) => "ACK".to_owned(),
            Some([6]) => "NAK".to_owned(),
            Some(other) => format!("message type {}", hex(other)),
        },
    );
    for (name, at) in [("op", 0), ("htype", 1), ("hlen", 2), ("hops", 3)] {
        put(name, packet[at].to_string());
    }
    put("secs", u16::from_be_bytes([packet[8], packet[9]]).to_string());
    put("flags", hex(&packet[10..12]));
    for (name, at) in [("ciaddr", 12), ("yiaddr", 16), ("siaddr", 20), ("giaddr", 24)] {
        put(name, address(packet, at).to_string());
    }
    put("chaddr", hex(&packet[28..44]));
    put("sname", text(&packet[44..108]));
    put("file", text(&packet[108..236]));
    put("300 bytes", if packet.len() < 300 { "shorter" } else { "at least" }.to_owned());
    for (code, data) in options {
        put(&format!("option {code}"), shown(code, &data));
    }
}

/// An address of the fixed part.
pub fn address(packet: &[u8], at: usize) -> Ipv4Addr {
    packet
        .get(at..at + 4)
        .and_then(|octets| <[u8; 4]>::try_from(octets).ok())
        .map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from)
}

/// The options, parts of one code joined.
pub fn options(mut rest: &[u8]) -> BTreeMap<u8, Vec<u8>> {
    let mut found: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    loop {
        match rest {
            [0, tail @ ..] => rest = tail,
            [255, ..] | [] | [_] => return found,
            [code, len, tail @ ..] => {
                let len = usize::from(*len).min(tail.len());
                found.entry(*code).or_default().extend_from_slice(&tail[..len]);
                rest = &tail[len..];
            }
        }
    }
}

fn shown(code: u8, data: &[u8]) -> String {
    match (code, data) {
        (1 | 3 | 4 | 6 | 28 | 42 | 50 | 54 | 118 | 150, _)
            if !data.is_empty() && data.len().is_multiple_of(4) =>
        {
            let addresses: Vec<String> =
                data.chunks(4).map(|octets| address(octets, 0).to_string()).collect();
            addresses.join(" ")
        }
        (124 | 125, _) => vendors(data).unwrap_or_else(|| text(data)),
        (51 | 58 | 59 | 108, [a, b, c, d]) => u32::from_be_bytes([*a, *b, *c, *d]).to_string(),
        _ => text(data),
    }
}

/// The enterprises' blocks of 124 or 125, in order of their numbers: the order in the option means nothing (RFC 3925). None when they do
/// not add up.
fn vendors(mut data: &[u8]) -> Option<String> {
    let mut blocks = Vec::new();
    while let [a, b, c, d, len, tail @ ..] = data {
        let inner = tail.get(..usize::from(*len))?;
        blocks.push((u32::from_be_bytes([*a, *b, *c, *d]), hex(inner)));
        data = &tail[usize::from(*len)..];
    }
    blocks.sort();
    let shown = blocks.iter().map(|(enterprise, inner)| format!("{enterprise}({inner})"));
    data.is_empty().then(|| shown.collect::<Vec<_>>().join(" "))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Quoted when it is printable but for zeros at its end (`'x'+00*5`), else hex.
fn text(bytes: &[u8]) -> String {
    let len = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    let (body, zeros) = bytes.split_at(len);
    if body.is_empty() && !zeros.is_empty() {
        return format!("00*{}", zeros.len());
    }
    let printable = !body.is_empty() && body.iter().all(|byte| (0x20..0x7f).contains(byte));
    match (printable, zeros.len()) {
        (true, 0) => format!("'{}'", String::from_utf8_lossy(body)),
        (true, count) => format!("'{}'+00*{count}", String::from_utf8_lossy(body)),
        (false, _) => hex(bytes),
    }
}

/// Names of the fields that differ.
///
/// A client that had a lease before (`again`) may be shown what is left of it, and a second may have passed: 51, 58 and 59 may then be 2 s
/// apart.
pub fn differing(again: bool, kea: &Fields, here: &Fields) -> Vec<String> {
    if kea.get("reply") != here.get("reply") {
        return vec!["reply".to_owned()];
    }
    let passing = |name: &str| again && matches!(name, "option 51" | "option 58" | "option 59");
    let names: BTreeSet<&String> = kea.keys().chain(here.keys()).collect();
    names
        .into_iter()
        .filter(|name| {
            let (kea, here) = (kea.get(*name), here.get(*name));
            kea != here && !(passing(name) && close(kea, here))
        })
        .cloned()
        .collect()
}

fn close(one: Option<&String>, other: Option<&String>) -> bool {
    let number = |text: Option<&String>| text.and_then(|text| text.parse::<u32>().ok());
    match (number(one), number(other)) {
        (Some(one), Some(other)) => one.abs_diff(other) <= 2,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> Fields {
        Fields::from([("reply".to_owned(), "ACK".to_owned()), (name.to_owned(), value.to_owned())])
    }

    #[test]
    fn an_option_that_one_side_lacks_differs() {
        let lacking = Fields::from([("reply".to_owned(), "ACK".to_owned())]);
        assert_eq!(differing(false, &one("option 3", "x"), &lacking), ["option 3"]);
        assert_eq!(differing(false, &lacking, &one("option 3", "x")), ["option 3"]);
    }

    #[test]
    fn only_a_lease_given_before_may_be_two_seconds_apart() {
        let (kea, here) = (one("option 51", "600"), one("option 51", "598"));
        assert_eq!(differing(true, &kea, &here), Vec::<String>::new());
        assert_eq!(differing(false, &kea, &here), ["option 51"]);
        assert_eq!(differing(true, &kea, &one("option 51", "597")), ["option 51"]);
    }

    #[test]
    fn parts_of_an_option_are_joined_and_a_cut_one_ends_the_list() {
        let found = options(&[12, 1, b'a', 0, 12, 1, b'b', 6, 9, 1]);
        assert_eq!(found, BTreeMap::from([(12, b"ab".to_vec()), (6, vec![1])]));
    }
}
