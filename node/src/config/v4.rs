//! The sections of `Dhcp4` → the typed model.
//!
//! Runs after [`super::check`] and [`super::spelling`], so it reports only what the tables cannot know,
//! steps over what they have reported, and knows one spelling of each keyword.

use std::sync::{Arc, OnceLock};

use super::guards::Guards;
use super::host_list::Tally;
use super::json::{Element, Map};
use super::lookup::Lookup;
use super::mistake::{Path, Report};
use super::model::{Config, PingCheck, Samples, Unshown};
use super::naming::Namer;
use super::networks::Networks;
use super::resolve::{self, Chain};
use super::{classes, global, hooks, networks, option_data, option_def, own, reservations};
use crate::options::Definitions;
use crate::types::SubnetId;

/// What is read before networks and counts inside them.
pub(super) struct Context<'a> {
    pub(super) report: &'a mut Report,
    pub(super) definitions: &'a Definitions,
    pub(super) guards: &'a mut Guards,
    pub(super) namer: &'a mut Namer,
    /// `ip-reservations-unique`.
    pub(super) unique_addresses: bool,
    /// `libdhcp_ping_check`, if it is loaded.
    pub(super) ping_check: Option<PingCheck>,
    /// Whether `libdhcp_ddns_tuning` is loaded.
    pub(super) ddns_tuning: bool,
}

/// The model of a checked document. The caller adds the text, where reservations stand in it and how
/// many there are. Whoever calls looks at the report before
/// using it.
pub(super) fn build(element: &Element, dhcp4: &Map, report: &mut Report) -> Config {
    let path = Path::Key(&Path::Root, "Dhcp4");
    let global = Chain::global(dhcp4);
    resolve::check(element, &global, &path, report);
    let definitions = option_def::read(dhcp4, option_def::Level::Global, &path, report);
    let classes = classes::read(dhcp4, &definitions, &path, report);
    let hooks = hooks::read(dhcp4, &definitions, &path, report);
    let hosts = global::host_lookup(dhcp4, &global, &path, report);
    let ddns = global::ddns(dhcp4, &path, report);
    let (mut guards, mut namer) = (Guards::default(), Namer::new(ddns.enabled));
    let Networks { networks, subnets, by_id } = networks::read(
        dhcp4,
        &global,
        &path,
        Context {
            report,
            definitions: &definitions,
            guards: &mut guards,
            namer: &mut namer,
            unique_addresses: hosts.unique_addresses,
            ping_check: hooks.ping_check,
            ddns_tuning: hooks::is_loaded(dhcp4, "libdhcp_ddns_tuning"),
        },
    );
    let everywhere = reservations::Owner {
        id: SubnetId(0),
        prefix: None,
        unique_addresses: hosts.unique_addresses,
    };
    let reservations = reservations::read(dhcp4, everywhere, &definitions, &path, report);
    let hosts_of = subnets.iter().map(|subnet| &subnet.reservations).chain([&reservations]);
    let assigned = hosts_of.flat_map(|all| all.iter()).flat_map(|host| host.classes());
    guards.finish(|name| classes::can_match(&classes, name), assigned, report);
    Config {
        interfaces: global::interfaces(dhcp4, &path, report),
        decline_probation: global.secs("decline-probation-period").unwrap_or_default(),
        echo_client_id: global.flag("echo-client-id"),
        expired: global::expired(dhcp4),
        options: option_data::read(dhcp4, &definitions, &path, report),
        authoritative: global.flag("authoritative"),
        classes: Arc::new(classes),
        definitions: Arc::new(definitions),
        hosts,
        reservations,
        stash_agent_options: global.flag("stash-agent-options"),
        compatibility: global::compatibility(dhcp4),
        multi_threading: global::multi_threading(dhcp4),
        ddns,
        samples: Samples {
            count: global.secs("statistic-default-sample-count").unwrap_or_default(),
            age: global.secs("statistic-default-sample-age").unwrap_or_default(),
        },
        new_clients: own::new_clients(dhcp4, &path, report),
        hooks: Arc::new(hooks),
        lookup: Arc::new(Lookup::new(&networks, &subnets)),
        tally: Tally::default(),
        names_classes: false,
        networks: Arc::new(networks),
        subnets,
        by_id: Arc::new(by_id),
        base: Unshown("".into()),
        document: Unshown(Arc::new(OnceLock::new())),
        hash: Arc::new(OnceLock::new()),
    }
}
