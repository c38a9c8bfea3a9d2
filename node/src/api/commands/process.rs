//! Commands about the process: `list-commands`, `version-get`, `build-report`, `status-get`
//! (kea-api §2.1, §3.7). All answer from this node alone, with or without a leader.

use serde_json::{Map, Value, json};

use crate::api::backend::Sockets;
use crate::api::registry::COMMANDS;
use crate::api::spec::Origin::Daemon;
use crate::api::spec::{ApiContext, Args, Plan, Refusal, Reply, Spec};

/// `list-commands`.
pub const LIST_COMMANDS: Spec = Spec::reads("list-commands", Daemon, list_commands)
    .about("Returns the names of all commands.")
    .local();
/// `version-get`.
pub const VERSION_GET: Spec =
    Spec::reads("version-get", Daemon, version_get).about("Returns the version.").local();
/// `build-report`.
pub const BUILD_REPORT: Spec = Spec::reads("build-report", Daemon, build_report)
    .about("Returns how the program was built.")
    .local();
/// `status-get`.
pub const STATUS_GET: Spec =
    Spec::reads("status-get", Daemon, status_get).about("Returns the health of this node.").local();

fn list_commands(_: &Args<'_>, _: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let names: Vec<&str> = COMMANDS.iter().map(|spec| spec.name).collect();
    Ok(Plan::Answer(Reply::data(&names)))
}

fn version_get(_: &Args<'_>, _: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let version = crate::VERSION;
    let extended =
        format!("{version}\nLeasehold, a DHCP server that is a cluster\ncontrol API of Kea 3");
    Ok(Plan::Answer(Reply::success(version).with(&json!({ "extended": extended }))))
}

fn build_report(_: &Args<'_>, _: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let profile = if cfg!(debug_assertions) { "with" } else { "without" };
    Ok(Plan::Answer(Reply::success(format!(
        " \n   Leasehold build report:\n\n   Version:    {}\n   Target:     {} {}\n   Assertions: {profile}\n   \
         Consensus:  openraft\n   Storage:    raft-log, sled\n",
        crate::VERSION,
        std::env::consts::ARCH,
        std::env::consts::OS,
    ))))
}

/// Kea's status of a daemon. A Raft cluster does not fit Kea's pair of servers, so there is no
/// `high-availability` here; `cluster-status` has it all.
fn status_get(_: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let node = cx.node;
    let mut arguments = Map::new();
    arguments.insert(
        "dhcp-state".into(),
        json!({
            "disabled-by-db-connection": false,
            "disabled-by-local-command": [],
            "disabled-by-remote-command": [],
            "disabled-by-user": false,
            "globally-disabled": false,
        }),
    );
    let threads = cx.view.config().map(|config| config.multi_threading);
    let threads = threads.filter(|threads| threads.enabled);
    arguments.insert("multi-threading-enabled".into(), threads.is_some().into());
    if let Some(threads) = threads {
        arguments.insert("packet-queue-size".into(), threads.queue.into());
    }
    arguments.insert("pid".into(), node.pid.into());
    arguments.insert("reload".into(), node.since_reload.as_secs().into());
    let (status, errors): (&str, &[String]) = match &node.sockets {
        Sockets::Ready => ("ready", &[]),
        Sockets::Retrying(errors) => ("retrying", errors),
        Sockets::Failed(errors) => ("failed", errors),
    };
    let mut sockets = Map::new();
    if !errors.is_empty() {
        sockets.insert("errors".into(), errors.into());
    }
    sockets.insert("status".into(), status.into());
    arguments.insert("sockets".into(), Value::Object(sockets));
    if let Some(threads) = threads {
        arguments.insert("thread-pool-size".into(), threads.threads.into());
    }
    arguments.insert("uptime".into(), node.uptime.as_secs().into());
    Ok(Plan::Answer(Reply::data(&arguments)))
}
