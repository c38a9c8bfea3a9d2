//! What is loaded: servers, each in a namespace, and the relay that the load comes from. The wiring is the same for all.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::book::Subject;
use super::flags::{RESPOND, Sockets};
use crate::clock;
use crate::floor::netns::cleanup::WorkDir;
use crate::floor::netns::cluster::{Cluster, Plan, RELAY};
use crate::floor::netns::node::{peer_address, rack_address};
use crate::floor::netns::process::Process;
use crate::floor::netns::topology::{Namespace, Nic, Switch, wait_for_links};
use crate::gate::Gate;
use crate::kea::server::{Kind, Server};
use crate::kea::service;

/// Where a server listens that is alone.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// Three nodes, or what stands in their place.
#[derive(Debug)]
enum Servers {
    Cluster(Box<Cluster>),
    Other(Box<Other>),
}

#[derive(Debug)]
struct Other {
    // Dropped in this order: servers, their namespaces, switches.
    keas: Vec<Server>,
    stateless: Option<Process>,
    relay: Namespace,
    _namespaces: Vec<Namespace>,
    _switches: [Switch; 2],
    dir: WorkDir,
}

/// A subject that runs. Dropping it ends it.
#[derive(Debug)]
pub struct Running {
    pub subject: Subject,
    /// Where the load goes.
    pub address: Ipv4Addr,
    servers: Servers,
    crowd: u8,
}

/// What the configurations of all subjects have in common: one subnet with eight million addresses.
pub fn plan(sockets: Sockets) -> Plan {
    Plan {
        more: json!({
            "interfaces-config": { "interfaces": ["eth0"], "dhcp-socket-type": sockets.word() },
            "subnet4": [{
                "id": 1, "subnet": "10.0.0.0/8", "pools": [{ "pool": "10.128.0.0 - 10.255.255.254" }]
            }],
        }),
        local_to_relay: None,
        ..Plan::default()
    }
}

impl Running {
    /// Starts `subject` with nothing stored and waits until it serves. Our nodes are started through `wrapper`.
    ///
    /// # Errors
    /// When it does not come to serve.
    pub fn start(
        subject: Subject,
        gate: &Gate,
        kea: Option<&Kind>,
        sockets: Sockets,
        wrapper: &[&str],
    ) -> Result<Running> {
        let plan = plan(sockets);
        let (address, servers) = match subject {
            Subject::Leader | Subject::Follower => {
                let mut cluster = Cluster::build(gate.clone(), &plan)?;
                for node in &mut cluster.nodes {
                    node.set_wrapper(wrapper);
                    node.start()?;
                }
                cluster.wait_ready()?;
                let index = match subject {
                    Subject::Follower => cluster.follower()?,
                    _ => cluster.leader()?,
                };
                (cluster.nodes[index].address, Servers::Cluster(Box::new(cluster)))
            }
            _ => {
                (SERVER, Servers::Other(Box::new(Other::start(subject, gate, kea, &plan.dhcp4())?)))
            }
        };
        Ok(Running { subject, address, servers, crowd: 0 })
    }

    /// The cluster, when it is one.
    ///
    /// # Errors
    /// When it is none.
    pub fn cluster(&mut self) -> Result<&mut Cluster> {
        match &mut self.servers {
            Servers::Cluster(cluster) => Ok(cluster),
            Servers::Other(_) => anyhow::bail!("{} is no cluster", self.subject.title()),
        }
    }

    /// Where the load comes from.
    pub fn relay(&self) -> &Namespace {
        match &self.servers {
            Servers::Cluster(cluster) => cluster.relay(),
            Servers::Other(other) => &other.relay,
        }
    }

    /// A crowd of clients that has not been here yet. There are 256 of them; then they come again.
    pub fn new_crowd(&mut self) -> u8 {
        self.crowd = self.crowd.wrapping_add(1);
        self.crowd
    }

    /// CPU time of all servers so far, in microseconds.
    ///
    /// # Errors
    /// When one is gone.
    pub fn cpu_micros(&mut self) -> Result<u64> {
        match &mut self.servers {
            Servers::Cluster(cluster) => {
                cluster.nodes.iter_mut().map(|node| node.cpu_micros()).sum()
            }
            Servers::Other(other) => {
                let keas = other.keas.iter().map(|server| &server.process);
                keas.chain(&other.stateless).map(Process::cpu_micros).sum()
            }
        }
    }

    /// Waits until all of it serves again: a pair that has lost each other under load comes together, the cluster is ready.
    ///
    /// # Errors
    /// When it does not.
    pub fn settle(&mut self) -> Result<()> {
        clock::sleep_ms(500);
        match &mut self.servers {
            Servers::Cluster(cluster) => cluster.wait_ready(),
            Servers::Other(other) => service::wait(&mut other.keas),
        }
    }

    /// Says that its files are not needed.
    pub fn passed(self) {
        match self.servers {
            Servers::Cluster(cluster) => cluster.passed(),
            Servers::Other(mut other) => other.dir.passed(),
        }
    }
}

impl Other {
    fn start(subject: Subject, gate: &Gate, kea: Option<&Kind>, dhcp4: &Value) -> Result<Other> {
        let mut dir = WorkDir::create(&gate.test)?;
        let switches = [Switch::create("rack")?, Switch::create("peers")?];
        let relay = Namespace::create("relay")?;
        let nic = |address, prefix| Nic { mac: None, address: Some((address, prefix)) };
        switches[0].plug(&relay, "eth0", "relay", nic(RELAY, 16))?;
        let mut namespaces = Vec::new();
        for index in 0..if subject == Subject::KeaPair { 2 } else { 1 } {
            let port = crate::floor::netns::cluster::port(index);
            let namespace = Namespace::create(&port)?;
            switches[0].plug(&namespace, "eth0", &port, nic(rack_address(index), 16))?;
            switches[1].plug(&namespace, "eth1", &port, nic(peer_address(index), 24))?;
            namespaces.push(namespace);
        }
        wait_for_links(&namespaces)?;
        let (mut keas, mut stateless) = (Vec::new(), None);
        if subject == Subject::Stateless {
            let own = std::env::current_exe().context("the path of this program")?;
            let mut command = namespaces[0].command(own);
            stateless = Some(Process::start(command.arg(RESPOND), &dir.path().join("log"))?);
            clock::sleep_ms(200);
        } else {
            let kind = kea.context("there is no Kea")?;
            match service::start(kind, &namespaces, dhcp4, dir.path()) {
                Ok(servers) => keas = servers,
                Err(error) => {
                    // What it said is in the error.
                    dir.passed();
                    return Err(error);
                }
            }
        }
        Ok(Other { keas, stateless, relay, _namespaces: namespaces, _switches: switches, dir })
    }
}
