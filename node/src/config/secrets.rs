//! What is never shown: passwords and keys, by the names of their members.
//!
//! Whoever prints a configuration for people prints [`HIDDEN`] instead. Whoever takes one in gives the
//! mark its meaning back: what stands there now. So a configuration that was shown can be set again
//! and changes nothing. What is kept in the log, and written to a file that a server starts from, has the real
//! values. As in Kea, `user-context` is free text and shown as it is.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;

use super::json::{Element, Map, Value, print_scalar};
use super::mistake::{Mistakes, Path, Report};
use super::reader::{self, Dialect};
use super::{Config, read_back};

/// What is printed in place of a secret.
pub const HIDDEN: &str = "*****";

/// Whether a member holds one.
pub(super) fn is_secret(key: &str) -> bool {
    let ends = |word: &str| {
        key.len()
            .checked_sub(word.len())
            .and_then(|at| key.get(at..))
            .is_some_and(|end| end.eq_ignore_ascii_case(word))
    };
    ends("password") || ends("secret")
}

/// Whether anything below a member is free text.
fn is_free(key: &str) -> bool {
    key == "user-context"
}

/// Whether there is something to hide: an empty text is none.
fn is_bare(value: &Element) -> bool {
    !matches!(&value.value, Value::Null) && value.text() != Some("")
}

/// Whether a document has a secret in it.
pub(super) fn any(element: &Element) -> bool {
    match &element.value {
        Value::List(list) => list.iter().any(any),
        Value::Map(map) => map.members.iter().any(|member| match &*member.key {
            key if is_secret(key) => is_bare(&member.value),
            key if is_free(key) => false,
            _ => any(&member.value),
        }),
        _ => false,
    }
}

/// Puts [`HIDDEN`] in place of every secret.
pub fn hide(json: &mut serde_json::Value) {
    use serde_json::Value as Json;
    match json {
        Json::Array(list) => list.iter_mut().for_each(hide),
        Json::Object(map) => {
            for (key, value) in map.iter_mut() {
                match &**key {
                    key if is_secret(key) => {
                        if !value.is_null() && value.as_str() != Some("") {
                            *value = HIDDEN.into();
                        }
                    }
                    key if is_free(key) => {}
                    _ => hide(value),
                }
            }
        }
        _ => {}
    }
}

/// A document as it was written, but for its secrets; layout and comments stay. Of secrets in
/// comments, those are found that look like members.
///
/// # Errors
/// When the text is no document any more.
pub fn hidden_source(text: &str) -> Result<Cow<'_, str>, Mistakes> {
    if !may_have_secrets(text) {
        return Ok(Cow::Borrowed(text));
    }
    let root = element(text)?;
    let mut marks = Vec::new();
    bare(&root, text, &mut marks);
    for comment in comments(text) {
        in_comment(text, comment, &mut marks);
    }
    Ok(Cow::Owned(replaced(text, marks)))
}

/// `text` with every [`HIDDEN`] secret replaced by what `current` has in its place: entries of lists are
/// found by their names, or, where none fits, by their position. `None` when it has none hidden.
///
/// # Errors
/// Every hidden secret for which there is nothing.
pub fn restored(text: &str, current: Option<&Config>) -> Result<Option<String>, Mistakes> {
    if !text.contains(HIDDEN) || !may_have_secrets(text) {
        return Ok(None);
    }
    // What is wrong with the form is told by whoever reads the document for good.
    let Ok(root) = element(text) else { return Ok(None) };
    let old = current.map(|config| read_back(config.document()));
    let mut work = Restore { text, edits: Vec::new(), report: Report::new("document") };
    work.element(&root, old.as_ref(), &Path::Root);
    let Restore { edits, report, .. } = work;
    report.finish(text)?;
    Ok((!edits.is_empty()).then(|| replaced(text, edits)))
}

/// Refuses a file that was made of what was shown: a server must not start with [`HIDDEN`] for a password.
///
/// # Errors
/// Every secret that is hidden in it, by its path.
pub fn all_there(config: &Config, source: &str) -> Result<(), Mistakes> {
    let Err(Mistakes(mut hidden)) = restored(config.document(), None) else { return Ok(()) };
    for mistake in &mut hidden {
        // Places in the document are not those of the file.
        (mistake.line, mistake.column, mistake.source) = (0, 0, source.into());
        mistake.text = format!(
            "{source}: {} is \"{HIDDEN}\", which is shown in place of a secret: give the secret",
            mistake.path
        );
    }
    Err(Mistakes(hidden))
}

/// Most documents have none, and need no second reading.
fn may_have_secrets(text: &str) -> bool {
    // A key may be written with escapes.
    let words: [&[u8]; 3] = [b"password", b"secret", b"\\u00"];
    let bytes = text.as_bytes();
    words.iter().any(|word| {
        bytes.windows(word.len()).any(|window| {
            window[0].eq_ignore_ascii_case(&word[0]) && window.eq_ignore_ascii_case(word)
        })
    })
}

fn element(text: &str) -> Result<Element, Mistakes> {
    let mut report = Report::new("document");
    let mut none = |_: &str| Err("a document sent to a node cannot include files".to_owned());
    let read = reader::read(text, Dialect::File, &mut none, &mut report);
    report.finish(text)?;
    read.ok_or_else(|| Mistakes::unreadable("document", &"it cannot be read"))
}

/// A piece of the text, and what comes in its place.
type Edit = (Range<usize>, String);

fn replaced(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|(range, _)| range.start);
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (range, new) in edits {
        // A comment inside a secret goes with it.
        if range.start < done {
            continue;
        }
        out.push_str(text.get(done..range.start).unwrap_or_default());
        out.push_str(&new);
        done = range.end;
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

/// The places of all secrets that are shown.
fn bare(element: &Element, text: &str, marks: &mut Vec<Edit>) {
    match &element.value {
        Value::List(list) => list.iter().for_each(|element| bare(element, text, marks)),
        Value::Map(map) => {
            for member in &map.members {
                match &*member.key {
                    key if is_secret(key) && is_bare(&member.value) => {
                        marks.push((span(&member.value, text), format!("\"{HIDDEN}\"")));
                    }
                    key if is_secret(key) || is_free(key) => {}
                    _ => bare(&member.value, text, marks),
                }
            }
        }
        _ => {}
    }
}

/// Where a value of a document that was read stands in its text.
fn span(element: &Element, text: &str) -> Range<usize> {
    let start = element.at.offset as usize;
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut words = Words { bytes, at: start };
    while let Some((kind, range)) = words.next_word() {
        match (kind, bytes.get(range.start)) {
            (Word::Comment, _) => continue,
            (Word::Mark, Some(b'{' | b'[')) => depth += 1,
            (Word::Mark, Some(b'}' | b']')) => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return start..range.end;
        }
    }
    start..text.len()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Text,
    Comment,
    Mark,
    /// A number or a literal.
    Plain,
}

/// The words of a document that is known to be well-formed.
struct Words<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Words<'_> {
    fn next_word(&mut self) -> Option<(Word, Range<usize>)> {
        let rest = self.bytes.get(self.at..)?;
        let blank = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let start = self.at + blank;
        let rest = self.bytes.get(start..)?;
        let line = || rest.iter().take_while(|byte| **byte != b'\n').count();
        let (kind, len) = match rest {
            [] => return None,
            [b'"', inner @ ..] => (Word::Text, 1 + text_len(inner)),
            [b'#', ..] | [b'/', b'/', ..] => (Word::Comment, line()),
            [b'/', b'*', inner @ ..] => {
                let end = inner.windows(2).position(|pair| pair == b"*/");
                (Word::Comment, end.map_or(rest.len(), |end| end + 4))
            }
            [b'{' | b'}' | b'[' | b']' | b',' | b':', ..] => (Word::Mark, 1),
            _ => {
                let ends =
                    |byte: &&u8| !byte.is_ascii_whitespace() && !b"{}[],:\"#/".contains(*byte);
                (Word::Plain, rest.iter().take_while(ends).count().max(1))
            }
        };
        self.at = start + len;
        Some((kind, start..self.at))
    }
}

/// The bytes of a string behind its first quotation mark, up to and with the last.
fn text_len(inner: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = inner.get(at) {
        at += match byte {
            b'"' => return at + 1,
            b'\\' => 2,
            _ => 1,
        };
    }
    inner.len()
}

fn comments(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut words = Words { bytes: text.as_bytes(), at: 0 };
    std::iter::from_fn(move || words.next_word())
        .filter(|(kind, _)| *kind == Word::Comment)
        .map(|(_, range)| range)
}

/// What follows the name of a secret and a colon or an equals sign in a comment.
fn in_comment(text: &str, comment: Range<usize>, marks: &mut Vec<Edit>) {
    let Some(whole) = text.get(comment.clone()) else { return };
    let lower = whole.to_ascii_lowercase();
    let mut from = 0;
    while let Some((at, word)) = ["password", "secret"]
        .iter()
        .filter_map(|word| Some((lower.get(from..)?.find(word)? + from, *word)))
        .min()
    {
        from = at + word.len();
        let rest = whole.get(from..).unwrap_or_default();
        let trimmed = rest.trim_start_matches(['"', '\'', ' ', '\t']);
        let Some(value) = trimmed.strip_prefix([':', '=']).map(str::trim_start) else { continue };
        let start = whole.len() - value.len();
        let len = match value.as_bytes() {
            [b'"', inner @ ..] => 1 + text_len(inner),
            _ => value.find([',', '}', ' ', '\n', '\r', '\t']).unwrap_or(value.len()),
        };
        // A string that the comment's end cuts off ends there.
        let end = (start + len).min(whole.len());
        if end > start {
            marks.push((comment.start + start..comment.start + end, format!("\"{HIDDEN}\"")));
            from = end;
        }
    }
}

/// Walks a new document beside the one in force.
struct Restore<'a> {
    text: &'a str,
    edits: Vec<Edit>,
    report: Report,
}

impl Restore<'_> {
    fn element(&mut self, new: &Element, old: Option<&Element>, path: &Path<'_>) {
        match &new.value {
            Value::Map(map) => self.map(map, old.and_then(Element::map), path),
            Value::List(list) => {
                let old = old.map(Element::list).unwrap_or_default();
                let partners = partners(list, old);
                for (at, (element, partner)) in list.iter().zip(partners).enumerate() {
                    self.element(element, partner, &Path::Index(path, at));
                }
            }
            _ => {}
        }
    }

    fn map(&mut self, new: &Map, old: Option<&Map>, path: &Path<'_>) {
        for member in &new.members {
            let key = &*member.key;
            let here = Path::Key(path, key);
            let partner = old.and_then(|old| partner_of(key, old));
            if !is_secret(key) {
                if !is_free(key) {
                    self.element(&member.value, partner, &here);
                }
                continue;
            }
            if member.value.text() != Some(HIDDEN) {
                continue;
            }
            match partner {
                Some(real) => {
                    let mut json = Vec::new();
                    real.print(&mut json);
                    let json = String::from_utf8(json).unwrap_or_default();
                    self.edits.push((span(&member.value, self.text), json));
                }
                None => self.report.error(
                    member.value.at,
                    &here,
                    format!(
                        "{key} is \"{HIDDEN}\", which stands for the one that is there now, and there is none: give it"
                    ),
                ),
            }
        }
    }
}

/// The member of that name, or what an old spelling of it has become.
fn partner_of<'a>(key: &str, old: &'a Map) -> Option<&'a Element> {
    let new_name = match key {
        "control-socket" => "control-sockets",
        "hosts-database" => "hosts-databases",
        _ => return old.get(key),
    };
    old.get(key).or_else(|| old.get(new_name)?.list().first())
}

/// What tells entries of lists apart.
const NAMES: &[&str] = &[
    "library",
    "user",
    "user-file",
    "name",
    "id",
    "type",
    "host",
    "port",
    "socket-type",
    "socket-name",
    "socket-address",
    "socket-port",
];

/// The name of an entry, if it has one.
fn name_of(element: &Element) -> Option<Vec<u8>> {
    let map = element.map()?;
    let mut name = Vec::new();
    for key in NAMES {
        if let Some(value) = map.get(key).filter(|value| value.map().is_none()) {
            print_scalar(*key, &mut name);
            value.print(&mut name);
        }
    }
    (!name.is_empty()).then_some(name)
}

/// For each new entry the old one it comes from: that of the same name, the first for the first where
/// several have it; else the one at its place, if that one's name is gone.
fn partners<'a>(new: &[Element], old: &'a [Element]) -> Vec<Option<&'a Element>> {
    let old_names: Vec<_> = old.iter().map(name_of).collect();
    let new_names: Vec<_> = new.iter().map(name_of).collect();
    let still: HashSet<&Vec<u8>> = new_names.iter().flatten().collect();
    let mut places: HashMap<&Vec<u8>, VecDeque<usize>> = HashMap::new();
    for (at, name) in old_names.iter().enumerate() {
        if let Some(name) = name {
            places.entry(name).or_default().push_back(at);
        }
    }
    let partner = |(at, name): (usize, &Option<Vec<u8>>)| {
        let same = name.as_ref().and_then(|name| places.get_mut(name)?.pop_front());
        let here = || {
            let gone = old_names.get(at)?.as_ref().is_none_or(|name| !still.contains(name));
            gone.then_some(at)
        };
        old.get(same.or_else(here)?)
    };
    new_names.iter().enumerate().map(partner).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::reference_tests::places;
    use super::super::{from_json, parse};
    use super::*;

    const FILE: &str = r#"{ "Dhcp4": {
  // "password": "swordfish-1",
  # password = swordfish-2
  "control-sockets": [
    { "socket-type": "http", "authentication": { "type": "basic", "clients": [
        { "user": "a", "password": "swordfish-a" },
        { "user": "b", /* odd */ "p\u0061ssword" : /* here */ "sword\"fish-b" } ] } } ],
  "lease-database": { "type": "mysql", "name": "x", "password": "swordfish-db" },
  "hooks-libraries": [ { "library": "libdhcp_mysql.so", "parameters": {
      "password": "swordfish-log", "deep": [ { "secret": [ "swordfish", { "a": 1 } ] } ], "password-file": "shown" } } ],
  "user-context": { "password": "kept" } } }
"#;

    fn config(text: &str) -> Config {
        parse(text, "kea.conf", &mut |_| Err(String::new()))
            .unwrap_or_else(|e| panic!("{e}"))
            .config
    }

    #[test]
    fn no_secret_is_shown_and_nothing_else_is_changed() {
        let shown = hidden_source(FILE).unwrap();
        assert!(!shown.contains("swordfish"), "{shown}");
        assert!(
            shown.contains("\"password-file\": \"shown\"") && shown.contains("kept"),
            "{shown}"
        );
        assert!(shown.contains("\"p\\u0061ssword\" : /* here */ \"*****\" }"), "{shown}");
        assert_eq!(shown.lines().count(), FILE.lines().count());
        let config = config(FILE);
        assert!(!format!("{config:?}").contains("swordfish"));
        assert!(!config.to_json().to_string().contains("swordfish"));
        assert!(config.document().contains("swordfish-a"), "the log keeps it");
    }

    #[test]
    fn what_was_shown_can_be_set_again_and_changes_nothing() {
        let config = config(FILE);
        let source = hidden_source(FILE).unwrap();
        let shown = json!({ "Dhcp4": config.to_json() }).to_string();
        for text in [&*source, &*shown] {
            let again = restored(text, Some(&config)).unwrap().expect("it had secrets");
            let again = self::config(&again);
            assert_eq!(again.hash(), config.hash());
            assert!(again.document().contains("sword\\\"fish-b"), "{}", again.document());
        }
    }

    #[test]
    fn a_hidden_secret_is_found_by_its_user_and_refused_where_there_is_none() {
        let config = config(FILE);
        let client = |user: &str| json!({ "user": user, "password": HIDDEN });
        let with = |clients: Vec<serde_json::Value>| {
            json!({ "Dhcp4": { "control-sockets": [ { "socket-type": "http",
                "authentication": { "type": "basic", "clients": clients } } ] } })
            .to_string()
        };
        let got = restored(&with(vec![client("b"), client("a")]), Some(&config)).unwrap().unwrap();
        assert!(got.find("fish-b").unwrap() < got.find("fish-a").unwrap(), "{got}");
        // A new name in the old place is the same user with another name.
        let got = restored(&with(vec![client("a"), client("c")]), Some(&config)).unwrap().unwrap();
        assert!(got.contains("fish-b"), "{got}");
        let mistakes = restored(&with(vec![client("a"), client("b"), client("c")]), Some(&config));
        let mistakes = mistakes.unwrap_err();
        let mistake = mistakes.iter().next().unwrap();
        assert!(mistake.text.contains("there is none"), "{mistake}");
        assert!(mistake.path.ends_with("clients[2].password") && mistake.line == 1, "{mistake:?}");
        assert!(restored(&with(vec![client("a")]), None).is_err());
        assert_eq!(restored(r#"{"Dhcp4":{"comment":"*****"}}"#, None).unwrap(), None);
    }

    #[test]
    fn a_file_made_of_what_was_shown_is_no_file_to_start_from() {
        assert_eq!(all_there(&config(FILE), "kea.conf"), Ok(()));
        let shown = config(&hidden_source(FILE).unwrap());
        let text = all_there(&shown, "kea.conf").unwrap_err().to_string();
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(text.contains("kea.conf: Dhcp4.lease-database.password is"), "{text}");
    }

    #[test]
    fn the_hash_of_a_configuration_changes_with_its_secrets() {
        let other = FILE.replace("swordfish-a", "swordfish-c");
        assert_ne!(config(FILE).hash(), config(&other).hash());
        assert_eq!(config(FILE).to_json(), config(&other).to_json());
    }

    #[test]
    fn a_number_in_place_of_a_secret_is_not_quoted() {
        for value in ["123456789012345678901", "0123456789", "12-34"] {
            let text = format!(
                "{{ \"Dhcp4\": {{ \"lease-database\": {{ \"type\": \"mysql\", \"password\": {value} }} }} }}"
            );
            let mistakes = parse(&text, "kea.conf", &mut |_| Err(String::new())).unwrap_err();
            assert!(!format!("{mistakes:?}").contains(&value[3..]), "{mistakes}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// A secret at every keyword of the tables that holds one, in every printed form.
        #[test]
        fn a_secret_is_shown_nowhere(secret in "[a-z0-9]{12}[\"\\\\/ #é]{0,3}[a-z]{0,3}") {
            let secrets: Vec<_> = places().iter().flat_map(|place| {
                place.scope.keywords().map(|keyword| keyword.name).filter(|name| is_secret(name))
            }).collect();
            prop_assert!(secrets.len() >= 3, "{:?}", secrets);
            let database = json!({ "type": "mysql", "password": secret });
            let ha = json!({ "library": "libdhcp_ha.so", "parameters": { "high-availability": [ {
                "this-server-name": "a", "mode": "load-balancing", "peers": [
                    { "name": "a", "url": "http://192.0.2.1:8001/", "role": "primary", "basic-auth-password": secret },
                    { "name": "b", "url": "http://192.0.2.2:8001/", "role": "secondary", "basic-auth-password": secret } ] } ] } });
            let document = json!({ "Dhcp4": {
                "control-sockets": [ { "socket-type": "http", "authentication": { "type": "basic", "clients": [
                    { "user": "a", "password": secret } ] } } ],
                "lease-database": database, "hosts-databases": [ database ],
                "config-control": { "config-databases": [ database ] }, "hooks-libraries": [ ha ] } });
            let core = &secret[..12];
            let parsed = from_json(&document).unwrap_or_else(|e| panic!("{e}"));
            let config = &parsed.config;
            let pretty = serde_json::to_string_pretty(&document).unwrap();
            let shown = json!({ "Dhcp4": config.to_json() }).to_string();
            for printed in [
                shown.clone(),
                hidden_source(&pretty).unwrap().into_owned(),
                hidden_source(config.document()).unwrap().into_owned(),
                format!("{config:?} {:?}", parsed.warnings),
            ] {
                prop_assert!(!printed.contains(core), "{}", printed);
            }
            let again = restored(&shown, Some(config)).unwrap().unwrap();
            let again = from_json(&serde_json::from_str(&again).unwrap()).unwrap().config;
            prop_assert_eq!(again.hash(), config.hash());
        }
    }
}
