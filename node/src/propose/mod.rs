//! From a command to its outcome, whoever leads.
//!
//! One task owns the [`batch::Batcher`]. Packets' commands come in vectors and their answers go out
//! in vectors, through one callback: no task and no lock per packet. The API and the leader's duties
//! await theirs with [`Proposer::submit`].
//!
//! Where batches go is a [`Transport`]: the Raft handle of this node while it leads, else one kept
//! stream to the leader ([`forward`]). Its other end is in [`service`].
//!
//! Stopping the task answers everything: what never left is [`Unsent::Stopped`], the rest
//! [`Answer::Unknown`].

pub mod batch;
mod config;
mod forward;
mod service;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

pub use batch::{Answer, Committed, Route, Submission, Unsent};
pub use forward::{ToLeader, follow_leader};
pub use service::ProposalsService;

use crate::clock::Clock;
use crate::observe::histogram::{BATCH, Histogram};
use crate::state::{Command, feature};

/// Messages that wait for the task. Behind them stands [`batch::QUEUE`]; both full means refusal.
const CHANNEL: usize = 256;
/// How often deadlines are looked at while something waits.
const TICK: Duration = Duration::from_millis(20);
/// A batch without an answer for so long gets none. Longer than any command waits.
const FLIGHT: Duration = Duration::from_secs(30);

/// The monotonic time of commands, packets and their deadlines: boot time, which counts while the
/// machine is suspended, so that nothing a client has long forgotten is answered afterwards.
pub fn boot(clock: &dyn Clock) -> Duration {
    Duration::from_millis(clock.boottime())
}

/// Takes the answers to commands of packets: ticket and answer.
pub type Sink = Arc<dyn Fn(Vec<(u64, Answer)>) + Send + Sync>;

/// Carries batches to whoever leads.
pub trait Transport: Send + Sync + 'static {
    /// Sends one batch to `route`, which is never [`Route::Nowhere`], and waits for its fate. May
    /// be dropped half-way: then the batch counts as lost.
    fn send(
        &self,
        route: Route,
        commands: Vec<Command>,
    ) -> impl Future<Output = batch::Result> + Send;

    /// The feature level in force, as far as this node has applied (R24). It only rises, so the leader's
    /// is no lower.
    fn level(&self) -> u32;
}

/// Numbers of the proposer for metrics.
#[derive(Debug)]
pub struct Counters {
    /// Batches sent, each one log entry.
    pub batches: AtomicU64,
    /// Commands in them.
    pub commands: AtomicU64,
    /// Batches of those that went to another node.
    pub forwarded: AtomicU64,
    /// Commands with an outcome.
    pub outcomes: AtomicU64,
    /// Microseconds from submitting to the outcome, summed over those.
    pub micros: AtomicU64,
    /// Commands refused at once because too many wait.
    pub refused: AtomicU64,
    /// Commands whose fate stayed open.
    pub unknown: AtomicU64,
    /// Commands that found no leader in time.
    pub no_leader: AtomicU64,
    /// Commands waiting now.
    pub waiting: AtomicU64,
    /// Batches in flight now.
    pub in_flight: AtomicU64,
    /// Batches by the number of their commands.
    pub sizes: Histogram,
}

impl Default for Counters {
    fn default() -> Counters {
        let zero = AtomicU64::default;
        Counters {
            batches: zero(),
            commands: zero(),
            forwarded: zero(),
            outcomes: zero(),
            micros: zero(),
            refused: zero(),
            unknown: zero(),
            no_leader: zero(),
            waiting: zero(),
            in_flight: zero(),
            sizes: Histogram::new(BATCH),
        }
    }
}

/// Who waits for an answer.
struct Ticket {
    /// When it was handed in.
    since: Duration,
    whose: Whose,
}

enum Whose {
    Call(oneshot::Sender<Answer>),
    Packet(u64),
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.whose {
            Whose::Call(_) => f.write_str("Call"),
            Whose::Packet(number) => write!(f, "Packet({number})"),
        }
    }
}

/// The way in. Cheap to clone.
#[derive(Clone)]
pub struct Proposer {
    queue: mpsc::Sender<Vec<Submission<Ticket>>>,
    counters: Arc<Counters>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Proposer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proposer").field("counters", &self.counters).finish_non_exhaustive()
    }
}

/// What the proposer follows.
#[derive(Debug)]
pub struct Signals {
    /// Who leads, as far as this node knows.
    pub route: watch::Receiver<Route>,
    /// The round trip that a batch makes: to the leader, or on the leader to the fastest majority.
    pub round_trip: watch::Receiver<Duration>,
}

impl Proposer {
    /// Starts the task on the current runtime. It ends when every [`Proposer`] is gone.
    pub fn start(
        transport: impl Transport,
        signals: Signals,
        sink: Sink,
        clock: Arc<dyn Clock>,
    ) -> (Proposer, JoinHandle<()>) {
        let (queue, waiting) = mpsc::channel(CHANNEL);
        let counters = Arc::new(Counters::default());
        let task = Task {
            batcher: batch::Batcher::default(),
            transport: Arc::new(transport),
            flights: JoinSet::new(),
            answers: Vec::new(),
            sink,
            counters: Arc::clone(&counters),
            clock: Arc::clone(&clock),
        };
        let handle = tokio::spawn(task.run(waiting, signals));
        (Proposer { queue, counters, clock }, handle)
    }

    /// Proposes one command and waits for its answer, `within` at most. It is sent again after an
    /// unknown fate only if that cannot harm ([`batch::may_repeat`]).
    pub async fn submit(&self, command: Command, within: Duration) -> Answer {
        self.call(command, within, false).await
    }

    /// Proposes a duty of the leader: refused when this node does not lead (R13).
    pub async fn submit_here(&self, command: Command, within: Duration) -> Answer {
        self.call(command, within, true).await
    }

    async fn call(&self, command: Command, within: Duration, here_only: bool) -> Answer {
        let (ticket, answer) = oneshot::channel();
        let since = boot(&*self.clock);
        let ticket = Ticket { since, whose: Whose::Call(ticket) };
        let submission = Submission { ticket, command, deadline: since + within, here_only };
        match self.queue.try_send(vec![submission]) {
            // A dropped ticket means that the task was stopped at an unknown point.
            Ok(()) => answer.await.unwrap_or(Answer::Unknown),
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.counters.refused.fetch_add(1, Relaxed);
                Answer::Unsent(Unsent::Full)
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Answer::Unsent(Unsent::Stopped),
        }
    }

    /// Proposes commands of packets; each answer goes to the [`Sink`]. Does not wait: what cannot
    /// be queued comes back with its answer.
    pub fn submit_packets(&self, submissions: Vec<Submission<u64>>) -> Vec<(u64, Answer)> {
        if submissions.is_empty() {
            return Vec::new();
        }
        let since = boot(&*self.clock);
        let inward = |it: Submission<u64>| Submission {
            ticket: Ticket { since, whose: Whose::Packet(it.ticket) },
            command: it.command,
            deadline: it.deadline,
            here_only: it.here_only,
        };
        let (refused, why) =
            match self.queue.try_send(submissions.into_iter().map(inward).collect()) {
                Ok(()) => return Vec::new(),
                Err(mpsc::error::TrySendError::Full(refused)) => (refused, Unsent::Full),
                Err(mpsc::error::TrySendError::Closed(refused)) => (refused, Unsent::Stopped),
            };
        self.counters.refused.fetch_add(refused.len() as u64, Relaxed);
        let ticket = |it: Submission<Ticket>| match it.ticket.whose {
            Whose::Packet(number) => Some((number, Answer::Unsent(why))),
            Whose::Call(_) => None,
        };
        refused.into_iter().filter_map(ticket).collect()
    }

    /// What it counts.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }
}

struct Task<T> {
    batcher: batch::Batcher<Ticket>,
    transport: Arc<T>,
    flights: JoinSet<(u64, batch::Result)>,
    answers: Vec<(Ticket, Answer)>,
    sink: Sink,
    counters: Arc<Counters>,
    clock: Arc<dyn Clock>,
}

impl<T: Transport> Task<T> {
    async fn run(
        mut self,
        mut queue: mpsc::Receiver<Vec<Submission<Ticket>>>,
        mut signals: Signals,
    ) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.batcher.set_route(*signals.route.borrow_and_update(), &mut self.answers);
        let (mut routes_open, mut trips_open) = (true, true);
        loop {
            let now = boot(&*self.clock);
            let rest = self.batcher.rests_until(now);
            tokio::select! {
                () = tokio::time::sleep(rest.unwrap_or(now) - now), if rest.is_some() => {}
                incoming = queue.recv() => match incoming {
                    Some(submissions) => {
                        self.take(submissions);
                        // What queued up meanwhile belongs into the same batch.
                        while let Ok(more) = queue.try_recv() {
                            self.take(more);
                        }
                    }
                    None => break,
                },
                Some(landed) = self.flights.join_next() => {
                    self.land(landed);
                    while let Some(landed) = self.flights.try_join_next() {
                        self.land(landed);
                    }
                    while let Ok(more) = queue.try_recv() {
                        self.take(more);
                    }
                }
                changed = signals.route.changed(), if routes_open => {
                    routes_open = changed.is_ok();
                    let route = *signals.route.borrow_and_update();
                    self.batcher.set_route(route, &mut self.answers);
                }
                changed = signals.round_trip.changed(), if trips_open => {
                    trips_open = changed.is_ok();
                    self.batcher.set_round_trip(*signals.round_trip.borrow_and_update());
                }
                _ = tick.tick(), if !self.batcher.is_idle() => {
                    self.batcher.tick(boot(&*self.clock), &mut self.answers);
                }
            }
            self.launch();
            self.deliver();
        }
        self.batcher.stop(&mut self.answers);
        self.deliver();
    }

    /// What not all nodes may be able to read is turned away here, before it leaves the node: in a batch
    /// it would keep an older leader from reading the others (R24).
    fn take(&mut self, submissions: Vec<Submission<Ticket>>) {
        let newest = submissions.iter().map(|it| it.command.level()).max().unwrap_or(0);
        // Asking takes a lock, and what every cluster understands is the rule.
        let level = if newest > feature::FIRST { self.transport.level() } else { newest };
        for submission in submissions {
            match submission.command.level() {
                needed if needed > level => {
                    self.answers.push((submission.ticket, Answer::Unsent(Unsent::NotYet(needed))));
                }
                _ => self.batcher.submit(submission, &mut self.answers),
            }
        }
    }

    fn land(&mut self, landed: Result<(u64, batch::Result), tokio::task::JoinError>) {
        // A flight that panicked never reports; its commands are answered at their deadlines.
        if let Ok((number, result)) = landed {
            self.batcher.finish(number, result, boot(&*self.clock), &mut self.answers);
        }
    }

    fn launch(&mut self) {
        while let Some(batch) = self.batcher.next_batch(boot(&*self.clock), &mut self.answers) {
            self.counters.batches.fetch_add(1, Relaxed);
            self.counters.sizes.record(batch.commands.len() as u64);
            self.counters.commands.fetch_add(batch.commands.len() as u64, Relaxed);
            self.counters.forwarded.fetch_add(u64::from(batch.route != Route::Here), Relaxed);
            let transport = Arc::clone(&self.transport);
            self.flights.spawn(async move {
                let fate =
                    tokio::time::timeout(FLIGHT, transport.send(batch.route, batch.commands)).await;
                (batch.number, fate.unwrap_or(batch::Result::Lost))
            });
        }
        self.counters.waiting.store(self.batcher.waiting() as u64, Relaxed);
        self.counters.in_flight.store(self.batcher.in_flight() as u64, Relaxed);
    }

    fn deliver(&mut self) {
        let mut packets = Vec::new();
        let now = boot(&*self.clock);
        for (ticket, answer) in self.answers.drain(..) {
            match answer {
                Answer::Committed(_) => {
                    let waited = now.saturating_sub(ticket.since).as_micros();
                    self.counters.outcomes.fetch_add(1, Relaxed);
                    self.counters
                        .micros
                        .fetch_add(u64::try_from(waited).unwrap_or(u64::MAX), Relaxed);
                }
                Answer::Unknown => _ = self.counters.unknown.fetch_add(1, Relaxed),
                Answer::Unsent(Unsent::Full) => _ = self.counters.refused.fetch_add(1, Relaxed),
                Answer::Unsent(_) => _ = self.counters.no_leader.fetch_add(1, Relaxed),
            }
            match ticket.whose {
                Whose::Packet(number) => packets.push((number, answer)),
                // The caller may have gone away.
                Whose::Call(caller) => _ = caller.send(answer),
            }
        }
        if !packets.is_empty() {
            (self.sink)(packets);
        }
    }
}

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
#[path = "tests.rs"]
mod tests;
