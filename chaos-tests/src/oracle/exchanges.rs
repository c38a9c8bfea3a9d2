//! How exchanges went, as a client notices it.
//!
//! An exchange is what a client begins by itself: it joins (DISCOVER to ACK), renews, rebinds or restarts (REQUEST to ACK). What it
//! sends, it sends again after 3 to 5 s, as clients were seen to do. It has **failed** when
//!
//! * a DISCOVER or a REQUEST that went to every server was sent, was sent again, and had no answer when it was due a third time;
//! * the client gave up and began anew, which it does on a NAK too;
//! * it is not over when the run ends, and its message was sent again longer ago than a client waits.
//!
//! A renewal goes to one server alone, and nobody else can answer it (RFC 2131 §4.4.5): where that server has gone the client goes on
//! using its address and asks everybody at T2. So renewal and rebinding are one exchange, which fails when nobody answers the rebinding,
//! or the lease ends. That the renewal had no answer makes it a **repeated** one, as is every exchange in which something was sent twice:
//! the client has waited and noticed nothing else.
//!
//! RELEASE and DECLINE have no answer. They end an exchange that was under way; it counts for nothing then.

use std::collections::BTreeMap;
use std::fmt;

use super::{Ask, ClientId, History, What};

/// The longest time a client waits before it sends again, in milliseconds.
const LONGEST_WAIT: u64 = 5_000;

/// What became of all exchanges.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exchanges {
    /// Those that ended with an ACK or failed.
    pub total: usize,
    /// Those that failed.
    pub failed: Vec<Failed>,
    /// Those that ended with an ACK after something was sent twice.
    pub repeated: usize,
    /// From the first message of an exchange to its ACK, the longest, in milliseconds.
    pub longest: u64,
    /// Those that began more than a moment ago and are not over.
    pub open: usize,
}

/// An exchange that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Whose.
    pub client: ClientId,
    /// When it began.
    pub began: u64,
    /// Why, in words.
    pub why: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.client, self.why)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Discovering,
    Requesting(Ask),
}

#[derive(Debug, Clone)]
struct Open {
    began: u64,
    step: Step,
    xid: u32,
    sent: u32,
    sent_at: u64,
    repeated: bool,
    failed: Option<String>,
}

impl Open {
    fn new(at: u64, step: Step, xid: u32) -> Open {
        Open { began: at, step, xid, sent: 1, sent_at: at, repeated: false, failed: None }
    }

    /// The same exchange goes on with another message.
    fn next(&mut self, at: u64, step: Step, xid: u32) {
        (self.step, self.xid, self.sent, self.sent_at) = (step, xid, 1, at);
    }

    fn again(&mut self, at: u64) {
        (self.sent, self.sent_at) = (self.sent + 1, at);
        self.repeated = true;
        // One server alone could have answered.
        let to_all = self.step != Step::Requesting(Ask::Renewing);
        if self.sent >= 3 && to_all {
            self.fail(at, "nobody answered a message that was sent twice");
        }
    }

    fn fail(&mut self, at: u64, why: &str) {
        let (began, step) = (self.began, self.step);
        self.failed
            .get_or_insert_with(|| format!("{why} ({step:?}, began {began} ms, at {at} ms)"));
    }
}

/// Looks at everything up to `end`.
pub fn check(history: &History, end: u64) -> Exchanges {
    let mut seen = Exchanges::default();
    let mut under_way: BTreeMap<ClientId, Open> = BTreeMap::new();
    for event in history.events() {
        let (client, at) = (event.client, event.at);
        match event.what {
            What::Discovered { xid } => {
                let open = under_way
                    .entry(client)
                    .and_modify(|open| match open.step {
                        Step::Discovering if open.xid == xid => open.again(at),
                        _ => {
                            open.fail(at, "it began anew");
                            open.next(at, Step::Discovering, xid);
                        }
                    })
                    .or_insert_with(|| Open::new(at, Step::Discovering, xid));
                open.repeated |= open.sent > 1;
            }
            What::Asked { xid, ask, .. } => {
                under_way
                    .entry(client)
                    .and_modify(|open| match (open.step, ask) {
                        (Step::Requesting(last), _) if last == ask && open.xid == xid => {
                            open.again(at)
                        }
                        (Step::Requesting(Ask::Renewing), Ask::Rebinding) => {
                            open.repeated = true;
                            open.next(at, Step::Requesting(ask), xid);
                        }
                        (Step::Discovering, Ask::Selecting) => {
                            open.next(at, Step::Requesting(ask), xid);
                        }
                        _ => {
                            open.fail(at, "it began anew");
                            open.next(at, Step::Requesting(ask), xid);
                        }
                    })
                    .or_insert_with(|| Open::new(at, Step::Requesting(ask), xid));
            }
            What::Acked { accepted: true, .. } => {
                if let Some(open) = under_way.remove(&client) {
                    seen.close(client, open, Some(at));
                }
            }
            What::Refused { address, .. } => {
                if let Some(mut open) = under_way.remove(&client) {
                    open.fail(at, &format!("{:?} refused it {address}", event.node));
                    seen.close(client, open, None);
                }
            }
            What::Released { .. } | What::Declined { .. } => {
                if let Some(open) = under_way.remove(&client)
                    && open.failed.is_some()
                {
                    seen.close(client, open, None);
                }
            }
            What::Offered { .. } | What::Acked { .. } => {}
        }
    }
    for (client, mut open) in under_way {
        if open.sent > 1 && end > open.sent_at + LONGEST_WAIT {
            open.fail(end, "it was never answered");
        }
        match open.failed {
            Some(_) => seen.close(client, open, None),
            None => seen.open += usize::from(end > open.began + 300),
        }
    }
    seen
}

impl Exchanges {
    fn close(&mut self, client: ClientId, open: Open, acked: Option<u64>) {
        self.total += 1;
        match open.failed {
            Some(why) => self.failed.push(Failed { client, began: open.began, why }),
            None => self.repeated += usize::from(open.repeated),
        }
        if let Some(at) = acked {
            self.longest = self.longest.max(at.saturating_sub(open.began));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::oracle::Event;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 16, 1);

    fn discover(xid: u32) -> What {
        What::Discovered { xid }
    }

    fn ask(xid: u32, ask: Ask) -> What {
        What::Asked { xid, ask, address: ADDRESS }
    }

    fn ack(xid: u32) -> What {
        What::Acked { xid, address: ADDRESS, lifetime_secs: 30, asked_at: 0, accepted: true }
    }

    fn checked(events: &[(u64, What)], end: u64) -> (usize, usize, usize, u64) {
        let event = |(at, what): &(u64, What)| Event {
            at: *at,
            client: ClientId(7),
            node: None,
            what: what.clone(),
        };
        let seen = check(&History::new(events.iter().map(event).collect()), end);
        (seen.total, seen.failed.len(), seen.repeated, seen.longest)
    }

    #[test]
    fn a_client_that_sends_each_message_once_notices_nothing() {
        let join = [(0, discover(1)), (10, ask(1, Ask::Selecting)), (25, ack(1))];
        assert_eq!(checked(&join, 10_000), (1, 0, 0, 25));
    }

    #[test]
    fn an_answer_to_the_first_repeat_is_no_failure_and_one_to_the_second_is() {
        let once = [
            (0, discover(1)),
            (4_000, discover(1)),
            (4_010, ask(1, Ask::Selecting)),
            (4_020, ack(1)),
        ];
        assert_eq!(checked(&once, 9_000), (1, 0, 1, 4_020));
        let twice = [
            (0, ask(1, Ask::InitReboot)),
            (4_000, ask(1, Ask::InitReboot)),
            (8_000, ask(1, Ask::InitReboot)),
            (8_001, ack(1)),
        ];
        assert_eq!(checked(&twice, 9_000), (1, 1, 0, 8_001));
    }

    #[test]
    fn a_renewal_whose_server_has_gone_is_answered_by_another_at_t2() {
        let renew = |at| (at, ask(1, Ask::Renewing));
        let rebind = |at| (at, ask(2, Ask::Rebinding));
        let all = [renew(0), renew(4_000), renew(8_000), rebind(12_000), (12_010, ack(2))];
        assert_eq!(checked(&all, 13_000), (1, 0, 1, 12_010));
        let unheard = [renew(0), rebind(4_000), rebind(8_000), rebind(12_000)];
        assert_eq!(checked(&unheard, 13_000).1, 1);
    }

    #[test]
    fn beginning_anew_a_refusal_and_no_answer_till_the_end_are_failures() {
        let anew = [
            (0, discover(1)),
            (1, ask(1, Ask::Selecting)),
            (9_000, discover(2)),
            (9_001, ask(2, Ask::Selecting)),
            (9_002, ack(2)),
        ];
        assert_eq!(checked(&anew, 9_010).1, 1);
        let refused =
            [(0, ask(1, Ask::InitReboot)), (5, What::Refused { xid: 1, address: ADDRESS })];
        assert_eq!(checked(&refused, 10), (1, 1, 0, 0));
        let silent = [(0, discover(1)), (4_000, discover(1))];
        assert_eq!(checked(&silent, 8_000).1, 0, "it may still be answered");
        assert_eq!(checked(&silent, 9_001).1, 1);
    }

    #[test]
    fn a_client_that_leaves_meanwhile_has_ended_it_itself() {
        let left = [(0, ask(1, Ask::Renewing)), (10, What::Released { address: ADDRESS })];
        assert_eq!(checked(&left, 60_000), (0, 0, 0, 0));
    }
}
