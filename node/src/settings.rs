//! Node settings: `node.toml`, what differs per machine and is never replicated.
//!
//! [`Settings::parse`] is pure: text in, settings or a mistake with its position out. An unknown
//! key is a mistake. Everything that can be checked without touching the machine is checked here,
//! so that the rest of the program never sees half a setting.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::config::{self, Mistakes, Parsed};

/// The settings of one node. Names are those of `node.toml`; scripts rely on them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Label shown to people. Default: the host name.
    #[serde(default)]
    pub name: String,
    /// The rack, a failure domain.
    #[serde(default)]
    pub rack: String,
    /// Where everything durable lies.
    pub data_dir: PathBuf,
    /// gRPC between nodes. Absent: a cluster of one without a peer port (R26).
    #[serde(default)]
    pub peer: Option<Peer>,
    /// The control API.
    #[serde(default)]
    pub control: Control,
    /// DHCPv4 sockets.
    #[serde(default)]
    pub dhcp4: Dhcp4,
    /// How the cluster is formed or joined; read only while the data directory is empty.
    #[serde(default)]
    pub cluster: Cluster,
    /// Consensus timers.
    #[serde(default)]
    pub raft: Timers,
    /// Whether the program was started by Kea's name. Not a setting.
    #[serde(skip)]
    pub as_kea: bool,
}

/// `[peer]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Peer {
    /// Address to bind.
    pub listen: SocketAddr,
    /// Address that peers use. Default: `listen`.
    #[serde(default)]
    pub advertise: Option<SocketAddr>,
    /// Plain gRPC on an address that is not loopback.
    #[serde(default)]
    pub insecure: bool,
}

impl Peer {
    /// The address that peers use.
    pub fn advertised(&self) -> SocketAddr {
        self.advertise.unwrap_or(self.listen)
    }
}

/// `[control]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Control {
    /// HTTP addresses. Default: 127.0.0.1:8000 (R26).
    pub listen: Vec<SocketAddr>,
    /// Unix socket.
    pub socket: Option<PathBuf>,
    /// Largest request body in bytes.
    pub body_limit: usize,
    /// Whether `/metrics` has the numbers of each subnet and pool. Default: yes.
    pub subnet_metrics: bool,
    /// Where `config-write` and the like may write. Default: `written` in the data directory.
    pub write_dir: Option<PathBuf>,
}

impl Default for Control {
    fn default() -> Control {
        Control {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 8000))],
            socket: None,
            body_limit: 64 << 20,
            subnet_metrics: true,
            write_dir: None,
        }
    }
}

/// `[dhcp4]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Dhcp4 {
    /// Interfaces in Kea's syntax (`eth0`, `eth0/192.0.2.1`, `*`), instead of those of the
    /// cluster's configuration.
    pub interfaces: Option<Vec<String>>,
    /// Port we listen on.
    pub port: u16,
    /// Port of relays.
    pub relay_port: u16,
    /// Port of clients.
    pub client_port: u16,
}

impl Default for Dhcp4 {
    fn default() -> Dhcp4 {
        Dhcp4 { interfaces: None, port: 67, relay_port: 67, client_port: 68 }
    }
}

impl Dhcp4 {
    /// Whether the ports are for trying out without root: then relays may live in 127/8.
    pub fn is_trial(&self) -> bool {
        self.port != 67
    }
}

/// `[cluster]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Cluster {
    /// Peer addresses of all first nodes, the same list on each (R14).
    pub initial: Vec<SocketAddr>,
    /// Kea configuration file that seeds the new cluster.
    pub config: Option<PathBuf>,
}

/// `[raft]`: consensus timers, all milliseconds. They belong together: stretch all for links above
/// 10 ms of round trip.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Timers {
    /// Pause between heartbeats, and the time limit of one append round.
    pub heartbeat: u64,
    /// Shortest election timeout.
    pub election_min: u64,
    /// Longest election timeout: also the leader's lease.
    pub election_max: u64,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers { heartbeat: 50, election_min: 200, election_max: 400 }
    }
}

impl Timers {
    /// `heartbeat` as a duration.
    pub fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat)
    }
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadSettings {
    /// Not TOML, an unknown key, or a value of the wrong kind; the text has line and column.
    #[error("{source_name}: {error}")]
    Syntax {
        /// The file.
        source_name: String,
        /// Position and reason.
        error: Box<toml::de::Error>,
    },
    /// Values that contradict each other.
    #[error("{source_name}: {text}")]
    Meaning {
        /// The file.
        source_name: String,
        /// The contradiction and the remedy.
        text: String,
    },
}

impl Settings {
    /// Reads `node.toml`. `host_name` is what `name` defaults to.
    pub fn parse(text: &str, source_name: &str, host_name: &str) -> Result<Settings, BadSettings> {
        let mut settings: Settings = toml::from_str(text).map_err(|error| BadSettings::Syntax {
            source_name: source_name.to_owned(),
            error: Box::new(error),
        })?;
        if settings.name.is_empty() {
            settings.name = host_name.to_owned();
        }
        match settings.contradiction() {
            Some(text) => Err(BadSettings::Meaning { source_name: source_name.to_owned(), text }),
            None => Ok(settings),
        }
    }

    /// The settings of the Kea personality: `-c FILE` and nothing else (R26). The cluster has one
    /// node and no peer port; the file wins at every start.
    pub fn kea_personality(data_dir: PathBuf, config: PathBuf, host_name: &str) -> Settings {
        Settings {
            name: host_name.to_owned(),
            rack: String::new(),
            data_dir,
            peer: None,
            control: Control::default(),
            dhcp4: Dhcp4::default(),
            cluster: Cluster { initial: Vec::new(), config: Some(config) },
            raft: Timers::default(),
            as_kea: false,
        }
    }

    /// Whether this is a cluster of one that nobody can join yet.
    pub fn is_alone(&self) -> bool {
        self.cluster.initial.len() <= 1
    }

    fn contradiction(&self) -> Option<String> {
        if self.cluster.initial.len() > 1 && self.peer.is_none() {
            return Some(
                "[cluster].initial names several nodes, but there is no [peer] section: add [peer] listen = \"ADDRESS:PORT\""
                    .into(),
            );
        }
        if let Some(peer) = &self.peer {
            if peer.advertised().ip().is_unspecified() {
                return Some(format!(
                    "[peer].advertise must be an address that peers can reach, not {}",
                    peer.advertised()
                ));
            }
            if !peer.listen.ip().is_loopback() && !peer.insecure {
                return Some(format!(
                    "[peer].listen = \"{}\" is not a loopback address and there are no TLS files: set insecure = true to accept plain gRPC",
                    peer.listen
                ));
            }
            let initial = &self.cluster.initial;
            if !initial.is_empty() && !initial.contains(&peer.advertised()) {
                return Some(format!(
                    "[cluster].initial does not list this node's own address {}: the list is the same on each first node",
                    peer.advertised()
                ));
            }
        }
        let mut seen = self.cluster.initial.clone();
        seen.sort();
        if let Some(twice) = seen.windows(2).find(|pair| pair[0] == pair[1]) {
            return Some(format!("[cluster].initial lists {} twice", twice[0]));
        }
        let Timers { heartbeat, election_min, election_max } = self.raft;
        if heartbeat == 0 || heartbeat * 2 > election_min || election_min >= election_max {
            return Some(format!(
                "[raft]: heartbeat ({heartbeat} ms) must be at most half of election-min ({election_min} ms), and that less than election-max ({election_max} ms)"
            ));
        }
        None
    }
}

/// The text of one file.
pub fn read_text(name: &str) -> Result<String, Mistakes> {
    let bytes = std::fs::read(name).map_err(|error| Mistakes::unreadable(name, &error))?;
    config::text_of(bytes, name)
}

/// Reads a Kea configuration file and what it includes. Names in `<?include?>` are taken from the
/// working directory, as Kea does.
pub fn read_kea_file(file: &Path) -> Result<Parsed, Mistakes> {
    let name = file.display().to_string();
    let text = read_text(&name)?;
    config::parse(&text, &name, &mut |path| read_text(path).map_err(|why| why.to_string()))
}

/// What a Kea document says about the machine it runs on, for the Kea personality alone (R26).
/// With node settings these keys are echoed and otherwise ignored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeLocal {
    /// HTTP addresses of `control-sockets`; `None` when it names none.
    pub control_listen: Option<Vec<SocketAddr>>,
    /// Sockets of `control-sockets` that stay closed, and why: they ask for a protection that is not
    /// there, and an open door is worse than none.
    pub control_closed: Vec<String>,
    /// The unix socket of `control-socket` or `control-sockets`.
    pub control_socket: Option<PathBuf>,
    /// The directory of `lease-database.name`.
    pub lease_directory: Option<PathBuf>,
}

impl NodeLocal {
    /// Picks the keys out of `{"Dhcp4": …}`.
    pub fn of(document: &Value) -> NodeLocal {
        let text = |map: &Value, key: &str| map.get(key).and_then(Value::as_str).map(str::to_owned);
        let dhcp4 = document.get("Dhcp4").unwrap_or(&Value::Null);
        let list = dhcp4.get("control-sockets").and_then(Value::as_array).into_iter().flatten();
        let mut local = NodeLocal::default();
        for socket in list.chain(dhcp4.get("control-socket")) {
            match text(socket, "socket-type").as_deref() {
                Some("unix") => {
                    local.control_socket = text(socket, "socket-name").map(PathBuf::from)
                }
                Some("http") => {
                    let address = text(socket, "socket-address")
                        .and_then(|address| address.parse::<IpAddr>().ok());
                    let port = socket
                        .get("socket-port")
                        .and_then(Value::as_u64)
                        .and_then(|port| u16::try_from(port).ok());
                    let address = SocketAddr::new(
                        address.unwrap_or([127, 0, 0, 1].into()),
                        port.unwrap_or(8000),
                    );
                    let listen = local.control_listen.get_or_insert_default();
                    if socket.get("authentication").is_some() {
                        local.control_closed.push(format!(
                            "the control socket {address} is not opened: this version has no authentication"
                        ));
                    } else {
                        listen.push(address);
                    }
                }
                Some("https") => {
                    local.control_listen.get_or_insert_default();
                    local.control_closed.push(
                        "a control socket of type https is not opened: this version has no TLS for it"
                            .to_owned(),
                    );
                }
                _ => {}
            }
        }
        local.lease_directory = dhcp4
            .get("lease-database")
            .and_then(|database| text(database, "name"))
            .and_then(|name| Path::new(&name).parent().map(Path::to_owned))
            .filter(|directory| directory.is_absolute());
        local
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r26_the_kea_personality_takes_sockets_and_directory_from_the_file() {
        let local = NodeLocal::of(&serde_json::json!({ "Dhcp4": {
            "control-sockets": [
                { "socket-type": "unix", "socket-name": "/run/kea/kea4" },
                { "socket-type": "http", "socket-port": 8004 },
            ],
            "lease-database": { "type": "memfile", "name": "/var/lib/kea/leases.csv" },
        }}));
        assert_eq!(local.control_socket, Some("/run/kea/kea4".into()));
        assert_eq!(local.control_listen, Some(vec![SocketAddr::from(([127, 0, 0, 1], 8004))]));
        assert_eq!(local.lease_directory, Some("/var/lib/kea".into()));
        assert_eq!(NodeLocal::of(&serde_json::json!({ "Dhcp4": {} })), NodeLocal::default());
    }

    #[test]
    fn a_control_socket_that_asks_for_protection_stays_closed() {
        let local = NodeLocal::of(&serde_json::json!({ "Dhcp4": { "control-sockets": [
            { "socket-type": "http", "authentication": { "type": "basic" } },
            { "socket-type": "https", "socket-port": 8005 },
        ]}}));
        assert_eq!(local.control_listen, Some(Vec::new()));
        assert_eq!(local.control_closed.len(), 2);
    }

    const FULL: &str = r#"
name = "rack-a-1"
rack = "a"
data-dir = "/var/lib/leasehold"

[peer]
listen = "192.0.2.11:7701"
advertise = "192.0.2.11:7701"
insecure = true

[control]
listen = ["0.0.0.0:8000"]
socket = "/run/leasehold/kea4-ctrl-socket"

[dhcp4]
interfaces = ["eth0"]

[cluster]
initial = ["192.0.2.11:7701", "192.0.2.12:7701", "192.0.2.13:7701"]
config = "/etc/leasehold/kea-dhcp4.conf"
"#;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(text, "node.toml", "host").map_err(|e| e.to_string())
    }

    #[test]
    fn the_documented_example_is_accepted() {
        let settings = parse(FULL).unwrap();
        assert_eq!(settings.name, "rack-a-1");
        assert_eq!(settings.cluster.initial.len(), 3);
        assert_eq!(settings.dhcp4.port, 67);
        assert_eq!(settings.raft, Timers::default());
    }

    #[test]
    fn the_name_defaults_to_the_host_name_and_the_api_to_loopback() {
        let settings = parse("data-dir = \"/tmp/x\"").unwrap();
        assert_eq!(settings.name, "host");
        assert_eq!(settings.control.listen, vec![SocketAddr::from(([127, 0, 0, 1], 8000))]);
        assert!(settings.is_alone());
    }

    #[test]
    fn an_unknown_key_in_any_section_is_refused_with_its_position() {
        for section in ["", "[peer]\n", "[control]\n", "[dhcp4]\n", "[cluster]\n"] {
            let text = if section.is_empty() {
                format!("stray = 1\n{FULL}")
            } else {
                FULL.replace(section, &format!("{section}stray = 1\n"))
            };
            let error = parse(&text).unwrap_err();
            assert!(error.contains("stray") && error.contains("line"), "{section:?}: {error}");
        }
    }

    #[test]
    fn contradictions_are_refused_with_the_remedy() {
        let cases = [
            (FULL.replace("insecure = true", ""), "insecure = true"),
            (
                FULL.replace("\"192.0.2.11:7701\", \"192.0.2.12", "\"192.0.2.12"),
                "does not list this node",
            ),
            (FULL.replace("192.0.2.13:7701\"]", "192.0.2.12:7701\"]"), "twice"),
            (format!("{FULL}\n[raft]\nheartbeat = 150\n"), "election-min"),
            (FULL.replace("advertise = \"192.0.2.11", "advertise = \"0.0.0.0"), "can reach"),
        ];
        for (text, part) in cases {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(part), "{part:?} not in {error:?}");
        }
    }
}
