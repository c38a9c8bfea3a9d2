//! Packets that wait for the outcome of their command, and grants that are still fresh (rule M7).
//! Pure.
//!
//! While a request is being committed, a repeat of it is absorbed: the newer packet takes the older
//! one's place and gets the one answer, with its xid. For 3 s after the commit a repeat is answered
//! from the [`Granted`] that this node still holds (R4).
//!
//! A client that has begun anew does not repeat itself, even if it comes to ask for the same: what it asked for
//! in between may be on its way through another node, and would retire a lease that has the generation of the
//! older grant. So a kept grant is acknowledged only to packets of the same xid, and whatever shows that a client has begun
//! anew or given up ([`Commits::forget`]) ends both.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::after::Before;
use crate::dhcp::v4::{Asked, Packet, Pending};
use crate::peers::aged::Aged;
use crate::state::{Granted, View, Why};
use crate::types::ClientKey;

/// How long a repeat is answered from the kept grant.
pub const REPEAT: Duration = Duration::from_secs(3);
/// The most kept grants.
pub const GRANTS: usize = 65_536;

/// Names a command that this worker has proposed.
pub type Ticket = u64;

/// A packet and when it came, on the monotonic clock.
#[derive(Debug)]
pub struct Waiting {
    /// The packet.
    pub packet: Packet,
    /// When it was received.
    pub received: Duration,
    /// The number of the interface it came by.
    pub interface: u32,
    /// When the kernel took it in.
    pub came: Instant,
}

/// A request whose command is on its way.
#[derive(Debug)]
pub struct Flying {
    /// What the engine needs to answer it.
    pub pending: Box<Pending>,
    /// The packet, should the outcome make it necessary to decide once more.
    pub waiting: Waiting,
    /// What the grant would replace, where somebody wants to know.
    pub before: Option<Box<Before>>,
}

/// A repeat of a request that was granted a moment ago.
#[derive(Debug)]
pub struct Repeat {
    /// What the engine needs to answer it.
    pub pending: Box<Pending>,
    /// The packet.
    pub waiting: Waiting,
    /// What it is answered from.
    pub granted: Granted,
}

/// What to do with a request that needs a commit.
#[derive(Debug)]
pub enum Admission {
    /// The same is being committed; the newer packet gets the answer.
    Absorbed,
    /// The same has just been committed; answer from this.
    Repeat(Box<Repeat>),
    /// Propose it under this ticket.
    New(Ticket),
}

/// The tables.
#[derive(Debug)]
pub struct Commits {
    flying: HashMap<Ticket, Flying>,
    /// The newest request of each client on its way.
    newest: HashMap<ClientKey, Ticket>,
    fresh: Aged<ClientKey, Fresh>,
    next: Ticket,
}

/// A grant that was answered a moment ago. There may be tens of thousands: no packet is kept.
#[derive(Debug)]
struct Fresh {
    asked: Asked,
    xid: u32,
    granted: Granted,
    index: u64,
}

impl Default for Commits {
    fn default() -> Commits {
        Commits {
            flying: HashMap::new(),
            newest: HashMap::new(),
            fresh: Aged::new(GRANTS, REPEAT),
            next: 1,
        }
    }
}

impl Commits {
    /// Takes in a request that needs a commit.
    pub fn admit(
        &mut self,
        pending: Box<Pending>,
        waiting: Waiting,
        before: Option<Box<Before>>,
        view: View<'_>,
        now: Duration,
    ) -> Admission {
        let newest =
            self.newest.get(pending.client()).and_then(|ticket| self.flying.get_mut(ticket));
        if let Some(flying) = newest
            && flying.pending.repeats(&pending)
        {
            // What was there before the first of them: by now it may be their own doing.
            let before = flying.before.take();
            *flying = Flying { pending, waiting, before };
            return Admission::Absorbed;
        }
        if let Some(fresh) = self.fresh.get(pending.client(), now)
            && fresh.asked == pending.asked()
            && (fresh.xid == pending.xid() || pending.why() == Why::Offering)
            && fresh.holds(view)
        {
            let granted = fresh.granted.clone();
            return Admission::Repeat(Box::new(Repeat { pending, waiting, granted }));
        }
        let ticket = self.ticket();
        self.newest.insert(pending.client().clone(), ticket);
        self.flying.insert(ticket, Flying { pending, waiting, before });
        Admission::New(ticket)
    }

    /// Empty tables that use no ticket twice.
    pub fn successor(&self) -> Commits {
        Commits { next: self.next, ..Commits::default() }
    }

    /// The next ticket; also for commands that no packet waits for.
    pub fn ticket(&mut self) -> Ticket {
        let ticket = self.next;
        self.next += 1;
        ticket
    }

    /// The outcome of a ticket is here, or there will be none: its request waits no longer.
    pub fn landed(&mut self, ticket: Ticket) -> Option<Flying> {
        let flying = self.flying.remove(&ticket)?;
        if self.newest.get(flying.pending.client()) == Some(&ticket) {
            self.newest.remove(flying.pending.client());
        }
        Some(flying)
    }

    /// Keeps a grant for repeats.
    pub fn keep(&mut self, pending: &Pending, granted: Granted, index: u64, now: Duration) {
        let fresh = Fresh { asked: pending.asked(), xid: pending.xid(), granted, index };
        self.fresh.insert(pending.client().clone(), fresh, now);
    }

    /// The client gives its address up or begins anew: what it asks for from now on is no repeat of anything before.
    pub fn forget(&mut self, client: &ClientKey, now: Duration) {
        self.fresh.take(client, now);
        self.newest.remove(client);
    }

    /// Forgets what is too old. Call every few seconds.
    pub fn sweep(&mut self, now: Duration) {
        self.fresh.sweep(now);
    }

    /// Requests whose commands are on their way.
    pub fn flying(&self) -> usize {
        self.flying.len()
    }
}

impl Fresh {
    /// Whether the view does not contradict the grant: either it is behind, or the lease is there.
    fn holds(&self, view: View<'_>) -> bool {
        view.applied() < self.index
            || view.lease(self.granted.address()).is_some_and(|lease| {
                lease.generation == self.granted.generation() && lease.state.blocks()
            })
    }
}
