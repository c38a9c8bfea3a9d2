//! Whether all nodes have the same machine: each keeps the digests of its own at the same places, and
//! they are compared.
//!
//! The places follow from the log alone: every entry whose stamp is the first of another period of
//! cluster time. There the machine is frozen under the lock, in constant time; its digest, for which the
//! head is encoded (with many declines that takes milliseconds), is made a moment later on a thread beside
//! the serving ones. Only the newest frozen machine waits for that, so a node that catches up leaves some
//! out, and comparing is about the newest place that the nodes have in common.
//!
//! A difference means that a promise is broken: by a fault of this program, or of the memory of a machine.
//! Nobody can tell from two digests which is right; of three, two that agree are believed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use leasehold_proto::cluster as pb;
use leasehold_proto::cluster::hashes_client::HashesClient;
use leasehold_proto::cluster::hashes_server::{Hashes as Rpc, HashesServer};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tonic::{Request, Response, Status};

use super::machine::Shared;
use super::{Guard, Purpose, Raft, SMALL};
use crate::state::Frozen;
use crate::types::{ClusterTime, NodeId};

/// A period of cluster time. All nodes of a cluster must have the same.
pub const EVERY: Duration = Duration::from_secs(10);
/// So many digests are kept: those of ten minutes.
const KEPT: usize = 60;
/// How long a node may take to tell its digests.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the leader compares.
const WATCH_EVERY: Duration = Duration::from_secs(120);

/// The digests of this node.
#[derive(Debug, Default)]
pub(super) struct Hashes {
    waiting: Mutex<Option<(u64, Frozen)>>,
    /// Index and digest, ascending.
    ring: Mutex<VecDeque<(u64, u64)>>,
    /// What the last comparison of this node found to differ, for the operator.
    differs: Mutex<Option<Comparison>>,
}

/// Whether the entry that moved the clock from `before` to `after` is a place to compare at.
pub(super) fn is_place(before: ClusterTime, after: ClusterTime, every: Duration) -> bool {
    let millis = u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1);
    before.as_millis() / millis != after.as_millis() / millis
}

impl Hashes {
    /// The machine after the entry at `index`, which is a place.
    pub(super) fn offer(&self, index: u64, frozen: Frozen) {
        *self.waiting.lock() = Some((index, frozen));
    }

    /// Forgets what was: another machine is in its place.
    pub(super) fn clear(&self) {
        *self.waiting.lock() = None;
        self.ring.lock().clear();
    }

    /// Makes the digest that is wanted, if one is. Takes milliseconds.
    pub(super) fn digest(&self) {
        let Some((index, frozen)) = self.waiting.lock().take() else { return };
        let digest = frozen.digest();
        let mut ring = self.ring.lock();
        // A machine that was put in place meanwhile may stand before this one.
        if ring.back().is_none_or(|(last, _)| *last < index) {
            ring.push_back((index, digest));
        }
        while ring.len() > KEPT {
            ring.pop_front();
        }
    }

    fn recent(&self) -> Vec<(u64, u64)> {
        self.ring.lock().iter().copied().collect()
    }
}

/// What a node told of its digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Its digest at the place that is compared.
    Digest(u64),
    /// It has none there: it was behind, or has just started.
    Nothing,
    /// It did not answer.
    Silent,
}

/// A comparison of all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The place; `None` when no two nodes have one in common.
    pub index: Option<u64>,
    /// Each member.
    pub nodes: BTreeMap<NodeId, Told>,
}

impl Comparison {
    /// Compares at the newest place that as many as possible have. Pure.
    fn of(told: BTreeMap<NodeId, Option<Vec<(u64, u64)>>>) -> Comparison {
        let mut places: BTreeMap<u64, usize> = BTreeMap::new();
        for (index, _) in told.values().flatten().flatten() {
            *places.entry(*index).or_default() += 1;
        }
        let common = places.iter().filter(|(_, count)| **count > 1 || told.len() == 1);
        let index = common.max_by_key(|(index, count)| (**count, **index)).map(|(index, _)| *index);
        let at = |ring: &[(u64, u64)]| {
            let found = ring.iter().find(|(place, _)| Some(*place) == index);
            found.map_or(Told::Nothing, |(_, digest)| Told::Digest(*digest))
        };
        let nodes = told.into_iter();
        let nodes = nodes.map(|(node, ring)| (node, ring.map_or(Told::Silent, |ring| at(&ring))));
        Comparison { index, nodes: nodes.collect() }
    }

    fn digests(&self) -> impl Iterator<Item = (NodeId, u64)> {
        self.nodes.iter().filter_map(|(node, told)| match told {
            Told::Digest(digest) => Some((*node, *digest)),
            _ => None,
        })
    }

    /// Whether nodes differ.
    pub fn differs(&self) -> bool {
        self.digests().map(|(_, digest)| digest).collect::<BTreeSet<_>>().len() > 1
    }

    /// Whether what was found to differ before does not any more: who was compared then is alike now, or no
    /// member. A node that is silent settles nothing.
    fn settles(&self, before: &Comparison) -> bool {
        let is_seen =
            |(node, _)| self.nodes.get(&node).is_none_or(|it| matches!(it, Told::Digest(_)));
        !self.differs() && before.digests().all(is_seen)
    }

    /// The nodes that differ from a majority of those that were compared; empty when there is no such
    /// majority.
    pub fn odd(&self) -> Vec<NodeId> {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        self.digests().for_each(|(_, digest)| *counts.entry(digest).or_default() += 1);
        let all: usize = counts.values().sum();
        let Some((right, _)) = counts.iter().find(|(_, count)| **count * 2 > all) else {
            return Vec::new();
        };
        self.digests().filter(|(_, digest)| digest != right).map(|(node, _)| node).collect()
    }
}

/// The finding, for the operator.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(index) = self.index else {
            return f.write_str(
                "no two nodes have a state at one index in common yet; ask again in half a minute",
            );
        };
        let compared = self.digests().count();
        if !self.differs() {
            return write!(
                f,
                "{compared} of {} node(s) have the same state at index {index}",
                self.nodes.len()
            );
        }
        let list = |nodes: Vec<NodeId>| {
            nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        match self.odd() {
            odd if odd.is_empty() => write!(
                f,
                "the states of nodes {} differ at index {index}, and no majority of them agrees: keep a backup of each, and \
                 the logs",
                list(self.digests().map(|(node, _)| node).collect())
            ),
            odd => write!(
                f,
                "the state of node {} differs from that of the others at index {index}: keep its data directory for whoever \
                 looks into it, remove it (cluster-ctl node remove) and let it join as a new node",
                list(odd)
            ),
        }
    }
}

impl Shared {
    /// Called under the lock, after an entry.
    pub(super) fn mark(&self, index: u64, before: ClusterTime, state: &crate::state::State) {
        if is_place(before, state.now(), self.hash_every) {
            self.hashes.offer(index, state.freeze());
        }
    }
}

impl Raft {
    /// Asks every member for its digests and compares them.
    pub async fn compare_states(&self) -> Comparison {
        let own = self.id();
        let mut asked = JoinSet::new();
        for member in self.status().members {
            let (raft, node) = (self.clone(), member.node);
            asked.spawn(async move { (node, raft.hashes_of(node).await) });
        }
        let mut told: BTreeMap<_, _> = asked.join_all().await.into_iter().collect();
        told.insert(own, Some(self.inner.shared.hashes.recent()));
        Comparison::of(told)
    }

    async fn hashes_of(&self, node: NodeId) -> Option<Vec<(u64, u64)>> {
        if node == self.id() {
            return None;
        }
        let mut client = HashesClient::new(self.channel(node, Purpose::Forward)?);
        let asking = client.recent(pb::HashesRequest {});
        let answer = tokio::time::timeout(PATIENCE, asking).await.ok()?.ok()?;
        let hashes = answer.into_inner().hashes;
        Some(hashes.into_iter().take(KEPT).map(|hash| (hash.index, hash.digest)).collect())
    }

    /// Compares every two minutes. Ends when it is dropped, which is safe anywhere.
    pub async fn watch_states(self) {
        loop {
            tokio::time::sleep(WATCH_EVERY).await;
            self.look_at_states().await;
        }
    }

    /// One look: a difference is logged, and remembered until it is gone.
    pub(in crate::raft) async fn look_at_states(&self) {
        let found = self.compare_states().await;
        let mut differs = self.inner.shared.hashes.differs.lock();
        if found.differs() {
            tracing::error!("{found}");
            *differs = Some(found);
        } else if differs.as_ref().is_some_and(|before| found.settles(before)) {
            tracing::info!("{found}: the difference is gone");
            *differs = None;
        }
    }

    /// What this node last found to differ between the states of nodes.
    pub fn states_differ(&self) -> Option<String> {
        self.inner.shared.hashes.differs.lock().as_ref().map(ToString::to_string)
    }
}

/// Tells peers the digests of this node.
#[derive(Debug)]
pub struct HashesService {
    guard: Guard,
    raft: Raft,
}

impl HashesService {
    /// A server for [`Raft::serve`]. It checks the ends of each call itself.
    pub fn server(raft: &Raft) -> HashesServer<HashesService> {
        HashesServer::new(HashesService { guard: raft.guard(), raft: raft.clone() })
            .max_decoding_message_size(SMALL)
    }
}

#[tonic::async_trait]
impl Rpc for HashesService {
    async fn recent(
        &self,
        request: Request<pb::HashesRequest>,
    ) -> Result<Response<pb::HashesResponse>, Status> {
        self.guard.check(&request)?;
        let hashes = self.raft.inner.shared.hashes.recent().into_iter();
        let hashes = hashes.map(|(index, digest)| pb::StateHash { index, digest }).collect();
        Ok(Response::new(pb::HashesResponse { hashes }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(rings: &[Option<&[(u64, u64)]>]) -> Comparison {
        let rings = rings.iter().map(|ring| ring.map(<[_]>::to_vec));
        Comparison::of((1..).map(NodeId).zip(rings).collect())
    }

    #[test]
    fn the_newest_place_that_most_nodes_have_is_compared() {
        let found = compared(&[Some(&[(5, 1), (9, 2)]), Some(&[(5, 1)]), Some(&[(5, 1), (9, 2)])]);
        assert_eq!((found.index, found.differs()), (Some(5), false));
        assert_eq!(found.to_string(), "3 of 3 node(s) have the same state at index 5");
        let found = compared(&[Some(&[(5, 1), (9, 2)]), None, Some(&[(9, 3)])]);
        assert_eq!((found.index, found.differs()), (Some(9), true));
        assert_eq!(found.nodes[&NodeId(2)], Told::Silent);
        assert!(found.odd().is_empty(), "of two nobody is right");
        assert!(found.to_string().contains("no majority of them agrees"), "{found}");
        let found = compared(&[Some(&[(5, 1)]), Some(&[(6, 1)]), Some(&[])]);
        assert_eq!((found.index, found.differs()), (None, false));
        assert!(found.to_string().contains("ask again"), "{found}");
        assert_eq!(compared(&[Some(&[(5, 1)])]).index, Some(5), "a cluster of one");
    }

    #[test]
    fn of_three_the_odd_one_is_named() {
        let found = compared(&[Some(&[(5, 1)]), Some(&[(5, 2)]), Some(&[(5, 1)])]);
        assert_eq!(found.odd(), [NodeId(2)]);
        assert!(found.to_string().starts_with("the state of node 2 differs"), "{found}");
    }

    #[test]
    fn a_place_is_the_first_entry_of_a_period() {
        let at = ClusterTime::from_millis;
        assert!(!is_place(at(10_000), at(19_999), EVERY));
        assert!(is_place(at(19_999), at(20_000), EVERY));
        assert!(is_place(at(1), at(95_000), EVERY));
    }

    #[test]
    fn the_ring_is_bounded_and_only_the_newest_machine_waits() {
        let hashes = Hashes::default();
        let frozen = crate::state::State::new().freeze();
        for index in 0..2 * KEPT as u64 {
            hashes.offer(2 * index, frozen.clone());
            hashes.offer(2 * index + 1, frozen.clone());
            hashes.digest();
        }
        hashes.digest();
        let ring = hashes.recent();
        assert_eq!((ring.len(), ring[0].0 % 2, ring[KEPT - 1].1), (KEPT, 1, frozen.digest()));
        hashes.clear();
        assert!(hashes.recent().is_empty());
    }
}
