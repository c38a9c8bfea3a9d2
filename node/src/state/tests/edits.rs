//! R25: changes of a part of the configuration in the log, and the history that they make.

use proptest::prelude::*;

use super::*;
use crate::config::edit::{Edit, NoEditKind, Verb};
use crate::config::from_text;
use crate::state::history::MOST_EDITS;
use crate::state::prepare::Readers;

fn edit(verb: Verb, arguments: impl Into<String>) -> EditConfig {
    EditConfig {
        id: 0,
        expected: None,
        checked: None,
        level: 1,
        note: Note { author: "alice@desk".into(), why: ConfigWhy::Edit(verb), ..Note::default() },
        edit: Edit { verb, arguments: arguments.into().into() },
    }
}

fn subnet(id: u32) -> EditConfig {
    let prefix = format!("10.{}.{}.0/24", id >> 8 & 0xff, id & 0xff);
    edit(Verb::SubnetAdd, format!(r#"{{"subnet4":[{{"id":{id},"subnet":"{prefix}"}}]}}"#))
}

fn version_of(outcome: &Outcome) -> Option<u64> {
    match outcome {
        Outcome::ConfigEdited { version, .. } => Some(version.0),
        _ => None,
    }
}

impl World {
    fn edit(&mut self, command: EditConfig) -> Outcome {
        let stamp = self.state.now();
        self.one(stamp, Command::EditConfig(command))
    }

    fn restart(&mut self) {
        let mut bytes = Vec::new();
        snapshot::write(&self.state.freeze(), b"", &mut bytes).unwrap();
        self.state = snapshot::read(&mut bytes.as_slice()).unwrap().0;
        self.state.check().unwrap();
    }
}

#[test]
fn r25_of_two_nodes_that_add_the_same_subnet_one_succeeds() {
    let mut world = World::new();
    let add = |id| Command::EditConfig(EditConfig { id, ..subnet(70) });
    let outcomes = world.at(secs(1), vec![add(1), add(2)]);
    assert_eq!(version_of(&outcomes[0]), Some(2));
    let Outcome::ConfigNotEdited(no) = &outcomes[1] else { panic!("{outcomes:?}") };
    assert_eq!(no.text, "ID of the new IPv4 subnet '70' is already in use");
    assert_eq!(world.state.view().config_version(), ConfigVersion(2));
    assert!(world.state.view().config().unwrap().subnet(SubnetId(70)).is_some());
}

#[test]
fn r25_a_change_and_another_and_a_whole_document_do_not_lose_each_other() {
    let mut world = World::new();
    assert_eq!(version_of(&world.edit(subnet(70))), Some(2));
    assert_eq!(version_of(&world.edit(subnet(71))), Some(3));
    // A whole document that was read before the change and expects what it read.
    let set = SetConfig { expected: Some(ConfigVersion(1)), ..SetConfig::json(document("", "")) };
    let outcome = world.one(secs(1), Command::SetConfig(set));
    assert_eq!(outcome, Outcome::ConfigConflict(ConfigVersion(3)));
    let late = EditConfig { expected: Some(ConfigVersion(2)), ..subnet(72) };
    assert_eq!(world.edit(late), Outcome::ConfigConflict(ConfigVersion(3)));
    world.set_config(secs(1), &document("", r#""renew-timer":9,"#));
    assert_eq!(version_of(&world.edit(subnet(72))), Some(5));
    let config = world.state.view().config().unwrap();
    assert!(config.subnet(SubnetId(72)).is_some() && config.subnet(SubnetId(70)).is_none());
    assert_eq!(config.subnet(SubnetId(3)).unwrap().values.renew_timer, Some(9));
}

#[test]
fn r25_a_repeated_change_is_made_once_and_known_again_after_many_others() {
    let mut world = World::new();
    let first = EditConfig { id: 5, ..subnet(70) };
    assert_eq!(version_of(&world.edit(first.clone())), Some(2));
    assert_eq!(world.edit(first.clone()), Outcome::ConfigSet(ConfigVersion(2)));
    for n in 0..70 {
        assert_eq!(version_of(&world.edit(subnet(1000 + n))), Some(3 + u64::from(n)));
    }
    assert!(world.state.view().meta().version(ConfigVersion(2)).is_none(), "no longer kept");
    assert_eq!(world.edit(first.clone()), Outcome::ConfigSet(ConfigVersion(2)));
    // Also after what it made is gone, behind another text, and after a restart.
    world.edit(edit(Verb::SubnetDel, r#"{"id":70}"#));
    world.set_config(secs(1), &document("", ""));
    world.restart();
    assert_eq!(world.edit(first), Outcome::ConfigSet(ConfigVersion(2)));
    assert!(world.state.view().config().unwrap().subnet(SubnetId(70)).is_none());
}

#[test]
fn a_change_that_is_not_made_makes_no_version() {
    let mut world = World::new();
    let outcome = world.edit(edit(Verb::SubnetDel, r#"{"id":99}"#));
    let Outcome::ConfigNotEdited(no) = outcome else { panic!("{outcome:?}") };
    assert_eq!(no.kind, NoEditKind::Empty);
    for level in [0, 2] {
        let outcome = world.edit(EditConfig { level, ..subnet(70) });
        assert!(matches!(&outcome, Outcome::ConfigRefused(why) if why.contains("level")));
    }
    let long = Note { comment: "x".repeat(SetConfig::MAX_COMMENT + 1), ..Note::default() };
    let outcome = world.edit(EditConfig { note: long, ..subnet(70) });
    assert!(matches!(outcome, Outcome::ConfigRefused(_)));
    let outcome = world.edit(edit(Verb::SubnetDel, "x".repeat(Edit::MOST + 1)));
    assert!(matches!(outcome, Outcome::ConfigRefused(_)));
    assert_eq!(world.state.view().config_version(), ConfigVersion(1));
    let mut empty = State::new();
    let batch = Batch { stamp: secs(1), commands: vec![Command::EditConfig(subnet(70))] };
    assert!(matches!(empty.apply(1, &batch)[0], Outcome::ConfigRefused(_)), "no configuration yet");
}

#[test]
fn totals_of_a_subnet_that_is_deleted_go() {
    let mut world = World::new();
    let client = testing::nth_client(1);
    world.granted(secs(1), &client, "203.0.113.10", Why::Selecting, 60);
    assert_eq!(world.state.view().meta().totals(SubnetId(3)).assigned, 1);
    world.edit(edit(Verb::SubnetDel, r#"{"id":3}"#));
    assert!(world.lease("203.0.113.10").is_some(), "leases stay (R8)");
    assert_eq!(world.state.view().meta().totals(SubnetId(3)).assigned, 1);
}

#[test]
fn r24_a_node_that_finds_otherwise_than_the_leader_stops() {
    let world = World::new();
    let meta = world.state.view().meta();
    let prepare = |command: EditConfig| {
        let batch = Batch { stamp: secs(1), commands: vec![Command::EditConfig(command)] };
        meta.prepare(&batch, &mut document::read)
    };
    let odd =
        edit(Verb::SubnetAdd, r#"{"subnet4":[{"id":70,"subnet":"10.0.0.0/8","of-tomorrow":1}]}"#);
    // Tried on another version: it may be wrong for everybody.
    assert!(prepare(odd.clone()).is_ok());
    assert!(prepare(EditConfig { checked: Some(ConfigVersion(7)), ..odd.clone() }).is_ok());
    let unreadable = prepare(EditConfig { checked: Some(ConfigVersion(1)), ..odd }).unwrap_err();
    let text = unreadable.to_string();
    assert!(text.contains("configuration 2") && text.contains("of-tomorrow"), "{text}");
    assert!(prepare(EditConfig { checked: Some(ConfigVersion(1)), ..subnet(70) }).is_ok());
}

#[test]
fn r22_apply_makes_no_edit_that_was_prepared() {
    let mut world = World::new();
    let commands: Vec<_> = [subnet(70), subnet(70), subnet(71)].map(Command::EditConfig).into();
    let batch = Batch { stamp: secs(1), commands };
    let mut on = Vec::new();
    let prepared = world.state.view().meta().prepare_with(
        &batch,
        Readers {
            read: &mut document::read,
            edit: &mut |version, config, edit| {
                on.push(version.0);
                document::edit(config, edit)
            },
        },
    );
    assert_eq!(on, [1, 2, 2]);
    let prepared = prepared.unwrap();
    let last = prepared.edits[2].clone().unwrap().0;
    let outcomes = world.state.apply_prepared(2, &batch, prepared);
    let versions: Vec<_> = outcomes.iter().map(version_of).collect();
    assert_eq!(versions, [Some(2), None, Some(3)]);
    let config = world.state.view().config().unwrap();
    assert!(std::sync::Arc::ptr_eq(config, &last), "the very one that was prepared");
}

#[test]
fn r25_a_version_that_was_a_change_gives_its_whole_document() {
    let mut world = World::new();
    for n in 0..60 {
        world.edit(subnet(1000 + n));
    }
    world.restart();
    let meta = world.state.view().meta();
    let numbers: Vec<u64> = meta.history().map(|version| version.number.0).collect();
    assert_eq!(numbers, (12..=61).collect::<Vec<_>>(), "fifty are kept");
    assert!(meta.sources(ConfigVersion(11)).is_none());
    let config = meta.sources(ConfigVersion(20)).unwrap().config().unwrap();
    let ids = 1000..1019;
    assert!(ids.clone().all(|id| config.subnet(SubnetId(id)).is_some()));
    assert!(config.subnet(SubnetId(ids.end)).is_none());
    let current = meta.sources(ConfigVersion(61)).unwrap().config().unwrap();
    assert_eq!(current.document(), meta.config().unwrap().document());
    // The next text makes everything before it dispensable, once no version needs it.
    for _ in 0..MOST_VERSIONS {
        world.set_config(secs(9), &document("", ""));
    }
    let meta = world.state.view().meta();
    assert_eq!(meta.whole_history().count(), MOST_VERSIONS);
}

#[test]
fn r25_what_lies_behind_one_text_is_bounded_in_bytes() {
    let mut world = World::new();
    let noise = "x".repeat(20_000);
    let big = |id: u32| {
        let text = format!(
            r#"{{"subnet4":[{{"id":{id},"subnet":"10.0.{id}.0/24","user-context":{{"noise":"{noise}"}}}}]}}"#
        );
        edit(Verb::SubnetAdd, text)
    };
    for id in 70..73 {
        assert!(version_of(&world.edit(big(id))).is_some());
    }
    assert!(!world.state.view().meta().takes_edit(&big(73).edit));
    assert_eq!(world.edit(big(73)), Outcome::ConfigEditsFull);
    assert!(version_of(&world.edit(subnet(90))).is_some(), "a small one still fits");
    let text = world.state.view().config().unwrap().document().to_owned();
    world.set_config(secs(1), &text);
    assert!(version_of(&world.edit(big(73))).is_some());
}

#[test]
fn r25_what_lies_behind_one_text_is_bounded_in_number() {
    let mut meta = World::new().state.view().meta().clone();
    let small = edit(Verb::SubnetDel, "{}");
    for n in 0..u64::from(MOST_EDITS) {
        assert!(meta.takes_edit(&small.edit), "{n}");
        meta.config_version = ConfigVersion(2 + n);
        meta.keep(Version::edit(meta.config_version, 0, &small));
        meta.edits.note(meta.config_version, n + 1);
    }
    assert!(!meta.takes_edit(&small.edit));
    meta.check_history().unwrap();
    assert_eq!(meta.history().count(), MOST_VERSIONS);
    assert_eq!(meta.whole_history().count(), 1 + MOST_EDITS as usize);
    // Who and why is kept of those alone that people may look at.
    let bare = meta.whole_history().filter(|version| version.note.author.is_empty()).count();
    assert_eq!(bare, 1 + MOST_EDITS as usize - MOST_VERSIONS);
    let head = Frozen { meta, ..State::new().freeze() }.head_bytes().len();
    assert!(head < 400_000, "{head}");
}

/// What happens to a configuration.
#[derive(Debug, Clone)]
enum Act {
    Add(u32),
    Delete(u32),
    Class(u8, u8),
    Whole,
    Repeat,
    Restart,
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (70u32..80).prop_map(Act::Add),
        3 => (70u32..80).prop_map(Act::Delete),
        2 => (0u8..3, 0u8..3).prop_map(|(class, other)| Act::Class(class, other)),
        1 => Just(Act::Whole),
        2 => Just(Act::Repeat),
        1 => Just(Act::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever is changed and however often the node is restarted, every version that is kept says
    /// what was in force when it came, and nothing is made twice.
    #[test]
    fn r25_every_kept_version_says_what_was_in_force(acts in prop::collection::vec(any_act(), 1..80)) {
        let mut world = World::new();
        let mut said = std::collections::BTreeMap::new();
        let mut last: Option<(EditConfig, u64)> = None;
        for (id, act) in (1..).zip(acts) {
            let change = match act {
                Act::Add(subnet) => self::subnet(subnet),
                Act::Delete(id) => edit(Verb::SubnetDel, format!(r#"{{"id":{id}}}"#)),
                Act::Class(class, other) => {
                    let text = format!(r#"{{"client-classes":[{{"name":"c{class}","test":"member('c{other}')"}}]}}"#);
                    edit(Verb::ClassAdd, if class == 0 { text.replace("member('c0')", "option[60].exists") } else { text })
                }
                Act::Whole => {
                    world.set_config(secs(1), &document("", ""));
                    let document = world.state.view().config().unwrap().document().to_owned();
                    said.insert(world.state.view().config_version(), document);
                    continue;
                }
                Act::Repeat => {
                    if let Some((command, version)) = last.clone() {
                        prop_assert_eq!(world.edit(command), Outcome::ConfigSet(ConfigVersion(version)));
                    }
                    continue;
                }
                Act::Restart => {
                    world.restart();
                    continue;
                }
            };
            let change = EditConfig { id, ..change };
            let outcome = world.edit(change.clone());
            if let Some(version) = version_of(&outcome) {
                last = Some((change, version));
            }
            let view = world.state.view();
            said.insert(view.config_version(), view.config().unwrap().document().to_owned());
        }
        let meta = world.state.view().meta();
        for version in meta.history() {
            let config = meta.sources(version.number).unwrap().config().unwrap();
            if let Some(said) = said.get(&version.number) {
                prop_assert_eq!(config.document(), said);
                let read = from_text(said).unwrap().config;
                prop_assert_eq!(read.hash(), config.hash());
            }
        }
    }
}
