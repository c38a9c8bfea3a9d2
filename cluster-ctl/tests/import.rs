//! `cluster-ctl import` and `export` as an operator meets them, with a node that is played.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use leasehold::clock::{Clock, SystemClock};
use serde_json::{Value, json};

/// What the played node has, and how it behaves.
#[derive(Default)]
struct Played {
    leases: BTreeMap<String, Value>,
    /// Names of the commands that came, in order.
    asked: Vec<String>,
    /// So many answers to lease4-bulk-apply get lost after it was done.
    lost: usize,
    /// A lease that comes the moment before the first lease4-bulk-apply.
    faster: Option<Value>,
    /// So many pages of leases are asked for while there is no leader.
    leaderless: usize,
    /// The export breaks off in the middle.
    cut: bool,
}

/// A node with one subnet, 10.7.0.0/16.
#[derive(Clone, Default)]
struct Node(Arc<Mutex<Played>>);

impl Node {
    fn with(leases: &[Value]) -> Node {
        let node = Node::default();
        node.put(leases);
        node
    }

    fn put(&self, leases: &[Value]) {
        let mut played = self.0.lock().expect("whole");
        for lease in leases {
            let address = lease["ip-address"].as_str().expect("an address").to_owned();
            played.leases.insert(address, lease.clone());
        }
    }

    fn lease(&self, address: &str) -> Value {
        self.0.lock().expect("whole").leases.get(address).cloned().unwrap_or_default()
    }

    fn asked(&self, name: &str) -> usize {
        self.0.lock().expect("whole").asked.iter().filter(|asked| *asked == name).count()
    }

    /// Serves until the test ends; its address.
    fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let node = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                node.answer(stream);
            }
        });
        url
    }

    fn answer(&self, mut stream: TcpStream) {
        let Some((head, body)) = request(&mut stream) else { return };
        let mut played = self.0.lock().expect("whole");
        if head.starts_with("GET /v1/leases") {
            let lines: Vec<String> = played.leases.values().map(Value::to_string).collect();
            let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
            let length = text.len() + usize::from(played.cut);
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
            );
            return;
        }
        let request: Value = serde_json::from_str(&body).expect("JSON");
        let name = request["command"].as_str().expect("a name").to_owned();
        let reply = match name.as_str() {
            "config-get" => json!({"result": 0, "arguments": {"Dhcp4": {"subnet4": [
                {"id": 1, "subnet": "10.7.0.0/16", "pools": [{"pool": "10.7.1.1-10.7.1.200"}]}]}}}),
            "config-history-get" => {
                json!({"result": 0, "arguments": {"version": 3, "form": "kea", "document":
                "{ \"Dhcp4\": { # ours\n \"interfaces-config\": { \"interfaces\": [ \"eth0\" ] },\n \"subnet4\": [\
                 { \"id\": 1, \"subnet\": \"10.7.0.0/16\", \"offer-lifetime\": 60 } ] } }"}})
            }
            "lease4-get-page" if played.leaderless > 0 => {
                played.leaderless -= 1;
                json!({"result": 1, "text": "The cluster does not answer: no leader was found within 2 s."})
            }
            "lease4-get-page" => played.page(&request["arguments"]),
            "lease4-bulk-apply" => played.bulk(&request["arguments"]),
            other => json!({"result": 2, "text": format!("'{other}' command not supported.")}),
        };
        played.asked.push(name.clone());
        if name == "lease4-bulk-apply" && played.lost > 0 {
            played.lost -= 1;
            return;
        }
        let reply = json!([reply]).to_string();
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{reply}",
            reply.len()
        );
    }
}

impl Played {
    fn page(&self, arguments: &Value) -> Value {
        let from: std::net::Ipv4Addr =
            arguments["from"].as_str().unwrap_or_default().parse().unwrap_or([0, 0, 0, 0].into());
        let address = |lease: &Value| -> std::net::Ipv4Addr {
            lease["ip-address"].as_str().unwrap_or_default().parse().expect("an address")
        };
        let mut leases: Vec<&Value> =
            self.leases.values().filter(|lease| address(lease) > from).collect();
        leases.sort_by_key(|lease| address(lease));
        let result = if leases.is_empty() { 3 } else { 0 };
        json!({"result": result, "text": "", "arguments": {"count": leases.len(), "leases": leases}})
    }

    /// As the node does it: what is to be new must be, what replaces must find what it expects.
    fn bulk(&mut self, arguments: &Value) -> Value {
        assert_eq!(arguments["only-new"], true, "nothing is overwritten by accident");
        if let Some(lease) = self.faster.take() {
            self.leases.insert(lease["ip-address"].as_str().unwrap_or_default().to_owned(), lease);
        }
        let leases = arguments["leases"].as_array().expect("a list");
        if let Some(at) = leases.iter().position(|lease| lease["hostname"] == "too-long") {
            return json!({"result": 1, "text": format!("leases[{at}]: the hostname is longer than 255 bytes")});
        }
        let mut failed = Vec::new();
        for lease in leases {
            let address = lease["ip-address"].as_str().unwrap_or_default().to_owned();
            let there = self.leases.get(&address).map(|there| there["cltt"].clone());
            let why = match (there, lease.get("expected-cltt")) {
                (None, None) => None,
                (Some(cltt), Some(expected)) if cltt == *expected => None,
                (Some(_), None) => Some("IPv4 lease already exists.".to_owned()),
                _ => Some(format!(
                    "failed to update the lease with address {address} either because …"
                )),
            };
            if let Some(why) = why {
                failed.push(json!({"ip-address": address, "error-message": why, "result": 4}));
                continue;
            }
            let mut lease = lease.clone();
            let begin = lease["expire"].as_i64().unwrap_or_default()
                - lease["valid-lft"].as_i64().unwrap_or_default();
            lease["cltt"] = begin.into();
            self.leases.insert(address, lease);
        }
        let mut reply = json!({"result": 0, "text": "Bulk apply completed."});
        if !failed.is_empty() {
            reply["arguments"] = json!({ "failed-leases": failed });
        }
        reply
    }
}

fn request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut got = Vec::new();
    loop {
        let mut piece = [0; 65_536];
        let read = stream.read(&mut piece).ok().filter(|read| *read > 0)?;
        got.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&got).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().ok())?
        });
        if body.len() >= length.unwrap_or(0) {
            return Some((head.to_owned(), body.to_owned()));
        }
    }
}

/// A directory that goes away with the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let path = std::env::temp_dir().join(format!("cluster-ctl-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a directory");
        Dir(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    }

    fn run(&self, node: &str, arguments: &[&str]) -> Output {
        let mut program = Command::new(env!("CARGO_BIN_EXE_cluster-ctl"));
        self.prepare(&mut program, node, arguments).output().expect("the program starts")
    }

    /// The same where no file gets longer than 512 bytes, as on a disk that is full.
    fn run_cramped(&self, node: &str, arguments: &[&str]) -> Output {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\""]);
        shell.arg(env!("CARGO_BIN_EXE_cluster-ctl"));
        self.prepare(&mut shell, node, arguments).output().expect("the shell starts")
    }

    fn prepare<'a>(
        &self,
        command: &'a mut Command,
        node: &str,
        arguments: &[&str],
    ) -> &'a mut Command {
        command
            .env_remove("LEASEHOLD_USER")
            .env_remove("LEASEHOLD_PASSWORD")
            .env_remove("LEASEHOLD_PASSWORD_FILE")
            .args(["--node", node])
            .args(arguments)
            .current_dir(&self.0)
    }

    /// The names in it.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).expect("a directory");
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into()).collect();
        names.sort();
        names
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn now() -> i64 {
    SystemClock.wall() / 1000
}

fn lease(address: &str, hw: &str, cltt: i64) -> Value {
    json!({"ip-address": address, "hw-address": hw, "subnet-id": 1, "cltt": cltt, "valid-lft": 7200, "state": 0,
           "hostname": "", "fqdn-fwd": false, "fqdn-rev": false})
}

/// dhcpd's file: a lease each of the kinds that an import tells apart.
fn dhcpd_leases(now: i64) -> String {
    let declared = |last: u8, begin: i64, more: &str| {
        format!(
            "lease 10.7.1.{last} {{\n  starts epoch {begin};\n  ends epoch {};\n  binding state active;\n  \
             hardware ethernet 02:00:00:00:00:{last:02x};\n{more}}}\n",
            begin + 7200
        )
    };
    let mut text = String::from("authoring-byte-order little-endian;\nhost printer { dynamic; }\n");
    text += &declared(1, now - 100, "  client-hostname \"Desk-1\";\n  reserved;\n");
    text += &declared(2, now - 100, "");
    text += &declared(3, now - 100, "");
    text += &declared(4, now - 100, "");
    text += &declared(5, now - 90_000, "  set ddns-fwd-name = \"old.example.org\";\n");
    text += &declared(6, now - 100, "");
    text += "lease 10.7.1.7 {\n  ends 0 yesterday;\n}\n";
    text += &declared(8, now - 50, "");
    text += &declared(9, now - 100, "  client-hostname \"too-long\";\n");
    text.replace("lease 10.7.1.6", "lease 10.8.1.6")
}

/// With `UPDATE=1` in the environment the expectation is written anew; read the diff.
fn golden(name: &str, got: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, got).expect("written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(got, expected, "{}", path.display());
}

fn played(now: i64) -> Node {
    Node::with(&[
        // The same, the same client later, another client, the same client earlier.
        lease("10.7.1.2", "02:00:00:00:00:02", now - 100),
        lease("10.7.1.3", "02:00:00:00:00:03", now - 10),
        lease("10.7.1.4", "02:00:00:00:00:ff", now - 10),
        lease("10.7.1.8", "02:00:00:00:00:08", now - 100),
    ])
}

#[test]
fn an_import_tells_what_it_took_changed_and_refused() {
    let (dir, now) = (Dir::new("golden"), now());
    dir.file("dhcpd.leases", &dhcpd_leases(now));
    let arguments = ["import", "dhcpd", "--leases", "dhcpd.leases"];

    let node = played(now);
    let looked = dir.run(&node.serve(), &[&arguments[..], &["--dry-run"]].concat());
    golden("dry-run.txt", &String::from_utf8_lossy(&looked.stdout));
    assert_eq!((looked.status.code(), node.asked("lease4-bulk-apply")), (Some(1), 0));

    let done = dir.run(&node.serve(), &[&arguments[..], &["--report", "report.json"]].concat());
    golden("table.txt", &String::from_utf8_lossy(&done.stdout));
    assert_eq!(done.status.code(), Some(1), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(node.lease("10.7.1.1")["hostname"], "desk-1");
    assert_eq!(node.lease("10.7.1.8")["cltt"], now - 50);
    assert_eq!(node.lease("10.7.1.4")["hw-address"], "02:00:00:00:00:ff");
    let mode = std::fs::metadata(dir.0.join("report.json")).expect("a report").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let node = played(now);
    let json = dir.run(&node.serve(), &[&arguments[..], &["-o", "json"]].concat());
    let value: Value = serde_json::from_slice(&json.stdout).expect("one JSON value");
    golden("report.json", &format!("{value:#}\n"));
    let report = std::fs::read_to_string(dir.0.join("report.json")).expect("a report");
    assert_eq!(serde_json::from_str::<Value>(&report).expect("JSON"), value, "both ways the same");
    assert_eq!(json.status.code(), Some(1));
}

#[test]
fn an_import_that_is_repeated_changes_nothing_and_says_so() {
    let (dir, now) = (Dir::new("repeated"), now());
    let text = dhcpd_leases(now);
    let one = text.split("lease 10.7.1.2").next().expect("the first");
    dir.file("dhcpd.leases", one);
    let node = Node::default();
    let url = node.serve();
    let first = dir.run(&url, &["import", "dhcpd", "--leases", "dhcpd.leases"]);
    assert_eq!(first.status.code(), Some(0), "{}", String::from_utf8_lossy(&first.stderr));
    let again = dir.run(&url, &["import", "dhcpd", "--leases", "dhcpd.leases"]);
    let text = String::from_utf8_lossy(&again.stdout);
    assert!(text.ends_with("The cluster has all of it already. Nothing was changed.\n"), "{text}");
    assert_eq!((again.status.code(), node.asked("lease4-bulk-apply")), (Some(0), 1));
}

#[test]
fn a_lost_answer_is_found_out_about_and_nothing_is_done_twice() {
    let (dir, now) = (Dir::new("lost"), now());
    let text = dhcpd_leases(now);
    dir.file("dhcpd.leases", text.split("lease 10.7.1.2").next().expect("the first"));
    let node = Node::default();
    node.0.lock().expect("whole").lost = 1;
    let done =
        dir.run(&node.serve(), &["import", "dhcpd", "--leases", "dhcpd.leases", "-o", "json"]);
    let value: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_eq!(
        (&value["leases"]["added"], &value["leases"]["same"]),
        (&json!(1), &json!(0)),
        "{value}"
    );
    assert_eq!((done.status.code(), node.asked("lease4-bulk-apply")), (Some(0), 1));
}

#[test]
fn who_comes_between_looking_and_writing_is_not_overwritten() {
    let (dir, now) = (Dir::new("between"), now());
    let text = dhcpd_leases(now);
    dir.file("dhcpd.leases", text.split("lease 10.7.1.2").next().expect("the first"));
    let node = Node::default();
    node.0.lock().expect("whole").faster = Some(lease("10.7.1.1", "02:00:00:00:00:ee", now));
    let done = dir.run(&node.serve(), &["import", "dhcpd", "--leases", "dhcpd.leases"]);
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(
        text.contains("the cluster has this address for client at 02:00:00:00:00:ee"),
        "{text}"
    );
    assert_eq!(done.status.code(), Some(1));
    assert_eq!(node.lease("10.7.1.1")["hw-address"], "02:00:00:00:00:ee");
}

#[test]
fn files_that_are_none_are_refused_before_anything_is_done() {
    let dir = Dir::new("files");
    let node = Node::default();
    let url = node.serve();
    let csv = dir.file("dhcp6.csv", "address,duid,valid_lifetime\n");
    let none = dir.file("none.leases", "");
    std::os::unix::fs::symlink("/dev/null", dir.0.join("null")).expect("a link");
    for (arguments, told) in [
        (&["import", "kea"][..], "--config"),
        (&["import", "kea", "--leases", "/no/such.csv"], "no such lease file"),
        (&["import", "kea", "--leases", &csv], "DHCPv6"),
        (&["import", "dhcpd", "--leases", "/no/such"], "/no/such"),
        (&["import", "dhcpd", "--leases", &csv, "--overwrite"], "--yes"),
        (&["import", "kea", "--leases", &csv, "--from", "x"], "cannot be used with"),
        (&["import", "kea", "--from", "unix:/no/such"], "unix:/no/such"),
        // A file of another kind is no empty one.
        (&["import", "dhcpd", "--leases", &csv], "no lease file of dhcpd"),
        (&["import", "dhcpd", "--leases", "/bin/sh"], "no lease file"),
        // Where the report is to go is looked at before there is one.
        (&["import", "dhcpd", "--leases", &none, "--report", "/no/such"], "/no/such: No such"),
        (&["import", "dhcpd", "--leases", &none, "--report", "."], "this names no file"),
        (&["import", "dhcpd", "--leases", &none, "--report", "null"], "a device"),
        (&["export", "kea", "--leases", "null"], "a device"),
        (&["snapshot", "save", "null"], "a device"),
        (&["debug", "bundle", "--out", "null"], "exists"),
    ] {
        let output = dir.run(&url, arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty(), "{arguments:?} did nothing to tell of");
        assert!(error.contains(told), "{arguments:?}: {error}");
    }
    assert!(node.0.lock().expect("whole").asked.is_empty());
    assert_eq!(dir.names(), ["dhcp6.csv", "none.leases", "null"], "nothing is left lying about");
    // That there is no lease yet is no mistake.
    let output = dir.run(&url, &["import", "dhcpd", "--leases", &none]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.ends_with("There is no lease in it that still counts. Nothing was changed.\n"),
        "{text}"
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_report_that_cannot_be_written_down_is_told_all_the_same() {
    let (dir, now) = (Dir::new("report"), now());
    dir.file("dhcpd.leases", &dhcpd_leases(now));
    dir.file("report.json", "an old one");
    let arguments = ["import", "dhcpd", "--leases", "dhcpd.leases", "--report", "report.json"];
    let node = played(now);
    let told = dir.run_cramped(&node.serve(), &arguments);
    golden("table.txt", &String::from_utf8_lossy(&told.stdout));
    let error = String::from_utf8_lossy(&told.stderr);
    assert!(error.contains("report.json: File too large"), "{error}");
    assert_eq!(told.status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(dir.0.join("report.json")).expect("it stays"), "an old one");
    assert_eq!(dir.names(), ["dhcpd.leases", "report.json"], "nothing is left lying about");

    let told = dir.run_cramped(&played(now).serve(), &[&arguments[..], &["-o", "json"]].concat());
    let one: Value = serde_json::from_slice(&told.stdout).expect("one JSON value");
    assert_eq!(one["kind"], "usage");
    let report: Value = serde_json::from_slice(&told.stderr).expect("the report");
    assert_eq!(report["leases"]["added"], 1, "{report}");

    // A file that everybody may read does not stay so.
    let path = dir.0.join("report.json");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).expect("it is ours");
    dir.run(&played(now).serve(), &arguments);
    let text = std::fs::read_to_string(&path).expect("a report");
    assert!(text.contains("\"added\": 1"), "{text}");
    assert_eq!(std::fs::metadata(&path).expect("a report").permissions().mode() & 0o777, 0o600);
}

#[test]
fn an_import_sits_out_a_change_of_leader_and_a_kea_means_what_it_says() {
    let (dir, now) = (Dir::new("leaderless"), now());
    let text = dhcpd_leases(now);
    dir.file("dhcpd.leases", text.split("lease 10.7.1.2").next().expect("the first"));
    let node = Node::default();
    node.0.lock().expect("whole").leaderless = 2;
    let url = node.serve();
    let done = dir.run(&url, &["import", "dhcpd", "--leases", "dhcpd.leases"]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(node.lease("10.7.1.1")["hostname"], "desk-1");
    let asked = node.asked("lease4-get-page");
    node.0.lock().expect("whole").leaderless = 2;
    let refused = dir.run(&url, &["import", "kea", "--from", &url]);
    assert_eq!((refused.status.code(), node.asked("lease4-get-page")), (Some(1), asked + 1));
}

#[test]
fn an_export_is_whole_or_not_there() {
    let dir = Dir::new("export");
    let mut desk = lease("10.7.1.1", "02:00:00:00:00:01", 1_000_000);
    desk["hostname"] = "a,b".into();
    desk["client-id"] = "01:02".into();
    let node = Node::with(&[desk, lease("10.7.1.2", "02:00:00:00:00:02", 1_000_000)]);
    let url = node.serve();
    let arguments =
        ["export", "kea", "--config", "kea.conf", "--leases", "leases.csv", "--kea", "2.2"];

    node.0.lock().expect("whole").cut = true;
    let cut = dir.run(&url, &arguments);
    assert_eq!(cut.status.code(), Some(2), "{}", String::from_utf8_lossy(&cut.stdout));
    assert!(String::from_utf8_lossy(&cut.stderr).contains("not complete"));
    assert!(dir.names().is_empty(), "nothing is left lying about");

    node.0.lock().expect("whole").cut = false;
    let done = dir.run(&url, &arguments);
    golden("export.txt", &String::from_utf8_lossy(&done.stdout));
    assert_eq!(done.status.code(), Some(0));
    let text = |name: &str| std::fs::read_to_string(dir.0.join(name)).expect("a file");
    golden("export.csv", &text("leases.csv"));
    golden("export.conf", &text("kea.conf"));
    for name in ["leases.csv", "kea.conf"] {
        let mode = std::fs::metadata(dir.0.join(name)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let json = dir.run(&url, &[&arguments[..], &["-o", "json"]].concat());
    let value: Value = serde_json::from_slice(&json.stdout).expect("one JSON value");
    assert_eq!(value["lease-count"], 2);

    // Where its own output goes no file takes the place.
    std::os::unix::fs::symlink("/proc/self/fd/1", dir.0.join("out")).expect("a link");
    let said = dir.0.join("said");
    for name in ["out", "said"] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_cluster-ctl"));
        let file = std::fs::File::create(&said).expect("a file");
        let output = dir
            .prepare(&mut program, &url, &["export", "kea", "--leases", name])
            .stdout(file)
            .output()
            .expect("the program starts");
        assert_eq!(output.status.code(), Some(2), "{name}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("Name a file"), "{error}");
        assert!(std::fs::read(&said).expect("it stays").is_empty());
    }
    assert_eq!(value["left-out"].as_array().map(Vec::len), Some(1), "{value}");
}
