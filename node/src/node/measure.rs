//! How long the replicated log takes, measured with commands that change nothing.
//!
//! Each is a Grant whose time was over before it began (R2a) and that asks for no address. It is proposed, sent to
//! the leader, written, replicated and applied as the Grants of clients are, and whatever becomes of it, it cannot
//! bind anything; the machine's content stays as it is.
//!
//! Clients come first: no more than [`IN_FLIGHT`] wait at any time, an eighth of what the proposer has room for.
//! Stopping half-way is safe: what is on its way changes nothing.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::api::LogMeasured;
use crate::clock::Stopwatch;
use crate::propose::{self, Answer, Proposer};
use crate::state::{Client, Command, ConfigVersion, Grant, Origin};
use crate::types::{ClusterTime, HwAddr, NodeId};

/// How long one measurement lasts.
const LASTS: Duration = Duration::from_secs(1);
/// How long an outcome is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often commands begin.
const TICK: Duration = Duration::from_millis(5);
/// The most of ours that wait.
const IN_FLIGHT: usize = propose::batch::QUEUE / 8;

/// The command that changes nothing; about as long as a client's.
fn nothing(node: NodeId) -> Command {
    Command::Grant(Grant {
        origin: Origin { node, incarnation: 0, sequence: 0 },
        not_after: ClusterTime::ZERO,
        config: ConfigVersion(0),
        client: Client {
            id: None,
            hw: HwAddr::ethernet([2, 0, 0, 0, 0, 0]),
            match_id: true,
            claims: None,
        },
        items: Vec::new(),
        hostname: "measurement-of-the-log".to_owned(),
        fqdn_fwd: false,
        fqdn_rev: false,
        identity: Ipv4Addr::UNSPECIFIED,
        relay_info: Some([0; 64].into()),
        checked: false,
    })
}

/// Proposes `rate` commands in a second, whatever becomes of them.
pub(super) async fn measure(proposer: &Proposer, node: NodeId, rate: u32) -> LogMeasured {
    let mut measured = LogMeasured::default();
    let command = Arc::new(nothing(node));
    let mut flights: JoinSet<Option<u32>> = JoinSet::new();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (watch, mut begun) = (Stopwatch::start(), 0);
    loop {
        tick.tick().await;
        while let Some(landed) = flights.try_join_next() {
            measured.take(landed.ok().flatten());
        }
        let elapsed = watch.elapsed().min(LASTS);
        let due = (elapsed.as_secs_f64() / LASTS.as_secs_f64() * f64::from(rate)) as u32;
        for _ in begun..due {
            if flights.len() >= IN_FLIGHT {
                measured.left_out += 1;
                continue;
            }
            let (proposer, command) = (proposer.clone(), Arc::clone(&command));
            flights.spawn(async move {
                let watch = Stopwatch::start();
                match proposer.submit((*command).clone(), PATIENCE).await {
                    Answer::Committed(_) => u32::try_from(watch.elapsed().as_micros()).ok(),
                    Answer::Unknown | Answer::Unsent(_) => None,
                }
            });
        }
        begun = due;
        if elapsed >= LASTS {
            break;
        }
    }
    while let Some(landed) = flights.join_next().await {
        measured.take(landed.ok().flatten());
    }
    measured
}

impl LogMeasured {
    fn take(&mut self, micros: Option<u32>) {
        match micros {
            Some(micros) => self.micros.push(micros),
            None => self.failed += 1,
        }
    }
}

#[cfg(test)]
#[path = "measure_tests.rs"]
mod tests;
