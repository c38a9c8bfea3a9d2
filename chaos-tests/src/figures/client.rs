//! Clients of our own, for what perfdhcp cannot send: renewals alone, and a light load beside its heavy one. One thread, one socket behind
//! a relay address of their own; packets are sent when they are due, whatever has been answered, as perfdhcp does.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::client::raw::{Raw, option_of};
use crate::clock;
use crate::floor::netns::topology::Namespace;

/// The relay address of these clients; perfdhcp has the other one.
const GIADDR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);
/// How long answers are waited for after the last packet; what is later is lost, as it is for perfdhcp.
const WAIT_US: u64 = 1_000_000;

/// What was sent and when it was answered, in microseconds of [`clock::now_us`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    pub at: u64,
    pub answered: Option<u64>,
}

impl Sent {
    /// Answered within the wait.
    pub fn is_answered(&self) -> bool {
        self.answered.is_some_and(|answered| answered <= self.at + WAIT_US)
    }
}

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// DISCOVER to ACK.
    Join,
    /// REQUEST with the address they have (RFC 2131 §4.3.6, RENEWING, through a relay).
    Renew,
}

/// The clients.
#[derive(Debug)]
pub struct Clients {
    socket: UdpSocket,
    server: Ipv4Addr,
    /// The address of each; none before it has joined.
    addresses: Vec<Option<Ipv4Addr>>,
    next_xid: u32,
}

impl Clients {
    /// So many, none of which has joined, behind a relay in `relay`.
    ///
    /// # Errors
    /// When the socket cannot be opened.
    pub fn new(relay: &Namespace, server: Ipv4Addr, count: usize) -> Result<Clients> {
        ensure!((1..1 << 20).contains(&count), "{count} clients");
        if !relay.ip(&["addr", "show", "dev", "eth0"])?.contains(&GIADDR.to_string()) {
            relay.ip(&["addr", "add", &format!("{GIADDR}/16"), "dev", "eth0"])?;
        }
        let socket = relay.inside(|| UdpSocket::bind((GIADDR, 67)))?.context("port 67")?;
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
        socket.set_nonblocking(true)?;
        Ok(Clients { socket, server, addresses: vec![None; count], next_xid: 1 })
    }

    /// How many have an address.
    pub fn joined(&self) -> usize {
        self.addresses.iter().flatten().count()
    }

    /// Lets them act in turn, `rate` a second, until `is_over`, which is asked often, and waits for the last answers.
    pub fn act(&mut self, act: Act, rate: u32, mut is_over: impl FnMut(u64) -> bool) -> Vec<Sent> {
        let first_xid = self.next_xid;
        let (began, gap) = (clock::now_us(), 1_000_000.0 / f64::from(rate.max(1)));
        let (mut sent, mut is_ended) = (Vec::<Sent>::new(), false);
        loop {
            let now = clock::now_us();
            is_ended = is_ended || is_over(now);
            if is_ended && sent.last().is_none_or(|last| now > last.at + WAIT_US) {
                break;
            }
            let due = ((now - began) as f64 / gap) as usize;
            let mut is_idle = true;
            // A few at a time, so that answers do not wait for the rest of a late burst.
            while !is_ended && sent.len() < due {
                let client = sent.len() % self.addresses.len();
                self.send(client, if act == Act::Join { 1 } else { 3 }, None);
                sent.push(Sent { at: clock::now_us(), answered: None });
                is_idle = false;
                if sent.len().is_multiple_of(32) {
                    break;
                }
            }
            let mut buffer = [0; 2048];
            for _ in 0..64 {
                let Ok((len, _)) = self.socket.recv_from(&mut buffer) else { break };
                is_idle = false;
                self.hear(buffer.get(..len).unwrap_or_default(), first_xid, &mut sent);
            }
            if is_idle {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        self.next_xid = first_xid.wrapping_add(u32::try_from(sent.len()).unwrap_or(0));
        sent
    }

    /// As [`Clients::act`], for so many seconds.
    pub fn act_for(&mut self, act: Act, rate: u32, secs: u32) -> Vec<Sent> {
        let end = clock::now_us() + u64::from(secs) * 1_000_000;
        self.act(act, rate, |now| now >= end)
    }

    /// Lets each of them join, at `rate`; those that got nothing try again, at most three times.
    ///
    /// # Errors
    /// When one in a hundred has no address then.
    pub fn join_all(&mut self, rate: u32) -> Result<()> {
        for _ in 0..3 {
            let secs = u32::try_from(self.addresses.len())?.div_ceil(rate);
            self.act_for(Act::Join, rate, secs);
            if self.joined() == self.addresses.len() {
                break;
            }
        }
        let (joined, all) = (self.joined(), self.addresses.len());
        ensure!(joined * 100 >= all * 99, "only {joined} of {all} clients got an address");
        Ok(())
    }

    fn send(&mut self, client: usize, kind: u8, offered: Option<(u32, Ipv4Addr, &[u8])>) {
        let [_, a, b, c] = u32::try_from(client).unwrap_or(0).to_be_bytes();
        let xid = offered.map_or(self.next_xid, |(xid, ..)| xid);
        let mut raw = Raw::new(xid, [0x02, 0x4c, 0x1a, a, b, c]);
        raw.fixed[3] = 1;
        raw.address(24, GIADDR);
        raw.option(53, &[kind]);
        match (offered, self.addresses.get(client).copied().flatten()) {
            (Some((_, address, server)), _) => {
                raw.option(50, &address.octets());
                raw.option(54, server);
            }
            (None, Some(address)) if kind == 3 => raw.address(12, address),
            _ => {}
        }
        raw.option(55, &[1, 3, 6]);
        let _ = self.socket.send_to(&raw.bytes(), (self.server, 67));
        if offered.is_none() {
            self.next_xid = self.next_xid.wrapping_add(1);
        }
    }

    fn hear(&mut self, reply: &[u8], first_xid: u32, sent: &mut [Sent]) {
        let word = |at: usize| reply.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
        let (Some(xid), Some(address)) = (word(4), word(16).map(Ipv4Addr::from)) else { return };
        let index = xid.wrapping_sub(first_xid) as usize;
        let client = index % self.addresses.len();
        let Some(entry) = sent.get_mut(index) else { return };
        match option_of(reply, 53).as_deref() {
            Some([2]) => {
                let server = option_of(reply, 54).unwrap_or_default();
                self.send(client, 3, Some((xid, address, &server)));
            }
            Some([5]) => {
                entry.answered.get_or_insert_with(clock::now_us);
                self.addresses[client] = Some(address);
            }
            _ => {}
        }
    }
}
