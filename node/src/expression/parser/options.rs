//! Options, vendor options, and the numbers that name them.

use super::{MAX_DEPTH, Parser, Value, Want};
use crate::expression::Wrong;
use crate::expression::lexer::{Kind, Token};
use crate::expression::tree::{Bool, Enterprise, Path, Root, Str};

impl Parser<'_> {
    /// Behind the first code of a path: its `]`, sub-options, and what is asked of it.
    pub(super) fn path(&mut self, root: Root, want: Want) -> Result<Value, Wrong> {
        let mut rest = Vec::new();
        self.expect("]")?;
        loop {
            self.expect(".")?;
            let words: &[&str] = match want {
                Want::String => &["option", "text", "hex"],
                _ => &["option", "text", "hex", "exists"],
            };
            let word = self.one_of(words)?;
            if word != "option" {
                let path = Path { root, rest: rest.into() };
                return Ok(match word {
                    "exists" => Value::Truth(Bool::Exists(path)),
                    "hex" => Value::String(Str::Hex(path)),
                    _ => Value::String(Str::Text(path)),
                });
            }
            self.expect("[")?;
            if rest.len() == MAX_DEPTH as usize {
                let what = format!("nested deeper than {MAX_DEPTH} levels");
                return Err(self.wrong(self.at, self.at, what));
            }
            rest.push(self.sub_option_code()?);
            self.expect("]")?;
        }
    }

    /// Behind `vendor`.
    pub(super) fn vendor(&mut self, want: Want) -> Result<Value, Wrong> {
        if self.one_of(&["[", "."])? == "." {
            self.expect("enterprise")?;
            return Ok(Value::String(Str::VendorEnterprise));
        }
        let enterprise = self.enterprise()?;
        self.expect(".")?;
        let words: &[&str] = if want == Want::String { &["option"] } else { &["option", "exists"] };
        if self.one_of(words)? == "exists" {
            return Ok(Value::Truth(Bool::VendorExists(enterprise)));
        }
        self.expect("[")?;
        let root = Root::Vendor(enterprise, self.sub_option_code()?);
        self.path(root, want)
    }

    /// Behind `vendor-class`.
    pub(super) fn vendor_class(&mut self, want: Want) -> Result<Value, Wrong> {
        if self.one_of(&["[", "."])? == "." {
            self.expect("enterprise")?;
            return Ok(Value::String(Str::VendorClassEnterprise));
        }
        let enterprise = self.enterprise()?;
        self.expect(".")?;
        let words: &[&str] = if want == Want::String { &["data"] } else { &["exists", "data"] };
        if self.one_of(words)? == "exists" {
            return Ok(Value::Truth(Bool::VendorClassExists(enterprise)));
        }
        let mut n = 0;
        if self.takes("[")? {
            let (digits, token) = self.integer()?;
            n = self.number(digits, token, "Invalid value", u8::MAX)?;
            self.expect("]")?;
        }
        Ok(Value::String(Str::VendorClassData(enterprise, n)))
    }

    /// What is wrong with `relay6[…]`.
    pub(super) fn relay6(&mut self) -> Result<Wrong, Wrong> {
        self.expect("[")?;
        let (_, token) = self.integer()?;
        Ok(self.wrong_at(token, "Nest level invalid for DHCPv4 packets".to_owned()))
    }

    /// Behind `[`, to its `]`. 0 is any enterprise as well, as in Kea.
    fn enterprise(&mut self) -> Result<Enterprise, Wrong> {
        let token = self.next()?;
        let enterprise = match token.kind {
            Kind::Word("*") => None,
            Kind::Integer(digits) => {
                Some(self.number(digits, token, "Invalid value", u32::MAX)?).filter(|n| *n != 0)
            }
            _ => return Err(self.unexpected(token, &["*", "integer"])),
        };
        self.expect("]")?;
        Ok(enterprise)
    }

    /// An option by code or by name.
    pub(super) fn option_code(&mut self) -> Result<u8, Wrong> {
        let token = self.next()?;
        match token.kind {
            Kind::Integer(digits) => self.code(digits, token),
            Kind::Name(name) => match self.names.code(name).map(u8::try_from) {
                Some(Ok(code)) => Ok(code),
                _ => Err(self.wrong_at(token, format!("option '{name}' is not defined"))),
            },
            _ => Err(self.unexpected(token, &["integer", "option name"])),
        }
    }

    pub(super) fn sub_option_code(&mut self) -> Result<u8, Wrong> {
        let (digits, token) = self.integer()?;
        self.code(digits, token)
    }

    // Numbers and addresses.

    fn code(&self, digits: &str, token: Token<'_>) -> Result<u8, Wrong> {
        let what = "Option code has invalid value";
        if digits.parse::<i32>().is_err() {
            return Err(self.wrong_at(token, format!("{what} in {digits}")));
        }
        self.number(digits, token, what, u8::MAX)
    }

    /// A number from 0 to `max`.
    pub(super) fn number<T>(
        &self,
        digits: &str,
        token: Token<'_>,
        what: &str,
        max: T,
    ) -> Result<T, Wrong>
    where
        T: std::str::FromStr + std::fmt::Display,
    {
        // Kea reads "-0" as 0.
        let minus_zero = digits.starts_with("-0") && digits[1..].bytes().all(|b| b == b'0');
        let unsigned = if minus_zero { "0" } else { digits };
        unsigned.parse().map_err(|_| {
            self.wrong_at(token, format!("{what} in {digits}. Allowed range: 0..{max}"))
        })
    }

    /// A position or a length, which may be negative.
    pub(super) fn small_integer(&mut self) -> Result<i32, Wrong> {
        let (digits, token) = self.integer()?;
        digits
            .parse()
            .map_err(|_| self.wrong_at(token, format!("Failed to convert {digits} to an integer.")))
    }

    pub(super) fn address(&self, text: &str, token: Token<'_>) -> Result<Box<[u8]>, Wrong> {
        match text.parse() {
            Ok(std::net::IpAddr::V4(address)) => Ok(address.octets().into()),
            Ok(std::net::IpAddr::V6(address)) => Ok(address.octets().into()),
            Err(_) => {
                let what = format!("Failed to convert {text} to an IP address.");
                Err(self.wrong_at(token, what))
            }
        }
    }
}
