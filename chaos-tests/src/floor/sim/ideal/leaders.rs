//! Raft's part, by decree: who leads, what is agreed, and how everybody hears of it.

use leasehold::propose::batch;
use leasehold::state::{Command, State, snapshot, wire};
use leasehold::types::ClusterTime;

use super::agreed::Entry;
use super::node::Waiter;
use super::world::{ELECT, Happening, Inward, World};
use crate::floor::sim::place::{NODES, peers};
use crate::floor::sim::{Mutant, mutants};

/// A node that is so many entries behind may be given a snapshot.
const FAR_BEHIND: u64 = 30;

/// When an entry was stamped; the first of a term has no stamp.
fn stamp_of(entry: &Entry) -> Option<ClusterTime> {
    Some(wire::decode_batch(entry.batch.as_ref()?).ok()?.stamp)
}

/// The entry as a machine with that fault would take it.
fn mutated(mutant: Option<Mutant>, shadow: &mut State, index: u64, entry: Entry) -> Entry {
    let mutant = mutant.filter(|mutant| mutant.rewrites());
    let (Some(mutant), Some(bytes)) = (mutant, &entry.batch) else { return entry };
    let Ok(batch) = wire::decode_batch(bytes) else { return entry };
    let batch = mutants::rewrite(mutant, shadow, index, batch);
    shadow.apply(index, &batch);
    Entry { batch: Some(wire::encode_batch(&batch)), ..entry }
}

impl World {
    pub(super) fn is_awake(&self, node: u64) -> bool {
        let seat = &self.seats[node as usize - 1];
        seat.node.is_some() && seat.stopped.is_none()
    }

    pub(super) fn has_quorum(&self, node: u64) -> bool {
        let joined = peers(node)
            .filter(|peer| self.is_awake(*peer) && self.wires.are_joined(node, *peer))
            .count() as u64;
        self.is_awake(node) && (joined + 1) * 2 > NODES
    }

    pub(super) fn candidates(&self) -> Vec<u64> {
        let mut all: Vec<u64> = (1..=NODES).filter(|node| self.has_quorum(*node)).collect();
        let first = self.dice.between(0, NODES - 1) as usize;
        if !all.is_empty() {
            let places = all.len();
            all.rotate_left(first % places);
        }
        all
    }

    pub(super) fn elect(&mut self) {
        let now = self.now();
        for node in 1..=NODES {
            let alone = !self.has_quorum(node);
            let since = &mut self.seats[node as usize - 1].alone_since;
            *since = if alone { Some(since.unwrap_or(now)) } else { None };
        }
        let leads = self.log.leader.is_some_and(|(node, life)| {
            self.seats[node as usize - 1].life == life && self.has_quorum(node)
        });
        if leads {
            self.vacant = None;
            return;
        }
        let patience = self.dice.between(200, 500);
        let (since, patience) = *self.vacant.get_or_insert((now, patience));
        if now - since >= patience
            && let Some(node) = self.candidates().first().copied()
        {
            self.crown(node);
        }
    }

    /// What a leader who leads no more had not brought to agreement stays in his log.
    pub(super) fn keep_tail(&mut self, node: u64, term: u64, tail: Vec<Entry>) {
        if self.log.began == Some((node, term)) {
            self.log.orphans = tail;
        }
    }

    /// A term begins. Of what the leader before had not brought to agreement the new one has the first part, or all, or nothing.
    pub(super) fn crown(&mut self, node: u64) {
        self.vacant = None;
        let mut rest = self.log.orphans.clone();
        if let Some((owner, term)) = self.log.began {
            let live = self
                .node(owner)
                .and_then(|it| it.reign.as_ref())
                .filter(|reign| reign.term == term);
            if let Some(reign) = live {
                rest = reign.tail.iter().map(|(_, entry, _)| entry.clone()).collect();
            }
            self.log.orphans.clone_from(&rest);
            if owner != node {
                rest.truncate(self.dice.between(0, rest.len() as u64) as usize);
            }
        }
        let life = self.seats[node as usize - 1].life;
        let term = self.log.crown(node, life);
        self.tell(format!(
            "{node} leads in term {term}, with {} entries of those before",
            rest.len()
        ));
        if self.plan.mutant == Some(Mutant::LeaderWithoutTheEnd) {
            self.log.forget(self.dice.between(0, 3));
        }
        // Whoever leads has all that is agreed; how much of that he knows to be agreed, and has applied, is another matter.
        let applied = self.node(node).map_or(0, |it| it.applied);
        let knows = self.dice.between(applied.min(self.log.last()), self.log.last());
        self.learn(node, node, knows);
        self.with(node, |it, now, out| it.lead(term, now, out));
        let takes = self.agreement(node).unwrap_or(20);
        self.schedule.after(
            takes,
            Happening::At { node, life, what: Inward::Begin { term, adopted: rest } },
        );
    }

    pub(super) fn begin(&mut self, node: u64, life: u64, term: u64, adopted: Vec<Entry>) {
        if !self.log.is_newest(node, life, term) {
            return;
        }
        if !self.has_quorum(node) {
            return self
                .schedule
                .after(ELECT, Happening::At { node, life, what: Inward::Begin { term, adopted } });
        }
        self.log.orphans.clear();
        self.log.began = Some((node, term));
        for entry in adopted {
            let entry = mutated(self.plan.mutant, &mut self.shadow, self.log.last() + 1, entry);
            if let Some(what) = self.log.falls(stamp_of(&entry)) {
                self.breach("stamps", what);
            }
            self.log.push(entry);
        }
        let index = self.log.push(Entry { leader: node, batch: None });
        self.with(node, |it, _, _| {
            if let Some(reign) = &mut it.reign {
                reign.began = Some(index);
            }
        });
        self.spread(node);
    }

    /// How long until what the leader writes now is on the disks of a majority, in milliseconds. None: a message is lost.
    pub(super) fn agreement(&mut self, node: u64) -> Option<u64> {
        let sync = |world: &World, node: u64| match world.seats[node as usize - 1].slow_ms {
            0 if world.dice.chance(20) => world.dice.between(10, 60),
            0 => world.dice.between(1, 4),
            slow => world.dice.between(slow / 2, slow),
        };
        let own = sync(self, node);
        let mut others = peers(node).filter(|peer| self.is_awake(*peer)).filter_map(|peer| {
            let there = self.wires.cross(node, peer)?;
            let back = self.wires.cross(peer, node)?;
            Some((there + back).as_millis() as u64 + sync(self, peer))
        });
        let first = others.next()?;
        Some(others.fold(first, u64::min).max(own))
    }

    pub(super) fn arrive(
        &mut self,
        node: u64,
        life: u64,
        commands: Vec<Command>,
        waiter: Option<Waiter>,
    ) {
        let mut number = None;
        let hasty = self.plan.mutant == Some(Mutant::AckBeforeCommit);
        self.with(node, |it, now, _| number = it.stamp(commands, waiter.filter(|_| !hasty), now));
        if let (true, Some(waiter)) = (hasty && number.is_some(), waiter) {
            self.answer_at_once(node, waiter);
        }
        let term = self.node(node).and_then(|it| it.reign.as_ref()).map(|reign| reign.term);
        match (number, term, waiter) {
            (Some(number), Some(term), _) => {
                let takes = self.agreement(node).unwrap_or(ELECT);
                self.schedule.after(
                    takes,
                    Happening::At { node, life, what: Inward::Agree { term, number } },
                );
            }
            (_, _, Some(waiter)) => self.fate(node, waiter, batch::Result::NotProposed),
            _ => {}
        }
    }

    /// What the mutant that does not wait for agreement tells.
    pub(super) fn answer_at_once(&mut self, node: u64, waiter: Waiter) {
        let Some((machine, reign)) =
            self.node(node).and_then(|it| Some((&it.state, it.reign.as_ref()?)))
        else {
            return;
        };
        let (mut machine, mut index) = (machine.clone(), self.log.last());
        let mut outcomes = Vec::new();
        for batch in reign.tail.iter().filter_map(|(_, entry, _)| entry.batch.as_ref()) {
            index += 1;
            if let Ok(batch) = wire::decode_batch(batch) {
                outcomes = machine.apply(index, &batch);
            }
        }
        // One that every node will have: the real one is not known yet.
        let (index, stamp) = (self.log.last(), machine.now());
        self.fate(node, waiter, batch::Result::Applied { index, stamp, outcomes });
    }

    pub(super) fn agree(&mut self, node: u64, life: u64, term: u64, number: u64) {
        if !self.log.is_newest(node, life, term) {
            return;
        }
        if !self.has_quorum(node) {
            return self
                .schedule
                .after(ELECT, Happening::At { node, life, what: Inward::Agree { term, number } });
        }
        let (log, mut fell) = (&mut self.log, None);
        let Some(reign) =
            self.seats[node as usize - 1].node.as_mut().and_then(|it| it.reign.as_mut())
        else {
            return;
        };
        while let Some((_, entry, waiter)) = reign.tail.pop_front_if(|(at, _, _)| *at <= number) {
            let entry = mutated(self.plan.mutant, &mut self.shadow, log.last() + 1, entry);
            fell = fell.or(log.falls(stamp_of(&entry)));
            let index = log.push(entry);
            reign.waiting.extend(waiter.map(|waiter| (index, waiter)));
        }
        if let Some(what) = fell {
            self.breach("stamps", what);
        }
        self.spread(node);
    }

    /// The leader tells how far the log is agreed.
    pub(super) fn spread(&mut self, node: u64) {
        let Some((term, leader)) = self.node(node).and_then(|it| it.leader) else { return };
        let upto = self.log.last();
        for peer in peers(node) {
            self.cross(node, peer, Inward::Led { term, leader, agreed: upto });
        }
        self.learn(node, node, upto);
    }

    /// A node hears that the log is agreed up to `upto`, and has what it lacks from node `from`.
    pub(super) fn learn(&mut self, node: u64, from: u64, upto: u64) {
        let now = self.now();
        let Some(it) = self.node(node) else { return };
        let behind = upto.saturating_sub(it.applied);
        if behind > FAR_BEHIND && from != node && self.dice.chance(500) {
            return self.install(node, from);
        }
        // What is not sent at once comes with the next message.
        let upto = match from != node && behind > 1 && self.dice.chance(300) {
            true => it.applied + self.dice.between(1, behind),
            false => upto,
        };
        for index in it.applied + 1..=upto {
            let Some(entry) = self.log.get(index).cloned() else { return };
            let mut done = Ok(Vec::new());
            self.with(node, |it, now, out| done = it.apply(&entry, now, out));
            match done {
                Ok(told) => self.check_probation(index, &entry, &told),
                Err(what) => return self.breach("wire", format!("node {node}: {what}")),
            }
            let Some(it) = self.node(node) else { return };
            let (at, digest) = (it.state.applied(), it.state.digest());
            self.noticed.compare(now, node, at, digest);
            self.note_config(node);
            if self.dice.chance(5) {
                self.checkpoint(node);
            }
        }
    }

    pub(super) fn install(&mut self, node: u64, from: u64) {
        let Some(there) = self.node(from) else { return };
        let (applied, mut bytes) = (there.applied, Vec::new());
        let written = snapshot::write(&there.state.freeze(), &[], &mut bytes);
        let read = written.map_err(|error| error.to_string()).and_then(|()| {
            snapshot::read(&mut &bytes[..])
                .map(|(state, _)| state)
                .map_err(|error| error.to_string())
        });
        match read {
            Ok(state) => {
                let state = match self.plan.mutant {
                    Some(Mutant::SnapshotWithoutALease) => mutants::without_a_lease(state),
                    _ => state,
                };
                self.tell(format!("{node} takes over the machine of {from} at entry {applied}"));
                let (at, digest) = (state.applied(), state.digest());
                self.noticed.compare(self.schedule.now(), node, at, digest);
                self.with(node, |it, now, out| it.install(state, applied, now, out));
                self.seats[node as usize - 1].checkpoint = (applied, bytes);
                self.note_config(node);
            }
            Err(error) => {
                self.breach("snapshot", format!("{node} cannot take over from {from}: {error}"))
            }
        }
    }

    /// What a node does ten times a second.
    pub(super) fn beat(&mut self, node: u64) {
        self.with(node, |it, now, out| it.look(now, out));
        let leads = self.node(node).and_then(|it| it.leader).filter(|(_, leader)| *leader == node);
        let upto = self.log.last();
        let newest = leads.is_some_and(|(term, _)| term == self.log.term);
        for peer in peers(node) {
            // A stream lives while both ways do.
            if self.wires.are_joined(node, peer) {
                self.cross(node, peer, Inward::Heard(node));
            }
            // A leader who is none any more tells nothing new.
            if let Some((term, leader)) = leads.filter(|_| newest) {
                self.cross(node, peer, Inward::Led { term, leader, agreed: upto });
            }
        }
    }
}
