//! The promise: a client is never refused the address that it holds.
//!
//! A node that is behind or cut off must stay silent instead (C11, C12).

use std::collections::BTreeMap;

use super::history::Count;
use super::{Breach, ClientId, History, Promise, What};

/// A NAK that a client got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// When it first sent the REQUEST; zero, if the ledger has forgotten that.
    pub asked: u64,
    /// When the NAK came.
    pub at: u64,
}

/// Every NAK that a client got for an address it held at that moment.
pub fn check(history: &History) -> Vec<Breach> {
    check_but(history, |_, _| false)
}

/// [`check`], except where a client may be refused what it holds: it is asked of each such promise and the refusal.
pub fn check_but(history: &History, may_refuse: impl Fn(&Promise, Refusal) -> bool) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let promises = history.promises(Count::FromAsked);
    let mut asked: BTreeMap<(ClientId, u32), u64> = BTreeMap::new();
    for event in history.events() {
        let (xid, address) = match event.what {
            What::Asked { xid, .. } => {
                asked.entry((event.client, xid)).or_insert(event.at);
                continue;
            }
            What::Refused { xid, address } => (xid, address),
            _ => continue,
        };
        // The NAK itself ended the promise, so its end is the moment of the NAK.
        let held = promises.iter().find(|promise| {
            promise.client == event.client
                && promise.address == address
                && promise.from < event.at
                && promise.until >= event.at
        });
        let asked = asked.get(&(event.client, xid)).copied().unwrap_or(0);
        let refusal = Refusal { asked, at: event.at };
        if let Some(promise) = held.filter(|promise| !may_refuse(promise, refusal)) {
            breaches.push(Breach(format!(
                "{} held {} from {} ms and was refused it at {} ms by {:?}",
                event.client, address, promise.from, event.at, event.node
            )));
        }
    }
    breaches
}
