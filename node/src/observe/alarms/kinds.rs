//! Every kind of alarm, in one table.

use std::fmt;
use std::time::Duration;

use super::{Facts, Severity};

/// Something found that may become an alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about; no two findings of a kind are about the same.
    pub about: String,
    /// One sentence.
    pub text: String,
}

/// Whether there is an alarm about this already: then the limit that ends it counts.
pub type IsRaised<'a> = &'a dyn Fn(&str) -> bool;

/// A kind of alarm.
pub struct Kind {
    /// Its name, for scripts, and for ever.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it means, for lists.
    pub about: &'static str,
    /// What to do, in a sentence.
    pub remedy: &'static str,
    /// How long it must have been there.
    pub raise_after: Duration,
    /// How long it must have been gone.
    pub clear_after: Duration,
    find: fn(&Facts, IsRaised<'_>) -> Vec<Finding>,
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id)
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Kind) -> bool {
        self.id == other.id
    }
}

impl Eq for Kind {}

impl Kind {
    pub(super) fn find(&self, facts: &Facts, is_raised: IsRaised<'_>) -> Vec<Finding> {
        (self.find)(facts, is_raised)
    }
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const DAY: u64 = 86_400;
/// A peer that is silent for so long is more than late.
const SILENT: Duration = s(2);
/// Entries that a node may be behind, and where it has caught up again.
const LAG: (u64, u64) = (5_000, 1_000);
/// A sync that takes so long is felt by clients.
const SLOW: Duration = Duration::from_millis(500);
/// Free parts of the disk, in percent: where it fills, and where there is room again.
const FILLING: (u64, u64) = (10, 12);
/// Free bytes: where it fills, and where there is room again.
const FILLING_BYTES: (u64, u64) = (1 << 30, 5 << 28);
/// Clock difference, milliseconds (R13).
const CLOCKS: (i64, i64) = (2_000, 1_500);

/// The table. An id is a heading of `docs/troubleshooting.md`.
#[rustfmt::skip]
pub const KINDS: &[Kind] = &[
    Kind { id: "no-majority", severity: Severity::Critical,
        about: "This node hears no leader that has a majority: it answers no client.",
        remedy: "Bring back nodes or the network between them; cluster-ctl status at each node shows who is missing.",
        raise_after: s(2), clear_after: s(1), find: no_majority },
    Kind { id: "state-differs", severity: Severity::Critical,
        about: "Nodes have different states at the same entry of the log, which must never be.",
        remedy: "Save a snapshot and a debug bundle of each node, then replace the node that differs.",
        raise_after: s(0), clear_after: s(0), find: state_differs },
    Kind { id: "disk-full", severity: Severity::Critical,
        about: "There is no room on the data directory's file system: this node does not take part.",
        remedy: "Make room on the file system; the node goes on by itself.",
        raise_after: s(0), clear_after: s(5), find: disk_full },
    Kind { id: "pool-nearly-full", severity: Severity::Critical,
        about: "90 % or more of the addresses of a subnet or shared network are in use.",
        remedy: "Add a pool, or shorten valid-lifetime.",
        raise_after: s(0), clear_after: s(30), find: pool_nearly_full },
    Kind { id: "certificate-nearly-expired", severity: Severity::Critical,
        about: "A certificate ends within 7 days, or has ended.",
        remedy: "Put a new certificate in its place and send SIGHUP to the node.",
        raise_after: s(0), clear_after: s(0), find: certificate_nearly_expired },
    Kind { id: "node-silent", severity: Severity::Critical,
        about: "Another node does not answer this one.",
        remedy: "Look at that node's process, machine and network; replace it if it does not come back.",
        raise_after: s(3), clear_after: s(5), find: node_silent },
    Kind { id: "node-lagging", severity: Severity::Warning,
        about: "A node is far behind in applying what is committed.",
        remedy: "Look at its disk and processor; it catches up by itself when they allow.",
        raise_after: s(10), clear_after: s(5), find: node_lagging },
    Kind { id: "disk-slow", severity: Severity::Warning,
        about: "A write to the log took half a second or more to reach the disk.",
        remedy: "Find what else uses the disk; give the data directory a disk of its own.",
        raise_after: s(0), clear_after: s(60), find: disk_slow },
    Kind { id: "disk-filling", severity: Severity::Warning,
        about: "Less than a tenth, or less than 1 GiB, is free on the data directory's file system.",
        remedy: "Make room; [history] keep-days and max-bytes bound what lease history takes.",
        raise_after: s(10), clear_after: s(30), find: disk_filling },
    Kind { id: "pool-filling", severity: Severity::Warning,
        about: "80 % or more of the addresses of a subnet or shared network are in use.",
        remedy: "Plan for more addresses, or shorten valid-lifetime.",
        raise_after: s(0), clear_after: s(30), find: pool_filling },
    Kind { id: "many-declines", severity: Severity::Warning,
        about: "Clients found many addresses of a subnet in use by somebody else.",
        remedy: "Look for static addresses inside the pool, or another DHCP server.",
        raise_after: s(0), clear_after: s(60), find: many_declines },
    Kind { id: "clock-difference", severity: Severity::Warning,
        about: "The wall clocks of two nodes differ by more than 2 s. Leases do not depend on them.",
        remedy: "Look at NTP on both machines.",
        raise_after: s(10), clear_after: s(30), find: clock_difference },
    Kind { id: "certificate-expiring", severity: Severity::Warning,
        about: "A certificate ends within 30 days.",
        remedy: "Put a new certificate in its place and send SIGHUP to the node.",
        raise_after: s(0), clear_after: s(0), find: certificate_expiring },
    Kind { id: "versions-mixed", severity: Severity::Warning,
        about: "Nodes have run different versions, or a feature level below what all could have, for 7 days.",
        remedy: "Finish the upgrade: cluster-ctl upgrade status.",
        raise_after: s(7 * DAY), clear_after: s(60), find: versions_mixed },
    Kind { id: "config-inactive", severity: Severity::Warning,
        about: "A part of the configuration is not active on this node.",
        remedy: "Mend what the text names, or change the configuration.",
        raise_after: s(30), clear_after: s(5), find: config_inactive },
    Kind { id: "recovery-hold", severity: Severity::Warning,
        about: "After a restore or a recovery, addresses that may be in use are given to nobody new.",
        remedy: "Nothing: it ends by itself.",
        raise_after: s(0), clear_after: s(0), find: recovery_hold },
    Kind { id: "open-door", severity: Severity::Warning,
        about: "This node may be reached by people or nodes that should not reach it.",
        remedy: "Set up users and TLS: docs/access.md.",
        raise_after: s(5), clear_after: s(0), find: open_door },
    Kind { id: "history-not-written", severity: Severity::Warning,
        about: "Lease events do not reach the lease history or the log of leases.",
        remedy: "Look at the file system that the text names; the node goes on trying.",
        raise_after: s(2), clear_after: s(5), find: history_not_written },
];

fn one(text: impl Into<String>) -> Vec<Finding> {
    vec![Finding { about: String::new(), text: text.into() }]
}

fn no_majority(facts: &Facts, _: IsRaised<'_>) -> Vec<Finding> {
    if facts.has_majority {
        return Vec::new();
    }
    let silent = |peer: &&super::Peer| peer.heard_ago.is_none_or(|ago| ago > SILENT);
    let missing: Vec<String> = facts.peers.iter().filter(silent).map(super::Peer::title).collect();
    match missing.is_empty() {
        true => one("this node hears no leader that has a majority: it answers no client"),
        false => one(format!(
            "this node hears no leader that has a majority, and answers no client; silent: {}",
            missing.join(", ")
        )),
    }
}

fn state_differs(facts: &Facts, _: IsRaised<'_>) -> Vec<Finding> {
    facts.state_differs.clone().map(one).unwrap_or_default()
}

fn node_silent(facts: &Facts, _: IsRaised<'_>) -> Vec<Finding> {
    // Who hears nobody is more likely the one that is cut off.
    if !facts.has_majority {
        return Vec::new();
    }
    let silent = facts.peers.iter().filter(|peer| peer.expected).filter_map(|peer| {
        let text = match peer.heard_ago {
            Some(ago) if ago <= SILENT => return None,
            Some(_) => format!("{} does not answer", peer.title()),
            None if facts.uptime < s(10) => return None,
            None => format!("{} has not been heard since this node started", peer.title()),
        };
        Some(Finding { about: format!("node {}", peer.node), text })
    });
    silent.collect()
}

fn node_lagging(facts: &Facts, is_raised: IsRaised<'_>) -> Vec<Finding> {
    let own = (format!("node {}", facts.node), Some(facts.lag), "this node".to_owned());
    let heard = facts.peers.iter().filter(|peer| peer.heard_ago.is_some_and(|ago| ago <= SILENT));
    let peers = heard.map(|peer| (format!("node {}", peer.node), peer.lag, peer.title()));
    let behind = std::iter::once(own).chain(peers).filter_map(|(about, lag, title)| {
        let lag = lag?;
        let limit = if is_raised(&about) { LAG.1 } else { LAG.0 };
        (lag > limit).then(|| Finding {
            about,
            text: format!("{title} has {lag} committed entries to apply"),
        })
    });
    behind.collect()
}

fn disk_slow(facts: &Facts, _: IsRaised<'_>) -> Vec<Finding> {
    let Facts { disk, .. } = facts;
    if disk.stall >= SLOW {
        return one(format!(
            "a write to the log has not reached the disk for {:.1} s",
            disk.stall.as_secs_f64()
        ));
    }
    if disk.longest >= SLOW {
        return one(format!(
            "a write to the log took {:.1} s to reach the disk",
            disk.longest.as_secs_f64()
        ));
    }
    Vec::new()
}

fn disk_full(facts: &Facts, _: IsRaised<'_>) -> Vec<Finding> {
    facts.disk.full.clone().map(one).unwrap_or_default()
}

fn disk_filling(facts: &Facts, is_raised: IsRaised<'_>) -> Vec<Finding> {
    let Some((free, size)) = facts.disk.space.filter(|_| facts.disk.full.is_none()) else {
        return Vec::new();
    };
    let raised = is_raised("");
    let percent = if raised { FILLING.1 } else { FILLING.0 };
    let bytes = if raised { FILLING_BYTES.1 } else { FILLING_BYTES.0 };
    if !facts.disk.low && free >= bytes && free / percent >= size / 100 {
        return Vec::new();
    }
    let given_up = if facts.disk.low { ", too few for this node to lead" } else { "" };
    one(format!(
        "{} MiB of {} MiB are free on the data directory's file system{given_up}",
        free >> 20,
        size >> 20
    ))
}

/// Whether `part` is so many hundredths of `whole`, or more.
fn reaches(part: u64, whole: u64, percent: u64) -> bool {
    whole > 0 && part.saturating_mul(100) >= whole.saturating_mul(percent)
}

fn is_nearly_full(pool: &super::Pool, raised: bool) -> bool {
    reaches(pool.used, pool.size, if raised { 85 } else { 90 })
}

fn usage(pool: &super::Pool) -> Finding {
    let super::Pool { name, size, used, .. } = pool;
    let percent = used.saturating_mul(100) / (*size).max(1);
    Finding {
        about: name.clone(),
        text: format!("{used} of {size} addresses of {name} are in use, {percent} %"),
    }
}

fn pool_nearly_full(facts: &Facts, is_raised: IsRaised<'_>) -> Vec<Finding> {
    let full = |pool: &&super::Pool| is_nearly_full(pool, is_raised(&pool.name));
    facts.pools.iter().filter(full).map(usage).collect()
}

fn pool_filling(facts: &Facts, is_raised: IsRaised<'_>) -> Vec<Finding> {
    let filling = |pool: &&super::Pool| {
        let limit = if is_raised(&pool.name) { 75 } else { 80 };
        reaches(pool.used, pool.size, limit) && !is_nearly_full(pool, false)
    };
    facts.pools.iter().filter(filling).map(usage).collect()
}

fn many_declines(facts: &Facts, is_raised: IsRaised<'_>) -> Vec<Finding> {
    let many = |pool: &&super::Pool| {
        let limit = if is_raised(&pool.name) { 2 } else { 5 };
        pool.declined >= 50 || pool.declined >= 3 && reaches(pool.declined, pool.size, limit)
    };
    let finding = |pool: &super::Pool| Finding {
        about: pool.name.clone(),
        text: format!(
            "{} of {} addresses of {} were declined: somebody else uses them",
            pool.declined, pool.size, pool.name
        ),
    };
    facts.pools.iter().filter(many).map(finding).collect()
}

fn clock_difference(facts: &Facts, is_raised: IsRaised<'_>) -> Vec<Finding> {
    let apart = facts.peers.iter().filter_map(|peer| {
        let about = format!("node {}", peer.node);
        let ahead = peer.clock.filter(|_| peer.heard_ago.is_some_and(|ago| ago <= SILENT))?;
        let limit = if is_raised(&about) { CLOCKS.1 } else { CLOCKS.0 };
        let seconds = ahead.unsigned_abs() as f64 / 1000.0;
        let where_to = if ahead > 0 { "ahead of" } else { "behind" };
        (ahead.abs() > limit).then(|| Finding {
            about,
            text: format!("the clock of {} is {seconds:.1} s {where_to} this node's", peer.title()),
        })
    });
    apart.collect()
}

fn certificates(facts: &Facts, days: std::ops::Range<i64>) -> Vec<Finding> {
    let near = facts.certificates.iter().filter_map(|certificate| {
        let left = certificate.not_after - facts.wall.div_euclid(1000);
        let day = left.div_euclid(DAY as i64);
        let super::Certificate { what, file, .. } = certificate;
        days.contains(&day).then(|| Finding {
            about: what.clone(),
            text: match left {
                ..=0 => format!("the certificate of {what}, {file}, has expired"),
                _ => format!("the certificate of {what}, {file}, expires in {} days", day.max(0)),
            },
        })
    });
    near.collect()
}

fn certificate_nearly_expired(facts: &Facts, _: IsRaised<'_>) -> Vec<Finding> {
    certificates(facts, i64::MIN..7)
}

fn certificate_expiring(facts: &Facts, _: IsRaised<'_>) -> Vec<Finding> {
    certificates(facts, 7..30)
}

fn versions_mixed(facts: &Facts, _: IsRaised<'_>) -> Vec<Finding> {
    let others = facts.peers.iter().filter(|peer| peer.expected && !peer.version.is_empty());
    let different: Vec<String> = others
        .filter(|peer| peer.version != facts.version)
        .map(|peer| format!("{} runs {}", peer.title(), peer.version))
        .collect();
    let (known, in_force) = facts.level;
    if !different.is_empty() {
        return one(format!(
            "this node runs {}, {}: an upgrade is not finished",
            facts.version,
            different.join(", ")
        ));
    }
    if in_force > 0 && in_force < known {
        return one(format!(
            "feature level {in_force} is in force, and all nodes know {known}: cluster-ctl upgrade finalize"
        ));
    }
    Vec::new()
}

fn config_inactive(facts: &Facts, _: IsRaised<'_>) -> Vec<Finding> {
    let (applied, active) = facts.config;
    if !facts.config_problems.is_empty() {
        return one(facts.config_problems.join("; "));
    }
    if active < applied {
        return one(format!("configuration {applied} is in force, and {active} is active here"));
    }
    Vec::new()
}

fn recovery_hold(facts: &Facts, _: IsRaised<'_>) -> Vec<Finding> {
    facts.recovery_hold.clone().map(one).unwrap_or_default()
}

fn open_door(facts: &Facts, _: IsRaised<'_>) -> Vec<Finding> {
    let door = |(at, text): (usize, &String)| Finding {
        about: format!("door {}", at + 1),
        text: text.clone(),
    };
    facts.doors.iter().enumerate().map(door).collect()
}

fn history_not_written(facts: &Facts, _: IsRaised<'_>) -> Vec<Finding> {
    let finding = |(what, why): &(&'static str, String)| Finding {
        about: (*what).to_owned(),
        text: format!("{what}: {why}"),
    };
    facts.not_written.iter().map(finding).collect()
}
