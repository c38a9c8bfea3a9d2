//! `cluster-ctl node`.

use super::drain;
use crate::Output;
use crate::client::{Client, Failure};

/// What to do about a node.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Take a node out of service; its peers answer its clients at once
    Drain(drain::Drain),
    /// Bring a drained node back into service
    Undrain(drain::Undrain),
}

/// Runs it.
pub fn run(client: &Client, command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Drain(wish) => drain::drain(client, wish, output),
        Command::Undrain(wish) => drain::undrain(client, wish, output),
    }
}
