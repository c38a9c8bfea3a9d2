//! `ha-*`, and what `status-get` says of high availability (kea-api §2.7, §3.12).
//!
//! Kea knows pairs of servers; a cluster is shown as one pair for each other node. The leases are
//! replicated by the log, so there is nothing to synchronise, reset or distribute by hand: those
//! commands answer and change nothing. Maintenance is real: the node is drained through the log, its
//! peers answer its clients, and it can be stopped ([`Liveness::Maintenance`]). Whether it can be
//! spared is decided in `apply`.

use serde_json::{Value, json};

use crate::api::backend::{Effect, Member, NodeReport, Role};
use crate::api::date;
use crate::api::spec::Origin::HighAvailability;
use crate::api::spec::{
    ApiContext, Args, Argument, Code, Kind, Plan, Refusal, Reply, Spec, needed, optional,
};
use crate::state::Liveness;
use crate::types::NodeId;

const SERVER_NAME: Argument = optional(
    "server-name",
    Kind::Text,
    "A server of the cluster, by the `name` of its settings or its number.",
);
const PARTNER: Argument = optional(
    "server-name",
    Kind::Text,
    "The server that is to be stopped; needed when there is more than one other.",
);

/// `ha-heartbeat`.
pub const HEARTBEAT: Spec = Spec::writes("ha-heartbeat", HighAvailability, heartbeat)
    .about("Returns the state of this node in the words of Kea's pairs.")
    .takes(&[SERVER_NAME])
    .local();
/// `ha-scopes`.
pub const SCOPES: Spec = Spec::writes("ha-scopes", HighAvailability, scopes)
    .about("Answers and changes nothing: every node may answer every client.")
    .takes(&[needed("scopes", Kind::List, "Names of servers."), SERVER_NAME])
    .local();
/// `ha-continue`.
pub const CONTINUE: Spec = Spec::writes("ha-continue", HighAvailability, go_on)
    .about("Answers that nothing is paused: there is no state machine that pauses.")
    .takes(&[SERVER_NAME])
    .local();
/// `ha-reset`.
pub const RESET: Spec = Spec::writes("ha-reset", HighAvailability, reset)
    .about("Answers and changes nothing: the cluster finds its own state.")
    .takes(&[SERVER_NAME])
    .local();
/// `ha-sync`: the barrier before every write makes the answer true.
pub const SYNC: Spec = Spec::writes("ha-sync", HighAvailability, sync)
    .about("Answers once this node has applied every lease that was acknowledged anywhere before.")
    .takes(&[
        needed("server-name", Kind::Text, "A server of the cluster."),
        optional(
            "max-period",
            Kind::Integer,
            "Seconds; not needed, since no service stops for it.",
        ),
    ]);
/// `ha-sync-complete-notify`.
pub const SYNC_COMPLETE: Spec =
    Spec::writes("ha-sync-complete-notify", HighAvailability, sync_complete)
        .about("Answers and changes nothing: it is for Kea's partners among themselves.")
        .takes(&[SERVER_NAME, optional("origin-id", Kind::Integer, "Not used.")])
        .local();
/// `ha-maintenance-start`.
pub const MAINTENANCE_START: Spec =
    Spec::writes("ha-maintenance-start", HighAvailability, maintenance_start)
        .about(
            "Drains another node, so that it may be stopped: its peers answer its clients and lead in its place. \
             Refused when too few would be left. It lasts until it is cancelled, or the node has been restarted.",
        )
        .takes(&[PARTNER]);
/// `ha-maintenance-cancel`.
pub const MAINTENANCE_CANCEL: Spec =
    Spec::writes("ha-maintenance-cancel", HighAvailability, maintenance_cancel)
        .about("Takes ha-maintenance-start back.")
        .takes(&[optional(
            "server-name",
            Kind::Text,
            "The server that was drained; needed when there is more than one.",
        )]);
/// `ha-maintenance-notify`.
pub const MAINTENANCE_NOTIFY: Spec =
    Spec::writes("ha-maintenance-notify", HighAvailability, maintenance_notify)
        .about("Drains the node that is asked, as ha-maintenance-start does another, or ends that.")
        .takes(&[
            needed("cancel", Kind::Boolean, "Whether the maintenance ends; else it begins."),
            optional("state", Kind::Text, "The partner's state; not used."),
            SERVER_NAME,
        ]);

fn heartbeat(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    named(args, "ha-heartbeat", cx)?;
    let state = own_state(cx);
    Ok(Plan::Answer(Reply::success("HA peer status returned.").with(&json!({
        "date-time": date::rfc1123(cx.node.wall),
        "scopes": own_scopes(cx),
        "state": state,
        "unsent-update-count": 0,
    }))))
}

fn scopes(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    const COMMAND: &str = "ha-scopes";
    some(args, COMMAND)?;
    let scopes = args.get("scopes").ok_or_else(|| {
        Refusal::error(format!("'scopes' is mandatory for the '{COMMAND}' command"))
    })?;
    let scopes = scopes.as_array().ok_or_else(|| {
        Refusal::error(format!("'scopes' must be a list in the '{COMMAND}' command"))
    })?;
    for scope in scopes {
        let name = scope.as_str().ok_or_else(|| {
            Refusal::error(format!("scope values in the '{COMMAND}' command must be strings"))
        })?;
        find(name, cx).map_err(|_| {
            Refusal::error(format!(
                "invalid server name specified '{name}' while enabling/disabling HA scopes"
            ))
        })?;
    }
    named(args, COMMAND, cx)?;
    success(
        "New HA scopes configured. They change nothing: every server of the cluster may answer every client.",
    )
}

fn go_on(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    named(args, "ha-continue", cx)?;
    success("HA state machine is not paused.")
}

fn reset(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    named(args, "ha-reset", cx)?;
    success("HA state machine reset. That changes nothing: the cluster finds its own state.")
}

fn sync(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    const COMMAND: &str = "ha-sync";
    some(args, COMMAND)?;
    if args.get("server-name").is_none() {
        return Err(Refusal::error(format!(
            "'server-name' is mandatory for the '{COMMAND}' command"
        )));
    }
    named(args, COMMAND, cx)?;
    match args.get("max-period") {
        Some(period) if period.as_i64().is_none_or(|seconds| seconds <= 0) => Err(Refusal::error(
            format!("'max-period' must be a positive integer in the '{COMMAND}' command"),
        )),
        _ => success("Lease database synchronization complete."),
    }
}

fn sync_complete(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    const COMMAND: &str = "ha-sync-complete-notify";
    named(args, COMMAND, cx)?;
    match args.get("origin-id") {
        Some(id) if !(id.is_i64() || id.is_u64()) => Err(Refusal::error(format!(
            "'origin-id' must be an integer in the '{COMMAND}' command"
        ))),
        _ => success("Server successfully notified about the synchronization completion."),
    }
}

fn maintenance_start(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let own = cx.node.node;
    let partner = match named(args, "ha-maintenance-start", cx)? {
        Some(node) if node != own => node,
        // Kea's name of the pair: that of this server means the other one, if there is only one.
        _ => only(cx.node.members.iter().filter(|member| member.id != own), cx)?,
    };
    begin(
        partner,
        cx,
        Code::Error,
        "Server is now in the partner-in-maintenance state and its partner is in-maintenance state. The partner \
         can be now safely shut down.",
    )
}

fn maintenance_cancel(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    const NOBODY: &str = "Unable to cancel maintenance request because the server is not in the \
                          partner-in-maintenance state.";
    let own = cx.node.node;
    let maintained = |member: &&Member| liveness(member.id, cx) == Some(Liveness::Maintenance);
    let node = match named(args, "ha-maintenance-cancel", cx)? {
        Some(node) if liveness(node, cx) == Some(Liveness::Maintenance) => node,
        Some(node) if node != own => return Err(Refusal::error(NOBODY)),
        _ if !cx.node.members.iter().any(|member| maintained(&member)) => {
            return Err(Refusal::error(NOBODY));
        }
        _ => only(cx.node.members.iter().filter(maintained), cx)?,
    };
    end(node, "Server maintenance successfully canceled.")
}

fn maintenance_notify(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    const COMMAND: &str = "ha-maintenance-notify";
    if args.is_absent() {
        return Err(Refusal::error(format!("invalid command '{COMMAND}': no arguments specified")));
    }
    some(args, COMMAND)?;
    let cancel = args.get("cancel").ok_or_else(|| {
        Refusal::error(format!("'cancel' is mandatory for the '{COMMAND}' command"))
    })?;
    let cancel = cancel.as_bool().ok_or_else(|| {
        Refusal::error(format!("'cancel' must be a boolean in the '{COMMAND}' command"))
    })?;
    if args.get("state").is_some_and(|state| !state.is_string()) {
        return Err(Refusal::error(format!("'state' must be a string in the '{COMMAND}' command")));
    }
    named(args, COMMAND, cx)?;
    let own = cx.node.node;
    match cancel {
        false => begin(own, cx, Code::NoMaintenance, "Server is in-maintenance state."),
        true if liveness(own, cx) == Some(Liveness::Maintenance) => {
            end(own, "Server maintenance canceled.")
        }
        true => Err(Refusal::error(
            "Unable to cancel maintenance for the server not in the in-maintenance state.",
        )),
    }
}

/// Drains a node, if it can be spared.
fn begin(
    node: NodeId,
    cx: &ApiContext<'_>,
    refused: Code,
    text: &'static str,
) -> Result<Plan, Refusal> {
    let name = name_of(node, cx);
    if let Some(why) = why_needed(node, cx) {
        return Err(Refusal { code: refused, text: why });
    }
    Ok(Plan::effect(Effect::Maintain(node, true), move |acted| match acted {
        Ok(_) => Reply::success(text),
        Err(cause) => Reply::failure(refused, format!("Server {name} is not drained: {cause}.")),
    }))
}

/// Why a node cannot be spared. It can if the others that answer clients now are more than half of
/// all: then somebody answers whatever happens to a minority, and a majority is left when the node is
/// stopped. `apply` decides in the end; here is seen what it cannot know.
pub(super) fn why_needed(node: NodeId, cx: &ApiContext<'_>) -> Option<String> {
    let name = name_of(node, cx);
    let needed =
        cx.node.members.iter().filter(|member| member.role != Role::Learner).count() / 2 + 1;
    let serving = |member: &&Member| {
        let disabled = match member.id == cx.node.node {
            true => !cx.node.disabled_by.is_empty(),
            false => member.disabled || member.reachable == Some(false),
        };
        member.role != Role::Learner && !disabled && liveness(member.id, cx) == Some(Liveness::Up)
    };
    let others = cx.node.members.iter().filter(|member| member.id != node);
    let (left, away): (Vec<&Member>, Vec<&Member>) = others.partition(serving);
    if left.len() >= needed {
        return None;
    }
    let away: Vec<String> = away.iter().map(|member| name_of(member.id, cx)).collect();
    let without = match &away[..] {
        [] => String::new(),
        away => {
            format!(
                " Not counted, since they do not serve now or have no vote: {}.",
                away.join(", ")
            )
        }
    };
    Some(format!(
        "Server {name} is needed: without it {} would be left to answer clients and to hold the cluster \
         together, and {needed} must be.{without}",
        left.len()
    ))
}

fn end(node: NodeId, text: &'static str) -> Result<Plan, Refusal> {
    Ok(Plan::effect(Effect::Maintain(node, false), move |acted| match acted {
        Ok(_) => Reply::success(text),
        Err(cause) => {
            Reply::failure(Code::Error, format!("The maintenance was not canceled: {cause}."))
        }
    }))
}

fn success(text: &str) -> Result<Plan, Refusal> {
    Ok(Plan::Answer(Reply::success(text)))
}

fn some(args: &Args<'_>, command: &str) -> Result<(), Refusal> {
    if args.is_absent() {
        return Err(Refusal::error(format!("arguments not found in the '{command}' command")));
    }
    match args.map() {
        Some(_) => Ok(()),
        None => Err(Refusal::error(format!("arguments in the '{command}' command are not a map"))),
    }
}

/// The server of `server-name`, if it is given.
fn named(args: &Args<'_>, command: &str, cx: &ApiContext<'_>) -> Result<Option<NodeId>, Refusal> {
    if !args.is_absent() {
        some(args, command)?;
    }
    let Some(name) = args.get("server-name") else { return Ok(None) };
    let name = name.as_str().ok_or_else(|| {
        Refusal::error(format!("'server-name' must be a string in the '{command}' command"))
    })?;
    find(name, cx).map(Some)
}

fn find(name: &str, cx: &ApiContext<'_>) -> Result<NodeId, Refusal> {
    let fits = |member: &&Member| name_of(member.id, cx) == name;
    let mut found = cx.node.members.iter().filter(fits);
    match (found.next(), found.next()) {
        (Some(member), None) => Ok(member.id),
        (Some(_), Some(_)) => Err(Refusal::error(format!(
            "several servers are called {name}: name one by its number"
        ))),
        (None, _) => {
            let by_number = |member: &&Member| name.parse() == Ok(member.id.0);
            let found = cx.node.members.iter().find(by_number).map(|member| member.id);
            found.ok_or_else(|| {
                Refusal::error(format!("{name} matches no configured 'server-name'"))
            })
        }
    }
}

/// The one that is meant when nobody is named.
fn only<'a>(
    mut members: impl Iterator<Item = &'a Member>,
    cx: &ApiContext<'_>,
) -> Result<NodeId, Refusal> {
    match (members.next(), members.next()) {
        (None, _) => Err(Refusal::error("There is no other server in this cluster.")),
        (Some(one), None) => Ok(one.id),
        (Some(one), Some(two)) => {
            let all = [one, two].into_iter().chain(members);
            let names: Vec<String> = all.map(|member| name_of(member.id, cx)).collect();
            Err(Refusal::error(format!(
                "Several servers may be meant, name one with 'server-name': {}.",
                names.join(", ")
            )))
        }
    }
}

pub(super) fn name_of(node: NodeId, cx: &ApiContext<'_>) -> String {
    let entry = cx.view.meta().node(node).and_then(|entry| entry.info.as_ref());
    let name = entry.map_or("", |info| info.name.as_str());
    match name {
        "" if node == cx.node.node => cx.node.name.clone(),
        "" => node.to_string(),
        name => name.to_owned(),
    }
}

pub(super) fn liveness(node: NodeId, cx: &ApiContext<'_>) -> Option<Liveness> {
    cx.view.meta().node(node).map(|entry| entry.liveness)
}

/// Entries behind which a node counts as catching up.
const LAG: u64 = 1_000;

/// The state of this node in Kea's words (kea-api §3.12, end).
fn own_state(cx: &ApiContext<'_>) -> &'static str {
    let node = cx.node;
    let learns =
        node.members.iter().any(|member| member.id == node.node && member.role == Role::Learner);
    match liveness(node.node, cx) {
        _ if node.leader.is_none() => "waiting",
        Some(Liveness::Maintenance | Liveness::Draining) => "in-maintenance",
        _ if learns || node.committed.saturating_sub(node.applied) > LAG => "syncing",
        _ => "load-balancing",
    }
}

/// The state of a peer, as this node knows it.
fn peer_state(member: &Member, cx: &ApiContext<'_>) -> &'static str {
    let behind = member.applied.map_or(0, |applied| cx.node.committed.saturating_sub(applied));
    match liveness(member.id, cx) {
        _ if member.reachable != Some(true) => "unavailable",
        _ if cx.node.leader.is_none() => "waiting",
        Some(Liveness::Maintenance | Liveness::Draining) => "in-maintenance",
        _ if member.role == Role::Learner || behind > LAG => "syncing",
        // It has caught up, and the leader watches it for a few seconds more.
        Some(Liveness::Down) => "ready",
        _ => "load-balancing",
    }
}

/// Whose clients a server answers: its own, while it answers anybody's.
fn scopes_in(state: &str, disabled: bool, name: String) -> Vec<String> {
    if state == "load-balancing" && !disabled { vec![name] } else { Vec::new() }
}

fn own_scopes(cx: &ApiContext<'_>) -> Vec<String> {
    let disabled = !cx.node.disabled_by.is_empty();
    scopes_in(own_state(cx), disabled, name_of(cx.node.node, cx))
}

/// `high-availability` of `status-get`: a relationship with each peer, this node being the local one.
/// `None` where the configuration does not list the hook, or there is no peer: see
/// `docs/decisions/2026-11-29-a-cluster-as-pairs.md`.
pub(super) fn relationships(cx: &ApiContext<'_>) -> Option<Value> {
    if !cx.view.config()?.hooks.high_availability {
        return None;
    }
    let peers = cx.node.members.iter().filter(|member| member.id != cx.node.node);
    let pairs: Vec<Value> = peers.map(|peer| relationship(peer, cx)).collect();
    (!pairs.is_empty()).then(|| pairs.into())
}

fn relationship(peer: &Member, cx: &ApiContext<'_>) -> Value {
    let node: &NodeReport = cx.node;
    let role = |first| if first { "primary" } else { "secondary" };
    let (state, name) = (peer_state(peer, cx), name_of(peer.id, cx));
    let first = node.node < peer.id;
    json!({
        "ha-mode": "load-balancing",
        "ha-servers": {
            "local": {
                "role": role(first),
                "scopes": own_scopes(cx),
                "server-name": name_of(node.node, cx),
                "state": own_state(cx),
                "system-time": date::plain(node.wall),
            },
            "remote": {
                "age": peer.heard_ago.map_or(0, |ago| ago.as_secs()),
                "analyzed-packets": 0,
                "clock-skew": null,
                "communication-interrupted": peer.reachable == Some(false),
                "connecting-clients": 0,
                "in-touch": peer.heard_ago.is_some(),
                "last-scopes": scopes_in(state, peer.disabled, name.clone()),
                "last-state": state,
                "role": role(!first),
                "server-name": name,
                "system-time": null,
                "unacked-clients": 0,
                "unacked-clients-left": 0,
            },
        },
    })
}
