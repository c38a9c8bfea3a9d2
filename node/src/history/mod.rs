//! The history of leases: what happened, on every node, from the same log (R23).
//!
//! [`crate::state`] tells events while it applies an entry; [`History::record`] takes them, a thread
//! writes them into segment files, and three kinds of readers look at them: by address or client
//! ([`History::look_up`]), from a position on ([`History::after`]), and peers that fill a gap.
//!
//! * *Nothing waits for the history.* `record` puts events into a bounded queue. If the writer cannot
//!   keep up, or the disk is full, events are lost, and what was lost is a gap.
//! * *A gap is always told.* Each block on disk says which entries it covers; what no block covers is a
//!   gap, whatever brought it about: a full queue, damage, a snapshot taken over from the leader, a
//!   crash. Before a checkpoint or a snapshot passes an entry, [`History::settle`] makes the history
//!   durable up to there, so that what a crash takes is told again by the replay of the log.
//! * *A replay changes nothing.* Events are named by entry and place; what is there is not taken twice.
//!
//! | File | |
//! |---|---|
//! | `codec.rs` | events and blocks as bytes |
//! | `index.rs` | where a segment has an address, a client, an entry |
//! | `store.rs` | segment files: torn tails, damage, bounds |
//! | `recorder.rs` | the queue and the thread |
//! | `reader.rs` | looking up, and reading on from a position |
//! | `fill.rs` | what is missing, and taking it in from a peer |
//! | `print.rs`, `lease_log.rs` | events as JSON, and the log of leases |
//! | `rows.rs` | from events to "who had this address from when to when" |

mod codec;
mod fill;
mod index;
mod lease_log;
mod print;
mod reader;
mod recorder;
mod rows;
mod store;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::watch;

pub use codec::{About, Holding, Record, wall_millis};
pub use fill::Missing;
pub use lease_log::{LeaseLog, LeaseLogFiles};
pub use reader::{Chunk, Found, Gone, Lookup, NotRead, Wanted};
pub use recorder::Ending;
pub use rows::{Ended, Row};
pub use store::Limits;

use crate::state::Position;
use recorder::Queue;
use store::Store;

/// The history of one node. Its parts are shared by the writer and all readers.
pub struct History {
    shared: Arc<Shared>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// The writer has something to do.
    wake: Condvar,
    /// The writer has done something.
    done: Condvar,
    store: RwLock<Store>,
    /// Behind the last event; readers that follow wait for it.
    end: watch::Sender<Position>,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").finish_non_exhaustive()
    }
}
