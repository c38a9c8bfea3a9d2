//! Disks of a node's own that are slow, full or broken, or lie: a file system (FUSE) that hands everything on to a directory, with faults
//! that a test switches while it is mounted. It needs `/dev/fuse` and no library.
//!
//! What it promises:
//!
//! * Without a fault it does what the directory below does. Nothing is kept on the way: what lies below is what is read.
//! * [`FaultyDisk::crash`] is a power cut for this disk. What an honest sync of a file covered is there afterwards. Of the writes to a file
//!   that followed, the first ones stay, as many as the seed says, and the others are undone. Where the disk lies, or the last sync of
//!   the file was a lie, none stays.
//! * Nothing hangs. When the value is dropped, whoever still uses the disk gets errors at once, it is unmounted, and its threads end;
//!   what a killed test left is swept by the next one.
//!
//! What it does not do: names are never lost. Whatever was made, renamed or removed stays so, synced or not; so a file that was
//! renamed while the disk lied has its new name after the power cut, and nothing in it. The writes to one file keep their order, and none is torn
//! (a write of more than 1 MiB arrives in parts, which count as writes of their own). Links, extended attributes, fallocate(2) and shared
//! mappings (mmap) are refused; the server uses none of them. Locks are the kernel's own business.

use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, FileTimes, Metadata, Permissions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{
    DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown,
};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use fuser::{
    AccessFlags, BackgroundSession, BsdFileFlags, Config, FileAttr, FileHandle, FileType,
    Filesystem, FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenAccMode, OpenFlags,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use parking_lot::Mutex;

use super::cleanup;
use crate::floor::sim::dice::Dice;
use crate::{clock, shell};

/// The programs that this needs.
pub const TOOLS: [&str; 1] = ["umount"];

/// What is remembered of one disk, in bytes, so that writes can be undone.
const UNDO_LIMIT: usize = 256 << 20;

/// How many operations can be under way. More than the threads of a server that wait for its disk at one time, so that a slow sync holds
/// up nobody but its caller.
const THREADS: usize = 8;

/// What the kernel may remember of names and attributes: nothing.
const NO_CACHE: Duration = Duration::ZERO;

/// Numbers of inodes are never used again.
const GENERATION: Generation = Generation(0);

/// Bits of a mode that are not the kind of the file.
const MODE_BITS: u32 = 0o7777;

/// Why such a disk cannot be had here; none when it can.
pub fn missing() -> Option<String> {
    let device = "/dev/fuse";
    let opened = File::options().read(true).write(true).open(device);
    opened.err().map(|error| format!("{device} cannot be opened: {error}"))
}

/// What is wrong with a disk. Error numbers are those of errno(3), such as `libc::EIO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Every sync of a file or directory takes so much longer, and every write; milliseconds.
    Slow { fsync_ms: u64, write_ms: u64 },
    /// Writes and changes of a file's length fail, and change nothing. Names can still be changed.
    FailWrites(i32),
    /// Syncs of files and directories fail. What was written is read, and is as little durable as before.
    FailSyncs(i32),
    /// Reads of files fail. Names and attributes can still be read.
    FailReads(i32),
    /// What would make a file longer fails with ENOSPC, and the system tells of no room.
    Full,
    /// Syncs say yes and do nothing.
    Lying,
}

/// What a power cut took of the writes, and changes of length, that no honest sync had covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loss {
    /// So many are on the disk all the same.
    pub kept: usize,
    /// So many are gone.
    pub lost: usize,
}

/// A disk, mounted.
#[derive(Debug)]
pub struct FaultyDisk {
    at: PathBuf,
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
}

impl FaultyDisk {
    /// A disk without a fault, mounted at `at`, where nothing else may be mounted; what is on it lies in `backing`. Both directories are made
    /// if they are not there. `seed` decides what power cuts leave. Only processes that are started afterwards see it.
    ///
    /// # Errors
    /// When a directory cannot be made, or the kernel does not mount it.
    pub fn mount(backing: &Path, at: &Path, seed: u64) -> Result<FaultyDisk> {
        cleanup::sweep_mounts();
        for dir in [backing, at] {
            fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        }
        let shared = Arc::new(Shared::new(backing.canonicalize()?, seed));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("leasehold-faulty-disk".to_owned())];
        config.n_threads = Some(THREADS);
        let session = fuser::spawn_mount(PassThrough(Arc::clone(&shared)), at, &config)
            .with_context(|| format!("mounting a file system of our own at {}", at.display()))?;
        Ok(FaultyDisk { at: at.to_path_buf(), shared, session: Some(session) })
    }

    /// From now on this is wrong with it, and nothing else.
    pub fn bring(&self, fault: Fault) {
        self.shared.state.lock().fault = Some(fault);
    }

    /// From now on nothing is wrong with it. What it lied about becomes durable with the next sync of the file.
    pub fn heal(&self) {
        self.shared.state.lock().fault = None;
    }

    /// How many syncs of files and directories it was asked for so far, whatever came of them.
    pub fn syncs(&self) -> u64 {
        self.shared.syncs.load(Ordering::Relaxed)
    }

    /// A power cut. Whoever wrote must be gone before: for this disk the kernel of his machine is gone too. A fault stays.
    ///
    /// # Errors
    /// When more than 256 MiB were written over what no sync had covered yet, so that it is not known what to undo (then nothing is
    /// changed), or the directory below fails.
    pub fn crash(&self) -> Result<Loss> {
        let mut guard = self.shared.state.lock();
        let state = &mut *guard;
        let lies = state.fault == Some(Fault::Lying);
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
                _ => usize::try_from(self.shared.dice.between(0, writes as u64))?,
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

impl Drop for FaultyDisk {
    fn drop(&mut self) {
        // Nobody waits for a slow disk that goes away.
        self.heal();
        // By force, so that the kernel ends what is under way, also for those who have it mounted in a namespace of their own; lazily, so that
        // open files do not keep it here.
        let _ = shell::run(Command::new("umount").args(["--force", "--lazy"]).arg(&self.at));
        let Some(session) = self.session.take() else { return };
        let what = format!("the threads of the disk at {} to end", self.at.display());
        match clock::wait_for(&what, 10_000, || session.guard.is_finished().then_some(())) {
            // How they ended is of no interest any more.
            Ok(()) => drop(session.join()),
            Err(error) => eprintln!("{error:#}"),
        }
    }
}

/// What the threads of the file system and the test share.
#[derive(Debug)]
struct Shared {
    root: PathBuf,
    dice: Dice,
    syncs: AtomicU64,
    /// Never held while a fault makes somebody wait.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    fault: Option<Fault>,
    inodes: HashMap<u64, Inode>,
    /// Which inode has a name. A directory's names change with its own.
    numbers: HashMap<PathBuf, u64>,
    /// Inode and backing file of each open file.
    files: HashMap<u64, (u64, Arc<File>)>,
    /// What was in each open directory when it was last read from its start.
    listings: HashMap<u64, Vec<Entry>>,
    /// The last number of an inode or an open file that was given out.
    last: u64,
    /// The number of the next write.
    next_write: u64,
    /// Bytes that `unsynced` of all inodes take.
    undo_bytes: usize,
}

/// A file or directory. Stays as long as the disk is mounted.
#[derive(Debug, Default)]
struct Inode {
    /// In the directory below; none when it was removed.
    path: Option<PathBuf>,
    /// How to undo what no honest sync has covered, in the order in which it was written.
    unsynced: VecDeque<Undo>,
    /// Its last sync was a lie.
    lied: bool,
    /// The last write that could not be remembered for want of room.
    unknown: Option<u64>,
}

impl Inode {
    /// Forgets the first `count` of what could be undone; gives the bytes that it took.
    fn forget(&mut self, count: usize) -> usize {
        self.unsynced.drain(..count).map(|undo| undo.size()).sum()
    }
}

/// How a file was before one write.
#[derive(Debug)]
struct Undo {
    /// The number of the write.
    write: u64,
    at: u64,
    /// What was there, as far as the file reached.
    old: Vec<u8>,
    /// How long the file was.
    length: u64,
}

impl Undo {
    fn size(&self) -> usize {
        self.old.len() + size_of::<Undo>()
    }

    fn apply(&self, file: &File) -> io::Result<()> {
        file.write_all_at(&self.old, self.at)?;
        file.set_len(self.length)
    }
}

/// One name in a directory.
#[derive(Debug)]
struct Entry {
    number: u64,
    kind: FileType,
    name: OsString,
}

fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

impl State {
    fn draw(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The inode that has this name, which is there.
    fn number_of(&mut self, path: &Path) -> u64 {
        if let Some(number) = self.numbers.get(path) {
            return *number;
        }
        let number = self.draw();
        self.numbers.insert(path.to_path_buf(), number);
        let inode = Inode { path: Some(path.to_path_buf()), ..Inode::default() };
        self.inodes.insert(number, inode);
        number
    }

    fn path(&self, number: u64) -> io::Result<PathBuf> {
        let inode = self.inodes.get(&number);
        inode.and_then(|inode| inode.path.clone()).ok_or_else(|| error(libc::ENOENT))
    }

    fn child(&self, parent: u64, name: &OsStr) -> io::Result<PathBuf> {
        Ok(self.path(parent)?.join(name))
    }

    /// Gives an open file a number.
    fn keep(&mut self, number: u64, file: File) -> u64 {
        let handle = self.draw();
        self.files.insert(handle, (number, Arc::new(file)));
        handle
    }

    fn file(&self, handle: u64) -> io::Result<(u64, Arc<File>)> {
        self.files.get(&handle).cloned().ok_or_else(|| error(libc::EBADF))
    }

    /// The file or directory, open at least for reading, also when only somebody who has it open still knows it.
    fn any_file(&self, number: u64) -> io::Result<Arc<File>> {
        match self.path(number) {
            Ok(path) => File::open(path).map(Arc::new),
            Err(gone) => {
                let open = self.files.values().find(|(inode, _)| *inode == number);
                open.map(|(_, file)| Arc::clone(file)).ok_or(gone)
            }
        }
    }

    /// Something has another name now; what had that name is gone.
    fn rename(&mut self, from: &Path, to: &Path) {
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
    fn bury(&mut self, path: &Path) {
        let Some(number) = self.numbers.remove(path) else { return };
        let Some(inode) = self.inodes.get_mut(&number) else { return };
        inode.path = None;
        inode.unknown = None;
        let all = inode.unsynced.len();
        self.undo_bytes -= inode.forget(all);
    }

    /// Remembers a file as it is: its length, and what is at `range`, which is about to change.
    fn remember(&mut self, number: u64, file: &File, range: Range<u64>) -> io::Result<()> {
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
    fn synced(&mut self, number: u64, until: u64) {
        let Some(inode) = self.inodes.get_mut(&number) else { return };
        let covered = inode.unsynced.iter().take_while(|undo| undo.write < until).count();
        self.undo_bytes -= inode.forget(covered);
        inode.lied = false;
        inode.unknown = inode.unknown.filter(|write| *write >= until);
    }

    /// Somebody was told that a file is durable, which it is not.
    fn lie(&mut self, number: u64) {
        if let Some(inode) = self.inodes.get_mut(&number) {
            inode.lied = !inode.unsynced.is_empty();
        }
    }
}

/// What is to change about a file, as setattr says.
#[derive(Debug)]
struct Change {
    mode: Option<u32>,
    owner: Option<u32>,
    group: Option<u32>,
    length: Option<u64>,
    accessed: Option<TimeOrNow>,
    modified: Option<TimeOrNow>,
}

impl Shared {
    fn new(root: PathBuf, seed: u64) -> Shared {
        let number = INodeNo::ROOT.0;
        let mut state = State { last: number, ..State::default() };
        state.numbers.insert(root.clone(), number);
        state.inodes.insert(number, Inode { path: Some(root.clone()), ..Inode::default() });
        Shared {
            root,
            dice: Dice::new(seed, 0xd15c),
            syncs: AtomicU64::new(0),
            state: Mutex::new(state),
        }
    }

    fn fault(&self) -> Option<Fault> {
        self.state.lock().fault
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
        match self.fault() {
            Some(Fault::Slow { fsync_ms, .. }) => clock::sleep_ms(fsync_ms),
            Some(Fault::FailSyncs(number)) => return Err(error(number)),
            Some(Fault::Lying) => return Ok(false),
            _ => {}
        }
        Ok(true)
    }

    fn look_up(&self, parent: u64, name: &OsStr) -> io::Result<FileAttr> {
        let mut state = self.state.lock();
        let path = state.child(parent, name)?;
        let found = fs::symlink_metadata(&path)?;
        Ok(attributes(state.number_of(&path), &found))
    }

    fn look_at(&self, number: u64) -> io::Result<FileAttr> {
        let state = self.state.lock();
        let found = match state.path(number) {
            Ok(path) => fs::symlink_metadata(path)?,
            Err(_) => state.any_file(number)?.metadata()?,
        };
        Ok(attributes(number, &found))
    }

    fn change(&self, number: u64, handle: Option<u64>, change: &Change) -> io::Result<FileAttr> {
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
            self.state.lock().any_file(number)?.set_times(times)?;
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
        if length > before && state.fault == Some(Fault::Full) {
            return Err(error(libc::ENOSPC));
        }
        state.remember(number, &file, length.min(before)..before)?;
        file.set_len(length)
    }

    fn open(&self, number: u64, flags: OpenFlags) -> io::Result<u64> {
        let mut state = self.state.lock();
        let path = state.path(number)?;
        // For reading in any case: what a write replaces is remembered.
        let writes = flags.acc_mode() != OpenAccMode::O_RDONLY;
        let file = File::options().read(true).write(writes).open(path)?;
        Ok(state.keep(number, file))
    }

    fn create(
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

    fn read(&self, handle: u64, offset: u64, size: u32) -> io::Result<Vec<u8>> {
        let file = {
            let state = self.state.lock();
            if let Some(Fault::FailReads(number)) = state.fault {
                return Err(error(number));
            }
            state.file(handle)?.1
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

    fn write(&self, handle: u64, offset: u64, data: &[u8]) -> io::Result<u32> {
        self.before_write()?;
        let written = u32::try_from(data.len()).map_err(io::Error::other)?;
        let mut state = self.state.lock();
        let (number, file) = state.file(handle)?;
        let end = offset + u64::from(written);
        if state.fault == Some(Fault::Full) && end > file.metadata()?.len() {
            return Err(error(libc::ENOSPC));
        }
        state.remember(number, &file, offset..end)?;
        file.write_all_at(data, offset)?;
        Ok(written)
    }

    fn sync(&self, handle: u64, data_only: bool) -> io::Result<()> {
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

    fn sync_directory(&self, number: u64) -> io::Result<()> {
        let directory = self.state.lock().any_file(number)?;
        if self.before_sync()? { directory.sync_all() } else { Ok(()) }
    }

    fn list(&self, number: u64) -> io::Result<Vec<Entry>> {
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

    fn make_directory(&self, parent: u64, name: &OsStr, mode: u32) -> io::Result<FileAttr> {
        let mut state = self.state.lock();
        let path = state.child(parent, name)?;
        DirBuilder::new().mode(mode & MODE_BITS).create(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(mode & MODE_BITS))?;
        let found = fs::symlink_metadata(&path)?;
        Ok(attributes(state.number_of(&path), &found))
    }

    fn remove(
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

    fn rename(&self, from: (u64, &OsStr), to: (u64, &OsStr)) -> io::Result<()> {
        let mut state = self.state.lock();
        let (from, to) = (state.child(from.0, from.1)?, state.child(to.0, to.1)?);
        fs::rename(&from, &to)?;
        state.rename(&from, &to);
        Ok(())
    }
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

/// What the kernel asks. Each answer is given on the thread that was asked.
#[derive(Debug)]
struct PassThrough(Arc<Shared>);

fn done(reply: ReplyEmpty, result: io::Result<()>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error.into()),
    }
}

fn named(reply: ReplyEntry, result: io::Result<FileAttr>) {
    match result {
        Ok(found) => reply.entry(&NO_CACHE, &found, GENERATION),
        Err(error) => reply.error(error.into()),
    }
}

fn seen(reply: ReplyAttr, result: io::Result<FileAttr>) {
    match result {
        Ok(found) => reply.attr(&NO_CACHE, &found),
        Err(error) => reply.error(error.into()),
    }
}

impl Filesystem for PassThrough {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        named(reply, self.0.look_up(parent.0, name));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        seen(reply, self.0.look_at(ino.0));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        fh: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let change =
            Change { mode, owner: uid, group: gid, length: size, accessed: atime, modified: mtime };
        seen(reply, self.0.change(ino.0, fh.map(|fh| fh.0), &change));
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        named(reply, self.0.make_directory(parent.0, name, mode));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, self.0.remove(parent.0, name, |path| fs::remove_file(path)));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, self.0.remove(parent.0, name, |path| fs::remove_dir(path)));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let result = match flags.is_empty() {
            true => self.0.rename((parent.0, name), (newparent.0, newname)),
            false => Err(error(libc::EINVAL)),
        };
        done(reply, result);
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.0.open(ino.0, flags) {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(error.into()),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        match self.0.create(parent.0, name, mode, flags) {
            Ok((found, handle)) => reply.created(
                &NO_CACHE,
                &found,
                GENERATION,
                FileHandle(handle),
                FopenFlags::FOPEN_DIRECT_IO,
            ),
            Err(error) => reply.error(error.into()),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.read(fh.0, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error.into()),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.write(fh.0, offset, data) {
            Ok(written) => reply.written(written),
            Err(error) => reply.error(error.into()),
        }
    }

    /// A file is closed: nothing was held back.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let closed = self.0.state.lock().files.remove(&fh.0);
        drop(closed);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        done(reply, self.0.sync(fh.0, datasync));
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let handle = self.0.state.lock().draw();
        reply.opened(FileHandle(handle), FopenFlags::empty());
    }

    /// Whoever reads on gets what was there when he began, so that nothing is skipped while he removes what he finds.
    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        if offset == 0 {
            match self.0.list(ino.0) {
                Ok(entries) => drop(self.0.state.lock().listings.insert(fh.0, entries)),
                Err(error) => return reply.error(error.into()),
            }
        }
        let state = self.0.state.lock();
        let entries = state.listings.get(&fh.0).map(Vec::as_slice).unwrap_or_default();
        let left = (1..).zip(entries).skip(usize::try_from(offset).unwrap_or(usize::MAX));
        for (next, entry) in left {
            if reply.add(INodeNo(entry.number), next, entry.kind, &entry.name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, fh: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        let closed = self.0.state.lock().listings.remove(&fh.0);
        drop(closed);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(reply, self.0.sync_directory(ino.0));
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let full = self.0.fault() == Some(Fault::Full);
        let left = |blocks: u64| if full { 0 } else { blocks };
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        match rustix::fs::statvfs(self.0.root.as_path()) {
            Ok(found) => reply.statfs(
                found.f_blocks,
                left(found.f_bfree),
                left(found.f_bavail),
                found.f_files,
                found.f_ffree,
                small(found.f_bsize),
                small(found.f_namemax),
                small(found.f_frsize),
            ),
            Err(error) => reply.error(io::Error::from(error).into()),
        }
    }

    /// Only root uses such a disk, and may do everything.
    fn access(&self, _: &Request, ino: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        done(reply, self.0.look_at(ino.0).map(|_| ()));
    }
}
