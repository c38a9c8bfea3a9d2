use std::collections::BTreeSet;

use super::*;

/// A node of three with nothing the matter.
fn well() -> Facts {
    let peer = |node: u64| Peer {
        node,
        name: format!("rack-{node}"),
        expected: true,
        heard_ago: Some(Duration::from_millis(80)),
        lag: Some(3),
        clock: Some(-120),
        version: "1.0.0".into(),
    };
    Facts {
        node: 1,
        now: Duration::from_secs(1_000),
        wall: 1_795_470_000_000,
        uptime: Duration::from_secs(900),
        has_majority: true,
        peers: vec![peer(2), peer(3)],
        version: "1.0.0".into(),
        level: (2, 2),
        config: (4, 4),
        disk: Disk { space: Some((50 << 30, 100 << 30)), ..Disk::default() },
        pools: vec![pool(100, 40, 0)],
        ..Facts::default()
    }
}

fn pool(size: u64, used: u64, declined: u64) -> Pool {
    Pool { name: "subnet 7".into(), size, used, declined }
}

/// A node that is looked at.
struct Watch {
    memory: Memory,
    facts: Facts,
}

impl Watch {
    fn new() -> Watch {
        Watch { memory: Memory::default(), facts: well() }
    }

    /// Lets time pass and looks; answers with the ids of what is active.
    fn after(&mut self, seconds: u64) -> Vec<&'static str> {
        self.facts.now += Duration::from_secs(seconds);
        self.facts.wall += seconds as i64 * 1000;
        let judged = judge(&self.facts, &mut self.memory);
        judged.active.iter().map(|alarm| alarm.kind.id).collect()
    }
}

#[test]
fn a_node_that_is_well_has_no_alarm() {
    assert_eq!(Watch::new().after(0), Vec::<&str>::new());
    let mut young = Watch { memory: Memory::default(), facts: Facts::default() };
    young.facts.has_majority = true;
    assert_eq!(young.after(1), Vec::<&str>::new());
}

/// Each kind, and what raises it.
#[test]
fn everything_that_can_be_the_matter_raises_its_alarm_and_clears_it() {
    type Break = fn(&mut Facts);
    let cases: &[(&str, Break)] = &[
        ("no-majority", |facts| facts.has_majority = false),
        ("state-differs", |facts| facts.state_differs = Some("node 2 differs at 700".into())),
        ("node-silent", |facts| facts.peers[0].heard_ago = Some(Duration::from_secs(3))),
        ("node-silent", |facts| facts.peers[1].heard_ago = None),
        ("node-lagging", |facts| facts.peers[0].lag = Some(5_001)),
        ("node-lagging", |facts| facts.lag = 9_000),
        ("disk-slow", |facts| facts.disk.stall = Duration::from_millis(600)),
        ("disk-slow", |facts| facts.disk.longest = Duration::from_secs(3)),
        ("disk-filling", |facts| facts.disk.space = Some((9 << 30, 100 << 30))),
        ("disk-filling", |facts| facts.disk.space = Some((1 << 29, 2 << 30))),
        ("disk-filling", |facts| facts.disk.low = true),
        ("disk-full", |facts| facts.disk.full = Some("no room".into())),
        ("pool-filling", |facts| facts.pools = vec![pool(100, 80, 0)]),
        ("pool-nearly-full", |facts| facts.pools = vec![pool(100, 90, 0)]),
        ("many-declines", |facts| facts.pools = vec![pool(100, 10, 5)]),
        ("clock-difference", |facts| facts.peers[1].clock = Some(-2_001)),
        ("certificate-expiring", |facts| facts.certificates = vec![certificate(facts, 29)]),
        ("certificate-nearly-expired", |facts| facts.certificates = vec![certificate(facts, 6)]),
        ("certificate-nearly-expired", |facts| facts.certificates = vec![certificate(facts, -1)]),
        ("versions-mixed", |facts| facts.peers[0].version = "0.9.0".into()),
        ("versions-mixed", |facts| facts.level = (2, 1)),
        ("config-inactive", |facts| facts.config = (5, 4)),
        ("config-inactive", |facts| facts.config_problems = vec!["there is no eth7".into()]),
        ("recovery-hold", |facts| facts.recovery_hold = Some("until noon".into())),
        ("open-door", |facts| facts.doors = vec!["anybody may come in".into()]),
        ("history-not-written", |facts| facts.not_written = vec![("history", "full".into())]),
    ];
    let mut met = BTreeSet::new();
    for (id, break_it) in cases {
        let kind = KINDS.iter().find(|kind| kind.id == *id).unwrap();
        let mut watch = Watch::new();
        break_it(&mut watch.facts);
        let at_once = watch.after(0);
        assert_eq!(at_once.is_empty(), !kind.raise_after.is_zero(), "{id}: {at_once:?}");
        assert_eq!(watch.after(kind.raise_after.as_secs()), [*id]);
        let alarm = &watch.memory.active()[0];
        assert!(!alarm.text.is_empty() && !alarm.text.ends_with('.'), "{}", alarm.text);
        watch.facts = Facts { now: watch.facts.now, wall: watch.facts.wall, ..well() };
        if !kind.clear_after.is_zero() {
            assert_eq!(watch.after(0), [*id], "it stays for a while");
        }
        assert_eq!(watch.after(kind.clear_after.as_secs()), Vec::<&str>::new(), "{id}");
        met.insert(*id);
    }
    let all: BTreeSet<&str> = KINDS.iter().map(|kind| kind.id).collect();
    assert_eq!(met, all, "each kind is tried");
}

fn certificate(facts: &Facts, days: i64) -> Certificate {
    let not_after = facts.wall / 1000 + days * 86_400 + 60;
    Certificate { what: "peer".into(), file: "/etc/leasehold/peer.pem".into(), not_after }
}

#[test]
fn what_does_not_last_is_no_alarm() {
    let mut watch = Watch::new();
    watch.facts.has_majority = false;
    assert_eq!(watch.after(1), Vec::<&str>::new());
    watch.facts.has_majority = true;
    assert_eq!(watch.after(1), Vec::<&str>::new());
    watch.facts.has_majority = false;
    assert_eq!(watch.after(1), Vec::<&str>::new(), "it begins anew");
    assert_eq!(watch.after(2), ["no-majority"]);
}

#[test]
fn a_pool_around_its_limit_is_one_alarm_and_not_many() {
    let mut watch = Watch::new();
    for (used, id) in [(80, "pool-filling"), (79, "pool-filling"), (76, "pool-filling")] {
        watch.facts.pools = vec![pool(100, used, 0)];
        assert_eq!(watch.after(60), [id], "{used}");
    }
    watch.facts.pools = vec![pool(100, 90, 0)];
    watch.after(1);
    assert_eq!(watch.after(30), ["pool-nearly-full"], "the lesser one is over");
    watch.facts.pools = vec![pool(100, 86, 0)];
    watch.after(1);
    assert!(watch.after(60).contains(&"pool-nearly-full"));
    watch.facts.pools = vec![pool(100, 70, 0)];
    watch.after(1);
    assert_eq!(watch.after(60), Vec::<&str>::new());
}

#[test]
fn a_node_that_hears_nobody_says_that_it_is_cut_off_and_not_that_others_are_silent() {
    let mut watch = Watch::new();
    watch.facts.has_majority = false;
    for peer in &mut watch.facts.peers {
        peer.heard_ago = Some(Duration::from_secs(60));
    }
    watch.after(0);
    assert_eq!(watch.after(10), ["no-majority"]);
    assert!(watch.memory.active()[0].text.ends_with("silent: node 2 (rack-2), node 3 (rack-3)"));
}

#[test]
fn a_node_that_was_drained_may_be_silent() {
    let mut watch = Watch::new();
    watch.facts.peers[0].heard_ago = None;
    watch.facts.peers[0].expected = false;
    watch.after(0);
    assert_eq!(watch.after(60), Vec::<&str>::new());
}

#[test]
fn an_acknowledgement_lasts_as_long_as_its_alarm() {
    let mut watch = Watch::new();
    watch.facts.has_majority = false;
    watch.after(0);
    watch.after(2);
    assert_eq!(watch.memory.acknowledge("no-majority", Some("node 9")), 0);
    assert_eq!(watch.memory.acknowledge("disk-full", None), 0);
    assert_eq!(watch.memory.acknowledge("no-majority", None), 1);
    watch.after(1);
    assert!(watch.memory.active()[0].acknowledged);
    watch.facts.has_majority = true;
    watch.after(0);
    watch.after(2);
    watch.facts.has_majority = false;
    watch.after(0);
    watch.after(2);
    assert!(!watch.memory.active()[0].acknowledged);
}

#[test]
fn raising_and_clearing_is_told_once_and_since_stays() {
    let mut watch = Watch::new();
    watch.facts.disk.full = Some("no room".into());
    let judged = judge(&watch.facts, &mut watch.memory);
    let since = watch.facts.wall;
    assert_eq!((judged.raised.len(), judged.cleared.len()), (1, 0));
    watch.facts.disk.full = Some("still no room".into());
    watch.after(7);
    let judged = judge(&watch.facts, &mut watch.memory);
    assert_eq!((judged.raised.len(), judged.active[0].since), (0, since));
    assert_eq!(judged.active[0].text, "still no room");
    watch.facts.disk.full = None;
    watch.after(0);
    watch.facts.now += Duration::from_secs(5);
    let judged = judge(&watch.facts, &mut watch.memory);
    assert_eq!((judged.active.len(), judged.cleared.len()), (0, 1));
}

#[test]
fn thousands_of_full_pools_are_a_bounded_list() {
    let mut watch = Watch::new();
    let one = |at: u32| Pool { name: format!("subnet {at}"), ..pool(10, 10, 0) };
    watch.facts.pools = (0..5_000).map(one).collect();
    assert_eq!(watch.after(0).len(), MOST_OF_A_KIND);
    assert!(watch.memory.active().iter().any(|alarm| alarm.text == "and 4951 more of this kind"));
}

/// Every id has a section, which says three things, and no section is without its id.
#[test]
fn each_kind_has_its_section_in_the_documentation() {
    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/troubleshooting.md");
    let page = std::fs::read_to_string(PAGE).unwrap();
    let alarms = page.split("\n## ").find(|part| part.starts_with("Alarms\n")).unwrap();
    let mut sections = Vec::new();
    for section in alarms.split("\n### ").skip(1) {
        let (title, text) = section.split_once('\n').unwrap();
        for word in ["**What it means.**", "**What clients notice.**", "**What to do.**"] {
            assert!(text.contains(word), "{title} does not say: {word}");
        }
        let kind = KINDS.iter().find(|kind| kind.id == title);
        let severity = kind.map(|kind| kind.severity.name()).unwrap_or_default();
        assert!(text.contains(&format!("*{severity}*")), "{title}: {severity}");
        sections.push(title);
    }
    let mut ids: Vec<&str> = KINDS.iter().map(|kind| kind.id).collect();
    ids.sort_unstable();
    sections.sort_unstable();
    assert_eq!(sections, ids);
}
