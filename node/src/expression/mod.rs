//! Kea's classification expressions (`kea-config.md` §6.4): text → typed tree → value.
//!
//! An expression is parsed once, when the configuration is loaded ([`parse_test`], [`parse_text`]): types
//! are checked, names are looked up, patterns are compiled. Then it is asked about packets
//! ([`Test::evaluate`], [`Text::evaluate`]), which are known only through [`Facts`].
//!
//! Everything is bounded, and the bounds are known at load: the source ([`MAX_SOURCE`]), how deep it
//! nests ([`MAX_DEPTH`]), how long a value can be ([`MAX_VALUE`]), and the work of one evaluation
//! ([`Test::cost`], at most [`MAX_COST`]). No text and no packet makes it panic.
//!
//! * `lexer`: text → tokens
//! * `parser`: tokens → tree, with Kea's words for mistakes
//! * `tree`: the tree, and how it is printed
//! * `pattern`: the regular expression of `match()`
//! * `eval`: tree and packet → value
//! * `cost`: the work of an evaluation, from above

mod cost;
mod eval;
mod facts;
mod lexer;
mod parser;
mod pattern;
mod tree;
mod vendor;

use std::fmt;

pub use facts::{Facts, Field, OptionNames};

/// The longest source, in bytes.
pub const MAX_SOURCE: usize = 256 * 1024;

/// How many parentheses and functions may lie in each other.
pub const MAX_DEPTH: u32 = 100;

/// The longest value an evaluation works with, in bytes: an option, or what functions make of it. More
/// than a packet of 1500 bytes has room for.
pub const MAX_VALUE: usize = 2048;

/// The most that one evaluation may cost, in the units of [`Test::cost`].
pub const MAX_COST: u32 = 3_000_000;

/// A boolean expression (`test`), parsed and typed.
///
/// Two are equal when they ask the same in the same way; spaces and spelling do not count.
#[derive(Debug, Clone, PartialEq)]
pub struct Test {
    root: tree::Bool,
    members: Box<[Box<str>]>,
    cost: u32,
}

/// A string-valued expression (`template-test`, flex-id's `identifier-expression`, flex-option's
/// `add` and `supersede`), parsed and typed.
#[derive(Debug, Clone, PartialEq)]
pub struct Text {
    root: tree::Str,
    members: Box<[Box<str>]>,
    cost: u32,
}

/// A mistake in an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Wrong {
    /// Where it begins: a byte offset in the source.
    pub at: usize,
    /// What it is, in Kea's words:
    /// `expression: [option[x].hex] error: <string>:1.8: option 'x' is not defined`.
    pub text: String,
}

/// Why an expression has no value for this packet. A class does not match then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// A value is longer than [`MAX_VALUE`].
    #[error("a value of {0} bytes is too long")]
    TooLong(usize),
    /// `addrtotext` of something that is no address.
    #[error("addrtotext of {0} bytes: 4 or 16 are needed")]
    Address(usize),
    /// `uint16totext` and its kin of a string of another width.
    #[error("{function} of {len} bytes: {width} needed")]
    Integer {
        /// The function.
        function: &'static str,
        /// How many bytes it converts.
        width: usize,
        /// How many it was given.
        len: usize,
    },
}

/// Parses a `test`.
pub fn parse_test(source: &str, names: &dyn OptionNames) -> Result<Test, Wrong> {
    let root = parser::test(source, names)?;
    let cost = affordable(source, cost::of_bool(&root))?;
    let mut members = Vec::new();
    root.members(&mut members);
    Ok(Test { members: each_once(members), cost, root })
}

/// Parses a string-valued expression.
pub fn parse_text(source: &str, names: &dyn OptionNames) -> Result<Text, Wrong> {
    let root = parser::text(source, names)?;
    let cost = affordable(source, cost::of_str(&root).work)?;
    let mut members = Vec::new();
    root.members(&mut members);
    Ok(Text { members: each_once(members), cost, root })
}

fn affordable(source: &str, cost: u32) -> Result<u32, Wrong> {
    if cost <= MAX_COST {
        return Ok(cost);
    }
    let what = format!("costs up to {cost} steps for a packet; {MAX_COST} are allowed");
    Err(Wrong::new(source, 0, source.len(), &what))
}

fn each_once(mut members: Vec<&str>) -> Box<[Box<str>]> {
    members.sort_unstable();
    members.dedup();
    members.into_iter().map(Box::from).collect()
}

impl Test {
    /// Whether the packet matches.
    pub fn evaluate(&self, facts: &dyn Facts) -> Result<bool, EvalError> {
        self.root.evaluate(facts)
    }

    /// The classes it asks for with `member()`, each once.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|name| &**name)
    }

    /// An upper bound of the work of one evaluation, in units of about a nanosecond.
    pub fn cost(&self) -> u32 {
        self.cost
    }
}

impl Text {
    /// The value for this packet, at most [`MAX_VALUE`] bytes.
    pub fn evaluate(&self, facts: &dyn Facts) -> Result<Vec<u8>, EvalError> {
        self.root.evaluate(facts).map(|value| value.into_owned())
    }

    /// The classes it asks for with `member()`, each once.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|name| &**name)
    }

    /// An upper bound of the work of one evaluation, in units of about a nanosecond.
    pub fn cost(&self) -> u32 {
        self.cost
    }
}

/// An expression that parses to the same tree.
impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.fmt(f)
    }
}

/// An expression that parses to the same tree.
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.fmt(f)
    }
}

impl Wrong {
    /// How much of the source the text repeats, in bytes.
    const SHOWN: usize = 1024;

    /// A mistake in bytes `at..end` of the source.
    fn new(source: &str, at: usize, end: usize, what: &str) -> Wrong {
        let place = |offset: usize| {
            let before = source.as_bytes().get(..offset).unwrap_or(source.as_bytes());
            let lines = before.iter().filter(|byte| **byte == b'\n').count();
            let column = before.iter().rev().take_while(|byte| **byte != b'\n').count();
            (lines + 1, column + 1)
        };
        let (line, column) = place(at);
        let (last_line, last_column) = place(end.saturating_sub(1).max(at));
        let to = match (last_line > line, last_column > column) {
            (true, _) => format!("-{last_line}.{last_column}"),
            (false, true) => format!("-{last_column}"),
            (false, false) => String::new(),
        };
        Wrong::without_place(source, at, &format!("<string>:{line}.{column}{to}: {what}"))
    }

    /// A mistake whose place Kea does not tell in the text.
    fn without_place(source: &str, at: usize, what: &str) -> Wrong {
        let cut = source.floor_char_boundary(Wrong::SHOWN);
        let more = if cut < source.len() { "…" } else { "" };
        let shown = &source[..cut];
        Wrong { at, text: format!("expression: [{shown}{more}] error: {what}") }
    }
}

#[cfg(test)]
mod tests;
