//! The log of leases: a file that gets one JSON object a line for each event of a lease, made from the
//! history, so that every node writes the same lines.
//!
//! A thread of its own follows the history and appends. Nothing waits for it. While the file cannot be
//! written it tries again every second from the same position: what the history has by then is not lost, and
//! what it does not have any more is told by a line of kind `gap`. How far it has come is noted in the data
//! directory; after a crash the last line of the file counts as well, so that no line is written twice.

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
use crate::state::Position;

/// Events that are written at once.
const BATCH: usize = 1_024;
/// Between two looks for events.
const LOOK: Duration = Duration::from_millis(250);
/// Between two tries when the file cannot be written.
const RETRY: Duration = Duration::from_secs(1);
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
        let noted = begin(&files);
        let mut writer = Writer {
            shared: shared.clone(),
            position: noted.unwrap_or_else(|| history.end()),
            follows: noted.is_some(),
            history,
            files,
            noted: None,
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

/// Where to go on: behind what the note says, and behind the last line.
fn begin(files: &LeaseLogFiles) -> Option<Position> {
    let note = std::fs::read_to_string(&files.note).ok()?;
    let (cluster, position) = note.trim().split_once(' ')?;
    if cluster != format!("{:016x}", files.cluster) {
        return None;
    }
    let noted: Position = position.parse().ok()?;
    let last = last_line(&files.log).ok().flatten();
    let behind = last.and_then(|line| {
        let line: Value = serde_json::from_str(&line).ok()?;
        // Behind a gap it goes on where that ends.
        match line["to"].as_str() {
            Some(to) => to.parse().ok(),
            None => line["position"].as_str()?.parse().ok().map(Position::next),
        }
    });
    Some(behind.map_or(noted, |behind| noted.max(behind)))
}

fn last_line(path: &Path) -> io::Result<Option<String>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LINE)))?;
    let mut end = Vec::new();
    file.take(LINE).read_to_end(&mut end)?;
    let end = String::from_utf8_lossy(&end).into_owned();
    Ok(end.lines().next_back().map(str::to_owned))
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
    file: Option<File>,
}

impl Writer {
    fn run(&mut self) {
        loop {
            let stop = {
                let mut told = self.shared.told.lock();
                let pause = if told.failing.is_some() { RETRY } else { LOOK };
                if !told.stop {
                    self.shared.wake.wait_for(&mut told, pause);
                }
                if std::mem::take(&mut told.reopen) {
                    self.file = None;
                }
                told.stop
            };
            let written = self.follow();
            self.tell(&written);
            if stop {
                return;
            }
        }
    }

    /// Writes everything there is by now.
    fn follow(&mut self) -> io::Result<()> {
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
                return self.note();
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

    /// Notes where to go on. Torn or lost it costs nothing but a look at the last line.
    fn note(&mut self) -> io::Result<()> {
        if self.noted == Some(self.position) {
            return Ok(());
        }
        let draft = self.files.note.with_extension("new");
        std::fs::write(&draft, format!("{:016x} {}\n", self.files.cluster, self.position))?;
        std::fs::rename(&draft, &self.files.note)?;
        self.noted = Some(self.position);
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
