//! `subnet4-add`, `-update` and `-del` (kea-api §2.4, §3.9).
//!
//! A subnet that goes takes its reservations along and leaves its leases, which block their
//! addresses until they end (R8).

use super::tree::{id, id_of, list_of, prefix_of};
use super::{Changed, NoEdit, Scene, Stop};
use crate::config::json::{Element, Map};
use crate::config::{print, schema};
use crate::types::{Prefix, SubnetId};

/// `subnet4-add`: behind the other subnets that are in no network.
pub(super) fn add(scene: &mut Scene<'_>, arguments: Map) -> Result<Changed, Stop> {
    let mut subnet = scene.only(arguments, "subnet4", &schema::SUBNET, "subnet")?;
    let map = subnet.map_mut().ok_or_else(no_map)?;
    if map.remove("reservations").is_some_and(|list| !list.list().is_empty()) {
        return Err(no_reservations(scene).into());
    }
    let id = new_id(map)?;
    let prefix = prefix(map)?;
    is_free(scene, id, prefix, None)?;
    scene.list("subnet4")?.push(subnet);
    Ok(about(id, prefix))
}

/// `subnet4-update`: in the place of the one with its id, in whatever network that is, with the
/// reservations which that one has.
pub(super) fn update(scene: &mut Scene<'_>, arguments: Map) -> Result<Changed, Stop> {
    let mut subnet = scene.only(arguments, "subnet4", &schema::SUBNET, "subnet")?;
    let map = subnet.map_mut().ok_or_else(no_map)?;
    let id = given_id(scene, map)?;
    let prefix = prefix(map)?;
    let place = scene.find_id(id).ok_or_else(|| not_there(id))?;
    is_free(scene, id, prefix, Some(id))?;
    let definitions = scene.definitions;
    let text = no_reservations(scene);
    let old = scene.subnet(place).ok_or_else(|| not_there(id))?;
    // Whoever sends back what subnet4-get printed changes no reservation.
    if let Some(given) = map.remove("reservations")
        && !given.list().is_empty()
        && !print::same_reservations(given.list(), list_of(old, "reservations"), definitions)
    {
        return Err(text.into());
    }
    if let Some(kept) = old.remove("reservations") {
        map.set("reservations", kept);
    }
    std::mem::swap(old, map);
    Ok(about(id, prefix))
}

/// `subnet4-del`.
pub(super) fn del(scene: &mut Scene<'_>, arguments: &Map) -> Result<Changed, Stop> {
    let id = id(arguments)?;
    scene.nothing_but(arguments, &["id"])?;
    let gone = || NoEdit::empty(format!("no subnet with id {id} found"));
    let place = scene.find_id(id).ok_or_else(gone)?;
    let subnet = scene.take(place).ok_or_else(gone)?;
    let prefix = subnet.map().and_then(prefix_of);
    Ok(Changed { subnet: prefix.map(|prefix| (id, prefix)), ..Changed::default() })
}

pub(super) fn about(id: SubnetId, prefix: Prefix) -> Changed {
    Changed { subnet: Some((id, prefix)), ..Changed::default() }
}

pub(super) fn no_map() -> NoEdit {
    NoEdit::error("a map is expected")
}

pub(super) fn not_there(id: SubnetId) -> NoEdit {
    NoEdit::error(format!("Can't find subnet '{id}' to update"))
}

pub(super) fn no_reservations(scene: &Scene<'_>) -> NoEdit {
    NoEdit::error(format!(
        "must not specify host reservations with '{}'. Use 'reservation-add' to add them",
        scene.verb.name()
    ))
}

/// The id of a subnet that is new.
pub(super) fn new_id(subnet: &Map) -> Result<SubnetId, NoEdit> {
    match (id_of(subnet), subnet.get("id")) {
        (Some(id), _) => Ok(id),
        (None, Some(other)) => Err(bad_id(other)),
        (None, None) => Err(NoEdit::error("missing parameter 'id'")),
    }
}

/// The id of a subnet that exists.
pub(super) fn given_id(scene: &Scene<'_>, subnet: &Map) -> Result<SubnetId, NoEdit> {
    match (id_of(subnet), subnet.get("id")) {
        (Some(id), _) => Ok(id),
        (None, Some(other)) => Err(bad_id(other)),
        (None, None) => Err(NoEdit::error(format!(
            "must specify subnet id with '{}' command.",
            scene.verb.name()
        ))),
    }
}

fn bad_id(other: &Element) -> NoEdit {
    match other.int() {
        Some(id) => NoEdit::error(format!(
            "The 'id' value ({id}) is not within expected range: (1 - {})",
            u32::MAX - 1
        )),
        None => NoEdit::error("invalid type specified for parameter 'id'"),
    }
}

/// The prefix of a subnet.
pub(super) fn prefix(subnet: &Map) -> Result<Prefix, NoEdit> {
    let text = super::tree::text(subnet, "subnet")?;
    text.parse().map_err(|_| {
        NoEdit::error(format!(
            "subnet configuration failed: Invalid subnet syntax (prefix/len expected):{text}"
        ))
    })
}

/// Refuses an id or a prefix that another subnet has; `own` is the one that may have them.
pub(super) fn is_free(
    scene: &Scene<'_>,
    id: SubnetId,
    prefix: Prefix,
    own: Option<SubnetId>,
) -> Result<(), NoEdit> {
    if own.is_none() && scene.find_id(id).is_some() {
        return Err(NoEdit::error(format!("ID of the new IPv4 subnet '{id}' is already in use")));
    }
    let other = |map: &Map| prefix_of(map) == Some(prefix) && (own.is_none() || id_of(map) != own);
    match scene.find(other) {
        Some(_) => {
            Err(NoEdit::error(format!("subnet with the prefix of '{prefix}' already exists")))
        }
        None => Ok(()),
    }
}
