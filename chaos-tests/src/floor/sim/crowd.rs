//! The clients and their ledger, as values: time and replies come in, packets come out. More clients than addresses, so that conflicts
//! and re-use happen all the time.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::dice::Dice;
use super::place::{RELAY, address};
use super::wires::LATEST_MS;
use crate::client::machine::{Machine, Patience, Via};
use crate::client::packet;
use crate::oracle::{ClientId, History};

/// How long a client that gave its address back stays away, in milliseconds. R5 takes a RELEASE or DECLINE that hung on its way for one of
/// a lease that was granted up to a second of cluster time later, and an outage does not count in that (R12): a client that asked for the
/// same address at once could lose it again.
const GAVE_UP_MS: (u64, u64) = (8_000, 11_000);

/// All clients of a run.
#[derive(Debug)]
pub struct Crowd {
    dice: Dice,
    seed: u64,
    nodes: u64,
    clients: Vec<Client>,
    history: History,
    quiet: bool,
    /// Clients so far: the next one's number is one higher.
    count: u32,
}

/// What a client says.
#[derive(Debug)]
pub struct Said {
    /// The nodes that it reaches.
    pub nodes: Vec<u64>,
    /// The datagram.
    pub bytes: Vec<u8>,
    /// Whence it comes.
    pub source: SocketAddrV4,
}

#[derive(Debug)]
struct Client {
    machine: Machine,
    /// The nodes that its broadcasts reach.
    hears: Vec<u64>,
    /// When it does something of its own accord next.
    acts_at: u64,
    /// Until then it says nothing at all.
    still_until: u64,
    /// When it last said something.
    spoke_at: u64,
    /// It has just left for good.
    leaves: bool,
}

impl Client {
    /// When it moves on: not while what it said last may be on its way. To a server the word that comes later is the client's later
    /// mind, so an old one that comes behind an ACK for a new one would give back what that ACK promised.
    fn moves_at(&self) -> u64 {
        self.acts_at.max(self.spoke_at + LATEST_MS + 1)
    }

    /// Remembers that it speaks, if it does.
    fn note_words(&mut self, now: u64) {
        if self.machine.speaks() {
            self.spoke_at = now;
        }
    }

    fn new(number: u32, nodes: u64, seed: u64, acts_at: u64) -> Client {
        let patience = Patience {
            repeat_ms: (900, 3_000),
            request_tries: 3,
            nak_pause_ms: 100,
            automatic: true,
        };
        Client {
            machine: Machine::new(ClientId(number), patience, seed),
            hears: (1..=nodes).collect(),
            acts_at,
            still_until: 0,
            spoke_at: 0,
            leaves: false,
        }
    }
}

impl Crowd {
    /// `count` clients of so many nodes that have done nothing yet, and are quiet.
    pub fn new(count: u32, nodes: u64, seed: u64, dice: Dice) -> Crowd {
        let client = |number| Client::new(number, nodes, seed, dice.between(0, 3_000));
        let clients = (1..=count).map(client).collect();
        Crowd { dice, seed, nodes, clients, history: History::default(), quiet: true, count }
    }

    /// Everybody stops doing things, or goes on. What they hear they still enter in the ledger.
    pub fn quiet(&mut self, quiet: bool) {
        self.quiet = quiet;
    }

    /// One of those who are there.
    pub fn someone(&self, dice: &Dice) -> Option<ClientId> {
        let last = self.clients.len().saturating_sub(1) as u64;
        self.clients.get(dice.between(0, last) as usize).map(|client| client.machine.id())
    }

    /// The ledger so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The ledger.
    pub fn into_history(self) -> History {
        self.history
    }

    /// Drops what happened long before.
    pub fn forget(&mut self, before: u64) {
        self.history.forget(before);
    }

    /// How many ACKs were accepted so far.
    pub fn acks(&self) -> usize {
        self.history.acks()
    }

    /// When somebody wants to do something next; none while all are quiet.
    pub fn next_due(&self) -> Option<u64> {
        let due = |client: &Client| {
            let repeats = client.machine.next_deadline().unwrap_or(u64::MAX);
            repeats.min(client.moves_at()).max(client.still_until)
        };
        self.clients.iter().filter(|_| !self.quiet).map(due).min()
    }

    /// Time has passed: what clients say.
    pub fn tick(&mut self, now: u64) -> Vec<Said> {
        if !self.quiet {
            let mut clients = std::mem::take(&mut self.clients);
            for client in clients.iter_mut().filter(|it| it.still_until <= now) {
                client.machine.tick(now);
                client.note_words(now);
                if client.moves_at() <= now {
                    self.act(client, now);
                }
            }
            self.clients = clients;
            self.replace(now);
        }
        self.said(now)
    }

    /// Node `node` says something to whomever it concerns; what he says to that. None: no client can read it.
    pub fn hear(&mut self, now: u64, node: u64, bytes: &[u8]) -> Option<Vec<Said>> {
        let reply = packet::decode(bytes, address(node))?;
        let id = ClientId::from_mac(&reply.mac);
        let whom = self.clients.iter_mut().find(|client| Some(client.machine.id()) == id);
        if let Some(client) = whom {
            client.machine.handle(now, &reply);
        }
        Some(self.said(now))
    }

    /// Some of those who gave their address back never return, and somebody new comes in their place.
    fn replace(&mut self, now: u64) {
        let leaves = |client: &mut Client| usize::from(std::mem::take(&mut client.leaves));
        let gone: usize = self.clients.iter_mut().map(leaves).sum();
        for _ in 0..gone {
            self.count += 1;
            let comes = now + self.dice.between(100, 1_500);
            self.clients.push(Client::new(self.count, self.nodes, self.seed, comes));
        }
    }

    /// What a client does of its own accord.
    fn act(&self, client: &mut Client, now: u64) {
        let dice = &self.dice;
        client.acts_at = now + dice.between(300, 3_500);
        let machine = &mut client.machine;
        if !machine.is_still() {
            // It waits for an answer and moves on: to another rack, knowing nothing.
            if dice.chance(600) {
                client.hears = self.ears();
                machine.join(now);
            }
        } else if machine.lease().is_some_and(|lease| lease.ends > now) {
            match dice.between(0, 11) {
                0 | 1 => machine.renew(now),
                2 | 3 => machine.rebind(now),
                4 | 5 => {
                    client.hears = self.ears();
                    machine.reboot(now);
                }
                6 => {
                    client.hears = self.ears();
                    machine.rebind(now);
                }
                7 | 8 => {
                    machine.release(now);
                    client.still_until = now + dice.between(GAVE_UP_MS.0, GAVE_UP_MS.1);
                    if dice.chance(600) {
                        (client.still_until, client.leaves) = (u64::MAX, true);
                    }
                    return;
                }
                9 if dice.chance(300) => {
                    machine.decline(now);
                    client.still_until = now + dice.between(GAVE_UP_MS.0, GAVE_UP_MS.1);
                    return;
                }
                10 if dice.chance(500) => {
                    client.hears = self.ears();
                    machine.join(now);
                }
                _ => return,
            }
        } else {
            client.hears = self.ears();
            // Now and then it remembers what it had.
            if dice.chance(200) {
                machine.reboot(now);
            } else {
                machine.join(now);
            }
        }
        // Some are in a hurry: they move on before an answer that is late.
        if dice.chance(400) {
            client.acts_at = now + dice.between(150, 700);
        }
    }

    /// A relay sends to all nodes, or to one.
    fn ears(&self) -> Vec<u64> {
        if self.dice.chance(500) {
            (1..=self.nodes).collect()
        } else {
            vec![self.dice.between(1, self.nodes)]
        }
    }

    fn said(&mut self, now: u64) -> Vec<Said> {
        let mut said = Vec::new();
        for client in &mut self.clients {
            client.note_words(now);
            for event in client.machine.take_events() {
                self.history.record(event);
            }
            for (via, query) in client.machine.take_sends() {
                let (nodes, giaddr, source) = match via {
                    Via::Everyone => (client.hears.clone(), RELAY, SocketAddrV4::new(RELAY, 67)),
                    Via::Server(server) => {
                        let node =
                            (1..=self.nodes).filter(|node| address(*node) == server).collect();
                        (node, Ipv4Addr::UNSPECIFIED, SocketAddrV4::new(query.ciaddr, 68))
                    }
                };
                if let Ok(bytes) = packet::encode(&query, giaddr, false) {
                    said.push(Said { nodes, bytes, source });
                }
            }
        }
        said
    }
}
