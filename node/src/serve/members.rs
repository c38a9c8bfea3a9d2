//! What a leader does about the membership by itself: it ends a change that was left half-way, takes
//! nodes off the list that have left, follows nodes that were moved, gives learners that have caught up
//! their vote, and hands over to a rack that is preferred.
//!
//! [`Keeper`] decides, and is pure; one step at a time, in that order. The task may be stopped anywhere:
//! what is to be done shows in the membership and in the applied state, and the next leader sees it too.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::timeout;

use super::duties::Duties;
use crate::peers::liveness::{DOWN_AFTER, LAG};
use crate::propose::boot;
use crate::raft::{ChangeError, Status};
use crate::state::Liveness;
use crate::types::NodeId;

/// How often a leader looks.
const LOOK: Duration = Duration::from_millis(200);
/// How long one step may take.
const WITHIN: Duration = Duration::from_secs(5);
/// How long a learner must have answered and kept up before it votes.
const STEADY: Duration = Duration::from_secs(2);
/// How long a change of votes may stand half-way before somebody ends it.
const HALF_WAY: Duration = Duration::from_secs(1);
/// How long a node that has left and still answers stays on the list: it serves those who chose it
/// meanwhile, as one that stops does.
const LEAVING: Duration = Duration::from_secs(6);
/// A step that failed is tried again after so long.
const AGAIN: Duration = Duration::from_secs(3);
/// How long a node must have been up before it is preferred to a leader that does well.
const SETTLED: Duration = Duration::from_secs(10);
/// How often leadership moves for a preference at most.
const PREFER_EVERY: Duration = Duration::from_secs(60);
/// How long a node's disk must have been well before the node is preferred again: one that stands still
/// now and then gave leadership away for it, and would get it back every minute.
const DISK_WELL: Duration = Duration::from_secs(600);

/// A member as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The node.
    pub node: NodeId,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it is to stay without a vote.
    pub learner: bool,
    /// How long ago it answered; zero for the leader.
    pub heard_ago: Option<Duration>,
    /// Entries it is behind.
    pub lag: u64,
    /// Where the membership says it is.
    pub address: String,
    /// Where it says it is; empty before it has said so, or without a peer port.
    pub says: String,
    /// Its rack.
    pub rack: String,
    /// The replicated judgement, and for how long it has stood.
    pub liveness: Option<(Liveness, Duration)>,
    /// Whether its disk stands still, or is filling up, as it says.
    pub disk_ails: bool,
}

impl Seen {
    fn answers(&self) -> bool {
        self.heard_ago.is_some_and(|ago| ago < DOWN_AFTER)
    }

    fn keeps_up(&self) -> bool {
        self.answers() && self.lag <= LAG
    }

    fn is(&self, wanted: Liveness) -> bool {
        self.liveness.is_some_and(|(liveness, _)| liveness == wanted)
    }
}

/// What a leader sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// This node.
    pub me: NodeId,
    /// Every member, itself among them.
    pub members: Vec<Seen>,
    /// Whether a change of votes is half-way.
    pub half_way: bool,
    /// Racks for the leader, the most wanted first.
    pub leader_racks: Vec<String>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// End the change that is half-way.
    Flatten,
    /// Take a node off the list.
    Forget(NodeId),
    /// Put a node's new address into the membership.
    Readdress(NodeId, String),
    /// Give a learner its vote.
    Promote(NodeId),
    /// Hand over to a node in a preferred rack.
    Prefer(NodeId),
}

/// Decides. Lives as long as the process, so that leadership does not move too often; what it has seen in
/// another term does not count.
#[derive(Debug, Default)]
pub struct Keeper {
    term: u64,
    steady_since: BTreeMap<NodeId, Duration>,
    half_way_since: Option<Duration>,
    tried: BTreeMap<Step, Duration>,
    leads_since: Duration,
    preferred: Option<Duration>,
    /// When a node's disk was last not well.
    ailed: BTreeMap<NodeId, Duration>,
}

impl Keeper {
    /// The step to take now.
    pub fn next(&mut self, term: u64, facts: &Facts, now: Duration) -> Option<Step> {
        if self.term != term {
            let (preferred, ailed) = (self.preferred, std::mem::take(&mut self.ailed));
            *self = Keeper { term, leads_since: now, preferred, ailed, ..Keeper::default() };
        }
        self.tried.retain(|_, at| now.saturating_sub(*at) < AGAIN);
        self.watch(facts, now);
        let step = self.choose(facts, now)?;
        if let Step::Prefer(_) = step {
            self.preferred = Some(now);
        }
        self.tried.insert(step.clone(), now);
        Some(step)
    }

    fn watch(&mut self, facts: &Facts, now: Duration) {
        let member = |node: &NodeId| facts.members.iter().any(|seen| seen.node == *node);
        self.steady_since.retain(|node, _| member(node));
        self.ailed.retain(|node, at| member(node) && now.saturating_sub(*at) < DISK_WELL);
        let ailing = facts.members.iter().filter(|seen| seen.disk_ails);
        self.ailed.extend(ailing.map(|seen| (seen.node, now)));
        for seen in &facts.members {
            match seen.keeps_up() {
                true => _ = self.steady_since.entry(seen.node).or_insert(now),
                false => _ = self.steady_since.remove(&seen.node),
            }
        }
        self.half_way_since = match facts.half_way {
            true => self.half_way_since.or(Some(now)),
            false => None,
        };
    }

    fn choose(&self, facts: &Facts, now: Duration) -> Option<Step> {
        if facts.half_way {
            let long = self.half_way_since.is_some_and(|at| now.saturating_sub(at) >= HALF_WAY);
            return self.untried(Step::Flatten).filter(|_| long);
        }
        let members = facts.members.iter();
        let gone = members.clone().filter(|seen| {
            let left = seen.liveness.filter(|(liveness, _)| *liveness == Liveness::Left);
            !seen.voter && left.is_some_and(|(_, since)| since >= LEAVING || !seen.answers())
        });
        let moved = members.clone().filter(|seen| {
            !seen.says.is_empty() && seen.says != seen.address && !seen.is(Liveness::Left)
        });
        let ripe = members.clone().filter(|seen| {
            let steady = self.steady_since.get(&seen.node);
            let steady = steady.is_some_and(|since| now.saturating_sub(*since) >= STEADY);
            !seen.voter && !seen.learner && steady && !seen.is(Liveness::Left)
        });
        let mut steps = (gone.map(|seen| Step::Forget(seen.node)))
            .chain(moved.map(|seen| Step::Readdress(seen.node, seen.says.clone())))
            .chain(ripe.map(|seen| Step::Promote(seen.node)));
        steps.find_map(|step| self.untried(step)).or_else(|| self.prefer(facts, now))
    }

    fn untried(&self, step: Step) -> Option<Step> {
        (!self.tried.contains_key(&step)).then_some(step)
    }

    fn prefer(&self, facts: &Facts, now: Duration) -> Option<Step> {
        let lately = self.preferred.is_some_and(|at| now.saturating_sub(at) < PREFER_EVERY);
        if facts.leader_racks.is_empty() || lately || now.saturating_sub(self.leads_since) < SETTLED
        {
            return None;
        }
        let rank = |seen: &Seen| {
            let place = facts.leader_racks.iter().position(|rack| *rack == seen.rack);
            place.unwrap_or(facts.leader_racks.len())
        };
        let own = facts.members.iter().find(|seen| seen.node == facts.me).map(rank)?;
        let able = |seen: &&Seen| {
            let up =
                seen.liveness.is_some_and(|(it, since)| it == Liveness::Up && since >= SETTLED);
            let well = !self.ailed.contains_key(&seen.node);
            seen.voter && seen.keeps_up() && up && well && rank(seen) < own
        };
        let best = facts
            .members
            .iter()
            .filter(able)
            .min_by_key(|seen| (rank(seen), seen.lag, seen.node))?;
        Some(Step::Prefer(best.node))
    }
}

impl Duties {
    /// The leader's duties about the membership, while this node leads.
    pub async fn keep_membership(self) {
        let mut keeper = Keeper::default();
        loop {
            tokio::time::sleep(LOOK).await;
            let status = self.raft.status();
            if !status.stamping {
                continue;
            }
            let facts = self.membership_facts(&status);
            let Some(step) = keeper.next(status.term, &facts, boot(&*self.clock)) else { continue };
            tracing::info!(?step, "the membership is put right");
            if let Err(why) = self.take_step(step).await {
                tracing::info!(
                    why,
                    "the step did not come about; it is tried again if it is still needed"
                );
            }
        }
    }

    async fn take_step(&self, step: Step) -> Result<(), String> {
        let raft = &self.raft;
        let done: Result<u64, ChangeError> = match step {
            Step::Flatten => raft.flatten(WITHIN).await,
            Step::Forget(node) => raft.forget(node, WITHIN).await,
            Step::Readdress(node, address) => raft.readdress(node, address, WITHIN).await,
            Step::Promote(node) => raft.give_vote(node, WITHIN).await,
            Step::Prefer(node) => {
                return match timeout(WITHIN, raft.transfer_leader(Some(node))).await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err("the other node did not take over in time".into()),
                };
            }
        };
        done.map(|_| ()).map_err(|error| error.to_string())
    }

    fn membership_facts(&self, status: &Status) -> Facts {
        let (membership, half_way) = self.raft.members();
        let now = self.raft.now();
        let views = self.peers.as_ref().map(|peers| peers.views()).unwrap_or_default();
        let state = self.state.read();
        let meta = state.view().meta();
        let seen = |member: &crate::raft::PeerStatus| {
            let leads = member.node == status.id;
            let entry = meta.node(member.node);
            let info = entry.and_then(|entry| entry.info.as_ref());
            let marked = membership.membership().get_node(&member.node.0);
            Seen {
                node: member.node,
                voter: member.voter,
                learner: marked.is_none_or(|member| member.learner),
                heard_ago: if leads { Some(Duration::ZERO) } else { member.heard_ago },
                lag: if leads { 0 } else { member.lag.unwrap_or(u64::MAX) },
                address: member.address.clone(),
                says: info.map_or_else(String::new, |info| info.peer_address.clone()),
                rack: info.map_or_else(String::new, |info| info.rack.clone()),
                liveness: entry.map(|entry| {
                    let since = now.as_millis().saturating_sub(entry.since.as_millis());
                    (entry.liveness, Duration::from_millis(since))
                }),
                disk_ails: views
                    .get(&member.node)
                    .is_some_and(|view| view.disk.stalled || view.disk.low || view.disk.out),
            }
        };
        Facts {
            me: status.id,
            members: status.members.iter().map(seen).collect(),
            half_way,
            leader_racks: meta.roster().policy().leader_racks.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn seen(node: u64, rack: &str) -> Seen {
        Seen {
            node: NodeId(node),
            voter: true,
            learner: false,
            heard_ago: Some(ms(20)),
            lag: 0,
            address: format!("10.0.0.{node}:1"),
            says: format!("10.0.0.{node}:1"),
            rack: rack.into(),
            liveness: Some((Liveness::Up, ms(60_000))),
            disk_ails: false,
        }
    }

    fn facts(members: Vec<Seen>) -> Facts {
        Facts { me: NodeId(1), members, half_way: false, leader_racks: Vec::new() }
    }

    fn three() -> Vec<Seen> {
        vec![seen(1, "a"), seen(2, "b"), seen(3, "c")]
    }

    /// What a leader does in a minute of these facts, and when.
    fn minute(keeper: &mut Keeper, facts: &Facts) -> Vec<(u64, Step)> {
        let steps = (0..300u64).map(|look| look * 200);
        steps.filter_map(|at| keeper.next(1, facts, ms(at)).map(|step| (at, step))).collect()
    }

    #[test]
    fn a_cluster_in_order_is_left_alone() {
        let mut all = three();
        all.push(Seen { voter: false, learner: true, ..seen(4, "d") });
        assert!(minute(&mut Keeper::default(), &facts(all)).is_empty());
    }

    #[test]
    fn a_learner_gets_its_vote_when_it_has_kept_up_for_a_while() {
        let with = |new: Seen| facts(three().into_iter().chain([new]).collect());
        let new = Seen { voter: false, liveness: Some((Liveness::Down, ms(0))), ..seen(4, "d") };
        let mut keeper = Keeper::default();
        let behind = with(Seen { lag: LAG + 1, ..new.clone() });
        let silent = with(Seen { heard_ago: None, ..new.clone() });
        for (at, facts) in [(0, &behind), (5_000, &behind), (10_000, &silent)] {
            assert_eq!(keeper.next(1, facts, ms(at)), None, "{at}");
        }
        let there = with(new.clone());
        assert_eq!(keeper.next(1, &there, ms(11_000)), None);
        assert_eq!(keeper.next(1, &there, ms(12_900)), None);
        let promote = Some(Step::Promote(NodeId(4)));
        assert_eq!(keeper.next(1, &there, ms(13_000)), promote);
        // Tried again after a while only.
        assert_eq!(keeper.next(1, &there, ms(13_200)), None);
        assert_eq!(keeper.next(1, &there, ms(16_000)), promote);
        // Another term begins anew.
        assert_eq!(keeper.next(2, &there, ms(16_200)), None);
        let leaving = with(Seen { liveness: Some((Liveness::Left, ms(0))), ..new });
        assert_eq!(Keeper::default().next(1, &leaving, ms(0)), None);
    }

    #[test]
    fn who_has_left_is_taken_off_the_list_and_has_a_while_for_its_clients() {
        let with = |new: Seen| facts(three().into_iter().chain([new]).collect());
        let left = |since| Seen {
            voter: false,
            learner: true,
            liveness: Some((Liveness::Left, since)),
            ..seen(4, "d")
        };
        let forget = Some(Step::Forget(NodeId(4)));
        assert_eq!(Keeper::default().next(1, &with(left(ms(5_999))), ms(0)), None);
        assert_eq!(Keeper::default().next(1, &with(left(LEAVING)), ms(0)), forget);
        let dead = Seen { heard_ago: None, ..left(ms(0)) };
        assert_eq!(Keeper::default().next(1, &with(dead), ms(0)), forget);
        // Its vote goes first.
        let votes = Seen { voter: true, ..left(LEAVING) };
        assert_eq!(Keeper::default().next(1, &with(votes), ms(0)), None);
    }

    #[test]
    fn a_change_that_stands_half_way_is_ended_before_anything_else() {
        let mut all = three();
        all[2].says = "10.9.9.9:1".into();
        let mut keeper = Keeper::default();
        let half_way = Facts { half_way: true, ..facts(all.clone()) };
        assert_eq!(keeper.next(1, &half_way, ms(0)), None, "its leader may be about to end it");
        assert_eq!(keeper.next(1, &half_way, ms(900)), None);
        assert_eq!(keeper.next(1, &half_way, ms(1_000)), Some(Step::Flatten));
        let moved = Step::Readdress(NodeId(3), "10.9.9.9:1".into());
        assert_eq!(keeper.next(1, &facts(all), ms(1_200)), Some(moved));
    }

    #[test]
    fn a_node_without_a_peer_port_was_not_moved() {
        let mut all = vec![seen(1, "")];
        all[0].says = String::new();
        assert!(minute(&mut Keeper::default(), &facts(all)).is_empty());
    }

    #[test]
    fn leadership_moves_to_the_most_wanted_rack_and_not_often() {
        let wanted = |racks: &[&str], all: Vec<Seen>| Facts {
            leader_racks: racks.iter().map(|rack| (*rack).to_owned()).collect(),
            ..facts(all)
        };
        let steps = minute(&mut Keeper::default(), &wanted(&["c", "b"], three()));
        assert_eq!(steps, [(10_000, Step::Prefer(NodeId(3)))]);
        // The second best, if the best has come just now, lags, or is silent.
        for spoil in [
            |it: &mut Seen| it.liveness = Some((Liveness::Up, ms(9_000))),
            |it: &mut Seen| it.liveness = Some((Liveness::Draining, ms(90_000))),
            |it: &mut Seen| it.lag = LAG + 1,
            |it: &mut Seen| it.heard_ago = None,
            |it: &mut Seen| it.voter = false,
            |it: &mut Seen| it.disk_ails = true,
        ] {
            let mut all = three();
            spoil(&mut all[2]);
            all[2].learner = true;
            let mut keeper = Keeper::default();
            let steps = minute(&mut keeper, &wanted(&["c", "b"], all));
            assert_eq!(steps, [(10_000, Step::Prefer(NodeId(2)))]);
        }
        assert!(minute(&mut Keeper::default(), &wanted(&["a", "b"], three())).is_empty());
        assert!(minute(&mut Keeper::default(), &wanted(&["z"], three())).is_empty());
        // A new term does not make it forget when leadership last moved.
        let mut keeper = Keeper::default();
        let facts = wanted(&["c"], three());
        keeper.next(1, &facts, ms(0));
        assert!(keeper.next(1, &facts, ms(10_000)).is_some());
        keeper.next(3, &facts, ms(20_000));
        assert_eq!(keeper.next(3, &facts, ms(60_000)), None);
        assert!(keeper.next(3, &facts, ms(70_000)).is_some());
    }

    #[test]
    fn a_node_whose_disk_stood_still_is_not_preferred_for_ten_minutes() {
        let wanted = |ails: bool| {
            let mut all = three();
            all[2].disk_ails = ails;
            Facts { leader_racks: vec!["c".into()], ..facts(all) }
        };
        let mut keeper = Keeper::default();
        assert_eq!(keeper.next(1, &wanted(true), ms(0)), None);
        // Leadership goes round meanwhile.
        for (term, at) in [(2, 300_000), (3, 599_000), (3, 599_900)] {
            assert_eq!(keeper.next(term, &wanted(false), ms(at)), None);
        }
        let step = keeper.next(3, &wanted(false), ms(610_000));
        assert_eq!(step, Some(Step::Prefer(NodeId(3))));
    }
}
