//! `lease4-*`: reading, adding and removing leases (kea-api §3.1–3.4; Kea's `lease_cmds`).
//!
//! Texts are Kea's to the letter, because scripts compare them. Two answers differ on purpose: a
//! page is served from one applied index, and an address whose subnet is gone from the
//! configuration still has its lease (R8).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::api::json::type_name;
use crate::api::spec::Origin::LeaseCmds;
use crate::api::spec::{
    ApiContext, Args, Argument, Code, Kind, Plan, Refusal, Reply, Spec, either, needed, optional,
};
use crate::config::{Config, Subnet};
use crate::packet::v4::{RelayInfo, codes};
use crate::state::{
    Command, DeleteLease, Lease, LeaseState, Meta, Outcome, PutLease, PutMode, WipeLeases,
};
use crate::types::{ClientId, HwAddr, Lifetime, SubnetId, UpperHex};

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
/// `lease4-add`.
pub const ADD: Spec =
    Spec::writes("lease4-add", LeaseCmds, add).about("Adds a lease.").takes(WHOLE_LEASE);
/// `lease4-del`.
pub const DEL: Spec = Spec::writes("lease4-del", LeaseCmds, del)
    .about("Deletes a lease. The client may go on using the address until it renews.")
    .takes(LEASE);
/// `lease4-wipe`.
pub const WIPE: Spec = Spec::writes("lease4-wipe", LeaseCmds, wipe)
    .about("Deletes all leases of a subnet, or of all subnets.")
    .takes(&[optional("subnet-id", Kind::Integer, "The subnet; absent or 0 means all.")]);

/// What names one lease.
const LEASE: &[Argument] = &[
    either("ip-address", Kind::Text, "The address; or, instead, the three below."),
    either("subnet-id", Kind::Integer, "The subnet."),
    either("identifier-type", Kind::Text, "`hw-address` or `client-id`."),
    either("identifier", Kind::Text, "The identifier, hexadecimal with or without colons."),
    optional("update-ddns", Kind::Boolean, "For deleting: whether DNS records go as well."),
];

/// What describes a lease.
const WHOLE_LEASE: &[Argument] = &[
    needed("ip-address", Kind::Text, "The address."),
    needed("hw-address", Kind::Text, "The hardware address, hexadecimal."),
    optional("subnet-id", Kind::Integer, "The subnet; absent or 0 means the one with the address."),
    optional("client-id", Kind::Text, "The client identifier, hexadecimal."),
    optional("valid-lft", Kind::Integer, "Lifetime in seconds; by default that of the subnet."),
    optional("expire", Kind::Integer, "The end, Unix seconds; by default now plus the lifetime."),
    optional("hostname", Kind::Text, "The host name."),
    optional("fqdn-fwd", Kind::Boolean, "Whether there is a forward DNS record."),
    optional("fqdn-rev", Kind::Boolean, "Whether there is a reverse DNS record."),
    optional(
        "state",
        Kind::Integer,
        "0 assigned, 1 declined, 2 expired and reclaimed, 3 released.",
    ),
    optional("user-context", Kind::Map, "Kept with the lease."),
    optional("comment", Kind::Text, "Kept as a member of `user-context`."),
];

/// A lease as Kea prints it; members in alphabetical order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Lease4 {
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    cltt: i64,
    fqdn_fwd: bool,
    fqdn_rev: bool,
    hostname: Box<str>,
    hw_address: String,
    ip_address: Ipv4Addr,
    state: u8,
    subnet_id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_context: Option<Value>,
    valid_lft: u32,
}

impl Lease4 {
    fn of(lease: &Lease, meta: &Meta) -> Lease4 {
        // A released lease ended before its time: expiry is always cltt + valid-lft.
        let valid = match lease.state {
            LeaseState::Released => Lifetime::between(lease.cltt, lease.expires),
            _ => lease.valid,
        };
        Lease4 {
            client_id: lease.client_id.as_ref().map(ClientId::to_string),
            // An imported lease can have begun before the cluster was formed, where its clock has no
            // moment; its end is exact.
            cltt: match lease.state {
                LeaseState::Assigned if !valid.is_infinite() => {
                    meta.wall_seconds(lease.expires) - i64::from(valid.as_secs())
                }
                _ => meta.wall_seconds(lease.cltt),
            },
            fqdn_fwd: lease.fqdn_fwd,
            fqdn_rev: lease.fqdn_rev,
            hostname: lease.hostname.clone(),
            hw_address: lease.hw.to_string(),
            ip_address: lease.address,
            state: lease.state.number(),
            subnet_id: lease.subnet.0,
            user_context: shown_context(lease),
            valid_lft: valid.as_secs(),
        }
    }
}

/// `user-context`, with what `store-extended-info` keeps as Kea shows it:
/// `ISC.relay-agent-info`.
fn shown_context(lease: &Lease) -> Option<Value> {
    let own = lease.user_context.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let Some(info) = lease.relay_info.as_deref() else { return own };
    let mut shown = Map::new();
    let parts = RelayInfo::new(info);
    // Names in alphabetical order, as Kea has them.
    for (name, code) in
        [("relay-id", codes::relay::RELAY_ID), ("remote-id", codes::relay::REMOTE_ID)]
    {
        let part = parts.sub_options().find(|(own, value)| *own == code && !value.is_empty());
        if let Some((_, value)) = part {
            shown.insert(name.into(), UpperHex(value).to_string().into());
        }
    }
    shown.insert("sub-options".into(), format!("0x{}", UpperHex(info)).into());
    let mut context = match own {
        Some(Value::Object(context)) => context,
        _ => Map::new(),
    };
    // Anything but a map was written by somebody who means something else.
    if let Value::Object(isc) = context.entry("ISC").or_insert_with(|| Value::Object(Map::new())) {
        isc.insert("relay-agent-info".into(), shown.into());
    }
    context.sort_keys();
    Some(Value::Object(context))
}

/// `"leases": […]` as text, one lease at a time so that a large table is never held twice, and how
/// many there are.
fn print_leases<'a>(leases: impl Iterator<Item = &'a Arc<Lease>>, meta: &Meta) -> (usize, String) {
    let mut out = String::from("\"leases\": [");
    let mut count = 0;
    for lease in leases {
        out.push_str(if count == 0 { " " } else { ", " });
        // Strings and numbers only: it cannot fail.
        out.push_str(&serde_json::to_string(&Lease4::of(lease, meta)).unwrap_or_default());
        count += 1;
    }
    out.push_str(" ]");
    (count, out)
}

fn found(count: usize) -> Reply {
    let code = if count == 0 { Code::Empty } else { Code::Success };
    Reply::failure(code, format!("{count} IPv4 lease(s) found."))
}

fn get(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let reply = match find(args, cx, "Query")? {
        Some(lease) => {
            Reply::success("IPv4 lease found.").with(&Lease4::of(&lease, cx.view.meta()))
        }
        None => Reply::failure(Code::Empty, "Lease not found."),
    };
    Ok(Plan::Answer(reply))
}

/// The lease that `lease4-get` and `lease4-del` mean: by address, or by subnet and identifier.
fn find(args: &Args<'_>, cx: &ApiContext<'_>, verb: &str) -> Result<Option<Arc<Lease>>, Refusal> {
    let of = |leases: Vec<&Arc<Lease>>, subnet: SubnetId| {
        leases.into_iter().find(|lease| lease.subnet == subnet && names_somebody(lease)).cloned()
    };
    Ok(match Wanted::parse(args, verb)? {
        Wanted::Address(address) => cx.view.lease(address).cloned(),
        Wanted::Hw(subnet, hw) => of(cx.view.leases_with_hw(&hw), subnet),
        Wanted::Id(subnet, id) => of(cx.view.leases_with_id(&id), subnet),
    })
}

/// A declined address has no client any more.
fn names_somebody(lease: &Lease) -> bool {
    lease.state != LeaseState::Declined
}

enum Wanted {
    Address(Ipv4Addr),
    Hw(SubnetId, HwAddr),
    Id(SubnetId, ClientId),
}

impl Wanted {
    fn parse(args: &Args<'_>, verb: &str) -> Result<Wanted, Refusal> {
        let refuse = |text: String| Refusal::error(text);
        if args.map().is_none() {
            return Err(refuse("Parameters missing or are not a map.".into()));
        }
        if let Some(value) = args.get("update-ddns")
            && !value.is_boolean()
        {
            return Err(refuse("'update-ddns' is not a boolean".into()));
        }
        if let Some(value) = args.get("ip-address") {
            let text =
                value.as_str().ok_or_else(|| refuse("'ip-address' is not a string.".into()))?;
            return address(text).map(Wanted::Address);
        }
        let subnet = args
            .get("subnet-id")
            .ok_or_else(|| refuse("Mandatory 'subnet-id' parameter missing.".into()))?;
        let subnet = subnet
            .as_u64()
            .ok_or_else(|| refuse("'subnet-id' parameter is not integer.".into()))?;
        let subnet = u32::try_from(subnet).map(SubnetId);
        let subnet = subnet.map_err(|_| refuse("'subnet-id' parameter is out of range.".into()))?;
        let text = |name: &str| {
            args.get(name).and_then(Value::as_str).ok_or_else(|| {
                refuse(format!(
                    "No 'ip-address' provided and '{name}' is either missing or not a string."
                ))
            })
        };
        let (kind, identifier) = (text("identifier-type")?, text("identifier")?);
        match kind {
            "hw-address" => hw_address(identifier).map(|hw| Wanted::Hw(subnet, hw)),
            "client-id" => client_id(identifier).map(|id| Wanted::Id(subnet, id)),
            "duid" => Err(refuse(format!("{verb} by duid is not allowed in v4."))),
            // Kea's list, as it is, although `client-id` is missing from it.
            _ => Err(refuse(format!(
                "Incorrect identifier type: {kind}, the only supported values are: address, hw-address, duid"
            ))),
        }
    }
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
    let limit = match usize::try_from(limit) {
        Ok(0) | Err(_) => return Err(refuse("'limit' parameter must not be 0.".into())),
        Ok(limit) => limit,
    };
    let frozen = cx.view.freeze();
    Ok(Plan::later(move || {
        let (count, leases) = print_leases(frozen.leases_after(from).take(limit), frozen.meta());
        let arguments = Some(format!("{{ \"count\": {count}, {leases} }}"));
        Ok(Plan::Answer(Reply { arguments, ..found(count) }))
    }))
}

fn add(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let put = lease_of(args, cx.view.config().map(|config| &**config), PutMode::Add)?;
    let (address, subnet) = (put.address, put.subnet);
    let text = format!("Lease for address {address}, subnet-id {subnet} added.");
    Ok(Plan::commit(Command::PutLease(put), move |outcome| match outcome {
        Outcome::LeaseWritten { .. } => Reply::success(text),
        Outcome::LeaseExists => Reply::failure(Code::Conflict, "IPv4 lease already exists."),
        Outcome::NoSubnet(subnet) => no_subnet(*subnet).into(),
        Outcome::OutsideSubnet(subnet) => Reply::failure(
            Code::Conflict,
            format!("The address {address} does not belong to the subnet with subnet-id={subnet}"),
        ),
        other => unexpected(other),
    }))
}

/// The lease that `lease4-add` and `lease4-update` describe, with Kea's defaults and refusals
/// (kea-api §3.1, rules 1 to 8).
fn lease_of(args: &Args<'_>, config: Option<&Config>, mode: PutMode) -> Result<PutLease, Refusal> {
    match args.shared() {
        None => return Err(Refusal::error("no parameters specified for the command")),
        Some(value) if !value.is_object() => {
            let got = type_name(&value);
            return Err(Refusal::error(format!("arguments must be a map, got {got} instead")));
        }
        Some(_) => {}
    }
    let text = args.string("ip-address")?;
    let address: Ipv4Addr = text.parse().map_err(|_| match text.parse::<std::net::Ipv6Addr>() {
        Ok(v6) => Refusal::error(format!("Non-IPv4 address specified: {v6}")),
        Err(_) => Refusal::error(format!(
            "Failed to convert '{text}' to address: Failed to convert string to address '{text}': Invalid argument"
        )),
    })?;
    let hw = hw_address(args.string("hw-address")?)?;
    let subnet_id = args.uint32_or("subnet-id")?.unwrap_or(0);
    let client_id = args.string_or("client-id")?.map(client_id).transpose()?;
    let hostname = args.string_or("hostname")?.unwrap_or_default().to_lowercase();
    let lifetime = args.uint32_or("valid-lft")?.map(Lifetime::from_secs);
    let expire = args.integer_or("expire")?;
    let subnet = subnet_for(config, subnet_id, address)?;
    let lifetime = lifetime.unwrap_or(subnet.values.valid_lifetime);
    if let Some(expire) = expire {
        if expire <= 0 {
            return Err(Refusal::error(format!(
                "expiration time must be positive for address {address}"
            )));
        }
        if expire < i64::from(lifetime.as_secs()) {
            return Err(Refusal::error(format!(
                "expiration time must be greater than valid lifetime for address {address}"
            )));
        }
    }
    let fqdn_fwd = args.boolean_or("fqdn-fwd")?.unwrap_or(false);
    let fqdn_rev = args.boolean_or("fqdn-rev")?.unwrap_or(false);
    if (fqdn_fwd || fqdn_rev) && hostname.is_empty() {
        return Err(Refusal::error(
            "No hostname specified and either forward or reverse fqdn was set to true.",
        ));
    }
    if hostname.len() > MOST_HOSTNAME {
        return Err(Refusal::error(format!("the hostname is longer than {MOST_HOSTNAME} bytes")));
    }
    let number = args.uint32_or("state")?.unwrap_or(0);
    let state = LeaseState::from_number(u64::from(number)).ok_or_else(|| {
        Refusal::error(format!(
            "Invalid state value: {number}, supported values are: 0 (default), 1 (declined), \
             2 (expired-reclaimed) and 3 (released)"
        ))
    })?;
    Ok(PutLease {
        mode,
        address,
        subnet: subnet.id,
        hw,
        client_id,
        lifetime,
        expire,
        hostname,
        fqdn_fwd,
        fqdn_rev,
        state,
        user_context: user_context(args)?,
    })
}

/// A domain name has at most 255 bytes (RFC 1035 §2.3.4).
const MOST_HOSTNAME: usize = 255;

/// A lease is held in memory on every node, and in the log.
const MOST_CONTEXT: usize = 16 << 10;

/// `user-context`, with `comment` folded in, as JSON text; empty for none.
fn user_context(args: &Args<'_>) -> Result<String, Refusal> {
    let mut context: Option<Map<String, Value>> = match args.get("user-context") {
        None => None,
        Some(Value::Object(map)) => Some(map.clone()),
        Some(other) => {
            return Err(Refusal::error(format!(
                "Invalid user context '{other}' is not a JSON map."
            )));
        }
    };
    if let Some(comment) = args.string_or("comment")? {
        context.get_or_insert_default().insert("comment".into(), comment.into());
    }
    let text = context.map(|map| Value::Object(map).to_string()).unwrap_or_default();
    if text.len() > MOST_CONTEXT {
        return Err(Refusal::error(format!(
            "the user context is longer than {MOST_CONTEXT} bytes"
        )));
    }
    Ok(text)
}

fn subnet_for(config: Option<&Config>, id: u32, address: Ipv4Addr) -> Result<&Subnet, Refusal> {
    if id == 0 {
        let holds = |config: &'_ Config| {
            config.subnets.iter().position(|subnet| subnet.prefix.contains(address))
        };
        return config.and_then(|config| holds(config).map(|at| &config.subnets[at])).ok_or_else(
            || {
                Refusal::conflict(format!(
                    "subnet-id not specified and failed to find a subnet for address {address}"
                ))
            },
        );
    }
    let subnet = config.and_then(|config| config.subnet(SubnetId(id)));
    let subnet = subnet.ok_or_else(|| no_subnet(SubnetId(id)))?;
    if !subnet.prefix.contains(address) {
        return Err(Refusal::conflict(format!(
            "The address {address} does not belong to subnet {}, subnet-id={id}",
            subnet.prefix
        )));
    }
    Ok(subnet)
}

fn no_subnet(id: SubnetId) -> Refusal {
    Refusal::conflict(format!(
        "Invalid subnet-id: No IPv4 subnet with subnet-id={id} currently configured."
    ))
}

fn del(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let none = || Reply::failure(Code::Empty, "IPv4 lease not found.");
    let Some(lease) = find(args, cx, "Delete")? else { return Ok(Plan::Answer(none())) };
    let command = Command::DeleteLease(DeleteLease { address: lease.address });
    Ok(Plan::commit(command, move |outcome| match outcome {
        Outcome::Deleted { count: 1.. } => Reply::success("IPv4 lease deleted."),
        Outcome::Deleted { .. } | Outcome::NoLease => none(),
        other => unexpected(other),
    }))
}

fn wipe(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    if let Some(value) = args.shared()
        && !value.is_object()
    {
        return Err(Refusal::error("Parameters missing or are not a map."));
    }
    let subnet = args.uint32_or("subnet-id")?.filter(|id| *id != 0).map(SubnetId);
    let named = match subnet {
        Some(id) => format!(" {id}"),
        None => {
            let config = cx.view.config();
            let mut ids: Vec<SubnetId> = config
                .into_iter()
                .flat_map(|config| config.subnets.iter().map(|subnet| subnet.id))
                .collect();
            ids.sort_unstable();
            ids.iter().map(|id| format!(" {id}")).collect()
        }
    };
    Ok(Plan::commit(Command::WipeLeases(WipeLeases::first(subnet)), move |outcome| match outcome {
        Outcome::Deleted { count } => {
            let code = if *count == 0 { Code::Empty } else { Code::Success };
            Reply::failure(code, format!("Deleted {count} IPv4 lease(s) from subnet(s){named}"))
        }
        Outcome::NoLease => {
            Reply::failure(Code::Empty, format!("Deleted 0 IPv4 lease(s) from subnet(s){named}"))
        }
        other => unexpected(other),
    }))
}

/// An outcome that `apply` does not give to this command.
fn unexpected(outcome: &Outcome) -> Reply {
    Reply::failure(Code::Error, format!("unexpected outcome: {outcome:?}"))
}

fn address(text: &str) -> Result<Ipv4Addr, Refusal> {
    text.parse().map_err(|_| match text.parse::<std::net::Ipv6Addr>() {
        Ok(_) => Refusal::error(format!("Invalid IPv4 address specified: {text}")),
        Err(_) => Refusal::error(format!(
            "Failed to convert string to address '{text}': Invalid argument"
        )),
    })
}

/// Reads bytes as Kea does: `02:00:0a`, with one digit where it does, `02 00 0a`, or `02000a`.
fn with_colons(text: &str) -> String {
    let plain = text.len() > 2
        && text.len().is_multiple_of(2)
        && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !plain {
        return text.replace(' ', ":");
    }
    let pairs: Vec<&str> = (0..text.len()).step_by(2).map(|at| &text[at..at + 2]).collect();
    pairs.join(":")
}

fn hw_address(text: &str) -> Result<HwAddr, Refusal> {
    with_colons(text)
        .parse()
        .map_err(|error| Refusal::error(format!("invalid hw-address '{text}': {error}")))
}

fn client_id(text: &str) -> Result<ClientId, Refusal> {
    with_colons(text)
        .parse()
        .map_err(|error| Refusal::error(format!("invalid client-id '{text}': {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing;

    #[test]
    fn extended_info_is_shown_inside_the_user_context() {
        let shown = |context: Option<&str>, info: Option<&[u8]>| {
            let mut lease = testing::lease("192.0.2.1", 1);
            lease.user_context = context.map(Into::into);
            lease.relay_info = info.map(Into::into);
            shown_context(&lease).map(|context| context.to_string())
        };
        let info: &[u8] = &[1, 1, 9, 2, 2, 0xab, 0xcd, 12, 1, 7];
        let rai = r#"{"relay-id":"07","remote-id":"ABCD","sub-options":"0x0101090202ABCD0C0107"}"#;
        assert_eq!(shown(None, None), None);
        assert_eq!(shown(Some(r#"{"a":1}"#), None).as_deref(), Some(r#"{"a":1}"#));
        let merged = format!(r#"{{"ISC":{{"relay-agent-info":{rai}}}}}"#);
        assert_eq!(shown(None, Some(info)), Some(merged));
        let merged = format!(r#"{{"ISC":{{"x":2,"relay-agent-info":{rai}}},"a":1}}"#);
        assert_eq!(shown(Some(r#"{"a":1,"ISC":{"x":2}}"#), Some(info)), Some(merged));
        let short = r#"{"ISC":{"relay-agent-info":{"sub-options":"0x010109"}}}"#;
        assert_eq!(shown(None, Some(&[1, 1, 9])).as_deref(), Some(short));
    }
}
