//! The configuration in the log.

use std::sync::Arc;

use crate::state::State;
use crate::state::command::{ConfigVersion, SetConfig};
use crate::state::outcome::Outcome;
use crate::types::SubnetId;

impl State {
    /// Replaces the configuration. Leases stay as they are: what no longer fits blocks its address
    /// until it ends (R8).
    pub(super) fn set_config(&mut self, set: &SetConfig) -> Outcome {
        let version = self.meta.config_version;
        if set.expected.is_some_and(|expected| expected != version) {
            return Outcome::ConfigConflict(version);
        }
        match crate::config::from_text(&set.text) {
            Ok(parsed) => {
                let version = ConfigVersion(version.0.saturating_add(1));
                self.meta.config_version = version;
                self.meta.config = Some(Arc::new(parsed.config));
                self.meta.config_text = set.text.as_str().into();
                self.forget_totals();
                Outcome::ConfigSet(version)
            }
            Err(mistakes) => Outcome::ConfigRefused(mistakes.to_string()),
        }
    }

    /// Totals of subnets that are gone, leases included, go too: ids must not pile up.
    fn forget_totals(&mut self) {
        let Some(config) = self.meta.config.clone() else { return };
        let leases = &self.leases;
        let gone =
            |id: &&SubnetId| config.subnet(**id).is_none() && leases.counts(**id).total() == 0;
        let gone: Vec<SubnetId> = self.meta.totals.keys().filter(gone).copied().collect();
        for id in gone {
            self.meta.totals.remove(&id);
        }
    }
}
