//! The lease table against a flat list.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::state::testing::{any_hw, any_id, any_lease};

#[derive(Debug, Clone)]
enum Step {
    Put(Box<Lease>),
    Remove(u32),
}

fn any_step() -> impl Strategy<Value = Step> {
    let put = (any_lease(), 0u32..40).prop_map(|(mut lease, at)| {
        lease.address = at.into();
        Step::Put(Box::new(lease))
    });
    prop_oneof![3 => put, 1 => (0u32..40).prop_map(Step::Remove)]
}

proptest! {
    #[test]
    fn the_table_and_its_indexes_agree_with_a_flat_list(
        steps in prop::collection::vec(any_step(), 0..60),
        who in prop::collection::vec((prop::option::of(any_id()), any_hw(), any::<bool>()), 1..6),
    ) {
        let mut leases = Leases::default();
        let mut flat: BTreeMap<u32, Lease> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Put(lease) => {
                    let old = leases.put(Lease::clone(&lease));
                    let expected = flat.insert(lease.address.into(), *lease);
                    prop_assert_eq!(old.as_deref(), expected.as_ref());
                }
                Step::Remove(at) => {
                    let (old, expected) = (leases.remove(at.into()), flat.remove(&at));
                    prop_assert_eq!(old.as_deref(), expected.as_ref());
                }
            }
            leases.check().unwrap();
            prop_assert_eq!(leases.len(), flat.len());
        }
        for lease in flat.values() {
            prop_assert_eq!(leases.get(lease.address).map(|l| &**l), Some(lease));
        }
        for (id, hw, match_id) in who {
            let client = Client { id, hw, match_id, claims: None };
            let mut found: Vec<u32> = leases.of_client(&client).map(|l| l.address.into()).collect();
            found.sort_unstable();
            let expected: Vec<u32> = flat.values().filter(|l| l.names(&client)).map(|l| l.address.into()).collect();
            prop_assert_eq!(found, expected, "{:?}", client);
            let mut found: Vec<u32> = leases.with_hw(&client.hw).map(|l| l.address.into()).collect();
            found.sort_unstable();
            let same = |l: &&Lease| l.hw == client.hw && !client.hw.bytes().is_empty();
            let expected: Vec<u32> = flat.values().filter(same).map(|l| l.address.into()).collect();
            prop_assert_eq!(found, expected);
        }
        for now in [ms(0), ms(50_000), ClusterTime::from_millis(u64::MAX - 1)] {
            let due: Vec<_> = leases.due(now).map(|l| (l.due, u32::from(l.address))).collect();
            let mut expected: Vec<_> =
                flat.values().filter(|l| l.due <= now).map(|l| (l.due, u32::from(l.address))).collect();
            expected.sort_unstable();
            prop_assert_eq!(due, expected);
        }
        for from in 0..41u32 {
            let free = (from..).find(|at| flat.get(at).is_none_or(|l| !l.state.blocks())).map(Ipv4Addr::from);
            prop_assert_eq!(leases.next_unblocked(from.into()), free);
        }
        let range = crate::types::Range::new(5.into(), 25.into()).unwrap();
        for circuit in 1..4 {
            let declined = |l: &&Lease| l.state == LeaseState::Declined && l.circuit() == circuit;
            let inside = flat.range(5..=25).map(|(_, l)| l).filter(declined).count();
            for most in [2, 100] {
                prop_assert_eq!(leases.declined_through(circuit, range, most), inside.min(most));
            }
        }
        for subnet in (0..4).map(SubnetId) {
            for state in LeaseState::ALL {
                let expected = flat.values().filter(|l| l.subnet == subnet && l.state == state).count() as u64;
                prop_assert_eq!(leases.counts(subnet).of(state), expected);
            }
        }
    }

    /// The order of changes does not show in the digest, and any difference does.
    #[test]
    fn the_digest_is_of_the_content(leases in prop::collection::vec(any_lease(), 1..20)) {
        let (mut forwards, mut backwards) = (Leases::default(), Leases::default());
        let unique: BTreeMap<_, _> = leases.into_iter().map(|l| (l.address, l)).collect();
        for lease in unique.values() {
            forwards.put(lease.clone());
        }
        for lease in unique.values().rev() {
            backwards.put(Lease { hostname: "x".into(), ..lease.clone() });
            backwards.put(lease.clone());
        }
        prop_assert_eq!(forwards.digest(), backwards.digest());
        let first = unique.values().next().unwrap();
        backwards.put(Lease { hostname: "other".into(), ..first.clone() });
        prop_assert_ne!(forwards.digest(), backwards.digest());
    }
}
