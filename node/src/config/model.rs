//! The typed configuration: what the engine, the allocator and `apply` work with.
//!
//! A [`Config`] is complete and consistent by construction: inheritance is resolved, every subnet
//! lies in exactly one network, identifiers and prefixes are unique, pools lie inside their
//! subnet and do not overlap there. Only [`super::parse`] makes one. It never changes afterwards
//! and is shared behind an `Arc`.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::{Arc, OnceLock};

use super::lookup::Lookup;
use crate::types::{ClientId, HwAddr, Lifetime, Prefix, Range, SubnetId};

/// Kea's `Dhcp4`, resolved.
#[derive(Debug, Clone)]
pub struct Config {
    /// `interfaces-config`.
    pub interfaces: Interfaces,
    /// `decline-probation-period`, seconds.
    pub decline_probation: u32,
    /// `echo-client-id` (RFC 6842).
    pub echo_client_id: bool,
    /// `expired-leases-processing`.
    pub expired: ExpiredLeases,
    /// Options of the global scope.
    pub options: OptionSet,
    /// `authoritative` of the global scope: what holds for a packet that no subnet takes.
    pub authoritative: bool,
    /// Every network in the order of the document. A subnet outside `shared-networks` has a
    /// network of its own, without a name.
    pub networks: Vec<Network>,
    /// Every subnet, in the order of the document within each network; indexed by [`SubnetIndex`].
    pub subnets: Vec<Subnet>,
    pub(super) by_id: HashMap<SubnetId, SubnetIndex>,
    pub(super) lookup: Lookup,
    /// What the operator wrote, comments gone and includes pasted, for `config-get` and the log.
    pub(super) document: Arc<serde_json::Value>,
    /// [`Config::hash`], once somebody has asked.
    pub(super) hash: Arc<OnceLock<String>>,
}

/// A place in [`Config::networks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkIndex(pub usize);

/// A place in [`Config::subnets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubnetIndex(pub usize);

/// Subnets that share a link (Kea manual, "Shared Networks in DHCPv4").
#[derive(Debug, Clone)]
pub struct Network {
    /// `name`; `None` for the network of a lone subnet.
    pub name: Option<String>,
    /// Member subnets in order.
    pub subnets: Vec<SubnetIndex>,
    /// Options of the network scope.
    pub options: OptionSet,
    /// `relay.ip-addresses`: relays that select the network although they lie outside it.
    pub relays: Vec<Ipv4Addr>,
    /// `interface`: the local link of direct clients.
    pub interface: Option<String>,
}

/// One subnet with everything it inherits resolved.
#[derive(Debug, Clone)]
pub struct Subnet {
    /// `id`.
    pub id: SubnetId,
    /// `subnet`.
    pub prefix: Prefix,
    /// The network it belongs to.
    pub network: NetworkIndex,
    /// `pools`, in order; none overlaps another.
    pub pools: Vec<Pool>,
    /// `relay.ip-addresses` of the subnet itself.
    pub relays: Vec<Ipv4Addr>,
    /// `interface`, its own or its network's.
    pub interface: Option<String>,
    /// Options of the subnet scope alone.
    pub options: OptionSet,
    /// Values with global → network → subnet inheritance applied.
    pub values: Values,
    /// `reservations`.
    pub reservations: Reservations,
}

/// A range of addresses to give out.
#[derive(Debug, Clone)]
pub struct Pool {
    /// The addresses.
    pub range: Range,
    /// Options of the pool scope alone.
    pub options: OptionSet,
}

/// Inherited values of a subnet.
#[derive(Debug, Clone, PartialEq)]
pub struct Values {
    /// `valid-lifetime`: what a client gets that asks for no time.
    pub valid_lifetime: Lifetime,
    /// `min-valid-lifetime`.
    pub min_valid_lifetime: Lifetime,
    /// `max-valid-lifetime`.
    pub max_valid_lifetime: Lifetime,
    /// `renew-timer` (T1), seconds.
    pub renew_timer: Option<u32>,
    /// `rebind-timer` (T2), seconds.
    pub rebind_timer: Option<u32>,
    /// `calculate-tee-times`.
    pub calculate_tee_times: bool,
    /// `t1-percent`, 0 to 1.
    pub t1_percent: f64,
    /// `t2-percent`, 0 to 1.
    pub t2_percent: f64,
    /// `match-client-id`.
    pub match_client_id: bool,
    /// `authoritative`.
    pub authoritative: bool,
    /// `next-server`; 0.0.0.0 when unset.
    pub next_server: Ipv4Addr,
    /// `server-hostname`, at most 63 bytes.
    pub server_hostname: String,
    /// `boot-file-name`, at most 128 bytes.
    pub boot_file_name: String,
    /// `cache-threshold`, 0 to 1; 0 is off. Kea 3's default is 0.25.
    pub cache_threshold: f64,
    /// `cache-max-age`, seconds.
    pub cache_max_age: Option<u32>,
    /// Seconds after its end during which a lease keeps its address from others (R7); `None` is the
    /// default: 1 % of the lifetime, 2 to 600 s, and 0 in a cluster of one.
    pub grace: Option<u32>,
}

/// `expired-leases-processing`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiredLeases {
    /// `reclaim-timer-wait-time`, seconds; 0 stops reclaiming.
    pub reclaim_timer_wait_time: u32,
    /// `flush-reclaimed-timer-wait-time`, seconds; 0 stops flushing.
    pub flush_reclaimed_timer_wait_time: u32,
    /// `hold-reclaimed-time`, seconds a reclaimed lease is kept for its client.
    pub hold_reclaimed_time: u32,
    /// `max-reclaim-leases` a sweep; 0 is no limit.
    pub max_reclaim_leases: u32,
    /// `max-reclaim-time`, milliseconds a sweep; 0 is no limit. Kept for `config-get`.
    pub max_reclaim_time: u32,
    /// `unwarned-reclaim-cycles`. Kept for `config-get`.
    pub unwarned_reclaim_cycles: u32,
}

/// `interfaces-config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interfaces {
    /// `interfaces`.
    pub listen: Vec<Listen>,
    /// `dhcp-socket-type`.
    pub socket_type: SocketType,
    /// `outbound-interface`: `true` for `use-routing`.
    pub use_routing: bool,
    /// `re-detect`.
    pub re_detect: bool,
}

/// One entry of `interfaces`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// `"*"`.
    All,
    /// `"eth0"`.
    Interface(String),
    /// `"eth0/192.0.2.1"`: only this address of the interface.
    Address(String, Ipv4Addr),
}

/// `dhcp-socket-type` (rule S1–S3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketType {
    /// AF_PACKET for broadcasts, UDP for unicasts: serves clients without an address.
    Raw,
    /// UDP alone: relayed traffic.
    Udp,
}

/// The options of one scope, by space and code.
///
/// The top-level space is [`OptionSet::DHCP4`]. Values are wire bytes, unsplit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OptionSet {
    spaces: BTreeMap<Arc<str>, BTreeMap<u32, OptionData>>,
}

/// One `option-data` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionData {
    /// The value as it goes on the wire, without code and length; may exceed 255 bytes.
    pub bytes: Arc<[u8]>,
    /// `always-send`.
    pub always_send: bool,
    /// `never-send`.
    pub never_send: bool,
}

impl OptionSet {
    /// The space of options at the top level of a DHCPv4 message.
    pub const DHCP4: &'static str = "dhcp4";

    /// The entry for `code` in the top-level space.
    pub fn get(&self, code: u8) -> Option<&OptionData> {
        self.get_in(OptionSet::DHCP4, u32::from(code))
    }

    /// The entry for `code` in `space`.
    pub fn get_in(&self, space: &str, code: u32) -> Option<&OptionData> {
        self.spaces.get(space)?.get(&code)
    }

    /// All entries of the top-level space, ascending by code.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &OptionData)> {
        let top = self.spaces.get(OptionSet::DHCP4).into_iter().flatten();
        top.filter_map(|(code, data)| Some((u8::try_from(*code).ok()?, data)))
    }

    /// Adds an entry; returns whether the place was free.
    pub(super) fn insert(&mut self, space: Arc<str>, code: u32, data: OptionData) -> bool {
        self.spaces.entry(space).or_default().insert(code, data).is_none()
    }
}

/// What a reservation recognises its client by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostIdentifier {
    /// `hw-address`, any hardware type.
    HwAddress(Box<[u8]>),
    /// `client-id`.
    ClientId(ClientId),
}

/// One entry of `reservations`.
#[derive(Debug, Clone, PartialEq)]
pub struct Reservation {
    /// The identifier.
    pub identifier: HostIdentifier,
    /// `ip-address`.
    pub address: Option<Ipv4Addr>,
    /// `hostname`; empty when unset.
    pub hostname: String,
    /// Options of the reservation alone.
    pub options: OptionSet,
    /// `next-server`.
    pub next_server: Option<Ipv4Addr>,
    /// `server-hostname`.
    pub server_hostname: Option<String>,
    /// `boot-file-name`.
    pub boot_file_name: Option<String>,
}

/// The reservations of one subnet, found by identifier or by address.
#[derive(Debug, Clone, Default)]
pub struct Reservations {
    pub(super) entries: Vec<Arc<Reservation>>,
    pub(super) by_hw_address: HashMap<Box<[u8]>, usize>,
    pub(super) by_client_id: HashMap<ClientId, usize>,
    pub(super) by_address: HashMap<Ipv4Addr, usize>,
}

impl Reservations {
    /// The reservation of a client: hardware address first, then client id, in Kea's default
    /// order of `host-reservation-identifiers`.
    pub fn for_client(&self, hw: &HwAddr, id: Option<&ClientId>) -> Option<&Arc<Reservation>> {
        let by_hw = self.by_hw_address.get(hw.bytes());
        let at = by_hw.or_else(|| self.by_client_id.get(id?))?;
        self.entries.get(*at)
    }

    /// The reservation that names `address`.
    pub fn for_address(&self, address: Ipv4Addr) -> Option<&Arc<Reservation>> {
        self.by_address.get(&address).map(|at| &self.entries[*at])
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Reservation>> {
        self.entries.iter()
    }
}

impl Config {
    /// The subnet with this id.
    pub fn subnet(&self, id: SubnetId) -> Option<&Subnet> {
        self.by_id.get(&id).map(|at| &self.subnets[at.0])
    }

    /// The network of a subnet.
    pub fn network_of(&self, subnet: &Subnet) -> &Network {
        &self.networks[subnet.network.0]
    }

    /// The member subnets of a network, in order.
    pub fn members(&self, network: NetworkIndex) -> impl Iterator<Item = &Subnet> {
        self.networks[network.0].subnets.iter().map(|at| &self.subnets[at.0])
    }
}

impl Subnet {
    /// The pool that holds `address`.
    pub fn pool_of(&self, address: Ipv4Addr) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.range.contains(address))
    }
}
