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
use super::machine::is_followed;
use super::recover::{RecoverError, Recovered, recover};
use crate::state::{Batch, Copied, Recovery, Source, State, document, wire as state_wire};
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
    /// While the membership changes, there are two sets of them, and what is decided needs a majority of
    /// each. Empty in a report of a version that did not tell.
    #[serde(default)]
    pub voter_sets: Vec<Vec<u64>>,
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
    /// This program is not the one that the nodes ran, and would not do with an entry what they did (R24).
    #[error(
        "{0}: entry {1} cannot be followed: {2}. Use the cluster-ctl that came with the version that the nodes ran"
    )]
    OtherVersion(PathBuf, u64, String),
    /// The machine breaks a promise.
    #[error("{0}: the machine there is not consistent: {1}")]
    Inconsistent(PathBuf, String),
    /// A cluster cannot have the id of the one that it replaces: nodes of the old one would be let in.
    #[error("{0:016x} is the id of the cluster that was lost: the new one needs its own")]
    SameCluster(u64),
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
        voter_sets: voter_sets(membership).map(<[u64]>::to_vec).collect(),
        leases: view.lease_count() as u64,
        config_version: view.config_version().0,
        time: view.meta().wall_seconds(now),
    }
}

fn voter_sets(membership: &proto::StoredMembership) -> impl Iterator<Item = &[u64]> {
    let configs = membership.membership.iter().flat_map(|membership| &membership.configs);
    configs.map(|voters| voters.nodes.as_slice())
}

fn voters(membership: &proto::StoredMembership) -> Vec<u64> {
    let mut voters: Vec<u64> = voter_sets(membership).flatten().copied().collect();
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
                    follow(&mut state, entry.id.index, &batch).map_err(|why| {
                        RescueError::OtherVersion(dir.to_path_buf(), entry.id.index, why)
                    })?;
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

/// Applies an entry as a node does. What a node stops at would make another machine here.
fn follow(state: &mut State, index: u64, batch: &Batch) -> Result<(), String> {
    let prepared = state.view().meta().prepare(batch, &mut document::read);
    state.apply_prepared(index, batch, prepared.map_err(|it| it.to_string())?);
    is_followed(state.view().meta().feature_level()).map_err(|it| it.to_string())
}

/// What survivors have together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Which of them to keep: its place in what was given.
    pub keep: usize,
    /// Voters of whom there is nothing.
    pub missing: Vec<u64>,
    /// Whether those that are there are a majority, of both sets of voters while the membership changes:
    /// then nothing need be given up.
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
    let sets = match best.voter_sets.as_slice() {
        [] => std::slice::from_ref(&best.voters),
        sets => sets,
    };
    let majority = sets.iter().all(|set| set.iter().filter(there).count() > set.len() / 2);
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
    if *cluster == Some(seat.cluster) {
        return Err(RescueError::SameCluster(seat.cluster));
    }
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
    use crate::state::testing::machine;
    use crate::state::{Command, SetConfig, feature};
    use crate::storage::Entry;
    use crate::types::ClusterTime;

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
            voter_sets: vec![vec![1, 2, 3, 4, 5]],
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
    fn while_the_membership_changes_a_majority_of_each_set_of_voters_is_needed() {
        let moving = |node| Survivor {
            voters: vec![1, 2, 3, 4, 5],
            voter_sets: vec![vec![1, 2, 3], vec![3, 4, 5]],
            ..survivor(node, 1, 9)
        };
        let is_majority = |nodes: &[u64]| {
            let survivors: Vec<_> = nodes.iter().map(|node| moving(*node)).collect();
            plan(&survivors).unwrap().majority
        };
        assert!(!is_majority(&[1, 2, 3]), "three of five, but one of the new three");
        assert!(!is_majority(&[3, 4, 5]));
        assert!(is_majority(&[2, 3, 4]) && is_majority(&[1, 2, 4, 5]));
        // A report that tells of no sets has one.
        let old = |node| Survivor { voter_sets: Vec::new(), ..moving(node) };
        assert!(plan(&[old(1), old(2), old(3)]).unwrap().majority);
        assert!(!plan(&[old(1), old(2)]).unwrap().majority);
    }

    /// The data directory of a stopped node whose last entry is `command`.
    fn stopped_after(command: Command) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let (state, cluster) = (machine(r#"{"Dhcp4":{}}"#, 0), Some(7));
        let position = LogId { term: 1, node: 1, index: state.applied() };
        let (address, above) = ("192.0.2.1:7701".to_owned(), NodeId(1));
        let founding = Founding { state, position, term: 1, above, address, cluster };
        found(dir.path(), founding).unwrap();
        let batch = Batch { stamp: ClusterTime::ZERO, commands: vec![command] };
        let id = LogId { index: position.index + 1, ..position };
        let entry = Entry { id, body: Body::Batch(state_wire::encode_batch(&batch)) };
        let log = dir.path().join("log");
        let log = DiskLog::open(&log, LogSettings::default(), Arc::new(|_, _| {})).unwrap();
        let (sent, received) = std::sync::mpsc::sync_channel(1);
        log.append(vec![entry], Box::new(move |done| sent.send(done).unwrap())).unwrap();
        received.recv().unwrap().unwrap();
        dir
    }

    #[test]
    fn r24_an_entry_that_a_node_would_stop_at_is_not_passed_over() {
        let set = |text: &str| Command::SetConfig(SetConfig::json(text));
        let dir = stopped_after(set(r#"{"Dhcp4":{"valid-lifetime":600}}"#));
        assert_eq!(inspect(dir.path()).unwrap().config_version, 2);
        for (command, what) in [
            (set(r#"{"Dhcp4":{"a-word-of-a-later-version":1}}"#), "cannot read configuration 2"),
            (Command::RaiseLevel(feature::CURRENT + 1), "feature level"),
        ] {
            let dir = stopped_after(command);
            let into = dir.path().join("new");
            let (address, cluster) = ("192.0.2.2:7701".to_owned(), None);
            let rescued = rescue(&Rescue {
                dir: dir.path().to_path_buf(),
                into: into.clone(),
                address,
                cluster,
                hold: true,
                longest: None,
            });
            let error = rescued.unwrap_err();
            assert!(matches!(error, RescueError::OtherVersion(_, 2, _)), "{error}");
            assert!(error.to_string().contains(what), "{error}");
            assert!(!into.exists());
        }
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
