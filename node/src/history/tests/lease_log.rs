//! The log of leases: the same lines on every node, once each, whatever happens to its file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{CLUSTER, Source};
use crate::clock::Stopwatch;
use crate::history::{Ending, History, LeaseLog, LeaseLogFiles, Limits};

/// A node with a history, and maybe a log.
struct Node {
    dir: tempfile::TempDir,
    history: Arc<History>,
    told: usize,
}

impl Node {
    fn new() -> Node {
        let dir = tempfile::tempdir().unwrap();
        let history = open(dir.path());
        Node { dir, history, told: 0 }
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("leases.json")
    }

    fn start(&self) -> LeaseLog {
        let note = self.dir.path().join("lease-log");
        let files = LeaseLogFiles { log: self.log(), note, cluster: CLUSTER };
        LeaseLog::start(self.history.clone(), files).unwrap()
    }

    /// Records what the source has told since.
    fn follow(&mut self, source: &Source) {
        for told in &source.log[self.told..] {
            self.history.record(told.index, told.at, told.wall, &mut told.events.clone());
        }
        self.told = source.log.len();
    }

    /// Ends the history and begins anew.
    fn restart(&mut self) {
        self.history.stop(Ending::Orderly);
        self.history = open(self.dir.path());
    }
}

fn open(dir: &Path) -> Arc<History> {
    let limits = Limits::new(Duration::from_secs(86_400), 1 << 30);
    History::open(&dir.join("history"), CLUSTER, limits, None).unwrap()
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Waits until it is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let waited = Stopwatch::start();
    while !is_so() {
        assert!(waited.elapsed() < Duration::from_secs(30), "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The lines that the source's events come to.
fn expected(source: &Source, from: usize) -> Vec<String> {
    let events = source.log[from..].iter().flat_map(|told| &told.events);
    let records = events.map(crate::history::Record::of);
    records.filter(|it| it.holding().is_some()).map(|it| it.json().to_string()).collect()
}

#[test]
fn nodes_write_the_same_lines_and_a_restart_loses_and_repeats_none() {
    let mut source = Source::new();
    let mut nodes = [Node::new(), Node::new()];
    let mut logs: Vec<LeaseLog> = nodes.iter().map(Node::start).collect();
    for round in 0..3 {
        source.live(round + 1, 60);
        for node in &mut nodes {
            node.follow(&source);
        }
        // One of them is stopped in good order and finds more when it comes back.
        logs.remove(0).stop();
        source.live(round + 70, 20);
        nodes.iter_mut().for_each(|node| node.follow(&source));
        nodes[0].restart();
        logs.insert(0, nodes[0].start());
    }
    let all = expected(&source, 0);
    assert!(all.len() > 100);
    for node in &nodes {
        until("all lines", || lines(&node.log()).len() >= all.len());
        assert_eq!(lines(&node.log()), all);
    }
    let line: Value = serde_json::from_str(&all[0]).unwrap();
    assert!(line["ip-address"].is_string() && line["position"].is_string(), "{line}");
}

#[test]
fn a_crash_between_line_and_note_repeats_no_line() {
    let mut source = Source::new();
    let mut node = Node::new();
    let log = node.start();
    source.live(5, 30);
    node.follow(&source);
    log.stop();
    let note = node.dir.path().join("lease-log");
    let written = lines(&node.log());
    assert!(!written.is_empty());
    // The note is that of an earlier moment.
    fs::write(&note, format!("{CLUSTER:016x} 0.0\n")).unwrap();
    let log = node.start();
    log.stop();
    assert_eq!(lines(&node.log()), written);
    // Without a note it begins with what happens from now on, however old the file is.
    fs::remove_file(&note).unwrap();
    let log = node.start();
    let before = source.log.len();
    source.live(6, 30);
    node.follow(&source);
    log.stop();
    assert_eq!(lines(&node.log()), [written, expected(&source, before)].concat());
}

#[test]
fn lines_that_a_crash_has_cut_off_are_written_again_and_a_half_line_spoils_no_other() {
    let mut source = Source::new();
    let mut node = Node::new();
    let log = node.start();
    source.live(5, 30);
    node.follow(&source);
    log.stop();
    let all = fs::read_to_string(node.log()).unwrap();
    let note = node.dir.path().join("lease-log");
    let end = all.len();
    let two_back = all[..end - 1].rfind('\n').and_then(|at| all[..at].rfind('\n')).unwrap() + 1;
    // The note was on disk before the lines were; whole lines are gone, or half of one, or the note is empty.
    for (left, noted) in [(two_back, true), (end - 40, true), (two_back + 7, false), (0, true)] {
        let is_whole = left != 0;
        fs::write(node.log(), &all[..left]).unwrap();
        let kept = fs::read(&note).unwrap();
        if !noted {
            fs::write(&note, "").unwrap();
        }
        let log = node.start();
        log.stop();
        let expected = if is_whole { all.as_str() } else { "" };
        assert_eq!(fs::read_to_string(node.log()).unwrap(), expected, "cut at {left} of {end}");
        fs::write(&note, kept).unwrap();
    }
}

#[test]
fn a_file_that_is_renamed_is_left_alone_after_reopening() {
    let mut source = Source::new();
    let mut node = Node::new();
    let log = node.start();
    source.live(7, 30);
    node.follow(&source);
    let first = expected(&source, 0);
    until("the first lines", || lines(&node.log()).len() == first.len());
    let old = node.dir.path().join("leases.json.1");
    fs::rename(node.log(), &old).unwrap();
    log.reopen();
    until("the new file", || node.log().exists());
    let before = source.log.len();
    source.live(8, 30);
    node.follow(&source);
    log.stop();
    assert_eq!(lines(&old), first);
    assert_eq!(lines(&node.log()), expected(&source, before));
}

#[test]
fn a_file_that_cannot_be_written_is_told_and_lines_follow_when_it_can() {
    let mut source = Source::new();
    let mut node = Node::new();
    // A directory in its place.
    fs::create_dir(node.log()).unwrap();
    let log = node.start();
    source.live(9, 30);
    node.follow(&source);
    until("it is told", || log.failing().is_some());
    assert!(log.failing().unwrap().contains("leases.json"), "{:?}", log.failing());
    fs::remove_dir(node.log()).unwrap();
    until("it is over", || log.failing().is_none());
    log.stop();
    assert_eq!(lines(&node.log()), expected(&source, 0));
}

#[test]
fn what_the_history_does_not_have_is_told_as_a_gap() {
    let mut source = Source::new();
    let mut node = Node::new();
    source.live(10, 30);
    node.follow(&source);
    let log = node.start();
    log.stop();
    // A snapshot was taken over: entries are missing.
    let missed = source.log.len();
    source.live(11, 10);
    let index = source.log.last().unwrap().index;
    node.history.pass_over(index);
    node.told = source.log.len();
    let from = source.log[missed].index;
    source.live(12, 30);
    let log = node.start();
    node.follow(&source);
    until("lines", || lines(&node.log()).len() > 1);
    log.stop();
    let written = lines(&node.log());
    let gap: Value = serde_json::from_str(&written[0]).unwrap();
    assert_eq!(gap["kind"], "gap", "{gap}");
    assert_eq!(gap["from"], format!("{from}.0"));
    assert_eq!(gap["to"], format!("{}.0", index + 1));
    assert_eq!(written[1..], expected(&source, node.told - 30));
}
