//! Every command of the API, one line each. `list-commands` and the reference page come from here.

use super::commands::{
    alarm, circuit, class, cluster, config, config_file, drain, ha, hash_check, history,
    lease_history, lease4, log_measure, network4, node, node_token, policy, process, recovery,
    reservation, select_test, service, stat_lease4, statistics, subnet4, upgrade,
};
use super::spec::Spec;

/// All commands, ascending by name.
pub const COMMANDS: &[Spec] = &[
    process::BUILD_REPORT,
    class::ADD,
    class::DEL,
    class::GET,
    class::LIST,
    class::UPDATE,
    alarm::ACK,
    alarm::LIST,
    circuit::LIST,
    hash_check::CHECK,
    cluster::LEADER_TRANSFER,
    log_measure::MEASURE,
    node::ADD,
    node::DEMOTE,
    drain::DRAIN,
    node::LIST,
    node::PROMOTE,
    node::REMOVE,
    drain::UNDRAIN,
    policy::GET,
    policy::SET,
    recovery::END,
    recovery::STATUS,
    cluster::STATUS,
    node_token::CREATE,
    node_token::LIST,
    node_token::REVOKE,
    upgrade::FINALIZE,
    upgrade::STATUS,
    config_file::BACKEND_PULL,
    history::DIFF,
    config::GET,
    config::HASH_GET,
    history::LIST,
    history::GET,
    config_file::RELOAD,
    history::ROLLBACK,
    config::SET,
    config::TEST,
    config_file::WRITE,
    service::DISABLE,
    service::ENABLE,
    ha::CONTINUE,
    ha::HEARTBEAT,
    ha::MAINTENANCE_CANCEL,
    ha::MAINTENANCE_NOTIFY,
    ha::MAINTENANCE_START,
    ha::RESET,
    ha::SCOPES,
    ha::SYNC,
    ha::SYNC_COMPLETE,
    process::INTERFACE_LIST,
    process::INTERFACE_REDETECT,
    process::LFC_START,
    lease_history::GET,
    lease4::ADD,
    lease4::BULK_APPLY,
    lease4::DEL,
    lease4::GET,
    lease4::GET_ALL,
    lease4::GET_BY_CLIENT_ID,
    lease4::GET_BY_HOSTNAME,
    lease4::GET_BY_HW_ADDRESS,
    lease4::GET_BY_STATE,
    lease4::GET_PAGE,
    lease4::RESEND_DDNS,
    lease4::UPDATE,
    lease4::WIPE,
    lease4::WRITE,
    service::RECLAIM,
    process::LIST_COMMANDS,
    network4::ADD,
    network4::DEL,
    network4::GET,
    network4::LIST,
    network4::SUBNET_ADD,
    network4::SUBNET_DEL,
    reservation::ADD,
    reservation::DEL,
    reservation::GET,
    reservation::GET_ALL,
    reservation::GET_BY_ADDRESS,
    reservation::GET_BY_HOSTNAME,
    reservation::GET_BY_ID,
    reservation::GET_PAGE,
    reservation::UPDATE,
    process::SERVER_TAG_GET,
    process::SHUTDOWN,
    stat_lease4::GET,
    statistics::GET,
    statistics::GET_ALL,
    statistics::GLOBAL_GET_ALL,
    statistics::REMOVE,
    statistics::REMOVE_ALL,
    statistics::RESET,
    statistics::RESET_ALL,
    statistics::SAMPLE_AGE_SET,
    statistics::SAMPLE_AGE_SET_ALL,
    statistics::SAMPLE_COUNT_SET,
    statistics::SAMPLE_COUNT_SET_ALL,
    process::STATUS_GET,
    subnet4::ADD,
    subnet4::DEL,
    subnet4::DELTA_ADD,
    subnet4::DELTA_DEL,
    subnet4::GET,
    subnet4::LIST,
    select_test::SELECT_TEST,
    subnet4::UPDATE,
    process::VERSION_GET,
];

/// The command of this name.
pub fn find(name: &str) -> Option<&'static Spec> {
    COMMANDS.binary_search_by(|spec| spec.name.cmp(name)).ok().map(|at| &COMMANDS[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_ascend_and_every_command_is_found() {
        assert!(COMMANDS.windows(2).all(|pair| pair[0].name < pair[1].name));
        for spec in COMMANDS {
            assert_eq!(find(spec.name).map(|found| found.name), Some(spec.name));
        }
        assert!(find("nope").is_none());
    }
}
