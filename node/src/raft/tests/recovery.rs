//! R19: the checkpoint behind, ahead, missing, corrupt, each with a log that is whole or torn.

use std::fs;
use std::net::Ipv4Addr;

use super::super::machine::{Shared, Work};
use super::super::typ::{EncodedBatch, Payload};
use super::super::{image, wire};
use super::*;
use crate::clock::ManualClock;
use crate::state::{Frozen, LeaseState, PutLease, PutMode};
use crate::storage::memory::MemoryLog;
use crate::storage::{
    self, After, Base, Body, CHECKPOINT_CACHE, Checkpoint, Entry, Loaded, Log, Snapshots,
};
use crate::types::{HwAddr, Lifetime, SubnetId};

const TERM: u64 = 3;

fn id(index: u64) -> LogId {
    LogId { term: TERM, node: 1, index }
}

fn batch(index: u64) -> Batch {
    let stamp = ClusterTime::from_millis(index * 1000);
    Batch { stamp, commands: vec![Command::SetWallOffset(WallOffset(index as i64))] }
}

fn entry(index: u64) -> Entry {
    Entry { id: id(index), body: Body::Batch(state_wire::encode_batch(&batch(index))) }
}

/// The machine after entries 0 to `last`.
fn machine(last: u64) -> (State, Base) {
    let mut state = State::new();
    for index in 0..=last {
        state.apply(index, &batch(index));
    }
    (state, Base { applied: Some(id(last)), ..Base::default() })
}

fn put(log: &dyn Log, entries: Vec<Entry>) {
    let (sent, received) = std::sync::mpsc::channel();
    log.append(entries, Box::new(move |result| sent.send(result).unwrap())).unwrap();
    received.recv().unwrap().unwrap();
}

/// Writes what leads from `older` to `newer`; answers how many records were put, and how many removed.
fn carry(place: &Path, base: &Base, older: Option<&Frozen>, newer: &Frozen) -> (usize, usize) {
    let (mut checkpoint, _) = Checkpoint::open(place, CHECKPOINT_CACHE, |_| Ok(())).unwrap();
    let after = After { state_hash: newer.digest(), whole: older.is_none() };
    let changes: Vec<_> = image::changes(older, newer).collect();
    let put = changes.iter().filter(|change| matches!(change, storage::Change::Put(..))).count();
    let counts = (put, changes.len() - put);
    checkpoint.write(base, after, changes.into_iter()).unwrap();
    counts
}

fn read_checkpoint(place: &Path) -> State {
    let read = |loaded: Loaded<'_>| image::from_checkpoint(&loaded);
    Checkpoint::open(place, CHECKPOINT_CACHE, read).unwrap().1.unwrap()
}

fn write_checkpoint(dir: &Path, last: u64) {
    let (state, base) = machine(last);
    carry(&dir.join("checkpoint"), &base, None, &state.freeze());
}

fn write_snapshot(dir: &Path, last: u64) {
    let (state, base) = machine(last);
    let snapshots = Snapshots::open(&dir.join("snapshots")).unwrap();
    snapshots.write(&base, |out| image::write(&state.freeze(), out)).unwrap();
}

/// A log on disk with entries 0 to 9, whose last record is torn if `torn`.
fn write_log(dir: &Path, torn: bool) {
    let log = disk_log(dir, LogSettings::default()).unwrap();
    put(&*log, (0..10).map(entry).collect());
    drop(log);
    if torn {
        let segment = fs::read_dir(dir.join("log")).unwrap().map(|entry| entry.unwrap().path());
        let segment =
            segment.filter(|path| path.extension().is_some_and(|e| e == "wal")).max().unwrap();
        let length = fs::metadata(&segment).unwrap().len();
        fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(length - 7).unwrap();
    }
}

/// What the node stands at, and where its log begins and ends then.
fn start(dir: &Path) -> (Option<u64>, i64, Option<u64>, Option<u64>) {
    let log = disk_log(dir, LogSettings::default()).unwrap();
    let recovered = recover(dir, &*log).unwrap();
    let extent = log.extent();
    let applied = recovered.base.applied.map(|id| id.index);
    let value = recovered.state.view().meta().wall_offset().0;
    // What was purged must be in a snapshot file.
    if let Some(purged) = extent.purged {
        let held = recovered.snapshots.list().unwrap();
        assert!(held[0].base.applied >= Some(purged));
        assert!(image::read(&mut held[0].body().unwrap()).is_ok());
    }
    (applied, value, extent.purged.map(|id| id.index), extent.last.map(|id| id.index))
}

#[test]
fn r19_checkpoint_behind_ahead_missing_or_corrupt_times_log_whole_or_torn() {
    for torn in [false, true] {
        let end = if torn { 8 } else { 9 };
        let fresh = || {
            let dir = tempfile::tempdir().unwrap();
            write_log(dir.path(), torn);
            dir
        };

        let dir = fresh();
        write_checkpoint(dir.path(), 4);
        assert_eq!(start(dir.path()), (Some(4), 4, None, Some(end)), "behind, torn {torn}");

        let dir = fresh();
        write_checkpoint(dir.path(), 12);
        assert_eq!(start(dir.path()), (Some(12), 12, Some(12), Some(12)), "ahead, torn {torn}");
        assert_eq!(start(dir.path()), (Some(12), 12, Some(12), Some(12)), "once more");

        let dir = fresh();
        assert_eq!(start(dir.path()), (None, 0, None, Some(end)), "missing, torn {torn}");

        let dir = fresh();
        write_checkpoint(dir.path(), 4);
        fs::write(dir.path().join("checkpoint/db"), b"garbage").unwrap();
        assert_eq!(start(dir.path()), (None, 0, None, Some(end)), "corrupt, torn {torn}");

        let dir = fresh();
        write_snapshot(dir.path(), 3);
        write_checkpoint(dir.path(), 6);
        assert_eq!(start(dir.path()), (Some(6), 6, None, Some(end)), "above a snapshot");

        let dir = fresh();
        write_snapshot(dir.path(), 7);
        write_checkpoint(dir.path(), 6);
        assert_eq!(start(dir.path()), (Some(7), 7, None, Some(end)), "below a snapshot");
    }
}

#[test]
fn r19_a_damaged_snapshot_gives_way_to_an_older_one() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), false);
    write_snapshot(dir.path(), 3);
    write_snapshot(dir.path(), 6);
    let newest =
        fs::read_dir(dir.path().join("snapshots")).unwrap().map(|e| e.unwrap().path()).max();
    let newest = newest.unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&newest, bytes).unwrap();
    assert_eq!(start(dir.path()), (Some(3), 3, None, Some(9)));
}

#[test]
fn r19_a_log_that_begins_above_everything_refuses_to_start() {
    let dir = tempfile::tempdir().unwrap();
    let log = MemoryLog::default();
    put(&log, (0..10).map(entry).collect());
    log.purge(id(5)).unwrap();
    let error = recover(dir.path(), &log).unwrap_err().to_string();
    assert!(error.contains("join as a new node"), "{error}");
    assert!(error.contains(&dir.path().display().to_string()), "{error}");
    write_snapshot(dir.path(), 7);
    let damaged = Snapshots::open(&dir.path().join("snapshots")).unwrap().list().unwrap().remove(0);
    let mut bytes = fs::read(&damaged.path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&damaged.path, bytes).unwrap();
    let error = recover(dir.path(), &log).unwrap_err().to_string();
    let told = format!("{} is damaged: ", damaged.path.display());
    assert!(error.contains(&told) && error.contains("cluster-ctl node remove"), "{error}");
    fs::remove_file(&damaged.path).unwrap();
    write_checkpoint(dir.path(), 4);
    assert!(recover(dir.path(), &log).is_err());
    write_snapshot(dir.path(), 5);
    assert_eq!(recover(dir.path(), &log).unwrap().base.applied, Some(id(5)));
}

#[test]
fn a_checkpoint_carries_leases_by_their_changes() {
    let address = |n: u8| Ipv4Addr::new(192, 0, 2, n);
    let lease = |n: u8, hostname: &str| {
        Command::PutLease(PutLease {
            mode: PutMode::Upsert,
            address: address(n),
            subnet: SubnetId(1),
            hw: HwAddr::new(1, &[2, 0, 0, 0, 0, n]).unwrap(),
            client_id: None,
            lifetime: Lifetime::from_secs(3600),
            expire: None,
            hostname: hostname.into(),
            fqdn_fwd: false,
            fqdn_rev: false,
            state: LeaseState::Assigned,
            user_context: String::new(),
        })
    };
    let text = r#"{"Dhcp4": {"subnet4": [{"id": 1, "subnet": "192.0.2.0/24"}]}}"#;
    let config = Command::SetConfig(crate::state::SetConfig::json(text));
    let mut state = State::new();
    let mut index = 0;
    let mut apply = |state: &mut State, commands: Vec<Command>| {
        index += 1;
        state.apply(index, &Batch { stamp: ClusterTime::from_millis(index), commands })
    };
    let outcomes = apply(
        &mut state,
        vec![config, lease(1, "a"), lease(2, "b"), lease(3, "c"), lease(20, "d")],
    );
    assert!(
        outcomes[1..].iter().all(|o| matches!(o, crate::state::Outcome::LeaseWritten { .. })),
        "{outcomes:?}"
    );
    let first = state.freeze();
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("checkpoint");
    carry(&place, &Base::default(), None, &first);

    let delete =
        |n| Command::DeleteLease(crate::state::DeleteLease { address: address(n), seen: None });
    let commands = vec![delete(2), lease(3, "changed"), lease(4, "new"), delete(20)];
    apply(&mut state, commands);
    let second = state.freeze();
    let counts = carry(&place, &Base::default(), Some(&first), &second);
    assert_eq!(counts, (2, 1), "the head and the chunk of four; the other one is empty");
    let read = read_checkpoint(&place);
    assert_eq!(read.digest(), state.digest());
    assert_eq!(read.view().lease_count(), 3);
}

/// R25: pieces of documents go into the checkpoint once, when they come, and out when they are
/// forgotten; every step can be started from.
#[test]
fn the_checkpoint_follows_documents_and_versions_piece_by_piece() {
    use crate::state::document::{Form, pack};
    use crate::state::{NewConfig, Note};
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("checkpoint");
    let mut state = State::new();
    let mut index = 0;
    let mut written: Option<crate::state::Frozen> = None;
    let mut step = |state: &mut State, command: Command| {
        index += 1;
        let stamp = ClusterTime::from_millis(index);
        let outcome = state.apply(index, &Batch { stamp, commands: vec![command] }).remove(0);
        let frozen = state.freeze();
        let (put, removed) = carry(&place, &Base::default(), written.as_ref(), &frozen);
        let counts = (put - 1, removed);
        written = Some(frozen);
        let read = read_checkpoint(&place);
        assert_eq!(read.digest(), state.digest());
        read.check().unwrap();
        (outcome, counts)
    };
    let noise: String =
        (0..40_000u64).map(|n| format!("{:x}", n.wrapping_mul(n << 40 | 7919))).collect();
    let large = format!(r#"{{"Dhcp4": {{"user-context": {{"noise": "{noise}"}}}}}}"#);
    let text = pack(Form::Json, &large);
    let new = NewConfig { expected: None, text, level: 1, note: Note::default() };
    let (chunks, set) = new.commands(1);
    let pieces = chunks.len();
    assert!(pieces > 2);
    for chunk in chunks {
        let (_, counts) = step(&mut state, Command::ConfigChunk(chunk));
        assert_eq!(counts, (1, 0), "one piece more");
    }
    let (outcome, counts) = step(&mut state, Command::SetConfig(set));
    assert!(matches!(outcome, crate::state::Outcome::ConfigSet(_)));
    assert_eq!(counts, (pieces, pieces), "pieces of a version, and no longer of a draft");
    let (_, counts) = step(&mut state, Command::Tick);
    assert_eq!(counts, (0, 0), "what is there is not written again");
    for _ in 0..crate::state::MOST_VERSIONS - 1 {
        let small = crate::state::SetConfig::json(r#"{"Dhcp4": {}}"#);
        assert_eq!(step(&mut state, Command::SetConfig(small)).1, (1, 0));
    }
    let small = crate::state::SetConfig::json(r#"{"Dhcp4": {}}"#);
    let (_, counts) = step(&mut state, Command::SetConfig(small));
    assert_eq!(counts, (1, pieces), "the oldest version is gone");
}

#[test]
fn a_log_entry_that_does_not_decode_stops_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let (progress, _seen) = watch::channel(Progress::default());
    let (membership, _seen) = watch::channel(Arc::new(StoredMembership::default()));
    let shared = Arc::new(Shared {
        node: 1,
        state: Arc::new(RwLock::new(State::new())),
        base: Mutex::default(),
        snapshots: Snapshots::open(dir.path()).unwrap(),
        progress,
        membership,
        lease_clock: Mutex::new(LeaseClock::new(ClusterTime::ZERO, 0)),
        clock: Arc::new(ManualClock::default()),
        readings: Arc::default(),
        hashes: Default::default(),
        hash_every: hashes::EVERY,
        history: None,
        events: Mutex::default(),
    });
    let place = wire::log_id_from_storage(id(1));
    let payload = Payload::Normal(EncodedBatch(bytes::Bytes::from_static(b"\xff\xff")));
    assert!(Work::decode(&place, payload).is_err());

    // R24: the others have accepted what this program cannot read.
    let set = crate::state::SetConfig::json(r#"{"Dhcp4": {"keyword-of-the-future": 1}}"#);
    let stamp = ClusterTime::from_millis(1);
    let batch = Batch { stamp, commands: vec![Command::SetConfig(set)] };
    let stopped = shared.apply(place, Work::Batch(batch)).unwrap_err().to_string();
    assert!(stopped.contains("cannot read configuration 1"), "{stopped}");
    assert!(stopped.contains("keyword-of-the-future"), "{stopped}");
    assert_eq!(shared.freeze().1.last_log_id, None);
    assert_eq!(shared.state.read().applied(), 0);
}
