//! Everything replicated that is not a lease: small, cheap to clone, part of every frozen view.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;

use super::command::{ConfigVersion, Liveness, NodeInfo, WallOffset};
use super::document::Drafts;
use super::feature;
use super::history::{Edits, Version};
use super::recovery::Recovery;
use super::roster::Roster;
use crate::config::Config;
use crate::types::{ClientKey, ClusterTime, NodeId, SubnetId};

/// The machine without its leases. Fields change only in `apply` and when a snapshot is read.
#[derive(Debug, Clone)]
pub struct Meta {
    pub(super) applied: u64,
    pub(super) now: ClusterTime,
    pub(super) wall_offset: WallOffset,
    pub(super) feature_level: u32,
    pub(super) config_version: ConfigVersion,
    pub(super) config: Option<Arc<Config>>,
    /// Versions, ascending without a gap; the oldest has a text.
    pub(super) history: OrdMap<ConfigVersion, Arc<Version>>,
    /// The first of them that is kept for itself, and not only because others are changes of it.
    pub(super) first_version: ConfigVersion,
    /// Bytes in them. Follows from the history.
    pub(super) held_bytes: u64,
    pub(super) edits: Edits,
    pub(super) drafts: Drafts,
    pub(super) nodes: OrdMap<NodeId, Arc<NodeEntry>>,
    pub(super) roster: Roster,
    pub(super) recovery: Option<Recovery>,
    pub(super) totals: OrdMap<SubnetId, Totals>,
    pub(super) declines: DeclineLog,
}

/// What the cluster knows about a node. Entries of departed nodes stay while a client may still
/// know their identities (C6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEntry {
    /// What it told of itself; `None` until it did.
    pub info: Option<NodeInfo>,
    /// The leader's judgement.
    pub liveness: Liveness,
    /// When the judgement last changed.
    pub since: ClusterTime,
}

/// Running totals of a subnet since formation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Leases that began with a client's request (`cumulative-assigned-addresses`). What an
    /// administrator writes does not count, as in Kea.
    pub assigned: u64,
    /// Leases whose time was over and that were swept (`reclaimed-leases`).
    pub reclaimed: u64,
    /// Declined addresses recovered (`reclaimed-declined-addresses`).
    pub reclaimed_declined: u64,
    /// DECLINEs that took effect.
    pub declined: u64,
}

impl Totals {
    /// The row of all subnets that are gone. No subnet has this id.
    pub const DEPARTED: SubnetId = SubnetId(0);

    /// Adds others.
    pub fn add(&mut self, other: Totals) {
        self.assigned = self.assigned.saturating_add(other.assigned);
        self.reclaimed = self.reclaimed.saturating_add(other.reclaimed);
        self.reclaimed_declined = self.reclaimed_declined.saturating_add(other.reclaimed_declined);
        self.declined = self.declined.saturating_add(other.declined);
    }
}

/// How often a client declined within the last hour (M11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Declines {
    /// How many.
    pub count: u32,
    /// The latest.
    pub last: Option<ClusterTime>,
}

impl Meta {
    pub(super) fn new() -> Meta {
        Meta {
            applied: 0,
            now: ClusterTime::ZERO,
            wall_offset: WallOffset::default(),
            feature_level: feature::FIRST,
            config_version: ConfigVersion::default(),
            config: None,
            history: OrdMap::new(),
            first_version: ConfigVersion::default(),
            held_bytes: 0,
            edits: Edits::default(),
            drafts: Drafts::default(),
            nodes: OrdMap::new(),
            roster: Roster::default(),
            recovery: None,
            totals: OrdMap::new(),
            declines: DeclineLog::default(),
        }
    }

    /// The index of the last applied entry; 0 before the first.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Cluster time: the last stamp.
    pub fn now(&self) -> ClusterTime {
        self.now
    }

    /// What to add to cluster time to get the time of day that people see (R12).
    pub fn wall_offset(&self) -> WallOffset {
        self.wall_offset
    }

    /// A moment as people see it, Unix seconds.
    pub fn wall_seconds(&self, at: ClusterTime) -> i64 {
        self.wall_millis(at).div_euclid(1000)
    }

    /// The same moment in milliseconds since 1970.
    pub fn wall_millis(&self, at: ClusterTime) -> i64 {
        let millis = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
        millis.saturating_add(self.wall_offset.0)
    }

    /// The moment behind Unix seconds; those before formation become [`ClusterTime::ZERO`].
    pub fn cluster_time(&self, wall_seconds: i64) -> ClusterTime {
        let millis = wall_seconds.saturating_mul(1000).saturating_sub(self.wall_offset.0);
        ClusterTime::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    /// The feature level in force (R24).
    pub fn feature_level(&self) -> u32 {
        self.feature_level
    }

    /// The configuration in force; `None` before the first.
    pub fn config(&self) -> Option<&Arc<Config>> {
        self.config.as_ref()
    }

    /// Its version.
    pub fn config_version(&self) -> ConfigVersion {
        self.config_version
    }

    /// The version in force; `None` before the first.
    pub fn current(&self) -> Option<&Arc<Version>> {
        self.history.get(&self.config_version)
    }

    /// A version that is kept.
    pub fn version(&self, number: ConfigVersion) -> Option<&Arc<Version>> {
        self.history.get(&number).filter(|_| number >= self.first_version)
    }

    /// The versions that are kept, the current one among them, ascending and without a gap.
    pub fn history(&self) -> impl DoubleEndedIterator<Item = &Arc<Version>> {
        self.history.range(self.first_version..).map(|(_, version)| version)
    }

    /// All that is kept of the history: those versions, and what they are made of.
    pub(super) fn whole_history(&self) -> impl Iterator<Item = &Arc<Version>> {
        self.history.values()
    }

    /// Documents that are being sent.
    pub fn drafts(&self) -> &Drafts {
        &self.drafts
    }

    /// Every node, departed ones included.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Arc<NodeEntry>)> {
        self.nodes.iter().map(|(id, entry)| (*id, entry))
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> Option<&Arc<NodeEntry>> {
        self.nodes.get(&id)
    }

    /// Tokens, nodes that were let in, and how the cluster is to be led.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The copy that the machine was made from, if it was, with the hold that came with it (R28).
    pub fn recovery(&self) -> Option<&Recovery> {
        self.recovery.as_ref()
    }

    /// Nodes that are up, ascending: the owners of buckets and shares (R16, C8).
    pub fn live_nodes(&self) -> Vec<NodeId> {
        self.nodes().filter(|(_, entry)| entry.liveness == Liveness::Up).map(|(id, _)| id).collect()
    }

    /// How many nodes have not left: 1 means a cluster of one.
    pub fn members(&self) -> usize {
        self.nodes().filter(|(_, entry)| entry.liveness != Liveness::Left).count()
    }

    /// Every address that option 54 may carry and mean this cluster, departed nodes' included (C6).
    pub fn identities(&self) -> impl Iterator<Item = (NodeId, Ipv4Addr)> + '_ {
        self.nodes().flat_map(|(id, entry)| {
            let info = entry.info.as_ref();
            info.into_iter()
                .flat_map(move |info| info.identities.iter().map(move |address| (id, *address)))
        })
    }

    /// The node that an identity means; of two, one that has not left, then the younger.
    pub fn node_of_identity(&self, identity: Ipv4Addr) -> Option<NodeId> {
        let left =
            |id: &NodeId| self.node(*id).is_none_or(|entry| entry.liveness == Liveness::Left);
        self.identities()
            .filter(|(_, address)| *address == identity)
            .map(|(id, _)| id)
            .max_by_key(|id| (!left(id), *id))
    }

    /// Running totals of a subnet.
    pub fn totals(&self, subnet: SubnetId) -> Totals {
        self.totals.get(&subnet).copied().unwrap_or_default()
    }

    /// The totals of all subnets, those that are gone among them. It walks the subnets.
    pub fn all_totals(&self) -> Totals {
        let mut sum = Totals::default();
        self.totals.values().for_each(|totals| sum.add(*totals));
        sum
    }

    /// The declines of a client in the hour before `now` (M11).
    pub fn declines_of(&self, key: &ClientKey, now: ClusterTime) -> Declines {
        self.declines.of(key, now)
    }

    pub(super) fn total_mut(&mut self, subnet: SubnetId) -> &mut Totals {
        self.totals.entry(subnet).or_default()
    }
}

/// The declines of the last hour, at most [`DeclineLog::MAX`], the oldest dropped (M11, R17).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeclineLog {
    /// Log place (as a generation) → moment and client hash.
    by_place: OrdMap<u64, (ClusterTime, u64)>,
    /// (client hash, log place) → moment; the same entries.
    by_client: OrdMap<(u64, u64), ClusterTime>,
}

impl DeclineLog {
    /// The most entries.
    pub const MAX: usize = 65_536;
    /// How long an entry counts.
    pub const HOUR: Duration = Duration::from_secs(3600);

    fn hash(key: &ClientKey) -> u64 {
        let tag = match key {
            ClientKey::Id(_) => 0,
            ClientKey::Hw(hw) => 1 + u64::from(hw.htype()),
        };
        xxhash_rust::xxh3::xxh3_64_with_seed(key.bytes(), tag)
    }

    /// Notes a decline at log place `place`, which only grows.
    pub(super) fn note(&mut self, key: &ClientKey, place: u64, now: ClusterTime) {
        self.insert(place, now, DeclineLog::hash(key));
        while let Some((place, (at, hash))) = self.by_place.get_min().copied() {
            if self.by_place.len() <= DeclineLog::MAX && now < at.plus(DeclineLog::HOUR) {
                break;
            }
            self.by_place.remove(&place);
            self.by_client.remove(&(hash, place));
        }
    }

    pub(super) fn insert(&mut self, place: u64, at: ClusterTime, hash: u64) {
        self.by_place.insert(place, (at, hash));
        self.by_client.insert((hash, place), at);
    }

    /// Place, moment and client hash of each, in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, ClusterTime, u64)> + '_ {
        self.by_place.iter().map(|(place, (at, hash))| (*place, *at, *hash))
    }

    fn of(&self, key: &ClientKey, now: ClusterTime) -> Declines {
        let hash = DeclineLog::hash(key);
        let mut declines = Declines::default();
        for (_, at) in self.by_client.range((hash, 0)..=(hash, u64::MAX)) {
            if now < at.plus(DeclineLog::HOUR) {
                declines = Declines { count: declines.count.saturating_add(1), last: Some(*at) };
            }
        }
        declines
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let turned: BTreeMap<_, _> =
            self.by_place.iter().map(|(place, (at, hash))| ((*hash, *place), *at)).collect();
        let same = turned.iter().eq(self.by_client.iter());
        if same && self.by_place.len() <= DeclineLog::MAX {
            Ok(())
        } else {
            Err("decline log is out of step".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::nth_client;

    #[test]
    fn r17_the_decline_log_drops_the_oldest_beyond_its_bound() {
        let mut log = DeclineLog::default();
        let now = ClusterTime::from_millis(5);
        for n in 0..=DeclineLog::MAX as u32 {
            log.note(&nth_client(n).key(), n.into(), now);
        }
        assert_eq!(log.entries().count(), DeclineLog::MAX);
        assert_eq!(log.of(&nth_client(0).key(), now).count, 0);
        assert_eq!(log.of(&nth_client(1).key(), now).count, 1);
        log.check().unwrap();
        // An hour later one note sweeps all the others.
        log.note(&nth_client(7).key(), u64::MAX, now.plus(DeclineLog::HOUR));
        assert_eq!(log.entries().count(), 1);
        log.check().unwrap();
    }
}
