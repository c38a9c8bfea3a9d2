//! One file a subcommand.

pub mod alarms;
pub mod bench;
pub mod circuits;
pub mod config;
pub mod debug;
pub mod drain;
mod each;
pub mod export;
pub mod hash_check;
pub mod health;
mod history;
pub mod import;
pub mod leader;
pub mod lease;
pub mod node;
pub mod pki;
pub mod policy;
pub mod recover;
pub mod snapshot;
pub mod status;
pub mod upgrade;
pub mod watch;
