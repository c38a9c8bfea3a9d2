//! A cable to a server: its namespace with two interfaces, and the other ends, where frames are made and read byte by byte.
//!
//! No address is configured on our side. ARP requests are answered for every address, so the server can send to any client and relay;
//! what is not on its links goes through a router that exists only as a hardware address.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use crate::clock;
use crate::floor::netns::sys;
use crate::floor::netns::topology::{Namespace, mac_text};

/// The server's addresses, by interface.
pub const SERVER: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(10, 9, 0, 1)];
/// Its hardware addresses.
const SERVER_MAC: [[u8; 6]; 2] = [[0x02, 0x5e, 0, 0, 0, 1], [0x02, 0x5e, 0, 0, 0, 2]];
/// The hardware address of the router, and of whatever has none of its own.
pub const ROUTER_MAC: [u8; 6] = [0x02, 0xfe, 0, 0, 0, 0xfe];

/// What came from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    pub to_mac: [u8; 6],
    pub from: SocketAddrV4,
    pub to: SocketAddrV4,
    /// Number of the interface.
    pub interface: usize,
    pub payload: Vec<u8>,
}

/// A datagram to the server.
#[derive(Debug, Clone, Copy)]
pub struct Departure<'a> {
    pub interface: usize,
    pub from_mac: [u8; 6],
    /// To all, else to the server.
    pub broadcast: bool,
    pub from: SocketAddrV4,
    pub payload: &'a [u8],
}

/// The cable.
#[derive(Debug)]
pub struct Lab {
    // The server's namespace goes first, with what runs in it.
    pub server: Namespace,
    _own: Namespace,
    sockets: [Socket; 2],
    /// ARP requests that were answered.
    pub arps: u64,
}

impl Lab {
    /// Two namespaces, joined by two cables. `role` is part of their names.
    ///
    /// # Errors
    /// When a namespace or socket cannot be made.
    pub fn create(role: &str) -> Result<Lab> {
        let server = Namespace::create(&format!("{role}s"))?;
        let own = Namespace::create(&format!("{role}c"))?;
        for (number, mac) in SERVER_MAC.iter().enumerate() {
            let (far, near) = (format!("eth{number}"), format!("c{number}"));
            own.ip(&[
                "link",
                "add",
                &near,
                "type",
                "veth",
                "peer",
                "name",
                &far,
                "netns",
                server.name(),
            ])?;
            server.ip(&["link", "set", &far, "address", &mac_text(*mac)])?;
            server.ip(&["addr", "add", &format!("{}/24", SERVER[number]), "dev", &far])?;
            own.ip(&["link", "set", &near, "arp", "off", "up"])?;
            server.ip(&["link", "set", &far, "up"])?;
        }
        // A server does not listen on a link that is not up yet.
        clock::wait_for("the links", 5_000, || {
            let links = server.ip(&["-o", "link", "show"]).ok()?;
            (links.matches("state UP").count() == SERVER_MAC.len()).then_some(())
        })?;
        server.ip(&["route", "add", "default", "via", "10.1.0.254", "dev", "eth0"])?;
        let sockets =
            own.inside(|| -> Result<[Socket; 2]> { Ok([socket("c0")?, socket("c1")?]) })??;
        sockets[0].set_read_timeout(Some(Duration::from_millis(4)))?;
        sockets[1].set_nonblocking(true)?;
        Ok(Lab { server, _own: own, sockets, arps: 0 })
    }

    /// Sends a datagram to port 67 of the server.
    ///
    /// # Errors
    /// As the socket.
    pub fn send(&mut self, departure: &Departure<'_>) -> Result<()> {
        let Departure { interface, from_mac, broadcast, from, payload } = *departure;
        let (to_mac, to) = if broadcast {
            ([0xff; 6], Ipv4Addr::BROADCAST)
        } else {
            (SERVER_MAC[interface], SERVER[interface])
        };
        let frame = frame(from_mac, to_mac, from, SocketAddrV4::new(to, 67), payload)?;
        self.sockets[interface].write_all(&frame).context("sending a frame")
    }

    /// What has come, waiting a few milliseconds for it.
    ///
    /// # Errors
    /// As the socket.
    pub fn receive(&mut self) -> Result<Vec<Arrival>> {
        let mut arrivals = Vec::new();
        let mut buffer = [0; 9000];
        for interface in [1, 0] {
            while let Ok(len) = self.sockets[interface].read(&mut buffer) {
                let frame = buffer.get(..len).unwrap_or_default();
                if frame.get(6..12) != Some(&SERVER_MAC[interface]) {
                    continue;
                }
                if let Some(answer) = arp_answer(frame) {
                    self.arps += 1;
                    self.sockets[interface].write_all(&answer).context("answering ARP")?;
                } else if let Some(arrival) = parse(frame, interface) {
                    arrivals.push(arrival);
                    if interface == 0 {
                        break;
                    }
                }
            }
        }
        Ok(arrivals)
    }
}

fn socket(interface: &str) -> Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
    let _ = socket.set_recv_buffer_size(4 << 20);
    sys::bind_to_interface(&socket, interface)
        .with_context(|| format!("binding to {interface}"))?;
    Ok(socket)
}

fn frame(
    from_mac: [u8; 6],
    to_mac: [u8; 6],
    from: SocketAddrV4,
    to: SocketAddrV4,
    payload: &[u8],
) -> Result<Vec<u8>> {
    let udp_len = u16::try_from(payload.len() + 8)?;
    let mut ip = vec![0x45, 0];
    ip.extend((udp_len + 20).to_be_bytes());
    // No fragment; TTL 64; UDP; the checksum follows.
    ip.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    ip.extend(from.ip().octets());
    ip.extend(to.ip().octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum);
    let mut udp = Vec::new();
    for number in [from.port(), to.port(), udp_len, 0] {
        udp.extend(number.to_be_bytes());
    }
    udp.extend_from_slice(payload);
    let pseudo = [&ip[12..20], &[0, 17], &udp_len.to_be_bytes(), &udp].concat();
    udp[6..8].copy_from_slice(&checksum(&pseudo));
    Ok([&to_mac[..], &from_mac, &[0x08, 0x00], &ip, &udp].concat())
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// The answer to an ARP request (RFC 826): every address is at the router.
fn arp_answer(frame: &[u8]) -> Option<Vec<u8>> {
    let arp = frame.get(14..42)?;
    if frame.get(12..14)? != [0x08, 0x06] || arp.get(6..8)? != [0, 1] {
        return None;
    }
    let (sender, target) = (arp.get(8..18)?, arp.get(24..28)?);
    Some(
        [
            sender.get(..6)?,
            &ROUTER_MAC,
            &[0x08, 0x06],
            arp.get(..6)?,
            &[0, 2],
            &ROUTER_MAC,
            target,
            sender,
        ]
        .concat(),
    )
}

fn parse(frame: &[u8], interface: usize) -> Option<Arrival> {
    let ip = frame.get(14..)?;
    if frame.get(12..14)? != [0x08, 0x00] || ip.first()? >> 4 != 4 || *ip.get(9)? != 17 {
        return None;
    }
    let udp = ip.get(usize::from(ip[0] & 15) * 4..)?;
    let port = |at: usize| Some(u16::from_be_bytes([*udp.get(at)?, *udp.get(at + 1)?]));
    let address = |at: usize| -> Option<Ipv4Addr> {
        let octets: [u8; 4] = ip.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets))
    };
    if port(0)? != 67 {
        return None;
    }
    Some(Arrival {
        to_mac: frame.get(..6)?.try_into().ok()?,
        from: SocketAddrV4::new(address(12)?, port(0)?),
        to: SocketAddrV4::new(address(16)?, port(2)?),
        interface,
        payload: udp.get(8..usize::from(port(4)?))?.to_vec(),
    })
}
