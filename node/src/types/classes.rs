//! Client classes of one packet.

use std::sync::Arc;

/// The name of a client class, shared with the configuration where it stands there.
pub type ClassName = Arc<str>;

/// Classes that a packet belongs to, in the order in which it was put into them: among classes the
/// first that sets a value wins (Kea manual, "Client Classification").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassSet {
    names: Vec<ClassName>,
}

impl ClassSet {
    /// Kea's classes of split pools, `HA_<server>`: every node serves all of them, so every packet
    /// belongs to each, or half the addresses would be lost.
    pub const EVERYBODYS: &'static str = "HA_";

    /// No class.
    pub const fn new() -> ClassSet {
        ClassSet { names: Vec::new() }
    }

    /// Puts the packet into a class; returns whether it was not in it.
    pub fn insert(&mut self, name: ClassName) -> bool {
        let new = !self.names.contains(&name);
        if new {
            self.names.push(name);
        }
        new
    }

    /// Whether the packet belongs to the class.
    pub fn contains(&self, name: &str) -> bool {
        name.starts_with(ClassSet::EVERYBODYS) || self.names.iter().any(|own| &**own == name)
    }

    /// Takes the packet out of every class that `keep` says no to.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.names.retain(|name| keep(name));
    }

    /// The classes in order.
    pub fn iter(&self) -> impl Iterator<Item = &ClassName> {
        self.names.iter()
    }
}

/// `client-classes` of a network, subnet, pool or option: who may use it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guard(pub Box<[ClassName]>);

impl Guard {
    /// Whether a packet of these classes passes: it belongs to one of them, or none is named.
    pub fn admits(&self, classes: &ClassSet) -> bool {
        self.0.is_empty() || self.0.iter().any(|name| classes.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_without_names_admits_everybody() {
        let mut classes = ClassSet::default();
        let guard = Guard(["a".into(), "b".into()].into());
        assert!(Guard::default().admits(&classes));
        assert!(!guard.admits(&classes));
        assert!(classes.insert("b".into()) && !classes.insert("b".into()));
        assert!(guard.admits(&classes));
    }

    #[test]
    fn both_halves_of_a_split_pool_are_everybodys() {
        assert!(Guard(["HA_server1".into()].into()).admits(&ClassSet::default()));
    }
}
