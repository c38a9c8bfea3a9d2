//! Three racks, as `deploy/three-racks` has them: the files of that directory, on three machines with the package.
//!
//! ```text
//!   servers 192.0.2.0/24   rack-a-1 .11   rack-b-1 .12   rack-c-1 .13   operator .10
//!                          router a .101  router b .102  router c .103
//!   rack a 10.1.0.0/24     router .1, with dhcrelay      client          (b, c alike)
//! ```

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result};

use super::machine::{self, Machine};
use super::process::Process;
use super::topology::{Namespace, Nic, Switch};
use crate::shell;

/// The racks.
pub const RACKS: [char; 3] = ['a', 'b', 'c'];

/// Racks that may be added.
pub const MORE: [char; 2] = ['d', 'e'];

/// How long the three may take to form a cluster, in milliseconds.
const READY_MS: u64 = 30_000;

/// One rack beside its node: its router, which is a relay, and a client.
#[derive(Debug)]
pub struct Rack {
    pub client: Namespace,
    relay: Process,
    _router: Namespace,
    _lan: Switch,
}

impl Rack {
    /// What the relay printed.
    pub fn relay_said(&self) -> String {
        self.relay.log()
    }
}

/// All of it.
#[derive(Debug)]
pub struct ThreeRacks {
    pub operator: Machine,
    /// Of [`RACKS`], and of [`MORE`] if they were booted.
    pub nodes: Vec<Machine>,
    servers: Switch,
}

/// Where the files are on a machine with the package.
const FILES: &str = "/usr/share/doc/leasehold/examples/three-racks";

impl ThreeRacks {
    /// Boots four machines, with `more` racks as many more, and installs the package on all. No node is started.
    ///
    /// # Errors
    /// When one does not boot.
    pub fn boot(lab: &Path, more: usize) -> Result<ThreeRacks> {
        let package = machine::seen(&machine::package(lab)?)?;
        let servers = Switch::create("servers")?;
        let racks = [&RACKS[..], &MORE].concat();
        let mut hosts = String::from("192.0.2.10 operator\\n");
        for (rack, last) in racks.iter().zip(11..) {
            hosts.push_str(&format!("192.0.2.{last} rack-{rack}-1\\n"));
        }
        let boot = |name: &str, last: u8| -> Result<Machine> {
            let network = Namespace::create(name)?;
            let address = Some((Ipv4Addr::new(192, 0, 2, last), 24));
            servers.plug(&network, "eth0", &format!("p{last}"), Nic { mac: None, address })?;
            for (rack, number) in (1..=3).zip(101..) {
                let (behind, router) = (format!("10.{rack}.0.0/24"), format!("192.0.2.{number}"));
                network.ip(&["route", "add", &behind, "via", &router])?;
            }
            let machine = Machine::boot(name, network, lab)?;
            machine.run(&format!("printf '{hosts}' >> /etc/hosts && dpkg -i {package}"))?;
            Ok(machine)
        };
        let operator = boot("operator", 10)?;
        let nodes = racks
            .iter()
            .zip(11..)
            .take(RACKS.len() + more)
            .map(|(rack, last)| boot(&format!("rack-{rack}-1"), last))
            .collect::<Result<_>>()?;
        Ok(ThreeRacks { operator, nodes, servers })
    }

    /// Boots everything, starts the three nodes and waits until they are ready. `more` machines have nothing started.
    ///
    /// # Errors
    /// As [`ThreeRacks::boot`], and when one does not become ready.
    pub fn start(lab: &Path, more: usize) -> Result<ThreeRacks> {
        let racks = ThreeRacks::boot(lab, more)?;
        // `~/pki`, as `docs/three-racks.md` has it; the machines meet in the directory of the test.
        racks.operator.run(
            "cluster-ctl pki init --out pki && \
             for rack in a b c; do cluster-ctl pki issue rack-$rack-1 --ca pki; done && cp -r pki /media/lab/",
        )?;
        for (node, rack) in racks.nodes.iter().zip(RACKS) {
            node.run(&format!(
                "cat {FILES}/rack-{rack}-1.toml > /etc/leasehold/node.toml && \
                 cat {FILES}/kea-dhcp4.conf > /etc/leasehold/kea-dhcp4.conf && \
                 cp /media/lab/pki/ca.pem /media/lab/pki/rack-{rack}-1.* /etc/leasehold/ && \
                 chown leasehold: /etc/leasehold/rack-{rack}-1.key && systemctl enable --now leasehold"
            ))?;
        }
        for (node, rack) in racks.nodes.iter().zip(RACKS) {
            node.wait_ready("http://127.0.0.1:8000/health/ready", READY_MS)
                .with_context(|| format!("rack-{rack}-1"))?;
        }
        Ok(racks)
    }

    /// The rest of rack `index`: router, relay, client.
    ///
    /// # Errors
    /// When `ip` fails, or the relay cannot be started.
    pub fn rack(&self, index: u8, lab: &Path) -> Result<Rack> {
        let (number, rack) = (index + 1, char::from(b'a' + index));
        let lan = Switch::create("rack")?;
        let (router, client) = (Namespace::create("router")?, Namespace::create("client")?);
        let uplink = Some((Ipv4Addr::new(192, 0, 2, 100 + number), 24));
        let down = Some((Ipv4Addr::new(10, number, 0, 1), 24));
        self.servers.plug(
            &router,
            "eth0",
            &format!("r{number}"),
            Nic { mac: None, address: uplink },
        )?;
        lan.plug(&router, "rack", "router", Nic { mac: None, address: down })?;
        lan.plug(&client, "eth0", "client", Nic::default())?;
        router.inside(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"))??;
        let settings =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/three-racks/isc-dhcp-relay");
        // As the service of Debian's package starts it.
        let start =
            format!(". {} && exec dhcrelay -4 -d --no-pid $OPTIONS $SERVERS", settings.display());
        let mut command = router.command("sh");
        command.args(["-c", &start]);
        let relay = Process::start(&mut command, &lab.join(format!("relay-{rack}.log")))?;
        Ok(Rack { client, relay, _router: router, _lan: lan })
    }

    /// Runs `cluster-ctl ARGS` on the operator's machine, which asks whichever node answers.
    ///
    /// # Errors
    /// When it does not end.
    pub fn ctl(&self, args: &str) -> Result<shell::Outcome> {
        self.operator.run_any(&format!("LEASEHOLD_NODE={} cluster-ctl {args}", APIS), 20_000)
    }
}

/// What `LEASEHOLD_NODE` says on the operator's machine.
pub const APIS: &str = "http://192.0.2.11:8000,http://192.0.2.12:8000,http://192.0.2.13:8000";
