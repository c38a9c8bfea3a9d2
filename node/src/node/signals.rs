//! What tells a node to stop or to read its configuration again.

use std::io::{self, Read};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

/// A request from outside.
#[derive(Debug)]
pub(super) enum Request {
    /// SIGTERM, SIGINT, the end of standard input, or `shutdown`: with this exit status.
    Stop(u8),
    /// SIGHUP or `config-reload`, which wants to hear how it went.
    Reload(Option<oneshot::Sender<Result<(), String>>>),
}

/// Both ends of the requests.
pub(super) type Requests = (mpsc::Sender<Request>, mpsc::Receiver<Request>);

/// Starts listening. The channel is small: requests that nobody has taken yet mean the same again.
pub(super) fn listen(until_stdin_closes: bool) -> io::Result<Requests> {
    let (sender, receiver) = mpsc::channel(4);
    let stop = || Request::Stop(0);
    let kinds: [(SignalKind, fn() -> Request); 3] = [
        (SignalKind::terminate(), stop),
        (SignalKind::interrupt(), stop),
        (SignalKind::hangup(), || Request::Reload(None)),
    ];
    for (kind, request) in kinds {
        let mut signals = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                let _ = sender.try_send(request());
            }
        });
    }
    if until_stdin_closes {
        let sender = sender.clone();
        std::thread::Builder::new().name("stdin".into()).spawn(move || {
            let mut byte = [0; 64];
            while matches!(io::stdin().lock().read(&mut byte), Ok(1..)) {}
            let _ = sender.blocking_send(Request::Stop(0));
        })?;
    }
    Ok((sender, receiver))
}

/// Calls `act` at each Ctrl-C or SIGTERM, from a thread of its own: for programs without a runtime.
pub fn on_interrupt(act: impl Fn() + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ready, listening) = watch::channel(false);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async move {
            let Ok((_, mut requests)) = listen(false) else { return };
            let _ = ready.send(true);
            while let Some(request) = requests.recv().await {
                if matches!(request, Request::Stop(_)) {
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
