//! A decoded message, how it arrived, and what the engine reads out of it before anything else
//! (rules P3, P7, P10, M18 and the giaddr rows of the abuse table).

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use super::context::Context;
use super::relay_info::RelayFacts;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::config::Config;
use crate::dhcp::decision::Reason;
use crate::packet::v4::{
    BadMessageType, ClientIdOption, Message, MessageType, RelayInfo, TypedOption, codes,
};
use crate::state::{Claims, Client, View, circuit_digest};
use crate::types::{ClientId, ClusterTime, HwAddr, Prefix};

/// The most relays a message may have passed (RFC 1542 §4.1.1, rule P10).
const MAX_HOPS: u8 = 16;

/// One DHCPv4 message as the sockets delivered it.
#[derive(Debug, Clone, PartialEq)]
pub struct Packet {
    /// The message.
    pub message: Message,
    /// How it came.
    pub arrival: Arrival,
    /// The last entry that this node had applied when the worker took the packet up; for the time before, in the queue, only
    /// `arrival.at` can tell. Leases of later entries are news to this packet.
    pub seen: u64,
}

/// How a message arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The interface.
    pub interface: Arc<str>,
    /// The server identity on this interface: its first address, or the one listened on. `None`
    /// on an interface without an address: broadcasts cannot be answered there.
    pub address: Option<Ipv4Addr>,
    /// Prefix length of that address: tells what lies on this link (rule 4 of section 5).
    pub prefix_len: u8,
    /// Whether it was broadcast, as opposed to unicast to one of our addresses.
    pub broadcast: bool,
    /// IP source and UDP source port.
    pub source: SocketAddrV4,
    /// IP destination.
    pub destination: Ipv4Addr,
    /// Source address of the frame; `None` when the kernel took the frame off (UDP socket).
    pub frame_source: Option<[u8; 6]>,
    /// MTU of the interface, bytes.
    pub mtu: u32,
    /// When it was received.
    pub at: ClusterTime,
}

impl Arrival {
    /// D5: the address the query was sent to, or the interface's own for a broadcast. It is also
    /// this node's identity towards the client unless something overrides that (C7).
    pub fn local_address(&self) -> Option<Ipv4Addr> {
        if self.broadcast { self.address } else { Some(self.destination) }
    }

    /// Whether the address lies on the link of the interface.
    pub fn on_link(&self, address: Ipv4Addr) -> bool {
        let prefix = self.address.and_then(|own| Prefix::new(own, self.prefix_len).ok());
        prefix.is_some_and(|prefix| prefix.contains(address))
    }
}

/// What decides which worker handles a packet, so that one client's packets stay in order (S11):
/// option 61, else the hardware address. Cheap; needs no valid message.
pub fn steering_key(message: &Message) -> std::borrow::Cow<'_, [u8]> {
    match message.option(crate::packet::v4::codes::CLIENT_ID) {
        Some(id) if id.len() >= 2 => id,
        _ => message.chaddr().into(),
    }
}

/// What every step asks of a message, read once. Options that only a reply needs stay in the
/// message.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Option 53: DISCOVER, REQUEST, DECLINE, RELEASE or INFORM.
    pub message: MessageType,
    /// A BOOTP request (RFC 951, M14): it counts as a REQUEST that names no address.
    pub bootp: bool,
    /// `htype` and `chaddr`.
    pub hw: HwAddr,
    /// Option 61, when it counts as one, or what stands for it (`replace-client-id`).
    pub client_id: Option<ClientId>,
    /// `ciaddr`, unless zero.
    pub ciaddr: Option<Ipv4Addr>,
    /// `giaddr`, when relayed.
    pub relay: Option<Ipv4Addr>,
    /// Option 50.
    pub requested: Option<Ipv4Addr>,
    /// Option 54.
    pub server_id: Option<Ipv4Addr>,
    /// Option 54 names a server outside the cluster, and the configuration says not to mind.
    pub foreign: bool,
    /// Option 118.
    pub subnet_selection: Option<Ipv4Addr>,
    /// What acts in option 82.
    pub relay_facts: RelayFacts,
    /// Option 82 of the lease, where that of the message stands for it (`stash-agent-options`). It is
    /// not echoed.
    pub stash: Option<Box<[u8]>>,
    /// What reservations may know the client by, beside hardware address and client id.
    pub claims: Option<Box<Claims>>,
}

impl Reading {
    /// Reads a packet, or says why it is not served.
    pub fn of(packet: &Packet, cx: &Context<'_>, config: &Config) -> Result<Reading, Reason> {
        let message = &packet.message;
        let (kind, bootp) = message_type(message, config.hooks.bootp)?;
        let relay = relay(packet, cx)?;
        let hw = message.hw_addr();
        let client_id = match message.client_id() {
            ClientIdOption::Is(id) => Some(id),
            ClientIdOption::TooLong => return Err(Reason::LongClientId),
            ClientIdOption::Absent | ClientIdOption::Ignored => None,
        };
        if client_id.is_none() && !hw.is_identity() {
            return Err(Reason::NoIdentity);
        }
        let lenient = config.compatibility.lenient_option_parsing;
        let address = |code| match message.address(code) {
            TypedOption::Bad if lenient => leading_address(message, code),
            value => value,
        };
        let requested = match address(codes::REQUESTED_ADDRESS) {
            TypedOption::Bad if matches!(kind, MessageType::Request | MessageType::Decline) => {
                return Err(Reason::BadRequestedAddress);
            }
            value => value.ok().filter(|address| !address.is_unspecified()),
        };
        let server_id = match address(codes::SERVER_ID) {
            TypedOption::Bad
                if matches!(
                    kind,
                    MessageType::Request | MessageType::Decline | MessageType::Release
                ) =>
            {
                return Err(Reason::BadServerId);
            }
            value if kind == MessageType::Discover && value.is_present() => {
                return Err(Reason::DiscoverWithServer);
            }
            value => value.ok(),
        };
        let relay_facts =
            message.relay_info().map(|info| RelayFacts::of(&info)).unwrap_or_default();
        if relay_facts.virtual_subnet {
            return Err(Reason::Vpn);
        }
        let ciaddr = Some(message.ciaddr()).filter(|address| !address.is_unspecified());
        Ok(Reading {
            message: kind,
            bootp,
            hw,
            client_id,
            ciaddr,
            relay,
            // A BOOTP client that knows its address would like to keep it (RFC 951 §7.3).
            requested: if bootp { ciaddr } else { requested },
            server_id: server_id.filter(|_| !bootp),
            foreign: false,
            subnet_selection: message.subnet_selection().ok(),
            relay_facts,
            stash: None,
            claims: None,
        })
    }

    /// `stash-agent-options`: a client that renews by unicast passes no relay, so what the relay once
    /// wrote, as the lease kept it, is read in its place.
    pub fn recover_relay_info(&mut self, packet: &Packet, view: View<'_>, now: ClusterTime) {
        let has_own = packet.message.relay_info().is_some_and(|info| !info.raw().is_empty());
        let (MessageType::Request, Some(ciaddr), None, false) =
            (self.message, self.ciaddr, self.relay, has_own || self.bootp)
        else {
            return;
        };
        let lease = view.lease(ciaddr).filter(|lease| lease.held_by(&self.client(true)));
        let Some(stash) = lease
            .filter(|lease| now < lease.expires || lease.expires == ClusterTime::NEVER)
            .and_then(|lease| lease.relay_info().map(Box::<[u8]>::from))
        else {
            return;
        };
        self.relay_facts = RelayFacts::of(&RelayInfo::new(&stash[..]));
        self.stash = Some(stash);
    }

    /// `replace-client-id` of flex_id: the value stands for option 61, behind a type of zero, which
    /// means no hardware type (RFC 2132 §9.14).
    pub fn replace_client_id(&mut self, value: &[u8]) {
        let typed = [&[0], value].concat();
        if !value.is_empty()
            && let Ok(id) = ClientId::new(&typed)
        {
            self.client_id = Some(id);
        }
    }

    /// Option 82: that of the lease where it stands for the message's.
    pub fn relay_info<'a>(&'a self, packet: &'a Packet) -> Option<RelayInfo<'a>> {
        match &self.stash {
            Some(stash) => Some(RelayInfo::new(&stash[..])),
            None => packet.message.relay_info(),
        }
    }

    /// Whether option 82 is a relay's word, and not something that a client wrote (A5).
    pub fn is_relay_believed(&self) -> bool {
        self.relay.is_some() || self.stash.is_some()
    }

    /// The server in the cluster that the client named.
    pub fn chosen_server(&self) -> Option<Ipv4Addr> {
        self.server_id.filter(|_| !self.foreign)
    }

    /// The client as the state knows it, in a subnet that matches client ids or not (I1).
    pub fn client(&self, match_id: bool) -> Client {
        // A hardware address that names nobody must not make two clients one.
        let match_id = match_id || !self.hw.is_identity();
        Client { id: self.client_id.clone(), hw: self.hw, match_id, claims: self.claims.clone() }
    }

    /// Whether the message reached this node by unicast from the client itself, or says that it
    /// would have (RFC 5010).
    pub fn is_unicast(&self, arrival: &Arrival) -> bool {
        if self.relay.is_some() { self.relay_facts.unicast } else { !arrival.broadcast }
    }

    /// What stands for the place that a flood of such packets would come from (A1): circuit and
    /// remote id, else the relay, else the interface.
    pub fn circuit(&self, arrival: &Arrival) -> u64 {
        // The seeds keep the kinds apart, and the length of the first part its border.
        match (self.relay, &self.relay_facts.circuit) {
            // What a direct client writes into 82 is no identity (A5).
            (Some(_), Some(circuit)) => circuit_digest(&circuit.circuit_id, &circuit.remote_id),
            (Some(relay), None) => u64::from(u32::from(relay)),
            (None, _) => xxh3_64_with_seed(arrival.interface.as_bytes(), 0),
        }
    }
}

/// The first four bytes of an option that is longer than an address.
fn leading_address(message: &Message, code: u8) -> TypedOption<Ipv4Addr> {
    let value = message.option(code);
    let first = value.as_ref().and_then(|value| value.first_chunk::<4>().copied());
    first.map_or(TypedOption::Bad, |octets| TypedOption::Is(octets.into()))
}

/// Only what clients send, and of that only what is served (P7, M14, M15, M18); and whether it is
/// BOOTP.
fn message_type(message: &Message, bootp: bool) -> Result<(MessageType, bool), Reason> {
    if let Some(why) = message.not_dhcp().filter(|_| !bootp) {
        return Err(why.into());
    }
    match message.message_type() {
        Ok(
            kind @ (MessageType::Discover
            | MessageType::Request
            | MessageType::Decline
            | MessageType::Release
            | MessageType::Inform),
        ) => Ok((kind, false)),
        Ok(
            MessageType::LeaseQuery | MessageType::BulkLeaseQuery | MessageType::ActiveLeaseQuery,
        ) => Err(Reason::LeaseQuery),
        Ok(_) => Err(Reason::ServerMessage),
        Err(BadMessageType::Absent) if bootp => Ok((MessageType::Request, true)),
        Err(BadMessageType::Absent) => Err(Reason::Bootp),
        Err(BadMessageType::Length | BadMessageType::Unknown(_)) => Err(Reason::BadType),
    }
}

/// `giaddr` when relayed, refused where a reply to it would be a loop or a lie (P10, A4, A8).
fn relay(packet: &Packet, cx: &Context<'_>) -> Result<Option<Ipv4Addr>, Reason> {
    let giaddr = packet.message.giaddr();
    let source = packet.arrival.source;
    // Port to port among our own addresses: something echoes what we sent.
    if source.port() == cx.ports.server && cx.own.contains(source.ip()) && !cx.ports.trial() {
        return Err(Reason::OwnAddress);
    }
    if giaddr.is_unspecified() {
        return Ok(None);
    }
    let trial = cx.ports.trial() && giaddr.is_loopback() && source.ip().is_loopback();
    let this_net = giaddr.octets()[0] == 0;
    if giaddr.is_broadcast()
        || giaddr.is_multicast()
        || this_net
        || (giaddr.is_loopback() && !trial)
    {
        return Err(Reason::BadGiaddr);
    }
    if cx.own.contains(&giaddr) && !trial {
        return Err(Reason::OwnAddress);
    }
    if packet.message.hops() > MAX_HOPS {
        return Err(Reason::RelayLoop);
    }
    Ok(Some(giaddr))
}
