//! What is known of the disk under the log: whether it stands still, how fast it is, how much room it
//! has, and whether it is full.
//!
//! The log's writer says when an operation begins and when it has ended, and whoever asks learns how
//! long the one under way has been running: nobody waits for the disk to find out that it stands still.
//! Two threads of their own look at it, beside the runtime and the writer, because either may be what
//! hangs: one tells the log of stalls, the other asks the system how much room there is, a call that may
//! hang itself.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Stopwatch;
use crate::observe::histogram::{Distribution, Histogram, LATENCY};

/// An operation that takes longer means that the disk stands still.
pub const STALL: Duration = Duration::from_secs(2);
/// A disk whose slowest hundredth of syncs takes longer is slow.
pub const SLOW: Duration = Duration::from_millis(100);
/// Syncs in the window before a disk is called slow.
const ENOUGH: u64 = 5;
/// The reserve if nothing else is set: at most so many bytes, and this part of the file system.
const RESERVE: u64 = 256 << 20;
const RESERVE_PART: u64 = 20;
/// How often the threads look.
const LOOK: Duration = Duration::from_millis(100);
const LOOK_AT_ROOM: Duration = Duration::from_secs(1);
/// How often a full disk is told of again.
const TELL_AGAIN: Duration = Duration::from_secs(30);

/// Who works on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The log's writer: writes and fdatasync.
    Writer,
    /// Whoever appends: now and then that begins a new file.
    Caller,
}

/// The disk at a glance. Durations over the last minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskFacts {
    /// How long the operation under way has been running; zero when there is none.
    pub waiting: Duration,
    /// Syncs in the last minute.
    pub syncs: u64,
    /// Half of them took no longer.
    pub typical: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// The longest, the one under way included.
    pub worst: Duration,
    /// How much room there is.
    pub room: Room,
    /// Since when the log could not be written for want of room.
    pub full_for: Option<Duration>,
}

impl DiskFacts {
    /// How long the disk has been standing still, if it does.
    pub fn stalled_for(&self) -> Option<Duration> {
        (self.waiting > STALL && self.full_for.is_none()).then_some(self.waiting)
    }

    /// Whether the disk is slow, without standing still.
    pub fn is_slow(&self) -> bool {
        self.syncs >= ENOUGH && self.p99 > SLOW
    }

    /// Whether the reserve has been reached, or nothing can be written at all.
    pub fn is_low(&self) -> bool {
        self.room.low || self.full_for.is_some()
    }
}

/// Room on the file system of the data directory, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// Left for this program.
    pub free: u64,
    /// In all; 0 when nobody has looked.
    pub total: u64,
    /// Below this the node gives up what can wait, and leadership.
    pub reserve: u64,
    /// Whether that is so. It ends when a quarter more is free.
    pub low: bool,
}

impl Room {
    /// What is seen next, with or without a reserve that was set.
    fn next(self, free: u64, total: u64, set: Option<u64>) -> Room {
        let reserve = set.unwrap_or_else(|| RESERVE.min(total / RESERVE_PART));
        let limit = if self.low { reserve.saturating_add(reserve / 4) } else { reserve };
        Room { free, total, reserve, low: free < limit }
    }
}

/// Bytes free for this program, and in all, on the file system of `path`.
///
/// # Errors
/// The system's.
pub fn room_at(path: &Path) -> io::Result<(u64, u64)> {
    let found = rustix::fs::statvfs(path)?;
    let unit = found.f_frsize.max(1);
    Ok((found.f_bavail.saturating_mul(unit), found.f_blocks.saturating_mul(unit)))
}

/// Whether an error says that there is no room, which may come back; every other one is a fault.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What is known of one disk.
pub struct DiskWatch {
    dir: PathBuf,
    reserve: Option<u64>,
    clock: Stopwatch,
    /// When the operation under way began, in microseconds and one more; 0 for none.
    began: [AtomicU64; 2],
    took: Mutex<Window>,
    /// Microseconds of each write with its sync, since the start.
    all: Histogram,
    room: Mutex<Room>,
    full_since: Mutex<Option<Duration>>,
    given_up: AtomicBool,
}

impl fmt::Debug for DiskWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskWatch").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl DiskWatch {
    /// A watch over the disk of `dir` that nobody looks at by himself. `reserve`: bytes, if it was set.
    pub fn new(dir: &Path, reserve: Option<u64>) -> Arc<DiskWatch> {
        Arc::new(DiskWatch {
            dir: dir.to_path_buf(),
            reserve,
            clock: Stopwatch::start(),
            began: Default::default(),
            took: Mutex::default(),
            all: Histogram::new(LATENCY),
            room: Mutex::default(),
            full_since: Mutex::default(),
            given_up: AtomicBool::new(false),
        })
    }

    /// As [`DiskWatch::new`], with the two threads. They end when nobody holds the watch any more.
    ///
    /// # Errors
    /// When a thread does not start.
    pub fn start(dir: &Path, reserve: Option<u64>) -> io::Result<Arc<DiskWatch>> {
        let watch = DiskWatch::new(dir, reserve);
        // Known from the start, so that nobody takes an unknown disk for a full one or the other way.
        watch.look_at_room();
        let (stalls, room) = (Arc::downgrade(&watch), Arc::downgrade(&watch));
        std::thread::Builder::new()
            .name("disk-watch".into())
            .spawn(move || tell_stalls(&stalls))?;
        std::thread::Builder::new().name("disk-room".into()).spawn(move || follow_room(&room))?;
        Ok(watch)
    }

    /// An operation begins.
    pub fn begins(&self, by: By) {
        self.began[by as usize].store(self.micros() + 1, Relaxed);
    }

    /// It has ended.
    pub fn ends(&self, by: By) {
        let began = self.began[by as usize].swap(0, Relaxed);
        if began > 0 && by == By::Writer {
            let now = self.micros();
            let took = (now + 1).saturating_sub(began);
            self.took.lock().add(now / 1_000_000, took);
            self.all.record(took);
        }
    }

    /// The log cannot be written for want of room, or it can again.
    pub fn set_full(&self, full: bool) {
        let mut since = self.full_since.lock();
        *since = full.then(|| since.unwrap_or_else(|| self.clock.elapsed()));
    }

    /// Whether the log cannot be written for want of room.
    pub fn is_full(&self) -> bool {
        self.full_since.lock().is_some()
    }

    /// This node has handed over because its disk stands still, and cannot note that another leads; or
    /// that is over.
    pub fn give_up(&self, given_up: bool) {
        self.given_up.store(given_up, Relaxed);
    }

    /// Whether this node can take no part in the cluster because of its disk, and must answer nobody.
    pub fn is_out(&self) -> bool {
        self.given_up.load(Relaxed) || self.is_full()
    }

    /// All writes to the log with their syncs, by their time in microseconds.
    pub fn syncs(&self) -> Distribution {
        self.all.read()
    }

    /// The disk at a glance.
    pub fn facts(&self) -> DiskFacts {
        let now = self.micros();
        let waiting = self
            .began
            .iter()
            .map(|began| began.load(Relaxed))
            .filter(|began| *began > 0)
            .map(|began| Duration::from_micros((now + 1).saturating_sub(began)))
            .max()
            .unwrap_or_default();
        let since = *self.full_since.lock();
        let took = self.took.lock();
        let second = now / 1_000_000;
        DiskFacts {
            waiting,
            syncs: took.count(second),
            typical: took.within(second, 50),
            p99: took.within(second, 99),
            worst: took.worst(second).max(waiting),
            room: *self.room.lock(),
            full_for: since.map(|since| self.clock.elapsed().saturating_sub(since)),
        }
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_micros()).unwrap_or(u64::MAX - 1)
    }

    fn look_at_room(&self) {
        let (free, total) = match room_at(&self.dir) {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(path = %self.dir.display(), %error, "the room of the disk is not known");
                return;
            }
        };
        let (before, now) = {
            let mut room = self.room.lock();
            let before = *room;
            *room = before.next(free, total, self.reserve);
            (before, *room)
        };
        let path = self.dir.display();
        match (before.low, now.low) {
            (false, true) => tracing::error!(
                %path, free, reserve = now.reserve,
                "the disk is filling up: this node gives up leadership, and writes no history and no checkpoint until there is room"
            ),
            (true, false) => tracing::info!(%path, free, "there is room on the disk again"),
            _ => {}
        }
    }
}

/// Tells the log of stalls, and of a full disk now and then.
fn tell_stalls(watch: &Weak<DiskWatch>) {
    let mut stalled = Duration::ZERO;
    let mut told_full = None;
    loop {
        std::thread::sleep(LOOK);
        let Some(watch) = watch.upgrade() else { return };
        let (facts, path) = (watch.facts(), watch.dir.display());
        match facts.stalled_for() {
            Some(lasts) => {
                if stalled.is_zero() {
                    tracing::error!(%path, "the disk stands still: a write to the log has not ended for {STALL:?}");
                }
                stalled = lasts;
            }
            None if !stalled.is_zero() => {
                tracing::warn!(%path, "the disk works again after {stalled:.1?}");
                stalled = Duration::ZERO;
            }
            None => {}
        }
        let Some(lasts) = facts.full_for else {
            told_full = None;
            continue;
        };
        if told_full.is_none_or(|told| lasts >= told + TELL_AGAIN) {
            told_full = Some(lasts);
            tracing::error!(
                %path,
                "the disk is full: the log cannot be written, and this node takes no part in the cluster and answers no \
                 client until there is room. Nothing that was acknowledged is lost. Make room; the node goes on by itself"
            );
        }
    }
}

/// Asks how much room there is.
fn follow_room(watch: &Weak<DiskWatch>) {
    loop {
        std::thread::sleep(LOOK_AT_ROOM);
        let Some(watch) = watch.upgrade() else { return };
        watch.look_at_room();
    }
}

/// Durations of the last minute, in slots of ten seconds, each with a histogram of two steps an octave.
#[derive(Debug, Default)]
struct Window {
    slots: [Slot; Window::SLOTS],
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Which ten seconds.
    number: u64,
    worst: u64,
    counts: [u32; Slot::STEPS],
}

impl Slot {
    const STEPS: usize = 64;
}

impl Default for Slot {
    fn default() -> Slot {
        Slot { number: 0, worst: 0, counts: [0; Slot::STEPS] }
    }
}

impl Window {
    const SLOTS: usize = 6;
    const SECONDS: u64 = 10;

    fn add(&mut self, second: u64, micros: u64) {
        let number = second / Window::SECONDS;
        let slot = &mut self.slots[(number % Window::SLOTS as u64) as usize];
        if slot.number != number {
            *slot = Slot { number, ..Slot::default() };
        }
        slot.worst = slot.worst.max(micros);
        let count = &mut slot.counts[step(micros)];
        *count = count.saturating_add(1);
    }

    fn current(&self, second: u64) -> impl Iterator<Item = &Slot> {
        let number = second / Window::SECONDS;
        self.slots.iter().filter(move |slot| slot.number + Window::SLOTS as u64 > number)
    }

    fn count(&self, second: u64) -> u64 {
        self.current(second).flat_map(|slot| &slot.counts).map(|count| u64::from(*count)).sum()
    }

    fn worst(&self, second: u64) -> Duration {
        Duration::from_micros(self.current(second).map(|slot| slot.worst).max().unwrap_or(0))
    }

    /// What so many of a hundred took at most.
    fn within(&self, second: u64, percent: u64) -> Duration {
        let enough = (self.count(second) * percent).div_ceil(100);
        if enough == 0 {
            return Duration::ZERO;
        }
        let mut seen = 0;
        for at in 0..Slot::STEPS {
            seen += self.current(second).map(|slot| u64::from(slot.counts[at])).sum::<u64>();
            if seen >= enough {
                return Duration::from_micros(upper(at)).min(self.worst(second));
            }
        }
        self.worst(second)
    }
}

/// The step of a duration.
fn step(micros: u64) -> usize {
    let micros = micros.max(1);
    let octave = micros.ilog2() as usize;
    let half = if octave == 0 { 0 } else { (micros >> (octave - 1) & 1) as usize };
    (octave * 2 + half).min(Slot::STEPS - 1)
}

/// The longest duration of a step.
fn upper(step: usize) -> u64 {
    let (octave, half) = (step as u32 / 2, step as u64 % 2);
    let base = 1u64 << octave;
    base + (base * (half + 1)).div_ceil(2) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn every_duration_lies_within_its_step() {
        for micros in (1..5_000).chain([1 << 20, (1 << 20) + 1, 3_000_000, 1 << 31]) {
            let at = step(micros);
            assert!(micros <= upper(at), "{micros} is above step {at}");
            assert!(at == 0 || micros > upper(at - 1) || upper(at - 1) == upper(at), "{micros}");
        }
    }

    #[test]
    fn the_window_forgets_after_a_minute() {
        let mut window = Window::default();
        (0..99).for_each(|_| window.add(5, 200));
        window.add(5, 90_000);
        assert_eq!(window.count(5), 100);
        assert!(window.within(5, 50) < ms(1));
        assert!(window.within(5, 99) < ms(1), "one of a hundred is beyond");
        assert_eq!(window.worst(5), ms(90));
        window.add(12, 70_000);
        assert!(window.within(12, 99) > ms(60), "two of a hundred and one are not");
        assert_eq!((window.count(64), window.worst(64)), (1, ms(70)));
        assert_eq!((window.count(75), window.within(75, 99)), (0, ms(0)));
    }

    #[test]
    fn the_reserve_is_left_only_with_some_more() {
        let room = Room::default().next(300, 10_000, None);
        assert_eq!((room.reserve, room.low), (500, true));
        assert!(room.next(600, 10_000, None).low, "a quarter more is wanted");
        assert!(!room.next(630, 10_000, None).low);
        assert!(!Room::default().next(600, 10_000, None).low);
        let large = Room::default().next(1 << 40, 1 << 42, None);
        assert_eq!((large.reserve, large.low), (256 << 20, false));
        assert!(Room::default().next(600, 10_000, Some(601)).low, "as it is set");
    }

    #[test]
    fn what_is_under_way_counts() {
        let watch = DiskWatch::new(Path::new("/"), None);
        assert_eq!(watch.facts().waiting, ms(0));
        watch.begins(By::Writer);
        std::thread::sleep(ms(5));
        let facts = watch.facts();
        assert!(facts.waiting >= ms(5) && facts.worst >= ms(5) && facts.syncs == 0);
        assert_eq!(facts.stalled_for(), None);
        let long = DiskFacts { waiting: STALL + ms(1), ..facts };
        assert_eq!(long.stalled_for(), Some(STALL + ms(1)));
        let full = DiskFacts { full_for: Some(ms(1)), ..long };
        assert_eq!((full.stalled_for(), full.is_low()), (None, true), "it waits for room");
        watch.ends(By::Writer);
        let facts = watch.facts();
        assert!(facts.waiting.is_zero() && facts.syncs == 1 && facts.worst >= ms(5));
    }

    #[test]
    fn a_full_disk_is_full_until_it_is_said_not_to_be() {
        let watch = DiskWatch::new(Path::new("/"), None);
        watch.set_full(true);
        let since = *watch.full_since.lock();
        watch.set_full(true);
        assert_eq!(*watch.full_since.lock(), since, "the first time counts");
        assert!(watch.is_full() && watch.facts().full_for.is_some());
        assert!(watch.is_out());
        watch.set_full(false);
        assert!(!watch.is_full() && !watch.is_out());
        watch.give_up(true);
        assert!(watch.is_out() && !watch.is_full());
        assert!(is_full(&io::Error::from_raw_os_error(28)));
        assert!(!is_full(&io::Error::from_raw_os_error(5)));
    }
}
