//! What a run consists of, and how one thing follows from another.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use leasehold::peers::notes::Note;
use leasehold::propose::Answer;
use leasehold::propose::batch;
use leasehold::serve::Event;
use leasehold::state::{Command, Outcome, State, snapshot, wire};
use leasehold::types::{ClusterTime, NodeId};

use super::agreed::{Agreed, Entry};
use super::clock::Hardware;
use super::node::{Act, Asker, Node, Ticket, Waiter};
use super::schedule::Schedule;
use super::writers::Writers;
use crate::client::machine::ReplyKind;
use crate::client::packet;
use crate::floor::sim::crowd::{Crowd, Said};
use crate::floor::sim::dice::Dice;
use crate::floor::sim::noticed::Noticed;
use crate::floor::sim::place::{NODES, PROBATION, address, peers};
use crate::floor::sim::wires::Wires;
use crate::floor::sim::{Mutant, Plan, mutants};

/// How often a node looks around and speaks to its peers, in milliseconds.
const BEAT: u64 = 100;
/// How long it takes to notice that a connection is gone, in milliseconds.
pub(super) const KEEPALIVE: u64 = 500;
/// How long a read barrier may take, in milliseconds.
pub(super) const BARRIER: u64 = 1_000;
/// How often it is looked whether somebody leads, in milliseconds.
pub(super) const ELECT: u64 = 50;
/// So long after it lost the others a node has noticed (C12), in milliseconds: a second of silence, and when it looks.
const SILENT_AFTER: u64 = 1_500;

/// One thing that is going to happen.
#[derive(Debug)]
pub enum Happening {
    /// The clients look at the clock.
    Crowd {
        /// The moment they were called for: another may be set by then.
        at: u64,
    },
    /// A packet is read by a node.
    Packet {
        node: u64,
        /// When it came.
        came: u64,
        bytes: Vec<u8>,
        source: SocketAddrV4,
    },
    /// A packet comes from a node to its clients.
    Reply { node: u64, bytes: Vec<u8> },
    /// What is only for one life of a node.
    At { node: u64, life: u64, what: Inward },
    /// It is looked whether somebody leads.
    Elect,
    /// Those who change the configuration look at the clock.
    Writers,
}

/// What happens to a node.
#[derive(Debug)]
pub enum Inward {
    /// It looks around.
    Beat,
    /// It wants to be called at this moment.
    Turn(u64),
    /// A peer told something.
    Note { from: u64, note: Note },
    /// A peer answers.
    Heard(u64),
    /// A leader says in which term, and how far the log is agreed.
    Led { term: u64, leader: u64, agreed: u64 },
    /// A batch arrives.
    Batch { commands: Vec<Command>, waiter: Option<Waiter> },
    /// The fate of one that it sent.
    Fate { flight: u64, result: batch::Result },
    /// The leader's tail in this term is on the disks of a majority up to this number.
    Agree { term: u64, number: u64 },
    /// The first entry of its term is on the disks of a majority, behind what it took over.
    Begin { term: u64, adopted: Vec<Entry> },
    /// A read barrier of node `from` in that life arrives; it matters until then.
    Ask { from: u64, life: u64, asker: Asker, until: u64 },
    /// A read barrier has its index, or none.
    Index { asker: Asker, index: Option<u64>, until: u64 },
}

/// What waits for a node that is stopped in its tracks.
#[derive(Debug, Default)]
pub(super) struct Stopped {
    inward: Vec<Inward>,
    /// In the buffer of its socket, and when each came.
    packets: Vec<(u64, Vec<u8>, SocketAddrV4)>,
}

/// So many packets find room in a socket's buffer.
const BUFFER: usize = 400;

/// A place for a node, and what its disk has.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) hardware: Hardware,
    pub(super) node: Option<Node>,
    pub(super) life: u64,
    pub(super) turn_at: u64,
    /// What waits while it is stopped in its tracks.
    pub(super) stopped: Option<Stopped>,
    pub(super) slow_ms: u64,
    /// The last checkpoint.
    pub(super) checkpoint: (u64, Vec<u8>),
    /// The last entry applied before it died.
    pub(super) reached: u64,
    /// The end of the log when it was started: before it has that it may not answer (C15).
    pub(super) must_reach: u64,
    /// Since when it has nobody to make a majority with. A while after that it may not answer (C12).
    pub(super) alone_since: Option<u64>,
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
    /// Those who change the configuration.
    pub writers: Writers,
    /// What it noticed.
    pub noticed: Noticed,
    /// Answers to commands of the story.
    pub answers: Vec<Answer>,
    pub(super) schedule: Schedule<Happening>,
    pub(super) dice: Dice,
    pub(super) log: Agreed,
    pub(super) seats: Vec<Seat>,
    crowd_at: u64,
    pub(super) vacant: Option<(u64, u64)>,
    /// The machine at the end of the log, for mutants that change entries.
    pub(super) shadow: State,
    /// Addresses that were declined, each with the end of its probation by the stamps of the log, up to this entry.
    probation: (u64, BTreeMap<Ipv4Addr, ClusterTime>),
}

impl World {
    /// A world in which nothing has happened.
    pub fn new(seed: u64, plan: Plan) -> World {
        let dice = Dice::new(seed, 3);
        let seats = (1..=NODES).map(|_| Seat {
            hardware: Hardware {
                boot_ms: dice.between(1_000, 9_000_000) as i64,
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
            crowd: Crowd::new(plan.clients, NODES, seed, Dice::new(seed, 2)),
            writers: Writers::new(plan.writers, Dice::new(seed, 5)),
            noticed: Noticed::default(),
            answers: Vec::new(),
            schedule: Schedule::default(),
            log: Agreed::default(),
            seats: seats.collect(),
            crowd_at: u64::MAX,
            vacant: None,
            shadow: State::new(),
            probation: (0, BTreeMap::new()),
            dice,
            plan,
        };
        world.schedule.after(0, Happening::Elect);
        world.schedule.after(0, Happening::Writers);
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
        self.schedule.after(0, Happening::At { node, life, what: Inward::Beat });
    }

    /// Ends a node without warning.
    pub fn kill(&mut self, node: u64) {
        let seat = &mut self.seats[node as usize - 1];
        let Some(dead) = seat.node.take() else { return };
        seat.reached = dead.applied;
        let waiting = seat.stopped.take().map_or_else(Vec::new, |stopped| stopped.inward);
        self.wires.off(node, true);
        self.tell(format!("{} {node}", if dead.is_stopping() { "stop" } else { "kill" }));
        waiting.into_iter().for_each(|what| self.lost(what));
        if let Some(reign) = dead.reign {
            let waiters = reign.tail.iter().filter_map(|(_, _, waiter)| *waiter);
            let waiters: Vec<Waiter> = waiters.chain(reign.waiting.into_values()).collect();
            self.keep_tail(
                node,
                reign.term,
                reign.tail.into_iter().map(|(_, entry, _)| entry).collect(),
            );
            for waiter in waiters {
                self.lost(Inward::Batch { commands: Vec::new(), waiter: Some(waiter) });
            }
        }
    }

    /// Stops a node in good order: another leads, what it waits for is given up, and it ends. That it says before that it is leaving, and
    /// answers for a while, is not in this world.
    pub fn shut_down(&mut self, node: u64) {
        if self.log.leader.is_some_and(|(leader, _)| leader == node) {
            self.depose();
        }
        self.with(node, |it, now, out| it.stop(now, out));
        self.kill(node);
    }

    /// The machine of a node was without power: its boot time begins anew.
    pub fn reboot(&mut self, node: u64) {
        let boot = i64::try_from(self.dice.between(1_000, 60_000)).unwrap_or(0);
        let now = i64::try_from(self.now()).unwrap_or(i64::MAX);
        self.seats[node as usize - 1].hardware.boot_ms = boot - now;
    }

    /// Stops a node in its tracks.
    pub fn stop(&mut self, node: u64) {
        let seat = &mut self.seats[node as usize - 1];
        if seat.node.is_some() && seat.stopped.is_none() {
            seat.stopped = Some(Stopped::default());
            self.tell(format!("stop {node} in its tracks"));
        }
    }

    /// Lets it go on.
    pub fn go_on(&mut self, node: u64) {
        let seat = &mut self.seats[node as usize - 1];
        if let Some(waiting) = seat.stopped.take() {
            seat.alone_since = None;
            let life = seat.life;
            for (came, bytes, source) in waiting.packets {
                self.schedule.after(0, Happening::Packet { node, came, bytes, source });
            }
            for what in waiting.inward {
                self.schedule.after(0, Happening::At { node, life, what });
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
            Happening::Crowd { at } => {
                if at == self.crowd_at {
                    self.crowd_at = u64::MAX;
                    let said = self.crowd.tick(self.now());
                    self.say(said);
                    self.call_crowd();
                }
            }
            Happening::Packet { node, came, bytes, source } => {
                match &mut self.seats[node as usize - 1].stopped {
                    Some(stopped) if stopped.packets.len() < BUFFER => {
                        stopped.packets.push((came, bytes, source));
                    }
                    Some(_) => {}
                    None => {
                        self.with(node, |it, now, out| it.packet(bytes, source, came, now, out))
                    }
                }
            }
            Happening::Reply { node, bytes } => match self.crowd.hear(self.now(), node, &bytes) {
                Some(said) => {
                    self.say(said);
                    self.call_crowd();
                }
                None => self.breach("wire", format!("node {node} sent what no client can read")),
            },
            Happening::At { node, life, what } => {
                let seat = &mut self.seats[node as usize - 1];
                if seat.life != life || seat.node.is_none() {
                    self.lost(what);
                } else if let Some(waiting) = &mut seat.stopped {
                    waiting.inward.push(what);
                } else {
                    self.inward(node, life, what);
                }
            }
            Happening::Writers => self.writers_turn(),
            Happening::Elect => {
                self.elect();
                self.schedule.after(ELECT, Happening::Elect);
            }
        }
    }

    /// What was on its way to a node that is no more.
    fn lost(&mut self, what: Inward) {
        if let Inward::Batch { waiter: Some(waiter), .. } = what {
            self.schedule.after(
                KEEPALIVE,
                Happening::At {
                    node: waiter.node,
                    life: waiter.life,
                    what: Inward::Fate { flight: waiter.flight, result: batch::Result::Lost },
                },
            );
        }
    }

    fn inward(&mut self, node: u64, life: u64, what: Inward) {
        match what {
            Inward::Beat => {
                self.beat(node);
                self.schedule.after(BEAT, Happening::At { node, life, what: Inward::Beat });
            }
            Inward::Turn(at) => {
                let seat = &mut self.seats[node as usize - 1];
                if seat.turn_at == at {
                    seat.turn_at = u64::MAX;
                    self.with(node, |it, now, out| it.turn(now, out));
                }
            }
            Inward::Note { from, note } => {
                self.with(node, |it, now, out| it.event(Event::Note(NodeId(from), note), now, out));
            }
            Inward::Heard(by) => self.with(node, |it, now, _| it.hear(by, now)),
            Inward::Led { term, leader, agreed } => {
                self.with(node, |it, now, out| it.follow(term, leader, now, out));
                self.learn(node, leader, agreed);
            }
            Inward::Batch { commands, waiter } => self.arrive(node, life, commands, waiter),
            Inward::Fate { flight, result } => {
                self.with(node, |it, now, out| it.finish(flight, result, now, out));
            }
            Inward::Agree { term, number } => self.agree(node, life, term, number),
            Inward::Begin { term, adopted } => self.begin(node, life, term, adopted),
            Inward::Ask { from, life, asker, until } => self.asked(node, from, life, asker, until),
            Inward::Index { asker, index, until } => self.barrier(node, life, asker, index, until),
        }
    }

    /// Does something with a node, and what it wants done for it.
    pub(super) fn with(&mut self, node: u64, work: impl FnOnce(&mut Node, u64, &mut Vec<Act>)) {
        let now = self.now();
        let seat = &mut self.seats[node as usize - 1];
        let life = seat.life;
        let Some(it) = seat.node.as_mut().filter(|_| seat.stopped.is_none()) else { return };
        let mut out = Vec::new();
        work(it, now, &mut out);
        let due = now + it.due_in(now);
        if due < seat.turn_at {
            seat.turn_at = due;
            self.schedule.after(due - now, Happening::At { node, life, what: Inward::Turn(due) });
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
                    self.schedule.after(
                        delay.as_millis() as u64,
                        Happening::Reply { node, bytes: bytes.clone() },
                    );
                }
            }
            Act::Batch(batch) => self.send(node, life, batch),
            Act::Fate(waiter, result) => self.fate(node, waiter, result),
            Act::Story(answer) => self.answers.push(answer),
            Act::Deposed(term, tail) => self.keep_tail(node, term, tail),
            Act::Called(call, answer) => self.set_answered(call, answer),
            Act::Tell(whom, note) => {
                for peer in peers(node).filter(|peer| whom.is_none_or(|whom| whom == *peer)) {
                    // Best effort, and nothing may rest on it.
                    if !self.dice.chance(self.plan.notes_lost_per_mille) {
                        self.cross(node, peer, Inward::Note { from: node, note: note.clone() });
                    }
                }
            }
            Act::Barrier(asker) => self.ask(node, asker),
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

    /// An address that was declined is nobody's until its probation is over (M9). No client was promised that, so the log has to show it:
    /// `told` are the outcomes of the entry at `index`, which counts when somebody applies it first.
    pub(super) fn check_probation(&mut self, index: u64, entry: &Entry, told: &[Outcome]) {
        let (upto, declined) = &mut self.probation;
        if index <= *upto {
            return;
        }
        *upto = index;
        let Some(Ok(batch)) = entry.batch.as_ref().map(|bytes| wire::decode_batch(bytes)) else {
            return;
        };
        let mut broken = Vec::new();
        for (command, outcome) in batch.commands.iter().zip(told) {
            match (command, outcome) {
                (Command::Decline(up), Outcome::GivenUp) => {
                    let end = batch.stamp.plus(Duration::from_secs(PROBATION.into()));
                    declined.insert(up.address, end);
                }
                (Command::Grant(_), Outcome::Granted(granted)) => {
                    let ends = declined.get(&granted.address());
                    if let Some(end) = ends.filter(|end| batch.stamp < **end) {
                        broken.push(format!(
                            "entry {index} grants {} at {} ms of cluster time, and it is in probation until {} ms",
                            granted.address(),
                            batch.stamp.as_millis(),
                            end.as_millis()
                        ));
                    }
                }
                _ => {}
            }
        }
        broken.into_iter().for_each(|what| self.breach("probation", what));
    }

    /// Sends something from one node to another. False: it is lost.
    pub(super) fn cross(&mut self, from: u64, to: u64, what: Inward) -> bool {
        let Some(delay) = self.wires.cross(from, to) else { return false };
        let life = self.seats[to as usize - 1].life;
        self.schedule.after(delay.as_millis() as u64, Happening::At { node: to, life, what });
        true
    }

    fn say(&mut self, said: Vec<Said>) {
        for said in said {
            for node in said.nodes {
                for delay in self.wires.deliver(node) {
                    let delay = delay.as_millis() as u64;
                    let came = self.now() + delay;
                    let packet = Happening::Packet {
                        node,
                        came,
                        bytes: said.bytes.clone(),
                        source: said.source,
                    };
                    self.schedule.after(delay, packet);
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
            self.schedule.after(at - now, Happening::Crowd { at });
        }
    }
}
