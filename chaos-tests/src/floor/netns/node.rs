//! One server: its namespace, its files, its process.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::api::{self, Answer};
use super::process::Process;
use super::sys::Signal;
use super::topology::Namespace;
use crate::clock;
use crate::gate::{self, Subject};
use crate::oracle::Held;

/// Port of the peer network.
const PEER_PORT: u16 = 7701;
/// Port of the control API, on every address.
pub const API_PORT: u16 = 8000;

/// One server.
#[derive(Debug)]
pub struct Node {
    pub index: usize,
    pub namespace: Namespace,
    /// Its address on the rack LAN, which is also its server identity.
    pub address: Ipv4Addr,
    dir: PathBuf,
    subject: Subject,
    level: Option<u32>,
    process: Option<Process>,
    environment: Vec<(String, PathBuf)>,
    wrapper: Vec<String>,
}

/// Its address on the rack LAN.
pub fn rack_address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 1 + u8::try_from(index).unwrap_or(u8::MAX))
}

/// Its address on the peer network.
pub fn peer_address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, 1 + u8::try_from(index).unwrap_or(u8::MAX))
}

impl Node {
    /// A server that does not run yet; its files go into `dir`. `initial`: how many nodes form the cluster.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn prepare(
        index: usize,
        namespace: Namespace,
        dir: PathBuf,
        subject: Subject,
        initial: usize,
        dhcp4: &Value,
    ) -> Result<Node> {
        std::fs::create_dir_all(&dir)?;
        let node = Node {
            index,
            namespace,
            address: rack_address(index),
            dir,
            subject,
            level: None,
            process: None,
            environment: Vec::new(),
            wrapper: Vec::new(),
        };
        node.write_config(dhcp4)?;
        std::fs::write(node.settings_file(), node.settings(initial)?)?;
        Ok(node)
    }

    /// Writes its Kea configuration file. A cluster reads it once, to seed itself.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_config(&self, dhcp4: &Value) -> Result<()> {
        let mut dhcp4 = dhcp4.clone();
        if self.subject == Subject::Kea {
            self.complete_for_kea(&mut dhcp4);
        }
        std::fs::write(
            self.dir.join("dhcp4.json"),
            serde_json::to_string_pretty(&json!({ "Dhcp4": dhcp4 }))?,
        )?;
        Ok(())
    }

    /// Directory of its files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its `node.toml`.
    pub fn settings_file(&self) -> PathBuf {
        self.dir.join("node.toml")
    }

    /// Its name in its settings.
    pub fn settings_name(&self) -> String {
        format!("node-{}", char::from(b'a' + self.index as u8 % 26))
    }

    fn settings(&self, initial: usize) -> Result<String> {
        let mut list = String::new();
        for index in 0..initial {
            write!(list, "\"{}:{PEER_PORT}\", ", peer_address(index))?;
        }
        let (dir, own) = (self.dir.display(), peer_address(self.index));
        let letter = char::from(b'a' + u8::try_from(self.index % 26)?);
        Ok(format!(
            r#"name = "node-{letter}"
rack = "{letter}"
data-dir = "{dir}/data"

[peer]
listen = "{own}:{PEER_PORT}"
advertise = "{own}:{PEER_PORT}"
insecure = true

[control]
listen = ["0.0.0.0:{API_PORT}"]
socket = "{dir}/control.sock"

[dhcp4]
interfaces = ["eth0"]

[cluster]
initial = [{list}]
config = "{dir}/dhcp4.json"
"#
        ))
    }

    /// What Kea wants to be told beside the subnets.
    fn complete_for_kea(&self, dhcp4: &mut Value) {
        let dir = self.dir.display();
        dhcp4["lease-database"] =
            json!({ "type": "memfile", "persist": true, "name": format!("{dir}/data/leases.csv") });
        dhcp4["control-socket"] =
            json!({ "socket-type": "unix", "socket-name": format!("{dir}/control.sock") });
        // Its default is a line for each lease, which is not what is compared.
        dhcp4["loggers"] = json!([{
            "name": "kea-dhcp4", "severity": "WARN", "output_options": [{ "output": "stdout" }]
        }]);
        dhcp4["hooks-libraries"] =
            json!([{ "library": "/usr/lib/x86_64-linux-gnu/kea/hooks/libdhcp_lease_cmds.so" }]);
    }

    /// Has it start with this in its environment.
    pub fn set_environment(&mut self, name: &str, value: &Path) {
        self.environment.push((name.to_owned(), value.to_path_buf()));
    }

    /// Has it start through another program, which gets these words before its own command line and becomes it.
    pub fn set_wrapper(&mut self, words: &[&str]) {
        self.wrapper = words.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Has it pretend from its next start on that it is an older program, of this feature level.
    pub fn pretend_level(&mut self, level: Option<u32>) {
        self.level = level;
    }

    /// Starts it; it is not ready yet.
    ///
    /// # Errors
    /// When it runs already, or the program is not there.
    pub fn start(&mut self) -> Result<()> {
        let settings = self.settings_file();
        self.start_with(&["run".as_ref(), "--settings".as_ref(), settings.as_os_str()])
    }

    /// Starts it as a lone server that has its Kea configuration file and nothing else (R26).
    ///
    /// # Errors
    /// As [`Node::start`].
    pub fn start_alone(&mut self) -> Result<()> {
        let (config, data) = (self.dir.join("dhcp4.json"), self.dir.join("data"));
        self.start_with(&[
            "-c".as_ref(),
            config.as_os_str(),
            "--data-dir".as_ref(),
            data.as_os_str(),
        ])
    }

    fn start_with(&mut self, flags: &[&std::ffi::OsStr]) -> Result<()> {
        ensure!(!self.runs(), "node {} runs already", self.index + 1);
        let mut command = match self.subject {
            Subject::Leasehold => {
                let program = gate::binary("leasehold", "LEASEHOLD_BIN")?;
                let mut command = match self.wrapper.split_first() {
                    Some((wrapper, words)) => {
                        let mut command = self.namespace.command(wrapper);
                        command.args(words).arg(program);
                        command
                    }
                    None => self.namespace.command(program),
                };
                command.args(flags);
                command
                    .envs(self.level.map(|level| ("LEASEHOLD_PRETEND_LEVEL", level.to_string())));
                command
            }
            Subject::Kea => {
                let mut command = self.namespace.command("kea-dhcp4");
                command.arg("-c").arg(self.dir.join("dhcp4.json"));
                command.env("KEA_PIDFILE_DIR", &self.dir).env("KEA_LOCKFILE_DIR", &self.dir);
                command
            }
        };
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        std::fs::create_dir_all(self.dir.join("data"))?;
        self.process = Some(Process::start(&mut command, &self.log_file())?);
        Ok(())
    }

    /// Where its output goes.
    pub fn log_file(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Its process, when it was ever started.
    ///
    /// # Errors
    /// When it was not.
    pub fn process(&mut self) -> Result<&mut Process> {
        let index = self.index;
        self.process.as_mut().with_context(|| format!("node {} was never started", index + 1))
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::runs)
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it does not go.
    pub fn kill(&mut self) -> Result<()> {
        self.process()?.kill()
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// When it takes longer than the 8 s it is allowed, with 2 s for us.
    pub fn stop(&mut self) -> Result<std::process::ExitStatus> {
        let process = self.process()?;
        process.signal(Signal::Term)?;
        process.wait(10_000)
    }

    /// Takes away everything it has stored, as a new disk would.
    ///
    /// # Errors
    /// When it runs.
    pub fn wipe(&mut self) -> Result<()> {
        ensure!(!self.runs(), "node {} runs", self.index + 1);
        let data = self.dir.join("data");
        std::fs::remove_dir_all(&data).with_context(|| data.display().to_string())
    }

    /// CPU time it has used since it was started, in microseconds.
    ///
    /// # Errors
    /// When it does not run.
    pub fn cpu_micros(&mut self) -> Result<u64> {
        self.process()?.cpu_micros()
    }

    /// Whether it says that it is ready; else why not.
    pub fn readiness(&self) -> Result<(), String> {
        match self.subject {
            Subject::Leasehold => match api::get(&self.namespace, "/health/ready") {
                Ok((200, _)) => Ok(()),
                Ok((status, body)) => Err(format!("{status} {body}")),
                Err(error) => Err(format!("{error:#}")),
            },
            Subject::Kea => {
                self.command("status-get", None).map(|_| ()).map_err(|error| format!("{error:#}"))
            }
        }
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it ends or the time is over; the message has its reason and the end of its log.
    pub fn wait_ready(&mut self, limit_ms: u64) -> Result<()> {
        let mut last = String::new();
        let deadline = clock::now_ms() + limit_ms;
        while self.runs() && clock::now_ms() < deadline {
            match self.readiness() {
                Ok(()) => return Ok(()),
                Err(reason) => last = reason,
            }
            clock::sleep_ms(30);
        }
        let ended = self.process()?.exit_status();
        let tail = self.process()?.tail();
        bail!(
            "node {} did not become ready in {limit_ms} ms (ended: {ended:?}; it said: {last})\n{tail}",
            self.index + 1
        )
    }

    /// Whether it believes that it leads.
    pub fn leads(&self) -> bool {
        api::get(&self.namespace, "/metrics")
            .ok()
            .and_then(|(_, page)| api::metric(&page, "leasehold_raft_is_leader"))
            .is_some_and(|value| value == 1.0)
    }

    /// Sends it a Kea command.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn command(&self, name: &str, arguments: Option<Value>) -> Result<Answer> {
        match self.subject {
            Subject::Leasehold => api::command(&self.namespace, name, arguments),
            Subject::Kea => api::command_by_socket(&self.dir.join("control.sock"), name, arguments),
        }
    }

    /// All assigned leases, by `lease4-get-all`.
    ///
    /// # Errors
    /// When it does not answer or answers with an error.
    pub fn leases(&self) -> Result<Vec<Held>> {
        api::leases(&self.command("lease4-get-all", None)?)
    }
}
