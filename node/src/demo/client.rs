//! One simulated DHCP client behind a relay, without a socket: a state machine that takes replies
//! and the time, and gives packets to send.
//!
//! It is written with `dhcproto`, the codec of our clients, so that the server's own codec is
//! checked by another. Its patience is that of RFC 2131 §4.1: the first repeat after 4 s, then 8 s.

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::v4::{DhcpOption, Message, MessageType, OptionCode};
use dhcproto::{Decodable, Encodable};

/// Where the client is between wanting and having an address. Times are since the demo began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waits for an OFFER.
    Selecting,
    /// Waits for the ACK of this address from this server.
    Requesting { address: Ipv4Addr, server: Ipv4Addr },
    /// Has a lease since this moment.
    Bound { address: Ipv4Addr, server: Ipv4Addr, since: Duration },
}

/// What a reply did to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing of interest, or a second answer that agrees with the first.
    Ignored,
    /// Go on: something is to be sent.
    Onward,
    /// The address was acknowledged.
    Acked { address: Ipv4Addr, server: Ipv4Addr, lifetime: Duration },
    /// The server said no; the client starts over.
    Refused,
}

/// A client that has been switched on.
#[derive(Debug)]
pub struct Client {
    mac: [u8; 6],
    giaddr: Ipv4Addr,
    xid: u32,
    phase: Phase,
    /// When it was switched on.
    pub started: Duration,
    attempts: u32,
    send_at: Option<Duration>,
    /// Packets sent again for want of an answer.
    pub repeats: u32,
}

impl Client {
    /// A client with the `number`th hardware address, behind the relay `giaddr`.
    pub fn new(number: u32, giaddr: Ipv4Addr, now: Duration) -> Client {
        let [a, b, c, d] = number.to_be_bytes();
        Client {
            mac: [0x02, 0x1e, a, b, c, d],
            giaddr,
            xid: 0x4c48_0000 ^ number,
            phase: Phase::Selecting,
            started: now,
            attempts: 0,
            send_at: Some(now),
            repeats: 0,
        }
    }

    /// What it waits for or has.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Its hardware address in Kea's form.
    pub fn mac(&self) -> String {
        self.mac.map(|byte| format!("{byte:02x}")).join(":")
    }

    /// Its transaction id, by which the relay finds the client of a reply.
    pub fn xid(&self) -> u32 {
        self.xid
    }

    /// The packet that is due, if one is; sets the time of the next.
    pub fn take_packet(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.send_at.is_none_or(|at| at > now) {
            return None;
        }
        let message = match self.phase {
            Phase::Bound { .. } => return None,
            Phase::Selecting => self.message(MessageType::Discover, &[]),
            Phase::Requesting { address, server } => self.message(
                MessageType::Request,
                &[DhcpOption::RequestedIpAddress(address), DhcpOption::ServerIdentifier(server)],
            ),
        };
        self.repeats += u32::from(self.attempts > 0);
        // 4 s and doubling, spread by the transaction id instead of a random ±1 s.
        let spread = Duration::from_millis(u64::from(self.xid % 21) * 100);
        let patience = Duration::from_secs(3) + spread;
        self.send_at = Some(now + patience * 2u32.pow(self.attempts.min(4)));
        self.attempts += 1;
        message.to_vec().ok()
    }

    /// Takes a reply that carries this client's transaction id.
    pub fn handle(&mut self, reply: &Message, now: Duration) -> Step {
        let server = match reply.opts().get(OptionCode::ServerIdentifier) {
            Some(DhcpOption::ServerIdentifier(server)) => *server,
            _ => return Step::Ignored,
        };
        match (reply.opts().msg_type(), self.phase) {
            (Some(MessageType::Offer), Phase::Selecting) => {
                self.go(Phase::Requesting { address: reply.yiaddr(), server }, now);
                Step::Onward
            }
            (Some(MessageType::Ack), Phase::Requesting { address, .. })
                if reply.yiaddr() == address =>
            {
                self.phase = Phase::Bound { address, server, since: now };
                self.send_at = None;
                let lifetime = match reply.opts().get(OptionCode::AddressLeaseTime) {
                    Some(DhcpOption::AddressLeaseTime(secs)) => {
                        Duration::from_secs(u64::from(*secs))
                    }
                    _ => Duration::ZERO,
                };
                Step::Acked { address, server, lifetime }
            }
            (Some(MessageType::Nak), Phase::Requesting { server: chosen, .. })
                if server == chosen =>
            {
                self.go(Phase::Selecting, now);
                Step::Refused
            }
            _ => Step::Ignored,
        }
    }

    fn go(&mut self, phase: Phase, now: Duration) {
        self.phase = phase;
        self.attempts = 0;
        self.send_at = Some(now);
    }

    fn message(&self, kind: MessageType, extra: &[DhcpOption]) -> Message {
        let none = Ipv4Addr::UNSPECIFIED;
        let mut message = Message::new_with_id(self.xid, none, none, none, self.giaddr, &self.mac);
        message.set_hops(1);
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(kind));
        options.insert(DhcpOption::ParameterRequestList(vec![
            OptionCode::SubnetMask,
            OptionCode::Router,
            OptionCode::DomainNameServer,
        ]));
        for option in extra {
            options.insert(option.clone());
        }
        message
    }
}

/// Decodes a reply; `None` for what is none.
pub fn decode(bytes: &[u8]) -> Option<Message> {
    // The decoder's accessor panics on a hardware address of more than 16 bytes.
    (bytes.len() > 240 && bytes[2] <= 16).then(|| Message::from_bytes(bytes).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIADDR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 20);
    const SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);

    fn reply(client: &Client, kind: MessageType, server: Ipv4Addr, yiaddr: Ipv4Addr) -> Message {
        let mut message = client.message(kind, &[DhcpOption::ServerIdentifier(server)]);
        message.set_yiaddr(yiaddr);
        message
    }

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_client_repeats_until_it_is_answered_and_counts_it() {
        let mut client = Client::new(1, GIADDR, at(0));
        assert!(client.take_packet(at(0)).is_some());
        assert!(client.take_packet(at(2)).is_none());
        assert!(client.take_packet(at(6)).is_some());
        assert_eq!(client.repeats, 1);
    }

    #[test]
    fn the_first_offer_wins_and_only_the_chosen_servers_nak_counts() {
        let mut client = Client::new(1, GIADDR, at(0));
        let offer = reply(&client, MessageType::Offer, SERVER, ADDRESS);
        assert_eq!(client.handle(&offer, at(1)), Step::Onward);
        let other = reply(&client, MessageType::Nak, Ipv4Addr::new(127, 0, 0, 12), ADDRESS);
        assert_eq!(client.handle(&other, at(1)), Step::Ignored);
        let ack = reply(&client, MessageType::Ack, SERVER, ADDRESS);
        assert!(matches!(client.handle(&ack, at(2)), Step::Acked { address: ADDRESS, .. }));
        assert_eq!(client.handle(&ack, at(2)), Step::Ignored);
        assert!(client.take_packet(at(99)).is_none());
    }
}
