//! How long replies take, from the moment at which the kernel took the packet in to the call that sends
//! the answer, by what was answered.

use std::time::Instant;

use crate::clock::instant;
use crate::dhcp::decision::ReplyKind;
use crate::observe::histogram::{Distribution, Histogram, LATENCY};
use crate::state::Why;

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// OFFER.
    Offer,
    /// ACK to a client that accepts an offer.
    Selecting,
    /// ACK to a client that checks a remembered address.
    InitReboot,
    /// ACK to one that extends, by unicast.
    Renewing,
    /// ACK to one that extends, by broadcast.
    Rebinding,
    /// ACK to one that named no address: BOOTP, rapid commit.
    Unnamed,
    /// ACK to an INFORM.
    Inform,
    /// NAK.
    Nak,
}

impl Answered {
    /// All of them, in the order of their numbers.
    pub const ALL: [Answered; 8] = [
        Answered::Offer,
        Answered::Selecting,
        Answered::InitReboot,
        Answered::Renewing,
        Answered::Rebinding,
        Answered::Unnamed,
        Answered::Inform,
        Answered::Nak,
    ];

    /// What a reply of this kind answers; `why` is that of the command behind it.
    pub fn of(kind: ReplyKind, why: Option<Why>) -> Answered {
        match (kind, why) {
            (ReplyKind::Offer, _) => Answered::Offer,
            (ReplyKind::Nak, _) => Answered::Nak,
            (ReplyKind::InformAck, _) => Answered::Inform,
            (ReplyKind::Ack, Some(Why::InitReboot)) => Answered::InitReboot,
            (ReplyKind::Ack, Some(Why::Renewing)) => Answered::Renewing,
            (ReplyKind::Ack, Some(Why::Rebinding)) => Answered::Rebinding,
            (ReplyKind::Ack, Some(Why::Unnamed)) => Answered::Unnamed,
            (ReplyKind::Ack, Some(Why::Selecting | Why::Offering) | None) => Answered::Selecting,
        }
    }

    /// The labels `type` and `why` of the metric.
    pub fn labels(self) -> (&'static str, &'static str) {
        match self {
            Answered::Offer => ("offer", "discover"),
            Answered::Selecting => ("ack", "selecting"),
            Answered::InitReboot => ("ack", "init-reboot"),
            Answered::Renewing => ("ack", "renewing"),
            Answered::Rebinding => ("ack", "rebinding"),
            Answered::Unnamed => ("ack", "unnamed"),
            Answered::Inform => ("ack", "inform"),
            Answered::Nak => ("nak", "request"),
        }
    }
}

/// A reply that is about to be sent: what it answers, and since when it has been waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timed {
    /// When the kernel took the packet in.
    pub came: Instant,
    /// What is answered.
    pub what: Answered,
}

/// A histogram for each of [`Answered::ALL`].
#[derive(Debug)]
pub struct Latencies([Histogram; Answered::ALL.len()]);

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies(Answered::ALL.map(|_| Histogram::new(LATENCY)))
    }
}

impl Latencies {
    /// The reply has been sent.
    pub fn sent(&self, timed: Timed) {
        if let Some(histogram) = self.0.get(timed.what as usize) {
            histogram.record_time(instant().saturating_duration_since(timed.came));
        }
    }

    /// All of them, microseconds.
    pub fn read(&self) -> impl Iterator<Item = (Answered, Distribution)> + '_ {
        Answered::ALL.into_iter().zip(self.0.iter().map(Histogram::read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_its_own_histogram_and_labels() {
        let latencies = Latencies::default();
        for (at, what) in Answered::ALL.into_iter().enumerate() {
            assert_eq!(what as usize, at);
            latencies.sent(Timed { came: instant(), what });
        }
        assert!(latencies.read().all(|(_, read)| read.count() == 1));
        let labels: std::collections::BTreeSet<_> =
            Answered::ALL.into_iter().map(Answered::labels).collect();
        assert_eq!(labels.len(), Answered::ALL.len());
    }
}
