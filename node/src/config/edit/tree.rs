//! What all edits do with elements: take their arguments apart, find subnets wherever they lie, and
//! reach lists.

use super::{NoEdit, Scene, Stop};
use crate::config::check::Checker;
use crate::config::json::{Element, Map, Value};
use crate::config::mistake::Path;
use crate::config::reader::Dialect;
use crate::config::schema::Scope;
use crate::config::spelling;
use crate::types::{Prefix, SubnetId};

/// Where a subnet stands in the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) struct Place {
    /// The place of its network in `shared-networks`; `None` for a subnet of global scope.
    pub(in crate::config) network: Option<usize>,
    /// Its place in the list `subnet4`.
    pub(in crate::config) at: usize,
}

impl Place {
    fn siblings_in(self, dhcp4: &mut Map) -> Option<&mut Vec<Element>> {
        let map = match self.network {
            Some(network) => {
                let networks = dhcp4.get_mut("shared-networks")?.list_mut()?;
                networks.get_mut(network)?.map_mut()?
            }
            None => dhcp4,
        };
        map.get_mut("subnet4")?.list_mut()
    }

    /// The subnet there.
    pub(super) fn subnet_in(self, dhcp4: &mut Map) -> Option<&mut Map> {
        self.siblings_in(dhcp4)?.get_mut(self.at)?.map_mut()
    }
}

impl Scene<'_> {
    /// The only entry of the list `key`, which is the only argument: a map, checked by its table,
    /// and in the spelling of today.
    pub(super) fn only(
        &mut self,
        arguments: Map,
        key: &str,
        scope: &'static Scope,
        what: &str,
    ) -> Result<Element, Stop> {
        let mut entry = self.entry(arguments, key, what)?;
        let path = Path::Key(&Path::Root, key);
        let path = Path::Index(&path, 0);
        let before = self.report.count();
        if let Value::Map(map) = &entry.value {
            let dialect = Dialect::Wire;
            Checker { dialect, ..Checker::new(self.report) }.map(scope, &entry, map, &path);
        }
        if let Value::Map(map) = &mut entry.value
            && self.report.count() == before
        {
            spelling::rewrite(scope, map, &path, self.report);
        }
        if self.report.count() == before { Ok(entry) } else { Err(Stop::Mistakes) }
    }

    /// The only entry of the list `key`, which is the only argument: a map of any content.
    pub(super) fn entry(
        &mut self,
        mut arguments: Map,
        key: &str,
        what: &str,
    ) -> Result<Element, Stop> {
        let command = self.verb.name();
        let Some(list) = arguments.remove(key) else {
            return Err(NoEdit::error(format!("missing parameter '{key}'")).into());
        };
        if let Some(other) = arguments.members.first() {
            let text = format!("'{}' is not an argument of '{command}': '{key}' is", other.key);
            return Err(NoEdit::error(text).into());
        }
        let Value::List(mut list) = list.value else {
            let text = format!("invalid type specified for parameter '{key}': a list is expected");
            return Err(NoEdit::error(text).into());
        };
        match (list.pop(), list.is_empty()) {
            (Some(entry), true) if entry.map().is_some() => Ok(entry),
            (Some(_), true) => {
                let text = format!("invalid entry of '{key}' for '{command}': a map is expected");
                Err(NoEdit::error(text).into())
            }
            _ => {
                let text = format!(
                    "invalid number of {what}s specified for the '{command}' command. Expected one {what}"
                );
                Err(NoEdit::error(text).into())
            }
        }
    }

    /// Refuses arguments other than these.
    pub(super) fn nothing_but(&self, arguments: &Map, names: &[&str]) -> Result<(), NoEdit> {
        let other = |member: &&crate::config::json::Member| !names.contains(&&*member.key);
        match arguments.members.iter().find(other) {
            Some(other) => Err(NoEdit::error(format!(
                "'{}' is not an argument of '{}'",
                other.key,
                self.verb.name()
            ))),
            None => Ok(()),
        }
    }

    /// The list `key` of the map `Dhcp4`, made if need be.
    pub(super) fn list(&mut self, key: &str) -> Result<&mut Vec<Element>, NoEdit> {
        list_in(self.dhcp4, key)
    }

    /// Where the first subnet stands that `wanted` takes, members of networks first.
    pub(super) fn find(&self, wanted: impl Fn(&Map) -> bool) -> Option<Place> {
        find(self.dhcp4, wanted)
    }

    /// Where the subnet of that id stands.
    pub(super) fn find_id(&self, id: SubnetId) -> Option<Place> {
        place_of(self.dhcp4, id)
    }

    /// The list that a place is in.
    pub(super) fn siblings(&mut self, place: Place) -> Option<&mut Vec<Element>> {
        place.siblings_in(self.dhcp4)
    }

    /// The subnet at a place.
    pub(super) fn subnet(&mut self, place: Place) -> Option<&mut Map> {
        self.siblings(place)?.get_mut(place.at)?.map_mut()
    }

    /// Takes the subnet at a place out.
    pub(super) fn take(&mut self, place: Place) -> Option<Element> {
        let list = self.siblings(place)?;
        (place.at < list.len()).then(|| list.remove(place.at))
    }
}

/// Where the subnet of that id stands in a map `Dhcp4`.
pub(in crate::config) fn place_of(dhcp4: &Map, id: SubnetId) -> Option<Place> {
    find(dhcp4, |map| id_of(map) == Some(id))
}

fn find(dhcp4: &Map, wanted: impl Fn(&Map) -> bool) -> Option<Place> {
    let wanted = |element: &Element| element.map().is_some_and(&wanted);
    let place = |map: &Map| list_of(map, "subnet4").iter().position(wanted);
    let inside = list_of(dhcp4, "shared-networks").iter().enumerate();
    let mut inside = inside.filter_map(|(network, element)| {
        Some(Place { network: Some(network), at: place(element.map()?)? })
    });
    inside.next().or_else(|| Some(Place { network: None, at: place(dhcp4)? }))
}

/// The list `key` of a map; empty if there is none.
pub(super) fn list_of<'a>(map: &'a Map, key: &str) -> &'a [Element] {
    map.get(key).map(Element::list).unwrap_or_default()
}

/// The list `key` of a map, made if need be.
pub(super) fn list_in<'a>(map: &'a mut Map, key: &str) -> Result<&'a mut Vec<Element>, NoEdit> {
    if map.get(key).is_none() {
        map.set(key, Element::nowhere(Value::List(Vec::new())));
    }
    let list = map.get_mut(key).and_then(Element::list_mut);
    list.ok_or_else(|| NoEdit::error(format!("'{key}' is no list")))
}

/// `id` of a subnet; `None` if it is no id.
pub(super) fn id_of(subnet: &Map) -> Option<SubnetId> {
    let id = subnet.get("id").and_then(Element::int)?;
    u32::try_from(id).ok().filter(|id| (1..u32::MAX).contains(id)).map(SubnetId)
}

/// `subnet` of a subnet.
pub(super) fn prefix_of(subnet: &Map) -> Option<Prefix> {
    subnet.get("subnet").and_then(Element::text)?.parse().ok()
}

/// `name` of a map.
pub(in crate::config) fn name_of(map: &Map) -> &str {
    map.get("name").and_then(Element::text).unwrap_or_default()
}

/// A mandatory argument that is a string.
pub(super) fn text<'a>(arguments: &'a Map, key: &str) -> Result<&'a str, NoEdit> {
    let value = arguments.get(key).ok_or_else(|| missing(key))?;
    value.text().ok_or_else(|| wrong_type(key))
}

/// The mandatory argument `id`, which names a subnet.
pub(super) fn id(arguments: &Map) -> Result<SubnetId, NoEdit> {
    let value = arguments.get("id").ok_or_else(|| missing("id"))?;
    let id = value.int().ok_or_else(|| wrong_type("id"))?;
    u32::try_from(id).map(SubnetId).map_err(|_| {
        NoEdit::error(format!("out of range value ({id}) specified for parameter 'id'"))
    })
}

fn missing(key: &str) -> NoEdit {
    NoEdit::error(format!("missing parameter '{key}'"))
}

fn wrong_type(key: &str) -> NoEdit {
    NoEdit::error(format!("invalid type specified for parameter '{key}'"))
}
