//! Where log lines go: standard output, as Kea's default logger, filtered by `LEASEHOLD_LOG`
//! (`info`, `debug`, `leasehold::serve=debug`, …).

use tracing_subscriber::EnvFilter;

/// Starts logging for the process. Calling it twice keeps the first.
pub fn start_logging(debug: bool) {
    // While a peer is away openraft warns twenty times a second; ours tell it once.
    let default = if debug {
        "debug,openraft=info,h2=info,hyper=info,sled=warn"
    } else {
        "info,openraft=error,chunked_wal=warn,sled=warn"
    };
    let filter =
        EnvFilter::try_from_env("LEASEHOLD_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(true)
        .with_ansi(false)
        .try_init();
}
