//! The promise: no address is given to two clients at the same time.

use super::{Breach, Promise};

/// Every pair of promises that gave one address to two clients at once.
pub fn check(promises: &[Promise]) -> Vec<Breach> {
    let mut sorted: Vec<&Promise> = promises.iter().collect();
    sorted.sort_by_key(|promise| (promise.address, promise.from, promise.client));
    let mut breaches = Vec::new();
    // Of all earlier promises of the address, the one that lasts longest.
    let mut longest: Option<&Promise> = None;
    for next in sorted {
        match longest {
            Some(last) if last.address == next.address => {
                if last.client != next.client && next.from < last.until {
                    breaches.push(Breach(format!(
                        "{} was promised to {} from {} to {} ms (last ACK by {:?}) and to {} from {} to {} ms (by {:?})",
                        next.address, last.client, last.from, last.until, last.node, next.client, next.from, next.until, next.node
                    )));
                }
                if next.until > last.until {
                    longest = Some(next);
                }
            }
            _ => longest = Some(next),
        }
    }
    breaches
}
