//! The alarms of a node: gathers what it sees, about once a second, has it judged, and tells the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::time::{MissedTickBehavior, interval};

use super::backend::NodeBackend;
use super::certificates;
use crate::api::Backend;
use crate::api::commands::recovery;
use crate::observe::alarms::{
    Alarm, Certificate, Disk, Facts, Judgement, Memory, Peer, Pool, Severity, judge,
};
use crate::observe::statistics::{Figures, Stat};
use crate::serve::levels::Levels;
use crate::state::Liveness;
use crate::types::NodeId;

/// How often a node looks.
const LOOK: Duration = Duration::from_secs(1);
/// How many looks pass between two at what changes slowly and costs more.
const SLOW: u32 = 10;
/// Subnets that are looked at under one lock of the state.
const PORTION: usize = 16;

/// The alarms of this node, and what other parts of it have to say about them.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    memory: Mutex<Memory>,
    active: RwLock<Arc<[Alarm]>>,
    slow: RwLock<Slow>,
}

/// What is looked at more seldom.
#[derive(Debug, Clone, Default)]
struct Slow {
    pools: Vec<Pool>,
    certificates: Vec<Certificate>,
}

impl Alarms {
    /// Every alarm, worst first.
    pub(super) fn active(&self) -> Arc<[Alarm]> {
        self.active.read().clone()
    }

    /// Takes note of alarms; answers of how many.
    pub(super) fn acknowledge(&self, id: &str, about: Option<&str>) -> usize {
        let mut memory = self.memory.lock();
        let count = memory.acknowledge(id, about);
        *self.active.write() = memory.active().into();
        count
    }

    /// Certificates, and seconds until they expire.
    pub(super) fn certificates(&self, wall: i64) -> Vec<(String, f64)> {
        let left = |certificate: &Certificate| {
            (certificate.what.clone(), certificate.not_after as f64 - wall as f64 / 1000.0)
        };
        self.slow.read().certificates.iter().map(left).collect()
    }

    fn look(&self, facts: &Facts) {
        let Judgement { active, raised, cleared } = {
            let mut memory = self.memory.lock();
            let judged = judge(facts, &mut memory);
            *self.active.write() = judged.active.clone().into();
            judged
        };
        for Alarm { kind, about, text, .. } in raised {
            let (id, remedy, active) = (kind.id, kind.remedy, active.len());
            match kind.severity {
                Severity::Critical => {
                    tracing::error!(alarm = id, about, remedy, active, "alarm: {text}");
                }
                Severity::Warning => {
                    tracing::warn!(alarm = id, about, remedy, active, "alarm: {text}");
                }
            }
        }
        for Alarm { kind, about, .. } in cleared {
            let (id, active) = (kind.id, active.len());
            tracing::info!(alarm = id, about, active, "the alarm is over");
        }
    }
}

/// Looks for ever.
pub(super) async fn watch(node: Arc<NodeBackend>) {
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = 0_u32;
    loop {
        tick.tick().await;
        if looks.is_multiple_of(SLOW) {
            let node = node.clone();
            // Files, and thousands of subnets.
            let slow = tokio::task::spawn_blocking(move || *node.alarms.slow.write() = node.slow());
            if let Err(error) = slow.await {
                tracing::error!(%error, "pools and certificates were not looked at");
            }
        }
        looks = looks.wrapping_add(1);
        let facts = node.facts();
        node.alarms.look(&facts);
    }
}

impl NodeBackend {
    fn facts(&self) -> Facts {
        let report = self.report();
        let slow = self.alarms.slow.read().clone();
        let (waiting, failing) =
            self.parts.raft.history().map(|history| history.backlog()).unwrap_or_default();
        let lease_log = self.lease_log.as_ref().and_then(|log| log.failing());
        let not_written = failing.then(|| {
            let why = format!("its disk does not take it, and {waiting} events wait");
            ("the lease history", why)
        });
        let (config, level, recovery_hold) = {
            let state = self.parts.state.read();
            let view = state.view();
            let levels = Levels::of(report.members.iter().map(|member| member.id), view);
            let level = (levels.common().unwrap_or(0), levels.in_force);
            let config = (view.config_version().0, report.active_config.0);
            (config, level, recovery::warning(view.meta()))
        };
        Facts {
            node: report.node.0,
            now: self.parts.clock.monotonic(),
            wall: report.wall,
            uptime: report.uptime,
            has_majority: report.leader.is_some(),
            lag: report.committed.saturating_sub(report.applied),
            peers: self.peer_facts(),
            version: crate::VERSION.to_owned(),
            level,
            config,
            config_problems: report.config_problems,
            disk: self.disk_facts(),
            pools: slow.pools,
            certificates: slow.certificates,
            doors: super::control::warnings(&self.doors),
            state_differs: self.parts.raft.states_differ(),
            recovery_hold,
            not_written: not_written
                .into_iter()
                .chain(lease_log.map(|why| ("the log of leases", why)))
                .collect(),
        }
    }

    /// Asks nobody who would have to wait for the disk.
    fn disk_facts(&self) -> Disk {
        let Some(watch) = self.parts.raft.disk() else { return Disk::default() };
        let facts = watch.facts();
        Disk {
            stall: facts.waiting,
            longest: facts.worst,
            space: (facts.room.total > 0).then_some((facts.room.free, facts.room.total)),
            low: facts.room.low,
            full: facts.full_for.map(|lasts| {
                format!("the log could not be written for {} s for want of room", lasts.as_secs())
            }),
        }
    }

    fn peer_facts(&self) -> Vec<Peer> {
        let status = self.parts.raft.status();
        let views = self.parts.peers.as_ref().map(|peers| peers.views()).unwrap_or_default();
        let (now, committed) = (self.parts.clock.monotonic(), status.committed.unwrap_or(0));
        let state = self.parts.state.read();
        let meta = state.view().meta();
        let peer = |id: NodeId| {
            let (entry, view) = (meta.node(id), views.get(&id));
            let info = entry.and_then(|entry| entry.info.as_ref());
            let liveness = entry.map_or(Liveness::Up, |entry| entry.liveness);
            let heard_at = view.and_then(|view| view.heard_at);
            Peer {
                node: id.0,
                name: info.map(|info| info.name.clone()).unwrap_or_default(),
                expected: matches!(liveness, Liveness::Up | Liveness::Down),
                heard_ago: heard_at.map(|at| now.saturating_sub(at)),
                lag: view.map(|view| committed.saturating_sub(view.applied)),
                clock: view.and_then(|view| view.clock),
                version: info.map(|info| info.version.clone()).unwrap_or_default(),
            }
        };
        let others = status.members.iter().map(|member| member.node);
        others.filter(|id| *id != status.id).map(peer).collect()
    }

    fn slow(&self) -> Slow {
        Slow {
            pools: self.pools(),
            certificates: certificates::shown(&self.settings, self.parts.raft.tls()),
        }
    }

    /// Subnets with what is in use of their pools; those of a shared network together, since its clients can
    /// have any of them. Addresses outside the pools, as of reservations, say nothing about these.
    fn pools(&self) -> Vec<Pool> {
        let Some(config) = self.parts.state.read().view().config().cloned() else {
            return Vec::new();
        };
        let mut pools: BTreeMap<String, Pool> = BTreeMap::new();
        let subnets: Vec<_> = config.subnets.iter().collect();
        for some in subnets.chunks(PORTION) {
            // For a portion only, so that packets do not wait.
            let state = self.parts.state.read();
            for subnet in some {
                let name = match &config.network_of(subnet).name {
                    Some(name) => format!("network {name}"),
                    None => format!("subnet {} ({})", subnet.id, subnet.prefix),
                };
                let pool = pools.entry(name.clone()).or_insert(Pool { name, ..Pool::default() });
                for figures in Figures::of_pools(state.view(), subnet).values() {
                    pool.size += figures.of(Stat::TotalAddresses);
                    pool.used += figures.of(Stat::AssignedAddresses);
                    pool.declined += figures.of(Stat::DeclinedAddresses);
                }
            }
        }
        pools.into_values().collect()
    }
}
