//! Finds places in a list by a hash that its keeper can work out again: four bytes a place.

/// A hash table of places in a list that the caller keeps: open addressing, 4 bytes a slot, at most
/// three quarters full. Entries are only added.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// Place plus 1; 0 is empty. A power of two of them, or none.
    slots: Box<[u32]>,
    used: usize,
}

impl Index {
    /// Empty, with room for `count` places.
    pub(super) fn with_capacity(count: usize) -> Index {
        let slots = if count == 0 { 0 } else { (count * 4 / 3 + 1).next_power_of_two() };
        Index { slots: vec![0; slots].into(), used: 0 }
    }

    /// Adds a place; `hash` gives the hash of any place in the table. Equal hashes stay in order.
    pub(super) fn insert(&mut self, at: usize, hash: impl Fn(usize) -> u64) {
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
    pub(super) fn candidates(&self, hash: u64) -> impl Iterator<Item = usize> {
        let mask = self.slots.len().wrapping_sub(1);
        let mut slot = hash as usize & mask;
        std::iter::from_fn(move || {
            let place = *self.slots.get(slot)?;
            slot = (slot + 1) & mask;
            (place as usize).checked_sub(1)
        })
    }
}
