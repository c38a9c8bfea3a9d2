//! The reservations of one scope as a document has them: compact, since there may be a million, and
//! found in constant time by identifier and by address. Nothing is changed in it once it is read.

use std::net::Ipv4Addr;
use std::sync::OnceLock;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::host_index::Index;
use super::hosts::Reservation;
use super::model::{IdentifierKind, OptionSet};

/// Reservations, each with its place: its number in the list.
#[derive(Debug, Clone, Default)]
pub(super) struct HostList {
    entries: Vec<Reservation>,
    by_identifier: Index,
    by_address: Index,
    tally: Tally,
    /// See [`HostList::by_hash`], once somebody has asked.
    by_hash: OnceLock<Box<[u32]>>,
}

impl HostList {
    /// None yet, with room for `count`.
    pub(super) fn with_capacity(count: usize) -> HostList {
        HostList {
            entries: Vec::with_capacity(count),
            by_identifier: Index::with_capacity(count),
            by_address: Index::with_capacity(count),
            ..HostList::default()
        }
    }

    /// Adds an entry behind the others. One that has its identifier already is still found first.
    pub(super) fn push(&mut self, entry: Reservation) {
        let at = self.entries.len();
        self.tally.add(&entry);
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
        self.by_hash = OnceLock::new();
    }

    /// The entry at a place.
    pub(super) fn get(&self, place: u64) -> Option<&Reservation> {
        self.entries.get(usize::try_from(place).ok()?)
    }

    /// How many places there are.
    pub(super) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// What they are.
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Where this identifier is, ascending.
    pub(super) fn with_identifier(
        &self,
        kind: IdentifierKind,
        identifier: &[u8],
    ) -> impl Iterator<Item = u64> {
        self.by_identifier
            .candidates(identifier_hash(kind, identifier))
            .filter(move |at| self.entries[*at].is_by(kind, identifier))
            .map(|at| at as u64)
    }

    /// Where this address is reserved, ascending.
    pub(super) fn with_address(&self, address: Ipv4Addr) -> impl Iterator<Item = u64> {
        self.by_address
            .candidates(address_hash(address))
            .filter(move |at| self.entries[*at].address == Some(address))
            .map(|at| at as u64)
    }

    /// Hash of the identifier and place of those whose hash is not below `from`, ascending. The first
    /// to ask waits for a sort.
    pub(super) fn by_hash(&self, from: u64) -> impl Iterator<Item = (u64, u64)> {
        let hash = |at: &u32| self.entries[*at as usize].hash();
        let sorted = self.by_hash.get_or_init(|| {
            let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
            let mut all: Box<[u32]> = (0..count).collect();
            all.sort_by_cached_key(|at| (hash(at), *at));
            all
        });
        let rest = &sorted[sorted.partition_point(|at| hash(at) < from)..];
        rest.iter().map(move |at| (hash(at), u64::from(*at)))
    }
}

/// What some reservations are, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    /// How many.
    pub(super) all: u64,
    /// By kinds of identifiers.
    kinds: [u64; IdentifierKind::COUNT],
    /// Those with an option that is for some classes only.
    pub(super) guarded: u64,
}

impl Tally {
    /// A bit for each kind of identifier that they go by.
    pub(super) fn kinds(&self) -> u8 {
        let bits = self.kinds.iter().enumerate().filter(|(_, count)| **count > 0);
        bits.fold(0, |bits, (kind, _)| bits | 1 << kind)
    }

    pub(super) fn add(&mut self, host: &Reservation) {
        self.all += 1;
        self.kinds[host.kind as usize] += 1;
        self.guarded += u64::from(is_guarded(host.options()));
    }

    pub(super) fn remove(&mut self, host: &Reservation) {
        self.all -= 1;
        self.kinds[host.kind as usize] -= 1;
        self.guarded -= u64::from(is_guarded(host.options()));
    }

    /// Counts those as well.
    pub(super) fn add_all(&mut self, others: &Tally) {
        self.all += others.all;
        self.kinds.iter_mut().zip(others.kinds).for_each(|(sum, count)| *sum += count);
        self.guarded += others.guarded;
    }

    /// Counts those no more, which were counted.
    pub(super) fn remove_all(&mut self, others: &Tally) {
        self.all -= others.all;
        self.kinds.iter_mut().zip(others.kinds).for_each(|(sum, count)| *sum -= count);
        self.guarded -= others.guarded;
    }
}

/// Whether some of the options depend on the classes of a packet.
pub(super) fn is_guarded(options: &OptionSet) -> bool {
    let mut entries = options.spaces().flat_map(|space| options.iter_in(space));
    entries.any(|(_, data)| !data.guard.0.is_empty() || !data.sub_options.is_empty())
}

pub(super) fn bit(kind: IdentifierKind) -> u8 {
    1 << kind as u8
}

/// The same on every node and in every release: places in pages follow from it.
pub(super) fn identifier_hash(kind: IdentifierKind, identifier: &[u8]) -> u64 {
    xxh3_64_with_seed(identifier, kind as u64)
}

fn address_hash(address: Ipv4Addr) -> u64 {
    xxh3_64_with_seed(&address.octets(), 0)
}
