//! `hostname-char-*` and `ddns-*` of pools, subnets and networks (Kea manual, "DDNS for DHCPv4").

use std::collections::HashMap;
use std::sync::Arc;

use regex::bytes::RegexBuilder;

use super::json::{Element, Map};
use super::mistake::{Path, Report};
use super::model::{BadCharacters, DdnsTtl, Naming, ReplaceClientName};
use super::resolve::Chain;
use super::schema::{DHCP4, Kind};

/// How large the program of one `hostname-char-set` may become, in bytes.
const MAX_PROGRAM: usize = 1 << 20;

/// Makes [`Naming`]s; scopes that say nothing share that of the scope around.
#[derive(Debug)]
pub(super) struct Namer {
    /// `dhcp-ddns.enable-updates`.
    enabled: bool,
    sets: HashMap<String, Option<BadCharacters>>,
}

impl Namer {
    pub(super) fn new(enabled: bool) -> Namer {
        Namer { enabled, sets: HashMap::new() }
    }

    /// What holds in the innermost scope of `chain`; `outer` is what holds around it.
    pub(super) fn naming(
        &mut self,
        chain: &Chain<'_>,
        own: &Map,
        outer: Option<&Arc<Naming>>,
        path: &Path<'_>,
        report: &mut Report,
    ) -> Arc<Naming> {
        let says = |key: &str| key.starts_with("ddns-") || key.starts_with("hostname-char-");
        match outer {
            Some(outer) if !own.members.iter().any(|member| says(&member.key)) => outer.clone(),
            _ => {
                check_ttl(own, path, report);
                Arc::new(self.read(chain, own, path, report))
            }
        }
    }

    fn read(
        &mut self,
        chain: &Chain<'_>,
        own: &Map,
        path: &Path<'_>,
        report: &mut Report,
    ) -> Naming {
        let set = chain.text("hostname-char-set");
        let bad_characters = self.set(set);
        if let (None, false, Some(element)) =
            (&bad_characters, set.is_empty(), own.get("hostname-char-set"))
        {
            let text = format!("hostname-char-set '{set}' is not a valid regular expression");
            report.error(element.at, path, text);
        }
        let share = chain.find("ddns-ttl-percent").and_then(Element::real);
        Naming {
            bad_characters,
            replacement: chain.text("hostname-char-replacement").to_owned(),
            send_updates: self.enabled && chain.flag("ddns-send-updates"),
            override_no_update: chain.flag("ddns-override-no-update"),
            override_client_update: chain.flag("ddns-override-client-update"),
            replace_client_name: match chain.text("ddns-replace-client-name") {
                "always" => ReplaceClientName::Always,
                "when-present" => ReplaceClientName::WhenPresent,
                "when-not-present" => ReplaceClientName::WhenNotPresent,
                _ => ReplaceClientName::Never,
            },
            generated_prefix: chain.text("ddns-generated-prefix").to_owned(),
            qualifying_suffix: chain.text("ddns-qualifying-suffix").trim_matches('.').to_owned(),
            update_on_renew: chain.flag("ddns-update-on-renew"),
            conflict_resolution: mode(chain.text("ddns-conflict-resolution-mode")),
            ttl: DdnsTtl {
                fixed: chain.secs("ddns-ttl"),
                share,
                min: chain.secs("ddns-ttl-min"),
                max: chain.secs("ddns-ttl-max"),
            },
        }
    }

    /// The compiled set; `None` for the empty one, and for one that is wrong.
    fn set(&mut self, text: &str) -> Option<BadCharacters> {
        if let Some(set) = self.sets.get(text) {
            return set.clone();
        }
        let set = if text.is_empty() { None } else { compile(text) };
        self.sets.insert(text.to_owned(), set.clone());
        set
    }
}

/// Kea's word for the mode, from the table.
fn mode(text: &str) -> &'static str {
    match DHCP4.keyword("ddns-conflict-resolution-mode").map(|row| row.kind) {
        Some(Kind::Word(words)) => words.iter().find(|word| **word == text).unwrap_or(&words[0]),
        _ => "check-with-dhcid",
    }
}

fn check_ttl(own: &Map, path: &Path<'_>, report: &mut Report) {
    let fixed = own.get("ddns-ttl");
    for key in ["ddns-ttl-percent", "ddns-ttl-min", "ddns-ttl-max"] {
        if let (Some(_), Some(other)) = (fixed, own.get(key)) {
            report.error(other.at, path, format!("cannot specify both {key} and ddns-ttl"));
        }
    }
    let secs = |key| own.get(key).and_then(|element| Some((element.at, element.int()?)));
    if let (Some((_, min)), Some((at, max))) = (secs("ddns-ttl-min"), secs("ddns-ttl-max"))
        && max < min
    {
        let text = format!("ddns-ttl-max: {max} must be greater than ddns-ttl-min: {min}");
        report.error(at, path, text);
    }
}

/// Kea reads the set as a POSIX extended regular expression over bytes.
fn compile(text: &str) -> Option<BadCharacters> {
    let translated = translate(text)?;
    let regex = RegexBuilder::new(&translated).unicode(false).size_limit(MAX_PROGRAM).build();
    regex.ok().map(BadCharacters)
}

/// A POSIX extended regular expression in the syntax of the `regex` crate. They differ inside
/// brackets: there POSIX knows no escapes, no nested sets and no operators, only classes such as
/// `[:alnum:]`, and a character outside ASCII stands for its bytes. `None` for an unknown class.
fn translate(posix: &str) -> Option<String> {
    let mut rest = posix;
    let mut out = String::with_capacity(posix.len() + 8);
    while let Some(c) = rest.chars().next() {
        match c {
            '\\' => {
                let len = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
                out.push_str(&rest[..len]);
                rest = &rest[len..];
            }
            '[' => {
                let (set, behind) = translate_set(rest)?;
                out.push_str(&set);
                rest = behind;
            }
            _ => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    Some(out)
}

/// The bracket expression that `rest` begins with, and what follows it.
fn translate_set(rest: &str) -> Option<(String, &str)> {
    let mut out = "[".to_owned();
    let mut rest = &rest[1..];
    if let Some(behind) = rest.strip_prefix('^') {
        out.push('^');
        rest = behind;
    }
    // As the first character a bracket is itself.
    if let Some(behind) = rest.strip_prefix(']') {
        out.push_str("\\]");
        rest = behind;
    }
    let mut last = ' ';
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("[:") {
            let (class, behind) = class(rest)?;
            out.push_str(class);
            rest = behind;
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            ']' => {
                out.push(']');
                return Some((out, rest));
            }
            '[' | '\\' | '&' | '~' => out.extend(['\\', c]),
            '-' if last == '-' => out.push_str("\\-"),
            _ if c.is_ascii() => out.push(c),
            _ => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    out.push_str(&format!("\\x{byte:02X}"));
                }
            }
        }
        last = c;
    }
    // It has no end.
    None
}

/// The class such as `[:alpha:]` that `rest` begins with, and what follows it.
fn class(rest: &str) -> Option<(&str, &str)> {
    const NAMES: [&str; 12] = [
        "alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
        "upper", "xdigit",
    ];
    let (name, _) = rest.strip_prefix("[:")?.split_once(":]")?;
    let end = name.len() + 4;
    NAMES.contains(&name).then(|| (&rest[..end], &rest[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of `name`.
    fn scrub(set: &str, name: &str) -> String {
        let set = compile(set).expect(set);
        String::from_utf8(set.0.replace_all(name.as_bytes(), &b""[..]).into_owned()).unwrap()
    }

    #[test]
    fn sets_are_read_as_posix_reads_them() {
        assert_eq!(scrub("[^A-Za-z0-9.-]", "a_b-c.d é!"), "ab-c.d");
        assert_eq!(scrub("[^[:alnum:]_-]", "a_b-c.d"), "a_b-cd");
        assert_eq!(scrub("[\\.]", "a\\b.c"), "abc");
        assert_eq!(scrub("[]x]", "a]xb"), "ab");
        assert_eq!(scrub("[[x]", "a[xb"), "ab");
        assert_eq!(scrub("[a&&b]", "a&b&c"), "c");
        assert_eq!(scrub("\\.|!", "a.b!c"), "abc");
        assert_eq!(scrub("[é]", "aéb"), "ab");
        assert_eq!(scrub("[+--]", "a+,-b"), "ab");
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for wrong in ["[^A-Z", "[[:foo:]]", "(a", "a{2,1}", "(((a{1000}){1000}){1000})", "\\"] {
            assert!(compile(wrong).is_none(), "{wrong}");
        }
    }
}
