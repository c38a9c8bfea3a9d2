//! What requests say of leases: which one they mean, and what one shall be.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::api::json::type_name;
use crate::api::spec::{ApiContext, Args, Argument, Kind, Refusal, either, needed, optional};
use crate::config::{Config, Subnet};
use crate::state::{Lease, LeaseState, Meta, PutLease, PutMode, WallOffset};
use crate::types::{ClientId, HwAddr, Lifetime, SubnetId};

/// What names one lease.
pub(super) const LEASE: &[Argument] = &[
    either("ip-address", Kind::Text, "The address; or, instead, the three below."),
    either("subnet-id", Kind::Integer, "The subnet."),
    either("identifier-type", Kind::Text, "`hw-address` or `client-id`."),
    either("identifier", Kind::Text, "The identifier, hexadecimal with or without colons."),
];

/// What describes a lease.
pub(super) const WHOLE_LEASE: &[Argument] = &[
    needed("ip-address", Kind::Text, "The address."),
    needed("hw-address", Kind::Text, "The hardware address, hexadecimal."),
    optional("subnet-id", Kind::Integer, "The subnet; absent or 0 means the one with the address."),
    optional(
        "pool-id",
        Kind::Integer,
        "Not used: a lease is in the pool that the configuration has its address in.",
    ),
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

/// One list of arguments behind another; `N` is the length of both.
pub(super) const fn joined<const N: usize>(
    first: &[Argument],
    second: &[Argument],
) -> [Argument; N] {
    let mut all = [first[0]; N];
    let mut at = 0;
    while at < N {
        all[at] = if at < first.len() { first[at] } else { second[at - first.len()] };
        at += 1;
    }
    all
}

/// The lease that `lease4-get` means.
pub(super) fn find(
    args: &Args<'_>,
    cx: &ApiContext<'_>,
    verb: &str,
) -> Result<Option<Arc<Lease>>, Refusal> {
    Ok(Wanted::parse(args, verb)?.find(cx))
}

/// A declined address has no client any more.
fn names_somebody(lease: &Lease) -> bool {
    lease.state != LeaseState::Declined
}

/// What a request means: a lease by its address, or by subnet and identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    Address(Ipv4Addr),
    Hw(SubnetId, HwAddr),
    Id(SubnetId, ClientId),
}

impl Wanted {
    /// The lease as the view has it.
    pub(super) fn find(&self, cx: &ApiContext<'_>) -> Option<Arc<Lease>> {
        let of = |leases: Vec<&Arc<Lease>>, subnet: SubnetId| {
            let meant = |lease: &&Arc<Lease>| lease.subnet == subnet && names_somebody(lease);
            leases.into_iter().find(meant).cloned()
        };
        match self {
            Wanted::Address(address) => cx.view.lease(*address).cloned(),
            Wanted::Hw(subnet, hw) => of(cx.view.leases_with_hw(hw), *subnet),
            Wanted::Id(subnet, id) => of(cx.view.leases_with_id(id), *subnet),
        }
    }

    /// Reads it; `verb` is for the texts.
    pub(super) fn parse(args: &Args<'_>, verb: &str) -> Result<Wanted, Refusal> {
        let refuse = |text: String| Refusal::error(text);
        if args.map().is_none() {
            return Err(refuse("Parameters missing or are not a map.".into()));
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

/// The lease that `lease4-add` and `lease4-update` describe, with Kea's defaults and refusals
/// (kea-api §3.1, rules 1 to 8).
pub(super) fn lease_of(
    args: &Args<'_>,
    config: Option<&Config>,
    mode: PutMode,
) -> Result<PutLease, Refusal> {
    match args.shared() {
        // Kea has a text for each.
        None if mode == PutMode::Add => {
            return Err(Refusal::error("no parameters specified for the command"));
        }
        None => return Err(Refusal::error("no parameters specified for lease4-update command")),
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
    args.uint32_or("pool-id")?;
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

/// An end on the wall clock means something only once the cluster knows the time, within its first second
/// (R12). Before, it would be taken for one of the lease clock, decades from now.
pub(super) fn in_time(put: &PutLease, meta: &Meta) -> Result<(), Refusal> {
    if put.expire.is_some() && meta.wall_offset() == WallOffset::default() {
        return Err(Refusal::error(
            "Nothing was changed: the cluster was formed a moment ago and does not know the time yet. Try again.",
        ));
    }
    Ok(())
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

pub(super) fn no_subnet(id: SubnetId) -> Refusal {
    Refusal::conflict(format!(
        "Invalid subnet-id: No IPv4 subnet with subnet-id={id} currently configured."
    ))
}

pub(super) fn address(text: &str) -> Result<Ipv4Addr, Refusal> {
    text.parse().map_err(|_| match text.parse::<std::net::Ipv6Addr>() {
        Ok(_) => Refusal::error(format!("Invalid IPv4 address specified: {text}")),
        Err(_) => Refusal::error(format!(
            "Failed to convert string to address '{text}': Invalid argument"
        )),
    })
}

/// No identifier is written with more bytes: what is longer is none, and neither is its beginning. A
/// request may have megabytes of it, and it is read under the lock (R22).
pub(in crate::api) const LONGEST_HEX: usize = 1024;

/// Reads bytes as Kea does: `02:00:0a`, with one digit where it does, `02 00 0a`, or `02000a`.
fn with_colons(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(LONGEST_HEX)];
    let plain = text.len() > 2
        && text.len().is_multiple_of(2)
        && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !plain {
        return text.replace(' ', ":");
    }
    let pairs: Vec<&str> = (0..text.len()).step_by(2).map(|at| &text[at..at + 2]).collect();
    pairs.join(":")
}

/// A hardware address.
pub fn hw_address(text: &str) -> Result<HwAddr, Refusal> {
    with_colons(text)
        .parse()
        .map_err(|error| Refusal::error(format!("invalid hw-address '{text}': {error}")))
}

/// A client identifier.
pub fn client_id(text: &str) -> Result<ClientId, Refusal> {
    with_colons(text)
        .parse()
        .map_err(|error| Refusal::error(format!("invalid client-id '{text}': {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::State;

    #[test]
    fn an_end_needs_a_cluster_that_knows_the_time() {
        let put = |expire: Option<i64>| PutLease {
            mode: PutMode::Add,
            address: Ipv4Addr::new(192, 0, 2, 1),
            subnet: SubnetId(1),
            hw: HwAddr::ethernet([2, 0, 0, 0, 0, 1]),
            client_id: None,
            lifetime: Lifetime::from_secs(3600),
            expire,
            hostname: String::new(),
            fqdn_fwd: false,
            fqdn_rev: false,
            state: LeaseState::Assigned,
            user_context: String::new(),
        };
        let state = State::new();
        let meta = state.view().meta();
        assert!(in_time(&put(None), meta).is_ok());
        let refusal = in_time(&put(Some(1_795_932_557)), meta).unwrap_err();
        assert!(refusal.text.contains("does not know the time yet"), "{}", refusal.text);
    }

    #[test]
    fn megabytes_are_no_identifier_and_are_not_taken_apart() {
        assert_eq!(client_id(&"01".repeat(255)).unwrap().bytes().len(), 255);
        for long in
            ["01".repeat(1 << 20), "1:".repeat(1 << 20), "01 ".repeat(1 << 20), "ü".repeat(1 << 20)]
        {
            assert!(hw_address(&long).is_err() && client_id(&long).is_err());
            assert!(with_colons(&long).len() <= 2 * LONGEST_HEX);
        }
    }
}
