//! What a lease costs in memory: `cargo bench -p leasehold --bench memory`.
//!
//! For a machine with 1 000 000 leases of clients with a client id and a name: bytes and allocations that are
//! alive, divided by the leases, and by how much the process has grown, which has what the allocator adds.

#[expect(dead_code, reason = "the other benchmarks use the rest")]
mod support;

use std::alloc::System;

use leasehold::state::snapshot;
use stats_alloc::{Region, Stats, StatsAlloc};

use support::{MANY, populated, site};

#[global_allocator]
static ALLOC: &StatsAlloc<System> = &stats_alloc::INSTRUMENTED_SYSTEM;

/// Resident memory of this process, bytes.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

fn print(what: &str, stats: Stats, grown: usize, leases: u32) {
    let leases = f64::from(leases);
    // What a reallocation adds or gives back is in both of these.
    let bytes = stats.bytes_allocated as f64 - stats.bytes_deallocated as f64;
    let pieces = stats.allocations as f64 - stats.deallocations as f64;
    println!(
        "{what:<34} {:7.1} bytes  {:5.2} allocations  {:7.1} bytes resident  a lease",
        bytes / leases,
        pieces / leases,
        grown as f64 / leases
    );
}

fn main() {
    // `cargo test --benches` builds and starts this without `--bench`: nothing to be seen then.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let before = resident();
    let region = Region::new(ALLOC);
    let state = populated(&site(""), MANY);
    print("as they were granted", region.change(), resident().saturating_sub(before), MANY);

    let mut bytes = Vec::new();
    snapshot::write(&state.freeze(), &[], &mut bytes).expect("memory takes it");
    println!("{:<34} {:7.1} bytes  a lease", "in a snapshot", bytes.len() as f64 / f64::from(MANY));
    drop(state);
    let before = resident();
    let region = Region::new(ALLOC);
    let (state, _) = snapshot::read(&mut bytes.as_slice()).expect("it was just written");
    print("as a start reads them", region.change(), resident().saturating_sub(before), MANY);
    drop(state);
}
