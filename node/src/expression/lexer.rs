//! Text → tokens, one at a time.
//!
//! Keywords are cut off at the longest match and need no white space around them, so that
//! `notmember('x')` is two words, as in Kea. A name before a `]` is an option name, even if it
//! reads like a keyword.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'s> {
    /// A keyword or a sign, as it is written.
    Word(&'static str),
    /// The content of `'…'`.
    String(&'s str),
    /// The digits behind `0x`, at least one.
    Hex(&'s str),
    /// A decimal integer, possibly with `-`; of any size.
    Integer(&'s str),
    /// What looks like an IP address.
    Address(&'s str),
    /// A name directly before `]`.
    Name(&'s str),
    /// The end of the text.
    End,
}

/// A token and where it stands: bytes `at..end` of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'s> {
    pub kind: Kind<'s>,
    pub at: usize,
    pub end: usize,
}

impl Kind<'_> {
    /// As error messages call it; Kea's words.
    pub fn describe(&self) -> &'static str {
        match self {
            Kind::Word(",") => "\",\"",
            Kind::Word(word) => word,
            Kind::String(_) => "constant string",
            Kind::Hex(_) => "constant hexstring",
            Kind::Integer(_) => "integer",
            Kind::Address(_) => "ip address",
            Kind::Name(_) => "option name",
            Kind::End => "end of file",
        }
    }
}

/// Every keyword and sign. Among those that fit, the longest counts.
const WORDS: &[&str] = &[
    "==",
    "(",
    ")",
    "[",
    "]",
    ".",
    ",",
    "+",
    "*",
    "not",
    "and",
    "or",
    "sand",
    "sor",
    "option",
    "relay4",
    "relay6",
    "text",
    "hex",
    "exists",
    "member",
    "match",
    "vendor",
    "vendor-class",
    "enterprise",
    "data",
    "pkt",
    "iface",
    "src",
    "dst",
    "len",
    "pkt4",
    "mac",
    "hlen",
    "htype",
    "ciaddr",
    "giaddr",
    "yiaddr",
    "siaddr",
    "pkt6",
    "msgtype",
    "transid",
    "peeraddr",
    "linkaddr",
    "substring",
    "split",
    "all",
    "concat",
    "ifelse",
    "sifelse",
    "lcase",
    "ucase",
    "hexstring",
    "addrtotext",
    "int8totext",
    "int16totext",
    "int32totext",
    "uint8totext",
    "uint16totext",
    "uint32totext",
];

/// Reads the token at or behind `from`. The error is the place of a character that begins none.
pub(super) fn token(source: &str, from: usize) -> Result<Token<'_>, usize> {
    let rest = source.get(from..).unwrap_or_default();
    let at = from + (rest.len() - rest.trim_start_matches([' ', '\t', '\n']).len());
    let rest = source.get(at..).unwrap_or_default();
    if rest.is_empty() {
        return Ok(Token { kind: Kind::End, at, end: at });
    }
    let (kind, len) = longest(rest).ok_or(at)?;
    Ok(Token { kind, at, end: at + len })
}

/// The token that begins with the text, and its length.
fn longest(rest: &str) -> Option<(Kind<'_>, usize)> {
    let bytes = rest.as_bytes();
    if bytes.first() == Some(&b'\'') {
        let content = rest.get(1..)?;
        let end = content.find(['\'', '\n'])?;
        return (content.as_bytes().get(end) == Some(&b'\''))
            .then(|| (Kind::String(&content[..end]), end + 2));
    }
    if let Some(len) = name(bytes) {
        return Some((Kind::Name(&rest[..len]), len));
    }
    if let Some(len) = address(bytes) {
        return Some((Kind::Address(&rest[..len]), len));
    }
    if let [b'0', b'x' | b'X', ..] = bytes {
        let digits = run(&bytes[2..], |byte| byte.is_ascii_hexdigit());
        if digits > 0 {
            return Some((Kind::Hex(&rest[2..2 + digits]), 2 + digits));
        }
    }
    let sign = usize::from(bytes.first() == Some(&b'-'));
    let digits = run(&bytes[sign..], |byte| byte.is_ascii_digit());
    if digits > 0 {
        return Some((Kind::Integer(&rest[..sign + digits]), sign + digits));
    }
    let fits = WORDS.iter().filter(|word| rest.starts_with(**word));
    fits.max_by_key(|word| word.len()).map(|word| (Kind::Word(word), word.len()))
}

/// The length of a name that a `]` follows: letters, digits, `-` and `_`, a letter first, no sign
/// last.
fn name(bytes: &[u8]) -> Option<usize> {
    if !bytes.first()?.is_ascii_alphabetic() {
        return None;
    }
    let len = run(bytes, |byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    let behind = len + run(&bytes[len..], |byte| matches!(byte, b' ' | b'\t' | b'\n'));
    (bytes[len - 1].is_ascii_alphanumeric() && bytes.get(behind) == Some(&b']')).then_some(len)
}

/// The length of what looks like an address: four numbers between dots, or hexadecimal groups
/// between at least two colons, with or without four numbers at the end.
fn address(bytes: &[u8]) -> Option<usize> {
    let groups = run(bytes, |byte| byte.is_ascii_hexdigit() || byte == b':');
    let colons = bytes[..groups].iter().filter(|byte| **byte == b':').count();
    if colons < 2 {
        return dotted(bytes);
    }
    let last = bytes[..groups].iter().rposition(|byte| *byte == b':').map_or(0, |at| at + 1);
    Some(dotted(&bytes[last..]).map_or(groups, |tail| last + tail))
}

/// The length of four decimal numbers between dots.
fn dotted(bytes: &[u8]) -> Option<usize> {
    let mut len = 0;
    for part in 0..4 {
        if part > 0 {
            (bytes.get(len) == Some(&b'.')).then_some(())?;
            len += 1;
        }
        let digits = run(&bytes[len..], |byte| byte.is_ascii_digit());
        (digits > 0).then_some(())?;
        len += digits;
    }
    Some(len)
}

/// How many bytes at the beginning are of a kind.
fn run(bytes: &[u8], kind: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !kind(*byte)).unwrap_or(bytes.len())
}
