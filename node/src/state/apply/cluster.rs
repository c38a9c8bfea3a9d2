//! The roster and what people see of time (R12, R16).

use std::sync::Arc;
use std::time::Duration;

use crate::state::State;
use crate::state::command::{Liveness, NodeInfo, WallOffset};
use crate::state::meta::NodeEntry;
use crate::state::outcome::Outcome;
use crate::types::{ClusterTime, Lifetime, NodeId};

/// The most nodes the table holds, departed ones included. Beyond it the longest departed goes.
const MAX_NODES: usize = 1024;

impl State {
    pub(super) fn set_wall_offset(&mut self, offset: WallOffset) -> Outcome {
        self.meta.wall_offset = offset;
        Outcome::Noted
    }

    /// A node that nobody has spoken of counts as up: its word reached the leader a moment ago. For
    /// one that is down this changes nothing; the leader says when it is up. A node that has left
    /// stays away, since its number is never used again.
    pub(super) fn node_info(&mut self, info: &NodeInfo) -> Outcome {
        let now = self.meta.now;
        let old = self.meta.nodes.get(&info.node);
        if old.is_some_and(|entry| entry.liveness == Liveness::Left) {
            return Outcome::Noted;
        }
        let (liveness, since) =
            old.map_or((Liveness::Up, now), |entry| (entry.liveness, entry.since));
        let entry = NodeEntry { info: Some(info.clone()), liveness, since };
        self.meta.nodes.insert(info.node, Arc::new(entry));
        self.forget_departed();
        Outcome::Noted
    }

    pub(super) fn node_liveness(&mut self, node: NodeId, liveness: Liveness) -> Outcome {
        let now = self.meta.now;
        let old = self.meta.nodes.get(&node);
        if old.is_some_and(|entry| entry.liveness == liveness || entry.liveness == Liveness::Left) {
            return Outcome::Noted;
        }
        let info = old.and_then(|entry| entry.info.clone());
        if liveness == Liveness::Maintenance && !self.can_spare(node) {
            return Outcome::Noted;
        }
        if liveness == Liveness::Left {
            self.meta.roster.left(node);
        }
        self.meta.nodes.insert(node, Arc::new(NodeEntry { info, liveness, since: now }));
        self.forget_departed();
        Outcome::Noted
    }

    /// Whether clients are answered without this node, and a majority is left when it is stopped: the
    /// others that are up must be more than half of all. Decided here, so that two operators at two nodes
    /// cannot take one too many; whoever asked sees in the table whether it was done.
    fn can_spare(&self, node: NodeId) -> bool {
        let others =
            self.meta.nodes().filter(|(id, e)| *id != node && e.liveness == Liveness::Up).count();
        others > self.meta.members() / 2
    }

    /// C6: a departed node's identities count for the longest lease time, not for ever.
    fn forget_departed(&mut self) {
        let longest = self.longest_lifetime();
        let now = self.meta.now;
        let left = |entry: &NodeEntry| entry.liveness == Liveness::Left;
        let over =
            |since: ClusterTime| !longest.is_infinite() && since.plus_lifetime(longest) < now;
        let gone: Vec<NodeId> =
            self.meta.nodes().filter(|(_, e)| left(e) && over(e.since)).map(|(id, _)| id).collect();
        for id in gone {
            self.meta.nodes.remove(&id);
        }
        while self.meta.nodes.len() > MAX_NODES {
            let oldest =
                self.meta.nodes().map(|(id, e)| (!left(e), e.since, id)).min().map(|(_, _, id)| id);
            let Some(oldest) = oldest else { break };
            self.meta.nodes.remove(&oldest);
        }
    }

    /// The longest time a client may have been told, or a day at least.
    fn longest_lifetime(&self) -> Lifetime {
        let day = Lifetime::from_secs(Duration::from_secs(86_400).as_secs() as u32);
        let subnets = self.meta.config.iter().flat_map(|config| &config.subnets);
        subnets.map(|subnet| subnet.values.max_valid_lifetime).max().unwrap_or(day).max(day)
    }
}
