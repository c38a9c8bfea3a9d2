//! `cluster-node-drain` and `cluster-node-undrain`: taking a node out of service on purpose.
//!
//! They are `ha-maintenance-*` in words of a cluster ([`super::ha`]), and a drain may end the node's
//! process as well.

use serde_json::Value;

use super::cluster::find_member;
use super::ha::{liveness, name_of, why_needed};
use crate::api::backend::Effect;
use crate::api::spec::Origin::Leasehold;
use crate::api::spec::{
    ApiContext, Args, Argument, Code, Kind, Plan, Refusal, Reply, Spec, needed, optional,
};
use crate::dhcp::v4::LAST_ANSWERS;
use crate::state::Liveness;

const NODE: Argument = needed("node", Kind::TextOrInteger, "Which, by name or number.");

/// `cluster-node-drain`.
pub const DRAIN: Spec = Spec::writes("cluster-node-drain", Leasehold, drain)
    .about(
        "Takes a node out of service: its peers take over its clients at once and lead in its place; it answers those \
         who chose it for 10 s more, then nobody. Refused when too few would be left. It lasts until \
         cluster-node-undrain, or until the node has been restarted.",
    )
    .takes(&[
        NODE,
        optional(
            "stop",
            Kind::Boolean,
            "Whether the node's process ends after the 10 s, with status 0; by default it goes on running.",
        ),
    ]);

/// `cluster-node-undrain`.
pub const UNDRAIN: Spec = Spec::writes("cluster-node-undrain", Leasehold, undrain)
    .about("Takes cluster-node-drain back: the node answers clients again, and takes over its share within 4 s.")
    .takes(&[NODE]);

fn node(args: &Args<'_>) -> Result<Value, Refusal> {
    let value = args
        .get("node")
        .ok_or_else(|| Refusal::error("'node' is missing: the name of a node or its number"))?;
    Ok(value.clone())
}

fn drain(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let stop = match args.get("stop") {
        None => false,
        Some(stop) => stop.as_bool().ok_or_else(|| Refusal::error("'stop' is true or false"))?,
    };
    let id = find_member(&node(args)?, cx)?.id;
    let name = name_of(id, cx);
    if liveness(id, cx) != Some(Liveness::Maintenance) {
        if let Some(why) = why_needed(id, cx) {
            return Err(Refusal::conflict(why));
        }
    } else if !stop {
        return Ok(Plan::Answer(Reply::success(format!("Node {id} ({name}) is drained already."))));
    }
    let secs = LAST_ANSWERS.as_secs();
    Ok(Plan::effect(Effect::Drain { node: id, stop }, move |acted| match acted {
        Ok(_) => {
            let then = if stop { "then it stops" } else { "then it may be stopped" };
            Reply::success(format!(
                "Node {id} ({name}) is drained: for {secs} s it answers those who chose it, {then}."
            ))
            .with(&serde_json::json!({ "node": id.0, "stops": stop }))
        }
        Err(cause) => Reply::failure(
            Code::Error,
            format!("Node {id} ({name}) was not drained as wished: {cause}."),
        ),
    }))
}

fn undrain(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let id = find_member(&node(args)?, cx)?.id;
    let name = name_of(id, cx);
    if liveness(id, cx) != Some(Liveness::Maintenance) {
        return Ok(Plan::Answer(Reply::success(format!("Node {id} ({name}) is not drained."))));
    }
    Ok(Plan::effect(Effect::Maintain(id, false), move |acted| match acted {
        Ok(_) => Reply::success(format!("Node {id} ({name}) serves again."))
            .with(&serde_json::json!({ "node": id.0 })),
        Err(cause) => {
            Reply::failure(Code::Error, format!("Node {id} ({name}) is still drained: {cause}."))
        }
    }))
}
