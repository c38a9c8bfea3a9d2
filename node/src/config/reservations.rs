//! `reservations` of a subnet (Kea manual, "Host Reservations in DHCPv4").

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::json::{Element, Map};
use super::mistake::{Path, Report};
use super::model::{HostIdentifier, Reservation, Reservations};
use super::option_data;
use crate::options::hex_bytes;
use crate::types::{ClientId, Prefix, SubnetId};

/// Identifiers that the tables know; those not supported yet were reported there.
const IDENTIFIERS: [&str; 5] = ["circuit-id", "client-id", "duid", "flex-id", "hw-address"];
/// The longest hardware address that `chaddr` can carry (RFC 2131 §2).
const MAX_HW_ADDRESS: usize = 16;

/// All reservations of a subnet. Entries that are wrong are reported and left out.
pub(super) fn read(
    subnet: &Map,
    id: SubnetId,
    prefix: Prefix,
    path: &Path<'_>,
    report: &mut Report,
) -> Reservations {
    let mut all = Reservations::default();
    let path = Path::Key(path, "reservations");
    for (at, element) in
        subnet.get("reservations").map(Element::list).unwrap_or_default().iter().enumerate()
    {
        let path = Path::Index(&path, at);
        let Some(map) = element.map() else { continue };
        let Some(reservation) = read_one(element, map, &path, report) else { continue };
        if let Some(address) = reservation.address {
            let place = map.get("ip-address").unwrap_or(element).at;
            if !prefix.contains(address) && !address.is_unspecified() {
                let text = format!(
                    "specified reservation '{address}' is not within the IPv4 subnet '{prefix}'"
                );
                report.error(place, &path, text);
            }
            if all.by_address.insert(address, all.entries.len()).is_some() {
                let text = format!(
                    "failed to add new host using the {} to the IPv4 subnet id '{id}' for the address {address}: \
                     There's already a reservation for this address",
                    describe(&reservation.identifier)
                );
                report.error(place, &path, text);
            }
        }
        if add_identifier(&mut all, &reservation.identifier) {
            let text = format!(
                "failed to add new host using the {} to the IPv4 subnet id '{id}' as this host has already been added",
                describe(&reservation.identifier)
            );
            report.error(element.at, &path, text);
        }
        all.entries.push(Arc::new(reservation));
    }
    all
}

/// Lets the next entry be found by its identifier; returns whether another was found by it.
fn add_identifier(all: &mut Reservations, identifier: &HostIdentifier) -> bool {
    let at = all.entries.len();
    match identifier {
        HostIdentifier::HwAddress(bytes) => all.by_hw_address.insert(bytes.clone(), at),
        HostIdentifier::ClientId(id) => all.by_client_id.insert(id.clone(), at),
    }
    .is_some()
}

fn read_one(
    element: &Element,
    map: &Map,
    path: &Path<'_>,
    report: &mut Report,
) -> Option<Reservation> {
    let given: Vec<&str> = IDENTIFIERS.into_iter().filter(|key| map.get(key).is_some()).collect();
    if let [first, second, ..] = given[..] {
        report.error(
            element.at,
            path,
            format!("the '{second}' and '{first}' are mutually exclusive"),
        );
    }
    if given.is_empty() {
        let text = format!(
            "one of the supported identifiers must be specified for host reservation: {}",
            IDENTIFIERS.join(", ")
        );
        report.error(element.at, path, text);
    }
    let options = option_data::read(map, path, report);
    let address =
        |key| map.get(key).and_then(Element::text).and_then(|text| text.parse::<Ipv4Addr>().ok());
    let text = |key| {
        map.get(key).and_then(Element::text).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    if address("ip-address") == Some(Ipv4Addr::UNSPECIFIED) {
        report.error(element.at, path, "must not make reservation for the '0.0.0.0' address");
    }
    let resources = [
        "ip-address",
        "hostname",
        "next-server",
        "server-hostname",
        "boot-file-name",
        "option-data",
    ];
    let has_resource = |key: &&str| match map.get(key) {
        Some(value) => {
            value.text().is_some_and(|text| !text.is_empty()) || !value.list().is_empty()
        }
        None => false,
    };
    if !resources.iter().any(has_resource) {
        let text = "specified reservation must include at least one resource, i.e. hostname, IPv4 address, options";
        report.error(element.at, path, text);
    }
    let (key, value) = given.iter().find_map(|key| Some((*key, map.get(key)?.text()?)))?;
    let identifier = match identifier(key, value) {
        Ok(identifier) => identifier?,
        Err(text) => {
            report.error(map.get(key).unwrap_or(element).at, path, text);
            return None;
        }
    };
    Some(Reservation {
        identifier,
        address: address("ip-address"),
        hostname: text("hostname").unwrap_or_default(),
        options,
        next_server: address("next-server").filter(|address| !address.is_unspecified()),
        server_hostname: text("server-hostname"),
        boot_file_name: text("boot-file-name"),
    })
}

/// The identifier that `key` and `value` say; `None` for kinds that are not supported yet.
pub(super) fn identifier(key: &str, value: &str) -> Result<Option<HostIdentifier>, String> {
    let bytes = hex_bytes(value).map_err(|_| format!("invalid host identifier value '{value}'"))?;
    if bytes.is_empty() {
        return Err("empty host identifier used".to_owned());
    }
    match key {
        "hw-address" if bytes.len() > MAX_HW_ADDRESS => Err(format!(
            "invalid host identifier value '{value}': at most {MAX_HW_ADDRESS} bytes are expected"
        )),
        "hw-address" => Ok(Some(HostIdentifier::HwAddress(bytes.into()))),
        "client-id" => match ClientId::new(&bytes) {
            Ok(id) => Ok(Some(HostIdentifier::ClientId(id))),
            Err(why) => Err(format!("invalid host identifier value '{value}': {why}")),
        },
        _ => Ok(None),
    }
}

/// `02:00:00:00:00:01`.
pub(super) fn colon_hex(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}

fn describe(identifier: &HostIdentifier) -> String {
    match identifier {
        HostIdentifier::HwAddress(bytes) => format!("HW address '{}'", colon_hex(bytes)),
        HostIdentifier::ClientId(id) => format!("client-id '{id}'"),
    }
}
