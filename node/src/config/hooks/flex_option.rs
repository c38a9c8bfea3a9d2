//! Parameters of `libdhcp_flex_option` (Kea manual, "libdhcp_flex_option.so: Flexible Option Actions
//! for Option Value Settings").

use std::sync::Arc;

use super::super::classes;
use super::super::json::{Element, Map};
use super::super::mistake::{Path, Report};
use super::super::model::{FlexAction, FlexOption, FlexSubOption};
use crate::options::{DHCP4, Definitions};
use crate::types::ClassName;

/// All entries of `options`. Those that are wrong are reported and left out.
pub(super) fn read(
    parameters: &Map,
    definitions: &Definitions,
    path: &Path<'_>,
    report: &mut Report,
) -> Vec<FlexOption> {
    let path = Path::Key(path, "options");
    let mut reader = Reader { definitions, report };
    let list = parameters.get("options").map(Element::list).unwrap_or_default();
    let entry = |(at, element): (usize, &Element)| {
        reader.option(element, element.map()?, &Path::Index(&path, at))
    };
    list.iter().enumerate().filter_map(entry).collect()
}

struct Reader<'a> {
    definitions: &'a Definitions,
    report: &'a mut Report,
}

impl Reader<'_> {
    fn option(&mut self, element: &Element, map: &Map, path: &Path<'_>) -> Option<FlexOption> {
        let code = self.code(element, map, DHCP4, path)?;
        let action = self.action(map, path)?;
        let subs = map.get("sub-options").filter(|subs| !subs.list().is_empty());
        match (&action, subs) {
            (FlexAction::None, None) => {
                self.report.error(element.at, path, format!("no action: option {code}"));
                return None;
            }
            (FlexAction::None, _) | (_, None) => {}
            (_, Some(subs)) => {
                let text = "'sub-options' and an action on the option itself exclude each other";
                self.report.error(subs.at, path, text);
            }
        }
        let csv = flag(map, "csv-format", false);
        self.check_csv(element, csv, DHCP4, code, path);
        if is_fixed(code) {
            let text = format!(
                "option {code} is made by the server from the lease and the query; it cannot be changed"
            );
            self.report.error(map.get("code").unwrap_or(element).at, path, text);
        }
        Some(FlexOption {
            code,
            class: class(map),
            action,
            csv,
            sub_options: subs.map(|subs| self.sub_options(code, subs, path)).unwrap_or_default(),
        })
    }

    fn sub_options(&mut self, code: u8, list: &Element, path: &Path<'_>) -> Vec<FlexSubOption> {
        let definition = self.definitions.by_code(DHCP4, u32::from(code));
        let space = definition.and_then(|definition| definition.encapsulates.as_deref());
        let encapsulated: Option<Arc<str>> = space.map(Arc::from);
        let path = Path::Key(path, "sub-options");
        let mut all = Vec::new();
        for (at, element) in list.list().iter().enumerate() {
            let path = Path::Index(&path, at);
            let Some(map) = element.map() else { continue };
            let own = map.get("space").and_then(Element::text).map(Arc::from);
            let Some(space) = own.or_else(|| encapsulated.clone()) else {
                let text = format!(
                    "'space' must be specified: the definition of option {code} encapsulates none"
                );
                self.report.error(element.at, &path, text);
                continue;
            };
            let (Some(code), Some(action)) =
                (self.code(element, map, &space, &path), self.action(map, &path))
            else {
                continue;
            };
            if matches!(action, FlexAction::None) {
                self.report.error(element.at, &path, format!("no action: sub-option {code}"));
                continue;
            }
            let csv = flag(map, "csv-format", false);
            self.check_csv(element, csv, &space, code, &path);
            all.push(FlexSubOption {
                space,
                code,
                class: class(map),
                action,
                csv,
                container_add: flag(map, "container-add", true),
                container_remove: flag(map, "container-remove", true),
            });
        }
        all
    }

    /// A value in text form needs to be known in that form.
    fn check_csv(&mut self, element: &Element, csv: bool, space: &str, code: u8, path: &Path<'_>) {
        if csv && self.definitions.by_code(space, u32::from(code)).is_none() {
            let text = format!("no known option with code '{code}' in '{space}' space");
            self.report.error(element.at, path, text);
        }
    }

    /// The code that `code` or `name` says, or both.
    fn code(&mut self, element: &Element, map: &Map, space: &str, path: &Path<'_>) -> Option<u8> {
        if let Some(other) = map.get("space")
            && other.text().is_some_and(|other| other != space)
        {
            let other = other.text().unwrap_or_default();
            let text = format!("the option is in space '{space}', not in '{other}'");
            self.report.error(element.at, path, text);
            return None;
        }
        let name = map.get("name").and_then(Element::text).filter(|name| !name.is_empty());
        let named = name.and_then(|name| self.definitions.by_name(space, name));
        let code = map.get("code").and_then(Element::int);
        let text = match (code, name, named) {
            (None, None, _) => "'code' or 'name' must be specified".to_owned(),
            (None, Some(name), None) => format!("no known '{name}' option in '{space}' space"),
            (Some(code), Some(name), Some(named)) if code != i64::from(named.code) => {
                format!("option '{name}' has code {}, not {code}", named.code)
            }
            (None, _, Some(named)) => match u8::try_from(named.code) {
                Ok(code) => return Some(code),
                Err(_) => format!("option '{}' has no code of one byte", named.name),
            },
            (Some(code @ 1..=254), ..) => return u8::try_from(code).ok(),
            (Some(code), ..) => format!("invalid 'code' value {code} not in [1..254]"),
        };
        self.report.error(element.at, path, text);
        None
    }

    fn action(&mut self, map: &Map, path: &Path<'_>) -> Option<FlexAction> {
        let mut action = FlexAction::None;
        for key in ["add", "supersede", "remove"] {
            let Some(element) = map.get(key).filter(|element| element.text() != Some("")) else {
                continue;
            };
            let here = Path::Key(path, key);
            if !matches!(action, FlexAction::None) {
                self.report.error(
                    element.at,
                    &here,
                    "multiple actions: one of 'add', 'supersede' and 'remove' is expected",
                );
                return None;
            }
            let (definitions, report) = (self.definitions, &mut *self.report);
            action = match key {
                "add" => FlexAction::Add(classes::text(element, definitions, &here, report)?),
                "supersede" => {
                    FlexAction::Supersede(classes::text(element, definitions, &here, report)?)
                }
                _ => FlexAction::Remove(classes::test(element, definitions, &here, report)?),
            };
        }
        Some(action)
    }
}

/// What a reply says of the lease, of itself and of its relay. Kea lets these be changed, and then has
/// clients believe what it does not.
fn is_fixed(code: u8) -> bool {
    matches!(code, 51..=54 | 61 | 82 | 118)
}

fn class(map: &Map) -> Option<ClassName> {
    let name = map.get("client-class").and_then(Element::text)?;
    (!name.is_empty()).then(|| name.into())
}

fn flag(map: &Map, key: &str, default: bool) -> bool {
    map.get(key).and_then(Element::bool).unwrap_or(default)
}
