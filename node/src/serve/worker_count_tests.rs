//! What Kea's statistics say of packets (kea-stats §2).

use super::*;
use crate::observe::statistics::{Counted, Stat};
use crate::state::{LeaseState, PutLease, PutMode};
use crate::types::{Lifetime, SubnetId};

impl Rig {
    fn counted(&self) -> Counted {
        crate::serve::causes::counted(&self.counters, std::iter::empty())
    }

    /// What is not 0, in the order of [`Stat::ALL`].
    fn says(&self) -> Vec<(&'static str, u64)> {
        let counted = self.counted();
        let all = Stat::ALL.iter().zip(counted.global);
        all.filter(|(_, count)| *count > 0).map(|(stat, count)| (stat.name(), count)).collect()
    }

    fn says_of_subnet(&self) -> Vec<(&'static str, u64)> {
        let row = self.counted().subnets.get(&SubnetId(1)).copied().unwrap_or_default();
        let all = Stat::PER_SUBNET.iter().zip(row);
        all.filter(|(_, count)| *count > 0).map(|(stat, count)| (stat.name(), count)).collect()
    }
}

/// The document with other pools in its subnet.
fn pools(pools: &str) -> String {
    CONFIG.replace(r#""pools": [{"pool": "192.0.2.100 - 192.0.2.199"}]"#, pools)
}

#[test]
fn a_full_pool_and_a_subnet_without_pools_are_different_failures_and_no_drops() {
    let mut rig = Rig::configured(1, &pools(r#""pools": [{"pool": "192.0.2.100/32"}]"#));
    rig.bind(1);
    rig.packet(&discover(2, 3));
    let failed = [
        ("v4-allocation-fail", 1),
        ("v4-allocation-fail-subnet", 1),
        ("v4-allocation-fail-classes", 1),
    ];
    assert_eq!(rig.says_of_subnet(), failed);
    let received = [("pkt4-discover-received", 2), ("pkt4-request-received", 1)];
    assert_eq!(rig.says(), [&received[..], &failed].concat(), "replies count when they are sent");

    let mut rig = Rig::configured(1, &pools(r#""pools": []"#));
    rig.packet(&discover(2, 3));
    assert_eq!(
        rig.says_of_subnet(),
        [
            ("v4-allocation-fail-no-pools", 1),
            ("v4-allocation-fail-subnet", 1),
            ("v4-allocation-fail-classes", 1),
        ]
    );
}

#[test]
fn counts_of_a_subnet_that_is_gone_are_forgotten_and_the_sums_stay() {
    let mut rig = Rig::configured(1, &pools(r#""pools": []"#));
    rig.packet(&discover(2, 3));
    rig.apply(Command::SetConfig(SetConfig::json(CONFIG.replace(r#""id": 1"#, r#""id": 2"#))));
    rig.pass(5_000);
    assert!(rig.counted().subnets.is_empty());
    assert_eq!(rig.counted().global[Stat::AllocationFailNoPools as usize], 1);
}

#[test]
fn a_reserved_address_that_another_has_is_a_conflict_once_for_each_discover() {
    let mut rig = Rig::configured(
        1,
        &pools(
            r#""pools": [{"pool": "192.0.2.100 - 192.0.2.199"}], "reservations": [
                {"hw-address": "02:00:00:00:00:02", "ip-address": "192.0.2.150"}]"#,
        ),
    );
    rig.apply(Command::PutLease(PutLease {
        mode: PutMode::Add,
        address: Ipv4Addr::new(192, 0, 2, 150),
        subnet: SubnetId(1),
        hw: mac(9),
        client_id: None,
        lifetime: Lifetime::from_secs(600),
        expire: None,
        hostname: String::new(),
        fqdn_fwd: false,
        fqdn_rev: false,
        state: LeaseState::Assigned,
        user_context: String::new(),
    }));
    let address = rig.bind(2);
    assert_ne!(address, Ipv4Addr::new(192, 0, 2, 150));
    assert_eq!(rig.says_of_subnet(), [("v4-reservation-conflicts", 1)]);
}

#[test]
fn m8_a_renewal_answered_from_the_lease_is_a_reuse_and_its_repeat_is_none() {
    let mut rig = Rig::configured(1, &with(r#""cache-threshold": 0.5, "#));
    let address = rig.bind(1);
    rig.pass(10_000);
    assert_eq!(rig.says_of_subnet(), []);
    let renew = Query::new(MessageType::Request, 3, mac(1)).ciaddr(address);
    rig.packet(&renew);
    rig.commit();
    rig.packet(&renew);
    assert_eq!(rig.kinds(), [ReplyKind::Ack, ReplyKind::Ack]);
    assert_eq!(rig.says_of_subnet(), [("v4-lease-reuses", 1)]);
}

#[test]
fn what_cannot_be_read_has_no_type() {
    let mut rig = Rig::new(1);
    let arrival = net::Arrival {
        interface: "eth0".into(),
        index: 3,
        mtu: 1500,
        interface_address: OWN,
        source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
        destination: Ipv4Addr::BROADCAST,
        source_mac: None,
        broadcast: true,
    };
    let bytes = discover(2, 3).bytes_at(236, &[0; 4]).encode();
    let received = Received {
        datagram: net::Received { bytes, arrival, came: crate::clock::instant() },
        at: ms(rig.time),
    };
    rig.worker.packet(received, false, &rig.state, rig.now(), &mut Vec::new());
    assert_eq!(rig.says(), [("pkt4-receive-drop", 1), ("pkt4-parse-failed", 1)]);
    rig.packet(&Query::new(MessageType::ForceRenew, 3, mac(2)));
    assert!(rig.says().contains(&("pkt4-unknown-received", 1)));
    assert!(rig.says().contains(&("pkt4-rfc-violation", 1)));
}

#[test]
fn every_drop_has_one_cause() {
    let mut rig = Rig::new(1);
    let address = rig.bind(1);
    let before = rig.says();
    // Chose another server; a repeat while the first is committed; no outcome.
    let elsewhere = Query::new(MessageType::Request, 3, mac(2))
        .requested_address(address)
        .server_id(Ipv4Addr::new(10, 9, 9, 9));
    rig.packet(&elsewhere);
    let renew = Query::new(MessageType::Request, 3, mac(1)).ciaddr(address);
    rig.pass(5_000);
    rig.packet(&renew);
    rig.packet(&renew);
    rig.answer_unknown();
    let counted = rig.counted();
    let value = |stat: Stat| counted.global[stat as usize];
    assert_eq!(value(Stat::NotForUs), 1);
    assert_eq!(value(Stat::Duplicate), 1);
    assert_eq!(value(Stat::ProcessingFailed), 1);
    assert_eq!(value(Stat::Dropped), 3);
    assert!(before.iter().all(|(name, _)| *name != "pkt4-receive-drop"), "{before:?}");
    // A release that finds no leader is sent again, and is no drop.
    rig.packet(&release(1, address));
    rig.answer_unknown();
    assert_eq!(rig.counted().global[Stat::Dropped as usize], 3);
}
