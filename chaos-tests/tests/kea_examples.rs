//! Kea's example configurations go through `check-config`, and ours through `kea-dhcp4 -t`. What is refused is listed with its reason.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use chaos_tests::kea::Version;
use chaos_tests::kea::lab::Lab;
use chaos_tests::kea::server::Kind;
use chaos_tests::{gate, shell};

/// Where Debian's `kea-doc` puts them.
const EXAMPLES: &str = "usr/share/doc/kea/examples/kea4";

/// ```text
/// [example hooks-radius.json]   or [sample office.conf]
/// kea 2.2                       optional: only that version
/// says RADIUS                   what the refusal says
/// why …
/// ```
#[derive(Debug, Default)]
struct Refusal {
    file: String,
    only: Option<Version>,
    says: String,
    why: String,
}

fn listed() -> Result<Vec<Refusal>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kea/refused.txt");
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let mut list: Vec<Refusal> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(file) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            list.push(Refusal { file: file.to_owned(), ..Refusal::default() });
            continue;
        }
        let entry = list.last_mut().context("a line before the first entry")?;
        match line.split_once(' ') {
            Some(("kea", version)) => {
                entry.only = Some(Version::parse(version).with_context(|| line.to_owned())?);
            }
            Some(("says", says)) => entry.says = says.to_owned(),
            Some(("why", why)) => entry.why = why.to_owned(),
            _ => bail!("`{line}` is none of kea, says, why"),
        }
    }
    for entry in &list {
        ensure!(!entry.says.is_empty() && !entry.why.is_empty(), "[{}] lacks a reason", entry.file);
    }
    Ok(list)
}

/// The configurations in `dir`, by name.
fn files(dir: &Path, ending: &str) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == ending) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            found.push((name.to_owned(), path));
        }
    }
    found.sort();
    Ok(found)
}

/// What is wrong with how the files `kind` were taken: a refusal that is not listed, or a listed one that does not happen.
fn complaints(
    kind: &str,
    version: Version,
    files: &[(String, PathBuf)],
    check: impl Fn(&Path) -> Result<(bool, String)>,
) -> Result<Vec<String>> {
    let list = listed()?;
    let mut complaints = Vec::new();
    let mut taken = 0;
    for (name, path) in files {
        let (loads, said) = check(path)?;
        let key = format!("{kind} {name}");
        let entry = list
            .iter()
            .find(|entry| entry.file == key && entry.only.is_none_or(|only| only == version));
        taken += usize::from(loads);
        match (loads, entry) {
            (true, None) => {}
            (true, Some(_)) => complaints.push(format!("[{key}] is listed as refused, and loads")),
            (false, Some(entry)) if said.contains(&entry.says) => {}
            (false, Some(entry)) => {
                complaints
                    .push(format!("[{key}] is refused, but not by `{}`:\n{said}", entry.says));
            }
            (false, None) => complaints.push(format!("[{key}] is refused:\n{said}")),
        }
    }
    println!("{kind}s with Kea {}: {taken} of {} load", version.text(), files.len());
    Ok(complaints)
}

#[test]
fn every_example_of_kea_loads_or_is_refused_with_a_listed_reason() -> Result<()> {
    let test = "every_example_of_kea_loads_or_is_refused_with_a_listed_reason";
    let (version, root) = match Kind::kea() {
        Ok(Kind::Kea { version, root }) => (version, root.unwrap_or_else(|| PathBuf::from("/"))),
        Ok(Kind::Leasehold) => return Ok(()),
        Err(reason) => {
            gate::skip(test, &reason);
            return Ok(());
        }
    };
    let dir = root.join(EXAMPLES);
    if !dir.is_dir() {
        gate::skip(test, &format!("{} is not there: the package kea-doc has it", dir.display()));
        return Ok(());
    }
    let files = files(&dir, "json")?;
    ensure!(files.len() >= 20, "only {} examples in {}", files.len(), dir.display());
    let program = gate::binary("leasehold", "LEASEHOLD_BIN")?;
    let complaints = complaints("example", version, &files, |path| {
        let outcome = shell::run_any(Command::new(&program).arg("check-config").arg(path), 20_000)?;
        Ok((outcome.code == Some(0), format!("{}{}", outcome.stdout, outcome.stderr)))
    })?;
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(())
}

#[test]
fn every_sample_of_ours_is_taken_by_kea() -> Result<()> {
    let test = "every_sample_of_ours_is_taken_by_kea";
    let (version, root) = match Kind::kea() {
        Ok(Kind::Kea { version, root }) => (version, root),
        Ok(Kind::Leasehold) => return Ok(()),
        Err(reason) => {
            gate::skip(test, &reason);
            return Ok(());
        }
    };
    let Some(_gate) = gate::enter(test, &[])? else { return Ok(()) };
    // Kea looks whether the interfaces are there, and one address that a sample names.
    let lab = Lab::create("try")?;
    lab.server.ip(&["addr", "add", "192.0.2.1/24", "dev", "eth1"])?;
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/samples");
    let files = files(&samples, "conf")?;
    let complaints = complaints("sample", version, &files, |path| {
        // 2.2 wants the whole path of a hook as this system has it, 3.0 its bare name.
        let hooks = ["/usr/lib/kea/hooks/", "/usr/lib/x86_64-linux-gnu/kea/hooks/"];
        let here = if root.is_none() { hooks[1] } else { "" };
        let text =
            std::fs::read_to_string(path)?.replace(hooks[0], hooks[1]).replace(hooks[1], here);
        let inside = Path::new("tmp/leasehold-sample.conf");
        let copy = root.as_deref().unwrap_or(Path::new("/")).join(inside);
        std::fs::write(&copy, text)?;
        let mut command = match &root {
            None => lab.server.command("kea-dhcp4"),
            Some(root) => {
                let mut command = lab.server.command("chroot");
                command.arg(root).args(["/usr/sbin/kea-dhcp4", "-X"]);
                command
            }
        };
        command.arg("-t").arg(Path::new("/").join(inside));
        let outcome = shell::run_any(&mut command, 20_000)?;
        let _ = std::fs::remove_file(&copy);
        let said: String = format!("{}{}", outcome.stdout, outcome.stderr)
            .lines()
            .filter(|line| !line.contains("INFO"))
            .map(|line| format!("{line}\n"))
            .collect();
        Ok((outcome.code == Some(0), said))
    })?;
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(())
}
