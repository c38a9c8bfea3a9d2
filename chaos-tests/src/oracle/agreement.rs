//! The promise: when several nodes answer one client, their answers agree.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::{Breach, ClientId, History, What};

/// Every exchange in which two ACKs, or an ACK and its REQUEST, named different addresses.
pub fn check_acks(history: &History) -> Vec<Breach> {
    let mut asked: BTreeMap<(ClientId, u32), Ipv4Addr> = BTreeMap::new();
    let mut breaches = Vec::new();
    for event in history.events() {
        match event.what {
            What::Asked { xid, address, .. } => {
                asked.insert((event.client, xid), address);
            }
            What::Acked { xid, address, .. } => {
                if let Some(wanted) = asked.get(&(event.client, xid))
                    && *wanted != address
                {
                    breaches.push(Breach(format!(
                        "{} asked for {wanted} and {:?} acknowledged {address} at {} ms",
                        event.client, event.node, event.at
                    )));
                }
            }
            _ => {}
        }
    }
    breaches
}

/// Every exchange in which two OFFERs named different addresses. Only the calm state promises that: notes between nodes are best effort.
pub fn check_offers(history: &History) -> Vec<Breach> {
    let mut first: BTreeMap<(ClientId, u32), (Ipv4Addr, Option<Ipv4Addr>)> = BTreeMap::new();
    let mut breaches = Vec::new();
    for event in history.events() {
        let What::Offered { xid, address } = event.what else { continue };
        let (earlier, by) = *first.entry((event.client, xid)).or_insert((address, event.node));
        if earlier != address {
            breaches.push(Breach(format!(
                "{} was offered {earlier} by {by:?} and {address} by {:?} in one exchange",
                event.client, event.node
            )));
        }
    }
    breaches
}
