//! Which files make one lease database of Kea, and in which order they are read.
//!
//! Cleaning up (LFC) moves `F` to `F.1` and begins a new `F`; `kea-lfc` then puts what still counts of
//! `F.2` and `F.1` into `F.output`, calls it `F.completed` when it is whole, and that becomes `F.2`. So
//! after whatever interruption: with `F.completed` it and `F` are all there is; else `F.2`, `F.1` and
//! `F`, later rows winning. `F.output` says nothing that the others do not.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The parts beside the file itself.
const SUFFIXES: [&str; 4] = [".1", ".2", ".output", ".completed"];

/// The lease databases that a list of files names: a part stands for the whole, and a whole is named once.
pub fn databases(files: &[PathBuf]) -> Vec<PathBuf> {
    let mut bases = Vec::new();
    for file in files {
        let base = base_of(file);
        if !bases.contains(&base) {
            bases.push(base);
        }
    }
    bases
}

fn base_of(file: &Path) -> PathBuf {
    let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
        return file.to_owned();
    };
    // Only where it is a part of something: `leases.1` alone may be somebody's name for a file.
    let base = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix));
    match base.filter(|base| base.contains('.')) {
        Some(base) => file.with_file_name(base),
        None => file.to_owned(),
    }
}

/// A part, open: what it is called later does not matter.
pub type Part = (PathBuf, File);

/// So often in a row files may be renamed while they are opened, and so long each time passes.
const PATIENCE: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// Opens the files of a database, in the order in which they are read. They are of one moment: cleaning up goes on
/// while Kea runs, and a list that it has meanwhile changed would miss leases.
///
/// # Errors
/// When there is none, one cannot be opened, or they do not stay what they are for long.
pub fn open(base: &Path) -> Result<Vec<Part>, String> {
    open_before(base, || {})
}

/// [`open`], with what happens between opening and looking again.
fn open_before(base: &Path, mut meanwhile: impl FnMut()) -> Result<Vec<Part>, String> {
    let wrong = |path: &Path, error: &io::Error| format!("{}: {error}", path.display());
    for _ in 0..PATIENCE {
        let names = names(base).map_err(|(path, error)| wrong(&path, &error))?;
        if names.is_empty() {
            return Err(format!("{}: there is no such lease file", base.display()));
        }
        let mut parts: Vec<Part> = Vec::new();
        for name in &names {
            match File::open(name) {
                Ok(file) => parts.push((name.clone(), file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(wrong(name, &error)),
            }
        }
        meanwhile();
        if parts.len() == names.len() && is_still(base, &parts) {
            return Ok(parts);
        }
        std::thread::sleep(PAUSE);
    }
    Err(format!(
        "{}: this file and those beside it are renamed again and again. If kea-lfc cleans up there, repeat the import \
         when it is done.",
        base.display()
    ))
}

/// Whether the files of the database are these. None of them can have gone and another have its number: they are
/// open.
fn is_still(base: &Path, parts: &[Part]) -> bool {
    let Ok(now) = names(base) else { return false };
    let same = |name: &PathBuf, part: &Part| {
        let number = |data: Metadata| (data.dev(), data.ino());
        let there = std::fs::metadata(name).map(number);
        *name == part.0
            && there.is_ok_and(|there| part.1.metadata().is_ok_and(|of| number(of) == there))
    };
    now.len() == parts.len() && now.iter().zip(parts).all(|(name, part)| same(name, part))
}

/// The files of a database that there are, in the order in which they are read.
fn names(base: &Path) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let part = |suffix: &str| {
        let mut name = base.as_os_str().to_owned();
        name.push(suffix);
        let name = PathBuf::from(name);
        match name.try_exists() {
            Ok(true) => Ok(Some(name)),
            Ok(false) => Ok(None),
            Err(error) => Err((name, error)),
        }
    };
    let before = match part(".completed")? {
        Some(completed) => vec![Some(completed)],
        None => vec![part(".2")?, part(".1")?],
    };
    let own = part("")?;
    Ok(before.into_iter().chain([own]).flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_in_the_order_of_kea() {
        let dir = std::env::temp_dir().join(format!("cluster-ctl-rotation-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let base = dir.join("kea-leases4.csv");
        let make = |suffix: &str| {
            std::fs::write(dir.join(format!("kea-leases4.csv{suffix}")), "").unwrap();
        };
        let found = || {
            let parts = open(&base).unwrap().into_iter();
            let name = |(path, _): Part| path.file_name().unwrap().to_string_lossy().into_owned();
            parts.map(name).collect::<Vec<_>>().join(" ")
        };
        assert!(open(&base).unwrap_err().contains("no such lease file"));
        make(".1");
        assert_eq!(found(), "kea-leases4.csv.1");
        make("");
        make(".output");
        assert_eq!(found(), "kea-leases4.csv.1 kea-leases4.csv");
        make(".2");
        assert_eq!(found(), "kea-leases4.csv.2 kea-leases4.csv.1 kea-leases4.csv");
        make(".completed");
        assert_eq!(found(), "kea-leases4.csv.completed kea-leases4.csv");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    /// What the parts say, together.
    fn read(parts: Vec<Part>) -> String {
        parts.into_iter().map(|(_, file)| io::read_to_string(file).unwrap()).collect()
    }

    #[test]
    fn cleaning_up_while_files_are_opened_costs_no_lease() {
        let dir = std::env::temp_dir().join(format!("cluster-ctl-lfc-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let base = dir.join("l.csv");
        let part = |suffix: &str| dir.join(format!("l.csv{suffix}"));
        let write = |suffix: &str, text: &str| std::fs::write(part(suffix), text).unwrap();
        let rename = |from: &str, to: &str| std::fs::rename(part(from), part(to)).unwrap();
        write(".2", "a");
        write("", "b");
        let mut step = 0;
        let parts = open_before(&base, || {
            step += 1;
            match step {
                // Kea begins a new file.
                1 => {
                    rename("", ".1");
                    write("", "c");
                }
                // kea-lfc is done.
                2 => {
                    write(".completed", "ab");
                    std::fs::remove_file(part(".1")).unwrap();
                    std::fs::remove_file(part(".2")).unwrap();
                }
                3 => rename(".completed", ".2"),
                // The same names, and others than were opened.
                4 => {
                    write(".output", "AB");
                    rename(".output", ".2");
                }
                _ => {}
            }
        });
        assert_eq!((read(parts.unwrap()), step), ("ABc".to_owned(), 5));
        // What is renamed afterwards is read all the same.
        let parts = open(&base).unwrap();
        rename("", ".1");
        write("", "d");
        assert_eq!(read(parts), "ABc");
        let restless = open_before(&base, || {
            std::fs::copy(part(""), part(".output")).unwrap();
            rename(".output", "");
        });
        assert!(restless.unwrap_err().contains("kea-lfc"));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_cannot_be_looked_at_is_not_called_missing() {
        let dir = std::env::temp_dir().join(format!("cluster-ctl-unread-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("file"), "").unwrap();
        let told = open(&dir.join("file/l.csv")).unwrap_err();
        assert!(told.contains("Not a directory"), "{told}");
        let base = dir.join("l.csv");
        std::fs::write(&base, "").unwrap();
        std::os::unix::fs::symlink("l.csv.1", dir.join("l.csv.1")).unwrap();
        let told = open(&base).unwrap_err();
        assert!(told.contains("l.csv.1: Too many levels"), "{told}");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_part_stands_for_its_database() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(
            databases(&paths(&["/v/l.csv.2", "/v/l.csv", "/v/l.csv.1"])),
            paths(&["/v/l.csv"])
        );
        assert_eq!(
            databases(&paths(&["a/l.csv", "b/l.csv.completed", "leases.1"])),
            paths(&["a/l.csv", "b/l.csv", "leases.1"])
        );
    }
}
