//! Processes that tests start: their output goes to a file, and they end with the value that stands for them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::sys::{self, Signal};
use crate::clock;

/// A running program.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    ended: Option<std::process::ExitStatus>,
}

impl Process {
    /// Starts `command`; standard output and error are appended to `log`.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> Result<Process> {
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| log.display().to_string())?;
        let err = out.try_clone()?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        Ok(Process { child, log: log.to_path_buf(), ended: None })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it printed, and those before it with the same log.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines it printed.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.exit_status().is_none()
    }

    /// How it ended; none while it runs.
    pub fn exit_status(&mut self) -> Option<std::process::ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Sends it a signal; nothing when it has ended.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        // A process that has ended and was waited for has given its number back.
        if self.runs() {
            sys::send_signal(self.pid(), signal)
                .with_context(|| format!("{signal:?} to {}", self.pid()))?;
        }
        Ok(())
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Errors
    /// When it does not go.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::Kill)?;
        self.wait(10_000).map(|_| ())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `limit_ms`.
    pub fn wait(&mut self, limit_ms: u64) -> Result<std::process::ExitStatus> {
        let what = format!("the end of process {}", self.pid());
        clock::wait_for(&what, limit_ms, || self.exit_status())
    }

    /// CPU time it has used so far, user and system, in microseconds.
    ///
    /// # Errors
    /// When it is gone.
    pub fn cpu_micros(&self) -> Result<u64> {
        let path = format!("/proc/{}/stat", self.pid());
        let stat = std::fs::read_to_string(&path).context(path)?;
        cpu_ticks(&stat)
            .map(|ticks| ticks * 1_000_000 / sys::ticks_per_second())
            .context("a line of /proc/PID/stat that has no times")
    }
}

impl Process {
    /// Resident memory, in KiB.
    ///
    /// # Errors
    /// When it is gone.
    pub fn resident_kib(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(&path).context(path)?;
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        line.trim().trim_end_matches("kB").trim().parse().context("VmRSS")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// utime + stime of a `/proc/PID/stat` line; the name in parentheses may contain anything (proc(5)).
fn cpu_ticks(stat: &str) -> Option<u64> {
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::cpu_ticks;

    #[test]
    fn a_process_named_like_a_parenthesis_does_not_shift_the_fields() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194304 100 0 0 0 17 5 0 0 20 0 1 0 1000 0 0";
        assert_eq!(cpu_ticks(stat), Some(22));
    }
}
