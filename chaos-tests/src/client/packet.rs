//! A client's words on the wire, written and read with dhcproto: a codec that is not the server's.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Encodable};

use super::machine::{Query, QueryKind, Reply, ReplyKind};

/// The packet for `query`. `giaddr` is the relay's address, or 0.0.0.0 for a direct packet; `broadcast` is the flag.
///
/// # Errors
/// When the encoder refuses.
pub fn encode(query: &Query, giaddr: Ipv4Addr, broadcast: bool) -> Result<Vec<u8>> {
    let zero = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new_with_id(query.xid, query.ciaddr, zero, zero, giaddr, &query.mac);
    message.set_secs(query.secs);
    message.set_hops(u8::from(!giaddr.is_unspecified()));
    if broadcast {
        message.set_flags(Flags::default().set_broadcast());
    }
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(match query.kind {
        QueryKind::Discover => MessageType::Discover,
        QueryKind::Request => MessageType::Request,
        QueryKind::Release => MessageType::Release,
        QueryKind::Decline => MessageType::Decline,
    }));
    if let Some(address) = query.requested {
        options.insert(DhcpOption::RequestedIpAddress(address));
    }
    if let Some(server) = query.server {
        options.insert(DhcpOption::ServerIdentifier(server));
    }
    if matches!(query.kind, QueryKind::Discover | QueryKind::Request) {
        options.insert(DhcpOption::ParameterRequestList(vec![
            OptionCode::SubnetMask,
            OptionCode::Router,
            OptionCode::DomainNameServer,
        ]));
    }
    let mut bytes = message.to_vec().context("encoding a DHCP packet")?;
    // RFC 951: no BOOTP packet is shorter than 300 bytes. dhcproto does not pad.
    bytes.resize(bytes.len().max(300), 0);
    Ok(bytes)
}

/// The reply in `bytes`, or none when it is not an OFFER, ACK or NAK for an Ethernet client.
pub fn decode(bytes: &[u8], from: Ipv4Addr) -> Option<Reply> {
    let message = Message::from_bytes(bytes).ok()?;
    // `chaddr` panics above 16.
    if message.opcode() != Opcode::BootReply || message.hlen() != 6 {
        return None;
    }
    let kind = match message.opts().msg_type()? {
        MessageType::Offer => ReplyKind::Offer,
        MessageType::Ack => ReplyKind::Ack,
        MessageType::Nak => ReplyKind::Nak,
        _ => return None,
    };
    let number = |code| match message.opts().get(code) {
        Some(
            DhcpOption::AddressLeaseTime(secs)
            | DhcpOption::Renewal(secs)
            | DhcpOption::Rebinding(secs),
        ) => Some(*secs),
        _ => None,
    };
    Some(Reply {
        kind,
        xid: message.xid(),
        mac: message.chaddr().try_into().ok()?,
        yiaddr: message.yiaddr(),
        server: match message.opts().get(OptionCode::ServerIdentifier) {
            Some(DhcpOption::ServerIdentifier(server)) => Some(*server),
            _ => None,
        },
        lifetime: number(OptionCode::AddressLeaseTime),
        t1: number(OptionCode::Renewal),
        t2: number(OptionCode::Rebinding),
        from,
    })
}
