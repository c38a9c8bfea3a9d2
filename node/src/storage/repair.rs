//! What may be cut from the end of a log before it is opened (rule R20).
//!
//! A record that a power cut interrupted was never acknowledged and may go. Any other damage may
//! have been acknowledged: then the node must not start, because it would forget a vote or an
//! entry that a majority counts on. The two are told apart narrowly: the bad record must be the
//! last one in the log, and it must be incomplete or end in sectors of zeros.
//!
//! `raft-log` on its own would cut wherever it runs out of bytes and refuse zeroed sectors inside a
//! record, so this runs first, and `raft-log` is told never to cut.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use raft_log::codeq::Decode;
use raft_log::{RaftLogAction, RaftLogRecord, WALRecord};

use super::codec::{LogTypes, Payload};
use super::files::sync_dir;
use super::log::{Body, LogId};

/// What disks write at once, at least.
const SECTOR: usize = 512;

/// How a node whose disk is damaged comes back: the others have everything that was acknowledged.
pub const REJOIN: &str = "The other nodes hold every acknowledged lease, and this one must join as a new node: on a \
    healthy node run 'cluster-ctl node remove N' (N: this node's number in 'cluster-ctl status') and 'cluster-ctl node \
    token create'; here move the data directory away, set [cluster] join and token-file in node.toml, and start. If there \
    is no other node, or too few of them for a majority, see docs/backup.md";

/// Damage that only a human can judge.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// A record is bad and R20 does not allow to cut it.
    #[error(
        "the log is damaged: {path}, byte {offset}: {reason}. Acknowledged entries may be lost here, so this node must \
         not go on as itself. {REJOIN}"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the bad record begins.
        offset: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk failed.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// What a segment looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every record is good.
    Whole,
    /// The last record was not finished; the good part ends here.
    Torn(usize),
    /// A record is bad in a way that no interrupted write explains.
    Damaged {
        /// Where it begins.
        offset: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// Judges the bytes of the last segment. Pure.
pub fn judge(segment: &[u8]) -> Verdict {
    let mut offset = 0;
    while offset < segment.len() {
        let error = match decode(&segment[offset..]) {
            Ok(length) => {
                offset += length;
                continue;
            }
            Err(error) => error,
        };
        let incomplete = error.kind() == io::ErrorKind::UnexpectedEof;
        if !incomplete && !ends_in_zeroed_sectors(segment, offset) {
            return Verdict::Damaged { offset, reason: error.to_string() };
        }
        if let Some(next) = next_record(segment, offset + 1) {
            let reason = format!("{error}, and a good record follows at byte {next}");
            return Verdict::Damaged { offset, reason };
        }
        return Verdict::Torn(offset);
    }
    Verdict::Whole
}

/// The length of the record at the start of `bytes`.
fn decode(bytes: &[u8]) -> io::Result<usize> {
    let mut rest = bytes;
    RaftLogRecord::<LogTypes>::decode(&mut rest)?;
    Ok(bytes.len() - rest.len())
}

/// Whether everything from some sector boundary behind `record`, or from `record` itself, is zero.
fn ends_in_zeroed_sectors(segment: &[u8], record: usize) -> bool {
    let zeros = segment.iter().rev().take_while(|byte| **byte == 0).count();
    let first_zero = segment.len() - zeros;
    first_zero <= record || first_zero.next_multiple_of(SECTOR) < segment.len()
}

/// The first place at or after `from` where a whole record can be read.
fn next_record(segment: &[u8], from: usize) -> Option<usize> {
    (from..segment.len().saturating_sub(4)).find(|at| {
        // Record types are 0 to 5, as four bytes, and no word of ours begins with 0.
        let head = &segment[*at..*at + 5];
        head[..3] == [0; 3] && head[3] <= 5 && decode(&segment[*at..]).is_ok()
    })
}

/// Brings the segments of the log in `dir` into a state that `raft-log` may open. Answers how many
/// bytes were cut.
///
/// # Errors
/// [`RepairError::Damaged`] when the node must not start; nothing was changed then.
pub fn repair(dir: &Path) -> Result<u64, RepairError> {
    let mut segments = segments(dir)?;
    without_gaps(&segments)?;
    let mut cut = 0;
    while let Some(path) = segments.pop() {
        let fault = |source| RepairError::Io { path: path.clone(), source };
        let bytes = fs::read(&path).map_err(fault)?;
        match judge(&bytes) {
            Verdict::Whole if !bytes.is_empty() => return Ok(cut),
            // A segment whose first record is not there was made, and then the power went. Its
            // predecessor is the last one then, and may be torn itself.
            Verdict::Whole | Verdict::Torn(0) => {
                tracing::warn!(path = %path.display(), bytes = bytes.len(), "removing a log segment that was never begun");
                fs::remove_file(&path).map_err(fault)?;
                sync_dir(dir).map_err(fault)?;
                cut += bytes.len() as u64;
            }
            Verdict::Torn(end) => {
                let tail = bytes.len() - end;
                tracing::warn!(path = %path.display(), at = end, bytes = tail, "cutting the torn end of the log");
                let file = OpenOptions::new().write(true).open(&path).map_err(fault)?;
                file.set_len(end as u64).map_err(fault)?;
                file.sync_all().map_err(fault)?;
                return Ok(cut + tail as u64);
            }
            Verdict::Damaged { offset, reason } => {
                return Err(RepairError::Damaged { path, offset, reason });
            }
        }
    }
    Ok(cut)
}

/// Each segment is named after the offset at which it begins, so a missing or shortened one shows.
fn without_gaps(segments: &[PathBuf]) -> Result<(), RepairError> {
    for pair in segments.windows(2) {
        let path = &pair[0];
        let fault = |source| RepairError::Io { path: path.clone(), source };
        let length = fs::metadata(path).map_err(fault)?.len();
        let ends = begin(path).and_then(|begin| begin.checked_add(length));
        // The last but one may be torn when the last was never begun.
        let torn = segments.ends_with(pair) && ends < begin(&pair[1]);
        if length == 0 || (ends != begin(&pair[1]) && !torn) {
            let reason = "the next segment does not follow".to_string();
            return Err(RepairError::Damaged {
                path: path.clone(),
                offset: usize::try_from(length).unwrap_or(usize::MAX),
                reason,
            });
        }
    }
    Ok(())
}

/// The entries of the last segment whose index is in `range`, by index; the latest where there are
/// several.
pub(super) fn last_segment_entries(
    dir: &Path,
    range: Range<u64>,
) -> io::Result<BTreeMap<u64, (LogId, Body)>> {
    let segments = segments(dir).map_err(io::Error::other)?;
    let path = segments.last().ok_or(io::ErrorKind::NotFound)?;
    let bytes = fs::read(path)?;
    let mut rest = bytes.as_slice();
    let mut entries = BTreeMap::new();
    while !rest.is_empty() {
        let record = RaftLogRecord::<LogTypes>::decode(&mut rest)?;
        if let WALRecord::Action(RaftLogAction::Append(id, Payload(body))) = record
            && range.contains(&id.index)
        {
            entries.insert(id.index, (id, body));
        }
    }
    Ok(entries)
}

/// The offset in a segment's name.
pub(super) fn begin(path: &Path) -> Option<u64> {
    raft_log::chunked_wal::Config::parse_chunk_file_name(path.file_name()?.to_str()?).ok()
}

/// The segments in order. Names sort as their offsets do.
pub(super) fn segments(dir: &Path) -> Result<Vec<PathBuf>, RepairError> {
    let fault = |source| RepairError::Io { path: dir.to_path_buf(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        if path.extension().is_some_and(|extension| extension == "wal") {
            paths.push(path);
        }
    }
    paths.sort();
    // Opening one shows early that the directory is not ours to read.
    if let Some(path) = paths.last() {
        File::open(path).map_err(fault)?;
    }
    Ok(paths)
}
