//! Reservations as they are looked for: compact, since there may be a million, and found in constant
//! time by identifier and by address.

use std::net::Ipv4Addr;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::model::{IdentifierKind, OptionSet};
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
}

/// The reservations of one subnet, or the global ones.
#[derive(Debug, Clone, Default)]
pub struct Reservations {
    entries: Vec<Reservation>,
    by_identifier: Index,
    by_address: Index,
    kinds: u8,
}

impl Reservations {
    /// The reservation with this identifier; of several the first.
    pub fn by_identifier(&self, kind: IdentifierKind, identifier: &[u8]) -> Option<&Reservation> {
        if !self.has(kind) {
            return None;
        }
        self.by_identifier
            .candidates(identifier_hash(kind, identifier))
            .map(|at| &self.entries[at])
            .find(|entry| entry.kind == kind && *entry.identifier == *identifier)
    }

    /// The reservations that name `address`: one, unless `ip-reservations-unique` is off.
    pub fn of_address(&self, address: Ipv4Addr) -> impl Iterator<Item = &Reservation> {
        self.by_address
            .candidates(address_hash(address))
            .map(|at| &self.entries[at])
            .filter(move |entry| entry.address == Some(address))
    }

    /// Whether any of them goes by identifiers of this kind.
    pub fn has(&self, kind: IdentifierKind) -> bool {
        self.kinds & bit(kind) != 0
    }

    /// A bit for each kind of identifier that they go by.
    pub(super) fn kinds(&self) -> u8 {
        self.kinds
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Reservation> {
        self.entries.iter()
    }

    /// None yet, with room for `count`.
    pub(super) fn with_capacity(count: usize) -> Reservations {
        Reservations {
            entries: Vec::with_capacity(count),
            by_identifier: Index::with_capacity(count),
            by_address: Index::with_capacity(count),
            kinds: 0,
        }
    }

    /// Adds an entry behind the others. One that has its identifier already is still found first.
    pub(super) fn push(&mut self, entry: Reservation) {
        let at = self.entries.len();
        self.kinds |= bit(entry.kind);
        self.entries.push(entry);
        let entries = &self.entries;
        let hash = |at: usize| identifier_hash(entries[at].kind, &entries[at].identifier);
        self.by_identifier.insert(at, hash);
        if self.entries[at].address.is_some() {
            let hash = |at: usize| {
                address_hash(entries[at].address.expect("only entries with one are in this index"))
            };
            self.by_address.insert(at, hash);
        }
    }
}

pub(super) fn bit(kind: IdentifierKind) -> u8 {
    1 << kind as u8
}

fn identifier_hash(kind: IdentifierKind, identifier: &[u8]) -> u64 {
    xxh3_64_with_seed(identifier, kind as u64)
}

fn address_hash(address: Ipv4Addr) -> u64 {
    xxh3_64_with_seed(&address.octets(), 0)
}

/// A hash table of places in a list that the caller keeps: open addressing, 4 bytes a slot, at most
/// three quarters full. Entries are only added.
#[derive(Debug, Clone, Default)]
struct Index {
    /// Place plus 1; 0 is empty. A power of two of them, or none.
    slots: Box<[u32]>,
    used: usize,
}

impl Index {
    /// Empty, with room for `count` places.
    fn with_capacity(count: usize) -> Index {
        let slots = if count == 0 { 0 } else { (count * 4 / 3 + 1).next_power_of_two() };
        Index { slots: vec![0; slots].into(), used: 0 }
    }

    /// Adds a place; `hash` gives the hash of any place in the table. Equal hashes stay in order.
    fn insert(&mut self, at: usize, hash: impl Fn(usize) -> u64) {
        if (self.used + 1) * 4 > self.slots.len() * 3 {
            let mut larger =
                Index { slots: vec![0; (self.slots.len() * 2).max(4)].into(), used: 0 };
            let mut places: Vec<u32> =
                self.slots.iter().copied().filter(|slot| *slot != 0).collect();
            places.sort_unstable();
            for place in places {
                larger.fill(place, hash(place as usize - 1));
            }
            *self = larger;
        }
        let place = u32::try_from(at + 1).expect("a document of 1 GiB has fewer entries");
        self.fill(place, hash(at));
    }

    fn fill(&mut self, place: u32, hash: u64) {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        while self.slots[slot] != 0 {
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = place;
        self.used += 1;
    }

    /// Every place with this hash, in order, and some others.
    fn candidates(&self, hash: u64) -> impl Iterator<Item = usize> {
        let mask = self.slots.len().wrapping_sub(1);
        let mut slot = hash as usize & mask;
        std::iter::from_fn(move || {
            let place = *self.slots.get(slot)?;
            slot = (slot + 1) & mask;
            (place as usize).checked_sub(1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(kind: IdentifierKind, identifier: &[u8], address: Option<u8>) -> Reservation {
        Reservation {
            kind,
            identifier: identifier.into(),
            address: address.map(|last| Ipv4Addr::new(192, 0, 2, last)),
            hostname: "".into(),
            rest: None,
        }
    }

    proptest! {
        /// Look-ups answer as a walk over the list would.
        #[test]
        fn reservations_are_found_as_in_a_list(
            list in prop::collection::vec((0u8..3, 0u8..40, prop::option::of(0u8..20)), 0..60),
        ) {
            let kinds = [IdentifierKind::HwAddress, IdentifierKind::Duid, IdentifierKind::FlexId];
            let list: Vec<Reservation> = list
                .into_iter()
                .map(|(kind, id, address)| entry(kinds[usize::from(kind)], &[id], address))
                .collect();
            let mut all = Reservations::default();
            list.iter().for_each(|entry| all.push(entry.clone()));
            for kind in kinds {
                prop_assert_eq!(all.has(kind), list.iter().any(|entry| entry.kind == kind));
                for id in 0..40 {
                    let found = all.by_identifier(kind, &[id]);
                    let first =
                        list.iter().find(|entry| entry.kind == kind && *entry.identifier == [id]);
                    prop_assert_eq!(found, first);
                }
            }
            for last in 0..20 {
                let address = Ipv4Addr::new(192, 0, 2, last);
                let found: Vec<_> = all.of_address(address).collect();
                let walked: Vec<_> =
                    list.iter().filter(|entry| entry.address == Some(address)).collect();
                prop_assert_eq!(found, walked);
            }
        }
    }

    #[test]
    fn a_reservation_is_small() {
        assert!(size_of::<Reservation>() <= 72, "{}", size_of::<Reservation>());
    }
}
