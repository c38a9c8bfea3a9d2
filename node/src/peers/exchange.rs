//! The sending end: one task for each peer keeps one stream open, and pings on it.

use std::sync::Arc;
use std::time::Duration;

use leasehold_proto::cluster as pb;
use leasehold_proto::cluster::notes_client::NotesClient;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Shared, wire};
use crate::peers::notes::Note;
use crate::raft::{MESSAGE_LIMIT, Purpose, REMOVED};
use crate::types::NodeId;

/// How often a peer is pinged.
pub const PING_EVERY: Duration = Duration::from_millis(100);
/// Notes that wait for one peer: a second's worth and the immediate ones. A full queue drops the
/// new note; the next one tells the rest.
pub const QUEUE: usize = 256;
/// How long opening a stream may take.
const OPEN: Duration = Duration::from_secs(1);
/// Pause before another try.
const PAUSE: Duration = Duration::from_millis(200);

/// Talks to `node` until the queue's sender is gone. May be stopped anywhere: notes are best effort.
pub(super) async fn exchange(shared: Arc<Shared>, node: NodeId, mut queue: mpsc::Receiver<Note>) {
    loop {
        // Why it ended shows in the peer's silence, which is watched.
        let ended: Result<(), Status> = talk(&shared, node, &mut queue).await;
        if ended.is_err_and(|status| status.metadata().contains_key(REMOVED)) {
            shared.raft.told_removed(node.0);
        }
        if queue.is_closed() && queue.is_empty() {
            return;
        }
        sleep(PAUSE).await;
        // What waited meanwhile is old; the peer gets a fresh account when it is there again.
        while queue.try_recv().is_ok() {}
    }
}

async fn talk(
    shared: &Shared,
    node: NodeId,
    queue: &mut mpsc::Receiver<Note>,
) -> Result<(), Status> {
    let channel = shared
        .raft
        .channel(node, Purpose::Notes)
        .ok_or_else(|| Status::not_found("no such member"))?;
    let mut client = NotesClient::new(channel)
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let (outgoing, stream) = mpsc::channel(QUEUE);
    let opened = timeout(OPEN, client.exchange(ReceiverStream::new(stream))).await;
    let mut echoes = opened.map_err(|_| Status::deadline_exceeded("no answer"))??.into_inner();
    shared.connected(node);
    let mut ping = interval(PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let note = tokio::select! {
            note = queue.recv() => match note {
                Some(note) => shared.signed(wire::note_out(note)),
                None => return Ok(()),
            },
            _ = ping.tick() => {
                shared.signed(pb::Note { ping: shared.now_micros(), ..pb::Note::default() })
            }
            echo = echoes.message() => {
                let Some(echo) = echo? else { return Ok(()) };
                shared.heard_from(node, &echo);
                shared.echoed(node, echo.echo);
                continue;
            }
        };
        if let Err(mpsc::error::TrySendError::Closed(_)) = outgoing.try_send(note) {
            return Ok(());
        }
    }
}
