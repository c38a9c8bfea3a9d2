//! What goes into the worker and what comes out of it. Plain data.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::after::Happening;
use super::commits::Ticket;
use super::latency::Timed;
use super::link::Links;
use crate::dhcp::decision::Reply;
use crate::net;
use crate::peers;
use crate::peers::notes::Note;
use crate::propose::{Answer, Submission};
use crate::types::{ClusterTime, NodeId};

/// One moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic, since any fixed moment.
    pub mono: Duration,
    /// As this node estimates it.
    pub cluster: ClusterTime,
}

/// A datagram as it came from the sockets.
#[derive(Debug, Clone)]
pub struct Received {
    /// What was received, and how.
    pub datagram: net::Received,
    /// When it came, monotonic.
    pub at: Duration,
}

/// What reaches the worker beside packets.
#[derive(Debug)]
pub enum Event {
    /// Answers of the proposer to [`Action::Submit`].
    Answers(Vec<(Ticket, Answer)>),
    /// A peer told something (R17).
    Note(NodeId, Note),
    /// The stream to a peer works; it wants to know which links this node hears.
    PeerConnected(NodeId),
    /// A peer has been silent, or speaks again: local suspicion (R16).
    PeerSuspected(NodeId, bool),
    /// The read barrier with this number passed, and the state given now includes it; or it did
    /// not pass.
    Barrier(u64, bool),
    /// Somebody answered [`Action::Ping`] at this address.
    Ponged(Ipv4Addr),
    /// The echo request to the address could not be sent.
    Unpinged(Ipv4Addr),
    /// Later entries are applied: see [`super::Worker::wants_entries`].
    Applied,
    /// The addresses that this node listens on, and the links of its interfaces.
    Listening(Vec<Ipv4Addr>, Links),
    /// Whether this node hears a leader that has a majority (C12).
    Majority(bool),
    /// Whether an operator wants this node to answer nobody.
    Disabled(bool),
    /// Whether a peer answers nobody, on an operator's word: it is not waited for.
    PeerDisabled(NodeId, bool),
    /// The committed index this node saw at its start: it answers once it has applied that (C15).
    ServeFrom(u64),
}

impl From<peers::Event> for Event {
    fn from(event: peers::Event) -> Event {
        match event {
            peers::Event::Note(node, note) => Event::Note(node, note),
            peers::Event::Connected(node) => Event::PeerConnected(node),
            peers::Event::Suspected(node, suspected) => Event::PeerSuspected(node, suspected),
            peers::Event::Disabled(node, disabled) => Event::PeerDisabled(node, disabled),
        }
    }
}

/// What the worker wants done.
#[derive(Debug)]
pub enum Action {
    /// Put the reply on the wire, out of the interface with this number, and count how long it took.
    Send(u32, Reply, Timed),
    /// Give it to the proposer; its answer comes back as [`Event::Answers`].
    Submit(Submission<Ticket>),
    /// Begin a read barrier now and answer with [`Event::Barrier`] when this node has applied what
    /// it covers.
    Barrier(u64),
    /// Tell every peer, or one.
    Tell(Option<NodeId>, Note),
    /// Send an echo request (M4); an answer comes back as [`Event::Ponged`], silence does not.
    Ping(Ipv4Addr),
    /// A lease changed: scripts and DNS may have to know.
    Happened(Box<Happening>),
}

/// How much the worker remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Addresses held for offers (M3).
    pub holds: usize,
    /// Shadows (C2).
    pub shadows: usize,
    /// Links (C1a).
    pub links: usize,
    /// Requests whose commands are on their way.
    pub flying: usize,
    /// Packets that wait for notes, for a barrier, or for an entry.
    pub waiting: usize,
    /// Releases and declines kept for the majority's return (C12).
    pub kept: usize,
    /// Entries dropped because a table was full (R17).
    pub dropped: u64,
}
