//! A table that cannot grow without end: it has a size and an age, and the oldest entry goes first.
//!
//! Holds what packets make a node remember (shadows, notes, links, recent grants). Time is a
//! duration since any fixed moment, as the monotonic clock gives it.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

/// Keyed entries of one age limit and one size limit. Writing an entry makes it the youngest.
#[derive(Debug, Clone)]
pub struct Aged<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Keys by age; an element whose number is not its entry's is a leftover of a rewrite.
    order: VecDeque<(u64, K)>,
    next: u64,
    size: usize,
    age: Duration,
    dropped: u64,
}

#[derive(Debug, Clone)]
struct Entry<V> {
    number: u64,
    written: Duration,
    value: V,
}

impl<K: Clone + Eq + Hash, V> Aged<K, V> {
    /// A table of at most `size` entries that each live for `age` after the last write.
    pub fn new(size: usize, age: Duration) -> Aged<K, V> {
        Aged {
            entries: HashMap::new(),
            order: VecDeque::new(),
            next: 0,
            size: size.max(1),
            age,
            dropped: 0,
        }
    }

    /// The entry of `key`, unless it is too old.
    pub fn get(&self, key: &K, now: Duration) -> Option<&V> {
        self.entries.get(key).filter(|entry| self.is_young(entry, now)).map(|entry| &entry.value)
    }

    /// The entry of `key` for a change that does not make it younger.
    pub fn get_mut(&mut self, key: &K, now: Duration) -> Option<&mut V> {
        let age = self.age;
        self.entries
            .get_mut(key)
            .filter(|entry| now.saturating_sub(entry.written) <= age)
            .map(|entry| &mut entry.value)
    }

    /// When the entry of `key` was last written, unless that is too long ago.
    pub fn written(&self, key: &K, now: Duration) -> Option<Duration> {
        self.entries.get(key).filter(|entry| self.is_young(entry, now)).map(|entry| entry.written)
    }

    /// Writes an entry and returns the younger one it replaces. A full table drops its oldest.
    pub fn insert(&mut self, key: K, value: V, now: Duration) -> Option<V> {
        let number = self.next;
        self.next += 1;
        self.order.push_back((number, key.clone()));
        let age = self.age;
        let old = self.entries.insert(key, Entry { number, written: now, value });
        self.shrink(now);
        old.filter(|entry| now.saturating_sub(entry.written) <= age).map(|entry| entry.value)
    }

    /// The entry of `key`, made if there is none, and made the youngest.
    pub fn touch(&mut self, key: K, now: Duration, make: impl FnOnce() -> V) -> &mut V {
        let value = self.remove(&key).filter(|entry| self.is_young(entry, now));
        let value = value.map_or_else(make, |entry| entry.value);
        self.insert(key.clone(), value, now);
        // The size is at least 1 and the entry is the youngest, so it is there.
        &mut self.entries.get_mut(&key).expect("just inserted").value
    }

    /// Takes the entry of `key` out, unless it is too old.
    pub fn take(&mut self, key: &K, now: Duration) -> Option<V> {
        self.remove(key).filter(|entry| self.is_young(entry, now)).map(|entry| entry.value)
    }

    /// Entries that are not too old, in no particular order.
    pub fn iter(&self, now: Duration) -> impl Iterator<Item = (&K, &V)> {
        self.entries
            .iter()
            .filter(move |(_, entry)| self.is_young(entry, now))
            .map(|(key, entry)| (key, &entry.value))
    }

    /// How many entries there are, those too old but not yet swept among them.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many live entries a full table has dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Forgets entries that are too old.
    pub fn sweep(&mut self, now: Duration) {
        self.shrink(now);
    }

    fn is_young(&self, entry: &Entry<V>, now: Duration) -> bool {
        now.saturating_sub(entry.written) <= self.age
    }

    fn remove(&mut self, key: &K) -> Option<Entry<V>> {
        self.entries.remove(key)
    }

    fn shrink(&mut self, now: Duration) {
        while let Some((number, key)) = self.order.front() {
            let entry = self.entries.get(key).filter(|entry| entry.number == *number);
            let goes = match entry {
                None => true,
                Some(entry) if !self.is_young(entry, now) => true,
                Some(_) => self.entries.len() > self.size,
            };
            if !goes {
                break;
            }
            let live = entry.is_some_and(|entry| self.is_young(entry, now));
            let known = entry.is_some();
            if let Some((_, key)) = self.order.pop_front()
                && known
            {
                self.entries.remove(&key);
                self.dropped += u64::from(live);
            }
        }
        // An old entry at the front keeps leftovers behind it; they may not pile up.
        if self.order.len() > 2 * self.size + 16 {
            let entries = &self.entries;
            self.order.retain(|(number, key)| {
                entries.get(key).is_some_and(|entry| entry.number == *number)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn the_oldest_entry_of_a_full_table_goes_and_is_counted() {
        let mut table = Aged::new(2, s(60));
        table.insert("a", 1, s(0));
        table.insert("b", 2, s(1));
        table.insert("a", 3, s(2));
        table.insert("c", 4, s(3));
        assert_eq!(table.get(&"b", s(3)), None);
        assert_eq!(table.get(&"a", s(3)), Some(&3));
        assert_eq!(table.dropped(), 1);
    }

    #[test]
    fn an_entry_ends_with_its_age_and_costs_no_place_afterwards() {
        let mut table = Aged::new(8, s(60));
        table.insert("a", 1, s(0));
        *table.touch("b", s(5), || 0) += 7;
        assert_eq!(table.get(&"a", s(60)), Some(&1));
        assert_eq!(table.get(&"a", s(61)), None);
        table.sweep(s(61));
        assert_eq!((table.len(), table.dropped()), (1, 0));
        *table.touch("b", s(62), || 0) += 1;
        assert_eq!(table.get(&"b", s(100)), Some(&8));
    }

    #[test]
    fn rewriting_one_entry_for_ever_does_not_grow_the_table() {
        let mut table = Aged::new(4, s(60));
        table.insert(0, 0, s(0));
        for n in 1..10_000 {
            table.insert(1, n, s(0));
        }
        assert!(table.order.len() <= 2 * 4 + 16);
        assert_eq!(table.len(), 2);
    }
}
