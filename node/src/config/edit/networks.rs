//! `network4-*` (kea-api §2.4, §3.9).

use super::subnets::{is_free, new_id, no_map, prefix};
use super::tree::{id, list_in, list_of, name_of, prefix_of, text};
use super::{Changed, NoEdit, Scene, Stop};
use crate::config::json::{Element, Map};
use crate::config::schema;
use crate::types::SubnetId;

/// `network4-add`: behind the other networks, with the subnets that it brings.
pub(super) fn add(scene: &mut Scene<'_>, arguments: Map) -> Result<Changed, Stop> {
    let network = scene.only(arguments, "shared-networks", &schema::NETWORK, "shared network")?;
    let map = network.map().ok_or_else(no_map)?;
    let name = name_of(map).to_owned();
    if find(scene, &name).is_some() {
        let text = format!("duplicate network '{name}' found in the configuration");
        return Err(NoEdit::error(text).into());
    }
    for subnet in list_of(map, "subnet4").iter().filter_map(Element::map) {
        is_free(scene, new_id(subnet)?, prefix(subnet)?, None)?;
    }
    scene.list("shared-networks")?.push(network);
    Ok(about(name))
}

/// `network4-del`: its subnets stay, in no network, unless `subnets-action` is `delete`.
pub(super) fn del(scene: &mut Scene<'_>, arguments: &Map) -> Result<Changed, Stop> {
    let name = text(arguments, "name")?;
    let keep = match arguments.get("subnets-action").map(Element::text) {
        None | Some(Some("keep")) => true,
        Some(Some("delete")) => false,
        Some(Some(other)) => {
            let text = format!(
                "invalid value '{other}' of 'subnets-action': it must be 'keep' or 'delete'"
            );
            return Err(NoEdit::error(text).into());
        }
        Some(None) => {
            let text = "invalid type specified for parameter 'subnets-action'";
            return Err(NoEdit::error(text).into());
        }
    };
    scene.nothing_but(arguments, &["name", "subnets-action"])?;
    let gone = || NoEdit::empty(format!("no IPv4 shared network with name '{name}' found"));
    let at = find(scene, name).ok_or_else(gone)?;
    let mut network = scene.list("shared-networks")?.remove(at);
    let subnets = network.map_mut().and_then(|network| network.remove("subnet4"));
    if let Some(mut subnets) = subnets.filter(|_| keep)
        && let Some(subnets) = subnets.list_mut()
    {
        scene.list("subnet4")?.append(subnets);
    }
    Ok(about(name.to_owned()))
}

/// `network4-subnet-add`: moves a subnet that is in no network.
pub(super) fn subnet_add(scene: &mut Scene<'_>, arguments: &Map) -> Result<Changed, Stop> {
    let (name, id) = member(scene, arguments)?;
    let network = find(scene, name).ok_or_else(|| no_network(name))?;
    let gone = || NoEdit::empty(format!("no IPv4 subnet with id '{id}' found"));
    let place = scene.find_id(id).ok_or_else(gone)?;
    let prefix = scene.subnet(place).and_then(|subnet| prefix_of(subnet)).ok_or_else(gone)?;
    if let Some(other) = place.network {
        let other = list_of(scene.dhcp4, "shared-networks").get(other).and_then(Element::map);
        let text = format!(
            "IPv4 subnet {prefix} (id {id}) is already part of shared network '{}'",
            other.map_or("", name_of)
        );
        return Err(NoEdit::error(text).into());
    }
    let subnet = scene.take(place).ok_or_else(gone)?;
    let network = scene.list("shared-networks")?.get_mut(network).and_then(Element::map_mut);
    list_in(network.ok_or_else(|| no_network(name))?, "subnet4")?.push(subnet);
    Ok(Changed { subnet: Some((id, prefix)), name: name.to_owned() })
}

/// `network4-subnet-del`: takes a subnet out, which stays.
pub(super) fn subnet_del(scene: &mut Scene<'_>, arguments: &Map) -> Result<Changed, Stop> {
    let (name, id) = member(scene, arguments)?;
    let network = find(scene, name).ok_or_else(|| no_network(name))?;
    let gone =
        || NoEdit::empty(format!("no IPv4 subnet with id '{id}' found in shared network '{name}'"));
    let place = scene.find_id(id).filter(|place| place.network == Some(network));
    let place = place.ok_or_else(gone)?;
    let prefix = scene.subnet(place).and_then(|subnet| prefix_of(subnet)).ok_or_else(gone)?;
    let subnet = scene.take(place).ok_or_else(gone)?;
    scene.list("subnet4")?.push(subnet);
    Ok(Changed { subnet: Some((id, prefix)), name: name.to_owned() })
}

/// The arguments of both.
fn member<'a>(scene: &Scene<'_>, arguments: &'a Map) -> Result<(&'a str, SubnetId), NoEdit> {
    let member = (text(arguments, "name")?, id(arguments)?);
    scene.nothing_but(arguments, &["name", "id"])?;
    Ok(member)
}

fn find(scene: &Scene<'_>, name: &str) -> Option<usize> {
    let named = |element: &Element| element.map().is_some_and(|map| name_of(map) == name);
    list_of(scene.dhcp4, "shared-networks").iter().position(named)
}

fn no_network(name: &str) -> NoEdit {
    NoEdit::empty(format!("no IPv4 shared network with name '{name}' found"))
}

fn about(name: String) -> Changed {
    Changed { name, ..Changed::default() }
}
