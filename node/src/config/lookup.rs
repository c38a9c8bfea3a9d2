//! From what a packet names to its subnet, at a cost that hardly grows with their number.
//!
//! Each table answers as a walk over all subnets in the order of their ids would, the first match
//! whose guard admits the packet winning, as in Kea (rule I4; the order of the document does not count,
//! watched on Kea 2.2 and 3.0). They follow from the networks and subnets and are made once.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;

use super::host_list::is_guarded;
use super::model::{Config, Network, OptionSet, Pool, Subnet, SubnetIndex};
use super::subnet_list::Subnets;
use crate::types::ClassSet;

/// `dhcp-server-identifier`.
const SERVER_ID: u32 = 54;

/// Subnets in the order of their ids, up to the first that is open to everybody: nobody gets past that
/// one.
type Candidates = Box<[SubnetIndex]>;

/// The tables.
#[derive(Debug, Clone, Default)]
pub(super) struct Lookup {
    /// From each address on, until the next, the subnets that hold the addresses; ascending. Subnets
    /// may overlap, so the pieces of one need not be neighbours; their prefixes differ, so a piece
    /// has at most 33.
    pieces: Vec<(u32, Candidates)>,
    relays: HashMap<Ipv4Addr, Candidates>,
    interfaces: HashMap<Box<str>, Candidates>,
    /// Option 54 of networks, subnets and pools.
    identities: HashSet<Ipv4Addr>,
    /// All subnets, ascending by id.
    pub(super) in_order: Box<[SubnetIndex]>,
}

impl Lookup {
    pub(super) fn new(networks: &[Network], subnets: &Subnets) -> Lookup {
        let is_open = |at: &SubnetIndex| is_open(networks, &subnets[at.0]);
        let mut relays: HashMap<Ipv4Addr, Vec<SubnetIndex>> = HashMap::new();
        let mut interfaces: HashMap<Box<str>, Vec<SubnetIndex>> = HashMap::new();
        let mut in_order: Vec<SubnetIndex> = (0..subnets.len()).map(SubnetIndex).collect();
        in_order.sort_unstable_by_key(|at| subnets[at.0].id);
        for at in in_order.iter().copied() {
            let subnet = &subnets[at.0];
            let add = |list: &mut Vec<SubnetIndex>| {
                if !list.last().is_some_and(is_open) {
                    list.push(at);
                }
            };
            // A subnet's own list wins over its network's.
            let own = match &subnet.relays {
                own if !own.is_empty() => own,
                _ => &networks[subnet.network.0].relays,
            };
            own.iter().for_each(|relay| add(relays.entry(*relay).or_default()));
            if let Some(interface) = &subnet.interface {
                add(interfaces.entry(interface.as_str().into()).or_default());
            }
        }
        let of_networks = networks.iter().map(|network| &network.options);
        let of_subnets = subnets.iter().flat_map(|subnet| {
            subnet.pools.iter().map(|pool| &pool.options).chain([&subnet.options])
        });
        Lookup {
            pieces: pieces(subnets, is_open),
            relays: relays.into_iter().map(|(relay, list)| (relay, list.into())).collect(),
            interfaces: interfaces.into_iter().map(|(name, list)| (name, list.into())).collect(),
            identities: of_networks.chain(of_subnets).flat_map(identities).collect(),
            in_order: in_order.into(),
        }
    }
}

/// Whether everybody may use the subnet.
fn is_open(networks: &[Network], subnet: &Subnet) -> bool {
    subnet.guard.0.is_empty() && networks[subnet.network.0].guard.0.is_empty()
}

/// Every server identifier in a set of options, for whatever classes.
fn identities(options: &OptionSet) -> impl Iterator<Item = Ipv4Addr> {
    let entries = options.all_in(OptionSet::DHCP4, SERVER_ID).iter();
    entries.filter_map(|data| <[u8; 4]>::try_from(&*data.bytes).ok()).map(Ipv4Addr::from)
}

/// A sweep over the ends of all prefixes: between two of them the same subnets hold every address.
fn pieces(subnets: &Subnets, is_open: impl Fn(&SubnetIndex) -> bool) -> Vec<(u32, Candidates)> {
    let mut ends = Vec::with_capacity(subnets.len() * 2);
    for (at, subnet) in subnets.iter().enumerate() {
        let range = subnet.prefix.range();
        ends.push((u32::from(range.first()), true, SubnetIndex(at)));
        // One that reaches the last address of all never ends.
        if let Some(behind) = u32::from(range.last()).checked_add(1) {
            ends.push((behind, false, SubnetIndex(at)));
        }
    }
    ends.sort_unstable();
    let mut holding = BTreeSet::new();
    let mut pieces = Vec::with_capacity(ends.len());
    for here in ends.chunk_by(|a, b| a.0 == b.0) {
        for (_, begins, at) in here {
            let id = subnets[at.0].id;
            if *begins {
                holding.insert((id, *at));
            } else {
                holding.remove(&(id, *at));
            }
        }
        let guarded = holding.iter().take_while(|(_, at)| !is_open(at)).count();
        pieces.push((here[0].0, holding.iter().take(guarded + 1).map(|(_, at)| *at).collect()));
    }
    pieces
}

/// See [`Config::names_classes`], reservations left out.
pub(super) fn names_classes(config: &Config) -> bool {
    let of_pool = |pool: &Pool| {
        !pool.guard.0.is_empty() || !pool.additional_classes.is_empty() || is_guarded(&pool.options)
    };
    let of_subnet = |subnet: &Subnet| {
        !subnet.guard.0.is_empty()
            || !subnet.additional_classes.is_empty()
            || is_guarded(&subnet.options)
            || subnet.pools.iter().any(of_pool)
    };
    let of_network = |network: &Network| {
        !network.guard.0.is_empty()
            || !network.additional_classes.is_empty()
            || is_guarded(&network.options)
    };
    let flex_id = config.hooks.flex_id.as_ref();
    config.classes.iter().next().is_some()
        || is_guarded(&config.options)
        || config.networks.iter().any(of_network)
        || config.subnets.iter().any(of_subnet)
        || flex_id.is_some_and(|flex_id| flex_id.expression.members().next().is_some())
        // Expressions of options may ask for classes as well.
        || !config.hooks.flex_option.is_empty()
}

impl Config {
    /// Whether anything asks for a packet's classes: if not, none need to be found.
    pub fn names_classes(&self) -> bool {
        self.names_classes || self.tally.guarded > 0
    }

    /// The first subnet whose prefix holds the address, of those that a packet of these classes may
    /// use.
    pub fn subnet_holding(&self, address: Ipv4Addr, classes: &ClassSet) -> Option<&Subnet> {
        let pieces = &self.lookup.pieces;
        let behind = pieces.partition_point(|(from, _)| *from <= u32::from(address));
        let (_, candidates) = pieces.get(behind.checked_sub(1)?)?;
        self.first_for(candidates, classes)
    }

    /// The first subnet that names the relay in `relay.ip-addresses`: in its own list, or in that of
    /// its network if it has none; of those that a packet of these classes may use.
    pub fn subnet_of_relay(&self, relay: Ipv4Addr, classes: &ClassSet) -> Option<&Subnet> {
        self.first_for(self.lookup.relays.get(&relay)?, classes)
    }

    /// The first subnet with this `interface`, its own or its network's, of those that a packet of
    /// these classes may use.
    pub fn subnet_of_interface(&self, interface: &str, classes: &ClassSet) -> Option<&Subnet> {
        self.first_for(self.lookup.interfaces.get(interface)?, classes)
    }

    /// Whether a packet of these classes may use the subnet: its own guard and its network's admit it.
    pub fn admits(&self, subnet: &Subnet, classes: &ClassSet) -> bool {
        self.network_of(subnet).guard.admits(classes) && subnet.guard.admits(classes)
    }

    /// Whether option 54 says this for everybody, in some network, subnet or pool.
    pub fn is_identity(&self, server: Ipv4Addr) -> bool {
        self.lookup.identities.contains(&server)
            || identities(&self.options).any(|identity| identity == server)
    }

    fn first_for(&self, candidates: &[SubnetIndex], classes: &ClassSet) -> Option<&Subnet> {
        candidates.iter().map(|at| &self.subnets[at.0]).find(|subnet| self.admits(subnet, classes))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::types::Guard;

    /// A subnet by address, prefix length, relay and interface, some of which it may lack; whether it
    /// is in the shared network; and a guard.
    type Row = (u8, u8, Option<u8>, Option<u8>, bool, Option<u8>);

    /// Ids that follow the document neither up nor down.
    fn id_of(row: usize) -> u32 {
        (row as u32 * 7) % 13 + 1
    }

    fn document(rows: &[Row]) -> String {
        let mut lone = Vec::new();
        let mut shared = Vec::new();
        let mut prefixes = BTreeSet::new();
        for (at, (last, len, relay, interface, is_shared, _)) in rows.iter().enumerate() {
            let prefix: crate::types::Prefix = format!("10.0.0.{last}/{len}").parse().unwrap();
            if !prefixes.insert(prefix) {
                continue;
            }
            let relay = relay.map_or(String::new(), |relay| {
                format!(r#","relay":{{"ip-addresses":["10.9.9.{relay}"]}}"#)
            });
            let interface = interface
                .filter(|_| !is_shared)
                .map_or(String::new(), |eth| format!(r#","interface":"eth{eth}""#));
            let id = id_of(at);
            let subnet = format!(r#"{{"id":{id},"subnet":"{prefix}"{relay}{interface}}}"#);
            if *is_shared { shared.push(subnet) } else { lone.push(subnet) }
        }
        let network = format!(
            r#"{{"name":"n","interface":"eth1","relay":{{"ip-addresses":["10.9.9.1"]}},"subnet4":[{}]}}"#,
            shared.join(",")
        );
        let networks = if shared.is_empty() { String::new() } else { network };
        format!(r#"{{"Dhcp4":{{"shared-networks":[{networks}],"subnet4":[{}]}}}}"#, lone.join(","))
    }

    fn parsed(document: &str) -> Config {
        crate::config::from_text(document).unwrap_or_else(|mistakes| panic!("{mistakes}")).config
    }

    fn guard(class: Option<u8>) -> Guard {
        Guard(class.into_iter().map(|class| format!("c{class}").into()).collect())
    }

    fn classes(class: u8) -> ClassSet {
        let mut classes = ClassSet::default();
        classes.insert(format!("c{class}").into());
        classes
    }

    proptest! {
        #[test]
        fn i4_the_lowest_id_that_matches_and_admits_the_packet_wins(
            rows in prop::collection::vec((
                0u8..=255, 24u8..=32, prop::option::of(0u8..3), prop::option::of(0u8..3),
                any::<bool>(), prop::option::of(0u8..3),
            ), 0..12),
            of_network in prop::option::of(0u8..3),
            class in 0u8..3,
        ) {
            let mut config = parsed(&document(&rows));
            for subnet in config.subnets.iter_mut() {
                let row = (0..rows.len()).find(|row| id_of(*row) == subnet.id.0).unwrap();
                subnet.guard = guard(rows[row].5);
            }
            let networks = Arc::make_mut(&mut config.networks);
            if let Some(network) = networks.iter_mut().find(|network| network.name.is_some()) {
                network.guard = guard(of_network);
            }
            config.lookup = Arc::new(Lookup::new(&config.networks, &config.subnets));
            let classes = classes(class);
            let mut by_id: Vec<&Subnet> = config.subnets.iter().collect();
            by_id.sort_by_key(|subnet| subnet.id);
            let admitted =
                || by_id.iter().copied().filter(|subnet| config.admits(subnet, &classes));
            let id = |subnet: Option<&Subnet>| subnet.map(|subnet| subnet.id);
            for last in 0..=255 {
                let address = Ipv4Addr::new(10, 0, 0, last);
                let first = admitted().find(|subnet| subnet.prefix.contains(address));
                prop_assert_eq!(id(config.subnet_holding(address, &classes)), id(first), "{}", address);
            }
            for n in 0..3 {
                let relay = Ipv4Addr::new(10, 9, 9, n);
                let first = admitted().find(|subnet| match &subnet.relays[..] {
                    [] => config.network_of(subnet).relays.contains(&relay),
                    own => own.contains(&relay),
                });
                prop_assert_eq!(id(config.subnet_of_relay(relay, &classes)), id(first));
                let eth = format!("eth{n}");
                let first = admitted().find(|s| s.interface.as_deref() == Some(&eth));
                prop_assert_eq!(id(config.subnet_of_interface(&eth, &classes)), id(first));
            }
        }
    }

    #[test]
    fn the_ends_of_the_address_space_are_inside() {
        let text = r#"{"Dhcp4":{"subnet4":[{"id":1,"subnet":"0.0.0.0/0"},
            {"id":2,"subnet":"255.255.255.0/24"}]}}"#;
        let config = parsed(text);
        let nobodys = ClassSet::default();
        for address in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST] {
            let holding = config.subnet_holding(address, &nobodys);
            assert_eq!(holding.map(|subnet| subnet.id.0), Some(1));
        }
        let none = parsed(r#"{"Dhcp4":{}}"#);
        assert!(none.subnet_holding(Ipv4Addr::BROADCAST, &nobodys).is_none());
    }

    #[test]
    fn classes_count_if_something_names_them() {
        let subnet = |more: &str| {
            format!(r#"{{"Dhcp4":{{"subnet4":[{{"id":1,"subnet":"10.0.0.0/24"{more}}}]}}}}"#)
        };
        let option =
            r#""option-data":[{"name":"routers","data":"10.0.0.1","client-classes":["a"]}]"#;
        for more in [
            r#","client-classes":["a"]"#.to_owned(),
            r#","evaluate-additional-classes":["a"]"#.to_owned(),
            r#","pools":[{"pool":"10.0.0.9-10.0.0.9","client-class":"a"}]"#.to_owned(),
            format!(",{option}"),
            format!(r#","pools":[{{"pool":"10.0.0.9-10.0.0.9",{option}}}]"#),
            format!(r#","reservations":[{{"hw-address":"02:00:00:00:00:01",{option}}}]"#),
        ] {
            assert!(parsed(&subnet(&more)).names_classes(), "{more}");
        }
        assert!(!parsed(&subnet("")).names_classes());
        let reserved = r#","reservations":[{"hw-address":"02:00:00:00:00:01","hostname":"a"}]"#;
        assert!(!parsed(&subnet(reserved)).names_classes());
        assert!(parsed(r#"{"Dhcp4":{"client-classes":[{"name":"a"}]}}"#).names_classes());
    }

    #[test]
    fn c7b_identities_of_networks_subnets_and_pools_are_known() {
        let option = |last: u8| {
            format!(r#""option-data":[{{"name":"dhcp-server-identifier","data":"10.0.0.{last}"}}]"#)
        };
        let config = parsed(&format!(
            r#"{{"Dhcp4":{{{},"shared-networks":[{{"name":"n",{},"subnet4":[{{"id":1,
                "subnet":"10.0.0.0/24",{},"pools":[{{"pool":"10.0.0.9-10.0.0.9",{}}}]}}]}}]}}}}"#,
            option(1),
            option(2),
            option(3),
            option(4)
        ));
        let known: Vec<u8> =
            (0..6).filter(|last| config.is_identity(Ipv4Addr::new(10, 0, 0, *last))).collect();
        assert_eq!(known, [1, 2, 3, 4]);
    }
}
