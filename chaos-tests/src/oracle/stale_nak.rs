//! The promise: a client is never refused the address that it holds.
//!
//! A node that is behind or cut off must stay silent instead (C11, C12).

use super::history::Count;
use super::{Breach, History, Promise, What};

/// Every NAK that a client got for an address it held at that moment.
pub fn check(history: &History) -> Vec<Breach> {
    check_but(history, |_, _| false)
}

/// [`check`], except where a client may be refused what it holds: it is asked of each such promise and the moment of the NAK.
pub fn check_but(history: &History, may_refuse: impl Fn(&Promise, u64) -> bool) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let promises = history.promises(Count::FromAsked);
    for event in history.events() {
        let What::Refused { address, .. } = event.what else { continue };
        // The NAK itself ended the promise, so its end is the moment of the NAK.
        let held = promises.iter().find(|promise| {
            promise.client == event.client
                && promise.address == address
                && promise.from < event.at
                && promise.until >= event.at
        });
        if let Some(promise) = held.filter(|promise| !may_refuse(promise, event.at)) {
            breaches.push(Breach(format!(
                "{} held {} from {} ms and was refused it at {} ms by {:?}",
                event.client, address, promise.from, event.at, event.node
            )));
        }
    }
    breaches
}
