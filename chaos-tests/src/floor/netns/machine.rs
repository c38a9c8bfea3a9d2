//! A Debian machine: a copy of this one's root that is thrown away, with a systemd of its own, in a network namespace.
//!
//! Packages are installed there by dpkg and units started by systemd, with every restriction that a unit names; nothing of it reaches
//! the machine that the test runs on. It boots in half a second. What is written lies in memory (an overlay, `machine.sh`).

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::cleanup;
use super::process::Process;
use super::topology::Namespace;
use crate::shell::{self, Outcome};
use crate::{clock, gate};

/// How long a machine may take to boot, in milliseconds.
const BOOT_MS: u64 = 20_000;

/// What tests that boot machines need, for [`gate::enter`].
pub const TOOLS: &[&str] = &["unshare", "nsenter", "dpkg", "systemctl", "strip", "objdump"];

/// A running machine. Dropping it ends everything in it.
#[derive(Debug)]
pub struct Machine {
    // Dropped in this order: processes, then their group, then the network.
    process: Process,
    group: ControlGroup,
    /// Its network. Whoever boots it plugs it in.
    pub network: Namespace,
    init: u32,
}

impl Machine {
    /// Boots one called `name` in `network`. It sees `lab`, a directory of the test, as `/media/lab`.
    ///
    /// # Errors
    /// When it does not come up; the message has what its systemd said.
    pub fn boot(name: &str, network: Namespace, lab: &Path) -> Result<Machine> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/floor/netns/machine.sh");
        let group = ControlGroup::create(network.name())?;
        // The group is entered first: the machine's systemd takes it for the root of all. In the network namespace it is not seen.
        let start = "echo $$ > \"$1\"/cgroup.procs && shift && exec ip netns exec \"$@\"";
        let mut command = Command::new("bash");
        command.args(["-c", start, "machine"]).arg(&group.path).arg(network.name());
        command.args(["unshare", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork"]);
        command.args(["--kill-child=KILL", "--propagation", "private", "bash"]);
        command.arg(script).arg(name).arg(lab);
        let mut process = Process::start(&mut command, &lab.join(format!("{name}.console")))?;
        let children = format!("/proc/{0}/task/{0}/children", process.pid());
        let booted = clock::wait_for(&format!("{name} to boot"), BOOT_MS, || {
            if !process.runs() {
                return Some(None);
            }
            let init = std::fs::read_to_string(&children).ok()?.trim().parse().ok()?;
            let state = shell::run_any(&mut inside(init, "systemctl is-system-running"), 5_000);
            state.is_ok_and(|it| it.stdout.trim() == "running").then_some(Some(init))
        });
        match booted {
            Ok(Some(init)) => Ok(Machine { process, group, network, init }),
            _ => bail!("{name} does not boot: {}", process.tail()),
        }
    }

    /// Runs `script` with bash, as root in `/root`, and gives what it left.
    ///
    /// # Errors
    /// When it does not end within `limit_ms`.
    pub fn run_any(&self, script: &str, limit_ms: u64) -> Result<Outcome> {
        shell::run_any(&mut inside(self.init, script), limit_ms)
    }

    /// Runs `script` and gives its standard output.
    ///
    /// # Errors
    /// When it ends with another status than 0; the message has what it printed.
    pub fn run(&self, script: &str) -> Result<String> {
        let outcome = self.run_any(script, 60_000)?;
        ensure!(
            outcome.code == Some(0),
            "{script:?} ended with {:?}\n{}{}",
            outcome.code,
            outcome.stdout,
            outcome.stderr
        );
        Ok(outcome.stdout)
    }

    /// A command that will run `script` there, for whoever wants its pipes.
    pub fn command(&self, script: &str) -> Command {
        inside(self.init, script)
    }

    /// Its process 1, as this machine numbers it: what `nsenter` wants.
    pub fn init(&self) -> u32 {
        self.init
    }

    /// Every file that was made or changed since it was put together, sorted; what was removed is not among them. Not those
    /// of /run, /tmp, /dev, /root and /home, which are no part of the disk.
    ///
    /// # Errors
    /// When it is gone.
    pub fn written(&self) -> Result<Vec<PathBuf>> {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--mount", "find", "/mnt/upper"]);
        // A removed file is a device 0:0 there, as overlayfs notes it.
        command.args(["-mindepth", "1", "!", "-type", "c", "-printf", "/%P\\n"]);
        let mut files: Vec<PathBuf> =
            shell::run(&mut command)?.lines().map(PathBuf::from).collect();
        files.sort();
        Ok(files)
    }

    /// What the service `unit` logged last, for the message of a failure.
    pub fn journal(&self, unit: &str) -> String {
        let script =
            format!("systemctl status --no-pager {unit}; journalctl --no-pager -n 40 -u {unit}");
        self.run_any(&script, 10_000)
            .map(|outcome| outcome.stdout + &outcome.stderr)
            .unwrap_or_else(|error| format!("{error:#}"))
    }

    /// Waits until a request to `url` inside is answered with 200.
    ///
    /// # Errors
    /// When it is not in time; the message has the end of the service's log.
    pub fn wait_ready(&self, url: &str, limit_ms: u64) -> Result<()> {
        let script = format!("curl -sf -m 2 -o /dev/null {url}");
        clock::wait_for_every(100, url, limit_ms, || {
            self.run_any(&script, 5_000).is_ok_and(|it| it.code == Some(0)).then_some(())
        })
        .with_context(|| self.journal("leasehold"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // All processes of a machine end with its first; then their group can go.
        let _ = self.process.kill();
        self.group.remove();
    }
}

/// `script` in the namespaces of process `init`.
fn inside(init: u32, script: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--target", &init.to_string(), "--all", "--root", "--wdns=/root", "env", "-i"]);
    command
        .args(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"]);
    command.args(["LC_ALL=C.UTF-8", "bash", "-c", script]);
    command
}

/// The control group that is the root of all groups to a machine.
#[derive(Debug)]
struct ControlGroup {
    path: PathBuf,
}

impl ControlGroup {
    fn create(name: &str) -> Result<ControlGroup> {
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        let root = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|words| words.get(2) == Some(&"cgroup2"))
            .and_then(|words| words.get(1).map(PathBuf::from))
            .context("no control groups of version 2 are mounted here")?;
        // Groups of tests that were killed; what ran in them was ended with their namespaces.
        for entry in std::fs::read_dir(&root)?.flatten() {
            if cleanup::is_orphan(&entry.file_name().to_string_lossy()) {
                ControlGroup { path: entry.path() }.remove();
            }
        }
        let path = root.join(name);
        std::fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(ControlGroup { path })
    }

    fn remove(&self) {
        let mut find = Command::new("find");
        find.arg(&self.path).args(["-depth", "-type", "d", "-delete"]);
        // The kernel needs a moment to see that the last process is gone.
        let _ = clock::wait_for("a control group to be empty", 2_000, || {
            let _ = shell::run(&mut find);
            (!self.path.exists()).then_some(())
        });
    }
}

/// Builds the Debian package of the programs under test into `lab` and gives its path.
///
/// # Errors
/// When it cannot be built.
pub fn package(lab: &Path) -> Result<PathBuf> {
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/debian/build");
    let mut command = Command::new(build);
    command.args(["--fast", "--output"]).arg(lab);
    command.env("LEASEHOLD_BIN", gate::binary("leasehold", "LEASEHOLD_BIN")?);
    command.env("CLUSTER_CTL_BIN", gate::binary("cluster-ctl", "CLUSTER_CTL_BIN")?);
    let printed = shell::run(&mut command)?;
    Ok(PathBuf::from(printed.trim()))
}

/// A name under which a machine sees `file`, which lies in the directory of its test.
///
/// # Errors
/// When the path has no last part.
pub fn seen(file: &Path) -> Result<String> {
    let name = file.file_name().with_context(|| file.display().to_string())?;
    Ok(format!("/media/lab/{}", name.to_string_lossy()))
}

/// What a DHCP client got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    pub address: String,
    pub server: String,
    pub seconds: u64,
}

/// Has udhcpc get a lease on `eth0` of `client`, and end. The interface keeps what it had.
///
/// # Errors
/// When it gets none within 20 s.
pub fn lease(client: &Namespace) -> Result<Got> {
    let mut command = client.command("udhcpc");
    command.args(["-f", "-q", "-n", "-i", "eth0", "-s", "/bin/true", "-t", "15", "-T", "1"]);
    let outcome = shell::run_any(&mut command, 20_000)?;
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    // udhcpc: lease of 10.77.16.0 obtained from 10.77.0.1, lease time 3600
    let words: Vec<&str> = said.split([' ', ',', '\n']).filter(|word| !word.is_empty()).collect();
    let after = |marks: &[&str]| {
        let at = words.windows(marks.len()).position(|window| window == marks)?;
        words.get(at + marks.len()).map(|word| (*word).to_owned())
    };
    let got = || {
        Some(Got {
            address: after(&["lease", "of"])?,
            server: after(&["obtained", "from"])?,
            seconds: after(&["lease", "time"])?.parse().ok()?,
        })
    };
    got().with_context(|| format!("no lease: {said}"))
}
