//! Which subnet a client is on (rule I4, in Kea's order). Subnets whose guard, or whose network's, does
//! not admit the packet are passed over.

use super::packet::{Packet, Reading};
use crate::config::{Config, Subnet};
use crate::types::ClassSet;

/// The subnet that a packet selects. Its network's other subnets serve the client too.
///
/// A step that names an address decides, whether or not a subnet holds it, as in Kea: a client
/// whose relay points to an unknown subnet must not be served from another.
pub fn select<'a>(
    packet: &Packet,
    reading: &Reading,
    config: &'a Config,
    classes: &ClassSet,
) -> Option<&'a Subnet> {
    let holding = |address| config.subnet_holding(address, classes);
    if let Some(link) = selected_link(reading, config) {
        return holding(link);
    }
    if let Some(selected) = reading.subnet_selection {
        return holding(selected);
    }
    if let Some(giaddr) = reading.relay {
        return config.subnet_of_relay(giaddr, classes).or_else(|| holding(giaddr));
    }
    if !packet.arrival.broadcast {
        let source = Some(*packet.arrival.source.ip()).filter(|source| !source.is_unspecified());
        if reading.ciaddr.is_some() || source.is_some() {
            return reading.ciaddr.and_then(holding).or_else(|| source.and_then(holding));
        }
    }
    config
        .subnet_of_interface(&packet.arrival.interface, classes)
        .or_else(|| holding(packet.arrival.address?))
}

/// The link that the relay selected by name (RFC 3527), unless `ignore-rai-link-selection`.
pub fn selected_link(reading: &Reading, config: &Config) -> Option<std::net::Ipv4Addr> {
    let link = reading.relay_facts.link_selection?;
    (reading.is_relay_believed() && !config.compatibility.ignore_link_selection).then_some(link)
}
