//! The leader's judgement about nodes (rule R16): down after 500 ms without an answer, up after
//! 5 s steady and caught up. What it returns is proposed; only what is committed counts. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::state::{Command, Liveness};
use crate::types::NodeId;

/// Silence after which a node is down.
pub const DOWN_AFTER: Duration = Duration::from_millis(500);
/// How long a node must answer without a gap before it is up again.
pub const UP_AFTER: Duration = Duration::from_secs(5);
/// A judgement that was proposed is not proposed again for so long.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// A node this many entries behind the commit index has not caught up.
pub const LAG: u64 = 1_000;

/// What the leader sees of one other node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// The node.
    pub node: NodeId,
    /// Whether it is the leader itself, which has caught up by leading.
    pub leads: bool,
    /// Whether it votes, and so may lead.
    pub voter: bool,
    /// How long ago it last answered; `None` when it has not since this node leads.
    pub heard_ago: Option<Duration>,
    /// How many committed entries it has not yet got.
    pub lag: u64,
    /// The judgement in applied state; `None` while the cluster has not heard of the node.
    pub applied: Option<Liveness>,
}

/// The judge; exists while this node leads and begins anew with each term.
#[derive(Debug)]
pub struct Judge {
    since: Duration,
    steady_since: BTreeMap<NodeId, Duration>,
    proposed: BTreeMap<NodeId, (Liveness, Duration)>,
}

impl Judge {
    /// A judge of a node that leads since `now`.
    pub fn new(now: Duration) -> Judge {
        Judge { since: now, steady_since: BTreeMap::new(), proposed: BTreeMap::new() }
    }

    /// Looks at every other member once; returns what to propose.
    pub fn judge(&mut self, sights: &[Sight], now: Duration) -> Vec<Command> {
        let known = |node: &NodeId| sights.iter().any(|sight| sight.node == *node);
        self.steady_since.retain(|node, _| known(node));
        self.proposed.retain(|node, _| known(node));
        sights.iter().filter_map(|sight| self.judge_one(sight, now)).collect()
    }

    fn judge_one(&mut self, sight: &Sight, now: Duration) -> Option<Command> {
        let silence = sight.heard_ago.unwrap_or(Duration::MAX).min(now.saturating_sub(self.since));
        let answers = sight.heard_ago.is_some() && silence < DOWN_AFTER;
        if !answers || sight.lag > LAG {
            self.steady_since.remove(&sight.node);
        } else {
            self.steady_since.entry(sight.node).or_insert(now);
        }
        let steady = self
            .steady_since
            .get(&sight.node)
            .map_or(Duration::ZERO, |since| now.saturating_sub(*since));
        let verdict = match sight.applied {
            Some(Liveness::Up | Liveness::Draining) | None if silence >= DOWN_AFTER => {
                Liveness::Down
            }
            Some(Liveness::Down) | None if steady >= UP_AFTER || sight.leads => Liveness::Up,
            _ => return None,
        };
        let fresh = self.proposed.get(&sight.node);
        if fresh.is_some_and(|(what, at)| *what == verdict && now.saturating_sub(*at) < PATIENCE) {
            return None;
        }
        self.proposed.insert(sight.node, (verdict, now));
        Some(Command::NodeLiveness(sight.node, verdict))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn sight(heard_ago: Option<u64>, lag: u64, applied: Liveness) -> Sight {
        let applied = Some(applied);
        Sight {
            node: NodeId(2),
            leads: false,
            voter: true,
            heard_ago: heard_ago.map(ms),
            lag,
            applied,
        }
    }

    #[test]
    fn r16_a_node_is_down_after_500_ms_without_an_answer() {
        let mut judge = Judge::new(ms(0));
        assert!(judge.judge(&[sight(Some(499), 0, Liveness::Up)], ms(10_000)).is_empty());
        let down = vec![Command::NodeLiveness(NodeId(2), Liveness::Down)];
        assert_eq!(judge.judge(&[sight(Some(500), 0, Liveness::Up)], ms(10_001)), down);
        // Proposed once; again only when it did not come through for a second.
        assert!(judge.judge(&[sight(Some(600), 0, Liveness::Up)], ms(10_101)).is_empty());
        assert_eq!(judge.judge(&[sight(Some(1_500), 0, Liveness::Up)], ms(11_001)), down);
    }

    #[test]
    fn r16_a_new_leader_gives_every_node_500_ms() {
        let mut judge = Judge::new(ms(10_000));
        assert!(judge.judge(&[sight(None, 0, Liveness::Up)], ms(10_499)).is_empty());
        assert!(judge.judge(&[sight(Some(9_000), 0, Liveness::Up)], ms(10_499)).is_empty());
        assert_eq!(judge.judge(&[sight(None, 0, Liveness::Up)], ms(10_500)).len(), 1);
    }

    #[test]
    fn r16_a_node_is_up_after_5_s_steady_and_caught_up() {
        let mut judge = Judge::new(ms(0));
        let mut first_up = None;
        for tick in 0..200 {
            let now = ms(tick * 100);
            // A gap at 3 s and a lag until 8 s both start the count again.
            let ago = if tick == 30 { 700 } else { 20 };
            let lag = if tick < 80 { LAG + 1 } else { 3 };
            if first_up.is_none()
                && !judge.judge(&[sight(Some(ago), lag, Liveness::Down)], now).is_empty()
            {
                first_up = Some(now);
            }
        }
        assert_eq!(first_up, Some(ms(13_000)));
    }

    #[test]
    fn r16_a_leader_that_was_down_is_up_at_once() {
        let mut judge = Judge::new(ms(0));
        let own = Sight { leads: true, ..sight(Some(0), 0, Liveness::Down) };
        assert_eq!(judge.judge(&[own], ms(1)), [Command::NodeLiveness(NodeId(2), Liveness::Up)]);
    }

    #[test]
    fn r16_a_node_that_nobody_has_heard_of_is_judged_as_well() {
        let unknown = |heard_ago| Sight { applied: None, ..sight(heard_ago, 0, Liveness::Up) };
        let mut judge = Judge::new(ms(0));
        assert!(judge.judge(&[unknown(None)], ms(499)).is_empty(), "it may be about to speak");
        let down = Command::NodeLiveness(NodeId(2), Liveness::Down);
        assert_eq!(judge.judge(&[unknown(None)], ms(500)), [down]);
        let mut judge = Judge::new(ms(0));
        assert!(judge.judge(&[unknown(Some(20))], ms(100)).is_empty());
        assert!(judge.judge(&[unknown(Some(20))], ms(5_099)).is_empty());
        let up = Command::NodeLiveness(NodeId(2), Liveness::Up);
        assert_eq!(judge.judge(&[unknown(Some(20))], ms(5_100)), [up]);
    }

    #[test]
    fn silence_does_not_end_a_maintenance() {
        let mut judge = Judge::new(ms(0));
        for (at, ago) in [(9_000, 10), (10_000, 900), (11_000, 10), (20_000, 10)] {
            let sight = sight(Some(ago), 0, Liveness::Maintenance);
            assert!(judge.judge(&[sight], ms(at)).is_empty());
        }
    }

    #[test]
    fn a_draining_node_that_dies_is_down() {
        let mut judge = Judge::new(ms(0));
        assert!(judge.judge(&[sight(Some(10), 0, Liveness::Draining)], ms(9_000)).is_empty());
        assert_eq!(judge.judge(&[sight(Some(510), 0, Liveness::Draining)], ms(9_500)).len(), 1);
    }
}
