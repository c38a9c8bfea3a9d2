//! `cluster-ctl pki`: a certificate authority for those who have none. It works on files and asks no node.
//!
//! `init` draws the cluster's id, which stands in every node's certificate and is taken by the nodes when
//! they form the cluster. Keys are written for their owner alone, and nothing that exists is overwritten unless
//! that is asked for.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use leasehold::clock::{Clock, SystemClock};
use leasehold::raft::certificate::{Certificate, PeerName, cluster_id};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use serde_json::{Value, json};

use crate::Output;
use crate::client::Failure;
use crate::output::utc;

const DAY: u64 = 86_400;
/// How far a clock that reads a new certificate may be behind.
const BEFORE: u64 = 3600;

/// What to do with certificates.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a certificate authority, and draw the id of the cluster it is for
    Init {
        /// Directory for ca.pem, ca.key and cluster-id; made if it is not there
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Name of the cluster, shown in the authority's certificate
        #[arg(long, value_name = "NAME", default_value = "leasehold")]
        cluster_name: String,
        /// Id of a cluster that exists already (cluster-ctl status), 16 hexadecimal digits. Default: a new one
        #[arg(long, value_name = "HEX")]
        cluster_id: Option<String>,
        /// Days for which the authority is good
        #[arg(long, value_name = "N", default_value_t = 3650, value_parser = clap::value_parser!(u64).range(1..=36_500))]
        days: u64,
    },
    /// Make a certificate and its key: for a node, or for somebody who asks the control API
    Issue {
        /// Name of the node: letters, digits and hyphens. It is pinned when the node becomes a member
        name: String,
        /// It is the name of an operator or a program that asks a control API, and no node's
        #[arg(long)]
        client: bool,
        /// Address or DNS name under which clients reach the node's control API. May be repeated
        #[arg(long = "address", value_name = "ADDRESS", conflicts_with = "client")]
        addresses: Vec<String>,
        /// Directory of the authority
        #[arg(long, value_name = "DIR")]
        ca: PathBuf,
        /// Directory for NAME.pem and NAME.key. Default: that of the authority
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Days for which the certificate is good, at most as long as the authority is
        #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=36_500))]
        days: u64,
        /// Replace files that are there, as for a certificate that ends
        #[arg(long)]
        replace: bool,
    },
    /// Show what the certificates in a file say
    Show {
        /// The file, PEM
        file: PathBuf,
    },
}

/// Runs it.
pub fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Init { out, cluster_name, cluster_id, days } => {
            init(&out, &cluster_name, cluster_id.as_deref(), days, output)
        }
        Command::Issue { name, client, addresses, ca, out, days, replace } => {
            let whose = if client { Whose::Client(name) } else { Whose::Node { name, addresses } };
            let out = out.unwrap_or_else(|| ca.clone());
            issue(&whose, &ca, &out, days, replace, output)
        }
        Command::Show { file } => show(&file, output),
    }
}

/// Whose certificate is made.
enum Whose {
    Node { name: String, addresses: Vec<String> },
    Client(String),
}

fn wrong(path: &Path, why: &dyn fmt::Display) -> Failure {
    Failure::Usage(format!("{}: {why}", path.display()))
}

fn failed(error: rcgen::Error) -> Failure {
    Failure::Usage(format!("the certificate cannot be made: {error}"))
}

/// Now, Unix seconds.
fn now() -> u64 {
    u64::try_from(SystemClock.wall() / 1000).unwrap_or(0)
}

/// Makes `params` good from an hour ago until `until`, Unix seconds.
fn valid_until(params: &mut CertificateParams, until: u64) {
    let at = |seconds| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    (params.not_before, params.not_after) = (at(now().saturating_sub(BEFORE)), at(until));
}

fn subject(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

fn init(
    out: &Path,
    name: &str,
    id: Option<&str>,
    days: u64,
    output: Output,
) -> Result<(), Failure> {
    if name.is_empty() || name.len() > 40 || name.contains(char::is_control) {
        return Err(Failure::Usage("--cluster-name is one line of at most 40 bytes".to_owned()));
    }
    let id = match id {
        Some(text) => cluster_id(text).ok_or_else(|| {
            Failure::Usage(format!("--cluster-id {text}: 16 hexadecimal digits, not all 0"))
        })?,
        None => leasehold::storage::draw().map_err(|error| Failure::Usage(error.to_string()))?,
    };
    directory(out)?;
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
    params.distinguished_name = subject(&format!("{name} {id:016x} CA"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_until(&mut params, now() + days * DAY);
    let certificate = params.self_signed(&key).map_err(failed)?;
    let files = [
        (out.join("ca.key"), key.serialize_pem(), 0o600),
        (out.join("ca.pem"), certificate.pem(), 0o644),
        (out.join("cluster-id"), format!("{id:016x}\n"), 0o644),
    ];
    write_all(&files, false)?;
    match output {
        Output::Json => {
            say_line!("{}", json!({ "cluster": format!("{id:016x}"), "files": paths(&files) }))
        }
        Output::Table => say_line!(
            "The authority of cluster {id:016x} is in {}. Its key, ca.key, makes certificates: keep it away from \
             the nodes, and safe. Next, for each node:\n  cluster-ctl pki issue NAME --ca {} --address ADDRESS --out DIR",
            out.display(),
            out.display()
        ),
    }
    Ok(())
}

fn issue(
    whose: &Whose,
    ca: &Path,
    out: &Path,
    days: u64,
    replace: bool,
    output: Output,
) -> Result<(), Failure> {
    let authority = text(&ca.join("ca.pem"))?;
    let said = Certificate::of_pem(authority.as_bytes());
    let said = said.map_err(|why| wrong(&ca.join("ca.pem"), &why))?;
    let left = said.first().map_or(0, |said| u64::try_from(said.not_after).unwrap_or(0));
    let until = left.min(now() + days * DAY);
    if until <= now() {
        return Err(wrong(&ca.join("ca.pem"), &"the authority's own certificate has expired"));
    }
    let bad_key = |_| wrong(&ca.join("ca.key"), &"it is no private key (PEM)");
    let signing = KeyPair::from_pem(&text(&ca.join("ca.key"))?).map_err(bad_key)?;
    let issuer = Issuer::from_ca_cert_pem(&authority, signing).map_err(failed)?;
    let (name, mut params) = match whose {
        Whose::Node { name, addresses } => (name, node(name, addresses, ca)?),
        Whose::Client(name) => (name, client(name)?),
    };
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    valid_until(&mut params, until);
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
    directory(out)?;
    let files = [
        (out.join(format!("{name}.key")), key.serialize_pem(), 0o600),
        (out.join(format!("{name}.pem")), certificate.pem(), 0o644),
    ];
    write_all(&files, replace)?;
    match output {
        Output::Json => {
            say_line!("{}", json!({ "name": name, "not_after": until, "files": paths(&files) }))
        }
        Output::Table => {
            let [key, certificate] = files.each_ref().map(|(path, _, _)| path.display());
            say_line!(
                "{certificate} and {key} are good until {}",
                utc(i64::try_from(until).unwrap_or(i64::MAX))
            );
        }
    }
    Ok(())
}

/// For the peer port and the control API: both ends of the one, a server at the other.
fn node(name: &str, addresses: &[String], ca: &Path) -> Result<CertificateParams, Failure> {
    let file = ca.join("cluster-id");
    let id = cluster_id(text(&file)?.trim());
    let id =
        id.ok_or_else(|| wrong(&file, &"it is not the 16 hexadecimal digits of a cluster's id"))?;
    let peer = PeerName::new(name, id).map_err(Failure::Usage)?;
    if peer.name != name {
        return Err(Failure::Usage(format!("{name}: write it in small letters, {}", peer.name)));
    }
    for address in addresses {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        let is_name = !address.is_empty()
            && address.chars().all(good)
            && address.contains(char::is_alphabetic);
        if address.parse::<IpAddr>().is_err() && !is_name {
            return Err(Failure::Usage(format!(
                "--address {address} is neither an address nor a DNS name (no port, no scheme)"
            )));
        }
    }
    let names: Vec<String> = std::iter::once(peer.dns()).chain(addresses.iter().cloned()).collect();
    let mut params = CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name = subject(name);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

/// For asking the control API, and nothing else: the peer port refuses it.
fn client(name: &str) -> Result<CertificateParams, Failure> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    if name.is_empty() || name.len() > 64 || !name.chars().all(good) || name.starts_with('.') {
        return Err(Failure::Usage(format!(
            "{name}: at most 64 letters, digits and .-_@, not a dot first"
        )));
    }
    let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
    params.distinguished_name = subject(name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn show(file: &Path, output: Output) -> Result<(), Failure> {
    let pem = fs::read(file).map_err(|error| wrong(file, &error))?;
    let found = Certificate::of_pem(&pem).map_err(|why| wrong(file, &why))?;
    match output {
        Output::Json => say_line!("{}", Value::from_iter(found.iter().map(as_json))),
        Output::Table => {
            let shown: Vec<String> = found.iter().map(as_text).collect();
            say!("{}", shown.join("\n"));
        }
    }
    Ok(())
}

fn as_json(said: &Certificate) -> Value {
    let peer = said.peer().ok();
    json!({
        "subject": said.subject,
        "issuer": said.issuer,
        "serial": said.serial,
        "not_before": said.not_before,
        "not_after": said.not_after,
        "dns": said.dns,
        "addresses": said.addresses,
        "authority": said.authority,
        "server": said.server,
        "client": said.client,
        "node": peer.as_ref().map(|peer| &peer.name),
        "cluster": peer.as_ref().map(|peer| format!("{:016x}", peer.cluster)),
    })
}

fn as_text(said: &Certificate) -> String {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: &str| lines.push(format!("{name:<12}{value}\n"));
    line("Subject", &said.subject);
    line("Issuer", &said.issuer);
    line("Serial", &said.serial);
    line("Valid from", &utc(said.not_before));
    let ended = if said.not_after <= i64::try_from(now()).unwrap_or(0) { "  EXPIRED" } else { "" };
    line("Valid until", &format!("{}{ended}", utc(said.not_after)));
    let names = said.dns.iter().cloned().chain(said.addresses.iter().map(IpAddr::to_string));
    let names: Vec<String> = names.collect();
    if !names.is_empty() {
        line("Names", &names.join(", "));
    }
    let uses = [(said.authority, "authority"), (said.server, "server"), (said.client, "client")];
    let uses: Vec<&str> = uses.into_iter().filter_map(|(is, what)| is.then_some(what)).collect();
    line("For", &uses.join(", "));
    match said.peer() {
        Ok(peer) => line("Node", &format!("{} of cluster {:016x}", peer.name, peer.cluster)),
        Err(_) => line("Node", "none: no peer port takes it"),
    }
    lines.concat()
}

fn text(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| wrong(path, &error))
}

fn directory(path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        return Ok(());
    }
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| wrong(path, &error))
}

/// Path, content, mode.
type File = (PathBuf, String, u32);

/// Writes all files or, as far as that is known beforehand, none.
fn write_all(files: &[File], replace: bool) -> Result<(), Failure> {
    if let Some((path, _, _)) = files.iter().find(|(path, _, _)| path.exists() && !replace) {
        return Err(wrong(path, &"it exists already, and was left as it is"));
    }
    for (path, content, mode) in files {
        write(path, content, *mode).map_err(|error| wrong(path, &error))?;
    }
    Ok(())
}

/// Through another name: a node that reads the file meanwhile finds the old one or the new one.
fn write(path: &Path, content: &str, mode: u32) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
    let written = file
        .write_all(content.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

fn paths(files: &[File]) -> Vec<String> {
    files.iter().map(|(path, _, _)| path.display().to_string()).collect()
}
