//! The clients and their ledger. More clients than addresses, so that conflicts and re-use happen all the time.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;

use super::dice::Dice;
use super::node::{NODES, RELAY, address};
use super::world::World;
use crate::client::machine::{Machine, Patience, Via};
use crate::client::packet;
use crate::oracle::{ClientId, History};

/// How often clients look at the clock.
const TICK: Duration = Duration::from_millis(5);

/// How long a client that gave its address back stays away, in milliseconds. R5 takes a RELEASE or DECLINE that hung on its way for one of
/// a lease that was granted up to a second of cluster time later, and an outage does not count in that (R12): a client that asked for the
/// same address at once could lose it again.
const GAVE_UP_MS: (u64, u64) = (8_000, 11_000);

/// All clients of a run.
#[derive(Debug)]
pub struct Crowd {
    world: OnceLock<Weak<World>>,
    dice: Dice,
    seed: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    clients: Vec<Client>,
    history: History,
    quiet: bool,
    /// Clients so far: the next one's number is one higher.
    count: u32,
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
    /// It has just left for good.
    leaves: bool,
}

impl Client {
    fn new(number: u32, seed: u64, acts_at: u64) -> Client {
        let patience = Patience {
            repeat_ms: (900, 3_000),
            request_tries: 3,
            nak_pause_ms: 100,
            automatic: true,
        };
        Client {
            machine: Machine::new(ClientId(number), patience, seed),
            hears: (1..=NODES).collect(),
            acts_at,
            still_until: 0,
            leaves: false,
        }
    }
}

impl Crowd {
    /// `count` clients that have done nothing yet.
    pub fn new(count: u32, seed: u64, dice: Dice) -> Crowd {
        let clients =
            (1..=count).map(|number| Client::new(number, seed, dice.between(0, 3_000))).collect();
        let inner = Inner { clients, history: History::default(), quiet: false, count };
        Crowd { world: OnceLock::new(), dice, seed, inner: Mutex::new(inner) }
    }

    /// Puts them into their world.
    pub fn enter(&self, world: &Arc<World>) {
        let _ = self.world.set(Arc::downgrade(world));
    }

    /// Everybody stops doing things, or goes on. What they hear they still enter in the ledger.
    pub fn quiet(&self, quiet: bool) {
        self.inner.lock().quiet = quiet;
    }

    /// The ledger so far.
    pub fn history(&self) -> History {
        self.inner.lock().history.clone()
    }

    /// How many ACKs were accepted so far.
    pub fn acks(&self) -> usize {
        self.inner.lock().history.acks()
    }

    /// Lets the clients live until it is dropped.
    pub async fn live(self: Arc<Crowd>) {
        loop {
            if let Some(world) = self.world.get().and_then(Weak::upgrade) {
                let now = world.clock.ms();
                let mut inner = self.inner.lock();
                if !inner.quiet {
                    for client in inner.clients.iter_mut().filter(|it| it.still_until <= now) {
                        client.machine.tick(now);
                        if client.acts_at <= now {
                            self.act(client, now);
                        }
                    }
                    self.replace(&mut inner, now);
                }
                self.flush(&world, &mut inner);
            }
            sleep(TICK).await;
        }
    }

    /// Node `node` says something to whomever it concerns.
    pub fn receive(&self, node: u64, bytes: Vec<u8>) {
        let Some(world) = self.world.get().and_then(Weak::upgrade) else { return };
        for delay in world.wires.deliver(node) {
            let (world, bytes) = (world.clone(), bytes.clone());
            tokio::spawn(async move {
                sleep(delay).await;
                world.crowd.hear(&world, node, &bytes);
            });
        }
    }

    fn hear(&self, world: &Arc<World>, node: u64, bytes: &[u8]) {
        let Some(reply) = packet::decode(bytes, address(node)) else {
            return world.breach("wire", format!("node {node} sent what no client can read"));
        };
        let Some(id) = ClientId::from_mac(&reply.mac) else { return };
        let mut inner = self.inner.lock();
        if let Some(client) = inner.clients.iter_mut().find(|client| client.machine.id() == id) {
            client.machine.handle(world.clock.ms(), &reply);
        }
        self.flush(world, &mut inner);
    }

    /// Some of those who gave their address back never return, and somebody new comes in their place.
    fn replace(&self, inner: &mut Inner, now: u64) {
        let mut gone = 0;
        for client in &mut inner.clients {
            gone += u32::from(std::mem::take(&mut client.leaves));
        }
        for _ in 0..gone {
            inner.count += 1;
            inner.clients.push(Client::new(
                inner.count,
                self.seed,
                now + self.dice.between(100, 1_500),
            ));
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
            (1..=NODES).collect()
        } else {
            vec![self.dice.between(1, NODES)]
        }
    }

    fn flush(&self, world: &Arc<World>, inner: &mut Inner) {
        let Inner { clients, history, .. } = inner;
        for client in clients {
            for event in client.machine.take_events() {
                history.record(event);
            }
            for (via, query) in client.machine.take_sends() {
                let (nodes, giaddr, source) = match via {
                    Via::Everyone => (client.hears.clone(), RELAY, SocketAddrV4::new(RELAY, 67)),
                    Via::Server(server) => {
                        let node = (1..=NODES).filter(|node| address(*node) == server).collect();
                        (node, Ipv4Addr::UNSPECIFIED, SocketAddrV4::new(query.ciaddr, 68))
                    }
                };
                let Ok(bytes) = packet::encode(&query, giaddr, false) else { continue };
                for node in nodes {
                    for delay in world.wires.deliver(node) {
                        let (world, bytes) = (world.clone(), bytes.clone());
                        tokio::spawn(async move {
                            sleep(delay).await;
                            if let Some(node) = world.node(node) {
                                node.packet(bytes, source);
                            }
                        });
                    }
                }
            }
        }
    }
}
