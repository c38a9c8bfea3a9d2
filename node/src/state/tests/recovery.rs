//! R28: what a cluster holds back that was made from a copy of another.

use super::*;
use crate::state::testing::nth_client;

/// The machine of a new cluster, made of what `world` has now.
fn copy(world: &World, passed: u64, hold: bool) -> World {
    let mut state = world.state.clone();
    state.begin_anew(&Copied {
        source: Source::Backup,
        cluster: 7,
        index: state.applied(),
        wall: 0,
        passed: std::time::Duration::from_secs(passed),
        hold,
        longest: None,
    });
    state.check().unwrap();
    World::of(state, world.state.view().config_version())
}

fn recovery(world: &World) -> Recovery {
    *world.state.view().meta().recovery().unwrap()
}

/// A Grant of an address that was pinged in vain.
fn checked(world: &mut World, at: ClusterTime, n: u32, want: &str, why: Why) -> Outcome {
    let grant = Grant { checked: true, ..world.ask(&nth_client(n), want, why, 600) };
    world.one(at, Command::Grant(grant))
}

fn is_granted(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Granted(_))
}

const ADDRESS: &str = "192.0.2.20";
const CLAIMS: [Why; 3] = [Why::InitReboot, Why::Renewing, Why::Rebinding];
const WISHES: [Why; 3] = [Why::Selecting, Why::Unnamed, Why::Offering];

#[test]
fn r28_an_address_that_the_copy_does_not_list_goes_to_a_new_client_only_after_a_check() {
    for why in WISHES {
        let mut world = copy(&World::new(), 0, true);
        let now = world.state.now();
        assert!(world.state.view().is_held(ip(ADDRESS), now));
        assert_eq!(world.grant(now, &nth_client(1), ADDRESS, why, 600), Outcome::Held, "{why:?}");
        assert!(world.state.view().lease(ip(ADDRESS)).is_none(), "nothing was done");
        assert!(is_granted(&checked(&mut world, now, 1, ADDRESS, why)), "{why:?}");
        // The check of one is no licence for another.
        let other = checked(&mut world, now, 2, ADDRESS, why);
        assert!(!is_granted(&other), "{why:?}: {other:?}");
    }
}

#[test]
fn r28_a_client_that_claims_the_address_has_it() {
    for why in CLAIMS {
        let mut world = copy(&World::new(), 0, true);
        let now = world.state.now();
        world.granted(now, &nth_client(1), ADDRESS, why, 600);
        for other in CLAIMS {
            let outcome = world.grant(now, &nth_client(2), ADDRESS, other, 600);
            assert_eq!(outcome, Outcome::Taken(Taken::Leased), "at most one: {why:?} {other:?}");
        }
    }
}

#[test]
fn r28_a_lease_of_the_copy_stays_its_clients_although_its_end_has_passed() {
    let mut world = World::new();
    world.granted(secs(10), &nth_client(1), ADDRESS, Why::Selecting, 60);
    // A day later it may have been renewed until a moment ago.
    let world = copy(&world, 86_400, true);
    let hold = recovery(&world);
    let lease = world.state.view().lease(ip(ADDRESS)).unwrap().clone();
    assert!(lease.expires < hold.since && lease.reserved_until == hold.until);
    for why in CLAIMS.into_iter().chain(WISHES) {
        let mut world = copy(&world, 0, true);
        let outcome = checked(&mut world, ms(hold.until.as_millis() - 1), 2, ADDRESS, why);
        assert!(matches!(outcome, Outcome::Taken(_)), "{why:?}: {outcome:?}");
    }
    for why in CLAIMS.into_iter().chain(WISHES) {
        let mut world = World::of(world.state.clone(), world.config);
        world.granted(hold.since, &nth_client(1), ADDRESS, why, 60);
    }
    // When the hold is over, so is what the copy knew.
    let mut world = World::of(world.state.clone(), world.config);
    let sweep = Command::Reclaim(Reclaim { limit: 10, remove: true });
    let swept = world.one(hold.until, sweep);
    assert_eq!(swept, Outcome::Reclaimed { count: 1, more: false });
    world.granted(hold.until, &nth_client(2), ADDRESS, Why::Selecting, 60);
}

#[test]
fn r28_what_was_given_back_or_ran_out_in_the_copy_is_held_and_what_was_granted_since_is_not() {
    let mut world = World::new();
    let (first, second) = (nth_client(1), nth_client(2));
    world.granted(secs(10), &first, ADDRESS, Why::Selecting, 60);
    let release = world.give_up(&first, ADDRESS, secs(11));
    assert_eq!(world.one(secs(11), Command::Release(release)), Outcome::GivenUp);
    let mut world = copy(&world, 0, true);
    let now = world.state.now();
    assert_eq!(
        world.grant(now, &first, ADDRESS, Why::Selecting, 60),
        Outcome::Held,
        "not even his"
    );
    world.granted(now, &second, ADDRESS, Why::Renewing, 60);
    let release = world.give_up(&second, ADDRESS, now);
    assert_eq!(world.one(now, Command::Release(release)), Outcome::GivenUp);
    assert!(!world.state.view().is_held(ip(ADDRESS), now), "this cluster knows who had it");
    world.granted(now, &first, ADDRESS, Why::Selecting, 60);
}

#[test]
fn r28_the_hold_is_as_long_as_the_longest_lifetime_of_every_configuration_that_is_kept() {
    let hold = |world: &World| {
        let recovery = recovery(&copy(world, 5, true));
        assert_eq!(recovery.since, world.state.now().plus(std::time::Duration::from_secs(5)));
        (recovery.longest.as_secs(), recovery.until.since(recovery.since).as_secs())
    };
    let config = |times: &str| document("", times);
    let mut world = World::with(&config(r#""valid-lifetime":3600,"max-valid-lifetime":36000,"#), 3);
    assert_eq!(hold(&world), (36_000, 36_360), "and the grace of R7");
    let shorter = SetConfig::json(config(r#""valid-lifetime":600,"#));
    world.one(secs(1), Command::SetConfig(shorter));
    assert_eq!(hold(&world).0, 36_000, "the old one was in force when leases were granted");
    // A lease that an administrator made longer than any configuration.
    world.granted(secs(2), &nth_client(1), ADDRESS, Why::Selecting, 50_000);
    assert_eq!(hold(&world).0, 50_000);

    let class = r#""client-classes":[{"name":"c","valid-lifetime":90000}],"#;
    assert_eq!(hold(&World::with(&config(class), 1)).0, 90_000);
    let endless = World::with(&config(r#""max-valid-lifetime":4294967295,"#), 1);
    assert_eq!(recovery(&copy(&endless, 0, true)).until, ClusterTime::NEVER);
    let told = Copied {
        source: Source::Survivor,
        cluster: 7,
        index: 1,
        wall: 0,
        passed: std::time::Duration::ZERO,
        hold: true,
        longest: Some(Lifetime::from_secs(99_999)),
    };
    let mut state = world.state.clone();
    state.begin_anew(&told);
    assert_eq!(state.view().meta().recovery().unwrap().longest.as_secs(), 99_999);
}

#[test]
fn r28_who_answers_at_a_held_address_keeps_it() {
    let mut world = copy(&World::new(), 0, true);
    let now = world.state.now();
    let origin = Origin { node: NodeId(1), incarnation: 1, sequence: 1 };
    let found = InUse { origin, subnet: SubnetId(1), address: ip(ADDRESS), circuit: 0 };
    assert_eq!(world.one(now, Command::InUse(found.clone())), Outcome::NotHeld);
    world.granted(now, &nth_client(1), ADDRESS, Why::Renewing, 600);
    let over = recovery(&world).until;
    let elsewhere = InUse { address: ip("192.0.2.21"), ..found };
    assert_eq!(world.one(over, Command::InUse(elsewhere)), Outcome::GivenUp, "as ever");
}

#[test]
fn r28_without_a_hold_nothing_is_held_and_nobody_of_the_old_cluster_is_there() {
    let mut world = World::new();
    world.granted(secs(10), &nth_client(1), ADDRESS, Why::Selecting, 60);
    let mut world = copy(&world, 30, false);
    assert_eq!(world.state.view().meta().recovery(), None);
    assert_eq!(world.state.now(), secs(40), "people's clocks went on");
    assert!(world.state.view().live_nodes().is_empty());
    assert_eq!((world.state.view().meta().members(), world.state.highest_node()), (0, NodeId(3)));
    world.granted(secs(50), &nth_client(2), "192.0.2.21", Why::Selecting, 60);
    world.granted(secs(75), &nth_client(3), ADDRESS, Why::Selecting, 60);
}

#[test]
fn r28_an_operator_ends_the_hold_step_by_step_and_leases_have_their_own_ends_again() {
    let document = document("", r#""max-valid-lifetime":4294967295,"#)
        .replace("192.0.2.0/24", "10.0.0.0/8")
        .replace("192.0.2.10-192.0.2.99", "10.0.0.0-10.255.255.255");
    let mut world = World::with(&document, 1);
    let count = EndHold::MAX as u32 + 10;
    for first in (0..count).step_by(Batch::MAX) {
        let grants = (first..count.min(first + Batch::MAX as u32)).map(|n| {
            let item = GrantItem {
                subnet: SubnetId(1),
                want: Ipv4Addr::from(0x0a00_0000 + n),
                why: Why::Selecting,
                held: None,
                lifetime: Lifetime::from_secs(600),
            };
            let grant = world.ask(&nth_client(n), "203.0.113.10", Why::Selecting, 600);
            Command::Grant(Grant { items: vec![item], ..grant })
        });
        let grants: Vec<Command> = grants.collect();
        assert!(world.at(secs(1), grants).iter().all(is_granted));
    }
    let mut world = copy(&world, 0, true);
    assert_eq!(recovery(&world).until, ClusterTime::NEVER, "nothing but a word ends it");
    let first = world.state.view().lease(ip("10.0.0.0")).unwrap().clone();
    assert_eq!((first.expires, first.reserved_until), (secs(601), ClusterTime::NEVER));
    let Outcome::HoldEnding { next } = world.one(secs(2), Command::EndHold(EndHold::FIRST)) else {
        panic!("one step is bounded");
    };
    assert!(world.state.view().is_held(ip("10.9.9.9"), secs(2)), "not before the last step");
    let last = world.one(secs(3), Command::EndHold(EndHold { from: next }));
    assert_eq!(last, Outcome::HoldEnded);
    assert!(!world.state.view().is_held(ip("10.9.9.9"), secs(3)));
    let ends = world.state.view().freeze();
    assert!(ends.leases().all(|lease| lease.reserved_until == secs(601) && lease.due >= secs(601)));
    assert_eq!(world.one(secs(4), Command::EndHold(EndHold::FIRST)), Outcome::HoldEnded, "twice");
    world.granted(secs(4), &nth_client(1_000_000), "203.0.113.50", Why::Selecting, 60);
}
