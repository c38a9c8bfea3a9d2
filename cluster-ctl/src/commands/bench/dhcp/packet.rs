//! The messages of a simulated client behind a relay agent (RFC 2131, RFC 3046): one template a kind, patched in
//! place, and what is read of a reply without decoding all of it.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, Message, MessageType, OptionCode};
use dhcproto::{Decodable, Decoder};

/// Bytes of every message that is sent: relay agents drop shorter ones (RFC 1542 §2.1).
pub const LENGTH: usize = 300;

const XID: usize = 4;
const CIADDR: usize = 12;
const YIADDR: usize = 16;
const GIADDR: usize = 24;
const CHADDR: usize = 28;
const COOKIE: usize = 236;
const OPTIONS: usize = 240;
const MAGIC: [u8; 4] = [99, 130, 83, 99];

/// Option 53.
const DISCOVER: u8 = 1;
const REQUEST: u8 = 3;
const RELEASE: u8 = 7;

/// What a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// DISCOVER.
    Discover,
    /// REQUEST of a client that selects an offer.
    Request,
    /// REQUEST of a client that extends its lease by unicast (RENEWING).
    Renew,
    /// RELEASE, which nobody answers.
    Release,
}

impl Kind {
    /// All of them, in the order of a client's life.
    pub const ALL: [Kind; 4] = [Kind::Discover, Kind::Request, Kind::Renew, Kind::Release];

    /// Its name on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Discover => "discover",
            Kind::Request => "request",
            Kind::Renew => "renew",
            Kind::Release => "release",
        }
    }
}

/// One message to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// Which client.
    pub client: u32,
    /// What.
    pub kind: Kind,
    /// The transaction.
    pub xid: u32,
    /// The client's address; 0 in a DISCOVER.
    pub address: u32,
    /// Option 54 of the offer; 0 in a DISCOVER.
    pub server: u32,
}

/// What is common to all clients.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// Makes the hardware addresses of one run differ from another's.
    pub seed: u16,
    /// Whether clients send option 61.
    pub client_id: bool,
    /// The relay agent that all of them are behind.
    pub giaddr: Ipv4Addr,
    /// Whether replies shall come to the port that we send from (RFC 8357).
    pub any_port: bool,
}

impl Identity {
    /// The hardware address of a client: locally administered, so that it is nobody's.
    fn hardware(self, client: u32) -> [u8; 6] {
        let [a, b] = self.seed.to_be_bytes();
        let [_, c, d, e] = client.to_be_bytes();
        [0x02, a, b, c, d, e]
    }

    /// The client with this hardware address, if it is one of ours.
    fn client(self, hardware: &[u8]) -> Option<u32> {
        let ([0x02, a, b, c, d, e], seed) = (hardware, self.seed.to_be_bytes()) else {
            return None;
        };
        ([*a, *b] == seed).then(|| u32::from_be_bytes([0, *c, *d, *e]))
    }
}

/// A message of each kind, complete but for what differs from client to client.
#[derive(Debug)]
pub struct Templates {
    identity: Identity,
    kinds: [Template; 4],
}

#[derive(Debug)]
struct Template {
    bytes: [u8; LENGTH],
    /// Where the values of options 61, 50 and 54 begin, if the message has them.
    client_id: Option<usize>,
    requested: Option<usize>,
    server: Option<usize>,
}

impl Templates {
    /// Makes them.
    pub fn new(identity: Identity) -> Templates {
        Templates { identity, kinds: Kind::ALL.map(|kind| Template::new(kind, identity)) }
    }

    /// Writes one message.
    pub fn write(&self, query: &Query, out: &mut [u8; LENGTH]) {
        let template = &self.kinds[query.kind as usize];
        let hardware = self.identity.hardware(query.client);
        out.copy_from_slice(&template.bytes);
        let mut patch = |at: usize, value: &[u8]| out[at..at + value.len()].copy_from_slice(value);
        patch(XID, &query.xid.to_be_bytes());
        patch(CHADDR, &hardware);
        if matches!(query.kind, Kind::Renew | Kind::Release) {
            patch(CIADDR, &query.address.to_be_bytes());
        }
        if let Some(at) = template.client_id {
            patch(at + 1, &hardware);
        }
        if let Some(at) = template.requested {
            patch(at, &query.address.to_be_bytes());
        }
        if let Some(at) = template.server {
            patch(at, &query.server.to_be_bytes());
        }
    }
}

impl Template {
    fn new(kind: Kind, identity: Identity) -> Template {
        let mut bytes = [0; LENGTH];
        // BOOTREQUEST, Ethernet, six bytes of address, one hop.
        bytes[..4].copy_from_slice(&[1, 1, 6, 1]);
        bytes[GIADDR..CHADDR].copy_from_slice(&identity.giaddr.octets());
        bytes[COOKIE..OPTIONS].copy_from_slice(&MAGIC);
        let mut end = OPTIONS;
        let mut option = |code: u8, value: &[u8]| {
            let at = end + 2;
            bytes[end] = code;
            bytes[end + 1] = value.len() as u8;
            bytes[at..at + value.len()].copy_from_slice(value);
            end = at + value.len();
            at
        };
        let code = match kind {
            Kind::Discover => DISCOVER,
            Kind::Request | Kind::Renew => REQUEST,
            Kind::Release => RELEASE,
        };
        option(53, &[code]);
        let client_id = identity.client_id.then(|| option(61, &[1, 0, 0, 0, 0, 0, 0]));
        let requested = (kind == Kind::Request).then(|| option(50, &[0; 4]));
        let server = matches!(kind, Kind::Request | Kind::Release).then(|| option(54, &[0; 4]));
        if kind != Kind::Release {
            // Mask, router, name servers, domain name, lifetime, identity.
            option(55, &[1, 3, 6, 15, 51, 54]);
        }
        // 19: RFC 8357. 10: the client sent by unicast (RFC 5010), which makes a renewal of it.
        let port: &[u8] = if identity.any_port { &[19, 2, 0, 0] } else { &[] };
        let unicast: &[u8] = if kind == Kind::Renew { &[10, 1, 0x80] } else { &[] };
        if !port.is_empty() || !unicast.is_empty() {
            option(82, &[port, unicast].concat());
        }
        bytes[end] = 255;
        Template { bytes, client_id, requested, server }
    }
}

/// What a server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// OFFER.
    Offer,
    /// ACK.
    Ack,
    /// NAK.
    Nak,
}

/// What is read of every reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// To whom, by `chaddr`.
    pub client: u32,
    /// The transaction.
    pub xid: u32,
    /// What.
    pub answer: Answer,
    /// `yiaddr`.
    pub address: u32,
    /// Option 54.
    pub server: u32,
    /// Option 51, seconds; 0 in a NAK.
    pub lifetime: u32,
}

/// Why a datagram is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// It is to somebody else.
    Stray,
    /// It is to one of our clients, which could not use it; what is wrong.
    Malformed(&'static str),
}

impl Reply {
    /// Reads fields at their places and walks over the options once.
    pub fn read(bytes: &[u8], identity: Identity) -> Result<Reply, Bad> {
        let word = |at: usize| bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
        let field = |at: usize| word(at).map_or(0, u32::from_be_bytes);
        if bytes.len() < OPTIONS || bytes[..3] != [2, 1, 6] || word(COOKIE) != Some(MAGIC) {
            return Err(Bad::Stray);
        }
        let client = identity.client(&bytes[CHADDR..CHADDR + 6]).ok_or(Bad::Stray)?;
        if field(GIADDR) != u32::from(identity.giaddr) {
            return Err(Bad::Malformed("giaddr is not that of the relay agent"));
        }
        let (mut message, mut server, mut lifetime) = (0, 0, 0);
        for (code, value) in options(&bytes[OPTIONS..])? {
            let number = || value.try_into().map_or(0, u32::from_be_bytes);
            match code {
                53 => message = value.first().copied().unwrap_or(0),
                54 => server = number(),
                51 => lifetime = number(),
                _ => {}
            }
        }
        let answer = match message {
            2 => Answer::Offer,
            5 => Answer::Ack,
            6 => Answer::Nak,
            _ => return Err(Bad::Malformed("option 53 is none of OFFER, ACK and NAK")),
        };
        let reply =
            Reply { client, xid: field(XID), answer, address: field(YIADDR), server, lifetime };
        match reply {
            Reply { server: 0, .. } => Err(Bad::Malformed("no server identifier (option 54)")),
            Reply { answer: Answer::Nak, .. } => Ok(reply),
            Reply { address: 0, .. } => Err(Bad::Malformed("no address (yiaddr)")),
            Reply { lifetime: 0, .. } => Err(Bad::Malformed("no lifetime (option 51)")),
            _ => Ok(reply),
        }
    }

    /// Decodes the whole reply and holds what was read against that; what does not agree, or does not decode.
    pub fn check(&self, bytes: &[u8]) -> Result<(), String> {
        let message =
            Message::decode(&mut Decoder::new(bytes)).map_err(|error| error.to_string())?;
        let kind = match self.answer {
            Answer::Offer => MessageType::Offer,
            Answer::Ack => MessageType::Ack,
            Answer::Nak => MessageType::Nak,
        };
        let server = Ipv4Addr::from(self.server);
        let told = message.opts().get(OptionCode::ServerIdentifier);
        let wrong = if message.xid() != self.xid {
            "xid"
        } else if message.opts().msg_type() != Some(kind) {
            "message type"
        } else if message.yiaddr() != Ipv4Addr::from(self.address) {
            "yiaddr"
        } else if told != Some(&DhcpOption::ServerIdentifier(server)) {
            "server identifier"
        } else {
            return Ok(());
        };
        Err(format!("two ways of reading it disagree about the {wrong}"))
    }
}

/// The options of a message; checked to end with 255 and within the message.
fn options(bytes: &[u8]) -> Result<impl Iterator<Item = (u8, &[u8])>, Bad> {
    let cut = Bad::Malformed("the options do not end");
    let mut at = 0;
    loop {
        match bytes.get(at) {
            None => return Err(cut),
            Some(255) => break,
            Some(0) => at += 1,
            Some(_) => at += 2 + usize::from(*bytes.get(at + 1).ok_or(cut)?),
        }
    }
    let mut rest = &bytes[..at];
    Ok(std::iter::from_fn(move || {
        while let [0, after @ ..] = rest {
            rest = after;
        }
        let [code, length, after @ ..] = rest else { return None };
        let (value, after) = after.split_at_checked(usize::from(*length))?;
        rest = after;
        Some((*code, value))
    }))
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
