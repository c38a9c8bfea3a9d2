//! Letting nodes in, and feature levels: R14, R24.

use super::*;

fn token(id: u64, secret: &str, not_after: ClusterTime, uses: u32) -> Command {
    let digest = Sha256::of(secret.as_bytes());
    let note = "a spare".to_owned();
    Command::PutToken(JoinToken { id, digest, not_after, uses, learner: false, note })
}

fn admit(secret: &str, instance: u64, above: u64) -> Command {
    Command::Admit(Admit {
        token: Sha256::of(secret.as_bytes()),
        instance,
        address: "192.0.2.14:7701".into(),
        name: "rack-d".into(),
        tls_name: String::new(),
        learner: false,
        above: NodeId(above),
    })
}

fn introduced(node: u64, level: u32) -> Command {
    Command::NodeInfo(NodeInfo {
        node: NodeId(node),
        name: String::new(),
        rack: String::new(),
        peer_address: String::new(),
        control: Vec::new(),
        identities: Vec::new(),
        version: String::new(),
        level,
    })
}

/// A machine at the highest level.
fn raised() -> World {
    let mut world = World::new();
    (1..=3).for_each(|node| _ = world.one(secs(1), introduced(node, 2)));
    assert_eq!(world.one(secs(1), Command::RaiseLevel(2)), Outcome::Level(2));
    world
}

#[test]
fn r14_a_token_lets_in_as_many_as_it_says_and_a_repeat_is_no_other_node() {
    let mut world = raised();
    let none = Outcome::NotAdmitted(NotAdmitted::NoToken);
    assert_eq!(world.one(secs(2), admit("open", 7, 3)), none);
    assert_eq!(world.one(secs(2), token(1, "open", secs(60), 2)), Outcome::Noted);
    assert_eq!(world.one(secs(3), admit("opem", 7, 3)), none);
    assert_eq!(world.one(secs(3), admit("open", 7, 3)), Outcome::Admitted(NodeId(4)));
    assert_eq!(world.one(secs(4), admit("open", 7, 3)), Outcome::Admitted(NodeId(4)));
    // The proposer repeats a command whose outcome it does not know.
    assert_eq!(world.one(secs(4), token(1, "open", secs(60), 2)), Outcome::Noted);
    assert_eq!(world.one(secs(5), admit("open", 8, 3)), Outcome::Admitted(NodeId(5)));
    let used_up = Outcome::NotAdmitted(NotAdmitted::UsedUp);
    assert_eq!(world.one(secs(6), admit("open", 9, 5)), used_up);
    assert_eq!(world.one(secs(7), admit("open", 8, 5)), Outcome::Admitted(NodeId(5)));
}

#[test]
fn r14_a_number_is_never_given_out_again() {
    let mut world = raised();
    world.one(secs(1), token(1, "open", secs(60), 9));
    assert_eq!(world.one(secs(2), admit("open", 1, 3)), Outcome::Admitted(NodeId(4)));
    world.one(secs(3), Command::NodeLiveness(NodeId(4), Liveness::Left));
    assert_eq!(world.state.view().meta().roster().admissions().count(), 0);
    assert_eq!(world.one(secs(4), admit("open", 1, 3)), Outcome::Admitted(NodeId(5)));
    // Also when the table has long forgotten who left, and whatever the membership says.
    assert_eq!(world.one(secs(9_000_000), token(2, "late", secs(9_000_060), 9)), Outcome::Noted);
    assert_eq!(world.one(secs(9_000_000), admit("late", 2, 1)), Outcome::Admitted(NodeId(6)));
    assert_eq!(world.one(secs(9_000_000), admit("late", 3, 20)), Outcome::Admitted(NodeId(21)));
}

#[test]
fn a_token_ends_with_its_time_or_by_an_operators_word() {
    let mut world = raised();
    world.one(secs(1), token(1, "open", secs(60), 9));
    world.one(secs(1), token(2, "shut", secs(600), 9));
    let expired = Outcome::NotAdmitted(NotAdmitted::Expired);
    assert_eq!(world.one(secs(61), admit("open", 1, 3)), expired);
    world.one(secs(61), Command::RemoveToken(2));
    let none = Outcome::NotAdmitted(NotAdmitted::NoToken);
    assert_eq!(world.one(secs(61), admit("shut", 1, 3)), none);
    // With another one the same data directory comes in under one number.
    world.one(secs(62), token(3, "first", secs(600), 1));
    world.one(secs(62), token(4, "second", secs(600), 1));
    assert_eq!(world.one(secs(63), admit("first", 1, 3)), Outcome::Admitted(NodeId(4)));
    assert_eq!(world.one(secs(63), admit("second", 1, 3)), Outcome::Admitted(NodeId(4)));
}

#[test]
fn tokens_are_bounded_and_those_whose_time_is_over_make_room() {
    let mut world = raised();
    for id in 0..Roster::MOST_TOKENS as u64 {
        assert_eq!(world.one(secs(1), token(id, &id.to_string(), secs(60), 1)), Outcome::Noted);
    }
    let full = Outcome::NotAdmitted(NotAdmitted::Full);
    assert_eq!(world.one(secs(60), token(100, "more", secs(600), 1)), full);
    assert_eq!(world.one(secs(61), token(100, "more", secs(600), 1)), Outcome::Noted);
    assert_eq!(world.state.view().meta().roster().tokens().count(), 1);
}

#[test]
fn r24_below_its_level_a_command_does_nothing() {
    let mut world = World::new();
    assert_eq!(world.one(secs(1), token(1, "open", secs(60), 1)), Outcome::NotYet(2));
    assert_eq!(world.one(secs(1), admit("open", 1, 3)), Outcome::NotYet(2));
    let policy = Policy { leader_racks: vec!["a".into()] };
    assert_eq!(world.one(secs(1), Command::SetPolicy(policy.clone())), Outcome::NotYet(2));
    assert_eq!(*world.state.view().meta().roster(), Roster::default());
    (1..=3).for_each(|node| _ = world.one(secs(1), introduced(node, 2)));
    assert_eq!(world.one(secs(1), Command::RaiseLevel(2)), Outcome::Level(2));
    assert_eq!(world.one(secs(1), Command::SetPolicy(policy.clone())), Outcome::Noted);
    assert_eq!(*world.state.view().meta().roster().policy(), policy);
}

#[test]
fn r24_the_level_rises_when_every_node_knows_it_and_never_falls() {
    let mut world = World::new();
    world.one(secs(1), introduced(1, 2));
    world.one(secs(1), introduced(2, 0));
    world.one(secs(1), Command::NodeLiveness(NodeId(3), Liveness::Down));
    let held = Outcome::LevelHeld(vec![NodeId(2), NodeId(3)]);
    assert_eq!(world.one(secs(2), Command::RaiseLevel(2)), held);
    world.one(secs(3), introduced(2, 2));
    assert_eq!(world.one(secs(3), Command::RaiseLevel(2)), Outcome::LevelHeld(vec![NodeId(3)]));
    world.one(secs(4), Command::NodeLiveness(NodeId(3), Liveness::Left));
    assert_eq!(world.one(secs(4), Command::RaiseLevel(2)), Outcome::Level(2));
    assert_eq!(world.one(secs(5), Command::RaiseLevel(1)), Outcome::Level(2));
    // A node that was let in and has not said what it is could be anything.
    world.one(secs(6), token(1, "open", secs(60), 1));
    world.one(secs(6), admit("open", 1, 3));
    assert_eq!(
        world.one(secs(6), Command::RaiseLevel(3)),
        Outcome::LevelHeld(vec![NodeId(1), NodeId(2), NodeId(4)])
    );
}
