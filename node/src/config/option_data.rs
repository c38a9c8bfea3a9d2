//! `option-data`: entries → options as bytes, and back to the form that `config-get` shows.

use std::sync::Arc;

use super::json::{Element, Map};
use super::mistake::{Path, Report};
use super::model::{OptionData, OptionSet};
use crate::options::{self, Definition};

/// The options of one scope. Entries that are wrong are reported and left out.
pub(super) fn read(scope: &Map, path: &Path<'_>, report: &mut Report) -> OptionSet {
    let mut set = OptionSet::default();
    let path = Path::Key(path, "option-data");
    let space: Arc<str> = OptionSet::DHCP4.into();
    for (at, element) in
        scope.get("option-data").map(Element::list).unwrap_or_default().iter().enumerate()
    {
        let path = Path::Index(&path, at);
        let Some(entry) = element.map() else { continue };
        let read = match read_entry(entry) {
            Ok(read) => read,
            Err(None) => continue,
            Err(Some((key, text))) => {
                let at = entry.get(key).unwrap_or(element).at;
                report.error(at, &path, text);
                continue;
            }
        };
        let name =
            read.definition.map_or(String::new(), |definition| format!(" ({})", definition.name));
        if options::v4::is_made_by_server(read.code) {
            let text = format!(
                "option {}{name} is made by the server; the configured value is not used",
                read.code
            );
            report.warning(element.at, &path, text);
        }
        if set.get_in(&space, read.code).is_some() {
            let text =
                format!("option {}{name} stands here twice; the first one counts", read.code);
            report.warning(element.at, &path, text);
            continue;
        }
        let flag = |key| entry.get(key).and_then(Element::bool).unwrap_or(false);
        let (always_send, never_send) = (flag("always-send"), flag("never-send"));
        set.insert(
            space.clone(),
            read.code,
            OptionData { bytes: read.bytes.into(), always_send, never_send },
        );
    }
    set
}

/// What an entry says.
pub(super) struct Entry {
    pub(super) code: u32,
    pub(super) definition: Option<&'static Definition>,
    pub(super) csv: bool,
    pub(super) bytes: Vec<u8>,
}

/// The keyword that is wrong and why; `None` when the table of keywords has said so already.
type Wrong = Option<(&'static str, String)>;

pub(super) fn read_entry(entry: &Map) -> Result<Entry, Wrong> {
    let wrong = |key, text: String| Err(Some((key, text)));
    let space = match entry.get("space") {
        Some(space) => space.text().ok_or(None)?,
        None => OptionSet::DHCP4,
    };
    if space == "dhcp6" {
        return wrong(
            "space",
            "'dhcp6' option space name is reserved for DHCPv6 server".to_owned(),
        );
    }
    if space != OptionSet::DHCP4 {
        return wrong("space", format!("option space '{space}' is not supported by this version"));
    }
    let code = match entry.get("code") {
        Some(code) => Some(code.int().and_then(|code| u32::try_from(code).ok()).ok_or(None)?),
        None => None,
    };
    let name = match entry.get("name") {
        Some(name) => Some(name.text().ok_or(None)?).filter(|name| !name.is_empty()),
        None => None,
    };
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
        (Some(code @ (0 | 255)), _) => {
            return wrong(
                "code",
                format!("invalid option code '{code}': it is reserved for PAD and END"),
            );
        }
        (Some(code), _) => (code, options::by_code(space, code)),
        (None, Some(name)) => match options::by_name(space, name) {
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
    let bytes = match (definition, csv) {
        (Some(definition), true) => options::encode(definition, data),
        (None, true) => return unknown(name.unwrap_or_default(), code),
        // Without `csv-format` Kea wants it said that an option without a definition is hexadecimal.
        (None, false) if entry.get("csv-format").is_none() => {
            return unknown(name.unwrap_or_default(), code);
        }
        (None, false) => options::hex_bytes(data),
        (Some(definition), false) => options::hex_bytes(data)
            .and_then(|bytes| options::check(definition, &bytes).map(|()| bytes)),
    };
    match bytes {
        Ok(bytes) => Ok(Entry { code, definition, csv, bytes }),
        Err(why @ options::BadValue::Hex(_)) => {
            let name =
                definition.map_or(String::new(), |definition| format!(" {}", definition.name));
            wrong("data", format!("{why} (option {code}{name})"))
        }
        Err(why) => {
            let name = definition.map_or("", |definition| &definition.name);
            let text = format!(
                "option data does not match option definition (space: {space}, code: {code}): {name}: {why}"
            );
            wrong("data", text)
        }
    }
}
