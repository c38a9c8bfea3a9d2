//! The invariants of [`State`] as code.

use super::lease::LeaseState;
use super::{Generation, State, command::Batch};
use crate::types::ClusterTime;

impl State {
    /// Whether every invariant in the docs of [`State`] holds; else which does not. Costs a walk
    /// over everything: for tests and simulations.
    pub fn check(&self) -> Result<(), String> {
        // R28: then an operator's word is what ends it.
        let endless =
            self.meta.recovery.is_some_and(|recovery| recovery.until == ClusterTime::NEVER);
        self.leases.check()?;
        self.meta.declines.check()?;
        let next =
            Generation(self.meta.applied.saturating_add(1).saturating_mul(Batch::MAX as u64));
        for lease in self.leases.table().values() {
            let wrong =
                |what: &str| Err(format!("the lease of {} {what}: {lease:?}", lease.address));
            if lease.granted > self.meta.now {
                return wrong("was granted in the future");
            }
            if lease.generation >= next {
                return wrong("has a generation that is not applied");
            }
            if lease.offered && lease.state != LeaseState::Assigned {
                return wrong("is offered and given back");
            }
            if lease.expires > lease.reserved_until {
                return wrong("is told longer than it is reserved");
            }
            if lease.state == LeaseState::Assigned && lease.reserved_until > lease.due {
                return wrong("is due before it ends");
            }
            if lease.state.blocks()
                && lease.due == ClusterTime::NEVER
                && !lease.valid.is_infinite()
                && lease.reserved_until != ClusterTime::NEVER
                && !endless
            {
                return wrong("has an end but is never due");
            }
        }
        self.meta.check_history()?;
        self.meta.roster.check()?;
        if let Some(recovery) = &self.meta.recovery
            && (recovery.since > self.meta.now || recovery.until < recovery.since)
        {
            return Err(format!("the hold after a restore ends before it begins: {recovery:?}"));
        }
        self.meta.drafts.check()
    }
}
