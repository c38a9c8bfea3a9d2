//! R9: the administrator's lease commands, with Kea's semantics.

use super::*;
use crate::state::testing::nth_client;

fn put(mode: PutMode, address: &str, n: u32) -> PutLease {
    PutLease {
        mode,
        address: ip(address),
        subnet: subnet_of(ip(address)),
        hw: nth_client(n).hw,
        client_id: None,
        lifetime: Lifetime::from_secs(600),
        expire: None,
        hostname: "desk-7".into(),
        fqdn_fwd: true,
        fqdn_rev: true,
        state: LeaseState::Assigned,
        user_context: r#"{"asset":"D7"}"#.into(),
    }
}

#[test]
fn r9_add_needs_a_free_record_and_update_an_existing_one() {
    let mut world = World::new();
    let at = secs(10);
    assert_eq!(
        world.one(at, Command::PutLease(put(PutMode::Update, "192.0.2.150", 1))),
        Outcome::NoLease
    );
    let created = Outcome::LeaseWritten { created: true };
    assert_eq!(
        world.one(at, Command::PutLease(put(PutMode::Add, "192.0.2.150", 1))),
        created,
        "pools are not asked"
    );
    assert_eq!(
        world.one(at, Command::PutLease(put(PutMode::Add, "192.0.2.150", 2))),
        Outcome::LeaseExists
    );
    let changed = Outcome::LeaseWritten { created: false };
    assert_eq!(world.one(at, Command::PutLease(put(PutMode::Update, "192.0.2.150", 2))), changed);
    assert_eq!(world.one(at, Command::PutLease(put(PutMode::Upsert, "192.0.2.151", 2))), created);
    let lease = world.lease("192.0.2.150").unwrap();
    assert_eq!((lease.hw, lease.cltt, lease.expires), (nth_client(2).hw, at, secs(610)));
    assert_eq!(lease.user_context(), Some(r#"{"asset":"D7"}"#));
}

/// What a script has read may have changed since: by a renewal, a release or another script.
#[test]
fn r9_an_update_or_a_deletion_can_ask_for_the_lease_that_was_seen() {
    let mut world = World::new();
    let client = nth_client(1);
    let at = ip("192.0.2.10");
    world.granted(secs(1), &client, "192.0.2.10", Why::Selecting, 600);
    let seen = Seen::of(&world.lease("192.0.2.10").unwrap());
    let update = |seen| Command::PutLease(put(PutMode::UpdateSeen(seen), "192.0.2.10", 1));
    let delete = |seen| Command::DeleteLease(DeleteLease { address: at, seen: Some(seen) });
    world.granted(secs(5), &client, "192.0.2.10", Why::Renewing, 600);
    assert_eq!(world.one(secs(6), update(seen)), Outcome::NoLease, "renewed meanwhile");
    assert_eq!(world.one(secs(6), delete(seen)), Outcome::NoLease, "renewed meanwhile");
    let seen = Seen::of(&world.lease("192.0.2.10").unwrap());
    let changed = Outcome::LeaseWritten { created: false };
    assert_eq!(world.one(secs(7), update(seen)), changed);
    assert_eq!(world.one(secs(7), update(seen)), Outcome::NoLease, "updated meanwhile");
    assert_eq!(world.one(secs(7), delete(seen)), Outcome::NoLease, "updated meanwhile");
    let seen = Seen::of(&world.lease("192.0.2.10").unwrap());
    assert_eq!(world.one(secs(8), delete(seen)), Outcome::Deleted { count: 1 });
    assert_eq!(world.one(secs(8), update(seen)), Outcome::NoLease, "deleted meanwhile");
}

#[test]
fn r9_the_subnet_must_exist_and_hold_the_address() {
    let mut world = World::new();
    let mut lease = put(PutMode::Add, "192.0.2.150", 1);
    lease.subnet = SubnetId(99);
    assert_eq!(
        world.one(secs(1), Command::PutLease(lease.clone())),
        Outcome::NoSubnet(SubnetId(99))
    );
    lease.subnet = SubnetId(2);
    assert_eq!(world.one(secs(1), Command::PutLease(lease)), Outcome::OutsideSubnet(SubnetId(2)));
}

#[test]
fn r9_an_update_gives_an_address_to_another_client_whatever_its_holder_was_told() {
    let mut world = World::new();
    world.granted(secs(1), &nth_client(1), "192.0.2.10", Why::Selecting, 10_000);
    world.one(secs(2), Command::PutLease(put(PutMode::Update, "192.0.2.10", 2)));
    let lease = world.lease("192.0.2.10").unwrap();
    assert_eq!((lease.expires, lease.reserved_until), (secs(602), secs(602)), "R6: both ends");
    assert_eq!(
        world.grant(secs(3), &nth_client(1), "192.0.2.10", Why::Renewing, 60),
        Outcome::Taken(Taken::Leased)
    );
    world.granted(secs(3), &nth_client(2), "192.0.2.10", Why::Renewing, 60);
}

#[test]
fn r12_expire_passes_through_the_wall_offset() {
    let mut world = World::new();
    world.one(secs(100), Command::SetWallOffset(WallOffset(1_700_000_000_000)));
    let mut lease = put(PutMode::Add, "192.0.2.150", 1);
    lease.expire = Some(1_700_001_000);
    world.one(secs(100), Command::PutLease(lease.clone()));
    let record = world.lease("192.0.2.150").unwrap();
    assert_eq!((record.cltt, record.expires), (secs(400), secs(1000)));
    assert_eq!(world.state.view().meta().wall_seconds(record.expires), 1_700_001_000);
    // A past end is allowed (imports); it does not block.
    lease.mode = PutMode::Upsert;
    lease.expire = Some(5);
    world.one(secs(100), Command::PutLease(lease));
    assert!(world.state.view().is_free(ip("192.0.2.150"), secs(100)));
    world.granted(secs(100), &nth_client(2), "192.0.2.10", Why::Selecting, 60);
}

#[test]
fn r9_delete_and_wipe() {
    let mut world = World::new();
    for (n, address) in ["192.0.2.10", "192.0.2.11", "198.51.100.10"].iter().enumerate() {
        world.granted(secs(1), &nth_client(n as u32), address, Why::Selecting, 600);
    }
    let delete = Command::DeleteLease(DeleteLease { address: ip("192.0.2.10"), seen: None });
    assert_eq!(world.one(secs(2), delete.clone()), Outcome::Deleted { count: 1 });
    assert_eq!(world.one(secs(2), delete), Outcome::NoLease);
    world.granted(secs(2), &nth_client(7), "192.0.2.10", Why::Selecting, 600);
    let wipe = |subnet| Command::WipeLeases(WipeLeases::first(subnet));
    assert_eq!(world.one(secs(3), wipe(Some(SubnetId(1)))), Outcome::Deleted { count: 2 });
    assert_eq!(world.one(secs(3), wipe(Some(SubnetId(1)))), Outcome::Deleted { count: 0 });
    assert_eq!(world.one(secs(3), wipe(None)), Outcome::Deleted { count: 1 });
    assert_eq!(world.state.view().lease_count(), 0);
}

#[test]
fn r22_a_wipe_looks_at_so_many_leases_and_says_where_to_go_on() {
    let mut state = testing::machine(
        r#"{"Dhcp4":{"subnet4":[{"id":1,"subnet":"10.0.0.0/8"},{"id":2,"subnet":"11.0.0.0/8"}]}}"#,
        1,
    );
    let count = 2 * WipeLeases::MAX as u32 + 7;
    for n in 0..count {
        let mut lease = testing::lease("10.0.0.0", n);
        lease.address = (0x0a00_0000 + n).into();
        lease.subnet = SubnetId(1 + n % 2);
        state.leases.put(lease);
    }
    let mut wipe = WipeLeases::first(Some(SubnetId(2)));
    let mut counts = Vec::new();
    loop {
        let commands = vec![Command::WipeLeases(wipe.clone())];
        let outcome =
            state.apply(state.applied() + 1, &Batch { stamp: secs(1), commands }).remove(0);
        state.check().unwrap();
        match outcome {
            Outcome::Wiped { count, next } => {
                counts.push(count);
                wipe.from = next;
            }
            Outcome::Deleted { count } => {
                counts.push(count);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(counts, [WipeLeases::MAX as u64 / 2, WipeLeases::MAX as u64 / 2, 3]);
    assert!(state.view().counts(SubnetId(2)).total() == 0);
    assert_eq!(state.view().counts(SubnetId(1)).total(), u64::from(count.div_ceil(2)));
}
