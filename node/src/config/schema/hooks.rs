//! `parameters` of the hooks that are built in (Kea manual, "Hook Libraries").

use super::*;

/// Hooks without parameters.
pub(in super::super) static NO_PARAMETERS: Scope =
    Scope { name: "parameters", groups: &[], free: true, filled: false };

/// `libdhcp_flex_id`.
pub(in super::super) static FLEX_ID: Scope = Scope {
    name: "flex_id",
    groups: &[&[
        key("identifier-expression", Kind::Text).required(),
        key("replace-client-id", FLAG).default(NO),
        key("ignore-iaid", FLAG).default(NO).noted("it concerns DHCPv6"),
        key("cid-as-rfc4361-duid", FLAG)
            .default(NO)
            .refused("client ids are not taken apart to look like those of DHCPv6"),
    ]],
    free: true,
    filled: false,
};

/// `libdhcp_flex_option`.
pub(in super::super) static FLEX_OPTION: Scope = Scope {
    name: "flex_option",
    groups: &[&[key("options", Kind::Maps(&FLEX_ENTRY)).required()]],
    free: true,
    filled: false,
};

static FLEX_ENTRY: Scope = Scope {
    name: "options",
    groups: &[FLEX_ACTION, &[key("sub-options", Kind::Maps(&FLEX_SUB))]],
    free: true,
    filled: false,
};

static FLEX_SUB: Scope = Scope {
    name: "sub-options",
    groups: &[
        FLEX_ACTION,
        &[key("container-add", FLAG).default(YES), key("container-remove", FLAG).default(YES)],
    ],
    free: true,
    filled: false,
};

static FLEX_ACTION: &[Keyword] = &[
    key("code", Kind::Int(0, 255)),
    key("name", Kind::Text),
    key("space", Kind::Text),
    key("csv-format", FLAG).default(NO),
    key("client-class", Kind::Text),
    key("add", Kind::Text),
    key("supersede", Kind::Text),
    key("remove", Kind::Text),
];

/// `libdhcp_ddns_tuning`: its class SKIP_DDNS is built in.
pub(in super::super) static DDNS_TUNING: Scope = Scope {
    name: "ddns_tuning",
    groups: &[&[key("hostname-expr", Kind::Text)
        .default(EMPTY)
        .refused("clients would be given other names")]],
    free: true,
    filled: false,
};

/// `libdhcp_run_script`.
pub(in super::super) static RUN_SCRIPT: Scope = Scope {
    name: "run_script",
    groups: &[&[
        key("name", Kind::Text).required(),
        key("sync", FLAG).default(NO).refused("no client waits for a script"),
    ]],
    free: true,
    filled: false,
};

/// `libdhcp_ping_check`, and `ping-check` in the `user-context` of a subnet.
pub(in super::super) static PING_CHECK: Scope = Scope {
    name: "ping_check",
    groups: &[&[
        key("enable-ping-check", FLAG).default(YES),
        key("min-ping-requests", Kind::Int(1, u32::MAX as i64)).default(Default::Int(1)),
        key("reply-timeout", Kind::Int(1, u32::MAX as i64)).default(Default::Int(100)),
        key("ping-cltt-secs", SECS).default(Default::Int(60)),
        key("ping-channel-threads", COUNT)
            .default(Default::Int(0))
            .noted("the number of threads is the node's own choice"),
    ]],
    free: true,
    filled: false,
};

/// `libdhcp_lease_cmds`.
pub(in super::super) static LEASE_CMDS: Scope = Scope {
    name: "lease_cmds",
    groups: &[&[key("binding-variables", Kind::Maps(&BINDING_VARIABLE))
        .noted("leases carry no variables of their own")]],
    free: true,
    filled: false,
};

static BINDING_VARIABLE: Scope = Scope {
    name: "binding-variables",
    groups: &[&[
        key("name", Kind::Text).required().echoed(),
        key("expression", Kind::Text).required().echoed(),
        key("source", Kind::Word(&["query", "response"])).echoed(),
        key("phase", Kind::Text).echoed(),
    ]],
    free: true,
    filled: false,
};

/// `libdhcp_perfmon`.
pub(in super::super) static PERFMON: Scope = Scope {
    name: "perfmon",
    groups: &[&[
        key("enable-monitoring", FLAG).echoed(),
        key("interval-width-secs", SECS).echoed(),
        key("stats-mgr-reporting", FLAG).echoed(),
        key("alarm-report-secs", SECS).echoed(),
        key("alarms", Kind::Maps(&ALARM)).echoed(),
    ]],
    free: true,
    filled: false,
};

static ALARM: Scope = Scope {
    name: "alarms",
    groups: &[&[
        key("duration-key", Kind::Free).required().echoed(),
        key("enable-alarm", FLAG).echoed(),
        key("high-water-ms", COUNT).echoed(),
        key("low-water-ms", COUNT).echoed(),
    ]],
    free: true,
    filled: false,
};

/// `libdhcp_ha`. The cluster takes its place, so all of it is kept and shown.
pub(in super::super) static HA: Scope = Scope {
    name: "ha",
    groups: &[&[key("high-availability", Kind::Maps(&RELATIONSHIP)).required().echoed()]],
    free: true,
    filled: false,
};

static RELATIONSHIP: Scope = Scope {
    name: "high-availability",
    groups: &[
        &[
            key("this-server-name", Kind::Text).required().echoed(),
            key("mode", Kind::Word(&["load-balancing", "hot-standby", "passive-backup"]))
                .required()
                .echoed(),
            key("peers", Kind::Maps(&PEER)).required().echoed(),
            key("heartbeat-delay", COUNT).echoed(),
            key("max-response-delay", COUNT).echoed(),
            key("max-ack-delay", COUNT).echoed(),
            key("max-unacked-clients", COUNT).echoed(),
            key("max-rejected-lease-updates", COUNT).echoed(),
            key("delayed-updates-limit", COUNT).echoed(),
            key("send-lease-updates", FLAG).echoed(),
            key("sync-leases", FLAG).echoed(),
            key("sync-timeout", COUNT).echoed(),
            key("sync-page-limit", COUNT).echoed(),
            key("wait-backup-ack", FLAG).echoed(),
            key("restrict-commands", FLAG).echoed(),
            key("multi-threading", Kind::Map(&HA_THREADS)).echoed(),
            key("state-machine", Kind::Map(&STATE_MACHINE)).echoed(),
        ],
        HA_TLS,
    ],
    free: true,
    filled: false,
};

static HA_TLS: &[Keyword] = &[
    key("trust-anchor", Kind::Text).echoed(),
    key("cert-file", Kind::Text).echoed(),
    key("key-file", Kind::Text).echoed(),
    key("require-client-certs", FLAG).echoed(),
];

static PEER: Scope = Scope {
    name: "peers",
    groups: &[
        &[
            key("name", Kind::Text).required().echoed(),
            key("url", Kind::Text).required().echoed(),
            key("role", Kind::Word(&["primary", "secondary", "standby", "backup"]))
                .required()
                .echoed(),
            key("auto-failover", FLAG).echoed(),
            key("basic-auth-user", Kind::Text).echoed(),
            key("basic-auth-password", Kind::Text).echoed(),
            key("basic-auth-password-file", Kind::Text).echoed(),
        ],
        HA_TLS,
    ],
    free: true,
    filled: false,
};

static HA_THREADS: Scope = Scope {
    name: "multi-threading",
    groups: &[&[
        key("enable-multi-threading", FLAG).echoed(),
        key("http-dedicated-listener", FLAG).echoed(),
        key("http-listener-threads", COUNT).echoed(),
        key("http-client-threads", COUNT).echoed(),
    ]],
    free: true,
    filled: false,
};

static STATE_MACHINE: Scope = Scope {
    name: "state-machine",
    groups: &[&[key("states", Kind::Maps(&HA_STATE)).echoed()]],
    free: true,
    filled: false,
};

static HA_STATE: Scope = Scope {
    name: "states",
    groups: &[&[
        key("state", Kind::Text).required().echoed(),
        key("pause", Kind::Word(&["never", "once", "always"])).echoed(),
    ]],
    free: true,
    filled: false,
};
