//! The subnets that leases can lie in.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use leasehold::config::Config;
use leasehold::types::Prefix;

/// Subnets by id and by address.
#[derive(Debug, Default)]
pub struct Subnets {
    by_id: HashMap<u32, Prefix>,
    /// By length, the longest last; then by the network's address.
    by_length: BTreeMap<u8, HashMap<Ipv4Addr, u32>>,
}

impl Subnets {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Subnets {
        let mut subnets = Subnets::default();
        for subnet in config.subnets.iter() {
            subnets.add(subnet.id.0, subnet.prefix);
        }
        subnets
    }

    fn add(&mut self, id: u32, prefix: Prefix) {
        self.by_id.insert(id, prefix);
        self.by_length.entry(prefix.len()).or_default().entry(prefix.network()).or_insert(id);
    }

    /// The smallest subnet with this address.
    fn holding(&self, address: Ipv4Addr) -> Option<u32> {
        self.by_length.iter().rev().find_map(|(len, networks)| {
            let network = Prefix::new(address, *len).ok()?.network();
            networks.get(&network).copied()
        })
    }

    /// The id of the subnet that a lease is in; `said` is the id that came with it, 0 for none.
    ///
    /// # Errors
    /// Why there is none.
    pub fn place(&self, said: u32, address: Ipv4Addr) -> Result<u32, String> {
        let other = |address| match self.holding(address) {
            Some(id) => format!("; subnet {id} has"),
            None => String::new(),
        };
        match (said, self.by_id.get(&said)) {
            (0, _) => self
                .holding(address)
                .ok_or_else(|| "no subnet of the configuration has this address".to_owned()),
            (id, None) => Err(format!("the configuration has no subnet with id {id}")),
            (id, Some(prefix)) if prefix.contains(address) => Ok(id),
            (id, Some(prefix)) => {
                Err(format!("subnet {id}, {prefix}, does not have this address{}", other(address)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_lies_in_the_subnet_it_names_or_in_the_smallest() {
        let mut subnets = Subnets::default();
        for (id, network, len) in [(1, "10.0.0.0", 8), (2, "10.1.0.0", 16), (3, "192.0.2.0", 24)] {
            subnets.add(id, Prefix::new(network.parse().unwrap(), len).unwrap());
        }
        let place = |said: u32, address: &str| subnets.place(said, address.parse().unwrap());
        assert_eq!(place(0, "10.1.2.3"), Ok(2));
        assert_eq!(place(0, "10.2.2.3"), Ok(1));
        assert_eq!(place(1, "10.1.2.3"), Ok(1), "what it names counts");
        assert_eq!(
            place(0, "172.16.0.1").unwrap_err(),
            "no subnet of the configuration has this address"
        );
        assert_eq!(place(9, "10.1.2.3").unwrap_err(), "the configuration has no subnet with id 9");
        assert_eq!(
            place(3, "10.1.2.3").unwrap_err(),
            "subnet 3, 192.0.2.0/24, does not have this address; subnet 2 has"
        );
    }
}
