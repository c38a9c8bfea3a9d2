//! What an entry does to the machine, with few and with many leases in it. The room for more of each row is
//! bounded, so that the machine keeps its size.

use std::cell::{Cell, RefCell};

use divan::Bencher;
use leasehold::state::{Batch, Command, Outcome, Prepared, State, Why};
use leasehold::types::ClusterTime;

use crate::support::{FEW, MANY, grant, nth_address, populated, scattered, shared, site};

fn populated_site(leases: u32, with: impl FnOnce(&mut State)) {
    shared(&format!("changed site of {leases}"), || populated(&site(""), leases), with);
}

/// Applies entries of one command, telling what happened as a node that keeps the history does.
fn apply_each(
    bencher: Bencher<'_, '_>,
    state: &mut State,
    of: impl Fn(u32, ClusterTime) -> Command,
) {
    let state = RefCell::new(state);
    let next = Cell::new(0u32);
    bencher
        .with_inputs(|| {
            let stamp = ClusterTime::from_millis(state.borrow().now().as_millis() + 1);
            next.set(next.get() + 1);
            (Batch { stamp, commands: vec![of(next.get(), stamp)] }, Vec::with_capacity(4))
        })
        .bench_local_values(|(batch, mut events)| {
            let mut state = state.borrow_mut();
            let index = state.applied() + 1;
            let outcomes = state.apply_telling(index, &batch, Prepared::default(), &mut events);
            assert!(matches!(outcomes[0], Outcome::Granted(_)), "{outcomes:?}");
            (outcomes, events, batch)
        });
}

#[divan::bench(args = [FEW, MANY], sample_count = 100, sample_size = 100)]
fn new_lease(bencher: Bencher<'_, '_>, leases: u32) {
    populated_site(leases, |state| {
        let behind = state.view().lease_count() as u32;
        apply_each(bencher, state, |n, now| {
            Command::Grant(grant(behind + n, nth_address(behind + n), Why::Selecting, now))
        });
    });
}

#[divan::bench(args = [FEW, MANY], sample_count = 100, sample_size = 100)]
fn renewal(bencher: Bencher<'_, '_>, leases: u32) {
    populated_site(leases, |state| {
        apply_each(bencher, state, |n, now| {
            let n = (scattered(n.into()) % u64::from(leases)) as u32;
            Command::Grant(grant(n, nth_address(n), Why::Renewing, now))
        });
    });
}
