//! A million leases as a whole: frozen, compared, written, read.

use divan::{Bencher, black_box};
use leasehold::state::{Batch, Command};
use leasehold::state::{State, Why, encode_lease, snapshot};
use leasehold::types::ClusterTime;

use crate::support::{MANY, grant, nth_address, populated, scattered, shared, site};

fn million<T>(with: impl FnOnce(&mut State) -> T) -> T {
    shared(&format!("site of {MANY}"), || populated(&site(""), MANY), with)
}

#[divan::bench]
fn freeze(bencher: Bencher<'_, '_>) {
    million(|state| bencher.bench_local(|| state.freeze()));
}

/// What a checkpoint writes after so many renewals: the chunks of 16 addresses in which something changed.
#[divan::bench(args = [1_000, 30_000], sample_count = 10, sample_size = 1)]
fn checkpoint_after(bencher: Bencher<'_, '_>, renewals: u32) {
    let (older, newer) = million(|state| {
        let older = state.freeze();
        let mut newer = state.clone();
        let stamp = ClusterTime::from_millis(1_000);
        for n in 0..renewals {
            let n = (scattered(n.into()) % u64::from(MANY)) as u32;
            let commands = vec![Command::Grant(grant(n, nth_address(n), Why::Renewing, stamp))];
            newer.apply(newer.applied() + 1, &Batch { stamp, commands });
        }
        (older, newer.freeze())
    });
    bencher.bench_local(|| {
        let (mut record, mut done) = (Vec::new(), None);
        for address in newer.changed_since(&older) {
            let first = u32::from(address) & !15;
            if done.replace(first) != Some(first) {
                record.clear();
                for lease in newer.leases_in(first.into(), (first + 15).into()) {
                    encode_lease(lease, &mut record);
                }
                black_box(&record);
            }
        }
    });
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn write(bencher: Bencher<'_, '_>) {
    million(|state| {
        let frozen = state.freeze();
        bencher.bench_local(|| snapshot::write(&frozen, &[], &mut std::io::sink()));
    });
}

/// What a start does with it.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn read(bencher: Bencher<'_, '_>) {
    let mut bytes = Vec::new();
    million(|state| snapshot::write(&state.freeze(), &[], &mut bytes)).expect("memory takes it");
    bencher.bench_local(|| snapshot::read(&mut bytes.as_slice()).map(|(state, _)| state));
}
