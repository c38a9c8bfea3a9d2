//! The `leasehold` program: flags in, exit status out. What it does is in the library.
//!
//! Started by the name of `kea-dhcp4` it has Kea's command line instead: `kea.rs`.
//!
//! Exit status: 0 after a clean stop, 1 for bad settings or configuration, 2 for bad flags, 3 for
//! faults.

mod kea;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Parser, Subcommand};
use leasehold::node::{self, RunError};
use leasehold::settings::{Format, Level, NodeLocal, Settings, read_kea_file};
use leasehold::{demo, observe};

/// A DHCP server that is a cluster.
#[derive(Parser, Debug)]
#[command(
    name = "leasehold",
    version,
    disable_version_flag = true,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Run alone, as Kea does, with this configuration file
    #[arg(short = 'c', value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check this configuration file, as `kea-dhcp4 -t`
    #[arg(short = 't', value_name = "FILE", conflicts_with = "config")]
    test: Option<PathBuf>,
    /// Where the state lies when run with -c; by default the directory of the file's
    /// lease-database, else /var/lib/leasehold
    #[arg(long, value_name = "DIR", requires = "config")]
    data_dir: Option<PathBuf>,
    /// Server port, with -c
    #[arg(short = 'p', value_name = "PORT", default_value_t = 67, requires = "config")]
    port: u16,
    /// Client port, with -c
    #[arg(short = 'P', value_name = "PORT", default_value_t = 68, requires = "config")]
    client_port: u16,
    /// Log at debug level
    #[arg(short = 'd')]
    debug: bool,
    /// Print the version
    #[arg(short = 'v', long = "version")]
    version: bool,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a node
    Run {
        /// Node settings
        #[arg(long, value_name = "FILE")]
        settings: PathBuf,
        /// Stop when standard input is closed; for programs that start nodes
        #[arg(long, hide = true)]
        until_stdin_closes: bool,
    },
    /// Check a Kea configuration file and print every mistake in it
    CheckConfig {
        /// The file
        file: PathBuf,
    },
    /// Check the settings of a node and say what it would be
    CheckSettings {
        /// The file, as given to run --settings
        file: PathBuf,
    },
    /// Show a cluster of three nodes on this machine, without root
    Demo(demo::Options),
}

const BAD_SETTINGS: u8 = 1;
const FAULT: u8 = 3;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    if kea::is_the_name(arguments.next()) {
        return kea::main(arguments);
    }
    let cli = Cli::parse();
    if cli.version {
        println!("{}", leasehold::VERSION);
        return ExitCode::SUCCESS;
    }
    match (cli.command, cli.config, cli.test) {
        (Some(Command::Run { settings, until_stdin_closes }), _, _) => {
            let settings = match read_settings(&settings) {
                Ok(settings) => settings,
                Err(text) => return fail(BAD_SETTINGS, &text),
            };
            let level = if cli.debug { Level::Debug } else { settings.log.level };
            observe::start_logging(level.name(), settings.log.format == Format::Json);
            run(settings, node::ConfigFile::Seeds, until_stdin_closes)
        }
        (Some(Command::CheckConfig { file }), _, _) | (None, _, Some(file)) => check_config(&file),
        (Some(Command::CheckSettings { file }), _, _) => check_settings(&file),
        (Some(Command::Demo(options)), _, _) => run_demo(options),
        (None, Some(file), _) => {
            observe::start_logging(if cli.debug { "debug" } else { "info" }, false);
            let mut settings = match kea_settings(&file, cli.data_dir) {
                Ok(settings) => settings,
                Err(text) => {
                    return fail(BAD_SETTINGS, &format!("Failed to apply configuration: {text}"));
                }
            };
            settings.dhcp4.port = cli.port;
            settings.dhcp4.relay_port = cli.port;
            settings.dhcp4.client_port = cli.client_port;
            run(settings, node::ConfigFile::Wins, false)
        }
        (None, None, None) => {
            let usage = "nothing to do: give a command (run, check-config, check-settings, demo) or -c FILE; see leasehold --help";
            fail(2, usage)
        }
    }
}

fn fail(status: u8, text: &str) -> ExitCode {
    eprintln!("leasehold: {text}");
    ExitCode::from(status)
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "leasehold".into() } else { name.into() }
}

fn read_settings(file: &Path) -> Result<Settings, String> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Settings::parse(&text, &file.display().to_string(), &host_name())
        .map_err(|error| error.to_string())
}

/// The Kea personality (R26): state beside the lease database that the file names, control sockets
/// where the file wants them.
fn kea_settings(file: &Path, data_dir: Option<PathBuf>) -> Result<Settings, String> {
    let parsed = read_kea_file(file).map_err(|mistakes| mistakes.to_string())?;
    let local = NodeLocal::of(&parsed.config.document_json(), file)?;
    let data_dir = data_dir
        .or_else(|| local.lease_directory.map(|directory| directory.join("leasehold")))
        .unwrap_or_else(|| PathBuf::from("/var/lib/leasehold"));
    let mut settings = Settings::kea_personality(data_dir, file.to_owned(), &host_name());
    settings.control.kea = local.control_listen;
    settings.control.socket = local.control_socket;
    Ok(settings)
}

fn check_config(file: &Path) -> ExitCode {
    match read_kea_file(file) {
        Ok(parsed) => {
            for warning in &parsed.warnings {
                eprintln!("warning: {warning}");
            }
            // Only a server that is started with the file opens its sockets.
            if let Err(why) = NodeLocal::of(&parsed.config.document_json(), file) {
                eprintln!("warning: no server starts with -c and this file: {why}");
            }
            println!("{}: the configuration is valid", file.display());
            ExitCode::SUCCESS
        }
        Err(mistakes) => {
            eprintln!("{mistakes}");
            ExitCode::from(BAD_SETTINGS)
        }
    }
}

fn check_settings(file: &Path) -> ExitCode {
    match read_settings(file) {
        Ok(settings) => {
            println!("{}: the settings are valid: {}", file.display(), settings.summary());
            ExitCode::SUCCESS
        }
        Err(text) => fail(BAD_SETTINGS, &text),
    }
}

fn run_demo(options: demo::Options) -> ExitCode {
    let interrupted = Arc::new(AtomicBool::new(false));
    if let Err(error) = node::on_interrupt({
        let interrupted = interrupted.clone();
        move || interrupted.store(true, Ordering::Relaxed)
    }) {
        return fail(FAULT, &format!("Ctrl-C cannot be caught: {error}"));
    }
    match demo::run(options, interrupted) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAULT),
        Err(error) => fail(FAULT, &format!("{error:#}")),
    }
}

fn run(settings: Settings, file: node::ConfigFile, until_stdin_closes: bool) -> ExitCode {
    match node::run_until_told_to_stop(settings, file, until_stdin_closes) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            let status = if matches!(error, RunError::Settings(_)) { BAD_SETTINGS } else { FAULT };
            fail(status, &error.to_string())
        }
    }
}
