//! Edits, one by one and in rows.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::config::from_text;
use crate::config::tests::model;

const BASE: &str = r#"{"Dhcp4":{"valid-lifetime":3600,
    "option-def":[{"name":"site","code":230,"type":"string"}],
    "client-classes":[{"name":"a","test":"option[60].exists"},{"name":"b","test":"member('a')"},
        {"name":"late","test":"member('KNOWN')"}],
    "shared-networks":[{"name":"n","valid-lifetime":900,"subnet4":[
        {"id":1,"subnet":"192.0.2.0/24","pools":[{"pool":"192.0.2.10-192.0.2.99"}],
         "reservations":[{"hw-address":"02:00:00:00:00:01","ip-address":"192.0.2.5"}]}]}],
    "subnet4":[{"id":3,"subnet":"203.0.113.0/24","client-class":"a",
        "pools":[{"pool":"203.0.113.10-203.0.113.99"}],
        "option-data":[{"name":"routers","data":"203.0.113.1"},{"name":"site","data":"x"}]}]}}"#;

fn base() -> Config {
    from_text(BASE).unwrap().config
}

fn edit(verb: Verb, arguments: &Json) -> Edit {
    Edit { verb, arguments: arguments.to_string().into() }
}

fn make(config: &Config, verb: Verb, arguments: &Json) -> Result<(Config, Changed), NoEdit> {
    let Edited { config, mut changes } = config.edited(&[edit(verb, arguments)])?;
    Ok((config, changes.remove(0)))
}

fn done(config: &Config, verb: Verb, arguments: &Json) -> Config {
    make(config, verb, arguments).unwrap_or_else(|no| panic!("{no:?}")).0
}

fn no(config: &Config, verb: Verb, arguments: &Json) -> (NoEditKind, String) {
    let no = make(config, verb, arguments).expect_err("it is made");
    (no.kind, no.text)
}

/// A part of the document.
fn at(config: &Config, pointer: &str) -> Json {
    config.document_json()["Dhcp4"].pointer(pointer).cloned().unwrap_or(Json::Null)
}

#[test]
fn a_subnet_is_added_behind_the_others_in_the_spelling_of_today() {
    let subnet =
        json!({ "id": 9, "subnet": "198.51.100.7/24", "client-class": "b", "reservations": [] });
    let (config, changed) =
        make(&base(), Verb::SubnetAdd, &json!({ "subnet4": [subnet] })).unwrap();
    assert_eq!(changed, subnets::about(SubnetId(9), "198.51.100.0/24".parse().unwrap()));
    let expected = json!({ "id": 9, "subnet": "198.51.100.7/24", "client-classes": ["b"] });
    assert_eq!(at(&config, "/subnet4/1"), expected);
    assert_eq!(config.subnet(SubnetId(9)).unwrap().values.valid_lifetime.as_secs(), 3600);
}

#[test]
fn what_a_new_subnet_must_not_be() {
    let refused = |subnet: Json| no(&base(), Verb::SubnetAdd, &json!({ "subnet4": [subnet] })).1;
    assert_eq!(
        refused(json!({ "id": 1, "subnet": "10.0.0.0/24" })),
        "ID of the new IPv4 subnet '1' is already in use"
    );
    assert_eq!(
        refused(json!({ "id": 7, "subnet": "192.0.2.0/24" })),
        "subnet with the prefix of '192.0.2.0/24' already exists"
    );
    assert_eq!(refused(json!({ "subnet": "10.0.0.0/24" })), "missing parameter 'id'");
    assert_eq!(refused(json!({ "id": 7 })), "missing parameter 'subnet' (<wire>:1:13)");
    assert_eq!(
        refused(json!({ "id": 0, "subnet": "10.0.0.0/24" })),
        "The 'id' value (0) is not within expected range: (1 - 4294967294)"
    );
    assert_eq!(
        refused(json!({ "id": 7, "subnet": "10.0.0.0/24", "BOGUS": 1 })),
        "got unexpected keyword \"BOGUS\" in subnet4 map. (<wire>:1:44)"
    );
    assert_eq!(
        refused(json!({ "id": 7, "subnet": "10.0.0.0/24", "pools": [{ "pool": "10.1.0.0/24" }] })),
        "subnet configuration failed: a pool of type V4, with the following address range: \
         10.1.0.0-10.1.0.255 does not match the prefix of a subnet: 10.0.0.0/24 to which it is being added \
         (<wire>:1:61)"
    );
    let host = json!({ "hw-address": "02:00:00:00:00:09" });
    assert_eq!(
        refused(json!({ "id": 7, "subnet": "10.0.0.0/24", "reservations": [host] })),
        "must not specify host reservations with 'subnet4-add'. Use 'reservation-add' to add them"
    );
}

#[test]
fn arguments_of_the_wrong_form() {
    let refused = |arguments: Json| no(&base(), Verb::SubnetAdd, &arguments);
    let error = |text: &str| (NoEditKind::Error, text.to_owned());
    assert_eq!(refused(json!([])), error("Command arguments are not a map."));
    assert_eq!(refused(json!({})), error("missing parameter 'subnet4'"));
    assert_eq!(
        refused(json!({ "subnet4": [], "more": 1 })),
        error("'more' is not an argument of 'subnet4-add': 'subnet4' is")
    );
    assert_eq!(
        refused(json!({ "subnet4": [{}, {}] })),
        error(
            "invalid number of subnets specified for the 'subnet4-add' command. Expected one subnet"
        )
    );
    assert_eq!(
        refused(json!({ "subnet4": [7] })),
        error("invalid entry of 'subnet4' for 'subnet4-add': a map is expected")
    );
    let no = base().edited(&[Edit { verb: Verb::SubnetDel, arguments: "{".into() }]).unwrap_err();
    assert!(no.text.starts_with("syntax error"), "{}", no.text);
    let long = json!({ "id": "x".repeat(Edit::MOST) });
    assert!(self::no(&base(), Verb::SubnetDel, &long).1.contains("use config-set"));
}

#[test]
fn an_update_keeps_reservations_and_network() {
    let subnet = json!({ "id": 1, "subnet": "192.0.2.0/24", "renew-timer": 7 });
    let config = done(&base(), Verb::SubnetUpdate, &json!({ "subnet4": [subnet] }));
    let kept = json!([{ "hw-address": "02:00:00:00:00:01", "ip-address": "192.0.2.5" }]);
    assert_eq!(at(&config, "/shared-networks/0/subnet4/0/reservations"), kept);
    let own = config.subnet(SubnetId(1)).unwrap();
    assert_eq!((own.pools.len(), own.values.renew_timer), (0, Some(7)));
    assert_eq!(own.values.valid_lifetime.as_secs(), 900, "the network's");
    // What was printed comes back and changes nothing.
    let shown: Json = serde_json::from_str(&base().print_subnet(SubnetId(1)).unwrap()).unwrap();
    let config = done(&base(), Verb::SubnetUpdate, &json!({ "subnet4": [shown] }));
    assert_eq!(config.hash(), base().hash());
    let other = json!([{ "hw-address": "02:00:00:00:00:02" }]);
    let other = json!({ "id": 1, "subnet": "192.0.2.0/24", "reservations": other });
    let text = no(&base(), Verb::SubnetUpdate, &json!({ "subnet4": [other] })).1;
    assert!(text.starts_with("must not specify host reservations"), "{text}");
    let refused = |subnet: Json| no(&base(), Verb::SubnetUpdate, &json!({ "subnet4": [subnet] }));
    let error = |text: &str| (NoEditKind::Error, text.to_owned());
    assert_eq!(
        refused(json!({ "id": 99, "subnet": "10.0.0.0/24" })),
        error("Can't find subnet '99' to update")
    );
    assert_eq!(
        refused(json!({ "subnet": "10.0.0.0/24" })),
        error("must specify subnet id with 'subnet4-update' command.")
    );
    assert_eq!(
        refused(json!({ "id": 1, "subnet": "203.0.113.0/24" })),
        error("subnet with the prefix of '203.0.113.0/24' already exists")
    );
}

#[test]
fn a_subnet_goes_with_its_reservations_and_out_of_its_network() {
    let (config, changed) = make(&base(), Verb::SubnetDel, &json!({ "id": 1 })).unwrap();
    assert_eq!(changed.subnet, Some((SubnetId(1), "192.0.2.0/24".parse().unwrap())));
    assert_eq!(at(&config, "/shared-networks/0/subnet4"), json!([]));
    assert!(config.subnet(SubnetId(1)).is_none());
    let empty = |text: &str| (NoEditKind::Empty, text.to_owned());
    assert_eq!(
        no(&config, Verb::SubnetDel, &json!({ "id": 1 })),
        empty("no subnet with id 1 found")
    );
}

#[test]
fn networks_come_and_go() {
    let network = json!({ "name": "m", "subnet4": [{ "id": 9, "subnet": "10.0.0.0/24" }] });
    let add = json!({ "shared-networks": [network] });
    let with = done(&base(), Verb::NetworkAdd, &add);
    assert_eq!(with.subnet(SubnetId(9)).unwrap().network.0, 1);
    assert_eq!(
        no(&with, Verb::NetworkAdd, &add).1,
        "duplicate network 'm' found in the configuration"
    );
    let taken = json!({ "name": "o", "subnet4": [{ "id": 3, "subnet": "10.9.0.0/24" }] });
    assert_eq!(
        no(&with, Verb::NetworkAdd, &json!({ "shared-networks": [taken] })).1,
        "ID of the new IPv4 subnet '3' is already in use"
    );
    let kept = done(&with, Verb::NetworkDel, &json!({ "name": "m" }));
    assert_eq!(at(&kept, "/subnet4/1/id"), 9);
    let action = json!({ "name": "m", "subnets-action": "delete" });
    assert!(done(&with, Verb::NetworkDel, &action).subnet(SubnetId(9)).is_none());
    let gone = (NoEditKind::Empty, "no IPv4 shared network with name 'x' found".to_owned());
    assert_eq!(no(&with, Verb::NetworkDel, &json!({ "name": "x" })), gone);
    let odd = json!({ "name": "m", "subnets-action": "both" });
    assert_eq!(no(&with, Verb::NetworkDel, &odd).0, NoEditKind::Error);
}

#[test]
fn subnets_move_into_networks_and_out() {
    let config = done(&base(), Verb::NetworkSubnetAdd, &json!({ "name": "n", "id": 3 }));
    assert_eq!(at(&config, "/subnet4"), json!([]));
    assert_eq!(at(&config, "/shared-networks/0/subnet4/1/id"), 3);
    assert_eq!(
        no(&config, Verb::NetworkSubnetAdd, &json!({ "name": "n", "id": 3 })),
        (
            NoEditKind::Error,
            "IPv4 subnet 203.0.113.0/24 (id 3) is already part of shared network 'n'".into()
        )
    );
    let out = done(&config, Verb::NetworkSubnetDel, &json!({ "name": "n", "id": 3 }));
    assert_eq!(out.hash(), base().hash());
    let empty = |text: &str| (NoEditKind::Empty, text.to_owned());
    assert_eq!(
        no(&out, Verb::NetworkSubnetDel, &json!({ "name": "n", "id": 3 })),
        empty("no IPv4 subnet with id '3' found in shared network 'n'")
    );
    assert_eq!(
        no(&out, Verb::NetworkSubnetAdd, &json!({ "name": "x", "id": 3 })),
        empty("no IPv4 shared network with name 'x' found")
    );
    assert_eq!(
        no(&out, Verb::NetworkSubnetAdd, &json!({ "name": "n", "id": 99 })),
        empty("no IPv4 subnet with id '99' found")
    );
}

fn delta(config: &Config, verb: Verb, more: Json) -> Config {
    let mut subnet = json!({ "id": 3, "subnet": "203.0.113.0/24" });
    subnet.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    done(config, verb, &json!({ "subnet4": [subnet] }))
}

#[test]
fn a_delta_adds_and_overwrites_what_it_names() {
    let config = delta(
        &base(),
        Verb::SubnetDeltaAdd,
        json!({ "valid-lifetime": 900, "client-class": "b", "relay": { "ip-address": "10.0.0.1" },
            "pools": [{ "pool": "203.0.113.10 - 203.0.113.99", "pool-id": 4 },
                      { "pool": "203.0.113.150-203.0.113.160" }],
            "option-data": [{ "code": 3, "data": "203.0.113.2" }, { "space": "dhcp4", "code": 230, "data": "y" },
                            { "name": "domain-name", "data": "example.org" }],
            "user-context": { "site": { "floor": 1 } } }),
    );
    assert_eq!(
        at(&config, "/subnet4/0"),
        json!({ "id": 3, "subnet": "203.0.113.0/24", "client-classes": ["a", "b"],
            "pools": [{ "pool": "203.0.113.10 - 203.0.113.99", "pool-id": 4 },
                      { "pool": "203.0.113.150-203.0.113.160" }],
            "option-data": [{ "name": "routers", "data": "203.0.113.2", "code": 3 },
                            { "name": "site", "data": "y", "space": "dhcp4", "code": 230 },
                            { "name": "domain-name", "data": "example.org" }],
            "valid-lifetime": 900, "relay": { "ip-addresses": ["10.0.0.1"] },
            "user-context": { "site": { "floor": 1 } } })
    );
    let more = json!({ "user-context": { "site": { "room": 2 }, "owner": "x" },
        "relay": { "ip-addresses": ["10.0.0.1", "10.0.0.2"] } });
    let config = delta(&config, Verb::SubnetDeltaAdd, more);
    let context = json!({ "site": { "floor": 1, "room": 2 }, "owner": "x" });
    assert_eq!(at(&config, "/subnet4/0/user-context"), context);
    assert_eq!(at(&config, "/subnet4/0/relay/ip-addresses"), json!(["10.0.0.1", "10.0.0.2"]));
}

#[test]
fn a_delta_removes_what_it_names_and_nothing_else() {
    let more = json!({ "valid-lifetime": 900, "user-context": { "a": 1, "b": 2 },
        "pools": [{ "pool": "203.0.113.150-203.0.113.160", "pool-id": 3, "option-data": [{ "code": 3, "data": "203.0.113.3" }] }] });
    let with = delta(&base(), Verb::SubnetDeltaAdd, more);
    let config = delta(
        &with,
        Verb::SubnetDeltaDel,
        json!({ "valid-lifetime": 0, "renew-timer": 0, "client-class": "a", "user-context": { "a": 0 },
            "pools": [{ "pool": "203.0.113.10-203.0.113.99" },
                      { "pool": "203.0.113.150-203.0.113.160", "option-data": [{ "name": "routers" }] },
                      { "pool": "203.0.113.1-203.0.113.2" }],
            "option-data": [{ "code": 3 }] }),
    );
    assert_eq!(
        at(&config, "/subnet4/0"),
        json!({ "id": 3, "subnet": "203.0.113.0/24", "client-classes": [],
            "pools": [{ "pool": "203.0.113.150-203.0.113.160", "pool-id": 3, "option-data": [] }],
            "option-data": [{ "name": "site", "data": "x" }], "user-context": { "b": 2 } })
    );
    let whole = json!({ "pools": [{ "pool": "203.0.113.150-203.0.113.160" }] });
    assert_eq!(at(&delta(&config, Verb::SubnetDeltaDel, whole), "/subnet4/0/pools"), json!([]));
}

/// Every node makes an edit before it goes on: one that names tens of thousands of entries of a list that
/// has as many must not take minutes. The limit is a hundred times what it takes.
#[test]
fn a_delta_of_long_lists_takes_no_time() {
    let entries = |from: u32| json!({ "user-context": { "list": (from..from + 25_000).collect::<Vec<u32>>() } });
    let began = crate::clock::Stopwatch::start();
    let one = delta(&base(), Verb::SubnetDeltaAdd, entries(10_000));
    let both = delta(&one, Verb::SubnetDeltaAdd, entries(35_000));
    let list = |config: &Config| at(config, "/subnet4/0/user-context/list");
    assert_eq!(list(&both).as_array().unwrap().len(), 50_000);
    let again = delta(&both, Verb::SubnetDeltaAdd, entries(20_000));
    assert_eq!(list(&again), list(&both), "what is there stays as it is");
    let back = delta(&again, Verb::SubnetDeltaDel, entries(35_000));
    assert_eq!(list(&back), list(&one));
    assert!(began.elapsed().as_secs() < 100, "{:?}", began.elapsed());
}

#[test]
fn a_delta_removes_as_many_as_it_names() {
    let twice = json!({ "user-context": { "list": [1, 2, 1, 3, 1] } });
    let config = delta(&base(), Verb::SubnetDeltaAdd, twice);
    let named = json!({ "user-context": { "list": [1, 1, 4] } });
    let config = delta(&config, Verb::SubnetDeltaDel, named);
    assert_eq!(at(&config, "/subnet4/0/user-context/list"), json!([2, 3, 1]));
}

#[test]
fn what_a_delta_must_not_be() {
    for verb in [Verb::SubnetDeltaAdd, Verb::SubnetDeltaDel] {
        let refused = |subnet: Json| no(&base(), verb, &json!({ "subnet4": [subnet] })).1;
        assert_eq!(
            refused(json!({ "id": 99, "subnet": "10.0.0.0/24" })),
            "Can't find subnet '99' to update"
        );
        assert_eq!(
            refused(json!({ "id": 3, "subnet": "10.0.0.0/24" })),
            "the subnet with id '3' is 203.0.113.0/24, not 10.0.0.0/24"
        );
        let odd = refused(json!({ "id": 3, "subnet": "203.0.113.0/24", "BOGUS": 1 }));
        assert!(odd.starts_with("got unexpected keyword \"BOGUS\" in subnet4 map."), "{odd}");
        assert!(refused(json!({ "subnet": "10.0.0.0/24" })).starts_with("must specify subnet id"));
    }
    let overlap = json!({ "id": 3, "subnet": "203.0.113.0/24", "pools": [{ "pool": "203.0.113.99-203.0.113.100" }] });
    let text = no(&base(), Verb::SubnetDeltaAdd, &json!({ "subnet4": [overlap] })).1;
    assert!(text.contains("overlaps with an existing pool"), "{text}");
}

#[test]
fn classes_come_change_and_go() {
    let class =
        |name: &str, test: &str| json!({ "client-classes": [{ "name": name, "test": test }] });
    let config = done(&base(), Verb::ClassAdd, &class("c", "member('b')"));
    assert_eq!(at(&config, "/client-classes/3/name"), "c");
    assert_eq!(
        no(&config, Verb::ClassAdd, &class("c", "member('b')")).1,
        "Client class 'c' already exists"
    );
    let bad = no(&config, Verb::ClassAdd, &class("d", "foo")).1;
    assert!(bad.starts_with("expression: [foo] error:"), "{bad}");
    let config = done(&config, Verb::ClassUpdate, &class("a", "option[61].exists"));
    assert_eq!(at(&config, "/client-classes/0/test"), "option[61].exists", "in its place");
    let empty = |text: &str| (NoEditKind::Empty, text.to_owned());
    assert_eq!(
        no(&config, Verb::ClassUpdate, &class("x", "option[61].exists")),
        empty("Class 'x' is not found")
    );
    let waits = no(&config, Verb::ClassUpdate, &class("c", "member('late')")).1;
    assert!(waits.contains("KNOWN"), "{waits}");
    assert_eq!(
        no(&config, Verb::ClassDel, &json!({ "name": "a" })),
        (NoEditKind::Error, "Class 'a' is used by class 'b'".into())
    );
    assert_eq!(no(&config, Verb::ClassDel, &json!({ "name": "x" })), empty("Class 'x' not found"));
    let config = done(&config, Verb::ClassDel, &json!({ "name": "c" }));
    assert_eq!(config.classes.iter().count(), 3);
}

#[test]
fn every_verb_has_its_number_and_its_command() {
    for (at, (verb, name)) in (1..).zip(Verb::ALL) {
        assert_eq!((verb as u8, verb.name()), (at, name));
        assert_eq!(Verb::from_number(at), Some(verb));
    }
    assert_eq!((Verb::from_number(0), Verb::from_number(16)), (None, None));
}

#[test]
fn one_part_is_printed_as_in_the_whole() {
    let config = base();
    let whole = config.to_json();
    let part = |text: Option<String>| serde_json::from_str::<Json>(&text.unwrap()).unwrap();
    assert_eq!(part(config.print_subnet(SubnetId(3))), whole["subnet4"][0]);
    let network = &whole["shared-networks"][0];
    assert_eq!(part(config.print_subnet(SubnetId(1))), network["subnet4"][0]);
    assert_eq!(part(config.print_network("n")), *network);
    assert_eq!(part(config.print_class("b")), whole["client-classes"][1]);
    let none =
        [config.print_subnet(SubnetId(9)), config.print_network("x"), config.print_class("x")];
    assert_eq!(none, [None, None, None]);
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let id = 1u32..7;
    let class = || prop::sample::select(vec!["a", "b", "c", "late"]);
    let network = || prop::sample::select(vec!["n", "m"]);
    let rest = (id.clone(), 0u8..4, class(), any::<bool>());
    let subnet = rest.prop_map(|(id, net, class, old)| {
        let mut subnet =
            json!({ "id": id, "subnet": format!("10.0.{net}.0/24"), "valid-lifetime": 100 + id });
        match old {
            true => subnet["client-class"] = class.into(),
            false => {
                subnet["pools"] =
                    json!([{ "pool": format!("10.0.{net}.{}-10.0.{net}.99", 10 + id) }])
            }
        }
        subnet["option-data"] = json!([{ "code": 3, "data": format!("10.0.{net}.{id}") }]);
        json!({ "subnet4": [subnet] })
    });
    let part = (id.clone(), 0u8..4, class(), 0u8..4).prop_map(|(id, net, class, what)| {
        let mut subnet = json!({ "id": id, "subnet": format!("10.0.{net}.0/24") });
        match what {
            0 => subnet["client-class"] = class.into(),
            1 => {
                subnet["pools"] =
                    json!([{ "pool": format!("10.0.{net}.{}-10.0.{net}.99", 10 + id) }])
            }
            2 => subnet["option-data"] = json!([{ "name": "routers", "data": "10.0.0.1" }]),
            _ => subnet["reservation-mode"] = "global".into(),
        }
        json!({ "subnet4": [subnet] })
    });
    let definition = (class(), class()).prop_map(|(name, other)| {
        json!({ "client-classes": [{ "name": name, "test": format!("member('{other}')") }] })
    });
    let by_name =
        |names: BoxedStrategy<&'static str>| names.prop_map(|name| json!({ "name": name }));
    let member = (network(), id.clone()).prop_map(|(name, id)| json!({ "name": name, "id": id }));
    let action = (network(), any::<bool>()).prop_map(|(name, keep)| {
        json!({ "name": name, "subnets-action": if keep { "keep" } else { "delete" } })
    });
    let pick = |verbs: &[Verb]| prop::sample::select(verbs.to_vec());
    let of = |(verb, arguments): (Verb, Json)| edit(verb, &arguments);
    prop_oneof![
        4 => (pick(&[Verb::SubnetAdd, Verb::SubnetUpdate]), subnet).prop_map(of),
        4 => (pick(&[Verb::SubnetDeltaAdd, Verb::SubnetDeltaDel]), part).prop_map(of),
        1 => id.prop_map(|id| edit(Verb::SubnetDel, &json!({ "id": id }))),
        1 => network().prop_map(|name| edit(Verb::NetworkAdd, &json!({ "shared-networks": [{ "name": name }] }))),
        1 => action.prop_map(|arguments| edit(Verb::NetworkDel, &arguments)),
        2 => (pick(&[Verb::NetworkSubnetAdd, Verb::NetworkSubnetDel]), member).prop_map(of),
        2 => (pick(&[Verb::ClassAdd, Verb::ClassUpdate]), definition).prop_map(of),
        1 => by_name(class().boxed()).prop_map(|arguments| edit(Verb::ClassDel, &arguments)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever edits come, what they make is what its document says, and making the good ones at
    /// once comes to the same.
    #[test]
    fn r25_edits_make_what_their_document_says(edits in prop::collection::vec(any_edit(), 1..25)) {
        let mut config = base();
        let mut good = Vec::new();
        for edit in edits {
            match config.edited(std::slice::from_ref(&edit)) {
                Ok(edited) => {
                    config = edited.config;
                    good.push(edit);
                }
                Err(no) => prop_assert!(!no.text.is_empty()),
            }
        }
        let read = from_text(config.document()).unwrap().config;
        prop_assert_eq!(read.document(), config.document());
        prop_assert_eq!(model(&read), model(&config));
        prop_assert_eq!(read.hash(), config.hash());
        let at_once = base().edited(&good).unwrap();
        prop_assert_eq!(at_once.changes.len(), good.len());
        prop_assert_eq!(at_once.config.document(), config.document());
    }

    /// Arguments of any kind are refused or make something; nothing panics.
    #[test]
    fn any_arguments_are_an_edit_or_none(
        verb in prop::sample::select(Verb::ALL.map(|(verb, _)| verb).to_vec()),
        key in prop::sample::select(vec!["subnet4", "shared-networks", "client-classes", "id", "name", "x"]),
        inner in prop::sample::select(vec!["id", "subnet", "pools", "option-data", "client-class", "relay", "name",
            "reservations", "user-context", "reservation-mode", "require-client-classes", "test"]),
        value in prop::sample::select(vec!["null", "true", "-1", "1.5", "99999999999", "\"\"", "\"x\"", "[]", "[[]]",
            "[null]", "[{}]", "{}", "{\"a\":1}", "[{\"pool\":1}]", "[{\"code\":-3}]"]),
        depth in 0u8..3,
    ) {
        let arguments = match depth {
            0 => value.to_owned(),
            1 => format!("{{\"{key}\":{value}}}"),
            _ => format!("{{\"{key}\":[{{\"id\":3,\"subnet\":\"203.0.113.0/24\",\"name\":\"n\",\"{inner}\":{value}}}]}}"),
        };
        if let Err(no) = base().edited(&[Edit { verb, arguments: arguments.into() }]) {
            prop_assert!(!no.text.is_empty());
        }
    }
}
