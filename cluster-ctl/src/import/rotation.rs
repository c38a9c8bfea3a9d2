//! Which files make one lease database of Kea, and in which order they are read.
//!
//! Cleaning up (LFC) moves `F` to `F.1` and begins a new `F`; `kea-lfc` then puts what still counts of
//! `F.2` and `F.1` into `F.output`, calls it `F.completed` when it is whole, and that becomes `F.2`. So
//! after whatever interruption: with `F.completed` it and `F` are all there is; else `F.2`, `F.1` and
//! `F`, later rows winning. `F.output` says nothing that the others do not.

use std::path::{Path, PathBuf};

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

/// The files of a database, in the order in which they are read.
///
/// # Errors
/// When there is none.
pub fn parts(base: &Path) -> Result<Vec<PathBuf>, String> {
    let part = |suffix: &str| {
        let mut name = base.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let before: &[&str] =
        if part(".completed").is_file() { &[".completed", ""] } else { &[".2", ".1", ""] };
    let parts: Vec<PathBuf> =
        before.iter().map(|suffix| part(suffix)).filter(|part| part.exists()).collect();
    if parts.is_empty() {
        return Err(format!("{}: there is no such lease file", base.display()));
    }
    Ok(parts)
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
            let names = parts(&base).unwrap().into_iter();
            let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
            names.map(name).collect::<Vec<_>>().join(" ")
        };
        assert!(parts(&base).unwrap_err().contains("no such lease file"));
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
