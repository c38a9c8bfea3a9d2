//! Elements: JSON values that remember where they stood.
//!
//! A document may have millions of them, so they are small: a place is an offset, and a key is
//! shared by all members that have it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::small::SmallText;

/// Where something stands. [`super::mistake::Report`] makes line and column of it when they are
/// asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    /// Which file, see [`super::mistake::Report::add_source`].
    pub(super) source: u16,
    /// From the beginning of the file, bytes.
    pub(super) offset: u32,
    /// Inside the string that stands there: 1 plus the bytes of its value before the place.
    pub(super) inside: u16,
}

impl Position {
    /// In no text.
    pub(super) const NOWHERE: Position = Position { source: 0, offset: u32::MAX, inside: 0 };

    /// Byte `offset` of a file; a document has at most 1 GiB.
    pub(super) fn new(source: u16, offset: usize) -> Position {
        Position { source, offset: u32::try_from(offset).unwrap_or(u32::MAX), inside: 0 }
    }
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Element {
    pub(super) at: Position,
    pub(super) value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Real(f64),
    Text(SmallText),
    List(Vec<Element>),
    Map(Map),
}

/// Members in the order of the text; each key once.
#[derive(Debug, Clone, Default)]
pub(super) struct Map {
    pub(super) members: Vec<Member>,
}

#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) key: Key,
    pub(super) at: Position,
    pub(super) value: Element,
}

/// The key of a member.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key(Arc<str>);

impl Deref for Key {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Key {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for Key {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl From<&str> for Key {
    fn from(key: &str) -> Key {
        Key(key.into())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The keys met lately, so that those which repeat are made once.
#[derive(Debug)]
pub(super) struct Keys([Option<Key>; Keys::SLOTS]);

impl Default for Keys {
    fn default() -> Keys {
        Keys([const { None }; Keys::SLOTS])
    }
}

impl Keys {
    const SLOTS: usize = 256;

    /// `key`, made or met before.
    pub(super) fn of(&mut self, key: &str) -> Key {
        let bytes = key.as_bytes();
        let (first, last) = (bytes.first().copied(), bytes.last().copied());
        let slot = bytes.len() * 31 + usize::from(first.unwrap_or(0)) * 7;
        let slot = (slot + usize::from(last.unwrap_or(0))) % Keys::SLOTS;
        match &self.0[slot] {
            Some(met) if *met == *key => met.clone(),
            _ => self.0[slot].insert(Key::from(key)).clone(),
        }
    }
}

impl Map {
    pub(super) fn get(&self, key: &str) -> Option<&Element> {
        self.members.iter().find(|member| member.key == *key).map(|member| &member.value)
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Element> {
        let member = self.members.iter_mut().find(|member| member.key == *key);
        member.map(|member| &mut member.value)
    }

    /// Takes a member out.
    pub(super) fn remove(&mut self, key: &str) -> Option<Element> {
        let at = self.members.iter().position(|member| member.key == *key)?;
        Some(self.members.remove(at).value)
    }

    /// Puts a value in the place of another of that key, or behind the others.
    pub(super) fn set(&mut self, key: &str, value: Element) {
        match self.get_mut(key) {
            Some(old) => *old = value,
            None => self.members.push(Member { key: key.into(), at: value.at, value }),
        }
    }
}

impl Element {
    /// A value that stands in no text.
    pub(super) fn nowhere(value: Value) -> Element {
        Element { at: Position::NOWHERE, value }
    }

    pub(super) fn map(&self) -> Option<&Map> {
        if let Value::Map(map) = &self.value { Some(map) } else { None }
    }

    pub(super) fn map_mut(&mut self) -> Option<&mut Map> {
        if let Value::Map(map) = &mut self.value { Some(map) } else { None }
    }

    pub(super) fn list_mut(&mut self) -> Option<&mut Vec<Element>> {
        if let Value::List(list) = &mut self.value { Some(list) } else { None }
    }

    pub(super) fn list(&self) -> &[Element] {
        if let Value::List(list) = &self.value { list } else { &[] }
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    pub(super) fn int(&self) -> Option<i64> {
        if let Value::Int(int) = self.value { Some(int) } else { None }
    }

    /// A real number; whole numbers are welcome where one is expected.
    pub(super) fn real(&self) -> Option<f64> {
        match self.value {
            Value::Real(real) => Some(real),
            Value::Int(int) => Some(int as f64),
            _ => None,
        }
    }

    pub(super) fn bool(&self) -> Option<bool> {
        if let Value::Bool(flag) = self.value { Some(flag) } else { None }
    }

    /// Kea's name of this kind of value in syntax errors.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Int(_) => "integer",
            Value::Real(_) => "floating point",
            Value::Text(_) => "constant string",
            Value::List(_) => "[",
            Value::Map(_) => "{",
        }
    }

    /// The value without positions.
    pub(super) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(flag) => Json::Bool(*flag),
            Value::Int(int) => Json::from(*int),
            Value::Real(real) => Json::from(*real),
            Value::Text(text) => Json::String(text.to_string()),
            Value::List(list) => list.iter().map(Element::to_json).collect(),
            Value::Map(map) => Json::Object(
                map.members
                    .iter()
                    .map(|member| (member.key.to_string(), member.value.to_json()))
                    .collect(),
            ),
        }
    }

    /// Appends the value as compact JSON, keys in the order of the text.
    pub(super) fn print(&self, out: &mut Vec<u8>) {
        match &self.value {
            Value::Null => out.extend(b"null"),
            Value::Bool(flag) => out.extend(if *flag { &b"true"[..] } else { b"false" }),
            Value::Int(int) => print_scalar(int, out),
            Value::Real(real) => print_scalar(real, out),
            Value::Text(text) => print_scalar(&**text, out),
            Value::List(list) => {
                out.push(b'[');
                for (at, element) in list.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    element.print(out);
                }
                out.push(b']');
            }
            Value::Map(map) => {
                out.push(b'{');
                for (at, member) in map.members.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    print_scalar(&*member.key, out);
                    out.push(b':');
                    member.value.print(out);
                }
                out.push(b'}');
            }
        }
    }
}

/// Appends a value that serde knows as compact JSON.
pub(super) fn print_scalar<T: serde::Serialize + ?Sized>(scalar: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(out, scalar).expect("memory takes it, and keys are strings");
}
