//! The ideal world: promises hold whatever breaks, a seed is replayed to the last packet, and planted faults of the server are noticed.
//!
//! A failure prints the command that repeats it. `cargo run --release -p chaos-tests --bin chaos -- sim --help` has the rest.

use std::collections::BTreeSet;

use chaos_tests::floor::sim::mutants::Where;
use chaos_tests::floor::sim::{Mutant, Plan};
use chaos_tests::oracle::stability;
use chaos_tests::runs::flags::{World, replay};
use chaos_tests::runs::sim::simulate;

/// Seeds of the test of the real thing.
const SEEDS: u64 = 40;
/// Within so many seeds each mutant must be caught.
const MUTANT_SEEDS: u64 = 40;

#[test]
fn the_promises_hold_whatever_breaks() {
    for seed in 1..=SEEDS {
        let plan = Plan::default();
        let report = simulate(World::Ideal, seed, plan);
        assert!(report.breaches.is_empty(), "{report}again: {}", replay(World::Ideal, seed, &plan));
        assert!(report.history.acks() > 60, "seed {seed}: so few ACKs prove nothing");
    }
}

/// Seeds that showed a fault of the server, which was mended. What is drawn from a seed changes with the world, so a run here may be another
/// by now: the test that fails without the mending is the one beside the code, which each has, too.
#[test]
fn what_was_found_once_stays_mended() {
    // A leader who had stamped alone while time stood still for the others led again, and its clock jumped: leases ended before
    // the moment that their clients were told (`r12_what_was_stamped_alone…` in `raft::lease_clock`).
    let report = simulate(World::Ideal, 792, Plan::default());
    assert!(report.breaches.is_empty(), "{report}");
    // A packet that was decided once more retired what its client had taken since, because this node's estimate of cluster time
    // had been ahead when it came (`r2_nor_does_one_that_came_while_…` in `dhcp::v4::pending_tests`).
    let report = simulate(World::Ideal, 2327, Plan::default());
    assert!(report.breaches.is_empty(), "{report}");
    // A client that had begun anew was taken for one that repeats itself, and acknowledged from memory, while what it had asked for in between
    // was on its way (`m7_a_client_that_has_begun_anew_repeats_nothing` in `serve::worker_tests`).
    for seed in [63, 9017] {
        let report = simulate(World::Ideal, seed, Plan::default());
        assert!(report.breaches.is_empty(), "{report}");
    }
}

#[test]
fn a_seed_is_replayed_to_the_last_packet() {
    let run = || simulate(World::Ideal, 7, Plan::default());
    let (first, second) = (run(), run());
    assert_eq!(first.story, second.story);
    assert_eq!(first.history.events(), second.history.events());
    assert_eq!(first.simulated_ms, second.simulated_ms);
}

/// With nothing broken and room for everybody.
#[test]
fn a_client_that_comes_back_gets_its_address() {
    let plan = Plan {
        faults: "".parse().unwrap(),
        writers: 0,
        pool: 200,
        late_per_mille: 0,
        ..Plan::default()
    };
    for seed in 1..=10 {
        let report = simulate(World::Ideal, seed, plan);
        let breaches = stability::check(&report.history, 0, 5_000);
        assert!(breaches.is_empty(), "{breaches:?}; again: {}", replay(World::Ideal, seed, &plan));
    }
}

/// The plan under which a mutant shows, and the promises that it breaks.
fn expected(mutant: Mutant) -> (Plan, &'static [&'static str]) {
    let usual = Plan { mutant: Some(mutant), ..Plan::default() };
    let long = Plan { rounds: 10, ..usual };
    match mutant {
        // A Grant hangs while its client moves on to a node that knows nothing of it and offers something else.
        Mutant::ApplyWithoutR2c => {
            let plan = Plan { pool: 30, late_per_mille: 700, notes_lost_per_mille: 1_000, ..long };
            (plan, &["durable", "unique", "stale nak"])
        }
        // A RELEASE comes once more when its client has been given the address again.
        Mutant::ReleaseWithoutR5 => {
            (Plan { late_per_mille: 700, late_ms: (8_000, 20_000), ..long }, &["release"])
        }
        Mutant::WallClockStamps | Mutant::SweepsAhead => {
            (usual, &["durable", "unique", "stale nak"])
        }
        // Writers would be told of versions that there never are, and each run would end with that.
        Mutant::AckBeforeCommit => {
            (Plan { writers: 0, ..usual }, &["durable", "unique", "stale nak"])
        }
        Mutant::AnswersCrossed => (usual, &["durable", "unique", "answers", "stale nak"]),
        Mutant::BarrierWithoutMajority => {
            (long, &["configuration", "majority", "durable", "unique", "stale nak"])
        }
        Mutant::SetWithoutExpected => (usual, &["configuration"]),
        Mutant::ServesTooSoon => (usual, &["caught up", "durable", "stale nak"]),
        Mutant::NoMajorityRule => (usual, &["majority"]),
        Mutant::StampsTooSoon => (long, &["stamps"]),
        // A leader stands still. The next one is killed, leads again with the time that it had known, and grants; then the first goes on, stamps
        // what had waited for it, alone, and is soon made to lead again. Of many leases some are not renewed until the judgement.
        Mutant::StampsKept => {
            let faults = "kill,freeze,depose".parse().expect("these are faults");
            let many = Plan { clients: 40, pool: 40, faults, ..long };
            let plan = Plan { faults_ms: 20_000, pause_ms: (400, 1_800), ..many };
            (plan, &["durable", "unique", "stale nak", "stamps"])
        }
        // Grace is there for clocks of another speed (R7): where a leader's is too fast, leases end before their clients think so. The
        // clocks are as bad as the grace still allows, and there are many short leases, of which some are not renewed in time.
        Mutant::ExpiryWithoutGrace => {
            let faults = "depose,kill".parse().expect("these are faults");
            let many = Plan { clients: 60, pool: 60, lifetime: 10, faults, ..usual };
            let plan = Plan { clock_ppm: 80_000, rounds: 20, faults_ms: 6_000, ..many };
            (plan, &["durable", "unique", "stale nak"])
        }
        // A client that declines leaves an address behind for which others wait.
        Mutant::HoldIgnored => (usual, &["probation"]),
        _ => (usual, &["agreement", "durable", "unique"]),
    }
}

#[test]
fn every_planted_fault_is_noticed() {
    let mut missed = Vec::new();
    for mutant in Mutant::all().iter().copied().filter(|mutant| mutant.place() != Where::Raft) {
        let (plan, promises) = expected(mutant);
        let mut seen = BTreeSet::new();
        let caught = (1..=MUTANT_SEEDS).find(|seed| {
            let report = simulate(World::Ideal, *seed, plan);
            seen.extend(report.breaches.iter().map(|breach| breach.promise));
            report.broke(promises)
        });
        match caught {
            Some(seed) => {
                println!("{mutant:?}: caught with seed {seed}: {seen:?}");
                // What the run shows is the mutant's doing.
                let sound = simulate(World::Ideal, seed, Plan { mutant: None, ..plan });
                let again = replay(World::Ideal, seed, &Plan { mutant: None, ..plan });
                assert!(sound.breaches.is_empty(), "{sound}again: {again}");
            }
            None => missed.push(format!("{mutant:?} (seen: {seen:?})")),
        }
    }
    assert!(missed.is_empty(), "not caught within {MUTANT_SEEDS} seeds: {missed:#?}");
}
