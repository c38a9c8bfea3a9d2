//! Old spellings → the ones in use now, in the document itself (Kea manual, "Deprecated Keywords"
//! and release notes). Inheritance, the model and `config-get` then know one spelling only.
//!
//! The tables say which keywords are old and what they become; here stands how their values change.
//! Runs behind the check, so it steps over values that were reported there.

use super::json::{Element, Map, Member, Value};
use super::mistake::{Path, Report};
use super::schema::{DHCP4, Keyword, Kind, Scope, Status};

/// Rewrites a checked `Dhcp4` map.
pub(super) fn modernise(dhcp4: &mut Map, path: &Path<'_>, report: &mut Report) {
    lift_ddns_words(dhcp4, path, report);
    rewrite(&DHCP4, dhcp4, path, report);
}

/// Rewrites a checked map of any kind. Whoever puts one into a document that is rewritten already
/// rewrites it first.
pub(super) fn rewrite(scope: &'static Scope, map: &mut Map, path: &Path<'_>, report: &mut Report) {
    for keyword in scope.keywords() {
        if let Status::Old(new) = keyword.status
            && let Some(at) = map.members.iter().position(|member| member.key == keyword.name)
        {
            replace(keyword, new, at, map, path, report);
        }
    }
    for member in &mut map.members {
        let Some(keyword) = scope.keyword(&member.key) else { continue };
        let here = Path::Key(path, &member.key);
        match (keyword.kind, &mut member.value.value) {
            (Kind::Map(inner), Value::Map(map)) => rewrite(inner, map, &here, report),
            (Kind::Maps(inner), Value::List(list)) if has_old(inner) => {
                for (at, element) in list.iter_mut().enumerate() {
                    if let Value::Map(map) = &mut element.value {
                        rewrite(inner, map, &Path::Index(&here, at), report);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Whether a list of such maps is worth a walk; a million reservations are not.
fn has_old(scope: &'static Scope) -> bool {
    scope.keywords().any(|keyword| match (keyword.status, keyword.kind) {
        (Status::Old(_), _) => true,
        // The tables have no circle.
        (_, Kind::Map(inner) | Kind::Maps(inner)) => has_old(inner),
        _ => false,
    })
}

/// Puts the new spelling in the place of the old.
fn replace(
    keyword: &Keyword,
    new: &[&str],
    at: usize,
    map: &mut Map,
    path: &Path<'_>,
    report: &mut Report,
) {
    if new.iter().any(|new| map.get(new).is_some()) {
        let text = match new {
            [new] => {
                let old = keyword.name;
                format!("cannot specify both '{old}' and '{new}'. Use only the latter.")
            }
            _ => "invalid use of both 'reservation-mode' and one of 'reservations-global', \
                  'reservations-in-subnet' or 'reservations-out-of-pool' parameters"
                .to_owned(),
        };
        return report.error(map.members[at].at, path, text);
    }
    let old = map.members.remove(at);
    let place = old.value.at;
    let values = modern_values(keyword.name, old.value);
    let members = new.iter().zip(values).filter_map(|(new, value)| {
        let value = Element { at: place, value: value? };
        Some(Member { key: (*new).into(), at: old.at, value })
    });
    map.members.splice(at..at, members);
}

/// The values of the new keywords, in the order of the table; `None` for one that stays unset.
fn modern_values(old: &str, element: Element) -> Vec<Option<Value>> {
    let flag = |flag: Option<bool>| flag.map(Value::Bool);
    match (old, element.value) {
        ("reservation-mode", Value::Text(mode)) => {
            let (global, in_subnet, out_of_pool) = match mode.as_str() {
                "disabled" | "off" => (Some(false), Some(false), None),
                "out-of-pool" => (Some(false), Some(true), Some(true)),
                "global" => (Some(true), Some(false), None),
                _ => (Some(false), Some(true), Some(false)),
            };
            vec![flag(global), flag(in_subnet), flag(out_of_pool)]
        }
        ("ddns-use-conflict-resolution", Value::Bool(resolve)) => {
            let mode = if resolve { "check-with-dhcid" } else { "no-check-with-dhcid" };
            vec![Some(Value::Text(mode.into()))]
        }
        // The empty name guards nothing.
        ("client-class", Value::Text(name)) if name.is_empty() => vec![None],
        ("client-class" | "ip-address" | "control-socket", value) => {
            vec![Some(Value::List(vec![Element { at: element.at, value }]))]
        }
        (_, value) => vec![Some(value)],
    }
}

/// Up to Kea 2.4 the words of `dhcp-ddns` about names stood inside it. They mean the global ones,
/// which win where both are given.
fn lift_ddns_words(dhcp4: &mut Map, path: &Path<'_>, report: &mut Report) {
    let Some(at) = dhcp4.members.iter().position(|member| member.key == "dhcp-ddns") else {
        return;
    };
    let (Some(Kind::Map(scope)), Value::Map(ddns)) =
        (DHCP4.keyword("dhcp-ddns").map(|row| row.kind), &mut dhcp4.members[at].value.value)
    else {
        return;
    };
    let word = |member: &Member| match scope.keyword(&member.key)?.status {
        Status::Old([new]) => Some(*new),
        _ => None,
    };
    let (words, rest) = ddns.members.drain(..).partition(|member| word(member).is_some());
    ddns.members = rest;
    let words: Vec<Member> = words;
    for member in words {
        let Some(new) = word(&member) else { continue };
        if dhcp4.get(new).is_some() {
            let text = format!("'{}' is not used: the global '{new}' counts", member.key);
            report.warning(member.at, &Path::Key(path, "dhcp-ddns"), text);
        } else {
            dhcp4.members.push(Member { key: new.into(), ..member });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    /// The `Dhcp4` map that a document becomes.
    fn modern(dhcp4: Json) -> Json {
        let parsed = crate::config::from_json(&json!({ "Dhcp4": dhcp4 }));
        let parsed = parsed.unwrap_or_else(|mistakes| panic!("{mistakes}"));
        parsed.config.document_json()["Dhcp4"].clone()
    }

    #[test]
    fn each_reservation_mode_becomes_its_flags() {
        let flags = |mode: &str| modern(json!({ "reservation-mode": mode }));
        let three = |global: bool, in_subnet: bool, out_of_pool: bool| {
            json!({ "reservations-global": global, "reservations-in-subnet": in_subnet,
                "reservations-out-of-pool": out_of_pool })
        };
        let two = |global: bool, in_subnet: bool| json!({ "reservations-global": global, "reservations-in-subnet": in_subnet });
        assert_eq!(flags("all"), three(false, true, false));
        assert_eq!(flags("in-subnet"), three(false, true, false));
        assert_eq!(flags("out-of-pool"), three(false, true, true));
        assert_eq!(flags("global"), two(true, false));
        assert_eq!(flags("disabled"), two(false, false));
        assert_eq!(flags("off"), two(false, false));
    }

    #[test]
    fn old_spellings_become_new_ones_in_every_scope() {
        let old = json!({
            "control-socket": { "socket-type": "unix", "socket-name": "/run/kea/kea4" },
            "ddns-use-conflict-resolution": false,
            "client-classes": [ { "name": "a", "only-if-required": true } ],
            "loggers": [ { "name": "kea-dhcp4", "output_options": [ { "output": "stdout" } ] } ],
            "shared-networks": [ { "name": "n", "client-class": "a", "subnet4": [
                { "id": 1, "subnet": "192.0.2.0/24", "client-class": "", "require-client-classes": [ "a" ],
                  "relay": { "ip-address": "192.0.2.1" },
                  "pools": [ { "pool": "192.0.2.0/28", "client-class": "a", "ddns-use-conflict-resolution": true } ] } ] } ],
        });
        let new = json!({
            "control-sockets": [ { "socket-type": "unix", "socket-name": "/run/kea/kea4" } ],
            "ddns-conflict-resolution-mode": "no-check-with-dhcid",
            "client-classes": [ { "name": "a", "only-in-additional-list": true } ],
            "loggers": [ { "name": "kea-dhcp4", "output-options": [ { "output": "stdout" } ] } ],
            "shared-networks": [ { "name": "n", "client-classes": [ "a" ], "subnet4": [
                { "id": 1, "subnet": "192.0.2.0/24", "evaluate-additional-classes": [ "a" ],
                  "relay": { "ip-addresses": [ "192.0.2.1" ] },
                  "pools": [ { "pool": "192.0.2.0/28", "client-classes": [ "a" ], "ddns-conflict-resolution-mode": "check-with-dhcid" } ] } ] } ],
        });
        assert_eq!(modern(old), new);
        assert_eq!(modern(new.clone()), new);
    }

    #[test]
    fn words_of_dhcp_ddns_are_lifted_unless_the_global_ones_are_there() {
        let old = json!({ "ddns-generated-prefix": "mine", "dhcp-ddns": { "enable-updates": false,
            "generated-prefix": "theirs", "qualifying-suffix": "example.org", "override-no-update": true } });
        let new = json!({ "ddns-generated-prefix": "mine", "dhcp-ddns": { "enable-updates": false },
            "ddns-qualifying-suffix": "example.org", "ddns-override-no-update": true });
        assert_eq!(modern(old), new);
    }
}
