//! The control API changes the membership, and makes tokens.

use std::time::Duration;

use tokio::time::timeout;

use super::backend::NodeBackend;
use crate::api::{Acted, NewToken};
use crate::propose::Answer;
use crate::raft::{Change, ChangeError, Token};
use crate::state::{Command, JoinToken, NotAdmitted, Outcome};
use crate::storage;
use crate::types::ClusterTime;

impl NodeBackend {
    /// Whoever leads does it.
    pub(super) async fn change_members(
        &self,
        change: Change,
        within: Duration,
    ) -> Result<Acted, String> {
        match self.parts.raft.change_members(change, within).await {
            Ok(changed) => {
                // Best effort: the next read here shall see it.
                let applied = self.parts.raft.applied_at_least(changed.index);
                let _ = timeout(Duration::from_secs(1), applied).await;
                Ok(Acted::Changed(changed))
            }
            Err(ChangeError::Unknown(why)) => Ok(Acted::Unknown(why)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Draws a secret, and has its digest committed.
    pub(super) async fn create_token(
        &self,
        new: NewToken,
        within: Duration,
    ) -> Result<Acted, String> {
        let NewToken { lasts, uses, learner, note } = new;
        let drawn = |error: std::io::Error| format!("no random number could be drawn: {error}");
        let token = Token::draw(self.parts.raft.status().cluster).map_err(drawn)?;
        // Short enough for people; there are few at one time.
        let id = (storage::draw().map_err(drawn)? >> 32).max(1);
        let now = self.parts.raft.now().as_millis();
        let millis = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        let not_after = ClusterTime::from_millis(now.saturating_add(millis));
        let digest = token.digest();
        let put = Command::PutToken(JoinToken { id, digest, not_after, uses, learner, note });
        let committed = match self.parts.proposer.submit(put, within).await {
            Answer::Committed(committed) => committed,
            Answer::Unsent(why) => return Err(why.to_string()),
            Answer::Unknown => {
                let why =
                    "the leader was lost while the command was on its way; make another token";
                return Ok(Acted::Unknown(why.into()));
            }
        };
        match committed.outcome {
            Outcome::Noted => {
                let applied = self.parts.raft.applied_at_least(committed.index);
                let _ = timeout(Duration::from_secs(1), applied).await;
                Ok(Acted::Token { id, token, lasts, uses })
            }
            Outcome::NotAdmitted(NotAdmitted::Full) => {
                Err("there are too many tokens: revoke some (cluster-token-revoke)".into())
            }
            Outcome::NotYet(level) => Err(format!(
                "the cluster works at a feature level below {level}, as before its upgrade; when every node runs \
                 the new version, raise it with cluster-upgrade-finalize"
            )),
            other => Err(format!("an outcome that does not fit: {other:?}")),
        }
    }
}
