//! A set of addresses that can be counted: "the next address not in it", "the n-th address of a range
//! not in it" and "how many of a range" cost the same in a full pool as in an empty one.
//!
//! One bit for each address of a /24 in use, and a count for each /24 and /16. A walk skips what is
//! full or empty: at most 256 of each kind within a /8.

use std::collections::BTreeMap;

/// The set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// Address divided by 256 → its /24; none is empty.
    blocks: BTreeMap<u32, Block>,
    /// Address divided by 65 536 → how many of it are in the set; none is zero.
    counts: BTreeMap<u16, u32>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Block {
    bits: [u64; 4],
    count: u16,
}

impl Block {
    fn get(&self, low: u8) -> bool {
        self.bits[usize::from(low >> 6)] & 1 << (low & 63) != 0
    }

    /// The members from `from` on as bits of a word, for the word that `from` lies in.
    fn word_from(&self, from: u8) -> u64 {
        self.bits[usize::from(from >> 6)] >> (from & 63)
    }

    /// The lowest address from `from` on that is not a member.
    fn next_gap(&self, from: u8) -> Option<u8> {
        let first = self.word_from(from).trailing_ones();
        if u32::from(from & 63) + first < 64 {
            return Some(from + first as u8);
        }
        let rest = usize::from(from >> 6) + 1..4;
        let word = rest.clone().find(|word| self.bits[*word] != u64::MAX)?;
        Some((word * 64) as u8 + self.bits[word].trailing_ones() as u8)
    }

    /// How many members there are from `first` to `last`.
    fn count(&self, first: u8, last: u8) -> u32 {
        (0..4u8)
            .map(|word| {
                let (low, high) = (word * 64, word * 64 + 63);
                if last < low || high < first {
                    return 0;
                }
                let (from, to) = (first.max(low) - low, last.min(high) - low);
                let mask = u64::MAX << from & u64::MAX >> (63 - to);
                (self.bits[usize::from(word)] & mask).count_ones()
            })
            .sum()
    }
}

const FULL_BLOCK: u16 = 256;
const FULL_COUNT: u32 = 65_536;

fn low(at: u32) -> u8 {
    (at & 0xff) as u8
}

impl Addresses {
    /// Whether `at` is in the set.
    #[cfg(test)]
    pub(crate) fn contains(&self, at: u32) -> bool {
        self.blocks.get(&(at >> 8)).is_some_and(|block| block.get(low(at)))
    }

    /// Adds `at`, which may be there already.
    pub(crate) fn insert(&mut self, at: u32) {
        let block = self.blocks.entry(at >> 8).or_default();
        if !block.get(low(at)) {
            block.bits[usize::from(low(at) >> 6)] |= 1 << (at & 63);
            block.count += 1;
            *self.counts.entry((at >> 16) as u16).or_default() += 1;
        }
    }

    /// Takes `at` out, which may be absent.
    pub(crate) fn remove(&mut self, at: u32) {
        let Some(block) = self.blocks.get_mut(&(at >> 8)).filter(|block| block.get(low(at))) else {
            return;
        };
        block.bits[usize::from(low(at) >> 6)] &= !(1 << (at & 63));
        block.count -= 1;
        if block.count == 0 {
            self.blocks.remove(&(at >> 8));
        }
        let sixteen = (at >> 16) as u16;
        if let Some(count) = self.counts.get_mut(&sixteen) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&sixteen);
            }
        }
    }

    /// The smallest number not below `from` that is not in the set.
    pub(crate) fn next_gap(&self, from: u32) -> Option<u32> {
        let mut at = from;
        loop {
            let block = match self.blocks.get(&(at >> 8)) {
                None => return Some(at),
                Some(block) => block,
            };
            if let Some(gap) = block.next_gap(low(at)) {
                return Some(at & !0xff | u32::from(gap));
            }
            // This /24 is full from here on: behind it, whole /16 and /24 are skipped by their counts.
            at = (at | 0xff).checked_add(1)?;
            while at & 0xffff == 0 && self.counts.get(&((at >> 16) as u16)) == Some(&FULL_COUNT) {
                at = (at | 0xffff).checked_add(1)?;
            }
            let end = (at >> 8 | 0xff) + 1;
            for (block, full) in self.blocks.range(at >> 8..end) {
                if *block != at >> 8 || full.count < FULL_BLOCK {
                    break;
                }
                at = (at | 0xff).checked_add(1)?;
            }
        }
    }

    /// How many numbers from `first` to `last` are in the set.
    pub(crate) fn count(&self, first: u32, last: u32) -> u64 {
        if first > last {
            return 0;
        }
        let (from, to) = ((first >> 16) as u16, (last >> 16) as u16);
        if from == to {
            return self.count_blocks(first, last);
        }
        let middle: u64 = match (from.checked_add(1), to.checked_sub(1)) {
            (Some(from), Some(to)) if from <= to => {
                self.counts.range(from..=to).map(|(_, count)| u64::from(*count)).sum()
            }
            _ => 0,
        };
        self.count_blocks(first, first | 0xffff) + middle + self.count_blocks(last & !0xffff, last)
    }

    /// [`Addresses::count`] within one /16.
    fn count_blocks(&self, first: u32, last: u32) -> u64 {
        if first & 0xffff == 0 && last & 0xffff == 0xffff {
            return self.counts.get(&((first >> 16) as u16)).map_or(0, |count| u64::from(*count));
        }
        let inside = |(at, block): (&u32, &Block)| {
            let from = if *at == first >> 8 { low(first) } else { 0 };
            let to = if *at == last >> 8 { low(last) } else { 0xff };
            match (from, to) {
                (0, 0xff) => u64::from(block.count),
                _ => u64::from(block.count(from, to)),
            }
        };
        self.blocks.range(first >> 8..=last >> 8).map(inside).sum()
    }

    /// The `n`-th number, from 0, of those from `first` to `last` that are not in the set.
    pub(crate) fn nth_gap(&self, first: u32, last: u32, n: u64) -> Option<u32> {
        let mut n = n;
        let mut at = first;
        // By /16, then by /24, then by address; each step leaves a range with the number in it.
        loop {
            let end = (at | 0xffff).min(last);
            let free = u64::from(end - at) + 1 - self.count(at, end);
            if n < free {
                break;
            }
            n -= free;
            at = end.checked_add(1).filter(|at| *at <= last)?;
        }
        let mut blocks = self.blocks.range(at >> 8..=(at | 0xffff).min(last) >> 8).peekable();
        loop {
            let end = (at | 0xff).min(last);
            let block = blocks.next_if(|(block, _)| **block == at >> 8);
            let used = block.map_or(0, |(_, block)| block.count(low(at), low(end)));
            let free = u64::from(end - at) + 1 - u64::from(used);
            if n < free {
                break;
            }
            n -= free;
            at = end.checked_add(1).filter(|at| *at <= last)?;
        }
        let end = (at | 0xff).min(last);
        let block = self.blocks.get(&(at >> 8)).copied().unwrap_or_default();
        let mut free = (at..=end).filter(|at| !block.get(low(*at)));
        free.nth(usize::try_from(n).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Places around the borders of words, /24, /16 and of all.
    fn any_place() -> impl Strategy<Value = u32> {
        let base = prop::sample::select(vec![0u32, 0x1_0000, 0x1_ff00, 0xffff_0000]);
        let offset = prop_oneof![0u32..4, 60u32..70, 250u32..262, 0xfefcu32..=0xffff];
        (base, offset).prop_map(|(base, offset)| base.saturating_add(offset))
    }

    proptest! {
        #[test]
        fn addresses_are_a_set_that_counts(
            steps in prop::collection::vec((any_place(), any::<bool>()), 0..120),
            runs in prop::collection::vec((any_place(), 1u32..700), 0..3),
            probes in prop::collection::vec((any_place(), any_place()), 1..20),
        ) {
            let mut set = Addresses::default();
            let mut model = BTreeSet::new();
            for (first, len) in runs {
                for at in (first..=u32::MAX).take(len as usize) {
                    set.insert(at);
                    model.insert(at);
                }
            }
            for (at, add) in steps {
                if add {
                    set.insert(at);
                    model.insert(at);
                } else {
                    set.remove(at);
                    model.remove(&at);
                }
            }
            for (first, last) in probes {
                prop_assert_eq!(set.contains(first), model.contains(&first));
                let gap = (first..=u32::MAX).find(|at| !model.contains(at));
                prop_assert_eq!(set.next_gap(first), gap);
                let (first, last) = (first.min(last), first.max(last));
                let count = model.range(first..=last).count() as u64;
                prop_assert_eq!(set.count(first, last), count);
                let free = u64::from(last - first) + 1 - count;
                if free < 3_000 {
                    let gaps: Vec<u32> = (first..=last).filter(|at| !model.contains(at)).collect();
                    for n in [0, 1, free / 2, free.saturating_sub(1), free] {
                        prop_assert_eq!(set.nth_gap(first, last, n), gaps.get(n as usize).copied());
                    }
                }
            }
            let mut fresh = Addresses::default();
            model.iter().for_each(|at| fresh.insert(*at));
            prop_assert_eq!(set, fresh, "one form for one set");
        }
    }

    #[test]
    fn a_full_range_is_skipped_whole() {
        let mut set = Addresses::default();
        (0x0a00_0000..0x0a03_0000u32).for_each(|at| set.insert(at));
        assert_eq!(set.next_gap(0x0a00_0005), Some(0x0a03_0000));
        assert_eq!(set.count(0x0a00_0001, 0x0a02_fffe), 0x3_0000 - 2);
        set.remove(0x0a02_1234);
        assert_eq!(set.next_gap(0x0a00_0005), Some(0x0a02_1234));
        assert_eq!(set.nth_gap(0x0a00_0000, 0x0aff_ffff, 0), Some(0x0a02_1234));
        assert_eq!(set.nth_gap(0x0a00_0000, 0x0aff_ffff, 3), Some(0x0a03_0002));
    }
}
