//! One Kea or Leasehold process with one configuration.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Version;
use crate::floor::netns::process::Process;
use crate::floor::netns::topology::Namespace;
use crate::{gate, shell};

/// Where Debian keeps Kea's hooks.
pub const HOOKS: &str = "/usr/lib/x86_64-linux-gnu/kea/hooks";

/// The control socket, in the server's directory.
pub const CONTROL: &str = "control";

/// A server that packets are sent to.
#[derive(Debug, Clone)]
pub enum Kind {
    /// The installed Kea, or the one in another root file system.
    Kea {
        version: Version,
        root: Option<PathBuf>,
    },
    Leasehold,
}

impl Kind {
    /// The Kea that the environment asks for. Else why there is none.
    pub fn kea() -> Result<Kind, String> {
        if std::env::var("ORACLE_KEA").as_deref() == Ok("3") {
            let root = std::env::var_os("ORACLE_KEA_ROOT")
                .map(PathBuf::from)
                .ok_or("ORACLE_KEA=3 wants ORACLE_KEA_ROOT, a root file system with Kea 3.0")?;
            if !root.join("usr/sbin/kea-dhcp4").is_file() {
                return Err(format!("there is no Kea in {}", root.display()));
            }
            return Ok(Kind::Kea { version: Version::V3, root: Some(root) });
        }
        match shell::find("kea-dhcp4") {
            Some(_) => Ok(Kind::Kea { version: Version::V2, root: None }),
            None => Err("kea-dhcp4 is not installed".to_owned()),
        }
    }

    /// Whether it is Kea.
    pub fn is_kea(&self) -> bool {
        matches!(self, Kind::Kea { .. })
    }
}

/// A running server. Dropping it ends it and removes its files.
#[derive(Debug)]
pub struct Server {
    pub process: Process,
    dir: PathBuf,
    inside: PathBuf,
}

impl Server {
    /// Starts one in `namespace` with the `Dhcp4` map `dhcp4`; its files go below `dir`, or below the other root's `/tmp`.
    ///
    /// # Errors
    /// When a file cannot be written or the program not be started. A configuration that it refuses shows as its end.
    pub fn start(kind: &Kind, namespace: &Namespace, dhcp4: &Value, dir: &Path) -> Result<Server> {
        Server::launch(kind, namespace, dir, |inside| {
            let mut map = completed(kind, dhcp4);
            if let Some(socket) = map.get_mut("control-socket") {
                socket["socket-name"] = json!(inside.join(CONTROL));
            }
            map
        })
    }

    /// As [`Server::start`], with the map that `dhcp4` makes for the directory that the server will see as its own.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn launch(
        kind: &Kind,
        namespace: &Namespace,
        dir: &Path,
        dhcp4: impl FnOnce(&Path) -> Value,
    ) -> Result<Server> {
        let dir = match kind {
            Kind::Kea { root: Some(root), .. } => {
                static NEXT: AtomicU32 = AtomicU32::new(1);
                let number = NEXT.fetch_add(1, Ordering::Relaxed);
                root.join("tmp").join(format!("leasehold-oracle-{}-{number}", std::process::id()))
            }
            _ => dir.join(if kind.is_kea() { "kea" } else { "leasehold" }),
        };
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        let inside = match kind {
            Kind::Kea { root: Some(root), .. } => Path::new("/").join(dir.strip_prefix(root)?),
            _ => dir.clone(),
        };
        let file = dir.join("dhcp4.json");
        let map = dhcp4(&inside);
        std::fs::write(&file, serde_json::to_string_pretty(&json!({ "Dhcp4": map }))?)?;
        let mut command = match kind {
            Kind::Leasehold => {
                let program = gate::binary("leasehold", "LEASEHOLD_BIN")?;
                let mut command = namespace.command(program);
                command.arg("-c").arg(&file).arg("--data-dir").arg(dir.join("data"));
                command
            }
            Kind::Kea { root, .. } => kea(namespace, root.as_deref(), &inside),
        };
        let process = Process::start(&mut command, &dir.join("log"))?;
        Ok(Server { process, dir, inside })
    }

    /// Starts one anew that has ended, with the files that it left.
    ///
    /// # Errors
    /// When the program cannot be started, or is not Kea.
    pub fn start_again(&mut self, kind: &Kind, namespace: &Namespace) -> Result<()> {
        let Kind::Kea { root, .. } = kind else { anyhow::bail!("only Kea is started again") };
        let mut command = kea(namespace, root.as_deref(), &self.inside);
        self.process = Process::start(&mut command, &self.dir.join("log"))?;
        Ok(())
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where its files are in its own eyes.
    pub fn inside(&self) -> &Path {
        &self.inside
    }

    /// The newest value of each statistic. The configuration must have a `control-socket`.
    ///
    /// # Errors
    /// When the server does not answer in the way of Kea.
    pub fn statistics(&self) -> Result<BTreeMap<String, u64>> {
        let path = self.dir.join(CONTROL);
        let mut stream = UnixStream::connect(&path).with_context(|| path.display().to_string())?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(br#"{"command":"statistic-get-all"}"#)?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let reply: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        let all = reply["arguments"].as_object().with_context(|| text.clone())?;
        let newest = |(name, samples): (&String, &Value)| {
            let value = samples[0][0].as_u64().with_context(|| format!("{name}: {samples}"))?;
            Ok((name.clone(), value))
        };
        all.iter().map(newest).collect()
    }

    /// What it said that matters: lines of errors and warnings, or the last lines.
    pub fn complaint(&self) -> String {
        let log = self.process.log();
        let grave = |line: &&str| {
            line.contains("ERROR") || line.contains("FATAL") || line.starts_with("error")
        };
        let lines: Vec<&str> = log.lines().filter(grave).take(6).collect();
        if lines.is_empty() { self.process.tail() } else { lines.join("\n") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        if std::env::var_os("LEASEHOLD_CHAOS_KEEP").is_none() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

fn kea(namespace: &Namespace, root: Option<&Path>, inside: &Path) -> Command {
    let mut command = match root {
        Some(root) => {
            let mut command = namespace.command("chroot");
            // -X: 3.0 refuses to write outside of its own directories otherwise.
            command.arg(root).args(["/usr/sbin/kea-dhcp4", "-X"]);
            command
        }
        None => namespace.command("kea-dhcp4"),
    };
    command.arg("-c").arg(inside.join("dhcp4.json"));
    command.env("KEA_PIDFILE_DIR", inside).env("KEA_LOCKFILE_DIR", inside);
    command
}

/// The map with what every configuration needs, and what Kea needs beside it.
fn completed(kind: &Kind, dhcp4: &Value) -> Value {
    let mut map = dhcp4.clone();
    let Some(entries) = map.as_object_mut() else { return map };
    entries.entry("interfaces-config").or_insert_with(|| json!({ "interfaces": ["eth0", "eth1"] }));
    let sentinels = json!({
        "id": 9999, "subnet": "10.255.0.0/16", "pools": [{ "pool": "10.255.16.0 - 10.255.31.255" }]
    });
    if let Some(list) = entries.entry("subnet4").or_insert_with(|| json!([])).as_array_mut() {
        list.push(sentinels);
    }
    for hook in
        entries.get_mut("hooks-libraries").and_then(Value::as_array_mut).into_iter().flatten()
    {
        if let Some(name) = hook.get("library").and_then(Value::as_str).map(str::to_owned) {
            hook["library"] = json!(format!("{HOOKS}/{name}"));
        }
    }
    if let Kind::Kea { version, .. } = kind {
        entries.insert("lease-database".into(), json!({ "type": "memfile", "persist": false }));
        let severity = if std::env::var_os("ORACLE_DEBUG").is_some() { "DEBUG" } else { "WARN" };
        entries.insert(
            "loggers".into(),
            json!([{
                "name": "kea-dhcp4", "severity": severity, "debuglevel": 99,
                "output_options": [{ "output": "stdout" }]
            }]),
        );
        if *version == Version::V3 {
            // One packet after the other, or the sentinel would prove nothing.
            entries.insert("multi-threading".into(), json!({ "enable-multi-threading": false }));
        }
    }
    map
}
