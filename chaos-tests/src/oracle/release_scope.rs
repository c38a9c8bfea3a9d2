//! The promise: a RELEASE or DECLINE ends the lease it is for and no other (R5).
//!
//! What this finds is a lost lease, which [`durable_ack`](super::durable_ack) finds as well; here it has a name, because the address had been given up by
//! somebody before: late, twice, or by another client.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::{Breach, ClientId, Held, History, Promise, What};

/// Every promise that still runs at `now`, is not in `table`, and is of an address that was given up before for a lease that was not this one.
pub fn check(history: &History, promises: &[Promise], table: &[Held], now: u64) -> Vec<Breach> {
    let holders: BTreeMap<_, _> = table.iter().map(|held| (held.address, held.client)).collect();
    let words = given_up(history);
    let running = promises.iter().filter(|promise| promise.until > now);
    let lost =
        running.filter(|promise| holders.get(&promise.address) != Some(&Some(promise.client)));
    lost.filter_map(|promise| {
        let (at, client) = words.get(&promise.address)?.iter().rev().find(|(at, client)| {
            // What its client says during it ends it.
            *at <= now && (*client != promise.client || *at < promise.from)
        })?;
        Some(Breach(format!(
            "{} was given up by {client} at {at} ms, and {} has lost it, who has it from {} to {} ms",
            promise.address, promise.client, promise.from, promise.until
        )))
    })
    .collect()
}

/// Who gave up which address when, in order.
fn given_up(history: &History) -> BTreeMap<Ipv4Addr, Vec<(u64, ClientId)>> {
    let mut words: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for event in history.events() {
        if let What::Released { address } | What::Declined { address } = event.what {
            words.entry(address).or_default().push((event.at, event.client));
        }
    }
    words
}
