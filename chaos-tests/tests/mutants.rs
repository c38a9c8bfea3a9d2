//! The oracles are tested, too: each is fed a history that breaks its promise, and one that keeps it.

use std::net::Ipv4Addr;

use chaos_tests::oracle::history::Count;
use chaos_tests::oracle::{
    Ask, ClientId, Event, Held, History, What, agreement, durable_ack, no_phantom, release_scope,
    service_gap, stale_nak, unique_address,
};

const A: Ipv4Addr = Ipv4Addr::new(10, 77, 16, 1);
const B: Ipv4Addr = Ipv4Addr::new(10, 77, 16, 2);
const EXACT: durable_ack::Tolerance = durable_ack::Tolerance { early: 1000, late: Some(1000) };

fn at(at: u64, client: u32, what: What) -> Event {
    Event { at, client: ClientId(client), node: None, what }
}

fn ack(moment: u64, client: u32, address: Ipv4Addr, secs: u32) -> Event {
    let what = What::Acked {
        xid: client,
        address,
        lifetime_secs: secs,
        asked_at: moment - 10,
        accepted: true,
    };
    at(moment, client, what)
}

fn asked(moment: u64, client: u32, address: Ipv4Addr) -> Event {
    at(moment, client, What::Asked { xid: client, ask: Ask::Selecting, address })
}

fn unique(events: Vec<Event>) -> usize {
    unique_address::check(&History::new(events).promises(Count::FromAnswer)).len()
}

#[test]
fn one_address_for_two_clients_at_once_is_caught() {
    assert_eq!(unique(vec![ack(1_000, 1, A, 60), ack(60_999, 2, A, 60)]), 1);
}

#[test]
fn a_long_lease_behind_a_short_one_is_caught() {
    // The second client's lease ends before the third's begins; the first client's does not.
    let events = vec![ack(1_000, 1, A, 100), ack(2_000, 2, A, 1), ack(50_000, 3, A, 10)];
    assert_eq!(unique(events), 2);
}

#[test]
fn an_address_may_change_hands_after_end_release_decline_and_move() {
    assert_eq!(unique(vec![ack(1_000, 1, A, 60), ack(61_000, 2, A, 60)]), 0);
    let released = at(5_000, 1, What::Released { address: A });
    assert_eq!(unique(vec![ack(1_000, 1, A, 60), released, ack(5_001, 2, A, 60)]), 0);
    let declined = at(5_000, 1, What::Declined { address: A });
    assert_eq!(unique(vec![ack(1_000, 1, A, 60), declined, ack(5_001, 2, A, 60)]), 0);
    assert_eq!(unique(vec![ack(1_000, 1, A, 60), ack(5_000, 1, B, 60), ack(5_001, 2, A, 60)]), 0);
}

#[test]
fn a_release_of_another_address_ends_nothing() {
    let released = at(5_000, 1, What::Released { address: B });
    assert_eq!(unique(vec![ack(1_000, 1, A, 60), released, ack(5_001, 2, A, 60)]), 1);
}

#[test]
fn who_requests_another_address_gives_the_old_one_up_and_who_forgets_does_not() {
    assert_eq!(unique(vec![ack(1_000, 1, A, 60), asked(5_000, 1, B), ack(5_001, 2, A, 60)]), 0);
    assert_eq!(unique(vec![ack(1_000, 1, A, 60), asked(5_000, 1, A), ack(5_001, 2, A, 60)]), 1);
    let discovered = at(5_000, 1, What::Discovered { xid: 1 });
    assert_eq!(unique(vec![ack(1_000, 1, A, 60), discovered, ack(5_001, 2, A, 60)]), 1);
}

#[test]
fn a_renewal_extends_one_interval_and_a_second_answer_does_not() {
    let mut second = ack(20_000, 1, A, 600);
    if let What::Acked { accepted, .. } = &mut second.what {
        *accepted = false;
    }
    let history = History::new(vec![ack(1_000, 1, A, 60), ack(10_000, 1, A, 60), second]);
    let promises = history.promises(Count::FromAnswer);
    assert_eq!(promises.len(), 1);
    assert_eq!((promises[0].from, promises[0].until), (1_000, 70_000));
    assert_eq!(history.promises(Count::FromAsked)[0].until, 69_990);
}

#[test]
fn a_lost_lease_a_stolen_one_and_a_shortened_one_are_caught() {
    let promises = History::new(vec![ack(1_000, 1, A, 60)]).promises(Count::FromAsked);
    let held = |client, ends| vec![Held { address: A, client: Some(ClientId(client)), ends }];
    let breaches = |table: &[Held], now| durable_ack::check(&promises, table, now, EXACT).len();
    assert_eq!(breaches(&held(1, 60_990), 2_000), 0);
    assert_eq!(breaches(&[], 2_000), 1);
    assert_eq!(breaches(&held(2, 60_990), 2_000), 1);
    assert_eq!(breaches(&held(1, 40_000), 2_000), 1);
    assert_eq!(breaches(&held(1, 90_000), 2_000), 1);
    // What has ended may be gone.
    assert_eq!(breaches(&[], 61_000), 0);
}

#[test]
fn a_release_that_frees_what_it_is_not_for_is_caught() {
    let events = |by, moment| {
        let mut events = vec![ack(5_000, 1, A, 60), at(moment, by, What::Released { address: A })];
        events.sort_by_key(|event| event.at);
        History::new(events)
    };
    let held = vec![Held { address: A, client: Some(ClientId(1)), ends: 64_990 }];
    let breaches = |history: &History, table: &[Held]| {
        let promises = history.promises(Count::FromAsked);
        release_scope::check(history, &promises, table, 10_000).len()
    };
    // Its own release, of the lease before; somebody else's; its own, of this lease; and nothing lost.
    assert_eq!(breaches(&events(1, 1_000), &[]), 1);
    assert_eq!(breaches(&events(2, 6_000), &[]), 1);
    assert_eq!(breaches(&events(1, 6_000), &[]), 0);
    assert_eq!(breaches(&events(2, 6_000), &held), 0);
}

#[test]
fn a_nak_for_an_address_that_is_held_is_caught_and_another_is_not() {
    let refused = |moment, address| at(moment, 1, What::Refused { xid: 1, address });
    let breaches = |events| stale_nak::check(&History::new(events)).len();
    assert_eq!(breaches(vec![ack(1_000, 1, A, 60), refused(2_000, A)]), 1);
    assert_eq!(breaches(vec![ack(1_000, 1, A, 60), refused(2_000, B)]), 0);
    assert_eq!(breaches(vec![ack(1_000, 1, A, 60), refused(62_000, A)]), 0);
}

#[test]
fn what_may_excuse_a_nak_is_asked_with_its_first_request() {
    let events = vec![
        asked(1_500, 1, A),
        ack(1_600, 1, A, 60),
        at(2_000, 1, What::Asked { xid: 7, ask: Ask::Rebinding, address: A }),
        at(3_000, 1, What::Asked { xid: 7, ask: Ask::Rebinding, address: A }),
        at(3_100, 1, What::Refused { xid: 7, address: A }),
    ];
    let history = History::new(events);
    let breaches = |excused| {
        stale_nak::check_but(&history, |promise, refusal| {
            assert_eq!((promise.client, promise.address), (ClientId(1), A));
            assert_eq!(refusal, stale_nak::Refusal { asked: 2_000, at: 3_100 });
            excused
        })
        .len()
    };
    assert_eq!((breaches(false), breaches(true)), (1, 0));
}

#[test]
fn answers_that_disagree_are_caught() {
    let offered = |address| at(1_000, 1, What::Offered { xid: 1, address });
    assert_eq!(agreement::check_offers(&History::new(vec![offered(A), offered(A)])).len(), 0);
    assert_eq!(agreement::check_offers(&History::new(vec![offered(A), offered(B)])).len(), 1);
    assert_eq!(
        agreement::check_acks(&History::new(vec![asked(900, 1, A), ack(1_000, 1, A, 60)])).len(),
        0
    );
    assert_eq!(
        agreement::check_acks(&History::new(vec![asked(900, 1, A), ack(1_000, 1, B, 60)])).len(),
        1
    );
}

#[test]
fn a_lease_that_nobody_asked_for_is_caught_and_an_unanswered_request_explains_one() {
    let history = History::new(vec![asked(900, 1, A)]);
    let held = |address, client| vec![Held { address, client, ends: 1 }];
    assert_eq!(no_phantom::check(&history, &held(A, Some(ClientId(1)))).len(), 0);
    assert_eq!(no_phantom::check(&history, &held(B, Some(ClientId(1)))).len(), 1);
    assert_eq!(no_phantom::check(&history, &held(A, Some(ClientId(2)))).len(), 1);
    assert_eq!(no_phantom::check(&history, &held(A, None)).len(), 1);
}

#[test]
fn a_gap_in_service_counts_from_edge_to_edge() {
    let history = History::new(vec![ack(1_000, 1, A, 60), ack(1_500, 2, B, 60)]);
    assert_eq!(service_gap::longest(&history, 900, 1_600), 500);
    assert_eq!(service_gap::longest(&history, 0, 1_600), 1_000);
    assert_eq!(service_gap::longest(&history, 900, 9_000), 7_500);
}

#[test]
fn joining_counts_repeats_and_the_worst_wait() {
    let discovered = |moment, client| at(moment, client, What::Discovered { xid: client });
    let history = History::new(vec![
        discovered(0, 1),
        asked(5, 1, A),
        ack(100, 1, A, 60),
        discovered(10, 2),
        discovered(3_000, 2),
        asked(3_005, 2, B),
        ack(3_010, 2, B, 60),
        discovered(20, 3),
    ]);
    let joining = service_gap::joining(&history);
    assert_eq!(
        (joining.clients, joining.served, joining.repeated, joining.worst_wait),
        (3, 2, 1, 3_000)
    );
}
