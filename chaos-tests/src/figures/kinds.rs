//! One kind of message alone: DISCOVERs, by perfdhcp, and renewals, by clients of our own, since perfdhcp renews only beside as many full
//! exchanges.

use anyhow::{Result, ensure};

use super::book::{Book, Figure, Subject};
use super::client::{Act, Clients, Sent};
use super::flags::Flags;
use super::rate::{self, Kind, Run};
use super::say;
use super::subject::Running;
use crate::stop::Stop;

/// How many clients renew, in turn.
const CLIENTS: usize = 30_000;
/// At this rate a client comes again after 4 s. What comes within 3 s Leasehold answers from memory, as a repeat (M7).
const MOST: u32 = CLIENTS as u32 / 4;
/// How many of them join in a second: what every server can do.
const JOINS: u32 = 750;

/// Measures one subject.
///
/// # Errors
/// When the load cannot be made or a server is gone.
pub fn measure(running: &mut Running, flags: &Flags, stop: &Stop, book: &mut Book) -> Result<()> {
    let subject = running.subject;
    say("  DISCOVER only");
    let known = book.median(Figure::DiscoverRate, subject);
    let load =
        |running: &mut Running, rate| rate::load(running, rate, flags.seconds, Kind::Discovers);
    let best = rate::search(running, flags, known, stop, book, load)?;
    enter(book, subject, [Figure::DiscoverRate, Figure::DiscoverCpu], best);
    if subject == Subject::Stateless {
        return Ok(());
    }
    say("  renewals only");
    let mut clients = Clients::new(running.relay(), running.address, CLIENTS)?;
    clients.join_all(JOINS)?;
    let known = book.median(Figure::RenewRate, subject);
    let load = |running: &mut Running, rate| renew(&mut clients, running, rate, flags.seconds);
    let flags = Flags { most: flags.most.min(MOST), ..flags.clone() };
    let best = rate::search(running, &flags, known, stop, book, load)?;
    enter(book, subject, [Figure::RenewRate, Figure::RenewCpu], best);
    Ok(())
}

fn enter(book: &mut Book, subject: Subject, [rate, cpu]: [Figure; 2], best: Option<Run>) {
    book.enter(rate, subject, best.map_or(0.0, |run| run.pace()));
    if let Some(run) = best {
        book.enter(cpu, subject, run.cpu());
    }
}

fn renew(clients: &mut Clients, running: &mut Running, rate: u32, secs: u32) -> Result<Run> {
    let before = running.cpu_micros()?;
    let sent = clients.act_for(Act::Renew, rate, secs);
    ensure!(!sent.is_empty(), "nothing was sent");
    let cpu_micros = running.cpu_micros()? - before;
    let done = sent.iter().filter(|one| one.is_answered()).count() as u64;
    let fell_short = is_short(&sent, rate, secs);
    let is_clean = !fell_short && done * 100 > sent.len() as u64 * 99;
    Ok(Run { rate, done, secs, cpu_micros, is_clean, fell_short })
}

/// Less than 95 % of what was to be sent was sent.
fn is_short(sent: &[Sent], rate: u32, secs: u32) -> bool {
    (sent.len() as u64) * 100 < u64::from(rate) * u64::from(secs) * 95
}
