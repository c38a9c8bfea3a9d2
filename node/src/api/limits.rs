//! What strangers may cost us (hazards §1, class 6). The DHCP service must not notice them.

use std::time::Duration;

use super::json::Bounds;

/// Bounds of the transports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest request body in bytes.
    pub body: usize,
    /// Depth and number of values in it.
    pub json: Bounds,
    /// Most connections at once, all listeners together. When they are used up, a newcomer takes the
    /// place of the connection that has been waiting longest for its client.
    pub connections: usize,
    /// Time for a TLS handshake.
    pub handshake: Duration,
    /// Time to send a request's head, and to keep a connection without a request (Kea: 30 s idle).
    pub head: Duration,
    /// Time to send a request's body (Kea: 10 s); every [`Limits::BODY_STEP`] bytes received give
    /// another second, so that a large body needs no less than this rate.
    pub body_time: Duration,
    /// How long a client may leave its answer unread.
    pub unread: Duration,
    /// Whether `/metrics` has the numbers of each subnet and pool.
    pub subnet_metrics: bool,
}

impl Limits {
    /// Bytes that give a sender another second.
    pub const BODY_STEP: usize = 256 << 10;
    /// What every request may hold without asking the common budget.
    pub const BODY_FREE: usize = 64 << 10;

    /// Bytes of large bodies in memory at once: two of the largest.
    pub fn body_budget(&self) -> usize {
        self.body.max(1 << 20).saturating_mul(2)
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body: 64 << 20,
            json: Bounds::default(),
            connections: 512,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(30),
            body_time: Duration::from_secs(10),
            unread: Duration::from_secs(30),
            subnet_metrics: true,
        }
    }
}
