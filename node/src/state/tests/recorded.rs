//! R24: logs recorded by earlier versions, with the digest after every entry. They are replayed for
//! ever: a change to what `apply` does with existing commands shows here, and must wait for a
//! feature level.
//!
//! A line is an index, the entry in hexadecimal, and the digest. `record_a_log` prints one; a
//! recorded file is never changed.

use super::*;
use crate::state::testing::nth_client;

const LEVEL_1: &str = include_str!("recorded/level-1.txt");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

#[test]
fn r24_recorded_logs_come_to_their_recorded_digests() {
    let mut state = State::new();
    let mut entries = 0;
    let mut limited = 0;
    for line in LEVEL_1.lines() {
        let mut words = line.split(' ');
        let index: u64 = words.next().unwrap().parse().unwrap();
        let batch = wire::decode_batch(&unhex(words.next().unwrap())).unwrap();
        limited +=
            state.apply(index, &batch).iter().filter(|it| **it == Outcome::DeclineLimit).count();
        state.check().unwrap();
        assert_eq!(
            format!("{:016x}", state.digest()),
            words.next().unwrap(),
            "after entry {index}"
        );
        entries += 1;
    }
    assert!(entries >= 100 && state.view().lease_count() > 0);
    assert!(limited > 0, "M11 is among what is recorded");
    assert!(state.view().config_version() > ConfigVersion(2), "R25 is among what is recorded");
}

/// `cargo test record_a_log -- --ignored --nocapture`, and keep the lines that begin with a number.
#[test]
#[ignore = "prints a log to keep, and checks nothing"]
fn record_a_log() {
    let mut seed = 1u64;
    let mut draw = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    // Pools of five addresses, so that M11 has its limit at one of them.
    let config = document(
        &reserved("02:00:00:00:00:02", "192.0.2.12"),
        r#""cache-threshold":0.25,"store-extended-info":true,"#,
    )
    .replace(".99\"", ".14\"");
    let mut world = World::of(State::new(), ConfigVersion(1));
    let mut now = 0;
    let print = |world: &mut World, batch: Batch| {
        let bytes = wire::encode_batch(&batch);
        world.at(batch.stamp, batch.commands);
        println!("{} {} {:016x}", world.state.applied(), hex(&bytes), world.state.digest());
    };
    let set = Command::SetConfig(SetConfig::json(&config));
    let up = (1..=3).map(|node| Command::NodeLiveness(NodeId(node), Liveness::Up));
    let first = std::iter::once(set).chain(up).collect();
    print(&mut world, Batch { stamp: ms(0), commands: first });
    let whys = [
        Why::Selecting,
        Why::InitReboot,
        Why::Renewing,
        Why::Rebinding,
        Why::Unnamed,
        Why::Offering,
    ];
    for _ in 0..150 {
        now += draw(20_000);
        let mut commands = Vec::new();
        for _ in 0..=draw(3) {
            let client = nth_client(draw(5) as u32);
            let address =
                format!("{}.{}", ["192.0.2", "198.51.100"][draw(2) as usize], 10 + draw(5));
            commands.push(match draw(12) {
                0 => Command::Release(world.give_up(&client, &address, ms(now))),
                1 => Command::Decline(GiveUp {
                    circuit: draw(3),
                    relayed: draw(2) == 0,
                    ..world.give_up(&client, &address, ms(now))
                }),
                2 => Command::Reclaim(Reclaim { limit: 2, remove: draw(4) == 0 }),
                3 => Command::SetWallOffset(WallOffset(draw(1000) as i64 - 500)),
                _ => {
                    let why = whys[draw(6) as usize];
                    let mut grant = world.ask(&client, &address, why, 10 + draw(50) as u32);
                    grant.not_after = ms(now + 2_000);
                    grant.hostname = ["", "desk"][draw(2) as usize].into();
                    grant.relay_info = (draw(3) == 0).then(|| [1, 1, draw(2) as u8].into());
                    Command::Grant(grant)
                }
            });
        }
        print(&mut world, Batch { stamp: ms(now), commands });
    }
    // M11: the second is one too many for its circuit.
    for n in 10..12 {
        let (client, address) = (nth_client(n), format!("203.0.113.{n}"));
        let grant = world.ask(&client, &address, Why::Selecting, 60);
        print(&mut world, Batch { stamp: ms(now), commands: vec![Command::Grant(grant)] });
        let decline = GiveUp { circuit: 7, ..world.give_up(&client, &address, ms(now)) };
        print(&mut world, Batch { stamp: ms(now), commands: vec![Command::Decline(decline)] });
    }
    // R25: a document in pieces, a change that is repeated, a conflict, a level of the future, and a
    // document that is forgotten.
    let text = document(&reserved("02:00:00:00:00:03", "192.0.2.13"), r#""renew-timer":9,"#);
    let set = SetConfig { id: 7, ..SetConfig::json(text) };
    let piece = |set: &SetConfig| {
        let bytes = set.inline.clone().unwrap();
        Command::ConfigChunk(ConfigChunk { document: set.document, index: 0, bytes })
    };
    let author = Note { author: "alice@desk".into(), comment: "why".into(), ..Note::default() };
    let sent = SetConfig { inline: None, note: author, ..set.clone() };
    let named = || Command::SetConfig(sent.clone());
    let conflict = SetConfig { expected: Some(ConfigVersion(1)), id: 8, ..set.clone() };
    let future = SetConfig { level: 9, id: 9, ..set.clone() };
    let refused = [conflict, future].map(Command::SetConfig);
    let first = vec![named(), piece(&set), piece(&set), named(), named()];
    print(&mut world, Batch { stamp: ms(now), commands: first });
    print(&mut world, Batch { stamp: ms(now), commands: refused.into() });
    let other = SetConfig::json(document("", r#""renew-timer":8,"#));
    print(&mut world, Batch { stamp: ms(now), commands: vec![piece(&other)] });
    now += 700_000;
    let late = SetConfig { inline: None, ..other.clone() };
    print(&mut world, Batch { stamp: ms(now), commands: vec![Command::SetConfig(late)] });
    let back = Note { why: ConfigWhy::Rollback(ConfigVersion(1)), ..Note::default() };
    let back = SetConfig { note: back, ..other };
    print(&mut world, Batch { stamp: ms(now), commands: vec![Command::SetConfig(back)] });
    let wipe = WipeLeases::first(Some(SubnetId(2)));
    print(&mut world, Batch { stamp: ms(now), commands: vec![Command::WipeLeases(wipe)] });
}
