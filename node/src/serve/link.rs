//! Between the sockets' words and the engine's: how a datagram came, and where a reply goes. Pure.

use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::dhcp::decision::{How, Reply};
use crate::dhcp::v4::Arrival;
use crate::net;
use crate::types::{ClusterTime, Prefix};

/// The prefix lengths of this node's links, by interface number and address.
#[derive(Debug, Clone, Default)]
pub struct Links(Arc<[(u32, Ipv4Addr, u8)]>);

impl Links {
    /// The links of these interfaces.
    pub fn of(interfaces: &[net::InterfaceState]) -> Links {
        let addresses = |it: &net::InterfaceState| {
            let index = it.index;
            it.addresses
                .iter()
                .map(move |one| (index, one.address, one.prefix_len))
                .collect::<Vec<_>>()
        };
        Links(interfaces.iter().flat_map(addresses).collect())
    }

    /// The prefix length of an address of an interface, or of the link that it would lie on; 32, a
    /// link of its own, when there is none.
    fn prefix_len(&self, index: u32, address: Ipv4Addr) -> u8 {
        let its = || self.0.iter().filter(|(its, ..)| *its == index);
        let holds =
            |one: Ipv4Addr, len| Prefix::new(one, len).is_ok_and(|prefix| prefix.contains(address));
        let exact = its().find(|(_, one, _)| *one == address);
        exact
            .or_else(|| its().find(|(_, one, len)| holds(*one, *len)))
            .map_or(32, |(_, _, len)| *len)
    }
}

/// How a datagram came, in the engine's words.
pub fn arrival(how: net::Arrival, links: &Links, at: ClusterTime) -> Arrival {
    let address = Some(how.interface_address).filter(|address| !address.is_unspecified());
    Arrival {
        prefix_len: address.map_or(32, |address| links.prefix_len(how.index, address)),
        interface: how.interface,
        address,
        broadcast: how.broadcast,
        source: how.source,
        destination: how.destination,
        frame_source: how.source_mac,
        mtu: how.mtu,
        at,
    }
}

/// What the sockets are to send.
pub fn transmission(interface: u32, reply: &Reply) -> net::Transmission {
    let delivery = reply.delivery();
    let dest = match delivery.how {
        How::Udp => net::Dest::Udp(delivery.to),
        How::Broadcast => net::Dest::Broadcast,
        How::Frame(mac) => net::Dest::Link { mac, ip: *delivery.to.ip() },
    };
    net::Transmission {
        interface,
        source: *delivery.from.ip(),
        dest,
        payload: reply.payload().to_vec(),
    }
}
