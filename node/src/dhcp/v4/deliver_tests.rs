//! Section 5 as a full table: message × giaddr × ciaddr × broadcast flag.

use super::*;
use crate::dhcp::v4::{Arrival, Context};
use crate::packet::v4::Query;
use crate::types::ClusterTime;

const ON_LINK: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);
const OFF_LINK: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 50);
const RELAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 60);
const OFFERED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const FRAME: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];
const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

fn arrival(source: Ipv4Addr, broadcast: bool) -> Arrival {
    Arrival {
        interface: "eth0".into(),
        address: Some(Ipv4Addr::new(192, 0, 2, 1)),
        prefix_len: 24,
        broadcast,
        source: SocketAddrV4::new(source, 1234),
        destination: if broadcast { Ipv4Addr::BROADCAST } else { Ipv4Addr::new(192, 0, 2, 9) },
        frame_source: Some(FRAME),
        mtu: 1500,
        at: ClusterTime::ZERO,
    }
}

fn reading(packet: &Packet) -> Reading {
    use crate::dhcp::v4::script::Node;
    // Any context will do: nothing of it is asked here.
    let config =
        crate::config::from_text(r#"{"Dhcp4": {}}"#).expect("it is a configuration").config;
    Node::nowhere(|cx: &Context<'_>| Reading::of(packet, cx, &config).expect("it is served"))
}

fn delivered(
    query: Query,
    arrival: Arrival,
    kind: ReplyKind,
    yiaddr: Ipv4Addr,
) -> Option<Delivery> {
    let packet = Packet { message: query.message(), arrival, seen: 0 };
    deliver(&packet, &reading(&packet), kind, yiaddr, Ports::STANDARD)
}

#[test]
fn the_eight_rules_over_every_combination() {
    use ReplyKind::{Ack, InformAck, Nak, Offer};
    let hw = HwAddr::ethernet([2, 0, 0, 0, 0, 1]);
    let mut seen = [0; 9];
    for (message, kind) in [
        (MessageType::Discover, Offer),
        (MessageType::Request, Ack),
        (MessageType::Request, Nak),
        (MessageType::Inform, InformAck),
    ] {
        for giaddr in [NONE, RELAY] {
            for ciaddr in [NONE, ON_LINK, OFF_LINK] {
                for flag in [false, true] {
                    for source in [NONE, SOURCE] {
                        let mut query = Query::new(message, 1, hw).giaddr(giaddr).ciaddr(ciaddr);
                        if flag {
                            query = query.broadcast();
                        }
                        let yiaddr = if matches!(kind, Offer | Ack) { OFFERED } else { NONE };
                        let got = delivered(query, arrival(source, true), kind, yiaddr);
                        let (relayed, has_ciaddr) = (giaddr != NONE, ciaddr != NONE);
                        let (rule, to) = match kind {
                            InformAck if has_ciaddr => (1, ciaddr),
                            _ if relayed => (2, RELAY),
                            InformAck if source == NONE => (0, NONE),
                            InformAck => (3, SOURCE),
                            Nak if ciaddr == OFF_LINK => (4, OFF_LINK),
                            Nak => (5, Ipv4Addr::BROADCAST),
                            Ack if has_ciaddr => (6, ciaddr),
                            _ if flag => (7, Ipv4Addr::BROADCAST),
                            _ => (8, OFFERED),
                        };
                        let case = format!(
                            "{message} {kind:?} giaddr {giaddr} ciaddr {ciaddr} {flag} {source}"
                        );
                        seen[rule] += 1;
                        let Some(got) = got else {
                            assert_eq!(rule, 0, "{case}");
                            continue;
                        };
                        assert_eq!((usize::from(got.rule), *got.to.ip()), (rule, to), "{case}");
                        assert_eq!(got.to.port(), if rule == 2 { 67 } else { 68 }, "{case}");
                        let how = match rule {
                            5 | 7 => How::Broadcast,
                            8 => How::Frame(FRAME),
                            _ => How::Udp,
                        };
                        assert_eq!(got.how, how, "{case}");
                        assert_eq!(
                            got.from,
                            SocketAddrV4::new([192, 0, 2, 1].into(), 67),
                            "{case}"
                        );
                    }
                }
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "every rule came up: {seen:?}");
}

#[test]
fn d5_the_source_is_what_the_client_wrote_to() {
    let hw = HwAddr::ethernet([2, 0, 0, 0, 0, 1]);
    let query = Query::new(MessageType::Request, 1, hw).ciaddr(ON_LINK);
    let got = delivered(query.clone(), arrival(ON_LINK, false), ReplyKind::Ack, ON_LINK).unwrap();
    assert_eq!(*got.from.ip(), Ipv4Addr::new(192, 0, 2, 9));
    let mut nowhere = arrival(ON_LINK, true);
    nowhere.address = None;
    assert_eq!(delivered(query, nowhere, ReplyKind::Ack, ON_LINK), None);
}

#[test]
fn rule_2_uses_the_relays_port_when_it_asks_for_that() {
    let hw = HwAddr::ethernet([2, 0, 0, 0, 0, 1]);
    let query = Query::new(MessageType::Discover, 1, hw).giaddr(RELAY).relay_info(&[19, 0]);
    let got = delivered(query, arrival(RELAY, false), ReplyKind::Offer, OFFERED).unwrap();
    assert_eq!(got.to, SocketAddrV4::new(RELAY, 1234));
}

#[test]
fn rule_8_needs_six_bytes_of_ethernet_and_a_frame_with_a_single_source() {
    let id = [1, 2, 3];
    let offer = |hw: HwAddr, frame: Option<[u8; 6]>| {
        let mut arrival = arrival(NONE, true);
        arrival.frame_source = frame;
        let query = Query::new(MessageType::Discover, 1, hw).client_id(&id);
        delivered(query, arrival, ReplyKind::Offer, OFFERED).unwrap().rule
    };
    let ethernet = HwAddr::ethernet([2, 0, 0, 0, 0, 1]);
    assert_eq!(offer(ethernet, Some(FRAME)), 8);
    assert_eq!(offer(ethernet, Some([0xff; 6])), 7);
    assert_eq!(offer(ethernet, Some([1, 0, 0x5e, 0, 0, 1])), 7);
    assert_eq!(offer(ethernet, None), 7);
    assert_eq!(offer(HwAddr::new(32, &[2; 6]).unwrap(), Some(FRAME)), 7);
    assert_eq!(offer(HwAddr::new(1, &[2; 8]).unwrap(), Some(FRAME)), 7);
    assert_eq!(offer(HwAddr::new(1, &[]).unwrap(), Some(FRAME)), 7);
}
