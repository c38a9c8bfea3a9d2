//! Statistics of a machine that stands, with counters that a test sets.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::{Counted, Counts, Name, Scope, Stat, Statistics};
use crate::clock::ManualClock;
use crate::state::State;

/// The statistics, and what moves them.
#[derive(Debug)]
pub(crate) struct Counting {
    pub(crate) statistics: Arc<Statistics>,
    pub(crate) counted: Arc<Mutex<Counted>>,
    pub(crate) clock: ManualClock,
}

struct Kept(Arc<Mutex<Counted>>);

impl Counts for Kept {
    fn counted(&self) -> Counted {
        self.0.lock().clone()
    }
}

impl Counting {
    /// Of a node that starts at `wall`, Unix milliseconds.
    pub(crate) fn new(state: Arc<RwLock<State>>, wall: i64) -> Counting {
        let counted = Arc::new(Mutex::new(Counted::default()));
        let clock = ManualClock::default();
        clock.set_wall(wall);
        let counts = Kept(Arc::clone(&counted));
        let statistics = Arc::new(Statistics::new(state, counts, Arc::new(clock.clone())));
        Counting { statistics, counted, clock }
    }

    /// Lets the node count `count` more of a statistic, `x` or `subnet[1].x`.
    pub(crate) fn count(&self, name: &str, count: u64) {
        let name = Name::parse(name).unwrap();
        let counted = &mut *self.counted.lock();
        match name.scope {
            Scope::Global => counted.add(name.stat, count),
            Scope::Subnet(subnet) => {
                let at = Stat::PER_SUBNET.iter().position(|stat| *stat == name.stat).unwrap();
                counted.subnets.entry(subnet).or_default()[at] += count;
            }
            Scope::Pool(..) => panic!("no node counts for pools"),
        }
    }
}
