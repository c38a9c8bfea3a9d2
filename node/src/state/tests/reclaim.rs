//! R6, R13: the sweep.

use super::*;
use crate::state::testing::nth_client;

#[test]
fn r6_the_sweep_waits_for_the_reserved_end_and_the_grace() {
    let mut world = World::new();
    world.granted(secs(0), &nth_client(1), "192.0.2.10", Why::Selecting, 1000);
    assert_eq!(world.state.view().next_due(), Some(secs(1010)));
    assert_eq!(world.reclaim(ms(1_009_999), 10), Outcome::Reclaimed { count: 0, more: false });
    assert_eq!(world.reclaim(secs(1010), 10), Outcome::Reclaimed { count: 1, more: false });
    let lease = world.lease("192.0.2.10").unwrap();
    assert_eq!(
        (lease.state, lease.cltt, lease.valid.as_secs()),
        (LeaseState::Reclaimed, secs(0), 1000)
    );
    assert!(lease.hw == nth_client(1).hw, "kept for its client");
    // It is flushed when it was kept long enough.
    assert_eq!(world.state.view().next_due(), Some(secs(1010 + 3600)));
    assert_eq!(world.reclaim(secs(1010 + 3600), 10), Outcome::Reclaimed { count: 1, more: false });
    assert_eq!(world.lease("192.0.2.10"), None);
    assert_eq!(world.state.view().totals(SubnetId(1)).reclaimed, 1);
}

#[test]
fn r13_time_alone_changes_nothing() {
    let mut world = World::new();
    world.granted(secs(0), &nth_client(1), "192.0.2.10", Why::Selecting, 60);
    world.at(secs(10_000), vec![Command::Tick]);
    assert_eq!(world.state_of("192.0.2.10"), Some(LeaseState::Assigned));
}

#[test]
fn a_sweep_takes_the_longest_due_first_and_says_whether_more_are() {
    let mut world = World::new();
    for n in 0..5u32 {
        world.granted(
            secs(1),
            &nth_client(n),
            &format!("192.0.2.{}", 10 + n),
            Why::Selecting,
            60 - n,
        );
    }
    assert_eq!(world.reclaim(secs(100), 2), Outcome::Reclaimed { count: 2, more: true });
    assert_eq!(world.state_of("192.0.2.14"), Some(LeaseState::Reclaimed));
    assert_eq!(world.state_of("192.0.2.13"), Some(LeaseState::Reclaimed));
    assert_eq!(world.state_of("192.0.2.12"), Some(LeaseState::Assigned));
    assert_eq!(world.reclaim(secs(100), 3), Outcome::Reclaimed { count: 3, more: false });
    assert_eq!(world.reclaim(secs(100), 0), Outcome::Reclaimed { count: 0, more: false });
}

#[test]
fn a_declined_address_goes_after_its_probation() {
    let mut world = World::with(&document("", r#""decline-probation-period":500,"#), 3);
    let a = nth_client(1);
    world.granted(secs(100), &a, "192.0.2.10", Why::Selecting, 1000);
    let decline = world.give_up(&a, "192.0.2.10", secs(100));
    world.one(secs(100), Command::Decline(decline));
    assert_eq!(world.reclaim(ms(599_999), 10), Outcome::Reclaimed { count: 0, more: false });
    assert_eq!(world.reclaim(secs(600), 10), Outcome::Reclaimed { count: 1, more: false });
    assert_eq!(world.lease("192.0.2.10"), None);
    assert_eq!(world.state.view().totals(SubnetId(1)).reclaimed_declined, 1);
}

#[test]
fn a_sweep_that_removes_keeps_nothing() {
    let mut world = World::new();
    world.granted(secs(0), &nth_client(1), "192.0.2.10", Why::Selecting, 60);
    world.one(secs(100), Command::Reclaim(Reclaim { limit: 10, remove: true }));
    assert_eq!(world.lease("192.0.2.10"), None);
}
