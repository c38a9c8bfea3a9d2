//! What single steps cost: `cargo bench -p leasehold --bench micro [-- FILTER]`. Each row has the time and
//! what was allocated for one call. Ratios within one run mean something; times on two machines do not.

#[path = "../support/mod.rs"]
mod support;

mod allocator;
mod apply;
mod batch;
mod classes;
mod engine;
mod packet;
mod queue;
mod snapshot;

#[global_allocator]
static ALLOC: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}
