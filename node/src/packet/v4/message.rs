//! One datagram, read: the header's fields and the options by code.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use super::index::{Fault, FaultKind, Index};
use super::message_type::{BadMessageType, MessageType};
use super::relay::RelayInfo;
use super::{
    BOOTP, BOOTREPLY, BOOTREQUEST, BROADCAST, HEADER, MAGIC_COOKIE, MAX_CLIENT_ID, at, codes,
};
use crate::types::{ClientId, HwAddr, Lifetime};

/// Why a datagram is no DHCP message for us; it is counted and dropped (rules P1–P3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// Shorter than the fixed header with its cookie.
    #[error("shorter than 240 bytes")]
    Short,
    /// Longer than a UDP datagram can be.
    #[error("longer than 65535 bytes")]
    Long,
    /// The magic cookie is missing.
    #[error("no magic cookie")]
    Cookie,
    /// `op` is not the expected one; from a client it must be 1, BOOTREQUEST.
    #[error("op {0} is not the direction expected")]
    Op(u8),
    /// `hlen` over 16.
    #[error("hlen {0} is over 16")]
    HwAddrLength(u8),
}

/// An option whose absence and whose being broken mean different things (rule P7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TypedOption<T> {
    /// Not in the message.
    Absent,
    /// There, but not of the right length.
    Bad,
    /// There.
    Is(T),
}

impl<T> TypedOption<T> {
    /// The value; a bad option counts as absent.
    pub fn ok(self) -> Option<T> {
        match self {
            TypedOption::Is(value) => Some(value),
            TypedOption::Absent | TypedOption::Bad => None,
        }
    }

    /// Whether the message has the option, broken or not.
    pub fn is_present(&self) -> bool {
        !matches!(self, TypedOption::Absent)
    }
}

/// Option 61 (rule P7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientIdOption {
    /// Not in the message.
    Absent,
    /// Under 2 bytes: the hardware address identifies the client, and without one the packet is
    /// dropped.
    Ignored,
    /// Over 255 bytes joined: the packet is dropped, since two clients would become one if it
    /// were cut.
    TooLong,
    /// An identifier.
    Is(ClientId),
}

/// A DHCPv4 message as it was received: the bytes, and where the options are.
///
/// It owns the datagram, so that a pending decision can keep it. The accessors read the bytes
/// when asked.
#[derive(Clone)]
pub struct Message {
    bytes: Vec<u8>,
    index: Index,
    faults: Vec<Fault>,
    not_dhcp: Option<Malformed>,
}

impl Message {
    /// Reads what a client or a relay sent; `op` must be 1 (rule P2).
    pub fn parse(datagram: &[u8]) -> Result<Message, Malformed> {
        check(datagram, BOOTREQUEST)?;
        Ok(Message::checked(datagram.to_vec()))
    }

    /// As [`Message::parse`], without copying.
    pub fn from_vec(datagram: Vec<u8>) -> Result<Message, Malformed> {
        check(&datagram, BOOTREQUEST)?;
        Ok(Message::checked(datagram))
    }

    /// As [`Message::from_vec`], but what may be BOOTP without vendor extensions is a message, too
    /// (RFC 951; rules P1, M14): 236 bytes are enough, and no cookie is needed. It has no options, and
    /// [`Message::not_dhcp`] says what it lacks.
    pub fn received(datagram: Vec<u8>) -> Result<Message, Malformed> {
        match check(&datagram, BOOTREQUEST) {
            Ok(()) => Ok(Message::checked(datagram)),
            Err(lacks @ (Malformed::Short | Malformed::Cookie)) if datagram.len() >= BOOTP => {
                check_header(&datagram, BOOTREQUEST)?;
                let index = Index::none();
                Ok(Message { bytes: datagram, index, faults: Vec::new(), not_dhcp: Some(lacks) })
            }
            Err(malformed) => Err(malformed),
        }
    }

    /// Reads what a server sent; `op` must be 2. For clients, tests, and the counter of foreign
    /// servers (rule M18).
    pub fn parse_reply(datagram: &[u8]) -> Result<Message, Malformed> {
        check(datagram, BOOTREPLY)?;
        Ok(Message::checked(datagram.to_vec()))
    }

    fn checked(bytes: Vec<u8>) -> Message {
        let mut faults = Vec::new();
        let index = Index::of(&bytes, &mut faults);
        let mut message = Message { bytes, index, faults, not_dhcp: None };
        message.note_bad_values();
        message
    }

    /// What keeps this from being a DHCP message, if something does: then it may be BOOTP.
    pub fn not_dhcp(&self) -> Option<Malformed> {
        self.not_dhcp
    }

    /// The datagram.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What was noticed to be wrong with options, in no special order. At most one for each area
    /// and one for each option that acts.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// 1 from a client, 2 from a server.
    pub fn op(&self) -> u8 {
        self.u8_at(at::OP)
    }

    /// The ARP hardware type.
    pub fn htype(&self) -> u8 {
        self.u8_at(at::HTYPE)
    }

    /// The length of the hardware address, at most 16.
    pub fn hlen(&self) -> u8 {
        self.u8_at(at::HLEN)
    }

    /// How many relays the message passed.
    pub fn hops(&self) -> u8 {
        self.u8_at(at::HOPS)
    }

    /// The transaction number.
    pub fn xid(&self) -> u32 {
        u32::from_be_bytes(self.array_at(at::XID))
    }

    /// Seconds since the client began, as it says; not to be relied on (rule C4).
    pub fn secs(&self) -> u16 {
        u16::from_be_bytes(self.array_at(at::SECS))
    }

    /// The field `flags`, all 16 bits.
    pub fn flags(&self) -> u16 {
        u16::from_be_bytes(self.array_at(at::FLAGS))
    }

    /// Whether the client asks for broadcast replies.
    pub fn broadcast_flag(&self) -> bool {
        self.flags() & BROADCAST != 0
    }

    /// The address the client has.
    pub fn ciaddr(&self) -> Ipv4Addr {
        self.array_at::<4>(at::CIADDR).into()
    }

    /// The address a server gives.
    pub fn yiaddr(&self) -> Ipv4Addr {
        self.array_at::<4>(at::YIADDR).into()
    }

    /// The next server to boot from.
    pub fn siaddr(&self) -> Ipv4Addr {
        self.array_at::<4>(at::SIADDR).into()
    }

    /// The relay's address.
    pub fn giaddr(&self) -> Ipv4Addr {
        self.array_at::<4>(at::GIADDR).into()
    }

    /// Whether it came through a relay: `giaddr` is neither 0.0.0.0 nor 255.255.255.255.
    pub fn is_relayed(&self) -> bool {
        !self.giaddr().is_unspecified() && !self.giaddr().is_broadcast()
    }

    /// The hardware address: `hlen` bytes of the field `chaddr` (rule P3).
    pub fn chaddr(&self) -> &[u8] {
        let field = self.chaddr_field();
        field.get(..usize::from(self.hlen())).unwrap_or(field)
    }

    /// The hardware address with its type.
    pub fn hw_addr(&self) -> HwAddr {
        HwAddr::new(self.htype(), self.chaddr())
            .expect("hlen was checked when the message was read")
    }

    /// All 16 bytes of `chaddr`, to be copied into replies.
    pub fn chaddr_field(&self) -> &[u8] {
        &self.bytes[at::CHADDR]
    }

    /// The field `sname` to its first NUL; empty when it holds options (rule P5).
    pub fn sname(&self) -> &[u8] {
        if self.index.overload() & 2 != 0 { &[] } else { to_nul(&self.bytes[at::SNAME]) }
    }

    /// The field `file` to its first NUL; empty when it holds options (rule P5).
    pub fn file(&self) -> &[u8] {
        if self.index.overload() & 1 != 0 { &[] } else { to_nul(&self.bytes[at::FILE]) }
    }

    /// Whether the message has the option, of whatever length.
    pub fn has(&self, code: u8) -> bool {
        self.index.has(code)
    }

    /// The bytes of an option, all its instances joined in order of appearance (rule P6).
    pub fn option(&self, code: u8) -> Option<Cow<'_, [u8]>> {
        self.index.get(&self.bytes, code)
    }

    /// The codes of all options present, ascending.
    pub fn option_codes(&self) -> impl Iterator<Item = u8> {
        self.index.codes()
    }

    /// Option 53. Any error costs the packet (rule P7).
    pub fn message_type(&self) -> Result<MessageType, BadMessageType> {
        let value = self.option(codes::MESSAGE_TYPE).ok_or(BadMessageType::Absent)?;
        let [code] = *value else { return Err(BadMessageType::Length) };
        MessageType::from_code(code).ok_or(BadMessageType::Unknown(code))
    }

    /// Option 50. Bad drops a REQUEST or DECLINE and counts as absent in a DISCOVER (rule P7).
    pub fn requested_address(&self) -> TypedOption<Ipv4Addr> {
        self.address(codes::REQUESTED_ADDRESS)
    }

    /// Option 54. Bad drops a REQUEST, DECLINE or RELEASE and counts as absent elsewhere (rule P7).
    pub fn server_id(&self) -> TypedOption<Ipv4Addr> {
        self.address(codes::SERVER_ID)
    }

    /// Option 118 (RFC 3011).
    pub fn subnet_selection(&self) -> TypedOption<Ipv4Addr> {
        self.address(codes::SUBNET_SELECTION)
    }

    /// Option 61.
    pub fn client_id(&self) -> ClientIdOption {
        match self.index.len_of(codes::CLIENT_ID) {
            None => ClientIdOption::Absent,
            Some(len) if len > MAX_CLIENT_ID => ClientIdOption::TooLong,
            Some(_) => {
                let id = self.option(codes::CLIENT_ID).and_then(|value| ClientId::new(&value).ok());
                id.map_or(ClientIdOption::Ignored, ClientIdOption::Is)
            }
        }
    }

    /// Option 55: the codes the client wants, in its order, duplicates as sent; empty when absent.
    pub fn parameter_request_list(&self) -> Cow<'_, [u8]> {
        self.option(codes::PARAMETER_REQUEST_LIST).unwrap_or_default()
    }

    /// Option 51: the lease time a client wishes for, or a server gives.
    pub fn lease_time(&self) -> Option<Lifetime> {
        self.u32_option(codes::LEASE_TIME).map(Lifetime::from_secs)
    }

    /// Option 57, as sent; see [`super::payload_limit`].
    pub fn max_message_size(&self) -> Option<u16> {
        self.fixed(codes::MAX_MESSAGE_SIZE).ok().map(u16::from_be_bytes)
    }

    /// Option 82, empty or not.
    pub fn relay_info(&self) -> Option<RelayInfo<'_>> {
        self.option(codes::RELAY_AGENT_INFO).map(RelayInfo::new)
    }

    /// Text of an option without its trailing NULs (rule P9); `None` when nothing is left. Bytes,
    /// not characters: whoever prints or stores it escapes or sanitises it.
    pub fn text(&self, code: u8) -> Option<Cow<'_, [u8]>> {
        let mut value = self.option(code)?;
        let len = value.iter().rposition(|byte| *byte != 0)? + 1;
        match &mut value {
            Cow::Borrowed(bytes) => *bytes = &bytes[..len],
            Cow::Owned(bytes) => bytes.truncate(len),
        }
        Some(value)
    }

    /// An option of exactly four bytes as a number, such as 51, 58 and 59.
    pub fn u32_option(&self, code: u8) -> Option<u32> {
        self.fixed(code).ok().map(u32::from_be_bytes)
    }

    /// An option of exactly four bytes as an address.
    pub fn address(&self, code: u8) -> TypedOption<Ipv4Addr> {
        match self.fixed::<4>(code) {
            TypedOption::Absent => TypedOption::Absent,
            TypedOption::Bad => TypedOption::Bad,
            TypedOption::Is(octets) => TypedOption::Is(octets.into()),
        }
    }

    fn fixed<const N: usize>(&self, code: u8) -> TypedOption<[u8; N]> {
        match self.option(code) {
            None => TypedOption::Absent,
            Some(value) => <[u8; N]>::try_from(&*value).map_or(TypedOption::Bad, TypedOption::Is),
        }
    }

    fn u8_at(&self, at: usize) -> u8 {
        self.bytes[at]
    }

    fn array_at<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes[at..at + N]);
        array
    }

    /// Adds a fault for each option of a length or value it cannot have.
    fn note_bad_values(&mut self) {
        for (code, right) in LENGTHS {
            if self.index.len_of(*code).is_some_and(|len| !right(len)) {
                self.faults.push(Fault { code: *code, what: FaultKind::Length });
            }
        }
        if self.has(codes::OVERLOAD) && self.index.overload() == 0 {
            self.faults.push(Fault { code: codes::OVERLOAD, what: FaultKind::Value });
        }
        if matches!(self.message_type(), Err(BadMessageType::Unknown(_))) {
            self.faults.push(Fault { code: codes::MESSAGE_TYPE, what: FaultKind::Value });
        }
        if self.relay_info().is_some_and(|info| !info.is_sound()) {
            self.faults.push(Fault { code: codes::RELAY_AGENT_INFO, what: FaultKind::SubOptions });
        }
    }

    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        self.bytes.capacity() + self.index.heap() + self.faults.capacity() * size_of::<Fault>()
    }
}

/// An option and the joined lengths it can have.
type LengthRule = (u8, fn(usize) -> bool);

const LENGTHS: &[LengthRule] = &[
    (codes::REQUESTED_ADDRESS, |len| len == 4),
    (codes::LEASE_TIME, |len| len == 4),
    (codes::MESSAGE_TYPE, |len| len == 1),
    (codes::SERVER_ID, |len| len == 4),
    (codes::PARAMETER_REQUEST_LIST, |len| len > 0),
    (codes::MAX_MESSAGE_SIZE, |len| len == 2),
    (codes::CLIENT_ID, |len| (2..=MAX_CLIENT_ID).contains(&len)),
    (codes::RAPID_COMMIT, |len| len == 0),
    (codes::CLIENT_ARCHITECTURE, |len| len > 0 && len % 2 == 0),
    (codes::AUTO_CONFIGURE, |len| len == 1),
    (codes::SUBNET_SELECTION, |len| len == 4),
];

/// Rules P1 to P3. Everything behind it may rely on the header being there and `hlen` fitting.
fn check(datagram: &[u8], op: u8) -> Result<(), Malformed> {
    if datagram.len() < HEADER {
        return Err(Malformed::Short);
    }
    if datagram.len() > usize::from(u16::MAX) {
        return Err(Malformed::Long);
    }
    if datagram[at::COOKIE] != MAGIC_COOKIE {
        return Err(Malformed::Cookie);
    }
    check_header(datagram, op)
}

/// Rules P2 and P3, of a datagram that has [`BOOTP`] bytes.
fn check_header(datagram: &[u8], op: u8) -> Result<(), Malformed> {
    if datagram[at::OP] != op {
        return Err(Malformed::Op(datagram[at::OP]));
    }
    if usize::from(datagram[at::HLEN]) > at::CHADDR.len() {
        return Err(Malformed::HwAddrLength(datagram[at::HLEN]));
    }
    Ok(())
}

fn to_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Two messages are equal when their bytes are.
impl PartialEq for Message {
    fn eq(&self, other: &Message) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Message {}

/// What a person looks for first; client bytes appear only as numbers.
impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("type", &self.message_type())
            .field("xid", &format_args!("{:08x}", self.xid()))
            .field("hw", &self.hw_addr())
            .field("ciaddr", &self.ciaddr())
            .field("yiaddr", &self.yiaddr())
            .field("giaddr", &self.giaddr())
            .field("options", &self.option_codes().collect::<Vec<_>>())
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
