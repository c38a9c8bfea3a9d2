//! Small disks of a node's own, which a test can fill, stop and break: ext4 in an image behind a loop device.
//!
//! * *Full*: a file takes all the room there is.
//! * *Stands still*: the file system is frozen (fsfreeze(8)): writes and fdatasync wait until it is thawed.
//! * *Broken*: the file system is shut down: every read, write and fdatasync fails with EIO from then on.
//!
//! Whatever was mounted is thawed and unmounted when the value is dropped; what a killed test left is swept by the next one.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{cleanup, sys};
use crate::shell;

/// The programs that this needs.
pub const TOOLS: [&str; 4] = ["mkfs.ext4", "mount", "umount", "fsfreeze"];

/// A disk, mounted.
#[derive(Debug)]
pub struct LoopDisk {
    mount: PathBuf,
}

impl LoopDisk {
    /// A disk of `mib` MiB, mounted at `at`; its image is put into `dir`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn mount(dir: &Path, at: &Path, mib: u64) -> Result<LoopDisk> {
        cleanup::sweep_mounts();
        let image = dir.join(name(at, "img")?);
        File::create(&image)?.set_len(mib << 20)?;
        fs::create_dir_all(at)?;
        let options = ["-q", "-F", "-m", "0", "-J", "size=4"];
        shell::run(Command::new("mkfs.ext4").args(options).arg(&image))?;
        shell::run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(at))?;
        Ok(LoopDisk { mount: at.to_path_buf() })
    }

    /// From now on writes and syncs wait. Let go of by [`LoopDisk::thaw`].
    ///
    /// # Errors
    /// When the system refuses.
    pub fn freeze(&self) -> Result<()> {
        shell::run(Command::new("fsfreeze").arg("-f").arg(&self.mount)).map(drop)
    }

    /// They go on.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn thaw(&self) -> Result<()> {
        shell::run(Command::new("fsfreeze").arg("-u").arg(&self.mount)).map(drop)
    }

    /// Takes the room but for `left` bytes.
    ///
    /// # Errors
    /// When it cannot be taken.
    pub fn fill(&self, left: u64) -> Result<()> {
        let mut file = File::options().create(true).append(true).open(self.filler())?;
        let free = self.free()?;
        let wanted = usize::try_from(free.saturating_sub(left))?;
        fill(&mut file, wanted)?;
        if left == 0 {
            // What statvfs does not tell of.
            fill(&mut file, 16 << 20)?;
        }
        Ok(())
    }

    /// Gives it back.
    ///
    /// # Errors
    /// When it cannot be given back.
    pub fn make_room(&self) -> Result<()> {
        fs::remove_file(self.filler()).context("the file that takes the room")
    }

    /// Nothing can be read or written from now on.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn fail(&self) -> Result<()> {
        sys::shut_down_file_system(&File::open(&self.mount)?).context("shutting a file system down")
    }

    /// Bytes free.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn free(&self) -> Result<u64> {
        let told = shell::run(Command::new("stat").args(["-f", "-c", "%a %S"]).arg(&self.mount))?;
        let mut numbers = told.split_whitespace().map(str::parse::<u64>);
        let mut next = || numbers.next().context("stat -f")?.context("stat -f");
        Ok(next()? * next()?)
    }

    fn filler(&self) -> PathBuf {
        self.mount.join("filler")
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // It need not be frozen.
        let _ = self.thaw();
        unmount(&self.mount);
    }
}

/// Unmounts what is mounted at `place`, now or when nobody uses it any more.
pub fn unmount(place: &Path) {
    let _ = shell::run(Command::new("umount").arg("--lazy").arg(place));
}

fn name(at: &Path, ending: &str) -> Result<String> {
    let parent = at.parent().and_then(Path::file_name).context("a place without a name")?;
    Ok(format!("{}.{ending}", parent.display()))
}

/// Appends zeros, at most so many, until there is no room for more.
fn fill(file: &mut File, mut bytes: usize) -> Result<()> {
    let zeros = vec![0; 1 << 20];
    let mut most = zeros.len();
    while bytes > 0 && most > 0 {
        match file.write(&zeros[..most.min(bytes)]) {
            Ok(written) => bytes -= written,
            Err(error) if error.kind() == ErrorKind::StorageFull => most /= 2,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
