//! The configuration, the roster and time: R10, R12, R16; C6.

use super::*;
use crate::state::testing::nth_client;

fn info(node: u64, identity: &str) -> Command {
    Command::NodeInfo(NodeInfo {
        node: NodeId(node),
        name: format!("n{node}"),
        rack: String::new(),
        peer_address: String::new(),
        control: Vec::new(),
        identities: vec![ip(identity)],
        version: String::new(),
        level: 0,
    })
}

#[test]
fn a_configuration_that_does_not_parse_leaves_the_running_one() {
    let mut world = World::new();
    for bad in ["", "{}", r#"{"Dhcp4":{"subnet4":7}}"#, r#"{"Dhcp4":{"no-such-keyword":1}}"#] {
        let Outcome::ConfigRefused(text) = world.set_config(secs(1), bad) else {
            panic!("{bad} is accepted")
        };
        assert!(!text.is_empty());
    }
    assert_eq!(world.state.view().config_version(), ConfigVersion(1));
    assert!(world.state.view().config().unwrap().subnet(SubnetId(1)).is_some());
}

#[test]
fn a_conditional_change_applies_only_on_top_of_its_version() {
    let mut world = World::new();
    let set = |expected| {
        Command::SetConfig(SetConfig {
            expected: Some(ConfigVersion(expected)),
            ..SetConfig::json(document("", ""))
        })
    };
    assert_eq!(world.one(secs(1), set(0)), Outcome::ConfigConflict(ConfigVersion(1)));
    assert_eq!(world.one(secs(1), set(1)), Outcome::ConfigSet(ConfigVersion(2)));
    assert_eq!(world.one(secs(1), set(1)), Outcome::ConfigConflict(ConfigVersion(2)));
}

#[test]
fn before_the_first_configuration_nothing_is_granted_and_nothing_breaks() {
    let mut world = World::of(State::new(), ConfigVersion(0));
    assert_eq!(
        world.grant(secs(1), &nth_client(1), "192.0.2.10", Why::Selecting, 60),
        Outcome::Changed
    );
    let give_up = world.give_up(&nth_client(1), "192.0.2.10", secs(1));
    assert_eq!(world.one(secs(1), Command::Release(give_up.clone())), Outcome::NotHeld);
    assert_eq!(world.one(secs(1), Command::Decline(give_up)), Outcome::NotHeld);
    assert_eq!(world.reclaim(secs(1), 10), Outcome::Reclaimed { count: 0, more: false });
}

#[test]
fn r10_cluster_time_never_falls() {
    let mut world = World::new();
    world.at(secs(50), vec![Command::Tick]);
    world.at(secs(40), vec![Command::Tick]);
    assert_eq!(world.state.now(), secs(50));
}

#[test]
fn r12_the_wall_offset_moves_what_people_see_and_nothing_else() {
    let mut world = World::new();
    world.granted(secs(10), &nth_client(1), "192.0.2.10", Why::Selecting, 60);
    let before = world.lease("192.0.2.10");
    for offset in [i64::MIN, -5_000, 0, 1_700_000_000_000, i64::MAX] {
        assert_eq!(world.one(secs(11), Command::SetWallOffset(WallOffset(offset))), Outcome::Noted);
        let seen = world.state.view().meta().wall_seconds(secs(10));
        assert_eq!(seen, 10_000i64.saturating_add(offset).div_euclid(1000));
    }
    assert_eq!((world.lease("192.0.2.10"), world.state.now()), (before, secs(11)));
}

#[test]
fn r16_liveness_is_the_leaders_word_and_survives_a_nodes_own() {
    let mut world = World::new();
    assert_eq!(world.state.view().live_nodes(), [1, 2, 3].map(NodeId));
    world.one(secs(1), Command::NodeLiveness(NodeId(2), Liveness::Down));
    world.one(secs(2), info(2, "192.0.2.2"));
    assert_eq!(
        world.state.view().live_nodes(),
        [1, 3].map(NodeId),
        "it restarted, and is not up yet"
    );
    world.one(secs(3), Command::NodeLiveness(NodeId(2), Liveness::Up));
    world.one(secs(3), Command::NodeLiveness(NodeId(3), Liveness::Draining));
    assert_eq!(world.state.view().live_nodes(), [1, 2].map(NodeId));
    world.one(secs(4), info(4, "192.0.2.4"));
    assert_eq!(
        world.state.view().live_nodes(),
        [1, 2, 4].map(NodeId),
        "a new one is up when it speaks"
    );
}

#[test]
fn c6_the_identities_of_a_departed_node_stay_for_the_longest_lease_time() {
    let mut world = World::new();
    world.one(secs(1), info(2, "192.0.2.2"));
    world.one(secs(2), Command::NodeLiveness(NodeId(2), Liveness::Left));
    world.one(secs(3), info(2, "192.0.2.99"));
    world.one(secs(3), Command::NodeLiveness(NodeId(2), Liveness::Up));
    assert_eq!(
        world.state.view().live_nodes(),
        [1, 3].map(NodeId),
        "its number is never used again"
    );
    assert_eq!(world.state.view().meta().members(), 2);
    assert_eq!(world.state.view().node_of_identity(ip("192.0.2.2")), Some(NodeId(2)));
    world.one(secs(4), info(5, "192.0.2.2"));
    assert_eq!(
        world.state.view().node_of_identity(ip("192.0.2.2")),
        Some(NodeId(5)),
        "one that is here wins"
    );
    world.one(secs(2 * 86_400), info(1, "192.0.2.1"));
    assert!(world.state.view().meta().node(NodeId(2)).is_none());
}

#[test]
fn the_totals_of_a_subnet_go_with_it_and_its_last_lease() {
    let mut world = World::new();
    world.granted(secs(1), &nth_client(1), "192.0.2.10", Why::Selecting, 60);
    let without = document("", "").replace(r#""id":1,"#, r#""id":9,"#);
    world.set_config(secs(2), &without);
    assert_eq!(world.state.view().totals(SubnetId(1)).assigned, 1, "it has a lease still");
    world.one(secs(3), Command::WipeLeases(WipeLeases::first(None)));
    world.set_config(secs(4), &without);
    assert_eq!(world.state.view().totals(SubnetId(1)), Totals::default());
    let all = world.state.view().meta().all_totals();
    assert_eq!(all.assigned, 1, "the sum over all subnets never falls");
    world.set_config(secs(5), &document("", ""));
    assert_eq!(world.state.view().meta().all_totals(), all);
}

/// So many nodes, all up, of which these go into maintenance one after the other; those that do.
fn maintained(nodes: u64, first: &[(u64, Liveness)], wanted: &[u64]) -> Vec<u64> {
    let mut world = World::with(&document("", ""), nodes);
    for (node, liveness) in first {
        world.one(secs(2), Command::NodeLiveness(NodeId(*node), *liveness));
    }
    for node in wanted {
        world.one(secs(3), Command::NodeLiveness(NodeId(*node), Liveness::Maintenance));
    }
    let view = world.state.view();
    let nodes = view.nodes().filter(|(_, entry)| entry.liveness == Liveness::Maintenance);
    nodes.map(|(id, _)| id.0).collect()
}

#[test]
fn maintenance_leaves_a_majority_that_serves_whoever_asks_for_it() {
    assert_eq!(maintained(1, &[], &[1]), [0; 0]);
    assert_eq!(maintained(2, &[], &[1]), [0; 0]);
    assert_eq!(maintained(3, &[], &[1, 2]), [1], "two operators at once take one node");
    assert_eq!(maintained(5, &[], &[5, 4, 3, 2]), [4, 5]);
    assert_eq!(maintained(3, &[(2, Liveness::Down)], &[1]), [0; 0]);
    assert_eq!(
        maintained(3, &[(2, Liveness::Down)], &[2]),
        [2],
        "the one that is down can be spared"
    );
    assert_eq!(maintained(4, &[(4, Liveness::Left)], &[1, 2]), [1], "who has left does not count");
}
