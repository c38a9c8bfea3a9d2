//! What a run consists of, and how one thing follows from another.

use std::net::SocketAddrV4;

use leasehold::peers::notes::Note;
use leasehold::propose::batch::{self, Outgoing};
use leasehold::propose::{Answer, Route};
use leasehold::serve::Event;
use leasehold::state::{Batch, Command, State, snapshot, wire};
use leasehold::types::{ClusterTime, NodeId};

use super::agreed::{Agreed, Entry};
use super::clock::Hardware;
use super::node::{Act, Node, Ticket, Waiter};
use super::schedule::Schedule;
use crate::client::machine::ReplyKind;
use crate::client::packet;
use crate::floor::sim::crowd::{Crowd, Said};
use crate::floor::sim::dice::Dice;
use crate::floor::sim::noticed::Noticed;
use crate::floor::sim::place::{NODES, address, peers};
use crate::floor::sim::wires::Wires;
use crate::floor::sim::{Mutant, Plan, mutants};

/// How often a node looks around and speaks to its peers, in milliseconds.
const BEAT: u64 = 100;
/// How long it takes to notice that a connection is gone, in milliseconds.
const KEEPALIVE: u64 = 500;
/// How long a read barrier may take, in milliseconds.
const BARRIER: u64 = 1_000;
/// How often it is looked whether somebody leads, in milliseconds.
const ELECT: u64 = 50;
/// So long after it lost the others a node has noticed (C12), in milliseconds: a second of silence, and when it looks.
const SILENT_AFTER: u64 = 1_500;
/// A node that is so many entries behind may be given a snapshot.
const FAR_BEHIND: u64 = 30;

/// One thing that is going to happen.
#[derive(Debug)]
pub enum Happening {
    /// The clients look at the clock.
    Crowd(u64),
    /// A packet comes to a node.
    Packet(u64, Vec<u8>, SocketAddrV4),
    /// A packet comes from a node to its clients.
    Reply(u64, Vec<u8>),
    /// What is only for one life of a node.
    At(u64, u64, Inward),
    /// It is looked whether somebody leads.
    Elect,
}

/// What happens to a node.
#[derive(Debug)]
pub enum Inward {
    /// It looks around.
    Beat,
    /// It wants to be called at this moment.
    Turn(u64),
    /// A peer told something.
    Note(u64, Note),
    /// A peer answers.
    Heard(u64),
    /// A leader says in which term, and how far the log is agreed.
    Led(u64, u64, u64),
    /// A batch arrives.
    Batch(Vec<Command>, Option<Waiter>),
    /// The fate of one that it sent.
    Fate(u64, batch::Result),
    /// The leader's tail in this term is on the disks of a majority up to this number.
    Agree(u64, u64),
    /// The first entry of its term is on the disks of a majority, behind what it took over.
    Begin(u64, Vec<Entry>),
    /// A barrier of that node in that life arrives; until when it matters.
    Ask(u64, u64, Option<u64>, u64),
    /// A barrier has its index, or none.
    Index(Option<u64>, Option<u64>, u64),
}

/// A place for a node, and what its disk has.
#[derive(Debug)]
struct Seat {
    hardware: Hardware,
    node: Option<Node>,
    life: u64,
    turn_at: u64,
    /// What waits while it is stopped in its tracks.
    stopped: Option<Vec<Inward>>,
    slow_ms: u64,
    /// The last checkpoint.
    checkpoint: (u64, Vec<u8>),
    /// The last entry applied before it died.
    reached: u64,
    /// The end of the log when it was started: before it has that it may not answer (C15).
    must_reach: u64,
    /// Since when it has nobody to make a majority with. A while after that it may not answer (C12).
    alone_since: Option<u64>,
}

/// A run.
#[derive(Debug)]
pub struct World {
    /// What kind of run it is.
    pub plan: Plan,
    /// Its wires.
    pub wires: Wires,
    /// Its clients.
    pub crowd: Crowd,
    /// What it noticed.
    pub noticed: Noticed,
    /// Answers to commands of the story.
    pub answers: Vec<Answer>,
    schedule: Schedule<Happening>,
    dice: Dice,
    log: Agreed,
    seats: Vec<Seat>,
    crowd_at: u64,
    vacant: Option<(u64, u64)>,
    /// The machine at the end of the log, for mutants that change entries.
    shadow: State,
}

/// What R10 says of the entries: stamps never fall.
fn stamp_of(entry: &Entry) -> Option<ClusterTime> {
    Some(wire::decode_batch(entry.batch.as_ref()?).ok()?.stamp)
}

/// The entry as a machine with that fault would take it.
fn mutated(mutant: Option<Mutant>, shadow: &mut State, index: u64, entry: Entry) -> Entry {
    let (Some(mutant), Some(bytes)) = (mutant, &entry.batch) else { return entry };
    let Ok(batch) = wire::decode_batch(bytes) else { return entry };
    let batch = mutants::rewrite(mutant, shadow, index, batch);
    shadow.apply(index, &batch);
    Entry { batch: Some(wire::encode_batch(&batch)), ..entry }
}

impl World {
    /// A world in which nothing has happened.
    pub fn new(seed: u64, plan: Plan) -> World {
        let dice = Dice::new(seed, 3);
        let seats = (1..=NODES).map(|_| Seat {
            hardware: Hardware {
                boot_ms: dice.between(1_000, 9_000_000),
                fast_ppm: dice.between(0, 2 * plan.clock_ppm) as i64 - plan.clock_ppm as i64,
                wall_ms: 1_700_000_000_000 + dice.between(0, 4_000) as i64 - 2_000,
            },
            node: None,
            life: 0,
            turn_at: 0,
            stopped: None,
            slow_ms: 0,
            checkpoint: (0, Vec::new()),
            reached: 0,
            must_reach: 0,
            alone_since: None,
        });
        let mut world = World {
            wires: Wires::new(Dice::new(seed, 1)),
            crowd: Crowd::new(plan.clients, seed, Dice::new(seed, 2)),
            noticed: Noticed::default(),
            answers: Vec::new(),
            schedule: Schedule::default(),
            log: Agreed::default(),
            seats: seats.collect(),
            crowd_at: u64::MAX,
            vacant: None,
            shadow: State::new(),
            dice,
            plan,
        };
        world.schedule.after(0, Happening::Elect);
        for node in 1..=NODES {
            world.wires.off(node, true);
        }
        world
    }

    /// Milliseconds of the run.
    pub fn now(&self) -> u64 {
        self.schedule.now()
    }

    /// Lets time pass.
    pub fn pass(&mut self, millis: u64) {
        let end = self.now() + millis;
        self.call_crowd();
        while let Some(what) = self.schedule.next(end) {
            self.happen(what);
        }
    }

    /// What happened, for whoever reads a failure.
    pub fn tell(&mut self, what: String) {
        let now = self.now();
        self.noticed.tell(now, what);
    }

    /// A promise was broken.
    pub fn breach(&mut self, promise: &'static str, what: String) {
        let now = self.now();
        self.noticed.breach(now, promise, what);
    }

    /// The nodes that run and are not stopped.
    pub fn running(&self) -> impl Iterator<Item = (u64, &Node)> {
        let awake = |seat: &&Seat| seat.stopped.is_none();
        (1..)
            .zip(&self.seats)
            .filter(move |(_, seat)| awake(seat))
            .filter_map(|(n, seat)| Some((n, seat.node.as_ref()?)))
    }

    /// A node that runs.
    pub fn node(&self, node: u64) -> Option<&Node> {
        self.seats[node as usize - 1].node.as_ref()
    }

    /// Whether all nodes run, answer, and are at the end of the log.
    pub fn is_whole(&self) -> bool {
        self.running().count() as u64 == NODES
            && self.running().all(|(_, node)| node.is_ready())
            && self.leader().is_some()
    }

    /// Who leads and may stamp.
    pub fn leader(&self) -> Option<u64> {
        let (node, life) = self.log.leader?;
        let seat = &self.seats[node as usize - 1];
        let leads =
            seat.life == life && seat.stopped.is_none() && seat.node.as_ref()?.is_stamping();
        leads.then_some(node)
    }

    /// The index that every node should come to.
    pub fn agreed(&self) -> u64 {
        self.log.last()
    }

    // The verbs of fault.

    /// Starts a node that does not run.
    pub fn start(&mut self, node: u64) {
        let now = self.now();
        let seat = &mut self.seats[node as usize - 1];
        if seat.node.is_some() {
            return;
        }
        seat.life += 1;
        let (mut applied, bytes) = (seat.checkpoint.0, &seat.checkpoint.1);
        let read = if bytes.is_empty() {
            Ok(State::new())
        } else {
            snapshot::read(&mut &bytes[..]).map(|(state, _)| state)
        };
        let mut state = match read {
            Ok(state) => state,
            Err(error) => {
                return self
                    .breach("start", format!("node {node} cannot read its checkpoint: {error}"));
            }
        };
        if self.plan.mutant == Some(Mutant::SnapshotWithoutALease) {
            state = mutants::without_a_lease(state);
        }
        // What it knew to be agreed is applied anew; of the rest it hears.
        let knew = self.dice.between(applied, seat.reached.max(applied));
        while applied < knew {
            applied += 1;
            let batch = self
                .log
                .get(applied)
                .and_then(|entry| entry.batch.as_ref())
                .map(|bytes| wire::decode_batch(bytes));
            if let Some(Ok(batch)) = batch {
                state.apply(applied, &batch);
            }
        }
        let digest = (state.applied(), state.digest());
        let life = seat.life;
        if self.plan.mutant == Some(Mutant::ForgetsMachine) {
            state = State::new();
        }
        let machine = (state, applied);
        seat.node = Some(Node::start(
            node,
            self.dice.draw(),
            seat.hardware,
            self.plan.mutant,
            machine,
            now,
        ));
        (seat.turn_at, seat.stopped, seat.alone_since) = (u64::MAX, None, None);
        seat.must_reach = self.log.last();
        self.tell(format!("start {node}, entry {applied} of {}", self.log.last()));
        self.noticed.compare(now, node, digest.0, digest.1);
        self.wires.off(node, false);
        self.schedule.after(0, Happening::At(node, life, Inward::Beat));
    }

    /// Ends a node without warning.
    pub fn kill(&mut self, node: u64) {
        let seat = &mut self.seats[node as usize - 1];
        let Some(dead) = seat.node.take() else { return };
        (seat.reached, seat.stopped) = (dead.applied, None);
        if let (Some(reign), true) = (dead.reign, self.log.leader == Some((node, seat.life)))
            && reign.term == self.log.term
            && reign.began.is_some()
        {
            self.log.orphans = reign.tail.into_iter().map(|(_, entry, _)| entry).collect();
        }
        self.wires.off(node, true);
        self.tell(format!("kill {node}"));
    }

    /// Stops a node in its tracks.
    pub fn stop(&mut self, node: u64) {
        let seat = &mut self.seats[node as usize - 1];
        if seat.node.is_some() && seat.stopped.is_none() {
            seat.stopped = Some(Vec::new());
            self.tell(format!("stop {node} in its tracks"));
        }
    }

    /// Lets it go on.
    pub fn go_on(&mut self, node: u64) {
        let seat = &mut self.seats[node as usize - 1];
        if let Some(waiting) = seat.stopped.take() {
            seat.alone_since = None;
            let life = seat.life;
            for what in waiting {
                self.schedule.after(0, Happening::At(node, life, what));
            }
            self.tell(format!("{node} goes on"));
        }
    }

    /// A sync at that node takes up to so long from now on; 0 is a healthy disk.
    pub fn slow_disk(&mut self, node: u64, millis: u64) {
        self.seats[node as usize - 1].slow_ms = millis;
    }

    /// Somebody sets the wall clock of a node.
    pub fn set_wall_clock(&mut self, node: u64, by_ms: i64) {
        let seat = &mut self.seats[node as usize - 1];
        seat.hardware.wall_ms = seat.hardware.wall_ms.saturating_add(by_ms);
        if let Some(running) = &mut seat.node {
            running.set_hardware(seat.hardware);
        }
        self.tell(format!("the wall clock of {node} is set by {} h", by_ms / 3_600_000));
    }

    /// A node writes its machine down.
    pub fn checkpoint(&mut self, node: u64) {
        let seat = &mut self.seats[node as usize - 1];
        let Some(running) = &seat.node else { return };
        let mut bytes = Vec::new();
        match snapshot::write(&running.state.freeze(), &[], &mut bytes) {
            Ok(()) => seat.checkpoint = (running.applied, bytes),
            Err(error) => self.breach("snapshot", format!("node {node} cannot write: {error}")),
        }
    }

    /// Another node leads from now on, if one can.
    pub fn depose(&mut self) {
        let old = self.log.leader.map(|(node, _)| node);
        let next = self.candidates().into_iter().find(|node| Some(*node) != old);
        if let Some(next) = next {
            self.crown(next);
        }
    }

    /// A command of the story at a node.
    pub fn submit(&mut self, node: u64, command: Command) {
        self.with(node, |it, now, out| it.submit(command, Ticket::Story, now, out));
    }

    // What happens.

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Crowd(at) => {
                if at == self.crowd_at {
                    self.crowd_at = u64::MAX;
                    let said = self.crowd.tick(self.now());
                    self.say(said);
                    self.call_crowd();
                }
            }
            Happening::Packet(node, bytes, source) => {
                self.with(node, |it, now, out| it.packet(bytes, source, now, out));
            }
            Happening::Reply(node, bytes) => match self.crowd.hear(self.now(), node, &bytes) {
                Some(said) => {
                    self.say(said);
                    self.call_crowd();
                }
                None => self.breach("wire", format!("node {node} sent what no client can read")),
            },
            Happening::At(node, life, what) => {
                let seat = &mut self.seats[node as usize - 1];
                if seat.life != life || seat.node.is_none() {
                    self.lost(what);
                } else if let Some(waiting) = &mut seat.stopped {
                    waiting.push(what);
                } else {
                    self.inward(node, life, what);
                }
            }
            Happening::Elect => {
                self.elect();
                self.schedule.after(ELECT, Happening::Elect);
            }
        }
    }

    /// What was on its way to a node that is no more.
    fn lost(&mut self, what: Inward) {
        if let Inward::Batch(_, Some(waiter)) = what {
            self.schedule.after(
                KEEPALIVE,
                Happening::At(
                    waiter.node,
                    waiter.life,
                    Inward::Fate(waiter.flight, batch::Result::Lost),
                ),
            );
        }
    }

    fn inward(&mut self, node: u64, life: u64, what: Inward) {
        let now = self.now();
        match what {
            Inward::Beat => {
                self.beat(node);
                self.schedule.after(BEAT, Happening::At(node, life, Inward::Beat));
            }
            Inward::Turn(at) => {
                let seat = &mut self.seats[node as usize - 1];
                if seat.turn_at == at {
                    seat.turn_at = u64::MAX;
                    self.with(node, |it, now, out| it.turn(now, out));
                }
            }
            Inward::Note(from, note) => {
                self.with(node, |it, now, out| it.event(Event::Note(NodeId(from), note), now, out));
            }
            Inward::Heard(by) => self.with(node, |it, now, _| it.hear(by, now)),
            Inward::Led(term, leader, upto) => {
                self.with(node, |it, now, out| it.follow(term, leader, now, out));
                self.learn(node, leader, upto);
            }
            Inward::Batch(commands, waiter) => self.arrive(node, life, commands, waiter),
            Inward::Fate(flight, result) => {
                self.with(node, |it, now, out| it.finish(flight, result, now, out));
            }
            Inward::Agree(term, number) => self.agree(node, life, term, number),
            Inward::Begin(term, adopted) => self.begin(node, life, term, adopted),
            Inward::Ask(from, its_life, number, until) => {
                let leads = match self.plan.mutant {
                    Some(Mutant::BarrierWithoutMajority) => {
                        self.node(node).is_some_and(|it| it.reign.is_some())
                    }
                    _ => self.leader() == Some(node) && self.has_quorum(node),
                };
                let known = self.node(node).map_or(0, |it| it.applied);
                let back = match from == node {
                    true => Some(0),
                    false => self.wires.cross(node, from).map(|delay| delay.as_millis() as u64),
                };
                let (index, delay) = match (leads, back) {
                    (true, Some(delay))
                        if self.plan.mutant == Some(Mutant::BarrierWithoutMajority) =>
                    {
                        (Some(known), delay)
                    }
                    (true, Some(delay)) => (Some(self.log.last()), delay),
                    _ => (None, until.saturating_sub(now)),
                };
                self.schedule.after(
                    delay,
                    Happening::At(from, its_life, Inward::Index(number, index, until)),
                );
            }
            Inward::Index(number, index, until) => self.barrier(node, life, number, index, until),
        }
    }

    /// Does something with a node, and what it wants done for it.
    fn with(&mut self, node: u64, work: impl FnOnce(&mut Node, u64, &mut Vec<Act>)) {
        let now = self.now();
        let seat = &mut self.seats[node as usize - 1];
        let life = seat.life;
        let Some(it) = seat.node.as_mut().filter(|_| seat.stopped.is_none()) else { return };
        let mut out = Vec::new();
        work(it, now, &mut out);
        let due = now + it.due_in(now);
        if due < seat.turn_at {
            seat.turn_at = due;
            self.schedule.after(due - now, Happening::At(node, life, Inward::Turn(due)));
        }
        for act in out {
            self.act(node, life, act);
        }
    }

    fn act(&mut self, node: u64, life: u64, act: Act) {
        match act {
            Act::Reply(bytes) => {
                self.check_right_to_answer(node, &bytes);
                for delay in self.wires.deliver(node) {
                    self.schedule
                        .after(delay.as_millis() as u64, Happening::Reply(node, bytes.clone()));
                }
            }
            Act::Batch(batch) => self.send(node, life, batch),
            Act::Fate(waiter, result) => self.fate(node, waiter, result),
            Act::Story(answer) => self.answers.push(answer),
            Act::Tell(whom, note) => {
                for peer in peers(node).filter(|peer| whom.is_none_or(|whom| whom == *peer)) {
                    // Best effort, and nothing may rest on it.
                    if !self.dice.chance(self.plan.notes_lost_per_mille) {
                        self.cross(node, peer, Inward::Note(node, note.clone()));
                    }
                }
            }
            Act::Barrier(number) => {
                let until = self.now() + BARRIER;
                let leader = self.node(node).and_then(|it| it.leader).map(|(_, leader)| leader);
                let ask = Inward::Ask(node, life, number, until);
                let asked = match leader {
                    Some(leader) if leader == node => {
                        self.schedule.after(0, Happening::At(node, life, ask));
                        true
                    }
                    Some(leader) => self.cross(node, leader, ask),
                    None => false,
                };
                if !asked {
                    self.schedule.after(
                        BARRIER,
                        Happening::At(node, life, Inward::Index(number, None, until)),
                    );
                }
            }
        }
    }

    /// C12 and C15, by what the world knows.
    fn check_right_to_answer(&mut self, node: u64, bytes: &[u8]) {
        let (now, seat) = (self.now(), &self.seats[node as usize - 1]);
        let applied = seat.node.as_ref().map_or(0, |it| it.applied);
        if applied < seat.must_reach {
            let what = format!(
                "node {node} answers at entry {applied}, and started when the log ended at {}",
                seat.must_reach
            );
            self.breach("caught up", what);
        } else if let Some(since) = seat.alone_since.filter(|since| now - since > SILENT_AFTER)
            && let Some(kind) = packet::decode(bytes, address(node)).map(|reply| reply.kind)
            // An ACK may be the repeat of one that was agreed (M7): it promises nothing new.
            && kind != ReplyKind::Ack
            && !self.has_quorum(node)
        {
            self.breach(
                "majority",
                format!("node {node} answers {kind:?}, and has had no majority since {since} ms"),
            );
        }
    }

    /// Sends something from one node to another. False: it is lost.
    fn cross(&mut self, from: u64, to: u64, what: Inward) -> bool {
        let Some(delay) = self.wires.cross(from, to) else { return false };
        let life = self.seats[to as usize - 1].life;
        self.schedule.after(delay.as_millis() as u64, Happening::At(to, life, what));
        true
    }

    fn say(&mut self, said: Vec<Said>) {
        for said in said {
            for node in said.nodes {
                for delay in self.wires.deliver(node) {
                    let packet = Happening::Packet(node, said.bytes.clone(), said.source);
                    self.schedule.after(delay.as_millis() as u64, packet);
                }
            }
        }
    }

    fn call_crowd(&mut self) {
        let now = self.now();
        let Some(due) = self.crowd.next_due() else { return };
        let at = due.max(now + 1);
        if at < self.crowd_at {
            self.crowd_at = at;
            self.schedule.after(at - now, Happening::Crowd(at));
        }
    }

    // Raft's part.

    fn is_awake(&self, node: u64) -> bool {
        let seat = &self.seats[node as usize - 1];
        seat.node.is_some() && seat.stopped.is_none()
    }

    fn has_quorum(&self, node: u64) -> bool {
        let joined = peers(node)
            .filter(|peer| self.is_awake(*peer) && self.wires.are_joined(node, *peer))
            .count() as u64;
        self.is_awake(node) && (joined + 1) * 2 > NODES
    }

    fn candidates(&self) -> Vec<u64> {
        let mut all: Vec<u64> = (1..=NODES).filter(|node| self.has_quorum(*node)).collect();
        let first = self.dice.between(0, NODES - 1) as usize;
        if !all.is_empty() {
            let places = all.len();
            all.rotate_left(first % places);
        }
        all
    }

    fn elect(&mut self) {
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

    /// A term begins. Of what the leader before had not brought to agreement the new one has the first part, or all, or nothing.
    fn crown(&mut self, node: u64) {
        self.vacant = None;
        let mut rest = std::mem::take(&mut self.log.orphans);
        if let Some((old, life)) = self.log.leader
            && self.seats[old as usize - 1].life == life
            && let Some(reign) = self.node(old).and_then(|old| old.reign.as_ref())
            && reign.term == self.log.term
        {
            rest.extend(reign.tail.iter().map(|(_, entry, _)| entry.clone()));
        }
        rest.truncate(self.dice.between(0, rest.len() as u64) as usize);
        let life = self.seats[node as usize - 1].life;
        let term = self.log.crown(node, life);
        self.log.orphans = rest.clone();
        self.tell(format!(
            "{node} leads in term {term}, with {} entries of those before",
            rest.len()
        ));
        if self.plan.mutant == Some(Mutant::LeaderWithoutTheEnd) {
            self.log.forget(self.dice.between(0, 3));
        }
        // Whoever leads has all that is agreed.
        let last = self.log.last();
        self.learn(node, node, last);
        self.with(node, |it, now, out| it.lead(term, now, out));
        let takes = self.agreement(node).unwrap_or(20);
        self.schedule.after(takes, Happening::At(node, life, Inward::Begin(term, rest)));
    }

    fn begin(&mut self, node: u64, life: u64, term: u64, adopted: Vec<Entry>) {
        if !self.log.is_newest(node, life, term) {
            return;
        }
        if !self.has_quorum(node) {
            return self
                .schedule
                .after(ELECT, Happening::At(node, life, Inward::Begin(term, adopted)));
        }
        self.log.orphans.clear();
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
    fn agreement(&mut self, node: u64) -> Option<u64> {
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

    fn arrive(&mut self, node: u64, life: u64, commands: Vec<Command>, waiter: Option<Waiter>) {
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
                self.schedule.after(takes, Happening::At(node, life, Inward::Agree(term, number)));
            }
            (_, _, Some(waiter)) => self.fate(node, waiter, batch::Result::NotProposed),
            _ => {}
        }
    }

    /// What the mutant that does not wait for agreement tells.
    fn answer_at_once(&mut self, node: u64, waiter: Waiter) {
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
        // The index that is certain to come.
        let (index, stamp) = (self.log.last(), machine.now());
        self.fate(node, waiter, batch::Result::Applied { index, stamp, outcomes });
    }

    fn agree(&mut self, node: u64, life: u64, term: u64, number: u64) {
        if !self.log.is_newest(node, life, term) {
            return;
        }
        if !self.has_quorum(node) {
            return self
                .schedule
                .after(ELECT, Happening::At(node, life, Inward::Agree(term, number)));
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
    fn spread(&mut self, node: u64) {
        let Some((term, leader)) = self.node(node).and_then(|it| it.leader) else { return };
        let upto = self.log.last();
        for peer in peers(node) {
            self.cross(node, peer, Inward::Led(term, leader, upto));
        }
        self.learn(node, node, upto);
    }

    /// A node hears that the log is agreed up to `upto`, and has what it lacks from node `from`.
    fn learn(&mut self, node: u64, from: u64, upto: u64) {
        let now = self.now();
        let Some(it) = self.node(node) else { return };
        let behind = upto.saturating_sub(it.applied);
        if behind > FAR_BEHIND && from != node && self.dice.chance(500) {
            return self.install(node, from);
        }
        for index in it.applied + 1..=upto {
            let Some(entry) = self.log.get(index).cloned() else { return };
            let mut done = Ok(Vec::new());
            self.with(node, |it, now, out| done = it.apply(&entry, now, out));
            if let Err(what) = done {
                return self.breach("wire", format!("node {node}: {what}"));
            }
            let Some(it) = self.node(node) else { return };
            let (at, digest) = (it.state.applied(), it.state.digest());
            self.noticed.compare(now, node, at, digest);
            if self.dice.chance(5) {
                self.checkpoint(node);
            }
        }
    }

    fn install(&mut self, node: u64, from: u64) {
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
            }
            Err(error) => {
                self.breach("snapshot", format!("{node} cannot take over from {from}: {error}"))
            }
        }
    }

    /// What a node does ten times a second.
    fn beat(&mut self, node: u64) {
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
                self.cross(node, peer, Inward::Led(term, leader, upto));
            }
        }
    }

    // Batches and barriers.

    /// A batch leaves. The way of it is worse than a stream can be: it arrives late, twice, or at a node that led once.
    fn send(&mut self, node: u64, life: u64, batch: Outgoing) {
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
    fn fate(&mut self, from: u64, waiter: Waiter, result: batch::Result) {
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

    fn barrier(
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
