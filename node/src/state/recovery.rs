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
//! 1. **An address that the copy lists as leased goes to nobody but its client.** Its lease may have been
//!    renewed until the last moment, so it is not due (R7) before the end of the hold, whatever its ends in
//!    the copy are; those stay as they were (R6). If it was somebody else's at last, that client is refused
//!    when it renews and gets another address: an interruption, never a twin.
//! 2. **Every address is held whose lease was not granted since** ([`super::View::is_held`]): those that
//!    the copy does not list, and those that it does, since the client in the copy may have left and
//!    another be there now. A held address goes to a client that says it is its own, by RENEW, REBIND or
//!    INIT-REBOOT: at most one client can rightly say so. A client that says nothing of the kind gets it
//!    only after a ping check ([`super::Grant::checked`]), which the engine makes whatever the configuration
//!    says of ping checks; that nobody answers is no proof, and it is what R28 asks for. `apply` refuses it
//!    without.
//! 3. An address that was granted since is known while that lease lasts, and the ordinary rules are all
//!    there is to it. When the lease has ended it is held once more: nobody answered when it was checked,
//!    and that was no proof. It costs a ping.
//! 4. Who answers a ping at a held address is taken for its holder: the address does not go into
//!    probation, for then its holder could not claim it.
//!
//! A client in INIT-REBOOT may ask for an address whose time was over long ago and that went to another
//! since the copy. RFC 2131 (§3.2, §4.4.2) has clients do this only while the lease lasts; one that does
//! not keep to that is the risk that R28 takes with this message.
//!
//! Administrators' commands are not held up (R9). What ends the hold early is an operator's word
//! ([`super::EndHold`]), or none to begin with.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::State;
use super::command::{EndHold, Liveness};
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

    /// Whether the last grant of the lease is one that the copy tells of.
    pub fn is_of_copy(&self, lease: &Lease) -> bool {
        lease.granted < self.since
    }

    /// Before when nobody else may have the address of the lease, whatever its own ends are: none that the
    /// copy lists as leased is free before the hold is over, not even if its client has come back for less.
    pub(super) fn keeps(&self, lease: &Lease, now: ClusterTime) -> ClusterTime {
        match self.holds_at(now) && lease.due >= self.until {
            true => self.until,
            false => ClusterTime::ZERO,
        }
    }

    /// The lease as its own ends have it, if the hold is what keeps its address. `grace` is that of a
    /// lifetime.
    fn let_go(&self, lease: &Lease, grace: impl Fn(Lifetime) -> Duration) -> Option<Lease> {
        let kept = lease.state == LeaseState::Assigned && lease.due == self.until;
        let own = lease.reserved_until;
        // Who came back for less may not have heard of it, and believe what the old cluster said (R6). Of
        // leases without an end nobody can tell, and an operator has to.
        let told = match self.is_of_copy(lease) || self.longest.is_infinite() {
            true => own,
            false => self.until.min(lease.granted.plus_lifetime(self.longest)),
        };
        let reserved_until = own.max(told);
        let due = reserved_until.plus(grace(lease.valid.max(self.longest)));
        kept.then(|| Lease { reserved_until, due, ..Lease::clone(lease) })
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
    /// How much time has passed since, as far as people's clocks tell. With a hold leases end by it where
    /// everybody sees them end, and safety does not rest on it. Without one it would: then only people's
    /// time goes on by it, and every lease has what was left of it (R11, R12).
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
        let former = self.meta.recovery.take().filter(|former| former.holds_at(self.meta.now));
        let since = match copied.hold {
            // Later than all that the copy tells of: that is how one knows what was granted since.
            true => self.meta.now.plus(copied.passed.max(Duration::from_millis(1))),
            false => {
                let passed = i64::try_from(copied.passed.as_millis()).unwrap_or(i64::MAX);
                let offset = &mut self.meta.wall_offset.0;
                *offset = offset.saturating_add(passed);
                self.meta.now
            }
        };
        self.meta.now = since;
        let departed = |entry: &NodeEntry| match entry.liveness {
            Liveness::Left => entry.clone(),
            _ => NodeEntry { liveness: Liveness::Left, since, ..entry.clone() },
        };
        let nodes = self.meta.nodes.iter();
        self.meta.nodes = nodes.map(|(id, entry)| (*id, Arc::new(departed(entry)))).collect();
        self.meta.roster.begin_anew();
        if copied.hold {
            self.hold(copied, since, former);
        } else if let Some(former) = former {
            self.let_go(&former, 0, usize::MAX);
        }
    }

    /// Begins a hold. One that the copy was still under goes on in it.
    fn hold(&mut self, copied: &Copied, since: ClusterTime, former: Option<Recovery>) {
        let known = copied.longest.into_iter().chain(former.map(|former| former.longest));
        let longest = known.fold(self.longest_granted(), Lifetime::max);
        let Copied { source, cluster, index, wall, .. } = *copied;
        let until = since.plus_lifetime(longest).plus(slack(longest));
        let until = if longest.is_infinite() { ClusterTime::NEVER } else { until };
        let until = former.map_or(until, |former| until.max(former.until));
        self.meta.feature_level = self.meta.feature_level.max(RECOVERY_LEVEL);
        self.meta.recovery = Some(Recovery { source, cluster, index, wall, since, longest, until });
        let kept = |lease: &Arc<Lease>| lease.state == LeaseState::Assigned && lease.due < until;
        let kept: Vec<Arc<Lease>> =
            self.leases.table().values().filter(|lease| kept(lease)).cloned().collect();
        for lease in kept {
            self.leases.put(Lease { due: until, ..Lease::clone(&lease) });
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
        let next = self.let_go(&recovery, step.from.into(), EndHold::MAX);
        match next {
            Some(next) => Outcome::HoldEnding { next },
            None => {
                self.meta.recovery = Some(Recovery { until: now, ..recovery });
                Outcome::HoldEnded
            }
        }
    }

    /// Gives those of the `most` leases from `from` on their own ends back that the hold keeps. Returns
    /// where the rest begins.
    fn let_go(&mut self, recovery: &Recovery, from: u32, most: usize) -> Option<Ipv4Addr> {
        let config = self.meta.config.clone();
        let mut rest = self.leases.table().range(from..).map(|(_, lease)| lease);
        let own = |lease: &Arc<Lease>| {
            let subnet = config.as_ref().and_then(|config| config.subnet(lease.subnet));
            let grace = |of| subnet.map_or(Duration::ZERO, |subnet| self.grace(of, subnet));
            recovery.let_go(lease, grace)
        };
        let moved: Vec<Lease> = rest.by_ref().take(most).filter_map(own).collect();
        let next = rest.next().map(|lease| lease.address);
        moved.into_iter().for_each(|lease| _ = self.leases.put(lease));
        next
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
