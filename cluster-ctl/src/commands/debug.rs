//! `cluster-ctl debug bundle`: what each node knows of itself, in one file to send along.
//!
//! There are no secrets in it: nodes hide passwords and keys in what they tell, and what looks like one is hidden
//! once more here.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use leasehold::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use super::each::Cluster;
use crate::Output;
use crate::client::{Client, Failure};
use crate::export::files::Whole;
use crate::output::{table, utc};

/// What to gather.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Status, alarms, metrics and configuration of every node that answers, in one tar file without secrets
    Bundle {
        /// Where to; by default leasehold-debug-TIME.tar here. It must not be there yet
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// The end of this log file, too
        #[arg(long, value_name = "FILE")]
        log: Option<PathBuf>,
    },
}

/// The most of a log that is taken, bytes.
const LOG: u64 = 4 << 20;

/// What each node is asked.
const QUESTIONS: [(&str, &str); 4] = [
    ("status.json", "cluster-status"),
    ("alarms.json", "cluster-alarm-list"),
    ("version.json", "version-get"),
    ("service.json", "status-get"),
];

/// Members of a document whose values are hidden, whatever the node has done about them.
const SECRETS: [&str; 6] =
    ["password", "secret", "token", "basic-auth-password", "private-key", "key-data"];

/// Runs it.
pub fn run(client: &Client, command: Command, output: Output) -> Result<(), Failure> {
    let Command::Bundle { out, log } = command;
    let now = SystemClock.wall().div_euclid(1000);
    let out = out.unwrap_or_else(|| {
        let stamp: String = utc(now).chars().filter(char::is_ascii_digit).collect();
        format!("leasehold-debug-{stamp}.tar").into()
    });
    let log = log.map(|path| Ok((path.clone(), tail(&path)?))).transpose();
    let log = log.map_err(|(path, error): (PathBuf, std::io::Error)| {
        Failure::Usage(format!("{}: {error}", path.display()))
    })?;
    let mut file = Whole::create_new(&out)?;
    let cluster = Cluster::find(client)?;
    let mut files = gather(client, &cluster);
    if let Some((_, text)) = log {
        files.push(("log.txt".to_owned(), "the end of the log file that was named", text));
    }
    file.write(|out| write(out, now, &files))?;
    file.finish()?;
    report(&out, &files, &cluster, output);
    Ok(())
}

/// A file of the bundle: its name, what it is, and what is in it.
type Part = (String, &'static str, Vec<u8>);

fn gather(client: &Client, cluster: &Cluster) -> Vec<Part> {
    let mut files: Vec<Part> = Vec::new();
    for (name, command) in QUESTIONS {
        let arguments =
            if command == "cluster-alarm-list" { json!({ "all": true }) } else { Value::Null };
        for (node, reply) in cluster.ask(client, command, &arguments) {
            let Some(reply) = reply else { continue };
            let told =
                json!({ "result": reply.result, "text": reply.text, "arguments": reply.arguments });
            files.push((format!("node-{}/{name}", node.id), command, pretty(told)));
        }
    }
    for node in &cluster.nodes {
        let Some(url) = &node.url else { continue };
        if let Some(page) = client.page(url, &cluster.reply.node, "/metrics") {
            files.push((
                format!("node-{}/metrics.txt", node.id),
                "GET /metrics",
                page.into_bytes(),
            ));
        }
    }
    // One configuration is everybody's.
    if let Ok(reply) = client.ask("config-get", json!({ "consistency": "local" }))
        && reply.result == 0
    {
        files.push((
            "config.json".to_owned(),
            "config-get, passwords hidden",
            pretty(reply.arguments),
        ));
    }
    files.sort_by(|one, other| one.0.cmp(&other.0));
    files
}

fn pretty(mut value: Value) -> Vec<u8> {
    hide(&mut value);
    let mut text = serde_json::to_vec_pretty(&value).unwrap_or_default();
    text.push(b'\n');
    text
}

/// Hides what looks like a secret.
fn hide(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let is_secret = SECRETS.contains(&name.to_ascii_lowercase().as_str());
                if is_secret && !value.is_null() {
                    *value = "*****".into();
                } else {
                    hide(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}

/// The end of a file, from the beginning of a line on.
fn tail(path: &Path) -> Result<Vec<u8>, (PathBuf, std::io::Error)> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG)))?;
        let mut text = Vec::new();
        file.take(LOG).read_to_end(&mut text)?;
        if length > LOG
            && let Some(end) = text.iter().position(|byte| *byte == b'\n')
        {
            text.drain(..=end);
        }
        Ok(text)
    };
    read().map_err(|error| (path.to_owned(), error))
}

/// Writes the archive.
fn write(out: &mut dyn Write, now: i64, files: &[Part]) -> std::io::Result<()> {
    let mut bundle = tar::Builder::new(out);
    for (name, _, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(now).unwrap_or(0));
        header.set_cksum();
        bundle.append_data(&mut header, format!("leasehold-debug/{name}"), content.as_slice())?;
    }
    bundle.finish()
}

fn report(out: &Path, files: &[Part], cluster: &Cluster, output: Output) {
    let silent: Vec<u64> =
        cluster.nodes.iter().filter(|node| node.url.is_none()).map(|node| node.id).collect();
    if output == Output::Json {
        let names: Vec<&str> = files.iter().map(|(name, _, _)| name.as_str()).collect();
        say_line!(
            "{}",
            json!({ "file": out.display().to_string(), "files": names, "silent": silent })
        );
        return;
    }
    let row = |(name, what, content): &Part| {
        [name.clone(), content.len().to_string(), (*what).to_owned()]
    };
    let rows: Vec<[String; 3]> = files.iter().map(row).collect();
    say!("{}", table(["FILE", "BYTES", "WHAT"], &rows));
    for id in silent {
        say_line!("\nNode {id} did not answer: nothing of its own is in the bundle.");
    }
    say_line!(
        "\n{} is written. Passwords, keys and tokens are not in it; addresses, names of hosts and the\n\
         configuration are. Look through it before you send it: tar -xf {}",
        out.display(),
        out.display()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_hidden_wherever_it_stands() {
        let mut value =
            json!({ "a": [{ "Password": "x", "b": 1 }], "secret": { "k": "x" }, "token": null });
        hide(&mut value);
        assert_eq!(
            value,
            json!({ "a": [{ "Password": "*****", "b": 1 }], "secret": "*****", "token": null })
        );
    }
}
