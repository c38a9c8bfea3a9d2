//! Option 162, encrypted DNS resolvers (RFC 9463 §5), in Kea's text form:
//! `10, dot.example.org., 192.0.2.3 192.0.2.4, alpn=dot\,doq port=8530 | 20, …`.
//!
//! Addresses and service parameters may be left out together (ADN-only mode). Parameters: `alpn`,
//! `port` and `dohpath` (RFC 9460 §7, RFC 9461 §5).

use std::net::Ipv4Addr;

use super::BadValue;
use super::Type;
use super::codec::{Reader, number, read_name, write_name};

const ALPN: u16 = 1;
const PORT: u16 = 3;
const DOHPATH: u16 = 7;

fn bad(text: &str, why: &'static str) -> BadValue {
    BadValue::Text { text: text.to_owned(), kind: "v4-dnr", why }
}

pub(super) fn encode(text: &str) -> Result<Vec<u8>, BadValue> {
    let mut out = Vec::new();
    for instance in text.split('|') {
        let bytes = encode_instance(instance.trim())?;
        let len =
            u16::try_from(bytes.len()).map_err(|_| bad(instance, "an instance is too long"))?;
        out.extend(len.to_be_bytes());
        out.extend(bytes);
    }
    Ok(out)
}

fn encode_instance(text: &str) -> Result<Vec<u8>, BadValue> {
    // A backslash guards the commas inside alpn.
    let fields: Vec<String> =
        text.replace("\\,", "\0").split(',').map(|field| field.trim().replace('\0', ",")).collect();
    let (priority, name, rest) = match fields.as_slice() {
        [priority, name, rest @ ..] if rest.len() <= 2 => (priority, name, rest),
        _ => return Err(bad(text, "priority, name, addresses, parameters are expected")),
    };
    let mut out = (number(priority, 0, u16::MAX.into())? as u16).to_be_bytes().to_vec();
    let mut wire = Vec::new();
    write_name(&mut wire, name)?;
    out.push(u8::try_from(wire.len()).map_err(|_| bad(name, "a name has at most 255 bytes"))?);
    out.extend(wire);
    let Some(addresses) = rest.first() else { return Ok(out) };
    let addresses: Vec<Ipv4Addr> = addresses
        .split_whitespace()
        .map(|address| address.parse().map_err(|_| bad(address, "an IPv4 address is expected")))
        .collect::<Result<_, _>>()?;
    if addresses.is_empty() || addresses.len() > 63 {
        return Err(bad(text, "1 to 63 addresses are expected"));
    }
    out.push((addresses.len() * 4) as u8);
    out.extend(addresses.iter().flat_map(Ipv4Addr::octets));
    let mut parameters = Vec::new();
    for parameter in rest.get(1).map(String::as_str).unwrap_or_default().split_whitespace() {
        let (key, value) =
            parameter.split_once('=').ok_or(bad(parameter, "key=value is expected"))?;
        parameters.push(encode_parameter(key, value)?);
    }
    // RFC 9460 §2.2: ascending, each key once.
    parameters.sort();
    if parameters.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(bad(text, "a parameter is given twice"));
    }
    for (key, value) in parameters {
        let len = u16::try_from(value.len()).map_err(|_| bad(text, "a parameter is too long"))?;
        out.extend(key.to_be_bytes());
        out.extend(len.to_be_bytes());
        out.extend(value);
    }
    Ok(out)
}

fn encode_parameter(key: &str, value: &str) -> Result<(u16, Vec<u8>), BadValue> {
    match key {
        "alpn" => {
            let mut out = Vec::new();
            for id in value.split(',') {
                let len = u8::try_from(id.len()).ok().filter(|len| *len > 0);
                out.push(len.ok_or(bad(value, "a protocol has 1 to 255 bytes"))?);
                out.extend(id.as_bytes());
            }
            Ok((ALPN, out))
        }
        "port" => Ok((PORT, (number(value, 0, u16::MAX.into())? as u16).to_be_bytes().to_vec())),
        "dohpath" if !value.is_empty() => Ok((DOHPATH, value.as_bytes().to_vec())),
        _ => Err(bad(key, "alpn, port or dohpath is expected")),
    }
}

pub(super) fn decode(bytes: &[u8]) -> Result<String, BadValue> {
    let mut reader = Reader { all: bytes, at: 0 };
    let mut instances = Vec::new();
    while !reader.is_done() {
        let len = u16::from_be_bytes(reader.array(Type::Dnr)?);
        instances.push(decode_instance(reader.take(usize::from(len), Type::Dnr)?)?);
    }
    if instances.is_empty() { Err(BadValue::Missing) } else { Ok(instances.join(" | ")) }
}

fn decode_instance(bytes: &[u8]) -> Result<String, BadValue> {
    let wrong = |why| BadValue::Bytes { kind: "v4-dnr", why };
    let mut reader = Reader { all: bytes, at: 0 };
    let priority = u16::from_be_bytes(reader.array(Type::Dnr)?);
    let [len] = reader.array(Type::Dnr)?;
    let mut name = Reader { all: reader.take(usize::from(len), Type::Dnr)?, at: 0 };
    let mut text = format!("{priority}, {}", read_name(&mut name)?);
    if !name.is_done() {
        return Err(wrong("bytes follow the name"));
    }
    if reader.is_done() {
        return Ok(text);
    }
    let [len] = reader.array(Type::Dnr)?;
    if len == 0 || len % 4 != 0 {
        return Err(wrong("the addresses are not divisible by 4"));
    }
    let mut addresses = Reader { all: reader.take(usize::from(len), Type::Dnr)?, at: 0 };
    let mut separator = ", ";
    while !addresses.is_done() {
        text += separator;
        text += &Ipv4Addr::from(addresses.array::<4>(Type::Dnr)?).to_string();
        separator = " ";
    }
    separator = ", ";
    while !reader.is_done() {
        let key = u16::from_be_bytes(reader.array(Type::Dnr)?);
        let len = u16::from_be_bytes(reader.array(Type::Dnr)?);
        let value = reader.take(usize::from(len), Type::Dnr)?;
        text += separator;
        text += &decode_parameter(key, value)?;
        separator = " ";
    }
    Ok(text)
}

fn decode_parameter(key: u16, value: &[u8]) -> Result<String, BadValue> {
    let wrong = |why| BadValue::Bytes { kind: "v4-dnr", why };
    match (key, value) {
        (ALPN, _) => {
            let mut reader = Reader { all: value, at: 0 };
            let mut ids = Vec::new();
            while !reader.is_done() {
                let [len] = reader.array(Type::Dnr)?;
                ids.push(
                    String::from_utf8_lossy(reader.take(usize::from(len), Type::Dnr)?).into_owned(),
                );
            }
            Ok(format!("alpn={}", ids.join("\\,")))
        }
        (PORT, [high, low]) => Ok(format!("port={}", u16::from_be_bytes([*high, *low]))),
        (DOHPATH, _) => {
            Ok(format!("dohpath={}", String::from_utf8_lossy(value).replace(',', "\\,")))
        }
        _ => Err(wrong("the parameter is unknown")),
    }
}
