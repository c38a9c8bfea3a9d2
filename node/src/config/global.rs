//! The maps of global scope that have a model of their own.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use super::json::{Element, Map};
use super::mistake::{Path, Report};
use super::model::{
    Compatibility, DdnsClient, ExpiredLeases, HostLookup, IdentifierKind, Interfaces, Listen,
    MultiThreading, SocketType,
};
use super::resolve::Chain;
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

/// How reservations are looked for: `host-reservation-identifiers` and its kin.
pub(super) fn host_lookup(
    dhcp4: &Map,
    global: &Chain<'_>,
    path: &Path<'_>,
    report: &mut Report,
) -> HostLookup {
    let path = Path::Key(path, "host-reservation-identifiers");
    let mut identifiers = Vec::new();
    let list = dhcp4.get("host-reservation-identifiers");
    for (at, element) in list.map(Element::list).unwrap_or_default().iter().enumerate() {
        let before = identifiers.len();
        match element.text() {
            Some("hw-address") => identifiers.push(IdentifierKind::HwAddress),
            Some("duid") => identifiers.push(IdentifierKind::Duid),
            Some("circuit-id") => identifiers.push(IdentifierKind::CircuitId),
            Some("client-id") => identifiers.push(IdentifierKind::ClientId),
            Some("flex-id") => identifiers.push(IdentifierKind::FlexId),
            Some("auto") => identifiers.extend(DEFAULT_IDENTIFIERS),
            _ => continue,
        }
        if identifiers[before..].iter().any(|new| identifiers[..before].contains(new)) {
            let name = element.text().unwrap_or_default();
            let text = format!("duplicate host identifier '{name}'");
            report.error(element.at, &Path::Index(&path, at), text);
        }
    }
    match list {
        None => identifiers = DEFAULT_IDENTIFIERS.to_vec(),
        Some(list) if list.list().is_empty() => {
            report.error(list.at, &path, "syntax error, unexpected ], expecting a host identifier");
        }
        Some(_) => {}
    }
    HostLookup {
        identifiers,
        early_global: global.flag("early-global-reservations-lookup"),
        unique_addresses: global.flag("ip-reservations-unique"),
    }
}

/// Kea's order without `host-reservation-identifiers`.
const DEFAULT_IDENTIFIERS: [IdentifierKind; 4] = [
    IdentifierKind::HwAddress,
    IdentifierKind::Duid,
    IdentifierKind::CircuitId,
    IdentifierKind::ClientId,
];

/// `compatibility`.
pub(super) fn compatibility(dhcp4: &Map) -> Compatibility {
    let map = dhcp4.get("compatibility").and_then(Element::map);
    let flag = |key| map.and_then(|map| map.get(key)).and_then(Element::bool).unwrap_or(false);
    Compatibility {
        lenient_option_parsing: flag("lenient-option-parsing"),
        ignore_server_identifier: flag("ignore-dhcp-server-identifier"),
        ignore_link_selection: flag("ignore-rai-link-selection"),
        exclude_first_last_24: flag("exclude-first-last-24"),
    }
}

/// `multi-threading`.
pub(super) fn multi_threading(dhcp4: &Map) -> MultiThreading {
    let map = dhcp4.get("multi-threading").and_then(Element::map);
    let value = |key| map.and_then(|map| map.get(key));
    let int = |key, default| {
        value(key).and_then(Element::int).and_then(|int| u32::try_from(int).ok()).unwrap_or(default)
    };
    MultiThreading {
        enabled: value("enable-multi-threading").and_then(Element::bool).unwrap_or(true),
        threads: int("thread-pool-size", 0),
        queue: int("packet-queue-size", 64),
    }
}

/// `dhcp-ddns`.
pub(super) fn ddns(dhcp4: &Map, path: &Path<'_>, report: &mut Report) -> DdnsClient {
    let path = Path::Key(path, "dhcp-ddns");
    let empty = Map::default();
    let map = dhcp4.get("dhcp-ddns").and_then(Element::map).unwrap_or(&empty);
    let mut address = |key: &str, default: IpAddr| {
        let Some((at, text)) = map.get(key).and_then(|value| Some((value.at, value.text()?)))
        else {
            return default;
        };
        // Kea's way to say any.
        if text.is_empty() {
            return default;
        }
        text.parse().unwrap_or_else(|_| {
            let text = format!(
                "Failed to convert '{text}' to address: Failed to convert string to address '{text}': Invalid argument"
            );
            report.error(at, &Path::Key(&path, key), text);
            default
        })
    };
    let server_ip = address("server-ip", IpAddr::from([127, 0, 0, 1]));
    let any = match server_ip {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    };
    let sender_ip = address("sender-ip", any);
    let port = |key, default| {
        let given = map.get(key).and_then(Element::int);
        given.and_then(|port| u16::try_from(port).ok()).unwrap_or(default)
    };
    let server = SocketAddr::new(server_ip, port("server-port", 53_001));
    let sender = SocketAddr::new(sender_ip, port("sender-port", 0));
    let place = |keys: [&str; 2]| keys.iter().find_map(|key| map.get(key)).map(|value| value.at);
    let family = |address: IpAddr| if address.is_ipv4() { "IPv4" } else { "IPv6" };
    if let Some(at) = place(["sender-ip", "server-ip"])
        && sender_ip.is_ipv4() != server_ip.is_ipv4()
    {
        let text = format!(
            "D2ClientConfig error: address family mismatch: server-ip: {server_ip} is: {} while sender-ip: {sender_ip} is: {}",
            family(server_ip),
            family(sender_ip)
        );
        report.error(at, &path, text);
    } else if let Some(at) = place(["sender-port", "server-port"])
        && sender == server
    {
        let text = format!(
            "D2ClientConfig error: server and sender cannot share the exact same IP address/port: {server_ip}/{}",
            server.port()
        );
        report.error(at, &path, text);
    }
    let max_queue = map.get("max-queue-size").and_then(Element::int);
    DdnsClient {
        enabled: map.get("enable-updates").and_then(Element::bool).unwrap_or(false),
        server,
        sender: (sender != SocketAddr::new(any, 0)).then_some(sender),
        max_queue: max_queue.and_then(|size| u32::try_from(size).ok()).unwrap_or(1024),
    }
}
