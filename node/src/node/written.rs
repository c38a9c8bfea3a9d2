//! Files that the control API may have this node write: where they may lie, and how they get there.
//!
//! [`Places::path`] is pure and says where, or why not: one plain name in one directory, so that
//! nobody who may use the API reaches another file of the machine. [`put`] writes beside the target, in
//! a file that did not exist before, and moves it there when it is on disk: whoever reads finds the old
//! text or the new one. Only the user that the node runs as may read it, since configurations have
//! secrets in them.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use crate::settings::Settings;

/// The name of the configuration where there is no file it was started with.
const DEFAULT: &str = "kea-dhcp4.conf";

/// Where files may be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The directory of the node.
    own: PathBuf,
    /// The configuration file that is the master of the configuration (R26); its directory too then.
    start_up: Option<PathBuf>,
}

impl Places {
    /// The places of a node. `file_wins`: the configuration file is the master (the Kea personality).
    pub fn of(settings: &Settings, file_wins: bool) -> Places {
        let own = settings.control.write_dir.clone();
        Places {
            own: own.unwrap_or_else(|| settings.data_dir.join("written")),
            start_up: settings.cluster.config.clone().filter(|_| file_wins),
        }
    }

    /// The path for this name; without a name that of the configuration. `what` is written, for the text.
    ///
    /// # Errors
    /// Why not, for the caller.
    pub fn path(&self, name: Option<&str>, what: &str) -> Result<PathBuf, String> {
        let Some(name) = name else {
            return Ok(self.start_up.clone().unwrap_or_else(|| self.own.join(DEFAULT)));
        };
        let path = Path::new(name);
        let relative = self.start_up.as_deref().map_or(&*self.own, directory);
        let allowed = match plain_name(path) {
            None => None,
            Some(file) if path.is_relative() => Some(relative.join(file)),
            Some(_) => {
                let given = path.parent();
                let dirs = [Some(&*self.own), self.start_up.as_deref().map(directory)];
                dirs.contains(&given).then(|| path.to_owned())
            }
        };
        allowed.filter(|_| !name.contains('\0')).ok_or_else(|| self.refusal(name, what))
    }

    /// The path of a file of leases: in the directory of the node only. Beside the configuration file lie that
    /// file itself, certificates and passwords, and leases written over one of them would be the end of
    /// the next start.
    ///
    /// # Errors
    /// Why not, for the caller.
    pub fn lease_file(&self, name: &str) -> Result<PathBuf, String> {
        Places { own: self.own.clone(), start_up: None }.path(Some(name), "leases")
    }

    fn refusal(&self, name: &str, what: &str) -> String {
        match &self.start_up {
            Some(file) => format!(
                "not allowed to write {what} into {name}: file {name} must be in the same directory as the config file ({})",
                file.display()
            ),
            None => format!(
                "not allowed to write {what} into {name}: give a name without a directory, files are written into {} \
                 ([control].write-dir of the node's settings)",
                self.own.display()
            ),
        }
    }
}

/// The last part of a path that has nothing before it, or a whole directory without tricks.
fn plain_name(path: &Path) -> Option<&OsStr> {
    // `Path` leaves out a dot within and a slash at the end, which must not be taken for nothing.
    let text = path.to_str()?;
    if text.ends_with('/') || text.ends_with("/.") {
        return None;
    }
    let mut parts = path.components().peekable();
    let absolute = parts.next_if_eq(&Component::RootDir).is_some();
    let mut last = None;
    let mut count = 0;
    for part in parts {
        let Component::Normal(name) = part else { return None };
        (last, count) = (Some(name), count + 1);
    }
    last.filter(|_| absolute || count == 1)
}

fn directory(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Puts `text` into the file at `path`, whole or not at all; it is on disk then.
///
/// # Errors
/// What failed, and where.
pub fn put(path: &Path, text: &[u8]) -> Result<(), String> {
    put_with(path, "config-write", |out| out.write_all(text)).map(|_| ())
}

/// The same for content that is not at hand as one text; returns its bytes. `command` is for the text.
///
/// # Errors
/// What failed, and where.
pub fn put_with(
    path: &Path,
    command: &str,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<u64, String> {
    let wrong = |what: &str, error: io::Error| {
        format!("Error during {command}: {what} {}: {error}", path.display())
    };
    let parent = directory(path);
    if !parent.exists() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(|error| wrong("cannot make the directory of", error))?;
    }
    match fs::symlink_metadata(path) {
        Ok(there) if !there.is_file() => {
            let is_not = "it is a symbolic link or no plain file";
            return Err(wrong("will not replace", io::Error::other(is_not)));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(wrong("cannot look at", error)),
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mark = getrandom::u64().map_err(|error| format!("no random number: {error}"))?;
    let temporary = parent.join(format!(".{name}.{mark:016x}"));
    let in_place = |size| {
        fs::rename(&temporary, path)?;
        File::open(parent)?.sync_all()?;
        Ok(size)
    };
    write_new(&temporary, content).and_then(in_place).map_err(|error| {
        // Whatever was written of it helps nobody.
        let _ = fs::remove_file(&temporary);
        wrong("cannot write", error)
    })
}

fn write_new(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<u64> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut out = BufWriter::with_capacity(1 << 16, file);
    content(&mut out)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn node() -> Places {
        Places { own: "/data/written".into(), start_up: None }
    }

    fn kea() -> Places {
        Places { own: "/data/written".into(), start_up: Some("/etc/kea/dhcp4.conf".into()) }
    }

    #[test]
    fn a_node_writes_into_its_directory_only() {
        let at = |name: &str| node().path(Some(name), "config").ok();
        assert_eq!(node().path(None, "config"), Ok("/data/written/kea-dhcp4.conf".into()));
        assert_eq!(at("a.json"), Some("/data/written/a.json".into()));
        assert_eq!(at("/data/written/a.json"), Some("/data/written/a.json".into()));
        let elsewhere = [
            "",
            ".",
            "..",
            "/",
            "../a",
            "a/b",
            "./a/../b",
            "a/..",
            "a/",
            "a/.",
            "/etc/passwd",
            "a\0b",
            "/data/written/../raft-log",
            "/data/written/sub/a",
            "/data/written",
            "/data/written/",
            "/data/written/a/.",
        ];
        for name in elsewhere {
            assert_eq!(at(name), None, "{name:?}");
            let text = node().path(Some(name), "config").unwrap_err();
            assert!(text.contains("write-dir"), "{text}");
        }
    }

    #[test]
    fn run_as_kea_it_writes_beside_the_configuration_file() {
        let at = |name: &str| kea().path(Some(name), "config").ok();
        assert_eq!(kea().path(None, "config"), Ok("/etc/kea/dhcp4.conf".into()));
        assert_eq!(at("a.json"), Some("/etc/kea/a.json".into()));
        assert_eq!(at("/etc/kea/a.json"), Some("/etc/kea/a.json".into()));
        assert_eq!(at("/data/written/a.json"), Some("/data/written/a.json".into()));
        for name in ["/etc/a.json", "../a.json", "/etc/kea/../a.json", "/etc/kea/sub/a"] {
            assert_eq!(at(name), None, "{name:?}");
        }
        assert!(
            kea().path(Some("/x"), "config").unwrap_err().contains("must be in the same directory")
        );
    }

    #[test]
    fn leases_are_never_written_beside_the_configuration_file() {
        for places in [node(), kea()] {
            let at = |name: &str| places.lease_file(name).ok();
            assert_eq!(at("dhcp4.conf"), Some("/data/written/dhcp4.conf".into()));
            assert_eq!(at("/data/written/a.csv"), Some("/data/written/a.csv".into()));
            for name in ["/etc/kea/dhcp4.conf", "/etc/kea/a.csv", "../a", ""] {
                assert!(places.lease_file(name).unwrap_err().contains("write-dir"), "{name:?}");
            }
        }
    }

    #[test]
    fn a_file_is_written_whole_private_and_over_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("deep/er/out.json");
        put(&file, b"one").unwrap();
        put(&file, b"two").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let left = fs::read_dir(file.parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "nothing is left beside it");
    }

    #[test]
    fn what_cannot_be_written_whole_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("leases.csv");
        let size = put_with(&file, "lease4-write", |out| out.write_all(b"one")).unwrap();
        assert_eq!(size, 3);
        let error = put_with(&file, "lease4-write", |out| {
            out.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(error.unwrap_err().starts_with("Error during lease4-write: cannot write"));
        assert_eq!(fs::read(&file).unwrap(), b"one");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn links_and_directories_are_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, b"precious").unwrap();
        symlink(&target, &link).unwrap();
        fs::create_dir(dir.path().join("dir")).unwrap();
        for name in ["link", "dir"] {
            let error = put(&dir.path().join(name), b"x").unwrap_err();
            assert!(error.contains("will not replace"), "{error}");
        }
        assert_eq!(fs::read(&target).unwrap(), b"precious");
        assert!(link.is_symlink());
    }
}
