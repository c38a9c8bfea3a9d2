//! `chaos netns` and `chaos soak`: the story on real servers, for so long, with every line of it shown as it happens.

use std::process::ExitCode;

use anyhow::Result;

use super::flags::{Netns, Output, RealWords, Soak, Subject};
use super::page::{self, NodeState, Page, Told};
use super::tally::Tally;
use crate::floor::netns::real::ours::Ours;
use crate::floor::netns::real::pair::Pair;
use crate::floor::netns::real::{self, Servers, Shown};
use crate::floor::netns::{emulator, loop_disk};
use crate::floor::sim::Plan;
use crate::floor::sim::faults::Faults;
use crate::kea::service;
use crate::stop::Stop;
use crate::{clock, gate};

/// One run.
struct Run<'a> {
    flags: &'a RealWords,
    minutes: u64,
    plan: Plan,
    /// The words that repeat it.
    again: String,
}

/// `chaos netns`.
pub fn run(flags: &Netns) -> ExitCode {
    let (minutes, flags) = (flags.minutes, &flags.real);
    // Longer than in the simulation: a process takes its time to start, and a judgement waits for a quiet moment.
    let plan = Plan { faults_ms: 30_000, pause_ms: (1_000, 6_000), ..plan(flags) };
    let again = format!("netns --minutes {minutes}{}", words(flags));
    one(&Run { flags, minutes, plan, again })
}

/// `chaos soak`.
pub fn soak(flags: &Soak) -> ExitCode {
    let (hours, flags) = (flags.hours, &flags.real);
    let plan = Plan { faults_ms: 300_000, pause_ms: (5_000, 60_000), ..plan(flags) };
    let again = format!("soak --hours {hours}{}", words(flags));
    one(&Run { flags, minutes: hours * 60, plan, again })
}

fn plan(flags: &RealWords) -> Plan {
    Plan {
        clients: flags.clients,
        writers: flags.writers,
        pool: flags.pool,
        rounds: u32::MAX,
        faults: flags.plan,
        power_cuts_per_mille: 60,
        ..Plan::default()
    }
}

fn words(flags: &RealWords) -> String {
    let RealWords { seed, clients, writers, pool, .. } = flags;
    let mut words = format!(" --seed {seed} --clients {clients} --writers {writers} --pool {pool}");
    if flags.plan != Faults::ALL {
        words += &format!(" --plan {}", flags.plan);
    }
    if flags.subject == Subject::Kea {
        words += " --subject kea";
    }
    if let Some(root) = &flags.kea_root {
        words += &format!(" --kea-root {}", root.display());
    }
    words
}

fn one(run: &Run<'_>) -> ExitCode {
    match shown(run) {
        Ok(Some(shown)) => tell(run, shown),
        // It was said why.
        Ok(None) => ExitCode::from(2),
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn shown(run: &Run<'_>) -> Result<Option<Shown>> {
    let tools = loop_disk::POWER_TOOLS.into_iter().chain(emulator::TOOLS).chain(["tc", "setsid"]);
    let tools: Vec<&str> = tools.collect();
    let Some(gate) = gate::enter("chaos-netns", &tools)? else { return Ok(None) };
    let signal = Stop::listen()?;
    let (seed, plan) = (run.flags.seed, run.plan);
    eprintln!("{} minutes with seed {seed}: {}", run.minutes, plan.faults);
    let shown = match run.flags.subject {
        Subject::Leasehold => during(Ours::start(gate, seed, &plan)?, run, &signal)?,
        Subject::Kea => {
            let root = run.flags.kea_root.clone();
            let root = root.or_else(|| std::env::var_os("KEA3_ROOT").map(Into::into));
            let kind = service::find(root.as_deref()).map_err(anyhow::Error::msg)?;
            eprintln!("{}", service::version(&kind));
            during(Pair::start(&gate, kind, seed, &plan)?, run, &signal)?
        }
    };
    Ok(Some(shown))
}

fn during<S: Servers>(servers: S, run: &Run<'_>, signal: &Stop) -> Result<Shown> {
    let end = clock::now_ms() + run.minutes * 60_000;
    let stop = || clock::now_ms() >= end || signal.is_set();
    real::run(servers, run.flags.seed, run.plan, stop)
}

fn tell(run: &Run<'_>, shown: Shown) -> ExitCode {
    let Shown { report, facts, lacked, unwritten } = shown;
    let mut tally = Tally::default();
    tally.add(&report);
    let not_run: Vec<(String, String)> = lacked
        .iter()
        .filter(|(fault, _)| run.plan.faults.has(*fault))
        .map(|(fault, why)| (fault.name().to_owned(), (*why).to_owned()))
        .chain(unwritten.map(|why| ("writers".to_owned(), why.to_owned())))
        .collect();
    let again = format!("cargo run --release -p chaos-tests --bin chaos -- {}", run.again);
    let nodes: Vec<NodeState> =
        facts.into_iter().map(|(name, facts)| NodeState { name, facts }).collect();
    match run.flags.output {
        Output::Json => {
            let mut json = tally.json();
            json["not-run"] = not_run.iter().map(|(name, why)| format!("{name}: {why}")).collect();
            json["again"] = again.clone().into();
            println!("{json:#}");
        }
        Output::Text => {
            print!("{tally}");
            for (name, why) in &not_run {
                println!("not run: {name}: {why}");
            }
            for breach in &report.breaches {
                println!("{} (at {} ms): {}", breach.promise, breach.at, breach.what);
            }
            println!("again: {again}");
        }
    }
    let is_broken = !report.breaches.is_empty();
    if let Some(file) = &run.flags.html {
        let told = [Told::of(&report, again.clone())];
        let page = Page {
            title: &run.again,
            command: &again,
            tally: &tally,
            told: &told,
            nodes: &nodes,
            not_run: &not_run,
        };
        if let Err(error) = std::fs::write(file, page::html(&page)) {
            eprintln!("chaos: {}: {error}", file.display());
            return ExitCode::from(if is_broken { 1 } else { 2 });
        }
    }
    if is_broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
