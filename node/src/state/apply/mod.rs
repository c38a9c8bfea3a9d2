//! What each command does. One function a command; refusals are outcomes.

mod cluster;
mod config;
mod lease4;
mod reclaim;
mod roster;

pub use lease4::cached_lifetime;

use super::State;
use super::command::{Command, Generation};
use super::outcome::Outcome;
use super::prepare::Readers;

impl State {
    /// Applies one command at the applied index and time. `place` is its place in the log, which a
    /// holding that it begins takes as its generation; `readers` read a document that comes into force and make edits.
    pub(super) fn command(
        &mut self,
        place: Generation,
        command: &Command,
        readers: &mut Readers<'_>,
    ) -> Outcome {
        if let Some(outcome) = self.too_early(command) {
            return outcome;
        }
        match command {
            Command::Grant(grant) => self.grant(place, grant),
            Command::Release(release) => self.release(release),
            Command::Decline(decline) => self.decline(place, decline),
            Command::InUse(found) => self.in_use(place, found),
            Command::Reclaim(reclaim) => self.reclaim(reclaim),
            Command::PutLease(put) => self.put_lease(place, put),
            Command::DeleteLease(delete) => self.delete_lease(delete),
            Command::WipeLeases(wipe) => self.wipe_leases(wipe),
            Command::ConfigChunk(chunk) => self.meta.config_chunk(chunk),
            Command::SetConfig(set) => self.set_config(set, readers.read),
            Command::EditConfig(edit) => self.edit_config(edit, readers.edit),
            Command::Tick => Outcome::Noted,
            Command::SetWallOffset(offset) => self.set_wall_offset(*offset),
            Command::NodeInfo(info) => self.node_info(info),
            Command::NodeLiveness(node, liveness) => self.node_liveness(*node, *liveness),
            Command::RaiseLevel(level) => self.raise_level(*level),
            Command::PutToken(token) => self.put_token(token),
            Command::RemoveToken(id) => {
                self.meta.roster.remove_token(*id);
                Outcome::Noted
            }
            Command::Admit(admit) => self.admit(admit),
            Command::EndHold(step) => self.end_hold(step),
            Command::SetPolicy(policy) => {
                self.meta.roster.set_policy(policy);
                Outcome::Noted
            }
        }
    }
}
