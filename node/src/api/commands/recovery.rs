//! `cluster-recovery-status` and `cluster-recovery-end`: what a cluster that was made from a backup, or
//! from what a lost majority left, still holds back (R28).

use serde::Serialize;

use crate::api::spec::Origin::Leasehold;
use crate::api::spec::{ApiContext, Args, Code, Kind, Plan, Refusal, Reply, Spec, needed};
use crate::state::{Command, EndHold, Meta, Outcome, Recovery, Source};
use crate::types::{ClusterTime, Utc};

/// `cluster-recovery-status`.
pub const STATUS: Spec = Spec::reads("cluster-recovery-status", Leasehold, status)
    .about(
        "Returns what the cluster was made from, if from a backup or after a lost majority, and until when it holds \
         addresses that may have been granted since. Result 3 when it was formed in the usual way.",
    )
    .local();

/// `cluster-recovery-end`.
pub const END: Spec = Spec::writes("cluster-recovery-end", Leasehold, end)
    .about(
        "Ends that hold before its time: from then on an address that no lease is known of is given to whoever \
         wants one, also if a client still has it from before.",
    )
    .takes(&[needed("yes", Kind::Boolean, "`true`: the consequence is understood.")]);

/// A recovery as answers show it. Times are Unix seconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Shown {
    /// `backup` or `survivor`.
    source: &'static str,
    /// The cluster it was.
    cluster: String,
    /// The last entry in the copy.
    index: u64,
    /// When the copy was made.
    copied: i64,
    /// When the hold began.
    since: i64,
    /// When it ends; `null`: when an operator ends it.
    until: Option<i64>,
    /// Whether it lasts.
    holding: bool,
    /// The longest lifetime that may have been granted, seconds; `null` for ever.
    longest_lifetime: Option<u32>,
}

/// What is told of the machine's recovery; `None` when it had none.
pub fn shown(meta: &Meta) -> Option<Shown> {
    let recovery = meta.recovery()?;
    let ends = recovery.until != ClusterTime::NEVER;
    Some(Shown {
        source: match recovery.source {
            Source::Backup => "backup",
            Source::Survivor => "survivor",
        },
        cluster: format!("{:016x}", recovery.cluster),
        index: recovery.index,
        copied: recovery.wall.div_euclid(1000),
        since: meta.wall_seconds(recovery.since),
        until: ends.then(|| meta.wall_seconds(recovery.until)),
        holding: recovery.holds_at(meta.now()),
        longest_lifetime: (!recovery.longest.is_infinite()).then(|| recovery.longest.as_secs()),
    })
}

/// What an operator should know while the hold lasts.
pub fn warning(meta: &Meta) -> Option<String> {
    let recovery = meta.recovery().filter(|recovery| recovery.holds_at(meta.now()))?;
    let until = match recovery.until {
        ClusterTime::NEVER => {
            "until an operator ends this (cluster-recovery-end), since leases without an end may have been granted".into()
        }
        until => format!("until {}", utc(meta.wall_seconds(until))),
    };
    Some(format!(
        "this cluster was made from {}: {until}, addresses that it does not know as leased go to clients that claim them, \
         and to others only after a ping check found nobody",
        from(recovery)
    ))
}

fn from(recovery: &Recovery) -> String {
    let what = match recovery.source {
        Source::Backup => "a backup",
        Source::Survivor => "what a lost majority left",
    };
    format!(
        "{what} of cluster {:016x} as of {}",
        recovery.cluster,
        utc(recovery.wall.div_euclid(1000))
    )
}

fn utc(seconds: i64) -> String {
    let Utc { year, month, day, hour, minute, second, .. } = Utc::of_seconds(seconds);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

fn status(_: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let meta = cx.view.meta();
    let (Some(recovery), Some(shown)) = (meta.recovery(), shown(meta)) else {
        let text = "This cluster was not made from a backup, nor after a lost majority, or without a hold.";
        return Ok(Plan::Answer(Reply::failure(Code::Empty, text)));
    };
    let text = match warning(meta) {
        Some(warning) => format!("T{}.", warning.strip_prefix('t').unwrap_or(&warning)),
        None => {
            format!("This cluster was made from {}. No address is held any more.", from(recovery))
        }
    };
    Ok(Plan::Answer(Reply::success(text).with(&shown)))
}

fn end(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    if args.boolean_or("yes")? != Some(true) {
        return Err(Refusal::error(
            "an address that no lease is known of may still be in use by a client that had it before; without the hold it is \
             given to the next client that wants one, and two may have it. With 'yes': true this is understood",
        ));
    }
    let holds = |it: &&Recovery| it.holds_at(cx.view.now());
    if cx.view.meta().recovery().filter(holds).is_none() {
        return Err(Refusal::empty("no address is held: there is nothing to end"));
    }
    Ok(Plan::commit(Command::EndHold(EndHold::FIRST), |outcome| match outcome {
        Outcome::HoldEnded => Reply::success("No address is held any more."),
        Outcome::NotYet(level) => {
            Reply::failure(Code::Error, format!("This needs feature level {level}."))
        }
        _ => Reply::failure(Code::Error, "The hold goes on: an answer that does not fit."),
    }))
}
