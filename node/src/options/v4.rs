//! The standard DHCPv4 options and sub-options, one row each, ascending by code (Kea manual, "Standard DHCPv4
//! Options"; RFC 2132 and the registry of BOOTP vendor extensions).

use std::borrow::Cow;

use super::Definition;
use super::Type::{self, *};

/// Every option that Kea knows by name.
pub const TABLE: &[Definition] = &[
    one(1, "subnet-mask", Ipv4),
    one(2, "time-offset", Int32),
    many(3, "routers", Ipv4),
    many(4, "time-servers", Ipv4),
    many(5, "name-servers", Ipv4),
    many(6, "domain-name-servers", Ipv4),
    many(7, "log-servers", Ipv4),
    many(8, "cookie-servers", Ipv4),
    many(9, "lpr-servers", Ipv4),
    many(10, "impress-servers", Ipv4),
    many(11, "resource-location-servers", Ipv4),
    one(12, "host-name", String),
    one(13, "boot-size", Uint16),
    one(14, "merit-dump", String),
    one(15, "domain-name", String),
    one(16, "swap-server", Ipv4),
    one(17, "root-path", String),
    one(18, "extensions-path", String),
    one(19, "ip-forwarding", Boolean),
    one(20, "non-local-source-routing", Boolean),
    many(21, "policy-filter", Ipv4),
    one(22, "max-dgram-reassembly", Uint16),
    one(23, "default-ip-ttl", Uint8),
    one(24, "path-mtu-aging-timeout", Uint32),
    many(25, "path-mtu-plateau-table", Uint16),
    one(26, "interface-mtu", Uint16),
    one(27, "all-subnets-local", Boolean),
    one(28, "broadcast-address", Ipv4),
    one(29, "perform-mask-discovery", Boolean),
    one(30, "mask-supplier", Boolean),
    one(31, "router-discovery", Boolean),
    one(32, "router-solicitation-address", Ipv4),
    many(33, "static-routes", Ipv4),
    one(34, "trailer-encapsulation", Boolean),
    one(35, "arp-cache-timeout", Uint32),
    one(36, "ieee802-3-encapsulation", Boolean),
    one(37, "default-tcp-ttl", Uint8),
    one(38, "tcp-keepalive-interval", Uint32),
    one(39, "tcp-keepalive-garbage", Boolean),
    one(40, "nis-domain", String),
    many(41, "nis-servers", Ipv4),
    many(42, "ntp-servers", Ipv4),
    container(43, "vendor-encapsulated-options", "vendor-encapsulated-options-space"),
    many(44, "netbios-name-servers", Ipv4),
    many(45, "netbios-dd-server", Ipv4),
    one(46, "netbios-node-type", Uint8),
    one(47, "netbios-scope", String),
    many(48, "font-servers", Ipv4),
    many(49, "x-display-manager", Ipv4),
    one(50, "dhcp-requested-address", Ipv4),
    one(51, "dhcp-lease-time", Uint32),
    one(52, "dhcp-option-overload", Uint8),
    one(53, "dhcp-message-type", Uint8),
    one(54, "dhcp-server-identifier", Ipv4),
    many(55, "dhcp-parameter-request-list", Uint8),
    one(56, "dhcp-message", String),
    one(57, "dhcp-max-message-size", Uint16),
    one(58, "dhcp-renewal-time", Uint32),
    one(59, "dhcp-rebinding-time", Uint32),
    one(60, "vendor-class-identifier", String),
    one(61, "dhcp-client-identifier", Binary),
    one(62, "nwip-domain-name", String),
    one(63, "nwip-suboptions", Binary),
    one(64, "nisplus-domain-name", String),
    many(65, "nisplus-servers", Ipv4),
    one(66, "tftp-server-name", String),
    one(67, "boot-file-name", String),
    many(68, "mobile-ip-home-agent", Ipv4),
    many(69, "smtp-server", Ipv4),
    many(70, "pop-server", Ipv4),
    many(71, "nntp-server", Ipv4),
    many(72, "www-server", Ipv4),
    many(73, "finger-server", Ipv4),
    many(74, "irc-server", Ipv4),
    many(75, "streettalk-server", Ipv4),
    many(76, "streettalk-directory-assistance-server", Ipv4),
    one(77, "user-class", Binary),
    record_array(78, "slp-directory-agent", &[Boolean, Ipv4]),
    record(79, "slp-service-scope", &[Boolean, String]),
    record(81, "fqdn", &[Uint8, Uint8, Uint8, Fqdn]),
    container(82, "dhcp-agent-options", "dhcp-agent-options-space"),
    many(85, "nds-servers", Ipv4),
    one(86, "nds-tree-name", String),
    one(87, "nds-context", String),
    many(88, "bcms-controller-names", Fqdn),
    many(89, "bcms-controller-address", Ipv4),
    one(90, "authenticate", Binary),
    one(91, "client-last-transaction-time", Uint32),
    many(92, "associated-ip", Ipv4),
    many(93, "client-system", Uint16),
    record(94, "client-ndi", &[Uint8, Uint8, Uint8]),
    record(97, "uuid-guid", &[Uint8, Binary]),
    one(98, "uap-servers", String),
    one(99, "geoconf-civic", Binary),
    one(100, "pcode", String),
    one(101, "tcode", String),
    one(108, "v6-only-preferred", Uint32),
    many(112, "netinfo-server-address", Ipv4),
    one(113, "netinfo-server-tag", String),
    one(114, "v4-captive-portal", String),
    one(116, "auto-config", Uint8),
    many(117, "name-service-search", Uint16),
    one(118, "subnet-selection", Ipv4),
    many(119, "domain-search", Fqdn),
    one(121, "classless-static-route", ClasslessRoutes),
    container(122, "cablelabs-client-conf", "cablelabs-client-conf"),
    record(124, "vivco-suboptions", &[Uint32, Binary]),
    // Sub-options live in the space `vendor-<enterprise>` that the number names.
    one(125, "vivso-suboptions", Uint32),
    many(136, "pana-agent", Ipv4),
    one(137, "v4-lost", Fqdn),
    many(138, "capwap-ac-v4", Ipv4),
    many(141, "sip-ua-cs-domains", Fqdn),
    many(143, "v4-sztp-redirect", LongTuple),
    record(146, "rdnss-selection", &[Uint8, Ipv4, Ipv4, Fqdn]),
    record(151, "status-code", &[Uint8, String]),
    one(152, "base-time", Uint32),
    one(153, "start-time-of-state", Uint32),
    one(154, "query-start-time", Uint32),
    one(155, "query-end-time", Uint32),
    one(156, "dhcp-state", Uint8),
    one(157, "data-source", Uint8),
    record(159, "v4-portparams", &[Uint8, Psid]),
    one(162, "v4-dnr", Dnr),
    record_array(212, "option-6rd", &[Uint8, Uint8, Ipv6, Ipv4]),
    many(213, "v4-access-domain", Fqdn),
];

/// `dhcp-agent-options-space`: the sub-options of option 82 (RFC 3046 and later).
pub const RELAY_AGENT: &[Definition] = &[
    one(1, "circuit-id", Binary),
    one(2, "remote-id", Binary),
    one(4, "docsis-device-class", Uint32),
    one(5, "link-selection", Ipv4),
    one(6, "subscriber-id", String),
    one(7, "radius", Binary),
    one(8, "auth", Binary),
    one(9, "vendor-specific-info", Binary),
    one(10, "relay-flags", Uint8),
    one(11, "server-id-override", Ipv4),
    one(12, "relay-id", Binary),
    one(13, "access-techno-type", Uint16),
    one(14, "access-network-name", String),
    one(15, "access-point-name", String),
    one(16, "access-point-bssid", Binary),
    one(17, "operator-id", Uint32),
    one(18, "operator-realm", String),
    one(19, "relay-port", Uint16),
    one(151, "virtual-subnet-select", Binary),
    one(152, "virtual-subnet-select-ctrl", Empty),
];

/// `cablelabs-client-conf`: the sub-options of option 122 (RFC 3495, RFC 3594).
pub const CABLELABS_CLIENT: &[Definition] = &[
    one(1, "tsp-primary-server", Ipv4),
    one(2, "tsp-secondary-server", Ipv4),
    record(4, "tsp-as-parameters", &[Uint32, Uint32, Uint32]),
    record(5, "tsp-ap-parameters", &[Uint32, Uint32, Uint32]),
    one(6, "tsp-realm", Fqdn),
    one(7, "tsp-use-tgt", Boolean),
    one(8, "tsp-provisioning-timer", Uint8),
    one(9, "tsp-sct", Uint16),
    many(10, "kdc-server", Ipv4),
];

/// `vendor-4491`: CableLabs' sub-options of option 125 (DOCSIS).
pub const DOCSIS: &[Definition] = &[many(1, "oro", Uint8), many(2, "tftp-servers", Ipv4)];

const fn one(code: u32, name: &'static str, kind: Type) -> Definition {
    row(code, name, kind, false, &[], None)
}

const fn many(code: u32, name: &'static str, kind: Type) -> Definition {
    row(code, name, kind, true, &[], None)
}

const fn record(code: u32, name: &'static str, fields: &'static [Type]) -> Definition {
    row(code, name, Record, false, fields, None)
}

const fn record_array(code: u32, name: &'static str, fields: &'static [Type]) -> Definition {
    row(code, name, Record, true, fields, None)
}

const fn container(code: u32, name: &'static str, space: &'static str) -> Definition {
    row(code, name, Empty, false, &[], Some(Cow::Borrowed(space)))
}

const fn row(
    code: u32,
    name: &'static str,
    kind: Type,
    array: bool,
    fields: &'static [Type],
    encapsulates: Option<Cow<'static, str>>,
) -> Definition {
    Definition {
        code,
        name: Cow::Borrowed(name),
        kind,
        array,
        fields: Cow::Borrowed(fields),
        encapsulates,
    }
}

/// Codes that Kea up to 2.4 had no definition of: files from then define 121 and others themselves.
pub fn is_recent(code: u32) -> bool {
    matches!(code, 121 | 122 | 143 | 151..=157 | 162)
}

/// Standard codes that an operator may define anew, in the whole or for a class: what they hold is
/// known by the vendor class or the site alone (RFC 2132 §8.4, RFC 3942).
pub fn is_open(code: u32) -> bool {
    code == 43 || (224..=254).contains(&code)
}

/// Options that the server makes itself: a configured value has no effect (Kea manual, "DHCPv4
/// Options"; rule W of the protocol contract).
pub fn is_made_by_server(code: u32) -> bool {
    matches!(code, 1 | 50..=53 | 55 | 57..=59 | 61 | 81 | 82 | 90..=92 | 118 | 151..=157)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_ascend_and_records_alone_have_fields() {
        for table in [TABLE, RELAY_AGENT, CABLELABS_CLIENT, DOCSIS] {
            for pair in table.windows(2) {
                assert!(pair[0].code < pair[1].code, "{}", pair[1].name);
            }
            for row in table {
                assert_eq!(row.kind == Record, !row.fields.is_empty(), "{}", row.name);
                assert!((1..=254).contains(&row.code), "{}", row.name);
            }
        }
    }
}
