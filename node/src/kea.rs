//! The command line of Kea's DHCPv4 daemon, for the program started by the name of `kea-dhcp4`: through
//! a link, service files, scripts and Stork's agent find there what they look for.
//!
//! Flags, texts and exit status are those of Kea 3.0. Of our own are `--data-dir DIR`, and
//! `--settings FILE`: with it the node is one of a cluster, and the file of `-c` only seeds it and tells
//! whoever looks for Kea which control sockets there are.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use leasehold::node::ConfigFile;
use leasehold::observe;
use leasehold::settings::read_kea_file;

/// The name.
pub const NAME: &str = "kea-dhcp4";

/// Kea's exit status for whatever is wrong.
const FAILURE: u8 = 1;

const USAGE: &str = "\
Usage: kea-dhcp4 -[v|V|W|X] [-d] [-{c|t|T} cfgfile] [-p number] [-P number]
  -v: print version number and exit
  -V: print extended version and exit
  -W: display the configuration report and exit
  -d: debug mode with extra verbosity
  -c file: specify configuration file
  -t file: check the configuration file and exit
  -T file: as -t
  -p number: specify non-standard server port number 1-65535 (useful for testing only)
  -P number: specify non-standard client port number 1-65535 (useful for testing only)
  -X: accepted and not needed: no check depends on it
Of Leasehold:
  --data-dir directory: where the state lies; by default beside the lease-database of the file
  --settings file: settings of a node of a cluster; the file of -c seeds the cluster then";

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
enum Job {
    Version,
    ExtendedVersion,
    Report,
    Check(PathBuf),
    Run(Run),
}

/// How to run.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    config: PathBuf,
    server_port: Option<u16>,
    client_port: Option<u16>,
    debug: bool,
    data_dir: Option<PathBuf>,
    settings: Option<PathBuf>,
}

/// Whether the program was started by Kea's name.
pub fn is_the_name(program: Option<OsString>) -> bool {
    program.is_some_and(|path| Path::new(&path).file_name().is_some_and(|name| name == NAME))
}

/// The whole program, as Kea.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match parse(arguments) {
        Ok(Job::Version) => say(leasehold::KEA_VERSION),
        Ok(Job::ExtendedVersion) => say(&leasehold::extended_version(leasehold::KEA_VERSION)),
        Ok(Job::Report) => say(&leasehold::build_report()),
        Ok(Job::Check(file)) => check(&file),
        Ok(Job::Run(job)) => run(job),
        Err(mistake) => {
            if !mistake.is_empty() {
                eprintln!("{mistake}");
            }
            let (kea, own) = (leasehold::KEA_VERSION, leasehold::VERSION);
            eprintln!("Kea DHCPv4 server, version {kea} (Leasehold {own})\n\n{USAGE}");
            ExitCode::from(FAILURE)
        }
    }
}

/// A reader that has gone is no failure of ours.
fn say(text: &str) -> ExitCode {
    let _ = writeln!(std::io::stdout(), "{text}");
    ExitCode::SUCCESS
}

/// Reads flags as getopt(3) does: `-dc FILE`, `-cFILE`; the first that ends the program counts.
fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Job, String> {
    let mut arguments = arguments.peekable();
    let (mut config, mut check, mut debug) = (None, false, false);
    let (mut server_port, mut client_port, mut data_dir, mut settings) = (None, None, None, None);
    let missing = |flag: &str| format!("{NAME}: option requires an argument -- '{flag}'");
    while let Some(argument) = arguments.next_if(|it| it.len() > 1 && it.as_bytes()[0] == b'-') {
        let long = match argument.to_str() {
            Some("--") => break,
            Some("--data-dir") => &mut data_dir,
            Some("--settings") => &mut settings,
            _ => {
                let mut flags = argument.as_bytes()[1..].iter();
                while let Some(flag) = flags.next() {
                    match flag {
                        b'v' => return Ok(Job::Version),
                        b'V' => return Ok(Job::ExtendedVersion),
                        b'W' => return Ok(Job::Report),
                        b'd' => debug = true,
                        b'X' => {}
                        b'c' | b't' | b'T' | b'p' | b'P' => {
                            let rest = flags.as_slice();
                            let value = match rest {
                                [] => arguments.next(),
                                rest => Some(OsString::from_vec(rest.to_vec())),
                            };
                            let name = char::from(*flag).to_string();
                            let value = value.ok_or_else(|| missing(&name))?;
                            match flag {
                                b'p' => server_port = Some(port(&value, "server")?),
                                b'P' => client_port = Some(port(&value, "client")?),
                                _ => {
                                    check |= *flag != b'c';
                                    config = Some(PathBuf::from(value));
                                }
                            }
                            break;
                        }
                        other => {
                            let other = char::from(*other);
                            return Err(format!("{NAME}: invalid option -- '{other}'"));
                        }
                    }
                }
                continue;
            }
        };
        let name = argument.to_string_lossy();
        *long = Some(PathBuf::from(arguments.next().ok_or_else(|| missing(&name))?));
    }
    if arguments.peek().is_some() {
        return Err(String::new());
    }
    let config = config
        .filter(|file: &PathBuf| !file.as_os_str().is_empty())
        .ok_or("Configuration file not specified.")?;
    if check {
        return Ok(Job::Check(config));
    }
    Ok(Job::Run(Run { config, server_port, client_port, debug, data_dir, settings }))
}

fn port(text: &OsString, whose: &str) -> Result<u16, String> {
    let number = text.to_str().and_then(|text| text.parse().ok()).filter(|port| *port != 0);
    number.ok_or_else(|| {
        let text = text.to_string_lossy();
        format!("Failed to parse {whose} port number: [{text}], 1-65535 allowed.")
    })
}

fn check(file: &Path) -> ExitCode {
    match read_kea_file(file) {
        Ok(parsed) => {
            for warning in &parsed.warnings {
                eprintln!("warning: {warning}");
            }
            ExitCode::SUCCESS
        }
        Err(mistakes) => {
            eprintln!("Syntax check failed with: {mistakes}");
            ExitCode::from(FAILURE)
        }
    }
}

fn run(job: Run) -> ExitCode {
    observe::start_logging(if job.debug { "debug" } else { "info" }, false);
    let fail = |text: &str| {
        eprintln!("{NAME}: Fatal error during start up: {text}");
        ExitCode::from(FAILURE)
    };
    let directory = std::env::var_os("KEA_PIDFILE_DIR").unwrap_or_else(|| "/run/kea".into());
    let _pid_file = match PidFile::claim(Path::new(&directory), &job.config) {
        Ok(file) => file,
        Err(text) => return fail(&text),
    };
    let settings = match &job.settings {
        Some(file) => super::read_settings(file).map(|mut settings| {
            settings.cluster.config.get_or_insert_with(|| job.config.clone());
            (settings, ConfigFile::Seeds)
        }),
        None => super::kea_settings(&job.config, job.data_dir)
            .map_err(|text| format!("Failed to apply configuration: {text}"))
            .map(|settings| (settings, ConfigFile::Wins)),
    };
    let (mut settings, file) = match settings {
        Ok(settings) => settings,
        Err(text) => return fail(&text),
    };
    settings.as_kea = true;
    if let Some(port) = job.server_port {
        (settings.dhcp4.port, settings.dhcp4.relay_port) = (port, port);
    }
    if let Some(port) = job.client_port {
        settings.dhcp4.client_port = port;
    }
    super::run(settings, file, false)
}

/// The file with the number of the process, as Kea's: gone when this is.
#[derive(Debug)]
struct PidFile(PathBuf);

impl PidFile {
    /// Writes it, unless the process in it lives.
    fn claim(directory: &Path, config: &Path) -> Result<PidFile, String> {
        let mut name = config.file_stem().unwrap_or_default().to_owned();
        name.push(format!(".{NAME}.pid"));
        let path = directory.join(name);
        let own = std::process::id();
        let former = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        // After a restart of the machine or a container the number may be another's, or our own.
        let lives = |pid: &u32| *pid != own && is_leasehold(*pid);
        if let Some(pid) = former.filter(lives) {
            return Err(format!(
                "{NAME} already running? PID: {pid}, PID file: {}",
                path.display()
            ));
        }
        match std::fs::write(&path, format!("{own}\n")) {
            Ok(()) => Ok(PidFile(path)),
            Err(error) => Err(format!(
                "Unable to open PID file '{}' for write: {error}; KEA_PIDFILE_DIR names another directory",
                path.display()
            )),
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Left behind it does no harm: its process is gone.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Whether a process with this number runs this program: by whatever name.
fn is_leasehold(pid: u32) -> bool {
    let program = |path: &str| std::fs::read_link(path).ok();
    match (program(&format!("/proc/{pid}/exe")), program("/proc/self/exe")) {
        (Some(theirs), Some(own)) => theirs == own,
        // Of another user's process this cannot be known; it is there.
        _ => Path::new(&format!("/proc/{pid}")).exists(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Job, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn job(config: &str) -> Run {
        Run {
            config: config.into(),
            server_port: None,
            client_port: None,
            debug: false,
            data_dir: None,
            settings: None,
        }
    }

    #[test]
    fn flags_are_read_as_kea_reads_them() {
        assert_eq!(parsed("-v"), Ok(Job::Version));
        assert_eq!(parsed("-X -v"), Ok(Job::Version));
        assert_eq!(parsed("-dV"), Ok(Job::ExtendedVersion));
        assert_eq!(parsed("-W -z"), Ok(Job::Report), "the first that ends the program counts");
        assert_eq!(parsed("-t f"), Ok(Job::Check("f".into())));
        assert_eq!(parsed("-Tf"), Ok(Job::Check("f".into())));
        assert_eq!(parsed("-c f"), Ok(Job::Run(job("f"))));
        assert_eq!(parsed("-dcf"), Ok(Job::Run(Run { debug: true, ..job("f") })));
        let ports = Run { server_port: Some(1067), client_port: Some(1068), ..job("f") };
        assert_eq!(parsed("-p 1067 -P1068 -c f"), Ok(Job::Run(ports)));
        let own = Run { data_dir: Some("d".into()), settings: Some("s".into()), ..job("f") };
        assert_eq!(parsed("--data-dir d -c f --settings s"), Ok(Job::Run(own)));
    }

    #[test]
    fn mistakes_are_told_as_kea_tells_them() {
        let cases = [
            ("", "Configuration file not specified."),
            ("-d", "Configuration file not specified."),
            ("-c", "kea-dhcp4: option requires an argument -- 'c'"),
            ("-z -v", "kea-dhcp4: invalid option -- 'z'"),
            ("--version", "kea-dhcp4: invalid option -- '-'"),
            ("-p 0 -c f", "Failed to parse server port number: [0], 1-65535 allowed."),
            ("-p 70000 -c f", "Failed to parse server port number: [70000], 1-65535 allowed."),
            ("-P x -c f", "Failed to parse client port number: [x], 1-65535 allowed."),
            ("-c f extra", ""),
            ("extra -v", ""),
            ("-c f -- -v", ""),
        ];
        for (line, text) in cases {
            assert_eq!(parsed(line), Err(text.to_owned()), "{line}");
        }
    }

    #[test]
    fn the_name_is_the_last_part_of_the_path() {
        assert!(is_the_name(Some("/usr/sbin/kea-dhcp4".into())));
        assert!(is_the_name(Some("kea-dhcp4".into())));
        assert!(!is_the_name(Some("/opt/kea-dhcp4/leasehold".into())));
        assert!(!is_the_name(None));
    }

    #[test]
    fn a_pid_file_is_claimed_when_its_process_is_gone_and_removed_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.b.kea-dhcp4.pid");
        // Beyond what Linux gives out.
        for former in ["4194305\n", "nonsense", ""] {
            std::fs::write(&path, former).unwrap();
            let file = PidFile::claim(directory.path(), Path::new("/etc/kea/a.b.conf")).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text, format!("{}\n", std::process::id()));
            drop(file);
            assert!(!path.exists());
        }
        let nowhere = directory.path().join("none");
        let error = PidFile::claim(&nowhere, Path::new("k.conf")).unwrap_err();
        assert!(error.contains("Unable to open PID file"), "{error}");
    }
}
