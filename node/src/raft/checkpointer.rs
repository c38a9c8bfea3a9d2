//! Writes the checkpoint on a thread beside the serving ones: every 10 s, or after 64 MiB of log,
//! when something changed (rule R21). It freezes the machine and writes the difference to the view
//! it wrote last.
//!
//! A checkpoint that cannot be written is thrown away and begun anew: it is never the only copy. If that
//! fails too the node goes on without one and tries again later. While the disk is filling up nothing is
//! written: what is there stays, and the log is worth more.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::machine::Shared;
use super::{image, wire};
use crate::state::Frozen;
use crate::storage::{After, Base, Checkpoint, DiskWatch, Log, Remains};

/// How often the machine is written.
const EVERY_SECONDS: u32 = 10;
/// How much log makes it write earlier.
const EVERY_BYTES: u64 = 64 << 20;

/// How the thread ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Writes once more, so that the next start is fast.
    Orderly,
    /// Writes nothing, as when the power goes.
    Abrupt,
}

/// The thread's handle.
#[derive(Debug)]
pub(super) struct Checkpointer {
    stop: SyncSender<Ending>,
    thread: JoinHandle<()>,
}

impl Checkpointer {
    /// Starts the thread. `written` is what the checkpoint on disk holds, if that is known.
    pub(super) fn start(
        shared: Arc<Shared>,
        log: Arc<dyn Log>,
        checkpoint: Checkpoint,
        written: Option<(Frozen, Base)>,
    ) -> std::io::Result<Checkpointer> {
        let (stop, stopped) = sync_channel(1);
        let disk = log.watch().cloned();
        let writer = Writer { shared, disk, checkpoint: Some(checkpoint), broken: None, written };
        let thread = std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || writer.run(&*log, &stopped))?;
        Ok(Checkpointer { stop, thread })
    }

    /// Ends the thread. Blocks until it has.
    pub(super) fn stop(self, ending: Ending) {
        // The thread is gone if it panicked; then there is nothing to stop.
        let _ = self.stop.send(ending);
        if self.thread.join().is_err() {
            tracing::error!("the checkpoint thread had panicked");
        }
    }
}

struct Writer {
    shared: Arc<Shared>,
    disk: Option<Arc<DiskWatch>>,
    checkpoint: Option<Checkpoint>,
    /// What is to be begun anew, if it could not be.
    broken: Option<Remains>,
    written: Option<(Frozen, Base)>,
}

impl Writer {
    fn run(mut self, log: &dyn Log, stopped: &Receiver<Ending>) {
        let (mut waited, mut mark) = (0, log.appended_bytes());
        loop {
            let stop = match stopped.recv_timeout(Duration::from_secs(1)) {
                Err(RecvTimeoutError::Timeout) => false,
                Ok(Ending::Orderly) => true,
                Ok(Ending::Abrupt) | Err(RecvTimeoutError::Disconnected) => return,
            };
            waited += 1;
            let bytes = log.appended_bytes();
            if stop || waited >= EVERY_SECONDS || bytes - mark >= EVERY_BYTES {
                (waited, mark) = (0, bytes);
                self.write();
            }
            if stop {
                return;
            }
        }
    }

    fn write(&mut self) {
        if self.disk.as_ref().is_some_and(|disk| disk.facts().is_low()) {
            return;
        }
        if let Some(remains) = self.broken.take() {
            self.begin_anew(remains);
        }
        let Some(mut checkpoint) = self.checkpoint.take() else { return };
        let (frozen, meta) = self.shared.freeze();
        let base = wire::meta_to_base(&meta);
        if self.written.as_ref().is_some_and(|(_, written)| *written == base) {
            self.checkpoint = Some(checkpoint);
            return;
        }
        self.shared.settle_history(&base);
        let older = self.written.as_ref().map(|(frozen, _)| frozen);
        let after = After { state_hash: frozen.digest(), whole: older.is_none() };
        match checkpoint.write(&base, after, image::changes(older, &frozen)) {
            Ok(()) => {
                self.written = Some((frozen, base));
                self.checkpoint = Some(checkpoint);
            }
            Err(error) => {
                tracing::warn!(%error, "writing the checkpoint failed; it is begun anew");
                self.written = None;
                self.begin_anew(checkpoint.close());
            }
        }
    }

    fn begin_anew(&mut self, remains: Remains) {
        match remains.begin_anew() {
            Ok(empty) => self.checkpoint = Some(empty),
            Err((error, remains)) => {
                tracing::error!(%error, "going on without a checkpoint for now: a start would be slower");
                self.broken = Some(remains);
            }
        }
    }
}
