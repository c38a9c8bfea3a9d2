//! Nothing stays behind: names that say who made them, and a sweep of what dead tests left.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use super::sys::{self, Signal};
use crate::shell;

/// First part of the name of every namespace of these tests.
const PREFIX: &str = "lhchaos-";

/// Where tests keep their files.
const WORK: &str = "/tmp/leasehold-chaos";

/// A name for a namespace that nobody has: prefix, our process, a number, `role`.
pub fn unique_name(role: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{PREFIX}{}-{}-{role}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Deletes every namespace with our prefix whose maker is gone, after ending what runs in it.
pub fn sweep() {
    let Ok(listed) = shell::run(Command::new("ip").args(["netns", "list"])) else { return };
    for name in listed.lines().filter_map(|line| line.split_whitespace().next()) {
        if is_orphan(name) {
            eprintln!("sweeping the namespace {name} of a test that was killed");
            delete_namespace(name);
        }
    }
}

/// Unmounts every disk of a test whose process is gone.
pub fn sweep_mounts() {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let words = mounts.lines().map(|line| line.split_whitespace().skip(1));
    let placed = words.filter_map(|mut words| Some((Path::new(words.next()?), words.next()?)));
    let left: Vec<(&Path, &str)> = placed.filter(|(place, _)| is_left(place)).collect();
    // All go on first: a disk cannot be unmounted while the one that its image is on stands still. Not those of FUSE: they never stand
    // still, and one whose test waits for the disk below answers nobody before that goes on.
    for (place, _) in left.iter().filter(|(_, kind)| !kind.starts_with("fuse")) {
        let _ = shell::run(Command::new("fsfreeze").arg("-u").arg(place));
    }
    // The last first: a disk before the one that its image is on.
    for (place, _) in left.into_iter().rev() {
        eprintln!("unmounting {} of a test that was killed", place.display());
        super::loop_disk::unmount(place);
    }
}

/// Whether `place` lies in the directory of a test whose process is gone.
fn is_left(place: &Path) -> bool {
    let Ok(rest) = place.strip_prefix(WORK) else { return false };
    let run = rest.iter().nth(1).and_then(|run| run.to_str());
    let pid = run.and_then(|run| run.split('-').next()).and_then(|pid| pid.parse::<u32>().ok());
    pid.is_some_and(is_gone)
}

/// Whether a process has ended, as far as it can: one that was killed stays, as a zombie, as long as one of its threads waits for a disk
/// that stands still.
fn is_gone(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| has_ended(&stat))
}

/// Whether a line of `/proc/PID/stat` is of a zombie; the name in parentheses may contain anything (proc(5)).
fn has_ended(stat: &str) -> bool {
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

/// Whether `name` is one of ours, and the process that drew it is gone.
pub fn is_orphan(name: &str) -> bool {
    maker(name).is_some_and(is_gone)
}

/// The process that made the namespace `name`; none when it is not one of ours.
fn maker(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

/// Ends every process in the namespace `name`, which is one of ours, and deletes it.
pub fn delete_namespace(name: &str) {
    end_processes(name);
    let _ = shell::run(Command::new("ip").args(["netns", "del", name]));
}

/// Ends every process in the namespace `name`, which is one of ours.
pub fn end_processes(name: &str) {
    // A process may fork while we look: look again until there is none.
    for _ in 0..20 {
        let pids = shell::run(Command::new("ip").args(["netns", "pids", name])).unwrap_or_default();
        let pids: Vec<u32> = pids.lines().filter_map(|line| line.trim().parse().ok()).collect();
        if pids.is_empty() {
            break;
        }
        for pid in pids.into_iter().filter(|pid| *pid != std::process::id()) {
            let _ = sys::send_signal(pid, Signal::Kill);
        }
        crate::clock::sleep_ms(10);
    }
}

/// Makes and deletes a namespace, to see whether that works here.
///
/// # Errors
/// What `ip netns add` said.
pub fn namespaces_work() -> Result<()> {
    let name = unique_name("try");
    shell::run(Command::new("ip").args(["netns", "add", &name]))?;
    shell::run(Command::new("ip").args(["netns", "del", &name]))?;
    Ok(())
}

/// A name for `test` that leaves room for the path of a unix socket, which has at most 107 bytes.
fn short_name(test: &str) -> String {
    let mut hasher = DefaultHasher::new();
    test.hash(&mut hasher);
    let start: String = test.chars().take(24).collect();
    format!("{start}-{:08x}", hasher.finish() as u32)
}

/// A directory for the files of one test. It is removed when the test ends well and kept, with its path printed, when it panics.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    keep: bool,
}

impl WorkDir {
    /// A new directory for `test`; directories that earlier failures of the same test left are removed.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(test: &str) -> Result<WorkDir> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        // A file on a disk that was left frozen could not be removed.
        sweep_mounts();
        let test_dir = Path::new(WORK).join(short_name(test));
        if let Ok(entries) = std::fs::read_dir(&test_dir) {
            for entry in entries.flatten() {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let path = test_dir.join(format!(
            "{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(WorkDir { path, keep: true })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it will be kept: until the test said that it ended well.
    pub fn is_kept(&self) -> bool {
        self.keep
    }

    /// Says that the test ended well, so that the files are not needed.
    pub fn passed(&mut self) {
        self.keep = std::env::var_os("LEASEHOLD_CHAOS_KEEP").is_some();
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("the files of this test are kept in {}", self.path.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.path);
            if let Some(parent) = self.path.parent() {
                // Goes only when nothing is kept in it.
                let _ = std::fs::remove_dir(parent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::has_ended;

    #[test]
    fn who_was_killed_and_cannot_go_is_gone_and_a_name_hides_nobody() {
        assert!(has_ended("42 (chaos) Z 1 42 42 0 -1"));
        assert!(!has_ended("42 (a) Z) D 1 42 42 0 -1"));
        assert!(!has_ended("42 (chaos) S 1 42 42 0 -1"));
    }
}
