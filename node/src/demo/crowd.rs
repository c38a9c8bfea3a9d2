//! The crowd of simulated clients and the relay they sit behind.
//!
//! One thread owns one UDP socket and all clients. Like a router with three helper addresses, the
//! relay sends each packet to every node. What clients were told goes into a [`Ledger`], the only
//! witness the demo believes: the servers' own view is checked against it, never the reverse.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::client::{self, Client, Phase, Step};
use crate::clock::Stopwatch;

/// An acknowledged lease, as its client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acked {
    /// The client's hardware address in Kea's form.
    pub mac: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Option 54 of the ACK: the node that answered.
    pub server: Ipv4Addr,
    /// When, since the demo began.
    pub at: Duration,
    /// From switching on to the ACK.
    pub waited: Duration,
    /// Packets that had to be sent again.
    pub repeats: u32,
}

/// What clients were told.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Every ACK in order.
    pub acked: Vec<Acked>,
    /// How many clients were switched on.
    pub started: u32,
    /// How often a client was refused and began again.
    pub refused: u32,
}

impl Ledger {
    /// Clients that have no answer yet.
    pub fn waiting(&self) -> usize {
        (self.started as usize).saturating_sub(self.acked.len())
    }

    /// The longest time without an ACK between `from` and the last ACK.
    pub fn longest_gap(&self, from: Duration) -> Duration {
        let after = self.acked.iter().map(|acked| acked.at).filter(|at| *at >= from);
        let mut last = from;
        let mut longest = Duration::ZERO;
        for at in after {
            longest = longest.max(at.saturating_sub(last));
            last = at;
        }
        longest
    }

    /// Addresses that two clients were told to use. Leases of the demo outlive it, so any second
    /// client is one too many.
    pub fn given_twice(&self) -> Vec<Ipv4Addr> {
        let mut holders: HashMap<Ipv4Addr, &str> = HashMap::new();
        let mut twice = Vec::new();
        for acked in &self.acked {
            if *holders.entry(acked.address).or_insert(&acked.mac) != acked.mac {
                twice.push(acked.address);
            }
        }
        twice
    }
}

/// The running crowd.
#[derive(Debug)]
pub struct Crowd {
    ledger: Arc<Mutex<Ledger>>,
    pause_millis: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    /// Opens the relay's socket and starts the thread. No client is switched on yet.
    pub fn start(
        relay: SocketAddrV4,
        nodes: Vec<SocketAddrV4>,
        clock: Stopwatch,
    ) -> io::Result<Crowd> {
        let socket = UdpSocket::bind(relay)?;
        socket.set_read_timeout(Some(Duration::from_millis(2)))?;
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let pause_millis = Arc::new(AtomicU32::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (ledger, pause, stop) = (ledger.clone(), pause_millis.clone(), stop.clone());
            let mut relay = Relay { socket, giaddr: *relay.ip(), nodes, clients: HashMap::new() };
            std::thread::Builder::new().name("demo-clients".into()).spawn(move || {
                let mut next_arrival = Duration::ZERO;
                while !stop.load(Ordering::Relaxed) {
                    let now = clock.elapsed();
                    match pause.load(Ordering::Relaxed) {
                        0 => next_arrival = now,
                        pause if now >= next_arrival => {
                            relay.switch_on(now, &ledger);
                            next_arrival = now + Duration::from_millis(u64::from(pause));
                        }
                        _ => {}
                    }
                    relay.send_due(now);
                    relay.receive(&clock, &ledger);
                }
            })?
        };
        Ok(Crowd { ledger, pause_millis, stop, thread: Some(thread) })
    }

    /// Switches a new client on each `pause_millis`; 0 stops.
    pub fn arrivals_every(&self, pause_millis: u32) {
        self.pause_millis.store(pause_millis, Ordering::Relaxed);
    }

    /// A copy of what clients were told so far.
    pub fn ledger(&self) -> Ledger {
        self.ledger.lock().clone()
    }

    /// How many clients have an address and how many wait.
    pub fn counts(&self) -> (usize, usize) {
        let ledger = self.ledger.lock();
        (ledger.acked.len(), ledger.waiting())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported on standard error by the runtime already.
            let _ = thread.join();
        }
    }
}

struct Relay {
    socket: UdpSocket,
    giaddr: Ipv4Addr,
    nodes: Vec<SocketAddrV4>,
    clients: HashMap<u32, Client>,
}

impl Relay {
    fn switch_on(&mut self, now: Duration, ledger: &Mutex<Ledger>) {
        let mut ledger = ledger.lock();
        ledger.started += 1;
        let client = Client::new(ledger.started, self.giaddr, now);
        self.clients.insert(client.xid(), client);
    }

    fn send_due(&mut self, now: Duration) {
        for client in self.clients.values_mut() {
            if let Some(packet) = client.take_packet(now) {
                for node in &self.nodes {
                    // A dead node refuses the packet, as a router would not even notice.
                    let _ = self.socket.send_to(&packet, node);
                }
            }
        }
    }

    /// Takes what has arrived, waiting at most the socket's 2 ms for the first.
    fn receive(&mut self, clock: &Stopwatch, ledger: &Mutex<Ledger>) {
        let mut buffer = [0; 2048];
        // A "connection refused" of a dead node ends the turn like a timeout: the next turn follows.
        while let Ok((length, _)) = self.socket.recv_from(&mut buffer) {
            let now = clock.elapsed();
            let Some(reply) = client::decode(&buffer[..length]) else { continue };
            let Some(client) = self.clients.get_mut(&reply.xid()) else { continue };
            match client.handle(&reply, now) {
                Step::Acked { address, server, .. } => {
                    ledger.lock().acked.push(Acked {
                        mac: client.mac(),
                        address,
                        server,
                        at: now,
                        waited: now.saturating_sub(client.started),
                        repeats: client.repeats,
                    });
                }
                Step::Refused => ledger.lock().refused += 1,
                Step::Onward | Step::Ignored => {}
            }
            if matches!(client.phase(), Phase::Requesting { .. }) {
                self.send_due(now);
            }
        }
        // Clients with a lease need nothing until T1, which the demo does not live to see.
        self.clients.retain(|_, client| !matches!(client.phase(), Phase::Bound { .. }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acked(mac: &str, last: u8, at_millis: u64) -> Acked {
        Acked {
            mac: mac.into(),
            address: Ipv4Addr::new(10, 77, 1, last),
            server: Ipv4Addr::LOCALHOST,
            at: Duration::from_millis(at_millis),
            waited: Duration::ZERO,
            repeats: 0,
        }
    }

    #[test]
    fn the_ledger_sees_an_address_given_twice_but_not_a_client_answered_twice() {
        let mut ledger = Ledger {
            acked: vec![acked("a", 1, 0), acked("b", 2, 5), acked("a", 1, 9)],
            ..Ledger::default()
        };
        assert!(ledger.given_twice().is_empty());
        ledger.acked.push(acked("c", 2, 12));
        assert_eq!(ledger.given_twice(), vec![Ipv4Addr::new(10, 77, 1, 2)]);
    }

    #[test]
    fn the_longest_gap_counts_from_the_given_moment() {
        let ledger = Ledger {
            acked: vec![acked("a", 1, 0), acked("b", 2, 900), acked("c", 3, 1000)],
            ..Ledger::default()
        };
        assert_eq!(ledger.longest_gap(Duration::from_millis(500)), Duration::from_millis(400));
    }
}
