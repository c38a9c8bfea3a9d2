//! Pools one behind the other and round again, and a bounded search in them.

use std::net::Ipv4Addr;

use crate::state::View;
use crate::types::Range;

/// What a search stops at.
#[derive(Clone, Copy)]
pub(super) enum Next {
    /// Addresses without a lease that blocks.
    Unblocked,
    /// Addresses that no lease is known of.
    Unknown,
}

/// The pools of a subnet that a client may use.
pub(super) struct Ring<'a> {
    view: View<'a>,
    /// Never empty, none overlaps another.
    pools: Vec<Range>,
}

/// How a search ended.
pub(super) enum Search {
    /// At this address.
    Found(Ipv4Addr),
    /// The limit was reached before this address.
    Stopped(Ipv4Addr),
    /// All was searched.
    Nothing,
}

impl<'a> Ring<'a> {
    /// `None` without a pool.
    pub(super) fn new(view: View<'a>, pools: Vec<Range>) -> Option<Ring<'a>> {
        (!pools.is_empty()).then_some(Ring { view, pools })
    }

    /// The first address of all.
    pub(super) fn first(&self) -> Ipv4Addr {
        self.pools[0].first()
    }

    fn pool_of(&self, address: Ipv4Addr) -> Option<usize> {
        self.pools.iter().position(|range| range.contains(address))
    }

    /// Whether the address is in one of the pools.
    pub(super) fn contains(&self, address: Ipv4Addr) -> bool {
        self.pool_of(address).is_some()
    }

    /// An address that depends on `hash` alone.
    pub(super) fn hashed(&self, hash: u64) -> Ipv4Addr {
        let size: u64 = self.pools.iter().map(|range| range.size()).sum();
        let mut offset = hash % size.max(1);
        for range in &self.pools {
            match range.nth(offset) {
                Some(address) => return address,
                None => offset -= range.size(),
            }
        }
        self.first()
    }

    /// How many addresses no lease blocks.
    pub(super) fn unblocked(&self) -> u64 {
        self.pools.iter().map(|range| self.unblocked_in(*range)).sum()
    }

    fn unblocked_in(&self, range: Range) -> u64 {
        range.size().saturating_sub(self.view.blocked_in(range))
    }

    /// The `n`-th of them.
    pub(super) fn nth_unblocked(&self, n: u64) -> Option<Ipv4Addr> {
        let mut n = n;
        for range in &self.pools {
            let free = self.unblocked_in(*range);
            if n < free {
                return self.view.nth_unblocked(*range, n);
            }
            n -= free;
        }
        None
    }

    /// The address behind `address`: the next of its pool, or the first of the next pool.
    pub(super) fn behind(&self, address: Ipv4Addr) -> Ipv4Addr {
        let Some(pool) = self.pool_of(address) else { return address };
        if address == self.pools[pool].last() {
            return self.pools[(pool + 1) % self.pools.len()].first();
        }
        Ipv4Addr::from(u32::from(address) + 1)
    }

    /// The first address from `start` round to it that is `next` and that `wanted` takes, after
    /// asking at most `limit` times. A start outside the pools means their beginning.
    pub(super) fn search(
        &self,
        start: Ipv4Addr,
        limit: u32,
        next: Next,
        wanted: impl Fn(Ipv4Addr) -> bool,
    ) -> Search {
        let (pool, start) = match self.pool_of(start) {
            Some(pool) => (pool, u32::from(start)),
            None => (0, u32::from(self.first())),
        };
        let mut asked = 0;
        // The first pool comes twice: from `start` on, and in the end up to it.
        for lap in 0..=self.pools.len() {
            let range = self.pools[(pool + lap) % self.pools.len()];
            let from = if lap == 0 { start } else { range.first().into() };
            let last = if lap == self.pools.len() {
                let Some(last) = start.checked_sub(1) else { continue };
                last
            } else {
                range.last().into()
            };
            let mut at = Some(from).filter(|from| *from <= last);
            while let Some(from) = at {
                let free = match next {
                    Next::Unblocked => self.view.next_unblocked(from.into()),
                    Next::Unknown => self.view.next_unknown(from.into()),
                };
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
