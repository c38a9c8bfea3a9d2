//! A signal that asks a long run to end: it ends where it can, with everything told that it has found so far.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};

/// Whether a signal has asked us to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Listens to SIGINT and SIGTERM from now on, which then end the process no more.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen() -> Result<Stop> {
        let stop = Stop::default();
        let flag = Arc::clone(&stop.0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                use tokio::signal::unix::{SignalKind, signal};
                let (Ok(mut interrupt), Ok(mut term)) =
                    (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
                else {
                    return;
                };
                loop {
                    tokio::select! { _ = interrupt.recv() => {}, _ = term.recv() => {} }
                    eprintln!("a signal: ends after this run");
                    flag.store(true, Ordering::Relaxed);
                }
            });
        })?;
        Ok(stop)
    }

    /// # Errors
    /// When it has.
    pub fn check(&self) -> Result<()> {
        if self.is_set() {
            bail!("stopped by a signal");
        }
        Ok(())
    }

    /// Whether a signal has come.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
