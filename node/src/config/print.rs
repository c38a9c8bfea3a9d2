//! The document → what `config-get` shows: defaults filled in, inherited values repeated in every
//! subnet, addresses and identifiers in one form, comments as `user-context`, keys in order.
//!
//! Parsing the result gives the same configuration, and printing that gives the same text.

use serde_json::{Map as JsonMap, Value as Json};

use super::json::{Element, Map, Value};
use super::model::HostIdentifier;
use super::option_data;
use super::reservations::{colon_hex, identifier};
use super::resolve::Chain;
use super::schema::{DHCP4, Default, Inherit, Keyword, Kind, Scope};
use super::v4::pool_range;
use crate::types::{Prefix, Range};

/// The `Dhcp4` map that `config-get` shows for a valid document.
pub(super) fn dhcp4(dhcp4: &Map) -> Json {
    print_map(&DHCP4, dhcp4, None)
}

/// `around` is the scope of inherited values that the map lies in, `None` outside all.
fn print_map(scope: &'static Scope, map: &Map, around: Option<&Chain<'_>>) -> Json {
    let chain = match around {
        Some(outer) => outer.inside(map),
        None => Chain::global(map),
    };
    let outermost = scope.name == DHCP4.name;
    let mut shown = JsonMap::new();
    for keyword in scope.keywords() {
        let value = match map.get(keyword.name) {
            Some(element) => Some(print_value(keyword, element, &chain)),
            None => match keyword.inherit {
                Inherit::No if scope.filled => default_of(keyword),
                Inherit::Copied | Inherit::Outward if outermost => default_of(keyword),
                Inherit::Copied if around.is_some() => inherited(keyword, &chain),
                _ => None,
            },
        };
        if let Some(value) = value {
            shown.insert(keyword.name.to_owned(), value);
        }
    }
    match scope.name {
        "option-data" => normal_option(map, &mut shown),
        "pools" => normal_text(&mut shown, "pool", |text| Some(pool_text(pool_range(text).ok()?))),
        "subnet4" => {
            normal_text(&mut shown, "subnet", |text| Some(text.parse::<Prefix>().ok()?.to_string()))
        }
        "reservations" => {
            for key in ["hw-address", "client-id"] {
                normal_text(&mut shown, key, |text| match identifier(key, text).ok()?? {
                    HostIdentifier::HwAddress(bytes) => Some(colon_hex(&bytes)),
                    HostIdentifier::ClientId(id) => Some(upper_hex(id.bytes())),
                });
            }
        }
        "relay" => {
            if let Some(address) = shown.remove("ip-address") {
                shown.insert("ip-addresses".to_owned(), Json::Array(vec![address]));
            }
        }
        _ => {}
    }
    if scope.free {
        let mut context = match map.get("user-context").map(Element::to_json) {
            Some(Json::Object(context)) => Some(context),
            _ => None,
        };
        if let Some(comment) = map.get("comment").map(Element::to_json) {
            context.get_or_insert_default().insert("comment".to_owned(), comment);
        }
        if let Some(context) = context {
            shown.insert("user-context".to_owned(), sorted(Json::Object(context)));
        }
    }
    shown.sort_keys();
    Json::Object(shown)
}

fn print_value(keyword: &Keyword, element: &Element, chain: &Chain<'_>) -> Json {
    // Only networks and subnets inherit; in other maps the words mean something else.
    let inside = |scope: &'static Scope, map: &Map| match scope.name {
        "shared-networks" | "subnet4" => print_map(scope, map, Some(chain)),
        _ => print_map(scope, map, None),
    };
    match (keyword.kind, &element.value) {
        (Kind::Map(scope), Value::Map(map)) => inside(scope, map),
        (Kind::Maps(scope), Value::List(list)) => {
            list.iter().filter_map(Element::map).map(|map| inside(scope, map)).collect()
        }
        (Kind::Real(..), Value::Int(_)) => element.real().map_or(Json::Null, Json::from),
        _ => sorted(element.to_json()),
    }
}

/// The value that holds in a scope which does not say it.
fn inherited(keyword: &Keyword, chain: &Chain<'_>) -> Option<Json> {
    let (min, _, max) = chain.lifetimes();
    match keyword.name {
        "min-valid-lifetime" => Some(min.into()),
        "max-valid-lifetime" => Some(max.into()),
        _ => match chain.find(keyword.name) {
            Some(element) => Some(print_value(keyword, element, chain)),
            None => default_of(keyword),
        },
    }
}

fn default_of(keyword: &Keyword) -> Option<Json> {
    match keyword.default {
        Default::Unset => None,
        Default::Bool(flag) => Some(flag.into()),
        Default::Int(int) => Some(int.into()),
        Default::Real(real) => Some(real.into()),
        Default::Text(text) => Some(text.into()),
        Default::Texts(texts) => Some(texts.iter().copied().collect()),
        Default::Nothing => Some(Json::Array(Vec::new())),
        Default::Filled => match keyword.kind {
            Kind::Map(scope) => Some(print_map(scope, &Map::default(), None)),
            _ => None,
        },
    }
}

/// Code, name, `csv-format` and the hexadecimal form, whichever of them were written.
fn normal_option(entry: &Map, shown: &mut JsonMap<String, Json>) {
    let Ok(read) = option_data::read_entry(entry) else { return };
    shown.insert("code".to_owned(), read.code.into());
    shown.insert("csv-format".to_owned(), read.csv.into());
    if let Some(definition) = read.definition {
        shown.insert("name".to_owned(), definition.name.clone().into());
    }
    if !read.csv {
        shown.insert("data".to_owned(), upper_hex(&read.bytes).into());
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

fn upper_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn normal_text(
    shown: &mut JsonMap<String, Json>,
    key: &str,
    normal: impl Fn(&str) -> Option<String>,
) {
    if let Some(Json::String(text)) = shown.get_mut(key)
        && let Some(new) = normal(text)
    {
        *text = new;
    }
}

/// Keys in order at every depth, as Kea shows them.
fn sorted(mut json: Json) -> Json {
    json.sort_all_objects();
    json
}
