//! `leasehold demo`: the whole promise on one machine, without root, in half a minute.
//!
//! Three real nodes on loopback addresses form a cluster. Simulated clients behind a relay get
//! leases through all three. Then the leader is killed with `kill -9` while clients keep coming.
//! The demo shows how long they waited, and checks against what the clients were told that no
//! lease was lost and none was given twice. It goes on serving until Ctrl-C, or ends after the
//! story with `--once`.
//!
//! What each line of the verdict claims is computed from the clients' ledger ([`crowd`]) and from
//! the survivors' answers; nothing is assumed.

mod client;
mod crowd;
mod nodes;
mod screen;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use self::crowd::{Crowd, Ledger};
use self::nodes::{Node, Ports};
use self::screen::{ClusterLine, Screen};
use crate::clock::Stopwatch;

/// How the demo is run.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Options {
    /// End after the story; exit status 0 only if every check in it held.
    #[arg(long)]
    pub once: bool,
}

/// The relay's address: what `giaddr` says.
const RELAY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 20);
/// A new client each so many milliseconds.
const ARRIVALS: u32 = 20;
/// The longest wait for anything that should take a second or two.
const PATIENCE: Duration = Duration::from_secs(45);
/// What the longest time without an ACK may be when the leader dies.
const GAP_LIMIT: Duration = Duration::from_millis(1500);

/// Runs the demo; `interrupted` is set by Ctrl-C. Returns whether every check held.
pub fn run(options: Options, interrupted: Arc<AtomicBool>) -> anyhow::Result<bool> {
    let clock = Stopwatch::start();
    let screen = Screen::new();
    let root = tempfile::Builder::new().prefix("leasehold-demo-").tempdir()?;
    let mut demo = Demo::prepare(root.path(), clock, screen, interrupted)?;
    let mut checks = Checks::default();

    demo.form()?;
    demo.first_leases(&mut checks)?;
    let killed = demo.kill_the_leader(&mut checks)?;
    demo.verify(&mut checks)?;
    demo.bring_back(killed, &mut checks)?;

    let held = checks.all_held();
    demo.screen.verdict(held, clock.elapsed());
    if !options.once {
        demo.serve_until_interrupted()?;
    }
    Ok(held)
}

#[derive(Default)]
struct Checks {
    failed: usize,
}

impl Checks {
    fn record(&mut self, screen: &Screen, held: bool, text: &str) {
        self.failed += usize::from(!held);
        screen.check(held, text);
    }

    fn all_held(&self) -> bool {
        self.failed == 0
    }
}

struct Demo {
    clock: Stopwatch,
    screen: Screen,
    interrupted: Arc<AtomicBool>,
    nodes: Vec<Node>,
    crowd: Crowd,
}

impl Demo {
    fn prepare(
        root: &std::path::Path,
        clock: Stopwatch,
        screen: Screen,
        interrupted: Arc<AtomicBool>,
    ) -> anyhow::Result<Demo> {
        screen.title("Leasehold demo: three nodes on loopback, unprivileged, temporary data");
        screen.note(&format!("data and logs: {}", root.display()));
        let mut addresses: Vec<Ipv4Addr> = (1..=3).map(nodes::address_of).collect();
        addresses.push(RELAY);
        let ports = Ports::find(&addresses).context("free loopback ports")?;
        fs::write(root.join("kea-dhcp4.conf"), nodes::sample_config(RELAY))?;
        let nodes = (1..=3)
            .map(|number| Node::prepare(root, number, ports))
            .collect::<Result<Vec<_>, _>>()?;
        let relay = SocketAddrV4::new(RELAY, ports.relay);
        let crowd = Crowd::start(relay, nodes.iter().map(Node::dhcp).collect(), clock)
            .with_context(|| format!("relay socket on {relay}"))?;
        Ok(Demo { clock, screen, interrupted, nodes, crowd })
    }

    fn form(&mut self) -> anyhow::Result<()> {
        self.screen.step("1. Three nodes form a cluster by themselves");
        for node in &mut self.nodes {
            node.start()?;
            self.screen.note(&format!(
                "node {} started: DHCP {}, API {}",
                node.number,
                node.dhcp(),
                node.url()
            ));
        }
        self.wait("all nodes are ready", Demo::not_ready)?;
        self.screen.note(&format!(
            "all three are ready after {:.1} s",
            self.clock.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    fn first_leases(&mut self, checks: &mut Checks) -> anyhow::Result<()> {
        self.screen.step("2. Clients behind a relay get leases through all three nodes");
        self.crowd.arrivals_every(ARRIVALS);
        self.watch(Duration::from_secs(3))?;
        let ledger = self.crowd.ledger();
        let mut by_server: BTreeMap<Ipv4Addr, usize> = BTreeMap::new();
        for acked in &ledger.acked {
            *by_server.entry(acked.server).or_default() += 1;
        }
        let shares: Vec<String> = self
            .nodes
            .iter()
            .map(|n| by_server.get(&n.address).copied().unwrap_or(0).to_string())
            .collect();
        checks.record(
            &self.screen,
            by_server.len() == 3,
            &format!(
                "{} clients have leases; answered by node 1, 2, 3: {}",
                ledger.acked.len(),
                shares.join(", ")
            ),
        );
        Ok(())
    }

    /// Kills the leader under load; returns its place in `nodes`.
    fn kill_the_leader(&mut self, checks: &mut Checks) -> anyhow::Result<usize> {
        let leader = self.leader().context("no node says who leads")?;
        self.screen.step(&format!(
            "3. Node {} leads: kill -9, while a new client comes every {ARRIVALS} ms",
            self.nodes[leader].number
        ));
        let before = self.crowd.ledger();
        let killed_at = self.clock.elapsed();
        self.nodes[leader].kill()?;
        self.watch(Duration::from_secs(4))?;
        self.crowd.arrivals_every(0);
        self.wait("every waiting client has an answer", |demo| {
            let (_, waiting) = demo.crowd.counts();
            (waiting > 0).then(|| format!("{waiting} clients wait"))
        })?;
        let after = self.crowd.ledger();
        let gap = after.longest_gap(killed_at);
        checks.record(
            &self.screen,
            gap <= GAP_LIMIT,
            &format!(
                "longest time without an ACK: {} ms (limit {} ms)",
                gap.as_millis(),
                GAP_LIMIT.as_millis()
            ),
        );
        let since = &after.acked[before.acked.len().min(after.acked.len())..];
        let worst = since.iter().map(|acked| acked.waited).max().unwrap_or_default();
        let repeated = since.iter().filter(|acked| acked.repeats > 0).count();
        checks.record(
            &self.screen,
            !since.is_empty(),
            &format!(
                "{} clients were served during and after it; {repeated} had to repeat a packet, after 3 to 5 s as RFC 2131 has it; the longest wait of one was {} ms",
                since.len(),
                worst.as_millis()
            ),
        );
        Ok(leader)
    }

    fn verify(&mut self, checks: &mut Checks) -> anyhow::Result<()> {
        self.screen.step("4. What clients were told, against what the survivors know");
        let ledger = self.crowd.ledger();
        let survivor = self.survivor()?;
        let leases = leases_of(survivor, "linearizable")?;
        let lost = missing(&ledger, &leases);
        checks.record(
            &self.screen,
            lost == 0,
            &format!("{} acknowledged leases, {lost} lost", ledger.acked.len()),
        );
        let twice = ledger.given_twice();
        checks.record(
            &self.screen,
            twice.is_empty(),
            &format!("addresses given to two clients: {}", twice.len()),
        );
        Ok(())
    }

    fn bring_back(&mut self, killed: usize, checks: &mut Checks) -> anyhow::Result<()> {
        self.screen.step(&format!("5. Node {} comes back", self.nodes[killed].number));
        self.nodes[killed].start()?;
        self.wait("it is ready", Demo::not_ready)?;
        let ledger = self.crowd.ledger();
        let lost = missing(&ledger, &leases_of(&self.nodes[killed], "local")?);
        checks.record(
            &self.screen,
            lost == 0,
            &format!("it has caught up: {lost} of {} leases missing", ledger.acked.len()),
        );
        self.show();
        Ok(())
    }

    fn serve_until_interrupted(&mut self) -> anyhow::Result<()> {
        let url = self.nodes[0].url();
        self.screen.step("The nodes go on serving until Ctrl-C. Try, in another terminal:");
        for line in [
            format!("cluster-ctl --node {url} status"),
            format!("cluster-ctl --node {url} lease list"),
            format!("cluster-ctl --node {url} leader transfer"),
            format!(
                "curl -s -X POST -H 'Content-Type: application/json' -d '{{\"command\": \"lease4-get-page\", \"arguments\": {{\"from\": \"start\", \"limit\": 3}}}}' {url}"
            ),
            format!("curl -s {url}/metrics | grep leasehold_raft"),
        ] {
            self.screen.command(&line);
        }
        self.crowd.arrivals_every(1000);
        while !self.interrupted.load(Ordering::Relaxed) {
            self.watch(Duration::from_secs(2))?;
        }
        self.screen.note("stopping the nodes and removing their data");
        Ok(())
    }

    /// Shows the live table for `time`, and fails if a node ends by itself.
    fn watch(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = self.clock.elapsed() + time;
        while self.clock.elapsed() < until {
            if self.interrupted.load(Ordering::Relaxed) {
                return Ok(());
            }
            for node in &mut self.nodes {
                node.check()?;
            }
            self.show();
            std::thread::sleep(Duration::from_millis(250));
        }
        Ok(())
    }

    /// Waits until `missing` finds nothing more, showing what it waits for.
    fn wait(
        &mut self,
        what: &str,
        missing: impl Fn(&Demo) -> Option<String>,
    ) -> anyhow::Result<()> {
        let until = self.clock.elapsed() + PATIENCE;
        loop {
            for node in &mut self.nodes {
                node.check()?;
            }
            let Some(reason) = missing(self) else {
                self.screen.clear_progress();
                return Ok(());
            };
            if self.interrupted.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            if self.clock.elapsed() > until {
                bail!("gave up after {} s waiting until {what}: {reason}", PATIENCE.as_secs());
            }
            self.screen.progress(&format!("waiting until {what}: {reason}"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn not_ready(&self) -> Option<String> {
        self.nodes
            .iter()
            .find_map(|n| n.ready().err().map(|reason| format!("node {}: {reason}", n.number)))
    }

    fn show(&self) {
        let (bound, waiting) = self.crowd.counts();
        let lines = self.nodes.iter().map(ClusterLine::of).collect::<Vec<_>>();
        self.screen.table(self.clock.elapsed(), &lines, bound, waiting);
    }

    fn leader(&self) -> Option<usize> {
        self.nodes.iter().position(|node| ClusterLine::of(node).role == "leader")
    }

    fn survivor(&mut self) -> anyhow::Result<&Node> {
        self.nodes.iter().find(|node| node.ready().is_ok()).context("no node is ready")
    }
}

/// Every lease a node knows: address → hardware address.
fn leases_of(node: &Node, consistency: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    let mut from = "start".to_owned();
    loop {
        let page = node.command(
            "lease4-get-page",
            json!({ "from": from, "limit": 1000, "consistency": consistency }),
        )?;
        let leases = page.get("leases").and_then(Value::as_array).cloned().unwrap_or_default();
        for lease in &leases {
            let text =
                |name: &str| lease.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            from = text("ip-address");
            all.insert(text("ip-address"), text("hw-address"));
        }
        if leases.len() < 1000 {
            return Ok(all);
        }
    }
}

/// How many acknowledged leases the node does not know as their client's.
fn missing(ledger: &Ledger, leases: &BTreeMap<String, String>) -> usize {
    ledger
        .acked
        .iter()
        .filter(|acked| leases.get(&acked.address.to_string()) != Some(&acked.mac))
        .count()
}
