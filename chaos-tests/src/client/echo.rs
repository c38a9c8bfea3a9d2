//! Echo requests (RFC 792), as hosts answer them: whoever has an address answers there, and nobody answers elsewhere.
//!
//! The kernel of a namespace that treats a whole pool as its own would answer for every address of it.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use crate::floor::netns::topology::Namespace;

const ECHO_REQUEST: u8 = 8;
/// Type, code and checksum of an ICMP message.
const HEAD: usize = 4;

/// Answers in the place of the kernel.
#[derive(Debug)]
pub struct Echo {
    socket: Socket,
    answered: Arc<AtomicU64>,
}

impl Echo {
    /// Takes over from the kernel of `namespace`; counts what is answered.
    ///
    /// # Errors
    /// When a socket cannot be opened there.
    pub fn take_over(namespace: &Namespace, answered: Arc<AtomicU64>) -> Result<Echo> {
        let socket = namespace.inside(|| -> Result<Socket> {
            std::fs::write("/proc/sys/net/ipv4/icmp_echo_ignore_all", "1")?;
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })?;
        Ok(Echo { socket: socket.context("a socket for echo requests")?, answered })
    }

    /// Answers what has come for addresses where somebody is. The calling thread is in the namespace.
    pub fn serve(&self, is_there: impl Fn(Ipv4Addr) -> bool) {
        let mut buffer = [0; 1500];
        while let Ok(length) = (&self.socket).read(&mut buffer) {
            let Some(request) = buffer.get(..length).and_then(Request::of) else { continue };
            if is_there(request.to) && send(&request).is_ok() {
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn send(request: &Request) -> std::io::Result<usize> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    socket.bind(&SocketAddrV4::new(request.to, 0).into())?;
    socket.send_to(&request.reply(), &SocketAddrV4::new(request.from, 0).into())
}

/// An echo request.
struct Request {
    from: Ipv4Addr,
    to: Ipv4Addr,
    /// Behind the checksum: identifier, sequence number, data. They come back as they are.
    rest: Vec<u8>,
}

impl Request {
    /// From a datagram with its IP header; `None` for anything else.
    fn of(datagram: &[u8]) -> Option<Request> {
        let header = usize::from(datagram.first()? & 0x0f) * 4;
        let address = |at: usize| {
            let bytes: [u8; 4] = datagram.get(at..at + 4)?.try_into().ok()?;
            Some(Ipv4Addr::from(bytes))
        };
        let message = datagram.get(header..)?;
        let rest = message.get(HEAD..)?.to_vec();
        let request = Request { from: address(12)?, to: address(16)?, rest };
        (message[0] == ECHO_REQUEST).then_some(request)
    }

    fn reply(&self) -> Vec<u8> {
        let mut message = [&[0; HEAD], self.rest.as_slice()].concat();
        let sum = checksum(&message);
        message[2..HEAD].copy_from_slice(&sum.to_be_bytes());
        message
    }
}

/// The checksum of RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or_default()]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_back_to_its_sender_with_what_was_in_it() {
        let mut datagram = vec![0x45, 0, 0, 31, 0, 0, 0, 0, 64, 1, 0, 0];
        datagram.extend([10, 77, 0, 1, 10, 77, 16, 5]);
        datagram.extend([ECHO_REQUEST, 0, 0xAB, 0xCD, 1, 2, 3, 4, b'a', b'b', b'c']);
        let request = Request::of(&datagram).expect("it is one");
        assert_eq!((request.from, request.to), ([10, 77, 0, 1].into(), [10, 77, 16, 5].into()));
        let reply = request.reply();
        assert_eq!((reply[0], &reply[HEAD..]), (0, &datagram[20 + HEAD..]));
        assert_eq!(checksum(&reply), 0, "RFC 1071: the sum over all of it");
        datagram[20] = 0;
        assert!(Request::of(&datagram).is_none(), "a reply is none");
        assert!((0..20 + HEAD).all(|end| Request::of(&datagram[..end]).is_none()));
    }
}
