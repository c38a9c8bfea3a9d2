//! One file a subcommand.

pub mod config;
pub mod drain;
pub mod hash_check;
mod history;
pub mod leader;
pub mod lease;
pub mod node;
pub mod pki;
pub mod policy;
pub mod recover;
pub mod snapshot;
pub mod status;
pub mod upgrade;
