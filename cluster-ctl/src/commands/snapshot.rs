//! `cluster-ctl snapshot`: backups. `save` asks a node; the others work on files alone.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use leasehold::clock::{Clock, SystemClock};
use leasehold::raft::backup::{self, Header};
use leasehold::raft::certificate::cluster_id;
use leasehold::raft::{self, Restore};
use leasehold::state::{LeaseState, Recovery, State, StateCounts};
use leasehold::storage::Draft;
use leasehold::types::{ClusterTime, Lifetime};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Output;
use crate::client::{Client, Failure};
use crate::export::files::place;
use crate::output::{table, utc};

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Save a backup of the whole cluster, from any node, while it serves. There are secrets in it
    Save {
        /// Where to; a file that is there is replaced when the new one is whole
        file: PathBuf,
        /// What the node has, which may be old; works without a leader
        #[arg(long)]
        local: bool,
    },
    /// What is in a backup: of whom, when, how much. No node is asked
    Inspect {
        /// The backup
        file: PathBuf,
    },
    /// Whether a backup is whole: every checksum, and what the machine in it promises. No node is asked
    Verify {
        /// The backup
        file: PathBuf,
    },
    /// Make the data directory of a new cluster of one node from a backup; other nodes then join it. No node is
    /// asked. Run it as the user that the server runs as
    Restore {
        /// The backup
        file: PathBuf,
        /// The directory to make; it must be empty or not there
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        /// Where other nodes will reach this one: [peer] advertise of its settings
        #[arg(long, value_name = "ADDR:PORT")]
        advertise: std::net::SocketAddr,
        /// The id of the new cluster, 16 hexadecimal digits, where its certificates name one. Default: drawn
        #[arg(long, value_name = "HEX", value_parser = new_cluster)]
        cluster_id: Option<u64>,
        /// The longest lease time that the old cluster gave after the backup, if its configuration was changed since;
        /// what the backup knows of counts in any case. So long addresses are held that may be somebody's
        #[arg(long, value_name = "SECONDS", conflicts_with = "no_hold")]
        longest_lifetime: Option<u32>,
        /// Hold no address back: those that the backup does not list as leased may be given to a second client
        #[arg(long, requires = "yes")]
        no_hold: bool,
        /// The consequence is understood
        #[arg(long)]
        yes: bool,
    },
}

/// The id of a cluster on the command line.
pub fn new_cluster(text: &str) -> Result<u64, &'static str> {
    cluster_id(text).ok_or("it is 16 hexadecimal digits, not all 0")
}

/// Runs it. Only what asks a node makes a `client`.
pub fn run(
    client: impl FnOnce() -> Result<Client, Failure>,
    command: Command,
    output: Output,
) -> Result<(), Failure> {
    let (text, value) = match command {
        Command::Save { file, local } => save(&client()?, &file, local)?,
        Command::Inspect { file } => inspect(&file)?,
        Command::Verify { file } => verify(&file)?,
        Command::Restore {
            file,
            data_dir,
            advertise,
            cluster_id,
            longest_lifetime,
            no_hold,
            ..
        } => restore(Restore {
            file,
            dir: data_dir,
            address: advertise.to_string(),
            cluster: cluster_id,
            hold: !no_hold,
            longest: longest_lifetime.map(Lifetime::from_secs),
            wall: SystemClock.wall(),
        })?,
    };
    match output {
        Output::Json => say_line!("{value}"),
        Output::Table => say!("{text}"),
    }
    Ok(())
}

/// Counts and hashes what goes through.
struct Counted<'a> {
    out: io::BufWriter<&'a mut File>,
    bytes: u64,
    hash: Sha256,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn save(client: &Client, file: &Path, local: bool) -> Result<(String, Value), Failure> {
    let fault = |error: io::Error| Failure::Usage(format!("{}: {error}", file.display()));
    let mut draft = Draft::begin(&place(file)?, 0o600).map_err(fault)?;
    let path = if local { "/v1/snapshot?consistency=local" } else { "/v1/snapshot" };
    let (node, bytes, hash) = {
        let out = io::BufWriter::new(draft.file().map_err(fault)?);
        let mut counted = Counted { out, bytes: 0, hash: Sha256::new() };
        let node = client.download(path, &mut counted)?;
        counted.flush().map_err(fault)?;
        (node, counted.bytes, counted.hash.finalize())
    };
    // What came is read back before it has the name: an answer that broke off has no end.
    let whole = File::open(draft.path()).and_then(backup::check_whole);
    let header = whole.map_err(|error| {
        let text = format!("{node} did not send a whole backup, and nothing was saved: {error}");
        Failure::Unreachable(text)
    })?;
    draft.publish().map_err(fault)?;
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut value = described(&header);
    value["file"] = file.display().to_string().into();
    value["bytes"] = bytes.into();
    value["sha256"] = hash.as_str().into();
    value["answered-by"] = node.into();
    let text = format!(
        "Saved {}: index {} of cluster {:016x}, {} lease(s), configuration version {}, {bytes} bytes.\nsha256 {hash}\n",
        file.display(),
        header.index(),
        header.cluster,
        header.leases,
        header.config.0,
    );
    Ok((text, value))
}

/// What the head says.
fn described(header: &Header) -> Value {
    let position = header.base.applied;
    let members = header.base.membership.membership.iter().flat_map(|it| &it.members);
    let members: Vec<Value> =
        members.map(|it| json!({ "id": it.node, "address": it.address })).collect();
    json!({
        "cluster": format!("{:016x}", header.cluster),
        "node": header.node.0,
        "program": header.program,
        "time": header.wall.div_euclid(1000),
        "index": header.index(),
        "term": position.map(|id| id.term),
        "cluster-millis": header.now.as_millis(),
        "feature-level": header.level,
        "config-version": header.config.0,
        "leases": header.leases,
        "members": members,
    })
}

fn open(file: &Path) -> Result<(Header, State), Failure> {
    if let Err(error) = File::open(file) {
        return Err(Failure::Usage(format!("{}: {error}", file.display())));
    }
    raft::open_backup(file).map_err(|error| Failure::Refused(error.to_string()))
}

fn inspect(file: &Path) -> Result<(String, Value), Failure> {
    let (header, state) = open(file)?;
    let frozen = state.freeze();
    let meta = frozen.meta();
    let config = meta.config();
    let of = |counts: StateCounts, state| counts.of(state);
    let mut subnets = Vec::new();
    let mut rows = Vec::new();
    for (id, counts) in frozen.all_counts() {
        let subnet = config.and_then(|config| config.subnet(id));
        let prefix = subnet.map_or("(gone)".to_owned(), |subnet| subnet.prefix.to_string());
        let counts = LeaseState::ALL.map(|state| of(counts, state));
        let [assigned, declined, reclaimed, released] = counts;
        subnets.push(json!({
            "id": id.0, "subnet": prefix, "assigned": assigned, "declined": declined,
            "expired-reclaimed": reclaimed, "released": released,
        }));
        let [a, d, x, r] = counts.map(|count| count.to_string());
        rows.push([id.0.to_string(), prefix, a, d, x, r]);
    }
    let mut value = described(&header);
    value["subnets"] = subnets.into();
    value["config-versions"] = meta.history().count().into();
    let members = header.base.membership.membership.iter().flat_map(|it| &it.members);
    let members: Vec<String> = members.map(|it| format!("{} ({})", it.node, it.address)).collect();
    let mut text = format!(
        "{}\n  taken    {} from node {} of cluster {:016x}, program {}\n  position index {}, term {}, feature level {}\n  \
         members  {}\n  config   version {}, {} version(s) kept\n  leases   {}\n",
        file.display(),
        utc(header.wall.div_euclid(1000)),
        header.node,
        header.cluster,
        header.program,
        header.index(),
        header.base.applied.map_or(0, |id| id.term),
        header.level,
        members.join(", "),
        header.config.0,
        meta.history().count(),
        header.leases,
    );
    if !rows.is_empty() {
        let head = ["SUBNET", "PREFIX", "ASSIGNED", "DECLINED", "RECLAIMED", "RELEASED"];
        text.push('\n');
        text.push_str(&table(head, &rows));
    }
    Ok((text, value))
}

fn verify(file: &Path) -> Result<(String, Value), Failure> {
    let (header, state) = open(file)?;
    state.check().map_err(|why| {
        let text = format!("{}: the machine in it is not consistent: {why}", file.display());
        Failure::Refused(text)
    })?;
    let text = format!(
        "{} is whole: index {} of cluster {:016x}, {}, {} lease(s), configuration version {}.\n",
        file.display(),
        header.index(),
        header.cluster,
        utc(header.wall.div_euclid(1000)),
        header.leases,
        header.config.0,
    );
    let mut value = described(&header);
    value["whole"] = true.into();
    Ok((text, value))
}

fn restore(wanted: Restore) -> Result<(String, Value), Failure> {
    let restored = raft::restore(&wanted).map_err(|error| match error {
        raft::RestoreError::Found(raft::FoundError::NotEmpty(_)) => {
            Failure::Usage(error.to_string())
        }
        error => Failure::Refused(error.to_string()),
    })?;
    let (header, founded) = (&restored.backup, restored.founded);
    let value = json!({
        "data-dir": wanted.dir.display().to_string(),
        "cluster": format!("{:016x}", founded.cluster),
        "node": founded.node.0,
        "backup": described(header),
        "backup-age": restored.age.as_secs(),
        "hold-seconds": restored.hold.map(|hold| seconds_of(&hold)),
    });
    let text = format!(
        "{} holds node {} of the new cluster {:016x}: {} lease(s) and configuration version {} as of {}, {} s ago.\n\
         {}The lease history is not part of a backup.\n\
         Next: start the server with data-dir = {:?} and [peer] advertise = \"{}\"; then let the other nodes join, each \
         with an empty data directory (docs/backup.md). No node of the old cluster may be started again.\n",
        wanted.dir.display(),
        founded.node,
        founded.cluster,
        header.leases,
        header.config.0,
        utc(header.wall.div_euclid(1000)),
        restored.age.as_secs(),
        told(restored.hold.as_ref()),
        wanted.dir,
        wanted.address,
    );
    Ok((text, value))
}

/// How long a hold lasts, seconds; `None` for one that an operator must end.
pub fn seconds_of(hold: &Recovery) -> Option<u64> {
    (hold.until != ClusterTime::NEVER).then(|| hold.until.since(hold.since).as_secs())
}

/// What a hold means, in a line.
pub fn told(hold: Option<&Recovery>) -> String {
    let Some(hold) = hold else {
        return "No address is held back: one that was granted after the copy may be given to a second client. The time since \
                the copy does not count: every lease has what was left of it then.\n"
            .to_owned();
    };
    let long = match seconds_of(hold) {
        Some(seconds) => format!("For {seconds} s of service"),
        None => {
            "Until cluster-ctl recover end-hold, since leases without an end may have been granted,"
                .to_owned()
        }
    };
    format!(
        "{long} an address goes to a client that claims it, and to one that does not only after a ping check; and one that \
         is listed as leased, to nobody but its client.\n"
    )
}
