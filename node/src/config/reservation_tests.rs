//! Identifiers of reservations in every form, and where reservations may stand.

use serde_json::{Value as Json, json};

use super::*;
use crate::types::SubnetId;

fn subnet_with(reservations: &Json) -> Json {
    json!({ "Dhcp4": { "subnet4": [ { "id": 1, "subnet": "192.0.2.0/24",
        "pools": [ { "pool": "192.0.2.100 - 192.0.2.199" } ], "reservations": reservations } ] } })
}

fn read_ok(document: &Json) -> Config {
    from_json(document).unwrap_or_else(|mistakes| panic!("{document}: {mistakes}")).config
}

/// The identifier that a keyword and its value mean, and how it is shown.
fn identifier(key: &str, value: &str) -> Result<(IdentifierKind, Vec<u8>, String), String> {
    let document = subnet_with(&json!([ { key: value, "hostname": "a" } ]));
    let config = from_json(&document).map_err(|mistakes| {
        mistakes.iter().map(|mistake| mistake.text.clone()).collect::<Vec<_>>().join("; ")
    })?;
    let config = config.config;
    let host = config.subnets[0].reservations.iter().next().unwrap();
    let shown = config.to_json()["subnet4"][0]["reservations"][0][key].as_str().unwrap().to_owned();
    Ok((host.kind, host.identifier.to_vec(), shown))
}

#[test]
fn each_kind_of_identifier_is_read_in_its_forms_and_shown_in_one() {
    use IdentifierKind::*;
    type Case =
        (&'static str, IdentifierKind, &'static [&'static str], &'static [u8], &'static str);
    let cases: [Case; 6] = [
        (
            "hw-address",
            HwAddress,
            &["02:00:0A:0b", "2:0:a:b", "02000a0b"],
            &[2, 0, 10, 11],
            "02:00:0a:0b",
        ),
        ("duid", Duid, &["00:01:ab", "0001AB", "0x0001ab"], &[0, 1, 0xab], "00:01:ab"),
        ("circuit-id", CircuitId, &["'p1'", "70:31", "7031"], b"p1", "7031"),
        ("client-id", ClientId, &["'p1'", "70:31", "0x7031"], b"p1", "7031"),
        ("flex-id", FlexId, &["'p1'", "7031"], b"p1", "7031"),
        ("client-id", ClientId, &["01"], &[1], "01"),
    ];
    for (key, kind, forms, bytes, shown) in cases {
        for form in forms {
            let found = identifier(key, form);
            assert_eq!(found, Ok((kind, bytes.to_vec(), shown.to_owned())), "{key} {form}");
        }
        assert_eq!(identifier(key, shown).unwrap().1, bytes, "what is shown can be read");
    }
}

#[test]
fn identifiers_that_cannot_be_are_refused() {
    let long = |len: usize| "ab".repeat(len);
    for (key, most) in [
        ("hw-address", 20),
        ("duid", 130),
        ("circuit-id", 255),
        ("client-id", 255),
        ("flex-id", 255),
    ] {
        assert!(identifier(key, &long(most)).is_ok(), "{key}");
        let text = identifier(key, &long(most + 1)).unwrap_err();
        assert!(text.contains("invalid host identifier value"), "{text}");
        assert_eq!(identifier(key, ""), Err("empty host identifier used".to_owned()));
        assert_eq!(identifier(key, "zz"), Err("invalid host identifier value 'zz'".to_owned()));
    }
    for key in ["hw-address", "duid"] {
        let text = identifier(key, "'ab'").unwrap_err();
        assert_eq!(text, "invalid host identifier value ''ab''", "{key} is never text");
    }
}

#[test]
fn two_reservations_by_the_same_identifier_are_refused_whatever_its_kind() {
    for key in ["hw-address", "duid", "circuit-id", "client-id", "flex-id"] {
        let two = json!([ { key: "0a:0b", "hostname": "a" }, { key: "0A0B", "hostname": "b" } ]);
        let mistakes = from_json(&subnet_with(&two)).unwrap_err();
        let texts: Vec<&str> = mistakes.iter().map(|mistake| mistake.text.as_str()).collect();
        let [text] = texts[..] else { panic!("{texts:?}") };
        assert!(text.ends_with("as this host has already been added"), "{text}");
    }
    let two =
        json!([ { "client-id": "0a:0b", "hostname": "a" }, { "duid": "0a:0b", "hostname": "b" } ]);
    read_ok(&subnet_with(&two));
}

#[test]
fn global_reservations_may_name_any_address_once() {
    let global = |second: &str| {
        json!({ "Dhcp4": { "reservations": [
            { "hw-address": "02:00:00:00:00:01", "ip-address": "10.9.8.7" },
            { "hw-address": "02:00:00:00:00:02", "ip-address": second } ] } })
    };
    let config = read_ok(&global("10.9.8.8"));
    assert_eq!(config.reservations.len(), 2);
    assert!(config.asks_for(IdentifierKind::HwAddress));
    assert!(!config.asks_for(IdentifierKind::CircuitId));
    let mistakes = from_json(&global("10.9.8.7")).unwrap_err();
    assert!(mistakes.to_string().contains("There's already a reservation for this address"));
    let mut shared = global("10.9.8.7");
    shared["Dhcp4"]["ip-reservations-unique"] = false.into();
    assert_eq!(read_ok(&shared).reservations.of_address([10, 9, 8, 7].into()).count(), 2);
}

#[test]
fn reservations_lie_inside_and_outside_of_pools_alike() {
    let config = read_ok(&subnet_with(&json!([
        { "hw-address": "02:00:00:00:00:01", "ip-address": "192.0.2.7" },
        { "hw-address": "02:00:00:00:00:02", "ip-address": "192.0.2.107" } ])));
    assert_eq!(config.subnets[0].reservations.len(), 2);
}

/// As Kea 3.0 (watched): the client is KNOWN.
#[test]
fn a_reservation_may_promise_nothing() {
    let config = read_ok(&subnet_with(&json!([ { "hw-address": "02:00:00:00:00:01" } ])));
    assert_eq!(config.subnets[0].reservations.len(), 1);
}

#[test]
fn a_reservation_may_promise_nothing_but_classes() {
    let config = read_ok(&subnet_with(&json!([
        { "flex-id": "'x'", "client-classes": [ "one", "two" ], "next-server": "192.0.2.9",
          "server-hostname": "s", "boot-file-name": "b", "option-data": [ { "code": 3, "data": "192.0.2.1" } ] },
        { "circuit-id": "'y'", "client-classes": [ "one" ] } ])));
    let mut hosts = config.subnets[0].reservations.iter();
    let host = hosts.next().unwrap();
    let classes: Vec<&str> = host.classes().iter().map(|class| &**class).collect();
    assert_eq!(classes, ["one", "two"]);
    assert_eq!(host.next_server(), Some([192, 0, 2, 9].into()));
    assert_eq!((host.server_hostname(), host.boot_file_name()), (Some("s"), Some("b")));
    assert!(host.options().get(3).is_some());
    assert_eq!(hosts.next().unwrap().classes().len(), 1);
    // Flex-id is looked for only where it is named.
    assert!(config.asks_for(IdentifierKind::CircuitId) && !config.asks_for(IdentifierKind::FlexId));
    let again = read_ok(&json!({ "Dhcp4": config.to_json() }));
    assert_eq!(again.to_json(), config.to_json());
    let (one, other) = (&config.subnets[0].reservations, &again.subnets[0].reservations);
    assert!(one.iter().eq(other.iter()));
    let found = config.subnet(SubnetId(1)).unwrap();
    assert!(found.reservations.by_identifier(IdentifierKind::FlexId, b"x").is_some());
}
