//! What a run noticed: its story, and every promise that was broken.

use std::collections::BTreeMap;

use super::Breach;
use super::faults::Fault;

/// The notes of a run.
#[derive(Debug, Default)]
pub struct Noticed {
    /// Promises that were broken.
    pub breaches: Vec<Breach>,
    /// What happened, for whoever reads a failure.
    pub story: Vec<String>,
    /// When which fault came.
    pub faults: Vec<(u64, Fault)>,
    /// From when to when clients did nothing of their own accord.
    pub quiet: Vec<(u64, u64)>,
    /// By index: the hash of the machine, and the node that had it first.
    digests: BTreeMap<u64, (u64, u64)>,
}

/// So many indexes are remembered: nodes that are further apart are compared when they meet.
const DIGESTS: usize = 4_096;

impl Noticed {
    /// Something happened.
    pub fn tell(&mut self, at: u64, what: String) {
        self.story.push(format!("{at:>8} ms {what}"));
    }

    /// A promise was broken.
    pub fn breach(&mut self, at: u64, promise: &'static str, what: String) {
        self.tell(at, format!("BREACH {promise}: {what}"));
        self.breaches.push(Breach { promise, what, at });
    }

    /// Clients do nothing of their own accord from now on, or go on.
    pub fn quiet(&mut self, at: u64, quiet: bool) {
        match self.quiet.last_mut().filter(|(_, until)| *until == u64::MAX) {
            Some((_, until)) if !quiet => *until = at,
            None if quiet => self.quiet.push((at, u64::MAX)),
            _ => {}
        }
    }

    /// Machines at one index are equal, whenever and wherever.
    pub fn compare(&mut self, at: u64, node: u64, index: u64, digest: u64) {
        let (first, by) = *self.digests.entry(index).or_insert((digest, node));
        if self.digests.len() > DIGESTS {
            self.digests.pop_first();
        }
        if first != digest {
            self.breach(at, "agreement", format!("nodes {by} and {node} differ at index {index}"));
        }
    }
}
