//! The document → what `config-get` shows: defaults filled in, inherited values repeated in every
//! subnet, addresses and identifiers in one form, comments as `user-context`, keys in order.
//!
//! Parsing the result gives the same configuration, and printing that gives the same text.

use std::borrow::Cow;

use serde_json::{Map as JsonMap, Value as Json};

use super::json::{Element, Map, Value, print_scalar};
use super::pools;
use super::resolve::{self, Chain};
use super::schema::{DHCP4, Default, Inherit, Keyword, Kind, RESERVATION, Scope, Status};
use super::{option_data, option_def, reservations};
use crate::options::Definitions;
use crate::types::{Prefix, Range, SubnetId};

/// Text on its way out, in pieces, so that nobody has to hold the whole.
struct Out<'a> {
    buffer: Vec<u8>,
    sink: &'a mut dyn FnMut(&[u8]),
}

impl Out<'_> {
    const PIECE: usize = 64 << 10;

    fn push(&mut self, byte: u8) {
        self.buffer.push(byte);
    }

    fn flush(&mut self, least: usize) {
        if self.buffer.len() >= least {
            (self.sink)(&self.buffer);
            self.buffer.clear();
        }
    }
}

/// The `Dhcp4` map that `config-get` shows for a valid document, as compact JSON.
pub(super) fn dhcp4(dhcp4: &Map, definitions: &Definitions, sink: &mut dyn FnMut(&[u8])) {
    let mut out = Out { buffer: Vec::with_capacity(2 * Out::PIECE), sink };
    print_map(&DHCP4, dhcp4, None, definitions, &mut out);
    out.flush(1);
}

/// An entry of `shared-networks`, `subnet4` or `client-classes`, as [`dhcp4`] shows it. `around` has the
/// scopes that it lies in, the outermost first.
pub(super) fn part(
    scope: &'static Scope,
    map: &Map,
    around: &[&Map],
    definitions: &Definitions,
) -> String {
    let mut text = Vec::new();
    let mut keep = |piece: &[u8]| text.extend_from_slice(piece);
    let mut out = Out { buffer: Vec::new(), sink: &mut keep };
    let global = around.first().map(|global| Chain::global(global));
    let network = global.as_ref().zip(around.get(1)).map(|(global, map)| global.inside(map));
    print_map(scope, map, network.as_ref().or(global.as_ref()), definitions, &mut out);
    out.flush(1);
    String::from_utf8(text).unwrap_or_default()
}

/// Whether two lists of reservations say the same, however they are written.
pub(super) fn same_reservations(a: &[Element], b: &[Element], definitions: &Definitions) -> bool {
    let show =
        |element: &Element| element.map().map(|map| part(&RESERVATION, map, &[], definitions));
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| show(a) == show(b))
}

/// One entry of `reservations` as it is shown, and whose it is.
pub(super) fn reservation(
    map: &Map,
    subnet: SubnetId,
    definitions: &Definitions,
    sink: &mut dyn FnMut(&[u8]),
) {
    let mut out = Out { buffer: Vec::with_capacity(512), sink };
    print_map_of(&RESERVATION, map, None, Some(subnet), definitions, &mut out);
    out.flush(1);
}

/// What is shown of one keyword.
enum Shown<'a> {
    /// What the document says.
    Element(&'static Keyword, &'a Element),
    /// The default.
    Default(&'static Keyword),
    /// Made here.
    Json(Json),
}

/// `around` is the scope of inherited values that the map lies in, `None` outside all.
fn print_map(
    scope: &'static Scope,
    map: &Map,
    around: Option<&Chain<'_>>,
    definitions: &Definitions,
    out: &mut Out<'_>,
) {
    print_map_of(scope, map, around, None, definitions, out);
}

/// With a `subnet-id`, if one is given.
fn print_map_of(
    scope: &'static Scope,
    map: &Map,
    around: Option<&Chain<'_>>,
    subnet: Option<SubnetId>,
    definitions: &Definitions,
    out: &mut Out<'_>,
) {
    // A class has 43 and the private codes in its own way.
    let of_class = (scope.name == "client-classes").then(|| option_def::of_class(map, definitions));
    let definitions = of_class.as_ref().unwrap_or(definitions);
    let chain = match around {
        Some(outer) => outer.inside(map),
        None => Chain::global(map),
    };
    let mut shown = shown(scope, map, &chain, around.is_some());
    match scope.name {
        "option-data" | "option-def" | "client-classes" => {
            let member = |(key, shown): (Cow<'static, str>, Shown<'_>)| {
                (key.into_owned(), to_json(&shown, &chain, definitions))
            };
            let mut json: JsonMap<String, Json> = shown.into_iter().map(member).collect();
            match scope.name {
                "option-data" => option_data::print(map, definitions, &mut json),
                "option-def" => option_def::print(&mut json),
                _ => class_lifetimes(map, &mut json),
            }
            shown = json.into_iter().map(|(key, json)| (key.into(), Shown::Json(json))).collect();
        }
        "pools" => {
            normal_text(&mut shown, "pool", |text| Some(pool_text(pools::range(text).ok()?)))
        }
        "subnet4" => {
            normal_text(&mut shown, "subnet", |text| Some(text.parse::<Prefix>().ok()?.to_string()))
        }
        "reservations" => {
            for (key, kind) in reservations::identifiers() {
                normal_text(&mut shown, key, |text| {
                    let bytes = reservations::identifier(kind, text).ok()?;
                    Some(reservations::print(kind, &bytes))
                });
            }
        }
        _ => {}
    }
    if let Some(context) = user_context(scope, map) {
        shown.push(("user-context".into(), Shown::Json(context)));
    }
    if let Some(subnet) = subnet {
        shown.push(("subnet-id".into(), Shown::Json(subnet.0.into())));
    }
    shown.sort_by(|(one, _), (other, _)| one.cmp(other));
    out.push(b'{');
    for (at, (key, shown)) in shown.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        print_scalar(&**key, &mut out.buffer);
        out.push(b':');
        print(shown, &chain, definitions, out);
    }
    out.push(b'}');
    out.flush(Out::PIECE);
}

/// Lists of the outermost map that Kea shows only where there is something in them. A subnet always
/// shows its reservations.
const LEFT_OUT: [&str; 2] = ["client-classes", "reservations"];

/// The keywords of a map that are shown.
fn shown<'a>(
    scope: &'static Scope,
    map: &'a Map,
    chain: &Chain<'a>,
    inherits: bool,
) -> Vec<(Cow<'static, str>, Shown<'a>)> {
    let outermost = scope.name == DHCP4.name;
    let left_out = |keyword: &Keyword| {
        let none = || map.get(keyword.name).is_none_or(|element| element.list().is_empty());
        outermost && LEFT_OUT.contains(&keyword.name) && none()
    };
    let one = |keyword: &'static Keyword| match map
        .get(keyword.name)
        .filter(|value| !is_no_relay(keyword, value))
    {
        Some(element) => Some(Shown::Element(keyword, element)),
        None => match keyword.inherit {
            Inherit::No if scope.filled => default_of(keyword),
            Inherit::Copied | Inherit::Outward if outermost => default_of(keyword),
            Inherit::Copied if inherits => inherited(keyword, chain),
            _ => None,
        },
    };
    scope
        .keywords()
        .filter(|keyword| !matches!(keyword.status, Status::Old(_)) && !left_out(keyword))
        .filter_map(|keyword| Some((Cow::Borrowed(keyword.name), one(keyword)?)))
        .collect()
}

/// `user-context` with `comment` in it.
fn user_context(scope: &Scope, map: &Map) -> Option<Json> {
    if !scope.free {
        return None;
    }
    let mut context = match map.get("user-context").map(Element::to_json) {
        Some(Json::Object(context)) => Some(context),
        _ => None,
    };
    if let Some(comment) = map.get("comment").map(Element::to_json) {
        context.get_or_insert_default().insert("comment".to_owned(), comment);
    }
    context.map(|context| sorted(Json::Object(context)))
}

fn print(shown: &Shown<'_>, chain: &Chain<'_>, definitions: &Definitions, out: &mut Out<'_>) {
    let (keyword, element) = match shown {
        Shown::Element(keyword, element) => (keyword, element),
        Shown::Default(keyword) => return print_default(keyword, out),
        Shown::Json(json) => return print_scalar(json, &mut out.buffer),
    };
    // Only networks and subnets inherit; in other maps the words mean something else.
    let inside = |scope: &'static Scope, map: &Map, out: &mut Out<'_>| match scope.name {
        "shared-networks" | "subnet4" => print_map(scope, map, Some(chain), definitions, out),
        _ => print_map(scope, map, None, definitions, out),
    };
    match (keyword.kind, &element.value) {
        (Kind::Map(scope), Value::Map(map)) => inside(scope, map, out),
        (Kind::Maps(scope), Value::List(list)) => {
            out.push(b'[');
            for (at, map) in list.iter().filter_map(Element::map).enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                inside(scope, map, out);
            }
            out.push(b']');
        }
        (Kind::Real(..), Value::Int(int)) => print_scalar(&(*int as f64), &mut out.buffer),
        (_, Value::List(_) | Value::Map(_)) => {
            print_scalar(&sorted(element.to_json()), &mut out.buffer);
        }
        _ => element.print(&mut out.buffer),
    }
}

/// The same as a value, for what is changed further before it is shown.
fn to_json(shown: &Shown<'_>, chain: &Chain<'_>, definitions: &Definitions) -> Json {
    match shown {
        Shown::Element(_, element) if !matches!(element.value, Value::List(_) | Value::Map(_)) => {
            element.to_json()
        }
        _ => {
            let mut out = Out { buffer: Vec::new(), sink: &mut |_| {} };
            let mut text = Vec::new();
            let mut keep = |piece: &[u8]| text.extend_from_slice(piece);
            out.sink = &mut keep;
            print(shown, chain, definitions, &mut out);
            out.flush(1);
            super::read_back(std::str::from_utf8(&text).expect("JSON is UTF-8")).to_json()
        }
    }
}

/// A subnet with an empty list has the relays of its network.
fn is_no_relay(keyword: &Keyword, element: &Element) -> bool {
    let addresses = element.map().and_then(|map| map.get("ip-addresses"));
    keyword.name == "relay" && addresses.is_none_or(|addresses| addresses.list().is_empty())
}

/// The three of a class are one group, of which Kea shows what differs.
fn class_lifetimes(class: &Map, shown: &mut JsonMap<String, Json>) {
    let Ok(Some(group)) = resolve::group(class) else { return };
    let valid = group.valid.as_secs();
    shown.insert("valid-lifetime".to_owned(), valid.into());
    for (key, end) in [("min-valid-lifetime", group.min), ("max-valid-lifetime", group.max)] {
        match end.as_secs() {
            end if end == valid => drop(shown.shift_remove(key)),
            end => drop(shown.insert(key.to_owned(), end.into())),
        }
    }
}

/// The value that holds in a scope which does not say it.
fn inherited<'a>(keyword: &'static Keyword, chain: &Chain<'a>) -> Option<Shown<'a>> {
    let (min, _, max) = chain.lifetimes();
    match keyword.name {
        "min-valid-lifetime" => Some(Shown::Json(min.into())),
        "max-valid-lifetime" => Some(Shown::Json(max.into())),
        _ => match chain.find(keyword.name) {
            Some(element) => Some(Shown::Element(keyword, element)),
            None => default_of(keyword),
        },
    }
}

fn default_of(keyword: &'static Keyword) -> Option<Shown<'static>> {
    match (keyword.default, keyword.kind) {
        (Default::Unset, _) => None,
        (Default::Filled, Kind::Map(_)) => Some(Shown::Default(keyword)),
        (Default::Filled, _) => None,
        _ => Some(Shown::Default(keyword)),
    }
}

fn print_default(keyword: &Keyword, out: &mut Out<'_>) {
    match keyword.default {
        Default::Unset => {}
        Default::Bool(flag) => print_scalar(&flag, &mut out.buffer),
        Default::Int(int) => print_scalar(&int, &mut out.buffer),
        Default::Real(real) => print_scalar(&real, &mut out.buffer),
        Default::Text(text) => print_scalar(text, &mut out.buffer),
        Default::Texts(texts) => print_scalar(texts, &mut out.buffer),
        Default::Nothing => print_scalar::<[bool]>(&[], &mut out.buffer),
        Default::Filled => {
            if let Kind::Map(scope) = keyword.kind {
                print_map(scope, &Map::default(), None, &Definitions::default(), out);
            }
        }
    }
}

/// A prefix where the range is exactly one, as Kea shows it.
fn pool_text(range: Range) -> String {
    let host_bits = range.size().trailing_zeros() as u8;
    match Prefix::new(range.first(), 32 - host_bits.min(32)) {
        Ok(prefix) if prefix.range() == range => prefix.to_string(),
        _ => range.to_string(),
    }
}

fn normal_text(
    shown: &mut [(Cow<'static, str>, Shown<'_>)],
    key: &str,
    normal: impl Fn(&str) -> Option<String>,
) {
    if let Some((_, shown)) = shown.iter_mut().find(|(own, _)| own == key)
        && let Shown::Element(_, element) = shown
        && let Some(new) = element.text().and_then(normal)
    {
        *shown = Shown::Json(Json::String(new));
    }
}

/// Keys in order at every depth, as Kea shows them.
fn sorted(mut json: Json) -> Json {
    json.sort_all_objects();
    json
}
