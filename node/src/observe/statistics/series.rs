//! Named time series, as Kea keeps its statistics: pure, and bounded whatever is asked of it.
//!
//! A row exists only for a name that has been other than 0 or was given a limit of its own, so that
//! thousands of subnets in which nothing happens cost nothing. Kea adds a sample at every write; here
//! one is added when somebody looks, and only if the value has changed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::names::Name;

/// The most samples of all series together: 4 MiB. Where names are so many that this is not enough,
/// each keeps fewer, and two at most in the end.
pub const MOST_SAMPLES: usize = 1 << 18;
/// Kea's number of samples for each name.
pub const USUAL: usize = 20;

/// A value and since when it is so, Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The value.
    pub value: u64,
    /// When.
    pub at: i64,
}

/// How many samples are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So many.
    Count(usize),
    /// Those not older than this.
    Age(Duration),
}

impl Limit {
    /// What `statistic-default-sample-count` and `-age` come to: a count of 0 leaves it to the age.
    pub fn configured(count: u32, age: u32) -> Limit {
        match count {
            0 => Limit::Age(Duration::from_secs(age.into())),
            count => Limit::Count(usize::try_from(count).unwrap_or(usize::MAX)),
        }
    }
}

/// What a reader says of a name at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Its name.
    pub name: Name,
    /// What it has counted since the start of its counter, whatever was reset.
    pub value: u64,
}

/// All series.
#[derive(Debug)]
pub struct Series {
    rows: BTreeMap<Name, Row>,
    samples: usize,
    usual: Limit,
    /// When the counters began, Unix milliseconds.
    since: i64,
}

/// One series. What most names never have is behind a pointer.
#[derive(Debug, Default)]
struct Row {
    /// The newest first.
    samples: VecDeque<Sample>,
    set: Option<Box<Set>>,
}

/// What somebody asked for.
#[derive(Debug, Clone, Copy, Default)]
struct Set {
    limit: Option<Limit>,
    /// What had been counted when the counter was reset.
    offset: u64,
    /// What had been counted when the name was removed: until it counts on, it is not there.
    removed: Option<u64>,
}

impl Row {
    fn set(&mut self) -> &mut Set {
        self.set.get_or_insert_default()
    }

    fn asked(&self) -> Set {
        self.set.as_deref().copied().unwrap_or_default()
    }

    /// What the value is called after a reset; `None` while the name is removed.
    fn shown(&self, reading: Reading) -> Option<u64> {
        let Set { offset, removed, .. } = self.asked();
        let there = removed.is_none_or(|at| at != reading.value);
        // A counter that was dropped with its subnet and began anew counts from 0.
        there.then(|| reading.value.checked_sub(offset).unwrap_or(reading.value))
    }
}

impl Series {
    /// Nothing yet; counters count from `since`.
    pub fn new(since: i64) -> Series {
        Series { rows: BTreeMap::new(), samples: 0, usual: Limit::Count(USUAL), since }
    }

    /// How many samples are kept.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// How many names have a row.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The limit for names without one of their own.
    pub fn set_usual(&mut self, limit: Limit) {
        self.usual = limit;
    }

    /// Takes a sample if there is news.
    pub fn observe(&mut self, reading: Reading, now: i64) {
        let is_new = !self.rows.contains_key(&reading.name);
        if is_new && reading.value == 0 {
            return;
        }
        let (usual, most, since) = (self.usual, self.most(), self.since);
        let row = self.rows.entry(reading.name).or_default();
        let Some(value) = row.shown(reading) else { return };
        if let Some(set) = row.set.as_deref_mut() {
            set.removed = None;
        }
        if row.samples.front().is_some_and(|newest| newest.value == value) {
            return;
        }
        let before = row.samples.len();
        // What a node counts began at 0 when the node did.
        if is_new && reading.name.stat.is_of_node() {
            row.samples.push_front(Sample { value: 0, at: since });
        }
        row.samples.push_front(Sample { value, at: now });
        trim(row, usual, most, now);
        self.samples = self.samples + row.samples.len() - before;
        if self.samples > MOST_SAMPLES.max(2 * self.rows.len()) {
            self.squeeze(now);
        }
    }

    /// There are more names than there were when the long series grew.
    fn squeeze(&mut self, now: i64) {
        let (usual, most) = (self.usual, (self.most() / 2).max(1));
        self.samples = 0;
        for row in self.rows.values_mut() {
            trim(row, usual, most, now);
            self.samples += row.samples.len();
        }
    }

    /// The samples of a name, the newest first and never none; `None` while the name is removed.
    pub fn read(&self, reading: Reading, now: i64) -> Option<Vec<Sample>> {
        let Some(row) = self.rows.get(&reading.name) else {
            let zero = reading.value == 0;
            let at = if zero { self.since } else { now };
            return Some(vec![Sample { value: reading.value, at }]);
        };
        let value = row.shown(reading)?;
        let mut samples: Vec<Sample> = row.samples.iter().copied().collect();
        if samples.first().is_none_or(|newest| newest.value != value) {
            let at = if value == 0 && samples.is_empty() { self.since } else { now };
            samples.insert(0, Sample { value, at });
        }
        let limit = row.asked().limit.unwrap_or(self.usual);
        samples.truncate(kept(samples.iter(), limit, self.most(), now));
        Some(samples)
    }

    /// Lets a counter of this node begin at 0 again. Whether the name is there.
    pub fn reset(&mut self, reading: Reading, now: i64) -> bool {
        if self.read(reading, now).is_none() {
            return false;
        }
        if !reading.name.stat.is_of_node() {
            // It is what it is, on every node.
            return true;
        }
        // What has never counted is at its start.
        if reading.value == 0 && !self.rows.contains_key(&reading.name) {
            return true;
        }
        let row = self.rows.entry(reading.name).or_default();
        self.samples -= row.samples.len();
        let set = row.set();
        (set.offset, set.removed) = (reading.value, None);
        row.samples = VecDeque::from([Sample { value: 0, at: now }]);
        self.samples += 1;
        true
    }

    /// Forgets a name until it changes. Whether it was there.
    pub fn remove(&mut self, reading: Reading, now: i64) -> bool {
        if self.read(reading, now).is_none() {
            return false;
        }
        let row = self.rows.entry(reading.name).or_default();
        self.samples -= row.samples.len();
        row.samples = VecDeque::new();
        let offset = if reading.name.stat.is_of_node() { reading.value } else { 0 };
        *row.set() = Set { limit: None, offset, removed: Some(reading.value) };
        true
    }

    /// Gives a name a limit of its own. Whether the name is there.
    pub fn limit(&mut self, reading: Reading, limit: Limit, now: i64) -> bool {
        if self.read(reading, now).is_none() {
            return false;
        }
        let (usual, most) = (self.usual, self.most());
        let row = self.rows.entry(reading.name).or_default();
        row.set().limit = Some(limit);
        self.samples -= row.samples.len();
        trim(row, usual, most, now);
        self.samples += row.samples.len();
        true
    }

    /// One limit for all names, now and to come.
    pub fn limit_all(&mut self, limit: Limit, now: i64) {
        self.usual = limit;
        let most = self.most();
        self.samples = 0;
        for row in self.rows.values_mut() {
            if let Some(set) = row.set.as_deref_mut() {
                set.limit = None;
            }
            trim(row, limit, most, now);
            self.samples += row.samples.len();
        }
    }

    /// Forgets names that can no longer be, such as those of subnets that are gone.
    pub fn retain(&mut self, exists: impl Fn(&Name) -> bool) {
        self.rows.retain(|name, _| exists(name));
        self.samples = self.rows.values().map(|row| row.samples.len()).sum();
    }

    /// The most samples that one series may have.
    fn most(&self) -> usize {
        (MOST_SAMPLES / self.rows.len().max(1)).max(1)
    }
}

/// How many of `samples`, the newest first, are to be kept. The newest always is.
fn kept<'a>(
    samples: impl ExactSizeIterator<Item = &'a Sample>,
    limit: Limit,
    most: usize,
    now: i64,
) -> usize {
    let length = samples.len();
    let by_limit = match limit {
        Limit::Count(count) => count,
        Limit::Age(age) => {
            let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            samples.take_while(|sample| now.saturating_sub(sample.at) <= age).count()
        }
    };
    by_limit.min(most).clamp(1, length.max(1))
}

fn trim(row: &mut Row, usual: Limit, most: usize, now: i64) {
    let limit = row.asked().limit.unwrap_or(usual);
    let keep = kept(row.samples.iter(), limit, most, now);
    row.samples.truncate(keep);
    // A long series that was cut gives its room back.
    if row.samples.capacity() > 2 * keep.max(4) {
        row.samples.shrink_to_fit();
    }
}

#[cfg(test)]
#[path = "series_tests.rs"]
mod tests;
