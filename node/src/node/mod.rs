//! A whole node: builds the parts from bottom to top, and owns the order of start and shutdown.
//!
//! Start: data directory and identity → formation or joining (R14) → log and Raft → peers → proposer → sockets
//! and worker → control API → seed of the configuration. A node answers DHCP only when it has
//! applied what was committed when it started (C15); `/health/ready` says when.
//!
//! Shutdown, within 8 s of SIGTERM (R26): the API says "not ready"; leadership is handed over, so that
//! the others need no election; this node goes on answering those who chose it for a while; then
//! sockets, API, peer port and Raft close, in that order. Being killed at any point instead loses
//! nothing that was acknowledged: that is what the rest of the program is for.

mod acts;
mod alarms;
mod backend;
mod certificates;
mod confine;
mod control;
mod joining;
mod measure;
mod membership;
mod seed;
mod signals;
mod written;

use std::fs::{File, TryLockError};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use socket2::{Domain, Socket, Type};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic::service::Routes;

pub use signals::on_interrupt;

use crate::api::Door;
use crate::clock::{Clock, Stopwatch, SystemClock};
use crate::dhcp;
use crate::history::{self, LeaseLog, LeaseLogFiles};
use crate::net;
use crate::observe::statistics::Statistics;
use crate::peers::{self, Peers};
use crate::propose::{ProposalsService, Proposer, Route, Signals, ToLeader, follow_leader};
use crate::raft::{self, Raft};
use crate::serve::activate::{Activation, Activator, listen_of};
use crate::serve::drain::{self, Drain};
use crate::serve::duties::Duties;
use crate::serve::service::Service;
use crate::serve::{self, After, Inbox, NodeHands, Serve, Worker};
use crate::settings::{Listener, Peer, Settings};
use crate::state::{Command, Liveness, NodeInfo, State, feature};
use crate::storage::{self, DiskLog, DiskWatch, IdentityFile, LogSettings};
use backend::{NodeBackend, NodeCounts};
use signals::Request;
use written::Places;

/// What becomes of the configuration file at each start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigFile {
    /// It seeds a new cluster and is not looked at again.
    Seeds,
    /// It replaces the configuration at each start and SIGHUP: the Kea personality (R26).
    Wins,
}

/// Why a node ended without being told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Settings or configuration; starting again will not help.
    #[error("{0}")]
    Settings(String),
    /// Anything else.
    #[error("{0}")]
    Fault(String),
}

/// How long a stopping node goes on answering those who chose it (R26).
const LAST_ANSWERS: Duration = Duration::from_secs(4);
/// Connections to the peer port that the kernel keeps until they are accepted. With few, a crowd of strangers
/// keeps a member out for as long as it takes to try again.
const PEER_BACKLOG: i32 = 1024;
/// How long a start waits before it looks again at a full disk.
const FULL: Duration = Duration::from_secs(5);
/// How long a step of the shutdown may take that concerns the others: handing over, saying good-bye.
const STEP: Duration = Duration::from_secs(1);
/// How long closing the sockets, the worker and the runtime may take, each.
const CLOSING: Duration = Duration::from_millis(300);
/// When Raft must have stopped, after the stop began: what is left of the 8 s (R26) is for the rest.
const RAFT_STOPPED: Duration = Duration::from_millis(7_400);

/// Runs a node until SIGTERM, SIGINT, `shutdown` or, if so wished, the end of standard input. Returns
/// the exit status that was asked for, 0 unless `shutdown` names one.
///
/// # Errors
/// See [`RunError`].
pub fn run_until_told_to_stop(
    settings: Settings,
    file: ConfigFile,
    until_stdin_closes: bool,
) -> Result<u8, RunError> {
    pretend()?;
    confine::confine(&settings, file);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| RunError::Fault(format!("the runtime does not start: {error}")))?;
    let result = runtime.block_on(run(settings, file, until_stdin_closes));
    // A blocking thread that hangs in the kernel must not keep the process.
    runtime.shutdown_timeout(CLOSING);
    result
}

/// A hook for tests of upgrades: with `LEASEHOLD_PRETEND_LEVEL=1` the program goes by feature level 1, as
/// an older one would. Not for use: it makes a node poorer and nothing better.
fn pretend() -> Result<(), RunError> {
    let Some(wish) = std::env::var_os("LEASEHOLD_PRETEND_LEVEL") else { return Ok(()) };
    let level = wish.to_str().and_then(|wish| wish.parse().ok());
    let known = 1..=feature::CURRENT;
    let level = level.filter(|level| known.contains(level)).ok_or_else(|| {
        RunError::Settings(format!(
            "LEASEHOLD_PRETEND_LEVEL is a number from 1 to {}",
            feature::CURRENT
        ))
    })?;
    tracing::warn!(level, "this program pretends to be an older one (LEASEHOLD_PRETEND_LEVEL)");
    feature::pretend(level);
    Ok(())
}

async fn run(
    settings: Settings,
    file: ConfigFile,
    until_stdin_closes: bool,
) -> Result<u8, RunError> {
    let started = Stopwatch::start();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (asking, mut requests) = signals::listen(until_stdin_closes).map_err(fault("signals"))?;
    let interfaces = settings
        .dhcp4
        .interfaces
        .as_deref()
        .map(listen_of)
        .transpose()
        .map_err(|error| RunError::Settings(format!("[dhcp4].interfaces: {error}")))?;

    let doors = control::doors(&settings)?;
    let tls = control::peer_tls(&settings)?;
    let _lock = claim(&settings.data_dir)?;
    joining::refuse_removed(&settings.data_dir)?;
    let (identity_file, identity) =
        IdentityFile::open(&settings.data_dir).map_err(fault("the identity file"))?;
    let identity_file = Arc::new(identity_file);
    let is_new = identity.seat.as_ref().is_none_or(|seat| seat.provisional);
    // A node that joins takes the cluster's configuration.
    let seeds = !is_new || settings.cluster.join.is_empty();
    let read = if seeds { seed::read(&settings, file) } else { Ok(None) };
    let seed = match read {
        // A member of a cluster that has its configuration must not stay away for the seed's sake.
        Err(error) if file == ConfigFile::Seeds && !is_new => {
            tracing::warn!("[cluster].config is not usable, and not needed any more: {error}");
            None
        }
        seed => seed?,
    };
    let listener = settings.peer.as_ref().map(bind_peer).transpose()?;
    let advertised =
        settings.peer.as_ref().map_or(SocketAddr::from(([127, 0, 0, 1], 0)), Peer::advertised);
    let plan = formation_plan(&settings, advertised, tls.clone());
    let joins = is_new && !settings.cluster.join.is_empty();

    let seating = async {
        if joins {
            return joining::join(&settings, advertised, tls.clone(), &identity_file, identity)
                .await;
        }
        let formed = match &listener {
            Some(listener) => raft::form(&plan, listener, &identity_file, identity).await,
            // Nobody can reach a node without a peer port, and one of one needs nobody.
            None => match TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)) {
                Ok(listener) => raft::form(&plan, &listener, &identity_file, identity).await,
                Err(error) => Err(error.into()),
            },
        };
        formed.map_err(|error| match error {
            raft::FormationError::Io(_) => RunError::Fault(error.to_string()),
            _ => RunError::Settings(error.to_string()),
        })
    };
    if is_new && !joins && settings.peer.is_some() && settings.cluster.initial.is_empty() {
        tracing::warn!("[cluster].initial is empty: forming a cluster of one");
    }
    if is_new && !joins && plan.initial.len() > 1 {
        tracing::info!(initial = ?plan.initial, "forming a cluster: waiting until all nodes of [cluster].initial answer");
    }
    let identity = tokio::select! {
        seated = seating => seated?,
        request = wait_for_stop(&mut requests) => return request,
    };

    let log = tokio::select! {
        log = open_log(&settings) => Arc::new(log?),
        request = wait_for_stop(&mut requests) => return request,
    };
    let state = Arc::new(RwLock::new(State::new()));
    let raft = Raft::start(raft::Start {
        dir: settings.data_dir.clone(),
        identity,
        identity_file: Some(identity_file),
        log: log.clone(),
        state: state.clone(),
        clock: clock.clone(),
        timers: timers(&settings),
        keeping: raft::Keeping {
            history: Some(history::Limits::new(
                settings.history.keep(),
                settings.history.max_bytes,
            )),
            ..raft::Keeping::default()
        },
        tls,
    })
    .await
    .map_err(|error| RunError::Fault(error.to_string()))?;
    if settings.peer.is_some() {
        raft.advertise(advertised.to_string());
    }
    tracing::info!(node = %raft.id(), applied = state.read().applied(), "the log is open");

    let node = Node::start(
        settings, started, clock, log, state, raft, listener, interfaces, file, asking, doors,
    )
    .await?;
    let result = loop {
        tokio::select! {
            request = requests.recv() => match request {
                Some(Request::Reload(reply)) => tokio::select! {
                    result = node.reload(file) => {
                        if let Some(reply) = reply {
                            // Whoever asked may have gone.
                            let _ = reply.send(result);
                        }
                    }
                    // A reload that waits for a leader must not hold up the end.
                    stopped = wait_for_stop(&mut requests) => break stopped,
                    reason = node.parts.raft.stopped() => {
                        break Err(RunError::Fault(format!("Raft has stopped: {reason}")));
                    }
                },
                Some(Request::Stop(status)) => break Ok(status),
                None => break Ok(0),
            },
            reason = node.parts.raft.stopped() => {
                break Err(RunError::Fault(format!("Raft has stopped: {reason}")));
            }
            why = node.parts.raft.removed() => {
                break Err(joining::removed(&node.settings.data_dir, node.parts.raft.id(), &why));
            }
            // Ends with the first success; then this branch is never ready again.
            seeded = seed::plant(&seed, file, &node.parts), if !node.seeded.borrow().to_owned() => {
                node.seeded.send_replace(true);
                if let Err(error) = seeded {
                    break Err(error);
                }
            }
        }
    };
    node.stop().await;
    result
}

/// Opens the log, as soon as there is room for it.
async fn open_log(settings: &Settings) -> Result<DiskLog, RunError> {
    let (dir, reserve) = (settings.data_dir.join("log"), settings.disk.reserve_bytes);
    let watch = DiskWatch::start(&settings.data_dir, reserve).map_err(fault("the disk"))?;
    loop {
        let (dir, watch) = (dir.clone(), watch.clone());
        let opening = tokio::task::spawn_blocking(move || {
            DiskLog::open_watched(&dir, LogSettings::default(), storage::exit_on_fault(), watch)
        });
        match opening.await.map_err(|error| RunError::Fault(error.to_string()))? {
            Ok(log) => return Ok(log),
            Err(error) if error.is_full() => {
                tracing::error!("{error}: this node waits for it");
                tokio::time::sleep(FULL).await;
            }
            Err(error) => return Err(RunError::Fault(error.to_string())),
        }
    }
}

async fn wait_for_stop(
    requests: &mut tokio::sync::mpsc::Receiver<Request>,
) -> Result<u8, RunError> {
    loop {
        match requests.recv().await {
            Some(Request::Reload(_)) => {}
            Some(Request::Stop(status)) => return Ok(status),
            None => return Ok(0),
        }
    }
}

fn fault(what: &'static str) -> impl Fn(io::Error) -> RunError {
    move |error| RunError::Fault(format!("{what}: {error}"))
}

fn timers(settings: &Settings) -> raft::Timers {
    raft::Timers {
        heartbeat: Duration::from_millis(settings.raft.heartbeat),
        election_min: Duration::from_millis(settings.raft.election_min),
        election_max: Duration::from_millis(settings.raft.election_max),
    }
}

fn formation_plan(
    settings: &Settings,
    advertised: SocketAddr,
    tls: Option<Arc<raft::PeerTls>>,
) -> raft::Plan {
    let initial = if settings.cluster.initial.is_empty() {
        vec![advertised]
    } else {
        settings.cluster.initial.clone()
    };
    raft::Plan { advertise: advertised, initial, tls }
}

/// Makes the data directory, readable by nobody else, and claims it for this process.
fn claim(directory: &Path) -> Result<File, RunError> {
    let wrong =
        |error: io::Error| RunError::Settings(format!("data-dir {}: {error}", directory.display()));
    if !directory.exists() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(wrong)?;
    }
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(directory.join("lock"))
        .map_err(wrong)?;
    match lock.try_lock() {
        Ok(()) => {
            // Only now: what looks left over may be another process's work in progress.
            storage::prepare(directory).map_err(wrong)?;
            Ok(lock)
        }
        Err(TryLockError::WouldBlock) => Err(RunError::Settings(format!(
            "data-dir {} is in use by another process",
            directory.display()
        ))),
        Err(TryLockError::Error(error)) => Err(wrong(error)),
    }
}

fn bind_peer(peer: &Peer) -> Result<TcpListener, RunError> {
    let bound = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(peer.listen), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&peer.listen.into())?;
        socket.listen(PEER_BACKLOG)?;
        Ok(socket.into())
    };
    bound().map_err(|error| RunError::Settings(format!("[peer].listen {}: {error}", peer.listen)))
}

/// A node that runs.
struct Node {
    parts: Duties,
    settings: Settings,
    /// Of the control API.
    doors: Vec<Arc<Door>>,
    serve: Arc<Mutex<Serve>>,
    ports: Arc<net::Ports>,
    /// Everything that ends when told so: API listeners and the peer port.
    stop: watch::Sender<bool>,
    stop_peers: watch::Sender<bool>,
    tasks: JoinSet<()>,
    seeded: watch::Sender<bool>,
    /// If there is one.
    lease_log: Option<Arc<LeaseLog>>,
}

impl Node {
    #[allow(clippy::too_many_arguments)]
    async fn start(
        settings: Settings,
        started: Stopwatch,
        clock: Arc<dyn Clock>,
        log: Arc<DiskLog>,
        state: Arc<RwLock<State>>,
        raft: Raft,
        listener: Option<TcpListener>,
        interfaces: Option<Vec<crate::config::Listen>>,
        file: ConfigFile,
        requests: mpsc::Sender<Request>,
        doors: Vec<Arc<Door>>,
    ) -> Result<Node, RunError> {
        let mut tasks = JoinSet::new();
        let inbox = Arc::new(Inbox::new(clock.clone()));
        let (stop, stopping) = watch::channel(false);
        let (stop_peers, peers_stopping) = watch::channel(false);
        let drain = {
            let requests = requests.clone();
            // What does not fit now is asked again a moment later.
            let stop = move || _ = requests.try_send(Request::Stop(0));
            Drain::new(raft.clone(), state.clone(), Arc::new(stop))
        };

        // Peers first: a proposal of ours may have to go to one, and theirs to us.
        let peers = listener
            .as_ref()
            .map(|_| Arc::new(Peers::start(raft.clone(), clock.clone(), peer_events(&inbox))));
        if let (Some(listener), Some(peers)) = (&listener, &peers) {
            let services =
                Routes::new(ProposalsService::server(&raft)).add_service(peers.service());
            let services = services
                .add_service(peers::gaps::GapsService::server(&raft))
                .add_service(raft::hashes::HashesService::server(&raft))
                .add_service(drain.server());
            tasks.spawn(peers::gaps::fill(raft.clone()));
            tasks.spawn(raft.clone().watch_states());
            let server = raft
                .serve(listener, services, until(peers_stopping))
                .map_err(fault("the peer port"))?;
            tasks.spawn(async move {
                if let Ok(Err(error)) = server.await {
                    tracing::error!(%error, "the peer port has closed");
                }
            });
        }
        let round_trip = match &peers {
            Some(peers) => peers.round_trip(),
            None => watch::channel(Duration::ZERO).1,
        };
        let answers: crate::propose::Sink = {
            let inbox = inbox.clone();
            Arc::new(move |answers| inbox.event(serve::Event::Answers(answers)))
        };
        let signals = Signals { route: follow_leader(&raft), round_trip };
        let (proposer, proposing) =
            Proposer::start(ToLeader::new(raft.clone()), signals, answers, clock.clone());
        tasks.spawn(async move {
            // Ends with the last handle of the proposer.
            let _ = proposing.await;
        });

        let counters = Arc::new(serve::Counters::default());
        let (after, following) = After::new(raft.clone(), state.clone(), counters.clone());
        tasks.spawn(following.run());
        let parts = Duties { raft, state, clock, proposer, peers, inbox, after };
        let numbers = &settings.dhcp4;
        let ports = Arc::new(net::Ports::new(
            net::PortNumbers {
                server: numbers.port,
                relay: numbers.relay_port,
                client: numbers.client_port,
            },
            {
                let inbox = parts.inbox.clone();
                Arc::new(move |received| inbox.packet(received))
            },
        ));
        let statistics = Arc::new(Statistics::new(
            parts.state.clone(),
            NodeCounts { counters: counters.clone(), ports: ports.clone() },
            parts.clock.clone(),
        ));
        tasks.spawn(take_samples(statistics.clone()));
        let serve = Arc::new(Mutex::new(start_worker(&parts, &settings, &ports, counters)?));
        let machine = net::watch().await.map_err(fault("the interfaces of this machine"))?;
        let (active_sender, active) = watch::channel(Activation::default());
        let activator = Activator {
            raft: parts.raft.clone(),
            state: parts.state.clone(),
            ports: ports.clone(),
            machine: machine.clone(),
            interfaces,
            inbox: parts.inbox.clone(),
        };
        tasks.spawn(activator.run(active_sender));
        let (majority_sender, majority_told) = watch::channel(false);
        tasks.spawn(parts.clone().watch_majority(majority_sender));
        tasks.spawn(parts.clone().lead());
        tasks.spawn(parts.clone().mind_disk());
        tasks.spawn(parts.clone().keep_membership());
        let (serve_from_sender, serve_from) = watch::channel(None);
        let catching_up = parts.clone();
        tasks.spawn(async move {
            let index = catching_up.catch_up().await;
            tracing::info!(index, "caught up with what was committed at the start");
            serve_from_sender.send_replace(Some(index));
        });
        tasks.spawn(tell_peers(active.clone(), parts.peers.clone()));
        tasks.spawn(parts.clone().introduce(node_info(&settings, &parts.raft, active.clone())));
        let (activated_sender, activated_at) = watch::channel(Duration::ZERO);
        tasks.spawn(tell_activations(active.clone(), activated_sender, started));

        let lease_log = lease_log(&settings, &parts.raft)?;
        let service = Arc::new(Service::new(parts.clock.clone(), service_told(&parts)));
        tasks.spawn(service.clone().run());
        let backend = Arc::new(NodeBackend {
            drain,
            service,
            file,
            places: Places::of(&settings, file == ConfigFile::Wins),
            machine,
            requests,
            settings: settings.clone(),
            parts: parts.clone(),
            serve: serve.clone(),
            ports: ports.clone(),
            log,
            active,
            activated_at,
            serve_from,
            majority_told,
            leader_changes: count_leaders(&parts.raft),
            started,
            statistics,
            doors: doors.clone(),
            alarms: Arc::default(),
            lease_log: lease_log.clone(),
            measuring: tokio::sync::Mutex::default(),
        });
        tasks.spawn(alarms::watch(backend.clone()));
        control::serve(&settings, &doors, backend, &stopping, &mut tasks).await?;
        Ok(Node {
            parts,
            settings,
            doors,
            serve,
            ports,
            stop,
            stop_peers,
            tasks,
            seeded: watch::channel(false).0,
            lease_log,
        })
    }

    /// SIGHUP, and `config-reload`; the reason when the file could not be put into force.
    async fn reload(&self, file: ConfigFile) -> Result<(), String> {
        control::peer_tls_anew(self.parts.raft.tls());
        if let Some(log) = &self.lease_log {
            log.reopen();
        }
        match file {
            ConfigFile::Seeds => {
                let why = "the configuration belongs to the cluster and was not read again; use cluster-ctl config set";
                tracing::warn!("SIGHUP: {why}");
                control::guard_anew(&self.settings, &self.doors, file);
                Err(why.to_owned())
            }
            ConfigFile::Wins => {
                let planted = match seed::read(&self.settings, file) {
                    Ok(seed) => seed::plant(&seed, file, &self.parts).await,
                    Err(error) => Err(error),
                };
                let name =
                    self.settings.cluster.config.as_deref().unwrap_or(Path::new("")).display();
                match planted {
                    Ok(()) => {
                        tracing::info!(
                            "dynamic server reconfiguration succeeded with file: {name}"
                        );
                        control::guard_anew(&self.settings, &self.doors, file);
                        Ok(())
                    }
                    Err(error) => {
                        tracing::error!(
                            "dynamic server reconfiguration failed with file: {name}: {error}"
                        );
                        Err(error.to_string())
                    }
                }
            }
        }
    }

    async fn stop(mut self) {
        tracing::info!("stopping");
        let began = Stopwatch::start();
        let raft = &self.parts.raft;
        let alone = raft.status().members.len() <= 1;
        if !alone && raft.is_stamping() {
            match tokio::time::timeout(STEP, raft.transfer_leader(None)).await {
                Ok(Ok(leader)) => tracing::info!(%leader, "leadership is handed over"),
                _ => tracing::warn!("leadership could not be handed over; the others will elect"),
            }
        }
        if !alone && self.parts.has_majority(&raft.status()) {
            tokio::time::sleep(self.say_good_bye().await).await;
        }
        let ports = self.ports.clone();
        let _ =
            tokio::time::timeout(CLOSING, tokio::task::spawn_blocking(move || ports.close())).await;
        let serve = self.serve.clone();
        let _ =
            tokio::time::timeout(CLOSING, tokio::task::spawn_blocking(move || serve.lock().stop()))
                .await;
        self.stop.send_replace(true);
        self.stop_peers.send_replace(true);
        let left = RAFT_STOPPED.saturating_sub(began.elapsed());
        if tokio::time::timeout(left, self.parts.raft.shutdown()).await.is_err() {
            tracing::warn!("Raft did not stop in time; the next start recovers from the log");
        }
        if let Some(log) = self.lease_log.take() {
            // The history has ended: this writes the rest of it.
            let _ =
                tokio::time::timeout(STEP, tokio::task::spawn_blocking(move || log.stop())).await;
        }
        self.tasks.shutdown().await;
        tracing::info!(took = ?began.elapsed(), "stopped");
    }

    /// Tells the cluster that this node leaves; how long it still has to answer those who chose it. A
    /// node that was drained before has told, and has answered the most of them.
    async fn say_good_bye(&self) -> Duration {
        let me = self.parts.raft.id();
        let now = self.parts.raft.now();
        if let Some(left) = drain::last_answers_left(&self.parts.state.read(), me, now) {
            return left.min(LAST_ANSWERS);
        }
        let draining = Command::NodeLiveness(me, Liveness::Draining);
        // Best effort: without it the others notice in half a second.
        let _ = tokio::time::timeout(STEP, self.parts.proposer.submit(draining, STEP)).await;
        LAST_ANSWERS
    }
}

/// The log of leases, if the settings want one and there is a history to make it from.
fn lease_log(settings: &Settings, raft: &Raft) -> Result<Option<Arc<LeaseLog>>, RunError> {
    let Some(log) = settings.log.leases.clone() else { return Ok(None) };
    let Some(history) = raft.history() else {
        tracing::error!(
            "[log].leases: this node has no lease history, so nothing is written there"
        );
        return Ok(None);
    };
    let note = settings.data_dir.join("lease-log");
    let files = LeaseLogFiles { log, note, cluster: raft.status().cluster };
    let started = LeaseLog::start(history.clone(), files);
    started.map(|log| Some(Arc::new(log))).map_err(fault("the lease log"))
}

/// Keeps the history of the statistics; ends when it is dropped.
async fn take_samples(statistics: Arc<Statistics>) {
    let mut pause = Duration::from_secs(1);
    loop {
        tokio::time::sleep(pause).await;
        let statistics = statistics.clone();
        // With thousands of subnets it takes its time.
        match tokio::task::spawn_blocking(move || statistics.sample()).await {
            Ok(next) => pause = next,
            Err(error) => tracing::error!(%error, "statistics were not sampled"),
        }
    }
}

async fn until(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

fn peer_events(inbox: &Arc<Inbox>) -> peers::Sink {
    let inbox = inbox.clone();
    Arc::new(move |event| inbox.event(event.into()))
}

/// The worker and the peers hear of every change of the service.
fn service_told(parts: &Duties) -> serve::service::Sink {
    let (inbox, peers) = (parts.inbox.clone(), parts.peers.clone());
    Box::new(move |disabled| {
        inbox.event(serve::Event::Disabled(disabled));
        if let Some(peers) = &peers {
            peers.set_disabled(disabled);
        }
    })
}

fn start_worker(
    parts: &Duties,
    settings: &Settings,
    ports: &net::Ports,
    counters: Arc<serve::Counters>,
) -> Result<Serve, RunError> {
    let incarnation = storage::draw().map_err(fault("randomness"))?;
    let numbers = dhcp::v4::Ports {
        server: settings.dhcp4.port,
        relay: settings.dhcp4.relay_port,
        client: settings.dhcp4.client_port,
    };
    let worker = Worker::new(parts.raft.id(), incarnation, numbers, counters);
    let hands = NodeHands {
        sender: ports.sender(),
        proposer: parts.proposer.clone(),
        peers: parts.peers.clone(),
        raft: parts.raft.clone(),
        inbox: parts.inbox.clone(),
        runtime: tokio::runtime::Handle::current(),
        pinger: {
            let inbox = parts.inbox.clone();
            let mark = storage::draw().map_err(fault("randomness"))?;
            ports.pinger(mark, Arc::new(move |address| inbox.event(serve::Event::Ponged(address))))
        },
        after: parts.after.clone(),
    };
    Serve::start(worker, parts.inbox.clone(), parts.state.clone(), parts.clock.clone(), hands)
        .map_err(fault("the worker thread"))
}

/// What this node tells the cluster about itself; changes with its addresses.
fn node_info(
    settings: &Settings,
    raft: &Raft,
    mut active: watch::Receiver<Activation>,
) -> watch::Receiver<NodeInfo> {
    let peer_address =
        settings.peer.as_ref().map_or(String::new(), |peer| peer.advertised().to_string());
    let info = NodeInfo {
        node: raft.id(),
        name: settings.name.clone(),
        rack: settings.rack.clone(),
        peer_address,
        control: settings.control.listeners().iter().map(Listener::url).collect(),
        identities: active.borrow().addresses.clone(),
        version: crate::VERSION.to_owned(),
        level: feature::known(),
    };
    let (sender, receiver) = watch::channel(info);
    tokio::spawn(async move {
        while active.changed().await.is_ok() {
            let identities = active.borrow_and_update().addresses.clone();
            sender.send_if_modified(|info| {
                let changed = info.identities != identities;
                info.identities = identities;
                changed
            });
        }
    });
    receiver
}

/// Logs who leads, and counts the leaders that follow the first; ends with Raft.
fn count_leaders(raft: &Raft) -> Arc<AtomicU64> {
    let changes = Arc::new(AtomicU64::new(0));
    let (counter, mut route) = (changes.clone(), follow_leader(raft));
    tokio::spawn(async move {
        let mut last = Route::Nowhere;
        while route.changed().await.is_ok() {
            let now = *route.borrow_and_update();
            match now {
                Route::Here => tracing::info!("this node leads"),
                Route::To(leader) => tracing::info!(%leader, "another node leads"),
                Route::Nowhere => tracing::info!("no leader for the moment"),
            }
            if now != Route::Nowhere {
                counter.fetch_add(u64::from(last != Route::Nowhere && now != last), Relaxed);
                last = now;
            }
        }
    });
    changes
}

/// Has the peers told which configuration is active here.
async fn tell_peers(mut active: watch::Receiver<Activation>, peers: Option<Arc<Peers>>) {
    let Some(peers) = peers else { return };
    loop {
        let told = {
            let active = active.borrow_and_update();
            let problems = u32::try_from(active.problems.len()).unwrap_or(u32::MAX);
            peers::Active { version: active.version, problems }
        };
        peers.set_active(told);
        if active.changed().await.is_err() {
            return;
        }
    }
}

async fn tell_activations(
    mut active: watch::Receiver<Activation>,
    at: watch::Sender<Duration>,
    started: Stopwatch,
) {
    let mut version = active.borrow_and_update().version;
    let mut first = true;
    while active.changed().await.is_ok() {
        let now = active.borrow_and_update().version;
        if now != version {
            version = now;
            at.send_replace(started.elapsed());
            if std::mem::take(&mut first) {
                tracing::info!("server version {} started", crate::VERSION);
            }
            tracing::info!(version = version.0, "the configuration is active");
        }
    }
}
