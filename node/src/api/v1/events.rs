//! `GET /v1/events`: what happens to leases and configuration, as server-sent events (WHATWG HTML
//! §9.2), from the applied state of any node.
//!
//! An event is sent only after its entry was committed and applied here. Its id is `INDEX.OFFSET`, the
//! same on every node, so that a client goes on where it was, at another node if it must: with
//! `Last-Event-ID`, or with `from`.
//!
//! Nothing is kept for a client but some pieces of text: each stream reads on from its position, in
//! memory or in files, when its client takes more. A client that takes nothing for [`STALLED`] is told
//! so in a last message and let go; what it missed is there when it comes back. What the history does
//! not have any more, or never had on this node, is told: at the beginning by 410, later by an event
//! `gap`.
//!
//! Between events a comment says that the stream lives, under the id up to which everything has been
//! sent: so a filter does not make a client read again what it does not want.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_stream::Stream;

use super::{Bad, Call, Parameter, Query, Route, Takes, parameter};
use crate::api::connections::AtWork;
use crate::api::http::refuse;
use crate::api::spec::Access;
use crate::history::{Chunk, Gone, History, NotRead, Record};
use crate::state::{Kind, Position};
use crate::types::SubnetId;

/// Streams at once, all connections together.
pub const FOLLOWERS: usize = 64;
/// Between two signs of life.
const ALIVE: Duration = Duration::from_secs(15);
/// How long a client may take nothing.
const STALLED: Duration = Duration::from_secs(10);
/// Pieces on their way to one client.
const PIECES: usize = 4;
/// Events of one piece, about.
const PIECE: usize = 256;
/// Between two looks while the writer has what is wanted in its hands.
const SOON: Duration = Duration::from_millis(50);

/// The route.
pub const ROUTE: Route = Route {
    path: "/v1/events",
    about: "What happens to leases and configuration, as server-sent events, each after its entry was committed and \
            applied on this node. 410 when the position is older than what is kept; the answer names the first one.",
    access: Access::Read,
    parameters: PARAMETERS,
    produces: &[("text/event-stream", "Event")],
    run: |call| Box::pin(events(call)),
};

const PARAMETERS: &[Parameter] = &[
    parameter(
        "from",
        Takes::Text,
        "Begin at this position, `INDEX` or `INDEX.OFFSET`, itself included. The header `Last-Event-ID` begins behind \
         the position it names. Without both: what happens from now on.",
    ),
    parameter(
        "kind",
        Takes::Text,
        "Only these kinds, with commas between them: `bound`, `renewed`, `released`, `expired`, `declined`, `in-use`, \
         `recovered`, `moved`, `written`, `deleted`, `configured`.",
    ),
    parameter(
        "subnet-id",
        Takes::Text,
        "Only of this subnet, or of these, with commas between them.",
    ),
];

async fn events(call: Call) -> Response {
    let Call { api, query, headers, at_work, .. } = call;
    let asked = Filter::parse(&query).and_then(|filter| Ok((filter, from(&query, &headers)?)));
    let (filter, from) = match asked {
        Ok(asked) => asked,
        Err(Bad(text)) => return refuse(StatusCode::BAD_REQUEST, &text),
    };
    let Some(history) = api.dispatcher.backend().history() else {
        let text = "this node keeps no lease history, see its log; ask another node";
        return refuse(StatusCode::SERVICE_UNAVAILABLE, text);
    };
    let Ok(turn) = Arc::clone(&api.followers).try_acquire_owned() else {
        let text = format!("{FOLLOWERS} streams are open on this node already; try another node");
        return refuse(StatusCode::SERVICE_UNAVAILABLE, &text);
    };
    let position = from.unwrap_or_else(|| history.end());
    // Only to see whether it is there: it is read again when the client takes it.
    match read(&history, position).await {
        Ok(_) => {}
        Err(NotRead::Gone(Gone { first })) => return gone(position, first),
        Err(NotRead::Io(error)) => {
            let text = format!("the lease history cannot be read: {error}");
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, &text);
        }
    }
    let (pieces, receiver) = mpsc::channel(PIECES);
    let last = Arc::new(Mutex::new(None));
    let follower = Follower {
        history,
        filter,
        position,
        pieces,
        last: Arc::clone(&last),
        _held: (turn, at_work),
    };
    tokio::spawn(follower.run());
    let body = Body::from_stream(Pieces { receiver, last });
    ([(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")], body).into_response()
}

fn gone(position: Position, first: Position) -> Response {
    let text = format!(
        "this node has no events of {position}: its history goes on at {first}. Read the leases anew, or ask a node \
         that has them"
    );
    let body = json!({ "first": first.to_string(), "result": 410, "text": text });
    (StatusCode::GONE, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// Where to begin.
fn from(query: &Query, headers: &HeaderMap) -> Result<Option<Position>, Bad> {
    let parse = |name: &str, text: &str| {
        text.parse::<Position>().map_err(|error| Bad(format!("'{name}': {error}")))
    };
    // A client that comes back sends the address it began with, and where it was.
    match headers.get("last-event-id").map(|value| value.to_str()) {
        Some(Ok("")) | None => {}
        Some(Ok(text)) => return Ok(Some(parse("Last-Event-ID", text)?.next())),
        Some(Err(_)) => return Err(Bad("'Last-Event-ID' is no text".into())),
    }
    query.get("from").map(|text| parse("from", text)).transpose()
}

#[derive(Debug, Default)]
struct Filter {
    kinds: Option<BTreeSet<Kind>>,
    subnets: Option<BTreeSet<SubnetId>>,
}

impl Filter {
    fn parse(query: &Query) -> Result<Filter, Bad> {
        let kind = |name: &str| {
            let known = || Kind::ALL.map(Kind::name).join(", ");
            Kind::named(name).ok_or_else(|| {
                Bad(format!("there is no kind '{name}' of events; there are {}", known()))
            })
        };
        let subnet = |text: &str| {
            text.parse().map(SubnetId).map_err(|_| Bad(format!("'{text}' is no subnet id")))
        };
        let kinds = query.get("kind").map(|text| text.split(',').map(kind).collect());
        let subnets = query.get("subnet-id").map(|text| text.split(',').map(subnet).collect());
        Ok(Filter { kinds: kinds.transpose()?, subnets: subnets.transpose()? })
    }

    fn passes(&self, record: &Record) -> bool {
        let subnet = record.holding().map(|holding| holding.subnet);
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&record.kind))
            && self
                .subnets
                .as_ref()
                .is_none_or(|subnets| subnet.is_some_and(|subnet| subnets.contains(&subnet)))
    }
}

async fn read(history: &Arc<History>, position: Position) -> Result<Chunk, NotRead> {
    // What is in memory needs no other thread.
    if let Some(chunk) = history.recent(position, PIECE) {
        return Ok(chunk);
    }
    let history = Arc::clone(history);
    spawn_blocking(move || history.after(position, PIECE))
        .await
        .unwrap_or_else(|error| Err(NotRead::Io(std::io::Error::other(error))))
}

/// One stream's reader. It ends when its client has gone or takes nothing, and with the node.
struct Follower {
    history: Arc<History>,
    filter: Filter,
    position: Position,
    pieces: mpsc::Sender<Bytes>,
    /// The last message, when there is no room for it among the pieces.
    last: Arc<Mutex<Option<String>>>,
    _held: (OwnedSemaphorePermit, AtWork),
}

impl Follower {
    async fn run(mut self) {
        let last = self.follow().await;
        *self.last.lock() = last;
    }

    /// Answers with the last message, if the client is still there to read it.
    async fn follow(&mut self) -> Option<String> {
        let mut end = self.history.follow();
        let hello = format!(": events from {} on\n\n", self.position);
        self.pieces.send(hello.into()).await.ok()?;
        loop {
            end.borrow_and_update();
            if self.history.has_ended() {
                return Some(farewell("end", "this node is stopping"));
            }
            let before = self.position;
            let mut text = String::new();
            match read(&self.history, before).await {
                Ok(Chunk { records, next }) => {
                    let wanted = records.iter().filter(|record| self.filter.passes(record));
                    wanted.for_each(|record| print(record, &mut text));
                    self.position = next;
                }
                Err(NotRead::Gone(Gone { first })) => {
                    let data = json!({ "from": before.to_string(), "to": first.to_string() });
                    let _ = write!(text, "event: gap\ndata: {data}\n\n");
                    self.position = first;
                }
                Err(NotRead::Io(error)) => {
                    return Some(farewell("end", &format!("the history cannot be read: {error}")));
                }
            }
            if !text.is_empty() {
                match timeout(STALLED, self.pieces.send(text.into())).await {
                    Ok(sent) => sent.ok()?,
                    Err(_) => {
                        return Some(farewell("end", "too slow: nothing was read for 10 s"));
                    }
                }
            }
            if self.position != before {
                continue;
            }
            let soon = if self.position.index < self.history.end().index { SOON } else { ALIVE };
            tokio::select! {
                changed = end.changed() => changed.ok()?,
                () = self.pieces.closed() => return None,
                () = tokio::time::sleep(soon) => self.alive(soon).await?,
            }
        }
    }

    async fn alive(&mut self, waited: Duration) -> Option<()> {
        if waited < ALIVE {
            return Some(());
        }
        // Everything before the position was sent, or was not wanted. One that takes nothing is found
        // out by the next event, or by its connection.
        let sign = match self.position.index.checked_sub(1) {
            Some(index) => format!(": alive\nid: {index}.{}\n\n", u32::MAX),
            None => ": alive\n\n".to_owned(),
        };
        match self.pieces.try_send(sign.into()) {
            Err(mpsc::error::TrySendError::Closed(_)) => None,
            _ => Some(()),
        }
    }
}

/// The last message of a stream.
fn farewell(event: &str, text: &str) -> String {
    let data = json!({ "text": format!("{text}. Come back with the id of the last event") });
    format!("event: {event}\ndata: {data}\n\n")
}

/// The pieces, and then the last message.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    last: Arc<Mutex<Option<String>>>,
}

impl Stream for Pieces {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver
            .poll_recv(cx)
            .map(|piece| piece.or_else(|| self.last.lock().take().map(Bytes::from)).map(Ok))
    }
}

/// One event.
fn print(record: &Record, out: &mut String) {
    let Record { position, kind, .. } = record;
    // Writing to a string cannot fail.
    let _ = write!(out, "id: {position}\nevent: {}\ndata: {}\n\n", kind.name(), record.json());
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;
    use crate::api::testing::Fake;
    use crate::state::{Command, SetConfig};

    /// The filter lets everything through, the client takes nothing: it is let go, and told when it
    /// reads on.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_let_go_with_a_last_message() {
        let fake = Fake::new();
        let dir = tempfile::tempdir().unwrap();
        let history = fake.keep_history(dir.path());
        for round in 0..PIECES * PIECE * 2 {
            let text = crate::api::testing::CONFIG.replace("3600", &format!("{}", 3600 + round));
            fake.apply(Command::SetConfig(SetConfig::json(text)));
        }
        let first = Position::at(history.covered()[0].0);
        let (pieces, receiver) = mpsc::channel(PIECES);
        let last = Arc::new(Mutex::new(None));
        let turn = Arc::new(tokio::sync::Semaphore::new(1)).acquire_owned().await.unwrap();
        let connection = Arc::new(crate::api::connections::Connection::default());
        let follower = Follower {
            history,
            filter: Filter::default(),
            position: first,
            pieces,
            last: Arc::clone(&last),
            _held: (turn, connection.at_work()),
        };
        follower.run().await;
        let mut stream = Pieces { receiver, last };
        let mut text = String::new();
        while let Some(Ok(piece)) = stream.next().await {
            text.push_str(std::str::from_utf8(&piece).unwrap());
        }
        assert!(text.contains(&format!("id: {first}\n")));
        assert!(
            text.ends_with("\n\n") && text.contains("event: end\ndata: {\"text\":\"too slow"),
            "{text}"
        );
    }
}
