//! Rules W1 to W3, one reply at a time.

use super::super::Query;
use super::*;
use crate::types::HwAddr;

fn query() -> Query {
    Query::new(MessageType::Discover, 7, HwAddr::ethernet([2, 0, 0, 0, 0, 1]))
}

fn offer(list: &[u8]) -> Reply {
    let mut reply = Reply::to(&query().list(list).message(), MessageType::Offer);
    reply.set(54, Ipv4Addr::new(192, 0, 2, 1));
    reply.set(51, 3600);
    reply
}

/// Codes in the options area, in order.
fn order(bytes: &[u8]) -> Vec<u8> {
    let mut codes = Vec::new();
    let mut rest = &bytes[HEADER..];
    while let [code, len, tail @ ..] = rest {
        if *code == codes::END {
            break;
        }
        codes.push(*code);
        rest = &tail[usize::from(*len)..];
    }
    codes
}

fn read(encoded: &Encoded) -> Message {
    let message = Message::parse_reply(&encoded.bytes).unwrap();
    assert_eq!(message.faults(), []);
    message
}

#[test]
fn m14_a_bootp_client_gets_no_option_that_only_dhcp_has() {
    let mut reply = offer(&[3]);
    for code in 50..=61 {
        reply.set(code, 7);
    }
    reply.set(3, Ipv4Addr::new(192, 0, 2, 254));
    reply.form = Form::Bootp;
    let encoded = reply.encode(548);
    assert_eq!((order(&encoded.bytes), encoded.bytes.len()), (vec![3, 60], 300));
    // Nor are its fields used for options.
    for code in 128..=180 {
        reply.set(code, vec![0; 12]);
    }
    let encoded = reply.encode(548);
    assert!(!encoded.omitted.is_empty() && encoded.bytes.len() <= 548);
    assert_eq!(encoded.bytes[at::SNAME.start..at::FILE.end], [0; 192]);

    reply.form = Form::PlainBootp;
    reply.file = b"boot".to_vec();
    let encoded = reply.encode(548);
    assert_eq!(encoded.bytes.len(), 300);
    assert_eq!(encoded.bytes[at::FILE.end..], [0; 64], "neither cookie nor options");
    assert_eq!(encoded.bytes[at::FILE][..5], *b"boot\0");
}

#[test]
fn the_header_is_copied_from_the_query() {
    let asked = query().broadcast().hops(2).secs(5).giaddr([192, 0, 2, 9].into()).message();
    let mut reply = Reply::to(&asked, MessageType::Ack);
    reply.yiaddr = [192, 0, 2, 50].into();
    reply.siaddr = [192, 0, 2, 60].into();
    reply.file = b"boot".to_vec();
    let message = read(&reply.encode(548));
    assert_eq!((message.xid(), message.hops(), message.flags(), message.secs()), (7, 2, 0x8000, 0));
    assert_eq!((message.giaddr(), message.hw_addr()), (asked.giaddr(), asked.hw_addr()));
    assert_eq!((message.yiaddr(), message.siaddr()), (reply.yiaddr, reply.siaddr));
    assert_eq!((message.file(), message.sname()), (&b"boot"[..], &b""[..]));
    assert_eq!(message.message_type(), Ok(MessageType::Ack));
}

#[test]
fn w1_53_first_then_ascending_82_last_and_padded_to_300() {
    let mut reply = offer(&[]);
    reply.set(82, vec![1, 1, 9]);
    reply.set(1, Ipv4Addr::new(255, 255, 255, 0));
    reply.set(252, vec![b'x']);
    reply.set(61, vec![1, 2]);
    reply.set(80, vec![]);
    let encoded = reply.encode(548);
    assert_eq!(order(&encoded.bytes), [53, 1, 51, 54, 61, 80, 252, 82]);
    assert_eq!(encoded.bytes.len(), 300);
    let end = encoded.bytes.iter().rposition(|byte| *byte != 0).unwrap();
    assert_eq!(encoded.bytes[end], codes::END);
    assert!(encoded.omitted.is_empty());
    assert!(read(&encoded).has(80), "an empty option is written");
}

#[test]
fn w1_the_writers_own_codes_are_not_taken_from_the_options() {
    let mut reply = offer(&[]);
    for code in [0, 52, 53, 255] {
        reply.set(code, vec![9]);
    }
    assert_eq!(order(&reply.encode(548).bytes), [53, 51, 54]);
}

#[test]
fn w2_82_goes_back_byte_for_byte_and_an_empty_one_does_not() {
    let sent = [2, 1, 9, 1, 1, 8, 2, 1, 9, 250, 0, 7, 99];
    let mut reply = offer(&[]);
    reply.set(82, &sent[..]);
    assert_eq!(read_any(&reply).option(82).as_deref(), Some(&sent[..]));
    reply.set(82, vec![]);
    assert!(!read_any(&reply).has(82));
}

fn read_any(reply: &Reply) -> Message {
    Message::parse_reply(&reply.encode(548).bytes).unwrap()
}

#[test]
fn w3_the_limit_is_option_57_and_the_mtu_less_the_headers() {
    assert_eq!(payload_limit(None, 1500), 548);
    assert_eq!(payload_limit(Some(10), 1500), 548);
    assert_eq!(payload_limit(Some(1400), 1500), 1372);
    assert_eq!(payload_limit(Some(1500), 1400), 1372);
    assert_eq!(payload_limit(Some(65_535), 65_536), MAX_REPLY);
    assert_eq!(payload_limit(None, 10), 0);
}

#[test]
fn w3_long_options_are_split() {
    let long: Vec<u8> = (0..=255).chain(0..=254).collect();
    let mut reply = offer(&[]);
    reply.set(43, long.clone());
    let encoded = reply.encode(1472);
    assert_eq!(order(&encoded.bytes), [53, 43, 43, 43, 51, 54]);
    assert_eq!(read(&encoded).option(43).as_deref(), Some(&long[..]));
}

#[test]
fn w3_free_fields_take_what_finds_no_room() {
    // Options area at 548: 304 behind 53 and End, less 3 for option 52 and 12 for 51 and 54.
    let mut reply = offer(&[15, 17]);
    reply.set(15, vec![b'a'; 200]);
    reply.set(17, vec![b'b'; 120]);
    reply.set(40, vec![b'c'; 60]);
    reply.set(82, vec![1, 1, 7]);
    let encoded = reply.encode(548);
    assert!(encoded.bytes.len() <= 548);
    assert!(encoded.omitted.is_empty());
    let message = read(&encoded);
    assert_eq!(message.option(52).as_deref(), Some(&[1][..]));
    for (code, len) in [(15, 200), (17, 120), (40, 60)] {
        assert_eq!(message.option(code).map(|value| value.len()), Some(len), "{code}");
    }
    assert_eq!(order(&encoded.bytes), [53, 15, 40, 51, 52, 54, 82], "17 is in `file`");

    reply.file = b"boot".to_vec();
    let encoded = reply.encode(548);
    assert_eq!(encoded.omitted, [17], "`file` is taken and `sname` too small");
    assert_eq!(read(&encoded).file(), b"boot");
    assert!(!read(&encoded).has(52));
}

#[test]
fn w3_a_field_keeps_room_for_its_end() {
    let mut reply = offer(&[15]);
    reply.set(15, vec![b'a'; 250]);
    for (len, fits) in [(125, true), (126, false)] {
        reply.set(17, vec![b'b'; len]);
        let encoded = reply.encode(548);
        assert_eq!(encoded.omitted.is_empty(), fits, "{len}");
        assert!(!fits || encoded.bytes[at::FILE.end - 1] == codes::END);
    }
}

#[test]
fn w3_sname_comes_after_file() {
    let mut reply = offer(&[]);
    reply.set(15, vec![b'a'; 255]);
    reply.set(17, vec![b'b'; 120]);
    reply.set(40, vec![b'c'; 60]);
    let encoded = reply.encode(548);
    let message = read(&encoded);
    assert_eq!(message.option(52).as_deref(), Some(&[3][..]));
    assert_eq!(message.option(17).as_deref(), Some(&[b'b'; 120][..]));
    assert_eq!(message.option(40).as_deref(), Some(&[b'c'; 60][..]));
    reply.file = b"boot".to_vec();
    let encoded = reply.encode(548);
    assert_eq!(
        (read(&encoded).option(52).as_deref(), &encoded.omitted[..]),
        (Some(&[2][..]), &[17][..])
    );
}

#[test]
fn w3_small_options_make_room_for_a_large_one() {
    // 289 bytes in the options area: 43 needs 252 of them and fits in no field.
    let mut reply = offer(&[15, 17, 43]);
    for (code, len) in [(15, 60), (17, 60), (43, 250)] {
        reply.set(code, vec![code; len]);
    }
    let encoded = reply.encode(548);
    assert!(encoded.omitted.is_empty());
    let message = read(&encoded);
    assert_eq!(message.option(52).as_deref(), Some(&[3][..]));
    assert_eq!(message.option(43).map(|value| value.len()), Some(250));
    assert!(message.has(15) && message.has(17));
}

#[test]
fn w3_unrequested_options_go_first_then_the_end_of_the_list() {
    let mut reply = offer(&[40, 17, 15]);
    reply.sname = b"taken".to_vec();
    reply.file = b"taken".to_vec();
    for code in [3, 15, 17, 40] {
        reply.set(code, vec![code; 90]);
    }
    // 304 - 12 = 292 behind the fixed ones: three of 92.
    assert_eq!(reply.encode(548).omitted, [3]);
    assert_eq!(reply.encode(500).omitted, [3, 15]);
    assert_eq!(reply.encode(400).omitted, [3, 15, 17]);
    assert_eq!(order(&reply.encode(400).bytes), [53, 40, 51, 54]);
    assert_eq!(reply.encode(300).omitted, [3, 15, 17, 40]);
}

#[test]
fn w3_what_a_lease_needs_is_never_left_out() {
    let mut reply = offer(&[3]);
    for code in NEVER_OMITTED {
        reply.set(*code, vec![9; 250]);
    }
    reply.set(3, vec![1; 200]);
    let encoded = reply.encode(548);
    assert_eq!(encoded.omitted, [3]);
    let message = Message::parse_reply(&encoded.bytes).unwrap();
    assert!(NEVER_OMITTED.iter().all(|code| message.has(*code)));
    assert!(encoded.bytes.len() > 548, "the caller sees that the limit was passed");
}

#[test]
fn w3_a_name_too_long_for_its_field_is_left_out() {
    let mut reply = offer(&[]);
    reply.file = vec![b'f'; 129];
    reply.sname = vec![b's'; 64];
    let encoded = reply.encode(548);
    assert_eq!(encoded.omitted, [codes::BOOT_FILE_NAME]);
    let message = read(&encoded);
    assert_eq!((message.file(), message.sname().len()), (&b""[..], 64));
}
