//! `chaos sim`: seeds, one after the other on each processor.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stderr};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use leasehold::clock::Stopwatch;
use parking_lot::Mutex;

use super::flags::{Output, PlanWords, Sim, World, replay};
use super::page::{NodeState, Page, Told, html};
use super::shrink::shrink;
use super::tally::Tally;
use crate::floor::sim::faults::Fault;
use crate::floor::sim::mutants::Where;
use crate::floor::sim::{self, Breach, Mutant, Plan, Report};
use crate::floor::stage::Lacking;
use crate::oracle::History;

/// How many smaller plans are tried.
const TRIES: usize = 60;
/// Of the runs that broke a promise, how many a page tells in full.
const TOLD: usize = 20;

/// One run on a thread of its own. A panic is a breach, whoever it was.
pub fn simulate(world: World, seed: u64, plan: Plan) -> Report {
    let run = move || match world {
        World::Ideal => Ok(sim::ideal::run(seed, plan)),
        World::Raft => sim::raft::run(seed, plan),
    };
    let thread = std::thread::Builder::new().name(format!("seed {seed}")).spawn(run);
    let what = match thread.map(|thread| thread.join()) {
        Ok(Ok(Ok(report))) => return report,
        Ok(Ok(Err(error))) => format!("the run does not begin: {error:#}"),
        Ok(Err(panic)) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no text").to_owned()
        }
        Err(error) => format!("no thread: {error}"),
    };
    let breach = Breach { promise: "panic", what, at: 0 };
    Report {
        seed,
        breaches: vec![breach],
        story: Vec::new(),
        faults: Vec::new(),
        quiet: Vec::new(),
        history: History::default(),
        simulated_ms: 0,
    }
}

/// Runs it all.
pub fn run(flags: &Sim) -> ExitCode {
    let plan = flags.plan.plan();
    if let Err(why) = has(flags.world, &flags.plan) {
        eprintln!("chaos: {why}");
        return ExitCode::from(2);
    }
    match flags.seed {
        Some(seed) => one(flags, seed, plan),
        None => many(flags, plan),
    }
}

/// # Errors
/// When the world does not have what is asked for: a run without it would show nothing.
fn has(world: World, words: &PlanWords) -> Result<(), String> {
    let place = words.mutant.map(Mutant::place);
    let lacks_mutant = match world {
        World::Ideal => place == Some(Where::Raft),
        World::Raft => place == Some(Where::Ideal),
    };
    if lacks_mutant {
        return Err(format!("this mutant is not in the world {}", world.name()));
    }
    let wanted = |(fault, _): &&Lacking| words.faults.is_some_and(|all| all.has(*fault));
    match world.lacks().iter().find(wanted) {
        Some((fault, why)) => {
            Err(format!("the fault {} is not in the world {}: {why}", fault.name(), world.name()))
        }
        None => Ok(()),
    }
}

fn one(flags: &Sim, seed: u64, plan: Plan) -> ExitCode {
    let report = simulate(flags.world, seed, plan);
    let mut tally = Tally::default();
    tally.add(&report);
    match flags.output {
        Output::Json => println!("{:#}", tally.json()),
        Output::Text => {
            print!("{report}");
            if flags.ledger {
                println!("  the ledger:");
                report.history.events().iter().for_each(|event| println!("  {event}"));
            }
        }
    }
    let told = [Told::of(&report, replay(flags.world, seed, &plan))];
    let is_written = write_page(flags, &plan, &tally, &told, &NodeState::of(&report.history));
    exit(&tally, is_written)
}

fn many(flags: &Sim, plan: Plan) -> ExitCode {
    let threads = flags
        .threads
        .map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let (next, last) = (AtomicU64::new(flags.first), last(flags));
    let tally = Mutex::new(Tally::default());
    let told = Mutex::new(BTreeMap::<u64, Told>::new());
    let watch = Stopwatch::start();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::SeqCst);
                        if seed > last {
                            return;
                        }
                        let report = simulate(flags.world, seed, plan);
                        let is_broken = !report.breaches.is_empty();
                        tally.lock().add(&report);
                        if is_broken {
                            if flags.html.is_some() {
                                let again = replay(flags.world, seed, &plan);
                                keep(&mut told.lock(), Told::of(&report, again));
                            }
                            explain(flags, report, plan);
                        }
                    }
                })
            })
            .collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(100));
            progress(&tally.lock(), flags.seeds, watch.elapsed());
        }
    });
    if stderr().is_terminal() {
        eprintln!();
    }
    let tally = tally.into_inner();
    match flags.output {
        Output::Json => println!("{:#}", tally.json()),
        Output::Text => print!("{tally}"),
    }
    let told: Vec<Told> = told.into_inner().into_values().collect();
    let is_written = write_page(flags, &plan, &tally, &told, &[]);
    exit(&tally, is_written)
}

/// The last seed.
fn last(flags: &Sim) -> u64 {
    flags.first.saturating_add(flags.seeds - 1)
}

/// Adds a run to those that are told: the ones with the lowest seeds, whichever ended first, so that the same command tells the same runs.
fn keep(told: &mut BTreeMap<u64, Told>, run: Told) {
    told.insert(run.seed, run);
    if told.len() > TOLD {
        told.pop_last();
    }
}

/// Writes the page if one is asked for. False: it could not be written, which was said.
fn write_page(flags: &Sim, plan: &Plan, tally: &Tally, told: &[Told], nodes: &[NodeState]) -> bool {
    let Some(file) = &flags.html else { return true };
    let world = flags.world.name();
    let (title, command) = match flags.seed {
        Some(seed) => (format!("chaos sim: {world}, seed {seed}"), replay(flags.world, seed, plan)),
        None => {
            let (first, last) = (flags.first, last(flags));
            (format!("chaos sim: {world}, seeds {first} to {last}"), again(flags, plan))
        }
    };
    let not_run = not_run(flags.world, plan, tally);
    let page = Page { title: &title, command: &command, tally, told, nodes, not_run: &not_run };
    match std::fs::write(file, html(&page)) {
        Ok(()) => true,
        Err(error) => {
            eprintln!("chaos: {} cannot be written: {error}", file.display());
            false
        }
    }
}

/// The command that repeats all runs.
fn again(flags: &Sim, plan: &Plan) -> String {
    format!(
        "cargo run --release -p chaos-tests --bin chaos -- sim --world {} --first {} --seeds {}{}",
        flags.world.name(),
        flags.first,
        flags.seeds,
        PlanWords::of(plan)
    )
}

/// Faults that never came, and why: nothing was shown about them.
fn not_run(world: World, plan: &Plan, tally: &Tally) -> Vec<(String, String)> {
    let why = |fault: Fault| {
        if let Some((_, why)) = world.lacks().iter().find(|(it, _)| *it == fault) {
            (*why).to_owned()
        } else if !plan.faults.has(fault) {
            "not among --faults".to_owned()
        } else if fault == Fault::PowerCut && plan.power_cuts_per_mille == 0 {
            "--power-cuts is 0".to_owned()
        } else {
            "never drawn in these runs".to_owned()
        }
    };
    let never = |fault: &Fault| !tally.faults.contains_key(fault.name());
    let all = Fault::ALL.into_iter().filter(never);
    all.map(|fault| (fault.name().to_owned(), why(fault))).collect()
}

/// A line that is written over on a terminal, and now and then one in a file.
fn progress(tally: &Tally, seeds: u64, since: Duration) {
    static SAID: AtomicU64 = AtomicU64::new(0);
    let (is_terminal, secs) = (stderr().is_terminal(), since.as_secs());
    if !is_terminal && secs / 30 == SAID.swap(secs / 30, Ordering::Relaxed) {
        return;
    }
    let end = if is_terminal { '\r' } else { '\n' };
    let mut out = stderr().lock();
    // Progress that cannot be shown is no failure.
    let _ = write!(
        out,
        "{}/{seeds} seeds, {:.1} hours, {} ACKs, {} broken, {:02}:{:02}   {end}",
        tally.runs,
        tally.hours(),
        tally.acks,
        tally.broken.len(),
        secs / 60,
        secs % 60
    );
    let _ = out.flush();
}

fn explain(flags: &Sim, report: Report, plan: Plan) {
    let (world, seed) = (flags.world, report.seed);
    let promise = report.breaches.first().map_or("", |breach| breach.promise);
    eprintln!("\n{report}again: {}", replay(world, seed, &plan));
    // What the world does not have may not be named in the command that repeats it.
    let faults = world.lacks().iter().fold(plan.faults, |all, (it, _)| all.without(*it));
    let there = Plan { faults, ..plan };
    let least = match flags.no_shrinking {
        true => there,
        false => shrink(there, TRIES, |plan| simulate(world, seed, *plan).broke(&[promise])),
    };
    if least != there {
        let report = simulate(world, seed, least);
        eprintln!(
            "with as little as still breaks it:\n{report}again: {}\n",
            replay(world, seed, &least)
        );
    }
}

/// A broken promise weighs more than a page that could not be written.
fn exit(tally: &Tally, is_written: bool) -> ExitCode {
    match (tally.broken.is_empty(), is_written) {
        (false, _) => ExitCode::FAILURE,
        (true, false) => ExitCode::from(2),
        (true, true) => ExitCode::SUCCESS,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::runs::flags::{Flags, Verb};

    fn sim(words: &str) -> Sim {
        let words = ["chaos", "sim"].into_iter().chain(words.split_whitespace());
        let Verb::Sim(sim) = Flags::try_parse_from(words).unwrap().verb else { unreachable!() };
        sim
    }

    fn told(seed: u64) -> Told {
        Told {
            seed,
            breaches: Vec::new(),
            story: Vec::new(),
            faults: Vec::new(),
            acks: Vec::new(),
            length_ms: 0,
            again: String::new(),
        }
    }

    #[test]
    fn the_command_that_repeats_all_runs_is_understood() {
        let flags = sim("--world raft --first 5 --seeds 7 --clients 3 --html page.html");
        let command = again(&flags, &flags.plan.plan());
        let same = sim(command.split_once(" -- sim ").unwrap().1);
        assert_eq!((same.world, same.first, same.seeds), (World::Raft, 5, 7));
        assert_eq!(same.plan, flags.plan);
    }

    #[test]
    fn faults_that_did_not_come_are_told_with_the_reason() {
        let plan = Plan { faults: "kill,freeze,power-cut".parse().unwrap(), ..Plan::default() };
        let plan = Plan { power_cuts_per_mille: 0, ..plan };
        let mut tally = Tally::default();
        tally.faults.insert("storm", (1, 0, 1));
        let never = not_run(World::Raft, &plan, &tally);
        let why = |name: &str| never.iter().find(|(it, _)| it == name).map(|(_, why)| why.as_str());
        assert_eq!(why("kill"), Some("never drawn in these runs"));
        assert_eq!(why("cut"), Some("not among --faults"));
        assert!(why("freeze").is_some_and(|why| why.contains("in this world")));
        assert_eq!(why("power-cut"), Some("--power-cuts is 0"));
        assert_eq!(why("storm"), None);
    }

    #[test]
    fn the_lowest_seeds_are_told_whichever_ended_first() {
        let mut kept = BTreeMap::new();
        (1..=50).rev().for_each(|seed| keep(&mut kept, told(seed)));
        assert!(kept.into_keys().eq(1..=20_u64));
    }

    #[test]
    fn a_page_that_cannot_be_written_is_a_failure_and_one_that_can_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("page.html");
        let words = |file: &Path| format!("--seed 3 --html {}", file.display());
        let tally = Tally::default();
        let written =
            |file: &Path| write_page(&sim(&words(file)), &Plan::default(), &tally, &[], &[]);
        assert!(written(&file));
        let page = std::fs::read_to_string(&file).unwrap();
        assert!(page.contains("chaos sim: ideal, seed 3"), "{page}");
        assert!(!written(&file.join("below-a-file")));
        assert!(write_page(&sim("--seed 3"), &Plan::default(), &tally, &[], &[]));
    }
}
