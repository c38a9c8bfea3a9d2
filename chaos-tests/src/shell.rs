//! Short commands of the system (`ip`, `nft`), run to their end within a limit.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::clock;

/// How long a command of the system may take.
const LIMIT_MS: u64 = 30_000;

/// Runs `command` and gives its standard output.
///
/// # Errors
/// When it cannot be started, ends with another status than 0 (the message carries what it printed), or does not end in 30 s.
pub fn run(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let outcome = run_any(command, LIMIT_MS)?;
    if outcome.code != Some(0) {
        bail!("{shown} ended with {:?}\n{}{}", outcome.code, outcome.stdout, outcome.stderr);
    }
    Ok(outcome.stdout)
}

/// What a command left.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Exit status; none when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `command` for at most `limit_ms` and gives what it left, whatever its exit status.
///
/// # Errors
/// When it cannot be started or does not end in time; then it is killed.
pub fn run_any(command: &mut Command, limit_ms: u64) -> Result<Outcome> {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {shown}"))?;
    // Both pipes are read on threads of their own, so that a talkative command cannot block on a full one.
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let read_out = std::thread::spawn(move || read_all(out.as_mut()));
    let read_err = std::thread::spawn(move || read_all(err.as_mut()));
    let ended = clock::wait_for_every(2, &shown, limit_ms, || child.try_wait().transpose());
    let Ok(status) = ended else {
        let _ = child.kill();
        let _ = child.wait();
        bail!("{shown} did not end within {limit_ms} ms");
    };
    Ok(Outcome {
        code: status?.code(),
        stdout: read_out.join().unwrap_or_default(),
        stderr: read_err.join().unwrap_or_default(),
    })
}

fn read_all(pipe: Option<&mut impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Where `program` is, searched in `PATH` and in the places of administrators' programs.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"])
        .map(|dir| Path::new(dir).join(program))
        .find(|file| file.is_file())
}
