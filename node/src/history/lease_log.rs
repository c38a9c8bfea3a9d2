//! The log of leases: a file that gets one JSON object a line for each event of a lease, made from the
//! history, so that every node writes the same lines.
//!
//! A thread of its own follows the history and appends. Nothing waits for it. While the file cannot be
//! written it tries again every second from the same position: what the history has by then is not lost, and
//! what it does not have any more is told by a line of kind `gap`. After a crash it goes on behind the last
//! whole line of the file. How far it has come is also noted in the data directory, after the lines have been
//! synced, for a file that was renamed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};

use super::reader::{Chunk, Gone, NotRead};
use super::{History, Record};
use crate::clock::Stopwatch;
use crate::state::Position;
use crate::storage::Draft;

/// Events that are written at once.
const BATCH: usize = 1_024;
/// Between two looks for events.
const LOOK: Duration = Duration::from_millis(250);
/// Between two tries when the file cannot be written.
const RETRY: Duration = Duration::from_secs(1);
/// Between two notes of how far it has come.
const NOTE: Duration = Duration::from_secs(5);
/// More than any line has.
const LINE: u64 = 64 << 10;

/// The running log.
#[derive(Debug)]
pub struct LeaseLog {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    told: Mutex<Told>,
    wake: Condvar,
}

/// What the thread is told, and what it tells.
#[derive(Debug, Default)]
struct Told {
    reopen: bool,
    stop: bool,
    failing: Option<String>,
}

/// Where the log goes, and where its position is noted.
#[derive(Debug, Clone)]
pub struct LeaseLogFiles {
    /// The log.
    pub log: PathBuf,
    /// The note, in the data directory.
    pub note: PathBuf,
    /// The cluster, whose positions these are.
    pub cluster: u64,
}

impl LeaseLog {
    /// Starts the thread. Without a note, on a new node or when the log has just been switched on, it begins
    /// with what happens from now on.
    ///
    /// # Errors
    /// When the system has no thread to give. What is the matter with the file is told by
    /// [`LeaseLog::failing`].
    pub fn start(history: Arc<History>, files: LeaseLogFiles) -> io::Result<LeaseLog> {
        let shared = Arc::new(Shared { told: Mutex::default(), wake: Condvar::new() });
        let noted = begin(&files).unwrap_or_else(|error| {
            // Lines may be missing then, which the log of this program says, since the file cannot.
            tracing::error!(file = %files.log.display(), %error, "where the log of leases ended cannot be read; it goes on from now");
            None
        });
        let mut writer = Writer {
            shared: shared.clone(),
            position: noted.unwrap_or_else(|| history.end()),
            follows: noted.is_some(),
            history,
            files,
            noted,
            noted_at: Stopwatch::start(),
            file: None,
        };
        let thread =
            std::thread::Builder::new().name("lease-log".into()).spawn(move || writer.run())?;
        Ok(LeaseLog { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Opens the file anew with the next line: it may have been renamed.
    pub fn reopen(&self) {
        self.shared.told.lock().reopen = true;
        self.shared.wake.notify_one();
    }

    /// Why lines cannot be written just now.
    pub fn failing(&self) -> Option<String> {
        self.shared.told.lock().failing.clone()
    }

    /// Writes what there is and ends. Blocks until then, which a hanging disk may make long.
    pub fn stop(&self) {
        self.shared.told.lock().stop = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the lease log had panicked");
        }
    }
}

impl Drop for LeaseLog {
    fn drop(&mut self) {
        self.shared.told.lock().stop = true;
        self.shared.wake.notify_one();
    }
}

/// Where to go on: behind the last whole line, for only that is known to be there; without one, where the
/// note says. `None` without a note, or with one of another cluster.
fn begin(files: &LeaseLogFiles) -> io::Result<Option<Position>> {
    let note = match std::fs::read_to_string(&files.note) {
        Ok(note) => note,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let noted = note.trim().split_once(' ');
    if noted.is_some_and(|(cluster, _)| cluster != format!("{:016x}", files.cluster)) {
        return Ok(None);
    }
    let line = last_line(&files.log)?.and_then(|line| {
        let line: Value = serde_json::from_str(&line).ok()?;
        // Behind a gap it goes on where that ends.
        match line["to"].as_str() {
            Some(to) => to.parse().ok(),
            None => line["position"].as_str()?.parse().ok().map(Position::next),
        }
    });
    Ok(line.or_else(|| noted?.1.parse().ok()))
}

/// The last whole line of the log, if it has one. What stands behind it was begun before a crash: it is cut
/// off, and written again.
fn last_line(path: &Path) -> io::Result<Option<String>> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let from = length.saturating_sub(LINE);
    file.seek(SeekFrom::Start(from))?;
    let mut end = Vec::new();
    (&mut file).take(LINE).read_to_end(&mut end)?;
    let whole = end.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    // Without any line end in so much it is not ours to cut.
    if whole < end.len() && (whole > 0 || from == 0) {
        file.set_len(from + whole as u64)?;
    }
    end.truncate(whole);
    Ok(String::from_utf8_lossy(&end).lines().next_back().map(str::to_owned))
}

struct Writer {
    shared: Arc<Shared>,
    history: Arc<History>,
    files: LeaseLogFiles,
    /// The next event.
    position: Position,
    /// Whether lines were written, or a position noted, before: then what is missing is missed.
    follows: bool,
    noted: Option<Position>,
    noted_at: Stopwatch,
    file: Option<File>,
}

impl Writer {
    fn run(&mut self) {
        loop {
            let mut reopen = false;
            let stop = {
                let mut told = self.shared.told.lock();
                let pause = if told.failing.is_some() { RETRY } else { LOOK };
                if !told.stop {
                    self.shared.wake.wait_for(&mut told, pause);
                }
                if std::mem::take(&mut told.reopen) {
                    reopen = true;
                }
                told.stop
            };
            if reopen && let Some(file) = self.file.take() {
                // Best effort: nobody asks this file any more.
                let _ = file.sync_data();
            }
            let written = self.follow(stop);
            self.tell(&written);
            if stop {
                return;
            }
        }
    }

    /// Writes everything there is by now; `last`: for the last time.
    fn follow(&mut self, last: bool) -> io::Result<()> {
        // At once, so that the file is there to be looked at, and mistakes in its name are told.
        self.open()?;
        loop {
            let before = self.position;
            let read = match self.history.recent(before, BATCH) {
                Some(chunk) => Ok(chunk),
                None => self.history.after(before, BATCH),
            };
            let (text, next) = match read {
                Ok(Chunk { records, next }) => {
                    let leases = records.iter().filter(|record| record.holding().is_some());
                    (leases.map(line).collect::<String>(), next)
                }
                Err(NotRead::Gone(Gone { first })) if first > before => {
                    let gap = json!({ "from": before.to_string(), "kind": "gap", "to": first.to_string() });
                    (if self.follows { format!("{gap}\n") } else { String::new() }, first)
                }
                Err(NotRead::Gone(_)) => (String::new(), before),
                Err(NotRead::Io(error)) => return Err(error),
            };
            self.append(text.as_bytes())?;
            self.follows |= next > before;
            self.position = next;
            if next == before {
                return self.note(last);
            }
        }
    }

    fn open(&mut self) -> io::Result<&mut File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                OpenOptions::new().append(true).create(true).mode(0o640).open(&self.files.log)?
            }
        };
        Ok(self.file.insert(file))
    }

    /// Appends whole lines or nothing.
    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let file = self.open()?;
        let length = file.metadata()?.len();
        let written = file.write_all(text);
        if written.is_err() {
            // The rest of a line would be taken for one.
            let _ = file.set_len(length);
        }
        written
    }

    /// Notes where to go on, once the lines before are on disk.
    fn note(&mut self, last: bool) -> io::Result<()> {
        let is_due = last || self.noted.is_none() || self.noted_at.elapsed() >= NOTE;
        if !is_due || self.noted == Some(self.position) {
            return Ok(());
        }
        if let Some(file) = &self.file {
            file.sync_data()?;
        }
        let mut draft = Draft::begin(&self.files.note, 0o600)?;
        draft
            .file()?
            .write_all(format!("{:016x} {}\n", self.files.cluster, self.position).as_bytes())?;
        draft.publish()?;
        self.noted = Some(self.position);
        self.noted_at = Stopwatch::start();
        Ok(())
    }

    fn tell(&mut self, written: &io::Result<()>) {
        let mut told = self.shared.told.lock();
        let (file, was_failing) = (self.files.log.display(), told.failing.is_some());
        match written {
            Ok(()) if was_failing => {
                told.failing = None;
                tracing::info!(%file, "the log of leases is written again");
            }
            Ok(()) => {}
            Err(error) => {
                told.failing = Some(format!("{file}: {error}"));
                // A file that was replaced or a disk that came back is found again so.
                self.file = None;
                if !was_failing {
                    tracing::error!(%file, %error, "the log of leases cannot be written; it is tried every second");
                }
            }
        }
    }
}

fn line(record: &Record) -> String {
    format!("{}\n", record.json())
}
