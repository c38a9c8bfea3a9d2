use crate::dhcp::decision::{Decision, Reason, Reply, ReplyKind};
use crate::dhcp::v4::script::{Node, basic};
use crate::packet::v4::Message;
use crate::state::Outcome;

const SELECTING: &str = "request xid=1 50=192.0.2.10 54=192.0.2.1";

fn reply(decision: Decision) -> Reply {
    let Decision::Reply(reply) = decision else { panic!("{decision:?} is no reply") };
    reply
}

fn lifetime(reply: &Reply) -> u32 {
    Message::parse_reply(reply.payload()).unwrap().lease_time().unwrap().as_secs()
}

#[test]
fn r4_an_ack_says_the_granted_time_within_2_s_and_nothing_is_sent_later() {
    let mut node = Node::new(basic());
    let (pending, outcome) = node.commits(SELECTING);
    for later in [0, 1_999, 2_000] {
        let ack = reply(node.finish(&pending, &outcome, later));
        assert_eq!((ack.kind(), lifetime(&ack)), (ReplyKind::Ack, 3600), "{later}");
    }
    assert_eq!(node.finish(&pending, &outcome, 2_001), Decision::Drop(Reason::Late));
}

#[test]
fn w5_a_repeat_answered_from_a_kept_grant_says_what_remains() {
    let mut node = Node::new(basic());
    let (_, outcome) = node.commits(SELECTING);
    node.line("now 3").unwrap();
    let Decision::Commit(_, repeat) = node.decide(SELECTING) else {
        panic!("a repeat is decided like the first")
    };
    assert_eq!(lifetime(&reply(node.finish(&repeat, &outcome, 0))), 3597);
}

#[test]
fn w5_no_client_is_told_longer_than_was_committed() {
    let mut node = Node::new(basic());
    let (_, outcome) = node.commits(SELECTING);
    node.line("now 1").unwrap();
    // A new exchange counts from now, whatever grant it is answered from.
    let Decision::Commit(_, repeat) = node.decide(SELECTING) else {
        panic!("a repeat is decided like the first")
    };
    assert_eq!(lifetime(&reply(node.finish(&repeat, &outcome, 0))), 3599);
}

#[test]
fn r2_a_packet_that_waited_does_not_retire_what_its_client_has_taken_since() {
    let mut node = Node::new(basic());
    // Its Grant hangs somewhere.
    let Decision::Commit(_, waiting) = node.decide(SELECTING) else { panic!("it is free") };
    node.line("now 1").unwrap();
    let (_, taken) = node.commits("request xid=2 50=192.0.2.11 54=192.0.2.1");
    assert!(matches!(taken, Outcome::Granted(_)));
    // Now the Grant arrives and changes nothing; the packet is decided once more.
    assert_eq!(node.finish(&waiting, &Outcome::Changed, 0), Decision::Again);
    assert_eq!(node.redecide(&waiting), Decision::Drop(Reason::Overtaken));
    // A packet that comes now means it.
    assert!(matches!(
        node.decide("request xid=3 50=192.0.2.10 54=192.0.2.1"),
        Decision::Commit(..)
    ));
}

/// A follower's estimate of cluster time runs on while nobody leads; the next leader's stamps begin where they had ended (R12).
#[test]
fn r2_nor_does_one_that_came_while_the_estimate_was_ahead_of_the_stamps() {
    let mut node = Node::new(basic());
    node.line("now 5").unwrap();
    let Decision::Commit(_, waiting) = node.decide(SELECTING) else { panic!("it is free") };
    node.line("now 1").unwrap();
    let (_, taken) = node.commits("request xid=2 50=192.0.2.11 54=192.0.2.1");
    assert!(matches!(taken, Outcome::Granted(_)));
    node.line("now 5").unwrap();
    assert_eq!(node.finish(&waiting, &Outcome::Changed, 0), Decision::Again);
    assert_eq!(node.redecide(&waiting), Decision::Drop(Reason::Overtaken));
}

#[test]
fn m7_repeats_are_known_by_client_state_address_and_identity_but_not_by_xid() {
    let mut node = Node::new(basic());
    node.line("lease 192.0.2.10 02:00:00:00:00:01").unwrap();
    let pending = |line: &str| match node.decide(line) {
        Decision::Commit(_, pending) => pending,
        other => panic!("{line}: {other:?}"),
    };
    let first = pending(SELECTING);
    for (line, repeats) in [
        ("request xid=99 50=192.0.2.10 54=192.0.2.1", true),
        ("request xid=1 50=192.0.2.10 54=192.0.2.1 secs=9 55=1,3", true),
        ("request xid=1 50=192.0.2.11 54=192.0.2.1", false),
        ("request xid=1 50=192.0.2.10", false),
        ("request xid=1 ciaddr=192.0.2.10", false),
        ("request xid=1 hw=02:00:00:00:00:02 50=192.0.2.11 54=192.0.2.1", false),
    ] {
        assert_eq!(first.repeats(&pending(line)), repeats, "{line}");
        assert_eq!(pending(line).repeats(&first), repeats, "{line}");
    }
    // dhcpcd keeps its xid from renewing to rebinding: two states, two commands.
    let renewing = pending("request xid=1 ciaddr=192.0.2.10 from=192.0.2.10 to=192.0.2.1");
    assert!(!renewing.repeats(&pending("request xid=1 ciaddr=192.0.2.10 from=192.0.2.10")));
}

#[test]
fn r4_no_outcome_but_granted_makes_an_ack_and_none_but_taken_a_nak() {
    let mut node = Node::new(basic());
    let (pending, granted) = node.commits(SELECTING);
    let (other, _) = node.commits("request hw=02:00:00:00:00:02 50=192.0.2.11 54=192.0.2.1");
    assert_eq!(
        node.finish(&other, &granted, 0),
        Decision::Drop(Reason::StrangeOutcome),
        "another's grant"
    );
    for (outcome, decision) in [
        (Outcome::Late, Decision::Drop(Reason::Late)),
        (Outcome::Changed, Decision::Again),
        (Outcome::GivenUp, Decision::Drop(Reason::StrangeOutcome)),
        (Outcome::Noted, Decision::Drop(Reason::StrangeOutcome)),
    ] {
        assert_eq!(node.finish(&pending, &outcome, 0), decision, "{outcome:?}");
    }
    for taken in [
        crate::state::Taken::Leased,
        crate::state::Taken::Reserved,
        crate::state::Taken::Grace,
        crate::state::Taken::Declined,
    ] {
        assert_eq!(reply(node.finish(&pending, &Outcome::Taken(taken), 0)).kind(), ReplyKind::Nak);
    }
}

#[test]
fn a_choice_of_the_node_that_is_taken_is_made_again_and_then_given_up() {
    let mut node = Node::new(basic());
    let taken = Outcome::Taken(crate::state::Taken::Leased);
    let (pending, _) = node.commits("request hw=02:00:00:00:00:03");
    assert_eq!(node.finish(&pending, &taken, 0), Decision::Again);
    node.line("set again").unwrap();
    let (pending, _) = node.commits("request hw=02:00:00:00:00:04");
    assert_eq!(node.finish(&pending, &taken, 0), Decision::Drop(Reason::TakenSilent));
}
