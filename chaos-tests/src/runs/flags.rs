//! The command line.

use std::fmt;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::floor::sim::faults::Faults;
use crate::floor::sim::{Mutant, Plan};

/// Shows that the promises hold whatever fails.
#[derive(Debug, Parser)]
#[command(name = "chaos", disable_version_flag = true)]
pub struct Flags {
    #[command(subcommand)]
    pub verb: Verb,
}

/// What is run.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Simulated clusters, each with everything that happens to it drawn from one seed
    Sim(Sim),
}

/// The words behind `sim`.
#[derive(Debug, Clone, Args)]
pub struct Sim {
    /// How many seeds
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1, value_name = "SEED")]
    pub first: u64,
    /// Only this seed, with its whole story
    #[arg(long, conflicts_with_all = ["seeds", "first"])]
    pub seed: Option<u64>,
    /// Which world
    #[arg(long, value_enum, default_value_t = World::Ideal)]
    pub world: World,
    /// How many at once. Without it: one for each processor
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
    #[command(flatten)]
    pub plan: PlanWords,
    /// A failing plan stays as it is
    #[arg(long)]
    pub no_shrinking: bool,
    /// With --seed: also everything that clients asked and were told
    #[arg(long, requires = "seed")]
    pub ledger: bool,
    /// How to print the result; progress goes to standard error
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// What can be said about a plan. Whatever is not said is as in the plan by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct PlanWords {
    /// Clients
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub clients: Option<u32>,
    /// Addresses
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=254))]
    pub pool: Option<u32>,
    /// Seconds of a lease
    #[arg(long, value_parser = clap::value_parser!(u32).range(10..=86_400))]
    pub lifetime: Option<u32>,
    /// Rounds of faults, each with a judgement
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rounds: Option<u32>,
    /// The only faults there are, with commas between them
    #[arg(long)]
    pub faults: Option<Faults>,
    /// A fault of the server to be planted
    #[arg(long, value_enum)]
    pub mutant: Option<Mutant>,
}

impl PlanWords {
    /// The plan that they describe.
    pub fn plan(self) -> Plan {
        let plan = Plan::default();
        Plan {
            clients: self.clients.unwrap_or(plan.clients),
            pool: self.pool.unwrap_or(plan.pool),
            lifetime: self.lifetime.unwrap_or(plan.lifetime),
            rounds: self.rounds.unwrap_or(plan.rounds),
            faults: self.faults.unwrap_or(plan.faults),
            mutant: self.mutant,
            ..plan
        }
    }

    /// The words for a plan.
    pub fn of(plan: &Plan) -> PlanWords {
        let usual = Plan::default();
        let said = |it: u32, usual: u32| (it != usual).then_some(it);
        PlanWords {
            clients: said(plan.clients, usual.clients),
            pool: said(plan.pool, usual.pool),
            lifetime: said(plan.lifetime, usual.lifetime),
            rounds: said(plan.rounds, usual.rounds),
            faults: (plan.faults != usual.faults).then_some(plan.faults),
            mutant: plan.mutant,
        }
    }
}

impl fmt::Display for PlanWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = [
            ("clients", self.clients),
            ("pool", self.pool),
            ("lifetime", self.lifetime),
            ("rounds", self.rounds),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                write!(f, " --{name} {number}")?;
            }
        }
        if let Some(faults) = self.faults {
            write!(f, " --faults {faults}")?;
        }
        match self.mutant.and_then(|mutant| mutant.to_possible_value()) {
            Some(mutant) => write!(f, " --mutant {}", mutant.get_name()),
            None => Ok(()),
        }
    }
}

/// A world of the simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum World {
    /// Everything of ours over a log that is agreed by decree; replays exactly
    Ideal,
    /// With the real Raft, on simulated disks and wires
    Raft,
}

impl World {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            World::Ideal => "ideal",
            World::Raft => "raft",
        }
    }
}

/// For whom the result is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

/// The command that repeats a run.
pub fn replay(world: World, seed: u64, plan: &Plan) -> String {
    format!(
        "cargo run --release -p chaos-tests --bin chaos -- sim --world {} --seed {seed}{}",
        world.name(),
        PlanWords::of(plan)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_repeats_a_run_is_understood() {
        let plan = Plan {
            clients: 3,
            rounds: 1,
            faults: "kill,freeze".parse().unwrap(),
            mutant: Some(Mutant::ApplyWithoutR2c),
            ..Plan::default()
        };
        let command = replay(World::Raft, 77, &plan);
        let words = command.split_once(" -- ").unwrap().1;
        let flags = Flags::try_parse_from(["chaos"].into_iter().chain(words.split(' '))).unwrap();
        let Verb::Sim(sim) = flags.verb;
        assert_eq!((sim.seed, sim.world), (Some(77), World::Raft));
        assert_eq!(PlanWords::of(&sim.plan.plan()), PlanWords::of(&plan));
    }

    #[test]
    fn mistakes_are_told() {
        for wrong in
            [&["--faults", "kil"][..], &["--seeds", "0"], &["--world", "real"], &["--ledger"]]
        {
            let words = ["chaos", "sim"].iter().chain(wrong);
            assert!(Flags::try_parse_from(words).is_err(), "{wrong:?}");
        }
    }
}
