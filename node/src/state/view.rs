//! What others may read of the applied state: engine, allocator, proposer and API.
//!
//! A [`View`] borrows the live machine, under its lock, for one packet (R22). A [`Frozen`] is a
//! copy in constant time that shares everything, for pages, scans, snapshots and checkpoints.

use std::net::Ipv4Addr;
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::State;
use super::command::{Client, ConfigVersion};
use super::lease::{Lease, LeaseState};
use super::leases::{StateCounts, Table};
use super::meta::{Declines, Meta, NodeEntry, Totals};
use super::outcome::Taken;
use crate::config::{Allocator, Config, NetworkIndex, Pool, Subnet};
use crate::types::{ClientId, ClientKey, ClusterTime, HwAddr, NodeId, Range, SubnetId};

/// The applied state, read only.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    state: &'a State,
}

/// Who an address is for, at one moment, as seen by one client (R2d).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// Nobody's, or its last lease is over, grace included.
    Free,
    /// This client holds it.
    Own,
    /// Not for this client.
    Taken(Taken),
}

impl<'a> View<'a> {
    pub(super) fn new(state: &'a State) -> View<'a> {
        View { state }
    }

    /// Everything that is not a lease.
    pub fn meta(self) -> &'a Meta {
        &self.state.meta
    }

    /// The index of the last applied entry.
    pub fn applied(self) -> u64 {
        self.meta().applied()
    }

    /// The last stamp. The engine usually knows a later estimate of cluster time and passes that.
    pub fn now(self) -> ClusterTime {
        self.meta().now()
    }

    /// The configuration in force.
    pub fn config(self) -> Option<&'a Arc<Config>> {
        self.meta().config()
    }

    /// Its version.
    pub fn config_version(self) -> ConfigVersion {
        self.meta().config_version()
    }

    /// The lease of an address, whatever its state.
    pub fn lease(self, address: Ipv4Addr) -> Option<&'a Arc<Lease>> {
        self.state.leases.get(address)
    }

    /// How many leases there are, in whatever state.
    pub fn lease_count(self) -> usize {
        self.state.leases.len()
    }

    /// Every lease that names the client (I2), in whatever subnet and state.
    pub fn leases_of_client(self, client: &Client) -> Vec<&'a Arc<Lease>> {
        self.state.leases.of_client(client).collect()
    }

    /// Leases with this hardware address.
    pub fn leases_with_hw(self, hw: &HwAddr) -> Vec<&'a Arc<Lease>> {
        self.state.leases.with_hw(hw).collect()
    }

    /// Leases with this client id.
    pub fn leases_with_id(self, id: &ClientId) -> Vec<&'a Arc<Lease>> {
        self.state.leases.with_id(id).collect()
    }

    /// Leases with this hardware address, ascending by address; `None` when there are more than `most`.
    pub fn few_with_hw(self, hw: &HwAddr, most: usize) -> Option<Vec<Arc<Lease>>> {
        few(self.state.leases.with_hw(hw), most)
    }

    /// Leases with this client id, ascending by address; `None` when there are more than `most`.
    pub fn few_with_id(self, id: &ClientId, most: usize) -> Option<Vec<Arc<Lease>>> {
        few(self.state.leases.with_id(id), most)
    }

    /// The lease that `client` holds in a network: assigned, in a member subnet that still holds
    /// its address (R8). Its time may be over: compare with `expires` where that matters. Of
    /// several the one by client id wins, then the youngest holding. This is what `held` in a
    /// [`super::GrantItem`] names (R2c).
    pub fn lease_of(self, client: &Client, network: NetworkIndex) -> Option<&'a Arc<Lease>> {
        self.best(client, network, |lease| lease.state == LeaseState::Assigned)
    }

    /// The last lease of `client` in a network that was given back or ran out and is still kept
    /// for it (M2). Whether it is free is [`View::availability`]'s to say.
    pub fn last_lease_of(self, client: &Client, network: NetworkIndex) -> Option<&'a Arc<Lease>> {
        self.best(client, network, |lease| !lease.state.blocks())
    }

    fn best(
        self,
        client: &Client,
        network: NetworkIndex,
        fits: impl Fn(&Lease) -> bool,
    ) -> Option<&'a Arc<Lease>> {
        let config = self.config()?;
        let by_id =
            |lease: &Lease| client.match_id && client.id.is_some() && lease.client_id == client.id;
        self.state
            .leases
            .of_client(client)
            .filter(|lease| fits(lease) && lives_in(config, lease, network))
            .max_by_key(|lease| (by_id(lease), lease.generation, lease.address))
    }

    /// Whether `address` may go to `client` at `now`, as far as leases say: what `apply` will ask
    /// again. Reservations are [`super::reserved_for_other`]'s, pools [`super::grantable`]'s.
    pub fn availability(
        self,
        address: Ipv4Addr,
        client: &Client,
        now: ClusterTime,
    ) -> Availability {
        let Some(lease) = self.lease(address) else { return Availability::Free };
        if lease.held_by(client) {
            return Availability::Own;
        }
        if !lease.blocks_at(now) {
            return Availability::Free;
        }
        Availability::Taken(match lease.state {
            LeaseState::Declined => Taken::Declined,
            _ if now < lease.reserved_until || lease.due == ClusterTime::NEVER => Taken::Leased,
            _ => Taken::Grace,
        })
    }

    /// R28: whether the address may be somebody's whom the machine does not know, because that was granted
    /// after the copy that it was made from. It may also have a lease of the copy: its client may have left
    /// since and another be there.
    pub fn is_held(self, address: Ipv4Addr, now: ClusterTime) -> bool {
        let recovery = self.meta().recovery().filter(|recovery| recovery.holds_at(now));
        recovery.is_some_and(|recovery| {
            self.lease(address).is_none_or(|lease| {
                let known = lease.state == LeaseState::Declined || !recovery.is_of_copy(lease);
                !(known && lease.blocks_at(now))
            })
        })
    }

    /// Whether nobody holds `address` at `now`: no lease, one that does not block, or one that is
    /// over with its grace.
    pub fn is_free(self, address: Ipv4Addr, now: ClusterTime) -> bool {
        self.lease(address).is_none_or(|lease| !lease.blocks_at(now))
    }

    /// The lowest address not below `from` without an assigned or declined lease, whatever the
    /// time: logarithmic, also in a full pool.
    pub fn next_unblocked(self, from: Ipv4Addr) -> Option<Ipv4Addr> {
        self.state.leases.next_unblocked(from)
    }

    /// The lowest address not below `from` that nothing is known of: never leased, or so long ago
    /// that the lease is forgotten. Logarithmic, also in a full pool.
    pub fn next_unknown(self, from: Ipv4Addr) -> Option<Ipv4Addr> {
        self.state.leases.next_unknown(from)
    }

    /// How many addresses of `range` have an assigned or declined lease.
    pub fn blocked_in(self, range: Range) -> u64 {
        self.state.leases.blocked_in(range)
    }

    /// How many addresses of `range` are in probation after a DECLINE.
    pub fn declined_in(self, range: Range) -> u64 {
        self.state.leases.declined_in(range)
    }

    /// The `n`-th address, from 0, of those in `range` without an assigned or declined lease. A full
    /// pool costs no more than an empty one.
    pub fn nth_unblocked(self, range: Range, n: u64) -> Option<Ipv4Addr> {
        self.state.leases.nth_unblocked(range, n)
    }

    /// Addresses whose last lease in `subnet` is over and still kept for its client, the longest
    /// free first.
    pub fn freed(self, subnet: SubnetId) -> impl Iterator<Item = Ipv4Addr> + 'a {
        self.state.leases.freed(subnet)
    }

    /// `adaptive-lease-time-threshold`: whether those pools of the subnet that `admits` lets the
    /// client use are so full that it gets the shortest lifetime. Kea knows this for its `flq`
    /// allocator only.
    pub fn is_crowded(self, subnet: &Subnet, admits: impl Fn(&Pool) -> bool) -> bool {
        let values = &subnet.values;
        let threshold =
            values.adaptive_lease_time_threshold.filter(|_| values.allocator == Allocator::Flq);
        let Some(threshold) = threshold else { return false };
        let pools = || subnet.pools.iter().filter(|pool| admits(pool)).map(|pool| pool.range);
        let size: u64 = pools().map(|range| range.size()).sum();
        let used: u64 = pools().map(|range| self.blocked_in(range)).sum();
        size > 0 && used as f64 >= threshold * size as f64
    }

    /// Leases that are due at `now`, the longest due first: what the next sweep takes, and what
    /// the allocator may take before it.
    pub fn due(self, now: ClusterTime) -> impl Iterator<Item = &'a Arc<Lease>> {
        self.state.leases.due(now)
    }

    /// When the next lease is due: before that a sweep has nothing to do.
    pub fn next_due(self) -> Option<ClusterTime> {
        self.state.leases.next_due()
    }

    /// Leases of a subnet by state.
    pub fn counts(self, subnet: SubnetId) -> StateCounts {
        self.state.leases.counts(subnet)
    }

    /// Addresses in the subnet's pools that no lease blocks; leases outside the pools make it a
    /// little too small.
    pub fn free_in(self, subnet: &Subnet) -> u64 {
        let size: u64 = subnet.pools.iter().map(|pool| pool.range.size()).sum();
        size.saturating_sub(self.counts(subnet.id).blocking())
    }

    /// Running totals of a subnet.
    pub fn totals(self, subnet: SubnetId) -> Totals {
        self.meta().totals(subnet)
    }

    /// The declines of a client in the hour before `now` (M11).
    pub fn declines_of(self, key: &ClientKey, now: ClusterTime) -> Declines {
        self.meta().declines_of(key, now)
    }

    /// How many addresses of `range` are in probation through `circuit`, counted up to `most` (M11).
    pub fn declined_through(self, circuit: u64, range: Range, most: usize) -> usize {
        self.state.leases.declined_through(circuit, range, most)
    }

    /// Every node, departed ones included.
    pub fn nodes(self) -> impl Iterator<Item = (NodeId, &'a Arc<NodeEntry>)> {
        self.meta().nodes()
    }

    /// Nodes that are up, ascending.
    pub fn live_nodes(self) -> Vec<NodeId> {
        self.meta().live_nodes()
    }

    /// Every address that means this cluster in option 54, and whose it is (C6).
    pub fn identities(self) -> impl Iterator<Item = (NodeId, Ipv4Addr)> + 'a {
        self.meta().identities()
    }

    /// The node that an identity means.
    pub fn node_of_identity(self, identity: Ipv4Addr) -> Option<NodeId> {
        self.meta().node_of_identity(identity)
    }

    /// A copy in constant time.
    pub fn freeze(self) -> Frozen {
        self.state.freeze()
    }
}

fn few<'a>(leases: impl Iterator<Item = &'a Arc<Lease>>, most: usize) -> Option<Vec<Arc<Lease>>> {
    let mut few: Vec<Arc<Lease>> = leases.take(most.saturating_add(1)).cloned().collect();
    few.sort_unstable_by_key(|lease| lease.address);
    (few.len() <= most).then_some(few)
}

/// Whether the lease is live in a network: its subnet is a member and holds its address (R8).
pub(super) fn lives_in(config: &Config, lease: &Lease, network: NetworkIndex) -> bool {
    config
        .subnet(lease.subnet)
        .is_some_and(|subnet| subnet.network == network && subnet.prefix.contains(lease.address))
}

/// The machine at one index; shares what later entries do not change.
#[derive(Debug, Clone)]
pub struct Frozen {
    pub(super) meta: Meta,
    pub(super) table: Table,
    pub(super) counts: OrdMap<SubnetId, StateCounts>,
    pub(super) lease_digest: u64,
}

impl Frozen {
    /// Everything that is not a lease.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// How many leases there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The lease of an address.
    pub fn lease(&self, address: Ipv4Addr) -> Option<&Arc<Lease>> {
        self.table.get(&u32::from(address))
    }

    /// All leases, ascending by address.
    pub fn leases(&self) -> impl Iterator<Item = &Arc<Lease>> {
        self.table.values()
    }

    /// The leases behind `after`, ascending: a page is `.take(limit)` of it. `None` starts at the
    /// beginning.
    pub fn leases_after(&self, after: Option<Ipv4Addr>) -> impl Iterator<Item = &Arc<Lease>> {
        let from = after.map_or(Bound::Unbounded, |address| Bound::Excluded(u32::from(address)));
        self.table.range((from, Bound::Unbounded)).map(|(_, lease)| lease)
    }

    /// Leases of a subnet by state.
    pub fn counts(&self, subnet: SubnetId) -> StateCounts {
        self.counts.get(&subnet).copied().unwrap_or_default()
    }

    /// The counts of every subnet that has leases, ascending by id.
    pub fn all_counts(&self) -> impl Iterator<Item = (SubnetId, StateCounts)> + '_ {
        self.counts.iter().map(|(subnet, counts)| (*subnet, *counts))
    }

    /// The leases from address `first` to `last`, ascending.
    pub fn leases_in(&self, first: Ipv4Addr, last: Ipv4Addr) -> impl Iterator<Item = &Arc<Lease>> {
        self.table.range(u32::from(first)..=u32::from(last)).map(|(_, lease)| lease)
    }

    /// The addresses whose leases differ from `older`, ascending. Chunks that both share are skipped: the
    /// cost follows the changes, not the table.
    pub fn changed_since<'a>(&'a self, older: &'a Frozen) -> impl Iterator<Item = Ipv4Addr> + 'a {
        older.table.diff(&self.table).map(|item| match item {
            DiffItem::Add(address, _)
            | DiffItem::Update { new: (address, _), .. }
            | DiffItem::Remove(address, _) => Ipv4Addr::from(*address),
        })
    }
}
