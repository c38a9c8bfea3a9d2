//! `hooks-libraries`: which of Kea's hooks are built in and with which parameters, which mean nothing
//! here, and which would change what clients get if they were left out (Kea manual, "Hook Libraries").

mod flex_option;

use super::classes;
use super::json::{Element, Map};
use super::mistake::{Path, Report};
use super::model::{FlexId, Hooks, PingCheck, RunScript};
use super::schema::{self, Default, Scope};
use crate::options::Definitions;

/// What becomes of a hook.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    /// Its commands or functions are part of the server.
    BuiltIn,
    /// It serves something that a cluster does not have; why.
    Idle(&'static str),
    /// It would change what clients get, or what is on record of them; why it is not there.
    Refused(&'static str),
}

/// A hook library by its base name.
#[derive(Debug)]
pub(super) struct Hook {
    pub(super) name: &'static str,
    pub(super) fate: Fate,
    /// What its parameters may be; `None`: they are not looked at.
    pub(super) parameters: Option<&'static Scope>,
}

const fn built_in(name: &'static str, parameters: &'static Scope) -> Hook {
    Hook { name, fate: Fate::BuiltIn, parameters: Some(parameters) }
}

const fn idle(name: &'static str, why: &'static str) -> Hook {
    Hook { name, fate: Fate::Idle(why), parameters: None }
}

const fn refused(name: &'static str, why: &'static str) -> Hook {
    Hook { name, fate: Fate::Refused(why), parameters: None }
}

const OWN_STORE: &str = "leases are kept by the cluster itself";
const OWN_CONFIG: &str = "the configuration is replicated";

/// All hooks of Kea that a DHCPv4 server loads.
pub(super) static HOOKS: &[Hook] = &[
    built_in("libdhcp_lease_cmds", &schema::LEASE_CMDS),
    built_in("libdhcp_stat_cmds", &schema::NO_PARAMETERS),
    built_in("libdhcp_host_cmds", &schema::NO_PARAMETERS),
    built_in("libdhcp_subnet_cmds", &schema::NO_PARAMETERS),
    built_in("libdhcp_class_cmds", &schema::NO_PARAMETERS),
    built_in("libdhcp_flex_id", &schema::FLEX_ID),
    built_in("libdhcp_flex_option", &schema::FLEX_OPTION),
    built_in("libdhcp_bootp", &schema::NO_PARAMETERS),
    built_in("libdhcp_run_script", &schema::RUN_SCRIPT),
    built_in("libdhcp_ping_check", &schema::PING_CHECK),
    built_in("libdhcp_ddns_tuning", &schema::DDNS_TUNING),
    Hook {
        parameters: Some(&schema::HA),
        ..idle(
            "libdhcp_ha",
            "the cluster replicates every lease; its peers and timers are not used",
        )
    },
    Hook {
        parameters: Some(&schema::PERFMON),
        ..idle("libdhcp_perfmon", "durations are in the metrics")
    },
    idle("libdhcp_mysql", OWN_STORE),
    idle("libdhcp_pgsql", OWN_STORE),
    idle("libdhcp_mysql_cb", OWN_CONFIG),
    idle("libdhcp_pgsql_cb", OWN_CONFIG),
    idle("libdhcp_cb_cmds", OWN_CONFIG),
    idle("libdhcp_host_cache", "reservations are in memory"),
    refused("libdhcp_limits", "limits of rates and leases are not there yet"),
    refused("libdhcp_legal_log", "the record that the law may ask for would be missing"),
    refused("libdhcp_lease_query", "lease queries are not answered yet"),
    refused("libdhcp_radius", "clients that RADIUS refuses would be served"),
    refused("libdhcp_user_chk", "clients that its registry does not know would be served"),
    refused("libdhcp_rbac", "commands that its roles forbid would be carried out"),
];

/// `libdhcp_ha` of `/usr/lib/kea/hooks/libdhcp_ha.so`; up to Kea 2.7 full paths are written, later names.
pub(super) fn base_name(library: &str) -> &str {
    let file = library.trim().rsplit('/').next().unwrap_or_default();
    file.strip_suffix(".so").unwrap_or(file)
}

/// The hook called so.
fn hook(name: &str) -> Option<&'static Hook> {
    HOOKS.iter().find(|hook| hook.name == name)
}

/// The table of the hook's parameters.
pub(super) fn parameters(name: &str) -> Option<&'static Scope> {
    hook(name)?.parameters
}

/// Whether the document loads the hook.
pub(super) fn is_loaded(dhcp4: &Map, name: &str) -> bool {
    let mut entries = dhcp4.get("hooks-libraries").map(Element::list).unwrap_or_default().iter();
    entries.any(|entry| {
        let library = entry.map().and_then(|entry| entry.get("library")).and_then(Element::text);
        library.is_some_and(|library| base_name(library) == name)
    })
}

/// The hooks that are built in and have parameters. Reports those that cannot be honoured, and notes
/// those that are not needed.
pub(super) fn read(
    dhcp4: &Map,
    definitions: &Definitions,
    path: &Path<'_>,
    report: &mut Report,
) -> Hooks {
    let path = Path::Key(path, "hooks-libraries");
    let mut hooks = Hooks::default();
    let list = dhcp4.get("hooks-libraries").map(Element::list).unwrap_or_default();
    for (at, element) in list.iter().enumerate() {
        let path = Path::Index(&path, at);
        let Some(entry) = element.map() else { continue };
        let Some((at, library)) =
            entry.get("library").and_then(|library| Some((library.at, library.text()?)))
        else {
            continue;
        };
        let name = base_name(library);
        if name.is_empty() {
            let text =
                "hooks library configuration error: value of 'library' element must not be blank";
            report.error(at, &path, text);
            continue;
        }
        match hook(name).map(|hook| hook.fate) {
            // Nothing is different from what the operator expects, so there is nothing to say.
            Some(Fate::BuiltIn) => {}
            Some(Fate::Idle(why)) => {
                report.warning(at, &path, format!("hook library '{name}' is not needed: {why}"));
            }
            Some(Fate::Refused(why)) => {
                report.error(at, &path, format!("hook library '{name}' is not supported: {why}"));
            }
            None => report.error(
                at,
                &path,
                format!("hook library '{name}' is unknown, and what it does would be missing"),
            ),
        }
        let empty = Map::default();
        let parameters = entry.get("parameters").and_then(Element::map).unwrap_or(&empty);
        let path = Path::Key(&path, "parameters");
        let text = |key| parameters.get(key).and_then(Element::text);
        match name {
            "libdhcp_flex_id" => hooks.flex_id = flex_id(parameters, definitions, &path, report),
            "libdhcp_flex_option" => {
                hooks.flex_option = flex_option::read(parameters, definitions, &path, report);
            }
            "libdhcp_bootp" => hooks.bootp = true,
            "libdhcp_run_script" => match text("name") {
                Some("") => report.error(at, &path, "'name' of run_script must not be empty"),
                name => hooks.run_script = name.map(|name| RunScript { path: name.to_owned() }),
            },
            "libdhcp_ha" => {
                hooks.high_availability = true;
                let relationships = parameters.get("high-availability");
                if let Some(relationships) = relationships.filter(|list| list.list().len() > 1) {
                    let text = "all relationships become one cluster, which serves all subnets";
                    report.warning(relationships.at, &path, text);
                }
            }
            "libdhcp_ping_check" => hooks.ping_check = Some(ping_check(parameters, None)),
            _ => {}
        }
    }
    hooks
}

fn flex_id(
    parameters: &Map,
    definitions: &Definitions,
    path: &Path<'_>,
    report: &mut Report,
) -> Option<FlexId> {
    let element = parameters.get("identifier-expression")?;
    let path = Path::Key(path, "identifier-expression");
    Some(FlexId {
        expression: classes::text(element, definitions, &path, report)?,
        replace_client_id: parameters
            .get("replace-client-id")
            .and_then(Element::bool)
            .unwrap_or_default(),
    })
}

/// The parameters of ping_check over those of `outer`.
pub(super) fn ping_check(parameters: &Map, outer: Option<PingCheck>) -> PingCheck {
    let int = |key: &str, outer: Option<u32>| {
        let given = parameters.get(key).and_then(Element::int);
        let default = match schema::PING_CHECK.keyword(key).map(|row| row.default) {
            Some(Default::Int(int)) => int,
            _ => 0,
        };
        let value = given.or(outer.map(i64::from)).unwrap_or(default);
        u32::try_from(value).unwrap_or(u32::MAX)
    };
    PingCheck {
        enabled: parameters
            .get("enable-ping-check")
            .and_then(Element::bool)
            .unwrap_or(outer.is_none_or(|outer| outer.enabled)),
        requests: int("min-ping-requests", outer.map(|outer| outer.requests)),
        reply_timeout: int("reply-timeout", outer.map(|outer| outer.reply_timeout)),
        cltt_secs: int("ping-cltt-secs", outer.map(|outer| outer.cltt_secs)),
    }
}
