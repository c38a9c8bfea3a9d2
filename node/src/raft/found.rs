//! A new cluster of one node, made from a machine that is there already: what a restore from a backup
//! and the recovery from a lost majority come to.
//!
//! The new cluster has an id of its own, and its one node a number above all that the old cluster ever
//! gave out, in a directory with an instance id that was drawn for it. So no node of the old cluster can
//! take part in the new one, nor the other way round (R14, R15); and since a directory is founded once
//! and by one draw, no two directories made from the same backup are ever members of one cluster. That
//! is why three nodes are not restored side by side: one is, and the others join it empty.
//!
//! The log begins behind the entry that the machine stands at, under its number, since lease generations
//! and places in histories count on from there; and with a vote for the term of that entry, so that the
//! first leader has a higher one.
//!
//! The identity is written last. A crash before that leaves a directory that no node starts from
//! ([`IdentityFile::open`]) and no restore writes into.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use leasehold_proto::raft as proto;

use super::image;
use crate::state::State;
use crate::storage::{
    Base, DiskLog, Identity, IdentityFile, Log, LogId, LogSettings, OpenError, RosterNode, Seat,
    Snapshots, Vote, draw, move_up, sync_dir,
};
use crate::types::NodeId;

/// What a cluster is made from.
#[derive(Debug)]
pub struct Founding {
    /// The machine. It must know of no node that is not [`crate::state::Liveness::Left`].
    pub state: State,
    /// Where the machine stands.
    pub position: LogId,
    /// The highest term that is known of: the first leader has a higher one.
    pub term: u64,
    /// The highest number that any node ever had.
    pub above: NodeId,
    /// Where peers will reach the node.
    pub address: String,
    /// The id of the new cluster; `None` draws one.
    pub cluster: Option<u64>,
}

/// Who the new node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Founded {
    /// The new cluster.
    pub cluster: u64,
    /// Its node.
    pub node: NodeId,
    /// The directory.
    pub instance: u64,
}

/// Why no cluster was founded.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// There is something in the way.
    #[error(
        "{0} is not empty: a data directory is never written over. Name a new directory, or move the old one away"
    )]
    NotEmpty(PathBuf),
    /// The disk failed.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The new log does not open.
    #[error(transparent)]
    Log(#[from] OpenError),
}

/// Makes `dir` the data directory of the one node of a new cluster. It is durable on return. Whoever calls
/// owns the directory and everything in it.
///
/// # Errors
/// See [`FoundError`]; a directory that was begun says so when a node starts from it.
pub fn found(dir: &Path, founding: Founding) -> Result<Founded, FoundError> {
    let fault = |source| FoundError::Io { path: dir.to_path_buf(), source };
    if !is_empty(dir).map_err(fault)? {
        return Err(FoundError::NotEmpty(dir.to_path_buf()));
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fault)?;
    let Founding { state, position, term, above, address, cluster } = founding;
    let cluster = match cluster {
        Some(cluster) => cluster,
        None => draw().map_err(fault)?,
    };
    let node = NodeId(above.0.saturating_add(1));
    let instance = draw().map_err(fault)?;
    let base =
        Base { applied: Some(position), membership: alone(node, instance, &address, position) };
    let snapshots = Snapshots::open(&dir.join("snapshots")).map_err(fault)?;
    let frozen = state.freeze();
    snapshots.write(&base, |out| image::write(&frozen, out)).map_err(fault)?;
    begin_log(&dir.join("log"), node, term.max(position.term), position)?;
    let roster = vec![RosterNode { node, instance, address, tls_name: String::new() }];
    let seat = Seat { cluster, node, roster, provisional: false, started: true };
    IdentityFile::at(dir).write(&Identity { instance, seat: Some(seat) }).map_err(fault)?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_dir(parent).map_err(fault)?;
    }
    Ok(Founded { cluster, node, instance })
}

/// Whether there is nothing in `dir`, or no `dir`.
fn is_empty(dir: &Path) -> io::Result<bool> {
    match fs::read_dir(dir) {
        // A new file system has this.
        Ok(entries) => {
            for entry in entries {
                if entry?.file_name() != "lost+found" {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn alone(node: NodeId, instance: u64, address: &str, position: LogId) -> proto::StoredMembership {
    #[allow(
        clippy::needless_update,
        reason = "whatever else a member may have, the first of all has none of it"
    )]
    let member = proto::Member {
        node: node.0,
        instance,
        address: address.to_owned(),
        ..proto::Member::default()
    };
    proto::StoredMembership {
        log_id: Some(position.into()),
        membership: Some(proto::Membership {
            configs: vec![proto::Voters { nodes: vec![node.0] }],
            members: vec![member],
        }),
    }
}

/// A log without entries behind `position`, that has voted in `term`.
fn begin_log(dir: &Path, node: NodeId, term: u64, position: LogId) -> Result<(), FoundError> {
    let fault = |source| FoundError::Io { path: dir.to_path_buf(), source };
    // Errors come back to us; nothing runs that would have to be ended.
    let log = DiskLog::open(dir, LogSettings::default(), Arc::new(|_, _| {}))?;
    let (sent, received) = std::sync::mpsc::sync_channel(1);
    let vote = Vote { term, node: node.0, committed: false };
    log.save_vote(vote, Box::new(move |result| drop(sent.send(result)))).map_err(fault)?;
    let gone = |_| io::Error::other("the log's writer is gone");
    received.recv().map_err(gone).and_then(|result| result).map_err(fault)?;
    move_up(&log, position).map_err(fault)
}

/// The highest number of a node that a machine or a membership knows.
pub fn highest_node(state: &State, membership: &proto::StoredMembership) -> NodeId {
    let members = membership.membership.iter().flat_map(|membership| &membership.members);
    members.map(|member| NodeId(member.node)).fold(state.highest_node(), NodeId::max)
}
