//! The ledger: what clients asked and what they were told, in the order in which they saw it.
//!
//! A REQUEST without an answer is *unknown*: it may have bound. So the ledger keeps what was asked beside what was promised.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

/// A simulated client. Its hardware address says its number, so that a lease found in a table has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u32);

impl ClientId {
    /// The hardware address of this client: locally administered, the number in the last four bytes.
    pub fn mac(self) -> [u8; 6] {
        let [a, b, c, d] = self.0.to_be_bytes();
        [0x02, 0x4c, a, b, c, d]
    }

    /// The client whose hardware address this is.
    pub fn from_mac(mac: &[u8]) -> Option<ClientId> {
        match *mac {
            [0x02, 0x4c, a, b, c, d] => Some(ClientId(u32::from_be_bytes([a, b, c, d]))),
            _ => None,
        }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {}", self.0)
    }
}

/// In which state a client asks (RFC 2131 §4.3.2, table 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ask {
    /// After an OFFER.
    Selecting,
    /// After a restart, for the address it had.
    InitReboot,
    /// At T1, to the server it knows.
    Renewing,
    /// At T2, to any server.
    Rebinding,
}

/// One thing that happened to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It sent a DISCOVER (the first of an exchange or a repeat).
    Discovered { xid: u32 },
    /// It was offered an address.
    Offered { xid: u32, address: Ipv4Addr },
    /// It sent a REQUEST (the first of an exchange or a repeat).
    Asked { xid: u32, ask: Ask, address: Ipv4Addr },
    /// It got an ACK. `asked_at`: when it first sent the REQUEST. `accepted`: false for a second answer, which it ignored.
    Acked { xid: u32, address: Ipv4Addr, lifetime_secs: u32, asked_at: u64, accepted: bool },
    /// It got a NAK to its REQUEST for `address`.
    Refused { xid: u32, address: Ipv4Addr },
    /// It gave its address back.
    Released { address: Ipv4Addr },
    /// It found its address in use by somebody else.
    Declined { address: Ipv4Addr },
}

/// An entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Milliseconds.
    pub at: u64,
    pub client: ClientId,
    /// The address of the node that answered.
    pub node: Option<Ipv4Addr>,
    pub what: What,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8} ms {} {:?}", self.at, self.client, self.what)?;
        match self.node {
            Some(node) => write!(f, " by {node}"),
            None => Ok(()),
        }
    }
}

/// From when a client counts its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// From the first sending of the REQUEST, as RFC 2131 §4.4.1 says.
    FromAsked,
    /// From the arrival of the ACK: a client that counts late. The grace after a lease (R7) must cover it in a cluster.
    FromAnswer,
}

/// An interval in which a client may use an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    pub client: ClientId,
    pub address: Ipv4Addr,
    /// Arrival of the first ACK.
    pub from: u64,
    /// End as the client counts it: of the last ACK, or when it gave the address up.
    pub until: u64,
    /// Who sent the last ACK.
    pub node: Option<Ipv4Addr>,
    /// True when the client gave it up or was told to, false when it runs to its end.
    pub given_up: bool,
}

/// The ledger of a run.
#[derive(Debug, Clone, Default)]
pub struct History {
    events: Vec<Event>,
    /// ACKs and NAKs among those that were forgotten.
    forgotten: (usize, usize),
}

impl History {
    /// A ledger of these events, which are in order of time.
    pub fn new(events: Vec<Event>) -> History {
        History { events, forgotten: (0, 0) }
    }

    /// Appends what happened next.
    pub fn record(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Drops what happened before; it is still counted. A promise that may still run must not be among it.
    pub fn forget(&mut self, before: u64) {
        let end = self.events.partition_point(|event| event.at < before);
        let old = History::new(self.events.drain(..end).collect());
        self.forgotten.0 += old.acks();
        self.forgotten.1 += old.naks();
    }

    /// Everything that is not forgotten, in order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Every interval that clients were promised.
    ///
    /// Renewals extend an interval. It ends early when the client releases or declines, obeys a NAK for that address, or
    /// requests or accepts another address: a Grant retires the old one even when its ACK is lost (R2 e). A client that only forgets
    /// what it had ends nothing: the server still owes it the address.
    pub fn promises(&self, count: Count) -> Vec<Promise> {
        let mut done: Vec<Promise> = Vec::new();
        let mut open: BTreeMap<ClientId, Promise> = BTreeMap::new();
        for event in &self.events {
            match event.what {
                What::Acked { address, lifetime_secs, asked_at, accepted: true, .. } => {
                    let base = match count {
                        Count::FromAsked => asked_at,
                        Count::FromAnswer => event.at,
                    };
                    let until = end(base, lifetime_secs);
                    let mut next = Promise {
                        client: event.client,
                        address,
                        from: event.at,
                        until,
                        node: event.node,
                        given_up: false,
                    };
                    if let Some(last) = open.remove(&event.client) {
                        if last.address == address && last.until >= event.at {
                            next.from = last.from;
                        } else {
                            done.push(close(last, event.at));
                        }
                    }
                    open.insert(event.client, next);
                }
                What::Asked { address, .. } => {
                    if open.get(&event.client).is_some_and(|last| last.address != address)
                        && let Some(last) = open.remove(&event.client)
                    {
                        done.push(close(last, event.at));
                    }
                }
                What::Released { address }
                | What::Declined { address }
                | What::Refused { address, .. } => {
                    if open.get(&event.client).is_some_and(|last| last.address == address)
                        && let Some(last) = open.remove(&event.client)
                    {
                        done.push(close(last, event.at));
                    }
                }
                _ => {}
            }
        }
        done.extend(open.into_values());
        done
    }

    /// How many ACKs were accepted.
    pub fn acks(&self) -> usize {
        let is_ack = |event: &&Event| matches!(event.what, What::Acked { accepted: true, .. });
        self.forgotten.0 + self.events.iter().filter(is_ack).count()
    }

    /// How many NAKs were received.
    pub fn naks(&self) -> usize {
        let is_nak = |event: &&Event| matches!(event.what, What::Refused { .. });
        self.forgotten.1 + self.events.iter().filter(is_nak).count()
    }
}

/// The end of a lease of `secs` that begins at `base`; all ones is for ever (RFC 2131 §3.3).
fn end(base: u64, secs: u32) -> u64 {
    if secs == u32::MAX { u64::MAX } else { base.saturating_add(u64::from(secs) * 1000) }
}

fn close(mut promise: Promise, at: u64) -> Promise {
    if at < promise.until {
        promise.until = at;
        promise.given_up = true;
    }
    promise
}
