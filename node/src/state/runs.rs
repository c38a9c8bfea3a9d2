//! Runs of neighbouring blocked addresses: "the next address nobody holds" in logarithmic time,
//! also in a pool of a million addresses that is full but for one.

use std::collections::BTreeMap;

/// A set of numbers kept as its maximal runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Runs {
    /// First of a run → last of it. No two runs touch.
    runs: BTreeMap<u32, u32>,
}

impl Runs {
    /// The run that holds `at`.
    fn run_of(&self, at: u32) -> Option<(u32, u32)> {
        let (first, last) = self.runs.range(..=at).next_back()?;
        (*last >= at).then_some((*first, *last))
    }

    /// Whether `at` is in the set.
    #[cfg(test)]
    pub(crate) fn contains(&self, at: u32) -> bool {
        self.run_of(at).is_some()
    }

    /// Adds `at`, which may be there already.
    pub(crate) fn insert(&mut self, at: u32) {
        if self.run_of(at).is_some() {
            return;
        }
        let before = at.checked_sub(1).and_then(|left| self.run_of(left));
        let after = at.checked_add(1).and_then(|right| self.runs.remove(&right));
        let first = before.map_or(at, |(first, _)| first);
        self.runs.insert(first, after.unwrap_or(at));
    }

    /// Takes `at` out, which may be absent.
    pub(crate) fn remove(&mut self, at: u32) {
        let Some((first, last)) = self.run_of(at) else { return };
        if first == at {
            self.runs.remove(&first);
        } else {
            self.runs.insert(first, at - 1);
        }
        if at < last {
            self.runs.insert(at + 1, last);
        }
    }

    /// The smallest number not below `from` that is not in the set.
    pub(crate) fn next_gap(&self, from: u32) -> Option<u32> {
        match self.run_of(from) {
            Some((_, last)) => last.checked_add(1),
            None => Some(from),
        }
    }

    /// How many numbers it holds.
    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.runs.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_are_a_set(steps in prop::collection::vec((0u32..24, any::<bool>(), any::<bool>()), 0..200)) {
            let mut runs = Runs::default();
            let mut model = BTreeSet::new();
            for (at, top, add) in steps {
                let at = if top { u32::MAX - at } else { at };
                if add {
                    runs.insert(at);
                    model.insert(at);
                } else {
                    runs.remove(at);
                    model.remove(&at);
                }
                prop_assert_eq!(runs.count(), model.len() as u64);
                for probe in (0..25).chain(u32::MAX - 25..=u32::MAX) {
                    prop_assert_eq!(runs.contains(probe), model.contains(&probe));
                    let gap = (probe..=probe.saturating_add(64)).find(|x| !model.contains(x));
                    prop_assert_eq!(runs.next_gap(probe), gap);
                }
            }
            let ends: Vec<_> = runs.runs.iter().collect();
            prop_assert!(ends.windows(2).all(|pair| *pair[0].1 + 1 < *pair[1].0));
        }
    }
}
