//! Which nodes hear which link (rules C1a and R17), as far as this node knows.
//!
//! A link is heard by a node for 10 minutes after its last client broadcast there. A node that
//! heard nothing on a link within 60 s while another heard 20 broadcasts is deaf and taken out at
//! once. A link on which nobody else has been heard is *settling* for 50 ms after its first packet,
//! so that the other nodes' notes can arrive before somebody decides whose turn it is. Pure.

use std::time::Duration;

use super::aged::Aged;
use crate::dhcp::decision::Link;
use crate::types::NodeId;

/// How long a node counts as hearing a link.
pub const MEMORY: Duration = Duration::from_secs(600);
/// Over what time deafness is judged.
pub const DEAF_WINDOW: Duration = Duration::from_secs(60);
/// How many broadcasts another node must have heard in that time.
pub const DEAF_COUNT: u32 = 20;
/// How long the first packet on an unreported link waits for the peers' notes.
pub const SETTLE: Duration = Duration::from_millis(50);
/// The most links remembered.
pub const LINKS: usize = 65_536;

const SLOT: Duration = Duration::from_secs(10);
const SLOTS: usize = 6;

/// What this node knows about who hears what.
#[derive(Debug)]
pub struct Heard {
    me: NodeId,
    links: Aged<Link, Ears>,
    /// What this node heard and has not told yet.
    untold: Aged<Link, u32>,
}

/// One link.
#[derive(Debug, Default)]
struct Ears {
    nodes: Vec<Ear>,
    /// Until when the first packets wait for notes.
    settling: Option<Duration>,
}

/// One node on one link.
#[derive(Debug)]
struct Ear {
    node: NodeId,
    last: Duration,
    /// Broadcasts in the slots of the deaf window, the current slot first.
    slots: [u32; SLOTS],
    slot: u64,
}

impl Ear {
    fn new(node: NodeId, now: Duration) -> Ear {
        Ear { node, last: now, slots: [0; SLOTS], slot: slot_of(now) }
    }

    fn turn_to(&mut self, now: Duration) {
        let slot = slot_of(now);
        let passed = usize::try_from(slot.saturating_sub(self.slot)).unwrap_or(SLOTS).min(SLOTS);
        if passed > 0 {
            self.slots.rotate_right(passed % SLOTS);
            self.slots.iter_mut().take(passed).for_each(|count| *count = 0);
            self.slot = slot;
        }
    }

    fn add(&mut self, count: u32, now: Duration) {
        self.turn_to(now);
        self.last = now;
        self.slots[0] = self.slots[0].saturating_add(count);
    }

    fn within_window(&self, now: Duration) -> u32 {
        let passed =
            usize::try_from(slot_of(now).saturating_sub(self.slot)).unwrap_or(SLOTS).min(SLOTS);
        self.slots.iter().take(SLOTS - passed).fold(0, |sum, count| sum.saturating_add(*count))
    }

    fn remembered(&self, now: Duration) -> bool {
        now.saturating_sub(self.last) <= MEMORY
    }

    /// Whether it has heard anything within the deaf window, to the millisecond.
    fn heard_lately(&self, now: Duration) -> bool {
        now.saturating_sub(self.last) <= DEAF_WINDOW
    }
}

fn slot_of(now: Duration) -> u64 {
    now.as_secs() / SLOT.as_secs()
}

/// What a broadcast that this node heard means for its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// This node has heard the link for a while: decide at once.
    Known,
    /// The first packet here, on a link that others have heard for a while: send a heard-note now,
    /// and decide at once.
    Here,
    /// The first packet here, and nobody has heard the link for long: send a heard-note now, and let
    /// the packet wait until then.
    Now(Duration),
    /// A first packet came moments ago: let this one wait as well, until then.
    Soon(Duration),
}

impl Heard {
    /// An empty table of node `me`.
    pub fn new(me: NodeId) -> Heard {
        Heard { me, links: Aged::new(LINKS, MEMORY), untold: Aged::new(LINKS, MEMORY) }
    }

    /// This node heard a client broadcast on `link`.
    pub fn heard_here(&mut self, link: Link, now: Duration) -> First {
        *self.untold.touch(link, now, || 0) += 1;
        let me = self.me;
        let ears = self.links.touch(link, now, Ears::default);
        let known = ears.nodes.iter().any(|ear| ear.remembered(now));
        let mine = ears.nodes.iter().any(|ear| ear.node == me && ear.remembered(now));
        ears.add(me, 1, now);
        if !known {
            ears.settling = Some(now + SETTLE);
        }
        match (ears.settling, mine) {
            (Some(until), false) if now < until => First::Now(until),
            (Some(until), true) if now < until => First::Soon(until),
            (_, mine) => {
                ears.settling = None;
                if mine { First::Known } else { First::Here }
            }
        }
    }

    /// Node `node` told that it heard `count` broadcasts on `link` since it last told.
    /// Returns whether that is news: the node did not count as hearing the link.
    pub fn reported(&mut self, node: NodeId, link: Link, count: u32, now: Duration) -> bool {
        let ears = self.links.touch(link, now, Ears::default);
        let news = !ears.nodes.iter().any(|ear| ear.node == node && ear.remembered(now));
        // The packet that the peer tells of may have come here too, and the third node may have heard
        // it and not told yet: whoever decides now would decide without it.
        if !ears.nodes.iter().any(|ear| ear.remembered(now)) {
            ears.settling = Some(now + SETTLE);
        }
        ears.add(node, count.max(1), now);
        news
    }

    /// Ends the waiting on `link`: all that can answer have answered.
    pub fn settled(&mut self, link: Link, now: Duration) {
        if let Some(ears) = self.links.get_mut(&link, now) {
            ears.settling = None;
        }
    }

    /// Whether somebody has been heard on `link`, and not only moments ago.
    pub fn is_reported(&self, link: &Link, now: Duration) -> bool {
        let Some(ears) = self.links.get(link, now) else { return false };
        let settling = ears.settling.is_some_and(|until| now < until);
        !settling && ears.nodes.iter().any(|ear| ear.remembered(now))
    }

    /// Whether `node` hears `link`: it did within 10 minutes, and it is not deaf.
    pub fn hears(&self, link: &Link, node: NodeId, now: Duration) -> bool {
        self.links.get(link, now).is_some_and(|ears| ears.hears(node, now))
    }

    /// Forgets what is too old. Call every few seconds.
    pub fn sweep(&mut self, now: Duration) {
        self.links.sweep(now);
        self.untold.sweep(now);
    }

    /// What this node heard since it last told, at most `limit` links.
    pub fn take_untold(&mut self, limit: usize, now: Duration) -> Vec<(Link, u32)> {
        let links: Vec<Link> = self.untold.iter(now).map(|(link, _)| *link).take(limit).collect();
        let taken =
            links.into_iter().filter_map(|link| Some((link, self.untold.take(&link, now)?)));
        taken.collect()
    }

    /// Every link this node hears, for a peer that has just connected.
    pub fn all_mine(&self, now: Duration) -> Vec<(Link, u32)> {
        let mine = |ears: &Ears| {
            let ear = ears.nodes.iter().find(|ear| ear.node == self.me)?;
            (ear.remembered(now)).then(|| ear.within_window(now))
        };
        self.links.iter(now).filter_map(|(link, ears)| Some((*link, mine(ears)?))).collect()
    }

    /// How many links are remembered.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether no link is remembered.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// How many live links a full table has dropped so far.
    pub fn dropped(&self) -> u64 {
        self.links.dropped()
    }
}

impl Ears {
    fn add(&mut self, node: NodeId, count: u32, now: Duration) {
        let at = match self.nodes.iter().position(|ear| ear.node == node) {
            Some(at) => at,
            None => {
                // Nodes that left long ago make room; live ones are as few as the cluster is small.
                self.nodes.retain(|ear| ear.remembered(now));
                self.nodes.push(Ear::new(node, now));
                self.nodes.len() - 1
            }
        };
        if let Some(ear) = self.nodes.get_mut(at) {
            ear.add(count, now);
        }
    }

    fn hears(&self, node: NodeId, now: Duration) -> bool {
        let Some(ear) = self.nodes.iter().find(|ear| ear.node == node && ear.remembered(now))
        else {
            return false;
        };
        let loud = |other: &Ear| other.node != node && other.within_window(now) >= DEAF_COUNT;
        ear.heard_lately(now) || !self.nodes.iter().any(loud)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::types::SubnetId;

    const RELAY: Link = Link::Relay(Ipv4Addr::new(192, 0, 2, 1));
    const ME: NodeId = NodeId(1);
    const OTHER: NodeId = NodeId(2);

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn hearers(heard: &Heard, now: Duration) -> Vec<u64> {
        (1..=3).filter(|node| heard.hears(&RELAY, NodeId(*node), now)).collect()
    }

    #[test]
    fn r17_the_first_packets_on_an_unreported_link_wait_50_ms() {
        let mut heard = Heard::new(ME);
        assert_eq!(heard.heard_here(RELAY, ms(1000)), First::Now(ms(1050)));
        assert_eq!(heard.heard_here(RELAY, ms(1020)), First::Soon(ms(1050)));
        assert!(!heard.is_reported(&RELAY, ms(1049)));
        assert!(heard.is_reported(&RELAY, ms(1050)));
        assert_eq!(hearers(&heard, ms(1050)), [1]);
        assert_eq!(heard.heard_here(RELAY, ms(1050)), First::Known);
        assert_eq!(heard.heard_here(RELAY, ms(2000)), First::Known);
    }

    #[test]
    fn r17_a_link_that_a_peer_reported_is_decided_at_once() {
        let mut heard = Heard::new(ME);
        assert!(heard.reported(OTHER, RELAY, 1, ms(0)));
        assert!(!heard.reported(OTHER, RELAY, 1, ms(10)));
        assert_eq!(heard.heard_here(RELAY, ms(1000)), First::Here);
        assert_eq!(hearers(&heard, ms(1000)), [1, 2]);
        assert_eq!(heard.heard_here(RELAY, ms(1001)), First::Known);
    }

    #[test]
    fn r17_a_peers_first_report_begins_the_wait_for_the_others() {
        let mut heard = Heard::new(ME);
        heard.reported(OTHER, RELAY, 1, ms(1000));
        assert!(!heard.is_reported(&RELAY, ms(1002)));
        assert_eq!(heard.heard_here(RELAY, ms(1002)), First::Now(ms(1050)));
        assert_eq!(heard.heard_here(RELAY, ms(1003)), First::Soon(ms(1050)));
        heard.settled(RELAY, ms(1004));
        assert!(heard.is_reported(&RELAY, ms(1004)));
        assert_eq!(heard.heard_here(RELAY, ms(1005)), First::Known);
    }

    #[test]
    fn c1a_a_link_is_remembered_for_10_minutes() {
        let mut heard = Heard::new(ME);
        heard.heard_here(RELAY, ms(0));
        assert_eq!(hearers(&heard, ms(600_000)), [1]);
        assert!(hearers(&heard, ms(600_001)).is_empty());
        assert_eq!(heard.heard_here(RELAY, ms(700_000)), First::Now(ms(700_050)));
    }

    #[test]
    fn c1a_a_deaf_node_is_taken_out_after_20_broadcasts_of_another() {
        let mut heard = Heard::new(ME);
        heard.reported(OTHER, RELAY, 1, ms(0));
        for n in 0..19 {
            heard.heard_here(RELAY, ms(61_000 + n));
        }
        assert_eq!(hearers(&heard, ms(61_100)), [1, 2]);
        heard.heard_here(RELAY, ms(61_200));
        assert_eq!(hearers(&heard, ms(61_200)), [1]);
        // One packet heard there, and it is back.
        heard.reported(OTHER, RELAY, 1, ms(61_300));
        assert_eq!(hearers(&heard, ms(61_300)), [1, 2]);
    }

    #[test]
    fn c1a_old_broadcasts_do_not_make_others_deaf() {
        let mut heard = Heard::new(ME);
        heard.reported(OTHER, RELAY, 1, ms(0));
        for n in 0..30 {
            heard.heard_here(RELAY, ms(1_000 + n));
        }
        // Both have been quiet for two minutes.
        assert_eq!(hearers(&heard, ms(121_000)), [1, 2]);
    }

    #[test]
    fn what_was_told_is_not_told_again() {
        let mut heard = Heard::new(ME);
        heard.heard_here(RELAY, ms(0));
        heard.heard_here(RELAY, ms(1));
        assert_eq!(heard.take_untold(10, ms(2)), [(RELAY, 2)]);
        assert!(heard.take_untold(10, ms(3)).is_empty());
        heard.reported(OTHER, Link::Subnet(SubnetId(7)), 5, ms(3));
        assert_eq!(heard.all_mine(ms(4)), [(RELAY, 2)]);
    }
}
