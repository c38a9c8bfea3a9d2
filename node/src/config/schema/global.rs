//! `Dhcp4` and the maps of global scope that the server acts on.

use super::networks::{LINK_VALUES, NAME_VALUES, NETWORK, RESERVATION, SUBNET};
use super::node::{
    CONFIG_CONTROL, CONTROL_SOCKET, DATABASE, HOOK, LOGGER, MULTI_THREADING, QUEUE, SANITY,
};
use super::options::{CLASS, OPTION_DATA, OPTION_DEF};
use super::*;

const NODE_LOCAL: &str = "it belongs to the node: a server started with -c follows it, a node with \
                          settings of its own follows those";
const CLUSTER_STORE: &str =
    "leases and reservations are kept by the cluster itself; the database is not used";
const OWN_PACE: &str = "the node opens what it can and tries the rest again as long as it runs";

/// `Dhcp4`.
pub(in super::super) static DHCP4: Scope = Scope {
    name: "Dhcp4",
    groups: &[STRUCTURE, GLOBAL_VALUES, LINK_VALUES, NAME_VALUES],
    free: true,
    filled: true,
};

static STRUCTURE: &[Keyword] = &[
    key("interfaces-config", Kind::Map(&INTERFACES)).default(Default::Filled),
    key("control-socket", Kind::Map(&CONTROL_SOCKET)).old(&["control-sockets"]),
    key("control-sockets", Kind::Maps(&CONTROL_SOCKET)).noted(NODE_LOCAL),
    key("hooks-libraries", Kind::Maps(&HOOK)).default(Default::Nothing),
    key("lease-database", Kind::Map(&DATABASE)).noted(CLUSTER_STORE),
    key("hosts-database", Kind::Map(&DATABASE)).noted(CLUSTER_STORE),
    key("hosts-databases", Kind::Maps(&DATABASE)).noted(CLUSTER_STORE),
    key("config-control", Kind::Map(&CONFIG_CONTROL))
        .noted("the configuration is replicated; it is not read from a database"),
    key("server-tag", Kind::Text).default(EMPTY).echoed(),
    key("loggers", Kind::Maps(&LOGGER)).noted(NODE_LOCAL),
    key("client-classes", Kind::Maps(&CLASS)).default(Default::Nothing),
    key("option-def", Kind::Maps(&OPTION_DEF)).default(Default::Nothing),
    key("option-data", Kind::Maps(&OPTION_DATA)).default(Default::Nothing),
    key("shared-networks", Kind::Maps(&NETWORK)).default(Default::Nothing),
    key("subnet4", Kind::Maps(&SUBNET)).default(Default::Nothing),
    key("reservations", Kind::Maps(&RESERVATION)).default(Default::Nothing),
    key("expired-leases-processing", Kind::Map(&EXPIRED)).default(Default::Filled),
    key("dhcp-ddns", Kind::Map(&DDNS)).default(Default::Filled),
    key("multi-threading", Kind::Map(&MULTI_THREADING))
        .default(Default::Filled)
        .noted("the number of threads is the node's own choice"),
    key("dhcp-queue-control", Kind::Map(&QUEUE))
        .default(Default::Filled)
        .noted("queues are sized by the server"),
    key("sanity-checks", Kind::Map(&SANITY))
        .default(Default::Filled)
        .noted("there is no lease file to check"),
    key("compatibility", Kind::Map(&COMPATIBILITY)),
];

static GLOBAL_VALUES: &[Keyword] = &[
    key("decline-probation-period", SECS).default(Default::Int(86_400)),
    key("echo-client-id", FLAG).default(YES),
    key("host-reservation-identifiers", Kind::Words(IDENTIFIERS))
        .default(Default::Texts(&["hw-address", "duid", "circuit-id", "client-id"]))
        .remark("`flex-id` has to be named; `auto` is the default list."),
    key("early-global-reservations-lookup", FLAG).default(NO),
    key("ip-reservations-unique", FLAG).default(YES),
    key("reservations-lookup-first", FLAG)
        .default(NO)
        .noted("reservations are looked up without a lock, so the order makes no difference"),
    key("stash-agent-options", FLAG).default(NO),
    key("statistic-default-sample-count", COUNT)
        .default(Default::Int(20))
        .remark("0 leaves it to `statistic-default-sample-age`."),
    key("statistic-default-sample-age", SECS).default(Default::Int(0)),
    key("parked-packet-limit", COUNT)
        .default(Default::Int(256))
        .noted("packets that wait for the commit have a bound of their own"),
    key("dhcp4o6-port", PORT).default(Default::Int(0)).refused("DHCPv4-over-DHCPv6 is not served"),
];

const IDENTIFIERS: &[&str] = &["hw-address", "duid", "circuit-id", "client-id", "flex-id", "auto"];

static INTERFACES: Scope = Scope {
    name: "interfaces-config",
    groups: &[&[
        key("interfaces", Kind::Texts).default(Default::Nothing),
        key("dhcp-socket-type", Kind::Word(&["raw", "udp"])).remark("Without it: `raw`."),
        key("outbound-interface", Kind::Word(&["same-as-inbound", "use-routing"]))
            .remark("Without it: `same-as-inbound`; `use-routing` needs `udp`."),
        key("re-detect", FLAG).default(YES),
        key("service-sockets-require-all", FLAG).noted(OWN_PACE),
        key("service-sockets-max-retries", COUNT).noted(OWN_PACE),
        key("service-sockets-retry-wait-time", COUNT).noted(OWN_PACE),
    ]],
    free: true,
    filled: true,
};

static EXPIRED: Scope = Scope {
    name: "expired-leases-processing",
    groups: &[&[
        key("reclaim-timer-wait-time", PAUSE).default(Default::Int(10)),
        key("flush-reclaimed-timer-wait-time", PAUSE).default(Default::Int(25)),
        key("hold-reclaimed-time", SECS).default(Default::Int(3600)),
        key("max-reclaim-leases", COUNT).default(Default::Int(100)),
        key("max-reclaim-time", COUNT)
            .default(Default::Int(250))
            .noted("a sweep is bounded by max-reclaim-leases; it has no time limit"),
        key("unwarned-reclaim-cycles", COUNT)
            .default(Default::Int(5))
            .noted("sweeps that leave leases behind are counted, not logged"),
    ]],
    free: false,
    filled: true,
};

static DDNS: Scope = Scope {
    name: "dhcp-ddns",
    groups: &[&[
        key("enable-updates", FLAG).default(NO).required(),
        key("server-ip", Kind::Text).default(Default::Text("127.0.0.1")),
        key("server-port", PORT).default(Default::Int(53_001)),
        key("sender-ip", Kind::Text).default(Default::Text("0.0.0.0")),
        key("sender-port", PORT).default(Default::Int(0)),
        key("max-queue-size", COUNT).default(Default::Int(1024)),
        key("ncr-protocol", Kind::Word(&["UDP", "udp"])).default(Default::Text("UDP")).echoed(),
        key("ncr-format", Kind::Word(&["JSON", "json"])).default(Default::Text("JSON")).echoed(),
        // Up to Kea 2.4 these stood here as well.
        key("qualifying-suffix", Kind::Text).old(&["ddns-qualifying-suffix"]),
        key("generated-prefix", Kind::Text).old(&["ddns-generated-prefix"]),
        key("hostname-char-set", Kind::Text).old(&["hostname-char-set"]),
        key("hostname-char-replacement", Kind::Text).old(&["hostname-char-replacement"]),
        key("override-no-update", FLAG).old(&["ddns-override-no-update"]),
        key("override-client-update", FLAG).old(&["ddns-override-client-update"]),
        key("replace-client-name", Kind::Word(super::networks::REPLACE_CLIENT_NAME))
            .old(&["ddns-replace-client-name"]),
    ]],
    free: true,
    filled: true,
};

static COMPATIBILITY: Scope = Scope {
    name: "compatibility",
    groups: &[&[
        key("lenient-option-parsing", FLAG).default(NO),
        key("ignore-dhcp-server-identifier", FLAG).default(NO),
        key("ignore-rai-link-selection", FLAG).default(NO),
        key("exclude-first-last-24", FLAG).default(NO),
    ]],
    free: false,
    filled: false,
};
