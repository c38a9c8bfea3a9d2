//! What the control API needs, answered by the parts of this node.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, watch};

use super::ConfigFile;
use super::alarms::Alarms;
use super::signals::Request;
use super::written::Places;
use crate::alloc::Holds;
use crate::api::{
    Acted, Answer, Backend, Done, Door, Effect, Member, NodeReport, Role, Sockets, SubmitError,
};
use crate::clock::Stopwatch;
use crate::config::Config;
use crate::history::LeaseLog;
use crate::net;
use crate::observe::alarms::KINDS;
use crate::observe::metrics::{self, Direction, Readings, SubnetReading, Table, TableReading};
use crate::observe::statistics::{Counted, Counts, Statistics};
use crate::propose::{self, Unsent};
use crate::raft;
use crate::serve::activate::Activation;
use crate::serve::drain::Drain;
use crate::serve::duties::Duties;
use crate::serve::service::Service;
use crate::serve::{self, Serve};
use crate::settings::Settings;
use crate::state::document::Editing;
use crate::state::{Command, ConfigVersion, EditConfig, NewConfig, State};
use crate::storage::DiskLog;

/// What the sockets count beside the packets that they drop.
const NOT_DROPPED: [&str; 4] = ["received", "sent", "pings", "ping_errors"];

/// How long a command waits before it looks again for room in the queue of commands.
const ROOM: Duration = Duration::from_millis(10);

/// The parts of the node that the API reads.
pub(super) struct NodeBackend {
    pub settings: Settings,
    /// Raft, state, clock, proposer, peers.
    pub parts: Duties,
    pub serve: Arc<Mutex<Serve>>,
    pub ports: Arc<net::Ports>,
    pub log: Arc<DiskLog>,
    /// The configuration that the sockets follow.
    pub active: watch::Receiver<Activation>,
    /// When that configuration became active, since the start.
    pub activated_at: watch::Receiver<Duration>,
    /// The committed index this node saw when it started (C15); `None` until it heard a leader.
    pub serve_from: watch::Receiver<Option<u64>>,
    /// Whether the worker was told that there is a majority (C12); a moment behind what Raft knows.
    pub majority_told: watch::Receiver<bool>,
    /// Changes of leader seen since the start.
    pub leader_changes: Arc<AtomicU64>,
    pub started: Stopwatch,
    /// Of the control API.
    pub doors: Vec<Arc<Door>>,
    /// Kea's statistics.
    pub statistics: Arc<Statistics>,
    /// Ends a drained node.
    pub drain: Drain,
    /// Who keeps this node from answering.
    pub service: Arc<Service>,
    /// What the configuration file means to this node.
    pub file: ConfigFile,
    /// Where the API may write files.
    pub places: Places,
    /// The machine's interfaces.
    pub machine: watch::Receiver<Arc<[net::InterfaceState]>>,
    /// What is the matter.
    pub alarms: Arc<Alarms>,
    /// The log of leases, if there is one.
    pub lease_log: Option<Arc<LeaseLog>>,
    /// The way to whoever reloads and stops.
    pub requests: mpsc::Sender<Request>,
    /// Held while the log is measured: by one at a time.
    pub measuring: tokio::sync::Mutex<()>,
}

/// Where the node's own numbers come from.
pub(super) struct NodeCounts {
    pub counters: Arc<serve::Counters>,
    pub ports: Arc<net::Ports>,
}

impl Counts for NodeCounts {
    fn counted(&self) -> Counted {
        serve::causes::counted(&self.counters, self.ports.counters().all())
    }
}

impl NodeBackend {
    /// What `/health/ready` says (architecture §2).
    fn ready(&self, status: &raft::Status) -> Result<(), String> {
        if let Some(reason) = &status.stopped {
            return Err(format!("Raft has stopped: {reason}"));
        }
        if self.parts.raft.disk().is_some_and(|disk| disk.is_full()) {
            return Err(format!(
                "the disk of {} is full: the log cannot be written, and this node answers nobody until there is room",
                self.settings.data_dir.display()
            ));
        }
        if self.parts.raft.disk().is_some_and(|disk| disk.is_out()) {
            return Err(format!(
                "the disk of {} stands still: another node leads, and this one answers nobody until the disk works",
                self.settings.data_dir.display()
            ));
        }
        let Some(from) = *self.serve_from.borrow() else {
            return Err("no leader heard since the start".into());
        };
        let applied = status.applied.unwrap_or(0);
        if applied < from {
            return Err(format!(
                "applied {applied} of the {from} entries that were committed at the start"
            ));
        }
        if !self.parts.has_majority(status) {
            return Err("no leader is heard: a majority of the nodes may be down or cut off".into());
        }
        // Until its worker knows it too, a node sends no OFFER.
        if !*self.majority_told.borrow() {
            return Err("a leader has just been found; answers begin in a moment".into());
        }
        let version = self.parts.state.read().view().config_version();
        if version == ConfigVersion(0) {
            return Err("the cluster has no configuration yet".into());
        }
        if !self.service.disabled_by().is_empty() {
            return Err("an operator has disabled the DHCP service (dhcp-disable): dhcp-enable lets it go on".into());
        }
        let active = self.active.borrow();
        if active.version == ConfigVersion(0) {
            return Err("the DHCP sockets are not open yet".into());
        }
        if active.sockets == 0 && active.opening {
            return Err("the DHCP sockets are being opened".into());
        }
        if active.sockets == 0 && !active.problems.is_empty() {
            return Err(format!("no DHCP socket is open: {}", active.problems.join("; ")));
        }
        Ok(())
    }

    fn members(&self, status: &raft::Status) -> Vec<Member> {
        let views = self.parts.peers.as_ref().map(|peers| peers.views()).unwrap_or_default();
        let majority = self.parts.has_majority(status);
        let now = self.parts.clock.monotonic();
        let (marked, _) = self.parts.raft.members();
        status
            .members
            .iter()
            .map(|member| {
                let own = member.node == status.id;
                let view = views.get(&member.node);
                let role = match status.role {
                    raft::Role::Candidate if own => Role::Candidate,
                    // It calls itself so, but a leader without a majority leads nobody.
                    raft::Role::Leader if own && !majority => Role::Candidate,
                    _ if status.leader == Some(member.node) => Role::Leader,
                    _ if !member.voter => Role::Learner,
                    _ => Role::Follower,
                };
                Member {
                    id: member.node,
                    address: member.address.clone(),
                    role,
                    votes: member.voter,
                    copy: marked.membership().get_node(&member.node.0).is_some_and(|it| it.learner),
                    applied: if own { status.applied } else { view.map(|view| view.applied) },
                    active: view.filter(|view| view.heard_at.is_some()).map(|view| view.active),
                    heard_ago: view.and_then(|view| view.heard_at).map(|at| now.saturating_sub(at)),
                    disabled: view.is_some_and(|view| view.disabled),
                    reachable: if own {
                        Some(true)
                    } else {
                        view.map(|view| view.heard_at.is_some() && !view.suspected)
                    },
                }
            })
            .collect()
    }
}

/// Names a change of the configuration.
fn change_id() -> Result<u64, SubmitError> {
    getrandom::u64().map_err(|error| {
        SubmitError::NotSubmitted(format!("no random number could be drawn: {error}"))
    })
}

impl Backend for NodeBackend {
    fn statistics(&self) -> &Arc<Statistics> {
        &self.statistics
    }

    fn state(&self) -> &RwLock<State> {
        &self.parts.state
    }

    fn report(&self) -> NodeReport {
        let status = self.parts.raft.status();
        let active = self.active.borrow().clone();
        let uptime = self.started.elapsed();
        NodeReport {
            node: status.id,
            name: self.settings.name.clone(),
            rack: self.settings.rack.clone(),
            cluster: format!("{:016x}", status.cluster),
            pid: std::process::id(),
            processors: std::thread::available_parallelism()
                .map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
            uptime,
            since_reload: uptime.saturating_sub(*self.activated_at.borrow()),
            active_config: active.version,
            config_problems: active.problems.clone(),
            sockets: match (active.problems.is_empty(), active.sockets) {
                (true, _) => Sockets::Ready,
                (false, 0) => Sockets::Failed(active.problems),
                (false, _) => Sockets::Retrying(active.problems),
            },
            warnings: super::control::warnings(&self.doors)
                .into_iter()
                .chain(self.parts.raft.states_differ())
                .collect(),
            alarms: self.alarms.active(),
            term: status.term,
            // A leader that is cut off from its majority leads nobody.
            leader: status.leader.filter(|_| self.parts.has_majority(&status)),
            last_log: status.last_log.unwrap_or(0),
            committed: status.committed.unwrap_or(0),
            applied: status.applied.unwrap_or(0),
            ready: self.ready(&status),
            members: self.members(&status),
            disabled_by: self.service.disabled_by(),
            queue: self.parts.inbox.mean_lengths(),
            wall: self.parts.clock.wall(),
            interfaces: self.interfaces(&self.machine.borrow()),
            as_kea: self.settings.as_kea,
        }
    }

    fn readings(&self) -> Readings {
        let status = self.parts.raft.status();
        let members = self.members(&status);
        let (counters, sizes) = {
            let serve = self.serve.lock();
            (serve.counters().clone(), serve.sizes())
        };
        let proposed = self.parts.proposer.counters();
        let (syncs, sync_micros) = self.log.syncs();
        let (cache, _) = self.log.cache();
        let (refused_certificates, failed_handshakes) =
            self.parts.raft.tls().map_or((0, 0), |tls| tls.refused());
        let table = |entries: usize, room: usize| TableReading {
            entries: entries as u64,
            room: room as u64,
        };
        let alarms = self.alarms.active();
        let disk = self.parts.raft.disk();
        let facts = disk.map(|disk| disk.facts()).unwrap_or_default();
        let (packets, _, _) = self.parts.inbox.counts();
        let views = self.parts.peers.as_ref().map(|peers| peers.views()).unwrap_or_default();
        let sockets = || self.ports.counters().all();
        let pings = sockets().filter(|(name, _)| name.starts_with("ping"));
        let events =
            counters.named().into_iter().chain([("table_full", sizes.dropped)]).chain(pings);
        Readings {
            name: self.settings.name.clone(),
            uptime: self.started.elapsed().as_secs_f64(),
            ready: self.ready(&status).is_ok(),
            raft: metrics::Raft {
                is_leader: status.role == raft::Role::Leader && self.parts.has_majority(&status),
                has_leader: self.parts.has_majority(&status),
                term: status.term,
                last_log: status.last_log.unwrap_or(0),
                committed: status.committed.unwrap_or(0),
                applied: status.applied.unwrap_or(0),
                snapshot: status.snapshot.unwrap_or(0),
                refused_rpcs: status.refused,
                refused_certificates,
                failed_handshakes,
                turned_away: self.parts.raft.turned_away(),
                snapshot_file: self.snapshot_file(),
                wall_clock_skew: self.wall_clock_skew(),
                states_differ: self.parts.raft.states_differ().is_some(),
                peers: members
                    .iter()
                    .filter(|member| member.id != status.id)
                    .map(|member| metrics::Peer {
                        node: member.id,
                        lag: member
                            .applied
                            .map(|applied| status.committed.unwrap_or(0).saturating_sub(applied)),
                        reachable: member.reachable == Some(true),
                        unmatched: status
                            .members
                            .iter()
                            .find(|one| one.node == member.id)
                            .and_then(|one| one.lag),
                        silence: member.heard_ago.map(|ago| ago.as_secs_f64()),
                        clock: views
                            .get(&member.id)
                            .and_then(|view| view.clock)
                            .map(|millis| millis as f64 / 1000.0),
                    })
                    .collect(),
                leader_changes: self.leader_changes.load(Relaxed),
            },
            packets: counters
                .replies()
                .map(|(kind, count)| (Direction::Sent, kind.name(), count))
                .collect(),
            dropped: counters
                .reasons()
                .map(|(reason, count)| (reason.name(), count))
                .chain(serve::causes::dropped_on_the_way(&counters))
                .chain(sockets().filter(|(name, _)| !NOT_DROPPED.contains(name)))
                .collect(),
            replies: counters
                .latencies
                .read()
                .map(|(what, spread)| (what.labels().0, what.labels().1, spread))
                .collect(),
            packet_queue: (packets as u64, serve::queue::PACKETS as u64),
            events: events.collect(),
            leases: if self.settings.control.subnet_metrics {
                self.subnet_readings()
            } else {
                Vec::new()
            },
            config_version: self.parts.state.read().view().config_version().0,
            propose: metrics::Propose {
                queued: proposed.waiting.load(Relaxed),
                queue_size: propose::batch::QUEUE as u64,
                queue_full: proposed.refused.load(Relaxed),
                in_flight: proposed.in_flight.load(Relaxed),
                batches: proposed.batches.load(Relaxed),
                commands: proposed.commands.load(Relaxed),
                forwarded: proposed.forwarded.load(Relaxed),
                unknown: proposed.unknown.load(Relaxed),
                seconds: Duration::from_micros(proposed.micros.load(Relaxed)).as_secs_f64(),
                outcomes: proposed.outcomes.load(Relaxed),
                no_leader: proposed.no_leader.load(Relaxed),
                sizes: proposed.sizes.read(),
            },
            storage: metrics::Storage {
                fsyncs: syncs,
                fsync_seconds: Duration::from_micros(sync_micros).as_secs_f64(),
                log_bytes: status.log_bytes,
                log_cache_bytes: cache,
                checkpoint_cache_bytes: crate::storage::CHECKPOINT_CACHE,
                syncs: disk.map(|disk| disk.syncs()).unwrap_or_default(),
                stall: facts.waiting.as_secs_f64(),
                space: (facts.room.total > 0).then_some((facts.room.free, facts.room.total)),
            },
            history: self.history_readings(),
            certificates: self.alarms.certificates(self.parts.clock.wall()),
            alarms: KINDS
                .iter()
                .map(|kind| {
                    let counts =
                        alarms.iter().filter(|alarm| alarm.kind == kind && !alarm.acknowledged);
                    let count = counts.count();
                    (kind.id, kind.severity, count as u64)
                })
                .collect(),
            tables: vec![
                (Table::Holds, table(sizes.holds, Holds::CAPACITY)),
                (Table::Shadows, table(sizes.shadows, serve::memory::SHADOWS)),
                (Table::HeardLinks, table(sizes.links, crate::peers::heard::LINKS)),
                (Table::Waiting, table(sizes.waiting, serve::worker::WAITING)),
                (Table::Committing, table(sizes.flying, propose::batch::QUEUE)),
                (Table::Kept, table(sizes.kept, serve::give_ups::MOST)),
                (Table::Circuits, table(counters.circuits.lock().len(), serve::circuits::CIRCUITS)),
            ],
            control: metrics::Control::default(),
        }
    }

    fn history(&self) -> Option<Arc<crate::history::History>> {
        self.parts.raft.history().cloned()
    }

    fn backup(&self) -> raft::backup::Backup {
        self.parts.raft.backup(self.parts.clock.wall())
    }

    fn submit(&self, command: Command, within: Duration) -> Answer<'_, Result<Done, SubmitError>> {
        Box::pin(async move {
            let watch = Stopwatch::start();
            let left = || within.saturating_sub(watch.elapsed());
            let answer = loop {
                match self.parts.proposer.submit(command.clone(), left()).await {
                    // Clients' packets come first; a command of the API has time to wait for room.
                    propose::Answer::Unsent(Unsent::Full) if !left().is_zero() => {
                        tokio::time::sleep(ROOM).await;
                    }
                    answer => break answer,
                }
            };
            self.applied_here(answer, left()).await
        })
    }

    fn set_config(
        &self,
        new: NewConfig,
        config: Arc<Config>,
        within: Duration,
    ) -> Answer<'_, Result<Done, SubmitError>> {
        Box::pin(async move {
            let watch = Stopwatch::start();
            let id = change_id()?;
            self.parts.raft.has_read(new.text.document, config);
            let answer = self.parts.proposer.submit_config(new, id, within).await;
            self.applied_here(answer, within.saturating_sub(watch.elapsed())).await
        })
    }

    fn edit_config(
        &self,
        mut edit: EditConfig,
        on: ConfigVersion,
        editing: Editing,
        within: Duration,
    ) -> Answer<'_, Result<Done, SubmitError>> {
        Box::pin(async move {
            let watch = Stopwatch::start();
            edit.id = change_id()?;
            self.parts.raft.has_edited(on, &edit.edit, editing);
            let answer = self.parts.proposer.submit(Command::EditConfig(edit), within).await;
            self.applied_here(answer, within.saturating_sub(watch.elapsed())).await
        })
    }

    fn read_barrier(&self, within: Duration) -> Answer<'_, Result<(), String>> {
        Box::pin(async move {
            match tokio::time::timeout(within, self.parts.raft.read_barrier()).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(no_leader)) => Err(no_leader.to_string()),
                Err(_) => Err(raft::NoLeader.to_string()),
            }
        })
    }

    fn activated(
        &self,
        version: ConfigVersion,
        within: Duration,
    ) -> Answer<'_, Result<(), String>> {
        Box::pin(self.is_active(version, within))
    }

    fn act(&self, effect: Effect, within: Duration) -> Answer<'_, Result<Acted, String>> {
        Box::pin(self.carry_out(effect, within))
    }
}

impl NodeBackend {
    /// The outcome, once this node has applied it: the next read here shall see it.
    async fn applied_here(
        &self,
        answer: propose::Answer,
        within: Duration,
    ) -> Result<Done, SubmitError> {
        match answer {
            propose::Answer::Committed(committed) => {
                let applied = self.parts.raft.applied_at_least(committed.index);
                match tokio::time::timeout(within, applied).await {
                    Ok(()) => Ok(Done { index: committed.index, outcome: committed.outcome }),
                    Err(_) => Err(SubmitError::Unknown(
                        "the command is committed, but this node has not applied it in time".into(),
                    )),
                }
            }
            propose::Answer::Unsent(why) => Err(SubmitError::NotSubmitted(self.why_unsent(why))),
            propose::Answer::Unknown => Err(SubmitError::Unknown(
                "the leader was lost while the command was on its way: it may or may not have taken effect".into(),
            )),
        }
    }

    fn why_unsent(&self, why: Unsent) -> String {
        match why {
            Unsent::Full => "too many commands are waiting; try again".into(),
            Unsent::Stopped => "this node is stopping".into(),
            Unsent::NotYet(_) => why.to_string(),
            _ => "no leader: a majority of the nodes may be down or cut off".into(),
        }
    }

    /// Seconds that the wall clock of this machine is ahead of cluster time plus its offset (R13).
    fn wall_clock_skew(&self) -> f64 {
        let cluster = i64::try_from(self.parts.raft.now().as_millis()).unwrap_or(i64::MAX);
        let shown = cluster.saturating_add(self.parts.state.read().view().meta().wall_offset().0);
        (self.parts.clock.wall().saturating_sub(shown)) as f64 / 1000.0
    }

    /// Size of the newest snapshot, and seconds since it was written.
    fn snapshot_file(&self) -> Option<(u64, f64)> {
        let files = std::fs::read_dir(self.settings.data_dir.join("snapshots")).ok()?;
        let about = files.flatten().filter_map(|file| file.metadata().ok());
        let written = about.filter(|about| about.is_file()).filter_map(|about| {
            let since = about.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
            Some((since, about.len()))
        });
        let (since, bytes) = written.max()?;
        let age = self.parts.clock.wall() as f64 / 1000.0 - since.as_secs_f64();
        Some((bytes, age.max(0.0)))
    }

    fn history_readings(&self) -> metrics::History {
        let Some(history) = self.parts.raft.history() else { return metrics::History::default() };
        let (waiting, failing) = history.backlog();
        metrics::History {
            kept: true,
            bytes: history.bytes(),
            waiting: waiting as u64,
            gaps: history.covered().len().saturating_sub(1) as u64,
            failing,
        }
    }

    fn subnet_readings(&self) -> Vec<SubnetReading> {
        let frozen = self.parts.state.read().freeze();
        let meta = frozen.meta();
        let config = meta.config();
        config
            .into_iter()
            .flat_map(|config| config.subnets.iter())
            .map(|subnet| SubnetReading {
                subnet: subnet.id,
                prefix: subnet.prefix.to_string(),
                pool_size: subnet.pools.iter().map(|pool| pool.range.size()).sum(),
                counts: frozen.counts(subnet.id),
                totals: meta.totals(subnet.id),
            })
            .collect()
    }
}
