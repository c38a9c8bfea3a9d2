//! Kea as the people run it whom the figures are for: alone, or two of it as hot-standby. Memfile, written and never synced, as is its
//! default.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::Version;
use super::server::{CONTROL, HOOKS, Kind, Server};
use crate::clock;
use crate::floor::netns::api;
use crate::floor::netns::topology::Namespace;
use crate::shell;

/// How long a pair may take to find each other, in milliseconds.
const READY_MS: u64 = 60_000;

/// The Kea to compare with: the one in the root file system `root`, else the installed one. Else why there is none.
pub fn find(root: Option<&Path>) -> Result<Kind, String> {
    match root {
        Some(root) if root.join("usr/sbin/kea-dhcp4").is_file() => {
            Ok(Kind::Kea { version: Version::V3, root: Some(root.to_path_buf()) })
        }
        Some(root) => Err(format!("there is no usr/sbin/kea-dhcp4 in {}", root.display())),
        None if shell::find("kea-dhcp4").is_some() => {
            Ok(Kind::Kea { version: Version::V2, root: None })
        }
        None => Err("kea-dhcp4 is not installed, and KEA3_ROOT names no other".to_owned()),
    }
}

/// What it says of its version.
pub fn version(kind: &Kind) -> String {
    let mut command = match kind {
        Kind::Kea { root: Some(root), .. } => {
            let mut command = std::process::Command::new("chroot");
            command.arg(root).arg("/usr/sbin/kea-dhcp4");
            command
        }
        _ => std::process::Command::new("kea-dhcp4"),
    };
    let said = shell::run_any(command.arg("-v"), 10_000).map(|done| done.stdout);
    said.unwrap_or_default().lines().next().unwrap_or("unknown").trim().to_owned()
}

/// Starts one alone, or the pair when there are two namespaces, and waits until it serves.
///
/// # Errors
/// When a server ends, or the pair does not form.
pub fn start(
    kind: &Kind,
    namespaces: &[Namespace],
    dhcp4: &Value,
    dir: &Path,
) -> Result<Vec<Server>> {
    let is_pair = namespaces.len() > 1;
    let mut servers = Vec::new();
    for (index, namespace) in namespaces.iter().enumerate() {
        let dir = dir.join(format!("kea-{}", index + 1));
        servers.push(Server::launch(kind, namespace, &dir, |inside| {
            let mut map = dhcp4.clone();
            complete(&mut map, inside);
            if is_pair {
                pair(kind, &mut map, index);
            }
            map
        })?);
    }
    wait(&mut servers)?;
    Ok(servers)
}

/// Waits until one serves, or both say that they are in hot-standby.
///
/// # Errors
/// As [`start`].
pub fn wait(servers: &mut [Server]) -> Result<()> {
    let is_pair = servers.len() > 1;
    let deadline = clock::now_ms() + READY_MS;
    for server in servers {
        while let Err(why) = is_ready(server, is_pair) {
            if !server.process.runs() {
                bail!("Kea has ended:\n{}", server.complaint());
            }
            if clock::now_ms() > deadline {
                bail!("Kea is not ready after {READY_MS} ms: {why}\n{}", server.complaint());
            }
            clock::sleep_ms(50);
        }
    }
    Ok(())
}

/// Why one does not serve, or is not in hot-standby as a pair should be.
///
/// # Errors
/// That.
pub fn is_ready(server: &mut Server, is_pair: bool) -> Result<(), String> {
    if !server.process.runs() {
        return Err("it does not run".to_owned());
    }
    match state(&server.dir().join(CONTROL)) {
        Ok(state) if !is_pair || state == "hot-standby" => Ok(()),
        Ok(state) => Err(format!("its state is {state:?}")),
        Err(error) => Err(format!("{error:#}")),
    }
}

/// The state of its high availability; empty when it has none.
fn state(socket: &Path) -> Result<String> {
    let answer = api::command_by_socket(socket, "status-get", None)?;
    anyhow::ensure!(answer.result == 0, "status-get: {}", answer.text);
    let Some(pair) = answer.arguments.get("high-availability") else { return Ok(String::new()) };
    let local = &pair[0]["ha-servers"]["local"]["state"];
    Ok(local.as_str().context("no state in status-get")?.to_owned())
}

fn complete(map: &mut Value, inside: &Path) {
    map["lease-database"] =
        json!({ "type": "memfile", "persist": true, "name": inside.join("leases.csv") });
    map["control-socket"] = json!({ "socket-type": "unix", "socket-name": inside.join(CONTROL) });
    // A line for each lease is not what is compared.
    map["loggers"] = json!([{
        "name": "kea-dhcp4", "severity": "WARN", "output_options": [{ "output": "stdout" }]
    }]);
}

/// Only what must be named is: the rest stays at its default.
fn pair(kind: &Kind, map: &mut Value, index: usize) {
    let peers: Vec<Value> = ["primary", "standby"]
        .iter()
        .enumerate()
        .map(|(number, role)| {
            let address = crate::floor::netns::node::peer_address(number);
            json!({ "name": role, "role": role, "url": format!("http://{address}:8001/"), "auto-failover": true })
        })
        .collect();
    let mut ha = json!({
        "this-server-name": (["primary", "standby"][index % 2]), "mode": "hot-standby", "peers": peers
    });
    if matches!(kind, Kind::Kea { version: Version::V2, .. }) {
        // The defaults since 2.4; without them it would need two more processes.
        ha["multi-threading"] =
            json!({ "enable-multi-threading": true, "http-dedicated-listener": true });
        map["multi-threading"] = json!({ "enable-multi-threading": true });
    }
    map["hooks-libraries"] = json!([
        { "library": format!("{HOOKS}/libdhcp_lease_cmds.so") },
        { "library": format!("{HOOKS}/libdhcp_ha.so"), "parameters": { "high-availability": [ha] } },
    ]);
}
