//! R5 and R6 for RELEASE and DECLINE; M9, M11, M12.

use super::*;
use crate::state::testing::{client, nth_client};

fn bound() -> (World, Client) {
    let mut world = World::new();
    let a = nth_client(1);
    world.granted(secs(100), &a, "192.0.2.10", Why::Selecting, 1000);
    (world, a)
}

#[test]
fn m12_a_released_lease_is_kept_for_its_client_and_free_at_once() {
    let (mut world, a) = bound();
    let release = world.give_up(&a, "192.0.2.10", secs(200));
    assert_eq!(world.one(secs(200), Command::Release(release.clone())), Outcome::GivenUp);
    let lease = world.lease("192.0.2.10").unwrap();
    assert_eq!(
        (lease.state, lease.valid.as_secs(), lease.cltt),
        (LeaseState::Released, 0, secs(100))
    );
    assert_eq!(lease.due, secs(200 + 3600));
    assert_eq!(
        world.one(secs(200), Command::Release(release)),
        Outcome::NotHeld,
        "twice changes nothing"
    );
    world.granted(secs(200), &nth_client(2), "192.0.2.10", Why::Selecting, 60);
}

#[test]
fn m12_without_affinity_a_released_lease_goes() {
    for setting in ["hold-reclaimed-time", "flush-reclaimed-timer-wait-time"] {
        let off = format!(r#""expired-leases-processing":{{"{setting}":0}},"#);
        let mut world = World::with(&document("", &off), 3);
        world.granted(secs(1), &nth_client(1), "192.0.2.10", Why::Selecting, 60);
        let release = world.give_up(&nth_client(1), "192.0.2.10", secs(2));
        assert_eq!(world.one(secs(2), Command::Release(release)), Outcome::GivenUp);
        assert_eq!(world.lease("192.0.2.10"), None, "{setting}");
    }
}

#[test]
fn r5_another_generation_is_not_meant() {
    let (mut world, a) = bound();
    let old = world.lease("192.0.2.10").unwrap().generation;
    world.granted(secs(150), &a, "192.0.2.10", Why::Selecting, 1000);
    for command in [Command::Release, Command::Decline] {
        let mut give_up = world.give_up(&a, "192.0.2.10", secs(200));
        give_up.generation = Some(old);
        assert_eq!(world.one(secs(200), command(give_up)), Outcome::NotHeld);
    }
    let mut give_up = world.give_up(&a, "192.0.2.10", secs(200));
    give_up.generation = world.lease("192.0.2.10").map(|lease| lease.generation);
    assert_eq!(world.one(secs(200), Command::Release(give_up)), Outcome::GivenUp);
}

#[test]
fn r5_a_lease_granted_more_than_a_second_after_the_packet_came_is_not_meant() {
    let (mut world, a) = bound();
    let early = world.give_up(&a, "192.0.2.10", ms(98_999));
    assert_eq!(world.one(ms(100_500), Command::Release(early)), Outcome::NotHeld);
    let within = world.give_up(&a, "192.0.2.10", secs(99));
    assert_eq!(world.one(ms(100_500), Command::Decline(within)), Outcome::GivenUp);
}

#[test]
fn r5_without_a_generation_a_command_that_hung_is_not_meant() {
    let (mut world, a) = bound();
    for (arrived, stamp) in [(secs(200), ms(202_001)), (ms(204_001), secs(203))] {
        let mut give_up = world.give_up(&a, "192.0.2.10", arrived);
        give_up.generation = None;
        let outcome = world.one(stamp, Command::Release(give_up));
        assert_eq!(outcome, Outcome::NotHeld, "came at {arrived}, stamped {stamp}");
    }
    let mut give_up = world.give_up(&a, "192.0.2.10", ms(301_000));
    give_up.generation = world.lease("192.0.2.10").map(|lease| lease.generation);
    let outcome = world.one(secs(320), Command::Release(give_up));
    assert_eq!(outcome, Outcome::GivenUp, "with the generation time does not matter");
}

#[test]
fn r5_a_grant_from_the_cache_counts_against_a_late_release_too() {
    let mut world = World::with(&document("", r#""cache-threshold":0.25,"#), 3);
    let a = nth_client(1);
    world.granted(secs(100), &a, "192.0.2.10", Why::Selecting, 1000);
    let late = world.give_up(&a, "192.0.2.10", secs(110));
    world.granted(secs(112), &a, "192.0.2.10", Why::Selecting, 1000);
    assert_eq!(world.lease("192.0.2.10").unwrap().cltt, secs(100), "from the cache");
    assert_eq!(world.one(secs(113), Command::Release(late)), Outcome::NotHeld);
}

#[test]
fn r5_only_the_client_itself_gives_up_its_lease() {
    let mut world = World::new();
    let a = client("02:00:00:00:00:01", Some("00:01"));
    world.granted(secs(100), &a, "192.0.2.10", Why::Selecting, 1000);
    let strangers = [
        client("02:00:00:00:00:01", Some("00:02")),
        nth_client(7),
        client("02:00:00:00:00:02", None),
    ];
    for stranger in strangers {
        let give_up = world.give_up(&stranger, "192.0.2.10", secs(200));
        assert_eq!(world.one(secs(200), Command::Release(give_up.clone())), Outcome::NotHeld);
        assert_eq!(world.one(secs(200), Command::Decline(give_up)), Outcome::NotHeld);
    }
    // The same id behind another hardware address is the same client (Kea).
    let moved = client("02:00:00:00:00:02", Some("00:01"));
    let give_up = world.give_up(&moved, "192.0.2.10", secs(200));
    assert_eq!(world.one(secs(200), Command::Release(give_up)), Outcome::GivenUp);
}

#[test]
fn m9_a_declined_address_is_nobodys_for_the_probation_period() {
    let mut world = World::with(&document("", r#""decline-probation-period":500,"#), 3);
    let a = nth_client(1);
    world.granted(secs(100), &a, "192.0.2.10", Why::Selecting, 1000);
    let decline = world.give_up(&a, "192.0.2.10", secs(100));
    assert_eq!(world.one(secs(101), Command::Decline(decline.clone())), Outcome::GivenUp);
    let lease = world.lease("192.0.2.10").unwrap();
    assert_eq!(lease.state, LeaseState::Declined);
    assert!(lease.client_id.is_none() && lease.hw.bytes().is_empty() && lease.hostname.is_empty());
    assert_eq!((lease.cltt, lease.valid.as_secs(), lease.due), (secs(101), 500, secs(601)));
    assert_eq!(world.one(secs(101), Command::Decline(decline)), Outcome::NotHeld);
    for n in [1, 2] {
        assert_eq!(
            world.grant(ms(600_999), &nth_client(n), "192.0.2.10", Why::Selecting, 60),
            Outcome::Taken(Taken::Declined)
        );
    }
    world.granted(secs(601), &nth_client(2), "192.0.2.10", Why::Selecting, 60);
}

#[test]
fn r6_a_release_and_a_decline_end_both_ends() {
    for command in [Command::Release, Command::Decline] {
        let (mut world, a) = bound();
        world.granted(secs(200), &a, "192.0.2.10", Why::Renewing, 10);
        let give_up = world.give_up(&a, "192.0.2.10", secs(200));
        world.one(secs(201), command(give_up));
        let lease = world.lease("192.0.2.10").unwrap();
        assert_eq!(lease.expires, lease.reserved_until);
        assert!(lease.reserved_until == secs(201) || lease.state == LeaseState::Declined);
    }
}

#[test]
fn m11_declines_of_a_client_are_counted_for_an_hour() {
    let mut world = World::new();
    let a = nth_client(1);
    for n in 0..5u64 {
        let address = format!("192.0.2.{}", 10 + n);
        world.granted(secs(100 * n), &a, &address, Why::Selecting, 1000);
        let decline = world.give_up(&a, &address, secs(100 * n));
        assert_eq!(world.one(secs(100 * n), Command::Decline(decline)), Outcome::GivenUp);
    }
    let view = world.state.view();
    let declines = view.declines_of(&a.key(), secs(400));
    assert_eq!((declines.count, declines.last), (5, Some(secs(400))));
    assert_eq!(view.declines_of(&a.key(), secs(3600)).count, 4, "the first is an hour old");
    assert_eq!(view.declines_of(&a.key(), secs(9000)), Declines::default());
    assert_eq!(view.declines_of(&nth_client(2).key(), secs(400)).count, 0);
    assert_eq!(view.totals(SubnetId(1)).declined, 5);
}

/// Client `n` gets `192.0.2.<last>` and declines it through `circuit`.
fn declines(world: &mut World, n: u32, last: u32, circuit: u64, at: u64) -> Outcome {
    let (client, address) = (nth_client(n), format!("192.0.2.{last}"));
    world.granted(secs(at), &client, &address, Why::Selecting, 1000);
    let decline = GiveUp { circuit, ..world.give_up(&client, &address, secs(at)) };
    world.one(secs(at), Command::Decline(decline))
}

#[test]
fn m11_at_most_a_tenth_of_a_pool_is_in_probation_through_one_circuit() {
    // 90 addresses.
    let mut world = World::with(&document("", r#""decline-probation-period":500,"#), 3);
    for n in 0..9 {
        assert_eq!(declines(&mut world, n, 10 + n, 7, 100), Outcome::GivenUp);
    }
    assert_eq!(declines(&mut world, 9, 19, 7, 100), Outcome::DeclineLimit);
    assert_eq!(world.lease("192.0.2.19"), None, "its client has given it up all the same");
    assert_eq!(world.state.view().declines_of(&nth_client(9).key(), secs(100)).count, 1);
    assert_eq!(world.state.view().totals(SubnetId(1)).declined, 9);
    assert_eq!(declines(&mut world, 10, 20, 8, 100), Outcome::GivenUp, "another circuit");
    assert_eq!(declines(&mut world, 11, 21, 0, 100), Outcome::GivenUp, "not known where");
    // What has served its probation, or was deleted, makes room.
    world.one(
        secs(100),
        Command::DeleteLease(DeleteLease { address: ip("192.0.2.10"), seen: None }),
    );
    assert_eq!(declines(&mut world, 12, 22, 7, 200), Outcome::GivenUp);
    assert_eq!(declines(&mut world, 13, 23, 7, 200), Outcome::DeclineLimit);
    world.reclaim(secs(600), 5);
    for n in 14..19 {
        assert_eq!(declines(&mut world, n, 10 + n, 7, 600), Outcome::GivenUp);
    }
    assert_eq!(declines(&mut world, 19, 29, 7, 600), Outcome::DeclineLimit);
}

#[test]
fn m11_a_decline_beyond_the_limit_counts_once_however_often_it_is_proposed() {
    let mut world = World::new();
    for n in 0..9 {
        declines(&mut world, n, 10 + n, 7, 100);
    }
    let a = nth_client(50);
    world.granted(secs(100), &a, "192.0.2.60", Why::Selecting, 1000);
    let decline = GiveUp { circuit: 7, ..world.give_up(&a, "192.0.2.60", secs(100)) };
    let again = vec![Command::Decline(decline.clone()), Command::Decline(decline)];
    assert_eq!(world.at(secs(101), again), [Outcome::DeclineLimit, Outcome::NotHeld]);
    assert_eq!(world.state.view().declines_of(&a.key(), secs(101)).count, 1);
}

/// Somebody answers at `192.0.2.<last>`.
fn in_use(world: &mut World, last: u8, circuit: u64, at: u64) -> Outcome {
    let origin = Origin { node: NodeId(1), incarnation: 1, sequence: 1 };
    let address = Ipv4Addr::new(192, 0, 2, last);
    let found = InUse { origin, subnet: SubnetId(1), address, circuit };
    world.one(secs(at), Command::InUse(found))
}

#[test]
fn m4_an_address_that_somebody_uses_goes_into_probation_unless_it_is_leased() {
    let mut world = World::with(&document("", r#""decline-probation-period":500,"#), 3);
    assert_eq!(in_use(&mut world, 10, 7, 100), Outcome::GivenUp);
    let lease = world.lease("192.0.2.10").unwrap();
    assert_eq!((lease.state, lease.due, lease.circuit()), (LeaseState::Declined, secs(600), 7));
    assert_eq!(world.state.view().totals(SubnetId(1)).declined, 1);
    assert_eq!(in_use(&mut world, 10, 7, 101), Outcome::NotHeld, "once");
    // What a ping says counts for nothing against a lease, in its grace too.
    let a = nth_client(1);
    world.granted(secs(100), &a, "192.0.2.11", Why::Selecting, 1000);
    for at in [101, 1_101] {
        assert_eq!(in_use(&mut world, 11, 7, at), Outcome::NotHeld);
    }
    assert_eq!(world.lease("192.0.2.11").unwrap().state, LeaseState::Assigned);
    let release = world.give_up(&a, "192.0.2.11", secs(1_102));
    assert_eq!(world.one(secs(1_102), Command::Release(release)), Outcome::GivenUp);
    assert_eq!(in_use(&mut world, 11, 7, 1_103), Outcome::GivenUp, "given back");
    let origin = Origin { node: NodeId(1), incarnation: 1, sequence: 1 };
    for (subnet, address) in [(99, [192, 0, 2, 12]), (1, [10, 0, 0, 1])] {
        let found = InUse { origin, subnet: SubnetId(subnet), address: address.into(), circuit: 0 };
        assert_eq!(world.one(secs(1_104), Command::InUse(found)), Outcome::NotHeld);
    }
}

#[test]
fn m11_addresses_in_use_count_like_declined_ones() {
    // 90 addresses.
    let mut world = World::new();
    for n in 0..5 {
        assert_eq!(declines(&mut world, n, 10 + n, 7, 100), Outcome::GivenUp);
    }
    for last in 15..19 {
        assert_eq!(in_use(&mut world, last, 7, 100), Outcome::GivenUp);
    }
    assert_eq!(in_use(&mut world, 19, 7, 100), Outcome::DeclineLimit);
    assert_eq!(world.lease("192.0.2.19"), None);
    assert_eq!(in_use(&mut world, 19, 8, 100), Outcome::GivenUp, "another circuit");
}

#[test]
fn m11_a_small_pool_can_have_one_address_in_probation() {
    let small = document("", "").replace("192.0.2.10-192.0.2.99", "192.0.2.10-192.0.2.12");
    let mut world = World::with(&small, 3);
    assert_eq!(declines(&mut world, 1, 10, 7, 100), Outcome::GivenUp);
    assert_eq!(declines(&mut world, 2, 11, 7, 100), Outcome::DeclineLimit);
}

#[test]
fn m11_an_address_outside_every_pool_is_nobody_elses_loss() {
    let text = document(&reserved("02:00:00:00:00:07", "192.0.2.200"), "");
    let mut world = World::with(&text, 3);
    for n in 0..9 {
        declines(&mut world, n + 20, 10 + n, 7, 100);
    }
    let client = client("02:00:00:00:00:07", None);
    world.granted(secs(100), &client, "192.0.2.200", Why::Selecting, 1000);
    let decline = GiveUp { circuit: 7, ..world.give_up(&client, "192.0.2.200", secs(100)) };
    assert_eq!(world.one(secs(100), Command::Decline(decline)), Outcome::GivenUp);
}
