//! What a power cut takes: how to undo what no honest sync has covered.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::inodes::State;
use super::operations::Shared;
use super::{Fault, Loss};

/// What is remembered of one disk, in bytes, so that writes can be undone.
const UNDO_LIMIT: usize = 256 << 20;

/// How a file was before one write.
#[derive(Debug)]
pub(super) struct Undo {
    /// The number of the write.
    write: u64,
    at: u64,
    /// What was there, as far as the file reached.
    old: Vec<u8>,
    /// How long the file was.
    length: u64,
}

impl Undo {
    pub(super) fn size(&self) -> usize {
        self.old.len() + size_of::<Undo>()
    }

    fn apply(&self, file: &File) -> io::Result<()> {
        file.write_all_at(&self.old, self.at)?;
        file.set_len(self.length)
    }
}

impl Shared {
    /// See [`FaultyDisk::crash`](super::FaultyDisk::crash).
    pub(super) fn crash(&self) -> Result<Loss> {
        let lies = self.fault() == Some(Fault::Lying);
        let mut guard = self.state.lock();
        let state = &mut *guard;
        // In the order of the names, so that a seed decides the same each time.
        let mut files: Vec<(PathBuf, u64)> =
            state.numbers.iter().map(|(path, number)| (path.clone(), *number)).collect();
        files.sort();
        for (path, number) in &files {
            let known = state.inodes.get(number).is_none_or(|inode| inode.unknown.is_none());
            ensure!(
                known,
                "{}: a power cut cannot be played, more than {UNDO_LIMIT} bytes would have to be remembered",
                path.display()
            );
        }
        let mut loss = Loss::default();
        for (path, number) in files {
            let Some(inode) = state.inodes.get_mut(&number) else { continue };
            let writes = inode.unsynced.len();
            let kept = match writes {
                0 => 0,
                _ if lies || inode.lied => 0,
                _ => usize::try_from(self.dice.between(0, writes as u64))?,
            };
            if kept < writes {
                let file = File::options().write(true).open(&path);
                let file = file.with_context(|| path.display().to_string())?;
                for undo in inode.unsynced.range(kept..).rev() {
                    undo.apply(&file).with_context(|| path.display().to_string())?;
                }
            }
            // What is there now is on the disk.
            inode.lied = false;
            state.undo_bytes -= inode.forget(writes);
            loss.kept += kept;
            loss.lost += writes - kept;
        }
        Ok(loss)
    }
}

impl State {
    /// Remembers a file as it is: its length, and what is at `range`, which is about to change.
    pub(super) fn remember(
        &mut self,
        number: u64,
        file: &File,
        range: Range<u64>,
    ) -> io::Result<()> {
        let write = self.next_write;
        self.next_write += 1;
        let length = file.metadata()?.len();
        let Some(inode) = self.inodes.get_mut(&number) else { return Ok(()) };
        if inode.path.is_none() {
            return Ok(());
        }
        let bytes = range.end.min(length).saturating_sub(range.start);
        let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
        let size = bytes.saturating_add(size_of::<Undo>());
        if inode.unknown.is_some() || self.undo_bytes.saturating_add(size) > UNDO_LIMIT {
            let all = inode.unsynced.len();
            self.undo_bytes -= inode.forget(all);
            inode.unknown = Some(write);
            return Ok(());
        }
        let mut old = vec![0; bytes];
        file.read_exact_at(&mut old, range.start)?;
        inode.unsynced.push_back(Undo { write, at: range.start, old, length });
        self.undo_bytes += size;
        Ok(())
    }

    /// What was written to a file before the write `until` is durable.
    pub(super) fn synced(&mut self, number: u64, until: u64) {
        let Some(inode) = self.inodes.get_mut(&number) else { return };
        let covered = inode.unsynced.iter().take_while(|undo| undo.write < until).count();
        self.undo_bytes -= inode.forget(covered);
        inode.lied = false;
        inode.unknown = inode.unknown.filter(|write| *write >= until);
    }

    /// Somebody was told that a file is durable, which it is not.
    pub(super) fn lie(&mut self, number: u64) {
        if let Some(inode) = self.inodes.get_mut(&number) {
            inode.lied = !inode.unsynced.is_empty();
        }
    }
}
