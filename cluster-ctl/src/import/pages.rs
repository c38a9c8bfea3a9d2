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
    page: VecDeque<Value>,
    /// Where the next page begins; `None` behind the last one.
    from: Option<String>,
}

impl<'a> Pages<'a> {
    /// Of the server that `client` asks.
    pub fn new(client: &'a Client) -> Pages<'a> {
        Pages { client, page: VecDeque::new(), from: Some("start".to_owned()) }
    }

    fn fetch(&mut self, from: &str) -> Result<(), Failure> {
        let reply = self.client.ask("lease4-get-page", json!({ "from": from, "limit": PAGE }))?;
        if reply.result == UNSUPPORTED {
            return Err(Failure::Refused(format!(
                "{}: {} A Kea has it with the hook library libdhcp_lease_cmds.so.",
                reply.node, reply.text
            )));
        }
        let mut reply = reply.success_or_empty()?;
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

/// Kea's result code for a command that it does not have.
const UNSUPPORTED: i64 = 2;

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
        Beside { leases: Leases(Pages::new(client)).peekable() }
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
