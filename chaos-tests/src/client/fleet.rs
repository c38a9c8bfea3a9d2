//! A thread in a namespace that drives simulated clients over real UDP sockets.
//!
//! The clients stand behind a relay: what a real one would broadcast goes as a relayed packet (`giaddr` is the relay's address) to each
//! node in the client's list, as a relay with several helper addresses does. What a client unicasts (RENEW, RELEASE) leaves from its own
//! address, which the namespace treats as local.
//!
//! Everything clients saw is in one ledger, which can be read at any time.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use socket2::{Domain, Protocol, Socket, Type};

use super::echo::Echo;
use super::machine::{Machine, Patience, Via};
use super::packet;
use crate::clock;
use crate::floor::netns::topology::Namespace;
use crate::oracle::history::Count;
use crate::oracle::{ClientId, History, Promise};

/// What a client is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Join,
    Renew,
    Rebind,
    Reboot,
    Release,
    Decline,
}

enum Order {
    /// Makes the client when it is new; its packets go to these nodes from now on.
    Hears(ClientId, Vec<Ipv4Addr>),
    Do(ClientId, Verb),
    /// Only when the client waits for nothing.
    DoIdle(ClientId, Verb),
    Echo(Echo),
    Stop,
}

/// The fleet, seen from the test. Dropping it ends the thread.
#[derive(Debug)]
pub struct Fleet {
    orders: Sender<Order>,
    history: Arc<Mutex<History>>,
    thread: Option<JoinHandle<()>>,
}

impl Fleet {
    /// Starts a fleet behind the relay `address`, which is an address of `namespace`.
    ///
    /// # Errors
    /// When the namespace cannot be entered or its sockets cannot be opened.
    pub fn start(
        namespace: &Namespace,
        address: Ipv4Addr,
        patience: Patience,
        seed: u64,
    ) -> Result<Fleet> {
        let (relay, direct) = namespace.inside(|| -> Result<(UdpSocket, UdpSocket)> {
            let relay = bound(SocketAddrV4::new(address, 67))?;
            relay.set_read_timeout(Some(Duration::from_millis(2)))?;
            let direct = bound(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68))?;
            direct.set_nonblocking(true)?;
            Ok((relay, direct))
        })??;
        let (orders, inbox) = channel();
        let history = Arc::new(Mutex::new(History::default()));
        let mut driver = Driver {
            relay,
            direct,
            address,
            patience,
            seed,
            clients: HashMap::new(),
            history: Arc::clone(&history),
            echo: None,
        };
        let enter = namespace.entrance()?;
        let thread = std::thread::Builder::new()
            .name("fleet".to_owned())
            .spawn(move || {
                // Unicasts need sockets of their own, opened on the way.
                if enter.enter().is_ok() {
                    driver.run(&inbox);
                }
            })
            .context("starting the fleet")?;
        Ok(Fleet { orders, history, thread: Some(thread) })
    }

    /// Says which nodes hear the broadcasts of `client`. Needed once before its first verb.
    pub fn hears(&self, client: ClientId, nodes: &[Ipv4Addr]) {
        let _ = self.orders.send(Order::Hears(client, nodes.to_vec()));
    }

    /// Tells `client` to do something.
    pub fn tell(&self, client: ClientId, verb: Verb) {
        let _ = self.orders.send(Order::Do(client, verb));
    }

    /// Tells `client` to do something, if it waits for nothing then; else it goes on with what it does.
    pub fn tell_idle(&self, client: ClientId, verb: Verb) {
        let _ = self.orders.send(Order::DoIdle(client, verb));
    }

    /// Lets `client` join, heard by `nodes`.
    pub fn join(&self, client: ClientId, nodes: &[Ipv4Addr]) {
        self.hears(client, nodes);
        self.tell(client, Verb::Join);
    }

    /// From now on clients answer echo requests at the addresses that they have, and nobody answers at others.
    pub fn answer_echo(&self, echo: Echo) {
        let _ = self.orders.send(Order::Echo(echo));
    }

    /// The ledger so far.
    pub fn history(&self) -> History {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What clients were promised so far, counted from the arrival of the ACK.
    pub fn promises(&self) -> Vec<Promise> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).promises(Count::FromAnswer)
    }

    /// Waits until all of `clients` have a promise that runs now.
    ///
    /// # Errors
    /// When the time is over; the message tells how many have none.
    pub fn wait_bound(&self, clients: &[ClientId], limit_ms: u64) -> Result<()> {
        let missing = || -> Vec<ClientId> {
            let (promises, now) = (self.promises(), clock::now_ms());
            let bound: std::collections::HashSet<ClientId> = promises
                .iter()
                .filter(|promise| promise.until > now)
                .map(|promise| promise.client)
                .collect();
            clients.iter().copied().filter(|client| !bound.contains(client)).collect()
        };
        clock::wait_for("clients to be bound", limit_ms, || missing().is_empty().then_some(()))
            .map_err(|error| {
                let missing = missing();
                anyhow!(
                    "{error:#}: {} of {} have no address, among them {:?}",
                    missing.len(),
                    clients.len(),
                    missing.first()
                )
            })
    }

    /// Waits until more than `before` ACKs have been accepted in all.
    ///
    /// # Errors
    /// When the time is over.
    pub fn wait_acks(&self, more_than: usize, limit_ms: u64) -> Result<()> {
        clock::wait_for("more ACKs", limit_ms, || (self.history().acks() > more_than).then_some(()))
    }

    /// Ends the fleet and gives the ledger.
    pub fn stop(mut self) -> History {
        self.end();
        self.history()
    }

    fn end(&mut self) {
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.end();
    }
}

/// A UDP socket on `address` that shares it, with room for a burst.
///
/// # Errors
/// When the system refuses.
pub fn bound(address: SocketAddrV4) -> Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    let _ = socket.set_recv_buffer_size(4 << 20);
    socket.bind(&SocketAddr::V4(address).into()).with_context(|| format!("binding {address}"))?;
    Ok(socket.into())
}

struct Client {
    machine: Machine,
    nodes: Vec<Ipv4Addr>,
}

struct Driver {
    relay: UdpSocket,
    direct: UdpSocket,
    address: Ipv4Addr,
    patience: Patience,
    seed: u64,
    clients: HashMap<ClientId, Client>,
    history: Arc<Mutex<History>>,
    echo: Option<Echo>,
}

impl Driver {
    fn run(&mut self, inbox: &Receiver<Order>) {
        let mut buffer = [0; 4096];
        loop {
            loop {
                match inbox.try_recv() {
                    Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return,
                    Ok(order) => self.obey(order),
                    Err(TryRecvError::Empty) => break,
                }
            }
            // The relay's socket waits at most 2 ms; after a first packet the rest of a burst is taken without new orders.
            for _ in 0..64 {
                if !self.receive(&mut buffer, true) {
                    break;
                }
            }
            while self.receive(&mut buffer, false) {}
            let now = clock::now_ms();
            if let Some(echo) = &self.echo {
                let leases = || self.clients.values().filter_map(|client| client.machine.lease());
                echo.serve(|at| leases().any(|lease| lease.address == at && lease.ends > now));
            }
            for client in self.clients.values_mut() {
                client.machine.tick(now);
            }
            self.flush();
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Hears(id, nodes) => {
                let (patience, seed) = (self.patience, self.seed);
                let client = self.clients.entry(id).or_insert_with(|| Client {
                    machine: Machine::new(id, patience, seed),
                    nodes: Vec::new(),
                });
                client.nodes = nodes;
            }
            Order::Do(id, verb) => self.have_done(id, verb),
            Order::DoIdle(id, verb) => {
                if self.clients.get(&id).is_some_and(|client| client.machine.is_still()) {
                    self.have_done(id, verb);
                }
            }
            Order::Echo(echo) => self.echo = Some(echo),
            Order::Stop => {}
        }
    }

    fn have_done(&mut self, id: ClientId, verb: Verb) {
        let now = clock::now_ms();
        if let Some(Client { machine, .. }) = self.clients.get_mut(&id) {
            match verb {
                Verb::Join => machine.join(now),
                Verb::Renew => machine.renew(now),
                Verb::Rebind => machine.rebind(now),
                Verb::Reboot => machine.reboot(now),
                Verb::Release => machine.release(now),
                Verb::Decline => machine.decline(now),
            }
        }
        self.flush();
    }

    /// Takes one packet; false when there was none.
    fn receive(&mut self, buffer: &mut [u8], relayed: bool) -> bool {
        let socket = if relayed { &self.relay } else { &self.direct };
        let (len, from) = match socket.recv_from(buffer) {
            Ok(got) => got,
            // An ICMP error of an earlier packet: the node is not there.
            Err(error) => {
                return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            }
        };
        let SocketAddr::V4(from) = from else { return true };
        let reply = buffer.get(..len).and_then(|bytes| packet::decode(bytes, *from.ip()));
        if let Some(reply) = reply
            && let Some(id) = ClientId::from_mac(&reply.mac)
            && let Some(client) = self.clients.get_mut(&id)
        {
            client.machine.handle(clock::now_ms(), &reply);
        }
        true
    }

    /// Sends what the machines want sent and enters what they saw in the ledger.
    fn flush(&mut self) {
        let mut events = Vec::new();
        for client in self.clients.values_mut() {
            events.extend(client.machine.take_events());
            for (via, query) in client.machine.take_sends() {
                match via {
                    Via::Everyone => {
                        let Ok(bytes) = packet::encode(&query, self.address, false) else {
                            continue;
                        };
                        for node in &client.nodes {
                            let _ = self.relay.send_to(&bytes, (*node, 67));
                        }
                    }
                    Via::Server(server) => {
                        let Ok(bytes) = packet::encode(&query, Ipv4Addr::UNSPECIFIED, false) else {
                            continue;
                        };
                        // Closed at once, so that the answer comes to the socket that all clients share.
                        if let Ok(socket) = bound(SocketAddrV4::new(query.ciaddr, 68)) {
                            let _ = socket.send_to(&bytes, (server, 67));
                        }
                    }
                }
            }
        }
        if !events.is_empty() {
            events.sort_by_key(|event| event.at);
            let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
            for event in events {
                history.record(event);
            }
        }
    }
}
