//! The way of a batch to the leader and of its fate back, and read barriers.

use leasehold::propose::Route;
use leasehold::propose::batch::{self, Outgoing};
use leasehold::serve::Event;
use leasehold::state::{Batch, Command, wire};
use leasehold::types::ClusterTime;

use super::node::{Asker, Waiter};
use super::world::{BARRIER, Happening, Inward, KEEPALIVE, World};
use crate::floor::sim::Mutant;
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
        // None of a configuration: its writer may be told for certain that it never left, or that another came first, and the copy would make
        // that untrue. With an id it comes twice all the same, when it is held up.
        let is_config = commands.iter().any(|it| matches!(it, Command::SetConfig(_)));
        if !is_config && self.dice.chance(self.plan.late_per_mille) {
            let whom = if self.dice.chance(600) { to } else { self.dice.between(1, NODES) };
            let its_life = self.seats[whom as usize - 1].life;
            let late = self.dice.between(self.plan.late_ms.0, self.plan.late_ms.1);
            let echo = Inward::Batch { commands: commands.clone(), waiter: None };
            self.schedule.after(late, Happening::At { node: whom, life: its_life, what: echo });
        }
        let arrives = Inward::Batch { commands, waiter: Some(waiter) };
        if to == node {
            return self.schedule.after(0, Happening::At { node, life, what: arrives });
        }
        let held_up = self.dice.chance(self.plan.late_per_mille / 2);
        let late = if held_up { self.dice.between(200, 2_500) } else { 0 };
        match self.wires.cross(node, to) {
            Some(delay) => {
                let its_life = self.seats[to as usize - 1].life;
                let delay = delay.as_millis() as u64 + late;
                self.schedule
                    .after(delay, Happening::At { node: to, life: its_life, what: arrives });
                if late > KEEPALIVE {
                    // The stream is given up; what is in it arrives all the same.
                    let lost = Inward::Fate { flight: waiter.flight, result: batch::Result::Lost };
                    self.schedule.after(KEEPALIVE, Happening::At { node, life, what: lost });
                }
            }
            None => {
                let lost = Inward::Fate { flight: waiter.flight, result: batch::Result::Lost };
                self.schedule.after(KEEPALIVE, Happening::At { node, life, what: lost });
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
        let Waiter { node, life, flight } = waiter;
        let arrives = |result| Happening::At { node, life, what: Inward::Fate { flight, result } };
        if waiter.node == from {
            return self.schedule.after(0, arrives(result));
        }
        match self.wires.cross(from, waiter.node) {
            Some(delay) => self.schedule.after(delay.as_millis() as u64, arrives(result)),
            None => self.schedule.after(KEEPALIVE, arrives(batch::Result::Lost)),
        }
    }

    /// A read barrier for somebody at `node`.
    pub(super) fn ask(&mut self, node: u64, asker: Asker) {
        let until = self.now() + BARRIER;
        let life = self.seats[node as usize - 1].life;
        // Whatever becomes of it: an answer that comes first is the one that counts.
        self.schedule.after(
            BARRIER,
            Happening::At { node, life, what: Inward::Index { asker, index: None, until } },
        );
        let ask = Inward::Ask { from: node, life, asker, until };
        match self.node(node).and_then(|it| it.leader) {
            Some((_, leader)) if leader == node => {
                self.schedule.after(0, Happening::At { node, life, what: ask })
            }
            Some((_, leader)) => drop(self.cross(node, leader, ask)),
            None => {}
        }
    }

    /// A read barrier of node `from` in that life comes to `node`, which may lead.
    pub(super) fn asked(&mut self, node: u64, from: u64, life: u64, asker: Asker, until: u64) {
        let careless = self.plan.mutant == Some(Mutant::BarrierWithoutMajority);
        let (leads, index) = match (careless, self.node(node)) {
            (true, Some(it)) => (it.reign.is_some(), it.applied),
            _ => (self.leader() == Some(node) && self.has_quorum(node), self.log.last()),
        };
        let back = match from == node {
            true => Some(0),
            false => self.wires.cross(node, from).map(|delay| delay.as_millis() as u64),
        };
        if let (true, Some(delay)) = (leads, back) {
            let what = Inward::Index { asker, index: Some(index), until };
            self.schedule.after(delay, Happening::At { node: from, life, what });
        }
    }

    /// A barrier has its index, or none, and passes when the node has applied that.
    pub(super) fn barrier(
        &mut self,
        node: u64,
        life: u64,
        asker: Asker,
        index: Option<u64>,
        until: u64,
    ) {
        let (now, applied) = (self.now(), self.node(node).map_or(0, |it| it.applied));
        let passed = index.is_some_and(|index| applied >= index);
        if !passed && index.is_some() && now < until {
            return self.schedule.after(
                5,
                Happening::At { node, life, what: Inward::Index { asker, index, until } },
            );
        }
        match (asker, index) {
            (Asker::Worker(number), _) => {
                self.with(node, |it, now, out| it.event(Event::Barrier(number, passed), now, out));
            }
            (Asker::Writer(call), _) => self.read_passed(node, call, passed),
            (Asker::Start, Some(index)) if passed => {
                self.with(node, |it, now, out| it.started(index, now, out));
            }
            (Asker::Start, _) => {}
        }
    }
}
