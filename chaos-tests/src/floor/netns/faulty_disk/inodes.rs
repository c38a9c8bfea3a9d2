//! Which file or directory has which name and number, and what is open.

use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fuser::FileType;

use super::error;
use super::undo::Undo;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) inodes: HashMap<u64, Inode>,
    /// Which inode has a name. A directory's names change with its own.
    pub(super) numbers: HashMap<PathBuf, u64>,
    /// Inode and backing file of each open file.
    pub(super) files: HashMap<u64, (u64, Arc<File>)>,
    /// What was in each open directory when it was last read from its start.
    pub(super) listings: HashMap<u64, Vec<Entry>>,
    /// The last number of an inode or an open file that was given out.
    pub(super) last: u64,
    /// The number of the next write.
    pub(super) next_write: u64,
    /// Bytes that `unsynced` of all inodes take.
    pub(super) undo_bytes: usize,
}

/// A file or directory. Stays as long as the disk is mounted.
#[derive(Debug, Default)]
pub(super) struct Inode {
    /// In the directory below; none when it was removed.
    pub(super) path: Option<PathBuf>,
    /// How to undo what no honest sync has covered, in the order in which it was written.
    pub(super) unsynced: VecDeque<Undo>,
    /// Its last sync was a lie.
    pub(super) lied: bool,
    /// The last write that could not be remembered for want of room.
    pub(super) unknown: Option<u64>,
}

impl Inode {
    /// Forgets the first `count` of what could be undone; gives the bytes that it took.
    pub(super) fn forget(&mut self, count: usize) -> usize {
        self.unsynced.drain(..count).map(|undo| undo.size()).sum()
    }
}

/// One name in a directory.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) number: u64,
    pub(super) kind: FileType,
    pub(super) name: OsString,
}

impl State {
    pub(super) fn draw(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The inode that has this name, which is there.
    pub(super) fn number_of(&mut self, path: &Path) -> u64 {
        if let Some(number) = self.numbers.get(path) {
            return *number;
        }
        let number = self.draw();
        self.numbers.insert(path.to_path_buf(), number);
        let inode = Inode { path: Some(path.to_path_buf()), ..Inode::default() };
        self.inodes.insert(number, inode);
        number
    }

    pub(super) fn path(&self, number: u64) -> io::Result<PathBuf> {
        let inode = self.inodes.get(&number);
        inode.and_then(|inode| inode.path.clone()).ok_or_else(|| error(libc::ENOENT))
    }

    pub(super) fn child(&self, parent: u64, name: &OsStr) -> io::Result<PathBuf> {
        Ok(self.path(parent)?.join(name))
    }

    /// Gives an open file a number.
    pub(super) fn keep(&mut self, number: u64, file: File) -> u64 {
        let handle = self.draw();
        self.files.insert(handle, (number, Arc::new(file)));
        handle
    }

    pub(super) fn file(&self, handle: u64) -> io::Result<(u64, Arc<File>)> {
        self.files.get(&handle).cloned().ok_or_else(|| error(libc::EBADF))
    }

    /// The file or directory, open at least for reading, also when only somebody who has it open still knows it.
    pub(super) fn any_file(&self, number: u64) -> io::Result<Arc<File>> {
        match self.path(number) {
            Ok(path) => File::open(path).map(Arc::new),
            Err(gone) => {
                let open = self.files.values().find(|(inode, _)| *inode == number);
                open.map(|(_, file)| Arc::clone(file)).ok_or(gone)
            }
        }
    }

    /// Something has another name now; what had that name is gone.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) {
        if from == to {
            return;
        }
        self.bury(to);
        let moved: Vec<PathBuf> =
            self.numbers.keys().filter(|path| path.starts_with(from)).cloned().collect();
        for old in moved {
            let Ok(rest) = old.strip_prefix(from) else { continue };
            // To join nothing would end the name with a slash.
            let new = if rest.as_os_str().is_empty() { to.to_path_buf() } else { to.join(rest) };
            let Some(number) = self.numbers.remove(&old) else { continue };
            if let Some(inode) = self.inodes.get_mut(&number) {
                inode.path = Some(new.clone());
            }
            self.numbers.insert(new, number);
        }
    }

    /// A name is gone. Nobody can find what it named after a power cut.
    pub(super) fn bury(&mut self, path: &Path) {
        let Some(number) = self.numbers.remove(path) else { return };
        let Some(inode) = self.inodes.get_mut(&number) else { return };
        inode.path = None;
        inode.unknown = None;
        let all = inode.unsynced.len();
        self.undo_bytes -= inode.forget(all);
    }
}
