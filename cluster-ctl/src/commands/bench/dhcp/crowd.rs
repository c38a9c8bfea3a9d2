//! The clients: what each does next, what a reply means to it, and whether two of them were given the same
//! address.
//!
//! Pure: time comes in as nanoseconds since the start, messages go out as [`Query`]. All memory is taken at the
//! start; a message costs no allocation.
//!
//! A client *holds* an address from an ACK in time until the lifetime that it told has passed, counted from when
//! its REQUEST left; until it releases the address; or until it begins anew with a DISCOVER. That is never longer
//! than a server may think, so an address that two clients hold is a broken promise and no matter of timing.

use std::collections::{HashMap, VecDeque};

use super::mix::{Mix, Step};
use super::packet::{Answer, Kind, Query, Reply};

/// Nanoseconds since the start.
pub type Nanos = u64;

const SECOND: Nanos = 1_000_000_000;

/// The most clients: their numbers fit into a transaction id beside the count of its transactions.
pub const MOST: u32 = 1 << 24;

/// One client. It is doing nothing, or waits for the answer to its last message.
#[derive(Debug, Clone, Copy, Default)]
struct Client {
    /// Number of the client in the upper 24 bits, count of its transactions in the others.
    xid: u32,
    /// Which step of the life is next.
    step: u16,
    state: State,
    /// Whether its last message counts.
    counted: bool,
    /// When its last message left.
    sent: Nanos,
    /// When its DISCOVER left.
    began: Nanos,
    /// What it holds, or asks for in a REQUEST; and from whom.
    address: u32,
    server: u32,
    /// Until when it holds the address.
    until: Nanos,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Nothing is expected.
    #[default]
    Idle,
    /// An answer to this is.
    Waits(Kind),
    /// None came in time.
    GaveUp(Kind),
}

/// What a reply comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The answer to a message of this kind; whether that is counted, how long it took, and how long the whole
    /// exchange took of which it is the end.
    Answered {
        /// To what.
        kind: Kind,
        /// Whether its message was counted.
        counted: bool,
        /// Nanoseconds.
        took: Nanos,
        /// Nanoseconds since the DISCOVER.
        exchange: Option<Nanos>,
        /// The REQUEST that follows an OFFER.
        next: Option<Query>,
        /// The client that holds the same address, if there is one.
        duplicate: Option<u32>,
    },
    /// A refusal of a message of this kind.
    Refused {
        /// Of what.
        kind: Kind,
        /// Whether its message was counted.
        counted: bool,
    },
    /// After its client had given up.
    Late(Kind),
    /// A second answer.
    Repeated,
    /// No answer to what was asked: an ACK of another address, an ACK for a DISCOVER.
    Unexpected,
}

/// All clients.
#[derive(Debug)]
pub struct Crowd {
    steps: Box<[Step]>,
    clients: Box<[Client]>,
    /// Who may begin something, the longest idle first.
    idle: VecDeque<u32>,
    /// Who waits since when, in that order; entries that are no longer true are skipped.
    waiting: VecDeque<(Nanos, u32)>,
    /// Who holds what.
    holders: HashMap<u32, u32>,
    in_flight: usize,
    /// Messages begun from here on count.
    counting: bool,
    patience: Nanos,
}

impl Crowd {
    /// So many clients, none of which has a lease; each waits `patience` for an answer.
    pub fn new(count: u32, mix: &Mix, patience: Nanos) -> Crowd {
        let count = count.min(MOST);
        let client = |number| Client { xid: number << 8, ..Client::default() };
        let room = count as usize;
        Crowd {
            steps: mix.steps().into(),
            clients: (0..count).map(client).collect(),
            idle: (0..count).collect(),
            waiting: VecDeque::with_capacity(2 * room),
            holders: HashMap::with_capacity(room),
            in_flight: 0,
            counting: false,
            patience,
        }
    }

    /// How many clients wait for an answer.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many clients hold an address.
    pub fn bound(&self) -> usize {
        self.holders.len()
    }

    /// Whether messages begun from now on count.
    pub fn count(&mut self, counting: bool) {
        self.counting = counting;
    }

    /// Whether messages begun now count.
    pub fn counts(&self) -> bool {
        self.counting
    }

    /// The next step of the client that has been idle longest; `None` while all are busy.
    pub fn begin(&mut self, now: Nanos) -> Option<Query> {
        let number = self.idle.pop_front()?;
        let client = self.clients[number as usize];
        let step = self.steps[usize::from(client.step)];
        let kind = match step {
            Step::Discover | Step::Exchange => Kind::Discover,
            // Whoever has no lease, or no longer, gets one first.
            Step::Renew | Step::Release if !self.holds(number, now) => Kind::Discover,
            Step::Renew => Kind::Renew,
            Step::Release => Kind::Release,
        };
        Some(self.send(number, kind, now))
    }

    /// The first exchange of a client that has no lease yet, whatever its life begins with.
    pub fn begin_binding(&mut self, now: Nanos) -> Option<Query> {
        for _ in 0..self.idle.len() {
            let number = self.idle.pop_front()?;
            if !self.holds(number, now) {
                return Some(self.send(number, Kind::Discover, now));
            }
            self.idle.push_back(number);
        }
        None
    }

    /// A RELEASE of a client that holds an address, until there is none.
    pub fn release_one(&mut self, now: Nanos) -> Option<Query> {
        while let Some(number) = self.idle.pop_front() {
            if self.holds(number, now) {
                let query = self.send(number, Kind::Release, now);
                self.idle.pop_back();
                return Some(query);
            }
        }
        None
    }

    fn holds(&self, number: u32, now: Nanos) -> bool {
        let client = &self.clients[number as usize];
        client.until > now && self.holders.get(&client.address) == Some(&number)
    }

    /// The client gives up what it holds.
    fn let_go(&mut self, number: u32) {
        let client = &mut self.clients[number as usize];
        client.until = 0;
        if self.holders.get(&client.address) == Some(&number) {
            self.holders.remove(&client.address);
        }
    }

    fn send(&mut self, number: u32, kind: Kind, now: Nanos) -> Query {
        if matches!(kind, Kind::Discover | Kind::Release) {
            self.let_go(number);
        }
        let counted = self.counting;
        let client = &mut self.clients[number as usize];
        if kind != Kind::Request {
            client.xid = client.xid & !0xff | client.xid.wrapping_add(1) & 0xff;
            client.began = now;
        }
        (client.sent, client.counted) = (now, counted);
        let known = kind != Kind::Discover;
        let or_none = |value| if known { value } else { 0 };
        let query = Query {
            client: number,
            kind,
            xid: client.xid,
            address: or_none(client.address),
            server: or_none(client.server),
        };
        if kind == Kind::Release {
            client.state = State::Idle;
            self.rest(number, true);
        } else {
            self.in_flight += usize::from(kind != Kind::Request);
            client.state = State::Waits(kind);
            self.waiting.push_back((now, number));
        }
        query
    }

    /// The client is idle, and goes on with the next step or takes the same once more.
    fn rest(&mut self, number: u32, next: bool) {
        let client = &mut self.clients[number as usize];
        if next {
            client.step = (client.step + 1) % self.steps.len() as u16;
        }
        self.idle.push_back(number);
    }

    /// A reply to one of the clients came.
    pub fn hear(&mut self, reply: &Reply, now: Nanos) -> Heard {
        let Some(client) = self.clients.get(reply.client as usize).copied() else {
            return Heard::Unexpected;
        };
        if reply.xid >> 8 != reply.client {
            return Heard::Unexpected;
        }
        if reply.xid != client.xid {
            let offer = reply.answer == Answer::Offer;
            return Heard::Late(if offer { Kind::Discover } else { Kind::Request });
        }
        let kind = match client.state {
            State::Waits(kind) => kind,
            State::GaveUp(kind) => {
                // What it held is not its own any more.
                if reply.answer == Answer::Nak {
                    self.let_go(reply.client);
                }
                return Heard::Late(kind);
            }
            State::Idle => return Heard::Repeated,
        };
        let (counted, took) = (client.counted, now.saturating_sub(client.sent));
        match (kind, reply.answer) {
            (Kind::Discover, Answer::Offer) => {
                let taken = self.steps[usize::from(client.step)] != Step::Discover;
                let next = taken.then(|| self.select(reply, now, counted));
                if next.is_none() {
                    self.finish(reply.client, true);
                }
                Heard::Answered { kind, counted, took, exchange: None, next, duplicate: None }
            }
            // Another server's offer, or the same once more.
            (Kind::Request, Answer::Offer) => Heard::Repeated,
            (Kind::Request | Kind::Renew, Answer::Ack) if reply.address == client.address => {
                let duplicate = self.bind(reply, now);
                let step = self.steps[usize::from(client.step)];
                // An exchange that stood in for a renewal is not the renewal.
                let next = (kind == Kind::Request) == (step == Step::Exchange);
                self.finish(reply.client, next);
                let exchange = (kind == Kind::Request).then(|| now.saturating_sub(client.began));
                Heard::Answered { kind, counted, took, exchange, next: None, duplicate }
            }
            (Kind::Request | Kind::Renew, Answer::Nak) => {
                self.let_go(reply.client);
                self.finish(reply.client, false);
                Heard::Refused { kind, counted }
            }
            _ => Heard::Unexpected,
        }
    }

    /// Takes an offer. The REQUEST counts if the DISCOVER did.
    fn select(&mut self, reply: &Reply, now: Nanos, counted: bool) -> Query {
        let client = &mut self.clients[reply.client as usize];
        (client.address, client.server) = (reply.address, reply.server);
        let query = self.send(reply.client, Kind::Request, now);
        self.clients[reply.client as usize].counted = counted;
        query
    }

    /// Takes a lease; the other client that holds its address.
    fn bind(&mut self, reply: &Reply, now: Nanos) -> Option<u32> {
        let client = &mut self.clients[reply.client as usize];
        client.server = reply.server;
        let forever = reply.lifetime == u32::MAX;
        let lasts = if forever { Nanos::MAX } else { u64::from(reply.lifetime) * SECOND };
        client.until = client.sent.saturating_add(lasts);
        let other = self.holders.insert(reply.address, reply.client);
        let other = other.filter(|other| *other != reply.client)?;
        (self.clients[other as usize].until > now).then_some(other)
    }

    fn finish(&mut self, number: u32, next: bool) {
        self.clients[number as usize].state = State::Idle;
        self.in_flight -= 1;
        self.rest(number, next);
    }

    /// Those whose patience is over give up; `lost` is told of each, and whether its message counted.
    pub fn expire(&mut self, now: Nanos, mut lost: impl FnMut(Kind, bool)) {
        while let Some((sent, number)) = self.waiting.front().copied() {
            let client = &mut self.clients[number as usize];
            let State::Waits(kind) = client.state else {
                self.waiting.pop_front();
                continue;
            };
            if client.sent != sent {
                self.waiting.pop_front();
            } else if sent.saturating_add(self.patience) <= now {
                self.waiting.pop_front();
                let counted = client.counted;
                self.finish(number, false);
                self.clients[number as usize].state = State::GaveUp(kind);
                lost(kind, counted);
            } else {
                break;
            }
        }
    }

    /// When the next one gives up, if nothing comes.
    pub fn next_expiry(&self) -> Option<Nanos> {
        self.waiting.front().map(|(sent, _)| sent.saturating_add(self.patience))
    }
}

#[cfg(test)]
#[path = "crowd_tests.rs"]
mod tests;
