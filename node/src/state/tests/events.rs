//! R23: what is told of what happens. The second node tells, the first does not, and both must come
//! to the same outcomes and the same state.

use super::*;
use crate::state::testing::nth_client;

impl World {
    /// The events since it was last asked: `kind address` or `kind version`, with the time of the end
    /// for leases.
    fn told(&mut self) -> Vec<String> {
        let told = self.events.iter().map(|event| match &event.subject {
            Subject::Lease(lease) => {
                format!("{} {} until {}", event.kind.name(), lease.address, lease.expires)
            }
            Subject::Config(version) => format!("{} {}", event.kind.name(), version.0),
        });
        let told = told.collect();
        self.events.clear();
        told
    }
}

#[test]
fn a_life_of_a_lease_is_told() {
    let mut world = World::new();
    let a = nth_client(1);
    world.granted(secs(1), &a, "192.0.2.10", Why::Selecting, 60);
    world.granted(secs(31), &a, "192.0.2.10", Why::Renewing, 60);
    world.granted(secs(61), &a, "192.0.2.10", Why::Rebinding, 60);
    world.granted(secs(62), &a, "192.0.2.10", Why::InitReboot, 60);
    let give_up = world.give_up(&a, "192.0.2.10", secs(65));
    world.one(secs(65), Command::Release(give_up));
    assert_eq!(
        world.told(),
        [
            "bound 192.0.2.10 until 61s",
            "renewed 192.0.2.10 until 91s",
            "renewed 192.0.2.10 until 121s",
            "bound 192.0.2.10 until 122s",
            "released 192.0.2.10 until 122s",
        ]
    );
    // The released lease is forgotten in silence.
    world.reclaim(secs(100_000), 10);
    assert!(world.told().is_empty());
}

#[test]
fn an_end_is_told_by_the_sweep_or_by_whoever_takes_the_address() {
    let mut world = World::new();
    let (a, b) = (nth_client(1), nth_client(2));
    world.granted(secs(1), &a, "192.0.2.10", Why::Selecting, 60);
    world.granted(secs(1), &a, "203.0.113.10", Why::Selecting, 60);
    world.told();
    world.granted(secs(100), &b, "192.0.2.10", Why::Selecting, 60);
    world.reclaim(secs(100), 10);
    assert_eq!(
        world.told(),
        [
            "expired 192.0.2.10 until 61s",
            "bound 192.0.2.10 until 160s",
            "expired 203.0.113.10 until 61s",
        ]
    );
}

#[test]
fn a_client_that_moves_leaves_its_address() {
    let mut world = World::new();
    let a = nth_client(1);
    world.granted(secs(1), &a, "192.0.2.10", Why::Selecting, 60);
    world.granted(secs(2), &a, "192.0.2.11", Why::Selecting, 60);
    assert_eq!(
        world.told(),
        ["bound 192.0.2.10 until 61s", "moved 192.0.2.10 until 61s", "bound 192.0.2.11 until 62s",]
    );
}

#[test]
fn a_decline_and_its_probation_are_told() {
    let mut world = World::new();
    let a = nth_client(1);
    world.granted(secs(1), &a, "192.0.2.10", Why::Selecting, 60);
    let decline = world.give_up(&a, "192.0.2.10", secs(2));
    world.one(secs(2), Command::Decline(decline));
    world.reclaim(secs(200_000), 10);
    assert_eq!(
        world.told(),
        [
            "bound 192.0.2.10 until 61s",
            "declined 192.0.2.10 until 61s",
            "recovered 192.0.2.10 until 86402s",
        ]
    );
}

#[test]
fn an_offer_that_nobody_took_is_no_event() {
    let mut world = World::new();
    let (a, b) = (nth_client(1), nth_client(2));
    world.granted(secs(1), &a, "192.0.2.10", Why::Offering, 10);
    world.granted(secs(1), &b, "192.0.2.11", Why::Offering, 10);
    world.granted(secs(2), &b, "192.0.2.11", Why::Selecting, 60);
    world.reclaim(secs(50), 10);
    assert_eq!(world.told(), ["bound 192.0.2.11 until 62s"]);
}

#[test]
fn a_grant_from_the_cache_is_no_event() {
    let mut world = World::with(&document("", r#""cache-threshold":0.5,"#), 3);
    let a = nth_client(1);
    world.granted(secs(1), &a, "192.0.2.10", Why::Selecting, 60);
    world.granted(secs(5), &a, "192.0.2.10", Why::Renewing, 60);
    world.granted(secs(45), &a, "192.0.2.10", Why::Renewing, 60);
    assert_eq!(world.told(), ["bound 192.0.2.10 until 61s", "renewed 192.0.2.10 until 105s"]);
}

#[test]
fn administrators_and_configurations_are_told_with_their_places() {
    let mut world = World::new();
    let a = nth_client(1);
    world.granted(secs(1), &a, "192.0.2.10", Why::Selecting, 60);
    world.events.clear();
    let delete = |address| Command::DeleteLease(DeleteLease { address: ip(address), seen: None });
    let set = Command::SetConfig(SetConfig::json(document("", r#""renew-timer":9,"#)));
    let commands = vec![delete("192.0.2.10"), delete("192.0.2.99"), set];
    world.at(secs(2), commands);
    let places: Vec<u32> = world.events.iter().map(|event| event.position.offset).collect();
    assert_eq!(places, [0, 1], "what does nothing has no place");
    assert_eq!(world.told(), ["deleted 192.0.2.10 until 61s", "configured 2"]);
}

#[test]
fn positions_are_read_as_they_are_printed() {
    let position = Position { index: 12, offset: 3 };
    assert_eq!(position.to_string().parse(), Ok(position));
    assert_eq!("12".parse(), Ok(Position::at(12)));
    for wrong in ["", ".", "1.", ".1", "+1", "1.+1", "1.2.3", "-1", "99999999999999999999"] {
        assert_eq!(wrong.parse::<Position>(), Err(event::BadPosition), "{wrong:?}");
    }
}

/// What telling costs: `cargo nextest run --run-ignored only telling_costs --no-capture`.
#[test]
#[ignore = "measures, and checks nothing"]
fn telling_costs() {
    use crate::clock::Stopwatch;
    let document = r#"{"Dhcp4":{"cache-threshold":0.0,"subnet4":[
        {"id":1,"subnet":"10.0.0.0/8","pools":[{"pool":"10.0.0.1-10.255.0.0"}]}]}}"#;
    let mut state = testing::machine(document, 3);
    let count = 100_000u32;
    let grant = |n: u32, why, held| {
        let want = Ipv4Addr::from(0x0a00_0001 + n);
        Command::Grant(Grant {
            origin: Origin { node: NodeId(1), incarnation: 1, sequence: 1 },
            not_after: ClusterTime::NEVER,
            config: ConfigVersion(1),
            client: nth_client(n),
            items: vec![GrantItem {
                subnet: SubnetId(1),
                want,
                why,
                held,
                lifetime: Lifetime::from_secs(3600),
            }],
            hostname: "host-name-of-a-client".into(),
            fqdn_fwd: false,
            fqdn_rev: false,
            identity: Ipv4Addr::UNSPECIFIED,
            relay_info: None,
            checked: false,
        })
    };
    let mut now = 1;
    for n in 0..count {
        let index = state.applied() + 1;
        state.apply(
            index,
            &Batch { stamp: ms(now), commands: vec![grant(n, Why::Selecting, None)] },
        );
    }
    let mut events = Vec::new();
    for round in 0..6 {
        now += 1_000;
        let telling = round % 2 == 1;
        let mut nanos = 0;
        for first in (0..count).step_by(128) {
            let commands = (first..count.min(first + 128))
                .map(|n| {
                    let address = Ipv4Addr::from(0x0a00_0001 + n);
                    let lease = state.view().lease(address).unwrap();
                    grant(n, Why::Renewing, Some((address, lease.generation)))
                })
                .collect();
            let (index, batch) = (state.applied() + 1, Batch { stamp: ms(now), commands });
            let watch = Stopwatch::start();
            if telling {
                state.apply_telling(index, &batch, Prepared::default(), &mut events);
            } else {
                state.apply(index, &batch);
            }
            nanos += watch.elapsed().as_nanos();
            // Written and let go of elsewhere.
            events.clear();
        }
        println!("telling {telling}: {} ns a renewal", nanos / u128::from(count));
    }
}
