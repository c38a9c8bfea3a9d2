//! The queue between `apply` and the files, and the thread that empties it.
//!
//! The thread writes when enough has come, when some seconds have passed, or when somebody wants it
//! durable. It syncs only then: what a crash takes is in the log of Raft. Stopping it anywhere is
//! safe for the same reason.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::watch;

use super::codec::{Encoder, Head};
use super::store::{Blocks, Limits, Store, show};
use super::{History, Shared};
use crate::clock::instant;
use crate::state::{Event, Position, WallOffset};
use crate::types::ClusterTime;

/// Events that wait to be written, at most: about 20 MiB with their leases. A disk that stands still
/// for longer than this lasts costs history, and nothing else.
const WAITING: usize = 65_536;
/// Events kept in memory for readers that follow, written or not.
const RECENT: usize = 8_192;
/// So many waiting events are written at once.
const BATCH: usize = 2_048;
/// Fewer wait so long.
const PAUSE: Duration = Duration::from_secs(5);
/// Between two tries when the disk refuses.
const RETRY: Duration = Duration::from_secs(1);
/// A block ends behind so many bytes of payload.
const BLOCK: usize = 64 << 10;

/// How the thread ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Writes what waits.
    Orderly,
    /// Writes nothing more, as when the power goes.
    Abrupt,
}

/// What waits, and what followers may want to see once more.
#[derive(Debug)]
pub(super) struct Queue {
    /// The newest events; the last `waiting` of them are in no file yet.
    pub recent: VecDeque<Event>,
    pub waiting: usize,
    /// Entries from here on have all their events in `recent` or none at all.
    pub recent_from: u64,
    /// Entries that wait to be written, ascending, with the stamp and offset of the last of each.
    runs: VecDeque<Run>,
    /// The last entry that is in a file or waits; `None` before the first.
    pub covered: Option<u64>,
    /// Entries up to here came with a snapshot and will never be recorded.
    passed: Option<u64>,
    /// Entries that are being lost.
    losing: Option<(u64, u64)>,
    /// Somebody wants this entry durable.
    wanted: Option<u64>,
    durable: Option<u64>,
    ending: Option<Ending>,
    failing: bool,
    /// Nothing is written for now.
    resting: bool,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    from: u64,
    to: u64,
    at: ClusterTime,
    wall: WallOffset,
}

impl Queue {
    fn new(covered: Option<u64>) -> Queue {
        Queue {
            recent: VecDeque::new(),
            waiting: 0,
            recent_from: covered.map_or(0, |covered| covered + 1),
            runs: VecDeque::new(),
            covered,
            passed: None,
            losing: None,
            wanted: None,
            durable: covered,
            ending: None,
            failing: false,
            resting: false,
        }
    }

    /// Takes the events of an entry in. Answers whether the writer should look.
    fn record(
        &mut self,
        index: u64,
        at: ClusterTime,
        wall: WallOffset,
        events: &mut Vec<Event>,
    ) -> bool {
        if self.covered.is_some_and(|covered| index <= covered) {
            events.clear();
            return false;
        }
        if !self.admits(index, events.len()) {
            events.clear();
            return true;
        }
        match self.runs.back_mut() {
            Some(run) if run.to + 1 == index => (run.to, run.at, run.wall) = (index, at, wall),
            _ => self.runs.push_back(Run { from: index, to: index, at, wall }),
        }
        if self.covered.is_some_and(|covered| covered + 1 != index) {
            // Behind a gap nothing before it is followed on.
            self.recent_from = index;
        } else if self.covered.is_none() {
            self.recent_from = index;
        }
        self.covered = Some(index);
        self.waiting += events.len();
        self.recent.extend(events.drain(..));
        self.forget();
        self.waiting >= BATCH
    }

    /// Whether the writer was told to end.
    pub fn has_ended(&self) -> bool {
        self.ending.is_some()
    }

    /// The entries that wait, with or without events.
    pub fn waiting_runs(&self) -> Vec<(u64, u64)> {
        self.runs.iter().map(|run| (run.from, run.to)).collect()
    }

    /// Whether there is room. Once there was none, the queue must be empty before there is again:
    /// one gap is better than many.
    fn admits(&mut self, index: u64, events: usize) -> bool {
        let room = match self.losing {
            None => self.waiting + events <= WAITING || self.waiting == 0,
            Some(_) => self.waiting == 0,
        };
        match (&mut self.losing, room) {
            (None, true) => {}
            (Some((from, to)), true) => {
                let (from, to) = (*from, *to);
                self.losing = None;
                tracing::error!(
                    "the lease history of entries {from} to {to} is lost: the disk could not keep up"
                );
            }
            (None, false) => {
                self.losing = Some((index, index));
                tracing::error!(
                    index,
                    "lease history is being lost: {WAITING} events wait and the disk does not take them"
                );
            }
            (Some((_, to)), false) => *to = index,
        }
        room
    }

    /// Lets go of written events that nobody needs.
    fn forget(&mut self) {
        while self.recent.len() > self.waiting.max(RECENT) {
            if let Some(event) = self.recent.pop_front() {
                // The rest of its entry must not be mistaken for the whole.
                self.recent_from = self.recent_from.max(event.position.index + 1);
            }
        }
    }

    fn is_due(&self, since: Duration) -> bool {
        if self.resting && self.ending.is_none() {
            return false;
        }
        let wanted = self.wanted > self.durable && self.covered > self.durable;
        let old = since >= PAUSE && !self.runs.is_empty() && self.waiting > 0;
        self.waiting >= BATCH || wanted || old || self.ending.is_some()
    }
}

impl History {
    /// Opens the history in `dir` and starts its writer. `base` is the entry that this node starts
    /// from: what follows it will be recorded again.
    ///
    /// # Errors
    /// The system's. Damage is none.
    pub fn open(
        dir: &Path,
        cluster: u64,
        limits: Limits,
        base: Option<u64>,
    ) -> io::Result<Arc<History>> {
        let store = Store::open(dir, cluster, limits)?;
        let runs = store.runs();
        let covered = runs.last().map(|run| run.1);
        if covered < base {
            let missing = (covered.map_or(0, |covered| covered + 1), base.unwrap_or(0));
            tracing::warn!("this node has no lease history of entries {}", show(&[missing]));
        }
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::new(covered)),
            wake: Condvar::new(),
            done: Condvar::new(),
            store: RwLock::new(store),
            end: watch::channel(Position::at(covered.map_or(0, |covered| covered + 1))).0,
        });
        let writer = Writer { shared: shared.clone() };
        let thread =
            std::thread::Builder::new().name("history".into()).spawn(move || writer.run())?;
        Ok(Arc::new(History { shared, thread: Mutex::new(Some(thread)) }))
    }

    /// Takes over what entry `index`, stamped `at`, brought about; `events` is empty afterwards and
    /// keeps its room. Entries come in order, each of them, also those without events. Never waits for
    /// the disk.
    pub fn record(&self, index: u64, at: ClusterTime, wall: WallOffset, events: &mut Vec<Event>) {
        let told = !events.is_empty();
        let due = self.shared.queue.lock().record(index, at, wall, events);
        if due {
            self.shared.wake.notify_one();
        }
        if told {
            self.shared.end.send_replace(Position::at(index.saturating_add(1)));
        }
    }

    /// The machine was replaced by one at entry `index`: what lies between is a gap of this node.
    pub fn pass_over(&self, index: u64) {
        let mut queue = self.shared.queue.lock();
        queue.passed = queue.passed.max(Some(index));
        if queue.covered < Some(index) {
            let from = queue.covered.map_or(0, |covered| covered + 1);
            tracing::warn!(
                "a snapshot of the leader was taken over: this node has no lease history of entries {from} to {index}"
            );
        }
    }

    /// Nothing is written while it rests, as when the disk is filling up: the room is for the log. What
    /// happens then waits in memory, and is lost when that is full.
    pub fn rest(&self, resting: bool) {
        let mut queue = self.shared.queue.lock();
        if queue.resting != resting {
            queue.resting = resting;
            drop(queue);
            self.shared.wake.notify_one();
        }
    }

    /// Makes the history durable up to entry `index`, which has been recorded or is about to be.
    /// Answers whether it is within `within`; if not, a crash may leave a gap, which will be told.
    pub fn settle(&self, index: u64, within: Duration) -> bool {
        let deadline = instant() + within;
        let mut queue = self.shared.queue.lock();
        let index = match queue.passed {
            Some(passed) if index <= passed => queue.covered.min(Some(index)),
            _ => Some(index),
        };
        queue.wanted = queue.wanted.max(index);
        while queue.durable < index {
            self.shared.wake.notify_one();
            // What is just being applied has not been recorded yet.
            let soon = (instant() + Duration::from_millis(20)).min(deadline);
            let timed_out = self.shared.done.wait_until(&mut queue, soon).timed_out();
            if queue.ending.is_some() || queue.resting || timed_out && instant() >= deadline {
                return queue.durable >= index;
            }
        }
        true
    }

    /// Ends the writer. Blocks until it has ended.
    pub fn stop(&self, ending: Ending) {
        self.shared.queue.lock().ending = Some(ending);
        self.shared.wake.notify_one();
        // Whoever follows looks and ends.
        self.shared.end.send_modify(|_| {});
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the history's thread had panicked");
        }
    }
}

impl History {
    /// Events that wait to be written, and whether writing fails.
    pub fn backlog(&self) -> (usize, bool) {
        let queue = self.shared.queue.lock();
        (queue.waiting, queue.failing)
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.shared.store.read().size()
    }
}

impl Drop for History {
    fn drop(&mut self) {
        // Whoever did not stop it wanted no more of it.
        self.shared.queue.lock().ending.get_or_insert(Ending::Abrupt);
        self.shared.wake.notify_one();
    }
}

struct Writer {
    shared: Arc<Shared>,
}

/// What the writer has taken from the queue.
struct Taken {
    events: Vec<Event>,
    runs: Vec<Run>,
    sync: bool,
}

impl Writer {
    fn run(self) {
        let mut last = instant();
        loop {
            let (taken, ending) = {
                let mut queue = self.shared.queue.lock();
                while !queue.is_due(last.elapsed()) {
                    self.shared.wake.wait_for(&mut queue, Duration::from_secs(1));
                }
                (take(&queue), queue.ending)
            };
            if ending == Some(Ending::Abrupt) {
                return;
            }
            last = instant();
            let written = self.write(&taken);
            let failed = written.is_err();
            self.account(&taken, written);
            if ending.is_some() {
                return;
            }
            if failed {
                let mut queue = self.shared.queue.lock();
                if queue.ending.is_none() {
                    self.shared.wake.wait_for(&mut queue, RETRY);
                }
                let until = last + RETRY;
                // A full queue must not make us try faster.
                while queue.ending.is_none() && instant() < until {
                    self.shared.wake.wait_until(&mut queue, until);
                }
            }
        }
    }

    /// Answers how many events and up to which entry are in files, and whether durably.
    fn write(&self, taken: &Taken) -> io::Result<()> {
        let mut rest = &taken.events[..];
        for run in &taken.runs {
            let count = rest.partition_point(|event| event.position.index <= run.to);
            let (events, later) = rest.split_at(count);
            rest = later;
            let blocks = frame(run, events);
            self.shared.store.write().append(&blocks, events)?;
        }
        if taken.sync {
            // Without the lock: readers need not wait for the disk.
            let file = self.shared.store.read().file()?;
            if let Some(file) = file {
                file.sync_data()?;
            }
        }
        if let Some(run) = taken.runs.last() {
            self.shared.store.write().retire(run.at);
        }
        Ok(())
    }

    fn account(&self, taken: &Taken, written: io::Result<()>) {
        let covered = self.shared.store.read().runs().last().map(|run| run.1);
        let mut queue = self.shared.queue.lock();
        match &written {
            Ok(()) if queue.failing => {
                queue.failing = false;
                tracing::info!("the lease history is written again");
            }
            Err(error) if !queue.failing => {
                queue.failing = true;
                tracing::error!(
                    %error,
                    "the lease history cannot be written; the node goes on, and tries again every second"
                );
            }
            _ => {}
        }
        // What was appended before an error stays.
        let Some(covered) = covered else { return };
        let before = queue.recent.len() - queue.waiting;
        let now = queue.recent.partition_point(|event| event.position.index <= covered);
        queue.waiting -= now.saturating_sub(before).min(queue.waiting);
        while let Some(run) = queue.runs.front_mut() {
            if run.to <= covered {
                queue.runs.pop_front();
                continue;
            }
            run.from = run.from.max(covered + 1);
            break;
        }
        if written.is_ok() && taken.sync {
            queue.durable =
                queue.durable.max(taken.runs.last().map(|run| run.to).or(Some(covered)));
        }
        queue.forget();
        drop(queue);
        self.shared.done.notify_all();
    }
}

fn take(queue: &Queue) -> Taken {
    let first = queue.recent.len() - queue.waiting;
    Taken {
        events: queue.recent.range(first..).cloned().collect(),
        runs: queue.runs.iter().copied().collect(),
        sync: queue.wanted > queue.durable || queue.ending.is_some(),
    }
}

/// The blocks of a run: whole entries, one wall offset each.
fn frame(run: &Run, events: &[Event]) -> Blocks {
    let mut blocks = Blocks::default();
    let (mut rest, mut from, mut payload) = (events, run.from, Vec::new());
    loop {
        let (begin, wall) = rest.first().map_or((run.at, run.wall), |event| (event.at, event.wall));
        payload.clear();
        let mut encoder = Encoder::begin(from, begin, payload);
        let mut end = begin;
        let mut to = run.to;
        let mut last = None;
        while let Some((event, later)) = rest.split_first() {
            let index = event.position.index;
            let new_entry = last.is_some_and(|last| last != index);
            if new_entry && (encoder.payload.len() >= BLOCK || event.wall != wall) {
                to = index - 1;
                break;
            }
            encoder.push(event);
            (last, end, rest) = (Some(index), event.at, later);
        }
        let Encoder { payload: bytes, events, .. } = encoder;
        let head = Head {
            from,
            to,
            begin,
            end,
            wall,
            events,
            bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        };
        blocks.heads.push((blocks.bytes.len() as u64, head));
        head.frame(&bytes, &mut blocks.bytes);
        payload = bytes;
        if rest.is_empty() {
            return blocks;
        }
        from = to + 1;
    }
}
