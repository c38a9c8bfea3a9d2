//! Options, their definitions, and client classes.

use super::*;

/// `option-data[]`.
pub(super) static OPTION_DATA: Scope = Scope {
    name: "option-data",
    groups: &[&[
        key("name", Kind::Text),
        key("code", COUNT),
        key("space", Kind::Text).default(Default::Text("dhcp4")),
        key("data", Kind::Text).default(EMPTY),
        key("csv-format", FLAG).remark("Without it: true if the option has a definition."),
        key("always-send", FLAG).default(NO),
        key("never-send", FLAG).default(NO),
        key("client-classes", Kind::Texts),
    ]],
    free: true,
    filled: true,
};

/// `option-def[]`.
pub(super) static OPTION_DEF: Scope = Scope {
    name: "option-def",
    groups: &[&[
        key("name", Kind::Text).required(),
        key("code", COUNT).required(),
        key("type", Kind::Text).required(),
        key("space", Kind::Text).default(Default::Text("dhcp4")),
        key("array", FLAG).default(NO),
        key("record-types", Kind::Text).default(EMPTY),
        key("encapsulate", Kind::Text).default(EMPTY),
    ]],
    free: true,
    filled: true,
};

/// `client-classes[]`.
pub(in super::super) static CLASS: Scope = Scope {
    name: "client-classes",
    groups: &[&[
        key("name", Kind::Text).required(),
        key("test", Kind::Text),
        key("template-test", Kind::Text),
        key("only-in-additional-list", FLAG),
        key("only-if-required", FLAG).old(&["only-in-additional-list"]),
        key("option-def", Kind::Maps(&OPTION_DEF)).default(Default::Nothing),
        key("option-data", Kind::Maps(&OPTION_DATA)).default(Default::Nothing),
        key("next-server", Kind::Ip4).default(Default::Text("0.0.0.0")),
        key("server-hostname", Kind::Short(63)).default(EMPTY),
        key("boot-file-name", Kind::Short(128)).default(EMPTY),
        key("valid-lifetime", Kind::Int(1, u32::MAX as i64)),
        key("min-valid-lifetime", SECS),
        key("max-valid-lifetime", SECS),
        key("offer-lifetime", SECS),
    ]],
    free: true,
    filled: true,
};
