//! A packet of an exchange, made from its words and from what its client knows.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::lab::{Departure, ROUTER_MAC, SERVER};
use super::reply;
use super::words::{Address, Value, Verb, Word};
use crate::client::raw::Raw;

/// What a client asks for when nothing else is said: mask, routers, name servers, domain.
const ASKED: [u8; 4] = [1, 3, 6, 15];

/// What a client knows.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    pub hardware: Vec<u8>,
    /// Address and server of the last OFFER.
    pub offered: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Of the last ACK.
    pub leased: Option<(Ipv4Addr, Ipv4Addr)>,
}

/// A packet being made.
#[derive(Debug)]
pub struct Draft {
    verb: Verb,
    raw: Raw,
    options: Vec<(u8, Vec<u8>)>,
    /// Codes that came from a layer before.
    inherited: usize,
    /// Whether an address is still to be named.
    missing: bool,
    tail: Vec<u8>,
    hardware: Vec<u8>,
    relay: Option<Ipv4Addr>,
    interface: usize,
    unicast: bool,
    from: Option<Ipv4Addr>,
    patches: Vec<(usize, Vec<u8>)>,
}

impl Draft {
    /// A message of this kind from the hardware address.
    pub fn new(verb: Verb, hardware: Vec<u8>) -> Draft {
        let mut options = Vec::new();
        if let Some(kind) = verb.message_type() {
            options.push((53, vec![kind]));
        }
        Draft {
            verb,
            raw: Raw::new(0, [0; 6]),
            options,
            inherited: 0,
            missing: false,
            tail: Vec::new(),
            hardware,
            relay: None,
            interface: 0,
            unicast: matches!(verb, Verb::Renew | Verb::Release),
            from: None,
            patches: Vec::new(),
        }
    }

    /// Adds what such a message carries.
    pub fn fill_in(&mut self, memory: &Memory) {
        let known = match self.verb {
            Verb::Request => memory.offered,
            _ => memory.leased,
        };
        let zero = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED);
        let (address, server) = known.unwrap_or(zero);
        let (field, asked, named) = match self.verb {
            Verb::Request | Verb::Decline => (false, true, true),
            Verb::Reboot => (false, true, false),
            Verb::Renew | Verb::Rebind => (true, false, false),
            Verb::Release => (true, false, true),
            Verb::Discover | Verb::Inform | Verb::Bootp | Verb::Bare => (false, false, false),
        };
        // The words of the packet may name an address that the client never had.
        self.missing = (field || asked) && known.is_none();
        if field {
            self.raw.address(12, address);
        }
        if asked && known.is_some() {
            self.options.push((50, address.octets().to_vec()));
        }
        if named && known.is_some() {
            self.options.push((54, server.octets().to_vec()));
        }
        if !matches!(self.verb, Verb::Release | Verb::Decline | Verb::Bootp | Verb::Bare) {
            self.options.push((55, ASKED.to_vec()));
        }
    }

    /// Applies words; `own`: those of the packet, which beat those of the exchange and come last. Fails with what the packet still lacks,
    /// since an earlier reply is missing.
    ///
    /// # Errors
    /// What is lacking.
    pub fn apply(
        &mut self,
        words: &[Word],
        own: bool,
        key: &str,
        clients: &HashMap<String, Memory>,
    ) -> Result<(), String> {
        let resolve = |address: &Address, interface: usize| match address {
            Address::Literal(literal) => Ok(*literal),
            Address::Server => Ok(SERVER[interface]),
            Address::Offered(name) => clients
                .get(name.as_deref().unwrap_or(key))
                .and_then(|memory| memory.offered)
                .map(|(address, _)| address)
                .ok_or_else(|| "there was no OFFER".to_owned()),
            Address::Leased(name) => clients
                .get(name.as_deref().unwrap_or(key))
                .and_then(|memory| memory.leased)
                .map(|(address, _)| address)
                .ok_or_else(|| "there was no ACK".to_owned()),
        };
        self.inherited = self.options.len();
        for word in words {
            match word {
                Word::Hardware(bytes) => self.hardware.clone_from(bytes),
                Word::Byte(at, byte) => self.patches.push((*at, vec![*byte])),
                Word::Secs(secs) => self.raw.fixed[8..10].copy_from_slice(&secs.to_be_bytes()),
                Word::Broadcast => self.raw.fixed[10] = 0x80,
                Word::Field(at, address) => {
                    let address = resolve(address, self.interface)?;
                    self.raw.address(*at, address);
                    self.missing &= *at != 12;
                }
                Word::Text(at, room, bytes) => {
                    let len = bytes.len().min(*room);
                    self.raw.fixed[*at..at + len].copy_from_slice(&bytes[..len]);
                }
                // What a bound client unicasts passes no relay unless the packet itself says so.
                Word::Relay(relay) if own || !self.unicast => self.relay = Some(*relay),
                Word::Relay(_) | Word::Named(_) => {}
                Word::Interface(interface) => self.interface = *interface,
                Word::Unicast => self.unicast = true,
                Word::From(address) => self.from = Some(resolve(address, self.interface)?),
                Word::Option(code, value) => {
                    let data = match value {
                        Value::Bytes(bytes) => bytes.clone(),
                        Value::Address(address) => {
                            resolve(address, self.interface)?.octets().to_vec()
                        }
                    };
                    self.replace(*code, data);
                    self.missing &= *code != 50;
                }
                Word::Without(code) => {
                    self.options.retain(|(other, _)| other != code);
                    self.inherited = self.inherited.min(self.options.len());
                    self.missing &= *code != 50;
                }
                Word::Raw(bytes) => self.tail.extend_from_slice(bytes),
                Word::Header(at, bytes) => self.patches.push((*at, bytes.clone())),
                Word::NoEnd => self.raw.end = false,
            }
        }
        if own && self.missing {
            return Err(match self.verb {
                Verb::Request => "there was no OFFER".to_owned(),
                _ => "there was no ACK".to_owned(),
            });
        }
        Ok(())
    }

    /// Adds an option; it takes the place of one from a layer before, and stands beside one of its own layer.
    fn replace(&mut self, code: u8, data: Vec<u8>) {
        let before = self.options.len();
        let inherited = self.inherited;
        let mut at = 0;
        self.options.retain(|(other, _)| {
            at += 1;
            *other != code || at > inherited
        });
        self.inherited -= before - self.options.len();
        self.options.push((code, data));
    }

    /// The packet with its transaction.
    pub fn finish(mut self, xid: u32) -> Sent {
        self.raw.fixed[4..8].copy_from_slice(&xid.to_be_bytes());
        let len = self.hardware.len().min(16);
        self.raw.fixed[2] = u8::try_from(len).unwrap_or(16);
        self.raw.fixed[28..28 + len].copy_from_slice(&self.hardware[..len]);
        if let Some(relay) = self.relay {
            self.raw.fixed[3] = 1;
            self.raw.address(24, relay);
        }
        for (at, bytes) in &self.patches {
            if let Some(room) = self.raw.fixed.get_mut(*at..at + bytes.len()) {
                room.copy_from_slice(bytes);
            }
        }
        // A relay appends its option.
        let (last, first): (Vec<_>, Vec<_>) =
            self.options.iter().partition(|(code, _)| *code == 82);
        for (code, data) in first {
            self.raw.option(*code, data);
        }
        self.raw.options.extend_from_slice(&self.tail);
        for (code, data) in last {
            self.raw.option(*code, data);
        }
        let ciaddr = reply::address(&self.raw.fixed, 12);
        let source = match (self.from, self.relay) {
            (Some(from), _) => from,
            (None, Some(relay)) => relay,
            (None, None) => ciaddr,
        };
        let near = SERVER[self.interface].octets()[..3] == source.octets()[..3];
        let own_mac = <[u8; 6]>::try_from(self.hardware.as_slice()).unwrap_or(ROUTER_MAC);
        let direct = self.relay.is_none() && (source.is_unspecified() || near);
        Sent {
            interface: self.interface,
            from_mac: if direct { own_mac } else { ROUTER_MAC },
            broadcast: self.relay.is_none() && !self.unicast,
            from: SocketAddrV4::new(source, if self.relay.is_some() { 67 } else { 68 }),
            payload: self.raw.bytes(),
        }
    }
}

/// A packet that is made.
#[derive(Debug)]
pub struct Sent {
    pub interface: usize,
    from_mac: [u8; 6],
    broadcast: bool,
    from: SocketAddrV4,
    payload: Vec<u8>,
}

impl Sent {
    /// As it is sent.
    pub fn departure(&self) -> Departure<'_> {
        Departure {
            interface: self.interface,
            from_mac: self.from_mac,
            broadcast: self.broadcast,
            from: self.from,
            payload: &self.payload,
        }
    }

    /// The hardware address of the frame, when only that leads back to the client.
    pub fn direct_sender(&self) -> Option<[u8; 6]> {
        self.from.ip().is_unspecified().then_some(self.from_mac)
    }
}
