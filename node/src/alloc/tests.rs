//! What the allocator promises, on small and on large pools.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::pick::POOL_LIMIT;
use super::*;
use crate::state::testing::{lease, machine, nth_client};
use crate::state::{Batch, Command, Lease, Outcome, PutLease, PutMode, State};
use crate::types::{Lifetime, NodeId};

pub(super) fn config(pools: &[&str], more: &str) -> String {
    let pools: Vec<String> = pools.iter().map(|pool| format!(r#"{{"pool":"{pool}"}}"#)).collect();
    format!(
        r#"{{"Dhcp4":{{"subnet4":[{{"id":1,"subnet":"10.0.0.0/8","pools":[{}]{more}}}]}}}}"#,
        pools.join(",")
    )
}

pub(super) const ALLOCATORS: [&str; 3] = ["", r#","allocator":"random""#, r#","allocator":"flq""#];

pub(super) fn put(state: &mut State, lease: &Lease) {
    let put = PutLease {
        mode: PutMode::Upsert,
        address: lease.address,
        subnet: lease.subnet,
        hw: lease.hw,
        client_id: None,
        lifetime: lease.valid,
        expire: None,
        hostname: String::new(),
        fqdn_fwd: false,
        fqdn_rev: false,
        state: lease.state,
        user_context: String::new(),
    };
    let batch = Batch { stamp: state.now(), commands: vec![Command::PutLease(put)] };
    let outcomes = state.apply(state.applied() + 1, &batch);
    assert!(matches!(outcomes[0], Outcome::LeaseWritten { .. }), "{outcomes:?}");
}

pub(super) fn pick(
    state: &State,
    share: &Share,
    n: u32,
    cursors: &mut Cursors,
    avoid: impl Fn(Ipv4Addr) -> bool,
) -> Choice {
    let config = state.view().config().unwrap().clone();
    let client = nth_client(n);
    let subnet = &config.subnets[0];
    let (view, now) = (state.view(), state.now());
    let ask =
        Ask { view, config: &config, subnet, client: &client, now, share, seed: u64::from(n) };
    choose(&ask, cursors, |_| true, avoid)
}

#[test]
fn kea1_a_cluster_of_one_starts_at_the_lowest_address_and_moves_on() {
    let mut state = machine(&config(&["10.0.0.10-10.0.0.12", "10.0.0.20-10.0.0.21"], ""), 1);
    let share = Share::of(state.view(), NodeId(1));
    let mut cursors = Cursors::default();
    let mut seen = Vec::new();
    for n in 0..5 {
        let Choice::Candidate(address) = pick(&state, &share, n, &mut cursors, |_| false) else {
            panic!("pool is not empty")
        };
        seen.push(address.octets()[3]);
        if n == 0 {
            // It goes on behind the last one although the first is free again.
            continue;
        }
        put(&mut state, &lease(&address.to_string(), n));
    }
    assert_eq!(seen, [10, 11, 12, 20, 21]);
    assert_eq!(
        pick(&state, &share, 9, &mut cursors, |_| false),
        Choice::Candidate([10, 0, 0, 10].into())
    );
    put(&mut state, &lease("10.0.0.10", 9));
    assert_eq!(pick(&state, &share, 10, &mut cursors, |_| false), Choice::Exhausted);
}

#[test]
fn r18_every_address_of_a_small_pool_is_given_by_one_of_three_nodes() {
    for (size, allocator) in
        [1u32, 3, 6].into_iter().flat_map(|size| ALLOCATORS.map(|all| (size, all)))
    {
        for me in 1..=3 {
            let mut state = machine(&config(&[&format!("10.0.0.1-10.0.0.{size}")], allocator), 3);
            let share = Share::of(state.view(), NodeId(me));
            let mut cursors = Cursors::default();
            for n in 0..size {
                let Choice::Candidate(address) = pick(&state, &share, n, &mut cursors, |_| false)
                else {
                    panic!("node {me} gave {n} of {size}")
                };
                put(&mut state, &lease(&address.to_string(), n));
            }
            assert_eq!(pick(&state, &share, 99, &mut cursors, |_| false), Choice::Exhausted);
        }
    }
}

#[test]
fn c8_the_shares_are_disjoint_and_make_up_the_whole_pool() {
    let shares: Vec<Share> =
        (1..=3).map(|me| Share::among(NodeId(me), (1..=3).map(NodeId).collect())).collect();
    let mut sizes = [0; 3];
    for n in 0..3000u32 {
        let owners: Vec<usize> = (0..3).filter(|me| shares[*me].is_mine(n.into())).collect();
        assert_eq!(owners.len(), 1, "{n}");
        sizes[owners[0]] += 1;
    }
    assert!(sizes.iter().all(|size| (800..1200).contains(size)), "{sizes:?}");
}

#[test]
fn c8_the_loss_of_a_node_moves_only_its_own_addresses() {
    let all = Share::among(NodeId(1), (1..=3).map(NodeId).collect());
    let two = Share::among(NodeId(1), (1..=2).map(NodeId).collect());
    for n in 0..1000u32 {
        let (before, after) = (all.owner(n.into()).unwrap(), two.owner(n.into()).unwrap());
        assert!(before == after || before == NodeId(3));
    }
}

#[test]
fn c8_a_node_goes_through_its_own_share_in_order_before_it_takes_from_others() {
    let mut state = machine(&config(&["10.0.0.0-10.0.0.63"], ""), 3);
    let share = Share::of(state.view(), NodeId(2));
    let mine: Vec<Ipv4Addr> =
        (0..64u8).map(|n| [10, 0, 0, n].into()).filter(|a| share.is_mine(*a)).collect();
    let mut cursors = Cursors::default();
    for (n, address) in mine.iter().enumerate() {
        assert_eq!(
            pick(&state, &share, n as u32, &mut cursors, |_| false),
            Choice::Candidate(*address)
        );
        put(&mut state, &lease(&address.to_string(), n as u32));
    }
    let Choice::Candidate(other) = pick(&state, &share, 99, &mut cursors, |_| false) else {
        panic!("others have some")
    };
    assert!(!share.is_mine(other));
}

#[test]
fn a_lease_that_is_over_is_given_although_no_sweep_came_by() {
    let mut state =
        machine(&config(&["10.0.0.1"], "").replace("10.0.0.1\"", "10.0.0.1-10.0.0.1\""), 1);
    let share = Share::of(state.view(), NodeId(1));
    let mut old = lease("10.0.0.1", 1);
    old.valid = Lifetime::from_secs(10);
    put(&mut state, &old);
    let mut cursors = Cursors::default();
    assert_eq!(pick(&state, &share, 2, &mut cursors, |_| false), Choice::Exhausted);
    let stamp = ClusterTime::from_millis(10_000);
    state.apply(state.applied() + 1, &Batch { stamp, commands: vec![Command::Tick] });
    assert_eq!(
        pick(&state, &share, 2, &mut cursors, |_| false),
        Choice::Candidate([10, 0, 0, 1].into())
    );
}

#[test]
fn a_big_pool_that_is_full_but_for_one_address_is_no_more_work() {
    use std::cell::Cell;
    let mut state = machine(&config(&["10.0.0.0-10.1.255.255"], ""), 3);
    let first = u32::from(Ipv4Addr::new(10, 0, 0, 0));
    for n in 0..0x2_0000u32 {
        if n != 0x1_2345 {
            put(&mut state, &lease(&Ipv4Addr::from(first + n).to_string(), n));
        }
    }
    for me in 1..=3 {
        let share = Share::of(state.view(), NodeId(me));
        let asked = Cell::new(0);
        let count = |_| {
            asked.set(asked.get() + 1);
            false
        };
        let choice = pick(&state, &share, 7, &mut Cursors::default(), count);
        assert_eq!(choice, Choice::Candidate(Ipv4Addr::from(first + 0x1_2345)));
        assert!(asked.get() <= 2, "{} addresses were looked at", asked.get());
    }
}

#[test]
fn a_big_pool_in_which_everything_is_held_is_given_up_after_a_bounded_search() {
    use std::cell::Cell;
    let state = machine(&config(&["10.0.0.0-10.255.255.255"], ""), 1);
    let share = Share::of(state.view(), NodeId(1));
    let asked = Cell::new(0u32);
    let count = |_| {
        asked.set(asked.get() + 1);
        true
    };
    let mut cursors = Cursors::default();
    assert_eq!(pick(&state, &share, 1, &mut cursors, count), Choice::Exhausted);
    assert_eq!(asked.get(), POOL_LIMIT);
    // The next pick goes on behind.
    let next = u32::from(Ipv4Addr::new(10, 0, 0, 0)) + POOL_LIMIT;
    assert_eq!(pick(&state, &share, 1, &mut cursors, |_| false), Choice::Candidate(next.into()));
}

proptest! {
    /// Never an address that is leased, avoided, reserved for another or outside the pools; and if
    /// the pool has one that is none of that, one is found.
    #[test]
    fn a_choice_is_free_and_is_found_if_there_is_one(
        leased in prop::collection::btree_set(0u8..24, 0..24),
        avoided in prop::collection::btree_set(0u8..24, 0..8),
        reserved in prop::collection::btree_map(0u8..24, 0u32..4, 0..4),
        nodes in 1u64..4,
        picks in 1u32..6,
        allocator in prop::sample::select(ALLOCATORS.to_vec()),
    ) {
        // Two clients cannot share a reservation's identifier.
        let reserved: Vec<(u8, u32)> = {
            let mut seen = BTreeSet::new();
            reserved.into_iter().filter(|(_, n)| seen.insert(*n)).collect()
        };
        let entries: Vec<String> = reserved.iter().map(|(at, n)| {
            format!(r#"{{"hw-address":"{}","ip-address":"10.0.0.{at}"}}"#, nth_client(*n).hw)
        }).collect();
        let more = format!(r#"{allocator},"reservations":[{}]"#, entries.join(","));
        let mut state = machine(&config(&["10.0.0.4-10.0.0.11", "10.0.0.16-10.0.0.19"], &more), nodes);
        for at in &leased {
            put(&mut state, &lease(&format!("10.0.0.{at}"), 100 + u32::from(*at)));
        }
        let share = Share::of(state.view(), NodeId(1));
        let mut cursors = Cursors::default();
        let avoid = |address: Ipv4Addr| avoided.contains(&address.octets()[3]);
        let in_pool = |at: &u8| (4..=11).contains(at) || (16..=19).contains(at);
        for n in 0..picks {
            let good = |at: &u8| {
                in_pool(at) && !leased.contains(at) && !avoided.contains(at)
                    && !reserved.iter().any(|(address, client)| address == at && *client != n)
            };
            match pick(&state, &share, n, &mut cursors, avoid) {
                Choice::Candidate(address) => prop_assert!(good(&address.octets()[3]), "{address}"),
                Choice::Exhausted => prop_assert_eq!((0..24).find(good), None),
            }
        }
    }
}
