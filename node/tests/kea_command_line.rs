//! The program by the name of `kea-dhcp4`: what service files, scripts and Stork's agent do with it.
//!
//! Loopback only, on ports that were free a moment ago.

#![allow(clippy::unwrap_used)] // all of this file is tests, the helpers too
#![expect(
    clippy::disallowed_methods,
    reason = "limits of waiting for a process, which has its own clock"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A directory with the link in it, and whatever the program writes.
struct Place {
    dir: TempDir,
}

/// A daemon; killed at the end of a test that fails.
struct Daemon {
    child: Child,
    http: u16,
    socket: PathBuf,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_tcp() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn free_udp() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        symlink(env!("CARGO_BIN_EXE_leasehold"), dir.path().join("kea-dhcp4")).unwrap();
        Place { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.path("kea-dhcp4"));
        command.env("KEA_PIDFILE_DIR", self.dir.path()).env("KEA_LOCKFILE_DIR", "none");
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    /// `kea-dhcp4.conf`, as a Kea user has it.
    fn configured(&self, http: u16, more: &str) -> PathBuf {
        let dir = self.dir.path().display();
        let text = format!(
            r#"// A comment, as Kea allows.
{{ "Dhcp4": {{
    "interfaces-config": {{ "interfaces": [ "lo/127.0.0.1" ], "dhcp-socket-type": "udp" }},
    "lease-database": {{ "type": "memfile", "name": "{dir}/kea-leases4.csv", "password": "s3cret" }},
    "control-sockets": [
        {{ "socket-type": "unix", "socket-name": "{dir}/kea4-ctrl-socket" }},
        {{ "socket-type": "http", "socket-address": "127.0.0.1", "socket-port": {http} }} ],
    "hooks-libraries": [
        {{ "library": "/usr/lib/kea/hooks/libdhcp_lease_cmds.so" }},
        {{ "library": "/usr/lib/kea/hooks/libdhcp_stat_cmds.so" }},
        {{ "library": "/usr/lib/kea/hooks/libdhcp_host_cmds.so" }},
        {{ "library": "/usr/lib/kea/hooks/libdhcp_subnet_cmds.so" }} ],
    "server-tag": "here",
    "loggers": [ {{ "name": "kea-dhcp4", "severity": "INFO", "output-options": [ {{ "output": "stdout" }} ] }} ],
    {more}
    "subnet4": [ {{ "id": 10, "subnet": "192.0.2.0/24", "pools": [ {{ "pool": "192.0.2.100-192.0.2.120" }} ] }} ]
}} }}
"#
        );
        self.write("kea-dhcp4.conf", &text)
    }

    fn start(&self) -> Daemon {
        let http = free_tcp();
        let config = self.configured(http, "");
        let log = std::fs::File::create(self.path("log")).unwrap();
        let child = self
            .command()
            .arg("-c")
            .arg(config)
            .args(["-p", &free_udp().to_string(), "-P", &free_udp().to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut daemon = Daemon { child, http, socket: self.path("kea4-ctrl-socket") };
        let begin = Instant::now();
        loop {
            let health = ureq::get(format!("http://127.0.0.1:{http}/health/ready")).call();
            if health.is_ok() {
                return daemon;
            }
            let log = || std::fs::read_to_string(self.path("log")).unwrap();
            assert!(daemon.child.try_wait().unwrap().is_none(), "it ended: {}", log());
            assert!(begin.elapsed() < Duration::from_secs(60), "not ready: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Daemon {
    /// A request in the manner of Stork's agent, within its time limit of 2 s, generously.
    fn http(&self, command: &str, arguments: Value) -> Value {
        let mut request = json!({ "command": command, "service": ["dhcp4"] });
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        let mut response = ureq::post(format!("http://127.0.0.1:{}/", self.http))
            .header("Content-Type", "application/json")
            .send(request.to_string())
            .unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        let replies: Vec<Value> = serde_json::from_str(&text).unwrap();
        let [reply] = <[Value; 1]>::try_from(replies).unwrap();
        reply
    }

    /// A request over the unix socket, which answers a map.
    fn unix(&self, command: &str) -> Value {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        let request = json!({ "command": command, "service": ["dhcp4"] });
        stream.write_all(request.to_string().as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The exit status, once it has ended.
    fn ended(mut self) -> Option<i32> {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(30) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it does not end");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn versions_and_reports_are_printed_as_stork_and_scripts_parse_them() {
    let place = Place::new();
    let version = place.output(&["-v"]);
    assert!(version.status.success());
    let version = text(&version.stdout);
    let numbers: Vec<u32> = version.trim().split('.').map(|part| part.parse().unwrap()).collect();
    assert!(numbers.len() == 3 && numbers[0] >= 3, "{version}");
    let extended = place.output(&["-V"]);
    assert!(extended.status.success());
    assert!(text(&extended.stdout).starts_with(version.trim()));
    let report = place.output(&["-W"]);
    assert!(report.status.success() && text(&report.stdout).contains("Version"));
}

#[test]
fn a_configuration_is_checked() {
    let place = Place::new();
    let good = place.configured(8000, "").display().to_string();
    for flag in ["-t", "-T"] {
        let checked = place.output(&[flag, &good]);
        assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    }
    let bad = place.write("bad.conf", r#"{"Dhcp4": {"foo": 1}}"#).display().to_string();
    let none = place.path("none.conf").display().to_string();
    for (file, part) in [(bad, "foo"), (none, "none.conf")] {
        let checked = place.output(&["-t", &file]);
        assert_eq!(checked.status.code(), Some(1));
        let error = text(&checked.stderr);
        assert!(error.starts_with("Syntax check failed with: ") && error.contains(part), "{error}");
    }
    let entries: Vec<_> = std::fs::read_dir(place.dir.path()).unwrap().collect();
    assert_eq!(entries.len(), 3, "a check leaves nothing behind: {entries:?}");
}

#[test]
fn wrong_flags_end_with_the_usage_and_status_1() {
    let place = Place::new();
    for flags in [&[][..], &["-z"], &["-c"], &["-p", "0", "-c", "x"], &["-c", "x", "y"]] {
        let output = place.output(flags);
        assert_eq!(output.status.code(), Some(1), "{flags:?}");
        let error = text(&output.stderr);
        assert!(error.contains("Usage: kea-dhcp4"), "{flags:?}: {error}");
    }
    let bad = place.write("bad.conf", r#"{"Dhcp4": {"foo": 1}}"#).display().to_string();
    let output = place.output(&["-c", &bad]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("foo"), "{}", text(&output.stderr));
    assert!(!place.path("bad.kea-dhcp4.pid").exists());
}

/// What Stork's agent looks at, in its order (kea-api §4).
#[test]
fn storks_agent_finds_a_kea_3() {
    let place = Place::new();
    let daemon = place.start();
    let pid = daemon.child.id();
    // The process list: its name, and `-c FILE` on its command line.
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!(name.trim(), "kea-dhcp4");
    let command_line = text(&std::fs::read(format!("/proc/{pid}/cmdline")).unwrap());
    let words: Vec<&str> = command_line.split('\0').collect();
    let at = words.iter().position(|word| *word == "-c").unwrap();
    assert!(words[0].ends_with("/kea-dhcp4"), "{words:?}");
    assert_eq!(words[at + 1], place.path("kea-dhcp4.conf").to_str().unwrap());
    let pid_file = std::fs::read_to_string(place.path("kea-dhcp4.kea-dhcp4.pid")).unwrap();
    assert_eq!(pid_file.trim(), pid.to_string());
    // The control sockets of the file, each of which answers.
    let asked = Instant::now();
    let version = daemon.http("version-get", Value::Null);
    assert_eq!(version, daemon.unix("version-get"));
    assert_eq!((&version["result"], &version["text"]), (&json!(0), &json!("3.0.0")));
    // The functions that it shows follow the libraries that config-get lists.
    let config = daemon.http("config-get", Value::Null);
    assert_eq!(config["result"], 0);
    let libraries = config["arguments"]["Dhcp4"]["hooks-libraries"].as_array().unwrap();
    let listed = |name: &str| {
        let mut libraries = libraries.iter().filter_map(|one| one["library"].as_str());
        libraries.any(|library| library.contains(name))
    };
    for name in
        ["libdhcp_lease_cmds", "libdhcp_stat_cmds", "libdhcp_host_cmds", "libdhcp_subnet_cmds"]
    {
        assert!(listed(name), "{name}");
    }
    let status = daemon.http("status-get", Value::Null);
    assert_eq!(status["result"], 0);
    assert_eq!(status["arguments"]["pid"], pid);
    assert_eq!(status["arguments"]["dhcp-state"]["globally-disabled"], false);
    assert!(status["arguments"]["high-availability"].is_null(), "no libdhcp_ha");
    let statistics = daemon.http("statistic-get-all", Value::Null);
    assert_eq!(statistics["result"], 0);
    for name in ["pkt4-ack-sent", "subnet[10].total-addresses", "subnet[10].assigned-addresses"] {
        assert!(statistics["arguments"][name][0][0].is_u64(), "{name}: {statistics}");
    }
    // 2 hides what Stork shows of subnets; anything else but 0 and 3 is shown as an error.
    let subnets = daemon.http("subnet4-list", Value::Null);
    let result = &subnets["result"];
    assert!(*result == 0 || *result == 2, "{subnets}");
    assert!(asked.elapsed() < Duration::from_secs(20), "Stork gives up after 2 s for each");
    let stopped = daemon.http("shutdown", json!({ "exit-value": 3 }));
    assert_eq!(stopped, json!({ "result": 0, "text": "Shutting down." }));
    assert_eq!(daemon.ended(), Some(3));
    assert!(!place.path("kea-dhcp4.kea-dhcp4.pid").exists());
}

#[test]
fn the_file_is_written_and_read_again() {
    let place = Place::new();
    let daemon = place.start();
    let hash =
        |daemon: &Daemon| daemon.http("config-hash-get", Value::Null)["arguments"]["hash"].clone();
    let before = hash(&daemon);
    // Beside the configuration file, and nowhere else.
    let written = daemon.http("config-write", json!({ "filename": "out.json" }));
    let out = place.path("out.json");
    assert_eq!(written["arguments"]["filename"], out.to_str().unwrap());
    let metadata = std::fs::metadata(&out).unwrap();
    assert_eq!(written["arguments"]["size"], metadata.len());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    for name in ["/etc/leasehold-test", "../out.json", "leasehold/log/out.json"] {
        let refused = daemon.http("config-write", json!({ "filename": name }));
        assert_eq!(refused["result"], 1);
        assert!(refused["text"].as_str().unwrap().starts_with("not allowed to write config into"));
    }
    // It is for a restart, so it has the secret that no answer shows.
    let secret = |text: &str| text.contains("s3cret");
    assert!(secret(&std::fs::read_to_string(&out).unwrap()));
    assert!(!secret(&daemon.http("config-get", Value::Null).to_string()));
    // What is written is the configuration, and is accepted as one.
    let checked = place.output(&["-t", out.to_str().unwrap()]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    // A change of the file comes into force by config-reload, and a mistake in it does not.
    place.configured(daemon.http, r#""valid-lifetime": 777,"#);
    let reloaded = daemon.http("config-reload", Value::Null);
    assert_eq!(reloaded["text"], "Configuration successful.", "{reloaded}");
    assert_eq!(reloaded["arguments"]["hash"], hash(&daemon));
    assert_ne!(hash(&daemon), before);
    let changed = hash(&daemon);
    place.configured(daemon.http, r#""foo": 777,"#);
    let refused = daemon.http("config-reload", Value::Null);
    assert_eq!(refused["result"], 1);
    let said = refused["text"].as_str().unwrap();
    assert!(said.starts_with("Config reload failed: ") && said.contains("foo"), "{said}");
    assert_eq!(hash(&daemon), changed);
    // The start-up file itself, and then it is what is in force.
    let written = daemon.http("config-write", Value::Null);
    assert_eq!(written["arguments"]["filename"], place.path("kea-dhcp4.conf").to_str().unwrap());
    let reloaded = daemon.http("config-reload", Value::Null);
    assert_eq!(reloaded["arguments"]["hash"], changed, "{reloaded}");
}

#[test]
fn the_service_is_switched_off_and_on_and_a_second_daemon_is_refused() {
    let place = Place::new();
    let daemon = place.start();
    let ready =
        || ureq::get(format!("http://127.0.0.1:{}/health/ready", daemon.http)).call().is_ok();
    let disabled = || {
        let status = daemon.http("status-get", Value::Null);
        status["arguments"]["dhcp-state"]["globally-disabled"].clone()
    };
    daemon.http("dhcp-disable", json!({ "max-period": 1 }));
    daemon.http("dhcp-disable", json!({ "origin": 2001 }));
    assert!(!ready());
    let begin = Instant::now();
    let by_user = || {
        let status = daemon.http("status-get", Value::Null);
        status["arguments"]["dhcp-state"]["disabled-by-user"].clone()
    };
    while by_user() == true {
        assert!(begin.elapsed() < Duration::from_secs(20), "max-period ends it");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(disabled(), true, "the other origin's hold is its own");
    // A change of the configuration leaves it alone.
    place.configured(daemon.http, r#""valid-lifetime": 777,"#);
    assert_eq!(daemon.http("config-reload", Value::Null)["result"], 0);
    assert_eq!(disabled(), true);
    daemon.http("dhcp-enable", json!({ "origin-id": 2001 }));
    assert_eq!(disabled(), false);
    assert!(ready());

    let config = place.path("kea-dhcp4.conf").display().to_string();
    let second = place.output(&["-c", &config]);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("already running"), "{}", text(&second.stderr));
    assert!(place.path("kea-dhcp4.kea-dhcp4.pid").exists(), "the first one's is left");

    assert_eq!(daemon.http("leases-reclaim", json!({ "remove": true }))["result"], 0);
    assert_eq!(daemon.http("kea-lfc-start", Value::Null)["result"], 0);
    assert_eq!(daemon.http("server-tag-get", Value::Null)["arguments"]["server-tag"], "here");
    let interfaces = daemon.http("interface-redetect", Value::Null);
    let interfaces = interfaces["arguments"]["interfaces"].as_array().unwrap();
    let lo = interfaces.iter().find(|one| one["name"] == "lo").unwrap();
    assert_eq!((&lo["in-use"], &lo["flag-loopback"]), (&json!(true), &json!(true)));
}
