//! DHCP options as data: what each is called, what it holds, and how its value is written.
//!
//! The tables ([`v4`]) say what exists; the [`codec`] turns the text of Kea's `option-data` into
//! bytes and back. Nothing here knows what an option means. Pure.

pub mod codec;
mod dnr;
pub mod v4;

use std::borrow::Cow;

pub use codec::{BadValue, check, decode, encode, hex_bytes};

/// The space of options at the top level of a DHCPv4 message.
pub const DHCP4: &str = "dhcp4";

/// What one field of an option holds (Kea manual, "List of Standard DHCPv4 Option Data Types").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// No payload of its own: a flag, or sub-options only.
    Empty,
    /// Bytes as they are, to the end of the option.
    Binary,
    /// One byte, 0 or 1.
    Boolean,
    /// Big endian, two's complement.
    Int8,
    /// Big endian, two's complement.
    Int16,
    /// Big endian, two's complement.
    Int32,
    /// Big endian.
    Uint8,
    /// Big endian.
    Uint16,
    /// Big endian.
    Uint32,
    /// Four bytes.
    Ipv4,
    /// Sixteen bytes.
    Ipv6,
    /// A length in bits and as many bytes as it needs.
    Ipv6Prefix,
    /// A length in bits and 16 bits, left aligned (RFC 7618 §9).
    Psid,
    /// Bytes without NUL to the end of the option; never empty.
    String,
    /// Bytes behind a length of one byte.
    Tuple,
    /// Bytes behind a length of two bytes (RFC 8572 §8.1).
    LongTuple,
    /// DNS labels, closed by the root label.
    Fqdn,
    /// The fields of [`Definition::fields`] in order.
    Record,
    /// Destination and router pairs (RFC 3442).
    ClasslessRoutes,
    /// Encrypted DNS resolvers (RFC 9463 §5).
    Dnr,
}

impl Type {
    /// The name in `option-def` and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Type::Empty => "empty",
            Type::Binary => "binary",
            Type::Boolean => "boolean",
            Type::Int8 => "int8",
            Type::Int16 => "int16",
            Type::Int32 => "int32",
            Type::Uint8 => "uint8",
            Type::Uint16 => "uint16",
            Type::Uint32 => "uint32",
            Type::Ipv4 => "ipv4-address",
            Type::Ipv6 => "ipv6-address",
            Type::Ipv6Prefix => "ipv6-prefix",
            Type::Psid => "psid",
            Type::String => "string",
            Type::Tuple | Type::LongTuple => "tuple",
            Type::Fqdn => "fqdn",
            Type::Record => "record",
            Type::ClasslessRoutes | Type::Dnr => "internal",
        }
    }
}

/// One option: a row of a table, or an operator's `option-def`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Its number, unique within its space.
    pub code: u32,
    /// Kea's name, unique within its space.
    pub name: Cow<'static, str>,
    /// What it holds.
    pub kind: Type,
    /// Whether the type repeats; of a record, the last field.
    pub array: bool,
    /// The fields of a record; else empty.
    pub fields: Cow<'static, [Type]>,
    /// The space of the sub-options inside, if any.
    pub encapsulates: Option<Cow<'static, str>>,
}

/// The standard definition of `code` in `space`.
pub fn by_code(space: &str, code: u32) -> Option<&'static Definition> {
    let table = table(space)?;
    table.binary_search_by_key(&code, |row| row.code).ok().map(|at| &table[at])
}

/// The standard definition called `name` in `space`.
pub fn by_name(space: &str, name: &str) -> Option<&'static Definition> {
    table(space)?.iter().find(|row| row.name == name)
}

fn table(space: &str) -> Option<&'static [Definition]> {
    (space == DHCP4).then_some(v4::TABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_by_number_and_by_name() {
        assert_eq!(by_code(DHCP4, 3).unwrap().name, "routers");
        assert_eq!(by_name(DHCP4, "domain-search").unwrap().code, 119);
        assert!(by_code(DHCP4, 200).is_none());
        assert!(by_code("elsewhere", 3).is_none());
        for row in v4::TABLE {
            assert_eq!(by_code(DHCP4, row.code), Some(row));
            assert_eq!(by_name(DHCP4, &row.name), Some(row));
        }
    }
}
