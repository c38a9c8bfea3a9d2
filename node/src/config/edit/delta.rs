//! `subnet4-delta-add` and `-delta-del`: a part of a subnet (kea-api §2.4; Kea manual, "The
//! subnet4-delta-add Command").
//!
//! Entries of lists are known by what identifies them: pools by their addresses, options by space,
//! code and classes, everything else by itself. What is named is merged or removed; nothing else is
//! touched.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::subnets::{about, given_id, no_map, no_reservations, not_there, prefix};
use super::tree::{id_of, list_of, prefix_of};
use super::{Changed, NoEdit, Scene, Stop};
use crate::config::json::{Element, Map, Value};
use crate::config::mistake::Path;
use crate::config::schema::{Kind, SUBNET, Scope};
use crate::config::{pools, spelling};
use crate::options::{DHCP4, Definitions};

/// What says which subnet is meant, and is no change.
const NAMES: [&str; 2] = ["id", "subnet"];

/// `subnet4-delta-add`.
pub(super) fn add(scene: &mut Scene<'_>, arguments: Map) -> Result<Changed, Stop> {
    let mut delta = scene.only(arguments, "subnet4", &SUBNET, "subnet")?;
    let delta = std::mem::take(delta.map_mut().ok_or_else(no_map)?);
    change(scene, delta, |subnet, delta, definitions| merge(&SUBNET, subnet, delta, definitions))
}

/// `subnet4-delta-del`. Values do not matter but where they identify something, so they are not
/// checked.
pub(super) fn del(scene: &mut Scene<'_>, arguments: Map) -> Result<Changed, Stop> {
    let mut delta = scene.entry(arguments, "subnet4", "subnet")?;
    let map = delta.map_mut().ok_or_else(no_map)?;
    check_names(&SUBNET, map)?;
    let before = scene.report.count();
    spelling::rewrite(&SUBNET, map, &Path::Key(&Path::Root, "subnet4"), scene.report);
    if scene.report.count() != before {
        return Err(Stop::Mistakes);
    }
    let delta = std::mem::take(map);
    change(scene, delta, |subnet, delta, definitions| remove(&SUBNET, subnet, &delta, definitions))
}

/// Finds the subnet that is meant and changes it.
fn change(
    scene: &mut Scene<'_>,
    mut delta: Map,
    how: impl FnOnce(&mut Map, Map, &Definitions),
) -> Result<Changed, Stop> {
    let id = given_id(scene, &delta)?;
    let prefix = prefix(&delta)?;
    if !list_of(&delta, "reservations").is_empty() {
        return Err(no_reservations(scene).into());
    }
    delta.members.retain(|member| !NAMES.contains(&&*member.key) && member.key != "reservations");
    let place = scene.find_id(id).ok_or_else(|| not_there(id))?;
    let definitions = scene.definitions;
    let subnet = scene.subnet(place).ok_or_else(|| not_there(id))?;
    match prefix_of(subnet) {
        Some(own) if own != prefix => {
            let text = format!("the subnet with id '{id}' is {own}, not {prefix}");
            return Err(NoEdit::error(text).into());
        }
        _ => {}
    }
    debug_assert_eq!(id_of(subnet), Some(id));
    how(subnet, delta, definitions);
    Ok(about(id, prefix))
}

/// What the table says of a member's value.
fn kind_of(scope: Option<&'static Scope>, key: &str) -> Option<Kind> {
    scope?.keyword(key).map(|keyword| keyword.kind)
}

/// Overwrites or adds what `delta` says.
fn merge(scope: &'static Scope, map: &mut Map, delta: Map, definitions: &Definitions) {
    merge_map(Some(scope), map, delta, definitions);
}

/// `scope` is `None` in maps of the operator's own, such as `user-context`.
fn merge_map(scope: Option<&'static Scope>, map: &mut Map, delta: Map, definitions: &Definitions) {
    for member in delta.members {
        let kind = kind_of(scope, &member.key);
        let Some(old) = map.get_mut(&member.key) else {
            map.members.push(member);
            continue;
        };
        match (&mut old.value, member.value.value) {
            (Value::Map(old), Value::Map(new)) => {
                let inner = if let Some(Kind::Map(inner)) = kind { Some(inner) } else { None };
                merge_map(inner, old, new, definitions);
            }
            (Value::List(old), Value::List(new)) => merge_list(kind, old, new, definitions),
            (_, new) => *old = Element { at: member.value.at, value: new },
        }
    }
}

fn merge_list(
    kind: Option<Kind>,
    old: &mut Vec<Element>,
    new: Vec<Element>,
    definitions: &Definitions,
) {
    let mut places = Places::of(kind, old, definitions);
    for entry in new {
        let key = key(kind, &entry, definitions);
        match (places.first(&key).and_then(|at| old.get_mut(at)), entry) {
            (None, entry) => {
                places.note(key, old.len());
                old.push(entry);
            }
            (
                Some(Element { value: Value::Map(own), .. }),
                Element { value: Value::Map(new), .. },
            ) => {
                let inner = if let Some(Kind::Maps(inner)) = kind { Some(inner) } else { None };
                merge_map(inner, own, new, definitions);
            }
            (Some(_), _) => {}
        }
    }
}

/// Removes what `delta` names.
fn remove(scope: &'static Scope, map: &mut Map, delta: &Map, definitions: &Definitions) {
    remove_from_map(Some(scope), map, delta, definitions);
}

fn remove_from_map(
    scope: Option<&'static Scope>,
    map: &mut Map,
    delta: &Map,
    definitions: &Definitions,
) {
    for member in &delta.members {
        let kind = kind_of(scope, &member.key);
        let Some(old) = map.get_mut(&member.key) else { continue };
        match (&mut old.value, &member.value.value) {
            (Value::Map(old), Value::Map(named)) if !named.members.is_empty() => {
                let inner = if let Some(Kind::Map(inner)) = kind { Some(inner) } else { None };
                remove_from_map(inner, old, named, definitions);
            }
            (Value::List(old), Value::List(named)) => {
                remove_from_list(kind, old, named, definitions);
            }
            _ => drop(map.remove(&member.key)),
        }
    }
}

/// A pool of which more is named than its addresses loses that; any other entry goes.
fn remove_from_list(
    kind: Option<Kind>,
    list: &mut Vec<Element>,
    named: &[Element],
    definitions: &Definitions,
) {
    let mut places = Places::of(kind, list, definitions);
    let mut gone = BTreeSet::new();
    for entry in named {
        let key = key(kind, entry, definitions);
        let Some(at) = places.first(&key) else { continue };
        if let (Key::Pool(_), Value::Map(named), Some(Value::Map(own))) =
            (&key, &entry.value, list.get_mut(at).map(|own| &mut own.value))
            && named.members.len() > 1
            && let Some(Kind::Maps(inner)) = kind
        {
            let mut rest = named.clone();
            rest.remove("pool");
            remove_from_map(Some(inner), own, &rest, definitions);
        } else {
            places.forget_first(&key);
            gone.insert(at);
        }
    }
    let mut at = 0;
    list.retain(|_| {
        at += 1;
        !gone.contains(&(at - 1))
    });
}

/// Where the entries of a list stand, by what they are known by. An edit may name thousands of entries
/// of a list of thousands, and every node makes it: none is looked for along the list.
struct Places(BTreeMap<Key, VecDeque<usize>>);

impl Places {
    fn of(kind: Option<Kind>, list: &[Element], definitions: &Definitions) -> Places {
        let mut places = Places(BTreeMap::new());
        for (at, entry) in list.iter().enumerate() {
            places.note(key(kind, entry, definitions), at);
        }
        places
    }

    fn note(&mut self, key: Key, at: usize) {
        self.0.entry(key).or_default().push_back(at);
    }

    fn first(&self, key: &Key) -> Option<usize> {
        self.0.get(key)?.front().copied()
    }

    fn forget_first(&mut self, key: &Key) {
        self.0.get_mut(key).map(VecDeque::pop_front);
    }
}

/// What an entry of a list is known by.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// Its addresses, as text in one form.
    Pool(String),
    /// Space, code, and the classes that it is for.
    Option(String, u32, Vec<String>),
    /// Itself, as text.
    Itself(Vec<u8>),
}

fn key(kind: Option<Kind>, entry: &Element, definitions: &Definitions) -> Key {
    let itself = || {
        let mut text = Vec::new();
        entry.print(&mut text);
        Key::Itself(text)
    };
    match (kind, entry.map()) {
        (Some(Kind::Maps(scope)), Some(map)) => match scope.name {
            "pools" => pool_key(map).unwrap_or_else(itself),
            "option-data" => option_key(map, definitions).unwrap_or_else(itself),
            _ => itself(),
        },
        _ => itself(),
    }
}

fn pool_key(pool: &Map) -> Option<Key> {
    let text = pool.get("pool")?.text()?;
    Some(Key::Pool(pools::range(text).ok()?.to_string()))
}

fn option_key(option: &Map, definitions: &Definitions) -> Option<Key> {
    let space = option.get("space").and_then(Element::text).unwrap_or(DHCP4);
    let code = match option.get("code").and_then(Element::int) {
        Some(code) => u32::try_from(code).ok()?,
        None => definitions.by_name(space, option.get("name")?.text()?)?.code,
    };
    let classes = list_of(option, "client-classes").iter().filter_map(Element::text);
    Some(Key::Option(space.to_owned(), code, classes.map(str::to_owned).collect()))
}

/// Refuses keywords that no such map has.
fn check_names(scope: &'static Scope, map: &Map) -> Result<(), NoEdit> {
    for member in &map.members {
        let kind = match scope.keyword(&member.key) {
            Some(keyword) => keyword.kind,
            None if scope.free && ["user-context", "comment"].contains(&&*member.key) => continue,
            None => {
                return Err(NoEdit::error(format!(
                    "got unexpected keyword \"{}\" in {} map.",
                    member.key, scope.name
                )));
            }
        };
        match (kind, &member.value.value) {
            (Kind::Map(inner), Value::Map(map)) => check_names(inner, map)?,
            (Kind::Maps(inner), Value::List(list)) => {
                for map in list.iter().filter_map(Element::map) {
                    check_names(inner, map)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}
