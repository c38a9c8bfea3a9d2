use dhcproto::v4::{HType, Opcode};
use dhcproto::{Encodable, Encoder};

use super::*;

const RELAY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);

fn identity() -> Identity {
    Identity { seed: 0x0102, client_id: true, giaddr: RELAY, any_port: true }
}

fn query(kind: Kind) -> Query {
    let known = kind != Kind::Discover;
    let [address, server] = [ADDRESS, SERVER].map(|it| if known { u32::from(it) } else { 0 });
    Query { client: 0x0003_0405, kind, xid: 0xdead_beef, address, server }
}

fn sent(kind: Kind, identity: Identity) -> Message {
    let mut bytes = [0xff; LENGTH];
    Templates::new(identity).write(&query(kind), &mut bytes);
    Message::decode(&mut Decoder::new(&bytes)).expect("what we send decodes")
}

#[test]
fn every_message_is_what_the_rfc_has_a_client_in_that_state_send() {
    for kind in Kind::ALL {
        let message = sent(kind, identity());
        assert_eq!(message.opcode(), Opcode::BootRequest);
        assert_eq!((message.htype(), message.hlen(), message.hops()), (HType::Eth, 6, 1));
        assert_eq!(message.chaddr(), [2, 1, 2, 3, 4, 5]);
        assert_eq!((message.xid(), message.giaddr()), (0xdead_beef, RELAY));
        let options = message.opts();
        let id = DhcpOption::ClientIdentifier(vec![1, 2, 1, 2, 3, 4, 5]);
        assert_eq!(options.get(OptionCode::ClientIdentifier), Some(&id));
        let requested = options.get(OptionCode::RequestedIpAddress);
        let server = options.get(OptionCode::ServerIdentifier);
        let (said, named) =
            (DhcpOption::RequestedIpAddress(ADDRESS), DhcpOption::ServerIdentifier(SERVER));
        // RFC 2131, tables 4 and 5.
        let (message_type, ciaddr, has_requested, has_server) = match kind {
            Kind::Discover => (MessageType::Discover, Ipv4Addr::UNSPECIFIED, false, false),
            Kind::Request => (MessageType::Request, Ipv4Addr::UNSPECIFIED, true, true),
            Kind::Renew => (MessageType::Request, ADDRESS, false, false),
            Kind::Release => (MessageType::Release, ADDRESS, false, true),
        };
        assert_eq!((options.msg_type(), message.ciaddr()), (Some(message_type), ciaddr));
        assert_eq!(requested, has_requested.then_some(&said), "{kind:?}");
        assert_eq!(server, has_server.then_some(&named), "{kind:?}");
        assert!(options.get(OptionCode::RelayAgentInformation).is_some());
    }
}

#[test]
fn what_is_not_asked_for_is_not_sent() {
    let plain = Identity { client_id: false, any_port: false, ..identity() };
    let message = sent(Kind::Discover, plain);
    assert!(message.opts().get(OptionCode::ClientIdentifier).is_none());
    assert!(message.opts().get(OptionCode::RelayAgentInformation).is_none());
    // A renewal says that its client sent it by unicast.
    let message = sent(Kind::Renew, plain);
    assert!(message.opts().get(OptionCode::RelayAgentInformation).is_some());
}

fn reply(change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = Message::default();
    let none = Ipv4Addr::UNSPECIFIED;
    message
        .set_opcode(Opcode::BootReply)
        .set_xid(7)
        .set_yiaddr(ADDRESS)
        .set_ciaddr(none)
        .set_giaddr(RELAY)
        .set_chaddr(&[2, 1, 2, 0, 0, 9]);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(MessageType::Ack));
    options.insert(DhcpOption::ServerIdentifier(SERVER));
    options.insert(DhcpOption::AddressLeaseTime(600));
    options.insert(DhcpOption::Hostname("x".repeat(70)));
    change(&mut message);
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).expect("it encodes");
    bytes
}

#[test]
fn both_ways_of_reading_a_reply_agree() {
    let bytes = reply(|_| {});
    let read = Reply::read(&bytes, identity()).expect("a reply");
    let (address, server) = (u32::from(ADDRESS), u32::from(SERVER));
    let expected = Reply { client: 9, xid: 7, answer: Answer::Ack, address, server, lifetime: 600 };
    assert_eq!(read, expected);
    read.check(&bytes).expect("they agree");
    let other = Reply { address: 1, ..read };
    assert_eq!(
        other.check(&bytes),
        Err("two ways of reading it disagree about the yiaddr".to_owned())
    );
}

#[test]
fn what_a_client_could_not_use_is_malformed_and_what_is_for_others_is_stray() {
    let read = |bytes: &[u8]| Reply::read(bytes, identity());
    let malformed = |change: fn(&mut Message)| match read(&reply(change)) {
        Err(Bad::Malformed(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(
        malformed(|it| {
            let _ = it.set_yiaddr(Ipv4Addr::UNSPECIFIED);
        })
        .contains("yiaddr")
    );
    assert!(
        malformed(|it| {
            let _ = it.set_giaddr(SERVER);
        })
        .contains("giaddr")
    );
    assert!(
        malformed(|it| {
            let _ = it.opts_mut().remove(OptionCode::ServerIdentifier);
        })
        .contains("54")
    );
    assert!(
        malformed(|it| {
            let _ = it.opts_mut().remove(OptionCode::AddressLeaseTime);
        })
        .contains("51")
    );
    assert!(
        malformed(|it| {
            let _ = it.opts_mut().remove(OptionCode::MessageType);
        })
        .contains("53")
    );
    let stray: [fn(&mut Message); 2] = [
        |it| {
            let _ = it.set_chaddr(&[2, 1, 3, 0, 0, 9]);
        },
        |it| {
            let _ = it.set_opcode(Opcode::BootRequest);
        },
    ];
    for change in stray {
        assert_eq!(read(&reply(change)), Err(Bad::Stray));
    }
}

#[test]
fn no_datagram_makes_the_reader_panic() {
    let bytes = reply(|_| {});
    for length in 0..bytes.len() {
        assert!(Reply::read(&bytes[..length], identity()).is_err(), "{length}");
    }
    for at in 0..bytes.len() {
        for value in [0, 1, 52, 82, 254, 255] {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            if let Ok(read) = Reply::read(&bytes, identity()) {
                let _ = read.check(&bytes);
            }
        }
    }
}
