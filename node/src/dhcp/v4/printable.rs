//! Options as Kea prints them, for `.text` in class expressions (Kea manual, "Using Expressions in
//! Classification"). Of a string option that is its content. Of any other it is a line meant for logs,
//! as watched on Kea 2.2: `type=051, len=004: 3600 (uint32)`.
//!
//! Options with parts of their own (43, 81, 82, 124, 125) print in Kea over several lines; here they
//! print as their bytes. Whoever asks about those uses `.hex` or their sub-options.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::options::{Definition, Type, decode};

/// The printable form of an option; `definition` is what is known of its code.
pub fn printable<'a>(
    definition: Option<&Definition>,
    code: u8,
    payload: Cow<'a, [u8]>,
) -> Cow<'a, [u8]> {
    let string = definition.is_some_and(|definition| {
        definition.kind == Type::String && !definition.array && definition.encapsulates.is_none()
    });
    if string {
        return without_nuls(payload);
    }
    let values = definition.and_then(|definition| values(definition, &payload));
    let values = values.unwrap_or_else(|| bytes(&payload));
    format!("type={code:03}, len={:03}: {values}", payload.len()).into_bytes().into()
}

/// Strings may be closed by NUL bytes, which do not count (RFC 2132 §2).
fn without_nuls(payload: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let len = payload.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    match payload {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[..len]),
        Cow::Owned(mut bytes) => {
            bytes.truncate(len);
            Cow::Owned(bytes)
        }
    }
}

/// The values with their types; `None` if Kea prints the bytes instead.
fn values(definition: &Definition, payload: &[u8]) -> Option<String> {
    let plain = match definition.kind {
        Type::Binary | Type::Empty | Type::ClasslessRoutes | Type::Dnr | Type::LongTuple => true,
        _ => definition.encapsulates.is_some() || matches!(definition.code, 81 | 124 | 125),
    };
    if plain {
        return None;
    }
    let text = decode(definition, payload).ok()?;
    let kind_of = |n: usize| match definition.kind {
        Type::Record => definition.fields.get(n).or(definition.fields.last()).copied(),
        kind => Some(kind),
    };
    // The last field of a record may be text with commas of its own.
    let count = match definition.kind {
        Type::Record if !definition.array => definition.fields.len(),
        _ if definition.array => usize::MAX,
        _ => 1,
    };
    let list = definition.array && definition.kind != Type::Record;
    let mut out = String::new();
    for (n, value) in text.splitn(count, ", ").enumerate() {
        let kind = kind_of(n)?;
        let space = if n > 0 { " " } else { "" };
        let name = kind.name();
        let _ = match kind {
            Type::Ipv4 | Type::Ipv6 if list => write!(out, "{space}{value}"),
            kind if list && is_integer(kind) => write!(out, "{space}{value}({name})"),
            Type::Fqdn => {
                let dot = if value.ends_with('.') { "" } else { "." };
                write!(out, "{space}\"{value}{dot}\" ({name})")
            }
            Type::String => write!(out, "{space}\"{value}\" ({name})"),
            Type::Binary => write!(out, "{space}{} ({name})", value.to_uppercase()),
            _ => write!(out, "{space}{value} ({name})"),
        };
    }
    Some(out)
}

fn is_integer(kind: Type) -> bool {
    matches!(
        kind,
        Type::Int8 | Type::Int16 | Type::Int32 | Type::Uint8 | Type::Uint16 | Type::Uint32
    )
}

fn bytes(payload: &[u8]) -> String {
    let mut out = String::with_capacity(3 * payload.len());
    for (n, byte) in payload.iter().enumerate() {
        if n > 0 {
            out.push(':');
        }
        let _ = write!(out, "{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{DHCP4, by_code};

    fn text(code: u8, payload: &[u8]) -> String {
        let printed = printable(by_code(DHCP4, code.into()), code, payload.into());
        String::from_utf8(printed.into_owned()).unwrap()
    }

    /// Each line was logged by Kea 2.2 for an option of these bytes.
    #[test]
    fn options_print_as_kea_prints_them() {
        let table: &[(u8, &[u8], &str)] = &[
            (2, &[0xff, 0xff, 0xf1, 0xf0], "type=002, len=004: -3600 (int32)"),
            (3, &[10, 0, 0, 1, 10, 0, 0, 2], "type=003, len=008: 10.0.0.1 10.0.0.2"),
            (12, b"host", "host"),
            (19, &[1], "type=019, len=001: true (boolean)"),
            (25, &[0, 68, 1, 40], "type=025, len=004: 68(uint16) 296(uint16)"),
            (50, &[10, 0, 0, 9], "type=050, len=004: 10.0.0.9 (ipv4-address)"),
            (51, &[0, 0, 14, 16], "type=051, len=004: 3600 (uint32)"),
            (53, &[1], "type=053, len=001: 1 (uint8)"),
            (55, &[1, 3, 6], "type=055, len=003: 1(uint8) 3(uint8) 6(uint8)"),
            (57, &[2, 64], "type=057, len=002: 576 (uint16)"),
            (60, b"PXE\0", "PXE"),
            (61, &[1, 2, 0, 0, 0, 0, 1], "type=061, len=007: 01:02:00:00:00:00:01"),
            (77, b"uc", "type=077, len=002: 75:63"),
            (80, &[], "type=080, len=000: "),
            (93, &[0, 7], "type=093, len=002: 7(uint16)"),
            (94, &[1, 2, 3], "type=094, len=003: 1 (uint8) 2 (uint8) 3 (uint8)"),
            (97, &[0, 0xab, 0x0c], "type=097, len=003: 0 (uint8) AB0C (binary)"),
            (99, b"ab", "type=099, len=002: 61:62"),
            (116, &[1], "type=116, len=001: 1 (uint8)"),
            (119, b"\x07example\x03org\0", "type=119, len=013: \"example.org.\" (fqdn)"),
            (121, &[24, 10, 0, 0, 10, 0, 0, 1], "type=121, len=008: 18:0a:00:00:0a:00:00:01"),
            (137, b"\x03abc\0", "type=137, len=005: \"abc.\" (fqdn)"),
            (175, &[1, 2], "type=175, len=002: 01:02"),
        ];
        for (code, payload, expected) in table {
            assert_eq!(text(*code, payload), *expected, "{code}");
        }
    }

    #[test]
    fn what_does_not_fit_its_definition_prints_as_bytes() {
        assert_eq!(text(51, &[1]), "type=051, len=001: 01");
        assert_eq!(text(12, b"\0\0"), "");
        for code in 0..=255 {
            for payload in [&[][..], &[0], &[3, 0xff, 0x80, 0], &[0xff; 300]] {
                let _ = printable(by_code(DHCP4, code.into()), code, payload.into());
            }
        }
    }
}
