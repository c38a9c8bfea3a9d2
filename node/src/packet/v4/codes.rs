//! Codes of the options that act, and of the sub-options of option 82.
//!
//! All other options are rows of the table in `options`; nobody needs a constant for them.

#![allow(missing_docs)] // the name is the documentation: IANA "BOOTP Vendor Extensions and DHCP Options"

pub const PAD: u8 = 0;
pub const SUBNET_MASK: u8 = 1;
pub const ROUTERS: u8 = 3;
pub const HOST_NAME: u8 = 12;
pub const VENDOR_ENCAPSULATED: u8 = 43;
pub const REQUESTED_ADDRESS: u8 = 50;
pub const LEASE_TIME: u8 = 51;
pub const OVERLOAD: u8 = 52;
pub const MESSAGE_TYPE: u8 = 53;
pub const SERVER_ID: u8 = 54;
pub const PARAMETER_REQUEST_LIST: u8 = 55;
pub const MESSAGE: u8 = 56;
pub const MAX_MESSAGE_SIZE: u8 = 57;
pub const RENEWAL_TIME: u8 = 58;
pub const REBINDING_TIME: u8 = 59;
pub const VENDOR_CLASS: u8 = 60;
pub const CLIENT_ID: u8 = 61;
pub const TFTP_SERVER_NAME: u8 = 66;
pub const BOOT_FILE_NAME: u8 = 67;
pub const USER_CLASS: u8 = 77;
pub const RAPID_COMMIT: u8 = 80;
pub const FQDN: u8 = 81;
pub const RELAY_AGENT_INFO: u8 = 82;
pub const CLIENT_ARCHITECTURE: u8 = 93;
pub const CLIENT_INTERFACE: u8 = 94;
pub const CLIENT_MACHINE_ID: u8 = 97;
pub const V6_ONLY_PREFERRED: u8 = 108;
pub const AUTO_CONFIGURE: u8 = 116;
pub const SUBNET_SELECTION: u8 = 118;
pub const DOMAIN_SEARCH: u8 = 119;
pub const CLASSLESS_ROUTES: u8 = 121;
/// RFC 3925: vendor-identifying vendor class.
pub const VENDOR_CLASSES: u8 = 124;
/// RFC 3925: vendor-identifying vendor-specific information.
pub const VENDOR_OPTIONS: u8 = 125;
pub const END: u8 = 255;

/// Sub-options of option 82.
pub mod relay {
    pub const CIRCUIT_ID: u8 = 1;
    pub const REMOTE_ID: u8 = 2;
    /// RFC 3527.
    pub const LINK_SELECTION: u8 = 5;
    /// RFC 3993.
    pub const SUBSCRIBER_ID: u8 = 6;
    /// RFC 5010.
    pub const FLAGS: u8 = 10;
    /// RFC 5107.
    pub const SERVER_ID_OVERRIDE: u8 = 11;
    /// RFC 6925.
    pub const RELAY_ID: u8 = 12;
    /// RFC 8357.
    pub const RELAY_SOURCE_PORT: u8 = 19;
    /// RFC 6607.
    pub const VIRTUAL_SUBNET: u8 = 151;
    /// RFC 6607.
    pub const VIRTUAL_SUBNET_CONTROL: u8 = 152;
}
