//! `GET /v1/snapshot`: a backup of the whole machine from one applied index, as `cluster-ctl snapshot
//! save` writes it to a file.
//!
//! There are secrets in it, those of the configuration; so it is for those who may change things. It is
//! made from a frozen view on a thread beside the serving ones, never more than a few pieces ahead of its
//! reader. What goes wrong, goes wrong in the middle: the file ends with a checksum of its own, and one
//! that was cut off never passes for a backup.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::leases::{MOST_TIME, PIECE, Piece, Pieces};
use super::{APPLIED_INDEX, Call, Parameter, Route, Takes, parameter};
use crate::api::http::refuse;
use crate::api::spec::Access;
use crate::clock::Stopwatch;

/// The route.
pub const ROUTE: Route = Route {
    path: "/v1/snapshot",
    about: "A backup of the whole cluster: leases, configuration and what else is replicated, from one applied \
            index, in one file with checksums that `cluster-ctl snapshot` reads. It has the secrets of the \
            configuration in it.",
    access: Access::Write,
    parameters: PARAMETERS,
    produces: &[(KIND, "Backup")],
    run: |call| Box::pin(snapshot(call)),
};

const PARAMETERS: &[Parameter] = &[parameter(
    "consistency",
    Takes::Word(&["linearizable", "local"]),
    "`linearizable` (default): everything that was acknowledged anywhere before. `local`: what this node has, \
     also without a leader.",
)];

const KIND: &str = "application/octet-stream";

async fn snapshot(call: Call) -> Response {
    let Call { api, query, at_work, .. } = call;
    if query.get("consistency") != Some("local")
        && let Err(cause) = api.dispatcher.barrier().await
    {
        let text = format!(
            "The cluster does not answer: {cause}. With consistency=local this node answers from what it has."
        );
        return refuse(StatusCode::SERVICE_UNAVAILABLE, &text);
    }
    let Ok(turn) = Arc::clone(&api.streams).try_acquire_owned() else {
        let text = "Too many long answers are under way, try again later";
        return refuse(StatusCode::SERVICE_UNAVAILABLE, text);
    };
    let backup = api.dispatcher.backend().backup();
    let applied = backup.header().index().to_string();
    let (sender, pieces) = mpsc::channel(1);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let _held = (turn, at_work);
        let mut out = Sending { piece: Vec::new(), sender, runtime, since: Stopwatch::start() };
        // An answer that could not be finished ends without its end, which is all that there is to say.
        if backup.write(&mut out).is_ok() {
            let _ = out.send(Piece::End);
        }
    });
    let body = Body::from_stream(Pieces::new(pieces));
    ([(CONTENT_TYPE.as_str(), KIND), (APPLIED_INDEX, &*applied)], body).into_response()
}

/// Writes into an answer, piece by piece, and waits for its reader: not for ever.
struct Sending {
    piece: Vec<u8>,
    sender: mpsc::Sender<Piece>,
    runtime: Handle,
    since: Stopwatch,
}

impl Sending {
    fn send(&self, piece: Piece) -> io::Result<()> {
        let left = MOST_TIME.saturating_sub(self.since.elapsed()).max(Duration::from_millis(1));
        let sent = self.runtime.block_on(tokio::time::timeout(left, self.sender.send(piece)));
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.piece);
        self.send(Piece::Bytes(Bytes::from(piece)))
    }
}
