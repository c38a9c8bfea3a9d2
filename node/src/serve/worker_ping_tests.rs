//! M4: what is pinged before it is offered.

use super::*;
use crate::state::LeaseState;

fn hook(parameters: &str) -> String {
    format!(
        r#""hooks-libraries": [{{"library": "/x/libdhcp_ping_check.so",
            "parameters": {{{parameters}}}}}],"#
    )
}

fn rig(parameters: &str) -> Rig {
    Rig::configured(1, &with(&hook(parameters)))
}

fn state_of(rig: &Rig, address: Ipv4Addr) -> Option<LeaseState> {
    rig.state.view().lease(address).map(|lease| lease.state)
}

/// DISCOVER to ACK for client `n`, past the check.
fn bind(rig: &mut Rig, n: u8) -> Ipv4Addr {
    rig.packet(&discover(n, 1));
    rig.pass(100);
    let address = rig.last_reply().yiaddr();
    rig.packet(&selecting(n, 2, address));
    rig.commit();
    assert_eq!(rig.kinds(), [ReplyKind::Offer, ReplyKind::Ack]);
    rig.sent.clear();
    rig.pinged.clear();
    address
}

#[test]
fn m4_an_offer_waits_until_the_echo_request_has_gone_unanswered() {
    let mut rig = rig("");
    rig.packet(&discover(1, 7));
    assert!(rig.sent.is_empty());
    let [address] = rig.pinged[..] else { panic!("one request: {:?}", rig.pinged) };
    assert_eq!(rig.worker.next_deadline(), ms(rig.time + 100));
    rig.pass(99);
    assert!(rig.sent.is_empty());
    rig.pass(1);
    assert_eq!((rig.kinds(), rig.last_reply().yiaddr()), (vec![ReplyKind::Offer], address));
    assert_eq!(rig.last_reply().xid(), 7);
    assert_eq!(rig.pinged.len(), 1);
    // Once for a fresh address: the client repeats, and is offered the same at once.
    rig.packet(&discover(1, 8));
    assert_eq!((rig.kinds(), rig.last_reply().yiaddr()), (vec![ReplyKind::Offer; 2], address));
    assert_eq!(rig.pinged.len(), 1);
    rig.event(Event::Ponged(address));
    assert!(rig.submitted.is_empty(), "an answer after the end of the check counts for nothing");
}

#[test]
fn m4_a_second_discover_during_the_check_is_ignored_and_another_client_has_its_own() {
    let mut rig = rig("");
    rig.packet(&discover(1, 1));
    rig.pass(50);
    rig.packet(&discover(1, 2));
    rig.packet(&discover(2, 3));
    assert_eq!((rig.count("ping_repeats"), rig.pinged.len()), (1, 2));
    assert_ne!(rig.pinged[0], rig.pinged[1], "what is checked for one is held for it");
    rig.pass(50);
    assert_eq!((rig.kinds(), rig.last_reply().xid()), (vec![ReplyKind::Offer], 1));
    rig.pass(50);
    assert_eq!((rig.kinds(), rig.last_reply().xid()), (vec![ReplyKind::Offer; 2], 3));
}

#[test]
fn m4_an_address_that_answers_goes_into_probation_and_the_next_one_is_offered() {
    let mut rig = rig("");
    rig.packet(&discover(1, 1));
    let used = rig.pinged[0];
    rig.pass(10);
    rig.event(Event::Ponged(used));
    assert!(rig.sent.is_empty());
    let free = rig.pinged[1];
    assert_ne!(used, free);
    assert!(matches!(&rig.submitted[0].command, Command::InUse(found) if found.address == used));
    // Before the commit is here nobody is offered it either.
    rig.packet(&discover(2, 2));
    assert!(!rig.pinged[2..].contains(&used));
    rig.commit();
    assert_eq!(state_of(&rig, used), Some(LeaseState::Declined));
    rig.event(Event::Ponged(used));
    assert!(rig.submitted.is_empty(), "an answer that comes twice counts once");
    rig.pass(100);
    assert_eq!(rig.kinds(), [ReplyKind::Offer; 2]);
    assert_eq!(rig.sent[0].answered().address, Some(free));
    assert_eq!(rig.count("ping_answered"), 1);
}

#[test]
fn m4_without_the_commit_the_address_is_avoided_for_a_minute() {
    let mut rig = rig("");
    rig.packet(&discover(1, 1));
    let used = rig.pinged[0];
    rig.event(Event::Ponged(used));
    rig.answer_unknown();
    let want = |n, xid| discover(n, xid).requested_address(used);
    rig.packet(&want(2, 1));
    assert_eq!(rig.pinged.iter().filter(|address| **address == used).count(), 1);
    rig.pass(61_000);
    rig.packet(&want(3, 1));
    assert_eq!(rig.pinged.last(), Some(&used), "and then tried again");
}

#[test]
fn m4_each_of_several_requests_has_its_own_time() {
    let mut rig = rig(r#""min-ping-requests": 3, "reply-timeout": 200"#);
    rig.packet(&discover(1, 1));
    for sent in 1..=3 {
        assert_eq!(rig.pinged.len(), sent);
        rig.pass(199);
        assert!(rig.sent.is_empty());
        rig.pass(1);
    }
    assert_eq!((rig.pinged.len(), rig.kinds()), (3, vec![ReplyKind::Offer]));
}

#[test]
fn m4_what_is_the_clients_own_it_is_offered_unchecked() {
    let mut rig = rig("");
    let address = bind(&mut rig, 1);
    rig.pass(3_000_000);
    rig.packet(&discover(1, 1));
    assert_eq!((rig.kinds(), rig.pinged.len()), (vec![ReplyKind::Offer], 0), "its lease");
    rig.sent.clear();

    rig.packet(&selecting(1, 2, address));
    rig.commit();
    rig.packet(&release(1, address));
    rig.commit();
    rig.sent.clear();
    rig.pass(59_000);
    rig.packet(&discover(1, 3));
    assert_eq!((rig.kinds(), rig.pinged.len()), (vec![ReplyKind::Offer], 0), "a moment ago");
    rig.pass(2_000);
    rig.packet(&discover(1, 4));
    assert_eq!((rig.kinds().len(), &rig.pinged[..]), (1, &[address][..]), "ping-cltt-secs");
    // Somebody has taken it meanwhile.
    rig.event(Event::Ponged(address));
    rig.pass(100);
    assert_ne!(rig.last_reply().yiaddr(), address);
    assert_eq!(rig.kinds(), [ReplyKind::Offer; 2]);
}

#[test]
fn m4_a_reserved_address_is_checked_too() {
    let reserved = r#""reservations": [{"hw-address": "02:00:00:00:00:01", "ip-address": "192.0.2.50"}],
        "pools""#;
    let mut rig = Rig::configured(1, &with(&hook("")).replace(r#""pools""#, reserved));
    rig.packet(&discover(1, 1));
    assert_eq!(rig.pinged, [Ipv4Addr::new(192, 0, 2, 50)]);
    rig.event(Event::Ponged([192, 0, 2, 50].into()));
    rig.commit();
    assert_eq!(state_of(&rig, [192, 0, 2, 50].into()), Some(LeaseState::Declined));
    rig.pass(100);
    assert!(rig.last_reply().yiaddr().octets()[3] >= 100, "one from the pool meanwhile");
}

#[test]
fn m4_a_subnet_can_have_words_of_its_own() {
    let own = |words: &str| {
        let context = format!(r#""user-context": {{"ping-check": {{{words}}}}}, "pools""#);
        with(&hook("")).replace(r#""pools""#, &context)
    };
    let mut rig = Rig::configured(1, &own(r#""enable-ping-check": false"#));
    rig.packet(&discover(1, 1));
    assert_eq!((rig.kinds(), rig.pinged.len()), (vec![ReplyKind::Offer], 0));
    let mut rig = Rig::configured(1, &own(r#""reply-timeout": 700"#));
    rig.packet(&discover(1, 1));
    rig.pass(699);
    assert!(rig.sent.is_empty());
    rig.pass(1);
    assert_eq!(rig.kinds(), [ReplyKind::Offer]);
}

#[test]
fn m4_a_check_longer_than_a_packet_may_wait_serves_the_next_one() {
    let mut rig = rig(r#""reply-timeout": 3000"#);
    rig.packet(&discover(1, 1));
    rig.pass(3_000);
    assert_eq!((rig.kinds().len(), rig.dropped(Reason::Late)), (0, 1));
    rig.pass(1_000);
    rig.packet(&discover(1, 1));
    assert_eq!((rig.kinds(), rig.pinged.len()), (vec![ReplyKind::Offer], 1));
}

#[test]
fn m4_an_offer_that_is_committed_waits_as_well() {
    let mut rig = Rig::configured(1, &with(&format!(r#"{} "offer-lifetime": 30,"#, hook(""))));
    rig.packet(&discover(1, 1));
    assert_eq!((rig.pinged.len(), rig.submitted.len()), (1, 0));
    rig.pass(100);
    rig.commit();
    assert_eq!(rig.kinds(), [ReplyKind::Offer]);
    rig.pass(4_000);
    rig.packet(&discover(1, 2));
    rig.commit();
    assert_eq!((rig.kinds(), rig.pinged.len()), (vec![ReplyKind::Offer; 2], 1));
}

#[test]
fn c12_without_a_majority_nobody_is_pinged() {
    let mut rig = rig("");
    rig.event(Event::Majority(false));
    rig.packet(&discover(1, 1));
    assert!(rig.pinged.is_empty());
    assert_eq!(rig.count("no_majority"), 1);
}

#[test]
fn m4_beyond_the_most_checks_addresses_are_offered_unchecked() {
    let wide = with(&hook(""))
        .replace("192.0.2.0/24", "192.0.0.0/16")
        .replace("192.0.2.100 - 192.0.2.199", "192.0.4.0 - 192.0.63.255");
    let mut rig = Rig::configured(1, &wide);
    for n in 0..=crate::serve::pings::CHECKS {
        let [a, b] = (n as u16).to_be_bytes();
        rig.packet(&Query::new(MessageType::Discover, 1, HwAddr::ethernet([2, 0, 0, 9, a, b])));
    }
    assert_eq!(rig.pinged.len(), crate::serve::pings::CHECKS);
    assert_eq!((rig.kinds(), rig.count("ping_full")), (vec![ReplyKind::Offer], 1));
    rig.pass(100);
    assert_eq!(rig.sent.len(), crate::serve::pings::CHECKS + 1);
    rig.packet(&discover(1, 1));
    assert_eq!(rig.count("ping_checks"), crate::serve::pings::CHECKS as u64 + 1);
}

/// A node of a cluster that was restored a moment ago, without ping checks in its configuration.
fn restored() -> Rig {
    restored_from(Rig::configured(1, &with("")))
}

/// A node of a cluster that was restored a moment ago from what `rig` has.
fn restored_from(mut rig: Rig) -> Rig {
    let index = rig.state.applied();
    rig.state.begin_anew(&crate::state::Copied {
        source: crate::state::Source::Backup,
        cluster: 7,
        index,
        wall: 0,
        passed: Duration::ZERO,
        hold: true,
        longest: None,
    });
    rig
}

/// As [`restored`], from a backup in which client 1 has the address.
fn restored_with_a_lease() -> (Rig, Ipv4Addr) {
    let mut rig = Rig::configured(1, &with(""));
    let address = bind(&mut rig, 1);
    // What comes is no repeat of that exchange (M7).
    rig.pass(4_000);
    (restored_from(rig), address)
}

fn renewing(n: u8, xid: u32, address: Ipv4Addr) -> Query {
    Query::new(MessageType::Request, xid, mac(n)).ciaddr(address)
}

#[test]
fn r28_after_a_restore_a_new_client_waits_for_a_check_whatever_the_configuration_says() {
    let mut rig = restored();
    rig.packet(&discover(1, 7));
    assert!(rig.sent.is_empty());
    assert_eq!(rig.pinged.len(), 1);
    rig.pass(150);
    assert_eq!(rig.pinged.len(), 2, "the first may be lost while the address is resolved");
    rig.pass(150);
    assert_eq!(rig.kinds(), [ReplyKind::Offer]);
    let address = rig.last_reply().yiaddr();
    rig.packet(&selecting(1, 8, address));
    let granted = |it: &Submission<_>| matches!(&it.command, Command::Grant(g) if g.checked);
    assert!(rig.submitted.iter().any(granted), "it has been checked already");
    rig.commit();
    assert_eq!(rig.kinds(), [ReplyKind::Offer, ReplyKind::Ack]);
    assert_eq!(rig.pinged.len(), 2);
    // Known from here on.
    rig.packet(&discover(1, 9));
    assert_eq!((rig.kinds().len(), rig.pinged.len()), (3, 2));
}

#[test]
fn r28_a_node_that_did_not_offer_the_address_checks_it_before_it_grants_it() {
    let mut rig = restored();
    rig.packet(&selecting(1, 8, [192, 0, 2, 150].into()));
    assert!(rig.submitted.is_empty());
    assert_eq!(rig.pinged, [Ipv4Addr::new(192, 0, 2, 150)]);
    rig.pass(150);
    rig.pass(150);
    rig.commit();
    assert_eq!(rig.kinds(), [ReplyKind::Ack]);
}

#[test]
fn r28_a_client_that_claims_its_address_is_not_kept_waiting() {
    let mut rig = restored();
    rig.packet(&renewing(1, 3, [192, 0, 2, 150].into()));
    assert!(rig.pinged.is_empty());
    rig.commit();
    assert_eq!(rig.kinds(), [ReplyKind::Ack]);
}

#[test]
fn r28_the_client_of_the_backup_renews_unchecked_and_waits_for_a_check_when_it_begins_anew() {
    let (mut rig, address) = restored_with_a_lease();
    rig.packet(&renewing(1, 3, address));
    rig.commit();
    assert_eq!((rig.kinds(), rig.pinged.len()), (vec![ReplyKind::Ack], 0));

    let (mut rig, address) = restored_with_a_lease();
    rig.packet(&discover(1, 3));
    assert_eq!((rig.kinds().len(), &rig.pinged[..]), (0, &[address][..]));
    rig.pass(150);
    rig.pass(150);
    assert_eq!((rig.kinds(), rig.last_reply().yiaddr()), (vec![ReplyKind::Offer], address));
    rig.packet(&selecting(1, 4, address));
    rig.commit();
    assert_eq!(rig.kinds(), [ReplyKind::Offer, ReplyKind::Ack]);
    assert_eq!(rig.last_reply().yiaddr(), address);
    assert_eq!(rig.pinged.len(), 2, "checked once, with two requests");
}

#[test]
fn r28_the_client_of_the_backup_gets_another_address_if_somebody_answers_at_its_own() {
    let (mut rig, used) = restored_with_a_lease();
    rig.packet(&discover(1, 3));
    rig.event(Event::Ponged(used));
    rig.commit();
    assert_eq!(state_of(&rig, used), Some(LeaseState::Assigned), "no probation");
    let free = rig.pinged[1];
    assert_ne!(free, used);
    rig.pass(150);
    rig.pass(150);
    assert_eq!((rig.kinds(), rig.last_reply().yiaddr()), (vec![ReplyKind::Offer], free));
    // It insists.
    rig.packet(&selecting(1, 4, used));
    assert!(rig.submitted.is_empty(), "nothing is granted");
    assert!(rig.kinds()[1..].iter().all(|kind| *kind == ReplyKind::Nak), "{:?}", rig.kinds());
    rig.packet(&selecting(1, 5, free));
    rig.commit();
    assert_eq!((rig.kinds().last(), rig.last_reply().yiaddr()), (Some(&ReplyKind::Ack), free));
    // Who answered can claim what it has.
    rig.packet(&renewing(2, 6, used));
    rig.commit();
    assert_eq!((rig.kinds().last(), rig.last_reply().yiaddr()), (Some(&ReplyKind::Ack), used));
}

#[test]
fn r28_who_answers_keeps_the_address_and_the_new_client_gets_the_next() {
    let mut rig = restored();
    rig.packet(&discover(1, 1));
    let used = rig.pinged[0];
    rig.event(Event::Ponged(used));
    rig.commit();
    assert_eq!(state_of(&rig, used), None, "its holder may claim it");
    rig.pass(150);
    rig.pass(150);
    assert_eq!(rig.kinds(), [ReplyKind::Offer]);
    assert_ne!(rig.last_reply().yiaddr(), used);
    rig.packet(&renewing(2, 2, used));
    rig.commit();
    assert_eq!(rig.kinds(), [ReplyKind::Offer, ReplyKind::Ack]);
}

#[test]
fn r28_an_address_that_could_not_be_checked_is_not_given() {
    let mut rig = restored();
    rig.packet(&discover(1, 1));
    let address = rig.pinged[0];
    rig.event(Event::Unpinged(address));
    rig.pass(150);
    rig.pass(150);
    assert!(rig.sent.is_empty());
    assert_eq!(rig.dropped(Reason::Held), 1);
    // A check that only the configuration wants is as if nobody had answered.
    let mut rig = self::rig("");
    rig.packet(&discover(1, 1));
    rig.event(Event::Unpinged(rig.pinged[0]));
    rig.pass(100);
    assert_eq!(rig.kinds(), [ReplyKind::Offer]);
}
