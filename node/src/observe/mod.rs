//! What can be watched from outside: every metric on one page ([`metrics`]), Kea's statistics
//! ([`statistics`]), and log lines.

pub mod alarms;
pub mod histogram;
mod logging;
pub mod metrics;
pub mod quiet;
pub mod statistics;

pub use logging::start_logging;
