//! The leader's end: batches that followers forward become log entries as they come. A node that
//! does not lead says so and names the leader it knows; it never passes a batch on, so that none can
//! go in circles.

use std::time::Duration;

use leasehold_proto::cluster as pb;
use leasehold_proto::cluster::answer::Result as Wire;
use leasehold_proto::cluster::proposals_server::{Proposals, ProposalsServer};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::batch::MOST_IN_FLIGHT;
use crate::observe::quiet::seldom;
use crate::raft::{Applied, Guard, MESSAGE_LIMIT, ProposeError, Raft};
use crate::state::wire;

/// How long a batch may be on its way before its sender is told that nothing is known. The sender's
/// own clients have given up long before.
const PATIENCE: Duration = Duration::from_secs(10);

/// The gRPC service `Proposals`.
#[derive(Debug)]
pub struct ProposalsService {
    raft: Raft,
    guard: Guard,
}

impl ProposalsService {
    /// A server for [`Raft::serve`]. It checks the ends of each call itself.
    pub fn server(raft: &Raft) -> ProposalsServer<ProposalsService> {
        ProposalsServer::new(ProposalsService { raft: raft.clone(), guard: raft.guard() })
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT)
    }
}

#[tonic::async_trait]
impl Proposals for ProposalsService {
    type ProposeStream = ReceiverStream<Result<pb::Answer, Status>>;

    async fn propose(
        &self,
        request: Request<Streaming<pb::Proposal>>,
    ) -> Result<Response<Self::ProposeStream>, Status> {
        self.guard.check(&request)?;
        let (answers, outgoing) = mpsc::channel(2 * MOST_IN_FLIGHT);
        // Ends with the sender's stream; batches on their way may still be committed (R3).
        tokio::spawn(serve(self.raft.clone(), request.into_inner(), answers));
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

async fn serve(
    raft: Raft,
    mut proposals: Streaming<pb::Proposal>,
    answers: mpsc::Sender<Result<pb::Answer, Status>>,
) {
    let mut flights = JoinSet::new();
    loop {
        tokio::select! {
            Some(landed) = flights.join_next() => {
                let Ok(answer) = landed else { continue };
                if answers.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
            // A sender that has too many on their way waits.
            proposal = proposals.message(), if flights.len() < 2 * MOST_IN_FLIGHT => match proposal {
                Ok(Some(proposal)) => _ = flights.spawn(answer(raft.clone(), proposal)),
                Ok(None) | Err(_) => return,
            },
        }
    }
}

async fn answer(raft: Raft, proposal: pb::Proposal) -> pb::Answer {
    let result = match wire::decode_batch(&proposal.commands) {
        Ok(batch) => match timeout(PATIENCE, raft.propose(batch.commands)).await {
            Ok(result) => result_out(result),
            Err(_) => unknown("no majority in time"),
        },
        // What this version cannot read it must not commit.
        Err(error) => {
            seldom!(warn, "batch", %error, "a forwarded batch cannot be read");
            Wire::NotLeader(pb::NotLeader { leader: 0 })
        }
    };
    pb::Answer { batch: proposal.batch, result: Some(result) }
}

fn result_out(result: Result<Applied, ProposeError>) -> Wire {
    match result {
        Ok(Applied { index, stamp, outcomes }) => Wire::Outcomes(pb::Outcomes {
            index,
            stamp: stamp.as_millis(),
            outcomes: wire::encode_outcomes(&outcomes),
        }),
        Err(ProposeError::NotLeader(leader)) => {
            Wire::NotLeader(pb::NotLeader { leader: leader.map_or(0, |leader| leader.0) })
        }
        Err(ProposeError::Stopped | ProposeError::TooMany) => {
            Wire::NotLeader(pb::NotLeader { leader: 0 })
        }
        Err(ProposeError::Unknown) => unknown("the leadership was lost"),
    }
}

fn unknown(reason: &str) -> Wire {
    Wire::Unknown(pb::Unknown { reason: reason.to_owned() })
}
