//! The typed configuration: what the engine, the allocator and `apply` work with.
//!
//! A [`Config`] is complete and consistent by construction: inheritance is resolved, every subnet
//! lies in exactly one network, identifiers and prefixes are unique, pools lie inside their
//! subnet and do not overlap there. Only [`super::parse`] makes one. It never changes afterwards
//! and is shared behind an `Arc`. A copy is cheap, and so is one in which a reservation differs.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock, OnceLock};

use super::host_list::{Tally, bit};
use super::hosts::Reservations;
use super::lookup::Lookup;
use super::subnet_list::Subnets;
use crate::expression::{Test, Text};
use crate::options::{Definitions, sub_options};
use crate::types::{ClassName, ClassSet, Guard, Lifetime, Prefix, Range, SubnetId};

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
    /// `client-classes`.
    pub classes: Arc<Classes>,
    /// The standard options and those of `option-def`.
    pub definitions: Arc<Definitions>,
    /// How reservations are looked for.
    pub hosts: HostLookup,
    /// `reservations` of the global scope, for subnets with `reservations-global`.
    pub reservations: Reservations,
    /// `stash-agent-options`: a renewal without option 82 is read with the one stored in the lease.
    pub stash_agent_options: bool,
    /// `compatibility`.
    pub compatibility: Compatibility,
    /// `multi-threading`.
    pub multi_threading: MultiThreading,
    /// `dhcp-ddns`.
    pub ddns: DdnsClient,
    /// How many samples of each statistic a node keeps.
    pub samples: Samples,
    /// `user-context.leasehold.new-clients`: how many new clients of a circuit are let in (A1); all where it is
    /// absent.
    pub new_clients: Option<NewClients>,
    /// `hooks-libraries` that are built in and have parameters.
    pub hooks: Arc<Hooks>,
    /// Every network in the order of the document. A subnet outside `shared-networks` has a
    /// network of its own, without a name.
    pub networks: Arc<Vec<Network>>,
    /// Every subnet, in the order of the document within each network; indexed by [`SubnetIndex`].
    pub subnets: Subnets,
    pub(super) by_id: Arc<HashMap<SubnetId, SubnetIndex>>,
    pub(super) lookup: Arc<Lookup>,
    /// What all reservations are.
    pub(super) tally: Tally,
    /// Whether anything but reservations needs the classes of a packet.
    pub(super) names_classes: bool,
    /// The document that was read. Reservations may have changed since.
    pub(super) base: Unshown<Arc<str>>,
    /// [`Config::document`], once somebody has asked.
    pub(super) document: Unshown<Arc<OnceLock<Arc<str>>>>,
    /// [`Config::hash`], once somebody has asked.
    pub(super) hash: Arc<OnceLock<String>>,
}

/// How many clients that nobody knows are let in through one circuit (A1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewClients {
    /// So many a second in the long run.
    pub rate: u32,
    /// So many at once, after a while without any.
    pub burst: u32,
}

/// `statistic-default-sample-count` and `-age`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Samples {
    /// So many samples of each statistic; 0 leaves it to `age`.
    pub count: u32,
    /// Samples not older than this, seconds.
    pub age: u32,
}

/// The text of a document, which no debug form shows: it has the secrets in it.
#[derive(Clone, Default)]
pub(super) struct Unshown<T>(pub(super) T);

impl<T> std::ops::Deref for Unshown<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> std::fmt::Debug for Unshown<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a document")
    }
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
    /// Member subnets in the order of their ids, in which Kea goes through them.
    pub subnets: Vec<SubnetIndex>,
    /// Options of the network scope.
    pub options: OptionSet,
    /// `relay.ip-addresses`: relays that select the network although they lie outside it.
    pub relays: Vec<Ipv4Addr>,
    /// `interface`: the local link of direct clients.
    pub interface: Option<String>,
    /// `client-classes` (`client-class`).
    pub guard: Guard,
    /// `evaluate-additional-classes` (`require-client-classes`).
    pub additional_classes: Box<[ClassName]>,
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
    /// `client-classes` (`client-class`) of the subnet itself; its network's counts as well.
    pub guard: Guard,
    /// `evaluate-additional-classes` (`require-client-classes`) of the subnet itself.
    pub additional_classes: Box<[ClassName]>,
    /// `user-context.ping-check`, over the hook's own parameters.
    pub ping_check: Option<PingCheck>,
}

/// A range of addresses to give out.
#[derive(Debug, Clone)]
pub struct Pool {
    /// The addresses.
    pub range: Range,
    /// Options of the pool scope alone.
    pub options: OptionSet,
    /// `pool-id`; pools that share one are counted together.
    pub id: u32,
    /// `client-classes` (`client-class`) of the pool itself.
    pub guard: Guard,
    /// `evaluate-additional-classes` (`require-client-classes`) of the pool itself.
    pub additional_classes: Box<[ClassName]>,
    /// Host names and DNS: pool → subnet → network → global.
    pub naming: Arc<Naming>,
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
    /// `reservations-global`, `-in-subnet`, `-out-of-pool` (or `reservation-mode`).
    pub reservations: ReservationModes,
    /// `store-extended-info`.
    pub store_extended_info: bool,
    /// `allocator`.
    pub allocator: Allocator,
    /// `adaptive-lease-time-threshold`, 0 to 1, for [`Allocator::Flq`].
    pub adaptive_lease_time_threshold: Option<f64>,
    /// `offer-lifetime`, seconds; 0 is off.
    pub offer_lifetime: u32,
    /// Host names and DNS where no pool says otherwise.
    pub naming: Arc<Naming>,
}

/// Which reservations a subnet consults (Kea manual, "Host Reservation Modes").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReservationModes {
    /// Those of the global scope.
    pub global: bool,
    /// Those of the subnet, and of the others of its network.
    pub in_subnet: bool,
    /// They are promised to lie outside all pools, so addresses of pools are not asked about.
    pub out_of_pool: bool,
}

/// How a free address is picked (Kea manual, "Address Allocation Strategies").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocator {
    /// One behind the other.
    Iterative,
    /// Anywhere.
    Random,
    /// Free lease queue: what has been free for longest.
    Flq,
}

/// `hostname-char-set`; equal if written alike.
#[derive(Debug, Clone)]
pub struct BadCharacters(pub regex::bytes::Regex);

impl PartialEq for BadCharacters {
    fn eq(&self, other: &BadCharacters) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// `hostname-char-*` and `ddns-*` of one scope, inheritance applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Naming {
    /// `hostname-char-set`: what must not stand in a client's name; `None` leaves names alone.
    pub bad_characters: Option<BadCharacters>,
    /// `hostname-char-replacement`: what stands there instead.
    pub replacement: String,
    /// `ddns-send-updates` and `dhcp-ddns.enable-updates`.
    pub send_updates: bool,
    /// `ddns-override-no-update`.
    pub override_no_update: bool,
    /// `ddns-override-client-update`.
    pub override_client_update: bool,
    /// `ddns-replace-client-name`.
    pub replace_client_name: ReplaceClientName,
    /// `ddns-generated-prefix`.
    pub generated_prefix: String,
    /// `ddns-qualifying-suffix`, without dots at its ends.
    pub qualifying_suffix: String,
    /// `ddns-update-on-renew`.
    pub update_on_renew: bool,
    /// `ddns-conflict-resolution-mode` (or `ddns-use-conflict-resolution`), in Kea's word.
    pub conflict_resolution: &'static str,
    /// `ddns-ttl`.
    pub ttl: DdnsTtl,
}

/// `ddns-ttl` and its kin.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct DdnsTtl {
    /// `ddns-ttl`, seconds: fixed.
    pub fixed: Option<u32>,
    /// `ddns-ttl-percent`, 0 to 1, of the lifetime.
    pub share: Option<f64>,
    /// `ddns-ttl-min`, seconds.
    pub min: Option<u32>,
    /// `ddns-ttl-max`, seconds.
    pub max: Option<u32>,
}

/// `ddns-replace-client-name`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplaceClientName {
    /// Keep what the client says.
    Never,
    /// Make a name, whatever it says.
    Always,
    /// Make one for a client that has one.
    WhenPresent,
    /// Make one for a client that has none.
    WhenNotPresent,
}

/// `client-classes`, in order (Kea manual, "Client Classification").
#[derive(Debug, Clone, Default)]
pub struct Classes {
    pub(super) list: Vec<Class>,
    pub(super) by_name: HashMap<ClassName, usize>,
}

impl Classes {
    /// All of them, in the order of their evaluation.
    pub fn iter(&self) -> impl Iterator<Item = &Class> {
        self.list.iter()
    }

    /// The class called `name`.
    pub fn get(&self, name: &str) -> Option<&Class> {
        self.by_name.get(name).map(|at| &self.list[*at])
    }

    /// The configured classes of a packet, in the order in which it was put into them.
    pub fn of<'a>(&'a self, set: &'a ClassSet) -> impl Iterator<Item = &'a Class> {
        set.iter().filter_map(|name| self.get(name))
    }
}

/// One entry of `client-classes`.
#[derive(Debug, Clone)]
pub struct Class {
    /// `name`.
    pub name: ClassName,
    /// `test` or `template-test`; without one the class is only assigned.
    pub rule: Option<ClassRule>,
    /// `only-in-additional-list` (`only-if-required`): not evaluated by itself.
    pub additional_only: bool,
    /// Whether the rule depends, possibly through other classes, on KNOWN or UNKNOWN: then it is
    /// evaluated after the look-up of reservations.
    pub after_hosts: bool,
    /// `option-data`.
    pub options: OptionSet,
    /// `option-def`: 43 and 224 to 254 as this class has them.
    pub definitions: Definitions,
    /// `valid-lifetime` with `min-` and `max-`, one group.
    pub lifetimes: Option<Lifetimes>,
    /// `offer-lifetime`, seconds.
    pub offer_lifetime: Option<u32>,
    /// `next-server`.
    pub next_server: Option<Ipv4Addr>,
    /// `server-hostname`.
    pub server_hostname: Option<String>,
    /// `boot-file-name`.
    pub boot_file_name: Option<String>,
}

/// What puts a packet into a class.
#[derive(Debug, Clone)]
pub enum ClassRule {
    /// `test`.
    Test(Test),
    /// `template-test`: the packet joins `SPAWN_<name>_<value>` and the class.
    Template(Text),
}

/// The lease times of a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// `min-valid-lifetime`.
    pub min: Lifetime,
    /// `valid-lifetime`.
    pub valid: Lifetime,
    /// `max-valid-lifetime`.
    pub max: Lifetime,
}

/// How reservations are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLookup {
    /// `host-reservation-identifiers`, in order.
    pub identifiers: Vec<IdentifierKind>,
    /// `early-global-reservations-lookup`.
    pub early_global: bool,
    /// `ip-reservations-unique`.
    pub unique_addresses: bool,
}

/// The kinds of host identifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IdentifierKind {
    /// `hw-address`.
    HwAddress,
    /// `duid`: the DUID inside an RFC 4361 client id.
    Duid,
    /// `circuit-id`: sub-option 1 of option 82.
    CircuitId,
    /// `client-id`: option 61.
    ClientId,
    /// `flex-id`: the value of the flex_id hook's expression.
    FlexId,
}

impl IdentifierKind {
    /// How many there are.
    pub(super) const COUNT: usize = 5;
}

/// `compatibility`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compatibility {
    /// `lenient-option-parsing`.
    pub lenient_option_parsing: bool,
    /// `ignore-dhcp-server-identifier`.
    pub ignore_server_identifier: bool,
    /// `ignore-rai-link-selection`.
    pub ignore_link_selection: bool,
    /// `exclude-first-last-24`.
    pub exclude_first_last_24: bool,
}

/// `multi-threading`. It says nothing about the threads here; `status-get` repeats what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MultiThreading {
    /// `enable-multi-threading`.
    pub enabled: bool,
    /// `thread-pool-size`; 0 is as many as there are processors.
    pub threads: u32,
    /// `packet-queue-size`.
    pub queue: u32,
}

/// `dhcp-ddns`: where name change requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DdnsClient {
    /// `enable-updates`.
    pub enabled: bool,
    /// `server-ip` and `server-port`.
    pub server: std::net::SocketAddr,
    /// `sender-ip` and `sender-port`, where given.
    pub sender: Option<std::net::SocketAddr>,
    /// `max-queue-size`.
    pub max_queue: u32,
}

/// Kea's hooks that are built in and have parameters.
#[derive(Debug, Clone, Default)]
pub struct Hooks {
    /// `libdhcp_flex_id`.
    pub flex_id: Option<FlexId>,
    /// `libdhcp_flex_option`, in order.
    pub flex_option: Vec<FlexOption>,
    /// `libdhcp_bootp`: BOOTP clients are served.
    pub bootp: bool,
    /// `libdhcp_ha` is listed: whoever looks for a pair of servers is shown one.
    pub high_availability: bool,
    /// `libdhcp_run_script`.
    pub run_script: Option<RunScript>,
    /// `libdhcp_ping_check`.
    pub ping_check: Option<PingCheck>,
}

/// `libdhcp_flex_id`.
#[derive(Debug, Clone)]
pub struct FlexId {
    /// `identifier-expression`.
    pub expression: Text,
    /// `replace-client-id`: the value is used as client id inside the server.
    pub replace_client_id: bool,
}

/// One entry of `libdhcp_flex_option`.
#[derive(Debug, Clone)]
pub struct FlexOption {
    /// `code` or `name`.
    pub code: u8,
    /// `client-class`.
    pub class: Option<ClassName>,
    /// What happens to the option.
    pub action: FlexAction,
    /// `csv-format`: the value is text, to be encoded by the definition.
    pub csv: bool,
    /// `sub-options`, if any; then `action` is [`FlexAction::None`].
    pub sub_options: Vec<FlexSubOption>,
}

/// What `libdhcp_flex_option` does with an option.
#[derive(Debug, Clone)]
pub enum FlexAction {
    /// Nothing by itself.
    None,
    /// `add`: if the reply has none.
    Add(Text),
    /// `supersede`.
    Supersede(Text),
    /// `remove`, if true.
    Remove(Test),
}

/// A sub-option of [`FlexOption`].
#[derive(Debug, Clone)]
pub struct FlexSubOption {
    /// `space`, or the one that the option encapsulates.
    pub space: Arc<str>,
    /// `code` in that space.
    pub code: u8,
    /// `client-class`.
    pub class: Option<ClassName>,
    /// What happens to it.
    pub action: FlexAction,
    /// `csv-format`.
    pub csv: bool,
    /// `container-add`: the option is made if the reply has none.
    pub container_add: bool,
    /// `container-remove`: the option goes when it is left empty.
    pub container_remove: bool,
}

/// `libdhcp_run_script`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunScript {
    /// `name`: the path of the program.
    pub path: String,
}

/// `libdhcp_ping_check` (rule M4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PingCheck {
    /// `enable-ping-check`.
    pub enabled: bool,
    /// `min-ping-requests`.
    pub requests: u32,
    /// `reply-timeout`, milliseconds.
    pub reply_timeout: u32,
    /// `ping-cltt-secs`: a client seen so recently is not checked.
    pub cltt_secs: u32,
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
    /// Space and code of each entry, ascending; equal ones in the order of the document. Two lists,
    /// not maps, since each of a million reservations may have one.
    keys: Vec<(Arc<str>, u32)>,
    data: Vec<OptionData>,
}

/// One `option-data` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionData {
    /// The value as it goes on the wire, without code and length; may exceed 255 bytes. The options of
    /// a space that it encapsulates are inside, unless they stand in `sub_options`.
    pub bytes: Arc<[u8]>,
    /// `always-send`.
    pub always_send: bool,
    /// `never-send`.
    pub never_send: bool,
    /// `client-classes`: the entry is for packets in one of these.
    pub guard: Guard,
    /// Sub-options to be put behind `bytes`, ascending by code, of each code the first that admits the
    /// packet. Empty unless one of them is for some packets only.
    pub sub_options: Box<[SubOption]>,
}

/// An option inside another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubOption {
    /// Its code in the encapsulated space.
    pub code: u8,
    /// Its value.
    pub data: OptionData,
}

impl OptionData {
    /// A value for everybody that asks for it.
    pub fn plain(bytes: &[u8]) -> OptionData {
        OptionData {
            bytes: bytes.into(),
            always_send: false,
            never_send: false,
            guard: Guard::default(),
            sub_options: Box::default(),
        }
    }

    /// The value for a packet of these classes, sub-options inside.
    pub fn value(&self, classes: &ClassSet) -> Arc<[u8]> {
        if self.sub_options.is_empty() {
            return Arc::clone(&self.bytes);
        }
        let mut value = self.bytes.to_vec();
        self.put_sub_options(classes, &mut value);
        value.into()
    }

    fn put_sub_options(&self, classes: &ClassSet, out: &mut Vec<u8>) {
        for same in self.sub_options.chunk_by(|a, b| a.code == b.code) {
            if let Some(sub) = same.iter().find(|sub| sub.data.guard.admits(classes)) {
                sub_options::put(out, sub.code, &sub.data.value(classes));
            }
        }
    }
}

impl OptionSet {
    /// The space of options at the top level of a DHCPv4 message.
    pub const DHCP4: &'static str = "dhcp4";

    /// No options.
    pub const fn new() -> OptionSet {
        OptionSet { keys: Vec::new(), data: Vec::new() }
    }

    /// The entry for `code` in the top-level space that is for everybody.
    pub fn get(&self, code: u8) -> Option<&OptionData> {
        self.all_in(OptionSet::DHCP4, u32::from(code)).iter().find(|data| data.guard.0.is_empty())
    }

    /// The entries for `code` in `space`: the first that admits a packet is its value.
    pub fn all_in(&self, space: &str, code: u32) -> &[OptionData] {
        let key = (space, code);
        let from = self.keys.partition_point(|(space, code)| (&**space, *code) < key);
        let len = self.keys[from..].partition_point(|(space, code)| (&**space, *code) == key);
        &self.data[from..from + len]
    }

    /// All entries of a space, ascending by code, those of one code as packets try them.
    pub fn iter_in(&self, space: &str) -> impl Iterator<Item = (u32, &OptionData)> {
        let from = self.keys.partition_point(|(own, _)| **own < *space);
        let len = self.keys[from..].partition_point(|(own, _)| **own == *space);
        let keys = self.keys[from..from + len].iter();
        keys.zip(&self.data[from..]).map(|((_, code), data)| (*code, data))
    }

    /// The spaces that have entries.
    pub fn spaces(&self) -> impl Iterator<Item = &Arc<str>> {
        self.keys.chunk_by(|(one, _), (other, _)| one == other).map(|same| &same[0].0)
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Adds an entry behind those of its code. Cheap when they come in order.
    pub(super) fn push(&mut self, space: Arc<str>, code: u32, data: OptionData) {
        static SHARED: LazyLock<Arc<str>> = LazyLock::new(|| OptionSet::DHCP4.into());
        let space = if *space == **SHARED { Arc::clone(&SHARED) } else { space };
        let key = (&*space, code);
        let at = self.keys.partition_point(|(space, code)| (&**space, *code) <= key);
        if self.keys.len() == self.keys.capacity() {
            // Most sets have one entry.
            self.keys.reserve_exact(1.max(self.keys.len() / 2));
            self.data.reserve_exact(1.max(self.data.len() / 2));
        }
        self.keys.insert(at, (space, code));
        self.data.insert(at, data);
    }
}

impl Config {
    /// The subnet with this id.
    pub fn subnet(&self, id: SubnetId) -> Option<&Subnet> {
        self.by_id.get(&id).map(|at| &self.subnets[at.0])
    }

    /// Whether reservations go by identifiers of this kind: only then clients need to present one.
    pub fn asks_for(&self, kind: IdentifierKind) -> bool {
        self.tally.kinds() & bit(kind) != 0 && self.hosts.identifiers.contains(&kind)
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
