//! Reservations as the commands of Kea's `host_cmds` show them and look for them.

use std::net::Ipv4Addr;

use super::hosts::{Reservation, Reservations};
use super::model::{Config, IdentifierKind, Subnet};
use super::{print, read_back, reservations};
use crate::types::SubnetId;

/// A reservation and whose it is.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// The subnet; 0 for a global one.
    pub subnet: SubnetId,
    /// The reservation.
    pub reservation: &'a Reservation,
    text: &'a str,
}

impl Host<'_> {
    /// Appends Kea's `Host`: the entry as `config-get` shows it, and its `subnet-id`.
    pub fn print(&self, config: &Config, out: &mut String) {
        let element = read_back(self.text);
        let Some(map) = element.map() else { return };
        let mut text = Vec::new();
        let sink = &mut |piece: &[u8]| text.extend_from_slice(piece);
        print::reservation(map, self.subnet, &config.definitions, sink);
        out.push_str(&String::from_utf8_lossy(&text));
    }
}

/// Where a page of [`Config::hosts_after`] ended: it stays good whatever changes meanwhile, on
/// every node.
///
/// A subnet id and 31 bits that follow from an identifier, never 0; fits a signed 64-bit number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostCursor(pub u64);

impl HostCursor {
    const BITS: u32 = 31;

    fn new(subnet: SubnetId, hash: u64) -> HostCursor {
        HostCursor(u64::from(subnet.0) << HostCursor::BITS | HostCursor::key(hash))
    }

    /// Ascends with the hash. 0 is the beginning, so no reservation has it.
    fn key(hash: u64) -> u64 {
        (hash >> (u64::BITS - HostCursor::BITS)).max(1)
    }

    fn subnet(self) -> u64 {
        self.0 >> HostCursor::BITS
    }

    /// The lowest hash behind it in its subnet; `None` if there is none.
    fn next_hash(self) -> Option<u64> {
        let key = self.0 & ((1 << HostCursor::BITS) - 1);
        match key + 1 {
            // The lowest hashes share the key 1.
            1 => Some(0),
            next if next >> HostCursor::BITS != 0 => None,
            next => Some(next << (u64::BITS - HostCursor::BITS)),
        }
    }
}

impl Config {
    /// The reservations of a subnet, or with 0 the global ones; `None` if there is no such subnet.
    pub fn reservations_of(&self, subnet: SubnetId) -> Option<&Reservations> {
        match subnet {
            SubnetId(0) => Some(&self.reservations),
            _ => self.subnet(subnet).map(|subnet| &subnet.reservations),
        }
    }

    /// The subnets, ascending by id.
    pub(super) fn in_id_order(&self) -> impl Iterator<Item = &Subnet> {
        self.lookup.in_order.iter().map(|at| &self.subnets[at.0])
    }

    /// The scopes of reservations: the global one as 0, then the subnets by id from `from` on.
    fn scopes(&self, from: u64) -> impl Iterator<Item = (SubnetId, &Reservations)> {
        let in_order = &self.lookup.in_order;
        let before = in_order.partition_point(|at| u64::from(self.subnets[at.0].id.0) < from);
        let subnets = in_order[before..].iter().map(|at| &self.subnets[at.0]);
        let subnets = subnets.map(|subnet| (subnet.id, &subnet.reservations));
        let global = (from == 0).then_some((SubnetId(0), &self.reservations));
        global.into_iter().chain(subnets).filter(|(_, all)| !all.is_empty())
    }

    fn host<'a>(&'a self, subnet: SubnetId, all: &'a Reservations, place: u64) -> Option<Host<'a>> {
        Some(Host { subnet, reservation: all.get(place)?, text: all.text(place, &self.base) })
    }

    /// All reservations of a subnet, or with 0 the global ones, in the order of the document; none if
    /// there is no such subnet.
    pub fn hosts(&self, subnet: SubnetId) -> impl Iterator<Item = Host<'_>> {
        let all = self.reservations_of(subnet);
        all.into_iter().flat_map(move |all| {
            all.walk().filter_map(move |(place, _)| self.host(subnet, all, place))
        })
    }

    /// Every reservation of every scope that the rule picks. Looks at all of them.
    pub fn hosts_where(
        &self,
        pick: impl Fn(&Reservation) -> bool + Copy,
    ) -> impl Iterator<Item = Host<'_>> {
        self.scopes(0).flat_map(move |(subnet, all)| {
            let picked = all.walk().filter(move |(_, host)| pick(host));
            picked.filter_map(move |(place, _)| self.host(subnet, all, place))
        })
    }

    /// The reservation with this identifier in one scope.
    pub fn host_by_identifier(
        &self,
        subnet: SubnetId,
        kind: IdentifierKind,
        identifier: &[u8],
    ) -> Option<Host<'_>> {
        let all = self.reservations_of(subnet)?;
        self.host(subnet, all, all.place_of(kind, identifier)?)
    }

    /// The reservations with this identifier in all scopes. Costs a look-up for each subnet.
    pub fn hosts_by_identifier(
        &self,
        kind: IdentifierKind,
        identifier: &[u8],
    ) -> impl Iterator<Item = Host<'_>> {
        self.scopes(0).filter_map(move |(subnet, all)| {
            self.host(subnet, all, all.place_of(kind, identifier)?)
        })
    }

    /// The reservations that name this address in one scope.
    pub fn hosts_of_address(
        &self,
        subnet: SubnetId,
        address: Ipv4Addr,
    ) -> impl Iterator<Item = Host<'_>> {
        let all = self.reservations_of(subnet);
        all.into_iter().flat_map(move |all| {
            all.places_of(address).filter_map(move |place| self.host(subnet, all, place))
        })
    }

    /// The same in all scopes. Costs a look-up for each subnet.
    pub fn all_hosts_of_address(&self, address: Ipv4Addr) -> impl Iterator<Item = Host<'_>> {
        self.scopes(0).flat_map(move |(subnet, _)| self.hosts_of_address(subnet, address))
    }

    /// At most `limit` reservations behind `from`, of one scope or of all, and where the next page
    /// begins; `limit` is above 0.
    ///
    /// The order is by subnet and then by a hash of the identifier: whoever reads page by page sees every
    /// reservation once that is there all the time, whatever is changed, on whichever node. A page
    /// ends between two different cursors, so in the rare case that several reservations share one it may be
    /// a little shorter or, if it would be empty, longer.
    pub fn hosts_after(
        &self,
        subnet: Option<SubnetId>,
        from: HostCursor,
        limit: usize,
    ) -> (Vec<Host<'_>>, HostCursor) {
        let wanted = move |(id, _): &(SubnetId, &Reservations)| subnet.is_none_or(|own| own == *id);
        // One scope is looked up; the walk over all begins where the last page ended.
        let one = subnet.and_then(|id| Some((id, self.reservations_of(id)?)));
        let all = subnet.is_none().then(|| self.scopes(from.subnet())).into_iter().flatten();
        let scopes = one.into_iter().chain(all).filter(wanted);
        let mut hosts = scopes.flat_map(move |(id, all)| {
            let least = match u64::from(id.0).cmp(&from.subnet()) {
                std::cmp::Ordering::Less => None,
                std::cmp::Ordering::Equal => from.next_hash(),
                std::cmp::Ordering::Greater => Some(0),
            };
            let places = least.into_iter().flat_map(|least| all.by_hash(least));
            places.filter_map(move |(hash, place)| {
                Some((HostCursor::new(id, hash), self.host(id, all, place)?))
            })
        });
        let mut page: Vec<(HostCursor, Host<'_>)> = hosts.by_ref().take(limit).collect();
        let Some(last) = page.last().map(|(cursor, _)| *cursor) else { return (Vec::new(), from) };
        let mut rest = hosts.take_while(|(cursor, _)| *cursor == last).peekable();
        if rest.peek().is_some() {
            let whole = page.partition_point(|(cursor, _)| *cursor < last);
            match whole {
                0 => page.extend(rest),
                _ => page.truncate(whole),
            }
        }
        let last = page.last().map_or(from, |(cursor, _)| *cursor);
        (page.into_iter().map(|(_, host)| host).collect(), last)
    }
}

impl IdentifierKind {
    /// The kind of that keyword.
    pub fn named(keyword: &str) -> Option<IdentifierKind> {
        reservations::identifiers().find(|(own, _)| *own == keyword).map(|(_, kind)| kind)
    }
}
