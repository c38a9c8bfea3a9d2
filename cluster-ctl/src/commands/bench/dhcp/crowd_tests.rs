use super::*;

const MS: Nanos = 1_000_000;

fn crowd(clients: u32, mix: &str) -> Crowd {
    let mut crowd = Crowd::new(clients, &Mix::parse(mix).expect("a mix"), 1000 * MS);
    crowd.count(true);
    crowd
}

fn reply(query: &Query, answer: Answer, address: u32) -> Reply {
    Reply { client: query.client, xid: query.xid, answer, address, server: 7, lifetime: 60 }
}

/// The next of `heard`, which is an answer.
fn next(heard: Heard) -> Query {
    match heard {
        Heard::Answered { next: Some(query), .. } => query,
        other => panic!("{other:?}"),
    }
}

fn duplicate(heard: Heard) -> Option<u32> {
    match heard {
        Heard::Answered { duplicate, .. } => duplicate,
        other => panic!("{other:?}"),
    }
}

/// A whole exchange that ends with a lease of `address`.
fn bind(crowd: &mut Crowd, address: u32, now: Nanos) -> Heard {
    let discover = crowd.begin(now).expect("somebody is idle");
    assert_eq!(discover.kind, Kind::Discover);
    let request = next(crowd.hear(&reply(&discover, Answer::Offer, address), now + MS));
    assert_eq!((request.kind, request.xid), (Kind::Request, discover.xid));
    assert_eq!((request.address, request.server), (address, 7));
    crowd.hear(&reply(&request, Answer::Ack, address), now + 3 * MS)
}

#[test]
fn a_client_lives_through_its_steps_and_begins_again() {
    let mut crowd = crowd(1, "discover,request,renew:2,release");
    for round in 0..3 {
        let now = round * 100 * MS;
        match bind(&mut crowd, 10, now) {
            Heard::Answered { kind: Kind::Request, counted: true, took, exchange, .. } => {
                assert_eq!((took, exchange), (2 * MS, Some(3 * MS)));
            }
            other => panic!("{other:?}"),
        }
        for _ in 0..2 {
            let renew = crowd.begin(now).expect("idle");
            assert_eq!((renew.kind, renew.address), (Kind::Renew, 10));
            assert_eq!(crowd.in_flight(), 1);
            assert_eq!(duplicate(crowd.hear(&reply(&renew, Answer::Ack, 10), now + MS)), None);
        }
        assert_eq!(crowd.bound(), 1);
        let release = crowd.begin(now).expect("idle");
        assert_eq!((release.kind, release.address, release.server), (Kind::Release, 10, 7));
        assert_eq!((crowd.bound(), crowd.in_flight()), (0, 0));
    }
}

#[test]
fn offers_that_are_not_taken_are_followed_by_nothing() {
    let mut crowd = crowd(1, "discover");
    let discover = crowd.begin(0).expect("idle");
    assert!(crowd.begin(0).is_none(), "the client is busy");
    match crowd.hear(&reply(&discover, Answer::Offer, 10), MS) {
        Heard::Answered { kind: Kind::Discover, next: None, .. } => {}
        other => panic!("{other:?}"),
    }
    assert_ne!(crowd.begin(2 * MS).expect("idle").xid, discover.xid);
}

#[test]
fn whoever_holds_an_address_that_another_is_given_is_found() {
    let mut crowd = crowd(3, "discover,request");
    assert_eq!(duplicate(bind(&mut crowd, 10, 0)), None);
    assert_eq!(duplicate(bind(&mut crowd, 11, 0)), None);
    assert_eq!(duplicate(bind(&mut crowd, 10, 5 * MS)), Some(0));
}

#[test]
fn an_address_that_its_client_gave_up_is_no_duplicate() {
    // Its time is over: 60 s after the REQUEST left.
    let mut expired = crowd(2, "discover,request");
    bind(&mut expired, 10, 0);
    assert_eq!(duplicate(bind(&mut expired, 10, 60_000 * MS)), None);
    let mut early = crowd(2, "discover,request");
    bind(&mut early, 10, 0);
    assert_eq!(duplicate(bind(&mut early, 10, 59_990 * MS)), Some(0));

    // It begins anew.
    let mut anew = crowd(2, "discover,request");
    bind(&mut anew, 10, 0);
    bind(&mut anew, 11, 0);
    assert_eq!(anew.begin(MS).map(|query| query.client), Some(0));
    assert_eq!(duplicate(bind(&mut anew, 10, 2 * MS)), None);

    // It is released.
    let mut released = crowd(2, "discover,request,release");
    bind(&mut released, 10, 0);
    bind(&mut released, 11, 0);
    assert_eq!(released.begin(MS).map(|query| query.kind), Some(Kind::Release));
    assert_eq!(released.begin(MS).map(|query| query.kind), Some(Kind::Release));
    assert_eq!(duplicate(bind(&mut released, 11, 2 * MS)), None);

    // It was refused.
    let mut refused = crowd(2, "discover,request,renew");
    bind(&mut refused, 10, 0);
    bind(&mut refused, 11, 0);
    let renew = refused.begin(MS).expect("idle");
    let heard = refused.hear(&reply(&renew, Answer::Nak, 0), MS);
    assert_eq!(heard, Heard::Refused { kind: Kind::Renew, counted: true });
    assert_eq!(refused.bound(), 1);
    let renew = refused.begin(MS).expect("idle");
    assert_eq!((renew.client, renew.kind), (1, Kind::Renew));
    assert_eq!(duplicate(bind(&mut refused, 10, 2 * MS)), None);
}

#[test]
fn whoever_waits_too_long_gives_up_once_and_what_comes_then_is_late() {
    let mut crowd = crowd(2, "discover,request");
    let first = crowd.begin(0).expect("idle");
    let second = crowd.begin(300 * MS).expect("idle");
    assert_eq!(crowd.next_expiry(), Some(1000 * MS));
    let gone = |crowd: &mut Crowd, now| {
        let mut gone = Vec::new();
        crowd.expire(now, |kind, counted| gone.push((kind, counted)));
        gone
    };
    assert_eq!(gone(&mut crowd, 999 * MS), []);
    // The answer in time: its REQUEST has a patience of its own.
    let request = next(crowd.hear(&reply(&second, Answer::Offer, 11), 999 * MS));
    assert_eq!(gone(&mut crowd, 1500 * MS), [(Kind::Discover, true)]);
    assert_eq!(gone(&mut crowd, 1500 * MS), []);
    let late = crowd.hear(&reply(&first, Answer::Offer, 10), 1501 * MS);
    assert_eq!(late, Heard::Late(Kind::Discover));
    assert_eq!(gone(&mut crowd, 1999 * MS), [(Kind::Request, true)]);
    // A lease that came too late is not held.
    let late = crowd.hear(&reply(&request, Answer::Ack, 11), 2000 * MS);
    assert_eq!((late, crowd.bound(), crowd.in_flight()), (Heard::Late(Kind::Request), 0, 0));
    // Both begin again.
    assert!(crowd.begin(2000 * MS).is_some() && crowd.begin(2000 * MS).is_some());
}

#[test]
fn answers_that_do_not_fit_are_told_apart() {
    let mut crowd = crowd(1, "discover,request");
    let discover = crowd.begin(0).expect("idle");
    let offer = reply(&discover, Answer::Offer, 10);
    let ack = reply(&discover, Answer::Ack, 10);
    assert_eq!(crowd.hear(&ack, MS), Heard::Unexpected);
    next(crowd.hear(&offer, MS));
    assert_eq!(crowd.hear(&offer, MS), Heard::Repeated);
    assert_eq!(crowd.hear(&Reply { address: 11, ..ack }, MS), Heard::Unexpected);
    assert_eq!(duplicate(crowd.hear(&ack, MS)), None);
    assert_eq!(crowd.hear(&ack, MS), Heard::Repeated);
    // Numbers that we never gave.
    assert_eq!(crowd.hear(&Reply { client: 1, ..ack }, MS), Heard::Unexpected);
    assert_eq!(crowd.hear(&Reply { xid: 0x0500, ..ack }, MS), Heard::Unexpected);
    // Of an exchange before.
    crowd.begin(2 * MS).expect("idle");
    assert_eq!(crowd.hear(&ack, 3 * MS), Heard::Late(Kind::Request));
}

#[test]
fn a_life_of_renewals_gets_its_leases_before() {
    let mut crowd = crowd(3, "renew");
    crowd.count(false);
    for address in 10..13 {
        let discover = crowd.begin_binding(0).expect("somebody has none");
        let request = next(crowd.hear(&reply(&discover, Answer::Offer, address), MS));
        crowd.hear(&reply(&request, Answer::Ack, address), MS);
    }
    assert_eq!((crowd.begin_binding(2 * MS), crowd.bound()), (None, 3));
    crowd.count(true);
    for _ in 0..3 {
        assert_eq!(crowd.begin(2 * MS).map(|query| query.kind), Some(Kind::Renew));
    }
}

#[test]
fn what_was_begun_before_it_counts_does_not_count_when_it_ends() {
    let mut crowd = crowd(1, "discover,request");
    crowd.count(false);
    let discover = crowd.begin(0).expect("idle");
    crowd.count(true);
    let request = next(crowd.hear(&reply(&discover, Answer::Offer, 10), MS));
    match crowd.hear(&reply(&request, Answer::Ack, 10), 2 * MS) {
        Heard::Answered { kind: Kind::Request, counted: false, .. } => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn at_the_end_everybody_releases_what_it_holds() {
    let mut crowd = crowd(3, "discover,request");
    bind(&mut crowd, 10, 0);
    bind(&mut crowd, 11, 0);
    let released: Vec<u32> =
        std::iter::from_fn(|| crowd.release_one(MS)).map(|query| query.address).collect();
    assert_eq!((released, crowd.bound()), (vec![10, 11], 0));
}
