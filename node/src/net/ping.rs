//! Echo requests (RFC 792) to addresses that are about to be offered (rule M4).
//!
//! One socket, opened with the first request, and a thread that waits for replies. Sending never waits.
//! A reply counts only if it carries back what this process sent, so nobody can answer for an address
//! without having seen the request.

use std::fmt;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};

use super::{Counters, ERROR_PAUSE, READ_TIMEOUT, sys};
use crate::clock::Stopwatch;

const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
/// Type, code, checksum, identifier, sequence number; then the mark.
const HEADER: usize = 8;
/// How long after a failure the socket is opened again.
const REOPEN: Duration = Duration::from_secs(5);

/// What receives the addresses that answered, on the thread of the socket. It must not block.
pub type PongSink = Arc<dyn Fn(Ipv4Addr) + Send + Sync>;

/// Sends echo requests; a handle, cheap to copy. The socket is closed with the last of them.
#[derive(Clone)]
pub struct Pinger(Arc<Inner>);

struct Inner {
    /// What only this process knows.
    mark: u64,
    sequence: AtomicU16,
    sink: PongSink,
    counters: Arc<Counters>,
    socket: Mutex<Opened>,
}

#[derive(Default)]
enum Opened {
    #[default]
    NotYet,
    Failed(Stopwatch),
    Open(Arc<Port>),
}

#[derive(Debug)]
struct Port {
    socket: Socket,
    /// Whether the kernel hands over the IP header too.
    raw: bool,
    stop: AtomicBool,
}

impl fmt::Debug for Pinger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinger").finish_non_exhaustive()
    }
}

impl Pinger {
    /// Without a socket yet. `mark` is a random number; `counters` are those of the sockets.
    pub fn new(mark: u64, counters: Arc<Counters>, sink: PongSink) -> Pinger {
        let (sequence, socket) = (AtomicU16::new(0), Mutex::default());
        Pinger(Arc::new(Inner { mark, sequence, sink, counters, socket }))
    }

    /// Sends an echo request. Whether it was sent; what cannot be sent is counted too.
    pub fn ping(&self, address: Ipv4Addr) -> bool {
        let sent = self.port().and_then(|port| {
            let sequence = self.0.sequence.fetch_add(1, Ordering::Relaxed);
            let to = SocketAddrV4::new(address, 0).into();
            port.socket.send_to_with_flags(&request(self.0.mark, sequence), &to, libc::MSG_DONTWAIT)
        });
        match &sent {
            Ok(_) => self.0.counters.pings.add(),
            Err(error) => {
                self.0.counters.ping_errors.add();
                tracing::debug!(%error, %address, "an echo request was not sent");
            }
        }
        sent.is_ok()
    }

    fn port(&self) -> io::Result<Arc<Port>> {
        let mut opened = self.0.socket.lock();
        match &*opened {
            Opened::Open(port) => return Ok(port.clone()),
            Opened::Failed(since) if since.elapsed() < REOPEN => {
                return Err(io::ErrorKind::NotConnected.into());
            }
            _ => {}
        }
        let port = Port::open().and_then(|port| {
            let (port, inner) = (Arc::new(port), Arc::downgrade(&self.0));
            let its_port = port.clone();
            std::thread::Builder::new()
                .name("dhcp4 ping".into())
                .spawn(move || receive(&its_port, &inner))?;
            Ok(port)
        });
        match port {
            Ok(port) => {
                *opened = Opened::Open(port.clone());
                Ok(port)
            }
            Err(error) => {
                tracing::warn!(%error, "no socket for echo requests: addresses are offered unchecked");
                *opened = Opened::Failed(Stopwatch::start());
                Err(error)
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Opened::Open(port) = self.socket.get_mut() {
            port.stop.store(true, Ordering::Relaxed);
        }
    }
}

impl Port {
    /// A raw socket; where that is not allowed, the kind that `ping` uses without privileges
    /// (`net.ipv4.ping_group_range`).
    fn open() -> io::Result<Port> {
        let (socket, raw) = match Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)) {
            Ok(socket) => {
                sys::hear_only_icmp(&socket, ECHO_REPLY)?;
                (socket, true)
            }
            Err(_) => (Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::ICMPV4))?, false),
        };
        socket.set_read_timeout(Some(READ_TIMEOUT))?;
        Ok(Port { socket, raw, stop: AtomicBool::new(false) })
    }
}

/// The life of the receiving thread.
fn receive(port: &Port, inner: &Weak<Inner>) {
    let mut buffer = [0; 1500];
    while !port.stop.load(Ordering::Relaxed) {
        let mut from = &port.socket;
        // The address is in the IP header, or, without one, is what the kernel says.
        let received = if port.raw {
            from.read(&mut buffer).map(|len| (len, None))
        } else {
            sys::receive_datagram(&port.socket, &mut buffer)
                .map(|meta| (meta.len, Some(*meta.source.ip())))
        };
        let Some(inner) = inner.upgrade() else { return };
        match received {
            Ok((len, source)) => {
                let packet = buffer.get(..len).unwrap_or_default();
                if let Some(address) = answered(packet, source, inner.mark) {
                    (inner.sink)(address);
                }
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock
                | io::ErrorKind::TimedOut
                | io::ErrorKind::Interrupted => {}
                _ => {
                    inner.counters.receive_errors.add();
                    std::thread::sleep(ERROR_PAUSE);
                }
            },
        }
    }
}

/// An echo request with the mark. The identifier is a part of the mark; with a socket of the
/// unprivileged kind the kernel puts its own in place of it.
fn request(mark: u64, sequence: u16) -> Vec<u8> {
    let mark = mark.to_be_bytes();
    let mut message = vec![ECHO_REQUEST, 0, 0, 0, mark[0], mark[1]];
    message.extend(sequence.to_be_bytes());
    message.extend(mark);
    let sum = checksum(&message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    message
}

/// Who answered, if `packet` is an echo reply with the mark. `source` is known when the packet has no
/// IP header.
fn answered(packet: &[u8], source: Option<Ipv4Addr>, mark: u64) -> Option<Ipv4Addr> {
    let (source, message) = match source {
        Some(source) => (source, packet),
        None => {
            let words = usize::from(packet.first()? & 0xf);
            let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
            (source.into(), packet.get(words * 4..)?)
        }
    };
    let is_ours = message.first() == Some(&ECHO_REPLY)
        && message.get(HEADER..) == Some(&mark.to_be_bytes()[..])
        && checksum(message) == 0;
    is_ours.then_some(source)
}

/// The Internet checksum (RFC 1071) of a message of even length.
fn checksum(message: &[u8]) -> u16 {
    let words = message.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        _ => u32::from(pair.first().copied().unwrap_or(0)) << 8,
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

    const MARK: u64 = 0x0102_0304_0506_0708;

    /// What a host makes of a request.
    fn reply(request: &[u8]) -> Vec<u8> {
        let mut reply = request.to_vec();
        reply[0] = ECHO_REPLY;
        reply[2..4].fill(0);
        let sum = checksum(&reply).to_be_bytes();
        reply[2..4].copy_from_slice(&sum);
        reply
    }

    #[test]
    fn an_answer_is_known_by_its_mark() {
        let source = Some(Ipv4Addr::new(192, 0, 2, 7));
        let request = request(MARK, 9);
        assert_eq!(checksum(&request), 0);
        let reply = reply(&request);
        assert_eq!(answered(&reply, source, MARK), source);
        assert_eq!(answered(&reply, source, MARK + 1), None, "another process asked");
        assert_eq!(answered(&request, source, MARK), None, "a request");
        let mut damaged = reply.clone();
        damaged[2] ^= 1;
        assert_eq!(answered(&damaged, source, MARK), None);
        for len in 0..reply.len() {
            assert_eq!(answered(&reply[..len], source, MARK), None);
        }
    }

    #[test]
    fn with_an_ip_header_the_source_is_read_from_it() {
        let mut packet = vec![0; 24];
        packet[0] = 0x46;
        packet[12..16].copy_from_slice(&[192, 0, 2, 7]);
        packet.extend(reply(&request(MARK, 1)));
        assert_eq!(answered(&packet, None, MARK), Some([192, 0, 2, 7].into()));
        for len in 0..packet.len() {
            assert_eq!(answered(&packet[..len], None, MARK), None);
        }
    }

    #[test]
    fn loopback_answers_where_a_socket_can_be_had() {
        let (sender, answers) = std::sync::mpsc::channel();
        let sender = Mutex::new(sender);
        let sink: PongSink = Arc::new(move |address| _ = sender.lock().send(address));
        let counters = Arc::new(Counters::default());
        let pinger = Pinger::new(MARK, counters.clone(), sink);
        pinger.ping(Ipv4Addr::LOCALHOST);
        if counters.ping_errors.get() > 0 {
            return;
        }
        assert_eq!(answers.recv_timeout(Duration::from_secs(10)), Ok(Ipv4Addr::LOCALHOST));
    }
}
