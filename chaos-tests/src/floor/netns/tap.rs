//! A tap on a switch: every DHCP message on the wire, once, with its time.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::topology::Switch;
use crate::client::raw::option_of;
use crate::clock;

/// A frame is seen once per port that it crosses; copies within this time are the same frame. No client repeats sooner.
const SAME_FRAME_MS: u64 = 200;
/// The tap keeps this many messages and then no more: tests look at few.
const CAPACITY: usize = 200_000;

/// A DHCP message on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When, on the ledger's clock.
    pub at: u64,
    /// Addresses of the IP header.
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    /// Option 53: 1 DISCOVER, 2 OFFER, 3 REQUEST, 4 DECLINE, 5 ACK, 6 NAK, 7 RELEASE, 8 INFORM.
    pub kind: u8,
    pub xid: u32,
    /// The client's hardware address.
    pub mac: [u8; 6],
    pub yiaddr: Ipv4Addr,
    pub ciaddr: Ipv4Addr,
    /// Option 54.
    pub server: Option<Ipv4Addr>,
}

/// A tap. Dropping it ends its thread.
#[derive(Debug)]
pub struct Tap {
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tap {
    /// Listens on all ports of `switch`.
    ///
    /// # Errors
    /// When the socket cannot be opened.
    pub fn start(switch: &Switch) -> Result<Tap> {
        let every_protocol = i32::from(u16::try_from(libc::ETH_P_ALL)?.to_be());
        let mut socket = switch
            .namespace
            .inside(|| {
                Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(every_protocol)))
            })?
            .context("opening a packet socket")?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let _ = socket.set_recv_buffer_size(8 << 20);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (list, ended) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("tap".to_owned()).spawn(move || {
            let mut buffer = [0; 4096];
            let mut recent: HashMap<u64, u64> = HashMap::new();
            while !ended.load(Ordering::Relaxed) {
                let Ok(len) = socket.read(&mut buffer) else { continue };
                let Some(frame) = buffer.get(..len) else { continue };
                let Some(message) = parse(frame, clock::now_ms()) else { continue };
                let mut hasher = DefaultHasher::new();
                frame.hash(&mut hasher);
                let again = recent.insert(hasher.finish(), message.at);
                if recent.len() > 4096 {
                    recent.retain(|_, at| *at + SAME_FRAME_MS > message.at);
                }
                if again.is_some_and(|at| at + SAME_FRAME_MS > message.at) {
                    continue;
                }
                let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
                if list.len() < CAPACITY {
                    list.push(message);
                }
            }
        })?;
        Ok(Tap { seen, stop, thread: Some(thread) })
    }

    /// Everything so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What concerns the client `mac` since `from`.
    pub fn of_client(&self, mac: [u8; 6], from: u64) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|message| message.mac == mac && message.at >= from).cloned().collect()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The DHCP message in an Ethernet frame.
fn parse(frame: &[u8], at: u64) -> Option<Seen> {
    let ip = frame.get(14..)?;
    if frame.get(12..14)? != [0x08, 0x00] || ip.first()? >> 4 != 4 || *ip.get(9)? != 17 {
        return None;
    }
    let udp = ip.get(usize::from(ip[0] & 15) * 4..)?;
    let port = |at: usize| Some(u16::from_be_bytes([*udp.get(at)?, *udp.get(at + 1)?]));
    if !matches!((port(0)?, port(2)?), (67 | 68, _) | (_, 67 | 68)) {
        return None;
    }
    let dhcp = udp.get(8..)?;
    let address = |bytes: &[u8], at: usize| -> Option<Ipv4Addr> {
        let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets))
    };
    Some(Seen {
        at,
        source: address(ip, 12)?,
        destination: address(ip, 16)?,
        kind: *option_of(dhcp, 53)?.first()?,
        xid: u32::from_be_bytes(dhcp.get(4..8)?.try_into().ok()?),
        mac: dhcp.get(28..34)?.try_into().ok()?,
        yiaddr: address(dhcp, 16)?,
        ciaddr: address(dhcp, 12)?,
        server: option_of(dhcp, 54).and_then(|data| address(&data, 0)),
    })
}
