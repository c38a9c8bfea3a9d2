//! The story on real servers: [`Real`] is the [stage](crate::floor::stage), with the clients, the writers of the configuration, the ledger,
//! the notes and the judgement that all subjects have in common; what is different about a subject is behind [`Servers`]: [`ours`], a cluster
//! of three nodes, and [`pair`], two Keas, whose configuration nobody changes.
//!
//! A verb that fails is a breach of the promise `floor`: the run proves nothing then.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::Result;

use crate::clock;
use crate::floor::netns::emulator::Weather;
use crate::floor::netns::topology::Namespace;
use crate::floor::sim::crowd::Crowd;
use crate::floor::sim::dice::Dice;
use crate::floor::sim::faults::Fault;
use crate::floor::sim::noticed::Noticed;
use crate::floor::sim::{Plan, Report};
use crate::floor::stage::{Lacking, Stage};
use crate::oracle::history::Count;
use crate::oracle::{
    Breach, Held, agreement, durable_ack, no_phantom, release_scope, stale_nak, unique_address,
};
use crate::story;

pub mod clients;
pub mod disk;
pub mod ours;
pub mod pair;
pub mod writers;

use clients::Clients;
use writers::Writers;

/// How long a healed subject may take to be whole, in milliseconds.
const RETURN_MS: u64 = 45_000;
/// After so long nothing is on its way any more, and the tables show the right time of day: after an outage the leader puts that
/// right every 5 s at most (R12).
const SETTLE_MS: u64 = 7_000;
/// What happened so long ago is forgotten once it was judged, in milliseconds: no lease is that long.
const REMEMBERED_MS: u64 = 3_600_000;
/// By how much a table may show the end of a lease too early, in milliseconds: it shows whole seconds, and cluster time lags a little.
const EARLY_MS: u64 = 2_500;

/// Servers under test, counted from 1, and what can be done to them. What a verb does is said at [`Stage`].
pub trait Servers {
    /// How many there are.
    fn count(&self) -> u64;
    /// What is not there.
    fn lacks(&self) -> &[Lacking];
    /// Where the clients live.
    fn relay(&self) -> &Namespace;
    /// Where the control API of each is reached from there.
    ///
    /// # Errors
    /// Why nobody can change the configuration on top of a version that he has read.
    fn apis(&self) -> Result<Vec<SocketAddr>, &'static str>;
    /// Whether a broken promise ends the run: else they are counted.
    fn must_keep(&self) -> bool;
    /// Why not all of them serve.
    ///
    /// # Errors
    /// That.
    fn is_whole(&mut self) -> Result<(), String>;
    /// Who leads.
    fn leader(&mut self) -> Option<u64>;
    /// Raft's term, where there is one.
    fn term(&mut self) -> Option<u64>;
    /// The assigned leases that a server has.
    ///
    /// # Errors
    /// When it does not say; as all verbs below.
    fn leases(&mut self, server: u64) -> Result<Vec<Held>>;
    /// Why they have not all the same.
    ///
    /// # Errors
    /// That.
    fn agree(&mut self) -> Result<(), String>;
    /// Whatever has grown beyond its bounds.
    fn overgrown(&mut self) -> Vec<Breach>;
    /// What there is to say about a server.
    fn facts(&mut self, server: u64) -> Vec<(String, String)>;
    /// See [`Stage`], for all of these.
    fn bring_back(&mut self, server: u64) -> Result<()>;
    fn kill(&mut self, server: u64) -> Result<()>;
    fn shut_down(&mut self, server: u64) -> Result<()>;
    fn freeze(&mut self, server: u64) -> Result<()>;
    fn cut(&mut self, from: u64, to: u64) -> Result<()>;
    fn storm(&mut self, lost_per_mille: u64, late_ms: u64) -> Result<()>;
    fn cut_clients(&mut self, server: u64) -> Result<()>;
    fn narrow(&mut self, server: u64, kbit: u64) -> Result<()>;
    fn slow_disk(&mut self, server: u64, millis: u64) -> Result<()>;
    fn break_disk(&mut self, server: u64) -> Result<()>;
    fn stall_disk(&mut self, server: u64) -> Result<()>;
    fn fill_disk(&mut self, server: u64) -> Result<()>;
    fn heal_wires(&mut self) -> Result<()>;
    fn heal_disks(&mut self) -> Result<()>;
    fn depose(&mut self) -> Result<()>;
    fn checkpoint(&mut self, server: u64) -> Result<()>;
    fn set_wall_clock(&mut self, server: u64, by_ms: i64) -> Result<()>;
    /// Nobody's wall clock is wrong any more.
    fn set_clocks_right(&mut self) -> Result<()>;
    fn cut_power(&mut self) -> Result<()>;
    /// Their files are not needed.
    fn passed(self);
}

/// The weather of a storm: [`Stage::storm`], with some duplicates, and some that overtake others.
fn storm(lost_per_mille: u64, late_ms: u64) -> Result<Weather> {
    Ok(Weather {
        delay_ms: late_ms / 2,
        jitter_ms: late_ms / 2,
        loss_per_mille: u32::try_from(lost_per_mille)?,
        duplicate_per_mille: 20,
        reorder_per_mille: 50,
    })
}

/// A stage of real servers.
#[derive(Debug)]
pub struct Real<S> {
    plan: Plan,
    servers: S,
    /// None: see [`Servers::apis`].
    writers: Option<Writers>,
    clients: Clients,
    noticed: Noticed,
}

/// What a run on real servers showed, and what there is to say about each at its end.
#[derive(Debug)]
pub struct Shown {
    /// The run.
    pub report: Report,
    /// By server.
    pub facts: BTreeMap<String, Vec<(String, String)>>,
    /// What was not there.
    pub lacked: Vec<Lacking>,
    /// Why nobody changed the configuration.
    pub unwritten: Option<&'static str>,
}

/// Runs `plan` with `seed` on servers that serve, until its end or until `stop` says so between two rounds.
///
/// # Errors
/// When the clients or the writers cannot be started.
pub fn run<S: Servers>(
    servers: S,
    seed: u64,
    plan: Plan,
    stop: impl Fn() -> bool,
) -> Result<Shown> {
    let crowd = Crowd::new(plan.clients, servers.count(), seed, Dice::new(seed, 2));
    let clients = Clients::start(servers.relay(), crowd)?;
    let apis = servers.apis();
    let unwritten = apis.as_ref().err().copied();
    let start = |apis| Writers::start(servers.relay(), apis, plan, seed, clients.crowd());
    let writers = apis.ok().map(start).transpose()?;
    let noticed = Noticed::default();
    let mut real = Real { plan, servers, writers, clients, noticed };
    story::play(&mut real, Dice::new(seed, 4), stop);
    let mut facts = BTreeMap::new();
    for server in 1..=real.servers.count() {
        facts.insert(format!("server {server}"), real.servers.facts(server));
    }
    let simulated_ms = real.now();
    let Real { servers, writers, clients, noticed, .. } = real;
    let Noticed { breaches, story, faults, quiet, .. } = noticed;
    let history = clients.history();
    let lacked = servers.lacks().to_vec();
    drop((writers, clients));
    if breaches.is_empty() {
        servers.passed();
    }
    let report = Report { seed, breaches, story, faults, quiet, history, simulated_ms };
    Ok(Shown { report, facts, lacked, unwritten })
}

impl<S: Servers> Real<S> {
    /// Does something that may fail.
    fn attempt(&mut self, what: &str, work: impl FnOnce(&mut S) -> Result<()>) {
        if let Err(error) = work(&mut self.servers) {
            self.breach("floor", format!("{what}: {error:#}"));
        }
    }

    /// The same, to a server that is there.
    fn at(&mut self, what: &str, server: u64, work: impl FnOnce(&mut S, u64) -> Result<()>) {
        if server <= self.servers.count() {
            self.tell(format!("{what} {server}"));
            self.attempt(&format!("{what} {server}"), |servers| work(servers, server));
        }
    }

    /// Each is told once: the ledger is judged as a whole every time.
    fn each(&mut self, promise: &'static str, breaches: Vec<Breach>) {
        for Breach(what) in breaches {
            if !self.noticed.breaches.iter().any(|known| known.what == what) {
                self.breach(promise, what);
            }
        }
    }
}

impl<S: Servers> Stage for Real<S> {
    fn plan(&self) -> Plan {
        self.plan
    }

    fn nodes(&self) -> u64 {
        self.servers.count()
    }

    fn lacks(&self) -> &[Lacking] {
        self.servers.lacks()
    }

    fn return_ms(&self) -> u64 {
        RETURN_MS
    }

    fn now(&self) -> u64 {
        clock::now_ms()
    }

    fn pass(&mut self, millis: u64) {
        clock::sleep_ms(millis);
    }

    /// Shown at once: such a run takes minutes.
    fn tell(&mut self, what: String) {
        let now = clock::now_ms();
        eprintln!("{:>4}.{:01} s  {what}", now / 1_000, now % 1_000 / 100);
        self.noticed.tell(now, what);
    }

    fn breach(&mut self, promise: &'static str, what: String) {
        eprintln!("        BREACH {promise}: {what}");
        self.noticed.breach(clock::now_ms(), promise, what);
    }

    fn note(&mut self, fault: Fault) {
        self.noticed.faults.push((clock::now_ms(), fault));
    }

    fn is_broken(&self) -> bool {
        self.servers.must_keep() && !self.noticed.breaches.is_empty()
    }

    /// They have read it when they were started.
    fn configure(&mut self) -> bool {
        true
    }

    fn leader(&mut self) -> Option<u64> {
        self.servers.leader()
    }

    fn term(&mut self) -> Option<u64> {
        self.servers.term()
    }

    fn is_whole(&mut self) -> Result<(), String> {
        self.servers.is_whole()
    }

    fn quiet(&mut self, quiet: bool) {
        self.noticed.quiet(clock::now_ms(), quiet);
        self.clients.quiet(quiet);
        if let Some(writers) = &self.writers {
            writers.quiet(quiet);
        }
    }

    fn acks(&self) -> usize {
        self.clients.acks()
    }

    fn judge(&mut self) {
        // Tables show times of day by the wall clock of the leader.
        self.attempt("setting clocks right", S::set_clocks_right);
        let idle =
            |real: &mut Real<S>| real.writers.as_ref().map_or(Ok(()), |writers| writers.are_idle());
        if let Err(why) = story::wait(self, RETURN_MS, idle) {
            self.breach("floor", why);
        }
        self.pass(SETTLE_MS);
        let agreed = story::wait(self, RETURN_MS, |real| real.servers.agree());
        if let Err(why) = agreed {
            self.breach("agreement", why);
        }
        let history = self.clients.history();
        let asked = history.promises(Count::FromAsked);
        let tolerance = durable_ack::Tolerance { early: EARLY_MS, late: None };
        for server in 1..=self.servers.count() {
            match self.servers.leases(server) {
                Ok(table) => {
                    // What ends while it is asked may be gone.
                    let now = clock::now_ms();
                    let on = |breach: Breach| Breach(format!("on server {server}: {}", breach.0));
                    let lost = durable_ack::check(&asked, &table, now, tolerance);
                    self.each("durable", lost.into_iter().map(on).collect());
                    let freed = release_scope::check(&history, &asked, &table, now);
                    self.each("release", freed.into_iter().map(on).collect());
                    let foreign = no_phantom::check(&history, &table);
                    self.each("phantom", foreign.into_iter().map(on).collect());
                }
                Err(error) => self.breach("service", format!("leases of {server}: {error:#}")),
            }
        }
        let heard = history.promises(Count::FromAnswer);
        self.each("unique", unique_address::check(&heard));
        let may_refuse = |promise: &_, refusal| {
            self.writers.as_ref().is_some_and(|writers| writers.may_refuse(promise, refusal))
        };
        let refused = stale_nak::check_but(&history, may_refuse);
        self.each("stale nak", refused);
        self.each("answers", agreement::check_acks(&history));
        let overgrown = self.servers.overgrown();
        self.each("bounds", overgrown);
        let mut told = format!("judged: {} ACKs, {} NAKs", history.acks(), history.naks());
        let before = clock::now_ms().saturating_sub(REMEMBERED_MS);
        if let Some(writers) = &self.writers {
            let (unexplained, changes) = writers.judge(self.servers.relay());
            writers.forget(before);
            told += &format!(", {changes}");
            self.each("configuration", unexplained);
        }
        self.tell(told);
        self.clients.forget(before);
    }

    fn bring_back(&mut self, node: u64) {
        if node <= self.servers.count() {
            self.attempt(&format!("bringing {node} back"), |servers| servers.bring_back(node));
        }
    }

    fn kill(&mut self, node: u64) {
        self.at("kill", node, S::kill);
    }

    fn shut_down(&mut self, node: u64) {
        self.at("stop", node, S::shut_down);
    }

    fn freeze(&mut self, node: u64) {
        self.at("freeze", node, S::freeze);
    }

    fn cut(&mut self, from: u64, to: u64) {
        self.attempt("a cut", |servers| servers.cut(from, to));
    }

    fn storm(&mut self, lost_per_mille: u64, late_ms: u64) {
        self.attempt("a storm", |servers| servers.storm(lost_per_mille, late_ms));
    }

    fn cut_clients(&mut self, node: u64) {
        self.attempt("a cut to clients", |servers| servers.cut_clients(node));
    }

    fn narrow(&mut self, node: u64, kbit: u64) {
        self.attempt("a narrow link", |servers| servers.narrow(node, kbit));
    }

    fn slow_disk(&mut self, node: u64, millis: u64) {
        self.attempt("a slow disk", |servers| servers.slow_disk(node, millis));
    }

    fn break_disk(&mut self, node: u64) {
        self.attempt("a broken disk", |servers| servers.break_disk(node));
    }

    fn stall_disk(&mut self, node: u64) {
        self.attempt("a disk that stands still", |servers| servers.stall_disk(node));
    }

    fn fill_disk(&mut self, node: u64) {
        self.attempt("a full disk", |servers| servers.fill_disk(node));
    }

    fn heal_wires(&mut self) {
        self.attempt("healing wires", S::heal_wires);
    }

    fn heal_disks(&mut self) {
        self.attempt("healing disks", S::heal_disks);
    }

    fn depose(&mut self) {
        self.tell("another leads".to_owned());
        self.attempt("another leader", S::depose);
    }

    fn checkpoint(&mut self, node: u64) {
        self.at("snapshot at", node, S::checkpoint);
    }

    fn set_wall_clock(&mut self, node: u64, by_ms: i64) {
        let hours = by_ms / 3_600_000;
        self.tell(format!("the wall clock of {node} is set by {hours} h"));
        self.attempt("a wall clock", |servers| servers.set_wall_clock(node, by_ms));
    }

    fn cut_power(&mut self) {
        self.tell("power cut".to_owned());
        self.attempt("a power cut", S::cut_power);
    }
}
