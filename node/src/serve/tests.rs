//! The thread around the worker.

use std::net::SocketAddrV4;
use std::sync::mpsc;

use super::*;
use crate::clock::{ManualClock, SystemClock};
use crate::dhcp::decision::ReplyKind;
use crate::dhcp::v4::Ports;
use crate::packet::v4::{MessageType, Query};
use crate::propose::Committed;
use crate::serve::queue::Room;
use crate::serve::worker::COMMIT_BELOW;
use crate::state::{Batch, Command, SetConfig};
use crate::types::HwAddr;

const CONFIG: &str = r#"{"Dhcp4": {
    "valid-lifetime": 3600, "interfaces-config": {"interfaces": ["eth0"]},
    "subnet4": [{"id": 1, "subnet": "192.0.2.0/24", "pools": [{"pool": "192.0.2.100 - 192.0.2.199"}]}]
}}"#;

/// Hands that apply what they are given, and can be made to panic when they are to tell the time.
struct TestHands {
    state: Arc<RwLock<State>>,
    inbox: Arc<Inbox>,
    replies: mpsc::Sender<Reply>,
    /// A log that stands still: what was handed to it.
    stopped: Option<Handed>,
}

type Handed = Arc<Mutex<Vec<Submission<u64>>>>;

impl Hands for TestHands {
    fn send(&self, _: u32, reply: &Reply) -> bool {
        self.replies.send(reply.clone()).is_ok()
    }
    fn submit(&self, submissions: Vec<Submission<u64>>) -> Vec<(u64, Answer)> {
        if let Some(handed) = &self.stopped {
            handed.lock().extend(submissions);
            return Vec::new();
        }
        let mut state = self.state.write();
        let (index, stamp) = (state.applied() + 1, self.cluster_time());
        let (tickets, commands): (Vec<u64>, Vec<Command>) =
            submissions.into_iter().map(|it| (it.ticket, it.command)).unzip();
        let outcomes = state.apply(index, &Batch { stamp, commands });
        drop(state);
        let answer = |outcome| Answer::Committed(Committed { outcome, index, stamp });
        self.inbox.event(Event::Answers(
            tickets.into_iter().zip(outcomes.into_iter().map(answer)).collect(),
        ));
        Vec::new()
    }
    fn barrier(&self, number: u64) {
        self.inbox.event(Event::Barrier(number, true));
    }
    fn tell(&self, _: Option<NodeId>, _: &Note) {}
    fn cluster_time(&self) -> ClusterTime {
        ClusterTime::from_millis(SystemClock.boottime())
    }
    fn ping(&self, _: std::net::Ipv4Addr) {}
    fn happened(&self, _: Happening) {}
}

fn datagram(query: &Query) -> net::Received {
    let arrival = net::Arrival {
        interface: "eth0".into(),
        index: 3,
        mtu: 1500,
        interface_address: [192, 0, 2, 1].into(),
        source: SocketAddrV4::new([0, 0, 0, 0].into(), 68),
        destination: [255, 255, 255, 255].into(),
        source_mac: Some([2, 0, 0, 0, 0, 1]),
        broadcast: true,
    };
    net::Received { bytes: query.encode(), arrival, came: crate::clock::instant() }
}

fn start() -> (Serve, Arc<RwLock<State>>, mpsc::Receiver<Reply>) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let state = Arc::new(RwLock::new(State::new()));
    let inbox = Arc::new(Inbox::new(Arc::clone(&clock)));
    let (replies, received) = mpsc::channel();
    let set = Command::SetConfig(SetConfig::json(CONFIG));
    state.write().apply(1, &Batch { stamp: ClusterTime::ZERO, commands: vec![set] });
    let hands =
        TestHands { state: Arc::clone(&state), inbox: Arc::clone(&inbox), replies, stopped: None };
    let worker = Worker::new(NodeId(1), 1, Ports::STANDARD, Arc::default());
    let serve = Serve::start(worker, inbox, Arc::clone(&state), clock, hands).unwrap();
    serve.inbox().event(Event::Listening(vec![[192, 0, 2, 1].into()], link::Links::default()));
    serve.inbox().event(Event::Majority(true));
    serve.inbox().event(Event::ServeFrom(1));
    (serve, state, received)
}

fn reply(received: &mpsc::Receiver<Reply>) -> Reply {
    received.recv_timeout(Duration::from_secs(10)).expect("a reply")
}

#[test]
fn a_client_gets_its_lease_through_the_thread() {
    let (serve, state, received) = start();
    let mac = HwAddr::ethernet([2, 0, 0, 0, 0, 7]);
    serve.inbox().packet(datagram(&Query::new(MessageType::Discover, 1, mac)));
    let offer = reply(&received);
    assert_eq!(offer.kind(), ReplyKind::Offer);
    let address = offer.answered().address.unwrap();
    let request = Query::new(MessageType::Request, 2, mac);
    serve
        .inbox()
        .packet(datagram(&request.requested_address(address).server_id([192, 0, 2, 1].into())));
    assert_eq!(reply(&received).kind(), ReplyKind::Ack);
    assert!(state.read().view().lease(address).is_some());
}

#[test]
fn a10_a_panic_costs_the_workers_memory_and_nothing_else() {
    let (_, state, _) = start();
    let (replies, received) = mpsc::channel();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let inbox = Arc::new(Inbox::new(Arc::clone(&clock)));
    let hands =
        TestHands { state: Arc::clone(&state), inbox: Arc::clone(&inbox), replies, stopped: None };
    let worker = Worker::new(NodeId(1), 1, Ports::STANDARD, Arc::default());
    let sizes = Arc::default();
    let mut turn = Turn { worker, inbox: Arc::clone(&inbox), state, clock, hands, sizes };
    inbox.event(Event::Majority(true));
    inbox.event(Event::ServeFrom(1));
    let mut out = Vec::new();
    let taken = turn.inbox.take(BATCH, Duration::ZERO, Room::Everything).unwrap();
    out.extend(turn.handle(taken));
    turn.guarded(&mut out, "a test", |_, _| panic!("planted"));
    assert_eq!(turn.worker.counters().panics.load(Relaxed), 1);
    let mac = HwAddr::ethernet([2, 0, 0, 0, 0, 7]);
    inbox.packet(datagram(&Query::new(MessageType::Discover, 1, mac)));
    let taken = turn.inbox.take(BATCH, Duration::ZERO, Room::Everything).unwrap();
    let actions = turn.handle(taken);
    turn.act(actions);
    assert_eq!(reply(&received).kind(), ReplyKind::Offer);
}

/// A worker whose log stands still, without a thread and on a clock that stands.
struct Standstill {
    turn: Turn<TestHands>,
    handed: Handed,
    replies: mpsc::Receiver<Reply>,
}

impl Standstill {
    fn new() -> Standstill {
        let manual = ManualClock::default();
        manual.advance(Duration::from_secs(100));
        let clock: Arc<dyn Clock> = Arc::new(manual);
        let state = Arc::new(RwLock::new(State::new()));
        let wide = CONFIG
            .replace("192.0.2.0/24", "192.0.0.0/16")
            .replace("192.0.2.100 - 192.0.2.199", "192.0.16.0 - 192.0.127.255");
        let set = Command::SetConfig(SetConfig::json(&wide));
        state.write().apply(1, &Batch { stamp: ClusterTime::ZERO, commands: vec![set] });
        let inbox = Arc::new(Inbox::new(Arc::clone(&clock)));
        let (sender, replies) = mpsc::channel();
        let handed = Handed::default();
        let hands = TestHands {
            state: Arc::clone(&state),
            inbox: Arc::clone(&inbox),
            replies: sender,
            stopped: Some(Arc::clone(&handed)),
        };
        let worker = Worker::new(NodeId(1), 1, Ports::STANDARD, Arc::default());
        let sizes = Arc::default();
        let turn = Turn { worker, inbox, state, clock, hands, sizes };
        for event in [
            Event::Listening(vec![[192, 0, 2, 1].into()], link::Links::default()),
            Event::Majority(true),
            Event::ServeFrom(1),
        ] {
            turn.inbox.event(event);
        }
        Standstill { turn, handed, replies }
    }

    fn send(&self, query: &Query) {
        self.turn.inbox.packet(datagram(query));
    }

    /// Works on what there is room for; gives the kinds of the replies.
    fn work(&mut self) -> Vec<ReplyKind> {
        loop {
            let room = self.turn.worker.room();
            let taken = self.turn.inbox.take(BATCH, Duration::ZERO, room).unwrap();
            let idle = taken.packets.is_empty() && taken.events.is_empty();
            let out = self.turn.handle(taken);
            self.turn.act(out);
            if idle {
                return self.replies.try_iter().map(|reply| reply.kind()).collect();
            }
        }
    }

    fn count(&self, name: &str) -> u64 {
        let counters = self.turn.worker.counters().named();
        counters.iter().find(|(it, _)| *it == name).unwrap().1
    }
}

fn numbered(n: u32) -> HwAddr {
    let [_, a, b, c] = n.to_be_bytes();
    HwAddr::ethernet([2, 0, 0, a, b, c])
}

/// SELECTING of client `n`, for an address of its own.
fn selecting(n: u32) -> Query {
    let [.., high, low] = n.to_be_bytes();
    Query::new(MessageType::Request, n, numbered(n))
        .requested_address([192, 0, 16 + high, low].into())
        .server_id([192, 0, 2, 1].into())
}

#[test]
fn a2_behind_a_log_that_stands_still_nothing_piles_up_and_nothing_is_lost_for_good() {
    let mut node = Standstill::new();
    let discover = |n| Query::new(MessageType::Discover, n, numbered(n));
    (0..100).for_each(|n| node.send(&discover(n)));
    assert_eq!(node.work(), [ReplyKind::Offer; 100]);
    // Half as many REQUESTs as there may be under way: everything goes on.
    (1_000..1_256).for_each(|n| node.send(&selecting(n)));
    node.send(&discover(100));
    assert_eq!(node.work(), [ReplyKind::Offer]);
    // A flood: what there is room for is proposed, the rest waits, and nobody is offered anything.
    (2_000..14_000).for_each(|n| node.send(&selecting(n)));
    (200..300).for_each(|n| node.send(&discover(n)));
    assert!(node.work().is_empty());
    let flying = node.turn.worker.sizes().flying;
    assert!((COMMIT_BELOW..COMMIT_BELOW + BATCH).contains(&flying), "{flying}");
    assert_eq!(node.handed.lock().len(), flying, "the log is not asked for more than it gets");
    let (waiting, dropped, _) = node.turn.inbox.counts();
    assert!(waiting <= queue::PACKETS, "{waiting}");
    assert_eq!(waiting + dropped as usize + flying, 256 + 12_000 + 100);
    // No outcome is silence, and what was offered stays offered (C12, M3).
    let answers: Vec<(u64, Answer)> = std::mem::take(&mut *node.handed.lock())
        .into_iter()
        .zip([Answer::Unknown, Answer::Unsent(crate::propose::Unsent::Full)].into_iter().cycle())
        .map(|(submission, answer)| (submission.ticket, answer))
        .collect();
    node.turn.inbox.event(Event::Answers(answers));
    assert!(node.work().is_empty());
    assert_eq!(node.count("unanswered"), flying as u64);
    assert_eq!(node.turn.worker.sizes().holds, 101);
    // The log moves again: who repeats is answered.
    node.turn.hands.stopped = None;
    node.send(&selecting(1_000));
    let mut handed = std::mem::take(&mut *node.handed.lock());
    while !handed.is_empty() {
        let entry = handed.drain(..handed.len().min(Batch::MAX)).collect();
        node.turn.hands.submit(entry);
    }
    assert!(node.work().contains(&ReplyKind::Ack));
    let state = Arc::clone(&node.turn.state);
    let lease = state.read().view().lease([192, 0, 19, 232].into()).cloned();
    assert!(lease.is_some(), "client 1000 has its address");
    assert_eq!(node.turn.worker.sizes().flying, 0);
}

#[test]
fn s11_the_time_in_the_kernels_queue_counts_as_waiting() {
    let mut node = Standstill::new();
    node.work();
    let mut late = datagram(&Query::new(MessageType::Discover, 1, numbered(1)));
    late.came = late.came.checked_sub(Duration::from_millis(2_100)).unwrap();
    node.turn.inbox.packet(late);
    assert!(node.work().is_empty());
    assert_eq!(node.count("queue_late"), 1);
}

#[test]
fn a_closed_inbox_ends_the_thread() {
    let (mut serve, _, _) = start();
    serve.stop();
    assert!(serve.inbox().take(1, Duration::MAX, Room::Everything).is_none());
}
