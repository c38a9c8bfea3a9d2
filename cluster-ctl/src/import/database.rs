//! The last word of a lease database on each address, and of several databases together.
//!
//! Within one database the later row wins. Between databases, such as those of the two servers of a pair, the
//! row of the later transaction wins; where both are of the same, the one that keeps the address from
//! others for longer.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::lease::Lease;
use super::memfile::Row;

/// What is known of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A lease, and what of it could not be kept.
    Lease(Box<Lease>, Option<Box<str>>),
    /// The lease of then is gone.
    Gone(i64),
}

impl Entry {
    fn cltt(&self) -> i64 {
        match self {
            Entry::Lease(lease, _) => lease.cltt,
            Entry::Gone(cltt) => *cltt,
        }
    }

    fn held_until(&self) -> i64 {
        match self {
            Entry::Lease(lease, _) if lease.holds() => lease.ends(),
            _ => i64::MIN,
        }
    }
}

/// The leases of one database, or of several.
#[derive(Debug, Default)]
pub struct Database {
    entries: BTreeMap<Ipv4Addr, Entry>,
}

impl Database {
    /// What a row says replaces what was said before.
    pub fn row(&mut self, row: Row) {
        let (address, entry) = match row {
            Row::Lease(lease, note) => (lease.address, Entry::Lease(lease, note.map(Into::into))),
            Row::Gone(address, cltt) => (address, Entry::Gone(cltt)),
        };
        self.entries.insert(address, entry);
    }

    /// Takes in another database.
    pub fn join(&mut self, other: Database) {
        for (address, new) in other.entries {
            match self.entries.get(&address) {
                Some(old) if (old.cltt(), old.held_until()) >= (new.cltt(), new.held_until()) => {}
                _ => {
                    self.entries.insert(address, new);
                }
            }
        }
    }

    /// Addresses that have a lease.
    pub fn len(&self) -> usize {
        self.entries.values().filter(|entry| matches!(entry, Entry::Lease(..))).count()
    }

    /// The leases, ascending by address, each with what of it could not be kept.
    pub fn into_leases(self) -> impl Iterator<Item = (Lease, Option<Box<str>>)> {
        self.entries.into_values().filter_map(|entry| match entry {
            Entry::Lease(lease, note) => Some((*lease, note)),
            Entry::Gone(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::lease::State;
    use super::super::lease::testing::lease;
    use super::*;

    fn of(rows: &[Row]) -> Database {
        let mut database = Database::default();
        rows.iter().for_each(|row| database.row(row.clone()));
        database
    }

    fn at(cltt: i64, hw: u8) -> Row {
        Row::Lease(Box::new(Lease { cltt, ..lease("192.0.2.1", hw) }), None)
    }

    fn holder(database: Database) -> Option<u8> {
        database.into_leases().next().map(|(lease, _)| lease.hw.bytes()[5])
    }

    #[test]
    fn the_last_row_of_a_database_wins_whatever_its_times() {
        let gone = Row::Gone("192.0.2.1".parse().unwrap(), 500);
        assert_eq!(holder(of(&[at(900, 1), at(500, 2)])), Some(2));
        assert_eq!(holder(of(&[at(500, 1), gone.clone()])), None);
        assert_eq!(holder(of(&[gone, at(500, 3)])), Some(3));
    }

    #[test]
    fn of_two_databases_the_later_transaction_wins_and_in_doubt_the_address_is_held() {
        let joined = |a: &[Row], b: &[Row]| {
            let (mut one, mut two) = (of(a), of(b));
            one.join(of(b));
            two.join(of(a));
            let (one, two) = (holder(one), holder(two));
            assert_eq!(one, two, "the order of the files makes no difference");
            one
        };
        let gone = |cltt: i64| Row::Gone("192.0.2.1".parse().unwrap(), cltt);
        assert_eq!(joined(&[at(500, 1)], &[at(501, 2)]), Some(2));
        assert_eq!(joined(&[at(500, 1)], &[gone(501)]), None);
        assert_eq!(joined(&[at(500, 1)], &[gone(500)]), Some(1));
        let over = Lease { state: State::Reclaimed, cltt: 500, ..lease("192.0.2.1", 4) };
        assert_eq!(joined(&[at(500, 1)], &[Row::Lease(Box::new(over), None)]), Some(1));
    }
}
