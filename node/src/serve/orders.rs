//! What an operator orders a node to do that would else be done by the clock.

use std::time::Duration;

use super::duties::Duties;
use crate::clock::Stopwatch;
use crate::propose::{Answer, Committed};
use crate::state::{Command, Outcome, Reclaim};

/// Leases of one step: the lock is held for it on every node (R22).
const STEP: u32 = 1_000;

impl Duties {
    /// Sweeps until no lease is due any more, step by step through the log, whoever leads (R13). Tells
    /// scripts and DNS of the ends, as the leader does of its own sweeps. `patience` is for one step,
    /// `within` for all.
    ///
    /// # Errors
    /// How many leases were swept before, and why no more.
    pub async fn reclaim_all(
        &self,
        remove: bool,
        patience: Duration,
        within: Duration,
    ) -> Result<u64, (u64, String)> {
        let watch = Stopwatch::start();
        let mut swept = 0;
        loop {
            if watch.elapsed() > within {
                return Err((swept, "it took too long".into()));
            }
            let reclaim = Reclaim { limit: STEP, remove };
            let ending = self.ending(&reclaim, self.raft.now());
            let answer = self.proposer.submit(Command::Reclaim(reclaim), patience).await;
            if let Answer::Committed(Committed { index, .. }) = &answer {
                // What has ended shows once this node has applied it; the next read here shall see it.
                let applied = self.raft.applied_at_least(*index);
                if tokio::time::timeout(patience, applied).await.is_err() {
                    return Err((swept, "this node has not applied a step in time".into()));
                }
            }
            self.tell_ends(ending, &answer);
            match answer {
                Answer::Committed(Committed {
                    outcome: Outcome::Reclaimed { count, more },
                    ..
                }) => {
                    swept += u64::from(count);
                    if !more {
                        return Ok(swept);
                    }
                }
                Answer::Committed(Committed { outcome, .. }) => {
                    return Err((swept, format!("a step came to {outcome:?}")));
                }
                Answer::Unsent(why) => return Err((swept, why.to_string())),
                Answer::Unknown => {
                    return Err((
                        swept,
                        "the leader was lost, and with it a step's outcome".into(),
                    ));
                }
            }
        }
    }
}
