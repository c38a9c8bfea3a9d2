//! What `apply` answers: one [`Outcome`] for each command, the same on every node.

use std::net::Ipv4Addr;

use super::command::{ConfigVersion, Generation};
use super::roster::NotAdmitted;
use crate::config::edit::{Changed, NoEdit};
use crate::types::{ClientKey, ClusterTime, Lifetime, NodeId, SubnetId};

/// The fate of one command.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The address is the client's (R2e).
    Granted(Granted),
    /// The stamp lies behind `not_after`: nothing was done and nobody is told (R2a).
    Late,
    /// The client's lease or the configuration is not what the node saw: decide the packet once
    /// more (R2b, R2c).
    Changed,
    /// The address is another's: the only outcome that may become a NAK (R2d).
    Taken(Taken),
    /// A Release or Decline took effect, or an address in use is in probation.
    GivenUp,
    /// A Release or Decline named no lease of this client; an address in use is somebody's.
    NotHeld,
    /// A Decline that is believed no longer (M11): so many addresses of the pool are in probation
    /// through its circuit that this one is not. The client's holding has ended all the same.
    DeclineLimit,
    /// A relayed Release or Decline did not come through the circuit of the lease's last REQUEST
    /// (A3); nothing was done.
    OtherCircuit,
    /// A sweep ended.
    Reclaimed {
        /// Leases reclaimed or removed.
        count: u32,
        /// Whether more are due.
        more: bool,
    },
    /// `lease4-add` or `lease4-update` wrote the lease.
    LeaseWritten {
        /// Whether there was none before.
        created: bool,
    },
    /// `lease4-add` found a lease.
    LeaseExists,
    /// `lease4-update` or `lease4-del` found none, or not the one that the proposer saw.
    NoLease,
    /// The subnet of a [`super::PutLease`] does not exist.
    NoSubnet(SubnetId),
    /// The address of a [`super::PutLease`] lies outside its subnet.
    OutsideSubnet(SubnetId),
    /// `lease4-del` or `lease4-wipe` removed leases.
    Deleted {
        /// How many.
        count: u64,
    },
    /// A step of `lease4-wipe` ended and there are more leases to look at; the last step ends with
    /// [`Outcome::Deleted`].
    Wiped {
        /// How many it removed.
        count: u64,
        /// Where the next one goes on.
        next: Ipv4Addr,
    },
    /// The configuration is in force at this version.
    ConfigSet(ConfigVersion),
    /// `expected` was another version; this one is in force.
    ConfigConflict(ConfigVersion),
    /// The document cannot be used; the running one stays. The text is for the operator.
    ConfigRefused(String),
    /// A piece of a document is kept.
    ConfigChunk {
        /// Pieces still missing.
        missing: u32,
    },
    /// The document to be set is not here whole: nobody sent it, or it was forgotten meanwhile. The
    /// pieces can be sent again.
    ConfigIncomplete,
    /// A part of the configuration was changed, and this version is in force.
    ConfigEdited {
        /// The version.
        version: ConfigVersion,
        /// What was changed.
        changed: Changed,
    },
    /// A part of the configuration cannot be changed so; nothing was.
    ConfigNotEdited(NoEdit),
    /// So much was changed since the last whole document that the next version must be one; nothing
    /// was changed.
    ConfigEditsFull,
    /// Bookkeeping took effect.
    Noted,
    /// This feature level is in force.
    Level(u32),
    /// The feature level stays as it is: the programs of these nodes do not know the new one, or have
    /// not said so.
    LevelHeld(Vec<NodeId>),
    /// The node is let in, under this number.
    Admitted(NodeId),
    /// It is not, or its token is not taken.
    NotAdmitted(NotAdmitted),
    /// R28: the address may be somebody's whom the machine does not know, the client does not say that it
    /// is its own, and nobody has looked. Nothing was done.
    Held,
    /// A step towards the end of the hold.
    HoldEnding {
        /// Where the next one goes on.
        next: Ipv4Addr,
    },
    /// No address is held any more.
    HoldEnded,
    /// The command needs this feature level, which is not in force yet; nothing was done (R24).
    NotYet(u32),
}

impl Outcome {
    /// Whether a piece of a document was taken.
    pub fn is_piece(&self) -> bool {
        matches!(self, Outcome::ConfigChunk { .. })
    }
}

/// Why an address was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Another client's lease covers it.
    Leased,
    /// It is reserved for another client.
    Reserved,
    /// Its last lease ended a moment ago (R7).
    Grace,
    /// It is in probation after a DECLINE.
    Declined,
}

/// Proof that a majority has the binding on disk. An ACK is built from this and from nothing else
/// (R4): the fields are readable by all, but only `state::apply` makes one, and the decoder of an
/// outcome that another node's `apply` made.
#[derive(Debug, Clone, PartialEq)]
pub struct Granted {
    address: Ipv4Addr,
    subnet: SubnetId,
    client: ClientKey,
    lifetime: Lifetime,
    expires: ClusterTime,
    generation: Generation,
    stamp: ClusterTime,
    reused: bool,
}

impl Granted {
    /// Only for `apply` and the wire decoder.
    #[allow(clippy::too_many_arguments)]
    pub(in crate::state) fn new(
        address: Ipv4Addr,
        subnet: SubnetId,
        client: ClientKey,
        lifetime: Lifetime,
        expires: ClusterTime,
        generation: Generation,
        stamp: ClusterTime,
    ) -> Granted {
        Granted { address, subnet, client, lifetime, expires, generation, stamp, reused: false }
    }

    /// The same, of a lease that was left as it was (M8) or not.
    #[must_use]
    pub(in crate::state) fn reusing(self, reused: bool) -> Granted {
        Granted { reused, ..self }
    }

    /// The address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }
    /// The subnet it was granted in.
    pub fn subnet(&self) -> SubnetId {
        self.subnet
    }
    /// Whose it is.
    pub fn client(&self) -> &ClientKey {
        &self.client
    }
    /// What the client may be told: the granted time, or what remains of it (M8).
    pub fn lifetime(&self) -> Lifetime {
        self.lifetime
    }
    /// When it ends.
    pub fn expires(&self) -> ClusterTime {
        self.expires
    }
    /// The holding.
    pub fn generation(&self) -> Generation {
        self.generation
    }
    /// The stamp of the entry that granted it.
    pub fn stamp(&self) -> ClusterTime {
        self.stamp
    }
    /// Whether the lease stayed as it was (M8): only for counting.
    pub fn is_reused(&self) -> bool {
        self.reused
    }
}
