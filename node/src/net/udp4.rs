//! Ordinary datagrams: unicasts to a listening address (rule S2), or in mode `udp` everything that
//! one interface hears (rule S3). The kernel does fragments, checksums and routing.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use parking_lot::RwLock;
use socket2::{Domain, Protocol, Socket, Type};

use super::{Arrival, Counters, READ_TIMEOUT, RECEIVE_QUEUE, Received, SendError, sys};

/// What a UDP socket is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UdpSpec {
    pub(super) interface: Arc<str>,
    pub(super) index: u32,
    pub(super) mtu: u32,
    /// The server's address on this link.
    pub(super) identity: Ipv4Addr,
    pub(super) scope: Scope,
    pub(super) server_port: u16,
}

/// What a UDP socket hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// Unicasts to [`UdpSpec::identity`].
    Address,
    /// Broadcasts on the interface, and unicasts to these addresses that came through it.
    Interface { addresses: Vec<Ipv4Addr>, broadcasts: Vec<Ipv4Addr> },
}

impl UdpSpec {
    /// The addresses that the socket can send from.
    pub(super) fn addresses(&self) -> &[Ipv4Addr] {
        match &self.scope {
            Scope::Address => std::slice::from_ref(&self.identity),
            Scope::Interface { addresses, .. } => addresses,
        }
    }
}

/// An open UDP socket.
#[derive(Debug)]
pub(super) struct UdpPort {
    spec: RwLock<UdpSpec>,
    socket: Socket,
}

impl UdpPort {
    pub(super) fn open(spec: &UdpSpec) -> io::Result<UdpPort> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        let address = match &spec.scope {
            Scope::Address => {
                socket.set_freebind_v4(true)?;
                spec.identity
            }
            Scope::Interface { .. } => {
                socket.bind_device(Some(spec.interface.as_bytes()))?;
                Ipv4Addr::UNSPECIFIED
            }
        };
        sys::want_packet_info(&socket)?;
        sys::set_receive_buffer(&socket, RECEIVE_QUEUE)?;
        socket.set_broadcast(true)?;
        socket.set_ttl_v4(64)?;
        socket.set_read_timeout(Some(READ_TIMEOUT))?;
        socket.bind(&SocketAddrV4::new(address, spec.server_port).into())?;
        Ok(UdpPort { spec: RwLock::new(spec.clone()), socket })
    }

    /// Whether the open socket can be what `spec` wants: it is bound to the same.
    pub(super) fn suits(&self, spec: &UdpSpec) -> bool {
        let own = self.spec.read();
        let same = own.server_port == spec.server_port;
        same && match (&own.scope, &spec.scope) {
            (Scope::Address, Scope::Address) => own.identity == spec.identity,
            (Scope::Interface { .. }, Scope::Interface { .. }) => own.index == spec.index,
            _ => false,
        }
    }

    /// Makes it so, for every datagram from now on.
    pub(super) fn become_one(&self, spec: &UdpSpec) {
        *self.spec.write() = spec.clone();
    }

    /// From now on [`UdpPort::receive`] takes what is there and does not wait.
    pub(super) fn wait_no_more(&self) -> io::Result<()> {
        self.socket.set_nonblocking(true)
    }

    /// Waits for a datagram; `None` for one that is dropped and counted.
    pub(super) fn receive(
        &self,
        buffer: &mut [u8],
        counters: &Counters,
    ) -> io::Result<Option<Received>> {
        let meta = sys::receive_datagram(&self.socket, buffer)?;
        if meta.truncated {
            counters.truncated.add();
            return Ok(None);
        }
        let spec = self.spec.read();
        let (broadcast, destination) = match &spec.scope {
            Scope::Address => (false, spec.identity),
            Scope::Interface { addresses, broadcasts } => {
                // Without packet info nobody can tell; the kernel always gives it.
                let destination = meta.destination.unwrap_or(Ipv4Addr::BROADCAST);
                let broadcast = destination.is_broadcast() || broadcasts.contains(&destination);
                if !broadcast && !addresses.contains(&destination) {
                    counters.not_for_us.add();
                    return Ok(None);
                }
                (broadcast, destination)
            }
        };
        Ok(Some(Received {
            bytes: buffer.get(..meta.len).unwrap_or_default().to_vec(),
            arrival: Arrival {
                interface: spec.interface.clone(),
                index: spec.index,
                mtu: spec.mtu,
                interface_address: spec.identity,
                source: meta.source,
                destination,
                source_mac: None,
                broadcast,
            },
            came: meta.came,
        }))
    }

    /// Sends one datagram; by routing, or through `interface` when one is given.
    pub(super) fn send(
        &self,
        source: Ipv4Addr,
        destination: SocketAddrV4,
        interface: Option<u32>,
        payload: &[u8],
    ) -> Result<(), SendError> {
        sys::send_datagram(&self.socket, payload, destination, interface.unwrap_or(0), source)?;
        Ok(())
    }
}
