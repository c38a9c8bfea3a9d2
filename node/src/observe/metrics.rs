//! Every metric of a node, on one page.
//!
//! The parts of the node count with plain atomics of their own and know nothing of Prometheus. At
//! each scrape the node fills in [`Readings`], and the table [`METRICS`] says how each number is
//! called. A new metric is a field and a row. Names and labels are a contract with dashboards.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::alarms::Severity;
use super::histogram::Distribution;
use crate::state::{LeaseState, StateCounts, Totals};
use crate::types::{NodeId, SubnetId};

pub use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;

/// Everything read at one scrape. Counters count from the start of the process.
#[derive(Debug, Clone, Default)]
pub struct Readings {
    /// The node's label.
    pub name: String,
    /// Seconds since start.
    pub uptime: f64,
    /// Whether `/health/ready` says so.
    pub ready: bool,
    /// Consensus.
    pub raft: Raft,
    /// Packets by direction and type, `MessageType::name`.
    pub packets: Vec<(Direction, &'static str, u64)>,
    /// Packets that got no answer, by the engine's or the edge's reason.
    pub dropped: Vec<(&'static str, u64)>,
    /// What happened to packets on their way, by event.
    pub events: Vec<(&'static str, u64)>,
    /// Microseconds from a packet to its reply, by the type of the reply and by what it answers.
    pub replies: Vec<(&'static str, &'static str, Distribution)>,
    /// Packets that wait to be read, and room for so many.
    pub packet_queue: (u64, u64),
    /// Leases, one row a subnet.
    pub leases: Vec<SubnetReading>,
    /// Version of the configuration in force.
    pub config_version: u64,
    /// The way of commands into the log.
    pub propose: Propose,
    /// The disk.
    pub storage: Storage,
    /// Lease history.
    pub history: History,
    /// Certificates that this node shows: what for, and seconds until they expire.
    pub certificates: Vec<(String, f64)>,
    /// Every kind of alarm, how bad it is, and how many there are.
    pub alarms: Vec<(&'static str, Severity, u64)>,
    /// Bounded tables.
    pub tables: Vec<(Table, TableReading)>,
    /// The control API; filled in by the API itself.
    pub control: Control,
}

/// Consensus.
#[derive(Debug, Clone, Default)]
pub struct Raft {
    /// Whether this node leads.
    pub is_leader: bool,
    /// Whether it hears a leader or is one.
    pub has_leader: bool,
    /// Current term.
    pub term: u64,
    /// Highest index in the log.
    pub last_log: u64,
    /// Highest index known to be committed.
    pub committed: u64,
    /// Highest index applied.
    pub applied: u64,
    /// Index of the last snapshot.
    pub snapshot: u64,
    /// Bytes of the last snapshot on this node, and seconds since it was written.
    pub snapshot_file: Option<(u64, f64)>,
    /// Leaders seen to follow one another.
    pub leader_changes: u64,
    /// Peer RPCs refused because cluster, node or instance did not match (R14).
    pub refused_rpcs: u64,
    /// Handshakes of the peer port that failed for a certificate, and those without TLS.
    pub refused_certificates: u64,
    pub failed_handshakes: u64,
    /// Connections to the peer port ended for want of room, or of proof in time.
    pub turned_away: u64,
    /// Seconds this node's cluster time lies from its own clock, for the wall clock alarm (R13).
    pub wall_clock_skew: f64,
    /// Whether this node, leading, found the machines of nodes to differ.
    pub states_differ: bool,
    /// Every other member.
    pub peers: Vec<Peer>,
}

/// Another member.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The node.
    pub node: NodeId,
    /// Entries it has not applied of those committed; `None` when unknown.
    pub lag: Option<u64>,
    /// Whether it answers.
    pub reachable: bool,
    /// Entries of the leader's log that are not known to be on its disk; known to the leader.
    pub unmatched: Option<u64>,
    /// Seconds since it was last heard.
    pub silence: Option<f64>,
    /// Seconds that its wall clock is ahead of this node's.
    pub clock: Option<f64>,
}

/// Which way a packet went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From a client or relay.
    Received,
    /// To a client or relay.
    Sent,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Direction::Received => "received",
            Direction::Sent => "sent",
        }
    }
}

/// The leases of one subnet.
#[derive(Debug, Clone)]
pub struct SubnetReading {
    /// Its id.
    pub subnet: SubnetId,
    /// Its prefix; empty when the configuration has lost it.
    pub prefix: String,
    /// Addresses in its pools.
    pub pool_size: u64,
    /// Leases by state.
    pub counts: StateCounts,
    /// Since formation.
    pub totals: Totals,
}

/// The way of commands into the log.
#[derive(Debug, Clone, Default)]
pub struct Propose {
    /// Commands waiting.
    pub queued: u64,
    /// Room for so many.
    pub queue_size: u64,
    /// Commands refused because the queue was full.
    pub queue_full: u64,
    /// Batches on their way.
    pub in_flight: u64,
    /// Batches sent.
    pub batches: u64,
    /// Commands in them.
    pub commands: u64,
    /// Batches that went to another node.
    pub forwarded: u64,
    /// Commands whose outcome stayed unknown.
    pub unknown: u64,
    /// Seconds from submitting to the outcome, summed over commands with one.
    pub seconds: f64,
    /// Commands with an outcome.
    pub outcomes: u64,
    /// Commands that found no leader in time.
    pub no_leader: u64,
    /// Batches by the number of their commands.
    pub sizes: Distribution,
}

/// The disk.
#[derive(Debug, Clone, Default)]
pub struct Storage {
    /// fdatasync calls on the log.
    pub fsyncs: u64,
    /// Seconds spent in them.
    pub fsync_seconds: f64,
    /// Bytes of log on disk.
    pub log_bytes: u64,
    /// Bytes of the log's cache in memory.
    pub log_cache_bytes: u64,
    /// Room of the checkpoint database's cache.
    pub checkpoint_cache_bytes: u64,
    /// Microseconds of each write to the log, from asking for it to its fdatasync.
    pub syncs: Distribution,
    /// Seconds for which the write under way has been.
    pub stall: f64,
    /// Bytes free on the data directory's file system, and its size.
    pub space: Option<(u64, u64)>,
}

/// Lease history.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Whether this node keeps one.
    pub kept: bool,
    /// Bytes on disk.
    pub bytes: u64,
    /// Events that wait to be written.
    pub waiting: u64,
    /// Runs of entries that are missing between those that are there.
    pub gaps: u64,
    /// Whether writing it fails.
    pub failing: bool,
}

/// A bounded table in memory (R17).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Addresses offered and not yet bound.
    Holds,
    /// Packets left to another node (C2).
    Shadows,
    /// Links on which somebody heard a packet.
    HeardLinks,
    /// Packets that wait for notes, for a read barrier, or for an entry.
    Waiting,
    /// Requests whose commands are on their way.
    Committing,
    /// Releases and declines kept for the return of the majority (C12).
    Kept,
    /// Where new clients come from (A1).
    Circuits,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Table::Holds => "holds",
            Table::Shadows => "shadows",
            Table::HeardLinks => "heard_links",
            Table::Waiting => "waiting",
            Table::Committing => "committing",
            Table::Kept => "kept",
            Table::Circuits => "circuits",
        }
    }
}

/// One table.
#[derive(Debug, Clone, Copy, Default)]
pub struct TableReading {
    /// Entries now.
    pub entries: u64,
    /// Room for so many.
    pub room: u64,
}

/// The control API.
#[derive(Debug, Clone, Copy, Default)]
pub struct Control {
    /// Open connections.
    pub open: u64,
    /// Idle connections that made room for others.
    pub evicted: u64,
    /// Connections that found no room.
    pub refused: u64,
    /// Requests with a wrong password or none.
    pub unauthorized: u64,
}

/// One metric: its name without prefix, and for a counter without `_total`.
struct Metric {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    read: fn(&Readings, &mut Samples),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gauge,
    Counter,
    Histogram,
}

/// A number, or all measurements with how many of their units make one of the metric's.
enum Value {
    Number(f64),
    Spread(Distribution, f64),
}

/// The numbers of one metric.
#[derive(Default)]
struct Samples(Vec<(Vec<(&'static str, String)>, Value)>);

impl Samples {
    fn one(&mut self, value: u64) {
        self.real(value as f64);
    }

    fn flag(&mut self, value: bool) {
        self.one(u64::from(value));
    }

    fn real(&mut self, value: f64) {
        self.0.push((Vec::new(), Value::Number(value)));
    }

    fn some(&mut self, value: Option<f64>) {
        value.into_iter().for_each(|value| self.real(value));
    }

    fn real_with<const N: usize>(&mut self, labels: [(&'static str, String); N], value: f64) {
        self.0.push((labels.into(), Value::Number(value)));
    }

    fn spread<const N: usize>(
        &mut self,
        labels: [(&'static str, String); N],
        spread: &Distribution,
        scale: f64,
    ) {
        // One that was never begun has no buckets.
        if !spread.counts.is_empty() {
            self.0.push((labels.into(), Value::Spread(spread.clone(), scale)));
        }
    }

    fn each_peer(&mut self, readings: &Readings, value: impl Fn(&Peer) -> Option<f64>) {
        for peer in &readings.raft.peers {
            if let Some(value) = value(peer) {
                self.real_with([("peer", peer.node.to_string())], value);
            }
        }
    }

    fn with<const N: usize>(&mut self, labels: [(&'static str, String); N], value: u64) {
        self.0.push((labels.into(), Value::Number(value as f64)));
    }

    fn each_subnet(&mut self, readings: &Readings, value: impl Fn(&SubnetReading) -> u64) {
        for row in &readings.leases {
            self.with(subnet(row), value(row));
        }
    }

    fn each_table(&mut self, readings: &Readings, value: impl Fn(&TableReading) -> u64) {
        for (table, row) in &readings.tables {
            self.with([("table", table.name().to_owned())], value(row));
        }
    }
}

fn subnet(row: &SubnetReading) -> [(&'static str, String); 2] {
    [("subnet_id", row.subnet.to_string()), ("subnet", row.prefix.clone())]
}

/// The page. A name that starts with a word starts with the part of the node it belongs to.
#[rustfmt::skip]
const METRICS: &[Metric] = &[
    Metric { name: "info", help: "Always 1; the labels say which program this is", kind: Kind::Gauge,
        read: |r, s| s.with([("version", crate::VERSION.to_owned()), ("node", r.name.clone())], 1) },
    Metric { name: "uptime_seconds", help: "Time since the process started", kind: Kind::Gauge,
        read: |r, s| s.real(r.uptime) },
    Metric { name: "ready", help: "1 when the node is ready to serve, as /health/ready says", kind: Kind::Gauge,
        read: |r, s| s.flag(r.ready) },

    Metric { name: "raft_is_leader", help: "1 on the node that leads", kind: Kind::Gauge,
        read: |r, s| s.flag(r.raft.is_leader) },
    Metric { name: "raft_has_leader", help: "1 when this node hears a leader or is one", kind: Kind::Gauge,
        read: |r, s| s.flag(r.raft.has_leader) },
    Metric { name: "raft_term", help: "Current term", kind: Kind::Gauge,
        read: |r, s| s.one(r.raft.term) },
    Metric { name: "raft_last_log_index", help: "Highest index in the log of this node", kind: Kind::Gauge,
        read: |r, s| s.one(r.raft.last_log) },
    Metric { name: "raft_committed_index", help: "Highest index this node knows to be committed", kind: Kind::Gauge,
        read: |r, s| s.one(r.raft.committed) },
    Metric { name: "raft_applied_index", help: "Highest index this node has applied", kind: Kind::Gauge,
        read: |r, s| s.one(r.raft.applied) },
    Metric { name: "raft_snapshot_index", help: "Index of the last snapshot on this node", kind: Kind::Gauge,
        read: |r, s| s.one(r.raft.snapshot) },
    Metric { name: "raft_leader_changes", help: "Changes of leader that this node has seen", kind: Kind::Counter,
        read: |r, s| s.one(r.raft.leader_changes) },
    Metric { name: "raft_refused_rpcs", help: "Peer calls refused because they named another cluster, node or instance", kind: Kind::Counter,
        read: |r, s| s.one(r.raft.refused_rpcs) },
    Metric { name: "peer_certificates_refused", help: "TLS handshakes between nodes that failed for a certificate", kind: Kind::Counter,
        read: |r, s| s.one(r.raft.refused_certificates) },
    Metric { name: "peer_handshakes_failed", help: "Connections to the peer port on which no TLS was spoken", kind: Kind::Counter,
        read: |r, s| s.one(r.raft.failed_handshakes) },
    Metric { name: "peer_connections_turned_away", help: "Connections to the peer port ended because there were too many or they did not say who they are", kind: Kind::Counter,
        read: |r, s| s.one(r.raft.turned_away) },
    Metric { name: "raft_wall_clock_skew_seconds", help: "How far the wall clock of this node is ahead of the time the cluster shows to people", kind: Kind::Gauge,
        read: |r, s| s.real(r.raft.wall_clock_skew) },
    Metric { name: "raft_states_differ", help: "1 when this node found the replicated states of nodes to differ: a fault of program or memory", kind: Kind::Gauge,
        read: |r, s| s.one(u64::from(r.raft.states_differ)) },
    Metric { name: "raft_peer_lag_entries", help: "Committed entries that the peer has not applied, as far as this node knows", kind: Kind::Gauge,
        read: |r, s| s.each_peer(r, |peer| peer.lag.map(|lag| lag as f64)) },
    Metric { name: "raft_peer_unmatched_entries", help: "Entries of the log that are not known to be on the peer's disk; on the leader only", kind: Kind::Gauge,
        read: |r, s| s.each_peer(r, |peer| peer.unmatched.map(|lag| lag as f64)) },
    Metric { name: "raft_peer_silence_seconds", help: "Time since the peer was last heard", kind: Kind::Gauge,
        read: |r, s| s.each_peer(r, |peer| peer.silence) },
    Metric { name: "raft_peer_clock_seconds", help: "How far the wall clock of the peer is ahead of this node's", kind: Kind::Gauge,
        read: |r, s| s.each_peer(r, |peer| peer.clock) },
    Metric { name: "raft_snapshot_bytes", help: "Size of the last snapshot on this node", kind: Kind::Gauge,
        read: |r, s| s.some(r.raft.snapshot_file.map(|(bytes, _)| bytes as f64)) },
    Metric { name: "raft_snapshot_age_seconds", help: "Time since the last snapshot on this node was written", kind: Kind::Gauge,
        read: |r, s| s.some(r.raft.snapshot_file.map(|(_, age)| age)) },
    Metric { name: "raft_peer_reachable", help: "1 when the peer answers this node", kind: Kind::Gauge,
        read: |r, s| for peer in &r.raft.peers { s.with([("peer", peer.node.to_string())], u64::from(peer.reachable)) } },

    Metric { name: "dhcp4_packets", help: "DHCPv4 packets by direction and type", kind: Kind::Counter,
        read: |r, s| for (direction, kind, count) in &r.packets {
            s.with([("direction", direction.name().to_owned()), ("type", kind.to_lowercase())], *count)
        } },
    Metric { name: "dhcp4_packets_dropped", help: "DHCPv4 packets that got no answer, by reason", kind: Kind::Counter,
        read: |r, s| for (reason, count) in &r.dropped { s.with([("reason", (*reason).to_owned())], *count) } },

    Metric { name: "dhcp4_events", help: "What happened to DHCPv4 packets on their way, by event", kind: Kind::Counter,
        read: |r, s| for (event, count) in &r.events { s.with([("event", (*event).to_owned())], *count) } },

    Metric { name: "dhcp4_reply_seconds", help: "Time from the kernel's taking a packet in to sending its reply, by type of the reply and what it answers", kind: Kind::Histogram,
        read: |r, s| for (kind, why, spread) in &r.replies {
            s.spread([("type", (*kind).to_owned()), ("why", (*why).to_owned())], spread, 1e6);
        } },
    Metric { name: "dhcp4_queue_packets", help: "Packets that wait to be read", kind: Kind::Gauge,
        read: |r, s| s.one(r.packet_queue.0) },
    Metric { name: "dhcp4_queue_size", help: "Room for packets that wait to be read; beyond it the oldest are dropped", kind: Kind::Gauge,
        read: |r, s| s.one(r.packet_queue.1) },

    Metric { name: "leases4", help: "Leases by subnet and state", kind: Kind::Gauge,
        read: |r, s| for row in &r.leases {
            for state in LeaseState::ALL {
                let [id, prefix] = subnet(row);
                s.with([id, prefix, ("state", state_name(state).to_owned())], row.counts.of(state));
            }
        } },
    Metric { name: "pool4_addresses", help: "Addresses in the pools of the subnet", kind: Kind::Gauge,
        read: |r, s| s.each_subnet(r, |row| row.pool_size) },
    Metric { name: "leases4_begun", help: "Leases that began, since the cluster was formed", kind: Kind::Counter,
        read: |r, s| s.each_subnet(r, |row| row.totals.assigned) },
    Metric { name: "leases4_reclaimed", help: "Leases that ran out, since the cluster was formed", kind: Kind::Counter,
        read: |r, s| s.each_subnet(r, |row| row.totals.reclaimed) },
    Metric { name: "leases4_declined", help: "Addresses that clients declined, since the cluster was formed", kind: Kind::Counter,
        read: |r, s| s.each_subnet(r, |row| row.totals.declined) },
    Metric { name: "config_version", help: "Version of the configuration in force", kind: Kind::Gauge,
        read: |r, s| s.one(r.config_version) },

    Metric { name: "propose_queue_commands", help: "Commands that wait to be proposed", kind: Kind::Gauge,
        read: |r, s| s.one(r.propose.queued) },
    Metric { name: "propose_queue_size", help: "Room in the queue", kind: Kind::Gauge,
        read: |r, s| s.one(r.propose.queue_size) },
    Metric { name: "propose_queue_full", help: "Commands refused because the queue was full", kind: Kind::Counter,
        read: |r, s| s.one(r.propose.queue_full) },
    Metric { name: "propose_batches_in_flight", help: "Batches on their way to an outcome", kind: Kind::Gauge,
        read: |r, s| s.one(r.propose.in_flight) },
    Metric { name: "propose_batches", help: "Batches proposed by this node", kind: Kind::Counter,
        read: |r, s| s.one(r.propose.batches) },
    Metric { name: "propose_batches_forwarded", help: "Batches that were sent to another node, the leader", kind: Kind::Counter,
        read: |r, s| s.one(r.propose.forwarded) },
    Metric { name: "propose_commands", help: "Commands in proposed batches", kind: Kind::Counter,
        read: |r, s| s.one(r.propose.commands) },
    Metric { name: "propose_unknown", help: "Commands whose outcome stayed unknown", kind: Kind::Counter,
        read: |r, s| s.one(r.propose.unknown) },
    Metric { name: "propose_outcomes", help: "Commands with an outcome", kind: Kind::Counter,
        read: |r, s| s.one(r.propose.outcomes) },
    Metric { name: "propose_no_leader", help: "Commands that found no leader in time", kind: Kind::Counter,
        read: |r, s| s.one(r.propose.no_leader) },
    Metric { name: "propose_batch_size", help: "Batches by the number of commands in them", kind: Kind::Histogram,
        read: |r, s| s.spread([], &r.propose.sizes, 1.0) },
    Metric { name: "propose_wait_seconds", help: "Time from submitting a command to its outcome, summed", kind: Kind::Counter,
        read: |r, s| s.real(r.propose.seconds) },

    Metric { name: "storage_fsyncs", help: "fdatasync calls on the log", kind: Kind::Counter,
        read: |r, s| s.one(r.storage.fsyncs) },
    Metric { name: "storage_fsync_seconds", help: "Time spent in fdatasync on the log", kind: Kind::Counter,
        read: |r, s| s.real(r.storage.fsync_seconds) },
    Metric { name: "storage_sync_seconds", help: "Time that a write to the log took to reach the disk", kind: Kind::Histogram,
        read: |r, s| s.spread([], &r.storage.syncs, 1e6) },
    Metric { name: "storage_stall_seconds", help: "For how long the write to the log under way has not reached the disk", kind: Kind::Gauge,
        read: |r, s| s.real(r.storage.stall) },
    Metric { name: "storage_free_bytes", help: "Free on the file system of the data directory", kind: Kind::Gauge,
        read: |r, s| s.some(r.storage.space.map(|(free, _)| free as f64)) },
    Metric { name: "storage_size_bytes", help: "Size of the file system of the data directory", kind: Kind::Gauge,
        read: |r, s| s.some(r.storage.space.map(|(_, size)| size as f64)) },
    Metric { name: "storage_log_bytes", help: "Size of the log on disk", kind: Kind::Gauge,
        read: |r, s| s.one(r.storage.log_bytes) },
    Metric { name: "storage_log_cache_bytes", help: "Memory used by the cache of the log", kind: Kind::Gauge,
        read: |r, s| s.one(r.storage.log_cache_bytes) },
    Metric { name: "storage_checkpoint_cache_bytes", help: "Memory allowed for the cache of the checkpoint database", kind: Kind::Gauge,
        read: |r, s| s.one(r.storage.checkpoint_cache_bytes) },

    Metric { name: "history_kept", help: "1 when this node keeps lease history", kind: Kind::Gauge,
        read: |r, s| s.flag(r.history.kept) },
    Metric { name: "history_bytes", help: "Lease history on disk", kind: Kind::Gauge,
        read: |r, s| s.one(r.history.bytes) },
    Metric { name: "history_waiting_events", help: "Events that wait to be written to the lease history", kind: Kind::Gauge,
        read: |r, s| s.one(r.history.waiting) },
    Metric { name: "history_gaps", help: "Runs of entries that are missing in the lease history of this node", kind: Kind::Gauge,
        read: |r, s| s.one(r.history.gaps) },
    Metric { name: "history_failing", help: "1 while the lease history cannot be written", kind: Kind::Gauge,
        read: |r, s| s.flag(r.history.failing) },

    Metric { name: "certificate_expiry_seconds", help: "Time until a certificate that this node shows expires, by what it is for", kind: Kind::Gauge,
        read: |r, s| for (what, left) in &r.certificates {
            s.real_with([("for", what.clone())], *left);
        } },
    Metric { name: "alarm", help: "Alarms of this node, by id; 0 when there is none of it", kind: Kind::Gauge,
        read: |r, s| for (id, severity, count) in &r.alarms {
            s.with([("id", (*id).to_owned()), ("severity", severity.name().to_owned())], *count);
        } },

    Metric { name: "table_entries", help: "Entries in a bounded table in memory", kind: Kind::Gauge,
        read: |r, s| s.each_table(r, |table| table.entries) },
    Metric { name: "table_room", help: "The most entries a bounded table can have", kind: Kind::Gauge,
        read: |r, s| s.each_table(r, |table| table.room) },

    Metric { name: "control_connections", help: "Open connections to the control API", kind: Kind::Gauge,
        read: |r, s| s.one(r.control.open) },
    Metric { name: "control_connections_evicted", help: "Idle control connections that were closed to make room", kind: Kind::Counter,
        read: |r, s| s.one(r.control.evicted) },
    Metric { name: "control_connections_refused", help: "Control connections refused because all others were at work", kind: Kind::Counter,
        read: |r, s| s.one(r.control.refused) },
    Metric { name: "control_unauthorized", help: "Requests to the control API with a wrong password or none", kind: Kind::Counter,
        read: |r, s| s.one(r.control.unauthorized) },
];

/// The value of the label `state`.
fn state_name(state: LeaseState) -> &'static str {
    match state {
        LeaseState::Assigned => "assigned",
        LeaseState::Declined => "declined",
        LeaseState::Reclaimed => "expired_reclaimed",
        LeaseState::Released => "released",
    }
}

/// The page in Prometheus' text format ([`CONTENT_TYPE`]).
pub fn render(readings: Readings) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("leasehold");
    registry.register_collector(Box::new(Page(readings)));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Page(Readings);

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for metric in METRICS {
            let mut samples = Samples::default();
            (metric.read)(&self.0, &mut samples);
            let kind = match metric.kind {
                Kind::Gauge => MetricType::Gauge,
                Kind::Counter => MetricType::Counter,
                Kind::Histogram => MetricType::Histogram,
            };
            // A description without numbers would be a mistake in the format.
            if samples.0.is_empty() {
                continue;
            }
            let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
            for (labels, value) in &samples.0 {
                let labels: Vec<(&str, &str)> =
                    labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let labels = labels.as_slice();
                let mut one = family.encode_family(&labels)?;
                let value = match value {
                    Value::Number(value) => value,
                    Value::Spread(spread, scale) => {
                        let (sum, buckets) = (spread.sum as f64 / scale, spread.buckets(*scale));
                        one.encode_histogram::<NoLabelSet>(sum, spread.count(), &buckets, None)?;
                        continue;
                    }
                };
                // Whole numbers without a fraction: scripts look for "is_leader 1".
                let whole = (value.fract() == 0.0 && value.abs() < 9e15).then_some(*value as i64);
                match (metric.kind, whole) {
                    (Kind::Gauge, Some(whole)) => one.encode_gauge(&whole)?,
                    (Kind::Gauge, None) => one.encode_gauge(value)?,
                    (Kind::Counter, Some(whole)) => {
                        one.encode_counter::<NoLabelSet, _, f64>(&whole.unsigned_abs(), None)?;
                    }
                    (Kind::Counter, None) => {
                        one.encode_counter::<NoLabelSet, _, f64>(value, None)?
                    }
                    // A row that gives numbers where measurements are meant is a mistake.
                    (Kind::Histogram, _) => return Err(fmt::Error),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
