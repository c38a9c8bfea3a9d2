//! Where received packets wait for the worker (rules S11 and A2). Pure; the lock around it is in
//! `inbox.rs`.
//!
//! Two lines, each in order of arrival, and one bound over both. Into the first go the packets that
//! change a lease, so that those of one client are always handled in their order; into the second
//! those that begin something, a DISCOVER above all.
//!
//! * A full queue drops its oldest packet, because that sender is the first to send again: of those
//!   that begin, as long as there are any.
//! * A packet that waited over 2 s is dropped unread.
//! * In a crowd the first line goes first: who extends a lease loses an address when he is not
//!   heard, and for who accepts an offer half of the work is done already. And in a crowd a packet
//!   waits half a second at most. Without that the line would grow until each packet is answered as
//!   late as is allowed, and then the rest of the exchange comes too late: the server would be busy
//!   with answers that help nobody.
//! * While too many commits are under way nothing begins, and while still more are, nothing is
//!   requested: the caller says what there is [`Room`] for. Packets wait here, where the oldest are
//!   dropped and which go first is decided, and not behind the door of the log.

use std::collections::VecDeque;
use std::time::Duration;

/// The most packets that wait: two seconds of them at 4 000 a second. What is behind that could
/// not be answered in time.
pub const PACKETS: usize = 8_192;
/// The longest a packet waits.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// The longest a packet waits in a crowd, unless it is sent only once. Clients send again after 3 to
/// 5 s, and those of load generators give up after one.
pub const CROWD_PATIENCE: Duration = Duration::from_millis(500);
/// It is a crowd when the queue has not been empty for so long: a burst is over sooner.
pub const STANDING: Duration = Duration::from_millis(100);

/// What a packet is about, as far as its turn depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// DISCOVER, INFORM, BOOTP, and what nobody can read.
    Begins,
    /// REQUEST: extends a lease, or accepts an offer.
    Requests,
    /// RELEASE and DECLINE, which clients send only once (M10, M12).
    Returns,
}

/// What may leave the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Nothing but what has waited too long.
    Nothing,
    /// What changes a lease.
    Changes,
    /// Everything.
    Everything,
}

/// Packets in the order in which they are handled.
#[derive(Debug)]
pub struct PacketQueue<T> {
    /// Those that change a lease.
    changing: VecDeque<Entry<T>>,
    /// Those that begin something.
    beginning: VecDeque<Entry<T>>,
    size: usize,
    next: u64,
    dropped: u64,
    /// Since when it has not been empty after a packet was taken.
    standing: Option<Duration>,
}

#[derive(Debug)]
struct Entry<T> {
    number: u64,
    at: Duration,
    once: bool,
    packet: T,
}

impl<T> Entry<T> {
    fn is_overdue(&self, now: Duration, crowd: bool) -> bool {
        let patience = if crowd && !self.once { CROWD_PATIENCE } else { PATIENCE };
        now.saturating_sub(self.at) > patience
    }
}

impl<T> PacketQueue<T> {
    /// An empty queue of at most `size` packets.
    pub fn new(size: usize) -> PacketQueue<T> {
        PacketQueue {
            changing: VecDeque::new(),
            beginning: VecDeque::new(),
            size: size.max(1),
            next: 0,
            dropped: 0,
            standing: None,
        }
    }

    /// Adds a packet received at the monotonic time `at`.
    pub fn push(&mut self, packet: T, kind: Kind, at: Duration) {
        if self.len() >= self.size {
            self.dropped += 1;
            // One that begins takes nobody's place who has more to lose.
            if self.beginning.pop_front().is_none() {
                if kind == Kind::Begins {
                    return;
                }
                self.changing.pop_front();
            }
        }
        let entry = Entry { number: self.next, at, once: kind == Kind::Returns, packet };
        self.next += 1;
        let line = if kind == Kind::Begins { &mut self.beginning } else { &mut self.changing };
        line.push_back(entry);
    }

    /// The next packet that there is room for, and whether it waited too long to be read.
    pub fn pop(&mut self, now: Duration, room: Room) -> Option<(T, bool)> {
        let popped = self.take(now, room);
        if self.is_empty() {
            self.standing = None;
        } else {
            self.standing.get_or_insert(now);
        }
        popped
    }

    fn take(&mut self, now: Duration, room: Room) -> Option<(T, bool)> {
        let crowd = self.is_crowd(now);
        for line in [&mut self.changing, &mut self.beginning] {
            if line.front().is_some_and(|entry| entry.is_overdue(now, crowd)) {
                return line.pop_front().map(|entry| (entry.packet, true));
            }
        }
        let first = |line: &VecDeque<Entry<T>>| line.front().map(|entry| entry.number);
        let changes_first = match (first(&self.changing), first(&self.beginning)) {
            (Some(changing), Some(beginning)) => crowd || changing < beginning,
            (changing, _) => changing.is_some(),
        };
        let line = match room {
            Room::Nothing => return None,
            Room::Everything if !changes_first => &mut self.beginning,
            Room::Everything | Room::Changes => &mut self.changing,
        };
        line.pop_front().map(|entry| (entry.packet, false))
    }

    /// Whether more packets come than are handled: the queue is over half full, or has not been
    /// empty for a while.
    fn is_crowd(&self, now: Duration) -> bool {
        self.len() > self.size / 2
            || self.standing.is_some_and(|since| now.saturating_sub(since) > STANDING)
    }

    /// Packets that wait.
    pub fn len(&self) -> usize {
        self.changing.len() + self.beginning.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Packets dropped because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// How many options [`kind`] passes to find the type of a message. Clients put it first, or behind one or
/// two others (dhcpcd).
const OPTIONS: usize = 8;

/// What a datagram is about. Only for the order of handling, so it looks no further than it must and
/// believes what it finds.
pub fn kind(datagram: &[u8]) -> Kind {
    let mut rest = datagram.get(240..).unwrap_or_default();
    for _ in 0..OPTIONS {
        match rest {
            [53, 1, 3, ..] => return Kind::Requests,
            [53, 1, 4 | 7, ..] => return Kind::Returns,
            [0, tail @ ..] => rest = tail,
            [code, len, tail @ ..] if !matches!(code, 53 | 255) => {
                rest = tail.get(usize::from(*len)..).unwrap_or_default();
            }
            _ => break,
        }
    }
    Kind::Begins
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
