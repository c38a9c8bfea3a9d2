//! What is watched from outside, on three nodes that run: every metric that dashboards and alert rules name
//! is on a node's page; the rules are what Prometheus' own tool takes them for; logs are JSON where that is
//! asked for; the log of leases is the same on two nodes and goes on in a new file after SIGHUP.
//!
//! Loopback only, on ports that were free a moment ago. `LEASEHOLD_REQUIRE_ROOT_TESTS` in the environment,
//! which CI sets, makes a missing promtool a failure.

#![allow(clippy::unwrap_used)] // all of this file is tests, the helpers too
#![expect(
    clippy::disallowed_methods,
    reason = "limits of waiting for a process, which has its own clock"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

const CONFIG: &str = r#"{ "Dhcp4": {
    "interfaces-config": { "interfaces": [ "lo/127.0.0.1" ], "dhcp-socket-type": "udp" },
    "subnet4": [ { "id": 10, "subnet": "192.0.2.0/24", "pools": [ { "pool": "192.0.2.100-192.0.2.111" } ] } ] } }"#;

/// A node; killed at the end of a test that fails.
struct Node {
    child: Child,
    http: u16,
    dir: PathBuf,
}

impl Drop for Node {
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

/// Three nodes; the first shows a certificate at a second door and logs JSON, the first two log leases.
fn cluster(place: &TempDir) -> Vec<Node> {
    let peers: Vec<u16> = (0..3).map(|_| free_tcp()).collect();
    let initial: Vec<String> = peers.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    let config = place.path().join("kea-dhcp4.conf");
    std::fs::write(&config, CONFIG).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let wanted = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    let (cert_file, key_file) = (place.path().join("cert.pem"), place.path().join("key.pem"));
    std::fs::write(&cert_file, wanted.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let node = |at: usize| {
        let dir = place.path().join(format!("node-{}", at + 1));
        std::fs::create_dir(&dir).unwrap();
        let http = free_tcp();
        let mut settings = format!(
            "name = \"node-{}\"\ndata-dir = \"{}\"\n[peer]\nlisten = \"127.0.0.1:{}\"\n\
             [dhcp4]\nport = {}\nrelay-port = {}\nclient-port = {}\n\
             [cluster]\ninitial = [{}]\nconfig = \"{}\"\n[control]\nlisten = [\"127.0.0.1:{http}\"]\n",
            at + 1,
            dir.join("data").display(),
            peers[at],
            free_udp(),
            free_udp(),
            free_udp(),
            initial.join(", "),
            config.display(),
        );
        if at == 0 {
            settings += &format!(
                "[[control.listener]]\naddress = \"127.0.0.1:{}\"\ncert-file = \"{}\"\nkey-file = \"{}\"\n",
                free_tcp(),
                cert_file.display(),
                key_file.display(),
            );
        }
        if at < 2 {
            let format = if at == 0 { "json" } else { "text" };
            let leases = dir.join("leases.json");
            settings +=
                &format!("[log]\nformat = \"{format}\"\nleases = \"{}\"\n", leases.display());
        }
        let file = dir.join("node.toml");
        std::fs::write(&file, settings).unwrap();
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_leasehold"))
            .args(["run", "--settings"])
            .arg(file)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Node { child, http, dir }
    };
    (0..3).map(node).collect()
}

impl Node {
    /// Status and body.
    fn request(&self, text: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(text.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    fn get(&self, path: &str) -> Option<(u16, String)> {
        self.request(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    }

    fn ask(&self, command: &str, arguments: Value) -> Value {
        let body = json!({ "command": command, "arguments": arguments }).to_string();
        let head =
            "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n";
        let (_, text) =
            self.request(&format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())).unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        answer[0].clone()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }
}

/// Waits until it is so; at the end of patience shows the logs.
fn until(nodes: &[Node], what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        if started.elapsed() > Duration::from_secs(60) {
            nodes
                .iter()
                .for_each(|node| println!("--- {}\n{}", node.dir.display(), node.read("log")));
            panic!("not in time: {what}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn three_nodes_tell_what_dashboards_and_rules_ask_for() {
    let place = tempfile::tempdir().unwrap();
    let mut nodes = cluster(&place);
    let ready = |node: &Node| node.get("/health/ready").is_some_and(|(status, _)| status == 200);
    until(&nodes, "all ready", || nodes.iter().all(ready));
    // A page is filled by the notes of peers and a look at what changes slowly.
    let page = |node: &Node| node.get("/metrics").map(|(_, text)| text).unwrap_or_default();
    let filled =
        ["raft_peer_clock_seconds{", "certificate_expiry_seconds{", "raft_snapshot_bytes "];
    let add = |node: &Node, host: u8| {
        let lease = json!({ "ip-address": format!("192.0.2.{host}"), "hw-address": format!("02:00:00:00:00:{host:02x}"),
            "hostname": "a\"name" });
        let answer = node.ask("lease4-add", lease);
        assert_eq!(answer["result"], 0, "{answer}");
    };
    (100..110).for_each(|host| add(&nodes[2], host));
    assert_eq!(nodes[0].ask("kea-lfc-start", json!({}))["result"], 0);
    until(&nodes, "the pages", || filled.iter().all(|name| page(&nodes[0]).contains(name)));
    every_name_is_on_a_page(&nodes.iter().map(page).collect::<Vec<_>>());
    check_the_page(&page(&nodes[0]));
    alarms_are_told(&nodes);
    leases_are_logged(&nodes, add);
    for line in nodes[0].read("log").lines() {
        let line: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
    }
    assert!(nodes[1].read("log").contains(" INFO leasehold"), "{}", nodes[1].read("log"));
    nodes.iter().for_each(|node| node.signal("-TERM"));
    for node in &mut nodes {
        assert!(node.child.wait().unwrap().success());
    }
}

/// A pool of twelve with ten leases is an alarm on each node, in the list, in the log and on the page.
fn alarms_are_told(nodes: &[Node]) {
    let node = &nodes[1];
    let listed = || node.ask("cluster-alarm-list", json!({}))["arguments"]["alarms"].clone();
    let known = |alarms: &Value| {
        alarms.as_array().is_some_and(|all| all.iter().any(|alarm| alarm["id"] == "pool-filling"))
    };
    until(nodes, "the alarm", || known(&listed()));
    let metric = "leasehold_alarm{id=\"pool-filling\",severity=\"warning\"} 1";
    assert!(node.get("/metrics").unwrap().1.contains(metric));
    assert!(node.read("log").contains("alarm=\"pool-filling\""), "{}", node.read("log"));
    let answer = node.ask("cluster-alarm-ack", json!({ "id": "pool-filling" }));
    assert_eq!(answer["result"], 0, "{answer}");
    assert!(!known(&listed()));
    assert!(known(&node.ask("cluster-alarm-list", json!({ "all": true }))["arguments"]["alarms"]));
}

/// The first two nodes write the same; after a rotation the next lines are in a new file.
fn leases_are_logged(nodes: &[Node], add: impl Fn(&Node, u8)) {
    let lines = |node: &Node, name: &str| node.read(name).lines().count();
    until(nodes, "the lines", || nodes[..2].iter().all(|node| lines(node, "leases.json") >= 10));
    assert_eq!(nodes[0].read("leases.json"), nodes[1].read("leases.json"));
    let text = nodes[0].read("leases.json");
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((&first["kind"], &first["ip-address"]), (&json!("written"), &json!("192.0.2.100")));
    let file = nodes[0].dir.join("leases.json");
    std::fs::rename(&file, nodes[0].dir.join("leases.json.1")).unwrap();
    nodes[0].signal("-HUP");
    until(nodes, "the new file", || file.exists());
    add(&nodes[0], 150);
    until(nodes, "the next line", || lines(&nodes[0], "leases.json") == 1);
    assert_eq!(lines(&nodes[0], "leases.json.1"), 10);
    until(nodes, "the other node's", || lines(&nodes[1], "leases.json") == 11);
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// Every expression of dashboards and rules, by where it stands.
fn expressions() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(deploy().join("grafana")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        walk(&dashboard, &path.file_name().unwrap().to_string_lossy(), &mut found);
    }
    let rules = std::fs::read_to_string(deploy().join("prometheus/leasehold.rules.yml")).unwrap();
    let mut lines = rules.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(expression) = line.trim().strip_prefix("expr:") else { continue };
        let mut expression = expression.trim().trim_start_matches('>').to_owned();
        while lines.peek().is_some_and(|next| next.starts_with("          ")) {
            expression += &format!(" {}", lines.next().unwrap().trim());
        }
        found.push(("leasehold.rules.yml".to_owned(), expression));
    }
    assert!(found.len() > 80, "{} expressions", found.len());
    found
}

fn walk(value: &Value, place: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match (name.as_str(), value.as_str()) {
                    ("expr" | "definition", Some(text)) => {
                        found.push((place.to_owned(), text.to_owned()));
                    }
                    _ => walk(value, place, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, place, found)),
        _ => {}
    }
}

/// What of PromQL, and of Grafana's own words, is no metric.
const WORDS: &[&str] = &[
    "and",
    "by",
    "changes",
    "count",
    "histogram_quantile",
    "increase",
    "label_values",
    "max",
    "min",
    "on",
    "or",
    "rate",
    "sum",
    "unless",
    "without",
];

/// The metrics that an expression names: what is left without labels, strings, durations and PromQL's words.
fn metrics(expression: &str) -> BTreeSet<String> {
    let mut plain = String::new();
    let (mut depth, mut quoted) = (0, false);
    for character in expression.chars() {
        match character {
            '"' => quoted = !quoted,
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => depth -= 1,
            _ if depth == 0 && !quoted => plain.push(character),
            _ => {}
        }
        if "{}[]\"".contains(character) {
            plain.push(' ');
        }
    }
    // The labels of an aggregation.
    for word in ["by", "without", "on"] {
        while let Some(at) = plain.find(&format!("{word} (")) {
            let end = plain[at..].find(')').unwrap() + at;
            plain.replace_range(at..=end, " ");
        }
    }
    if let Some(rest) = expression.strip_prefix("label_values(") {
        plain = rest.split(['{', ',', ')']).next().unwrap().to_owned();
    }
    let words = plain.split(|it: char| !(it.is_ascii_alphanumeric() || it == '_' || it == '$'));
    let named = words.filter(|word| word.starts_with(|it: char| it.is_ascii_alphabetic()));
    named.filter(|word| !WORDS.contains(word)).map(str::to_owned).collect()
}

fn every_name_is_on_a_page(pages: &[String]) {
    let lines = pages.iter().flat_map(|page| page.lines());
    let there: BTreeSet<&str> = lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let mut wrong: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (place, expression) in expressions() {
        let named = metrics(&expression);
        assert!(!named.is_empty(), "{place}: {expression}");
        for name in named.into_iter().filter(|name| name != "up" && !there.contains(name.as_str()))
        {
            wrong.entry(name).or_default().insert(place.clone());
        }
    }
    assert!(wrong.is_empty(), "no node tells these: {wrong:#?}");
}

/// Runs promtool; `None` where it is not installed.
fn promtool(arguments: &[&str], input: &str) -> Option<String> {
    let tool = Command::new("promtool")
        .args(arguments)
        .current_dir(deploy().join("prometheus"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut tool) = tool else {
        assert!(
            std::env::var_os("LEASEHOLD_REQUIRE_ROOT_TESTS").is_none(),
            "promtool is not installed (package prometheus)"
        );
        println!("skipped: promtool is not installed");
        return None;
    };
    let mut stdin = tool.stdin.take().unwrap();
    let input = input.to_owned();
    let feeding = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let said = tool.wait_with_output().unwrap();
    let _ = feeding.join().unwrap();
    let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    // `check metrics` has an opinion about Stork's names; what it cannot read is another matter.
    let well = said.status.success() || arguments[0] == "check" && arguments[1] == "metrics";
    assert!(well, "{text}");
    Some(text)
}

fn check_the_page(page: &str) {
    let Some(text) = promtool(&["check", "metrics"], page) else { return };
    let mind = |line: &&str| {
        !(line.starts_with("kea_dhcp4_")
            && line.ends_with("non-counter metrics should not have \"_total\" suffix"))
    };
    let complaints: Vec<&str> = text.lines().filter(mind).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn promtool_takes_the_rules_and_their_tests() {
    for arguments in [
        &["check", "rules", "leasehold.rules.yml"][..],
        &["test", "rules", "leasehold.rules.test.yml"],
    ] {
        if let Some(text) = promtool(arguments, "") {
            assert!(text.contains("SUCCESS"), "{text}");
        }
    }
}

/// Grafana itself is not packaged; what it wants of a file to import is checked by hand.
#[test]
fn dashboards_can_be_imported() {
    let mut uids = BTreeSet::new();
    for entry in std::fs::read_dir(deploy().join("grafana")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        let name = path.display();
        assert!(uids.insert(dashboard["uid"].as_str().unwrap().to_owned()), "{name}");
        assert!(dashboard["schemaVersion"].as_u64().is_some_and(|it| it >= 36), "{name}");
        let variables: Vec<&str> = dashboard["templating"]["list"]
            .as_array()
            .unwrap()
            .iter()
            .map(|variable| variable["name"].as_str().unwrap())
            .collect();
        assert_eq!(variables[..2], ["datasource", "job"], "{name}");
        let panels = dashboard["panels"].as_array().unwrap();
        let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len(), "{name}");
        for panel in panels {
            assert!(panel["title"].is_string() && panel["gridPos"]["w"].is_u64(), "{panel}");
            for target in panel["targets"].as_array().unwrap() {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{panel}");
                let text = target["expr"].as_str().unwrap();
                let used = ["$instance", "$job"].iter().filter(|word| text.contains(**word));
                assert!(used.count() > 0, "{text}");
                let missing = text.contains("$instance") && !variables.contains(&"instance");
                assert!(!missing, "{text}");
            }
        }
    }
    assert_eq!(uids.len(), 3);
}

#[test]
fn names_are_found_in_expressions() {
    let names = |text: &str| metrics(text).into_iter().collect::<Vec<_>>();
    assert_eq!(names("sum by (le, x) (rate(a_total{b=\"c\", d=~\"$e\"}[5m])) > 0"), ["a_total"]);
    assert_eq!(names("a_x / (b_x > 0) or max(c_x) == 7 * 86400"), ["a_x", "b_x", "c_x"]);
    assert_eq!(names("label_values(leasehold_info{job=\"$job\"}, instance)"), ["leasehold_info"]);
}
