//! What is generated from the `.proto` files, and nothing else.
//!
//! * [`command`]: the replicated words. They are on disk for ever; numbers are never used again.
//! * [`raft`]: what openraft's members say to each other.
//! * [`cluster`]: the rest between nodes: forming, forwarding proposals, notes.
//! * [`history`]: filling gaps of the lease history.
#![allow(missing_debug_implementations, clippy::all)]

pub mod command {
    tonic::include_proto!("leasehold.command");
}
pub mod raft {
    tonic::include_proto!("leasehold.raft");
}
pub mod cluster {
    tonic::include_proto!("leasehold.cluster");
}
pub mod history {
    tonic::include_proto!("leasehold.history");
}
