//! `lease4-get`, `lease4-get-all`, `lease4-get-page`.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::found;
use super::parse::{LEASE, find};
use super::print::{Printer, print_leases};
use crate::api::spec::Origin::LeaseCmds;
use crate::api::spec::{
    ApiContext, Args, Code, Kind, Plan, Refusal, Reply, Spec, needed, optional,
};
use crate::state::Lease;
use crate::types::SubnetId;

/// `lease4-get`.
pub const GET: Spec =
    Spec::reads("lease4-get", LeaseCmds, get).about("Returns one lease.").takes(LEASE);
/// `lease4-get-all`.
pub const GET_ALL: Spec = Spec::reads("lease4-get-all", LeaseCmds, get_all)
    .about("Returns all leases, or those of some subnets.")
    .takes(&[optional("subnets", Kind::List, "Ids of subnets; without it, all.")]);
/// `lease4-get-page`.
pub const GET_PAGE: Spec = Spec::reads("lease4-get-page", LeaseCmds, get_page)
    .about("Returns leases in the order of their addresses, some at a time.")
    .takes(&[
        needed("from", Kind::Text, "`start`, or the last address of the page before."),
        needed("limit", Kind::Integer, "The most leases of a page, above 0."),
    ]);

fn get(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let reply = match find(args, cx, "Query")? {
        Some(lease) => {
            Reply::success("IPv4 lease found.").with(&Printer::one(cx.view.meta()).lease(&lease))
        }
        None => Reply::failure(Code::Empty, "Lease not found."),
    };
    Ok(Plan::Answer(reply))
}

fn get_all(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let subnets = subnet_list(args)?;
    let frozen = cx.view.freeze();
    Ok(Plan::later(move || {
        let wanted = |lease: &&Arc<Lease>| match &subnets {
            Some(subnets) => subnets.contains(&lease.subnet),
            None => true,
        };
        let (count, leases) = print_leases(frozen.leases().filter(wanted), frozen.meta());
        Ok(Plan::Answer(Reply { arguments: Some(format!("{{ {leases} }}")), ..found(count) }))
    }))
}

/// `subnets`; `None` for all leases, which is no arguments at all, or our own `consistency` alone.
fn subnet_list(args: &Args<'_>) -> Result<Option<BTreeSet<SubnetId>>, Refusal> {
    let ours_alone = |map: &Map<String, Value>| map.len() == 1 && map.contains_key("consistency");
    if args.is_absent() || args.map().is_some_and(ours_alone) {
        return Ok(None);
    }
    let list =
        args.get("subnets").ok_or_else(|| Refusal::error("'subnets' parameter not specified"))?;
    let list =
        list.as_array().ok_or_else(|| Refusal::error("'subnets' parameter must be a list"))?;
    let number = |value: &Value| {
        let number = value
            .as_i64()
            .ok_or_else(|| Refusal::error("listed subnet identifiers must be numbers"));
        // A number that no subnet can have contributes nothing.
        number.map(|number| u32::try_from(number).ok().map(SubnetId))
    };
    let subnets: Result<_, Refusal> =
        list.iter().map(number).filter_map(Result::transpose).collect();
    subnets.map(Some)
}

fn get_page(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let refuse = |text: String| Refusal::error(text);
    if args.map().is_none() {
        return Err(refuse("no parameters specified for the lease4-get-page command".into()));
    }
    let from = args.get("from").ok_or_else(|| refuse("'from' parameter not specified".into()))?;
    let from = from.as_str().ok_or_else(|| refuse("'from' parameter must be a string".into()))?;
    let from: Option<Ipv4Addr> = match from {
        "start" => None,
        address => Some(address.parse().map_err(|_| {
            if address.parse::<std::net::Ipv6Addr>().is_ok() {
                refuse(format!("'from' parameter value {address} is not an IPv4 address"))
            } else {
                refuse(
                    "'from' parameter value is neither 'start' keyword nor a valid IPv4 address"
                        .into(),
                )
            }
        })?),
    };
    let limit =
        args.get("limit").ok_or_else(|| refuse("'limit' parameter not specified".into()))?;
    let limit =
        limit.as_i64().ok_or_else(|| refuse("'limit' parameter must be a number".into()))?;
    if limit == 0 {
        return Err(refuse("'limit' parameter must not be 0.".into()));
    }
    let limit = u32::try_from(limit).ok().and_then(|limit| usize::try_from(limit).ok());
    let limit = limit.ok_or_else(|| {
        let most = u32::MAX;
        refuse(format!("page size of retrieved leases must not be greater than {most}"))
    })?;
    let frozen = cx.view.freeze();
    Ok(Plan::later(move || {
        let (count, leases) = print_leases(frozen.leases_after(from).take(limit), frozen.meta());
        let arguments = Some(format!("{{ \"count\": {count}, {leases} }}"));
        Ok(Plan::Answer(Reply { arguments, ..found(count) }))
    }))
}
