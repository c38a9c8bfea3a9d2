//! Reads the source: modules import only downwards, and the pure ones name nothing impure.
//!
//! It is about direction and purity, not about length. The order is the one of `lib.rs`.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules from bottom to top, as `lib.rs` lists them.
const ORDER: &[&str] = &[
    "types",
    "packet",
    "options",
    "expression",
    "config",
    "state",
    "alloc",
    "dhcp",
    "clock",
    "observe",
    "settings",
    "storage",
    "history",
    "raft",
    "propose",
    "peers",
    "net",
    "serve",
    "api",
    "node",
    "demo",
];

/// How many of [`ORDER`] take values and return values and do nothing else.
const PURE: usize = 8;

/// What a pure module must not name: sockets, files, tasks, clocks, randomness, environment,
/// metrics and log lines.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::thread",
    "std::process",
    "std::env",
    "std::time::Instant",
    "SystemTime",
    "tokio",
    "tonic::",
    "openraft",
    "sled",
    "tracing::",
    "prometheus",
    "getrandom",
    "rand::",
    "println!",
    "eprintln!",
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files_of(module: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![source().join(module)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => directories.push(path),
                path if path.extension().is_some_and(|e| e == "rs") => files.push(path),
                _ => {}
            }
        }
    }
    let single = source().join(format!("{module}.rs"));
    files.extend(single.exists().then_some(single));
    files
}

/// Lines of code: no comments, and nothing after the tests begin, which may do as they like.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file can be read");
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

fn is_test_file(path: &Path) -> bool {
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    name.ends_with("tests")
        || name.ends_with("test")
        || name == "testing"
        || path.components().any(|c| c.as_os_str() == "tests")
}

#[test]
fn every_module_is_in_the_order_and_in_lib_rs() {
    let lib = fs::read_to_string(source().join("lib.rs")).unwrap();
    let mut declared: Vec<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let mut listed: Vec<&str> = ORDER.to_vec();
    declared.sort_unstable();
    listed.sort_unstable();
    assert_eq!(declared, listed);
    let rows: Vec<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("//! | [`")?.split('`').next()).collect();
    assert_eq!(rows, ORDER, "the table in lib.rs and the order here");
}

#[test]
fn modules_import_only_downwards() {
    let mut wrong = Vec::new();
    for (at, module) in ORDER.iter().enumerate() {
        for file in files_of(module).iter().filter(|file| !is_test_file(file)) {
            let code = code(file);
            for above in &ORDER[at + 1..] {
                let path = format!("crate::{above}::");
                if code.contains(&path) || code.contains(&format!("use crate::{above};")) {
                    wrong.push(format!("{} imports {above}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "a module imports from above itself:\n{}", wrong.join("\n"));
}

#[test]
fn pure_modules_name_nothing_impure() {
    let mut wrong = Vec::new();
    for module in &ORDER[..PURE] {
        for file in files_of(module).iter().filter(|file| !is_test_file(file)) {
            let code = code(file);
            wrong.extend(
                IMPURE
                    .iter()
                    .filter(|word| code.contains(*word))
                    .map(|word| format!("{}: {word}", file.display())),
            );
        }
    }
    assert!(wrong.is_empty(), "pure modules take values and return values:\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_lives_in_one_file() {
    let allowed = source().join("net/sys.rs");
    let mut found = Vec::new();
    for module in ORDER {
        for file in files_of(module) {
            let code = code(&file);
            if file != allowed
                && (code.contains("unsafe {")
                    || code.contains("unsafe fn")
                    || code.contains("allow(unsafe_code)"))
            {
                found.push(file.display().to_string());
            }
        }
    }
    assert!(found.is_empty(), "unsafe outside net/sys.rs: {found:?}");
}

#[test]
fn every_test_script_is_named_by_a_runner() {
    let mut orphans = Vec::new();
    for module in ORDER {
        let mut directories = vec![source().join(module)];
        let sources: String = files_of(module)
            .iter()
            .map(|file| fs::read_to_string(file).unwrap_or_default())
            .collect();
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let path = entry.path();
                if !path.is_dir() {
                    continue;
                }
                if path.file_name().is_some_and(|name| name == "testscripts")
                    && !sources.contains("testscripts")
                {
                    orphans.push(path.display().to_string());
                }
                directories.push(path);
            }
        }
    }
    assert!(orphans.is_empty(), "scripts that nobody runs: {orphans:?}");
}
