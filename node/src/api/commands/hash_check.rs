//! `cluster-hash-check`: whether all nodes have the same replicated state.

use serde_json::{Value, json};

use crate::api::backend::{Acted, Effect};
use crate::api::spec::Origin::Leasehold;
use crate::api::spec::{ApiContext, Args, Code, Plan, Refusal, Reply, Spec};
use crate::raft::hashes::{Comparison, Told};

/// `cluster-hash-check`.
pub const CHECK: Spec = Spec::reads("cluster-hash-check", Leasehold, check)
    .about(
        "Asks every node for the digests of its replicated state and compares them at the newest index that they have in \
         common. Result 1 when they differ, which must never be. The leader does the same every two minutes.",
    )
    .local();

fn check(_: &Args<'_>, _: &ApiContext<'_>) -> Result<Plan, Refusal> {
    Ok(Plan::effect(Effect::CompareStates, |acted| match acted {
        Ok(Acted::Compared(comparison)) => reply(&comparison),
        Ok(_) => Reply::failure(Code::Error, "The states were not compared."),
        Err(cause) => {
            Reply::failure(Code::Error, format!("The states were not compared: {cause}."))
        }
    }))
}

fn reply(comparison: &Comparison) -> Reply {
    let node = |(id, told): (&crate::types::NodeId, &Told)| {
        let (digest, answers) = match told {
            Told::Digest(digest) => (Some(format!("{digest:016x}")), true),
            Told::Nothing => (None, true),
            Told::Silent => (None, false),
        };
        json!({ "id": id.0, "digest": digest, "answers": answers })
    };
    let nodes: Vec<Value> = comparison.nodes.iter().map(node).collect();
    let arguments = json!({
        "index": comparison.index, "same": !comparison.differs(), "nodes": nodes,
        "odd": comparison.odd().iter().map(|node| node.0).collect::<Vec<_>>(),
    });
    let said = comparison.to_string();
    let mut letters = said.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    let text = format!("{first}{}.", letters.as_str());
    match (comparison.differs(), comparison.index) {
        (true, _) => Reply::failure(Code::Error, text).with(&arguments),
        (false, None) => Reply::failure(Code::Empty, text).with(&arguments),
        (false, Some(_)) => Reply::success(text).with(&arguments),
    }
}
