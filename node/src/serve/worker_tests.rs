use std::net::SocketAddrV4;

use super::*;
use crate::packet::v4::{MessageType, Query, codes};
use crate::propose::batch::Committed;
use crate::state::{Batch, Liveness, NodeInfo, SetConfig};
use crate::types::HwAddr;

const CONFIG: &str = r#"{"Dhcp4": {
    "valid-lifetime": 3600, "authoritative": true,
    "interfaces-config": {"interfaces": ["eth0"]},
    "subnet4": [{"id": 1, "subnet": "192.0.2.0/24", "pools": [{"pool": "192.0.2.100 - 192.0.2.199"}]}]
}}"#;

/// The document with more keywords.
fn with(more: &str) -> String {
    CONFIG.replace(r#"{"Dhcp4": {"#, &format!(r#"{{"Dhcp4": {{ {more}"#))
}

const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn mac(n: u8) -> HwAddr {
    HwAddr::ethernet([2, 0, 0, 0, 0, n])
}

fn discover(n: u8, xid: u32) -> Query {
    Query::new(MessageType::Discover, xid, mac(n))
}

fn selecting(n: u8, xid: u32, want: Ipv4Addr) -> Query {
    Query::new(MessageType::Request, xid, mac(n)).requested_address(want).server_id(OWN)
}

fn release(n: u8, address: Ipv4Addr) -> Query {
    Query::new(MessageType::Release, 9, mac(n)).ciaddr(address).server_id(OWN)
}

/// A node without sockets and without Raft: the test says when entries are applied and what comes
/// of commands.
struct Rig {
    worker: Worker,
    state: State,
    time: u64,
    counters: Arc<Counters>,
    sent: Vec<Reply>,
    submitted: Vec<Submission<Ticket>>,
    barriers: Vec<u64>,
    told: Vec<(Option<NodeId>, Note)>,
    happened: Vec<Happening>,
    pinged: Vec<Ipv4Addr>,
}

/// The xid of the REQUEST in [`Rig::bind`].
const BOUND: u32 = 2;

impl Rig {
    /// Node 1 of `nodes`, which has caught up, hears a leader, and is connected to its peers.
    fn new(nodes: u64) -> Rig {
        Rig::configured(nodes, CONFIG)
    }

    /// [`Rig::new`] with this document.
    fn configured(nodes: u64, config: &str) -> Rig {
        let counters = Arc::new(Counters::default());
        let worker = Worker::new(NodeId(1), 77, Ports::STANDARD, Arc::clone(&counters));
        let mut rig = Rig {
            worker,
            state: State::new(),
            time: 1_000,
            counters,
            sent: Vec::new(),
            submitted: Vec::new(),
            barriers: Vec::new(),
            told: Vec::new(),
            happened: Vec::new(),
            pinged: Vec::new(),
        };
        let set = rig.apply(Command::SetConfig(SetConfig::json(config)));
        assert!(matches!(set.outcome, Outcome::ConfigSet(_)), "{set:?}");
        for n in 1..=nodes {
            rig.apply(Command::NodeInfo(NodeInfo {
                node: NodeId(n),
                name: format!("node-{n}"),
                rack: String::new(),
                peer_address: String::new(),
                control: Vec::new(),
                identities: vec![Ipv4Addr::new(192, 0, 2, n as u8)],
                version: String::new(),
                level: 0,
            }));
            rig.apply(Command::NodeLiveness(NodeId(n), Liveness::Up));
        }
        rig.event(Event::Listening(vec![OWN], Links::default()));
        rig.event(Event::Majority(true));
        rig.event(Event::ServeFrom(1));
        for n in 2..=nodes {
            rig.event(Event::PeerConnected(NodeId(n)));
        }
        rig.pass(0);
        rig.told.clear();
        rig
    }

    fn now(&self) -> Now {
        Now { mono: ms(self.time), cluster: ClusterTime::from_millis(self.time) }
    }

    fn apply(&mut self, command: Command) -> Committed {
        let (index, stamp) = (self.state.applied() + 1, ClusterTime::from_millis(self.time));
        let outcome = self.state.apply(index, &Batch { stamp, commands: vec![command] }).remove(0);
        Committed { outcome, index, stamp }
    }

    fn packet(&mut self, query: &Query) {
        self.packet_late(query, 0, false);
    }

    fn packet_late(&mut self, query: &Query, age: u64, overdue: bool) {
        let unicast = query.message().ciaddr() != Ipv4Addr::UNSPECIFIED;
        let source = if unicast { query.message().ciaddr() } else { Ipv4Addr::UNSPECIFIED };
        let arrival = net::Arrival {
            interface: "eth0".into(),
            index: 3,
            mtu: 1500,
            interface_address: OWN,
            source: SocketAddrV4::new(source, 68),
            destination: if unicast { OWN } else { Ipv4Addr::BROADCAST },
            source_mac: Some([2, 0, 0, 0, 0, 1]),
            broadcast: !unicast,
        };
        let datagram =
            net::Received { bytes: query.encode(), arrival, came: crate::clock::instant() };
        let received = Received { datagram, at: ms(self.time - age) };
        let (mut out, now) = (Vec::new(), self.now());
        self.worker.packet(received, overdue, &self.state, now, &mut out);
        self.collect(out);
    }

    fn event(&mut self, event: Event) {
        let (mut out, now) = (Vec::new(), self.now());
        self.worker.event(event, &self.state, now, &mut out);
        self.collect(out);
    }

    fn pass(&mut self, millis: u64) {
        self.time += millis;
        let (mut out, now) = (Vec::new(), self.now());
        self.worker.tick(&self.state, now, &mut out);
        self.collect(out);
    }

    fn collect(&mut self, out: Vec<Action>) {
        for action in out {
            match action {
                Action::Send(interface, reply, _) => {
                    assert_eq!(interface, 3, "out of the interface the query came by");
                    self.sent.push(reply);
                }
                Action::Submit(submission) => self.submitted.push(submission),
                Action::Barrier(number) => self.barriers.push(number),
                Action::Tell(whom, note) => self.told.push((whom, note)),
                Action::Happened(happening) => self.happened.push(*happening),
                Action::Ping(address) => self.pinged.push(address),
            }
        }
    }

    /// Everybody hears the link of subnet 1.
    fn all_hear(&mut self) {
        let heard = vec![(Link::Subnet(crate::types::SubnetId(1)), 1)];
        for n in 2..=3 {
            self.event(Event::Note(NodeId(n), Note { heard: heard.clone(), ..Note::default() }));
        }
    }

    /// Commits the oldest submitted command; the worker learns it.
    fn commit(&mut self) {
        let submission = self.submitted.remove(0);
        let committed = self.apply(submission.command);
        self.event(Event::Answers(vec![(submission.ticket, Answer::Committed(committed))]));
    }

    fn answer_unknown(&mut self) {
        let submission = self.submitted.remove(0);
        self.event(Event::Answers(vec![(submission.ticket, Answer::Unknown)]));
    }

    fn kinds(&self) -> Vec<ReplyKind> {
        self.sent.iter().map(Reply::kind).collect()
    }

    fn last_reply(&self) -> Message {
        Message::parse_reply(self.sent.last().expect("a reply").payload()).unwrap()
    }

    /// DISCOVER to ACK for client `n`; returns its address.
    fn bind(&mut self, n: u8) -> Ipv4Addr {
        self.packet(&discover(n, 1));
        let address = self.last_reply().yiaddr();
        self.packet(&selecting(n, BOUND, address));
        self.commit();
        assert_eq!(self.kinds(), [ReplyKind::Offer, ReplyKind::Ack]);
        self.sent.clear();
        address
    }

    fn count(&self, name: &str) -> u64 {
        self.counters.named().into_iter().find(|(n, _)| *n == name).expect("a counter").1
    }

    fn dropped(&self, reason: Reason) -> u64 {
        self.counters.reasons().find(|(r, _)| *r == reason).expect("a reason").1
    }
}

#[test]
fn m3_a_discover_that_is_repeated_gets_the_same_address() {
    let mut rig = Rig::new(1);
    rig.packet(&discover(1, 1));
    rig.packet(&discover(1, 2));
    rig.packet(&discover(2, 3));
    assert_eq!(rig.kinds(), [ReplyKind::Offer; 3]);
    let offered: Vec<_> = rig.sent.iter().map(|reply| reply.answered().address).collect();
    assert_eq!(offered[0], offered[1]);
    assert_ne!(offered[0], offered[2]);
    assert!(rig.submitted.is_empty(), "an OFFER needs no agreement");
    assert_eq!(rig.worker.sizes().holds, 2);
}

#[test]
fn m6_the_ack_leaves_after_the_commit() {
    let mut rig = Rig::new(1);
    rig.packet(&discover(1, 1));
    let address = rig.last_reply().yiaddr();
    rig.packet(&selecting(1, 2, address));
    assert_eq!(rig.kinds(), [ReplyKind::Offer]);
    assert_eq!(rig.submitted[0].deadline, ms(rig.time + 2_000));
    rig.commit();
    assert_eq!(rig.kinds(), [ReplyKind::Offer, ReplyKind::Ack]);
    assert_eq!(rig.last_reply().yiaddr(), address);
    assert_eq!(rig.worker.sizes().holds, 0, "the lease takes the place of the hold");
}

#[test]
fn m7_repeats_during_the_commit_are_absorbed_and_the_newest_xid_is_answered() {
    let mut rig = Rig::new(1);
    rig.packet(&discover(1, 1));
    let address = rig.last_reply().yiaddr();
    rig.sent.clear();
    for xid in [5, 5, 6] {
        rig.packet(&selecting(1, xid, address));
    }
    assert_eq!(rig.submitted.len(), 1);
    assert_eq!(rig.count("absorbed"), 2);
    rig.commit();
    assert_eq!(rig.kinds(), [ReplyKind::Ack]);
    assert_eq!(rig.last_reply().xid(), 6);
}

#[test]
fn m7_for_3_s_a_repeat_is_answered_from_the_grant() {
    let mut rig = Rig::new(1);
    let address = rig.bind(1);
    rig.pass(2_900);
    rig.packet(&selecting(1, BOUND, address));
    assert_eq!(rig.kinds(), [ReplyKind::Ack]);
    assert_eq!(rig.last_reply().xid(), BOUND);
    assert!(rig.submitted.is_empty());
    rig.pass(200);
    rig.packet(&selecting(1, BOUND, address));
    assert_eq!(rig.submitted.len(), 1, "later it is a request like any other");
}

/// What the client asked for in between may be on its way through another node, and would retire what an old grant says.
#[test]
fn m7_a_client_that_has_begun_anew_repeats_nothing() {
    let mut rig = Rig::new(1);
    let address = rig.bind(1);
    rig.packet(&selecting(1, BOUND + 1, address));
    assert!(rig.sent.is_empty());
    assert_eq!(rig.submitted.len(), 1, "another xid");

    let mut rig = Rig::new(1);
    let address = rig.bind(1);
    rig.packet(&discover(1, BOUND));
    rig.sent.clear();
    rig.packet(&selecting(1, BOUND, address));
    assert!(rig.sent.is_empty());
    assert_eq!(rig.submitted.len(), 1, "some keep one xid as long as they run");

    let mut rig = Rig::new(1);
    rig.packet(&discover(1, 1));
    let address = rig.last_reply().yiaddr();
    rig.packet(&selecting(1, 1, address));
    rig.packet(&discover(1, 2));
    rig.packet(&selecting(1, 2, address));
    assert_eq!(rig.submitted.len(), 2, "not absorbed by what is on its way");
}

#[test]
fn r4_no_repeat_is_answered_from_a_grant_that_has_ended() {
    let mut rig = Rig::new(1);
    let address = rig.bind(1);
    rig.packet(&release(1, address));
    rig.packet(&selecting(1, BOUND, address));
    assert!(rig.sent.is_empty(), "this node has heard the release itself");

    let mut rig = Rig::new(1);
    let address = rig.bind(1);
    let lease = Arc::clone(rig.state.view().lease(address).unwrap());
    let client = crate::state::Client { id: None, hw: mac(1), match_id: true, claims: None };
    let give_up = crate::state::GiveUp {
        origin: Origin { node: NodeId(2), incarnation: 1, sequence: 1 },
        client,
        address,
        generation: Some(lease.generation),
        arrived: ClusterTime::from_millis(rig.time),
        circuit: 0,
        relayed: false,
    };
    assert_eq!(rig.apply(Command::Release(give_up)).outcome, Outcome::GivenUp);
    rig.packet(&selecting(1, BOUND, address));
    assert!(rig.sent.is_empty(), "another node has; the applied state says so");
    assert_eq!(rig.submitted.len(), 1);
}

#[test]
fn s11_a_packet_that_waited_too_long_is_not_read() {
    let mut rig = Rig::new(1);
    rig.packet_late(&discover(1, 1), 500, true);
    assert!(rig.sent.is_empty());
    assert_eq!(rig.count("queue_late"), 1);
}

#[test]
fn r4_an_answer_that_is_too_late_is_not_sent() {
    let mut rig = Rig::new(1);
    rig.packet(&discover(1, 1));
    let address = rig.last_reply().yiaddr();
    rig.sent.clear();
    rig.packet(&selecting(1, 2, address));
    rig.time += 2_001;
    rig.commit();
    assert!(rig.sent.is_empty());
    assert_eq!(rig.dropped(Reason::Late), 1);
}

#[test]
fn r17_the_first_packet_on_an_unreported_link_waits_for_the_peers() {
    let mut rig = Rig::new(3);
    rig.packet(&discover(1, 1));
    assert!(rig.sent.is_empty());
    let heard = vec![(Link::Subnet(crate::types::SubnetId(1)), 1)];
    assert_eq!(rig.told.len(), 1, "a heard-note at once");
    assert_eq!((rig.told[0].0, &rig.told[0].1.heard), (None, &heard));
    assert_eq!(rig.worker.next_deadline(), ms(1_050));
    rig.packet(&discover(2, 2));
    assert_eq!(rig.told.len(), 1);
    rig.pass(49);
    assert!(rig.sent.is_empty());
    rig.pass(1);
    assert_eq!(rig.kinds(), [ReplyKind::Offer; 2], "nobody else hears the link");
    rig.packet(&discover(3, 3));
    assert_eq!(rig.kinds(), [ReplyKind::Offer; 3], "from then on nobody waits");
}

#[test]
fn r17_nobody_waits_longer_than_until_all_peers_have_spoken() {
    let mut rig = Rig::new(3);
    for n in 1..=20 {
        rig.packet(&discover(n, 1));
    }
    let heard = vec![(Link::Subnet(crate::types::SubnetId(1)), 1)];
    rig.event(Event::Note(NodeId(2), Note { heard: heard.clone(), ..Note::default() }));
    assert!(rig.sent.is_empty());
    rig.event(Event::Note(NodeId(3), Note { heard, ..Note::default() }));
    let (answered, left) = (rig.sent.len() as u64, rig.count("shadowed"));
    assert_eq!(answered + left, 20);
    assert!(answered > 0 && left > 0, "each node owns some: {answered} here, {left} elsewhere");
}

#[test]
fn r17_a_peer_that_was_silent_for_a_moment_has_missed_nothing() {
    let mut rig = Rig::new(3);
    for n in 2..=3 {
        rig.event(Event::PeerSuspected(NodeId(n), true));
    }
    rig.packet(&discover(1, 1));
    let heard = vec![(Link::Subnet(crate::types::SubnetId(1)), 1)];
    assert_eq!(rig.told.len(), 1, "they are told all the same");
    rig.pass(50);
    assert_eq!(rig.kinds(), [ReplyKind::Offer]);
    rig.told.clear();
    rig.event(Event::PeerSuspected(NodeId(2), false));
    assert_eq!(
        rig.told.last().map(|(whom, note)| (*whom, &note.heard)),
        Some((Some(NodeId(2)), &heard))
    );
}

#[test]
fn r17_a_silent_peer_is_not_waited_for() {
    let mut rig = Rig::new(3);
    rig.event(Event::PeerSuspected(NodeId(3), true));
    for n in 1..=20 {
        rig.packet(&discover(n, 1));
    }
    let heard = vec![(Link::Subnet(crate::types::SubnetId(1)), 1)];
    rig.event(Event::Note(NodeId(2), Note { heard, ..Note::default() }));
    assert_eq!(rig.sent.len() as u64 + rig.count("shadowed"), 20);
}

#[test]
fn a_cluster_of_one_asks_nobody() {
    let mut rig = Rig::new(1);
    rig.packet(&discover(1, 1));
    assert_eq!(rig.kinds(), [ReplyKind::Offer]);
    rig.pass(1_000);
    assert!(rig.told.is_empty());
}

/// A client that another node owns.
fn foreign(rig: &mut Rig) -> u8 {
    rig.all_hear();
    let client = (1..=100).find(|n| {
        let before = rig.count("shadowed");
        rig.packet(&discover(*n, 1));
        rig.count("shadowed") > before
    });
    rig.sent.clear();
    client.expect("a client of another node")
}

#[test]
fn c2_c4_another_nodes_client_is_answered_when_it_has_tried_often_enough() {
    let mut rig = Rig::new(3);
    let client = foreign(&mut rig);
    let mut tries = 1;
    while rig.sent.is_empty() && tries < 5 {
        rig.pass(4_000);
        rig.packet(&discover(client, 1));
        tries += 1;
    }
    assert!(
        (2..=3).contains(&tries),
        "second in order on the second try, third on the third: {tries}"
    );
    assert_eq!(rig.kinds(), [ReplyKind::Offer]);
}

#[test]
fn c4_a_sign_of_the_owner_keeps_the_others_silent() {
    let mut rig = Rig::new(3);
    let client = foreign(&mut rig);
    for try_ in 2..6 {
        let answered = crate::dhcp::decision::Answered {
            client: crate::types::ClientKey::Hw(mac(client)),
            kind: ReplyKind::Offer,
            address: Some(Ipv4Addr::new(192, 0, 2, 150)),
            identity: Ipv4Addr::new(192, 0, 2, 2),
        };
        rig.event(Event::Note(NodeId(2), Note { answered: vec![answered], ..Note::default() }));
        rig.pass(4_000);
        rig.packet(&discover(client, try_));
        assert!(rig.sent.is_empty(), "try {try_}");
    }
}

#[test]
fn r16_a_dead_node_is_not_waited_for() {
    let mut rig = Rig::new(3);
    let client = foreign(&mut rig);
    rig.apply(Command::NodeLiveness(NodeId(2), Liveness::Down));
    rig.apply(Command::NodeLiveness(NodeId(3), Liveness::Down));
    rig.packet(&discover(client, 1));
    assert_eq!(rig.kinds(), [ReplyKind::Offer]);
}

#[test]
fn c2a_answers_are_told_every_100_ms() {
    let mut rig = Rig::new(3);
    rig.all_hear();
    // The first packet here has a note of its own: this node hears the link.
    rig.packet(&discover(99, 1));
    rig.pass(100);
    rig.told.clear();
    let before = rig.sent.len();
    for n in 1..=20 {
        rig.packet(&discover(n, 1));
    }
    let mine = rig.sent.len() - before;
    rig.pass(99);
    assert!(rig.told.is_empty());
    rig.pass(1);
    assert_eq!(rig.told.len(), 1);
    assert_eq!(rig.told[0].1.answered.len(), mine);
}

#[test]
fn c11_a_nak_waits_for_a_read_barrier_that_began_after_its_packet() {
    let mut rig = Rig::new(1);
    // INIT-REBOOT with an address of another network: to be refused, since we are authoritative.
    let stray =
        |n| Query::new(MessageType::Request, 4, mac(n)).requested_address([10, 0, 0, 1].into());
    rig.packet(&stray(1));
    assert!(rig.sent.is_empty());
    assert_eq!(rig.barriers, [1]);
    rig.packet(&stray(2));
    rig.packet(&stray(3));
    assert_eq!(rig.barriers, [1], "the next barrier begins when the first has passed");
    rig.event(Event::Barrier(1, true));
    assert_eq!(rig.kinds(), [ReplyKind::Nak]);
    assert_eq!(rig.barriers, [1, 2]);
    rig.event(Event::Barrier(2, true));
    assert_eq!(rig.kinds(), [ReplyKind::Nak; 3], "one barrier for both");
    assert_eq!(rig.last_reply().option(codes::MESSAGE_TYPE).as_deref(), Some(&[6_u8][..]));
}

#[test]
fn c11_without_a_barrier_there_is_no_nak() {
    let mut rig = Rig::new(1);
    rig.packet(
        &Query::new(MessageType::Request, 4, mac(1)).requested_address([10, 0, 0, 1].into()),
    );
    rig.event(Event::Barrier(1, false));
    assert!(rig.sent.is_empty());
    assert_eq!(rig.count("no_barrier"), 1);
    rig.event(Event::Barrier(1, true));
    assert!(rig.sent.is_empty(), "an answer that comes twice counts once");
}

#[test]
fn c12_without_a_majority_there_is_silence() {
    let mut rig = Rig::new(1);
    let address = rig.bind(1);
    rig.event(Event::Majority(false));
    rig.packet(&discover(2, 1));
    rig.pass(4_000);
    rig.packet(&selecting(1, 3, address));
    rig.answer_unknown();
    assert!(rig.sent.is_empty());
    assert_eq!((rig.count("no_majority"), rig.count("unknown")), (1, 1));
    // The client asks again, the majority is back.
    rig.event(Event::Majority(true));
    rig.packet(&selecting(1, 4, address));
    rig.commit();
    assert_eq!(rig.kinds(), [ReplyKind::Ack]);
}

#[test]
fn a2_releases_under_way_take_room_as_requests_do() {
    let mut rig = Rig::new(1);
    for n in 0..BEGIN_BELOW as u16 {
        let [high, low] = n.to_be_bytes();
        let client = HwAddr::ethernet([2, 0, 0, 1, high, low]);
        let query = Query::new(MessageType::Release, 9, client);
        rig.packet(&query.ciaddr(Ipv4Addr::new(192, 0, 2, 100)).server_id(OWN));
    }
    assert_eq!((rig.submitted.len(), rig.worker.room()), (BEGIN_BELOW, Room::Changes));
    while !rig.submitted.is_empty() {
        rig.commit();
    }
    assert_eq!(rig.worker.room(), Room::Everything);
}

#[test]
fn c12_a_release_is_kept_until_the_majority_is_back() {
    let mut rig = Rig::new(1);
    let address = rig.bind(1);
    rig.packet(&release(1, address));
    rig.answer_unknown();
    assert_eq!(rig.worker.sizes().kept, 1);
    for _ in 0..5 {
        rig.pass(1_000);
        assert_eq!(rig.submitted.len(), 1, "tried every second");
        rig.answer_unknown();
    }
    rig.pass(300_000);
    rig.commit();
    assert_eq!(rig.state.view().lease(address).map(|lease| lease.state.blocks()), Some(false));
    rig.pass(2_000);
    assert!(rig.submitted.is_empty());
    assert_eq!(rig.worker.sizes().kept, 0);
}

#[test]
fn c12_a_release_is_given_up_after_10_minutes() {
    let mut rig = Rig::new(1);
    let address = rig.bind(1);
    rig.packet(&release(1, address));
    rig.answer_unknown();
    rig.pass(600_001);
    assert!(rig.submitted.is_empty());
    assert_eq!(rig.count("abandoned"), 1);
}

#[test]
fn c10_a_decline_is_proposed_by_rank_and_spared_when_it_has_had_its_effect() {
    let mut immediate = 0;
    let mut spared = 0;
    for n in 1..=12 {
        let mut rig = Rig::new(3);
        rig.all_hear();
        // Bound through this node, whoever owns the client.
        let address = Ipv4Addr::new(192, 0, 2, 100 + n);
        rig.packet(&selecting(n, 2, address));
        rig.commit();
        let decline = Query::new(MessageType::Decline, 3, mac(n)).requested_address(address);
        rig.packet(&decline);
        if let Some(first) = rig.submitted.first() {
            assert!(matches!(first.command, Command::Decline(_)));
            immediate += 1;
            continue;
        }
        rig.pass(199);
        assert!(rig.submitted.is_empty());
        // The first in order has it applied.
        let lease = Arc::clone(rig.state.view().lease(address).unwrap());
        let give_up = crate::state::GiveUp {
            origin: Origin { node: NodeId(2), incarnation: 1, sequence: 1 },
            client: crate::state::Client { id: None, hw: mac(n), match_id: true, claims: None },
            address,
            generation: Some(lease.generation),
            arrived: ClusterTime::from_millis(rig.time),
            circuit: 0,
            relayed: false,
        };
        assert_eq!(rig.apply(Command::Decline(give_up)).outcome, Outcome::GivenUp);
        rig.pass(300);
        assert!(rig.submitted.is_empty());
        assert_eq!(rig.count("spared"), 1);
        spared += 1;
    }
    assert!(immediate > 0 && spared > 0, "{immediate} first in order, {spared} not");
}

#[test]
fn c15_a_node_answers_nothing_before_it_has_caught_up() {
    let mut rig = Rig::new(1);
    rig.event(Event::ServeFrom(rig.state.applied() + 1));
    rig.packet(&discover(1, 1));
    rig.packet(&selecting(2, 2, [192, 0, 2, 120].into()));
    assert!(rig.sent.is_empty() && rig.submitted.is_empty());
    assert_eq!(rig.dropped(Reason::NotReady), 2);
    rig.apply(Command::Tick);
    rig.packet(&discover(1, 3));
    assert_eq!(rig.kinds(), [ReplyKind::Offer]);
}

#[test]
fn r5_a_release_is_proposed_even_by_a_node_that_is_behind() {
    let mut rig = Rig::new(1);
    let address = rig.bind(1);
    rig.event(Event::ServeFrom(rig.state.applied() + 1));
    rig.packet(&release(1, address));
    let Command::Release(give) = &rig.submitted[0].command else { panic!("{:?}", rig.submitted) };
    assert_eq!(give.generation, None, "what an old view knows is no knowledge");
    rig.commit();
    assert_eq!(rig.state.view().lease(address).map(|lease| lease.state.blocks()), Some(false));
}

#[test]
fn r17_each_link_waits_its_own_50_ms() {
    let mut rig = Rig::new(3);
    let relayed = |n: u8, relay: u8| discover(n, 1).giaddr([192, 0, 2, relay].into());
    rig.packet(&relayed(1, 201));
    rig.time += 40;
    rig.packet(&relayed(2, 202));
    rig.time += 5;
    rig.packet(&relayed(3, 201));
    rig.pass(5);
    assert_eq!(rig.sent.len(), 2, "both of the first link");
    rig.pass(40);
    assert_eq!(rig.sent.len(), 3);
}

#[test]
fn w6_a_node_that_knows_of_a_newer_configuration_waits_for_it() {
    let mut rig = Rig::new(3);
    rig.all_hear();
    rig.event(Event::Note(NodeId(2), Note { config: ConfigVersion(2), ..Note::default() }));
    for n in 1..=20 {
        rig.packet(&discover(n, 1));
    }
    assert!(rig.sent.is_empty());
    assert!(rig.worker.wants_entries());
    rig.pass(100);
    assert!(rig.sent.is_empty(), "time does not make the old one newer");
    rig.apply(Command::SetConfig(SetConfig::json(CONFIG)));
    rig.event(Event::Applied);
    assert_eq!(rig.sent.len() as u64 + rig.count("shadowed"), 20, "and none is lost");
    assert!(!rig.worker.wants_entries());
}

#[test]
fn w6_a_packet_does_not_wait_for_a_configuration_for_ever() {
    let mut rig = Rig::new(3);
    rig.all_hear();
    rig.event(Event::Note(NodeId(2), Note { config: ConfigVersion(2), ..Note::default() }));
    rig.packet(&discover(1, 1));
    let before = rig.dropped(Reason::NotReady) + rig.count("shadowed");
    rig.pass(2_001);
    assert_eq!(before + rig.dropped(Reason::NotReady), 1);
    assert!(rig.sent.is_empty() && !rig.worker.wants_entries());
}

#[test]
fn w6_a_new_configuration_is_told_at_once() {
    let mut rig = Rig::new(3);
    rig.pass(100);
    assert!(rig.told.is_empty());
    rig.apply(Command::SetConfig(SetConfig::json(CONFIG)));
    rig.pass(100);
    assert_eq!(rig.told.len(), 1);
    assert_eq!(rig.told[0].1.config, ConfigVersion(2));
    rig.pass(100);
    assert_eq!(rig.told.len(), 1);
}

#[test]
fn r2_a_request_that_met_a_change_is_decided_once_more_when_the_change_is_applied() {
    let mut rig = Rig::new(1);
    let address = rig.bind(1);
    rig.pass(4_000);
    rig.packet(&selecting(1, 5, address));
    let first = rig.submitted.remove(0);
    // Another node's view was newer: the entry that answered is not applied here yet.
    let index = rig.state.applied() + 1;
    let changed =
        Committed { outcome: Outcome::Changed, index, stamp: ClusterTime::from_millis(rig.time) };
    rig.event(Event::Answers(vec![(first.ticket, Answer::Committed(changed.clone()))]));
    assert!(rig.sent.is_empty() && rig.submitted.is_empty());
    assert!(rig.worker.wants_entries());
    rig.apply(Command::Tick);
    rig.event(Event::Applied);
    assert_eq!(rig.submitted.len(), 1);
    assert!(!rig.worker.wants_entries());
    // Once only.
    let second = rig.submitted.remove(0);
    rig.event(Event::Answers(vec![(
        second.ticket,
        Answer::Committed(Committed { index: index + 9, ..changed }),
    )]));
    assert!(rig.submitted.is_empty() && !rig.worker.wants_entries());
    assert_eq!(rig.dropped(Reason::ChangedTwice), 1);
}

#[test]
fn r2d_a_taken_address_is_refused() {
    let mut rig = Rig::new(1);
    rig.packet(&discover(1, 1));
    let address = rig.last_reply().yiaddr();
    rig.sent.clear();
    rig.packet(&selecting(1, 2, address));
    // Another client was faster, through another node.
    let mut other = Rig::new(1);
    other.packet(&selecting(2, 1, address));
    let faster = other.submitted.remove(0).command;
    assert!(matches!(rig.apply(faster).outcome, Outcome::Granted(_)));
    rig.commit();
    assert_eq!(rig.kinds(), [ReplyKind::Nak]);
}

#[test]
fn a_peer_that_connects_learns_which_links_are_heard_here() {
    let mut rig = Rig::new(3);
    rig.packet(&discover(1, 1));
    rig.pass(50);
    rig.told.clear();
    rig.event(Event::PeerSuspected(NodeId(2), true));
    rig.event(Event::PeerConnected(NodeId(2)));
    assert!(rig.told.iter().all(|(whom, _)| *whom == Some(NodeId(2))));
    let (_, note) = rig.told.last().unwrap();
    assert_eq!(note.heard, [(Link::Subnet(crate::types::SubnetId(1)), 1)]);
}

#[test]
fn answers_to_tickets_of_an_earlier_worker_are_ignored() {
    let mut rig = Rig::new(1);
    rig.event(Event::Answers(vec![(4711, Answer::Unknown)]));
    assert!(rig.sent.is_empty());
}

#[test]
fn garbage_is_counted_and_harms_nobody() {
    let mut rig = Rig::new(1);
    for (bytes, reason) in [
        (vec![0; 10], Reason::Short),
        (vec![1; 300], Reason::BadCookie),
        (Query::bare(1, mac(1)).bytes_at(0, &[2]).encode(), Reason::NotRequest),
        (Query::bare(1, mac(1)).encode(), Reason::Bootp),
    ] {
        let arrival = net::Arrival {
            interface: "eth0".into(),
            index: 3,
            mtu: 1500,
            interface_address: OWN,
            source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
            destination: Ipv4Addr::BROADCAST,
            source_mac: None,
            broadcast: true,
        };
        let received = Received {
            datagram: net::Received { bytes, arrival, came: crate::clock::instant() },
            at: ms(rig.time),
        };
        let (mut out, now) = (Vec::new(), rig.now());
        rig.worker.packet(received, false, &rig.state, now, &mut out);
        assert!(out.is_empty());
        assert_eq!(rig.dropped(reason), 1, "{reason}");
    }
}

#[test]
fn a1_holds_for_strangers_are_limited_and_end_after_60_s() {
    let mut rig = Rig::new(1);
    let wide = CONFIG
        .replace("192.0.2.0/24", "192.0.0.0/16")
        .replace("192.0.2.100 - 192.0.2.199", "192.0.4.0 - 192.0.7.231");
    rig.apply(Command::SetConfig(SetConfig::json(&wide)));
    let stranger = |n: u16| {
        let [a, b] = n.to_be_bytes();
        Query::new(MessageType::Discover, 1, HwAddr::ethernet([2, 0, 0, 7, a, b]))
    };
    for n in 0..300 {
        rig.packet(&stranger(n));
    }
    // A quarter of the free addresses, or the floor.
    let limit = usize::try_from(HOLD_FLOOR).unwrap().max(250);
    assert_eq!(rig.sent.len(), limit, "of 1000 free addresses");
    assert_eq!(rig.worker.sizes().holds, limit);
    assert_eq!(rig.dropped(Reason::HoldLimit), 300 - limit as u64);
    rig.sent.clear();
    rig.packet(&stranger(7));
    assert_eq!(rig.kinds(), [ReplyKind::Offer], "who has a hold keeps it");
    rig.pass(61_000);
    assert_eq!(rig.worker.sizes().holds, 0);
    rig.packet(&stranger(299));
    assert_eq!(rig.kinds(), [ReplyKind::Offer; 2]);
}

#[test]
fn a1_beyond_the_limit_known_clients_are_served() {
    let reserved = r#""reservations": [{"hw-address": "02:00:00:00:00:02", "ip-address": "192.0.2.20"}], "pools""#;
    let mut rig = Rig::configured(1, &CONFIG.replace(r#""pools""#, reserved));
    let address = rig.bind(1);
    rig.packet(&discover(100, 1));
    let first = rig.last_reply().yiaddr();
    for n in 101..170 {
        rig.packet(&discover(n, 1));
    }
    assert_eq!(rig.dropped(Reason::HoldLimit), 6, "64 of less than 100 free addresses");
    rig.sent.clear();
    for (client, own) in [(1, address), (2, [192, 0, 2, 20].into())] {
        rig.packet(&discover(client, 2));
        assert_eq!(rig.last_reply().yiaddr(), own, "client {client}");
    }
    rig.packet(&discover(3, 1));
    assert_eq!(rig.sent.len(), 2, "a stranger has to wait");
    // One of them has taken what it was offered: there is room for another.
    rig.packet(&selecting(100, 2, first));
    rig.commit();
    rig.sent.clear();
    rig.packet(&discover(3, 1));
    assert_eq!(rig.kinds(), [ReplyKind::Offer]);
}

/// Two new clients at once and one a second through each circuit.
const FEW_NEW_CLIENTS: &str =
    r#""user-context": {"leasehold": {"new-clients": {"rate": 1, "burst": 2}}},"#;

#[test]
fn a1_new_clients_beyond_the_limit_of_a_circuit_wait_and_known_ones_are_served() {
    let reserved = r#""reservations": [{"hw-address": "02:00:00:00:00:02", "ip-address": "192.0.2.20"}], "pools""#;
    let mut rig = Rig::configured(1, &with(FEW_NEW_CLIENTS).replace(r#""pools""#, reserved));
    let address = rig.bind(1);
    rig.packet(&discover(3, 1));
    let offered = rig.last_reply().yiaddr();
    rig.sent.clear();
    rig.packet(&discover(4, 1));
    rig.packet(&selecting(5, 1, [192, 0, 2, 150].into()));
    let reboot = Query::new(MessageType::Request, 1, mac(6));
    rig.packet(&reboot.requested_address([192, 0, 2, 151].into()));
    rig.packet(&Query::new(MessageType::Request, 1, mac(7)).ciaddr([192, 0, 2, 152].into()));
    assert!(rig.sent.is_empty() && rig.submitted.is_empty(), "{:?}", rig.submitted);
    assert!(rig.dropped(Reason::NewClientLimit) >= 3);

    // A lease, a reservation, and the other half of an exchange.
    for (client, own) in [(1, address), (2, [192, 0, 2, 20].into()), (3, offered)] {
        rig.packet(&discover(client, 2));
        assert_eq!(rig.last_reply().yiaddr(), own, "client {client}");
    }
    rig.packet(&selecting(3, 3, offered));
    rig.commit();
    assert_eq!(rig.last_reply().yiaddr(), offered);

    // A second later one more is let in, and no two.
    rig.sent.clear();
    rig.pass(1_000);
    rig.packet(&discover(4, 2));
    rig.packet(&discover(5, 2));
    assert_eq!(rig.kinds(), [ReplyKind::Offer]);
}

#[test]
fn a1_each_circuit_has_its_own_limit_and_its_own_counters() {
    let mut rig = Rig::configured(1, &with(FEW_NEW_CLIENTS));
    let relayed = |n: u8, circuit: &[u8]| {
        let query = discover(n, 1).giaddr([192, 0, 2, 9].into());
        query.relay_info(&[&[1, circuit.len() as u8], circuit].concat())
    };
    for n in 1..=4 {
        rig.packet(&relayed(n, b"port 1"));
    }
    assert_eq!(rig.sent.len(), 2);
    rig.packet(&relayed(5, b"port 2"));
    assert_eq!(rig.sent.len(), 3, "it has done nothing");
    let address = rig.last_reply().yiaddr();
    let request = selecting(5, 1, address).giaddr([192, 0, 2, 9].into());
    rig.packet(&request.relay_info(b"\x01\x06port 2"));
    rig.commit();
    let listing = rig.counters.circuits.lock().listing();
    let counts: Vec<_> = listing
        .circuits
        .iter()
        .map(|circuit| {
            let Place::Circuit { circuit_id, .. } = &circuit.place else { panic!("{circuit:?}") };
            let counts = circuit.counts;
            (&circuit_id[..], counts.discovers, counts.first_leases, counts.new_client_limit)
        })
        .collect();
    assert_eq!(counts, [(&b"port 1"[..], 4, 0, 2), (b"port 2", 1, 1, 0)]);
}

#[test]
fn a1_only_first_leases_count_as_new_clients() {
    let mut rig = Rig::new(1);
    let address = rig.bind(1);
    rig.pass(4_000);
    rig.packet(&selecting(1, 2, address));
    rig.commit();
    rig.packet(&release(1, address));
    rig.commit();
    rig.pass(4_000);
    rig.sent.clear();
    assert_eq!(rig.bind(1), address);
    let listing = rig.counters.circuits.lock().listing();
    let counts = listing.circuits[0].counts;
    assert_eq!((listing.circuits.len(), counts.first_leases), (1, 1), "{counts:?}");
    assert_eq!(counts.new_client_limit, 0, "there is no limit unless one is set");
}

#[test]
fn a10_a_successor_uses_no_ticket_and_no_barrier_twice() {
    let mut rig = Rig::new(1);
    let address = rig.bind(1);
    rig.pass(4_000);
    rig.packet(&selecting(1, 5, address));
    rig.packet(
        &Query::new(MessageType::Request, 4, mac(2)).requested_address([10, 0, 0, 1].into()),
    );
    let (old_ticket, old_barrier) = (rig.submitted.remove(0).ticket, rig.barriers[0]);
    rig.worker = rig.worker.successor();
    rig.packet(&selecting(1, 6, address));
    assert_ne!(rig.submitted[0].ticket, old_ticket);
    rig.packet(
        &Query::new(MessageType::Request, 4, mac(3)).requested_address([10, 0, 0, 1].into()),
    );
    assert_ne!(rig.barriers[1], old_barrier);
    // What was meant for the old worker reaches nobody.
    rig.event(Event::Barrier(old_barrier, true));
    rig.event(Event::Answers(vec![(old_ticket, Answer::Unknown)]));
    assert!(rig.sent.is_empty());
    rig.commit();
    assert_eq!(rig.kinds(), [ReplyKind::Ack]);
}

#[test]
fn m13_a_client_that_repeats_its_inform_is_answered_four_times_in_10_s() {
    let mut rig = Rig::new(1);
    let inform =
        |n: u8| Query::new(MessageType::Inform, 1, mac(n)).ciaddr([192, 0, 2, 50 + n].into());
    for _ in 0..6 {
        rig.packet(&inform(1));
        rig.pass(1_000);
    }
    assert_eq!(rig.kinds(), [ReplyKind::InformAck; 4]);
    assert_eq!(rig.dropped(Reason::InformLimit), 2);
    rig.packet(&inform(2));
    assert_eq!(rig.sent.len(), 5, "another client");
    rig.pass(5_000);
    rig.packet(&inform(1));
    assert_eq!(rig.sent.len(), 6, "later");
}

#[test]
fn i3_clones_that_share_an_id_are_counted() {
    let mut rig = Rig::new(1);
    for n in 0..8 {
        rig.packet(&discover(n % 2, 1).option(codes::CLIENT_ID, &[1, 2, 3]));
        rig.packet(&discover(7, 1).option(codes::CLIENT_ID, &[1, 7, 7]));
        rig.pass(60_000);
    }
    // Seven changes, of which three are allowed.
    assert_eq!(rig.count("client_id_moved"), 4);
}

#[test]
fn m11_a_decline_beyond_the_limit_of_its_circuit_is_counted() {
    let mut rig = Rig::new(1);
    for n in 1..=11 {
        let address = rig.bind(n);
        rig.packet(&Query::new(MessageType::Decline, 3, mac(n)).requested_address(address));
        rig.commit();
    }
    // The pool has 100 addresses.
    let declined =
        rig.state.view().counts(crate::types::SubnetId(1)).of(crate::state::LeaseState::Declined);
    assert_eq!((declined, rig.dropped(Reason::ProbationLimit)), (10, 1));
}

#[test]
fn m3_with_offer_lifetime_an_offer_leaves_after_its_commit() {
    let mut rig = Rig::new(1);
    let config = CONFIG.replace("3600,", "3600, \"offer-lifetime\": 30,");
    rig.apply(Command::SetConfig(SetConfig::json(config)));
    rig.packet(&discover(1, 5));
    rig.packet(&discover(1, 6));
    assert!(rig.sent.is_empty());
    assert_eq!(rig.submitted.len(), 1, "a repeat asks for the same");
    rig.commit();
    assert_eq!(rig.kinds(), [ReplyKind::Offer]);
    let offer = rig.last_reply();
    assert_eq!((offer.xid(), offer.u32_option(codes::LEASE_TIME)), (6, Some(3600)));
    assert_eq!(rig.worker.sizes().holds, 1, "it counts towards its circuit (A1)");

    rig.pass(1_000);
    rig.packet(&discover(1, 7));
    assert_eq!(rig.kinds(), [ReplyKind::Offer; 2], "for 3 s a repeat needs no new commit");
    assert_eq!(rig.last_reply().yiaddr(), offer.yiaddr());

    rig.packet(&selecting(1, 8, offer.yiaddr()));
    rig.commit();
    assert_eq!(rig.kinds()[2], ReplyKind::Ack);
    assert_eq!(rig.worker.sizes().holds, 0);
    rig.packet(&discover(2, 9));
    rig.answer_unknown();
    assert_eq!(rig.sent.len(), 3, "no majority is silence");

    rig.packet(&discover(3, 10));
    let other = rig.submitted.remove(0);
    let ticket = other.ticket;
    let taken = Outcome::Taken(crate::state::Taken::Leased);
    let index = rig.state.applied();
    let stamp = ClusterTime::from_millis(rig.time);
    let committed = Committed { outcome: taken, index, stamp };
    rig.event(Event::Answers(vec![(ticket, Answer::Committed(committed))]));
    assert_eq!(rig.submitted.len(), 1, "refused: once more");
    rig.commit();
    assert_eq!(rig.kinds()[3], ReplyKind::Offer);
}

#[path = "worker_count_tests.rs"]
mod counts;
#[path = "worker_ping_tests.rs"]
mod pings;
#[path = "worker_told_tests.rs"]
mod told;

#[test]
fn a_disabled_node_answers_nobody_and_counts_why() {
    let mut rig = Rig::new(1);
    rig.event(Event::Disabled(true));
    rig.packet(&discover(1, 1));
    rig.packet(&release(1, Ipv4Addr::new(192, 0, 2, 100)));
    assert!(rig.sent.is_empty() && rig.submitted.is_empty());
    let reasons: Vec<_> = rig.counters.reasons().filter(|(_, count)| *count > 0).collect();
    assert_eq!(reasons, [(Reason::ServiceDisabled, 2)]);
    rig.event(Event::Disabled(false));
    rig.packet(&discover(1, 2));
    assert_eq!(rig.kinds(), [ReplyKind::Offer]);
}

#[test]
fn a_disabled_node_goes_on_hearing_its_links() {
    let mut rig = Rig::new(3);
    rig.event(Event::Disabled(true));
    rig.packet(&discover(1, 1));
    let heard = vec![(Link::Subnet(crate::types::SubnetId(1)), 1)];
    assert_eq!(rig.told.last().map(|(whom, note)| (*whom, &note.heard)), Some((None, &heard)));
    assert!(rig.sent.is_empty());
}

/// How many of 20 new clients node 1 of 3 answers at their first packet.
fn answered_at_once(event: impl Fn(NodeId) -> Option<Event>) -> usize {
    let mut rig = Rig::new(3);
    let heard = vec![(Link::Subnet(crate::types::SubnetId(1)), 1)];
    for n in 2..=3 {
        rig.event(Event::Note(NodeId(n), Note { heard: heard.clone(), ..Note::default() }));
        if let Some(event) = event(NodeId(n)) {
            rig.event(event);
        }
    }
    for n in 1..=20 {
        rig.packet(&discover(n, 1));
    }
    rig.sent.len()
}

#[test]
fn a_peer_that_is_disabled_is_not_waited_for() {
    let some = answered_at_once(|_| None);
    assert!(some > 0 && some < 20, "{some}");
    let without_2 = |node| (node == NodeId(2)).then_some(Event::PeerDisabled(node, true));
    let more = answered_at_once(without_2);
    assert!(more > some && more < 20, "{some} {more}");
    assert_eq!(answered_at_once(|node| Some(Event::PeerDisabled(node, true))), 20);
}

#[test]
fn a_peer_that_is_enabled_again_has_its_clients_back() {
    let mut rig = Rig::new(3);
    let heard = vec![(Link::Subnet(crate::types::SubnetId(1)), 1)];
    for n in 2..=3 {
        rig.event(Event::Note(NodeId(n), Note { heard: heard.clone(), ..Note::default() }));
        rig.event(Event::PeerDisabled(NodeId(n), true));
        rig.event(Event::PeerDisabled(NodeId(n), false));
    }
    for n in 1..=20 {
        rig.packet(&discover(n, 1));
    }
    assert_eq!(rig.sent.len(), answered_at_once(|_| None));
}

#[test]
fn who_is_away_is_remembered_after_a_panic() {
    let mut rig = Rig::new(3);
    for n in 2..=3 {
        rig.event(Event::PeerDisabled(NodeId(n), true));
    }
    rig.event(Event::Disabled(true));
    rig.worker = rig.worker.successor();
    rig.packet(&discover(1, 1));
    assert!(rig.sent.is_empty(), "still disabled");
    rig.event(Event::Disabled(false));
    rig.packet(&discover(1, 2));
    rig.pass(50);
    assert_eq!(rig.kinds(), [ReplyKind::Offer], "nobody is waited for");
}
