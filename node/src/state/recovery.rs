//! R28: a cluster that was made from a copy of another one, a backup or what a lost majority left
//! behind, does not know what that cluster granted after the copy was made. This is how it gives no
//! address to two clients all the same.
//!
//! What the old cluster can have done since the copy, to one address:
//!
//! * granted it to somebody, or renewed somebody's lease of it, for no longer than the longest lifetime
//!   that its configurations allowed. It did so before it ended, so its clients believe in that for no
//!   longer than this time from now: that, and the grace of R7, is how long the hold lasts. Wall clocks
//!   have no say in it. If some configuration allows leases without an end, only an operator can end it;
//! * ended a lease of the copy by a RELEASE or its time, and granted the address to another.
//!
//! So for the length of the hold:
//!
//! 1. **An address that the copy lists as leased stays with its client.** Its lease may have been renewed
//!    until the last moment, so `reserved_until` (R6: the largest end that its holder may believe in) is
//!    moved to the end of the hold, whatever its end in the copy. If it was somebody else's at last, that
//!    client is refused when it renews and gets another address: an interruption, never a twin.
//! 2. **Every other address is held** ([`super::View::is_held`]). It goes to a client that says it is its
//!    own, by RENEW, REBIND or INIT-REBOOT: that is a lease which we do not know, and at most one client
//!    can rightly say so. A client that says nothing of the kind gets it only after a ping check
//!    ([`super::Grant::checked`]), which the engine makes whatever the configuration says of ping checks;
//!    that nobody answers is no proof, and it is what R28 asks for. `apply` refuses it without.
//! 3. An address that was granted since is known again, and the ordinary rules are all there is to it.
//!    When its last lease is forgotten it is held once more, which costs a ping and is never wrong.
//! 4. Who answers a ping at a held address is taken for its holder: the address does not go into
//!    probation, for then its holder could not claim it.
//!
//! A client in INIT-REBOOT may ask for an address whose time was over long ago and that went to another
//! since the copy. RFC 2131 (§3.2, §4.4.2) has clients do this only while the lease lasts; one that does
//! not keep to that is the risk that R28 takes with this message.
//!
//! Administrators' commands are not held up (R9). What ends the hold early is an operator's word
//! ([`super::EndHold`]), or none to begin with.

use std::sync::Arc;
use std::time::Duration;

use super::State;
use super::command::{Batch, EndHold, Generation, Liveness};
use super::lease::{Lease, LeaseState};
use super::meta::NodeEntry;
use super::outcome::Outcome;
use crate::config::Config;
use crate::types::{ClusterTime, Lifetime, NodeId};

/// What a cluster was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A backup.
    Backup,
    /// The data directory of a node, after a majority was lost.
    Survivor,
}

/// What a machine remembers of the copy that it was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// What kind of copy.
    pub source: Source,
    /// The cluster it was a copy of.
    pub cluster: u64,
    /// The last entry in the copy.
    pub index: u64,
    /// When the copy was made, Unix milliseconds: for people.
    pub wall: i64,
    /// When the hold began.
    pub since: ClusterTime,
    /// The longest lifetime that the old cluster may have granted.
    pub longest: Lifetime,
    /// When the hold ends; [`ClusterTime::NEVER`]: only on an operator's word.
    pub until: ClusterTime,
}

impl Recovery {
    /// Whether addresses are held at `now`.
    pub fn holds_at(&self, now: ClusterTime) -> bool {
        now < self.until || self.until == ClusterTime::NEVER
    }

    /// Whether the lease says no more than the copy did: the holding began in it.
    pub fn is_of_copy(&self, lease: &Lease) -> bool {
        let next = self.index.saturating_add(1).saturating_mul(Batch::MAX as u64);
        lease.generation < Generation(next)
    }
}

/// A copy that becomes the machine of a new cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// What kind of copy.
    pub source: Source,
    /// The cluster it is a copy of.
    pub cluster: u64,
    /// The last entry in it.
    pub index: u64,
    /// When it was made, Unix milliseconds.
    pub wall: i64,
    /// How much time has passed since, as far as people's clocks tell. Leases end by it where everybody
    /// sees them end; safety does not rest on it.
    pub passed: Duration,
    /// Whether addresses are held. It takes an operator's word not to.
    pub hold: bool,
    /// The longest lifetime that the old cluster is known to have granted since; what the copy knows of is
    /// counted in any case.
    pub longest: Option<Lifetime>,
}

impl State {
    /// Makes this the machine of a new cluster, offline.
    ///
    /// No node of the old one is there any more; what they were known by is still answered for, as long as
    /// a client may know it (C6). Nobody is let in who was to be. It walks over all leases and reads all
    /// configurations.
    pub fn begin_anew(&mut self, copied: &Copied) {
        let now = self.meta.now.plus(copied.passed);
        self.meta.now = now;
        let departed = |entry: &NodeEntry| match entry.liveness {
            Liveness::Left => entry.clone(),
            _ => NodeEntry { liveness: Liveness::Left, since: now, ..entry.clone() },
        };
        let nodes = self.meta.nodes.iter();
        self.meta.nodes = nodes.map(|(id, entry)| (*id, Arc::new(departed(entry)))).collect();
        self.meta.roster.begin_anew();
        self.meta.recovery = None;
        if !copied.hold {
            return;
        }
        let known = self.longest_granted();
        let longest = copied.longest.map_or(known, |told| told.max(known));
        let Copied { source, cluster, index, wall, .. } = *copied;
        let until = now.plus_lifetime(longest).plus(slack(longest));
        let until = if longest.is_infinite() { ClusterTime::NEVER } else { until };
        self.meta.feature_level = self.meta.feature_level.max(RECOVERY_LEVEL);
        self.meta.recovery =
            Some(Recovery { source, cluster, index, wall, since: now, longest, until });
        let reserve = |lease: &Arc<Lease>| lease.state == LeaseState::Assigned;
        let held: Vec<Arc<Lease>> =
            self.leases.table().values().filter(|lease| reserve(lease)).cloned().collect();
        for lease in held {
            let reserved_until = lease.reserved_until.max(until);
            let due = lease.due.max(until);
            self.leases.put(Lease { reserved_until, due, ..Lease::clone(&lease) });
        }
    }

    /// The highest number that a node ever had, as far as the machine knows; 0 for none.
    pub fn highest_node(&self) -> NodeId {
        let known = self.meta.nodes.get_max().map_or(NodeId(0), |(node, _)| *node);
        let admitted = self.meta.roster.admissions().map(|(node, _)| node);
        let given = NodeId(self.meta.roster.next().saturating_sub(1));
        admitted.fold(known.max(given), NodeId::max)
    }

    /// The longest lifetime that any configuration which is kept lets a client have, or that a lease has.
    /// Leases without an end that an administrator made do not count: they are in the table.
    pub fn longest_granted(&self) -> Lifetime {
        let versions = self.meta.history().filter_map(|version| self.meta.sources(version.number));
        let read = versions.filter_map(|sources| sources.config().ok());
        let current = self.meta.config.iter().map(|config| longest_in(config));
        let leases = self.leases.table().values().map(|lease| lease.valid);
        let configured = read.map(|config| longest_in(&config)).chain(current).max();
        let leased = leases.filter(|valid| !valid.is_infinite()).max();
        configured.max(leased).unwrap_or(Lifetime::from_secs(86_400))
    }

    /// One step towards the end of the hold. Leases get their own ends back, so many at a time (R22); with
    /// the last of them the hold is over.
    pub(super) fn end_hold(&mut self, step: &EndHold) -> Outcome {
        let now = self.meta.now;
        let Some(recovery) = self.meta.recovery.filter(|recovery| recovery.holds_at(now)) else {
            return Outcome::HoldEnded;
        };
        let mut rest = self.leases.table().range(u32::from(step.from)..).map(|(_, lease)| lease);
        let moved: Vec<Arc<Lease>> = rest
            .by_ref()
            .take(EndHold::MAX)
            .filter(|lease| {
                lease.state == LeaseState::Assigned
                    && lease.reserved_until == recovery.until
                    && lease.expires < lease.reserved_until
            })
            .cloned()
            .collect();
        let next = rest.next().map(|lease| lease.address);
        let config = self.meta.config.clone();
        for lease in moved {
            let subnet = config.as_ref().and_then(|config| config.subnet(lease.subnet));
            let grace = subnet.map_or(Duration::ZERO, |subnet| self.grace(lease.valid, subnet));
            let (reserved_until, due) = (lease.expires, lease.expires.plus(grace));
            self.leases.put(Lease { reserved_until, due, ..Lease::clone(&lease) });
        }
        match next {
            Some(next) => Outcome::HoldEnding { next },
            None => {
                self.meta.recovery = Some(Recovery { until: now, ..recovery });
                Outcome::HoldEnded
            }
        }
    }
}

/// The feature level that brought all this (R24).
pub(super) const RECOVERY_LEVEL: u32 = 2;

/// Clocks of clients run as they like: the grace of R7, as it is by default.
fn slack(longest: Lifetime) -> Duration {
    Duration::from_millis((u64::from(longest.as_secs()) * 10).clamp(2_000, 600_000))
}

/// The longest lifetime that a client can get. BOOTP clients know no end.
fn longest_in(config: &Config) -> Lifetime {
    if config.hooks.bootp {
        return Lifetime::INFINITE;
    }
    let of_subnets = config.subnets.iter().flat_map(|subnet| {
        let values = &subnet.values;
        [values.max_valid_lifetime, values.valid_lifetime, values.min_valid_lifetime]
    });
    let classes = config.classes.iter().filter_map(|class| class.lifetimes);
    let of_classes = classes.flat_map(|times| [times.max, times.valid, times.min]);
    of_subnets.chain(of_classes).max().unwrap_or(Lifetime::from_secs(0))
}
