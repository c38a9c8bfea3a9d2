//! `option-data`: entries → options as bytes, and back to the form that `config-get` shows.
//!
//! An option that encapsulates a space gets the options of that space which stand in the same
//! scope. Kea 2.2 and 3.0 take them from no other scope (watched), so they are put together
//! here, once, and a reply only copies bytes. Sub-options for some clients only are the exception:
//! they are kept apart and chosen for each packet.

use std::collections::{BTreeMap, BTreeSet};

use super::json::{Element, Map};
use super::mistake::{Path, Report};
use super::model::{OptionData, OptionSet, SubOption};
use crate::options::{self, BadValue, DHCP4, Definition, Definitions, Type, sub_options};
use crate::types::{ClassName, Guard, UpperHex};

/// How long a value with everything inside it may be.
const MAX_VALUE: usize = 65_535;

/// The options of one scope. Entries that are wrong are reported and left out.
pub(super) fn read(
    scope: &Map,
    definitions: &Definitions,
    path: &Path<'_>,
    report: &mut Report,
) -> OptionSet {
    let mut set = OptionSet::default();
    let path = Path::Key(path, "option-data");
    let list = scope.get("option-data").map(Element::list).unwrap_or_default();
    let mut read = Entries::default();
    for (at, element) in list.iter().enumerate() {
        let path = Path::Index(&path, at);
        let Some(entry) = element.map() else { continue };
        match read_entry(entry, definitions) {
            Ok(entry) => {
                warn(&entry, element, &path, report);
                let twice = read.twice(&entry);
                if let Some(which) = twice {
                    let name = entry.shown_name();
                    let text = format!(
                        "option {}{name} stands here twice; the {which} one counts",
                        entry.code
                    );
                    report.warning(element.at, &path, text);
                }
                if twice != Some("first") {
                    read.push(Placed { entry, element, at });
                }
            }
            Err(None) => {}
            Err(Some((key, text))) => {
                report.error(entry.get(key).unwrap_or(element).at, &path, text);
            }
        }
    }
    for placed in read.by_code.values().flat_map(|same| read.in_order(same)) {
        let Some(data) = read.assemble(&placed.entry, &mut Vec::new(), &mut { MAX_VALUE }) else {
            let text = format!("option {} is longer than {MAX_VALUE} bytes", placed.entry.code);
            report.error(placed.element.at, &Path::Index(&path, placed.at), text);
            continue;
        };
        set.push(placed.entry.space.into(), placed.entry.code, data);
    }
    set
}

/// An entry and where it stands.
struct Placed<'a> {
    entry: Entry<'a>,
    element: &'a Element,
    at: usize,
}

/// What an entry says.
struct Entry<'a> {
    space: &'a str,
    code: u32,
    definition: Option<&'a Definition>,
    csv: bool,
    /// Its own value, and what of it is sub-options already.
    bytes: Vec<u8>,
    own_len: usize,
    /// The first value that the option does not hold.
    surplus: Option<String>,
    always_send: bool,
    never_send: bool,
    classes: Vec<ClassName>,
}

impl Entry<'_> {
    fn shown_name(&self) -> String {
        self.definition.map_or(String::new(), |own| format!(" ({})", own.name))
    }

    fn data(&self, bytes: Vec<u8>, inside: Vec<SubOption>) -> OptionData {
        OptionData {
            bytes: bytes.into(),
            always_send: self.always_send,
            never_send: self.never_send,
            guard: Guard(self.classes.as_slice().into()),
            sub_options: inside.into(),
        }
    }
}

/// What is legal and probably not meant.
fn warn(entry: &Entry<'_>, element: &Element, path: &Path<'_>, report: &mut Report) {
    let (code, name) = (entry.code, entry.shown_name());
    if entry.space == DHCP4 && options::v4::is_made_by_server(code) {
        let text =
            format!("option {code}{name} is made by the server; the configured value is not used");
        report.warning(element.at, path, text);
    }
    if let Some(surplus) = &entry.surplus {
        let text = format!(
            "option {code}{name} holds fewer values: '{surplus}' and what follows is not sent (a comma inside a value is written \\,)"
        );
        report.warning(element.at, path, text);
    }
}

/// The keyword that is wrong and why; `None` when the table of keywords has said so already.
type Wrong = Option<(&'static str, String)>;

fn read_entry<'a>(entry: &'a Map, definitions: &'a Definitions) -> Result<Entry<'a>, Wrong> {
    let wrong = |key, text: String| Err(Some((key, text)));
    let space = match entry.get("space") {
        Some(space) => space.text().ok_or(None)?,
        None => DHCP4,
    };
    if !options::is_space_name(space) {
        return wrong("space", format!("invalid option space name '{space}'"));
    }
    if space == "dhcp6" {
        return wrong(
            "space",
            "'dhcp6' option space name is reserved for DHCPv6 server".to_owned(),
        );
    }
    let code = match entry.get("code") {
        Some(code) => {
            let code = code.int().ok_or(None)?;
            let Ok(code) = u8::try_from(code) else {
                let text =
                    format!("invalid option code '{code}', it must not be greater than '255'");
                return wrong("code", text);
            };
            Some(u32::from(code))
        }
        None => None,
    };
    let name = match entry.get("name") {
        Some(name) => Some(name.text().ok_or(None)?).filter(|name| !name.is_empty()),
        None => None,
    };
    if let Some(name) = name.filter(|name| name.contains(' ')) {
        let text = format!("invalid option name '{name}', space character is not allowed");
        return wrong("name", text);
    }
    let unknown = |name: &str, code: u32| {
        let text = format!(
            "definition for the option '{space}.{name}' having code '{code}' does not exist"
        );
        Err(Some((if code == 0 { "name" } else { "code" }, text)))
    };
    let (code, definition) = match (code, name) {
        (None, None) => {
            let text = "option data configuration requires one of 'code' or 'name' parameters to be specified";
            return wrong("", text.to_owned());
        }
        (Some(0), _) if space == DHCP4 => {
            return wrong("code", "invalid option code '0': reserved for PAD".to_owned());
        }
        (Some(255), _) if space == DHCP4 => {
            return wrong("code", "invalid option code '255': reserved for END".to_owned());
        }
        (Some(code), _) => (code, definitions.by_code(space, code)),
        (None, Some(name)) => match definitions.by_name(space, name) {
            Some(definition) => (definition.code, Some(definition)),
            None => return unknown(name, 0),
        },
    };
    if let (Some(name), Some(definition)) = (name, definition)
        && name != definition.name
    {
        let text = format!(
            "specified option name '{name}' does not match the option definition: '{space}.{}'",
            definition.name
        );
        return wrong("name", text);
    }
    let csv = match entry.get("csv-format") {
        Some(csv) => csv.bool().ok_or(None)?,
        None => definition.is_some(),
    };
    let data = match entry.get("data") {
        Some(data) => data.text().ok_or(None)?,
        None => "",
    };
    let value = match (definition, csv) {
        (Some(definition), true) => options::encode_first(definition, data),
        (None, true) => return unknown(name.unwrap_or_default(), code),
        // Without `csv-format` Kea wants it said that an option without a definition is hexadecimal.
        (None, false) if entry.get("csv-format").is_none() => {
            return unknown(name.unwrap_or_default(), code);
        }
        (None, false) => options::hex_bytes(data).map(|bytes| (bytes, None)),
        (Some(definition), false) => options::hex_bytes(data)
            .and_then(|bytes| options::check(definition, &bytes).map(|()| (bytes, None))),
    };
    let value = value.and_then(|(bytes, surplus)| {
        let own_len = match definition {
            Some(definition) => options::own_len(definition, &bytes)?,
            None => bytes.len(),
        };
        check_enterprise(space, code, &bytes)?;
        Ok((bytes, own_len, surplus))
    });
    let (bytes, own_len, surplus) = match value {
        Ok(value) => value,
        Err(why @ BadValue::Hex(_)) => {
            let name =
                definition.map_or(String::new(), |definition| format!(" {}", definition.name));
            return wrong("data", format!("{why} (option {code}{name})"));
        }
        Err(why) => {
            let name = definition.map_or("", |definition| &definition.name);
            let text = format!(
                "option data does not match option definition (space: {space}, code: {code}): {name}: {why}"
            );
            return wrong("data", text);
        }
    };
    let flag = |key| entry.get(key).and_then(Element::bool).unwrap_or(false);
    let classes = entry.get("client-classes").map(Element::list).unwrap_or_default();
    Ok(Entry {
        space,
        code,
        definition,
        csv,
        bytes,
        own_len,
        surplus,
        always_send: flag("always-send"),
        never_send: flag("never-send"),
        classes: classes.iter().filter_map(Element::text).map(ClassName::from).collect(),
    })
}

/// 124 and 125 begin with the number of an enterprise and go on with blocks that add up.
fn check_enterprise(space: &str, code: u32, bytes: &[u8]) -> Result<(), BadValue> {
    let name = match (space, code) {
        (DHCP4, 124) => "vivco-suboptions",
        (DHCP4, 125) => "vivso-suboptions",
        _ => return Ok(()),
    };
    let whole: usize = sub_options::enterprises(bytes).map(|(_, value)| 5 + value.len()).sum();
    if whole == bytes.len() || bytes.len() == 4 {
        return Ok(());
    }
    Err(BadValue::Bytes {
        kind: name,
        why: "enterprise number, length and so many bytes are expected",
    })
}

/// The entries of a scope, by space and code.
#[derive(Default)]
struct Entries<'a> {
    list: Vec<Placed<'a>>,
    by_code: BTreeMap<(&'a str, u32), Vec<usize>>,
    /// Which codes have an entry for everybody.
    open: BTreeSet<(&'a str, u32)>,
}

impl<'a> Entries<'a> {
    fn push(&mut self, placed: Placed<'a>) {
        let key = (placed.entry.space, placed.entry.code);
        if placed.entry.classes.is_empty() {
            self.open.insert(key);
        }
        self.by_code.entry(key).or_default().push(self.list.len());
        self.list.push(placed);
    }

    /// Which of two entries counts if this one and an earlier one are for the same packets.
    fn twice(&self, entry: &Entry<'_>) -> Option<&'static str> {
        // 124 and 125 stand there once for each enterprise.
        if entry.space == DHCP4 && matches!(entry.code, 124 | 125) {
            return None;
        }
        let key = (entry.space, entry.code);
        if entry.classes.is_empty() {
            return self.open.contains(&key).then_some("first");
        }
        let last = &self.list[*self.by_code.get(&key)?.last()?].entry;
        (last.classes == entry.classes).then_some("last")
    }

    /// Entries of one code as a packet tries them, as Kea 3.0 does (watched): those for some classes
    /// before that for everybody, the last of them first.
    fn in_order(&self, same: &[usize]) -> impl Iterator<Item = &Placed<'a>> {
        let all = || same.iter().map(|at| &self.list[*at]);
        let for_all = |placed: &&Placed<'_>| placed.entry.classes.is_empty();
        all().rev().filter(move |placed| !for_all(placed)).chain(all().filter(for_all))
    }

    /// The data of an entry, the options of the space that it encapsulates inside. `trail` has the
    /// spaces on the way here: none is entered twice. `None` when there is no more `room`.
    fn assemble(
        &self,
        entry: &Entry<'a>,
        trail: &mut Vec<&'a str>,
        room: &mut usize,
    ) -> Option<OptionData> {
        *room = room.checked_sub(entry.bytes.len())?;
        let plain = || Some(entry.data(entry.bytes.clone(), Vec::new()));
        // Kea lets strings and bytes encapsulate a space, but sends nothing of it behind them.
        let takes = |own: &&Definition| !matches!(own.kind, Type::String | Type::Binary);
        let inner = entry.definition.filter(takes).and_then(|own| own.encapsulates.as_deref());
        let Some(inner) = inner.filter(|inner| *inner != DHCP4 && !trail.contains(inner)) else {
            return plain();
        };
        // What stands there in hexadecimal comes first. If it is no sub-options, it stays as it is.
        let (own, behind) = entry.bytes.split_at(entry.own_len.min(entry.bytes.len()));
        let Some(given) = sub_options::parse(behind) else { return plain() };
        let mut inside: Vec<SubOption> = Vec::new();
        trail.push(inner);
        for ((_, code), same) in self.by_code.range((inner, 0)..=(inner, u32::from(u8::MAX))) {
            let code = *code as u8;
            if given.iter().any(|(given, _)| *given == code) {
                continue;
            }
            for Placed { entry: sub, .. } in self.in_order(same) {
                if sub.never_send {
                    continue;
                }
                *room = room.checked_sub(2)?;
                inside.push(SubOption { code, data: self.assemble(sub, trail, room)? });
            }
        }
        trail.pop();
        let for_everybody =
            |sub: &SubOption| sub.data.guard.0.is_empty() && sub.data.sub_options.is_empty();
        if !inside.iter().all(for_everybody) {
            return Some(entry.data(entry.bytes.clone(), inside));
        }
        // Ascending, whether it stands there in hexadecimal or as an entry.
        let made = inside.iter().map(|sub| (sub.code, &*sub.data.bytes));
        let mut all: Vec<(u8, &[u8])> = given.iter().copied().chain(made).collect();
        all.sort_by_key(|(code, _)| *code);
        let mut bytes = own.to_vec();
        all.iter().for_each(|(code, value)| sub_options::put(&mut bytes, *code, value));
        Some(entry.data(bytes, Vec::new()))
    }
}

/// What `config-get` shows: code, name, `csv-format` and the hexadecimal form, whichever of them were
/// written.
pub(super) fn print(
    entry: &Map,
    definitions: &Definitions,
    shown: &mut serde_json::Map<String, serde_json::Value>,
) {
    if entry.get("client-classes").is_none_or(|classes| classes.list().is_empty()) {
        shown.remove("client-classes");
    }
    let Ok(read) = read_entry(entry, definitions) else { return };
    shown.insert("code".to_owned(), read.code.into());
    shown.insert("csv-format".to_owned(), read.csv.into());
    if let Some(definition) = read.definition {
        shown.insert("name".to_owned(), definition.name.clone().into());
    }
    if !read.csv {
        shown.insert("data".to_owned(), UpperHex(&read.bytes).to_string().into());
    }
}
