//! Filling gaps of the lease history from a peer (R23): a node that took over a snapshot, or lost a
//! segment, asks those that have what it misses.
//!
//! The newest gap first, some MiB at a time with a pause after each, so that nobody's service notices;
//! one that nobody can fill does not keep older ones open. When nobody has anything, again after some
//! minutes. The task may be stopped anywhere: what it has taken in
//! is whole, or not there.

use std::sync::Arc;
use std::time::Duration;

use leasehold_proto::history as pb;
use leasehold_proto::history::history_client::HistoryClient;
use leasehold_proto::history::history_server::{History as Rpc, HistoryServer};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::history::{History, Missing};
use crate::raft::{Guard, MESSAGE_LIMIT, Purpose, Raft, SMALL};
use crate::types::{ClusterTime, NodeId};

/// After a start, and after a round that filled everything.
const PAUSE: Duration = Duration::from_secs(30);
/// After a piece that a peer gave.
const BREATH: Duration = Duration::from_millis(500);
/// After a round in which nobody had anything.
const LATER: Duration = Duration::from_secs(600);
/// Bytes of one piece.
const PIECE: usize = 4 << 20;
/// How long a peer may take for a block.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks peers for what this node misses, for as long as it runs.
pub async fn fill(raft: Raft) {
    let Some(history) = raft.history().cloned() else { return };
    let mut pause = PAUSE;
    loop {
        sleep(pause).await;
        pause = step(&raft, &history).await;
    }
}

/// Asks once for the newest gap that somebody can fill. Answers how long to wait before the next time.
pub async fn step(raft: &Raft, history: &Arc<History>) -> Duration {
    let (own, now) = (Arc::clone(history), raft.applied().stamp);
    // Whoever looks waits for the writer, and so for the disk.
    let missing = spawn_blocking(move || own.missing(now)).await.unwrap_or_default();
    if missing.is_empty() {
        return PAUSE;
    }
    for missing in missing {
        if let Some((node, upto)) = ask_all(raft, history, &missing).await {
            tracing::info!(%node, "took in the lease history of entries {} to {upto}", missing.from);
            return BREATH;
        }
    }
    LATER
}

/// Asks one peer after the other. Answers who gave something, and up to which entry.
async fn ask_all(raft: &Raft, history: &Arc<History>, missing: &Missing) -> Option<(NodeId, u64)> {
    for member in raft.status().members {
        if member.node == raft.id() {
            continue;
        }
        match ask(raft, history, missing, member.node).await {
            Ok(Some(upto)) => return Some((member.node, upto)),
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(node = %member.node, %error, "a peer gave no lease history");
            }
        }
    }
    None
}

async fn ask(
    raft: &Raft,
    history: &Arc<History>,
    missing: &Missing,
    node: NodeId,
) -> Result<Option<u64>, Status> {
    let late = |_| Status::deadline_exceeded("the peer is too slow");
    let Some(channel) = raft.channel(node, Purpose::Snapshot) else { return Ok(None) };
    let mut client = HistoryClient::new(channel)
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let Missing { from, to, since } = *missing;
    let request = pb::FetchRequest { from, to, since: since.as_millis() };
    let mut stream = timeout(PATIENCE, client.fetch(request)).await.map_err(late)??.into_inner();
    let (mut blocks, mut bytes) = (Vec::new(), 0);
    while bytes < PIECE {
        let Some(block) = timeout(PATIENCE, stream.message()).await.map_err(late)?? else { break };
        bytes += block.framed.len();
        blocks.push(block.framed.to_vec());
    }
    let (history, missing) = (Arc::clone(history), *missing);
    let taken = spawn_blocking(move || history.take_in(&missing, &blocks)).await;
    let taken = taken.map_err(|error| Status::internal(error.to_string()))?;
    taken.map_err(|error| Status::data_loss(error.to_string()))
}

/// The gRPC service `History`.
#[derive(Debug)]
pub struct GapsService {
    guard: Guard,
    history: Option<Arc<History>>,
}

impl GapsService {
    /// A server for [`Raft::serve`]. It checks the ends of each call itself.
    pub fn server(raft: &Raft) -> HistoryServer<GapsService> {
        HistoryServer::new(GapsService { guard: raft.guard(), history: raft.history().cloned() })
            .max_decoding_message_size(SMALL)
            .max_encoding_message_size(MESSAGE_LIMIT)
    }
}

#[tonic::async_trait]
impl Rpc for GapsService {
    type FetchStream = ReceiverStream<Result<pb::Block, Status>>;

    async fn fetch(
        &self,
        request: Request<pb::FetchRequest>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        self.guard.check(&request)?;
        let pb::FetchRequest { from, to, since } = request.into_inner();
        let (sender, receiver) = mpsc::channel(1);
        let Some(history) = self.history.clone() else {
            return Err(Status::unavailable("this node keeps no lease history"));
        };
        // Ends when the peer takes no more, or with its connection.
        tokio::spawn(async move {
            let mut missing = Missing { from, to, since: ClusterTime::from_millis(since) };
            while missing.from <= missing.to {
                let (history, wanted) = (Arc::clone(&history), missing);
                let found = spawn_blocking(move || history.block_for(&wanted)).await;
                let block = match found {
                    Ok(Ok(Some((framed, next)))) if framed.len() < MESSAGE_LIMIT / 2 => {
                        missing.from = next;
                        Ok(pb::Block { framed: framed.into() })
                    }
                    Ok(Ok(_)) => return,
                    Ok(Err(error)) => Err(Status::data_loss(error.to_string())),
                    Err(error) => Err(Status::internal(error.to_string())),
                };
                let over = block.is_err();
                if sender.send(block).await.is_err() || over {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
