//! The sections of `Dhcp4` → the typed model.
//!
//! Runs after [`super::check`], so it reports only what the tables cannot know, and steps
//! over what they have reported.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, OnceLock};

use super::json::{Element, Map, Member, Position, Value};
use super::lookup::Lookup;
use super::mistake::{Path, Report};
use super::model::{Config, Network, NetworkIndex, OptionSet, Pool, Subnet, SubnetIndex};
use super::resolve::{self, Chain};
use super::{global, hooks, option_data, reservations};
use crate::types::{Prefix, Range, SubnetId};

/// Gives every subnet without an id (or with 0) the next number, as Kea up to 2.4 did: members of
/// shared networks first, then the others, in order of appearance. The numbers become part of the
/// document, because leases refer to them.
pub(super) fn freeze_ids(dhcp4: &mut Map, path: &Path<'_>, report: &mut Report) {
    let mut next = 0;
    let mut first: Option<Position> = None;
    let mut freeze = |list: &mut Element| {
        let Value::List(list) = &mut list.value else { return };
        for subnet in list {
            let at = subnet.at;
            let Value::Map(map) = &mut subnet.value else { continue };
            let id = Value::Int(next + 1);
            match map.members.iter_mut().find(|member| member.key == "id") {
                Some(member) if matches!(member.value.value, Value::Int(0)) => {
                    member.value.value = id
                }
                Some(_) => continue,
                None => {
                    map.members.insert(
                        0,
                        Member { key: "id".to_owned(), at, value: Element { at, value: id } },
                    );
                }
            }
            next += 1;
            first.get_or_insert(at);
        }
    };
    for member in dhcp4.members.iter_mut().filter(|member| member.key == "shared-networks") {
        let Value::List(networks) = &mut member.value.value else { continue };
        for network in networks {
            let Value::Map(network) = &mut network.value else { continue };
            network
                .members
                .iter_mut()
                .filter(|member| member.key == "subnet4")
                .for_each(|m| freeze(&mut m.value));
        }
    }
    dhcp4
        .members
        .iter_mut()
        .filter(|member| member.key == "subnet4")
        .for_each(|m| freeze(&mut m.value));
    if let Some(first) = first {
        let text = format!(
            "subnets without 'id': {next}. They are numbered from 1 in order of appearance; write the \
             numbers down, since leases refer to them"
        );
        report.warning(first, path, text);
    }
}

/// The model of a checked document, which the caller adds. Whoever calls looks at the report before
/// using it.
pub(super) fn build(element: &Element, dhcp4: &Map, report: &mut Report) -> Config {
    let path = Path::Key(&Path::Root, "Dhcp4");
    let global = Chain::global(dhcp4);
    resolve::check(element, &global, &path, report);
    let mut builder = Builder {
        report,
        networks: Vec::new(),
        subnets: Vec::new(),
        by_id: HashMap::new(),
        prefixes: HashMap::new(),
    };
    builder.shared_networks(dhcp4, &global, &path);
    builder.lone_subnets(dhcp4, &global, &path);
    builder.warn_of_overlaps();
    let Builder { report, networks, subnets, by_id, .. } = builder;
    let subnets: Vec<Subnet> = subnets.into_iter().map(|placed| placed.subnet).collect();
    hooks::check(dhcp4, &path, report);
    Config {
        interfaces: global::interfaces(dhcp4, &path, report),
        decline_probation: global.secs("decline-probation-period").unwrap_or_default(),
        echo_client_id: global.flag("echo-client-id"),
        expired: global::expired(dhcp4),
        options: option_data::read(dhcp4, &path, report),
        authoritative: global.flag("authoritative"),
        lookup: Lookup::new(&networks, &subnets),
        networks,
        subnets,
        by_id,
        document: Arc::new(serde_json::Value::Null),
        hash: Arc::new(OnceLock::new()),
    }
}

struct Builder<'a> {
    report: &'a mut Report,
    networks: Vec<Network>,
    subnets: Vec<Placed>,
    by_id: HashMap<SubnetId, SubnetIndex>,
    prefixes: HashMap<Prefix, SubnetId>,
}

/// A subnet and where it stands, for warnings that concern several.
struct Placed {
    subnet: Subnet,
    at: Position,
    path: String,
}

impl Builder<'_> {
    fn shared_networks(&mut self, dhcp4: &Map, global: &Chain<'_>, path: &Path<'_>) {
        let path = Path::Key(path, "shared-networks");
        let mut names = HashSet::new();
        for (at, element) in list(dhcp4, "shared-networks").iter().enumerate() {
            let path = Path::Index(&path, at);
            let Some(map) = element.map() else { continue };
            let name = map.get("name").and_then(Element::text).unwrap_or_default();
            if name.is_empty() && map.get("name").is_some_and(|name| name.text().is_some()) {
                self.report.error(
                    element.at,
                    &path,
                    "Shared-network is missing mandatory 'name' parameter",
                );
            } else if !names.insert(name) && !name.is_empty() {
                self.report.error(
                    element.at,
                    &path,
                    format!("duplicate network '{name}' found in the configuration"),
                );
            }
            let chain = global.inside(map);
            resolve::check(element, &chain, &path, self.report);
            let index = NetworkIndex(self.networks.len());
            self.networks.push(Network {
                name: Some(name.to_owned()),
                subnets: Vec::new(),
                options: option_data::read(map, &path, self.report),
                relays: relays(map, &path, self.report),
                interface: interface(map),
            });
            let subnets = Path::Key(&path, "subnet4");
            for (at, subnet) in list(map, "subnet4").iter().enumerate() {
                self.subnet(subnet, index, &chain, &Path::Index(&subnets, at));
            }
            self.check_members(index, chain.flag("authoritative"));
        }
    }

    fn lone_subnets(&mut self, dhcp4: &Map, global: &Chain<'_>, path: &Path<'_>) {
        let path = Path::Key(path, "subnet4");
        for (at, element) in list(dhcp4, "subnet4").iter().enumerate() {
            let index = NetworkIndex(self.networks.len());
            self.networks.push(Network {
                name: None,
                subnets: Vec::new(),
                options: OptionSet::default(),
                relays: Vec::new(),
                interface: None,
            });
            self.subnet(element, index, global, &Path::Index(&path, at));
        }
    }

    fn subnet(
        &mut self,
        element: &Element,
        network: NetworkIndex,
        outer: &Chain<'_>,
        path: &Path<'_>,
    ) {
        let Some(map) = element.map() else { return };
        let chain = outer.inside(map);
        resolve::check(element, &chain, path, self.report);
        let options = option_data::read(map, path, self.report);
        let relays = relays(map, path, self.report);
        let grace = grace(map, path, self.report);
        let id = map
            .get("id")
            .and_then(Element::int)
            .and_then(|id| u32::try_from(id).ok())
            .map(SubnetId);
        let (Some(id), Some(text)) = (id, map.get("subnet")) else { return };
        let Some(prefix) = prefix(text, path, self.report) else { return };
        let index = SubnetIndex(self.subnets.len());
        if self.by_id.insert(id, index).is_some() {
            let text = format!("ID of the new IPv4 subnet '{id}' is already in use");
            self.report.error(element.at, path, text);
        }
        if self.prefixes.insert(prefix, id).is_some() {
            let text = format!("subnet with the prefix of '{prefix}' already exists");
            self.report.error(element.at, path, text);
        }
        let subnet = Subnet {
            id,
            prefix,
            network,
            pools: pools(map, prefix, path, self.report),
            relays,
            interface: interface(map).or_else(|| self.networks[network.0].interface.clone()),
            options,
            values: resolve::values(&chain, grace),
            reservations: reservations::read(map, id, prefix, path, self.report),
        };
        self.networks[network.0].subnets.push(index);
        self.subnets.push(Placed { subnet, at: element.at, path: path.to_string() });
    }

    /// Members are one link, so they must agree on what is decided before a member is chosen (Kea
    /// manual, "Shared Networks in DHCPv4").
    fn check_members(&mut self, network: NetworkIndex, authoritative: bool) {
        let mut used = self.networks[network.0].interface.clone();
        for index in self.networks[network.0].subnets.clone() {
            let Placed { subnet, at, path } = &self.subnets[index.0];
            let prefix = subnet.prefix;
            if subnet.values.authoritative != authoritative {
                let text = format!(
                    "Subnet {prefix} has different authoritative setting {} than the shared-network itself: {authoritative}",
                    subnet.values.authoritative
                );
                self.report.error_at(*at, path, text);
            }
            match (&subnet.interface, &used) {
                (Some(own), Some(used)) if own != used => {
                    let text = format!(
                        "Subnet {prefix} has specified interface {own}, but earlier subnet in the same \
                         shared-network or the shared-network itself used {used}"
                    );
                    self.report.error_at(*at, path, text);
                }
                (Some(own), None) => used = Some(own.clone()),
                _ => {}
            }
        }
    }

    /// Overlapping subnets are legal (rule R8); often they are a slip.
    fn warn_of_overlaps(&mut self) {
        let mut order: Vec<&Placed> = self.subnets.iter().collect();
        order.sort_by_key(|placed| (placed.subnet.prefix.network(), placed.subnet.prefix.len()));
        let mut around: Vec<&Placed> = Vec::new();
        for placed in order {
            let prefix = placed.subnet.prefix;
            while around.pop_if(|outer| !outer.subnet.prefix.overlaps(&prefix)).is_some() {}
            if let Some(outer) = around.last().filter(|outer| outer.subnet.prefix != prefix) {
                let text = format!("subnet {prefix} overlaps with subnet {}", outer.subnet.prefix);
                self.report.warning_at(placed.at, &placed.path, text);
            }
            around.push(placed);
        }
    }
}

fn list<'a>(map: &'a Map, key: &str) -> &'a [Element] {
    map.get(key).map(Element::list).unwrap_or_default()
}

fn interface(map: &Map) -> Option<String> {
    map.get("interface").and_then(Element::text).filter(|name| !name.is_empty()).map(str::to_owned)
}

fn relays(map: &Map, path: &Path<'_>, report: &mut Report) -> Vec<Ipv4Addr> {
    let Some(relay) = map.get("relay").and_then(Element::map) else { return Vec::new() };
    let several = relay.get("ip-addresses");
    let one = relay.get("ip-address");
    if let (Some(_), Some(one)) = (several, one) {
        let text = "'ip-address' and 'ip-addresses' of a relay are mutually exclusive";
        report.error(one.at, &Path::Key(path, "relay"), text);
    }
    let texts = several.map(Element::list).unwrap_or_default().iter().chain(one);
    texts.filter_map(|address| address.text()?.parse().ok()).collect()
}

fn prefix(element: &Element, path: &Path<'_>, report: &mut Report) -> Option<Prefix> {
    let text = element.text()?;
    match text.parse() {
        Ok(prefix) => Some(prefix),
        Err(_) => {
            let text = format!(
                "subnet configuration failed: Invalid subnet syntax (prefix/len expected):{text}"
            );
            report.error(element.at, &Path::Key(path, "subnet"), text);
            None
        }
    }
}

/// The addresses of `pool`: `a - b` or a prefix.
pub(super) fn pool_range(text: &str) -> Result<Range, String> {
    if text.contains('/') {
        let prefix: Prefix =
            text.trim().parse().map_err(|_| format!("Failed to create pool defined by: {text}"))?;
        return Ok(prefix.range());
    }
    let (first, last) = text.split_once('-').ok_or_else(|| {
        format!(
            "invalid pool definition: {text}. There are two acceptable formats <min address-max address> or <prefix/len>"
        )
    })?;
    let address = |text: &str| text.trim().parse::<Ipv4Addr>().ok();
    let range =
        address(first).zip(address(last)).and_then(|(first, last)| Range::new(first, last).ok());
    range.ok_or_else(|| format!("Failed to create pool defined by: {text}"))
}

fn pools(subnet: &Map, prefix: Prefix, path: &Path<'_>, report: &mut Report) -> Vec<Pool> {
    let path = Path::Key(path, "pools");
    let mut pools = Vec::new();
    let mut places = Vec::new();
    for (at, element) in list(subnet, "pools").iter().enumerate() {
        let path = Path::Index(&path, at);
        let Some(map) = element.map() else { continue };
        let options = option_data::read(map, &path, report);
        let Some((at, text)) = map.get("pool").and_then(|pool| Some((pool.at, pool.text()?)))
        else {
            continue;
        };
        let range = match pool_range(text) {
            Ok(range) => range,
            Err(text) => {
                report.error(at, &path, text);
                continue;
            }
        };
        if !prefix.contains(range.first()) || !prefix.contains(range.last()) {
            let text = format!(
                "subnet configuration failed: a pool of type V4, with the following address range: {range} does not \
                 match the prefix of a subnet: {prefix} to which it is being added"
            );
            report.error(at, &path, text);
        }
        places.push((range, at, path.to_string()));
        pools.push(Pool { range, options });
    }
    // In order of their first address, a pool can only reach into the next ones.
    places.sort_by_key(|(range, ..)| *range);
    let mut reach: Option<Range> = None;
    for (range, at, path) in &places {
        if reach.is_some_and(|earlier| earlier.overlaps(range)) {
            let text = format!(
                "subnet configuration failed: a pool of type V4, with the following address range: {range} overlaps \
                 with an existing pool in the subnet: {prefix} to which it is being added"
            );
            report.error_at(*at, path, text);
        }
        if reach.is_none_or(|earlier| earlier.last() < range.last()) {
            reach = Some(*range);
        }
    }
    pools
}

/// `user-context.leasehold.grace` of a subnet (rule R7).
fn grace(subnet: &Map, path: &Path<'_>, report: &mut Report) -> Option<u32> {
    let own = subnet.get("user-context")?.map()?.get("leasehold")?;
    let context = Path::Key(path, "user-context");
    let path = Path::Key(&context, "leasehold");
    let Some(map) = own.map() else {
        report.error(own.at, &path, "user-context.leasehold must be a map");
        return None;
    };
    for member in map.members.iter().filter(|member| member.key != "grace") {
        let text = format!("got unexpected keyword \"{}\" in leasehold map.", member.key);
        report.error(member.at, &path, text);
    }
    let grace = map.get("grace")?;
    let secs = grace.int().and_then(|secs| u32::try_from(secs).ok());
    if secs.is_none() {
        report.error(
            grace.at,
            &path,
            format!("grace must be a number of seconds from 0 to {}", u32::MAX),
        );
    }
    secs
}
