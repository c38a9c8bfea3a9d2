//! What expressions may ask of a packet, and the names of spawned classes. How packets are put into
//! classes step by step is told by `testscripts/classes.txt`.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::*;
use crate::dhcp::v4::Arrival;
use crate::dhcp::v4::script::Node;
use crate::expression::{OptionNames, parse_test, parse_text};
use crate::packet::v4::{MessageType, Query};
use crate::types::{ClusterTime, HwAddr};

const CONFIG: &str = r#"{ "Dhcp4": { "option-def": [
    { "name": "outer", "code": 222, "type": "uint8", "encapsulate": "inner" },
    { "name": "word", "code": 1, "space": "inner", "type": "string" },
    { "name": "number", "code": 2, "space": "inner", "type": "uint16" } ] } }"#;

struct Names;

impl OptionNames for Names {
    fn code(&self, name: &str) -> Option<u32> {
        crate::options::by_name(DHCP4, name).map(|definition| definition.code)
    }

    fn is_class(&self, _: &str) -> bool {
        true
    }
}

fn arrival() -> Arrival {
    Arrival {
        interface: "eth7".into(),
        address: Some(Ipv4Addr::new(192, 0, 2, 1)),
        prefix_len: 24,
        broadcast: false,
        source: SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 60), 67),
        destination: Ipv4Addr::new(192, 0, 2, 1),
        frame_source: None,
        mtu: 1500,
        at: ClusterTime::ZERO,
    }
}

/// Asks about a packet in the classes ALL and `blue`.
fn ask<T>(query: Query, ask: impl FnOnce(&Facts<'_>) -> T) -> T {
    let config = crate::config::from_text(CONFIG).expect("it is a configuration").config;
    let packet = Packet { message: query.message(), arrival: arrival(), seen: 0 };
    let reading = Node::nowhere(|cx| Reading::of(&packet, cx, &config).expect("it is served"));
    let mut classes = ClassSet::default();
    classes.insert("ALL".into());
    classes.insert("blue".into());
    ask(&Facts {
        packet: &packet,
        reading: &reading,
        config: &config,
        classes: &classes,
        only_believed: false,
    })
}

fn query() -> Query {
    let hw = HwAddr::ethernet([2, 0, 0, 0, 0, 7]);
    Query::new(MessageType::Discover, 0x1234_5678, hw).giaddr(Ipv4Addr::new(10, 0, 0, 1))
}

#[test]
fn every_field_has_the_bytes_that_expressions_expect() {
    let len = query().encode().len();
    let table = [
        ("pkt.iface", "'eth7'".to_owned()),
        ("pkt.src", "192.0.2.60".to_owned()),
        ("pkt.dst", "192.0.2.1".to_owned()),
        ("pkt.len", len.to_string()),
        ("pkt4.mac", "0x020000000007".to_owned()),
        ("pkt4.hlen", "6".to_owned()),
        ("pkt4.htype", "1".to_owned()),
        ("pkt4.ciaddr", "0.0.0.0".to_owned()),
        ("pkt4.giaddr", "10.0.0.1".to_owned()),
        ("pkt4.yiaddr", "0.0.0.0".to_owned()),
        ("pkt4.siaddr", "0.0.0.0".to_owned()),
        ("pkt4.msgtype", "1".to_owned()),
        ("pkt4.transid", "0x12345678".to_owned()),
    ];
    assert_eq!(table.len(), Field::ALL.len(), "each field is here");
    for (field, value) in table {
        let test = parse_test(&format!("{field} == {value}"), &Names).unwrap();
        assert_eq!(ask(query(), |facts| test.evaluate(facts)), Ok(true), "{field}");
    }
}

#[test]
fn options_come_joined_and_print_by_their_definitions() {
    // Option 60 in two parts (RFC 3396), and an option of the operator with sub-options.
    let query = || {
        let relay = [1, 4, b'p', b'o', b'r', b't', 2, 1, 9];
        query()
            .option(60, b"PXE")
            .option(60, b"Client\0")
            .option(82, &relay)
            .option(222, &[1, 2, b'h', b'i', 2, 2, 1, 0])
            .option(57, &[2, 64])
    };
    let table = [
        ("option[60].hex", "PXEClient\0"),
        ("option[vendor-class-identifier].text", "PXEClient"),
        ("option[57].text", "type=057, len=002: 576 (uint16)"),
        ("option[58].text", ""),
        ("relay4[1].hex", "port"),
        ("option[82].option[1].hex", "port"),
        ("relay4[3].hex", ""),
        ("option[222].option[1].text", "hi"),
        ("option[222].option[2].text", "type=002, len=002: 256 (uint16)"),
        ("relay4[1].text", "type=001, len=004: 70:6f:72:74"),
    ];
    for (source, expected) in table {
        let text = parse_text(source, &Names).unwrap();
        let value = ask(query(), |facts| text.evaluate(facts)).unwrap();
        assert_eq!(String::from_utf8_lossy(&value), expected, "{source}");
    }
}

#[test]
fn classes_so_far_are_asked_for_and_split_pools_are_everybodys() {
    for (source, expected) in [
        ("member('ALL') and member('blue')", true),
        ("member('KNOWN')", false),
        ("member('HA_server1')", true),
    ] {
        let test = parse_test(source, &Names).unwrap();
        assert_eq!(ask(query(), |facts| test.evaluate(facts)), Ok(expected), "{source}");
    }
}

#[test]
fn what_is_not_printable_is_escaped_in_a_spawned_name() {
    assert_eq!(spawned("t", b"ab c"), "SPAWN_t_ab c");
    assert_eq!(spawned("t", b"a\n\xff~"), "SPAWN_t_a%0A%FF~");
}
