//! Parts of what `config-get` shows, each as `subnet4-get` and its kin answer it. Each costs a walk
//! over the document, and never the printing of the whole.

use super::edit::{name_of, place_of};
use super::json::{Element, Map};
use super::schema::{CLASS, NETWORK, SUBNET};
use super::{Config, print};
use crate::types::SubnetId;

impl Config {
    /// The entry of `subnet4` with that id, in whatever network, as compact JSON.
    pub fn print_subnet(&self, id: SubnetId) -> Option<String> {
        self.part(|dhcp4| {
            let place = place_of(dhcp4, id)?;
            let networks = dhcp4.get("shared-networks").map(Element::list).unwrap_or_default();
            let network = place.network.and_then(|at| networks.get(at)?.map());
            let list = network.unwrap_or(dhcp4).get("subnet4")?.list();
            let subnet = list.get(place.at)?.map()?;
            let around: Vec<&Map> = [dhcp4].into_iter().chain(network).collect();
            Some(print::part(&SUBNET, subnet, &around, &self.definitions))
        })
    }

    /// The entry of `shared-networks` with that name and all its subnets, as compact JSON.
    pub fn print_network(&self, name: &str) -> Option<String> {
        self.part(|dhcp4| {
            let network = named(dhcp4, "shared-networks", name)?;
            Some(print::part(&NETWORK, network, &[dhcp4], &self.definitions))
        })
    }

    /// The entry of `client-classes` with that name, as compact JSON.
    pub fn print_class(&self, name: &str) -> Option<String> {
        self.part(|dhcp4| {
            let class = named(dhcp4, "client-classes", name)?;
            Some(print::part(&CLASS, class, &[], &self.definitions))
        })
    }

    fn part(&self, find: impl FnOnce(&Map) -> Option<String>) -> Option<String> {
        let root = super::read_back(self.document());
        find(root.map()?.get("Dhcp4")?.map()?)
    }
}

fn named<'a>(dhcp4: &'a Map, list: &str, name: &str) -> Option<&'a Map> {
    let mut maps = dhcp4.get(list)?.list().iter().filter_map(Element::map);
    maps.find(|map| name_of(map) == name)
}
