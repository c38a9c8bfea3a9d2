//! Addresses by a hash of whom they belong to: found in constant time, ascending where there are several.
//!
//! A client has one lease, as a rule, so a hash table has one address for each hash, the lowest; only where
//! a hash has more do the others lie in a tree. So however many addresses share a hash, by
//! chance, or since somebody sends many identifiers of his with one hardware address, or
//! looks for collisions, none is found more slowly than in the tree.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;
use std::sync::OnceLock;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A hash under which addresses are kept; of use in this process only, so that nobody outside can
/// prepare what collides. Different keys may share one: readers compare the lease itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hash(u32);

impl Hash {
    /// The hash of a key.
    pub(super) fn of(key: &[u8]) -> Hash {
        static SEED: OnceLock<u64> = OnceLock::new();
        let seed = *SEED.get_or_init(|| RandomState::new().hash_one(0));
        Hash(xxh3_64_with_seed(key, seed) as u32 >> 1)
    }

    /// As the hash table needs it, which looks at the lowest bits and at the highest.
    fn spread(self) -> u64 {
        u64::from(self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// The lowest address of a hash, in 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct First {
    /// In the highest bit whether the hash has more addresses.
    hash: u32,
    address: u32,
}

const MORE: u32 = 1 << 31;

impl First {
    fn hash(self) -> Hash {
        Hash(self.hash & !MORE)
    }

    fn has_more(self) -> bool {
        self.hash & MORE != 0
    }

    fn set_more(&mut self, more: bool) {
        self.hash = self.hash & !MORE | if more { MORE } else { 0 };
    }
}

/// The index.
#[derive(Debug, Clone, Default)]
pub(super) struct ByHash {
    firsts: HashTable<First>,
    /// The addresses of a hash but for its lowest.
    others: BTreeSet<(Hash, u32)>,
}

impl ByHash {
    /// Of many at once; none may be there twice.
    pub(super) fn collect(all: Vec<(Hash, Ipv4Addr)>) -> ByHash {
        let firsts = HashTable::with_capacity(all.len());
        let mut index = ByHash { firsts, ..ByHash::default() };
        all.into_iter().for_each(|(hash, address)| index.insert(hash, address));
        index
    }

    /// Puts an address under another hash, or under one for the first time, or takes it out.
    pub(super) fn replace(&mut self, address: Ipv4Addr, old: Option<Hash>, new: Option<Hash>) {
        if old == new {
            return;
        }
        if let Some(old) = old {
            self.remove(old, address);
        }
        if let Some(new) = new {
            self.insert(new, address);
        }
    }

    /// Adds an address, which must not be there under this hash.
    fn insert(&mut self, hash: Hash, address: Ipv4Addr) {
        let address = u32::from(address);
        let is_it = |first: &First| first.hash() == hash;
        match self.firsts.entry(hash.spread(), is_it, |first| first.hash().spread()) {
            Entry::Vacant(place) => {
                place.insert(First { hash: hash.0, address });
            }
            Entry::Occupied(mut first) => {
                let first = first.get_mut();
                let (low, high) = (first.address.min(address), first.address.max(address));
                first.address = low;
                first.set_more(true);
                self.others.insert((hash, high));
            }
        }
    }

    /// Takes an address out, which may be absent.
    fn remove(&mut self, hash: Hash, address: Ipv4Addr) {
        let address = u32::from(address);
        let is_it = |first: &First| first.hash() == hash;
        let Ok(mut first) = self.firsts.find_entry(hash.spread(), is_it) else { return };
        let next = |others: &BTreeSet<(Hash, u32)>| {
            others.range((hash, 0)..=(hash, u32::MAX)).next().copied()
        };
        if first.get().address != address {
            self.others.remove(&(hash, address));
            first.get_mut().set_more(next(&self.others).is_some());
            return;
        }
        let lowest = first.get().has_more().then(|| next(&self.others)).flatten();
        let Some(lowest) = lowest else {
            first.remove();
            return;
        };
        self.others.remove(&lowest);
        first.get_mut().address = lowest.1;
        first.get_mut().set_more(next(&self.others).is_some());
    }

    /// The addresses of a hash, ascending.
    pub(super) fn get(&self, hash: Hash) -> impl Iterator<Item = Ipv4Addr> {
        let first = self.firsts.find(hash.spread(), |first| first.hash() == hash).copied();
        let others = first
            .filter(|first| first.has_more())
            .map(|_| self.others.range((hash, 0)..=(hash, u32::MAX)).map(|(_, address)| *address));
        let all = first.map(|first| first.address).into_iter().chain(others.into_iter().flatten());
        all.map(Ipv4Addr::from)
    }
}

impl PartialEq for ByHash {
    fn eq(&self, other: &ByHash) -> bool {
        let has =
            |first: &First| other.firsts.find(first.hash().spread(), |it| it == first).is_some();
        self.others == other.others
            && self.firsts.len() == other.firsts.len()
            && self.firsts.iter().all(has)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is put in and taken out, it has what a plain sorted set has; with few hashes,
        /// so that they have many addresses each.
        #[test]
        fn it_finds_what_a_sorted_set_finds(
            steps in prop::collection::vec((any::<bool>(), 0..4u32, 0..12u32), 0..200),
        ) {
            let (mut index, mut model) = (ByHash::default(), BTreeSet::new());
            for (put, hash, address) in steps {
                let hash = Hash(hash);
                match put && model.insert((hash, address)) {
                    true => index.insert(hash, address.into()),
                    false if !put => {
                        model.remove(&(hash, address));
                        index.remove(hash, address.into());
                    }
                    false => {}
                }
                for hash in (0..5).map(Hash) {
                    let found: Vec<u32> = index.get(hash).map(u32::from).collect();
                    let all = model.range((hash, 0)..=(hash, u32::MAX)).map(|(_, it)| *it);
                    prop_assert_eq!(found, all.collect::<Vec<_>>());
                }
                let again = model.iter().map(|(hash, address)| (*hash, (*address).into()));
                prop_assert!(index == ByHash::collect(again.rev().collect()));
            }
            let firsts: BTreeSet<Hash> = model.iter().map(|(hash, _)| *hash).collect();
            prop_assert_eq!(index.firsts.len(), firsts.len());
            if model.insert((Hash(0), 99)) {
                let more = model.into_iter().map(|(hash, address)| (hash, address.into()));
                prop_assert!(index != ByHash::collect(more.collect()));
            }
        }
    }
}
