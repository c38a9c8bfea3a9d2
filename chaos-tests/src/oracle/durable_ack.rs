//! The promise: an acknowledged lease is never lost, and neither is its end.

use std::collections::BTreeMap;

use super::{Breach, Held, Promise};

/// By how much the end in the table may differ from the end that the client was told.
#[derive(Debug, Clone, Copy)]
pub struct Tolerance {
    /// Earlier, in milliseconds: tables count whole seconds.
    pub early: u64,
    /// Later, in milliseconds: an outage of the whole cluster does not count (R12). None: not checked, because a renewal without an answer
    /// may have been committed.
    pub late: Option<u64>,
}

/// Every promise that still runs at `now` and is not in `table` with its client and its end.
pub fn check(promises: &[Promise], table: &[Held], now: u64, tolerance: Tolerance) -> Vec<Breach> {
    let by_address: BTreeMap<_, _> = table.iter().map(|held| (held.address, held)).collect();
    let mut breaches = Vec::new();
    for promise in promises.iter().filter(|promise| promise.until > now) {
        let told =
            format!("{} was told {} until {} ms", promise.client, promise.address, promise.until);
        match by_address.get(&promise.address) {
            None => breaches.push(Breach(format!("{told}; the table has no such lease"))),
            Some(held) if held.client != Some(promise.client) => {
                breaches.push(Breach(format!(
                    "{told}; the table says it is held by {:?}",
                    held.client
                )));
            }
            Some(held) if held.ends.saturating_add(tolerance.early) < promise.until => {
                breaches.push(Breach(format!("{told}; in the table it ends at {} ms", held.ends)));
            }
            Some(held)
                if tolerance
                    .late
                    .is_some_and(|late| held.ends > promise.until.saturating_add(late)) =>
            {
                breaches
                    .push(Breach(format!("{told}; in the table it ends only at {} ms", held.ends)));
            }
            Some(_) => {}
        }
    }
    breaches
}
