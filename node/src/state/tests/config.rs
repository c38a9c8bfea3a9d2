//! R22, R24 and R25: documents in pieces, what is prepared before the lock, and the history.

use proptest::prelude::*;

use super::*;
use crate::state::document::{Drafts, Packed, Unusable, pack};
use crate::state::history::{MOST_BYTES, MOST_VERSIONS};

/// A document of at least `pieces` pieces: noise that the compressor can do little about.
fn large(seed: u64, pieces: usize) -> Packed {
    let mut text = String::from(r#"{"Dhcp4":{"valid-lifetime":"#);
    text.push_str(&format!("{},\"user-context\":{{\"noise\":\"", 100 + seed % 1000));
    let mut noise = seed;
    while text.len() < 2 * pieces * Document::PIECE {
        noise =
            noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{noise:016x}"));
    }
    text.push_str("\"}}}");
    pack(Form::Json, &text)
}

fn new_config(text: &Packed, expected: Option<u64>) -> NewConfig {
    NewConfig {
        expected: expected.map(ConfigVersion),
        text: text.clone(),
        level: 1,
        note: Note { author: "alice@desk".into(), ..Note::default() },
    }
}

fn commands(text: &Packed, id: u64) -> (Vec<Command>, Command) {
    let (chunks, set) = new_config(text, None).commands(id);
    (chunks.into_iter().map(Command::ConfigChunk).collect(), Command::SetConfig(set))
}

#[test]
fn r25_a_document_travels_in_pieces_in_any_order_and_more_than_once() {
    let mut world = World::new();
    let text = large(1, 4);
    let (mut chunks, set) = commands(&text, 7);
    assert!(chunks.len() >= 4);
    assert_eq!(world.one(secs(1), set.clone()), Outcome::ConfigIncomplete);
    chunks.rotate_left(2);
    let mut missing = chunks.len() as u32;
    for chunk in chunks {
        missing -= 1;
        let taken = Outcome::ConfigChunk { missing };
        assert_eq!(world.one(secs(1), chunk.clone()), taken);
        assert_eq!(world.one(secs(1), chunk), taken, "a second time changes nothing");
    }
    assert_eq!(world.one(secs(2), set.clone()), Outcome::ConfigSet(ConfigVersion(2)));
    let meta = world.state.view().meta();
    assert!(meta.drafts().is_empty());
    assert_eq!(meta.current().unwrap().text(), Some(&text));
    assert_eq!(meta.config().unwrap().subnets.len(), 0);
    // The outcome was lost and the command is repeated: it is the same change.
    assert_eq!(world.one(secs(3), set), Outcome::ConfigSet(ConfigVersion(2)));
    assert_eq!(world.state.view().config_version(), ConfigVersion(2));
}

#[test]
fn r25_a_repeated_change_is_known_again_after_others() {
    let mut world = World::new();
    let change = |id| {
        let set = SetConfig { id, ..SetConfig::json(super::document("", "")) };
        Command::SetConfig(set)
    };
    assert_eq!(world.one(secs(1), change(5)), Outcome::ConfigSet(ConfigVersion(2)));
    assert_eq!(world.one(secs(1), change(6)), Outcome::ConfigSet(ConfigVersion(3)));
    assert_eq!(world.one(secs(1), change(5)), Outcome::ConfigSet(ConfigVersion(2)));
    assert_eq!(world.one(secs(1), change(0)), Outcome::ConfigSet(ConfigVersion(4)));
    assert_eq!(world.one(secs(1), change(0)), Outcome::ConfigSet(ConfigVersion(5)));
}

#[test]
fn r25_unfinished_documents_are_bounded_in_number_and_age() {
    let mut world = World::new();
    let documents: Vec<_> = (0..6).map(|seed| large(seed, 2)).collect();
    for (at, text) in (0..).zip(&documents) {
        world.one(secs(at), commands(text, 1).0.remove(0));
    }
    let kept = |world: &World| {
        let drafts = world.state.view().meta().drafts();
        documents.iter().map(|text| drafts.get(&text.document).is_some()).collect::<Vec<_>>()
    };
    assert_eq!(kept(&world), [false, false, true, true, true, true], "the oldest went");
    world.one(secs(300), commands(&documents[2], 1).0.remove(1));
    world.one(secs(5).plus(Drafts::PATIENCE), Command::Tick);
    assert_eq!(kept(&world), [false, false, true, false, false, true], "left alone for too long");
    world.one(secs(301).plus(Drafts::PATIENCE), Command::Tick);
    assert!(world.state.view().meta().drafts().is_empty());
}

#[test]
fn r25_what_is_no_piece_of_a_document_is_refused() {
    let mut world = World::new();
    let (chunks, _) = commands(&large(1, 2), 1);
    let Command::ConfigChunk(good) = &chunks[0] else { unreachable!() };
    let with = |change: &dyn Fn(&mut ConfigChunk)| {
        let mut chunk = good.clone();
        change(&mut chunk);
        Command::ConfigChunk(chunk)
    };
    for bad in [
        with(&|chunk| chunk.index = 99),
        with(&|chunk| chunk.bytes = chunk.bytes.slice(1..)),
        with(&|chunk| chunk.bytes = bytes::Bytes::new()),
        with(&|chunk| chunk.document.size = Document::MAX_TEXT + 1),
        with(&|chunk| chunk.document.size = 0),
        with(&|chunk| chunk.document.packed = u64::MAX),
    ] {
        let outcome = world.one(secs(1), bad);
        assert!(matches!(outcome, Outcome::ConfigRefused(_)), "{outcome:?}");
    }
    assert!(world.state.view().meta().drafts().is_empty());
}

#[test]
fn r25_damaged_pieces_are_refused_alike_everywhere_and_can_be_sent_again() {
    let mut world = World::new();
    let text = large(3, 3);
    let (chunks, set) = commands(&text, 1);
    for chunk in &chunks {
        let Command::ConfigChunk(chunk) = chunk else { unreachable!() };
        let bytes = match chunk.index {
            1 => chunk.bytes.iter().map(|byte| byte ^ 0x10).collect(),
            _ => chunk.bytes.clone(),
        };
        world.one(secs(1), Command::ConfigChunk(ConfigChunk { bytes, ..chunk.clone() }));
    }
    let refused = world.one(secs(1), set.clone());
    assert!(matches!(&refused, Outcome::ConfigRefused(why) if why.contains("damaged")));
    assert_eq!(world.one(secs(1), set.clone()), Outcome::ConfigIncomplete);
    world.at(secs(1), chunks);
    assert_eq!(world.one(secs(1), set), Outcome::ConfigSet(ConfigVersion(2)));
}

#[test]
fn r24_a_document_checked_at_another_level_is_refused_by_the_command_alone() {
    let mut world = World::new();
    for level in [0, 2, u32::MAX] {
        // Nobody's parser is asked: this one's would refuse it as well.
        let set = SetConfig { level, ..SetConfig::json("no JSON") };
        let batch = Batch { stamp: secs(1), commands: vec![Command::SetConfig(set.clone())] };
        let mut never = |_: &Packed| unreachable!("it is not read");
        world.state.view().meta().prepare(&batch, &mut never).unwrap();
        let outcome = world.one(secs(1), Command::SetConfig(set));
        assert!(matches!(&outcome, Outcome::ConfigRefused(why) if why.contains("level")));
    }
}

#[test]
fn r24_a_document_that_was_accepted_and_cannot_be_read_stops_the_node() {
    let world = World::new();
    let meta = world.state.view().meta();
    let stop = |expected: Option<u64>| {
        let set = SetConfig {
            expected: expected.map(ConfigVersion),
            ..SetConfig::json(r#"{"Dhcp4":{"keyword-of-tomorrow":1}}"#)
        };
        let good = Command::SetConfig(SetConfig::json(super::document("", "")));
        let commands = vec![good, Command::SetConfig(set)];
        meta.prepare(&Batch { stamp: secs(1), commands }, &mut document::read)
    };
    let unreadable = stop(None).unwrap_err();
    assert_eq!(unreadable.version, ConfigVersion(3), "it follows the one before it in the entry");
    let text = unreadable.to_string();
    assert!(text.contains("configuration 3") && text.contains("keyword-of-tomorrow"), "{text}");
    // One that is not accepted for another reason need not be understood.
    assert!(stop(Some(1)).is_ok());
}

#[test]
fn r24_a_new_machine_is_the_same_whichever_program_makes_it() {
    assert_eq!(State::new().view().meta().feature_level(), 1);
}

#[test]
fn r22_apply_reads_nothing_that_was_prepared() {
    let mut world = World::new();
    let (first, second) = (super::document("", ""), super::document("", r#""renew-timer":7,"#));
    let set = |text: &str| Command::SetConfig(SetConfig::json(text));
    let conflict = SetConfig { expected: Some(ConfigVersion(9)), ..SetConfig::json("nothing") };
    let commands = vec![set(&first), Command::SetConfig(conflict), set(&second)];
    let batch = Batch { stamp: secs(1), commands };
    let mut read = Vec::new();
    let prepared = world.state.view().meta().prepare(&batch, &mut |text| {
        read.push(text.document.hash);
        document::read(text)
    });
    assert_eq!(read, [Sha256::of(first.as_bytes()), Sha256::of(second.as_bytes())]);
    let prepared = prepared.unwrap();
    let made: Vec<_> = prepared.readings.iter().map(|it| it.clone().ok().unwrap()).collect();
    let outcomes = world.state.apply_prepared(2, &batch, prepared);
    let [v2, v3] = [2, 3].map(|version| Outcome::ConfigSet(ConfigVersion(version)));
    assert_eq!(outcomes, [v2, Outcome::ConfigConflict(ConfigVersion(2)), v3]);
    let config = world.state.view().config().unwrap();
    assert!(std::sync::Arc::ptr_eq(config, &made[1]), "the very one that was prepared");
}

#[test]
fn r25_history_keeps_the_last_fifty_with_author_time_and_text() {
    let mut world = World::new();
    world.one(secs(1), Command::SetWallOffset(WallOffset(1_000_000)));
    for n in 0..60 {
        let text = super::document("", &format!("\"renew-timer\":{n},"));
        let set = SetConfig {
            note: Note { author: format!("user {n}"), ..Note::default() },
            ..SetConfig::json(&text)
        };
        world.one(secs(2 + n), Command::SetConfig(set));
    }
    let meta = world.state.view().meta();
    let numbers: Vec<u64> = meta.history().map(|version| version.number.0).collect();
    assert_eq!(numbers, (12..=61).collect::<Vec<_>>());
    assert_eq!(numbers.len(), MOST_VERSIONS);
    let version = meta.version(ConfigVersion(21)).unwrap();
    assert_eq!(version.note.author, "user 19");
    assert_eq!(version.wall, 1_021_000);
    let text = super::document("", "\"renew-timer\":19,");
    assert_eq!(version.text().unwrap().unpack().unwrap(), text);
    assert_eq!(version.text().unwrap().document.hash, Sha256::of(text.as_bytes()));
    // The time of an entry is what people saw then.
    world.one(secs(99), Command::SetWallOffset(WallOffset(0)));
    assert_eq!(world.state.view().meta().version(ConfigVersion(21)).unwrap().wall, 1_021_000);
}

#[test]
fn r25_history_is_bounded_in_bytes_but_keeps_what_is_in_force() {
    let mut meta = State::new().view().meta().clone();
    let huge = |number: u64, bytes: u64| {
        let set = SetConfig::json("{}");
        let mut text = pack(Form::Json, "{}");
        text.document.packed = bytes;
        Version::new(ConfigVersion(number), 0, &set, text)
    };
    let numbers = |meta: &Meta| meta.history().map(|it| it.number.0).collect::<Vec<_>>();
    meta.keep(huge(1, MOST_BYTES / 2));
    meta.keep(huge(2, MOST_BYTES / 2));
    assert_eq!(numbers(&meta), [1, 2]);
    meta.keep(huge(3, 1));
    assert_eq!(numbers(&meta), [2, 3]);
    meta.keep(huge(4, MOST_BYTES + 1));
    assert_eq!(numbers(&meta), [4]);
}

#[test]
fn a_refused_or_conflicting_document_makes_no_version() {
    let mut world = World::new();
    let digest = world.state.view().meta().history().count();
    world.set_config(secs(1), r#"{"Dhcp4":{"subnet4":7}}"#);
    let conflict = SetConfig { expected: Some(ConfigVersion(7)), ..SetConfig::json("{}") };
    world.one(secs(1), Command::SetConfig(conflict));
    assert_eq!(world.state.view().meta().history().count(), digest);
    let long = Note { comment: "x".repeat(SetConfig::MAX_COMMENT + 1), ..Note::default() };
    let set = SetConfig { note: long, ..SetConfig::json(super::document("", "")) };
    let outcome = world.one(secs(1), Command::SetConfig(set));
    assert!(matches!(outcome, Outcome::ConfigRefused(_)));
    // Setting the same document again is a version of its own.
    world.set_config(secs(2), &super::document("", ""));
    assert_eq!(
        world.set_config(secs(2), &super::document("", "")),
        Outcome::ConfigSet(ConfigVersion(3))
    );
}

#[test]
fn a_text_that_is_not_what_it_says_is_no_text() {
    let text = pack(Form::Kea, "{ \"Dhcp4\": {} } # a comment");
    assert_eq!(text.unpack().unwrap(), "{ \"Dhcp4\": {} } # a comment");
    let with = |change: &dyn Fn(&mut Packed)| {
        let mut text = text.clone();
        change(&mut text);
        text.unpack()
    };
    assert!(with(&|text| text.document.size += 1).is_err());
    assert!(with(&|text| text.document.size -= 1).is_err());
    assert!(with(&|text| text.document.hash.0[0] ^= 1).is_err());
    assert!(with(&|text| text.pieces = [].into()).is_err());
    let bad = document::read(&Packed { pieces: [].into(), ..text });
    assert!(matches!(bad, Err(Unusable::Text(_))));
}

/// What happens to the pieces of two documents.
#[derive(Debug, Clone)]
enum Act {
    /// A piece of a document arrives: documents and pieces wrap around.
    Piece(bool, u32),
    /// The rest of a document arrives.
    Rest(bool),
    /// It is to be in force.
    Set(bool, u64),
    /// Time passes.
    Pass(u64),
    /// The node is restarted from a snapshot.
    Restart,
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (any::<bool>(), 0u32..8).prop_map(|(which, piece)| Act::Piece(which, piece)),
        1 => any::<bool>().prop_map(Act::Rest),
        2 => (any::<bool>(), 0u64..3).prop_map(|(which, id)| Act::Set(which, id)),
        1 => (0u64..400).prop_map(Act::Pass),
        1 => Just(Act::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// A document comes into force exactly when all of its pieces have come since it was forgotten,
    /// whatever comes between, and what is in force is what was sent.
    #[test]
    fn r25_a_document_is_in_force_whole_or_not_at_all(acts in prop::collection::vec(any_act(), 1..60)) {
        let documents = [large(11, 3), large(12, 2)];
        let mut world = World::new();
        let mut now = 0;
        // Per document: the pieces that must be here, and when the last came.
        let mut here = [(std::collections::BTreeSet::new(), 0), (std::collections::BTreeSet::new(), 0)];
        let mut done = std::collections::BTreeMap::new();
        let mut version = 1;
        for act in acts {
            let patience = Drafts::PATIENCE.as_secs();
            match act {
                Act::Pass(secs) => now += secs,
                Act::Restart => {
                    let mut bytes = Vec::new();
                    snapshot::write(&world.state.freeze(), b"", &mut bytes).unwrap();
                    world.state = snapshot::read(&mut bytes.as_slice()).unwrap().0;
                    world.state.check().unwrap();
                }
                Act::Piece(..) | Act::Rest(_) => {
                    let (Act::Piece(which, _) | Act::Rest(which)) = act else { unreachable!() };
                    let (chunks, _) = commands(&documents[usize::from(which)], 0);
                    let count = chunks.len() as u32;
                    let chosen: Vec<u32> = match act {
                        Act::Piece(_, piece) => vec![piece % count],
                        _ => (0..count).collect(),
                    };
                    let (pieces, touched) = &mut here[usize::from(which)];
                    for piece in chosen {
                        if now > *touched + patience {
                            pieces.clear();
                        }
                        *touched = now;
                        pieces.insert(piece);
                        let outcome = world.one(secs(now), chunks[piece as usize].clone());
                        prop_assert_eq!(outcome, Outcome::ConfigChunk { missing: count - pieces.len() as u32 });
                    }
                }
                Act::Set(which, id) => {
                    let text = &documents[usize::from(which)];
                    let (chunks, set) = commands(text, id);
                    let (pieces, touched) = &mut here[usize::from(which)];
                    if now > *touched + patience {
                        pieces.clear();
                    }
                    let outcome = world.one(secs(now), set);
                    if let Some(before) = done.get(&id).filter(|_| id != 0) {
                        prop_assert_eq!(outcome, Outcome::ConfigSet(ConfigVersion(*before)));
                    } else if pieces.len() == chunks.len() {
                        version += 1;
                        prop_assert_eq!(outcome, Outcome::ConfigSet(ConfigVersion(version)));
                        done.insert(id, version);
                        pieces.clear();
                        let current = world.state.view().meta().current().unwrap();
                        prop_assert_eq!(current.text().unwrap().unpack().unwrap(), text.unpack().unwrap());
                    } else {
                        prop_assert_eq!(outcome, Outcome::ConfigIncomplete);
                    }
                }
            }
        }
    }
}
