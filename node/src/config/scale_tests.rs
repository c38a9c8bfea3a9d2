//! Documents with many reservations and subnets. The measurements of a million are in the release
//! notes; here the same on a small scale, where nothing may depend on the size.

use super::testing::large;
use super::*;
use crate::types::SubnetId;

#[test]
fn a_large_document_is_read_found_in_and_printed_again() {
    let text = large(1, 20_000);
    let parsed = parse(&text, "large.conf", &mut |_| Err(String::new())).unwrap();
    let config = parsed.config;
    let reservations = &config.subnet(SubnetId(1)).unwrap().reservations;
    assert_eq!(reservations.len(), 20_000);
    for host in [0u32, 9, 19_999] {
        let [_, b, c, d] = (0x0a00_0002 + host).to_be_bytes();
        let found = reservations.by_identifier(IdentifierKind::HwAddress, &[2, 0, 0, b, c, d]);
        let found = found.unwrap();
        assert_eq!(*found.hostname, *format!("host-0-{host}"));
        assert_eq!(found.options().get(66).is_some(), host % 10 == 9);
        let by_address: Vec<_> = reservations.of_address([10, b, c, d].into()).collect();
        assert_eq!(by_address, [found]);
    }
    let again = from_text(config.document()).unwrap().config;
    assert_eq!(again.document(), config.document());
    assert_eq!(again.hash(), config.hash());
}

#[test]
fn many_subnets_are_each_found() {
    let config = from_text(&large(1_000, 2)).unwrap().config;
    assert_eq!(config.subnets.len(), 1_000);
    for id in [1u32, 500, 1_000] {
        let [_, b, c, _] = (0x0a00_0000 + ((id - 1) << 8)).to_be_bytes();
        let none = crate::types::ClassSet::new();
        let found = config.subnet_holding([10, b, c, 77].into(), &none).unwrap();
        assert_eq!(found.id, SubnetId(id));
    }
}

#[test]
fn places_of_mistakes_are_found_in_a_large_document() {
    let text = large(1, 3_000).replace("\"10.0.11.185\"", "\"10.0.11.zz\"");
    let line = text.lines().position(|line| line.contains("10.0.11.zz")).unwrap();
    let column = text.lines().nth(line).unwrap().find("\"10.0.11.zz\"").unwrap();
    let mistakes = parse(&text, "large.conf", &mut |_| Err(String::new())).unwrap_err();
    let places: Vec<_> = mistakes.iter().map(|mistake| (mistake.line, mistake.column)).collect();
    assert_eq!(places, [(line as u32 + 1, column as u32 + 1)]);
}

/// `cargo test -p leasehold --lib figures_of_an_edit -- --ignored --nocapture`
#[test]
#[ignore = "figures for a release note: takes a minute and a gigabyte, and asserts little"]
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn figures_of_an_edit_among_a_million() {
    use std::time::Instant;

    use super::edit::{Edit, Verb};

    let resident = || -> u64 {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
        (pages.unwrap_or(0u64) * 4096) >> 20
    };
    let before = resident();
    let begin = Instant::now();
    let mut config = from_text(&large(1, 1_000_000)).unwrap().config;
    println!("read: {:?}, {} MiB", begin.elapsed(), resident() - before);
    let edit = |verb, arguments: String| Edit { verb, arguments: arguments.into() };
    let all: Vec<Edit> = (0u32..30_000)
        .map(|at| match at % 3 {
            0 => edit(
                Verb::ReservationAdd,
                format!(
                    r#"{{"reservation":{{"subnet-id":1,"duid":"{at:08x}","ip-address":"10.200.{}.{}","hostname":"new-{at}"}}}}"#,
                    at >> 8,
                    at & 0xff
                ),
            ),
            1 => edit(
                Verb::ReservationUpdate,
                format!(r#"{{"reservation":{{"subnet-id":1,"duid":"{:08x}","hostname":"changed-{at}"}}}}"#, at - 1),
            ),
            _ => edit(
                Verb::ReservationDel,
                format!(r#"{{"subnet-id":1,"ip-address":"10.{}.{}.{}"}}"#, at >> 16, at >> 8 & 0xff, at & 0xff),
            ),
        })
        .collect();
    let (middle, begin) = (resident(), Instant::now());
    let mut longest = std::time::Duration::ZERO;
    for edit in &all {
        let one = Instant::now();
        config = config.edited(std::slice::from_ref(edit)).unwrap().config;
        longest = longest.max(one.elapsed());
    }
    let each = begin.elapsed() / 30_000;
    println!(
        "30 000 edits: {each:?} each, the longest {longest:?}, {} MiB more",
        resident() - middle
    );
    let begin = Instant::now();
    let mut found = 0;
    for host in 0..1_000_000u32 {
        let [_, b, c, d] = (0x0a00_0002 + host).to_be_bytes();
        let reservations = &config.subnets[0].reservations;
        let host = reservations.by_identifier(IdentifierKind::HwAddress, &[2, 0, 0, b, c, d]);
        found += usize::from(host.is_some());
    }
    println!("look-up: {:?} each", begin.elapsed() / 1_000_000);
    assert_eq!(found, 990_000);
    let begin = Instant::now();
    let (page, next) = config.hosts_after(None, HostCursor(0), 1_000);
    println!("first page of {}: {:?}", page.len(), begin.elapsed());
    let begin = Instant::now();
    let (page, _) = config.hosts_after(None, next, 1_000);
    println!("second page of {}: {:?}", page.len(), begin.elapsed());
    let begin = Instant::now();
    let document = config.document().len();
    println!("document of {document} bytes: {:?}", begin.elapsed());
}

/// `cargo test --release an_edit_among -- --ignored --nocapture`
#[test]
#[ignore = "prints figures, and checks nothing that other tests do not"]
fn an_edit_among_ten_thousand_subnets() {
    use super::edit::{Edit, Verb};
    let config = from_text(&large(10_000, 2)).unwrap().config;
    let add = |id: u32| {
        let text = format!(r#"{{"subnet4":[{{"id":{id},"subnet":"172.16.{}.0/24"}}]}}"#, id % 200);
        Edit { verb: Verb::SubnetAdd, arguments: text.into() }
    };
    let time = |what: &str, work: &dyn Fn()| {
        let watch = crate::clock::Stopwatch::start();
        work();
        println!("{what}: {:?}, document of {} bytes", watch.elapsed(), config.document().len());
    };
    time("subnet4-add", &|| drop(config.edited(&[add(20_001)]).unwrap()));
    let many: Vec<Edit> = (20_000..20_200).map(add).collect();
    time("200 at once", &|| drop(config.edited(&many).unwrap()));
    time("subnet4-get", &|| drop(config.print_subnet(SubnetId(5_000)).unwrap()));
}
