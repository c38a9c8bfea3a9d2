//! Random histories: every client believes its ACKs, and no address is ever two clients'.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::state::testing::nth_client;

#[derive(Debug, Clone)]
enum Act {
    /// Client, address, kind, lifetime, whether the view it is decided on is old.
    Grant(u32, u8, Why, u32, bool),
    Release(u32, u8),
    Decline(u32, u8),
    Reclaim,
    Config(bool),
    Pass(u64),
}

fn any_act() -> impl Strategy<Value = Act> {
    let why = prop::sample::select(vec![
        Why::Selecting,
        Why::InitReboot,
        Why::Renewing,
        Why::Rebinding,
        Why::Unnamed,
        Why::Offering,
    ]);
    prop_oneof![
        8 => (0u32..4, 10u8..14, why, 1u32..60, any::<bool>()).prop_map(|(c, a, w, l, o)| Act::Grant(c, a, w, l, o)),
        1 => (0u32..4, 10u8..14).prop_map(|(c, a)| Act::Release(c, a)),
        1 => (0u32..4, 10u8..14).prop_map(|(c, a)| Act::Decline(c, a)),
        2 => Just(Act::Reclaim),
        1 => any::<bool>().prop_map(Act::Config),
        4 => (0u64..40_000).prop_map(Act::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// A client may hold to the longest end it was told since it last let go: by moving, giving up,
    /// or starting over. No other client may be granted the address before.
    #[test]
    fn no_address_is_granted_to_a_client_while_another_may_use_it(
        acts in prop::collection::vec(any_act(), 1..120),
        threshold in prop::sample::select(vec!["0.0", "0.25"]),
    ) {
        let global = format!(r#""cache-threshold":{threshold},"decline-probation-period":30,"#);
        let configs = [document("", &global), document(&reserved(&nth_client(0).hw.to_string(), "192.0.2.12"), &global)];
        let mut world = World::with(&configs[0], 3);
        let mut old = world.state.clone();
        let mut now = 1_000;
        // address → client → the end it may believe in
        let mut belief: BTreeMap<Ipv4Addr, BTreeMap<u32, ClusterTime>> = BTreeMap::new();
        let mut last_grant: BTreeMap<(Ipv4Addr, u32), u64> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Pass(millis) => {
                    now += millis;
                    old = world.state.clone();
                }
                Act::Config(which) => {
                    world.set_config(ms(now), &configs[usize::from(which)]);
                }
                Act::Reclaim => {
                    world.reclaim(ms(now), 2);
                }
                Act::Release(c, a) | Act::Decline(c, a) => {
                    let address = Ipv4Addr::new(192, 0, 2, a);
                    let give_up = world.give_up(&nth_client(c), &address.to_string(), ms(now));
                    let command = if matches!(act, Act::Release(..)) { Command::Release(give_up) } else { Command::Decline(give_up) };
                    if world.one(ms(now), command) == Outcome::GivenUp {
                        belief.entry(address).or_default().remove(&c);
                    }
                }
                Act::Grant(c, a, why, lifetime, on_old) => {
                    let client = nth_client(c);
                    let want = Ipv4Addr::new(192, 0, 2, a);
                    let seen = if on_old { old.clone() } else { world.state.clone() };
                    let live = std::mem::replace(&mut world.state, seen);
                    world.config = world.state.view().config_version();
                    let mut grant = world.ask(&client, &want.to_string(), why, lifetime);
                    grant.not_after = world.state.now().plus(std::time::Duration::from_secs(20));
                    let held = grant.items[0].held;
                    world.state = live;
                    if let Outcome::Granted(granted) = world.one(ms(now), Command::Grant(grant)) {
                        let address = granted.address();
                        let others = belief.entry(address).or_default();
                        for (other, end) in others.iter() {
                            prop_assert!(*other == c || *end <= ms(now), "{address} is {other}'s until {end}, now {c}'s at {now}");
                        }
                        if why == Why::Offering {
                            // Nothing was acknowledged, and what was before still holds (R6).
                            for (address, ends) in &belief {
                                if let Some(end) = ends.get(&c).filter(|end| **end > ms(now)) {
                                    let lease = world.state.view().lease(*address).unwrap();
                                    prop_assert!(lease.held_by(&client) && lease.reserved_until >= *end);
                                }
                            }
                            continue;
                        }
                        let end = ms(now).plus_lifetime(granted.lifetime());
                        prop_assert!(end <= granted.expires(), "told more than was committed");
                        // INIT gives up what it had, also the address it had; else the longest counts.
                        if let Some((moved_from, _)) = held.filter(|(held, _)| *held != address) {
                            belief.entry(moved_from).or_default().remove(&c);
                        }
                        let mine = belief.entry(address).or_default().entry(c).or_default();
                        // A repeat of one exchange is no new beginning: either ACK may arrive.
                        let last = last_grant.insert((address, c), now);
                        let afresh = matches!(why, Why::Selecting | Why::Unnamed)
                            && last.is_none_or(|last| now > last + 5_000);
                        *mine = if afresh { end } else { end.max(*mine) };
                        let lease = world.state.view().lease(address).unwrap();
                        prop_assert!(lease.held_by(&client) && lease.reserved_until >= *mine);
                    }
                }
            }
        }
    }
}
