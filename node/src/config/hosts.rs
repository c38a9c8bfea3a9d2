//! Reservations as they are looked for: found in constant time by identifier and by address, and
//! changed one at a time at a cost that does not grow with their number.
//!
//! What a document says is a [`HostList`], which is shared by all configurations that follow from it;
//! what was changed since lies over it, in tables that share what they have in common. Each
//! reservation has a place, in the order of the document: it keeps it as long as the
//! list is the same, and no other ever gets it.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock};

use imbl::{OrdMap, OrdSet};

use super::host_list::{HostList, Tally, bit, identifier_hash};
use super::model::{IdentifierKind, OptionSet};
use super::placed::Spot;
use super::small::{SmallBytes, SmallText};
use crate::types::ClassName;

/// One entry of `reservations`.
#[derive(Debug, Clone, PartialEq)]
pub struct Reservation {
    /// What the identifier is.
    pub kind: IdentifierKind,
    /// The identifier: what its client is recognised by.
    pub identifier: SmallBytes,
    /// `ip-address`.
    pub address: Option<Ipv4Addr>,
    /// `hostname`; empty when unset.
    pub hostname: SmallText,
    /// What few reservations have.
    pub(super) rest: Option<Box<Rest>>,
}

/// The rare parts of a [`Reservation`].
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Rest {
    pub(super) options: OptionSet,
    pub(super) next_server: Option<Ipv4Addr>,
    pub(super) server_hostname: Option<Box<str>>,
    pub(super) boot_file_name: Option<Box<str>>,
    pub(super) classes: Box<[ClassName]>,
}

impl Reservation {
    /// `option-data` of the reservation alone.
    pub fn options(&self) -> &OptionSet {
        static NONE: OptionSet = OptionSet::new();
        self.rest.as_ref().map_or(&NONE, |rest| &rest.options)
    }

    /// `next-server`.
    pub fn next_server(&self) -> Option<Ipv4Addr> {
        self.rest.as_ref()?.next_server
    }

    /// `server-hostname`.
    pub fn server_hostname(&self) -> Option<&str> {
        self.rest.as_ref()?.server_hostname.as_deref()
    }

    /// `boot-file-name`.
    pub fn boot_file_name(&self) -> Option<&str> {
        self.rest.as_ref()?.boot_file_name.as_deref()
    }

    /// `client-classes`: the client belongs to these.
    pub fn classes(&self) -> &[ClassName] {
        self.rest.as_ref().map_or(&[], |rest| &rest.classes)
    }

    /// Whether this is its identifier.
    pub(super) fn is_by(&self, kind: IdentifierKind, identifier: &[u8]) -> bool {
        self.kind == kind && *self.identifier == *identifier
    }

    /// Of its identifier.
    pub(super) fn hash(&self) -> u64 {
        identifier_hash(self.kind, &self.identifier)
    }
}

/// The reservations of one subnet, or the global ones.
#[derive(Clone)]
pub struct Reservations {
    list: Arc<HostList>,
    /// Where the list stands in the text that it was read from.
    pub(super) spot: Spot,
    changes: Option<Arc<Changes>>,
}

/// What differs from a [`HostList`].
#[derive(Debug, Clone)]
struct Changes {
    /// By place: what stands there now, `None` where something was removed. Places behind the list's are of
    /// those that were added.
    entries: OrdMap<u64, Option<Arc<Entry>>>,
    /// Hash of the identifier and place of all of them that stand.
    by_identifier: OrdSet<(u64, u64)>,
    /// The same by reserved address.
    by_address: OrdSet<(Ipv4Addr, u64)>,
    /// The place of the next one that is added.
    next: u64,
    /// Of everything that stands, in the list or here.
    tally: Tally,
}

/// A reservation that was added or changed.
#[derive(Debug)]
struct Entry {
    host: Reservation,
    /// As the document has it: compact JSON.
    text: Box<str>,
}

/// What they are; how they came about does not count.
impl fmt::Debug for Reservations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Default for Reservations {
    fn default() -> Reservations {
        // Most subnets have none.
        static NONE: LazyLock<Arc<HostList>> = LazyLock::new(Arc::default);
        Reservations { list: Arc::clone(&NONE), spot: Spot::default(), changes: None }
    }
}

impl Reservations {
    /// Those of a document.
    pub(super) fn new(list: HostList) -> Reservations {
        Reservations { list: Arc::new(list), ..Reservations::default() }
    }

    /// The reservation with this identifier.
    pub fn by_identifier(&self, kind: IdentifierKind, identifier: &[u8]) -> Option<&Reservation> {
        self.get(self.place_of(kind, identifier)?)
    }

    /// The reservations that name `address`, in order: one, unless `ip-reservations-unique` is off.
    pub fn of_address(&self, address: Ipv4Addr) -> impl Iterator<Item = &Reservation> {
        self.places_of(address).filter_map(|place| self.get(place))
    }

    /// Whether any of them goes by identifiers of this kind.
    pub fn has(&self, kind: IdentifierKind) -> bool {
        self.tally().kinds() & bit(kind) != 0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.tally().all as usize
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Reservation> {
        self.walk().map(|(_, host)| host)
    }

    /// What they are.
    pub(super) fn tally(&self) -> &Tally {
        match &self.changes {
            Some(changes) => &changes.tally,
            None => self.list.tally(),
        }
    }

    /// Where this identifier is.
    pub(super) fn place_of(&self, kind: IdentifierKind, identifier: &[u8]) -> Option<u64> {
        if !self.has(kind) {
            return None;
        }
        let mut listed = self.list.with_identifier(kind, identifier);
        let Some(changes) = &self.changes else { return listed.next() };
        listed.find(|place| !changes.entries.contains_key(place)).or_else(|| {
            let hash = identifier_hash(kind, identifier);
            let mut same = changes.by_identifier.range((hash, 0)..=(hash, u64::MAX));
            let is_it = |place| changes.get(place).is_some_and(|own| own.is_by(kind, identifier));
            same.find_map(|(_, place)| is_it(*place).then_some(*place))
        })
    }

    /// Where this address is reserved, in order.
    pub(super) fn places_of(&self, address: Ipv4Addr) -> impl Iterator<Item = u64> {
        let of_changes = self.changes.iter().flat_map(move |changes| {
            let same = changes.by_address.range((address, 0)..=(address, u64::MAX));
            same.map(|(_, place)| *place)
        });
        let listed = self.list.with_address(address).filter(|place| !self.is_changed(*place));
        merged(listed, of_changes)
    }

    fn is_changed(&self, place: u64) -> bool {
        self.changes.as_ref().is_some_and(|changes| changes.entries.contains_key(&place))
    }

    /// What stands at a place.
    pub(super) fn get(&self, place: u64) -> Option<&Reservation> {
        match self.changes.as_ref().and_then(|changes| changes.entries.get(&place)) {
            Some(changed) => changed.as_ref().map(|entry| &entry.host),
            None => self.list.get(place),
        }
    }

    /// The text of what stands at a place; `base` is the text that the list was read from.
    pub(super) fn text<'a>(&'a self, place: u64, base: &'a str) -> &'a str {
        match self.changes.as_ref().and_then(|changes| changes.entries.get(&place)) {
            Some(changed) => changed.as_ref().map_or("", |entry| &entry.text),
            None => self.spot.text(place, base),
        }
    }

    /// All of them with their places, in order.
    pub(super) fn walk(&self) -> impl Iterator<Item = (u64, &Reservation)> {
        let changed = self.changes.iter().flat_map(|changes| changes.entries.iter());
        let (mut changed, mut next) = (changed.peekable(), 0);
        std::iter::from_fn(move || {
            loop {
                let here = changed.next_if(|(place, _)| **place == next || next >= self.list.len());
                let (place, host) = match here {
                    Some((place, entry)) => (*place, entry.as_ref().map(|entry| &entry.host)),
                    None => (next, Some(self.list.get(next)?)),
                };
                next = place + 1;
                if let Some(host) = host {
                    return Some((place, host));
                }
            }
        })
    }

    /// Hash of the identifier and place of those whose hash is not below `from`, ascending: an order
    /// that no change and no restart disturbs.
    pub(super) fn by_hash(&self, from: u64) -> impl Iterator<Item = (u64, u64)> {
        let of_changes = self.changes.iter().flat_map(move |changes| {
            changes.by_identifier.range((from, 0)..=(u64::MAX, u64::MAX)).copied()
        });
        let listed = self.list.by_hash(from).filter(|(_, place)| !self.is_changed(*place));
        merged(listed, of_changes)
    }

    /// Whether something was changed since the list was read.
    pub(super) fn is_edited(&self) -> bool {
        self.changes.is_some()
    }

    /// Whether both follow from the same list.
    #[cfg(test)]
    pub(super) fn shares_list_with(&self, other: &Reservations) -> bool {
        Arc::ptr_eq(&self.list, &other.list)
    }

    /// Adds one behind the others. Whether it may be there is the caller's to know.
    pub(super) fn add(&mut self, host: Reservation, text: Box<str>) {
        let changes = self.changes_mut();
        let place = changes.next;
        changes.next += 1;
        changes.put(place, host, text);
    }

    /// Puts one with the same identifier in the place of another.
    pub(super) fn replace(&mut self, place: u64, host: Reservation, text: Box<str>) {
        self.remove(place);
        self.changes_mut().put(place, host, text);
    }

    /// Takes one out; nothing if there is none.
    pub(super) fn remove(&mut self, place: u64) {
        let Some(host) = self.get(place) else { return };
        let (hash, address) = (host.hash(), host.address);
        let host = host.clone();
        let listed = place < self.list.len();
        let changes = self.changes_mut();
        changes.tally.remove(&host);
        changes.by_identifier.remove(&(hash, place));
        if let Some(address) = address {
            changes.by_address.remove(&(address, place));
        }
        // Those that were added leave nothing behind, or coming and going would fill the memory.
        if listed {
            changes.entries.insert(place, None);
        } else {
            changes.entries.remove(&place);
        }
    }

    fn changes_mut(&mut self) -> &mut Changes {
        let list = &self.list;
        Arc::make_mut(self.changes.get_or_insert_with(|| {
            Arc::new(Changes {
                entries: OrdMap::new(),
                by_identifier: OrdSet::new(),
                by_address: OrdSet::new(),
                next: list.len(),
                tally: *list.tally(),
            })
        }))
    }
}

impl Changes {
    fn get(&self, place: u64) -> Option<&Reservation> {
        self.entries.get(&place)?.as_ref().map(|entry| &entry.host)
    }

    fn put(&mut self, place: u64, host: Reservation, text: Box<str>) {
        self.tally.add(&host);
        self.by_identifier.insert((host.hash(), place));
        if let Some(address) = host.address {
            self.by_address.insert((address, place));
        }
        self.entries.insert(place, Some(Arc::new(Entry { host, text })));
    }
}

/// Two ascending rows as one.
fn merged<T: Ord>(
    one: impl Iterator<Item = T>,
    other: impl Iterator<Item = T>,
) -> impl Iterator<Item = T> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    std::iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some(mine), Some(its)) if its < mine => other.next(),
        (Some(_), _) => one.next(),
        (None, _) => other.next(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KINDS: [IdentifierKind; 3] =
        [IdentifierKind::HwAddress, IdentifierKind::Duid, IdentifierKind::FlexId];

    fn entry(kind: IdentifierKind, identifier: &[u8], address: Option<u8>) -> Reservation {
        Reservation {
            kind,
            identifier: identifier.into(),
            address: address.map(|last| Ipv4Addr::new(192, 0, 2, last)),
            hostname: "".into(),
            rest: None,
        }
    }

    /// Look-ups answer as a walk over the list would.
    fn check(all: &Reservations, list: &[Reservation]) -> Result<(), TestCaseError> {
        prop_assert!(all.iter().eq(list));
        prop_assert_eq!(all.len(), list.len());
        for kind in KINDS {
            prop_assert_eq!(all.has(kind), list.iter().any(|entry| entry.kind == kind));
            for id in 0..40 {
                let found = all.by_identifier(kind, &[id]);
                prop_assert_eq!(found, list.iter().find(|entry| entry.is_by(kind, &[id])));
            }
        }
        for last in 0..20 {
            let address = Ipv4Addr::new(192, 0, 2, last);
            let found: Vec<_> = all.of_address(address).collect();
            let walked: Vec<_> =
                list.iter().filter(|entry| entry.address == Some(address)).collect();
            prop_assert_eq!(found, walked);
        }
        let hashes: Vec<_> = all.by_hash(0).map(|(hash, place)| (hash, all.get(place))).collect();
        prop_assert!(hashes.is_sorted_by_key(|(hash, _)| *hash));
        prop_assert_eq!(hashes.len(), list.len());
        prop_assert!(
            hashes.iter().all(|(hash, host)| host.is_some_and(|host| host.hash() == *hash))
        );
        Ok(())
    }

    proptest! {
        #[test]
        fn reservations_are_found_as_in_a_list(
            list in prop::collection::vec((0usize..3, 0u8..40, prop::option::of(0u8..20)), 0..60),
        ) {
            let list: Vec<Reservation> = list
                .into_iter()
                .map(|(kind, id, address)| entry(KINDS[kind], &[id], address))
                .collect();
            let mut all = HostList::default();
            list.iter().for_each(|entry| all.push(entry.clone()));
            check(&Reservations::new(all), &list)?;
        }

        /// Changes come to what they would come to in a list, and what was there before stays as it was.
        #[test]
        fn changes_come_to_what_they_do_to_a_list(
            first in prop::collection::btree_map((0usize..3, 0u8..40), prop::option::of(0u8..20), 0..40),
            changes in prop::collection::vec(
                (any::<bool>(), 0usize..3, 0u8..40, prop::option::of(0u8..20)), 0..60),
        ) {
            let mut list: Vec<Reservation> = first
                .into_iter()
                .map(|((kind, id), address)| entry(KINDS[kind], &[id], address))
                .collect();
            let mut base = HostList::default();
            list.iter().for_each(|entry| base.push(entry.clone()));
            let mut all = Reservations::new(base);
            let before = (all.clone(), list.clone());
            for (removes, kind, id, address) in changes {
                let new = entry(KINDS[kind], &[id], address);
                let listed = list.iter().position(|own| own.is_by(KINDS[kind], &[id]));
                match (all.place_of(KINDS[kind], &[id]), listed) {
                    (Some(place), Some(at)) if removes => {
                        all.remove(place);
                        list.remove(at);
                    }
                    (Some(place), Some(at)) => {
                        all.replace(place, new.clone(), "".into());
                        list[at] = new;
                    }
                    (None, None) => {
                        all.add(new.clone(), "".into());
                        list.push(new);
                    }
                    other => panic!("{other:?}"),
                }
            }
            check(&all, &list)?;
            check(&before.0, &before.1)?;
        }
    }

    #[test]
    fn a_reservation_is_small() {
        assert!(size_of::<Reservation>() <= 72, "{}", size_of::<Reservation>());
    }
}
