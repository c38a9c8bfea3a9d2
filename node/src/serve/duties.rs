//! What a node does by the clock: it says who it is (R16), learns when it may answer (C15) and
//! whether it has a majority (C12); and while it leads it judges the other nodes (R16), sweeps
//! expired leases (R13), lets time pass (R10), keeps the time of day right (R12) and raises the feature
//! level of a new cluster (R24).
//!
//! One task each. All may be stopped anywhere: what they want to say they say again. A leader's
//! duty is proposed only by itself, in its own term ([`Proposer::submit_here`]).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::after::{After, Happening, What, happening};
use super::event::Event;
use super::inbox::Inbox;
use super::levels::{Levels, Raising};
use super::reclaim::Sweeper;
use crate::clock::Clock;
use crate::config::ExpiredLeases;
use crate::peers::Peers;
use crate::peers::liveness::{DOWN_AFTER, Judge, Sight};
use crate::propose::{Answer, Committed, Proposer, boot};
use crate::raft::{Raft, Status};
use crate::state::{
    Command, Lease, Liveness, NodeEntry, NodeInfo, Outcome, Reclaim, State, View, WallOffset,
};
use crate::types::{ClusterTime, NodeId};

/// How often a leader looks around.
const LOOK: Duration = Duration::from_millis(100);
/// R10: how long the log may be silent.
const SILENCE: Duration = Duration::from_secs(5);
/// R12: how wrong the time of day may be, in milliseconds.
const WALL_TOLERANCE: i64 = 1_000;
/// How often it is put right at most.
const WALL_EVERY: Duration = Duration::from_secs(5);
/// How often a leader in maintenance tries to hand over.
const HAND_OVER_EVERY: Duration = Duration::from_secs(3);
/// How long a duty may take.
pub const WITHIN: Duration = Duration::from_secs(2);
/// How long ago a majority may have answered the leader, or the leader this node, to count (C12).
const MAJORITY: Duration = Duration::from_secs(1);
/// How often a node looks whether the cluster knows it as it is.
pub const INTRODUCE: Duration = Duration::from_secs(1);

/// What the tasks work with.
#[derive(Debug, Clone)]
pub struct Duties {
    /// Raft.
    pub raft: Raft,
    /// The applied state.
    pub state: Arc<RwLock<State>>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The way into the log.
    pub proposer: Proposer,
    /// The peers, if there can be any.
    pub peers: Option<Arc<Peers>>,
    /// The worker.
    pub inbox: Arc<Inbox>,
    /// What follows a commit.
    pub after: After,
}

impl Duties {
    /// C15: tells the worker when this node has applied what was committed at its start; returns
    /// the last of those entries. In a new cluster the entries must name every voter, or this node
    /// would take itself for the only one: no grace (R7), and every share its own (C8).
    pub async fn catch_up(self) -> u64 {
        loop {
            if let Ok(index) = self.raft.read_barrier().await
                && self.knows_all_voters()
            {
                // The machine counts entries with commands only. The barrier has passed, so it shows
                // all of them, also if the last entry is a leader's first and has none.
                let shown = index.min(self.state.read().applied());
                self.inbox.event(Event::ServeFrom(shown));
                return index;
            }
            sleep(LOOK).await;
        }
    }

    fn knows_all_voters(&self) -> bool {
        let status = self.raft.status();
        knows_all_voters(&status, &self.state.read())
    }

    /// C12: tells the worker whether there is a majority, and then `tell` what the worker was told:
    /// whoever promises that this node answers must not know more than its worker.
    pub async fn watch_majority(self, tell: watch::Sender<bool>) {
        let mut tick = ticking(LOOK);
        let mut told = None;
        loop {
            tick.tick().await;
            let there = self.has_majority(&self.raft.status());
            if told != Some(there) {
                match (told, there) {
                    (_, true) => tracing::info!("a majority is in reach"),
                    (Some(true), false) => {
                        tracing::warn!(
                            "no majority is in reach: this node answers nobody until one is again"
                        );
                    }
                    (_, false) => {}
                }
                self.inbox.event(Event::Majority(there));
                tell.send_replace(there);
                told = Some(there);
            }
        }
    }

    /// C12: whether this node leads a majority, or hears a leader.
    pub fn has_majority(&self, status: &Status) -> bool {
        // Nothing can be promised with a log that cannot be written, and Raft waits for it.
        if self.raft.disk().is_some_and(|disk| disk.is_out()) {
            return false;
        }
        let Some(leader) = status.leader else { return false };
        if leader == status.id {
            let alone = status.members.iter().filter(|member| member.voter).count() <= 1;
            return alone || is_majority(status.quorum_heard_ago);
        }
        let now = self.clock.monotonic();
        let views = self.peers.as_ref().map(|peers| peers.views()).unwrap_or_default();
        let heard_at = views.get(&leader).and_then(|view| view.heard_at);
        is_majority(heard_at.map(|at| now.saturating_sub(at)))
    }

    /// R16: has the cluster know this node as `info` says ([`introduction`]).
    pub async fn introduce(self, mut info: watch::Receiver<NodeInfo>) {
        let started = self.raft.now();
        loop {
            let wanted = info.borrow_and_update().clone();
            let says = {
                let state = self.state.read();
                let entry = state.view().meta().node(wanted.node).map(|entry| &**entry);
                introduction(entry, wanted, started)
            };
            for command in says {
                // Whatever the answer is, the next look shows whether it came through.
                let _ = self.proposer.submit(command, WITHIN).await;
            }
            tokio::select! {
                changed = info.changed() => if changed.is_err() { return },
                () = sleep(INTRODUCE) => {}
            }
        }
    }

    /// The leader's duties, while this node leads.
    pub async fn lead(self) {
        let mut tick = ticking(LOOK);
        let mut term: Option<(u64, Leading)> = None;
        loop {
            tick.tick().await;
            let status = self.raft.status();
            let now = boot(&*self.clock);
            if !status.stamping {
                term = None;
                continue;
            }
            let leading = match &mut term {
                Some((number, leading)) if *number == status.term => leading,
                _ => &mut term.insert((status.term, Leading::new(now))).1,
            };
            let facts = self.facts(&status);
            if let Some(to) = leading.successor(&facts, now) {
                tracing::info!(%to, "in maintenance: leadership is handed over");
                // Not heard of in time: the next look tries again.
                let _ = tokio::time::timeout(WITHIN, self.raft.transfer_leader(Some(to))).await;
                continue;
            }
            for command in leading.look(&facts, now) {
                let ending = match &command {
                    Command::Reclaim(reclaim) => Some(self.ending(reclaim, facts.cluster)),
                    _ => None,
                };
                let answer = self.proposer.submit_here(command, WITHIN).await;
                if let Some(ending) = ending {
                    leading.swept(&answer, boot(&*self.clock));
                    self.tell_ends(ending, &answer);
                }
            }
        }
    }

    /// The leases that the sweep is about to end, where somebody wants to know.
    pub(super) fn ending(&self, reclaim: &Reclaim, now: ClusterTime) -> Vec<Arc<Lease>> {
        ending(self.state.read().view(), reclaim, now)
    }

    /// Tells of those that the sweep has ended.
    pub(super) fn tell_ends(&self, ending: Vec<Arc<Lease>>, answer: &Answer) {
        if ending.is_empty() || !matches!(answer, Answer::Committed(_)) {
            return;
        }
        let (ended, config) = {
            let state = self.state.read();
            (ended(state.view(), ending), state.view().config().cloned())
        };
        let Some(config) = config else { return };
        for (lease, removed) in ended {
            let what = What::Expired(lease, removed);
            self.after.tell(Happening { what, config: Arc::clone(&config) });
        }
    }

    fn facts(&self, status: &Status) -> Facts {
        let (cluster, wall) = (self.raft.now(), self.clock.wall());
        let state = self.state.read();
        let view = state.view();
        let sight = |member: &crate::raft::PeerStatus| {
            let leads = member.node == status.id;
            Sight {
                node: member.node,
                leads,
                voter: member.voter,
                heard_ago: if leads { Some(Duration::ZERO) } else { member.heard_ago },
                lag: if leads { 0 } else { member.lag.unwrap_or(u64::MAX) },
                applied: view.meta().node(member.node).map(|entry| entry.liveness),
            }
        };
        Facts {
            sights: status.members.iter().map(sight).collect(),
            applied: view.applied(),
            next_due: view.next_due(),
            expired: view.config().map(|config| config.expired.clone()),
            cluster,
            wall,
            wall_offset: view.meta().wall_offset(),
            levels: Levels::of(status.members.iter().map(|member| member.node), view),
        }
    }
}

/// The leases that a sweep at `now` would end, where somebody wants to know.
fn ending(view: View<'_>, reclaim: &Reclaim, now: ClusterTime) -> Vec<Arc<Lease>> {
    if !view.config().is_some_and(|config| happening::is_wanted(config)) {
        return Vec::new();
    }
    // One that a client never accepted was told of to nobody.
    let told = |lease: &&Arc<Lease>| lease.state.blocks() && !lease.offered;
    view.due(now).take(reclaim.limit as usize).filter(told).cloned().collect()
}

/// Those of them that have ended, and whether they are gone altogether.
fn ended(view: View<'_>, ending: Vec<Arc<Lease>>) -> Vec<(Arc<Lease>, bool)> {
    let how = |lease: Arc<Lease>| match view.lease(lease.address) {
        None => Some((lease, true)),
        Some(now) if now.generation == lease.generation && !now.state.blocks() => {
            Some((lease, false))
        }
        // Renewed, or another's.
        Some(_) => None,
    };
    ending.into_iter().filter_map(how).collect()
}

/// What a node that is as `wanted` and runs since `started` has to say of itself (R16), where the cluster knows it as `entry`.
///
/// A node that comes back sooner than the others noticed that it was gone says so itself, or it would count as leaving for ever;
/// the leader finds it up 5 s later. So does one that was in maintenance: its restart ends that.
pub fn introduction(
    entry: Option<&NodeEntry>,
    wanted: NodeInfo,
    started: ClusterTime,
) -> Vec<Command> {
    let left_before = entry.is_some_and(|entry| {
        matches!(entry.liveness, Liveness::Draining | Liveness::Maintenance)
            && entry.since <= started
    });
    let is_known = entry.and_then(|entry| entry.info.as_ref()) == Some(&wanted);
    let was_away = left_before.then_some(Command::NodeLiveness(wanted.node, Liveness::Down));
    let is_so = (!is_known).then(|| Command::NodeInfo(wanted));
    was_away.into_iter().chain(is_so).collect()
}

/// C12: whether a majority that answered this leader so long ago, or a leader that this node heard so long ago, still counts.
pub fn is_majority(heard_ago: Option<Duration>) -> bool {
    heard_ago.is_some_and(|ago| ago < MAJORITY)
}

fn ticking(period: Duration) -> tokio::time::Interval {
    let mut tick = interval(period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

/// What a leader sees.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Every member, itself among them.
    pub sights: Vec<Sight>,
    /// The last applied entry.
    pub applied: u64,
    /// When the next lease is due.
    pub next_due: Option<ClusterTime>,
    /// `expired-leases-processing`.
    pub expired: Option<ExpiredLeases>,
    /// Cluster time.
    pub cluster: ClusterTime,
    /// Milliseconds since 1970.
    pub wall: i64,
    /// The offset in force.
    pub wall_offset: WallOffset,
    /// Feature levels.
    pub levels: Levels,
}

/// A leader in one term. Pure.
#[derive(Debug)]
pub struct Leading {
    judge: Judge,
    sweeper: Sweeper,
    /// The last entry seen, and since when it is the last.
    last: (u64, Duration),
    wall_set: Option<Duration>,
    raising: Raising,
    /// When it last tried to hand over.
    handed: Option<Duration>,
}

impl Leading {
    /// A term begins.
    pub fn new(now: Duration) -> Leading {
        Leading {
            judge: Judge::new(now),
            sweeper: Sweeper::default(),
            last: (0, now),
            wall_set: None,
            raising: Raising::default(),
            handed: None,
        }
    }

    /// Who shall lead instead of a leader in maintenance: of those who serve the one nearest to the end
    /// of the log. Tried every few seconds, since the first to be asked may not manage.
    pub fn successor(&mut self, facts: &Facts, now: Duration) -> Option<NodeId> {
        let maintained = |sight: &Sight| sight.applied == Some(Liveness::Maintenance);
        let lately = self.handed.is_some_and(|at| now.saturating_sub(at) < HAND_OVER_EVERY);
        if lately || !facts.sights.iter().any(|sight| sight.leads && maintained(sight)) {
            return None;
        }
        let able = |sight: &&Sight| {
            let heard = sight.heard_ago.is_some_and(|ago| ago < DOWN_AFTER);
            !sight.leads && sight.voter && heard && sight.applied == Some(Liveness::Up)
        };
        let next = facts.sights.iter().filter(able).min_by_key(|sight| (sight.lag, sight.node))?;
        self.handed = Some(now);
        Some(next.node)
    }

    /// What is to be proposed now.
    pub fn look(&mut self, facts: &Facts, now: Duration) -> Vec<Command> {
        let mut commands = self.judge.judge(&facts.sights, now);
        commands.extend(self.raising.next(&facts.levels, now));
        if let Some(expired) = &facts.expired {
            commands.extend(self.sweeper.next(expired, facts.next_due, now, facts.cluster));
        }
        commands.extend(self.set_wall(facts, now));
        if facts.applied != self.last.0 || !commands.is_empty() {
            self.last = (facts.applied, now);
        } else if now.saturating_sub(self.last.1) >= SILENCE {
            self.last.1 = now;
            commands.push(Command::Tick);
        }
        commands
    }

    /// A sweep has an answer.
    pub fn swept(&mut self, answer: &Answer, now: Duration) {
        match answer {
            Answer::Committed(Committed {
                outcome: Outcome::Reclaimed { count, more }, ..
            }) => {
                self.sweeper.swept(*count, *more, now);
            }
            _ => self.sweeper.failed(),
        }
    }

    fn set_wall(&mut self, facts: &Facts, now: Duration) -> Option<Command> {
        let cluster = i64::try_from(facts.cluster.as_millis()).unwrap_or(i64::MAX);
        let right = facts.wall.saturating_sub(cluster);
        let wrong = right.saturating_sub(facts.wall_offset.0).saturating_abs() > WALL_TOLERANCE;
        let lately = self.wall_set.is_some_and(|at| now.saturating_sub(at) < WALL_EVERY);
        if !wrong || lately {
            return None;
        }
        self.wall_set = Some(now);
        Some(Command::SetWallOffset(WallOffset(right)))
    }
}

/// Whether the node table has every voter: each has introduced itself, or the leader has judged it.
/// A cluster of one needs no table.
fn knows_all_voters(status: &Status, state: &State) -> bool {
    let view = state.view();
    let mut voters = status.members.iter().filter(|member| member.voter);
    voters.clone().count() <= 1 || voters.all(|member| view.meta().node(member.node).is_some())
}

/// Whether this node is in the state that lets it answer: for `/health/ready`.
pub fn is_serving(state: &State, me: crate::types::NodeId) -> bool {
    state.view().meta().node(me).is_none_or(|entry| entry.liveness == Liveness::Up)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{PeerStatus, Role};

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn facts(applied: u64, wall: i64) -> Facts {
        Facts {
            sights: Vec::new(),
            applied,
            next_due: None,
            expired: None,
            cluster: ClusterTime::from_millis(1_000),
            wall,
            wall_offset: WallOffset(0),
            levels: Levels::default(),
        }
    }

    #[test]
    fn r10_after_5_s_without_an_entry_there_is_a_tick() {
        let mut leading = Leading::new(ms(0));
        assert!(leading.look(&facts(7, 1_000), ms(100)).is_empty());
        assert!(leading.look(&facts(7, 1_000), ms(5_099)).is_empty());
        assert_eq!(leading.look(&facts(7, 1_000), ms(5_100)), [Command::Tick]);
        assert!(leading.look(&facts(7, 1_000), ms(5_200)).is_empty(), "once");
        assert!(leading.look(&facts(8, 1_000), ms(5_300)).is_empty());
        assert!(leading.look(&facts(9, 1_000), ms(10_200)).is_empty(), "an entry came");
        assert_eq!(leading.look(&facts(9, 1_000), ms(15_200)), [Command::Tick]);
    }

    #[test]
    fn r12_the_time_of_day_is_put_right_when_it_is_off_by_more_than_a_second() {
        let mut leading = Leading::new(ms(0));
        assert!(leading.look(&facts(1, 2_000), ms(100)).is_empty());
        assert_eq!(
            leading.look(&facts(1, 2_001), ms(200)),
            [Command::SetWallOffset(WallOffset(1_001))]
        );
        assert!(leading.look(&facts(1, 2_001), ms(300)).is_empty(), "not again at once");
        assert_eq!(
            leading.look(&facts(1, -3_000), ms(5_300)),
            [Command::SetWallOffset(WallOffset(-4_000))]
        );
    }

    #[test]
    fn a_leader_in_maintenance_hands_over_to_one_that_serves() {
        let sight = |node, lag, applied, voter| Sight {
            node: NodeId(node),
            leads: node == 1,
            voter,
            heard_ago: Some(ms(20)),
            lag,
            applied: Some(applied),
        };
        let with = |own| Facts {
            sights: vec![
                sight(1, 0, own, true),
                sight(2, 0, Liveness::Maintenance, true),
                sight(3, 9, Liveness::Up, true),
                sight(4, 0, Liveness::Up, false),
                Sight { heard_ago: Some(ms(900)), ..sight(5, 0, Liveness::Up, true) },
            ],
            ..facts(1, 1_000)
        };
        let mut leading = Leading::new(ms(0));
        assert_eq!(leading.successor(&with(Liveness::Up), ms(100)), None);
        assert_eq!(leading.successor(&with(Liveness::Maintenance), ms(200)), Some(NodeId(3)));
        assert_eq!(leading.successor(&with(Liveness::Maintenance), ms(300)), None, "under way");
        assert_eq!(leading.successor(&with(Liveness::Maintenance), ms(3_200)), Some(NodeId(3)));
    }

    #[test]
    fn r13_a_sweep_is_proposed_when_a_lease_is_due() {
        let expired = ExpiredLeases {
            reclaim_timer_wait_time: 10,
            flush_reclaimed_timer_wait_time: 25,
            hold_reclaimed_time: 3600,
            max_reclaim_leases: 100,
            max_reclaim_time: 250,
            unwarned_reclaim_cycles: 5,
        };
        let due = |millis| Facts {
            expired: Some(expired.clone()),
            next_due: Some(ClusterTime::from_millis(millis)),
            ..facts(1, 1_000)
        };
        let mut leading = Leading::new(ms(0));
        assert!(leading.look(&due(1_001), ms(100)).is_empty());
        assert!(matches!(leading.look(&due(1_000), ms(200))[..], [Command::Reclaim(_)]));
        leading.swept(&Answer::Unknown, ms(250));
        assert!(
            matches!(leading.look(&due(1_000), ms(300))[..], [Command::Reclaim(_)]),
            "no outcome: again"
        );
    }

    /// What is told of a sweep at 200 s over three leases: one over, one in probation till then, one
    /// that is renewed while the sweep is on its way.
    fn told_of_a_sweep(remove: bool, hooks: &str) -> Vec<(String, bool)> {
        use crate::state::testing::lease;
        use crate::state::{Batch, LeaseState, PutLease, PutMode, SetConfig};
        let mut state = State::new();
        let mut apply = |secs: u64, command| {
            let (index, stamp) = (state.applied() + 1, ClusterTime::from_millis(secs * 1000));
            state.apply(index, &Batch { stamp, commands: vec![command] });
        };
        let text = format!(
            r#"{{"Dhcp4": {{{hooks} "subnet4": [{{"id": 1, "subnet": "192.0.2.0/24"}}]}}}}"#
        );
        apply(1, Command::SetConfig(SetConfig::json(&text)));
        let put = |last: u8, state| {
            let like = lease("192.0.2.10", 1);
            Command::PutLease(PutLease {
                mode: PutMode::Upsert,
                address: [192, 0, 2, last].into(),
                subnet: like.subnet,
                hw: like.hw,
                client_id: None,
                lifetime: crate::types::Lifetime::from_secs(100),
                expire: None,
                hostname: String::new(),
                fqdn_fwd: false,
                fqdn_rev: false,
                state,
                user_context: String::new(),
            })
        };
        apply(1, put(10, LeaseState::Assigned));
        apply(1, put(11, LeaseState::Declined));
        apply(1, put(12, LeaseState::Assigned));
        let reclaim = Reclaim { limit: 100, remove };
        let ending = super::ending(state.view(), &reclaim, ClusterTime::from_millis(200_000));
        let mut apply = |secs: u64, command| {
            let (index, stamp) = (state.applied() + 1, ClusterTime::from_millis(secs * 1000));
            state.apply(index, &Batch { stamp, commands: vec![command] });
        };
        apply(200, put(12, LeaseState::Assigned));
        apply(200, Command::Reclaim(reclaim));
        let ended = ended(state.view(), ending).into_iter();
        ended.map(|(lease, removed)| (lease.address.to_string(), removed)).collect()
    }

    #[test]
    fn scripts_hear_of_what_a_sweep_has_ended() {
        let hooks = r#""hooks-libraries": [{"library": "/x/libdhcp_run_script.so",
            "parameters": {"name": "/x/script", "sync": false}}],"#;
        let said = |last: u8, removed| (format!("192.0.2.{last}"), removed);
        // A lease is kept for its client; what was in probation is nobody's.
        assert_eq!(told_of_a_sweep(false, hooks), [said(10, false), said(11, true)]);
        assert_eq!(told_of_a_sweep(true, hooks), [said(10, true), said(11, true)]);
        assert!(told_of_a_sweep(false, "").is_empty(), "nobody wants to know");
    }

    #[test]
    fn c15_in_a_new_cluster_a_node_waits_until_every_voter_is_known() {
        let member = |node, voter| PeerStatus {
            node: NodeId(node),
            address: String::new(),
            voter,
            heard_ago: None,
            matched: None,
            lag: None,
        };
        let status = |members: &[PeerStatus]| Status {
            id: NodeId(1),
            cluster: 1,
            leader: None,
            term: 1,
            role: Role::Follower,
            stamping: false,
            quorum_heard_ago: None,
            last_log: None,
            committed: None,
            applied: None,
            stamp: ClusterTime::ZERO,
            snapshot: None,
            purged: None,
            log_bytes: 0,
            members: members.to_vec(),
            refused: 0,
            stopped: None,
        };
        let three = status(&[member(1, true), member(2, true), member(3, true), member(4, false)]);
        let mut state = State::new();
        assert!(knows_all_voters(&status(&[member(1, true), member(2, false)]), &state));
        for (node, liveness) in [(1, Liveness::Up), (3, Liveness::Down), (2, Liveness::Up)] {
            assert!(!knows_all_voters(&three, &state));
            let commands = vec![Command::NodeLiveness(NodeId(node), liveness)];
            let batch = crate::state::Batch { stamp: ClusterTime::ZERO, commands };
            state.apply(state.applied() + 1, &batch);
        }
        assert!(knows_all_voters(&three, &state), "the learner is nobody to wait for");
    }

    #[test]
    fn a_node_serves_unless_the_cluster_says_otherwise() {
        let mut state = State::new();
        assert!(is_serving(&state, NodeId(1)));
        let down = Command::NodeLiveness(NodeId(1), Liveness::Down);
        state.apply(1, &crate::state::Batch { stamp: ClusterTime::ZERO, commands: vec![down] });
        assert!(!is_serving(&state, NodeId(1)));
    }
}
