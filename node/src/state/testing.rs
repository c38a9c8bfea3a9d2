//! Small values for the tests of this module, of the allocator and of the engine.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::types::{ClientId, HwAddr, Lifetime, NodeId, SubnetId};

/// A client; an empty `hw` is no address.
pub(crate) fn client(hw: &str, id: Option<&str>) -> Client {
    Client {
        id: id.map(|id| id.parse().unwrap()),
        hw: hw.parse().unwrap(),
        match_id: true,
        claims: None,
    }
}

/// Client number `n`, without an id.
pub(crate) fn nth_client(n: u32) -> Client {
    let [a, b, c, d] = n.to_be_bytes();
    Client { id: None, hw: HwAddr::ethernet([2, 0, a, b, c, d]), match_id: true, claims: None }
}

/// An assigned lease of an hour in subnet 1, granted at the start, of client number `n`.
pub(crate) fn lease(address: &str, n: u32) -> Lease {
    let end = ClusterTime::from_millis(3_600_000);
    Lease {
        address: address.parse().unwrap(),
        subnet: SubnetId(1),
        client_id: None,
        hw: nth_client(n).hw,
        hostname: "".into(),
        cltt: ClusterTime::ZERO,
        valid: Lifetime::from_secs(3600),
        expires: end,
        reserved_until: end,
        due: end,
        granted: ClusterTime::ZERO,
        generation: Generation(128),
        state: LeaseState::Assigned,
        identity: Ipv4Addr::UNSPECIFIED,
        fqdn_fwd: false,
        fqdn_rev: false,
        offered: false,
        rare: Rare::default(),
    }
}

/// A machine with `config` in force at index 1, and `nodes` nodes up.
pub(crate) fn machine(config: &str, nodes: u64) -> State {
    let mut state = State::new();
    let set = Command::SetConfig(SetConfig::json(config));
    let up = (1..=nodes).map(|node| Command::NodeLiveness(NodeId(node), Liveness::Up));
    let commands: Vec<_> = std::iter::once(set).chain(up).collect();
    let outcomes = state.apply(1, &Batch { stamp: ClusterTime::ZERO, commands });
    assert_eq!(outcomes[0], Outcome::ConfigSet(ConfigVersion(1)));
    state
}

/// Makes the machine differ from what its log says, as a flipped bit in memory would.
pub(crate) fn corrupt(state: &mut State) {
    state.meta.total_mut(SubnetId(1)).assigned += 1;
}

pub(crate) fn any_hw() -> impl Strategy<Value = HwAddr> {
    (0u8..3, prop::collection::vec(0u8..4, 0..=16))
        .prop_map(|(htype, bytes)| HwAddr::new(htype, &bytes).unwrap())
}

pub(crate) fn any_id() -> impl Strategy<Value = ClientId> {
    prop_oneof![
        3 => prop::collection::vec(0u8..3, 2..4),
        1 => prop::collection::vec(any::<u8>(), 2..=255),
    ]
    .prop_map(|bytes| ClientId::new(&bytes).unwrap())
}

pub(crate) fn any_time() -> impl Strategy<Value = ClusterTime> {
    prop_oneof![
        8 => (0u64..100_000).prop_map(ClusterTime::from_millis),
        1 => any::<u64>().prop_map(ClusterTime::from_millis),
        1 => Just(ClusterTime::NEVER),
    ]
}

pub(crate) fn any_state() -> impl Strategy<Value = LeaseState> {
    prop::sample::select(&LeaseState::ALL[..])
}

/// Any record at all, consistent or not.
pub(crate) fn any_lease() -> impl Strategy<Value = Lease> {
    let who = (prop::option::of(any_id()), any_hw(), "[a-zé.]{0,9}");
    let times = (any_time(), any_time(), any_time(), any_time(), any_time());
    let rest = (
        any::<u32>(),
        any_state(),
        any::<bool>(),
        any::<bool>(),
        prop::option::of("[{}a-z\"]{0,9}"),
        prop_oneof![Just(0), 1u64..4, any::<u64>()],
        prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
        any::<bool>(),
    );
    (any::<u32>(), 0u32..4, who, times, any::<u64>(), any::<u32>(), rest).prop_map(
        |(address, subnet, (client_id, hw, hostname), times, generation, valid, rest)| Lease {
            address: address.into(),
            subnet: SubnetId(subnet),
            client_id,
            hw,
            hostname: hostname.into(),
            cltt: times.0,
            valid: Lifetime::from_secs(valid),
            expires: times.1,
            reserved_until: times.2,
            due: times.3,
            granted: times.4,
            generation: Generation(generation),
            state: rest.1,
            identity: rest.0.into(),
            fqdn_fwd: rest.2,
            fqdn_rev: rest.3,
            offered: rest.7,
            rare: Rare::new(rest.4.map(Into::into), rest.5, rest.6.map(Into::into)),
        },
    )
}
