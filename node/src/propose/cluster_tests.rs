//! Three nodes in one process, over real gRPC and real disks: large configurations beside leases.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tonic::service::Routes;

use super::*;
use crate::clock::{Stopwatch, SystemClock};
use crate::config::edit::{Edit, Verb};
use crate::raft::{Keeping, Plan, Raft, Start, Timers, form};
use crate::state::document::{self, Form};
use crate::state::testing::nth_client;
use crate::state::{
    ConfigVersion, EditConfig, Grant, GrantItem, NewConfig, Note, Origin, Outcome, SetConfig,
    State, Why,
};
use crate::storage::{DiskLog, IdentityFile, LogSettings};
use crate::types::{ClusterTime, Lifetime, NodeId, SubnetId};

const SMALL: &str = r#"{"Dhcp4": {"subnet4": [
    {"id": 1, "subnet": "10.0.0.0/8", "pools": [{"pool": "10.0.0.0/12"}]}]}}"#;

struct Node {
    raft: Raft,
    state: Arc<RwLock<State>>,
    proposer: Proposer,
    proposing: JoinHandle<()>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    _stop: oneshot::Sender<()>,
    _dir: tempfile::TempDir,
}

async fn start(listener: TcpListener, initial: Vec<SocketAddr>) -> Node {
    let dir = tempfile::tempdir().unwrap();
    let (file, found) = IdentityFile::open(dir.path()).unwrap();
    let file = Arc::new(file);
    let plan = Plan { advertise: listener.local_addr().unwrap(), initial, tls: None };
    let found = form(&plan, &listener, &file, found).await.unwrap();
    let on_fault = Arc::new(|what: &str, error: &std::io::Error| panic!("{what}: {error}"));
    let log = DiskLog::open(&dir.path().join("log"), LogSettings::default(), on_fault).unwrap();
    let state = Arc::new(RwLock::new(State::new()));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let raft = Raft::start(Start {
        dir: dir.path().to_path_buf(),
        identity: found,
        identity_file: Some(file),
        log: Arc::new(log),
        state: Arc::clone(&state),
        clock: Arc::clone(&clock),
        timers: Timers::default(),
        keeping: Keeping::default(),
        tls: None,
    })
    .await
    .unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let routes = Routes::default().add_service(ProposalsService::server(&raft));
    let server = raft.serve(&listener, routes, async { _ = stopped.await }).unwrap();
    let (_, round_trip) = watch::channel(Duration::ZERO);
    let signals = Signals { route: follow_leader(&raft), round_trip };
    let (proposer, proposing) =
        Proposer::start(ToLeader::new(raft.clone()), signals, Arc::new(|_| {}), clock);
    Node { raft, state, proposer, proposing, server, _stop: stop, _dir: dir }
}

async fn three() -> Vec<Node> {
    let listeners: Vec<TcpListener> =
        (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let initial: Vec<SocketAddr> = listeners.iter().map(|it| it.local_addr().unwrap()).collect();
    let starting: Vec<_> = listeners
        .into_iter()
        .map(|listener| tokio::spawn(start(listener, initial.clone())))
        .collect();
    let mut nodes = Vec::new();
    for node in starting {
        nodes.push(node.await.unwrap());
    }
    let set = Command::SetConfig(SetConfig::json(SMALL));
    let answer = nodes[0].proposer.submit(set, Duration::from_secs(20)).await;
    assert_eq!(outcome(answer), Outcome::ConfigSet(ConfigVersion(1)));
    nodes
}

fn outcome(answer: Answer) -> Outcome {
    match answer {
        Answer::Committed(done) => done.outcome,
        other => panic!("{other:?}"),
    }
}

impl Node {
    async fn end(self) {
        self.proposing.abort();
        self.server.abort();
        self.raft.shutdown().await;
    }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}: never");
}

/// A document of so many bytes that says what [`SMALL`] does. It compresses as reservations do.
fn large(bytes: usize) -> NewConfig {
    let mut noise = String::with_capacity(bytes + 32);
    let mut seed = 1u64;
    while noise.len() < bytes {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        noise.push_str(&format!("host-{:07x}.example.org, ", seed >> 36));
    }
    let text = SMALL.replacen(
        "{\"subnet4\"",
        &format!("{{\"user-context\": {{\"noise\": \"{noise}\"}}, \"subnet4\""),
        1,
    );
    let text = document::pack(Form::Json, &text);
    NewConfig { expected: None, text, level: 1, note: Note::default() }
}

/// Binds an address for the `n`th client, as an engine would.
fn grant(n: u32) -> Command {
    let item = GrantItem {
        subnet: SubnetId(1),
        want: (0x0a00_0000 + n).into(),
        why: Why::Selecting,
        held: None,
        lifetime: Lifetime::from_secs(3600),
    };
    let mut client = nth_client(n);
    client.match_id = true;
    Command::Grant(Grant {
        origin: Origin { node: NodeId(1), incarnation: 1, sequence: n.into() },
        not_after: ClusterTime::NEVER,
        config: ConfigVersion(1),
        client,
        items: vec![item],
        hostname: String::new(),
        fqdn_fwd: false,
        fqdn_rev: false,
        identity: [10, 0, 0, 1].into(),
        relay_info: None,
        checked: false,
    })
}

/// Grants one address after another through every node until told to stop; returns how many, and
/// the longest wait.
struct Grants {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Duration>>,
}

impl Grants {
    fn begin(nodes: &[Node]) -> Grants {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let task = |(lane, node): (u32, &Node)| {
            let (proposer, stop, done) = (node.proposer.clone(), stop.clone(), done.clone());
            tokio::spawn(async move {
                let mut longest = Duration::ZERO;
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let asked = Stopwatch::start();
                    let answer =
                        proposer.submit(grant(n * 3 + lane), Duration::from_secs(20)).await;
                    longest = longest.max(asked.elapsed());
                    assert!(matches!(outcome(answer), Outcome::Granted(_)));
                    done.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                longest
            })
        };
        let tasks = (0..).zip(nodes).map(task).collect();
        Grants { stop, done, tasks }
    }

    fn count(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    async fn end(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        let mut longest = Duration::ZERO;
        for task in self.tasks {
            longest = longest.max(task.await.unwrap());
        }
        longest
    }
}

/// Whether all nodes are in the same state, the new configuration in force.
async fn agree(nodes: &[Node], new: &NewConfig, version: u64) {
    let digests = || {
        let states = nodes.iter().map(|node| node.state.read().clone());
        states.map(|state| (state.applied(), state.digest())).collect::<Vec<_>>()
    };
    eventually("the nodes agree", || {
        let all = digests();
        all.iter().all(|one| *one == all[0])
    })
    .await;
    for node in nodes {
        let state = node.state.read();
        state.check().unwrap();
        let meta = state.view().meta();
        let current = meta.current().unwrap();
        assert_eq!((current.number.0, current.text()), (version, Some(&new.text)));
        assert!(meta.drafts().is_empty());
        assert_eq!(meta.config().unwrap().subnets.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r25_a_document_of_40_mib_is_accepted_while_addresses_are_granted() {
    let nodes = three().await;
    let new = tokio::task::spawn_blocking(|| large(40 << 20)).await.unwrap();
    assert!(new.text.document.pieces() > 50);
    let grants = Grants::begin(&nodes);
    eventually("leases are granted", || grants.count() > 30).await;
    let (before, began) = (grants.count(), Stopwatch::start());
    // Proposed on a node that does not lead, so that every piece is forwarded.
    let follower = nodes.iter().find(|node| node.raft.leader() != Some(node.raft.id())).unwrap();
    let accepted = follower.proposer.submit_config(new.clone(), 7, Duration::from_secs(300)).await;
    assert_eq!(outcome(accepted), Outcome::ConfigSet(ConfigVersion(2)));
    let (took, between) = (began.elapsed(), grants.count() - before);
    agree_on_version(&nodes, 2).await;
    let longest = grants.end().await;
    println!(
        "{} bytes in {} pieces: {took:?} until accepted, {between} grants meanwhile, the longest wait {longest:?}",
        new.text.document.size,
        new.text.document.pieces()
    );
    assert!(between > 0, "leases passed between the pieces");
    agree(&nodes, &new, 2).await;
    for node in nodes {
        node.end().await;
    }
}

async fn agree_on_version(nodes: &[Node], version: u64) {
    eventually("in force everywhere", || {
        nodes.iter().all(|node| node.state.read().view().config_version() == ConfigVersion(version))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r25_changes_of_leader_between_the_pieces_are_survived() {
    let nodes = three().await;
    let new = tokio::task::spawn_blocking(|| large(16 << 20)).await.unwrap();
    let proposer = nodes[0].proposer.clone();
    let sending = tokio::spawn({
        let new = new.clone();
        async move { proposer.submit_config(new, 9, Duration::from_secs(300)).await }
    });
    let mut changes = 0;
    while !sending.is_finished() && changes < 4 {
        let leader = nodes.iter().find(|node| node.raft.is_stamping());
        let under_way = |node: &&Node| !node.state.read().view().meta().drafts().is_empty();
        match leader.filter(under_way) {
            Some(leader) if leader.raft.transfer_leader(None).await.is_ok() => changes += 1,
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    assert_eq!(outcome(sending.await.unwrap()), Outcome::ConfigSet(ConfigVersion(2)));
    assert!(changes > 0, "the leader changed while pieces were under way");
    agree(&nodes, &new, 2).await;
    for node in nodes {
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r24_the_leader_lets_nothing_into_the_log_that_its_parser_refuses() {
    let nodes = three().await;
    let follower = nodes.iter().find(|node| node.raft.leader() != Some(node.raft.id())).unwrap();
    let set = |text: &str| Command::SetConfig(SetConfig::json(text));
    let bad = set(r#"{"Dhcp4": {"keyword-of-the-future": 1}}"#);
    let refused = follower.proposer.submit(bad.clone(), Duration::from_secs(20)).await;
    let Outcome::ConfigRefused(text) = outcome(refused) else { panic!("accepted") };
    assert!(text.contains("keyword-of-the-future"), "{text}");
    let leader = nodes.iter().find(|node| node.raft.is_stamping()).unwrap();
    let among = vec![Command::Tick, bad, set(SMALL), Command::Tick];
    let applied = leader.raft.propose(among).await.unwrap();
    assert!(matches!(
        &applied.outcomes[..],
        [Outcome::Noted, Outcome::ConfigRefused(_), Outcome::ConfigSet(_), Outcome::Noted]
    ));
    for node in nodes {
        assert_eq!(node.raft.status().stopped, None);
        node.end().await;
    }
}

/// Changes through all nodes at once: of the same subnet one is added, of different ones all are, and
/// every node comes to the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r25_three_nodes_change_the_configuration_at_once() {
    let nodes = three().await;
    let add = |id: u64, subnet: u32| {
        let text = format!(r#"{{"subnet4":[{{"id":{subnet},"subnet":"10.{subnet}.0.0/16"}}]}}"#);
        let edit = Edit { verb: Verb::SubnetAdd, arguments: text.into() };
        let (expected, checked, note) = (None, Some(ConfigVersion(77)), Note::default());
        Command::EditConfig(EditConfig { id, expected, checked, level: 1, note, edit })
    };
    let within = Duration::from_secs(20);
    let mut asking = tokio::task::JoinSet::new();
    for (at, node) in (1u32..).zip(&nodes) {
        let proposer = node.proposer.clone();
        let commands = [add(at.into(), 99), add(u64::from(at) + 10, 100 + at)];
        asking.spawn(async move {
            let [same, own] = commands;
            (proposer.submit(same, within).await, proposer.submit(own, within).await)
        });
    }
    let mut added = 0;
    for (same, own) in asking.join_all().await {
        assert!(matches!(outcome(own), Outcome::ConfigEdited { .. }));
        match outcome(same) {
            Outcome::ConfigEdited { .. } => added += 1,
            Outcome::ConfigNotEdited(no) => {
                assert_eq!(no.text, "ID of the new IPv4 subnet '99' is already in use");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(added, 1);
    let again = outcome(nodes[2].proposer.submit(add(11, 101), within).await);
    assert!(matches!(again, Outcome::ConfigSet(_)), "the same change: {again:?}");
    agree_on_version(&nodes, 5).await;
    let states = || nodes.iter().map(|node| node.state.read().digest()).collect::<Vec<_>>();
    eventually("the nodes agree", || states().iter().all(|digest| *digest == states()[0])).await;
    for node in nodes {
        assert_eq!(node.raft.status().stopped, None);
        assert_eq!(node.state.read().view().config().unwrap().subnets.len(), 5);
        node.end().await;
    }
}
