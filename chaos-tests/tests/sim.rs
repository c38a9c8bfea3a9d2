//! The seeded simulation: what clients were promised holds whatever breaks, and planted faults of the server are noticed.
//!
//! `SIM_SEED=7 cargo test -p chaos-tests --test sim the_promises -- --nocapture` replays a run; `SIM_SEEDS=500` makes 500 of them.

use std::sync::atomic::{AtomicU64, Ordering};

use chaos_tests::floor::sim::{Mutant, Plan, Report};
use chaos_tests::runs;
use chaos_tests::runs::flags::World;

/// Seeds of the test of the real thing, if `SIM_SEEDS` does not say otherwise.
const SEEDS: u64 = 6;
/// Within so many seeds each mutant must be caught.
const MUTANT_SEEDS: u64 = 12;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

fn simulate(seed: u64, plan: Plan) -> Report {
    runs::sim::simulate(World::Raft, seed, plan)
}

fn replay(seed: u64) -> String {
    format!(
        "replay: SIM_SEED={seed} cargo test -p chaos-tests --test sim the_promises -- --nocapture"
    )
}

#[test]
fn the_promises_hold_whatever_breaks() {
    if let Some(seed) = variable("SIM_SEED") {
        let report = simulate(seed, Plan::default());
        println!("{report}");
        if std::env::var_os("SIM_LEDGER").is_some() {
            report.history.events().iter().for_each(|event| println!("{event}"));
        }
        assert!(report.breaches.is_empty(), "{}", replay(seed));
        return;
    }
    let first = variable("SIM_FIRST").unwrap_or(1);
    let last = first + variable("SIM_SEEDS").unwrap_or(SEEDS) - 1;
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let broken = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed > last {
                        return;
                    }
                    let report = simulate(seed, Plan::default());
                    let (acks, naks) = (report.history.acks(), report.history.naks());
                    let breaches = report.breaches.len();
                    println!("seed {seed}: {} s simulated, {acks} ACKs, {naks} NAKs, {breaches} breaches", report.simulated_ms / 1000);
                    assert!(breaches > 0 || acks > 60, "seed {seed}: so few ACKs prove nothing");
                    if breaches > 0 {
                        println!("{report}{}", replay(seed));
                        broken.lock().expect("nobody panicked").push(seed);
                    }
                }
            });
        }
    });
    let broken = broken.into_inner().expect("nobody panicked");
    assert!(broken.is_empty(), "promises were broken with seeds {broken:?}; {}", replay(broken[0]));
}

/// The mutant must break one of `promises` within [`MUTANT_SEEDS`] seeds.
fn is_caught(mutant: Mutant, plan: Plan, promises: &[&str]) {
    let plan = Plan { mutant: Some(mutant), ..plan };
    let (first, seeds) =
        (variable("SIM_FIRST").unwrap_or(1), variable("SIM_SEEDS").unwrap_or(MUTANT_SEEDS));
    let mut caught = false;
    for seed in first..first + seeds {
        let report = simulate(seed, plan);
        let kinds: std::collections::BTreeSet<_> =
            report.breaches.iter().map(|it| it.promise).collect();
        println!(
            "{mutant:?}, seed {seed}: {} breaches {kinds:?} after {} s",
            report.breaches.len(),
            report.simulated_ms / 1000
        );
        if let Some(breach) =
            report.breaches.iter().find(|breach| promises.contains(&breach.promise))
        {
            println!("caught: {}: {}", breach.promise, breach.what);
            caught = true;
            // What the run shows is the mutant's doing.
            let sound = simulate(seed, Plan { mutant: None, ..plan });
            assert!(sound.breaches.is_empty(), "{sound}");
            // Asked for more, it tells how many of them are caught.
            if variable("SIM_SEEDS").is_none() {
                break;
            }
        }
    }
    assert!(caught, "{mutant:?} was not caught within {seeds} seeds");
}

#[test]
fn a_server_that_acknowledges_before_the_sync_is_caught() {
    let plan = Plan {
        clients: 24,
        rounds: 10,
        faults_ms: 4_000,
        pause_ms: (800, 1_500),
        power_cuts_per_mille: 900,
        ..Plan::default()
    };
    is_caught(Mutant::AckBeforeSync, plan, &["durable", "unique"]);
}

#[test]
fn an_apply_that_skips_r2c_is_caught() {
    // A Grant hangs while its client moves on to a node that knows nothing of it and offers something else.
    let plan = Plan {
        clients: 14,
        pool: 30,
        rounds: 10,
        faults_ms: 6_000,
        pause_ms: (1_500, 5_000),
        late_per_mille: 700,
        notes_lost_per_mille: 1_000,
        ..Plan::default()
    };
    is_caught(Mutant::ApplyWithoutR2c, plan, &["durable", "unique", "stale nak"]);
}

#[test]
fn a_vote_that_is_told_before_the_sync_is_caught() {
    // Disks are often slow when the power goes, just after somebody was elected.
    let plan = Plan {
        rounds: 30,
        faults_ms: 4_000,
        pause_ms: (300, 900),
        faults: "power-cut,slow-disk,depose".parse().expect("these are faults"),
        power_cuts_per_mille: 800,
        ..Plan::default()
    };
    is_caught(Mutant::VoteNotSynced, plan, &["votes"]);
}

#[test]
fn a_pre_vote_that_asks_nobody_is_caught() {
    // Who hears nobody, and who is the last one running, would stand if he did not ask first.
    let faults = "isolate,kill".parse().expect("these are faults");
    is_caught(Mutant::PreVoteAlways, Plan { faults, ..Plan::default() }, &["terms"]);
}

#[test]
fn a_tail_that_stays_is_caught() {
    // A leader that is cut off goes on writing, and another leads meanwhile.
    let faults = "isolate,cut,storm,depose".parse().expect("these are faults");
    let plan = Plan { rounds: 10, faults, ..Plan::default() };
    is_caught(Mutant::TailNotTruncated, plan, &["agreement"]);
}
