//! `cluster-ctl import`: configuration and leases of another server.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use leasehold::clock::{Clock, SystemClock};
use leasehold::config::{self, Config};
use leasehold::state::document::Sha256;
use serde_json::{Value, json};

use super::config::{Change, submit};
use crate::Output;
use crate::access::KeaOptions;
use crate::client::{Client, Failure};
use crate::dialect;
use crate::export::files::Whole;
use crate::import::carry::{Carried, Wishes, carry};
use crate::import::database::Database;
use crate::import::dhcpd;
use crate::import::lease::{Lease, Place, State};
use crate::import::memfile::{Header, Row};
use crate::import::pages::{Of, Pages};
use crate::import::report::{Configuration, Report, Source};
use crate::import::rotation::{self, Part};
use crate::import::subnets::Subnets;

/// Whose.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Configuration and leases of a Kea DHCPv4 server.
    ///
    /// Exit status 0 when all was taken, 1 when something was refused. It may be repeated: what the cluster has
    /// already is not touched, and a client that renewed at Kea since gets its later end.
    Kea(Kea),
    /// Leases of an ISC dhcpd; its configuration is converted by hand.
    ///
    /// The cluster must have the subnets already. Exit status as for kea.
    Dhcpd(Dhcpd),
}

/// Of a Kea server.
#[derive(Debug, clap::Args)]
pub struct Kea {
    /// Its configuration file, which is put in force as config set does
    #[arg(long, value_name = "FILE", required_unless_present_any = ["leases", "from"])]
    config: Option<PathBuf>,
    /// Lease files (memfile). Beside each are taken what its cleaning up has left: .1, .2, .completed
    #[arg(long, value_name = "CSV", num_args = 1.., conflicts_with = "from")]
    leases: Vec<PathBuf>,
    /// The running server to ask for its leases: URL of its control API or of its Control Agent, or
    /// unix:PATH of its control socket. It needs the hook library lease_cmds
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    #[command(flatten)]
    kea: KeaOptions,
    #[command(flatten)]
    how: How,
}

/// Of an ISC dhcpd.
#[derive(Debug, clap::Args)]
pub struct Dhcpd {
    /// Its lease file; with failover those of both servers
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    leases: Vec<PathBuf>,
    #[command(flatten)]
    how: How,
}

/// How it is done.
#[derive(Debug, Clone, clap::Args)]
pub struct How {
    /// Check everything, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Write every line of the report into this file, JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Put imported leases in the place of leases of other clients, too: an address may then be used by two.
    /// Needs --yes
    #[arg(long, requires = "yes")]
    overwrite: bool,
    /// Really
    #[arg(long)]
    yes: bool,
}

/// Runs it.
pub fn run(client: &Client, command: Command, output: Output) -> Result<(), Failure> {
    let how = match &command {
        Command::Kea(kea) => kea.how.clone(),
        Command::Dhcpd(dhcpd) => dhcpd.how.clone(),
    };
    // A name that nothing can be written to is found out before there is something to report.
    let file = how.report.as_deref().map(Whole::create).transpose()?;
    let mut report = Report { dry_run: how.dry_run, ..Report::default() };
    let done = match command {
        Command::Kea(kea) => {
            kea_into(client, &kea.config, &kea.leases, kea.from, kea.kea, &how, &mut report)
        }
        Command::Dhcpd(dhcpd) => dhcpd_into(client, &dhcpd.leases, &how, &mut report),
    };
    // What came before a failure is told, too: part of it may be done.
    let begun = report.found > 0 || report.configuration.is_some();
    if done.is_err() && !begun {
        return done;
    }
    // The file first, since whoever reads the other may stop; but that is said in any case.
    let written = file.map_or(Ok(()), |file| write(&report, file));
    say_report(&report, output, done.is_ok() && written.is_ok());
    if let (Err(_), Err(failure)) = (&done, &written) {
        eprintln!("cluster-ctl: {failure}");
    }
    done.and(written)?;
    if report.refused.is_empty() { Ok(()) } else { Err(Failure::Refused(String::new())) }
}

fn write(report: &Report, mut file: Whole) -> Result<(), Failure> {
    file.write(|out| write!(out, "{:#}", report.json()))?;
    file.finish()
}

fn say_report(report: &Report, output: Output, whole: bool) {
    match output {
        Output::Table => say!("{}", report.text()),
        // A failure is JSON on standard output, too, and there is one value there.
        Output::Json if whole => say_line!("{}", report.json()),
        Output::Json => eprintln!("{}", report.json()),
    }
}

fn kea_into(
    client: &Client,
    config: &Option<PathBuf>,
    leases: &[PathBuf],
    from: Option<String>,
    access: KeaOptions,
    how: &How,
    report: &mut Report,
) -> Result<(), Failure> {
    // Files first: a name that is wrong must not be found out when half is done.
    let files = rotation::databases(leases)
        .into_iter()
        .map(|base| rotation::open(&base))
        .collect::<Result<Vec<_>, _>>()
        .map_err(Failure::Usage)?;
    let kea = from.map(|url| {
        let access = access.read(url.starts_with("https://"))?;
        Client::of_kea(&url, access).map(|kea| (url, kea))
    });
    let kea = kea.transpose()?;
    let source = config.as_deref().map(dialect::read).transpose().map_err(Failure::Usage)?;

    let mut database = Database::default();
    let none = files.is_empty();
    for parts in files {
        let mut one = Database::default();
        for part in parts {
            memfile(part, &mut one, report)?;
        }
        database.join(one);
    }
    if let Some((url, kea)) = kea {
        database.join(asked(&url, &kea, report)?);
    }
    if let (Some(file), Some(source)) = (config, &source) {
        report.configuration = Some(configure(client, file, source, how.dry_run)?);
    }
    if none && report.sources.is_empty() {
        return Ok(());
    }
    let subnets = match &source {
        // The cluster took it, so it can be read.
        Some(source) => Subnets::of(&read_config(&source.text)?),
        None => Subnets::of(&config_in_force(client)?),
    };
    leases_into(client, database, &subnets, how, report)
}

fn dhcpd_into(
    client: &Client,
    leases: &[PathBuf],
    how: &How,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut database = Database::default();
    for path in leases {
        let text = std::fs::read(path)
            .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
        let source = new_source(report, path.display().to_string())?;
        let one = dhcpd::read(&text, source, report);
        database.join(one.map_err(|why| Failure::Usage(format!("{}: {why}", path.display())))?);
    }
    let subnets = Subnets::of(&config_in_force(client)?);
    leases_into(client, database, &subnets, how, report)
}

fn new_source(report: &mut Report, name: String) -> Result<u16, Failure> {
    let number = u16::try_from(report.sources.len())
        .map_err(|_| Failure::Usage("too many files at once".to_owned()))?;
    report.sources.push(Source { name, ..Source::default() });
    Ok(number)
}

/// No row of Kea is longer: a name, a context of 16 KiB, each byte escaped.
const LONGEST_ROW: u64 = 256 << 10;

/// Reads one lease file of Kea.
fn memfile(
    (path, file): Part,
    database: &mut Database,
    report: &mut Report,
) -> Result<(), Failure> {
    let name = path.display().to_string();
    let wrong = |why: &dyn std::fmt::Display| Failure::Usage(format!("{}: {why}", path.display()));
    let source = new_source(report, name)?;
    let mut file = BufReader::new(file);
    let (mut header, mut line, mut rows) = (None, 0, 0);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let read = file.by_ref().take(LONGEST_ROW).read_until(b'\n', &mut bytes);
        if read.map_err(|error| wrong(&error))? == 0 {
            break;
        }
        line += 1;
        let text = String::from_utf8_lossy(&bytes);
        let Some(header) = &header else {
            header = Some(Header::parse(&text).map_err(|why| wrong(&why))?);
            continue;
        };
        if text.trim().is_empty() {
            continue;
        }
        rows += 1;
        let place = Place { source, line };
        match header.row(&text, place) {
            Ok(Row::Lease(lease, None)) if matches!(text, std::borrow::Cow::Owned(_)) => {
                let note = "it has a text that is not UTF-8, which was mended".to_owned();
                database.row(Row::Lease(lease, Some(note)));
            }
            Ok(row) => database.row(row),
            // As in Kea, what was said of the address before stands.
            Err(why) => report.refuse(place, None, why),
        }
    }
    report.sources[usize::from(source)].rows = rows;
    Ok(())
}

/// Asks a running Kea.
fn asked(url: &str, kea: &Client, report: &mut Report) -> Result<Database, Failure> {
    let source = new_source(report, url.to_owned())?;
    let place = Place { source, line: 0 };
    let (mut database, mut rows) = (Database::default(), 0);
    for value in Pages::new(kea, Of::Kea) {
        let value = value?;
        rows += 1;
        match Lease::from_json(&value, place) {
            Ok(lease) => database.row(Row::Lease(Box::new(lease), None)),
            Err(why) => {
                let address = value["ip-address"].as_str().and_then(|text| text.parse().ok());
                report.refuse(place, address, why);
            }
        }
    }
    report.sources[usize::from(source)].rows = rows;
    Ok(database)
}

/// Puts a configuration in force, unless it is.
fn configure(
    client: &Client,
    file: &Path,
    source: &dialect::Source,
    dry_run: bool,
) -> Result<Configuration, Failure> {
    let mut done = Configuration { file: file.display().to_string(), ..Configuration::default() };
    let mut arguments = json!({ "document": source.text });
    let before = in_force(client, source)?;
    done.unchanged = before.is_some();
    let set = !dry_run && !done.unchanged;
    if set {
        Change::of(format!("import of {}", file.display())).add_to(&mut arguments);
    }
    let command = if set { "config-set" } else { "config-test" };
    let told = match submit(client, command, file, source, arguments) {
        Ok(reply) => reply.arguments,
        // A node that could not do all that the configuration says, such as to listen where the other
        // server still does, answers with an error although the cluster has it.
        Err(Failure::Refused(why)) if set => match in_force(client, source)? {
            Some(version) => {
                done.warnings.push(why);
                version
            }
            None => return Err(Failure::Refused(why)),
        },
        Err(failure) => return Err(failure),
    };
    let warnings = told["warnings"].as_array().into_iter().flatten();
    done.warnings.extend(warnings.filter_map(|text| text.as_str().map(str::to_owned)));
    let version = before.unwrap_or(told);
    done.version = version["version"].as_u64();
    done.hash = version["hash"].as_str().unwrap_or_default().to_owned();
    Ok(done)
}

/// The version in force, if its text is this one. The hash of a text is shown to those who may set one.
fn in_force(client: &Client, source: &dialect::Source) -> Result<Option<Value>, Failure> {
    let version = client.ask("config-history-get", json!({}))?.success_or_empty()?.arguments;
    let own = Sha256::of(source.text.as_bytes()).to_string();
    let same = version["sha256"].as_str().is_some_and(|hash| hash.eq_ignore_ascii_case(&own));
    Ok(same.then_some(version))
}

fn read_config(text: &str) -> Result<Config, Failure> {
    let mut none = |name: &str| Err(format!("{name}: it is pasted already"));
    let parsed = config::parse(text, "the configuration", &mut none);
    parsed.map(|parsed| parsed.config).map_err(|bad| Failure::Refused(bad.to_string()))
}

fn config_in_force(client: &Client) -> Result<Config, Failure> {
    let mut reply = client.ask("config-get", Value::Null)?.success()?;
    let document = json!({ "Dhcp4": reply.arguments["Dhcp4"].take() });
    let parsed = config::from_json(&document);
    parsed.map(|parsed| parsed.config).map_err(|bad| Failure::Refused(bad.to_string()))
}

/// Brings the leases of `database` into the cluster.
fn leases_into(
    client: &Client,
    database: Database,
    subnets: &Subnets,
    how: &How,
    report: &mut Report,
) -> Result<(), Failure> {
    report.found = database.len() as u64;
    let now = SystemClock.wall() / 1000;
    let mut leases: Vec<Carried> = Vec::new();
    let mut ahead = 0;
    for (mut lease, note) in database.into_leases() {
        let note = match fitted(&mut lease, note) {
            Ok(note) => note,
            Err(why) => {
                report.refuse(lease.place, Some(lease.address), why);
                continue;
            }
        };
        if lease.state == State::Assigned {
            ahead = ahead.max(lease.cltt.saturating_sub(now));
        }
        match subnets.place(lease.subnet, lease.address) {
            Ok(subnet) => {
                lease.subnet = subnet;
                leases.push((lease, note));
            }
            // Nobody is owed anything in a subnet that is gone.
            Err(_) if lease.is_over(now) => report.over += 1,
            Err(why) => report.refuse(lease.place, Some(lease.address), why),
        }
    }
    if ahead > MOST_AHEAD {
        eprintln!(
            "warning: leases begin up to {ahead} s from now: the clock of the other server is ahead of this machine's"
        );
    }
    let wishes = Wishes { overwrite: how.overwrite, dry_run: how.dry_run, now };
    carry(client, &leases, wishes, report)
}

/// A lease that began so much later than now tells of a clock that is wrong. Declined ones begin when they like.
const MOST_AHEAD: i64 = 5;

/// What a lease in the cluster may have at most: the node's own bounds (`api/commands/lease4/parse.rs`), looked at
/// here so that a dry run knows them.
const MOST_HOSTNAME: usize = 255;
const MOST_CONTEXT: usize = 16 << 10;

/// Takes from a lease what the cluster would refuse and the lease can do without.
///
/// # Errors
/// Why it cannot be taken at all.
fn fitted(lease: &mut Lease, note: Option<Box<str>>) -> Result<Option<Box<str>>, String> {
    let mut notes: Vec<String> = note.map(String::from).into_iter().collect();
    if lease.hostname.len() > MOST_HOSTNAME {
        return Err(format!("its host name is longer than {MOST_HOSTNAME} bytes"));
    }
    if lease.context.as_ref().is_some_and(|context| context.len() > MOST_CONTEXT) {
        lease.context = None;
        notes
            .push(format!("its user context is longer than {MOST_CONTEXT} bytes and was left out"));
    }
    if lease.hostname.is_empty() && (lease.fqdn_fwd || lease.fqdn_rev) {
        (lease.fqdn_fwd, lease.fqdn_rev) = (false, false);
        notes.push("it has DNS records and no name: they are not taken care of".to_owned());
    }
    Ok((!notes.is_empty()).then(|| notes.join("; ").into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::lease::testing::lease;

    #[test]
    fn a_lease_is_made_to_fit_or_refused_before_the_cluster_is_asked() {
        let mut long = lease("192.0.2.1", 1);
        long.hostname = "x".repeat(256).into();
        assert!(fitted(&mut long, None).is_err());
        let mut wordy = lease("192.0.2.1", 1);
        wordy.context = Some(format!("{{\"a\":\"{}\"}}", "x".repeat(MOST_CONTEXT)).into());
        wordy.fqdn_fwd = true;
        let note = fitted(&mut wordy, Some("first".into())).unwrap().unwrap();
        assert!(
            note.starts_with("first; ") && note.contains("context") && note.contains("DNS"),
            "{note}"
        );
        assert!(wordy.context.is_none() && !wordy.fqdn_fwd);
        assert_eq!(fitted(&mut lease("192.0.2.1", 1), None), Ok(None));
    }
}
