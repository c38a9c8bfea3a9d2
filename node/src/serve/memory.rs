//! What this node remembers of the last minutes, beside the applied state: shadows of packets left
//! to others (C2), notes of the peers (C2a), who hears which link (C1a), who seems gone (R16).
//! Bounded, best effort; safety never rests on it. Pure.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::dhcp::decision::{Link, Shadow};
use crate::dhcp::v4::{Attempts, Memory};
use crate::packet::v4::MessageType;
use crate::peers::aged::Aged;
use crate::peers::heard::Heard;
use crate::peers::notes::{Note, Notes};
use crate::types::{ClientKey, ClusterTime, NodeId};

/// How long a shadow lasts (C2).
pub const SHADOW: Duration = Duration::from_secs(60);
/// The most shadows.
pub const SHADOWS: usize = 65_536;

/// How long an address that answered an echo request is not tried again by this node (M4). That it
/// keeps others from it too, and for longer, is the business of [`crate::state::Command::InUse`];
/// where that is refused (M11), the address is pinged again after this.
pub const IN_USE_FOR: Duration = Duration::from_secs(60);
/// The most of them.
pub const IN_USE: usize = 65_536;

/// The tables.
#[derive(Debug)]
pub struct Remembered {
    /// Who hears which link.
    pub heard: Heard,
    /// What the peers answered, and what they are still to be told.
    pub notes: Notes,
    shadows: Aged<ClientKey, Tries>,
    in_use: Aged<Ipv4Addr, ()>,
    suspects: BTreeSet<NodeId>,
    disabled: BTreeSet<NodeId>,
}

/// The tries of one client with one kind of message.
#[derive(Debug, Clone)]
struct Tries {
    message: MessageType,
    count: u32,
    first: ClusterTime,
    answered: bool,
}

impl Remembered {
    /// The empty memory of node `me`.
    pub fn new(me: NodeId) -> Remembered {
        Remembered {
            heard: Heard::new(me),
            notes: Notes::default(),
            shadows: Aged::new(SHADOWS, SHADOW),
            in_use: Aged::new(IN_USE, IN_USE_FOR),
            suspects: BTreeSet::new(),
            disabled: BTreeSet::new(),
        }
    }

    /// A packet was left to another node (C2). Tries count on while they are of one kind, within
    /// 60 s of the first, and nobody has answered; then they begin anew.
    pub fn shadow(&mut self, shadow: Shadow, now: Duration, at: ClusterTime) {
        let fresh = Tries { message: shadow.message, count: 0, first: at, answered: false };
        let tries = self.shadows.touch(shadow.client, now, || fresh.clone());
        if tries.message != shadow.message || tries.answered || at.since(tries.first) > SHADOW {
            *tries = fresh;
        }
        tries.count = tries.count.saturating_add(1);
    }

    /// A peer told what it heard and whom it answered. Returns the links that are news.
    pub fn note(&mut self, node: NodeId, note: Note, now: Duration, at: ClusterTime) -> Vec<Link> {
        for answered in note.answered {
            if let Some(tries) = self.shadows.get_mut(&answered.client, now) {
                tries.answered = true;
            }
            self.notes.peer_answered(node, answered, now, at);
        }
        let news = note
            .heard
            .into_iter()
            .filter(|(link, count)| self.heard.reported(node, *link, *count, now));
        news.map(|(link, _)| link).collect()
    }

    /// Somebody answers at the address.
    pub fn is_used(&mut self, address: Ipv4Addr, now: Duration) {
        self.in_use.insert(address, (), now);
    }

    /// A peer is silent, or is heard again.
    pub fn suspect(&mut self, node: NodeId, suspected: bool) {
        if suspected {
            self.suspects.insert(node);
        } else {
            self.suspects.remove(&node);
        }
    }

    /// A peer answers nobody on an operator's word, or answers again.
    pub fn disable(&mut self, node: NodeId, disabled: bool) {
        if disabled {
            self.disabled.insert(node);
        } else {
            self.disabled.remove(&node);
        }
    }

    /// Whether there is no answer to be expected of a peer: it is silent, or switched off.
    pub fn is_away(&self, node: NodeId) -> bool {
        self.suspects.contains(&node) || self.disabled.contains(&node)
    }

    /// Takes over what is told once and not again: who is away.
    pub fn inherit(&mut self, former: &mut Remembered) {
        self.suspects = std::mem::take(&mut former.suspects);
        self.disabled = std::mem::take(&mut former.disabled);
    }

    /// Forgets what is too old. Call every few seconds.
    pub fn sweep(&mut self, now: Duration) {
        self.heard.sweep(now);
        self.notes.sweep(now);
        self.shadows.sweep(now);
        self.in_use.sweep(now);
    }

    /// Shadows kept.
    pub fn shadows(&self) -> usize {
        self.shadows.len()
    }

    /// Entries of all tables that were dropped for want of room.
    pub fn dropped(&self) -> u64 {
        self.shadows.dropped() + self.heard.dropped() + self.notes.dropped() + self.in_use.dropped()
    }

    /// The memory as the engine asks it, about one packet.
    pub fn at(&self, now: Duration, message: Option<MessageType>) -> Recall<'_> {
        Recall { tables: self, now, message }
    }
}

/// The memory at one moment, for one packet.
#[derive(Debug, Clone, Copy)]
pub struct Recall<'a> {
    tables: &'a Remembered,
    now: Duration,
    /// The kind of packet: tries of another kind are not tries of this one.
    message: Option<MessageType>,
}

impl Memory for Recall<'_> {
    fn reported(&self, link: &Link) -> bool {
        self.tables.heard.is_reported(link, self.now)
    }

    fn hears(&self, link: &Link, node: NodeId) -> bool {
        self.tables.heard.hears(link, node, self.now)
    }

    fn attempts(&self, client: &ClientKey) -> Option<Attempts> {
        let tries = self.tables.shadows.get(client, self.now)?;
        let same = self.message == Some(tries.message);
        same.then_some(Attempts {
            count: tries.count,
            first: tries.first,
            answered: tries.answered,
        })
    }

    fn noted(&self, client: &ClientKey) -> Option<Ipv4Addr> {
        self.tables.notes.last(client, self.now)?.answered.address
    }

    fn noted_for_another(&self, address: Ipv4Addr, client: &ClientKey) -> bool {
        self.tables.notes.offered_to_another(address, client, self.now)
    }

    fn is_in_use(&self, address: Ipv4Addr) -> bool {
        self.tables.in_use.get(&address, self.now).is_some()
    }

    fn suspects(&self, node: NodeId) -> bool {
        self.tables.is_away(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dhcp::decision::{Answered, ReplyKind};
    use crate::types::HwAddr;

    fn client() -> ClientKey {
        ClientKey::Hw(HwAddr::ethernet([2, 0, 0, 0, 0, 1]))
    }

    fn shadow(memory: &mut Remembered, message: MessageType, secs: u64) {
        let shadow = Shadow { client: client(), message, address: None, owner: None };
        memory.shadow(shadow, Duration::from_secs(secs), ClusterTime::from_millis(secs * 1000));
    }

    fn tries(memory: &Remembered, message: MessageType, secs: u64) -> Option<(u32, bool)> {
        let attempts = memory.at(Duration::from_secs(secs), Some(message)).attempts(&client())?;
        Some((attempts.count, attempts.answered))
    }

    fn answer(memory: &mut Remembered, secs: u64) {
        let answered = Answered {
            client: client(),
            kind: ReplyKind::Offer,
            address: Some([192, 0, 2, 9].into()),
            identity: [192, 0, 2, 1].into(),
        };
        let note = Note { answered: vec![answered], ..Note::default() };
        memory.note(
            NodeId(2),
            note,
            Duration::from_secs(secs),
            ClusterTime::from_millis(secs * 1000),
        );
    }

    #[test]
    fn c4_tries_of_one_kind_are_counted_for_60_s() {
        let mut memory = Remembered::new(NodeId(1));
        assert_eq!(tries(&memory, MessageType::Discover, 0), None);
        shadow(&mut memory, MessageType::Discover, 0);
        shadow(&mut memory, MessageType::Discover, 4);
        assert_eq!(tries(&memory, MessageType::Discover, 5), Some((2, false)));
        assert_eq!(
            tries(&memory, MessageType::Request, 5),
            None,
            "the first REQUEST is no second try"
        );
        assert_eq!(tries(&memory, MessageType::Discover, 65), None);
    }

    #[test]
    fn c4_a_client_that_never_stops_asking_does_not_keep_one_count_for_ever() {
        let mut memory = Remembered::new(NodeId(1));
        for secs in [0, 20, 40, 60] {
            shadow(&mut memory, MessageType::Discover, secs);
        }
        assert_eq!(tries(&memory, MessageType::Discover, 61), Some((4, false)));
        shadow(&mut memory, MessageType::Discover, 80);
        assert_eq!(tries(&memory, MessageType::Discover, 81), Some((1, false)));
    }

    #[test]
    fn c4_an_answer_of_the_owner_counts_for_the_tries_before_it() {
        let mut memory = Remembered::new(NodeId(1));
        shadow(&mut memory, MessageType::Discover, 0);
        answer(&mut memory, 0);
        assert_eq!(tries(&memory, MessageType::Discover, 1), Some((1, true)));
        // The owner dies; the client tries again: that is a first try, and the next a second.
        shadow(&mut memory, MessageType::Discover, 10);
        assert_eq!(tries(&memory, MessageType::Discover, 14), Some((1, false)));
        assert_eq!(
            memory.at(Duration::from_secs(14), None).noted(&client()),
            Some([192, 0, 2, 9].into())
        );
    }
}
