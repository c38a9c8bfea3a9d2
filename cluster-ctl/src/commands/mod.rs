//! One file a subcommand.

pub mod config;
pub mod leader;
pub mod lease;
pub mod status;
