//! Where a reply goes: section 5 of the contract, eight rules, the first that matches
//! (RFC 2131 §4.1; Kea's `adjustRemoteAddr`).

use std::net::{Ipv4Addr, SocketAddrV4};

use super::context::Ports;
use super::packet::{Packet, Reading};
use crate::dhcp::decision::{Delivery, How, ReplyKind};
use crate::packet::v4::MessageType;
use crate::types::HwAddr;

/// Where the reply of this kind, with this `yiaddr`, goes; `None` when it has no possible
/// destination or the interface has no address to send from.
pub fn deliver(
    packet: &Packet,
    reading: &Reading,
    kind: ReplyKind,
    yiaddr: Ipv4Addr,
    ports: Ports,
) -> Option<Delivery> {
    let arrival = &packet.arrival;
    let from = SocketAddrV4::new(arrival.local_address()?, ports.server);
    let to = |rule, address, port, how| {
        Some(Delivery { rule, to: SocketAddrV4::new(address, port), how, from })
    };
    let broadcast = |rule| to(rule, Ipv4Addr::BROADCAST, ports.client, How::Broadcast);
    let inform = reading.message == MessageType::Inform;

    if let (true, Some(ciaddr)) = (inform, reading.ciaddr) {
        return to(1, ciaddr, ports.client, How::Udp);
    }
    if let Some(giaddr) = reading.relay {
        let port =
            if reading.relay_facts.source_port { arrival.source.port() } else { ports.relay };
        return to(2, giaddr, port, How::Udp);
    }
    if inform {
        let source = *arrival.source.ip();
        return if source.is_unspecified() { None } else { to(3, source, ports.client, How::Udp) };
    }
    if kind == ReplyKind::Nak {
        return match reading.ciaddr {
            Some(ciaddr) if !arrival.on_link(ciaddr) => to(4, ciaddr, ports.client, How::Udp),
            _ => broadcast(5),
        };
    }
    if let (MessageType::Request, Some(ciaddr)) = (reading.message, reading.ciaddr) {
        return to(6, ciaddr, ports.client, How::Udp);
    }
    let ethernet = reading.hw.htype() == HwAddr::ETHERNET && reading.hw.bytes().len() == 6;
    match arrival.frame_source {
        // A group address is never a target: one packet would reach many.
        Some(mac)
            if ethernet
                && !packet.message.broadcast_flag()
                && !yiaddr.is_unspecified()
                && mac[0] & 1 == 0 =>
        {
            to(8, yiaddr, ports.client, How::Frame(mac))
        }
        // Broadcast is always understood (D4), also where the frame's source is not known.
        _ => broadcast(7),
    }
}

#[cfg(test)]
#[path = "deliver_tests.rs"]
mod tests;
