//! One file a subcommand.

pub mod config;
mod history;
pub mod leader;
pub mod lease;
pub mod status;
