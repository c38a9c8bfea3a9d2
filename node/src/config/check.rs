//! The document against the tables: unknown keywords, types, ranges, what is missing, and what does
//! not work yet. Finds every mistake; whatever it lets pass, the later steps can read.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use super::hooks;
use super::json::{Element, Map, Value};
use super::mistake::{Path, Report};
use super::reader::Dialect;
use super::schema::{Default, Keyword, Kind, Scope, Status};

/// Walks a map by its table.
pub(super) struct Checker<'a> {
    pub(super) report: &'a mut Report,
    pub(super) dialect: Dialect,
    /// Keywords that were noted already: one warning each, however often they stand there.
    pub(super) noted: HashSet<&'static str>,
}

impl Checker<'_> {
    /// One that has noted nothing yet.
    pub(super) fn new(report: &mut Report) -> Checker<'_> {
        Checker { report, dialect: Dialect::File, noted: HashSet::new() }
    }

    pub(super) fn map(
        &mut self,
        scope: &'static Scope,
        element: &Element,
        map: &Map,
        path: &Path<'_>,
    ) {
        for member in &map.members {
            let here = Path::Key(path, &member.key);
            match scope.keyword(&member.key) {
                Some(keyword) => self.member(scope, keyword, &member.value, &here),
                None if scope.free && member.key == "user-context" => {
                    self.kind(Kind::Free, "user-context", &member.value, &here);
                    let own = member.value.map().and_then(|context| context.get("leasehold"));
                    if let Some(own) = own.filter(|_| !["Dhcp4", "subnet4"].contains(&scope.name)) {
                        let text = "user-context.leasehold is read in Dhcp4 and in subnets only";
                        self.report.error(own.at, &Path::Key(&here, "leasehold"), text);
                    }
                }
                None if scope.free && member.key == "comment" => {
                    self.kind(Kind::Text, "comment", &member.value, &here);
                }
                None => self.report.error(member.at, &here, self.unknown(scope, &member.key)),
            }
        }
        if scope.name == "hooks-libraries" {
            self.parameters(element, map, path);
        }
        for keyword in scope.keywords().filter(|keyword| keyword.required) {
            if map.get(keyword.name).is_none() {
                let text = format!("missing parameter '{}'", keyword.name);
                self.report.error(element.at, path, text);
            }
        }
    }

    /// The parameters of a hook, by the table of the hook.
    fn parameters(&mut self, element: &Element, hook: &Map, path: &Path<'_>) {
        let library = hook.get("library").and_then(Element::text);
        let table = library.and_then(|library| hooks::parameters(hooks::base_name(library)));
        let (empty, path) = (Map::default(), Path::Key(path, "parameters"));
        match (table, hook.get("parameters")) {
            (Some(table), None) => self.map(table, element, &empty, &path),
            (Some(table), Some(parameters)) => {
                if let Some(map) = parameters.map() {
                    self.map(table, parameters, map, &path);
                }
            }
            (None, _) => {}
        }
    }

    fn unknown(&self, scope: &Scope, key: &str) -> String {
        match (self.dialect, scope.name) {
            (Dialect::Wire, "Dhcp4") => {
                format!("unsupported global configuration parameter: {key}")
            }
            (_, name) => format!("got unexpected keyword \"{key}\" in {name} map."),
        }
    }

    fn member(
        &mut self,
        scope: &'static Scope,
        keyword: &'static Keyword,
        element: &Element,
        path: &Path<'_>,
    ) {
        let status = match keyword.status {
            Status::Old([new]) => scope.keyword(new).map_or(keyword.status, |row| row.status),
            status => status,
        };
        match status {
            // Its content is not looked at: one mistake is enough.
            Status::Refused(why) if !is_default(keyword, element) => {
                let text = format!("'{}' is not supported: {why}", keyword.name);
                self.report.error(element.at, path, text);
                return;
            }
            Status::Noted(note)
                if !is_default(keyword, element) && self.noted.insert(keyword.name) =>
            {
                self.report.warning(
                    element.at,
                    path,
                    format!("'{}' is accepted: {note}", keyword.name),
                );
            }
            _ => {}
        }
        self.kind(keyword.kind, keyword.name, element, path);
    }

    fn kind(&mut self, kind: Kind, name: &str, element: &Element, path: &Path<'_>) {
        let text = match (kind, &element.value) {
            (Kind::Bool, Value::Bool(_))
            | (Kind::Text, Value::Text(_))
            | (Kind::Free, Value::Map(_)) => return,
            (Kind::Int(min, max), Value::Int(int)) => match int {
                int if (min..=max).contains(int) => return,
                _ => format!(
                    "The '{name}' value ({int}) is not within expected range: ({min} - {max})"
                ),
            },
            (Kind::Real(min, max), Value::Int(_) | Value::Real(_)) => match element.real() {
                Some(real) if (min..=max).contains(&real) => return,
                _ if max < f64::MAX => format!("{name}: must be between {min:.1} and {max:.1}"),
                _ => format!("{name}: must not be negative"),
            },
            (Kind::Short(max), Value::Text(text)) if text.len() <= max => return,
            (Kind::Short(max), Value::Text(text)) => {
                format!("{name} must be at most {max} bytes long, it is {}", text.len())
            }
            (Kind::Ip4, Value::Text(text)) => match text.parse::<Ipv4Addr>() {
                Ok(_) => return,
                Err(_) => format!("Failed to convert string to address '{text}': Invalid argument"),
            },
            (Kind::Word(words), Value::Text(text)) if words.contains(&text.as_str()) => return,
            (Kind::Word(words), Value::Text(text)) => {
                format!("'{text}' is no {name}, expecting {}", words.join(" or "))
            }
            (Kind::Texts | Kind::Ip4s | Kind::Words(_), Value::List(list)) => {
                for (at, entry) in list.iter().enumerate() {
                    let kind = match kind {
                        Kind::Ip4s => Kind::Ip4,
                        Kind::Words(words) => Kind::Word(words),
                        _ => Kind::Text,
                    };
                    self.kind(kind, name, entry, &Path::Index(path, at));
                }
                return;
            }
            (Kind::Map(scope), Value::Map(map)) => return self.map(scope, element, map, path),
            (Kind::Maps(scope), Value::List(list)) => {
                for (at, entry) in list.iter().enumerate() {
                    let here = Path::Index(path, at);
                    match &entry.value {
                        Value::Map(map) => self.map(scope, entry, map, &here),
                        _ => {
                            let text = format!(
                                "syntax error, unexpected {}, expecting {{ in '{name}'",
                                entry.kind()
                            );
                            self.report.error(entry.at, &here, text);
                        }
                    }
                }
                return;
            }
            (kind, _) => format!(
                "syntax error, unexpected {}, expecting {} in '{name}'",
                element.kind(),
                expected(kind)
            ),
        };
        self.report.error(element.at, path, text);
    }
}

fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "boolean",
        Kind::Int(..) => "integer",
        Kind::Real(..) => "floating point",
        Kind::Text | Kind::Short(_) | Kind::Ip4 | Kind::Word(_) => "constant string",
        Kind::Texts | Kind::Ip4s | Kind::Words(_) | Kind::Maps(_) => "[",
        Kind::Map(_) | Kind::Free => "{",
    }
}

/// Whether a value says what holds without it.
pub(super) fn is_default(keyword: &Keyword, element: &Element) -> bool {
    match (keyword.default, &element.value) {
        (Default::Bool(default), Value::Bool(flag)) => default == *flag,
        (Default::Int(default), Value::Int(int)) => default == *int,
        (Default::Real(default), _) => element.real() == Some(default),
        (Default::Text(default), Value::Text(text)) => default == text,
        (Default::Texts(default), Value::List(list)) => {
            default.len() == list.len()
                && default.iter().zip(list).all(|(text, entry)| entry.text() == Some(text))
        }
        (Default::Nothing | Default::Unset, Value::List(list)) => list.is_empty(),
        (Default::Filled, Value::Map(map)) => match keyword.kind {
            Kind::Map(scope) => map.members.iter().all(|member| {
                scope.keyword(&member.key).is_some_and(|inner| is_default(inner, &member.value))
            }),
            _ => false,
        },
        _ => false,
    }
}
