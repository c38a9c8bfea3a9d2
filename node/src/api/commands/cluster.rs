//! Commands of our own about the cluster: `cluster-status` and `cluster-leader-transfer`. They are
//! what `cluster-ctl` speaks.

use serde::Serialize;

use super::recovery;
use crate::api::backend::{Acted, Effect, Member, NodeReport, Role};
use crate::api::spec::Origin::Leasehold;
use crate::api::spec::{ApiContext, Args, Code, Kind, Plan, Refusal, Reply, Spec, optional};
use crate::state::{Liveness, View};
use crate::types::NodeId;

/// `cluster-status`.
pub const STATUS: Spec = Spec::reads("cluster-status", Leasehold, status)
    .about("Returns the cluster as this node sees it: members, leader, log positions.")
    .local();

/// `cluster-leader-transfer`.
pub const LEADER_TRANSFER: Spec =
    Spec::writes("cluster-leader-transfer", Leasehold, leader_transfer)
        .about("Moves leadership to another node.")
        .takes(&[optional(
            "node",
            Kind::TextOrInteger,
            "Whom to, by name or number; without it, whom the leader finds best.",
        )])
        .local();

/// The cluster as one node sees it. Indexes are positions in the Raft log.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ClusterStatus<'a> {
    /// The node that answers; everything is its view.
    node: u64,
    name: &'a str,
    cluster: &'a str,
    version: &'static str,
    term: u64,
    /// `null` when this node hears none.
    leader: Option<u64>,
    applied_index: u64,
    committed_index: u64,
    last_log_index: u64,
    /// The configuration that this node has applied.
    config_version: u64,
    /// The one that its sockets and workers follow; a moment behind, or for longer if it cannot.
    active_config_version: u64,
    /// What of it this node could not do.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    config_problems: &'a [String],
    /// What is dangerous about how this node may be reached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// What is unwise about who votes.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    membership_warnings: &'a [String],
    /// How many alarms there are that nobody has taken note of.
    #[serde(skip_serializing_if = "is_zero")]
    alarms: usize,
    /// What the cluster was made from, and what it holds back since (R28).
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery: Option<recovery::Shown>,
    leases: usize,
    uptime: u64,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    nodes: Vec<Node<'a>>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Node<'a> {
    id: u64,
    name: &'a str,
    rack: &'a str,
    /// Where its peers reach it.
    address: &'a str,
    /// Where its control API listens.
    control: &'a [String],
    version: &'a str,
    role: &'static str,
    /// The leader's replicated judgement (R16).
    liveness: &'static str,
    /// Whether it answers the node that answers this.
    reachable: Option<bool>,
    applied_index: Option<u64>,
    /// Entries it has not applied of those known to be committed.
    lag: Option<u64>,
    /// The configuration that its sockets follow, as it said last.
    active_config_version: Option<u64>,
    /// How many things stand in the way of that; it names them itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    config_problem_count: Option<u32>,
}

fn status(_: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let report = cx.node;
    let nodes: Vec<Node<'_>> = report.members.iter().map(|member| node(member, cx)).collect();
    let membership_warnings = super::node::warnings(cx);
    let status = ClusterStatus {
        node: report.node.0,
        name: &report.name,
        cluster: &report.cluster,
        version: crate::VERSION,
        term: report.term,
        leader: report.leader.map(|id| id.0),
        applied_index: report.applied,
        committed_index: report.committed,
        last_log_index: report.last_log,
        config_version: cx.view.config_version().0,
        active_config_version: report.active_config.0,
        config_problems: &report.config_problems,
        warnings: report
            .warnings
            .iter()
            .cloned()
            .chain(recovery::warning(cx.view.meta()))
            .collect(),
        membership_warnings: &membership_warnings,
        alarms: report.alarms.iter().filter(|alarm| !alarm.acknowledged).count(),
        recovery: recovery::shown(cx.view.meta()),
        leases: cx.view.lease_count(),
        uptime: report.uptime.as_secs(),
        ready: report.ready.is_ok(),
        reason: report.ready.as_ref().err().map(String::as_str),
        nodes,
    };
    Ok(Plan::Answer(Reply::success(summary(report, cx.view)).with(&status)))
}

fn node<'a>(member: &'a Member, cx: &ApiContext<'a>) -> Node<'a> {
    let entry = cx.view.meta().node(member.id);
    let info = entry.and_then(|entry| entry.info.as_ref());
    let own = member.id == cx.node.node;
    let applied = if own { Some(cx.node.applied) } else { member.applied };
    let active = if own { Some(cx.node.active()) } else { member.active };
    Node {
        id: member.id.0,
        name: info.map_or(if own { cx.node.name.as_str() } else { "" }, |info| &info.name),
        rack: info.map_or(if own { cx.node.rack.as_str() } else { "" }, |info| &info.rack),
        address: &member.address,
        control: info.map_or(&[], |info| &info.control),
        version: info.map_or("", |info| &info.version),
        role: role(member, cx.node),
        liveness: entry.map_or("unknown", |entry| liveness(entry.liveness)),
        reachable: if own { Some(true) } else { member.reachable },
        applied_index: applied,
        lag: applied.map(|applied| cx.node.committed.saturating_sub(applied)),
        active_config_version: active.map(|active| active.version.0),
        config_problem_count: active.map(|it| it.problems).filter(|problems| *problems > 0),
    }
}

/// What a node that hears no leader says of others would be a guess, unless they do not vote.
pub(super) fn role(member: &Member, report: &NodeReport) -> &'static str {
    match member.role {
        Role::Learner => "learner",
        _ if report.leader.is_none() && member.id != report.node => "unknown",
        role => role.name(),
    }
}

pub(super) fn liveness(liveness: Liveness) -> &'static str {
    match liveness {
        Liveness::Up => "up",
        Liveness::Down => "down",
        Liveness::Draining => "draining",
        Liveness::Maintenance => "maintenance",
        Liveness::Left => "left",
    }
}

fn summary(report: &NodeReport, view: View<'_>) -> String {
    let count = report.members.len();
    let nodes = if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") };
    match report.leader {
        Some(leader) => {
            let entry = view.meta().node(leader).and_then(|entry| entry.info.as_ref());
            let name = entry.map(|info| format!(" ({})", info.name)).unwrap_or_default();
            format!("{nodes}, leader {leader}{name}, term {}", report.term)
        }
        None => format!(
            "{nodes}, no leader: node {} hears none. This is what it knew at index {}.",
            report.node, report.applied
        ),
    }
}

fn leader_transfer(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let to = match args.get("node") {
        None => None,
        Some(value) => Some(find_node(value, cx)?),
    };
    if to.is_some() && to == cx.node.leader {
        return Ok(Plan::Answer(Reply::success(format!(
            "Node {} leads already.",
            to.map_or(0, |id| id.0)
        ))));
    }
    Ok(Plan::effect(Effect::TransferLeader(to), |acted| match acted {
        Ok(Acted::Leads(leader)) => Reply::success(format!("Node {leader} leads."))
            .with(&serde_json::json!({ "leader": leader.0 })),
        Ok(_) => Reply::success("Leadership was moved."),
        Err(cause) => Reply::failure(Code::Error, format!("Leadership was not moved: {cause}.")),
    }))
}

/// A voter, by id or by name.
fn find_node(value: &serde_json::Value, cx: &ApiContext<'_>) -> Result<NodeId, Refusal> {
    match find_member(value, cx)? {
        member if member.votes => Ok(member.id),
        member => Err(Refusal::conflict(format!("node {} has no vote and cannot lead", member.id))),
    }
}

/// A member, by id or by name.
pub(super) fn find_member<'a>(
    value: &serde_json::Value,
    cx: &ApiContext<'a>,
) -> Result<&'a Member, Refusal> {
    let node = super::node::find(value, cx)?;
    let found = cx.node.members.iter().find(|member| member.id == node);
    found.ok_or_else(|| Refusal::conflict(format!("node {node} was let in, and has not come yet")))
}
