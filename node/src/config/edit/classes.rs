//! `class-add`, `-update` and `-del` (kea-api §2.6, §3.11).

use super::subnets::no_map;
use super::tree::{list_of, name_of, text};
use super::{Changed, Edit, NoEdit, Scene, Stop, Verb};
use crate::config::json::{Element, Map};
use crate::config::{ClassRule, Config, schema};

/// `class-add`: behind the others, which is the last in evaluation.
pub(super) fn add(scene: &mut Scene<'_>, arguments: Map) -> Result<Changed, Stop> {
    let class = scene.only(arguments, "client-classes", &schema::CLASS, "class")?;
    let name = name_of(class.map().ok_or_else(no_map)?).to_owned();
    if find(scene, &name).is_some() {
        return Err(NoEdit::error(format!("Client class '{name}' already exists")).into());
    }
    scene.list("client-classes")?.push(class);
    Ok(about(name))
}

/// `class-update`: in the place of the one with its name.
pub(super) fn update(scene: &mut Scene<'_>, arguments: Map) -> Result<Changed, Stop> {
    let class = scene.only(arguments, "client-classes", &schema::CLASS, "class")?;
    let name = name_of(class.map().ok_or_else(no_map)?).to_owned();
    let gone = || NoEdit::empty(format!("Class '{name}' is not found"));
    let at = find(scene, &name).ok_or_else(gone)?;
    *scene.list("client-classes")?.get_mut(at).ok_or_else(gone)? = class;
    Ok(about(name))
}

/// `class-del`.
pub(super) fn del(scene: &mut Scene<'_>, arguments: &Map) -> Result<Changed, Stop> {
    let name = text(arguments, "name")?;
    scene.nothing_but(arguments, &["name"])?;
    let at = find(scene, name);
    let at = at.ok_or_else(|| NoEdit::empty(format!("Class '{name}' not found")))?;
    scene.list("client-classes")?.remove(at);
    Ok(about(name.to_owned()))
}

/// Refuses to delete a class that another one asks for: that is told by its name, before the
/// expression of the other one is looked at and found wrong.
pub(super) fn no_user(edit: &Edit, arguments: &Map, before: &Config) -> Result<(), NoEdit> {
    let Some(name) = arguments.get("name").and_then(Element::text) else { return Ok(()) };
    if edit.verb != Verb::ClassDel || before.classes.get(name).is_none() {
        return Ok(());
    }
    let asks = |rule: &ClassRule| match rule {
        ClassRule::Test(test) => test.members().any(|member| member == name),
        ClassRule::Template(text) => text.members().any(|member| member == name),
    };
    let mut others = before.classes.iter().filter(|class| *class.name != *name);
    match others.find(|class| class.rule.as_ref().is_some_and(asks)) {
        Some(other) => {
            Err(NoEdit::error(format!("Class '{name}' is used by class '{}'", other.name)))
        }
        None => Ok(()),
    }
}

/// What only the typed configurations before and after an edit know: whether a class has begun or
/// ended to depend on the look-up of reservations, on which others may rely.
pub(super) fn judge(
    edit: &Edit,
    changed: &Changed,
    before: &Config,
    after: &Config,
) -> Result<(), NoEdit> {
    let waits = |config: &Config| Some(config.classes.get(&changed.name)?.after_hosts);
    if edit.verb == Verb::ClassUpdate && waits(before) != waits(after) {
        return Err(NoEdit::error(format!(
            "Class '{}' must not begin or cease to depend on KNOWN or UNKNOWN: classes behind it may rely on that",
            changed.name
        )));
    }
    Ok(())
}

fn find(scene: &Scene<'_>, name: &str) -> Option<usize> {
    let named = |element: &Element| element.map().is_some_and(|map| name_of(map) == name);
    list_of(scene.dhcp4, "client-classes").iter().position(named)
}

fn about(name: String) -> Changed {
    Changed { name, ..Changed::default() }
}
