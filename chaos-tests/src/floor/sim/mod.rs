//! The simulated floor: three nodes, their disks and wires, and a crowd of clients, on time that passes as fast as the machine can think.
//!
//! It has two worlds with the same clients, wires, configuration and judgement:
//!
//! * [`ideal`]: everything of ours over a log that is agreed by decree. One thread, replayed exactly; hours of it take seconds.
//! * [`raft`]: openraft, the log's adapter, snapshots and the machine as they are, on one runtime whose time is paused; played are sockets,
//!   streams between nodes, the disk of the log, and clocks. Replay is best effort: openraft and tokio draw a few numbers of their own
//!   (the order in which ready branches of `select!` are polled, the first wait of a ticker), and snapshot files are written on real threads.
//!
//! Everything is drawn from one seed ([`dice`]): what the wires do ([`wires`]), what clients want ([`crowd`]), how the configuration is
//! changed ([`writers`]), what breaks and when (the [story](crate::story), which is the same on every floor). [`place`] is who is where,
//! [`judge`] what is checked in a quiet moment, [`noticed`] the notes of a run.
//!
//! [`Mutant`]s are faults planted in the harness ([`mutants`]), not in the server: a run that does not notice them proves nothing.

use std::fmt;

use crate::oracle::History;
use faults::{Fault, Faults};

pub mod crowd;
pub mod dice;
pub mod faults;
pub mod ideal;
pub mod judge;
pub mod mutants;
pub mod noticed;
pub mod place;
pub mod raft;
pub mod wires;
pub mod writers;

/// How long a healed cluster may take until it serves again, in milliseconds.
pub const RETURN_MS: u64 = 15_000;
/// After so long nothing that was sent is on its way any more, in milliseconds.
pub const SETTLE_MS: u64 = 5_000;

/// A fault of the server that a run must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mutant {
    /// What is written counts as durable before it is.
    AckBeforeSync,
    /// A leader answers when it has stamped, not when it is agreed.
    AckBeforeCommit,
    /// `apply` does not ask whether the client's lease is still the one that the Grant was decided on.
    #[value(name = "apply-without-r2c")]
    ApplyWithoutR2c,
    /// `apply` takes a Release or Decline for whatever lease its client has at that address by then.
    #[value(name = "release-without-r5")]
    ReleaseWithoutR5,
    /// `apply` puts a configuration into force whatever version it was made on.
    SetWithoutExpected,
    /// Stamps are the leader's time of day.
    WallClockStamps,
    /// The sweep takes leases whose time is not over.
    SweepsAhead,
    /// A snapshot misses a lease.
    SnapshotWithoutALease,
    /// Who leads no more applies what was not agreed.
    TailKept,
    /// Who led once goes on answering read barriers.
    BarrierWithoutMajority,
    /// A node answers before it knows what happened while it was away.
    ServesTooSoon,
    /// A node that hears nobody goes on answering.
    NoMajorityRule,
    /// A leader stamps before it has applied what was stamped before.
    StampsTooSoon,
    /// A leader goes on from stamps of its own that were never agreed.
    StampsKept,
    /// The outcomes of a batch are told in another order.
    AnswersCrossed,
    /// A node comes to lead that lacks the end of the log.
    LeaderWithoutTheEnd,
    /// A node passes over an entry. (That it applied one twice would change nothing: every command is safe to repeat.)
    SkipsAnEntry,
    /// A node that starts has an empty machine and takes it for the one it had.
    ForgetsMachine,
    /// An address that was declined is handed out at once, as if there were no probation.
    HoldIgnored,
    /// A lease is over at its end: there is no grace.
    ExpiryWithoutGrace,
    /// A vote counts as durable before it is: after a crash the node votes in that term once more.
    VoteNotSynced,
    /// A pre-vote counts as granted though nobody was asked: who is cut off stands again and again, and deposes the leader when it is back.
    PreVoteAlways,
    /// The tail of a log stays though it is not the leader's.
    TailNotTruncated,
}

/// What kind of run it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// How many clients there are.
    pub clients: u32,
    /// How many change the configuration.
    pub writers: u32,
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
    /// Which faults there are.
    pub faults: Faults,
    /// Of a thousand faults, how many are a loss of power everywhere.
    pub power_cuts_per_mille: u64,
    /// Of a thousand batches, how many come a second time later; half as many are held up on their way. No change of the
    /// configuration comes twice that way: its writer was told what became of the first.
    pub late_per_mille: u64,
    /// How much later that is, in milliseconds (`ideal`).
    pub late_ms: (u64, u64),
    /// Of a thousand notes between nodes, how many are lost.
    pub notes_lost_per_mille: u64,
    /// How much a node's clock may be too fast or too slow, in millionths (`ideal`).
    pub clock_ppm: u64,
    /// The planted fault.
    pub mutant: Option<Mutant>,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            clients: 16,
            writers: 2,
            pool: 10,
            lifetime: 30,
            rounds: 4,
            faults_ms: 14_000,
            pause_ms: (400, 4_000),
            faults: Faults::ALL,
            power_cuts_per_mille: 200,
            late_per_mille: 150,
            late_ms: (100, 2_600),
            notes_lost_per_mille: 150,
            clock_ppm: 200,
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
    /// When which fault came, in milliseconds of the run.
    pub faults: Vec<(u64, Fault)>,
    /// From when to when clients did nothing of their own accord, in milliseconds of the run.
    pub quiet: Vec<(u64, u64)>,
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
