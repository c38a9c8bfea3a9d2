//! The command line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::floor::sim::faults::Faults;
use crate::floor::sim::{self, Mutant, Plan};
use crate::floor::stage::Lacking;

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
    /// Real servers in network namespaces, with real sockets, disks and signals; takes root
    Netns(Netns),
    /// The same for hours, with longer times between faults
    Soak(Soak),
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
    /// Also write the report as one HTML page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// The words behind `netns`.
#[derive(Debug, Clone, Args)]
pub struct Netns {
    /// How long; the round that is on then is ended first
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub minutes: u64,
    #[command(flatten)]
    pub real: RealWords,
}

/// What both have.
#[derive(Debug, Clone, Args)]
pub struct RealWords {
    /// What everything is drawn from; when it happens is the machine's doing
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The only faults there are, with commas between them, or `all`
    #[arg(long, default_value_t = Faults::ALL)]
    pub plan: Faults,
    /// Who is tested
    #[arg(long, value_enum, default_value_t = Subject::Leasehold)]
    pub subject: Subject,
    /// A root file system with Kea 3.0, as in the environment variable KEA3_ROOT. Without either: the installed Kea
    #[arg(long, value_name = "DIR")]
    pub kea_root: Option<PathBuf>,
    /// Clients
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub clients: u32,
    /// Those who change the configuration; none of Kea's
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=20))]
    pub writers: u32,
    /// Addresses
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=254))]
    pub pool: u32,
    /// Also write the report as one HTML page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// How to print the result; progress goes to standard error
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// The words behind `soak`.
#[derive(Debug, Clone, Args)]
pub struct Soak {
    /// How long
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub hours: u64,
    #[command(flatten)]
    pub real: RealWords,
}

/// Who is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// Three nodes
    Leasehold,
    /// Two Keas as hot-standby; what they do not keep is counted
    Kea,
}

/// What can be said about a plan. Whatever is not said is as in the plan by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct PlanWords {
    /// Clients
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub clients: Option<u32>,
    /// Those who change the configuration
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub writers: Option<u32>,
    /// Addresses
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=254))]
    pub pool: Option<u32>,
    /// Seconds of a lease
    #[arg(long, value_parser = clap::value_parser!(u32).range(10..=86_400))]
    pub lifetime: Option<u32>,
    /// Rounds of faults, each with a judgement
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rounds: Option<u32>,
    /// How long the faults of a round last, in milliseconds
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub faults_ms: Option<u64>,
    /// The pause between two faults, in milliseconds
    #[arg(long, value_name = "FROM-TO")]
    pub pause_ms: Option<Span>,
    /// The only faults there are, with commas between them
    #[arg(long)]
    pub faults: Option<Faults>,
    /// Of a thousand faults, how many are power cuts
    #[arg(long, value_parser = clap::value_parser!(u64).range(0..=1000))]
    pub power_cuts: Option<u64>,
    /// Of a thousand batches, how many come a second time
    #[arg(long, value_parser = clap::value_parser!(u64).range(0..=1000))]
    pub late: Option<u64>,
    /// How much later, in milliseconds (ideal)
    #[arg(long, value_name = "FROM-TO")]
    pub late_ms: Option<Span>,
    /// Of a thousand notes between nodes, how many are lost
    #[arg(long, value_parser = clap::value_parser!(u64).range(0..=1000))]
    pub notes_lost: Option<u64>,
    /// How much clocks may be too fast or too slow, in millionths (ideal)
    #[arg(long, value_parser = clap::value_parser!(u64).range(0..=100_000))]
    pub clock_ppm: Option<u64>,
    /// A fault of the server to be planted
    #[arg(long, value_enum)]
    pub mutant: Option<Mutant>,
}

/// From so much to so much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(u64, u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let ends = text
            .split_once('-')
            .and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
        match ends {
            Some((from, to)) if from <= to => Ok(Span(from, to)),
            _ => Err("two numbers with a dash between them, as 100-2600".to_owned()),
        }
    }
}

impl PlanWords {
    /// The plan that they describe.
    pub fn plan(self) -> Plan {
        let plan = Plan::default();
        let span = |it: Option<Span>, usual| it.map_or(usual, |Span(from, to)| (from, to));
        Plan {
            clients: self.clients.unwrap_or(plan.clients),
            writers: self.writers.unwrap_or(plan.writers),
            pool: self.pool.unwrap_or(plan.pool),
            lifetime: self.lifetime.unwrap_or(plan.lifetime),
            rounds: self.rounds.unwrap_or(plan.rounds),
            faults_ms: self.faults_ms.unwrap_or(plan.faults_ms),
            pause_ms: span(self.pause_ms, plan.pause_ms),
            faults: self.faults.unwrap_or(plan.faults),
            power_cuts_per_mille: self.power_cuts.unwrap_or(plan.power_cuts_per_mille),
            late_per_mille: self.late.unwrap_or(plan.late_per_mille),
            late_ms: span(self.late_ms, plan.late_ms),
            notes_lost_per_mille: self.notes_lost.unwrap_or(plan.notes_lost_per_mille),
            clock_ppm: self.clock_ppm.unwrap_or(plan.clock_ppm),
            mutant: self.mutant,
        }
    }

    /// The words for a plan: those that differ from the plan by default.
    pub fn of(plan: &Plan) -> PlanWords {
        fn said<T: PartialEq>(it: T, usual: T) -> Option<T> {
            (it != usual).then_some(it)
        }
        let usual = Plan::default();
        let span = |it, usual| said(it, usual).map(|(from, to)| Span(from, to));
        PlanWords {
            clients: said(plan.clients, usual.clients),
            writers: said(plan.writers, usual.writers),
            pool: said(plan.pool, usual.pool),
            lifetime: said(plan.lifetime, usual.lifetime),
            rounds: said(plan.rounds, usual.rounds),
            faults_ms: said(plan.faults_ms, usual.faults_ms),
            pause_ms: span(plan.pause_ms, usual.pause_ms),
            faults: said(plan.faults, usual.faults),
            power_cuts: said(plan.power_cuts_per_mille, usual.power_cuts_per_mille),
            late: said(plan.late_per_mille, usual.late_per_mille),
            late_ms: span(plan.late_ms, usual.late_ms),
            notes_lost: said(plan.notes_lost_per_mille, usual.notes_lost_per_mille),
            clock_ppm: said(plan.clock_ppm, usual.clock_ppm),
            mutant: plan.mutant,
        }
    }
}

impl fmt::Display for PlanWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn word(
            f: &mut fmt::Formatter<'_>,
            name: &str,
            it: Option<impl fmt::Display>,
        ) -> fmt::Result {
            it.map_or(Ok(()), |it| write!(f, " --{name} {it}"))
        }
        word(f, "clients", self.clients)?;
        word(f, "writers", self.writers)?;
        word(f, "pool", self.pool)?;
        word(f, "lifetime", self.lifetime)?;
        word(f, "rounds", self.rounds)?;
        word(f, "faults-ms", self.faults_ms)?;
        word(f, "pause-ms", self.pause_ms)?;
        word(f, "faults", self.faults)?;
        word(f, "power-cuts", self.power_cuts)?;
        word(f, "late", self.late)?;
        word(f, "late-ms", self.late_ms)?;
        word(f, "notes-lost", self.notes_lost)?;
        word(f, "clock-ppm", self.clock_ppm)?;
        let mutant = self.mutant.and_then(|mutant| mutant.to_possible_value());
        word(f, "mutant", mutant.map(|mutant| mutant.get_name().to_owned()))
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
    /// Faults that it does not have.
    pub fn lacks(self) -> &'static [Lacking] {
        match self {
            World::Ideal => sim::ideal::stage::LACKS,
            World::Raft => sim::raft::stage::LACKS,
        }
    }

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
            writers: 0,
            pool: 9,
            lifetime: 77,
            rounds: 1,
            faults_ms: 5,
            pause_ms: (1, 2),
            faults: "kill,freeze".parse().unwrap(),
            power_cuts_per_mille: 6,
            late_per_mille: 7,
            late_ms: (3, 4),
            notes_lost_per_mille: 8,
            clock_ppm: 9,
            mutant: Some(Mutant::ApplyWithoutR2c),
        };
        let command = replay(World::Raft, 77, &plan);
        let words = command.split_once(" -- ").unwrap().1;
        let flags = Flags::try_parse_from(["chaos"].into_iter().chain(words.split(' '))).unwrap();
        let Verb::Sim(sim) = flags.verb else { unreachable!() };
        assert_eq!((sim.seed, sim.world), (Some(77), World::Raft));
        assert_eq!(sim.plan.plan(), plan);
    }

    #[test]
    fn mistakes_are_told() {
        for wrong in
            [&["--faults", "kil"][..], &["--seeds", "0"], &["--world", "real"], &["--ledger"]]
        {
            let words = ["chaos", "sim"].iter().chain(wrong);
            assert!(Flags::try_parse_from(words).is_err(), "{wrong:?}");
        }
        for wrong in
            [&["netns", "--hours", "1"][..], &["soak", "--minutes", "1"], &["netns", "--plan", "x"]]
        {
            let words = ["chaos"].iter().chain(wrong);
            assert!(Flags::try_parse_from(words).is_err(), "{wrong:?}");
        }
    }
}
