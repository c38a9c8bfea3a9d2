//! `lease4-get-by-hw-address`, `-by-client-id`, `-by-hostname`, `-by-state`.
//!
//! Clients are looked up in the indexes, names and states by looking at every lease of a frozen view,
//! beside the serving threads.

use std::sync::Arc;

use serde_json::Value;

use super::found;
use super::parse::{client_id, hw_address};
use super::print::print_leases;
use crate::api::spec::Origin::LeaseCmds;
use crate::api::spec::{ApiContext, Args, Kind, Plan, Refusal, Reply, Spec, needed, optional};
use crate::state::{Frozen, Lease, LeaseState};
use crate::types::SubnetId;

/// `lease4-get-by-hw-address`.
pub const GET_BY_HW_ADDRESS: Spec =
    Spec::reads("lease4-get-by-hw-address", LeaseCmds, get_by_hw_address)
        .about("Returns the leases with a hardware address.")
        .takes(&[needed("hw-address", Kind::Text, "The hardware address, hexadecimal.")]);
/// `lease4-get-by-client-id`.
pub const GET_BY_CLIENT_ID: Spec =
    Spec::reads("lease4-get-by-client-id", LeaseCmds, get_by_client_id)
        .about("Returns the leases with a client identifier.")
        .takes(&[needed("client-id", Kind::Text, "The client identifier, hexadecimal.")]);
/// `lease4-get-by-hostname`.
pub const GET_BY_HOSTNAME: Spec = Spec::reads("lease4-get-by-hostname", LeaseCmds, get_by_hostname)
    .about("Returns the leases with a host name. Looks at every lease.")
    .takes(&[needed("hostname", Kind::Text, "The whole name, in upper or lower case.")]);
/// `lease4-get-by-state`.
pub const GET_BY_STATE: Spec = Spec::reads("lease4-get-by-state", LeaseCmds, get_by_state)
    .about("Returns the leases in a state. Looks at every lease.")
    .takes(&[
        needed(
            "state",
            Kind::TextOrInteger,
            "0 `default` or `assigned`, 1 `declined`, 2 `expired-reclaimed`, 3 `released`, 4 `registered` \
             (which no DHCPv4 lease is).",
        ),
        optional("subnet-id", Kind::Integer, "Only of this subnet; absent or 0 means all."),
    ]);

/// A client with more leases than this is looked for among all leases: the lock is held no longer.
pub(crate) const FEW: usize = 1024;

fn get_by_hw_address(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let hw = hw_address(text(args, "hw-address")?)?;
    let few = cx.view.few_with_hw(&hw, FEW);
    Ok(matching(cx.view.freeze(), few, move |lease| lease.hw == hw))
}

fn get_by_client_id(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let id = client_id(text(args, "client-id")?)?;
    let few = cx.view.few_with_id(&id, FEW);
    Ok(matching(cx.view.freeze(), few, move |lease| lease.client_id.as_ref() == Some(&id)))
}

fn get_by_hostname(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let name = text(args, "hostname")?.to_lowercase();
    if name.is_empty() {
        return Err(Refusal::error("'hostname' parameter is empty"));
    }
    Ok(matching(cx.view.freeze(), None, move |lease| *lease.hostname == *name))
}

/// A mandatory string, in the words of these commands.
fn text<'a>(args: &Args<'a>, name: &str) -> Result<&'a str, Refusal> {
    let value = given(args, name)?;
    value.as_str().ok_or_else(|| Refusal::error(format!("'{name}' parameter must be a string")))
}

fn given<'a>(args: &Args<'a>, name: &str) -> Result<&'a Value, Refusal> {
    let map =
        args.map().ok_or_else(|| Refusal::error("Command arguments missing or a not a map."))?;
    map.get(name).ok_or_else(|| Refusal::error(format!("'{name}' parameter not specified")))
}

/// Those that match, ascending by address: of `few` if all of them are there, else of all leases.
fn matching(
    frozen: Frozen,
    few: Option<Vec<Arc<Lease>>>,
    wanted: impl Fn(&Lease) -> bool + Send + 'static,
) -> Plan {
    Plan::later(move || {
        let (count, leases) = match few {
            Some(few) => print_leases(few.iter(), frozen.meta()),
            None => print_leases(frozen.leases().filter(|lease| wanted(lease)), frozen.meta()),
        };
        Ok(Plan::Answer(Reply { arguments: Some(format!("{{ {leases} }}")), ..found(count) }))
    })
}

fn get_by_state(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let number = state_number(given(args, "state")?)?;
    let subnet = match args.get("subnet-id") {
        None => 0,
        Some(value) if !value.is_number() => {
            return Err(Refusal::error("'subnet-id' parameter must be a number"));
        }
        Some(_) => args.uint32_or("subnet-id")?.unwrap_or(0),
    };
    let subnet = Some(SubnetId(subnet)).filter(|subnet| subnet.0 != 0);
    let frozen = cx.view.freeze();
    Ok(Plan::later(move || {
        let state = u64::try_from(number).ok().and_then(LeaseState::from_number);
        let wanted = |lease: &&Arc<Lease>| {
            Some(lease.state) == state && subnet.is_none_or(|subnet| lease.subnet == subnet)
        };
        // Most are assigned: nobody looks at a million leases for three that the counts deny.
        let exist = state.is_some_and(|state| {
            frozen.all_counts().any(|(id, counts)| {
                subnet.is_none_or(|subnet| subnet == id) && counts.of(state) > 0
            })
        });
        let looked_at = exist.then(|| frozen.leases().filter(wanted));
        let (count, leases) = print_leases(looked_at.into_iter().flatten(), frozen.meta());
        let state = match state_name(number) {
            Some(name) => format!("{name} ({number})"),
            None => number.to_string(),
        };
        let within = subnet.map(|subnet| format!(" in subnet {subnet}")).unwrap_or_default();
        let text = format!("{count} IPv4 lease(s) found with state {state}{within}.");
        let arguments = Some(format!("{{ {leases} }}"));
        Ok(Plan::Answer(Reply { text: Some(text), arguments, ..found(count) }))
    }))
}

/// Names of states, and their numbers; the first of a number is the one that is printed.
const STATES: [(&str, i64); 6] = [
    ("default", 0),
    ("assigned", 0),
    ("declined", 1),
    ("expired-reclaimed", 2),
    ("released", 3),
    ("registered", 4),
];

fn state_name(number: i64) -> Option<&'static str> {
    STATES.iter().find(|(_, own)| *own == number).map(|(name, _)| *name)
}

/// The number of a state by its name.
pub(crate) fn state_by_name(name: &str) -> Option<i64> {
    STATES.iter().find(|(own, _)| *own == name).map(|(_, number)| *number)
}

fn state_number(value: &Value) -> Result<i64, Refusal> {
    match value {
        Value::String(name) => state_by_name(name).ok_or_else(|| {
            Refusal::error(format!("'state' parameter value ({name}) is not recognized"))
        }),
        value => value
            .as_i64()
            .ok_or_else(|| Refusal::error("'state' parameter must be a number or a string")),
    }
}
