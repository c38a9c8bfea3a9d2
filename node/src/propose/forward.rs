//! The way of a batch: into this node's own Raft while it leads, else over one kept stream to the
//! leader.
//!
//! One rule for failures: what certainly was not handed over is [`batch::Result::NotProposed`], and
//! everything else without an answer is [`batch::Result::Lost`]. Whether to try again is the
//! batcher's business.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use leasehold_proto::cluster as pb;
use leasehold_proto::cluster::answer::Result as Wire;
use leasehold_proto::cluster::proposals_client::ProposalsClient;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::Transport;
use super::batch::{self, MOST_IN_FLIGHT, Route};
use crate::raft::{Applied, MESSAGE_LIMIT, ProposeError, Purpose, Raft};
use crate::state::{Batch, Command, wire};
use crate::types::{ClusterTime, NodeId};

/// How long opening a stream may take.
const OPEN: Duration = Duration::from_secs(1);

/// Carries batches to whoever leads.
#[derive(Debug)]
pub struct ToLeader {
    raft: Raft,
    /// The stream to the node that leads, or led a moment ago.
    stream: Mutex<Option<(NodeId, mpsc::Sender<Job>)>>,
}

/// One batch for the stream.
#[derive(Debug)]
struct Job {
    commands: Bytes,
    fate: oneshot::Sender<batch::Result>,
}

impl ToLeader {
    /// The transport of the node that `raft` belongs to.
    pub fn new(raft: Raft) -> ToLeader {
        ToLeader { raft, stream: Mutex::default() }
    }

    fn queue(&self, leader: NodeId) -> mpsc::Sender<Job> {
        let mut stream = self.stream.lock();
        if let Some((node, queue)) = &*stream
            && *node == leader
            && !queue.is_closed()
        {
            return queue.clone();
        }
        // Dropping the old queue ends the old stream, and what it carries is lost.
        let (queue, jobs) = mpsc::channel(2 * MOST_IN_FLIGHT);
        tokio::spawn(keep_stream(self.raft.clone(), leader, jobs));
        *stream = Some((leader, queue.clone()));
        queue
    }
}

impl Transport for ToLeader {
    async fn send(&self, route: Route, commands: Vec<Command>) -> batch::Result {
        let leader = match route {
            Route::Nowhere => return batch::Result::NotProposed,
            Route::Here => return proposed(self.raft.propose(commands).await),
            Route::To(leader) => leader,
        };
        let commands = wire::encode_batch(&Batch { stamp: ClusterTime::ZERO, commands });
        let (fate, answer) = oneshot::channel();
        match self.queue(leader).try_send(Job { commands, fate }) {
            Ok(()) => answer.await.unwrap_or(batch::Result::Lost),
            Err(_) => batch::Result::NotProposed,
        }
    }

    fn level(&self) -> u32 {
        self.raft.level()
    }
}

fn proposed(result: Result<Applied, ProposeError>) -> batch::Result {
    match result {
        Ok(Applied { index, stamp, outcomes }) => batch::Result::Applied { index, stamp, outcomes },
        Err(ProposeError::NotLeader(_) | ProposeError::TooMany) => batch::Result::NotProposed,
        Err(ProposeError::Unknown) => batch::Result::Lost,
        Err(ProposeError::Stopped) => batch::Result::Stopped,
    }
}

/// Keeps the stream to one leader while there are jobs for it. Ends when the queue is dropped.
async fn keep_stream(raft: Raft, leader: NodeId, mut jobs: mpsc::Receiver<Job>) {
    while let Some(first) = jobs.recv().await {
        match open(&raft, leader).await {
            Some((outgoing, answers)) => carry(first, &mut jobs, &outgoing, answers).await,
            None => {
                let _ = first.fate.send(batch::Result::NotProposed);
                while let Ok(job) = jobs.try_recv() {
                    let _ = job.fate.send(batch::Result::NotProposed);
                }
            }
        }
    }
}

async fn open(
    raft: &Raft,
    leader: NodeId,
) -> Option<(mpsc::Sender<pb::Proposal>, Streaming<pb::Answer>)> {
    let channel = raft.channel(leader, Purpose::Forward)?;
    let mut client = ProposalsClient::new(channel)
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let (outgoing, stream) = mpsc::channel(2 * MOST_IN_FLIGHT);
    let opened = timeout(OPEN, client.propose(ReceiverStream::new(stream))).await;
    Some((outgoing, opened.ok()?.ok()?.into_inner()))
}

/// Carries jobs until the stream or the queue ends.
async fn carry(
    first: Job,
    jobs: &mut mpsc::Receiver<Job>,
    outgoing: &mpsc::Sender<pb::Proposal>,
    mut answers: Streaming<pb::Answer>,
) {
    let mut open: HashMap<u64, oneshot::Sender<batch::Result>> = HashMap::new();
    let mut next = 1;
    let mut job = Some(first);
    loop {
        if let Some(Job { commands, fate }) = job.take() {
            match outgoing.try_send(pb::Proposal { batch: next, commands }) {
                Ok(()) => _ = open.insert(next, fate),
                Err(_) => _ = fate.send(batch::Result::NotProposed),
            }
            next += 1;
        }
        // Callers that gave up leave nothing behind.
        open.retain(|_, fate| !fate.is_closed());
        tokio::select! {
            more = jobs.recv() => match more {
                Some(more) => job = Some(more),
                None => break,
            },
            answer = answers.message() => match answer {
                Ok(Some(answer)) => {
                    if let Some(fate) = open.remove(&answer.batch) {
                        let _ = fate.send(fate_of(answer.result));
                    }
                }
                Ok(None) | Err(_) => break,
            },
        }
    }
    for (_, fate) in open {
        let _ = fate.send(batch::Result::Lost);
    }
}

fn fate_of(answer: Option<Wire>) -> batch::Result {
    match answer {
        Some(Wire::Outcomes(outcomes)) => match wire::decode_outcomes(&outcomes.outcomes) {
            Ok(list) => batch::Result::Applied {
                index: outcomes.index,
                stamp: ClusterTime::from_millis(outcomes.stamp),
                outcomes: list,
            },
            // A leader that speaks another language has committed it all the same.
            Err(_) => batch::Result::Lost,
        },
        Some(Wire::NotLeader(_)) => batch::Result::NotProposed,
        Some(Wire::Unknown(_)) | None => batch::Result::Lost,
    }
}

/// Who leads, told when it changes. The task ends with Raft.
pub fn follow_leader(raft: &Raft) -> watch::Receiver<Route> {
    use openraft::async_runtime::watch::WatchReceiver;
    let me = raft.id();
    let mut metrics = raft.core().server_metrics();
    let route_of = move |leader: Option<u64>| match leader.map(NodeId) {
        None => Route::Nowhere,
        Some(leader) if leader == me => Route::Here,
        Some(leader) => Route::To(leader),
    };
    let (sender, receiver) = watch::channel(route_of(metrics.borrow_watched().current_leader));
    tokio::spawn(async move {
        while metrics.changed().await.is_ok() && !sender.is_closed() {
            let route = route_of(metrics.borrow_watched().current_leader);
            sender.send_if_modified(|old| std::mem::replace(old, route) != route);
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Outcome;

    #[test]
    fn only_a_clear_no_counts_as_not_proposed() {
        let outcomes = wire::encode_outcomes(&[Outcome::Noted]);
        let good = pb::Outcomes { index: 7, stamp: 70, outcomes };
        let applied = fate_of(Some(Wire::Outcomes(good)));
        assert!(
            matches!(applied, batch::Result::Applied { index: 7, outcomes, .. } if outcomes == [Outcome::Noted])
        );
        let garbage = pb::Outcomes { index: 7, stamp: 70, outcomes: Bytes::from_static(&[255; 9]) };
        assert!(matches!(fate_of(Some(Wire::Outcomes(garbage))), batch::Result::Lost));
        assert!(matches!(
            fate_of(Some(Wire::NotLeader(pb::NotLeader { leader: 2 }))),
            batch::Result::NotProposed
        ));
        assert!(matches!(
            fate_of(Some(Wire::Unknown(pb::Unknown::default()))),
            batch::Result::Lost
        ));
        assert!(matches!(fate_of(None), batch::Result::Lost));
        assert!(matches!(proposed(Err(ProposeError::Unknown)), batch::Result::Lost));
        assert!(matches!(proposed(Err(ProposeError::NotLeader(None))), batch::Result::NotProposed));
    }
}
