//! What tells a node to stop or to read its configuration again.

use std::io::{self, Read};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// A request from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// SIGTERM, SIGINT, or the end of standard input.
    Stop,
    /// SIGHUP.
    Reload,
}

/// Starts listening. The channel is small: requests that nobody has taken yet mean the same again.
pub(super) fn listen(until_stdin_closes: bool) -> io::Result<mpsc::Receiver<Request>> {
    let (sender, receiver) = mpsc::channel(4);
    for (kind, request) in [
        (SignalKind::terminate(), Request::Stop),
        (SignalKind::interrupt(), Request::Stop),
        (SignalKind::hangup(), Request::Reload),
    ] {
        let mut signals = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                let _ = sender.try_send(request);
            }
        });
    }
    if until_stdin_closes {
        std::thread::Builder::new().name("stdin".into()).spawn(move || {
            let mut byte = [0; 64];
            while matches!(io::stdin().lock().read(&mut byte), Ok(1..)) {}
            let _ = sender.blocking_send(Request::Stop);
        })?;
    }
    Ok(receiver)
}

/// Calls `act` at each Ctrl-C or SIGTERM, from a thread of its own: for programs without a runtime.
pub fn on_interrupt(act: impl Fn() + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ready, listening) = watch::channel(false);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async move {
            let Ok(mut requests) = listen(false) else { return };
            let _ = ready.send(true);
            while let Some(request) = requests.recv().await {
                if request == Request::Stop {
                    act();
                }
            }
        });
    })?;
    // Until the handlers are in place a Ctrl-C would end the process without cleaning up.
    while !*listening.borrow() {
        if listening.has_changed().is_err() {
            return Err(io::Error::other("signal handlers cannot be installed"));
        }
        std::thread::yield_now();
    }
    Ok(())
}
