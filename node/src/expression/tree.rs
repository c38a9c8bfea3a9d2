//! The typed tree of an expression, and how it is printed.
//!
//! The tree is in a normal form: nested operands of one associative operator lie in one list, a
//! literal is its bytes. Printing and parsing again gives the same tree.

use std::fmt;

use super::facts::Field;
use super::pattern::Pattern;

/// An expression that is true or false.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Bool {
    Not(Box<Bool>),
    /// Two operands or more, and never a [`Bool::Many`] of the same operator among them.
    Many(Operator, Vec<Bool>),
    Equal(Str, Str),
    Exists(Path),
    VendorExists(Enterprise),
    VendorClassExists(Enterprise),
    Member(Box<str>),
    Match(Pattern, Str),
}

/// The operators between truth values, loosest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operator {
    Sor,
    Or,
    Sand,
    And,
}

/// An expression whose value is a string of bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Str {
    Literal(Box<[u8]>),
    Hex(Path),
    Text(Path),
    VendorEnterprise,
    VendorClassEnterprise,
    VendorClassData(Enterprise, u8),
    Field(Field),
    Substring(Box<Str>, i32, Option<i32>),
    Split(Box<(Str, Str)>, i32),
    /// Two parts or more, none of them a [`Str::Concat`].
    Concat(Vec<Str>),
    IfElse(Box<(Bool, Str, Str)>),
    /// `sifelse`: both branches are evaluated.
    BothIfElse(Box<(Bool, Str, Str)>),
    LowerCase(Box<Str>),
    UpperCase(Box<Str>),
    HexString(Box<(Str, Str)>),
    AddressToText(Box<Str>),
    IntegerToText(Integer, Box<Str>),
}

/// `ent` of the grammar: a number, or `*` for any.
pub(super) type Enterprise = Option<u32>;

/// The way to an option: where it begins, then sub-option in sub-option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    pub root: Root,
    pub rest: Box<[u8]>,
}

/// Where a [`Path`] begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    Option(u8),
    /// A sub-option of option 82.
    Relay(u8),
    /// A sub-option of option 125.
    Vendor(Enterprise, u8),
}

/// The widths of `int8totext` and its kin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Integer {
    Int8,
    Int16,
    Int32,
    Uint8,
    Uint16,
    Uint32,
}

impl Integer {
    /// How many bytes it converts.
    pub fn width(self) -> usize {
        match self {
            Integer::Int8 | Integer::Uint8 => 1,
            Integer::Int16 | Integer::Uint16 => 2,
            Integer::Int32 | Integer::Uint32 => 4,
        }
    }

    /// The keyword of the function.
    pub fn keyword(self) -> &'static str {
        match self {
            Integer::Int8 => "int8totext",
            Integer::Int16 => "int16totext",
            Integer::Int32 => "int32totext",
            Integer::Uint8 => "uint8totext",
            Integer::Uint16 => "uint16totext",
            Integer::Uint32 => "uint32totext",
        }
    }
}

impl Operator {
    /// The keyword.
    pub fn keyword(self) -> &'static str {
        match self {
            Operator::Sor => "sor",
            Operator::Or => "or",
            Operator::Sand => "sand",
            Operator::And => "and",
        }
    }

    /// Joins two operands, keeping the normal form.
    pub fn join(self, left: Bool, right: Bool) -> Bool {
        let mut operands = match left {
            Bool::Many(operator, operands) if operator == self => operands,
            other => vec![other],
        };
        match right {
            Bool::Many(operator, more) if operator == self => operands.extend(more),
            other => operands.push(other),
        }
        Bool::Many(self, operands)
    }
}

impl Bool {
    /// The opposite, in the normal form: never [`Bool::Not`] in [`Bool::Not`].
    pub fn negate(self) -> Bool {
        match self {
            Bool::Not(inner) => *inner,
            other => Bool::Not(Box::new(other)),
        }
    }
}

impl Str {
    /// One behind the other, in the normal form.
    pub fn concat(left: Str, right: Str) -> Str {
        let mut parts = match left {
            Str::Concat(parts) => parts,
            other => vec![other],
        };
        match right {
            Str::Concat(more) => parts.extend(more),
            other => parts.push(other),
        }
        Str::Concat(parts)
    }
}

impl fmt::Display for Bool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bool::Not(inner) => match **inner {
                Bool::Many(..) | Bool::Equal(..) => write!(f, "not ({inner})"),
                _ => write!(f, "not {inner}"),
            },
            Bool::Many(operator, operands) => {
                for (n, operand) in operands.iter().enumerate() {
                    if n > 0 {
                        write!(f, " {} ", operator.keyword())?;
                    }
                    match operand {
                        Bool::Many(inner, _) if inner < operator => write!(f, "({operand})")?,
                        _ => write!(f, "{operand}")?,
                    }
                }
                Ok(())
            }
            Bool::Equal(left, right) => write!(f, "{left} == {right}"),
            Bool::Exists(path) => write!(f, "{path}.exists"),
            Bool::VendorExists(enterprise) => {
                write!(f, "vendor[{}].exists", Number(*enterprise))
            }
            Bool::VendorClassExists(enterprise) => {
                write!(f, "vendor-class[{}].exists", Number(*enterprise))
            }
            Bool::Member(class) => write!(f, "member('{class}')"),
            Bool::Match(pattern, subject) => write!(f, "match('{}', {subject})", pattern.source()),
        }
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Str::Literal(bytes) => literal(bytes, f),
            Str::Hex(path) => write!(f, "{path}.hex"),
            Str::Text(path) => write!(f, "{path}.text"),
            Str::VendorEnterprise => f.write_str("vendor.enterprise"),
            Str::VendorClassEnterprise => f.write_str("vendor-class.enterprise"),
            Str::VendorClassData(enterprise, n) => {
                write!(f, "vendor-class[{}].data[{n}]", Number(*enterprise))
            }
            Str::Field(field) => f.write_str(field.keyword()),
            Str::Substring(of, start, Some(len)) => write!(f, "substring({of}, {start}, {len})"),
            Str::Substring(of, start, None) => write!(f, "substring({of}, {start}, all)"),
            Str::Split(of, n) => write!(f, "split({}, {}, {n})", of.0, of.1),
            Str::Concat(parts) => {
                for (n, part) in parts.iter().enumerate() {
                    write!(f, "{}{part}", if n > 0 { " + " } else { "" })?;
                }
                Ok(())
            }
            Str::IfElse(of) => write!(f, "ifelse({}, {}, {})", of.0, of.1, of.2),
            Str::BothIfElse(of) => write!(f, "sifelse({}, {}, {})", of.0, of.1, of.2),
            Str::LowerCase(of) => write!(f, "lcase({of})"),
            Str::UpperCase(of) => write!(f, "ucase({of})"),
            Str::HexString(of) => write!(f, "hexstring({}, {})", of.0, of.1),
            Str::AddressToText(of) => write!(f, "addrtotext({of})"),
            Str::IntegerToText(integer, of) => write!(f, "{}({of})", integer.keyword()),
        }
    }
}

/// As text if it can be written so, else in hexadecimal.
fn literal(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(|c: char| c.is_control() || c == '\'') => write!(f, "'{text}'"),
        _ => {
            f.write_str("0x")?;
            bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
        }
    }
}

struct Number(Enterprise);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => write!(f, "{number}"),
            None => f.write_str("*"),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.root {
            Root::Option(code) => write!(f, "option[{code}]")?,
            Root::Relay(code) => write!(f, "relay4[{code}]")?,
            Root::Vendor(enterprise, code) => {
                write!(f, "vendor[{}].option[{code}]", Number(enterprise))?;
            }
        }
        self.rest.iter().try_for_each(|code| write!(f, ".option[{code}]"))
    }
}
