//! The server's side of `raft.proto`: hands openraft what peers say. [`super::Guard`] stands before
//! it.

use std::io::{self, Write};
use std::pin::Pin;

use leasehold_proto::raft as proto;
use leasehold_proto::raft::raft_server::Raft;
use tokio::task::spawn_blocking;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::machine::SnapshotData;
use super::typ::{AppendResponse, Core, Snapshot, StreamAppendError, StreamAppendResult};
use super::wire;
use crate::observe::quiet::seldom;
use crate::storage::Snapshots;

/// Serves `raft.proto`.
#[derive(Debug)]
pub(super) struct RaftService {
    core: Core,
    snapshots: Snapshots,
}

impl RaftService {
    pub(super) fn new(core: Core, snapshots: Snapshots) -> RaftService {
        RaftService { core, snapshots }
    }
}

/// openraft has stopped, or is about to: the peer should look elsewhere.
fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

fn disk(error: io::Error) -> Status {
    Status::internal(format!("receiving a snapshot: {error}"))
}

#[tonic::async_trait]
impl Raft for RaftService {
    async fn append(
        &self,
        request: Request<proto::AppendRequest>,
    ) -> Result<Response<proto::AppendResponse>, Status> {
        let request = wire::append_in(request.into_inner())?;
        let previous = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id).or(previous);
        let result: StreamAppendResult =
            match self.core.append_entries(request).await.map_err(stopped)? {
                AppendResponse::Success => Ok(last),
                AppendResponse::PartialSuccess(matched) => Ok(matched),
                AppendResponse::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote)),
                AppendResponse::Conflict => match previous {
                    Some(previous) => Err(StreamAppendError::Conflict(previous)),
                    None => return Err(Status::internal("a conflict with the log's beginning")),
                },
            };
        Ok(Response::new(wire::stream_result_out(result)))
    }

    type AppendStreamStream =
        Pin<Box<dyn Stream<Item = Result<proto::AppendResponse, Status>> + Send>>;

    async fn append_stream(
        &self,
        request: Request<Streaming<proto::AppendRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        // A broken or malformed stream ends; the leader opens another.
        let requests = request.into_inner().map_while(|message| {
            let request = wire::append_in(message.ok()?);
            request
                .inspect_err(|error| {
                    seldom!(warn, "append", %error, "ending a stream of appends");
                })
                .ok()
        });
        let results = self.core.stream_append(requests);
        let responses = results.map(|result| match result {
            Ok(result) => Ok(wire::stream_result_out(result)),
            Err(fatal) => Err(stopped(fatal)),
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn vote(
        &self,
        request: Request<proto::VoteRequest>,
    ) -> Result<Response<proto::VoteResponse>, Status> {
        let request = wire::vote_request_in(request.into_inner())?;
        let response = self.core.vote(request).await.map_err(stopped)?;
        Ok(Response::new(wire::vote_response_out(&response)))
    }

    async fn pre_vote(
        &self,
        request: Request<proto::VoteRequest>,
    ) -> Result<Response<proto::VoteResponse>, Status> {
        let request = wire::vote_request_in(request.into_inner())?;
        let response = self.core.pre_vote(request).await.map_err(stopped)?;
        Ok(Response::new(wire::vote_response_out(&response)))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<proto::SnapshotChunk>>,
    ) -> Result<Response<proto::SnapshotResponse>, Status> {
        use proto::snapshot_chunk::Part;
        let mut pieces = request.into_inner();
        let Some(Part::Head(head)) = pieces.message().await?.and_then(|first| first.part) else {
            return Err(Status::invalid_argument("a snapshot must begin with its head"));
        };
        let vote = wire::vote_in(head.vote)?;
        let meta = wire::meta_in(head.meta)?;
        let mut draft = self.snapshots.receive().map_err(disk)?;
        let mut left = head.bytes;
        while let Some(piece) = pieces.message().await? {
            let Some(Part::Data(data)) = piece.part else {
                return Err(Status::invalid_argument("a snapshot has one head"));
            };
            left = left
                .checked_sub(data.len() as u64)
                .ok_or_else(|| Status::invalid_argument("a snapshot is longer than announced"))?;
            draft = spawn_blocking(move || {
                draft.file()?.write_all(&data)?;
                Ok(draft)
            })
            .await
            .map_err(stopped)?
            .map_err(disk)?;
        }
        if left > 0 {
            return Err(Status::aborted("the snapshot ended early"));
        }
        let snapshot = Snapshot { meta, snapshot: SnapshotData::Received(draft) };
        let response = self.core.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
        Ok(Response::new(proto::SnapshotResponse { vote: Some(wire::vote_out(&response.vote)) }))
    }

    async fn transfer_leader(
        &self,
        request: Request<proto::TransferRequest>,
    ) -> Result<Response<proto::TransferResponse>, Status> {
        let request = wire::transfer_in(request.into_inner())?;
        let response = self.core.handle_transfer_leader(request).await.map_err(stopped)?;
        Ok(Response::new(wire::transfer_response_out(response)))
    }
}
