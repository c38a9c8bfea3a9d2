//! What an operator sees of backups, of the recovery from a lost majority and of the comparison of all nodes: golden
//! files in `golden/`, for tables and JSON. `UPDATE_GOLDEN=1` writes them; read the diff.
//!
//! The files that the commands work on are real ones, made here. Where a run differs from the next (a directory, a
//! port, a number that is drawn, the size of a compressed file) the test knows what must stand there, and puts a
//! name in its place.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use leasehold::clock::{Clock, SystemClock};
use leasehold::raft::backup::Backup;
use leasehold::raft::rescue::{Position, Survivor};
use leasehold::raft::{Founding, found};
use leasehold::state::command::{PutMode, WallOffset};
use leasehold::state::{self, Batch, LeaseState, PutLease, SetConfig, State};
use leasehold::storage::{Base, Body, DiskLog, Entry, IdentityFile, Log, LogId, LogSettings};
use leasehold::types::{ClusterTime, HwAddr, Lifetime, NodeId, SubnetId};
use leasehold_proto::raft as proto;
use prost::Message;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// When the backup was taken, Unix milliseconds: 2025-06-15 15:06:40 UTC. That is long ago.
const SAVED: i64 = 1_750_000_000_000;
/// The cluster that all this is about.
const OLD: u64 = 0xc0ff_ee00_c0ff_ee00;
const NEW: &str = "00000000deadbeef";
const CONFIG: &str = r#"{"Dhcp4": {"valid-lifetime": 3600, "subnet4": [
    {"id": 1, "subnet": "192.0.2.0/24", "pools": [{"pool": "192.0.2.10 - 192.0.2.99"}]},
    {"id": 7, "subnet": "198.51.100.0/24"}]}}"#;

/// A machine with a configuration and some leases, an hour old.
fn machine() -> State {
    let lease = |address: [u8; 4], subnet, state| {
        state::Command::PutLease(PutLease {
            mode: PutMode::Add,
            address: Ipv4Addr::from(address),
            subnet: SubnetId(subnet),
            hw: HwAddr::ethernet([2, 0, 0, 0, 0, address[3]]),
            client_id: None,
            lifetime: Lifetime::from_secs(3600),
            expire: None,
            hostname: String::new(),
            fqdn_fwd: false,
            fqdn_rev: false,
            state,
            user_context: String::new(),
        })
    };
    let commands = vec![
        state::Command::SetConfig(SetConfig::json(CONFIG)),
        state::Command::SetWallOffset(WallOffset(SAVED - 3_600_000)),
        lease([192, 0, 2, 10], 1, LeaseState::Assigned),
        lease([192, 0, 2, 11], 1, LeaseState::Assigned),
        lease([192, 0, 2, 12], 1, LeaseState::Declined),
        lease([192, 0, 2, 13], 1, LeaseState::Released),
        lease([198, 51, 100, 1], 7, LeaseState::Assigned),
    ];
    let mut state = State::new();
    state.apply(40, &Batch { stamp: ClusterTime::from_millis(3_600_000), commands });
    assert_eq!(state.view().lease_count(), 5);
    state
}

const AT: LogId = LogId { term: 4, node: 1, index: 40 };

/// Three voters.
fn voters() -> proto::Membership {
    let member = |node: u64| proto::Member {
        node,
        address: format!("192.0.2.1{node}:7701"),
        instance: node,
        ..proto::Member::default()
    };
    proto::Membership {
        configs: vec![proto::Voters { nodes: vec![1, 2, 3] }],
        members: (1..=3).map(member).collect(),
    }
}

/// A backup that node 2 wrote.
fn backup(dir: &Path) -> PathBuf {
    let membership =
        proto::StoredMembership { log_id: Some(AT.into()), membership: Some(voters()) };
    let base = Base { applied: Some(AT), membership };
    let file = dir.join("today.lhb");
    let out = std::fs::File::create(&file).expect("a file");
    let backup = Backup::of(machine().freeze(), base, OLD, NodeId(2), SAVED);
    backup.write(out).expect("written");
    file
}

/// What the stopped node 2 of three has on its disk: an image of the machine, and a log that goes on behind it.
fn survivor(dir: &Path) -> PathBuf {
    let data = dir.join("survivor");
    let founding = Founding {
        state: machine(),
        position: AT,
        term: 5,
        above: NodeId(1),
        address: "192.0.2.12:7701".into(),
        cluster: Some(OLD),
    };
    found(&data, founding).expect("a directory");
    let log = DiskLog::open(&data.join("log"), LogSettings::default(), Arc::new(|_, _| {}));
    let log = log.expect("a log");
    let entry = |index, body| Entry { id: LogId { term: 5, node: 1, index }, body };
    let ended = Batch {
        stamp: ClusterTime::from_millis(3_660_000),
        commands: vec![state::Command::DeleteLease(state::DeleteLease {
            address: Ipv4Addr::new(192, 0, 2, 13),
            seen: None,
        })],
    };
    let entries = vec![
        entry(41, Body::Membership(voters().encode_to_vec().into())),
        entry(42, Body::Batch(state::wire::encode_batch(&ended))),
    ];
    let (sent, received) = std::sync::mpsc::channel();
    log.append(entries, Box::new(move |done| sent.send(done).expect("somebody waits")))
        .expect("they follow");
    received.recv().expect("an answer").expect("durable");
    data
}

/// What `recover inspect -o json` printed on another machine, of node `node`.
fn report(dir: &Path, node: u64, index: u64) -> PathBuf {
    let survivor = Survivor {
        data_dir: "/var/lib/leasehold".into(),
        cluster: format!("{OLD:016x}"),
        node,
        instance: format!("{node:016x}"),
        term: 5,
        last: Position { term: 5, node: 1, index },
        committed: Some(Position { term: 5, node: 1, index: index - 1 }),
        voters: vec![1, 2, 3, 4, 5],
        voter_sets: vec![vec![1, 2, 3, 4, 5]],
        leases: 5,
        config_version: 1,
        time: SAVED / 1000 + index as i64,
    };
    let file = dir.join(format!("rack-{node}.json"));
    std::fs::write(&file, serde_json::to_string(&survivor).expect("JSON")).expect("written");
    file
}

/// A node that gives the same answer for ever.
fn node(kind: &'static str, answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let lines = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                answer.len()
            );
            let _ = stream.write_all(&[lines.as_bytes(), &answer].concat());
        }
    });
    url
}

fn answers(reply: Value) -> String {
    node("application/json", json!([reply]).to_string().into_bytes())
}

/// Runs the program where nothing but `--node` could help it to a node.
fn run(node: Option<&str>, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cluster-ctl"));
    for name in ["NODE", "USER", "PASSWORD", "PASSWORD_FILE", "CACERT"] {
        command.env_remove(format!("LEASEHOLD_{name}"));
    }
    if let Some(node) = node {
        command.args(["--node", node]);
    }
    command.args(arguments).output().expect("the program starts")
}

/// What stands in a text, and the name that a golden file has for it.
type Names<'a> = &'a [(String, &'a str)];

/// What is printed, and the exit status.
fn shown(node: Option<&str>, arguments: &[&str]) -> String {
    let output = run(node, arguments);
    format!(
        "$ cluster-ctl {}\n{}{}exit status {}\n",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        output.status.code().expect("it exits"),
    )
}

/// Holds what was shown against a golden file.
fn compare(name: &str, mut shown: String, names: Names<'_>) {
    for (text, name) in names {
        shown = shown.replace(text, name);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &shown).expect("written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(shown, expected, "{name}");
}

/// A command, with and without `-o json`.
fn compare_both(name: &str, node: Option<&str>, arguments: &[&str], names: Names<'_>) {
    compare(&format!("{name}.txt"), shown(node, arguments), names);
    let arguments = [arguments, &["-o", "json"]].concat();
    compare(&format!("{name}.json.txt"), shown(node, &arguments), names);
}

/// A directory, and what it is called in golden files.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn text(&self, name: &str) -> String {
        self.path().join(name).display().to_string()
    }

    fn name(&self) -> (String, &'static str) {
        (self.path().display().to_string(), "DIR")
    }
}

fn version(before: &str, after: &str) -> (String, &'static str) {
    let name = match before {
        "program " => "program VERSION",
        _ => r#""program":"VERSION""#,
    };
    (format!("{before}{}{after}", leasehold::VERSION), name)
}

/// The version of the program that wrote the backup, as tables and JSON have it.
fn versions() -> [(String, &'static str); 2] {
    [version("program ", ""), version(r#""program":""#, r#"""#)]
}

/// How old the backup can be found to be, by a clock that says `before` and then `after`.
fn ages(before: i64, after: i64) -> Vec<(String, &'static str)> {
    let seconds = (before - SAVED) / 1000..=(after - SAVED) / 1000;
    let both = seconds.flat_map(|age| {
        let json = (format!(r#""backup-age":{age},"#), r#""backup-age":AGE,"#);
        [(format!(", {age} s ago."), ", AGE s ago."), json]
    });
    both.collect()
}

#[test]
fn a_backup_is_saved_shown_and_judged() {
    let place = Place::new();
    let file = backup(place.path());
    let bytes = std::fs::read(&file).expect("it is there");
    let url = node("application/octet-stream", bytes.clone());
    let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let size = bytes.len();
    let [table, json] = versions();
    let names = [
        place.name(),
        table,
        json,
        (hash, "SHA256"),
        (format!(", {size} bytes."), ", SIZE bytes."),
        (format!(r#""bytes":{size},"#), r#""bytes":SIZE,"#),
        (url.clone(), "http://NODE"),
    ];
    let saved = place.text("saved.lhb");
    compare_both("snapshot-save", Some(&url), &["snapshot", "save", &saved], &names);
    assert_eq!(std::fs::read(&saved).expect("it is there"), bytes);
    let file = file.display().to_string();
    compare_both("snapshot-inspect", None, &["snapshot", "inspect", &file], &names);
    compare_both("snapshot-verify", None, &["snapshot", "verify", &file], &names);

    let cut = place.text("cut.lhb");
    std::fs::write(&cut, &bytes[..size - 1]).expect("written");
    compare_both("snapshot-verify-cut", None, &["snapshot", "verify", &cut], &names);
    let mut other = bytes.clone();
    other[size / 2] ^= 1;
    let flipped = place.text("flipped.lhb");
    std::fs::write(&flipped, &other).expect("written");
    compare_both("snapshot-verify-flipped", None, &["snapshot", "verify", &flipped], &names);

    // An answer that breaks off leaves what was there.
    let url = node("application/octet-stream", bytes[..size - 1].to_vec());
    let names = [place.name(), (url.clone(), "http://NODE")];
    compare_both("snapshot-save-cut", Some(&url), &["snapshot", "save", &saved], &names);
    assert_eq!(std::fs::read(&saved).expect("it is there"), bytes);
    let left = std::fs::read_dir(place.path()).expect("it is there").count();
    assert_eq!(left, 4, "nothing half-made is left");
}

/// Makes two directories with `arguments`, to which the directory is added as `option`, and compares what is said of
/// the one in a table and of the other in JSON, and what is said when one of them is to be made once more.
fn compare_made(name: &str, place: &Place, arguments: &[&str], option: &str, names: Names<'_>) {
    for (made, file, json) in [
        ("made", format!("{name}.txt"), &[][..]),
        ("made-too", format!("{name}.json.txt"), &["-o", "json"][..]),
    ] {
        let made = place.text(made);
        let before = SystemClock.wall();
        let shown = shown(None, &[arguments, &[option, &made], json].concat());
        let names = [names, &ages(before, SystemClock.wall())].concat();
        compare(&file, shown, &names);
        let identity = IdentityFile::at(Path::new(&made)).read().expect("readable");
        let seat = identity.and_then(|identity| identity.seat).expect("a member");
        assert_eq!((format!("{:016x}", seat.cluster), seat.node), (NEW.to_owned(), NodeId(4)));
    }
    let made = place.text("made");
    compare_both(&format!("{name}-again"), None, &[arguments, &[option, &made]].concat(), names);
}

#[test]
fn a_new_cluster_is_made_from_a_backup_and_never_over_another() {
    let place = Place::new();
    let file = backup(place.path()).display().to_string();
    let fixed =
        ["snapshot", "restore", &file, "--advertise", "192.0.2.11:7701", "--cluster-id", NEW];
    let [table, json] = versions();
    let names = [place.name(), table, json];
    compare_made("snapshot-restore", &place, &fixed, "--data-dir", &names);
    let dir = place.text("none");
    let no_hold = [&fixed[..], &["--data-dir", &dir, "--no-hold"]].concat();
    let output = run(None, &no_hold);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && text.contains("--yes"), "{text}");
    let id = format!("{OLD:016x}");
    let same = ["snapshot", "restore", &file, "--advertise", "192.0.2.11:7701"];
    let same = [&same[..], &["--cluster-id", &id, "--data-dir", &dir]].concat();
    compare_both("snapshot-restore-same-id", None, &same, &[place.name()]);
    assert!(!Path::new(&dir).exists(), "nothing was made");
}

#[test]
fn survivors_are_shown_compared_and_made_into_a_new_cluster() {
    let place = Place::new();
    let data = survivor(place.path());
    let identity = IdentityFile::at(&data).read().expect("readable").expect("there");
    let instance = (format!("{:016x}", identity.instance), "INSTANCE");
    let names = [place.name(), instance];
    let data = data.display().to_string();
    compare_both("recover-inspect", None, &["recover", "inspect", "--data-dir", &data], &names);
    compare_both("recover-plan", None, &["recover", "plan", "--data-dir", &data], &names);
    // Two of five, told by other machines; and three, which are a majority.
    let [b, c, d] = [(2, 50), (3, 48), (4, 50)]
        .map(|(node, index)| report(place.path(), node, index).display().to_string());
    let two = ["recover", "plan", "--report", &c, "--report", &b];
    compare_both("recover-plan-reports", None, &two, &names);
    let three = [&two[..], &["--report", &d]].concat();
    compare_both("recover-plan-majority", None, &three, &names);
    let twice = ["recover", "plan", "--data-dir", &data, "--report", &b];
    compare_both("recover-plan-twice", None, &twice, &names);
    compare_both("recover-plan-nobody", None, &["recover", "plan"], &names);

    let into = place.text("made");
    let apply = ["recover", "apply", "--data-dir", &data, "--advertise", "192.0.2.12:7701"];
    let unsure = [&apply[..], &["--into", &into]].concat();
    compare_both("recover-apply-without-yes", None, &unsure, &names);
    let bold = [&unsure[..], &["--no-hold"]].concat();
    compare("recover-apply-no-hold-without-yes.txt", shown(None, &bold), &names);
    assert!(!Path::new(&into).exists(), "nothing was done");
    let sure = [&apply[..], &["--cluster-id", NEW, "--yes"]].concat();
    compare_made("recover-apply", &place, &sure, "--into", &names);
    // It is as it was.
    compare_both("recover-inspect", None, &["recover", "inspect", "--data-dir", &data], &names);
}

#[test]
fn what_a_cluster_holds_back_and_whether_its_nodes_agree() {
    let text = "This cluster was made from a backup of cluster c0ffee00c0ffee00 as of 2025-06-15 15:06:40 UTC: until \
                2025-06-15 17:07:16 UTC, addresses that it does not know as leased go to clients that claim them, and \
                to others only after a ping check found nobody.";
    let recovery = json!({ "source": "backup", "cluster": "c0ffee00c0ffee00", "index": 40,
        "copied": 1_750_000_000, "since": 1_750_003_600, "until": 1_750_007_236, "holding": true,
        "longest-lifetime": 3600 });
    let holding = answers(json!({ "result": 0, "text": text, "arguments": recovery }));
    compare_both("recover-status", Some(&holding), &["recover", "status"], &[]);
    let text =
        "This cluster was not made from a backup, nor after a lost majority, or without a hold.";
    let usual = answers(json!({ "result": 3, "text": text }));
    compare_both("recover-status-none", Some(&usual), &["recover", "status"], &[]);

    let node = |id: u64, digest: Option<&str>, answers: bool| json!({ "id": id, "digest": digest, "answers": answers });
    let (one, other) = (Some("00c0ffee00c0ffee"), Some("0badc0de0badc0de"));
    let same = json!({ "index": 5, "same": true, "odd": [],
        "nodes": [node(1, one, true), node(2, one, true), node(3, None, false)] });
    let text = "2 of 3 node(s) have the same state at index 5.";
    let same = answers(json!({ "result": 0, "text": text, "arguments": same }));
    compare_both("hash-check", Some(&same), &["hash-check"], &[]);
    let differs = json!({ "index": 5, "same": false, "odd": [2],
        "nodes": [node(1, one, true), node(2, other, true), node(3, one, true)] });
    let text = "The state of node 2 differs from that of the others at index 5: keep its data directory for whoever \
                looks into it, remove it (cluster-ctl node remove) and let it join as a new node.";
    let differs = answers(json!({ "result": 1, "text": text, "arguments": differs }));
    compare_both("hash-check-differs", Some(&differs), &["hash-check"], &[]);
}

#[test]
fn what_works_on_files_needs_no_node_and_no_password() {
    let place = Place::new();
    let (file, data) = (backup(place.path()), survivor(place.path()));
    let (file, data) = (file.display().to_string(), data.display().to_string());
    let (one, two) = (place.text("one"), place.text("two"));
    let at = ["--advertise", "192.0.2.12:7701"];
    for command in [
        &["snapshot", "inspect", &file][..],
        &["snapshot", "verify", &file],
        &[&["snapshot", "restore", &file, "--data-dir", &one], &at[..]].concat(),
        &["recover", "inspect", "--data-dir", &data],
        &["recover", "plan", "--data-dir", &data],
        &[&["recover", "apply", "--data-dir", &data, "--into", &two, "--yes"], &at[..]].concat(),
    ] {
        // None of these options could be used.
        let bad = ["--node", "ftp://nowhere", "--cacert", "/no/such/file", "--user", "nobody"];
        let output = run(None, &[command, &bad].concat());
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{command:?}: {text}");
    }
}
