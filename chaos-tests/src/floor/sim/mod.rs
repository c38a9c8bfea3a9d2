//! The simulated floor: three nodes, their disks and wires, and a crowd of clients in one thread, on time that passes as fast as the
//! machine can think. Real are openraft, the log's adapter, the replicated machine, snapshots, the engine worker, the proposer and the
//! leader's duties; played are sockets, streams between nodes, the disk of the log, and clocks.
//!
//! Everything is drawn from one seed ([`dice`]): what the wires do ([`wires`], [`forward`]), what disks lose ([`disk`]), what clients want
//! ([`crowd`]) and what breaks when ([`story`]). Replay is best effort all the same: openraft and tokio draw a few numbers of their own
//! (the order in which ready branches of `select!` are polled, the first wait of a ticker), and snapshot files are written on real threads.
//!
//! [`Mutant`]s are faults planted in the harness, not in the server: a run that does not notice them proves nothing.

use std::fmt;

use crate::oracle::History;

pub mod clock;
pub mod crowd;
pub mod dice;
pub mod disk;
pub mod forward;
pub mod node;
pub mod story;
pub mod wires;
pub mod world;

pub use story::run;

/// A fault of the server that a run must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// What is written counts as durable before it is.
    AckBeforeSync,
    /// `apply` does not ask whether the client's lease is still the one that the Grant was decided on.
    ApplyWithoutR2c,
}

/// What kind of run it is.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many clients there are.
    pub clients: u32,
    /// How many addresses, at most 254.
    pub pool: u32,
    /// Seconds of a lease.
    pub lifetime: u32,
    /// Rounds of faults and judgement.
    pub rounds: u32,
    /// How long each round's faults last, in milliseconds.
    pub faults_ms: u64,
    /// The pause between two faults, in milliseconds.
    pub pause_ms: (u64, u64),
    /// Of a thousand faults, how many are a loss of power everywhere.
    pub power_cuts_per_mille: u64,
    /// Of a thousand batches, how many come a second time later; half as many are held up on their way.
    pub late_per_mille: u64,
    /// Of a thousand notes between nodes, how many are lost.
    pub notes_lost_per_mille: u64,
    /// The planted fault.
    pub mutant: Option<Mutant>,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            clients: 16,
            pool: 10,
            lifetime: 30,
            rounds: 4,
            faults_ms: 14_000,
            pause_ms: (400, 4_000),
            power_cuts_per_mille: 200,
            late_per_mille: 150,
            notes_lost_per_mille: 150,
            mutant: None,
        }
    }
}

/// A promise that was broken.
#[derive(Debug, Clone)]
pub struct Breach {
    /// Which.
    pub promise: &'static str,
    /// How.
    pub what: String,
    /// When it was noticed, in milliseconds of the run.
    pub at: u64,
}

/// What a run showed.
#[derive(Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// What was broken.
    pub breaches: Vec<Breach>,
    /// Faults and what the harness noticed, in order.
    pub story: Vec<String>,
    /// The clients' ledger.
    pub history: History,
    /// How long it was, in simulated milliseconds.
    pub simulated_ms: u64,
}

impl Report {
    /// Whether one of these promises was broken.
    pub fn broke(&self, promises: &[&str]) -> bool {
        self.breaches.iter().any(|breach| promises.contains(&breach.promise))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {} breaches", self.seed, self.breaches.len())?;
        for breach in self.breaches.iter().take(8) {
            writeln!(f, "  {} (at {} ms): {}", breach.promise, breach.at, breach.what)?;
        }
        writeln!(f, "  what happened:")?;
        for line in &self.story {
            writeln!(f, "  {line}")?;
        }
        let named =
            |client: &str| self.breaches.iter().take(4).any(|breach| breach.what.contains(client));
        writeln!(f, "  the ledger of the clients named above, from 40 s before the first breach:")?;
        let from =
            self.breaches.first().map_or(u64::MAX, |breach| breach.at.saturating_sub(40_000));
        for event in self.history.events().iter().filter(|event| event.at >= from) {
            if named(&format!("{} ", event.client)) {
                writeln!(f, "  {event}")?;
            }
        }
        Ok(())
    }
}
