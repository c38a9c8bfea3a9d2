//! The promise: a client is never refused the address that it holds.
//!
//! A node that is behind or cut off must stay silent instead (C11, C12).

use super::history::Count;
use super::{Breach, History, What};

/// Every NAK that a client got for an address it held at that moment.
pub fn check(history: &History) -> Vec<Breach> {
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
        if let Some(promise) = held {
            breaches.push(Breach(format!(
                "{} held {} from {} ms and was refused it at {} ms by {:?}",
                event.client, address, promise.from, event.at, event.node
            )));
        }
    }
    breaches
}
