//! What is compared of two answers: every member, after what cannot be the same has been named by a rule.
//!
//! | Member | Becomes |
//! |---|---|
//! | `cltt` | `now` when it is less than [`NOW`] seconds from the beginning of the story, `now-600` when it is less than a day |
//! | `hash` of 64 digits | `hash 1`, `hash 2`, … as they are first seen: whether it changed is compared |
//! | `pid`; `uptime`, `reload`; `size` of a file; `from`, where the next page begins | `a number` |
//! | a time like `2026-11-28 23:52:33.082852` | `a time` |
//! | the text of `version-get` | `a version` when it begins with three numbers; `extended` and the text of `build-report`: `words` |
//! | the server's own directory | `DIR` |
//! | ` (<wire>:0:55)` and the like | nothing |
//!
//! Members of lists are named by what identifies them, so an order that nobody relies on is not compared; that of pages, classes and
//! pools is.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// How old a client's last transaction may be to be called now, in seconds.
pub const NOW: u64 = 20;

/// Names what is volatile in the answers of one server, which come one after the other.
#[derive(Debug)]
pub struct Rules {
    /// The server's directory.
    dir: String,
    /// When the story began, in seconds since 1970.
    now: u64,
    hashes: Vec<String>,
}

/// Member by its path; values as JSON.
pub type Fields = BTreeMap<String, String>;

impl Rules {
    /// For a server that knows its directory as `dir`, and a story that begins at `now`, in seconds since 1970.
    pub fn new(dir: &str, now: u64) -> Rules {
        Rules { dir: dir.to_owned(), now, hashes: Vec::new() }
    }

    /// The answer to `command`.
    pub fn apply(&mut self, command: &str, answer: &Value) -> Value {
        let mut answer = self.value("", answer);
        match command {
            "version-get" => {
                let three = answer["text"].as_str().is_some_and(begins_with_three_numbers);
                if three {
                    answer["text"] = json!("a version");
                }
                if answer["arguments"]["extended"].is_string() {
                    answer["arguments"]["extended"] = json!("words");
                }
            }
            "build-report" if answer["text"].is_string() => answer["text"] = json!("words"),
            _ => {}
        }
        answer
    }

    fn value(&mut self, name: &str, value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let member =
                    |(name, value): (&String, &Value)| (name.clone(), self.value(name, value));
                Value::Object(members.iter().map(member).collect::<Map<_, _>>())
            }
            Value::Array(list) => list.iter().map(|value| self.value("", value)).collect(),
            Value::Number(number) => match (name, number.as_u64()) {
                ("cltt", Some(time)) if time.abs_diff(self.now) < NOW => json!("now"),
                ("cltt", Some(time)) if time.abs_diff(self.now) < 86_400 => {
                    let sign = if time < self.now { '-' } else { '+' };
                    json!(format!("now{sign}{}", time.abs_diff(self.now)))
                }
                ("pid" | "uptime" | "reload" | "size" | "from", Some(_)) => json!("a number"),
                _ => value.clone(),
            },
            Value::String(text) => Value::String(self.text(name, text)),
            _ => value.clone(),
        }
    }

    fn text(&mut self, name: &str, text: &str) -> String {
        if name == "hash" && text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let known = self.hashes.iter().position(|hash| hash == text);
            let number = known.unwrap_or_else(|| {
                self.hashes.push(text.to_owned());
                self.hashes.len() - 1
            });
            return format!("hash {}", number + 1);
        }
        if looks_like(text, "0000-00-00 00:00:00.000000") {
            return "a time".to_owned();
        }
        without_positions(&text.replace(&self.dir, "DIR"))
    }
}

fn begins_with_three_numbers(text: &str) -> bool {
    let mut parts = text.splitn(3, '.');
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    parts.next().is_some_and(number)
        && parts.next().is_some_and(number)
        && parts.next().is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

/// Whether `text` has digits where `form` has zeros and is the same elsewhere.
fn looks_like(text: &str, form: &str) -> bool {
    text.len() == form.len()
        && text.bytes().zip(form.bytes()).all(|(found, wanted)| match wanted {
            b'0' => found.is_ascii_digit(),
            _ => found == wanted,
        })
}

/// The text without hints like ` (<wire>:0:55)`, ` in (<wire>:0:55)`, ` at (:0:0)`.
fn without_positions(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('(') {
        let inside = after.split_once(')');
        match inside {
            Some((hint, behind)) if is_position(hint) => {
                let before = before.trim_end();
                let before = before.strip_suffix(" at").unwrap_or(before);
                out.push_str(before.strip_suffix(" in").unwrap_or(before));
                rest = behind;
            }
            _ => {
                out.push_str(before);
                out.push('(');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn is_position(hint: &str) -> bool {
    let mut parts = hint.rsplitn(3, ':');
    let number = |part: Option<&str>| part.is_some_and(|part| part.parse::<u32>().is_ok());
    number(parts.next())
        && number(parts.next())
        && matches!(parts.next(), Some("" | "<wire>" | "<string>"))
}

/// Every member of an answer to which the rules were applied.
pub fn fields(command: &str, answer: &Value) -> Fields {
    let mut fields = Fields::new();
    flatten(command, answer, "", &mut fields);
    fields
}

fn flatten(command: &str, value: &Value, path: &str, fields: &mut Fields) {
    let below =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, member) in members {
                flatten(command, member, &below(name), fields);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            let keys = keys(list);
            for (key, member) in keys.iter().zip(list) {
                flatten(command, member, &below(key), fields);
            }
            let last = path.rsplit('/').next().unwrap_or_default();
            if matches!(last, "client-classes" | "pools") || command.ends_with("-get-page") {
                fields.insert(below("order"), keys.join(" "));
            }
        }
        _ => {
            fields.insert(path.to_owned(), value.to_string());
        }
    }
}

/// What the members of a list are called: by what identifies them if that is unique, else by number.
fn keys(list: &[Value]) -> Vec<String> {
    let names = [
        "ip-address",
        "id",
        "name",
        "subnet",
        "pool",
        "hw-address",
        "duid",
        "client-id",
        "circuit-id",
        "flex-id",
        "code",
        "library",
        "socket-type",
    ];
    let key = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(members) => {
            let (name, value) = names.iter().find_map(|name| Some((name, members.get(*name)?)))?;
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Some(format!("{name}={text}"))
        }
        _ => None,
    };
    let keys: Option<Vec<String>> = list.iter().map(key).collect();
    let mut sorted = keys.clone().unwrap_or_default();
    sorted.sort();
    sorted.dedup();
    match keys {
        Some(keys) if sorted.len() == list.len() => keys,
        _ => (0..list.len()).map(|number| number.to_string()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_volatile_is_named() {
        let mut rules = Rules::new("/tmp/x", 1_000_000);
        let (one, two) = ("A".repeat(64), "B".repeat(64));
        let answer = json!({
            "cltt": 1_000_005, "pid": 7, "hash": one, "t": "2026-11-28 23:52:33.082852", "f": "/tmp/x/y",
            "text": "missing parameter 'a' (<wire>:0:40)", "list": [{ "hash": two }, { "hash": one }], "z": "a (b) at (:0:0)",
        });
        assert_eq!(
            rules.apply("x", &answer),
            json!({
                "cltt": "now", "pid": "a number", "hash": "hash 1", "t": "a time", "f": "DIR/y",
                "text": "missing parameter 'a'", "list": [{ "hash": "hash 2" }, { "hash": "hash 1" }], "z": "a (b)",
            })
        );
        let old = rules.apply("x", &json!({ "cltt": 999_900, "a": [{ "cltt": 7 }] }));
        assert_eq!(old, json!({ "cltt": "now-100", "a": [{ "cltt": 7 }] }));
        let version = rules.apply("version-get", &json!({ "text": "3.0.4-x" }));
        assert_eq!(version["text"], "a version");
        let version = rules.apply("version-get", &json!({ "text": "3.0" }));
        assert_eq!(version["text"], "3.0");
    }

    #[test]
    fn lists_are_compared_by_what_identifies_their_members() {
        let one = json!({ "leases": [{ "ip-address": "a", "x": 1 }, { "ip-address": "b", "x": 2 }], "e": [], "n": [[1], [2]] });
        let other = json!({ "leases": [{ "ip-address": "b", "x": 2 }, { "ip-address": "a", "x": 1 }], "e": [], "n": [[1], [2]] });
        assert_eq!(fields("lease4-get-all", &one), fields("lease4-get-all", &other));
        assert_ne!(fields("lease4-get-page", &one), fields("lease4-get-page", &other));
        let fields = fields("lease4-get-all", &one);
        assert_eq!(fields["leases/ip-address=a/x"], "1");
        assert_eq!(fields["e"], "[]");
        assert_eq!(fields["n/1/0"], "2");
    }
}
