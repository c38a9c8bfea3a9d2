//! What nodes tell each other beside Raft (rules C2a and R17), as plain data, and the memory of
//! what the peers said they answered. Best effort: nothing depends on a note for safety. Pure.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::aged::Aged;
use crate::dhcp::decision::{Answered, Link, ReplyKind};
use crate::state::ConfigVersion;
use crate::types::{ClientKey, ClusterTime, NodeId};

/// How often answers are told.
pub const ANSWERED_EVERY: Duration = Duration::from_millis(100);
/// How often heard links are told. The first packet on an unreported link does not wait for it.
pub const HEARD_EVERY: Duration = Duration::from_secs(1);
/// How long a peer's answer is remembered: as long as a shadow (C2).
pub const MEMORY: Duration = Duration::from_secs(60);
/// The most answers remembered.
pub const ANSWERS: usize = 65_536;
/// The most answers, and the most links, in one note; the rest waits for the next.
pub const PER_NOTE: usize = 2_048;

/// One note to every peer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Note {
    /// Links heard by the sender, with the number of broadcasts since it last told.
    pub heard: Vec<(Link, u32)>,
    /// Clients answered by the sender since it last told.
    pub answered: Vec<Answered>,
    /// The configuration the sender has applied: a node that has an older one does not answer (W6).
    pub config: ConfigVersion,
}

impl Note {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.heard.is_empty() && self.answered.is_empty()
    }
}

/// An answer that a peer gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Who answered.
    pub node: NodeId,
    /// What.
    pub answered: Answered,
    /// When the note arrived here, as this node estimates cluster time.
    pub at: ClusterTime,
}

/// The answers that peers told of, the latest for each client, and those this node has to tell.
#[derive(Debug)]
pub struct Notes {
    seen: Aged<ClientKey, Seen>,
    /// Addresses on offer by peers, and to whom.
    offered: Aged<Ipv4Addr, ClientKey>,
    untold: Vec<Answered>,
    lost: u64,
}

impl Default for Notes {
    fn default() -> Notes {
        Notes {
            seen: Aged::new(ANSWERS, MEMORY),
            offered: Aged::new(ANSWERS, MEMORY),
            untold: Vec::new(),
            lost: 0,
        }
    }
}

impl Notes {
    /// A peer answered a client. `now` is monotonic, `at` the same moment in cluster time.
    pub fn peer_answered(
        &mut self,
        node: NodeId,
        answered: Answered,
        now: Duration,
        at: ClusterTime,
    ) {
        if let (ReplyKind::Offer, Some(address)) = (answered.kind, answered.address) {
            self.offered.insert(address, answered.client.clone(), now);
        }
        self.seen.insert(answered.client.clone(), Seen { node, answered, at }, now);
    }

    /// This node answered a client: to be told.
    pub fn answered_here(&mut self, answered: Answered) {
        if self.untold.len() < ANSWERS {
            self.untold.push(answered);
        } else {
            self.lost += 1;
        }
    }

    /// The last answer of a peer to this client within the last minute.
    pub fn last(&self, client: &ClientKey, now: Duration) -> Option<&Seen> {
        self.seen.get(client, now)
    }

    /// Whether a peer has offered this address to another client within the last minute.
    pub fn offered_to_another(&self, address: Ipv4Addr, client: &ClientKey, now: Duration) -> bool {
        self.offered.get(&address, now).is_some_and(|whose| whose != client)
    }

    /// Forgets what is too old. Call every few seconds.
    pub fn sweep(&mut self, now: Duration) {
        self.seen.sweep(now);
        self.offered.sweep(now);
    }

    /// What there is to tell, at most [`PER_NOTE`] answers.
    pub fn take_untold(&mut self) -> Vec<Answered> {
        let count = self.untold.len().min(PER_NOTE);
        self.untold.drain(..count).collect()
    }

    /// Answers remembered.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether no answer is remembered.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Answers forgotten early, and answers never told, because a table was full.
    pub fn dropped(&self) -> u64 {
        self.seen.dropped() + self.offered.dropped() + self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::HwAddr;

    const AT: ClusterTime = ClusterTime::ZERO;

    fn client(last: u8) -> ClientKey {
        ClientKey::Hw(HwAddr::ethernet([2, 0, 0, 0, 0, last]))
    }

    fn answered(last: u8, kind: ReplyKind) -> Answered {
        let address = Some(Ipv4Addr::new(192, 0, 2, last));
        Answered { client: client(last), kind, address, identity: Ipv4Addr::new(192, 0, 2, 1) }
    }

    fn s(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn c2a_the_latest_answer_of_a_peer_is_remembered_for_60_s() {
        let mut notes = Notes::default();
        notes.peer_answered(NodeId(2), answered(7, ReplyKind::Offer), s(1), AT);
        notes.peer_answered(NodeId(3), answered(7, ReplyKind::Ack), s(2), AT);
        let last = notes.last(&client(7), s(62)).unwrap();
        assert_eq!((last.node, last.answered.kind), (NodeId(3), ReplyKind::Ack));
        assert_eq!(notes.last(&client(7), s(63)), None);
    }

    #[test]
    fn c2a_an_address_on_offer_elsewhere_is_another_clients() {
        let mut notes = Notes::default();
        notes.peer_answered(NodeId(2), answered(7, ReplyKind::Offer), s(1), AT);
        let address = Ipv4Addr::new(192, 0, 2, 7);
        assert!(notes.offered_to_another(address, &client(8), s(61)));
        assert!(!notes.offered_to_another(address, &client(7), s(2)));
        assert!(!notes.offered_to_another(address, &client(8), s(62)));
    }

    #[test]
    fn a_note_has_a_size() {
        let mut notes = Notes::default();
        for n in 0..PER_NOTE + 10 {
            notes.answered_here(answered(n as u8, ReplyKind::Offer));
        }
        assert_eq!(notes.take_untold().len(), PER_NOTE);
        assert_eq!(notes.take_untold().len(), 10);
        assert!(notes.take_untold().is_empty());
    }
}
