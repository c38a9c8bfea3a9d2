//! Who may call (rule R14): every call names cluster, node and instance of both ends, and a call
//! that names another cluster, another node or another data directory is refused and counted. So a
//! node that lost its disk cannot come back as itself (R15), and a node that was told a wrong
//! address cannot reach into another cluster. With TLS the certificate must be that of the node that the
//! call claims to come from. A node that was removed is told so ([`REMOVED`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use leasehold_proto::raft as proto;
use parking_lot::RwLock;
use prost::Message;
use tokio::sync::watch;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Code, Request, Status};

use super::addresses::{Book, REMOVED};
use super::network::{ENDS, Me};
use super::port::Caller;
use super::typ::{Member, StoredMembership};
use crate::observe::quiet::seldom;
use crate::state::{Liveness, State};
use crate::storage::RosterNode;
use crate::types::NodeId;

/// Refuses calls that are not meant for this node or do not come from whom they say. Wrap each
/// service between nodes in it; clone it freely.
#[derive(Debug, Clone)]
pub struct Guard {
    me: Me,
    roster: Arc<Vec<RosterNode>>,
    membership: watch::Receiver<Arc<StoredMembership>>,
    book: Book,
    state: Arc<RwLock<State>>,
    /// Whether callers must have shown a certificate.
    tls: bool,
    refused: Arc<AtomicU64>,
}

/// Why a call is refused.
struct Refused {
    reason: String,
    /// The caller was removed from the cluster.
    removed: bool,
}

impl From<String> for Refused {
    fn from(reason: String) -> Refused {
        Refused { reason, removed: false }
    }
}

impl From<&str> for Refused {
    fn from(reason: &str) -> Refused {
        reason.to_owned().into()
    }
}

impl Guard {
    pub(super) fn new(
        me: Me,
        roster: Arc<Vec<RosterNode>>,
        membership: watch::Receiver<Arc<StoredMembership>>,
        book: Book,
        state: Arc<RwLock<State>>,
        tls: bool,
    ) -> Guard {
        Guard { me, roster, membership, book, state, tls, refused: Arc::default() }
    }

    /// Calls refused since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Checks the header of a call, and the caller's certificate; returns the calling node.
    ///
    /// # Errors
    /// The refusal to send.
    pub fn check<T>(&self, request: &Request<T>) -> Result<u64, Status> {
        let caller = Caller::of(request);
        let checked = self.judge(request, caller);
        if let (Ok(_), Some(caller)) = (&checked, caller) {
            caller.prove();
        }
        if let Err(Refused { reason, .. }) = &checked {
            let count = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
            // A misdirected node calls many times a second.
            seldom!(warn, reason, reason, count, "refused a call between nodes");
        }
        checked.map_err(|Refused { reason, removed }| {
            let mut metadata = MetadataMap::new();
            if removed {
                metadata.insert(REMOVED, MetadataValue::from(self.me.node));
            }
            Status::with_metadata(Code::PermissionDenied, reason, metadata)
        })
    }

    fn judge<T>(&self, request: &Request<T>, caller: Option<&Caller>) -> Result<u64, Refused> {
        let header = request.metadata().get_bin(ENDS).ok_or("the call does not name its ends")?;
        let bytes = header.to_bytes().map_err(|_| "the call's ends do not decode")?;
        let ends = proto::Ends::decode(bytes).map_err(|_| "the call's ends do not decode")?;
        let Me { cluster, node, instance } = self.me;
        if ends.cluster != cluster {
            let to = ends.cluster;
            let reason = format!("the call is for cluster {to:016x}, this is {cluster:016x}");
            return Err(reason.into());
        }
        if ends.to_node != node {
            return Err(format!("the call is for node {}, this is {node}", ends.to_node).into());
        }
        if ends.to_instance != instance {
            return Err(format!(
                "the call is for another data directory of node {node}: it was emptied or replaced, and must join as a \
                 new node"
            )
            .into());
        }
        let from = ends.from_node;
        self.is_its_certificate(from, caller)?;
        if self.was_removed(from) {
            let reason = format!("node {from} was removed from this cluster");
            return Err(Refused { reason, removed: true });
        }
        match self.pinned(from, |member| member.instance, |known| known.instance) {
            Some(known) if known != ends.from_instance => Err(format!(
                "node {from} calls from another data directory than it had: it must join as a new node"
            )
            .into()),
            Some(instance) => {
                if self.book.told(from, instance, &ends.from_address) {
                    tracing::debug!(from, address = ends.from_address, "a node says where it listens");
                }
                Ok(from)
            }
            // A node that has just joined does not know the others yet; that they know its
            // instance is proof enough.
            None => Ok(from),
        }
    }

    /// Whether the caller's certificate is the one by which the cluster knows node `from`. Of a node that we
    /// do not know yet any of the cluster will do; without TLS there is none.
    fn is_its_certificate(&self, from: u64, caller: Option<&Caller>) -> Result<(), String> {
        let Some(name) = caller.and_then(|caller| caller.name.as_ref()) else {
            let missing = "the call did not come over a connection with a certificate".to_owned();
            return if self.tls { Err(missing) } else { Ok(()) };
        };
        let of_member = |member: &Member| member.tls_name.clone();
        match self.pinned(from, of_member, |known| known.tls_name.clone()) {
            Some(pinned) if !pinned.is_empty() && pinned != name.name => Err(format!(
                "a call in the name of node {from} came with the certificate of {}, and that node is {pinned}",
                name.name
            )),
            _ => Ok(()),
        }
    }

    /// Whether `node` was a member and is none any more. A node that this one has not heard of yet was
    /// not removed, as far as this one knows.
    fn was_removed(&self, node: u64) -> bool {
        {
            let membership = self.membership.borrow();
            if membership.log_id().is_none() || membership.get_node(&node).is_some() {
                return false;
            }
        }
        if self.roster.iter().any(|known| known.node.0 == node) {
            return true;
        }
        let state = self.state.read();
        let entry = state.view().meta().node(NodeId(node));
        entry.is_some_and(|entry| entry.liveness == Liveness::Left)
    }

    fn pinned<T>(
        &self,
        node: u64,
        of_member: impl FnOnce(&Member) -> T,
        of_roster: impl FnOnce(&RosterNode) -> T,
    ) -> Option<T> {
        if let Some(member) = self.membership.borrow().get_node(&node) {
            return Some(of_member(member));
        }
        self.roster.iter().find(|known| known.node.0 == node).map(of_roster)
    }
}

impl Interceptor for Guard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        self.check(&request)?;
        Ok(request)
    }
}
