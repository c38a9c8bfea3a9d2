//! Runs the clients against the servers: one thread, one socket, one clock reading a batch.
//!
//! 1. Clients whose life begins with a renewal get their leases.
//! 2. Warm-up: as the run, and nothing counts.
//! 3. The run: what is sent counts. A REQUEST counts if its DISCOVER did.
//! 4. Whoever still waits is answered or gives up; nothing new begins.
//! 5. What the clients hold is released.
//!
//! Ctrl-C ends steps 1 to 3, and step 5 too.

use std::io::{self, IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use leasehold::clock::Stopwatch;

use super::crowd::{Crowd, Heard, Nanos};
use super::mix::Mix;
use super::pace::{Pace, Rate};
use super::packet::{Bad, Identity, Kind, Query, Reply, Templates};
use super::tally::{Duplicate, Tally};
use super::wire::{BATCH, Wire};
use crate::commands::bench::latency::time;

/// Batches that are read before anything else is done.
const READS: usize = 8;
/// The longest wait: for a signal, and for the next line of progress.
const NAP: Nanos = 100_000_000;
/// Servers that say nothing at all for so long are left alone.
const SILENCE: Nanos = 3_000_000_000;
/// Exchanges in flight while leases are got that are not measured.
const BINDING: usize = 64;
/// The most releases a second when all is over; servers that were slower than this get them slower.
const RELEASES: u64 = 5_000;
/// The fewest.
const RELEASES_AT_LEAST: u64 = 200;

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whom to ask; clients are spread over them.
    pub servers: Vec<SocketAddrV4>,
    /// Where the relay agent is.
    pub relay: SocketAddrV4,
    /// How many clients.
    pub clients: u32,
    /// Their life.
    pub mix: Mix,
    /// How fast.
    pub rate: Rate,
    /// Steps in flight in a closed loop.
    pub window: usize,
    /// Time that does not count.
    pub warm_up: Duration,
    /// Time that does.
    pub duration: Duration,
    /// How long a client waits.
    pub timeout: Duration,
    /// Who the clients are.
    pub identity: Identity,
    /// One reply of so many is decoded whole.
    pub check: u64,
    /// Whether leases stay.
    pub keep: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// All counts.
    pub tally: Tally,
    /// How long it was counted.
    pub measured: Duration,
    /// Clients that held a lease before the first renewal, if the life begins with one.
    pub prepared: Option<usize>,
    /// Leases released at the end.
    pub released: u64,
    /// Replies that this machine dropped for want of room in our queue.
    pub overrun: Option<u64>,
    /// Whether somebody pressed Ctrl-C.
    pub interrupted: bool,
}

/// Why it ended before its time.
#[derive(Debug)]
pub enum Stopped {
    /// No server said anything.
    Silence,
    /// The socket does not work.
    Io(io::Error),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Stopped {
        Stopped::Io(error)
    }
}

/// Carries out the plan.
pub fn drive(plan: &Plan, wire: Wire, interrupted: &AtomicBool) -> Result<Outcome, Stopped> {
    let mut drive = Drive {
        plan,
        wire,
        crowd: Crowd::new(plan.clients, &plan.mix, nanos(plan.timeout)),
        templates: Templates::new(plan.identity),
        tally: Tally::new(),
        clock: Stopwatch::start(),
        replies: 0,
        next: Vec::with_capacity(BATCH),
        progress: Progress::new(),
        interrupted,
    };
    let prepared = drive.prepare()?;
    let measured = drive.run()?;
    let interrupted = interrupted.load(Relaxed);
    let overrun = drive.wire.overrun();
    let released = if plan.keep { 0 } else { drive.release(measured)? };
    Ok(Outcome { tally: drive.tally, measured, prepared, released, overrun, interrupted })
}

struct Drive<'a> {
    plan: &'a Plan,
    wire: Wire,
    crowd: Crowd,
    templates: Templates,
    tally: Tally,
    clock: Stopwatch,
    /// Replies to our clients so far.
    replies: u64,
    /// What follows the replies of one batch.
    next: Vec<Query>,
    progress: Progress,
    interrupted: &'a AtomicBool,
}

impl Drive<'_> {
    fn now(&self) -> Nanos {
        nanos(self.clock.elapsed())
    }

    fn stop(&self) -> bool {
        self.interrupted.load(Relaxed)
    }

    /// Step 1. Clients that get no lease now begin the run with an exchange.
    fn prepare(&mut self) -> Result<Option<usize>, Stopped> {
        if !self.plan.mix.begins_bound() {
            return Ok(None);
        }
        let all = self.plan.clients as usize;
        let (mut bound, mut since) = (0, self.now());
        let patience = SILENCE.max(3 * nanos(self.plan.timeout));
        loop {
            let now = self.turn()?;
            if self.crowd.bound() > bound {
                (bound, since) = (self.crowd.bound(), now);
            }
            let over = bound >= all || self.stop() || now.saturating_sub(since) > patience;
            if over && self.crowd.in_flight() == 0 {
                return Ok(Some(bound));
            }
            let room = BINDING.saturating_sub(self.crowd.in_flight());
            for _ in 0..if over { 0 } else { room.min(all - bound) } {
                match self.crowd.begin_binding(now) {
                    Some(query) => self.send(&query)?,
                    None => break,
                }
            }
            self.wire.flush()?;
            self.progress.tell(now, || format!("{bound} of {all} clients have a lease"));
            self.rest(now, now + NAP)?;
        }
    }

    /// Steps 2 to 4; how long it was counted.
    fn run(&mut self) -> Result<Duration, Stopped> {
        let start = self.now();
        let begin = start + nanos(self.plan.warm_up);
        let mut end = begin + nanos(self.plan.duration);
        let mut pace = Pace::new(self.plan.rate, self.plan.window, start);
        loop {
            let now = self.turn()?;
            if self.stop() {
                end = end.min(now);
            }
            self.crowd.count((begin..end).contains(&now));
            if now < end {
                self.begin(&mut pace, now)?;
            } else if self.crowd.in_flight() == 0 {
                self.crowd.count(false);
                return Ok(Duration::from_nanos(end.saturating_sub(begin)));
            }
            self.wire.flush()?;
            let (tally, bound) = (&self.tally, self.crowd.bound());
            self.progress.tell(now, || line(tally, begin, now, bound));
            let due = pace.next().filter(|_| now < end).unwrap_or(now + NAP);
            self.rest(now, due.min(if now < end { end } else { now + NAP }))?;
        }
    }

    fn begin(&mut self, pace: &mut Pace, now: Nanos) -> io::Result<()> {
        let (due, left_out) = pace.due(now, self.crowd.in_flight());
        let counts = u64::from(self.crowd.counts());
        self.tally.behind += left_out * counts;
        for begun in 0..due {
            match self.crowd.begin(now) {
                Some(query) => self.send(&query)?,
                None => {
                    let open = matches!(self.plan.rate, Rate::Fixed(_));
                    self.tally.no_client += (due - begun) * counts * u64::from(open);
                    break;
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, query: &Query) -> io::Result<()> {
        if self.crowd.counts() {
            self.tally.sent(query.kind);
        }
        self.put(query)
    }

    fn put(&mut self, query: &Query) -> io::Result<()> {
        let (server, templates) =
            (query.client as usize % self.plan.servers.len(), &self.templates);
        self.wire.push(server, |out| templates.write(query, out))
    }

    /// Reads what has come, and has those give up who waited long enough; the time.
    fn turn(&mut self) -> Result<Nanos, Stopped> {
        for _ in 0..READS {
            if !self.receive()? {
                break;
            }
        }
        let now = self.now();
        let tally = &mut self.tally;
        self.crowd.expire(now, |kind, counted| {
            if counted {
                tally.lost(kind);
            }
        });
        let nothing = self.replies + self.tally.malformed == 0;
        if nothing && now > SILENCE.max(2 * nanos(self.plan.timeout)) {
            return Err(Stopped::Silence);
        }
        Ok(now)
    }

    /// One batch.
    fn receive(&mut self) -> io::Result<bool> {
        let Drive { plan, wire, crowd, tally, clock, replies, next, .. } = self;
        let mut read = None;
        let more = wire.receive(|bytes| {
            let now = *read.get_or_insert_with(|| nanos(clock.elapsed()));
            let reply = match Reply::read(bytes, plan.identity) {
                Ok(reply) => reply,
                Err(Bad::Stray) => {
                    tally.stray += 1;
                    return;
                }
                Err(Bad::Malformed(why)) => {
                    tally.malformed(why.to_owned());
                    return;
                }
            };
            if *replies % plan.check == 0 {
                tally.checked += 1;
                if let Err(why) = reply.check(bytes) {
                    tally.malformed(why);
                }
            }
            *replies += 1;
            let heard = crowd.hear(&reply, now);
            tally.heard(&heard, crowd.counts());
            if let Heard::Answered { next: follows, duplicate, counted, .. } = heard {
                next.extend(follows);
                if follows.is_some() && counted {
                    tally.sent(Kind::Request);
                }
                if let Some(other) = duplicate {
                    let address = Ipv4Addr::from(reply.address);
                    let at = now as f64 / 1e9;
                    tally.duplicate(Duplicate { address, clients: [other, reply.client], at });
                }
            }
        })?;
        for at in 0..self.next.len() {
            let query = self.next[at];
            self.put(&query)?;
        }
        self.next.clear();
        Ok(more)
    }

    /// Sends what is to be sent, and sleeps until `until`, or until somebody gives up or something comes.
    fn rest(&mut self, now: Nanos, until: Nanos) -> io::Result<()> {
        self.wire.flush()?;
        let until = until.min(now + NAP).min(self.crowd.next_expiry().unwrap_or(until));
        match until.saturating_sub(self.now()) {
            0 => Ok(()),
            most => self.wire.wait(Duration::from_nanos(most)),
        }
    }

    /// Step 5.
    fn release(&mut self, measured: Duration) -> Result<u64, Stopped> {
        let answered = self.tally.answers() as f64 / measured.as_secs_f64().max(0.001);
        let rate = (answered as u64).clamp(RELEASES_AT_LEAST, RELEASES);
        let (all, mut released) = (self.crowd.bound(), 0);
        let stopped_before = self.interrupted.swap(false, Relaxed);
        let mut pace = Pace::new(Rate::Fixed(rate), 0, self.now());
        'all: while !self.stop() {
            let now = self.now();
            for _ in 0..pace.due(now, 0).0 {
                let Some(query) = self.crowd.release_one(now) else { break 'all };
                self.put(&query)?;
                released += 1;
            }
            self.progress.tell(now, || format!("{released} of {all} leases released"));
            self.wire.flush()?;
            let pause = pace.next().unwrap_or(now).saturating_sub(self.now());
            std::thread::sleep(Duration::from_nanos(pause));
        }
        self.wire.flush()?;
        self.interrupted.fetch_or(stopped_before, Relaxed);
        Ok(released)
    }
}

fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One line about the run so far.
fn line(tally: &Tally, begin: Nanos, now: Nanos, bound: usize) -> String {
    if now < begin {
        return format!("warming up, {bound} clients have a lease");
    }
    let sum = |of: fn(&super::tally::Count) -> u64| -> u64 {
        Kind::ALL.iter().map(|kind| of(tally.of(*kind))).sum()
    };
    let seconds = (now - begin) as f64 / 1e9;
    let p99 = |kind: Kind| tally.of(kind).took.quantile(0.99);
    let worst = Kind::ALL.iter().filter_map(|kind| p99(*kind)).max();
    format!(
        "{seconds:.0} s: {:.0} answers/s, p99 {}, {} lost, {} refused, {bound} clients have a lease{}",
        tally.answers() as f64 / seconds.max(0.001),
        worst.map_or("-".to_owned(), time),
        sum(|count| count.lost),
        sum(|count| count.refused),
        match tally.duplicate_count {
            0 => String::new(),
            count => format!(", {count} ADDRESSES GIVEN TWICE"),
        }
    )
}

/// A line on the terminal that is written over once a second.
struct Progress {
    shows: bool,
    last: Nanos,
}

impl Progress {
    fn new() -> Progress {
        Progress { shows: std::io::stderr().is_terminal(), last: 0 }
    }

    fn tell(&mut self, now: Nanos, text: impl FnOnce() -> String) {
        if self.shows && now.saturating_sub(self.last) >= 1_000_000_000 {
            self.last = now;
            // A terminal that went away does not end the run.
            let _ = write!(std::io::stderr(), "\r\x1b[K{}", text());
        }
    }
}

impl Drop for Progress {
    /// What comes next is printed over it.
    fn drop(&mut self) {
        if self.shows && self.last > 0 {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
