//! Where new clients come from, circuit by circuit (A1): counters for operators, who see a flood nowhere else, and
//! the limit on new clients. Pure: time is an argument.
//!
//! A circuit is what [`crate::dhcp::v4::Reading::circuit`] says: sub-options 1 and 2 of option 82, else the relay, else
//! the interface. Relays name circuits, and somebody may pretend to be one, so the table is bounded: when it is full,
//! the quarter that has counted least is forgotten at once, so that a flood of names costs little. What they counted is
//! kept in one sum, and the totals stay right. A circuit that comes again begins with nothing counted and nothing used
//! up: the limit is for those who stay what they are.

use std::collections::HashMap;
use std::ops::AddAssign;
use std::time::Duration;

use crate::config::NewClients;
use crate::dhcp::v4::Place;

/// The most circuits. With both ids as long as they can be that is half a megabyte.
pub const CIRCUITS: usize = 1_024;
/// So many are forgotten when there are too many.
const FORGOTTEN: usize = CIRCUITS / 4;

/// What is counted of a circuit, on this node, since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// DISCOVERs that were this node's to answer.
    pub discovers: u64,
    /// Clients that got a lease and had none before in the network.
    pub first_leases: u64,
    /// DISCOVERs without an answer because too many addresses were held for the circuit.
    pub hold_limit: u64,
    /// DISCOVERs and REQUESTs without an answer because too many new clients came.
    pub new_client_limit: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Counts) {
        self.discovers += more.discovers;
        self.first_leases += more.first_leases;
        self.hold_limit += more.hold_limit;
        self.new_client_limit += more.new_client_limit;
    }
}

/// A packet that may count, before it is known whether it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Visit {
    /// It is a DISCOVER.
    pub discover: bool,
    /// It gets no answer, because too many addresses are held for the circuit.
    pub hold_limit: bool,
    /// It would give an address to a client that nobody knows, and so many of those are let in.
    pub newcomer: Option<NewClients>,
}

/// A circuit with what it has counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circuit {
    /// Which.
    pub place: Place,
    /// What.
    pub counts: Counts,
}

/// What there is to show.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// The circuits, the one with the most DISCOVERs first.
    pub circuits: Vec<Circuit>,
    /// Those that have been forgotten, together.
    pub others: Counts,
    /// How often one was forgotten.
    pub forgotten: u64,
}

/// The table.
#[derive(Debug, Default)]
pub struct Circuits {
    rows: HashMap<u64, Row>,
    others: Counts,
    forgotten: u64,
}

#[derive(Debug)]
struct Row {
    circuit: Circuit,
    bucket: Bucket,
    seen: Duration,
}

impl Circuits {
    /// A packet came by the circuit with this number. Returns whether it may be answered.
    pub fn visit(
        &mut self,
        number: u64,
        visit: Visit,
        now: Duration,
        place: impl FnOnce() -> Place,
    ) -> bool {
        let row = self.row(number, now, place);
        let admitted = visit.newcomer.is_none_or(|limit| row.bucket.take(limit, now));
        let counts = &mut row.circuit.counts;
        counts.discovers += u64::from(visit.discover);
        counts.hold_limit += u64::from(visit.hold_limit);
        counts.new_client_limit += u64::from(!admitted);
        admitted
    }

    /// A client of the circuit has its first lease.
    pub fn leased(&mut self, number: u64, now: Duration, place: impl FnOnce() -> Place) {
        self.row(number, now, place).circuit.counts.first_leases += 1;
    }

    /// How many circuits there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All of it.
    pub fn listing(&self) -> Listing {
        let mut circuits: Vec<Circuit> =
            self.rows.values().map(|row| row.circuit.clone()).collect();
        circuits.sort_by(|a, b| {
            let busy = |circuit: &Circuit| (circuit.counts.discovers, circuit.counts.first_leases);
            busy(b).cmp(&busy(a)).then_with(|| a.place.cmp(&b.place))
        });
        Listing { circuits, others: self.others, forgotten: self.forgotten }
    }

    fn row(&mut self, number: u64, now: Duration, place: impl FnOnce() -> Place) -> &mut Row {
        if self.rows.len() >= CIRCUITS && !self.rows.contains_key(&number) {
            self.forget();
        }
        let row = self.rows.entry(number).or_insert_with(|| Row {
            circuit: Circuit { place: place(), counts: Counts::default() },
            bucket: Bucket::default(),
            seen: now,
        });
        row.seen = now;
        row
    }

    /// Makes room, for many at once: a look at all of them is dear.
    fn forget(&mut self) {
        let busy = |(number, row): (&u64, &Row)| {
            let counts = row.circuit.counts;
            (counts.discovers + counts.first_leases, row.seen, *number)
        };
        let mut all: Vec<_> = self.rows.iter().map(busy).collect();
        all.sort_unstable();
        for (_, _, number) in all.into_iter().take(FORGOTTEN) {
            if let Some(row) = self.rows.remove(&number) {
                self.others += row.circuit.counts;
                self.forgotten += 1;
            }
        }
    }
}

/// A token bucket, as the moment at which it will be full again. It keeps no number, so another limit holds from the
/// next packet on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Bucket {
    full_at: Duration,
}

impl Bucket {
    /// Takes a token, if there is one.
    fn take(&mut self, limit: NewClients, now: Duration) -> bool {
        let each = Duration::from_secs(1) / limit.rate.max(1);
        let missing = self.full_at.saturating_sub(now);
        let has_one = missing + each <= each * limit.burst.max(1);
        if has_one {
            self.full_at = now + missing + each;
        }
        has_one
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DISCOVER: Visit = Visit { discover: true, hold_limit: false, newcomer: None };

    fn relay(n: u64) -> Place {
        Place::Relay((n as u32).into())
    }

    fn newcomer(rate: u32, burst: u32) -> Visit {
        Visit { newcomer: Some(NewClients { rate, burst }), ..DISCOVER }
    }

    fn s(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a1_each_circuit_lets_in_its_burst_and_then_its_rate() {
        let mut circuits = Circuits::default();
        let mut visit = |n, at| circuits.visit(n, newcomer(100, 500), at, || relay(n));
        assert_eq!((0..600).filter(|_| visit(1, s(10))).count(), 500);
        assert!(visit(2, s(10)), "another circuit has its own");
        assert_eq!((0..600).filter(|_| visit(1, s(11))).count(), 100);
        assert_eq!((0..600).filter(|_| visit(1, s(11))).count(), 0);
        assert_eq!((0..600).filter(|_| visit(1, s(60))).count(), 500, "no more than the burst");
        let counts = circuits.listing().circuits[0].counts;
        assert_eq!((counts.discovers, counts.new_client_limit), (2_400, 1_300));
    }

    #[test]
    fn a1_without_a_limit_everybody_is_let_in_and_counted() {
        let mut circuits = Circuits::default();
        assert!((0..1_000).all(|_| circuits.visit(1, DISCOVER, s(0), || relay(1))));
        let held = Visit { hold_limit: true, ..DISCOVER };
        assert!(circuits.visit(1, held, s(0), || relay(1)));
        circuits.leased(1, s(0), || relay(1));
        let counts =
            Counts { discovers: 1_001, first_leases: 1, hold_limit: 1, new_client_limit: 0 };
        let circuit = Circuit { place: relay(1), counts };
        assert_eq!(circuits.listing(), Listing { circuits: vec![circuit], ..Listing::default() });
    }

    #[test]
    fn a1_a_flood_of_names_makes_nobody_forget_the_busy_and_loses_no_count() {
        let mut circuits = Circuits::default();
        for _ in 0..3 {
            for n in 0..10 {
                circuits.visit(n, DISCOVER, s(1), || relay(n));
            }
        }
        for n in 10..100_000 {
            circuits.visit(n, DISCOVER, s(2), || relay(n));
            assert!(circuits.len() <= CIRCUITS);
        }
        let listing = circuits.listing();
        let first: Vec<Place> =
            listing.circuits.iter().take(10).map(|circuit| circuit.place.clone()).collect();
        assert_eq!(first, (0..10).map(relay).collect::<Vec<_>>());
        assert_eq!(listing.forgotten + listing.circuits.len() as u64, 100_000);
        let sum = listing.circuits.iter().map(|circuit| circuit.counts.discovers).sum::<u64>();
        assert_eq!(sum + listing.others.discovers, 99_990 + 30);
    }

    #[test]
    fn a1_a_circuit_that_was_forgotten_begins_with_a_full_bucket() {
        let mut circuits = Circuits::default();
        assert!(circuits.visit(0, newcomer(1, 1), s(1), || relay(0)));
        assert!(!circuits.visit(0, newcomer(1, 1), s(1), || relay(0)));
        for n in 1..=CIRCUITS as u64 * 2 {
            assert!((0..3).all(|_| circuits.visit(n, DISCOVER, s(1), || relay(n))));
        }
        assert!(circuits.visit(0, newcomer(1, 1), s(1), || relay(0)));
    }

    proptest! {
        #[test]
        fn a1_no_second_lets_in_more_than_rate_and_burst(
            rate in 1u32..2_000, burst in 1u32..2_000,
            gaps in prop::collection::vec(0u64..5_000_000, 1..400),
        ) {
            let limit = NewClients { rate, burst };
            let (mut bucket, mut now, mut taken) = (Bucket::default(), s(5), Vec::new());
            for gap in gaps {
                now += Duration::from_nanos(gap);
                if bucket.take(limit, now) {
                    taken.push(now);
                }
            }
            prop_assert_eq!(taken.first().copied().is_some(), true, "it begins full");
            for (at, from) in taken.iter().enumerate() {
                for (n, until) in taken[at..].iter().enumerate() {
                    let most = (*until - *from).as_secs_f64() * f64::from(rate) + f64::from(burst);
                    prop_assert!(n as f64 <= most + 1e-3, "{} from {:?} to {:?}", n + 1, from, until);
                }
            }
        }
    }
}
