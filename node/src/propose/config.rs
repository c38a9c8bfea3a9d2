//! Proposing a configuration: small ones as one command, others piece by piece, then the command that
//! names them (R25).
//!
//! Pieces go one after the other, so that leases pass between them. One whose fate is unknown is sent
//! again, to whoever leads then: that is harmless ([`super::batch::may_repeat`]), and so a change of
//! leader between two pieces costs nothing. The command at the end carries an id, which makes its
//! repetition harmless as well.

use std::time::Duration;

use super::batch::Unsent;
use super::{Answer, Proposer, boot};
use crate::state::{Command, ConfigChunk, NewConfig, Outcome};

/// How often all pieces are sent: a document can be forgotten between the last piece and its name if
/// others are being sent at the same time.
const ROUNDS: u32 = 3;

impl Proposer {
    /// Has a configuration accepted, within `within`. `id` names the change; draw it anew each time.
    ///
    /// [`Answer::Unsent`] means that nothing was changed, also when some pieces were sent.
    pub async fn submit_config(&self, new: NewConfig, id: u64, within: Duration) -> Answer {
        let deadline = boot(&*self.clock) + within;
        let (chunks, set) = new.commands(id);
        let set = Command::SetConfig(set);
        let left = || deadline.saturating_sub(boot(&*self.clock));
        let mut answer = Answer::Unsent(Unsent::NoLeader);
        for _ in 0..ROUNDS {
            for chunk in &chunks {
                match self.submit_piece(chunk, deadline).await {
                    Answer::Committed(done) if done.outcome.is_piece() => {}
                    // Whatever became of this piece, nothing is in force.
                    Answer::Unknown => return Answer::Unsent(Unsent::NoLeader),
                    other => return other,
                }
            }
            answer = self.submit(set.clone(), left()).await;
            match &answer {
                Answer::Committed(done) if done.outcome == Outcome::ConfigIncomplete => {}
                _ => break,
            }
        }
        answer
    }

    async fn submit_piece(&self, chunk: &ConfigChunk, deadline: Duration) -> Answer {
        loop {
            let left = deadline.saturating_sub(boot(&*self.clock));
            let answer = self.submit(Command::ConfigChunk(chunk.clone()), left).await;
            match answer {
                // The queue is full of leases: they come first.
                Answer::Unsent(Unsent::Full) if boot(&*self.clock) < deadline => {
                    tokio::time::sleep(super::TICK).await;
                }
                answer => return answer,
            }
        }
    }
}
