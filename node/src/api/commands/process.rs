//! Commands about the process: what it is, how it is, and its end (kea-api §2.1, §3.7). All answer from
//! this node alone, with or without a leader.

use serde_json::{Map, Value, json};

use super::ha;
use crate::api::backend::{Acted, Effect, Interface, NodeReport, Sockets};
use crate::api::registry::COMMANDS;
use crate::api::spec::Origin::Daemon;
use crate::api::spec::{ApiContext, Args, Code, Kind, Plan, Refusal, Reply, Spec, optional};
use crate::serve::service::OriginKind;

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
/// `server-tag-get`.
pub const SERVER_TAG_GET: Spec = Spec::reads("server-tag-get", Daemon, server_tag_get)
    .about("Returns the `server-tag` of the configuration.")
    .local();
/// `interface-list`.
pub const INTERFACE_LIST: Spec = Spec::reads("interface-list", Daemon, interface_list)
    .about("Returns the interfaces of this node's machine, and which of them serve DHCP.")
    .local();
/// `interface-redetect`.
pub const INTERFACE_REDETECT: Spec = Spec::writes("interface-redetect", Daemon, interface_redetect)
    .about("Looks for new interfaces, which the node does by itself too, and returns all.")
    .local();
/// `kea-lfc-start`.
pub const LFC_START: Spec = Spec::writes("kea-lfc-start", Daemon, lfc_start)
    .about("Has this node write a snapshot of its state and cut off the log before it.")
    .local();
/// `shutdown`.
pub const SHUTDOWN: Spec = Spec::writes("shutdown", Daemon, shutdown)
    .about("Stops this node in an orderly way: leadership and clients go to its peers.")
    .takes(&[optional(
        "exit-value",
        Kind::Integer,
        "The exit status of the process, of which the system keeps the low eight bits; 0 by default.",
    )])
    .local();

fn list_commands(_: &Args<'_>, _: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let names: Vec<&str> = COMMANDS.iter().map(|spec| spec.name).collect();
    Ok(Plan::Answer(Reply::data(&names)))
}

fn version_get(_: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let version = if cx.node.as_kea { crate::KEA_VERSION } else { crate::VERSION };
    let extended = crate::extended_version(version);
    Ok(Plan::Answer(Reply::success(version).with(&json!({ "extended": extended }))))
}

fn build_report(_: &Args<'_>, _: &ApiContext<'_>) -> Result<Plan, Refusal> {
    Ok(Plan::Answer(Reply::success(crate::build_report())))
}

/// Kea's status of a daemon, as Kea 3 has it. `cluster-status` says what does not fit in.
fn status_get(_: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let node = cx.node;
    let mut arguments = Map::new();
    arguments.insert("dhcp-state".into(), dhcp_state(node));
    if let Some(relationships) = ha::relationships(cx) {
        arguments.insert("high-availability".into(), relationships);
    }
    let threads = cx.view.config().map(|config| config.multi_threading);
    let threads = threads.filter(|threads| threads.enabled);
    arguments.insert("multi-threading-enabled".into(), threads.is_some().into());
    if let Some(threads) = threads {
        arguments.insert("packet-queue-size".into(), threads.queue.into());
        let means = node.queue.map(|mean| (mean * 1000.0).round() / 1000.0);
        arguments.insert("packet-queue-statistics".into(), json!(means));
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
        // 0 asks for as many as there are processors, and Kea shows how many that is.
        let size = if threads.threads == 0 { node.processors } else { threads.threads };
        arguments.insert("thread-pool-size".into(), size.into());
    }
    arguments.insert("uptime".into(), node.uptime.as_secs().into());
    Ok(Plan::Answer(Reply::data(&arguments)))
}

/// Who keeps this node from answering, in the form of Kea 3.0.
fn dhcp_state(node: &NodeReport) -> Value {
    let numbers = |kind: OriginKind| -> Vec<u32> {
        let of_kind = node.disabled_by.iter().filter(|origin| origin.kind() == kind);
        of_kind.map(|origin| origin.number()).collect()
    };
    json!({
        "disabled-by-db-connection": numbers(OriginKind::Database),
        "disabled-by-local-command": numbers(OriginKind::Local),
        "disabled-by-remote-command": numbers(OriginKind::Remote),
        "disabled-by-user": !numbers(OriginKind::User).is_empty(),
        "globally-disabled": !node.disabled_by.is_empty(),
    })
}

fn server_tag_get(_: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let Some(config) = cx.view.config().cloned() else {
        return Ok(Plan::Answer(Reply::data(&json!({ "server-tag": "" }))));
    };
    Ok(Plan::later(move || {
        let document = config.document_json();
        let tag = document.pointer("/Dhcp4/server-tag").and_then(Value::as_str).unwrap_or_default();
        Ok(Plan::Answer(Reply::data(&json!({ "server-tag": tag }))))
    }))
}

fn interface_list(_: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    Ok(Plan::Answer(interfaces(&cx.node.interfaces)))
}

fn interface_redetect(_: &Args<'_>, _: &ApiContext<'_>) -> Result<Plan, Refusal> {
    Ok(Plan::effect(Effect::DetectInterfaces, |acted| match acted {
        Ok(Acted::Interfaces(found)) => interfaces(&found),
        Ok(other) => Reply::failure(Code::Error, format!("unexpected result: {other:?}")),
        Err(cause) => {
            Reply::failure(Code::Error, format!("The interfaces cannot be read: {cause}."))
        }
    }))
}

fn interfaces(found: &[Interface]) -> Reply {
    let one = |interface: &Interface| {
        let state = &interface.state;
        let addresses: Vec<String> =
            state.addresses.iter().map(|one| one.address.to_string()).collect();
        let mac: Vec<String> =
            state.mac.iter().flatten().map(|byte| format!("{byte:02x}")).collect();
        json!({
            "addresses": addresses,
            "flag-broadcast": state.broadcasts,
            "flag-loopback": state.loopback,
            "flag-multicast": state.multicast,
            "flag-running": state.running,
            "flag-up": state.up,
            "in-use": interface.in_use,
            "index": state.index,
            "mac": mac.join(":"),
            "name": state.name,
            "type": state.kind,
        })
    };
    let list: Vec<Value> = found.iter().map(one).collect();
    Reply::success(format!("{} interfaces detected.", list.len()))
        .with(&json!({ "interfaces": list }))
}

fn lfc_start(_: &Args<'_>, _: &ApiContext<'_>) -> Result<Plan, Refusal> {
    Ok(Plan::effect(Effect::Compact, |acted| match acted {
        Ok(_) => {
            Reply::success("A snapshot was begun; the log before it is cut off when it is done.")
        }
        Err(cause) => Reply::failure(Code::Error, format!("No snapshot was begun: {cause}.")),
    }))
}

fn shutdown(args: &Args<'_>, _: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let status = match args.get("exit-value") {
        None => 0,
        Some(value) => value
            .as_i64()
            .ok_or_else(|| Refusal::error("parameter 'exit-value' is not an integer"))?,
    };
    // What the system makes of it.
    let status = status.to_le_bytes()[0];
    Ok(Plan::effect(Effect::Stop(status), |acted| match acted {
        Ok(_) => Reply::success("Shutting down."),
        Err(cause) => Reply::failure(Code::Error, cause),
    }))
}
