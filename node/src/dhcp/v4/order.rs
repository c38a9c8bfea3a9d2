//! Kea's order: what is found out about a packet one after the other, since each step can change the
//! next (`kea-config.md` §6.2). Classes before a subnet, the subnet, its reservation, classes that depend on
//! it; what an address adds is [`super::Exchange::settled`]'s.

use super::classify::{self, Classifier};
use super::host;
use super::packet::{Packet, Reading};
use crate::config::{Config, Reservation, Subnet};
use crate::dhcp::decision::Reason;
use crate::state::{Client, View, global_host, host_of};
use crate::types::{ClassSet, ClusterTime};

static NO_CLASS: ClassSet = ClassSet::new();

/// Kea's order, as far as the packet alone goes: what a hook or a lease puts in place of what it says,
/// its classes, and with `early-global-reservations-lookup` its global reservation, so that the
/// classes of that can select the subnet. Returns whether there was one.
pub fn first_classes(
    packet: &Packet,
    reading: &mut Reading,
    config: &Config,
    view: View<'_>,
    now: ClusterTime,
) -> Result<(ClassSet, bool), Reason> {
    if config.stash_agent_options {
        reading.recover_relay_info(packet, view, now);
    }
    let flex_id = config.hooks.flex_id.as_ref();
    if let Some(flex_id) = flex_id.filter(|flex_id| flex_id.replace_client_id) {
        // Before any class is known, as in Kea.
        let value = Classifier { packet, reading, config }.identity(&flex_id.expression, &NO_CLASS);
        reading.replace_client_id(&value);
    }
    let classifier = Classifier { packet, reading, config };
    let mut classes = classifier.at_first();
    if classes.contains(classify::DROP) {
        return Err(Reason::DropClass);
    }
    let claims = host::claims(config, reading, || {
        flex_id.map_or(Vec::new(), |flex_id| classifier.identity(&flex_id.expression, &classes))
    });
    reading.claims = claims;
    if !config.hosts.early_global {
        return Ok((classes, false));
    }
    let Some(host) = global_host(config, &reading.client(true)) else {
        return Ok((classes, false));
    };
    let classifier = Classifier { packet, reading, config };
    if !host.classes().is_empty() {
        classifier.add(&mut classes, host.classes());
        classifier.retest(&mut classes);
    }
    classifier.knowing(&mut classes, true);
    if classes.contains(classify::DROP) {
        return Err(Reason::DropClass);
    }
    Ok((classes, true))
}

/// Kea's order behind the choice of a subnet: the reservation, its classes, KNOWN or UNKNOWN, and the
/// classes that depend on them. What a reservation in a shared network brings comes after an
/// address is found, since that may lie in another member.
pub fn known_classes(
    packet: &Packet,
    reading: &Reading,
    config: &Config,
    subnet: Option<&Subnet>,
    client: &Client,
    early: bool,
    classes: &mut ClassSet,
) {
    let classifier = Classifier { packet, reading, config };
    let Some(subnet) = subnet else { return classifier.knowing(classes, early) };
    let shared = config.network_of(subnet).name.is_some();
    let host = host_of(config, subnet, client);
    let has_classes = |host: &Reservation| !host.classes().is_empty();
    let global = || global_host(config, client).filter(|_| subnet.values.reservations.global);
    if host.is_some_and(has_classes) && !shared || !early && global().is_some_and(has_classes) {
        classifier.with_reserved(classes, host.map_or(&[], Reservation::classes));
    }
    if !config.names_classes() {
        return;
    }
    let in_member = || {
        members(config, subnet, classes)
            .any(|member| member.id != subnet.id && host_of(config, member, client).is_some())
    };
    let known = early || host.is_some() || shared && in_member();
    classifier.knowing(classes, known);
}

/// The subnets that serve a client in these classes, the selected one first and the others round the
/// list of its network from there, as in Kea.
pub fn members<'a>(
    config: &'a Config,
    selected: &'a Subnet,
    classes: &ClassSet,
) -> impl Iterator<Item = &'a Subnet> {
    let all = || config.members(selected.network);
    let at = all().position(|member| member.id == selected.id).unwrap_or(0);
    let open = move |member: &&Subnet| member.id == selected.id || config.admits(member, classes);
    all().skip(at).chain(all().take(at)).filter(open)
}
