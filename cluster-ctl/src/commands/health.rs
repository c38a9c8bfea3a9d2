//! `cluster-ctl health`: one line for each node, for people and for scripts.

use serde_json::{Value, json};

use super::each::{Cluster, Node};
use crate::Output;
use crate::client::{Client, Failure};
use crate::output::table;

/// Runs it.
pub fn run(client: &Client, output: Output) -> Result<(), Failure> {
    let cluster = Cluster::find(client)?;
    let verdicts: Vec<Verdict> = cluster.nodes.iter().map(Verdict::of).collect();
    let well = verdicts.iter().all(|verdict| verdict.well);
    match output {
        Output::Json => {
            let nodes: Vec<Value> = verdicts.iter().map(Verdict::json).collect();
            say_line!("{}", json!({ "healthy": well, "nodes": nodes }));
        }
        Output::Table => {
            let rows: Vec<[String; 5]> = verdicts.iter().map(Verdict::row).collect();
            say!("{}", table(["NODE", "NAME", "HEALTH", "ALARMS", "REASON"], &rows));
        }
    }
    // Said already.
    if well { Ok(()) } else { Err(Failure::Refused(String::new())) }
}

/// What is said of one node.
struct Verdict<'a> {
    node: &'a Node,
    well: bool,
    /// One word, or two.
    word: &'static str,
    reason: String,
}

impl Verdict<'_> {
    fn of(node: &Node) -> Verdict<'_> {
        let verdict =
            |well, word, reason: &str| Verdict { node, well, word, reason: reason.to_owned() };
        // Who was sent away by an operator is not ill.
        match node.entry["liveness"].as_str() {
            Some("draining") => return verdict(true, "draining", ""),
            Some("maintenance") => return verdict(true, "maintenance", ""),
            _ => {}
        }
        match node.status["ready"].as_bool() {
            Some(true) => verdict(true, "ok", ""),
            Some(false) => {
                let reason = node.status["reason"].as_str().unwrap_or("no reason given");
                verdict(false, "not ready", reason)
            }
            None => verdict(false, "no answer", "its control address does not answer"),
        }
    }

    fn alarms(&self) -> Option<u64> {
        let answers = self.node.url.is_some();
        answers.then(|| self.node.status["alarms"].as_u64().unwrap_or(0))
    }

    fn row(&self) -> [String; 5] {
        [
            self.node.id.to_string(),
            self.node.entry["name"].as_str().unwrap_or_default().to_owned(),
            self.word.to_owned(),
            self.alarms().map_or("?".to_owned(), |count| count.to_string()),
            self.reason.clone(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "node": self.node.id,
            "name": self.node.entry["name"],
            "healthy": self.well,
            "health": self.word,
            "alarms": self.alarms(),
            "reason": Some(&self.reason).filter(|reason| !reason.is_empty()),
        })
    }
}
