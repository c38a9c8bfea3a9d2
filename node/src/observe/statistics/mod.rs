//! Kea's statistics: what this node has counted, what the replicated state says, and their history.
//!
//! * [`names`] has every statistic, what it means and where it comes from.
//! * [`series`] keeps samples, limits, resets and removals. It is pure.
//! * [`figures`] counts leases of a subnet or a pool in the applied state.
//! * [`page`] puts the numbers on `/metrics` under the names that Stork's agent gives them.
//!
//! The parts of the node count with atomics of their own ([`Counts`]); nothing here is on the way of
//! a packet. [`Statistics`] reads them when somebody asks, and once in a while for the history. Long
//! readings take the lock of the state for [`CHUNK`] subnets at a time (R22).

pub mod figures;
pub mod names;
pub mod page;
pub mod series;

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use parking_lot::{Mutex, RwLock};

pub use figures::Figures;
pub use names::{Name, Scope, Stat};
pub use series::{Limit, Sample};

use crate::clock::Clock;
use crate::config::{Config, Subnet};
use crate::state::{ConfigVersion, State};
use crate::types::{SubnetId, Utc};
use series::{Reading, Series};

/// Subnets that are read under one hold of the lock.
const CHUNK: usize = 64;
/// How often samples are taken.
const PERIOD: Duration = Duration::from_secs(1);
/// How often where there are more than [`MANY`] subnets.
const LONG_PERIOD: Duration = Duration::from_secs(10);
const MANY: usize = 1_000;

/// What a node has counted since its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The first [`Stat::COUNTED`] of [`Stat::ALL`].
    pub global: [u64; Stat::COUNTED],
    /// What it has counted for subnets.
    pub subnets: BySubnet,
}

/// [`Stat::PER_SUBNET`], for subnets in which one of them is not 0. A copy costs nothing: nobody who
/// counts waits for one.
pub type BySubnet = OrdMap<SubnetId, [u64; Stat::PER_SUBNET.len()]>;

impl Default for Counted {
    fn default() -> Counted {
        Counted { global: [0; Stat::COUNTED], subnets: OrdMap::new() }
    }
}

impl Counted {
    /// Adds to one of the node's.
    pub fn add(&mut self, stat: Stat, count: u64) {
        if let Some(value) = self.global.get_mut(stat as usize) {
            *value += count;
        }
    }

    fn of(&self, stat: Stat) -> u64 {
        self.global.get(stat as usize).copied().unwrap_or(0)
    }

    /// What is shown of one subnet: what is rare only once it has counted.
    fn of_subnet(&self, subnet: SubnetId) -> impl Iterator<Item = (Stat, u64)> + '_ {
        let values = self.subnets.get(&subnet).copied().unwrap_or_default();
        let all = Stat::PER_SUBNET.into_iter().zip(values);
        all.filter(|(stat, value)| *value > 0 || !stat.is_rare())
    }
}

/// Where a node's own numbers come from.
pub trait Counts: Send + Sync + 'static {
    /// The numbers now. Must not wait.
    fn counted(&self) -> Counted;
}

/// Which statistics an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those that are not of a subnet.
    Global,
}

/// What may be asked of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Lets one count from 0 again.
    Reset(String),
    /// Lets all do so.
    ResetAll,
    /// Forgets one until it changes.
    Remove(String),
    /// Forgets all until they change.
    RemoveAll,
    /// Keeps so many samples of one.
    Limit(String, Limit),
    /// Keeps so many samples of each.
    LimitAll(Limit),
}

/// There is no statistic of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown;

/// The statistics of a node.
pub struct Statistics {
    state: Arc<RwLock<State>>,
    counts: Box<dyn Counts>,
    clock: Arc<dyn Clock>,
    history: Mutex<History>,
    /// Held from reading a counter to what is done with it: what was read before a reset must not be
    /// taken for what was counted after it. Shared by those who only look.
    turn: RwLock<()>,
}

struct History {
    series: Series,
    /// The limit that the configuration asked for when it was last looked at.
    configured: Limit,
    /// The configuration whose subnets the series are of.
    config: ConfigVersion,
    /// The entries that the last samples of leases saw.
    applied: u64,
}

impl fmt::Debug for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statistics").finish_non_exhaustive()
    }
}

impl Statistics {
    /// Statistics of a node that starts now.
    pub fn new(
        state: Arc<RwLock<State>>,
        counts: impl Counts,
        clock: Arc<dyn Clock>,
    ) -> Statistics {
        let usual = Limit::Count(series::USUAL);
        let history = History {
            series: Series::new(clock.wall()),
            configured: usual,
            config: ConfigVersion::default(),
            applied: 0,
        };
        Statistics {
            state,
            counts: Box::new(counts),
            clock,
            history: Mutex::new(history),
            turn: RwLock::default(),
        }
    }

    /// The samples of a statistic, as the value of its member in an answer; `None` if there is none of
    /// this name.
    pub fn get(&self, name: &str) -> Option<String> {
        let _turn = self.turn.read();
        self.follow_config();
        let reading = self.reading(name)?;
        let samples = self.history.lock().series.read(reading, self.clock.wall())?;
        let mut out = String::new();
        print_samples(&mut out, &samples);
        Some(out)
    }

    /// The map of all statistics, as JSON text.
    pub fn all(&self, which: Which) -> String {
        let _turn = self.turn.read();
        self.follow_config();
        let now = self.clock.wall();
        let mut out = String::from("{");
        let mut print = |readings: &[Reading]| {
            let history = self.history.lock();
            for reading in readings {
                let Some(samples) = history.series.read(*reading, now) else { continue };
                let comma = if out.len() > 1 { ", " } else { " " };
                print_member(&mut out, comma, reading.name, &samples);
            }
        };
        self.each(which, &mut print);
        out.push_str(" }");
        out
    }

    /// Does what was asked.
    ///
    /// # Errors
    /// When there is no statistic of that name.
    pub fn change(&self, change: &Change) -> Result<(), Unknown> {
        let _turn = self.turn.write();
        self.follow_config();
        let now = self.clock.wall();
        let one = |name: &str, act: &dyn Fn(&mut Series, Reading) -> bool| {
            let reading = self.reading(name).ok_or(Unknown)?;
            if act(&mut self.history.lock().series, reading) { Ok(()) } else { Err(Unknown) }
        };
        let all = |act: &dyn Fn(&mut Series, Reading) -> bool| {
            self.each(Which::All, &mut |readings| {
                let series = &mut self.history.lock().series;
                for reading in readings {
                    act(series, *reading);
                }
            });
            Ok(())
        };
        match change {
            Change::Reset(name) => one(name, &|series, reading| series.reset(reading, now)),
            Change::ResetAll => all(&|series, reading| series.reset(reading, now)),
            Change::Remove(name) => one(name, &|series, reading| series.remove(reading, now)),
            Change::RemoveAll => all(&|series, reading| series.remove(reading, now)),
            Change::Limit(name, limit) => {
                one(name, &|series, reading| series.limit(reading, *limit, now))
            }
            Change::LimitAll(limit) => {
                self.history.lock().series.limit_all(*limit, now);
                Ok(())
            }
        }
    }

    /// Takes samples of what has changed; returns when to do so again.
    pub fn sample(&self) -> Duration {
        let _turn = self.turn.write();
        self.follow_config();
        let now = self.clock.wall();
        let (applied, subnets) = {
            let state = self.state.read();
            (state.applied(), state.view().config().map_or(0, |config| config.subnets.len()))
        };
        let counted = self.counts.counted();
        let mut history = self.history.lock();
        for (stat, value) in Stat::ALL.iter().zip(counted.global) {
            let reading = Reading { name: Name::global(*stat), value };
            history.series.observe(reading, now);
        }
        let is_news = history.applied != applied;
        history.applied = applied;
        drop(history);
        if is_news || !counted.subnets.is_empty() {
            self.each(Which::All, &mut |readings| {
                let series = &mut self.history.lock().series;
                readings.iter().for_each(|reading| series.observe(*reading, now));
            });
        }
        if subnets > MANY { LONG_PERIOD } else { PERIOD }
    }

    /// How many samples are kept, of how many names.
    pub fn kept(&self) -> (usize, usize) {
        let history = self.history.lock();
        (history.series.samples(), history.series.rows())
    }

    /// Limits come from the configuration, and names of subnets and pools go with them.
    fn follow_config(&self) {
        let (config, version) = {
            let state = self.state.read();
            (state.view().config().cloned(), state.view().config_version())
        };
        let Some(config) = config else { return };
        let history = &mut *self.history.lock();
        if history.config == version {
            return;
        }
        history.config = version;
        let limit = Limit::configured(config.samples.count, config.samples.age);
        if history.configured != limit {
            history.configured = limit;
            history.series.set_usual(limit);
        }
        history.series.retain(|name| match name.scope {
            Scope::Global => true,
            Scope::Subnet(id) => config.subnet(id).is_some(),
            Scope::Pool(id, pool) => config
                .subnet(id)
                .is_some_and(|subnet| subnet.pools.iter().any(|one| one.id == pool)),
        });
    }

    /// What stands behind a name now.
    fn reading(&self, name: &str) -> Option<Reading> {
        let name = Name::parse(name)?;
        let stat = name.stat;
        let value = match name.scope {
            Scope::Global if stat.is_of_node() => self.counts.counted().of(stat),
            Scope::Global => self.figures().of(stat),
            Scope::Subnet(id) => {
                let figures = {
                    let state = self.state.read();
                    let view = state.view();
                    Figures::of_subnet(view, view.config()?.subnet(id)?)
                };
                if stat.is_of_node() {
                    let counted = self.counts.counted();
                    let found = counted.of_subnet(id).find(|(one, _)| *one == stat);
                    found?.1
                } else {
                    figures.of(stat)
                }
            }
            Scope::Pool(id, pool) => {
                let state = self.state.read();
                let view = state.view();
                Figures::of_pools(view, view.config()?.subnet(id)?).get(&pool)?.of(stat)
            }
        };
        Some(Reading { name, value })
    }

    /// The leases of all subnets together, those of subnets that are gone among them.
    fn figures(&self) -> Figures {
        let frozen = self.state.read().freeze();
        Figures::of_all(&frozen)
    }

    /// Every reading that there is, in portions.
    fn each(&self, which: Which, sink: &mut dyn FnMut(&[Reading])) {
        let counted = self.counts.counted();
        let figures = self.figures();
        let global = |stat: &&Stat| stat.is_global();
        let readings: Vec<Reading> = Stat::ALL
            .iter()
            .filter(global)
            .map(|stat| {
                let value = if stat.is_of_node() { counted.of(*stat) } else { figures.of(*stat) };
                Reading { name: Name::global(*stat), value }
            })
            .collect();
        sink(&readings);
        if which == Which::Global {
            return;
        }
        self.each_subnet(&mut |rows| {
            let mut readings = Vec::new();
            for Row { subnet, figures, pools, .. } in rows {
                let scope = Scope::Subnet(subnet.id);
                let leases = Stat::LEASES.map(|stat| (stat, figures.of(stat)));
                let of_subnet = leases.into_iter().chain(counted.of_subnet(subnet.id));
                readings.extend(
                    of_subnet.map(|(stat, value)| Reading { name: Name { scope, stat }, value }),
                );
                for (pool, figures) in pools {
                    let scope = Scope::Pool(subnet.id, *pool);
                    let gauges = Stat::LEASES.into_iter().filter(|stat| stat.is_per_pool());
                    readings.extend(gauges.map(|stat| Reading {
                        name: Name { scope, stat },
                        value: figures.of(stat),
                    }));
                }
            }
            sink(&readings);
        });
    }

    /// Every subnet and what there is to say of it, in portions, each of one moment.
    fn each_subnet(&self, sink: &mut dyn FnMut(&[Row<'_>])) {
        let Some(config) = self.state.read().view().config().cloned() else { return };
        let mut subnets = config.subnets.iter().peekable();
        while subnets.peek().is_some() {
            let rows: Vec<Row<'_>> = {
                let state = self.state.read();
                let row = |subnet| Row {
                    config: &config,
                    subnet,
                    figures: Figures::of_subnet(state.view(), subnet),
                    pools: Figures::of_pools(state.view(), subnet),
                };
                subnets.by_ref().take(CHUNK).map(row).collect()
            };
            sink(&rows);
        }
    }
}

/// A subnet and its leases.
struct Row<'a> {
    config: &'a Config,
    subnet: &'a Subnet,
    figures: Figures,
    pools: BTreeMap<u32, Figures>,
}

fn print_member(out: &mut String, before: &str, name: impl Display, samples: &[Sample]) {
    // Writing to a string cannot fail.
    let _ = write!(out, "{before}\"{name}\": ");
    print_samples(out, samples);
}

fn print_samples(out: &mut String, samples: &[Sample]) {
    for (at, sample) in samples.iter().enumerate() {
        let open = if at == 0 { "[ " } else { ", " };
        let _ = write!(out, "{open}[ {}, \"{}\" ]", sample.value, Utc::of_millis(sample.at));
    }
    out.push_str(" ]");
}

#[cfg(test)]
mod measure;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
