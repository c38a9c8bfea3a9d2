//! There and back: from a real Kea into a cluster of one, and from the cluster into a fresh Kea.
//!
//! The sequence is that of `docs/coming-from-kea.md`: a first import while Kea runs, a second one of its files
//! after it has stopped. Kea 2.2 is what Debian has; `ORACLE_KEA=3` takes 3.0.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use chaos_tests::floor::netns::cleanup::WorkDir;
use chaos_tests::floor::netns::process::Process;
use chaos_tests::floor::netns::sys::Signal;
use chaos_tests::floor::netns::topology::Namespace;
use chaos_tests::kea::Version;
use chaos_tests::kea::control::ask;
use chaos_tests::kea::server::{HOOKS, Kind, Server};
use chaos_tests::shell::{self, Outcome};
use chaos_tests::{clock, gate};
use serde_json::{Value, json};

const LEASES: &str = "leases.csv";
const SOCKET: &str = "socket";

/// Kea's configuration; the parts that belong to our own words and to secrets come later, at the cluster.
fn dhcp4(inside: &Path, version: Version) -> Value {
    let socket = json!({ "socket-type": "unix", "socket-name": inside.join(SOCKET) });
    let output = if version == Version::V2 { "output_options" } else { "output-options" };
    let mut map = json!({
        "interfaces-config": { "interfaces": ["eth0"] },
        "hooks-libraries": [{ "library": format!("{HOOKS}/libdhcp_lease_cmds.so") }],
        "lease-database": {
            "type": "memfile", "persist": true, "name": inside.join(LEASES), "lfc-interval": 1,
        },
        "loggers": [{ "name": "kea-dhcp4", "severity": "WARN", output: [{ "output": "stdout" }] }],
        "valid-lifetime": 7200,
        "option-data": [{ "name": "domain-name", "data": "example.org" }],
        "subnet4": [{
            "id": 10, "subnet": "192.0.2.0/24", "pools": [{ "pool": "192.0.2.100 - 192.0.2.200" }],
            "option-data": [{ "name": "routers", "data": "192.0.2.1" }],
            "reservations": [{ "hw-address": "02:00:00:00:00:99", "ip-address": "192.0.2.20" }],
        }],
        "shared-networks": [{
            "name": "floor",
            "subnet4": [
                { "id": 20, "subnet": "198.51.100.0/24", "pools": [{ "pool": "198.51.100.10 - 198.51.100.99" }] },
                { "id": 30, "subnet": "203.0.113.0/24", "pools": [{ "pool": "203.0.113.10 - 203.0.113.99" }] },
            ],
        }],
    });
    match version {
        Version::V2 => map["control-socket"] = socket,
        Version::V3 => map["control-sockets"] = json!([socket]),
    }
    map
}

/// A Kea whose control socket answers. Its lease file has `leases` in it from the beginning.
fn kea(
    kind: &Kind,
    namespace: &Namespace,
    dir: &Path,
    dhcp4: impl FnOnce(&Path) -> Value,
) -> Result<Server> {
    let mut server = Server::launch(kind, namespace, dir, dhcp4)?;
    let socket = server.dir().join(SOCKET);
    clock::wait_for("Kea", 10_000, || {
        let answers = ask(&socket, r#"{ "command": "config-get" }"#).is_ok();
        (answers || !server.process.runs()).then_some(())
    })?;
    ensure!(server.process.runs(), "Kea ended:\n{}", server.process.tail());
    Ok(server)
}

fn command(server: &Server, name: &str, arguments: &Value) -> Result<Value> {
    let request = json!({ "command": name, "arguments": arguments }).to_string();
    let answer = ask(&server.dir().join(SOCKET), &request)?;
    ensure!(answer["result"] == 0 || answer["result"] == 3, "{request}: {answer}");
    Ok(answer)
}

/// Leases by address, as `lease4-get-all` has them.
fn by_address(answer: &Value) -> BTreeMap<String, Value> {
    let leases = answer["arguments"]["leases"].as_array().into_iter().flatten();
    let key = |lease: &Value| lease["ip-address"].as_str().unwrap_or_default().to_owned();
    leases.map(|lease| (key(lease), lease.clone())).collect()
}

fn leases_of_kea(server: &Server) -> Result<BTreeMap<String, Value>> {
    Ok(by_address(&ask(&server.dir().join(SOCKET), r#"{ "command": "lease4-get-all" }"#)?))
}

/// A node alone, without any configuration.
struct Node<'a> {
    namespace: &'a Namespace,
    dir: PathBuf,
    _process: Process,
}

impl Node<'_> {
    fn start<'a>(namespace: &'a Namespace, dir: &Path) -> Result<Node<'a>> {
        std::fs::create_dir_all(dir)?;
        let at = dir.display();
        let settings = format!(
            "name = \"node\"\ndata-dir = \"{at}/data\"\n\
             [peer]\nlisten = \"127.0.0.1:7701\"\nadvertise = \"127.0.0.1:7701\"\n\
             [control]\nlisten = [\"127.0.0.1:8000\"]\nsocket = \"{at}/control\"\n\
             [dhcp4]\ninterfaces = [\"eth0\"]\n[cluster]\ninitial = [\"127.0.0.1:7701\"]\n"
        );
        let file = dir.join("node.toml");
        std::fs::write(&file, settings)?;
        let mut run = namespace.command(gate::binary("leasehold", "LEASEHOLD_BIN")?);
        run.args(["run", "--settings"]).arg(&file);
        let process = Process::start(&mut run, &dir.join("log"))?;
        let node = Node { namespace, dir: dir.to_owned(), _process: process };
        clock::wait_for("a leader", 15_000, || {
            (node.ctl(&["status"]).ok()?.code == Some(0)).then_some(())
        })?;
        Ok(node)
    }

    fn ctl(&self, args: &[&str]) -> Result<Outcome> {
        let mut command = self.namespace.command(gate::binary("cluster-ctl", "CLUSTER_CTL_BIN")?);
        command.args(["--node", "http://127.0.0.1:8000"]).args(args);
        shell::run_any(&mut command, 60_000)
    }

    /// `cluster-ctl import kea … -o json`, its exit status held against `code`.
    fn import(&self, args: &[&str], code: i32) -> Result<Value> {
        let outcome = self.ctl(&[&["import", "kea", "-o", "json"], args].concat())?;
        ensure!(outcome.code == Some(code), "import {args:?}: {outcome:?}");
        serde_json::from_str(&outcome.stdout).with_context(|| format!("{outcome:?}"))
    }

    fn ask(&self, name: &str, arguments: &Value) -> Result<Value> {
        let request = json!({ "command": name, "arguments": arguments }).to_string();
        let answer = ask(&self.dir.join("control"), &request)?;
        ensure!(answer["result"] == 0 || answer["result"] == 3, "{request}: {answer}");
        Ok(answer)
    }

    fn leases(&self) -> Result<BTreeMap<String, Value>> {
        Ok(by_address(&ask(&self.dir.join("control"), r#"{ "command": "lease4-get-all" }"#)?))
    }

    fn version(&self) -> Result<Value> {
        Ok(self.ask("config-history", &json!({}))?["arguments"]["current"].clone())
    }
}

/// What a lease is, whoever has it; the beginning of an endless one is not kept.
fn essence(lease: &Value) -> Value {
    let mut lease = lease.clone();
    if let Some(map) = lease.as_object_mut() {
        map.remove("pool-id");
        if map.get("valid-lft") == Some(&json!(u32::MAX)) {
            map.remove("cltt");
        }
    }
    lease
}

fn same_leases(
    what: &str,
    expected: &BTreeMap<String, Value>,
    got: &BTreeMap<String, Value>,
) -> Result<()> {
    let addresses = |leases: &BTreeMap<String, Value>| leases.keys().cloned().collect::<Vec<_>>();
    ensure!(
        addresses(expected) == addresses(got),
        "{what}: {:?} {:?}",
        addresses(expected),
        addresses(got)
    );
    for (address, lease) in expected {
        let (expected, got) = (essence(lease), essence(&got[address]));
        ensure!(expected == got, "{what}: {address}\n  {expected}\n  {got}");
    }
    Ok(())
}

/// Gives Kea leases of every kind. `now`: Unix seconds.
fn give(server: &Server, now: i64) -> Result<()> {
    let lease = |last: u8, more: Value| {
        let mut lease = json!({
            "ip-address": format!("192.0.2.{last}"), "hw-address": format!("02:00:00:00:01:{last:02x}"),
        });
        if let (Some(all), Some(more)) = (lease.as_object_mut(), more.as_object()) {
            all.extend(more.clone());
        }
        lease
    };
    for last in 110..170 {
        command(
            server,
            "lease4-add",
            &lease(last, json!({ "expire": now + 3000, "valid-lft": 3600 })),
        )?;
    }
    let everything = json!({
        "client-id": "01:02:00:00:00:01:64", "hostname": "Desk,7&x.example.org", "fqdn-fwd": true,
        "fqdn-rev": true, "user-context": { "a": "x,y", "b": [1, 2] },
    });
    for lease in [
        lease(100, everything),
        lease(101, json!({ "valid-lft": u32::MAX })),
        lease(102, json!({ "state": 1, "expire": now + 80_000, "valid-lft": 86_400 })),
        lease(103, json!({ "valid-lft": 3600, "expire": now - 5000, "state": 2 })),
        lease(104, json!({})),
        json!({ "ip-address": "198.51.100.10", "hw-address": "02:00:00:00:02:01", "subnet-id": 20 }),
        // Outside of every pool, as a reservation's.
        lease(20, json!({ "client-id": "ff:00:00:00:01:00:03:00:01:02:00:00:00:00:01" })),
    ] {
        command(server, "lease4-add", &lease)?;
    }
    command(server, "lease4-del", &json!({ "ip-address": "192.0.2.104" }))?;
    Ok(())
}

/// As far as clients are owed anything: what ended is not taken along.
fn held(leases: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let holds = |lease: &Value| lease["state"] == 0 || lease["state"] == 1;
    leases
        .iter()
        .filter(|(_, lease)| holds(lease))
        .map(|(key, lease)| (key.clone(), lease.clone()))
        .collect()
}

#[test]
fn a_kea_moves_in_and_out_again() -> Result<()> {
    let test = "kea_import";
    let kind = match Kind::kea() {
        Ok(kind) => kind,
        Err(reason) => {
            gate::skip(test, &reason);
            return Ok(());
        }
    };
    let Kind::Kea { version, .. } = kind else { return Ok(()) };
    let Some(_gate) = gate::enter(test, &[])? else { return Ok(()) };
    let mut work = WorkDir::create(test)?;
    let namespace = Namespace::create("imp")?;
    namespace.ip(&["link", "add", "eth0", "type", "veth", "peer", "name", "far"])?;
    namespace.ip(&["link", "set", "far", "up"])?;
    namespace.ip(&["addr", "add", "192.0.2.2/24", "dev", "eth0"])?;
    namespace.ip(&["link", "set", "eth0", "up"])?;
    let node = Node::start(&namespace, &work.path().join("node"))?;

    let now = i64::try_from(clock::wall_ms() / 1000)?;
    let mut first = kea(&kind, &namespace, work.path(), |inside| dhcp4(inside, version))?;
    give(&first, now)?;
    let config = first.dir().join("dhcp4.json").display().to_string();
    let socket = format!("unix:{}", first.dir().join(SOCKET).display());

    // A look first: nothing changes.
    let looked = node.import(&["--config", &config, "--from", &socket, "--dry-run"], 0)?;
    ensure!(looked["leases"]["added"] == 65 && looked["leases"]["over"] == 1, "{looked}");
    ensure!(looked["dry-run"] == true && node.leases()?.is_empty(), "{looked}");
    ensure!(ask(&node.dir.join("control"), r#"{"command":"config-get"}"#)?["result"] == 1);

    // The first import, while Kea goes on: from the running server.
    let taken = node.import(&["--config", &config, "--from", &socket], 0)?;
    ensure!(taken["leases"]["added"] == 65 && taken["leases"]["refused"] == 0, "{taken}");
    ensure!(taken["configuration"]["unchanged"] == false, "{taken}");
    // Kea is on the same machine and has the port. That is told, and the leases come all the same.
    ensure!(taken["configuration"]["warnings"].to_string().contains("in use"), "{taken}");
    same_leases("after the first import", &held(&leases_of_kea(&first)?), &node.leases()?)?;

    // Its cleaning up has left another file by now; clients renew, come and go.
    let rotated = first.dir().join(format!("{LEASES}.2"));
    clock::wait_for("Kea's cleaning up", 10_000, || rotated.is_file().then_some(()))?;
    let renewed = json!({
        "ip-address": "192.0.2.111", "hw-address": "02:00:00:00:01:6f", "expire": now + 4000, "valid-lft": 3600,
        "hostname": "renewed",
    });
    command(&first, "lease4-update", &renewed)?;
    let new =
        json!({ "ip-address": "203.0.113.10", "hw-address": "02:00:00:00:03:01", "subnet-id": 30 });
    command(&first, "lease4-add", &new)?;
    let last = leases_of_kea(&first)?;
    first.process.signal(Signal::Term)?;
    first.process.wait(10_000)?;

    // The node takes the port as soon as it is free.
    clock::wait_for("the node's sockets", 20_000, || {
        let status = node.ctl(&["status"]).ok()?;
        (!status.stdout.contains("in use")).then_some(())
    })?;

    // The second import, from the files: only what changed since.
    let files = first.dir().join(LEASES).display().to_string();
    let taken = node.import(&["--config", &config, "--leases", &files], 0)?;
    let counts = &taken["leases"];
    ensure!(counts["added"] == 1 && counts["replaced"] == 1 && counts["same"] == 64, "{taken}");
    ensure!(taken["configuration"]["unchanged"] == true, "{taken}");
    ensure!(taken["sources"].as_array().map_or(0, Vec::len) >= 2, "no rotation was read: {taken}");
    same_leases("after the second import", &held(&last), &node.leases()?)?;
    let in_force = node.version()?;
    let again = node.ctl(&["import", "kea", "--config", &config, "--leases", &files])?;
    ensure!(again.code == Some(0) && again.stdout.contains("Nothing was changed."), "{again:?}");
    ensure!(node.version()? == in_force, "an import that changes nothing makes no version");

    others_are_not_overwritten(&node, &files)?;
    same_leases("after the conflict", &held(&last), &node.leases()?)?;

    let exported = exported(&node, work.path(), version)?;
    let mut second = kea(&kind, &namespace, work.path(), |inside| {
        // Where the configuration says. The directory of the first one is this one's, too.
        let dir = match &kind {
            Kind::Kea { root: Some(root), .. } => {
                root.join(inside.strip_prefix("/").unwrap_or(inside))
            }
            _ => inside.to_owned(),
        };
        let copied = std::fs::copy(&exported.leases, dir.join(LEASES));
        assert!(copied.is_ok(), "{copied:?}");
        exported.dhcp4.clone()
    })?;
    same_leases("a fresh Kea", &node.leases()?, &leases_of_kea(&second)?)?;
    second.process.signal(Signal::Term)?;
    second.process.wait(10_000)?;
    work.passed();
    Ok(())
}

/// A lease that the cluster gave meanwhile stays, and is told; only who insists overwrites it.
fn others_are_not_overwritten(node: &Node<'_>, files: &str) -> Result<()> {
    let address = json!({ "ip-address": "192.0.2.120" });
    let original = node.leases()?["192.0.2.120"].clone();
    node.ask("lease4-del", &address)?;
    let other = json!({ "ip-address": "192.0.2.120", "hw-address": "02:00:00:00:0f:01" });
    node.ask("lease4-add", &other)?;
    let given = node.leases()?["192.0.2.120"].clone();
    let refused = node.import(&["--leases", files], 1)?;
    ensure!(refused["leases"]["refused"] == 1 && refused["leases"]["added"] == 0, "{refused}");
    let line = &refused["refused"][0];
    ensure!(line["address"] == "192.0.2.120", "{refused}");
    ensure!(line["place"].as_str().is_some_and(|place| place.starts_with(files)), "{refused}");
    ensure!(
        line["text"].as_str().is_some_and(|text| text.contains("02:00:00:00:0f:01")),
        "{refused}"
    );
    ensure!(node.leases()?["192.0.2.120"] == given, "it stays");
    let hasty = node.ctl(&["import", "kea", "--leases", files, "--overwrite"])?;
    ensure!(hasty.code == Some(2) && hasty.stderr.contains("--yes"), "{hasty:?}");
    let forced = node.import(&["--leases", files, "--overwrite", "--yes"], 0)?;
    ensure!(forced["leases"]["replaced"] == 1, "{forced}");
    ensure!(essence(&node.leases()?["192.0.2.120"]) == essence(&original), "it is as Kea had it");
    Ok(())
}

struct Exported {
    dhcp4: Value,
    leases: PathBuf,
}

/// Exports after the configuration has got a word of our own.
fn exported(node: &Node<'_>, dir: &Path, version: Version) -> Result<Exported> {
    let own = json!({ "subnet4": [{
        "id": 10, "subnet": "192.0.2.0/24", "user-context": { "leasehold": { "grace": 7 }, "site": "x" },
    }] });
    node.ask("subnet4-delta-add", &own)?;
    let (config, leases) = (dir.join("exported.json"), dir.join("exported.csv"));
    let paths = (config.display().to_string(), leases.display().to_string());
    let args =
        ["export", "kea", "--kea", version.text(), "--config", &paths.0, "--leases", &paths.1];
    let outcome = node.ctl(&args)?;
    ensure!(outcome.code == Some(0) && outcome.stdout.contains("66 leases"), "{outcome:?}");
    let text = std::fs::read_to_string(&config)?;
    ensure!(!text.contains("grace") && text.contains("\"site\""), "{text}");
    if version == Version::V2 {
        let mut check = Command::new("kea-dhcp4");
        check.arg("-t").arg(&config).env("KEA_LOCKFILE_DIR", dir).env("KEA_PIDFILE_DIR", dir);
        shell::run(&mut check)?;
    }
    let mut document: Value = serde_json::from_str(&text)?;
    Ok(Exported { dhcp4: document["Dhcp4"].take(), leases })
}
