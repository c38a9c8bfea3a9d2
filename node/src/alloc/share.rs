//! How the free addresses of a pool are divided between nodes (C8).

use std::net::Ipv4Addr;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::state::View;
use crate::types::NodeId;

/// One node's share of every pool: each address belongs to the live node with the highest hash of
/// address and node (rendezvous hashing), so that a change of one node moves only that node's
/// addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    me: NodeId,
    live: Vec<NodeId>,
}

impl Share {
    /// The share of `me` among the nodes that applied state calls up (R16). A cluster of one owns
    /// everything, whatever is known of it yet.
    pub fn of(view: View<'_>, me: NodeId) -> Share {
        if view.meta().members() <= 1 {
            Share::whole(me)
        } else {
            Share::among(me, view.live_nodes())
        }
    }

    /// The share of `me` among `live`.
    pub fn among(me: NodeId, live: Vec<NodeId>) -> Share {
        Share { me, live }
    }

    /// Everything.
    pub fn whole(me: NodeId) -> Share {
        Share { me, live: vec![me] }
    }

    /// Whether it is everything.
    pub fn is_whole(&self) -> bool {
        self.live == [self.me]
    }

    /// The node that offers `address`; `None` while no node is live.
    pub fn owner(&self, address: Ipv4Addr) -> Option<NodeId> {
        let score = |node: &NodeId| (xxh3_64_with_seed(&address.octets(), node.0), *node);
        self.live.iter().copied().max_by_key(score)
    }

    /// Whether `address` is in the share.
    pub fn is_mine(&self, address: Ipv4Addr) -> bool {
        self.is_whole() || self.owner(address) == Some(self.me)
    }
}
