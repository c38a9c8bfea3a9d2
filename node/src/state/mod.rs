//! The replicated machine: what a log entry does to the leases, the configuration and the roster.
//!
//! Read [`command`] for the words, [`State`] for the promises, `apply/lease4.rs` for the rules
//! R1–R9, [`view`] for what others see. Everything here is pure: the same entries give the same
//! state and the same outcomes on every node, on every run.

mod addresses;
mod apply;
mod by_hash;
mod check;
pub mod command;
pub mod document;
pub mod event;
pub mod feature;
mod history;
mod hosts;
mod lease;
mod leases;
mod meta;
mod outcome;
mod pieces;
mod prepare;
mod record;
pub mod recovery;
pub mod roster;
pub mod snapshot;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod view;
pub mod wire;

pub use apply::cached_lifetime;
pub use command::{
    Batch, Claims, Client, Command, ConfigChunk, ConfigVersion, ConfigWhy, DeleteLease, EditConfig,
    EndHold, Generation, GiveUp, Grant, GrantItem, InUse, Liveness, NewConfig, NodeInfo, Note,
    Origin, PutLease, PutMode, Reclaim, Seen, SetConfig, WallOffset, Why, WipeLeases,
};
pub use document::{Document, Form, Sha256};
pub use event::{Event, Kind, Position, Subject};
pub use history::{Body, MOST_EDITS, MOST_VERSIONS, Sources, Version};
pub use hosts::{
    global_host, grantable, host_of, reserved_address, reserved_for, reserved_for_other,
};
pub use lease::{Lease, LeaseState, Rare, circuit_digest};
pub use leases::{Leases, StateCounts};
pub use meta::{Declines, Meta, NodeEntry, Totals};
pub use outcome::{Granted, Outcome, Taken};
pub use prepare::{Prepared, Readers, Unreadable};
pub use record::{BadRecord, decode_leases, encode_lease};
pub use recovery::{Copied, Recovery, Source};
pub use roster::{Admission, Admit, JoinToken, NotAdmitted, Policy, Roster};
pub use view::{Availability, Frozen, View};

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
/// 6. there is a configuration if and only if its version is above 0, and its document is in the
///    history, which is bounded and has no gap;
/// 7. documents that are not in force are bounded, and hold nothing but pieces of theirs;
/// 8. the decline log is bounded and its two orders agree.
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
    ///
    /// A new configuration is parsed in here, which takes its time. Who holds a lock that others wait
    /// for calls [`Meta::prepare`] before it takes the lock, and then [`State::apply_prepared`].
    pub fn apply(&mut self, index: u64, batch: &Batch) -> Vec<Outcome> {
        let readers = Readers { read: &mut document::read, edit: &mut prepare::edit_now };
        self.apply_with(index, batch, readers, None)
    }

    /// [`State::apply`] with what [`Meta::prepare`] of this very machine made of `batch`: nothing is
    /// parsed (R22).
    pub fn apply_prepared(
        &mut self,
        index: u64,
        batch: &Batch,
        prepared: Prepared,
    ) -> Vec<Outcome> {
        prepared.with(|readers| self.apply_with(index, batch, readers, None))
    }

    /// [`State::apply_prepared`], and adds to `events` what happened (R23). The order and the places
    /// of events are the same on every node.
    pub fn apply_telling(
        &mut self,
        index: u64,
        batch: &Batch,
        prepared: Prepared,
        events: &mut Vec<Event>,
    ) -> Vec<Outcome> {
        prepared.with(|readers| self.apply_with(index, batch, readers, Some(events)))
    }

    fn apply_with(
        &mut self,
        index: u64,
        batch: &Batch,
        mut readers: Readers<'_>,
        events: Option<&mut Vec<Event>>,
    ) -> Vec<Outcome> {
        self.meta.applied = index.max(self.meta.applied);
        self.meta.pass(batch.stamp);
        let first = self.meta.applied.saturating_mul(Batch::MAX as u64);
        let place = |at: usize| Generation(first.saturating_add(at as u64));
        let Some(events) = events else {
            let commands = batch.commands.iter().enumerate();
            return commands
                .map(|(at, command)| self.command(place(at), command, &mut readers))
                .collect();
        };
        let position = Position::at(self.meta.applied);
        // One for the whole entry, also for one that moves it.
        let (at, wall) = (self.meta.now, self.meta.wall_offset);
        let mut teller = event::Teller { position, at, wall, events };
        self.leases.watch(true);
        let mut outcomes = Vec::with_capacity(batch.commands.len());
        for (nth, command) in batch.commands.iter().enumerate() {
            let version = self.meta.config_version;
            let outcome = self.command(place(nth), command, &mut readers);
            teller.changes(command, self.leases.take_changes());
            if self.meta.config_version != version {
                teller.configured(self.meta.config_version);
            }
            outcomes.push(outcome);
        }
        self.leases.watch(false);
        outcomes
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
