//! Who may call (rule R14): every call names cluster, node and instance of both ends, and a call
//! that names another cluster, another node or another data directory is refused and counted. So a
//! node that lost its disk cannot come back as itself (R15), and a node that was told a wrong
//! address cannot reach into another cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use leasehold_proto::raft as proto;
use prost::Message;
use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::network::{ENDS, Me};
use super::typ::StoredMembership;
use crate::storage::RosterNode;

/// Refuses calls that are not meant for this node or do not come from whom they say. Wrap each
/// service between nodes in it; clone it freely.
#[derive(Debug, Clone)]
pub struct Guard {
    me: Me,
    roster: Arc<Vec<RosterNode>>,
    membership: watch::Receiver<Arc<StoredMembership>>,
    refused: Arc<AtomicU64>,
}

impl Guard {
    pub(super) fn new(
        me: Me,
        roster: Arc<Vec<RosterNode>>,
        membership: watch::Receiver<Arc<StoredMembership>>,
    ) -> Guard {
        Guard { me, roster, membership, refused: Arc::default() }
    }

    /// Calls refused since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Checks the header of a call; returns the calling node.
    ///
    /// # Errors
    /// The refusal to send.
    pub fn check(&self, metadata: &MetadataMap) -> Result<u64, Status> {
        let checked = self.judge(metadata);
        if let Err(reason) = &checked {
            let count = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
            // A misdirected node calls many times a second.
            if count.is_power_of_two() {
                tracing::warn!(reason, count, "refused a call between nodes");
            }
        }
        checked.map_err(Status::permission_denied)
    }

    fn judge(&self, metadata: &MetadataMap) -> Result<u64, String> {
        let header = metadata.get_bin(ENDS).ok_or("the call does not name its ends")?;
        let bytes = header.to_bytes().map_err(|_| "the call's ends do not decode")?;
        let ends = proto::Ends::decode(bytes).map_err(|_| "the call's ends do not decode")?;
        let Me { cluster, node, instance } = self.me;
        if ends.cluster != cluster {
            return Err(format!(
                "the call is for cluster {:016x}, this is {cluster:016x}",
                ends.cluster
            ));
        }
        if ends.to_node != node {
            return Err(format!("the call is for node {}, this is {node}", ends.to_node));
        }
        if ends.to_instance != instance {
            return Err(format!(
                "the call is for another data directory of node {node}: it was emptied or replaced, and must join as a \
                 new node"
            ));
        }
        let from = ends.from_node;
        match self.instance_of(from) {
            Some(known) if known != ends.from_instance => Err(format!(
                "node {from} calls from another data directory than it had: it must join as a new node"
            )),
            // A node that has just joined does not know the others yet; that they know its
            // instance is proof enough.
            _ => Ok(from),
        }
    }

    fn instance_of(&self, node: u64) -> Option<u64> {
        if let Some(member) = self.membership.borrow().get_node(&node) {
            return Some(member.instance);
        }
        self.roster.iter().find(|known| known.node.0 == node).map(|known| known.instance)
    }
}

impl Interceptor for Guard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        self.check(request.metadata())?;
        Ok(request)
    }
}
