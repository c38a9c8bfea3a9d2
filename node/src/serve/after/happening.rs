//! What happened to a lease through a committed command of this node. Plain data, made by the worker
//! and by the leader's sweep, taken by [`super::After`].

use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::config::Config;
use crate::dhcp::v4::Packet;
use crate::state::{Client, Generation, Lease, View};
use crate::types::ClusterTime;

/// A lease changed, and this node's command did it: no other node reports the same change.
#[derive(Debug, Clone)]
pub struct Happening {
    /// What happened.
    pub what: What,
    /// The configuration it happened under.
    pub config: Arc<Config>,
}

/// The changes that somebody may want to know of.
#[derive(Debug, Clone)]
pub enum What {
    /// A client was granted an address.
    Granted {
        /// Its packet.
        query: Query,
        /// The entry that granted it: the lease is complete once this node has applied that.
        index: u64,
        /// The address.
        address: Ipv4Addr,
        /// The holding.
        generation: Generation,
        /// The stamp of that entry. A lease that was written before it was not written by it: the
        /// grant came from the cache (M8), and nothing happened.
        stamp: ClusterTime,
        /// What was there before.
        before: Before,
    },
    /// A client gave its address back: the lease as it was.
    Released(Query, Arc<Lease>),
    /// A client says that somebody else uses the address: the lease as it was.
    Declined(Query, Arc<Lease>),
    /// The time of a lease was over: the lease as it was, and whether it is gone altogether.
    Expired(Arc<Lease>, bool),
    /// An administrator deleted a lease, and wants its name out of DNS: the lease as it was.
    Deleted(Arc<Lease>),
    /// An administrator wants the name of a lease in DNS once more.
    Named(Arc<Lease>),
}

impl What {
    /// The lease that a grant wrote, once `view` shows it: none if it is another's by then, or if
    /// the grant came from the cache (M8) and wrote nothing.
    pub fn written(&self, view: View<'_>) -> Option<Arc<Lease>> {
        let What::Granted { address, generation, stamp, .. } = self else { return None };
        let lease = view.lease(*address)?;
        (lease.generation == *generation && lease.cltt >= *stamp).then(|| Arc::clone(lease))
    }
}

/// The packet behind a change.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// The packet.
    pub packet: Packet,
    /// The number of its interface.
    pub interface: u32,
}

/// Leases that a grant replaces, as the view had them when it was proposed.
#[derive(Debug, Clone, Default)]
pub struct Before {
    /// The client's own lease of the same address.
    pub same: Option<Arc<Lease>>,
    /// A lease of the address that was another client's and is over.
    pub others: Option<Arc<Lease>>,
    /// The client's lease of another address, which the grant retires.
    pub retired: Option<Arc<Lease>>,
}

impl Before {
    /// What a grant of `address` to `client`, which holds `held`, would replace.
    pub fn of(
        view: View<'_>,
        client: &Client,
        address: Ipv4Addr,
        held: Option<Ipv4Addr>,
    ) -> Before {
        // An offer that waited to be accepted (`offer-lifetime`) is nobody's yet: nobody was told.
        let lease = view.lease(address).filter(|lease| !lease.offered).cloned();
        let (same, others) = match lease {
            Some(lease) if lease.held_by(client) => (Some(lease), None),
            lease => (None, lease),
        };
        let retired = held.filter(|held| *held != address).and_then(|held| view.lease(held));
        let retired = retired.filter(|lease| !lease.offered).cloned();
        Before { same, others, retired }
    }
}

/// Whether anybody wants to know: nothing is collected otherwise.
pub fn is_wanted(config: &Config) -> bool {
    config.ddns.enabled || config.hooks.run_script.is_some()
}
