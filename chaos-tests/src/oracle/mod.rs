//! What clients were promised, and whether it was kept.
//!
//! [`history`] is the ledger: everything clients asked and were told, in order. Each other file holds one promise and a
//! `check` that returns every breach it finds. All of it is pure: time is an argument, in milliseconds of the ledger's clock.

use std::fmt;
use std::net::Ipv4Addr;

pub mod agreement;
pub mod config_order;
pub mod durable_ack;
pub mod exchanges;
pub mod history;
pub mod no_phantom;
pub mod release_scope;
pub mod service_gap;
pub mod stability;
pub mod stale_nak;
pub mod unique_address;

pub use history::{Ask, ClientId, Event, History, Promise, What};

/// A promise that was broken, in words a person can follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach(pub String);

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One lease of the cluster's table, as its API tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub address: Ipv4Addr,
    /// The holder, when its hardware address is one of the simulated clients'.
    pub client: Option<ClientId>,
    /// End of the lease on the ledger's clock.
    pub ends: u64,
}

/// Fails with all breaches in one text.
///
/// # Errors
/// When there is one.
pub fn expect_none(promise: &str, breaches: &[Breach]) -> anyhow::Result<()> {
    if breaches.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = breaches.iter().take(20).map(|breach| format!("  {breach}")).collect();
    anyhow::bail!("{promise}: broken {} times\n{}", breaches.len(), shown.join("\n"))
}
