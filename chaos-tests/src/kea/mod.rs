//! The same packets to a real Kea and to one Leasehold node with the same configuration: their replies are the same, field by field
//! and option by option, except for what a data file lists with its reason.
//!
//! * [`corpus`]: the exchanges, as files that people read. [`words`]: one packet of them.
//! * [`lab`]: a cable to a server. Frames are made and read byte by byte, so any client, relay and address can be played.
//! * [`server`]: one Kea or Leasehold process with one configuration. [`run`]: the exchanges against it,
//!   packet by packet ([`draft`]), both servers in step ([`pace`]).
//! * [`service`]: Kea alone or as a pair, as people run it.
//! * [`reply`]: what is compared. [`differences`]: what is listed, and the page for operators that is made from the list.
//!
//! The control API is compared likewise: [`requests`] are the stories, [`control`] tells them to a server, [`answer`] is what is compared.
//!
//! Silence is not waited for: after each packet goes a *sentinel*, a REQUEST of a client of its own in a subnet of its own, which every
//! server answers after it is done with the packet before.
//!
//! | Variable | Meaning |
//! |---|---|
//! | `ORACLE_KEA=3` with `ORACLE_KEA_ROOT=DIR` | Kea 3.0 in the root file system `DIR` in place of the installed 2.2 |
//! | `ORACLE_ONLY=TEXT` | only configurations with `TEXT` in `file/configuration` |
//! | `ORACLE_SHOW=1` | print every packet and what came back |
//! | `ORACLE_ALONE=kea` | Kea only: nothing is compared |
//! | `ORACLE_RECORD=1` | with Kea 3.0: write its answers to requests down, for the places that have only 2.2 |

pub mod answer;
pub mod control;
pub mod corpus;
pub mod differences;
pub mod draft;
pub mod lab;
pub mod pace;
pub mod reply;
pub mod requests;
pub mod run;
pub mod server;
pub mod service;
pub mod words;

/// A version of Kea that we compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 2.2, Debian's.
    V2,
    /// 3.0.
    V3,
}

impl Version {
    /// From `2.2` or `3.0`.
    pub fn parse(word: &str) -> Option<Version> {
        match word {
            "2.2" => Some(Version::V2),
            "3.0" => Some(Version::V3),
            _ => None,
        }
    }

    /// `2.2` or `3.0`.
    pub fn text(self) -> &'static str {
        match self {
            Version::V2 => "2.2",
            Version::V3 => "3.0",
        }
    }
}
