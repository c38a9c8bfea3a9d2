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
