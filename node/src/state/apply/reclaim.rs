//! The leader's sweep over leases that are due (R6, R13).

use crate::state::State;
use crate::state::command::Reclaim;
use crate::state::lease::{Lease, LeaseState};
use crate::state::outcome::Outcome;
use crate::types::ClusterTime;

impl State {
    /// Acts on the leases that are due at the stamp, the longest due first:
    ///
    /// * an assigned one is over, grace included: it becomes reclaimed and is kept for its client
    ///   (`hold-reclaimed-time`), or goes;
    /// * a declined one has served its probation and goes: it has no client to be kept for;
    /// * a reclaimed or released one was kept long enough and goes.
    pub(super) fn reclaim(&mut self, reclaim: &Reclaim) -> Outcome {
        let now = self.meta.now;
        let limit = reclaim.limit.clamp(1, Reclaim::MAX) as usize;
        let mut due: Vec<_> = self.leases.due(now).take(limit.saturating_add(1)).cloned().collect();
        let more = due.len() > limit;
        due.truncate(limit);
        let kept_until = if reclaim.remove { None } else { self.kept_until() };
        for lease in &due {
            match (lease.state, kept_until) {
                // An offer that nobody took leaves no trace: its client has never had the address.
                (LeaseState::Assigned, Some(due)) if !lease.offered => {
                    self.leases.put(Lease {
                        state: LeaseState::Reclaimed,
                        due,
                        offered: false,
                        ..Lease::clone(lease)
                    });
                }
                _ => {
                    self.leases.remove(lease.address);
                }
            }
            match lease.state {
                LeaseState::Assigned => self.meta.total_mut(lease.subnet).reclaimed += 1,
                LeaseState::Declined => {
                    let totals = self.meta.total_mut(lease.subnet);
                    totals.reclaimed += 1;
                    totals.reclaimed_declined += 1;
                }
                LeaseState::Reclaimed | LeaseState::Released => {}
            }
        }
        Outcome::Reclaimed { count: u32::try_from(due.len()).unwrap_or(u32::MAX), more }
    }

    /// Until when a lease that ends now is kept for its client; `None` if it is not. As in Kea,
    /// nothing is kept while flushing is off, since nothing would ever remove it.
    pub(super) fn kept_until(&self) -> Option<ClusterTime> {
        let expired = &self.meta.config.as_ref()?.expired;
        let kept = expired.flush_reclaimed_timer_wait_time > 0 && expired.hold_reclaimed_time > 0;
        kept.then(|| {
            self.meta.now.plus(std::time::Duration::from_secs(expired.hold_reclaimed_time.into()))
        })
    }
}
