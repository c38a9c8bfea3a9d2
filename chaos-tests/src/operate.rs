//! What an operator does to a cluster, under load.
//!
//! A [`Scene`] is a cluster with a steady load: residents that keep an address and renew it at T1, half of which now and then restart or
//! ask anybody; and guests that join, stay for a while and release. All stand behind a relay that sends what they broadcast to every node in
//! [`Load::relay_to`]. A test does something to the cluster meanwhile and ends with [`Scene::finish`], which holds the ledger against
//! all promises, prints one line and fails when an exchange has failed ([`crate::oracle::exchanges`] says what that is).
//!
//! Leases are short, so that every resident renews several times within a story.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result, ensure};

use crate::client::echo::Echo;
use crate::client::fleet::{Fleet, Verb};
use crate::client::machine::Patience;
use crate::clock;
use crate::floor::netns::cluster::{Cluster, Plan};
use crate::gate::Gate;
use crate::membership;
use crate::oracle::exchanges::{Exchanges, Failed};
use crate::oracle::history::Count;
use crate::oracle::{
    ClientId, History, agreement, durable_ack, exchanges, expect_none, no_phantom, service_gap,
    stale_nak, unique_address,
};

/// Clients that keep an address, and those of them, the first, that do nothing but renew at T1.
const RESIDENTS: u32 = 90;
const QUIET: u32 = 45;
/// Numbers of guests; each joins again a while after it has left.
const GUESTS: u32 = 400;
/// Between two verbs, in milliseconds.
const STEP_MS: u64 = 25;
/// How many guests are there at a time.
const STAYING: u32 = 40;
/// How long exchanges under way may take to end when a story is over, in milliseconds.
const SETTLE_MS: u64 = 16_000;

/// Short leases: a resident renews every 5 s, asks everybody after 9 s, and has its address for 40 s.
pub fn plan() -> Plan {
    Plan { valid_lifetime: 40, renew_timer: 5, rebind_timer: 9, ..Plan::default() }
}

/// The load. Dropping it ends it.
#[derive(Debug)]
pub struct Load {
    fleet: Arc<Fleet>,
    relay_to: Arc<Mutex<Vec<Ipv4Addr>>>,
    stop: Arc<AtomicBool>,
    pace: Option<JoinHandle<()>>,
    began: u64,
}

impl Load {
    /// Has all residents join, and begins when they have their addresses.
    ///
    /// # Errors
    /// When they do not get them.
    pub fn start(cluster: &Cluster) -> Result<Load> {
        let fleet = Arc::new(cluster.fleet(Patience { automatic: true, ..Patience::default() })?);
        let nodes = cluster.addresses();
        let residents: Vec<ClientId> = (0..RESIDENTS).map(ClientId).collect();
        for client in &residents {
            fleet.join(*client, &nodes);
            // So that they do not all renew at once.
            clock::sleep_ms(10);
        }
        fleet.wait_bound(&residents, 15_000)?;
        let relay_to = Arc::new(Mutex::new(nodes));
        let stop = Arc::new(AtomicBool::new(false));
        let pace = {
            let (fleet, relay_to, stop) = (fleet.clone(), relay_to.clone(), stop.clone());
            std::thread::Builder::new()
                .name("load".into())
                .spawn(move || keep_pace(&fleet, &relay_to, &stop))?
        };
        Ok(Load { fleet, relay_to, stop, pace: Some(pace), began: clock::now_ms() })
    }

    /// Where the relay sends what clients broadcast, from now on.
    pub fn relay_to(&self, nodes: &[Ipv4Addr]) {
        *self.relay_to.lock().unwrap_or_else(PoisonError::into_inner) = nodes.to_vec();
        for client in (0..RESIDENTS).chain(1_000..1_000 + GUESTS).map(ClientId) {
            self.fleet.hears(client, nodes);
        }
    }

    /// The ledger so far.
    pub fn history(&self) -> History {
        self.fleet.history()
    }

    /// More residents, who do nothing but renew at T1. Waits until they have their addresses.
    ///
    /// # Errors
    /// When they do not get them.
    pub fn move_in(&self, clients: &[ClientId]) -> Result<()> {
        let nodes = self.relay_to.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for client in clients {
            self.fleet.join(*client, &nodes);
        }
        self.fleet.wait_bound(clients, 10_000)
    }

    /// Clients answer pings at the addresses that they have, from now on; until then the relay answers at all addresses. What
    /// is returned counts the answers.
    ///
    /// # Errors
    /// When the relay's namespace does not let us.
    pub fn answer_pings(&self, cluster: &Cluster) -> Result<Arc<AtomicU64>> {
        let answered = Arc::new(AtomicU64::new(0));
        self.fleet.answer_echo(Echo::take_over(cluster.relay(), answered.clone())?);
        Ok(answered)
    }

    /// Ends the pace; the residents still renew.
    fn end_pace(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(pace) = self.pace.take() {
            let _ = pace.join();
        }
    }

    /// Ends the load: what is under way comes to its end first. The ledger, and when the load ended.
    fn stop(mut self) -> (History, u64) {
        self.end_pace();
        let end = clock::now_ms();
        // What is open after that has failed.
        let _ = clock::wait_for_every(100, "exchanges to end", SETTLE_MS, || {
            let seen = exchanges::check(&self.fleet.history(), clock::now_ms());
            (seen.open == 0).then_some(())
        });
        (self.fleet.history(), end)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end_pace();
    }
}

fn keep_pace(fleet: &Fleet, relay_to: &Mutex<Vec<Ipv4Addr>>, stop: &AtomicBool) {
    let began = clock::now_ms();
    for step in 0_u32.. {
        let due = began + u64::from(step) * STEP_MS;
        clock::sleep_ms(due.saturating_sub(clock::now_ms()));
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let round = step / 4;
        let guest = |number: u32| ClientId(1_000 + number % GUESTS);
        // Steps that have no common divisor with the number of restless residents reach everybody.
        let restless = RESIDENTS - QUIET;
        let resident = |offset: u32| ClientId(QUIET + (round * 7 + offset) % restless);
        match step % 4 {
            0 => {
                let nodes = relay_to.lock().unwrap_or_else(PoisonError::into_inner).clone();
                fleet.hears(guest(round), &nodes);
                fleet.tell_idle(guest(round), Verb::Join);
            }
            1 => fleet.tell_idle(resident(0), Verb::Reboot),
            2 if round >= STAYING => fleet.tell_idle(guest(round - STAYING), Verb::Release),
            2 => {}
            _ => fleet.tell_idle(resident(restless / 2), Verb::Rebind),
        }
    }
}

/// A cluster under load.
#[derive(Debug)]
pub struct Scene {
    pub load: Load,
    pub cluster: Cluster,
    name: String,
}

impl Scene {
    /// Starts a cluster of three and the load.
    ///
    /// # Errors
    /// When either does not come about.
    pub fn begin(gate: Gate) -> Result<Scene> {
        Scene::begin_with(gate, &plan())
    }

    /// Starts a cluster like `plan`, which should have leases as short as [`plan`]'s, and the load.
    ///
    /// # Errors
    /// As [`Scene::begin`].
    pub fn begin_with(gate: Gate, plan: &Plan) -> Result<Scene> {
        let name = gate.test.clone();
        let cluster = Cluster::start(gate, plan)?;
        Scene::of(cluster, name)
    }

    /// Starts the load on a cluster that runs.
    ///
    /// # Errors
    /// As [`Scene::begin`].
    pub fn of(cluster: Cluster, name: String) -> Result<Scene> {
        Ok(Scene { load: Load::start(&cluster)?, cluster, name })
    }

    /// Runs `cluster-ctl` beside node `index` and gives what it printed.
    ///
    /// # Errors
    /// When it ends with another status than 0; the message has what it said.
    pub fn ctl(&self, index: usize, args: &[&str]) -> Result<String> {
        membership::ctl(&self.cluster, index, args)
    }

    /// As [`Scene::ctl`], of a command that must be refused: gives what it said.
    ///
    /// # Errors
    /// When it is not.
    pub fn ctl_refused(&self, index: usize, args: &[&str]) -> Result<String> {
        let done = self.cluster.ctl(index, args)?;
        ensure!(
            done.code == Some(1),
            "cluster-ctl {} was not refused: {}{}",
            args.join(" "),
            done.stdout,
            done.stderr
        );
        Ok(done.stderr)
    }

    /// What node `asked` says about node `about` in `cluster-status`, by index in this test: the first node that was formed
    /// has id 1.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status_of(&self, asked: usize, about: usize) -> Result<serde_json::Value> {
        let status = self.cluster.nodes[asked].command("cluster-status", None)?.arguments;
        let own = format!("node-{}", char::from(b'a' + u8::try_from(about % 26)?));
        let nodes = status["nodes"].as_array().context("no nodes in cluster-status")?;
        let found = nodes.iter().find(|node| node["name"] == own);
        found.cloned().with_context(|| format!("node {asked} knows no {own}: {status}"))
    }

    /// Waits until the cluster says of node `about` that it is `liveness`.
    ///
    /// # Errors
    /// When it does not within 15 s.
    pub fn wait_liveness(&self, asked: usize, about: usize, liveness: &str) -> Result<()> {
        clock::wait_for_every(100, &format!("node {} to be {liveness}", about + 1), 15_000, || {
            let said = self.status_of(asked, about).ok()?;
            (said["liveness"] == liveness).then_some(())
        })
    }

    /// Ends the load and holds everything clients saw against what they were promised.
    ///
    /// # Errors
    /// When a promise is broken or an exchange has failed.
    pub fn finish(self) -> Result<()> {
        let ending = self.end(|_, _| false)?;
        ending.expect_none_failed(|_| true)
    }

    /// As [`Scene::finish`], of a story with a time in which nobody could serve: exchanges fail then, and it is for the caller to say
    /// which of them may. `may_refuse`: whether a client may be refused an address although it holds it.
    ///
    /// # Errors
    /// When a promise is broken.
    pub fn end(self, may_refuse: impl Fn(ClientId, Ipv4Addr) -> bool) -> Result<Ending> {
        let Scene { load, mut cluster, name } = self;
        let began = load.began;
        let (history, end) = load.stop();
        let now = clock::now_ms();
        let seen = exchanges::check(&history, now);
        println!(
            "{name}: {} exchanges, {} failed, {} repeated, longest exchange {} ms, longest gap {} ms",
            seen.total,
            seen.failed.len(),
            seen.repeated,
            seen.longest,
            service_gap::longest(&history, began, end),
        );
        expect_none(
            "one address, one client",
            &unique_address::check(&history.promises(Count::FromAnswer)),
        )?;
        expect_none(
            "no stale NAK",
            &stale_nak::check_but(&history, |promise, _| {
                may_refuse(promise.client, promise.address)
            }),
        )?;
        expect_none("ACKs agree", &agreement::check_acks(&history))?;
        let asked = history.promises(Count::FromAsked);
        let tolerance = durable_ack::Tolerance { early: 2_500, late: None };
        for index in 0..cluster.nodes.len() {
            if !cluster.nodes[index].runs() {
                continue;
            }
            let (now, table) = (clock::now_ms(), cluster.leases(index)?);
            let of = |promise: &str| format!("{promise} on node {}", index + 1);
            let kept = durable_ack::check(&asked, &table, now, tolerance);
            expect_none(&of("what was acknowledged is there"), &kept)?;
            expect_none(&of("nothing nobody asked for"), &no_phantom::check(&history, &table))?;
        }
        ensure!(seen.total > 100, "only {} exchanges: that was no load", seen.total);
        Ok(Ending { exchanges: seen, history, cluster })
    }
}

/// How a story ended: every promise was kept.
#[derive(Debug)]
pub struct Ending {
    pub exchanges: Exchanges,
    pub history: History,
    cluster: Cluster,
}

impl Ending {
    /// The story is over well if none of the exchanges that `count` has failed.
    ///
    /// # Errors
    /// When some have.
    pub fn expect_none_failed(self, count: impl Fn(&Failed) -> bool) -> Result<()> {
        let seen = &self.exchanges;
        let failed = seen.failed.iter().filter(|failed| count(failed));
        let failed: Vec<String> = failed.map(Failed::to_string).collect();
        ensure!(
            failed.is_empty(),
            "{} of {} exchanges failed\n  {}",
            failed.len(),
            seen.total,
            failed[..failed.len().min(20)].join("\n  ")
        );
        self.cluster.passed();
        Ok(())
    }
}
