//! How many leases a subnet or a pool has. Equal on every node that has applied the same entries.

use std::collections::BTreeMap;

use super::names::Stat;
use crate::config::Subnet;
use crate::state::{Frozen, LeaseState, StateCounts, Totals, View};

/// Kea's numbers about leases (kea-stats §2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Addresses in pools.
    pub total: u64,
    /// Leases in the states 0 and 1.
    pub assigned: u64,
    /// Leases that began with a client's request.
    pub cumulative: u64,
    /// Addresses in probation.
    pub declined: u64,
    /// Addresses whose probation has ended.
    pub reclaimed_declined: u64,
    /// Leases that ran out.
    pub reclaimed: u64,
}

impl Figures {
    /// Those of a subnet. Cheap: nothing is walked but its list of pools.
    pub fn of_subnet(view: View<'_>, subnet: &Subnet) -> Figures {
        Figures::new(view.counts(subnet.id), view.totals(subnet.id)).with_pools(subnet)
    }

    /// The same in a frozen view.
    pub fn of_frozen(frozen: &Frozen, subnet: &Subnet) -> Figures {
        let totals = frozen.meta().totals(subnet.id);
        Figures::new(frozen.counts(subnet.id), totals).with_pools(subnet)
    }

    /// Those of the pools of a subnet by `pool-id`, which several may share. What is cumulative the
    /// state does not count by pool: 0.
    pub fn of_pools(view: View<'_>, subnet: &Subnet) -> BTreeMap<u32, Figures> {
        let mut pools: BTreeMap<u32, Figures> = BTreeMap::new();
        for pool in &subnet.pools {
            let figures = pools.entry(pool.id).or_default();
            figures.total += pool.range.size();
            figures.assigned += view.blocked_in(pool.range);
            figures.declined += view.declined_in(pool.range);
        }
        pools
    }

    /// Those of all subnets, also of those that are gone. It walks the subnets.
    pub fn of_all(frozen: &Frozen) -> Figures {
        let mut figures = Figures::new(StateCounts::default(), frozen.meta().all_totals());
        for (_, counts) in frozen.all_counts() {
            figures.assigned += counts.blocking();
            figures.declined += counts.of(LeaseState::Declined);
        }
        figures
    }

    fn new(counts: StateCounts, totals: Totals) -> Figures {
        Figures {
            total: 0,
            assigned: counts.blocking(),
            cumulative: totals.assigned,
            declined: counts.of(LeaseState::Declined),
            reclaimed_declined: totals.reclaimed_declined,
            reclaimed: totals.reclaimed,
        }
    }

    fn with_pools(self, subnet: &Subnet) -> Figures {
        Figures { total: subnet.pools.iter().map(|pool| pool.range.size()).sum(), ..self }
    }

    /// The number behind a statistic; 0 for those that a node counts.
    pub fn of(&self, stat: Stat) -> u64 {
        match stat {
            Stat::TotalAddresses => self.total,
            Stat::AssignedAddresses => self.assigned,
            Stat::CumulativeAssigned => self.cumulative,
            Stat::DeclinedAddresses => self.declined,
            Stat::ReclaimedDeclined => self.reclaimed_declined,
            Stat::ReclaimedLeases => self.reclaimed,
            _ => 0,
        }
    }
}
