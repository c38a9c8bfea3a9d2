//! Strings: literals, fields, functions, and the parentheses that may hold either kind of value.

use super::{MAX_DEPTH, MAX_VALUE, Parser, Value, Want};
use crate::expression::Wrong;
use crate::expression::facts::Field;
use crate::expression::lexer::{Kind, Token};
use crate::expression::pattern::Pattern;
use crate::expression::tree::{Bool, Integer, Operator, Root, Str};

/// The fields behind `pkt4.`; those of the header and the message type.
const PKT4: &[&str] =
    &["mac", "hlen", "htype", "ciaddr", "giaddr", "yiaddr", "siaddr", "msgtype", "transid"];

const INTEGERS: &[Integer] = &[
    Integer::Int8,
    Integer::Int16,
    Integer::Int32,
    Integer::Uint8,
    Integer::Uint16,
    Integer::Uint32,
];

impl<'s> Parser<'s> {
    pub(super) fn string(&mut self) -> Result<Str, Wrong> {
        self.only_string(Parser::operand)
    }

    pub(super) fn only_string(
        &mut self,
        parse: fn(&mut Self, Want) -> Result<Value, Wrong>,
    ) -> Result<Str, Wrong> {
        let token = self.peek()?;
        match parse(self, Want::String)? {
            Value::String(string) => Ok(string),
            Value::Truth(_) => Err(self.unexpected(token, &[])),
        }
    }

    /// One level deeper, if that is allowed.
    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Wrong>) -> Result<T, Wrong> {
        if self.depth == MAX_DEPTH {
            let what = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(self.wrong(self.at.saturating_sub(1), self.at, what));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// What is neither joined nor compared: a literal, a field, a function, a parenthesis.
    pub(super) fn primary(&mut self, want: Want) -> Result<Value, Wrong> {
        let token = self.next()?;
        let string = match token.kind {
            Kind::String(content) => self.literal(content.as_bytes().into(), token)?,
            Kind::Hex(digits) => self.literal(bytes_of_hex(digits), token)?,
            Kind::Integer(digits) => {
                let number = self.number(digits, token, "Invalid value", u32::MAX)?;
                Str::Literal(number.to_be_bytes().into())
            }
            Kind::Address(address) => Str::Literal(self.address(address, token)?),
            Kind::Word("(") => return self.deeper(|parser| parser.parenthesis(want)),
            Kind::Word(word) => match self.keyword(word, token, want)? {
                Value::String(string) => string,
                truth => return Ok(truth),
            },
            Kind::Name(_) | Kind::End => return Err(self.unexpected(token, &[])),
        };
        Ok(Value::String(string))
    }

    fn literal(&self, bytes: Box<[u8]>, token: Token<'_>) -> Result<Str, Wrong> {
        if bytes.len() > MAX_VALUE {
            let what = format!("constant of more than {MAX_VALUE} bytes");
            return Err(self.wrong_at(token, what));
        }
        Ok(Str::Literal(bytes))
    }

    /// Behind `(`, to its `)`.
    fn parenthesis(&mut self, want: Want) -> Result<Value, Wrong> {
        let inner = if want == Want::String { Want::String } else { Want::Either };
        let value = match self.operand(inner)? {
            Value::Truth(truth) => Value::Truth(self.operators(truth, Operator::Sor)?),
            string => string,
        };
        let expected: &[&str] = match (&value, inner) {
            // Kea lists up to four; here it would be all the operators.
            (Value::Truth(_), _) => &[],
            (_, Want::String) => &[")", "+"],
            _ => &[")", "==", "+"],
        };
        self.close(")", expected)?;
        Ok(value)
    }

    fn keyword(&mut self, word: &str, token: Token<'s>, want: Want) -> Result<Value, Wrong> {
        let string = match word {
            "member" | "match" if want != Want::String => return self.predicate(word),
            "option" => {
                self.expect("[")?;
                let root = Root::Option(self.option_code()?);
                return self.path(root, want);
            }
            "relay4" => {
                self.expect("[")?;
                let root = Root::Relay(self.sub_option_code()?);
                return self.path(root, want);
            }
            "vendor" => return self.vendor(want),
            "vendor-class" => return self.vendor_class(want),
            "relay6" => return Err(self.relay6()?),
            "pkt6" => {
                let what = "pkt6 can only be used in DHCPv6.".to_owned();
                return Err(self.wrong_at(token, what));
            }
            "pkt" => self.field("pkt", &["iface", "src", "dst", "len"])?,
            "pkt4" => self.field("pkt4", PKT4)?,
            "substring" | "split" | "concat" | "ifelse" | "sifelse" | "lcase" | "ucase"
            | "hexstring" | "addrtotext" => self.deeper(|parser| parser.function(word))?,
            _ => match INTEGERS.iter().find(|integer| integer.keyword() == word) {
                Some(integer) => {
                    let of = self.deeper(|parser| parser.argument())?;
                    Str::IntegerToText(*integer, of)
                }
                None => return Err(self.unexpected(token, &[])),
            },
        };
        Ok(Value::String(string))
    }

    /// `member(…)` and `match(…)`, behind the word.
    fn predicate(&mut self, word: &str) -> Result<Value, Wrong> {
        self.expect("(")?;
        let (content, token) = self.constant()?;
        if word == "member" {
            self.expect(")")?;
            if !self.names.is_class(content) {
                return Err(self.wrong_at(token, format!("Not defined client class '{content}'")));
            }
            return Ok(Value::Truth(Bool::Member(content.into())));
        }
        let pattern = Pattern::new(content).map_err(|why| {
            let what = format!("invalid regular expression '{content}': {why}");
            Wrong::without_place(self.source, token.at, &what)
        })?;
        self.expect(",")?;
        let subject = self.deeper(Parser::string)?;
        self.close(")", &[")", "+"])?;
        Ok(Value::Truth(Bool::Match(pattern, subject)))
    }

    /// A function whose value is a string, behind its name.
    fn function(&mut self, word: &str) -> Result<Str, Wrong> {
        if matches!(word, "lcase" | "ucase" | "addrtotext") {
            let of = self.argument()?;
            return Ok(match word {
                "lcase" => Str::LowerCase(of),
                "ucase" => Str::UpperCase(of),
                _ => Str::AddressToText(of),
            });
        }
        self.expect("(")?;
        if matches!(word, "ifelse" | "sifelse") {
            let condition = self.truth()?;
            self.close(",", &[])?;
            let yes = self.string_to_comma()?;
            let no = self.string()?;
            self.close(")", &[")", "+"])?;
            let of = Box::new((condition, yes, no));
            return Ok(if word == "ifelse" { Str::IfElse(of) } else { Str::BothIfElse(of) });
        }
        let first = self.string_to_comma()?;
        match word {
            "substring" => {
                let start = self.small_integer()?;
                self.expect(",")?;
                let len = if self.takes("all")? {
                    None
                } else {
                    let token = self.peek()?;
                    if !matches!(token.kind, Kind::Integer(_)) {
                        return Err(self.unexpected(token, &["all", "integer"]));
                    }
                    Some(self.small_integer()?)
                };
                self.expect(")")?;
                Ok(Str::Substring(Box::new(first), start, len))
            }
            "split" => {
                let delimiters = self.string_to_comma()?;
                let n = self.small_integer()?;
                self.expect(")")?;
                Ok(Str::Split(Box::new((first, delimiters)), n))
            }
            _ => {
                let second = self.string()?;
                self.close(")", &[")", "+"])?;
                Ok(match word {
                    "concat" => Str::concat(first, second),
                    _ => Str::HexString(Box::new((first, second))),
                })
            }
        }
    }

    /// `(string)`.
    fn argument(&mut self) -> Result<Box<Str>, Wrong> {
        self.expect("(")?;
        let string = self.string()?;
        self.close(")", &[")", "+"])?;
        Ok(Box::new(string))
    }

    fn string_to_comma(&mut self) -> Result<Str, Wrong> {
        let string = self.string()?;
        self.close(",", &["\",\"", "+"])?;
        Ok(string)
    }

    /// `.name`, behind `pkt` or `pkt4`.
    fn field(&mut self, of: &str, names: &'static [&'static str]) -> Result<Str, Wrong> {
        self.expect(".")?;
        let name = self.one_of(names)?;
        let matches = |field: &&Field| {
            field.keyword().split_once('.').is_some_and(|(left, right)| (left, right) == (of, name))
        };
        match Field::ALL.iter().find(matches) {
            Some(field) => Ok(Str::Field(*field)),
            None => Err(self.wrong(self.at, self.at, format!("{of}.{name} is not known"))),
        }
    }
}

/// The bytes of hexadecimal digits; an odd number of them gets a 0 in front.
fn bytes_of_hex(digits: &str) -> Box<[u8]> {
    let value = |digit: u8| (digit as char).to_digit(16).map_or(0, |value| value as u8);
    let digits = digits.as_bytes();
    let (first, pairs) = digits.split_at(digits.len() % 2);
    let first = first.iter().map(|digit| value(*digit));
    first.chain(pairs.chunks_exact(2).map(|pair| value(pair[0]) << 4 | value(pair[1]))).collect()
}
