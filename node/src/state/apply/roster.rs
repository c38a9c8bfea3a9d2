//! Letting nodes in, and the feature level (R14, R24).

use crate::state::State;
use crate::state::command::{Command, Liveness};
use crate::state::outcome::Outcome;
use crate::state::roster::{Admit, JoinToken};
use crate::types::NodeId;

impl State {
    /// What a command answers that is above the level in force: nobody proposes one, but a node that
    /// has forgotten that must not make the others differ (R24).
    pub(super) fn too_early(&self, command: &Command) -> Option<Outcome> {
        let level = command.level();
        (level > self.meta.feature_level).then_some(Outcome::NotYet(level))
    }

    pub(super) fn put_token(&mut self, token: &JoinToken) -> Outcome {
        match self.meta.roster.put_token(token, self.meta.now) {
            Ok(()) => Outcome::Noted,
            Err(why) => Outcome::NotAdmitted(why),
        }
    }

    pub(super) fn admit(&mut self, admit: &Admit) -> Outcome {
        let known = self.meta.nodes.get_max().map_or(NodeId(0), |(node, _)| *node);
        match self.meta.roster.admit(admit, known, self.meta.now) {
            Ok(node) => Outcome::Admitted(node),
            Err(why) => Outcome::NotAdmitted(why),
        }
    }

    /// Raises the level if every node that is or may be there runs a program that knows it.
    pub(super) fn raise_level(&mut self, level: u32) -> Outcome {
        if level <= self.meta.feature_level {
            return Outcome::Level(self.meta.feature_level);
        }
        let known = |node: NodeId| {
            let info = self.meta.nodes.get(&node).and_then(|entry| entry.info.as_ref());
            info.map_or(0, |info| info.level.max(1))
        };
        let here = self.meta.nodes.iter().filter(|(_, it)| it.liveness != Liveness::Left);
        let mut held: Vec<NodeId> = here
            .map(|(node, _)| *node)
            .chain(self.meta.roster.admissions().map(|(node, _)| node))
            .filter(|node| known(*node) < level)
            .collect();
        if held.is_empty() {
            self.meta.feature_level = level;
            return Outcome::Level(level);
        }
        held.sort_unstable();
        held.dedup();
        Outcome::LevelHeld(held)
    }
}
