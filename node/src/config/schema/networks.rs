//! Networks, subnets, pools and reservations, and the values that they share with the global scope.

use super::options::OPTION_DATA;
use super::*;

/// Lease times, modes and fields: global scope, networks and subnets.
pub(super) static LINK_VALUES: &[Keyword] = &[
    key("valid-lifetime", Kind::Int(1, u32::MAX as i64)).default(Default::Int(7200)).copied(),
    key("min-valid-lifetime", SECS).copied().remark("Without it: `valid-lifetime`."),
    key("max-valid-lifetime", SECS).copied().remark("Without it: `valid-lifetime`."),
    key("renew-timer", SECS).copied(),
    key("rebind-timer", SECS).copied(),
    key("calculate-tee-times", FLAG).default(NO).copied(),
    key("t1-percent", SHARE).default(Default::Real(0.5)).copied(),
    key("t2-percent", SHARE).default(Default::Real(0.875)).copied(),
    key("cache-threshold", SHARE).default(Default::Real(0.25)).copied(),
    key("cache-max-age", SECS).copied(),
    key("match-client-id", FLAG).default(YES).outward(),
    key("authoritative", FLAG).default(NO).outward(),
    key("next-server", Kind::Ip4).default(Default::Text("0.0.0.0")).outward(),
    key("server-hostname", Kind::Short(63)).default(EMPTY).outward(),
    key("boot-file-name", Kind::Short(128)).default(EMPTY).outward(),
    key("reservations-global", FLAG).default(NO).outward(),
    key("reservations-in-subnet", FLAG).default(YES).outward(),
    key("reservations-out-of-pool", FLAG).default(NO).outward(),
    key(
        "reservation-mode",
        Kind::Word(&["disabled", "off", "out-of-pool", "global", "all", "in-subnet"]),
    )
    .old(&["reservations-global", "reservations-in-subnet", "reservations-out-of-pool"]),
    key("store-extended-info", FLAG).default(NO).copied(),
    key("adaptive-lease-time-threshold", SHARE).copied(),
    key("allocator", Kind::Word(&["iterative", "random", "flq", "shared-flq"]))
        .default(Default::Text("iterative"))
        .copied()
        .remark("`shared-flq` works as `flq`: every queue is shared by the cluster."),
    key("offer-lifetime", SECS).copied().remark("Without it: 0, off."),
];

pub(super) const REPLACE_CLIENT_NAME: &[&str] =
    &["never", "always", "when-present", "when-not-present"];

/// Client names and DNS updates; pools have these as well.
pub(super) static NAME_VALUES: &[Keyword] = &[
    key("hostname-char-set", Kind::Text).default(Default::Text("[^A-Za-z0-9.-]")).outward(),
    key("hostname-char-replacement", Kind::Text).default(EMPTY).outward(),
    key("ddns-send-updates", FLAG).default(YES).outward(),
    key("ddns-override-no-update", FLAG).default(NO).outward(),
    key("ddns-override-client-update", FLAG).default(NO).outward(),
    key("ddns-replace-client-name", Kind::Word(REPLACE_CLIENT_NAME))
        .default(Default::Text("never"))
        .outward(),
    key("ddns-generated-prefix", Kind::Text).default(Default::Text("myhost")).outward(),
    key("ddns-qualifying-suffix", Kind::Text).default(EMPTY).outward(),
    key("ddns-update-on-renew", FLAG).default(NO).outward(),
    key(
        "ddns-conflict-resolution-mode",
        Kind::Word(&[
            "check-with-dhcid",
            "no-check-with-dhcid",
            "check-exists-with-dhcid",
            "no-check-without-dhcid",
        ]),
    )
    .default(Default::Text("check-with-dhcid"))
    .outward(),
    key("ddns-use-conflict-resolution", FLAG).old(&["ddns-conflict-resolution-mode"]),
    key("ddns-ttl", SECS).outward().remark("Excludes the other three."),
    key("ddns-ttl-percent", Kind::Real(0.0, f64::MAX)).outward(),
    key("ddns-ttl-min", SECS).outward(),
    key("ddns-ttl-max", SECS).outward(),
];

/// Who may use a network, subnet or pool, and what is evaluated for those who do.
static GUARDS: &[Keyword] = &[
    key("client-classes", Kind::Texts),
    key("client-class", Kind::Text).old(&["client-classes"]),
    key("evaluate-additional-classes", Kind::Texts),
    key("require-client-classes", Kind::Texts).old(&["evaluate-additional-classes"]),
];

/// What networks and subnets say about the link.
static LINK: &[Keyword] = &[
    key("interface", Kind::Text).remark("A network's goes for its members."),
    key("relay", Kind::Map(&RELAY)).default(Default::Filled).copied(),
];

static RELAY: Scope = Scope {
    name: "relay",
    groups: &[&[
        key("ip-addresses", Kind::Ip4s).default(Default::Nothing),
        key("ip-address", Kind::Ip4).old(&["ip-addresses"]),
    ]],
    free: false,
    filled: true,
};

/// `shared-networks[]`.
pub(in super::super) static NETWORK: Scope = Scope {
    name: "shared-networks",
    groups: &[
        &[
            key("name", Kind::Text).required(),
            key("subnet4", Kind::Maps(&SUBNET)).default(Default::Nothing),
            key("option-data", Kind::Maps(&OPTION_DATA)).default(Default::Nothing),
        ],
        LINK,
        GUARDS,
        LINK_VALUES,
        NAME_VALUES,
    ],
    free: true,
    filled: true,
};

const NO_4O6: &str = "DHCPv4-over-DHCPv6 is not served, so it chooses for nobody";

/// `subnet4[]`.
pub(in super::super) static SUBNET: Scope = Scope {
    name: "subnet4",
    groups: &[
        &[
            key("id", Kind::Int(0, u32::MAX as i64 - 1))
                .remark("Without it, or with 0, it is numbered once, with a warning."),
            key("subnet", Kind::Text).required(),
            key("pools", Kind::Maps(&POOL)).default(Default::Nothing),
            key("option-data", Kind::Maps(&OPTION_DATA)).default(Default::Nothing),
            key("reservations", Kind::Maps(&RESERVATION)).default(Default::Nothing),
            key("4o6-interface", Kind::Text).default(EMPTY).noted(NO_4O6),
            key("4o6-interface-id", Kind::Text).default(EMPTY).noted(NO_4O6),
            key("4o6-subnet", Kind::Text).default(EMPTY).noted(NO_4O6),
        ],
        LINK,
        GUARDS,
        LINK_VALUES,
        NAME_VALUES,
    ],
    free: true,
    filled: true,
};

/// `pools[]`.
static POOL: Scope = Scope {
    name: "pools",
    groups: &[
        &[
            key("pool", Kind::Text).required(),
            key("pool-id", COUNT).remark("Without it: 0."),
            key("option-data", Kind::Maps(&OPTION_DATA)).default(Default::Nothing),
        ],
        GUARDS,
        NAME_VALUES,
    ],
    free: true,
    filled: true,
};

/// `reservations[]`.
pub(in super::super) static RESERVATION: Scope = Scope {
    name: "reservations",
    groups: &[&[
        key("hw-address", Kind::Text),
        key("client-id", Kind::Text),
        key("duid", Kind::Text),
        key("circuit-id", Kind::Text),
        key("flex-id", Kind::Text),
        key("ip-address", Kind::Ip4),
        key("hostname", Kind::Short(255)).default(EMPTY),
        key("option-data", Kind::Maps(&OPTION_DATA)).default(Default::Nothing),
        key("next-server", Kind::Ip4).default(Default::Text("0.0.0.0")),
        key("server-hostname", Kind::Short(63)).default(EMPTY),
        key("boot-file-name", Kind::Short(128)).default(EMPTY),
        key("client-classes", Kind::Texts).default(Default::Nothing),
    ]],
    free: true,
    filled: true,
};
