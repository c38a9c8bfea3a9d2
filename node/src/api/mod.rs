//! The control API: Kea's commands over HTTP and a unix socket, health, and metrics.
//!
//! A command is a [`spec::Spec`] and a pure handler in `commands/`, and one line in [`registry`]; the
//! rest is the same for all of them. The way of a request:
//!
//! 1. [`http`] or [`unix`] reads it, within limits of size, depth and time ([`limits::Limits`]);
//! 2. [`envelope`] takes the envelope off;
//! 3. [`dispatch`] finds the command, waits until this node has applied what was acknowledged
//!    anywhere, and runs the handler under the read lock of the state;
//! 4. it carries out the [`spec::Plan`]: answers, commits through the cluster, or acts on this node;
//! 5. the [`spec::Reply`] goes back in the manner of the transport.
//!
//! What has no place in Kea's commands is under `/v1/` ([`v1`]).
//!
//! Whatever the API needs of the node is the trait [`backend::Backend`].
//!
//! Tasks: one accept loop per listener, one task per connection. Stopping an accept loop refuses new
//! connections; a connection finishes the request it is on. A request that is dropped half-way may
//! have been proposed: its client gets no answer and knows no outcome, as with any broken connection.
//!
//! Who may ask is [`access`]; what a write came to is a line of [`audit`].

pub mod access;
#[cfg(test)]
mod access_tests;
mod audit;
pub mod backend;
pub mod commands;
pub mod connections;
pub mod date;
pub mod dispatch;
#[cfg(test)]
mod edit_tests;
pub mod envelope;
pub mod http;
pub mod json;
pub mod limits;
#[cfg(test)]
mod reference;
pub mod registry;
#[cfg(test)]
mod scripts;
pub mod spec;
mod strikes;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod unix;
pub mod v1;

use std::sync::Arc;

pub use access::Door;
pub use backend::{
    Acted, Answer, Backend, Done, Effect, FileToWrite, Interface, LogMeasured, Member, NameChange,
    NewToken, NodeReport, Role, Sockets, SubmitError,
};
pub use connections::Connections;
pub use dispatch::Dispatcher;
pub use limits::Limits;
use tokio::sync::{Semaphore, watch};

/// The API of one node, shared by its listeners.
#[derive(Debug)]
pub struct Api {
    dispatcher: Dispatcher,
    limits: Limits,
    connections: Connections,
    /// Wrong passwords, all listeners together.
    strikes: Arc<strikes::Strikes>,
    /// KiB of large request bodies in memory.
    bodies: Arc<Semaphore>,
    /// Pages of metrics that are made at once: with thousands of subnets each is megabytes.
    pages: Arc<Semaphore>,
    /// Long answers under way.
    streams: Arc<Semaphore>,
    /// Streams of events.
    followers: Arc<Semaphore>,
}

impl Api {
    /// An API for `backend`.
    pub fn new(backend: Arc<dyn Backend>, limits: Limits) -> Arc<Api> {
        Arc::new(Api {
            dispatcher: Dispatcher::new(backend),
            connections: Connections::new(limits.connections),
            strikes: Arc::default(),
            bodies: Arc::new(Semaphore::new(limits.body_budget().div_ceil(1024))),
            pages: Arc::new(Semaphore::new(2)),
            streams: Arc::new(Semaphore::new(v1::STREAMS)),
            followers: Arc::new(Semaphore::new(v1::FOLLOWERS)),
            limits,
        })
    }
}

/// Returns once `stop` is true or its sender is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
