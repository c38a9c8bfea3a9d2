//! Those who change the configuration: tasks, each of which reads on any node and sets on any other on top of that. When a version may have
//! been in force follows from the answers, as on the floor of real servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use leasehold::propose::Answer;
use leasehold::state::Command;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use super::node::{BARRIER, Node};
use super::world::World;
use crate::floor::sim::dice::Dice;
use crate::floor::sim::place::NODES;
use crate::floor::sim::writers::{Book, REST_MS, Reservation, command, shown, told};

/// How long a change may take. Whoever is quiet waits for nothing when that is over, and a judgement begins later.
const PATIENCE: Duration = Duration::from_secs(3);
/// How much longer a writer waits: a node that lives has answered by then, if only that it is unknown.
const GRACE: Duration = Duration::from_millis(500);

/// What they share.
#[derive(Debug, Default)]
pub struct Writers {
    /// Every call they made.
    pub book: Mutex<Book>,
    /// Whether they may begin anything.
    go_on: AtomicBool,
}

impl Writers {
    /// They begin nothing more, or go on.
    pub fn quiet(&self, quiet: bool) {
        self.go_on.store(!quiet, SeqCst);
    }
}

impl World {
    /// Lets one writer work until it is dropped.
    pub async fn write(self: Arc<World>, dice: Dice) {
        loop {
            sleep(Duration::from_millis(dice.between(REST_MS.0, REST_MS.1))).await;
            if self.writers.go_on.load(SeqCst) {
                self.change(&dice).await;
            }
        }
    }

    async fn change(&self, dice: &Dice) -> Option<()> {
        let version = self.read(dice).await?;
        let there = self.node(dice.between(1, NODES))?;
        // Those who are there: the others would never notice.
        let client = self.crowd.lock().someone(dice)?;
        let wish = Reservation::draw(&self.plan, client, dice);
        if !self.writers.go_on.load(SeqCst) {
            return None;
        }
        let mark = self.writers.book.lock().set(self.clock.ms(), version, wish);
        let set = command(mark, version, dice.chance(500), wish.document(&self.plan));
        let submitted = there.proposer().submit(Command::SetConfig(set), PATIENCE);
        let answer = timeout(PATIENCE + GRACE, submitted).await.unwrap_or(Answer::Unknown);
        match told(answer) {
            Ok(told) => self.writers.book.lock().told(mark, self.clock.ms(), told),
            Err(other) => self.breach("configuration", format!("a good document: {other:?}")),
        }
        Some(())
    }

    /// The version in force, as some node says behind a read barrier.
    async fn read(&self, dice: &Dice) -> Option<u64> {
        let there: Arc<Node> = self.node(dice.between(1, NODES))?;
        let call = self.writers.book.lock().read(self.clock.ms());
        timeout(BARRIER, there.barrier()).await.ok()??;
        let found = shown(&there.state().read());
        self.writers.book.lock().found(call, self.clock.ms(), found);
        Some(found.0)
    }
}
