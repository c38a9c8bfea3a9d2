//! HTTP/1: Kea's commands by POST on any path (kea-api §1.2), health and metrics by GET.
//!
//! Replies to commands are lists and always HTTP 200; what goes wrong below that is a map with the
//! HTTP status as its `result`. More lenient than Kea in two things: `Content-Type` may carry
//! parameters, and a body may come in chunks.
//!
//! A listener may speak TLS. Who asks is found out in one place for every route, those of other modules
//! too: [`admit`] refuses strangers and leaves the [`Caller`] among the extensions of the request. The
//! only pages without it are `/health/*`, which load balancers look at.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Extension, Request as HttpRequest, State};
use axum::http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::Api;
use super::access::Door;
use super::connections::{Connection, Patient, Seat};
use super::envelope::{self, Transport};
use super::json::{BadJson, parse_strict};
use super::limits::Limits;
use super::spec::{Access, Caller, Code, Reply};
use super::strikes::Strikes;
use crate::observe::metrics;

/// A body larger than this is parsed beside the serving threads.
const LARGE: usize = 256 << 10;

/// Serves a listener until `stop` turns true or its sender is gone.
pub async fn serve(
    api: Arc<Api>,
    listener: TcpListener,
    door: Arc<Door>,
    mut stop: watch::Receiver<bool>,
) {
    let routes = routes(Arc::clone(&api));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = super::stopped(&mut stop) => return,
        };
        match accepted {
            Ok((stream, from)) => {
                let visitor = Visitor {
                    door: Arc::clone(&door),
                    strikes: Arc::clone(&api.strikes),
                    address: from.ip(),
                    from: from.ip().to_string().into(),
                };
                let routes = routes.clone();
                tokio::spawn(connection(Arc::clone(&api), routes, stream, visitor, stop.clone()));
            }
            Err(error) => {
                // Out of descriptors, usually. Trying at once would spin.
                debug!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// The other end of a connection, before it has said who it is.
#[derive(Debug, Clone)]
struct Visitor {
    door: Arc<Door>,
    strikes: Arc<Strikes>,
    address: IpAddr,
    from: Arc<str>,
}

async fn connection(
    api: Arc<Api>,
    routes: Router,
    stream: TcpStream,
    visitor: Visitor,
    mut stop: watch::Receiver<bool>,
) {
    let Some(seat) = api.connections.admit() else { return };
    // Answers are one write; waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let stream = Patient::new(stream, api.limits.unread);
    let Some(tls) = visitor.door.guard().tls.clone() else {
        return converse(&api, routes, stream, visitor, &seat, stop).await;
    };
    // A stranger who is slow at this holds a seat, as an idle one does, and loses it as that one does.
    let handshake = TlsAcceptor::from(tls).accept(stream).into_fallible();
    let handshake = timeout(api.limits.handshake, handshake);
    let shaken = tokio::select! {
        shaken = handshake => shaken,
        () = seat.evicted() => return,
        () = super::stopped(&mut stop) => return,
    };
    match shaken {
        Ok(Ok(stream)) => converse(&api, routes, stream, visitor, &seat, stop).await,
        Ok(Err((error, stream))) => {
            debug!(from = %visitor.from, %error, "TLS handshake failed");
            hear_out(stream).await;
        }
        Err(_) => debug!(from = %visitor.from, "TLS handshake took too long"),
    }
}

/// Reads what a client goes on sending after it was refused, within limits: closed with bytes unread, the
/// connection would be reset, and the alert lost that says why.
async fn hear_out(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let rest = async {
        stream.shutdown().await?;
        let mut rest = [0; 4096];
        for _ in 0..64 {
            if stream.read(&mut rest).await? == 0 {
                break;
            }
        }
        Ok::<(), std::io::Error>(())
    };
    let _ = timeout(Duration::from_secs(1), rest).await;
}

async fn converse(
    api: &Api,
    routes: Router,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    visitor: Visitor,
    seat: &Seat<'_>,
    mut stop: watch::Receiver<bool>,
) {
    // The handler marks the connection as busy.
    let routes = routes
        .layer(Extension(Arc::clone(seat.connection())))
        .layer(middleware::from_fn_with_state(visitor, admit));
    let service = TowerToHyperService::new(routes);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(api.limits.head)
        // As Kea writes them; there are scripts that look for them so.
        .title_case_headers(true)
        .max_headers(64)
        .max_buf_size(64 << 10);
    let serving = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = seat.evicted() => return,
        () = super::stopped(&mut stop) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "control connection ended");
    }
}

/// Finds out who asks, and lets nobody in whom the door does not know. What the caller may do is the
/// business of whoever does it: [`Caller::may`].
async fn admit(State(visitor): State<Visitor>, mut request: HttpRequest, next: Next) -> Response {
    // For each request anew: a user may have been struck off since the last one.
    let guard = visitor.door.guard();
    let public = request.method() == Method::GET && request.uri().path().starts_with("/health/");
    let password = request.headers().contains_key(AUTHORIZATION);
    if password && !public && visitor.strikes.turn(visitor.address).await.is_err() {
        debug!(from = %visitor.from, "too many wrong passwords from there");
        let text = "Too many wrong passwords from this address, try again later";
        let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, text);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
        return response;
    }
    let caller = match guard.caller(request.headers(), &visitor.from) {
        Err(_) if public => Ok(Caller { access: Access::Read, ..Caller::anybody(&*visitor.from) }),
        caller => caller,
    };
    let mut response = match caller {
        Ok(caller) => {
            request.extensions_mut().insert(Arc::new(caller));
            next.run(request).await
        }
        Err(challenge) => {
            debug!(from = %visitor.from, "nobody we know: wrong or no credentials");
            if let Some(count) = visitor.strikes.refused(visitor.address, password) {
                warn!(from = %visitor.from, count, "requests to the control API with a wrong password or none, the last from there");
            }
            let mut response = refuse(StatusCode::UNAUTHORIZED, "Unauthorized");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            response
        }
    };
    for (name, value) in &guard.headers {
        response.headers_mut().append(name.clone(), value.clone());
    }
    response
}

fn routes(api: Arc<Api>) -> Router {
    Router::new()
        .route("/health/live", get(live).fallback(command))
        .route("/health/ready", get(ready).fallback(command))
        .route("/metrics", get(page).fallback(command))
        .route("/v1/{*path}", get(v1).fallback(command))
        .fallback(command)
        .with_state(api)
}

async fn live() -> &'static str {
    "alive\n"
}

async fn ready(State(api): State<Arc<Api>>) -> Response {
    match api.dispatcher.backend().report().ready {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")).into_response()
        }
    }
}

async fn v1(
    State(api): State<Arc<Api>>,
    Extension(connection): Extension<Arc<Connection>>,
    Extension(caller): Extension<Arc<Caller>>,
    request: HttpRequest,
) -> Response {
    let (head, _) = request.into_parts();
    super::v1::answer(api, caller, head.uri, head.headers, connection.at_work()).await
}

async fn page(State(api): State<Arc<Api>>) -> Response {
    // With thousands of subnets it is megabytes: not on a thread that others wait for.
    let failed = |cause: String| (StatusCode::INTERNAL_SERVER_ERROR, cause).into_response();
    let Ok(turn) = Arc::clone(&api.pages).acquire_owned().await else {
        return failed("internal error: no page is made any more\n".to_owned());
    };
    let rendered = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        render(&api)
    });
    match rendered.await {
        Ok(Ok(text)) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Ok(Err(error)) => failed(format!("metrics cannot be printed: {error}\n")),
        Err(_) => failed("internal error, see the log of the node\n".to_owned()),
    }
}

fn render(api: &Api) -> Result<String, std::fmt::Error> {
    let mut readings = api.dispatcher.backend().readings();
    let (evicted, refused) = api.connections.turned_away();
    let (open, unauthorized) = (api.connections.len() as u64, api.strikes.count());
    readings.control = metrics::Control { open, evicted, refused, unauthorized };
    let mut text = metrics::render(readings)?;
    api.dispatcher.backend().statistics().metrics(api.limits.subnet_metrics, &mut text)?;
    Ok(text)
}

async fn command(
    State(api): State<Arc<Api>>,
    Extension(connection): Extension<Arc<Connection>>,
    Extension(caller): Extension<Arc<Caller>>,
    request: HttpRequest,
) -> Response {
    if request.method() != Method::POST || !is_json(request.headers()) {
        return refuse(StatusCode::BAD_REQUEST, "Bad Request");
    }
    let (mut bytes, _held) = match receive(&api, request).await {
        Ok(received) => received,
        Err(not_taken) => return not_taken.into_response(),
    };
    let _at_work = connection.at_work();
    if bytes.is_empty() {
        return list(&[Reply::failure(
            Code::Error,
            "Command processing failed: NULL command parameter",
        )]);
    }
    let bounds = api.limits.json;
    let document = if bytes.len() > LARGE {
        api.dispatcher.beside(move || parse_strict(&mut bytes, bounds)).await
    } else {
        Some(parse_strict(&mut bytes, bounds))
    };
    let document = match document {
        Some(Ok(document)) => document,
        Some(Err(BadJson::Syntax(_))) => return refuse(StatusCode::BAD_REQUEST, "Bad Request"),
        Some(Err(BadJson::TooMuch(error))) => {
            return refuse(StatusCode::BAD_REQUEST, &format!("Bad Request: {error}"));
        }
        None => return refuse(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
    };
    match envelope::open(document, Transport::Http) {
        Ok(request) if !api.dispatcher.permits(&request, &caller) => {
            refuse(StatusCode::FORBIDDEN, "Forbidden")
        }
        Ok(request) => list(&api.dispatcher.answer(&request, &caller).await),
        Err(reply) => list(&[reply]),
    }
}

/// Whether the body is announced as JSON, with or without parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split_once(';').map_or(kind, |(kind, _)| kind);
    kind.trim().eq_ignore_ascii_case("application/json")
}

/// Why a body was not taken.
#[derive(Debug, Clone, Copy)]
enum NotTaken {
    TooLarge(usize),
    TooSlow,
    Broken,
    TooMany,
}

impl IntoResponse for NotTaken {
    fn into_response(self) -> Response {
        match self {
            NotTaken::TooLarge(limit) => refuse(
                StatusCode::PAYLOAD_TOO_LARGE,
                &format!(
                    "Request body larger than {limit} bytes: [control].body-limit of the node sets that"
                ),
            ),
            NotTaken::TooSlow => refuse(StatusCode::REQUEST_TIMEOUT, "Request Timeout"),
            NotTaken::Broken => refuse(StatusCode::BAD_REQUEST, "Bad Request"),
            NotTaken::TooMany => refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many large requests at once, try again later",
            ),
        }
    }
}

/// Reads the body within the limits. What it holds of the common budget comes along.
async fn receive(
    api: &Api,
    request: HttpRequest,
) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), NotTaken> {
    let limit = api.limits.body;
    let announced =
        request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > limit as u64) {
        return Err(NotTaken::TooLarge(limit));
    }
    let patience = tokio::time::sleep(api.limits.body_time);
    tokio::pin!(patience);
    let mut body = request.into_body();
    let (mut bytes, mut held): (Vec<u8>, Option<OwnedSemaphorePermit>) = (Vec::new(), None);
    loop {
        let data = tokio::select! {
            data = next(&mut body) => data,
            () = patience.as_mut() => return Err(NotTaken::TooSlow),
        };
        let Some(data) = data.map_err(|_| NotTaken::Broken)? else { return Ok((bytes, held)) };
        let (before, after) = (bytes.len(), bytes.len() + data.len());
        if after > limit {
            return Err(NotTaken::TooLarge(limit));
        }
        let steps = after / Limits::BODY_STEP - before / Limits::BODY_STEP;
        let later = patience.deadline() + Duration::from_secs(steps as u64);
        patience.as_mut().reset(later);
        reserve(api, &mut held, after)?;
        bytes.extend_from_slice(&data);
    }
}

/// Takes what a body of `length` needs from the common budget, beyond what is free for all.
fn reserve(
    api: &Api,
    held: &mut Option<OwnedSemaphorePermit>,
    length: usize,
) -> Result<(), NotTaken> {
    let needed = length.saturating_sub(Limits::BODY_FREE).div_ceil(1024);
    let more = needed.saturating_sub(held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
    if more == 0 {
        return Ok(());
    }
    let more = u32::try_from(more).unwrap_or(u32::MAX);
    let permit =
        Arc::clone(&api.bodies).try_acquire_many_owned(more).map_err(|_| NotTaken::TooMany)?;
    match held {
        Some(held) => held.merge(permit),
        None => *held = Some(permit),
    }
    Ok(())
}

/// The next piece of the body; `None` at its end.
async fn next(body: &mut Body) -> Result<Option<Bytes>, axum::Error> {
    loop {
        let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx)).await;
        match frame.transpose()?.map(|frame| frame.into_data()) {
            None => return Ok(None),
            Some(Ok(data)) => return Ok(Some(data)),
            Some(Err(_trailers)) => {}
        }
    }
}

fn list(replies: &[Reply]) -> Response {
    let replies: Vec<String> = replies.iter().map(Reply::to_json).collect();
    json(StatusCode::OK, format!("[ {} ]", replies.join(", ")))
}

/// An error below the level of commands: a map, not a list.
pub(super) fn refuse(status: StatusCode, text: &str) -> Response {
    let text = serde_json::Value::from(text);
    json(status, format!("{{ \"result\": {}, \"text\": {text} }}", status.as_u16()))
}

fn json(status: StatusCode, body: String) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}
