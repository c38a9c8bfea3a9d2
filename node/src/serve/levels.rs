//! When the feature level rises (R24). Pure.
//!
//! The operator raises it (`cluster-upgrade-finalize`), since afterwards no older program can be
//! started. A new cluster has nothing that an older program could want to go on with: its leader raises
//! it to the highest level that all members know, while there is no configuration and no lease.

use std::time::Duration;

use crate::state::{Command, Liveness, View, feature};
use crate::types::NodeId;

/// How long after a proposal the next one comes, if the level still has not risen.
const AGAIN: Duration = Duration::from_secs(1);

/// The levels of a cluster at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Levels {
    /// The level in force.
    pub in_force: u32,
    /// The highest level that any node said it knows.
    pub highest: u32,
    /// What each node said that it knows, ascending by node; `None` from one that has said nothing. A node
    /// of the first release does not name its level, and knows 1.
    pub told: Vec<(NodeId, Option<u32>)>,
    /// Whether there is no configuration and no lease yet.
    pub empty: bool,
}

impl Levels {
    /// Those of the cluster that has these members in Raft's eyes, and these nodes in its own: a node that
    /// was let in and a node that is down count too, since they will read the log.
    pub fn of(members: impl Iterator<Item = NodeId>, view: View<'_>) -> Levels {
        let meta = view.meta();
        let there = meta.nodes().filter(|(_, entry)| entry.liveness != Liveness::Left);
        let admitted = meta.roster().admissions().map(|(node, _)| node);
        let mut nodes: Vec<NodeId> =
            members.chain(there.map(|(node, _)| node)).chain(admitted).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let said = |node: NodeId| {
            let info = meta.node(node)?.info.as_ref()?;
            Some(info.level.max(feature::FIRST))
        };
        let told: Vec<_> = nodes.into_iter().map(|node| (node, said(node))).collect();
        Levels {
            in_force: meta.feature_level(),
            highest: told.iter().filter_map(|(_, level)| *level).max().unwrap_or(feature::FIRST),
            told,
            empty: meta.config().is_none() && view.lease_count() == 0,
        }
    }

    /// The level that all nodes know; `None` while one has said nothing.
    pub fn common(&self) -> Option<u32> {
        let all: Option<Vec<u32>> = self.told.iter().map(|(_, level)| *level).collect();
        all?.into_iter().min()
    }

    /// Who does not know `level`, or has said nothing.
    pub fn without(&self, level: u32) -> Vec<NodeId> {
        let lacks = |told: &Option<u32>| told.is_none_or(|told| told < level);
        self.told.iter().filter(|(_, told)| lacks(told)).map(|(node, _)| *node).collect()
    }

    /// Whether the level of a new cluster is what it is going to begin with.
    pub fn are_settled(&self) -> bool {
        !self.empty || self.common().is_some_and(|common| common <= self.in_force)
    }
}

/// A leader that raises the level of a new cluster.
#[derive(Debug, Default)]
pub struct Raising {
    proposed: Option<Duration>,
}

impl Raising {
    /// What to propose now.
    pub fn next(&mut self, levels: &Levels, now: Duration) -> Option<Command> {
        let level = levels.common().filter(|level| *level > levels.in_force && levels.empty)?;
        if self.proposed.is_some_and(|at| now.saturating_sub(at) < AGAIN) {
            return None;
        }
        self.proposed = Some(now);
        Some(Command::RaiseLevel(level))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(in_force: u32, told: &[Option<u32>], empty: bool) -> Levels {
        let told: Vec<_> = (1..).map(NodeId).zip(told.iter().copied()).collect();
        let highest = told.iter().filter_map(|(_, level)| *level).max().unwrap_or(1);
        Levels { in_force, highest, told, empty }
    }

    #[test]
    fn r24_a_new_cluster_begins_with_what_all_its_nodes_know() {
        let raise = |levels: &Levels| Raising::default().next(levels, Duration::ZERO);
        let all = levels(1, &[Some(3), Some(2), Some(3)], true);
        assert_eq!(raise(&all), Some(Command::RaiseLevel(2)));
        assert!(!all.are_settled());
        for settled in [levels(2, &[Some(3), Some(2)], true), levels(1, &[Some(1), Some(2)], true)]
        {
            assert_eq!(raise(&settled), None);
            assert!(settled.are_settled());
        }
        let silent = levels(1, &[Some(2), None], true);
        assert_eq!((raise(&silent), silent.are_settled()), (None, false));
    }

    #[test]
    fn r24_the_level_of_a_cluster_that_has_something_in_it_is_its_operators_business() {
        let old = levels(1, &[Some(2), Some(2)], false);
        assert_eq!(Raising::default().next(&old, Duration::ZERO), None);
        assert!(old.are_settled());
        assert_eq!((old.common(), old.without(2)), (Some(2), Vec::new()));
        let mixed = levels(1, &[Some(2), Some(1), None], false);
        assert_eq!((mixed.common(), mixed.without(2)), (None, vec![NodeId(2), NodeId(3)]));
    }

    #[test]
    fn it_is_proposed_again_after_a_while() {
        let mut raising = Raising::default();
        let new = levels(1, &[Some(2)], true);
        let at = |millis| Duration::from_millis(millis);
        assert!(raising.next(&new, at(100)).is_some());
        assert!(raising.next(&new, at(1_099)).is_none());
        assert!(raising.next(&new, at(1_100)).is_some());
    }
}
