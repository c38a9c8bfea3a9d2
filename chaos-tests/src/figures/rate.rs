//! The clean rate and the CPU of an exchange.

use anyhow::Result;

use super::book::{Book, Figure, Subject};
use super::flags::Flags;
use super::say;
use super::search::Search;
use super::subject::Running;
use crate::perfdhcp::{self, Load, Offer};
use crate::stop::Stop;

/// The rate at which CPU times are compared.
const COMPARED: u32 = 3_000;
/// How often that is tried when it is not clean.
const TRIES: u32 = 3;
/// Where the first search begins.
const START: u32 = 1_000;

/// A run of the load.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub rate: u32,
    /// Exchanges that were completed; with DISCOVERs only, OFFERs.
    pub done: u64,
    pub secs: u32,
    /// CPU of all servers.
    pub cpu_micros: u64,
    pub is_clean: bool,
    /// The generator itself sent less than it should.
    pub fell_short: bool,
}

impl Run {
    /// Completed exchanges in a second.
    pub fn pace(&self) -> f64 {
        self.done as f64 / f64::from(self.secs)
    }

    /// CPU of all servers for one, in microseconds.
    pub fn cpu(&self) -> f64 {
        self.cpu_micros as f64 / self.done as f64
    }
}

/// What perfdhcp sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Exchanges,
    Discovers,
}

/// Loads `running` once with clients that are new to it.
///
/// # Errors
/// When the load cannot be made or a server is gone.
pub fn load(running: &mut Running, rate: u32, secs: u32, kind: Kind) -> Result<Run> {
    let crowd = running.new_crowd();
    let more: &[&str] = if kind == Kind::Discovers { &["-i"] } else { &[] };
    let clients = rate.saturating_mul(secs).saturating_mul(2);
    let before = running.cpu_micros()?;
    let offer = Offer { rate, secs, crowd, clients, more };
    let (load, _) = perfdhcp::run_with(running.relay(), running.address, &offer)?;
    let cpu_micros = running.cpu_micros()? - before;
    Ok(judge(&load, rate, secs, kind, cpu_micros))
}

/// Clean: under 1 % of each half were dropped, and at least 95 % of what was to be sent was sent.
fn judge(load: &Load, rate: u32, secs: u32, kind: Kind, cpu_micros: u64) -> Run {
    let halves = match kind {
        Kind::Exchanges => &[load.discover_offer, load.request_ack][..],
        Kind::Discovers => &[load.discover_offer],
    };
    let done = halves.last().map_or(0, |half| half.received);
    let fell_short = load.discover_offer.sent * 100 < u64::from(rate) * u64::from(secs) * 95;
    let answered = |half: &perfdhcp::Half| half.received * 100 > half.sent * 99;
    let is_clean = !fell_short && halves.iter().all(answered);
    Run { rate, done, secs, cpu_micros, is_clean, fell_short }
}

/// Searches the highest rate at which `load` is clean and gives the run at it; none when no rate is.
///
/// # Errors
/// As `load`, or when the suite is to stop.
pub fn search(
    running: &mut Running,
    flags: &Flags,
    start: Option<f64>,
    stop: &Stop,
    book: &mut Book,
    mut load: impl FnMut(&mut Running, u32) -> Result<Run>,
) -> Result<Option<Run>> {
    // Later rounds begin near what the first has found.
    let start = start.map_or(START, |rate| (rate * 0.7) as u32);
    let mut search = Search::new(start, flags.most);
    let (mut best, mut fell_short): (Option<Run>, bool) = (None, false);
    while let Some(rate) = search.rate() {
        stop.check()?;
        let run = load(running, rate)?;
        let word = match (run.is_clean, run.fell_short) {
            (true, _) => "clean",
            (_, true) => "the generator falls short",
            _ => "drops",
        };
        say(&format!(
            "    {rate}/s: {:.0} done/s, {:.0} µs CPU each: {word}",
            run.pace(),
            run.cpu()
        ));
        search.tell(run.is_clean);
        if run.is_clean {
            (best, fell_short) = (Some(run), false);
        } else {
            fell_short = run.fell_short;
        }
        running.settle()?;
    }
    if search.is_open() || (fell_short && best.is_some()) {
        let why = if search.is_open() {
            "--most was reached"
        } else {
            "the generator could not send more"
        };
        book.note(format!(
            "{}: {why}; its true clean rate may be higher.",
            running.subject.title()
        ));
    }
    Ok(best)
}

/// Measures both for one subject.
///
/// # Errors
/// As [`search`].
pub fn measure(running: &mut Running, flags: &Flags, stop: &Stop, book: &mut Book) -> Result<()> {
    let subject = running.subject;
    say("  CPU at 3 000 exchanges/s");
    let mut best: Option<Run> = None;
    for _ in 0..TRIES {
        let run = load(running, COMPARED, flags.seconds, Kind::Exchanges)?;
        say(&format!("    {:.0} done/s, {:.0} µs CPU each", run.pace(), run.cpu()));
        running.settle()?;
        if best.is_none_or(|best| best.done < run.done) {
            best = Some(run);
        }
        if run.is_clean {
            break;
        }
    }
    if let Some(run) = best {
        // Work for what was dropped is work, too: it is said, not left out.
        if !run.is_clean {
            book.note(format!(
                "{}: not clean at {COMPARED}/s in some round; CPU there is for each completed exchange of the best of {TRIES} runs.",
                subject.title()
            ));
        }
        book.enter(Figure::CpuAt3000, subject, run.cpu());
    }
    clean_rate(running, flags, stop, book)
}

/// Searches the clean rate of one subject and enters it, and the CPU at it.
///
/// # Errors
/// As [`search`].
pub fn clean_rate(
    running: &mut Running,
    flags: &Flags,
    stop: &Stop,
    book: &mut Book,
) -> Result<()> {
    let subject = running.subject;
    say("  the clean rate");
    let known = book.median(Figure::CleanRate, subject);
    let load = |running: &mut Running, rate| load(running, rate, flags.seconds, Kind::Exchanges);
    match search(running, flags, known, stop, book, load)? {
        Some(run) => {
            book.enter(Figure::CleanRate, subject, run.pace());
            if subject != Subject::Follower {
                book.enter(Figure::CpuAtBest, subject, run.cpu());
            }
        }
        None => book.enter(Figure::CleanRate, subject, 0.0),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::perfdhcp::Half;

    #[test]
    fn a_run_is_clean_when_both_halves_are_and_the_generator_kept_up() {
        let half =
            |sent, received| Half { sent, received, drops: sent - received, ..Half::default() };
        let judge = |offers, acks| {
            let load = Load { discover_offer: offers, request_ack: acks };
            judge(&load, 1_000, 2, Kind::Exchanges, 400_000)
        };
        let good = judge(half(2_000, 2_000), half(2_000, 2_000));
        assert!(good.is_clean && !good.fell_short);
        assert_eq!((good.pace(), good.cpu()), (1_000.0, 200.0));
        assert!(!judge(half(2_000, 1_980), half(1_980, 1_980)).is_clean, "1 % is not under 1 %");
        assert!(!judge(half(2_000, 2_000), half(2_000, 1_950)).is_clean);
        let short = judge(half(1_800, 1_800), half(1_800, 1_800));
        assert!(!short.is_clean && short.fell_short);
    }
}
