//! `reservations`, of a subnet or global (Kea manual, "Host Reservations in DHCPv4").

use std::net::Ipv4Addr;

use super::host_list::HostList;
use super::hosts::{Reservation, Reservations, Rest};
use super::json::{Element, Map};
use super::mistake::{Path, Report};
use super::model::IdentifierKind;
use super::option_data;
use crate::options::{Definitions, hex_bytes};
use crate::types::{ClassName, ColonHex, Prefix, SubnetId, UpperHex};

/// The keywords of identifiers, in the order of Kea's messages.
const IDENTIFIERS: [(&str, IdentifierKind); 5] = [
    ("circuit-id", IdentifierKind::CircuitId),
    ("client-id", IdentifierKind::ClientId),
    ("duid", IdentifierKind::Duid),
    ("flex-id", IdentifierKind::FlexId),
    ("hw-address", IdentifierKind::HwAddress),
];

/// Whose reservations are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    /// The subnet; 0 for the global ones.
    pub(super) id: SubnetId,
    /// Where reserved addresses must lie; global ones may lie anywhere.
    pub(super) prefix: Option<Prefix>,
    /// `ip-reservations-unique`.
    pub(super) unique_addresses: bool,
}

/// All reservations of a scope. Entries that are wrong are reported and left out.
pub(super) fn read(
    scope: &Map,
    owner: Owner,
    definitions: &Definitions,
    path: &Path<'_>,
    report: &mut Report,
) -> Reservations {
    let path = Path::Key(path, "reservations");
    let list = scope.get("reservations").map(Element::list).unwrap_or_default();
    if list.is_empty() {
        return Reservations::default();
    }
    let mut all = HostList::with_capacity(list.len());
    for (at, element) in list.iter().enumerate() {
        let path = Path::Index(&path, at);
        let Some(map) = element.map() else { continue };
        let Some(reservation) = read_one(element, map, definitions, &path, report) else {
            continue;
        };
        let met = Met {
            address: reservation.address.is_some_and(|own| all.with_address(own).next().is_some()),
            identifier: all
                .with_identifier(reservation.kind, &reservation.identifier)
                .next()
                .is_some(),
        };
        check(&reservation, element, owner, met, &path, report);
        all.push(reservation);
    }
    Reservations::new(all)
}

/// What of a reservation another one of its scope has already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Met {
    pub(super) address: bool,
    pub(super) identifier: bool,
}

/// Reports what is wrong with a reservation where it stands.
pub(super) fn check(
    reservation: &Reservation,
    element: &Element,
    owner: Owner,
    met: Met,
    path: &Path<'_>,
    report: &mut Report,
) {
    let failed = || {
        let who = describe(reservation.kind, &reservation.identifier);
        format!("failed to add new host using the {who} to the IPv4 subnet id '{}'", owner.id)
    };
    if let Some(address) = reservation.address {
        let place = element.map().and_then(|map| map.get("ip-address")).unwrap_or(element).at;
        if let Some(prefix) = owner.prefix.filter(|prefix| !prefix.contains(address)) {
            let text = format!(
                "specified reservation '{address}' is not within the IPv4 subnet '{prefix}'"
            );
            report.error(place, path, text);
        }
        if owner.unique_addresses && met.address {
            let text = format!(
                "{} for the address {address}: There's already a reservation for this address",
                failed()
            );
            report.error(place, path, text);
        }
    }
    if met.identifier {
        let text = format!("{} as this host has already been added", failed());
        report.error(element.at, path, text);
    }
}

/// A reservation by itself. `None` if it cannot be told whose it is.
pub(super) fn read_one(
    element: &Element,
    map: &Map,
    definitions: &Definitions,
    path: &Path<'_>,
    report: &mut Report,
) -> Option<Reservation> {
    let mut identifiers = [None; IDENTIFIERS.len()];
    let (mut address, mut hostname) = (None, "");
    let mut is_rare = false;
    // One walk over the members: there may be a million maps.
    for member in &map.members {
        let text = member.value.text();
        match &*member.key {
            "ip-address" => address = text.and_then(|text| text.parse::<Ipv4Addr>().ok()),
            "hostname" => hostname = text.unwrap_or_default(),
            "next-server" | "server-hostname" | "boot-file-name" | "option-data"
            | "client-classes" => is_rare = true,
            key => {
                let Some(at) = IDENTIFIERS.iter().position(|(own, _)| *own == key) else {
                    continue;
                };
                identifiers[at] = Some(&member.value);
            }
        }
    }
    let given = || IDENTIFIERS.iter().zip(identifiers).filter_map(|(id, value)| Some((id, value?)));
    let first = given().next();
    match (first, given().nth(1)) {
        (Some(((first, _), _)), Some(((second, _), _))) => {
            let text = format!("the '{second}' and '{first}' are mutually exclusive");
            report.error(element.at, path, text);
        }
        (None, _) => {
            let text = format!(
                "one of the supported identifiers must be specified for host reservation: {}",
                IDENTIFIERS.map(|(key, _)| key).join(", ")
            );
            report.error(element.at, path, text);
        }
        _ => {}
    }
    if address == Some(Ipv4Addr::UNSPECIFIED) {
        report.error(element.at, path, "must not make reservation for the '0.0.0.0' address");
    }
    let rest = if is_rare { rest(map, definitions, path, report) } else { None };
    let ((_, kind), value) = first?;
    let identifier = match identifier(*kind, value.text()?) {
        Ok(identifier) => (&*identifier).into(),
        Err(text) => {
            report.error(value.at, path, text);
            return None;
        }
    };
    let address = address.filter(|address| !address.is_unspecified());
    Some(Reservation { kind: *kind, identifier, address, hostname: hostname.into(), rest })
}

/// The rare parts, if there are any.
fn rest(
    map: &Map,
    definitions: &Definitions,
    path: &Path<'_>,
    report: &mut Report,
) -> Option<Box<Rest>> {
    let text =
        |key| map.get(key).and_then(Element::text).filter(|text| !text.is_empty()).map(Into::into);
    let next_server: Option<Ipv4Addr> =
        map.get("next-server").and_then(Element::text).and_then(|text| text.parse().ok());
    let classes = map.get("client-classes").map(Element::list).unwrap_or_default();
    let rest = Rest {
        options: option_data::read(map, definitions, path, report),
        next_server: next_server.filter(|address| !address.is_unspecified()),
        server_hostname: text("server-hostname"),
        boot_file_name: text("boot-file-name"),
        classes: classes.iter().filter_map(Element::text).map(ClassName::from).collect(),
    };
    (rest != Rest::default()).then(|| Box::new(rest))
}

/// The bytes of an identifier: hexadecimal, with or without colons, or for those that are not
/// always binary `'text'` in single quotes.
pub(super) fn identifier(kind: IdentifierKind, value: &str) -> Result<Vec<u8>, String> {
    let invalid = || format!("invalid host identifier value '{value}'");
    let binary = matches!(kind, IdentifierKind::HwAddress | IdentifierKind::Duid);
    if binary && value.contains('\'') {
        return Err(invalid());
    }
    let bytes = hex_bytes(value).map_err(|_| invalid())?;
    let most = match kind {
        // Kea's limit, for InfiniBand, although no `chaddr` carries more than 16 (RFC 2131 §2).
        IdentifierKind::HwAddress => 20,
        // RFC 8415 §11.1: 128 bytes and the type.
        IdentifierKind::Duid => 130,
        IdentifierKind::CircuitId | IdentifierKind::ClientId | IdentifierKind::FlexId => 255,
    };
    match bytes.len() {
        0 => Err("empty host identifier used".to_owned()),
        len if len > most => Err(format!(
            "invalid host identifier value '{value}': it has {len} bytes, at most {most} are possible"
        )),
        _ => Ok(bytes),
    }
}

/// An identifier as `config-get` shows it.
pub(super) fn print(kind: IdentifierKind, identifier: &[u8]) -> String {
    match kind {
        IdentifierKind::HwAddress | IdentifierKind::Duid => ColonHex(identifier).to_string(),
        IdentifierKind::CircuitId | IdentifierKind::ClientId | IdentifierKind::FlexId => {
            UpperHex(identifier).to_string()
        }
    }
}

/// The keywords of identifiers and what they mean.
pub(super) fn identifiers() -> impl Iterator<Item = (&'static str, IdentifierKind)> {
    IDENTIFIERS.into_iter()
}

fn describe(kind: IdentifierKind, identifier: &[u8]) -> String {
    let name = match kind {
        IdentifierKind::HwAddress => "HW address",
        IdentifierKind::Duid => "DUID",
        IdentifierKind::CircuitId => "circuit-id",
        IdentifierKind::ClientId => "client-id",
        IdentifierKind::FlexId => "flex-id",
    };
    format!("{name} '{}'", ColonHex(identifier))
}
