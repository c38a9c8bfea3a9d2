//! `hooks-libraries`: which of Kea's hooks are built in, which mean nothing here, and which would
//! change what clients get if they were left out (Kea manual, "Hook Libraries").

use super::json::{Element, Map};
use super::mistake::{Path, Report};

/// What becomes of a hook.
enum Hook {
    /// Its commands or functions are part of the server.
    BuiltIn,
    /// It serves something that a cluster does not have.
    Idle(&'static str),
    /// It would change what clients get.
    Later,
}

/// Base names of the libraries.
static HOOKS: &[(&str, Hook)] = &[
    ("libdhcp_lease_cmds", Hook::BuiltIn),
    ("libdhcp_stat_cmds", Hook::BuiltIn),
    ("libdhcp_host_cmds", Hook::BuiltIn),
    ("libdhcp_subnet_cmds", Hook::BuiltIn),
    ("libdhcp_class_cmds", Hook::BuiltIn),
    (
        "libdhcp_ha",
        Hook::Idle("the cluster replicates every lease; its peers and timers are not used"),
    ),
    ("libdhcp_perfmon", Hook::Idle("durations are in the metrics")),
    ("libdhcp_mysql", Hook::Idle("leases are kept by the cluster itself")),
    ("libdhcp_pgsql", Hook::Idle("leases are kept by the cluster itself")),
    ("libdhcp_mysql_cb", Hook::Idle("the configuration is replicated")),
    ("libdhcp_pgsql_cb", Hook::Idle("the configuration is replicated")),
    ("libdhcp_cb_cmds", Hook::Idle("the configuration is replicated")),
    ("libdhcp_host_cache", Hook::Idle("reservations are in memory")),
    ("libdhcp_flex_id", Hook::Later),
    ("libdhcp_flex_option", Hook::Later),
    ("libdhcp_bootp", Hook::Later),
    ("libdhcp_run_script", Hook::Later),
    ("libdhcp_ping_check", Hook::Later),
    ("libdhcp_limits", Hook::Later),
    ("libdhcp_legal_log", Hook::Later),
    ("libdhcp_ddns_tuning", Hook::Later),
    ("libdhcp_lease_query", Hook::Later),
    ("libdhcp_radius", Hook::Later),
    ("libdhcp_user_chk", Hook::Later),
    ("libdhcp_rbac", Hook::Later),
];

/// Reports the hooks that cannot be honoured, and notes those that are not needed.
pub(super) fn check(dhcp4: &Map, path: &Path<'_>, report: &mut Report) {
    let path = Path::Key(path, "hooks-libraries");
    for (at, element) in
        dhcp4.get("hooks-libraries").map(Element::list).unwrap_or_default().iter().enumerate()
    {
        let path = Path::Index(&path, at);
        let Some(library) = element.map().and_then(|entry| entry.get("library")) else { continue };
        let Some(name) = library.text() else { continue };
        let file = name.rsplit('/').next().unwrap_or_default();
        let base = file.strip_suffix(".so").unwrap_or(file);
        match HOOKS.iter().find(|(known, _)| *known == base) {
            Some((_, Hook::BuiltIn)) => {
                report.warning(
                    library.at,
                    &path,
                    format!("hook library '{base}' is built in; the file is not loaded"),
                );
            }
            Some((_, Hook::Idle(why))) => {
                report.warning(
                    library.at,
                    &path,
                    format!("hook library '{base}' is not needed: {why}"),
                );
            }
            Some((_, Hook::Later)) => {
                report.error(
                    library.at,
                    &path,
                    format!("hook library '{base}' is not supported by this version"),
                );
            }
            None => report.error(
                library.at,
                &path,
                format!("hook library '{base}' is unknown, and what it does would be missing"),
            ),
        }
    }
}
