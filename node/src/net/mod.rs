//! Sockets for DHCPv4: what is heard goes into a sink, what is answered comes through a sender.
//!
//! ```text
//!  interfaces::watch ─▶ select ─▶ Ports::update ─▶ plan ─▶ a socket and a thread each ─▶ sink
//!                                      │
//!                                 table of open sockets ◀── Sender::send
//! ```
//!
//! * Mode `raw`: per Ethernet interface a packet socket for broadcasts (S1), per address a UDP
//!   socket for unicasts (S2). No packet comes through both.
//! * Mode `udp`, and interfaces that are not Ethernet: per interface one UDP socket (S3).
//! * Loopback: a UDP socket per address in both modes, on any port, without privileges.
//!
//! One thread per socket waits in `recvmsg` and calls the sink (S9), which must not block. A thread
//! looks four times a second whether it is to end; what the kernel has queued by then is still read.
//! An interface that goes down and up keeps its socket; one that is deleted and made again has another
//! number, so [`Ports::update`] opens it anew (S8).

mod frame;
mod interfaces;
mod ping;
mod raw4;
mod sys;
mod udp4;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

pub use interfaces::{
    Endpoint, InterfaceAddress, InterfaceState, SelectProblem, enumerate, select, watch,
};

use crate::config::{Listen, SocketType};
pub use ping::{Pinger, PongSink};
use raw4::{RawPort, RawSpec};
use udp4::{Scope, UdpPort, UdpSpec};

/// The largest datagram that is read; longer ones are dropped and counted (rule S10).
const RECEIVE_BUFFER: usize = 4096;
/// What the kernel may queue for one socket, in bytes (rule S1).
pub const RECEIVE_QUEUE: usize = 8 << 20;
/// How long a receiving thread waits before it looks whether it is to end.
const READ_TIMEOUT: Duration = Duration::from_millis(250);
/// How long a receiving thread pauses after an error that it does not know.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// How many datagrams a socket that is to be closed may still hear: all that its queue has room for.
const LAST_WORDS: u32 = 65_536;
/// How often [`follow`] tries again to open what could not be opened.
const REOPEN: Duration = Duration::from_secs(5);

/// A datagram and how it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The UDP payload.
    pub bytes: Vec<u8>,
    /// How it came.
    pub arrival: Arrival,
    /// When the kernel took it in.
    pub came: Instant,
}

/// How a datagram came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The interface that the listening socket belongs to.
    pub interface: Arc<str>,
    /// Its number.
    pub index: u32,
    /// Its MTU in bytes, which limits a reply (rule W3).
    pub mtu: u32,
    /// The server's address there: the identity in replies to broadcasts (rule D5).
    pub interface_address: Ipv4Addr,
    /// The sender. A datagram from one of our own addresses and the server's port is to be
    /// dropped (rule A8).
    pub source: SocketAddrV4,
    /// The address it was sent to.
    pub destination: Ipv4Addr,
    /// The frame's sender, known in mode `raw` for broadcasts.
    pub source_mac: Option<[u8; 6]>,
    /// Whether it was sent to all stations of the link.
    pub broadcast: bool,
}

impl Arrival {
    /// The server's address in a reply (rule D5): the one the query was sent to, or the
    /// interface's for a broadcast.
    pub fn server_address(&self) -> Ipv4Addr {
        if self.broadcast { self.interface_address } else { self.destination }
    }
}

/// What receives datagrams, on the threads of the sockets. It must not block.
pub type Sink = Arc<dyn Fn(Received) + Send + Sync>;

/// UDP port numbers; others than the well-known ones are for trying out without privileges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortNumbers {
    /// Where we listen and send from.
    pub server: u16,
    /// Where relays listen.
    pub relay: u16,
    /// Where clients listen.
    pub client: u16,
}

impl Default for PortNumbers {
    fn default() -> PortNumbers {
        PortNumbers { server: 67, relay: 67, client: 68 }
    }
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmission {
    /// The interface that the query came through; decides where [`Dest::Link`] and
    /// [`Dest::Broadcast`] leave.
    pub interface: u32,
    /// The address in the IP header; the port is always the server's.
    pub source: Ipv4Addr,
    /// Where to.
    pub dest: Dest,
    /// The UDP payload.
    pub payload: Vec<u8>,
}

/// Where a datagram goes (section 5 of the contract).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dest {
    /// By routing: a relay, or a client that has an address.
    Udp(SocketAddrV4),
    /// To a client that does not answer ARP for `ip` yet, on the client port. Where there is no
    /// packet socket this is a broadcast (rules S3, D4).
    Link {
        /// The frame's receiver.
        mac: [u8; 6],
        /// The address the client is given.
        ip: Ipv4Addr,
    },
    /// To all stations of the link, on the client port.
    Broadcast,
}

/// Why a datagram was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No socket is open for the interface and source address.
    #[error("no socket is open for interface {interface} and source address {address}")]
    NoSocket {
        /// [`Transmission::interface`].
        interface: u32,
        /// [`Transmission::source`].
        address: Ipv4Addr,
    },
    /// Longer than a datagram can be.
    #[error("the datagram is too long")]
    TooLong,
    /// The kernel refused it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A socket that could not be opened. The others work.
#[derive(Debug, thiserror::Error)]
#[error("cannot open a {kind} socket on {interface}/{address}: {error}")]
pub struct OpenProblem {
    /// The interface's name.
    pub interface: String,
    /// The listening address.
    pub address: Ipv4Addr,
    /// `packet` or `UDP`.
    pub kind: &'static str,
    /// Why.
    #[source]
    pub error: io::Error,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// What the sockets saw since start.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[doc = $doc])* pub $name: Counter,)* }

        impl Counters {
            /// Every counter by name, for the metrics page.
            pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.get()),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Datagrams handed to the sink.
    received,
    /// Datagrams sent.
    sent,
    /// Datagrams that could not be sent.
    send_errors,
    /// Dropped: longer than the receive buffer (rule S10).
    truncated,
    /// Dropped: lengths that do not add up (rule P11).
    bad_frame,
    /// Dropped: a checksum that does not verify (rule P11).
    bad_checksum,
    /// Dropped: addressed to another station, or to an address that is not listened on.
    not_for_us,
    /// Times that an interface was reported down (rule S8).
    link_down,
    /// Other errors of receiving.
    receive_errors,
    /// Datagrams on which the sink panicked (rule A10).
    sink_panics,
    /// Echo requests sent (rule M4).
    pings,
    /// Echo requests that could not be sent.
    ping_errors,
}

/// What to open a socket for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Spec {
    Raw(RawSpec),
    Udp(UdpSpec),
}

impl Spec {
    fn interface(&self) -> &Arc<str> {
        match self {
            Spec::Raw(spec) => &spec.interface,
            Spec::Udp(spec) => &spec.interface,
        }
    }

    fn problem(&self, error: io::Error) -> OpenProblem {
        let (kind, address) = match self {
            Spec::Raw(spec) => ("packet", spec.identity),
            Spec::Udp(spec) => ("UDP", spec.identity),
        };
        OpenProblem { interface: self.interface().to_string(), address, kind, error }
    }
}

/// Which sockets serve these endpoints: rules S1 to S3.
fn plan(endpoints: &[Endpoint], server_port: u16, mode: SocketType) -> Vec<Spec> {
    let mut links: BTreeMap<u32, Vec<&Endpoint>> = BTreeMap::new();
    for endpoint in endpoints {
        links.entry(endpoint.index).or_default().push(endpoint);
    }
    let mut specs = Vec::new();
    for members in links.values() {
        // The identity for broadcasts is an address that is here, if any is.
        let Some(first) = members.iter().find(|one| one.present).or(members.first()) else {
            continue;
        };
        let interface: Arc<str> = first.interface.as_str().into();
        let udp = |identity, scope| {
            let (index, mtu) = (first.index, first.mtu);
            Spec::Udp(UdpSpec {
                interface: interface.clone(),
                index,
                mtu,
                identity,
                scope,
                server_port,
            })
        };
        let broadcasts = first.broadcasts.clone();
        match first.mac.filter(|_| mode == SocketType::Raw) {
            _ if first.loopback => {}
            Some(mac) => specs.push(Spec::Raw(RawSpec {
                interface: interface.clone(),
                index: first.index,
                mac,
                mtu: first.mtu,
                identity: first.address,
                broadcasts,
                server_port,
            })),
            None => {
                let addresses = members.iter().map(|one| one.address).collect();
                specs.push(udp(first.address, Scope::Interface { addresses, broadcasts }));
                continue;
            }
        }
        specs.extend(members.iter().map(|one| udp(one.address, Scope::Address)));
    }
    specs
}

/// An open socket.
#[derive(Debug)]
enum Port {
    Raw(RawPort),
    Udp(UdpPort),
}

impl Port {
    fn open(spec: &Spec) -> io::Result<Port> {
        Ok(match spec {
            Spec::Raw(spec) => Port::Raw(RawPort::open(spec)?),
            Spec::Udp(spec) => Port::Udp(UdpPort::open(spec)?),
        })
    }

    /// Whether the open socket can be what `spec` wants, without being opened anew.
    fn suits(&self, spec: &Spec) -> bool {
        match (self, spec) {
            (Port::Raw(port), Spec::Raw(spec)) => port.suits(spec),
            (Port::Udp(port), Spec::Udp(spec)) => port.suits(spec),
            _ => false,
        }
    }

    /// Makes a socket that suits what `spec` wants.
    fn become_one(&self, spec: &Spec) -> io::Result<()> {
        match (self, spec) {
            (Port::Raw(port), Spec::Raw(spec)) => port.become_one(spec),
            (Port::Udp(port), Spec::Udp(spec)) => {
                let _: () = port.become_one(spec);
                Ok(())
            }
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn wait_no_more(&self) -> io::Result<()> {
        match self {
            Port::Raw(port) => port.wait_no_more(),
            Port::Udp(port) => port.wait_no_more(),
        }
    }

    fn receive(&self, buffer: &mut [u8], counters: &Counters) -> io::Result<Option<Received>> {
        match self {
            Port::Raw(port) => port.receive(buffer, counters),
            Port::Udp(port) => port.receive(buffer, counters),
        }
    }
}

/// A socket with its thread.
struct Listener {
    spec: Spec,
    port: Arc<Port>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Which socket sends what.
#[derive(Debug, Default)]
struct Table {
    /// Packet sockets by interface.
    raw: HashMap<u32, Arc<Port>>,
    /// UDP sockets by source address.
    by_address: HashMap<Ipv4Addr, Arc<Port>>,
    /// UDP sockets by interface.
    by_interface: HashMap<u32, Arc<Port>>,
}

impl Table {
    fn of(listeners: &[Listener]) -> Table {
        let mut table = Table::default();
        for listener in listeners {
            match &listener.spec {
                Spec::Raw(spec) => {
                    table.raw.insert(spec.index, listener.port.clone());
                }
                Spec::Udp(spec) => {
                    table.by_interface.entry(spec.index).or_insert_with(|| listener.port.clone());
                    for address in spec.addresses() {
                        table.by_address.insert(*address, listener.port.clone());
                    }
                }
            }
        }
        table
    }
}

#[derive(Debug, Default)]
struct Shared {
    numbers: PortNumbers,
    table: RwLock<Table>,
    counters: Arc<Counters>,
}

/// The open sockets of this node.
pub struct Ports {
    shared: Arc<Shared>,
    sink: Sink,
    /// `None` once closed.
    listeners: Mutex<Option<Vec<Listener>>>,
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl Ports {
    /// Without any socket yet.
    pub fn new(numbers: PortNumbers, sink: Sink) -> Ports {
        let shared = Arc::new(Shared { numbers, ..Shared::default() });
        Ports { shared, sink, listeners: Mutex::new(Some(Vec::new())) }
    }

    /// With sockets for `endpoints`, as far as they can be opened.
    pub fn open(
        endpoints: &[Endpoint],
        numbers: PortNumbers,
        mode: SocketType,
        sink: Sink,
    ) -> (Ports, Vec<OpenProblem>) {
        let ports = Ports::new(numbers, sink);
        let problems = ports.update(endpoints, mode);
        (ports, problems)
    }

    /// Opens what `endpoints` need and is not open, closes what they do not need, and leaves the
    /// rest open. Blocks for up to a quarter of a second when something is closed. Does nothing after
    /// [`Ports::close`].
    ///
    /// No datagram is lost that a socket before and a socket after would hear: a socket whose
    /// addresses or MTU change goes on as it is, new ones are opened before old ones are closed, and
    /// what an old one has heard is read to its end. Only where old and new want the same address and
    /// are of different kinds, which is a change of `dhcp-socket-type`, there is a gap.
    pub fn update(&self, endpoints: &[Endpoint], mode: SocketType) -> Vec<OpenProblem> {
        let mut wanted = plan(endpoints, self.shared.numbers.server, mode);
        let mut slot = self.listeners.lock();
        let Some(listeners) = slot.as_mut() else { return Vec::new() };
        let mut gone = Vec::new();
        for mut listener in std::mem::take(listeners) {
            match wanted.iter().position(|spec| listener.port.suits(spec)) {
                Some(at) if listener.port.become_one(&wanted[at]).is_ok() => {
                    listener.spec = wanted.remove(at);
                    listeners.push(listener);
                }
                _ => gone.push(listener),
            }
        }
        let mut problems = Vec::new();
        let mut in_the_way = Vec::new();
        for spec in wanted {
            match self.listen(&spec) {
                Ok(listener) => listeners.push(listener),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && !gone.is_empty() => {
                    in_the_way.push(spec);
                }
                Err(error) => problems.push(spec.problem(error)),
            }
        }
        *self.shared.table.write() = Table::of(listeners);
        end(gone);
        for spec in in_the_way {
            match self.listen(&spec) {
                Ok(listener) => listeners.push(listener),
                Err(error) => problems.push(spec.problem(error)),
            }
        }
        *self.shared.table.write() = Table::of(listeners);
        problems
    }

    fn listen(&self, spec: &Spec) -> io::Result<Listener> {
        let port = Arc::new(Port::open(spec)?);
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, sink) = (self.shared.clone(), self.sink.clone());
        let (its_port, its_stop) = (port.clone(), stop.clone());
        let thread = std::thread::Builder::new()
            .name(format!("dhcp4 {}", spec.interface()))
            .spawn(move || receive(&its_port, &its_stop, &shared.counters, &*sink))?;
        Ok(Listener { spec: spec.clone(), port, stop, thread })
    }

    /// How many sockets are open.
    pub fn open_sockets(&self) -> usize {
        self.listeners.lock().as_ref().map_or(0, Vec::len)
    }

    /// The addresses that are listened on: identities of this node, and the sources that rule A8
    /// drops.
    pub fn addresses(&self) -> Vec<Ipv4Addr> {
        let mut addresses: Vec<_> = self.shared.table.read().by_address.keys().copied().collect();
        addresses.sort_unstable();
        addresses
    }

    /// What sends echo requests (rule M4), counted with the rest. `mark` is a random number that its
    /// messages carry.
    pub fn pinger(&self, mark: u64, sink: PongSink) -> Pinger {
        Pinger::new(mark, self.shared.counters.clone(), sink)
    }

    /// A handle for sending, as cheap to copy as it looks.
    pub fn sender(&self) -> Sender {
        Sender { shared: self.shared.clone() }
    }

    /// What the sockets saw.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Closes everything for good and waits for the threads, a quarter of a second at most.
    pub fn close(&self) {
        let listeners = self.listeners.lock().take().unwrap_or_default();
        *self.shared.table.write() = Table::default();
        end(listeners);
    }
}

impl Drop for Ports {
    fn drop(&mut self) {
        self.close();
    }
}

fn end(listeners: Vec<Listener>) {
    for listener in &listeners {
        listener.stop.store(true, Ordering::Relaxed);
    }
    for listener in listeners {
        drop(listener.port);
        // The loop catches what its sink throws, so there is no panic to pass on.
        let _ = listener.thread.join();
    }
}

/// The life of a receiving thread.
fn receive(
    port: &Port,
    stop: &AtomicBool,
    counters: &Counters,
    sink: &(dyn Fn(Received) + Send + Sync),
) {
    let mut buffer = vec![0; RECEIVE_BUFFER];
    let mut hear = || -> io::Result<()> {
        if let Some(received) = port.receive(&mut buffer, counters)? {
            counters.received.add();
            if catch_unwind(AssertUnwindSafe(|| sink(received))).is_err() {
                counters.sink_panics.add();
            }
        }
        Ok(())
    };
    while !stop.load(Ordering::Relaxed) {
        let Err(error) = hear() else { continue };
        match (error.kind(), error.raw_os_error()) {
            (
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted,
                _,
            ) => {}
            // Said once; the same socket works when the link is up again.
            (_, Some(libc::ENETDOWN)) => counters.link_down.add(),
            _ => {
                counters.receive_errors.add();
                std::thread::sleep(ERROR_PAUSE);
            }
        }
    }
    // What the kernel has queued so far is still heard.
    let _ = port.wait_no_more().map(|()| (0..LAST_WORDS).try_for_each(|_| hear()));
}

/// Sends through whatever sockets are open at that moment; from any thread.
#[derive(Debug, Clone)]
pub struct Sender {
    shared: Arc<Shared>,
}

impl Sender {
    /// The port numbers in use.
    pub fn numbers(&self) -> PortNumbers {
        self.shared.numbers
    }

    /// Sends one datagram, without waiting: a full queue of the kernel is an error.
    pub fn send(&self, transmission: &Transmission) -> Result<(), SendError> {
        let sent = self.dispatch(transmission);
        match sent {
            Ok(()) => self.shared.counters.sent.add(),
            Err(_) => self.shared.counters.send_errors.add(),
        }
        sent
    }

    fn dispatch(&self, transmission: &Transmission) -> Result<(), SendError> {
        let Transmission { interface, source, dest, payload } = transmission;
        let numbers = self.shared.numbers;
        let from = SocketAddrV4::new(*source, numbers.server);
        let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, numbers.client);
        let (raw, udp) = {
            let table = self.shared.table.read();
            let here = table.by_interface.get(interface);
            let udp = table.by_address.get(source).or(here);
            (table.raw.get(interface).cloned(), udp.cloned())
        };
        let (mac, to) = match dest {
            Dest::Udp(_) => (None, everybody),
            Dest::Link { mac, ip } => (Some(*mac), SocketAddrV4::new(*ip, numbers.client)),
            Dest::Broadcast => (Some(frame::BROADCAST_MAC), everybody),
        };
        match (dest, mac, raw.as_deref(), udp.as_deref()) {
            (Dest::Udp(to), _, _, Some(Port::Udp(port))) => port.send(*source, *to, None, payload),
            (_, Some(mac), Some(Port::Raw(port)), _) => port.send(mac, from, to, payload),
            (_, Some(_), _, Some(Port::Udp(port))) => {
                port.send(*source, everybody, Some(*interface), payload)
            }
            _ => Err(SendError::NoSocket { interface: *interface, address: *source }),
        }
    }
}

/// What is to be listened on: the part of `interfaces-config` that the sockets follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// `interfaces`.
    pub listen: Vec<Listen>,
    /// `dhcp-socket-type`.
    pub mode: SocketType,
}

/// Keeps the sockets in step with the configuration and with the machine (rule S8), for ever or
/// until one of the two channels closes. `report` gets what stands in the way, after each change
/// and when an attempt to open something again has a new result.
pub async fn follow(
    ports: Arc<Ports>,
    mut wanted: watch::Receiver<Wanted>,
    mut machine: watch::Receiver<Arc<[InterfaceState]>>,
    mut report: impl FnMut(&[SelectProblem], &[OpenProblem]),
) {
    let mut retry = false;
    let mut last_failed = 0;
    loop {
        let want = wanted.borrow_and_update().clone();
        let (endpoints, select_problems) = select(&want.listen, &machine.borrow_and_update());
        let its_ports = ports.clone();
        let update = tokio::task::spawn_blocking(move || its_ports.update(&endpoints, want.mode));
        let Ok(open_problems) = update.await else { return };
        if !retry || open_problems.len() != last_failed {
            report(&select_problems, &open_problems);
        }
        last_failed = open_problems.len();
        let again = async {
            if last_failed == 0 {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(REOPEN).await;
        };
        retry = tokio::select! {
            changed = wanted.changed() => { if changed.is_err() { return; } false }
            changed = machine.changed() => { if changed.is_err() { return; } false }
            () = again => true,
        };
    }
}

#[cfg(test)]
mod tests;
