//! Packets that no honest client sends, as a data file.
//!
//! ```text
//! [a name]                 one row: packets, and what must come back
//! from discover            start from a well-formed DISCOVER, REQUEST …
//! set hlen 17              change a field of the fixed part
//! option 61 01aabb         append an option (hex; `61 *300` is 300 bytes of 5a)
//! without 53               remove an option
//! raw 0c20616263           append bytes as they are
//! cut 239                  cut the packet
//! expect drop              drop | offer | ack | nak
//! reply 82 01026162        the reply has this option (hex), or `reply 82 -`: it has not
//! kea answers              what Kea 2.2 does, where it differs: drop | offer | ack | nak
//! ```
//!
//! All packets are relayed unless `direct` (a broadcast on the link) or `unicast` (from a client to the server) is said. Each row is a client
//! of its own unless rows say `client N`; OFFERs to one such client must name one address.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail, ensure};

use crate::client::raw::Raw;

/// What comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    Drop,
    Offer,
    Ack,
    Nak,
}

impl Expect {
    fn parse(word: &str) -> Result<Expect> {
        Ok(match word {
            "drop" => Expect::Drop,
            "offer" => Expect::Offer,
            "ack" => Expect::Ack,
            "nak" => Expect::Nak,
            _ => bail!("`{word}` is none of drop, offer, ack, nak"),
        })
    }

    /// Option 53 of the reply; none for silence.
    pub fn message_type(self) -> Option<u8> {
        match self {
            Expect::Drop => None,
            Expect::Offer => Some(2),
            Expect::Ack => Some(5),
            Expect::Nak => Some(6),
        }
    }
}

/// How a row's packet travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    Relayed,
    /// Broadcast by a client on the link.
    Direct,
    /// Unicast by a client to the server.
    Unicast,
}

/// Where the rows are run.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The relay's address.
    pub relay: Ipv4Addr,
    /// The server's address.
    pub server: Ipv4Addr,
}

/// One row.
#[derive(Debug, Clone)]
pub struct Row {
    pub name: String,
    /// Line in the file, from 1.
    pub line: usize,
    pub route: Route,
    /// Number of a client that has several rows.
    pub client: Option<u8>,
    pub packet: Vec<u8>,
    /// Key under which the answer is found.
    pub xid: u32,
    pub expect: Expect,
    pub kea: Expect,
    /// Options that the reply must have, or (none) must not have.
    pub reply: Vec<(u8, Option<Vec<u8>>)>,
}

/// Reads the rows of `text`.
///
/// # Errors
/// At the first line that is not understood; the message has its number.
pub fn parse(text: &str, place: Place) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    let mut open: Option<(Row, Raw, bool)> = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            finish(open.take(), &mut rows)?;
            open = Some(begin(name, number + 1, place)?);
            continue;
        }
        let (row, raw, expected) =
            open.as_mut().with_context(|| format!("line {}: before any row", number + 1))?;
        statement(line, row, raw, expected, place)
            .with_context(|| format!("line {}: {line}", number + 1))?;
    }
    finish(open, &mut rows)?;
    Ok(rows)
}

fn begin(name: &str, line: usize, place: Place) -> Result<(Row, Raw, bool)> {
    let xid = 0xab00_0000 + u32::try_from(line)?;
    let [_, _, a, b] = xid.to_be_bytes();
    let mut raw = Raw::new(xid, [0x02, 0xab, 0, 0, a, b]);
    raw.fixed[3] = 1;
    raw.address(24, place.relay);
    let row = Row {
        name: name.to_owned(),
        line,
        route: Route::Relayed,
        client: None,
        packet: Vec::new(),
        xid,
        expect: Expect::Drop,
        kea: Expect::Drop,
        reply: Vec::new(),
    };
    Ok((row, raw, false))
}

fn finish(open: Option<(Row, Raw, bool)>, rows: &mut Vec<Row>) -> Result<()> {
    if let Some((mut row, raw, expected)) = open {
        ensure!(expected, "the row [{}] in line {} expects nothing", row.name, row.line);
        row.packet = raw.bytes();
        rows.push(row);
    }
    Ok(())
}

fn statement(
    line: &str,
    row: &mut Row,
    raw: &mut Raw,
    expected: &mut bool,
    place: Place,
) -> Result<()> {
    let mut words = line.split_whitespace();
    let verb = words.next().unwrap_or_default();
    let mut word = || words.next().context("a word is missing");
    match verb {
        "from" => base(word()?, raw, place)?,
        "direct" => {
            row.route = Route::Direct;
            raw.fixed[3] = 0;
            raw.fixed[10] = 0x80;
            raw.address(24, Ipv4Addr::UNSPECIFIED);
        }
        "unicast" => {
            row.route = Route::Unicast;
            raw.fixed[3] = 0;
            raw.address(24, Ipv4Addr::UNSPECIFIED);
        }
        "client" => {
            let number = word()?.parse()?;
            row.client = Some(number);
            raw.fixed[28..34].copy_from_slice(&[0x02, 0xab, 1, 0, 0, number]);
        }
        "set" => {
            let field = word()?.to_owned();
            set(&field, word()?, raw, place)?;
        }
        "option" => {
            let code = word()?.parse()?;
            raw.option(code, &data(word()?, place)?);
        }
        "without" => raw.without(word()?.parse()?),
        "raw" => raw.options.extend(data(word()?, place)?),
        "noend" => raw.end = false,
        "cut" => raw.cut = Some(word()?.parse()?),
        "expect" => {
            row.expect = Expect::parse(word()?)?;
            row.kea = row.expect;
            *expected = true;
        }
        "kea" => row.kea = Expect::parse(word()?)?,
        "reply" => {
            let code = word()?.parse()?;
            let text = word()?;
            row.reply.push((code, if text == "-" { None } else { Some(data(text, place)?) }));
        }
        _ => bail!("the verb `{verb}` is unknown"),
    }
    Ok(())
}

fn base(kind: &str, raw: &mut Raw, place: Place) -> Result<()> {
    let number = match kind {
        "discover" => 1,
        "request" => 3,
        "decline" => 4,
        "release" => 7,
        "inform" => 8,
        "nothing" => return Ok(()),
        _ => bail!("`{kind}` is no message"),
    };
    raw.option(53, &[number]);
    if kind == "request" {
        raw.option(54, &place.server.octets());
    }
    raw.option(55, &[1, 3, 6]);
    Ok(())
}

fn set(field: &str, value: &str, raw: &mut Raw, place: Place) -> Result<()> {
    let byte = || value.parse::<u8>().with_context(|| format!("`{value}` is no byte"));
    match field {
        "op" => raw.fixed[0] = byte()?,
        "htype" => raw.fixed[1] = byte()?,
        "hlen" => raw.fixed[2] = byte()?,
        "hops" => raw.fixed[3] = byte()?,
        "ciaddr" => raw.address(12, address(value, place)?),
        "giaddr" => raw.address(24, address(value, place)?),
        "chaddr" => {
            let bytes = data(value, place)?;
            let room = raw.fixed.get_mut(28..28 + bytes.len()).context("chaddr has 16 bytes")?;
            room.copy_from_slice(&bytes);
        }
        "file" => {
            let bytes = data(value, place)?;
            let room = raw.fixed.get_mut(108..108 + bytes.len()).context("file has 128 bytes")?;
            room.copy_from_slice(&bytes);
        }
        "cookie" => raw.fixed[236..240].copy_from_slice(&data(value, place)?),
        _ => bail!("the field `{field}` is unknown"),
    }
    Ok(())
}

fn address(text: &str, place: Place) -> Result<Ipv4Addr> {
    match text {
        "server" => Ok(place.server),
        "relay" => Ok(place.relay),
        _ => text.parse().with_context(|| format!("`{text}` is no address")),
    }
}

/// `*300`: so many bytes 5a; `empty`; an address; a quoted text without spaces; else hex.
fn data(text: &str, place: Place) -> Result<Vec<u8>> {
    if let Some(count) = text.strip_prefix('*') {
        return Ok(vec![0x5a; count.parse()?]);
    }
    if let Some(quoted) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return Ok(quoted.as_bytes().to_vec());
    }
    if text == "empty" {
        return Ok(Vec::new());
    }
    if text == "server" || text == "relay" || text.contains('.') {
        return Ok(address(text, place)?.octets().to_vec());
    }
    ensure!(text.len().is_multiple_of(2) && text.is_ascii(), "`{text}` is not hex");
    (0..text.len())
        .step_by(2)
        .map(|at| {
            u8::from_str_radix(&text[at..at + 2], 16)
                .with_context(|| format!("`{text}` is not hex"))
        })
        .collect()
}
