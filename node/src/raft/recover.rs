//! What a node starts from (rule R19): the higher of checkpoint and snapshot, then the log.

use std::io;
use std::path::{Path, PathBuf};

use super::image;
use crate::state::State;
use crate::storage::{
    Base, CHECKPOINT_CACHE, Checkpoint, Loaded, Log, REJOIN, SnapshotFile, Snapshots, move_up,
};

/// Why a node cannot start from what it has.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The log begins above everything that is left.
    #[error(
        "{dir}: the log begins after entry {purged}, but no readable snapshot or checkpoint reaches that far{damaged}. {REJOIN}"
    )]
    Gap {
        /// The data directory.
        dir: PathBuf,
        /// What could not be read, for the operator; may be empty.
        damaged: String,
        /// The last entry that is gone.
        purged: u64,
    },
    /// The machine is there, and this program is too old for it (R24).
    #[error("{0}")]
    TooNew(String),
    /// The disk failed.
    #[error("reading the data directory: {0}")]
    Io(#[from] io::Error),
}

/// Everything a node starts with.
#[derive(Debug)]
pub struct Recovered {
    /// The machine at `base`.
    pub state: State,
    /// Where it stands; what follows in the log is applied by openraft.
    pub base: Base,
    /// Snapshot files.
    pub snapshots: Snapshots,
    /// The checkpoint store.
    pub checkpoint: Checkpoint,
    /// Whether the checkpoint on disk is exactly the machine, so that only changes need be written.
    pub from_checkpoint: bool,
}

/// Reads the data directory `dir` and moves `log` up if the machine stands above its end. The log
/// loses nothing that a snapshot file does not hold.
///
/// # Errors
/// [`RecoverError`]; the node must not start then.
pub fn recover(dir: &Path, log: &dyn Log) -> Result<Recovered, RecoverError> {
    let snapshots = Snapshots::open(&dir.join("snapshots"))?;
    let mut damaged = Vec::new();
    let (checkpoint, loaded) =
        Checkpoint::open(&dir.join("checkpoint"), CHECKPOINT_CACHE, |loaded| {
            machine_of(&loaded, &mut damaged)
        })?;
    let from_checkpoint = loaded.transpose()?;
    let files = snapshots.list()?;
    let floor = from_checkpoint.as_ref().and_then(|(_, base)| base.applied);
    let mut from_snapshot = None;
    // A snapshot that is not above the checkpoint need not be read.
    for file in files.iter().take_while(|file| file.base.applied > floor) {
        if let Some(state) = read(file, &mut damaged)? {
            from_snapshot = Some((state, file.base.clone()));
            break;
        }
    }

    let used_checkpoint = from_snapshot.is_none() && from_checkpoint.is_some();
    let (state, base) = from_snapshot.or(from_checkpoint).unwrap_or_default();
    let purged = log.extent().purged;
    if purged > base.applied {
        let damaged: String = damaged.iter().map(|what| format!("; {what}")).collect();
        let purged = purged.map_or(0, |id| id.index);
        return Err(RecoverError::Gap { dir: dir.to_path_buf(), damaged, purged });
    }
    if let Some(applied) = base.applied {
        let held = files.first().and_then(|file| file.base.applied);
        if held < Some(applied) && !agrees(log, applied)? {
            // The commit rested on the other disks, so the log must be moved up; and what it loses
            // must be in a snapshot file, since the checkpoint is never the only copy.
            snapshots.write(&base, |out| image::write(&state.freeze(), out))?;
        }
        move_up(log, applied)?;
    }
    tracing::info!(
        applied = base.applied.map(|id| id.index),
        last = log.extent().last.map(|id| id.index),
        from = if used_checkpoint { "checkpoint" } else { "snapshot or log" },
        "read the data directory"
    );
    Ok(Recovered { state, base, snapshots, checkpoint, from_checkpoint: used_checkpoint })
}

fn agrees(log: &dyn Log, id: crate::storage::LogId) -> io::Result<bool> {
    let extent = log.extent();
    if extent.purged >= Some(id) {
        return Ok(true);
    }
    Ok(log.read(id.index, id.index + 1, u64::MAX)?.first().is_some_and(|entry| entry.id == id))
}

/// The machine; or that this program is too old for it, which is no fault of the checkpoint.
///
/// # Errors
/// Why it is damaged, which is also put into `damaged`.
fn machine_of(
    loaded: &Loaded<'_>,
    damaged: &mut Vec<String>,
) -> io::Result<Result<(State, Base), RecoverError>> {
    match image::from_checkpoint(loaded) {
        Ok(state) => Ok(Ok((state, loaded.base.clone()))),
        Err(error) if image::is_too_new(&error) => Ok(Err(RecoverError::TooNew(error.to_string()))),
        Err(error) => {
            damaged.push(format!("the checkpoint is damaged: {error}"));
            Err(error)
        }
    }
}

/// The machine, or nothing and why in `damaged`.
fn read(file: &SnapshotFile, damaged: &mut Vec<String>) -> Result<Option<State>, RecoverError> {
    let state = file.body().and_then(|mut body| {
        let state = image::read(&mut body)?;
        // The end of the file proves that it is whole.
        while body.next_block()?.is_some() {}
        Ok(state)
    });
    match state {
        Ok(state) => Ok(Some(state)),
        Err(error) if image::is_too_new(&error) => Err(RecoverError::TooNew(error.to_string())),
        Err(error) => {
            tracing::warn!(path = %file.path.display(), %error, "a snapshot is damaged and not used");
            damaged.push(format!("{} is damaged: {error}", file.path.display()));
            Ok(None)
        }
    }
}
