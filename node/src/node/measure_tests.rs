use tokio::sync::watch;

use super::*;
use crate::clock::SystemClock;
use crate::propose::batch::Result as Fate;
use crate::propose::{Route, Signals, Transport};
use crate::state::{Batch, Outcome, State};

/// A leader that applies what it gets.
struct Alone(parking_lot::Mutex<State>);

impl Transport for Alone {
    async fn send(&self, _: Route, commands: Vec<Command>) -> Fate {
        let mut state = self.0.lock();
        let (index, stamp) = (state.applied() + 1, ClusterTime::from_millis(state.applied() + 5));
        let outcomes = state.apply(index, &Batch { stamp, commands });
        Fate::Applied { index, stamp, outcomes }
    }

    fn level(&self) -> u32 {
        1
    }
}

#[test]
fn a_command_that_measures_binds_nothing_whatever_is_configured() {
    let mut state = State::default();
    for index in 1..3 {
        let stamp = ClusterTime::from_millis(index);
        let commands = vec![nothing(NodeId(1)); 2];
        let outcomes = state.apply(index, &Batch { stamp, commands });
        assert_eq!(outcomes, [Outcome::Late, Outcome::Late]);
    }
    assert_eq!(state.view().lease_count(), 0);
}

#[tokio::test]
async fn every_command_has_its_time_or_is_told_as_failed() {
    let start = |route: Route| {
        let (_route, route) = watch::channel(route);
        let (_trip, round_trip) = watch::channel(Duration::ZERO);
        let alone = Alone(parking_lot::Mutex::new(State::default()));
        Proposer::start(
            alone,
            Signals { route, round_trip },
            Arc::new(|_| {}),
            Arc::new(SystemClock),
        )
        .0
    };
    let measured = measure(&start(Route::Here), NodeId(1), 400).await;
    // A machine that stands still may lose some.
    assert!(!measured.micros.is_empty());
    assert_eq!(measured.micros.len() as u32 + measured.failed + measured.left_out, 400);
    let lost = measure(&start(Route::Nowhere), NodeId(1), 700).await;
    assert!(lost.micros.is_empty());
    assert_eq!(lost.failed + lost.left_out, 700);
    assert!(lost.failed >= IN_FLIGHT as u32, "{lost:?}");
}
