//! Packets that are to be refused, until a read barrier has passed (rule C11). Pure.
//!
//! A barrier must begin after its packets came. One is on its way at a time; all packets that come
//! meanwhile share the next.

use super::commits::Waiting;

/// The packets and the barrier on its way.
#[derive(Debug, Default)]
pub struct Barriers {
    /// Counts barriers; the last one begun.
    number: u64,
    under_way: bool,
    /// What the barrier on its way is for.
    current: Vec<Waiting>,
    /// What came after it began.
    next: Vec<Waiting>,
}

impl Barriers {
    /// Nothing waits, and no answer to an earlier barrier is taken for one of these.
    pub fn successor(&self) -> Barriers {
        Barriers { number: self.number, ..Barriers::default() }
    }

    /// Lets a packet wait. Refused when `most` wait already.
    pub fn wait(&mut self, waiting: Waiting, most: usize) -> bool {
        let room = self.next.len() < most;
        if room {
            self.next.push(waiting);
        }
        room
    }

    /// The number of the barrier to begin now, if one is wanted and none is on its way.
    pub fn begin(&mut self) -> Option<u64> {
        if self.under_way || self.next.is_empty() {
            return None;
        }
        self.current = std::mem::take(&mut self.next);
        self.number += 1;
        self.under_way = true;
        Some(self.number)
    }

    /// How many packets wait.
    pub fn len(&self) -> usize {
        self.current.len() + self.next.len()
    }

    /// The barrier with this number has an answer: whose it is. None if it was answered before.
    pub fn answered(&mut self, number: u64) -> Vec<Waiting> {
        if number != self.number || !self.under_way {
            return Vec::new();
        }
        self.under_way = false;
        std::mem::take(&mut self.current)
    }
}
