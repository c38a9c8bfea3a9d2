//! What can be asked of the disk, done to the directory below, or not, as the fault has it.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, FileTimes, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo, OpenAccMode, OpenFlags, TimeOrNow};
use parking_lot::Mutex;

use super::inodes::{Entry, Inode, State};
use super::{Fault, error};
use crate::clock;
use crate::floor::sim::dice::Dice;

/// Bits of a mode that are not the kind of the file.
const MODE_BITS: u32 = 0o7777;

/// What the threads of the file system and the test share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) root: PathBuf,
    pub(super) dice: Dice,
    pub(super) syncs: AtomicU64,
    pub(super) failed_syncs: AtomicU64,
    /// Never held while somebody waits. Taken after `state`.
    pub(super) fault: Mutex<Option<Fault>>,
    /// Never held while a fault makes somebody wait. While the directory below stands still, it may be held by whoever makes, renames or
    /// removes a name.
    pub(super) state: Mutex<State>,
}

/// What is to change about a file, as setattr says.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) mode: Option<u32>,
    pub(super) owner: Option<u32>,
    pub(super) group: Option<u32>,
    pub(super) length: Option<u64>,
    pub(super) accessed: Option<TimeOrNow>,
    pub(super) modified: Option<TimeOrNow>,
}

impl Shared {
    pub(super) fn new(root: PathBuf, seed: u64) -> Shared {
        let number = INodeNo::ROOT.0;
        let mut state = State { last: number, ..State::default() };
        state.numbers.insert(root.clone(), number);
        state.inodes.insert(number, Inode { path: Some(root.clone()), ..Inode::default() });
        Shared {
            root,
            dice: Dice::new(seed, 0xd15c),
            syncs: AtomicU64::new(0),
            failed_syncs: AtomicU64::new(0),
            fault: Mutex::new(None),
            state: Mutex::new(state),
        }
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        *self.fault.lock()
    }

    /// Waits or fails, as the fault has it.
    fn before_write(&self) -> io::Result<()> {
        match self.fault() {
            Some(Fault::Slow { write_ms, .. }) => clock::sleep_ms(write_ms),
            Some(Fault::FailWrites(number)) => return Err(error(number)),
            _ => {}
        }
        Ok(())
    }

    /// Waits or fails, as the fault has it; else says whether the sync is to be an honest one.
    fn before_sync(&self) -> io::Result<bool> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        let fault = self.fault.lock();
        match *fault {
            Some(Fault::Slow { fsync_ms, .. }) => {
                drop(fault);
                clock::sleep_ms(fsync_ms);
            }
            Some(Fault::FailSyncs(number)) => {
                // Counted before anybody can heal it.
                self.failed_syncs.fetch_add(1, Ordering::Relaxed);
                return Err(error(number));
            }
            Some(Fault::Lying) => return Ok(false),
            _ => {}
        }
        Ok(true)
    }

    pub(super) fn look_up(&self, parent: u64, name: &OsStr) -> io::Result<FileAttr> {
        let mut state = self.state.lock();
        let path = state.child(parent, name)?;
        let found = fs::symlink_metadata(&path)?;
        Ok(attributes(state.number_of(&path), &found))
    }

    pub(super) fn look_at(&self, number: u64) -> io::Result<FileAttr> {
        let state = self.state.lock();
        let found = match state.path(number) {
            Ok(path) => fs::symlink_metadata(path)?,
            Err(_) => state.any_file(number)?.metadata()?,
        };
        Ok(attributes(number, &found))
    }

    pub(super) fn change(
        &self,
        number: u64,
        handle: Option<u64>,
        change: &Change,
    ) -> io::Result<FileAttr> {
        if let Some(length) = change.length {
            self.set_length(number, handle, length)?;
        }
        if change.mode.is_some() || change.owner.is_some() || change.group.is_some() {
            let file = self.state.lock().any_file(number)?;
            if change.owner.is_some() || change.group.is_some() {
                fchown(&*file, change.owner, change.group)?;
            }
            if let Some(mode) = change.mode {
                file.set_permissions(Permissions::from_mode(mode & MODE_BITS))?;
            }
        }
        if change.accessed.is_some() || change.modified.is_some() {
            let mut times = FileTimes::new();
            if let Some(time) = change.accessed {
                times = times.set_accessed(moment(time));
            }
            if let Some(time) = change.modified {
                times = times.set_modified(moment(time));
            }
            let file = self.state.lock().any_file(number)?;
            file.set_times(times)?;
        }
        self.look_at(number)
    }

    fn set_length(&self, number: u64, handle: Option<u64>, length: u64) -> io::Result<()> {
        self.before_write()?;
        let mut state = self.state.lock();
        let file = match handle {
            Some(handle) => state.file(handle)?.1,
            None => {
                let path = state.path(number)?;
                // Read as well: what is cut off is remembered.
                Arc::new(File::options().read(true).write(true).open(path)?)
            }
        };
        let before = file.metadata()?.len();
        if length == before {
            return Ok(());
        }
        if length > before && self.fault() == Some(Fault::Full) {
            return Err(error(libc::ENOSPC));
        }
        state.remember(number, &file, length.min(before)..before)?;
        // As for a write.
        drop(state);
        file.set_len(length)
    }

    pub(super) fn open(&self, number: u64, flags: OpenFlags) -> io::Result<u64> {
        let mut state = self.state.lock();
        let path = state.path(number)?;
        // For reading in any case: what a write replaces is remembered.
        let writes = flags.acc_mode() != OpenAccMode::O_RDONLY;
        let file = File::options().read(true).write(writes).open(path)?;
        Ok(state.keep(number, file))
    }

    pub(super) fn create(
        &self,
        parent: u64,
        name: &OsStr,
        mode: u32,
        flags: i32,
    ) -> io::Result<(FileAttr, u64)> {
        let mut state = self.state.lock();
        let path = state.child(parent, name)?;
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .create_new(flags & libc::O_EXCL != 0)
            .mode(mode & MODE_BITS)
            .open(&path)?;
        // The kernel has applied the caller's umask; ours is none of his business.
        file.set_permissions(Permissions::from_mode(mode & MODE_BITS))?;
        let found = file.metadata()?;
        let number = state.number_of(&path);
        Ok((attributes(number, &found), state.keep(number, file)))
    }

    pub(super) fn read(&self, handle: u64, offset: u64, size: u32) -> io::Result<Vec<u8>> {
        let file = {
            if let Some(Fault::FailReads(number)) = self.fault() {
                return Err(error(number));
            }
            self.state.lock().file(handle)?.1
        };
        let mut bytes = vec![0; size as usize];
        let mut read = 0;
        while read < bytes.len() {
            match file.read_at(&mut bytes[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(read);
        Ok(bytes)
    }

    pub(super) fn write(&self, handle: u64, offset: u64, data: &[u8]) -> io::Result<u32> {
        self.before_write()?;
        let end = offset + data.len() as u64;
        let mut state = self.state.lock();
        let (number, file) = state.file(handle)?;
        if self.fault() == Some(Fault::Full) && end > file.metadata()?.len() {
            return Err(error(libc::ENOSPC));
        }
        state.remember(number, &file, offset..end)?;
        // So that nobody else waits while the directory below stands still. The order stays what was remembered: of writes, changes of
        // length and syncs of one file the kernel has only one under way.
        drop(state);
        write_some(&file, data, offset)
    }

    pub(super) fn sync(&self, handle: u64, data_only: bool) -> io::Result<()> {
        let (number, file, until) = {
            let state = self.state.lock();
            let (number, file) = state.file(handle)?;
            (number, file, state.next_write)
        };
        if !self.before_sync()? {
            self.state.lock().lie(number);
            return Ok(());
        }
        if data_only {
            file.sync_data()?;
        } else {
            file.sync_all()?;
        }
        self.state.lock().synced(number, until);
        Ok(())
    }

    pub(super) fn sync_directory(&self, number: u64) -> io::Result<()> {
        let directory = self.state.lock().any_file(number)?;
        if self.before_sync()? { directory.sync_all() } else { Ok(()) }
    }

    pub(super) fn list(&self, number: u64) -> io::Result<Vec<Entry>> {
        let mut state = self.state.lock();
        let path = state.path(number)?;
        let above = path.parent().and_then(|above| state.numbers.get(above)).copied();
        let dots = [(number, "."), (above.unwrap_or(number), "..")];
        let mut entries: Vec<Entry> = dots
            .into_iter()
            .map(|(number, name)| Entry { number, kind: FileType::Directory, name: name.into() })
            .collect();
        for found in fs::read_dir(&path)? {
            let found = found?;
            let kind = FileType::from_std(found.file_type()?).unwrap_or(FileType::RegularFile);
            let number = state.number_of(&found.path());
            entries.push(Entry { number, kind, name: found.file_name() });
        }
        Ok(entries)
    }

    pub(super) fn make_directory(
        &self,
        parent: u64,
        name: &OsStr,
        mode: u32,
    ) -> io::Result<FileAttr> {
        let mut state = self.state.lock();
        let path = state.child(parent, name)?;
        DirBuilder::new().mode(mode & MODE_BITS).create(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(mode & MODE_BITS))?;
        let found = fs::symlink_metadata(&path)?;
        Ok(attributes(state.number_of(&path), &found))
    }

    pub(super) fn remove(
        &self,
        parent: u64,
        name: &OsStr,
        remove: fn(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut state = self.state.lock();
        let path = state.child(parent, name)?;
        remove(&path)?;
        state.bury(&path);
        Ok(())
    }

    pub(super) fn rename(&self, from: (u64, &OsStr), to: (u64, &OsStr)) -> io::Result<()> {
        let mut state = self.state.lock();
        let (from, to) = (state.child(from.0, from.1)?, state.child(to.0, to.1)?);
        fs::rename(&from, &to)?;
        state.rename(&from, &to);
        Ok(())
    }
}

/// Writes what there is room for, as write(2) does: an error only if that is nothing.
fn write_some(file: &File, data: &[u8], offset: u64) -> io::Result<u32> {
    let mut written = 0;
    while written < data.len() {
        match file.write_at(&data[written..], offset + written as u64) {
            Ok(0) => break,
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if written == 0 => return Err(error),
            Err(_) => break,
        }
    }
    u32::try_from(written).map_err(io::Error::other)
}

fn attributes(number: u64, found: &Metadata) -> FileAttr {
    FileAttr {
        ino: INodeNo(number),
        size: found.len(),
        blocks: found.blocks(),
        atime: since_1970(found.atime(), found.atime_nsec()),
        mtime: since_1970(found.mtime(), found.mtime_nsec()),
        ctime: since_1970(found.ctime(), found.ctime_nsec()),
        crtime: UNIX_EPOCH,
        kind: FileType::from_std(found.file_type()).unwrap_or(FileType::RegularFile),
        perm: (found.mode() & MODE_BITS) as u16,
        nlink: u32::try_from(found.nlink()).unwrap_or(u32::MAX),
        uid: found.uid(),
        gid: found.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// Times before 1970 count as 1970.
fn since_1970(seconds: i64, nanos: i64) -> SystemTime {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    UNIX_EPOCH + Duration::new(seconds, u32::try_from(nanos).unwrap_or(0))
}

fn moment(time: TimeOrNow) -> SystemTime {
    match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => UNIX_EPOCH + Duration::from_millis(clock::wall_ms()),
    }
}
