//! The page of keywords: what may stand where, of which type, with which default, and whether it
//! works here.
//!
//! Checking, inheritance and printing all read these tables. A keyword that is not in them is a mistake; one
//! that is `later` is a mistake too, unless it says what holds anyway (its default); one that is
//! `noted` has no meaning in a cluster and earns one warning. So nothing is ignored in
//! silence. A keyword that comes to work is an edit of its row, plus whoever acts on it.
//!
//! Source: Kea's grammar and its tables of defaults (Kea manual, "Kea Configuration", "DHCPv4
//! Server Configuration").

/// What may stand in one kind of map.
#[derive(Debug)]
pub(super) struct Scope {
    /// Kea's name of the map, as its messages have it.
    pub(super) name: &'static str,
    /// Rows, in groups that scopes share.
    pub(super) groups: &'static [&'static [Keyword]],
    /// Whether `user-context` and `comment` may stand there.
    pub(super) free: bool,
    /// Whether printing fills in defaults; maps of other programs are only echoed.
    pub(super) filled: bool,
}

impl Scope {
    /// All its rows.
    pub(super) fn keywords(&self) -> impl Iterator<Item = &'static Keyword> {
        self.groups.iter().flat_map(|group| group.iter())
    }

    /// The row called `name`.
    pub(super) fn keyword(&self, name: &str) -> Option<&'static Keyword> {
        self.keywords().find(|keyword| keyword.name == name)
    }
}

/// One keyword in one kind of map.
#[derive(Debug)]
pub(super) struct Keyword {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) default: Default,
    pub(super) status: Status,
    /// Whether an unset value comes from the scopes around, and a resolved one is shown.
    pub(super) inherit: Inherit,
    /// Whether its absence is a mistake.
    pub(super) required: bool,
    /// Texts that mean what holds without the keyword, beside the default.
    pub(super) idle: &'static [&'static str],
}

/// The type of a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A boolean.
    Bool,
    /// A whole number from the first to the second, both included.
    Int(i64, i64),
    /// A number, likewise.
    Real(f64, f64),
    /// Any text.
    Text,
    /// Text of at most so many bytes.
    Short(usize),
    /// An IPv4 address.
    Ip4,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// A list of IPv4 addresses.
    Ip4s,
    /// A map.
    Map(&'static Scope),
    /// A list of maps.
    Maps(&'static Scope),
    /// A map with any content.
    Free,
}

/// What holds when a keyword is absent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Default {
    /// Nothing.
    Unset,
    Bool(bool),
    Int(i64),
    Real(f64),
    Text(&'static str),
    Texts(&'static [&'static str]),
    /// The empty list.
    Nothing,
    /// A map of its own defaults.
    Filled,
}

/// Whether a keyword works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// It does what it does in Kea.
    Works,
    /// Kept and echoed; it belongs to a map that was noted, or a program that reads it.
    Echoed,
    /// Kept and echoed, with a warning that says what it means here.
    Noted(&'static str),
    /// Refused for now, except with its default.
    Later,
}

/// What becomes of an unset value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inherit {
    /// The default of its own map.
    No,
    /// Looked up in the scopes around when it is used.
    Outward,
    /// Looked up in the scopes around and shown by `config-get` in every subnet, as Kea copies it.
    Copied,
}

impl Keyword {
    const fn default(mut self, default: Default) -> Keyword {
        self.default = default;
        self
    }

    const fn required(mut self) -> Keyword {
        self.required = true;
        self
    }

    const fn outward(mut self) -> Keyword {
        self.inherit = Inherit::Outward;
        self
    }

    const fn copied(mut self) -> Keyword {
        self.inherit = Inherit::Copied;
        self
    }

    const fn later(mut self) -> Keyword {
        self.status = Status::Later;
        self
    }

    const fn noted(mut self, note: &'static str) -> Keyword {
        self.status = Status::Noted(note);
        self
    }

    const fn idle(mut self, idle: &'static [&'static str]) -> Keyword {
        self.idle = idle;
        self
    }

    const fn echoed(mut self) -> Keyword {
        self.status = Status::Echoed;
        self
    }
}

const fn key(name: &'static str, kind: Kind) -> Keyword {
    let (default, status, inherit) = (Default::Unset, Status::Works, Inherit::No);
    Keyword { name, kind, default, status, inherit, required: false, idle: &[] }
}

const FLAG: Kind = Kind::Bool;
const SECS: Kind = Kind::Int(0, u32::MAX as i64);
const COUNT: Kind = Kind::Int(0, u32::MAX as i64);
/// Seconds between sweeps.
const PAUSE: Kind = Kind::Int(0, 65_535);
const PORT: Kind = Kind::Int(0, 65_535);
const SHARE: Kind = Kind::Real(0.0, 1.0);
const YES: Default = Default::Bool(true);
const NO: Default = Default::Bool(false);
const EMPTY: Default = Default::Text("");

const NODE_LOCAL: &str =
    "it belongs to the node; it is kept and shown, and each node's own settings count";
const CLUSTER_STORE: &str =
    "leases and reservations are kept by the cluster itself; the database is not used";
const NO_DDNS: &str = "it has no effect while no DNS updates are sent";

/// `Dhcp4`.
pub(super) static DHCP4: Scope = Scope {
    name: "Dhcp4",
    groups: &[STRUCTURE, GLOBAL_VALUES, VALUES, LATER_VALUES, NAME_VALUES],
    free: true,
    filled: true,
};

static STRUCTURE: &[Keyword] = &[
    key("interfaces-config", Kind::Map(&INTERFACES)).default(Default::Filled),
    key("control-socket", Kind::Map(&CONTROL_SOCKET)).noted(NODE_LOCAL),
    key("control-sockets", Kind::Maps(&CONTROL_SOCKET)).noted(NODE_LOCAL),
    key("hooks-libraries", Kind::Maps(&HOOK)).default(Default::Nothing),
    key("lease-database", Kind::Map(&DATABASE)).noted(CLUSTER_STORE),
    key("hosts-database", Kind::Map(&DATABASE)).noted(CLUSTER_STORE),
    key("hosts-databases", Kind::Maps(&DATABASE)).noted(CLUSTER_STORE),
    key("config-control", Kind::Map(&CONFIG_CONTROL))
        .noted("the configuration is replicated; it is not read from a database"),
    key("server-tag", Kind::Text)
        .default(EMPTY)
        .noted("it names a server in a configuration database; it is kept and shown"),
    key("loggers", Kind::Maps(&LOGGER)).noted(NODE_LOCAL),
    key("client-classes", Kind::Maps(&CLASS)).default(Default::Nothing).later(),
    key("option-def", Kind::Maps(&OPTION_DEF)).default(Default::Nothing).later(),
    key("option-data", Kind::Maps(&OPTION_DATA)).default(Default::Nothing),
    key("shared-networks", Kind::Maps(&NETWORK)).default(Default::Nothing),
    key("subnet4", Kind::Maps(&SUBNET)).default(Default::Nothing),
    key("reservations", Kind::Maps(&RESERVATION)).default(Default::Nothing).later(),
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
    key("compatibility", Kind::Map(&COMPATIBILITY)).default(Default::Filled),
];

static GLOBAL_VALUES: &[Keyword] = &[
    key("decline-probation-period", SECS).default(Default::Int(86_400)),
    key("echo-client-id", FLAG).default(YES),
    key("host-reservation-identifiers", Kind::Texts)
        .default(Default::Texts(&["hw-address", "duid", "circuit-id", "client-id"]))
        .later(),
    key("early-global-reservations-lookup", FLAG).default(NO).later(),
    key("ip-reservations-unique", FLAG).default(YES).later(),
    key("reservations-lookup-first", FLAG)
        .default(NO)
        .noted("reservations are looked up without a lock"),
    key("stash-agent-options", FLAG).default(NO).later(),
    key("statistic-default-sample-count", COUNT)
        .default(Default::Int(20))
        .noted("statistics keep their latest value"),
    key("statistic-default-sample-age", SECS)
        .default(Default::Int(0))
        .noted("statistics keep their latest value"),
    key("parked-packet-limit", COUNT)
        .default(Default::Int(256))
        .noted("packets that wait for the commit have a bound of their own"),
    key("dhcp4o6-port", PORT).default(Default::Int(0)).later(),
];

/// What global scope, networks and subnets share.
static VALUES: &[Keyword] = &[
    key("valid-lifetime", Kind::Int(1, u32::MAX as i64)).default(Default::Int(7200)).copied(),
    key("min-valid-lifetime", SECS).copied(),
    key("max-valid-lifetime", SECS).copied(),
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
];

static LATER_VALUES: &[Keyword] = &[
    key("reservations-global", FLAG).default(NO).outward().later(),
    key("reservations-in-subnet", FLAG).default(YES).outward().later(),
    key("reservations-out-of-pool", FLAG).default(NO).outward().later(),
    key(
        "reservation-mode",
        Kind::Word(&["disabled", "off", "out-of-pool", "global", "all", "in-subnet"]),
    )
    .idle(&["all", "in-subnet"])
    .later(),
    key("store-extended-info", FLAG).default(NO).copied().later(),
    key("adaptive-lease-time-threshold", SHARE).outward().later(),
    key("allocator", Kind::Word(&["iterative", "random", "flq", "shared-flq"]))
        .default(Default::Text("iterative"))
        .copied()
        .later(),
    key("offer-lifetime", SECS).default(Default::Int(0)).outward().later(),
];

/// Client names and DNS updates; pools have these as well.
static NAME_VALUES: &[Keyword] = &[
    key("hostname-char-set", Kind::Text).default(Default::Text("[^A-Za-z0-9.-]")).outward().later(),
    key("hostname-char-replacement", Kind::Text).default(EMPTY).outward().later(),
    key("ddns-send-updates", FLAG).default(YES).outward().noted(NO_DDNS),
    key("ddns-override-no-update", FLAG).default(NO).outward().later(),
    key("ddns-override-client-update", FLAG).default(NO).outward().later(),
    key(
        "ddns-replace-client-name",
        Kind::Word(&["never", "always", "when-present", "when-not-present"]),
    )
    .default(Default::Text("never"))
    .outward()
    .later(),
    key("ddns-generated-prefix", Kind::Text)
        .default(Default::Text("myhost"))
        .outward()
        .noted(NO_DDNS),
    key("ddns-qualifying-suffix", Kind::Text).default(EMPTY).outward().later(),
    key("ddns-update-on-renew", FLAG).default(NO).outward().noted(NO_DDNS),
    key(
        "ddns-conflict-resolution-mode",
        Kind::Word(&[
            "check-with-dhcid",
            "no-check-with-dhcid",
            "check-exists-with-dhcid",
            "no-check-without-dhcid",
        ]),
    )
    .outward()
    .noted(NO_DDNS),
    key("ddns-use-conflict-resolution", FLAG).outward().noted(NO_DDNS),
    key("ddns-ttl", SECS).outward().noted(NO_DDNS),
    key("ddns-ttl-percent", Kind::Real(0.0, f64::MAX)).outward().noted(NO_DDNS),
    key("ddns-ttl-min", SECS).outward().noted(NO_DDNS),
    key("ddns-ttl-max", SECS).outward().noted(NO_DDNS),
];

static INTERFACES: Scope = Scope {
    name: "interfaces-config",
    groups: &[&[
        key("interfaces", Kind::Texts).default(Default::Nothing),
        key("dhcp-socket-type", Kind::Word(&["raw", "udp"])),
        key("outbound-interface", Kind::Word(&["same-as-inbound", "use-routing"])),
        key("re-detect", FLAG).default(YES),
        key("service-sockets-require-all", FLAG).default(NO).later(),
        key("service-sockets-max-retries", COUNT)
            .noted("a socket that cannot be opened is tried again as long as the node runs"),
        key("service-sockets-retry-wait-time", COUNT).noted("the node has a pace of its own"),
    ]],
    free: true,
    filled: true,
};

static CONTROL_SOCKET: Scope = Scope {
    name: "control-socket",
    groups: &[&[
        key("socket-type", Kind::Word(&["unix", "http", "https"])).required().echoed(),
        key("socket-name", Kind::Text).echoed(),
        key("socket-address", Kind::Text).echoed(),
        key("socket-port", PORT).echoed(),
        key("trust-anchor", Kind::Text).echoed(),
        key("cert-file", Kind::Text).echoed(),
        key("key-file", Kind::Text).echoed(),
        key("cert-required", FLAG).echoed(),
        key("authentication", Kind::Map(&AUTHENTICATION)).echoed(),
        key("http-headers", Kind::Maps(&HTTP_HEADER)).echoed(),
    ]],
    free: true,
    filled: false,
};

static AUTHENTICATION: Scope = Scope {
    name: "authentication",
    groups: &[&[
        key("type", Kind::Word(&["basic"])).required().echoed(),
        key("realm", Kind::Text).echoed(),
        key("directory", Kind::Text).echoed(),
        key("clients", Kind::Maps(&AUTH_CLIENT)).echoed(),
    ]],
    free: true,
    filled: false,
};

static AUTH_CLIENT: Scope = Scope {
    name: "clients",
    groups: &[&[
        key("user", Kind::Text).echoed(),
        key("password", Kind::Text).echoed(),
        key("user-file", Kind::Text).echoed(),
        key("password-file", Kind::Text).echoed(),
    ]],
    free: true,
    filled: false,
};

static HTTP_HEADER: Scope = Scope {
    name: "http-headers",
    groups: &[&[
        key("name", Kind::Text).required().echoed(),
        key("value", Kind::Text).required().echoed(),
    ]],
    free: true,
    filled: false,
};

static DATABASE: Scope = Scope {
    name: "lease-database",
    groups: &[&[
        key("type", Kind::Word(&["memfile", "mysql", "postgresql", "cql"])).required().echoed(),
        key("name", Kind::Text).echoed(),
        key("persist", FLAG).echoed(),
        key("lfc-interval", SECS).echoed(),
        key("max-row-errors", COUNT).echoed(),
        key("host", Kind::Text).echoed(),
        key("port", PORT).echoed(),
        key("user", Kind::Text).echoed(),
        key("password", Kind::Text).echoed(),
        key("password-file", Kind::Text).echoed(),
        key("connect-timeout", SECS).echoed(),
        key("read-timeout", SECS).echoed(),
        key("write-timeout", SECS).echoed(),
        key("tcp-user-timeout", SECS).echoed(),
        key("reconnect-wait-time", COUNT).echoed(),
        key("max-reconnect-tries", COUNT).echoed(),
        key(
            "on-fail",
            Kind::Word(&["stop-retry-exit", "serve-retry-exit", "serve-retry-continue"]),
        )
        .echoed(),
        key("retry-on-startup", FLAG).echoed(),
        key("trust-anchor", Kind::Text).echoed(),
        key("cert-file", Kind::Text).echoed(),
        key("key-file", Kind::Text).echoed(),
        key("ssl-mode", Kind::Word(&["disable", "prefer", "require", "verify-ca", "verify-full"]))
            .echoed(),
        key("cipher-list", Kind::Text).echoed(),
        key("readonly", FLAG).echoed(),
    ]],
    free: true,
    filled: false,
};

static CONFIG_CONTROL: Scope = Scope {
    name: "config-control",
    groups: &[&[
        key("config-databases", Kind::Maps(&DATABASE)).echoed(),
        key("config-fetch-wait-time", SECS).echoed(),
    ]],
    free: true,
    filled: false,
};

/// Kea takes them in any case; these are the ones in use.
const SEVERITIES: &[&str] = &[
    "FATAL", "ERROR", "WARN", "INFO", "DEBUG", "NONE", "fatal", "error", "warn", "info", "debug",
    "none",
];

static LOGGER: Scope = Scope {
    name: "loggers",
    groups: &[&[
        key("name", Kind::Text).required().echoed(),
        key("severity", Kind::Word(SEVERITIES)).echoed(),
        key("debuglevel", Kind::Int(0, 99)).echoed(),
        key("output-options", Kind::Maps(&LOG_OUTPUT)).echoed(),
        key("output_options", Kind::Maps(&LOG_OUTPUT)).echoed(),
    ]],
    free: true,
    filled: false,
};

static LOG_OUTPUT: Scope = Scope {
    name: "output-options",
    groups: &[&[
        key("output", Kind::Text).required().echoed(),
        key("flush", FLAG).echoed(),
        key("maxsize", COUNT).echoed(),
        key("maxver", COUNT).echoed(),
        key("pattern", Kind::Text).echoed(),
    ]],
    free: false,
    filled: false,
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
        key("enable-updates", FLAG).default(NO).later(),
        key("server-ip", Kind::Text).default(Default::Text("127.0.0.1")).noted(NO_DDNS),
        key("server-port", PORT).default(Default::Int(53_001)).noted(NO_DDNS),
        key("sender-ip", Kind::Text).default(Default::Text("0.0.0.0")).noted(NO_DDNS),
        key("sender-port", PORT).default(Default::Int(0)).noted(NO_DDNS),
        key("max-queue-size", COUNT).default(Default::Int(1024)).noted(NO_DDNS),
        key("ncr-protocol", Kind::Word(&["UDP"])).default(Default::Text("UDP")).noted(NO_DDNS),
        key("ncr-format", Kind::Word(&["JSON"])).default(Default::Text("JSON")).noted(NO_DDNS),
        // Up to Kea 2.4 these stood here as well.
        key("qualifying-suffix", Kind::Text).later(),
        key("generated-prefix", Kind::Text).noted(NO_DDNS),
        key("hostname-char-set", Kind::Text).later(),
        key("hostname-char-replacement", Kind::Text).later(),
        key("override-no-update", FLAG).later(),
        key("override-client-update", FLAG).later(),
        key("replace-client-name", Kind::Text).later(),
    ]],
    free: true,
    filled: true,
};

static COMPATIBILITY: Scope = Scope {
    name: "compatibility",
    groups: &[&[
        key("lenient-option-parsing", FLAG).default(NO).later(),
        key("ignore-dhcp-server-identifier", FLAG).default(NO).later(),
        key("ignore-rai-link-selection", FLAG).default(NO).later(),
        key("exclude-first-last-24", FLAG).default(NO).later(),
    ]],
    free: false,
    filled: true,
};

static MULTI_THREADING: Scope = Scope {
    name: "multi-threading",
    groups: &[&[
        key("enable-multi-threading", FLAG).default(YES).echoed(),
        key("thread-pool-size", COUNT).default(Default::Int(0)).echoed(),
        key("packet-queue-size", COUNT).default(Default::Int(64)).echoed(),
    ]],
    free: true,
    filled: true,
};

static QUEUE: Scope = Scope {
    name: "dhcp-queue-control",
    groups: &[&[
        key("enable-queue", FLAG).default(NO).echoed(),
        key("queue-type", Kind::Text).default(Default::Text("kea-ring4")).echoed(),
        key("capacity", COUNT).default(Default::Int(64)).echoed(),
    ]],
    free: true,
    filled: true,
};

static SANITY: Scope = Scope {
    name: "sanity-checks",
    groups: &[&[
        key("lease-checks", Kind::Word(&["none", "warn", "fix", "fix-del", "del"]))
            .default(Default::Text("warn"))
            .echoed(),
        key("extended-info-checks", Kind::Word(&["none", "fix", "strict", "pedantic"]))
            .default(Default::Text("fix"))
            .echoed(),
    ]],
    free: false,
    filled: true,
};

static HOOK: Scope = Scope {
    name: "hooks-libraries",
    groups: &[&[key("library", Kind::Text).required(), key("parameters", Kind::Free).echoed()]],
    free: true,
    filled: false,
};

/// `shared-networks[]`.
pub(super) static NETWORK: Scope = Scope {
    name: "shared-networks",
    groups: &[
        &[
            key("name", Kind::Text).required(),
            key("subnet4", Kind::Maps(&SUBNET)).default(Default::Nothing),
            key("option-data", Kind::Maps(&OPTION_DATA)).default(Default::Nothing),
        ],
        LINK,
        VALUES,
        LATER_VALUES,
        NAME_VALUES,
    ],
    free: true,
    filled: true,
};

/// `subnet4[]`.
pub(super) static SUBNET: Scope = Scope {
    name: "subnet4",
    groups: &[
        &[
            key("id", Kind::Int(0, u32::MAX as i64 - 1)),
            key("subnet", Kind::Text).required(),
            key("pools", Kind::Maps(&POOL)).default(Default::Nothing),
            key("option-data", Kind::Maps(&OPTION_DATA)).default(Default::Nothing),
            key("reservations", Kind::Maps(&RESERVATION)).default(Default::Nothing),
            key("4o6-interface", Kind::Text).default(EMPTY).later(),
            key("4o6-interface-id", Kind::Text).default(EMPTY).later(),
            key("4o6-subnet", Kind::Text).default(EMPTY).later(),
        ],
        LINK,
        VALUES,
        LATER_VALUES,
        NAME_VALUES,
    ],
    free: true,
    filled: true,
};

/// What networks and subnets say about the link, and who may use them.
static LINK: &[Keyword] = &[
    key("interface", Kind::Text),
    key("relay", Kind::Map(&RELAY)).default(Default::Filled),
    key("client-class", Kind::Text).later(),
    key("client-classes", Kind::Texts).later(),
    key("require-client-classes", Kind::Texts).later(),
    key("evaluate-additional-classes", Kind::Texts).later(),
];

static RELAY: Scope = Scope {
    name: "relay",
    groups: &[&[
        key("ip-addresses", Kind::Ip4s).default(Default::Nothing),
        key("ip-address", Kind::Ip4),
    ]],
    free: false,
    filled: true,
};

/// `pools[]`.
pub(super) static POOL: Scope = Scope {
    name: "pools",
    groups: &[
        &[
            key("pool", Kind::Text).required(),
            key("pool-id", COUNT)
                .noted("statistics are not kept by pool yet; it is kept and shown"),
            key("option-data", Kind::Maps(&OPTION_DATA)).default(Default::Nothing),
            key("client-class", Kind::Text).later(),
            key("client-classes", Kind::Texts).later(),
            key("require-client-classes", Kind::Texts).later(),
            key("evaluate-additional-classes", Kind::Texts).later(),
        ],
        NAME_VALUES,
    ],
    free: true,
    filled: true,
};

/// `reservations[]`.
pub(super) static RESERVATION: Scope = Scope {
    name: "reservations",
    groups: &[&[
        key("hw-address", Kind::Text),
        key("client-id", Kind::Text),
        key("duid", Kind::Text).later(),
        key("circuit-id", Kind::Text).later(),
        key("flex-id", Kind::Text).later(),
        key("ip-address", Kind::Ip4),
        key("hostname", Kind::Short(255)).default(EMPTY),
        key("option-data", Kind::Maps(&OPTION_DATA)).default(Default::Nothing),
        key("next-server", Kind::Ip4).default(Default::Text("0.0.0.0")),
        key("server-hostname", Kind::Short(63)).default(EMPTY),
        key("boot-file-name", Kind::Short(128)).default(EMPTY),
        key("client-classes", Kind::Texts).default(Default::Nothing).later(),
    ]],
    free: true,
    filled: true,
};

/// `option-data[]`.
pub(super) static OPTION_DATA: Scope = Scope {
    name: "option-data",
    groups: &[&[
        key("name", Kind::Text),
        key("code", Kind::Int(0, 255)),
        key("space", Kind::Text).default(Default::Text("dhcp4")),
        key("data", Kind::Text).default(EMPTY),
        key("csv-format", FLAG),
        key("always-send", FLAG).default(NO),
        key("never-send", FLAG).default(NO),
        key("client-classes", Kind::Texts).default(Default::Nothing).later(),
    ]],
    free: true,
    filled: true,
};

static OPTION_DEF: Scope = Scope {
    name: "option-def",
    groups: &[&[
        key("name", Kind::Text).required(),
        key("code", Kind::Int(1, 254)).required(),
        key("type", Kind::Text).required(),
        key("space", Kind::Text),
        key("array", FLAG),
        key("record-types", Kind::Text),
        key("encapsulate", Kind::Text),
    ]],
    free: true,
    filled: true,
};

static CLASS: Scope = Scope {
    name: "client-classes",
    groups: &[
        &[
            key("name", Kind::Text).required(),
            key("test", Kind::Text),
            key("template-test", Kind::Text),
            key("only-in-additional-list", FLAG),
            key("only-if-required", FLAG),
            key("option-def", Kind::Maps(&OPTION_DEF)),
            key("option-data", Kind::Maps(&OPTION_DATA)),
            key("offer-lifetime", SECS),
        ],
        VALUES,
    ],
    free: true,
    filled: true,
};
