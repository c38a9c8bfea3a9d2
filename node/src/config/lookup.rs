//! From what a packet names to its subnet, at a cost that hardly grows with their number.
//!
//! Each table answers as a walk over all subnets in the order of the document would, the first match
//! winning, as in Kea (rule I4). They follow from the networks and subnets and are made once.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use super::model::{Config, Network, Subnet, SubnetIndex};

/// The tables.
#[derive(Debug, Clone, Default)]
pub(super) struct Lookup {
    /// From each address on, until the next, the first subnet that holds the addresses; ascending.
    /// Subnets may overlap, so the pieces of one need not be neighbours.
    pieces: Vec<(u32, Option<SubnetIndex>)>,
    relays: HashMap<Ipv4Addr, SubnetIndex>,
    interfaces: HashMap<Box<str>, SubnetIndex>,
}

impl Lookup {
    pub(super) fn new(networks: &[Network], subnets: &[Subnet]) -> Lookup {
        let mut lookup = Lookup { pieces: pieces(subnets), ..Lookup::default() };
        for (at, subnet) in subnets.iter().enumerate() {
            let at = SubnetIndex(at);
            // A subnet's own list wins over its network's.
            let relays = match &subnet.relays {
                own if !own.is_empty() => own,
                _ => &networks[subnet.network.0].relays,
            };
            for relay in relays {
                lookup.relays.entry(*relay).or_insert(at);
            }
            if let Some(interface) = &subnet.interface {
                lookup.interfaces.entry(interface.as_str().into()).or_insert(at);
            }
        }
        lookup
    }
}

/// A sweep over the ends of all prefixes: between two of them the same subnets hold every address.
fn pieces(subnets: &[Subnet]) -> Vec<(u32, Option<SubnetIndex>)> {
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
            if *begins {
                holding.insert(*at);
            } else {
                holding.remove(at);
            }
        }
        pieces.push((here[0].0, holding.first().copied()));
    }
    pieces
}

impl Config {
    /// The first subnet whose prefix holds the address.
    pub fn subnet_holding(&self, address: Ipv4Addr) -> Option<&Subnet> {
        let pieces = &self.lookup.pieces;
        let behind = pieces.partition_point(|(from, _)| *from <= u32::from(address));
        let (_, at) = pieces.get(behind.checked_sub(1)?)?;
        Some(&self.subnets[at.as_ref()?.0])
    }

    /// The first subnet that names the relay in `relay.ip-addresses`: in its own list, or in that of
    /// its network if it has none.
    pub fn subnet_of_relay(&self, relay: Ipv4Addr) -> Option<&Subnet> {
        self.lookup.relays.get(&relay).map(|at| &self.subnets[at.0])
    }

    /// The first subnet with this `interface`, its own or its network's.
    pub fn subnet_of_interface(&self, interface: &str) -> Option<&Subnet> {
        self.lookup.interfaces.get(interface).map(|at| &self.subnets[at.0])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A subnet by address, prefix length, relay and interface, some of which it may lack.
    type Row = (u8, u8, Option<u8>, Option<u8>, bool);

    fn document(rows: &[Row]) -> String {
        let mut lone = Vec::new();
        let mut shared = Vec::new();
        let mut prefixes = BTreeSet::new();
        for (at, (last, len, relay, interface, is_shared)) in rows.iter().enumerate() {
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
            let subnet = format!(r#"{{"id":{},"subnet":"{prefix}"{relay}{interface}}}"#, at + 1);
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

    proptest! {
        #[test]
        fn i4_the_first_match_of_the_document_wins(rows in prop::collection::vec(
            (0u8..=255, 24u8..=32, prop::option::of(0u8..3), prop::option::of(0u8..3), any::<bool>()), 0..12,
        )) {
            let config = parsed(&document(&rows));
            let id = |subnet: Option<&Subnet>| subnet.map(|subnet| subnet.id);
            for last in 0..=255 {
                let address = Ipv4Addr::new(10, 0, 0, last);
                let first = config.subnets.iter().find(|subnet| subnet.prefix.contains(address));
                prop_assert_eq!(id(config.subnet_holding(address)), id(first), "{}", address);
            }
            for n in 0..3 {
                let relay = Ipv4Addr::new(10, 9, 9, n);
                let first = config.subnets.iter().find(|subnet| match &subnet.relays[..] {
                    [] => config.network_of(subnet).relays.contains(&relay),
                    own => own.contains(&relay),
                });
                prop_assert_eq!(id(config.subnet_of_relay(relay)), id(first));
                let eth = format!("eth{n}");
                let first = config.subnets.iter().find(|s| s.interface.as_deref() == Some(&eth));
                prop_assert_eq!(id(config.subnet_of_interface(&eth)), id(first));
            }
        }
    }

    #[test]
    fn the_ends_of_the_address_space_are_inside() {
        let text = r#"{"Dhcp4":{"subnet4":[{"id":1,"subnet":"0.0.0.0/0"},
            {"id":2,"subnet":"255.255.255.0/24"}]}}"#;
        let config = parsed(text);
        for address in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST] {
            assert_eq!(config.subnet_holding(address).map(|subnet| subnet.id.0), Some(1));
        }
        let none = parsed(r#"{"Dhcp4":{}}"#);
        assert!(none.subnet_holding(Ipv4Addr::BROADCAST).is_none());
    }
}
