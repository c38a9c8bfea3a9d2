//! Which subnet a packet would select, for `subnet4-select-test`: the packet is described instead of
//! received, and the same function decides. Pure.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use super::packet::{Arrival, Packet, Reading};
use super::relay_info::RelayFacts;
use super::select::select;
use crate::config::{Config, Subnet};
use crate::packet::v4::{MessageType, Query};
use crate::types::{ClassSet, ClusterTime, HwAddr};

/// What of a packet decides about its subnet.
#[derive(Debug, Clone, Default)]
pub struct Imagined {
    /// The interface it comes in by.
    pub interface: Arc<str>,
    /// This node's first address there.
    pub interface_address: Option<Ipv4Addr>,
    /// `ciaddr`.
    pub address: Option<Ipv4Addr>,
    /// `giaddr`.
    pub relay: Option<Ipv4Addr>,
    /// Where it is sent to; a broadcast only if this says so.
    pub local: Option<Ipv4Addr>,
    /// Where it comes from.
    pub remote: Option<Ipv4Addr>,
    /// The link that a relay names in option 82 (RFC 3527).
    pub link: Option<Ipv4Addr>,
    /// Option 118 (RFC 3011).
    pub subnet: Option<Ipv4Addr>,
    /// The classes it is in.
    pub classes: ClassSet,
}

impl Imagined {
    /// The subnet that such a packet selects.
    pub fn selects<'a>(&self, config: &'a Config) -> Option<&'a Subnet> {
        let client = HwAddr::ethernet([2, 0, 0, 0, 0, 1]);
        let query = Query::new(MessageType::Request, 1, client);
        let destination = self.local.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let packet = Packet {
            message: query.message(),
            arrival: Arrival {
                interface: Arc::clone(&self.interface),
                address: self.interface_address,
                prefix_len: 0,
                broadcast: destination.is_broadcast(),
                source: SocketAddrV4::new(self.remote.unwrap_or(Ipv4Addr::UNSPECIFIED), 68),
                destination,
                frame_source: None,
                mtu: 1500,
                at: ClusterTime::ZERO,
            },
            seen: 0,
        };
        let reading = Reading {
            message: MessageType::Request,
            bootp: false,
            hw: client,
            client_id: None,
            ciaddr: self.address,
            relay: self.relay,
            requested: None,
            server_id: None,
            foreign: false,
            subnet_selection: self.subnet,
            relay_facts: RelayFacts { link_selection: self.link, ..RelayFacts::default() },
            // Whoever names a link speaks for a relay.
            stash: self.link.map(|_| Box::default()),
            claims: None,
        };
        select(&packet, &reading, config, &self.classes)
    }
}
