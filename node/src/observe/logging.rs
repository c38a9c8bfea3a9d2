//! Where log lines go: standard output, as Kea's default logger, filtered by `LEASEHOLD_LOG`
//! (`info`, `debug`, `leasehold::serve=debug`, …).

use tracing_subscriber::EnvFilter;

/// Starts logging for the process. Calling it twice keeps the first.
pub fn start_logging(debug: bool) {
    // openraft tells its every thought at `info`; ours are the ones an operator can use.
    let default = if debug { "debug,openraft=info,h2=info,hyper=info,sled=warn" } else { "info,openraft=warn,sled=warn" };
    let filter = EnvFilter::try_from_env("LEASEHOLD_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_target(true).with_ansi(false).try_init();
}
