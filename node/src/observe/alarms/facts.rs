//! What alarms are judged by. Plain data, gathered by the node; parts that cannot know something leave it
//! at its default, which raises nothing.

use std::time::Duration;

/// What a node sees.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    /// This node's number.
    pub node: u64,
    /// Monotonic.
    pub now: Duration,
    /// Unix milliseconds.
    pub wall: i64,
    /// Since the start of the process.
    pub uptime: Duration,
    /// Whether this node leads a majority or hears a leader.
    pub has_majority: bool,
    /// Entries committed that this node has not applied.
    pub lag: u64,
    /// The other members.
    pub peers: Vec<Peer>,
    /// The version of this program.
    pub version: String,
    /// The highest feature level that all members know, and the one in force; 0 for unknown.
    pub level: (u32, u32),
    /// The configuration that is applied, and the one that the sockets follow.
    pub config: (u64, u64),
    /// What of it this node could not do.
    pub config_problems: Vec<String>,
    /// The disk of the data directory.
    pub disk: Disk,
    /// Subnets, or shared networks, with their addresses.
    pub pools: Vec<Pool>,
    /// Certificates that this node shows.
    pub certificates: Vec<Certificate>,
    /// Who may come in that should not.
    pub doors: Vec<String>,
    /// In what the state of this node differs from that of others at the same entry.
    pub state_differs: Option<String>,
    /// Until when addresses are kept back after a recovery, in words (R28).
    pub recovery_hold: Option<String>,
    /// Why lease events are not written: the history, and the log of leases.
    pub not_written: Vec<(&'static str, String)>,
}

/// Another member.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peer {
    /// Its number.
    pub node: u64,
    /// Its label.
    pub name: String,
    /// Whether it is expected to be there: not drained, not in maintenance, not gone for good.
    pub expected: bool,
    /// How long ago it was heard; `None` if never since this node's start.
    pub heard_ago: Option<Duration>,
    /// Entries committed that it has not applied, by its own word.
    pub lag: Option<u64>,
    /// How far its wall clock is ahead of this node's, milliseconds.
    pub clock: Option<i64>,
    /// The version of its program; empty for unknown.
    pub version: String,
}

impl Peer {
    /// What it is called.
    pub fn title(&self) -> String {
        match self.name.as_str() {
            "" => format!("node {}", self.node),
            name => format!("node {} ({name})", self.node),
        }
    }
}

/// The disk of the data directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disk {
    /// For how long the sync that is under way has been.
    pub stall: Duration,
    /// The longest sync of the last minute.
    pub longest: Duration,
    /// Bytes free, and of the whole file system.
    pub space: Option<(u64, u64)>,
    /// Whether the reserve is reached, below which this node gives up leadership.
    pub low: bool,
    /// Why this node does not write any more.
    pub full: Option<String>,
}

/// Addresses that clients share.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pool {
    /// `subnet 7 (192.0.2.0/24)` or `network floor-a`.
    pub name: String,
    /// Addresses in its pools.
    pub size: u64,
    /// Of those, assigned or declined.
    pub used: u64,
    /// Of those, declined.
    pub declined: u64,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Certificate {
    /// What it is for: `control 192.0.2.1:8443`, `peer`.
    pub what: String,
    /// Its file.
    pub file: String,
    /// The end of its validity, Unix seconds.
    pub not_after: i64,
}
