//! Which subnet a client is on (rule I4, in Kea's order). Class guards come with classes.

use super::packet::{Packet, Reading};
use crate::config::{Config, Subnet};

/// The subnet that a packet selects. Its network's other subnets serve the client too.
///
/// A step that names an address decides, whether or not a subnet holds it, as in Kea: a client
/// whose relay points to an unknown subnet must not be served from another.
pub fn select<'a>(packet: &Packet, reading: &Reading, config: &'a Config) -> Option<&'a Subnet> {
    if let (Some(_), Some(link)) = (reading.relay, reading.relay_facts.link_selection) {
        return config.subnet_holding(link);
    }
    if let Some(selected) = reading.subnet_selection {
        return config.subnet_holding(selected);
    }
    if let Some(giaddr) = reading.relay {
        return config.subnet_of_relay(giaddr).or_else(|| config.subnet_holding(giaddr));
    }
    if !packet.arrival.broadcast {
        let source = Some(*packet.arrival.source.ip()).filter(|source| !source.is_unspecified());
        if reading.ciaddr.is_some() || source.is_some() {
            let by = |address: Option<_>| config.subnet_holding(address?);
            return by(reading.ciaddr).or_else(|| by(source));
        }
    }
    config
        .subnet_of_interface(&packet.arrival.interface)
        .or_else(|| config.subnet_holding(packet.arrival.address?))
}
