//! The way of a batch to the leader and of its fate back, and read barriers.

use leasehold::propose::Route;
use leasehold::propose::batch::{self, Outgoing};
use leasehold::serve::Event;
use leasehold::state::{Batch, wire};
use leasehold::types::ClusterTime;

use super::node::Waiter;
use super::world::{Happening, Inward, KEEPALIVE, World};
use crate::floor::sim::place::NODES;

impl World {
    /// A batch leaves. The way of it is worse than a stream can be: it arrives late, twice, or at a node that led once.
    pub(super) fn send(&mut self, node: u64, life: u64, batch: Outgoing) {
        let waiter = Waiter { node, life, flight: batch.number };
        let to = match batch.route {
            Route::Here => node,
            Route::To(leader) => leader.0,
            Route::Nowhere => return self.fate(node, waiter, batch::Result::NotProposed),
        };
        // As on the wire.
        let bytes =
            wire::encode_batch(&Batch { stamp: ClusterTime::ZERO, commands: batch.commands });
        let commands = match wire::decode_batch(&bytes) {
            Ok(batch) => batch.commands,
            Err(error) => return self.breach("wire", format!("a batch does not decode: {error}")),
        };
        if self.dice.chance(self.plan.late_per_mille) {
            let whom = if self.dice.chance(600) { to } else { self.dice.between(1, NODES) };
            let its_life = self.seats[whom as usize - 1].life;
            let late = self.dice.between(self.plan.late_ms.0, self.plan.late_ms.1);
            let echo = Inward::Batch(commands.clone(), None);
            self.schedule.after(late, Happening::At(whom, its_life, echo));
        }
        let arrives = Inward::Batch(commands, Some(waiter));
        if to == node {
            return self.schedule.after(0, Happening::At(node, life, arrives));
        }
        let held_up = self.dice.chance(self.plan.late_per_mille / 2);
        let late = if held_up { self.dice.between(200, 2_500) } else { 0 };
        match self.wires.cross(node, to) {
            Some(delay) => {
                let its_life = self.seats[to as usize - 1].life;
                let delay = delay.as_millis() as u64 + late;
                self.schedule.after(delay, Happening::At(to, its_life, arrives));
                if late > KEEPALIVE {
                    // The stream is given up; what is in it arrives all the same.
                    let lost = Inward::Fate(waiter.flight, batch::Result::Lost);
                    self.schedule.after(KEEPALIVE, Happening::At(node, life, lost));
                }
            }
            None => {
                let lost = Inward::Fate(waiter.flight, batch::Result::Lost);
                self.schedule.after(KEEPALIVE, Happening::At(node, life, lost));
            }
        }
    }

    /// The fate of a batch goes back to where it came from.
    pub(super) fn fate(&mut self, from: u64, waiter: Waiter, result: batch::Result) {
        let result = match result {
            // As on the wire.
            batch::Result::Applied { index, stamp, outcomes } => {
                match wire::decode_outcomes(&wire::encode_outcomes(&outcomes)) {
                    Ok(outcomes) => batch::Result::Applied { index, stamp, outcomes },
                    Err(error) => {
                        return self.breach("wire", format!("outcomes do not decode: {error}"));
                    }
                }
            }
            other => other,
        };
        let arrives =
            |result| Happening::At(waiter.node, waiter.life, Inward::Fate(waiter.flight, result));
        if waiter.node == from {
            return self.schedule.after(0, arrives(result));
        }
        match self.wires.cross(from, waiter.node) {
            Some(delay) => self.schedule.after(delay.as_millis() as u64, arrives(result)),
            None => self.schedule.after(KEEPALIVE, arrives(batch::Result::Lost)),
        }
    }

    pub(super) fn barrier(
        &mut self,
        node: u64,
        life: u64,
        number: Option<u64>,
        index: Option<u64>,
        until: u64,
    ) {
        let (now, applied) = (self.now(), self.node(node).map_or(0, |it| it.applied));
        let passed = index.is_some_and(|index| applied >= index);
        if !passed && index.is_some() && now < until {
            return self
                .schedule
                .after(5, Happening::At(node, life, Inward::Index(number, index, until)));
        }
        match (number, index) {
            (Some(number), _) => {
                self.with(node, |it, now, out| it.event(Event::Barrier(number, passed), now, out))
            }
            (None, Some(index)) if passed => {
                self.with(node, |it, now, out| it.started(index, now, out))
            }
            (None, _) => {}
        }
    }
}
