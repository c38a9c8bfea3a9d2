//! Names of client classes where they are used: guards of networks, subnets and pools, and lists of
//! classes to evaluate (Kea manual, "Client Classification").
//!
//! Kea takes any name. A name that nothing can put a packet into closes its scope for everybody, which
//! often is a slip, so it is warned of once.

use std::collections::{BTreeMap, HashSet};

use super::json::{Element, Map, Position};
use super::mistake::{Path, Report};
use crate::types::{ClassName, Guard};

/// Reads names and remembers those that are used.
#[derive(Debug, Default)]
pub(super) struct Guards {
    names: HashSet<ClassName>,
    /// Where each name was used first.
    used: BTreeMap<ClassName, (Position, String)>,
}

impl Guards {
    /// `client-classes` of a scope.
    pub(super) fn guard(&mut self, map: &Map, path: &Path<'_>, report: &mut Report) -> Guard {
        Guard(self.list(map, "client-classes", path, report))
    }

    /// `evaluate-additional-classes` of a scope.
    pub(super) fn additional(
        &mut self,
        map: &Map,
        path: &Path<'_>,
        report: &mut Report,
    ) -> Box<[ClassName]> {
        self.list(map, "evaluate-additional-classes", path, report)
    }

    fn list(
        &mut self,
        map: &Map,
        key: &str,
        path: &Path<'_>,
        report: &mut Report,
    ) -> Box<[ClassName]> {
        let path = Path::Key(path, key);
        let mut names = Vec::new();
        for (at, element) in map.get(key).map(Element::list).unwrap_or_default().iter().enumerate()
        {
            let Some(text) = element.text() else { continue };
            if text.is_empty() {
                report.error(element.at, &Path::Index(&path, at), "invalid class name");
                continue;
            }
            let name = self.name(text);
            if !self.used.contains_key(&name) {
                let place = (element.at, Path::Index(&path, at).to_string());
                self.used.insert(name.clone(), place);
            }
            names.push(name);
        }
        names.into()
    }

    /// The name, shared with everybody who says it.
    pub(super) fn name(&mut self, text: &str) -> ClassName {
        match self.names.get(text) {
            Some(name) => name.clone(),
            None => {
                let name: ClassName = text.into();
                self.names.insert(name.clone());
                name
            }
        }
    }

    /// Warns of names that no packet can belong to: neither by what it is, nor because a
    /// reservation says so.
    pub(super) fn finish<'a>(
        mut self,
        can_match: impl Fn(&str) -> bool,
        assigned: impl Iterator<Item = &'a ClassName>,
        report: &mut Report,
    ) {
        self.used.retain(|name, _| !can_match(name));
        if self.used.is_empty() {
            return;
        }
        // There may be a million reservations, so they are walked once.
        assigned.for_each(|name| drop(self.used.remove(name)));
        for (name, (at, path)) in &self.used {
            let text = format!("no packet belongs to class '{name}': it is not configured");
            report.warning_at(*at, path, text);
        }
    }
}
