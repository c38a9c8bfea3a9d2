//! Two Keas as hot-standby, as Kea's manual sets them up and with its defaults: to see what of a run is about us. What they do not keep is
//! counted and ends nothing.
//!
//! Their files are on disks of their own as ours are, if it is the installed Kea; one in another root file system writes there, and no power is cut.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Servers, storm};
use crate::floor::netns::cleanup::WorkDir;
use crate::floor::netns::emulator::Emulator;
use crate::floor::netns::loop_disk::{LoopDisk, Lost};
use crate::floor::netns::node::{peer_address, rack_address};
use crate::floor::netns::sys::Signal;
use crate::floor::netns::topology::{Namespace, Nic, Switch, wait_for_links};
use crate::floor::netns::{api, cluster, traffic};
use crate::floor::sim::Plan;
use crate::floor::sim::dice::Dice;
use crate::floor::sim::faults::Fault;
use crate::floor::sim::place::{RELAY, configuration};
use crate::floor::stage::Lacking;
use crate::gate::Gate;
use crate::kea::server::{CONTROL, Kind, Server};
use crate::kea::service;
use crate::oracle::{Breach, Held};
use crate::shell;

/// What a pair does not have.
const LACKS: &[Lacking] = &[
    (Fault::Depose, "the primary of a pair is the one that is configured so"),
    (Fault::WallClock, "Kea's clock is the machine's"),
    (Fault::SlowDisk, "the disk is an image that stands still or does not"),
    (Fault::BrokenDisk, "the disk is an image that stands still or does not"),
];
/// What it does not have either in another root file system.
const LACKS_ELSEWHERE: &[Lacking] = &[
    (Fault::Depose, "the primary of a pair is the one that is configured so"),
    (Fault::WallClock, "Kea's clock is the machine's"),
    (Fault::SlowDisk, "its files are not on a disk of its own"),
    (Fault::BrokenDisk, "its files are not on a disk of its own"),
    (Fault::Stall, "its files are not on a disk of its own"),
    (Fault::FullDisk, "its files are not on a disk of its own"),
    (Fault::PowerCut, "its files are not on a disk of its own"),
];
/// MiB of a server's disk.
const DISK_MIB: u64 = 64;

/// The pair.
#[derive(Debug)]
pub struct Pair {
    // Dropped in this order: disks, because servers cannot end while theirs stand still, servers, namespaces, switches.
    /// None, if the files are in another root file system.
    disks: Vec<LoopDisk>,
    servers: Vec<Server>,
    kind: Kind,
    relay: Namespace,
    namespaces: Vec<Namespace>,
    rack: Switch,
    peers: Emulator,
    dice: Dice,
    dir: WorkDir,
    up: [bool; 2],
    frozen: [bool; 2],
    /// Whether its disk stands still.
    stalled: [bool; 2],
}

impl Pair {
    /// Starts a pair with the configuration of `plan`, and waits until both say that they are in hot-standby.
    ///
    /// # Errors
    /// When they do not come to that.
    pub fn start(gate: &Gate, kind: Kind, seed: u64, plan: &Plan) -> Result<Pair> {
        let dir = WorkDir::create(&gate.test)?;
        let (rack, peers) = (Switch::create("rack")?, Emulator::start(seed)?);
        traffic::prepare(&rack)?;
        let nic = |address, prefix| Nic { mac: None, address: Some((address, prefix)) };
        let relay = Namespace::create("relay")?;
        rack.plug(&relay, "eth0", "relay", nic(RELAY, 16))?;
        relay.ip(&["route", "add", "local", "10.77.16.0/20", "dev", "lo"])?;
        let (mut namespaces, mut disks) = (Vec::new(), Vec::new());
        for index in 0..2 {
            let port = cluster::port(index);
            let namespace = Namespace::create(&port)?;
            rack.plug(&namespace, "eth0", &port, nic(rack_address(index), 16))?;
            peers.plug(&namespace, "eth1", nic(peer_address(index), 24))?;
            namespaces.push(namespace);
            // Where the server will put its files.
            let files = dir.path().join(format!("kea-{}", index + 1)).join("kea");
            if has_disks(&kind) {
                disks.push(LoopDisk::mount_for_cuts(dir.path(), &files, DISK_MIB)?);
            }
        }
        wait_for_links(&namespaces)?;
        let dhcp4 = &configuration(plan)["Dhcp4"];
        let servers = service::start(&kind, &namespaces, dhcp4, dir.path())?;
        for (_, server) in disks.iter().zip(&servers) {
            // A power cut may take what they have written, not what was written for them.
            shell::run(Command::new("sync").arg("-f").arg(server.dir()))?;
        }
        Ok(Pair {
            disks,
            servers,
            kind,
            relay,
            namespaces,
            rack,
            peers,
            dice: Dice::new(seed, 6),
            dir,
            up: [true; 2],
            frozen: [false; 2],
            stalled: [false; 2],
        })
    }

    /// A server goes on, if it stands still.
    fn go_on(&mut self, at: usize) -> Result<()> {
        if std::mem::take(&mut self.frozen[at]) {
            self.servers[at].process.signal(Signal::Continue)?;
        }
        Ok(())
    }

    /// The disk of a server goes on, if it stands still.
    fn thaw(&mut self, at: usize) -> Result<()> {
        if std::mem::take(&mut self.stalled[at]) {
            self.disk(at)?.thaw()?;
        }
        Ok(())
    }

    fn disk(&self, at: usize) -> Result<&LoopDisk> {
        self.disks.get(at).context("no disk")
    }
}

fn has_disks(kind: &Kind) -> bool {
    matches!(kind, Kind::Kea { root: None, .. })
}

fn index(server: u64) -> usize {
    usize::from(server != 1)
}

impl Servers for Pair {
    fn count(&self) -> u64 {
        2
    }

    fn lacks(&self) -> &[Lacking] {
        if has_disks(&self.kind) { LACKS } else { LACKS_ELSEWHERE }
    }

    fn relay(&self) -> &Namespace {
        &self.relay
    }

    fn apis(&self) -> Result<Vec<SocketAddr>, &'static str> {
        Err(
            "each Kea has a configuration of its own, and no version of it that a change could expect",
        )
    }

    fn must_keep(&self) -> bool {
        false
    }

    fn is_whole(&mut self) -> Result<(), String> {
        self.servers.iter_mut().try_for_each(|server| service::is_ready(server, true))
    }

    fn leader(&mut self) -> Option<u64> {
        (self.up[0] && !self.frozen[0]).then_some(1)
    }

    fn term(&mut self) -> Option<u64> {
        None
    }

    fn leases(&mut self, server: u64) -> Result<Vec<Held>> {
        let socket = self.servers[index(server)].dir().join(CONTROL);
        api::leases(&api::command_by_socket(&socket, "lease4-get-all", None)?)
    }

    fn agree(&mut self) -> Result<(), String> {
        let mut tables = Vec::new();
        for server in 1..=2 {
            let table = self.leases(server).map_err(|error| format!("{error:#}"))?;
            let mut holders: Vec<_> =
                table.into_iter().map(|held| (held.address, held.client)).collect();
            holders.sort_unstable();
            tables.push(holders);
        }
        match tables[0] == tables[1] {
            true => Ok(()),
            false => Err(format!("primary {:?}, standby {:?}", tables[0], tables[1])),
        }
    }

    fn overgrown(&mut self) -> Vec<Breach> {
        Vec::new()
    }

    fn facts(&mut self, server: u64) -> Vec<(String, String)> {
        let server = &mut self.servers[index(server)];
        let state = match service::is_ready(server, true) {
            Ok(()) => "hot-standby".to_owned(),
            Err(why) => why,
        };
        vec![("state".to_owned(), state), ("log".to_owned(), server.process.tail())]
    }

    fn bring_back(&mut self, server: u64) -> Result<()> {
        let at = index(server);
        self.go_on(at)?;
        self.up[at] = true;
        if !self.servers[at].process.runs() {
            // Its log is on its disk: while that stands still we would wait, too, and nobody would let it go on.
            self.thaw(at)?;
            self.servers[at].start_again(&self.kind, &self.namespaces[at])?;
        }
        Ok(())
    }

    fn kill(&mut self, server: u64) -> Result<()> {
        let at = index(server);
        (self.up[at], self.frozen[at]) = (false, false);
        // A process does not end as long as it waits for a disk that stands still.
        self.servers[at].process.signal(Signal::Kill)?;
        self.thaw(at)?;
        self.servers[at].process.kill()
    }

    fn shut_down(&mut self, server: u64) -> Result<()> {
        let at = index(server);
        self.go_on(at)?;
        // As for a kill.
        self.thaw(at)?;
        self.up[at] = false;
        self.servers[at].process.signal(Signal::Term)?;
        self.servers[at].process.wait(10_000).map(drop)
    }

    fn freeze(&mut self, server: u64) -> Result<()> {
        let at = index(server);
        if self.up[at] {
            self.frozen[at] = true;
            self.servers[at].process.signal(Signal::Stop)?;
        }
        Ok(())
    }

    fn cut(&mut self, from: u64, to: u64) -> Result<()> {
        self.peers.cut(index(from), index(to));
        Ok(())
    }

    fn storm(&mut self, lost_per_mille: u64, late_ms: u64) -> Result<()> {
        self.peers.set_all(storm(lost_per_mille, late_ms)?);
        Ok(())
    }

    fn cut_clients(&mut self, server: u64) -> Result<()> {
        traffic::cut_port(&self.rack, &cluster::port(index(server))).map(drop)
    }

    fn narrow(&mut self, server: u64, kbit: u64) -> Result<()> {
        traffic::narrow(&self.rack, &cluster::port(index(server)), kbit)
    }

    fn slow_disk(&mut self, _: u64, _: u64) -> Result<()> {
        Ok(())
    }

    fn break_disk(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    fn stall_disk(&mut self, server: u64) -> Result<()> {
        let at = index(server);
        // One that stands still already would be refused.
        if !self.stalled[at] {
            self.disk(at)?.freeze()?;
            self.stalled[at] = true;
        }
        Ok(())
    }

    fn fill_disk(&mut self, server: u64) -> Result<()> {
        let at = index(server);
        // As for its log.
        self.thaw(at)?;
        self.disk(at)?.fill(0)
    }

    fn heal_wires(&mut self) -> Result<()> {
        self.peers.calm();
        (0..2).for_each(|at| traffic::widen(&self.rack, &cluster::port(at)));
        traffic::heal(&self.rack)
    }

    fn heal_disks(&mut self) -> Result<()> {
        for at in 0..self.disks.len() {
            self.thaw(at)?;
            // Also of one that was not filled since: a power cut brings the file back whose end was not synced.
            self.disk(at)?.make_room()?;
        }
        Ok(())
    }

    fn depose(&mut self) -> Result<()> {
        Ok(())
    }

    fn checkpoint(&mut self, server: u64) -> Result<()> {
        let at = index(server);
        if self.up[at] && !self.frozen[at] {
            let socket = self.servers[at].dir().join(CONTROL);
            // Refused while one is under way.
            let _ = api::command_by_socket(&socket, "kea-lfc-start", None);
        }
        Ok(())
    }

    fn set_wall_clock(&mut self, _: u64, _: i64) -> Result<()> {
        Ok(())
    }

    fn set_clocks_right(&mut self) -> Result<()> {
        Ok(())
    }

    fn cut_power(&mut self) -> Result<()> {
        self.heal_disks()?;
        for server in 1..=self.count() {
            self.freeze(server)?;
        }
        for (at, disk) in self.disks.iter_mut().enumerate() {
            let lost = if self.dice.chance(500) { Lost::Unsynced } else { Lost::Some };
            let image = self.dir.path().join(format!("cut-{at}.img"));
            disk.image_now(&image, lost)?;
            (self.up[at], self.frozen[at]) = (false, false);
            self.servers[at].process.kill()?;
            disk.restart_from(&image)?;
        }
        Ok(())
    }

    fn passed(mut self) {
        self.dir.passed();
    }
}
