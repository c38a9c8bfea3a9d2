//! `cluster-policy-get` and `cluster-policy-set`: how the cluster is to be led.

use serde_json::{Value, json};

use super::node_token::not_yet;
use crate::api::spec::Origin::Leasehold;
use crate::api::spec::{ApiContext, Args, Code, Kind, Plan, Refusal, Reply, Spec, needed};
use crate::state::{Command, Outcome, Policy};

/// `cluster-policy-get`.
pub const GET: Spec = Spec::reads("cluster-policy-get", Leasehold, get)
    .about("Returns in which racks the leader should be, the most wanted first.");

/// `cluster-policy-set`.
pub const SET: Spec = Spec::writes("cluster-policy-set", Leasehold, set)
    .about(
        "Says in which racks the leader should be. It hands over when a voter in a more wanted rack has been up for \
         10 s and has caught up, once a minute at most.",
    )
    .takes(&[needed(
        "leader-racks",
        Kind::List,
        "Racks, the most wanted first; an empty list for no preference.",
    )]);

const MOST_RACKS: usize = 64;
const LONGEST: usize = 255;

fn get(_: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let policy = cx.view.meta().roster().policy();
    Ok(Plan::Answer(Reply::data(&json!({ "leader-racks": policy.leader_racks }))))
}

fn set(args: &Args<'_>, _: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let wrong = || Refusal::error("'leader-racks' is a list of names of racks");
    let list = args
        .get("leader-racks")
        .ok_or_else(|| Refusal::error("missing parameter 'leader-racks'"))?;
    let list = list.as_array().ok_or_else(wrong)?;
    let racks: Vec<String> = list
        .iter()
        .map(|rack| rack.as_str().map(str::to_owned).ok_or_else(wrong))
        .collect::<Result<_, _>>()?;
    if racks.len() > MOST_RACKS || racks.iter().any(|rack| rack.is_empty() || rack.len() > LONGEST)
    {
        return Err(Refusal::error(format!(
            "'leader-racks' has at most {MOST_RACKS} names of 1 to {LONGEST} bytes"
        )));
    }
    if let Some(twice) = racks.iter().enumerate().find(|(at, rack)| racks[..*at].contains(rack)) {
        return Err(Refusal::error(format!(
            "'leader-racks' names {} twice",
            Value::from(twice.1.as_str())
        )));
    }
    let text = match racks.len() {
        0 => "The leader may be in any rack.".to_owned(),
        _ => format!("The leader should be in rack {}.", racks.join(", else in ")),
    };
    Ok(Plan::commit(
        Command::SetPolicy(Policy { leader_racks: racks }),
        move |outcome| match outcome {
            Outcome::Noted => Reply::success(text),
            Outcome::NotYet(level) => not_yet(*level),
            other => Reply::failure(Code::Error, format!("The policy was not changed: {other:?}.")),
        },
    ))
}
