//! A lost majority: what is left in the data directories of the survivors, and a new cluster of one
//! made from the best of them. Offline: the nodes are stopped.
//!
//! An acknowledged entry is on the disks of a majority, but not of any particular nodes: what only the
//! lost ones had cannot be excluded, and nobody can tell whether there was any. The survivor with the
//! highest last entry (the order of Raft: term, then index) has everything that any other survivor has
//! of what was ever acknowledged. *All* of its log counts, also what it never heard to be committed: an
//! entry that was not acknowledged does no harm, one that was must not be lost. For what may be missing
//! R28 holds, as after a restore (`state/recovery.rs`).
//!
//! The directory of the survivor is read as a start reads it, and is not turned into that of the new
//! node: that gets a directory of its own, so that whatever goes wrong can be done once more.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use leasehold_proto::raft as proto;
use prost::Message;
use serde::{Deserialize, Serialize};

use super::found::{FoundError, Founded, Founding, found, highest_node};
use super::recover::{RecoverError, Recovered, recover};
use crate::state::{Copied, Recovery, Source, State, wire as state_wire};
use crate::storage::{
    Body, DiskLog, Identity, IdentityFile, Log, LogId, LogSettings, OpenError, Seat,
};
use crate::types::{Lifetime, NodeId};

/// How much of the log is read at a time, bytes.
const PORTION: u64 = 4 << 20;

/// What the data directory of a node holds, as a report that can be carried to another machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Survivor {
    /// The directory, on the machine that it was read on.
    pub data_dir: PathBuf,
    /// Its cluster, 16 hexadecimal digits.
    pub cluster: String,
    /// The node.
    pub node: u64,
    /// Its data directory's own id, 16 hexadecimal digits.
    pub instance: String,
    /// The last term that it voted in, or heard of.
    pub term: u64,
    /// The last entry of its log.
    pub last: Position,
    /// The last one that it knew to be committed.
    pub committed: Option<Position>,
    /// The voters, as of its last entry.
    pub voters: Vec<u64>,
    /// Leases, in whatever state, with all of its log.
    pub leases: u64,
    /// The configuration then.
    pub config_version: u64,
    /// When the last entry with a stamp was made, Unix seconds.
    pub time: i64,
}

/// The place of an entry. The order is Raft's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The leader's term.
    pub term: u64,
    /// The leader.
    pub node: u64,
    /// The place in the log.
    pub index: u64,
}

impl From<LogId> for Position {
    fn from(LogId { term, node, index }: LogId) -> Position {
        Position { term, node, index }
    }
}

/// Why a directory tells nothing, or no cluster was made from it.
#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    /// A node runs there.
    #[error("{0} is in use: stop the node first")]
    InUse(PathBuf),
    /// It is not the directory of a member.
    #[error("{0} is not the data directory of a node that belongs to a cluster")]
    NoMember(PathBuf),
    /// Nothing was ever logged there.
    #[error("{0} holds no entry: there is nothing to recover")]
    Nothing(PathBuf),
    /// The disk failed, or a file is damaged.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// The log does not open.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// Log, snapshots and checkpoint do not make a machine.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// An entry cannot be read.
    #[error("{0}: entry {1} cannot be read: {2}")]
    Entry(PathBuf, u64, String),
    /// The machine breaks a promise.
    #[error("{0}: the machine there is not consistent: {1}")]
    Inconsistent(PathBuf, String),
    /// The new directory was not made.
    #[error(transparent)]
    Found(#[from] FoundError),
}

/// A machine with all that a data directory holds.
struct Whole {
    identity: Identity,
    seat: Seat,
    state: State,
    last: LogId,
    term: u64,
    committed: Option<LogId>,
    membership: proto::StoredMembership,
}

/// Reads the data directory of a stopped node. What an interrupted write left at the end of its log is
/// cut off, as a start would.
///
/// # Errors
/// See [`RescueError`].
pub fn inspect(dir: &Path) -> Result<Survivor, RescueError> {
    Ok(described(dir, &read(dir)?))
}

fn described(dir: &Path, whole: &Whole) -> Survivor {
    let Whole { identity, seat, state, last, term, committed, membership } = whole;
    let (view, now) = (state.view(), state.now());
    Survivor {
        data_dir: dir.to_path_buf(),
        cluster: format!("{:016x}", seat.cluster),
        node: seat.node.0,
        instance: format!("{:016x}", identity.instance),
        term: *term,
        last: (*last).into(),
        committed: committed.map(Into::into),
        voters: voters(membership),
        leases: view.lease_count() as u64,
        config_version: view.config_version().0,
        time: view.meta().wall_seconds(now),
    }
}

fn voters(membership: &proto::StoredMembership) -> Vec<u64> {
    let configs = membership.membership.iter().flat_map(|membership| &membership.configs);
    let mut voters: Vec<u64> = configs.flat_map(|voters| voters.nodes.iter().copied()).collect();
    voters.sort_unstable();
    voters.dedup();
    voters
}

fn read(dir: &Path) -> Result<Whole, RescueError> {
    let fault = |source| RescueError::Io { path: dir.to_path_buf(), source };
    let no_member = || RescueError::NoMember(dir.to_path_buf());
    let identity = IdentityFile::at(dir).read().map_err(fault)?.ok_or_else(no_member)?;
    let seat = identity.seat.clone().filter(|seat| !seat.provisional).ok_or_else(no_member)?;
    let lock = File::options().create(true).truncate(false).write(true).open(dir.join("lock"));
    let lock = lock.map_err(fault)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(RescueError::InUse(dir.to_path_buf())),
        Err(TryLockError::Error(error)) => return Err(fault(error)),
    }
    let log = DiskLog::open(&dir.join("log"), LogSettings::default(), Arc::new(|_, _| {}))?;
    let extent = log.extent();
    let Recovered { mut state, base, .. } = recover(dir, &log)?;
    let (mut last, mut membership) = (base.applied, base.membership);
    loop {
        let from = last.map_or(0, |id| id.index + 1);
        let entries = log.read(from, u64::MAX, PORTION).map_err(fault)?;
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            let bad = |why: String| RescueError::Entry(dir.to_path_buf(), entry.id.index, why);
            match entry.body {
                Body::Blank => {}
                Body::Batch(bytes) => {
                    let batch =
                        state_wire::decode_batch(&bytes).map_err(|it| bad(it.to_string()))?;
                    state.apply(entry.id.index, &batch);
                }
                Body::Membership(bytes) => {
                    let decoded = proto::Membership::decode(bytes);
                    let decoded = decoded.map_err(|it| bad(it.to_string()))?;
                    let log_id = Some(entry.id.into());
                    membership = proto::StoredMembership { log_id, membership: Some(decoded) };
                }
            }
            last = Some(entry.id);
        }
    }
    let last = last.ok_or_else(|| RescueError::Nothing(dir.to_path_buf()))?;
    let term = extent.vote.map_or(0, |vote| vote.term).max(last.term);
    Ok(Whole { identity, seat, state, last, term, committed: extent.committed, membership })
}

/// What survivors have together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Which of them to keep: its place in what was given.
    pub keep: usize,
    /// Voters of whom there is nothing.
    pub missing: Vec<u64>,
    /// Whether those that are there are a majority: then nothing need be given up.
    pub majority: bool,
    /// Entries that others lack of what the one to keep has, by place.
    pub behind: Vec<u64>,
}

/// Why survivors cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPlan {
    /// There are none.
    #[error("there is no survivor to keep")]
    Nobody,
    /// They are of different clusters.
    #[error("{0} is of cluster {1}, {2} of cluster {3}: only nodes of one cluster can be compared")]
    Clusters(PathBuf, String, PathBuf, String),
    /// The same node twice.
    #[error("node {0} is there twice, in {1} and {2}")]
    Twice(u64, PathBuf, PathBuf),
}

/// Compares survivors. Pure.
///
/// # Errors
/// See [`NoPlan`].
pub fn plan(survivors: &[Survivor]) -> Result<Plan, NoPlan> {
    let keep = (0..survivors.len()).max_by_key(|at| survivors[*at].last).ok_or(NoPlan::Nobody)?;
    let best = &survivors[keep];
    for (at, one) in survivors.iter().enumerate() {
        if one.cluster != best.cluster {
            let (a, b) = (one.data_dir.clone(), best.data_dir.clone());
            return Err(NoPlan::Clusters(a, one.cluster.clone(), b, best.cluster.clone()));
        }
        if let Some(other) = survivors[..at].iter().find(|other| other.node == one.node) {
            return Err(NoPlan::Twice(one.node, other.data_dir.clone(), one.data_dir.clone()));
        }
    }
    let there = |voter: &&u64| survivors.iter().any(|one| one.node == **voter);
    let missing: Vec<u64> = best.voters.iter().filter(|voter| !there(voter)).copied().collect();
    let majority = best.voters.len() - missing.len() > best.voters.len() / 2;
    let behind = survivors.iter();
    let behind = behind.map(|one| best.last.index.saturating_sub(one.last.index)).collect();
    Ok(Plan { keep, missing, majority, behind })
}

/// What is to be made of a survivor.
#[derive(Debug, Clone)]
pub struct Rescue {
    /// Its data directory.
    pub dir: PathBuf,
    /// The data directory to make.
    pub into: PathBuf,
    /// Where peers will reach the node, `host:port`.
    pub address: String,
    /// The id of the new cluster; `None` draws one.
    pub cluster: Option<u64>,
    /// Whether addresses are held (R28).
    pub hold: bool,
    /// The longest lifetime that the old cluster granted, where the operator knows of a longer one.
    pub longest: Option<Lifetime>,
}

/// What was made.
#[derive(Debug, Clone)]
pub struct Rescued {
    /// What the survivor had.
    pub survivor: Survivor,
    /// The new node.
    pub founded: Founded,
    /// The hold; `None` without one.
    pub hold: Option<Recovery>,
}

/// Makes a new cluster of one node from the data directory of a survivor. The clock of leases goes on
/// where it was: an outage of all does not count (R12).
///
/// # Errors
/// See [`RescueError`].
pub fn rescue(rescue: &Rescue) -> Result<Rescued, RescueError> {
    let Rescue { dir, into, address, cluster, hold, longest } = rescue;
    let whole = read(dir)?;
    let survivor = described(dir, &whole);
    let Whole { seat, mut state, last, term, membership, .. } = whole;
    state.check().map_err(|why| RescueError::Inconsistent(dir.clone(), why))?;
    let above = highest_node(&state, &membership).max(seat.node).max(NodeId(last.node));
    let wall = state.view().meta().wall_millis(state.now());
    state.begin_anew(&Copied {
        source: Source::Survivor,
        cluster: seat.cluster,
        index: last.index,
        wall,
        passed: std::time::Duration::ZERO,
        hold: *hold,
        longest: *longest,
    });
    let hold = state.view().meta().recovery().copied();
    let (address, cluster) = (address.clone(), *cluster);
    let founded = found(into, Founding { state, position: last, term, above, address, cluster })?;
    Ok(Rescued { survivor, founded, hold })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survivor(node: u64, term: u64, index: u64) -> Survivor {
        Survivor {
            data_dir: format!("/n{node}").into(),
            cluster: "000000000000000a".into(),
            node,
            instance: String::new(),
            term,
            last: Position { term, node: 1, index },
            committed: None,
            voters: vec![1, 2, 3, 4, 5],
            leases: 0,
            config_version: 1,
            time: 0,
        }
    }

    #[test]
    fn the_survivor_with_the_highest_last_entry_is_kept_and_the_term_comes_first() {
        let plan = plan(&[survivor(2, 3, 90), survivor(4, 4, 80)]).unwrap();
        assert_eq!((plan.keep, plan.missing, plan.majority), (1, vec![1, 3, 5], false));
        assert_eq!(plan.behind, [0, 0]);
        let plan = super::plan(&[survivor(2, 3, 90), survivor(4, 3, 80), survivor(5, 3, 70)]);
        let plan = plan.unwrap();
        assert_eq!((plan.keep, plan.majority, plan.behind), (0, true, vec![0, 10, 20]));
    }

    #[test]
    fn nodes_of_two_clusters_and_one_node_twice_are_not_compared() {
        let other = Survivor { cluster: "000000000000000b".into(), ..survivor(3, 1, 1) };
        assert!(matches!(plan(&[survivor(2, 3, 9), other]), Err(NoPlan::Clusters(..))));
        assert!(matches!(plan(&[survivor(2, 3, 9), survivor(2, 3, 9)]), Err(NoPlan::Twice(..))));
        assert_eq!(plan(&[]), Err(NoPlan::Nobody));
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let one = Survivor {
            committed: Some(Position { term: 3, node: 1, index: 8 }),
            ..survivor(2, 3, 9)
        };
        let text = serde_json::to_string(&one).unwrap();
        assert!(text.contains("\"data-dir\":\"/n2\""), "{text}");
        assert_eq!(serde_json::from_str::<Survivor>(&text).unwrap(), one);
    }
}
