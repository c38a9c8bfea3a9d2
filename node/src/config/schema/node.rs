//! Maps that belong to the node or to programs beside the server: kept and shown.

use super::*;

pub(super) static CONTROL_SOCKET: Scope = Scope {
    name: "control-socket",
    groups: &[&[
        key("socket-type", Kind::Word(&["unix", "http", "https"])).required().echoed(),
        key("socket-name", Kind::Text).echoed(),
        key("socket-address", Kind::Text).echoed(),
        key("socket-port", PORT).echoed(),
        key("trust-anchor", Kind::Text)
            .echoed()
            .remark("A PEM file or a directory of them; read again on SIGHUP"),
        key("cert-file", Kind::Text).echoed().remark("Read again on SIGHUP"),
        key("key-file", Kind::Text).echoed().remark("Read again on SIGHUP"),
        key("cert-required", FLAG).echoed().remark("`true` without it, as in Kea"),
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
        key("directory", Kind::Text)
            .echoed()
            .remark("Without it, the directory of the configuration file"),
        key("clients", Kind::Maps(&AUTH_CLIENT)).echoed().remark(
            "`user-context: {\"role\": \"read\"}` of a client lets it ask and change nothing",
        ),
    ]],
    free: true,
    filled: false,
};

static AUTH_CLIENT: Scope = Scope {
    name: "clients",
    groups: &[&[
        key("user", Kind::Text).echoed(),
        key("password", Kind::Text)
            .echoed()
            .remark("Never shown; in a document that is set, `*****` stands for what is there"),
        key("user-file", Kind::Text).echoed(),
        key("password-file", Kind::Text)
            .echoed()
            .remark("Read again on SIGHUP; alone it holds `user:password`"),
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

pub(super) static DATABASE: Scope = Scope {
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

pub(super) static CONFIG_CONTROL: Scope = Scope {
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

pub(super) static LOGGER: Scope = Scope {
    name: "loggers",
    groups: &[&[
        key("name", Kind::Text).required().echoed(),
        key("severity", Kind::Word(SEVERITIES)).echoed(),
        key("debuglevel", Kind::Int(0, 99)).echoed(),
        key("output-options", Kind::Maps(&LOG_OUTPUT)).echoed(),
        key("output_options", Kind::Maps(&LOG_OUTPUT)).old(&["output-options"]),
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

pub(super) static MULTI_THREADING: Scope = Scope {
    name: "multi-threading",
    groups: &[&[
        key("enable-multi-threading", FLAG).default(YES).echoed(),
        key("thread-pool-size", COUNT).default(Default::Int(0)).echoed(),
        key("packet-queue-size", COUNT).default(Default::Int(64)).echoed(),
    ]],
    free: true,
    filled: true,
};

pub(super) static QUEUE: Scope = Scope {
    name: "dhcp-queue-control",
    groups: &[&[
        key("enable-queue", FLAG).default(NO).echoed(),
        key("queue-type", Kind::Text).default(Default::Text("kea-ring4")).echoed(),
        key("capacity", COUNT).default(Default::Int(64)).echoed(),
    ]],
    free: true,
    filled: true,
};

pub(super) static SANITY: Scope = Scope {
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

pub(super) static HOOK: Scope = Scope {
    name: "hooks-libraries",
    groups: &[&[key("library", Kind::Text).required(), key("parameters", Kind::Free).echoed()]],
    free: true,
    filled: false,
};
