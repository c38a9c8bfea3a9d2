//! Commands about the DHCP service of this node: `dhcp-disable`, `dhcp-enable` and `leases-reclaim`
//! (kea-api §2.1, §3.7).
//!
//! A disabled node answers no client. Its peers know at once and answer in its place, so in a cluster
//! of several nobody waits; in a cluster of one nobody is served, as with Kea. There is no way to
//! disable all nodes with one command: that could not be promised of a node that is cut off.

use std::time::Duration;

use serde_json::Value;

use crate::api::backend::{Acted, Effect};
use crate::api::spec::Origin::Daemon;
use crate::api::spec::{
    ApiContext, Args, Argument, Code, Kind, Plan, Refusal, Reply, Spec, needed, optional,
};
use crate::serve::service::Origin;

/// `dhcp-disable`.
pub const DISABLE: Spec = Spec::writes("dhcp-disable", Daemon, disable)
    .about(
        "This node answers no DHCP client any more; in a cluster its peers answer instead. A restart ends it, \
         a change of the configuration does not.",
    )
    .takes(&[MAX_PERIOD, ORIGIN, ORIGIN_ID])
    .local();

/// `dhcp-enable`.
pub const ENABLE: Spec = Spec::writes("dhcp-enable", Daemon, enable)
    .about("Takes back one origin's dhcp-disable; this node answers when none is left.")
    .takes(&[ORIGIN, ORIGIN_ID])
    .local();

/// `leases-reclaim`.
pub const RECLAIM: Spec = Spec::writes("leases-reclaim", Daemon, reclaim)
    .about("Sweeps all leases of the cluster whose time is over, now instead of by the timer.")
    .takes(&[needed(
        "remove",
        Kind::Boolean,
        "Whether they are deleted; else they are kept for their clients, as `expired-leases-processing` says.",
    )]);

const MAX_PERIOD: Argument =
    optional("max-period", Kind::Integer, "Seconds after which the node answers again by itself.");
const ORIGIN: Argument = optional(
    "origin",
    Kind::TextOrInteger,
    "Whose word it is: `user`, which is the default, `ha-partner`, or a number. Each has a hold of its own.",
);
const ORIGIN_ID: Argument =
    optional("origin-id", Kind::Integer, "The number of the origin; it counts before `origin`.");

fn disable(args: &Args<'_>, _: &ApiContext<'_>) -> Result<Plan, Refusal> {
    must_be_map(args, "dhcp-disable")?;
    let origin = origin(args)?;
    let seconds = match args.get("max-period") {
        None => None,
        Some(value) => {
            let number = value
                .as_i64()
                .ok_or_else(|| Refusal::error("'max-period' argument must be a number"))?;
            let positive = u64::try_from(number).ok().filter(|seconds| *seconds > 0);
            Some(positive.ok_or_else(|| Refusal::error("'max-period' must be positive integer"))?)
        }
    };
    let period = seconds.map(Duration::from_secs);
    Ok(Plan::effect(Effect::Disable(origin, period), move |acted| match (acted, seconds) {
        (Ok(_), Some(seconds)) => {
            Reply::success(format!("DHCPv4 service disabled for {seconds} seconds"))
        }
        (Ok(_), None) => Reply::success("DHCPv4 service disabled"),
        (Err(cause), _) => Reply::failure(Code::Error, cause),
    }))
}

fn enable(args: &Args<'_>, _: &ApiContext<'_>) -> Result<Plan, Refusal> {
    must_be_map(args, "dhcp-enable")?;
    Ok(Plan::effect(Effect::Enable(origin(args)?), |acted| match acted {
        Ok(_) => Reply::success("DHCP service successfully enabled"),
        Err(cause) => Reply::failure(Code::Error, cause),
    }))
}

fn must_be_map(args: &Args<'_>, command: &str) -> Result<(), Refusal> {
    if args.is_absent() || args.map().is_some() {
        return Ok(());
    }
    Err(Refusal::error(format!("arguments for the '{command}' command must be a map")))
}

fn origin(args: &Args<'_>) -> Result<Origin, Refusal> {
    let numbered = |value: &Value, name: &str| {
        let number = value
            .as_i64()
            .ok_or_else(|| Refusal::error(format!("'{name}' argument must be a number")))?;
        let out =
            |_| Refusal::error(format!("invalid value used for '{name}' parameter: {number}"));
        u32::try_from(number).map(Origin::numbered).map_err(out)
    };
    if let Some(value) = args.get("origin-id") {
        return numbered(value, "origin-id");
    }
    match args.get("origin") {
        None => Ok(Origin::USER),
        Some(Value::String(name)) if name == "user" => Ok(Origin::USER),
        Some(Value::String(name)) if name == "ha-partner" => Ok(Origin::PARTNER),
        Some(Value::String(name)) => {
            Err(Refusal::error(format!("invalid value used for 'origin' parameter: {name}")))
        }
        Some(value) if value.is_number() => numbered(value, "origin"),
        Some(_) => Err(Refusal::error("'origin' argument must be a string or a number")),
    }
}

fn reclaim(args: &Args<'_>, _: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let remove = args
        .get("remove")
        .ok_or_else(|| Refusal::error("Missing mandatory 'remove' parameter."))?
        .as_bool()
        .ok_or_else(|| Refusal::error("'remove' parameter expected to be a boolean."))?;
    Ok(Plan::effect(Effect::Reclaim { remove }, |acted| match acted {
        Ok(Acted::Reclaimed(_)) => Reply::success("Reclamation of expired leases is complete."),
        Ok(other) => Reply::failure(Code::Error, format!("unexpected result: {other:?}")),
        Err(cause) => Reply::failure(
            Code::Error,
            format!(
                "Reclamation of expired leases is not complete: {cause}. Repeat the command to go on."
            ),
        ),
    }))
}
