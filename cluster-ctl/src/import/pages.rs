//! All leases of a server that speaks Kea's control API, page by page, ascending by address.

use std::collections::VecDeque;
use std::iter::Peekable;

use serde_json::{Value, json};

use super::lease::{Lease, Place};
use crate::client::{Client, Failure};

/// Leases a request.
const PAGE: usize = 2000;

/// What a server has, as it is while it is read.
#[derive(Debug)]
pub struct Pages<'a> {
    client: &'a Client,
    of: Of,
    page: VecDeque<Value>,
    /// Where the next page begins; `None` behind the last one.
    from: Option<String>,
}

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The cluster, which may be without a leader for a while.
    Cluster,
    /// A Kea, which means what it says.
    Kea,
}

impl<'a> Pages<'a> {
    /// Of the server that `client` asks.
    pub fn new(client: &'a Client, of: Of) -> Pages<'a> {
        Pages { client, of, page: VecDeque::new(), from: Some("start".to_owned()) }
    }

    fn fetch(&mut self, from: &str) -> Result<(), Failure> {
        let reply = self.client.ask("lease4-get-page", json!({ "from": from, "limit": PAGE }))?;
        let mut reply = match (self.of, reply.result) {
            (_, SUCCESS | EMPTY) => reply,
            (Of::Kea, UNSUPPORTED) => {
                return Err(Failure::Refused(format!(
                    "{}: {} A Kea has it with the hook library libdhcp_lease_cmds.so.",
                    reply.node, reply.text
                )));
            }
            (Of::Kea, _) | (Of::Cluster, UNSUPPORTED) => return Err(Failure::Refused(reply.text)),
            // Nothing is wrong with the question: whoever could answer it is not there at the moment.
            (Of::Cluster, _) => {
                return Err(Failure::Unreachable(format!("{}: {}", reply.node, reply.text)));
            }
        };
        let leases = match reply.arguments["leases"].take() {
            Value::Array(leases) => leases,
            _ => Vec::new(),
        };
        let last = leases.last().and_then(|lease| lease["ip-address"].as_str());
        // A page that does not go on would be read for ever.
        self.from = last.filter(|last| leases.len() >= PAGE && *last != from).map(str::to_owned);
        self.page = leases.into();
        Ok(())
    }
}

/// Kea's result codes: done; a command that it does not have; nothing found.
const SUCCESS: i64 = 0;
const UNSUPPORTED: i64 = 2;
const EMPTY: i64 = 3;

impl Iterator for Pages<'_> {
    type Item = Result<Value, Failure>;

    fn next(&mut self) -> Option<Result<Value, Failure>> {
        if self.page.is_empty() {
            let from = self.from.take()?;
            if let Err(failure) = self.fetch(&from) {
                return Some(Err(failure));
            }
        }
        self.page.pop_front().map(Ok)
    }
}

/// What the cluster has, to be looked up for ascending addresses.
#[derive(Debug)]
pub struct Beside<'a> {
    leases: Peekable<Leases<'a>>,
}

#[derive(Debug)]
struct Leases<'a>(Pages<'a>);

impl Iterator for Leases<'_> {
    type Item = Result<Lease, Failure>;

    fn next(&mut self) -> Option<Result<Lease, Failure>> {
        let lease = |value: Value| {
            Lease::from_json(&value, Place::default())
                .map_err(|bad| Failure::Unreachable(format!("a lease of the cluster: {bad}")))
        };
        Some(self.0.next()?.and_then(lease))
    }
}

impl<'a> Beside<'a> {
    /// The leases of the cluster that `client` asks.
    pub fn new(client: &'a Client) -> Beside<'a> {
        Beside { leases: Leases(Pages::new(client, Of::Cluster)).peekable() }
    }

    /// The lease of an address that is larger than all asked for before.
    pub fn at(&mut self, address: std::net::Ipv4Addr) -> Result<Option<Lease>, Failure> {
        let before = |lease: &Result<Lease, Failure>| {
            lease.as_ref().is_ok_and(|lease| lease.address < address)
        };
        while self.leases.next_if(before).is_some() {}
        let meant = |lease: &Result<Lease, Failure>| {
            lease.as_ref().map_or(true, |lease| lease.address == address)
        };
        self.leases.next_if(meant).transpose()
    }
}
