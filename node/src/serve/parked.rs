//! Packets on links that nobody has reported, until the peers' notes are there (rule R17). Pure.

use std::collections::VecDeque;
use std::time::Duration;

use super::commits::Waiting;
use crate::dhcp::decision::Link;

/// The packets, by the moment they wait until; of equal moments in order of arrival.
#[derive(Debug, Default)]
pub struct Parked(VecDeque<(Duration, Link, Waiting)>);

impl Parked {
    /// Lets a packet wait until `until`. Refused when `most` wait already.
    pub fn wait(&mut self, waiting: Waiting, link: Link, until: Duration, most: usize) -> bool {
        let room = self.0.len() < most;
        if room {
            let at = self.0.partition_point(|(other, ..)| *other <= until);
            self.0.insert(at, (until, link, waiting));
        }
        room
    }

    /// The next packet whose time has come.
    pub fn take_due(&mut self, now: Duration) -> Option<Waiting> {
        let due = self.next_due().is_some_and(|until| until <= now);
        if due { self.0.pop_front().map(|(.., waiting)| waiting) } else { None }
    }

    /// All packets of a link: everybody who could speak has.
    pub fn take_link(&mut self, link: Link) -> Vec<Waiting> {
        let (its, others): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.0).into_iter().partition(|(_, other, _)| *other == link);
        self.0 = others;
        its.into_iter().map(|(.., waiting)| waiting).collect()
    }

    /// How many packets wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// When the next packet has waited long enough.
    pub fn next_due(&self) -> Option<Duration> {
        self.0.front().map(|(until, ..)| *until)
    }
}
