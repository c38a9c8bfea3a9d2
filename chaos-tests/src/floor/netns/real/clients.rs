//! The clients of the simulation over real sockets: the same [crowd](crate::floor::sim::crowd) and the same ledger, on a thread in the
//! relay's namespace.
//!
//! What a client broadcasts goes, relayed, to each node that hears it; what it sends to one server leaves from its own address, which the
//! namespace takes for local.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::Mutex;

use crate::client::fleet::bound;
use crate::clock;
use crate::floor::netns::topology::Namespace;
use crate::floor::sim::crowd::{Crowd, Said};
use crate::floor::sim::place::{RELAY, address};
use crate::oracle::History;

/// The clients. Dropping it ends them.
#[derive(Debug)]
pub struct Clients {
    crowd: Arc<Mutex<Crowd>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Clients {
    /// Has `crowd` live in `relay`, whose address is [`RELAY`].
    ///
    /// # Errors
    /// When the namespace cannot be entered or a socket not be opened.
    pub fn start(relay: &Namespace, crowd: Crowd) -> Result<Clients> {
        let (relayed, direct) = relay.inside(|| -> Result<(UdpSocket, UdpSocket)> {
            let relayed = bound(SocketAddrV4::new(RELAY, 67))?;
            relayed.set_read_timeout(Some(Duration::from_millis(2)))?;
            let direct = bound(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68))?;
            direct.set_nonblocking(true)?;
            Ok((relayed, direct))
        })??;
        let (crowd, stop) = (Arc::new(Mutex::new(crowd)), Arc::new(AtomicBool::new(false)));
        let driver = Driver { relayed, direct, crowd: crowd.clone(), stop: stop.clone() };
        let enter = relay.entrance()?;
        let thread = std::thread::Builder::new()
            .name("clients".to_owned())
            .spawn(move || {
                // Unicasts need sockets of their own, opened on the way.
                if enter.enter().is_ok() {
                    driver.run();
                }
            })
            .context("starting the clients")?;
        Ok(Clients { crowd, stop, thread: Some(thread) })
    }

    /// They do nothing more of their own accord, or go on.
    pub fn quiet(&self, quiet: bool) {
        self.crowd.lock().quiet(quiet);
    }

    /// The crowd that lives there.
    pub fn crowd(&self) -> &Arc<Mutex<Crowd>> {
        &self.crowd
    }

    /// ACKs that they accepted so far.
    pub fn acks(&self) -> usize {
        self.crowd.lock().acks()
    }

    /// Drops what happened long before.
    pub fn forget(&self, before: u64) {
        self.crowd.lock().forget(before);
    }

    /// The ledger so far.
    pub fn history(&self) -> History {
        self.crowd.lock().history().clone()
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Driver {
    relayed: UdpSocket,
    direct: UdpSocket,
    crowd: Arc<Mutex<Crowd>>,
    stop: Arc<AtomicBool>,
}

impl Driver {
    fn run(&self) {
        let mut buffer = [0; 4096];
        while !self.stop.load(Ordering::Relaxed) {
            // The relay's socket waits at most 2 ms.
            self.hear(&self.relayed, &mut buffer);
            while self.hear(&self.direct, &mut buffer) {}
            let said = self.crowd.lock().tick(clock::now_ms());
            self.say(said);
        }
    }

    /// Takes one packet; false when there was none.
    fn hear(&self, socket: &UdpSocket, buffer: &mut [u8]) -> bool {
        let (len, from) = match socket.recv_from(buffer) {
            Ok(got) => got,
            // An ICMP error of an earlier packet: the node is not there.
            Err(error) => {
                return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            }
        };
        let SocketAddr::V4(from) = from else { return true };
        let node = u64::from(from.ip().octets()[3]);
        if address(node) == *from.ip()
            && let Some(bytes) = buffer.get(..len)
        {
            let said = self.crowd.lock().hear(clock::now_ms(), node, bytes);
            self.say(said.unwrap_or_default());
        }
        true
    }

    fn say(&self, said: Vec<Said>) {
        for Said { nodes, bytes, source } in said {
            let own = (*source.ip() != RELAY).then(|| bound(source));
            for node in nodes {
                let to = (address(node), 67);
                // A packet that cannot be sent is one that is lost.
                let _ = match &own {
                    None => self.relayed.send_to(&bytes, to),
                    Some(Ok(socket)) => socket.send_to(&bytes, to),
                    Some(Err(_)) => continue,
                };
            }
        }
    }
}
