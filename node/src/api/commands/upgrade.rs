//! `cluster-upgrade-status` and `cluster-upgrade-finalize`: the feature level, and who keeps it from
//! rising (R24).
//!
//! Programs are changed node by node; until all know a level, nobody says what is new in it, and each
//! node can go back to the program it had. Finalizing ends that.

use serde::Serialize;

use super::ha::name_of;
use crate::api::spec::Origin::Leasehold;
use crate::api::spec::{ApiContext, Args, Code, Plan, Refusal, Reply, Spec};
use crate::serve::levels::Levels;
use crate::state::{Command, Liveness, NodeEntry, Outcome};
use crate::types::NodeId;

/// `cluster-upgrade-status`.
pub const STATUS: Spec = Spec::reads("cluster-upgrade-status", Leasehold, status)
    .about(
        "Returns the feature level in force, the program of each node with the highest level that it knows, and whether \
         the level can be raised or who is in the way. `mixed-since` is the time (Unix seconds) since when the nodes \
         have run different programs, as far as the cluster knows.",
    )
    .local();

/// `cluster-upgrade-finalize`.
pub const FINALIZE: Spec = Spec::writes("cluster-upgrade-finalize", Leasehold, finalize).about(
    "Raises the feature level to the highest that a node knows. Refused while there is a node that does not know it, \
     or has not said so. Afterwards no program that does not know the level can be started on any node.",
);

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct UpgradeStatus {
    /// In force.
    level: u32,
    /// The highest that a node knows: what finalizing would raise it to.
    highest: u32,
    can_finalize: bool,
    /// Ids of the nodes that do not know the highest level, or have not said so.
    in_the_way: Vec<u64>,
    /// Whether nodes run different programs.
    mixed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    mixed_since: Option<i64>,
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Node {
    id: u64,
    name: String,
    /// Of its program; empty when it has not said.
    version: String,
    /// The highest that its program knows; `null` when it has not said.
    level: Option<u32>,
    liveness: &'static str,
}

fn levels(cx: &ApiContext<'_>) -> Levels {
    Levels::of(cx.node.members.iter().map(|member| member.id), cx.view)
}

fn status(_: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let levels = levels(cx);
    let in_the_way = levels.without(levels.highest);
    let since = mixed_since(&levels, cx);
    let node = |(id, level): &(NodeId, Option<u32>)| {
        let entry = cx.view.meta().node(*id);
        let info = entry.and_then(|entry| entry.info.as_ref());
        Node {
            id: id.0,
            name: name_of(*id, cx),
            version: info.map_or(String::new(), |info| info.version.clone()),
            level: *level,
            liveness: entry.map_or("unknown", |entry| super::cluster::liveness(entry.liveness)),
        }
    };
    let status = UpgradeStatus {
        level: levels.in_force,
        highest: levels.highest,
        can_finalize: levels.highest > levels.in_force && in_the_way.is_empty(),
        in_the_way: in_the_way.iter().map(|node| node.0).collect(),
        mixed: since.is_some(),
        mixed_since: since,
        nodes: levels.told.iter().map(node).collect(),
    };
    let text = if levels.highest <= levels.in_force && in_the_way.is_empty() {
        format!("Feature level {} is in force, and no node knows a higher one.", levels.in_force)
    } else if in_the_way.is_empty() {
        format!(
            "Feature level {} is in force, and all nodes know {}: the upgrade can be finalized.",
            levels.in_force, levels.highest
        )
    } else {
        format!(
            "Feature level {} is in force; {} cannot be yet: {}.",
            levels.in_force,
            levels.highest.max(levels.in_force + 1),
            who(&in_the_way, cx)
        )
    };
    Ok(Plan::Answer(Reply::success(text).with(&status)))
}

/// Who does not know a level, in words.
fn who(nodes: &[NodeId], cx: &ApiContext<'_>) -> String {
    let one = |id: &NodeId| {
        let info = cx.view.meta().node(*id).and_then(|entry| entry.info.as_ref());
        match info {
            Some(info) => format!(
                "node {id} ({}) runs {}, which knows {} at most",
                name_of(*id, cx),
                info.version,
                info.level.max(1)
            ),
            None => format!("node {id} has not said what it runs"),
        }
    };
    nodes.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Since when different programs run, Unix seconds. The first node that came back with the newest program
/// began it; when it went and came since, it is later than it was.
fn mixed_since(levels: &Levels, cx: &ApiContext<'_>) -> Option<i64> {
    let meta = cx.view.meta();
    let runs: Vec<(&NodeEntry, (u32, &str))> = levels
        .told
        .iter()
        .filter_map(|(id, _)| {
            let entry = meta.node(*id).filter(|entry| entry.liveness != Liveness::Left)?;
            let info = entry.info.as_ref()?;
            Some((&**entry, (info.level.max(1), info.version.as_str())))
        })
        .collect();
    let newest = runs.iter().map(|(_, program)| *program).max()?;
    if runs.iter().all(|(_, program)| *program == newest) {
        return None;
    }
    let newer = runs.iter().filter(|(_, program)| *program == newest);
    newer.map(|(entry, _)| meta.wall_seconds(entry.since)).min()
}

fn finalize(_: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let levels = levels(cx);
    let (level, in_force) = (levels.highest, levels.in_force);
    let in_the_way = levels.without(level);
    if !in_the_way.is_empty() {
        return Err(Refusal::conflict(format!(
            "Feature level {in_force} stays in force: {}.",
            who(&in_the_way, cx)
        )));
    }
    if level <= in_force {
        return Ok(Plan::Answer(
            Reply::success(format!(
                "Feature level {in_force} is in force, and no node knows a higher one: nothing was changed."
            ))
            .with(&serde_json::json!({ "level": in_force })),
        ));
    }
    Ok(Plan::commit(Command::RaiseLevel(level), move |outcome| {
        match outcome {
        Outcome::Level(level) => Reply::success(format!(
            "Feature level {level} is in force. No program that does not know it can be started any more."
        ))
        .with(&serde_json::json!({ "level": level })),
        // A node has come, or come back with an older program, since this one looked.
        Outcome::LevelHeld(nodes) => {
            let nodes: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
            Reply::failure(
                Code::Conflict,
                format!(
                    "Feature level {in_force} stays in force: the programs of these nodes do not know {level}, or have \
                     not said so: {}.",
                    nodes.join(", ")
                ),
            )
        }
        other => Reply::failure(Code::Error, format!("an outcome that makes no sense here: {other:?}")),
    }
    }))
}
