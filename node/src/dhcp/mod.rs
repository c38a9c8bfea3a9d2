//! Packet engines: a packet, what is known, and the time go in; a [`decision::Decision`] comes
//! out. Nothing here owns a socket, a task, a clock or a lock, so every rule of the protocol
//! contract is tested as values in, values out. Pure.

pub mod decision;
pub mod v4;
