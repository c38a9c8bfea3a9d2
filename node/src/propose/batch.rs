//! Which commands travel together, where to, and who gets which answer. Pure: time comes in as an
//! argument, answers go out through a vector.
//!
//! * At most [`Batch::MAX`] commands an entry, at most [`Batcher::limit`] entries in flight: what arrives
//!   meanwhile is the next batch (R27).
//! * After an entry that several shared there is a rest, as long as that entry took and [`LONGEST_REST`] at
//!   most, so that the next is shared by more: an entry costs all nodes the same whatever is in it. A full
//!   batch does not wait, and neither does anything behind a command that was alone.
//! * A command that certainly had no effect waits for a leader until its deadline.
//! * A command that *may* have had one is sent again only to another leader, only until its
//!   deadline, and only if doing it twice changes nothing ([`may_repeat`], R3). Everything else is
//!   answered [`Answer::Unknown`].
//! * Every submission is answered exactly once.

use std::collections::VecDeque;
use std::time::Duration;

use crate::state::{Batch, Command, Outcome};
use crate::types::{ClusterTime, NodeId};

/// The most commands that wait. At 10 000 a second this is 0.4 s, well below the 2 s after which
/// their clients would no longer be answered; more is refused at once, and clients ask again.
pub const QUEUE: usize = 4_096;
/// Entries in flight by default (R27): with more, entries get smaller and not sooner done.
pub const IN_FLIGHT: usize = 1;
/// The longest rest between entries. Clients do not notice it, and at a thousand commands a second and more it
/// halves the entries.
pub const LONGEST_REST: Duration = Duration::from_millis(2);
/// The most entries in flight on slow links, and the most batches whose fate is open.
pub const MOST_IN_FLIGHT: usize = 16;
/// A batch without an answer for so long no longer keeps others from leaving.
pub const STUCK_AFTER: Duration = Duration::from_secs(1);
/// How long to wait before another try when the leader was not there.
pub const BACKOFF: Duration = Duration::from_millis(20);

/// Where commands go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Nobody is known to lead.
    Nowhere,
    /// This node leads.
    Here,
    /// That node leads.
    To(NodeId),
}

/// One command with the way to answer it.
#[derive(Debug)]
pub struct Submission<T> {
    /// Gets the answer.
    pub ticket: T,
    /// What to do.
    pub command: Command,
    /// Monotonic time after which nobody waits. For a Grant never later than its `not_after`.
    pub deadline: Duration,
    /// Only this node may commit it, as leader: a duty that another leader judges for itself.
    pub here_only: bool,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A majority has it, and `apply` answered.
    Committed(Committed),
    /// It may have taken effect, and a Grant still may until its `not_after` (R2, R3).
    Unknown,
    /// It certainly has no effect.
    Unsent(Unsent),
}

/// A committed command.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// What `apply` said.
    pub outcome: Outcome,
    /// The entry. A node that has applied it shows the effect.
    pub index: u64,
    /// The entry's time.
    pub stamp: ClusterTime,
}

/// Why a command was never proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    /// Too many commands wait.
    #[error("too many commands are waiting")]
    Full,
    /// No leader was found in time.
    #[error("no leader was found in time")]
    NoLeader,
    /// The node stops.
    #[error("the node is stopping")]
    Stopped,
    /// The command needs this feature level, which is not in force yet (R24).
    #[error(
        "it needs feature level {0}, which is not in force yet: upgrade all nodes, then raise it with cluster-ctl \
         upgrade finalize"
    )]
    NotYet(u32),
}

/// What became of a batch.
#[derive(Debug)]
pub enum Result {
    /// Applied; one outcome for each command in order.
    Applied {
        /// The entry.
        index: u64,
        /// Its time.
        stamp: ClusterTime,
        /// One for each command.
        outcomes: Vec<Outcome>,
    },
    /// Certainly not proposed: not a leader, or no connection to it.
    NotProposed,
    /// Proposed perhaps: the connection or the leadership was lost meanwhile.
    Lost,
    /// The node stops.
    Stopped,
}

/// A batch to send. The receiver of it calls [`Batcher::finish`] with its number.
#[derive(Debug, PartialEq)]
pub struct Outgoing {
    /// Names the batch.
    pub number: u64,
    /// Where to; never [`Route::Nowhere`].
    pub route: Route,
    /// 1 to [`Batch::MAX`] commands.
    pub commands: Vec<Command>,
}

/// Whether a command that may have taken effect can be sent again without harm. Grants, releases
/// and declines say what they mean precisely (R2, R5), and an address that is in use goes into probation
/// once; a node's description of itself, a feature level and a piece of a
/// document are the same each time; a configuration with an id is accepted once. Another command of
/// an administrator must not run twice, and the leader's duties are judged anew.
pub fn may_repeat(command: &Command) -> bool {
    match command {
        Command::Grant(_)
        | Command::Release(_)
        | Command::Decline(_)
        | Command::InUse(_)
        | Command::NodeInfo(_)
        | Command::RaiseLevel(_)
        | Command::ConfigChunk(_) => true,
        Command::SetConfig(set) => set.id != 0,
        Command::EditConfig(edit) => edit.id != 0,
        _ => false,
    }
}

/// A submission inside.
#[derive(Debug)]
struct Item<T> {
    it: Submission<T>,
    /// Whether it has left once and may have taken effect.
    perhaps: bool,
}

impl<T> Item<T> {
    /// The answer to one that will not be sent (again).
    fn unsent(self, why: Unsent) -> (T, Answer) {
        (self.it.ticket, if self.perhaps { Answer::Unknown } else { Answer::Unsent(why) })
    }
}

#[derive(Debug)]
struct Flight<T> {
    number: u64,
    route: Route,
    sent: Duration,
    /// In the order of the entry; `None` once answered.
    items: Vec<Option<Item<T>>>,
}

/// The queue and the batches in flight.
#[derive(Debug)]
pub struct Batcher<T> {
    route: Route,
    queue: VecDeque<Item<T>>,
    flights: Vec<Flight<T>>,
    limit: usize,
    next: u64,
    not_before: Duration,
    rested_at: Duration,
    stopped: bool,
}

impl<T> Default for Batcher<T> {
    fn default() -> Batcher<T> {
        Batcher {
            route: Route::Nowhere,
            queue: VecDeque::new(),
            flights: Vec::new(),
            limit: IN_FLIGHT,
            next: 1,
            not_before: Duration::ZERO,
            rested_at: Duration::ZERO,
            stopped: false,
        }
    }
}

impl<T> Batcher<T> {
    /// Takes a command in, or answers at once that it cannot.
    pub fn submit(&mut self, submission: Submission<T>, answers: &mut Vec<(T, Answer)>) {
        if self.stopped {
            answers.push((submission.ticket, Answer::Unsent(Unsent::Stopped)));
        } else if self.queue.len() >= QUEUE {
            answers.push((submission.ticket, Answer::Unsent(Unsent::Full)));
        } else {
            self.queue.push_back(Item { it: submission, perhaps: false });
        }
    }

    /// Another node leads, or none. Batches on their way to a leader that was replaced are given up:
    /// what may be repeated goes to the new one.
    pub fn set_route(&mut self, route: Route, answers: &mut Vec<(T, Answer)>) {
        if route == self.route {
            return;
        }
        self.route = route;
        if route == Route::Nowhere {
            // Perhaps a short gap in what this node knows. Batches may still come back.
            return;
        }
        self.not_before = Duration::ZERO;
        let (lost, kept) = std::mem::take(&mut self.flights)
            .into_iter()
            .partition(|f: &Flight<T>| f.route != route);
        self.flights = kept;
        self.take_back(lost, answers);
    }

    /// Where commands go now.
    pub fn route(&self) -> Route {
        self.route
    }

    /// A round trip above 2 ms needs more entries in flight to keep the disks busy (R27).
    pub fn set_round_trip(&mut self, round_trip: Duration) {
        let more = usize::try_from(round_trip.as_millis() / 2).unwrap_or(MOST_IN_FLIGHT);
        self.limit = (IN_FLIGHT + more).min(MOST_IN_FLIGHT);
    }

    /// The most entries in flight now.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The next batch to send, if one may leave. Call until `None` after every event.
    pub fn next_batch(
        &mut self,
        now: Duration,
        answers: &mut Vec<(T, Answer)>,
    ) -> Option<Outgoing> {
        if self.route == Route::Nowhere
            || now < self.not_before
            || self.flights.len() >= MOST_IN_FLIGHT
        {
            return None;
        }
        if now < self.rested_at && self.queue.len() < Batch::MAX {
            return None;
        }
        let moving =
            self.flights.iter().filter(|flight| now.saturating_sub(flight.sent) < STUCK_AFTER);
        if moving.count() >= self.limit {
            return None;
        }
        let mut items = Vec::with_capacity(self.queue.len().min(Batch::MAX));
        while items.len() < Batch::MAX
            && let Some(item) = self.queue.pop_front()
        {
            if now >= item.it.deadline || (item.it.here_only && self.route != Route::Here) {
                answers.push(item.unsent(Unsent::NoLeader));
            } else {
                // An entry must fit into a message, and leases must not wait for a document.
                let large =
                    matches!(item.it.command, Command::SetConfig(_) | Command::ConfigChunk(_));
                if large && !items.is_empty() {
                    self.queue.push_front(item);
                    break;
                }
                items.push(Some(item));
                if large {
                    break;
                }
            }
        }
        if items.is_empty() {
            return None;
        }
        let number = self.next;
        self.next += 1;
        let commands = items.iter().flatten().map(|item| item.it.command.clone()).collect();
        self.flights.push(Flight { number, route: self.route, sent: now, items });
        Some(Outgoing { number, route: self.route, commands })
    }

    /// The fate of a batch. One that was given up meanwhile is ignored.
    pub fn finish(
        &mut self,
        number: u64,
        result: Result,
        now: Duration,
        answers: &mut Vec<(T, Answer)>,
    ) {
        let Some(at) = self.flights.iter().position(|flight| flight.number == number) else {
            return;
        };
        let flight = self.flights.remove(at);
        if flight.items.len() > 1 {
            self.rested_at = now + now.saturating_sub(flight.sent).min(LONGEST_REST);
        }
        match result {
            Result::Applied { index, stamp, outcomes } if outcomes.len() == flight.items.len() => {
                for (item, outcome) in flight.items.into_iter().zip(outcomes) {
                    if let Some(item) = item {
                        answers.push((
                            item.it.ticket,
                            Answer::Committed(Committed { outcome, index, stamp }),
                        ));
                    }
                }
            }
            // Outcomes that do not fit the commands say nothing about any of them.
            Result::Applied { .. } => self.give_up(flight, answers),
            Result::NotProposed => {
                self.not_before = now + BACKOFF;
                self.put_back(flight.items.into_iter().flatten());
            }
            Result::Lost => {
                self.not_before = now + BACKOFF;
                self.take_back(vec![flight], answers);
            }
            Result::Stopped => {
                self.give_up(flight, answers);
                self.stop(answers);
            }
        }
    }

    /// Answers what has waited too long. Call every few tens of milliseconds while
    /// [`Batcher::is_idle`] is false.
    pub fn tick(&mut self, now: Duration, answers: &mut Vec<(T, Answer)>) {
        if self.queue.iter().any(|item| now >= item.it.deadline) {
            let all = std::mem::take(&mut self.queue);
            let (over, waiting): (VecDeque<_>, VecDeque<_>) =
                all.into_iter().partition(|item| now >= item.it.deadline);
            self.queue = waiting;
            answers.extend(over.into_iter().map(|item| item.unsent(Unsent::NoLeader)));
        }
        for flight in &mut self.flights {
            for item in &mut flight.items {
                if item.as_ref().is_some_and(|item| now >= item.it.deadline)
                    && let Some(item) = item.take()
                {
                    answers.push((item.it.ticket, Answer::Unknown));
                }
            }
        }
        self.flights.retain(|flight| flight.items.iter().any(Option::is_some));
    }

    /// Answers everything and takes nothing more.
    pub fn stop(&mut self, answers: &mut Vec<(T, Answer)>) {
        self.stopped = true;
        for flight in std::mem::take(&mut self.flights) {
            self.give_up(flight, answers);
        }
        answers.extend(self.queue.drain(..).map(|item| item.unsent(Unsent::Stopped)));
    }

    /// Whether nothing waits and nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.flights.is_empty()
    }

    /// When the rest is over that commands wait for. Call [`Batcher::next_batch`] then.
    pub fn rests_until(&self, now: Duration) -> Option<Duration> {
        (now < self.rested_at && !self.queue.is_empty()).then_some(self.rested_at)
    }

    /// Commands that wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Batches in flight.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    fn give_up(&self, flight: Flight<T>, answers: &mut Vec<(T, Answer)>) {
        answers.extend(
            flight.items.into_iter().flatten().map(|item| (item.it.ticket, Answer::Unknown)),
        );
    }

    /// Batches that may have been proposed: the commands that may be repeated go back to the head
    /// of the queue in their order.
    fn take_back(&mut self, flights: Vec<Flight<T>>, answers: &mut Vec<(T, Answer)>) {
        let mut again = Vec::new();
        for item in flights.into_iter().flat_map(|flight| flight.items).flatten() {
            if may_repeat(&item.it.command) {
                again.push(Item { perhaps: true, ..item });
            } else {
                answers.push((item.it.ticket, Answer::Unknown));
            }
        }
        self.put_back(again.into_iter());
    }

    fn put_back(&mut self, items: impl DoubleEndedIterator<Item = Item<T>>) {
        for item in items.rev() {
            self.queue.push_front(item);
        }
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
