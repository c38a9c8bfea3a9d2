//! Certificates from `cluster-ctl pki`, a cluster that forms with them, operators who ask it over HTTPS, and what nobody must find in
//! what a node writes. On loopback, without root.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use chaos_tests::clock;
use chaos_tests::floor::netns::process::Process;
use chaos_tests::floor::netns::sys::Signal;
use chaos_tests::gate;
use chaos_tests::shell::{self, Outcome};
use serde_json::{Value, json};

/// What must never be seen: the password of a user of the node, and two of the cluster's configuration.
const SECRETS: [&str; 4] =
    ["Sesam-Oeffne-Dich", "kea-agent-pass-1", "tsig-like-c2VjcmV0", "wrong-guess-99"];

/// `cluster-ctl` with nothing of this process's environment that concerns it.
fn ctl() -> Result<Command> {
    let mut command = Command::new(gate::binary("cluster-ctl", "CLUSTER_CTL_BIN")?);
    for name in ["NODE", "USER", "PASSWORD", "PASSWORD_FILE", "CACERT"] {
        command.env_remove(format!("LEASEHOLD_{name}"));
    }
    Ok(command)
}

fn pki(args: &[&str]) -> Result<Outcome> {
    shell::run_any(ctl()?.arg("pki").args(args), 20_000)
}

fn well(outcome: Outcome) -> Result<String> {
    ensure!(outcome.code == Some(0), "{outcome:?}");
    Ok(outcome.stdout)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn mode(path: &Path) -> Result<u32> {
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o777)
}

/// A free port. Somebody else may take it before we do; on loopback nobody is in such a hurry.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// One node of the cluster.
struct Node {
    name: String,
    dir: PathBuf,
    api: SocketAddr,
    process: Process,
}

struct Cluster {
    dir: tempfile::TempDir,
    nodes: Vec<Node>,
}

impl Cluster {
    /// Three nodes with certificates of one authority, as an operator makes them.
    fn start() -> Result<Cluster> {
        let dir = tempfile::tempdir()?;
        let ca = dir.path().join("pki");
        well(pki(&["init", "--out", &text(&ca), "--cluster-name", "test"])?)?;
        well(pki(&["issue", "--ca", &text(&ca), "operator", "--client"])?)?;
        let ports: Vec<u16> = (0..7).map(|_| free_port()).collect::<Result<_>>()?;
        let initial: Vec<String> =
            ports[..3].iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
        let program = gate::binary("leasehold", "LEASEHOLD_BIN")?;
        let mut nodes = Vec::new();
        for (index, letter) in ["a", "b", "c"].into_iter().enumerate() {
            let (name, own) = (format!("node-{letter}"), dir.path().join(letter));
            let args = ["issue", "--ca", &text(&ca), &name, "--address", "127.0.0.1", "--out"];
            well(pki(&[&args[..], &[&text(&own)]].concat())?)?;
            let password = own.join("admin.password");
            std::fs::write(&password, format!("{}\n", SECRETS[0]))?;
            std::fs::set_permissions(&password, PermissionsExt::from_mode(0o600))?;
            std::fs::write(
                own.join("seed.json"),
                json!({ "Dhcp4": { "subnet4": [{ "id": 1, "subnet": "192.0.2.0/24" }] } })
                    .to_string(),
            )?;
            let (here, anchor, api) = (text(&own), text(&ca.join("ca.pem")), ports[3 + index]);
            let settings = format!(
                r#"name = "{name}"
data-dir = "{here}/data"
[peer]
listen = "127.0.0.1:{}"
trust-anchor = "{anchor}"
cert-file = "{here}/{name}.pem"
key-file = "{here}/{name}.key"
[control]
listen = []
socket = "{here}/control.sock"
[[control.listener]]
address = "127.0.0.1:{api}"
trust-anchor = "{anchor}"
cert-file = "{here}/{name}.pem"
key-file = "{here}/{name}.key"
[[control.users]]
user = "admin"
password-file = "{here}/admin.password"
[dhcp4]
interfaces = []
port = {}
[cluster]
initial = [{}]
config = "{here}/seed.json"
"#,
                ports[index],
                ports[6],
                initial.join(", ")
            );
            let file = own.join("node.toml");
            std::fs::write(&file, settings)?;
            let mut command = Command::new(&program);
            command.args(["run", "--settings"]).arg(&file);
            command.env("LEASEHOLD_LOG", "debug,leasehold=trace");
            let process = Process::start(&mut command, &own.join("log"))?;
            let api = SocketAddr::from((Ipv4Addr::LOCALHOST, api));
            nodes.push(Node { name, dir: own, api, process });
        }
        Ok(Cluster { dir, nodes })
    }

    fn pki(&self, file: &str) -> String {
        text(&self.dir.path().join("pki").join(file))
    }

    fn url(&self, index: usize) -> String {
        format!("https://{}", self.nodes[index].api)
    }

    /// `cluster-ctl` as the operator with everything it takes, asking node `index`.
    fn operator(&self, index: usize) -> Result<Command> {
        let mut command = ctl()?;
        command.args(["--node", &self.url(index), "--cacert", &self.pki("ca.pem")]);
        command.args(["--cert", &self.pki("operator.pem"), "--key", &self.pki("operator.key")]);
        command.args(["--user", "admin", "--password-file"]);
        command.arg(self.nodes[index].dir.join("admin.password"));
        Ok(command)
    }

    fn asks(&self, index: usize, args: &[&str]) -> Result<Outcome> {
        shell::run_any(self.operator(index)?.args(args), 20_000)
    }

    /// Waits until the cluster has a leader and node 0 says so; gives its status.
    fn wait_ready(&self) -> Result<Value> {
        let mut last = None;
        let ready = clock::wait_for_every(200, "a cluster over TLS", 40_000, || {
            let outcome = self.asks(0, &["-o", "json", "status"]).ok()?;
            // Each node has introduced itself by then.
            let known = self.nodes.iter().all(|node| outcome.stdout.contains(&node.name));
            let whole = outcome.code == Some(0) && known;
            let ready = whole.then(|| serde_json::from_str(&outcome.stdout).ok());
            last = Some(outcome);
            ready.flatten()
        });
        ready.with_context(|| {
            let logs: Vec<String> = self.nodes.iter().map(|node| node.process.tail()).collect();
            format!("{last:?}\n{}", logs.join("\n---\n"))
        })
    }
}

/// Every file below `dir`.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(next)? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path.clone());
            }
            found.push(path);
        }
    }
    Ok(found)
}

#[test]
fn an_authority_is_made_of_files_that_nothing_overwrites() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let ca = text(&dir.path().join("pki"));
    let made: Value = serde_json::from_str(&well(pki(&["init", "--out", &ca, "-o", "json"])?)?)?;
    let id = std::fs::read_to_string(format!("{ca}/cluster-id"))?;
    ensure!(made["cluster"] == id.trim() && id.trim().len() == 16, "{made} {id}");
    let again = pki(&["init", "--out", &ca])?;
    ensure!(again.code == Some(2) && again.stderr.contains("exists already"), "{again:?}");
    ensure!(std::fs::read_to_string(format!("{ca}/cluster-id"))? == id);

    let issue = ["issue", "--ca", &ca, "rack-a-1", "--address", "192.0.2.11"];
    well(pki(&issue)?)?;
    let key = format!("{ca}/rack-a-1.key");
    for secret in [&key, &format!("{ca}/ca.key")] {
        ensure!(mode(Path::new(secret))? == 0o600, "{secret}: {:o}", mode(Path::new(secret))?);
    }
    let first = std::fs::read(&key)?;
    let again = pki(&issue)?;
    ensure!(again.code == Some(2) && std::fs::read(&key)? == first, "{again:?}");
    well(pki(&[&issue[..], &["--replace", "--days", "30"]].concat())?)?;
    ensure!(std::fs::read(&key)? != first, "it was asked to replace it");
    ensure!(mode(Path::new(&key))? == 0o600);

    let shown = well(pki(&["show", &format!("{ca}/rack-a-1.pem"), "-o", "json"])?)?;
    let shown: Value = serde_json::from_str(&shown)?;
    ensure!(shown[0]["node"] == "rack-a-1" && shown[0]["cluster"] == id.trim(), "{shown}");
    ensure!(shown[0]["addresses"] == json!(["192.0.2.11"]) && shown[0]["authority"] == false);
    let days =
        (shown[0]["not_after"].as_u64().context("a time")? * 1000 - clock::wall_ms()) / 86_400_000;
    ensure!((29..=30).contains(&days), "{days}");
    let people = well(pki(&["show", &format!("{ca}/rack-a-1.pem")])?)?;
    ensure!(people.contains(&format!("rack-a-1 of cluster {}", id.trim())), "{people}");

    for (args, part) in [
        (vec!["issue", "--ca", &ca, "Rack.A"], "letters, digits and hyphens"),
        (vec!["issue", "--ca", &ca, "a", "--address", "http://a"], "neither an address"),
        (vec!["issue", "--ca", &ca, "--client", "../x"], "at most 64 letters"),
        (vec!["issue", "--ca", "/nowhere", "a"], "/nowhere/ca.pem"),
        (vec!["show", &key], "no certificate"),
        (vec!["init", "--out", &ca, "--cluster-id", "12"], "16 hexadecimal"),
    ] {
        let refused = pki(&args)?;
        ensure!(refused.code == Some(2) && refused.stderr.contains(part), "{args:?}: {refused:?}");
    }
    Ok(())
}

#[test]
fn a_cluster_with_certificates_serves_its_operators_and_shows_no_secrets() -> Result<()> {
    let mut cluster = Cluster::start()?;
    let status = cluster.wait_ready()?;
    let id = std::fs::read_to_string(cluster.pki("cluster-id"))?;
    ensure!(
        status.to_string().contains(id.trim()),
        "not the cluster of the certificates: {status}"
    );
    for node in &cluster.nodes {
        ensure!(status.to_string().contains(&node.name), "{status}");
    }

    who_may_ask(&cluster)?;

    // Secrets go into the cluster's configuration, and come out as stars.
    let config = cluster.dir.path().join("secret.json");
    std::fs::write(&config, secret_config().to_string())?;
    well(cluster.asks(1, &["config", "set", &text(&config)])?)?;
    let shown = well(cluster.asks(2, &["config", "get"])?)?;
    ensure!(shown.contains("*****"), "{shown}");
    let mut written = vec![("config get", shown)];
    written.push(("history", well(cluster.asks(2, &["config", "history"])?)?));

    rotate(&mut cluster)?;

    for node in &cluster.nodes {
        for path in files(&node.dir.join("data"))? {
            let (found, wanted) = (mode(&path)?, if path.is_dir() { 0o700 } else { 0o600 });
            ensure!(found & !wanted == 0, "{} has mode {found:o}", path.display());
        }
        ensure!(mode(&node.dir.join("control.sock"))? == 0o660);
        let proc = PathBuf::from(format!("/proc/{}", node.process.pid()));
        let status = std::fs::read_to_string(proc.join("status"))?;
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        ensure!(line("NoNewPrivs:").map(str::trim) == Some("1"), "{status}");
        let permitted = line("CapPrm:").map(|bits| u64::from_str_radix(bits.trim(), 16));
        let permitted = permitted.context("CapPrm")??;
        // CAP_NET_BIND_SERVICE, CAP_NET_ADMIN for the receive queue, CAP_NET_RAW.
        ensure!(permitted & !(1 << 10 | 1 << 12 | 1 << 13) == 0, "{permitted:x} are kept");
        written.push(("the command line", std::fs::read_to_string(proc.join("cmdline"))?));
        written.push(("the log", node.process.log()));
        ensure!(node.process.log().contains("DEBUG"), "it logs at debug level");
    }
    for (what, text) in &written {
        for secret in SECRETS {
            ensure!(!text.contains(secret), "{secret} is in {what}");
        }
        ensure!(!text.contains("PRIVATE KEY"), "a key is in {what}");
    }
    for node in &mut cluster.nodes {
        node.process.signal(Signal::Term)?;
    }
    for node in &mut cluster.nodes {
        let status = node.process.wait(15_000)?;
        ensure!(status.success(), "{} ended with {status}", node.name);
    }
    Ok(())
}

fn secret_config() -> Value {
    json!({ "Dhcp4": {
        "subnet4": [{ "id": 1, "subnet": "192.0.2.0/24" }],
        "control-sockets": [{
            "socket-type": "http", "socket-address": "127.0.0.1", "socket-port": 8000,
            "authentication": { "type": "basic", "clients": [
                { "user": "agent", "password": SECRETS[1] },
                { "user": "other", "password": SECRETS[2] },
            ] },
        }],
    }})
}

/// Certificates, users and passwords at a node's HTTPS.
fn who_may_ask(cluster: &Cluster) -> Result<()> {
    let url = cluster.url(0);
    let run = |args: &[&str], environment: &[(&str, &str)]| {
        let mut command = ctl()?;
        command.args(["--node", &url]).args(args).arg("leader").arg("transfer").arg("nobody");
        shell::run_any(command.envs(environment.iter().copied()), 20_000)
    };
    let (ca, cert, key) =
        (cluster.pki("ca.pem"), cluster.pki("operator.pem"), cluster.pki("operator.key"));
    let certificates = ["--cacert", &ca, "--cert", &cert, "--key", &key];
    let with = |more: &[&'static str]| [&certificates[..], more].concat();
    // Whoever is let in is told that there is no such node.
    let right = [("LEASEHOLD_PASSWORD", SECRETS[0])];
    for (args, environment) in [
        (with(&["--user", "admin"]), &right[..]),
        (with(&[]), &[right[0], ("LEASEHOLD_USER", "admin")]),
    ] {
        let asked = run(&args, environment)?;
        ensure!(asked.code == Some(1) && asked.stderr.contains("nobody"), "{asked:?}");
    }
    let wrong = [("LEASEHOLD_PASSWORD", SECRETS[3])];
    let asked = run(&with(&["--user", "admin"]), &wrong)?;
    ensure!(asked.code == Some(1) && asked.stderr.contains("does not know this user"), "{asked:?}");
    let asked = run(&with(&[]), &[])?;
    ensure!(asked.code == Some(1) && asked.stderr.contains("wants to know who asks"), "{asked:?}");
    let asked = run(&["--cacert", &ca, "--user", "admin"], &right)?;
    ensure!(asked.code == Some(2) && asked.stderr.contains("--cert and --key"), "{asked:?}");
    // Another authority: nothing is sent to a node that it did not sign.
    let other = cluster.dir.path().join("other");
    well(pki(&["init", "--out", &text(&other)])?)?;
    let other = text(&other.join("ca.pem"));
    let asked =
        run(&["--cacert", &other, "--cert", &cert, "--key", &key, "--user", "admin"], &right)?;
    ensure!(
        asked.code == Some(2) && asked.stderr.contains("signed by nobody we trust"),
        "{asked:?}"
    );
    Ok(())
}

/// A new certificate is taken without a restart; one that cannot be used is not.
fn rotate(cluster: &mut Cluster) -> Result<()> {
    let (ca, own) = (cluster.pki(""), text(&cluster.nodes[0].dir));
    let key = cluster.nodes[0].dir.join("node-a.key");
    let args =
        ["issue", "--ca", &ca, "node-a", "--address", "127.0.0.1", "--out", &own, "--replace"];
    well(pki(&args)?)?;
    let read = "the certificates of the peer port are read";
    hang_up_until(&mut cluster.nodes[0].process, read)?;
    well(cluster.asks(0, &["status"])?)?;
    let good = std::fs::read(&key)?;
    std::fs::write(&key, "no key")?;
    hang_up_until(
        &mut cluster.nodes[0].process,
        "the certificates of the peer port stay as they were",
    )?;
    std::fs::write(&key, good)?;
    well(cluster.asks(1, &["status"])?)?;
    well(cluster.asks(0, &["status"])?)?;
    Ok(())
}

fn hang_up_until(process: &mut Process, said: &str) -> Result<()> {
    process.signal(Signal::Hangup)?;
    clock::wait_for(said, 10_000, || process.log().contains(said).then_some(()))
}
