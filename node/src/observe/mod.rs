//! What can be watched from outside: every metric on one page ([`metrics`]), and log lines.

mod logging;
pub mod metrics;

pub use logging::start_logging;
