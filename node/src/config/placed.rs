//! The text of a document and where the reservations of each scope stand in it, so that one of a
//! million can be shown, and lists of them exchanged, without reading the rest.

use std::collections::HashMap;
use std::sync::Arc;

use super::hosts::Reservations;
use super::json::{Element, Map, Value, print_scalar};
use crate::types::SubnetId;

/// Where the `reservations` of a scope stand in the text of a document.
#[derive(Debug, Clone, Default)]
pub(super) struct Spot {
    /// The bytes of the list; where it is missing, the empty place at the end of the scope's map.
    from: u32,
    until: u32,
    /// What stands before the list if it is put there: nothing where there is one.
    lead: &'static str,
    /// Where each entry begins, and behind them where the next one would.
    starts: Arc<[u32]>,
}

impl Spot {
    /// The text of an entry.
    pub(super) fn text<'a>(&self, place: u64, base: &'a str) -> &'a str {
        let start = |at: u64| self.starts.get(usize::try_from(at).ok()?).copied();
        let (Some(from), Some(next)) = (start(place), start(place + 1)) else { return "" };
        // A comma or the end of the list stands between.
        base.get(from as usize..next as usize - 1).unwrap_or_default()
    }
}

/// A document as compact JSON, and the spots of its scopes, the global one under 0.
pub(super) struct Placed {
    pub(super) text: Vec<u8>,
    pub(super) spots: HashMap<SubnetId, Spot>,
}

/// Kinds of maps on the way to reservations.
#[derive(Clone, Copy)]
enum Scope {
    Top,
    Dhcp4,
    Network,
    Subnet,
}

/// Prints a valid document of at most 1 GiB, of about `length` bytes.
pub(super) fn print(root: &Element, length: usize) -> Placed {
    let mut placed = Placed { text: Vec::with_capacity(length), spots: HashMap::new() };
    placed.element(Scope::Top, root);
    placed
}

impl Placed {
    fn here(&self) -> u32 {
        u32::try_from(self.text.len()).unwrap_or(u32::MAX)
    }

    fn element(&mut self, scope: Scope, element: &Element) {
        match &element.value {
            Value::Map(map) => self.map(scope, map),
            _ => element.print(&mut self.text),
        }
    }

    fn map(&mut self, scope: Scope, map: &Map) {
        let mut spot = None;
        self.text.push(b'{');
        for (at, member) in map.members.iter().enumerate() {
            if at > 0 {
                self.text.push(b',');
            }
            print_scalar(&*member.key, &mut self.text);
            self.text.push(b':');
            match (scope, &*member.key, &member.value.value) {
                (Scope::Top, "Dhcp4", _) => self.element(Scope::Dhcp4, &member.value),
                (Scope::Dhcp4, "shared-networks", Value::List(list)) => {
                    self.list(Scope::Network, list)
                }
                (Scope::Dhcp4 | Scope::Network, "subnet4", Value::List(list)) => {
                    self.list(Scope::Subnet, list);
                }
                (Scope::Dhcp4 | Scope::Subnet, "reservations", Value::List(list)) => {
                    spot = Some(self.reservations(list));
                }
                _ => member.value.print(&mut self.text),
            }
        }
        let owner = match scope {
            Scope::Dhcp4 => Some(0),
            Scope::Subnet => {
                map.get("id").and_then(Element::int).and_then(|id| u32::try_from(id).ok())
            }
            Scope::Top | Scope::Network => None,
        };
        if let Some(owner) = owner {
            let missing = || Spot {
                from: self.here(),
                until: self.here(),
                lead: if map.members.is_empty() {
                    "\"reservations\":"
                } else {
                    ",\"reservations\":"
                },
                starts: Arc::default(),
            };
            let spot = spot.unwrap_or_else(missing);
            self.spots.insert(SubnetId(owner), spot);
        }
        self.text.push(b'}');
    }

    fn list(&mut self, scope: Scope, list: &[Element]) {
        self.text.push(b'[');
        for (at, element) in list.iter().enumerate() {
            if at > 0 {
                self.text.push(b',');
            }
            self.element(scope, element);
        }
        self.text.push(b']');
    }

    fn reservations(&mut self, list: &[Element]) -> Spot {
        let from = self.here();
        let mut starts = Vec::with_capacity(list.len() + 1);
        self.text.push(b'[');
        for (at, element) in list.iter().enumerate() {
            if at > 0 {
                self.text.push(b',');
            }
            starts.push(self.here());
            element.print(&mut self.text);
        }
        self.text.push(b']');
        starts.push(self.here());
        Spot { from, until: self.here(), lead: "", starts: starts.into() }
    }
}

/// `base`, in which those reservations were read, with what they are now.
pub(super) fn exchange<'a>(
    base: &str,
    changed: impl Iterator<Item = &'a Reservations>,
) -> Arc<str> {
    let mut changed: Vec<&Reservations> = changed.collect();
    changed.sort_unstable_by_key(|reservations| reservations.spot.from);
    let mut text = String::with_capacity(base.len() + (base.len() >> 4));
    let mut done = 0;
    for reservations in changed {
        let spot = &reservations.spot;
        text.push_str(base.get(done..spot.from as usize).unwrap_or_default());
        text.push_str(spot.lead);
        text.push('[');
        for (at, (place, _)) in reservations.walk().enumerate() {
            if at > 0 {
                text.push(',');
            }
            text.push_str(reservations.text(place, base));
        }
        text.push(']');
        done = spot.until as usize;
    }
    text.push_str(base.get(done..).unwrap_or_default());
    text.into()
}
