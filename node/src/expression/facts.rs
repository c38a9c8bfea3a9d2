//! What an expression is allowed to ask: of the configuration while it is parsed, of the packet
//! while it is evaluated.

use std::borrow::Cow;

use super::vendor::{self, RELAY_AGENT_INFO};

/// Where the names inside `option[…]` and `member('…')` are looked up.
pub trait OptionNames {
    /// The code of an option of the top-level space `dhcp4`, standard or defined by the operator.
    fn code(&self, name: &str) -> Option<u32>;

    /// Whether `member()` may name this class: it is configured earlier, or built in.
    fn is_class(&self, name: &str) -> bool;
}

/// The `pkt.…` and `pkt4.…` fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// `pkt.iface`: the name of the interface, as text.
    Iface,
    /// `pkt.src`: the source address of the IP packet, 4 bytes.
    Src,
    /// `pkt.dst`: the destination address of the IP packet, 4 bytes.
    Dst,
    /// `pkt.len`: the length of the DHCP message, 4 bytes, big endian.
    Len,
    /// `pkt4.mac`: the hardware address, as many bytes as `hlen` says.
    Mac,
    /// `pkt4.hlen`: the length of the hardware address, 4 bytes, big endian.
    Hlen,
    /// `pkt4.htype`: the hardware type, 4 bytes, big endian.
    Htype,
    /// `pkt4.ciaddr`, 4 bytes.
    Ciaddr,
    /// `pkt4.giaddr`, 4 bytes.
    Giaddr,
    /// `pkt4.yiaddr`, 4 bytes.
    Yiaddr,
    /// `pkt4.siaddr`, 4 bytes.
    Siaddr,
    /// `pkt4.msgtype`: the content of option 53, 4 bytes, big endian; 0 without that option.
    MsgType,
    /// `pkt4.transid`: the transaction id, 4 bytes.
    Transid,
}

/// What an expression may ask of a packet.
pub trait Facts {
    /// The payload of an option, joined if it came in parts (RFC 3396). `None` if absent.
    fn option(&self, code: u8) -> Option<Cow<'_, [u8]>>;

    /// The printable form of an option for `.text`; for a string option its content, whatever its
    /// bytes. `None` if absent.
    fn option_text(&self, code: u8) -> Option<Cow<'_, [u8]>>;

    /// The printable form of a sub-option for `.text`, given its payload. `path` is the code of the
    /// option, then the codes of the sub-options down to this one; below `vendor[…]` it begins with
    /// 125 and the enterprise number is left out.
    fn sub_option_text<'a>(&'a self, path: &[u8], payload: Cow<'a, [u8]>) -> Cow<'a, [u8]> {
        let _ = path;
        payload
    }

    /// The payload of a sub-option of option 82. `None` if absent.
    fn relay(&self, sub: u8) -> Option<Cow<'_, [u8]>> {
        let payload = self.option(RELAY_AGENT_INFO)?;
        let range = vendor::sub_option(&payload, sub, false)?;
        Some(vendor::part(payload, range))
    }

    /// A field of the packet: bytes as [`Field`] says.
    fn field(&self, field: Field) -> Cow<'_, [u8]>;

    /// Whether the packet is in the class.
    fn is_member(&self, class: &str) -> bool;
}

impl Field {
    /// Every field.
    pub const ALL: &'static [Field] = &[
        Field::Iface,
        Field::Src,
        Field::Dst,
        Field::Len,
        Field::Mac,
        Field::Hlen,
        Field::Htype,
        Field::Ciaddr,
        Field::Giaddr,
        Field::Yiaddr,
        Field::Siaddr,
        Field::MsgType,
        Field::Transid,
    ];

    /// How it is written.
    pub fn keyword(self) -> &'static str {
        match self {
            Field::Iface => "pkt.iface",
            Field::Src => "pkt.src",
            Field::Dst => "pkt.dst",
            Field::Len => "pkt.len",
            Field::Mac => "pkt4.mac",
            Field::Hlen => "pkt4.hlen",
            Field::Htype => "pkt4.htype",
            Field::Ciaddr => "pkt4.ciaddr",
            Field::Giaddr => "pkt4.giaddr",
            Field::Yiaddr => "pkt4.yiaddr",
            Field::Siaddr => "pkt4.siaddr",
            Field::MsgType => "pkt4.msgtype",
            Field::Transid => "pkt4.transid",
        }
    }
}
