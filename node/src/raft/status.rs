//! Raft at a glance: for operators, metrics and the leader's duties.

use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::Instant as _;

use super::Raft;
use super::typ::Member;
use crate::types::{ClusterTime, NodeId};

/// What this node is in Raft just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Receives, does not vote.
    Learner,
    /// Follows.
    Follower,
    /// Stands for election.
    Candidate,
    /// Leads.
    Leader,
    /// Stops.
    Stopping,
}

/// A member as the leader or the membership shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// The node.
    pub node: NodeId,
    /// Where it is reached.
    pub address: String,
    /// Whether it votes.
    pub voter: bool,
    /// How long ago it last answered. Known to the leader only, about others only.
    pub heard_ago: Option<Duration>,
    /// The last entry known to be on its disk. Known to the leader only.
    pub matched: Option<u64>,
    /// Entries it is behind the leader. Known to the leader only.
    pub lag: Option<u64>,
}

/// Raft at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub id: NodeId,
    /// The cluster.
    pub cluster: u64,
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    /// The term.
    pub term: u64,
    /// What this node is.
    pub role: Role,
    /// Whether this node leads and may stamp: it has applied an entry of its own term (R10).
    pub stamping: bool,
    /// How long ago a majority last answered the leader; known to the leader only.
    pub quorum_heard_ago: Option<Duration>,
    /// The last entry in the log.
    pub last_log: Option<u64>,
    /// The last entry known to be committed in the cluster.
    pub committed: Option<u64>,
    /// The last applied entry.
    pub applied: Option<u64>,
    /// The last stamp applied.
    pub stamp: ClusterTime,
    /// The last entry in a snapshot file.
    pub snapshot: Option<u64>,
    /// The last entry that is gone from the log.
    pub purged: Option<u64>,
    /// Bytes of log on disk.
    pub log_bytes: u64,
    /// Members, this node among them.
    pub members: Vec<PeerStatus>,
    /// Calls of peers that were refused.
    pub refused: u64,
    /// Why Raft has stopped, if it has.
    pub stopped: Option<String>,
}

impl Raft {
    /// Raft at a glance.
    pub fn status(&self) -> Status {
        let metrics = self.metrics();
        let progress = self.applied();
        let membership = metrics.membership_config.membership().clone();
        let voters: Vec<u64> = membership.voter_ids().collect();
        let leads = metrics.state == ServerState::Leader;
        let last = metrics.last_log_index;
        let member = |node: u64, member: &Member| {
            let own = node == self.inner.me.node;
            let heard = metrics.heartbeat.as_ref().and_then(|heard| heard.get(&node));
            let heard_ago = heard.and_then(|at| at.as_ref()).map(|at| at.elapsed());
            let replicated = metrics.replication.as_ref().and_then(|all| all.get(&node));
            let matched = match replicated.and_then(|id| *id) {
                Some(id) => Some(id.index),
                None if own && leads => last,
                None => None,
            };
            let lag = leads.then(|| {
                let end = last.map_or(0, |last| last + 1);
                end.saturating_sub(matched.map_or(0, |matched| matched + 1))
            });
            PeerStatus {
                node: NodeId(node),
                address: member.address.clone(),
                voter: voters.contains(&node),
                heard_ago: heard_ago.filter(|_| !own),
                matched,
                lag,
            }
        };
        Status {
            id: self.id(),
            cluster: self.inner.me.cluster,
            leader: metrics.current_leader.map(NodeId),
            term: metrics.current_term,
            role: match metrics.state {
                ServerState::Learner => Role::Learner,
                ServerState::Follower => Role::Follower,
                ServerState::Candidate => Role::Candidate,
                ServerState::Leader => Role::Leader,
                ServerState::Shutdown => Role::Stopping,
            },
            stamping: self.is_stamping(),
            quorum_heard_ago: metrics.last_quorum_acked.as_ref().map(|at| at.elapsed()),
            last_log: last,
            committed: metrics.cluster_committed.max(metrics.local_committed).map(|id| id.index),
            applied: progress.applied.map(|id| id.index),
            stamp: progress.stamp,
            snapshot: metrics.snapshot.map(|id| id.index),
            purged: metrics.purged.map(|id| id.index),
            log_bytes: self.inner.log.size(),
            members: membership.nodes().map(|(node, known)| member(*node, known)).collect(),
            refused: self.inner.guard.refused(),
            stopped: metrics.running_state.err().map(|fatal| fatal.to_string()),
        }
    }
}
