//! Where nodes are found that were moved, and how a removed node learns that it was.
//!
//! A node that is started again at another address reaches the others where they were, and each of its
//! calls says where it listens now; a callee that knows its data directory believes it (R14). So it is
//! found before the leader has put the new address into the membership, and whoever holds an old
//! [`Member`] finds it too.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Raft;
use super::typ::{Member, StoredMembership};
use crate::state::Liveness;
use crate::types::NodeId;

/// The metadata of a refusal that says: the caller was removed from the cluster for good.
pub const REMOVED: &str = "leasehold-removed";

/// The longest address that is remembered.
const LONGEST: usize = 255;

/// The last known address of each node. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Book {
    entries: Arc<Mutex<BTreeMap<u64, Entry>>>,
    /// Where this node listens, as its calls say.
    own: Arc<Mutex<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    instance: u64,
    address: String,
}

impl Book {
    /// What this node's calls say from now on.
    pub fn set_own(&self, address: String) {
        *self.own.lock() = address;
    }

    /// Where this node listens; empty if it does not say.
    pub fn own(&self) -> String {
        self.own.lock().clone()
    }

    /// A node, proven to be this data directory, says where it listens. Returns whether that is news.
    pub fn told(&self, node: u64, instance: u64, address: &str) -> bool {
        if address.is_empty() || address.len() > LONGEST {
            return false;
        }
        let entry = Entry { instance, address: address.to_owned() };
        self.entries.lock().insert(node, entry.clone()) != Some(entry)
    }

    /// Where `node` is reached, if it is still the data directory that `member` names.
    pub fn address(&self, node: u64, member: &Member) -> String {
        let entries = self.entries.lock();
        let known = entries.get(&node).filter(|entry| entry.instance == member.instance);
        known.map_or_else(|| member.address.clone(), |entry| entry.address.clone())
    }

    /// The membership has changed: what it says now is newer than what was told before, and who is no
    /// member is forgotten.
    pub fn follow(&self, old: &StoredMembership, new: &StoredMembership) {
        let mut entries = self.entries.lock();
        for (node, member) in new.nodes() {
            // One that is new may have been moved between two looks.
            let before = old.membership().get_node(node);
            if before.is_none_or(|before| before.address != member.address) {
                let (instance, address) = (member.instance, member.address.clone());
                entries.insert(*node, Entry { instance, address });
            }
        }
        entries.retain(|node, _| new.membership().get_node(node).is_some());
    }
}

impl Raft {
    /// Where peers reach this node from now on, `host:port`: its calls say so.
    pub fn advertise(&self, address: String) {
        self.inner.channels.book().set_own(address);
    }

    /// A peer says that this node was removed.
    pub fn told_removed(&self, by: u64) {
        self.inner.removed.send_if_modified(|why| {
            let news = why.is_none();
            why.get_or_insert_with(|| format!("node {by} says so"));
            news
        });
    }

    /// Whether `node` is on its way out, or gone: committed here, and it has no vote (a vote goes first).
    pub(super) fn has_left(&self, node: NodeId) -> bool {
        let left = {
            let state = self.inner.shared.state.read();
            let entry = state.view().meta().node(node);
            entry.is_some_and(|entry| entry.liveness == Liveness::Left)
        };
        let membership = self.membership().borrow().clone();
        left && !membership.membership().voter_ids().any(|voter| voter == node.0)
    }

    /// Resolves once this node knows that it was removed from the cluster, with how it learnt it. Then
    /// the process must end, and not start again as this node.
    pub async fn removed(&self) -> String {
        let mut told = self.inner.removed.subscribe();
        let mut progress = self.progress();
        loop {
            if let Some(why) = told.borrow_and_update().clone() {
                return why;
            }
            progress.borrow_and_update();
            if self.has_left(self.id()) {
                return "the cluster has committed it".to_owned();
            }
            tokio::select! {
                changed = told.changed() => if changed.is_err() { std::future::pending::<()>().await },
                // Not at every entry of a busy log.
                () = tokio::time::sleep(std::time::Duration::from_millis(200)) => {
                    if progress.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::typ::Membership;
    use super::*;

    fn member(address: &str) -> Member {
        Member { address: address.into(), instance: 7, ..Member::default() }
    }

    fn stored(address: &str) -> StoredMembership {
        let voters = vec![BTreeSet::from([1])];
        let membership = Membership::new(voters, BTreeMap::from([(1, member(address))])).unwrap();
        StoredMembership::new(None, membership)
    }

    #[test]
    fn a_moved_node_is_found_where_it_says_and_then_where_the_membership_says() {
        let book = Book::default();
        assert_eq!(book.address(1, &member("a:1")), "a:1");
        assert!(book.told(1, 7, "b:1"));
        assert!(!book.told(1, 7, "b:1"), "no news");
        assert_eq!(book.address(1, &member("a:1")), "b:1");
        // Another data directory under the same number is somebody else.
        let other = Member { instance: 8, ..member("a:1") };
        assert_eq!(book.address(1, &other), "a:1");
        // Whoever still holds the old member finds the node where it is now.
        book.follow(&stored("a:1"), &stored("c:1"));
        assert_eq!(book.address(1, &member("a:1")), "c:1");
        // Also if this is the first that is heard of it here.
        let book = Book::default();
        book.follow(&StoredMembership::default(), &stored("c:1"));
        assert_eq!(book.address(1, &member("a:1")), "c:1");
    }

    #[test]
    fn nothing_is_remembered_of_who_says_nothing_or_too_much() {
        let book = Book::default();
        assert!(!book.told(1, 7, ""));
        assert!(!book.told(1, 7, &"x".repeat(LONGEST + 1)));
        assert_eq!(book.address(1, &member("a:1")), "a:1");
    }
}
