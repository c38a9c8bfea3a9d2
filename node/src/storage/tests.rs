//! The log on disk through power cuts, kills and flipped bits.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use bytes::Bytes;
use proptest::prelude::*;

use super::memory::{MemoryLog, Syncing};
use super::*;

fn id(term: u64, index: u64) -> LogId {
    LogId { term, node: 1, index }
}

fn entry(term: u64, index: u64) -> Entry {
    let body = match index % 3 {
        0 => Body::Blank,
        1 => Body::Batch(Bytes::from(vec![index as u8; 40 + index as usize])),
        _ => Body::Membership(Bytes::from(format!("membership {index}"))),
    };
    Entry { id: id(term, index), body }
}

fn open(dir: &Path) -> Result<DiskLog, OpenError> {
    DiskLog::open(dir, LogSettings::default(), Arc::new(|what, error| panic!("{what}: {error}")))
}

fn wait(write: impl FnOnce(Done) -> io::Result<()>) {
    let (sent, received) = mpsc::channel();
    write(Box::new(move |result| sent.send(result).unwrap())).unwrap();
    received.recv().unwrap().unwrap();
}

fn append(log: &dyn Log, entries: Vec<Entry>) {
    wait(|done| log.append(entries, done));
}

fn all(log: &dyn Log) -> Vec<Entry> {
    log.read(0, u64::MAX, u64::MAX).unwrap()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wal"))
        .collect();
    paths.sort();
    paths
}

/// A log of five entries and a vote, closed; the path of its only segment and its bytes, and the
/// length without the last record.
fn sample(dir: &Path) -> (PathBuf, Vec<u8>, usize) {
    let log = open(dir).unwrap();
    append(&log, (0..4).map(|index| entry(1, index)).collect());
    wait(|done| log.save_vote(Vote { term: 2, node: 3, committed: false }, done));
    drop(log);
    let path = segments(dir).pop().unwrap();
    let without = fs::metadata(&path).unwrap().len() as usize;
    let log = open(dir).unwrap();
    append(&log, vec![entry(2, 4)]);
    drop(log);
    let bytes = fs::read(&path).unwrap();
    assert!(bytes.len() > without);
    (path, bytes, without)
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    append(&log, (0..10).map(|index| entry(1, index)).collect());
    log.truncate(8).unwrap();
    append(&log, vec![entry(2, 8)]);
    log.save_committed(id(1, 7)).unwrap();
    log.purge(id(1, 3)).unwrap();
    wait(|done| log.save_vote(Vote { term: 2, node: 1, committed: true }, done));
    let (before, entries) = (log.extent(), all(&log));
    drop(log);
    let log = open(dir.path()).unwrap();
    assert_eq!(log.extent(), before);
    assert_eq!(all(&log), entries);
    assert_eq!(entries.first().unwrap().id, id(1, 4));
    assert_eq!(entries.last().unwrap().id, id(2, 8));
    assert_eq!(before.committed, Some(id(1, 7)));
}

#[test]
fn a_copy_taken_while_it_runs_holds_what_was_acknowledged() {
    // As a kill -9 leaves the directory: nothing is closed.
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    append(&log, (0..100).map(|index| entry(1, index)).collect());
    let copy = tempfile::tempdir().unwrap();
    for path in segments(dir.path()) {
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    assert_eq!(all(&open(copy.path()).unwrap()), all(&log));
}

#[test]
fn many_segments_are_read_and_purged() {
    let dir = tempfile::tempdir().unwrap();
    let settings = LogSettings { cache_bytes: 4096, segment_bytes: 4096 };
    let reopen = || DiskLog::open(dir.path(), settings, Arc::new(|_, _| ())).unwrap();
    let log = reopen();
    for index in 0..500 {
        append(&log, vec![entry(1, index)]);
    }
    assert!(segments(dir.path()).len() > 5);
    assert_eq!(all(&log).len(), 500);
    assert_eq!(log.read(17, 20, u64::MAX).unwrap(), [entry(1, 17), entry(1, 18), entry(1, 19)]);
    assert_eq!(log.read(17, 400, 1).unwrap().len(), 1);
    let point = log.purge_point(20_000).unwrap();
    log.purge(id(1, point)).unwrap();
    append(&log, vec![entry(1, 500)]);
    assert!(log.size() >= 20_000 && log.size() < 30_000, "{}", log.size());
    drop(log);
    let log = reopen();
    assert_eq!(all(&log).first().unwrap().id.index, point + 1);
    assert_eq!(all(&log).last().unwrap().id.index, 500);
}

#[test]
fn r20_a_cut_at_every_byte_of_the_last_record_is_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes, without) = sample(dir.path());
    for end in without..bytes.len() {
        fs::write(&path, &bytes[..end]).unwrap();
        assert_eq!(judge(&bytes[..end]) == Verdict::Whole, end == without, "cut at {end}");
        let log = open(dir.path()).unwrap_or_else(|error| panic!("cut at {end}: {error}"));
        assert_eq!(log.extent().last, Some(id(1, 3)), "cut at {end}");
        assert_eq!(log.extent().vote, Some(Vote { term: 2, node: 3, committed: false }));
        // It goes on where it stands.
        append(&log, vec![entry(2, 4)]);
        drop(log);
        assert_eq!(open(dir.path()).unwrap().extent().last, Some(id(2, 4)));
        for path in segments(dir.path()) {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn r20_a_flipped_bit_anywhere_refuses_to_start_and_says_how_to_rejoin() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes, _) = sample(dir.path());
    for at in 0..bytes.len() {
        for bit in [0x01, 0x10, 0x80] {
            let mut flipped = bytes.clone();
            flipped[at] ^= bit;
            fs::write(&path, &flipped).unwrap();
            let error = open(dir.path()).expect_err("a flipped bit went unnoticed").to_string();
            assert!(error.contains("join as a new node"), "flip at {at}: {error}");
            assert_eq!(fs::read(&path).unwrap(), flipped, "flip at {at}: the evidence was changed");
        }
    }
}

#[test]
fn r20_zeroed_sectors_at_the_end_are_cut_only_from_the_last_record() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    append(&log, vec![entry(1, 0)]);
    drop(log);
    let path = segments(dir.path()).pop().unwrap();
    let without = fs::metadata(&path).unwrap().len() as usize;
    let large = Entry { id: id(1, 1), body: Body::Batch(Bytes::from(vec![7; 5000])) };
    let log = open(dir.path()).unwrap();
    append(&log, vec![large]);
    drop(log);
    let bytes = fs::read(&path).unwrap();

    // The length reached the disk, the data of the last sectors did not.
    for from in [without.next_multiple_of(512), 1024, 4096, bytes.len() / 512 * 512] {
        let mut zeroed = bytes.clone();
        zeroed[from..].fill(0);
        assert_eq!(judge(&zeroed), Verdict::Torn(without), "zeroed from {from}");
    }
    // None of the data did, and the file is longer than the record was.
    let mut zeroed = bytes[..without].to_vec();
    zeroed.resize(without + 8192, 0);
    assert_eq!(judge(&zeroed), Verdict::Torn(without));
    // Zeros in the middle of the record, or not from a sector's start, are no interrupted write.
    let mut hole = bytes.clone();
    hole[1024..1536].fill(0);
    assert!(matches!(judge(&hole), Verdict::Damaged { .. }));
    let mut few = bytes.clone();
    let end = few.len();
    few[end - 12..].fill(0);
    assert!(matches!(judge(&few), Verdict::Damaged { .. }));
    // A bad record with a good one behind it is never cut.
    let mut middle = bytes.clone();
    middle[..without].fill(0);
    assert!(matches!(judge(&middle), Verdict::Damaged { offset: 0, .. }));
}

#[test]
fn r20_a_segment_that_was_never_begun_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes, without) = sample(dir.path());
    let next = dir.path().join(raft_log::chunked_wal::Config::chunk_file_name(raft_log::ChunkId(
        bytes.len() as u64,
    )));
    for content in [&[][..], &[0; 4096], &[0, 0, 0, 5, 1]] {
        fs::write(&path, &bytes).unwrap();
        fs::write(&next, content).unwrap();
        let log = open(dir.path()).unwrap();
        assert_eq!(log.extent().last, Some(id(2, 4)));
        drop(log);
        // Its predecessor is the last one then, and may be torn itself.
        fs::write(&path, &bytes[..without + 3]).unwrap();
        fs::write(&next, content).unwrap();
        let log = open(dir.path()).unwrap();
        assert_eq!(log.extent().last, Some(id(1, 3)));
        drop(log);
        for path in segments(dir.path()) {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn damage_in_an_older_segment_refuses_to_start() {
    let dir = tempfile::tempdir().unwrap();
    let settings = LogSettings { cache_bytes: 4096, segment_bytes: 4096 };
    let reopen = || DiskLog::open(dir.path(), settings, Arc::new(|_, _| ()));
    let log = reopen().unwrap();
    append(&log, (0..200).map(|index| entry(1, index)).collect());
    drop(log);
    let first = segments(dir.path()).remove(0);
    let bytes = fs::read(&first).unwrap();
    for damaged in [&bytes[..bytes.len() - 5], &bytes[..0]] {
        fs::write(&first, damaged).unwrap();
        let error = reopen().expect_err("damage went unnoticed").to_string();
        assert!(error.contains("join as a new node"), "{error}");
    }
    fs::remove_file(&first).unwrap();
    let error = reopen().expect_err("a lost segment went unnoticed").to_string();
    assert!(error.contains("join as a new node"), "{error}");
}

#[test]
fn entries_of_a_lower_term_than_those_that_were_cut_are_read_back() {
    // A follower has uncommitted entries of term 5; the leader of term 6 cuts them and sends its
    // own, the first of which are of term 4. `raft-log` may drop those from memory too early.
    let dir = tempfile::tempdir().unwrap();
    let settings = LogSettings { cache_bytes: 512, segment_bytes: 2048 };
    let open = || DiskLog::open(dir.path(), settings, Arc::new(|_, _| ())).unwrap();
    let log = open();
    append(&log, (0..5).map(|index| entry(4, index)).collect());
    append(&log, (5..40).map(|index| entry(5, index)).collect());
    log.truncate(5).unwrap();
    let again: Vec<Entry> = (5..15).map(|index| entry(4, index)).collect();
    for entry in again {
        append(&log, vec![entry]);
    }
    append(&log, vec![entry(6, 15)]);
    let expected: Vec<Entry> = (0..15).map(|index| entry(4, index)).chain([entry(6, 15)]).collect();
    assert_eq!(all(&log), expected);
    assert_eq!(log.read(7, 9, u64::MAX).unwrap(), expected[7..9]);
    drop(log);
    assert_eq!(all(&open()), expected);
}

#[test]
fn a_log_opens_although_its_first_entry_fell_out_of_memory() {
    // The same truncation, and then everything before the last segment is purged: the first entry
    // at hand is one that `raft-log` drops from memory and cannot read from the open segment.
    let dir = tempfile::tempdir().unwrap();
    let settings = LogSettings { cache_bytes: 512, segment_bytes: 2048 };
    let open = || DiskLog::open(dir.path(), settings, Arc::new(|_, _| ())).unwrap();
    let log = open();
    append(&log, (0..5).map(|index| entry(4, index)).collect());
    append(&log, (5..30).map(|index| entry(5, index)).collect());
    log.truncate(5).unwrap();
    // In the segment that is open then.
    let full = segments(dir.path()).len();
    let expected: Vec<Entry> = (5..15).map(|index| entry(4, index)).collect();
    for entry in &expected {
        append(&log, vec![entry.clone()]);
    }
    assert_eq!(segments(dir.path()).len(), full, "they are in the last segment");
    log.purge(id(4, 5)).unwrap();
    drop(log);
    let log = open();
    assert_eq!(log.extent().purged, Some(id(4, 5)));
    assert_eq!(all(&log), expected[1..]);
}

/// Both logs, by the same promises.
fn both(test: impl Fn(&dyn Log)) {
    let dir = tempfile::tempdir().unwrap();
    test(&open(dir.path()).unwrap());
    test(&MemoryLog::default());
}

#[test]
fn r19_a_log_that_ends_below_the_machine_is_moved_up() {
    both(|log| {
        append(log, (0..3).map(|index| entry(1, index)).collect());
        move_up(log, id(2, 9)).unwrap();
        assert_eq!(log.extent().last, Some(id(2, 9)));
        assert_eq!(log.extent().purged, Some(id(2, 9)));
        assert!(all(log).is_empty());
        append(log, vec![entry(2, 10)]);
        assert_eq!(all(log), [entry(2, 10)]);
    });
}

#[test]
fn r19_a_log_that_contradicts_the_machine_gives_way_and_one_that_agrees_stays() {
    both(|log| {
        append(log, (0..6).map(|index| entry(1, index)).collect());
        move_up(log, id(1, 3)).unwrap();
        assert_eq!(all(log).len(), 6, "it agrees");
        move_up(log, id(2, 3)).unwrap();
        assert_eq!(log.extent().last, Some(id(2, 3)), "entries 3 to 5 were never committed");
        assert!(all(log).is_empty());
        move_up(log, id(1, 2)).unwrap();
        assert_eq!(log.extent().last, Some(id(2, 3)), "it is above that already");
    });
}

#[test]
fn r19_a_log_that_was_moved_up_stays_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    append(&log, (0..6).map(|index| entry(1, index)).collect());
    move_up(&log, id(3, 4)).unwrap();
    drop(log);
    let log = open(dir.path()).unwrap();
    assert_eq!(log.extent().purged, Some(id(3, 4)));
    append(&log, vec![entry(3, 5)]);
    drop(log);
    assert_eq!(all(&open(dir.path()).unwrap()), [entry(3, 5)]);
}

#[test]
fn writes_that_break_the_order_are_refused() {
    both(|log| {
        append(log, (0..3).map(|index| entry(2, index)).collect());
        wait(|done| log.save_vote(Vote { term: 3, node: 1, committed: false }, done));
        log.save_committed(id(2, 1)).unwrap();
        let refused = |result: io::Result<()>| assert!(result.is_err());
        refused(log.append(vec![entry(2, 4)], Box::new(|_| ())));
        refused(log.append(vec![entry(1, 3)], Box::new(|_| ())));
        refused(log.save_vote(Vote { term: 2, node: 9, committed: true }, Box::new(|_| ())));
        refused(log.truncate(1));
        assert_eq!(log.extent().last, Some(id(2, 2)));
        assert_eq!(all(log).len(), 3);
    });
}

#[test]
fn a_crash_forgets_exactly_what_was_not_synced() {
    let log = MemoryLog::new(Syncing::OnDemand);
    let (sent, received) = mpsc::channel();
    let done = |name: &'static str| -> Done {
        let sent = sent.clone();
        Box::new(move |_| sent.send(name).unwrap())
    };
    log.append(vec![entry(1, 0)], done("first")).unwrap();
    assert_eq!(log.sync(), 1);
    log.append(vec![entry(1, 1)], done("second")).unwrap();
    log.save_vote(Vote { term: 5, node: 1, committed: false }, done("vote")).unwrap();
    assert_eq!(all(&log).len(), 2, "readable before it is durable");
    log.crash();
    assert_eq!(all(&log), [entry(1, 0)]);
    assert_eq!(log.extent().vote, None);
    assert_eq!(log.sync(), 0);
    assert_eq!(received.try_iter().collect::<Vec<_>>(), ["first"]);
}

#[test]
fn a_lying_disk_answers_and_forgets() {
    let log = MemoryLog::new(Syncing::Lying);
    append(&log, vec![entry(1, 0)]);
    log.crash();
    assert!(all(&log).is_empty());
}

/// What a node does to its log.
#[derive(Debug, Clone)]
enum Op {
    Append { count: u64, new_term: bool },
    Truncate { back: u64 },
    Purge { forward: u64 },
    Commit { back: u64 },
    Vote { new_term: bool, committed: bool },
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1..6u64, any::<bool>()).prop_map(|(count, new_term)| Op::Append { count, new_term }),
        1 => (0..8u64).prop_map(|back| Op::Truncate { back }),
        1 => (0..12u64).prop_map(|forward| Op::Purge { forward }),
        2 => (0..6u64).prop_map(|back| Op::Commit { back }),
        1 => any::<(bool, bool)>().prop_map(|(new_term, committed)| Op::Vote { new_term, committed }),
        1 => Just(Op::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The log of the simulation and the log on disk are one log, also over restarts and from
    /// segment to segment.
    #[test]
    fn both_logs_do_the_same(ops in prop::collection::vec(op(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let settings = LogSettings { cache_bytes: 1024, segment_bytes: 2048 };
        let open = || DiskLog::open(dir.path(), settings, Arc::new(|_, _| ())).unwrap();
        let mut disk = open();
        let memory = MemoryLog::default();
        let mut term = 1;
        for op in ops {
            let extent = memory.extent();
            let next = extent.last.map_or(0, |last| last.index + 1);
            let at = |index: u64| memory.read(index, index + 1, u64::MAX).unwrap().first().map(|e| e.id);
            let both: [&dyn Log; 2] = [&disk, &memory];
            match op {
                Op::Append { count, new_term } => {
                    term += u64::from(new_term);
                    let entries: Vec<Entry> = (next..next + count).map(|index| entry(term, index)).collect();
                    both.iter().for_each(|log| append(*log, entries.clone()));
                }
                Op::Truncate { back } => {
                    // As Raft does: never what is committed or purged.
                    let floor = extent.committed.max(extent.purged).map_or(0, |id| id.index + 1);
                    let index = next.saturating_sub(back).max(floor);
                    both.iter().for_each(|log| log.truncate(index).unwrap());
                }
                Op::Purge { forward } => {
                    let index = extent.purged.map_or(0, |id| id.index) + forward;
                    let upto = at(index).unwrap_or_else(|| id(term, index.max(next)));
                    both.iter().for_each(|log| log.purge(upto).unwrap());
                }
                Op::Commit { back } => {
                    if let Some(committed) = at(next.saturating_sub(back + 1)) {
                        both.iter().for_each(|log| log.save_committed(committed).unwrap());
                    }
                }
                Op::Vote { new_term, committed } => {
                    term += u64::from(new_term);
                    let vote = Vote { term, node: 2, committed };
                    let accepted = both.map(|log| {
                        let (sent, received) = mpsc::channel();
                        let done: Done = Box::new(move |result| sent.send(result).unwrap());
                        log.save_vote(vote, done).map(|()| received.recv().unwrap().unwrap()).is_ok()
                    });
                    prop_assert_eq!(accepted[0], accepted[1]);
                }
                Op::Reopen => {
                    drop(disk);
                    disk = open();
                }
            }
            prop_assert_eq!(disk.extent(), memory.extent());
            prop_assert_eq!(all(&disk), all(&memory));
        }
    }
}
