//! What a client or a relay sends: for simulated clients and for tests.

use std::net::Ipv4Addr;

use super::message::Message;
use super::message_type::MessageType;
use super::reply::put_option;
use super::{BOOTREQUEST, BROADCAST, HEADER, MAGIC_COOKIE, at, codes};
use crate::types::HwAddr;

/// Builds a query in the order of the calls, and writes broken ones as willingly as good ones.
///
/// ```
/// use leasehold::packet::v4::{MessageType, Query};
/// use leasehold::types::HwAddr;
///
/// let mac = HwAddr::ethernet([2, 0, 0, 0, 0, 1]);
/// let discover = Query::new(MessageType::Discover, 7, mac).list(&[1, 3, 6]).encode();
/// assert_eq!(discover.len(), 300);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    header: [u8; HEADER],
    options: Vec<u8>,
    min_len: usize,
}

impl Query {
    /// A query with a type.
    pub fn new(message_type: MessageType, xid: u32, hw: HwAddr) -> Query {
        Query::bare(xid, hw).option(codes::MESSAGE_TYPE, &[message_type.code()])
    }

    /// A query without any option.
    pub fn bare(xid: u32, hw: HwAddr) -> Query {
        let mut header = [0; HEADER];
        header[at::OP] = BOOTREQUEST;
        header[at::HTYPE] = hw.htype();
        header[at::HLEN] = hw.bytes().len() as u8;
        header[at::XID..at::XID + 4].copy_from_slice(&xid.to_be_bytes());
        header[at::CHADDR.start..at::CHADDR.start + hw.bytes().len()].copy_from_slice(hw.bytes());
        header[at::COOKIE].copy_from_slice(&MAGIC_COOKIE);
        Query { header, options: Vec::new(), min_len: 300 }
    }

    /// Sets the broadcast flag.
    #[must_use]
    pub fn broadcast(mut self) -> Query {
        self.header[at::FLAGS..at::FLAGS + 2].copy_from_slice(&BROADCAST.to_be_bytes());
        self
    }

    /// Sets `secs`.
    #[must_use]
    pub fn secs(mut self, secs: u16) -> Query {
        self.header[at::SECS..at::SECS + 2].copy_from_slice(&secs.to_be_bytes());
        self
    }

    /// Sets `hops`.
    #[must_use]
    pub fn hops(mut self, hops: u8) -> Query {
        self.header[at::HOPS] = hops;
        self
    }

    /// Sets `ciaddr`.
    #[must_use]
    pub fn ciaddr(self, address: Ipv4Addr) -> Query {
        self.bytes_at(at::CIADDR, &address.octets())
    }

    /// Sets `giaddr`: the query passed a relay.
    #[must_use]
    pub fn giaddr(self, address: Ipv4Addr) -> Query {
        self.bytes_at(at::GIADDR, &address.octets())
    }

    /// Fills `file` with these bytes, from its start; at most 128.
    #[must_use]
    pub fn file(self, bytes: &[u8]) -> Query {
        self.bytes_at(at::FILE.start, &bytes[..bytes.len().min(at::FILE.len())])
    }

    /// Fills `sname` with these bytes, from its start; at most 64.
    #[must_use]
    pub fn sname(self, bytes: &[u8]) -> Query {
        self.bytes_at(at::SNAME.start, &bytes[..bytes.len().min(at::SNAME.len())])
    }

    /// Overwrites header bytes, such as `op` at 0 or `hlen` at 2; what lies behind the header is
    /// ignored.
    #[must_use]
    pub fn bytes_at(mut self, at: usize, bytes: &[u8]) -> Query {
        for (place, byte) in self.header.iter_mut().skip(at).zip(bytes) {
            *place = *byte;
        }
        self
    }

    /// Appends an option, split when it is longer than 255 bytes.
    #[must_use]
    pub fn option(mut self, code: u8, value: &[u8]) -> Query {
        put_option(&mut self.options, code, value);
        self
    }

    /// Appends bytes to the options as they are: pads, overruns, an early End.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Query {
        self.options.extend(bytes);
        self
    }

    /// Appends option 50.
    #[must_use]
    pub fn requested_address(self, address: Ipv4Addr) -> Query {
        self.option(codes::REQUESTED_ADDRESS, &address.octets())
    }

    /// Appends option 54.
    #[must_use]
    pub fn server_id(self, address: Ipv4Addr) -> Query {
        self.option(codes::SERVER_ID, &address.octets())
    }

    /// Appends option 61.
    #[must_use]
    pub fn client_id(self, id: &[u8]) -> Query {
        self.option(codes::CLIENT_ID, id)
    }

    /// Appends option 55.
    #[must_use]
    pub fn list(self, codes: &[u8]) -> Query {
        self.option(codes::PARAMETER_REQUEST_LIST, codes)
    }

    /// Appends option 82.
    #[must_use]
    pub fn relay_info(self, sub_options: &[u8]) -> Query {
        self.option(codes::RELAY_AGENT_INFO, sub_options)
    }

    /// Leaves out the padding to 300 bytes.
    #[must_use]
    pub fn unpadded(mut self) -> Query {
        self.min_len = 0;
        self
    }

    /// The datagram: End behind the options, then zeros to 300 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.without_end();
        bytes.push(codes::END);
        bytes.resize(bytes.len().max(self.min_len), 0);
        bytes
    }

    /// The datagram with nothing behind the options, not even End.
    pub fn without_end(&self) -> Vec<u8> {
        [&self.header, self.options.as_slice()].concat()
    }

    /// The query as the server reads it.
    ///
    /// # Panics
    /// When the header was made such that the server drops it: for tests.
    pub fn message(&self) -> Message {
        Message::from_vec(self.encode()).expect("the query has a header that is served")
    }
}
