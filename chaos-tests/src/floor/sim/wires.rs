//! The wires: between nodes, and between nodes and clients. They delay, lose and cut.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leasehold::raft::local::Fate;

use super::dice::Dice;

/// The most that a packet between a client and a node is late, in milliseconds.
pub const LATEST_MS: u64 = 15;

/// The wires of a run. Clones are the same wires. Nodes are numbered from 1.
#[derive(Debug, Clone)]
pub struct Wires(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dice: Dice,
    faults: Mutex<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    /// From and to.
    cut: BTreeSet<(u64, u64)>,
    /// Nodes that are off: nothing comes from them or reaches them.
    off: BTreeSet<u64>,
    loss_per_mille: u64,
    slow_ms: u64,
}

impl Wires {
    /// Whole wires.
    pub fn new(dice: Dice) -> Wires {
        Wires(Arc::new(Inner { dice, faults: Mutex::default() }))
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.0.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens to a message between nodes. None: it is lost.
    pub fn cross(&self, from: u64, to: u64) -> Option<Duration> {
        let dice = &self.0.dice;
        let faults = self.faults();
        let gone = faults.cut.contains(&(from, to))
            || faults.off.contains(&from)
            || faults.off.contains(&to);
        if gone || dice.chance(faults.loss_per_mille) {
            return None;
        }
        let outlier = if dice.chance(3) { dice.between(20, 150) } else { 0 };
        Some(Duration::from_millis(dice.between(0, 2) + dice.between(0, faults.slow_ms) + outlier))
    }

    /// As [`Wires::cross`], in Raft's words.
    pub fn fate(&self, from: u64, to: u64) -> Fate {
        self.cross(from, to).map_or(Fate::Lost, Fate::Arrives)
    }

    /// What happens to a packet between a client and a node: how late each copy of it comes. No later than a client moves on, because
    /// a packet that is older than the client's next word is the client's own contradiction.
    pub fn deliver(&self, node: u64) -> Vec<Duration> {
        let dice = &self.0.dice;
        if self.faults().off.contains(&node) || dice.chance(30) {
            return Vec::new();
        }
        let copies = if dice.chance(30) { 2 } else { 1 };
        (0..copies).map(|_| Duration::from_millis(dice.between(0, LATEST_MS))).collect()
    }

    /// Whether two nodes can speak with each other.
    pub fn are_joined(&self, a: u64, b: u64) -> bool {
        let faults = self.faults();
        let off = faults.off.contains(&a) || faults.off.contains(&b);
        !off && !faults.cut.contains(&(a, b)) && !faults.cut.contains(&(b, a))
    }

    /// Cuts what `from` sends to `to`.
    pub fn cut(&self, from: u64, to: u64) {
        self.faults().cut.insert((from, to));
    }

    /// Loses so many of a thousand messages between nodes and delays the others by up to so long.
    pub fn storm(&self, loss_per_mille: u64, slow_ms: u64) {
        let mut faults = self.faults();
        (faults.loss_per_mille, faults.slow_ms) = (loss_per_mille, slow_ms);
    }

    /// Takes away every cut and the storm.
    pub fn heal(&self) {
        let mut faults = self.faults();
        faults.cut.clear();
        (faults.loss_per_mille, faults.slow_ms) = (0, 0);
    }

    /// A node goes off or comes on.
    pub fn off(&self, node: u64, off: bool) {
        let mut faults = self.faults();
        if off {
            faults.off.insert(node);
        } else {
            faults.off.remove(&node);
        }
    }
}
