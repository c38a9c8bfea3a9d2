//! Whatever arrives, the engine answers or drops it, and what it answers keeps the promises that
//! do not depend on the packet (A10).

use proptest::prelude::*;

use super::script::{Node, RICH, basic};
use crate::dhcp::decision::{Decision, How, ReplyKind};
use crate::packet::v4::{MAGIC_COOKIE, Message, MessageType, Query, codes};
use crate::types::ClassSet;
use crate::types::HwAddr;

/// Queries that come close to real ones, and some that do not.
fn any_query() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop::sample::select(
        &[
            Some(MessageType::Discover),
            Some(MessageType::Request),
            Some(MessageType::Decline),
            Some(MessageType::Release),
            Some(MessageType::Inform),
            None,
        ][..],
    );
    let address = prop_oneof![
        (0u8..=255).prop_map(|last| [192, 0, 2, last]),
        (8u8..22).prop_map(|last| [198, 51, 100, last]),
        Just([10, 0, 0, 1]),
        any::<[u8; 4]>(),
        Just([0; 4]),
    ];
    let code = prop_oneof![
        4 => prop::sample::select(&[12u8, 50, 51, 52, 54, 55, 57, 60, 61, 77, 81, 82, 108, 118][..]),
        1 => any::<u8>(),
    ];
    let value = prop_oneof![
        3 => address.clone().prop_map(|address| address.to_vec()),
        2 => prop::collection::vec(any::<u8>(), 0..12),
        3 => prop::sample::select(&[
            "one", "slow", "reject", "known-only", "drop", "quick", "phone", "camera", "acme",
            "badge-7", "\u{1}\u{6}port-7", "\u{1}\u{6}port-1", "\u{2}\u{6}remote",
        ][..]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..600),
    ];
    let mac = prop_oneof![0u8..6, prop::sample::select(&[0x71u8, 0x72, 0x77, 0x33, 0xdd][..])];
    let header = (kind, mac, address.clone(), address, any::<bool>(), any::<u8>());
    let garbage = prop::collection::vec((0usize..400, any::<u8>()), 0..3);
    (header, prop::collection::vec((code, value), 0..8), garbage).prop_map(
        |((kind, mac, ciaddr, giaddr, broadcast, hops), options, garbage)| {
            let hw = HwAddr::ethernet([2, 0, 0, 0, 0, mac]);
            let query = kind.map_or(Query::bare(7, hw), |kind| Query::new(kind, 7, hw)).hops(hops);
            let mut query = query.ciaddr(ciaddr.into()).giaddr(giaddr.into());
            if broadcast {
                query = query.broadcast();
            }
            for (code, value) in options {
                query = query.option(code, &value);
            }
            let mut bytes = query.encode();
            for (at, byte) in garbage {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            bytes
        },
    )
}

/// What a reply promises whatever the packet and the configuration.
fn check(message: &Message, decision: &Decision, classes: &ClassSet, node: &Node) {
    let Decision::Reply(reply) = decision else { return };
    let mut payload = reply.payload().to_vec();
    let bootp = !message.has(codes::MESSAGE_TYPE);
    if message.not_dhcp().is_some() {
        payload[236..240].copy_from_slice(&MAGIC_COOKIE);
    }
    let written = Message::parse_reply(&payload).expect("what we write can be read");
    // 82 goes back as broken as it came.
    let ours = written.faults().iter().filter(|fault| fault.code != codes::RELAY_AGENT_INFO);
    assert_eq!(ours.count(), 0, "{written:?}");
    assert_eq!((written.xid(), written.chaddr()), (message.xid(), message.chaddr()));
    assert!(reply.payload().len() >= 300);
    let limit = usize::from(message.max_message_size().unwrap_or(576).clamp(576, 1500)) - 28;
    let large_82 = message.option(codes::RELAY_AGENT_INFO).is_some_and(|raw| raw.len() >= 200);
    if !large_82 && !written.has(codes::CLIENT_ID) {
        assert!(reply.payload().len() <= limit, "{} bytes", reply.payload().len());
    }
    let bound = matches!(reply.kind(), ReplyKind::Offer | ReplyKind::Ack);
    assert_eq!(written.has(codes::SERVER_ID), !bootp);
    assert_eq!(written.has(codes::LEASE_TIME), bound && !bootp);
    assert_eq!(written.has(codes::MESSAGE_TYPE), !bootp);
    assert_eq!(written.yiaddr().is_unspecified(), !bound);
    if let How::Frame(mac) = reply.delivery().how {
        assert_eq!(mac[0] & 1, 0);
    }
    if message.is_relayed() && reply.delivery().rule == 2 {
        assert_eq!(*reply.delivery().to.ip(), message.giaddr());
    }
    if reply.kind() == ReplyKind::Nak {
        assert!(!bootp);
        let known = |code| matches!(code, 53 | 54 | 56 | 61 | 82);
        assert!(written.option_codes().all(known));
    }
    // Nobody is served out of a class that keeps it out.
    assert!(!classes.contains("DROP"));
    if bound {
        assert!(!classes.contains("REJECT"));
        assert!(node.is_for(written.yiaddr(), classes), "{} for {classes:?}", written.yiaddr());
    }
}

proptest! {
    #[test]
    fn a10_any_packet_is_answered_or_dropped(
        which in 0usize..=RICH.len(),
        packets in prop::collection::vec((any_query(), any::<bool>(), any::<bool>()), 1..6)
    ) {
        let mut node = Node::new(RICH.get(which).copied().unwrap_or(basic()));
        for (bytes, unicast, fresh) in packets {
            let Ok(message) = Message::received(bytes) else { continue };
            let (decisions, classes) = node.anything(message.clone(), unicast, fresh);
            for decision in &decisions {
                check(&message, decision, &classes, &node);
            }
        }
    }
}
