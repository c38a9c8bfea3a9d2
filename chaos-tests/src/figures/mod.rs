//! The benchmark suite: what was promised of speed, as ratios of one run, beside Kea alone, Kea hot-standby and a stateless responder.
//!
//! It is run by command, `cargo bench -p chaos-tests --bench figures`, and by nothing else; `docs/performance.md` tells how. Every subject
//! gets the same wiring ([`subject`]), the same configuration and the same load; a round measures one after the other, so that the noise
//! of the machine hits all alike, and each round starts them anew.
//!
//! * Pure: [`search`] (the clean rate), [`sample`] (several values of one figure), [`goal`] (the goals), [`table`] (the output).
//! * [`book`]: what was measured. [`flags`]: the command line. [`machine`]: what the header says.
//! * [`responder`], and [`crate::kea::service`]: what we are compared with. [`client`]: load that perfdhcp cannot make. [`probe`]: the disk and the link.
//! * Parts: [`rate`], [`latency`], [`kinds`], [`overload`], [`million`], [`slow_disk`].
//!
//! Whatever happens, processes and namespaces go with the values that stand for them; a signal ends the suite at the next run.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use crate::gate;
use crate::kea::server::Kind;
use crate::kea::service;
use crate::stop::Stop;
use book::{Book, Subject};
use flags::{Flags, Output, Part, Purpose};
use subject::Running;

pub mod book;
pub mod client;
pub mod flags;
pub mod goal;
pub mod kinds;
pub mod latency;
pub mod machine;
pub mod million;
pub mod overload;
pub mod probe;
pub mod rate;
pub mod responder;
pub mod sample;
pub mod search;
pub mod slow_disk;
pub mod subject;
pub mod table;

/// Tells of progress.
fn say(text: &str) {
    eprintln!("{text}");
}

/// The whole program.
pub fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let done = match flags::purpose(&words) {
        Purpose::Nothing => return ExitCode::SUCCESS,
        Purpose::Respond => responder::serve().map(|()| true),
        Purpose::Measure => run(&Flags::parse()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("figures: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Measures and prints; false when a part failed.
fn run(flags: &Flags) -> Result<bool> {
    // Said at once, not after an hour.
    for (name, variable) in [("leasehold", "LEASEHOLD_BIN"), ("cluster-ctl", "CLUSTER_CTL_BIN")] {
        gate::binary(name, variable)?;
    }
    let Some(gate) = gate::enter("figures", &["perfdhcp"])? else { return Ok(false) };
    let kea = match service::find(flags.kea_root().as_deref()) {
        _ if flags.without_kea => None,
        Ok(kea) => Some(kea),
        Err(why) => {
            say(&format!("without Kea: {why}"));
            None
        }
    };
    let header = machine::header(flags, kea.as_ref());
    let mut suite =
        Suite { flags, gate, kea, stop: Stop::listen()?, book: Book::default(), whole: true };
    for round in 1..=flags.rounds {
        for subject in Subject::ALL {
            if !suite.stop.is_set() && suite.concerns(subject) {
                say(&format!("round {round} of {}: {}", flags.rounds, subject.title()));
                if let Err(error) = suite.measure(subject) {
                    suite.failed(subject, &error);
                }
            }
        }
    }
    suite.alone();
    suite.book.enter_shares();
    match flags.output {
        Output::Text => print!("{}", table::text(&header, &suite.book)),
        Output::Json => println!("{:#}", table::json(&header, &suite.book)),
    }
    Ok(suite.whole)
}

struct Suite<'a> {
    flags: &'a Flags,
    gate: gate::Gate,
    kea: Option<Kind>,
    stop: Stop,
    book: Book,
    whole: bool,
}

impl Suite<'_> {
    /// Whether a subject has a part in what is wanted.
    fn concerns(&self, subject: Subject) -> bool {
        let wants = |parts: &[Part]| parts.iter().any(|part| self.flags.wants(*part));
        match subject {
            Subject::Follower => wants(&[Part::Follower]),
            Subject::Leader => {
                wants(&[Part::Rate, Part::Follower, Part::Latency, Part::Kinds, Part::Overload])
            }
            Subject::KeaAlone | Subject::KeaPair if self.kea.is_none() => false,
            _ => wants(&[Part::Rate, Part::Latency, Part::Kinds, Part::Overload]),
        }
    }

    /// Goes on after a part that failed, and has the table tell of it.
    fn failed(&mut self, subject: Subject, error: &anyhow::Error) {
        self.whole = false;
        let said = format!("{error:#}");
        say(&format!("  failed: {said}"));
        let first = said.lines().next().unwrap_or_default();
        self.book.note(match self.stop.is_set() {
            true => "Stopped by a signal: figures are missing.".to_owned(),
            false => format!("{}: a part failed: {first}", subject.title()),
        });
    }

    /// All parts that concern a subject, in one life of it.
    fn measure(&mut self, subject: Subject) -> Result<()> {
        let (flags, stop) = (self.flags, self.stop.clone());
        let mut running = self.start(subject, &[])?;
        let book = &mut self.book;
        if subject == Subject::Follower {
            rate::clean_rate(&mut running, flags, &stop, book)?;
            running.passed();
            return Ok(());
        }
        if flags.wants(Part::Rate) {
            rate::measure(&mut running, flags, &stop, book)?;
        } else if subject == Subject::Leader && flags.wants(Part::Follower) {
            rate::clean_rate(&mut running, flags, &stop, book)?;
        }
        if flags.wants(Part::Latency) {
            latency::measure(&mut running, flags, book)?;
        }
        if flags.wants(Part::Kinds) {
            kinds::measure(&mut running, flags, &stop, book)?;
        }
        if flags.wants(Part::Overload) {
            overload::measure(&mut running, flags, &stop, book)?;
        }
        running.passed();
        Ok(())
    }

    /// What concerns nobody but us, and needs a cluster of its own.
    fn alone(&mut self) {
        type Measure = fn(&mut Running, &Flags, &Stop, &mut Book) -> Result<()>;
        let parts: [(Part, &[&str], Measure); 2] = [
            (Part::Million, &[], million::measure),
            (Part::SlowDisk, &slow_disk::WRAPPER, slow_disk::measure),
        ];
        for round in 1..=self.flags.rounds {
            for (part, wrapper, measure) in parts {
                if self.stop.is_set() || !self.flags.wants(part) {
                    continue;
                }
                if let (Part::SlowDisk, Some(why)) = (part, slow_disk::missing()) {
                    self.book.note(why);
                    continue;
                }
                say(&format!("round {round} of {}: {part:?}", self.flags.rounds));
                let (flags, stop) = (self.flags, self.stop.clone());
                let done = self.start(Subject::Leader, wrapper).and_then(|mut running| {
                    measure(&mut running, flags, &stop, &mut self.book)?;
                    running.passed();
                    Ok(())
                });
                if let Err(error) = done {
                    self.failed(Subject::Leader, &error);
                }
            }
        }
    }

    /// Starts a subject and fills its caches: what is measured are not the first packets.
    fn start(&self, subject: Subject, wrapper: &[&str]) -> Result<Running> {
        let (kea, sockets) = (self.kea.as_ref(), self.flags.sockets);
        let mut running = Running::start(subject, &self.gate, kea, sockets, wrapper)
            .context("it does not start")?;
        rate::load(&mut running, 500, 1, rate::Kind::Exchanges)?;
        Ok(running)
    }
}
