//! What goes beyond Kea's commands: `GET /v1/…`, for scripts. Documented in
//! `docs/reference/openapi.json`, which a test compares with [`ROUTES`].
//!
//! Every request comes through [`answer`], where its caller is known: that is where rights are asked,
//! and nowhere else. Errors are a map with the HTTP status as `result` and a `text`, as everywhere
//! below the level of commands.
//!
//! A route is one line in [`ROUTES`] and a file of its own.

mod events;
#[cfg(test)]
mod events_tests;
mod leases;
#[cfg(test)]
mod openapi_tests;
mod query;
mod snapshot;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;

use super::Api;
use super::connections::AtWork;
use super::http::refuse;
use super::spec::{Access, Caller};
pub use events::FOLLOWERS;
pub use query::{Bad, Parameter, Query, Takes, parameter};

/// All routes.
pub const ROUTES: &[Route] = &[events::ROUTE, leases::ROUTE, snapshot::ROUTE];

/// Long answers at once, all connections together: each holds a view of the lease table.
pub const STREAMS: usize = 16;

/// The applied index that an answer is made from.
pub const APPLIED_INDEX: &str = "leasehold-applied-index";

/// One route; GET only.
#[derive(Debug)]
pub struct Route {
    /// The whole path.
    pub path: &'static str,
    /// What it answers, in a sentence or two.
    pub about: &'static str,
    /// Who may ask.
    pub access: Access,
    /// What the query may say.
    pub parameters: &'static [Parameter],
    /// Media types of the answer, each with the name of its schema in the OpenAPI file.
    pub produces: &'static [(&'static str, &'static str)],
    /// The handler.
    pub run: fn(Call) -> Pin<Box<dyn Future<Output = Response> + Send>>,
}

/// One request, after its rights and its parameters have been looked at.
#[derive(Debug)]
pub struct Call {
    /// The API.
    pub api: Arc<Api>,
    /// Who asks.
    pub caller: Arc<Caller>,
    /// The parameters: of the route, none twice.
    pub query: Query,
    /// The headers.
    pub headers: HeaderMap,
    /// Keep it while the answer is under way: the connection is not idle.
    pub at_work: AtWork,
}

/// Answers one request.
pub async fn answer(
    api: Arc<Api>,
    caller: Arc<Caller>,
    uri: Uri,
    headers: HeaderMap,
    at_work: AtWork,
) -> Response {
    let Some(route) = ROUTES.iter().find(|route| route.path == uri.path()) else {
        let known: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
        let text = format!("there is no {}; there is {}", uri.path(), known.join(", "));
        return refuse(StatusCode::NOT_FOUND, &text);
    };
    if !caller.may(route.access) {
        return refuse(StatusCode::FORBIDDEN, "Forbidden");
    }
    match Query::parse(uri.query().unwrap_or_default(), route.parameters) {
        Ok(query) => (route.run)(Call { api, caller, query, headers, at_work }).await,
        Err(Bad(text)) => refuse(StatusCode::BAD_REQUEST, &text),
    }
}
