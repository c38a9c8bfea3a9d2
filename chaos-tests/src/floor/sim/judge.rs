//! The judgement of a quiet moment: what clients were promised, against what the nodes have.

use leasehold::state::{LeaseState, State};
use leasehold::types::ClusterTime;

use crate::oracle::history::Count;
use crate::oracle::stale_nak::Refusal;
use crate::oracle::{
    Breach, ClientId, Held, History, Promise, agreement, durable_ack, no_phantom, release_scope,
    stale_nak, unique_address,
};

/// Checks every promise over the ledger and one node's machine. `now` is the moment of the run, `cluster` the leader's clock then.
pub fn node(
    history: &History,
    node: u64,
    state: &State,
    now: u64,
    cluster: ClusterTime,
    note: &mut impl FnMut(&'static str, String),
) {
    if let Err(what) = state.check() {
        note("invariants", format!("node {node}: {what}"));
    }
    let held: Vec<Held> = state
        .freeze()
        .leases()
        .filter(|lease| lease.state == LeaseState::Assigned)
        .map(|lease| Held {
            address: lease.address,
            client: ClientId::from_mac(lease.hw.bytes()),
            // The end that counts is the one until which nobody else gets it (R6).
            ends: (now + lease.reserved_until.as_millis()).saturating_sub(cluster.as_millis()),
        })
        .collect();
    // In a storm a node's estimate of cluster time is behind, and a repeat is then told a little too much (`told` in
    // `dhcp::v4::respond`): less than the 2 s of grace at least that each lease has (R7).
    let tolerance = durable_ack::Tolerance { early: 1_500, late: None };
    let promises = history.promises(Count::FromAsked);
    each("durable", durable_ack::check(&promises, &held, now, tolerance), note);
    each("release", release_scope::check(history, &promises, &held, now), note);
    each("phantom", no_phantom::check(history, &held), note);
}

/// Checks what the ledger alone shows. `may_refuse`: whether a client may be refused what it was promised.
pub fn ledger(
    history: &History,
    may_refuse: impl Fn(&Promise, Refusal) -> bool,
    note: &mut impl FnMut(&'static str, String),
) {
    each("unique", unique_address::check(&history.promises(Count::FromAsked)), note);
    each("stale nak", stale_nak::check_but(history, may_refuse), note);
    each("answers", agreement::check_acks(history), note);
}

fn each(promise: &'static str, breaches: Vec<Breach>, note: &mut impl FnMut(&'static str, String)) {
    for breach in breaches {
        note(promise, breach.0);
    }
}
