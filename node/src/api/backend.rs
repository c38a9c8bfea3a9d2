//! What the API needs of the node, and nothing more: handlers and transports are tested against a
//! fake of this trait, without Raft.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use super::commands::lease4::WriteLeases;
use crate::config::Config;
use crate::history::History;
use crate::net::InterfaceState;
use crate::observe::alarms::Alarm;
use crate::observe::metrics::Readings;
use crate::observe::statistics::Statistics;
use crate::peers::Active;
use crate::raft::backup::Backup;
use crate::raft::hashes::Comparison;
use crate::raft::{Change, Changed, Token};
use crate::serve::circuits::Listing;
use crate::serve::service::Origin;
use crate::state::document::Editing;
use crate::state::{Command, ConfigVersion, EditConfig, Lease, NewConfig, Outcome, State};
use crate::types::NodeId;

/// A future that a [`Backend`] returns.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The node as the API sees it.
pub trait Backend: Send + Sync + 'static {
    /// The applied state. The API takes the read lock for one quick handler at a time and never
    /// across an await.
    fn state(&self) -> &RwLock<State>;

    /// What this node knows of itself and its peers, now. Must not wait.
    fn report(&self) -> NodeReport;

    /// Everything `/metrics` shows. Must not wait for the cluster.
    fn readings(&self) -> Readings;

    /// Kea's statistics of this node.
    fn statistics(&self) -> &Arc<Statistics>;

    /// What happened to leases; `None` when this node does not keep it.
    fn history(&self) -> Option<Arc<History>> {
        None
    }

    /// A backup of the machine as it stands, in constant time.
    fn backup(&self) -> Backup;

    /// Has a command committed, whoever leads, and returns the outcome *after this node has applied
    /// it*: the next read here sees it. Gives up after `within`.
    fn submit(&self, command: Command, within: Duration) -> Answer<'_, Result<Done, SubmitError>>;

    /// Has a configuration accepted, whoever leads, and returns the outcome after this node has
    /// applied it. `config` is what the document says, as this node has read it.
    fn set_config(
        &self,
        new: NewConfig,
        config: Arc<Config>,
        within: Duration,
    ) -> Answer<'_, Result<Done, SubmitError>>;

    /// Has a change of a part of the configuration accepted, whoever leads, and returns the outcome
    /// after this node has applied it. `editing` is what it comes to on top of version `on`, as this node
    /// has found. The id of `edit` is drawn anew.
    fn edit_config(
        &self,
        edit: EditConfig,
        on: ConfigVersion,
        editing: Editing,
        within: Duration,
    ) -> Answer<'_, Result<Done, SubmitError>>;

    /// Returns once everything acknowledged before the call is applied here; a reason when that
    /// could not be established in time.
    fn read_barrier(&self, within: Duration) -> Answer<'_, Result<(), String>>;

    /// Returns once this configuration version, or a later one, is active on this node; the reason
    /// when it is not in time, or when a part of it could not be activated.
    fn activated(&self, version: ConfigVersion, within: Duration)
    -> Answer<'_, Result<(), String>>;

    /// Does something that is about this node, not about the state; the reason when it could not.
    /// Gives up after `within`; acts that take longer say so ([`Effect::time`]).
    fn act(&self, effect: Effect, within: Duration) -> Answer<'_, Result<Acted, String>>;
}

/// A command that is committed, and applied on this node.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// Its place in the log.
    pub index: u64,
    /// What `apply` said.
    pub outcome: Outcome,
}

/// Why there is no outcome. Texts name the cause, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The command did not enter the log and never will.
    #[error("{0}")]
    NotSubmitted(String),
    /// It may have, or may still (R3).
    #[error("{0}")]
    Unknown(String),
}

/// A named act of this node that a handler may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// `cluster-leader-transfer`: to that node, or to whom the leader finds best.
    TransferLeader(Option<NodeId>),
    /// `dhcp-disable`: this node answers nobody, for that time or until the same origin enables it.
    Disable(Origin, Option<Duration>),
    /// `dhcp-enable`.
    Enable(Origin),
    /// `cluster-hash-check`: compare the machines of all nodes.
    CompareStates,
    /// `cluster-circuit-list`: read the counters of this node's circuits.
    ListCircuits,
    /// `leases-reclaim`: every lease that is due, step by step through the log.
    Reclaim {
        /// Delete them instead of keeping them for their clients.
        remove: bool,
    },
    /// `ha-maintenance-*`: drain a node, or end that.
    Maintain(NodeId, bool),
    /// `cluster-node-drain`: drain a node, and have its process end then if so wished.
    Drain {
        /// Which.
        node: NodeId,
        /// Whether it ends.
        stop: bool,
    },
    /// Write a file where this node allows it.
    WriteFile(FileToWrite),
    /// `config-reload`: read the configuration file again and put it into force.
    Reload,
    /// Write a snapshot, and cut off the log before it.
    Compact,
    /// Look for new interfaces.
    DetectInterfaces,
    /// Stop the process in an orderly way, with this exit status.
    Stop(u8),
    /// Send a name change request, from this node; nothing while DDNS is off.
    NameChange(NameChange),
    /// Write the leases to a file where this node allows it.
    WriteLeases(Box<WriteLeases>),
    /// `cluster-node-promote` and its kin; whoever leads does it.
    ChangeMembers(Change),
    /// Draw a secret with which nodes join, and have its digest committed.
    CreateToken(NewToken),
    /// `cluster-log-measure`: send so many commands that change nothing through the log, in a second.
    MeasureLog {
        /// How many.
        rate: u32,
    },
    /// Take note of the alarms with this id, or of the one that is about this.
    Acknowledge(&'static str, Option<String>),
}

impl Effect {
    /// How much time it may take beyond what any command may.
    pub fn time(&self) -> Duration {
        match self {
            // Many steps, each with a patience of its own.
            Effect::Reclaim { .. } => Duration::from_secs(55),
            // A large configuration takes its time on every node.
            Effect::Reload => Duration::from_secs(25),
            // A change of votes is two entries, and removing a node one more; a leader may hand over first.
            Effect::ChangeMembers(_) => Duration::from_secs(6),
            // A second of commands, and the wait for the last of them.
            Effect::MeasureLog { .. } => Duration::from_secs(3),
            Effect::WriteFile(file) => Duration::from_secs(file.text.len() as u64 >> 22),
            Effect::WriteLeases(leases) => Duration::from_secs(leases.len() as u64 >> 15),
            _ => Duration::ZERO,
        }
    }
}

/// A token to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// How long it lets nodes in.
    pub lasts: Duration,
    /// How many.
    pub uses: u32,
    /// Whether those who come with it stay without a vote.
    pub learner: bool,
    /// What it is for, in the operator's words.
    pub note: String,
}

/// A file to be written.
#[derive(Clone, PartialEq, Eq)]
pub struct FileToWrite {
    /// As the caller named it; without a name, the configuration file.
    pub name: Option<String>,
    /// What goes into it.
    pub text: Arc<str>,
}

impl fmt::Debug for FileToWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name)
    }
}

/// A name change request.
#[derive(Clone, PartialEq, Eq)]
pub struct NameChange {
    /// The lease.
    pub lease: Arc<Lease>,
    /// Whether its records are made, or removed.
    pub add: bool,
}

impl fmt::Debug for NameChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.add { "make" } else { "remove" };
        write!(f, "{verb} {} {}", self.lease.hostname, self.lease.address)
    }
}

/// What came of an [`Effect`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acted {
    /// It is done, or has begun where it takes its time.
    Done,
    /// This node leads now.
    Leads(NodeId),
    /// What comparing the machines of all nodes came to.
    Compared(Comparison),
    /// Where new clients came from.
    Circuits(Listing),
    /// So many leases were swept.
    Reclaimed(u64),
    /// The file is on disk under this name.
    Written {
        /// The whole path.
        file: String,
        /// Bytes.
        size: u64,
    },
    /// The configuration with this hash is in force, and active here.
    Reloaded(String),
    /// The membership is changed.
    Changed(Changed),
    /// It may have come about, or may still (R3); why that is not known.
    Unknown(String),
    /// A token is made.
    Token {
        /// Its name to operators.
        id: u64,
        /// The secret.
        token: Token,
        /// How long it lets nodes in.
        lasts: Duration,
        /// How many.
        uses: u32,
    },
    /// The interfaces that are there now.
    Interfaces(Arc<[Interface]>),
    /// So many alarms were taken note of.
    Acknowledged(usize),
    /// What the log took.
    Measured(LogMeasured),
}

/// What became of commands that changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogMeasured {
    /// Microseconds from proposing to the outcome, of each that has one.
    pub micros: Vec<u32>,
    /// Those without an outcome.
    pub failed: u32,
    /// Those that were not proposed, because too many waited.
    pub left_out: u32,
}

/// An interface of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// What the kernel says of it.
    pub state: InterfaceState,
    /// Whether DHCP is served on it.
    pub in_use: bool,
}

/// What a node knows of itself and its peers.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeReport {
    /// This node.
    pub node: NodeId,
    /// Its label.
    pub name: String,
    /// Its rack.
    pub rack: String,
    /// The cluster's id.
    pub cluster: String,
    /// Process id.
    pub pid: u32,
    /// How many processors the process may use.
    pub processors: u32,
    /// Since the start of the process.
    pub uptime: Duration,
    /// Since the last configuration became active.
    pub since_reload: Duration,
    /// Whether DHCP sockets are open.
    pub sockets: Sockets,
    /// The configuration that is active here: sockets and workers follow it.
    pub active_config: ConfigVersion,
    /// What of it this node could not do, for the operator; the node serves with the rest.
    pub config_problems: Vec<String>,
    /// What the operator should know of the doors of this node: who may come in that should not.
    pub warnings: Vec<String>,
    /// What is the matter, worst first.
    pub alarms: Arc<[Alarm]>,
    /// Current term.
    pub term: u64,
    /// The leader this node hears or is; `None` when there is none as far as it knows.
    pub leader: Option<NodeId>,
    /// The highest index in this node's log.
    pub last_log: u64,
    /// The highest index known to be committed.
    pub committed: u64,
    /// The highest index applied here.
    pub applied: u64,
    /// What `/health/ready` answers; `Err` names the reason.
    pub ready: Result<(), String>,
    /// Every member, this node among them, ascending by id.
    pub members: Vec<Member>,
    /// Who keeps this node from answering (`dhcp-disable`), ascending.
    pub disabled_by: Vec<Origin>,
    /// How many packets waited when one came: means over about the last 10, 100 and 1000.
    pub queue: [f64; 3],
    /// The time of day, Unix milliseconds: for people.
    pub wall: i64,
    /// The interfaces of this machine.
    pub interfaces: Arc<[Interface]>,
    /// Whether the program was started by Kea's name, and so looks like Kea to those who ask.
    pub as_kea: bool,
}

impl NodeReport {
    /// What the peers are told of its configuration.
    pub fn active(&self) -> Active {
        let problems = u32::try_from(self.config_problems.len()).unwrap_or(u32::MAX);
        Active { version: self.active_config, problems }
    }
}

/// State of the DHCP service sockets, in Kea's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sockets {
    /// All open.
    Ready,
    /// Some not yet; the node goes on trying.
    Retrying(Vec<String>),
    /// None, and it gave up.
    Failed(Vec<String>),
}

/// A member of the cluster as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The node.
    pub id: NodeId,
    /// Where its peers reach it.
    pub address: String,
    /// What it is in Raft, as far as this node knows.
    pub role: Role,
    /// Whether it votes.
    pub votes: bool,
    /// Whether it stays without a vote until it is promoted.
    pub copy: bool,
    /// Its applied index by its last note (R17), or by replication on the leader.
    pub applied: Option<u64>,
    /// Whether it answers this node now; `None` when nothing was tried.
    pub reachable: Option<bool>,
    /// The configuration that its sockets follow, by its last note (R17), and how many things stand in
    /// the way of that; `None` before it has said so.
    pub active: Option<Active>,
    /// How long ago its last note came.
    pub heard_ago: Option<Duration>,
    /// Whether it answers nobody, on an operator's word (`dhcp-disable`), as it said last.
    pub disabled: bool,
}

/// Role in Raft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Leads.
    Leader,
    /// Votes.
    Follower,
    /// Votes, and asks for votes.
    Candidate,
    /// Follows without a vote.
    Learner,
}

impl Role {
    /// Its name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Role::Leader => "leader",
            Role::Follower => "follower",
            Role::Candidate => "candidate",
            Role::Learner => "learner",
        }
    }
}
