//! A snapshot comes back whole, or not at all.

use proptest::prelude::*;

use super::*;
use crate::config::edit::{Edit, Verb};
use crate::state::command::*;
use crate::state::testing::{lease, machine, nth_client};
use crate::state::{Outcome, encode_lease};
use crate::types::Lifetime;

const CONFIG: &str =
    r#"{"Dhcp4":{"subnet4":[{"id":1,"subnet":"10.0.0.0/8","pools":[{"pool":"10.0.0.0/16"}]}]}}"#;

fn grant(n: u32, secs: u32) -> Command {
    let item = GrantItem {
        subnet: SubnetId(1),
        want: (0x0a00_0000 + n).into(),
        why: Why::Selecting,
        held: None,
        lifetime: Lifetime::from_secs(secs),
    };
    Command::Grant(Grant {
        origin: Origin { node: NodeId(1), incarnation: 1, sequence: n.into() },
        not_after: ClusterTime::NEVER,
        config: ConfigVersion(1),
        client: nth_client(n),
        items: vec![item],
        hostname: format!("h{n}"),
        fqdn_fwd: n.is_multiple_of(2),
        fqdn_rev: n.is_multiple_of(3),
        identity: [10, 0, 0, 1].into(),
        relay_info: None,
        checked: false,
    })
}

fn give_up(n: u32) -> GiveUp {
    GiveUp {
        origin: Origin { node: NodeId(1), incarnation: 1, sequence: 0 },
        client: nth_client(n),
        address: (0x0a00_0000 + n).into(),
        generation: None,
        arrived: ClusterTime::from_millis(100_000),
        circuit: 9,
        relayed: false,
    }
}

/// A machine with some of everything, `count` leases among them.
fn full(count: u32) -> State {
    let mut state = machine(CONFIG, 3);
    let info = NodeInfo {
        node: NodeId(2),
        name: "b".into(),
        rack: "r".into(),
        peer_address: "192.0.2.2:7701".into(),
        control: vec!["http://192.0.2.2:8000".into()],
        identities: vec![[192, 0, 2, 2].into()],
        version: "0.1.0".into(),
        level: 2,
    };
    let commands = vec![Command::NodeInfo(info), Command::SetWallOffset(WallOffset(-77))];
    state.apply(2, &Batch { stamp: ClusterTime::from_millis(10), commands });
    for (at, n) in (0..count).enumerate() {
        let batch = Batch {
            stamp: ClusterTime::from_millis(20 + u64::from(n)),
            commands: vec![grant(n, 3600)],
        };
        state.apply(3 + at as u64, &batch);
    }
    let edit = |id: u32| {
        let verb = Verb::SubnetAdd;
        let text = format!(r#"{{"subnet4":[{{"id":{id},"subnet":"11.0.{id}.0/24"}}]}}"#);
        let note = Note { author: "alice".into(), why: ConfigWhy::Edit(verb), ..Note::default() };
        let edit = Edit { verb, arguments: text.into() };
        Command::EditConfig(EditConfig {
            id: id.into(),
            expected: None,
            checked: None,
            level: 1,
            note,
            edit,
        })
    };
    let edits = vec![edit(7), edit(8)];
    let stamp = ClusterTime::from_millis(100_000);
    let outcomes = state.apply(u64::from(count) + 3, &Batch { stamp, commands: edits });
    assert!(matches!(outcomes[1], Outcome::ConfigEdited { .. }), "{outcomes:?}");
    let gone = vec![Command::Release(give_up(1)), Command::Decline(give_up(2))];
    state.apply(
        u64::from(count) + 4,
        &Batch { stamp: ClusterTime::from_millis(100_000), commands: gone },
    );
    state.check().unwrap();
    state
}

fn bytes_of(state: &State, extra: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&state.freeze(), extra, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_snapshot_is_the_whole_machine() {
    let state = full(200);
    let bytes = bytes_of(&state, b"log id and membership");
    let (again, extra) = read(&mut bytes.as_slice()).unwrap();
    assert_eq!(extra, b"log id and membership");
    again.check().unwrap();
    assert_eq!(again.digest(), state.digest());
    assert_eq!(bytes_of(&again, &extra), bytes);
    assert_eq!(again.view().declines_of(&nth_client(2).key(), state.now()).count, 1);
    assert_eq!(again.view().totals(SubnetId(1)), state.view().totals(SubnetId(1)));
    assert_eq!(again.view().node_of_identity([192, 0, 2, 2].into()), Some(NodeId(2)));
    // It goes on like the one it was taken from.
    let next = Batch {
        stamp: ClusterTime::from_millis(9_000_000),
        commands: vec![grant(7, 5), grant(2, 5)],
    };
    let (mut a, mut b) = (state, again);
    assert_eq!(a.apply(900, &next), b.apply(900, &next));
    assert_eq!(a.digest(), b.digest());
}

#[test]
fn the_empty_machine_comes_back_too() {
    let state = State::new();
    let (again, extra) = read(&mut bytes_of(&state, b"").as_slice()).unwrap();
    assert_eq!((again.digest(), extra.len()), (state.digest(), 0));
}

#[test]
fn reading_stops_behind_the_last_frame() {
    let mut bytes = bytes_of(&full(3), b"x");
    bytes.extend(b"and more");
    let mut from = bytes.as_slice();
    read(&mut from).unwrap();
    assert_eq!(from, b"and more");
}

#[test]
fn a_snapshot_with_any_bit_turned_is_refused() {
    let bytes = bytes_of(&full(70), b"extra");
    for at in 0..bytes.len() {
        for bit in 0..8 {
            // One bit of each byte, another one each time, and all of them in the first frames.
            if at > 200 && bit != at % 8 {
                continue;
            }
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            assert!(read(&mut damaged.as_slice()).is_err(), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn a_snapshot_cut_anywhere_is_refused() {
    let bytes = bytes_of(&full(70), b"extra");
    for end in 0..bytes.len() {
        assert!(read(&mut &bytes[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn frames_left_out_or_exchanged_are_refused() {
    let bytes = bytes_of(&full(200), b"extra");
    // The places of the frames.
    let mut at = 12;
    let mut frames = Vec::new();
    while at < bytes.len() {
        let len = u32::from_le_bytes(bytes[at + 1..at + 5].try_into().unwrap()) as usize;
        frames.push(bytes[at..at + len + 13].to_vec());
        at += len + 13;
    }
    let joined = |frames: &[Vec<u8>]| [&bytes[..12], &frames.concat()].concat();
    assert_eq!(joined(&frames), bytes);
    for left_out in 0..frames.len() {
        let mut fewer = frames.clone();
        fewer.remove(left_out);
        assert!(read(&mut joined(&fewer).as_slice()).is_err(), "without frame {left_out}");
        for other in left_out + 1..frames.len() {
            let mut turned = frames.clone();
            turned.swap(left_out, other);
            assert!(
                read(&mut joined(&turned).as_slice()).is_err(),
                "{left_out} and {other} exchanged"
            );
        }
    }
}

#[test]
fn r24_a_feature_level_of_the_future_is_refused() {
    let mut state = full(3);
    state.meta.feature_level = feature::CURRENT + 1;
    let read = read(&mut bytes_of(&state, b"").as_slice());
    assert!(matches!(read, Err(BadSnapshot::FeatureLevel(_))), "{read:?}");
}

#[test]
fn r19_the_parts_of_a_checkpoint_must_belong_together() {
    let frozen = full(10).freeze();
    let leases = || frozen.leases().map(|lease| Ok(Lease::clone(lease)));
    let head = frozen.head_bytes();
    let all = || frozen.pieces().map(|(key, piece)| (key, piece.clone()));
    let pieces = || all().collect::<BTreeMap<_, _>>();
    assert_eq!(rebuild(&head, pieces(), leases()).unwrap().digest(), frozen.digest());
    assert!(rebuild(&head, pieces(), leases().skip(1)).is_err(), "a lease is missing");
    let doubled = leases().chain(leases().take(1));
    assert!(rebuild(&head, pieces(), doubled).is_err(), "a lease is doubled");
    let other =
        leases().map(|lease| lease.map(|lease| Lease { hostname: "other".into(), ..lease }));
    assert!(rebuild(&head, pieces(), other).is_err(), "leases of another index");
    let fewer = || all().skip(1).collect();
    assert!(rebuild(&head, fewer(), leases()).is_err(), "a piece is missing");
    let mut more = pieces();
    more.insert(PieceKey::Version(ConfigVersion(9), 0), Bytes::from_static(b"x"));
    assert!(rebuild(&head, more, leases()).is_err(), "a piece too many");
    let (key, piece) = all().next().unwrap();
    let mut changed = pieces();
    changed.insert(key, piece.iter().map(|byte| byte ^ 1).collect());
    assert!(rebuild(&head, changed, leases()).is_err(), "another configuration");
    assert!(rebuild(&head[..head.len() - 1], pieces(), leases()).is_err(), "half a head");
}

#[test]
fn r22_a_frozen_view_stays_as_it_was() {
    let mut state = full(100);
    let before = state.freeze();
    let bytes = bytes_of(&state, b"");
    state.apply(
        1000,
        &Batch {
            stamp: ClusterTime::from_millis(8_000_000),
            commands: vec![grant(5, 9), grant(300, 9)],
        },
    );
    let mut again = Vec::new();
    write(&before, b"", &mut again).unwrap();
    assert_eq!(again, bytes);
}

proptest! {
    /// A checkpoint that follows the changes ends up where the machine is.
    #[test]
    fn what_changed_since_leads_from_one_view_to_the_next(
        first in prop::collection::btree_map(0u32..300, 0u32..3, 0..200),
        steps in prop::collection::vec((0u32..300, prop::option::of(0u32..3)), 0..200),
    ) {
        let mut state = machine(CONFIG, 1);
        let make = |at: u32, n: u32| {
            let mut lease = lease("10.0.0.0", n);
            lease.address = (0x0a00_0000 + at).into();
            lease
        };
        for (at, n) in first {
            state.leases.put(make(at, n));
        }
        let older = state.freeze();
        for (at, n) in steps {
            match n {
                Some(n) => { state.leases.put(make(at, n)); }
                None => { state.leases.remove((0x0a00_0000 + at).into()); }
            }
        }
        let newer = state.freeze();
        let mut disk: std::collections::BTreeMap<_, _> = older.leases().map(|l| (l.address, record(l))).collect();
        let mut last = None;
        for address in newer.changed_since(&older) {
            let now = newer.leases_in(address, address).next().map(|lease| record(lease));
            let before = match now.clone() {
                Some(record) => disk.insert(address, record),
                None => disk.remove(&address),
            };
            prop_assert_ne!(before, now, "no change");
            prop_assert!(last < Some(address));
            last = Some(address);
        }
        prop_assert!(disk.into_iter().eq(newer.leases().map(|l| (l.address, record(l)))));
    }
}

fn record(lease: &Lease) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_lease(lease, &mut bytes);
    bytes
}
