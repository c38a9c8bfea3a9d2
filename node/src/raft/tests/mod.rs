//! Three nodes in one process over real gRPC, and the stores by themselves.

mod backup;
mod cluster;
mod damaged;
mod forming;
mod hashes_differ;
mod history;
mod membership;
mod recovery;
mod simulated;
mod suite;
mod tls;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::start::me;
use super::*;
use crate::clock::SystemClock;
use crate::state::{State, WallOffset};
use crate::storage::{DiskLog, IdentityFile, LogId, LogSettings};

/// A node that can be killed and started again.
struct Node {
    dir: tempfile::TempDir,
    address: SocketAddr,
    tls: Option<Arc<PeerTls>>,
    running: Option<Running>,
}

struct Running {
    raft: Raft,
    state: Arc<RwLock<State>>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

/// What the tests change about a node.
#[derive(Clone, Copy, Default)]
struct Options {
    keeping: Keeping,
    log: LogSettings,
}

impl Node {
    /// A node with an empty directory and a port of its own.
    fn new() -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        Node { dir: tempfile::tempdir().unwrap(), address, tls: None, running: None }
    }

    fn listener(&self) -> TcpListener {
        listen(self.address)
    }

    /// Forms and starts.
    async fn start(&mut self, initial: &[SocketAddr], options: Options) -> Result<(), String> {
        let listener = self.listener();
        let (file, identity) =
            IdentityFile::open(self.dir.path()).map_err(|error| error.to_string())?;
        let file = Arc::new(file);
        let (initial, tls) = (initial.to_vec(), self.tls.clone());
        let plan = Plan { advertise: self.address, initial, tls };
        let identity = form(&plan, &listener, &file, identity).await.map_err(|e| e.to_string())?;
        self.run(listener, file, identity, options).await
    }

    /// Starts with the seat that it has.
    async fn run(
        &mut self,
        listener: TcpListener,
        file: Arc<IdentityFile>,
        identity: Identity,
        options: Options,
    ) -> Result<(), String> {
        let log = disk_log(self.dir.path(), options.log)?;
        let state = Arc::new(RwLock::new(State::new()));
        let start = Start {
            dir: self.dir.path().to_path_buf(),
            identity,
            identity_file: Some(file),
            log,
            state: state.clone(),
            clock: Arc::new(SystemClock),
            timers: Timers::default(),
            keeping: options.keeping,
            tls: self.tls.clone(),
        };
        let raft = Raft::start(start).await.map_err(|error| error.to_string())?;
        raft.advertise(self.address.to_string());
        let (stop, stopped) = oneshot::channel();
        let server = raft
            .serve(
                &listener,
                Routes::new(crate::peers::gaps::GapsService::server(&raft))
                    .add_service(hashes::HashesService::server(&raft)),
                async {
                    let _ = stopped.await;
                },
            )
            .map_err(|error| error.to_string())?;
        self.running = Some(Running { raft, state, stop, server });
        Ok(())
    }

    fn raft(&self) -> &Raft {
        &self.running.as_ref().unwrap().raft
    }

    /// What the machine holds of the value that the tests write.
    fn value(&self) -> i64 {
        self.running.as_ref().unwrap().state.read().view().meta().wall_offset().0
    }

    fn applied(&self) -> u64 {
        self.raft().applied().applied.map_or(0, |id| id.index)
    }

    /// Stops without a word to the peers.
    async fn kill(&mut self) {
        let Running { raft, stop, server, .. } = self.running.take().unwrap();
        server.abort();
        drop(stop);
        let _ = server.await;
        raft.shutdown().await;
    }

    fn is_running(&self) -> bool {
        self.running.is_some()
    }
}

/// The port may linger for a moment after its server.
fn listen(address: SocketAddr) -> TcpListener {
    for _ in 0..100 {
        match TcpListener::bind(address) {
            Ok(listener) => return listener,
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    panic!("{address} stays in use");
}

fn disk_log(dir: &Path, settings: LogSettings) -> Result<Arc<DiskLog>, String> {
    let on_fault = Arc::new(|what: &str, error: &io::Error| panic!("{what}: {error}"));
    // The writer thread of a killed node may still hold the directory.
    let mut failure = String::new();
    for _ in 0..100 {
        match DiskLog::open(&dir.join("log"), settings, on_fault.clone()) {
            Ok(log) => return Ok(Arc::new(log)),
            Err(error) => failure = error.to_string(),
        }
        if !failure.contains("locked") {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(failure)
}

fn addresses(nodes: &[Node]) -> Vec<SocketAddr> {
    let mut addresses: Vec<SocketAddr> = nodes.iter().map(|node| node.address).collect();
    addresses.sort();
    addresses
}

/// Starts all at once.
async fn start_all(nodes: &mut [Node], options: Options) {
    let initial = addresses(nodes);
    let mut starting = Vec::new();
    for node in nodes.iter_mut() {
        starting.push(node.start(&initial, options));
    }
    for (node, result) in join_all(starting).await.into_iter().enumerate() {
        result.unwrap_or_else(|error| panic!("node {node}: {error}"));
    }
}

/// Runs futures that borrow, side by side.
async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(|f| (Box::pin(f), None)).collect();
    std::future::poll_fn(|cx| {
        let mut pending = false;
        for (future, output) in &mut futures {
            if output.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    futures.into_iter().filter_map(|(_, output)| output).collect()
}

/// Waits until `check` holds; the test's own time limit is far above what it takes.
async fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    for _ in 0..3_000 {
        if let Some(found) = check() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never happened: {what}");
}

/// The place of the running node that leads and may stamp.
async fn leader(nodes: &[Node]) -> usize {
    eventually("a leader", || {
        nodes.iter().position(|node| node.is_running() && node.raft().is_stamping())
    })
    .await
}

/// Writes `value` through whoever leads.
async fn write(nodes: &[Node], value: i64) -> Applied {
    loop {
        let place = leader(nodes).await;
        let commands = vec![Command::SetWallOffset(WallOffset(value))];
        match nodes[place].raft().propose(commands).await {
            Ok(applied) => return applied,
            Err(ProposeError::NotLeader(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Waits until every running node has applied `index`.
async fn all_applied(nodes: &[Node], index: u64) {
    eventually(&format!("entry {index} everywhere"), || {
        nodes.iter().filter(|node| node.is_running()).all(|n| n.applied() >= index).then_some(())
    })
    .await;
}
