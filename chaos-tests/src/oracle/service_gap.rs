//! How long clients were without service.

use std::collections::BTreeMap;

use super::{ClientId, History, What};

/// The longest time without an accepted ACK between `from` and `to`, in milliseconds; the edges count.
pub fn longest(history: &History, from: u64, to: u64) -> u64 {
    let mut last = from;
    let mut longest = 0;
    for event in history.events() {
        if matches!(event.what, What::Acked { accepted: true, .. })
            && (from..=to).contains(&event.at)
        {
            longest = longest.max(event.at.saturating_sub(last));
            last = event.at;
        }
    }
    longest.max(to.saturating_sub(last))
}

/// What joining felt like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Joining {
    /// Clients that sent a DISCOVER.
    pub clients: usize,
    /// Of those, the ones that got an address.
    pub served: usize,
    /// Of those, the ones that had to send something twice.
    pub repeated: usize,
    /// The longest time from first DISCOVER to ACK, in milliseconds.
    pub worst_wait: u64,
}

/// What joining felt like, over all clients of the ledger.
pub fn joining(history: &History) -> Joining {
    #[derive(Default)]
    struct Wait {
        began: u64,
        discovers: usize,
        requests: usize,
        served: Option<u64>,
    }
    let mut waits: BTreeMap<ClientId, Wait> = BTreeMap::new();
    for event in history.events() {
        match event.what {
            What::Discovered { .. } => {
                let wait = waits
                    .entry(event.client)
                    .or_insert_with(|| Wait { began: event.at, ..Wait::default() });
                wait.discovers += usize::from(wait.served.is_none());
            }
            What::Asked { .. } => {
                if let Some(wait) = waits.get_mut(&event.client) {
                    wait.requests += usize::from(wait.served.is_none());
                }
            }
            What::Acked { accepted: true, .. } => {
                if let Some(wait) = waits.get_mut(&event.client) {
                    wait.served.get_or_insert(event.at);
                }
            }
            _ => {}
        }
    }
    let mut joining = Joining { clients: waits.len(), ..Joining::default() };
    for wait in waits.values() {
        joining.repeated += usize::from(wait.discovers > 1 || wait.requests > 1);
        if let Some(served) = wait.served {
            joining.served += 1;
            joining.worst_wait = joining.worst_wait.max(served - wait.began);
        }
    }
    joining
}
