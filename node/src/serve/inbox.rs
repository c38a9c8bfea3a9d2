//! What the worker thread waits for: packets from the receiving threads, and events from everywhere.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::event::{Event, Received};
use super::queue::{Kind, PACKETS, PacketQueue, Room, kind};
use crate::clock::{Clock, instant};
use crate::net;
use crate::propose::boot;

/// The most events that wait. Answers are bounded by what was asked; notes come a few dozen a second
/// from each peer, and beyond this number they are dropped and counted, which costs nothing but a
/// needless second answer.
const EVENTS: usize = 16_384;

/// What the worker takes out at a time.
#[derive(Debug, Default)]
pub struct Taken {
    /// Everything that happened.
    pub events: Vec<Event>,
    /// Packets, each with whether it waited too long to be read.
    pub packets: Vec<(Received, bool)>,
}

/// The queue of one worker. Its depth and its order are in `queue.rs`.
pub struct Inbox {
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
    arrived: Condvar,
}

struct Inner {
    packets: PacketQueue<Received>,
    events: VecDeque<Event>,
    notes_dropped: u64,
    closed: bool,
    /// What the worker waits for; `None` while it works.
    wanted: Option<Room>,
    /// How many packets waited when one came, over about the last [`MEANS`].
    means: [f64; 3],
}

/// Over how many packets the means of `status-get` are taken, as in Kea.
const MEANS: [f64; 3] = [10.0, 100.0, 1000.0];

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

impl Inbox {
    /// An empty inbox. Times are boot times of `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Inbox {
        let inner = Inner {
            packets: PacketQueue::new(PACKETS),
            events: VecDeque::new(),
            notes_dropped: 0,
            closed: false,
            wanted: None,
            means: [0.0; 3],
        };
        Inbox { clock, inner: Mutex::new(inner), arrived: Condvar::new() }
    }

    /// Takes in a datagram; never blocks for long. A full queue drops its oldest. The time it has
    /// spent in the kernel's queue counts as waiting.
    pub fn packet(&self, datagram: net::Received) {
        let waited = instant().saturating_duration_since(datagram.came);
        let at = boot(&*self.clock).saturating_sub(waited);
        let kind = kind(&datagram.bytes);
        let mut inner = self.inner.lock();
        let waiting = inner.packets.len() as f64;
        for (mean, over) in inner.means.iter_mut().zip(MEANS) {
            *mean += (waiting - *mean) / over;
        }
        inner.packets.push(Received { datagram, at }, kind, at);
        let wanted = match inner.wanted {
            Some(Room::Everything) => true,
            Some(Room::Changes) => kind != Kind::Begins,
            Some(Room::Nothing) | None => false,
        };
        drop(inner);
        if wanted {
            self.arrived.notify_one();
        }
    }

    /// Takes in an event.
    pub fn event(&self, event: Event) {
        let mut inner = self.inner.lock();
        if inner.events.len() >= EVENTS && matches!(event, Event::Note(..)) {
            inner.notes_dropped += 1;
            return;
        }
        inner.events.push_back(event);
        drop(inner);
        self.arrived.notify_one();
    }

    /// Waits until something is there or `until` has come; takes out all events and at most `most`
    /// packets, of those there is `room` for. `None` once it is closed.
    pub fn take(&self, most: usize, until: Duration, room: Room) -> Option<Taken> {
        let mut inner = self.inner.lock();
        loop {
            if inner.closed {
                return None;
            }
            let now = boot(&*self.clock);
            let packets: Vec<_> =
                std::iter::from_fn(|| inner.packets.pop(now, room)).take(most).collect();
            if !packets.is_empty() || !inner.events.is_empty() || now >= until {
                let events = inner.events.drain(..).collect();
                return Some(Taken { events, packets });
            }
            inner.wanted = Some(room);
            self.arrived.wait_for(&mut inner, until - now);
            inner.wanted = None;
        }
    }

    /// Ends the worker's waiting for ever.
    pub fn close(&self) {
        self.inner.lock().closed = true;
        self.arrived.notify_all();
    }

    /// How many packets waited when one came: running means over about the last 10, 100 and 1000.
    pub fn mean_lengths(&self) -> [f64; 3] {
        self.inner.lock().means
    }

    /// Packets that wait, packets dropped because the queue was full, and notes dropped.
    pub fn counts(&self) -> (usize, u64, u64) {
        let inner = self.inner.lock();
        (inner.packets.len(), inner.packets.dropped(), inner.notes_dropped)
    }
}
