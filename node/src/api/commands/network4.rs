//! `network4-*`: reading and changing shared networks (kea-api §2.4, §3.9; Kea's `subnet_cmds`).

use serde_json::{Value, json};

use super::config::running;
use super::edits::{self, AUTHOR, COMMENT, EXPECTED};
use super::subnet4::described;
use crate::api::spec::Origin::SubnetCmds;
use crate::api::spec::{
    ApiContext, Args, Argument, Code, Kind, Plan, Refusal, Reply, Spec, needed, optional,
};
use crate::config::edit::Verb;

/// `network4-list`.
pub const LIST: Spec = Spec::reads("network4-list", SubnetCmds, list)
    .about("Returns the names of all shared networks.");
/// `network4-get`.
pub const GET: Spec = Spec::reads("network4-get", SubnetCmds, get)
    .about("Returns one shared network as `config-get` shows it, with its subnets.")
    .takes(&[NAME]);
/// `network4-add`.
pub const ADD: Spec = Spec::writes("network4-add", SubnetCmds, add)
    .about("Adds a shared network, which may bring subnets.")
    .takes(&[
        needed("shared-networks", Kind::List, "The network: the only entry of the list."),
        EXPECTED,
        AUTHOR,
        COMMENT,
    ]);
/// `network4-del`.
pub const DEL: Spec = Spec::writes("network4-del", SubnetCmds, del)
    .about("Removes a shared network.")
    .takes(&[
        NAME,
        optional(
            "subnets-action",
            Kind::Text,
            "`keep` (default): its subnets stay, in no network. `delete`: they go, and their leases stay \
             until they end.",
        ),
        EXPECTED,
        AUTHOR,
        COMMENT,
    ]);
/// `network4-subnet-add`.
pub const SUBNET_ADD: Spec = Spec::writes("network4-subnet-add", SubnetCmds, subnet_add)
    .about("Moves a subnet that is in no shared network into one.")
    .takes(MEMBER);
/// `network4-subnet-del`.
pub const SUBNET_DEL: Spec = Spec::writes("network4-subnet-del", SubnetCmds, subnet_del)
    .about("Takes a subnet out of a shared network. The subnet stays.")
    .takes(MEMBER);

const NAME: Argument = needed("name", Kind::Text, "The name of the network.");

const MEMBER: &[Argument] =
    &[NAME, needed("id", Kind::Integer, "The id of the subnet."), EXPECTED, AUTHOR, COMMENT];

fn list(_: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let config = running(cx)?;
    Ok(Plan::later(move || {
        let names = config.networks.iter().filter_map(|network| network.name.as_deref());
        let rows: Vec<Value> = names.map(|name| json!({ "name": name })).collect();
        let plural = if rows.len() == 1 { "" } else { "s" };
        let text = format!("{} IPv4 network{plural} found", rows.len());
        let code = if rows.is_empty() { Code::Empty } else { Code::Success };
        Ok(Plan::Answer(Reply::failure(code, text).with(&json!({ "shared-networks": rows }))))
    }))
}

fn get(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let config = running(cx)?;
    let name = args.string("name")?.to_owned();
    Ok(Plan::later(move || {
        let missing = || Refusal::empty(format!("No '{name}' shared network found"));
        let network = config.print_network(&name).ok_or_else(missing)?;
        let text = format!("Info about IPv4 shared network '{name}' returned");
        let arguments = Some(format!("{{\"shared-networks\":[{network}]}}"));
        Ok(Plan::Answer(Reply { arguments, ..Reply::success(text) }))
    }))
}

fn add(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    edits::plan(args, cx, Verb::NetworkAdd, |changed| {
        let name = &changed.name;
        named(name, format!("A new IPv4 shared network '{name}' added"))
    })
}

fn del(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    edits::plan(args, cx, Verb::NetworkDel, |changed| {
        let name = &changed.name;
        named(name, format!("IPv4 shared network '{name}' deleted"))
    })
}

fn named(name: &str, text: String) -> Reply {
    Reply::success(text).with(&json!({ "shared-networks": [{ "name": name }] }))
}

fn subnet_add(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    edits::plan(args, cx, Verb::NetworkSubnetAdd, |changed| {
        let (subnet, name) = (described(changed), &changed.name);
        Reply::success(format!("IPv4 {subnet} is now part of shared network '{name}'"))
    })
}

fn subnet_del(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    edits::plan(args, cx, Verb::NetworkSubnetDel, |changed| {
        let (subnet, name) = (described(changed), &changed.name);
        Reply::success(format!("IPv4 {subnet} is now removed from shared network '{name}'"))
    })
}
