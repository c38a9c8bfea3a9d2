//! Commands of our own about the membership: `cluster-node-*`. They are what `cluster-ctl node` speaks.
//!
//! Handlers find the node and leave the rest to the leader, which knows who answers and has caught up.

use serde::Serialize;
use serde_json::Value;

use crate::api::backend::{Acted, Effect, Member, NewToken, NodeReport};
use crate::api::commands::cluster;
use crate::api::commands::node_token::{self, NewTokenArgs};
use crate::api::spec::Origin::Leasehold;
use crate::api::spec::{
    ApiContext, Args, Code, Kind, Plan, Refusal, Reply, Spec, needed, optional,
};
use crate::raft::quorum;
use crate::raft::{Change, Verb};
use crate::state::{Admission, View};
use crate::types::NodeId;

/// `cluster-node-list`.
pub const LIST: Spec = Spec::reads("cluster-node-list", Leasehold, list)
    .about(
        "Returns the members of the cluster as this node sees them: votes, roles, how far each is.",
    )
    .local();

/// `cluster-node-add`.
pub const ADD: Spec = Spec::writes("cluster-node-add", Leasehold, add)
    .about("Makes a token for a new node, and says the settings that the new node needs.")
    .takes(node_token::ARGUMENTS);

/// `cluster-node-promote`.
pub const PROMOTE: Spec = Spec::writes("cluster-node-promote", Leasehold, promote)
    .about("Gives a node without a vote its vote. One that joined gets it by itself when it has caught up.")
    .takes(&[NODE, FORCE]);

/// `cluster-node-demote`.
pub const DEMOTE: Spec = Spec::writes("cluster-node-demote", Leasehold, demote)
    .about("Takes a node's vote away; it goes on as a copy that receives everything.")
    .takes(&[NODE, FORCE]);

/// `cluster-node-remove`.
pub const REMOVE: Spec = Spec::writes("cluster-node-remove", Leasehold, remove)
    .about("Removes a node for good, dead or alive. It stops by itself, and its number is never used again.")
    .takes(&[NODE, FORCE]);

const NODE: crate::api::spec::Argument =
    needed("node", Kind::TextOrInteger, "The node, by name or number.");
const FORCE: crate::api::spec::Argument = optional(
    "force",
    Kind::Boolean,
    "Also if too few of those who vote afterwards answer and have caught up. Then no client is answered until a \
     majority of them is there again.",
);

/// The members.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Nodes<'a> {
    nodes: Vec<Node<'a>>,
    /// Let in, and not come yet.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    expected: Vec<Expected<'a>>,
    leader: Option<u64>,
    voters: usize,
    /// How many voters may fail.
    survives: usize,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Node<'a> {
    id: u64,
    name: &'a str,
    rack: &'a str,
    address: &'a str,
    /// Whether it votes.
    votes: bool,
    /// Whether it stays without a vote until it is promoted.
    copy: bool,
    role: &'static str,
    liveness: &'static str,
    /// Whether it answers the node that answers this.
    reachable: Option<bool>,
    applied_index: Option<u64>,
    /// Entries it has not applied of those known to be committed.
    lag: Option<u64>,
    /// Entries it has not applied of those that the leader has.
    trails_leader: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Expected<'a> {
    id: u64,
    name: &'a str,
    address: &'a str,
    copy: bool,
}

fn list(_: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let report = cx.node;
    let voters = report.members.iter().filter(|member| member.votes).count();
    let nodes = Nodes {
        nodes: report.members.iter().map(|member| node(member, cx)).collect(),
        expected: expected(cx.view, report).map(|(id, it)| expect(id, it)).collect(),
        leader: report.leader.map(|leader| leader.0),
        voters,
        survives: quorum::survives(voters),
        warnings: warnings(cx),
    };
    let count = nodes.nodes.len();
    let text = match count {
        1 => "1 node".to_owned(),
        _ => format!("{count} nodes; {}", quorum::tolerance(voters)),
    };
    Ok(Plan::Answer(Reply::success(text).with(&nodes)))
}

fn node<'a>(member: &'a Member, cx: &ApiContext<'a>) -> Node<'a> {
    let report = cx.node;
    let entry = cx.view.meta().node(member.id);
    let info = entry.and_then(|entry| entry.info.as_ref());
    let own = member.id == report.node;
    let applied_of = |member: &Member| match member.id == report.node {
        true => Some(report.applied),
        false => member.applied,
    };
    let applied = applied_of(member);
    let leads = |other: &&Member| Some(other.id) == report.leader;
    let top = report.members.iter().find(leads).and_then(applied_of);
    Node {
        id: member.id.0,
        name: info.map_or(if own { report.name.as_str() } else { "" }, |info| &info.name),
        rack: rack_of(member.id, cx),
        address: &member.address,
        votes: member.votes,
        copy: member.copy,
        role: cluster::role(member, report),
        liveness: entry.map_or("unknown", |entry| cluster::liveness(entry.liveness)),
        reachable: if own { Some(true) } else { member.reachable },
        applied_index: applied,
        lag: applied.map(|applied| report.committed.saturating_sub(applied)),
        trails_leader: top.zip(applied).map(|(top, applied)| top.saturating_sub(applied)),
    }
}

fn rack_of<'a>(id: NodeId, cx: &ApiContext<'a>) -> &'a str {
    let info = cx.view.meta().node(id).and_then(|entry| entry.info.as_ref());
    match info {
        Some(info) => &info.rack,
        None if id == cx.node.node => &cx.node.rack,
        None => "",
    }
}

/// Nodes that were let in and are no members yet.
fn expected<'a>(
    view: View<'a>,
    report: &'a NodeReport,
) -> impl Iterator<Item = (NodeId, &'a Admission)> {
    let member = |id: NodeId| report.members.iter().any(|member| member.id == id);
    view.meta().roster().admissions().filter(move |(id, _)| !member(*id))
}

fn expect(id: NodeId, it: &Admission) -> Expected<'_> {
    Expected { id: id.0, name: &it.name, address: &it.address, copy: it.learner }
}

/// What is unwise about who votes.
pub(super) fn warnings(cx: &ApiContext<'_>) -> Vec<String> {
    let voters = cx.node.members.iter().filter(|member| member.votes);
    let racks: Vec<&str> = voters.map(|member| rack_of(member.id, cx)).collect();
    quorum::warnings(&racks)
}

fn add(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let new: NewToken = NewTokenArgs::read(args, cx)?;
    let members: Vec<String> =
        cx.node.members.iter().filter(|member| member.votes).map(|it| it.address.clone()).collect();
    let learner = new.learner;
    Ok(Plan::effect(Effect::CreateToken(new), move |acted| {
        let settings = settings(&members, learner);
        node_token::created(acted, Some(settings))
    }))
}

/// What the new node's settings must say.
fn settings(members: &[String], learner: bool) -> String {
    let quoted: Vec<String> = members.iter().map(|address| format!("\"{address}\"")).collect();
    let copy = if learner { "learner = true\n" } else { "" };
    format!(
        "[cluster]\njoin = [{}]\ntoken-file = \"/etc/leasehold/join-token\"\n{copy}",
        quoted.join(", ")
    )
}

fn promote(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    change(Verb::Promote, args, cx)
}

fn demote(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    change(Verb::Demote, args, cx)
}

fn remove(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    change(Verb::Remove, args, cx)
}

fn change(verb: Verb, args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let value = args.get("node").ok_or_else(|| Refusal::error("missing parameter 'node'"))?;
    let node = find(value, cx)?;
    let force = args.boolean_or("force")?.unwrap_or(false);
    Ok(Plan::effect(
        Effect::ChangeMembers(Change { verb, node, force }),
        move |acted| match acted {
            Ok(Acted::Changed(changed)) => Reply::success(changed.text)
                .with(&serde_json::json!({ "node": node.0, "index": changed.index })),
            Ok(Acted::Unknown(why)) => Reply::failure(
                Code::Error,
                format!("It is not known whether the membership was changed: {why}."),
            ),
            Ok(_) => Reply::success("The membership was changed."),
            Err(why) => {
                Reply::failure(Code::Error, format!("The membership was not changed: {why}."))
            }
        },
    ))
}

/// A member, or a node that was let in, by id or by name.
pub(super) fn find(value: &Value, cx: &ApiContext<'_>) -> Result<NodeId, Refusal> {
    if !value.is_string() && !value.is_i64() {
        return Err(Refusal::error("'node' is the name of a node or its number"));
    }
    let named = |id: NodeId| {
        let info = cx.view.meta().node(id).and_then(|entry| entry.info.as_ref());
        info.map_or("", |info| info.name.as_str())
    };
    let members = cx.node.members.iter().map(|member| (member.id, named(member.id)));
    let expected = expected(cx.view, cx.node).map(|(id, it)| (id, it.name.as_str()));
    let all: Vec<(NodeId, &str)> = members.chain(expected).collect();
    let fits = |(id, name): &&(NodeId, &str)| match value {
        Value::String(text) => *name == text.as_str() || text.parse() == Ok(id.0),
        _ => value.as_u64() == Some(id.0),
    };
    let mut found = all.iter().filter(fits);
    match (found.next(), found.next()) {
        (Some((id, _)), None) => Ok(*id),
        (Some(_), Some(_)) => {
            Err(Refusal::error(format!("several nodes are called {value}: name one by its id")))
        }
        (None, _) => {
            let all = all.iter().map(|(id, name)| match *name {
                "" => id.to_string(),
                name => format!("{id} ({name})"),
            });
            let all: Vec<String> = all.collect();
            Err(Refusal::empty(format!(
                "no node {value} in this cluster; there are {}",
                all.join(", ")
            )))
        }
    }
}
