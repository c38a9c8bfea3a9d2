//! What holds for every datagram: nothing panics, memory is bounded, what we write we read.

use std::borrow::Cow;

use dhcproto::{Decodable, Decoder};
use proptest::prelude::*;

use super::*;
use crate::types::HwAddr;

/// Datagrams that get past the header, with mutated options behind.
fn datagram() -> impl Strategy<Value = Vec<u8>> {
    let option = prop_oneof![
        (any::<u8>(), prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(code, value)| [
            &[code, value.len() as u8][..],
            &value
        ]
        .concat()),
        (Just(52u8), 0u8..5).prop_map(|(code, value)| vec![code, 1, value]),
        prop::collection::vec(any::<u8>(), 0..4),
        Just(vec![0]),
    ];
    let options = prop::collection::vec(option, 0..40).prop_map(|options| options.concat());
    (prop::array::uniform32(any::<u8>()), prop::collection::vec(any::<u8>(), 192), 0u8..18, options)
        .prop_map(|(head, fields, hlen, options)| {
            let mut bytes = [&head[..], &fields, &[0; 16], &options].concat();
            bytes[at::OP] = BOOTREQUEST;
            bytes[at::HLEN] = hlen;
            bytes[at::COOKIE].copy_from_slice(&MAGIC_COOKIE);
            bytes
        })
}

fn read_everything(message: &Message) {
    for code in 0..=u8::MAX {
        assert_eq!(message.has(code), message.option(code).is_some());
        let _ = (message.text(code), message.address(code), message.u32_option(code));
    }
    let _ = (message.message_type(), message.client_id(), message.hw_addr(), message.lease_time());
    let _ = (message.sname(), message.file(), message.max_message_size(), message.is_relayed());
    if let Some(info) = message.relay_info() {
        assert!(
            info.sub_options().map(|(_, value)| value.len() + 2).sum::<usize>() <= info.raw().len()
        );
    }
    let _ = format!("{message:?}");
}

/// A reply with random options, most of them requested.
fn reply() -> impl Strategy<Value = Reply> {
    let options =
        prop::collection::btree_map(any::<u8>(), prop::collection::vec(any::<u8>(), 0..400), 0..12);
    let list = prop::collection::vec(any::<u8>(), 0..12);
    let name = |max| prop::collection::vec(1u8..=255, 0..max);
    (options, list, name(70), name(140), any::<u32>()).prop_map(
        |(options, list, sname, file, xid)| {
            let query = Query::new(MessageType::Request, xid, HwAddr::ethernet([2, 0, 0, 0, 0, 1]));
            let mut reply = Reply::to(&query.message(), MessageType::Ack);
            for (code, value) in options {
                reply.set(code, value);
            }
            reply.requested = list;
            if xid % 3 > 0 {
                reply.sname = sname;
            }
            if xid % 2 > 0 {
                reply.file = file;
            }
            reply
        },
    )
}

proptest! {
    #[test]
    fn a10_arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(message) = Message::received(bytes) {
            read_everything(&message);
        }
    }

    #[test]
    fn a10_arbitrary_options_never_panic_and_a6_memory_is_bounded(bytes in datagram()) {
        let len = bytes.len();
        match Message::from_vec(bytes.clone()) {
            Ok(message) => {
                read_everything(&message);
                prop_assert!(message.heap() <= 4 * len, "{} for {len}", message.heap());
            }
            Err(why) => prop_assert_eq!(why, Malformed::HwAddrLength(bytes[at::HLEN])),
        }
    }

    #[test]
    fn p4_every_truncation_is_read_or_refused(bytes in datagram(), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(bytes.len());
        if let Ok(message) = Message::received(bytes[..cut].to_vec()) {
            read_everything(&message);
        }
    }

    #[test]
    fn w2_any_82_is_echoed_byte_for_byte(raw in prop::collection::vec(any::<u8>(), 1..700)) {
        let query = Query::new(MessageType::Discover, 1, HwAddr::ethernet([2, 0, 0, 0, 0, 1])).relay_info(&raw).message();
        let mut reply = Reply::to(&query, MessageType::Offer);
        reply.set(codes::RELAY_AGENT_INFO, query.relay_info().unwrap().into_raw());
        let encoded = reply.encode(548);
        let back = Message::parse_reply(&encoded.bytes).unwrap();
        let echoed = back.option(82);
        prop_assert_eq!(echoed.as_deref(), Some(&raw[..]));
    }

    #[test]
    fn what_was_written_is_read_back_and_writes_the_same(reply in reply(), limit in 548usize..1473) {
        let encoded = reply.encode(limit);
        let message = Message::parse_reply(&encoded.bytes).unwrap();
        prop_assert!(!message.faults().iter().any(|fault| matches!(fault.what, FaultKind::Overrun(_))));
        prop_assert_eq!(message.message_type(), Ok(MessageType::Ack));
        let own = [0, 52, 53, 255];
        for (code, value) in &reply.options {
            let echoed = message.option(*code);
            if [codes::TFTP_SERVER_NAME, codes::BOOT_FILE_NAME].contains(code) && encoded.omitted.contains(code) {
                continue; // the option, or the field of the same meaning
            }
            if own.contains(code) || encoded.omitted.contains(code) || (*code == 82 && value.is_empty()) {
                prop_assert!(own.contains(code) || echoed.is_none());
            } else {
                prop_assert_eq!(echoed.as_deref(), Some(&**value), "option {}", code);
            }
        }
        let fixed = [1, 51, 54, 58, 59, 61, 82];
        let never: usize = fixed.iter().filter_map(|code| reply.options.get(code)).map(|v| v.len() + 4).sum();
        prop_assert!(encoded.bytes.len() <= limit.max(HEADER + 7 + never));

        let mut again = Reply::to(&message, MessageType::Ack);
        again.requested = reply.requested.clone();
        (again.sname, again.file) = (message.sname().to_vec(), message.file().to_vec());
        for code in message.option_codes().filter(|code| ![52, 53].contains(code)) {
            again.set(code, message.option(code).map(Cow::into_owned).unwrap());
        }
        let rewritten = again.encode(limit);
        prop_assert!(rewritten.omitted.is_empty(), "what fitted once fits again");
        if encoded.omitted.is_empty() {
            prop_assert_eq!(rewritten.bytes, encoded.bytes);
        } else {
            // With something gone the rest may stand elsewhere, but it is the same.
            let reread = Message::parse_reply(&rewritten.bytes).unwrap();
            for code in (0..=255).filter(|code| *code != codes::OVERLOAD) {
                prop_assert_eq!(reread.option(code), message.option(code), "option {}", code);
            }
            prop_assert_eq!((reread.file(), reread.sname()), (message.file(), message.sname()));
        }
    }

    /// The independent decoder knows no overload and drops options it cannot type, so it is asked
    /// about well-formed replies that need neither.
    #[test]
    fn dhcproto_agrees_on_well_formed_replies(
        xid in any::<u32>(),
        yiaddr in any::<u32>(),
        lifetime in any::<u32>(),
        routers in prop::collection::vec(any::<[u8; 4]>(), 1..8),
        name in "[a-z]{1,20}",
        unknown in prop::collection::vec(any::<u8>(), 1..100),
    ) {
        use dhcproto::v4::{DhcpOption, OptionCode};
        let query = Query::new(MessageType::Request, xid, HwAddr::ethernet([2, 0, 0, 0, 0, 9]));
        let mut reply = Reply::to(&query.message(), MessageType::Ack);
        reply.yiaddr = yiaddr.into();
        reply.set(51, lifetime);
        reply.set(54, std::net::Ipv4Addr::new(192, 0, 2, 1));
        reply.set(3, routers.concat());
        reply.set(15, name.as_bytes());
        reply.set(224, unknown.clone());
        let encoded = reply.encode(1472);
        let message = dhcproto::v4::Message::decode(&mut Decoder::new(&encoded.bytes)).unwrap();
        prop_assert_eq!((message.xid(), u32::from(message.yiaddr())), (xid, yiaddr));
        prop_assert_eq!(message.chaddr(), [2, 0, 0, 0, 0, 9]);
        let opts = message.opts();
        prop_assert_eq!(opts.msg_type(), Some(dhcproto::v4::MessageType::Ack));
        prop_assert_eq!(opts.get(OptionCode::AddressLeaseTime), Some(&DhcpOption::AddressLeaseTime(lifetime)));
        let expected: Vec<_> = routers.into_iter().map(std::net::Ipv4Addr::from).collect();
        prop_assert_eq!(opts.get(OptionCode::Router), Some(&DhcpOption::Router(expected)));
        prop_assert_eq!(opts.get(OptionCode::DomainName), Some(&DhcpOption::DomainName(name)));
        match opts.get(OptionCode::Unknown(224)) {
            Some(DhcpOption::Unknown(option)) => prop_assert_eq!(option.data(), &unknown[..]),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
