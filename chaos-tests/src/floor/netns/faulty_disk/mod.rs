//! Disks of a node's own that are slow, full or broken, or lie: a file system (FUSE) that hands everything on to a directory, with faults
//! that a test switches while it is mounted. It needs `/dev/fuse` and no library.
//!
//! What it promises:
//!
//! * Without a fault it does what the directory below does. Nothing is kept on the way: what lies below is what is read.
//! * [`FaultyDisk::crash`] is a power cut for this disk. What an honest sync of a file covered is there afterwards. Of the writes to a file
//!   that followed, the first ones stay, as many as the seed says, and the others are undone. Where the disk lies, or the last sync of
//!   the file was a lie, none stays.
//! * Nothing hangs by itself. When the value is dropped, whoever still uses the disk gets errors at once, it is unmounted, and its
//!   threads end; what a killed test left is swept by the next one. Only if the directory below stands still, whoever writes waits, and can
//!   be killed no sooner than that goes on; it must go on before the value is dropped. Faults can be switched meanwhile.
//!
//! What it does not do: names are never lost. Whatever was made, renamed or removed stays so, synced or not; so a file that was
//! renamed while the disk lied has its new name after the power cut, and nothing in it. The writes to one file keep their order, and none is torn
//! (a write of more than 1 MiB arrives in parts, which count as writes of their own). Links, extended attributes, fallocate(2) and shared
//! mappings (mmap) are refused; the server uses none of them. Locks are the kernel's own business.
//!
//! Here is what a test sees of it. The kernel asks `fuse`, which has `operations` do it to the directory below; `inodes` knows which file
//! has which name, and `undo` what a power cut takes.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use fuser::{BackgroundSession, Config, MountOption};

use super::cleanup;
use crate::{clock, shell};

mod fuse;
mod inodes;
mod operations;
mod undo;

use fuse::PassThrough;
use operations::Shared;

/// The programs that this needs.
pub const TOOLS: [&str; 1] = ["umount"];

/// How many operations can be under way. More than the threads of a server that wait for its disk at one time, so that a slow sync holds
/// up nobody but its caller.
const THREADS: usize = 8;

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
        *self.shared.fault.lock() = Some(fault);
    }

    /// From now on nothing is wrong with it. What it lied about becomes durable with the next sync of the file.
    pub fn heal(&self) {
        *self.shared.fault.lock() = None;
    }

    /// What is wrong with it.
    pub fn fault(&self) -> Option<Fault> {
        self.shared.fault()
    }

    /// How many syncs of files and directories it was asked for so far, whatever came of them.
    pub fn syncs(&self) -> u64 {
        self.shared.syncs.load(Ordering::Relaxed)
    }

    /// How many of them a fault has failed. Once it is healed no more are added.
    pub fn failed_syncs(&self) -> u64 {
        self.shared.failed_syncs.load(Ordering::Relaxed)
    }

    /// A power cut. Whoever wrote must be gone before: for this disk the kernel of his machine is gone too. A fault stays.
    ///
    /// # Errors
    /// When more than 256 MiB were written over what no sync had covered yet, so that it is not known what to undo (then nothing is
    /// changed), or the directory below fails.
    pub fn crash(&self) -> Result<Loss> {
        self.shared.crash()
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

fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}
