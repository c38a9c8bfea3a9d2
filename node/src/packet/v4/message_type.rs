//! Option 53 (RFC 2132 §9.6).

use std::fmt;

macro_rules! message_types {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// What a message is for: the types that IANA lists.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum MessageType { $($(#[$doc])* $name = $code,)* }

        impl MessageType {
            /// Every type, by code.
            pub const ALL: &[MessageType] = &[$(MessageType::$name,)*];

            /// The type with this code.
            pub fn from_code(code: u8) -> Option<MessageType> {
                match code { $($code => Some(MessageType::$name),)* _ => None }
            }

            /// The name as RFCs and Kea's statistics write it, without the DHCP prefix.
            pub fn name(self) -> &'static str {
                match self { $(MessageType::$name => $text,)* }
            }
        }
    };
}

message_types! {
    /// A client looks for servers.
    Discover = 1, "DISCOVER";
    /// A server proposes an address.
    Offer = 2, "OFFER";
    /// A client wants, confirms or extends an address.
    Request = 3, "REQUEST";
    /// A client found its address in use.
    Decline = 4, "DECLINE";
    /// A server grants.
    Ack = 5, "ACK";
    /// A server refuses.
    Nak = 6, "NAK";
    /// A client gives its address back.
    Release = 7, "RELEASE";
    /// A client with an address wants options.
    Inform = 8, "INFORM";
    /// RFC 3203.
    ForceRenew = 9, "FORCERENEW";
    /// RFC 4388.
    LeaseQuery = 10, "LEASEQUERY";
    /// RFC 4388.
    LeaseUnassigned = 11, "LEASEUNASSIGNED";
    /// RFC 4388.
    LeaseUnknown = 12, "LEASEUNKNOWN";
    /// RFC 4388.
    LeaseActive = 13, "LEASEACTIVE";
    /// RFC 6926.
    BulkLeaseQuery = 14, "BULKLEASEQUERY";
    /// RFC 6926.
    LeaseQueryDone = 15, "LEASEQUERYDONE";
    /// RFC 7724.
    ActiveLeaseQuery = 16, "ACTIVELEASEQUERY";
    /// RFC 7724.
    LeaseQueryStatus = 17, "LEASEQUERYSTATUS";
    /// RFC 7724.
    Tls = 18, "TLS";
}

impl MessageType {
    /// The value of option 53.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a message has no type, which costs the packet (rule P7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BadMessageType {
    /// No option 53: BOOTP, which is not served.
    #[error("no message type: BOOTP")]
    Absent,
    /// Not exactly one byte after joining.
    #[error("the message type is not one byte")]
    Length,
    /// A code that IANA does not list.
    #[error("unknown message type {0}")]
    Unknown(u8),
}
