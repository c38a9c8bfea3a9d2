//! R2, R4, R6, R7 and R8.

use super::*;
use crate::state::testing::{client, nth_client};

#[test]
fn r2a_a_stamp_behind_not_after_is_late_and_changes_nothing() {
    let mut world = World::new();
    let mut grant = world.ask(&nth_client(1), "192.0.2.10", Why::Selecting, 60);
    grant.not_after = secs(10);
    assert_eq!(world.one(ms(10_001), Command::Grant(grant.clone())), Outcome::Late);
    assert_eq!(world.lease("192.0.2.10"), None);
    let mut world = World::new();
    assert!(
        matches!(world.one(secs(10), Command::Grant(grant)), Outcome::Granted(_)),
        "the last moment counts"
    );
}

#[test]
fn r2a_the_stamp_that_counts_never_falls() {
    let mut world = World::new();
    world.at(secs(20), vec![Command::Tick]);
    let mut grant = world.ask(&nth_client(1), "192.0.2.10", Why::Selecting, 60);
    grant.not_after = secs(15);
    assert_eq!(world.one(secs(1), Command::Grant(grant)), Outcome::Late);
    assert_eq!(world.state.now(), secs(20));
}

#[test]
fn r2b_what_an_older_configuration_allowed_is_checked_against_the_one_in_force() {
    let cases = [
        ("the subnet is gone", document("", "").replace(r#""id":1,"#, r#""id":9,"#)),
        (
            "the pool is gone",
            document("", "").replace("192.0.2.10-192.0.2.99", "192.0.2.50-192.0.2.99"),
        ),
        ("it is reserved", document(&reserved("02:00:00:00:00:99", "192.0.2.10"), "")),
    ];
    for (what, config) in cases {
        let mut world = World::new();
        let grant = world.ask(&nth_client(1), "192.0.2.10", Why::Selecting, 60);
        assert_eq!(
            world.set_config(secs(1), &config),
            Outcome::ConfigSet(ConfigVersion(2)),
            "{what}"
        );
        assert_eq!(world.one(secs(1), Command::Grant(grant)), Outcome::Changed, "{what}");
        assert_eq!(world.lease("192.0.2.10"), None, "{what}");
    }
}

#[test]
fn r2b_a_configuration_change_elsewhere_does_not_disturb() {
    let mut world = World::new();
    let grant = world.ask(&nth_client(1), "192.0.2.10", Why::Selecting, 60);
    world.set_config(secs(1), &document("", r#""renew-timer":7,"#));
    assert!(matches!(world.one(secs(1), Command::Grant(grant)), Outcome::Granted(_)));
}

#[test]
fn r2b_an_address_outside_every_pool_is_never_bound_whatever_the_command_says() {
    let mut world = World::new();
    for want in ["192.0.2.200", "192.0.2.0"] {
        assert_eq!(
            world.grant(secs(1), &nth_client(1), want, Why::Selecting, 60),
            Outcome::Changed
        );
    }
    let mut grant = world.ask(&nth_client(1), "192.0.2.10", Why::Selecting, 60);
    grant.items[0].subnet = SubnetId(3);
    assert_eq!(
        world.one(secs(1), Command::Grant(grant.clone())),
        Outcome::Changed,
        "another subnet's pool"
    );
    grant.items.clear();
    assert_eq!(world.one(secs(1), Command::Grant(grant)), Outcome::Changed, "no item at all");
}

#[test]
fn a_reservation_outside_the_pools_is_its_clients() {
    let mut world = World::with(&document(&reserved("02:00:00:00:00:01", "192.0.2.200"), ""), 3);
    let owner = client("02:00:00:00:00:01", None);
    assert_eq!(
        world.grant(secs(1), &nth_client(9), "192.0.2.200", Why::Selecting, 60),
        Outcome::Changed
    );
    world.granted(secs(1), &owner, "192.0.2.200", Why::Selecting, 60);
}

#[test]
fn r2c_a_grant_decided_on_another_lease_is_changed() {
    let mut world = World::new();
    let a = nth_client(1);
    let first = world.ask(&a, "192.0.2.10", Why::Selecting, 60);
    // Meanwhile the client took another address through another node, in another subnet of the link.
    world.granted(secs(1), &a, "198.51.100.10", Why::Selecting, 60);
    assert_eq!(world.one(secs(1), Command::Grant(first)), Outcome::Changed);
    assert_eq!(world.state_of("198.51.100.10"), Some(LeaseState::Assigned));
    assert_eq!(world.lease("192.0.2.10"), None);
}

#[test]
fn r2c_a_late_retry_cannot_retire_the_address_the_client_has_taken_since() {
    let mut world = World::new();
    let a = nth_client(1);
    world.granted(secs(1), &a, "192.0.2.10", Why::Selecting, 60);
    // A move from .10 to .11 hangs in a deposed leader; the client goes to .12 in the meantime.
    let hung = world.ask(&a, "192.0.2.11", Why::Selecting, 60);
    world.granted(secs(2), &a, "192.0.2.12", Why::Selecting, 60);
    assert_eq!(world.one(secs(3), Command::Grant(hung)), Outcome::Changed);
    assert_eq!(world.state_of("192.0.2.12"), Some(LeaseState::Assigned));
    assert_eq!(world.lease("192.0.2.11"), None);
}

#[test]
fn r2c_a_held_lease_that_ended_or_began_anew_is_changed() {
    let mut world = World::new();
    let a = nth_client(1);
    world.granted(secs(1), &a, "192.0.2.10", Why::Selecting, 60);
    let moved = world.ask(&a, "192.0.2.11", Why::Selecting, 60);
    let release = world.give_up(&a, "192.0.2.10", secs(2));
    assert_eq!(world.one(secs(2), Command::Release(release)), Outcome::GivenUp);
    assert_eq!(
        world.one(secs(2), Command::Grant(moved.clone())),
        Outcome::Changed,
        "it has none now"
    );
    world.granted(secs(3), &a, "192.0.2.10", Why::Selecting, 60);
    assert_eq!(world.one(secs(3), Command::Grant(moved)), Outcome::Changed, "another generation");
}

#[test]
fn r2c_a_repeat_of_the_same_grant_is_granted_again() {
    let mut world = World::new();
    let a = nth_client(1);
    let grant = world.ask(&a, "192.0.2.10", Why::Selecting, 60);
    let outcomes = world.at(secs(1), vec![Command::Grant(grant.clone()), Command::Grant(grant)]);
    let generations: Vec<_> = outcomes
        .iter()
        .map(|o| match o {
            Outcome::Granted(granted) => granted.generation(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_ne!(generations[0], generations[1], "two Grants of one entry differ");
}

#[test]
fn r2c_a_client_that_named_no_address_gets_the_lease_it_has() {
    let mut world = World::new();
    let a = nth_client(1);
    let unnamed = world.ask(&a, "192.0.2.10", Why::Unnamed, 60);
    world.granted(secs(1), &a, "198.51.100.10", Why::Selecting, 60);
    let Outcome::Granted(granted) = world.one(secs(1), Command::Grant(unnamed)) else {
        panic!("it has a lease")
    };
    assert_eq!((granted.address(), granted.subnet()), (ip("198.51.100.10"), SubnetId(2)));
    assert_eq!(world.lease("192.0.2.10"), None);
}

#[test]
fn r2d_another_clients_lease_is_taken() {
    let mut world = World::new();
    world.granted(secs(1), &nth_client(1), "192.0.2.10", Why::Selecting, 60);
    for why in [Why::Selecting, Why::InitReboot, Why::Renewing, Why::Rebinding, Why::Unnamed] {
        let outcome = world.grant(secs(2), &nth_client(2), "192.0.2.10", why, 60);
        assert_eq!(outcome, Outcome::Taken(Taken::Leased), "{why:?}");
    }
    assert!(world.lease("192.0.2.10").unwrap().held_by(&nth_client(1)));
}

#[test]
fn r2d_of_two_clients_in_one_entry_the_first_has_it() {
    let mut world = World::new();
    let (a, b) = (nth_client(1), nth_client(2));
    let (first, second) = (
        world.ask(&a, "192.0.2.10", Why::Selecting, 60),
        world.ask(&b, "192.0.2.10", Why::Selecting, 60),
    );
    let outcomes = world.at(secs(1), vec![Command::Grant(first), Command::Grant(second)]);
    assert!(matches!(outcomes[0], Outcome::Granted(_)));
    assert_eq!(outcomes[1], Outcome::Taken(Taken::Leased));
}

#[test]
fn r2d_an_address_reserved_for_another_is_taken_even_for_its_holder() {
    let mut world = World::new();
    let a = nth_client(1);
    world.granted(secs(1), &a, "192.0.2.10", Why::Selecting, 60);
    world.set_config(secs(2), &document(&reserved("02:00:00:00:00:99", "192.0.2.10"), ""));
    world.config = ConfigVersion(2);
    assert_eq!(
        world.grant(secs(3), &a, "192.0.2.10", Why::Renewing, 60),
        Outcome::Taken(Taken::Reserved)
    );
    // The reserved host does not get it while the other holds the lease (Kea).
    let owner = client("02:00:00:00:00:99", None);
    assert_eq!(
        world.grant(secs(3), &owner, "192.0.2.10", Why::Selecting, 60),
        Outcome::Taken(Taken::Leased)
    );
    // The holder moves at its next exchange, and the address is free after that ACK.
    world.granted(secs(4), &a, "192.0.2.11", Why::Selecting, 60);
    assert_eq!(world.lease("192.0.2.10"), None);
    world.granted(secs(4), &owner, "192.0.2.10", Why::Selecting, 60);
}

#[test]
fn r2d_the_grace_of_another_is_taken() {
    let mut world = World::new();
    world.granted(secs(1), &nth_client(1), "192.0.2.10", Why::Selecting, 60);
    assert_eq!(
        world.grant(ms(60_999), &nth_client(2), "192.0.2.10", Why::Selecting, 60),
        Outcome::Taken(Taken::Leased)
    );
    assert_eq!(
        world.grant(ms(62_999), &nth_client(2), "192.0.2.10", Why::Selecting, 60),
        Outcome::Taken(Taken::Grace)
    );
    world.granted(secs(63), &nth_client(2), "192.0.2.10", Why::Selecting, 60);
}

#[test]
fn r2e_moving_retires_the_lease_held_before() {
    let mut world = World::new();
    let a = nth_client(1);
    world.granted(secs(1), &a, "192.0.2.10", Why::Selecting, 600);
    world.granted(secs(2), &a, "198.51.100.10", Why::Selecting, 600);
    assert_eq!(world.lease("192.0.2.10"), None);
    world.granted(secs(2), &nth_client(2), "192.0.2.10", Why::Selecting, 600);
    // Another network is another matter.
    world.granted(secs(3), &a, "203.0.113.10", Why::Selecting, 600);
    assert_eq!(world.state_of("198.51.100.10"), Some(LeaseState::Assigned));
}

#[test]
fn i2_two_clients_of_one_hardware_address_hold_two_leases() {
    let mut world = World::new();
    let rom = client("02:00:00:00:00:01", Some("00:01"));
    let os = client("02:00:00:00:00:01", Some("00:02"));
    world.granted(secs(1), &rom, "192.0.2.10", Why::Selecting, 60);
    assert_eq!(
        world.grant(secs(1), &os, "192.0.2.10", Why::Selecting, 60),
        Outcome::Taken(Taken::Leased)
    );
    world.granted(secs(1), &os, "192.0.2.11", Why::Selecting, 60);
    assert_eq!(world.state_of("192.0.2.10"), Some(LeaseState::Assigned));
}

#[test]
fn granted_says_what_was_written() {
    let mut world = World::new();
    let granted = world.granted(ms(1_500), &nth_client(1), "192.0.2.10", Why::Selecting, 60);
    assert_eq!(granted.address(), ip("192.0.2.10"));
    assert_eq!(granted.client(), &nth_client(1).key());
    assert_eq!((granted.stamp(), granted.expires()), (ms(1_500), ms(61_500)));
    assert_eq!(granted.lifetime().as_secs(), 60);
    assert_eq!(granted.generation(), Generation(2 * 128));
    let lease = world.lease("192.0.2.10").unwrap();
    assert_eq!(
        (lease.cltt, lease.expires, lease.generation),
        (ms(1_500), ms(61_500), granted.generation())
    );
    assert_eq!(lease.identity, ip("192.0.2.1"));
}

fn caching() -> World {
    World::with(&document("", r#""cache-threshold":0.25,"#), 3)
}

#[test]
fn r4_a_renewal_within_the_threshold_leaves_the_lease_and_grants_what_remains() {
    let mut world = caching();
    let a = nth_client(1);
    world.granted(secs(10), &a, "192.0.2.10", Why::Selecting, 100);
    let granted = world.granted(ms(35_000), &a, "192.0.2.10", Why::Rebinding, 100);
    assert_eq!((granted.lifetime().as_secs(), granted.expires()), (75, secs(110)));
    let lease = world.lease("192.0.2.10").unwrap();
    assert_eq!((lease.cltt, lease.valid.as_secs(), lease.expires), (secs(10), 100, secs(110)));
    // A moment later it is written.
    let granted = world.granted(ms(35_001), &a, "192.0.2.10", Why::Rebinding, 100);
    assert_eq!((granted.lifetime().as_secs(), granted.expires()), (100, ms(135_001)));
    assert_eq!(world.lease("192.0.2.10").unwrap().cltt, ms(35_001));
}

#[test]
fn r4_the_time_granted_from_the_cache_is_never_more_than_committed() {
    let mut world = caching();
    world.granted(secs(10), &nth_client(1), "192.0.2.10", Why::Selecting, 100);
    let granted = world.granted(ms(10_001), &nth_client(1), "192.0.2.10", Why::Renewing, 100);
    assert_eq!(granted.lifetime().as_secs(), 99);
}

#[test]
fn r4_a_changed_host_name_always_writes() {
    let mut world = caching();
    let a = nth_client(1);
    world.granted(secs(10), &a, "192.0.2.10", Why::Selecting, 100);
    let mut named = world.ask(&a, "192.0.2.10", Why::Rebinding, 100);
    named.hostname = "desk".into();
    world.one(secs(11), Command::Grant(named));
    let lease = world.lease("192.0.2.10").unwrap();
    assert_eq!((lease.cltt, &*lease.hostname), (secs(11), "desk"));
}

#[test]
fn r4_a_threshold_of_zero_is_off_and_a_maximum_age_bounds_it() {
    let mut world = World::new();
    world.granted(secs(10), &nth_client(1), "192.0.2.10", Why::Selecting, 100);
    world.granted(secs(10), &nth_client(1), "192.0.2.10", Why::Renewing, 100);
    world.granted(secs(11), &nth_client(1), "192.0.2.10", Why::Renewing, 100);
    assert_eq!(world.lease("192.0.2.10").unwrap().cltt, secs(11));
    let mut world = World::with(&document("", r#""cache-threshold":0.5,"cache-max-age":5,"#), 3);
    world.granted(secs(10), &nth_client(1), "192.0.2.10", Why::Selecting, 100);
    world.granted(secs(15), &nth_client(1), "192.0.2.10", Why::Renewing, 100);
    assert_eq!(world.lease("192.0.2.10").unwrap().cltt, secs(10));
    world.granted(secs(16), &nth_client(1), "192.0.2.10", Why::Renewing, 100);
    assert_eq!(world.lease("192.0.2.10").unwrap().cltt, secs(16));
}

#[test]
fn c7a_the_lease_keeps_the_identity_last_written_also_from_the_cache() {
    let mut world = caching();
    let a = nth_client(1);
    world.granted(secs(10), &a, "192.0.2.10", Why::Selecting, 100);
    let mut other = world.ask(&a, "192.0.2.10", Why::Rebinding, 100);
    other.identity = ip("192.0.2.3");
    world.one(secs(11), Command::Grant(other));
    let lease = world.lease("192.0.2.10").unwrap();
    assert_eq!((lease.identity, lease.cltt), (ip("192.0.2.3"), secs(10)));
}

#[test]
fn r5_a_generation_begins_with_a_new_holding_and_renewals_keep_it() {
    let mut world = World::new();
    let a = nth_client(1);
    let first = world.granted(secs(1), &a, "192.0.2.10", Why::Selecting, 60).generation();
    assert_eq!(world.granted(secs(20), &a, "192.0.2.10", Why::Renewing, 60).generation(), first);
    assert_eq!(world.granted(secs(40), &a, "192.0.2.10", Why::Rebinding, 60).generation(), first);
    for why in [Why::Selecting, Why::InitReboot, Why::Unnamed] {
        let before = world.lease("192.0.2.10").unwrap().generation;
        assert!(
            world.granted(secs(41), &a, "192.0.2.10", why, 60).generation() > before,
            "{why:?}"
        );
    }
    // A renewal of a free address is a new holding.
    let b = nth_client(2);
    let fresh = world.granted(secs(41), &b, "192.0.2.11", Why::Renewing, 60);
    assert_eq!(fresh.generation().0 / 128, world.state.applied());
}

#[test]
fn r6_a_shorter_renewal_does_not_free_the_address_before_the_longest_end() {
    let mut world = World::new();
    let a = nth_client(1);
    world.granted(secs(1), &a, "192.0.2.10", Why::Selecting, 1000);
    let granted = world.granted(secs(500), &a, "192.0.2.10", Why::Renewing, 60);
    assert_eq!(granted.expires(), secs(560));
    let lease = world.lease("192.0.2.10").unwrap();
    assert_eq!((lease.expires, lease.reserved_until), (secs(560), secs(1001)));
    assert_eq!(
        world.grant(secs(900), &nth_client(2), "192.0.2.10", Why::Selecting, 60),
        Outcome::Taken(Taken::Leased)
    );
    assert_eq!(world.reclaim(secs(900), 10), Outcome::Reclaimed { count: 0, more: false });
    // 1 % of the longer lifetime is 10 s of grace.
    assert_eq!(
        world.grant(ms(1_010_999), &nth_client(2), "192.0.2.10", Why::Selecting, 60),
        Outcome::Taken(Taken::Grace)
    );
    world.granted(secs(1011), &nth_client(2), "192.0.2.10", Why::Selecting, 60);
}

#[test]
fn r6_a_reboot_keeps_the_longer_end_and_a_new_exchange_begins_anew() {
    let mut world = World::new();
    let a = nth_client(1);
    world.granted(secs(1), &a, "192.0.2.10", Why::Selecting, 1000);
    world.granted(secs(100), &a, "192.0.2.10", Why::InitReboot, 60);
    assert_eq!(world.lease("192.0.2.10").unwrap().reserved_until, secs(1001));
    // The same exchange repeated: the first ACK may be the one the client takes.
    world.granted(secs(105), &a, "192.0.2.10", Why::Selecting, 60);
    assert_eq!(world.lease("192.0.2.10").unwrap().reserved_until, secs(1001));
    world.granted(secs(200), &a, "192.0.2.10", Why::Selecting, 60);
    assert_eq!(world.lease("192.0.2.10").unwrap().reserved_until, secs(260));
}

#[test]
fn r6_the_holder_itself_may_go_on_after_its_end() {
    let mut world = World::new();
    let a = nth_client(1);
    world.granted(secs(1), &a, "192.0.2.10", Why::Selecting, 60);
    world.granted(secs(500), &a, "192.0.2.10", Why::Renewing, 60);
}

#[test]
fn r7_the_grace_is_one_percent_within_2_and_600_s() {
    for (lifetime, grace) in [(60, 2), (1000, 10), (3600, 36), (1_000_000, 600)] {
        let mut world = World::new();
        world.granted(secs(0), &nth_client(1), "192.0.2.10", Why::Selecting, lifetime);
        assert_eq!(
            world.lease("192.0.2.10").unwrap().due,
            secs(u64::from(lifetime) + grace),
            "{lifetime}"
        );
    }
}

#[test]
fn r7_a_cluster_of_one_has_no_grace_and_a_subnet_may_set_its_own() {
    let mut world = World::with(&document("", ""), 1);
    world.granted(secs(0), &nth_client(1), "192.0.2.10", Why::Selecting, 3600);
    assert_eq!(world.lease("192.0.2.10").unwrap().due, secs(3600));
    for (grace, nodes) in [(0, 3), (7, 3), (7, 1)] {
        let own = format!(r#","user-context":{{"leasehold":{{"grace":{grace}}}}}"#);
        let mut world = World::with(&document(&own, ""), nodes);
        world.granted(secs(0), &nth_client(1), "192.0.2.10", Why::Selecting, 3600);
        assert_eq!(world.lease("192.0.2.10").unwrap().due, secs(3600 + grace));
    }
}

#[test]
fn an_infinite_lease_is_never_due() {
    let mut world = World::new();
    let granted = world.granted(secs(1), &nth_client(1), "192.0.2.10", Why::Selecting, u32::MAX);
    assert!(granted.lifetime().is_infinite());
    assert_eq!(world.state.view().next_due(), None);
    let far = ClusterTime::from_millis(u64::MAX - 1);
    assert_eq!(
        world.grant(far, &nth_client(2), "192.0.2.10", Why::Selecting, 60),
        Outcome::Taken(Taken::Leased)
    );
}

#[test]
fn r8_a_lease_whose_subnet_is_gone_blocks_its_address_until_it_ends() {
    let mut world = World::new();
    let a = nth_client(1);
    world.granted(secs(0), &a, "192.0.2.10", Why::Selecting, 100);
    world.set_config(secs(1), &document("", "").replace(r#""id":1,"#, r#""id":9,"#));
    world.config = ConfigVersion(2);
    let network = world.state.view().config().unwrap().subnet(SubnetId(9)).unwrap().network;
    assert_eq!(world.state.view().lease_of(&a, network), None, "it is not live");
    let mut other = world.ask(&nth_client(2), "192.0.2.10", Why::Selecting, 60);
    other.items[0].subnet = SubnetId(9);
    assert_eq!(world.one(secs(2), Command::Grant(other.clone())), Outcome::Taken(Taken::Leased));
    // It is live again when its subnet id comes back.
    world.set_config(secs(3), &document("", ""));
    world.config = ConfigVersion(3);
    let network = world.state.view().config().unwrap().subnet(SubnetId(1)).unwrap().network;
    assert!(world.state.view().lease_of(&a, network).is_some());
    world.granted(secs(3), &a, "192.0.2.10", Why::Renewing, 100);
    // And it ends like any other.
    world.set_config(secs(4), &document("", "").replace(r#""id":1,"#, r#""id":9,"#));
    assert!(matches!(world.one(secs(200), Command::Grant(other)), Outcome::Granted(_)));
}

#[test]
fn m2_the_last_lease_is_its_clients_again_unless_another_took_it() {
    let mut world = World::new();
    let a = nth_client(1);
    let network = world.state.view().config().unwrap().subnet(SubnetId(1)).unwrap().network;
    world.granted(secs(0), &a, "192.0.2.10", Why::Selecting, 100);
    assert_eq!(world.reclaim(secs(200), 10), Outcome::Reclaimed { count: 1, more: false });
    let view = world.state.view();
    assert_eq!(view.lease_of(&a, network), None);
    assert_eq!(view.last_lease_of(&a, network).map(|lease| lease.address), Some(ip("192.0.2.10")));
    assert_eq!(view.availability(ip("192.0.2.10"), &a, secs(200)), Availability::Free);
    world.granted(secs(201), &nth_client(2), "192.0.2.10", Why::Selecting, 100);
    assert_eq!(world.state.view().last_lease_of(&a, network), None);
}

#[test]
fn r2b_a_grant_that_matched_ids_otherwise_than_the_applied_configuration_is_changed() {
    let mut world = World::new();
    let mut client = nth_client(1);
    client.match_id = !client.match_id;
    let outcome = world.grant(secs(1), &client, "192.0.2.10", Why::Selecting, 60);
    assert_eq!(outcome, Outcome::Changed);
}
