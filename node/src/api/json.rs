//! JSON off the wire, safely: size in values and depth are bounded before anything is built, so
//! that a hostile document costs a scan and not the stack or the memory (CVE-2026-3608 class).
//!
//! [`Scanner`] walks bytes once as they arrive, knows where the top-level value ends, and can
//! blank out comments, which Kea accepts on the unix socket and nowhere else.

use serde_json::Value;

/// Bounds for one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Deepest nesting of lists and maps. serde_json itself stops at 128.
    pub depth: u32,
    /// Most values: each costs up to 80 bytes of memory whatever its length on the wire.
    pub values: u32,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { depth: 100, values: 4_000_000 }
    }
}

/// A document beyond the bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// More levels than allowed.
    #[error("JSON nested deeper than {0} levels")]
    Deep(u32),
    /// More values than allowed.
    #[error("JSON with more than {0} values")]
    Values(u32),
}

/// Why a document was refused.
#[derive(Debug, thiserror::Error)]
pub enum BadJson {
    /// Beyond the bounds.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
    /// Not JSON.
    #[error(transparent)]
    Syntax(#[from] serde_json::Error),
}

/// Whether comments are part of the dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comments {
    /// They are an error, left for the parser to report.
    Refused,
    /// They are overwritten with blanks; lines and columns stay.
    Blanked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Plain,
    Text,
    Escape,
    /// Behind the `/` at this position.
    Slash(usize),
    Line,
    Block,
    /// Behind a `*` within a block comment.
    Star,
    Done,
}

/// Follows a document byte by byte.
#[derive(Debug)]
pub struct Scanner {
    bounds: Bounds,
    comments: Comments,
    at: At,
    depth: u32,
    values: u32,
    seen: usize,
}

impl Scanner {
    /// At the start of a document.
    pub fn new(bounds: Bounds, comments: Comments) -> Scanner {
        Scanner { bounds, comments, at: At::Plain, depth: 0, values: 0, seen: 0 }
    }

    /// Looks at what came since the last call; `buffer` is the whole document so far. Returns the
    /// length of the top-level value once it is complete. What cannot become JSON any more counts
    /// as complete: the parser will say what is wrong with it.
    pub fn advance(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, TooMuch> {
        while self.at != At::Done {
            let Some(&byte) = buffer.get(self.seen) else { return Ok(None) };
            let here = self.seen;
            self.seen += 1;
            self.step(byte, here, buffer)?;
        }
        Ok(Some(self.seen))
    }

    fn step(&mut self, byte: u8, here: usize, buffer: &mut [u8]) -> Result<(), TooMuch> {
        match self.at {
            At::Text if byte == b'\\' => self.at = At::Escape,
            At::Text if byte == b'"' => self.at = self.after_value(),
            At::Text => {}
            At::Escape => self.at = At::Text,
            At::Line if byte == b'\n' => self.at = At::Plain,
            At::Block if byte == b'*' => self.blank(At::Star, &mut buffer[here..=here]),
            At::Star if byte == b'/' => self.blank(At::Plain, &mut buffer[here..=here]),
            At::Star if byte == b'*' => self.blank(At::Star, &mut buffer[here..=here]),
            At::Block | At::Star if byte == b'\n' => self.at = At::Block,
            At::Block | At::Star => self.blank(At::Block, &mut buffer[here..=here]),
            At::Line => self.blank(At::Line, &mut buffer[here..=here]),
            At::Slash(start) if byte == b'/' => self.blank(At::Line, &mut buffer[start..=here]),
            At::Slash(start) if byte == b'*' => self.blank(At::Block, &mut buffer[start..=here]),
            // A lone slash is no JSON; the parser says so.
            At::Slash(_) => self.at = At::Done,
            At::Plain => self.plain(byte, here, buffer)?,
            At::Done => {}
        }
        Ok(())
    }

    fn plain(&mut self, byte: u8, here: usize, buffer: &mut [u8]) -> Result<(), TooMuch> {
        match byte {
            b'"' => self.at = At::Text,
            b'{' | b'[' => {
                self.depth += 1;
                if self.depth > self.bounds.depth {
                    return Err(TooMuch::Deep(self.bounds.depth));
                }
                self.value()?;
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.at = self.after_value();
            }
            b',' => self.value()?,
            b'#' if self.comments == Comments::Blanked => {
                self.blank(At::Line, &mut buffer[here..=here])
            }
            b'/' if self.comments == Comments::Blanked => self.at = At::Slash(here),
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ if self.depth == 0 => self.at = At::Done,
            _ => {}
        }
        Ok(())
    }

    fn value(&mut self) -> Result<(), TooMuch> {
        self.values += 1;
        if self.values > self.bounds.values {
            Err(TooMuch::Values(self.bounds.values))
        } else {
            Ok(())
        }
    }

    fn after_value(&self) -> At {
        if self.depth == 0 { At::Done } else { At::Plain }
    }

    fn blank(&mut self, next: At, bytes: &mut [u8]) {
        bytes.fill(b' ');
        self.at = next;
    }
}

/// Parses a whole body: one value, nothing behind it, no comments (kea-api §1.2).
pub fn parse_strict(bytes: &mut [u8], bounds: Bounds) -> Result<Value, BadJson> {
    Scanner::new(bounds, Comments::Refused).advance(bytes)?;
    Ok(serde_json::from_slice(bytes)?)
}

/// Kea's name of a JSON type in its texts.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "real",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "map",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(text: &str, comments: Comments) -> (Result<Option<usize>, TooMuch>, String) {
        let mut bytes = text.as_bytes().to_vec();
        let end = Scanner::new(Bounds { depth: 5, values: 20 }, comments).advance(&mut bytes);
        (end, String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn the_end_of_the_object_is_found_and_the_rest_ignored() {
        assert_eq!(scan(r#"{"a":"}\"]"} trailing"#, Comments::Refused).0, Ok(Some(12)));
        assert_eq!(scan(r#"{"a":[1,2"#, Comments::Refused).0, Ok(None));
        assert_eq!(scan("  \n", Comments::Refused).0, Ok(None));
        assert_eq!(scan("nonsense", Comments::Refused).0, Ok(Some(1)));
    }

    #[test]
    fn comments_turn_into_blanks_but_not_within_strings() {
        let (end, text) = scan("{ # one\n\"a//b\": /* two\n * */ 1 // three\n}", Comments::Blanked);
        assert_eq!(text, "{      \n\"a//b\":       \n      1         \n}");
        assert_eq!(end, Ok(Some(text.len())));
        let (_, text) = scan("{/***/\"a\":1}", Comments::Blanked);
        assert_eq!(text, "{     \"a\":1}");
    }

    #[test]
    fn depth_and_number_of_values_are_bounded() {
        let deep = "[".repeat(10_000);
        assert_eq!(scan(&deep, Comments::Refused).0, Err(TooMuch::Deep(5)));
        let long = format!("[{}]", "0,".repeat(50));
        assert_eq!(scan(&long, Comments::Refused).0, Err(TooMuch::Values(20)));
        let mut deep = "{\"a\":".repeat(10_000).into_bytes();
        let refused = parse_strict(&mut deep, Bounds::default());
        assert_eq!(refused.unwrap_err().to_string(), "JSON nested deeper than 100 levels");
    }

    #[test]
    fn a_strict_body_is_one_value_without_comments_or_trailing_data() {
        for bad in [
            "{} {}",
            "{},",
            "{\"a\":1,}",
            "{} // x",
            "{\"a\":01}",
            "{",
            "\u{0}",
            "{\"a\":\"\u{1}\"}",
        ] {
            assert!(
                parse_strict(&mut bad.as_bytes().to_vec(), Bounds::default()).is_err(),
                "{bad:?}"
            );
        }
        assert!(parse_strict(&mut b" {\"a\": [1]} \n".to_vec(), Bounds::default()).is_ok());
    }

    proptest! {
        /// Fed in pieces or whole, the scanner sees the same; and it never panics.
        #[test]
        fn pieces_do_not_matter(bytes in proptest::collection::vec(prop_oneof![
            Just(b'{'), Just(b'}'), Just(b'['), Just(b']'), Just(b'"'), Just(b'\\'), Just(b'/'),
            Just(b'*'), Just(b'#'), Just(b'\n'), Just(b','), Just(b' '), Just(b'1')], 0..60)) {
            let bounds = Bounds { depth: 5, values: 20 };
            let mut whole = bytes.clone();
            let at_once = Scanner::new(bounds, Comments::Blanked).advance(&mut whole);
            let mut slow = Scanner::new(bounds, Comments::Blanked);
            let mut buffer = Vec::new();
            let mut end = Ok(None);
            for byte in bytes {
                buffer.push(byte);
                end = slow.advance(&mut buffer);
                if !matches!(end, Ok(None)) {
                    break;
                }
            }
            prop_assert_eq!(at_once, end);
            prop_assert_eq!(&whole[..buffer.len()], &buffer[..]);
        }
    }
}
