//! Where received packets wait for the worker (rules S11 and A2). Pure; the lock around it is in
//! `inbox.rs`.
//!
//! Bounded: a full queue drops its oldest packet, because that sender is the first to send again.
//! When it is more than half full, packets of clients that extend a lease go first, since those
//! lose an address when they are not heard. A packet that waited over 2 s is dropped unread.

use std::collections::VecDeque;
use std::time::Duration;

/// The most packets that wait: two seconds of them at 4 000 a second. What is behind that could
/// not be answered in time.
pub const PACKETS: usize = 8_192;
/// The longest a packet waits.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Packets in the order in which they are handled.
#[derive(Debug)]
pub struct PacketQueue<T> {
    /// Of clients that extend a lease.
    extending: VecDeque<Entry<T>>,
    others: VecDeque<Entry<T>>,
    size: usize,
    next: u64,
    dropped: u64,
}

#[derive(Debug)]
struct Entry<T> {
    number: u64,
    at: Duration,
    packet: T,
}

impl<T> PacketQueue<T> {
    /// An empty queue of at most `size` packets.
    pub fn new(size: usize) -> PacketQueue<T> {
        PacketQueue {
            extending: VecDeque::new(),
            others: VecDeque::new(),
            size: size.max(1),
            next: 0,
            dropped: 0,
        }
    }

    /// Adds a packet received at the monotonic time `at`.
    pub fn push(&mut self, packet: T, extends: bool, at: Duration) {
        if self.len() >= self.size {
            let oldest =
                if self.others.is_empty() { &mut self.extending } else { &mut self.others };
            oldest.pop_front();
            self.dropped += 1;
        }
        let entry = Entry { number: self.next, at, packet };
        self.next += 1;
        if extends { self.extending.push_back(entry) } else { self.others.push_back(entry) }
    }

    /// The next packet, and whether it waited too long to be read.
    pub fn pop(&mut self, now: Duration) -> Option<(T, bool)> {
        let crowded = self.len() > self.size / 2;
        let first = |queue: &VecDeque<Entry<T>>| queue.front().map(|entry| entry.number);
        let take_extending = match (first(&self.extending), first(&self.others)) {
            (Some(extending), Some(other)) => crowded || extending < other,
            (extending, _) => extending.is_some(),
        };
        let entry =
            if take_extending { self.extending.pop_front() } else { self.others.pop_front() }?;
        Some((entry.packet, now.saturating_sub(entry.at) > PATIENCE))
    }

    /// Packets that wait.
    pub fn len(&self) -> usize {
        self.extending.len() + self.others.len()
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

/// Whether a datagram looks like a RENEW or REBIND: a REQUEST with `ciaddr`. Only for the order of
/// handling, so it looks where clients put option 53 and costs next to nothing.
pub fn extends(datagram: &[u8]) -> bool {
    let ciaddr = datagram.get(12..16).is_some_and(|address| address.iter().any(|byte| *byte != 0));
    ciaddr && datagram.get(240..243) == Some(&[53, 1, 3])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn drain(queue: &mut PacketQueue<u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop(ms(0)).map(|(packet, _)| packet)).collect()
    }

    #[test]
    fn s11_a_full_queue_drops_the_oldest() {
        let mut queue = PacketQueue::new(3);
        for n in 0..5 {
            queue.push(n, false, ms(0));
        }
        assert_eq!(queue.dropped(), 2);
        assert_eq!(drain(&mut queue), [2, 3, 4]);
    }

    #[test]
    fn s11_a_packet_that_waited_over_2_s_is_not_read() {
        let mut queue = PacketQueue::new(3);
        queue.push(1, false, ms(0));
        queue.push(2, false, ms(1));
        assert_eq!(queue.pop(ms(2_001)), Some((1, true)));
        assert_eq!(queue.pop(ms(2_001)), Some((2, false)));
    }

    #[test]
    fn s11_the_order_is_kept_while_there_is_room() {
        let mut queue = PacketQueue::new(100);
        for n in 0..6 {
            queue.push(n, n % 2 == 0, ms(0));
        }
        assert_eq!(drain(&mut queue), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn a2_in_a_crowd_those_who_extend_go_first() {
        let mut queue = PacketQueue::new(8);
        for n in 0..6 {
            queue.push(n, n >= 4, ms(0));
        }
        // 6 of 8, then 5 of 8 are more than half; then order of arrival rules again.
        assert_eq!(drain(&mut queue), [4, 5, 0, 1, 2, 3]);
        for n in 0..9 {
            queue.push(n, n < 2, ms(0));
        }
        assert_eq!(queue.dropped(), 1);
        assert_eq!(queue.pop(ms(0)), Some((0, false)));
    }

    #[test]
    fn a_request_with_ciaddr_extends() {
        let mut datagram = vec![0; 300];
        datagram[240..243].copy_from_slice(&[53, 1, 3]);
        assert!(!extends(&datagram));
        datagram[12] = 192;
        assert!(extends(&datagram));
        datagram[242] = 1;
        assert!(!extends(&datagram));
        assert!(!extends(&[0; 100]));
    }
}
