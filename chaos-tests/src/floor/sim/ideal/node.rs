//! One node: the server's engine, state, allocator, batcher, lease clock and duties, driven by values. No task, no lock, no time of
//! its own: whatever happens is a call, and what it wants done comes out as [`Act`]s.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use leasehold::VERSION;
use leasehold::dhcp::v4::Ports;
use leasehold::peers::SUSPECT_AFTER;
use leasehold::peers::liveness::Sight;
use leasehold::peers::notes::Note;
use leasehold::propose::batch::{self, Batcher, Outgoing};
use leasehold::propose::{Answer, Route, Submission};
use leasehold::raft::LeaseClock;
use leasehold::serve::duties::{Facts, INTRODUCE, Leading, WITHIN, introduction, is_majority};
use leasehold::serve::levels::Levels;
use leasehold::serve::link::Links;
use leasehold::serve::queue::PATIENCE;
use leasehold::serve::{Action, Event, Now, Received, Worker};
use leasehold::state::{Batch, Command, NodeInfo, Outcome, State, wire};
use leasehold::types::{ClusterTime, NodeId};

use super::agreed::Entry;
use super::clock::Hardware;
use crate::floor::sim::Mutant;
use crate::floor::sim::place::{NODES, address, datagram, interface, peers};

/// What the mutant with the time of day counts from, in milliseconds since 1970.
const LONG_AGO: i64 = 1_690_000_000_000;

/// Who waits for the answer to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ticket {
    /// A packet of the worker.
    Packet(u64),
    /// A duty of the leader; true for a sweep.
    Duty(bool),
    /// Nobody.
    Nobody,
    /// The story.
    Story,
    /// A call of the control API.
    Writer(u64),
}

/// Who waits for a read barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// The node, which starts (C15).
    Start,
    /// The worker, by this number.
    Worker(u64),
    /// A call of the control API.
    Writer(u64),
}

/// A batch at a leader that waits for agreement, and whence it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiter {
    /// The node whose batcher sent it.
    pub node: u64,
    /// In which of its lives.
    pub life: u64,
    /// The batch's number there.
    pub flight: u64,
}

/// What a node wants done.
#[derive(Debug)]
pub enum Act {
    /// A packet to a client.
    Reply(Vec<u8>),
    /// A batch to whoever leads.
    Batch(Outgoing),
    /// A read barrier.
    Barrier(Asker),
    /// A note to every peer, or to one.
    Tell(Option<u64>, Note),
    /// An answer to the story.
    Story(Answer),
    /// An answer to a call of the control API.
    Called(u64, Answer),
    /// It leads no more; what it stamped in that term and was not agreed.
    Deposed(u64, Vec<Entry>),
    /// The fate of a batch that waited here.
    Fate(Waiter, batch::Result),
}

/// What a leader has beside.
#[derive(Debug)]
pub struct Reign {
    /// Its term.
    pub term: u64,
    /// The first entry of the term, once it is agreed.
    pub began: Option<u64>,
    /// Stamped and not agreed, in order, each with its number.
    pub tail: VecDeque<(u64, Entry, Option<Waiter>)>,
    /// Agreed and not applied here.
    pub waiting: BTreeMap<u64, Waiter>,
    next: u64,
    leading: Leading,
    duties: u32,
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    me: u64,
    hardware: Hardware,
    mutant: Option<Mutant>,
    /// The replicated machine.
    pub state: State,
    /// The last entry that it has, those without commands among them.
    pub applied: u64,
    worker: Worker,
    batcher: Batcher<Ticket>,
    clock: LeaseClock,
    /// The newest leader it has heard of, with his term.
    pub leader: Option<(u64, u64)>,
    /// Whether it leads, as far as it knows.
    pub reign: Option<Reign>,
    heard: BTreeMap<u64, Duration>,
    suspected: BTreeMap<u64, bool>,
    majority: Option<bool>,
    starting: bool,
    stopping: bool,
    started: ClusterTime,
    introduced: Option<Duration>,
}

impl Node {
    /// A node that starts at moment `now` of the run with the machine that its disk has.
    pub fn start(
        me: u64,
        incarnation: u64,
        hardware: Hardware,
        mutant: Option<Mutant>,
        (state, applied): (State, u64),
        now: u64,
    ) -> Node {
        let clock = LeaseClock::new(state.now(), hardware.boot(now));
        let started = clock.now(hardware.boot(now));
        let mut node = Node {
            me,
            hardware,
            mutant,
            state,
            applied,
            worker: Worker::new(NodeId(me), incarnation, Ports::STANDARD, Arc::default()),
            batcher: Batcher::default(),
            clock,
            leader: None,
            reign: None,
            heard: BTreeMap::new(),
            suspected: BTreeMap::new(),
            majority: None,
            starting: true,
            stopping: false,
            started,
            introduced: None,
        };
        let listening = Event::Listening(vec![address(me)], Links::of(&[interface(me)]));
        node.event(listening, now, &mut Vec::new());
        if mutant == Some(Mutant::ServesTooSoon) {
            node.event(Event::ServeFrom(0), now, &mut Vec::new());
        }
        node
    }

    /// Its clocks are others now.
    pub fn set_hardware(&mut self, hardware: Hardware) {
        self.hardware = hardware;
    }

    /// Cluster time as it sees it.
    pub fn cluster(&self, now: u64) -> ClusterTime {
        self.clock.now(self.hardware.boot(now))
    }

    /// Whether it answers clients.
    pub fn is_ready(&self) -> bool {
        self.worker.is_ready(&self.state)
    }

    /// Whether it leads and may stamp (R10).
    pub fn is_stamping(&self) -> bool {
        if self.mutant == Some(Mutant::StampsTooSoon) {
            return self.reign.is_some();
        }
        let began = self.reign.as_ref().and_then(|reign| reign.began);
        began.is_some_and(|began| self.applied >= began)
    }

    /// How long until the worker or the batcher wants to be called, in milliseconds.
    pub fn due_in(&self, now: u64) -> u64 {
        let mono = self.hardware.mono(now);
        let rest = self.batcher.rests_until(mono).unwrap_or(Duration::MAX);
        let looks =
            if self.batcher.is_idle() { Duration::MAX } else { mono + Duration::from_millis(20) };
        let due = self.worker.next_deadline().min(rest).min(looks);
        u64::try_from(due.saturating_sub(mono).as_millis()).unwrap_or(u64::MAX).clamp(1, 100)
    }

    /// A datagram is read that came at moment `came`.
    pub fn packet(
        &mut self,
        bytes: Vec<u8>,
        source: SocketAddrV4,
        came: u64,
        now: u64,
        out: &mut Vec<Act>,
    ) {
        let datagram = datagram(self.me, bytes, source);
        let received = Received { datagram, at: self.hardware.mono(came) };
        let overdue = Duration::from_millis(now - came) > PATIENCE;
        self.step(now, out, |worker, state, now, wants| {
            worker.packet(received, overdue, state, now, wants)
        });
    }

    /// Gives up whatever waits for an answer, and takes nothing more.
    pub fn stop(&mut self, now: u64, out: &mut Vec<Act>) {
        let mut answers = Vec::new();
        self.batcher.stop(&mut answers);
        self.stopping = true;
        self.answer(answers, now, out);
    }

    /// Whether it was told to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Something happens to the worker.
    pub fn event(&mut self, event: Event, now: u64, out: &mut Vec<Act>) {
        self.step(now, out, |worker, state, now, wants| worker.event(event, state, now, wants));
    }

    /// Time has passed.
    pub fn turn(&mut self, now: u64, out: &mut Vec<Act>) {
        let mut answers = Vec::new();
        self.batcher.tick(self.hardware.mono(now), &mut answers);
        self.answer(answers, now, out);
        self.step(now, out, |_, _, _, _| {});
    }

    fn step(
        &mut self,
        now: u64,
        out: &mut Vec<Act>,
        work: impl FnOnce(&mut Worker, &State, Now, &mut Vec<Action>),
    ) {
        let moment = Now { mono: self.hardware.mono(now), cluster: self.cluster(now) };
        let mut wants = Vec::new();
        work(&mut self.worker, &self.state, moment, &mut wants);
        self.worker.tick(&self.state, moment, &mut wants);
        let mut answers = Vec::new();
        for action in wants {
            match action {
                Action::Send(_, reply, _) => out.push(Act::Reply(reply.payload().to_vec())),
                Action::Submit(it) => {
                    let submission = Submission {
                        ticket: Ticket::Packet(it.ticket),
                        command: it.command,
                        deadline: it.deadline,
                        here_only: it.here_only,
                    };
                    self.batcher.submit(submission, &mut answers);
                }
                Action::Barrier(number) => out.push(Act::Barrier(Asker::Worker(number))),
                Action::Tell(whom, note) => out.push(Act::Tell(whom.map(|whom| whom.0), note)),
                // Nothing beyond the log is simulated.
                Action::Happened(_) | Action::Ping(_) => {}
            }
        }
        self.answer(answers, now, out);
        self.launch(now, out);
    }

    /// Hands commands in.
    pub fn submit(&mut self, command: Command, ticket: Ticket, now: u64, out: &mut Vec<Act>) {
        let deadline = self.hardware.mono(now) + WITHIN;
        let here_only = matches!(ticket, Ticket::Duty(_));
        let mut answers = Vec::new();
        self.batcher.submit(Submission { ticket, command, deadline, here_only }, &mut answers);
        self.answer(answers, now, out);
        self.launch(now, out);
    }

    /// The fate of a batch that this node sent.
    pub fn finish(&mut self, flight: u64, result: batch::Result, now: u64, out: &mut Vec<Act>) {
        let mut answers = Vec::new();
        self.batcher.finish(flight, result, self.hardware.mono(now), &mut answers);
        self.answer(answers, now, out);
        self.launch(now, out);
    }

    fn launch(&mut self, now: u64, out: &mut Vec<Act>) {
        loop {
            let mut answers = Vec::new();
            let batch = self.batcher.next_batch(self.hardware.mono(now), &mut answers);
            self.answer(answers, now, out);
            match batch {
                Some(batch) => out.push(Act::Batch(batch)),
                None => return,
            }
        }
    }

    fn answer(&mut self, answers: Vec<(Ticket, Answer)>, now: u64, out: &mut Vec<Act>) {
        let mut packets = Vec::new();
        for (ticket, answer) in answers {
            match ticket {
                Ticket::Packet(number) => packets.push((number, answer)),
                Ticket::Duty(sweep) => {
                    let mono = self.hardware.mono(now);
                    if let Some(reign) = &mut self.reign {
                        reign.duties = reign.duties.saturating_sub(1);
                        if sweep {
                            reign.leading.swept(&answer, mono);
                        }
                    }
                }
                Ticket::Nobody => {}
                Ticket::Story => out.push(Act::Story(answer)),
                Ticket::Writer(call) => out.push(Act::Called(call, answer)),
            }
        }
        if !packets.is_empty() {
            self.event(Event::Answers(packets), now, out);
        }
    }

    /// Hears of a leader.
    pub fn follow(&mut self, term: u64, leader: u64, now: u64, out: &mut Vec<Act>) {
        if self.leader.is_some_and(|(known, _)| known >= term) {
            return;
        }
        self.leader = Some((term, leader));
        if let Some(reign) = self.reign.take_if(|reign| reign.term < term) {
            if self.mutant == Some(Mutant::TailKept) {
                for (_, entry, _) in &reign.tail {
                    let batch =
                        entry.batch.as_ref().and_then(|bytes| wire::decode_batch(bytes).ok());
                    batch.map(|batch| self.state.apply(self.applied, &batch));
                }
            }
            // What becomes of it others decide.
            let tail = reign.tail.iter().map(|(_, entry, _)| entry.clone()).collect();
            out.push(Act::Deposed(reign.term, tail));
            let waiters = reign.tail.into_iter().filter_map(|(_, _, waiter)| waiter);
            out.extend(
                waiters
                    .chain(reign.waiting.into_values())
                    .map(|waiter| Act::Fate(waiter, batch::Result::Lost)),
            );
        }
        self.look_for_leader(now, out);
    }

    /// Leads from now on, as far as it knows.
    pub fn lead(&mut self, term: u64, now: u64, out: &mut Vec<Act>) {
        self.follow(term, self.me, now, out);
        self.reign = Some(Reign {
            term,
            began: None,
            tail: VecDeque::new(),
            waiting: BTreeMap::new(),
            next: 0,
            leading: Leading::new(self.hardware.mono(now)),
            duties: 0,
        });
        self.look_for_leader(now, out);
    }

    fn look_for_leader(&mut self, now: u64, out: &mut Vec<Act>) {
        let route = match self.leader {
            _ if self.is_stamping() => Route::Here,
            Some((_, leader)) if leader != self.me => Route::To(NodeId(leader)),
            _ => Route::Nowhere,
        };
        let mut answers = Vec::new();
        self.batcher.set_route(route, &mut answers);
        self.answer(answers, now, out);
        self.launch(now, out);
    }

    /// Stamps commands and puts them at the end of its tail; the number that they have there. `None`: it does not lead.
    pub fn stamp(
        &mut self,
        commands: Vec<Command>,
        waiter: Option<Waiter>,
        now: u64,
    ) -> Option<u64> {
        if !self.is_stamping() {
            return None;
        }
        let (boot, term) = (self.hardware.boot(now), self.reign.as_ref()?.term);
        let stamp = match self.mutant {
            Some(Mutant::WallClockStamps) => ClusterTime::from_millis(
                u64::try_from(self.hardware.wall(now) - LONG_AGO).unwrap_or(0),
            ),
            Some(Mutant::SweepsAhead)
                if commands.iter().any(|it| matches!(it, Command::Reclaim(_))) =>
            {
                ClusterTime::from_millis(self.clock.issue(boot, term).as_millis() + 10_000)
            }
            Some(Mutant::StampsKept) => self.clock.issue(boot, 1),
            _ => self.clock.issue(boot, term),
        };
        let leader = self.me;
        let reign = self.reign.as_mut()?;
        let batch: Bytes = wire::encode_batch(&Batch { stamp, commands });
        reign.next += 1;
        reign.tail.push_back((reign.next, Entry { leader, batch: Some(batch) }, waiter));
        Some(reign.next)
    }

    /// Applies the entry after the last one.
    ///
    /// # Errors
    /// When it cannot read it.
    pub fn apply(
        &mut self,
        entry: &Entry,
        now: u64,
        out: &mut Vec<Act>,
    ) -> Result<Vec<Outcome>, String> {
        self.applied += 1;
        let index = self.applied;
        let mut told = Vec::new();
        if let Some(bytes) = &entry.batch {
            let batch = wire::decode_batch(bytes)
                .map_err(|error| format!("entry {index} does not decode: {error}"))?;
            told = if self.mutant == Some(Mutant::SkipsAnEntry) && index % 50 == self.me {
                self.state.clone().apply(index, &batch)
            } else {
                self.state.apply(index, &batch)
            };
            if self.mutant == Some(Mutant::AnswersCrossed) {
                told.reverse();
            }
            self.clock.observe(self.state.now(), self.hardware.boot(now), entry.leader == self.me);
        }
        let waiter = self.reign.as_mut().and_then(|reign| reign.waiting.remove(&index));
        if let Some(waiter) = waiter {
            let stamp = self.state.now();
            out.push(Act::Fate(
                waiter,
                batch::Result::Applied { index, stamp, outcomes: told.clone() },
            ));
        }
        self.look_for_leader(now, out);
        if self.worker.wants_entries() {
            self.event(Event::Applied, now, out);
        }
        Ok(told)
    }

    /// Takes over the machine of another node, which was at `applied`.
    pub fn install(&mut self, state: State, applied: u64, now: u64, out: &mut Vec<Act>) {
        self.state = state;
        self.applied = applied;
        self.clock.observe(self.state.now(), self.hardware.boot(now), false);
        self.look_for_leader(now, out);
        self.event(Event::Applied, now, out);
    }

    /// A peer is heard.
    pub fn hear(&mut self, peer: u64, now: u64) {
        self.heard.insert(peer, self.hardware.mono(now));
    }

    /// Whether a majority of all nodes was heard lately.
    fn hears_majority(&self, mono: Duration) -> bool {
        let lately = |at: &&Duration| is_majority(Some(mono.saturating_sub(**at)));
        (self.heard.values().filter(lately).count() as u64 + 1) * 2 > NODES
    }

    /// What a node does ten times a second: looks who is silent, and whether there is a majority (C12); introduces itself; asks for the
    /// barrier of its start.
    pub fn look(&mut self, now: u64, out: &mut Vec<Act>) {
        let mono = self.hardware.mono(now);
        for peer in peers(self.me) {
            let silent =
                self.heard.get(&peer).is_none_or(|at| mono.saturating_sub(*at) >= SUSPECT_AFTER);
            if self.suspected.insert(peer, silent) != Some(silent) {
                let event = match silent {
                    true => Event::PeerSuspected(NodeId(peer), true),
                    false => Event::PeerConnected(NodeId(peer)),
                };
                self.event(event, now, out);
            }
        }
        let there = match self.leader {
            Some((_, leader)) if leader == self.me => self.hears_majority(mono),
            Some((_, leader)) => {
                is_majority(self.heard.get(&leader).map(|at| mono.saturating_sub(*at)))
            }
            None => false,
        };
        let there = there || self.mutant == Some(Mutant::NoMajorityRule);
        if self.majority != Some(there) {
            self.majority = Some(there);
            self.event(Event::Majority(there), now, out);
        }
        if self.starting {
            out.push(Act::Barrier(Asker::Start));
        }
        if self.introduced.is_none_or(|at| mono.saturating_sub(at) >= INTRODUCE) {
            self.introduced = Some(mono);
            self.introduce(now, out);
        }
        self.duties(now, out);
    }

    /// The barrier of its start has passed: it answers from here (C15).
    pub fn started(&mut self, index: u64, now: u64, out: &mut Vec<Act>) {
        let knows_all =
            (1..=NODES).all(|node| self.state.view().meta().node(NodeId(node)).is_some());
        if self.starting && knows_all {
            self.starting = false;
            let shown = index.min(self.state.applied());
            self.event(Event::ServeFrom(shown), now, out);
        }
    }

    /// R16.
    fn introduce(&mut self, now: u64, out: &mut Vec<Act>) {
        let me = NodeId(self.me);
        let wanted = NodeInfo {
            node: me,
            name: format!("n{}", self.me),
            rack: format!("r{}", self.me),
            peer_address: format!("127.0.0.1:{}", self.me),
            control: Vec::new(),
            identities: vec![address(self.me)],
            version: VERSION.to_owned(),
            level: leasehold::state::feature::known(),
        };
        let entry = self.state.view().meta().node(me).map(|entry| &**entry);
        for command in introduction(entry, wanted, self.started) {
            self.submit(command, Ticket::Nobody, now, out);
        }
    }

    fn duties(&mut self, now: u64, out: &mut Vec<Act>) {
        if !self.is_stamping() {
            return;
        }
        let mono = self.hardware.mono(now);
        let facts = self.facts(now);
        let Some(reign) = &mut self.reign else { return };
        if reign.duties > 0 {
            return;
        }
        let commands = reign.leading.look(&facts, mono);
        reign.duties = commands.len() as u32;
        for command in commands {
            let sweep = matches!(command, Command::Reclaim(_));
            self.submit(command, Ticket::Duty(sweep), now, out);
        }
    }

    fn facts(&self, now: u64) -> Facts {
        let (view, mono) = (self.state.view(), self.hardware.mono(now));
        let sight = |node: u64| Sight {
            node: NodeId(node),
            leads: node == self.me,
            voter: true,
            heard_ago: match node == self.me {
                true => Some(Duration::ZERO),
                false => self.heard.get(&node).map(|at| mono.saturating_sub(*at)),
            },
            lag: 0,
            applied: view.meta().node(NodeId(node)).map(|entry| entry.liveness),
        };
        Facts {
            sights: (1..=NODES).map(sight).collect(),
            applied: view.applied(),
            next_due: view.next_due(),
            expired: view.config().map(|config| config.expired.clone()),
            cluster: self.cluster(now),
            wall: self.hardware.wall(now),
            wall_offset: view.meta().wall_offset(),
            levels: Levels::of((1..=NODES).map(NodeId), view),
        }
    }
}
