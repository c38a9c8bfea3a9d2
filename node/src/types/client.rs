//! Who a DHCPv4 client is: hardware address, client identifier, and the key made of them
//! (rules I1–I3 of the protocol contract; RFC 2131 §4.2, RFC 4361).

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// A hardware address with its ARP type, at most 16 bytes (RFC 2131 §2, field `chaddr`).
///
/// Length 0 is legal: InfiniBand clients identify themselves by option 61 alone (RFC 4390).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HwAddr {
    htype: u8,
    len: u8,
    bytes: [u8; 16],
}

/// A hardware address that is too long or not written as hexadecimal bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a hardware address is at most 16 bytes, written 02:00:00:00:00:01")]
pub struct BadHwAddr;

impl HwAddr {
    /// The ARP hardware type of Ethernet.
    pub const ETHERNET: u8 = 1;

    /// An address of type `htype`; more than 16 bytes are refused.
    pub fn new(htype: u8, address: &[u8]) -> Result<HwAddr, BadHwAddr> {
        let len = u8::try_from(address.len()).map_err(|_| BadHwAddr)?;
        let mut bytes = [0; 16];
        bytes.get_mut(..address.len()).ok_or(BadHwAddr)?.copy_from_slice(address);
        Ok(HwAddr { htype, len, bytes })
    }

    /// An Ethernet address.
    pub fn ethernet(address: [u8; 6]) -> HwAddr {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&address);
        HwAddr { htype: HwAddr::ETHERNET, len: 6, bytes }
    }

    /// The ARP hardware type.
    pub fn htype(&self) -> u8 {
        self.htype
    }

    /// The address itself, without the padding of `chaddr`.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether it can tell clients apart: not empty, not all zero, and not a group address.
    pub fn is_identity(&self) -> bool {
        let group =
            self.htype == HwAddr::ETHERNET && self.bytes().first().is_some_and(|b| b & 1 == 1);
        !group && self.bytes().iter().any(|b| *b != 0)
    }
}

/// Kea's form, lower case with colons: `02:00:00:00:00:01`.
impl fmt::Display for HwAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&ColonHex(self.bytes()), f)
    }
}

impl fmt::Debug for HwAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{self}", self.htype)
    }
}

/// Reads an Ethernet address as Kea writes it; one or two digits a byte.
impl FromStr for HwAddr {
    type Err = BadHwAddr;

    fn from_str(text: &str) -> Result<HwAddr, BadHwAddr> {
        HwAddr::new(HwAddr::ETHERNET, &parse_colon_hex(text).ok_or(BadHwAddr)?)
    }
}

/// Option 61, opaque (RFC 2132 §9.14): 2 to 255 bytes, never cut, since two clients would become
/// one (rule P7).
///
/// There is one in each lease, so the common ones (RFC 2132: type and hardware address, 7 bytes) lie
/// in it and not in an allocation of their own.
#[derive(Clone)]
pub struct ClientId(IdBytes);

#[derive(Clone)]
enum IdBytes {
    Short {
        len: u8,
        bytes: [u8; SHORT_ID],
    },
    /// Twice in a box, so that the pointer has no length beside it, which every short one would pay for.
    Long(Box<Box<[u8]>>),
}

/// What fits beside the length and the tag into 16 bytes.
const SHORT_ID: usize = 14;

/// A client identifier that is too short, too long, or not written as hexadecimal bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a client identifier is 2 to 255 bytes, written 01:02:00:00:00:00:01")]
pub struct BadClientId;

impl ClientId {
    /// An identifier of 2 to 255 bytes.
    pub fn new(bytes: &[u8]) -> Result<ClientId, BadClientId> {
        if !(2..=255).contains(&bytes.len()) {
            return Err(BadClientId);
        }
        let mut short = [0; SHORT_ID];
        Ok(ClientId(match short.get_mut(..bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                IdBytes::Short { len: bytes.len() as u8, bytes: short }
            }
            None => IdBytes::Long(Box::new(bytes.into())),
        }))
    }

    /// The bytes as the client sent them.
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            IdBytes::Short { len, bytes } => &bytes[..usize::from(*len)],
            IdBytes::Long(bytes) => bytes,
        }
    }
}

impl PartialEq for ClientId {
    fn eq(&self, other: &ClientId) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for ClientId {}

impl Ord for ClientId {
    fn cmp(&self, other: &ClientId) -> Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl PartialOrd for ClientId {
    fn partial_cmp(&self, other: &ClientId) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for ClientId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&ColonHex(self.bytes()), f)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ClientId {
    type Err = BadClientId;

    fn from_str(text: &str) -> Result<ClientId, BadClientId> {
        ClientId::new(&parse_colon_hex(text).ok_or(BadClientId)?)
    }
}

/// What names a client (rule I1): its identifier if it has one that counts, else its hardware
/// address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ClientKey {
    /// Option 61.
    Id(ClientId),
    /// `htype` and `chaddr`.
    Hw(HwAddr),
}

impl ClientKey {
    /// The bytes that decide the bucket of the client.
    pub fn bytes(&self) -> &[u8] {
        match self {
            ClientKey::Id(id) => id.bytes(),
            ClientKey::Hw(hw) => hw.bytes(),
        }
    }
}

impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientKey::Id(id) => write!(f, "id {id}"),
            ClientKey::Hw(hw) => write!(f, "hw {hw}"),
        }
    }
}

/// Prints bytes as `02:00:00:00:00:0a`.
#[derive(Debug, Clone, Copy)]
pub struct ColonHex<'a>(pub &'a [u8]);

impl fmt::Display for ColonHex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let colon = if at == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

/// Prints bytes as `02000000000A`.
#[derive(Debug, Clone, Copy)]
pub struct UpperHex<'a>(pub &'a [u8]);

impl fmt::Display for UpperHex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// Bytes of one or two hexadecimal digits with colons between; empty text is no bytes.
fn parse_colon_hex(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let byte = |digits: &str| {
        let right =
            (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        right.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
    };
    text.split(':').map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_print_as_they_are_read() {
        let hw: HwAddr = "02:0:AA:00:00:0b".parse().unwrap();
        assert_eq!(hw.to_string(), "02:00:aa:00:00:0b");
        assert_eq!(HwAddr::new(1, &[0; 17]), Err(BadHwAddr));
        assert!("02:00:+1".parse::<HwAddr>().is_err());
        assert!("02::01".parse::<HwAddr>().is_err());
    }

    #[test]
    fn zero_empty_and_group_addresses_identify_nobody() {
        for none in ["00:00:00:00:00:00", "", "01:00:5e:00:00:01"] {
            assert!(!none.parse::<HwAddr>().unwrap().is_identity(), "{none:?}");
        }
        assert!("02:00:00:00:00:01".parse::<HwAddr>().unwrap().is_identity());
    }

    #[test]
    fn p7_client_ids_are_2_to_255_bytes() {
        assert!(ClientId::new(&[1]).is_err());
        assert!(ClientId::new(&[1, 2]).is_ok());
        assert!(ClientId::new(&[0; 255]).is_ok());
        assert!(ClientId::new(&[0; 256]).is_err());
    }

    #[test]
    fn client_ids_are_their_bytes_whatever_their_length() {
        let ids: Vec<Vec<u8>> = (2..=255).map(|len| (0..len).collect()).collect();
        let made: Vec<_> = ids.iter().map(|id| ClientId::new(id).unwrap()).collect();
        assert!(made.iter().map(ClientId::bytes).eq(&ids));
        assert!(made.is_sorted(), "each is the beginning of the next");
        assert!(ClientId::new(&[0; 16]).unwrap() < ClientId::new(&[1, 0]).unwrap());
    }
}
