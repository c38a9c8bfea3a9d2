//! Leasehold: a DHCP server that is a cluster.
//!
//! Three or more nodes answer the DHCP packets that reach them. Leases and configuration are one
//! replicated state machine under Raft. Three promises follow, and the code is laid out so that
//! each can be checked in one place:
//!
//! * *An acknowledged lease is never lost*: an ACK is built from a [`state::Granted`], which only
//!   [`state::State::apply`] makes, after a majority has the entry on disk.
//! * *No address is given to two clients*: uniqueness rests on `apply` alone.
//! * *The death of a node is not noticed*: every node can answer every client, and whose turn it is
//!   follows from replicated state (`dhcp::v4::turn`).
//!
//! Modules from bottom to top. A module imports only from those above it in this list; `tests/tidy.rs`
//! holds us to that, and to the purity of the first eight, which take values and return values: no
//! socket, file, task, clock, randomness, environment, metric or log line.
//!
//! | module | | |
//! |---|---|---|
//! | [`types`] | pure | time, client identity, prefixes and ranges |
//! | [`packet`] | pure | the wire: DHCPv4 messages in and out |
//! | [`options`] | pure | DHCP options as a table; text ↔ bytes |
//! | [`expression`] | pure | classification expressions: text → typed tree → value |
//! | [`config`] | pure | Kea's JSON dialect → typed configuration, and back |
//! | [`state`] | pure | the replicated machine: commands, `apply`, outcomes, snapshots |
//! | [`alloc`] | pure | choosing an address; holds |
//! | [`dhcp`] | pure | the packet engine: packet → decision |
//! | [`clock`] | IO | the only reader of clocks |
//! | [`observe`] | IO | every metric on one page; tracing |
//! | [`settings`] | pure heart | `node.toml` and flags |
//! | [`storage`] | IO | log, snapshots, checkpoint, identity on disk |
//! | [`history`] | IO | what happened to leases: segment files, look-ups, followers |
//! | [`raft`] | IO | openraft embedded |
//! | [`propose`] | pure heart | commands → batches → outcomes |
//! | [`peers`] | pure heart | notes between nodes, liveness |
//! | [`net`] | IO | sockets; every `unsafe` line in one file |
//! | [`serve`] | IO | the loops around the engine |
//! | [`api`] | pure heart | Kea's control API |
//! | [`node`] | IO | builds the parts, owns start and shutdown order |
//! | [`demo`] | IO | `leasehold demo`: three nodes and their clients on loopback |

pub mod alloc;
pub mod api;
pub mod clock;
pub mod config;
pub mod demo;
pub mod dhcp;
pub mod expression;
pub mod history;
pub mod net;
pub mod node;
pub mod observe;
pub mod options;
pub mod packet;
pub mod peers;
pub mod propose;
pub mod raft;
pub mod serve;
pub mod settings;
pub mod state;
pub mod storage;
pub mod types;

/// The version of this program, as `version-get` and `--version` print it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The release of Kea whose command line and control API this program has. Started by the name of
/// `kea-dhcp4` it gives this as its version: whoever looks for Kea there decides by it what to expect
/// (see `docs/decisions/2026-11-29-the-name-of-kea.md`).
pub const KEA_VERSION: &str = "3.0.0";

/// `version-get` in full, and `-V`; `version` is the one that the short form gives.
pub fn extended_version(version: &str) -> String {
    format!(
        "{version} (Leasehold {VERSION})\nLeasehold, a DHCP server that is a cluster\ncontrol API of Kea {KEA_VERSION}"
    )
}

/// `build-report`, and `-W`.
pub fn build_report() -> String {
    let assertions = if cfg!(debug_assertions) { "with" } else { "without" };
    format!(
        " \n   Leasehold build report:\n\n   Version:    {VERSION}\n   Target:     {} {}\n   Assertions: {assertions}\n   \
         Consensus:  openraft\n   Storage:    raft-log, sled\n",
        std::env::consts::ARCH,
        std::env::consts::OS,
    )
}
