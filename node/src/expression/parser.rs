//! Tokens → typed tree, by recursive descent.
//!
//! A parenthesis may hold a truth value or a string; which, shows only inside. So an operand is parsed
//! with what is [`Want`]ed, and says what it became. Recursion happens in parentheses, in arguments
//! and nowhere else, and is counted.

mod options;
mod strings;

use super::facts::OptionNames;
use super::lexer::{self, Kind, Token};
use super::tree::{Bool, Operator, Str};
use super::{MAX_DEPTH, MAX_SOURCE, MAX_VALUE, Wrong};

/// What the context has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    /// Only a truth value.
    Truth,
    /// Only a string.
    String,
    /// Either: inside parentheses.
    Either,
}

/// What an operand turned out to be.
enum Value {
    Truth(Bool),
    String(Str),
}

const END: &str = "end of file";
const COMPARE: &[&str] = &["==", "+"];

/// A `test`.
pub(super) fn test(source: &str, names: &dyn OptionNames) -> Result<Bool, Wrong> {
    let mut parser = Parser::new(source, names)?;
    let truth = parser.truth()?;
    parser.close(END, &[END])?;
    Ok(truth)
}

/// A string-valued expression.
pub(super) fn text(source: &str, names: &dyn OptionNames) -> Result<Str, Wrong> {
    let mut parser = Parser::new(source, names)?;
    let string = parser.string()?;
    parser.close(END, &[END])?;
    Ok(string)
}

struct Parser<'s> {
    source: &'s str,
    names: &'s dyn OptionNames,
    /// Where the next token begins, or the white space before it.
    at: usize,
    ahead: Option<Token<'s>>,
    depth: u32,
}

impl<'s> Parser<'s> {
    fn new(source: &'s str, names: &'s dyn OptionNames) -> Result<Parser<'s>, Wrong> {
        let parser = Parser { source, names, at: 0, ahead: None, depth: 0 };
        if source.len() > MAX_SOURCE {
            return Err(parser.wrong(0, 0, format!("longer than {MAX_SOURCE} bytes")));
        }
        Ok(parser)
    }

    // Errors.

    fn wrong(&self, at: usize, end: usize, what: String) -> Wrong {
        Wrong::new(self.source, at, end, &what)
    }

    fn wrong_at(&self, token: Token<'_>, what: String) -> Wrong {
        self.wrong(token.at, token.end, what)
    }

    fn unexpected(&self, token: Token<'_>, expected: &[&str]) -> Wrong {
        let mut what = format!("syntax error, unexpected {}", token.kind.describe());
        for (n, one) in expected.iter().enumerate() {
            what += if n == 0 { ", expecting " } else { " or " };
            what += one;
        }
        self.wrong_at(token, what)
    }

    // Tokens.

    fn peek(&mut self) -> Result<Token<'s>, Wrong> {
        if let Some(token) = self.ahead {
            return Ok(token);
        }
        let token = lexer::token(self.source, self.at).map_err(|at| {
            let character = self.source.get(at..).and_then(|rest| rest.chars().next());
            let character = character.map_or_else(String::new, |c| match c.is_control() {
                true => c.escape_default().to_string(),
                false => c.to_string(),
            });
            self.wrong(at, at + 1, format!("Invalid character: {character}"))
        })?;
        self.ahead = Some(token);
        Ok(token)
    }

    fn next(&mut self) -> Result<Token<'s>, Wrong> {
        let token = self.peek()?;
        self.ahead = None;
        self.at = token.end;
        Ok(token)
    }

    /// Takes the word if it stands there.
    fn takes(&mut self, word: &str) -> Result<bool, Wrong> {
        let found = matches!(self.peek()?.kind, Kind::Word(found) if found == word);
        if found {
            self.next()?;
        }
        Ok(found)
    }

    /// Takes the word, or the end, or says what else could have stood there.
    fn close(&mut self, word: &str, expected: &[&str]) -> Result<(), Wrong> {
        let token = self.peek()?;
        match token.kind {
            Kind::Word(found) if found == word => self.next().map(|_| ()),
            Kind::End if word == END => Ok(()),
            _ => Err(self.unexpected(token, expected)),
        }
    }

    fn expect(&mut self, word: &'static str) -> Result<(), Wrong> {
        let shown = if word == "," { "\",\"" } else { word };
        self.close(word, &[shown])
    }

    /// Takes one of the words.
    fn one_of(&mut self, words: &'static [&'static str]) -> Result<&'static str, Wrong> {
        let token = self.peek()?;
        match token.kind {
            Kind::Word(found) if words.contains(&found) => self.next().map(|_| found),
            // Kea lists up to four.
            _ => Err(self.unexpected(token, if words.len() > 4 { &[] } else { words })),
        }
    }

    fn integer(&mut self) -> Result<(&'s str, Token<'s>), Wrong> {
        let token = self.peek()?;
        match token.kind {
            Kind::Integer(digits) => self.next().map(|_| (digits, token)),
            _ => Err(self.unexpected(token, &["integer"])),
        }
    }

    fn constant(&mut self) -> Result<(&'s str, Token<'s>), Wrong> {
        let token = self.peek()?;
        match token.kind {
            Kind::String(content) => self.next().map(|_| (content, token)),
            _ => Err(self.unexpected(token, &["constant string"])),
        }
    }

    // Truth values.

    fn truth(&mut self) -> Result<Bool, Wrong> {
        let first = self.truth_operand()?;
        self.operators(first, Operator::Sor)
    }

    /// An operand of a boolean operator.
    fn truth_operand(&mut self) -> Result<Bool, Wrong> {
        match self.operand(Want::Truth)? {
            Value::Truth(truth) => Ok(truth),
            Value::String(_) => {
                let token = self.peek()?;
                Err(self.unexpected(token, COMPARE))
            }
        }
    }

    /// The operators behind an operand that bind at least as tightly as `loosest`.
    fn operators(&mut self, first: Bool, loosest: Operator) -> Result<Bool, Wrong> {
        let mut left = first;
        loop {
            let (operator, tighter) = match self.peek()?.kind {
                Kind::Word("and") => (Operator::And, None),
                Kind::Word("sand") => (Operator::Sand, Some(Operator::And)),
                Kind::Word("or") => (Operator::Or, Some(Operator::Sand)),
                Kind::Word("sor") => (Operator::Sor, Some(Operator::Or)),
                _ => return Ok(left),
            };
            if operator < loosest {
                return Ok(left);
            }
            self.next()?;
            let mut right = self.truth_operand()?;
            if let Some(tighter) = tighter {
                right = self.operators(right, tighter)?;
            }
            left = operator.join(left, right);
        }
    }

    /// A string, or a truth value without boolean operators.
    fn operand(&mut self, want: Want) -> Result<Value, Wrong> {
        let mut nots = 0;
        while want != Want::String && self.takes("not")? {
            nots += 1;
        }
        if nots > 0 {
            let truth = self.truth_operand()?;
            return Ok(Value::Truth(if nots % 2 == 1 { truth.negate() } else { truth }));
        }
        let mut string = match self.primary(want)? {
            Value::Truth(truth) => return Ok(Value::Truth(truth)),
            Value::String(string) => string,
        };
        while self.takes("+")? {
            string = Str::concat(string, self.only_string(Parser::primary)?);
        }
        if want != Want::String && self.takes("==")? {
            return Ok(Value::Truth(Bool::Equal(string, self.string()?)));
        }
        Ok(Value::String(string))
    }
}
