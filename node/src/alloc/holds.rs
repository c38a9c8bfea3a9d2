//! Short memory of what was offered to whom (M3), kept by one node for itself and promising
//! nothing. The same table serves for what other nodes say they offered (C2a).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::types::{ClientKey, ClusterTime, SubnetId};

/// An address remembered for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// The address.
    pub address: Ipv4Addr,
    /// The subnet it was chosen in.
    pub subnet: SubnetId,
    /// What stands for the link that the client's packet came by: a hash of relay circuit, relay or
    /// interface (A1).
    pub circuit: u64,
    /// When it ends.
    pub until: ClusterTime,
}

/// Client → address, for a while, at most so many (R17): the oldest is dropped and counted.
///
/// A client has one hold, and an address is held for one client: a new hold takes the place of both.
#[derive(Debug, Clone)]
pub struct Holds {
    capacity: usize,
    keep: Duration,
    by_client: BTreeMap<ClientKey, (Hold, u64)>,
    by_address: BTreeMap<Ipv4Addr, ClientKey>,
    /// End and number → client.
    by_end: BTreeMap<(ClusterTime, u64), ClientKey>,
    circuits: BTreeMap<(SubnetId, u64), u32>,
    next: u64,
    dropped: u64,
}

impl Holds {
    /// M3: how long an offer is held.
    pub const KEEP: Duration = Duration::from_secs(60);
    /// R17: the most entries.
    pub const CAPACITY: usize = 65_536;

    /// An empty table of at most `capacity` entries, each kept for `keep`.
    pub fn new(capacity: usize, keep: Duration) -> Holds {
        Holds {
            capacity: capacity.max(1),
            keep,
            by_client: BTreeMap::new(),
            by_address: BTreeMap::new(),
            by_end: BTreeMap::new(),
            circuits: BTreeMap::new(),
            next: 0,
            dropped: 0,
        }
    }

    /// Holds `address` for `client` from now on.
    pub fn put(
        &mut self,
        client: ClientKey,
        address: Ipv4Addr,
        subnet: SubnetId,
        circuit: u64,
        now: ClusterTime,
    ) {
        self.put_until(client, address, subnet, circuit, ClusterTime::NEVER, now);
    }

    /// As [`Holds::put`], but not beyond `until`: what was offered ends then.
    pub fn put_until(
        &mut self,
        client: ClientKey,
        address: Ipv4Addr,
        subnet: SubnetId,
        circuit: u64,
        until: ClusterTime,
        now: ClusterTime,
    ) {
        self.expire(now);
        self.remove(&client);
        if let Some(other) = self.by_address.get(&address).cloned() {
            self.remove(&other);
        }
        while self.by_client.len() >= self.capacity {
            let Some((_, oldest)) = self.by_end.first_key_value() else { break };
            let oldest = oldest.clone();
            self.remove(&oldest);
            self.dropped += 1;
        }
        let hold = Hold { address, subnet, circuit, until: until.min(now.plus(self.keep)) };
        self.next += 1;
        self.by_address.insert(address, client.clone());
        self.by_end.insert((hold.until, self.next), client.clone());
        *self.circuits.entry((subnet, circuit)).or_default() += 1;
        self.by_client.insert(client, (hold, self.next));
    }

    /// What is held for `client`.
    pub fn get(&self, client: &ClientKey, now: ClusterTime) -> Option<Hold> {
        self.by_client.get(client).map(|(hold, _)| *hold).filter(|hold| now < hold.until)
    }

    /// For whom `address` is held.
    pub fn holder(&self, address: Ipv4Addr, now: ClusterTime) -> Option<&ClientKey> {
        self.by_address.get(&address).filter(|client| self.get(client, now).is_some())
    }

    /// Whether `address` is held for somebody who is not `client`.
    pub fn is_held_by_other(
        &self,
        address: Ipv4Addr,
        client: &ClientKey,
        now: ClusterTime,
    ) -> bool {
        self.holder(address, now).is_some_and(|holder| holder != client)
    }

    /// Gives up the hold of `client`: it was granted, or the client took another server (M5).
    pub fn remove(&mut self, client: &ClientKey) -> Option<Hold> {
        let (hold, number) = self.by_client.remove(client)?;
        self.by_address.remove(&hold.address);
        self.by_end.remove(&(hold.until, number));
        let place = (hold.subnet, hold.circuit);
        if let Some(count) = self.circuits.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                self.circuits.remove(&place);
            }
        }
        Some(hold)
    }

    /// Forgets what is over.
    pub fn expire(&mut self, now: ClusterTime) {
        while let Some((&(until, _), client)) = self.by_end.first_key_value() {
            if now < until {
                break;
            }
            let client = client.clone();
            self.remove(&client);
        }
    }

    /// A1: how many are held in the subnet for clients of this circuit, ended ones among them until
    /// they are forgotten.
    pub fn held_on(&self, subnet: SubnetId, circuit: u64) -> u32 {
        self.circuits.get(&(subnet, circuit)).copied().unwrap_or(0)
    }

    /// How many there are, ended ones among them until they are forgotten.
    pub fn len(&self) -> usize {
        self.by_client.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_client.is_empty()
    }

    /// How many were dropped before their time because the table was full.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::HwAddr;
    use proptest::prelude::*;

    fn key(n: u8) -> ClientKey {
        ClientKey::Hw(HwAddr::ethernet([2, 0, 0, 0, 0, n]))
    }

    fn address(n: u8) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, n)
    }

    fn at(secs: u64) -> ClusterTime {
        ClusterTime::from_millis(secs * 1000)
    }

    #[test]
    fn m3_an_offer_is_held_for_its_client_for_60_s() {
        let mut holds = Holds::new(Holds::CAPACITY, Holds::KEEP);
        holds.put(key(1), address(10), SubnetId(1), 0, at(0));
        assert_eq!(holds.get(&key(1), at(59)).map(|hold| hold.address), Some(address(10)));
        assert!(holds.is_held_by_other(address(10), &key(2), at(59)));
        assert!(!holds.is_held_by_other(address(10), &key(1), at(59)));
        assert_eq!(holds.get(&key(1), at(60)), None);
        assert!(!holds.is_held_by_other(address(10), &key(2), at(60)));
    }

    #[test]
    fn r17_the_oldest_hold_makes_room_and_is_counted() {
        let mut holds = Holds::new(2, Holds::KEEP);
        for n in 1..=3 {
            holds.put(key(n), address(n), SubnetId(1), 0, at(n.into()));
        }
        assert_eq!((holds.len(), holds.dropped()), (2, 1));
        assert_eq!(holds.get(&key(1), at(4)), None);
        assert!(holds.get(&key(2), at(4)).is_some());
    }

    #[test]
    fn a1_what_a_circuit_holds_is_counted_by_subnet() {
        let mut holds = Holds::new(100, Holds::KEEP);
        for n in 1..=2 {
            holds.put(key(n), address(n), SubnetId(1), 7, at(0));
        }
        assert_eq!([7, 8].map(|circuit| holds.held_on(SubnetId(1), circuit)), [2, 0]);
        assert_eq!(holds.held_on(SubnetId(2), 7), 0);
        holds.expire(at(60));
        assert_eq!(holds.held_on(SubnetId(1), 7), 0, "they are over");
    }

    #[test]
    fn a_hold_ends_with_the_offer_that_it_is_for() {
        let mut holds = Holds::new(100, Holds::KEEP);
        holds.put(key(1), address(10), SubnetId(1), 7, at(0));
        holds.put_until(key(2), address(11), SubnetId(1), 7, at(30), at(0));
        holds.put_until(key(3), address(12), SubnetId(1), 7, at(600), at(0));
        assert!(holds.is_held_by_other(address(11), &key(9), at(29)));
        assert!(!holds.is_held_by_other(address(11), &key(9), at(30)));
        holds.expire(at(30));
        assert_eq!(holds.held_on(SubnetId(1), 7), 2);
        holds.expire(at(60));
        assert!(holds.is_empty(), "none for longer than is kept");
    }

    proptest! {
        #[test]
        fn a_client_has_one_address_and_an_address_one_client(
            steps in prop::collection::vec((0u8..6, 0u8..6, 0u8..3, 0u64..40, any::<bool>()), 0..120)
        ) {
            let mut holds = Holds::new(4, Holds::KEEP);
            let mut now = 0;
            for (client, addr, circuit, passed, remove) in steps {
                now += passed;
                if remove {
                    holds.remove(&key(client));
                } else {
                    holds.put(key(client), address(addr), SubnetId(1), circuit.into(), at(now));
                    prop_assert_eq!(holds.get(&key(client), at(now)).map(|h| h.address), Some(address(addr)));
                    prop_assert_eq!(holds.holder(address(addr), at(now)), Some(&key(client)));
                }
                prop_assert!(holds.len() <= 4);
                prop_assert_eq!(holds.by_address.len(), holds.len());
                prop_assert_eq!(holds.by_end.len(), holds.len());
                prop_assert_eq!(holds.circuits.values().sum::<u32>() as usize, holds.len());
            }
        }
    }
}
