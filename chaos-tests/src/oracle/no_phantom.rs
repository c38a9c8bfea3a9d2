//! The promise: the table holds nothing that nobody asked for.

use std::collections::BTreeSet;

use super::{Breach, Held, History, What};

/// Every lease of `table` whose holder never sent a REQUEST for that address. A REQUEST without an answer counts as asked: it may have bound.
pub fn check(history: &History, table: &[Held]) -> Vec<Breach> {
    let asked: BTreeSet<_> = history
        .events()
        .iter()
        .filter_map(|event| match event.what {
            What::Asked { address, .. } => Some((event.client, address)),
            _ => None,
        })
        .collect();
    table
        .iter()
        .filter(|held| !held.client.is_some_and(|client| asked.contains(&(client, held.address))))
        .map(|held| {
            Breach(format!(
                "the table gives {} to {:?}, who never asked for it",
                held.address, held.client
            ))
        })
        .collect()
}
