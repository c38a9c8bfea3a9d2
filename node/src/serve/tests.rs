//! The thread around the worker.

use std::net::SocketAddrV4;
use std::sync::mpsc;

use super::*;
use crate::clock::SystemClock;
use crate::dhcp::decision::ReplyKind;
use crate::dhcp::v4::Ports;
use crate::packet::v4::{MessageType, Query};
use crate::propose::Committed;
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
}

impl Hands for TestHands {
    fn send(&self, _: u32, reply: &Reply) -> bool {
        self.replies.send(reply.clone()).is_ok()
    }
    fn submit(&self, submissions: Vec<Submission<u64>>) -> Vec<(u64, Answer)> {
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
    let hands = TestHands { state: Arc::clone(&state), inbox: Arc::clone(&inbox), replies };
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
    let hands = TestHands { state: Arc::clone(&state), inbox: Arc::clone(&inbox), replies };
    let worker = Worker::new(NodeId(1), 1, Ports::STANDARD, Arc::default());
    let sizes = Arc::default();
    let mut turn = Turn { worker, inbox: Arc::clone(&inbox), state, clock, hands, sizes };
    inbox.event(Event::Majority(true));
    inbox.event(Event::ServeFrom(1));
    let mut out = Vec::new();
    let taken = turn.inbox.take(BATCH, Duration::ZERO).unwrap();
    out.extend(turn.handle(taken));
    turn.guarded(&mut out, "a test", |_, _| panic!("planted"));
    assert_eq!(turn.worker.counters().panics.load(Relaxed), 1);
    let mac = HwAddr::ethernet([2, 0, 0, 0, 0, 7]);
    inbox.packet(datagram(&Query::new(MessageType::Discover, 1, mac)));
    let taken = turn.inbox.take(BATCH, Duration::ZERO).unwrap();
    let actions = turn.handle(taken);
    turn.act(actions);
    assert_eq!(reply(&received).kind(), ReplyKind::Offer);
}

#[test]
fn a_closed_inbox_ends_the_thread() {
    let (mut serve, _, _) = start();
    serve.stop();
    assert!(serve.inbox().take(1, Duration::MAX).is_none());
}
