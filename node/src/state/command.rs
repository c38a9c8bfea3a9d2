//! The replicated words: what a log entry asks of the state machine (rules R1–R9, R16).
//!
//! A [`Batch`] is one log entry. Commands in it are applied in order, each with its own
//! [`super::Outcome`]. Whatever the decision needs travels in the command; `apply` adds only the
//! applied state and the stamp.

use std::fmt;
use std::net::Ipv4Addr;

use bytes::Bytes;

use super::document::{Document, Form, Packed, Sha256};
use super::roster::{Admit, JoinToken, Policy};
use crate::config::edit::{Edit, Verb};
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

    /// Whether it would put a configuration into force.
    pub fn sets_config(&self) -> bool {
        let sets = |it: &Command| matches!(it, Command::SetConfig(_) | Command::EditConfig(_));
        self.commands.iter().any(sets)
    }
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
    /// Somebody answers at an address that nobody holds (M4).
    InUse(InUse),
    /// The leader's sweep over leases whose time is over (R6, R13).
    Reclaim(Reclaim),
    /// An administrator's `lease4-add` or `lease4-update` (R9).
    PutLease(PutLease),
    /// An administrator's `lease4-del` (R9).
    DeleteLease(DeleteLease),
    /// An administrator's `lease4-wipe` (R9).
    WipeLeases(WipeLeases),
    /// A piece of a configuration to come (R25).
    ConfigChunk(ConfigChunk),
    /// Replaces the configuration.
    SetConfig(SetConfig),
    /// Changes a part of the configuration.
    EditConfig(EditConfig),
    /// Lets cluster time pass when nothing else does (R10).
    Tick,
    /// Corrects what people see as the time of day (R12).
    SetWallOffset(WallOffset),
    /// A node tells what it is and where it listens (R16).
    NodeInfo(NodeInfo),
    /// The leader's judgement about a node (R16).
    NodeLiveness(NodeId, Liveness),
    /// Raises the feature level, if every node knows it (R24).
    RaiseLevel(u32),
    /// A token with which nodes may join.
    PutToken(JoinToken),
    /// Revokes the token with this id.
    RemoveToken(u64),
    /// Lets a node in and gives it its number (R14).
    Admit(Admit),
    /// How the cluster is to be led.
    SetPolicy(Policy),
    /// An operator ends the hold after a restore (R28).
    EndHold(EndHold),
}

impl Command {
    /// The feature level that brought the command: nobody proposes it below that (R24).
    pub fn level(&self) -> u32 {
        match self {
            Command::PutToken(_)
            | Command::RemoveToken(_)
            | Command::Admit(_)
            | Command::SetPolicy(_)
            | Command::EndHold(_) => 2,
            _ => 1,
        }
    }
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

impl Generation {
    /// The entry of the Grant that began it.
    pub fn index(self) -> u64 {
        self.0 / Batch::MAX as u64
    }
}

/// Who the command is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Client {
    /// Option 61, if sent and valid.
    pub id: Option<ClientId>,
    /// `htype` and `chaddr`.
    pub hw: HwAddr,
    /// `match-client-id` of the subnet: whether the id counts for finding leases (I1, I2).
    pub match_id: bool,
    /// What else reservations may know it by; `None` when no reservation asks for it.
    pub claims: Option<Box<Claims>>,
}

/// Identifiers of a client that count for reservations only, never for finding leases.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Claims {
    /// Sub-option 1 of option 82, if its relay is to be believed (A5).
    pub circuit_id: Option<Box<[u8]>>,
    /// The value of the flex_id hook's expression.
    pub flex_id: Option<Box<[u8]>>,
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
    /// The server makes the forward DNS record of the name.
    pub fqdn_fwd: bool,
    /// The server makes the reverse DNS record of the name.
    pub fqdn_rev: bool,
    /// Option 54 as the answer will carry it, kept so that a later NAK wears it (C7a).
    pub identity: Ipv4Addr,
    /// Option 82 as it came, without code and length, for `store-extended-info`; at most
    /// [`Grant::MOST_RELAY_INFO`] bytes, a longer one is left out (A6).
    pub relay_info: Option<Box<[u8]>>,
    /// The proposing node has pinged the address a moment ago, and nobody answered: without that a held
    /// address is nobody's to take (R28).
    pub checked: bool,
}

impl Grant {
    /// The longest option 82 that is kept with a lease, bytes (A6).
    pub const MOST_RELAY_INFO: usize = 1024;
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
    /// How long, already clamped by the configuration. For [`Why::Offering`] it is `offer-lifetime`:
    /// the OFFER tells the full time, the lease has the short one.
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
    /// A DISCOVER under `offer-lifetime`: keeps the address for the client until it accepts, and
    /// leaves a lease that it holds as it is (R6).
    Offering,
}

impl Why {
    /// Whether a Grant of this kind begins a new generation (R5).
    pub fn begins_generation(self) -> bool {
        matches!(self, Why::Selecting | Why::InitReboot | Why::Unnamed | Why::Offering)
    }

    /// Whether the client says that the address is its own already (R28).
    pub fn claims(self) -> bool {
        matches!(self, Why::InitReboot | Why::Renewing | Why::Rebinding)
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
    /// Whether it came through a relay. Then that must be the circuit of the lease's last REQUEST,
    /// if the lease knows it (A3).
    pub relayed: bool,
}

/// An address that nobody holds answered an echo request before it was offered (M4). It goes into
/// probation as after a DECLINE, unless it has become somebody's meanwhile: what a ping says counts
/// for nothing against a lease.
#[derive(Debug, Clone, PartialEq)]
pub struct InUse {
    /// Who proposes it.
    pub origin: Origin,
    /// The subnet it would have been offered in.
    pub subnet: SubnetId,
    /// The address.
    pub address: Ipv4Addr,
    /// The place that the client's packet came through (M11), as in [`GiveUp`].
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
    /// It has one.
    Update,
    /// `lease4-update`: it has the one that the proposer saw.
    UpdateSeen(Seen),
    /// `lease4-update` with `force-create`.
    Upsert,
}

/// A lease as somebody saw it: each change of a lease changes one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The holding.
    pub generation: Generation,
    /// The stamp of its last grant.
    pub granted: ClusterTime,
    /// Its state.
    pub state: super::LeaseState,
}

impl Seen {
    /// What is remembered of `lease`.
    pub fn of(lease: &super::Lease) -> Seen {
        Seen { generation: lease.generation, granted: lease.granted, state: lease.state }
    }
}

/// `lease4-del`.
#[derive(Debug, Clone, PartialEq)]
pub struct DeleteLease {
    /// The address.
    pub address: Ipv4Addr,
    /// Only the lease that the proposer saw; `None` for whatever is there.
    pub seen: Option<Seen>,
}

/// One step of `lease4-wipe`.
#[derive(Debug, Clone, PartialEq)]
pub struct WipeLeases {
    /// The subnet; `None` for all.
    pub subnet: Option<SubnetId>,
    /// The lowest address that is looked at.
    pub from: Ipv4Addr,
}

impl WipeLeases {
    /// The most leases one step looks at, since the lock is held for it (R22). Whoever wants more goes
    /// on where [`super::Outcome::Wiped`] says.
    pub const MAX: usize = 4096;

    /// The first step.
    pub fn first(subnet: Option<SubnetId>) -> WipeLeases {
        WipeLeases { subnet, from: Ipv4Addr::UNSPECIFIED }
    }
}

/// One step of ending the hold after a restore (R28).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndHold {
    /// The lowest address that is looked at.
    pub from: Ipv4Addr,
}

impl EndHold {
    /// The most leases one step looks at, since the lock is held for it (R22). Whoever wants the end goes on
    /// where [`super::Outcome::HoldEnding`] says.
    pub const MAX: usize = 4096;

    /// The first step.
    pub const FIRST: EndHold = EndHold { from: Ipv4Addr::UNSPECIFIED };
}

/// A piece of a document that does not fit into one command (R25). Documents of more than one
/// piece are sent ahead, and then [`SetConfig`] names them.
///
/// Repeating it is harmless, and so is any order. Pieces of documents that nobody sets are forgotten
/// ([`super::document::Drafts`]).
#[derive(Clone, PartialEq)]
pub struct ConfigChunk {
    /// The whole.
    pub document: Document,
    /// Which piece, from 0 to [`Document::pieces`].
    pub index: u32,
    /// [`Document::piece_len`] bytes of the compressed text.
    pub bytes: Bytes,
}

/// Without the text, which has the secrets in it.
impl fmt::Debug for ConfigChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConfigChunk {} of {:?}", self.index, self.document)
    }
}

/// Replaces the configuration.
#[derive(Clone, PartialEq)]
pub struct SetConfig {
    /// Names this change: repeating the command after an unknown outcome changes nothing the second
    /// time. 0 for a command that is not repeated.
    pub id: u64,
    /// Applies only on top of this version, if given.
    pub expected: Option<ConfigVersion>,
    /// The document.
    pub document: Document,
    /// The compressed text, if it is one piece; else it came before in [`ConfigChunk`]s.
    pub inline: Option<Bytes>,
    /// The feature level whose parser has accepted the document (R24).
    pub level: u32,
    /// Who, why.
    pub note: Note,
}

/// Without the text, as [`ConfigChunk`].
impl fmt::Debug for SetConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetConfig")
            .field("id", &self.id)
            .field("expected", &self.expected)
            .field("document", &self.document)
            .field("inline", &self.inline.is_some())
            .field("level", &self.level)
            .field("note", &self.note)
            .finish()
    }
}

impl SetConfig {
    /// The longest [`Note::author`], bytes.
    pub const MAX_AUTHOR: usize = 256;
    /// The longest [`Note::comment`], bytes.
    pub const MAX_COMMENT: usize = 4096;
    /// More text than this is not parsed on a thread that serves; what proposes it sends it in
    /// pieces, so that every node can begin to parse before it is in force.
    pub const MAX_INLINE: usize = 64 << 10;

    /// A small document in plain JSON, by nobody in particular: for tests and simulations.
    pub fn json(text: impl AsRef<str>) -> SetConfig {
        let packed = super::document::pack(Form::Json, text.as_ref());
        let inline = packed.pieces.concat().into();
        SetConfig {
            id: 0,
            expected: None,
            document: packed.document,
            inline: Some(inline),
            level: super::feature::FIRST,
            note: Note::default(),
        }
    }
}

/// Changes a part of the configuration in force, whichever that is when the command is applied: of
/// two nodes that add the same subnet, one succeeds.
#[derive(Debug, Clone, PartialEq)]
pub struct EditConfig {
    /// Names this change, as in [`SetConfig`].
    pub id: u64,
    /// Applies only on top of this version, if given.
    pub expected: Option<ConfigVersion>,
    /// The version on which the leader tried it, before it let the command into the log: on top of
    /// that, every node must come to the same (R24).
    pub checked: Option<ConfigVersion>,
    /// The feature level whose parser has accepted it (R24).
    pub level: u32,
    /// Who, why.
    pub note: Note,
    /// What is to be done.
    pub edit: Edit,
}

/// A configuration that has passed every check.
#[derive(Debug, Clone)]
pub struct NewConfig {
    /// Applies only on top of this version, if given.
    pub expected: Option<ConfigVersion>,
    /// The document.
    pub text: Packed,
    /// The feature level it was validated at.
    pub level: u32,
    /// Who and why.
    pub note: Note,
}

impl NewConfig {
    /// The commands that bring it about, in order: pieces, if it is not small, and the command that puts
    /// it into force.
    pub fn commands(&self, id: u64) -> (Vec<ConfigChunk>, SetConfig) {
        let document = self.text.document;
        let is_small = document.size <= SetConfig::MAX_INLINE as u64 && document.pieces() == 1;
        let pieces = (0..).zip(self.text.pieces.iter());
        let chunks =
            pieces.map(|(index, bytes)| ConfigChunk { document, index, bytes: bytes.clone() });
        let (chunks, inline) = match self.text.pieces.first() {
            Some(piece) if is_small => (Vec::new(), Some(piece.clone())),
            _ => (chunks.collect(), None),
        };
        let NewConfig { expected, level, note, .. } = self.clone();
        (chunks, SetConfig { id, expected, document, inline, level, note })
    }
}

/// What people want to know of a change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Note {
    /// Who: `user@host`, the file, the node.
    pub author: String,
    /// What for, in the author's words; may be empty.
    pub comment: String,
    /// What brought it about.
    pub why: ConfigWhy,
    /// What `config-hash-get` says of it, as the proposer computed it; nothing is decided by it.
    pub config_hash: Sha256,
}

/// What brought a configuration about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConfigWhy {
    /// `config-set`.
    #[default]
    Set,
    /// The file that a new cluster began with.
    Seed,
    /// The file of a cluster of one, at a start or SIGHUP (R26).
    Reload,
    /// `config-rollback` to that version.
    Rollback(ConfigVersion),
    /// The command of that name.
    Edit(Verb),
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
    /// The highest feature level that the program knows; 0 when it did not say, which means 1.
    pub level: u32,
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
    /// An operator has taken its clients from it (`ha-maintenance-start`). It votes and answers those
    /// who chose it, as one that is leaving; but silence does not end this, only an operator's word, or
    /// the node's own after a restart.
    Maintenance,
    /// Has left the cluster for good; its number is never used again, its identities are still
    /// answered for (C6).
    Left,
}
