//! Classification expressions, and what classes cost a DISCOVER.

use std::borrow::Cow;

use divan::{Bencher, black_box};
use leasehold::dhcp::v4::handle;
use leasehold::expression::{Facts, Field, OptionNames, parse_test};
use leasehold::packet::v4::{Message, MessageType};
use leasehold::types::ClusterTime;

use crate::support::{Local, machine, packet, query, site};

const SIMPLE: &str = "option[60].hex == 'MSFT 5.0'";
const COMPLEX: &str = "substring(option[60].hex, 0, 9) == 'PXEClient' \
    and (option[93].hex == 0x0007 or option[93].hex == 0x0009) \
    and relay4[1].hex == 'eth0/1/7:100' and not (pkt4.giaddr == 10.9.9.9) \
    and hexstring(substring(pkt4.mac, 0, 3), ':') == '02:00:00'";

struct Names;

impl OptionNames for Names {
    fn code(&self, _: &str) -> Option<u32> {
        None
    }
    fn is_class(&self, _: &str) -> bool {
        true
    }
}

struct OfMessage(Message);

impl Facts for OfMessage {
    fn option(&self, code: u8) -> Option<Cow<'_, [u8]>> {
        self.0.option(code)
    }
    fn option_text(&self, code: u8) -> Option<Cow<'_, [u8]>> {
        self.0.option(code)
    }
    fn field(&self, field: Field) -> Cow<'_, [u8]> {
        match field {
            Field::Mac => self.0.chaddr().into(),
            Field::Giaddr => self.0.giaddr().octets().to_vec().into(),
            _ => Cow::default(),
        }
    }
    fn is_member(&self, _: &str) -> bool {
        true
    }
}

fn pxe() -> Vec<u8> {
    query(MessageType::Discover, 7)
        .option(60, b"PXEClient:Arch:00007:UNDI:003016")
        .option(93, &[0, 7])
        .option(82, &[&[1, 12][..], b"eth0/1/7:100"].concat())
        .encode()
}

#[divan::bench(args = ["simple", "complex"])]
fn evaluate(bencher: Bencher<'_, '_>, which: &str) {
    let test = parse_test(if which == "simple" { SIMPLE } else { COMPLEX }, &Names);
    let test = test.expect("a good expression");
    let facts = OfMessage(Message::received(pxe()).expect("a good datagram"));
    bencher.bench_local(|| black_box(&test).evaluate(black_box(&facts)));
}

/// A DISCOVER whole, in a configuration with so many classes; every other of them is complex.
#[divan::bench(args = [0, 1, 2, 20, 200])]
fn discover_with(bencher: Bencher<'_, '_>, count: usize) {
    let of = |n: usize| if n.is_multiple_of(2) { SIMPLE } else { COMPLEX };
    let class = |n| format!(r#"{{"name":"class-{n}","test":"{}"}}"#, of(n));
    let classes: Vec<String> = (0..count).map(class).collect();
    let state = machine(&site(&format!(r#","client-classes":[{}]"#, classes.join(","))), 1);
    let local = Local::new();
    let discover = packet(pxe(), ClusterTime::ZERO);
    bencher.bench_local(|| handle(&discover, &local.context(1), state.view(), ClusterTime::ZERO));
}
