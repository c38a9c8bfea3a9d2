//! The wire: bytes to messages and messages to bytes, once per family. Pure.
//!
//! Nothing here knows what an option means beyond what the format needs; values and names are in
//! `options`, decisions in `dhcp`.

pub mod v4;
