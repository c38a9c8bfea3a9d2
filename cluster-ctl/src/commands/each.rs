//! Every node of the cluster, each asked for itself.

use std::thread;

use serde_json::{Value, json};

use super::status::nodes;
use crate::client::{Client, Failure, Reply};

/// A node, and where it answers.
#[derive(Debug)]
pub struct Node {
    /// Its number.
    pub id: u64,
    /// What the node that was asked first says of it.
    pub entry: Value,
    /// Where it answered; `None` when it did not.
    pub url: Option<String>,
    /// What it says of itself; `null` when it did not answer.
    pub status: Value,
}

impl Node {
    /// `1 (rack-a)`.
    pub fn title(&self) -> String {
        match self.entry["name"].as_str().unwrap_or_default() {
            "" => self.id.to_string(),
            name => format!("{} ({name})", self.id),
        }
    }
}

/// The nodes that the first one that answers knows of.
#[derive(Debug)]
pub struct Cluster {
    /// What that one said.
    pub reply: Reply,
    /// All, ascending by number.
    pub nodes: Vec<Node>,
}

impl Cluster {
    /// Finds the nodes, and asks each for its status.
    pub fn find(client: &Client) -> Result<Cluster, Failure> {
        let reply = client.ask("cluster-status", Value::Null)?.success()?;
        let own = reply.arguments["node"].as_u64();
        let entries: Vec<(u64, Value)> = nodes(&reply.arguments)
            .filter_map(|node| Some((node["id"].as_u64()?, node.clone())))
            .collect();
        let mut nodes = at_once(entries, |(id, entry)| {
            let (url, status) = match own == Some(id) {
                true => (Some(reply.node.clone()), reply.arguments.clone()),
                false => search(client, &reply.node, id, &entry),
            };
            Node { id, entry, url, status }
        });
        nodes.sort_by_key(|node| node.id);
        Ok(Cluster { reply, nodes })
    }

    /// Asks each node that answers. `None` for one that does not, or not any more.
    pub fn ask(
        &self,
        client: &Client,
        command: &str,
        arguments: &Value,
    ) -> Vec<(&Node, Option<Reply>)> {
        at_once(self.nodes.iter().collect(), |node| {
            let url = node.url.as_deref();
            let reply =
                url.and_then(|url| client.ask_one(url, &self.reply.node, command, arguments));
            (node, reply)
        })
    }
}

/// Where a node answers, and what it says of itself. An address such as 127.0.0.1 may lead to another.
fn search(client: &Client, told_by: &str, id: u64, entry: &Value) -> (Option<String>, Value) {
    let urls = entry["control"].as_array().into_iter().flatten().filter_map(Value::as_str);
    for url in urls {
        let reply = client.ask_one(url, told_by, "cluster-status", &json!({}));
        if let Some(reply) = reply.filter(|reply| reply.arguments["node"].as_u64() == Some(id)) {
            return (Some(url.to_owned()), reply.arguments);
        }
    }
    (None, Value::Null)
}

/// Does it for all at the same time, and keeps their order.
fn at_once<T: Send, R: Send>(all: Vec<T>, each: impl Fn(T) -> R + Sync) -> Vec<R> {
    let each = &each;
    thread::scope(|scope| {
        let threads: Vec<_> = all.into_iter().map(|one| scope.spawn(move || each(one))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}
