//! A cluster of real servers, its two networks, a relay, and room for real clients.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::cleanup::WorkDir;
use super::emulator::Emulator;
use super::node::{Node, peer_address, rack_address};
use super::sys::Signal;
use super::topology::{Namespace, Nic, Switch};
use super::traffic;
use crate::client::fleet::Fleet;
use crate::client::machine::Patience;
use crate::clock;
use crate::gate::{self, Gate, Subject};
use crate::oracle::Held;

/// Address of the relay on the rack LAN.
pub const RELAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 10);

/// How long a cluster may take to form or a node to return, in milliseconds.
pub const READY_MS: u64 = 30_000;

/// Seed of the weather on an emulated peer network. What the kernels send when is not repeatable anyway.
const WEATHER_SEED: u64 = 1;

/// What a cluster is to be like.
#[derive(Debug, Clone)]
pub struct Plan {
    pub nodes: usize,
    /// Pools of the one subnet, 10.77.0.0/16.
    pub pools: Vec<String>,
    /// Seconds.
    pub valid_lifetime: u32,
    pub renew_timer: u32,
    pub rebind_timer: u32,
    /// More keywords for the `Dhcp4` map.
    pub more: Value,
    /// Addresses that the relay's namespace treats as its own, so that simulated clients can unicast from there. Not where real clients
    /// are: it would answer their ARP probes.
    pub local_to_relay: Option<String>,
    /// The peer network is emulated in user space: delay, jitter, reordering, duplication ([`emulator`](super::emulator)).
    pub emulated_peers: bool,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            nodes: 3,
            pools: vec!["10.77.16.0 - 10.77.31.255".to_owned()],
            valid_lifetime: 3600,
            renew_timer: 1800,
            rebind_timer: 3150,
            more: json!({}),
            local_to_relay: Some("10.77.16.0/20".to_owned()),
            emulated_peers: false,
        }
    }
}

impl Plan {
    /// The `Dhcp4` map of the configuration.
    pub fn dhcp4(&self) -> Value {
        let pools: Vec<Value> = self.pools.iter().map(|pool| json!({ "pool": pool })).collect();
        let mut dhcp4 = json!({
            "interfaces-config": { "interfaces": ["eth0"] },
            "valid-lifetime": self.valid_lifetime,
            "renew-timer": self.renew_timer,
            "rebind-timer": self.rebind_timer,
            "option-data": [{ "name": "domain-name-servers", "data": "192.0.2.53" }],
            "subnet4": [{ "id": 1, "subnet": "10.77.0.0/16", "pools": pools }],
        });
        if let (Some(all), Some(more)) = (dhcp4.as_object_mut(), self.more.as_object()) {
            all.extend(more.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        dhcp4
    }
}

/// A cluster.
#[derive(Debug)]
pub struct Cluster {
    // Dropped in this order: what runs in the namespaces before the switches and the emulator, so that no node sees
    // its interface vanish.
    pub nodes: Vec<Node>,
    relay: Namespace,
    /// In place of the switch `peers`, when the plan asks for it: port and node have the same index. [`Cluster::heal`] calms it, so it
    /// takes away weather that a test has set here, too.
    pub emulator: Option<Emulator>,
    pub rack: Switch,
    /// The peer network; nothing is plugged in when it is emulated.
    pub peers: Switch,
    dir: WorkDir,
    subject: Subject,
    _gate: Gate,
}

impl Cluster {
    /// Builds everything and starts nothing. Under `SUBJECT=kea` there is one node whatever the plan says.
    ///
    /// # Errors
    /// When a namespace or a file cannot be made.
    pub fn build(gate: Gate, plan: &Plan) -> Result<Cluster> {
        let subject = gate::subject();
        let count = if subject == Subject::Kea { 1 } else { plan.nodes };
        let dir = WorkDir::create(&gate.test)?;
        let rack = Switch::create("rack")?;
        let peers = Switch::create("peers")?;
        traffic::prepare(&rack)?;
        traffic::prepare(&peers)?;
        let relay = Namespace::create("relay")?;
        rack.plug(&relay, "eth0", "relay", Nic { mac: None, address: Some((RELAY, 16)) })?;
        if let Some(prefix) = &plan.local_to_relay {
            relay.ip(&["route", "add", "local", prefix, "dev", "lo"])?;
        }
        let emulator = plan.emulated_peers.then(|| Emulator::start(WEATHER_SEED)).transpose()?;
        let dhcp4 = plan.dhcp4();
        let mut nodes = Vec::new();
        for index in 0..count {
            let port = port(index);
            let namespace = Namespace::create(&port)?;
            rack.plug(
                &namespace,
                "eth0",
                &port,
                Nic { mac: None, address: Some((rack_address(index), 16)) },
            )?;
            let nic = Nic { mac: None, address: Some((peer_address(index), 24)) };
            match &emulator {
                Some(emulator) => emulator.plug(&namespace, "eth1", nic)?,
                None => peers.plug(&namespace, "eth1", &port, nic)?,
            }
            let files = dir.path().join(&port);
            nodes.push(Node::prepare(index, namespace, files, subject, count, &dhcp4)?);
        }
        Ok(Cluster { nodes, relay, emulator, rack, peers, dir, subject, _gate: gate })
    }

    /// Builds everything, starts all nodes and waits until they are ready.
    ///
    /// # Errors
    /// As [`Cluster::build`], and when a node does not become ready.
    pub fn start(gate: Gate, plan: &Plan) -> Result<Cluster> {
        let mut cluster = Cluster::build(gate, plan)?;
        for node in &mut cluster.nodes {
            node.start()?;
        }
        cluster.wait_ready()?;
        Ok(cluster)
    }

    /// What is tested.
    pub fn subject(&self) -> Subject {
        self.subject
    }

    /// Directory of all files of this test.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Says that the test ended well.
    pub fn passed(mut self) {
        self.dir.passed();
    }

    /// Waits until every node that runs is ready.
    ///
    /// # Errors
    /// When one does not become so.
    pub fn wait_ready(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            if node.runs() {
                node.wait_ready(READY_MS)?;
            }
        }
        Ok(())
    }

    /// Starts what does not run and waits until all are ready.
    ///
    /// # Errors
    /// As [`Cluster::wait_ready`].
    pub fn restore(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            if !node.runs() {
                node.start()?;
            }
        }
        self.wait_ready()
    }

    /// Addresses of all nodes on the rack LAN.
    pub fn addresses(&self) -> Vec<Ipv4Addr> {
        self.nodes.iter().map(|node| node.address).collect()
    }

    /// Which node has the address or identity `address`.
    pub fn node_at(&self, address: Ipv4Addr) -> Option<usize> {
        self.nodes.iter().position(|node| node.address == address)
    }

    /// The leader among the nodes of `among`.
    ///
    /// # Errors
    /// When none of them leads within 10 s.
    pub fn leader_among(&mut self, among: &[usize]) -> Result<usize> {
        let running: Vec<usize> =
            among.iter().copied().filter(|index| self.nodes[*index].runs()).collect();
        clock::wait_for("a leader", 10_000, || {
            running.iter().copied().find(|index| self.nodes[*index].leads())
        })
    }

    /// The leader.
    ///
    /// # Errors
    /// When there is none within 10 s.
    pub fn leader(&mut self) -> Result<usize> {
        if self.subject == Subject::Kea {
            return Ok(0);
        }
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        self.leader_among(&all)
    }

    /// Some node that does not lead; the only one in a cluster of one.
    ///
    /// # Errors
    /// As [`Cluster::leader`].
    pub fn follower(&mut self) -> Result<usize> {
        let leader = self.leader()?;
        Ok((leader + 1) % self.nodes.len())
    }

    /// All assigned leases, as node `index` tells.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn leases(&self, index: usize) -> Result<Vec<Held>> {
        self.nodes[index].leases()
    }

    /// Runs `cluster-ctl --node http://127.0.0.1:8000 args` beside node `index`.
    ///
    /// # Errors
    /// When the program is not built or does not end.
    pub fn ctl(&self, index: usize, args: &[&str]) -> Result<crate::shell::Outcome> {
        let program = gate::binary("cluster-ctl", "CLUSTER_CTL_BIN")?;
        let mut command = self.nodes[index].namespace.command(program);
        command.args(["--node", "http://127.0.0.1:8000"]).args(args);
        crate::shell::run_any(&mut command, 20_000)
    }

    /// Simulated clients behind the relay.
    ///
    /// # Errors
    /// When their sockets cannot be opened.
    pub fn fleet(&self, patience: Patience) -> Result<Fleet> {
        Fleet::start(&self.relay, RELAY, patience, 1)
    }

    /// The relay's namespace, for tools that speak from there.
    pub fn relay(&self) -> &Namespace {
        &self.relay
    }

    /// A namespace for a real client on the rack LAN, its port, and its hardware address.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn client(&self) -> Result<(Namespace, String, [u8; 6])> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = format!("c{number}");
        let namespace = Namespace::create(&port)?;
        let mac = [0x02, 0xc1, 0, 0, (number >> 8) as u8, number as u8];
        self.rack.plug(&namespace, "eth0", &port, Nic { mac: Some(mac), address: None })?;
        Ok((namespace, port, mac))
    }

    /// The end of every node's log, for a failure's message.
    pub fn tails(&mut self) -> String {
        let mut text = String::new();
        for node in &mut self.nodes {
            let tail = node.process().map(|process| process.tail()).unwrap_or_default();
            text.push_str(&format!("--- node {} ---\n{tail}\n", node.index + 1));
        }
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.dir.is_kept() {
            eprintln!("{}", self.tails());
        }
    }
}

/// Name of the port of node `index` on both switches.
pub fn port(index: usize) -> String {
    format!("n{}", index + 1)
}

/// Which packets a cut between two nodes takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Both,
    /// Only what the first node sends.
    FromFirst,
    /// Only what the first node is sent.
    ToFirst,
}

/// The verbs of fault. Nodes are counted from 0.
impl Cluster {
    /// Starts a node that does not run.
    ///
    /// # Errors
    /// When there is no such node, or the system refuses; the same for all verbs below.
    pub fn start_node(&mut self, node: usize) -> Result<()> {
        self.nodes.get_mut(node).context("no such node")?.start()
    }

    /// Ends a node without warning: `kill -9`.
    ///
    /// # Errors
    /// See [`Cluster::start_node`].
    pub fn kill(&mut self, node: usize) -> Result<()> {
        self.nodes.get_mut(node).context("no such node")?.kill()
    }

    /// Stops a node in its tracks.
    ///
    /// # Errors
    /// See [`Cluster::start_node`].
    pub fn pause(&mut self, node: usize) -> Result<()> {
        self.nodes.get_mut(node).context("no such node")?.process()?.signal(Signal::Stop)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// See [`Cluster::start_node`].
    pub fn resume(&mut self, node: usize) -> Result<()> {
        self.nodes.get_mut(node).context("no such node")?.process()?.signal(Signal::Continue)
    }

    /// Cuts the link between two nodes.
    ///
    /// # Errors
    /// See [`Cluster::start_node`].
    pub fn cut(&mut self, first: usize, second: usize, direction: Direction) -> Result<()> {
        if first >= self.nodes.len() || second >= self.nodes.len() {
            bail!("no such node");
        }
        let ways = [(Direction::ToFirst, first, second), (Direction::FromFirst, second, first)];
        for (_, from, to) in ways.into_iter().filter(|(other, ..)| *other != direction) {
            match &self.emulator {
                Some(emulator) => emulator.cut(from, to),
                None => traffic::cut_one_way(&self.peers, &port(from), &port(to)).map(drop)?,
            }
        }
        Ok(())
    }

    /// Cuts a node from all other nodes.
    ///
    /// # Errors
    /// See [`Cluster::start_node`].
    pub fn isolate(&mut self, node: usize, direction: Direction) -> Result<()> {
        let mut others = (0..self.nodes.len()).filter(|other| *other != node);
        others.try_for_each(|other| self.cut(node, other, direction))
    }

    /// Cuts a node from its clients.
    ///
    /// # Errors
    /// See [`Cluster::start_node`].
    pub fn cut_clients(&mut self, node: usize) -> Result<()> {
        traffic::cut_port(&self.rack, &port(node)).map(drop)
    }

    /// Loses this many of a thousand packets between nodes.
    ///
    /// # Errors
    /// See [`Cluster::start_node`].
    pub fn lose(&mut self, per_mille: u32) -> Result<()> {
        match &self.emulator {
            Some(emulator) => emulator.lose(per_mille),
            None => traffic::lose(&self.peers, per_mille).map(drop)?,
        }
        Ok(())
    }

    /// Takes away every cut and loss.
    ///
    /// # Errors
    /// See [`Cluster::start_node`].
    pub fn heal(&mut self) -> Result<()> {
        if let Some(emulator) = &self.emulator {
            emulator.calm();
        }
        traffic::heal(&self.rack)?;
        traffic::heal(&self.peers)
    }
}
