//! The cluster's configuration as a Kea takes it. Pure.
//!
//! What the operator wrote comes out, old spellings replaced, without defaults: so a Kea gets no keyword
//! that nobody asked for. What a Kea of the version does not know is spelled as it does, or left out and
//! told. Secrets are not shown by the control API, and a server must not start with `*****` for a password:
//! whatever holds one is left out as a whole, so that no door is open that had a lock.

use leasehold::config::HIDDEN;
use serde_json::{Map, Value, json};

/// Whose configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Version {
    /// Kea 2.2
    #[value(name = "2.2")]
    Kea2,
    /// Kea 3.0
    #[value(name = "3.0")]
    Kea3,
}

/// The configuration, and what of it is not as it was.
#[derive(Debug, PartialEq)]
pub struct Exported {
    pub document: Value,
    pub notes: Vec<String>,
}

/// Turns `{"Dhcp4": {…}}` into what a Kea of this version takes.
pub fn export(document: Value, version: Version) -> Exported {
    let mut work = Work { version, notes: Vec::new() };
    let mut document = document;
    if let Some(dhcp4) = document.get_mut("Dhcp4").and_then(Value::as_object_mut) {
        work.databases(dhcp4);
        work.map(dhcp4, Scope::Global, "Dhcp4");
        if version == Version::Kea2 {
            work.control_socket(dhcp4);
        }
        work.interfaces(dhcp4);
    }
    Exported { document, notes: work.notes }
}

/// Keywords that came after 2.2, in whatever map.
const AFTER_2_2: &[&str] = &[
    "adaptive-lease-time-threshold",
    "allocator",
    "ddns-ttl",
    "ddns-ttl-max",
    "ddns-ttl-min",
    "ddns-ttl-percent",
    "exclude-first-last-24",
    "ignore-dhcp-server-identifier",
    "ignore-rai-link-selection",
    "never-send",
    "offer-lifetime",
    "pool-id",
    "stash-agent-options",
    "template-test",
];

/// Spellings of 2.2 where only the word changed.
const SPELLINGS: &[(&str, &str)] = &[
    ("evaluate-additional-classes", "require-client-classes"),
    ("only-in-additional-list", "only-if-required"),
    ("output-options", "output_options"),
];

/// What a map is, where keywords mean different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Global,
    /// Shared networks and subnets.
    Place,
    Pool,
    Option,
    Other,
}

impl Scope {
    fn below(key: &str) -> Scope {
        match key {
            "shared-networks" | "subnet4" => Scope::Place,
            "pools" => Scope::Pool,
            "option-data" => Scope::Option,
            _ => Scope::Other,
        }
    }
}

struct Work {
    version: Version,
    notes: Vec<String>,
}

impl Work {
    fn note(&mut self, path: &str, what: &str) {
        self.notes.push(format!("{path}: {what}"));
    }

    fn map(&mut self, map: &mut Map<String, Value>, scope: Scope, path: &str) {
        if scope == Scope::Place {
            own_words(map);
        }
        if self.version == Version::Kea2 {
            self.as_in_2_2(map, scope, path);
        }
        for (key, value) in map.iter_mut().filter(|(key, _)| *key != "user-context") {
            self.value(value, Scope::below(key), &format!("{path}.{key}"));
        }
        map.retain(|key, value| {
            let hidden = is_hidden(key, value);
            if hidden {
                self.note(&format!("{path}.{key}"), SECRET);
            }
            !hidden
        });
    }

    fn value(&mut self, value: &mut Value, scope: Scope, path: &str) {
        match value {
            Value::Object(map) => self.map(map, scope, path),
            Value::Array(list) => {
                let mut at = 0;
                list.retain_mut(|entry| {
                    let here = format!("{path}[{at}]");
                    at += 1;
                    self.entry(entry, scope, &here)
                });
            }
            _ => {}
        }
    }

    /// Whether an entry of a list stays.
    fn entry(&mut self, entry: &mut Value, scope: Scope, path: &str) -> bool {
        // A socket without its users would let everybody in; a hook without its password would not work.
        let guards = path.contains("control-sockets[") || path.contains("hooks-libraries[");
        if guards && has_secret(entry) {
            self.note(path, SECRET);
            return false;
        }
        let tagged = entry.get("client-classes").and_then(Value::as_array);
        if self.version == Version::Kea2
            && scope == Scope::Option
            && tagged.is_some_and(|classes| !classes.is_empty())
        {
            self.note(path, "left out: Kea 2.2 cannot limit an option to classes of clients");
            return false;
        }
        self.value(entry, scope, path);
        true
    }

    fn as_in_2_2(&mut self, map: &mut Map<String, Value>, scope: Scope, path: &str) {
        let place = matches!(scope, Scope::Place | Scope::Pool);
        let unknown: Vec<String> = map
            .keys()
            .filter(|key| {
                let named = key.starts_with("ddns-") || key.starts_with("hostname-char-");
                AFTER_2_2.contains(&key.as_str()) || (scope == Scope::Pool && named)
            })
            .cloned()
            .collect();
        for key in unknown {
            map.shift_remove(&key);
            self.note(&format!("{path}.{key}"), "left out: Kea 2.2 does not know it");
        }
        if scope == Scope::Option {
            map.shift_remove("client-classes");
        }
        if place && let Some(classes) = map.shift_remove("client-classes") {
            match classes.as_array().map(Vec::as_slice) {
                Some([]) | None => {}
                Some([class]) => {
                    map.insert("client-class".to_owned(), class.clone());
                }
                Some([class, ..]) => {
                    map.insert("client-class".to_owned(), class.clone());
                    let text = format!("only {class} is left: Kea 2.2 takes one class");
                    self.note(&format!("{path}.client-classes"), &text);
                }
            }
        }
        if let Some(mode) = map.shift_remove("ddns-conflict-resolution-mode") {
            let resolves = mode.as_str() == Some("check-with-dhcid");
            map.insert("ddns-use-conflict-resolution".to_owned(), resolves.into());
            if !resolves && mode.as_str() != Some("no-check-with-dhcid") {
                let text = format!("{mode} became ddns-use-conflict-resolution: false");
                self.note(&format!("{path}.ddns-conflict-resolution-mode"), &text);
            }
        }
        for (new, old) in SPELLINGS {
            if let Some(value) = map.shift_remove(*new) {
                map.insert((*old).to_owned(), value);
            }
        }
    }

    /// 2.2 has one unix socket; HTTP is its Control Agent's.
    fn control_socket(&mut self, dhcp4: &mut Map<String, Value>) {
        let Some(Value::Array(sockets)) = dhcp4.shift_remove("control-sockets") else { return };
        for (at, socket) in sockets.into_iter().enumerate() {
            if socket["socket-type"] == "unix" && !dhcp4.contains_key("control-socket") {
                dhcp4.insert("control-socket".to_owned(), socket);
            } else {
                let text = "left out: Kea 2.2 has one unix socket, and HTTP in its Control Agent";
                self.note(&format!("Dhcp4.control-sockets[{at}]"), text);
            }
        }
    }

    /// Leases are in a file now, and nothing is in a database.
    fn databases(&mut self, dhcp4: &mut Map<String, Value>) {
        let old = dhcp4.get("lease-database").filter(|old| old["type"] == "memfile");
        let mut memfile = json!({ "type": "memfile" });
        for key in ["name", "lfc-interval"] {
            if let Some(value) = old.and_then(|old| old.get(key)) {
                memfile[key] = value.clone();
            }
        }
        memfile["persist"] = true.into();
        dhcp4.insert("lease-database".to_owned(), memfile);
        for key in ["hosts-database", "hosts-databases", "config-control"] {
            if dhcp4.shift_remove(key).is_some() {
                self.note(&format!("Dhcp4.{key}"), "left out: the cluster used no database");
            }
        }
    }

    fn interfaces(&mut self, dhcp4: &Map<String, Value>) {
        let listens = dhcp4
            .get("interfaces-config")
            .and_then(|interfaces| interfaces["interfaces"].as_array())
            .is_some_and(|list| !list.is_empty());
        if !listens {
            self.note(
                "Dhcp4.interfaces-config",
                "it names no interface, because nodes have that in their settings: Kea listens on none until it does",
            );
        }
    }
}

const SECRET: &str = "left out: it has a secret, which the cluster does not show. Write it anew";

/// Keywords of our own: `user-context.leasehold` of subnets.
fn own_words(map: &mut Map<String, Value>) {
    if let Some(Value::Object(context)) = map.get_mut("user-context") {
        context.shift_remove("leasehold");
        if context.is_empty() {
            map.shift_remove("user-context");
        }
    }
}

fn is_hidden(key: &str, value: &Value) -> bool {
    let key = key.to_ascii_lowercase();
    value == HIDDEN && (key.ends_with("password") || key.ends_with("secret"))
}

fn has_secret(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.iter().any(has_secret),
        Value::Object(map) => {
            map.iter().any(|(key, value)| is_hidden(key, value) || has_secret(value))
        }
        _ => false,
    }
}

/// Where the Kea that gets it will look for its leases; `None` for its own default.
pub fn lease_file(document: &Value) -> Option<&str> {
    document["Dhcp4"]["lease-database"]["name"].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exported(dhcp4: Value, version: Version) -> (Value, Vec<String>) {
        let mut all = json!({ "interfaces-config": { "interfaces": ["eth0"] } });
        all.as_object_mut().unwrap().extend(dhcp4.as_object().unwrap().clone());
        let Exported { mut document, notes } = export(json!({ "Dhcp4": all }), version);
        let mut dhcp4 = document["Dhcp4"].take();
        dhcp4.as_object_mut().unwrap().shift_remove("interfaces-config");
        (dhcp4, notes)
    }

    const MEMFILE: &str = r#"{"type":"memfile","persist":true}"#;

    fn memfile() -> Value {
        serde_json::from_str(MEMFILE).unwrap()
    }

    #[test]
    fn our_own_words_stay_here_and_others_contexts_go_along() {
        let subnet = json!({"id": 1, "subnet": "192.0.2.0/24",
            "user-context": {"leasehold": {"grace": 5}, "site": "x", "password": "*****"}});
        let plain = json!({"id": 2, "subnet": "198.51.100.0/24", "user-context": {"leasehold": {"grace": 5}}});
        let (dhcp4, notes) = exported(
            json!({ "subnet4": [subnet], "shared-networks": [{"name": "n", "subnet4": [plain]}] }),
            Version::Kea3,
        );
        assert_eq!(dhcp4["subnet4"][0]["user-context"], json!({"site": "x", "password": "*****"}));
        assert_eq!(
            dhcp4["shared-networks"][0]["subnet4"][0],
            json!({"id": 2, "subnet": "198.51.100.0/24"})
        );
        assert_eq!((&dhcp4["lease-database"], notes), (&memfile(), Vec::new()));
    }

    #[test]
    fn what_has_a_secret_is_left_out_whole() {
        let door = json!({"socket-type": "http", "socket-port": 8000, "authentication": {"type": "basic",
            "clients": [{"user": "a", "password": "*****"}, {"user": "b", "password-file": "b"}]}});
        let open = json!({"socket-type": "unix", "socket-name": "/run/kea/s"});
        let (dhcp4, notes) = exported(
            json!({
                "control-sockets": [door, open],
                "hosts-database": {"type": "mysql", "password": "*****"},
                "lease-database": {"type": "mysql", "password": "*****", "name": "kea"},
                "hooks-libraries": [{"library": "a.so", "parameters": {"x": {"basic-auth-password": "*****"}}}, {"library": "b.so"}],
                "dhcp-ddns": {"secret": "*****", "enable-updates": true},
            }),
            Version::Kea3,
        );
        assert_eq!(dhcp4["control-sockets"], json!([open]));
        assert_eq!(dhcp4["hooks-libraries"], json!([{"library": "b.so"}]));
        assert_eq!(dhcp4["lease-database"], memfile());
        assert_eq!(dhcp4["dhcp-ddns"], json!({"enable-updates": true}));
        assert!(!dhcp4.to_string().contains("*****"));
        let places: Vec<&str> = notes.iter().filter_map(|note| note.split(": ").next()).collect();
        assert_eq!(
            places,
            [
                "Dhcp4.hosts-database",
                "Dhcp4.control-sockets[0]",
                "Dhcp4.hooks-libraries[0]",
                "Dhcp4.dhcp-ddns.secret"
            ]
        );
    }

    #[test]
    fn kea_2_2_gets_its_own_spellings() {
        let (dhcp4, notes) = exported(
            json!({
                "allocator": "flq",
                "ddns-conflict-resolution-mode": "check-with-dhcid",
                "control-sockets": [{"socket-type": "http"}, {"socket-type": "unix", "socket-name": "s"}],
                "loggers": [{"name": "kea-dhcp4", "output-options": [{"output": "stdout"}]}],
                "lease-database": {"type": "memfile", "name": "/v/l.csv", "persist": false, "readonly": false},
                "client-classes": [{"name": "a", "only-in-additional-list": true}],
                "subnet4": [{
                    "id": 1, "subnet": "192.0.2.0/24", "client-classes": ["a"], "evaluate-additional-classes": ["b"],
                    "pools": [{"pool": "192.0.2.1-192.0.2.9", "pool-id": 3, "client-classes": ["a", "b"], "ddns-send-updates": true}],
                    "option-data": [{"name": "routers", "data": "192.0.2.1", "client-classes": ["a"]},
                                    {"name": "routers", "data": "192.0.2.2", "client-classes": [], "never-send": false}],
                    "reservations": [{"hw-address": "02:00:00:00:00:01", "client-classes": ["a", "b"]}],
                }],
            }),
            Version::Kea2,
        );
        assert_eq!(
            dhcp4,
            json!({
                "loggers": [{"name": "kea-dhcp4", "output_options": [{"output": "stdout"}]}],
                "lease-database": {"type": "memfile", "name": "/v/l.csv", "persist": true},
                "client-classes": [{"name": "a", "only-if-required": true}],
                "subnet4": [{
                    "id": 1, "subnet": "192.0.2.0/24",
                    "pools": [{"pool": "192.0.2.1-192.0.2.9", "client-class": "a"}],
                    "option-data": [{"name": "routers", "data": "192.0.2.2"}],
                    "reservations": [{"hw-address": "02:00:00:00:00:01", "client-classes": ["a", "b"]}],
                    "client-class": "a", "require-client-classes": ["b"],
                }],
                "ddns-use-conflict-resolution": true,
                "control-socket": {"socket-type": "unix", "socket-name": "s"},
            })
        );
        assert_eq!(notes.len(), 7, "{notes:#?}");
        for place in [
            "Dhcp4.allocator",
            "Dhcp4.subnet4[0].option-data[0]",
            "Dhcp4.subnet4[0].option-data[1].never-send",
            "Dhcp4.subnet4[0].pools[0].pool-id",
            "Dhcp4.subnet4[0].pools[0].ddns-send-updates",
            "Dhcp4.subnet4[0].pools[0].client-classes",
            "Dhcp4.control-sockets[0]",
        ] {
            assert!(
                notes.iter().any(|note| note.starts_with(&format!("{place}: "))),
                "{place}: {notes:#?}"
            );
        }
    }

    #[test]
    fn a_server_that_would_hear_nothing_is_told() {
        let document = json!({ "Dhcp4": { "subnet4": [] } });
        let Exported { notes, .. } = export(document, Version::Kea3);
        assert!(notes[0].contains("names no interface"), "{notes:?}");
    }
}
