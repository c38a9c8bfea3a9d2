//! Choosing an address for a client that has none: Kea's allocators, divided between the nodes of a
//! cluster.
//!
//! [`choose`] proposes, and only `apply` decides. It never proposes an address that is leased, in
//! grace, in probation, reserved for somebody else, or that the caller avoids (holds and notes). A
//! node takes from its own share first (C8), and from the whole pool when that is empty (R18).
//!
//! * `iterative` goes round the pools, one address behind the other.
//! * `random` draws among all that are free, each as likely as the other.
//! * `flq` takes what has been free for longest: first what no lease is known of, then the lease
//!   that ended first. Kea keeps a queue of every free address in memory, made anew at each start.
//!   Here the order is that of the replicated leases, which outlive their end by
//!   `hold-reclaimed-time`; what was forgotten comes before them, in the order of addresses. With a
//!   hold of 0 nothing but that order is left.
//!
//! The cost does not grow with the pool: what is leased is skipped at once, and what must be looked
//! at one by one is bounded. A pick that reaches the bound moves the cursor, so that the next one
//! goes on from there, and a share in which nothing was found is not searched again for a second: its
//! node takes from the whole pool meanwhile. What it costs: `docs/decisions/2026-11-29-allocation-cost.md`.

pub mod holds;
mod pick;
mod ring;
mod share;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

pub use holds::{Hold, Holds};
pub use share::Share;

use crate::config::{Allocator, Config, Pool, Subnet};
use crate::state::{Client, View, reserved_for_other};
use crate::types::{ClusterTime, Range, SubnetId};
use pick::Pick;
use ring::Ring;

/// What a choice depends on.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The applied state.
    pub view: View<'a>,
    /// The configuration that `subnet` is a part of.
    pub config: &'a Config,
    /// Where to choose.
    pub subnet: &'a Subnet,
    /// For whom: reservations, and where an R18 search starts.
    pub client: &'a Client,
    /// The estimate of cluster time.
    pub now: ClusterTime,
    /// The division between nodes.
    pub share: &'a Share,
    /// Where the `random` allocator starts: any number, another one for each packet.
    pub seed: u64,
}

/// The result of [`choose`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// An address to offer.
    Candidate(Ipv4Addr),
    /// There is none (M2: silence, counted).
    Exhausted,
}

/// Where the next pick starts: behind the last one, as in Kea. Kept by the caller, not replicated.
#[derive(Debug, Clone, Default)]
pub struct Cursors {
    /// By subnet and the first address of the pools that the client may use, since each class goes
    /// round its own.
    next: BTreeMap<(SubnetId, Ipv4Addr), Cursor>,
}

/// Where one of them stands.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    at: Ipv4Addr,
    /// When this node's share was last found to have nothing for a client.
    spent: Option<ClusterTime>,
}

impl Cursor {
    /// How long a share is believed to be spent.
    const BELIEVED: Duration = Duration::from_secs(1);

    /// Whether the share was found to be spent a moment ago.
    fn is_spent(&self, now: ClusterTime) -> bool {
        self.spent.is_some_and(|at| at <= now && now.since(at) < Cursor::BELIEVED)
    }
}

impl Cursors {
    /// Forgets subnets that a new configuration no longer has.
    pub fn retain(&mut self, config: &Config) {
        self.next.retain(|(subnet, first), _| {
            config.subnet(*subnet).is_some_and(|subnet| subnet.pool_of(*first).is_some())
        });
    }
}

/// Chooses an address in those pools of `ask.subnet` that `admits` lets the client use (classes).
/// `avoid` says which addresses others were offered a moment ago.
pub fn choose(
    ask: &Ask<'_>,
    cursors: &mut Cursors,
    admits: impl Fn(&Pool) -> bool,
    avoid: impl Fn(Ipv4Addr) -> bool,
) -> Choice {
    choose_counted(ask, cursors, admits, avoid).0
}

/// [`choose`], and how many addresses were looked at.
fn choose_counted(
    ask: &Ask<'_>,
    cursors: &mut Cursors,
    admits: impl Fn(&Pool) -> bool,
    avoid: impl Fn(Ipv4Addr) -> bool,
) -> (Choice, u32) {
    let pools = || ask.subnet.pools.iter().filter(|pool| admits(pool)).map(|pool| pool.range);
    let has_gap = |range: Range| {
        ask.view.next_unblocked(range.first()).is_some_and(|gap| range.contains(gap))
    };
    // A shared network may have many subnets before the one that is not full.
    let is_full = !pools().any(has_gap);
    if is_full && ask.view.next_due().is_none_or(|due| ask.now < due) {
        return (Choice::Exhausted, 0);
    }
    let Some(ring) = Ring::new(ask.view, pools().collect()) else { return (Choice::Exhausted, 0) };
    let suits = |address: Ipv4Addr| {
        !is_end_of_24(ask, address)
            && !avoid(address)
            && !reserved_for_other(ask.config, ask.subnet, address, ask.client)
    };
    let start = Cursor { at: ring.first(), spent: None };
    let cursor = cursors.next.entry((ask.subnet.id, ring.first())).or_insert(start);
    let mut pick = Pick { ask, ring, suits, cursor, looked: Cell::new(0) };
    let found = match ask.subnet.values.allocator {
        _ if is_full => None,
        Allocator::Iterative => pick.iterative(),
        Allocator::Random => pick.random(),
        Allocator::Flq => pick.flq(),
    };
    let found = found.or_else(|| pick.over());
    (found.map_or(Choice::Exhausted, Choice::Candidate), pick.looked.get())
}

/// `exclude-first-last-24`: whether the address ends in 0 or 255 and its subnet is a /24 or larger,
/// where some clients take such an address for a broadcast.
fn is_end_of_24(ask: &Ask<'_>, address: Ipv4Addr) -> bool {
    ask.config.compatibility.exclude_first_last_24
        && ask.subnet.prefix.len() <= 24
        && matches!(address.octets()[3], 0 | 255)
}

#[cfg(test)]
mod allocator_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
