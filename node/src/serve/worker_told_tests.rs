//! What scripts and DNS hear of (`after`): each change once, and no packet is copied for nothing.

use super::*;

const SCRIPT: &str = r#""hooks-libraries": [{"library": "/x/libdhcp_run_script.so",
    "parameters": {"name": "/x/script", "sync": false}}],"#;

/// A node on which somebody wants to know.
fn rig(more: &str) -> Rig {
    Rig::configured(1, &with(&format!("{SCRIPT} {more}")))
}

fn renew(n: u8, address: Ipv4Addr) -> Query {
    Query::new(MessageType::Request, 3, mac(n)).ciaddr(address)
}

fn decline(n: u8, address: Ipv4Addr) -> Query {
    Query::new(MessageType::Decline, 3, mac(n)).requested_address(address)
}

/// The one thing that happened, forgotten by this.
fn one(rig: &mut Rig) -> What {
    assert_eq!(rig.happened.len(), 1, "{:?}", rig.happened);
    rig.happened.remove(0).what
}

/// The last byte of the address, and of what was there before: the client's own, another's, and the
/// address it left.
fn granted(what: &What) -> (u8, [Option<u8>; 3]) {
    let What::Granted { address, before, .. } = what else { panic!("{what:?}") };
    let last = |lease: &Option<Arc<crate::state::Lease>>| {
        lease.as_ref().map(|lease| lease.address.octets()[3])
    };
    (address.octets()[3], [last(&before.same), last(&before.others), last(&before.retired)])
}

#[test]
fn a_new_lease_a_renewal_and_a_move_are_told_once_each() {
    let mut rig = rig("");
    let address = rig.bind(1);
    let last = address.octets()[3];
    let what = one(&mut rig);
    assert_eq!(granted(&what), (last, [None; 3]));
    assert!(what.written(rig.state.view()).is_some());
    let What::Granted { query, .. } = &what else { unreachable!("granted") };
    assert_eq!((query.interface, query.packet.message.xid()), (3, 2));

    rig.pass(5_000);
    rig.packet(&renew(1, address));
    assert!(rig.happened.is_empty(), "nothing has been committed yet");
    rig.commit();
    assert_eq!(granted(&one(&mut rig)), (last, [Some(last), None, None]));

    rig.pass(20_000);
    rig.packet(&selecting(1, 4, [192, 0, 2, 150].into()));
    rig.commit();
    assert_eq!(granted(&one(&mut rig)), (150, [None, None, Some(last)]));
    rig.pass(60_000);
    assert!(rig.happened.is_empty());
}

#[test]
fn a_lease_that_was_anothers_is_told_of() {
    let mut rig = rig("");
    let address = rig.bind(1);
    rig.packet(&release(1, address));
    rig.commit();
    rig.happened.clear();
    rig.packet(&selecting(2, 4, address));
    rig.commit();
    let last = address.octets()[3];
    assert_eq!(granted(&one(&mut rig)), (last, [None, Some(last), None]));
}

#[test]
fn m7_repeats_are_told_of_once_and_a_new_lease_stays_a_new_one() {
    let mut rig = rig("");
    rig.packet(&discover(1, 1));
    let address = rig.last_reply().yiaddr();
    rig.packet(&selecting(1, 2, address));
    // The entry is applied here before its answer comes, and the client asks once more.
    let submission = rig.submitted.remove(0);
    let committed = rig.apply(submission.command);
    rig.packet(&selecting(1, 3, address));
    assert_eq!((rig.count("absorbed"), rig.submitted.len()), (1, 0));
    rig.event(Event::Answers(vec![(submission.ticket, Answer::Committed(committed))]));
    assert_eq!(granted(&one(&mut rig)).1, [None; 3]);
    rig.packet(&selecting(1, 3, address));
    assert_eq!((rig.count("repeated"), rig.happened.len()), (1, 0), "from the kept grant");
}

#[test]
fn r4_a_grant_from_the_cache_has_written_nothing_and_nothing_is_told() {
    let mut rig = rig(r#""cache-threshold": 0.25,"#);
    let address = rig.bind(1);
    assert!(one(&mut rig).written(rig.state.view()).is_some());
    for (after, written) in [(5_000, false), (900_000, true)] {
        rig.pass(after);
        rig.packet(&renew(1, address));
        rig.commit();
        assert_eq!(one(&mut rig).written(rig.state.view()).is_some(), written, "{after} ms");
    }
}

#[test]
fn an_offer_that_is_kept_is_told_of_when_it_is_accepted() {
    let mut rig = rig(r#""offer-lifetime": 30,"#);
    rig.packet(&discover(1, 1));
    rig.commit();
    assert_eq!(rig.kinds(), [ReplyKind::Offer]);
    assert!(rig.happened.is_empty());
    let address = rig.last_reply().yiaddr();
    rig.packet(&selecting(1, 2, address));
    rig.commit();
    assert_eq!(granted(&one(&mut rig)).1, [None; 3], "a new lease, not a renewal");
}

#[test]
fn a_release_and_a_decline_are_told_of_if_they_ended_a_lease() {
    let mut rig = rig("");
    let address = rig.bind(1);
    let lease = Arc::clone(rig.state.view().lease(address).unwrap());
    rig.happened.clear();
    rig.packet(&release(1, address));
    rig.commit();
    let What::Released(query, was) = one(&mut rig) else { panic!("a release") };
    assert_eq!((query.packet.message.message_type(), was), (Ok(MessageType::Release), lease));

    let address = rig.bind(2);
    rig.happened.clear();
    // Two nodes heard it, or it came twice: the second finds nothing.
    rig.packet(&decline(2, address));
    rig.packet(&decline(2, address));
    assert_eq!(rig.submitted.len(), 2);
    rig.commit();
    rig.commit();
    assert!(matches!(one(&mut rig), What::Declined(_, was) if was.address == address));
}

#[test]
fn m11_a_decline_beyond_the_limit_has_ended_a_lease_all_the_same() {
    let mut rig = rig("");
    for n in 1..=11 {
        let address = rig.bind(n);
        rig.happened.clear();
        rig.packet(&decline(n, address));
        rig.commit();
        assert!(matches!(one(&mut rig), What::Declined(..)), "{n}");
    }
    assert_eq!(rig.dropped(Reason::ProbationLimit), 1);
}

#[test]
fn a_release_that_was_kept_for_the_majority_is_told_of_once() {
    let mut rig = rig("");
    let address = rig.bind(1);
    rig.happened.clear();
    rig.packet(&release(1, address));
    rig.answer_unknown();
    assert!(rig.happened.is_empty());
    rig.pass(1_000);
    rig.commit();
    assert!(matches!(one(&mut rig), What::Released(..)));
}

#[test]
fn what_found_no_majority_or_came_too_late_is_not_told() {
    let mut rig = rig("");
    rig.packet(&selecting(1, 2, [192, 0, 2, 120].into()));
    rig.answer_unknown();
    rig.packet(&selecting(1, 3, [192, 0, 2, 120].into()));
    rig.time += 2_001;
    rig.commit();
    assert!(rig.happened.is_empty());
}

#[test]
fn dns_wants_to_know_as_well_and_otherwise_nobody_does() {
    for (more, told) in [
        ("", 0),
        (r#""dhcp-ddns": {"enable-updates": false},"#, 0),
        (r#""dhcp-ddns": {"enable-updates": true},"#, 2),
    ] {
        let mut rig = Rig::configured(1, &with(more));
        let address = rig.bind(1);
        rig.packet(&release(1, address));
        rig.commit();
        assert_eq!(rig.happened.len(), told, "{more}");
    }
}
