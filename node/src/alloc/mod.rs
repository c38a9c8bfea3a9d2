//! Choosing an address for a client that has none: Kea's iterative allocator, divided between the
//! nodes of a cluster.
//!
//! [`choose`] proposes, and only `apply` decides. It never proposes an address that is leased, in
//! grace, in probation, reserved for somebody else, or that the caller avoids (holds and notes). A
//! node takes from its own share first (C8), and from the whole pool when that is empty (R18).
//!
//! The cost does not grow with the pool: runs of leased addresses are skipped at once, and what
//! must be looked at one by one is bounded. A pick that reaches the bound moves the cursor, so that
//! the next one goes on from there.

pub mod holds;
mod share;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use xxhash_rust::xxh3::xxh3_64;

pub use holds::{Hold, Holds};
pub use share::Share;

use crate::config::{Config, Subnet};
use crate::state::{Client, View, reserved_for_other};
use crate::types::{ClusterTime, SubnetId};

/// Free addresses a pick looks at in search of one of its own share. With n nodes a free address is
/// one's own with probability 1/n: so many in vain mean that the share is as good as empty.
const SHARE_LIMIT: u32 = 2_048;
/// Free addresses a pick looks at in the whole pool: held, noted, or reserved for others each.
const POOL_LIMIT: u32 = 16_384;
/// Leases past their end that a pick looks at when nothing else is left.
const DUE_LIMIT: usize = 1_024;

/// What a choice depends on.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The applied state.
    pub view: View<'a>,
    /// Where to choose.
    pub subnet: &'a Subnet,
    /// For whom: reservations, and where an R18 search starts.
    pub client: &'a Client,
    /// The estimate of cluster time.
    pub now: ClusterTime,
    /// The division between nodes.
    pub share: &'a Share,
}

/// The result of [`choose`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// An address to offer.
    Candidate(Ipv4Addr),
    /// There is none (M2: silence, counted).
    Exhausted,
}

/// Where the next pick in each subnet starts: behind the last one, as in Kea. Kept by the caller,
/// not replicated.
#[derive(Debug, Clone, Default)]
pub struct Cursors {
    next: BTreeMap<SubnetId, Ipv4Addr>,
}

impl Cursors {
    /// Forgets subnets that a new configuration no longer has.
    pub fn retain(&mut self, config: &Config) {
        self.next.retain(|subnet, _| config.subnet(*subnet).is_some());
    }
}

/// Chooses an address in the pools of `ask.subnet`. `avoid` says which addresses others were
/// offered a moment ago.
pub fn choose(ask: &Ask<'_>, cursors: &mut Cursors, avoid: impl Fn(Ipv4Addr) -> bool) -> Choice {
    let ring = Ring { ask };
    let fits = |address| !avoid(address) && !reserved_for_other(ask.subnet, address, ask.client);
    let Some(start) = ring.start(cursors.next.get(&ask.subnet.id).copied()) else {
        return Choice::Exhausted;
    };

    let alone = ask.share.is_whole();
    let limit = if alone { POOL_LIMIT } else { SHARE_LIMIT };
    let found =
        match ring.search(start, limit, |address| ask.share.is_mine(address) && fits(address)) {
            Search::Found(address) => {
                cursors.next.insert(ask.subnet.id, ring.behind(address));
                Some(address)
            }
            Search::Stopped(at) => {
                cursors.next.insert(ask.subnet.id, at);
                None
            }
            Search::Nothing => None,
        };
    let whole = || match ring.search(ring.hashed_start(), POOL_LIMIT, fits) {
        Search::Found(address) => Some(address),
        Search::Stopped(_) | Search::Nothing => None,
    };
    // A lease whose end and grace are over frees its address before the sweep comes by (R6).
    let over = || {
        let due = ask.view.due(ask.now).take(DUE_LIMIT).map(|lease| lease.address);
        due.into_iter()
            .find(|a| ask.subnet.pool_of(*a).is_some() && ask.view.is_free(*a, ask.now) && fits(*a))
    };
    let found = found.or_else(|| if alone { None } else { whole() }).or_else(over);
    found.map_or(Choice::Exhausted, Choice::Candidate)
}

/// The pools of a subnet, one behind the other and round again.
struct Ring<'a> {
    ask: &'a Ask<'a>,
}

/// A pool and an address in it.
#[derive(Clone, Copy)]
struct Place {
    pool: usize,
    address: u32,
}

enum Search {
    Found(Ipv4Addr),
    /// The limit was reached before this address.
    Stopped(Ipv4Addr),
    /// All was searched.
    Nothing,
}

impl Ring<'_> {
    /// The place of `cursor`; the first address of all if it lies in no pool (any more).
    fn start(&self, cursor: Option<Ipv4Addr>) -> Option<Place> {
        let pools = &self.ask.subnet.pools;
        let first = pools.first()?.range.first();
        let at = |address: Ipv4Addr| {
            let pool = pools.iter().position(|pool| pool.range.contains(address))?;
            Some(Place { pool, address: address.into() })
        };
        cursor.and_then(at).or_else(|| at(first))
    }

    /// R18: a place that depends on the client, so that nodes which search the same pool at the
    /// same time rarely meet.
    fn hashed_start(&self) -> Place {
        let pools = &self.ask.subnet.pools;
        let size: u64 = pools.iter().map(|pool| pool.range.size()).sum();
        let mut offset = xxh3_64(self.ask.client.key().bytes()) % size.max(1);
        for (at, pool) in pools.iter().enumerate() {
            match pool.range.nth(offset) {
                Some(address) => return Place { pool: at, address: address.into() },
                None => offset -= pool.range.size(),
            }
        }
        Place { pool: 0, address: 0 }
    }

    /// The address behind `address`: the next of its pool, or the first of the next pool.
    fn behind(&self, address: Ipv4Addr) -> Ipv4Addr {
        let pools = &self.ask.subnet.pools;
        let Some(pool) = pools.iter().position(|pool| pool.range.contains(address)) else {
            return address;
        };
        if address == pools[pool].range.last() {
            return pools[(pool + 1) % pools.len()].range.first();
        }
        Ipv4Addr::from(u32::from(address) + 1)
    }

    /// The first address from `start` round to it that no lease blocks and that `wanted` takes,
    /// after asking at most `limit` times.
    fn search(&self, start: Place, limit: u32, wanted: impl Fn(Ipv4Addr) -> bool) -> Search {
        let pools = &self.ask.subnet.pools;
        let mut asked = 0;
        // The first pool comes twice: from `start` on, and in the end up to it.
        for lap in 0..=pools.len() {
            let range = pools[(start.pool + lap) % pools.len()].range;
            let from = if lap == 0 { start.address } else { range.first().into() };
            let last = if lap == pools.len() {
                let Some(last) = start.address.checked_sub(1) else { continue };
                last
            } else {
                range.last().into()
            };
            let mut at = Some(from);
            while let Some(from) = at {
                let free = self.ask.view.next_unblocked(from.into());
                let Some(free) = free.filter(|free| u32::from(*free) <= last) else { break };
                if wanted(free) {
                    return Search::Found(free);
                }
                asked += 1;
                if asked >= limit {
                    return Search::Stopped(self.behind(free));
                }
                at = u32::from(free).checked_add(1).filter(|next| *next <= last);
            }
        }
        Search::Nothing
    }
}

#[cfg(test)]
mod tests;
