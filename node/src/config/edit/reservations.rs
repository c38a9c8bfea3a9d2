//! `reservation-add`, `-update` and `-del` (kea-api §2.5, §3.10).
//!
//! There are two ways to the same: [`made`] changes one reservation of the typed configuration and leaves
//! the others where they are, since there may be a million; [`in_tree`] changes the elements of a
//! document, for edits that are made again beside others. Every check is that of a whole document.

use std::net::Ipv4Addr;

use super::host_places::{Known, address_of, identifier_of};
use super::tree::{list_in, prefix_of, text};
use super::{Changed, Edit, NoEdit, Scene, Stop, Verb, arguments};
use crate::config::check::Checker;
use crate::config::hosts::{Reservation, Reservations};
use crate::config::json::{Element, Map, Value};
use crate::config::mistake::{Path, Report};
use crate::config::model::{Config, IdentifierKind};
use crate::config::reader::Dialect;
use crate::config::reservations::{self, Met, Owner};
use crate::config::{schema, spelling};
use crate::options::hex_bytes;
use crate::types::{Prefix, SubnetId};

/// Whether a verb is one of these.
pub(super) fn is_ours(verb: Verb) -> bool {
    matches!(verb, Verb::ReservationAdd | Verb::ReservationUpdate | Verb::ReservationDel)
}

/// The configuration that one of these edits makes. What it costs does not depend on the number of
/// reservations.
pub(super) fn made(
    config: &Config,
    edit: &Edit,
    report: &mut Report,
) -> Result<(Config, Changed), Stop> {
    let arguments = arguments(edit, report)?;
    match edit.verb {
        Verb::ReservationAdd => add(config, arguments, report),
        Verb::ReservationUpdate => update(config, arguments, report),
        _ => del(config, &arguments),
    }
}

fn add(config: &Config, arguments: Map, report: &mut Report) -> Result<(Config, Changed), Stop> {
    let given = Given::read(arguments, "reservation must be specified")?;
    let id = match (given.subnet, given.address()) {
        (Some(id), _) => id,
        (None, None) => SubnetId(0),
        (None, Some(address)) => return Err(whose(config, address).into()),
    };
    let scope = Scope::find(config, id)?;
    let (host, text) = given.checked(config, &scope, report, |host| {
        let of_address = host.address.and_then(|own| scope.all.places_of(own).next());
        Ok(Met {
            address: of_address.is_some(),
            identifier: scope.all.place_of(host.kind, &host.identifier).is_some(),
        })
    })?;
    scope.change(config, |all| all.add(host, text))
}

fn update(config: &Config, arguments: Map, report: &mut Report) -> Result<(Config, Changed), Stop> {
    let given = Given::read(
        arguments,
        "invalid command: expected 'reservation' as the sole parameter inside the 'arguments' map, didn't get it instead",
    )?;
    let scope = Scope::find(config, given.subnet.ok_or_else(no_subnet)?)?;
    let place = |host: &Reservation| scope.all.place_of(host.kind, &host.identifier);
    let (host, text) = given.checked(config, &scope, report, |host| {
        let own = place(host).ok_or_else(not_updated)?;
        let mut of_address = host.address.into_iter().flat_map(|it| scope.all.places_of(it));
        Ok(Met { address: of_address.any(|other| other != own), identifier: false })
    })?;
    let own = place(&host).ok_or_else(not_updated)?;
    scope.change(config, |all| all.replace(own, host, text))
}

fn del(config: &Config, arguments: &Map) -> Result<(Config, Changed), Stop> {
    let named = Named::read(arguments)?;
    // An unknown subnet has no reservations.
    let scope = Scope::find(config, named.subnet).map_err(|_| not_deleted())?;
    let place = match &named.by {
        By::Address(address) => scope.all.places_of(*address).next(),
        By::Identifier(kind, identifier) => scope.all.place_of(*kind, identifier),
    };
    let place = place.ok_or_else(not_deleted)?;
    scope.change(config, |all| all.remove(place))
}

/// Makes one of these edits in the elements of a document, which is checked as a whole afterwards.
pub(super) fn in_tree(scene: &mut Scene<'_>, arguments: Map) -> Result<Changed, Stop> {
    match scene.verb {
        Verb::ReservationAdd => {
            let given = Given::read(arguments, "reservation must be specified")?;
            if given.subnet.is_none() && given.address().is_some() {
                return Err(NoEdit::error("Mandatory 'subnet-id' parameter missing.").into());
            }
            in_list(scene, given.subnet.unwrap_or(SubnetId(0)), |known, list| {
                known.push(list, given.entry);
                Ok(())
            })
        }
        Verb::ReservationUpdate => {
            let given = Given::read(arguments, "reservation must be specified")?;
            in_list(scene, given.subnet.ok_or_else(no_subnet)?, |known, list| {
                let own = given.entry.map().and_then(identifier_of);
                let at =
                    own.and_then(|own| known.identifier(list, &own)).ok_or_else(not_updated)?;
                known.replace(list, at, given.entry);
                Ok(())
            })
        }
        _ => {
            let named = Named::read(&arguments)?;
            if named.subnet.0 != 0 && scene.find_id(named.subnet).is_none() {
                return Err(not_deleted().into());
            }
            in_list(scene, named.subnet, |known, list| {
                let at = match named.by {
                    By::Address(address) => known.address(address),
                    By::Identifier(kind, bytes) => known.identifier(list, &(kind, bytes)),
                };
                known.remove(list, at.ok_or_else(not_deleted)?);
                Ok(())
            })
        }
    }
}

/// Changes the list of a subnet in the document, or with 0 the global one.
fn in_list(
    scene: &mut Scene<'_>,
    subnet: SubnetId,
    change: impl FnOnce(&mut Known, &mut Vec<Element>) -> Result<(), NoEdit>,
) -> Result<Changed, Stop> {
    let (scope, prefix) = match subnet.0 {
        0 => (&mut *scene.dhcp4, None),
        _ => {
            let place = scene.find_id(subnet).ok_or_else(|| not_configured(subnet))?;
            let map = place.subnet_in(scene.dhcp4).ok_or_else(|| not_configured(subnet))?;
            let prefix = prefix_of(map);
            (map, prefix)
        }
    };
    let list = list_in(scope, "reservations")?;
    let mut known = scene.hosts.take(subnet, list);
    let done = change(&mut known, list);
    scene.hosts.put(subnet, known);
    done?;
    Ok(Changed { subnet: prefix.map(|prefix| (subnet, prefix)), ..Changed::default() })
}

/// The reservation that `reservation-add` and `-update` bring.
struct Given {
    /// `subnet-id`; 0 for a global one.
    subnet: Option<SubnetId>,
    /// What the document will have: a map, not checked yet.
    entry: Element,
}

impl Given {
    fn read(mut arguments: Map, if_missing: &str) -> Result<Given, NoEdit> {
        let mut entry = arguments.remove("reservation").ok_or_else(|| NoEdit::error(if_missing))?;
        let map = entry.map_mut().ok_or_else(|| {
            NoEdit::error("invalid type specified for parameter 'reservation': a map is expected")
        })?;
        let id = map.remove("subnet-id");
        let subnet = id.map(|id| match id.int() {
            None => Err(NoEdit::error("'subnet-id' parameter is not integer.")),
            Some(id) => subnet_id(id).ok_or_else(|| {
                NoEdit::error(format!(
                    "subnet-id: {id} is invalid, must be between 0 and {} (inclusive).",
                    u32::MAX - 1
                ))
            }),
        });
        target(&arguments)?;
        Ok(Given { subnet: subnet.transpose()?, entry })
    }

    /// `ip-address`, if it is one.
    fn address(&self) -> Option<Ipv4Addr> {
        self.entry.map().and_then(address_of)
    }

    /// The reservation and its text, if there is nothing to say against it: neither by itself nor
    /// because of what `met` finds of it in its scope.
    fn checked(
        mut self,
        config: &Config,
        scope: &Scope<'_>,
        report: &mut Report,
        met: impl FnOnce(&Reservation) -> Result<Met, NoEdit>,
    ) -> Result<(Reservation, Box<str>), Stop> {
        let path = Path::Key(&Path::Root, "reservation");
        let before = report.count();
        if let Value::Map(map) = &self.entry.value {
            let dialect = Dialect::Wire;
            let checker = &mut Checker { dialect, ..Checker::new(report) };
            checker.map(&schema::RESERVATION, &self.entry, map, &path);
        }
        if report.count() != before {
            return Err(Stop::Mistakes);
        }
        if let Value::Map(map) = &mut self.entry.value {
            spelling::rewrite(&schema::RESERVATION, map, &path, report);
        }
        let map = self.entry.map().ok_or(Stop::Mistakes)?;
        let host = reservations::read_one(&self.entry, map, &config.definitions, &path, report);
        let (Some(host), true) = (host, report.count() == before) else {
            return Err(Stop::Mistakes);
        };
        if let (Some(address), Some((_, prefix))) = (host.address, scope.subnet)
            && !prefix.contains(address)
        {
            return Err(NoEdit::error(format!(
                "specified reservation '{address}' is not matching the IPv4 subnet prefix '{prefix}'"
            ))
            .into());
        }
        let owner = Owner {
            id: scope.id(),
            prefix: scope.subnet.map(|(_, prefix)| prefix),
            unique_addresses: config.hosts.unique_addresses,
        };
        reservations::check(&host, &self.entry, owner, met(&host)?, &path, report);
        if report.count() != before {
            return Err(Stop::Mistakes);
        }
        let mut text = Vec::new();
        self.entry.print(&mut text);
        let text = String::from_utf8(text).map_err(|_| NoEdit::error("no UTF-8"))?;
        Ok((host, text.into()))
    }
}

/// The reservation that `reservation-del` names.
struct Named {
    subnet: SubnetId,
    by: By,
}

enum By {
    Address(Ipv4Addr),
    Identifier(IdentifierKind, Vec<u8>),
}

impl Named {
    fn read(arguments: &Map) -> Result<Named, NoEdit> {
        let id = arguments
            .get("subnet-id")
            .ok_or_else(|| NoEdit::error("missing parameter 'subnet-id'"))?;
        let id = id
            .int()
            .ok_or_else(|| NoEdit::error("invalid type specified for parameter 'subnet-id'"))?;
        let subnet = subnet_id(id).ok_or_else(|| {
            NoEdit::error(format!(
                "The 'subnet-id' value ({id}) is not within expected range: (0 - {})",
                u32::MAX - 1
            ))
        })?;
        target(arguments)?;
        let by = if arguments.get("ip-address").is_some() {
            let address = text(arguments, "ip-address")?;
            By::Address(address.parse().map_err(|_| {
                NoEdit::error(format!(
                    "Failed to convert string to address '{address}': Invalid argument"
                ))
            })?)
        } else {
            let kind = IdentifierKind::named(text(arguments, "identifier-type")?)
                .ok_or_else(|| NoEdit::error("Value of 'identifier-type' was not recognized."))?;
            let bytes = hex_bytes(text(arguments, "identifier")?);
            let bytes = bytes.map_err(|_| NoEdit::error("Unable to parse 'identifier' value."))?;
            By::Identifier(kind, bytes)
        };
        Ok(Named { subnet, by })
    }
}

/// Reservations of one subnet, or the global ones.
struct Scope<'a> {
    /// The subnet; `None` for the global ones.
    subnet: Option<(SubnetId, Prefix)>,
    all: &'a Reservations,
}

impl<'a> Scope<'a> {
    fn find(config: &'a Config, id: SubnetId) -> Result<Scope<'a>, NoEdit> {
        if id.0 == 0 {
            return Ok(Scope { subnet: None, all: &config.reservations });
        }
        let subnet = config.subnet(id).ok_or_else(|| not_configured(id))?;
        Ok(Scope { subnet: Some((id, subnet.prefix)), all: &subnet.reservations })
    }

    fn id(&self) -> SubnetId {
        self.subnet.map_or(SubnetId(0), |(id, _)| id)
    }

    /// The configuration with its reservations changed.
    fn change(
        &self,
        config: &Config,
        change: impl FnOnce(&mut Reservations),
    ) -> Result<(Config, Changed), Stop> {
        let config =
            config.with_reservations(self.id(), change).ok_or_else(|| not_configured(self.id()))?;
        Ok((config, Changed { subnet: self.subnet, ..Changed::default() }))
    }
}

impl Config {
    /// A copy in which the reservations of a subnet, or with 0 the global ones, are changed; `None`
    /// if there is no such subnet.
    fn with_reservations(
        &self,
        of: SubnetId,
        change: impl FnOnce(&mut Reservations),
    ) -> Option<Config> {
        let mut new =
            Config { document: Default::default(), hash: Default::default(), ..self.clone() };
        let all = match of {
            SubnetId(0) => &mut new.reservations,
            _ => &mut new.subnets.get_mut(new.by_id.get(&of)?.0)?.reservations,
        };
        let before = *all.tally();
        change(all);
        new.tally.remove_all(&before);
        new.tally.add_all(all.tally());
        Some(new)
    }
}

/// Why a reservation without `subnet-id` cannot have an address, and what would help.
fn whose(config: &Config, address: Ipv4Addr) -> NoEdit {
    let mut subnets = config.in_id_order();
    let belongs = match subnets.find(|subnet| subnet.prefix.contains(address)) {
        Some(subnet) => format!("subnet '{}' id {}", subnet.prefix, subnet.id),
        None => "no configured subnet".to_owned(),
    };
    NoEdit::error(format!(
        "Mandatory 'subnet-id' parameter missing. The address '{address}' belongs to {belongs}."
    ))
}

fn no_subnet() -> NoEdit {
    NoEdit::error(
        "Mandatory 'subnet-id' parameter missing. Use `reservation-get-by-id' or 'reservation-get-by-address' to get \
         the list of reservations with given identifier or address.",
    )
}

fn not_configured(subnet: SubnetId) -> NoEdit {
    NoEdit::error(format!("IPv4 subnet with ID of '{subnet}' is not configured"))
}

fn not_updated() -> NoEdit {
    NoEdit::error("Host not updated (not found).")
}

fn not_deleted() -> NoEdit {
    NoEdit::empty("Host not deleted (not found).")
}

fn subnet_id(id: i64) -> Option<SubnetId> {
    u32::try_from(id).ok().filter(|id| *id < u32::MAX).map(SubnetId)
}

/// `operation-target`: Kea's words, which all mean the one store.
fn target(arguments: &Map) -> Result<(), NoEdit> {
    if arguments.get("operation-target").is_none() {
        return Ok(());
    }
    match text(arguments, "operation-target")? {
        "memory" | "database" | "all" | "default" => Ok(()),
        other => Err(NoEdit::error(format!(
            "The 'operation-target' value ({other}) is not within expected set: (memory, database, all, default)"
        ))),
    }
}
