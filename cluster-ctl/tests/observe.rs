//! What an operator sees of a cluster with one thing or another the matter: golden files in `golden/`, for
//! tables and JSON. `UPDATE_GOLDEN=1` writes them; read the diff.

#[path = "observe/members.rs"]
mod members;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

fn run(cluster: &Cluster, arguments: &[&str]) -> Output {
    run_by(Command::new(env!("CARGO_BIN_EXE_cluster-ctl")), cluster, arguments)
}

/// [`run`] where no file gets longer than 4 KiB, as on a disk that is full.
fn run_cramped(cluster: &Cluster, arguments: &[&str]) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\""]);
    shell.arg(env!("CARGO_BIN_EXE_cluster-ctl"));
    run_by(shell, cluster, arguments)
}

fn run_by(mut command: Command, cluster: &Cluster, arguments: &[&str]) -> Output {
    command
        .env_remove("LEASEHOLD_NODE")
        .env_remove("LEASEHOLD_USER")
        .env_remove("LEASEHOLD_PASSWORD")
        .env_remove("LEASEHOLD_PASSWORD_FILE")
        .env_remove("LEASEHOLD_CACERT")
        .args(["--node", &cluster.urls[0]])
        .args(arguments)
        .output()
        .expect("the program starts")
}

/// Nodes that answer from a list, until the test ends.
#[derive(Default)]
struct Cluster {
    urls: Vec<String>,
    /// What they were asked, the last at the end.
    asked: Arc<Mutex<Vec<Value>>>,
}

/// What a node answers, by command.
type Answers = BTreeMap<&'static str, Value>;

impl Cluster {
    /// Two nodes that answer what `tell` says about each, given the addresses of both.
    fn of(tell: impl Fn(usize, &[String]) -> Answers) -> Cluster {
        let listeners: Vec<TcpListener> =
            (0..2).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
        let address = |listener: &TcpListener| listener.local_addr().expect("it is bound");
        let urls: Vec<String> =
            listeners.iter().map(|listener| format!("http://{}", address(listener))).collect();
        let asked = Arc::default();
        for (at, listener) in listeners.into_iter().enumerate() {
            let (answers, asked) = (Arc::new(tell(at, &urls)), Arc::clone(&asked));
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (answers, asked) = (Arc::clone(&answers), Arc::clone(&asked));
                    std::thread::spawn(move || answer(stream, &answers, &asked));
                }
            });
        }
        Cluster { urls, asked }
    }

    /// The text with names in place of what differs from run to run.
    fn plain(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (at, url) in self.urls.iter().enumerate() {
            let (_, port) = url.rsplit_once(':').expect("a port");
            // As wide as the port, or tables would differ.
            let name = format!("{:P>width$}", at + 1, width = port.len());
            text = text.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{name}"));
        }
        text
    }
}

fn answer(mut stream: TcpStream, answers: &Answers, all_asked: &Mutex<Vec<Value>>) {
    let Some((head, body)) = request(&mut stream) else { return };
    let (kind, text) = if head.starts_with("GET /metrics ") {
        ("text/plain", "# HELP leasehold_ready x\nleasehold_ready 1\n".to_owned())
    } else {
        let asked: Value = serde_json::from_str(&body).expect("JSON");
        let command = asked["command"].as_str().expect("a command");
        let unknown = json!({ "result": 2, "text": "not supported" });
        let reply = answers.get(command).cloned().unwrap_or(unknown);
        all_asked.lock().expect("no panic").push(asked.clone());
        ("application/json", json!([reply]).to_string())
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    let _ = stream.write_all((head + &text).as_bytes());
}

fn request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut got = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).ok().filter(|read| *read > 0)?;
        got.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&got).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let wanted = name.eq_ignore_ascii_case("content-length");
            wanted.then(|| value.trim().parse::<usize>().ok())?
        });
        if body.len() >= length.unwrap_or(0) {
            return Some((head.to_owned(), body.to_owned()));
        }
    }
}

/// Three nodes, of which the third is silent; the second is not ready and has two alarms.
fn ill() -> Cluster {
    Cluster::of(|at, urls| {
        let id = at as u64 + 1;
        let node = |id: u64, name: &str, role: &str, liveness: &str, control: Value| {
            json!({ "id": id, "name": name, "rack": "", "address": format!("192.0.2.1{id}:7701"),
                "control": control, "version": "0.1.0", "role": role, "liveness": liveness, "reachable": id < 3,
                "applied-index": 50 + id, "lag": 3 - id, "active-config-version": 2 })
        };
        let mut status = json!({ "node": id, "name": format!("rack-{id}"), "cluster": "c0ffee",
            "version": "0.1.0", "term": 4, "leader": 1, "applied-index": 50 + id, "committed-index": 53,
            "last-log-index": 53, "config-version": 2, "active-config-version": 2, "leases": 7, "uptime": 70,
            "ready": id == 1,
            "nodes": [
                node(1, "rack-a", "leader", "up", json!([urls[0]])),
                node(2, "rack-b", "follower", "up", json!([urls[1]])),
                // Its address leads to another node: that one's word is not taken for its own.
                node(3, "rack-c", "follower", "down", json!([urls[1]])),
            ] });
        if id == 2 {
            status["reason"] = "no DHCP socket is open".into();
            status["alarms"] = 2.into();
        }
        let alarm = |kind: &str, severity: &str, about: &str, text: &str| {
            json!({ "id": kind, "severity": severity, "about": about, "since": 1_795_470_000 + id, "node": id,
                "text": text, "remedy": "Mend it.", "link": format!("docs/troubleshooting.md#{kind}"),
                "acknowledged": false })
        };
        let slow = "a write to the log took 0.7 s to reach the disk";
        let slow = alarm("disk-slow", "warning", "", slow);
        let silent = alarm("node-silent", "critical", "node 3", "node 3 (rack-c) does not answer");
        let alarms = if id == 1 { json!([]) } else { json!([slow, silent]) };
        let acknowledged = match id {
            1 => json!({ "result": 3, "text": "There is no such alarm on this node now." }),
            _ => json!({ "result": 0, "text": "", "arguments": { "count": 1 } }),
        };
        let text = "3 nodes, leader 1 (rack-a), term 4";
        let secret = json!([{ "authentication": { "clients": [{ "user": "admin", "password": "secret-word" }] } }]);
        BTreeMap::from([
            ("cluster-status", json!({ "result": 0, "text": text, "arguments": status })),
            (
                "cluster-alarm-list",
                json!({ "result": 0, "arguments": { "node": id, "alarms": alarms } }),
            ),
            ("cluster-alarm-ack", acknowledged),
            (
                "version-get",
                json!({ "result": 0, "text": "0.1.0", "arguments": { "extended": "0.1.0" } }),
            ),
            (
                "config-get",
                json!({ "result": 0, "arguments": { "Dhcp4": { "control-sockets": secret } } }),
            ),
        ])
    })
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Compares what was printed, and the exit status, with a golden file.
fn compare(cluster: &Cluster, name: &str, arguments: &[&str]) {
    pin(name, &shown(cluster, arguments));
}

/// A command, what it printed, and its exit status.
fn shown(cluster: &Cluster, arguments: &[&str]) -> String {
    let output = run(cluster, arguments);
    let shown = format!(
        "$ cluster-ctl {}\n{}{}exit status {}\n",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        output.status.code().expect("it exits"),
    );
    cluster.plain(&shown)
}

/// Compares a text with a golden file.
fn pin(name: &str, shown: &str) {
    let path = golden(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("it can be made");
        std::fs::write(&path, shown).expect("written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(shown, expected, "{name}");
}

#[test]
fn each_command_prints_tables_and_json() {
    let cluster = ill();
    for (name, arguments) in [
        ("status", &["status"][..]),
        ("health", &["health"]),
        ("alarms", &["alarms"]),
        ("alarms-ack", &["alarms", "--ack", "node-silent"]),
    ] {
        compare(&cluster, &format!("{name}.txt"), arguments);
        compare(&cluster, &format!("{name}.json.txt"), &[arguments, &["-o", "json"]].concat());
    }
}

#[test]
fn watching_a_pipe_gives_a_line_each_time() {
    let cluster = ill();
    let output = run(&cluster, &["watch", "--count", "2", "--interval", "0.2"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(!text.contains('\x1b'), "{text}");
    let told = "  leader 1, term 4, ready 1/3, committed 53, lag 2, leases 7, alarms 2";
    assert!(lines[0].ends_with(told), "{text}");
    assert!(lines[1].ends_with(&format!("{told}, 0 entries/s")), "{text}");
    let output = run(&cluster, &["watch", "--count", "1", "-o", "json"]);
    let line: Value = serde_json::from_slice(&output.stdout).expect("one JSON value");
    assert!(line["time"].as_i64().is_some_and(|time| time > 1_700_000_000), "{line}");
    let output = run(&cluster, &["watch", "--interval", "0"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_bundle_has_what_each_node_says_and_no_secret() {
    let cluster = ill();
    let dir = std::env::temp_dir().join(format!("cluster-ctl-bundle-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let (file, log) = (dir.join("bundle.tar"), dir.join("node.log"));
    std::fs::write(&log, "the last line\n").expect("written");
    let (out, log) = (file.display().to_string(), log.display().to_string());
    let arguments = ["debug", "bundle", "--out", &out, "--log", &log];
    // Half of a bundle is none, and in nobody's way.
    let output = run_cramped(&cluster, &arguments);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("bundle.tar: File too large"), "{error}");
    assert_eq!(std::fs::read_dir(&dir).expect("a directory").count(), 1, "only the log is there");
    let output = run(&cluster, &arguments);
    let (text, error) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert!(text.contains("Node 3 did not answer") && text.contains("are not in it"), "{text}");
    let mode = std::fs::metadata(&file).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut archive = tar::Archive::new(std::fs::File::open(&file).expect("it is there"));
    let mut names = Vec::new();
    for entry in archive.entries().expect("a tar file") {
        let mut entry = entry.expect("an entry");
        let mut content = String::new();
        entry.read_to_string(&mut content).expect("text");
        assert!(!content.contains("secret-word"), "{content}");
        assert!(!content.is_empty());
        let name = entry.path().expect("a name").display().to_string();
        let shown = name.strip_prefix("leasehold-debug/").expect("in one directory").to_owned();
        assert!(text.contains(&shown), "{text}");
        names.push(shown);
    }
    let mut expected = vec!["config.json".to_owned(), "log.txt".to_owned()];
    for node in 1..=2 {
        for file in ["alarms.json", "metrics.txt", "service.json", "status.json", "version.json"] {
            expected.push(format!("node-{node}/{file}"));
        }
    }
    names.sort();
    assert_eq!(names, expected);
    // Nothing that is there is written over.
    let output = run(&cluster, &arguments);
    assert_eq!(output.status.code(), Some(2));
    std::fs::remove_dir_all(&dir).expect("removed");
}

#[test]
fn where_nothing_answers_the_exit_status_is_2() {
    let nobody = Cluster { urls: vec!["http://127.0.0.1:1".into()], ..Cluster::default() };
    for arguments in [
        &["health"][..],
        &["alarms"],
        &["alarms", "--ack", "disk-slow"],
        &["watch", "--count", "1"],
        &["debug", "bundle", "--out", "/nowhere/x.tar"],
    ] {
        let output = run(&nobody, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
