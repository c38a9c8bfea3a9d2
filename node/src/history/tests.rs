//! Replays, crashes at every write, damage, bounds, cursors, and equal answers on equal nodes.

mod lease_log;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::state::testing::{machine, nth_client};
use crate::state::{
    Batch, Command, ConfigVersion, DeleteLease, Event, GiveUp, Grant, GrantItem, Kind, Origin,
    Prepared, Reclaim, State, WallOffset, Why,
};
use crate::types::{ClusterTime, Lifetime, NodeId, SubnetId};

const CLUSTER: u64 = 0xc0ffee;
const LONG: Duration = Duration::from_secs(30);

const CONFIG: &str = r#"{"Dhcp4":{"cache-threshold":0.0,"subnet4":[
    {"id":1,"subnet":"192.0.2.0/24","pools":[{"pool":"192.0.2.10-192.0.2.99"}]}]}}"#;

/// What `apply` said of one entry.
#[derive(Debug, Clone)]
struct Told {
    index: u64,
    at: ClusterTime,
    wall: WallOffset,
    events: Vec<Event>,
}

/// A machine that keeps what it told.
struct Source {
    state: State,
    now: u64,
    log: Vec<Told>,
}

impl Source {
    fn new() -> Source {
        let mut source = Source { state: machine(CONFIG, 3), now: 1_000, log: Vec::new() };
        source.apply(vec![Command::SetWallOffset(WallOffset(1_795_470_000_000))]);
        source
    }

    fn apply(&mut self, commands: Vec<Command>) {
        let (index, stamp) = (self.state.applied() + 1, ClusterTime::from_millis(self.now));
        let batch = Batch { stamp, commands };
        let mut events = Vec::new();
        self.state.apply_telling(index, &batch, Prepared::default(), &mut events);
        let wall = self.state.view().meta().wall_offset();
        self.log.push(Told { index, at: stamp, wall, events });
    }

    fn grant(&self, n: u32, host: u8, why: Why) -> Command {
        let address = [192, 0, 2, host].into();
        let client = nth_client(n);
        let held = self.state.view().leases_of_client(&client);
        let held = held.first().map(|lease| (lease.address, lease.generation));
        Command::Grant(Grant {
            origin: Origin { node: NodeId(1), incarnation: 1, sequence: 1 },
            not_after: ClusterTime::NEVER,
            config: ConfigVersion(1),
            client,
            items: vec![GrantItem {
                subnet: SubnetId(1),
                want: address,
                why,
                held,
                lifetime: Lifetime::from_secs(60),
            }],
            hostname: format!("host-{n}"),
            fqdn_fwd: false,
            fqdn_rev: false,
            identity: [0, 0, 0, 0].into(),
            relay_info: None,
            checked: false,
        })
    }

    fn give_up(&self, n: u32, host: u8) -> GiveUp {
        GiveUp {
            origin: Origin { node: NodeId(1), incarnation: 1, sequence: 1 },
            client: nth_client(n),
            address: [192, 0, 2, host].into(),
            generation: None,
            arrived: self.state.now(),
            circuit: 0,
            relayed: false,
        }
    }

    /// A life of its own: the same for the same seed.
    fn live(&mut self, mut seed: u64, entries: usize) {
        let mut draw = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for _ in 0..entries {
            self.now += draw(9_000);
            let mut commands = Vec::new();
            for _ in 0..draw(4) {
                let (n, host) = (draw(9) as u32, 10 + draw(12) as u8);
                let why = [Why::Selecting, Why::Renewing, Why::InitReboot][draw(3) as usize];
                commands.push(match draw(12) {
                    0 => Command::Release(self.give_up(n, host)),
                    1 => Command::Decline(self.give_up(n, host)),
                    2 => Command::DeleteLease(DeleteLease {
                        address: [192, 0, 2, host].into(),
                        seen: None,
                    }),
                    3 | 4 => Command::Reclaim(Reclaim { limit: 100, remove: false }),
                    _ => self.grant(n, host, why),
                });
            }
            if draw(40) == 0 {
                commands.push(Command::SetWallOffset(WallOffset(
                    1_795_470_000_000 + draw(5_000) as i64,
                )));
            }
            self.apply(commands);
        }
    }

    fn records(&self) -> Vec<Record> {
        self.log.iter().flat_map(|told| told.events.iter().map(Record::of)).collect()
    }
}

fn lived(seed: u64, entries: usize) -> Source {
    let mut source = Source::new();
    source.live(seed, entries - 1);
    source
}

fn small() -> Limits {
    Limits { keep: Duration::from_secs(86_400 * 90), bytes: 1 << 30, segment: 1_000 }
}

fn open(dir: &Path, base: Option<u64>) -> Arc<History> {
    History::open(dir, CLUSTER, small(), base).unwrap()
}

fn feed(history: &History, log: &[Told]) {
    for told in log {
        let mut events = told.events.clone();
        history.record(told.index, told.at, told.wall, &mut events);
        assert!(events.is_empty());
    }
}

/// Feeds in steps, each written before the next.
fn feed_and_write(history: &History, log: &[Told], step: usize) {
    for part in log.chunks(step) {
        feed(history, part);
        assert!(history.settle(part.last().unwrap().index, LONG));
    }
}

/// Everything from a position on, gaps skipped.
fn follow(history: &History, from: Position) -> Vec<Record> {
    let (mut at, mut all) = (from, Vec::new());
    loop {
        match history.after(at, 7) {
            Ok(Chunk { next, .. }) if next == at => return all,
            Ok(Chunk { records, next }) => {
                assert!(
                    next > at && records.iter().all(|record| (at..next).contains(&record.position))
                );
                all.extend(records);
                at = next;
            }
            Err(NotRead::Gone(gone)) => {
                assert!(gone.first > at);
                at = gone.first;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn rows(history: &History, wanted: Wanted) -> Found {
    let lookup = Lookup { wanted, from: None, to: None, after: None, limit: 100_000 };
    history.look_up(&lookup).unwrap()
}

fn by_host(host: u8) -> Wanted {
    Wanted::Address([192, 0, 2, host].into())
}

fn by_client(n: u32) -> Wanted {
    Wanted::Hw(nth_client(n).hw.bytes().into())
}

fn files(dir: &Path, end: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        all.filter(|path| path.extension().is_some_and(|own| own == end)).collect();
    files.sort_by_key(|path| path.to_str().unwrap().split_once('-').map(|it| it.1.to_owned()));
    files
}

fn copy_dir(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
    }
    to
}

#[test]
fn a_cursor_is_exact_across_segments_and_restarts() {
    let source = lived(1, 500);
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path(), None);
    let (first, second) = source.log.split_at(300);
    feed_and_write(&history, first, 40);
    feed(&history, second);
    let all = source.records();
    assert!(all.len() > 400, "{}", all.len());
    assert!(follow(&history, Position::at(0)) == all, "what was before everything is skipped");
    history.stop(Ending::Orderly);
    assert!(files(dir.path(), "events").len() > 3);
    for history in [history, open(dir.path(), None)] {
        for (at, record) in all.iter().enumerate().step_by(23) {
            assert!(follow(&history, record.position) == all[at..], "from {}", record.position);
            assert!(follow(&history, record.position.next()) == all[at + 1..]);
        }
        history.stop(Ending::Abrupt);
    }
}

#[test]
fn a_replay_changes_nothing() {
    let source = lived(2, 300);
    let dir = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let history = open(dir.path(), None);
        // The log is replayed from a checkpoint somewhere, and goes on a little.
        let upto = [100, 180, 180, 300][round];
        feed_and_write(&history, &source.log[..upto], 25);
        history.stop(if round % 2 == 0 { Ending::Abrupt } else { Ending::Orderly });
    }
    let history = open(dir.path(), None);
    assert!(follow(&history, Position::at(source.log[0].index)) == source.records());
    let last = source.log.last().unwrap().index;
    assert_eq!(history.covered(), [(source.log[0].index, last)]);
}

#[test]
fn whatever_a_crash_leaves_of_the_last_writes_the_replay_mends() {
    let source = lived(3, 60);
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(dir.path(), CLUSTER, Limits { segment: 1 << 20, ..small() }, None);
    let history = history.unwrap();
    feed_and_write(&history, &source.log, 4);
    history.stop(Ending::Abrupt);
    let name = files(dir.path(), "events").remove(0);
    let whole = fs::read(&name).unwrap();
    let wanted = source.records();
    for length in (0..whole.len()).step_by(7) {
        for zeros in [0, 100] {
            let dir = copy_dir(dir.path());
            let mut bytes = whole[..length].to_vec();
            bytes.resize(length + zeros, 0);
            fs::write(dir.path().join(name.file_name().unwrap()), bytes).unwrap();
            let history = open(dir.path(), None);
            let kept = follow(&history, Position::at(source.log[0].index));
            assert!(kept == wanted[..kept.len()], "cut at {length}");
            // The checkpoint never passes what was durable, so the log still has the rest.
            feed(&history, &source.log);
            assert!(
                follow(&history, Position::at(source.log[0].index)) == wanted,
                "cut at {length}"
            );
            assert_eq!(history.covered().len(), 1);
            history.stop(Ending::Orderly);
            let again = open(dir.path(), None);
            assert!(follow(&again, Position::at(source.log[0].index)) == wanted, "cut at {length}");
            again.stop(Ending::Abrupt);
        }
    }
}

#[test]
fn damage_is_put_aside_and_told() {
    let source = lived(4, 400);
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path(), None);
    feed_and_write(&history, &source.log, 20);
    history.stop(Ending::Orderly);
    let all = source.records();
    let names = files(dir.path(), "events");
    assert!(names.len() > 4);
    for with_index in [true, false] {
        let dir = copy_dir(dir.path());
        let broken = dir.path().join(names[2].file_name().unwrap());
        let mut bytes = fs::read(&broken).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&broken, bytes).unwrap();
        if !with_index {
            fs::remove_file(broken.with_extension("index")).unwrap();
        }
        let history = open(dir.path(), None);
        let left = follow(&history, Position::at(source.log[0].index));
        let [(first, gap_from), (gap_to, last)] = history.covered()[..] else {
            panic!("one gap: {:?}", history.covered());
        };
        assert_eq!((first, last), (source.log[0].index, source.log.last().unwrap().index));
        let mut wanted = all.clone();
        wanted
            .retain(|record| record.position.index <= gap_from || record.position.index >= gap_to);
        // Found out while it was read, what came before the damage has been seen.
        let seen: Vec<&Record> = left.iter().filter(|record| wanted.contains(record)).collect();
        assert_eq!(seen.len(), wanted.len());
        let Err(NotRead::Gone(gone)) = history.after(Position::at(gap_from + 1), 9) else {
            panic!("a gap is gone")
        };
        assert_eq!(gone.first, Position::at(gap_to));
        assert_eq!(files(dir.path(), "damaged").len(), 1);
        assert_eq!(rows(&history, by_host(10)).covered.len(), 2);
        history.stop(Ending::Abrupt);
    }
}

#[test]
fn a_damaged_index_is_found_out_and_made_anew() {
    let source = lived(5, 300);
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path(), None);
    feed_and_write(&history, &source.log, 20);
    let wanted = rows(&history, by_client(3));
    assert!(wanted.rows.len() > 3);
    history.stop(Ending::Orderly);
    let name = files(dir.path(), "index").remove(1);
    let bytes = fs::read(&name).unwrap();
    for at in [0, 20, bytes.len() / 2, bytes.len() - 4] {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        fs::write(&name, bytes).unwrap();
        let history = open(dir.path(), None);
        assert_eq!(rows(&history, by_client(3)), wanted, "byte {at}");
        history.stop(Ending::Abrupt);
    }
}

#[test]
fn nodes_with_the_same_log_give_the_same_answers() {
    let source = lived(6, 400);
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let one = open(dirs[0].path(), None);
    feed_and_write(&one, &source.log, 7);
    let limits = Limits { segment: 900, ..small() };
    let other = History::open(dirs[1].path(), CLUSTER, limits, None).unwrap();
    feed_and_write(&other, &source.log[..200], 33);
    other.stop(Ending::Abrupt);
    let other = History::open(dirs[1].path(), CLUSTER, limits, None).unwrap();
    feed(&other, &source.log[150..]);
    for host in 10..22 {
        let found = rows(&one, by_host(host));
        assert_eq!(found.rows, rows(&other, by_host(host)).rows);
        assert!(found.rows.windows(2).all(|pair| pair[0].start < pair[1].start));
        // One address is one client's at a time.
        for pair in found.rows.windows(2) {
            assert!(pair[0].end.unwrap().0 <= pair[1].begin, "{pair:#?}");
        }
    }
    for n in 0..9 {
        let found = rows(&one, by_client(n));
        assert!(!found.rows.is_empty());
        assert_eq!(found.rows, rows(&other, by_client(n)).rows);
    }
}

#[test]
fn renewals_extend_a_row() {
    let mut source = Source::new();
    source.apply(vec![source.grant(1, 10, Why::Selecting)]);
    for _ in 0..1_000 {
        source.now += 30_000;
        source.apply(vec![source.grant(1, 10, Why::Renewing)]);
    }
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path(), None);
    feed_and_write(&history, &source.log, 100);
    let found = rows(&history, by_host(10));
    let [row] = &found.rows[..] else { panic!("{found:#?}") };
    let wall = |millis: u64| 1_795_470_000_000 + millis as i64;
    assert_eq!((row.begin, row.expires), (wall(1_000), Some(wall(source.now + 60_000))));
    assert_eq!((row.renewals, row.end, row.began_before), (1_000, None, false));
    // The same client, after its time was over.
    source.now += 100_000;
    source.apply(vec![source.grant(1, 10, Why::Selecting)]);
    source.now += 1_000;
    source.apply(vec![Command::Release(source.give_up(1, 10))]);
    feed(&history, &source.log[1_002..]);
    let found = rows(&history, by_client(1));
    let [first, second] = &found.rows[..] else { panic!("{found:#?}") };
    assert_eq!(first.end, Some((first.expires.unwrap(), Ended::Expired)));
    assert_eq!(second.end, Some((wall(source.now), Ended::Released)));
}

#[test]
fn a_page_goes_on_where_the_last_one_ended() {
    let source = lived(7, 400);
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path(), None);
    feed(&history, &source.log);
    let all = rows(&history, by_host(12)).rows;
    assert!(all.len() > 5);
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let lookup = Lookup { wanted: by_host(12), from: None, to: None, after, limit: 2 };
        let found = history.look_up(&lookup).unwrap();
        assert!(found.rows.len() <= 2);
        paged.extend(found.rows);
        after = found.more;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(paged, all);
    let (from, to) = (all[2].begin + 1, all[4].begin);
    let lookup =
        Lookup { wanted: by_host(12), from: Some(from), to: Some(to), after: None, limit: 100 };
    let found = history.look_up(&lookup).unwrap().rows;
    let wanted: Vec<Row> = all
        .iter()
        .filter(|row| row.begin <= to && row.end.map(|it| it.0).or(row.expires).unwrap() >= from)
        .cloned()
        .collect();
    assert_eq!(found, wanted);
}

#[test]
fn what_is_too_old_or_too_much_goes_and_is_told() {
    let source = lived(8, 600);
    let last = source.log.last().unwrap();
    let limits =
        [Limits { bytes: 20_000, ..small() }, Limits { keep: Duration::from_secs(600), ..small() }];
    for limits in limits {
        let dir = tempfile::tempdir().unwrap();
        let history = History::open(dir.path(), CLUSTER, limits, None).unwrap();
        feed_and_write(&history, &source.log, 20);
        let size: u64 = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(size <= limits.bytes, "{size}");
        let [(first, end)] = history.covered()[..] else { panic!("{:?}", history.covered()) };
        assert!(first > source.log[0].index && end == last.index);
        let Err(NotRead::Gone(gone)) = history.after(Position::at(1), 9) else {
            panic!("it is gone")
        };
        assert_eq!(gone.first, Position::at(first));
        let wanted: Vec<Record> =
            source.records().into_iter().filter(|it| it.position.index >= first).collect();
        assert!(follow(&history, gone.first) == wanted);
        if limits.bytes > 1 << 20 {
            let began = source.log.iter().find(|told| told.index >= first).unwrap().at;
            let age = last.at.since(began);
            assert!(age < limits.keep * 3, "{age:?}");
        }
        history.stop(Ending::Abrupt);
    }
}

#[test]
fn a_snapshot_of_the_leader_leaves_a_gap_that_is_told() {
    let source = lived(9, 300);
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path(), None);
    feed(&history, &source.log[..100]);
    let base = source.log[199].index;
    history.pass_over(base);
    assert!(history.settle(base, LONG), "there is nothing to wait for");
    feed(&history, &source.log[200..]);
    let covered = [
        (source.log[0].index, source.log[99].index),
        (source.log[200].index, source.log[299].index),
    ];
    assert_eq!(history.covered(), covered);
    let Err(NotRead::Gone(gone)) = history.after(Position::at(base), 9) else { panic!("a gap") };
    assert_eq!(gone.first, Position::at(source.log[200].index));
    history.stop(Ending::Orderly);
    let history = open(dir.path(), Some(source.log[299].index));
    assert_eq!(history.covered(), covered);
    let mut wanted = source.records();
    wanted.retain(|record| {
        covered.iter().any(|run| (run.0..=run.1).contains(&record.position.index))
    });
    assert!(follow(&history, Position::at(source.log[0].index)) == wanted);
}

#[test]
fn a_checkpoint_that_passed_the_history_leaves_a_gap_that_is_told() {
    let source = lived(10, 100);
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path(), None);
    feed_and_write(&history, &source.log[..40], 40);
    feed(&history, &source.log[40..60]);
    history.stop(Ending::Abrupt);
    let history = open(dir.path(), Some(source.log[59].index));
    feed(&history, &source.log[60..]);
    let covered =
        [(source.log[0].index, source.log[39].index), (source.log[60].index, source.log[99].index)];
    assert_eq!(history.covered(), covered);
}

#[test]
fn a_disk_that_refuses_costs_nothing_once_it_is_well() {
    let source = lived(11, 100);
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("history");
    let history = open(&place, None);
    fs::remove_dir_all(&place).unwrap();
    feed(&history, &source.log);
    let last = source.log.last().unwrap().index;
    assert!(!history.settle(last, Duration::from_millis(200)));
    assert!(follow(&history, Position::at(source.log[0].index)) == source.records());
    fs::create_dir(&place).unwrap();
    assert!(history.settle(last, LONG));
    history.stop(Ending::Abrupt);
    assert!(follow(&open(&place, None), Position::at(source.log[0].index)) == source.records());
}

#[test]
fn the_history_of_another_cluster_is_not_ours() {
    let source = lived(12, 50);
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path(), None);
    feed(&history, &source.log);
    history.stop(Ending::Orderly);
    let other = History::open(dir.path(), CLUSTER + 1, small(), None).unwrap();
    assert_eq!(other.covered(), []);
    assert_eq!(files(dir.path(), "damaged").len(), 1);
}

#[test]
fn kinds_have_names_and_numbers() {
    for kind in Kind::ALL {
        assert_eq!(Kind::named(kind.name()), Some(kind));
        assert_eq!(Kind::from_number(kind.number()), Some(kind));
    }
}

/// Figures: `cargo nextest run -p leasehold --lib --run-ignored only history_costs --no-capture`.
#[test]
#[ignore = "measures, and checks nothing"]
fn history_costs() {
    use crate::clock::Stopwatch;
    let count: u32 =
        std::env::var("EVENTS").ok().and_then(|it| it.parse().ok()).unwrap_or(3_000_000);
    let clients = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits::new(Duration::from_secs(86_400 * 90), 4 << 30);
    let history = History::open(dir.path(), CLUSTER, limits, None).unwrap();
    let lease = |n: u32, at: u64| {
        let mut lease = crate::state::testing::lease("10.0.0.0", n % clients);
        lease.address = (0x0a00_0000 + n % clients).into();
        lease.client_id = Some([&[1], lease.hw.bytes()].concat().as_slice())
            .map(|id| crate::types::ClientId::new(id).unwrap());
        lease.hostname = format!("laptop-{:05}", n % clients).into();
        lease.cltt = ClusterTime::from_millis(at);
        lease.expires = lease.cltt.plus_lifetime(lease.valid);
        lease.generation = crate::state::Generation(u64::from(n % clients) + 128);
        Arc::new(lease)
    };
    let (mut recording, mut made) = (Duration::ZERO, Stopwatch::start());
    let mut events = Vec::new();
    for first in (0..count).step_by(64) {
        let index = u64::from(first / 64 + 1);
        let at = index * 20;
        for n in first..first + 64 {
            let position = Position { index, offset: n - first };
            let kind = if n < clients { Kind::Bound } else { Kind::Renewed };
            let subject = crate::state::Subject::Lease(lease(n, at));
            let (at, wall) = (ClusterTime::from_millis(at), WallOffset(0));
            events.push(Event { position, at, wall, kind, subject });
        }
        let watch = Stopwatch::start();
        history.record(index, ClusterTime::from_millis(at), WallOffset(0), &mut events);
        recording += watch.elapsed();
        if index.is_multiple_of(500) {
            assert!(history.settle(index, LONG));
        }
    }
    let took = made.elapsed();
    println!(
        "{count} events in {took:?}, {} ns in record() each",
        recording.as_nanos() / u128::from(count)
    );
    assert!(history.settle(u64::from(count.div_ceil(64)), LONG));
    let size =
        |end| files(dir.path(), end).iter().map(|it| fs::metadata(it).unwrap().len()).sum::<u64>();
    let (data, index) = (size("events"), size("index"));
    println!(
        "{} bytes an event, {} with the index",
        data / u64::from(count),
        (data + index) / u64::from(count)
    );
    for round in ["first (looks at checksums)", "second"] {
        for (name, wanted) in [
            ("hw", Wanted::Hw(nth_client(4_321).hw.bytes().into())),
            ("address", Wanted::Address((0x0a00_0000u32 + 777).into())),
        ] {
            made = Stopwatch::start();
            let found = rows(&history, wanted);
            println!(
                "{round} by {name}: {:?}, {} row(s), {} renewals",
                made.elapsed(),
                found.rows.len(),
                found.rows[0].renewals
            );
        }
    }
    history.stop(Ending::Orderly);
    made = Stopwatch::start();
    let history = History::open(dir.path(), CLUSTER, limits, None).unwrap();
    println!("opened in {:?}", made.elapsed());
    history.stop(Ending::Abrupt);
}

/// Another node's history fills the gap of one that took over a snapshot.
#[test]
fn a_gap_is_filled_from_a_peer() {
    let source = lived(13, 400);
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (peer, history) = (open(dirs[0].path(), None), open(dirs[1].path(), None));
    feed_and_write(&peer, &source.log, 9);
    feed_and_write(&history, &source.log[..100], 50);
    history.pass_over(source.log[299].index);
    feed_and_write(&history, &source.log[300..], 30);
    let now = source.log.last().unwrap().at;
    let mut rounds = 0;
    while let Some(missing) = newest_gap(&history, now) {
        let (mut wanted, mut blocks) = (missing, Vec::new());
        while blocks.len() < 5 {
            let Some((framed, next)) = peer.block_for(&wanted).unwrap() else { break };
            wanted.from = next;
            blocks.push(framed);
        }
        let mut broken = blocks.clone();
        broken[0][70] ^= 1;
        assert!(history.take_in(&missing, &broken).is_err());
        assert!(history.take_in(&missing, &blocks).unwrap() >= Some(missing.from));
        rounds += 1;
        assert!(rounds < 100);
    }
    assert!(rounds > 2);
    let first = Position::at(source.log[0].index);
    for history in [&history, &open(dirs[1].path(), None)] {
        assert_eq!(history.covered().len(), 1);
        assert!(follow(history, first) == source.records());
    }
    assert_eq!(rows(&history, by_client(3)).rows, rows(&peer, by_client(3)).rows);
}

fn newest_gap(history: &History, now: ClusterTime) -> Option<Missing> {
    history.missing(now).first().copied().filter(|missing| missing.from > 1)
}

/// What nobody has must not hide what somebody has.
#[test]
fn all_gaps_are_told_the_newest_first() {
    let source = lived(14, 400);
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path(), None);
    for part in [50..100, 150..200, 250..400] {
        feed_and_write(&history, &source.log[part], 10);
    }
    let index = |at: usize| source.log[at].index;
    let told = history.missing(source.log[399].at);
    let told: Vec<_> = told.iter().map(|missing| (missing.from, missing.to)).collect();
    let between = [(index(200), index(249)), (index(100), index(149))];
    assert_eq!(told, [&between[..], &[(0, index(50) - 1)]].concat());
}

/// What retention takes at once would be asked for again at once.
#[test]
fn what_is_too_old_is_neither_given_nor_kept() {
    let source = lived(15, 400);
    let keep = Duration::from_secs(600);
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    // One large segment, so that old and new lie together in it.
    let large = Limits { segment: 1 << 20, ..small() };
    let peer = History::open(dirs[0].path(), CLUSTER, large, None).unwrap();
    feed_and_write(&peer, &source.log[..399], 9);
    let young = Limits { keep, ..small() };
    let history = History::open(dirs[1].path(), CLUSTER, young, None).unwrap();
    feed_and_write(&history, &source.log[399..], 1);
    let last = source.log.last().unwrap();
    let missing = history.missing(last.at)[0];
    assert!(source.log[0].at < missing.since && missing.since < source.log[380].at);
    let (framed, _) = peer.block_for(&missing).unwrap().unwrap();
    let (head, _) = super::store::parse_block(&framed).unwrap();
    assert!(head.end >= missing.since && head.from > missing.from);
    let everything = Missing { since: ClusterTime::ZERO, ..missing };
    let (old, _) = peer.block_for(&everything).unwrap().unwrap();
    assert_eq!(history.take_in(&missing, &[old]).unwrap(), None);
    assert_eq!(history.missing(last.at), [missing]);
    assert_eq!(history.take_in(&missing, &[framed]).unwrap(), Some(head.to));
}

/// Also in the file that is being written: reading goes on behind it, and so does writing.
#[test]
fn damage_while_it_runs_is_put_aside_and_told() {
    let source = lived(16, 300);
    let dir = tempfile::tempdir().unwrap();
    let large = Limits { segment: 1 << 20, ..small() };
    let place = dir.path().join("history");
    let first = History::open(&place, CLUSTER, large, None).unwrap();
    feed_and_write(&first, &source.log[..200], 9);
    first.stop(Ending::Orderly);
    let history = History::open(&place, CLUSTER, large, None).unwrap();
    let [path] = &files(&place, "events")[..] else { panic!("one") };
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, &bytes).unwrap();
    feed_and_write(&history, &source.log[200..250], 9);
    assert_eq!(history.covered().len(), 1);
    let begin = Position::at(source.log[0].index);
    let told = follow(&history, begin);
    assert!(told.len() < source.records().len());
    feed_and_write(&history, &source.log[250..], 9);
    let mut wanted = source.records();
    wanted.retain(|record| record.position.index >= source.log[250].index);
    assert!(follow(&history, Position::at(source.log[250].index)) == wanted);
    assert_eq!(files(&place, "damaged").len(), 1);
    rows(&history, by_client(3));
    history.stop(Ending::Orderly);
    let again = History::open(&place, CLUSTER, large, None).unwrap();
    assert!(follow(&again, Position::at(source.log[250].index)) == wanted);
}

/// Whoever removes files while it runs gets a gap, or a new index; never an error for good.
#[test]
fn a_file_that_was_removed_is_a_gap_and_an_index_is_made_anew() {
    let source = lived(17, 300);
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path(), None);
    feed_and_write(&history, &source.log, 9);
    history.stop(Ending::Orderly);
    let history = open(dir.path(), None);
    let before = rows(&history, by_client(3)).rows;
    for index in files(dir.path(), "index").iter().step_by(2).take(20) {
        fs::remove_file(index).unwrap();
    }
    assert_eq!(rows(&history, by_client(3)).rows, before);
    assert_eq!(history.covered().len(), 1);
    fs::remove_file(&files(dir.path(), "events")[3]).unwrap();
    let told = follow(&history, Position::at(source.log[0].index));
    assert!(!told.is_empty() && told.len() < source.records().len());
    assert_eq!(history.covered().len(), 2);
    rows(&history, by_client(3));
}
