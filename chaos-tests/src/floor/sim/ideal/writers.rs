//! Those who change the configuration: on any node, each on top of the version that it has read on another.

use leasehold::propose::Answer;
use leasehold::state::Command;

use super::node::{Asker, Ticket};
use super::world::{Happening, World};
use crate::floor::sim::dice::Dice;
use crate::floor::sim::place::NODES;
use crate::floor::sim::writers::{Book, InForce, REST_MS, Reservation, command, shown, told};
use crate::oracle::stale_nak::Refusal;
use crate::oracle::{Breach, ClientId, Promise};

/// How often they look at the clock, in milliseconds.
const TICK: u64 = 50;
/// How long one waits for an answer, in milliseconds.
const PATIENCE: u64 = 4_000;
/// So long after the next version a node may still answer by one, in milliseconds. What it refuses it refuses behind a read barrier, and
/// up to 2 s after the packet came; its clock may be slow, and its answer is on the way for a while.
const LINGERS: u64 = 2_300;

/// All of them, and every call they made.
#[derive(Debug)]
pub struct Writers {
    dice: Dice,
    all: Vec<Writer>,
    book: Book,
    /// Which reservations were in force when: this world sees every machine and need not ask.
    truth: InForce,
    /// The last version that came into force.
    newest: u64,
    quiet: bool,
}

#[derive(Debug, Clone, Copy)]
enum Writer {
    Pausing {
        until: u64,
    },
    /// Waits for the answer to the call of that number.
    Waiting {
        call: u64,
        until: u64,
    },
}

impl Writers {
    /// So many, who are quiet at first.
    pub fn new(count: u32, dice: Dice) -> Writers {
        let all = (0..count).map(|_| Writer::Pausing { until: dice.between(0, 3_000) }).collect();
        Writers {
            dice,
            all,
            book: Book::default(),
            truth: InForce::default(),
            newest: 0,
            quiet: true,
        }
    }

    /// They stop, or go on.
    pub fn quiet(&mut self, quiet: bool) {
        self.quiet = quiet;
    }

    /// Whatever no order of their calls explains.
    pub fn check(&self) -> Vec<Breach> {
        self.book.check()
    }

    /// What was in force, though by the answers it was not: where nobody sees the machines, it is they that say whether a client may be
    /// refused, and they must never say less than is so.
    ///
    /// # Errors
    /// That.
    pub fn answers_cover_truth(&self) -> Result<(), String> {
        self.book.in_force().covers(&self.truth)
    }

    /// Whether a client may be refused what it was promised: by a configuration that was in force between its question, or a little before
    /// the refusal, and the refusal.
    pub fn may_refuse(&self, promise: &Promise, Refusal { asked, at }: Refusal) -> bool {
        self.truth.may_refuse(promise, asked.max(at.saturating_sub(LINGERS)), at)
    }

    fn wait(&mut self, at: usize, now: u64, call: u64) {
        self.all[at] = Writer::Waiting { call, until: now + PATIENCE };
    }

    /// The writer who waits for that call; nobody any more, if it took too long.
    fn whose(&self, call: u64) -> Option<usize> {
        self.all
            .iter()
            .position(|it| matches!(it, Writer::Waiting { call: its, .. } if *its == call))
    }

    fn end(&mut self, at: usize, now: u64) {
        self.all[at] = Writer::Pausing { until: now + self.dice.between(REST_MS.0, REST_MS.1) };
    }
}

impl World {
    /// They look at the clock.
    pub(super) fn writers_turn(&mut self) {
        let now = self.now();
        for at in 0..self.writers.all.len() {
            match self.writers.all[at] {
                Writer::Pausing { until } if until <= now && !self.writers.quiet => {
                    let call = self.writers.book.read(now);
                    self.writers.wait(at, now, call);
                    let node = self.writers.dice.between(1, NODES);
                    self.ask(node, Asker::Writer(call));
                }
                // Whoever waited too long asks anew; what he asked may still happen.
                Writer::Waiting { until, .. } if until <= now => self.writers.end(at, now),
                _ => {}
            }
        }
        self.schedule.after(TICK, Happening::Writers);
    }

    /// The barrier of a read at `node`.
    pub(super) fn read_passed(&mut self, node: u64, call: u64, passed: bool) {
        let now = self.now();
        let Some(at) = self.writers.whose(call) else { return };
        let Some(it) = self.node(node).filter(|_| passed) else { return self.writers.end(at, now) };
        let found = shown(&it.state);
        let plan = self.plan;
        let Writers { dice, book, .. } = &mut self.writers;
        book.found(call, now, found);
        let client = ClientId(dice.between(1, u64::from(plan.clients)) as u32);
        let wish = Reservation::draw(&plan, client, dice);
        let mark = book.set(now, found.0, wish);
        let set = command(mark, found.0, dice.chance(500), wish.document(&plan));
        let node = dice.between(1, NODES);
        self.writers.wait(at, now, mark);
        self.with(node, |it, now, out| {
            it.submit(Command::SetConfig(set), Ticket::Writer(mark), now, out)
        });
    }

    /// A node has applied something.
    pub(super) fn note_config(&mut self, node: u64) {
        let now = self.now();
        let Some(it) = self.node(node) else { return };
        let (version, mark) = shown(&it.state);
        if version > self.writers.newest {
            let Writers { book, truth, newest, .. } = &mut self.writers;
            *newest = version;
            truth.shows(now, version, Some(mark));
            if let Some(wish) = book.wish(mark) {
                truth.begins(now, version, mark, wish);
            }
        }
    }

    /// The answer to a change.
    pub(super) fn set_answered(&mut self, call: u64, answer: Answer) {
        let now = self.now();
        let Some(at) = self.writers.whose(call) else { return };
        self.writers.end(at, now);
        match told(answer) {
            Ok(told) => self.writers.book.told(call, now, told),
            Err(other) => self.breach("configuration", format!("a good document: {other:?}")),
        }
    }
}
