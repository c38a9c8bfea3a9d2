//! `cluster-log-measure`: how fast commands go through the replicated log, without changing anything.

use serde_json::json;

use crate::api::backend::{Acted, Effect};
use crate::api::spec::Origin::Leasehold;
use crate::api::spec::{ApiContext, Args, Code, Kind, Plan, Refusal, Reply, Spec, needed};

/// `cluster-log-measure`.
pub const MEASURE: Spec = Spec::writes("cluster-log-measure", Leasehold, measure)
    .about(
        "Sends commands that change nothing through the log for one second, from this node to the leader, and returns how \
         long each took from proposing it to its outcome, in microseconds: `micros`. `failed` had no outcome within two \
         seconds; `left-out` were not begun, because 512 were waiting. One at a time on a node.",
    )
    .takes(&[needed("rate", Kind::Integer, "How many commands, 1 to 10000.")])
    .local();

/// What clients may feel, and no more.
const MOST: u32 = 10_000;

fn measure(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let rate = args.uint32_or("rate")?.ok_or_else(|| Refusal::error("missing parameter 'rate'"))?;
    if !(1..=MOST).contains(&rate) {
        return Err(Refusal::error(format!("'rate' is a number from 1 to {MOST}")));
    }
    let (node, name, leader) = (cx.node.node.0, cx.node.name.clone(), cx.node.leader);
    let voters = cx.node.members.iter().filter(|member| member.votes).count();
    Ok(Plan::effect(Effect::MeasureLog { rate }, move |acted| match acted {
        Ok(Acted::Measured(measured)) => {
            let committed = measured.micros.len();
            let arguments = json!({
                "node": node, "name": name, "leader": leader.map(|leader| leader.0), "voters": voters, "rate": rate,
                "committed": committed, "failed": measured.failed, "left-out": measured.left_out,
                "micros": measured.micros,
            });
            let text =
                format!("{committed} of {rate} commands were committed; nothing was changed.");
            Reply::success(text).with(&arguments)
        }
        Ok(_) => Reply::failure(Code::Error, "The log was not measured."),
        Err(cause) => Reply::failure(Code::Error, format!("The log was not measured: {cause}.")),
    }))
}
