//! `lease4-add`, `lease4-update`, `lease4-del`, `lease4-wipe`, `lease4-resend-ddns`.

use std::net::Ipv4Addr;

use super::parse::{LEASE, WHOLE_LEASE, Wanted, in_time, joined, lease_of, no_subnet};
use super::print::Printer;
use crate::api::backend::{Effect, NameChange};
use crate::api::spec::Origin::LeaseCmds;
use crate::api::spec::{
    ApiContext, Args, Argument, Code, Kind, Plan, Refusal, Reply, Spec, needed, optional,
};
use crate::state::{Command, DeleteLease, LeaseState, Outcome, PutMode, Seen, WipeLeases};
use crate::types::SubnetId;

/// `lease4-add`.
pub const ADD: Spec =
    Spec::writes("lease4-add", LeaseCmds, add).about("Adds a lease.").takes(WHOLE_LEASE);
/// `lease4-update`.
pub const UPDATE: Spec = Spec::writes("lease4-update", LeaseCmds, update)
    .about(
        "Replaces a lease as a whole: what is not given takes its default. A lease that changed while \
         the command was on its way is left as it is, with result 4.",
    )
    .takes(UPDATED);
/// `lease4-del`.
pub const DEL: Spec = Spec::writes("lease4-del", LeaseCmds, del)
    .about("Deletes a lease. The client may go on using the address until it renews.")
    .takes(DELETED);
/// `lease4-wipe`.
pub const WIPE: Spec = Spec::writes("lease4-wipe", LeaseCmds, wipe)
    .about("Deletes all leases of a subnet, or of all subnets.")
    .takes(&[optional("subnet-id", Kind::Integer, "The subnet; absent or 0 means all.")]);
/// `lease4-resend-ddns`.
pub const RESEND_DDNS: Spec = Spec::writes("lease4-resend-ddns", LeaseCmds, resend_ddns)
    .about("Sends the name change request of a lease again, from the node that is asked.")
    .takes(&[needed("ip-address", Kind::Text, "The address.")]);

const UPDATED: &[Argument] = &joined::<15>(
    WHOLE_LEASE,
    &[
        optional("force-create", Kind::Boolean, "Whether a lease that is not there is added."),
        optional(
            "expected-cltt",
            Kind::Integer,
            "Ours: the `cltt` that the lease had when it was read. If it has another one, or is gone, \
             nothing changes (result 4). Not together with `force-create`.",
        ),
    ],
);

const DELETED: &[Argument] = &joined::<5>(
    LEASE,
    &[optional("update-ddns", Kind::Boolean, "Whether its DNS records go as well.")],
);

fn add(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let put = lease_of(args, cx.view.config().map(|config| &**config), PutMode::Add)?;
    in_time(&put, cx.view.meta())?;
    let (address, subnet) = (put.address, put.subnet);
    let text = format!("Lease for address {address}, subnet-id {subnet} added.");
    Ok(Plan::commit(Command::PutLease(put), move |outcome| match outcome {
        Outcome::LeaseWritten { .. } => Reply::success(text),
        Outcome::LeaseExists => Reply::failure(Code::Conflict, EXISTS),
        other => not_written(address, other),
    }))
}

fn update(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let config = cx.view.config().map(|config| &**config);
    let mut put = lease_of(args, config, PutMode::Upsert)?;
    in_time(&put, cx.view.meta())?;
    let address = put.address;
    let (force, expected) =
        (args.boolean_or("force-create")?.unwrap_or(false), args.integer_or("expected-cltt")?);
    if force && expected.is_some() {
        return Err(Refusal::error(
            "'force-create' and 'expected-cltt' contradict each other: a lease that is created was not read before",
        ));
    }
    if !force {
        let lease = cx.view.lease(address).ok_or_else(|| changed(address))?;
        let cltt = Printer::one(cx.view.meta()).lease(lease).cltt;
        if expected.is_some_and(|expected| expected != cltt) {
            return Err(changed(address));
        }
        put.mode = PutMode::UpdateSeen(Seen::of(lease));
    }
    Ok(Plan::commit(Command::PutLease(put), move |outcome| match outcome {
        Outcome::LeaseWritten { created: true } => Reply::success("IPv4 lease added."),
        Outcome::LeaseWritten { created: false } => Reply::success("IPv4 lease updated."),
        Outcome::NoLease => changed(address).into(),
        other => not_written(address, other),
    }))
}

/// What is said of a lease that was to be new.
pub(super) const EXISTS: &str = "IPv4 lease already exists.";

/// What is said when a lease is not the one that was read any more.
pub(super) fn changed(address: Ipv4Addr) -> Refusal {
    Refusal::conflict(format!(
        "failed to update the lease with address {address} either because the lease has been deleted or it has \
         changed in the database, in both cases a retry might succeed"
    ))
}

fn del(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let none = || Reply::failure(Code::Empty, "IPv4 lease not found.");
    let wanted = Wanted::parse(args, "Delete")?;
    let update_ddns = match args.get("update-ddns") {
        None => false,
        Some(value) => {
            value.as_bool().ok_or_else(|| Refusal::error("'update-ddns' is not a boolean"))?
        }
    };
    let Some(lease) = wanted.find(cx) else { return Ok(Plan::Answer(none())) };
    // An address means whatever lease it has. An identifier means this client's, and DNS records are
    // those of this lease: another one that has come since is not meant.
    let precise = update_ddns || !matches!(wanted, Wanted::Address(_));
    let seen = precise.then(|| Seen::of(&lease));
    let command = Command::DeleteLease(DeleteLease { address: lease.address, seen });
    let print = move |outcome: &Outcome| match outcome {
        Outcome::Deleted { count: 1.. } => Reply::success("IPv4 lease deleted."),
        Outcome::Deleted { .. } | Outcome::NoLease => none(),
        other => unexpected(other),
    };
    Ok(if update_ddns {
        Plan::commit_then(command, print, Effect::NameChange(NameChange { lease, add: false }))
    } else {
        Plan::commit(command, print)
    })
}

fn resend_ddns(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    if args.map().is_none() {
        return Err(Refusal::error("Parameters missing or are not a map."));
    }
    let text = args
        .get("ip-address")
        .ok_or_else(|| Refusal::error("'ip-address' parameter is missing."))?;
    let text = text.as_str().ok_or_else(|| Refusal::error("'ip-address' is not a string."))?;
    let address: Ipv4Addr = text.parse().map_err(|_| {
        Refusal::error(match text.parse::<std::net::Ipv6Addr>() {
            Ok(_) => format!("Invalid IPv4 address specified: {text}"),
            Err(_) => format!("'{text}' is not a valid IP address."),
        })
    })?;
    if !cx.view.config().is_some_and(|config| config.ddns.enabled) {
        return Err(Refusal::conflict("DDNS updating is not enabled"));
    }
    let lease = cx.view.lease(address);
    let lease = lease.ok_or_else(|| Refusal::empty(format!("No lease found for: {address}")))?;
    if lease.hostname.is_empty() {
        return Err(Refusal::conflict(format!(
            "Lease for: {address}, has no hostname, nothing to update"
        )));
    }
    // What is over was taken out of DNS when it ended.
    if !(lease.fqdn_fwd || lease.fqdn_rev) || lease.state != LeaseState::Assigned {
        return Err(Refusal::conflict(format!(
            "Neither forward nor reverse updates enabled for lease for: {address}"
        )));
    }
    let text = format!("NCR generated for: {address}, hostname: {}", lease.hostname);
    let change = NameChange { lease: lease.clone(), add: true };
    Ok(Plan::effect(Effect::NameChange(change), move |acted| match acted {
        Ok(_) => Reply::success(text),
        Err(cause) => Reply::failure(Code::Error, cause),
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

/// Why a lease was not written.
pub(super) fn not_written(address: Ipv4Addr, outcome: &Outcome) -> Reply {
    match outcome {
        Outcome::NoSubnet(subnet) => no_subnet(*subnet).into(),
        Outcome::OutsideSubnet(subnet) => Reply::failure(
            Code::Conflict,
            format!("The address {address} does not belong to the subnet with subnet-id={subnet}"),
        ),
        other => unexpected(other),
    }
}

/// An outcome that `apply` does not give to this command.
fn unexpected(outcome: &Outcome) -> Reply {
    Reply::failure(Code::Error, format!("unexpected outcome: {outcome:?}"))
}
