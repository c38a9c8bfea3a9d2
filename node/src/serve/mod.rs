//! The loops around the engine. The life of a packet:
//!
//! 1. A receiving thread of [`crate::net`] puts the datagram into the [`Inbox`]: bounded, oldest
//!    dropped, those who have a lease or an offer first in a crowd ([`queue`], S11, A2).
//! 2. The one worker thread takes what is there and can be finished ([`Worker::room`]), at most [`BATCH`] packets at a time, together with
//!    answers, notes and barriers that came meanwhile, and takes the read lock of the applied state
//!    for that batch.
//! 3. [`Worker::packet`] decodes and calls [`crate::dhcp::v4::handle`]. Most packets end here: an
//!    OFFER, a shadow of a packet that is another node's, a counted reason.
//! 4. A request becomes a command. A repeat of one that is being committed is absorbed
//!    ([`commits`], M7). All commands of the batch go to [`crate::propose`] in one call, after the
//!    lock is released.
//! 5. The answers come back as an event. `Pending::finish` makes an ACK of a `Granted`, a NAK of a
//!    refusal; anything unknown is silence (C12).
//! 6. A NAK judged on the local view waits for a read barrier, one for all that wait (C11). A packet
//!    on a link nobody has reported waits for the peers' notes (R17). A RELEASE or DECLINE waits its
//!    rank's turn, and ten minutes for a majority ([`give_ups`], C10, C12).
//! 7. Where ping checks are on, a fresh address is pinged before it is offered, and the OFFER waits
//!    ([`pings`], M4).
//! 8. [`Hands`] executes what the worker wants. Nothing else ever sends.
//! 9. What follows a commit and no client waits for, scripts and DNS, is done [`after`].
//!
//! Beside it run [`duties`], what a node does by the clock, and [`activate`], which makes the
//! sockets follow the configuration.
//!
//! A panic while one packet or event is handled is caught, the packet's hash is logged, and a worker
//! with an empty memory takes over (A10). Stopping the worker at any point costs clients a retry.

pub mod activate;
pub mod after;
mod barrier;
pub mod causes;
pub mod circuits;
pub mod commits;
pub mod counters;
pub mod disk;
pub mod drain;
pub mod duties;
pub mod event;
pub mod give_ups;
mod inbox;
pub mod latency;
pub mod levels;
pub mod limits;
pub mod link;
pub mod members;
pub mod memory;
mod orders;
mod parked;
pub mod pings;
pub mod queue;
pub mod reclaim;
pub mod service;
pub mod tally;
pub mod worker;

use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use xxhash_rust::xxh3::xxh3_64;

pub use after::{After, Happening};
pub use counters::Counters;
pub use event::{Action, Event, Now, Received, Sizes};
pub use inbox::{Inbox, Taken};
pub use worker::Worker;

use crate::clock::Clock;
use crate::dhcp::decision::Reply;
use crate::net;
use crate::observe::quiet::seldom;
use crate::peers::Peers;
use crate::peers::notes::Note;
use crate::propose::{Answer, Proposer, Submission, boot};
use crate::raft::Raft;
use crate::state::State;
use crate::types::{ClusterTime, NodeId};

/// The most packets handled under one hold of the read lock: below a millisecond of work, so that
/// `apply` never waits long.
pub const BATCH: usize = 32;
/// How often the worker looks for entries while a packet waits for one.
const ENTRY_POLL: Duration = Duration::from_millis(2);
/// How long a read barrier may take: its clients' patience ends soon after.
const BARRIER: Duration = Duration::from_secs(1);

/// What the worker's actions are done with.
pub trait Hands: Send + 'static {
    /// Puts a reply on the wire; whether the sockets took it.
    fn send(&self, interface: u32, reply: &Reply) -> bool;
    /// Proposes commands; returns at once the answers of those that cannot be queued.
    fn submit(&self, submissions: Vec<Submission<u64>>) -> Vec<(u64, Answer)>;
    /// Begins a read barrier, whose end comes as [`Event::Barrier`].
    fn barrier(&self, number: u64);
    /// Tells one peer or all.
    fn tell(&self, whom: Option<NodeId>, note: &Note);
    /// This node's estimate of cluster time.
    fn cluster_time(&self) -> ClusterTime;
    /// Sends an echo request. Never waits; what cannot be sent counts as unanswered.
    fn ping(&self, address: Ipv4Addr);
    /// A lease changed through a command of this node, and somebody may want to know.
    fn happened(&self, happening: Happening);
}

/// The hands of a real node.
#[derive(Debug)]
pub struct NodeHands {
    /// The sockets.
    pub sender: net::Sender,
    /// The way into the log.
    pub proposer: Proposer,
    /// The peers; none in a cluster of one without a peer port.
    pub peers: Option<Arc<Peers>>,
    /// For barriers and cluster time.
    pub raft: Raft,
    /// Where barriers are reported.
    pub inbox: Arc<Inbox>,
    /// Runs the barriers.
    pub runtime: tokio::runtime::Handle,
    /// Echo requests.
    pub pinger: net::Pinger,
    /// What follows a commit.
    pub after: After,
}

impl Hands for NodeHands {
    fn send(&self, interface: u32, reply: &Reply) -> bool {
        match self.sender.send(&link::transmission(interface, reply)) {
            Ok(()) => true,
            Err(error) => {
                seldom!(debug, "send", %error, ?reply, "a reply was not sent");
                false
            }
        }
    }

    fn submit(&self, submissions: Vec<Submission<u64>>) -> Vec<(u64, Answer)> {
        self.proposer.submit_packets(submissions)
    }

    fn barrier(&self, number: u64) {
        let (raft, inbox) = (self.raft.clone(), Arc::clone(&self.inbox));
        self.runtime.spawn(async move {
            let passed =
                matches!(tokio::time::timeout(BARRIER, raft.read_barrier()).await, Ok(Ok(_)));
            inbox.event(Event::Barrier(number, passed));
        });
    }

    fn tell(&self, whom: Option<NodeId>, note: &Note) {
        if let Some(peers) = &self.peers {
            peers.tell(whom, note);
        }
    }

    fn cluster_time(&self) -> ClusterTime {
        self.raft.now()
    }

    fn ping(&self, address: Ipv4Addr) {
        if !self.pinger.ping(address) {
            self.inbox.event(Event::Unpinged(address));
        }
    }

    fn happened(&self, happening: Happening) {
        self.after.tell(happening);
    }
}

/// The running worker.
#[derive(Debug)]
pub struct Serve {
    inbox: Arc<Inbox>,
    counters: Arc<Counters>,
    sizes: Arc<Mutex<Sizes>>,
    thread: Option<JoinHandle<()>>,
}

impl Serve {
    /// Starts the worker thread.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(
        worker: Worker,
        inbox: Arc<Inbox>,
        state: Arc<RwLock<State>>,
        clock: Arc<dyn Clock>,
        hands: impl Hands,
    ) -> std::io::Result<Serve> {
        let counters = Arc::clone(worker.counters());
        let sizes = Arc::new(Mutex::new(Sizes::default()));
        let mut turn = Turn {
            worker,
            inbox: Arc::clone(&inbox),
            state,
            clock,
            hands,
            sizes: Arc::clone(&sizes),
        };
        let thread =
            std::thread::Builder::new().name("dhcp4 worker".into()).spawn(move || turn.run())?;
        Ok(Serve { inbox, counters, sizes, thread: Some(thread) })
    }

    /// Where packets and events go.
    pub fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// What the worker counts.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// How much it remembers, a moment ago.
    pub fn sizes(&self) -> Sizes {
        *self.sizes.lock()
    }

    /// Stops the worker and waits for it, for one batch at most.
    pub fn stop(&mut self) {
        self.inbox.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the packet worker ended with a panic");
        }
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The thread's own.
struct Turn<H> {
    worker: Worker,
    inbox: Arc<Inbox>,
    state: Arc<RwLock<State>>,
    clock: Arc<dyn Clock>,
    hands: H,
    sizes: Arc<Mutex<Sizes>>,
}

impl<H: Hands> Turn<H> {
    fn run(&mut self) {
        let (mut dropped, mut told) = (0, 0);
        loop {
            let mut until = self.worker.next_deadline();
            if self.worker.wants_entries() {
                until = until.min(boot(&*self.clock) + ENTRY_POLL);
            }
            let Some(taken) = self.inbox.take(BATCH, until, self.worker.room()) else { return };
            let out = self.handle(taken);
            self.act(out);
            *self.sizes.lock() = self.worker.sizes();
            let (_, full, _) = self.inbox.counts();
            self.worker.counters().queue_full.fetch_add(full - dropped, Relaxed);
            dropped = full;
            self.tell_of_overload(&mut told);
        }
    }

    /// A2: a line in ten seconds at most, with the number of packets.
    fn tell_of_overload(&self, told: &mut u64) {
        let counters = self.worker.counters();
        let (full, late) = (counters.queue_full.load(Relaxed), counters.queue_late.load(Relaxed));
        if full + late > *told {
            seldom!(
                warn,
                "overload",
                dropped = full + late,
                full,
                late,
                "more packets come than can be answered: the oldest are dropped unread (numbers since start)"
            );
        }
        *told = full + late;
    }

    fn handle(&mut self, taken: Taken) -> Vec<Action> {
        let Taken { events, packets } = taken;
        let mut out = Vec::new();
        // Before the lock: reading the lease clock takes one of its own.
        let now = Now { mono: boot(&*self.clock), cluster: self.hands.cluster_time() };
        let state = Arc::clone(&self.state);
        let state = state.read();
        for event in events {
            self.guarded(&mut out, "an event", |worker, out| worker.event(event, &state, now, out));
        }
        for (received, overdue) in packets {
            let hash = xxh3_64(&received.datagram.bytes);
            let what = || format!("the packet with hash {hash:016x}");
            self.guarded(&mut out, what, |worker, out| {
                worker.packet(received, overdue, &state, now, out)
            });
        }
        self.guarded(&mut out, "the clock", |worker, out| worker.tick(&state, now, out));
        out
    }

    /// A10: a panic costs this packet and the worker's memory, not the process.
    fn guarded(
        &mut self,
        out: &mut Vec<Action>,
        what: impl Described,
        step: impl FnOnce(&mut Worker, &mut Vec<Action>),
    ) {
        let worker = &mut self.worker;
        if catch_unwind(AssertUnwindSafe(|| step(worker, out))).is_err() {
            self.worker.counters().panics.fetch_add(1, Relaxed);
            seldom!(
                error,
                "panic",
                "a panic while handling {}: the worker starts anew",
                what.describe()
            );
            self.worker = self.worker.successor();
        }
    }

    fn act(&mut self, actions: Vec<Action>) {
        let mut submissions = Vec::new();
        for action in actions {
            match action {
                Action::Send(interface, reply, timed) => {
                    if self.hands.send(interface, &reply) {
                        self.worker.counters().tally.sent(reply.kind());
                        self.worker.counters().latencies.sent(timed);
                    } else {
                        self.worker.counters().send_failed.fetch_add(1, Relaxed);
                    }
                }
                Action::Submit(submission) => submissions.push(submission),
                Action::Barrier(number) => self.hands.barrier(number),
                Action::Tell(whom, note) => self.hands.tell(whom, &note),
                Action::Ping(address) => self.hands.ping(address),
                Action::Happened(happening) => self.hands.happened(*happening),
            }
        }
        if !submissions.is_empty() {
            let refused = self.hands.submit(submissions);
            if !refused.is_empty() {
                self.inbox.event(Event::Answers(refused));
            }
        }
    }
}

/// Words for a log line that is almost never written.
trait Described {
    fn describe(&self) -> String;
}

impl Described for &str {
    fn describe(&self) -> String {
        (*self).to_owned()
    }
}

impl<F: Fn() -> String> Described for F {
    fn describe(&self) -> String {
        self()
    }
}

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod tests;
