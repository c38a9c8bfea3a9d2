//! The replicated machine: what a log entry does to the leases, the configuration and the roster.
//!
//! Read [`command`] for the words, [`State`] for the promises, `apply/lease4.rs` for the rules
//! R1–R9, [`view`] for what others see. Everything here is pure: the same entries give the same
//! state and the same outcomes on every node, on every run.

mod apply;
mod check;
pub mod command;
pub mod feature;
mod lease;
mod leases;
mod meta;
mod outcome;
mod record;
mod runs;
pub mod snapshot;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod view;
pub mod wire;

pub use command::{
    Batch, Client, Command, ConfigVersion, DeleteLease, Generation, GiveUp, Grant, GrantItem,
    Liveness, NodeInfo, Origin, PutLease, PutMode, Reclaim, SetConfig, WallOffset, Why, WipeLeases,
};
pub use lease::{Lease, LeaseState};
pub use leases::{Leases, StateCounts};
pub use meta::{Declines, Meta, NodeEntry, Totals};
pub use outcome::{Granted, Outcome, Taken};
pub use record::{BadRecord, decode_lease, encode_lease};
pub use view::{Availability, Change, Frozen, View, grantable, reserved_for, reserved_for_other};

use crate::types::ClusterTime;

/// The whole replicated machine at one index.
///
/// Invariants, which [`State::check`] holds it to:
///
/// 1. an address has at most one lease, in the table under that address alone (R8);
/// 2. every index of [`Leases`] follows from its table;
/// 3. cluster time never falls, and no lease was granted after it;
/// 4. `expires` ≤ `reserved_until`, and `reserved_until` ≤ `due` while a lease is assigned (R6, R7);
/// 5. no lease has a generation of an entry that is not applied yet;
/// 6. there is a configuration if and only if its version is above 0;
/// 7. the decline log is bounded and its two orders agree.
#[derive(Debug, Clone)]
pub struct State {
    meta: Meta,
    leases: Leases,
}

impl Default for State {
    fn default() -> State {
        State::new()
    }
}

impl State {
    /// The machine before its first entry.
    pub fn new() -> State {
        State { meta: Meta::new(), leases: Leases::default() }
    }

    /// Applies one log entry: each command in order, one outcome for each.
    ///
    /// Total and deterministic. Entries come in the order of the log, each once; an `index` that is
    /// not above the last one is a fault of the caller that nothing here can mend, so it is applied
    /// as the next.
    pub fn apply(&mut self, index: u64, batch: &Batch) -> Vec<Outcome> {
        self.meta.applied = index.max(self.meta.applied);
        self.meta.now = batch.stamp.max(self.meta.now);
        let first = self.meta.applied.saturating_mul(Batch::MAX as u64);
        let place = |at: usize| Generation(first.saturating_add(at as u64));
        batch
            .commands
            .iter()
            .enumerate()
            .map(|(at, command)| self.command(place(at), command))
            .collect()
    }

    /// What others may read, without a copy.
    pub fn view(&self) -> View<'_> {
        View::new(self)
    }

    /// A copy in constant time that later entries leave alone (R22).
    pub fn freeze(&self) -> Frozen {
        Frozen {
            meta: self.meta.clone(),
            table: self.leases.table().clone(),
            counts: self.leases.all_counts().clone(),
            lease_digest: self.leases.digest(),
        }
    }

    /// A hash of everything replicated. Nodes at the same index have the same.
    pub fn digest(&self) -> u64 {
        self.freeze().digest()
    }

    /// The index of the last applied entry.
    pub fn applied(&self) -> u64 {
        self.meta.applied
    }

    /// Cluster time: the last stamp.
    pub fn now(&self) -> ClusterTime {
        self.meta.now
    }
}
