//! `client-classes` (Kea manual, "Client Classification").
//!
//! Their order is that of evaluation, and a test may ask only for classes above its own, so whether it
//! depends on the look-up of reservations is known as it is read.

use std::net::Ipv4Addr;

use super::json::{Element, Map, Position};
use super::mistake::{Path, Report};
use super::model::{Class, ClassRule, Classes, Lifetimes};
use super::{option_data, option_def, resolve};
use crate::expression::{self, OptionNames, Test, Text, Wrong};
use crate::options::Definitions;
use crate::types::ClassName;

/// Classes that the server itself puts packets into.
const BUILT_IN: [&str; 4] = ["ALL", "KNOWN", "UNKNOWN", "BOOTP"];
/// What names of such classes begin with.
const BUILT_IN_PREFIXES: [&str; 4] = ["VENDOR_CLASS_", "HA_", "AFTER_", "EXTERNAL_"];
/// Classes that discard a packet or refuse its client; they have to be known for every packet.
const SPECIAL: [&str; 2] = ["DROP", "REJECT"];

/// What the tests of all classes may cost a packet before it is worth a word, in nanoseconds or so.
const SLOW: u64 = 1_000_000;

/// Whether the server itself puts packets into the class.
pub(super) fn is_built_in(name: &str) -> bool {
    BUILT_IN.contains(&name) || BUILT_IN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a packet can belong to the class without a reservation that says so.
pub(super) fn can_match(classes: &Classes, name: &str) -> bool {
    let spawned = |class: &Class| {
        let rest = name.strip_prefix("SPAWN_").and_then(|rest| rest.strip_prefix(&*class.name));
        matches!(class.rule, Some(ClassRule::Template(_)))
            && rest.is_some_and(|rest| rest.starts_with('_'))
    };
    is_built_in(name) || classes.get(name).is_some() || classes.iter().any(spawned)
}

/// All classes. Those that are wrong are reported and left out.
pub(super) fn read(
    dhcp4: &Map,
    definitions: &Definitions,
    path: &Path<'_>,
    report: &mut Report,
) -> Classes {
    let path = Path::Key(path, "client-classes");
    let list = dhcp4.get("client-classes").map(Element::list).unwrap_or_default();
    let mut all = Classes::default();
    for (at, element) in list.iter().enumerate() {
        let path = Path::Index(&path, at);
        let Some(map) = element.map() else { continue };
        let Some((at, name)) = map.get("name").and_then(|name| Some((name.at, name.text()?)))
        else {
            continue;
        };
        if name.is_empty() {
            report.error(at, &path, "not empty parameter 'name' is required");
        } else if all.get(name).is_some() {
            let text = format!("Can't add class: Client Class: {name} has already been defined");
            report.error(at, &path, text);
        }
        let class = read_one(element, map, name.into(), &all, definitions, &path, report);
        all.by_name.entry(class.name.clone()).or_insert(all.list.len());
        all.list.push(class);
    }
    let cost = |class: &Class| match &class.rule {
        Some(ClassRule::Test(test)) => u64::from(test.cost()),
        Some(ClassRule::Template(text)) => u64::from(text.cost()),
        None => 0,
    };
    let cost: u64 = all.iter().map(cost).sum();
    if cost > SLOW {
        let at = dhcp4.get("client-classes").map_or(Position::NOWHERE, |list| list.at);
        let text =
            format!("the tests of all classes may take {} µs of a packet's time", cost / 1000);
        report.warning(at, &path, text);
    }
    all
}

fn read_one(
    element: &Element,
    map: &Map,
    name: ClassName,
    earlier: &Classes,
    definitions: &Definitions,
    path: &Path<'_>,
    report: &mut Report,
) -> Class {
    let (rule, after_hosts) = rule(map, earlier, definitions, path, report);
    let flag = map.get("only-in-additional-list");
    let additional_only = flag.and_then(Element::bool).unwrap_or(false);
    let lifetimes = lifetimes(element, map, path, report);
    let offer_lifetime =
        map.get("offer-lifetime").and_then(Element::int).and_then(|secs| u32::try_from(secs).ok());
    let at = flag.unwrap_or(element).at;
    let kind = match &*name {
        name if BUILT_IN.contains(&name) => Some("built-in"),
        name if SPECIAL.contains(&name) => Some("special"),
        _ => None,
    };
    match kind {
        Some(kind) if additional_only => {
            let text = format!("{kind} class '{name}' only-in-additional-list flag must be false");
            report.error(at, path, text);
        }
        _ if additional_only && (lifetimes.is_some() || offer_lifetime.is_some()) => {
            let text = format!(
                "lifetimes of class '{name}' are not used: it is evaluated behind the allocation"
            );
            report.warning(at, path, text);
        }
        _ => {}
    }
    if let (Some("built-in"), Some(test)) =
        (kind, map.get("test").or_else(|| map.get("template-test")))
    {
        let text = format!("built-in class '{name}' test expression must be empty");
        report.error(test.at, path, text);
    }
    let text = |key| {
        map.get(key).and_then(Element::text).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    Class {
        rule,
        additional_only,
        after_hosts,
        options: {
            let definitions = option_def::of_class(map, definitions);
            option_data::read(map, &definitions, path, report)
        },
        definitions: option_def::read(map, option_def::Level::Class, path, report),
        lifetimes,
        offer_lifetime,
        next_server: next_server(map, path, report),
        server_hostname: text("server-hostname"),
        boot_file_name: text("boot-file-name"),
        name,
    }
}

fn next_server(map: &Map, path: &Path<'_>, report: &mut Report) -> Option<Ipv4Addr> {
    let element = map.get("next-server")?;
    let address = element.text()?.parse::<Ipv4Addr>().ok()?;
    if address.is_broadcast() {
        let text = format!("Invalid next-server value: '{address}', must not be a broadcast");
        report.error(element.at, path, text);
    }
    Some(address).filter(|address| !address.is_unspecified())
}

/// The three as one group: nothing is inherited.
fn lifetimes(
    element: &Element,
    map: &Map,
    path: &Path<'_>,
    report: &mut Report,
) -> Option<Lifetimes> {
    match resolve::group(map) {
        Ok(lifetimes) => lifetimes,
        Err(text) => {
            let keys = ["valid-lifetime", "min-valid-lifetime", "max-valid-lifetime"];
            let at = keys.iter().find_map(|key| map.get(key)).unwrap_or(element).at;
            report.error(at, path, text);
            None
        }
    }
}

/// The rule, and whether it waits for the look-up of reservations.
fn rule(
    map: &Map,
    earlier: &Classes,
    definitions: &Definitions,
    path: &Path<'_>,
    report: &mut Report,
) -> (Option<ClassRule>, bool) {
    if let (Some(_), Some(template)) = (map.get("test"), map.get("template-test")) {
        report.error(template.at, path, "can not use both 'test' and 'template-test'");
    }
    let names = Names { definitions, earlier: Some(earlier) };
    // Kea lets a template ask for any class.
    let lenient = Names { definitions, earlier: None };
    let test = map
        .get("test")
        .and_then(|element| {
            parsed(element, path, report, |text| expression::parse_test(text, &names))
        })
        .map(ClassRule::Test);
    let rule = test.or_else(|| {
        let element = map.get("template-test")?;
        parsed(element, path, report, |text| expression::parse_text(text, &lenient))
            .map(ClassRule::Template)
    });
    let waits = |name: &str| {
        matches!(name, "KNOWN" | "UNKNOWN")
            || earlier.get(name).is_some_and(|class| class.after_hosts)
    };
    let after_hosts = match &rule {
        Some(ClassRule::Test(test)) => test.members().any(waits),
        Some(ClassRule::Template(text)) => text.members().any(waits),
        None => false,
    };
    (rule, after_hosts)
}

/// What an expression may name.
struct Names<'a> {
    definitions: &'a Definitions,
    /// The classes that `member()` may ask for beside the built-in ones; `None`: any.
    earlier: Option<&'a Classes>,
}

impl OptionNames for Names<'_> {
    fn code(&self, name: &str) -> Option<u32> {
        self.definitions.by_name(crate::options::DHCP4, name).map(|definition| definition.code)
    }

    fn is_class(&self, name: &str) -> bool {
        self.earlier.is_none_or(|earlier| earlier.get(name).is_some() || is_built_in(name))
    }
}

/// A boolean expression of a hook, which may ask for every class.
pub(super) fn test(
    element: &Element,
    definitions: &Definitions,
    path: &Path<'_>,
    report: &mut Report,
) -> Option<Test> {
    let names = Names { definitions, earlier: None };
    parsed(element, path, report, |text| expression::parse_test(text, &names))
}

/// A string-valued expression of a hook.
pub(super) fn text(
    element: &Element,
    definitions: &Definitions,
    path: &Path<'_>,
    report: &mut Report,
) -> Option<Text> {
    let names = Names { definitions, earlier: None };
    parsed(element, path, report, |text| expression::parse_text(text, &names))
}

/// Reports what is wrong at its place inside the text.
fn parsed<T>(
    element: &Element,
    path: &Path<'_>,
    report: &mut Report,
    parse: impl FnOnce(&str) -> Result<T, Wrong>,
) -> Option<T> {
    let source = element.text()?;
    match parse(source) {
        Ok(parsed) => Some(parsed),
        Err(wrong) => {
            let at = report.inside(element.at, source, wrong.at);
            report.error(at, path, wrong.text);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{ClassRule, Config, from_json};
    use crate::types::ClassSet;
    use serde_json::json;

    fn config(classes: serde_json::Value) -> Config {
        let parsed = from_json(&json!({ "Dhcp4": { "client-classes": classes } }));
        parsed.unwrap_or_else(|mistakes| panic!("{mistakes}")).config
    }

    #[test]
    fn what_depends_on_reservations_through_others_waits_for_them() {
        let config = config(json!([
            { "name": "plain", "test": "option[60].exists" },
            { "name": "known", "test": "member('KNOWN')" },
            { "name": "through", "test": "member('plain') and not member('known')" },
            { "name": "template", "template-test": "ifelse(member('through'), 'x', '')" },
            { "name": "beside", "test": "member('plain')" },
            { "name": "assigned" },
            { "name": "DROP", "test": "member('UNKNOWN')" },
        ]));
        let waiting: Vec<&str> = config
            .classes
            .iter()
            .filter(|class| class.after_hosts)
            .map(|class| &*class.name)
            .collect();
        assert_eq!(waiting, ["known", "through", "template", "DROP"]);
        let rule = |name| config.classes.get(name).and_then(|class| class.rule.as_ref());
        assert!(matches!(rule("template"), Some(ClassRule::Template(_))));
        assert!(rule("assigned").is_none());
    }

    #[test]
    fn the_lifetimes_of_a_class_follow_the_one_that_is_set() {
        let config = config(json!([
            { "name": "valid", "valid-lifetime": 100 },
            { "name": "min", "min-valid-lifetime": 50 },
            { "name": "max", "max-valid-lifetime": 900 },
            { "name": "all", "min-valid-lifetime": 50, "valid-lifetime": 100, "max-valid-lifetime": 900 },
            { "name": "none", "next-server": "0.0.0.0", "boot-file-name": "" },
        ]));
        let of = |name| {
            let lifetimes = config.classes.get(name)?.lifetimes?;
            Some([lifetimes.min, lifetimes.valid, lifetimes.max].map(|time| time.as_secs()))
        };
        assert_eq!(of("valid"), Some([100, 100, 100]));
        assert_eq!(of("min"), Some([50, 50, 50]));
        assert_eq!(of("max"), Some([900, 900, 900]));
        assert_eq!(of("all"), Some([50, 100, 900]));
        assert_eq!(of("none"), None);
        let none = config.classes.get("none").unwrap();
        assert_eq!((none.next_server, &none.boot_file_name), (None, &None));
    }

    #[test]
    fn a_packet_s_classes_come_in_the_order_in_which_it_joined_them() {
        let config = config(json!([{ "name": "a" }, { "name": "b" }]));
        let mut set = ClassSet::default();
        for name in ["b", "elsewhere", "a"] {
            set.insert(name.into());
        }
        let names: Vec<&str> = config.classes.of(&set).map(|class| &*class.name).collect();
        assert_eq!(names, ["b", "a"]);
    }
}
