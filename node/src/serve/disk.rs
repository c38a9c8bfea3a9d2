//! What a node does about its disk ([`crate::storage::DiskWatch`] knows how that is).
//!
//! A leader whose disk stands still, or is filling up, has a caught-up node with a better disk lead in its
//! place, at most once a minute. While its disk stands still the cluster goes on: commits rest on the other
//! disks. But once the others should elect another, for whatever reason, a node whose disk stands still
//! would keep them waiting; and two such disks are one too many. Where nobody is better it stays.
//!
//! A node that hands over because its disk stands still is out of the cluster until it works again: Raft
//! waits for the disk to note who leads. It says so at once, and the others answer in its place.
//!
//! A node whose disk is filling up does not stand for election while a better one is there.

use std::time::Duration;

use super::duties::Duties;
use crate::peers::liveness::DOWN_AFTER;
use crate::peers::{PeerDisk, PeerView};
use crate::propose::boot;
use crate::raft::{PeerStatus, Role, Status, TransferError};
use crate::state::Liveness;
use crate::storage::DiskFacts;
use crate::types::NodeId;

/// How often a node looks.
const LOOK: Duration = Duration::from_millis(100);
/// How often it hands over at most.
const EVERY: Duration = Duration::from_secs(60);
/// How long a node with a low disk waits for others to lead.
const UNLED: Duration = Duration::from_secs(2);
/// How long handing over may take.
const WITHIN: Duration = Duration::from_secs(3);
/// A node so many entries behind gets them while it takes over; one farther behind has not caught up.
const LAG: u64 = 256;

/// Another node, as this one sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Other {
    /// Which.
    pub node: NodeId,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it answers.
    pub heard: bool,
    /// Entries that it has not got; `None` when this node does not lead.
    pub lag: Option<u64>,
    /// What the cluster thinks of it.
    pub liveness: Option<Liveness>,
    /// Its disk.
    pub disk: PeerDisk,
}

impl Other {
    /// Whether it could lead, and its disk is well.
    fn is_well(&self) -> bool {
        let serves = matches!(self.liveness, Some(Liveness::Up) | None);
        self.voter && self.heard && serves && !self.disk.stalled && !self.disk.low
    }
}

/// Why a leader hands over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its disk stands still.
    Stalled,
    /// Its disk is filling up, or full.
    Low,
}

/// The judgement. Pure; times are monotonic.
#[derive(Debug, Default)]
pub struct Judgement {
    handed: Option<Duration>,
}

impl Judgement {
    /// Who shall lead in this leader's place, and why.
    pub fn successor(
        &mut self,
        disk: &DiskFacts,
        others: &[Other],
        now: Duration,
    ) -> Option<(NodeId, Why)> {
        let why = match disk.stalled_for() {
            Some(_) => Why::Stalled,
            None if disk.is_low() => Why::Low,
            None => return None,
        };
        if self.handed.is_some_and(|at| now.saturating_sub(at) < EVERY) {
            return None;
        }
        // Of a node that tells nothing, as an older program does, it is only known that it answers.
        let faster = |other: &&Other| match why {
            Why::Stalled => other.disk.sync.is_none_or(|sync| sync < disk.waiting),
            Why::Low => true,
        };
        let caught_up = |other: &&Other| other.lag.is_some_and(|lag| lag <= LAG);
        let able = others.iter().filter(|other| other.is_well()).filter(caught_up).filter(faster);
        let best = able.min_by_key(|other| {
            (other.disk.sync.unwrap_or(Duration::MAX), other.lag, other.node)
        })?;
        self.handed = Some(now);
        Some((best.node, why))
    }
}

/// Whether this node may stand for election; `unled`: for how long no leader has been heard. One with a low
/// disk leaves it to others that are well, but not for long: if its log has what theirs have not, only it can
/// be elected.
pub fn may_stand(disk: &DiskFacts, others: &[Other], unled: Duration) -> bool {
    !disk.is_low() || !others.iter().any(Other::is_well) || unled >= UNLED
}

impl Duties {
    /// Looks after the disk; runs for ever, and may be stopped anywhere.
    pub async fn mind_disk(self) {
        let Some(disk) = self.raft.disk().cloned() else { return };
        let mut judgement = Judgement::default();
        let (mut stands, mut out, mut unled_since) = (true, false, None);
        loop {
            tokio::time::sleep(LOOK).await;
            let facts = disk.facts();
            if out != disk.is_out() {
                out = !out;
                self.say_to_peers();
            }
            if stands && !out && facts.stalled_for().is_none() && !facts.is_low() {
                continue;
            }
            let status = self.raft.status();
            let leads = status.role == Role::Leader && status.stamping;
            // It works again, or whoever was asked has not taken over: then Raft goes on here.
            let heard = leads && status.quorum_heard_ago.is_some_and(|ago| ago < DOWN_AFTER);
            if facts.stalled_for().is_none() || heard {
                disk.give_up(false);
            }
            let others = self.others(&status);
            let now = boot(&*self.clock);
            let is_led = leads
                || others.iter().any(|other| other.heard && Some(other.node) == status.leader);
            unled_since = if is_led { None } else { unled_since.or(Some(now)) };
            let unled = unled_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
            let may = may_stand(&facts, &others, unled);
            if may != stands {
                stands = may;
                self.raft.may_stand(may);
            }
            if !leads {
                continue;
            }
            let Some((to, why)) = judgement.successor(&facts, &others, boot(&*self.clock)) else {
                continue;
            };
            match why {
                Why::Stalled => {
                    tracing::warn!(%to, "the disk stands still: leadership is handed over")
                }
                Why::Low => {
                    tracing::warn!(%to, "the disk is filling up: leadership is handed over")
                }
            }
            if why == Why::Stalled {
                disk.give_up(true);
                out = true;
                self.say_to_peers();
            }
            match tokio::time::timeout(WITHIN, self.raft.transfer_leader(Some(to))).await {
                Ok(Ok(leader)) => tracing::info!(%leader, "leadership is handed over"),
                // While its disk stands still it cannot note that another leads.
                Ok(Err(TransferError::TimedOut)) | Err(_) => tracing::info!(
                    %to, "another node was asked to lead; whether it does shows when this disk works again"
                ),
                Ok(Err(error)) => {
                    disk.give_up(false);
                    tracing::warn!(%to, %error, "leadership was not handed over");
                }
            }
        }
    }

    fn say_to_peers(&self) {
        if let Some(peers) = &self.peers {
            peers.say();
        }
    }

    fn others(&self, status: &Status) -> Vec<Other> {
        let views = self.peers.as_ref().map(|peers| peers.views()).unwrap_or_default();
        let now = self.clock.monotonic();
        let state = self.state.read();
        let meta = state.view();
        let meta = meta.meta();
        let other = |member: &PeerStatus| {
            let view: PeerView = views.get(&member.node).copied().unwrap_or_default();
            let silent = view.heard_at.is_none_or(|at| now.saturating_sub(at) >= DOWN_AFTER);
            Other {
                node: member.node,
                voter: member.voter,
                heard: !silent,
                lag: member.lag,
                liveness: meta.node(member.node).map(|entry| entry.liveness),
                disk: view.disk,
            }
        };
        status.members.iter().filter(|member| member.node != status.id).map(other).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Room, STALL};

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn other(node: u64, sync: u64, lag: u64) -> Other {
        Other {
            node: NodeId(node),
            voter: true,
            heard: true,
            lag: Some(lag),
            liveness: Some(Liveness::Up),
            disk: PeerDisk { sync: Some(ms(sync)), ..PeerDisk::default() },
        }
    }

    fn stalled() -> DiskFacts {
        DiskFacts { waiting: STALL + ms(100), ..DiskFacts::default() }
    }

    fn low() -> DiskFacts {
        DiskFacts { room: Room { low: true, ..Room::default() }, ..DiskFacts::default() }
    }

    fn asked(facts: &DiskFacts, others: &[Other]) -> Option<u64> {
        let found = Judgement::default().successor(facts, others, ms(0));
        found.map(|(node, _)| node.0)
    }

    #[test]
    fn a_leader_whose_disk_stands_still_hands_over_to_the_fastest_disk_that_has_caught_up() {
        let others = [other(2, 9, 0), other(3, 3, 5), other(4, 1, LAG + 1)];
        assert_eq!(asked(&stalled(), &others), Some(3));
        assert_eq!(asked(&DiskFacts { waiting: STALL, ..stalled() }, &others), None, "not yet");
        assert_eq!(asked(&DiskFacts::default(), &others), None);
        let slow = DiskFacts { syncs: 100, p99: ms(900), worst: ms(1_900), ..DiskFacts::default() };
        assert!(slow.is_slow());
        assert_eq!(asked(&slow, &others), None, "a slow disk is told of, and no more");
    }

    #[test]
    fn it_stays_where_nobody_has_a_better_one() {
        let disk = |stalled, low| PeerDisk { sync: Some(ms(1)), stalled, low, out: false };
        let bad = [
            Other { voter: false, ..other(2, 1, 0) },
            Other { heard: false, ..other(2, 1, 0) },
            Other { lag: None, ..other(2, 1, 0) },
            Other { liveness: Some(Liveness::Down), ..other(2, 1, 0) },
            Other { liveness: Some(Liveness::Maintenance), ..other(2, 1, 0) },
            Other { disk: disk(true, false), ..other(2, 1, 0) },
            Other { disk: disk(false, true), ..other(2, 1, 0) },
            other(2, 2_200, 0),
        ];
        assert_eq!(asked(&stalled(), &bad), None);
        assert_eq!(asked(&stalled(), &[]), None);
        let silent = Other { disk: PeerDisk::default(), ..other(3, 0, 0) };
        assert_eq!(asked(&stalled(), &[silent]), Some(3), "an older program tells nothing");
        assert_eq!(asked(&stalled(), &[silent, other(2, 50, 0)]), Some(2));
    }

    #[test]
    fn it_hands_over_at_most_once_a_minute() {
        let mut judgement = Judgement::default();
        let others = [other(2, 1, 0)];
        let mut ask = |at| judgement.successor(&stalled(), &others, ms(at)).map(|(_, why)| why);
        assert_eq!(ask(1_000), Some(Why::Stalled));
        assert_eq!(ask(1_100), None);
        assert_eq!(ask(60_999), None);
        assert_eq!(ask(61_000), Some(Why::Stalled));
    }

    #[test]
    fn a_disk_that_fills_gives_leadership_up_and_does_not_take_it() {
        let others = [other(2, 9, 0)];
        assert_eq!(
            Judgement::default().successor(&low(), &others, ms(0)),
            Some((NodeId(2), Why::Low))
        );
        assert!(!may_stand(&low(), &others, ms(0)));
        assert!(may_stand(&DiskFacts::default(), &others, ms(0)));
        let also_low = Other { disk: PeerDisk { low: true, ..PeerDisk::default() }, ..others[0] };
        assert!(may_stand(&low(), &[also_low], ms(0)), "somebody must lead");
        // Theirs may be shorter logs: after a while without a leader this one stands too.
        assert!(!may_stand(&low(), &others, ms(1_900)));
        assert!(may_stand(&low(), &others, ms(2_000)));
        assert!(may_stand(&low(), &[], ms(0)));
        assert_eq!(asked(&low(), &[also_low]), None);
    }
}
