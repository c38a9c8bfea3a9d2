//! The lease table: by address, by client, by the moment something is due, counted by subnet.
//!
//! The table itself is a persistent map, so that a clone costs nothing and shares all chunks that
//! do not change afterwards (R22). The indexes are not frozen and not kept on disk: they follow
//! from the table, and [`Leases::from_table`] rebuilds them.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use imbl::OrdMap;

use super::addresses::Addresses;
use super::by_hash::{ByHash, Hash};
use super::command::Client;
use super::event::Change;
use super::lease::{Lease, LeaseState};
use super::record;
use crate::types::{ClientId, ClusterTime, HwAddr, Range, SubnetId};

/// The primary table, keyed by address alone (R8).
pub type Table = OrdMap<u32, Arc<Lease>>;

/// A moment or a circuit, and an address, in 12 bytes: an index entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry([u32; 3]);

impl Entry {
    /// The order as one number: half the cost of comparing part by part.
    fn order(self) -> u128 {
        let [high, low, address] = self.0;
        u128::from(high) << 64 | u128::from(low) << 32 | u128::from(address)
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A subnet, a moment and an address in 16 bytes.
type FreedEntry = [u32; 4];

/// All leases and their indexes, always in step:
///
/// 1. each lease is in the table under its own address;
/// 2. a lease with a client id is in `by_id`, one with a hardware address in `by_hw`, each that is
///    ever due in `by_due`, each in `known`, each that blocks in `blocked` and each that does not in
///    `freed`, each that is declined in `probation`, each that was declined through a known circuit in `declined`, and nothing else is
///    there;
/// 3. `counts` has the number of leases of each subnet and state, and no empty rows;
/// 4. `digest` is the sum of the hashes of all records.
#[derive(Debug, Clone, Default)]
pub struct Leases {
    table: Table,
    by_id: ByHash,
    by_hw: ByHash,
    by_due: BTreeSet<Entry>,
    known: Addresses,
    blocked: Addresses,
    probation: Addresses,
    freed: BTreeSet<FreedEntry>,
    declined: BTreeSet<Entry>,
    counts: OrdMap<SubnetId, StateCounts>,
    digest: u64,
    /// What the command at work did, in order, if somebody wants to know. Empty between entries.
    changes: Vec<Change>,
    is_watched: bool,
}

/// How many leases a subnet has in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StateCounts([u32; 4]);

impl StateCounts {
    /// Leases in `state`.
    pub fn of(&self, state: LeaseState) -> u64 {
        u64::from(self.0[usize::from(state.number())])
    }

    /// Leases in any state.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|count| u64::from(*count)).sum()
    }

    /// Assigned and declined ones: what a new client cannot get.
    pub fn blocking(&self) -> u64 {
        LeaseState::ALL.into_iter().filter(|state| state.blocks()).map(|state| self.of(state)).sum()
    }
}

fn entry(major: u64, address: Ipv4Addr) -> Entry {
    Entry([(major >> 32) as u32, major as u32, address.into()])
}

fn entry_address(entry: &Entry) -> u32 {
    entry.0[2]
}

fn entry_major(entry: &Entry) -> u64 {
    u64::from(entry.0[0]) << 32 | u64::from(entry.0[1])
}

fn id_hash(id: &ClientId) -> Hash {
    Hash::of(id.bytes())
}

/// Leases with and without a client id lie apart, so that a client with an id, which can only own
/// those without, never walks the many ids that one hardware address may have collected (I3).
fn hw_hash(hw: &HwAddr, with_id: bool) -> Hash {
    let mut bytes = [0u8; 18];
    bytes[0] = u8::from(with_id);
    bytes[1] = hw.htype();
    let len = hw.bytes().len();
    bytes[2..2 + len].copy_from_slice(hw.bytes());
    Hash::of(&bytes[..2 + len])
}

/// All leases are kept equally long after their end, so the order of `due` is that of their ends.
fn freed_entry(lease: &Lease) -> FreedEntry {
    let due = lease.due.as_millis();
    [lease.subnet.0, (due >> 32) as u32, due as u32, lease.address.into()]
}

/// The index entries of one lease.
#[derive(Default)]
struct Keys {
    id: Option<Hash>,
    hw: Option<Hash>,
    due: Option<Entry>,
    declined: Option<Entry>,
}

impl Keys {
    fn of(lease: &Lease) -> Keys {
        let id = lease.client_id.as_ref().map(id_hash);
        let hw =
            (!lease.hw.bytes().is_empty()).then(|| hw_hash(&lease.hw, lease.client_id.is_some()));
        let due =
            (lease.due != ClusterTime::NEVER).then(|| entry(lease.due.as_millis(), lease.address));
        let declined = (lease.state == LeaseState::Declined && lease.circuit() != 0)
            .then(|| entry(lease.circuit(), lease.address));
        Keys { id, hw, due, declined }
    }
}

fn replace<T: Ord>(index: &mut BTreeSet<T>, old: Option<T>, new: Option<T>) {
    if old == new {
        return;
    }
    if let Some(old) = old {
        index.remove(&old);
    }
    if let Some(new) = new {
        index.insert(new);
    }
}

impl Leases {
    /// The table with its indexes. Every lease must lie under its own address.
    pub fn from_table(table: Table) -> Leases {
        let mut leases = Leases::default();
        let (mut by_id, mut by_hw, mut by_due) = (Vec::new(), Vec::new(), Vec::new());
        let mut declined = Vec::new();
        for lease in table.values() {
            let keys = Keys::of(lease);
            by_id.extend(keys.id.map(|hash| (hash, lease.address)));
            by_hw.extend(keys.hw.map(|hash| (hash, lease.address)));
            by_due.extend(keys.due);
            declined.extend(keys.declined);
            leases.count(None, Some(lease));
        }
        // All at once: the tables have their room, and the trees are sorted once and filled densely.
        leases.by_id = ByHash::collect(by_id);
        leases.by_hw = ByHash::collect(by_hw);
        leases.by_due = by_due.into_iter().collect();
        leases.declined = declined.into_iter().collect();
        leases.table = table;
        leases
    }

    /// Writes a lease over whatever its address had; returns that.
    pub fn put(&mut self, lease: Lease) -> Option<Arc<Lease>> {
        let lease = Arc::new(lease);
        let old = self.table.insert(lease.address.into(), Arc::clone(&lease));
        self.index(old.as_deref(), Some(&lease));
        if self.is_watched {
            self.changes.push((old.clone(), Some(lease)));
        }
        old
    }

    /// Removes the lease of an address; returns it.
    pub fn remove(&mut self, address: Ipv4Addr) -> Option<Arc<Lease>> {
        let old = self.table.remove(&u32::from(address))?;
        self.index(Some(&old), None);
        if self.is_watched {
            self.changes.push((Some(Arc::clone(&old)), None));
        }
        Some(old)
    }

    /// From now on keeps what happens, for [`Leases::take_changes`], or does not.
    pub(super) fn watch(&mut self, is_watched: bool) {
        self.is_watched = is_watched;
    }

    /// What happened since it was last asked; its room is used again.
    pub(super) fn take_changes(&mut self) -> std::vec::Drain<'_, Change> {
        self.changes.drain(..)
    }

    fn index(&mut self, old: Option<&Lease>, new: Option<&Lease>) {
        let (before, after) = (old.map(Keys::of), new.map(Keys::of));
        let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
        if let Some(address) = old.or(new).map(|lease| lease.address) {
            self.by_id.replace(address, before.id, after.id);
            self.by_hw.replace(address, before.hw, after.hw);
        }
        replace(&mut self.by_due, before.due, after.due);
        replace(&mut self.declined, before.declined, after.declined);
        self.count(old, new);
    }

    /// Keeps `known`, `blocked`, `probation`, `freed`, `counts` and `digest`.
    fn count(&mut self, old: Option<&Lease>, new: Option<&Lease>) {
        let blocked = |lease: &&Lease| lease.state.blocks();
        let address = |lease: Option<&Lease>| lease.map(|lease| u32::from(lease.address));
        let keep = |set: &mut Addresses, old: Option<&Lease>, new: Option<&Lease>| match (
            address(old),
            address(new),
        ) {
            (None, Some(address)) => set.insert(address),
            (Some(address), None) => set.remove(address),
            _ => {}
        };
        keep(&mut self.known, old, new);
        keep(&mut self.blocked, old.filter(blocked), new.filter(blocked));
        let declined = |lease: &&Lease| lease.state == LeaseState::Declined;
        keep(&mut self.probation, old.filter(declined), new.filter(declined));
        let freed =
            |lease: Option<&Lease>| lease.filter(|lease| !lease.state.blocks()).map(freed_entry);
        replace(&mut self.freed, freed(old), freed(new));
        let place = |lease: &Lease| (lease.subnet, usize::from(lease.state.number()));
        if old.map(place) != new.map(place) {
            if let Some((subnet, state)) = old.map(place) {
                let mut row = self.counts.get(&subnet).copied().unwrap_or_default();
                row.0[state] = row.0[state].saturating_sub(1);
                if row.total() == 0 {
                    self.counts.remove(&subnet);
                } else {
                    self.counts.insert(subnet, row);
                }
            }
            if let Some((subnet, state)) = new.map(place) {
                let mut row = self.counts.get(&subnet).copied().unwrap_or_default();
                row.0[state] += 1;
                self.counts.insert(subnet, row);
            }
        }
        let hash = |lease: Option<&Lease>| lease.map_or(0, record::hash);
        self.digest = self.digest.wrapping_sub(hash(old)).wrapping_add(hash(new));
    }

    /// The lease of an address.
    pub fn get(&self, address: Ipv4Addr) -> Option<&Arc<Lease>> {
        self.table.get(&u32::from(address))
    }

    /// The table itself; a clone of it is a frozen view.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The sum of all records' hashes, whatever the order they came in.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    fn under<'a>(&'a self, index: &'a ByHash, hash: Hash) -> impl Iterator<Item = &'a Arc<Lease>> {
        index.get(hash).filter_map(|address| self.get(address))
    }

    /// Leases with this client id, ascending by address.
    pub fn with_id<'a, 'k>(
        &'a self,
        id: &'k ClientId,
    ) -> impl Iterator<Item = &'a Arc<Lease>> + use<'a, 'k> {
        self.under(&self.by_id, id_hash(id))
            .filter(move |lease| lease.client_id.as_ref() == Some(id))
    }

    /// Leases with this hardware address that have a client id, or those that have none, ascending by
    /// address.
    fn with_hw_and<'a, 'k>(
        &'a self,
        hw: &'k HwAddr,
        an_id: bool,
    ) -> impl Iterator<Item = &'a Arc<Lease>> + use<'a, 'k> {
        self.under(&self.by_hw, hw_hash(hw, an_id))
            .filter(move |lease| lease.hw == *hw && lease.client_id.is_some() == an_id)
    }

    /// Leases with this hardware address: those without a client id first, then the others, each
    /// ascending by address.
    pub fn with_hw<'a, 'k>(
        &'a self,
        hw: &'k HwAddr,
    ) -> impl Iterator<Item = &'a Arc<Lease>> + use<'a, 'k> {
        self.with_hw_and(hw, false).chain(self.with_hw_and(hw, true))
    }

    /// Every lease that names this client (I2): by id first, then by hardware address; none twice.
    pub fn of_client<'a, 'k>(
        &'a self,
        client: &'k Client,
    ) -> impl Iterator<Item = &'a Arc<Lease>> + use<'a, 'k> {
        let id = client.id.as_ref().filter(|_| client.match_id);
        let by_id = id.into_iter().flat_map(|id| self.with_id(id));
        let without_id = self.with_hw_and(&client.hw, false);
        let with_id = id.is_none().then(|| self.with_hw_and(&client.hw, true));
        by_id.chain(
            without_id.chain(with_id.into_iter().flatten()).filter(|lease| lease.names(client)),
        )
    }

    /// The leases that are due at `now`, the longest due first.
    pub fn due(&self, now: ClusterTime) -> impl Iterator<Item = &Arc<Lease>> {
        let last = entry(now.as_millis(), Ipv4Addr::BROADCAST);
        self.by_due.range(..=last).filter_map(|entry| self.table.get(&entry_address(entry)))
    }

    /// When the next lease is due.
    pub fn next_due(&self) -> Option<ClusterTime> {
        self.by_due.first().map(|entry| ClusterTime::from_millis(entry_major(entry)))
    }

    /// The lowest address not below `from` without a lease that blocks, whatever the time.
    pub fn next_unblocked(&self, from: Ipv4Addr) -> Option<Ipv4Addr> {
        self.blocked.next_gap(from.into()).map(Ipv4Addr::from)
    }

    /// The lowest address not below `from` that nothing is known of: never leased, or so long ago
    /// that the lease is forgotten.
    pub fn next_unknown(&self, from: Ipv4Addr) -> Option<Ipv4Addr> {
        self.known.next_gap(from.into()).map(Ipv4Addr::from)
    }

    /// How many addresses of `range` are in probation.
    pub fn declined_in(&self, range: Range) -> u64 {
        self.probation.count(range.first().into(), range.last().into())
    }

    /// How many addresses of `range` have a lease that blocks.
    pub fn blocked_in(&self, range: Range) -> u64 {
        self.blocked.count(range.first().into(), range.last().into())
    }

    /// The `n`-th address, from 0, of those in `range` without a lease that blocks.
    pub fn nth_unblocked(&self, range: Range, n: u64) -> Option<Ipv4Addr> {
        self.blocked.nth_gap(range.first().into(), range.last().into(), n).map(Ipv4Addr::from)
    }

    /// Addresses whose last lease in `subnet` is over and still known, the longest free first.
    pub fn freed(&self, subnet: SubnetId) -> impl Iterator<Item = Ipv4Addr> {
        let all = [subnet.0, 0, 0, 0]..=[subnet.0, u32::MAX, u32::MAX, u32::MAX];
        self.freed.range(all).map(|[.., address]| Ipv4Addr::from(*address))
    }

    /// How many addresses of `range` are in probation through `circuit`, counted up to `most`
    /// (M11).
    pub fn declined_through(&self, circuit: u64, range: Range, most: usize) -> usize {
        let (first, last) = (entry(circuit, range.first()), entry(circuit, range.last()));
        self.declined.range(first..=last).take(most).count()
    }

    /// The counts of one subnet.
    pub fn counts(&self, subnet: SubnetId) -> StateCounts {
        self.counts.get(&subnet).copied().unwrap_or_default()
    }

    /// The counts of every subnet that has leases.
    pub fn all_counts(&self) -> &OrdMap<SubnetId, StateCounts> {
        &self.counts
    }

    /// The invariants above, by comparing with indexes made anew.
    pub fn check(&self) -> Result<(), String> {
        for (address, lease) in &self.table {
            if *address != u32::from(lease.address) {
                return Err(format!(
                    "the lease of {} lies under {}",
                    lease.address,
                    Ipv4Addr::from(*address)
                ));
            }
        }
        let fresh = Leases::from_table(self.table.clone());
        let differs = |what: &str, same: bool| {
            if same { Ok(()) } else { Err(format!("index {what} is out of step")) }
        };
        differs("by client id", self.by_id == fresh.by_id)?;
        differs("by hardware address", self.by_hw == fresh.by_hw)?;
        differs("by due time", self.by_due == fresh.by_due)?;
        differs("of known addresses", self.known == fresh.known)?;
        differs("of blocked addresses", self.blocked == fresh.blocked)?;
        differs("of addresses in probation", self.probation == fresh.probation)?;
        differs("of freed addresses", self.freed == fresh.freed)?;
        differs("of declined addresses", self.declined == fresh.declined)?;
        differs("of counts", self.counts == fresh.counts)?;
        differs("digest", self.digest == fresh.digest)
    }
}
