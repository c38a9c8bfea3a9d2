//! What a server sends: the header's fields, the options, and the writer (rules W1–W3).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::Deref;
use std::sync::Arc;

use super::message::Message;
use super::message_type::MessageType;
use super::{BOOTREPLY, BROADCAST, HEADER, MAGIC_COOKIE, MAX_REPLY, MIN_REPLY, at, codes};

/// Options that no size limit removes (rule W3), beside 53.
const NEVER_OMITTED: &[u8] = &[
    codes::SUBNET_MASK,
    codes::LEASE_TIME,
    codes::SERVER_ID,
    codes::RENEWAL_TIME,
    codes::REBINDING_TIME,
    codes::CLIENT_ID,
    codes::RELAY_AGENT_INFO,
];

/// IP and UDP headers, which option 57 and the interface's MTU count and a payload does not.
const IP_UDP: usize = 28;
/// What every client takes (RFC 2131 §2).
const MIN_MAX_MESSAGE: u16 = 576;

/// How many bytes of UDP payload a reply may have: option 57 of the query but at least 576, and
/// the interface's MTU, both less the IP and UDP headers; never over [`MAX_REPLY`] (rule W3).
pub fn payload_limit(max_message_size: Option<u16>, mtu: u32) -> usize {
    let client = usize::from(max_message_size.unwrap_or(MIN_MAX_MESSAGE).max(MIN_MAX_MESSAGE));
    let link = usize::try_from(mtu).unwrap_or(usize::MAX);
    (client.min(link).saturating_sub(IP_UDP)).min(MAX_REPLY)
}

/// The bytes of one option, unsplit. Configured values are shared, not copied.
#[derive(Debug, Clone)]
pub enum OptionValue {
    /// Four bytes: an address or a time.
    Word([u8; 4]),
    /// Bytes made for this reply.
    Owned(Vec<u8>),
    /// Bytes of the configuration or of a lease.
    Shared(Arc<[u8]>),
}

impl Deref for OptionValue {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            OptionValue::Word(bytes) => bytes,
            OptionValue::Owned(bytes) => bytes,
            OptionValue::Shared(bytes) => bytes,
        }
    }
}

/// Equal bytes are equal values, however they are held.
impl PartialEq for OptionValue {
    fn eq(&self, other: &OptionValue) -> bool {
        **self == **other
    }
}

impl Eq for OptionValue {}

impl From<Ipv4Addr> for OptionValue {
    fn from(address: Ipv4Addr) -> OptionValue {
        OptionValue::Word(address.octets())
    }
}

impl From<u32> for OptionValue {
    fn from(number: u32) -> OptionValue {
        OptionValue::Word(number.to_be_bytes())
    }
}

impl From<Vec<u8>> for OptionValue {
    fn from(bytes: Vec<u8>) -> OptionValue {
        OptionValue::Owned(bytes)
    }
}

impl From<&[u8]> for OptionValue {
    fn from(bytes: &[u8]) -> OptionValue {
        OptionValue::Owned(bytes.to_vec())
    }
}

impl From<Cow<'_, [u8]>> for OptionValue {
    fn from(bytes: Cow<'_, [u8]>) -> OptionValue {
        OptionValue::Owned(bytes.into_owned())
    }
}

impl From<Arc<[u8]>> for OptionValue {
    fn from(bytes: Arc<[u8]>) -> OptionValue {
        OptionValue::Shared(bytes)
    }
}

/// What kind of client a reply is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// DHCP.
    Dhcp,
    /// BOOTP with vendor extensions (RFC 1497, 1534): none of the options that only DHCP has.
    Bootp,
    /// BOOTP whose client sent no cookie (RFC 951): no options at all.
    PlainBootp,
}

/// A reply before it is written: plain data, to be compared in tests.
///
/// Options are kept by code, one value each; [`Reply::encode`] puts them in order. 53 and 52 are
/// the writer's own and are ignored in `options`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Option 53.
    pub message_type: MessageType,
    /// Whether there is an option 53.
    pub form: Form,
    /// The ARP hardware type.
    pub htype: u8,
    /// The length of the hardware address, at most 16.
    pub hlen: u8,
    /// Copied from the query.
    pub hops: u8,
    /// The transaction number.
    pub xid: u32,
    /// The field `flags`.
    pub flags: u16,
    /// The address the client has.
    pub ciaddr: Ipv4Addr,
    /// The address given.
    pub yiaddr: Ipv4Addr,
    /// The next server to boot from.
    pub siaddr: Ipv4Addr,
    /// The relay.
    pub giaddr: Ipv4Addr,
    /// All 16 bytes of the query's field.
    pub chaddr: [u8; 16],
    /// The field `sname`: at most 64 bytes; empty makes it free for options.
    pub sname: Vec<u8>,
    /// The field `file`: at most 128 bytes; empty makes it free for options.
    pub file: Vec<u8>,
    /// The options by code.
    pub options: BTreeMap<u8, OptionValue>,
    /// Option 55 of the query: what to keep first when there is no room for all.
    pub requested: Vec<u8>,
}

/// A reply as it goes on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The UDP payload. Longer than the limit only if options that are never left out are.
    pub bytes: Vec<u8>,
    /// The codes that found no room, least wanted first.
    pub omitted: Vec<u8>,
}

impl Reply {
    /// A reply with what every reply copies from its query: `htype`, `hlen`, `chaddr`, `xid`,
    /// `hops`, `flags`, `giaddr`, and the list 55. All else is zero or empty.
    pub fn to(query: &Message, message_type: MessageType) -> Reply {
        let mut chaddr = [0; 16];
        chaddr.copy_from_slice(query.chaddr_field());
        Reply {
            message_type,
            form: Form::Dhcp,
            htype: query.htype(),
            hlen: query.hlen(),
            hops: query.hops(),
            xid: query.xid(),
            flags: query.flags(),
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: query.giaddr(),
            chaddr,
            sname: Vec::new(),
            file: Vec::new(),
            options: BTreeMap::new(),
            requested: query.parameter_request_list().into_owned(),
        }
    }

    /// Sets an option, replacing an earlier value.
    pub fn set(&mut self, code: u8, value: impl Into<OptionValue>) {
        self.options.insert(code, value.into());
    }

    /// Sets the broadcast flag, as a relayed NAK needs (rule D6).
    pub fn set_broadcast(&mut self) {
        self.flags |= BROADCAST;
    }

    /// Writes the reply in at most `limit` bytes (see [`payload_limit`]).
    ///
    /// 53 first, the rest ascending, 82 last, End, zeros to 300 bytes (W1); 82 byte for byte (W2);
    /// options over 255 bytes split (RFC 3396). When not all fits, free `file` and `sname` fields
    /// take options, and an option that fits nowhere beside everything the client wants more is
    /// left out (W3). A `file` or `sname` that is too long for its field would be a wrong name, so
    /// it is left out too, as 67 or 66.
    pub fn encode(&self, limit: usize) -> Encoded {
        let mut omitted = Vec::new();
        let sname = self.field(&self.sname, at::SNAME.len(), codes::TFTP_SERVER_NAME, &mut omitted);
        let file = self.field(&self.file, at::FILE.len(), codes::BOOT_FILE_NAME, &mut omitted);
        // Only DHCP clients know that a field can hold options.
        let is_free = |field: &[u8]| field.is_empty() && self.form == Form::Dhcp;
        let plan = Plan::new(self, limit, is_free(file), is_free(sname));
        omitted.extend(plan.omitted.iter().rev());

        let mut bytes = Vec::with_capacity(limit.clamp(MIN_REPLY, MAX_REPLY));
        bytes.extend([BOOTREPLY, self.htype, self.hlen.min(16), self.hops]);
        bytes.extend(self.xid.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(self.flags.to_be_bytes());
        for address in [self.ciaddr, self.yiaddr, self.siaddr, self.giaddr] {
            bytes.extend(address.octets());
        }
        bytes.extend(self.chaddr);
        self.put_field(&mut bytes, sname, &plan.sname, at::SNAME.end);
        self.put_field(&mut bytes, file, &plan.file, at::FILE.end);
        if self.form == Form::PlainBootp {
            bytes.resize(MIN_REPLY, 0);
            return Encoded { bytes, omitted };
        }
        bytes.extend(MAGIC_COOKIE);

        if self.form == Form::Dhcp {
            put_option(&mut bytes, codes::MESSAGE_TYPE, &[self.message_type.code()]);
        }
        let overload = u8::from(!plan.file.is_empty()) | u8::from(!plan.sname.is_empty()) << 1;
        let mut main = plan.main;
        if overload != 0 {
            main.push(codes::OVERLOAD);
        }
        main.sort_unstable_by_key(|code| (*code == codes::RELAY_AGENT_INFO, *code));
        for code in main {
            if code == codes::OVERLOAD {
                put_option(&mut bytes, code, &[overload]);
            } else if let Some(value) = self.options.get(&code) {
                put_option(&mut bytes, code, value);
            }
        }
        bytes.push(codes::END);
        bytes.resize(bytes.len().max(MIN_REPLY.min(limit)), 0);
        Encoded { bytes, omitted }
    }

    fn field<'a>(&self, name: &'a [u8], size: usize, code: u8, omitted: &mut Vec<u8>) -> &'a [u8] {
        if name.len() > size {
            omitted.push(code);
            return &[];
        }
        name
    }

    /// Writes a header field that holds a name or options, filled with zeros up to `end`.
    fn put_field(&self, bytes: &mut Vec<u8>, name: &[u8], options: &[u8], end: usize) {
        bytes.extend(name);
        for code in options {
            if let Some(value) = self.options.get(code) {
                put_option(bytes, *code, value);
            }
        }
        if !options.is_empty() {
            bytes.push(codes::END);
        }
        bytes.resize(end, 0);
    }

    /// Whether the writer takes `code` from `options`. An empty 82 is not echoed (section 3).
    fn is_written(&self, code: u8, value: &OptionValue) -> bool {
        match code {
            codes::PAD | codes::END | codes::MESSAGE_TYPE | codes::OVERLOAD => false,
            // RFC 2132 §9: what only DHCP has; and the client identifier, which BOOTP lacks.
            50..=59 | codes::CLIENT_ID if self.form != Form::Dhcp => false,
            codes::RELAY_AGENT_INFO => !value.is_empty(),
            _ => true,
        }
    }
}

/// Which option goes where.
#[derive(Default)]
struct Plan {
    main: Vec<u8>,
    file: Vec<u8>,
    sname: Vec<u8>,
    /// Most wanted first.
    omitted: Vec<u8>,
}

impl Plan {
    fn new(reply: &Reply, limit: usize, file_free: bool, sname_free: bool) -> Plan {
        let written = || {
            let all = reply.options.iter().filter(|(code, value)| reply.is_written(**code, value));
            all.map(|(code, value)| Item { code: *code, len: encoded_len(value) })
        };
        // Behind the cookie: 53 and End are always there.
        let mut room = limit.saturating_sub(HEADER + 3 + 1);
        if written().map(|item| item.len).sum::<usize>() <= room {
            return Plan { main: written().map(|item| item.code).collect(), ..Plan::default() };
        }
        if file_free || sname_free {
            room = room.saturating_sub(3); // option 52
        }
        let (fixed, mut rest): (Vec<Item>, Vec<Item>) =
            written().partition(|item| NEVER_OMITTED.contains(&item.code));
        room = room.saturating_sub(fixed.iter().map(|item| item.len).sum());
        let rank = |code: u8| {
            reply.requested.iter().position(|wanted| *wanted == code).unwrap_or(usize::MAX)
        };
        rest.sort_by_cached_key(|item| rank(item.code));
        let rooms = [
            room,
            if file_free { at::FILE.len() - 1 } else { 0 },
            if sname_free { at::SNAME.len() - 1 } else { 0 },
        ];
        // The fields are used as little as possible; only when something is left out so is it
        // worth moving small options there to make room for a large one.
        let mut placed = in_order(&rest, rooms);
        if !placed.omitted.is_empty() {
            let tight = tightly(&rest, rooms);
            if tight.omitted.len() < placed.omitted.len() {
                placed = tight;
            }
        }
        let Placed { areas: [mut main, mut file, mut sname], omitted } = placed;
        main.extend(fixed.iter().map(|item| item.code));
        file.sort_unstable();
        sname.sort_unstable();
        Plan { main, file, sname, omitted }
    }
}

/// An option to be placed.
#[derive(Clone, Copy)]
struct Item {
    code: u8,
    /// Its bytes on the wire.
    len: usize,
}

/// Codes by area: options, `file`, `sname`.
type Areas = [Vec<u8>; 3];

#[derive(Default)]
struct Placed {
    areas: Areas,
    omitted: Vec<u8>,
}

/// Puts each option, most wanted first, in the first area that has room.
fn in_order(wanted: &[Item], mut rooms: [usize; 3]) -> Placed {
    let mut placed = Placed::default();
    for item in wanted {
        match rooms.iter().position(|room| *room >= item.len) {
            Some(area) => {
                rooms[area] -= item.len;
                placed.areas[area].push(item.code);
            }
            None => placed.omitted.push(item.code),
        }
    }
    placed
}

/// Keeps each option, most wanted first, for which all that was kept before can move together.
fn tightly(wanted: &[Item], rooms: [usize; 3]) -> Placed {
    let mut placed = Placed::default();
    let mut kept = Vec::new();
    for item in wanted {
        kept.push(*item);
        match best_fit(&kept, rooms) {
            Some(areas) => placed.areas = areas,
            None => {
                kept.pop();
                placed.omitted.push(item.code);
            }
        }
    }
    placed
}

/// Large options first, each in the area it fills best; `None` when one finds no room.
fn best_fit(items: &[Item], mut rooms: [usize; 3]) -> Option<Areas> {
    let mut items = items.to_vec();
    items.sort_by_key(|item| std::cmp::Reverse(item.len));
    let mut areas = Areas::default();
    for item in items {
        let area = (0..rooms.len())
            .filter(|area| rooms[*area] >= item.len)
            .min_by_key(|area| rooms[*area])?;
        rooms[area] -= item.len;
        areas[area].push(item.code);
    }
    Some(areas)
}

/// Code and length bytes included, once for each started 255 bytes.
fn encoded_len(value: &[u8]) -> usize {
    value.len() + 2 * value.len().div_ceil(255).max(1)
}

/// Appends one option, split when it is longer than 255 bytes (RFC 3396 §5).
pub(super) fn put_option(bytes: &mut Vec<u8>, code: u8, value: &[u8]) {
    if value.is_empty() {
        bytes.extend([code, 0]);
    }
    for part in value.chunks(255) {
        bytes.extend([code, part.len() as u8]);
        bytes.extend(part);
    }
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
