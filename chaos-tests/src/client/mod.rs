//! Simulated DHCP clients.
//!
//! [`machine`] is one client as a pure state machine, [`packet`] its words on the wire (dhcproto is the codec), [`raw`] packets that no
//! honest client sends, [`echo`] answers to pings, and [`fleet`] the thread that drives any number of machines over UDP sockets in a
//! namespace.

pub mod echo;
pub mod fleet;
pub mod machine;
pub mod packet;
pub mod raw;
