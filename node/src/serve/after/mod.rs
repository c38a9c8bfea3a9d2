//! What follows a commit and no client waits for: scripts as Kea's run_script hook runs them, and
//! name change requests to a DNS daemon.
//!
//! Best effort, by one node: the one whose command did it. What that node had not done when it died
//! is lost. Nothing here is in a packet's way: the worker puts a [`Happening`] into a bounded queue
//! and goes on; a full queue loses the newest, and that is counted. A script runs beside the others,
//! at most [`SCRIPTS`] at a time, is ended after [`SCRIPT_TIME`], and sees no environment but Kea's
//! variables and a plain `PATH`. It must be a file that only root can change ([`may_run`]).

pub mod happening;
pub mod name_change;
pub mod script;
#[cfg(test)]
mod testing;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::net::UdpSocket;
use tokio::process::Command;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

pub use happening::{Before, Happening, Query, What};

use super::counters::{Counters, count};
use crate::config::DdnsClient;
use crate::observe::quiet::seldom;
use crate::raft::Raft;
use crate::state::{Lease, Meta, State};
use script::Call;

/// The most happenings that wait.
const QUEUE: usize = 4_096;
/// The most scripts at a time, and the most that wait for their turn.
const SCRIPTS: usize = 16;
const WAITING_SCRIPTS: usize = 4_096;
/// How long a script may take.
const SCRIPT_TIME: Duration = Duration::from_secs(60);
/// How long this node may be behind its own command.
const BEHIND: Duration = Duration::from_secs(5);
/// What scripts find programs by.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The way into the queue.
#[derive(Debug, Clone)]
pub struct After {
    queue: mpsc::Sender<Happening>,
    counters: Arc<Counters>,
}

/// The task that works the queue off.
#[derive(Debug)]
pub struct AfterTask {
    queue: mpsc::Receiver<Happening>,
    counters: Arc<Counters>,
    raft: Raft,
    state: Arc<RwLock<State>>,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    socket: Option<(DdnsClient, UdpSocket)>,
}

impl After {
    /// The queue and its task.
    pub fn new(
        raft: Raft,
        state: Arc<RwLock<State>>,
        counters: Arc<Counters>,
    ) -> (After, AfterTask) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let task = AfterTask {
            queue,
            counters: Arc::clone(&counters),
            raft,
            state,
            running: Arc::new(Semaphore::new(SCRIPTS)),
            waiting: Arc::new(Semaphore::new(WAITING_SCRIPTS)),
            socket: None,
        };
        (After { queue: sender, counters }, task)
    }

    /// Takes note of what happened. Never waits; false when it is lost, because too much waits.
    pub fn tell(&self, happening: Happening) -> bool {
        let taken = self.queue.try_send(happening).is_ok();
        if !taken {
            count(&self.counters.happenings_lost);
        }
        taken
    }
}

impl AfterTask {
    /// Works until the last [`After`] is gone.
    pub async fn run(mut self) {
        while let Some(happening) = self.queue.recv().await {
            let (lease, meta) = self.lease_of(&happening).await;
            for change in name_change::changes(&happening, lease.as_deref(), &meta) {
                self.send(&happening.config.ddns, &change.to_bytes()).await;
            }
            if let Some(run) = &happening.config.hooks.run_script {
                for call in script::calls(&happening, lease.as_deref(), &meta) {
                    self.start(&run.path, call);
                }
            }
        }
    }

    /// The lease after a grant, once this node has applied it; none if it is another's by then.
    async fn lease_of(&self, happening: &Happening) -> (Option<Arc<Lease>>, Meta) {
        if let What::Granted { index, .. } = &happening.what {
            let mut progress = self.raft.progress();
            let applied = async {
                while self.state.read().applied() < *index {
                    if progress.changed().await.is_err() {
                        return;
                    }
                }
            };
            let _ = timeout(BEHIND, applied).await;
        }
        let state = self.state.read();
        let view = state.view();
        (happening.what.written(view), view.meta().clone())
    }

    async fn send(&mut self, ddns: &DdnsClient, bytes: &[u8]) {
        let sent = match self.socket(ddns).await {
            Ok(socket) => socket.send_to(bytes, ddns.server).await.map(|_| ()),
            Err(error) => Err(error),
        };
        match sent {
            Ok(()) => count(&self.counters.name_changes),
            Err(error) => {
                count(&self.counters.name_changes_lost);
                tracing::debug!(%error, server = %ddns.server, "a name change request was not sent");
            }
        }
    }

    /// The socket that goes with the configuration.
    async fn socket(&mut self, ddns: &DdnsClient) -> std::io::Result<&UdpSocket> {
        if self.socket.as_ref().is_none_or(|(made_for, _)| made_for != ddns) {
            let any: SocketAddr = match ddns.server {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(ddns.sender.unwrap_or(any)).await?;
            self.socket = Some((ddns.clone(), socket));
        }
        match &self.socket {
            Some((_, socket)) => Ok(socket),
            None => Err(std::io::ErrorKind::NotConnected.into()),
        }
    }

    /// Runs the script beside this task.
    fn start(&self, path: &str, call: Call) {
        let Ok(place) = Arc::clone(&self.waiting).try_acquire_owned() else {
            return count(&self.counters.scripts_lost);
        };
        let (running, counters, path) =
            (Arc::clone(&self.running), Arc::clone(&self.counters), path.to_owned());
        tokio::spawn(async move {
            let Ok(_turn) = running.acquire_owned().await else { return };
            drop(place);
            count(&counters.scripts);
            if let Err(why) = run(&path, &call).await {
                let failed = counters.scripts_failed.fetch_add(1, Relaxed);
                // A broken script fails at every packet.
                seldom!(
                    warn,
                    call.point,
                    script = path,
                    hook = call.point,
                    failed = failed + 1,
                    "{why}"
                );
            }
        });
    }
}

/// Whether a script may be run: the configuration that names it can come from whoever reaches the
/// control API, so only what the administrator of this machine has put there counts. The file and
/// every directory on the way belong to root or to this process' user, and nobody else can write to
/// them or replace what lies in them.
fn may_run(path: &Path) -> Result<(), String> {
    if !path.is_absolute() {
        return Err(format!(
            "the script must be named with its whole path, not {}",
            path.display()
        ));
    }
    let path = path.canonicalize().map_err(|error| format!("the script is not there: {error}"))?;
    // The owner of a process' own entry is its effective user (proc(5)).
    let own = Path::new("/proc/self").metadata().map_or(0, |about| about.uid());
    for place in path.ancestors() {
        let about = place.metadata().map_err(|error| format!("{}: {error}", place.display()))?;
        let others_write = about.mode() & 0o022 != 0;
        let sticky = about.is_dir() && about.mode() & 0o1000 != 0;
        if (about.uid() != 0 && about.uid() != own) || (others_write && !sticky) {
            return Err(format!(
                "the script is not run: {} can be changed by others than root; chown and chmod it",
                place.display()
            ));
        }
    }
    Ok(())
}

/// One run of the script; why it failed.
async fn run(path: &str, call: &Call) -> Result<(), String> {
    may_run(Path::new(path))?;
    let mut child = Command::new(path)
        .arg(call.point)
        .env_clear()
        .env("PATH", PATH)
        .envs(call.variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("the script cannot be started: {error}"))?;
    match timeout(SCRIPT_TIME, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("the script failed: {status}")),
        Ok(Err(error)) => Err(format!("the script is lost: {error}")),
        Err(_) => {
            let _ = child.kill().await;
            Err(format!("the script took over {} s and was ended", SCRIPT_TIME.as_secs()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_a_script_that_nobody_else_can_change_is_run() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script");
        fs::write(&script, "#!/bin/sh\n").unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
        set(&script, 0o755).unwrap();
        assert_eq!(may_run(&script), Ok(()));
        set(&script, 0o775).unwrap();
        assert!(may_run(&script).unwrap_err().contains("script can be changed"));
        set(&script, 0o755).unwrap();
        set(dir.path(), 0o777).unwrap();
        assert!(may_run(&script).is_err(), "somebody could put another in its place");
        assert!(may_run(Path::new("script")).unwrap_err().contains("whole path"));
        assert!(may_run(&dir.path().join("none")).unwrap_err().contains("not there"));
    }
}
