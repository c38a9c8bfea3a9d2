//! The command `chaos`: many seeds, with progress, and a report that says what to do about a failure.
//!
//! [`sim`] runs seeds and adds up what they showed; [`shrink`] makes the plan of a failing one as small as it stays failing; [`netns`] runs
//! the same story on real servers, for minutes or hours. [`tally`] is the sum; [`flags`] the command line. [`page`] shows the sum, and the
//! runs that broke something, as one HTML file. Exit status: 0 when every promise was kept, 1 when one was broken, 2 for wrong words, a
//! page that cannot be written, or servers that cannot be run here.

use std::process::ExitCode;

use clap::Parser;

pub mod flags;
pub mod netns;
pub mod page;
pub mod shrink;
pub mod sim;
pub mod tally;

use flags::{Flags, Verb};

/// The whole program.
pub fn main() -> ExitCode {
    match Flags::parse().verb {
        Verb::Sim(flags) => sim::run(&flags),
        Verb::Netns(flags) => netns::run(&flags),
        Verb::Soak(flags) => netns::soak(&flags),
    }
}
