//! A packet written as words, as the scripts of the DHCP engine write them:
//!
//! ```text
//! discover hw=02:00:00:00:00:01 relay=10.2.0.1 60='PXEClient' 82=1('port 1')+2('switch') 55=1,3,6
//! ```
//!
//! The first word says what is sent and fills in what such a message carries:
//!
//! | Verb | Message | Filled in |
//! |---|---|---|
//! | `discover` | DISCOVER | |
//! | `request` | REQUEST, SELECTING | 50 and 54 of the client's last OFFER |
//! | `reboot` | REQUEST, INIT-REBOOT | 50 its last lease |
//! | `renew` | REQUEST, unicast | ciaddr its last lease |
//! | `rebind` | REQUEST, broadcast or relayed | ciaddr its last lease |
//! | `release` | RELEASE, unicast | ciaddr its last lease, 54 |
//! | `decline` | DECLINE | 50 its last lease, 54 |
//! | `inform` | INFORM | |
//! | `bootp` | no option 53, no cookie's options | |
//! | `bare` | no option 53 | |
//!
//! Then, in any order: `hw=MAC htype=N hlen=N op=N secs=N hops=N broadcast ciaddr=A yiaddr=A siaddr=A giaddr=A sname='…' file='…'`;
//! `relay=A`: relayed by A (giaddr A, one hop, unicast from A); `on=eth1`: the interface; `unicast`; `from=A`: the IP source;
//! `NN=VALUE`: option NN, `-NN` leaves it out; `raw=HEX`: bytes among the options; `@NN=HEX`: bytes of the header; `noend`.
//! An A is an address, or `offered`, `leased`, `offered:NAME`, `leased:NAME` for what a client was given, or `server`.
//!
//! A VALUE is made of parts joined by `+`: an address; `'text'`; `#N`, four bytes; `##N`, two; `N,N,` a byte each; `HH*N` repeated; hex;
//! `N(VALUE)`, a sub-option; `vendor N(VALUE)` written `!N(VALUE)`, an enterprise's block of 124 or 125; `^name.example.` a name in wire form;
//! `%'text'` a text with its length before it.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail, ensure};

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Discover,
    Request,
    Reboot,
    Renew,
    Rebind,
    Release,
    Decline,
    Inform,
    Bootp,
    Bare,
}

impl Verb {
    const ALL: [(&'static str, Verb); 10] = [
        ("discover", Verb::Discover),
        ("request", Verb::Request),
        ("reboot", Verb::Reboot),
        ("renew", Verb::Renew),
        ("rebind", Verb::Rebind),
        ("release", Verb::Release),
        ("decline", Verb::Decline),
        ("inform", Verb::Inform),
        ("bootp", Verb::Bootp),
        ("bare", Verb::Bare),
    ];

    /// The verb `word`.
    pub fn parse(word: &str) -> Option<Verb> {
        Self::ALL.iter().find(|(name, _)| *name == word).map(|(_, verb)| *verb)
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, verb)| *verb == self).map_or("", |(name, _)| name)
    }

    /// Option 53.
    pub fn message_type(self) -> Option<u8> {
        match self {
            Verb::Discover => Some(1),
            Verb::Request | Verb::Reboot | Verb::Renew | Verb::Rebind => Some(3),
            Verb::Decline => Some(4),
            Verb::Release => Some(7),
            Verb::Inform => Some(8),
            Verb::Bootp | Verb::Bare => None,
        }
    }
}

/// An address that may be known only when the packet is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Literal(Ipv4Addr),
    /// The server's on the interface.
    Server,
    /// Of the client's last OFFER; none: the client of this packet.
    Offered(Option<String>),
    /// Of the client's last ACK.
    Leased(Option<String>),
}

impl Address {
    fn parse(text: &str) -> Option<Address> {
        let (word, name) = match text.split_once(':') {
            Some((word, name)) => (word, Some(name.to_owned())),
            None => (text, None),
        };
        match word {
            "server" => Some(Address::Server),
            "offered" => Some(Address::Offered(name)),
            "leased" => Some(Address::Leased(name)),
            _ => text.parse().ok().map(Address::Literal),
        }
    }
}

/// What an option carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Bytes(Vec<u8>),
    Address(Address),
}

/// One word after the verb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    Hardware(Vec<u8>),
    /// A byte of the fixed part.
    Byte(usize, u8),
    Secs(u16),
    Broadcast,
    /// An address of the fixed part, by its place.
    Field(usize, Address),
    /// A text of the fixed part: place, room, bytes.
    Text(usize, usize, Vec<u8>),
    Relay(Ipv4Addr),
    Interface(usize),
    Unicast,
    From(Address),
    Option(u8, Value),
    Without(u8),
    Raw(Vec<u8>),
    Header(usize, Vec<u8>),
    NoEnd,
    /// The client's name, for several exchanges of one client.
    Named(String),
}

/// The words of a line, after the verb.
///
/// # Errors
/// At the first word that is not understood.
pub fn parse(line: &str) -> Result<Vec<Word>> {
    split(line)
        .iter()
        .map(|text| word(text).with_context(|| format!("the word `{text}`")))
        .collect()
}

/// Splits at spaces outside of quotes.
fn split(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            ' ' | '\t' if !quoted => words.push(String::new()),
            _ => {
                quoted ^= letter == '\'';
                if let Some(last) = words.last_mut() {
                    last.push(letter);
                }
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn word(text: &str) -> Result<Word> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    let number = || value.parse::<u8>().context("a number up to 255 is missing");
    let address = || Address::parse(value).context("no address");
    Ok(match key {
        "hw" => Word::Hardware(hex(&value.replace(':', ""))?),
        "op" => Word::Byte(0, number()?),
        "htype" => Word::Byte(1, number()?),
        "hlen" => Word::Byte(2, number()?),
        "hops" => Word::Byte(3, number()?),
        "secs" => Word::Secs(value.parse()?),
        "broadcast" => Word::Broadcast,
        "ciaddr" => Word::Field(12, address()?),
        "yiaddr" => Word::Field(16, address()?),
        "siaddr" => Word::Field(20, address()?),
        "giaddr" => Word::Field(24, address()?),
        "sname" => Word::Text(44, 64, bytes(value)?),
        "file" => Word::Text(108, 128, bytes(value)?),
        "relay" => Word::Relay(value.parse()?),
        "on" => Word::Interface(match value {
            "eth0" => 0,
            "eth1" => 1,
            _ => bail!("the interfaces are eth0 and eth1"),
        }),
        "unicast" => Word::Unicast,
        "from" => Word::From(address()?),
        "as" => Word::Named(value.to_owned()),
        "raw" => Word::Raw(bytes(value)?),
        "noend" => Word::NoEnd,
        _ => {
            if let Some(code) = key.strip_prefix('-') {
                Word::Without(code.parse()?)
            } else if let Some(place) = key.strip_prefix('@') {
                Word::Header(place.parse()?, bytes(value)?)
            } else {
                let code = key.parse().context("neither a field nor an option's code")?;
                Word::Option(code, option_value(value)?)
            }
        }
    })
}

fn option_value(text: &str) -> Result<Value> {
    match Address::parse(text) {
        Some(address) => Ok(Value::Address(address)),
        None => bytes(text).map(Value::Bytes),
    }
}

/// The bytes of a VALUE.
fn bytes(text: &str) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for part in outside(text, '+') {
        all.extend(part_bytes(part).with_context(|| format!("the value `{part}`"))?);
    }
    Ok(all)
}

/// Splits at `divider` outside of quotes and parentheses.
fn outside(text: &str, divider: char) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut quoted) = (Vec::new(), 0, 0_i32, false);
    for (at, letter) in text.char_indices() {
        match letter {
            '\'' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ if letter == divider && !quoted && depth == 0 => {
                parts.push(&text[start..at]);
                start = at + letter.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn part_bytes(part: &str) -> Result<Vec<u8>> {
    let quoted = |text: &str| -> Option<Vec<u8>> {
        let inner = text.strip_prefix('\'')?.strip_suffix('\'')?;
        Some(inner.as_bytes().to_vec())
    };
    if let Some(text) = quoted(part) {
        return Ok(text);
    }
    if let Some(rest) = part.strip_prefix('%') {
        let text = quoted(rest).context("a text in quotes is missing")?;
        return Ok([&[u8::try_from(text.len())?], text.as_slice()].concat());
    }
    if let Some(name) = part.strip_prefix('^') {
        return wire_name(name);
    }
    if let Some((head, inner)) = part.strip_suffix(')').and_then(|part| part.split_once('(')) {
        let inner = bytes(inner)?;
        let length = u8::try_from(inner.len()).context("at most 255 bytes")?;
        let head = match head.strip_prefix('!') {
            Some(enterprise) => enterprise.parse::<u32>()?.to_be_bytes().to_vec(),
            None => vec![head.parse::<u8>().context("a sub-option's code is a number")?],
        };
        return Ok([head, vec![length], inner].concat());
    }
    if let Some(number) = part.strip_prefix("##") {
        return Ok(number.parse::<u16>()?.to_be_bytes().to_vec());
    }
    if let Some(number) = part.strip_prefix('#') {
        return Ok(number.parse::<u32>()?.to_be_bytes().to_vec());
    }
    if let Some((pattern, count)) = part.split_once('*') {
        return Ok(hex(pattern)?.repeat(count.parse()?));
    }
    if part.contains(',') {
        return part
            .split(',')
            .filter(|number| !number.is_empty())
            .map(|number| number.parse::<u8>().context("a byte is a number up to 255"))
            .collect();
    }
    if part.contains('.') {
        return Ok(part.parse::<Ipv4Addr>()?.octets().to_vec());
    }
    hex(part)
}

/// `host.example.` with the final dot is whole; without it, partial: no root label (RFC 4702).
fn wire_name(name: &str) -> Result<Vec<u8>> {
    let mut wire = Vec::new();
    for label in name.trim_end_matches('.').split('.') {
        wire.push(u8::try_from(label.len())?);
        wire.extend_from_slice(label.as_bytes());
    }
    if name.ends_with('.') {
        wire.push(0);
    }
    Ok(wire)
}

fn hex(text: &str) -> Result<Vec<u8>> {
    ensure!(text.len().is_multiple_of(2) && text.is_ascii(), "`{text}` is not hex");
    (0..text.len())
        .step_by(2)
        .map(|at| {
            u8::from_str_radix(&text[at..at + 2], 16)
                .with_context(|| format!("`{text}` is not hex"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_made_of_parts() {
        let cases: [(&str, &[u8]); 9] = [
            ("'a b'", b"a b"),
            ("#600", &[0, 0, 2, 88]),
            ("##7", &[0, 7]),
            ("1,3,", &[1, 3]),
            ("5a*3", &[0x5a; 3]),
            ("1('x')+2(0a)", &[1, 1, b'x', 2, 1, 0x0a]),
            ("!4491(1(0203))", &[0, 0, 0x11, 0x8b, 4, 1, 2, 2, 3]),
            ("00+^a.bc.", &[0, 1, b'a', 2, b'b', b'c', 0]),
            ("%'ab'+%'c'", &[2, b'a', b'b', 1, b'c']),
        ];
        for (text, wanted) in cases {
            assert_eq!(bytes(text).expect(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_word_that_is_not_understood_is_named() {
        let error = parse("hw=02:00:00:00:00:01 colour=red").expect_err("a mistake");
        assert!(format!("{error:#}").contains("colour=red"), "{error:#}");
    }

    #[test]
    fn an_option_may_be_an_address_that_is_not_known_yet() {
        let words = parse("50=leased:alice 54=server").expect("words");
        let leased = Address::Leased(Some("alice".to_owned()));
        assert_eq!(words[0], Word::Option(50, Value::Address(leased)));
        assert_eq!(words[1], Word::Option(54, Value::Address(Address::Server)));
    }
}
