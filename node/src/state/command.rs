//! The replicated words: what a log entry asks of the state machine (rules R1–R9, R16).
//!
//! A [`Batch`] is one log entry. Commands in it are applied in order, each with its own
//! [`super::Outcome`]. Whatever the decision needs travels in the command; `apply` adds only the
//! applied state and the stamp.

use std::net::Ipv4Addr;

use crate::types::{ClientId, ClientKey, ClusterTime, HwAddr, Lifetime, NodeId, SubnetId};

/// One log entry: commands that share a stamp.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Cluster time, set by the leader alone (R10). `apply` never lets it fall.
    pub stamp: ClusterTime,
    /// At most [`Batch::MAX`] commands.
    pub commands: Vec<Command>,
}

impl Batch {
    /// The most commands an entry may hold (R27). [`Generation`] depends on it.
    pub const MAX: usize = 128;
}

/// Everything that can change the state.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Binds an address to a client, or extends its lease (R1, R2).
    Grant(Grant),
    /// The client gives its address back (R5).
    Release(GiveUp),
    /// The client says that somebody else uses the address (R5, rules M9–M11).
    Decline(GiveUp),
    /// The leader's sweep over leases whose time is over (R6, R13).
    Reclaim(Reclaim),
    /// An administrator's `lease4-add` or `lease4-update` (R9).
    PutLease(PutLease),
    /// An administrator's `lease4-del` (R9).
    DeleteLease(DeleteLease),
    /// An administrator's `lease4-wipe` (R9).
    WipeLeases(WipeLeases),
    /// Replaces the configuration.
    SetConfig(SetConfig),
    /// Lets cluster time pass when nothing else does (R10).
    Tick,
    /// Corrects what people see as the time of day (R12).
    SetWallOffset(WallOffset),
    /// A node tells what it is and where it listens (R16).
    NodeInfo(NodeInfo),
    /// The leader's judgement about a node (R16).
    NodeLiveness(NodeId, Liveness),
}

/// Where a command comes from: for logs, and to find its answer. A node draws a new incarnation at
/// each start and counts the sequence from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The proposing node.
    pub node: NodeId,
    /// Its start.
    pub incarnation: u64,
    /// Its command.
    pub sequence: u64,
}

/// Counts applied configurations from 1; 0 before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ConfigVersion(pub u64);

/// Names one holding of an address: the log position of the Grant that began it (R5). Renewals
/// keep it. It is the entry's index times [`Batch::MAX`] plus the place within the entry, so that
/// two Grants of one entry differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub u64);

/// Who the command is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Client {
    /// Option 61, if sent and valid.
    pub id: Option<ClientId>,
    /// `htype` and `chaddr`.
    pub hw: HwAddr,
    /// `match-client-id` of the subnet: whether the id counts for finding leases (I1, I2).
    pub match_id: bool,
}

impl Client {
    /// The client key (I1).
    pub fn key(&self) -> ClientKey {
        match &self.id {
            Some(id) if self.match_id => ClientKey::Id(id.clone()),
            _ => ClientKey::Hw(self.hw),
        }
    }
}

/// R1: the one command that binds.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// Who proposes it.
    pub origin: Origin,
    /// After this stamp it has no effect: the packet's arrival plus 2 s (R2a).
    pub not_after: ClusterTime,
    /// The configuration it was decided on (R2b).
    pub config: ConfigVersion,
    /// The client.
    pub client: Client,
    /// What it asks for: one item for DHCPv4; DHCPv6 will need several, all or none.
    pub items: Vec<GrantItem>,
    /// The name to remember with the lease, sanitised; empty for none.
    pub hostname: String,
    /// Option 54 as the answer will carry it, kept so that a later NAK wears it (C7a).
    pub identity: Ipv4Addr,
}

/// One address asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct GrantItem {
    /// The subnet that serves it.
    pub subnet: SubnetId,
    /// The address.
    pub want: Ipv4Addr,
    /// The state of the client (RFC 2131 §4.3.2).
    pub why: Why,
    /// The lease of this client in the shared network as the proposing node saw it (R2c).
    pub held: Option<(Ipv4Addr, Generation)>,
    /// How long, already clamped by the configuration.
    pub lifetime: Lifetime,
}

/// The state of the client behind a Grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// Accepts our offer.
    Selecting,
    /// Checks a remembered address after a restart.
    InitReboot,
    /// Extends, by unicast.
    Renewing,
    /// Extends, by broadcast.
    Rebinding,
    /// Named no address: `want` is the node's choice, and a lease the client has wins over it.
    Unnamed,
}

impl Why {
    /// Whether a Grant of this kind begins a new generation (R5).
    pub fn begins_generation(self) -> bool {
        matches!(self, Why::Selecting | Why::InitReboot | Why::Unnamed)
    }
}

/// A RELEASE or a DECLINE (R5).
#[derive(Debug, Clone, PartialEq)]
pub struct GiveUp {
    /// Who proposes it.
    pub origin: Origin,
    /// The client.
    pub client: Client,
    /// The address given up.
    pub address: Ipv4Addr,
    /// The generation, if the view of the proposing node knew the lease.
    pub generation: Option<Generation>,
    /// When the packet came. A lease granted more than 1 s later is not meant.
    pub arrived: ClusterTime,
    /// The place it came through (M11): a digest of relay circuit, relay or interface; 0 when it is
    /// not known.
    pub circuit: u64,
}

/// The leader's sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct Reclaim {
    /// At most so many leases: 1 to [`Reclaim::MAX`], to which other values are clamped.
    pub limit: u32,
    /// `leases-reclaim` with `remove: true`, or lease affinity off: delete instead of keeping the
    /// lease for its client.
    pub remove: bool,
}

impl Reclaim {
    /// The most leases one sweep may take, since the lock is held for it (R22). Whoever wants more
    /// looks at `more` in the outcome.
    pub const MAX: u32 = 4096;
}

/// An administrator's lease, whole: what is not given has taken its default already.
#[derive(Debug, Clone, PartialEq)]
pub struct PutLease {
    /// Whether it must be new.
    pub mode: PutMode,
    /// The address.
    pub address: Ipv4Addr,
    /// The subnet; `apply` checks that it exists and holds the address.
    pub subnet: SubnetId,
    /// `hw-address`; may be empty.
    pub hw: HwAddr,
    /// `client-id`.
    pub client_id: Option<ClientId>,
    /// `valid-lft`.
    pub lifetime: Lifetime,
    /// `expire`, epoch seconds; `None` counts the lifetime from the stamp.
    pub expire: Option<i64>,
    /// `hostname`, lower case.
    pub hostname: String,
    /// `fqdn-fwd`.
    pub fqdn_fwd: bool,
    /// `fqdn-rev`.
    pub fqdn_rev: bool,
    /// `state`.
    pub state: super::LeaseState,
    /// `user-context`, as JSON text; empty for none.
    pub user_context: String,
}

/// What must hold before a [`PutLease`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutMode {
    /// `lease4-add`: the address has no lease.
    Add,
    /// `lease4-update`: it has one.
    Update,
    /// `lease4-update` with `force-create`.
    Upsert,
}

/// `lease4-del`.
#[derive(Debug, Clone, PartialEq)]
pub struct DeleteLease {
    /// The address.
    pub address: Ipv4Addr,
}

/// `lease4-wipe`.
#[derive(Debug, Clone, PartialEq)]
pub struct WipeLeases {
    /// The subnet; `None` for all.
    pub subnet: Option<SubnetId>,
}

/// A whole configuration document.
#[derive(Debug, Clone, PartialEq)]
pub struct SetConfig {
    /// Applies only on top of this version, if given.
    pub expected: Option<ConfigVersion>,
    /// `{"Dhcp4": …}` in plain JSON, as [`crate::config::Config::document`] prints it.
    pub text: String,
}

impl SetConfig {
    /// The longest document, bytes: an entry must fit into one message between nodes. Documents in
    /// pieces (R25) come later.
    pub const MAX_TEXT: usize = 8 << 20;
}

/// Milliseconds to add to cluster time to get Unix time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WallOffset(pub i64);

/// What a node tells about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// The node.
    pub node: NodeId,
    /// Its label.
    pub name: String,
    /// Its rack.
    pub rack: String,
    /// Where its peers reach it, `host:port`.
    pub peer_address: String,
    /// Where its control API listens, `http://host:port` each.
    pub control: Vec<String>,
    /// The addresses that option 54 may carry and mean this node (C6).
    pub identities: Vec<Ipv4Addr>,
    /// The program's version.
    pub version: String,
}

/// What the leader says of a node (R16).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Liveness {
    /// Answers, and has caught up.
    Up,
    /// Has not answered for 500 ms.
    Down,
    /// Is about to leave.
    Draining,
    /// Has left the cluster for good; its number is never used again, its identities are still
    /// answered for (C6).
    Left,
}
