//! The way of a batch to the leader, in place of the kept stream. It is worse than a stream can be: a batch arrives late, twice, or at a
//! node that led once, and its answer gets lost.

use std::sync::Arc;
use std::time::Duration;

use leasehold::propose::{Route, Transport, batch};
use leasehold::raft::{ProposeError, Raft};
use leasehold::state::{Batch, Command, wire};
use leasehold::types::ClusterTime;
use tokio::time::{sleep, timeout};

use super::world::World;
use crate::floor::sim::dice::Dice;
use crate::floor::sim::place::NODES;

/// How long it takes to notice that a connection is gone.
const KEEPALIVE: Duration = Duration::from_millis(500);
/// How long a batch may be on its way at the leader, as in the server.
const PATIENCE: Duration = Duration::from_secs(10);

/// The transport of one node.
#[derive(Debug)]
pub struct ToLeader {
    world: Arc<World>,
    me: u64,
    raft: Raft,
    dice: Dice,
}

impl ToLeader {
    /// The transport of node `me`, whose Raft is `raft`.
    pub fn new(world: Arc<World>, me: u64, raft: Raft) -> ToLeader {
        let dice = world.dice(2_000 + me);
        ToLeader { world, me, raft, dice }
    }

    /// A copy comes later, to the same node or to any.
    fn echo(&self, to: u64, commands: &[Command]) {
        let dice = &self.dice;
        // None of a configuration: its writer may be told for certain that it never left, or that another came first, and the copy would
        // make that untrue. With an id it comes twice all the same, when it is held up.
        let is_config = commands.iter().any(|it| matches!(it, Command::SetConfig(_)));
        if is_config || !dice.chance(self.world.plan.late_per_mille) {
            return;
        }
        let to = if dice.chance(600) { to } else { dice.between(1, NODES) };
        let late = Duration::from_millis(dice.between(100, 2_600));
        let (world, commands) = (self.world.clone(), commands.to_vec());
        tokio::spawn(async move {
            sleep(late).await;
            deliver(&world, to, commands).await;
        });
    }

    async fn forward(&self, to: u64, commands: Vec<Command>) -> batch::Result {
        let (world, me) = (&self.world, self.me);
        if world.node(to).is_none() {
            sleep(Duration::from_millis(1)).await;
            return batch::Result::NotProposed;
        }
        let held_up = self.dice.chance(self.world.plan.late_per_mille / 2);
        let late = if held_up { self.dice.between(200, 2_500) } else { 0 };
        let Some(delay) = world.wires.cross(me, to) else {
            sleep(KEEPALIVE).await;
            return batch::Result::Lost;
        };
        let carrier = {
            let world = world.clone();
            // It arrives even if the sender dies meanwhile.
            tokio::spawn(async move {
                sleep(delay + Duration::from_millis(late)).await;
                deliver(&world, to, commands).await
            })
        };
        let answer =
            if held_up { timeout(KEEPALIVE, carrier).await.ok() } else { Some(carrier.await) };
        let Some(Ok(Some(answer))) = answer else {
            sleep(KEEPALIVE).await;
            return batch::Result::Lost;
        };
        match world.wires.cross(to, me) {
            Some(delay) => sleep(delay).await,
            None => {
                sleep(KEEPALIVE).await;
                return batch::Result::Lost;
            }
        }
        answer
    }
}

impl Transport for ToLeader {
    async fn send(&self, route: Route, commands: Vec<Command>) -> batch::Result {
        match route {
            Route::Nowhere => batch::Result::NotProposed,
            Route::Here => {
                self.echo(self.me, &commands);
                result(self.raft.propose(commands).await)
            }
            Route::To(leader) => {
                self.echo(leader.0, &commands);
                // As on the wire.
                let bytes = wire::encode_batch(&Batch { stamp: ClusterTime::ZERO, commands });
                match wire::decode_batch(&bytes) {
                    Ok(batch) => self.forward(leader.0, batch.commands).await,
                    Err(error) => {
                        self.world.breach("wire", format!("a batch does not decode: {error}"));
                        batch::Result::NotProposed
                    }
                }
            }
        }
    }

    fn level(&self) -> u32 {
        self.raft.level()
    }
}

/// A batch arrives at node `to`. None: nobody answers.
async fn deliver(world: &Arc<World>, to: u64, commands: Vec<Command>) -> Option<batch::Result> {
    let node = world.node(to)?;
    let answer = match timeout(PATIENCE, node.raft().propose(commands)).await {
        Ok(Err(ProposeError::Stopped)) => batch::Result::NotProposed,
        Ok(answer) => result(answer),
        Err(_) => batch::Result::Lost,
    };
    if node.is_dead() {
        return None;
    }
    // As on the wire.
    Some(match answer {
        batch::Result::Applied { index, stamp, outcomes } => {
            match wire::decode_outcomes(&wire::encode_outcomes(&outcomes)) {
                Ok(outcomes) => batch::Result::Applied { index, stamp, outcomes },
                Err(error) => {
                    world.breach("wire", format!("outcomes do not decode: {error}"));
                    batch::Result::Lost
                }
            }
        }
        other => other,
    })
}

fn result(result: Result<leasehold::raft::Applied, ProposeError>) -> batch::Result {
    match result {
        Ok(applied) => batch::Result::Applied {
            index: applied.index,
            stamp: applied.stamp,
            outcomes: applied.outcomes,
        },
        Err(ProposeError::NotLeader(_) | ProposeError::TooMany) => batch::Result::NotProposed,
        Err(ProposeError::Unknown) => batch::Result::Lost,
        Err(ProposeError::Stopped) => batch::Result::Stopped,
    }
}
