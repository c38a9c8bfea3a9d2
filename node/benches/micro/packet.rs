//! Reading and writing datagrams.

use divan::{Bencher, black_box};
use leasehold::packet::v4::{Message, MessageType, Query, Reply};

use crate::support::{ASKED, OWN, hw, nth_address, query};

fn plain() -> Vec<u8> {
    Query::new(MessageType::Discover, 7, hw(7)).list(&ASKED).encode()
}

/// What a PXE client behind a relay sends.
fn with_many_options() -> Vec<u8> {
    query(MessageType::Discover, 7)
        .option(12, b"workstation-0007")
        .option(57, &1500u16.to_be_bytes())
        .option(60, b"PXEClient:Arch:00007:UNDI:003016")
        .option(77, b"iPXE")
        .option(93, &[0, 7])
        .option(94, &[1, 3, 16])
        .option(97, &[0; 17])
        .option(124, &[0, 0, 0x0d, 0xe9, 4, 3, b'a', b'b', b'c'])
        .option(125, &[0, 0, 0x0d, 0xe9, 5, 1, 3, 1, 2, 3])
        .option(82, &[&[1, 12][..], b"eth0/1/7:100", &[2, 6, 2, 0, 0, 0, 0, 9]].concat())
        .encode()
}

/// Options in several parts (RFC 3396).
fn with_long_options() -> Vec<u8> {
    query(MessageType::Discover, 7)
        .option(43, &[0x5a; 500])
        .option(125, &[&[0, 0, 0x0d, 0xe9, 255][..], &[0; 255]].concat())
        .encode()
}

#[divan::bench(args = ["plain", "many_options", "long_options"])]
fn parse(bencher: Bencher<'_, '_>, kind: &str) {
    let datagram = match kind {
        "plain" => plain(),
        "many_options" => with_many_options(),
        _ => with_long_options(),
    };
    bencher
        .with_inputs(|| datagram.clone())
        .bench_values(|datagram| Message::received(datagram).map(|it| it.message_type().is_ok()));
}

/// An ACK with what most clients ask for.
#[divan::bench]
fn encode_reply(bencher: Bencher<'_, '_>) {
    let message = Message::received(with_many_options()).expect("a good datagram");
    let mut reply = Reply::to(&message, MessageType::Ack);
    reply.yiaddr = nth_address(7);
    reply.set(1, [255, 0, 0, 0].as_slice());
    reply.set(3, [10, 0, 0, 1].as_slice());
    reply.set(6, [192, 0, 2, 53, 192, 0, 2, 54].as_slice());
    reply.set(15, b"example.org".as_slice());
    reply.set(51, 3600u32);
    reply.set(54, OWN);
    reply.set(58, 900u32);
    reply.set(59, 1800u32);
    reply.set(61, message.option(61).expect("it was put in"));
    reply.set(82, message.option(82).expect("it was put in"));
    bencher.bench_local(|| black_box(&reply).encode(1472));
}
