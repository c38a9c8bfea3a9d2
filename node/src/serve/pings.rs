//! Ping checks under way (rule M4): an address that is to be offered afresh, while nobody has answered
//! at it yet. Bounded. Pure.
//!
//! A check ends when all its echo requests went unanswered for as long as is configured, or with the
//! first answer. Who passed need not be checked again for a while: a client that repeats its DISCOVER
//! is offered the same address at once.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::time::Duration;

use super::commits::Waiting;
use crate::dhcp::decision::Check;
use crate::peers::aged::Aged;
use crate::types::ClientKey;

/// The most checks under way. Beyond it addresses are offered unchecked.
pub const CHECKS: usize = 1_024;
/// How long a passed check counts: as long as an offer is held (M3).
pub const PASSED: Duration = Duration::from_secs(60);
/// The most passed checks remembered.
pub const PASSED_MOST: usize = 65_536;

/// A packet that waits for the end of its check.
#[derive(Debug)]
pub struct Checking {
    /// What is checked.
    pub check: Check,
    /// The packet, to be decided anew when it ends: on what is known then.
    pub waiting: Waiting,
    /// Requests sent.
    sent: u32,
    due: Duration,
}

/// What to do about an address to be offered.
#[derive(Debug, PartialEq, Eq)]
pub enum Start {
    /// Send an echo request; the packet waits.
    Ping,
    /// The client was checked for already: act at once.
    Passed,
    /// A check for this client is under way; its packet is not needed.
    Busy,
    /// No room: act at once, unchecked.
    Full,
}

/// What the passage of time leads to.
#[derive(Debug)]
pub enum Due {
    /// Send another echo request.
    Again(Ipv4Addr),
    /// Nobody answered.
    Passed(Box<Checking>),
}

/// The tables.
#[derive(Debug)]
pub struct Pings {
    by_address: HashMap<Ipv4Addr, Checking>,
    by_client: HashMap<ClientKey, Ipv4Addr>,
    by_due: BTreeSet<(Duration, Ipv4Addr)>,
    passed: Aged<ClientKey, Ipv4Addr>,
}

impl Default for Pings {
    fn default() -> Pings {
        Pings {
            by_address: HashMap::new(),
            by_client: HashMap::new(),
            by_due: BTreeSet::new(),
            passed: Aged::new(PASSED_MOST, PASSED),
        }
    }
}

impl Pings {
    /// Whether a check can begin, or what else is to be done.
    pub fn admit(&self, check: &Check, now: Duration) -> Start {
        let offer = &check.offer;
        if self.by_client.contains_key(&offer.client) {
            return Start::Busy;
        }
        if self.passed.get(&offer.client, now) == Some(&offer.address) {
            return Start::Passed;
        }
        // A check of the same address for another client: both cannot have it. Holds see to it that
        // this is rare; the commit decides.
        if self.by_address.len() >= CHECKS || self.by_address.contains_key(&offer.address) {
            return Start::Full;
        }
        Start::Ping
    }

    /// Begins one that was admitted, with its first echo request.
    pub fn begin(&mut self, check: Check, waiting: Waiting, now: Duration) {
        let (address, due) = (check.offer.address, now + check.timeout);
        self.by_client.insert(check.offer.client.clone(), address);
        self.by_due.insert((due, address));
        self.by_address.insert(address, Checking { check, waiting, sent: 1, due });
    }

    /// Somebody answered at the address. `None` if nobody asked.
    pub fn answered(&mut self, address: Ipv4Addr) -> Option<Checking> {
        let checking = self.by_address.remove(&address)?;
        self.by_due.remove(&(checking.due, address));
        self.by_client.remove(&checking.check.offer.client);
        Some(checking)
    }

    /// Ends the check of the address without a result, if it must have one. `None` if there is none.
    pub fn take_if_must(&mut self, address: Ipv4Addr) -> Option<Checking> {
        self.by_address.get(&address).filter(|checking| checking.check.must)?;
        self.answered(address)
    }

    /// The next check whose time has come.
    pub fn take_due(&mut self, now: Duration) -> Option<Due> {
        let (due, address) = *self.by_due.first().filter(|(due, _)| *due <= now)?;
        let checking = self.by_address.get_mut(&address)?;
        if checking.sent < checking.check.requests {
            checking.sent += 1;
            checking.due = now + checking.check.timeout;
            self.by_due.remove(&(due, address));
            self.by_due.insert((checking.due, address));
            return Some(Due::Again(address));
        }
        let checking = self.answered(address)?;
        self.passed.insert(checking.check.offer.client.clone(), address, now);
        Some(Due::Passed(Box::new(checking)))
    }

    /// When [`Pings::take_due`] is wanted next.
    pub fn next_due(&self) -> Option<Duration> {
        self.by_due.first().map(|(due, _)| *due)
    }

    /// Checks under way.
    pub fn len(&self) -> usize {
        self.by_address.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }

    /// Forgets what is too old. Call every few seconds.
    pub fn sweep(&mut self, now: Duration) {
        self.passed.sweep(now);
    }
}
