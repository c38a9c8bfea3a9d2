//! The receiving end of a peer's notes.

use leasehold_proto::cluster as pb;
use leasehold_proto::cluster::notes_server::{Notes, NotesServer};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Shared, wire};
use crate::raft::Guard;
use crate::types::NodeId;
use std::sync::Arc;

/// Echoes that wait to be sent. A peer that does not read them gets no more: nobody but it suffers.
const ECHOES: usize = 16;
/// More bytes than any note has.
const LARGEST: usize = 1 << 20;

/// The gRPC service `Notes`.
#[derive(Debug)]
pub struct NotesService {
    guard: Guard,
    shared: Arc<Shared>,
}

impl NotesService {
    /// A server for [`crate::raft::Raft::serve`]. It checks the ends of each call itself.
    pub(super) fn server(guard: Guard, shared: Arc<Shared>) -> NotesServer<NotesService> {
        NotesServer::new(NotesService { guard, shared })
            .max_decoding_message_size(LARGEST)
            .max_encoding_message_size(LARGEST)
    }
}

#[tonic::async_trait]
impl Notes for NotesService {
    type ExchangeStream = ReceiverStream<Result<pb::Note, Status>>;

    async fn exchange(
        &self,
        request: Request<Streaming<pb::Note>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let node = NodeId(self.guard.check(&request)?);
        let mut notes = request.into_inner();
        let (echoes, outgoing) = mpsc::channel(ECHOES);
        let shared = Arc::clone(&self.shared);
        // Ends with the peer's stream, at the latest when the connection's keep-alive fails.
        tokio::spawn(async move {
            while let Ok(Some(note)) = notes.message().await {
                shared.heard_from(node, &note);
                if note.ping != 0 {
                    let echo = pb::Note { echo: note.ping, ..pb::Note::default() };
                    let _ = echoes.try_send(Ok(shared.signed(echo)));
                }
                shared.deliver(node, wire::note_in(note));
            }
        });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}
