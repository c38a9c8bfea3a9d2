//! The floor of real binaries: three nodes and their clients in network namespaces.
//!
//! ```text
//!   rack LAN (bridge)    10.77.0.0/16    n1 n2 n3  relay  c1 c2 …
//!   peer network (bridge) 10.99.0.0/24   n1 n2 n3
//! ```
//!
//! Each node, the relay and each real client has a namespace of its own; the two bridges have one each. So links to clients and links
//! between nodes are cut independently, by nftables rules on the bridges ([`traffic`]). The tests speak to the control API from inside
//! the node's namespace, which no cut touches.
//!
//! A bridge cannot delay, reorder or duplicate. A cluster that asks for it has its peer network emulated in user space instead
//! ([`emulator`]), which needs no netem; the same cuts work there.
//!
//! A node can have a disk of its own, which a test fills, stops and breaks ([`loop_disk`]), or makes slow, failing or lying ([`faulty_disk`]).
//!
//! [`real`] plays the [story](crate::story) here.
//!
//! Everything is cleaned up when it is dropped, also by a panic; what a killed test left is swept by the next one ([`cleanup`]).

pub mod api;
pub mod certificates;
pub mod cleanup;
pub mod cluster;
pub mod dhcp_client;
pub mod emulator;
pub mod faulty_disk;
pub mod http;
pub mod loop_disk;
pub mod machine;
pub mod node;
pub mod process;
pub mod racks;
pub mod real;
pub mod sys;
pub mod tap;
pub mod topology;
pub mod traffic;

pub use cluster::{Cluster, Plan};
