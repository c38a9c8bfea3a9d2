//! `shared-networks` and `subnet4` of global scope (Kea manual, "Shared Networks in DHCPv4").

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::json::{Element, Map, Position};
use super::mistake::Path;
use super::model::{Naming, Network, NetworkIndex, OptionSet, Subnet, SubnetIndex};
use super::resolve::{self, Chain};
use super::subnet_list::Subnets;
use super::v4::Context;
use super::{option_data, subnets};
use crate::types::{Guard, Prefix, SubnetId};

/// All networks and subnets, those of shared networks first.
pub(super) struct Networks {
    pub(super) networks: Vec<Network>,
    pub(super) subnets: Subnets,
    pub(super) by_id: HashMap<SubnetId, SubnetIndex>,
}

/// Reads them all. What is wrong is reported and left out.
pub(super) fn read(
    dhcp4: &Map,
    global: &Chain<'_>,
    path: &Path<'_>,
    context: Context<'_>,
) -> Networks {
    let mut builder = Builder {
        context,
        networks: Vec::new(),
        subnets: Vec::new(),
        by_id: HashMap::new(),
        prefixes: HashSet::new(),
    };
    let Context { namer, report, .. } = &mut builder.context;
    let naming = namer.naming(global, dhcp4, None, path, report);
    builder.shared_networks(dhcp4, global, &naming, path);
    builder.lone_subnets(dhcp4, global, &naming, path);
    builder.warn_of_overlaps();
    let Builder { mut networks, subnets, by_id, .. } = builder;
    for network in &mut networks {
        network.subnets.sort_unstable_by_key(|at| subnets[at.0].subnet.id);
    }
    Networks { networks, subnets: subnets.into_iter().map(|placed| placed.subnet).collect(), by_id }
}

struct Builder<'a> {
    context: Context<'a>,
    networks: Vec<Network>,
    subnets: Vec<Placed>,
    by_id: HashMap<SubnetId, SubnetIndex>,
    prefixes: HashSet<Prefix>,
}

/// A subnet and where it stands, for warnings that concern several.
struct Placed {
    subnet: Subnet,
    at: Position,
    path: String,
}

impl Builder<'_> {
    fn shared_networks(
        &mut self,
        dhcp4: &Map,
        global: &Chain<'_>,
        naming: &Arc<Naming>,
        path: &Path<'_>,
    ) {
        let path = Path::Key(path, "shared-networks");
        let mut names = HashSet::new();
        for (at, element) in list(dhcp4, "shared-networks").iter().enumerate() {
            let path = Path::Index(&path, at);
            let Some(map) = element.map() else { continue };
            let Context { report, guards, namer, definitions, .. } = &mut self.context;
            let name = map.get("name").and_then(Element::text).unwrap_or_default();
            if name.is_empty() && map.get("name").is_some_and(|name| name.text().is_some()) {
                let text = "Shared-network is missing mandatory 'name' parameter";
                report.error(element.at, &path, text);
            } else if !names.insert(name) && !name.is_empty() {
                let text = format!("duplicate network '{name}' found in the configuration");
                report.error(element.at, &path, text);
            }
            let chain = global.inside(map);
            resolve::check(element, &chain, &path, report);
            let index = NetworkIndex(self.networks.len());
            self.networks.push(Network {
                name: Some(name.to_owned()),
                subnets: Vec::new(),
                options: option_data::read(map, definitions, &path, report),
                relays: subnets::relays(map),
                interface: subnets::interface(map),
                guard: guards.guard(map, &path, report),
                additional_classes: guards.additional(map, &path, report),
            });
            let naming = namer.naming(&chain, map, Some(naming), &path, report);
            let subnets = Path::Key(&path, "subnet4");
            for (at, subnet) in list(map, "subnet4").iter().enumerate() {
                self.subnet(subnet, index, &chain, &naming, &Path::Index(&subnets, at));
            }
            self.check_members(index, chain.flag("authoritative"));
        }
    }

    fn lone_subnets(
        &mut self,
        dhcp4: &Map,
        global: &Chain<'_>,
        naming: &Arc<Naming>,
        path: &Path<'_>,
    ) {
        let path = Path::Key(path, "subnet4");
        for (at, element) in list(dhcp4, "subnet4").iter().enumerate() {
            let index = NetworkIndex(self.networks.len());
            self.networks.push(Network {
                name: None,
                subnets: Vec::new(),
                options: OptionSet::default(),
                relays: Vec::new(),
                interface: None,
                guard: Guard::default(),
                additional_classes: Box::default(),
            });
            self.subnet(element, index, global, naming, &Path::Index(&path, at));
        }
    }

    fn subnet(
        &mut self,
        element: &Element,
        network: NetworkIndex,
        outer: &Chain<'_>,
        naming: &Arc<Naming>,
        path: &Path<'_>,
    ) {
        let interface = self.networks[network.0].interface.as_ref();
        let around = subnets::Around { network, interface, chain: outer, naming };
        let Some(subnet) = subnets::read(element, around, path, &mut self.context) else { return };
        let index = SubnetIndex(self.subnets.len());
        if self.by_id.insert(subnet.id, index).is_some() {
            let text = format!("ID of the new IPv4 subnet '{}' is already in use", subnet.id);
            self.context.report.error(element.at, path, text);
        }
        if !self.prefixes.insert(subnet.prefix) {
            let text = format!("subnet with the prefix of '{}' already exists", subnet.prefix);
            self.context.report.error(element.at, path, text);
        }
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
                self.context.report.error_at(*at, path, text);
            }
            match (&subnet.interface, &used) {
                (Some(own), Some(used)) if own != used => {
                    let text = format!(
                        "Subnet {prefix} has specified interface {own}, but earlier subnet in the same \
                         shared-network or the shared-network itself used {used}"
                    );
                    self.context.report.error_at(*at, path, text);
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
                self.context.report.warning_at(placed.at, &placed.path, text);
            }
            around.push(placed);
        }
    }
}

fn list<'a>(map: &'a Map, key: &str) -> &'a [Element] {
    map.get(key).map(Element::list).unwrap_or_default()
}
