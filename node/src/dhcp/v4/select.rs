//! Which subnet a client is on (rule I4, in Kea's order). Class guards come with classes.

use super::packet::{Packet, Reading};
use crate::config::{Config, Subnet};
use std::net::Ipv4Addr;

/// The subnet that a packet selects. Its network's other subnets serve the client too.
///
/// A step that names an address decides, whether or not a subnet holds it, as in Kea: a client
/// whose relay points to an unknown subnet must not be served from another.
pub fn select<'a>(packet: &Packet, reading: &Reading, config: &'a Config) -> Option<&'a Subnet> {
    if let (Some(_), Some(link)) = (reading.relay, reading.relay_facts.link_selection) {
        return holding(config, link);
    }
    if let Some(selected) = reading.subnet_selection {
        return holding(config, selected);
    }
    if let Some(giaddr) = reading.relay {
        return by_relay(config, giaddr).or_else(|| holding(config, giaddr));
    }
    if !packet.arrival.broadcast {
        let source = Some(*packet.arrival.source.ip()).filter(|source| !source.is_unspecified());
        if reading.ciaddr.is_some() || source.is_some() {
            let by =
                |address: Option<Ipv4Addr>| address.and_then(|address| holding(config, address));
            return by(reading.ciaddr).or_else(|| by(source));
        }
    }
    let interface = &*packet.arrival.interface;
    config
        .subnets
        .iter()
        .find(|subnet| subnet.interface.as_deref() == Some(interface))
        .or_else(|| holding(config, packet.arrival.address?))
}

fn holding(config: &Config, address: Ipv4Addr) -> Option<&Subnet> {
    config.subnets.iter().find(|subnet| subnet.prefix.contains(address))
}

/// A relay that the configuration names: a subnet's own list wins over its network's.
fn by_relay(config: &Config, giaddr: Ipv4Addr) -> Option<&Subnet> {
    let names = |subnet: &&Subnet| {
        let own = &subnet.relays;
        let relays = if own.is_empty() { &config.network_of(subnet).relays } else { own };
        relays.contains(&giaddr)
    };
    config.subnets.iter().find(names)
}
