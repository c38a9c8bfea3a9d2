//! Edits of reservations: what they refuse, and that the short way comes to what the long one does.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::config::testing::large;
use crate::config::tests::model;
use crate::config::{Host, HostCursor, IdentifierKind, from_text};

const BASE: &str = r#"{"Dhcp4":{
    "client-classes":[{"name":"a","test":"option[60].exists"}],
    "reservations":[{"hw-address":"02:00:00:00:00:01","hostname":"everywhere"}],
    "shared-networks":[{"name":"n","subnet4":[
        {"id":20,"subnet":"198.51.100.0/24"},
        {"id":1,"subnet":"203.0.113.0/24","reservations":[]}]}],
    "subnet4":[
        {"id":10,"subnet":"192.0.2.0/24","reservations":[
            {"hw-address":"02:00:00:00:00:01","ip-address":"192.0.2.1","hostname":"one"},
            {"client-id":"01:02","ip-address":"192.0.2.2","user-context":{"rack":7},"comment":"two"},
            {"hw-address":"02:00:00:00:00:03","hostname":"three"}]}]}}"#;

fn base() -> Config {
    from_text(BASE).unwrap().config
}

fn edit(verb: Verb, arguments: &Json) -> Edit {
    Edit { verb, arguments: arguments.to_string().into() }
}

fn made(config: &Config, verb: Verb, arguments: &Json) -> Config {
    let edited = config.edited(&[edit(verb, arguments)]);
    edited.unwrap_or_else(|no| panic!("{arguments}: {no:?}")).config
}

fn refused(config: &Config, verb: Verb, arguments: &Json) -> (NoEditKind, String) {
    let no = config.edited(&[edit(verb, arguments)]).expect_err("it is made");
    (no.kind, no.text)
}

fn add(reservation: Json) -> Json {
    json!({ "reservation": reservation })
}

fn host(address: u8, last: u8) -> Json {
    json!({ "subnet-id": 10, "hw-address": format!("02:00:00:00:00:{last:02x}"),
        "ip-address": format!("192.0.2.{address}") })
}

/// Every reservation as it is shown, page by page.
fn pages(config: &Config, subnet: Option<SubnetId>, limit: usize) -> Vec<String> {
    let (mut shown, mut from) = (Vec::new(), HostCursor(0));
    loop {
        let (page, next) = config.hosts_after(subnet, from, limit);
        assert!(page.is_empty() || next > from);
        if page.is_empty() {
            return shown;
        }
        shown.extend(page.iter().map(|host| show(config, host)));
        from = next;
    }
}

fn show(config: &Config, host: &Host<'_>) -> String {
    let mut text = String::new();
    host.print(config, &mut text);
    text
}

#[test]
fn one_is_added_changed_and_deleted_in_the_document() {
    let list =
        |config: &Config| config.document_json()["Dhcp4"]["subnet4"][0]["reservations"].clone();
    let first = made(&base(), Verb::ReservationAdd, &add(host(9, 9)));
    let mut written = host(9, 9);
    written.as_object_mut().unwrap().remove("subnet-id");
    assert_eq!(list(&first)[3], written);
    let second =
        json!({ "reservation": { "subnet-id": 10, "client-id": "0102", "hostname": "zwei" } });
    let second = made(&first, Verb::ReservationUpdate, &second);
    assert_eq!(list(&second)[1], json!({ "client-id": "0102", "hostname": "zwei" }));
    let third = json!({ "subnet-id": 10, "ip-address": "192.0.2.1" });
    let third = made(&second, Verb::ReservationDel, &third);
    assert_eq!(list(&third).as_array().map(Vec::len), Some(3));
    assert_eq!(list(&third)[0], list(&second)[1]);
    // Those before are what they were.
    assert_eq!(list(&base()).as_array().map(Vec::len), Some(3));
    assert_eq!(list(&first).as_array().map(Vec::len), Some(4));
    let subnet = third.subnet(SubnetId(10)).unwrap();
    let hw = |last: u8| {
        subnet.reservations.by_identifier(IdentifierKind::HwAddress, &[2, 0, 0, 0, 0, last])
    };
    assert!(hw(1).is_none() && hw(9).is_some());
}

#[test]
fn a_list_is_made_where_there_is_none() {
    let all = [
        (0, "/reservations"),
        (20, "/shared-networks/0/subnet4/0/reservations"),
        (1, "/shared-networks/0/subnet4/1/reservations"),
    ];
    for (id, pointer) in all {
        let one = json!({ "subnet-id": id, "duid": "0a:0b", "hostname": "x" });
        let config = made(&base(), Verb::ReservationAdd, &add(one));
        let list = config.document_json()["Dhcp4"].pointer(pointer).cloned().unwrap();
        assert_eq!(
            list.as_array().unwrap().last(),
            Some(&json!({ "duid": "0a:0b", "hostname": "x" }))
        );
        let one = json!({ "subnet-id": id, "identifier-type": "duid", "identifier": "'\n\u{b}'" });
        let config = made(&config, Verb::ReservationDel, &one);
        let left = usize::from(id == 0);
        let list = config.document_json()["Dhcp4"].pointer(pointer).cloned().unwrap();
        assert_eq!(list.as_array().map(Vec::len), Some(left));
    }
    let bare = from_text(r#"{"Dhcp4":{}}"#).unwrap().config;
    let config = made(&bare, Verb::ReservationAdd, &add(json!({ "duid": "0a", "hostname": "x" })));
    assert_eq!(config.document(), r#"{"Dhcp4":{"reservations":[{"duid":"0a","hostname":"x"}]}}"#);
}

#[test]
fn what_a_new_reservation_must_not_be() {
    let no = |reservation: Json| refused(&base(), Verb::ReservationAdd, &add(reservation));
    let error = |text: &str| (NoEditKind::Error, text.to_owned());
    assert_eq!(
        no(json!({ "subnet-id": 99, "hw-address": "02:00:00:00:00:09", "hostname": "x" })),
        error("IPv4 subnet with ID of '99' is not configured")
    );
    assert_eq!(
        no(json!({ "subnet-id": 10, "hw-address": "02:00:00:00:00:09", "ip-address": "10.0.0.1" })),
        error(
            "specified reservation '10.0.0.1' is not matching the IPv4 subnet prefix '192.0.2.0/24'"
        )
    );
    assert_eq!(
        no(json!({ "hw-address": "02:00:00:00:00:09", "ip-address": "198.51.100.9" })),
        error(
            "Mandatory 'subnet-id' parameter missing. The address '198.51.100.9' belongs to subnet '198.51.100.0/24' id 20."
        )
    );
    assert_eq!(
        no(json!({ "hw-address": "02:00:00:00:00:09", "ip-address": "10.9.9.9" })),
        error(
            "Mandatory 'subnet-id' parameter missing. The address '10.9.9.9' belongs to no configured subnet."
        )
    );
    assert_eq!(
        no(host(9, 1)),
        error(
            "failed to add new host using the HW address '02:00:00:00:00:01' to the IPv4 subnet id '10' as this host \
             has already been added (<wire>:1:16)"
        )
    );
    assert_eq!(
        no(host(2, 9)),
        error(
            "failed to add new host using the HW address '02:00:00:00:00:09' to the IPv4 subnet id '10' for the address \
             192.0.2.2: There's already a reservation for this address (<wire>:1:78)"
        )
    );
    let shared = BASE.replacen("{\"Dhcp4\":{", "{\"Dhcp4\":{\"ip-reservations-unique\":false,", 1);
    let shared = made(&from_text(&shared).unwrap().config, Verb::ReservationAdd, &add(host(2, 9)));
    let subnet = shared.subnet(SubnetId(10)).unwrap();
    assert_eq!(subnet.reservations.of_address([192, 0, 2, 2].into()).count(), 2);
    for (wrong, text) in [
        (json!({ "hostname": "x" }), "one of the supported identifiers must be specified"),
        (
            json!({ "hw-address": "0a:0b", "client-id": "01:02", "hostname": "x" }),
            "the 'hw-address' and 'client-id' are mutually exclusive",
        ),
        (json!({ "hw-address": "zz", "hostname": "x" }), "invalid host identifier value 'zz'"),
        (
            json!({ "hw-address": "0a", "hostname": "x", "foo": 1 }),
            "got unexpected keyword \"foo\"",
        ),
        (json!({ "hw-address": "0a", "hostname": 5 }), "syntax error, unexpected integer"),
        (
            json!({ "hw-address": "0a", "ip-address": "zz" }),
            "Failed to convert string to address 'zz'",
        ),
        (
            json!({ "hw-address": "0a", "option-data": [{ "name": "nonsense", "data": "1" }] }),
            "definition for the option 'dhcp4.nonsense'",
        ),
        (json!({ "subnet-id": "x" }), "'subnet-id' parameter is not integer."),
        (
            json!({ "subnet-id": -1 }),
            "subnet-id: -1 is invalid, must be between 0 and 4294967294 (inclusive).",
        ),
    ] {
        let (kind, found) = no(wrong);
        assert_eq!(kind, NoEditKind::Error);
        assert!(found.starts_with(text), "{found}");
    }
    let no = |arguments: Json| refused(&base(), Verb::ReservationAdd, &arguments).1;
    assert_eq!(no(json!({})), "reservation must be specified");
    assert!(no(json!({ "reservation": 5 })).starts_with("invalid type"));
    let mut elsewhere = add(host(9, 9));
    elsewhere["operation-target"] = "x".into();
    assert_eq!(
        no(elsewhere),
        "The 'operation-target' value (x) is not within expected set: (memory, database, all, default)"
    );
}

#[test]
fn only_what_is_there_is_changed_or_deleted() {
    let update = |reservation: Json| refused(&base(), Verb::ReservationUpdate, &add(reservation));
    let error = |text: &str| (NoEditKind::Error, text.to_owned());
    assert_eq!(update(host(9, 9)), error("Host not updated (not found)."));
    assert!(update(host(2, 1)).1.contains("There's already a reservation for this address"));
    // The address that it has already is its own.
    made(&base(), Verb::ReservationUpdate, &add(host(1, 1)));
    let anywhere = json!({ "hw-address": "02:00:00:00:00:01", "hostname": "x" });
    assert!(update(anywhere).1.starts_with("Mandatory 'subnet-id' parameter missing. Use"));
    let none = (NoEditKind::Empty, "Host not deleted (not found).".to_owned());
    for arguments in [
        json!({ "subnet-id": 10, "ip-address": "192.0.2.9" }),
        json!({ "subnet-id": 99, "ip-address": "192.0.2.1" }),
        json!({ "subnet-id": 0, "ip-address": "192.0.2.1" }),
        json!({ "subnet-id": 10, "identifier-type": "duid", "identifier": "01:02" }),
    ] {
        assert_eq!(refused(&base(), Verb::ReservationDel, &arguments), none, "{arguments}");
    }
}

/// What all the classes of packets are for may come and go with a reservation.
#[test]
fn kinds_of_identifiers_and_classes_are_asked_for_while_some_reservation_needs_them() {
    let bare =
        from_text(r#"{"Dhcp4":{"subnet4":[{"id":1,"subnet":"10.0.0.0/8"}]}}"#).unwrap().config;
    assert!(!bare.asks_for(IdentifierKind::CircuitId) && !bare.names_classes());
    let option = json!([{ "name": "routers", "data": "10.0.0.1", "client-classes": ["a"] }]);
    let one = json!({ "subnet-id": 1, "circuit-id": "'p'", "option-data": option });
    let config = made(&bare, Verb::ReservationAdd, &add(one));
    assert!(config.asks_for(IdentifierKind::CircuitId) && config.names_classes());
    let one = json!({ "subnet-id": 1, "identifier-type": "circuit-id", "identifier": "70" });
    let config = made(&config, Verb::ReservationDel, &one);
    assert!(!config.asks_for(IdentifierKind::CircuitId) && !config.names_classes());
}

#[test]
fn an_edit_among_many_leaves_the_others_where_they_are() {
    let config = from_text(&large(1, 20_000)).unwrap().config;
    let one = json!({ "subnet-id": 1, "duid": "0a:0b", "ip-address": "10.200.0.1" });
    let more = made(&config, Verb::ReservationAdd, &add(one));
    let gone = json!({ "subnet-id": 1, "identifier-type": "hw-address", "identifier": "02:00:00:00:00:02" });
    let less = made(&more, Verb::ReservationDel, &gone);
    let all = |config: &'_ Config| config.subnet(SubnetId(1)).unwrap().reservations.clone();
    let lens = [&config, &more, &less].map(|config| all(config).len());
    assert_eq!(lens, [20_000, 20_001, 20_000]);
    assert!(all(&config).shares_list_with(&all(&less)));
    assert!(all(&less).by_identifier(IdentifierKind::Duid, &[10, 11]).is_some());
    let again = from_text(less.document()).unwrap().config;
    assert_eq!(again.document(), less.document());
    assert_eq!(again.hash(), less.hash());
    assert!(all(&again).iter().eq(all(&less).iter()));
    assert_eq!(pages(&less, None, 7_000), pages(&again, Some(SubnetId(1)), 999));
}

/// Whoever reads page by page sees each reservation once that is there all the time, although others
/// come and go and the list is numbered anew.
#[test]
fn pages_hold_while_reservations_change() {
    let mut config = from_text(&large(3, 40)).unwrap().config;
    let there: Vec<String> = pages(&config, None, 1_000);
    let (mut seen, mut from) = (Vec::new(), HostCursor(0));
    for step in 0u32.. {
        let (page, next) = config.hosts_after(None, from, 7);
        if page.is_empty() {
            break;
        }
        seen.extend(page.iter().map(|host| show(&config, host)));
        from = next;
        let id = step % 3 + 1;
        let one = json!({ "subnet-id": id, "duid": format!("{step:04x}"), "hostname": "new" });
        config = made(&config, Verb::ReservationAdd, &add(one));
        let first = config.hosts(SubnetId(id)).next().map(|host| host.reservation.address.unwrap());
        let first = json!({ "subnet-id": id, "ip-address": first.unwrap().to_string() });
        config = made(&config, Verb::ReservationDel, &first);
        if step % 2 == 0 {
            config = from_text(config.document()).unwrap().config;
        }
    }
    let still: Vec<String> = pages(&config, None, 1_000);
    for host in there.iter().filter(|host| still.contains(host)) {
        assert_eq!(seen.iter().filter(|other| *other == host).count(), 1, "{host}");
    }
    let mut once = seen.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), seen.len());
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let subnet = || {
        prop::sample::select(vec![None, Some(0), Some(1), Some(10), Some(10), Some(20), Some(99)])
    };
    let identifier = || {
        (0usize..3, 0u8..6).prop_map(|(kind, last)| match kind {
            0 => ("hw-address", format!("02:00:00:00:00:{last:02x}")),
            1 => ("client-id", format!("01{last:02x}")),
            _ => ("flex-id", format!("'{last}'")),
        })
    };
    let address = || {
        (prop::sample::select(vec!["192.0.2", "198.51.100", "203.0.113"]), 0u8..6)
            .prop_map(|(net, last)| format!("{net}.{last}"))
    };
    let entry = (subnet(), identifier(), prop::option::of(address()), 0u8..8).prop_map(
        |(subnet, (kind, identifier), address, what)| {
            let mut entry = json!({ kind: identifier });
            if let Some(subnet) = subnet {
                entry["subnet-id"] = subnet.into();
            }
            if let Some(address) = address {
                entry["ip-address"] = address.into();
            }
            match what {
                0 => entry["hostname"] = "a \"quoted\" näme".into(),
                1 => {
                    entry["option-data"] =
                        json!([{ "name": "routers", "data": "10.0.0.1", "client-classes": ["a"] }])
                }
                2 => entry["option-data"] = json!([{ "name": "routers", "data": "nowhere" }]),
                3 => entry["client-classes"] = json!(["a", "b"]),
                4 => entry["user-context"] = json!({ "x": [1, 2.5, null] }),
                5 => entry["foo"] = 1.into(),
                6 => entry["boot-file-name"] = "x".into(),
                _ => entry["next-server"] = "10.0.0.1".into(),
            }
            add(entry)
        },
    );
    let named = (subnet(), identifier(), prop::option::of(address())).prop_map(
        |(subnet, (kind, identifier), address)| {
            let mut named = json!({});
            if let Some(subnet) = subnet {
                named["subnet-id"] = subnet.into();
            }
            match address {
                Some(address) => named["ip-address"] = address.into(),
                None => {
                    named["identifier-type"] = kind.into();
                    named["identifier"] = identifier.into();
                }
            }
            named
        },
    );
    prop_oneof![
        4 => entry.clone().prop_map(|arguments| edit(Verb::ReservationAdd, &arguments)),
        2 => entry.prop_map(|arguments| edit(Verb::ReservationUpdate, &arguments)),
        2 => named.prop_map(|arguments| edit(Verb::ReservationDel, &arguments)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The short way and the long way come to the same: they refuse the same edits, and what they make
    /// means the same, is written the same, and is shown the same.
    #[test]
    fn the_short_way_comes_to_what_the_long_one_does(
        edits in prop::collection::vec(any_edit(), 1..24),
        shared in any::<bool>(),
    ) {
        let unique = format!("{{\"Dhcp4\":{{\"ip-reservations-unique\":{},", !shared);
        let text = BASE.replacen("{\"Dhcp4\":{", &unique, 1);
        let first = from_text(&text).unwrap().config;
        let (mut short, mut long) = (first.clone(), first.clone());
        let mut done = Vec::new();
        for edit in edits {
            match (short.edited(std::slice::from_ref(&edit)), long.rebuilt(std::slice::from_ref(&edit))) {
                (Ok(new), Ok(rebuilt)) => {
                    prop_assert_eq!(new.changes, rebuilt.changes);
                    (short, long) = (new.config, rebuilt.config);
                    done.push(edit);
                }
                (Err(no), Err(other)) => prop_assert_eq!(no.kind, other.kind, "{:?}", edit),
                (new, rebuilt) => {
                    prop_assert!(false, "{:?}: {:?} {:?}", edit, new.err(), rebuilt.err());
                }
            }
            prop_assert_eq!(model(&short), model(&long));
        }
        prop_assert_eq!(short.document(), long.document());
        prop_assert_eq!(short.hash(), long.hash());
        prop_assert_eq!(short.names_classes(), long.names_classes());
        for kind in [IdentifierKind::HwAddress, IdentifierKind::ClientId, IdentifierKind::FlexId] {
            prop_assert_eq!(short.asks_for(kind), long.asks_for(kind));
        }
        for subnet in [0, 1, 10, 20].map(SubnetId) {
            let shown = |config: &Config| -> Vec<String> {
                config.hosts(subnet).map(|host| show(config, &host)).collect()
            };
            prop_assert_eq!(shown(&short), shown(&long));
            prop_assert_eq!(pages(&short, Some(subnet), 2), pages(&long, Some(subnet), 3));
            for last in 0..6 {
                for net in [[192, 0, 2], [198, 51, 100], [203, 0, 113]] {
                    let address = [net[0], net[1], net[2], last].into();
                    let found = |config: &Config| -> Vec<String> {
                        let hosts = config.hosts_of_address(subnet, address);
                        hosts.map(|host| show(config, &host)).collect()
                    };
                    prop_assert_eq!(found(&short), found(&long));
                }
                for (kind, id) in [
                    (IdentifierKind::HwAddress, vec![2, 0, 0, 0, 0, last]),
                    (IdentifierKind::ClientId, vec![1, last]),
                    (IdentifierKind::FlexId, vec![b'0' + last]),
                ] {
                    let found = |config: &Config| {
                        let host = config.host_by_identifier(subnet, kind, &id);
                        host.map(|host| show(config, &host))
                    };
                    prop_assert_eq!(found(&short), found(&long));
                }
            }
        }
        prop_assert_eq!(pages(&short, None, 1), pages(&long, None, 100));
        // All at once, the long way, others between them.
        let at_once = first.rebuilt(&done).unwrap().config;
        prop_assert_eq!(at_once.document(), short.document());
        let places = [(Verb::ClassAdd, done.len() / 3), (Verb::ClassUpdate, done.len() / 2 + 1)];
        for (verb, at) in places {
            done.insert(at, edit(verb, &json!({ "client-classes": [{ "name": "x" }] })));
        }
        let class = edit(Verb::ClassAdd, &json!({ "client-classes": [{ "name": "x" }] }));
        let among_others = first.edited(&done).unwrap().config;
        let then = short.edited(&[class]).unwrap().config;
        prop_assert_eq!(among_others.document(), then.document());
    }
}
