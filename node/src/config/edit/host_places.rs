//! Where reservations stand in the elements of a document: for edits that are made in a row, each of
//! which would else look through a list of perhaps a million.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use super::tree::place_of;
use crate::config::host_list::identifier_hash;
use crate::config::json::{Element, Map, Value};
use crate::config::model::IdentifierKind;
use crate::config::reservations;
use crate::types::SubnetId;

/// The lists that edits have looked into. While they are known, an entry that is deleted leaves a hole
/// in its list.
#[derive(Default)]
pub(super) struct HostPlaces {
    scopes: HashMap<SubnetId, Known>,
}

/// One list.
#[derive(Default)]
pub(super) struct Known {
    by_identifier: BTreeSet<(u64, usize)>,
    by_address: BTreeSet<(Ipv4Addr, usize)>,
    holes: bool,
}

impl HostPlaces {
    /// What is known of the list of a subnet, or with 0 of the global one. Whoever has changed the list
    /// puts it back.
    pub(super) fn take(&mut self, subnet: SubnetId, list: &[Element]) -> Known {
        self.scopes.remove(&subnet).unwrap_or_else(|| Known::of(list))
    }

    pub(super) fn put(&mut self, subnet: SubnetId, known: Known) {
        self.scopes.insert(subnet, known);
    }

    /// Closes the holes and forgets.
    pub(super) fn settle(&mut self, dhcp4: &mut Map) {
        for (subnet, _) in self.scopes.drain().filter(|(_, known)| known.holes) {
            let scope = match subnet.0 {
                0 => Some(&mut *dhcp4),
                _ => place_of(dhcp4, subnet).and_then(|place| place.subnet_in(dhcp4)),
            };
            let list = scope.and_then(|map| map.get_mut("reservations")?.list_mut());
            if let Some(list) = list {
                list.retain(|element| !matches!(element.value, Value::Null));
            }
        }
    }
}

impl Known {
    fn of(list: &[Element]) -> Known {
        let maps = || list.iter().enumerate().filter_map(|(at, entry)| Some((at, entry.map()?)));
        let identifiers = maps().filter_map(|(at, map)| Some((hash_of(map)?, at)));
        Known {
            by_identifier: identifiers.collect(),
            by_address: maps().filter_map(|(at, map)| Some((address_of(map)?, at))).collect(),
            holes: false,
        }
    }

    /// Where an identifier stands.
    pub(super) fn identifier(
        &self,
        list: &[Element],
        own: &(IdentifierKind, Vec<u8>),
    ) -> Option<usize> {
        let hash = identifier_hash(own.0, &own.1);
        let mut same = self.by_identifier.range((hash, 0)..=(hash, usize::MAX)).map(|(_, at)| *at);
        let is_it = |at: &usize| {
            let map = list.get(*at).and_then(Element::map);
            map.and_then(identifier_of).is_some_and(|other| other == *own)
        };
        same.find(is_it)
    }

    /// Where an address is reserved first.
    pub(super) fn address(&self, address: Ipv4Addr) -> Option<usize> {
        let mut same = self.by_address.range((address, 0)..=(address, usize::MAX));
        same.next().map(|(_, at)| *at)
    }

    /// Puts an entry behind the others.
    pub(super) fn push(&mut self, list: &mut Vec<Element>, entry: Element) {
        self.note(list.len(), &entry);
        list.push(entry);
    }

    /// Puts an entry in the place of another.
    pub(super) fn replace(&mut self, list: &mut [Element], at: usize, entry: Element) {
        let Some(old) = list.get_mut(at) else { return };
        if let Some(map) = old.map() {
            hash_of(map).map(|hash| self.by_identifier.remove(&(hash, at)));
            address_of(map).map(|address| self.by_address.remove(&(address, at)));
        }
        self.note(at, &entry);
        *old = entry;
    }

    /// Leaves a hole where an entry was.
    pub(super) fn remove(&mut self, list: &mut [Element], at: usize) {
        self.replace(list, at, Element::nowhere(Value::Null));
        self.holes = true;
    }

    fn note(&mut self, at: usize, entry: &Element) {
        if let Some(map) = entry.map() {
            self.by_identifier.extend(hash_of(map).map(|hash| (hash, at)));
            self.by_address.extend(address_of(map).map(|address| (address, at)));
        }
    }
}

/// The address that an entry reserves.
pub(super) fn address_of(entry: &Map) -> Option<Ipv4Addr> {
    entry.get("ip-address").and_then(Element::text)?.parse().ok()
}

/// The identifier of an entry.
pub(super) fn identifier_of(entry: &Map) -> Option<(IdentifierKind, Vec<u8>)> {
    reservations::identifiers().find_map(|(key, kind)| {
        let text = entry.get(key)?.text()?;
        Some((kind, reservations::identifier(kind, text).ok()?))
    })
}

fn hash_of(entry: &Map) -> Option<u64> {
    identifier_of(entry).map(|(kind, bytes)| identifier_hash(kind, &bytes))
}
