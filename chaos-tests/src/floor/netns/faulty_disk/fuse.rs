//! What the kernel asks. Each answer is given on the thread that was asked.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, FileAttr, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::operations::{Change, Shared};
use super::{Fault, error};

/// What the kernel may remember of names and attributes: nothing.
const NO_CACHE: Duration = Duration::ZERO;

/// Numbers of inodes are never used again.
const GENERATION: Generation = Generation(0);

/// The file system.
#[derive(Debug)]
pub(super) struct PassThrough(pub(super) Arc<Shared>);

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
