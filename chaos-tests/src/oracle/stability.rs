//! A client that comes back gets the address it had, as long as nobody else was given it meanwhile.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::{Breach, ClientId, History, What};

/// Checks every exchange that began at `from` or later and was not disturbed: a client that had an address whose promise had ended less
/// than `within` milliseconds before its DISCOVER, or had not ended, was offered that address, unless somebody else had it since.
pub fn check(history: &History, from: u64, within: u64) -> Vec<Breach> {
    let mut last: BTreeMap<ClientId, (Ipv4Addr, u64)> = BTreeMap::new();
    let mut holder: BTreeMap<Ipv4Addr, ClientId> = BTreeMap::new();
    let mut began: BTreeMap<ClientId, u64> = BTreeMap::new();
    let mut breaches = Vec::new();
    for event in history.events() {
        let client = event.client;
        match event.what {
            What::Discovered { .. } => drop(began.entry(client).or_insert(event.at)),
            What::Acked { address, lifetime_secs, accepted: true, .. } => {
                let began = began.remove(&client);
                let had =
                    last.insert(client, (address, event.at + u64::from(lifetime_secs) * 1_000));
                let before = holder.insert(address, client);
                if let (Some(began), Some((old, until))) = (began, had)
                    && began >= from
                    && began <= until.saturating_add(within)
                    && old != address
                    && holder.get(&old) == Some(&client)
                {
                    breaches.push(Breach(format!(
                        "{client} had {old} until {until} ms, came back at {began} ms, and got {address}, which was {}'s before",
                        before.map_or("nobody".to_owned(), |it| it.to_string())
                    )));
                }
            }
            // It does not want it any more, or may not have it.
            What::Released { .. } | What::Declined { .. } | What::Refused { .. } => {
                last.remove(&client);
            }
            _ => {}
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::super::Event;
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 77, 16, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 77, 16, 2);

    fn exchange(at: u64, client: u32, address: Ipv4Addr) -> [Event; 2] {
        let event = |at, what| Event { at, client: ClientId(client), node: None, what };
        let acked =
            What::Acked { xid: 1, address, lifetime_secs: 30, asked_at: at, accepted: true };
        [event(at, What::Discovered { xid: 1 }), event(at + 10, acked)]
    }

    fn breaches(exchanges: &[[Event; 2]]) -> usize {
        check(&History::new(exchanges.concat()), 0, 5_000).len()
    }

    #[test]
    fn another_address_without_a_reason_is_caught() {
        assert_eq!(breaches(&[exchange(0, 1, A), exchange(20_000, 1, B)]), 1);
        assert_eq!(breaches(&[exchange(0, 1, A), exchange(34_000, 1, B)]), 1);
        assert_eq!(breaches(&[exchange(0, 1, A), exchange(20_000, 1, A)]), 0);
    }

    #[test]
    fn what_another_had_meanwhile_or_was_long_ago_is_gone() {
        assert_eq!(
            breaches(&[exchange(0, 1, A), exchange(31_000, 2, A), exchange(33_000, 1, B)]),
            0
        );
        assert_eq!(breaches(&[exchange(0, 1, A), exchange(60_000, 1, B)]), 0);
    }
}
