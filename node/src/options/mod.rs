//! DHCP options as data: what each is called, what it holds, and how its value is written.
//!
//! The tables ([`v4`]) say what exists; the [`codec`] turns the text of Kea's `option-data` into
//! bytes and back. Nothing here knows what an option means. Pure.

pub mod codec;
mod dnr;
pub mod sub_options;
pub mod v4;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use codec::{BadValue, check, decode, encode, encode_first, hex_bytes, own_len};

/// The space of options at the top level of a DHCPv4 message.
pub const DHCP4: &str = "dhcp4";
/// The space of the sub-options of option 82.
pub const RELAY_AGENT_SPACE: &str = "dhcp-agent-options-space";

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
    /// The type that `option-def` calls `name`; [`Type::Record`] is none of a field.
    pub fn of_name(name: &str) -> Option<Type> {
        Some(match name {
            "empty" => Type::Empty,
            "binary" => Type::Binary,
            "boolean" => Type::Boolean,
            "int8" => Type::Int8,
            "int16" => Type::Int16,
            "int32" => Type::Int32,
            "uint8" => Type::Uint8,
            "uint16" => Type::Uint16,
            "uint32" => Type::Uint32,
            "ipv4-address" => Type::Ipv4,
            "ipv6-address" => Type::Ipv6,
            "ipv6-prefix" => Type::Ipv6Prefix,
            "psid" => Type::Psid,
            "string" => Type::String,
            "tuple" => Type::Tuple,
            "fqdn" => Type::Fqdn,
            "record" => Type::Record,
            _ => return None,
        })
    }

    /// Whether a value reaches to the end of the option, so that nothing can follow it.
    pub fn is_greedy(self) -> bool {
        matches!(self, Type::Binary | Type::String | Type::ClasslessRoutes | Type::Dnr)
    }

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

/// The standard definitions and an operator's own (`option-def`), by space.
#[derive(Debug, Clone, Default)]
pub struct Definitions {
    own: BTreeMap<Arc<str>, BTreeMap<u32, Arc<Definition>>>,
}

impl Definitions {
    /// The definition of `code` in `space`: the operator's, else the standard one.
    pub fn by_code(&self, space: &str, code: u32) -> Option<&Definition> {
        let own = self.own.get(space).and_then(|space| space.get(&code));
        own.map(|own| &**own).or_else(|| by_code(space, code))
    }

    /// The definition called `name` in `space`.
    pub fn by_name(&self, space: &str, name: &str) -> Option<&Definition> {
        let own = self.own.get(space).and_then(|own| own.values().find(|own| own.name == name));
        own.map(|own| &**own).or_else(|| by_name(space, name))
    }

    /// The operator's own definition of `code` in `space`.
    pub fn own(&self, space: &str, code: u32) -> Option<&Definition> {
        self.own.get(space)?.get(&code).map(|own| &**own)
    }

    /// These, and where they say nothing, those of `outer`: what the options of a class are read with.
    pub fn over(&self, outer: &Definitions) -> Definitions {
        let mut all = outer.clone();
        for (space, own) in &self.own {
            let codes = all.own.entry(Arc::clone(space)).or_default();
            // A name that is defined anew means the new code alone.
            codes.retain(|_, outer| own.values().all(|own| own.name != outer.name));
            codes.extend(own.iter().map(|(code, own)| (*code, Arc::clone(own))));
        }
        all
    }

    /// Whether there are none but the standard ones.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty()
    }

    /// Adds a definition; returns whether its code was free among the operator's own.
    pub fn insert(&mut self, space: Arc<str>, definition: Definition) -> bool {
        let codes = self.own.entry(space).or_default();
        codes.insert(definition.code, Arc::new(definition)).is_none()
    }

    /// The operator's own, by space and code.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Definition)> {
        self.own.iter().flat_map(|(space, own)| own.values().map(move |own| (space, &**own)))
    }
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
    match space {
        DHCP4 => Some(v4::TABLE),
        RELAY_AGENT_SPACE => Some(v4::RELAY_AGENT),
        "cablelabs-client-conf" => Some(v4::CABLELABS_CLIENT),
        // The second is Kea's own name of the table; nothing of that space is sent.
        "vendor-4491" | "docsis3-v4" => Some(v4::DOCSIS),
        _ => None,
    }
}

/// Whether `name` may name a space: letters, digits, hyphens and underscores, the last two not at
/// its ends.
pub fn is_space_name(name: &str) -> bool {
    is_name(name)
}

/// Whether `name` may name an option; the same rule.
pub fn is_name(name: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    bytes.iter().copied().all(inside) && end(bytes.first()) && end(bytes.last())
}

/// The enterprise number of a space `vendor-<number>`, whose options stand in options 125 of that
/// enterprise (RFC 3925).
pub fn enterprise_of(space: &str) -> Option<u32> {
    let digits = space.strip_prefix("vendor-")?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok())?.filter(|number| *number != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_of_an_enterprise_is_told_by_its_number() {
        assert_eq!(enterprise_of("vendor-4491"), Some(4491));
        for other in ["vendor-", "vendor-0", "vendor-x", "vendor-+1", "vendor-4294967296", "foo"] {
            assert_eq!(enterprise_of(other), None, "{other}");
        }
    }

    #[test]
    fn names_have_letters_and_digits_at_their_ends() {
        for good in ["a", "a-b_c", "1"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-", "-a", "a_", "a b", "a.b", "é"] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn what_a_class_defines_hides_the_outer_definition() {
        let definition = |code, name: &'static str| Definition {
            code,
            name: name.into(),
            kind: Type::Uint8,
            array: false,
            fields: Cow::Borrowed(&[]),
            encapsulates: None,
        };
        let (mut outer, mut own) = (Definitions::default(), Definitions::default());
        assert!(outer.insert(DHCP4.into(), definition(224, "a")));
        assert!(outer.insert(DHCP4.into(), definition(225, "b")));
        assert!(own.insert(DHCP4.into(), definition(224, "b")));
        let all = own.over(&outer);
        assert_eq!(all.by_code(DHCP4, 224).unwrap().name, "b");
        assert_eq!(all.by_name(DHCP4, "b").unwrap().code, 224);
        assert!(all.by_name(DHCP4, "a").is_none() && all.by_code(DHCP4, 225).is_none());
        assert_eq!(outer.by_name(DHCP4, "a").unwrap().code, 224);
    }

    #[test]
    fn options_are_found_by_number_and_by_name() {
        assert_eq!(by_code(DHCP4, 3).unwrap().name, "routers");
        assert_eq!(by_name(DHCP4, "domain-search").unwrap().code, 119);
        assert!(by_code(DHCP4, 200).is_none());
        assert!(by_code("elsewhere", 3).is_none());
        assert_eq!(by_name("vendor-4491", "tftp-servers").unwrap().code, 2);
        for row in v4::TABLE {
            assert_eq!(by_code(DHCP4, row.code), Some(row));
            assert_eq!(by_name(DHCP4, &row.name), Some(row));
        }
    }
}
