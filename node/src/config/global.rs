//! The maps of global scope that have a model of their own.

use std::collections::HashSet;

use super::json::{Element, Map};
use super::mistake::{Path, Report};
use super::model::{ExpiredLeases, Interfaces, Listen, SocketType};
use super::schema::{DHCP4, Default, Kind};

/// `interfaces-config`. Whether the interfaces exist is for each node to find out.
pub(super) fn interfaces(dhcp4: &Map, path: &Path<'_>, report: &mut Report) -> Interfaces {
    let path = Path::Key(path, "interfaces-config");
    let empty = Map::default();
    let map = dhcp4.get("interfaces-config").and_then(Element::map).unwrap_or(&empty);
    let text = |key| map.get(key).and_then(Element::text);
    let mut listen = Vec::new();
    let mut seen = HashSet::new();
    for element in map.get("interfaces").map(Element::list).unwrap_or_default() {
        let Some(name) = element.text() else { continue };
        if !seen.insert(name) {
            let text = format!(
                "Failed to select interface: interface '{name}' has already been specified"
            );
            report.error(element.at, &path, text);
        }
        match name.split_once('/') {
            None if name == "*" => listen.push(Listen::All),
            None if !name.trim().is_empty() => listen.push(Listen::Interface(name.to_owned())),
            Some((interface, address)) if !interface.is_empty() && interface != "*" => {
                match address.parse() {
                    Ok(address) => listen.push(Listen::Address(interface.to_owned(), address)),
                    Err(_) => {
                        let text = format!(
                            "Failed to select interface: '{address}' is not a valid IPv4 address"
                        );
                        report.error(element.at, &path, text);
                    }
                }
            }
            _ => report.error(
                element.at,
                &path,
                format!("Failed to select interface: '{name}' names no interface"),
            ),
        }
    }
    let socket_type =
        if text("dhcp-socket-type") == Some("udp") { SocketType::Udp } else { SocketType::Raw };
    let use_routing = text("outbound-interface") == Some("use-routing");
    if let (true, SocketType::Raw, Some(element)) =
        (use_routing, socket_type, map.get("outbound-interface"))
    {
        let text = "'use-routing' takes effect only with dhcp-socket-type 'udp'";
        report.warning(element.at, &path, text);
    }
    let re_detect = map.get("re-detect").and_then(Element::bool).unwrap_or(true);
    Interfaces { listen, socket_type, use_routing, re_detect }
}

/// `expired-leases-processing`.
pub(super) fn expired(dhcp4: &Map) -> ExpiredLeases {
    let map = dhcp4.get("expired-leases-processing").and_then(Element::map);
    let scope = DHCP4.keyword("expired-leases-processing").map(|keyword| keyword.kind);
    let value = |key: &str| {
        let default = match scope {
            Some(Kind::Map(scope)) => match scope.keyword(key).map(|keyword| keyword.default) {
                Some(Default::Int(int)) => int,
                _ => 0,
            },
            _ => 0,
        };
        let given = map.and_then(|map| map.get(key)).and_then(Element::int);
        u32::try_from(given.unwrap_or(default)).unwrap_or(u32::MAX)
    };
    ExpiredLeases {
        reclaim_timer_wait_time: value("reclaim-timer-wait-time"),
        flush_reclaimed_timer_wait_time: value("flush-reclaimed-timer-wait-time"),
        hold_reclaimed_time: value("hold-reclaimed-time"),
        max_reclaim_leases: value("max-reclaim-leases"),
        max_reclaim_time: value("max-reclaim-time"),
        unwarned_reclaim_cycles: value("unwarned-reclaim-cycles"),
    }
}
