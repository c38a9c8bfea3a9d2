//! `chaos sim`: seeds, one after the other on each processor.

use std::io::{IsTerminal, Write, stderr};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use leasehold::clock::Stopwatch;
use parking_lot::Mutex;

use super::flags::{Output, Sim, World, replay};
use super::shrink::shrink;
use super::tally::Tally;
use crate::floor::sim::{self, Plan, Report};

/// How many smaller plans are tried.
const TRIES: usize = 60;

/// One run on a thread of its own.
///
/// # Panics
/// When the server does, or the run cannot begin.
pub fn simulate(world: World, seed: u64, plan: Plan) -> Report {
    let run = move || match world {
        World::Ideal => sim::ideal::run(seed, plan),
        World::Raft => {
            // Nothing but time is switched on: a socket would be noticed.
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let builder = builder.enable_time().start_paused(true).max_blocking_threads(4);
            let runtime = builder.build().expect("a runtime");
            runtime.block_on(sim::raft::run(seed, plan)).expect("the run begins")
        }
    };
    let thread = std::thread::Builder::new().name(format!("seed {seed}")).spawn(run);
    thread.expect("a thread").join().unwrap_or_else(|_| {
        panic!("seed {seed} panicked; again: {}", replay(world, seed, &plan));
    })
}

/// Runs it all.
pub fn run(flags: &Sim) -> ExitCode {
    let plan = flags.plan.plan();
    match flags.seed {
        Some(seed) => one(flags, seed, plan),
        None => many(flags, plan),
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
    exit(&tally)
}

fn many(flags: &Sim, plan: Plan) -> ExitCode {
    let threads = flags
        .threads
        .map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let (next, last) = (AtomicU64::new(flags.first), flags.first.saturating_add(flags.seeds - 1));
    let tally = Mutex::new(Tally::default());
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
    exit(&tally)
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
        "{}/{seeds} seeds, {:.1} simulated hours, {} ACKs, {} broken, {:02}:{:02}   {end}",
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
    let least = match flags.no_shrinking {
        true => plan,
        false => shrink(plan, TRIES, |plan| simulate(world, seed, *plan).broke(&[promise])),
    };
    let report = if least == plan { report } else { simulate(world, seed, least) };
    eprintln!("\n{report}again: {}\n", replay(world, seed, &least));
}

fn exit(tally: &Tally) -> ExitCode {
    if tally.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
