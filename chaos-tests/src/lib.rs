//! Leasehold under faults: what clients were promised, checked against what happened.
//!
//! * [`client`]: simulated DHCP clients. The state machine is pure; one thread drives hundreds of them over UDP.
//! * [`oracle`]: the ledger of everything clients asked and were told, and one file per promise that is checked over it. Pure;
//!   time is an argument in milliseconds, so a simulation uses the same files.
//! * [`story`]: rounds of faults and judgement, drawn from a seed, the same on every floor.
//! * [`runs`]: the command `chaos`, which plays it for many seeds of the simulation, or for minutes and hours on real servers:
//!   `cargo run --release -p chaos-tests --bin chaos -- --help`.
//! * [`floor`]: where faults happen. `floor::sim` has two simulated worlds; `floor::netns` runs the real binaries in network namespaces with real clients;
//!   `floor::netns::machine` boots whole machines, for packages and units.
//! * [`operate`]: a cluster under a steady load while an operator does something to it; failed exchanges are counted.
//!   [`membership`]: nodes that come and go.
//! * [`kea`]: the same packets, and the same requests to the control API, to a real Kea and to one node, compared field by field.
//! * [`figures`]: the benchmark suite, beside Kea; `cargo bench -p chaos-tests --bench figures` runs it, and nothing else does.
//! * [`pages`]: commands in the documentation, and what they print.
//! * [`abuse`]: malformed packets as a data file. [`perfdhcp`]: the load generator of Kea and what it printed.
//!
//! | Tests | Take about |
//! |---|---|
//! | `partition` | 4 min: two cuts of a minute, a stop of 10 s, a kill, loss |
//! | `real_clients` | 3–4 min: the clients' own timers |
//! | `operate` | 20 s for each of its stories |
//! | `formation`, `cluster` | 1 min each |
//! | `kea` | 1 min: some sixty configurations, two servers each |
//! | `api_abuse` | 30 s to 1 min |
//! | `perf` | 30 s |
//! | `control_api`, `api_cluster` | 10 s each |
//! | `docs` | 45 s: every command of the documentation, on machines that boot for it |
//! | `package`, `three_racks`, `deploy` | 10 s each: package, units, containers, relays |
//! | `ideal`, `sim` | 1 min each: seeds of the simulation, and the faults planted in it |
//! | `power_cut`, `faulty_disk` | 1 min each: disks that lose power, lie, fail and are slow |
//! | `abuse`, `emulator`, `floor`, `mutants` | seconds |
//!
//! `SUBJECT=kea` runs the same tests against one Kea server, where that has a meaning: what fails there, too, is not our fault.
//! `LEASEHOLD_CHAOS_KEEP=1` keeps the files of tests that passed; those of tests that failed are kept in `/tmp/leasehold-chaos`.
//!
//! What needs root, namespaces or a tool goes through [`gate`], which says why it was skipped.

pub mod abuse;
pub mod client;
pub mod clock;
pub mod figures;
pub mod floor;
pub mod gate;
pub mod kea;
pub mod membership;
pub mod operate;
pub mod oracle;
pub mod pages;
pub mod perfdhcp;
pub mod runs;
pub mod shell;
pub mod stop;
pub mod story;
