//! Whatever arrives, the engine answers or drops it, and what it answers keeps the promises that
//! do not depend on the packet (A10).

use proptest::prelude::*;

use super::script::{Node, basic};
use crate::dhcp::decision::{Decision, How, ReplyKind};
use crate::packet::v4::{Message, MessageType, Query, codes};
use crate::types::HwAddr;

/// Queries that come close to real ones, and some that do not.
fn any_query() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop::sample::select(
        &[
            MessageType::Discover,
            MessageType::Request,
            MessageType::Decline,
            MessageType::Release,
            MessageType::Inform,
        ][..],
    );
    let address = prop_oneof![
        (0u8..=255).prop_map(|last| [192, 0, 2, last]),
        (8u8..22).prop_map(|last| [198, 51, 100, last]),
        any::<[u8; 4]>(),
        Just([0; 4]),
    ];
    let code = prop_oneof![
        4 => prop::sample::select(&[12u8, 50, 51, 52, 54, 55, 57, 61, 81, 82, 108, 118][..]),
        1 => any::<u8>(),
    ];
    let value = prop_oneof![
        3 => address.clone().prop_map(|address| address.to_vec()),
        2 => prop::collection::vec(any::<u8>(), 0..12),
        1 => prop::collection::vec(any::<u8>(), 0..600),
    ];
    let header = (kind, 0u8..6, address.clone(), address, any::<bool>(), any::<u8>());
    let garbage = prop::collection::vec((0usize..400, any::<u8>()), 0..3);
    (header, prop::collection::vec((code, value), 0..8), garbage).prop_map(
        |((kind, mac, ciaddr, giaddr, broadcast, hops), options, garbage)| {
            let mut query = Query::new(kind, 7, HwAddr::ethernet([2, 0, 0, 0, 0, mac])).hops(hops);
            query = query.ciaddr(ciaddr.into()).giaddr(giaddr.into());
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

proptest! {
    #[test]
    fn a10_any_packet_is_answered_or_dropped(
        packets in prop::collection::vec((any_query(), any::<bool>(), any::<bool>()), 1..6)
    ) {
        let mut node = Node::new(basic());
        for (bytes, unicast, fresh) in packets {
            let Ok(message) = Message::from_vec(bytes) else { continue };
            let (relayed, giaddr) = (message.is_relayed(), message.giaddr());
            let (xid, chaddr) = (message.xid(), message.chaddr().to_vec());
            let direct_82 = message.option(codes::RELAY_AGENT_INFO).map(|raw| raw.into_owned());
            let limit = usize::from(message.max_message_size().unwrap_or(576).clamp(576, 1500)) - 28;
            for decision in node.anything(message, unicast, fresh) {
                let Decision::Reply(reply) = decision else { continue };
                let written = Message::parse_reply(reply.payload()).expect("what we write can be read");
                // 82 goes back as broken as it came.
                let ours = written.faults().iter().filter(|fault| fault.code != codes::RELAY_AGENT_INFO);
                prop_assert_eq!(ours.count(), 0, "{:?}", written);
                prop_assert_eq!((written.xid(), written.chaddr()), (xid, &chaddr[..]));
                prop_assert!(written.has(codes::SERVER_ID));
                prop_assert!(reply.payload().len() >= 300);
                if direct_82.as_ref().is_none_or(|raw| raw.len() < 200) && !written.has(codes::CLIENT_ID) {
                    prop_assert!(reply.payload().len() <= limit, "{} bytes", reply.payload().len());
                }
                let bound = matches!(reply.kind(), ReplyKind::Offer | ReplyKind::Ack);
                prop_assert_eq!(written.has(codes::LEASE_TIME), bound);
                prop_assert_eq!(written.yiaddr().is_unspecified(), !bound);
                if let How::Frame(mac) = reply.delivery().how {
                    prop_assert_eq!(mac[0] & 1, 0);
                }
                if relayed && reply.delivery().rule == 2 {
                    prop_assert_eq!(*reply.delivery().to.ip(), giaddr);
                }
                if reply.kind() == ReplyKind::Nak {
                    prop_assert!(written.option_codes().all(|code| matches!(code, 53 | 54 | 56 | 61 | 82)));
                }
            }
        }
    }
}
