//! The allocators against a naive one: which address it must be where Kea's order says, whose share it
//! must come from, and that one is found if there is one, while leases come, end and are declined.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::tests::{ALLOCATORS, config, pick, put};
use super::*;
use crate::state::testing::{lease, machine, nth_client};
use crate::state::{Batch, Command, DeleteLease, GiveUp, LeaseState, Origin, State};
use crate::types::{Lifetime, NodeId};

#[derive(Debug, Clone)]
enum Step {
    /// A lease of so many seconds.
    Lease(u8, u32),
    Decline(u8),
    Release(u8),
    Delete(u8),
    /// Milliseconds pass.
    Pass(u64),
    /// An address for a client, when these were offered to others; then it is leased, or not.
    Pick(u32, Vec<u8>, bool),
}

fn any_step() -> impl Strategy<Value = Step> {
    let place = 0u8..POOLED.len() as u8;
    prop_oneof![
        3 => (place.clone(), 1u32..30).prop_map(|(at, secs)| Step::Lease(at, secs)),
        1 => place.clone().prop_map(Step::Decline),
        2 => place.clone().prop_map(Step::Release),
        1 => place.clone().prop_map(Step::Delete),
        2 => (0u64..1_500).prop_map(Step::Pass),
        6 => (0u32..6, prop::collection::vec(place, 0..5), any::<bool>())
            .prop_map(|(client, avoided, take)| Step::Pick(client, avoided, take)),
    ]
}

/// The last bytes of the addresses of both pools, in order.
const POOLED: [u8; 14] = [4, 5, 6, 7, 8, 9, 10, 11, 16, 17, 18, 19, 20, 21];

fn nth(at: u8) -> Ipv4Addr {
    [10, 0, 0, POOLED[usize::from(at)]].into()
}

fn apply(state: &mut State, millis: u64, command: Command) {
    let stamp = ClusterTime::from_millis(state.now().as_millis() + millis);
    state.apply(state.applied() + 1, &Batch { stamp, commands: vec![command] });
}

/// What the naive allocator knows.
struct Model {
    allocator: Allocator,
    share: Share,
    /// Where the next one is looked for, as a place in [`POOLED`].
    cursor: usize,
    /// When the share was found to be empty.
    spent: Option<ClusterTime>,
}

impl Model {
    /// The addresses that it may be; none if there is none.
    fn allowed(&mut self, state: &State, avoided: &[u8]) -> Vec<Ipv4Addr> {
        let view = state.view();
        let now = state.now();
        let round = (0..POOLED.len()).map(|n| ((self.cursor + n) % POOLED.len()) as u8);
        let good = |at: &u8| !avoided.contains(at) && view.is_free(nth(*at), now);
        let unblocked: Vec<Ipv4Addr> = round
            .clone()
            .filter(good)
            .map(nth)
            .filter(|it| view.lease(*it).is_none_or(|lease| !lease.state.blocks()))
            .collect();
        let unknown = |it: &&Ipv4Addr| view.lease(**it).is_none();
        let mine = |it: &&Ipv4Addr| self.share.is_mine(**it);
        let first: Option<Ipv4Addr> = match self.allocator {
            Allocator::Iterative => unblocked.iter().find(mine).copied(),
            Allocator::Random => None,
            Allocator::Flq => {
                let ended = |it: &&Ipv4Addr| (view.lease(**it).map(|lease| lease.due), **it);
                let known = || unblocked.iter().filter(|it| !unknown(it)).filter(mine);
                unblocked.iter().filter(unknown).find(mine).or(known().min_by_key(ended)).copied()
            }
        };
        let any_left = (0..POOLED.len() as u8)
            .any(|at| view.lease(nth(at)).is_none_or(|lease| !lease.state.blocks()));
        let own: Vec<Ipv4Addr> = unblocked.iter().filter(mine).copied().collect();
        let believed = |at: ClusterTime| now.as_millis() < at.as_millis() + 1_000;
        let is_skipped = !self.share.is_whole() && self.spent.is_some_and(believed);
        if !is_skipped {
            if !own.is_empty() {
                self.spent = None;
                return first.map_or(own, |first| vec![first]);
            }
            // What is full is not even searched.
            if any_left {
                self.spent = Some(now);
            }
        }
        let unknown: Vec<Ipv4Addr> = unblocked.iter().filter(unknown).copied().collect();
        if self.allocator == Allocator::Flq && !unknown.is_empty() {
            return unknown;
        }
        if !unblocked.is_empty() {
            return unblocked;
        }
        round.filter(good).map(nth).collect()
    }

    /// `found` was chosen: an iterative search for one's own goes on behind it.
    fn went_to(&mut self, state: &State, found: Ipv4Addr) {
        let at = POOLED.iter().position(|it| *it == found.octets()[3]).expect("it is of a pool");
        let known = state.view().lease(found);
        let moves = match self.allocator {
            Allocator::Iterative => known.is_none_or(|lease| !lease.state.blocks()),
            Allocator::Random => false,
            Allocator::Flq => known.is_none(),
        };
        // A search that was skipped, or found nothing, left the cursor alone.
        if moves && self.spent.is_none() {
            self.cursor = (at + 1) % POOLED.len();
        }
    }
}

proptest! {
    #[test]
    fn a_choice_is_the_one_that_order_and_shares_demand(
        steps in prop::collection::vec(any_step(), 1..60),
        nodes in 1u64..4,
        allocator in 0usize..3,
    ) {
        let pools = ["10.0.0.4-10.0.0.11", "10.0.0.16-10.0.0.21"];
        let mut state = machine(&config(&pools, ALLOCATORS[allocator]), nodes);
        let share = Share::of(state.view(), NodeId(1));
        let allocator = state.view().config().unwrap().subnets[0].values.allocator;
        let mut model = Model { allocator, share: share.clone(), cursor: 0, spent: None };
        let mut cursors = Cursors::default();
        let mut holders: BTreeMap<Ipv4Addr, u32> = BTreeMap::new();
        for (n, step) in (1000u32..).zip(steps) {
            match step {
                Step::Lease(at, secs) => {
                    let it = crate::state::Lease {
                        valid: Lifetime::from_secs(secs),
                        ..lease(&nth(at).to_string(), n)
                    };
                    put(&mut state, &it);
                    holders.insert(nth(at), n);
                }
                Step::Decline(at) => {
                    let it = crate::state::Lease {
                        state: LeaseState::Declined,
                        ..lease(&nth(at).to_string(), n)
                    };
                    put(&mut state, &it);
                }
                Step::Release(at) => {
                    let give_up = GiveUp {
                        origin: Origin { node: NodeId(1), incarnation: 1, sequence: 0 },
                        client: nth_client(holders.get(&nth(at)).copied().unwrap_or(0)),
                        address: nth(at),
                        generation: None,
                        arrived: state.now(),
                        circuit: 0,
                        relayed: false,
                    };
                    apply(&mut state, 0, Command::Release(give_up));
                }
                Step::Delete(at) => {
                    let delete = DeleteLease { address: nth(at), seen: None };
                    apply(&mut state, 0, Command::DeleteLease(delete));
                }
                Step::Pass(millis) => apply(&mut state, millis, Command::Tick),
                Step::Pick(client, avoided, take) => {
                    let allowed = model.allowed(&state, &avoided);
                    let avoid = |it: Ipv4Addr| avoided.iter().any(|at| nth(*at) == it);
                    match pick(&state, &share, client, &mut cursors, avoid) {
                        Choice::Exhausted => prop_assert_eq!(allowed, Vec::<Ipv4Addr>::new()),
                        Choice::Candidate(found) => {
                            prop_assert!(allowed.contains(&found), "{found} of {allowed:?}");
                            model.went_to(&state, found);
                            if take {
                                put(&mut state, &lease(&found.to_string(), n));
                                holders.insert(found, n);
                            }
                        }
                    }
                }
            }
            state.check().map_err(TestCaseError::fail)?;
        }
    }
}
