//! What the engine is told besides the packet and the replicated state: this node, what it
//! remembers, and how often the caller has asked already.

use std::cell::RefCell;
use std::net::Ipv4Addr;

use crate::alloc::{Cursors, Holds};
use crate::dhcp::decision::Link;
use crate::state::Origin;
use crate::types::{ClientKey, ClusterTime, NodeId};

/// The usual [`Context::hold_floor`]: a rack that powers up at once is no flood.
pub const HOLD_FLOOR: u32 = 64;

/// Everything local.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// This node.
    pub me: NodeId,
    /// The addresses this node listens on: its own identities (C6), and never a relay (A8).
    pub own: &'a [Ipv4Addr],
    /// What this node remembers of the last minutes.
    pub memory: &'a dyn Memory,
    /// Addresses this node has offered (M3). The caller lets the ended ones expire.
    pub holds: &'a Holds,
    /// Where the allocator goes on in each subnet. The one thing the engine moves: it is a hint,
    /// and a lost one costs nothing.
    pub cursors: &'a RefCell<Cursors>,
    /// A1 lets so many holds for unknown clients stand on a circuit, however few addresses are
    /// free: usually [`HOLD_FLOOR`].
    pub hold_floor: u32,
    /// UDP ports: 67, 67 and 68 but for trials without root.
    pub ports: Ports,
    /// The origin of a command, should there be one. The caller counts on after a command.
    pub origin: Origin,
    /// R17: the peers have been asked about this link; decide with what is known.
    pub asked: bool,
    /// C11: the view passed a read barrier that began after the packet came: a NAK may be sent.
    pub fresh: bool,
    /// The commit said `Changed` and the view has caught up: this is the second and last try.
    pub again: bool,
}

/// The ports in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Where the server listens.
    pub server: u16,
    /// Where relays listen.
    pub relay: u16,
    /// Where clients listen.
    pub client: u16,
}

impl Ports {
    /// RFC 2131 §4.1.
    pub const STANDARD: Ports = Ports { server: 67, relay: 67, client: 68 };

    /// Whether this is a trial without root: relays on a loopback address are then welcome (A4).
    pub fn trial(&self) -> bool {
        self.relay != Ports::STANDARD.relay
    }
}

/// What a node remembers locally, kept by the caller, bounded, best effort. Safety never rests on
/// it (C2a).
pub trait Memory: std::fmt::Debug {
    /// Whether any node has reported the link within the last 10 minutes and its first packets
    /// are no longer waiting for notes (C1a, R17). The packet at hand does not count.
    fn reported(&self, link: &Link) -> bool;
    /// Whether the node hears the link, as far as this node knows (C1a).
    fn hears(&self, link: &Link, node: NodeId) -> bool;
    /// What this node left to others of this client within the last 60 s, the packet at hand not
    /// counted (C2, C4).
    fn attempts(&self, client: &ClientKey) -> Option<Attempts>;
    /// The address in the newest answer that another node noted for the client within 60 s (C2a).
    fn noted(&self, client: &ClientKey) -> Option<Ipv4Addr>;
    /// Whether another node noted within 60 s that it offered the address to another client.
    fn noted_for_another(&self, address: Ipv4Addr, client: &ClientKey) -> bool;
    /// Whether somebody answered at the address a moment ago who has no lease of it (M4).
    fn is_in_use(&self, _address: Ipv4Addr) -> bool {
        false
    }
    /// Whether this node suspects the other to be gone. It shortens C4's wait and nothing else
    /// (R16).
    fn suspects(&self, node: NodeId) -> bool;
}

/// Tries of a client that this node has left to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempts {
    /// How many packets were shadowed.
    pub count: u32,
    /// When the first of them came.
    pub first: ClusterTime,
    /// Whether a peer has noted an answer to the client since then.
    pub answered: bool,
}
