//! `GET /v1/leases`: leases by filter, as many as there are, from one applied index.
//!
//! The answer is made piece by piece from a frozen view while its client reads it, so that memory stays
//! bounded whatever the size of the table. Each piece is made beside the serving threads. A client
//! that reads too slowly, or that takes longer than [`MOST_TIME`] in all, has its connection closed in
//! the middle: an answer that is not complete never looks complete.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;
use tokio_stream::Stream;

use super::{APPLIED_INDEX, Bad, Call, Parameter, Query, Route, Takes, parameter};
use crate::api::Api;
use crate::api::commands::lease4::{FEW, parse, print::Printer, state_by_name};
use crate::api::http::refuse;
use crate::api::spec::Access;
use crate::state::{Frozen, Lease, LeaseState};
use crate::types::{ClientId, HwAddr, Prefix, Range, SubnetId};

/// The route.
pub const ROUTE: Route = Route {
    path: "/v1/leases",
    about: "Leases by filter, ascending by address, all from one applied index. Without a `limit` there are all \
            that match. Filters narrow each other.",
    access: Access::Read,
    parameters: PARAMETERS,
    produces: &[(JSON, "Leases"), (NDJSON, "Lease4")],
    run: |call| Box::pin(leases(call)),
};

const PARAMETERS: &[Parameter] = &[
    parameter(
        "subnet-id",
        Takes::Text,
        "Only of this subnet, or of these, with commas between them.",
    ),
    parameter(
        "state",
        Takes::Text,
        "Only in this state: `default` (or `assigned`), `declined`, `expired-reclaimed`, `released`, or its number.",
    ),
    parameter("hw-address", Takes::Text, "Only with this hardware address, hexadecimal."),
    parameter("client-id", Takes::Text, "Only with this client identifier, hexadecimal."),
    parameter("hostname", Takes::Text, "Only with this whole host name, in upper or lower case."),
    parameter(
        "addresses",
        Takes::Text,
        "Only of these addresses: `192.0.2.10`, `192.0.2.10-192.0.2.99` or `192.0.2.0/24`.",
    ),
    parameter("limit", Takes::Number, "The most leases of the answer, above 0. Without it: all."),
    parameter(
        "after",
        Takes::Text,
        "Only behind this address: `next` of the answer before. Leases that came or went meanwhile are seen as \
         they are now.",
    ),
    parameter(
        "consistency",
        Takes::Word(&["linearizable", "local"]),
        "`linearizable` (default): everything that was acknowledged anywhere before. `local`: what this node has, \
         also without a leader.",
    ),
    parameter(
        "format",
        Takes::Word(&["json", "ndjson"]),
        "`json` (default): one map. `ndjson`: one lease a line; an `Accept` of `application/x-ndjson` says the same.",
    ),
];

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

/// A piece of an answer ends when it has so many bytes, or so many leases were looked at for it.
pub(super) const PIECE: usize = 64 << 10;
const LOOKS: usize = 16_384;
/// How long an answer may take in all: so long the view that it is made from stays in memory.
pub(super) const MOST_TIME: Duration = Duration::from_secs(600);

async fn leases(call: Call) -> Response {
    let Call { api, query, headers, at_work, .. } = call;
    let (filter, format) = match (Filter::parse(&query), format(&query, &headers)) {
        (Ok(filter), Ok(format)) => (filter, format),
        (Err(Bad(text)), _) | (_, Err(Bad(text))) => {
            return refuse(StatusCode::BAD_REQUEST, &text);
        }
    };
    let (limit, after) = match window(&query) {
        Ok(window) => window,
        Err(Bad(text)) => return refuse(StatusCode::BAD_REQUEST, &text),
    };
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
    let pages = {
        let state = api.dispatcher.backend().state().read();
        let view = state.view();
        let few = match (&filter.client_id, &filter.hw) {
            (Some(id), _) => view.few_with_id(id, FEW),
            (None, Some(hw)) => view.few_with_hw(hw, FEW),
            (None, None) => None,
        };
        Pages::new(view.freeze(), few, filter, limit, after, format)
    };
    let applied = pages.frozen.meta().applied().to_string();
    let (sender, pieces) = mpsc::channel(1);
    tokio::spawn(async move {
        let _held = (turn, at_work);
        // The client has gone, or gets no more: in both cases dropping the sender is what is left to do.
        let _ = tokio::time::timeout(MOST_TIME, produce(&api, pages, &sender)).await;
    });
    let kind = match format {
        Format::Json => JSON,
        Format::Lines => NDJSON,
    };
    let body = Body::from_stream(Pieces::new(pieces));
    ([(CONTENT_TYPE.as_str(), kind), (APPLIED_INDEX, &*applied)], body).into_response()
}

pub(super) enum Piece {
    Bytes(Bytes),
    End,
}

/// The body of an answer. It ends well with [`Piece::End`] and in no other way.
pub(super) struct Pieces {
    pieces: mpsc::Receiver<Piece>,
    over: bool,
}

impl Pieces {
    pub(super) fn new(pieces: mpsc::Receiver<Piece>) -> Pieces {
        Pieces { pieces, over: false }
    }
}

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        self.pieces.poll_recv(cx).map(|piece| match piece {
            Some(Piece::Bytes(bytes)) => Some(Ok(bytes)),
            Some(Piece::End) => {
                self.over = true;
                None
            }
            None => {
                self.over = true;
                Some(Err(io::Error::other("the answer was given up")))
            }
        })
    }
}

async fn produce(api: &Api, mut pages: Pages, sender: &mpsc::Sender<Piece>) {
    loop {
        let made = api.dispatcher.beside(move || {
            let piece = pages.piece();
            (pages, piece)
        });
        let Some((same, piece)) = made.await else { return };
        pages = same;
        if sender.is_closed() {
            return;
        }
        let ends = pages.ended;
        if !piece.is_empty() && sender.send(Piece::Bytes(piece.into())).await.is_err() {
            return;
        }
        if ends {
            let _ = sender.send(Piece::End).await;
            return;
        }
    }
}

fn format(query: &Query, headers: &HeaderMap) -> Result<Format, Bad> {
    let accepts = |kind: &str| {
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|range| {
            range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(kind)
        })
    };
    Ok(match query.get("format") {
        Some("ndjson") => Format::Lines,
        Some(_) => Format::Json,
        None if accepts(NDJSON) && !accepts(JSON) => Format::Lines,
        None => Format::Json,
    })
}

/// `limit` and `after`.
fn window(query: &Query) -> Result<(Option<u64>, Option<Ipv4Addr>), Bad> {
    let limit = query.number("limit");
    if limit == Some(0) {
        return Err(Bad("'limit' must be above 0".into()));
    }
    let after = query.get("after").map(|text| {
        text.parse().map_err(|_| Bad(format!("'after' must be an IPv4 address, not '{text}'")))
    });
    Ok((limit, after.transpose()?))
}

/// Which leases are wanted.
#[derive(Debug, Default)]
struct Filter {
    subnets: Option<BTreeSet<SubnetId>>,
    state: Option<LeaseState>,
    hw: Option<HwAddr>,
    client_id: Option<ClientId>,
    hostname: Option<String>,
    addresses: Option<Range>,
}

impl Filter {
    fn parse(query: &Query) -> Result<Filter, Bad> {
        let said = |refusal: crate::api::spec::Refusal| Bad(refusal.text);
        let get = |name| query.get(name);
        Ok(Filter {
            subnets: get("subnet-id").map(subnets).transpose()?,
            state: get("state").map(state).transpose()?,
            hw: get("hw-address").map(parse::hw_address).transpose().map_err(said)?,
            client_id: get("client-id").map(parse::client_id).transpose().map_err(said)?,
            hostname: get("hostname").map(str::to_lowercase),
            addresses: get("addresses").map(addresses).transpose()?,
        })
    }

    fn wants(&self, lease: &Lease) -> bool {
        self.addresses.is_none_or(|range| range.contains(lease.address))
            && self.state.is_none_or(|state| lease.state == state)
            && self.subnets.as_ref().is_none_or(|subnets| subnets.contains(&lease.subnet))
            && self.hw.is_none_or(|hw| lease.hw == hw)
            && (self.client_id.is_none() || lease.client_id == self.client_id)
            && self.hostname.as_ref().is_none_or(|name| *lease.hostname == **name)
    }
}

fn subnets(text: &str) -> Result<BTreeSet<SubnetId>, Bad> {
    let number = |part: &str| {
        let number = part.trim().parse().map(SubnetId);
        number.map_err(|_| {
            Bad(format!("'subnet-id' must be numbers with commas between them, not '{text}'"))
        })
    };
    text.split(',').map(number).collect()
}

fn state(text: &str) -> Result<LeaseState, Bad> {
    let number = state_by_name(text).or_else(|| text.parse().ok());
    let state = number.and_then(|number| u64::try_from(number).ok());
    state.and_then(LeaseState::from_number).ok_or_else(|| {
        Bad(format!(
            "'state' must be one of default, assigned, declined, expired-reclaimed, released, or 0 to 3, not '{text}'"
        ))
    })
}

fn addresses(text: &str) -> Result<Range, Bad> {
    let range = match text.split_once('-') {
        Some((first, last)) => {
            let ends = (first.trim().parse().ok(), last.trim().parse().ok());
            if let (Some(first), Some(last)) = ends { Range::new(first, last).ok() } else { None }
        }
        None if text.contains('/') => text.parse::<Prefix>().ok().map(|prefix| prefix.range()),
        None => text.trim().parse().ok().and_then(|one| Range::new(one, one).ok()),
    };
    range.ok_or_else(|| {
        Bad(format!("'addresses' must be an address, FIRST-LAST or a prefix, not '{text}'"))
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Lines,
}

/// An answer that is made piece by piece. Pure.
struct Pages {
    frozen: Frozen,
    /// All that the filter can want, if there are few.
    few: Option<Vec<Arc<Lease>>>,
    filter: Filter,
    format: Format,
    /// How many leases may still come.
    left: Option<u64>,
    /// The last address looked at: the next piece begins behind it.
    after: Option<Ipv4Addr>,
    /// The last address given.
    given: Option<Ipv4Addr>,
    count: u64,
    began: bool,
    ended: bool,
}

impl Pages {
    fn new(
        frozen: Frozen,
        few: Option<Vec<Arc<Lease>>>,
        filter: Filter,
        left: Option<u64>,
        after: Option<Ipv4Addr>,
        format: Format,
    ) -> Pages {
        // No lease below the range is looked at.
        let below = filter.addresses.and_then(|range| u32::from(range.first()).checked_sub(1));
        let after = after.max(below.map(Ipv4Addr::from));
        Pages {
            frozen,
            few,
            filter,
            format,
            left,
            after,
            given: None,
            count: 0,
            began: false,
            ended: false,
        }
    }

    /// The next piece; empty when so many leases were looked at in vain.
    fn piece(&mut self) -> String {
        let mut out = String::new();
        if !std::mem::replace(&mut self.began, true) && self.format == Format::Json {
            let applied = self.frozen.meta().applied();
            out.push_str(&format!("{{ \"applied-index\": {applied}, \"leases\": ["));
        }
        // The view is cheap to clone, and what is looked at must not borrow from what is written to.
        let frozen = self.frozen.clone();
        let printer = Printer::new(frozen.meta());
        let few = self.few.take();
        let end = match &few {
            Some(few) => {
                let behind = few.iter().filter(|lease| self.after < Some(lease.address));
                self.take(&mut behind.collect::<Vec<_>>().into_iter(), &printer, &mut out)
            }
            None => self.take(&mut frozen.leases_after(self.after), &printer, &mut out),
        };
        self.few = few;
        if let ControlFlow::Break(next) = end {
            self.ended = true;
            if self.format == Format::Json {
                let next = next.map_or("null".into(), |next| format!("\"{next}\""));
                out.push_str(&format!(" ], \"count\": {}, \"next\": {next} }}\n", self.count));
            }
        }
        out
    }

    /// Writes leases until the piece is full. At the end of all it breaks with `next`.
    fn take(
        &mut self,
        leases: &mut dyn Iterator<Item = &Arc<Lease>>,
        printer: &Printer<'_>,
        out: &mut String,
    ) -> ControlFlow<Option<Ipv4Addr>> {
        for _ in 0..LOOKS {
            if self.left == Some(0) {
                return ControlFlow::Break(self.given);
            }
            if out.len() >= PIECE {
                return ControlFlow::Continue(());
            }
            let last = self.filter.addresses.map(|range| range.last());
            let next = leases.next();
            let Some(lease) = next.filter(|lease| last.is_none_or(|last| lease.address <= last))
            else {
                return ControlFlow::Break(None);
            };
            self.after = Some(lease.address);
            if !self.filter.wants(lease) {
                continue;
            }
            self.left = self.left.map(|left| left - 1);
            if self.format == Format::Json {
                out.push_str(if self.count == 0 { "\n" } else { ",\n" });
            }
            printer.json(lease, out);
            if self.format == Format::Lines {
                out.push('\n');
            }
            self.count += 1;
            self.given = Some(lease.address);
        }
        ControlFlow::Continue(())
    }
}
