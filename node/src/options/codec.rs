//! Option values: the text of `option-data` ↔ the bytes on the wire.
//!
//! What `encode` wrote, `decode` prints so that `encode` writes the same again. Every length is
//! checked, no input panics, and an error says which value is wrong and why. Text forms: Kea manual,
//! "DHCPv4 Option Data Types"; a comma inside a value is written `\,`, and white space around values
//! is trimmed.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Definition, Type, dnr};

/// A value that does not fit its option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadValue {
    /// The option needs a value.
    #[error("no option value specified")]
    Missing,
    /// A record lacks fields.
    #[error("{given} values are given, the record has {needed} fields")]
    TooFew {
        /// Values in the text.
        given: usize,
        /// Fields in the definition.
        needed: usize,
    },
    /// More values than the option holds.
    #[error(
        "more values than the option holds, from '{0}' on (a comma inside a value is written \\,)"
    )]
    TooMany(String),
    /// A value that its type does not know.
    #[error("'{text}' is no {kind}: {why}")]
    Text {
        /// The value.
        text: String,
        /// The name of its type.
        kind: &'static str,
        /// What was expected.
        why: &'static str,
    },
    /// A number outside its type.
    #[error(
        "unable to convert '{text}' to numeric type. This value is expected to be in the range of {min}..{max}"
    )]
    Number {
        /// The value.
        text: String,
        /// The smallest value.
        min: i64,
        /// The largest value.
        max: i64,
    },
    /// Not hexadecimal.
    #[error("option data is not a valid string of hexadecimal digits: {0}")]
    Hex(String),
    /// Bytes that end inside a field or go on behind the last.
    #[error("the length of {len} does not fit the type {kind}")]
    Length {
        /// Bytes in the option.
        len: usize,
        /// The name of the type.
        kind: &'static str,
    },
    /// Bytes that the type does not allow.
    #[error("the bytes are no {kind}: {why}")]
    Bytes {
        /// The name of the type.
        kind: &'static str,
        /// What was expected.
        why: &'static str,
    },
}

/// The bytes of an option whose value is written as `text` (`csv-format` true).
pub fn encode(def: &Definition, text: &str) -> Result<Vec<u8>, BadValue> {
    match encode_first(def, text)? {
        (bytes, None) => Ok(bytes),
        (_, Some(surplus)) => Err(BadValue::TooMany(surplus)),
    }
}

/// As [`encode`], but takes as many values as the option holds and returns the first that it does
/// not hold: Kea leaves out what stands there from that one on.
pub fn encode_first(def: &Definition, text: &str) -> Result<(Vec<u8>, Option<String>), BadValue> {
    let mut out = Vec::new();
    match def.kind {
        Type::Empty if text.trim().is_empty() => return Ok((out, None)),
        Type::Empty => return Err(BadValue::TooMany(text.trim().to_owned())),
        // A comma or a pipe means something else here than between values.
        Type::Dnr => return Ok((dnr::encode(text)?, None)),
        _ => {}
    }
    let values = split(text);
    let mut surplus = None;
    match def.kind {
        Type::ClasslessRoutes => {
            if values.is_empty() {
                return Err(BadValue::Missing);
            }
            values.iter().try_for_each(|value| write_route(&mut out, value))?;
        }
        Type::Record => {
            if values.len() < def.fields.len() {
                return Err(BadValue::TooFew { given: values.len(), needed: def.fields.len() });
            }
            let last = def.fields.last().copied().unwrap_or(Type::Binary);
            for (at, value) in values.iter().enumerate() {
                match def.fields.get(at) {
                    Some(kind) => write(&mut out, *kind, value)?,
                    None if def.array => write(&mut out, last, value)?,
                    None => {
                        surplus = Some(value.clone());
                        break;
                    }
                }
            }
        }
        // A list of addresses may be empty, to hide that of an outer scope.
        kind if def.array => {
            if values.is_empty() && !matches!(kind, Type::Ipv4 | Type::Ipv6) {
                return Err(BadValue::Missing);
            }
            values.iter().try_for_each(|value| write(&mut out, kind, value))?;
        }
        kind => {
            let (first, rest) = values.split_first().ok_or(BadValue::Missing)?;
            write(&mut out, kind, first)?;
            surplus = rest.first().cloned();
        }
    }
    Ok((out, surplus))
}

/// The text of an option whose value is `bytes`; of sub-options behind it nothing is shown.
pub fn decode(def: &Definition, bytes: &[u8]) -> Result<String, BadValue> {
    match def.kind {
        Type::Dnr => dnr::decode(bytes),
        _ => values(def, bytes).map(|(values, _)| values.join(", ")),
    }
}

/// How many of the bytes are the option's own; what is behind them are sub-options. All of them
/// where nothing is encapsulated.
pub fn own_len(def: &Definition, bytes: &[u8]) -> Result<usize, BadValue> {
    match def.kind {
        _ if def.encapsulates.is_none() => Ok(bytes.len()),
        Type::Dnr => Ok(bytes.len()),
        _ => values(def, bytes).map(|(_, len)| len),
    }
}

/// The texts of the values, and how many bytes they take.
fn values(def: &Definition, bytes: &[u8]) -> Result<(Vec<String>, usize), BadValue> {
    let mut reader = Reader { all: bytes, at: 0 };
    let mut values = Vec::new();
    match def.kind {
        Type::Empty => {}
        Type::ClasslessRoutes => {
            while !reader.is_done() {
                values.push(read_route(&mut reader)?);
            }
        }
        Type::Record => {
            for kind in def.fields.iter() {
                values.push(read(&mut reader, *kind)?);
            }
            let last = def.fields.last().copied().unwrap_or(Type::Binary);
            while def.array && !reader.is_done() {
                values.push(read(&mut reader, last)?);
            }
        }
        kind if def.array => {
            while !reader.is_done() {
                values.push(read(&mut reader, kind)?);
            }
        }
        kind => values.push(read(&mut reader, kind)?),
    }
    // The number of option 125 is followed by the options of that enterprise.
    if !reader.is_done() && def.encapsulates.is_none() && def.name != "vivso-suboptions" {
        return Err(BadValue::Length { len: bytes.len(), kind: def.kind.name() });
    }
    Ok((values, reader.at))
}

/// Whether `bytes`, given in hexadecimal (`csv-format` false), are a value of the option.
pub fn check(def: &Definition, bytes: &[u8]) -> Result<(), BadValue> {
    match def.kind {
        Type::Empty if def.encapsulates.is_some() => Ok(()),
        _ => decode(def, bytes).map(drop),
    }
}

/// Bytes written as hexadecimal (`C0000201`, `C0 00 02 01`, `c0:00:02:01`, `0xC0000201`) or as
/// text in single quotes. An odd number of digits gets a leading zero, as in Kea.
pub fn hex_bytes(text: &str) -> Result<Vec<u8>, BadValue> {
    let trimmed = text.trim();
    if let Some(inner) = trimmed.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return Ok(inner.as_bytes().to_vec());
    }
    let bad = || BadValue::Hex(text.to_owned());
    let byte = |digits: &str| {
        let good = (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        good.then(|| u8::from_str_radix(digits, 16).ok()).flatten().ok_or_else(bad)
    };
    for separator in [':', ' '] {
        if trimmed.contains(separator) {
            return trimmed.split(separator).map(byte).collect();
        }
    }
    let digits = trimmed.strip_prefix("0x").or(trimmed.strip_prefix("0X")).unwrap_or(trimmed);
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(bad());
    }
    let odd = digits.len() % 2;
    let (first, rest) = digits.split_at(odd);
    let mut bytes = Vec::with_capacity(digits.len() / 2 + odd);
    if odd == 1 {
        bytes.push(byte(first)?);
    }
    for pair in rest.as_bytes().chunks(2) {
        bytes.push(byte(std::str::from_utf8(pair).map_err(|_| bad())?)?);
    }
    Ok(bytes)
}

/// The values between the commas, trimmed. Several commas in a row count as one, as in Kea.
fn split(text: &str) -> Vec<String> {
    let mut values = Vec::new();
    let mut value = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&',') => value.extend(chars.next()),
            ',' => values.push(std::mem::take(&mut value)),
            _ => value.push(c),
        }
    }
    values.push(value);
    values.retain(|value| !value.trim().is_empty());
    values.iter().map(|value| value.trim().to_owned()).collect()
}

fn write(out: &mut Vec<u8>, kind: Type, text: &str) -> Result<(), BadValue> {
    let bad = |why| BadValue::Text { text: text.to_owned(), kind: kind.name(), why };
    match kind {
        Type::Empty => return Err(BadValue::TooMany(text.to_owned())),
        Type::Binary => out.extend(hex_bytes(text)?),
        Type::Boolean => out.push(match text {
            "1" => 1,
            "0" => 0,
            word if word.eq_ignore_ascii_case("true") => 1,
            word if word.eq_ignore_ascii_case("false") => 0,
            _ => return Err(bad("true, false, 1 or 0 is expected")),
        }),
        Type::Int8 => out.push(number(text, i8::MIN.into(), i8::MAX.into())? as u8),
        Type::Int16 => {
            out.extend((number(text, i16::MIN.into(), i16::MAX.into())? as i16).to_be_bytes())
        }
        Type::Int32 => {
            out.extend((number(text, i32::MIN.into(), i32::MAX.into())? as i32).to_be_bytes())
        }
        Type::Uint8 => out.push(number(text, 0, u8::MAX.into())? as u8),
        Type::Uint16 => out.extend((number(text, 0, u16::MAX.into())? as u16).to_be_bytes()),
        Type::Uint32 => out.extend((number(text, 0, u32::MAX.into())? as u32).to_be_bytes()),
        Type::Ipv4 => {
            let address: Ipv4Addr = text.parse().map_err(|_| bad("192.0.2.1 is expected"))?;
            out.extend(address.octets());
        }
        Type::Ipv6 => {
            let address: Ipv6Addr = text.parse().map_err(|_| bad("2001:db8::1 is expected"))?;
            out.extend(address.octets());
        }
        Type::Ipv6Prefix => {
            let (address, len) = text.split_once('/').ok_or(bad("2001:db8::/32 is expected"))?;
            let address: Ipv6Addr =
                address.trim().parse().map_err(|_| bad("2001:db8::/32 is expected"))?;
            let len = number(len.trim(), 0, 128)? as u8;
            out.push(len);
            out.extend(&masked(address.octets(), len)[..usize::from(len).div_ceil(8)]);
        }
        Type::Psid => {
            let (psid, len) =
                text.split_once('/').ok_or(bad("3/4 is expected, psid and its length"))?;
            let len = number(len.trim(), 0, 16)? as u8;
            let psid = number(psid.trim(), 0, (1 << len) - 1)? as u32;
            out.push(len);
            out.extend(((psid << (16 - len)) as u16).to_be_bytes());
        }
        Type::String => {
            if text.contains('\0') {
                return Err(bad("NUL is not allowed"));
            }
            out.extend(text.as_bytes());
        }
        Type::Tuple => {
            out.push(u8::try_from(text.len()).map_err(|_| bad("at most 255 bytes are allowed"))?);
            out.extend(text.as_bytes());
        }
        Type::LongTuple => {
            let len =
                u16::try_from(text.len()).map_err(|_| bad("at most 65535 bytes are allowed"))?;
            out.extend(len.to_be_bytes());
            out.extend(text.as_bytes());
        }
        Type::Fqdn => write_name(out, text)?,
        Type::Record | Type::ClasslessRoutes | Type::Dnr => {
            return Err(bad("it cannot be a field"));
        }
    }
    Ok(())
}

fn read(reader: &mut Reader<'_>, kind: Type) -> Result<String, BadValue> {
    let text = match kind {
        Type::Empty => String::new(),
        Type::Binary => reader.rest().iter().fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02X}");
            text
        }),
        Type::Boolean => match reader.array::<1>(kind)? {
            [0] => "false".to_owned(),
            [1] => "true".to_owned(),
            _ => return Err(BadValue::Bytes { kind: "boolean", why: "0 or 1 is expected" }),
        },
        Type::Int8 => i8::from_be_bytes(reader.array(kind)?).to_string(),
        Type::Int16 => i16::from_be_bytes(reader.array(kind)?).to_string(),
        Type::Int32 => i32::from_be_bytes(reader.array(kind)?).to_string(),
        Type::Uint8 => u8::from_be_bytes(reader.array(kind)?).to_string(),
        Type::Uint16 => u16::from_be_bytes(reader.array(kind)?).to_string(),
        Type::Uint32 => u32::from_be_bytes(reader.array(kind)?).to_string(),
        Type::Ipv4 => Ipv4Addr::from(reader.array::<4>(kind)?).to_string(),
        Type::Ipv6 => Ipv6Addr::from(reader.array::<16>(kind)?).to_string(),
        Type::Ipv6Prefix => {
            let [len] = reader.array(kind)?;
            if len > 128 {
                return Err(BadValue::Bytes {
                    kind: "ipv6-prefix",
                    why: "at most 128 bits are allowed",
                });
            }
            let given = reader.take(usize::from(len).div_ceil(8), kind)?;
            let mut address = [0; 16];
            address[..given.len()].copy_from_slice(given);
            format!("{}/{len}", Ipv6Addr::from(masked(address, len)))
        }
        Type::Psid => {
            let [len, high, low] = reader.array(kind)?;
            if len > 16 {
                return Err(BadValue::Bytes { kind: "psid", why: "at most 16 bits are allowed" });
            }
            format!("{}/{len}", u32::from(u16::from_be_bytes([high, low])) >> (16 - len))
        }
        Type::String => {
            let bytes = reader.rest();
            if bytes.is_empty() {
                return Err(BadValue::Missing);
            }
            text_of(bytes, kind)?
        }
        Type::Tuple => {
            let [len] = reader.array(kind)?;
            text_of(reader.take(usize::from(len), kind)?, kind)?
        }
        Type::LongTuple => {
            let len = u16::from_be_bytes(reader.array(kind)?);
            text_of(reader.take(usize::from(len), kind)?, kind)?
        }
        Type::Fqdn => read_name(reader)?,
        Type::Record | Type::ClasslessRoutes | Type::Dnr => {
            return Err(BadValue::Bytes { kind: kind.name(), why: "it cannot be a field" });
        }
    };
    Ok(text)
}

/// Bytes as text for `data`; what is no UTF-8 shows as replacement characters.
fn text_of(bytes: &[u8], kind: Type) -> Result<String, BadValue> {
    if bytes.contains(&0) {
        return Err(BadValue::Bytes { kind: kind.name(), why: "NUL is not allowed" });
    }
    Ok(String::from_utf8_lossy(bytes).replace(',', "\\,"))
}

pub(super) fn number(text: &str, min: i64, max: i64) -> Result<i64, BadValue> {
    let hex = text.strip_prefix("0x").or(text.strip_prefix("0X"));
    let value = match hex {
        Some(digits) if !digits.starts_with(['+', '-']) => i64::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None => text.parse().ok(),
    };
    let inside = value.filter(|value| (min..=max).contains(value));
    inside.ok_or_else(|| BadValue::Number { text: text.to_owned(), min, max })
}

fn masked(mut address: [u8; 16], len: u8) -> [u8; 16] {
    let len = usize::from(len);
    for (at, byte) in address.iter_mut().enumerate() {
        let kept = len.saturating_sub(at * 8).min(8) as u32;
        *byte &= (0xff00_u16 >> kept) as u8;
    }
    address
}

/// RFC 3442: the length of the destination, its significant bytes, the router.
fn write_route(out: &mut Vec<u8>, text: &str) -> Result<(), BadValue> {
    let why = "198.51.100.0/24 - 192.0.2.1 is expected";
    let bad = || BadValue::Text { text: text.to_owned(), kind: "route", why };
    let (destination, router) = text.split_once('-').ok_or_else(bad)?;
    let prefix: crate::types::Prefix = destination.trim().parse().map_err(|_| bad())?;
    let router: Ipv4Addr = router.trim().parse().map_err(|_| bad())?;
    out.push(prefix.len());
    out.extend(&prefix.network().octets()[..usize::from(prefix.len()).div_ceil(8)]);
    out.extend(router.octets());
    Ok(())
}

fn read_route(reader: &mut Reader<'_>) -> Result<String, BadValue> {
    let kind = Type::ClasslessRoutes;
    let [len] = reader.array(kind)?;
    if len > 32 {
        return Err(BadValue::Bytes { kind: "route", why: "at most 32 bits are allowed" });
    }
    let given = reader.take(usize::from(len).div_ceil(8), kind)?;
    let mut octets = [0; 4];
    octets[..given.len()].copy_from_slice(given);
    let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
    let destination = Ipv4Addr::from(u32::from_be_bytes(octets) & mask);
    let router = Ipv4Addr::from(reader.array::<4>(kind)?);
    Ok(format!("{destination}/{len} - {router}"))
}

/// RFC 1035 §3.1: labels of 1 to 63 bytes, 255 bytes in all. The final dot may be left out.
pub(super) fn write_name(out: &mut Vec<u8>, text: &str) -> Result<(), BadValue> {
    let bad = |why| BadValue::Text { text: text.to_owned(), kind: "fqdn", why };
    let start = out.len();
    let labels = text.strip_suffix('.').unwrap_or(text);
    if labels.is_empty() && text != "." {
        return Err(BadValue::Missing);
    }
    for label in labels.split('.').filter(|_| !labels.is_empty()) {
        if label.is_empty() {
            return Err(bad("two dots follow each other"));
        }
        if label.len() > 63 {
            return Err(bad("a label has at most 63 bytes"));
        }
        if !label.bytes().all(is_label_byte) {
            return Err(bad("a label has only printable ASCII, without commas and white space"));
        }
        out.push(label.len() as u8);
        out.extend(label.as_bytes());
    }
    out.push(0);
    if out.len() - start > 255 { Err(bad("a name has at most 255 bytes")) } else { Ok(()) }
}

/// What the text form of a name can show.
fn is_label_byte(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !matches!(byte, b'.' | b',' | b'|')
}

/// Reads one name; compression pointers (RFC 3397 §2) must point backwards, so reading ends.
pub(super) fn read_name(reader: &mut Reader<'_>) -> Result<String, BadValue> {
    let bad = |why| BadValue::Bytes { kind: "fqdn", why };
    let mut name = String::new();
    let mut at = reader.at;
    let mut limit = at;
    let mut jumped = false;
    let mut total = 1;
    loop {
        let len = *reader.all.get(at).ok_or(bad("the name has no end"))?;
        match len {
            0 => break,
            1..=63 => {
                let label = reader
                    .all
                    .get(at + 1..at + 1 + usize::from(len))
                    .ok_or(bad("a label has no end"))?;
                if !label.iter().copied().all(is_label_byte) {
                    return Err(bad(
                        "a label has only printable ASCII, without commas and white space",
                    ));
                }
                total += label.len() + 1;
                name.push_str(&String::from_utf8_lossy(label));
                name.push('.');
                at += 1 + label.len();
            }
            0xc0.. => {
                let low = *reader.all.get(at + 1).ok_or(bad("a pointer has no end"))?;
                let target = usize::from(len & 0x3f) << 8 | usize::from(low);
                if !jumped {
                    reader.at = at + 2;
                    jumped = true;
                }
                if target >= limit {
                    return Err(bad("a pointer does not point backwards"));
                }
                limit = target;
                at = target;
            }
            _ => return Err(bad("a label has at most 63 bytes")),
        }
        if total > 255 {
            return Err(bad("a name has at most 255 bytes"));
        }
    }
    if !jumped {
        reader.at = at + 1;
    }
    Ok(if name.is_empty() { ".".to_owned() } else { name })
}

/// Takes fields off the front of an option.
pub(super) struct Reader<'a> {
    pub(super) all: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn is_done(&self) -> bool {
        self.at >= self.all.len()
    }

    pub(super) fn take(&mut self, len: usize, kind: Type) -> Result<&'a [u8], BadValue> {
        let bad = BadValue::Length { len: self.all.len(), kind: kind.name() };
        let end = self.at.checked_add(len).ok_or(bad.clone())?;
        let bytes = self.all.get(self.at..end).ok_or(bad)?;
        self.at = end;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self, kind: Type) -> Result<[u8; N], BadValue> {
        let bytes = self.take(N, kind)?;
        bytes.try_into().map_err(|_| BadValue::Length { len: self.all.len(), kind: kind.name() })
    }

    fn rest(&mut self) -> &'a [u8] {
        let bytes = self.all.get(self.at..).unwrap_or_default();
        self.at = self.all.len();
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{DHCP4, Definition, by_code, by_name, v4};
    use proptest::prelude::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// `name: text => hex` with `=> text` when it is printed otherwise; `name: text ! error`;
    /// `name < hex => text` and `name < hex ! error` for bytes that come from elsewhere.
    #[test]
    fn values_are_written_as_the_script_says() {
        for line in include_str!("testscripts/values").lines() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let definition = |name: &str| by_name(DHCP4, name).unwrap_or_else(|| panic!("{name}"));
            let error =
                |result: Result<String, BadValue>| result.map_err(|error| error.to_string());
            if let Some((name, rest)) = line.split_once(" < ") {
                let printed =
                    |given: &str| error(decode(definition(name), &hex_bytes(given).unwrap()));
                match rest.split_once("! ") {
                    Some((given, why)) => assert_eq!(printed(given), Err(why.to_owned()), "{line}"),
                    None => {
                        let (given, text) = rest.split_once(" => ").expect(line);
                        assert_eq!(printed(given), Ok(text.to_owned()), "{line}");
                    }
                }
                continue;
            }
            let (name, rest) = line.split_once(": ").expect(line);
            let definition = definition(name);
            if let Some((text, why)) = rest.split_once(" ! ") {
                assert_eq!(
                    encode(definition, text).map_err(|error| error.to_string()),
                    Err(why.to_owned()),
                    "{line}"
                );
                continue;
            }
            let parts: Vec<&str> = rest.split("=>").map(str::trim).collect();
            let bytes =
                encode(definition, parts[0]).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(hex(&bytes), parts[1], "{line}");
            assert_eq!(
                decode(definition, &bytes).as_deref(),
                Ok(*parts.get(2).unwrap_or(&parts[0])),
                "{line}"
            );
        }
    }

    #[test]
    fn hexadecimal_has_keas_four_forms_and_text_in_quotes() {
        for form in ["C0000201", "C0 00 02 01", "c0:0:2:1", "0xc0000201"] {
            assert_eq!(hex_bytes(form), Ok(vec![192, 0, 2, 1]), "{form}");
        }
        assert_eq!(hex_bytes("c00"), Ok(vec![0x0c, 0x00]));
        assert_eq!(hex_bytes("'ab'"), Ok(b"ab".to_vec()));
        assert_eq!(hex_bytes(""), Ok(vec![]));
        for bad in ["zz", "c0::1", "c0 00:02", "+1", "c0:100", "'", "é"] {
            assert_eq!(hex_bytes(bad), Err(BadValue::Hex(bad.to_owned())));
        }
    }

    #[test]
    fn bytes_in_hexadecimal_must_fit_the_definition() {
        assert!(check(by_code(DHCP4, 3).unwrap(), &[192, 0, 2, 1, 192, 0, 2, 2]).is_ok());
        assert!(check(by_code(DHCP4, 3).unwrap(), &[192, 0, 2]).is_err());
        assert!(check(by_code(DHCP4, 43).unwrap(), &[1, 1, 0]).is_ok());
        assert!(check(by_code(DHCP4, 121).unwrap(), &[33, 10, 0, 0, 0, 0, 192, 0, 2, 1]).is_err());
    }

    fn all() -> impl Iterator<Item = &'static Definition> {
        [v4::TABLE, v4::RELAY_AGENT, v4::CABLELABS_CLIENT, v4::DOCSIS].into_iter().flatten()
    }

    /// Pieces of which texts for `data` are made, right and wrong ones.
    fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("192.0.2.1"),
            Just("2001:db8::1"),
            Just("2001:db8::/33"),
            Just("10.0.0.0/8 - 192.0.2.1"),
            Just("example.org"),
            Just("3/4"),
            Just("true"),
            Just("255"),
            Just("-1"),
            Just("0x1F"),
            Just("a\\,b\\"),
            Just(","),
            Just(", "),
            Just(" | "),
            Just("alpn=h2\\,h3 port=8530 dohpath=/dns{?dns}"),
            Just("é'0"),
        ];
        proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn what_encode_wrote_decode_prints_and_encode_writes_again(text in text()) {
            for definition in all() {
                let Ok(bytes) = encode(definition, &text) else { continue };
                let printed = decode(definition, &bytes).unwrap_or_else(|error| panic!("{} {text}: {error}", definition.name));
                prop_assert_eq!(encode(definition, &printed), Ok(bytes), "{} {}", definition.name, printed);
            }
        }

        #[test]
        fn no_bytes_make_decode_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            for definition in all() {
                let Ok(text) = decode(definition, &bytes) else { continue };
                // Bytes of strange texts may not read back; what reads back has settled.
                if let Ok(again) = encode(definition, &text) {
                    prop_assert!(decode(definition, &again).is_ok(), "{} {text}", definition.name);
                }
            }
        }

        #[test]
        fn no_text_makes_encode_panic(text in "\\PC{0,40}") {
            for definition in all() {
                let _ = encode(definition, &text);
            }
        }
    }
}
