//! Small disks of a node's own, which a test can fill, stop, break and take the power from: ext4 in an image behind a loop device.
//!
//! * *Full*: a file takes all the room there is.
//! * *Stands still*: the file system is frozen (fsfreeze(8)): writes and fdatasync wait until it is thawed.
//! * *Broken*: the file system is shut down: every read, write and fdatasync fails with EIO from then on.
//! * *Without power*: the image is copied as the device has it, and the disk goes on from the copy ([`LoopDisk::image_now`],
//!   [`LoopDisk::restart_from`]). What only the page cache of the mounted file system had is lost.
//!
//! A copy of what is written to meanwhile would mix moments: it could have the end of a journal and not what was put in its place before,
//! which no power cut makes. So the image of a disk that is to lose power lies on a *shelf*, a file system of its own. While the image is
//! copied the shelf is frozen: the device takes no write, and the copy is what it had at one moment. The shelf has no journal, because it
//! need not survive anything: so a flush of the disk becomes one flush of the file in which the shelf is, as it would of an image there.
//!
//! Whatever was mounted is thawed and unmounted when the value is dropped; what a killed test left is swept by the next one.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{cleanup, sys};
use crate::{clock, shell};

/// The programs that this needs.
pub const TOOLS: [&str; 4] = ["mkfs.ext4", "mount", "umount", "fsfreeze"];

/// The programs that disks need which lose power.
pub const POWER_TOOLS: [&str; 8] =
    ["mkfs.ext4", "mount", "umount", "fsfreeze", "nsenter", "cp", "cmp", "sync"];

/// How long a disk may take to be unmounted for good, in milliseconds.
const GONE_MS: u64 = 20_000;

/// Freezes the shelf $1, copies the image $2 to $3, compares, and thaws. Where $4 is given, the file system mounted there is being synced
/// meanwhile, for $5 seconds already when the shelf is frozen; it says so when that was not done by then.
///
/// One shell does it, and no signal of a terminal ends it: nothing must come between freezing and thawing. It compares before it thaws, so
/// that a device which was written to all the same is found out.
const COPY: &str = r#"
trap '' INT TERM
syncing=
if [ -n "$4" ]; then
    sync -f "$4" &
    syncing=$!
    sleep "$5"
fi
fsfreeze -f "$1" || exit 1
if [ -n "$syncing" ] && grep -qs '^State:.[DRS]' "/proc/$syncing/status"; then
    echo "under way"
fi
cp --sparse=always "$2" "$3" && cmp "$2" "$3"
result=$?
fsfreeze -u "$1" || result=1
wait
exit $result
"#;

/// How much of what was not synced a power cut takes.
///
/// Neither is all that a real disk may do. Whatever the device was given is in the copy, flushed or not, in the order in which the kernel
/// gave it, and no write is torn: the disk has no cache of its own that it could lose. So this finds a server that acknowledges what it has
/// not synced, or that cannot read what it wrote in part. It does not find a kernel that forgets to flush a disk's cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// All of it, except what the kernel has written by itself: it does so when pages have been dirty for half a minute, and a sync of one
    /// file takes along what others have changed in directories, sizes and names.
    Unsynced,
    /// A part: a sync of the whole file system has begun, and the moment is some milliseconds later. What has been written until then, and
    /// in which order, is the kernel's choice. It may be nothing or everything: [`LoopDisk::image_now`] tells whether it was not done.
    Some,
}

/// A disk, mounted.
#[derive(Debug)]
pub struct LoopDisk {
    mount: PathBuf,
    image: PathBuf,
    /// Where its image lies, when it can lose power. Unmounted after the disk.
    shelf: Option<Shelf>,
}

impl LoopDisk {
    /// A disk of `mib` MiB, mounted at `at`; its image is put into `dir`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn mount(dir: &Path, at: &Path, mib: u64) -> Result<LoopDisk> {
        cleanup::sweep_mounts();
        LoopDisk::make(None, dir, at, mib)
    }

    /// As [`LoopDisk::mount`], for a disk that can lose power. It needs [`POWER_TOOLS`].
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn mount_for_cuts(dir: &Path, at: &Path, mib: u64) -> Result<LoopDisk> {
        cleanup::sweep_mounts();
        let shelf = Shelf::mount(dir, &name(at, "shelf")?, 2 * mib)?;
        let place = shelf.mount.clone();
        LoopDisk::make(Some(shelf), &place, at, mib)
    }

    fn make(shelf: Option<Shelf>, dir: &Path, at: &Path, mib: u64) -> Result<LoopDisk> {
        let image = dir.join(name(at, "img")?);
        File::create(&image)?.set_len(mib << 20)?;
        fs::create_dir_all(at)?;
        let options = ["-q", "-F", "-m", "0", "-J", "size=4"];
        shell::run(Command::new("mkfs.ext4").args(options).arg(&image))?;
        // As the kernel tells of them.
        let (mount, image) = (fs::canonicalize(at)?, fs::canonicalize(image)?);
        attach(&image, &mount)?;
        Ok(LoopDisk { mount, image, shelf })
    }

    /// Where it is mounted.
    pub fn place(&self) -> &Path {
        &self.mount
    }

    /// Copies the image to `to` as the device has it at one moment: what the disk has when it loses power then. Gives whether a sync was
    /// under way at that moment that was not done, which there is only with [`Lost::Some`].
    ///
    /// Whoever writes should have been stopped before (SIGSTOP): what it does after that moment is not in the copy, and so nobody must hear
    /// of it. The disk itself goes on as if nothing had happened.
    ///
    /// # Errors
    /// When the disk was not made for that ([`LoopDisk::mount_for_cuts`]), `to` is on its shelf, the copy cannot be made, or the device was
    /// written to although its shelf was frozen.
    pub fn image_now(&self, to: &Path, lost: Lost) -> Result<bool> {
        let shelf = self.shelf.as_ref().context("this disk was not made for power cuts")?;
        let shelf = &shelf.mount;
        // Else the machine's own disk would be frozen, or synced.
        for place in [shelf, &self.mount] {
            ensure!(is_mounted(place), "{} is not mounted", place.display());
        }
        // Else the copy would wait for the thaw, which waits for the copy.
        let target = to.parent().context("a copy without a place")?;
        let (from, into) = (fs::metadata(&self.image)?.dev(), fs::metadata(target)?.dev());
        ensure!(from != into, "{} is where the image is", to.display());
        let syncing = match lost {
            Lost::Unsynced => OsStr::new(""),
            Lost::Some => self.mount.as_os_str(),
        };
        let head_start = format!("0.{:03}", clock::now_us() % 10);
        let copied = shell::run(
            Command::new("sh")
                .args(["-c", COPY, "sh"])
                .arg(shelf)
                .arg(&self.image)
                .arg(to)
                .arg(syncing)
                .arg(head_start),
        );
        // A shell that took too long was ended before it could thaw.
        let _ = thaw(shelf);
        let said = copied.context("copying a disk as the device has it")?;
        ensure!(was_cut(to)?, "{} is not an ext4 whose journal waits to be replayed", to.display());
        Ok(said.contains("under way"))
    }

    /// Power is there again, and the disk has what `image` has: the old one is unmounted, everywhere and for good, `image` is copied to its
    /// place and mounted. The kernel replays the journal, as after a real power cut; e2fsck is not run.
    ///
    /// Whoever had a file open on the disk must have ended.
    ///
    /// # Errors
    /// When the old one is still in use after some seconds, or the new one cannot be mounted; the message has what mount(8) said.
    pub fn restart_from(&mut self, image: &Path) -> Result<()> {
        unmount_for_good(&self.mount, &self.image)?;
        shell::run(Command::new("cp").arg("--sparse=always").arg(image).arg(&self.image))?;
        attach(&self.image, &self.mount).context("mounting a disk that lost power")
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
        thaw(&self.mount)
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

    /// Gives it back, if it was taken.
    ///
    /// # Errors
    /// When it cannot be given back.
    pub fn make_room(&self) -> Result<()> {
        match fs::remove_file(self.filler()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).context("the file that takes the room")
            }
            _ => Ok(()),
        }
    }

    /// What was written so far is on the device.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn sync(&self) -> Result<()> {
        shell::run(Command::new("sync").arg("-f").arg(&self.mount)).map(drop)
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

/// The file system that the image of a disk lies on.
#[derive(Debug)]
struct Shelf {
    mount: PathBuf,
}

impl Shelf {
    /// One of `mib` MiB, mounted at `name` in `dir`, where its own image is, too.
    fn mount(dir: &Path, name: &str, mib: u64) -> Result<Shelf> {
        let (image, at) = (dir.join(format!("{name}.img")), dir.join(name));
        File::create(&image)?.set_len(mib << 20)?;
        fs::create_dir_all(&at)?;
        let options = ["-q", "-F", "-m", "0", "-b", "4096", "-N", "64", "-O", "^has_journal"];
        shell::run(Command::new("mkfs.ext4").args(options).arg(&image))?;
        let mount = fs::canonicalize(&at)?;
        attach(&image, &mount)?;
        Ok(Shelf { mount })
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        let _ = thaw(&self.mount);
        unmount(&self.mount);
    }
}

fn attach(image: &Path, at: &Path) -> Result<()> {
    shell::run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(at)).map(drop)
}

fn thaw(place: &Path) -> Result<()> {
    shell::run(Command::new("fsfreeze").arg("-u").arg(place)).map(drop)
}

/// Unmounts `place` in every mount namespace, and waits until no loop device has `image` any more.
///
/// Two reasons why it is not enough to unmount it here. Each process that `ip netns exec` has started has a namespace with a copy of all
/// mounts that there were then, and the file system lives as long as one of them. And mount(8) takes the old loop device again, with what
/// the kernel remembers of it, when it finds one for a file that it takes for the same.
fn unmount_for_good(place: &Path, image: &Path) -> Result<()> {
    let what = format!("{} to be unmounted everywhere", place.display());
    let mut said = String::from("it is mounted nowhere, but its loop device is still there");
    let gone = clock::wait_for_every(100, &what, GONE_MS, || {
        if is_mounted(place)
            && let Err(error) = shell::run(Command::new("umount").arg(place))
        {
            said = format!("{error:#}");
        }
        for namespace in other_namespaces(place) {
            let enter = format!("--mount={}", namespace.display());
            let mut umount = Command::new("nsenter");
            umount.arg(enter).arg("umount").arg(place);
            // Its process may have ended meanwhile, and the namespace with it.
            if let Err(error) = shell::run(&mut umount) {
                said = format!("{error:#}");
            }
        }
        (!is_mounted(place) && !has_device(image)).then_some(())
    });
    gone.with_context(|| format!("the last that was said: {said}"))
}

/// The mount namespaces beside ours in which `place` is mounted.
fn other_namespaces(place: &Path) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    seen.extend(fs::read_link("/proc/self/ns/mnt").ok());
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir("/proc") else { return found };
    for process in entries.flatten().map(|entry| entry.path()) {
        let namespace = process.join("ns/mnt");
        // What is no process, or one that has ended, has none.
        let Ok(number) = fs::read_link(&namespace) else { continue };
        if seen.insert(number) && lists(&process.join("mounts"), place) {
            found.push(namespace);
        }
    }
    found
}

/// Whether something is mounted at `place`, for us.
fn is_mounted(place: &Path) -> bool {
    lists(Path::new("/proc/self/mounts"), place)
}

/// Whether the list of mounts in the file `mounts` has one at `place`.
fn lists(mounts: &Path, place: &Path) -> bool {
    let mounts = fs::read_to_string(mounts).unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .any(|at| Path::new(at) == place)
}

/// Whether a loop device has `image`.
fn has_device(image: &Path) -> bool {
    let Ok(devices) = fs::read_dir("/sys/block") else { return false };
    devices.flatten().any(|device| {
        let told = fs::read_to_string(device.path().join("loop/backing_file"));
        told.is_ok_and(|told| Path::new(told.trim_end()) == image)
    })
}

/// Whether `image` is an ext4 that was not unmounted: its superblock says that the journal is to be replayed.
fn was_cut(image: &Path) -> Result<bool> {
    // The kernel's Documentation/filesystems/ext4/super.rst: it begins at 1024; s_magic at 0x38, s_feature_incompat at 0x60.
    let (mut magic, mut incompatible) = ([0_u8; 2], [0_u8; 4]);
    let file = File::open(image)?;
    file.read_exact_at(&mut magic, 1024 + 0x38)?;
    file.read_exact_at(&mut incompatible, 1024 + 0x60)?;
    // EXT4_FEATURE_INCOMPAT_RECOVER: set on the device as long as the file system is mounted to be written.
    let needs_recovery = u32::from_le_bytes(incompatible) & 0x4 != 0;
    Ok(u16::from_le_bytes(magic) == 0xef53 && needs_recovery)
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
