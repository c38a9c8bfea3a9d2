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
use super::typ::StoredMembership;
use crate::observe::quiet::seldom;
use crate::state::{Admission, Liveness, State};
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
    /// Whether nodes may call that this one does not know, though it is a member.
    takes_unknown: bool,
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
        let (takes_unknown, refused) = (false, Arc::default());
        Guard { me, roster, membership, book, state, tls, takes_unknown, refused }
    }

    /// The guard before Raft itself: a node that is behind hears of new members from them.
    pub(super) fn of_raft(self) -> Guard {
        Guard { takes_unknown: true, ..self }
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
        let standing = self.standing(from);
        self.is_its_certificate(from, &standing, caller)?;
        match standing {
            Standing::Removed => {
                let reason = format!("node {from} was removed from this cluster");
                Err(Refused { reason, removed: true })
            }
            Standing::Known { instance, .. } if instance != ends.from_instance => Err(format!(
                "node {from} calls from another data directory than it had: it must join as a new node"
            )
            .into()),
            Standing::Known { instance, .. } => {
                if self.book.told(from, instance, &ends.from_address) {
                    tracing::debug!(from, address = ends.from_address, "a node says where it listens");
                }
                Ok(from)
            }
            // A node that reads the log from its beginning does not know the others yet, and neither one
            // that is behind: that they know its instance is proof enough for Raft, by which it learns.
            Standing::Unknown if self.takes_unknown || !self.is_within() => Ok(from),
            Standing::Unknown => {
                Err(format!("this node does not know of a node {from}, or not yet").into())
            }
        }
    }

    /// Whether this node has applied that it is a member. Then it knows all who came before it.
    fn is_within(&self) -> bool {
        self.membership.borrow().get_node(&self.me.node).is_some()
    }

    /// What this node knows of another one.
    ///
    /// A node that joined was told who the members are (its roster), and reads the log from far back: what
    /// it has applied is older than that until it finds itself among the members. Only from then on is
    /// somebody who is not among them one who was removed.
    fn standing(&self, node: u64) -> Standing {
        let is_within = {
            let membership = self.membership.borrow();
            if let Some(member) = membership.get_node(&node) {
                let (instance, tls_name) = (member.instance, member.tls_name.clone());
                return Standing::Known { instance, tls_name };
            }
            membership.get_node(&self.me.node).is_some()
        };
        {
            let state = self.state.read();
            let meta = state.view().meta();
            let entry = meta.node(NodeId(node));
            if entry.is_some_and(|entry| entry.liveness == Liveness::Left) {
                return Standing::Removed;
            }
            let admission = meta.roster().admission(NodeId(node));
            if let Some(Admission { instance, tls_name, .. }) = admission {
                return Standing::Known { instance: *instance, tls_name: tls_name.clone() };
            }
        }
        match self.roster.iter().find(|known| known.node.0 == node) {
            Some(_) if is_within => Standing::Removed,
            Some(RosterNode { instance, tls_name, .. }) => {
                Standing::Known { instance: *instance, tls_name: tls_name.clone() }
            }
            // Numbers ascend: who was let in before this node is on one of the lists, or gone.
            None if is_within && node < self.me.node => Standing::Removed,
            None => Standing::Unknown,
        }
    }

    /// Whether the caller's certificate is the one by which the cluster knows node `from`. Of a node that we
    /// do not know yet any of the cluster will do; without TLS there is none.
    fn is_its_certificate(
        &self,
        from: u64,
        standing: &Standing,
        caller: Option<&Caller>,
    ) -> Result<(), String> {
        let Some(name) = caller.and_then(|caller| caller.name.as_ref()) else {
            let missing = "the call did not come over a connection with a certificate".to_owned();
            return if self.tls { Err(missing) } else { Ok(()) };
        };
        match standing {
            Standing::Known { tls_name: pinned, .. }
                if !pinned.is_empty() && *pinned != name.name =>
            {
                Err(format!(
                    "a call in the name of node {from} came with the certificate of {}, and that node is {pinned}",
                    name.name
                ))
            }
            _ => Ok(()),
        }
    }
}

/// What a node knows of another one.
enum Standing {
    /// Its data directory, and the name in its certificate; empty without TLS.
    Known { instance: u64, tls_name: String },
    /// It was a member, and is none for good.
    Removed,
    /// Nothing.
    Unknown,
}

impl Interceptor for Guard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        self.check(&request)?;
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use tonic::metadata::BinaryMetadataValue;

    use super::super::typ::{Member, Membership};
    use super::*;

    const CLUSTER: u64 = 7;

    fn instance(node: u64) -> u64 {
        node << 40
    }

    /// Node 3, which joined a cluster of 1 and 2; what it has applied of the membership can be set.
    fn joined() -> (Guard, watch::Sender<Arc<StoredMembership>>) {
        let (applied, seen) = watch::channel(Arc::new(members(&[])));
        let known = |node: u64| RosterNode {
            node: NodeId(node),
            instance: instance(node),
            address: format!("10.0.0.{node}:1"),
            tls_name: String::new(),
        };
        let me = Me { cluster: CLUSTER, node: 3, instance: instance(3) };
        let roster = Arc::new(vec![known(1), known(2)]);
        let state = Arc::new(RwLock::new(State::default()));
        (Guard::new(me, roster, seen, Book::default(), state, false), applied)
    }

    fn members(nodes: &[u64]) -> StoredMembership {
        let member = |node: &u64| {
            let address = format!("10.0.0.{node}:1");
            (*node, Member { address, instance: instance(*node), ..Member::default() })
        };
        let voters = vec![nodes.iter().copied().collect::<BTreeSet<_>>()];
        let members: BTreeMap<u64, Member> = nodes.iter().map(member).collect();
        match Membership::new(voters, members) {
            Ok(membership) if !nodes.is_empty() => StoredMembership::new(None, membership),
            _ => StoredMembership::default(),
        }
    }

    fn call(from: u64, from_instance: u64) -> Request<()> {
        let ends = proto::Ends {
            cluster: CLUSTER,
            from_node: from,
            from_instance,
            to_node: 3,
            to_instance: instance(3),
            ..Default::default()
        };
        let mut request = Request::new(());
        let value = BinaryMetadataValue::from_bytes(&ends.encode_to_vec());
        request.metadata_mut().insert_bin(ENDS, value);
        request
    }

    fn is_removed(refusal: &Status) -> bool {
        refusal.metadata().contains_key(REMOVED)
    }

    #[test]
    fn r14_who_has_joined_tells_nobody_that_he_was_removed_before_it_finds_itself_a_member() {
        let (guard, applied) = joined();
        // It reads the log from the beginning, when node 1 was alone.
        for nodes in [&[][..], &[1], &[1, 2], &[1, 2, 3]] {
            applied.send_replace(Arc::new(members(nodes)));
            for caller in [1, 2] {
                let told = guard.check(&call(caller, instance(caller)));
                assert_eq!(told.unwrap(), caller, "with {nodes:?} applied");
            }
            let other = guard.check(&call(2, 99)).unwrap_err();
            assert!(other.message().contains("another data directory"), "{other}");
        }
        applied.send_replace(Arc::new(members(&[1, 3])));
        assert!(is_removed(&guard.check(&call(2, instance(2))).unwrap_err()));
    }

    #[test]
    fn r14_unknown_nodes_are_heard_by_raft_alone_once_this_node_is_a_member() {
        let (guard, applied) = joined();
        assert_eq!(guard.check(&call(9, 1)).unwrap(), 9, "nobody is known yet");
        applied.send_replace(Arc::new(members(&[1, 2, 3])));
        let refused = guard.check(&call(9, 1)).unwrap_err();
        assert!(!is_removed(&refused) && refused.message().contains("does not know"), "{refused}");
        assert_eq!(guard.clone().of_raft().check(&call(9, 1)).unwrap(), 9);
        applied.send_replace(Arc::new(members(&[1, 2, 3, 9])));
        assert_eq!(guard.check(&call(9, instance(9))).unwrap(), 9);
        // A lower number than its own that is on no list was there before it, and left.
        let me = Me { node: 8, ..guard.me };
        let late = Guard { me, ..guard };
        applied.send_replace(Arc::new(members(&[1, 2, 8])));
        let mut gone = call(5, 1);
        let ends = proto::Ends {
            to_node: 8,
            cluster: CLUSTER,
            from_node: 5,
            to_instance: instance(3),
            ..Default::default()
        };
        gone.metadata_mut()
            .insert_bin(ENDS, BinaryMetadataValue::from_bytes(&ends.encode_to_vec()));
        assert!(is_removed(&late.of_raft().check(&gone).unwrap_err()));
    }
}
