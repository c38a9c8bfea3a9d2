//! DHCPv4 on the wire (RFC 2131, 2132, 3396): rules P1–P9 for reading and W1–W3 for writing.
//!
//! * [`Message`] is one datagram with an index of its options. Reading never panics, is linear in
//!   the datagram, and holds at most four times its bytes (rules A6, A7). A broken option costs
//!   itself and nothing else; what was noticed is in [`Message::faults`].
//! * [`Reply`] is what a server sends: [`Reply::encode`] orders, splits, overloads and leaves out.
//! * [`Query`] builds what a client sends, well-formed or not, for tests and simulated clients.
//!
//! BOOTP (rules P1 and M14; RFC 951, 1534) is a message without option 53, or one without cookie, of
//! which 236 bytes are enough ([`Message::received`]), and a reply without what DHCP adds ([`Form`]).

pub mod codes;
mod index;
mod message;
mod message_type;
mod query;
mod relay;
mod reply;

#[cfg(test)]
mod proptests;

pub use index::{Area, Fault, FaultKind};
pub use message::{ClientIdOption, Malformed, Message, TypedOption};
pub use message_type::{BadMessageType, MessageType};
pub use query::Query;
pub use relay::{RelayInfo, SubOptions};
pub use reply::{Encoded, Form, OptionValue, Reply, payload_limit};

/// The fixed header with the magic cookie: no DHCP message is shorter (rule P1).
pub const HEADER: usize = 240;
/// The header without the cookie: no BOOTP message is shorter (RFC 951 §3).
pub const BOOTP: usize = 236;
/// What follows the BOOTP header of every DHCP message (RFC 2131 §3).
pub const MAGIC_COOKIE: [u8; 4] = [99, 130, 83, 99];
/// The length replies are padded to (rule W1; RFC 1542 §2.1).
pub const MIN_REPLY: usize = 300;
/// The longest reply, in bytes of UDP payload: an Ethernet frame without fragments.
pub const MAX_REPLY: usize = 1472;
/// The longest client identifier that is served, joined (rule P7).
pub const MAX_CLIENT_ID: usize = 255;

/// Offsets of the header's fields (RFC 2131 §2, figure 1).
mod at {
    use std::ops::Range;

    pub(super) const OP: usize = 0;
    pub(super) const HTYPE: usize = 1;
    pub(super) const HLEN: usize = 2;
    pub(super) const HOPS: usize = 3;
    pub(super) const XID: usize = 4;
    pub(super) const SECS: usize = 8;
    pub(super) const FLAGS: usize = 10;
    pub(super) const CIADDR: usize = 12;
    pub(super) const YIADDR: usize = 16;
    pub(super) const SIADDR: usize = 20;
    pub(super) const GIADDR: usize = 24;
    pub(super) const CHADDR: Range<usize> = 28..44;
    pub(super) const SNAME: Range<usize> = 44..108;
    pub(super) const FILE: Range<usize> = 108..236;
    pub(super) const COOKIE: Range<usize> = 236..240;
}

/// `op` of a message from a client.
const BOOTREQUEST: u8 = 1;
/// `op` of a message from a server.
const BOOTREPLY: u8 = 2;
/// The broadcast bit of `flags` (RFC 2131 §2, figure 2).
const BROADCAST: u16 = 0x8000;
