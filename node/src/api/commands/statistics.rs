//! The `statistic-*` commands (kea-api §2.1, §3.8). They answer from this node alone: what it counts is
//! its own, and the rest follows from what it has applied (`docs/reference/statistics.md`).

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::api::spec::Origin::Daemon;
use crate::api::spec::{
    ApiContext, Args, Argument, Code, Kind, Plan, Refusal, Reply, Spec, needed,
};
use crate::observe::statistics::{Change, Limit, Statistics, Unknown, Which};

const NAME: Argument =
    needed("name", Kind::Text, "A statistic: `x`, `subnet[ID].x` or `subnet[ID].pool[POOL-ID].x`.");
const COUNT: Argument = needed(
    "max-samples",
    Kind::Integer,
    "How many samples to keep, at least 1. All names together keep 262144 of them at most.",
);
const AGE: Argument =
    needed("duration", Kind::Integer, "Seconds. Older samples go; the newest one stays.");

/// `statistic-get`.
pub const GET: Spec = Spec::reads("statistic-get", Daemon, get)
    .about("Returns the samples of one statistic, the newest first; nothing for a name unknown.")
    .takes(&[NAME])
    .local();
/// `statistic-get-all`.
pub const GET_ALL: Spec = Spec::reads("statistic-get-all", Daemon, |_, cx| Ok(all(cx, Which::All)))
    .about("Returns all statistics.")
    .local();
/// `statistic-global-get-all`.
pub const GLOBAL_GET_ALL: Spec =
    Spec::reads("statistic-global-get-all", Daemon, |_, cx| Ok(all(cx, Which::Global)))
        .about("Returns all statistics that are not of a subnet.")
        .local();
/// `statistic-reset`.
pub const RESET: Spec = Spec::writes("statistic-reset", Daemon, reset)
    .about(
        "Lets a counter of this node begin at 0 again. What follows from the replicated leases stays \
         as it is.",
    )
    .takes(&[NAME])
    .local();
/// `statistic-reset-all`.
pub const RESET_ALL: Spec =
    Spec::writes("statistic-reset-all", Daemon, |_, _| Ok(act(Change::ResetAll)))
        .about("Does so with every counter of this node.")
        .local();
/// `statistic-remove`.
pub const REMOVE: Spec = Spec::writes("statistic-remove", Daemon, remove)
    .about("Forgets a statistic of this node until it changes.")
    .takes(&[NAME])
    .local();
/// `statistic-remove-all`.
pub const REMOVE_ALL: Spec =
    Spec::writes("statistic-remove-all", Daemon, |_, _| Ok(act(Change::RemoveAll)))
        .about("Forgets every statistic of this node until it changes. Dashboards miss them.")
        .local();
/// `statistic-sample-count-set`.
pub const SAMPLE_COUNT_SET: Spec = Spec::writes("statistic-sample-count-set", Daemon, count_set)
    .about("Sets how many samples of a statistic this node keeps.")
    .takes(&[NAME, COUNT])
    .local();
/// `statistic-sample-count-set-all`.
pub const SAMPLE_COUNT_SET_ALL: Spec =
    Spec::writes("statistic-sample-count-set-all", Daemon, |args, _| {
        Ok(act(Change::LimitAll(count(args)?)))
    })
    .about(
        "Sets how many samples of each statistic this node keeps, until the configuration says \
         another number than before.",
    )
    .takes(&[COUNT])
    .local();
/// `statistic-sample-age-set`.
pub const SAMPLE_AGE_SET: Spec = Spec::writes("statistic-sample-age-set", Daemon, age_set)
    .about("Sets for how long this node keeps samples of a statistic.")
    .takes(&[NAME, AGE])
    .local();
/// `statistic-sample-age-set-all`.
pub const SAMPLE_AGE_SET_ALL: Spec =
    Spec::writes("statistic-sample-age-set-all", Daemon, |args, _| {
        Ok(act(Change::LimitAll(age(args)?)))
    })
    .about(
        "Sets for how long this node keeps samples of each statistic, until the configuration says \
         something else than before.",
    )
    .takes(&[AGE])
    .local();

fn get(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let (name, statistics) = (name(args)?, Arc::clone(cx.statistics));
    Ok(Plan::later(move || {
        let arguments = match statistics.get(&name) {
            Some(samples) => format!("{{ {}: {samples} }}", Value::from(name)),
            None => "{  }".to_owned(),
        };
        Ok(Plan::Answer(data(arguments)))
    }))
}

fn all(cx: &ApiContext<'_>, which: Which) -> Plan {
    let statistics = Arc::clone(cx.statistics);
    Plan::later(move || Ok(Plan::Answer(data(statistics.all(which)))))
}

fn reset(args: &Args<'_>, _: &ApiContext<'_>) -> Result<Plan, Refusal> {
    Ok(act(Change::Reset(name(args)?)))
}

fn remove(args: &Args<'_>, _: &ApiContext<'_>) -> Result<Plan, Refusal> {
    Ok(act(Change::Remove(name(args)?)))
}

fn count_set(args: &Args<'_>, _: &ApiContext<'_>) -> Result<Plan, Refusal> {
    Ok(act(Change::Limit(name(args)?, count(args)?)))
}

fn age_set(args: &Args<'_>, _: &ApiContext<'_>) -> Result<Plan, Refusal> {
    Ok(act(Change::Limit(name(args)?, age(args)?)))
}

fn act(change: Change) -> Plan {
    Plan::Statistics(change)
}

/// Does it, and says what was done.
pub fn carry_out(statistics: &Statistics, change: &Change) -> Reply {
    let one = |name: &str, done: &str| format!("Statistic '{name}' {done}");
    let text = match change {
        Change::Reset(name) => one(name, "reset."),
        Change::ResetAll => "All statistics reset to neutral values.".to_owned(),
        Change::Remove(name) => one(name, "removed."),
        Change::RemoveAll => "Warning: statistic-remove-all command is deprecated. All statistics \
                              removed."
            .to_owned(),
        Change::Limit(name, Limit::Count(_)) => one(name, "count limit is set."),
        Change::Limit(name, Limit::Age(_)) => one(name, "duration limit is set."),
        Change::LimitAll(Limit::Count(_)) => "All statistics count limit are set.".to_owned(),
        Change::LimitAll(Limit::Age(_)) => "All statistics duration limit are set.".to_owned(),
    };
    match (statistics.change(change), change) {
        (Ok(()), _) => Reply::success(text),
        (Err(Unknown), Change::Reset(name) | Change::Remove(name) | Change::Limit(name, _)) => {
            Reply::failure(Code::Error, format!("No '{name}' statistic found"))
        }
        (Err(Unknown), _) => Reply::failure(Code::Error, "No statistic found"),
    }
}

fn data(arguments: String) -> Reply {
    Reply { text: None, arguments: Some(arguments), ..Reply::success("") }
}

fn missing(argument: &Argument) -> Refusal {
    Refusal::error(format!("Missing mandatory '{}' parameter.", argument.name))
}

fn name(args: &Args<'_>) -> Result<String, Refusal> {
    let value = args.get(NAME.name).ok_or_else(|| missing(&NAME))?;
    let text = value
        .as_str()
        .ok_or_else(|| Refusal::error("'name' parameter expected to be a string."))?;
    Ok(text.to_owned())
}

/// A whole number that is not negative.
fn number(args: &Args<'_>, argument: &Argument) -> Result<u64, Refusal> {
    let value = args.get(argument.name).ok_or_else(|| missing(argument))?;
    let refuse = |what: &str| Refusal::error(format!("'{}' parameter {what}", argument.name));
    let number = value.as_i64().ok_or_else(|| refuse("expected to be an integer."))?;
    u64::try_from(number).map_err(|_| refuse("must not be negative"))
}

fn count(args: &Args<'_>) -> Result<Limit, Refusal> {
    match number(args, &COUNT)? {
        0 => Err(Refusal::error("'max-samples' parameter must not be zero")),
        count => Ok(Limit::Count(usize::try_from(count).unwrap_or(usize::MAX))),
    }
}

fn age(args: &Args<'_>) -> Result<Limit, Refusal> {
    number(args, &AGE).map(|seconds| Limit::Age(Duration::from_secs(seconds)))
}
