//! `cluster-ctl bench` against a node that runs, on loopback addresses and ports that were free a moment ago; and
//! against a disk. Nothing is asserted about speed.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use leasehold::clock::Stopwatch;
use leasehold::node::{self, ConfigFile};
use leasehold::settings::Settings;
use serde_json::Value;
use tempfile::TempDir;

/// Names the settings file of the node that a child of this process shall be.
const BE_A_NODE: &str = "LEASEHOLD_TEST_SETTINGS";
const RELAY: &str = "127.0.0.20";
/// How long a node may take to be ready.
const READY: Duration = Duration::from_secs(60);

const CONFIG: &str = r#"{ "Dhcp4": {
    "interfaces-config": { "interfaces": [ "lo/127.0.0.1" ], "dhcp-socket-type": "udp" },
    "valid-lifetime": 600,
    "subnet4": [ { "id": 10, "subnet": "127.0.0.0/8", "pools": [ { "pool": "127.7.0.0/20" } ] } ] } }"#;

#[test]
#[ignore = "is the node of the other tests, which start it in a process of its own"]
fn a_node() {
    let Some(file) = std::env::var_os(BE_A_NODE).map(PathBuf::from) else { return };
    let text = std::fs::read_to_string(&file).expect("settings");
    let settings = Settings::parse(&text, &file.display().to_string(), "node").expect("settings");
    node::run_until_told_to_stop(settings, ConfigFile::Seeds, true).expect("it runs");
}

/// A node; it ends with the pipe that is its standard input.
struct Node {
    child: Child,
    api: SocketAddr,
    dhcp: u16,
    relay: u16,
    _place: TempDir,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_udp() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("it is bound").port()
}

fn start() -> Node {
    let place = tempfile::tempdir().expect("a directory");
    let config = place.path().join("kea-dhcp4.conf");
    std::fs::write(&config, CONFIG).expect("written");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let api = listener.local_addr().expect("it is bound");
    drop(listener);
    let (dhcp, relay) = (free_udp(), free_udp());
    let settings = format!(
        "name = \"node-1\"\ndata-dir = \"{}\"\n[dhcp4]\nport = {dhcp}\nrelay-port = {relay}\nclient-port = {}\n\
         [cluster]\nconfig = \"{}\"\n[control]\nlisten = [\"{api}\"]\n",
        place.path().join("data").display(),
        free_udp(),
        config.display(),
    );
    let file = place.path().join("node.toml");
    std::fs::write(&file, settings).expect("written");
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "a_node", "--ignored", "--nocapture"])
        .env(BE_A_NODE, &file)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut node = Node { child, api, dhcp, relay, _place: place };
    let since = Stopwatch::start();
    while node.ctl(&["health"]).status.code() != Some(0) {
        let ended = node.child.try_wait().expect("a child");
        assert!(ended.is_none() && since.elapsed() < READY, "the node is not ready: {ended:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    node
}

fn ctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cluster-ctl"))
        .env_remove("LEASEHOLD_NODE")
        .args(arguments)
        .output()
        .expect("the program starts")
}

impl Node {
    fn ctl(&self, arguments: &[&str]) -> Output {
        ctl(&[&["--node", &self.api.to_string()], arguments].concat())
    }

    /// Runs `bench dhcp` in JSON.
    fn bench(&self, arguments: &str) -> Value {
        let server = format!("127.0.0.1:{}", self.dhcp);
        let words: Vec<&str> = arguments.split(' ').collect();
        let fixed = ["-o", "json", "bench", "dhcp", "--servers", &server];
        let output = self.ctl(&[&fixed, &words[..]].concat());
        let (told, error) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{arguments}: {told}{error}");
        serde_json::from_str(&told).expect("JSON")
    }

    /// Leases that somebody has: those that were released are remembered in another state.
    /// Waits until it has so many leases: nobody is told when a RELEASE has come to the log.
    fn comes_to(&self, leases: usize) {
        for _ in 0..100 {
            if self.leases() == leases {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("{} leases instead of {leases}", self.leases());
    }

    fn leases(&self) -> usize {
        let output = self.ctl(&["-o", "json", "lease", "list"]);
        let leases: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
        leases.iter().filter(|lease| lease["state"] == 0).count()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The counts of one kind of message: sent, answered; they add up with those that were lost or refused.
fn counts(report: &Value, kind: &str) -> (u64, u64) {
    let of = |name: &str| {
        let count = &report["messages"][kind][name];
        count.as_u64().unwrap_or_else(|| panic!("{kind}, {name}: {report}"))
    };
    let (sent, answered) = (of("sent"), of("answered"));
    assert_eq!(sent, answered + of("lost") + of("refused"), "{kind}: {report}");
    assert_eq!(report["messages"][kind]["micros"]["count"], answered, "{report}");
    (sent, answered)
}

fn sound(report: &Value) {
    for name in ["duplicate-count", "malformed", "unexpected", "stray"] {
        assert_eq!(report[name], 0, "{name}: {report}");
    }
    assert!(report["decoded-whole"].as_u64().is_some_and(|count| count > 0), "{report}");
}

#[test]
fn clients_live_their_lives_at_a_node_and_leave_no_lease_behind() {
    let node = start();
    // The port that the node's settings name, and one that it is asked to reply to.
    let whole = format!(
        "--giaddr {RELAY}:{} --mix discover,request,renew:2,release --rate 400 --clients 100 --duration 2s --timeout 10s --check 1",
        node.relay
    );
    let report = node.bench(&whole);
    sound(&report);
    let (discovers, offers) = counts(&report, "discover");
    let (requests, acks) = counts(&report, "request");
    let (_, renewed) = counts(&report, "renew");
    assert!(offers > 0 && acks > 0 && renewed > 0 && discovers >= requests, "{report}");
    assert!(report["messages"]["release"]["sent"].as_u64() > Some(0), "{report}");
    assert_eq!(report["exchange-micros"]["count"], acks, "{report}");
    node.comes_to(0);

    let other = format!("--giaddr {RELAY}:{} --mix renew --rate max --window 8", free_udp());
    let report =
        node.bench(&format!("{other} --clients 50 --duration 1s --keep-leases --client-id"));
    sound(&report);
    assert_eq!(report["prepared"], 50, "{report}");
    let (_, renewed) = counts(&report, "renew");
    assert!(renewed > 0, "{report}");
    assert_eq!((node.leases(), &report["released"]), (50, &Value::from(0)), "{report}");
}

#[test]
fn the_log_of_a_node_is_measured_and_stays_as_it_is() {
    let node = start();
    let output = node.ctl(&["-o", "json", "bench", "raft", "--load", "small", "--duration", "1s"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let load = &report["loads"][0];
    let of = |name: &str| load[name].as_u64().unwrap_or_else(|| panic!("{name}: {report}"));
    assert_eq!(of("committed") + of("failed") + of("left-out"), 100, "{report}");
    assert!(of("committed") > 0, "{report}");
    assert_eq!((&report["voters"], &report["node"]), (&Value::from(1), &report["leader"]));
    // How fast this machine is, is nothing to fail for: only that the exit status says what the report says.
    let passes = report["passes"] == true;
    assert_eq!(output.status.code(), Some(i32::from(!passes)), "{report}");
    assert_eq!(node.leases(), 0);
    let refused = node.ctl(&["bench", "raft", "--load", "large"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("say --yes"), "{}", text(&refused.stderr));
}

#[test]
fn a_server_that_says_nothing_is_left_alone() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let server = silent.local_addr().expect("it is bound").to_string();
    let giaddr = format!("{RELAY}:{}", free_udp());
    let line = ["bench", "dhcp", "--servers", &server, "--giaddr", &giaddr, "--duration", "1h"];
    let output = ctl(&line);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("no answer from {server}")), "{said}");
    let taken = ctl(&["bench", "dhcp", "--servers", "127.0.0.1:9", "--giaddr", &server]);
    let said = text(&taken.stderr);
    assert!(taken.status.code() == Some(2) && said.contains("something listens there"), "{said}");
    let elsewhere =
        ctl(&["bench", "dhcp", "--servers", "127.0.0.1:9", "--giaddr", "192.0.2.77:6767"]);
    let said = text(&elsewhere.stderr);
    assert!(said.contains("an address of this machine"), "{said}");
}

fn names(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("entry").path()).collect()
}

#[test]
fn a_disk_is_judged_and_nothing_is_left_on_it() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let place = dir.path().display().to_string();
    let output = ctl(&["-o", "json", "bench", "disk", "--dir", &place, "--duration", "100ms"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let appends = report["appends"].as_array().expect("a list");
    assert_eq!(appends.len(), 5, "{report}");
    for append in appends {
        assert!(append["micros"]["count"].as_u64() > Some(0), "{report}");
    }
    let does = ["good", "usable"].iter().any(|verdict| report["verdict"] == *verdict);
    assert_eq!(output.status.code(), Some(i32::from(!does)), "{report}");
    assert!(names(dir.path()).is_empty());

    let nowhere = format!("{place}/missing");
    let output = ctl(&["bench", "disk", "--dir", &nowhere]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("missing"), "{}", text(&output.stderr));
    let output = ctl(&["bench", "disk", "--dir", "/dev/null"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("not a directory"), "{}", text(&output.stderr));
}

#[test]
fn ctrl_c_leaves_no_file_and_says_what_was_measured() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let child = Command::new(env!("CARGO_BIN_EXE_cluster-ctl"))
        .args(["bench", "disk", "--duration", "1h", "--dir"])
        .arg(dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let since = Stopwatch::start();
    while names(dir.path()).is_empty() {
        assert!(since.elapsed() < READY, "no file");
        std::thread::sleep(Duration::from_millis(10));
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.is_ok_and(|status| status.success()));
    let output = child.wait_with_output().expect("it ends");
    assert!(text(&output.stdout).contains("Interrupted"), "{}", text(&output.stdout));
    assert!(names(dir.path()).is_empty());
}
