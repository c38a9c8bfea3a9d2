//! What tells the three allocators apart, and what each of them costs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use proptest::prelude::*;

use super::pick::{DRAWS, FREED_LIMIT, OVER_LIMIT, POOL_LIMIT, SHARE_LIMIT};
use super::tests::{ALLOCATORS, config, pick, put};
use super::*;
use crate::state::testing::{lease, machine, nth_client};
use crate::state::{Batch, Command, DeleteLease, GiveUp, Origin, Outcome, SetConfig, State};
use crate::types::NodeId;

const RANDOM: &str = ALLOCATORS[1];
const FLQ: &str = ALLOCATORS[2];

fn candidate(choice: Choice) -> Ipv4Addr {
    match choice {
        Choice::Candidate(address) => address,
        Choice::Exhausted => panic!("there is an address"),
    }
}

fn release(state: &mut State, address: &str, n: u32, secs: u64) {
    let stamp = ClusterTime::from_millis(secs * 1000);
    let give_up = GiveUp {
        origin: Origin { node: NodeId(1), incarnation: 1, sequence: 0 },
        client: nth_client(n),
        address: address.parse().unwrap(),
        generation: None,
        arrived: stamp,
        circuit: 0,
        relayed: false,
    };
    let batch = Batch { stamp, commands: vec![Command::Release(give_up)] };
    assert_eq!(state.apply(state.applied() + 1, &batch), [Outcome::GivenUp]);
}

#[test]
fn random_draws_every_free_address_equally_often() {
    let mut state = machine(&config(&["10.0.0.0-10.0.0.15", "10.0.1.0-10.0.1.15"], RANDOM), 1);
    // Long runs of leases must not make the address behind them likelier.
    for n in (0..12).chain(13..16) {
        put(&mut state, &lease(&format!("10.0.0.{n}"), n));
    }
    let share = Share::whole(NodeId(1));
    let mut drawn: BTreeMap<Ipv4Addr, u32> = BTreeMap::new();
    for n in 0..17_000 {
        let address = candidate(pick(&state, &share, n, &mut Cursors::default(), |_| false));
        *drawn.entry(address).or_default() += 1;
    }
    assert_eq!(drawn.len(), 17);
    assert!(drawn.values().all(|times| (850..1150).contains(times)), "{drawn:?}");
}

#[test]
fn random_is_the_same_for_the_same_seed_on_every_run() {
    let state = machine(&config(&["10.0.0.0-10.15.255.255"], RANDOM), 1);
    let share = Share::whole(NodeId(1));
    let once = || [1, 2].map(|n| pick(&state, &share, n, &mut Cursors::default(), |_| false));
    assert_eq!(once(), once());
    assert_ne!(once()[0], once()[1]);
}

#[test]
fn flq_takes_the_unknown_first_then_what_has_been_free_for_longest() {
    let mut state = machine(&config(&["10.0.0.1-10.0.0.6"], FLQ), 1);
    for n in 1..=5 {
        put(&mut state, &lease(&format!("10.0.0.{n}"), n));
    }
    for (n, at) in [(4, 10), (2, 20), (5, 30)] {
        release(&mut state, &format!("10.0.0.{n}"), n, at);
    }
    let share = Share::whole(NodeId(1));
    let mut cursors = Cursors::default();
    let mut given = Vec::new();
    for n in 11..15 {
        let address = candidate(pick(&state, &share, n, &mut cursors, |_| false));
        given.push(address.octets()[3]);
        put(&mut state, &lease(&address.to_string(), n));
    }
    assert_eq!(given, [6, 4, 2, 5]);
    assert_eq!(pick(&state, &share, 20, &mut cursors, |_| false), Choice::Exhausted);
}

#[test]
fn r18_flq_takes_of_others_what_is_unknown_before_what_was_freed() {
    let mut state = machine(&config(&["10.0.0.1-10.0.0.40"], FLQ), 3);
    let share = Share::of(state.view(), NodeId(1));
    let others: Vec<u8> = (1..=40).filter(|n| !share.is_mine([10, 0, 0, *n].into())).collect();
    let unknown = others[7];
    for n in (1..=40).filter(|n| *n != unknown) {
        put(&mut state, &lease(&format!("10.0.0.{n}"), n.into()));
    }
    for n in others.iter().filter(|n| **n != unknown) {
        release(&mut state, &format!("10.0.0.{n}"), u32::from(*n), u64::from(*n));
    }
    let found = pick(&state, &share, 99, &mut Cursors::default(), |_| false);
    assert_eq!(found, Choice::Candidate([10, 0, 0, unknown].into()));
    put(&mut state, &lease(&format!("10.0.0.{unknown}"), 99));
    // One of the sixteen oldest, another for another client.
    let oldest: Vec<Ipv4Addr> =
        others.iter().filter(|n| **n != unknown).take(16).map(|n| [10, 0, 0, *n].into()).collect();
    let mut seen = BTreeSet::new();
    for n in 100..120 {
        let address = candidate(pick(&state, &share, n, &mut Cursors::default(), |_| false));
        assert!(oldest.contains(&address), "{address}");
        seen.insert(address);
    }
    assert!(seen.len() > 1);
}

#[test]
fn classes_choose_their_pools_and_each_goes_round_its_own() {
    let state = machine(&config(&["10.0.0.1-10.0.0.9", "10.0.1.1-10.0.1.9"], ""), 1);
    let config = state.view().config().unwrap().clone();
    let (client, share) = (nth_client(1), Share::whole(NodeId(1)));
    let (view, now) = (state.view(), state.now());
    let subnet = &config.subnets[0];
    let ask = Ask { view, config: &config, subnet, client: &client, now, share: &share, seed: 0 };
    let mut cursors = Cursors::default();
    let mut given = Vec::new();
    for second in [false, true, false, true] {
        let admits = |pool: &Pool| (pool.range.first().octets()[2] == 1) == second;
        given.push(candidate(choose(&ask, &mut cursors, admits, |_| false)).octets());
    }
    assert_eq!(given, [[10, 0, 0, 1], [10, 0, 1, 1], [10, 0, 0, 2], [10, 0, 1, 2]]);
    assert_eq!(choose(&ask, &mut cursors, |_| false, |_| false), Choice::Exhausted);
}

#[test]
fn exclude_first_last_24_leaves_out_0_and_255_in_a_24_or_larger() {
    for allocator in ALLOCATORS {
        let text = config(&["10.0.0.254-10.0.1.1"], allocator);
        let on = text.replace(
            "{\"Dhcp4\":{",
            r#"{"Dhcp4":{"compatibility":{"exclude-first-last-24":true},"#,
        );
        for (text, expected) in [(text, 4), (on, 2)] {
            let mut state = machine(&text, 1);
            let share = Share::whole(NodeId(1));
            let mut cursors = Cursors::default();
            let mut given = 0;
            while let Choice::Candidate(address) =
                pick(&state, &share, given, &mut cursors, |_| false)
            {
                put(&mut state, &lease(&address.to_string(), given));
                given += 1;
            }
            assert_eq!(given, expected, "{text}");
        }
    }
}

#[test]
fn adaptive_lease_time_counts_the_pools_that_the_client_may_use() {
    let more = r#","allocator":"flq","adaptive-lease-time-threshold":0.5"#;
    let pools = ["10.0.0.1-10.0.0.4", "10.0.1.1-10.0.1.12"];
    let mut state = machine(&config(&pools, more), 1);
    let crowded = |state: &State, first: bool| {
        let config = state.view().config().unwrap().clone();
        let admits = |pool: &Pool| !first || pool.range.first().octets()[2] == 0;
        state.view().is_crowded(&config.subnets[0], admits)
    };
    put(&mut state, &lease("10.0.0.1", 1));
    assert!(!crowded(&state, true));
    put(&mut state, &lease("10.0.0.2", 2));
    assert!(crowded(&state, true), "two of four");
    assert!(!crowded(&state, false), "two of sixteen");
    let iterative = machine(&config(&pools, r#","adaptive-lease-time-threshold":0.0"#), 1);
    assert!(!crowded(&iterative, true), "only with flq");
}

#[test]
fn r18_a_share_without_a_free_address_is_searched_again_a_second_later() {
    for allocator in ALLOCATORS {
        let mut state = machine(&config(&["10.0.0.0-10.0.7.255"], allocator), 3);
        let share = Share::of(state.view(), NodeId(1));
        let mine = |n: &u32| share.is_mine(nth(*n).parse().unwrap());
        for n in (0..2_048).filter(mine) {
            put(&mut state, &lease(&nth(n), n));
        }
        let mut cursors = Cursors::default();
        let (choice, first) = looked_at(&state, &share, 1, &mut cursors, |_| false);
        assert!(!share.is_mine(candidate(choice)));
        assert!(first > 1_000, "all that is free was looked at: {first}");
        // One of its own is free again, and the next clients are served without a search for it.
        let own = (0..2_048).find(mine).unwrap();
        release(&mut state, &nth(own), own, 0);
        for n in 2..20 {
            let (choice, looked) = looked_at(&state, &share, n, &mut cursors, |_| false);
            candidate(choice);
            assert_eq!(looked, 1, "{allocator}");
        }
        let stamp = ClusterTime::from_millis(1_000);
        state.apply(state.applied() + 1, &Batch { stamp, commands: vec![Command::Tick] });
        let (choice, _) = looked_at(&state, &share, 20, &mut cursors, |_| false);
        assert_eq!(choice, Choice::Candidate(nth(own).parse().unwrap()), "{allocator}");
    }
}

#[test]
fn a_node_that_owns_everything_does_not_rest_on_what_it_found_a_moment_ago() {
    for allocator in ALLOCATORS {
        let mut state = machine(&config(&["10.0.0.1-10.0.0.1"], allocator), 1);
        let share = Share::of(state.view(), NodeId(1));
        put(&mut state, &lease("10.0.0.1", 1));
        let mut cursors = Cursors::default();
        assert_eq!(pick(&state, &share, 2, &mut cursors, |_| false), Choice::Exhausted);
        release(&mut state, "10.0.0.1", 1, 0);
        candidate(pick(&state, &share, 2, &mut cursors, |_| false));
    }
}

/// However many addresses are looked at, it is no more than this.
const MOST: u32 = DRAWS + SHARE_LIMIT + 3 * POOL_LIMIT + 2 * FREED_LIMIT as u32 + OVER_LIMIT as u32;

fn looked_at(
    state: &State,
    share: &Share,
    n: u32,
    cursors: &mut Cursors,
    avoid: impl Fn(Ipv4Addr) -> bool,
) -> (Choice, u32) {
    let config = state.view().config().unwrap().clone();
    let client = nth_client(n);
    let (view, now, subnet) = (state.view(), state.now(), &config.subnets[0]);
    let seed = u64::from(n);
    let ask = Ask { view, config: &config, subnet, client: &client, now, share, seed };
    choose_counted(&ask, cursors, |_| true, avoid)
}

/// A pool of 131 072 addresses that are all leased. Made once: a clone shares it.
fn full() -> State {
    static FULL: OnceLock<State> = OnceLock::new();
    let make = || {
        let mut state = machine(&config(&["10.0.0.0-10.1.255.255"], ""), 1);
        for n in 0..FULL_SIZE {
            put(&mut state, &lease(&nth(n), n));
        }
        state
    };
    FULL.get_or_init(make).clone()
}

const FULL_SIZE: u32 = 0x2_0000;

fn nth(n: u32) -> String {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + n).to_string()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn an_almost_full_pool_costs_a_bounded_number_of_looks(
        free in prop::collection::btree_set(0..FULL_SIZE, 1..40),
        freed in prop::collection::btree_set(0..FULL_SIZE, 0..40),
        nodes in 1u64..4,
        allocator in prop::sample::select(ALLOCATORS.to_vec()),
    ) {
        let mut state = full();
        let set = SetConfig::json(config(&["10.0.0.0-10.1.255.255"], allocator));
        let delete = |n: &u32| {
            Command::DeleteLease(DeleteLease { address: nth(*n).parse().unwrap(), seen: None })
        };
        let mut commands = vec![Command::SetConfig(set)];
        commands.extend(free.iter().map(delete));
        let batch = Batch { stamp: state.now(), commands };
        state.apply(state.applied() + 1, &batch);
        for n in freed.difference(&free) {
            release(&mut state, &nth(*n), *n, 1);
        }
        let good: BTreeSet<Ipv4Addr> =
            free.union(&freed).map(|n| nth(*n).parse().unwrap()).collect();
        let share = Share::among(NodeId(1), (1..=nodes).map(NodeId).collect());
        let mut cursors = Cursors::default();
        // Each address that is looked at is free: no more than there are, by each way to look.
        let most = DRAWS + 6 * good.len() as u32;
        for n in 0..20 {
            let (choice, looked) = looked_at(&state, &share, n, &mut cursors, |_| false);
            prop_assert!(good.contains(&candidate(choice)), "{:?}", choice);
            prop_assert!(looked <= most, "{} looks", looked);
        }
        let (choice, looked) = looked_at(&state, &share, 7, &mut cursors, |_| true);
        prop_assert_eq!(choice, Choice::Exhausted);
        prop_assert!(looked <= most, "{} looks", looked);
    }
}

#[test]
fn an_empty_pool_in_which_everything_is_held_is_given_up_after_a_bounded_number_of_looks() {
    for allocator in ALLOCATORS {
        let state = machine(&config(&["10.0.0.0-10.15.255.255"], allocator), 3);
        let share = Share::of(state.view(), NodeId(1));
        let (choice, looked) = looked_at(&state, &share, 1, &mut Cursors::default(), |_| true);
        assert_eq!(choice, Choice::Exhausted);
        assert!(looked <= MOST, "{looked} looks: {allocator}");
    }
}
