//! What leaves the cluster for another server.

pub mod files;
pub mod kea;
