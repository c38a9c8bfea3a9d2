//! `subnet4-*`: reading and changing subnets (kea-api §2.4, §3.9; Kea's `subnet_cmds`).
//!
//! A change is a version of the configuration, for the whole cluster and for good: `config-write` is
//! not needed to keep it.

use serde_json::{Value, json};

use super::config::running;
use super::edits::{self, AUTHOR, COMMENT, EXPECTED};
use crate::api::spec::Origin::SubnetCmds;
use crate::api::spec::{
    ApiContext, Args, Argument, Code, Kind, Plan, Refusal, Reply, Spec, either, needed,
};
use crate::config::Config;
use crate::config::edit::{Changed, Verb};
use crate::types::{Prefix, SubnetId};

/// `subnet4-list`.
pub const LIST: Spec = Spec::reads("subnet4-list", SubnetCmds, list)
    .about("Returns id, prefix and shared network of every subnet, ascending by id.");
/// `subnet4-get`.
pub const GET: Spec = Spec::reads("subnet4-get", SubnetCmds, get)
    .about("Returns one subnet as `config-get` shows it.")
    .takes(&[
        either("id", Kind::Integer, "The id of the subnet; or `subnet`."),
        either("subnet", Kind::Text, "The prefix of the subnet; or `id`."),
    ]);
/// `subnet4-add`.
pub const ADD: Spec = Spec::writes("subnet4-add", SubnetCmds, add)
    .about("Adds a subnet, in no shared network and without reservations.")
    .takes(WHOLE);
/// `subnet4-update`.
pub const UPDATE: Spec = Spec::writes("subnet4-update", SubnetCmds, update)
    .about("Replaces a subnet. Its reservations and its shared network stay.")
    .takes(WHOLE);
/// `subnet4-delta-add`.
pub const DELTA_ADD: Spec = Spec::writes("subnet4-delta-add", SubnetCmds, delta_add)
    .about("Adds to a subnet what is given, or overwrites it, and leaves the rest.")
    .takes(PART);
/// `subnet4-delta-del`.
pub const DELTA_DEL: Spec = Spec::writes("subnet4-delta-del", SubnetCmds, delta_del)
    .about("Removes from a subnet what is named, and leaves the rest.")
    .takes(PART);
/// `subnet4-del`.
pub const DEL: Spec = Spec::writes("subnet4-del", SubnetCmds, del)
    .about("Removes a subnet and its reservations. Its leases stay until they end.")
    .takes(&[needed("id", Kind::Integer, "The id of the subnet."), EXPECTED, AUTHOR, COMMENT]);

const WHOLE: &[Argument] = &[
    needed("subnet4", Kind::List, "The subnet, with its id: the only entry of the list."),
    EXPECTED,
    AUTHOR,
    COMMENT,
];

const PART: &[Argument] = &[
    needed(
        "subnet4",
        Kind::List,
        "Id and prefix of the subnet, and the part of it: the only entry of the list. Pools are known by \
         their addresses, options by space, code and classes.",
    ),
    EXPECTED,
    AUTHOR,
    COMMENT,
];

fn list(_: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let config = running(cx)?;
    Ok(Plan::later(move || {
        let mut subnets: Vec<_> = config.subnets.iter().collect();
        subnets.sort_unstable_by_key(|subnet| subnet.id);
        let row = |subnet: &&crate::config::Subnet| {
            let network = config.networks.get(subnet.network.0);
            json!({
                "id": subnet.id.0,
                "shared-network-name": network.and_then(|network| network.name.as_deref()),
                "subnet": subnet.prefix.to_string(),
            })
        };
        let rows: Vec<Value> = subnets.iter().map(row).collect();
        let plural = if rows.len() == 1 { "" } else { "s" };
        let text = format!("{} IPv4 subnet{plural} found", rows.len());
        let code = if rows.is_empty() { Code::Empty } else { Code::Success };
        Ok(Plan::Answer(Reply::failure(code, text).with(&json!({ "subnets": rows }))))
    }))
}

fn get(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let config = running(cx)?;
    let wanted = Wanted::of(args)?;
    Ok(Plan::later(move || {
        let (id, prefix) = wanted.find(&config)?;
        let subnet = config.print_subnet(id).ok_or_else(|| wanted.missing())?;
        let text = format!("Info about IPv4 subnet {prefix} (id {id}) returned");
        let arguments = Some(format!("{{\"subnet4\":[{subnet}]}}"));
        Ok(Plan::Answer(Reply { arguments, ..Reply::success(text) }))
    }))
}

/// Which subnet is asked for.
enum Wanted {
    Id(SubnetId),
    Prefix(Prefix),
}

impl Wanted {
    fn of(args: &Args<'_>) -> Result<Wanted, Refusal> {
        if args.map().is_none() {
            let text = "no parameters specified for the 'subnet4-get' command";
            return Err(Refusal::error(text));
        }
        match (args.uint32_or("id")?, args.string_or("subnet")?) {
            (Some(id), None) => Ok(Wanted::Id(SubnetId(id))),
            (None, Some(text)) => text.parse().map(Wanted::Prefix).map_err(|_| {
                Refusal::error(format!("invalid subnet '{text}': prefix/len is expected"))
            }),
            _ => Err(Refusal::error("exactly one of the parameters 'id' and 'subnet' is expected")),
        }
    }

    fn find(&self, config: &Config) -> Result<(SubnetId, Prefix), Refusal> {
        let subnet = match self {
            Wanted::Id(id) => config.subnet(*id),
            Wanted::Prefix(prefix) => config.subnets.iter().find(|own| own.prefix == *prefix),
        };
        let subnet = subnet.ok_or_else(|| self.missing())?;
        Ok((subnet.id, subnet.prefix))
    }

    fn missing(&self) -> Refusal {
        Refusal::empty(match self {
            Wanted::Id(id) => format!("No subnet with id {id} found"),
            Wanted::Prefix(prefix) => format!("No {prefix} subnet found"),
        })
    }
}

fn add(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    edits::plan(args, cx, Verb::SubnetAdd, |changed| subnets(changed, "IPv4 subnet added"))
}

fn update(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    edits::plan(args, cx, Verb::SubnetUpdate, updated)
}

fn delta_add(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    edits::plan(args, cx, Verb::SubnetDeltaAdd, updated)
}

fn delta_del(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    edits::plan(args, cx, Verb::SubnetDeltaDel, updated)
}

fn updated(changed: &Changed) -> Reply {
    subnets(changed, "IPv4 subnet updated")
}

fn del(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    edits::plan(args, cx, Verb::SubnetDel, |changed| {
        subnets(changed, &format!("IPv4 {} deleted", described(changed)))
    })
}

fn subnets(changed: &Changed, text: &str) -> Reply {
    let row =
        |(id, prefix): &(SubnetId, Prefix)| json!({ "id": id.0, "subnet": prefix.to_string() });
    let rows: Vec<Value> = changed.subnet.iter().map(row).collect();
    Reply::success(text).with(&json!({ "subnets": rows }))
}

/// `subnet P (id N)`.
pub(super) fn described(changed: &Changed) -> String {
    let subnet = changed.subnet.map(|(id, prefix)| format!("subnet {prefix} (id {id})"));
    subnet.unwrap_or_else(|| "subnet".to_owned())
}
