//! Commands about the alarms of a node: `cluster-alarm-list` and `cluster-alarm-ack`. Each node judges by
//! what it sees, so each is asked for itself; an acknowledgement is known to the node that was told, until the
//! alarm is over or the node starts anew.

use serde_json::{Value, json};

use crate::api::backend::{Acted, Effect};
use crate::api::spec::Origin::Leasehold;
use crate::api::spec::{
    ApiContext, Args, Code, Kind, Plan, Refusal, Reply, Spec, needed, optional,
};
use crate::observe::alarms::{Alarm, KINDS};

/// `cluster-alarm-ack`.
pub const ACK: Spec = Spec::writes("cluster-alarm-ack", Leasehold, ack)
    .about(
        "Takes note of an alarm of this node: it is listed only on demand and counted no more, until it is over. Not \
         replicated: the other nodes, and their alarms, stay as they are.",
    )
    .takes(&[
        needed("id", Kind::Text, "The kind of alarm, such as `pool-filling`."),
        optional("about", Kind::Text, "Only the one about this; without it, all of this kind."),
    ])
    .local();

/// `cluster-alarm-list`.
pub const LIST: Spec = Spec::reads("cluster-alarm-list", Leasehold, list)
    .about(
        "Returns the alarms of this node, worst first: what is the matter, since when, and what to do. Each node judges \
         by what it sees: ask each of them.",
    )
    .takes(&[optional("all", Kind::Boolean, "With those that were taken note of.")])
    .local();

fn list(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let all = args.boolean_or("all")?.unwrap_or(false);
    let shown: Vec<Value> =
        cx.node.alarms.iter().filter(|alarm| all || !alarm.acknowledged).map(print).collect();
    let text = match shown.len() {
        0 => format!("No alarm on node {}.", cx.node.node),
        1 => format!("1 alarm on node {}.", cx.node.node),
        count => format!("{count} alarms on node {}.", cx.node.node),
    };
    let arguments = json!({ "node": cx.node.node.0, "name": cx.node.name, "alarms": shown });
    Ok(Plan::Answer(Reply::success(text).with(&arguments)))
}

fn print(alarm: &Alarm) -> Value {
    json!({
        "id": alarm.kind.id,
        "severity": alarm.kind.severity.name(),
        "about": alarm.about,
        "since": alarm.since.div_euclid(1000),
        "node": alarm.node,
        "text": alarm.text,
        "remedy": alarm.kind.remedy,
        "link": alarm.link(),
        "acknowledged": alarm.acknowledged,
    })
}

fn ack(args: &Args<'_>, _: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let id = args.string("id")?;
    let about = args.string_or("about")?.map(str::to_owned);
    let Some(kind) = KINDS.iter().find(|kind| kind.id == id) else {
        let known: Vec<&str> = KINDS.iter().map(|kind| kind.id).collect();
        return Err(Refusal::error(format!(
            "there is no alarm '{id}'; there are {}",
            known.join(", ")
        )));
    };
    Ok(Plan::effect(Effect::Acknowledge(kind.id, about), move |acted| match acted {
        Ok(Acted::Acknowledged(0)) => {
            Reply::failure(Code::Empty, "There is no such alarm on this node now.")
        }
        Ok(Acted::Acknowledged(count)) => Reply::success(format!(
            "{count} alarm(s) taken note of, on this node, until they are over."
        ))
        .with(&json!({ "count": count })),
        Ok(_) => Reply::success("Done."),
        Err(cause) => Reply::failure(Code::Error, cause),
    }))
}
