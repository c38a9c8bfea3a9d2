//! Kea's JSON dialect → elements that remember line and column (Kea manual, "JSON Syntax").
//!
//! Files may have comments (`#`, `//`, `/* */`), `<?include "file"?>` between any two words,
//! commas too many (with a warning) and numbers such as `.5` or `007`. The control channel and the log
//! speak plain JSON. In both, a key given twice is a mistake, strings are UTF-8, and whole numbers have 64
//! bits. Time and memory are linear in the text; nesting, includes and included bytes are bounded.

use std::collections::HashSet;
use std::sync::Arc;

use super::json::{Element, Key, Keys, Map, Member, Position, Value};
use super::mistake::{Path, Report};
use super::secrets::{HIDDEN, is_secret};
use super::small::SmallText;

/// How deep maps and lists may nest. Kea's own configuration needs about 12.
const MAX_DEPTH: usize = 100;
/// How deep includes may nest, as in Kea.
const MAX_INCLUDE_DEPTH: usize = 10;
/// How many bytes an include directive may have.
const MAX_DIRECTIVE: usize = 8192;
/// How many includes one document may have.
const MAX_INCLUDES: usize = 10_000;
/// How many bytes a document may have, includes pasted.
const MAX_BYTES: usize = 1 << 30;
const TOO_LARGE: &str = "the document with its includes is larger than 1 GiB";

/// Which rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Kea's, with its freedoms.
    File,
    /// Plain JSON.
    Wire,
}

/// The element that `text` is, or `None` after a syntax error (which the report then has).
pub(super) fn read(
    text: &str,
    dialect: Dialect,
    loader: &mut dyn FnMut(&str) -> Result<String, String>,
    report: &mut Report,
) -> Option<Element> {
    read_source(text, 0, dialect, loader, report)
}

/// The element that a piece of plain JSON is which comes beside the document; `source` is its number
/// in the report.
pub(super) fn read_beside(text: &str, source: u16, report: &mut Report) -> Option<Element> {
    read_source(text, source, Dialect::Wire, &mut |_| Err(String::new()), report)
}

fn read_source(
    text: &str,
    source: u16,
    dialect: Dialect,
    loader: &mut dyn FnMut(&str) -> Result<String, String>,
    report: &mut Report,
) -> Option<Element> {
    if text.len() > MAX_BYTES {
        report.error(Position::NOWHERE, &Path::Root, TOO_LARGE);
        return None;
    }
    let mut parser = Parser {
        input: Input { text: Text::Document(text), offset: 0, source },
        outer: Vec::new(),
        dialect,
        loader,
        report,
        keys: Keys::default(),
        members: Vec::new(),
        entries: Vec::new(),
        includes: 0,
        bytes: text.len(),
    };
    match parser.document() {
        Ok(element) => Some(element),
        Err(Syntax { at, text }) => {
            report.error(at, &Path::Root, text);
            None
        }
    }
}

/// The first thing that cannot be read; nothing behind it is looked at.
struct Syntax {
    at: Position,
    text: String,
}

/// One file being read.
struct Input<'t> {
    text: Text<'t>,
    offset: usize,
    source: u16,
}

enum Text<'t> {
    Document(&'t str),
    /// Shared with the report, which finds line and column in it.
    Included(Arc<str>),
}

impl Input<'_> {
    fn text(&self) -> &str {
        match &self.text {
            Text::Document(text) => text,
            Text::Included(text) => text,
        }
    }

    fn rest(&self) -> &[u8] {
        self.text().as_bytes().get(self.offset..).unwrap_or_default()
    }

    /// The next `len` bytes; empty if they are no text.
    fn slice(&self, len: usize) -> &str {
        self.text().get(self.offset..self.offset + len).unwrap_or_default()
    }
}

struct Parser<'a> {
    /// What is being read.
    input: Input<'a>,
    /// What includes it, the document first.
    outer: Vec<Input<'a>>,
    dialect: Dialect,
    loader: &'a mut dyn FnMut(&str) -> Result<String, String>,
    report: &'a mut Report,
    keys: Keys,
    /// Members and entries of the maps and lists that are open, the innermost last: each gets a
    /// vector of the right size when it is whole.
    members: Vec<Member>,
    entries: Vec<Element>,
    includes: usize,
    bytes: usize,
}

impl Parser<'_> {
    fn document(&mut self) -> Result<Element, Syntax> {
        let root = self.element(0, "toplevel")?;
        match self.peek()? {
            None => Ok(root),
            Some(byte) => Err(self.unexpected(Some(byte), "end of file")),
        }
    }

    /// `name` is the key that the value belongs to, for messages.
    fn element(&mut self, depth: usize, name: &str) -> Result<Element, Syntax> {
        let next = self.peek()?;
        let at = self.at();
        let value = match next {
            Some(b'{' | b'[') if depth == MAX_DEPTH => {
                return Err(self.syntax(format!("maps and lists nest deeper than {MAX_DEPTH}")));
            }
            Some(b'{') => Value::Map(self.map(depth, name)?),
            Some(b'[') => Value::List(self.list(depth, name)?),
            Some(b'"') => Value::Text(self.text()?),
            Some(b'-' | b'.' | b'0'..=b'9') => self.number(name)?,
            Some(b'a'..=b'z') => self.literal()?,
            other => return Err(self.unexpected(other, "a value")),
        };
        Ok(Element { at, value })
    }

    fn map(&mut self, depth: usize, name: &str) -> Result<Map, Syntax> {
        self.skip(1);
        let first = self.members.len();
        // Only maps too large to be a part of Kea's grammar pay for a set.
        let mut seen: HashSet<Key> = HashSet::new();
        let mut after_comma = true;
        loop {
            match self.peek()? {
                Some(b'}') => {
                    if after_comma && self.members.len() > first {
                        self.extra_comma("constant string")?;
                    }
                    self.skip(1);
                    return Ok(Map { members: self.members.split_off(first) });
                }
                Some(b',') if after_comma => {
                    self.extra_comma("a value")?;
                    self.skip(1);
                }
                Some(b',') => {
                    self.skip(1);
                    after_comma = true;
                }
                Some(b'"') if after_comma => {
                    let at = self.at();
                    let key = self.key()?;
                    match self.peek()? {
                        Some(b':') => self.skip(1),
                        other => return Err(self.unexpected(other, "\":\"")),
                    }
                    let value = self.element(depth + 1, &key)?;
                    let members = &self.members[first..];
                    let double = match members.len() {
                        0..64 => members.iter().any(|member| member.key == key),
                        len => {
                            if seen.is_empty() {
                                seen.extend(members[..len].iter().map(|member| member.key.clone()));
                            }
                            !seen.insert(key.clone())
                        }
                    };
                    if double {
                        self.report.error(
                            at,
                            &Path::Root,
                            format!("duplicate {key} entries in {name} map"),
                        );
                    } else {
                        self.members.push(Member { key, at, value });
                    }
                    after_comma = false;
                }
                other if after_comma => {
                    return Err(self.unexpected(other, "constant string or \"}\""));
                }
                other => return Err(self.unexpected(other, "\",\" or }")),
            }
        }
    }

    fn list(&mut self, depth: usize, name: &str) -> Result<Vec<Element>, Syntax> {
        self.skip(1);
        let first = self.entries.len();
        let mut after_comma = true;
        loop {
            match self.peek()? {
                Some(b']') => {
                    if after_comma && self.entries.len() > first {
                        self.extra_comma("a value")?;
                    }
                    self.skip(1);
                    return Ok(self.entries.split_off(first));
                }
                Some(b',') if after_comma => {
                    self.extra_comma("a value")?;
                    self.skip(1);
                }
                Some(b',') => {
                    self.skip(1);
                    after_comma = true;
                }
                Some(_) if after_comma => {
                    let element = self.element(depth + 1, name)?;
                    self.entries.push(element);
                    after_comma = false;
                }
                other => return Err(self.unexpected(other, "\",\" or ]")),
            }
        }
    }

    /// A string without escapes, as nearly all are: its bytes, to be skipped with the quotation marks.
    fn plain_string(&self) -> Option<&str> {
        let inner = self.input.rest().get(1..)?;
        let len = plain_len(inner);
        if inner.get(len) != Some(&b'"') {
            return None;
        }
        self.input.text().get(self.input.offset + 1..self.input.offset + 1 + len)
    }

    fn key(&mut self) -> Result<Key, Syntax> {
        // Not `plain_string`: that would borrow the keys as well.
        let inner = self.input.rest().get(1..).unwrap_or_default();
        let len = plain_len(inner);
        if inner.get(len) == Some(&b'"') {
            let (from, to) = (self.input.offset + 1, self.input.offset + 1 + len);
            let key = self.keys.of(self.input.text().get(from..to).unwrap_or_default());
            self.skip(len + 2);
            return Ok(key);
        }
        let key = self.string()?;
        Ok(self.keys.of(&key))
    }

    fn text(&mut self) -> Result<SmallText, Syntax> {
        if let Some(text) = self.plain_string() {
            let (text, len) = (SmallText::from(text), text.len());
            self.skip(len + 2);
            return Ok(text);
        }
        Ok(self.string()?.into())
    }

    fn string(&mut self) -> Result<String, Syntax> {
        self.skip(1);
        let mut text = String::new();
        loop {
            let plain = plain_len(self.input.rest());
            text.push_str(self.input.slice(plain));
            self.skip(plain);
            match self.input.rest() {
                [b'"', ..] => {
                    self.skip(1);
                    return Ok(text);
                }
                [b'\\', rest @ ..] => {
                    let (c, len) = escape(rest).map_err(|why| self.syntax(why.to_owned()))?;
                    text.push(c);
                    self.skip(1 + len);
                }
                [] => {
                    return Err(
                        self.syntax("syntax error, unexpected end of file in a string".to_owned())
                    );
                }
                _ => return Err(self.syntax("invalid control character in a string".to_owned())),
            }
        }
    }

    /// `name` as in [`Parser::element`]: the number in a secret's place is not quoted.
    fn number(&mut self, name: &str) -> Result<Value, Syntax> {
        let len = self
            .input
            .rest()
            .iter()
            .take_while(|b| matches!(b, b'-' | b'+' | b'.' | b'0'..=b'9' | b'e' | b'E'))
            .count();
        let word = self.input.slice(len).to_owned();
        let shown = if is_secret(name) { HIDDEN } else { &word };
        let digits = word.strip_prefix('-').unwrap_or(&word);
        let wire = self.dialect == Dialect::Wire;
        let leading_zero =
            digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit();
        let bad = |parser: &Self| parser.syntax(format!("syntax error, '{shown}' is no number"));
        if leading_zero && wire {
            return Err(bad(self));
        }
        let value = if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
            let int = word
                .parse()
                .map_err(|_| self.syntax(format!("the number {shown} has more than 64 bits")))?;
            Value::Int(int)
        } else {
            if wire && (digits.starts_with('.') || digits.ends_with('.')) {
                return Err(bad(self));
            }
            let mantissa = digits.split(['e', 'E']).next().unwrap_or_default();
            if mantissa.starts_with('-') || !mantissa.bytes().any(|b| b.is_ascii_digit()) {
                return Err(bad(self));
            }
            let real: f64 = word.parse().map_err(|_| bad(self))?;
            if !real.is_finite() {
                return Err(bad(self));
            }
            Value::Real(real)
        };
        if leading_zero {
            let at = self.at();
            self.report.warning(
                at,
                &Path::Root,
                format!("the number {shown} has leading zeros; it is read as decimal"),
            );
        }
        self.skip(len);
        Ok(value)
    }

    fn literal(&mut self) -> Result<Value, Syntax> {
        let len = self
            .input
            .rest()
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_')
            .count();
        let value = match &self.input.rest()[..len] {
            b"true" => Value::Bool(true),
            b"false" => Value::Bool(false),
            b"null" => Value::Null,
            _ => {
                let first = self.input.rest().first().copied();
                return Err(self.unexpected(first, "a value"));
            }
        };
        self.skip(len);
        Ok(value)
    }

    /// The first byte of the next word, in whichever file it is.
    fn peek(&mut self) -> Result<Option<u8>, Syntax> {
        loop {
            match self.input.rest() {
                [] => match self.outer.pop() {
                    Some(outer) => self.input = outer,
                    None => return Ok(None),
                },
                [b' ' | b'\t' | b'\r' | b'\n', ..] => self.skip(1),
                [b'#', ..] | [b'/', b'/', ..] if self.dialect == Dialect::File => {
                    let len = self.input.rest().iter().take_while(|b| **b != b'\n').count();
                    self.skip(len);
                }
                [b'/', b'*', rest @ ..] if self.dialect == Dialect::File => {
                    let end = rest.windows(2).position(|pair| pair == b"*/");
                    let len = end.ok_or_else(|| {
                        self.syntax("Comment not closed. (/* in file)".to_owned())
                    })?;
                    self.skip(len + 4);
                }
                [b'<', b'?', ..] if self.dialect == Dialect::File => self.include()?,
                [byte, ..] => return Ok(Some(*byte)),
            }
        }
    }

    fn include(&mut self) -> Result<(), Syntax> {
        let bad = |parser: &Self| {
            parser.syntax("Directive not closed, <?include \"file\"?> is expected.".to_owned())
        };
        let input = &self.input;
        let near = input.rest().get(..MAX_DIRECTIVE).unwrap_or(input.rest());
        let len = near.windows(2).position(|pair| pair == b"?>").ok_or_else(|| bad(self))?;
        let directive = input.text().get(input.offset + 2..input.offset + len).unwrap_or_default();
        let directive = directive.trim();
        let name = directive.strip_prefix("include").map(str::trim);
        let name =
            name.and_then(|name| name.strip_prefix('"')).and_then(|name| name.strip_suffix('"'));
        let name = name
            .filter(|name| !name.is_empty() && !name.contains(['"', '\n']))
            .ok_or_else(|| bad(self))?
            .to_owned();
        self.includes += 1;
        if self.outer.len() >= MAX_INCLUDE_DEPTH {
            return Err(self.syntax("Too many nested include.".to_owned()));
        }
        if self.includes > MAX_INCLUDES {
            return Err(self.syntax(format!("more than {MAX_INCLUDES} files are included")));
        }
        let text = (self.loader)(&name)
            .map_err(|why| self.syntax(format!("Can't open include file {name}: {why}")))?;
        self.bytes = self.bytes.saturating_add(text.len());
        if self.bytes > MAX_BYTES {
            return Err(self.syntax(TOO_LARGE.to_owned()));
        }
        self.skip(len + 2);
        let text: Arc<str> = text.into();
        let source = self.report.add_source(&name, Arc::clone(&text));
        let included = Input { text: Text::Included(text), offset: 0, source };
        self.outer.push(std::mem::replace(&mut self.input, included));
        Ok(())
    }

    /// Kea takes a comma too many in a file; nobody else does.
    fn extra_comma(&mut self, expected: &str) -> Result<(), Syntax> {
        if self.dialect == Dialect::Wire {
            let next = self.input.rest().first().copied();
            return Err(self.unexpected(next, expected));
        }
        let at = self.at();
        self.report.warning(
            at,
            &Path::Root,
            "Extraneous comma. A piece of configuration may have been omitted.",
        );
        Ok(())
    }

    fn unexpected(&self, next: Option<u8>, expected: &str) -> Syntax {
        let next = match next {
            None => "end of file".to_owned(),
            Some(b'"') => "constant string".to_owned(),
            Some(byte @ (b'{' | b'}' | b'[' | b']')) => char::from(byte).to_string(),
            Some(byte @ (b',' | b':')) => format!("\"{}\"", char::from(byte)),
            Some(byte @ b' '..=b'~') => format!("character {}", char::from(byte)),
            Some(byte) => format!("byte 0x{byte:02x}"),
        };
        self.syntax(format!("syntax error, unexpected {next}, expecting {expected}"))
    }

    fn syntax(&self, text: String) -> Syntax {
        Syntax { at: self.at(), text }
    }

    fn at(&self) -> Position {
        Position::new(self.input.source, self.input.offset)
    }

    fn skip(&mut self, len: usize) {
        self.input.offset += len;
    }
}

/// How many bytes come before the next quotation mark, backslash or control character.
fn plain_len(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f)).count()
}

/// The character behind a backslash and how many bytes it takes.
///
/// Kea stops at `\u00ff`, which it takes for a byte; here all of Unicode may be written so.
pub(super) fn escape(rest: &[u8]) -> Result<(char, usize), &'static str> {
    let c = match rest.first() {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode_escape(rest),
        _ => return Err("Bad escape in a string"),
    };
    Ok((c, 1))
}

fn unicode_escape(rest: &[u8]) -> Result<(char, usize), &'static str> {
    let bad = "Unsupported unicode escape in a string";
    let unit = |from: usize| {
        let digits = std::str::from_utf8(rest.get(from..from + 4)?).ok()?;
        digits
            .bytes()
            .all(|b| b.is_ascii_hexdigit())
            .then(|| u16::from_str_radix(digits, 16).ok())
            .flatten()
    };
    let first = unit(1).ok_or(bad)?;
    if let Some(c) = char::from_u32(first.into()) {
        return Ok((c, 5));
    }
    let second = rest.get(5..7).filter(|next| *next == b"\\u").and_then(|_| unit(7)).ok_or(bad)?;
    let decoded = char::decode_utf16([first, second]).next().and_then(Result::ok).ok_or(bad)?;
    Ok((decoded, 11))
}
