//! Far more than a server can answer: how much it still answers, and how soon it is itself again.

use anyhow::{Context, Result};

use super::book::{Book, Figure};
use super::client::{Act, Clients, Sent};
use super::flags::Flags;
use super::subject::Running;
use super::{rate, say};
use crate::clock;
use crate::perfdhcp::{self, Offer};
use crate::stop::Stop;

/// What is offered, in multiples of the clean rate.
const TIMES: f64 = 5.0;
/// The light load that runs all the time, in exchanges a second.
const LIGHT: u32 = 50;
/// How long the light load goes on after the overload.
const AFTER_US: u64 = 15_000_000;
/// How long the light load must be answered without a gap.
const CLEAN_US: u64 = 1_000_000;

/// Measures one subject.
///
/// # Errors
/// When the load cannot be made or a server is gone.
pub fn measure(running: &mut Running, flags: &Flags, stop: &Stop, book: &mut Book) -> Result<()> {
    let subject = running.subject;
    if book.median(Figure::CleanRate, subject).is_none() {
        rate::clean_rate(running, flags, stop, book)?;
    }
    let best = book.median(Figure::CleanRate, subject).filter(|best| *best > 0.0);
    let best = best.context("without a clean rate there is no overload")?;
    let (rate, secs) = ((best * TIMES) as u32, flags.overload_seconds);
    say(&format!("  overload: {rate}/s for {secs} s"));
    let mut light = Clients::new(running.relay(), running.address, 1_000)?;
    // The crowd comes back and asks again, as clients do that get no answer.
    let offer = Offer { rate, secs, crowd: running.new_crowd(), clients: rate * 2, more: &[] };
    let end = clock::now_us() + u64::from(secs) * 1_000_000;
    let (load, sent) = std::thread::scope(|scope| {
        let probe = scope.spawn(|| light.act(Act::Join, LIGHT, |now| now >= end + AFTER_US));
        let load = perfdhcp::run_with(running.relay(), running.address, &offer);
        let sent = probe.join().map_err(|_| anyhow::anyhow!("the light load panicked"));
        anyhow::Ok((load?.0, sent?))
    })?;
    let per_second = |count: u64| count as f64 / f64::from(secs);
    let answers = per_second(load.discover_offer.received + load.request_ack.received);
    let offered = per_second(load.discover_offer.sent);
    book.enter(Figure::OverloadOffered, subject, offered);
    // OFFERs alone help nobody.
    book.enter(Figure::OverloadAnswers, subject, per_second(load.request_ack.received));
    let recovery = recovery_us(&sent, end).map(|micros| micros as f64 / 1e6);
    say(&format!(
        "    offered {offered:.0}/s: {answers:.0} answers/s, {:.0} exchanges/s; a light load is clean {} s after it",
        per_second(load.request_ack.received),
        recovery.map_or_else(|| "more than 14".to_owned(), |secs| format!("{secs:.1}"))
    ));
    if recovery.is_none() {
        book.note(format!("{}: had not recovered 14 s after the overload.", subject.title()));
    }
    book.enter(Figure::Recovery, subject, recovery.unwrap_or((AFTER_US - CLEAN_US) as f64 / 1e6));
    running.settle()
}

/// How long after `end` the first second begins in which everything that was sent was answered.
fn recovery_us(sent: &[Sent], end: u64) -> Option<u64> {
    let last = sent.last()?.at;
    let mut from = end;
    for one in sent.iter().filter(|one| one.at >= end) {
        if one.at >= from + CLEAN_US {
            break;
        }
        if !one.is_answered() {
            from = one.at + 1;
        }
    }
    (from + CLEAN_US <= last).then_some(from - end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovery_is_the_start_of_the_first_second_without_a_loss() {
        let secs = |lost: &[u64]| -> Vec<Sent> {
            let answered = |at: u64| (!lost.contains(&at)).then_some(at + 100);
            (0..100).map(|n| n * 100_000).map(|at| Sent { at, answered: answered(at) }).collect()
        };
        assert_eq!(recovery_us(&secs(&[]), 2_000_000), Some(0));
        assert_eq!(recovery_us(&secs(&[1_900_000]), 2_000_000), Some(0), "before its end");
        let lost = [2_000_000, 2_500_000, 3_400_000, 9_000_000];
        assert_eq!(recovery_us(&secs(&lost), 2_000_000), Some(1_400_001));
        let every: Vec<u64> = (0..100).map(|n| n * 100_000).collect();
        assert_eq!(recovery_us(&secs(&every), 2_000_000), None);
        assert_eq!(recovery_us(&[], 0), None);
        let late = Sent { at: 0, answered: Some(1_500_000) };
        assert!(!late.is_answered());
    }
}
