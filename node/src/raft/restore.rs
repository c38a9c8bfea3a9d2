//! From a backup to the data directory of a new cluster.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::backup::{self, Header};
use super::found::{FoundError, Founded, Founding, found, highest_node};
use crate::state::{Copied, Recovery, Source};
use crate::types::{Lifetime, NodeId};

/// What is to be restored, and into what.
#[derive(Debug, Clone)]
pub struct Restore {
    /// The backup.
    pub file: PathBuf,
    /// The data directory to make.
    pub dir: PathBuf,
    /// Where peers will reach the node, `host:port`.
    pub address: String,
    /// The id of the new cluster; `None` draws one.
    pub cluster: Option<u64>,
    /// Whether addresses are held that the backup does not list as leased (R28). It takes an operator's
    /// word not to.
    pub hold: bool,
    /// The longest lifetime that the old cluster granted after the backup, where the operator knows of a
    /// longer one than the backup does.
    pub longest: Option<Lifetime>,
    /// Now, Unix milliseconds.
    pub wall: i64,
}

/// What was made.
#[derive(Debug, Clone)]
pub struct Restored {
    /// What the backup says of itself.
    pub backup: Header,
    /// The new node.
    pub founded: Founded,
    /// The hold; `None` without one.
    pub hold: Option<Recovery>,
    /// How old the backup is. Without a hold that moves no lease.
    pub age: Duration,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file is no whole backup.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The machine in it breaks a promise.
    #[error("{0}: the machine in it is not consistent: {1}. Nothing was restored")]
    Inconsistent(PathBuf, String),
    /// The backup is of a cluster in which nothing had happened yet.
    #[error("{0}: there is nothing in it yet")]
    Nothing(PathBuf),
    /// A cluster cannot have the id of the one that it replaces: nodes of the old one would be let in.
    #[error(
        "{0:016x} is the id of the cluster that the backup was taken from: the new one needs its own"
    )]
    SameCluster(u64),
    /// The directory was not made.
    #[error(transparent)]
    Found(#[from] FoundError),
}

/// Makes a new cluster of one node from a backup. The directory is durable on return.
///
/// # Errors
/// See [`RestoreError`]; nothing is written before the backup was read whole.
pub fn restore(restore: &Restore) -> Result<Restored, RestoreError> {
    let Restore { file, dir, address, cluster, hold, longest, wall } = restore;
    let (header, mut state) = open(file)?;
    state.check().map_err(|why| RestoreError::Inconsistent(file.clone(), why))?;
    let position = header.base.applied.ok_or_else(|| RestoreError::Nothing(file.clone()))?;
    if *cluster == Some(header.cluster) {
        return Err(RestoreError::SameCluster(header.cluster));
    }
    let above = highest_node(&state, &header.base.membership).max(NodeId(position.node));
    // A clock that runs behind that of the backup makes it no older than new.
    let age = Duration::from_millis(u64::try_from(wall.saturating_sub(header.wall)).unwrap_or(0));
    state.begin_anew(&Copied {
        source: Source::Backup,
        cluster: header.cluster,
        index: position.index,
        wall: header.wall,
        passed: age,
        hold: *hold,
        longest: *longest,
    });
    let hold = state.view().meta().recovery().copied();
    let (address, cluster, term) = (address.clone(), *cluster, position.term);
    let founded = found(dir, Founding { state, position, term, above, address, cluster })?;
    Ok(Restored { backup: header, founded, hold, age })
}

/// Reads a backup from a file, whole.
///
/// # Errors
/// [`RestoreError::File`].
pub fn open(path: &Path) -> Result<(Header, crate::state::State), RestoreError> {
    let fault = |source| RestoreError::File { path: path.to_path_buf(), source };
    File::open(path).and_then(backup::read).map_err(fault)
}
