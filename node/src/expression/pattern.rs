//! The regular expression of `match()`: ECMAScript's syntax, as Kea's C++ library reads it, on bytes.
//!
//! The engines are those of the `regex` crate: their time is linear in the value, whatever the client
//! sends. A pattern becomes a table of states, one look-up a byte, where that stays small; the few that do not
//! are simulated, at a price that [`Pattern::weight`] tells.
//!
//! What the engines cannot do is refused when the configuration is loaded: back-references (`\1`) and
//! look-ahead (`(?=…)`, `(?!…)`). What the two syntaxes read differently is translated or refused here,
//! never silently changed: `[`, `&`, `~` inside a class are plain characters, `$` and `^` mean the ends of the
//! value, `.` is any byte but line feed and carriage return, `\b` inside a class is a backspace; the crate's
//! own `(?i)`, `\A`, `\z`, `\p{…}` and set operations do not exist. Collating symbols and equivalence classes
//! (`[[.a.]]`, `[[=a=]]`) are refused. The value is matched as a whole.

use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};
use regex_automata::Anchored;
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::{start, syntax};

/// The longest pattern, in bytes.
const MAX_PATTERN: usize = 4096;

/// How deep groups may nest.
const MAX_NESTING: u32 = 50;

/// What a table of states may take, in bytes.
const MAX_TABLE: usize = 32 << 10;

/// What a look-up costs, in the units of [`super::Test::cost`].
const LOOK_UP: u32 = 5;

/// What a pattern without a table may take, in bytes, and what each byte of a value then costs at
/// most; measured with values that look random. The first that fits counts.
const SIMULATED: &[(usize, u32)] = &[(4 << 10, 600), (8 << 10, 1300), (16 << 10, 3700)];

/// A compiled pattern. Two are equal when their sources are.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    source: Box<str>,
    engine: Engine,
}

#[derive(Debug, Clone)]
enum Engine {
    Table(Arc<dense::DFA<Vec<u32>>>),
    Simulated { regex: Regex, weight: u32 },
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.source == other.source
    }
}

impl Pattern {
    /// Compiles a pattern; the error says what is wrong with it.
    pub fn new(source: &str) -> Result<Pattern, String> {
        if source.len() > MAX_PATTERN {
            return Err(format!("longer than {MAX_PATTERN} bytes"));
        }
        let whole = format!(r"\A(?:{})\z", translate(source)?);
        let engine = match table(&whole) {
            Some(table) => Engine::Table(Arc::new(table)),
            None => simulated(&whole)?,
        };
        Ok(Pattern { source: source.into(), engine })
    }

    /// The pattern as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the whole value matches.
    pub fn matches(&self, value: &[u8]) -> bool {
        match &self.engine {
            Engine::Table(table) => table_matches(table, value),
            Engine::Simulated { regex, .. } => regex.is_match(value),
        }
    }

    /// What each byte of a value costs at most.
    pub fn weight(&self) -> u32 {
        match self.engine {
            Engine::Table(_) => LOOK_UP,
            Engine::Simulated { weight, .. } => weight,
        }
    }
}

/// The pattern as a table, if it is a pattern and the table stays small.
fn table(pattern: &str) -> Option<dense::DFA<Vec<u32>>> {
    let syntax =
        syntax::Config::new().unicode(false).utf8(false).crlf(true).nest_limit(MAX_NESTING);
    let thompson = thompson::Config::new()
        .utf8(false)
        .which_captures(thompson::WhichCaptures::None)
        .nfa_size_limit(Some(4 * MAX_TABLE));
    let dense = dense::Config::new()
        .start_kind(StartKind::Anchored)
        .dfa_size_limit(Some(MAX_TABLE))
        .determinize_size_limit(Some(2 * MAX_TABLE));
    let mut builder = dense::Builder::new();
    builder.syntax(syntax).thompson(thompson).configure(dense).build(pattern).ok()
}

fn table_matches(table: &dense::DFA<Vec<u32>>, value: &[u8]) -> bool {
    // The table always begins at the beginning, and has no bytes that it cannot read.
    let Ok(mut state) = table.start_state(&start::Config::new().anchored(Anchored::Yes)) else {
        return false;
    };
    for byte in value {
        state = table.next_state(state, *byte);
        if table.is_dead_state(state) {
            return false;
        }
    }
    table.is_match_state(table.next_eoi_state(state))
}

/// The pattern for the engine that needs no table; the error is that of the pattern itself.
fn simulated(pattern: &str) -> Result<Engine, String> {
    for (size, weight) in SIMULATED {
        let built = RegexBuilder::new(pattern)
            .unicode(false)
            .crlf(true)
            .nest_limit(MAX_NESTING)
            .size_limit(*size)
            .dfa_size_limit(16 * size)
            .build();
        match built {
            Ok(regex) => return Ok(Engine::Simulated { regex, weight: *weight }),
            Err(regex::Error::CompiledTooBig(_)) => {}
            Err(error) => return Err(first_line(&error)),
        }
    }
    Err("too big".to_owned())
}

/// What the crate says, without the drawing of the pattern around it.
fn first_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    line.trim().trim_start_matches("error: ").to_owned()
}

/// ECMAScript → the crate's syntax.
fn translate(source: &str) -> Result<String, String> {
    let mut out = String::with_capacity(source.len() + 8);
    let mut rest = source.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' => escape(&mut rest, false, &mut out)?,
            '[' => class(&mut rest, &mut out)?,
            '(' if rest.peek() == Some(&'?') => {
                rest.next();
                match rest.next() {
                    Some(':') => out.push_str("(?:"),
                    Some('=' | '!') => return Err("look-ahead is not supported".to_owned()),
                    _ => return Err("unknown group after '(?'".to_owned()),
                }
            }
            c if !c.is_ascii() => plain(c, &mut out),
            _ => out.push(c),
        }
    }
    Ok(out)
}

/// A character that means itself; beyond ASCII each of its bytes counts as one, as in C++.
fn plain(c: char, out: &mut String) {
    if c.is_ascii() {
        out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
    } else {
        c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| out.push_str(&format!(r"\x{byte:02x}")));
    }
}

type Rest<'s> = std::iter::Peekable<std::str::Chars<'s>>;

/// What follows a backslash.
fn escape(rest: &mut Rest<'_>, in_class: bool, out: &mut String) -> Result<(), String> {
    let Some(c) = rest.next() else { return Err("'\\' at the end".to_owned()) };
    match c {
        'd' | 'D' | 'w' | 'W' | 's' | 'S' | 'n' | 'r' | 't' | 'v' | 'f' => out.extend(['\\', c]),
        'b' if in_class => out.push_str(r"\x08"),
        'b' | 'B' if !in_class => out.extend(['\\', c]),
        '0' => out.push_str(r"\x00"),
        'x' => number(rest, 2, out)?,
        'u' => number(rest, 4, out)?,
        'c' => match rest.next() {
            Some(letter) if letter.is_ascii_alphabetic() => {
                out.push_str(&format!(r"\x{:02x}", u32::from(letter) % 32));
            }
            _ => return Err("no letter after '\\c'".to_owned()),
        },
        '1'..='9' => return Err("back-references are not supported".to_owned()),
        c if c.is_ascii_alphanumeric() => return Err(format!("unknown escape '\\{c}'")),
        c => plain(c, out),
    }
    Ok(())
}

/// A byte by its number, in `digits` hexadecimal digits.
fn number(rest: &mut Rest<'_>, digits: usize, out: &mut String) -> Result<(), String> {
    let text: String = rest.by_ref().take(digits).collect();
    match u32::from_str_radix(&text, 16) {
        Ok(number) if text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
            if number > 0xff {
                return Err("values are bytes; no character above ff".to_owned());
            }
            out.push_str(&format!(r"\x{number:02x}"));
            Ok(())
        }
        _ => Err(format!("{digits} hexadecimal digits expected")),
    }
}

/// What follows `[`, to its `]`.
fn class(rest: &mut Rest<'_>, out: &mut String) -> Result<(), String> {
    out.push('[');
    let negated = rest.next_if_eq(&'^').is_some();
    if rest.next_if_eq(&']').is_some() {
        // Nothing, and anything.
        out.push_str(if negated { r"\x00-\xff]" } else { "a&&b]" });
        return Ok(());
    }
    if negated {
        out.push('^');
    }
    while let Some(c) = rest.next() {
        match c {
            ']' => {
                out.push(']');
                return Ok(());
            }
            '\\' => escape(rest, true, out)?,
            '[' => match rest.peek() {
                Some(':') => named(rest, out)?,
                Some('.' | '=') => return Err("collating symbols are not supported".to_owned()),
                _ => out.push_str(r"\["),
            },
            '&' | '~' => out.extend(['\\', c]),
            c if !c.is_ascii() => plain(c, out),
            '-' if rest.peek() == Some(&'-') => return Err("'--' in a class".to_owned()),
            _ => out.push(c),
        }
    }
    Err("class without end".to_owned())
}

/// `[:alpha:]` and its kin, from the colon on.
fn named(rest: &mut Rest<'_>, out: &mut String) -> Result<(), String> {
    rest.next();
    let name: String = std::iter::from_fn(|| rest.next_if(char::is_ascii_lowercase)).collect();
    if rest.next() != Some(':') || rest.next() != Some(']') {
        return Err("unknown character class".to_owned());
    }
    match name.as_str() {
        // ECMAScript has these three as well.
        "d" | "w" | "s" => out.extend(['\\', name.chars().next().unwrap_or_default()]),
        "alnum" | "alpha" | "blank" | "cntrl" | "digit" | "graph" | "lower" | "print" | "punct"
        | "space" | "upper" | "xdigit" => out.push_str(&format!("[:{name}:]")),
        _ => return Err(format!("unknown character class '{name}'")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pieces of patterns that are right.
    fn piece() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "a",
            "b",
            ".",
            "[ab]",
            "[^a]",
            "a*",
            "b+",
            "(?:ab)?",
            "(a|b)*",
            "a{2}",
            ".*",
            "^",
            "$",
            "\\b",
            "|",
            "(?:a|ab)",
            "\\x61",
            "[a-b]{1,3}",
            ".*a.{9}",
        ])
    }

    proptest! {
        #[test]
        fn both_engines_say_the_same(
            pieces in prop::collection::vec(piece(), 0..6),
            value in "[abc\\n]{0,12}",
        ) {
            let whole = format!(r"\A(?:{})\z", translate(&pieces.concat()).unwrap());
            let Ok(Engine::Simulated { regex, .. }) = simulated(&whole) else { return Ok(()) };
            if let Some(table) = table(&whole) {
                prop_assert_eq!(
                    table_matches(&table, value.as_bytes()),
                    regex.is_match(value.as_bytes()),
                    "{} {:?}", whole, value
                );
            }
        }
    }

    #[test]
    fn a_pattern_without_a_small_table_is_simulated_at_a_price() {
        let cheap = Pattern::new(".*Arch:0000[0-9]:.*").unwrap();
        assert_eq!(cheap.weight(), LOOK_UP);
        let dear = Pattern::new(".{1,30}foo.{1,30}").unwrap();
        assert!(dear.weight() > 100 * LOOK_UP);
        assert!(dear.matches(b"a foo b") && !dear.matches(b"foo b"));
        assert!(
            !cheap.matches(b"PXEClient:Arch:00010:") && cheap.matches(b"PXEClient:Arch:00007:")
        );
    }

    #[test]
    fn equality_is_that_of_the_source() {
        assert_eq!(Pattern::new("a.").unwrap(), Pattern::new("a.").unwrap());
        assert_ne!(Pattern::new("a.").unwrap(), Pattern::new("a[^\\n\\r]").unwrap());
    }
}
