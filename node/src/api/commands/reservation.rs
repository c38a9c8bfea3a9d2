//! `reservation-*`: hosts of the configuration (kea-api §2.5, §3.10; Kea's `host_cmds`). What the
//! writing ones refuse is said in [`crate::config::edit`].
//!
//! There is one store, so every `operation-target` means it. Texts are Kea's to the letter, because
//! scripts compare them. Pages differ on purpose: their order is by subnet and then by a hash, so
//! that no change between two of them hides a reservation ([`Config::hosts_after`]).

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::Value;

use super::edits::{self, AUTHOR, COMMENT, EXPECTED};
use crate::api::spec::Origin::HostCmds;
use crate::api::spec::{
    ApiContext, Args, Argument, Code, Kind, Plan, Refusal, Reply, Spec, either, needed, optional,
};
use crate::config::edit::Verb;
use crate::config::{Config, Host, HostCursor, IdentifierKind};
use crate::options::hex_bytes;
use crate::types::SubnetId;

/// `reservation-get`.
pub const GET: Spec =
    Spec::reads("reservation-get", HostCmds, get).about("Returns one reservation.").takes(ONE);
/// `reservation-get-all`.
pub const GET_ALL: Spec = Spec::reads("reservation-get-all", HostCmds, get_all)
    .about("Returns all reservations of a subnet, or the global ones.")
    .takes(&[needed("subnet-id", Kind::Integer, "The subnet; 0 means the global ones."), TARGET]);
/// `reservation-get-page`.
pub const GET_PAGE: Spec = Spec::reads("reservation-get-page", HostCmds, get_page)
    .about(
        "Returns reservations some at a time. The members of `next` are the arguments of the next page; the last page \
         is the one that is empty, with result 3. A reservation that is there all the time is seen once, \
         whatever is changed meanwhile.",
    )
    .takes(&[
        needed("limit", Kind::Integer, "The most reservations of a page, above 0."),
        optional("subnet-id", Kind::Integer, "Those of this subnet only; 0 means the global ones."),
        optional("from", Kind::Integer, "`from` of the page before; absent or 0 is the beginning."),
        optional("source-index", Kind::Integer, "0 to 10. All there is is in source 0."),
    ]);
/// `reservation-get-by-hostname`.
pub const GET_BY_HOSTNAME: Spec =
    Spec::reads("reservation-get-by-hostname", HostCmds, get_by_hostname)
        .about("Returns the reservations of a host name. Looks at all of them.")
        .takes(&[needed("hostname", Kind::Text, "The name, in either case."), IN_SUBNET, TARGET]);
/// `reservation-get-by-id`.
pub const GET_BY_ID: Spec = Spec::reads("reservation-get-by-id", HostCmds, get_by_id)
    .about("Returns the reservations of an identifier in all subnets.")
    .takes(&[
        needed("identifier-type", Kind::Text, IDENTIFIER_TYPE),
        needed("identifier", Kind::Text, IDENTIFIER),
        TARGET,
    ]);
/// `reservation-get-by-address`.
pub const GET_BY_ADDRESS: Spec =
    Spec::reads("reservation-get-by-address", HostCmds, get_by_address)
        .about("Returns the reservations of an address.")
        .takes(&[needed("ip-address", Kind::Text, "The address."), IN_SUBNET, TARGET]);

/// `reservation-add`.
pub const ADD: Spec = Spec::writes("reservation-add", HostCmds, add)
    .about(
        "Adds a reservation to a subnet, or to the global ones. The address may be leased to another client: it \
         is kept from that one when it renews.",
    )
    .takes(&[
        needed(
            "reservation",
            Kind::Map,
            "An entry of `reservations`, with its `subnet-id`. Without that, or with 0, it is global; without it, it \
             must not have an address.",
        ),
        TARGET,
        EXPECTED,
        AUTHOR,
        COMMENT,
    ]);
/// `reservation-update`.
pub const UPDATE: Spec = Spec::writes("reservation-update", HostCmds, update)
    .about("Replaces the reservation with the same identifier in the same subnet.")
    .takes(&[
        needed(
            "reservation",
            Kind::Map,
            "The whole entry of `reservations`, with its `subnet-id`; 0 means a global one.",
        ),
        TARGET,
        EXPECTED,
        AUTHOR,
        COMMENT,
    ]);
/// `reservation-del`.
pub const DEL: Spec = Spec::writes("reservation-del", HostCmds, del)
    .about("Deletes a reservation. A lease of its client stays.")
    .takes(&[SUBNET, BY_ADDRESS, BY_TYPE, BY_IDENTIFIER, TARGET, EXPECTED, AUTHOR, COMMENT]);

/// What names one reservation.
const ONE: &[Argument] = &[SUBNET, BY_ADDRESS, BY_TYPE, BY_IDENTIFIER, TARGET];
const SUBNET: Argument =
    needed("subnet-id", Kind::Integer, "The subnet; 0 means the global reservations.");
const BY_ADDRESS: Argument =
    either("ip-address", Kind::Text, "The reserved address; or, instead, the two below.");
const BY_TYPE: Argument = either("identifier-type", Kind::Text, IDENTIFIER_TYPE);
const BY_IDENTIFIER: Argument = either("identifier", Kind::Text, IDENTIFIER);
const IDENTIFIER_TYPE: &str = "`hw-address`, `duid`, `circuit-id`, `client-id` or `flex-id`.";
const IDENTIFIER: &str =
    "The identifier: hexadecimal with or without colons or `0x`, or a text in single quotes.";
const IN_SUBNET: Argument =
    optional("subnet-id", Kind::Integer, "Those of this subnet only; 0 means the global ones.");
const TARGET: Argument = optional(
    "operation-target",
    Kind::Text,
    "`memory`, `database`, `all` or `default`: all the same, since there is one store.",
);

fn get(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let wanted = Wanted::parse(args)?;
    let Some(config) = cx.view.config() else { return Ok(Plan::Answer(not_found())) };
    let reply = wanted.find(config).map_or_else(not_found, |host| {
        let mut arguments = String::new();
        host.print(config, &mut arguments);
        Reply { arguments: Some(arguments), ..Reply::success("Host found.") }
    });
    Ok(Plan::Answer(reply))
}

fn not_found() -> Reply {
    Reply::failure(Code::Empty, "Host not found.")
}

fn get_all(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    need_map(args)?;
    let subnet = subnet(args)?.ok_or_else(|| missing("subnet-id"))?;
    target(args)?;
    let Some(config) = configured(cx, Some(subnet))? else { return Ok(none()) };
    Ok(Plan::later(move || Ok(hosts(&config, config.hosts(subnet)))))
}

fn get_page(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    need_map(args)?;
    let subnet = subnet(args)?;
    let limit = ranged(args, "limit", u32::MAX.into())?.ok_or_else(|| missing("limit"))?;
    let source = ranged(args, "source-index", 10)?.unwrap_or_default();
    // A cursor that went through a signed number is the same.
    let from = HostCursor(args.integer_or("from")?.unwrap_or_default() as u64);
    if limit == 0 {
        return Err(Refusal::error("page size of retrieved hosts must not be 0"));
    }
    let config = configured(cx, subnet)?;
    let Some(config) = config.filter(|_| source == 0) else {
        return Ok(Plan::Answer(Reply {
            arguments: Some("{ \"count\": 0, \"hosts\": [ ] }".into()),
            ..found(0)
        }));
    };
    Ok(Plan::later(move || {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let (page, next) = config.hosts_after(subnet, from, limit);
        let (count, hosts) = print_hosts(&config, page.into_iter());
        let next = match count {
            0 => String::new(),
            _ => format!(", \"next\": {{ \"from\": {}, \"source-index\": 0 }}", next.0),
        };
        let arguments = Some(format!("{{ \"count\": {count}, {hosts}{next} }}"));
        Ok(Plan::Answer(Reply { arguments, ..found(count) }))
    }))
}

fn get_by_hostname(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    need_map(args)?;
    let subnet = subnet(args)?;
    let hostname = args.string("hostname")?.to_lowercase();
    if hostname.is_empty() {
        return Err(Refusal::error("Empty hostname"));
    }
    target(args)?;
    let Some(config) = configured(cx, subnet)? else { return Ok(none()) };
    Ok(Plan::later(move || {
        let is_it = |name: &str| name.len() == hostname.len() && name.to_lowercase() == hostname;
        Ok(match subnet {
            Some(subnet) => {
                let all = config.hosts(subnet);
                hosts(&config, all.filter(|host| is_it(&host.reservation.hostname)))
            }
            None => hosts(&config, config.hosts_where(|host| is_it(&host.hostname))),
        })
    }))
}

fn get_by_id(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    need_map(args)?;
    if args.get("subnet-id").is_some() {
        return Err(Refusal::error("'subnet-id' is forbidden in reservation-get-by-id"));
    }
    let text = |name: &str| {
        let none = || Refusal::error(format!("'{name}' is either missing or not a string."));
        args.get(name).and_then(Value::as_str).ok_or_else(none)
    };
    let (kind, identifier) = identifier(text("identifier-type")?, text("identifier")?)?;
    target(args)?;
    let Some(config) = configured(cx, None)? else { return Ok(none()) };
    Ok(Plan::later(move || Ok(hosts(&config, config.hosts_by_identifier(kind, &identifier)))))
}

fn get_by_address(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    need_map(args)?;
    let subnet = subnet(args)?;
    let text = args.string("ip-address")?;
    let address: Ipv4Addr = text.parse().map_err(|_| match text.parse::<std::net::Ipv6Addr>() {
        Ok(v6) => Refusal::error(format!(
            "must specify an IPv4 address when searching for a host, specified address was {v6}"
        )),
        Err(_) => Refusal::error(format!(
            "Failed to convert '{text}' to address: Failed to convert string to address '{text}': Invalid argument"
        )),
    })?;
    target(args)?;
    let Some(config) = configured(cx, subnet)? else { return Ok(none()) };
    Ok(Plan::later(move || {
        Ok(match subnet {
            Some(subnet) => hosts(&config, config.hosts_of_address(subnet, address)),
            None => hosts(&config, config.all_hosts_of_address(address)),
        })
    }))
}

fn add(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    if args.is_absent() {
        return Err(Refusal::error("no parameters specified for the command"));
    }
    let has_subnet = |entry: &Value| entry.get("subnet-id").is_some();
    let text = match args.get("reservation").is_some_and(has_subnet) {
        true => "Host added.",
        false => "Host added. subnet-id not specified, assumed global (subnet-id 0).",
    };
    edits::plan(args, cx, Verb::ReservationAdd, move |_| Reply::success(text))
}

fn update(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    if args.is_absent() {
        let text = "invalid command: does not contain mandatory 'arguments'";
        return Err(Refusal::error(text));
    }
    edits::plan(args, cx, Verb::ReservationUpdate, |_| Reply::success("Host updated."))
}

fn del(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    match Wanted::parse(args) {
        Ok(_) => edits::plan(args, cx, Verb::ReservationDel, |_| Reply::success("Host deleted.")),
        // An address that no reservation can have.
        Err(Refusal { code: Code::Empty, .. }) => {
            Err(Refusal::empty("Host not deleted (not found)."))
        }
        Err(refusal) => Err(refusal),
    }
}

/// The answer with a list of hosts.
fn hosts<'a>(config: &Config, all: impl Iterator<Item = Host<'a>>) -> Plan {
    let (count, hosts) = print_hosts(config, all);
    Plan::Answer(Reply { arguments: Some(format!("{{ {hosts} }}")), ..found(count) })
}

/// The answer where there is no configuration yet.
fn none() -> Plan {
    Plan::Answer(Reply { arguments: Some("{ \"hosts\": [ ] }".into()), ..found(0) })
}

fn found(count: usize) -> Reply {
    let code = if count == 0 { Code::Empty } else { Code::Success };
    Reply::failure(code, format!("{count} IPv4 host(s) found."))
}

/// `"hosts": […]` as text, and how many there are.
fn print_hosts<'a>(config: &Config, all: impl Iterator<Item = Host<'a>>) -> (usize, String) {
    let mut out = String::from("\"hosts\": [");
    let mut count = 0;
    for host in all {
        out.push_str(if count == 0 { " " } else { ", " });
        host.print(config, &mut out);
        count += 1;
    }
    out.push_str(" ]");
    (count, out)
}

/// What names one reservation: a subnet (0 for the global ones), and an address or an identifier.
enum Wanted {
    Address(SubnetId, Ipv4Addr),
    Identifier(SubnetId, IdentifierKind, Vec<u8>),
}

impl Wanted {
    fn parse(args: &Args<'_>) -> Result<Wanted, Refusal> {
        need_map(args)?;
        let subnet = subnet(args)?.ok_or_else(|| missing_subnet(args))?;
        let wanted = match args.get("ip-address") {
            Some(value) => {
                let text = value.as_str();
                let text = text.ok_or_else(|| Refusal::error("'ip-address' is not a string."))?;
                Wanted::Address(subnet, address(text)?)
            }
            None => {
                let text = |name: &str| {
                    args.get(name).and_then(Value::as_str).ok_or_else(|| {
                        Refusal::error(format!(
                            "No 'ip-address' provided and '{name}' is either missing or not a string."
                        ))
                    })
                };
                let (kind, identifier) = identifier(text("identifier-type")?, text("identifier")?)?;
                Wanted::Identifier(subnet, kind, identifier)
            }
        };
        target(args)?;
        Ok(wanted)
    }

    fn find<'a>(&self, config: &'a Config) -> Option<Host<'a>> {
        match self {
            Wanted::Address(subnet, address) => config.hosts_of_address(*subnet, *address).next(),
            Wanted::Identifier(subnet, kind, identifier) => {
                config.host_by_identifier(*subnet, *kind, identifier)
            }
        }
    }
}

/// Without a subnet Kea says which command does without one.
fn missing_subnet(args: &Args<'_>) -> Refusal {
    let text = |name: &str| args.get(name).and_then(Value::as_str);
    match (text("ip-address"), text("identifier-type"), text("identifier")) {
        (Some(address), ..) => Refusal::error(format!(
            "missing parameter 'subnet-id', use 'reservation-get-by-address' with 'ip-address' set to \"{address}\" to \
             get the list of reservations with this address"
        )),
        (None, Some(kind), Some(identifier)) => Refusal::error(format!(
            "missing parameter 'subnet-id', use 'reservation-get-by-id' with 'identifier-type' set to \"{kind}\" and \
             'identifier' to \"{identifier}\" to get the list of reservations with this identifier"
        )),
        _ => missing("subnet-id"),
    }
}

fn need_map(args: &Args<'_>) -> Result<(), Refusal> {
    match args.map() {
        Some(_) => Ok(()),
        None => Err(Refusal::error("Parameters missing or are not a map.")),
    }
}

fn missing(name: &str) -> Refusal {
    Refusal::error(format!("missing parameter '{name}'"))
}

/// An integer that may be missing, from 0 to `most`.
fn ranged(args: &Args<'_>, name: &str, most: u64) -> Result<Option<u64>, Refusal> {
    let Some(value) = args.get(name) else { return Ok(None) };
    let within = value.as_u64().filter(|number| *number <= most);
    match within {
        Some(number) => Ok(Some(number)),
        None if value.is_i64() || value.is_u64() => Err(Refusal::error(format!(
            "The '{name}' value ({value}) is not within expected range: (0 - {most})"
        ))),
        None => Err(Refusal::error(format!("invalid type specified for parameter '{name}'"))),
    }
}

/// `subnet-id`; 0 means the global reservations.
fn subnet(args: &Args<'_>) -> Result<Option<SubnetId>, Refusal> {
    let id = ranged(args, "subnet-id", u64::from(u32::MAX) - 1)?;
    Ok(id.and_then(|id| u32::try_from(id).ok()).map(SubnetId))
}

/// `operation-target`, which must be one of Kea's.
fn target(args: &Args<'_>) -> Result<(), Refusal> {
    match args.string_or("operation-target")? {
        None | Some("memory" | "database" | "all" | "default") => Ok(()),
        Some(other) => Err(Refusal::error(format!(
            "The 'operation-target' value ({other}) is not within expected set: (memory, database, all, default)"
        ))),
    }
}

/// `identifier-type` and `identifier`.
fn identifier(kind: &str, text: &str) -> Result<(IdentifierKind, Vec<u8>), Refusal> {
    let kind = IdentifierKind::named(kind)
        .ok_or_else(|| Refusal::error("Value of 'identifier-type' was not recognized."))?;
    if text.is_empty() {
        return Err(Refusal::error("Unable to query for empty 'identifier'."));
    }
    let bytes =
        hex_bytes(text).map_err(|_| Refusal::error("Unable to parse 'identifier' value."))?;
    Ok((kind, bytes))
}

/// An address that is looked for. No reservation has one of IPv6, so that one is not found.
fn address(text: &str) -> Result<Ipv4Addr, Refusal> {
    text.parse().map_err(|_| match text.parse::<std::net::Ipv6Addr>() {
        Ok(_) => Refusal::empty("Host not found."),
        Err(_) => Refusal::error(format!(
            "Failed to convert string to address '{text}': Invalid argument"
        )),
    })
}

/// The configuration, in which the subnet must be; `None` before there is one.
fn configured(
    cx: &ApiContext<'_>,
    subnet: Option<SubnetId>,
) -> Result<Option<Arc<Config>>, Refusal> {
    let config = cx.view.config();
    match subnet {
        Some(id)
            if id.0 != 0 && config.is_none_or(|config| config.reservations_of(id).is_none()) =>
        {
            Err(Refusal::error(format!("IPv4 subnet with ID of '{id}' is not configured")))
        }
        _ => Ok(config.cloned()),
    }
}
