//! Brings leases into the cluster.
//!
//! In passes: each reads what the cluster has, judges what is not settled yet, and sends what is to be
//! written. When the cluster does not answer in between, or a lease changed after it was looked at, the
//! next pass looks again. The cluster writes a lease only if what was looked at is still so.

use std::net::Ipv4Addr;
use std::time::Duration;

use leasehold::clock::Stopwatch;
use serde_json::{Value, json};

use super::judge::{Verdict, judge};
use super::lease::Lease;
use super::pages::Beside;
use super::report::Report;
use crate::client::{Client, Failure, Reply};

/// Leases a request; a node takes 4096.
const BATCH: usize = 1000;
/// So often in a row the cluster may not answer, and so long each time passes in between: an election
/// takes a second.
const PATIENCE: u32 = 20;
const PAUSE: Duration = Duration::from_millis(1500);
/// So often a lease that changes while it is looked at is looked at again.
const PASSES: u32 = 20;
/// How often progress is told.
const TOLD_EVERY: Duration = Duration::from_secs(2);

/// What the operator wants of it.
#[derive(Debug, Clone, Copy)]
pub struct Wishes {
    /// Leases of other clients do not stay.
    pub overwrite: bool,
    /// Only judge.
    pub dry_run: bool,
    /// Now, Unix seconds.
    pub now: i64,
}

/// A lease on its way, and what of it could not be kept.
pub type Carried = (Lease, Option<Box<str>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// To be judged.
    Open,
    /// Sent, and nobody knows whether it was done; whether it was to be new.
    Unsure(bool),
    Settled,
}

/// Carries `leases`, which ascend by address, and notes in `report` what became of each.
///
/// # Errors
/// When the cluster refuses, or does not answer for long. `report` tells how far it came.
pub fn carry(
    client: &Client,
    leases: &[Carried],
    wishes: Wishes,
    report: &mut Report,
) -> Result<(), Failure> {
    let fates = vec![Fate::Open; leases.len()];
    let (clock, told) = (Stopwatch::start(), Duration::ZERO);
    let mut work = Work { client, leases, wishes, report, fates, settled: 0, clock, told };
    let (mut silent, mut passes) = (0, 0);
    loop {
        let before = work.settled;
        match work.pass() {
            Ok(()) if work.settled == leases.len() => return Ok(()),
            Ok(()) => {
                passes += 1;
                if passes > PASSES {
                    return Err(Failure::Refused(RESTLESS.to_owned()));
                }
            }
            Err(Failure::Unreachable(why)) => {
                silent = if work.settled > before { 1 } else { silent + 1 };
                if silent > PATIENCE {
                    return Err(Failure::Unreachable(format!(
                        "{why}\nThe import stopped after {} of {} leases. Repeat it when the cluster answers: what \
                         is there already is not touched.",
                        work.settled,
                        leases.len()
                    )));
                }
                std::thread::sleep(PAUSE);
            }
            Err(failure) => return Err(failure),
        }
    }
}

const RESTLESS: &str =
    "leases changed again and again while they were imported. Repeat the import.";

struct Work<'a> {
    client: &'a Client,
    leases: &'a [Carried],
    wishes: Wishes,
    report: &'a mut Report,
    fates: Vec<Fate>,
    settled: usize,
    clock: Stopwatch,
    told: Duration,
}

/// What is to be written: which lease, and the `cltt` of the one in whose place it comes.
type Item = (usize, Option<i64>);

impl Work<'_> {
    /// Judges everything that is open, and writes it.
    fn pass(&mut self) -> Result<(), Failure> {
        let mut beside = Beside::new(self.client);
        let mut batch: Vec<Item> = Vec::new();
        let leases = self.leases;
        for (at, (lease, _)) in leases.iter().enumerate() {
            if self.fates[at] == Fate::Settled {
                continue;
            }
            let there = beside.at(lease.address)?;
            let Wishes { now, overwrite, .. } = self.wishes;
            match judge(lease, there.as_ref(), now, overwrite) {
                Verdict::Add => batch.push((at, None)),
                Verdict::Replace(cltt) => batch.push((at, Some(cltt))),
                verdict => self.settle(at, verdict),
            }
            if batch.len() == BATCH {
                self.write(std::mem::take(&mut batch))?;
            }
        }
        self.write(batch)
    }

    /// Nothing is to be written for this one.
    fn settle(&mut self, at: usize, verdict: Verdict) {
        let (lease, _) = &self.leases[at];
        match verdict {
            // It was this import that wrote it, and the answer got lost.
            Verdict::Same if self.fates[at] == Fate::Unsure(true) => return self.taken(at, true),
            Verdict::Same if self.fates[at] == Fate::Unsure(false) => return self.taken(at, false),
            Verdict::Same => self.report.same += 1,
            Verdict::Newer => self.report.newer += 1,
            Verdict::Over => {
                self.report.over += 1;
                self.report.over_with_names += u64::from(lease.fqdn_fwd || lease.fqdn_rev);
            }
            Verdict::Taken(why) => {
                let why = format!("{why}; here it is of {lease}");
                self.report.refuse(lease.place, Some(lease.address), why);
            }
            Verdict::Add | Verdict::Replace(_) => return,
        }
        self.close(at);
    }

    fn taken(&mut self, at: usize, new: bool) {
        let (lease, note) = &self.leases[at];
        if new {
            self.report.added += 1
        } else {
            self.report.replaced += 1
        }
        if let Some(note) = note {
            self.report.change(lease.place, lease.address, note.clone());
        }
        self.close(at);
    }

    fn close(&mut self, at: usize) {
        self.fates[at] = Fate::Settled;
        self.settled += 1;
        let elapsed = self.clock.elapsed();
        if elapsed >= self.told + TOLD_EVERY {
            self.told = elapsed;
            eprintln!("{} of {} leases", self.settled, self.leases.len());
        }
    }

    fn write(&mut self, mut items: Vec<Item>) -> Result<(), Failure> {
        if self.wishes.dry_run {
            items.iter().for_each(|(at, cltt)| self.taken(*at, cltt.is_none()));
            return Ok(());
        }
        while !items.is_empty() {
            let reply = match self.client.ask("lease4-bulk-apply", self.request(&items)) {
                Ok(reply) => reply,
                Err(failure) => {
                    items.iter().for_each(|item| self.unsure(*item));
                    return Err(failure);
                }
            };
            match (reply.result, culprit(&reply.text)) {
                (0 | 3, _) => return self.written(&items, &reply),
                // The call was refused for one item; nothing was done.
                (_, Some((nth, why))) if nth < items.len() => {
                    let (at, _) = items.remove(nth);
                    self.refuse(at, &why);
                }
                (_, _) => {
                    self.written(&items, &reply)?;
                    return Err(Failure::Unreachable(reply.text));
                }
            }
        }
        Ok(())
    }

    fn request(&self, items: &[Item]) -> Value {
        let argument = |(at, cltt): &Item| {
            let mut map = self.leases[*at].0.arguments();
            if let Some(cltt) = cltt {
                map["expected-cltt"] = (*cltt).into();
            }
            map
        };
        json!({ "only-new": true, "leases": items.iter().map(argument).collect::<Vec<_>>() })
    }

    /// Reads of each item what became of it.
    fn written(&mut self, items: &[Item], reply: &Reply) -> Result<(), Failure> {
        let failed = reply.arguments["failed-leases"].as_array().map_or(&[][..], Vec::as_slice);
        let whole = matches!(reply.result, 0 | 3);
        if !whole && failed.is_empty() {
            items.iter().for_each(|item| self.unsure(*item));
            return Ok(());
        }
        let mut failed = failed.iter().peekable();
        for (at, cltt) in items.iter().copied() {
            let address = self.leases[at].0.address;
            // In the order of the request.
            let meant = |value: &&Value| {
                value["ip-address"].as_str().and_then(|text| text.parse().ok()) == Some(address)
            };
            let text =
                |value: &Value| value["error-message"].as_str().unwrap_or_default().to_owned();
            match failed.next_if(meant).map(|value| (value["result"].as_i64(), text(value))) {
                None => self.taken(at, cltt.is_none()),
                // Somebody was faster: the next pass sees who.
                Some((Some(4), text)) if meanwhile(&text, address) => self.fates[at] = Fate::Open,
                Some((result, text)) if whole || result == Some(4) => self.refuse(at, &text),
                Some(_) => self.unsure((at, cltt)),
            }
        }
        Ok(())
    }

    fn unsure(&mut self, (at, cltt): Item) {
        self.fates[at] = Fate::Unsure(cltt.is_none());
    }

    fn refuse(&mut self, at: usize, why: &str) {
        let (lease, _) = &self.leases[at];
        self.report.refuse(lease.place, Some(lease.address), why);
        self.close(at);
    }
}

/// Whether a lease was not written because of another that came or went.
fn meanwhile(text: &str, address: Ipv4Addr) -> bool {
    text == "IPv4 lease already exists."
        || text.starts_with(&format!("failed to update the lease with address {address} either"))
}

/// The item that a whole request was refused for: `leases[7]: why`.
fn culprit(text: &str) -> Option<(usize, String)> {
    let (nth, why) = text.strip_prefix("leases[")?.split_once("]: ")?;
    Some((nth.parse().ok()?, why.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_of_one_item_is_understood() {
        assert_eq!(culprit("leases[7]: missing parameter"), Some((7, "missing parameter".into())));
        assert_eq!(culprit("The cluster does not answer: no leader"), None);
        let address = Ipv4Addr::new(192, 0, 2, 1);
        // The words are the node's (`api/commands/lease4/change.rs`).
        let changed = "failed to update the lease with address 192.0.2.1 either because the lease has been deleted";
        assert!(meanwhile(changed, address) && meanwhile("IPv4 lease already exists.", address));
        assert!(!meanwhile(
            "Invalid subnet-id: No IPv4 subnet with subnet-id=9 currently configured.",
            address
        ));
    }
}
