//! Rules P1 to P9, one datagram at a time.

use super::super::{Area, HEADER, Query, at};
use super::*;
use crate::types::HwAddr;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn discover() -> Query {
    Query::new(MessageType::Discover, 0x0102_0304, HwAddr::ethernet(MAC))
}

fn faults(message: &Message) -> Vec<(u8, FaultKind)> {
    message.faults().iter().map(|fault| (fault.code, fault.what)).collect()
}

#[test]
fn the_header_is_read_field_by_field() {
    let message = discover()
        .secs(9)
        .hops(3)
        .broadcast()
        .ciaddr([192, 0, 2, 1].into())
        .giaddr([192, 0, 2, 2].into())
        .sname(b"srv\0junk")
        .file(b"boot")
        .message();
    assert_eq!((message.op(), message.htype(), message.hlen(), message.hops()), (1, 1, 6, 3));
    assert_eq!((message.xid(), message.secs(), message.flags()), (0x0102_0304, 9, 0x8000));
    assert!(message.broadcast_flag() && message.is_relayed());
    assert_eq!(message.ciaddr(), Ipv4Addr::new(192, 0, 2, 1));
    assert_eq!(message.giaddr(), Ipv4Addr::new(192, 0, 2, 2));
    assert_eq!(
        (message.yiaddr(), message.siaddr()),
        (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED)
    );
    assert_eq!(message.chaddr(), MAC);
    assert_eq!(message.hw_addr(), HwAddr::ethernet(MAC));
    assert_eq!((message.sname(), message.file()), (&b"srv"[..], &b"boot"[..]));
    assert_eq!(message.message_type(), Ok(MessageType::Discover));
    assert_eq!(message.faults(), []);
}

#[test]
fn giaddr_of_all_ones_is_not_relayed() {
    assert!(!discover().message().is_relayed());
    assert!(!discover().giaddr(Ipv4Addr::BROADCAST).message().is_relayed());
}

#[test]
fn m14_what_may_be_bootp_is_a_message_without_options() {
    let good = discover().file(b"boot").encode();
    let received = |bytes: &[u8]| Message::received(bytes.to_vec());
    assert_eq!(received(&good).unwrap().not_dhcp(), None);
    for len in 0..HEADER {
        match received(&good[..len]) {
            Ok(message) => {
                assert!(len >= BOOTP);
                assert_eq!(message.not_dhcp(), Some(Malformed::Short));
                assert_eq!(message.message_type(), Err(BadMessageType::Absent));
                assert_eq!((message.option_codes().count(), message.file()), (0, &b"boot"[..]));
            }
            Err(why) => assert!(len < BOOTP && why == Malformed::Short, "{len}"),
        }
    }
    let mut plain = good.clone();
    plain[at::COOKIE].fill(0);
    let message = received(&plain).unwrap();
    assert_eq!((message.not_dhcp(), message.chaddr()), (Some(Malformed::Cookie), &MAC[..]));
    assert_eq!(message.option_codes().count(), 0);
    // Without a cookie the rules of the header hold all the same.
    plain[at::OP] = 2;
    assert_eq!(received(&plain).unwrap_err(), Malformed::Op(2));
    plain[at::OP] = 1;
    plain[at::HLEN] = 17;
    assert_eq!(received(&plain[..BOOTP]).unwrap_err(), Malformed::HwAddrLength(17));
}

#[test]
fn p1_short_datagrams_and_wrong_cookies_are_no_dhcp() {
    let good = discover().encode();
    for len in 0..HEADER {
        assert_eq!(Message::parse(&good[..len]).unwrap_err(), Malformed::Short, "{len}");
    }
    let bare = Message::parse(&good[..HEADER]).unwrap();
    assert_eq!(bare.message_type(), Err(BadMessageType::Absent));
    let mut bad = good.clone();
    bad[239] = 98;
    assert_eq!(Message::parse(&bad).unwrap_err(), Malformed::Cookie);
    assert_eq!(Message::parse(&vec![0; 65_536]).unwrap_err(), Malformed::Long);
}

#[test]
fn p2_only_op_1_is_a_query() {
    for op in [0, 2, 3, 255] {
        let datagram = discover().bytes_at(at::OP, &[op]).encode();
        assert_eq!(Message::parse(&datagram).unwrap_err(), Malformed::Op(op));
    }
    let reply = discover().bytes_at(at::OP, &[2]).encode();
    assert_eq!(Message::parse_reply(&reply).unwrap().op(), 2);
    assert_eq!(Message::parse_reply(&discover().encode()).unwrap_err(), Malformed::Op(1));
}

#[test]
fn p3_hlen_is_at_most_16() {
    for hlen in 0..=u8::MAX {
        let read = Message::from_vec(discover().bytes_at(at::HLEN, &[hlen]).encode());
        match read {
            Ok(message) => assert_eq!(message.chaddr().len(), usize::from(hlen)),
            Err(why) => assert_eq!((why, hlen > 16), (Malformed::HwAddrLength(hlen), true)),
        }
    }
    assert!(discover().bytes_at(at::HLEN, &[0]).message().hw_addr().bytes().is_empty());
}

#[test]
fn p4_a_length_that_overruns_keeps_what_came_before() {
    let message = Message::from_vec(discover().raw(&[12, 200, b'a']).without_end()).unwrap();
    assert_eq!(message.message_type(), Ok(MessageType::Discover));
    assert!(!message.has(12));
    assert_eq!(faults(&message), [(12, FaultKind::Overrun(Area::Options))]);

    let no_length = Message::from_vec(discover().raw(&[61]).without_end()).unwrap();
    assert_eq!(faults(&no_length), [(61, FaultKind::Overrun(Area::Options))]);
}

#[test]
fn p4_a_missing_end_is_no_fault_and_nothing_is_read_behind_end() {
    let open = Message::from_vec(discover().without_end()).unwrap();
    assert_eq!(open.faults(), []);
    let behind = discover().raw(&[255, 12, 1, b'a']).message();
    assert!(!behind.has(12));
    let padded = discover().raw(&[0, 0, 0]).option(12, b"a").message();
    assert_eq!(padded.option(12).as_deref(), Some(&b"a"[..]));
}

#[test]
fn p5_overload_reads_file_then_sname() {
    let bare = Query::bare(1, HwAddr::ethernet(MAC));
    let both = bare
        .clone()
        .option(52, &[3])
        .file(&[53, 1, 1, 12, 1, b'a', 255])
        .sname(&[12, 1, b'b', 52, 1, 1]);
    let message = both.message();
    assert_eq!(message.message_type(), Ok(MessageType::Discover));
    assert_eq!(message.option(12).as_deref(), Some(&b"ab"[..]));
    assert_eq!(message.option(52).as_deref(), Some(&[3][..]), "a 52 inside the areas is ignored");
    assert_eq!((message.file(), message.sname()), (&[][..], &[][..]));
    assert_eq!(message.faults(), []);

    let only_sname = bare.clone().option(52, &[2]).file(b"boot").sname(&[53, 1, 1]).message();
    assert_eq!(only_sname.message_type(), Ok(MessageType::Discover));
    assert_eq!(only_sname.file(), b"boot");
}

#[test]
fn p5_options_do_not_run_from_one_area_into_the_next() {
    let file = [&[53, 1, 1, 12, 123][..], &[b'x'; 123]].concat();
    let fits = Query::bare(1, HwAddr::ethernet(MAC)).option(52, &[1]).file(&file).message();
    assert_eq!(fits.option(12).map(|name| name.len()), Some(123));
    assert_eq!(fits.faults(), []);
    let file = [&[53, 1, 1, 12, 124][..], &[b'x'; 123]].concat();
    let over = Query::bare(1, HwAddr::ethernet(MAC)).option(52, &[1]).file(&file).message();
    assert_eq!(over.message_type(), Ok(MessageType::Discover));
    assert_eq!(faults(&over), [(12, FaultKind::Overrun(Area::File))]);
}

#[test]
fn p5_other_values_of_52_leave_the_fields_alone() {
    for value in [&[0][..], &[4], &[], &[1, 1]] {
        let message = discover().option(52, value).file(b"boot").sname(&[b's'; 64]).message();
        assert_eq!(message.file(), b"boot");
        assert_eq!(message.sname(), [b's'; 64], "a field without NUL is read to its end");
        assert_eq!(faults(&message), [(52, FaultKind::Value)]);
    }
}

#[test]
fn p6_instances_are_joined_wherever_they_stand() {
    let message = discover()
        .option(61, &[1, 2])
        .raw(&[0])
        .option(12, b"a")
        .option(61, &[3])
        .option(61, &[])
        .option(52, &[1])
        .file(&[61, 1, 4])
        .message();
    assert_eq!(message.option(61).as_deref(), Some(&[1, 2, 3, 4][..]));
    assert!(matches!(message.client_id(), ClientIdOption::Is(id) if id.bytes() == [1, 2, 3, 4]));
    assert!(matches!(message.option(12), Some(Cow::Borrowed(_))), "one instance is not copied");
}

#[test]
fn p7_the_message_type_is_one_byte_of_a_known_type() {
    let with = |value: &[u8]| {
        Query::bare(1, HwAddr::ethernet(MAC)).option(53, value).message().message_type()
    };
    assert_eq!(with(&[]), Err(BadMessageType::Length));
    assert_eq!(with(&[1, 1]), Err(BadMessageType::Length));
    assert_eq!(with(&[0]), Err(BadMessageType::Unknown(0)));
    assert_eq!(with(&[200]), Err(BadMessageType::Unknown(200)));
    for known in MessageType::ALL {
        assert_eq!(with(&[known.code()]), Ok(*known));
    }
    assert_eq!(discover().option(53, &[3]).message().message_type(), Err(BadMessageType::Length));
    assert_eq!(
        Query::bare(1, HwAddr::ethernet(MAC)).message().message_type(),
        Err(BadMessageType::Absent)
    );
}

#[test]
fn p7_addresses_tell_absent_from_bad() {
    let none = discover().message();
    assert_eq!(
        (none.requested_address(), none.server_id()),
        (TypedOption::Absent, TypedOption::Absent)
    );
    for bad in [&[][..], &[1, 2, 3], &[1, 2, 3, 4, 5]] {
        let message = discover().option(50, bad).option(54, bad).message();
        assert_eq!(
            (message.requested_address(), message.server_id()),
            (TypedOption::Bad, TypedOption::Bad)
        );
        assert_eq!(message.requested_address().ok(), None);
        assert!(message.server_id().is_present());
        assert_eq!(faults(&message), [(50, FaultKind::Length), (54, FaultKind::Length)]);
    }
    let address = Ipv4Addr::new(192, 0, 2, 7);
    let good = discover().requested_address(address).server_id(address).message();
    assert_eq!(
        (good.requested_address().ok(), good.server_id().ok()),
        (Some(address), Some(address))
    );
}

#[test]
fn p7_client_ids_are_ignored_taken_or_refused_by_length() {
    let with = |len: usize| discover().client_id(&vec![7; len]).message().client_id();
    assert_eq!(discover().message().client_id(), ClientIdOption::Absent);
    assert_eq!((with(0), with(1)), (ClientIdOption::Ignored, ClientIdOption::Ignored));
    assert!(matches!(with(2), ClientIdOption::Is(id) if id.bytes().len() == 2));
    assert!(matches!(with(255), ClientIdOption::Is(id) if id.bytes().len() == 255));
    assert_eq!((with(256), with(300)), (ClientIdOption::TooLong, ClientIdOption::TooLong));
}

#[test]
fn p7_a_broken_option_hides_no_other() {
    let message = discover()
        .option(12, b"\xe9\0x")
        .option(51, &[1, 2, 3, 4, 5])
        .option(55, &[])
        .option(57, &[10])
        .option(93, &[0])
        .option(82, &[1, 9, 5])
        .option(61, &[0xff, 1, 2])
        .message();
    assert!(matches!(message.client_id(), ClientIdOption::Is(_)));
    assert_eq!((message.lease_time(), message.max_message_size()), (None, None));
    assert!(message.parameter_request_list().is_empty());
    let info = message.relay_info().unwrap();
    assert_eq!((info.raw(), info.sub_options().count()), (&[1, 9, 5][..], 0));
    let codes: Vec<u8> = message.faults().iter().map(|fault| fault.code).collect();
    assert_eq!(codes, [51, 55, 57, 93, 82]);
}

#[test]
fn p9_text_loses_trailing_nuls_and_nothing_else() {
    let text = |value: &[u8]| discover().option(12, value).message().text(12).map(Cow::into_owned);
    assert_eq!(text(b"host\0\0"), Some(b"host".to_vec()));
    assert_eq!(text(b"a\0b\0"), Some(b"a\0b".to_vec()));
    assert_eq!((text(b""), text(b"\0\0"), discover().message().text(12)), (None, None, None));
    let split = discover().option(12, b"ho").option(12, b"st\0").message();
    assert_eq!(split.text(12).as_deref(), Some(&b"host"[..]));
}

#[test]
fn numbers_are_read_at_their_exact_length() {
    let message =
        discover().option(51, &[0, 0, 14, 16]).option(57, &[5, 220]).list(&[1, 3, 3]).message();
    assert_eq!(message.lease_time(), Some(Lifetime::from_secs(3600)));
    assert_eq!(message.max_message_size(), Some(1500));
    assert_eq!(*message.parameter_request_list(), [1, 3, 3]);
    assert_eq!(message.option_codes().collect::<Vec<_>>(), [51, 53, 55, 57]);
}

#[test]
fn debug_shows_no_client_bytes_as_text() {
    let shown = format!("{:?}", discover().option(12, b"\x1b[31mevil").message());
    assert!(!shown.contains("evil") && !shown.contains('\x1b'), "{shown}");
}
