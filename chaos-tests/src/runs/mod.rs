//! The command `chaos`: many seeds, with progress, and a report that says what to do about a failure.
//!
//! [`sim`] runs seeds and adds up what they showed; [`shrink`] makes the plan of a failing one as small as it stays failing; [`tally`] is
//! the sum; [`flags`] the command line. Exit status: 0 when every promise was kept, 1 when one was broken, 2 for wrong words.

use std::process::ExitCode;

use clap::Parser;

pub mod flags;
pub mod shrink;
pub mod sim;
pub mod tally;

use flags::{Flags, Verb};

/// The whole program.
pub fn main() -> ExitCode {
    match Flags::parse().verb {
        Verb::Sim(flags) => sim::run(&flags),
    }
}
