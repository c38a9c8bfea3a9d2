//! The disk of one of our nodes: an image behind a loop device, and, where there is FUSE, a file system of our own between it and the node.
//!
//! ```text
//!   the node ──▶ data: slow, broken (FaultyDisk) ──▶ disk: full, stands still, loses power (LoopDisk)
//! ```
//!
//! Both are directories of the node's, beside each other. Without FUSE the image is mounted at `data`, and the faults of the first are not
//! there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::floor::netns::faulty_disk::{self, Fault, FaultyDisk};
use crate::floor::netns::loop_disk::{LoopDisk, Lost};

/// MiB of a disk.
const MIB: u64 = 192;

/// A disk, mounted.
#[derive(Debug)]
pub struct Disk {
    // Unmounted in this order: what lies on the other first.
    faulty: Option<FaultyDisk>,
    image: LoopDisk,
    /// Where the node has its data.
    data: PathBuf,
    seed: u64,
    stands_still: bool,
    /// How many of the syncs that failed are of no interest any more.
    excused: u64,
}

impl Disk {
    /// A disk for the node whose directory is `node`; its image is put into `files`. `seed` decides what is left of what a broken disk did
    /// not sync. Only processes that are started afterwards see it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn mount(files: &Path, node: &Path, seed: u64) -> Result<Disk> {
        let (data, below) = (node.join("data"), node.join("disk"));
        let has_fuse = faulty_disk::missing().is_none();
        let at = if has_fuse { &below } else { &data };
        let image = LoopDisk::mount_for_cuts(files, at, MIB)?;
        let (faulty, stands_still) = (None, false);
        let mut disk = Disk { faulty, image, data, seed, stands_still, excused: 0 };
        if has_fuse {
            disk.put_between()?;
        }
        Ok(disk)
    }

    fn put_between(&mut self) -> Result<()> {
        let faulty = FaultyDisk::mount(self.image.place(), &self.data, self.seed)?;
        (self.faulty, self.excused) = (Some(faulty), 0);
        Ok(())
    }

    /// Whether it can be slow and broken.
    pub fn has_all_faults(&self) -> bool {
        self.faulty.is_some()
    }

    /// A sync takes so many milliseconds longer from now on.
    ///
    /// # Errors
    /// When there is no FUSE.
    pub fn slow(&self, millis: u64) -> Result<()> {
        self.bring(Fault::Slow { fsync_ms: millis, write_ms: 0 })
    }

    /// No sync succeeds from now on.
    ///
    /// # Errors
    /// When there is no FUSE.
    pub fn fail(&self) -> Result<()> {
        self.bring(Fault::FailSyncs(libc::EIO))
    }

    fn bring(&self, fault: Fault) -> Result<()> {
        self.faulty.as_ref().context("there is no FUSE")?.bring(fault);
        Ok(())
    }

    /// It stands still from now on.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn stall(&mut self) -> Result<()> {
        // One that stands still already would be refused.
        if !self.stands_still {
            self.image.freeze()?;
            self.stands_still = true;
        }
        Ok(())
    }

    /// It goes on, if it stands still. A process does not end as long as it waits for such a disk, and we would wait for it, too.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn thaw(&mut self) -> Result<()> {
        if std::mem::take(&mut self.stands_still) {
            self.image.thaw()?;
        }
        Ok(())
    }

    /// It has no room from now on.
    ///
    /// # Errors
    /// When the room cannot be taken.
    pub fn fill(&mut self) -> Result<()> {
        // Else we would wait, and nobody would let it go on.
        self.thaw()?;
        self.image.fill(0)
    }

    /// It is well.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn heal(&mut self) -> Result<()> {
        self.thaw()?;
        if let Some(faulty) = &self.faulty {
            faulty.heal();
        }
        // Also of one that was not filled since: a power cut brings the file back whose end was not synced.
        self.image.make_room()
    }

    /// Whether no sync succeeds now.
    pub fn is_broken(&self) -> bool {
        self.faulty.as_ref().is_some_and(|it| matches!(it.fault(), Some(Fault::FailSyncs(_))))
    }

    /// How many syncs have failed that nobody has excused.
    pub fn failures(&self) -> u64 {
        let all = self.faulty.as_ref().map_or(0, FaultyDisk::failed_syncs);
        all.saturating_sub(self.excused)
    }

    /// Its node goes on although so many of its syncs have failed.
    pub fn excuse(&mut self, failures: u64) {
        self.excused += failures;
    }

    /// What an operator does before he starts a node again whose disk has failed: he puts the disk right and mounts it anew. Of what no
    /// sync has covered some is gone then, which would have been read as if it were there; what is left is on the disk. The node must have
    /// ended.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn mount_anew(&mut self) -> Result<()> {
        self.heal()?;
        if let Some(faulty) = &self.faulty {
            faulty.crash()?;
        }
        self.excuse(self.failures());
        self.image.sync()
    }

    /// See [`LoopDisk::image_now`].
    ///
    /// # Errors
    /// See there.
    pub fn image_now(&self, to: &Path, lost: Lost) -> Result<()> {
        self.image.image_now(to, lost).map(drop)
    }

    /// See [`LoopDisk::restart_from`].
    ///
    /// # Errors
    /// See there.
    pub fn restart_from(&mut self, image: &Path) -> Result<()> {
        // The node is gone; the file system between has files open there, too. It goes, and comes back to what is there then.
        let had_fuse = self.faulty.take().is_some();
        self.image.restart_from(image)?;
        if had_fuse {
            self.put_between()?;
        }
        Ok(())
    }

    /// MiB in use.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn used_mib(&self) -> Result<u64> {
        Ok(MIB.saturating_sub(self.image.free()? >> 20))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The threads of the file system between do not end while they wait.
        let _ = self.thaw();
    }
}
