//! The engine worker: everything that happens to packets between the sockets and the log, as one
//! state machine without a socket, a thread or a clock.
//!
//! Packets and events go in with the applied state and the time; [`Action`]s come out. The thread
//! around it is in `mod.rs`; tests and the simulation drive it directly.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::after::{Before, Happening, Query, What, happening};
use super::barrier::Barriers;
use super::circuits::Visit;
use super::commits::{Admission, Commits, Flying, Repeat, Ticket, Waiting};
use super::counters::{Counters, count};
use super::event::{Action, Event, Now, Received, Sizes};
use super::give_ups::{self, Entry, GiveUps};
use super::latency::{Answered, Timed};
use super::limits::{Informs, Moves};
use super::link::{Links, arrival};
use super::memory::Remembered;
use super::parked::Parked;
use super::pings::Pings;
use super::queue::Room;
use crate::alloc::{Cursors, Holds};
use crate::dhcp::decision::{Decision, Handled, Link, Offered, Reason, Reply, ReplyKind};
use crate::dhcp::v4::{self, Context, HOLD_FLOOR, PATIENCE, Packet, Pending, Place, Ports};
use crate::net;
use crate::observe::quiet::seldom;
use crate::packet::v4::{Malformed, Message, MessageType};
use crate::peers::heard::First;
use crate::peers::notes::{ANSWERED_EVERY, HEARD_EVERY, Note, PER_NOTE};
use crate::propose::batch::{Answer, Committed, Submission, Unsent};
use crate::state::{Command, ConfigVersion, Origin, Outcome, State, View, Why};
use crate::types::{ClientKey, ClusterTime, NodeId};

/// The most packets that wait for notes, for a barrier, and for an entry, each.
pub const WAITING: usize = 4_096;
/// With so many commits under way no exchange is begun (A2): what is offered now is requested when they
/// are done, and at 500 a second that takes one second.
pub const BEGIN_BELOW: usize = 512;
/// With so many commits under way the next REQUEST waits in the packet queue, in a crowd for half a second
/// at most. At 1 000 commits a second it is answered well before the 2 s are over after which its grant is
/// void; behind the 4 096 commands that the proposer takes each one would come too late.
pub const COMMIT_BELOW: usize = 768;
/// How often old memories are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// What was tried already with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Tried {
    asked: bool,
    fresh: bool,
    again: bool,
    /// It has been counted, and let in if it is a newcomer's (A1).
    judged: bool,
}

/// The worker's own state. All of it may be lost: a restart costs clients a retry at most.
#[derive(Debug)]
pub struct Worker {
    me: NodeId,
    incarnation: u64,
    sequence: u64,
    ports: Ports,
    own: Vec<Ipv4Addr>,
    links: Links,
    memory: Remembered,
    informs: Informs,
    moves: Moves,
    holds: Holds,
    cursors: RefCell<Cursors>,
    commits: Commits,
    give_ups: GiveUps,
    parked: Parked,
    pings: Pings,
    /// Packets that wait for this node to apply an entry, in order of arrival.
    behind: VecDeque<(u64, Waiting)>,
    /// Packets that wait for this node to apply a configuration that others have (W6).
    outdated: VecDeque<(Waiting, Tried)>,
    barriers: Barriers,
    /// Peers to which a stream has been opened, silent ones among them.
    peers: Vec<NodeId>,
    majority: bool,
    disabled: bool,
    serve_from: Option<u64>,
    /// The newest configuration any peer has told of (W6).
    known_config: ConfigVersion,
    told_config: ConfigVersion,
    /// The one whose subnets are counted for.
    counted_config: ConfigVersion,
    told_answered: Duration,
    told_heard: Duration,
    swept: Duration,
    counters: Arc<Counters>,
}

impl Worker {
    /// A worker of node `me` with nothing in its memory. `incarnation` is drawn at each start (R1).
    /// It answers nothing until [`Event::ServeFrom`] and [`Event::Majority`] have come.
    pub fn new(me: NodeId, incarnation: u64, ports: Ports, counters: Arc<Counters>) -> Worker {
        Worker {
            me,
            incarnation,
            sequence: 1,
            ports,
            own: Vec::new(),
            links: Links::default(),
            memory: Remembered::new(me),
            informs: Informs::default(),
            moves: Moves::default(),
            holds: Holds::new(Holds::CAPACITY, Holds::KEEP),
            cursors: RefCell::default(),
            commits: Commits::default(),
            give_ups: GiveUps::default(),
            parked: Parked::default(),
            pings: Pings::default(),
            behind: VecDeque::new(),
            outdated: VecDeque::new(),
            barriers: Barriers::default(),
            peers: Vec::new(),
            majority: false,
            disabled: false,
            serve_from: None,
            known_config: ConfigVersion::default(),
            told_config: ConfigVersion::default(),
            counted_config: ConfigVersion::default(),
            told_answered: Duration::ZERO,
            told_heard: Duration::ZERO,
            swept: Duration::ZERO,
            counters,
        }
    }

    /// A worker to go on after this one panicked: it knows what it cannot learn again, keeps the
    /// releases and declines, and has forgotten the rest.
    pub fn successor(&mut self) -> Worker {
        let mut heir =
            Worker::new(self.me, self.incarnation, self.ports, Arc::clone(&self.counters));
        heir.sequence = self.sequence + 1;
        heir.own = std::mem::take(&mut self.own);
        heir.links = self.links.clone();
        heir.commits = self.commits.successor();
        heir.give_ups = std::mem::take(&mut self.give_ups);
        heir.barriers = self.barriers.successor();
        heir.peers = std::mem::take(&mut self.peers);
        heir.memory.inherit(&mut self.memory);
        heir.majority = self.majority;
        heir.disabled = self.disabled;
        heir.serve_from = self.serve_from;
        heir.known_config = self.known_config;
        heir
    }

    /// What it counts.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// A datagram is read. `overdue`: it waited too long for that (S11).
    pub fn packet(
        &mut self,
        received: Received,
        overdue: bool,
        state: &State,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        count(&self.counters.received);
        if overdue {
            return count(&self.counters.queue_late);
        }
        let Received { datagram: net::Received { bytes, arrival: how, came: taken }, at } =
            received;
        let message = match Message::received(bytes) {
            Ok(message) => message,
            Err(malformed) => return self.counters.reason(reason_of(malformed)),
        };
        let bootp = || state.view().config().is_some_and(|config| config.hooks.bootp);
        // Without BOOTP what has no cookie cannot be read.
        if message.not_dhcp().is_none() || bootp() {
            self.counters.tally.received(message.message_type().ok());
        }
        let interface = how.index;
        let came = earlier(now.cluster, now.mono.saturating_sub(at));
        let arrival = arrival(how, &self.links, came);
        let packet = Packet { message, arrival, seen: state.applied() };
        let waiting = Waiting { packet, received: at, interface, came: taken };
        self.decide(waiting, Tried::default(), state, now, out);
    }

    /// Something else happened.
    pub fn event(&mut self, event: Event, state: &State, now: Now, out: &mut Vec<Action>) {
        match event {
            Event::Answers(answers) => {
                for (ticket, answer) in answers {
                    self.answered(ticket, answer, state, now, out);
                }
            }
            Event::Note(node, note) => self.note(node, note, state, now, out),
            Event::PeerConnected(node) => {
                if !self.peers.contains(&node) {
                    self.peers.push(node);
                }
                self.memory.suspect(node, false);
                self.tell_all_to(node, state, now, out);
            }
            Event::PeerSuspected(node, suspected) => {
                self.memory.suspect(node, suspected);
                if !suspected && self.peers.contains(&node) {
                    // Notes may have been lost meanwhile.
                    self.tell_all_to(node, state, now, out);
                }
            }
            Event::Barrier(number, passed) => {
                self.barrier_answered(number, passed, state, now, out)
            }
            Event::Ponged(address) => self.ponged(address, state, now, out),
            Event::Unpinged(address) => self.unpinged(address),
            Event::Applied => self.entries_applied(state, now, out),
            Event::Listening(addresses, links) => (self.own, self.links) = (addresses, links),
            Event::Majority(there) => self.majority = there,
            Event::Disabled(disabled) => self.disabled = disabled,
            Event::PeerDisabled(node, disabled) => self.memory.disable(node, disabled),
            Event::ServeFrom(index) => self.serve_from = Some(index),
        }
    }

    /// Time passed. Call at [`Worker::next_deadline`] and after every batch of packets.
    pub fn tick(&mut self, state: &State, now: Now, out: &mut Vec<Action>) {
        while let Some(waiting) = self.parked.take_due(now.mono) {
            self.decide(waiting, Tried { asked: true, ..Tried::default() }, state, now, out);
        }
        self.pings_due(state, now, out);
        while let Some(entry) = self.give_ups.take_due(now.mono) {
            if give_ups::has_taken_effect(&entry.command, state.view()) {
                count(&self.counters.spared);
            } else {
                self.give_up(entry, now, out);
            }
        }
        for entry in self.give_ups.retry(now.mono) {
            self.give_up(entry, now, out);
        }
        self.counters.abandoned.fetch_add(self.give_ups.take_abandoned(), Relaxed);
        self.entries_applied(state, now, out);
        self.tell(state, now, out);
        if now.mono.saturating_sub(self.swept) >= SWEEP_EVERY {
            self.swept = now.mono;
            self.memory.sweep(now.mono);
            self.commits.sweep(now.mono);
            self.informs.sweep(now.mono);
            self.moves.sweep(now.mono);
            self.pings.sweep(now.mono);
            self.holds.expire(now.cluster);
            let version = state.view().config_version();
            if let (true, Some(config)) = (version != self.counted_config, state.view().config()) {
                self.counted_config = version;
                self.counters.tally.retain(config);
            }
        }
    }

    /// When [`Worker::tick`] is wanted next, monotonic.
    pub fn next_deadline(&self) -> Duration {
        let regular = self.told_answered + ANSWERED_EVERY;
        let due = [self.parked.next_due(), self.give_ups.next_due(), self.pings.next_due()];
        due.into_iter().flatten().fold(regular, Duration::min)
    }

    /// What there is room for behind this worker. Each commit under way is answered in the end, with an
    /// event, so it is enough to ask again after events.
    pub fn room(&self) -> Room {
        // Without a majority there is nothing to be held up, and a RELEASE is kept for later (C12).
        let flying = self.commits.flying() + self.give_ups.flying();
        if self.majority { room(flying) } else { Room::Everything }
    }

    /// Whether packets wait for entries to be applied: then [`Event::Applied`] is wanted.
    pub fn wants_entries(&self) -> bool {
        !self.behind.is_empty() || !self.outdated.is_empty()
    }

    /// Whether this node answers, as far as the worker is concerned (C15).
    pub fn is_ready(&self, state: &State) -> bool {
        self.serve_from.is_some_and(|index| state.applied() >= index)
            && state.view().config().is_some()
    }

    /// Addresses held, shadows, requests on their way: for metrics.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            holds: self.holds.len(),
            shadows: self.memory.shadows(),
            links: self.memory.heard.len(),
            flying: self.commits.flying(),
            waiting: self.parked.len()
                + self.barriers.len()
                + self.behind.len()
                + self.outdated.len()
                + self.pings.len(),
            kept: self.give_ups.kept(),
            dropped: self.memory.dropped(),
        }
    }

    fn decide(
        &mut self,
        waiting: Waiting,
        tried: Tried,
        state: &State,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        if now.mono.saturating_sub(waiting.received) > PATIENCE {
            return self.counters.reason(Reason::Late);
        }
        let view = state.view();
        let handled = {
            let memory = self.memory.at(now.mono, waiting.packet.message.message_type().ok());
            v4::handle(&waiting.packet, &self.context(&memory, tried), view, now.cluster)
        };
        if let (Some(ClientKey::Id(id)), true) = (&handled.client, tried == Tried::default())
            && self.moves.saw(id, waiting.packet.message.hw_addr(), now.mono)
        {
            count(&self.counters.client_id_moved);
        }
        let mut first = First::Known;
        if let (Some(link), false) = (handled.heard, tried.asked) {
            first = self.memory.heard.heard_here(link, now.mono);
            if matches!(first, First::Here | First::Now(_)) && !self.peers.is_empty() {
                let note = Note { heard: vec![(link, 1)], ..self.bare_note(state) };
                out.push(Action::Tell(None, note));
            }
        }
        // It goes on hearing, so that it knows its links when it answers again.
        if self.disabled {
            return self.counters.reason(Reason::ServiceDisabled);
        }
        // What a node learns while it catches up it needs; what it would say may be wrong (C15, W6).
        let silent = !self.is_ready(state) || view.config_version() < self.known_config;
        // What is checked first, or waits for a configuration, is decided once more.
        if !silent && !matches!(handled.decision, Decision::Check(..)) {
            self.counters.tally.searched(handled.search);
        }
        if !silent && !tried.judged && !self.judge(&handled, &waiting, view, now) {
            return self.refuse_newcomer(&waiting);
        }
        match handled.decision {
            Decision::Drop(reason) => {
                // M5: the client chose a server outside the cluster.
                if let (Reason::OtherServer, Some(client)) = (reason, &handled.client) {
                    self.holds.remove(client);
                }
                if reason == Reason::HoldLimit {
                    let giaddr = waiting.packet.message.giaddr();
                    seldom!(
                        warn,
                        &giaddr.to_string(),
                        %giaddr,
                        interface = waiting.interface,
                        "a circuit holds a quarter of the free addresses: new clients there wait, known ones are served"
                    );
                }
                self.counters.reason(reason);
            }
            Decision::Shadow(shadow) => {
                count(&self.counters.shadowed);
                self.memory.shadow(shadow, now.mono, now.cluster);
            }
            // R5: always proposed, never judged on a view that is behind; the generation it knows
            // may be an older one.
            Decision::Propose { mut command, after } if silent => {
                if let Command::Release(give) | Command::Decline(give) = &mut command {
                    give.generation = None;
                }
                self.propose(command, after, waiting, state, now, out);
            }
            // The entry is on its way: no packet is lost for a new configuration.
            _ if silent && self.is_ready(state) && self.outdated.len() < WAITING => {
                self.outdated.push_back((waiting, tried));
            }
            _ if silent => self.counters.reason(Reason::NotReady),
            Decision::AskPeers(link) => self.ask(link, first, waiting, state, now, out),
            Decision::Reply(reply) => self.reply(reply, &waiting, None, now, out),
            Decision::Check(check, then) => self.check(check, *then, waiting, state, now, out),
            Decision::Refuse(_) if tried.fresh => self.counters.reason(Reason::StrangeOutcome),
            Decision::Refuse(_) => self.await_barrier(waiting, out),
            Decision::Commit(command, pending) => {
                self.commit(command, pending, waiting, state, now, out)
            }
            Decision::Propose { command, after } => {
                self.propose(command, after, waiting, state, now, out)
            }
            // Only an outcome leads to it.
            Decision::Again => self.counters.reason(Reason::StrangeOutcome),
        }
    }

    /// A1: counts the packet for its circuit. Returns false where its client is one that nobody knows, and one too many.
    fn judge(&self, handled: &Handled, waiting: &Waiting, view: View<'_>, now: Now) -> bool {
        let Some(circuit) = handled.circuit else { return true };
        let decision = &handled.decision;
        // It is another node's, or comes once more.
        if matches!(decision, Decision::Shadow(_) | Decision::AskPeers(_)) {
            return true;
        }
        let limit = view.config().and_then(|config| config.new_clients);
        let gives =
            matches!(decision, Decision::Reply(_) | Decision::Check(..) | Decision::Commit(..));
        let message = waiting.packet.message.message_type().ok();
        let visit = Visit {
            discover: message == Some(MessageType::Discover),
            hold_limit: *decision == Decision::Drop(Reason::HoldLimit),
            newcomer: limit.filter(|_| gives && handled.search.newcomer),
        };
        // Most packets are of clients that are known.
        if visit == Visit::default() {
            return true;
        }
        let place = || Place::of(&waiting.packet);
        self.counters.circuits.lock().visit(circuit, visit, now.mono, place)
    }

    fn refuse_newcomer(&self, waiting: &Waiting) {
        let giaddr = waiting.packet.message.giaddr();
        seldom!(
            warn,
            &format!("newcomers {giaddr}"),
            %giaddr,
            interface = waiting.interface,
            "more new clients come through a circuit than it may have: they wait, known ones are served (cluster-ctl circuits)"
        );
        self.counters.reason(Reason::NewClientLimit);
    }

    fn context<'a>(&'a self, memory: &'a dyn v4::Memory, tried: Tried) -> Context<'a> {
        Context {
            me: self.me,
            own: &self.own,
            memory,
            holds: &self.holds,
            cursors: &self.cursors,
            hold_floor: HOLD_FLOOR,
            ports: self.ports,
            origin: Origin {
                node: self.me,
                incarnation: self.incarnation,
                sequence: self.sequence,
            },
            asked: tried.asked,
            fresh: tried.fresh,
            again: tried.again,
        }
    }

    /// R17: nobody has reported the link.
    #[allow(clippy::too_many_arguments)]
    fn ask(
        &mut self,
        link: Link,
        first: First,
        waiting: Waiting,
        state: &State,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        let until = match first {
            First::Now(until) | First::Soon(until) => until,
            First::Known | First::Here => now.mono,
        };
        if self.peers.is_empty() || until <= now.mono {
            // Nobody there to ask.
            self.memory.heard.settled(link, now.mono);
            self.decide(waiting, Tried { asked: true, ..Tried::default() }, state, now, out);
        } else if self.parked.wait(waiting, link, until, WAITING) {
            count(&self.counters.asked);
        } else {
            count(&self.counters.waiting_full);
        }
    }

    /// `why` is that of the command which the reply answers, if there was one.
    fn reply(
        &mut self,
        reply: Reply,
        waiting: &Waiting,
        why: Option<Why>,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        if reply.kind() == ReplyKind::Offer && !self.majority {
            return count(&self.counters.no_majority);
        }
        // A check that was under way; an ACK that is committed is sent all the same.
        if reply.kind() == ReplyKind::Offer && self.disabled {
            return self.counters.reason(Reason::ServiceDisabled);
        }
        if reply.kind() == ReplyKind::InformAck
            && !self.informs.admit(&reply.answered().client, now.mono)
        {
            return self.counters.reason(Reason::InformLimit);
        }
        self.counters.reply(reply.kind());
        self.counters.omitted_options.fetch_add(u64::from(reply.omitted()), Relaxed);
        // An OFFER that was committed is repeated as an ACK is; any other shows that the client begins anew.
        if reply.kind() == ReplyKind::Offer && why != Some(Why::Offering) {
            self.commits.forget(&reply.answered().client, now.mono);
        }
        if let Some(offered) = reply.offered() {
            let Offered { client, subnet, address, circuit, until } = offered.clone();
            self.holds.put_until(client, address, subnet, circuit, until, now.cluster);
        }
        if !self.peers.is_empty() {
            self.memory.notes.answered_here(reply.answered().clone());
        }
        let timed = Timed { came: waiting.came, what: Answered::of(reply.kind(), why) };
        out.push(Action::Send(waiting.interface, reply, timed));
    }

    fn commit(
        &mut self,
        command: Command,
        pending: Box<Pending>,
        waiting: Waiting,
        state: &State,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        let deadline = waiting.received + PATIENCE;
        let before = match (&command, state.view().config()) {
            (Command::Grant(grant), Some(config)) if happening::is_wanted(config) => {
                let held = grant.items.first().and_then(|item| item.held).map(|held| held.0);
                let before = Before::of(state.view(), &grant.client, pending.want(), held);
                Some(Box::new(before))
            }
            _ => None,
        };
        match self.commits.admit(pending, waiting, before, state.view(), now.mono) {
            Admission::Absorbed => count(&self.counters.absorbed),
            Admission::Repeat(repeat) => {
                let Repeat { pending, waiting, granted } = *repeat;
                count(&self.counters.repeated);
                let flying = Flying { pending, waiting, before: None };
                self.finish(flying, &Outcome::Granted(granted), state.applied(), state, now, out);
            }
            Admission::New(ticket) => {
                self.sequence += 1;
                count(&self.counters.proposed);
                out.push(Action::Submit(Submission {
                    ticket,
                    command,
                    deadline,
                    here_only: false,
                }));
            }
        }
    }

    /// A RELEASE or DECLINE (C10).
    fn propose(
        &mut self,
        command: Command,
        after: Duration,
        waiting: Waiting,
        state: &State,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        self.sequence += 1;
        let Waiting { packet, received, interface, .. } = waiting;
        let mut told = None;
        if let Command::Release(give) | Command::Decline(give) = &command {
            self.commits.forget(&give.client.key(), now.mono);
            let wanted = state.view().config().is_some_and(|config| happening::is_wanted(config));
            told = state
                .view()
                .lease(give.address)
                .filter(|lease| wanted && lease.held_by(&give.client))
                .map(|lease| Box::new((Query { packet, interface }, Arc::clone(lease))));
        }
        let entry = Entry { command, received, told };
        if after.is_zero() {
            self.give_up(entry, now, out);
        } else {
            self.give_ups.delay(entry, received + after);
        }
    }

    fn give_up(&mut self, entry: Entry, now: Now, out: &mut Vec<Action>) {
        count(&self.counters.proposed);
        let ticket = self.commits.ticket();
        let deadline = now.mono + PATIENCE;
        out.push(Action::Submit(Submission {
            ticket,
            command: entry.command.clone(),
            deadline,
            here_only: false,
        }));
        self.give_ups.fly(ticket, entry);
    }

    fn answered(
        &mut self,
        ticket: Ticket,
        answer: Answer,
        state: &State,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        match &answer {
            Answer::Committed(_) => {}
            Answer::Unknown => count(&self.counters.unknown),
            Answer::Unsent(_) => count(&self.counters.unsent),
        }
        if let Some(mut entry) = self.give_ups.landed(ticket) {
            // Beyond the limit of M11 the holding has ended all the same.
            if let Answer::Committed(Committed {
                outcome: Outcome::GivenUp | Outcome::DeclineLimit,
                ..
            }) = &answer
                && let (Some(told), Some(config)) = (entry.told.take(), state.view().config())
            {
                let (query, lease) = *told;
                let what = match entry.command {
                    Command::Decline(_) => What::Declined(query, lease),
                    _ => What::Released(query, lease),
                };
                let happening = Happening { what, config: Arc::clone(config) };
                out.push(Action::Happened(Box::new(happening)));
            }
            if !matches!(answer, Answer::Committed(_) | Answer::Unsent(Unsent::Stopped)) {
                count(&self.counters.kept);
                self.give_ups.keep(entry);
            }
            if let Answer::Committed(Committed { outcome, .. }) = answer {
                match outcome {
                    Outcome::DeclineLimit => self.counters.reason(Reason::ProbationLimit),
                    Outcome::OtherCircuit => self.counters.reason(Reason::ForgedRelease),
                    _ => {}
                }
            }
            return;
        }
        let Some(flying) = self.commits.landed(ticket) else { return };
        // C12: no outcome is silence. The client asks again and M7 finds the result.
        let Answer::Committed(Committed { outcome, index, .. }) = answer else {
            return count(&self.counters.unanswered);
        };
        if matches!(outcome, Outcome::Granted(_) | Outcome::Taken(_)) {
            self.holds.remove(flying.pending.client());
        }
        let mut flying = flying;
        if let Outcome::Granted(granted) = &outcome {
            if granted.is_reused() {
                self.counters.tally.reused(granted.subnet());
            }
            if let Some(circuit) = flying.pending.first_on() {
                let place = || Place::of(&flying.waiting.packet);
                self.counters.circuits.lock().leased(circuit, now.mono, place);
            }
            self.commits.keep(&flying.pending, granted.clone(), index, now.mono);
            let (config, before) = (state.view().config(), flying.before.take());
            if let (Some(config), Some(before)) = (config, before)
                && flying.pending.why() != Why::Offering
            {
                let packet = flying.waiting.packet.clone();
                let what = What::Granted {
                    query: Query { packet, interface: flying.waiting.interface },
                    index,
                    address: granted.address(),
                    generation: granted.generation(),
                    stamp: granted.stamp(),
                    before: *before,
                };
                let happening = Happening { what, config: Arc::clone(config) };
                out.push(Action::Happened(Box::new(happening)));
            }
        }
        self.finish(flying, &outcome, index, state, now, out);
    }

    /// The outcome of a request's command is known.
    fn finish(
        &mut self,
        flying: Flying,
        outcome: &Outcome,
        index: u64,
        state: &State,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        let Flying { pending, waiting, .. } = flying;
        let why = pending.why();
        let decision = {
            let memory = self.memory.at(now.mono, waiting.packet.message.message_type().ok());
            pending.finish(
                outcome,
                &self.context(&memory, Tried::default()),
                state.view(),
                now.cluster,
            )
        };
        match decision {
            Decision::Reply(reply) => self.reply(reply, &waiting, Some(why), now, out),
            Decision::Drop(reason) => self.counters.reason(reason),
            Decision::Again if state.applied() >= index => {
                self.decide(
                    waiting,
                    Tried { asked: true, again: true, judged: true, ..Tried::default() },
                    state,
                    now,
                    out,
                );
            }
            Decision::Again if self.behind.len() >= WAITING => count(&self.counters.waiting_full),
            Decision::Again => self.behind.push_back((index, waiting)),
            Decision::Refuse(_) => self.await_barrier(waiting, out),
            _ => self.counters.reason(Reason::StrangeOutcome),
        }
    }

    /// C11: one barrier serves all packets that came before it began.
    fn await_barrier(&mut self, waiting: Waiting, out: &mut Vec<Action>) {
        if !self.barriers.wait(waiting, WAITING) {
            count(&self.counters.waiting_full);
        }
        out.extend(self.barriers.begin().map(Action::Barrier));
    }

    fn barrier_answered(
        &mut self,
        number: u64,
        passed: bool,
        state: &State,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        for waiting in self.barriers.answered(number) {
            if passed {
                let tried = Tried { asked: true, fresh: true, again: false, judged: true };
                self.decide(waiting, tried, state, now, out);
            } else {
                count(&self.counters.no_barrier);
            }
        }
        out.extend(self.barriers.begin().map(Action::Barrier));
    }

    fn entries_applied(&mut self, state: &State, now: Now, out: &mut Vec<Action>) {
        let is_outdated = state.view().config_version() < self.known_config;
        for (waiting, tried) in std::mem::take(&mut self.outdated) {
            if !is_outdated {
                self.decide(waiting, tried, state, now, out);
            } else if now.mono.saturating_sub(waiting.received) > PATIENCE {
                self.counters.reason(Reason::NotReady);
            } else {
                self.outdated.push_back((waiting, tried));
            }
        }
        for (index, waiting) in std::mem::take(&mut self.behind) {
            if state.applied() >= index {
                self.decide(
                    waiting,
                    Tried { asked: true, again: true, judged: true, ..Tried::default() },
                    state,
                    now,
                    out,
                );
            } else if now.mono.saturating_sub(waiting.received) > PATIENCE {
                self.counters.reason(Reason::Late);
            } else {
                self.behind.push_back((index, waiting));
            }
        }
    }

    fn note(&mut self, node: NodeId, note: Note, state: &State, now: Now, out: &mut Vec<Action>) {
        self.known_config = self.known_config.max(note.config);
        let news = self.memory.note(node, note, now.mono, now.cluster);
        for link in news {
            let memory = &self.memory;
            let mut askable = self.peers.iter().filter(|peer| !memory.is_away(**peer));
            if !askable.all(|peer| memory.heard.hears(&link, *peer, now.mono)) {
                continue;
            }
            // Everybody who could answer has: nobody needs to wait for the rest of the 50 ms.
            self.memory.heard.settled(link, now.mono);
            for waiting in self.parked.take_link(link) {
                self.decide(waiting, Tried { asked: true, ..Tried::default() }, state, now, out);
            }
        }
    }

    /// Tells a peer that has just connected, or is heard again, what it may have missed.
    fn tell_all_to(&self, node: NodeId, state: &State, now: Now, out: &mut Vec<Action>) {
        out.push(Action::Tell(Some(node), self.bare_note(state)));
        for chunk in self.memory.heard.all_mine(now.mono).chunks(PER_NOTE) {
            let note = Note { heard: chunk.to_vec(), ..self.bare_note(state) };
            out.push(Action::Tell(Some(node), note));
        }
    }

    fn tell(&mut self, state: &State, now: Now, out: &mut Vec<Action>) {
        if now.mono.saturating_sub(self.told_answered) < ANSWERED_EVERY {
            return;
        }
        self.told_answered = now.mono;
        let answered = self.memory.notes.take_untold();
        let mut heard = Vec::new();
        if now.mono.saturating_sub(self.told_heard) >= HEARD_EVERY {
            self.told_heard = now.mono;
            heard = self.memory.heard.take_untold(PER_NOTE, now.mono);
        }
        let note = Note { answered, heard, ..self.bare_note(state) };
        let news = !note.is_empty() || note.config != self.told_config;
        self.told_config = note.config;
        if news && !self.peers.is_empty() {
            out.push(Action::Tell(None, note));
        }
    }

    fn bare_note(&self, state: &State) -> Note {
        Note { config: state.view().config_version(), ..Note::default() }
    }
}

/// What there is room for behind so many commits.
pub(super) fn room(flying: usize) -> Room {
    match flying {
        ..BEGIN_BELOW => Room::Everything,
        BEGIN_BELOW..COMMIT_BELOW => Room::Changes,
        COMMIT_BELOW.. => Room::Nothing,
    }
}

/// The moment `ago` before `now`, not before formation.
fn earlier(now: ClusterTime, ago: Duration) -> ClusterTime {
    let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
    ClusterTime::from_millis(now.as_millis().saturating_sub(ago))
}

fn reason_of(malformed: Malformed) -> Reason {
    match malformed {
        Malformed::Short => Reason::Short,
        Malformed::Cookie => Reason::BadCookie,
        Malformed::Op(_) => Reason::NotRequest,
        Malformed::HwAddrLength(_) => Reason::BadHlen,
        Malformed::Long => Reason::Malformed,
    }
}

#[path = "worker_pings.rs"]
mod checks;

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
