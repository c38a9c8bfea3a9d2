//! Choosing an address in a /12, by each allocator, in pools from empty to 99.9 % full.
//!
//! Two nodes' shares stand beside each other: the whole pool, and one third of it (C8). What the goal
//! compares is `full` with `empty`, and `full_third` with `empty_third`.

use std::cell::Cell;
use std::net::Ipv4Addr;

use divan::Bencher;
use leasehold::alloc::{Ask, Choice, Cursors, Holds, Share, choose};
use leasehold::state::{Batch, Client, Command, GiveUp, Outcome, SetConfig, State};
use leasehold::types::{ClusterTime, NodeId, SubnetId};

use crate::support::{ME, bind, client, machine, scattered, shared};

const ALLOCATORS: [&str; 3] = ["iterative", "random", "flq"];
const FIRST: u32 = 0x0a10_0000;
const SIZE: u32 = 1 << 20;
/// Of so many addresses one is free.
const FREE: u64 = 1_000;

fn nth(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST + n)
}

/// One subnet with the pool, or a shared network in which it is split over many.
fn config(allocator: &str, subnets: u32) -> String {
    let size = SIZE / subnets;
    let subnet = |n: u32| {
        let (first, last) = (nth(n * size), nth(n * size + size - 1));
        let (id, length) = (n + 1, 12 + subnets.ilog2());
        format!(
            r#"{{"id":{id},"subnet":"{first}/{length}","pools":[{{"pool":"{first}-{last}"}}]}}"#
        )
    };
    let list: Vec<String> = (0..subnets).map(subnet).collect();
    format!(
        r#"{{"Dhcp4":{{"allocator":"{allocator}",
            "shared-networks":[{{"name":"site","subnet4":[{}]}}]}}}}"#,
        list.join(",")
    )
}

fn filled(subnets: u32, taken: impl Fn(u32) -> bool) -> State {
    let mut state = machine(&config("iterative", subnets), 1);
    let size = SIZE / subnets;
    for subnet in 0..subnets {
        let all = (subnet * size..(subnet + 1) * size).filter(|n| taken(*n));
        bind(&mut state, SubnetId(subnet + 1), all.map(|n| (n, nth(n))));
    }
    state
}

fn is_free(n: u32) -> bool {
    scattered(n.into()).is_multiple_of(FREE)
}

fn third() -> Share {
    Share::among(ME, (1..=3).map(NodeId).collect())
}

/// Picks one address after the other; none of them is leased, and `held` ones are not offered.
fn pick_each(
    bencher: Bencher<'_, '_>,
    state: &mut State,
    allocator: &str,
    share: &Share,
    held: impl Fn(u32) -> bool,
) {
    let subnets = state.view().config().expect("there is one").subnets.len() as u32;
    let set = Command::SetConfig(SetConfig::json(config(allocator, subnets)));
    let batch = Batch { stamp: state.now(), commands: vec![set] };
    let outcome = state.apply(state.applied() + 1, &batch).remove(0);
    assert!(matches!(outcome, Outcome::ConfigSet(_)), "{outcome:?}");
    let (view, now) = (state.view(), state.now());
    let config = view.config().expect("there is one").clone();
    let clients: Vec<Client> = (0..1_024).map(|n| client(SIZE + n)).collect();
    let mut holds = Holds::new(Holds::CAPACITY, Holds::KEEP);
    for n in (0..SIZE).filter(|n| held(*n)) {
        holds.put(client(2 * SIZE + n).key(), nth(n), SubnetId(1), 0, now);
    }
    let mut cursors = Cursors::default();
    let asked = Cell::new(0u32);
    bencher.bench_local(|| {
        asked.set(asked.get() + 1);
        let client = &clients[asked.get() as usize % clients.len()];
        let (key, seed) = (client.key(), scattered(asked.get().into()));
        let found = config.subnets.iter().find_map(|subnet| {
            let ask = Ask { view, config: &config, subnet, client, now, share, seed };
            let avoid = |address| holds.is_held_by_other(address, &key, now);
            match choose(&ask, &mut cursors, |_| true, avoid) {
                Choice::Candidate(address) => Some(address),
                Choice::Exhausted => None,
            }
        });
        found.expect("some are free")
    });
}

fn nobody(_: u32) -> bool {
    false
}

#[divan::bench(args = ALLOCATORS)]
fn empty(bencher: Bencher<'_, '_>, allocator: &str) {
    let share = Share::whole(ME);
    shared("empty", || filled(1, nobody), |it| pick_each(bencher, it, allocator, &share, nobody));
}

#[divan::bench(args = ALLOCATORS)]
fn empty_third(bencher: Bencher<'_, '_>, allocator: &str) {
    shared("empty", || filled(1, nobody), |it| pick_each(bencher, it, allocator, &third(), nobody));
}

/// A pool split over the 64 subnets of a shared network.
#[divan::bench(args = ALLOCATORS)]
fn empty_split(bencher: Bencher<'_, '_>, allocator: &str) {
    let share = Share::whole(ME);
    shared(
        "empty split",
        || filled(64, nobody),
        |it| {
            pick_each(bencher, it, allocator, &share, nobody);
        },
    );
}

#[divan::bench(args = ALLOCATORS)]
fn half(bencher: Bencher<'_, '_>, allocator: &str) {
    let (share, make) = (Share::whole(ME), || filled(1, |n| scattered(n.into()).is_multiple_of(2)));
    shared("half", make, |it| pick_each(bencher, it, allocator, &share, nobody));
}

fn full() -> State {
    filled(1, |n| !is_free(n))
}

#[divan::bench(name = "full", args = ALLOCATORS)]
fn full_whole(bencher: Bencher<'_, '_>, allocator: &str) {
    let share = Share::whole(ME);
    shared("full", full, |it| pick_each(bencher, it, allocator, &share, nobody));
}

#[divan::bench(args = ALLOCATORS)]
fn full_third(bencher: Bencher<'_, '_>, allocator: &str) {
    shared("full", full, |it| pick_each(bencher, it, allocator, &third(), nobody));
}

/// Nine of ten free addresses are held for others.
#[divan::bench(args = ALLOCATORS)]
fn full_held(bencher: Bencher<'_, '_>, allocator: &str) {
    let share = Share::whole(ME);
    let held = |n: u32| is_free(n) && !(scattered(n.into()) / FREE).is_multiple_of(10);
    shared("full", full, |it| pick_each(bencher, it, allocator, &share, held));
}

/// What is free lies together at the end of the pool.
#[divan::bench(args = ALLOCATORS)]
fn full_but_the_end(bencher: Bencher<'_, '_>, allocator: &str) {
    let (share, make) = (Share::whole(ME), || filled(1, |n| n < SIZE - SIZE / FREE as u32));
    shared("full but the end", make, |it| pick_each(bencher, it, allocator, &share, nobody));
}

/// Everything was leased once, and what is free was released.
#[divan::bench(args = ALLOCATORS)]
fn full_freed(bencher: Bencher<'_, '_>, allocator: &str) {
    let (share, make) = (Share::whole(ME), || {
        let mut state = filled(1, |_| true);
        for n in (0..SIZE).filter(|n| is_free(*n)) {
            let stamp = ClusterTime::from_millis(state.now().as_millis() + 1);
            let release = Command::Release(GiveUp {
                origin: crate::support::origin(n),
                client: client(n),
                address: nth(n),
                generation: None,
                arrived: stamp,
                circuit: 0,
                relayed: false,
            });
            let batch = Batch { stamp, commands: vec![release] };
            assert_eq!(state.apply(state.applied() + 1, &batch), [Outcome::GivenUp]);
        }
        state
    });
    shared("full freed", make, |it| pick_each(bencher, it, allocator, &share, nobody));
}

/// What is free belongs to the other two nodes: this one takes of theirs (R18).
#[divan::bench(args = ALLOCATORS)]
fn full_spent(bencher: Bencher<'_, '_>, allocator: &str) {
    let share = third();
    let make = || filled(1, |n| !is_free(n) || share.is_mine(nth(n)));
    shared("full spent", make, |it| pick_each(bencher, it, allocator, &share, nobody));
}

/// As `empty_split`, but only the last subnets have free addresses.
#[divan::bench(args = ALLOCATORS)]
fn full_split(bencher: Bencher<'_, '_>, allocator: &str) {
    let (share, make) = (Share::whole(ME), || filled(64, |n| n < SIZE - SIZE / FREE as u32));
    shared("full split", make, |it| pick_each(bencher, it, allocator, &share, nobody));
}
