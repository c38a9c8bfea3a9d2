//! What an engine decides about a packet. The caller (`serve`) executes it and nothing else.
//!
//! Two promises lie in the types. An ACK that binds, and an OFFER that was committed, are made from a
//! [`Granted`] and from nothing else ([`Reply::ack`], rule R4). A NAK judged on the local view comes as [`Decision::Refuse`]
//! and is sent only after a read barrier (rule C11).

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crate::packet::v4::{Malformed, MessageType};
use crate::state::{Command, Granted};
use crate::types::{ClientKey, ClusterTime, NodeId, SubnetId};

pub use crate::dhcp::v4::Pending;

/// What to do about one packet.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Nothing but counting the reason.
    Drop(Reason),
    /// Another node's turn: stay silent, remember the shadow for 60 s (C2).
    Shadow(Shadow),
    /// Nobody has reported this link: send the heard-note at once, wait up to 50 ms for the
    /// peers' notes, then call `handle` again with `asked = true` (R17).
    AskPeers(Link),
    /// Send it: an OFFER (remember [`Reply::offered`]), an ACK to an INFORM, an ACK from a
    /// `Granted`, or a NAK from fresh knowledge.
    Reply(Reply),
    /// A NAK from the local view: pass a read barrier that began after the packet came (C11),
    /// then call `handle` again with `fresh = true`. This reply is never sent as it is.
    Refuse(Reply),
    /// The address would be offered afresh: find out first whether somebody uses it (M4), and call
    /// `handle` again. If somebody does, with a memory that says so
    /// ([`crate::dhcp::v4::Memory::is_in_use`]); if nobody does, and the same comes out, do what is
    /// inside, a `Reply` or a `Commit`.
    Check(Check, Box<Decision>),
    /// Propose the command; give its outcome to [`Pending::finish`]. No outcome (timeout, lost
    /// leader, full queue) means silence.
    Commit(Command, Box<Pending>),
    /// Propose the command after the delay, unless the view shows by then that it has taken
    /// effect; its outcome is only counted. RELEASE and DECLINE (R5, C10).
    Propose {
        /// The command.
        command: Command,
        /// 0, 200 or 400 ms by rank.
        after: Duration,
    },
    /// Only from [`Pending::finish`], at most once for a packet: the view was behind. Wait until
    /// this node has applied the entry that answered, then call `handle` once more with
    /// `again = true`.
    Again,
}

/// Everything `handle` says about one packet.
#[derive(Debug, Clone, PartialEq)]
pub struct Handled {
    /// What to do.
    pub decision: Decision,
    /// Whose packet it is, once that is known. On [`Reason::OtherServer`] the caller drops this
    /// client's hold (M5).
    pub client: Option<ClientKey>,
    /// The link a client's broadcast or a relay's copy came through: this node hears it (C1a).
    pub heard: Option<Link>,
    /// What stands for where it came from, once the packet is one that is served (A1).
    pub circuit: Option<u64>,
    /// What the search for an address came to, for statistics.
    pub search: Search,
}

/// What there is to count, or to limit, about a search for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Search {
    /// It found none.
    pub failed: Option<Failure>,
    /// A DISCOVER's client cannot have the address reserved for it in this subnet, since another has
    /// a lease of it.
    pub conflict: Option<SubnetId>,
    /// Nobody knows the client that is to get an address (A1). Only where newcomers are limited.
    pub newcomer: bool,
}

/// A search that found no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The subnet selected for the client. Its network has been searched.
    pub subnet: SubnetId,
    /// Whether that is a shared network.
    pub shared: bool,
    /// Whether there was no pool that the client may use.
    pub no_pools: bool,
}

/// A place that clients broadcast from. Nodes tell each other which they hear (C1a).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Link {
    /// Through this relay (`giaddr`).
    Relay(Ipv4Addr),
    /// On the wire of the network whose first subnet this is.
    Subnet(SubnetId),
}

/// What a node remembers of a packet that it left to another (C2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow {
    /// Whose packet.
    pub client: ClientKey,
    /// Option 53.
    pub message: MessageType,
    /// The address asked for.
    pub address: Option<Ipv4Addr>,
    /// The node whose turn it is, when there is one.
    pub owner: Option<NodeId>,
}

/// What the other nodes are told about an answer (C2a).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Whose packet.
    pub client: ClientKey,
    /// What was answered.
    pub kind: ReplyKind,
    /// The address in it, if any.
    pub address: Option<Ipv4Addr>,
    /// Option 54 of the answer.
    pub identity: Ipv4Addr,
}

/// A hold to remember on this node (M3), for 60 s at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// To whom.
    pub client: ClientKey,
    /// In which subnet.
    pub subnet: SubnetId,
    /// What.
    pub address: Ipv4Addr,
    /// What stands for where it was asked from, for the limit of A1: a hash of 82.1 and 82.2, else
    /// of `giaddr`, else of the interface.
    pub circuit: u64,
    /// No longer than this: when a committed offer ends.
    pub until: ClusterTime,
}

/// A ping check (M4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Whom the address is meant for, and where; to be held for it meanwhile.
    pub offer: Offered,
    /// How many echo requests must stay without an answer, at least one.
    pub requests: u32,
    /// How long each waits.
    pub timeout: Duration,
    /// R28: without the check the address is not given, whatever stands in its way: it may be
    /// somebody's.
    pub must: bool,
}

/// The kinds of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplyKind {
    /// DHCPOFFER.
    Offer,
    /// DHCPACK that binds.
    Ack,
    /// DHCPACK to an INFORM: grants nothing.
    InformAck,
    /// DHCPNAK.
    Nak,
}

impl ReplyKind {
    /// Lower case, for logs and metric labels.
    pub fn name(self) -> &'static str {
        match self {
            ReplyKind::Offer => "offer",
            ReplyKind::Ack => "ack",
            ReplyKind::InformAck => "inform-ack",
            ReplyKind::Nak => "nak",
        }
    }
}

/// A finished answer: bytes and where they go. Only the constructors of this module make one.
#[derive(Clone, PartialEq)]
pub struct Reply {
    kind: ReplyKind,
    payload: Vec<u8>,
    delivery: Delivery,
    answered: Answered,
    offered: Option<Offered>,
    omitted: u32,
}

/// The parts every answer has, as `respond` builds them.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::dhcp) struct Parts {
    /// The DHCP message, at least 300 bytes (W1).
    pub payload: Vec<u8>,
    /// Where it goes.
    pub delivery: Delivery,
    /// Whose packet it answers.
    pub client: ClientKey,
    /// Option 54 in it.
    pub identity: Ipv4Addr,
    /// Options left out for want of room (W3).
    pub omitted: u32,
}

impl Reply {
    /// An ACK that binds: `parts` must say what `granted` says. Without a [`Granted`] there is no
    /// way to get one (R4).
    pub(in crate::dhcp) fn ack(granted: &Granted, parts: Parts) -> Reply {
        Reply::new(ReplyKind::Ack, Some(granted.address()), None, parts)
    }

    /// An OFFER of an address that is committed to the client (`offer-lifetime`). The hold adds
    /// nothing to the promise; it counts towards what a circuit may have on offer (A1).
    pub(in crate::dhcp) fn committed_offer(
        granted: &Granted,
        offered: Offered,
        parts: Parts,
    ) -> Reply {
        Reply::new(ReplyKind::Offer, Some(granted.address()), Some(offered), parts)
    }

    /// An OFFER, with the hold to remember; none when the address is the client's own anyway.
    pub(in crate::dhcp) fn offer(
        address: Ipv4Addr,
        offered: Option<Offered>,
        parts: Parts,
    ) -> Reply {
        Reply::new(ReplyKind::Offer, Some(address), offered, parts)
    }

    /// An OFFER of no address: what to do without one (RFC 2563).
    pub(in crate::dhcp) fn offer_nothing(parts: Parts) -> Reply {
        Reply::new(ReplyKind::Offer, None, None, parts)
    }

    /// The answer to an INFORM: parameters, no lease (M13).
    pub(in crate::dhcp) fn inform_ack(parts: Parts) -> Reply {
        Reply::new(ReplyKind::InformAck, None, None, parts)
    }

    /// A refusal.
    pub(in crate::dhcp) fn nak(parts: Parts) -> Reply {
        Reply::new(ReplyKind::Nak, None, None, parts)
    }

    fn new(
        kind: ReplyKind,
        address: Option<Ipv4Addr>,
        offered: Option<Offered>,
        parts: Parts,
    ) -> Reply {
        let answered = Answered { client: parts.client, kind, address, identity: parts.identity };
        Reply {
            kind,
            payload: parts.payload,
            delivery: parts.delivery,
            answered,
            offered,
            omitted: parts.omitted,
        }
    }

    /// What it is.
    pub fn kind(&self) -> ReplyKind {
        self.kind
    }

    /// The UDP payload.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Where it goes.
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// The note for the other nodes (C2a).
    pub fn answered(&self) -> &Answered {
        &self.answered
    }

    /// The hold to remember (M3): OFFERs only.
    pub fn offered(&self) -> Option<&Offered> {
        self.offered.as_ref()
    }

    /// How many options were left out because the client takes no longer packet (W3).
    pub fn omitted(&self) -> u32 {
        self.omitted
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("kind", &self.kind)
            .field("bytes", &self.payload.len())
            .field("delivery", &self.delivery)
            .field("answered", &self.answered)
            .field("offered", &self.offered)
            .finish()
    }
}

/// Where a reply goes: the outcome of the eight rules of section 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// The rule that matched, 1 to 8: for tests and metrics.
    pub rule: u8,
    /// IP destination and UDP port.
    pub to: SocketAddrV4,
    /// How it is put on the wire, always through the interface the query came in by.
    pub how: How,
    /// IP source and UDP port (D5).
    pub from: SocketAddrV4,
}

/// How a reply is put on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By the kernel, routed.
    Udp,
    /// Link-layer broadcast out of the receiving interface.
    Broadcast,
    /// To this link-layer address: the client does not answer ARP yet (rule 8, D3).
    Frame([u8; 6]),
}

/// Makes an enum whose variants have a stable name, and the list of them.
macro_rules! named {
    ($(#[$meta:meta])* $enum:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $enum { $($(#[$doc])* $variant,)* }

        impl $enum {
            /// Every value, in order.
            pub const ALL: &'static [$enum] = &[$($enum::$variant,)*];

            /// The stable name: a metric label, a word in logs and test scripts.
            pub fn name(self) -> &'static str {
                match self { $($enum::$variant => $name,)* }
            }
        }

        impl fmt::Display for $enum {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

named! {
    /// Why a packet gets no answer.
    Reason {
        /// Shorter than a DHCP message (P1).
        Short = "short",
        /// No magic cookie (P1).
        BadCookie = "bad-cookie",
        /// Not a BOOTREQUEST (P2).
        NotRequest = "not-request",
        /// `hlen` above 16 (P3).
        BadHlen = "bad-hlen",
        /// Neither a usable hardware address nor a client id (P3).
        NoIdentity = "no-identity",
        /// Longer than a datagram can be.
        Malformed = "malformed",
        /// No option 53 (M14: BOOTP is off).
        Bootp = "bootp",
        /// Option 53 is broken or of a type nobody knows (P7).
        BadType = "bad-type",
        /// A server's message at the server port (M18).
        ServerMessage = "server-message",
        /// LEASEQUERY (M15).
        LeaseQuery = "leasequery",
        /// Option 61 above 255 bytes (P7).
        LongClientId = "long-client-id",
        /// Option 54 is not four bytes (P7).
        BadServerId = "bad-server-id",
        /// Option 50 is not four bytes (P7).
        BadRequestedAddress = "bad-requested-address",
        /// More than 16 relay hops (P10).
        RelayLoop = "relay-loop",
        /// `giaddr` in 0/8, 127/8, 224/4 or 255.255.255.255 (abuse table).
        BadGiaddr = "bad-giaddr",
        /// `giaddr` or the source is one of our own addresses (A8).
        OwnAddress = "own-address",
        /// Sub-option 151 asks for a VPN that is not served (RFC 6607).
        Vpn = "vpn",
        /// A DISCOVER that names a server (M1).
        DiscoverWithServer = "discover-with-server",
        /// The client chose, or talks to, a server outside the cluster (M5).
        OtherServer = "other-server",
        /// 54 and `ciaddr` together, and 54 is not ours (7.2, mixed).
        MixedRequest = "mixed-request",
        /// No subnet serves the client (I5).
        NoSubnet = "no-subnet",
        /// Every address is taken (M2).
        PoolExhausted = "pool-exhausted",
        /// Too many addresses held through this circuit (A1).
        HoldLimit = "hold-limit",
        /// More new clients come through this circuit than are let in at a time (A1).
        NewClientLimit = "new-client-limit",
        /// The client asked for parameters too often (M13).
        InformLimit = "inform-limit",
        /// So many addresses of the pool are in probation through this circuit that its DECLINEs are
        /// believed no longer (M11).
        ProbationLimit = "probation-limit",
        /// The client declined too often (M11).
        DeclineLimit = "decline-limit",
        /// The packet is in the class DROP.
        DropClass = "drop-class",
        /// The packet is in the class REJECT, and may not be answered with a NAK.
        RejectClass = "reject-class",
        /// After a restore the address may be somebody's, and was not checked (R28).
        Held = "held",
        /// We know nothing about this client and are not authoritative.
        UnknownClient = "unknown-client",
        /// The address is in no pool of the subnet and not reserved for the client.
        NotInPool = "not-in-pool",
        /// The reply has no possible destination (rule 3 of section 5).
        NowhereToReply = "nowhere-to-reply",
        /// RELEASE or DECLINE without an address (M9, M12).
        NoAddress = "no-address",
        /// A direct RELEASE whose source is not its `ciaddr`, or a relayed RELEASE or DECLINE from
        /// another circuit than the lease's last REQUEST (A3).
        ForgedRelease = "forged-release",
        /// An operator has switched the service off on this node (`dhcp-disable`).
        ServiceDisabled = "service-disabled",
        /// The node knows of a newer configuration, or has not caught up (W6, C15).
        NotReady = "not-ready",
        /// The packet or its commit took longer than 2 s.
        Late = "late",
        /// The client was given another address while the packet waited (R2).
        Overtaken = "overtaken",
        /// The commit found another state twice.
        ChangedTwice = "changed-twice",
        /// The commit refused what may not be answered with a NAK.
        TakenSilent = "taken-silent",
        /// The outcome belongs to no Grant.
        StrangeOutcome = "strange-outcome",
    }
}

impl From<Malformed> for Reason {
    fn from(malformed: Malformed) -> Reason {
        match malformed {
            Malformed::Short => Reason::Short,
            Malformed::Long => Reason::Malformed,
            Malformed::Cookie => Reason::BadCookie,
            Malformed::Op(_) => Reason::NotRequest,
            Malformed::HwAddrLength(_) => Reason::BadHlen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_reasons_are_unique() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|r| r.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}
