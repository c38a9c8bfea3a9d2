//! `option-def`: entries → definitions that `option-data` is read with (Kea manual, "Custom DHCPv4
//! Options"), and back to the form that `config-get` shows.
//!
//! Refused is what Kea refuses, in its words. Definitions that encapsulate each other in a circle are
//! legal; the options of such spaces are put into each other once.

use super::json::{Element, Map};
use super::mistake::{Path, Report};
use crate::options::{self, DHCP4, Definition, Definitions, Type};

/// Where definitions stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// In the global scope: any space.
    Global,
    /// In a client class: 43 and 224 to 254 of the top level.
    Class,
}

/// The definitions of one scope. Entries that are wrong are reported and left out.
pub(super) fn read(scope: &Map, level: Level, path: &Path<'_>, report: &mut Report) -> Definitions {
    let mut all = Definitions::default();
    let path = Path::Key(path, "option-def");
    let list = scope.get("option-def").map(Element::list).unwrap_or_default();
    for (at, element) in list.iter().enumerate() {
        let path = Path::Index(&path, at);
        let Some(entry) = element.map() else { continue };
        match read_entry(entry, level, &all) {
            Ok((space, definition)) => {
                if space == DHCP4 && options::v4::is_recent(definition.code) {
                    let text = format!(
                        "option {} has a standard definition since Kea 2.6; the one given here is used in its place",
                        definition.code
                    );
                    report.warning(element.at, &path, text);
                }
                all.insert(space.into(), definition);
            }
            Err(None) => {}
            Err(Some((key, text))) => {
                report.error(entry.get(key).unwrap_or(element).at, &path, text);
            }
        }
    }
    all
}

/// What the options of a class are read with: its own definitions over the global ones.
pub(super) fn of_class(class: &Map, definitions: &Definitions) -> Definitions {
    let mut unheard = Report::new("");
    read(class, Level::Class, &Path::Root, &mut unheard).over(definitions)
}

/// The form that `config-get` shows.
pub(super) fn print(shown: &mut serde_json::Map<String, serde_json::Value>) {
    if let Some(serde_json::Value::String(text)) = shown.get_mut("record-types") {
        *text = words(text).collect::<Vec<_>>().join(", ");
    }
}

/// The keyword that is wrong and why; `None` when the table of keywords has said so already.
type Wrong = Option<(&'static str, String)>;

fn read_entry<'e>(
    entry: &'e Map,
    level: Level,
    earlier: &Definitions,
) -> Result<(&'e str, Definition), Wrong> {
    let wrong = |key, text: String| Err(Some((key, text)));
    let text = |key, default| match entry.get(key) {
        Some(value) => value.text().ok_or(None),
        None => Ok(default),
    };
    let name = entry.get("name").ok_or(None)?.text().ok_or(None)?;
    let code = entry.get("code").ok_or(None)?.int().ok_or(None)?;
    let type_name = entry.get("type").ok_or(None)?.text().ok_or(None)?;
    let space = text("space", DHCP4)?;
    let record_types = text("record-types", "")?;
    let encapsulate = text("encapsulate", "")?;
    let array = match entry.get("array") {
        Some(array) => array.bool().ok_or(None)?,
        None => false,
    };

    let Ok(code) = u8::try_from(code).map(u32::from) else {
        let text = format!("invalid option code '{code}', it must not be greater than '255'");
        return wrong("code", text);
    };
    match code {
        0 if space == DHCP4 => {
            return wrong("code", "invalid option code '0': reserved for PAD".to_owned());
        }
        255 if space == DHCP4 => {
            return wrong("code", "invalid option code '255': reserved for END".to_owned());
        }
        _ => {}
    }
    if !options::is_space_name(space) {
        return wrong("space", format!("invalid option space name '{space}'"));
    }
    let kind = match type_name {
        // Kea's own name for codings that have no other; what is inside is the operator's business.
        "internal" => Some(Type::Binary),
        _ => Type::of_name(type_name),
    };
    let fields =
        fields(record_types, kind, type_name).map_err(|text| Some(("record-types", text)))?;
    if let Some(text) = misplaced(space, code, name, level) {
        return wrong("", text);
    }
    let encapsulates = Some(encapsulate).filter(|space| !space.is_empty());
    if let Some(text) = contradiction(space, name, (kind, type_name), array, &fields, encapsulates)
    {
        return wrong("", text);
    }
    if earlier.own(space, code).is_some() {
        let text = format!(
            "option definition with code '{code}' already exists in option space '{space}'"
        );
        return wrong("", text);
    }
    if earlier.iter().any(|(own, earlier)| **own == *space && earlier.name == name) {
        let text = format!(
            "option definition with name '{name}' already exists in option space '{space}'"
        );
        return wrong("", text);
    }
    let definition = Definition {
        code,
        name: name.to_owned().into(),
        kind: kind.ok_or(None)?,
        array,
        fields: fields.into(),
        encapsulates: encapsulates.map(|space| space.to_owned().into()),
    };
    Ok((space, definition))
}

/// Types between commas, trimmed; what is empty counts for nothing.
fn words(record_types: &str) -> impl Iterator<Item = &str> {
    record_types.split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// `record-types`. The kind of the option is none if nobody knows it, which is said later.
fn fields(record_types: &str, kind: Option<Type>, type_name: &str) -> Result<Vec<Type>, String> {
    let wrong = |why: String| {
        Err(format!("invalid record type values specified for the option definition: {why}"))
    };
    let mut fields = Vec::new();
    for word in words(record_types) {
        if kind != Some(Type::Record) {
            return wrong(format!(
                "'record' option type must be used instead of '{type_name}' to add data fields to the record"
            ));
        }
        match Type::of_name(word) {
            Some(Type::Empty | Type::Record) => {
                return wrong(format!(
                    "attempted to add invalid data type '{word}' to the record."
                ));
            }
            Some(field) => fields.push(field),
            None if word == "internal" => {
                return Err(
                    "internal data type can't be stored as a field in an option record.".to_owned()
                );
            }
            None => {
                return wrong(
                    "attempted to add invalid data type 'unknown' to the record.".to_owned(),
                );
            }
        }
    }
    Ok(fields)
}

/// Why the code or the name is not the operator's to define here.
fn misplaced(space: &str, code: u32, name: &str, level: Level) -> Option<String> {
    if level == Level::Class && !(space == DHCP4 && options::v4::is_open(code)) {
        return Some(format!("Not allowed option definition for code '{code}' in space '{space}'"));
    }
    // What a vendor's space holds may be known better by the operator.
    if options::enterprise_of(space).is_some() {
        return None;
    }
    let is_open = |code| options::v4::is_open(code) || options::v4::is_recent(code);
    let closed = |definition: Option<&'static Definition>| {
        definition.filter(|own| !(space == DHCP4 && is_open(own.code)))
    };
    let what = if closed(options::by_code(space, code)).is_some() {
        code.to_string()
    } else {
        closed(options::by_name(space, name))?.name.to_string()
    };
    Some(format!(
        "unable to override definition of option '{what}' in standard option space '{space}'"
    ))
}

/// What in a definition does not go together.
fn contradiction(
    space: &str,
    name: &str,
    (kind, type_name): (Option<Type>, &str),
    array: bool,
    fields: &[Type],
    encapsulates: Option<&str>,
) -> Option<String> {
    if !options::is_name(name) {
        return Some(format!("invalid option name '{name}'"));
    }
    if let Some(inner) = encapsulates.filter(|inner| !options::is_space_name(inner)) {
        return Some(format!("invalid encapsulated option space name: '{inner}'"));
    }
    let Some(kind) = kind else { return Some(format!("option type '{type_name}' not supported.")) };
    if kind == Type::Record {
        if fields.len() < 2 {
            return Some(format!(
                "invalid number of data fields: {} specified for the option of type 'record'. Expected at least 2 fields.",
                fields.len()
            ));
        }
        // Nobody could tell where such a field ends and the next one begins.
        let before_last = &fields[..fields.len() - 1];
        if let Some(greedy) = before_last.iter().find(|field| field.is_greedy()) {
            return Some(format!(
                "{} data field can't be laid before data fields of other types.",
                greedy.name()
            ));
        }
    }
    if array {
        let repeated = if kind == Type::Record { fields.last().copied()? } else { kind };
        let text = match repeated {
            _ if type_name == "internal" => "array of internal type value",
            Type::String => "array of strings",
            Type::Binary => "array of binary values",
            Type::Empty => "array of empty value",
            _ => "",
        };
        if !text.is_empty() {
            return Some(format!("{text} is not a valid option definition."));
        }
    }
    let inner = encapsulates?;
    if array {
        return Some(format!(
            "option '{space}.{name}', comprising an array of data fields may not encapsulate any option space"
        ));
    }
    (inner == space).then(|| {
        format!(
            "option must not encapsulate an option space it belongs to: '{space}.{name}' is set to encapsulate '{inner}'"
        )
    })
}
