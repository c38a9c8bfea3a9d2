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
    assert!(lease.expires < hold.since && lease.due == hold.until);
    for why in CLAIMS.into_iter().chain(WISHES) {
        let mut world = World::of(world.state.clone(), world.config);
        let outcome = checked(&mut world, ms(hold.until.as_millis() - 1), 2, ADDRESS, why);
        assert!(matches!(outcome, Outcome::Taken(_)), "{why:?}: {outcome:?}");
    }
    for why in CLAIMS {
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

/// The client in the copy may have left, and the old cluster have given its address to another.
#[test]
fn r28_the_client_of_the_copy_has_its_address_only_after_a_check_unless_it_claims_it() {
    let mut world = World::new();
    // The last thing that the old cluster did: nothing tells it from what comes next but that.
    world.granted(secs(10), &nth_client(1), ADDRESS, Why::Selecting, 600);
    let copied = copy(&world, 0, true);
    let now = copied.state.now();
    for why in WISHES {
        let mut world = World::of(copied.state.clone(), copied.config);
        let before = world.state.view().lease(ip(ADDRESS)).cloned();
        assert!(world.state.view().is_held(ip(ADDRESS), now));
        assert_eq!(world.grant(now, &nth_client(1), ADDRESS, why, 60), Outcome::Held, "{why:?}");
        assert_eq!(world.state.view().lease(ip(ADDRESS)).cloned(), before, "nothing was done");
        assert!(is_granted(&checked(&mut world, now, 1, ADDRESS, why)), "{why:?}");
    }
    for why in CLAIMS {
        let mut world = World::of(copied.state.clone(), copied.config);
        world.granted(now, &nth_client(1), ADDRESS, why, 60);
        assert!(!world.state.view().is_held(ip(ADDRESS), now), "{why:?}: known from here on");
        world.granted(now, &nth_client(1), ADDRESS, Why::Selecting, 60);
    }
}

#[test]
fn r28_a_check_of_one_address_is_no_licence_for_the_one_that_the_client_has() {
    let mut world = World::new();
    world.granted(secs(10), &nth_client(1), ADDRESS, Why::Selecting, 600);
    let mut world = copy(&world, 0, true);
    // The node did not see the lease, so the grant comes to the client's own address.
    let mut grant = world.ask(&nth_client(1), "192.0.2.30", Why::Unnamed, 60);
    (grant.checked, grant.items[0].held) = (true, None);
    let now = world.state.now();
    assert_eq!(world.one(now, Command::Grant(grant)), Outcome::Held);
}

#[test]
fn r28_an_address_of_the_copy_goes_to_no_other_before_the_hold_is_over() {
    for why in [Why::Selecting, Why::Renewing] {
        let mut world = World::new();
        world.granted(secs(10), &nth_client(1), ADDRESS, Why::Selecting, 600);
        // Beyond what counts as the same exchange.
        let mut world = copy(&world, 100, true);
        let hold = recovery(&world);
        assert!(is_granted(&checked(&mut world, hold.since, 1, ADDRESS, why)), "{why:?}");
        let lease = world.state.view().lease(ip(ADDRESS)).unwrap();
        assert!(lease.expires < hold.until, "{lease:?}");
        let late = ms(hold.until.as_millis() - 1);
        let sweep = Command::Reclaim(Reclaim { limit: 10, remove: true });
        assert_eq!(world.one(late, sweep), Outcome::Reclaimed { count: 0, more: false }, "{why:?}");
        let other = checked(&mut world, late, 2, ADDRESS, Why::Selecting);
        assert!(matches!(other, Outcome::Taken(_)), "{why:?}: {other:?}");
        world.granted(hold.until, &nth_client(2), ADDRESS, Why::Selecting, 60);
    }
}

#[test]
fn r28_what_was_given_back_or_ran_out_is_held_whoever_granted_it() {
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
    // That nobody answered is no proof, so one check does not serve the next client.
    assert!(is_granted(&checked(&mut world, now, 2, ADDRESS, Why::Selecting)));
    let release = world.give_up(&second, ADDRESS, now);
    assert_eq!(world.one(now, Command::Release(release)), Outcome::GivenUp);
    assert_eq!(world.grant(now, &first, ADDRESS, Why::Selecting, 60), Outcome::Held);
    assert!(is_granted(&checked(&mut world, now, 1, ADDRESS, Why::Selecting)));
    let over = world.state.view().lease(ip(ADDRESS)).unwrap().due;
    assert!(over < recovery(&world).until);
    assert_eq!(world.grant(over, &second, ADDRESS, Why::Selecting, 60), Outcome::Held, "unswept");
    let sweep = Command::Reclaim(Reclaim { limit: 10, remove: false });
    assert_eq!(world.one(over, sweep), Outcome::Reclaimed { count: 1, more: false });
    assert_eq!(world.grant(over, &second, ADDRESS, Why::Selecting, 60), Outcome::Held, "swept");
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
    let wall = world.state.view().meta().wall_millis(secs(10));
    let mut world = copy(&world, 30, false);
    assert_eq!(world.state.view().meta().recovery(), None);
    assert!(world.state.view().live_nodes().is_empty());
    assert_eq!((world.state.view().meta().members(), world.state.highest_node()), (0, NodeId(3)));
    // Who says how much time has passed may be wrong: nobody loses a lease by it.
    let meta = world.state.view().meta();
    assert_eq!((meta.now(), meta.wall_millis(meta.now())), (secs(10), wall + 30_000));
    world.granted(secs(20), &nth_client(2), "192.0.2.21", Why::Selecting, 60);
    let other = world.grant(secs(69), &nth_client(3), ADDRESS, Why::Selecting, 60);
    assert_eq!(other, Outcome::Taken(Taken::Leased));
    world.granted(secs(75), &nth_client(3), ADDRESS, Why::Selecting, 60);
}

#[test]
fn r28_a_copy_of_a_copy_is_held_no_shorter_than_that_one() {
    let endless = document("", r#""max-valid-lifetime":4294967295,"#);
    let mut world = World::with(&endless, 1);
    world.granted(secs(10), &nth_client(1), ADDRESS, Why::Selecting, 60);
    let first = copy(&world, 0, true);
    assert_eq!(recovery(&first).until, ClusterTime::NEVER);
    // So many versions later nobody remembers that there were leases without an end.
    let mut later = World::of(first.state.clone(), first.config);
    for n in 0..=crate::state::MOST_VERSIONS as u32 {
        let times = format!(r#""valid-lifetime":{},"#, 600 + n);
        let set = Command::SetConfig(SetConfig::json(document("", &times)));
        assert!(matches!(later.one(secs(20), set), Outcome::ConfigSet(_)));
    }
    assert!(!later.state.longest_granted().is_infinite());
    assert_eq!(recovery(&copy(&later, 0, true)).until, ClusterTime::NEVER);
    // Without a hold leases have their own ends again.
    let lease = copy(&first, 0, false).state.view().lease(ip(ADDRESS)).unwrap().clone();
    assert_eq!((lease.reserved_until, lease.due), (secs(70), secs(70)));
}

#[test]
fn r6_what_was_committed_for_a_client_outlives_the_end_of_the_hold() {
    let document = document("", r#""cache-threshold":0.0,"valid-lifetime":3600,"#);
    let mut world = World::with(&document, 3);
    for (n, address) in [(1, ADDRESS), (2, "192.0.2.21")] {
        world.granted(secs(10), &nth_client(n), address, Why::Selecting, 600);
        world.granted(secs(20), &nth_client(n), address, Why::Renewing, 60);
    }
    let mut world = copy(&world, 0, true);
    let hold = recovery(&world);
    // The old cluster may have told it an hour.
    world.granted(secs(30), &nth_client(2), "192.0.2.21", Why::Renewing, 60);
    assert_eq!(world.one(secs(40), Command::EndHold(EndHold::FIRST)), Outcome::HoldEnded);
    let ends = |address: &str| {
        let lease = world.state.view().lease(ip(address)).unwrap();
        (lease.expires, lease.reserved_until)
    };
    assert_eq!(ends(ADDRESS), (secs(80), secs(610)), "the copy's own");
    assert_eq!(ends("192.0.2.21"), (secs(90), secs(3630)));
    assert!(secs(3630) <= hold.until);
    let other = world.grant(secs(609), &nth_client(3), ADDRESS, Why::Selecting, 60);
    assert_eq!(other, Outcome::Taken(Taken::Leased));
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
    assert_eq!((first.expires, first.due), (secs(601), ClusterTime::NEVER));
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
