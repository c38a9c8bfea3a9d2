//! The audit log: one line for each write, whatever came of it, with who asked, from where, through
//! which node, for what, and the place in the log. Target `audit`: `LEASEHOLD_LOG=warn,audit=info` has
//! nothing else.
//!
//! A line names the object of a command and never its arguments; it has a bounded length, and what came
//! from outside is escaped, so that nobody can write a line of his own.

use std::fmt::Write;

use serde_json::Value;

use super::spec::{Access, Args, Caller, Code, Reply, Spec};

/// Characters of a reply's text that are kept.
const TEXT: usize = 200;
/// Characters of an object's name that are kept.
const OBJECT: usize = 160;
/// Characters of a user's name or an address that are kept.
const WHO: usize = 80;

/// Kea's explicit lease commands: the one way to give an address away (R9).
const GIVES_AWAY: &[&str] =
    &["lease4-add", "lease4-bulk-apply", "lease4-del", "lease4-update", "lease4-wipe"];

/// What of the arguments names the object, in the order of a line.
const NAMES: &[&str] = &[
    "ip-address",
    "subnet-id",
    "identifier-type",
    "identifier",
    "hw-address",
    "client-id",
    "id",
    "subnet",
    "name",
    "version",
    "node",
    "filename",
    "origin",
    "from",
    "to",
];

/// Arguments that hold the object, or a list of objects.
const HOLDERS: &[&str] = &[
    "subnet4",
    "shared-networks",
    "client-classes",
    "reservation",
    "leases",
    "deleted-leases",
    "option-def",
];

/// The line of a command that is being run; written when it is dropped at the latest, since a client
/// that goes away takes the answer with it and not the change.
#[derive(Debug)]
pub(super) struct Line {
    /// `None` when there is nothing to write, or it is written.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    command: &'static str,
    user: String,
    from: String,
    node: String,
    object: String,
    index: Option<u64>,
}

impl Line {
    /// The line of a command; empty for one that changes nothing.
    pub(super) fn of(spec: &Spec, args: &Args<'_>, caller: &Caller, node: &str) -> Line {
        if spec.access == Access::Read {
            return Line { open: None };
        }
        Line {
            open: Some(Open {
                command: spec.name,
                user: plain(caller.user.as_deref().unwrap_or("-"), WHO),
                from: plain(&caller.from, WHO),
                node: plain(node, WHO),
                object: object(args),
                index: None,
            }),
        }
    }

    /// A part of it is committed, the last one here.
    pub(super) fn committed(&mut self, index: u64) {
        if let Some(open) = &mut self.open {
            open.index = Some(index);
        }
    }

    /// It has been answered.
    pub(super) fn done(mut self, reply: &Reply) {
        if let Some(open) = self.open.take() {
            // The first line of many mistakes is enough.
            let text = reply.text.as_deref().unwrap_or_default();
            let text = plain(text.lines().next().unwrap_or_default(), TEXT);
            open.write(reply.code as u32, &text);
        }
    }

    /// It was refused for want of rights.
    pub(super) fn forbidden(mut self) {
        if let Some(open) = self.open.take() {
            open.write(403, "Forbidden");
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            open.write(Code::Error as u32, "the client went away; the outcome is unknown to it");
        }
    }
}

impl Open {
    fn write(self, result: u32, text: &str) {
        let Open { command, user, from, node, object, index } = self;
        let index = index.map_or("-".to_owned(), |index| index.to_string());
        let done = result == Code::Success as u32;
        let note = if GIVES_AWAY.contains(&command) && done {
            " note=\"an explicit lease command: it may have given an address to another client\""
        } else {
            ""
        };
        tracing::info!(
            target: "audit",
            "user={user} from={from} node={node} command={command} object=\"{object}\" result={result} index={index} \
             text=\"{text}\"{note}"
        );
    }
}

/// At most `most` characters, without anything that ends a line or a quotation.
fn plain(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    for (at, c) in text.chars().enumerate() {
        match c {
            _ if at == most => {
                out.push('…');
                break;
            }
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                let _ = write!(out, "{}", c.escape_unicode());
            }
            c => out.push(c),
        }
    }
    out
}

/// What the arguments are about, in few words.
fn object(args: &Args<'_>) -> String {
    let mut out = String::new();
    if let Some(map) = args.map() {
        names(map, &mut out);
        for holder in HOLDERS {
            let (first, count) = match map.get(*holder) {
                Some(Value::Array(list)) => (list.first(), list.len()),
                Some(one @ Value::Object(_)) => (Some(one), 1),
                _ => continue,
            };
            separate(&mut out);
            out.push_str(holder);
            if let Some(first) = first.and_then(Value::as_object) {
                names(first, &mut out);
            }
            if count > 1 {
                let _ = write!(out, " and {} more", count - 1);
            }
        }
    }
    plain(&out, OBJECT)
}

fn names(map: &serde_json::Map<String, Value>, out: &mut String) {
    for name in NAMES {
        let value = match map.get(*name) {
            Some(Value::String(text)) => text.chars().take(OBJECT).collect(),
            Some(value @ Value::Number(_)) => value.to_string(),
            _ => continue,
        };
        separate(out);
        let _ = write!(out, "{name} {value}");
    }
}

fn separate(out: &mut String) {
    if !out.is_empty() {
        out.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn object_of(arguments: Value) -> String {
        let arguments = Arc::new(arguments);
        object(&Args::new(Some(&arguments)))
    }

    #[test]
    fn an_object_is_named_without_its_content() {
        let text = object_of(json!({"ip-address": "192.0.2.1", "hw-address": "02:00:00:00:00:01",
            "user-context": {"password": "x"}, "hostname": "h"}));
        assert_eq!(text, "ip-address 192.0.2.1 hw-address 02:00:00:00:00:01");
        let text = object_of(json!({"subnet4": [{"id": 7, "subnet": "192.0.2.0/24"}, {}]}));
        assert_eq!(text, "subnet4 id 7 subnet 192.0.2.0/24 and 1 more");
        assert_eq!(object_of(json!({"Dhcp4": {"password": "x"}})), "");
        assert_eq!(object_of(json!("x")), "");
    }

    #[test]
    fn nobody_writes_a_line_of_his_own() {
        assert_eq!(plain("a\nb\"c\u{1b}[0m\u{202e}", 80), "a\\u{a}b\\\"c\\u{1b}[0m\\u{202e}");
        assert_eq!(plain(&"é".repeat(500), 3), "ééé…");
        let long = object_of(json!({"name": "x".repeat(100_000), "filename": "y".repeat(100_000)}));
        assert!(long.chars().count() <= OBJECT + 1, "{}", long.len());
    }
}
