//! The three nodes of the demo: real processes with real data directories, so that killing one is
//! a real `kill -9`.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

/// How long the nodes may take over an answer of the control API.
const API_PATIENCE: Duration = Duration::from_secs(6);

/// Ports that are free on all loopback addresses of the demo.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// DHCP, server side.
    pub dhcp: u16,
    /// DHCP, relay side.
    pub relay: u16,
    /// gRPC between nodes.
    pub peer: u16,
    /// The control API.
    pub control: u16,
}

/// One node, running or killed.
#[derive(Debug)]
pub struct Node {
    /// 1, 2 or 3.
    pub number: u8,
    /// Its loopback address.
    pub address: Ipv4Addr,
    directory: PathBuf,
    ports: Ports,
    child: Option<Child>,
}

/// The loopback address of node `number`.
pub fn address_of(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, 10 + number)
}

impl Ports {
    /// Asks the kernel for ports and checks them on every address in use.
    pub fn find(addresses: &[Ipv4Addr]) -> io::Result<Ports> {
        let udp =
            || find_port(addresses, |address, port| UdpSocket::bind((address, port))?.local_addr());
        let tcp = || {
            find_port(addresses, |address, port| TcpListener::bind((address, port))?.local_addr())
        };
        let (dhcp, peer) = (udp()?, tcp()?);
        let different = |find: &dyn Fn() -> io::Result<u16>, from: u16| -> io::Result<u16> {
            for _ in 0..32 {
                match find()? {
                    port if port != from => return Ok(port),
                    _ => {}
                }
            }
            Err(io::Error::other("no second free port"))
        };
        Ok(Ports { dhcp, relay: different(&udp, dhcp)?, peer, control: different(&tcp, peer)? })
    }
}

fn find_port(
    addresses: &[Ipv4Addr],
    bind: impl Fn(Ipv4Addr, u16) -> io::Result<std::net::SocketAddr>,
) -> io::Result<u16> {
    for _ in 0..64 {
        let port = bind(Ipv4Addr::LOCALHOST, 0)?.port();
        if addresses.iter().all(|address| bind(*address, port).is_ok()) {
            return Ok(port);
        }
    }
    Err(io::Error::other("no port is free on all addresses of the demo"))
}

impl Node {
    /// Writes the settings of node `number` under `root`; does not start it.
    pub fn prepare(root: &Path, number: u8, ports: Ports) -> anyhow::Result<Node> {
        let address = address_of(number);
        let directory = root.join(format!("node-{number}"));
        fs::create_dir_all(&directory)?;
        let initial: Vec<String> =
            (1..=3).map(|n| format!("\"{}:{}\"", address_of(n), ports.peer)).collect();
        let settings = format!(
            r#"name = "node-{number}"
rack = "{rack}"
data-dir = "{data}"

[peer]
listen = "{address}:{peer}"

[control]
listen = ["{address}:{control}"]

[dhcp4]
interfaces = ["lo/{address}"]
port = {dhcp}
relay-port = {relay}

[cluster]
initial = [{initial}]
config = "{config}"
"#,
            rack = ["a", "b", "c"][usize::from(number - 1) % 3],
            data = directory.join("data").display(),
            peer = ports.peer,
            control = ports.control,
            dhcp = ports.dhcp,
            relay = ports.relay,
            initial = initial.join(", "),
            config = root.join("kea-dhcp4.conf").display(),
        );
        fs::write(directory.join("node.toml"), settings)?;
        Ok(Node { number, address, directory, ports, child: None })
    }

    /// Where it takes DHCP packets.
    pub fn dhcp(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address, self.ports.dhcp)
    }

    /// Its control API, `http://ADDRESS:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}:{}", self.address, self.ports.control)
    }

    /// Its log file.
    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Starts it. It ends by itself when this process is gone, since it watches the pipe that is
    /// its standard input.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("the path of this program")?;
        let log = File::options().create(true).append(true).open(self.log())?;
        let child = Command::new(program)
            .args(["run", "--until-stdin-closes", "--settings"])
            .arg(self.directory.join("node.toml"))
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start of node {}", self.number))?;
        self.child = Some(child);
        Ok(())
    }

    /// Whether it runs; an exit that nobody asked for is an error with the end of its log.
    pub fn check(&mut self) -> anyhow::Result<bool> {
        let Some(child) = &mut self.child else { return Ok(false) };
        if let Some(status) = child.try_wait()? {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(8).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            bail!(
                "node {} ended with {status}. The end of its log:\n{}",
                self.number,
                tail.join("\n")
            );
        }
        Ok(true)
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> io::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Whether `/health/ready` says 200; else the reason.
    pub fn ready(&self) -> Result<(), String> {
        let agent = agent(Duration::from_secs(1));
        match agent.get(format!("{}/health/ready", self.url())).call() {
            Ok(answer) if answer.status() == 200 => Ok(()),
            Ok(mut answer) => {
                Err(answer.body_mut().read_to_string().unwrap_or_default().trim().to_owned())
            }
            Err(_) => Err("the control API does not answer yet".into()),
        }
    }

    /// Sends a command in Kea's form; gives `arguments` of a successful answer.
    pub fn command(&self, name: &str, arguments: Value) -> anyhow::Result<Value> {
        let request = json!({ "command": name, "service": ["dhcp4"], "arguments": arguments });
        let mut answer = agent(API_PATIENCE)
            .post(self.url())
            .send_json(&request)
            .with_context(|| format!("{name} to node {}", self.number))?;
        let answer: Value = answer.body_mut().with_config().limit(256 << 20).read_json()?;
        let first = answer.get(0).unwrap_or(&answer);
        match first.get("result").and_then(Value::as_i64) {
            Some(0 | 3) => Ok(first.get("arguments").cloned().unwrap_or(Value::Null)),
            _ => bail!("{name} to node {}: {}", self.number, first.get("text").unwrap_or(first)),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Nothing more can be done about a process that cannot be killed.
        let _ = self.kill();
    }
}

fn agent(patience: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(patience))
        .http_status_as_error(false)
        .build()
        .into()
}

/// The configuration of the demo, in Kea's form: a network behind one relay.
pub fn sample_config(relay: Ipv4Addr) -> String {
    format!(
        r#"// The demo's configuration: what an operator would keep in kea-dhcp4.conf.
{{
  "Dhcp4": {{
    "interfaces-config": {{ "interfaces": [ "*" ], "dhcp-socket-type": "udp" }},
    "valid-lifetime": 3600,
    "renew-timer": 900,
    "rebind-timer": 1800,
    "option-data": [ {{ "name": "domain-name-servers", "data": "192.0.2.53, 198.51.100.53" }} ],
    "subnet4": [
      {{
        "id": 1,
        "subnet": "10.77.0.0/16",
        "pools": [ {{ "pool": "10.77.1.0 - 10.77.200.255" }} ],
        "relay": {{ "ip-addresses": [ "{relay}" ] }},   // where the simulated clients are
        "option-data": [ {{ "name": "routers", "data": "10.77.0.1" }} ],
        "reservations": [
          {{ "hw-address": "02:1e:ff:ff:00:01", "ip-address": "10.77.0.10", "hostname": "printer" }},
        ],
      }},
    ],
  }},
}}
"#
    )
}
