//! The allocators themselves.

use std::cell::Cell;
use std::net::Ipv4Addr;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::ring::{Next, Ring, Search};
use super::{Ask, Cursor};

/// Free addresses a search looks at for one of its own share. With n nodes a free address is one's
/// own with probability 1/n: so many in vain mean that the share is as good as empty.
pub(super) const SHARE_LIMIT: u32 = 2_048;
/// Free addresses a search looks at in the whole pool: held, noted, or reserved for others each.
pub(super) const POOL_LIMIT: u32 = 16_384;
/// Leases past their end that a pick looks at when nothing else is left.
pub(super) const OVER_LIMIT: usize = 1_024;
/// Addresses drawn before a search begins where the last draw fell. Each of them is one's own and
/// nobody's with some probability, in all but the worst case a large one.
pub(super) const DRAWS: u32 = 32;
/// Addresses in the order of the ends of their leases that are looked at.
pub(super) const FREED_LIMIT: usize = 2_048;
/// From so many of the oldest in the whole pool a node without a share takes one, so that two such
/// nodes rarely take the same.
const OLDEST: usize = 16;

/// One choice under way. `suits` says whether an address that is free may go to the client.
pub(super) struct Pick<'a, F> {
    pub(super) ask: &'a Ask<'a>,
    pub(super) ring: Ring<'a>,
    pub(super) suits: F,
    pub(super) cursor: &'a mut Cursor,
    /// How many addresses were looked at.
    pub(super) looked: Cell<u32>,
}

impl<F: Fn(Ipv4Addr) -> bool> Pick<'_, F> {
    /// Kea's `iterative`.
    pub(super) fn iterative(&mut self) -> Option<Ipv4Addr> {
        self.own(|pick| pick.onward(Next::Unblocked))
            .or_else(|| self.anywhere(self.hashed(), Next::Unblocked))
    }

    /// Kea's `random`.
    pub(super) fn random(&mut self) -> Option<Ipv4Addr> {
        let free = self.ring.unblocked();
        if free == 0 {
            return None;
        }
        let draw = |pick: &Self, n: u32| {
            let place = xxh3_64_with_seed(&n.to_le_bytes(), pick.ask.seed) % free;
            pick.ring.nth_unblocked(place)
        };
        // Nearly all that is free is others': take what comes behind some place of it.
        let start = |pick: &Self| draw(pick, DRAWS).unwrap_or_else(|| pick.ring.first());
        let own = |pick: &mut Self| {
            let mut drawn = (0..DRAWS).filter_map(|n| draw(pick, n));
            drawn.find(|address| pick.is_mine(*address)).or_else(|| pick.mine_from(start(pick)))
        };
        self.own(own).or_else(|| self.anywhere(start(self), Next::Unblocked))
    }

    /// Kea's `flq`.
    pub(super) fn flq(&mut self) -> Option<Ipv4Addr> {
        let freed = |pick: &Self| pick.freed(|address| pick.ask.share.is_mine(address)).next();
        self.own(|pick| pick.onward(Next::Unknown).or_else(|| freed(pick)))
            .or_else(|| self.anywhere(self.hashed(), Next::Unknown))
            .or_else(|| {
                let oldest: Vec<Ipv4Addr> = self.freed(|_| true).take(OLDEST).collect();
                let at = self.client_hash() % (oldest.len() as u64).max(1);
                oldest.get(at as usize).copied()
            })
            // What was leased under the id of another subnet, or lies beyond the limits.
            .or_else(|| self.whole(self.hashed(), Next::Unblocked))
    }

    /// What `search` finds in this node's share, unless it found nothing a moment ago: to go through
    /// all that is others' for every client of a node whose share is empty would cost much and find
    /// what has become free since, which is little, and which R18 finds as well.
    fn own(&mut self, search: impl FnOnce(&mut Self) -> Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let now = self.ask.now;
        let is_part = !self.ask.share.is_whole();
        if is_part && self.cursor.is_spent(now) {
            return None;
        }
        let found = search(self);
        self.cursor.spent = (is_part && found.is_none()).then_some(now);
        found
    }

    /// A lease whose end and grace are over frees its address before the sweep comes by (R6).
    pub(super) fn over(&self) -> Option<Ipv4Addr> {
        let (view, now) = (self.ask.view, self.ask.now);
        view.due(now)
            .take(OVER_LIMIT)
            .map(|lease| lease.address)
            .find(|a| self.ring.contains(*a) && view.is_free(*a, now) && self.fits(*a))
    }

    /// The next of this node's share behind the last pick.
    fn onward(&mut self, next: Next) -> Option<Ipv4Addr> {
        let limit = if self.ask.share.is_whole() { POOL_LIMIT } else { SHARE_LIMIT };
        match self.ring.search(self.cursor.at, limit, next, |address| self.is_mine(address)) {
            Search::Found(address) => {
                self.cursor.at = self.ring.behind(address);
                Some(address)
            }
            Search::Stopped(at) => {
                self.cursor.at = at;
                None
            }
            Search::Nothing => None,
        }
    }

    /// The next of this node's share behind `start`.
    fn mine_from(&self, start: Ipv4Addr) -> Option<Ipv4Addr> {
        let limit = if self.ask.share.is_whole() { POOL_LIMIT } else { SHARE_LIMIT };
        let wanted = |address| self.is_mine(address);
        found(self.ring.search(start, limit, Next::Unblocked, wanted))
    }

    /// R18: from the whole pool, if the share is not all of it.
    fn anywhere(&self, start: Ipv4Addr, next: Next) -> Option<Ipv4Addr> {
        if self.ask.share.is_whole() { None } else { self.whole(start, next) }
    }

    fn whole(&self, start: Ipv4Addr, next: Next) -> Option<Ipv4Addr> {
        found(self.ring.search(start, POOL_LIMIT, next, |address| self.fits(address)))
    }

    /// What was leased here, the longest free first.
    fn freed(&self, wanted: impl Fn(Ipv4Addr) -> bool) -> impl Iterator<Item = Ipv4Addr> {
        self.ask.view.freed(self.ask.subnet.id).take(FREED_LIMIT).filter(move |address| {
            self.ring.contains(*address) && wanted(*address) && self.fits(*address)
        })
    }

    fn fits(&self, address: Ipv4Addr) -> bool {
        self.looked.set(self.looked.get() + 1);
        (self.suits)(address)
    }

    fn is_mine(&self, address: Ipv4Addr) -> bool {
        self.looked.set(self.looked.get() + 1);
        self.ask.share.is_mine(address) && (self.suits)(address)
    }

    fn client_hash(&self) -> u64 {
        xxh3_64(self.ask.client.key().bytes())
    }

    /// R18: a place that depends on the client, so that nodes which search the same pool at the
    /// same time rarely meet.
    fn hashed(&self) -> Ipv4Addr {
        self.ring.hashed(self.client_hash())
    }
}

fn found(search: Search) -> Option<Ipv4Addr> {
    match search {
        Search::Found(address) => Some(address),
        Search::Stopped(_) | Search::Nothing => None,
    }
}
