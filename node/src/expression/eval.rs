//! Tree and packet → value.
//!
//! A value stays borrowed from the expression or from the packet as long as it is a part of either.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::facts::Facts;
use super::tree::{Bool, Integer, Operator, Path, Root, Str};
use super::vendor::{self, RELAY_AGENT_INFO, VENDOR, VENDOR_CLASS, VENDOR_ENCAPSULATED, part};
use super::{EvalError, MAX_VALUE};

type Value<'a> = Cow<'a, [u8]>;

impl Bool {
    pub fn evaluate(&self, facts: &dyn Facts) -> Result<bool, EvalError> {
        match self {
            Bool::Not(inner) => inner.evaluate(facts).map(|truth| !truth),
            Bool::Many(operator, operands) => many(*operator, operands, facts),
            Bool::Equal(left, right) => Ok(left.evaluate(facts)? == right.evaluate(facts)?),
            Bool::Exists(path) => Ok(find(path, facts).is_some()),
            Bool::VendorExists(enterprise) => Ok(facts
                .option(VENDOR)
                .is_some_and(|payload| vendor::blocks_of(&payload, *enterprise).next().is_some())),
            Bool::VendorClassExists(enterprise) => Ok(facts
                .option(VENDOR_CLASS)
                .is_some_and(|payload| vendor::blocks_of(&payload, *enterprise).next().is_some())),
            Bool::Member(class) => Ok(facts.is_member(class)),
            Bool::Match(pattern, subject) => Ok(pattern.matches(&subject.evaluate(facts)?)),
        }
    }

    /// Adds the classes asked for.
    pub fn members<'a>(&'a self, to: &mut Vec<&'a str>) {
        match self {
            Bool::Not(inner) => inner.members(to),
            Bool::Many(_, operands) => operands.iter().for_each(|operand| operand.members(to)),
            Bool::Equal(left, right) => {
                left.members(to);
                right.members(to);
            }
            Bool::Member(class) => to.push(class),
            Bool::Match(_, subject) => subject.members(to),
            Bool::Exists(_) | Bool::VendorExists(_) | Bool::VendorClassExists(_) => {}
        }
    }
}

fn many(operator: Operator, operands: &[Bool], facts: &dyn Facts) -> Result<bool, EvalError> {
    let (neutral, short_circuit) = match operator {
        Operator::And => (true, true),
        Operator::Sand => (true, false),
        Operator::Or => (false, true),
        Operator::Sor => (false, false),
    };
    let mut result = neutral;
    for operand in operands {
        if operand.evaluate(facts)? != neutral {
            if short_circuit {
                return Ok(!neutral);
            }
            result = !neutral;
        }
    }
    Ok(result)
}

impl Str {
    pub fn evaluate<'a>(&'a self, facts: &'a dyn Facts) -> Result<Value<'a>, EvalError> {
        Ok(match self {
            Str::Literal(bytes) => Cow::Borrowed(&**bytes),
            Str::Hex(path) => short(find(path, facts).unwrap_or_default())?,
            Str::Text(path) => text(path, facts)?,
            Str::VendorEnterprise => enterprise(facts.option(VENDOR)),
            Str::VendorClassEnterprise => enterprise(facts.option(VENDOR_CLASS)),
            Str::VendorClassData(enterprise, n) => {
                let payload = facts.option(VENDOR_CLASS).unwrap_or_default();
                let data = vendor::blocks_of(&payload, *enterprise).nth(usize::from(*n));
                match data {
                    Some(range) => part(payload, range),
                    None => Value::default(),
                }
            }
            Str::Field(field) => facts.field(*field),
            Str::Substring(of, start, len) => substring(of.evaluate(facts)?, *start, *len),
            Str::Split(of, n) => split(of.0.evaluate(facts)?, &of.1.evaluate(facts)?, *n),
            Str::Concat(parts) => {
                let mut joined = Vec::new();
                for part in parts {
                    joined.extend_from_slice(&part.evaluate(facts)?);
                    not_too_long(joined.len())?;
                }
                Cow::Owned(joined)
            }
            Str::IfElse(of) => if of.0.evaluate(facts)? { &of.1 } else { &of.2 }.evaluate(facts)?,
            Str::BothIfElse(of) => {
                let truth = of.0.evaluate(facts)?;
                let (yes, no) = (of.1.evaluate(facts)?, of.2.evaluate(facts)?);
                if truth { yes } else { no }
            }
            Str::LowerCase(of) => {
                map(of.evaluate(facts)?, u8::is_ascii_uppercase, <[u8]>::make_ascii_lowercase)
            }
            Str::UpperCase(of) => {
                map(of.evaluate(facts)?, u8::is_ascii_lowercase, <[u8]>::make_ascii_uppercase)
            }
            Str::HexString(of) => hex_string(&of.0.evaluate(facts)?, &of.1.evaluate(facts)?)?,
            Str::AddressToText(of) => address_to_text(&of.evaluate(facts)?)?,
            Str::IntegerToText(integer, of) => integer_to_text(*integer, &of.evaluate(facts)?)?,
        })
    }

    /// Adds the classes asked for.
    pub fn members<'a>(&'a self, to: &mut Vec<&'a str>) {
        match self {
            Str::Substring(of, ..)
            | Str::LowerCase(of)
            | Str::UpperCase(of)
            | Str::AddressToText(of)
            | Str::IntegerToText(_, of) => of.members(to),
            Str::Split(of, _) | Str::HexString(of) => {
                of.0.members(to);
                of.1.members(to);
            }
            Str::Concat(parts) => parts.iter().for_each(|part| part.members(to)),
            Str::IfElse(of) | Str::BothIfElse(of) => {
                of.0.members(to);
                of.1.members(to);
                of.2.members(to);
            }
            Str::Literal(_)
            | Str::Hex(_)
            | Str::Text(_)
            | Str::VendorEnterprise
            | Str::VendorClassEnterprise
            | Str::VendorClassData(..)
            | Str::Field(_) => {}
        }
    }
}

fn not_too_long(len: usize) -> Result<(), EvalError> {
    if len > MAX_VALUE { Err(EvalError::TooLong(len)) } else { Ok(()) }
}

fn short(value: Value<'_>) -> Result<Value<'_>, EvalError> {
    not_too_long(value.len()).map(|()| value)
}

/// The payload at the end of a path.
fn find<'a>(path: &Path, facts: &'a dyn Facts) -> Option<Value<'a>> {
    let found = match path.root {
        Root::Option(code) => facts.option(code),
        Root::Relay(code) => facts.relay(code),
        Root::Vendor(enterprise, code) => facts.option(VENDOR).and_then(|payload| {
            let inner = vendor::blocks_of(&payload, enterprise).find_map(|block| {
                let found = vendor::sub_option(payload.get(block.clone())?, code, false)?;
                Some(block.start + found.start..block.start + found.end)
            });
            inner.map(|range| part(payload, range))
        }),
    };
    let mut value = found?;
    let padded = path.root == Root::Option(VENDOR_ENCAPSULATED);
    for code in &path.rest {
        let range = vendor::sub_option(&value, *code, padded)?;
        value = part(value, range);
    }
    Some(value)
}

/// The printable form of what is at the end of a path.
fn text<'a>(path: &Path, facts: &'a dyn Facts) -> Result<Value<'a>, EvalError> {
    let text = match (path.root, &*path.rest) {
        (Root::Option(code), []) => facts.option_text(code),
        (root, rest) => find(path, facts).map(|payload| {
            let mut codes = match root {
                Root::Option(code) => vec![code],
                Root::Relay(code) => vec![RELAY_AGENT_INFO, code],
                Root::Vendor(_, code) => vec![VENDOR, code],
            };
            codes.extend_from_slice(rest);
            facts.sub_option_text(&codes, payload)
        }),
    };
    short(text.unwrap_or_default())
}

/// The enterprise number of the first block.
fn enterprise(payload: Option<Value<'_>>) -> Value<'_> {
    match payload {
        Some(payload) if vendor::blocks(&payload).next().is_some() => part(payload, 0..4),
        _ => Value::default(),
    }
}

fn substring(value: Value<'_>, start: i32, len: Option<i32>) -> Value<'_> {
    let whole = i64::try_from(value.len()).unwrap_or(i64::MAX);
    let start = i64::from(start);
    if start < -whole || start >= whole {
        return Value::default();
    }
    let start = if start < 0 { start + whole } else { start };
    let len = len.map_or(whole, i64::from);
    // A negative length counts backwards from the start.
    let (from, to) = if len < 0 { (start + len, start) } else { (start, start + len) };
    let within = |at: i64| usize::try_from(at.clamp(0, whole)).unwrap_or_default();
    part(value, within(from)..within(to))
}

fn split<'a>(value: Value<'a>, delimiters: &[u8], n: i32) -> Value<'a> {
    if delimiters.is_empty() {
        return value;
    }
    let Some(n) = usize::try_from(n).ok().and_then(|n| n.checked_sub(1)) else {
        return Value::default();
    };
    let mut separates = [false; 256];
    delimiters.iter().for_each(|byte| separates[usize::from(*byte)] = true);
    let mut from = 0;
    let field =
        value.split(|byte| separates[usize::from(*byte)]).enumerate().find_map(|(at, field)| {
            let range = from..from + field.len();
            from = range.end + 1;
            (at == n).then_some(range)
        });
    match field {
        Some(range) => part(value, range),
        None => Value::default(),
    }
}

fn map<'a>(value: Value<'a>, changes: fn(&u8) -> bool, change: fn(&mut [u8])) -> Value<'a> {
    if !value.iter().any(changes) {
        return value;
    }
    let mut bytes = value.into_owned();
    change(&mut bytes);
    Cow::Owned(bytes)
}

fn hex_string<'a>(value: &[u8], separator: &[u8]) -> Result<Value<'a>, EvalError> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let gaps = value.len().saturating_sub(1);
    let len = 2 * value.len() + gaps * separator.len();
    not_too_long(len)?;
    let mut out = Vec::with_capacity(len);
    for (n, byte) in value.iter().enumerate() {
        if n > 0 {
            out.extend_from_slice(separator);
        }
        out.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    Ok(Cow::Owned(out))
}

fn address_to_text<'a>(value: &[u8]) -> Result<Value<'a>, EvalError> {
    let text = if value.is_empty() {
        String::new()
    } else if let Ok(octets) = <[u8; 4]>::try_from(value) {
        Ipv4Addr::from(octets).to_string()
    } else if let Ok(octets) = <[u8; 16]>::try_from(value) {
        Ipv6Addr::from(octets).to_string()
    } else {
        return Err(EvalError::Address(value.len()));
    };
    Ok(Cow::Owned(text.into_bytes()))
}

fn integer_to_text<'a>(integer: Integer, value: &[u8]) -> Result<Value<'a>, EvalError> {
    let text = match (integer, value) {
        (_, []) => String::new(),
        (Integer::Int8, [a]) => i8::from_be_bytes([*a]).to_string(),
        (Integer::Uint8, [a]) => a.to_string(),
        (Integer::Int16, [a, b]) => i16::from_be_bytes([*a, *b]).to_string(),
        (Integer::Uint16, [a, b]) => u16::from_be_bytes([*a, *b]).to_string(),
        (Integer::Int32, [a, b, c, d]) => i32::from_be_bytes([*a, *b, *c, *d]).to_string(),
        (Integer::Uint32, [a, b, c, d]) => u32::from_be_bytes([*a, *b, *c, *d]).to_string(),
        _ => {
            return Err(EvalError::Integer {
                function: integer.keyword(),
                width: integer.width(),
                len: value.len(),
            });
        }
    };
    Ok(Cow::Owned(text.into_bytes()))
}
