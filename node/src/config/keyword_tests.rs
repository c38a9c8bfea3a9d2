//! Every keyword that works changes the model, and is inherited as the tables say.

use serde_json::{Value as Json, json};

use super::reference_tests::places;
use super::schema::{self, Default, Inherit, Keyword, Kind, Scope, Status};
use super::tests::model;
use super::{Config, from_json};

fn config(document: &Json) -> Config {
    from_json(document).unwrap_or_else(|mistakes| panic!("{mistakes}\n{document}")).config
}

/// A document with a map of the scope, and where it is.
fn base(scope: &str) -> Option<(Json, &'static str)> {
    let ddns = json!({ "enable-updates": true });
    let subnet = |own: Json| json!({ "Dhcp4": { "dhcp-ddns": ddns, "subnet4": [ merged(json!({ "id": 1, "subnet": "192.0.2.0/24" }), own) ] } });
    let hook = |name: &str, parameters: Json| json!({ "Dhcp4": { "hooks-libraries": [ { "library": name, "parameters": parameters } ] } });
    let flex = |entry: Json| hook("libdhcp_flex_option", json!({ "options": [ entry ] }));
    let parameters = "/Dhcp4/hooks-libraries/0/parameters";
    Some(match scope {
        "Dhcp4" => (subnet(json!({ "pools": [ { "pool": "192.0.2.0/28" } ] })), "/Dhcp4"),
        "shared-networks" => (
            json!({ "Dhcp4": { "dhcp-ddns": ddns, "shared-networks": [ { "name": "n", "subnet4": [ { "id": 1, "subnet": "192.0.2.0/24" } ] } ] } }),
            "/Dhcp4/shared-networks/0",
        ),
        "subnet4" => (subnet(json!({})), "/Dhcp4/subnet4/0"),
        "pools" => {
            (subnet(json!({ "pools": [ { "pool": "192.0.2.0/28" } ] })), "/Dhcp4/subnet4/0/pools/0")
        }
        "relay" => (subnet(json!({ "relay": {} })), "/Dhcp4/subnet4/0/relay"),
        "reservations" => (
            subnet(
                json!({ "reservations": [ { "hw-address": "02:00:00:00:00:01", "hostname": "a" } ] }),
            ),
            "/Dhcp4/subnet4/0/reservations/0",
        ),
        "client-classes" => (
            json!({ "Dhcp4": { "client-classes": [ { "name": "a" } ] } }),
            "/Dhcp4/client-classes/0",
        ),
        "option-data" => (
            json!({ "Dhcp4": { "option-data": [ { "name": "domain-name-servers", "data": "192.0.2.1" } ] } }),
            "/Dhcp4/option-data/0",
        ),
        "option-def" => (
            json!({ "Dhcp4": { "option-def": [ { "name": "x", "code": 224, "type": "uint8" } ] } }),
            "/Dhcp4/option-def/0",
        ),
        "interfaces-config" => {
            (json!({ "Dhcp4": { "interfaces-config": {} } }), "/Dhcp4/interfaces-config")
        }
        "expired-leases-processing" => (
            json!({ "Dhcp4": { "expired-leases-processing": {} } }),
            "/Dhcp4/expired-leases-processing",
        ),
        "dhcp-ddns" => {
            (json!({ "Dhcp4": { "dhcp-ddns": { "enable-updates": false } } }), "/Dhcp4/dhcp-ddns")
        }
        "compatibility" => (json!({ "Dhcp4": { "compatibility": {} } }), "/Dhcp4/compatibility"),
        "hooks-libraries" => (hook("libdhcp_stat_cmds", json!({})), "/Dhcp4/hooks-libraries/0"),
        "flex_id" => {
            (hook("libdhcp_flex_id", json!({ "identifier-expression": "'x'" })), parameters)
        }
        "flex_option" => (hook("libdhcp_flex_option", json!({ "options": [] })), parameters),
        "options" => (
            flex(json!({ "code": 12, "add": "'x'" })),
            "/Dhcp4/hooks-libraries/0/parameters/options/0",
        ),
        "sub-options" => {
            let (mut document, _) = base("options")?;
            document["Dhcp4"]["option-def"] = json!([
                { "name": "outer", "code": 224, "type": "empty", "encapsulate": "inside" },
                { "name": "one", "code": 12, "space": "inside", "type": "string" },
                { "name": "two", "code": 13, "space": "inside", "type": "string" },
            ]);
            let entry = json!({ "code": 224, "sub-options": [ { "code": 12, "add": "'x'" } ] });
            document["Dhcp4"]["hooks-libraries"][0]["parameters"]["options"][0] = entry;
            (document, "/Dhcp4/hooks-libraries/0/parameters/options/0/sub-options/0")
        }
        "run_script" => (hook("libdhcp_run_script", json!({ "name": "/bin/a" })), parameters),
        "ping_check" => (hook("libdhcp_ping_check", json!({})), parameters),
        _ => return None,
    })
}

/// `map` with the members of `change`; `null` takes one away.
fn merged(mut map: Json, change: Json) -> Json {
    let (Some(members), Json::Object(change)) = (map.as_object_mut(), change) else {
        panic!("{map}")
    };
    for (key, value) in change {
        match value {
            Json::Null => drop(members.shift_remove(&key)),
            value => drop(members.insert(key, value)),
        }
    }
    map
}

/// The base document of a scope with the change.
fn changed(scope: &str, change: Json) -> Json {
    let (mut document, pointer) = base(scope).unwrap();
    let map = document.pointer_mut(pointer).unwrap();
    *map = merged(map.take(), change);
    document
}

/// A change that gives the keyword another value than the base has.
fn change(scope: &Scope, keyword: &Keyword) -> Json {
    let name = keyword.name;
    let other_identifier = json!({ "hw-address": null, name: "01:02:03:04" });
    match (scope.name, name) {
        ("subnet4", "id") => json!({ name: 2 }),
        ("subnet4", "subnet") => json!({ name: "192.0.3.0/24" }),
        ("pools", "pool") => json!({ name: "192.0.2.16/28" }),
        ("reservations", "hw-address") => json!({ name: "02:00:00:00:00:02" }),
        ("reservations", "client-id" | "duid" | "circuit-id" | "flex-id") => other_identifier,
        ("reservations", "ip-address") => json!({ name: "192.0.2.9" }),
        ("client-classes", "test") => json!({ name: "option[60].exists" }),
        ("client-classes", "template-test") => json!({ name: "option[60].hex" }),
        ("option-data", "name") => json!({ name: "ntp-servers" }),
        ("option-data", "code") => json!({ "name": null, name: 42 }),
        ("option-data", "data") => json!({ name: "192.0.2.2" }),
        ("option-data", "space") => {
            json!({ "name": null, "code": 1, "csv-format": false, "data": "01", name: "elsewhere" })
        }
        ("option-data", "csv-format") => json!({ name: false, "data": "C0000202" }),
        ("option-def", "code") => json!({ name: 225 }),
        ("option-def", "type") => json!({ name: "uint16" }),
        ("option-def", "record-types") => json!({ "type": "record", name: "uint8, uint8" }),
        ("option-def", "encapsulate") => json!({ "type": "empty", name: "inside" }),
        ("hooks-libraries", "library") => json!({ name: "libdhcp_bootp.so" }),
        ("flex_id", "identifier-expression") => json!({ name: "'y'" }),
        ("options" | "sub-options", "code") => json!({ name: 13 }),
        ("sub-options", "name") => json!({ "code": null, name: "two" }),
        ("options", "name") => json!({ "code": null, name: "domain-name" }),
        ("options" | "sub-options", "add") => json!({ name: "'y'" }),
        ("options" | "sub-options", "supersede") => json!({ "add": null, name: "'x'" }),
        ("options" | "sub-options", "remove") => json!({ "add": null, name: "'x' == 'x'" }),
        ("sub-options", "space") => json!({ name: "elsewhere" }),
        ("dhcp-ddns", "server-ip" | "sender-ip") => json!({ name: "192.0.2.99" }),
        (_, "hostname-char-set") => json!({ name: "[x]" }),
        (_, "max-valid-lifetime") => json!({ name: 9000 }),
        (_, "host-reservation-identifiers") => json!({ name: [ "flex-id", "duid" ] }),
        (_, "interfaces") => json!({ name: [ "eth0" ] }),
        _ => json!({ name: any_other(keyword) }),
    }
}

/// A value that is not the default.
fn any_other(keyword: &Keyword) -> Json {
    match keyword.kind {
        Kind::Bool => (!matches!(keyword.default, Default::Bool(true))).into(),
        Kind::Int(..) => 600.into(),
        Kind::Real(..) => 0.375.into(),
        Kind::Text | Kind::Short(_) => "other".into(),
        Kind::Ip4 => "192.0.2.77".into(),
        Kind::Word(words) => words[words.len() - 1].into(),
        Kind::Texts | Kind::Words(_) => json!(["other"]),
        Kind::Ip4s => json!(["192.0.2.77"]),
        Kind::Map(_) | Kind::Maps(_) | Kind::Free => panic!("{}", keyword.name),
    }
}

/// The rows that work and have a value of their own; maps are told by what is in them.
fn working(scope: &'static Scope) -> impl Iterator<Item = &'static Keyword> {
    scope.keywords().filter(|keyword| {
        keyword.status == Status::Works
            && !matches!(keyword.kind, Kind::Map(_) | Kind::Maps(_) | Kind::Free)
    })
}

#[test]
fn every_keyword_that_works_changes_the_model() {
    let mut tried = 0;
    for place in places() {
        for keyword in working(place.scope) {
            let Some((document, _)) = base(place.scope.name) else { panic!("{}", place.path) };
            // Only dhcp4 is taken.
            if (place.scope.name, keyword.name) == ("options", "space") {
                continue;
            }
            let other = changed(place.scope.name, change(place.scope, keyword));
            let differs = model(&config(&document)) != model(&config(&other));
            assert!(differs, "{}.{}: {other}", place.path, keyword.name);
            tried += 1;
        }
    }
    assert!(tried > 150, "{tried}");
}

/// Inherited keywords, with a value other than the default.
fn inherited() -> impl Iterator<Item = (&'static Keyword, Json)> {
    let all = working(&schema::DHCP4).filter(|keyword| keyword.inherit != Inherit::No);
    all.map(|keyword| (keyword, change(&schema::DHCP4, keyword)))
}

#[test]
fn what_is_inherited_means_the_same_in_every_scope_around() {
    for (keyword, change) in inherited() {
        let effective = |scope: &str| {
            let config = config(&changed(scope, change.clone()));
            format!("{:?}", config.subnets[0].values)
        };
        let own = effective("subnet4");
        assert_eq!(effective("shared-networks"), own, "{}", keyword.name);
        assert_eq!(effective("Dhcp4"), own, "{}", keyword.name);
    }
}

#[test]
fn config_get_shows_in_subnets_what_kea_copies_into_them_and_nothing_else() {
    for (keyword, change) in inherited() {
        let shown = config(&changed("Dhcp4", change.clone())).to_json();
        let in_subnet = shown["subnet4"][0].get(keyword.name).is_some();
        assert_eq!(in_subnet, keyword.inherit == Inherit::Copied, "{}", keyword.name);
        assert_eq!(shown[keyword.name], change[keyword.name], "{}", keyword.name);
        let shown = config(&changed("shared-networks", change.clone())).to_json();
        let in_subnet = shown["shared-networks"][0]["subnet4"][0].get(keyword.name).is_some();
        assert_eq!(in_subnet, keyword.inherit == Inherit::Copied, "{}", keyword.name);
    }
}

#[test]
fn names_of_a_pool_go_before_those_around() {
    for (keyword, change) in inherited() {
        let names = schema::DHCP4.groups.last().unwrap();
        if !names.iter().any(|row| std::ptr::eq(row, keyword)) {
            continue;
        }
        let own = config(&changed("pools", change.clone()));
        let outer = config(&changed("Dhcp4", change));
        let of = |config: &Config| format!("{:?}", config.subnets[0].pools[0].naming);
        assert_eq!(of(&own), of(&outer), "{}", keyword.name);
        assert_ne!(of(&own), format!("{:?}", own.subnets[0].values.naming), "{}", keyword.name);
    }
}

#[test]
fn reservations_outside_the_pools_are_reservations_of_the_subnet() {
    let modes = |global: Json, subnet: Json| {
        let own = merged(json!({ "id": 1, "subnet": "192.0.2.0/24" }), subnet);
        let document = json!({ "Dhcp4": merged(json!({ "subnet4": [ own ] }), global) });
        let modes = config(&document).subnets[0].values.reservations;
        (modes.global, modes.in_subnet, modes.out_of_pool)
    };
    let off = json!({ "reservations-in-subnet": false });
    assert_eq!(modes(json!({}), json!({})), (false, true, false));
    assert_eq!(modes(off.clone(), json!({})), (false, false, false));
    assert_eq!(
        modes(off.clone(), json!({ "reservations-out-of-pool": true })),
        (false, true, true)
    );
    let both = json!({ "reservations-in-subnet": false, "reservations-out-of-pool": true });
    assert_eq!(modes(both, json!({})), (false, false, true));
    assert_eq!(
        modes(json!({ "reservation-mode": "global" }), json!({ "reservation-mode": "all" })),
        (false, true, false)
    );
}

#[test]
fn what_kea_forgives_is_forgiven() {
    let enabled = json!({ "Dhcp4": { "dhcp-ddns": { "enable-updates": true }, "ddns-qualifying-suffix": ".example.org.",
        "subnet4": [ { "id": 1, "subnet": "192.0.2.0/24", "allocator": "shared-flq" } ] } });
    let config = config(&enabled);
    let values = &config.subnets[0].values;
    assert_eq!(values.naming.qualifying_suffix, "example.org");
    assert!(values.naming.send_updates);
    assert_eq!(values.allocator, super::Allocator::Flq);
}
