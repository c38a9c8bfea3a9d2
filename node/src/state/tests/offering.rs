//! `offer-lifetime` (kea-behaviours 12) and `store-extended-info` (A3, A6).

use super::*;
use crate::state::testing::{client, nth_client};

const EXTENDED: &str = r#""store-extended-info":true,"#;

#[test]
fn kea12_a_discover_commits_the_address_for_the_offer_lifetime() {
    let mut world = World::new();
    let (a, b) = (nth_client(1), nth_client(2));
    let granted = world.granted(secs(1), &a, "192.0.2.10", Why::Offering, 5);
    assert_eq!(granted.address(), ip("192.0.2.10"));
    let lease = world.lease("192.0.2.10").unwrap();
    assert_eq!((lease.valid.as_secs(), lease.expires, lease.offered), (5, secs(6), true));
    assert_eq!(
        world.grant(secs(5), &b, "192.0.2.10", Why::Selecting, 60),
        Outcome::Taken(Taken::Leased)
    );
    world.granted(secs(20), &b, "192.0.2.10", Why::Selecting, 60);
}

#[test]
fn kea12_what_is_accepted_has_the_whole_lifetime_although_leases_are_cached() {
    let mut world = World::with(&document("", r#""cache-threshold":0.25,"#), 3);
    let a = nth_client(1);
    let offered = world.granted(secs(1), &a, "192.0.2.10", Why::Offering, 60);
    let granted = world.granted(secs(2), &a, "192.0.2.10", Why::Selecting, 3600);
    assert_eq!(granted.lifetime().as_secs(), 3600);
    assert!(granted.generation() > offered.generation(), "R5: SELECTING begins the generation");
    assert!(!world.lease("192.0.2.10").unwrap().offered);
}

#[test]
fn kea12_a_discover_that_comes_again_keeps_the_address_for_longer() {
    let mut world = World::new();
    let a = nth_client(1);
    world.granted(secs(1), &a, "192.0.2.10", Why::Offering, 5);
    world.granted(secs(4), &a, "192.0.2.10", Why::Offering, 5);
    assert_eq!(world.lease("192.0.2.10").unwrap().expires, secs(9));
}

#[test]
fn kea12_another_offer_takes_the_place_of_the_last() {
    let mut world = World::new();
    let a = nth_client(1);
    world.granted(secs(1), &a, "192.0.2.10", Why::Offering, 5);
    world.granted(secs(2), &a, "192.0.2.11", Why::Offering, 5);
    assert_eq!(world.lease("192.0.2.10"), None);
    assert_eq!(world.state.view().leases_of_client(&a).len(), 1);
}

#[test]
fn r6_a_discover_changes_nothing_about_a_lease_that_its_client_holds() {
    let mut world = World::new();
    let a = nth_client(1);
    world.granted(secs(1), &a, "192.0.2.10", Why::Selecting, 3600);
    let before = world.lease("192.0.2.10");
    let granted = world.granted(secs(100), &a, "192.0.2.10", Why::Offering, 5);
    assert_eq!(granted.address(), ip("192.0.2.10"));
    assert_eq!(world.lease("192.0.2.10"), before);
    let other = world.grant(secs(100), &a, "192.0.2.11", Why::Offering, 5);
    assert_eq!(other, Outcome::Changed, "no second address beside it");
    assert_eq!((world.lease("192.0.2.10"), world.lease("192.0.2.11")), (before, None));
}

#[test]
fn r6_a_lease_whose_time_is_over_can_be_offered_again() {
    let mut world = World::new();
    let a = nth_client(1);
    world.granted(secs(1), &a, "192.0.2.10", Why::Selecting, 100);
    // Over, but still in grace: 2 s.
    world.granted(secs(102), &a, "192.0.2.10", Why::Offering, 5);
    let lease = world.lease("192.0.2.10").unwrap();
    assert_eq!((lease.reserved_until, lease.offered), (secs(107), true));
    let mut world = World::new();
    world.granted(secs(1), &a, "192.0.2.10", Why::Selecting, 100);
    world.granted(secs(200), &a, "192.0.2.11", Why::Offering, 5);
    assert_eq!(world.lease("192.0.2.10"), None, "nobody has two");
}

#[test]
fn r5_a_release_ends_an_offer_as_any_lease() {
    let mut world = World::new();
    let a = nth_client(1);
    world.granted(secs(1), &a, "192.0.2.10", Why::Offering, 60);
    let release = world.give_up(&a, "192.0.2.10", secs(3));
    assert_eq!(world.one(secs(3), Command::Release(release)), Outcome::GivenUp);
    assert!(!world.lease("192.0.2.10").unwrap().offered);
}

fn through(world: &mut World, client: &Client, info: &[u8], why: Why) -> Grant {
    Grant { relay_info: Some(info.into()), ..world.ask(client, "192.0.2.10", why, 3600) }
}

#[test]
fn extended_info_is_kept_where_it_is_wanted_and_not_lost_by_a_renewal_past_the_relay() {
    for (config, kept) in [("", None), (EXTENDED, Some(&[1, 1, 9][..]))] {
        let mut world = World::with(&document("", config), 3);
        let a = nth_client(1);
        let grant = through(&mut world, &a, &[1, 1, 9], Why::Selecting);
        world.one(secs(1), Command::Grant(grant));
        assert_eq!(world.lease("192.0.2.10").unwrap().relay_info(), kept);
        world.granted(secs(2000), &a, "192.0.2.10", Why::Renewing, 3600);
        assert_eq!(world.lease("192.0.2.10").unwrap().relay_info(), kept);
    }
}

#[test]
fn m8_a_changed_circuit_is_written_although_leases_are_cached() {
    let mut world = World::with(&document("", &format!("{EXTENDED}\"cache-threshold\":0.25,")), 3);
    let a = nth_client(1);
    for (at, info, cltt) in [(1, 9, 1), (2, 9, 1), (3, 8, 3)] {
        let grant = through(&mut world, &a, &[1, 1, info], Why::Rebinding);
        world.one(secs(at), Command::Grant(grant));
        assert_eq!(world.lease("192.0.2.10").unwrap().cltt, secs(cltt));
    }
}

#[test]
fn a6_relay_info_of_more_than_1024_bytes_is_not_kept() {
    let mut world = World::with(&document("", EXTENDED), 3);
    let grant = through(&mut world, &nth_client(1), &[7; 1025], Why::Selecting);
    world.one(secs(1), Command::Grant(grant));
    assert_eq!(world.lease("192.0.2.10").unwrap().relay_info(), None);
}

#[test]
fn a3_a_relayed_release_or_decline_must_come_through_the_circuit_of_the_last_request() {
    let own = circuit_digest(&[9], &[]);
    let (done, other) = (Outcome::GivenUp, Outcome::OtherCircuit);
    // Only a RELEASE may come past the relay, from the address itself.
    let cases = [
        (true, own, [&done, &done]),
        (true, circuit_digest(&[8], &[]), [&other, &other]),
        (true, circuit_digest(&[], &[9]), [&other, &other]),
        (false, 77, [&done, &other]),
    ];
    for (relayed, circuit, expected) in cases {
        for (command, expected) in [Command::Release, Command::Decline].into_iter().zip(expected) {
            let mut world = World::with(&document("", EXTENDED), 3);
            let a = client("02:00:00:00:00:01", None);
            let grant = through(&mut world, &a, &[1, 1, 9], Why::Selecting);
            world.one(secs(1), Command::Grant(grant));
            let give_up = world.give_up(&a, "192.0.2.10", secs(100));
            let give_up = GiveUp { relayed, circuit, ..give_up };
            assert_eq!(world.one(secs(100), command(give_up)), *expected);
        }
    }
}

#[test]
fn a3_a_lease_that_knows_no_circuit_is_given_up_through_any() {
    for info in [None, Some([5, 4, 192, 0, 2, 1])] {
        let mut world = World::with(&document("", EXTENDED), 3);
        let a = nth_client(1);
        let mut grant = world.ask(&a, "192.0.2.10", Why::Selecting, 3600);
        grant.relay_info = info.map(Into::into);
        world.one(secs(1), Command::Grant(grant));
        let give_up =
            GiveUp { relayed: true, circuit: 3, ..world.give_up(&a, "192.0.2.10", secs(9)) };
        assert_eq!(world.one(secs(9), Command::Release(give_up)), Outcome::GivenUp);
    }
}
