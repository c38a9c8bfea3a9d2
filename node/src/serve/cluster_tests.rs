//! Three nodes in one process, over real gRPC and real disks, without sockets for DHCP: the worker,
//! the proposer, the notes and the duties together.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tonic::service::Routes;

use super::duties::Duties;
use super::*;
use crate::clock::SystemClock;
use crate::dhcp::decision::ReplyKind;
use crate::dhcp::v4::Ports;
use crate::packet::v4::{MessageType, Query};
use crate::propose::{ProposalsService, Signals, ToLeader, follow_leader};
use crate::raft::{Keeping, Plan, Start, Timers, form};
use crate::state::{Command, Liveness, NodeInfo, Outcome, SetConfig};
use crate::storage::{DiskLog, IdentityFile, LogSettings};
use crate::types::HwAddr;

const CONFIG: &str = r#"{"Dhcp4": {
    "valid-lifetime": 3600, "interfaces-config": {"interfaces": ["eth0"]},
    "subnet4": [{"id": 1, "subnet": "192.0.2.0/24", "pools": [{"pool": "192.0.2.100 - 192.0.2.199"}]}]
}}"#;

/// Real hands but for the sockets.
struct NoSockets {
    node: NodeHands,
    sent: Arc<Mutex<Vec<(NodeId, Reply)>>>,
}

impl Hands for NoSockets {
    fn send(&self, _: u32, reply: &Reply) -> bool {
        self.sent.lock().push((self.node.raft.id(), reply.clone()));
        true
    }
    fn submit(&self, submissions: Vec<Submission<u64>>) -> Vec<(u64, Answer)> {
        self.node.submit(submissions)
    }
    fn barrier(&self, number: u64) {
        self.node.barrier(number);
    }
    fn tell(&self, whom: Option<NodeId>, note: &Note) {
        self.node.tell(whom, note);
    }
    fn cluster_time(&self) -> ClusterTime {
        self.node.cluster_time()
    }
    fn ping(&self, address: Ipv4Addr) {
        self.node.ping(address);
    }
    fn happened(&self, happening: Happening) {
        self.node.happened(happening);
    }
}

struct Node {
    raft: Raft,
    state: Arc<RwLock<State>>,
    proposer: Proposer,
    peers: Arc<Peers>,
    serve: Serve,
    tasks: Vec<JoinHandle<()>>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    _info: watch::Sender<NodeInfo>,
    _stop: oneshot::Sender<()>,
    _dir: tempfile::TempDir,
}

fn identity(node: NodeId) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, u8::try_from(node.0).unwrap())
}

async fn start(
    listener: TcpListener,
    initial: Vec<SocketAddr>,
    sent: Arc<Mutex<Vec<(NodeId, Reply)>>>,
) -> Node {
    let dir = tempfile::tempdir().unwrap();
    let (file, found) = IdentityFile::open(dir.path()).unwrap();
    let file = Arc::new(file);
    let plan = Plan { advertise: listener.local_addr().unwrap(), initial, tls: None };
    let found = form(&plan, &listener, &file, found).await.unwrap();
    let on_fault = Arc::new(|what: &str, error: &std::io::Error| panic!("{what}: {error}"));
    let log =
        Arc::new(DiskLog::open(&dir.path().join("log"), LogSettings::default(), on_fault).unwrap());
    let state = Arc::new(RwLock::new(State::new()));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let raft = Raft::start(Start {
        dir: dir.path().to_path_buf(),
        identity: found,
        identity_file: Some(file),
        log,
        state: Arc::clone(&state),
        clock: Arc::clone(&clock),
        timers: Timers::default(),
        keeping: Keeping::default(),
        tls: None,
    })
    .await
    .unwrap();

    let inbox = Arc::new(Inbox::new(Arc::clone(&clock)));
    let to_worker = Arc::clone(&inbox);
    let peers = Arc::new(Peers::start(
        raft.clone(),
        Arc::clone(&clock),
        Arc::new(move |event| to_worker.event(event.into())),
    ));
    let (stop, stopped) = oneshot::channel::<()>();
    let routes =
        Routes::default().add_service(ProposalsService::server(&raft)).add_service(peers.service());
    let server = raft.serve(&listener, routes, async { _ = stopped.await }).unwrap();
    let signals = Signals { route: follow_leader(&raft), round_trip: peers.round_trip() };
    let to_worker = Arc::clone(&inbox);
    let sink = Arc::new(move |answers| to_worker.event(Event::Answers(answers)));
    let (proposer, proposing) =
        Proposer::start(ToLeader::new(raft.clone()), signals, sink, Arc::clone(&clock));

    let me = raft.id();
    let no_sockets = net::Ports::new(net::PortNumbers::default(), Arc::new(|_| {}));
    let (after, following) = After::new(raft.clone(), Arc::clone(&state), Arc::default());
    tokio::spawn(following.run());
    let hands = NodeHands {
        sender: no_sockets.sender(),
        proposer: proposer.clone(),
        peers: Some(Arc::clone(&peers)),
        raft: raft.clone(),
        inbox: Arc::clone(&inbox),
        runtime: tokio::runtime::Handle::current(),
        pinger: no_sockets.pinger(0, Arc::new(|_| {})),
        after: after.clone(),
    };
    let worker = Worker::new(me, 1, Ports::STANDARD, Arc::default());
    let hands = NoSockets { node: hands, sent };
    let serve =
        Serve::start(worker, Arc::clone(&inbox), Arc::clone(&state), Arc::clone(&clock), hands)
            .unwrap();
    inbox.event(Event::Listening(vec![identity(me)], link::Links::default()));
    let duties = Duties {
        after,
        raft: raft.clone(),
        state: Arc::clone(&state),
        clock,
        proposer: proposer.clone(),
        peers: Some(Arc::clone(&peers)),
        inbox,
    };
    let (info, told) = watch::channel(NodeInfo {
        node: me,
        name: format!("node-{me}"),
        rack: String::new(),
        peer_address: plan.advertise.to_string(),
        control: Vec::new(),
        identities: vec![identity(me)],
        version: String::new(),
        level: 0,
    });
    let tasks = vec![
        proposing,
        tokio::spawn({
            let duties = duties.clone();
            async move { _ = duties.catch_up().await }
        }),
        tokio::spawn(duties.clone().watch_majority(watch::channel(false).0)),
        tokio::spawn(duties.clone().introduce(told)),
        tokio::spawn(duties.lead()),
    ];
    Node { raft, state, proposer, peers, serve, tasks, server, _info: info, _stop: stop, _dir: dir }
}

impl Node {
    async fn kill(mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.serve.stop();
        self.server.abort();
        self.raft.shutdown().await;
    }

    fn liveness(&self, node: NodeId) -> Option<Liveness> {
        self.state.read().view().meta().node(node).map(|entry| entry.liveness)
    }

    /// A packet from the relay at 192.0.2.254.
    fn hears(&self, query: &Query) {
        let own = identity(self.raft.id());
        let arrival = net::Arrival {
            interface: "eth0".into(),
            index: 3,
            mtu: 1500,
            interface_address: own,
            source: SocketAddrV4::new([192, 0, 2, 254].into(), 67),
            destination: own,
            source_mac: None,
            broadcast: false,
        };
        let query = query.clone().giaddr([192, 0, 2, 254].into());
        self.serve.inbox().packet(net::Received {
            bytes: query.encode(),
            arrival,
            came: crate::clock::instant(),
        });
    }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1_500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}: not within 30 s");
}

/// Lets every node hear a query, as from a relay that knows them all, until one has answered; returns
/// the answers after a little while more.
async fn ask(
    nodes: &[Node],
    sent: &Mutex<Vec<(NodeId, Reply)>>,
    query: &Query,
) -> Vec<(NodeId, Reply)> {
    sent.lock().clear();
    for _ in 0..10 {
        nodes.iter().for_each(|node| node.hears(query));
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if !sent.lock().is_empty() {
                tokio::time::sleep(Duration::from_millis(200)).await;
                return sent.lock().drain(..).collect();
            }
        }
    }
    panic!("nobody answers {query:?}");
}

/// Client `n` joins; returns how many offers it got, and its address.
async fn join(nodes: &[Node], sent: &Mutex<Vec<(NodeId, Reply)>>, n: u8) -> (usize, Ipv4Addr) {
    let mac = HwAddr::ethernet([2, 0, 0, 0, 0, n]);
    let offers = ask(nodes, sent, &Query::new(MessageType::Discover, 1, mac)).await;
    let offer = offers[0].1.answered();
    let (address, server) = (offer.address.unwrap(), offer.identity);
    let request =
        Query::new(MessageType::Request, 2, mac).requested_address(address).server_id(server);
    let acks = ask(nodes, sent, &request).await;
    for (_, ack) in &acks {
        assert_eq!((ack.kind(), ack.answered().address), (ReplyKind::Ack, Some(address)));
    }
    (offers.len(), address)
}

/// Three nodes with a configuration, which know and hear each other and the link.
async fn three(sent: &Arc<Mutex<Vec<(NodeId, Reply)>>>) -> Vec<Node> {
    let listeners: Vec<TcpListener> =
        (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let initial: Vec<SocketAddr> = listeners.iter().map(|it| it.local_addr().unwrap()).collect();
    let mut starting: Vec<_> = listeners
        .into_iter()
        .map(|listener| tokio::spawn(start(listener, initial.clone(), Arc::clone(sent))))
        .collect();
    let mut nodes = Vec::new();
    for node in starting.drain(..) {
        nodes.push(node.await.unwrap());
    }
    eventually("a leader is known to all", || {
        nodes.iter().all(|node| node.raft.leader().is_some())
    })
    .await;

    // A follower's proposal reaches the leader over the stream.
    let follower = nodes.iter().find(|node| node.raft.leader() != Some(node.raft.id())).unwrap();
    let set = Command::SetConfig(SetConfig::json(CONFIG));
    let answer = follower.proposer.submit(set, Duration::from_secs(10)).await;
    assert!(
        matches!(&answer, Answer::Committed(done) if matches!(done.outcome, Outcome::ConfigSet(_))),
        "{answer:?}"
    );
    assert!(follower.proposer.counters().forwarded.load(Relaxed) > 0);

    // R16: everybody says who it is, and hears the others.
    let ids: Vec<NodeId> = nodes.iter().map(|node| node.raft.id()).collect();
    eventually("all nodes are up everywhere", || {
        nodes.iter().all(|node| ids.iter().all(|id| node.liveness(*id) == Some(Liveness::Up)))
    })
    .await;
    eventually("all peers hear each other", || {
        nodes.iter().all(|node| {
            let views = node.peers.views();
            views.len() == 2
                && views.values().all(|view| view.round_trip.is_some() && !view.suspected)
        })
    })
    .await;

    // R17: the first packet on the link makes the nodes tell each other who hears it. That is best
    // effort within 50 ms, and two answers are harmless (C5); from then on it is known.
    let mut answers = 0;
    for n in 60..100 {
        let first = Query::new(MessageType::Discover, 1, HwAddr::ethernet([2, 0, 0, 0, 0, n]));
        answers = ask(&nodes, sent, &first).await.len();
        if answers == 1 {
            break;
        }
    }
    assert_eq!(answers, 1, "the nodes never learn who hears the link");
    nodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_answer_as_one_and_go_on_when_the_leader_dies() {
    let sent: Arc<Mutex<Vec<(NodeId, Reply)>>> = Arc::default();
    let mut nodes = three(&sent).await;

    // One answer to what three nodes hear, and one lease.
    let mut single = 0;
    for n in 1..=6 {
        let (answers, address) = join(&nodes, &sent, n).await;
        single += usize::from(answers == 1);
        eventually("the lease is everywhere", || {
            nodes.iter().all(|node| node.state.read().view().lease(address).is_some())
        })
        .await;
    }
    assert!(
        single >= 3,
        "a starved machine may cost a second answer, not each time: {single} of 6"
    );

    // The leader dies. The cluster notices by itself, and the next client gets one answer.
    let leader = nodes[0].raft.leader().unwrap();
    let place = nodes.iter().position(|node| node.raft.id() == leader).unwrap();
    nodes.remove(place).kill().await;
    eventually("the dead node is known to be down", || {
        nodes.iter().all(|node| node.liveness(leader) == Some(Liveness::Down))
    })
    .await;
    let mut single = 0;
    for n in 11..=14 {
        single += usize::from(join(&nodes, &sent, n).await.0 == 1);
    }
    assert!(single >= 2, "{single} of 4");
    for node in nodes {
        node.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_switched_off_or_in_maintenance_leaves_its_clients_to_the_others() {
    let sent: Arc<Mutex<Vec<(NodeId, Reply)>>> = Arc::default();
    let nodes = three(&sent).await;
    let leader = nodes[0].raft.leader().unwrap();
    let off = nodes.iter().find(|node| node.raft.id() != leader).unwrap();
    let id = off.raft.id();
    let switch = |disabled| {
        off.serve.inbox().event(Event::Disabled(disabled));
        off.peers.set_disabled(disabled);
    };
    let told = |disabled| {
        let mut others = nodes.iter().filter(|node| node.raft.id() != id);
        others.all(|node| node.peers.views()[&id].disabled == disabled)
    };
    // Each client is answered, by the others, whosever it is.
    switch(true);
    eventually("the peers know who is switched off", || told(true)).await;
    for n in 1..=8 {
        let discover = Query::new(MessageType::Discover, 1, HwAddr::ethernet([2, 1, 0, 0, 0, n]));
        let answers = ask(&nodes, &sent, &discover).await;
        assert!(answers.iter().all(|(node, _)| *node != id), "{answers:?}");
    }
    switch(false);
    eventually("the peers know that it answers again", || told(false)).await;

    // The leader is drained: another leads, and answers; of the other two neither can be spared.
    let say = |node, liveness| {
        let command = Command::NodeLiveness(node, liveness);
        off.proposer.submit(command, Duration::from_secs(10))
    };
    say(leader, Liveness::Maintenance).await;
    eventually("another node leads", || {
        let leads = |node: &Node| node.raft.leader().is_some_and(|now| now != leader);
        nodes.iter().all(|node| leads(node) && node.liveness(leader) == Some(Liveness::Maintenance))
    })
    .await;
    say(id, Liveness::Maintenance).await;
    for n in 1..=8 {
        let discover = Query::new(MessageType::Discover, 1, HwAddr::ethernet([2, 2, 0, 0, 0, n]));
        let answers = ask(&nodes, &sent, &discover).await;
        assert!(answers.iter().all(|(node, _)| *node != leader), "{answers:?}");
    }
    eventually("one too many is not drained", || {
        nodes.iter().all(|node| node.liveness(id) == Some(Liveness::Up))
    })
    .await;
    say(leader, Liveness::Up).await;
    eventually("the maintenance is over", || {
        nodes.iter().all(|node| node.liveness(leader) == Some(Liveness::Up))
    })
    .await;
    for node in nodes {
        node.kill().await;
    }
}
