//! A set of addresses that can be counted: "the next address not in it", "the n-th address of a range
//! not in it" and "how many of a range" cost the same in a full pool as in an empty one.
//!
//! Three levels: /16s in a map, and in each the 256 /24s as a table of how many of them are in use, with
//! one bit for those that are full, and one for each address of those that are not empty. So a search
//! steps over what is full without looking at it, a few words at a time, and counting adds up the table.
//! What costs with the size is the number of /16s: 16 for a /12.

use std::collections::BTreeMap;

/// The set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// Address divided by 65 536 → its /16; none is empty.
    sixteens: BTreeMap<u16, Sixteen>,
}

/// The members within a /16.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sixteen {
    /// How many.
    count: u32,
    table: Box<Table>,
}

/// The same by /24.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Table {
    counts: [u16; 256],
    /// Those that are members whole.
    full: Bits,
    /// Those with a member: they have a place in `blocks`, in ascending order.
    used: Bits,
    blocks: Vec<Bits>,
}

impl Default for Table {
    fn default() -> Table {
        Table { counts: [0; 256], full: Bits::default(), used: Bits::default(), blocks: Vec::new() }
    }
}

const SIXTEEN: u32 = 65_536;
const BLOCK: u16 = 256;

/// The address as its /16, the /24 in that, and the place in that.
fn parts(at: u32) -> (u16, u8, u8) {
    let [a, b, block, low] = at.to_be_bytes();
    (u16::from_be_bytes([a, b]), block, low)
}

/// The first address of a /16.
fn start(sixteen: u16) -> u32 {
    u32::from(sixteen) << 16
}

impl Addresses {
    /// Whether `at` is in the set.
    #[cfg(test)]
    pub(crate) fn contains(&self, at: u32) -> bool {
        let (sixteen, block, low) = parts(at);
        self.sixteens.get(&sixteen).is_some_and(|it| it.table.bits(block).get(low))
    }

    /// Adds `at`, which may be there already.
    pub(crate) fn insert(&mut self, at: u32) {
        let (sixteen, block, low) = parts(at);
        let it = self.sixteens.entry(sixteen).or_default();
        it.count += u32::from(it.table.insert(block, low));
    }

    /// Takes `at` out, which may be absent.
    pub(crate) fn remove(&mut self, at: u32) {
        let (sixteen, block, low) = parts(at);
        let Some(it) = self.sixteens.get_mut(&sixteen) else { return };
        it.count -= u32::from(it.table.remove(block, low));
        if it.count == 0 {
            self.sixteens.remove(&sixteen);
        }
    }

    /// The smallest number not below `from` that is not in the set.
    pub(crate) fn next_gap(&self, from: u32) -> Option<u32> {
        let (mut sixteen, mut block, mut low) = parts(from);
        for (at, it) in self.sixteens.range(sixteen..) {
            if *at != sixteen {
                break;
            }
            // Without a look at the table of what is full.
            let gap = (it.count < SIXTEEN).then(|| it.table.next_gap(block, low)).flatten();
            if let Some(gap) = gap {
                return Some(start(sixteen) | u32::from(gap));
            }
            (sixteen, block, low) = (sixteen.checked_add(1)?, 0, 0);
        }
        Some(start(sixteen) | u32::from(block) << 8 | u32::from(low))
    }

    /// How many numbers from `first` to `last` are in the set.
    pub(crate) fn count(&self, first: u32, last: u32) -> u64 {
        if first > last {
            return 0;
        }
        let range = self.sixteens.range(parts(first).0..=parts(last).0);
        range.map(|(at, it)| u64::from(it.count_between(*at, first, last))).sum()
    }

    /// The `n`-th number, from 0, of those from `first` to `last` that are not in the set.
    pub(crate) fn nth_gap(&self, first: u32, last: u32, n: u64) -> Option<u32> {
        if first > last {
            return None;
        }
        // What is searched lies `n` gaps behind `at`.
        let (mut at, mut n) = (u64::from(first), n);
        for (sixteen, it) in self.sixteens.range(parts(first).0..=parts(last).0) {
            let from = start(*sixteen).max(first);
            let to = (start(*sixteen) | 0xffff).min(last);
            let before = u64::from(from) - at;
            if n < before {
                break;
            }
            n -= before;
            let free =
                u64::from(to - from) + 1 - u64::from(it.count_between(*sixteen, first, last));
            if n < free {
                // Below 65 536: it is less than what is free of a /16.
                let gap = it.table.nth_gap((from & 0xffff) as u16, n as u32);
                return Some(start(*sixteen) | u32::from(gap));
            }
            n -= free;
            at = u64::from(to) + 1;
        }
        u32::try_from(at.checked_add(n)?).ok().filter(|at| *at <= last)
    }
}

impl Sixteen {
    /// How many members from `first` to `last` this /16, which is the one of `at`, has.
    fn count_between(&self, at: u16, first: u32, last: u32) -> u32 {
        let (from, to) = (start(at).max(first) & 0xffff, (start(at) | 0xffff).min(last) & 0xffff);
        match (from, to) {
            (0, 0xffff) => self.count,
            _ => self.table.below(to + 1) - self.table.below(from),
        }
    }
}

impl Table {
    /// The members of a /24.
    fn bits(&self, block: u8) -> Bits {
        if self.used.get(block) { self.blocks[self.used.below(block)] } else { Bits::default() }
    }

    /// Whether it was not there.
    fn insert(&mut self, block: u8, low: u8) -> bool {
        let place = self.used.below(block);
        if self.used.set(block) {
            self.blocks.insert(place, Bits::default());
        }
        let is_new = self.blocks[place].set(low);
        let count = &mut self.counts[usize::from(block)];
        *count += u16::from(is_new);
        if *count == BLOCK {
            self.full.set(block);
        }
        is_new
    }

    /// Whether it was there.
    fn remove(&mut self, block: u8, low: u8) -> bool {
        if !self.used.get(block) {
            return false;
        }
        let place = self.used.below(block);
        let was_there = self.blocks[place].clear(low);
        let count = &mut self.counts[usize::from(block)];
        *count -= u16::from(was_there);
        if was_there {
            self.full.clear(block);
        }
        if *count == 0 {
            self.used.clear(block);
            self.blocks.remove(place);
        }
        was_there
    }

    /// The first place from here on that is not a member.
    fn next_gap(&self, block: u8, low: u8) -> Option<u16> {
        let within = |block: u8, low: u8| {
            let low = self.bits(block).next_gap(low)?;
            Some(u16::from_be_bytes([block, low]))
        };
        if let Some(gap) = within(block, low) {
            return Some(gap);
        }
        within(self.full.next_gap(block.checked_add(1)?)?, 0)
    }

    /// How many members lie below `end`, which is at most 65 536.
    fn below(&self, end: u32) -> u32 {
        let whole = (end >> 8) as usize;
        let sum: u32 = self.counts[..whole].iter().map(|count| u32::from(*count)).sum();
        match (end & 0xff) as u8 {
            0 => sum,
            low => sum + self.bits(whole as u8).below(low) as u32,
        }
    }

    /// The `n`-th place from `from` on that is not a member. There must be so many.
    fn nth_gap(&self, from: u16, n: u32) -> u16 {
        // Counted from the beginning of the /16.
        let mut n = n + u32::from(from) - self.below(from.into());
        let mut block = 0;
        // Sixteen /24s at a step, then one.
        for counts in self.counts.chunks_exact(16) {
            let used: u16 = counts.iter().sum();
            let free = 16 * u32::from(BLOCK) - u32::from(used);
            if n < free {
                break;
            }
            n -= free;
            block += 16;
        }
        for count in self.counts.get(block..).unwrap_or_default() {
            let free = u32::from(BLOCK - count);
            if n < free {
                break;
            }
            n -= free;
            block += 1;
        }
        let block = block.min(255) as u8;
        u16::from_be_bytes([block, self.bits(block).nth_gap(n)])
    }
}

/// A set of 256 places.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Bits([u64; 4]);

impl Bits {
    fn get(&self, at: u8) -> bool {
        self.0[usize::from(at >> 6)] & 1 << (at & 63) != 0
    }

    /// Adds it; whether it was not there.
    fn set(&mut self, at: u8) -> bool {
        let is_new = !self.get(at);
        self.0[usize::from(at >> 6)] |= 1 << (at & 63);
        is_new
    }

    /// Takes it out; whether it was there.
    fn clear(&mut self, at: u8) -> bool {
        let was_there = self.get(at);
        self.0[usize::from(at >> 6)] &= !(1 << (at & 63));
        was_there
    }

    /// How many there are below `at`.
    fn below(&self, at: u8) -> usize {
        let word = usize::from(at >> 6);
        let whole: u32 = self.0[..word].iter().map(|bits| bits.count_ones()).sum();
        let rest = self.0[word] & ((1 << (at & 63)) - 1);
        (whole + rest.count_ones()) as usize
    }

    /// The lowest place from `from` on that is not in it.
    fn next_gap(&self, from: u8) -> Option<u8> {
        let first = usize::from(from >> 6);
        let gaps = |word: usize| match word == first {
            true => !self.0[word] & u64::MAX << (from & 63),
            false => !self.0[word],
        };
        let word = (first..4).find(|word| gaps(*word) != 0)?;
        Some((word * 64) as u8 + gaps(word).trailing_zeros() as u8)
    }

    /// The `n`-th place that is not in it. There must be so many.
    fn nth_gap(&self, n: u32) -> u8 {
        let mut n = n;
        for (word, bits) in (0u8..).zip(self.0) {
            let free = bits.count_zeros();
            if n < free {
                let mut gaps = !bits;
                for _ in 0..n {
                    gaps &= gaps - 1;
                }
                return word * 64 + gaps.trailing_zeros() as u8;
            }
            n -= free;
        }
        u8::MAX
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

    /// The `n`-th number between that the model lacks, by walking over what it has.
    fn nth_gap(model: &BTreeSet<u32>, first: u32, last: u32, n: u64) -> Option<u32> {
        let (mut at, mut n) = (u64::from(first), n);
        for member in model.range(first..=last) {
            let gaps = u64::from(*member) - at;
            if n < gaps {
                break;
            }
            n -= gaps;
            at = u64::from(*member) + 1;
        }
        u32::try_from(at + n).ok().filter(|at| *at <= last)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

        /// Three /16s that are full but for some, which come and go.
        #[test]
        fn a_full_pool_counts_and_finds_its_gaps(
            steps in prop::collection::vec((0u32..0x3_0000, any::<bool>()), 1..300),
            probes in prop::collection::vec((0u32..0x3_0000, 0u32..0x3_0000, any::<u16>()), 1..40),
        ) {
            const FIRST: u32 = 0x0a00_0000;
            let mut set = Addresses::default();
            (0..0x3_0000).for_each(|n| set.insert(FIRST + n));
            let mut gaps = BTreeSet::new();
            for (n, leave) in steps {
                if leave {
                    set.remove(FIRST + n);
                    gaps.insert(FIRST + n);
                } else {
                    set.insert(FIRST + n);
                    gaps.remove(&(FIRST + n));
                }
            }
            for (one, other, n) in probes {
                let (first, last) = (FIRST + one.min(other), FIRST + one.max(other));
                let between: Vec<u32> = gaps.range(first..=last).copied().collect();
                let next = gaps.range(first..).next().copied().unwrap_or(FIRST + 0x3_0000);
                prop_assert_eq!(set.next_gap(first), Some(next));
                let count = u64::from(last - first) + 1 - between.len() as u64;
                prop_assert_eq!(set.count(first, last), count);
                let n = usize::from(n) % (between.len() + 1);
                prop_assert_eq!(set.nth_gap(first, last, n as u64), between.get(n).copied());
            }
        }
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
                for n in [0, 1, 300, free / 3, free / 2, free.saturating_sub(1), free] {
                    prop_assert_eq!(set.nth_gap(first, last, n), nth_gap(&model, first, last, n));
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
