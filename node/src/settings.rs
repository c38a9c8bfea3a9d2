//! Node settings: `node.toml`, what differs per machine and is never replicated.
//!
//! [`Settings::parse`] is pure: text in, settings or a mistake with its position out. An unknown
//! key is a mistake. Everything that can be checked without touching the machine is checked here,
//! so that the rest of the program never sees half a setting.

mod control;
mod disk;
mod log;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

pub use log::{Format, Level, Log};

pub use control::{
    Control, Given, Header, Listener, ListenerSetting, Role, Secret, Tls, User, UserSetting,
    bad_name,
};

pub use disk::Disk;

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
    /// How much lease history is kept.
    #[serde(default)]
    pub history: History,
    /// The disk of the data directory.
    #[serde(default)]
    pub disk: Disk,
    /// The log.
    #[serde(default)]
    pub log: Log,
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
    /// Who signs the certificates of nodes, PEM. With it and the two below nodes speak TLS to each other.
    #[serde(default)]
    pub trust_anchor: Option<PathBuf>,
    /// This node's certificate, PEM, the chain in order.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

/// Names of the TLS files of the peer port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerFiles {
    /// See [`Peer::trust_anchor`].
    pub trust_anchor: PathBuf,
    /// See [`Peer::cert_file`].
    pub cert_file: PathBuf,
    /// See [`Peer::key_file`].
    pub key_file: PathBuf,
}

impl Peer {
    /// The address that peers use.
    pub fn advertised(&self) -> SocketAddr {
        self.advertise.unwrap_or(self.listen)
    }

    /// The TLS files; `None` for plain gRPC.
    pub fn files(&self) -> Option<PeerFiles> {
        Some(PeerFiles {
            trust_anchor: self.trust_anchor.clone()?,
            cert_file: self.cert_file.clone()?,
            key_file: self.key_file.clone()?,
        })
    }

    /// What contradicts itself about TLS, with the remedy.
    fn contradiction(&self) -> Option<String> {
        let named = [&self.trust_anchor, &self.cert_file, &self.key_file];
        let named = named.into_iter().flatten().count();
        match (named, self.insecure) {
            (1 | 2, _) => Some(
                "[peer]: trust-anchor, cert-file and key-file belong together: nodes show each other certificates"
                    .into(),
            ),
            (3, true) => Some(
                "[peer] has TLS files and insecure = true: with certificates nobody is let in without one, so \
                 take insecure out"
                    .into(),
            ),
            (0, false) if !self.listen.ip().is_loopback() => Some(format!(
                "[peer].listen = \"{}\" is not a loopback address and there are no TLS files: name trust-anchor, \
                 cert-file and key-file (cluster-ctl pki makes them), or set insecure = true to accept plain gRPC \
                 from whoever reaches this address",
                self.listen
            )),
            _ => None,
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
    /// Peer addresses of members, instead of `initial`: this node joins their cluster.
    pub join: Vec<SocketAddr>,
    /// The file with the token that lets it in; without it the environment's `LEASEHOLD_JOIN_TOKEN`.
    pub token_file: Option<PathBuf>,
    /// It joins as a copy that never votes.
    pub learner: bool,
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

/// `[history]`: who had which address when, and the events that scripts follow. Kept on each node, from
/// the same log; the older part goes first.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct History {
    /// Days it is kept. Time in which the whole cluster was down does not count.
    pub keep_days: u32,
    /// The most bytes it takes on disk. An event takes about 60, a million leases renewed every half hour
    /// some 3 GiB a day.
    pub max_bytes: u64,
}

impl Default for History {
    fn default() -> History {
        History { keep_days: 90, max_bytes: 4 << 30 }
    }
}

impl History {
    /// The least that makes sense, bytes.
    const LEAST: u64 = 1 << 20;

    /// How long it is kept.
    pub fn keep(&self) -> Duration {
        Duration::from_secs(u64::from(self.keep_days) * 86_400)
    }
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadSettings {
    /// Not TOML, an unknown key, or a value of the wrong kind; the text has line and column.
    #[error("{source_name}: {text}")]
    Syntax {
        /// The file.
        source_name: String,
        /// Position and reason.
        text: String,
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

/// What is wrong with the form of the text. It shows the line, unless a password may stand there.
fn syntax(text: &str, source_name: &str, error: &toml::de::Error) -> BadSettings {
    let source_name = source_name.to_owned();
    if !text.to_ascii_lowercase().contains("password") {
        return BadSettings::Syntax { source_name, text: error.to_string() };
    }
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    // Other messages may quote a value.
    let what = match error.message() {
        message if message.starts_with("unknown field") => format!(": {message}"),
        _ => String::new(),
    };
    let text = format!(
        "TOML parse error at line {line}, column {column}{what} (the line is not shown: there are passwords in this \
         file)"
    );
    BadSettings::Syntax { source_name, text }
}

impl Settings {
    /// Reads `node.toml`. `host_name` is what `name` defaults to.
    pub fn parse(text: &str, source_name: &str, host_name: &str) -> Result<Settings, BadSettings> {
        let mut settings: Settings =
            toml::from_str(text).map_err(|error| syntax(text, source_name, &error))?;
        if settings.name.is_empty() {
            settings.name = host_name.to_owned();
        }
        match settings.contradiction() {
            Some(text) => Err(BadSettings::Meaning { source_name: source_name.to_owned(), text }),
            None => Ok(settings),
        }
    }

    /// Every file and directory that these settings name.
    pub fn files(&self) -> Vec<PathBuf> {
        let Cluster { config, token_file, .. } = &self.cluster;
        let peer = self.peer.iter().flat_map(|peer| {
            [&peer.trust_anchor, &peer.cert_file, &peer.key_file].into_iter().flatten().cloned()
        });
        let control = self.control.listeners().into_iter().flat_map(|listener| {
            let passwords = listener.users.into_iter().filter_map(|user| match user.password {
                Given::File(file) => Some(file),
                Given::Here(_) => None,
            });
            let tls = listener.tls.into_iter().flat_map(|tls| {
                [Some(tls.cert_file), Some(tls.key_file), tls.trust_anchor].into_iter().flatten()
            });
            passwords.chain(tls).collect::<Vec<_>>()
        });
        std::iter::once(self.data_dir.clone())
            .chain([config, token_file, &self.log.leases].into_iter().flatten().cloned())
            .chain(peer)
            .chain(control)
            .collect()
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
            cluster: Cluster { config: Some(config), ..Cluster::default() },
            raft: Timers::default(),
            as_kea: false,
            history: History::default(),
            disk: Disk::default(),
            log: Log::default(),
        }
    }

    /// Whether this is a cluster of one that nobody can join yet.
    pub fn is_alone(&self) -> bool {
        self.cluster.initial.len() <= 1 && self.cluster.join.is_empty()
    }

    /// What the first start makes of this node, in one sentence.
    pub fn summary(&self) -> String {
        let rack = match self.rack.as_str() {
            "" => String::new(),
            rack => format!(" in rack {rack}"),
        };
        let Cluster { initial, join, .. } = &self.cluster;
        let members: Vec<String> = join.iter().map(SocketAddr::to_string).collect();
        let does = match (&members[..], initial.len()) {
            ([], 0 | 1) => "forms a cluster of one".to_owned(),
            ([], count) => format!("is one of {count} that form a cluster"),
            (members, _) => format!("joins the cluster of {}", members.join(", ")),
        };
        format!("{}{rack} {does}", self.name)
    }

    /// What of `[cluster]` contradicts itself about joining.
    fn joining_contradiction(&self) -> Option<String> {
        let Cluster { initial, join, token_file, learner, .. } = &self.cluster;
        if join.is_empty() {
            let only = if token_file.is_some() { "token-file" } else { "learner" };
            return (token_file.is_some() || *learner).then(|| {
                format!("[cluster].{only} is for a node that joins: name members in [cluster].join, or take it away")
            });
        }
        if !initial.is_empty() {
            return Some(
                "[cluster].initial forms a new cluster and [cluster].join joins one that is there: give one of them"
                    .into(),
            );
        }
        let Some(peer) = &self.peer else {
            return Some(
                "[cluster].join needs a [peer] section: add [peer] listen = \"ADDRESS:PORT\""
                    .into(),
            );
        };
        (join == &[peer.advertised()]).then(|| {
            format!(
                "[cluster].join names only this node's own address {}: name members",
                peer.advertised()
            )
        })
    }

    fn contradiction(&self) -> Option<String> {
        if let Some(text) = self.control.contradiction().or_else(|| self.log.contradiction()) {
            return Some(text);
        }
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
            if let Some(text) = peer.contradiction() {
                return Some(text);
            }
        }
        if let Some(text) = self.joining_contradiction() {
            return Some(text);
        }
        if self.history.keep_days == 0 || self.history.max_bytes < History::LEAST {
            return Some(format!(
                "[history]: keep-days must be at least 1, and max-bytes at least {}",
                History::LEAST
            ));
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
    let mut load = |path: &str| read_text(path).map_err(|why| why.to_string());
    let parsed = config::parse(&text, &name, &mut load)?;
    config::secrets::all_there(&parsed.config, &name)?;
    Ok(parsed)
}

/// What a Kea document says about the machine it runs on, for the Kea personality alone (R26).
/// With node settings these keys are echoed and otherwise ignored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeLocal {
    /// HTTP listeners of `control-sockets`; `None` when it names none.
    pub control_listen: Option<Vec<Listener>>,
    /// The unix socket of `control-socket` or `control-sockets`.
    pub control_socket: Option<PathBuf>,
    /// The directory of `lease-database.name`.
    pub lease_directory: Option<PathBuf>,
}

impl NodeLocal {
    /// Picks the keys out of `{"Dhcp4": …}`. `file` is where the document lies: names of other files
    /// are taken from there.
    ///
    /// # Errors
    /// A socket that cannot be guarded as it says: an open door is worse than none.
    pub fn of(document: &Value, file: &Path) -> Result<NodeLocal, String> {
        let text = |map: &Value, key: &str| map.get(key).and_then(Value::as_str).map(str::to_owned);
        let beside = file.parent().unwrap_or(Path::new(""));
        let dhcp4 = document.get("Dhcp4").unwrap_or(&Value::Null);
        let list = dhcp4.get("control-sockets").and_then(Value::as_array).into_iter().flatten();
        let mut local = NodeLocal::default();
        for socket in list.chain(dhcp4.get("control-socket")) {
            match text(socket, "socket-type").as_deref() {
                Some("unix") => {
                    local.control_socket = text(socket, "socket-name").map(PathBuf::from);
                }
                Some("http" | "https") => {
                    let listener = Listener::of_kea(socket, beside)?;
                    local.control_listen.get_or_insert_default().push(listener);
                }
                _ => {}
            }
        }
        local.lease_directory = dhcp4
            .get("lease-database")
            .and_then(|database| text(database, "name"))
            .and_then(|name| Path::new(&name).parent().map(Path::to_owned))
            .filter(|directory| directory.is_absolute());
        Ok(local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r26_the_kea_personality_takes_sockets_and_directory_from_the_file() {
        let of = |document: Value| NodeLocal::of(&document, Path::new("/etc/kea/kea.conf"));
        let local = of(serde_json::json!({ "Dhcp4": {
            "control-sockets": [
                { "socket-type": "unix", "socket-name": "/run/kea/kea4" },
                { "socket-type": "http", "socket-port": 8004 },
            ],
            "lease-database": { "type": "memfile", "name": "/var/lib/kea/leases.csv" },
        }}));
        let local = local.unwrap();
        assert_eq!(local.control_socket, Some("/run/kea/kea4".into()));
        let address = SocketAddr::from(([127, 0, 0, 1], 8004));
        assert_eq!(local.control_listen, Some(vec![Listener::plain(address)]));
        assert_eq!(local.lease_directory, Some("/var/lib/kea".into()));
        assert_eq!(of(serde_json::json!({ "Dhcp4": {} })), Ok(NodeLocal::default()));
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
        assert_eq!(settings.summary(), "rack-a-1 in rack a is one of 3 that form a cluster");
        assert_eq!(settings.dhcp4.port, 67);
        assert_eq!(settings.raft, Timers::default());
    }

    #[test]
    fn the_name_defaults_to_the_host_name_and_the_api_to_loopback() {
        let settings = parse("data-dir = \"/tmp/x\"").unwrap();
        assert_eq!(settings.name, "host");
        assert_eq!(settings.control.listen, vec![SocketAddr::from(([127, 0, 0, 1], 8000))]);
        assert!(settings.is_alone());
        assert_eq!(settings.summary(), "host forms a cluster of one");
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
            (FULL.replace("insecure = true", ""), "cluster-ctl pki"),
            (FULL.replace("insecure = true", "cert-file = \"a\""), "belong together"),
            (
                FULL.replace(
                    "insecure = true",
                    "insecure = true\ncert-file = \"a\"\nkey-file = \"b\"\ntrust-anchor = \"c\"",
                ),
                "take insecure out",
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

    /// The list counts while the data directory is empty, and there forming checks it: a node that is moved later
    /// need not be told the history of its cluster.
    #[test]
    fn a_node_that_was_moved_is_not_in_the_list_of_its_beginning() {
        let moved = FULL.replace("\"192.0.2.11:7701\"\ninsecure", "\"192.0.2.99:7701\"\ninsecure");
        let settings = parse(&moved).unwrap();
        assert!(!settings.cluster.initial.contains(&settings.peer.unwrap().advertised()));
    }

    #[test]
    fn a_node_joins_instead_of_forming() {
        let joining = FULL
            .replace("initial = [", "join = [")
            .replace("192.0.2.11:7701\", \"192.0.2.12", "192.0.2.12");
        let settings = parse(&joining.replace("config =", "token-file =")).unwrap();
        assert_eq!(
            settings.summary(),
            "rack-a-1 in rack a joins the cluster of 192.0.2.12:7701, 192.0.2.13:7701"
        );
        assert!(!settings.is_alone());
        let cases = [
            (format!("{FULL}join = [\"192.0.2.12:7701\"]"), "give one of them"),
            (format!("{FULL}learner = true"), "for a node that joins"),
            (format!("{FULL}token-file = \"/t\""), "for a node that joins"),
            ("data-dir = \"/x\"\n[cluster]\njoin = [\"192.0.2.12:7701\"]".into(), "needs a [peer]"),
        ];
        for (text, part) in cases {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(part), "{part:?} not in {error:?}");
        }
    }

    const GUARDED: &str = r#"
data-dir = "/var/lib/leasehold"
[control]
listen = ["127.0.0.1:8000"]
realm = "rack"
[[control.listener]]
address = "192.0.2.11:8443"
cert-file = "/etc/leasehold/cert.pem"
key-file = "/etc/leasehold/key.pem"
http-headers = [{ name = "X-Rack", value = "a" }]
[[control.users]]
user = "admin"
password-file = "/etc/leasehold/admin"
[[control.users]]
user = "stork"
password = "swordfish"
role = "read"
"#;

    #[test]
    fn listeners_and_users_are_named_in_the_control_section() {
        let settings = parse(GUARDED).unwrap();
        let [plain, own] = &settings.control.listeners()[..] else { panic!("{settings:?}") };
        assert_eq!(
            (plain.url(), own.url()),
            ("http://127.0.0.1:8000".into(), "https://192.0.2.11:8443".into())
        );
        assert!(plain.users == own.users && own.users.len() == 2);
        assert_eq!(own.users[1].role, Role::Read);
        assert!(!own.tls.as_ref().unwrap().cert_required, "nobody could show a good one");
        assert!(!format!("{settings:?}").contains("swordfish"));
    }

    #[test]
    fn a_mistake_beside_a_password_does_not_show_it() {
        for broken in [
            GUARDED.replace("\"swordfish\"", "\"swordfish"),
            GUARDED.replace("\"swordfish\"", "swordfish"),
            GUARDED.replace("\"swordfish\"", "[\"swordfish\"]"),
            GUARDED.replace("password = ", "pasword = "),
            GUARDED.replace("role = \"read\"", "role = \"swordfish\""),
        ] {
            let error = parse(&broken).unwrap_err();
            assert!(!error.contains("swordfish"), "{error}");
            assert!(error.contains("line 1"), "{error}");
        }
    }

    #[test]
    fn every_file_that_is_named_is_listed() {
        let text = FULL.replace(
            "insecure = true",
            "cert-file = \"/a/cert\"\nkey-file = \"/a/key\"\ntrust-anchor = \"/a/ca\"",
        ) + "\n[log]\nleases = \"/a/leases\"\n[[control.users]]\npassword-file = \"/a/password\"\n";
        let files = parse(&text).unwrap().files();
        for named in ["/a/cert", "/a/key", "/a/ca", "/a/leases", "/a/password"] {
            assert!(files.iter().any(|file| file == Path::new(named)), "{named} of {files:?}");
        }
    }

    #[test]
    fn a_guard_that_contradicts_itself_is_refused() {
        let cases = [
            (GUARDED.replace("key-file", "trust-anchor"), "belong together"),
            (
                GUARDED.replace("http-headers", "cert-required = true\nhttp-headers"),
                "whose certificates",
            ),
            (GUARDED.replace("\"stork\"", "\"admin\""), "twice"),
            (GUARDED.replace("\"stork\"", "\"st:ork\""), "colon"),
            (GUARDED.replace("password-file", "password = \"a\"\npassword-file"), "both"),
            (GUARDED.replace("password = \"swordfish\"", ""), "has no password"),
            (GUARDED.replace("192.0.2.11:8443", "127.0.0.1:8000"), "listens on"),
        ];
        for (text, part) in cases {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(part), "{part:?} not in {error:?}");
        }
    }
}
