//! The handlers, by subject. Pure: arguments and views in, plans out.

pub mod alarm;
pub mod circuit;
pub mod class;
pub mod cluster;
pub mod config;
pub mod config_file;
pub mod drain;
mod edits;
pub mod ha;
pub mod hash_check;
pub mod history;
pub mod lease4;
pub mod lease_history;
pub mod log_measure;
pub mod network4;
pub mod node;
pub mod node_token;
pub mod policy;
pub mod process;
pub mod recovery;
pub mod reservation;
pub mod select_test;
pub mod service;
pub mod stat_lease4;
pub mod statistics;
pub mod subnet4;
pub mod upgrade;
