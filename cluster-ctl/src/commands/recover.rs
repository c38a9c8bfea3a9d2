//! `cluster-ctl recover`: a majority is lost for good. `inspect`, `plan` and `apply` work on the data
//! directories of stopped nodes, `status` and `end-hold` ask a node of the new cluster.

use std::path::{Path, PathBuf};

use leasehold::raft::FoundError;
use leasehold::raft::rescue::{self, Rescue, RescueError, Survivor};
use leasehold::types::Lifetime;
use serde_json::{Value, json};

use super::snapshot::{new_cluster, seconds_of, told};
use crate::Output;
use crate::client::{Client, Failure};
use crate::output::{table, utc};

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// What the data directory of a stopped node holds. With -o json it is a report for plan. No node is asked
    Inspect {
        /// The data directory
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
    },
    /// Which survivor has the most, and what may be lost. No node is asked, nothing is changed
    Plan {
        /// Data directories of stopped nodes on this machine
        #[arg(long, value_name = "DIR")]
        data_dir: Vec<PathBuf>,
        /// Reports of inspect -o json from other machines
        #[arg(long, value_name = "FILE")]
        report: Vec<PathBuf>,
    },
    /// Make a new cluster of one node from the data directory of the best survivor. Without --yes it says what that
    /// means, and does nothing
    Apply {
        /// The data directory of the survivor that is kept; it is read and left as it is
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        /// The data directory to make; it must be empty or not there
        #[arg(long, value_name = "DIR")]
        into: PathBuf,
        /// Where other nodes will reach the new node: [peer] advertise of its settings
        #[arg(long, value_name = "ADDR:PORT")]
        advertise: std::net::SocketAddr,
        /// The id of the new cluster, 16 hexadecimal digits, where its certificates name one. Default: drawn
        #[arg(long, value_name = "HEX", value_parser = new_cluster)]
        cluster_id: Option<u64>,
        /// The longest lease time that the old cluster gave, if this survivor did not learn of it
        #[arg(long, value_name = "SECONDS", conflicts_with = "no_hold")]
        longest_lifetime: Option<u32>,
        /// Hold no address back: those that this survivor does not know as leased may be given to a second client
        #[arg(long)]
        no_hold: bool,
        /// The consequence is understood
        #[arg(long)]
        yes: bool,
    },
    /// What the cluster was made from, and until when it holds addresses back
    Status,
    /// End that before its time: an address that a client still has from before may then be given to a second one
    EndHold {
        /// The consequence is understood
        #[arg(long)]
        yes: bool,
    },
}

/// Runs it. Only what asks a node makes a `client`.
pub fn run(
    client: impl FnOnce() -> Result<Client, Failure>,
    command: Command,
    output: Output,
) -> Result<(), Failure> {
    let (text, value) = match command {
        Command::Inspect { data_dir } => {
            let survivor = inspect(&data_dir)?;
            (rows(&[&survivor]), value_of(&survivor)?)
        }
        Command::Plan { data_dir, report } => plan(&data_dir, &report)?,
        Command::Apply {
            data_dir,
            into,
            advertise,
            cluster_id,
            longest_lifetime,
            no_hold,
            yes,
        } => {
            let rescue = Rescue {
                dir: data_dir,
                into,
                address: advertise.to_string(),
                cluster: cluster_id,
                hold: !no_hold,
                longest: longest_lifetime.map(Lifetime::from_secs),
            };
            if !yes {
                return Err(Failure::Usage(consequence(&rescue)?));
            }
            apply(&rescue)?
        }
        Command::Status => {
            let reply =
                client()?.ask("cluster-recovery-status", Value::Null)?.success_or_empty()?;
            (format!("{}\n", reply.text), reply.arguments)
        }
        Command::EndHold { yes } => {
            let arguments = json!({ "yes": yes });
            let reply = client()?.ask("cluster-recovery-end", arguments)?;
            if reply.result != 0 && !yes {
                let text = reply.text.replace("With 'yes': true", "With --yes");
                return Err(Failure::Refused(text));
            }
            let reply = reply.success_or_empty()?;
            (format!("{}\n", reply.text), json!({ "text": reply.text }))
        }
    };
    match output {
        Output::Json => say_line!("{value}"),
        Output::Table => say!("{text}"),
    }
    Ok(())
}

fn failure(error: RescueError) -> Failure {
    match error {
        RescueError::InUse(_)
        | RescueError::NoMember(_)
        | RescueError::Found(FoundError::NotEmpty(_)) => Failure::Usage(error.to_string()),
        error => Failure::Refused(error.to_string()),
    }
}

fn inspect(dir: &Path) -> Result<Survivor, Failure> {
    rescue::inspect(dir).map_err(failure)
}

fn value_of(survivor: &Survivor) -> Result<Value, Failure> {
    serde_json::to_value(survivor).map_err(|error| Failure::Usage(error.to_string()))
}

fn rows(survivors: &[&Survivor]) -> String {
    let row = |one: &&Survivor| {
        [
            one.node.to_string(),
            one.term.to_string(),
            format!("{} (term {})", one.last.index, one.last.term),
            one.committed.map_or("-".to_owned(), |it| it.index.to_string()),
            utc(one.time),
            one.leases.to_string(),
            one.config_version.to_string(),
            one.data_dir.display().to_string(),
        ]
    };
    let head =
        ["NODE", "TERM", "LAST ENTRY", "COMMITTED", "LAST TIME", "LEASES", "CONFIG", "DATA-DIR"];
    table(head, &survivors.iter().map(row).collect::<Vec<_>>())
}

fn report(file: &Path) -> Result<Survivor, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
    serde_json::from_str(&text).map_err(|error| {
        let text = format!("{}: not a report of recover inspect -o json: {error}", file.display());
        Failure::Usage(text)
    })
}

fn plan(dirs: &[PathBuf], reports: &[PathBuf]) -> Result<(String, Value), Failure> {
    let here = dirs.iter().map(|dir| inspect(dir));
    let elsewhere = reports.iter().map(|file| report(file));
    let survivors = here.chain(elsewhere).collect::<Result<Vec<_>, _>>()?;
    let plan = rescue::plan(&survivors).map_err(|error| {
        Failure::Usage(format!("{error}. Name survivors with --data-dir or --report"))
    })?;
    let best = &survivors[plan.keep];
    let mut text = rows(&survivors.iter().collect::<Vec<_>>());
    let list = |nodes: &[u64]| nodes.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    text.push_str(&format!(
        "\nThe cluster {} had the voters {}. Of {} there is nothing here.\n",
        best.cluster,
        list(&best.voters),
        if plan.missing.is_empty() { "none".to_owned() } else { list(&plan.missing) },
    ));
    if plan.majority {
        text.push_str(
            "These are a majority: start them, and they go on by themselves with everything that was acknowledged. Nothing \
             is to be recovered.\n",
        );
    } else {
        text.push_str(&format!(
            "Keep node {} ({}): of these it has the highest last entry, so it has whatever any other of them has of what was \
             acknowledged.\nWhat may be lost: an entry that was acknowledged is on a majority of the disks, and these are no \
             majority. What those of {} alone had is lost, and whether there was any cannot be told. For as long as a client \
             can have such a lease, the new cluster holds addresses that it does not know as leased.\nWhat comes next: \
             recover apply --data-dir {} --into DIR --advertise ADDR:PORT\n",
            best.node,
            best.data_dir.display(),
            list(&plan.missing),
            best.data_dir.display(),
        ));
    }
    let all = survivors.iter().map(value_of).collect::<Result<Vec<_>, _>>()?;
    let value = json!({
        "survivors": all,
        "keep": (!plan.majority).then_some(best.node),
        "missing": plan.missing,
        "majority": plan.majority,
        "behind": plan.behind,
    });
    Ok((text, value))
}

fn consequence(rescue: &Rescue) -> Result<String, Failure> {
    let survivor = inspect(&rescue.dir)?;
    Ok(format!(
        "nothing was done. With --yes, {} becomes the data directory of the one node of a new cluster, made from node {} of \
         cluster {} with {} lease(s), up to entry {}.\n  * What was acknowledged after that, on lost nodes only, is gone.\n  * \
         {}  * Every other node joins as a new one, with an empty data directory.\n  * No node of the old cluster may be \
         started again with its old data, this one neither: two of them would go on as the old cluster beside the new one, \
         and both would give out the same addresses.",
        rescue.into.display(),
        survivor.node,
        survivor.cluster,
        survivor.leases,
        survivor.last.index,
        match rescue.hold {
            true => "Addresses that it does not know as leased are held for the longest lease time: they go to clients that \
                     claim them, and to others only after a ping check.\n"
                .to_owned(),
            false => told(None),
        }
    ))
}

fn apply(wanted: &Rescue) -> Result<(String, Value), Failure> {
    let done = rescue::rescue(wanted).map_err(failure)?;
    let founded = done.founded;
    let value = json!({
        "data-dir": wanted.into.display().to_string(),
        "cluster": format!("{:016x}", founded.cluster),
        "node": founded.node.0,
        "survivor": value_of(&done.survivor)?,
        "hold-seconds": done.hold.map(|hold| seconds_of(&hold)),
    });
    let text = format!(
        "{} holds node {} of the new cluster {:016x}, made from node {} of cluster {}: {} lease(s), up to entry {}.\n{}Next: \
         start the server with data-dir = {:?} and [peer] advertise = \"{}\"; then let the other nodes join, each with an \
         empty data directory (docs/backup.md). No node of the old cluster may be started again; {} is as it was.\n",
        wanted.into.display(),
        founded.node,
        founded.cluster,
        done.survivor.node,
        done.survivor.cluster,
        done.survivor.leases,
        done.survivor.last.index,
        told(done.hold.as_ref()),
        wanted.into,
        wanted.address,
        wanted.dir.display(),
    );
    Ok((text, value))
}
